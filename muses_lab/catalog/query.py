"""What is asked of a catalogue: one collection, a place, a time, a condition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shapely import box
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from muses_lab.cached import cached_property
from muses_lab.errors import MusesError
from muses_lab.globe import on_globe, wrap_bounds
from muses_lab.times import parse_time


class QueryError(MusesError):
    """A catalogue query that cannot be answered: a bad date, box, geometry or filter."""

    code = "query-invalid"


@dataclass(frozen=True)
class Query:
    """
    >>> Query("sentinel-2-l2a", bbox=(1.2, 43.4, 1.6, 43.8), start="2018-01-01", end="2019-01-01",
    ...       filter="eo:cloud_cover < 60").limit is None
    True
    """

    collection: str
    """Id of the collection."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; west > east crosses the antimeridian, as longitudes beyond 180 do."""
    geometry: dict[str, Any] | None = None
    """GeoJSON geometry in longitude and latitude; items must intersect it (and `bbox`, where both are given)."""
    start: str | None = None
    """ISO date or time, included; without a zone it is UTC."""
    end: str | None = None
    """ISO date or time, excluded: the interval is half-open, as in openEO."""
    filter: str | None = None
    """CQL2 text, for example `eo:cloud_cover < 60 AND platform = 'sentinel-2a'`."""
    sortby: tuple[str, ...] = ()
    """Properties, `-` before a name for descending; by (datetime, id) when empty."""
    limit: int | None = None
    """At most so many items, after sorting."""

    def __post_init__(self) -> None:
        if self.bbox is not None:
            object.__setattr__(self, "bbox", _checked_bbox(self.bbox))
        if self.limit is not None and (isinstance(self.limit, bool) or self.limit < 0):
            raise QueryError(f"limit={self.limit!r} must be 0 or more")
        interval = self.interval
        if interval[0] and interval[1] and interval[0] >= interval[1]:
            raise QueryError(f"the dates {self.start!r} to {self.end!r} are empty: the end, excluded, must be later")
        if self.geometry is not None:
            _ = self.area  # a bad geometry is refused here, where it is named, not when it is searched

    @cached_property
    def interval(self) -> tuple[datetime | None, datetime | None]:
        """[start, end) as times in UTC."""
        return _parsed(self.start), _parsed(self.end)

    @cached_property
    def area(self) -> BaseGeometry | None:
        """Where items must be, in longitude and latitude; None for everywhere."""
        area = None
        if self.bbox is not None:
            west, south, east, north = self.bbox
            area = on_globe(box(west, south, east + 360 * (west > east), north))
        if self.geometry is not None:
            geometry = on_globe(_checked_geometry(self.geometry))
            area = geometry if area is None else area.intersection(geometry)
        return area


def _parsed(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise QueryError(str(error)) from None


def _checked_bbox(bbox: Any) -> tuple[float, float, float, float]:
    try:
        west, south, east, north = (float(v) for v in bbox)
    except (TypeError, ValueError):
        raise QueryError(f"bbox={bbox!r} must be four numbers: west, south, east, north") from None
    if not (-360 <= west <= 360 and -360 <= east <= 360 and -90 <= south <= north <= 90):
        raise QueryError(f"bbox={bbox!r} is not west, south, east, north in degrees (south below north)")
    return wrap_bounds(west, south, east, north)


def _checked_geometry(geometry: dict[str, Any]) -> BaseGeometry:
    if isinstance(geometry, dict) and geometry.get("type") in ("Feature", "FeatureCollection"):
        raise QueryError(f"geometry is a GeoJSON {geometry['type']}; give the geometry inside it")
    try:
        found = shape(geometry)
        valid = found.is_valid and not found.is_empty
    except (ShapelyError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise QueryError(f"geometry is not a GeoJSON geometry: {error}") from None
    if not valid:
        raise QueryError(f"geometry of type {geometry.get('type')!r} is empty or crosses itself")
    return found
