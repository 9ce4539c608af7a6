"""What a map shows, as pixels of the Web Mercator tile pyramid."""

from __future__ import annotations

import math
from typing import NamedTuple

CRS = "EPSG:3857"
_RADIUS = 6378137.0
_HALF = math.pi * _RADIUS
_MAX_LATITUDE = 85.0511287798066


class View(NamedTuple):
    """A rectangle of whole pixels: bounds in metres of Web Mercator (left, bottom, right, top) and the pixel size."""

    bounds: tuple[float, float, float, float]
    resolution: float


def pixel_size(zoom: float) -> float:
    """Metres of Web Mercator per pixel of 256-pixel tiles; ground metres are this times the latitude's cosine."""
    return 2 * _HALF / 256 / 2.0**zoom


def view_of(west: float, south: float, east: float, north: float, zoom: float) -> View:
    """The pixels of the tiles of `zoom` that lie, in part or whole, in a rectangle of longitude and latitude."""
    size = pixel_size(round(zoom))
    columns = [(_x(lon) + _HALF) / size for lon in (west, east)]
    rows = [(_HALF - _y(lat)) / size for lat in (north, south)]
    # A rectangle that ends within a thousandth of a pixel of an edge is meant to end there.
    left, top = (math.floor(v + 1e-3) for v in (columns[0], rows[0]))
    right, bottom = (math.ceil(v - 1e-3) for v in (columns[1], rows[1]))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    return View((left * size - _HALF, _HALF - bottom * size, right * size - _HALF, _HALF - top * size), size)


def around(lat: float, lon: float, zoom: float, width: int, height: int) -> tuple[float, float, float, float]:
    """West, south, east, north of a map of `width` × `height` pixels before the browser has shown it."""
    size = pixel_size(zoom)
    x, y = _x(lon), _y(lat)
    dx, dy = width / 2 * size, height / 2 * size
    return _lon(x - dx), _lat(y - dy), _lon(x + dx), _lat(y + dy)


def _x(lon: float) -> float:
    return _RADIUS * math.radians(lon)


def _y(lat: float) -> float:
    lat = min(max(lat, -_MAX_LATITUDE), _MAX_LATITUDE)
    return _RADIUS * math.log(math.tan(math.pi / 4 + math.radians(lat) / 2))


def _lon(x: float) -> float:
    return math.degrees(x / _RADIUS)


def _lat(y: float) -> float:
    return math.degrees(2 * math.atan(math.exp(y / _RADIUS)) - math.pi / 2)
