"""What a CQL2 expression (OGC 21-065r2, in its JSON form) says of one item.

Logic has three values: what needs a property that an item lacks is unknown (None), not false. Times are closed
intervals of microseconds, so that a day, an instant and an interval compare by the same rules:
`datetime <= DATE('2020-06-03')` holds until that day ends.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from muses_lab.times import parse_time

OWN_FIELDS = frozenset({"id", "collection", "geometry"})
"""What CQL2 finds on the item itself; everything else is looked for among its properties."""
_TIMES = frozenset({"datetime", "start_datetime", "end_datetime", "created", "updated", "published", "expires"})
"""Properties that hold times: a text they are compared with is one too."""


class Senseless(ValueError):
    """What can be neither true nor false: a number compared with a text, a function that there is not."""


class Time(NamedTuple):
    """From the first to the last microsecond of a day, of an interval or of an instant, both included."""

    first: datetime
    last: datetime


_EVER = Time(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class Step(NamedTuple):
    """One step of an expression: so many values are taken from the stack, one is put there."""

    takes: int
    gives: Callable[[dict[str, Any], list[Any]], Any]
    """The item and the values → a value; None: unknown."""


def steps(expression: Any) -> list[Step]:
    """An expression in CQL2 JSON as steps for a stack: long chains of operators are nested too deeply for recursion.

    Raises
    ------
    Senseless
        It has a function that is not known, or a time or geometry that is none.
    """
    found: list[Step] = []
    left = [expression]
    while left:
        node = left.pop()
        parts, step = _step(node)
        found.append(step)
        left.extend(parts)
    return found[::-1]


def value_for(program: list[Step], item: dict[str, Any]) -> Any:
    """The value of an expression for an item; None: unknown. Raises `Senseless` where it is neither true nor false."""
    stack: list[Any] = []
    for step in program:
        first = len(stack) - step.takes
        values = stack[first:]
        del stack[first:]
        stack.append(step.gives(item, values))
    return stack.pop()


def _step(node: Any) -> tuple[list[Any], Step]:
    """What a node is made of, in order, and what it does with that."""
    if isinstance(node, list):
        return node, Step(len(node), lambda item, values: values)
    if isinstance(node, dict) and "op" in node:
        op, parts = node["op"].lower(), node.get("args", [])
        if op not in _KNOWN:
            raise Senseless(f"{node['op']!r} is no operator or function of CQL2")
        of_times = any(
            isinstance(p, dict) and p.get("property", "").removeprefix("properties.") in _TIMES for p in parts
        )
        return parts, Step(len(parts), lambda item, values: _operation(op, values, of_times))
    if isinstance(node, dict) and "interval" in node:
        return node["interval"], Step(len(node["interval"]), lambda item, values: _interval(values))
    if isinstance(node, dict) and "property" in node:
        return [], Step(0, lambda item, values: value_of(item, node["property"]))
    constant = _constant(node)
    return [], Step(0, lambda item, values: constant)


def _constant(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if "date" in node or "timestamp" in node:
        return _time(node.get("date", node.get("timestamp")))
    if "bbox" in node:
        ends = node["bbox"]
        return box(*(ends if len(ends) == 4 else (*ends[:2], *ends[3:5])))
    return _geometry(node)


def value_of(item: dict[str, Any], name: str) -> Any:
    """A property of an item, or one of its own fields."""
    name = name.removeprefix("properties.")
    return item.get(name) if name in OWN_FIELDS else item.get("properties", {}).get(name)


def _operation(op: str, values: list[Any], of_times: bool) -> Any:
    if op in ("and", "or"):
        found = [_truth(value) for value in values]
        decides = op == "or"
        return decides if decides in found else None if None in found else not decides
    if op == "isnull":
        return values[0] is None
    if op == "in":
        return _in(values[0], values[1])
    if any(value is None for value in values):
        return None
    if of_times:
        values = [_time(value) if isinstance(value, str) else value for value in values]
    return _KNOWN[op](*values)


def _truth(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise Senseless(f"{value!r} is neither true nor false")


def _not(value: Any) -> bool:
    return not _truth(value)


def _in(value: Any, choices: list[Any]) -> bool | None:
    if value is None:
        return None
    if any(choice is not None and _equal(value, choice) for choice in choices):
        return True
    return None if None in choices else False


def _between(value: Any, low: Any, high: Any) -> bool:
    return _compare(operator.ge, value, low) and _compare(operator.le, value, high)


# Comparisons


def _kind(value: Any) -> str:
    for kind, types in (("truth value", bool), ("number", int | float), ("text", str), ("time", Time), ("list", list)):
        if isinstance(value, types):
            return kind
    return "geometry" if isinstance(value, BaseGeometry) else "object"


def _alike(a: Any, b: Any) -> tuple[Any, Any]:
    """Both as they can be compared: a text beside a time is a time."""
    if isinstance(a, Time) and isinstance(b, str):
        b = _time(b)
    elif isinstance(b, Time) and isinstance(a, str):
        a = _time(a)
    if _kind(a) != _kind(b) or _kind(a) == "object":
        raise Senseless(f"a {_kind(a)} ({_short(a)}) cannot be compared with a {_kind(b)} ({_short(b)})")
    return a, b


def _compare(relation: Callable[[Any, Any], bool], a: Any, b: Any) -> bool:
    a, b = _alike(a, b)
    if isinstance(a, Time):
        # Before is before the first moment of a day, after is after its last.
        return relation(a.last, b.first) if relation in (operator.lt, operator.ge) else relation(a.first, b.last)
    if _kind(a) not in ("number", "text"):
        raise Senseless(f"there is no order of a {_kind(a)} ({_short(a)})")
    return relation(a, b)


def _equal(a: Any, b: Any) -> bool:
    a, b = _alike(a, b)
    if isinstance(a, Time):
        return (a.first >= b.first and a.last <= b.last) or (b.first >= a.first and b.last <= a.last)
    if isinstance(a, BaseGeometry):
        return bool(shapely.equals(a, b))
    return a == b


def _like(value: Any, pattern: Any) -> bool:
    if not isinstance(value, str) or not isinstance(pattern, str):
        raise Senseless(f"LIKE compares texts, not {_short(value)} with {_short(pattern)}")
    return _pattern(pattern).fullmatch(value) is not None


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> re.Pattern[str]:
    """A LIKE pattern: % is any text, _ any character, a backslash takes the meaning away."""
    signs = {"%": ".*", "_": "."}
    parts = (part for part in re.findall(r"\\.|.", pattern, re.DOTALL))
    return re.compile("".join(signs.get(p) or re.escape(p[-1]) for p in parts), re.DOTALL)


def _fold(value: Any) -> Any:
    return _text(value, "CASEI").casefold()


def _without_accents(value: Any) -> Any:
    apart = unicodedata.normalize("NFKD", _text(value, "ACCENTI"))
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Senseless(f"{what} takes a text, not {_short(value)}")
    return value


# Numbers


def _calculate(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def calculated(a: Any, b: Any) -> Any:
        if _kind(a) != "number" or _kind(b) != "number":
            raise Senseless(f"{_short(a)} and {_short(b)} are not both numbers")
        try:
            return function(a, b)
        except (ArithmeticError, ValueError) as error:
            raise Senseless(f"{_short(a)} and {_short(b)}: {error}") from None

    return calculated


# Times


def _time(text: Any) -> Time:
    try:
        first = parse_time(text)
    except ValueError as error:
        raise Senseless(str(error)) from None
    whole_day = re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", str(text).strip())
    return Time(first, first + timedelta(days=1, microseconds=-1) if whole_day else first)


def _interval(ends: list[Any]) -> Time | None:
    if any(end is None for end in ends):
        return None
    first, last = (None if end == ".." else end if isinstance(end, Time) else _time(end) for end in ends)
    return Time(first.first if first else _EVER.first, last.last if last else _EVER.last)


def _temporal(relation: Callable[[Time, Time], bool]) -> Callable[[Any, Any], bool]:
    def holds(a: Any, b: Any) -> bool:
        return relation(*(value if isinstance(value, Time) else _time(value) for value in (a, b)))

    return holds


# Places


def _geometry(document: Any) -> BaseGeometry:
    if isinstance(document, BaseGeometry):
        return document
    try:
        return shape(document)
    except (ShapelyError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Senseless(f"{_short(document)} is not a geometry: {error}") from None


def _spatial(relation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def holds(a: Any, b: Any) -> bool:
        return bool(relation(_geometry(a), _geometry(b)))

    return holds


# Lists


def _array(relation: Callable[[list[Any], list[Any]], bool]) -> Callable[[Any, Any], bool]:
    def holds(a: Any, b: Any) -> bool:
        if not isinstance(a, list | tuple) or not isinstance(b, list | tuple):
            raise Senseless(f"{_short(a)} and {_short(b)} are not both lists")
        return relation(list(a), list(b))

    return holds


def _short(value: Any) -> str:
    return repr(value.first.isoformat() if isinstance(value, Time) else value)[:60]


_KNOWN: dict[str, Callable[..., Any]] = {
    "and": _truth, "or": _truth, "isnull": _truth, "in": _in,  # see _operation: they look at what is unknown
    "not": _not, "between": _between, "like": _like, "casei": _fold, "accenti": _without_accents,
    "=": _equal, "<>": lambda a, b: not _equal(a, b),
    **{sign: (lambda a, b, relation=relation: _compare(relation, a, b)) for sign, relation in (
        ("<", operator.lt), ("<=", operator.le), (">", operator.gt), (">=", operator.ge))},
    **{sign: _calculate(function) for sign, function in (
        ("+", operator.add), ("-", operator.sub), ("*", operator.mul), ("/", operator.truediv), ("^", operator.pow),
        ("%", operator.mod), ("div", operator.floordiv))},
    **{f"s_{name}": _spatial(getattr(shapely, name)) for name in (
        "contains", "crosses", "disjoint", "equals", "intersects", "overlaps", "touches", "within")},
    **{f"t_{name}": _temporal(relation) for name, relation in {
        "after": lambda a, b: a.first > b.last,
        "before": lambda a, b: a.last < b.first,
        "contains": lambda a, b: a.first < b.first and a.last > b.last,
        "disjoint": lambda a, b: a.first > b.last or a.last < b.first,
        "during": lambda a, b: a.first > b.first and a.last < b.last,
        "equals": lambda a, b: a == b,
        "finishedby": lambda a, b: a.first < b.first and a.last == b.last,
        "finishes": lambda a, b: a.first > b.first and a.last == b.last,
        "intersects": lambda a, b: a.first <= b.last and a.last >= b.first,
        "meets": lambda a, b: a.last == b.first,
        "metby": lambda a, b: a.first == b.last,
        "overlappedby": lambda a, b: b.first < a.first < b.last < a.last,
        "overlaps": lambda a, b: a.first < b.first < a.last < b.last,
        "startedby": lambda a, b: a.first == b.first and a.last > b.last,
        "starts": lambda a, b: a.first == b.first and a.last < b.last}.items()},
    "a_equals": _array(lambda a, b: a == b),
    "a_contains": _array(lambda a, b: all(value in a for value in b)),
    "a_containedby": _array(lambda a, b: all(value in b for value in a)),
    "a_overlaps": _array(lambda a, b: any(value in b for value in a)),
}  # fmt: skip
