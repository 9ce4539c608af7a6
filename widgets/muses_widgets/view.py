"""What a map shows, as a window of the pixels of its tiles."""

from __future__ import annotations

import math

from odc.geo.geobox import GeoBox

from muses_lab.crs import transformer
from muses_lab.raster.window import WEB_MERCATOR, Window, zoom_resolution

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

_to_metres = transformer("EPSG:4326", WEB_MERCATOR)


def window(bounds: Bounds, zoom: float) -> GeoBox:
    """The pixels of the zoom's tiles that lie, in part or whole, within `bounds`."""
    return Window.from_bounds(bounds, crs=WEB_MERCATOR, resolution=zoom_resolution(round(zoom)))


def ground_resolution(bounds: Bounds, zoom: float) -> float:
    """Metres on the ground per pixel in the middle of a view."""
    return zoom_resolution(round(zoom)) * math.cos(math.radians((bounds[1] + bounds[3]) / 2))


def around(lat: float, lon: float, zoom: float, width: int, height: int) -> Bounds:
    """What a map of `width` × `height` pixels will show, before the browser has told."""
    x, y = _to_metres.transform(lon, lat)
    dx, dy = (n / 2 * zoom_resolution(zoom) for n in (width, height))
    west, south = _to_metres.transform(x - dx, y - dy, direction="INVERSE")
    east, north = _to_metres.transform(x + dx, y + dy, direction="INVERSE")
    return west, south, east, north


def fitting(bounds: Bounds, width: int, height: int, most: int) -> tuple[tuple[float, float], int]:
    """Centre (latitude, longitude) and zoom at which a map of so many pixels shows `bounds` as large as it can."""
    west, south, east, north = bounds
    edge = 85.0511  # of web Mercator
    left, bottom = _to_metres.transform(west, max(south, -edge))
    right, top = _to_metres.transform(east, min(north, edge))
    need = max((right - left) / width, (top - bottom) / height)
    zoom = next((z for z in range(most, 0, -1) if zoom_resolution(z) >= need), 0)
    lon, lat = _to_metres.transform((left + right) / 2, (bottom + top) / 2, direction="INVERSE")
    return (lat, lon), zoom
