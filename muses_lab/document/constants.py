"""Constants of documents: the processes of openEO whose inputs are all known when a document is read.

```python
folded("multiply", {"x": 2, "y": 3})                                     # 6
folded("date_shift", {"date": "2020-01-31", "value": 1, "unit": "month"})   # "2020-02-29"
```
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from muses_lab.document import constant_arrays as arrays
from muses_lab.document.constant_arrays import MAX_VALUES, Impossible, NotConstant, array, equal, number
from muses_lab.times import MONTHS, UNITS, difference, is_between, months_later, shifted, written_like


def folded(process: str, arguments: Mapping[str, Any]) -> Any:
    """The result of a process of constants, as a JSON value.

    Raises
    ------
    NotConstant
        There is no such value.
    ValueError, TypeError
        The arguments do not fit the process; `Impossible` where openEO has a name for that.
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
            return compute(*(number(values[name]) for name in (*names, *defaults)))
        except Impossible:
            raise
        except ValueError as error:  # a logarithm of -1
            raise NotConstant(str(error)) from None

    return fold


def _round(x: float, p: float) -> float:
    if p != int(p):
        raise TypeError(f"p={p:g} is no number of digits")
    factor = 10.0 ** abs(p)
    return round(x * factor) / factor if p > 0 else round(x / factor) * factor


def _clipped(x: float, low: float, high: float) -> float:
    if low > high:
        raise Impossible("MinMaxSwapped", f"min must not be above max; they are {low:g} and {high:g}")
    return min(max(x, low), high)


def _sgn(x: float) -> int:
    return (x > 0) - (x < 0)


def _scaled(x: float, low: float, high: float, to_low: float, to_high: float) -> float:
    inside = min(max(x, min(low, high)), max(low, high))
    return (inside - low) / (high - low) * (to_high - to_low) + to_low


def _power(base: float, p: float) -> float:
    value = math.pow(base, p)
    return int(value) if isinstance(base, int) and isinstance(p, int) and p >= 0 and abs(value) < 2**53 else value


def _mod(x: float, y: float) -> float:
    return x % y  # the sign of the divisor, as openEO has it


# ------------------------------------------------------------------------------------------ truth values, comparisons


def _comparison(compare: Callable[[Any, Any], bool], or_equal: bool = False) -> Callable[..., bool | None]:
    """An order of numbers; of anything else it is false, but for what is equal."""

    def fold(x: Any, y: Any) -> bool | None:
        if x is None or y is None:
            return None
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (x, y)):
            return or_equal and equal(x, y) is True
        return compare(x, y)

    return fold


def _not_equal(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> bool | None:
    same = equal(x, y, delta, case_sensitive)
    return None if same is None else not same


_gte, _lte = _comparison(lambda x, y: x >= y, or_equal=True), _comparison(lambda x, y: x <= y, or_equal=True)
_lt = _comparison(lambda x, y: x < y)


def _between(x: Any, min: Any, max: Any, exclude_max: bool = False) -> bool | None:
    return _and(_gte(x, number(min)), (_lt if exclude_max else _lte)(x, number(max)))


def _truth(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{value!r:.60} is no truth value")
    return value


def _all(data: Sequence[Any], ignore_nodata: bool = True) -> bool | None:
    values = [_truth(v) for v in data if v is not None or not ignore_nodata]
    return False if False in values else None if None in values else True


def _any(data: Sequence[Any], ignore_nodata: bool = True) -> bool | None:
    values = [_truth(v) for v in data if v is not None or not ignore_nodata]
    return True if True in values else None if None in values else False


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


# ---------------------------------------------------------------------------------------------------- texts and dates


def _joined(data: Any, separator: Any = "") -> str:
    return _as_text(separator).join(map(_as_text, array(data)))


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no text")
    return value


def _test(test: Callable[[str, str], bool]) -> Callable[..., bool | None]:
    def fold(data: str | None, pattern: str, case_sensitive: bool = True) -> bool | None:
        if data is None:
            return None
        data, pattern = _text(data), _text(pattern)
        return test(data, pattern) if case_sensitive else test(data.casefold(), pattern.casefold())

    return fold


def _position(data: str | None, pattern: str, case_sensitive: bool = True) -> int | None:
    if data is None:
        return None
    data, pattern = _text(data), _text(pattern)
    place = data.find(pattern) if case_sensitive else data.lower().find(pattern.lower())
    return place if place >= 0 else None


def _shifted(date: str, value: int, unit: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"value={value!r:.60} is no whole number")
    return shifted(_text(date), value, _unit(unit))


def _difference(date1: str, date2: str, unit: str = "second") -> float:
    return difference(_text(date1), _text(date2), _unit(unit))


def _is_between(x: str, min: str, max: str, exclude_max: bool = False) -> bool:
    return is_between(_text(x), _text(min), _text(max), exclude_max)


def _unit(name: Any) -> str:
    if name not in (*UNITS, *MONTHS):
        raise ValueError(f"unit={name!r:.60} is none of {', '.join((*UNITS, *MONTHS))}")
    return name


def _replaced(date: str, value: int, component: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"value={value!r:.60} is no whole number")
    text = _text(date).strip().upper()
    time = dt.datetime.fromisoformat(text)
    if component == "millisecond":
        if not 0 <= value < 1000:
            raise ValueError(f"{value} is no millisecond")
        time = time.replace(microsecond=1000 * value)
    elif component in ("month", "year"):  # a day that the month does not have is its last one
        year, month = (value, time.month) if component == "year" else (time.year, value)
        if not (1 <= month <= 12 and 1 <= year <= 9999):
            raise ValueError(f"{value} is no {component}")
        time = months_later(time, 12 * (year - time.year) + month - time.month)
    elif component in ("day", "hour", "minute", "second"):
        parts: dict[str, Any] = {component: value}
        time = time.replace(**parts)
    else:
        raise ValueError(f"component={component!r:.60} is none of year, month, day, hour, minute, second, millisecond")
    return written_like(time, text)


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
    "clip": _of_numbers(_clipped, "x", "min", "max"),
    "linear_scale_range": _of_numbers(_scaled, "x", "inputMin", "inputMax", outputMin=0, outputMax=1),
    "normalized_difference": _of_numbers(lambda x, y: (x - y) / (x + y), "x", "y"),
    "lt": _lt, "lte": _lte, "gt": _comparison(lambda x, y: x > y), "gte": _gte, "eq": equal,
    "neq": _not_equal, "between": _between,
    "all": _all, "any": _any, "and": _and, "or": _or, "xor": _xor, "not": _not, "if": _if,
    "is_nodata": lambda x: x is None, "is_valid": lambda x: x is not None,
    "is_nan": lambda x: False, "is_infinite": lambda x: False,  # JSON has neither
    "text_concat": _joined, "text_begins": _test(str.startswith), "text_ends": _test(str.endswith),
    "text_contains": _test(lambda data, pattern: pattern in data), "text_find": _position,
    "date_replace_component": _replaced, "date_shift": _shifted, "date_difference": _difference,
    "date_between": _is_between, **arrays.FOLDS,
}  # fmt: skip
