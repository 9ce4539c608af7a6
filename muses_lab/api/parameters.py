"""Parameters of chains: values that have a name, and the arguments of a chain's processes.

A chain remembers how it was made where a named parameter went into it, and is made again with another value. Any other
argument is changed in the document: its node and those that use it are made anew, what is before it stays the same.
"""

from __future__ import annotations

import datetime
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from muses_lab.document import graph
from muses_lab.document.graph import Callback, Node
from muses_lab.document.graph import Parameter as Given
from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.operators.methods import single
from muses_lab.plain import plain, shown

Path = tuple[str, ...]
"""Where a node is: its hash, after that of the node whose callback it is in, the argument and the key there."""


@dataclass(frozen=True)
class Parameter:
    """A value of a chain that can be changed; `ml.parameter` makes those that have a name of their own."""

    name: str
    value: Any
    schema: Mapping[str, Any] = field(default_factory=dict)
    """JSON schema of its values: `type`, `minimum`, `maximum`, `enum`."""
    title: str = ""
    """What it is called beside its control."""
    step: float | None = None
    labels: Mapping[Any, str] = field(default_factory=dict)
    """What its values are called."""

    def but(self, value: Any) -> Parameter:
        """The same with another value; `ArgumentError` if that is outside of what was declared."""
        value = _as_json(value)
        if isinstance(value, list):
            for one in value:
                self._check(one, self.schema.get("items", {}))
        else:
            self._check(value, self.schema)
        return replace(self, value=value)

    def _check(self, value: Any, schema: Mapping[str, Any]) -> None:
        choices, low, high = (schema.get(name) for name in ("enum", "minimum", "maximum"))
        if choices is not None and value not in choices:
            raise self._wrong(value, f"one of {', '.join(map(repr, choices))}")
        if low is None and high is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(value, "a number")
        if low is not None and value < low:
            raise self._wrong(value, f"at least {low}")
        if high is not None and value > high:
            raise self._wrong(value, f"at most {high}")

    def _wrong(self, value: Any, right: str) -> ArgumentError:
        return ArgumentError(f"{self.name}={shown(value)}: the parameter is {right}", argument=self.name)

    def __bool__(self) -> bool:
        raise TypeError(f"the parameter {self.name!r} has no truth value: it stands for values; now {self.value!r}")

    def __repr__(self) -> str:
        limits = [f"{name}={self.schema[name]}" for name in ("minimum", "maximum") if name in self.schema]
        choices = self.schema.get("enum") or self.schema.get("items", {}).get("enum")
        told = limits + ([f"choices={shown(list(choices))}"] if choices else [])
        return f"<Parameter {self.name} = {shown(self.value)}{''.join(f', {one}' for one in told)}>"


def parameter(
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    step: float | None = None,
    choices: Sequence[Any] | Mapping[Any, str] | None = None,
    title: str = "",
) -> Parameter:
    """A value with a name, to be changed later: it stands where a number, a text, a date or a list would.

    ```python
    threshold = ml.parameter("threshold", 0.4, minimum=0, maximum=1)
    green, wet = ndvi > threshold, ndwi > threshold
    green.with_parameters(threshold=0.5).compute(window)
    m.control_panel("threshold")                         # a slider that changes both on a map
    ```

    The chain is that of the value: its hash, its document and its pixels are those of `ndvi > 0.4`.

    Parameters
    ----------
    name
        As Python's names are; each name has one value in a chain.
    value
        The value until another one is given.
    minimum, maximum, step
        Limits of a number, and its step on a slider. Without them, those hold that the operator declares.
    choices
        The values that it can have; with a mapping, what they are called: `{4: "vegetation", 5: "bare soil"}`. Of a
        value that is a list, what can be in the list.
    title
        What it is called beside its control.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ArgumentError(f"{shown(name)} is no name of a parameter: give one like 'threshold'", argument="name")
    value = _as_json(value)
    schema: dict[str, Any] = {"type": _type(name, value, (minimum, maximum, step))}
    limits = {"minimum": minimum, "maximum": maximum}
    if schema["type"] not in ("number", "integer") and (minimum, maximum, step) != (None, None, None):
        raise ArgumentError(f"{name}={shown(value)} is no number, so it has no minimum, maximum or step", argument=name)
    schema |= {key: plain(limit) for key, limit in limits.items() if limit is not None}
    labels: dict[Any, str] = {}
    if choices is not None:
        listed = [_as_json(one) for one in choices]
        labels = {_as_json(one): str(text) for one, text in choices.items()} if isinstance(choices, Mapping) else {}
        schema |= {"items": {"enum": listed}} if schema["type"] == "array" else {"enum": listed}
    made = Parameter(name, value, schema, title, None if step is None else float(step), labels)
    return made.but(value)


def declared_by(document: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a document's parameters, as parameters of their names; those without a value are left out."""
    found = dict(given)
    for one in document:
        name, value = one["name"], given.get(one["name"], one.get("default"))
        schema = one.get("schema")
        if value is None or isinstance(value, Parameter | Mapping):
            continue  # an object is no control's value
        title = str(one.get("description") or "")
        found[name] = Parameter(name, _as_json(value), schema if isinstance(schema, Mapping) else {}, title)
    return found


