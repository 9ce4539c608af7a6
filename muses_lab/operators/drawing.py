"""Points, lines and polygons drawn on lattices: a pixel is the same in every window."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import crs_name, known_crs, transformer
from muses_lab.raster.grid import BLOCK, Rect, block_rect, lattice_of, same_crs
from muses_lab.resources import cancel

# Shapes are brought to pixels and drawn on these: that they lie nowhere is meant.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=r"rasterio\.features")

_MARGIN = BLOCK // 8
"""Pixels around a block at which shapes are cut off."""

_PLACES = 33
"""Along each side of a rectangle, where a change of reference systems is tried."""

_OFF = 0.1
"""Pixels by which a place may be off that was brought to another reference system and back."""

SIDE = 8
"""Pixels between vertices before an edge is brought to another reference system: it stays straight in its own."""

_STEPS = 4096
"""Places along a line that are looked for one by one where no projection is certain."""

NONE = -1
"""The number of a pixel that no shape has."""


class Drawing:
    """Shapes of one reference system, and which pixels are theirs.

    A polygon's are those whose centre is inside (GDAL's rule; with `all_touched` those that it touches), a line's those
    that it goes through, a point's the one that holds it.
    """

    def __init__(self, crs: str, shapes: Iterable[BaseGeometry]) -> None:
        self.crs = crs
        every = list(shapes)
        self._shapes = np.empty(len(every), object)
        self._shapes[:] = every

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self._shapes)

    def inside(self, window: GeoBox) -> np.ndarray:
        """Whether each pixel is one of some shape."""
        return self.numbers(window) != NONE

    def numbers(self, window: GeoBox, all_touched: bool = False) -> np.ndarray:
        """The number (int32) of the last shape that has each pixel, from 0 on; `NONE` where none has it.

        Drawn block by block of the lattice that the window is part of. Where a change of reference systems is not
        certain (far from where a projection is meant for), pixels are those of a polygon by their centres alone.
        """
        lattice, rect = lattice_of(window)
        out = np.empty(rect.shape, np.int32)
        for row, col in rect.blocks():
            cancel.check()
            block = block_rect(row, col)
            part = block.intersection(rect)
            drawn = self._drawn(crs_name(window.crs), lattice, block, all_touched)
            if drawn is None:
                out[part.within(rect)] = self._of_centres(crs_name(window.crs), lattice, part)
            else:
                out[part.within(rect)] = drawn[part.within(block)]
        return out

    def _drawn(self, crs: str, lattice: Affine, block: Rect, all_touched: bool) -> np.ndarray | None:
        near = self._near(crs, lattice, block)
        if near is None:
            return None
        numbers, shapes = near
        out = np.full(block.shape, NONE, np.int32)
        for kind, touched in ((_is_surface(shapes), all_touched), (~_is_surface(shapes), True)):
            if kind.any():
                drawn = on_pixels(shapes[kind], numbers[kind], lattice, block, touched)
                np.maximum(out, drawn, out=out)
        return out

    @property
    def _turns(self) -> tuple[float, ...]:
        """Degrees by which longitudes of the same place differ."""
        return (0.0, 360.0, -360.0) if known_crs(self.crs).is_geographic else (0.0,)

    def _near(self, crs: str, lattice: Affine, block: Rect) -> tuple[np.ndarray, np.ndarray] | None:
        """Numbers and simple parts of the shapes around a block in its reference system, cut off well outside of it.

        In order. None where that is not certain to bring every part of them there: far from where a projection is meant
        for it has no coordinates for some places, or several for one.
        """
        around = block.grow(_MARGIN)
        west, north = lattice @ (around.c0, around.r0)
        east, south = lattice @ (around.c1, around.r1)
        boxes, there = [(west, south, east, north)], None
        if not same_crs(crs, self.crs):
            here, there = transformer(crs, self.crs), transformer(self.crs, crs)
            w, s, e, n = here.transform_bounds(west, south, east, north, densify_pts=32)
            x, y = _spread(west, south, east, north)
            back = np.array(there.transform(*here.transform(x, y)))
            off = np.abs((back - (x, y)) / np.array([[lattice.a], [lattice.e]]))
            if not (np.isfinite((w, s, e, n)).all() and (off < _OFF).all()):
                return None
            boxes = [(w, s, e, n)] if w <= e else [(w, s, 180.0, n), (-180.0, s, e, n)]
        numbers, shapes = [np.zeros(0, np.int64)], [np.zeros(0, object)]
        for (w, s, e, n), turn in product(boxes, self._turns):
            found = self._tree.query(shapely.box(w + turn, s, e + turn, n))
            if not len(found):
                continue
            cut = shapely.clip_by_rect(self._shapes[found], w + turn, s, e + turn, n)
            if there is not None:
                cut = shapely.segmentize(cut, max(e - w, n - s) / (BLOCK + 2 * _MARGIN) * SIDE)
            if turn:
                cut = moved(cut, partial(_turned, turn=turn))
            if there is not None:
                cut = moved(cut, there.transform)
                between = there.transform(*_spread(w, s, e, n))  # what has no place inside turns a polygon inside out
                if not (np.isfinite(between).all() and np.isfinite(shapely.get_coordinates(cut)).all()):
                    return None
            parts, of = shapely.get_parts(cut, return_index=True)
            numbers.append(found[of])
            shapes.append(parts)
        order = np.argsort(np.concatenate(numbers), kind="stable")
        return np.concatenate(numbers)[order], np.concatenate(shapes)[order]

    def _of_centres(self, crs: str, lattice: Affine, part: Rect) -> np.ndarray:
        """The last shape that each pixel's centre is inside of in the shapes' system; what is not in it has none."""
        columns, rows = np.meshgrid(np.arange(part.c0, part.c1) + 0.5, np.arange(part.r0, part.r1) + 0.5)
        x, y = transformer(crs, self.crs).transform(*(lattice @ (columns.ravel(), rows.ravel())))
        out = np.full(columns.size, NONE, np.int32)
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        known = known[np.argsort(y[known])]
        if not len(known):
            return out.reshape(part.shape)
        x, y = x[known], y[known]
        for turn in self._turns:
            near = np.sort(self._tree.query(shapely.box(x.min() + turn, y[0], x.max() + turn, y[-1])))
            for number, shape in zip(near, shapely.force_2d(self._shapes[near]), strict=True):  # copies: GEOS prepares
                cancel.check()
                if not _is_surface(shape):
                    self._along(out, crs, lattice, part, int(number), shape)
                    continue
                w, s, e, n = shape.bounds
                some = np.arange(np.searchsorted(y, s), np.searchsorted(y, n, "right"))
                some = some[(x[some] + turn >= w) & (x[some] + turn <= e)]
                hit = known[some[shapely.intersects_xy(shape, x[some] + turn, y[some])]]
                out[hit] = np.maximum(out[hit], number)
        return out.reshape(part.shape)

    def _along(self, out: np.ndarray, crs: str, lattice: Affine, part: Rect, number: int, shape: BaseGeometry) -> None:
        """Pixels that hold places along a line, or points."""
        length = shape.length
        places = shapely.get_coordinates(shapely.segmentize(shape, length / _STEPS) if length else shape)
        columns, rows = ~lattice @ np.array(transformer(self.crs, crs).transform(*places.T))
        inside = (columns >= part.c0) & (columns < part.c1) & (rows >= part.r0) & (rows < part.r1)
        at = (rows[inside].astype(np.int64) - part.r0) * part.shape[1] + columns[inside].astype(np.int64) - part.c0
        out[at] = np.maximum(out[at], number)


def on_pixels(
    shapes: np.ndarray, numbers: np.ndarray, lattice: Affine, rect: Rect, all_touched: bool = False
) -> np.ndarray:
    """Numbers (int32) of shapes in the lattice's system drawn one over the other on a rectangle of it, else `NONE`."""

    def to_pixels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 2 * ((x - lattice.c) / lattice.a - rect.c0), 2 * ((y - lattice.f) / lattice.e - rect.r0)

    some = ~shapely.is_empty(shapes)
    if not some.any():
        return np.full(rect.shape, NONE, np.int32)
    pairs = zip(moved(shapes[some], to_pixels), numbers[some].tolist(), strict=True)
    # twice as large, which is exact: rasterio warns whoever draws on pixels themselves that they lie nowhere
    return rasterize(
        list(pairs), rect.shape, fill=NONE, transform=Affine.scale(2), all_touched=all_touched, dtype=np.int32
    )


def _is_surface(shapes: Any) -> Any:
    return shapely.get_dimensions(shapes) == 2


def moved(shapes: np.ndarray, way: Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]) -> np.ndarray:
    """Shapes with each x, y where a way brings them."""

    def both(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(way(xy[:, 0], xy[:, 1]))

    return shapely.transform(shapes, both)


def _spread(west: float, south: float, east: float, north: float) -> tuple[np.ndarray, np.ndarray]:
    """Places all over a rectangle: closer than 8° of arc on the whole Earth."""
    x, y = np.meshgrid(np.linspace(west, east, _PLACES), np.linspace(south, north, _PLACES))
    return x.ravel(), y.ravel()


def _turned(x: np.ndarray, y: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    return x - turn, y
