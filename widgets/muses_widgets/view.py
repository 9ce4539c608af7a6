"""What a map shows, as a window of the pixels of its tiles."""

from __future__ import annotations

import math

from odc.geo.geobox import GeoBox
from pyproj import Transformer

from muses_lab.window import WEB_MERCATOR, Window, zoom_resolution

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

_to_metres = Transformer.from_crs("EPSG:4326", WEB_MERCATOR, always_xy=True)


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
