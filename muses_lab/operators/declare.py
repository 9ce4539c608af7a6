"""How an operator is declared: an ordinary function, its openEO or muses id, and its support.

The declaration is a contract. From the annotations come validation, the JSON schema, the widget form and the
documentation; from the support comes everything that makes lazy evaluation correct; from the cost come plans, admission
and the cutting of images into strips.

```python
@operator(
    "muses:focal_mean",
    support=Focal(lambda args, pixel: args["radius"]),
    cost=lambda args, pixel, rows, columns: Cost(rows * columns * args["radius"] * 1e-9, bytes=16 * rows * columns),
)
def focal_mean(data: Cube, radius: Annotated[int, Field(ge=1, le=64)] = 1) -> Cube: ...
```
"""

from __future__ import annotations

import inspect
import keyword
import re
import threading
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
from pydantic import TypeAdapter, ValidationError

from muses_lab.cached import cached_property
from muses_lab.document.artefacts import Artefact, OfKind, kinds, known
from muses_lab.document.graph import Callback, Node, Parameter, make, rebuild, walk
from muses_lab.errors import DocumentError
from muses_lab.operators.contract import (
    PIXEL,
    VALUE,
    Array,
    Binary,
    Computed,
    Condition,
    Conditions,
    Cost,
    CostOf,
    Cube,
    CubeProcess,
    Date,
    Dates,
    DimensionOf,
    Element,
    Fit,
    Focal,
    GroupsOf,
    ImagesOf,
    LabelsOf,
    LengthOf,
    Meta,
    MethodOf,
    Model,
    Narrowed,
    Needs,
    Pixel,
    Reducer,
    Referring,
    Region,
    Rule,
    Scalar,
    Shape,
    Structural,
    Support,
    Transform,
    Unary,
    reduced_bands,
    reduced_shape,
    same_bands,
    same_shape,
)
from muses_lab.operators.refused import REFUSED
from muses_lab.times import parse_moment

DIGEST = "^[0-9a-f]{64}$"
"""How a document refers to an artefact: by its SHA-256."""

SERIES = "data"
"""The parameter of callbacks that is a series."""

PARAMETERS = "parameters"
"""The parameter of model functions that is an array of numbers; all others are single values."""

_ARRAYS = (SERIES, PARAMETERS)

OWN = "own"
"""The namespace of operators that are declared in notebooks."""

CONTEXT = "context"
"""The parameter of callbacks that is a constant, from the argument of the same name of what has the callback."""

_CALLBACKS = {
    Reducer: (SERIES,), Transform: (SERIES,), CubeProcess: (SERIES,), Unary: ("x",), Binary: ("x", "y"),
    Element: ("x", "index", "label"), Model: ("x", PARAMETERS), Conditions: ("value",), Condition: ("value",),
}  # fmt: skip


_DATED = ("value", "label")
"""Parameters of callbacks that may be dates."""

Kind = Literal["cube", "scalar", "date", "array", "callback", "conditions", "artefact", "value"]

_INJECTED = ("meta", "pixel_size", "fitted", "places", "geobox", "halo", "groups", "axes", "in_extent", "rect",
             "features")  # fmt: skip
# What the engine gives to a function that asks for it by name: `meta`, the Meta of its first cube; `pixel_size` in
# metres; `fitted`, what `Fit.fit` returned; `places(crs)`, the coordinates (x, y) of all pixel centres; `geobox`, the
# window of what it is given; `halo`, the pixels on each side of that which are not to be in its result; `groups`, the
# dates of its result that are wanted, each with the dates that it is made of (of an operator that declares groups);
# `axes`, the dates that each of its cubes can have, by argument; `in_extent`, slices of rows and columns of what it is
# given that lie on the grid's extent; `rect`, where that is: rows and columns of the level's pixels, from the grid's
# origin on; `features`, those of the table that it is given (of what is fitted to tables).


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
        return TypeAdapter(self.annotation).json_schema()


@dataclass(frozen=True)
class Traits:
    """What else an operator declares of itself; see `operator`."""

    strict: bool | Callable[[Mapping[str, Any]], bool] = True
    rule: Rule | None = None
    cost: CostOf | None = None
    reduces: DimensionOf = None
    dates: Callable[[Mapping[str, Any], Dates], Dates] | None = None
    groups: GroupsOf | None = None
    labels: LabelsOf | None = None
    asks_dates_of: str | None = None
    narrowed: Narrowed | None = None
    masks: str | None = None
    selects: bool = False
    code: str | None = None
    images: ImagesOf | None = None
    expands: Callable[..., Node] | None = None
    method: MethodOf = ""
    along: DimensionOf = None
    length: LengthOf | None = None
    private: bool = False
    anywhere: bool = False
    texts: bool = False
    partly: str = ""


