"""What people hand over, and what is meant by it: dates, places, bounds; or a sentence that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.plain import number, plain, shown
from muses_lab.products.times import format_time, parse_time

Box = tuple[float, float, float, float]
"""West, south, east, north."""


# ------------------------------------------------------------------------------------------------------ artefacts


def handed_over(process: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A process's arguments as documents have them: Python's numbers and lists, and an artefact for a model or a file.

    >>> handed_over("mask_polygon", {"mask": "fields.gpkg", "inside": True})        # doctest: +SKIP
    {'mask': <Artefact muses:polygons 5d41402a>, 'inside': True}
    """
    operator = registry.signature(process, process)
    known = operator.arguments
    return {
        name: _artefact(process, name, known[name].artefact, value)
        if name in operator.artefacts and value is not None
        else plain(value)
        for name, value in arguments.items()
    }


def _artefact(process: str, name: str, of: str, value: Any) -> Any:
    """What a user hands over as an artefact; a digest stays one."""
    if isinstance(value, Artefact) or (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        return value
    kind = kinds[of]
    try:
        return Artefact.of(kind, kind.of(value))
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{name}={shown(value)} of {process} is no {kind.noun}: {error}", argument=name) from None


# ---------------------------------------------------------------------------------------------------------- dates


def period(start: Any, end: Any = ...) -> tuple[str | None, str | None]:
    """From `start` to before `end` as ISO texts; with one of them alone all of that day, month or year.

    >>> period("2018-03"), period(date(2018, 3, 1), datetime(2018, 6, 1, 12))
    (('2018-03-01', '2018-04-01'), ('2018-03-01', '2018-06-01T12:00:00Z'))
    """
    if end is not ...:
        return moment(start), moment(end)
    first = moment(start)
    if first is None:
        raise ArgumentError("dates(None) chooses nothing: give a start and an end, of which one may be None")
    if len(first) > len("2018-03-01"):
        raise ArgumentError(
            f"dates({shown(start)}) is a moment, not a period: give the end as well, dates(start, end); None for no end"
        )
    text = start.strip() if isinstance(start, str) else ""
    begin = date.fromisoformat(first)
    if len(text) == 4:
        after = begin.replace(year=begin.year + 1)
    elif len(text) == 7:
        after = (begin + timedelta(days=31)).replace(day=1)
    else:
        after = begin + timedelta(days=1)
    return first, after.isoformat()


def moment(value: Any) -> str | None:
    """A date or time as ISO text; a month or year is its first day, a time without a zone is UTC.

    Takes texts, `date`, `datetime`, pandas' `Timestamp` and NumPy's `datetime64`.
    """
    if value is None or value == "":
        return None
    given = value
    if getattr(getattr(value, "dtype", None), "kind", "") == "M" and getattr(value, "ndim", None) == 0:
        days = np.datetime_data(np.asarray(value).dtype)[0] in ("Y", "M", "W", "D")
        value = np.asarray(value).astype(f"datetime64[{'D' if days else 'us'}]").item()
    if isinstance(value, datetime) and value == value:  # NaT is not
        return format_time(parse_time(value.isoformat()))
    if isinstance(value, date) and value == value:
        return value.isoformat()
    if not isinstance(value, str):
        raise ArgumentError(
            f"{shown(given)} is not a date: give a text such as '2018-03-01' or '2018-03', a date, a datetime or a "
            "pandas Timestamp"
        )
    try:
        found = parse_time(value)
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    text = value.strip()
    return found.date().isoformat() if len(text) in (4, 7) else text


# --------------------------------------------------------------------------------------------------------- places


def box(call: str, west: Any, south: Any = None, east: Any = None, north: Any = None) -> Box:
    """Bounds in degrees, given as four numbers or as one sequence of four; west may be beyond east (across 180°)."""
    given = (west, south, east, north)
    if south is None and east is None and north is None:
        given = plain(west)
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 4:
        raise ArgumentError(f"{call}({shown(west)}) takes west, south, east, north in degrees: four numbers")
    w, s, e, n = (number(name, v) for name, v in zip(("west", "south", "east", "north"), given, strict=True))
    said = f"{call}({w:g}, {s:g}, {e:g}, {n:g})"
    if max(abs(w), abs(e)) > 360 or max(abs(s), abs(n)) > 90:
        if max(map(abs, (w, s, e, n))) <= 360:
            raise ArgumentError(
                f"{said}: latitudes run from -90 to 90; the order is west, south, east, north (longitude first)"
            )
        raise ArgumentError(
            f"{said}: these are no degrees (metres?); bring them to longitude and latitude first, for example with "
            "transform_bounds of a pyproj.Transformer"
        )
    if s > n:
        raise ArgumentError(f"{said}: south is above north; the order is west, south, east, north")
    return w, s, e, n


def points(lon: Any, lat: Any = None) -> tuple[list[tuple[float, float]], bool]:
    """(longitude, latitude) of each place, and whether it is one place rather than a list.

    Takes two numbers, two sequences of numbers, one thing with `lon` and `lat` (a place, a click on the map), or a
    sequence of such things or of pairs.
    """
    if lat is None:
        single = _pair(lon)
        if single is not None:
            return [_checked(*single)], True
        if isinstance(lon, str | Mapping) or not hasattr(lon, "__iter__"):
            raise ArgumentError(
                f"at({shown(lon)}) is no place: give at(lon=…, lat=…) in degrees, at(m.clicked), or a list of pairs "
                "(longitude, latitude)"
            )
        items = [_pair(item) or _two(item) for item in lon]
        return [_checked(*item) for item in items], False
    lons, lats = plain(lon), plain(lat)
    if isinstance(lons, Sequence) and isinstance(lats, Sequence) and not isinstance(lon, str):
        if len(lons) != len(lats):
            raise ArgumentError(f"at takes as many longitudes as latitudes; these are {len(lons)} and {len(lats)}")
        return [_checked(x, y) for x, y in zip(lons, lats, strict=True)], False
    return [_checked(lon, lat)], True


def _pair(item: Any) -> tuple[Any, Any] | None:
    """Of what says by name which is which."""
    if isinstance(item, Mapping) and {"lon", "lat"} <= set(item):
        return item["lon"], item["lat"]
    if hasattr(item, "lon") and hasattr(item, "lat") and np.ndim(item.lon) == 0:
        return item.lon, item.lat
    if getattr(item, "geom_type", None) == "Point":  # shapely
        return item.x, item.y
    return None


def _two(item: Any) -> tuple[Any, Any]:
    pair = plain(item)
    if not isinstance(pair, list) or len(pair) != 2:
        raise ArgumentError(f"{shown(item)} is no pair of longitude and latitude; at takes a list of such pairs")
    return pair[0], pair[1]


def _checked(lon: Any, lat: Any) -> tuple[float, float]:
    x, y = number("lon", lon), number("lat", lat)
    said = f"at(lon={x:g}, lat={y:g})"
    if max(abs(x), abs(y)) > 360:
        raise ArgumentError(
            f"{said}: these are no degrees (metres?); bring them to longitude and latitude first, for example with "
            "a pyproj.Transformer"
        )
    if abs(y) > 90:
        raise ArgumentError(f"{said}: latitudes run from -90 to 90; the order is longitude, latitude")
    return x, y
