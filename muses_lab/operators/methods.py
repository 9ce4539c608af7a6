"""How a process is written in Python: the methods of chains, made of the declarations of operators.

A method is a function (node of a chain, what is given) → node. Its parameters are the arguments of the declaration:

| declared on | the method |
|---|---|
| a cube | has the arguments after the first cube; those that are cubes take chains |
| a value (`x`) | is applied to every value; has the arguments after it |
| a series (`data`) | reduces `dim`, the dates by default; has the other arguments as well |

Where that does not fit, the operator is declared with a function of its own (`method=`), built of `on_cube`,
`on_values` and `over`.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from inspect import Parameter as Argument
from inspect import Signature
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import ArgumentError
from muses_lab.operators.arguments import DIGEST
from muses_lab.operators.arguments import Argument as Declared
from muses_lab.operators.contract import Cube
from muses_lab.operators.declared import Operator
from muses_lab.operators.registered import registry
from muses_lab.plain import number, plain, shown

Dimension = Literal["t", "bands"]
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A method of chains."""

    name: str
    signature: Signature
    """Without the chain itself. Of the type `Node` is what takes other chains."""
    build: Callable[..., Node]
    """(node of the chain, what is given by `signature`) → node."""
    doc: str
    """What it does, with runnable examples."""


def method_of(op: Operator) -> Method | None:
    """The method that chains have for an operator; None where they have none."""
    if op.method is None:
        return None
    if op.build is not None:
        doc = op.build.__doc__ or op.fn.__doc__
        return Method(op.method, _signature(op.build), op.build, inspect.cleandoc(doc or ""))
    declared = _signature(op.fn, [a.name for a in op.arguments.values()])
    (first, *_), kind = op.arguments, next(iter(op.arguments.values())).kind
    if kind == "array":
        dim = Argument("dim", Argument.POSITIONAL_OR_KEYWORD, default="t", annotation=Dimension)
        given = [p for p in declared.parameters.values() if p.default is Argument.empty]
        optional = [p for p in declared.parameters.values() if p.default is not Argument.empty]
        declared = declared.replace(parameters=[*given, dim, *optional])

    def build(data: Node, *args: Any, **kwargs: Any) -> Node:
        arguments, id = dict(declared.bind(*args, **kwargs).arguments), op.current().id
        if kind == "cube":
            return registry.node(id, **{first: data, **handed_over(id, arguments)})
        if kind == "scalar":
            return on_values(data, id, first, **arguments)
        return over(data, arguments.pop("dim", "t"), id, **arguments)

    return Method(op.method, declared, build, inspect.cleandoc(op.fn.__doc__ or ""))


def schemas_of(method: str) -> dict[str, Schema]:
    """JSON schemas of a method's arguments: as declared, where the method has the process's arguments."""
    operator = registry.of_method(method)
    assert operator is not None
    made = method_of(operator)
    assert made is not None
    schemas: dict[str, Schema] = {}
    for parameter in made.signature.parameters.values():
        declared = operator.arguments.get(parameter.name)
        if declared is not None:
            schemas[parameter.name] = declared.schema()
        else:
            with suppress(PydanticUserError):  # chains, functions: given as arguments, or written as values
                schemas[parameter.name] = TypeAdapter(parameter.annotation).json_schema()
    return schemas


def single(schema: Schema) -> tuple[Schema, bool]:
    """A schema without null, and whether null was allowed."""
    options = schema.get("anyOf")
    if not options:
        return schema, False
    others = [one for one in options if one.get("type") != "null"]
    return (others[0] if len(others) == 1 else {}), len(others) < len(options)


def _signature(fn: Callable[..., Any], names: list[str] | None = None) -> Signature:
    """Of a function without its first parameter and those that are not named; types without what checks them."""
    hints = typing.get_type_hints(fn)
    parameters = [p for p in inspect.signature(fn).parameters.values() if names is None or p.name in names]
    types = {p.name: Node if hints[p.name] is Cube else hints[p.name] for p in parameters}
    return Signature([p.replace(annotation=types[p.name]) for p in parameters[1:]])


