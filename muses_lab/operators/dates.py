"""Dates in callbacks: compared, subtracted, shifted. They are constants of a document, or labels of a dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from muses_lab.operators.contract import Date, Scalar
from muses_lab.operators.declare import operator
from muses_lab.times import difference, is_between, moments, shifted

Unit = Literal["year", "month", "week", "day", "hour", "minute", "second", "millisecond"]


def _same_kinds(arguments: Mapping[str, Any]) -> None:
    """Times of a day are compared with times of a day."""
    moments(*(v for name, v in arguments.items() if isinstance(v, str) and name != "unit"))


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
    return is_between(x, min, max, exclude_max)  # type: ignore[arg-type, return-value]


@operator("date_difference", rule=_same_kinds, method=None)
def date_difference(date1: Date, date2: Date, unit: Unit = "second") -> Scalar:
    """How long it is from `date1` to `date2`, with fractions; negative where `date2` is before `date1`.

    ```python
    ml.Chain.from_json(everywhere({"process_id": "date_difference", "arguments": {"date1": "2020-01-01", "date2": "2020-03-01", "unit": "day"}, "result": True}))
    ```

    (`everywhere` makes a document of a process: what it gives at every pixel, by `apply`.) Of months and years those
    that are complete, and the days left as a share of the one that is not. There are no leap seconds.
    """  # noqa: E501
    return difference(date1, date2, unit)  # type: ignore[arg-type, return-value]


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
    return shifted(str(date), value, unit)  # type: ignore[return-value]