class Operator:
    """A declared operator; also the `graph.Signature` of its process."""

    def __init__(
        self, fn: Callable[..., Any], id: str, version: str, support: Support, shape: Shape | None = None,
        needs: Needs | None = None,
        traits: Traits = Traits(),
    ) -> None:  # fmt: skip
        cost, rule = traits.cost, traits.rule
        if cost is None and isinstance(support, Focal | Region | Fit) and not traits.private:
            raise TypeError(
                f"operator {id!r} looks at more than a pixel and does not say what that takes: declare it with cost="
            )
        self.fn = fn
        self.id = id
        self.version = version
        self.support = support
        dropped = traits.reduces if traits.reduces in ("t", "bands") and traits.groups is None else None
        self.shape = shape or (reduced_shape(dropped) if dropped else same_shape)
        self.needs = needs or (reduced_bands(dropped) if dropped else same_bands)
        self.rule = rule
        self.dates = traits.dates
        """(arguments, dates) → the dates that it keeps; None: all of them."""
        self.groups = traits.groups
        """(arguments, dates of each cube) → the dates of its result, each with those it is made of; None: its own."""
        self.labels = traits.labels
        """(arguments, groups) → what the dates of its result are called; None: nothing but their dates."""
        self.asks_dates_of = traits.asks_dates_of
        """The cube argument of which only the dates are used."""
        self.narrowed = traits.narrowed
        """(arguments, metas of its cubes, bands wanted of it) → arguments that say the same of those needed only."""
        self.masks = traits.masks
        """The cube argument that removes values of the first cube where it is true."""
        self.selects = traits.selects
        """Whether it does nothing to a cube that has just its bands."""
        self.code = traits.code
        """Name of the instruction, or of the reduction, that compiled code has for it."""
        self.images = traits.images
        """How compiled code does it; None: it does not."""
        self.expands = traits.expands
        """How it is defined by other processes."""
        self.private = traits.private
        """Whether it runs code of its user: only on their own cluster, and never from a document of others."""
        self.anywhere = traits.anywhere
        """Whether it is a process of cubes that callbacks may be, too: its cube is a parameter there."""
        self.brings: tuple[Artefact, ...] = ()
        """Artefacts that it needs wherever it is evaluated: its code, where that is not of an installed package."""
        self._reduces = traits.reduces
        self._along = traits.along or traits.reduces
        self._strict = traits.strict
        self.declared_cost = cost
        hints = typing.get_type_hints(fn, include_extras=True)
        parameters = inspect.signature(fn).parameters
        self.injected = tuple(n for n in parameters if n in _INJECTED)
        self.arguments: dict[str, Argument] = {
            name: _argument(name, hints[name], p.default) for name, p in parameters.items() if name not in _INJECTED
        }
        self.cubes = tuple(a.name for a in self.arguments.values() if a.kind == "cube")
        self.gives = _kind_of(hints.get("return"))
        """The kind of artefact that it makes; empty: it is a step of a chain.

        It runs when a document is read, or, where it takes cubes (`fits`), when the document is published.
        """
        self.is_cube_process = bool(self.cubes or self.gives) or hints.get("return") is Cube
        self.artefacts = tuple(a.name for a in self.arguments.values() if a.kind == "artefact")
        if self.artefacts and not self.is_cube_process:
            raise TypeError(f"operator {id!r} refers to an artefact, which only operators on cubes may")
        if self.cubes and shape is not None and needs is None:
            raise TypeError(
                f"operator {id!r} says what shape its result has and not which bands it reads for it: declare it with "
                "needs=, which is same_bands where each band of the result is made of the same band of its cubes"
            )
        for trait, value in (("reduces", traits.reduces), ("along", traits.along)):
            if not callable(value) and value not in (None, "t", "bands", *self.arguments):
                raise TypeError(f"operator {id!r}: {trait}={value!r} is neither a dimension nor an argument of it")
        if self.groups is not None and self.dates is not None:
            raise TypeError(f"operator {id!r} chooses dates (dates=) or makes others of them (groups=), not both")
        if self.asks_dates_of is not None and (self.groups is None or self.asks_dates_of not in self.cubes[1:]):
            raise TypeError(
                f"operator {id!r}: asks_dates_of={self.asks_dates_of!r} is no cube beside its first one whose dates "
                "its groups= could be told"
            )
        self.gives_series = hints.get("return") is Array
        self.length = traits.length
        """How long the array is that it gives; None: as long as the first array that it is given."""
        kinds_of_arguments = {a.kind for a in self.arguments.values()}
        self.is_elementwise = "scalar" in kinds_of_arguments and not (
            self.is_cube_process or self.gives_series or "array" in kinds_of_arguments
        )
        """Whether it is a process of values: of arrays it makes an array, element by element."""
        self.takes_context = "callback" in kinds_of_arguments and CONTEXT not in self.arguments
        """Whether `context` is a constant for its callbacks."""
        self.gives_date = hints.get("return") is Date
        self.build = traits.method if callable(traits.method) else None
        """(node of a chain, what is given to the method) → node; None: as `operators.methods` makes it."""
        self.method = self._method_name(traits.method)
        """Name of the method that chains have for it; None: they have none."""
        self.partly = traits.partly
        """How much of openEO's process of its id it is; empty: nothing is known to be missing."""
        self.takes_text = traits.texts
        """Whether its values may be texts; only in conditions on properties and labels, cubes hold numbers."""
        self._adapters = {a.name: TypeAdapter(a.annotation) for a in self.arguments.values() if a.kind == "value"}

    def __repr__(self) -> str:
        return f"<Operator {self.id} {self.version}>"

    def current(self) -> Operator:
        """The operator that a chain gets that is built now: of one declared in a notebook, as its code is now."""
        return self

    def _method_name(self, method: MethodOf) -> str | None:
        if method is None:
            return None
        name = method if isinstance(method, str) else getattr(method, "__name__", "").strip("_")
        name = name or self.id.rpartition(":")[2]
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise TypeError(f"operator {self.id!r}: no method can be called {name!r}; declare it with method=, or None")
        if self.build is None and not (self.arguments and self._takes_a_chain()):
            raise TypeError(
                f"operator {self.id!r} has no cube, value or series of values as its first argument, so there is no "
                "method that chains could have for it: declare it with method=None"
            )
        return name

    def _takes_a_chain(self) -> bool:
        first = next(iter(self.arguments.values()))
        return first.kind in ("cube", "scalar") or (first.kind == "array" and not self.gives_series)

    def reduces(self, arguments: Mapping[str, Any]) -> str | None:
        """The dimension that it reduces to one value: `t`, `bands`, or None."""
        return self._dimension(self._reduces, arguments)

    def along(self, arguments: Mapping[str, Any]) -> str | None:
        """The dimension of which it looks at whole series, whether it reduces it or not: `t`, `bands`, or None."""
        return self._dimension(self._along, arguments)

    def _dimension(self, told: DimensionOf, arguments: Mapping[str, Any]) -> str | None:
        if callable(told):
            return told(arguments)
        return arguments[told] if told in self.arguments else told

    def is_strict(self, arguments: Mapping[str, Any]) -> bool:
        """Missing in, missing out: a date that is missing altogether may be left out before it."""
        return self._strict(arguments) if callable(self._strict) else self._strict

    def referred(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """Argument → digest of the artefact that it refers to."""
        given = {name: arguments.get(name) for name in self.artefacts}
        return {name: v for name, v in given.items() if isinstance(v, str) and re.fullmatch(DIGEST, v)}

    def cubes_in(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Its cubes that are given: one that may be left out is not."""
        return tuple(name for name in self.cubes if arguments.get(name) is not None)

    @property
    def fits(self) -> bool:
        """Whether it makes an artefact of the values of tables, such as a model."""
        return bool(self.gives and self.cubes)

    @property
    def needs_extent(self) -> bool:
        return isinstance(self.support, Region | Fit)

    @property
    def depends_on(self) -> str:
        """What of its pinned extent its result depends on, for messages."""
        assert isinstance(self.support, Region | Fit)
        return self.support.depends_on

    def cost(self, arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
        """What it takes for an image of so many rows and columns: as declared, else by its values and callbacks.

        Of a Fit: what the fitting takes.
        """
        if self.declared_cost is not None:
            return self.declared_cost(arguments, pixel_size, rows, columns)
        processes = [n for a in arguments.values() if isinstance(a, Callback) for n in walk(a.root)]
        inside = (registry[n.process].cost(n.arguments, pixel_size, rows, columns).seconds for n in processes)
        return Cost(VALUE * rows * columns + sum(inside))

    def cost_of_blocks(self, arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
        """What it takes where blocks are evaluated: nothing for what is evaluated elsewhere, little after fitting."""
        if isinstance(self.support, Structural | Region):
            return Cost(0.0)
        if isinstance(self.support, Fit):
            return Cost(VALUE * rows * columns)
        return self.cost(arguments, pixel_size, rows, columns)

    @cached_property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON schemas of its arguments by name; making one takes a millisecond, and a chain has many."""
        return {argument.name: argument.schema() for argument in self.arguments.values()}

    def takes(self, argument: str) -> bool:
        """Whether it has an argument of this name."""
        return argument in self.arguments

    def offers(self, argument: str) -> tuple[str, ...]:
        """The parameters that a callback given as the argument has."""
        declared = self.arguments.get(argument)
        return declared.offers if declared is not None else ()

    def check(self, arguments: dict[str, Any], node: str, inside_callback: bool) -> dict[str, Any]:
        """Checked, normalised arguments without those that equal their defaults."""
        if not (self.is_cube_process or inside_callback):
            raise DocumentError(
                f"node {node!r}: process {self.id!r} cannot be used outside of callbacks (apply, reduce_dimension, …)",
                node=node,
            )
        context = arguments.get(CONTEXT) if self.takes_context else None
        ignored = {CONTEXT} if self.takes_context or arguments.get(CONTEXT) is None else set()
        unknown = sorted(set(arguments) - set(self.arguments) - ignored)
        if unknown:
            known = ", ".join(self.arguments)
            raise DocumentError(
                f"node {node!r}: {self.id!r} has no argument {unknown[0]!r}; it has {known}",
                openeo="ProcessParameterUnsupported",
                node=node,
                argument=unknown[0],
            )
        if any(isinstance(context, kind) for kind in (Node, Callback)):
            raise DocumentError(
                f"node {node!r}: `context` is a constant, not the result of a process",
                openeo="ProcessParameterInvalid", node=node, argument=CONTEXT,
            )  # fmt: skip
        checked: dict[str, Any] = {}
        for argument in self.arguments.values():
            if argument.name not in arguments:
                if argument.required:
                    raise DocumentError(
                        f"node {node!r}: {self.id!r} needs the argument {argument.name!r}",
                        openeo="ProcessParameterMissing",
                        node=node,
                        argument=argument.name,
                    )
                continue
            value = arguments[argument.name]
            if value is None and self._left_out(argument):
                continue
            if self.takes_context and isinstance(value, Callback):
                value = _with_context(value, context)
            if not (inside_callback and argument.kind == "cube" and isinstance(value, Parameter)):
                value = self._check_one(argument, value, node, inside_callback)
            if argument.required or not _equal(value, argument.default):
                checked[argument.name] = value
        if self.rule is not None and not any(map(_is_context, checked.values())):
            try:
                self.rule({a.name: checked.get(a.name, a.default) for a in self.arguments.values()})
            except ValueError as error:
                name = getattr(error, "openeo", "")
                raise DocumentError(f"node {node!r}: {self.id!r}: {error}", openeo=name, node=node) from None
        return checked

    def _left_out(self, argument: Argument) -> bool:
        """Whether null means the default: of what may be left out, unless null is a value of its own."""
        if argument.required or argument.kind != "value":
            return False
        try:
            self._adapters[argument.name].validate_python(None, strict=True)
        except ValidationError:
            return True
        return False

    def _check_one(self, argument: Argument, value: Any, node: str, inside_callback: bool) -> Any:
        def wrong(expected: str, openeo: str = "ProcessParameterInvalid") -> DocumentError:
            text = repr(value)[:60]
            return DocumentError(
                f"node {node!r}: argument {argument.name!r} of {self.id!r} must be {expected}, not {text}",
                openeo=openeo,
                node=node,
                argument=argument.name,
            )

        match argument.kind:
            case "cube" if value is None and not argument.required:
                return None
            case "cube":
                if not isinstance(value, Node) or registry[value.process].gives:
                    raise wrong("a data cube (the result of another node)")
            case "callback" if value is None and not argument.required:
                return None
            case "callback" if any(value is constant for constant in argument.constants):
                return value
            case "callback":
                self._check_callback(argument, value, node, wrong, inside_callback)
                if (
                    argument.annotation is Transform
                    and not is_array(value.root)
                    and not registry[value.root.process].anywhere
                ):
                    return Callback(registry.node("array_create", inside_callback=True, data=[value.root]))
            case "conditions":
                if value is not None and not isinstance(value, dict):
                    raise wrong("an object of process graphs by property")
                for condition in (value or {}).values():
                    self._check_callback(argument, condition, node, wrong, inside_callback)
            case "scalar":
                if isinstance(value, str) and self.takes_text:
                    return value
                expected = "a number, a truth value, null or another node"
                return self._check_scalar(value, lambda: wrong(expected), arrays=self.is_elementwise)
            case "date":
                return self._check_date(value, wrong)
            case "array" if isinstance(value, list | tuple):
                return [
                    item
                    if isinstance(item, str) and self.takes_text
                    else self._check_scalar(item, lambda: wrong("an array of numbers"))
                    for item in value
                ]
            case "array":
                if not (is_array(value) or _is_context(value)):
                    raise wrong(f"an array: a list, or the parameter {SERIES!r} of a reducer")
            case "artefact" if value is None and not argument.required:
                return None
            case "artefact":
                return value if argument.named and isinstance(value, str) else self._check_artefact(
                    argument.artefact, value, wrong
                )  # fmt: skip
            case "value" if _is_context(value) and inside_callback:
                return value
            case "value" if argument.computed and isinstance(value, Node | Parameter):
                return self._check_scalar(value, lambda: wrong("a number or another node"))
            case "value":
                adapter = self._adapters[argument.name]
                try:
                    return adapter.dump_python(adapter.validate_python(_plain(value), strict=True), mode="json")
                except ValidationError as error:
                    every = error.errors()
                    choice = next((one for one in every if one["type"] == "literal_error"), every[0])
                    named = getattr(choice.get("ctx", {}).get("error"), "openeo", "ProcessParameterInvalid")
                    raise wrong(_expected(choice), named) from None
                except TypeError:
                    raise wrong("a value, not another node or process graph") from None
        return value

    @staticmethod
    def _check_artefact(name: str, value: Any, wrong: Callable[[str], DocumentError]) -> Any:
        """A digest, an artefact, or what documents may hold in its place; a path of this machine never.

        What a process makes that gives artefacts is made now, and documents hold its digest; what is fitted stays a
        node until the document is published.
        """
        made = registry[value.process] if isinstance(value, Node) else None
        if made is not None and made.gives == name:
            if made.fits:
                return value
            if isinstance(made.support, Referring):
                return next(iter(made.referred(value.arguments).values()))
        if isinstance(value, str) and re.fullmatch(DIGEST, value):
            return value
        if isinstance(value, Artefact) and value.kind.name == name:
            return value
        if isinstance(value, Node) and registry[value.process].gives:
            value = registry.artefact(value)
            try:
                return value if value.kind.name == name else Artefact.of(kinds[name], kinds[name].of(value.value))
            except ValueError as error:
                raise wrong(f"a {kinds[name].noun} ({error})") from None
        if not isinstance(value, dict) or (kind := kinds[name]).inline is None:
            raise wrong(f"the SHA-256 of an artefact of the kind {name!r} (64 hexadecimal digits)")
        try:
            return Artefact.of(kind, kind.inline(value))
        except ValueError as error:
            raise wrong(f"a {kind.noun} ({error})") from None

    @staticmethod
    def _check_date(value: Any, wrong: Callable[[str], DocumentError]) -> Any:
        if isinstance(value, Parameter) and value.name in _DATED:
            return value
        if isinstance(value, Node) and registry[value.process].gives_date:
            return value
        if not isinstance(value, str):
            raise wrong("a date (text), a label, or a node that gives a date")
        try:
            parse_moment(value)
        except ValueError as error:
            raise wrong(f"a date ({error})") from None
        return value

    @staticmethod
    def _check_scalar(value: Any, wrong: Callable[[], DocumentError], arrays: bool = False) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Node):
            op = registry[value.process]
            if op.is_cube_process or op.gives_date or (is_array(value) and not arrays):
                raise wrong()
        elif isinstance(value, Parameter):
            if value.name in _ARRAYS and not arrays:
                raise wrong()
        elif not isinstance(value, int | float | bool | None):
            raise wrong()
        return value

    def _check_callback(
        self, argument: Argument, value: Any, node: str, wrong: Callable[[str], DocumentError], inside_callback: bool
    ) -> None:
        if not isinstance(value, Callback):
            raise wrong("a process graph")
        gives_array, process = is_array(value.root), value.root.process
        if argument.annotation is CubeProcess:
            _check_cubes(value.root, node, argument.name, wrong)
        elif registry[process].is_cube_process and not registry[process].anywhere:
            raise DocumentError(
                f"node {node!r}: argument {argument.name!r}: process {process!r} cannot be used inside a callback of "
                f"{self.id!r}, which is one of values",
                node=node,
                argument=argument.name,
            )
        op = registry[process]
        if op.gives_date or (gives_array and argument.annotation not in (Transform, CubeProcess)):
            raise wrong(f"a process graph that gives one value ({process!r} does not)")
        if argument.annotation not in (Conditions, Condition, Element) and (text := _text_in(value.root)) is not None:
            raise wrong(
                "a process graph of numbers; only properties of scenes and labels may be compared with texts such as "
                f"{text!r:.60}"
            )
        offered = argument.offers
        # Inside a callback the parameters of what is around it may be used; what is outside of all of them says no.
        for name in sorted(parameters_of(value.root) - set(offered)) if not inside_callback else ():
            raise DocumentError(
                f"node {node!r}: the callback {argument.name!r} uses the parameter {name!r}; "
                f"{self.id!r} offers {', '.join(offered)}",
                node=node,
                argument=argument.name,
            )


def _check_cubes(root: Node, node: str, argument: str, wrong: Callable[[str], DocumentError]) -> None:
    """Refuses what is no process of parts of cubes: what loads, needs a whole extent, or another grid."""
    if not registry[root.process].is_cube_process:
        if not is_array(root):
            raise wrong(f"a process graph that gives as much as it is given ({root.process!r} gives one value)")
        return
    for one in walk(root):
        op = registry[one.process]
        reason = ""
        if not op.cubes:
            reason = "makes no cube of `data`"
        elif op.artefacts:
            reason = f"refers to a {kinds[op.arguments[op.artefacts[0]].artefact].noun}; do that before or after"
        elif not isinstance(op.support, Pixel | Focal):
            reason = f"depends on {op.depends_on}" if op.needs_extent else "changes the grid, or is no cube of pixels"
        elif "rect" in op.injected:
            reason = "is of parts of the grid itself"
        elif op.groups is not None:
            reason = "makes dates of others (DataCubePropertiesImmutable)"
        if reason:
            raise DocumentError(
                f"node {node!r}: {op.id!r} cannot be used in the callback {argument!r}, which gets parts of a cube: it "
                f"{reason}",
                node=node, argument=argument, process=op.id,
            )  # fmt: skip


def is_array(value: Any) -> bool:
    """Whether an argument in a callback is an array: `data`, a list, what gives one, or values computed of one."""
    if isinstance(value, Parameter):
        return value.name in _ARRAYS
    if not isinstance(value, Node):
        return isinstance(value, list)
    global _arrays
    if len(_arrays) > 100_000:
        _arrays = {}
    known = _arrays
    if value.hash not in known:
        for node in [value] if all(used.hash in known for used in value.inputs) else walk(value):
            known[node.hash] = _gives_array(node, known)
    return known[value.hash]


_arrays: dict[str, bool] = {}
"""Node of a callback (by its hash) → whether it gives an array."""


def _gives_array(node: Node, known: Mapping[str, bool]) -> bool:
    op = registry[node.process]
    values = [node.arguments.get(a.name) for a in op.arguments.values() if a.kind == "scalar"]
    arrays = (known[v.hash] if isinstance(v, Node) else isinstance(v, Parameter) and v.name in _ARRAYS for v in values)
    made = op.gives_series or (op.anywhere and op.length is not None)
    return made or (op.is_elementwise and any(arrays))


def _is_context(value: Any) -> bool:
    """Whether it is a constant that is not known yet, while the callback is read that it is used in."""
    return isinstance(value, Parameter) and value.name == CONTEXT


def _with_context(callback: Callback, context: Any) -> Callback:
    """A callback with the constant in the place of the parameter `context`."""
    if CONTEXT not in parameters_of(callback.root):
        return callback

    def put(value: Any) -> Any:
        if _is_context(value):
            return context
        if isinstance(value, list):
            return [put(item) for item in value]
        return _with_context(value, context) if isinstance(value, Callback) else value

    def with_it(node: Node, arguments: dict[str, Any]) -> Node:
        return registry.node(node.process, inside_callback=True, **{n: put(a) for n, a in arguments.items()})

    return Callback(rebuild(callback.root, with_it))


def _text_in(root: Node) -> str | None:
    """A text that a callback compares values with."""
    given = (value for node in walk(root) if registry[node.process].takes_text for value in node.arguments.values())
    listed = (one for value in given for one in (value if isinstance(value, list) else (value,)))
    return next((one for one in listed if isinstance(one, str)), None)


def _plain(value: Any) -> Any:
    """JSON values only, written in one way: lists, Python's numbers, whole numbers without a decimal point."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str | int | float | bool | None):
        raise TypeError(f"{value!r} is no JSON value")
    return value


def _expected(error: Any) -> str:
    text = error["msg"]
    place = ".".join(str(p) for p in error["loc"] if not str(p).startswith(("function-", "constrained")))
    text = text.removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    return f"valid ({place + ': ' if place else ''}{text})"


def _equal(a: Any, b: Any) -> bool:
    return type(a) is not Node and (a is b or (a == b and isinstance(a, bool) == isinstance(b, bool)))


def _argument(name: str, annotation: Any, default: Any) -> Argument:
    required = default is inspect.Parameter.empty
    members = [t for t in typing.get_args(annotation) if t is not type(None)]
    if len(members) == 1 and (members[0] in (Cube, *_CALLBACKS) or _kind_of(members[0])):  # that may be left out
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
    elif _kind_of(annotation):
        kind = "artefact"
    if isinstance(default, tuple):  # as documents have it
        default = list(default)
    default = None if required else default
    named = kind == "artefact" and str in members
    return Argument(name, kind, annotation, required, default, _kind_of(annotation), constants, computed, named)


def _kind_of(annotation: Any) -> str:
    """The kind of artefact that a parameter refers to; empty: none."""
    about = [one for t in (annotation, *typing.get_args(annotation)) for one in getattr(t, "__metadata__", ())]
    return next((one.kind for one in about if isinstance(one, OfKind)), "")


def parameters_of(root: Node) -> set[str]:
    """Names of the parameters that a callback graph uses, those that callbacks inside it have of their own left out."""
    names: set[str] = set()
    for node in walk(root):
        op = registry[node.process]
        stack: list[Any] = list(node.arguments.values())
        while stack:
            item = stack.pop()
            if isinstance(item, Parameter):
                names.add(item.name)
            elif isinstance(item, list):
                stack.extend(item)
        for name, value in node.arguments.items():
            if isinstance(value, Callback):
                names |= parameters_of(value.root) - set(op.arguments[name].offers)
    return names


def references(root: Node) -> dict[str, str]:
    """What a chain refers to: digest → kind of artefact, in order."""
    found: dict[str, str] = {}
    for node in walk(root):
        op = registry[node.process]
        for name, digest in op.referred(node.arguments).items():
            kind = op.arguments[name].artefact
            if found.setdefault(digest, kind) != kind:
                raise DocumentError(f"the artefact {digest[:12]}… is taken for {found[digest]!r} and for {kind!r}")
        found |= {artefact.digest: artefact.kind.name for artefact in op.brings}
    return found


_COMMON = frozenset({
    "coastal", "blue", "green", "green05", "yellow", "pan", "red", "rededge", "rededge071", "rededge075", "rededge078",
    "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11",
    "lwir12",
})  # fmt: skip
"""Names that bands may be asked for by, and are not called: those of STAC."""


Lent = typing.TypeVar("Lent", bound=Operator)


class OperatorRegistry:
    """All operators by id: the profile of openEO processes that this release supports."""

    def __init__(self) -> None:
        self._operators: dict[str, Operator] = {}
        self._held: dict[str, Operator] = {}
        self._lent: WeakValueDictionary[str, Operator] = WeakValueDictionary()
        self._lending = threading.Lock()
        self._offered: dict[str, Operator] = {}
        self._methods: dict[str, str] = {}
        self._uses: list[Callable[[Operator], None]] = []
        self.broken: dict[str, str] = {}
        """Entry points of other packages that could not be loaded, with the reason: their operators are missing."""

    def add(self, op: Operator) -> None:
        if op.id in self._operators:
            raise ValueError(f"operator {op.id!r} is declared twice")
        if op.method is not None and (other := self._methods.get(op.method)) is not None:
            raise ValueError(
                f"operator {op.id!r} would have the method .{op.method}(), which {other!r} has: declare it with "
                "method='…', another name"
            )
        for use in self._uses:
            use(op)
        self._operators[op.id] = op
        if op.method is not None:
            self._methods[op.method] = op.id

    def hold(self, op: Operator) -> None:
        """Knows an operator of this session by its id, beside those that are declared for everybody."""
        self._held[op.id] = op

    def lend(self, op: Lent) -> Lent:
        """Knows an operator by its id for as long as somebody else holds what this returns.

        That is the one which is known by this id already, where there is one: it goes with the last of its holders.
        """
        with self._lending:
            return typing.cast(Lent, self._lent.setdefault(op.id, op))

    def offer(self, op: Operator) -> None:
        """Tells of an operator of this session (see `each`): it takes the place of what was offered by its name."""
        if op.method is not None and (other := self._methods.get(op.method)) is not None:
            raise ValueError(
                f"chains have the method .{op.method}() of {other!r} already: give the function another name, or "
                "declare it with method='…'"
            )
        for use in self._uses:
            use(op)
        if op.method is not None:
            self._offered[op.method] = op

    def each(self, use: Callable[[Operator], None]) -> None:
        """Calls `use` with every operator: those there are, and those that are declared later, before they count."""
        for op in self._operators.values():
            use(op)
        self._uses.append(use)

    def of_method(self, name: str) -> Operator | None:
        """The operator that chains have as the method of this name."""
        return self._operators.get(self._methods.get(name, "")) or self._offered.get(name)

    def __getitem__(self, id: str) -> Operator:
        return self._operators.get(id) or self._held.get(id) or self._lent[id]

    def __iter__(self):
        return iter(self._operators.values())

    def signature(self, process: str, node: str) -> Operator:
        try:
            return self[process]
        except KeyError:
            import difflib

            close = difflib.get_close_matches(process, self._operators, n=3)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            hint += "".join(
                f"; the entry point {name} could not be loaded ({why})" for name, why in self.broken.items()
            )
            namespace = process.rpartition(":")[0]
            if namespace == OWN:
                hint = ": it was declared in a notebook, and runs only there, on its author's own cluster"
            elif namespace not in ("", "muses"):
                hint += (
                    f"; operators of {namespace!r} come from a package, which must be installed here and name its "
                    "module in the entry-point group muses_lab.operators"
                )
            if process in REFUSED:
                hint = f": {REFUSED[process]}"
            raise DocumentError(
                f"node {node!r}: there is no process {process!r} here{hint}",
                openeo="ProcessUnsupported",
                node=node,
                process=process,
            ) from None

    def labels(self, node: Node, dimension: str) -> list[str]:
        """The labels of a dimension of a cube, as far as its document says them: names of bands.

        Raises
        ------
        DocumentError
            There is no such dimension, or its labels are those of scenes that are not known yet.
        """
        metas: dict[str, Meta] = {}
        for one in walk(node):
            op = self[one.process]
            arguments = {a.name: one.arguments.get(a.name, a.default) for a in op.arguments.values()}
            if cubes := [name for name in op.cubes if arguments[name] is not None]:
                metas[one.hash] = op.shape(arguments, {name: metas[arguments[name].hash] for name in cubes})
                continue
            bands = tuple(arguments.get("bands") or ())
            if dimension == "bands" and (not bands or not _COMMON.isdisjoint(bands)):
                said = f"{sorted(_COMMON.intersection(bands))[0]!r}, a common name," if bands else "no `bands`"
                raise DocumentError(
                    f"the labels of 'bands' are not known before scenes are found: {op.id!r} says {said}; give the "
                    "names of bands"
                )
            metas[one.hash] = Meta(True, bands)
        meta = metas[node.hash]
        if dimension == "t" and meta.time:
            raise DocumentError(
                "the labels of 't' are not known before scenes are found; a callback along 't' has array_labels"
            )
        if dimension != "bands" or meta.bands is None:
            text = "x and y have no labels here" if dimension in ("x", "y") else f"there is no dimension {dimension!r}"
            raise DocumentError(text, openeo="DimensionNotAvailable")
        return list(meta.bands)

    def artefact(self, node: Node) -> Artefact:
        """What a node makes whose operator gives artefacts (`Operator.gives`).

        Raises
        ------
        DocumentError
            An artefact that it refers to is not here, or its function refuses (ValueError) what it is given.
        """
        op = self[node.process]
        held = {artefact.digest: artefact for artefact in node.artefacts}
        arguments = dict(node.arguments)
        for name, digest in op.referred(node.arguments).items():
            artefact = held.get(digest) or known(digest)
            if artefact is None:
                kind = kinds[op.arguments[name].artefact]
                raise DocumentError(f"{op.id!r}: the {kind.noun} {digest[:12]}… is not here", argument=name)
            arguments[name] = artefact.value
        try:
            return Artefact.of(kinds[op.gives], op.fn(**arguments))
        except ValueError as error:
            raise DocumentError(f"{op.id!r}: {error}", openeo=getattr(error, "openeo", ""), process=op.id) from None

    def node(self, process: str, /, inside_callback: bool = False, **arguments: Any) -> Node:
        """A checked node of `process`."""
        return make(self, process, arguments, inside_callback=inside_callback)


registry = OperatorRegistry()


def operator(
    id: str,
    *,
    version: str = "1",
    support: Support = PIXEL,
    shape: Shape | None = None,
    needs: Needs | None = None,
    strict: bool | Callable[[Mapping[str, Any]], bool] = True,
    rule: Rule | None = None,
    cost: CostOf | None = None,
    reduces: DimensionOf = None,
    dates: Callable[[Mapping[str, Any], Dates], Dates] | None = None,
    groups: GroupsOf | None = None,
    labels: LabelsOf | None = None,
    asks_dates_of: str | None = None,
    narrowed: Narrowed | None = None,
    masks: str | None = None,
    selects: bool = False,
    code: str | None = None,
    images: ImagesOf | None = None,
    expands: Callable[..., Node] | None = None,
    method: MethodOf = "",
    along: DimensionOf = None,
    length: LengthOf | None = None,
    private: bool = False,
    anywhere: bool = False,
    texts: bool = False,
    partly: str = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares a function as the operator `id` and leaves it an ordinary function.

    Parameters
    ----------
    version
        Recorded in documents; another one where the same arguments give other values.
    support
        What an output pixel depends on.
    shape
        (arguments, metas of its cubes) → meta of its result; by default the first cube's, without what it `reduces`.
    needs
        (arguments, metas of its cubes, bands wanted of it) → bands needed of each cube; by default the same ones, or
        all of them where it reduces `bands`. Who declares a shape declares the needs, too (`same_bands` are those of
        the default): TypeError.
    strict
        Whether the result is missing wherever its input is: dates without data may then be left out. May be told from
        the arguments.
    rule
        Gets all arguments and raises ValueError where they do not go together (`Refused` where openEO names that).
    cost
        What an image takes; without it a value takes two nanoseconds, and so does each process of a callback. Operators
        that look at more than a pixel (Focal, Region, Fit) must declare it: TypeError.
    reduces
        The dimension (`t` or `bands`) which it reduces, the argument that names it, or arguments → dimension or None.
    dates
        (arguments, dates) → the dates that it keeps.
    groups
        (arguments, dates of each cube by argument) → the dates of its result, each with the dates that it is made of:
        only those are read where some dates are wanted, and its function is given these groups as `groups`. None where
        it has the dates of its cubes after all. With `reduces="t"` it reduces each group by its callback: compiled code
        does that, and long groups are thinned.
    labels
        (arguments, groups in order) → what each date of its result is called in arrays: a period (`2018-03`).
    asks_dates_of
        The cube argument of which `groups` is told the dates, and nothing else is used.
    narrowed
        (arguments, metas of its cubes, bands wanted of it) → the arguments that say the same where its cubes have only
        the bands of `needs`: for arguments that name or count bands.
    masks
        The cube argument that removes values of the first cube where it is true.
    selects
        Whether it only chooses bands.
    code
        The instruction of compiled code for a process of values (`ADD`), or the reduction for one of series (`MEDIAN`).
    images
        How compiled code does a process of cubes, image by image.
    expands
        (arguments by name; values as parameters) → the process as a graph of other processes, for compiled code.
    method
        What chains have it as: a method of its id's name, with its arguments, its docstring and the examples (blocks of
        Python) in it. Another name; or a function (node of the chain, what is given to the method) → node, whose name,
        signature and docstring are the method's; None for no method.
    along
        The dimension of which each value depends on the whole series, told as in `reduces`, which is the default.
    length
        Of a process in callbacks that gives an array: (arguments, lengths of those that are arrays) → its length; that
        of the first array by default.
    private
        Whether it runs code that its arguments hold: chains with it run on their author's cluster alone, are not
        published, and are taken from documents only where the user trusts them.
    anywhere
        Whether a process of cubes may be a callback, too: its first cube is then the callback's parameter, values or a
        `Series`.
    texts
        Whether its values may be texts, in conditions on properties and labels.
    partly
        How much of openEO's process of its id it is, where that is not all: for the page of processes.
    """

    def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
        traits = Traits(
            strict, rule, cost, reduces, dates, groups, labels, asks_dates_of, narrowed, masks, selects, code, images,
            expands, method, along, length, private, anywhere, texts, partly,
        )  # fmt: skip
        registry.add(Operator(fn, id, version, support, shape, needs, traits))
        return fn

    return declare
