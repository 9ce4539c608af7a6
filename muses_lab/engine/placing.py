"""Values of other grids and levels put in place: the pixels of a rectangle, taken from pieces as these arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.engine.arrays import check_size, empty, on_axis, promoted
from muses_lab.engine.graph import PreparedGraph, Step
from muses_lab.engine.mosaic import layout, put
from muses_lab.engine.stages import Key, Piece, Stage
from muses_lab.errors import TooLarge
from muses_lab.operators import AtResolution, Regrid, Windows
from muses_lab.raster import warping
from muses_lab.raster.grid import BLOCK, Grid, Rect, block_rect


class Placing(Protocol):
    """What a stage is put together from."""

    pieces: list[Piece]
    values: xr.DataArray

    def put(self, key: Key, values: xr.DataArray) -> None:
        """Takes from a piece what lies in it."""


def placing(prepared: PreparedGraph, one: Stage) -> Placing | None:
    """How a stage is put together from pieces of another grid or level; None: it is evaluated."""
    step, support = one.step, one.step.operator.support
    if isinstance(support, Windows):
        return WindowsPlacing(prepared[step.data], one, support)
    if isinstance(support, Regrid):
        method = support.method_of(step.arguments)
        if method != "near":
            return WarpPlacing(prepared, step, one, method)
        return WindowPlacing(prepared, prepared[step.data], one.grid.geobox(one.level, one.rect))
    if isinstance(support, AtResolution):
        return LevelPlacing(prepared, step, one, step.arguments[support.metres])
    return None


class WindowPlacing:
    """A step on a window, from blocks of its grids, by nearest neighbour."""

    def __init__(self, prepared: PreparedGraph, step: Step, window: GeoBox) -> None:
        self._step = step
        self._at = {}
        self.pieces = []
        for part in layout(prepared, window, step).parts:
            for block in part.blocks:
                piece = Piece(step, part.grid, part.level, block.rect, kept=True)
                self.pieces.append(piece)
                self._at[piece.key] = part
        self.values = empty(step, (window.shape.y, window.shape.x))

    def put(self, key: Key, values: xr.DataArray) -> None:
        self.values = promoted(self.values, values)
        put(self._at[key], key[3], np.asarray(on_axis(values, self._step).data), self.values.data)


class WarpPlacing:
    """A step on a rectangle of another grid, by a method of resampling that looks at several pixels.

    Done in parts, each when the blocks that it looks at have arrived. The pixels looked at are of the level of the grid
    that they come from which is the rectangle's: all pixels at its finest, so that no pixel is left out or averaged
    twice; a finer rectangle takes the level that fits its pixels.
    """

    def __init__(self, prepared: PreparedGraph, step: Step, one: Stage, method: str) -> None:
        self._step, self._method = step, method
        self._parts: list[_Part] = []
        window = one.grid.geobox(one.level, one.rect)
        source = prepared[step.data]
        blocks: dict[Key, Piece] = {}
        for owned in layout(prepared, window, source).parts:
            grid = owned.grid
            level = min(owned.level, one.level)
            extent = grid.rect(level)
            at = warping.area(window, grid, level, method)
            scales = warping.scale(window, grid, level)
            _check_scale(max(scales), method)
            for rows, cols in _cut(one.rect.shape, max(scales)):
                where = np.ones(at.left[rows, cols].shape, np.bool_) if owned.where is None else owned.where[rows, cols]
                inner = warping.Area(*(v[rows, cols] for v in at))
                if not where.any():
                    continue
                rect = Rect(*inner.rows(where), *inner.columns(where)).intersection(extent)
                if rect.empty:
                    continue
                part = _Part(grid.id, level, rect, (rows, cols), np.ascontiguousarray(where), inner, scales)
                self._parts.append(part)
                for block in rect.blocks():
                    piece = Piece(source, grid, level, block_rect(*block), kept=True)
                    blocks[piece.key] = piece
        self.pieces = [piece for _, piece in sorted(blocks.items(), key=lambda one: one[0][1:])]
        self.values = empty(step, one.rect.shape)

    def put(self, key: Key, values: xr.DataArray) -> None:
        values = on_axis(values, self._step)
        self.values = promoted(self.values, values)
        layers = np.asarray(values.data).reshape(-1, *values.shape[-2:])
        for part in [p for p in self._parts if p.takes(key)]:
            if part.put(key[3], layers):
                self._parts.remove(part)
                rows, cols = part.place
                out = np.full((layers.shape[0], *part.where.shape), np.nan, self.values.dtype)
                warping.resample(
                    self._method, part.values, part.rect.r0, part.rect.c0, part.area, part.scales, part.where, out
                )
                target = self.values.data.reshape(-1, *self.values.shape[-2:])[:, rows, cols]
                np.copyto(target, out, where=part.where)


class _Part:
    """Some pixels of a rectangle, and the values that they look at, as these arrive."""

    def __init__(
        self, grid: str, level: int, rect: Rect, place: tuple[slice, slice], where: np.ndarray, area: warping.Area,
        scales: tuple[float, float],
    ) -> None:  # fmt: skip
        self.rect, self.place, self.where, self.area, self.scales = rect, place, where, area, scales
        self._of = grid, level
        self._left = rect.pixels
        self.values = np.empty((0, 0, 0), np.float32)

    def takes(self, key: Key) -> bool:
        return key[1:3] == self._of and not key[3].intersection(self.rect).empty

    def put(self, rect: Rect, layers: np.ndarray) -> bool:
        """Takes what it looks at of a block; whether it has all of it."""
        if not self.values.size:
            self.values = np.empty((layers.shape[0], *self.rect.shape), layers.dtype)
        if self.values.dtype != np.result_type(self.values, layers):
            self.values = self.values.astype(layers.dtype)
        inner = rect.intersection(self.rect)
        self.values[(..., *inner.within(self.rect))] = layers[(..., *inner.within(rect))]
        self._left -= inner.pixels
        return self._left == 0


_SIDE = 256
"""Pixels along a side of what a part of a warped rectangle looks at, about."""
_COARSEST = 128
"""Pixels that a pixel of another grid may be long, where it is made of all of them."""


def _cut(shape: tuple[int, int], scale: float) -> Iterator[tuple[slice, slice]]:
    """A rectangle in parts that look at about as many pixels, whatever their size."""
    side = max(int(_SIDE / scale), 1)
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield slice(top, min(top + side, shape[0])), slice(left, min(left + side, shape[1]))


def _check_scale(scale: float, method: str) -> None:
    if scale > _COARSEST:
        raise TooLarge(
            f"resampling by {method!r} to pixels that are {scale:.0f} times as long as those of the data would read "
            f"{scale**2:.0f} pixels for each; the limit is {_COARSEST}: bring the data to a coarser resolution before, "
            "or choose 'near'"
        )


class LevelPlacing:
    """A step at one level of its grid, on a rectangle of another level, by nearest neighbour."""

    def __init__(self, prepared: PreparedGraph, step: Step, one: Stage, metres: float) -> None:
        grid, level, rect = one.grid, one.level, one.rect
        self._step, pinned = step, grid.level_near(metres)
        self.pieces = []
        self.values = empty(step, rect.shape)
        rows, cols = (np.arange(a, b) for a, b in ((rect.r0, rect.r1), (rect.c0, rect.c1)))
        if pinned <= level:  # the pinned pixel at the centre of each pixel shown
            f = 2 ** (level - pinned)
            rows, cols = rows * f + f // 2, cols * f + f // 2
        else:
            f = 2 ** (pinned - level)
            rows, cols = rows // f, cols // f
        # A coarse block covers far more fine pixels than the grid has: outside its extent nothing is asked for.
        extent = step.grids.get(grid.id, grid).rect(pinned)
        self._rows, self._cols = rows, cols
        here_r, here_c = (v[(v >= a) & (v < b)] for v, a, b in ((rows, *extent[:2]), (cols, *extent[2:])))
        if not here_r.size or not here_c.size:
            return
        inner = Rect(int(here_r[0]), int(here_r[-1]) + 1, int(here_c[0]), int(here_c[-1]) + 1)
        check_size(inner)
        for top, left in inner.blocks():  # the pinned level may have far more pixels than are shown
            part = block_rect(top, left).intersection(inner)
            if self._shown(part)[0].size and self._shown(part)[1].size:
                self.pieces.append(Piece(prepared[step.data], grid, pinned, part))

    def _shown(self, part: Rect) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the rectangle that show pixels of a part of the pinned level."""
        return (
            np.flatnonzero((self._rows >= part.r0) & (self._rows < part.r1)),
            np.flatnonzero((self._cols >= part.c0) & (self._cols < part.c1)),
        )

    def put(self, key: Key, values: xr.DataArray) -> None:
        part = key[3]
        values = on_axis(values, self._step)
        self.values = promoted(self.values, values)
        down, across = self._shown(part)
        taken = np.asarray(values.data)[..., (self._rows[down] - part.r0)[:, None], self._cols[across] - part.c0]
        self.values.data[(..., down[:, None], across)] = taken