def _type(name: str, value: Any, limits: tuple[Any, ...]) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) and all(one is None or isinstance(one, int) for one in limits):
        return "integer"
    for kind, types in (("number", (int, float)), ("string", str), ("array", list)):
        if isinstance(value, types):
            return kind
    raise ArgumentError(
        f"{name}={shown(value)} is no value of a parameter: give a number, a text, a date, true or false, or a list",
        argument=name,
    )


def _as_json(value: Any) -> Any:
    found = plain(value)
    if isinstance(found, list):
        return [_as_json(one) for one in found]
    return found.isoformat() if isinstance(found, datetime.date) else found


# --------------------------------------------------------------------------- named: made again with another value


class Recipe(NamedTuple):
    """How an expression was made of others and of named parameters."""

    make: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    parameters: dict[str, Parameter]
    """Those that went into it, and into what it was made of."""


def replayable(function: Any, schemas: Callable[[], Mapping[str, Any]] | None = None) -> Any:
    """A function that takes parameters in the place of values, and writes down in the chain that it gives how it was
    made; `schemas` are those that are declared of its arguments."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def replayed(*args: Any, **kwargs: Any) -> Any:
        found = _parameters_in((args, kwargs))
        if not found:
            return function(*args, **kwargs)
        if schemas is not None:
            args, kwargs = _declared(signature, args, kwargs, schemas())
            found = _parameters_in((args, kwargs))
        made = function(*_mapped(args, _value), **_mapped(kwargs, _value))
        if hasattr(made, "_recipe") and made is not (args[0] if args else None):
            made._recipe = Recipe(replayed, args, kwargs, found)
        return made

    return replayed


def replay(expression: Any, values: Mapping[str, Parameter]) -> Any:
    """The expression with other named parameters; a loop, because chains may be deep."""
    made: dict[int, Any] = {}
    stack = [expression]
    while stack:
        one = stack[-1]
        recipe = one._recipe
        if recipe is None or not recipe.parameters.keys() & values.keys():
            made[id(one)] = one
        if id(one) in made:
            stack.pop()
            continue
        parts = _leaves((recipe.args, recipe.kwargs))
        waiting = [part for part in parts if hasattr(part, "_recipe") and id(part) not in made]
        if waiting:
            stack.extend(waiting)
            continue

        def put(part: Any) -> Any:
            return values.get(part.name, part) if isinstance(part, Parameter) else made.get(id(part), part)

        made[id(one)] = recipe.make(*_mapped(recipe.args, put), **_mapped(recipe.kwargs, put))
    return made[id(expression)]


_DEPTH = 4
"""Levels of lists and mappings in which parameters are looked for; a geometry is not walked through to its points."""


def _leaves(value: Any, depth: int = _DEPTH) -> Iterator[Any]:
    if depth and isinstance(value, list | tuple | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(one, depth - 1)
    else:
        yield value


def _mapped(value: Any, put: Callable[[Any], Any], depth: int = _DEPTH) -> Any:
    if depth and type(value) is dict:
        return {key: _mapped(one, put, depth - 1) for key, one in value.items()}
    if depth and type(value) in (list, tuple):
        return type(value)(_mapped(one, put, depth - 1) for one in value)
    return put(value)


def _value(value: Any) -> Any:
    return value.value if isinstance(value, Parameter) else value


def _parameters_in(value: Any) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for leaf in _leaves(value):
        recipe = getattr(leaf, "_recipe", None)
        several = [leaf] if isinstance(leaf, Parameter) else recipe.parameters.values() if recipe else ()
        for one in several:
            other = found.setdefault(one.name, one)
            if other.value != one.value:
                raise ArgumentError(
                    f"the parameter {one.name!r} is {shown(other.value)} in one part of the chain and "
                    f"{shown(one.value)} in another; give each its own name, or both the same value",
                    argument=one.name,
                )
            if len(one.schema) > len(other.schema):  # where an operator has told its limits
                found[one.name] = one
    return found


def _declared(
    signature: inspect.Signature, args: Any, kwargs: Any, schemas: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Parameters with what is declared of the arguments for which they stand."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return args, kwargs  # which the function itself says
    for name, value in bound.arguments.items():
        if isinstance(value, Parameter):
            schema = {**single(schemas.get(name, {}))[0], **value.schema}
            bound.arguments[name] = replace(value, schema=schema)
    return bound.args, bound.kwargs


# ------------------------------------------------------------------------------- arguments: changed in the document


@dataclass(frozen=True)
class _Place:
    """An argument of a node."""

    path: Path
    process: str
    argument: str
    value: Any
    schema: Mapping[str, Any]


def arguments(root: Node) -> dict[str, tuple[Parameter, Path]]:
    """The constants among the arguments of a chain's processes, by `process.argument`, in the document's order.

    Where a process stands several times: `process[1].argument`, `process[2].argument`.
    """
    places = list(_places(root, ()))
    paths: dict[str, list[Path]] = {}
    for place in places:
        of_process = paths.setdefault(place.process, [])
        if place.path not in of_process:
            of_process.append(place.path)
    found = {}
    for place in places:
        several = paths[place.process]
        number = f"[{several.index(place.path) + 1}]" if len(several) > 1 else ""
        name = f"{place.process}{number}.{place.argument}"
        found[name] = Parameter(name, place.value, place.schema), place.path
    return found


def _places(root: Node, within: Path) -> Iterator[_Place]:
    for node in graph.walk(root):
        path = (*within, node.hash)
        op = registry[node.process]
        for argument in op.arguments.values():
            value = node.arguments.get(argument.name, argument.default)
            if isinstance(value, Callback):
                yield from _places(value.root, (*path, argument.name, ""))
            elif argument.kind == "conditions" and isinstance(value, Mapping):
                for key, condition in value.items():
                    yield from _places(condition.root, (*path, argument.name, key))
            elif argument.kind in ("value", "scalar", "date", "array") and value is not None and _is_constant(value):
                schema = single(op.schemas[argument.name])[0] if argument.kind in ("value", "date") else {}
                name = node.process.rpartition(":")[2]
                yield _Place(path, name, argument.name, value, schema or _schema_of(value))


def _is_constant(value: Any) -> bool:
    return not any(isinstance(leaf, Node | Callback | Given) for leaf in _leaves(value))


def _schema_of(value: Any) -> dict[str, Any]:
    for types, kind in ((bool, "boolean"), ((int, float), "number"), (str, "string"), (list, "array")):
        if isinstance(value, types):
            return {"type": kind}
    return {}


def with_arguments(root: Node, changes: Mapping[str, Any]) -> Node:
    """The chain with other values for arguments, by their names in `arguments`."""
    known = arguments(root)
    at: dict[Path, dict[str, Any]] = {}
    for name, value in changes.items():
        at.setdefault(known[name][1], {})[name.rpartition(".")[2]] = _as_json(value)
    return _put(root, (), at)


def _put(root: Node, within: Path, at: Mapping[Path, Mapping[str, Any]]) -> Node:
    def inside(path: Path) -> bool:
        return any(other[: len(path)] == path for other in at)

    def anew(node: Node, given: dict[str, Any]) -> Node:
        path = (*within, node.hash)
        for name, value in given.items():
            if isinstance(value, Callback) and inside((*path, name, "")):
                given = {**given, name: Callback(_put(value.root, (*path, name, ""), at))}
            elif isinstance(value, Mapping) and inside((*path, name)):
                conditions = {key: Callback(_put(one.root, (*path, name, key), at)) for key, one in value.items()}
                given = {**given, name: conditions}
        return registry.node(node.process, inside_callback=bool(within), **{**given, **at.get(path, {})})

    return graph.rebuild(root, anew)


def unknown(name: str, known: Sequence[str]) -> ArgumentError:
    """The error of a name that a chain has not."""
    import difflib

    near = difflib.get_close_matches(name, known, 3, 0.5) or list(known)[:8]
    several = [one for one in known if one.partition("[")[0] == name.partition(".")[0] and "[" in one]
    told = f"it stands several times: {', '.join(several)}" if several else f"it has {', '.join(near) or 'none'}"
    return ArgumentError(f"the chain has no parameter {name!r}; {told} (see .parameters)", argument=name)


def _process(name: str) -> str:
    return name.rpartition(".")[0]


class Parameters(Mapping[str, Parameter]):
    """The parameters of a chain by name: those that were given a name, then the arguments of its processes."""

    def __init__(self, named: Mapping[str, Parameter], others: Mapping[str, Parameter]) -> None:
        self.named = tuple(named)
        """Those of `ml.parameter`, and of a document's own parameters."""
        self._all = {**named, **others}

    def __getitem__(self, name: str) -> Parameter:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def means(self, name: str) -> list[str]:
        """Those of a name; that of a process alone means all its arguments."""
        return [one for one in self._all if name in (one, _process(one), _process(one).partition("[")[0])]

    def chosen(self, names: Sequence[str]) -> dict[str, Parameter]:
        """Those of several names, in their order; `ArgumentError` for one that is none."""
        found: dict[str, Parameter] = {}
        for name in names:
            here = self.means(name)
            if not here:
                raise unknown(name, list(self._all))
            found |= {one: self._all[one] for one in here}
        return found

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._all.values())) or "<no parameters>"
