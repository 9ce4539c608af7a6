"""What people hand over to the methods of chains, as documents have it; or a sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from muses_lab.crs import crs_name, known_crs
from muses_lab.errors import ArgumentError
from muses_lab.plain import number, plain, shown
from muses_lab.times import format_time, parse_time

Box = tuple[float, float, float, float]
"""West, south, east, north."""

_WIDEST_DEGREES, _NARROWEST_METRES = 5.0, 0.005
"""No image has pixels beyond these, and what is meant by another unit is."""


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


def extent(value: Any) -> Any:
    """Bounds in longitude and latitude, a GeoBox, or an openEO box, as an openEO box.

    >>> extent((1.3, 43.5, 1.5, 43.7))
    {'west': 1.3, 'south': 43.5, 'east': 1.5, 'north': 43.7}
    """
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, GeoBox):
        w, s, e, n = value.boundingbox.bbox
        crs = value.crs.to_epsg() if value.crs is not None else None
        return {"west": w, "south": s, "east": e, "north": n, "crs": crs or crs_name(value.crs)}
    bounds = plain(value)
    if not isinstance(bounds, list) or len(bounds) != 4:
        raise ArgumentError(f"{shown(value)} are no bounds: give (west, south, east, north), or a window")
    return dict(zip(("west", "south", "east", "north"), (number("bounds", b) for b in bounds), strict=True))


def check_unit(crs: str | int, resolution: float) -> None:
    """Metres given to a system of degrees, or degrees to one of metres: `ArgumentError`."""
    geographic = known_crs(crs).is_geographic
    if geographic and resolution >= _WIDEST_DEGREES:
        raise ArgumentError(
            f"resolution={resolution:g}: the unit of {crs} is the degree, so these would be pixels of about "
            f"{resolution * 111:.0f} km; 10 m are about 0.0001",
            argument="resolution",
        )
    if not geographic and 0 < resolution <= _NARROWEST_METRES:
        raise ArgumentError(
            f"resolution={resolution:g}: the unit of {crs} is no degree, so these would be pixels of about "
            f"{resolution * 1000:g} mm; 0.0001 degrees are about 10 m",
            argument="resolution",
        )


# ---------------------------------------------------------------------------------------------------------- bands


def band_name(name: Any) -> str:
    """The name of a band, or its common name."""
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"{shown(name)} is no name of a band; they are texts such as 'red' or 'B04'")
    return name


def band_names(*names: Any) -> tuple[str, ...]:
    """The names of bands, given one by one or as one list."""
    if len(names) == 1 and isinstance(names[0], list | tuple):
        names = tuple(names[0])
    if not names:
        raise ArgumentError("bands() takes the names of bands, for example bands('red', 'nir')")
    return tuple(band_name(name) for name in names)
