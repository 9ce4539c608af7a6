"""A tile of the web-Mercator pyramid: its limits, and the pixel of a place."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from muses_lab.errors import NotFound
from muses_lab.service.failures import BadRequest

SIZE = 256
MAX_ZOOM = 24
"""At zoom 24 a pixel is 1 cm: no sensor of this laboratory sees more."""

MAX_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))
MAX_LONGITUDE = 360_000.0
"""Maps go round the world, but not a thousand times."""


class Tile(NamedTuple):
    z: int
    x: int
    y: int

    @classmethod
    def parse(cls, z: str, x: str, y: str) -> Tile:
        """The tile of a URL; 400 when a part is not a whole number, 404 when there is no such tile."""
        for name, text in (("z", z), ("x", x), ("y", y)):
            if not re.fullmatch(r"-?\d{1,12}", text, re.ASCII):
                raise BadRequest(f"{name}={text[:40]!r} of the tile is not a whole number", argument=name)
        tile = cls(int(z), int(x), int(y))
        check_zoom(tile.z)
        n = 1 << tile.z
        if not (0 <= tile.x < n and 0 <= tile.y < n):
            raise NotFound(f"there is no tile {tile.x}/{tile.y} at zoom {tile.z}; x and y run from 0 to {n - 1}")
        return tile


class TilePixel(NamedTuple):
    """Where a longitude and latitude fall on the map at a zoom."""

    tile: Tile
    col: int
    row: int

    @classmethod
    def at(cls, lon: float, lat: float, zoom: int) -> TilePixel:
        check_zoom(zoom)
        if not -MAX_LONGITUDE <= lon <= MAX_LONGITUDE:
            raise BadRequest(f"lon={lon:g} is not on the map, nor on one of the next thousand", argument="lon")
        if not -MAX_LATITUDE <= lat <= MAX_LATITUDE:
            raise BadRequest(f"lat={lat:g} is not on the map; it ends at ±{MAX_LATITUDE:.4f}", argument="lat")
        n = SIZE << zoom
        x = int(((lon + 180) % 360) / 360 * n)
        y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * n)
        x, y = min(x, n - 1), min(max(y, 0), n - 1)
        return cls(Tile(zoom, x // SIZE, y // SIZE), x % SIZE, y % SIZE)


def check_zoom(zoom: float) -> None:
    if not 0 <= zoom <= MAX_ZOOM:
        raise NotFound(f"there is no zoom {zoom:g}; zooms run from 0 to {MAX_ZOOM}", argument="z")
