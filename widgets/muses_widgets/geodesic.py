"""Lengths and areas on the ellipsoid of WGS 84, whose sides are geodesics (Karney 2013)."""

from __future__ import annotations

import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

_WGS84 = Geod(ellps="WGS84")


def measured(points: list[list[float]], closed: bool) -> dict[str, float | None]:
    """Length in metres and area in square metres of a line through longitudes and latitudes; an open one has none.

    The length of a closed line is that around it. One that crosses itself has the area that is left when parts of
    opposite turn are subtracted.
    """
    if len(points) < 2:
        return {"length": 0.0, "area": None}
    lons, lats = zip(*points, strict=True)
    if not closed or len(points) < 3:
        return {"length": float(_WGS84.line_length(lons, lats)), "area": None}
    area, around = _WGS84.polygon_area_perimeter(lons, lats)
    return {"length": float(around), "area": abs(float(area))}


def area_of(shape: BaseGeometry) -> float:
    """Square metres of polygons in degrees, without their holes."""
    return abs(float(_WGS84.geometry_area_perimeter(shapely.orient_polygons(shape))[0]))
