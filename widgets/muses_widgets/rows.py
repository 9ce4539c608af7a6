"""What a control is made of: a row for the page, from a parameter's declaration."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from muses_lab.api.parameters import Parameter
from muses_lab.errors import ArgumentError
from muses_lab.style import Style

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBERS = ("number", "integer")

ADJUSTABLE = ("number", "choice", "switch", "date", "dates", "classes", "palette")
"""Kinds of rows that are made where no names are given; texts only where somebody names them."""


def row(parameter: Parameter, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A control: {name, title, kind, value, …} as `ControlRow` in js/types.d.ts.

    `before` is what the row was: the ends of a slider stay, unless the value lies beyond them.
    """
    kind = _kind(parameter)
    told = {"name": parameter.name, "title": parameter.title or parameter.name, "kind": kind, "value": parameter.value}
    schema = parameter.schema
    match kind:
        case "number":
            return {**told, **_slider(parameter, before)}
        case "choice":
            return {**told, "choices": [_choice(parameter, one) for one in schema["enum"]]}
        case "classes":
            return {**told, "choices": [_choice(parameter, one) for one in schema["items"]["enum"]]}
        case "palette":
            stops = [{"value": one, "label": one, "stops": Style(cmap=one).legend()["stops"]} for one in schema["enum"]]
            return {**told, "choices": stops}
        case "text" if not isinstance(parameter.value, str):
            return {**told, "value": json.dumps(parameter.value)}
    return told


def _kind(parameter: Parameter) -> str:
    schema, value = parameter.schema, parameter.value
    if schema.get("enum"):
        return "palette" if schema.get("format") == "palette" and isinstance(value, str) else "choice"
    if isinstance(value, list):
        if schema.get("items", {}).get("enum"):
            return "classes"
        return "dates" if len(value) == 2 and all(map(_is_date, value)) else "text"
    if isinstance(value, bool):
        return "switch"
    if isinstance(value, int | float) and schema.get("type", "number") in _NUMBERS:
        return "number"
    return "date" if _is_date(value) else "text"


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value) is not None


def _choice(parameter: Parameter, value: Any) -> dict[str, Any]:
    return {"value": value, "label": parameter.labels.get(value, str(value))}


def _slider(parameter: Parameter, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The ends and the step of a slider; `low` and `high` are the limits of what may be typed, where there are any."""
    schema, value = parameter.schema, parameter.value
    whole = schema.get("type") == "integer"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if before is None:
        first, last = _around(value)
        # Limits of which nobody would use the most, such as a radius of 100 000, are none of a slider.
        if low is not None and (high is None or last - low > (high - low) / 100 or low > first):
            first = low
        if high is not None and (last > high or high - first <= 100 * (last - first)):
            last = high
        step = parameter.step or (1 if whole else 10.0 ** math.floor(math.log10((last - first) / 50)))
        if "exclusiveMinimum" in schema and first == low:
            first = low + step
    else:
        first, last, step = before["min"], before["max"], before["step"]
    return {
        "min": min(first, value), "max": max(last, value), "step": step, "whole": whole, "low": low, "high": high,
    }  # fmt: skip


def _around(value: float) -> tuple[float, float]:
    """Ends of a slider where none are declared: from 0 to a round number well beyond the value."""
    if value == 0:
        return -1, 1
    size = abs(value) * 2
    power = 10.0 ** math.floor(math.log10(size))
    end = next(n for n in (1, 2, 2.5, 5, 10) if n * power >= size * 0.9999) * power
    end = round(end, 12)
    return (0, end) if value > 0 else (-end, 0)


def read(row: Mapping[str, Any], parameter: Parameter, value: Any) -> Any:
    """The value of what a page sends for a row; a text is read as JSON where no text is wanted."""
    if row["kind"] == "text" and not isinstance(parameter.value, str) and isinstance(value, str):
        with suppress(ValueError):
            return json.loads(value)
        raise ArgumentError(f"{row['title']}: {value!r} is no value; write 0.5, [1, 2] or true", argument=row["name"])
    return value
