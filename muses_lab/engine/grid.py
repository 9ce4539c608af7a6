"""Grids, levels and windows: pure geometry.

A `Grid` is the pixel lattice that scenes of one sensor share (a Sentinel-2 tile, a Landsat UTM zone). Level k has
pixels of 2^k native pixels; blocks are 512 × 512 pixels of a level, counted from the grid's origin. A window is an
`odc.geo.geobox.GeoBox`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import pyproj
from affine import Affine
from odc.geo.geobox import GeoBox

from muses_lab.engine.pixels import between, pixels_at, pixels_between

BLOCK = 512
"""Rows and columns of a block."""

_STEP = 16
"""Exact coordinates are computed every so many pixels of a window's lattice, and interpolated between."""

_FLAT = 25_000.0
"""Metres across which interpolated coordinates are good to well below a pixel; beyond, they are computed exactly."""


_FAR = 1 << 30


class Rect(NamedTuple):
    """A rectangle of pixels of one level, rows r0 ≤ r < r1 and columns c0 ≤ c < c1."""

    r0: int
    r1: int
    c0: int
    c1: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.r1 - self.r0, self.c1 - self.c0

    @property
    def pixels(self) -> int:
        return (self.r1 - self.r0) * (self.c1 - self.c0)

    @property
    def empty(self) -> bool:
        return self.r0 >= self.r1 or self.c0 >= self.c1

    def grow(self, radius: int) -> Rect:
        return Rect(self.r0 - radius, self.r1 + radius, self.c0 - radius, self.c1 + radius)

    def scaled(self, factor: float) -> Rect:
        """The pixels of a level that is so many times finer which cover it."""
        low = (math.floor(v * factor) for v in (self.r0, self.c0))
        high = (math.ceil(v * factor) for v in (self.r1, self.c1))
        (r0, c0), (r1, c1) = low, high
        return Rect(r0, r1, c0, c1)

    def union(self, other: Rect) -> Rect:
        return Rect(min(self.r0, other.r0), max(self.r1, other.r1), min(self.c0, other.c0), max(self.c1, other.c1))

    def intersection(self, other: Rect) -> Rect:
        return Rect(max(self.r0, other.r0), min(self.r1, other.r1), max(self.c0, other.c0), min(self.c1, other.c1))

    def contains(self, other: Rect) -> bool:
        return self.r0 <= other.r0 and other.r1 <= self.r1 and self.c0 <= other.c0 and other.c1 <= self.c1

    def within(self, outer: Rect) -> tuple[slice, slice]:
        """Slices of this rectangle in an array that covers `outer`."""
        return slice(self.r0 - outer.r0, self.r1 - outer.r0), slice(self.c0 - outer.c0, self.c1 - outer.c0)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(row, column) of the blocks that it touches."""
        if self.empty:
            return
        for row in range(self.r0 // BLOCK, (self.r1 - 1) // BLOCK + 1):
            for col in range(self.c0 // BLOCK, (self.c1 - 1) // BLOCK + 1):
                yield row, col


Bounds = tuple[float, float, float, float]
"""West, south, east, north."""


def bounds_of(window: GeoBox) -> Bounds:
    """Bounds of a window in its CRS. (`GeoBox.boundingbox` makes a polygon first, half of a layout's time.)"""
    a, (rows, columns) = window.affine, window.shape
    xs = [a.c + a.a * col + a.b * row for col in (0, columns) for row in (0, rows)]
    ys = [a.f + a.d * col + a.e * row for col in (0, columns) for row in (0, rows)]
    return min(xs), min(ys), max(xs), max(ys)


def block_rect(row: int, col: int) -> Rect:
    return Rect(row * BLOCK, (row + 1) * BLOCK, col * BLOCK, (col + 1) * BLOCK)


@dataclass(frozen=True)
class Grid:
    """A pixel lattice with an extent."""

    id: str
    crs: str
    origin: tuple[float, float]
    """Upper left corner of pixel (0, 0) of every level, and of block (0, 0)."""
    resolution: float
    """Native pixel size in units of the CRS."""
    extent: Rect
    """Where there are pixels, in native pixels from the origin."""

    @cached_property
    def metres(self) -> float:
        """Metres per unit of the CRS (roughly, for degrees)."""
        return _units(self.crs)

    def pixel(self, level: int) -> float:
        """Pixel size of a level in units of the CRS."""
        return self.resolution * 2**level

    def pixel_metres(self, level: int) -> float:
        return self.pixel(level) * self.metres

    def rect(self, level: int) -> Rect:
        """The extent at a level, outer pixels included."""
        f = 2**level
        e = self.extent
        return Rect(e.r0 // f, -(-e.r1 // f), e.c0 // f, -(-e.c1 // f))

    def geobox(self, level: int, rect: Rect) -> GeoBox:
        size = self.pixel(level)
        affine = Affine(size, 0, self.origin[0] + rect.c0 * size, 0, -size, self.origin[1] - rect.r0 * size)
        return GeoBox(rect.shape, affine, self.crs)

    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the extent in the CRS."""
        e, s = self.extent, self.resolution
        return (
            self.origin[0] + e.c0 * s, self.origin[1] - e.r1 * s,
            self.origin[0] + e.c1 * s, self.origin[1] - e.r0 * s,
        )  # fmt: skip

    def level_for(self, window: GeoBox) -> int:
        """The level that fits a window's pixel size: the coarsest whose pixels are not larger.

        Measured at the grid's centre, so that it depends on zoom and grid only, never on a single tile.
        """
        a = window.affine
        return self.level_of(_pixel_of(self, str(window.crs), a.a, a.b, a.d, a.e))

    def level_of(self, size: float) -> int:
        """The coarsest level whose pixels are not larger than `size` (units of the CRS)."""
        return max(0, math.floor(math.log2(size / self.resolution) + 1e-6))

    def level_near(self, metres: float) -> int:
        """The level whose pixel size is nearest to so many metres."""
        return max(0, round(math.log2(metres / (self.resolution * self.metres))))

    def pixels(self, level: int, window: GeoBox) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns (int32) of the pixels of a level that hold those of a window: `indices` of its `places`."""
        nodes = _nodes(window, self.crs)
        if nodes is None:
            return self.indices(level, *places(window, self.crs))
        at = self.origin[0], self.origin[1], self.pixel(level), _FAR
        shape = window.shape.y, window.shape.x
        return pixels_between(nodes.x, nodes.y, nodes.first_row, nodes.first_column, _STEP, shape, *at)

    def near(self, window: GeoBox) -> Bounds:
        """Bounds in the grid's CRS about a window: exact but for the curvature of its edges."""
        if _nodes(window, self.crs) is not None:
            return self.around(window)
        w, s, e, n = bounds_of(window)
        if same_crs(str(window.crs), self.crs):
            return w, s, e, n
        return transformer(str(window.crs), self.crs).transform_bounds(w, s, e, n, densify_pts=16)

    def around(self, window: GeoBox) -> tuple[float, float, float, float]:
        """Bounds in the grid's CRS that surely hold all pixel centres of a window."""
        nodes = _nodes(window, self.crs)
        x, y = places(window, self.crs) if nodes is None else nodes[:2]
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def indices(self, level: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns (int32) of the pixels of a level that hold the points of a window; far outside: ±2^30."""
        rows, cols = pixels_at(np.atleast_2d(x), np.atleast_2d(y), *self.origin, self.pixel(level), _FAR)
        return rows.reshape(np.shape(x)), cols.reshape(np.shape(x))


@lru_cache(maxsize=4096)
def _pixel_of(grid: Grid, crs: str, xx: float, xy: float, yx: float, yy: float) -> float:
    """Size in units of a grid's CRS of a pixel of another one, in the middle of the grid."""
    if same_crs(crs, grid.crs):
        return math.sqrt(abs(xx * yy - xy * yx))
    w, s, e, n = grid.bounds()
    x, y = transformer(grid.crs, crs).transform((w + e) / 2, (s + n) / 2)
    xs, ys = transformer(crs, grid.crs).transform([x, x + xx, x + xy], [y, y + yx, y + yy])
    ux, uy = xs[1] - xs[0], ys[1] - ys[0]
    vx, vy = xs[2] - xs[0], ys[2] - ys[0]
    return math.sqrt(abs(ux * vy - uy * vx))


@lru_cache(maxsize=256)
def _crs(name: str) -> pyproj.CRS:
    return pyproj.CRS.from_user_input(name)


@lru_cache(maxsize=256)
def _units(name: str) -> float:
    """Metres per unit of a CRS (roughly, for degrees)."""
    crs = _crs(name)
    return 111_320.0 if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor or 1.0)


@lru_cache(maxsize=1024)
def same_crs(a: str, b: str) -> bool:
    return a == b or _crs(a).equals(_crs(b), ignore_axis_order=True)


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """x, y of one CRS to x, y of another (pyproj transformers may be used from any thread)."""
    return pyproj.Transformer.from_crs(_crs(source), _crs(target), always_xy=True)


def places(window: GeoBox, crs: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y in a CRS of all pixel centres of a window, two arrays of its shape.

    In another CRS they are exact at every 16th pixel of the lattice that the window is part of and interpolated
    between: far closer than a pixel, and the same numbers for a pixel in whatever window it is asked for.
    """
    crs = f"EPSG:{crs}" if isinstance(crs, int) else crs
    rows, columns = window.shape.y, window.shape.x
    a = window.affine
    if a.b or a.d:
        cc, rr = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        x, y = a.a * cc + a.b * rr + a.c, a.d * cc + a.e * rr + a.f
        if same_crs(str(window.crs), crs):
            return x, y
        return transformer(str(window.crs), crs).transform(x, y)

    col0, x0 = _lattice(a.c, a.a)
    row0, y0 = _lattice(a.f, a.e)
    if same_crs(str(window.crs), crs):
        x = x0 + (col0 + np.arange(columns) + 0.5) * a.a
        y = y0 + (row0 + np.arange(rows) + 0.5) * a.e
        return np.broadcast_to(x, (rows, columns)), np.broadcast_to(y[:, None], (rows, columns))
    nodes = _nodes(window, crs)
    if nodes is None:
        x = x0 + (col0 + np.arange(columns) + 0.5) * a.a
        y = y0 + (row0 + np.arange(rows) + 0.5) * a.e
        return transformer(str(window.crs), crs).transform(*np.meshgrid(x, y))
    inner = nodes.first_row, nodes.first_column, _STEP, rows, columns
    return between(nodes.x, *inner), between(nodes.y, *inner)


class _Nodes(NamedTuple):
    """Exact coordinates in another CRS, every 16th pixel of the lattice that a window is part of."""

    x: np.ndarray
    y: np.ndarray
    first_row: int
    """Of the window, from the first node on."""
    first_column: int


def _nodes(window: GeoBox, crs: str) -> _Nodes | None:
    """None where places must not be interpolated: rotated windows, large pixels, the window's own CRS."""
    a = window.affine
    large = max(abs(a.a), abs(a.e)) * _STEP * _units(str(window.crs)) > _FLAT
    if a.b or a.d or large or same_crs(str(window.crs), crs):
        return None
    return _exact_nodes(a.a, a.c, a.e, a.f, (window.shape.y, window.shape.x), str(window.crs), crs)


@lru_cache(maxsize=16)
def _exact_nodes(
    width: float, left: float, height: float, top: float, shape: tuple[int, int], source: str, target: str
) -> _Nodes:
    """For windows that are asked for several times in a row."""
    (col0, x0), (row0, y0) = _lattice(left, width), _lattice(top, height)
    first_c, first_r = col0 // _STEP, row0 // _STEP
    node_c = np.arange(first_c, (col0 + shape[1] - 1) // _STEP + 2) * _STEP
    node_r = np.arange(first_r, (row0 + shape[0] - 1) // _STEP + 2) * _STEP
    at = np.meshgrid(x0 + (node_c + 0.5) * width, y0 + (node_r + 0.5) * height)
    x, y = transformer(source, target).transform(*at)
    return _Nodes(x, y, row0 - first_r * _STEP, col0 - first_c * _STEP)


def _lattice(corner: float, step: float) -> tuple[int, float]:
    """The index of the first pixel on its lattice, and where the lattice begins (less than a pixel from 0)."""
    index = math.floor(corner / step + 1e-6)
    phase = corner - index * step
    # Corners of tiles come with rounding errors of their own; the phase is rounded so that all agree.
    quantum = abs(step) * 2.0**-16
    return index, round(phase / quantum) * quantum