# ------------------------------------------------------------------------------- what methods are built of


def on_cube(data: Node, process: str, /, **arguments: Any) -> Node:
    """A process of the cube."""
    return registry.node(process, data=data, **handed_over(process, arguments))


def on_values(data: Node, process: str, argument: str = "x", /, **arguments: Any) -> Node:
    """A process of one value, on every value of the cube: it is the process's `argument`."""
    root = registry.node(process, inside_callback=True, **{argument: Parameter("x")}, **values(arguments))
    return registry.node("apply", data=data, process=Callback(root))


def over(data: Node, dim: str, process: str | Node, /, **arguments: Any) -> Node:
    """A dimension reduced by a process of a series, or by a graph of them that ends in a node."""
    if isinstance(process, str):
        arguments.setdefault("data", Parameter("data"))
        process = registry.node(process, inside_callback=True, **values(arguments))
    return registry.node("reduce_dimension", data=data, reducer=Callback(process), dimension=dim)


def reducer_named(data: Node, name: Any, q: float | None = None) -> Callback:
    """The reducer that chains have as the method of this name."""
    op = registry.of_method(name) if isinstance(name, str) else None
    method = None if op is None else method_of(op)
    if method is None or "dim" not in method.signature.parameters:
        raise ArgumentError(f"{shown(name)} is no reducer: give 'median', 'mean', 'max', 'count', 'std' or the like")
    given = {} if q is None else {"q": number("q", q)}
    try:
        made = method.build(data, **given, dim="t")
    except TypeError:
        fits = "takes q, a number from 0 to 1" if q is None else "takes no q; 'quantile' does"
        raise ArgumentError(f"the reducer {name!r} {fits}") from None
    return made.arguments["reducer"]


def each_along(data: Node, dim: str, process: str, /, **arguments: Any) -> Node:
    """The values along a dimension replaced by those of a process that gives an array as long."""
    root = registry.node(process, inside_callback=True, data=Parameter("data"), **values(arguments))
    return registry.node("apply_dimension", data=data, process=Callback(root), dimension=dim)


def band_value(label: str) -> Node:
    """The value of a band, in a process over bands."""
    return registry.node("array_element", inside_callback=True, data=Parameter("data"), label=label)


def handed_over(process: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A process's arguments as documents have them, and an artefact for a model, a file or the like.

    >>> handed_over("mask_polygon", {"mask": "fields.gpkg", "inside": True})        # doctest: +SKIP
    {'mask': <Artefact muses:polygons 5d41402a>, 'inside': True}
    """
    operator = registry.signature(process, process)
    kept = {name: value for name, value in arguments.items() if name in operator.artefacts and value is not None}
    others = values({name: value for name, value in arguments.items() if name not in kept})
    return others | {name: _artefact(operator.arguments[name], process, value) for name, value in kept.items()}


def _artefact(argument: Declared, process: str, value: Any) -> Any:
    """What a user hands over as an artefact; a digest stays one."""
    if isinstance(value, Artefact) or (isinstance(value, str) and re.fullmatch(DIGEST, value)):
        return value
    kind, name = kinds[argument.artefact], argument.name
    try:
        return Artefact.of(kind, kind.of(value))
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{name}={shown(value)} of {process} is no {kind.noun}: {error}", argument=name) from None


def values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as documents have them; a set in an order."""
    return {
        name: sorted(value) if isinstance(value, set | frozenset) else plain(value)
        for name, value in arguments.items()
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- docstrings

_EXAMPLES = re.compile(r"^```python\n(.*?)^```\n*", re.MULTILINE | re.DOTALL)


def description(doc: str) -> str:
    """A docstring without its examples."""
    return _EXAMPLES.sub("", inspect.cleandoc(doc) + "\n").strip()


def examples(doc: str) -> list[str]:
    """The lines of the examples (blocks of Python) in a docstring, without their comments."""
    lines = "\n".join(_EXAMPLES.findall(inspect.cleandoc(doc) + "\n")).splitlines()
    return [text for line in lines if (text := line.partition("  #")[0].strip())]
