"""The pixels of features: which grid and blocks they lie in, and the chain's values there, block by block."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from muses_lab import settings
from muses_lab.compute import executor
from muses_lab.compute.windows import WindowTicket, request_window
from muses_lab.crs import transformer
from muses_lab.engine import Published
from muses_lab.engine.mosaic import reaches
from muses_lab.errors import ArgumentError, TooLarge
from muses_lab.operators.drawing import NONE, SIDE, moved, on_pixels
from muses_lab.operators.vectors import Features
from muses_lab.plain import number, users_line
from muses_lab.progress import Progress
from muses_lab.raster.grid import BLOCK, Grid, Rect, same_crs

_TOGETHER = 16
"""Windows that are asked for at a time: as many as keep the cluster busy."""

_NAMED = 5
"""Features that a message names."""

Block = tuple[int, int]


class OutsideData(UserWarning):
    """Features have no pixels of the chain: their values are missing."""


class Covered(NamedTuple):
    """Pixels that a feature covers."""

    rows: np.ndarray
    """Of the grid's level."""
    cols: np.ndarray
    shares: np.ndarray | None = None
    """Of each pixel that is covered; None: all of it."""

    def within(self, rect: Rect) -> Covered:
        """Those in a rectangle."""
        inside = (self.rows >= rect.r0) & (self.rows < rect.r1) & (self.cols >= rect.c0) & (self.cols < rect.c1)
        shares = None if self.shares is None else self.shares[inside]
        return Covered(self.rows[inside], self.cols[inside], shares)


Cover = Callable[[Grid, int, "Sequence[Part]"], Mapping[int, Covered]]
"""(grid, level, features on it) → number of a feature → its pixels."""


@dataclass
class Part:
    """A feature on the lattice of a grid, and the values met so far."""

    number: int
    shape: BaseGeometry
    """In the grid's system."""
    rect: Rect
    left: int = 0
    """Blocks that are still to come."""
    places: list[np.ndarray] = field(default_factory=list)
    """Of each block: the pixels' places, in rows from the north-west."""
    values: list[np.ndarray] = field(default_factory=list)
    shares: list[np.ndarray] = field(default_factory=list)
    """Of each pixel, where those are known."""
    found: set[str] = field(default_factory=set)
    """Ids of the scenes at its blocks."""
    used: set[str] = field(default_factory=set)
    """Those that gave valid pixels."""

    def meets(self, rect: Rect) -> bool:
        """Whether any of its pixels may be in a rectangle."""
        mine = self.rect
        return mine.r0 < rect.r1 and rect.r0 < mine.r1 and mine.c0 < rect.c1 and rect.c0 < mine.c1


def positive(resolution: float) -> float:
    size = number("resolution", resolution)
    if size <= 0:
        raise ArgumentError(f"resolution={size:g} is not the size of a pixel in metres", argument="resolution")
    return size


def by_grid(grids: Sequence[Grid], features: Features) -> Iterator[tuple[Grid, np.ndarray]]:
    """The grid to which each feature belongs: in which its middle lies, farthest from the edge; ties by id."""
    if not grids:
        raise ArgumentError("the chain has no scenes, and so no pixels to reduce")
    middles = shapely.centroid(features.shapes)
    away = np.full((len(grids), len(features)), np.inf)
    for row, grid in enumerate(grids):
        x, y = transformer(features.crs, grid.crs).transform(shapely.get_x(middles), shapely.get_y(middles))
        known = np.isfinite(x) & np.isfinite(y)
        outline, points = shapely.box(*grid.bounds()), shapely.points(x[known], y[known])
        inside = shapely.contains(outline, points)
        metres = np.where(inside, -shapely.distance(outline.exterior, points), shapely.distance(outline, points))
        away[row, known] = metres * grid.metres
    nearest = away.argmin(axis=0)
    for row, grid in enumerate(grids):
        if (nearest == row).any():
            yield grid, np.flatnonzero(nearest == row)


def parts_of(
    published: Published, grid: Grid, level: int, features: Features, numbers: np.ndarray, failed: dict[str, str],
    cover: Cover | None = None, progress: Progress | None = None,
) -> Iterator[tuple[Part, int]]:  # fmt: skip
    """Each feature with all its values and their number, as soon as its last block has been evaluated.

    Parameters
    ----------
    failed
        Is told the scenes that could not be read.
    cover
        Which pixels are a feature's; by default those whose centre is inside.
    progress
        Is told each feature.
    """
    blocks: dict[Block, list[Part]] = defaultdict(list)
    parts = list(_placed(grid, level, features, numbers))
    covered = {} if cover is None else cover(grid, level, parts)
    height = BLOCK // 2 if published.prepared.output.meta.time else BLOCK
    for part in parts:
        touched = list(_blocks(part.rect, height))
        part.left = len(touched)
        for block in touched:
            blocks[block].append(part)
    limit, held = int(settings.number("MUSES_MAX_COMPUTE_BYTES")), 0
    for (row, col), found in _evaluated(published, grid, level, blocks, height):
        rect = _around(blocks[row, col], _block(row, col, height))
        report = None if found is None else found.report
        failed.update(report.failed if report is not None else ())
        for part in blocks.pop((row, col)):
            mine = part.rect.intersection(rect)
            of_part = covered.get(part.number)
            pixels = of_part.within(mine) if of_part is not None else _inside(part.shape, grid, level, mine)
            held += _take(published, part, rect, pixels, found)
            if report is not None:
                part.found |= report.found
                part.used |= report.used
            part.left -= 1
            if held > limit:
                raise TooLarge(
                    f"the features have values of more than {limit / 1e9:.1f} GB at once: give resolution=…, a coarser "
                    "one, or fewer or smaller features"
                )
            if not part.left:
                held -= sum(values.nbytes for values in part.values)
                yield part, sum(map(len, part.places))
                part.values.clear()
                if progress is not None:
                    progress.update()


