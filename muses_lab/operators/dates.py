"""Dates in callbacks: compared, subtracted, shifted. They are constants of a document, or labels of a dimension."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal

from muses_lab.operators.contract import Date, Scalar
from muses_lab.operators.declare import operator
from muses_lab.times import parse_moment

Unit = Literal["year", "month", "week", "day", "hour", "minute", "second", "millisecond"]

_SECONDS = {"week": 604_800.0, "day": 86_400.0, "hour": 3600.0, "minute": 60.0, "second": 1.0, "millisecond": 1e-3}
_MONTHS = {"year": 12, "month": 1}


def _same_kinds(arguments: Mapping[str, Any]) -> None:
    """Times of a day are compared with times of a day."""
    texts = [v for v in arguments.values() if isinstance(v, str)]
    if len({text.strip()[2:3] == ":" for text in texts}) > 1:
        raise ValueError(f"{' and '.join(map(repr, texts))} are not of one kind: give dates, or times of a day")


@operator("date_between", rule=_same_kinds, strict=False, method=None)
def date_between(x: Date, min: Date, max: Date, exclude_max: bool = False) -> Scalar:
    """1 where the date x is from `min` to `max` (before `max` with `exclude_max`), else 0.

    ```python
    ml.Chain.from_json(everywhere({"process_id": "date_between", "arguments": {"x": "2020-05-01", "min": "2020-03-01", "max": "2020-06-01"}, "result": True}))
    ```

    (`everywhere` makes a document of a process: what it gives at every pixel, by `apply`.) Dates are ISO 8601 texts; a
    date without a time is its first moment, a time without a zone is in UTC. All three may be times of a day instead.
    0 where `min` is after `max`.
    """  # noqa: E501
    value, first, last = (parse_moment(d) for d in (x, min, max))  # type: ignore[arg-type]
    return float(first <= value and (value < last if exclude_max else value <= last))  # type: ignore[return-value]


@operator("date_difference", rule=_same_kinds, method=None)
def date_difference(date1: Date, date2: Date, unit: Unit = "second") -> Scalar:
    """How long it is from `date1` to `date2`, with fractions; negative where `date2` is before `date1`.

    ```python
    ml.Chain.from_json(everywhere({"process_id": "date_difference", "arguments": {"date1": "2020-01-01", "date2": "2020-03-01", "unit": "day"}, "result": True}))
    ```

    (`everywhere` makes a document of a process: what it gives at every pixel, by `apply`.) Of months and years those
    that are complete, and the days left as a share of the one that is not. There are no leap seconds.
    """  # noqa: E501
    first, second = parse_moment(date1), parse_moment(date2)  # type: ignore[arg-type]
    if unit not in _MONTHS:
        return (second - first).total_seconds() / _SECONDS[unit]  # type: ignore[return-value]
    if second < first:
        return -date_difference(date2, date1, unit)
    each = _MONTHS[unit]
    whole = ((second.year - first.year) * 12 + second.month - first.month) // each
    if _months_later(first, whole * each) > second:
        whole -= 1
    begin, end = _months_later(first, whole * each), _months_later(first, (whole + 1) * each)
    return whole + (second - begin) / (end - begin)  # type: ignore[return-value]


def _shifts(arguments: Mapping[str, Any]) -> None:
    if isinstance(arguments["date"], str):
        date_shift(**arguments)


@operator("date_shift", rule=_shifts, method=None)
def date_shift(date: Date, value: int, unit: Unit) -> Date:
    """The date so many units later, earlier where `value` is negative.

    ```python
    ml.Chain.from_json(everywhere({"process_id": "date_difference", "arguments": {"date1": "2020-01-31", "date2": {"from_node": "shifted"}, "unit": "day"}, "result": True}, shifted={"process_id": "date_shift", "arguments": {"date": "2020-01-31", "value": 1, "unit": "month"}}))
    ```

    (`everywhere` makes a document of a process: what it gives at every pixel, by `apply`.) Where a month has no such
    day the last one it has: a month after 31 January is 29 February in 2020. Written as it was given: a date without a
    time stays one, and a time keeps its zone.
    """  # noqa: E501
    text = str(date).strip()
    if text[2:3] == ":":
        raise ValueError(f"{text!r} is a time of a day; only dates can be shifted")
    given = dt.datetime.fromisoformat(text)
    try:
        if unit in _MONTHS:
            moved = _months_later(given, value * _MONTHS[unit])
        else:
            moved = given + dt.timedelta(milliseconds=value * round(_SECONDS[unit] * 1000))
    except (ValueError, OverflowError):
        raise ValueError(f"{value} × {unit} from {text} is beyond the years 1 to 9999") from None
    if len(text) <= len("2020-01-31"):
        return moved.date().isoformat()  # type: ignore[return-value]
    precise = "milliseconds" if moved.microsecond else "seconds"
    written = moved.isoformat(timespec=precise)
    return written.replace("+00:00", "Z") if text.endswith(("Z", "z")) else written  # type: ignore[return-value]


def _months_later(date: dt.datetime, months: int) -> dt.datetime:
    year, month = divmod(date.year * 12 + date.month - 1 + months, 12)
    return date.replace(year=year, month=month + 1, day=min(date.day, calendar.monthrange(year, month + 1)[1]))
