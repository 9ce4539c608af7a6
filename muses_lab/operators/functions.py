"""Callbacks written as Python functions: `lambda data: data.max() - data["red"]`.

A function is called once, with terms in the place of values; what it does with them becomes a process graph. A term has
all processes of values and arrays as methods, with openEO's names; `if_`, `and_`, `or_` and `not_` where Python has the
word itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import ArgumentError
from muses_lab.operators.declared import Operator
from muses_lab.operators.registered import registry
from muses_lab.plain import plain, shown


def callback(argument: str, given: Any, *parameters: str) -> Callback:
    """What is given for an argument as a callback: a function of terms, the name of a process, or a callback.

    >>> callback("reducer", lambda data: data.max() - data.min(), "data")
    <Callback subtract>
    """
    if isinstance(given, Callback):
        return given
    terms = [Term(Parameter(name)) for name in parameters]
    made: Any
    if isinstance(given, str):
        made = _made(given, *terms)
    elif callable(given) and not isinstance(given, type):
        taken = len(inspect.signature(given).parameters)
        made = given(*terms[:taken])
    else:
        raise ArgumentError(
            f"{argument}={shown(given)} is no function of {', '.join(parameters)}, nor the name of a process",
            argument=argument,
        )
    if type(made) in (list, tuple):
        made = _made("array_create", list(made))
    if not (isinstance(made, Term) and isinstance(made.of, Node)):
        raise ArgumentError(
            f"{argument}: the function gives {shown(made)}, which is nothing computed of {', '.join(parameters)}",
            argument=argument,
        )
    return Callback(made.of)


def cube_callback(argument: str, given: Any) -> Callback:
    """As `callback`, of a part of a cube: its terms have the processes of cubes as methods, too.

    >>> cube_callback("process", lambda data: data.apply_kernel([[1, 1, 1]]))
    <Callback apply_kernel>
    """
    if callable(given) and not isinstance(given, type):
        made = given(CubeTerm(Parameter("data")))
        if isinstance(made, Term):
            given = lambda _data: made  # noqa: E731
    return callback(argument, given, "data")


class Term:
    """A value or an array in a callback."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, of: Node | Parameter) -> None:
        self.of = of

    def __repr__(self) -> str:
        return f"<Term {self.of}>"

    def __getattr__(self, name: str) -> Callable[..., Term]:
        process = name.removesuffix("_")
        if name.startswith("_") or not any(op.id == process and self._has(op) for op in registry):
            raise AttributeError(f"there is no process {process!r} of {self._of}")
        return lambda *args, **kwargs: _made(process, self, *args, **kwargs)

    _of = "values or arrays"

    def _has(self, op: Operator) -> bool:
        return op.anywhere or not op.is_cube_process

    def __getitem__(self, place: int | str) -> Term:
        return _made("array_element", self, **{"label" if isinstance(place, str) else "index": place})

    def __iter__(self) -> Any:
        raise TypeError("how many elements an array has is not known here: take them by their places, data[0]")

    def __bool__(self) -> bool:
        raise TypeError("a term has no truth value: use & | ~ and .if_(…)")

    def __invert__(self) -> Term:
        return _made("not", self)

    def __neg__(self) -> Term:
        return _made("multiply", self, -1)

    def __abs__(self) -> Term:
        return _made("absolute", self)


class CubeTerm(Term):
    """A part of a cube in a callback, or an array where it has one dimension."""

    _of = "cubes, values or arrays"

    def _has(self, op: Operator) -> bool:
        return bool(op.cubes) or not op.is_cube_process


def _operator(process: str, turned: bool = False) -> Callable[[Term, Any], Term]:
    return lambda a, b: _made(process, b, a) if turned else _made(process, a, b)


_SIGNS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "mod": "mod", "pow": "power",
    "and": "and", "or": "or", "xor": "xor",
}  # fmt: skip
for _sign, _process in _SIGNS.items():
    setattr(Term, f"__{_sign}__", _operator(_process))
    setattr(Term, f"__r{_sign}__", _operator(_process, turned=True))
for _sign, _process in {"lt": "lt", "le": "lte", "gt": "gt", "ge": "gte", "eq": "eq", "ne": "neq"}.items():
    setattr(Term, f"__{_sign}__", _operator(_process))


def _made(process: str, /, *args: Any, **kwargs: Any) -> Term:
    op = registry.signature(process, process)
    if len(args) > len(op.arguments):
        raise TypeError(f"{process} takes {', '.join(op.arguments)}; {len(args)} arguments were given")
    given = dict(zip(op.arguments, args, strict=False))
    if twice := given.keys() & kwargs.keys():
        raise TypeError(f"{process} got two values for {min(twice)!r}")
    arguments = {name: _argument(op, name, value) for name, value in (given | kwargs).items()}
    kind = CubeTerm if op.is_cube_process else Term
    return kind(registry.node(process, inside_callback=True, **arguments))


def _argument(op: Any, name: str, value: Any) -> Any:
    if isinstance(value, Term):
        return value.of
    if isinstance(value, list | tuple):
        return [_argument(op, name, item) for item in value]
    declared = op.arguments.get(name)
    is_named = isinstance(value, str) and declared is not None and value not in declared.constants
    if declared is not None and declared.kind == "callback" and (callable(value) or is_named):
        return callback(name, value, *declared.offers)
    return plain(value)