def _placed(grid: Grid, level: int, features: Features, numbers: np.ndarray) -> Iterator[Part]:
    """Features on the lattice; edges stay straight in their own system."""
    width, height = grid.pixel(level)
    shapes = features.shapes[numbers]
    if not same_crs(features.crs, grid.crs):
        way = transformer(features.crs, grid.crs)
        middle = transformer(grid.crs, features.crs)
        for number, shape in zip(numbers, shapes, strict=True):
            x, y = way.transform(*shapely.get_coordinates(shapely.centroid(shape))[0])
            xs, ys = middle.transform([x, x + width], [y, y])
            side = float(np.hypot(xs[1] - xs[0], ys[1] - ys[0])) * SIDE
            there = moved(np.array([shapely.segmentize(shape, side)]), way.transform)[0] if side > 0 else shape
            yield Part(int(number), there, _rect(grid, width, height, there))
        return
    for number, shape in zip(numbers, shapes, strict=True):
        yield Part(int(number), shape, _rect(grid, width, height, shape))


def _rect(grid: Grid, width: float, height: float, shape: BaseGeometry) -> Rect:
    """All pixels that a shape may have."""
    w, s, e, n = shape.bounds
    if not np.isfinite((w, s, e, n)).all():
        raise ArgumentError(f"a feature has no place in {grid.crs}, the system of the data")
    (x, y) = grid.origin
    rect = Rect(
        int(np.floor((y - n) / height)), int(np.floor((y - s) / height)) + 1,
        int(np.floor((w - x) / width)), int(np.floor((e - x) / width)) + 1,
    )  # fmt: skip
    if rect.pixels > 1 << 34:
        raise TooLarge(f"a feature covers {rect.shape[0]} × {rect.shape[1]} pixels: give resolution=…, a coarser one")
    return rect


def _blocks(rect: Rect, height: int) -> Iterator[Block]:
    """Places that a rectangle touches: blocks, or of series halves of them.

    All dates of a block are more memory than allocators keep for the next one, and of a quarter every read costs as
    much as of a half: halves win 10 % of the processor time of 1 000 polygons × 36 dates over either.
    """
    for row in range(rect.r0 // height, (rect.r1 - 1) // height + 1):
        for col in range(rect.c0 // BLOCK, (rect.c1 - 1) // BLOCK + 1):
            yield row, col


def _block(row: int, col: int, height: int) -> Rect:
    return Rect(row * height, (row + 1) * height, col * BLOCK, (col + 1) * BLOCK)


def _around(parts: Sequence[Part], block: Rect) -> Rect:
    """What of a block is needed."""
    rects = [part.rect.intersection(block) for part in parts]
    union = rects[0]
    for rect in rects[1:]:
        union = union.union(rect)
    return union


def _evaluated(
    published: Published, grid: Grid, level: int, blocks: dict[Block, list[Part]], height: int
) -> Iterator[tuple[Block, WindowTicket | None]]:
    """Blocks in order with the chain evaluated there; None where there is no scene."""
    runs = executor()
    order = sorted(blocks, key=lambda at: (at[0] * height // BLOCK, at[1], at))
    for start in range(0, len(order), _TOGETHER):
        tickets = {}
        for block in order[start : start + _TOGETHER]:
            window = grid.geobox(level, _around(blocks[block], _block(*block, height)))
            if reaches(published.prepared, window):
                tickets[block] = request_window(runs, published, window)
        try:
            for block in order[start : start + _TOGETHER]:
                ticket = tickets.get(block)
                yield block, None if ticket is None else ticket.wait(settings.number("MUSES_TASK_SECONDS"))
        finally:
            for ticket in tickets.values():
                ticket.release()


def _take(published: Published, part: Part, rect: Rect, pixels: Covered, found: WindowTicket | None) -> int:
    """Keeps a feature's values of a block; returns their bytes."""
    rows, cols, shares = pixels
    place = (rows - part.rect.r0) * np.int64(part.rect.shape[1]) + cols - part.rect.c0
    if found is None:
        step = published.prepared.output
        values = np.full((*step.shape((1, 1))[:-2], len(place)), np.nan, np.float32)
    else:
        values = found.picked(rows - rect.r0, cols - rect.c0)
    part.places.append(place)
    part.values.append(values)
    if shares is not None:
        part.shares.append(shares)
    return values.nbytes


def _inside(shape: BaseGeometry, grid: Grid, level: int, rect: Rect) -> Covered:
    width, height = grid.pixel(level)
    lattice = Affine(width, 0, grid.origin[0], 0, -height, grid.origin[1])
    parts = shapely.get_parts(shape)
    touched = bool(shapely.get_dimensions(shape) < 2)
    rows, cols = np.nonzero(on_pixels(parts, np.zeros(len(parts), int), lattice, rect, touched) != NONE)
    return Covered(rows + rect.r0, cols + rect.c0)


def tell_of_empty(features: Features, numbers: Sequence[int]) -> None:
    """Warns of features without pixels."""
    if numbers:
        warnings.warn(outside(features, numbers), OutsideData, stacklevel=users_line())


def outside(features: Features, numbers: Sequence[int]) -> str:
    """The sentence on features without pixels."""
    empty = sorted(numbers)
    some = ", ".join(repr(features.ids[n]) for n in empty[:_NAMED])
    more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
    return (
        f"{len(empty)} of {len(features)} features (with the ids {some}{more}) are outside of the data, or hold no "
        "centre of a pixel: their values are missing"
    )
