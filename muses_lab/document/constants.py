"""Constants of documents: the processes of openEO whose inputs are all known when a document is read.

```python
folded("multiply", {"x": 2, "y": 3})                                     # 6
folded("date_shift", {"date": "2020-01-31", "value": 1, "unit": "month"})   # "2020-02-29"
```
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MAX_VALUES = 100_000
"""Of one constant: elements of an array, characters of a text."""


class NotConstant(Exception):
    """The process is none of those here, or its result is no JSON value (a division by zero)."""


def folded(process: str, arguments: Mapping[str, Any]) -> Any:
    """The result of a process of constants, as a JSON value.

    Raises
    ------
    NotConstant
        There is no such value.
    ValueError, TypeError
        The arguments do not fit the process.
    """
    if (fold := _FOLDS.get(process)) is None:
        raise NotConstant(process)
    try:
        value = fold(**arguments)
    except ArithmeticError as error:
        raise NotConstant(str(error)) from None
    if isinstance(value, list | str) and len(value) > MAX_VALUES:
        raise ValueError(f"the constant has {len(value)} values; the limit is {MAX_VALUES}")
    if isinstance(value, float) and not math.isfinite(value):
        raise NotConstant("no JSON number")
    if isinstance(value, int) and value.bit_length() > 1023:
        raise NotConstant("too large for a JSON number")
    return value


# ---------------------------------------------------------------------------------------------------------- numbers


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.60} is no number")
    return value


def _of_numbers(compute: Callable[..., Any], *names: str, **defaults: float) -> Callable[..., Any]:
    """A process of numbers, which is null where one of them is."""

    def fold(**arguments: Any) -> Any:
        if unknown := set(arguments) - {*names, *defaults}:
            raise TypeError(f"there is no argument {sorted(unknown)[0]!r}")
        values = {**defaults, **arguments}
        if missing := [name for name in names if name not in values]:
            raise TypeError(f"it needs {missing[0]!r}")
        if any(values[name] is None for name in names):
            return None
        try:
            return compute(*(_number(values[name]) for name in (*names, *defaults)))
        except ValueError as error:  # a logarithm of -1
            raise NotConstant(str(error)) from None

    return fold


def _round(x: float, p: float) -> float:
    return round(x, int(p)) if p > 0 else round(x / 10**-p) * 10**-p


def _sgn(x: float) -> int:
    return (x > 0) - (x < 0)


def _scaled(x: float, low: float, high: float, to_low: float, to_high: float) -> float:
    return (min(max(x, low), high) - low) / (high - low) * (to_high - to_low) + to_low


def _power(base: float, p: float) -> float:
    value = math.pow(base, p)
    return int(value) if isinstance(base, int) and isinstance(p, int) and p >= 0 and abs(value) < 2**53 else value


def _mod(x: float, y: float) -> float:
    return x % y  # the sign of the divisor, as openEO has it


# ------------------------------------------------------------------------------------------ truth values, comparisons


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[..., bool | None]:
    def fold(x: Any, y: Any) -> bool | None:
        if x is None or y is None:
            return None
        if isinstance(x, str) and isinstance(y, str):
            x, y = _instant(x), _instant(y)
        elif isinstance(x, bool) or isinstance(y, bool):
            raise TypeError("truth values have no order")
        return compare(x, y)

    return fold


def _equal(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> bool | None:
    if x is None or y is None:
        return None
    if isinstance(x, bool) != isinstance(y, bool) or isinstance(x, str) != isinstance(y, str):
        return False  # true is not 1
    if isinstance(x, str):
        return x == y if case_sensitive else x.casefold() == y.casefold()
    if isinstance(x, list | dict):
        return False
    return abs(x - y) <= delta if delta is not None else x == y


def _not_equal(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> bool | None:
    equal = _equal(x, y, delta, case_sensitive)
    return None if equal is None else not equal


def _between(x: Any, min: Any, max: Any, exclude_max: bool = False) -> bool | None:
    if x is None or min is None or max is None:
        return None
    return min <= x and (x < max if exclude_max else x <= max)


def _truth(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{value!r:.60} is no truth value")
    return value


def _all(data: Sequence[Any], ignore_nodata: bool = True) -> bool | None:
    values = [_truth(v) for v in data if v is not None or not ignore_nodata]
    return None if not values else False if False in values else None if None in values else True


def _any(data: Sequence[Any], ignore_nodata: bool = True) -> bool | None:
    values = [_truth(v) for v in data if v is not None or not ignore_nodata]
    return None if not values else True if True in values else None if None in values else False


def _and(x: Any, y: Any) -> bool | None:
    return _all([x, y], ignore_nodata=False)


def _or(x: Any, y: Any) -> bool | None:
    return _any([x, y], ignore_nodata=False)


def _xor(x: Any, y: Any) -> bool | None:
    return None if _truth(x) is None or _truth(y) is None else x != y


def _not(x: Any) -> bool | None:
    return None if _truth(x) is None else not x


def _if(value: Any, accept: Any, reject: Any = None) -> Any:
    return accept if _truth(value) is True else reject


# ----------------------------------------------------------------------------------------------------------- arrays


def _of_series(compute: Callable[[list[Any]], Any], empty: Any = None) -> Callable[..., Any]:
    """A reduction; null where nothing is left, or where something is missing that counts."""

    def fold(data: Sequence[Any], ignore_nodata: bool = True) -> Any:
        values = [v for v in data if v is not None] if ignore_nodata else list(data)
        if None in values:
            return None
        return compute([_number(v) for v in values]) if values else empty

    return fold


def _created(data: Any = (), repeat: int = 1) -> list[Any]:
    values = list(data) if isinstance(data, list | tuple) else [data]
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise ValueError(f"repeat={repeat!r} is no whole number from 1")
    if len(values) * repeat > MAX_VALUES:
        raise ValueError(f"the array has {len(values) * repeat} values; the limit is {MAX_VALUES}")
    return values * repeat


def _array(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError(f"{data!r:.60} is no array")
    return data


def _element(data: Any, index: int | None = None, label: Any = None, return_nodata: bool = False) -> Any:
    if isinstance(data, dict) and isinstance(label, str) and (label in data or return_nodata):
        return data.get(label)
    values = _array(data)
    if isinstance(index, bool) or not isinstance(index, int):
        raise TypeError("an array of constants has an `index`")
    if not 0 <= index < len(values):
        if return_nodata:
            return None
        raise ValueError(f"there is no element {index} in an array of {len(values)}")
    return values[index]


def _first(data: Any, ignore_nodata: bool = True) -> Any:
    return next((v for v in _array(data) if v is not None or not ignore_nodata), None)


def _last(data: Any, ignore_nodata: bool = True) -> Any:
    return _first(_array(data)[::-1], ignore_nodata)


def _contains(data: Any, value: Any) -> bool:
    return any(_equal(item, value) is True for item in _array(data))


# ---------------------------------------------------------------------------------------------------- texts and dates


def _joined(data: Any, separator: Any = "") -> str:
    return _as_text(separator).join(map(_as_text, _array(data)))


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    return str(value)


def _test(test: Callable[[str, str], bool]) -> Callable[..., bool | None]:
    def fold(data: str | None, pattern: str, case_sensitive: bool = True) -> bool | None:
        if data is None:
            return None
        return test(data, pattern) if case_sensitive else test(data.casefold(), pattern.casefold())

    return fold


def _instant(text: str) -> dt.datetime:
    """A date or date-time as a time; without a zone in UTC."""
    time = dt.datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _shifted(date: str, value: int, unit: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"value={value!r:.60} is no whole number")
    time = _instant(date)
    if unit in ("month", "year"):
        months = time.year * 12 + time.month - 1 + (value if unit == "month" else 12 * value)
        year, month = divmod(months, 12)
        if not 1 <= year <= 9999:
            raise ValueError(f"the year {year} cannot be written as a date")
        day = min(time.day, calendar.monthrange(year, month + 1)[1])
        time = time.replace(year=year, month=month + 1, day=day)
    elif unit in _UNITS:
        time += value * _UNITS[unit]
    else:
        raise ValueError(f"unit={unit!r:.60} is none of {', '.join(_UNITS)}, month, year")
    return _written(time, date)


def _written(time: dt.datetime, like: str) -> str:
    """A time as text: a date where it was made of one."""
    if len(like) <= len("2020-01-01"):
        return time.date().isoformat()
    precision = "milliseconds" if time.microsecond else "seconds"
    return time.isoformat(timespec=precision).replace("+00:00", "Z")


_UNITS = {
    "millisecond": dt.timedelta(milliseconds=1), "second": dt.timedelta(seconds=1), "minute": dt.timedelta(minutes=1),
    "hour": dt.timedelta(hours=1), "day": dt.timedelta(days=1), "week": dt.timedelta(weeks=1),
}  # fmt: skip


def _replaced(date: str, value: int, component: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"value={value!r:.60} is no whole number")
    time = _instant(date)
    if component == "millisecond":
        if not 0 <= value < 1000:
            raise ValueError(f"{value} is no millisecond")
        time = time.replace(microsecond=1000 * value)
    elif component in ("month", "year"):  # a day that the month does not have is its last one
        year, month = (value, time.month) if component == "year" else (time.year, value)
        if not (1 <= month <= 12 and 1 <= year <= 9999):
            raise ValueError(f"{value} is no {component}")
        time = time.replace(year=year, month=month, day=min(time.day, calendar.monthrange(year, month)[1]))
    elif component in ("day", "hour", "minute", "second"):
        parts: dict[str, Any] = {component: value}
        time = time.replace(**parts)
    else:
        raise ValueError(f"component={component!r:.60} is none of year, month, day, hour, minute, second, millisecond")
    return _written(time, date)


def _difference(date1: str, date2: str, unit: str = "second") -> float:
    if unit not in _UNITS:
        raise NotConstant(f"a difference in the unit {unit!r}")
    return (_instant(date2) - _instant(date1)) / _UNITS[unit]


def _date_between(x: str, min: str, max: str, exclude_max: bool = False) -> bool:
    return bool(_between(_instant(x), _instant(min), _instant(max), exclude_max))


_FOLDS: dict[str, Callable[..., Any]] = {
    "constant": lambda x: x, "e": lambda: math.e, "pi": lambda: math.pi,
    "add": _of_numbers(lambda x, y: x + y, "x", "y"),
    "subtract": _of_numbers(lambda x, y: x - y, "x", "y"),
    "multiply": _of_numbers(lambda x, y: x * y, "x", "y"),
    "divide": _of_numbers(lambda x, y: x / y, "x", "y"),
    "mod": _of_numbers(_mod, "x", "y"), "power": _of_numbers(_power, "base", "p"),
    "absolute": _of_numbers(abs, "x"), "sgn": _of_numbers(_sgn, "x"), "sqrt": _of_numbers(math.sqrt, "x"),
    "int": _of_numbers(math.trunc, "x"), "floor": _of_numbers(math.floor, "x"), "ceil": _of_numbers(math.ceil, "x"),
    "round": _of_numbers(_round, "x", p=0), "exp": _of_numbers(math.exp, "p"), "ln": _of_numbers(math.log, "x"),
    "log": _of_numbers(math.log, "x", "base"),
    "sin": _of_numbers(math.sin, "x"), "cos": _of_numbers(math.cos, "x"), "tan": _of_numbers(math.tan, "x"),
    "arcsin": _of_numbers(math.asin, "x"), "arccos": _of_numbers(math.acos, "x"), "arctan": _of_numbers(math.atan, "x"),
    "sinh": _of_numbers(math.sinh, "x"), "cosh": _of_numbers(math.cosh, "x"), "tanh": _of_numbers(math.tanh, "x"),
    "arsinh": _of_numbers(math.asinh, "x"), "arcosh": _of_numbers(math.acosh, "x"),
    "artanh": _of_numbers(math.atanh, "x"), "arctan2": _of_numbers(math.atan2, "y", "x"),
    "clip": _of_numbers(lambda x, low, high: min(max(x, low), high), "x", "min", "max"),
    "linear_scale_range": _of_numbers(_scaled, "x", "inputMin", "inputMax", outputMin=0, outputMax=1),
    "normalized_difference": _of_numbers(lambda x, y: (x - y) / (x + y), "x", "y"),
    "lt": _comparison(lambda x, y: x < y), "lte": _comparison(lambda x, y: x <= y),
    "gt": _comparison(lambda x, y: x > y), "gte": _comparison(lambda x, y: x >= y),
    "eq": _equal, "neq": _not_equal, "between": _between,
    "all": _all, "any": _any, "and": _and, "or": _or, "xor": _xor, "not": _not, "if": _if,
    "is_nodata": lambda x: x is None, "is_valid": lambda x: x is not None,
    "sum": _of_series(sum, empty=0), "product": _of_series(math.prod, empty=1),
    "min": _of_series(min), "max": _of_series(max), "mean": _of_series(statistics.fmean),
    "median": _of_series(statistics.median), "extrema": _of_series(lambda v: [min(v), max(v)], empty=[None, None]),
    "array_create": _created, "array_element": _element, "first": _first, "last": _last, "array_contains": _contains,
    "array_append": lambda data, value: [*_array(data), value],
    "array_concat": lambda array1, array2: [*_array(array1), *_array(array2)],
    "text_concat": _joined, "text_begins": _test(str.startswith), "text_ends": _test(str.endswith),
    "text_contains": _test(lambda data, pattern: pattern in data),
    "date_replace_component": _replaced, "date_shift": _shifted, "date_difference": _difference,
    "date_between": _date_between,
}  # fmt: skip