class WindowsPlacing:
    """A pixel of each window of pixels of a finer grid: some windows together, about a block of pixels."""

    def __init__(self, data: Step, one: Stage, support: Windows) -> None:
        step, level = one.step, one.level
        self._step, self._data, self._rect = step, data, one.rect
        self._size = down, across = support.size(step.arguments)
        grid = _finer(data, step, support, one.grid)
        corner = support.corner(step.arguments, grid)
        self._first = first_row, first_col = corner[0] // 2**level, corner[1] // 2**level
        self._extent = grid.rect(level)
        self._parts: list[_Gathered] = []
        blocks: dict[Key, Piece] = {}
        self.values = empty(step, one.rect.shape)
        inner = one.rect.intersection(one.grid.rect(level))
        rows, cols = (max(1, BLOCK // n) for n in self._size)
        for top in range(inner.r0, inner.r1, rows):
            for left in range(inner.c0, inner.c1, cols):
                r0, c0 = first_row + top * down, first_col + left * across
                r1 = first_row + min(top + rows, inner.r1) * down
                c1 = first_col + min(left + cols, inner.c1) * across
                rect = Rect(r0, r1, c0, c1)
                check_size(rect)
                there = rect.intersection(self._extent)  # windows may reach beyond the data
                if there.empty:
                    continue
                self._parts.append(_Gathered(rect, there))
                for block in there.blocks():
                    piece = Piece(data, grid, level, block_rect(*block), kept=True)
                    blocks[piece.key] = piece
        self.pieces = list(blocks.values())

    def put(self, key: Key, values: xr.DataArray) -> None:
        values = on_axis(values, self._data)
        for part in [part for part in self._parts if not key[3].intersection(part.there).empty]:
            if part.put(key[3], values):
                self._parts.remove(part)
                self._reduce(part)

    def _reduce(self, part: _Gathered) -> None:
        """Puts the pixels of a part's windows in place."""
        assert part.values is not None
        operator = self._step.operator
        arguments = {k: v for k, v in self._step.arguments.items() if k not in operator.cubes}
        found = operator.fn(part.values, **arguments)
        self.values = promoted(self.values, found)
        (down, across), (first_row, first_col) = self._size, self._first
        top = (part.rect.r0 - first_row) // down - self._rect.r0
        left = (part.rect.c0 - first_col) // across - self._rect.c0
        rows, cols = found.sizes["y"], found.sizes["x"]
        self.values.data[..., top : top + rows, left : left + cols] = found.transpose(*self.values.dims).data


class _Gathered:
    """A rectangle of values, as the blocks arrive that it is made of; missing outside of what is `there`."""

    def __init__(self, rect: Rect, there: Rect) -> None:
        self.rect, self.there = rect, there
        self._left = there.pixels
        self.values: xr.DataArray | None = None

    def put(self, rect: Rect, values: xr.DataArray) -> bool:
        """Takes its share of a block; whether it has all of it."""
        if self.values is None:
            shape = (*values.shape[:-2], *self.rect.shape)
            coords = {d: values.coords[d] for d in values.dims if d in values.coords and d not in ("y", "x")}
            self.values = xr.DataArray(np.full(shape, np.nan, values.dtype), dims=values.dims, coords=coords)
        self.values = promoted(self.values, values)
        inner = rect.intersection(self.there)
        self.values.data[(..., *inner.within(self.rect))] = values.data[(..., *inner.within(rect))]
        self._left -= inner.pixels
        return self._left == 0


def _finer(data: Step, step: Step, support: Windows, grid: Grid) -> Grid:
    """The grid of the data whose pixels a grid's pixels are windows of."""
    for id, finer in data.grids.items():
        if grid.id in support.grids(step.arguments, {step.operator.cubes[0]: {id: finer}}):
            return finer
    raise AssertionError(f"{grid.id!r} is no grid of windows")
