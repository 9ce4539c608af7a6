"""Grids, levels and windows: pure geometry.

A `Grid` is the pixel lattice that scenes of one sensor share (a Sentinel-2 tile, a Landsat UTM zone). Level k has
pixels of 2^k × 2^k native pixels, which need not be square; blocks are 512 × 512 pixels of a level, counted from the
grid's origin, as levels are: a corner of its own scenes. A window is an `odc.geo.geobox.GeoBox`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from muses_lab.crs import crs_name, known_crs, transformer
from muses_lab.errors import CrsError
from muses_lab.raster.pixels import between, pixels_at, pixels_between

BLOCK = 512
"""Rows and columns of a block."""

_STEP = 16
"""Exact coordinates are computed every so many pixels of a window's lattice, and interpolated between."""

_FLAT = 25_000.0
"""Metres across which interpolated coordinates are good to well below a pixel; beyond, they are computed exactly."""


_TORN = 100_000.0
"""Metres between neighbouring nodes from which on places between them are computed exactly."""

_FAR = 1 << 30

_FEW = 1 << 22
"""Pixels of a window up to which its exact coordinates are computed to see whether it is near: they are needed next."""

_CLOSE = 2e-3
"""Share of a pixel by which corners on one lattice may differ: they are written with a few digits."""


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

    def moved(self, rows: int, cols: int) -> Rect:
        return Rect(self.r0 + rows, self.r1 + rows, self.c0 + cols, self.c1 + cols)

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
    """Native pixel size in units of the CRS: the width, where `height` says another height."""
    extent: Rect
    """Where there are pixels, in native pixels from the origin."""
    height: float | None = None
    """Height of a native pixel; None: pixels are square."""
    lattice: str = ""
    """Name of the endless lattice that it is part of, see `lattice_name`; empty for one with an extent of its own."""

    def __post_init__(self) -> None:
        known_crs(self.crs)  # lists of scenes are written by others

    @cached_property
    def size(self) -> tuple[float, float]:
        """Width and height of a native pixel in units of the CRS."""
        return self.resolution, self.resolution if self.height is None else self.height

    @cached_property
    def turn(self) -> float:
        """Once round the world in units of the CRS, where these are longitudes; else 0."""
        return _turn(self.crs)

    @cached_property
    def _sides(self) -> tuple[float, float]:
        """West and east of the extent."""
        west, _, east, _ = self.bounds()
        return west, east

    def turned(self, x: np.ndarray) -> np.ndarray:
        """Longitudes, each a turn away where that is within the grid: of 100° W on one from 0 to 360, 260."""
        if not self.turn:
            return x
        west, east = self._sides
        away = (x < west) | (x >= east)
        if not away.any():
            return x
        with np.errstate(invalid="ignore"):
            other = x - self.turn * np.floor((x - west) / self.turn)
        return np.where(away & (other < east), other, x)

    @cached_property
    def metres(self) -> float:
        """Metres per unit of the CRS (roughly, for degrees)."""
        return _units(self.crs)

    def pixel(self, level: int) -> tuple[float, float]:
        """Width and height of the pixels of a level in units of the CRS."""
        width, height = self.size
        return width * 2**level, height * 2**level

    def pixel_metres(self, level: int) -> float:
        """Side of a square as large as a level's pixel."""
        return self._side * 2**level * self.metres

    @cached_property
    def _side(self) -> float:
        return math.sqrt(self.size[0] * self.size[1])

    def rect(self, level: int) -> Rect:
        """The extent at a level, outer pixels included."""
        f = 2**level
        e = self.extent
        return Rect(e.r0 // f, -(-e.r1 // f), e.c0 // f, -(-e.c1 // f))

    def geobox(self, level: int, rect: Rect) -> GeoBox:
        width, height = self.pixel(level)
        affine = Affine(width, 0, self.origin[0] + rect.c0 * width, 0, -height, self.origin[1] - rect.r0 * height)
        return GeoBox(rect.shape, affine, self.crs)

    def bounds(self) -> Bounds:
        """West, south, east, north of the extent in the CRS."""
        return self.outline(self.extent)

    def outline(self, native: Rect) -> Bounds:
        """West, south, east, north of a rectangle of native pixels in the CRS."""
        (west, north), (width, height) = self.origin, self.size
        return (
            west + native.c0 * width,
            north - native.r1 * height,
            west + native.c1 * width,
            north - native.r0 * height,
        )

    def shift(self, other: Grid) -> tuple[int, int] | None:
        """Rows and columns from this grid's origin to that of another one of its lattice; None: of another lattice."""
        (x, y), (width, height) = self.origin, self.size
        rows, cols = (y - other.origin[1]) / height, (other.origin[0] - x) / width
        whole = round(rows), round(cols)
        same = math.isclose(rows, whole[0], abs_tol=_CLOSE) and math.isclose(cols, whole[1], abs_tol=_CLOSE)
        same &= all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(self.size, other.size, strict=True))
        return whole if same and same_crs(self.crs, other.crs) else None

    def level_for(self, window: GeoBox) -> int:
        """The level that fits a window's pixel size: the coarsest whose pixels are not larger (in area).

        Measured at the grid's centre, so that it depends on zoom and grid only, never on a single tile.
        """
        return self.level_of(self._pixel_of(window))

    def block_side(self, window: GeoBox) -> float:
        """Pixels of a window along the side of a block of the level that fits it, about."""
        size = self._pixel_of(window)
        return BLOCK * self._side * 2 ** self.level_of(size) / size

    def coarser(self, level: int, window: GeoBox) -> float:
        """How many pixels of a level, side by side, are as long as one of a window; measured at the grid's centre."""
        return self._pixel_of(window) / (self._side * 2**level)

    def _pixel_of(self, window: GeoBox) -> float:
        a = window.affine
        return _pixel_of(self, crs_name(window.crs), a.a, a.b, a.d, a.e)

    def level_of(self, size: float) -> int:
        """The coarsest level whose pixels are not larger than `size` (units of the CRS)."""
        return max(0, math.floor(math.log2(size / self._side) + 1e-6))

    def level_near(self, metres: float) -> int:
        """The level whose pixel size is nearest to so many metres."""
        return max(0, round(math.log2(metres / self.pixel_metres(0))))

    def pixels(self, level: int, window: GeoBox) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns (int32) of the pixels of a level that hold those of a window: `indices` of its `places`."""
        nodes = _nodes(window, self.crs)
        if nodes is None:
            return self.indices(level, *places(window, self.crs))
        at = *self.origin, *self.pixel(level), self.turn, self._sides, _FAR
        shape = window.shape.y, window.shape.x
        rows, cols = pixels_between(nodes.x, nodes.y, nodes.first_row, nodes.first_column, _STEP, shape, *at)
        for cell, x, y in _torn_cells(window, nodes, self.crs):
            rows[cell], cols[cell] = self.indices(level, x, y)
        return rows, cols

    def near(self, window: GeoBox) -> Bounds:
        """Bounds in the grid's CRS about a window: exact but for the curvature of its edges."""
        if window.shape.x * window.shape.y <= _FEW and _nodes(window, self.crs) is not None:
            return self.around(window)
        w, s, e, n = bounds_of(window)
        if not same_crs(crs_name(window.crs), self.crs):
            w, s, e, n = transformer(crs_name(window.crs), self.crs).transform_bounds(w, s, e, n, densify_pts=16)
        if not self.turn or not np.isfinite((w, s, e, n)).all():
            return w, s, e, n
        west, east = self._sides
        if w > e or e - w > self.turn / 2:  # across the antimeridian, or half the world
            return min(w, west), s, max(e, east), n
        away = self.turn * round((west + east - w - e) / 2 / self.turn)
        return w + away, s, e + away, n

    def around(self, window: GeoBox) -> tuple[float, float, float, float]:
        """Bounds in the grid's CRS that surely hold all pixel centres of a window."""
        nodes = _nodes(window, self.crs)
        x, y = places(window, self.crs) if nodes is None or nodes.torn is not None else (nodes.x, nodes.y)
        turned = self.turned(x)
        w, s, e, n = float(turned.min()), float(y.min()), float(turned.max()), float(y.max())
        return (w, s, e, n) if turned is x else (min(w, self._sides[0]), s, max(e, self._sides[1]), n)

    def indices(self, level: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns (int32) of the pixels of a level that hold the points of a window; far outside: ±2^30."""
        rows, cols = pixels_at(
            np.atleast_2d(x), np.atleast_2d(y), *self.origin, *self.pixel(level), self.turn, self._sides, _FAR
        )
        return rows.reshape(np.shape(x)), cols.reshape(np.shape(x))


def lattice_name(crs: str, size: tuple[float, float], corner: tuple[float, float]) -> str:
    """What scenes have in common whose pixels lie on one lattice of a CRS: its name, size and phase of the pixels."""
    phase = (round((at % step) / step, 3) % 1 for at, step in zip(corner, size, strict=True))
    return f"{crs}@{size_name(size)}+" + ",".join(f"{p:g}" for p in phase)


def size_name(size: tuple[float, float]) -> str:
    """Width and height of pixels as ids of grids have them: `10`, `0.000416667x0.000277778`."""
    width, height = (f"{v:g}" for v in size)
    return width if width == height else f"{width}x{height}"


@lru_cache(maxsize=4096)
def _pixel_of(grid: Grid, crs: str, xx: float, xy: float, yx: float, yy: float) -> float:
    """Size in units of a grid's CRS of a pixel of another one, in the middle of the grid."""
    if same_crs(crs, grid.crs):
        return math.sqrt(abs(xx * yy - xy * yx))
    w, s, e, n = grid.bounds()
    size = _pixel_there(grid, crs, (xx, xy, yx, yy), (w + e) / 2, (s + n) / 2)
    if size is None:  # a pole is in the middle, which the other system does not show: what is usual around it
        middles = (np.arange(6) + 0.5) / 6
        around = [(w + a * (e - w), s + b * (n - s)) for a in middles for b in middles]
        sizes = [_pixel_there(grid, crs, (xx, xy, yx, yy), x, y) for x, y in around]
        if not any(sizes) and _turn(crs):  # all of it is near the pole; degrees are there all the same
            sizes = [_pixel_there(grid, crs, (xx, xy, yx, yy), x, y, near_pole=True) for x, y in around]
        known = sorted(size for size in sizes if size is not None)
        if not known:
            raise CrsError(f"grid {grid.id!r} has no place in {crs[:60]}: choose a window in another reference system")
        size = known[len(known) // 2]
    return size


def _pixel_there(
    grid: Grid, crs: str, steps: tuple[float, float, float, float], x: float, y: float, near_pole: bool = False
) -> float | None:
    """Size of a pixel at a place of the grid's CRS; None where the other system does not show that place."""
    if not near_pole and not grid.turn and _beyond_mercator(grid.crs, x, y):
        return None
    xx, xy, yx, yy = steps
    x, y = transformer(grid.crs, crs).transform(x, y)
    xs, ys = transformer(crs, grid.crs).transform([x, x + xx, x + xy], [y, y + yx, y + yy])
    ux, uy = xs[1] - xs[0], ys[1] - ys[0]
    vx, vy = xs[2] - xs[0], ys[2] - ys[0]
    if grid.turn:
        ux, vx = (v - grid.turn * round(v / grid.turn) if math.isfinite(v) else v for v in (ux, vx))
    size = math.sqrt(abs(ux * vy - uy * vx))
    return size if math.isfinite(size) and size > 0 else None


def _beyond_mercator(crs: str, x: float, y: float) -> bool:
    """Whether a place is so near a pole that maps do not show it, or show it endlessly large."""
    try:
        _, lat = transformer(crs, "EPSG:4326").transform(x, y)
    except CrsError:  # another planet, or a plan
        return False
    return not abs(lat) <= 85.06


@lru_cache(maxsize=256)
def _units(name: str) -> float:
    """Metres per unit of a CRS (roughly, for degrees)."""
    crs = known_crs(name)
    return 111_320.0 if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor or 1.0)


@lru_cache(maxsize=256)
def _turn(name: str) -> float:
    crs = known_crs(name)
    return round(2 * math.pi / crs.axis_info[0].unit_conversion_factor, 9) if crs.is_geographic else 0.0


@lru_cache(maxsize=1024)
def same_crs(a: str, b: str) -> bool:
    return a == b or known_crs(a).equals(known_crs(b), ignore_axis_order=True)


def places(window: GeoBox, crs: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y in a CRS of all pixel centres of a window, two arrays of its shape.

    In another CRS they are exact at every 16th pixel of the lattice that the window is part of and interpolated
    between: far closer than a pixel, and the same numbers for a pixel in whatever window it is asked for.
    """
    crs = crs_name(crs)
    rows, columns = window.shape.y, window.shape.x
    a = window.affine
    if a.b or a.d:
        cc, rr = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        x, y = a.a * cc + a.b * rr + a.c, a.d * cc + a.e * rr + a.f
        if same_crs(crs_name(window.crs), crs):
            return x, y
        return transformer(crs_name(window.crs), crs).transform(x, y)

    col0, x0 = _lattice(a.c, a.a)
    row0, y0 = _lattice(a.f, a.e)
    if same_crs(crs_name(window.crs), crs):
        x = x0 + (col0 + np.arange(columns) + 0.5) * a.a
        y = y0 + (row0 + np.arange(rows) + 0.5) * a.e
        return np.broadcast_to(x, (rows, columns)), np.broadcast_to(y[:, None], (rows, columns))
    nodes = _nodes(window, crs)
    if nodes is None:
        x = x0 + (col0 + np.arange(columns) + 0.5) * a.a
        y = y0 + (row0 + np.arange(rows) + 0.5) * a.e
        return transformer(crs_name(window.crs), crs).transform(*np.meshgrid(x, y))
    inner = nodes.first_row, nodes.first_column, _STEP, rows, columns
    x, y = between(nodes.x, *inner), between(nodes.y, *inner)
    for cell, *exact in _torn_cells(window, nodes, crs):
        x[cell], y[cell] = exact
    return x, y


def lattice_of(window: GeoBox) -> tuple[Affine, Rect]:
    """The lattice that a window is part of, from a pixel (0, 0) on, and the window's rectangle of it.

    >>> lattice_of(GeoBox((2, 3), Affine(10, 0, 300_040, 0, -10, 4_800_005), "EPSG:32631"))
    (Affine(10.0, 0.0, 0.0, 0.0, -10.0, 5.0), Rect(r0=-480000, r1=-479998, c0=30004, c1=30007))

    The same numbers whichever window of the lattice is asked. Windows that are turned have none: ValueError.
    """
    a = window.affine
    if a.b or a.d:
        raise ValueError("a turned window is part of no lattice")
    (col, x), (row, y) = _lattice(a.c, a.a), _lattice(a.f, a.e)
    return Affine(a.a, 0, x, 0, a.e, y), Rect(row, row + window.shape.y, col, col + window.shape.x)


class _Nodes(NamedTuple):
    """Exact coordinates in another CRS, every 16th pixel of the lattice that a window is part of."""

    x: np.ndarray
    y: np.ndarray
    first_row: int
    """Of the window, from the first node on."""
    first_column: int
    torn: np.ndarray | None
    """Cells between nodes in which coordinates must not be interpolated; None: there are none."""


def _nodes(window: GeoBox, crs: str) -> _Nodes | None:
    """None where places must not be interpolated: rotated windows, large pixels, the window's own CRS."""
    a, own = window.affine, crs_name(window.crs)
    large = max(abs(a.a), abs(a.e)) * _STEP * _units(own) > _FLAT
    if a.b or a.d or large or same_crs(own, crs):
        return None
    return _exact_nodes(a.a, a.c, a.e, a.f, (window.shape.y, window.shape.x), own, crs)


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
    return _Nodes(x, y, row0 - first_r * _STEP, col0 - first_c * _STEP, _torn(x, y, _units(target)))


def _torn(x: np.ndarray, y: np.ndarray, metres: float) -> np.ndarray | None:
    """Cells whose corners are far from each other (longitudes jump at 180°, and run fast near poles), or half of them
    nowhere: told by its own corners, so that a cell is the same in every window."""
    with np.errstate(invalid="ignore"):
        if max(np.ptp(x), np.ptp(y)) * metres < _TORN:
            return None
    corners = np.stack([np.stack([v[:-1, :-1], v[:-1, 1:], v[1:, :-1], v[1:, 1:]]) for v in (x, y)])
    known = np.isfinite(corners).all(0)
    with np.errstate(invalid="ignore"):
        torn = np.where(known.all(0), np.ptp(corners, axis=1).max(0) * metres >= _TORN, known.any(0))
    return torn if torn.any() else None


def _torn_cells(
    window: GeoBox, nodes: _Nodes, crs: str
) -> Iterator[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
    """Torn cells of a window as slices of it, with the exact coordinates of their pixels."""
    if nodes.torn is None:
        return
    a, (rows, columns) = window.affine, window.shape
    (col0, x0), (row0, y0) = _lattice(a.c, a.a), _lattice(a.f, a.e)
    way = transformer(crs_name(window.crs), crs)
    for row, col in np.argwhere(nodes.torn).tolist():
        top, left = row * _STEP - nodes.first_row, col * _STEP - nodes.first_column
        r = np.arange(max(top, 0), min(top + _STEP, rows))
        c = np.arange(max(left, 0), min(left + _STEP, columns))
        if r.size and c.size:
            at = np.meshgrid(x0 + (col0 + c + 0.5) * a.a, y0 + (row0 + r + 0.5) * a.e)
            yield (slice(r[0], r[-1] + 1), slice(c[0], c[-1] + 1)), *way.transform(*at)


def _lattice(corner: float, step: float) -> tuple[int, float]:
    """The index of the first pixel on its lattice, and where the lattice begins (less than a pixel from 0)."""
    index = math.floor(corner / step + 1e-6)
    phase = corner - index * step
    # Corners of tiles come with rounding errors of their own; the phase is rounded so that all agree.
    quantum = abs(step) * 2.0**-16
    return index, round(phase / quantum) * quantum


def aligned_grid(projection: int | str, resolution: float, inputs: Mapping[str, Grid]) -> Mapping[str, Grid]:
    """The grid of a CRS and resolution, aligned to the CRS's origin, where the inputs are."""
    crs = crs_name(projection)
    extent: Rect | None = None
    for grid in inputs.values():
        b = box(*grid.bounds(), grid.crs).to_crs(crs, resolution=grid.resolution * 64).boundingbox
        rect = Rect(
            int(np.floor(-b.top / resolution)), int(np.ceil(-b.bottom / resolution)),
            int(np.floor(b.left / resolution)), int(np.ceil(b.right / resolution)),
        )  # fmt: skip
        extent = rect if extent is None else extent.union(rect)
    name = lattice_name(crs, (resolution, resolution), (0.0, 0.0))
    grid = Grid(name, crs, (0.0, 0.0), resolution, extent or Rect(0, 0, 0, 0), lattice=name)
    return {grid.id: grid}


def resampled_grids(projection: int | str | None, resolution: float, inputs: Mapping[str, Grid]) -> Mapping[str, Grid]:
    """The grids of a CRS (None: each input's own) and resolution (0: the finest input's, in metres) of the inputs."""
    crs = None if projection is None else crs_name(projection)
    if resolution == 0 and all(crs is None or same_crs(crs, grid.crs) for grid in inputs.values()):
        return inputs
    together: dict[str, dict[str, Grid]] = {}
    for id, grid in inputs.items():
        together.setdefault(crs or grid.crs, {})[id] = grid
    made: dict[str, Grid] = {}
    for name, grids in together.items():
        size = resolution or min(grid.pixel_metres(0) for grid in grids.values()) / _units(name)
        made.update(aligned_grid(name, size, grids))
    return made
