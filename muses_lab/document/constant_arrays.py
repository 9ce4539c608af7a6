"""Arrays of constants: openEO's reducers and processes of arrays, whose elements are any JSON values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from muses_lab.times import parse_time

MAX_VALUES = 100_000
"""Of one constant: elements of an array, characters of a text."""


class NotConstant(Exception):
    """The process is none of those here, or its result is no JSON value (a division by zero)."""


class Impossible(ValueError):
    """Arguments for which openEO has an exception, with its name."""

    def __init__(self, openeo: str, message: str) -> None:
        super().__init__(message)
        self.openeo = openeo


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.60} is no number")
    return value


def array(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError(f"{data!r:.60} is no array")
    return data


def equal(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> bool | None:
    """As `eq` has it."""
    if x is None or y is None:
        return None
    kinds = [bool if isinstance(v, bool) else str if isinstance(v, str) else float for v in (x, y)]
    if kinds[0] is not kinds[1] or isinstance(x, list | dict) or isinstance(y, list | dict):
        return False  # true is not 1
    if kinds[0] is str:
        return x == y if case_sensitive else x.casefold() == y.casefold()
    return abs(x - y) <= delta if delta and kinds[0] is float else x == y


# -------------------------------------------------------------------------------------------------------- reducers


def of_series(compute: Callable[[list[Any]], Any], missing: Any = None) -> Callable[..., Any]:
    """A reduction; missing where nothing is left, or where something is missing that counts."""

    def fold(data: Sequence[Any], ignore_nodata: bool = True) -> Any:
        values = [v for v in array(data) if v is not None] if ignore_nodata else array(data)
        if None in values or not values:
            return missing
        return compute([number(v) for v in values])

    return fold


def spread(compute: Callable[[list[Any]], float]) -> Callable[..., Any]:
    """A measure of a sample, which one value does not have."""
    return of_series(lambda values: compute(values) if len(values) > 1 else None)


def quantiles(
    data: Any, probabilities: Any = None, ignore_nodata: bool = True, q: int | None = None
) -> list[float | None]:
    if (probabilities is None) == (q is None):
        name = "QuantilesParameterMissing" if q is None else "QuantilesParameterConflict"
        raise Impossible(name, "give `probabilities`, or the number of intervals `q` of older documents")
    asked = q if probabilities is None else probabilities
    if not isinstance(asked, list):
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < 2:
            raise ValueError(f"{asked!r:.60} is no number of intervals: it is a whole number from 2")
        asked = [k / asked for k in range(1, asked)]
    if not all(0 <= number(p) <= 1 for p in asked):
        raise ValueError("probabilities are numbers from 0 to 1")
    if any(a >= b for a, b in zip(asked, asked[1:], strict=False)):
        raise Impossible("AscendingProbabilitiesRequired", "the probabilities must ascend")

    def at(values: list[float]) -> list[float]:
        ordered, last = sorted(values), len(values) - 1
        places = [(p * last, int(p * last)) for p in asked]
        return [ordered[k] + (ordered[min(k + 1, last)] - ordered[k]) * (place - k) for place, k in places]

    return of_series(at, [None] * len(asked))(data, ignore_nodata)


def count(data: Any, condition: Any = None, context: Any = None) -> int:
    if condition is not None and condition is not True:
        raise NotConstant("a condition")
    return sum(condition is True or value is not None for value in array(data))


def first(data: Any, ignore_nodata: bool = True) -> Any:
    return next((v for v in array(data) if v is not None or not ignore_nodata), None)


def last(data: Any, ignore_nodata: bool = True) -> Any:
    return first(array(data)[::-1], ignore_nodata)


# ------------------------------------------------------------------------------------------------ made and changed


def create(data: Any = (), repeat: int = 1) -> list[Any]:
    values = list(data) if isinstance(data, list | tuple) else [data]
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise ValueError(f"repeat={repeat!r} is no whole number from 1")
    if len(values) * repeat > MAX_VALUES:
        raise ValueError(f"the array has {len(values) * repeat} values; the limit is {MAX_VALUES}")
    return values * repeat


def append(data: Any, value: Any, label: Any = None) -> list[Any]:
    if label is not None:
        raise Impossible("ArrayNotLabeled", f"an array of constants has no labels, so there is no place for {label!r}")
    return [*array(data), value]


def modify(data: Any, values: Any, index: int, length: int | None = None) -> list[Any]:
    values = array(values)
    length = int(not values) if length is None else length
    for name, place in (("index", index), ("length", length)):
        if isinstance(place, bool) or not isinstance(place, int) or place < 0:
            raise ValueError(f"{name}={place!r:.60} is no whole number from 0")
    if index > len(array(data)):
        raise _unavailable(index, data)
    return [*data[:index], *values, *data[index + length :]]


def element(data: Any, index: int | None = None, label: Any = None, return_nodata: bool = False) -> Any:
    if (index is None) == (label is None):
        name = "ArrayElementParameterMissing" if label is None else "ArrayElementParameterConflict"
        raise Impossible(name, "give either `index` or `label`")
    if isinstance(data, dict) and isinstance(label, str):
        if label not in data and not return_nodata:
            raise Impossible("ArrayElementNotAvailable", f"there is no {label!r}; there are {', '.join(data)}")
        return data.get(label)
    values = array(data)
    if label is not None:
        raise Impossible("ArrayNotLabeled", "an array of constants has no labels; give an `index`")
    if isinstance(index, bool) or not isinstance(index, int):
        raise TypeError(f"index={index!r:.60} is no whole number")
    if not 0 <= index < len(values):
        if return_nodata:
            return None
        raise _unavailable(index, values)
    return values[index]


def _unavailable(index: Any, data: list[Any]) -> Impossible:
    return Impossible(
        "ArrayElementNotAvailable", f"there is no element {index} in an array of {len(data)}; the first is 0"
    )


# ------------------------------------------------------------------------------------------------------- searched


def contains(data: Any, value: Any) -> bool:
    return find(data, value) is not None


def find(data: Any, value: Any, reverse: bool = False) -> int | None:
    places = [place for place, item in enumerate(array(data)) if equal(item, value) is True]
    return places[-1 if reverse else 0] if places else None


def find_label(data: Any, label: Any) -> None:
    array(data)  # which has no labels


def labels(data: Any) -> list[int]:
    return list(range(len(array(data))))


# --------------------------------------------------------------------------------------------------------- ordered


def order(data: Any, asc: bool = True, nodata: bool | None = None) -> list[int]:
    there = {place: _key(value) for place, value in enumerate(array(data)) if value is not None}
    ordered = sorted(there, key=there.__getitem__, reverse=not asc)
    missing = [place for place in range(len(data)) if place not in there] if nodata is not None else []
    return missing + ordered if nodata is False else ordered + missing


def _key(value: Any) -> Any:
    return parse_time(value) if isinstance(value, str) else number(value)


def rearrange(data: Any, order: Any) -> list[Any]:
    for place in array(order):
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(array(data)):
            raise _unavailable(place, data)
    return [data[place] for place in order]


def sort(data: Any, asc: bool = True, nodata: bool | None = None) -> list[Any]:
    return rearrange(data, order(data, asc, nodata))


# ------------------------------------------------------------------------------------------------- value after value


def cumulated(step: Callable[[Any, Any], Any]) -> Callable[..., list[Any]]:
    def fold(data: Any, ignore_nodata: bool = True) -> list[Any]:
        values = array(data)
        known = accumulate((number(v) for v in values if v is not None), step)
        found = [None if value is None else next(known) for value in values]
        if not ignore_nodata and None in values:
            gap = values.index(None)
            found[gap:] = [None] * (len(values) - gap)
        return found

    return fold


def interpolated(data: Any) -> list[Any]:
    """Missing elements between two others, on the straight line between these."""
    found = list(array(data))
    places = [place for place, value in enumerate(found) if value is not None]
    for start, end in zip(places, places[1:], strict=False):
        low, high = number(found[start]), number(found[end])
        for place in range(start + 1, end):
            found[place] = low + (high - low) * (place - start) / (end - start)
    return found


FOLDS: dict[str, Callable[..., Any]] = {
    "sum": of_series(sum), "product": of_series(math.prod), "min": of_series(min), "max": of_series(max),
    "mean": of_series(statistics.fmean), "median": of_series(statistics.median),
    "sd": spread(statistics.stdev), "variance": spread(statistics.variance),
    "extrema": of_series(lambda v: [min(v), max(v)], [None, None]), "quantiles": quantiles, "count": count,
    "first": first, "last": last,
    "array_create": create, "array_append": append, "array_modify": modify, "array_element": element,
    "array_concat": lambda array1, array2: [*array(array1), *array(array2)],
    "array_contains": contains, "array_find": find, "array_find_label": find_label, "array_labels": labels,
    "order": order, "rearrange": rearrange, "sort": sort, "array_interpolate_linear": interpolated,
    "cumsum": cumulated(lambda a, b: a + b), "cumproduct": cumulated(lambda a, b: a * b),
    "cummin": cumulated(min), "cummax": cumulated(max),
}  # fmt: skip
