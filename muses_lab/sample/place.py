"""Where the sample lies: two tiles in neighbouring UTM zones, and their way to one common ground."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import shapely
from rasterio import Affine
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import transformer
from muses_lab.sample.kernels import STEP

GROUND = "EPSG:2154"
"""Lambert-93: the ground's own coordinates, which both tiles look at."""
TOULOUSE = (1.444, 43.6045)


@cache
def origin() -> tuple[float, float]:
    """Toulouse on the ground; ground coordinates are counted from here."""
    x, y = transformer("EPSG:4326", GROUND).transform(*TOULOUSE)
    return round(x), round(y)


@dataclass(frozen=True)
class Tile:
    """A square of `size` 10 m pixels on the Sentinel-2 lattice of a UTM zone."""

    name: str
    epsg: int
    left: int
    top: int
    size: int

    @property
    def crs(self) -> str:
        return f"EPSG:{self.epsg}"

    def transform(self, resolution: int) -> Affine:
        return Affine(resolution, 0, self.left, 0, -resolution, self.top)

    def shape(self, resolution: int) -> tuple[int, int]:
        n = self.size * 10 // resolution
        return n, n

    @cached_property
    def ground(self) -> tuple[np.ndarray, np.ndarray]:
        """Ground x and y (from Toulouse) at every `STEP`-th pixel corner, one more than needed: float64."""
        steps = np.arange(self.size // STEP + 2) * STEP * 10.0
        easting, northing = np.meshgrid(self.left + steps, self.top - steps)
        x, y = transformer(self.crs, GROUND).transform(easting, northing)
        return np.ascontiguousarray(x - origin()[0]), np.ascontiguousarray(y - origin()[1])

    @cached_property
    def outline(self) -> BaseGeometry:
        """The tile's square on the ground, its sides with points enough to stay true."""
        side = self.size * 10
        square = shapely.segmentize(shapely.box(self.left, self.top - side, self.left + side, self.top), side / 8)
        way = transformer(self.crs, GROUND)
        x0, y0 = origin()
        return shapely.transform(square, lambda p: np.stack(way.transform(*p.T), -1) - (x0, y0))


def whole_size(size: int) -> int:
    """`size` rounded up so that 10, 20 and 60 m pixels and every overview (to 1/16) fill the tile exactly."""
    return -(-size // 96) * 96


def tiles(size: int) -> tuple[Tile, Tile]:
    """The two tiles: 31TCJ with Toulouse in it, and 30TYP to its west, which sees about 30 % of the same ground.

    Examples
    --------
    >>> [t.crs for t in tiles(4128)]
    ['EPSG:32631', 'EPSG:32630']
    """
    side = size * 10
    x, y = transformer("EPSG:4326", "EPSG:32631").transform(*TOULOUSE)
    left, top = _snap(x - 0.70 * side), _snap(y + 0.45 * side)
    centre = (left + (0.5 - 0.69) * side, top - 0.47 * side)
    x, y = transformer("EPSG:32631", "EPSG:32630").transform(*centre)
    return (
        Tile("31TCJ", 32631, left, top, size),
        Tile("30TYP", 32630, _snap(x - side / 2), _snap(y + side / 2), size),
    )


def _snap(value: float) -> int:
    return round(value / 60) * 60


def lonlat(geometry: BaseGeometry) -> BaseGeometry:
    """A geometry on the ground in longitude and latitude, to 1e-6 degree."""
    way = transformer(GROUND, "EPSG:4326")
    x0, y0 = origin()
    turned = shapely.transform(geometry, lambda p: np.stack(way.transform(*(p + (x0, y0)).T), -1))
    return shapely.transform(turned, lambda p: p.round(6))
