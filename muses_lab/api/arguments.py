"""Places that people hand over, and what is meant by them; or a sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from muses_lab.errors import ArgumentError
from muses_lab.plain import number, plain, shown


def points(lon: Any, lat: Any = None) -> tuple[list[tuple[float, float]], bool]:
    """(longitude, latitude) of each place, and whether it is one place rather than a list.

    Takes two numbers, two sequences of numbers, one thing with `lon` and `lat` (a place, a click on the map), or a
    sequence of such things or of pairs; of GeoPandas the points, in whatever reference system they say they are.
    """
    if lat is None:
        if hasattr(lon, "to_crs") and getattr(lon, "crs", None) is not None:
            lon = lon.geometry.to_crs("EPSG:4326")
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
    kind = getattr(item, "geom_type", None)  # of shapely a text, of GeoPandas one for each
    if isinstance(kind, str) and kind == "Point":
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
