"""The arguments of operators: what each takes, read from the annotation of a function's parameter."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from muses_lab.cached import cached_property
from muses_lab.document.artefacts import OfKind
from muses_lab.operators.contract import (
    Array,
    Binary,
    Computed,
    Condition,
    Conditions,
    Cube,
    CubeProcess,
    Date,
    Element,
    Model,
    Reducer,
    Scalar,
    Transform,
    Unary,
)

DIGEST = "^[0-9a-f]{64}$"
"""How a document refers to an artefact: by its SHA-256."""

SERIES = "data"
"""The parameter of callbacks that is a series."""

PARAMETERS = "parameters"
"""The parameter of model functions that is an array of numbers; all others are single values."""

ARRAYS = (SERIES, PARAMETERS)

CONTEXT = "context"
"""The parameter of callbacks that is a constant, from the argument of the same name of what has the callback."""

_CALLBACKS = {
    Reducer: (SERIES,), Transform: (SERIES,), CubeProcess: (SERIES,), Unary: ("x",), Binary: ("x", "y"),
    Element: ("x", "index", "label"), Model: ("x", PARAMETERS), Conditions: ("value",), Condition: ("value",),
}  # fmt: skip


DATED = ("value", "label")
"""Parameters of callbacks that may be dates."""

Kind = Literal["cube", "scalar", "date", "array", "callback", "conditions", "artefact", "value"]


@dataclass(frozen=True)
class Argument:
    """One declared parameter of an operator."""

    name: str
    kind: Kind
    annotation: Any
    required: bool
    default: Any = None
    artefact: str = ""
    """The kind of artefact that it refers to."""
    constants: tuple[Any, ...] = ()
    """What a callback's place may hold instead."""
    computed: bool = False
    """Whether a value may also be that of a node of the same callback."""
    named: bool = False
    """Whether the place of an artefact may hold a text that is no digest, a name."""

    @property
    def offers(self) -> tuple[str, ...]:
        """The parameters that a callback in its place has."""
        return _CALLBACKS[self.annotation] if self.kind in ("callback", "conditions") else ()

    def schema(self) -> dict[str, Any]:
        """JSON schema of the values it takes."""
        if self.kind == "cube":
            return {"type": "object", "subtype": "datacube"}
        if self.kind == "callback":
            return {"type": "object", "subtype": "process-graph"}
        if self.kind == "conditions":
            return {"type": ["object", "null"], "additionalProperties": {"subtype": "process-graph"}}
        if self.kind == "scalar":
            return {"type": ["number", "boolean", "null"]}
        if self.kind == "date":
            return {"type": "string", "subtype": "date-time"}
        if self.kind == "array":
            return {"type": "array"}
        if self.kind == "artefact":
            return {"type": "string", "subtype": "digest", "pattern": DIGEST, "muses:artefact": self.artefact}
        return self.adapter.json_schema()

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """What validates a plain value."""
        return TypeAdapter(self.annotation)


def argument_of(name: str, annotation: Any, default: Any) -> Argument:
    """What a function's parameter declares."""
    required = default is inspect.Parameter.empty
    members = [t for t in typing.get_args(annotation) if t is not type(None)]
    if len(members) == 1 and (members[0] in (Cube, *_CALLBACKS) or kind_of(members[0])):  # that may be left out
        annotation = members[0]
    constants: tuple[Any, ...] = ()
    callbacks = [t for t in members if t in _CALLBACKS]
    if len(callbacks) == 1 and len(members) > 1:
        constants = tuple(c for t in members for c in typing.get_args(t) if typing.get_origin(t) is Literal)
        annotation = callbacks[0]
    computed = any(isinstance(m, Computed) for m in getattr(annotation, "__metadata__", ()))
    kind: Kind = "value"
    if annotation is Cube:
        kind = "cube"
    elif annotation is Scalar:
        kind = "scalar"
    elif annotation is Date:
        kind = "date"
    elif annotation is Array:
        kind = "array"
    elif annotation is Conditions:
        kind = "conditions"
    elif annotation in _CALLBACKS:
        kind = "callback"
    elif kind_of(annotation):
        kind = "artefact"
    if isinstance(default, tuple):  # as documents have it
        default = list(default)
    default = None if required else default
    named = kind == "artefact" and str in members
    return Argument(name, kind, annotation, required, default, kind_of(annotation), constants, computed, named)


def kind_of(annotation: Any) -> str:
    """The kind of artefact that a parameter refers to; empty: none."""
    about = [one for t in (annotation, *typing.get_args(annotation)) for one in getattr(t, "__metadata__", ())]
    return next((one.kind for one in about if isinstance(one, OfKind)), "")
