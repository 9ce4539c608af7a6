"""From a window to blocks and back: which grid owns each pixel, which blocks are needed, and the window put together.

Every pixel of a window belongs to one grid, chosen from metadata alone: inside the grid's footprint, farthest from its
edge, ties by id. So reducers over time see each overpass once, and no seam moves with the view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from muses_lab.engine import pixels
from muses_lab.engine.grid import BLOCK, Bounds, Grid, Rect, places
from muses_lab.engine.keys import BlockKey, RectKey
from muses_lab.engine.program import Program, Step
from muses_lab.engine.thinning import Thinning, limits


@dataclass(frozen=True)
class Report:
    """What an evaluation met: scenes that gave valid pixels, and scenes that could not be read."""

    used: frozenset[str] = frozenset()
    """Ids of scenes that gave valid pixels."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Scene id → why it was left out."""

    def __or__(self, other: Report) -> Report:
        return Report(self.used | other.used, {**self.failed, **other.failed})


@dataclass(frozen=True)
class Part:
    """The pixels of a window that one grid owns."""

    grid: Grid
    level: int
    where: np.ndarray | None
    """Boolean array of the window's shape; None: all of it."""
    rows: np.ndarray
    """Row of the level for each pixel of the window."""
    cols: np.ndarray
    reach: int = 0
    """Pixels beyond a rectangle that it takes to evaluate it, see `Program.reach`."""

    @cached_property
    def tasks(self) -> tuple[BlockKey, ...] | tuple[RectKey, ...]:
        """What is asked of the engine: the blocks, or just what a small window shows where neighbourhoods reach out.

        For a few pixels beside each of its blocks, a window would read all of the blocks around them.
        """
        inside = self.around.intersection(self.grid.rect(self.level))
        if not self.blocks or not self.reach or max(inside.shape) > BLOCK - 2 * self.reach:
            return self.blocks
        return (RectKey(self.grid.id, self.level, *inside),)

    @cached_property
    def blocks(self) -> tuple[BlockKey, ...]:
        """Blocks that hold owned pixels and lie on the grid's extent."""
        extent = self.grid.rect(self.level)
        around = self.around.intersection(extent)
        if around.empty:
            return ()
        top, left = around.r0 // BLOCK, around.c0 // BLOCK
        found = np.zeros(((around.r1 - 1) // BLOCK - top + 1, (around.c1 - 1) // BLOCK - left + 1), np.bool_)
        if found.size == 1 and extent.contains(self.around):
            found[0, 0] = True
        else:
            pixels.touched(self.rows, self.cols, *self.owned, tuple(extent), top, left, BLOCK, found)
        return tuple(
            BlockKey(self.grid.id, self.level, top + int(row), left + int(col)) for row, col in np.argwhere(found)
        )

    @cached_property
    def around(self) -> Rect:
        """The rectangle of the level around all owned pixels."""
        return Rect(*pixels.around(self.rows, self.cols, *self.owned))

    @property
    def owned(self) -> tuple[np.ndarray, bool]:
        """Which pixels the grid owns, and whether those are all."""
        return (_ALL, True) if self.where is None else (self.where, False)


_ALL = np.ones((1, 1), np.bool_)


@dataclass(frozen=True)
class Layout:
    """A window of a step, cut into blocks of its grids."""

    window: GeoBox
    step: Step
    parts: tuple[Part, ...]
    found: tuple[str, ...]
    """Ids of the pinned scenes that touch the window."""
    thinning: Thinning | None = None
    """What the thinning rule does to the longest series here; None where every date is used."""

    @property
    def tasks(self) -> tuple[BlockKey | RectKey, ...]:
        return tuple(key for part in self.parts for key in part.tasks)

    @property
    def levels(self) -> dict[str, float]:
        """Grid id → metres per pixel of the level shown."""
        return {part.grid.id: part.grid.pixel_metres(part.level) for part in self.parts}


def layout(program: Program, window: GeoBox, step: Step | None = None) -> Layout:
    """Which blocks of a step (the chain's result by default) a window needs."""
    place = _Place(window)
    find = _kept_layout if place.small else _layout
    return find(program, (step or program.output).node.hash, place, limits())


def _layout(program: Program, node: str, place: _Place, _limits: tuple[int, ...]) -> Layout:
    """The last argument tells layouts apart that are kept: thinning depends on it."""
    step, window = program.steps[node], place.window
    parts: list[Part] = []
    candidates: list[tuple[Grid, int, _Pixels, BaseGeometry]] = []
    found: dict[str, None] = {}
    thinnings: list[Thinning] = []
    dates = program.dates_below(step.node)
    for id in program.candidates(step, window):
        grid = step.grids[id]
        footprint = program.footprint(step, id)
        if not _may_touch(window, footprint, grid):
            continue
        level = grid.level_for(window)
        find = _kept_pixels if place.small else _pixels
        candidates.append((grid, level, find(place, grid, level), footprint))
    owner = _owners([(grid, at, footprint) for grid, _, at, footprint in candidates])
    for number, (grid, level, at, _) in enumerate(candidates):
        where = None if owner is None else owner == number
        if where is not None and where.all():
            where = None
        if where is not None and not where.any():
            continue
        reach = program.reach(step, grid, level)
        part = at.part
        if where is not None or reach:
            part = Part(grid, level, where, part.rows, part.cols, reach)
        if not part.blocks:
            continue
        parts.append(part)
        thinning = program.thinned_below(step, grid.id, level)
        if thinning is not None:
            thinnings.append(thinning)
        f = 2**level
        native = Rect(*(v * f for v in part.around))
        for load, times in dates.items():
            found.update(dict.fromkeys(program.source(program.steps[load].node).found(grid, native, times)))
    thinned = max(thinnings, key=lambda t: t.of, default=None)
    return Layout(window, step, tuple(parts), tuple(found), thinned)


class _Place:
    """A window that can be remembered. A `GeoBox` is one too, but takes a millisecond to write its CRS down."""

    def __init__(self, window: GeoBox) -> None:
        self.window = window
        self.small = window.shape.x * window.shape.y <= _KEPT_PIXELS
        a = window.affine
        self._key = (*window.shape, a.a, a.b, a.c, a.d, a.e, a.f, str(window.crs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


_KEPT_PIXELS = 512 * 512
"""Pixels up to which a window is worth remembering: a tile is asked for again with every change of a chain or style."""


@dataclass(frozen=True)
class _Pixels:
    """Where the pixels of a window lie on a grid: the same for all chains."""

    window: GeoBox
    part: Part
    """As if the grid owned them all."""

    @cached_property
    def around(self) -> tuple[float, float, float, float]:
        return self.part.grid.around(self.window)

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        return places(self.window, self.part.grid.crs)


def _pixels(place: _Place, grid: Grid, level: int) -> _Pixels:
    return _Pixels(place.window, Part(grid, level, None, *grid.pixels(level, place.window)))


_kept_pixels = lru_cache(maxsize=64)(_pixels)
_kept_layout = lru_cache(maxsize=64)(_layout)


def forget() -> None:
    """Drops what is remembered of windows."""
    _kept_pixels.cache_clear()
    _kept_layout.cache_clear()


def _owners(candidates: list[tuple[Grid, _Pixels, BaseGeometry]]) -> np.ndarray | None:
    """Number of the grid that owns each pixel of a window, -1 where none does; None where the only one owns all."""
    if not candidates:
        return None
    if len(candidates) == 1:
        _, at, footprint = candidates[0]
        if _contains(footprint, at.around):
            return None
    # Distance to the edge of the footprint, in metres: negative outside, where the grid does not own the pixel.
    depth = [_depth(footprint, *at.places()) * grid.metres for grid, at, footprint in candidates]
    if len(depth) == 1:
        return np.where(depth[0] < 0, np.int8(-1), np.int8(0))
    owner = np.argmax(depth, axis=0)
    owner[np.max(depth, axis=0) < 0] = -1
    return owner


@lru_cache(maxsize=4096)
def _edges(footprint: BaseGeometry) -> tuple[Bounds, bool]:
    """Bounds of a footprint, and whether it fills them: each question to it takes a lock from who evaluates."""
    return footprint.bounds, footprint.equals(shapely.box(*footprint.bounds))


def _contains(footprint: BaseGeometry, around: Bounds) -> bool:
    """Whether a footprint holds a rectangle."""
    if not all(map(math.isfinite, around)):
        return False
    (w, s, e, n), is_rectangle = _edges(footprint)
    inside = w <= around[0] and s <= around[1] and around[2] <= e and around[3] <= n
    return inside and (is_rectangle or footprint.contains(shapely.box(*around)))


def _may_touch(window: GeoBox, footprint: BaseGeometry, grid: Grid) -> bool:
    """Cheap test on bounds, generous by a pixel's worth of curvature."""
    w, s, e, n = grid.near(window)
    if not all(map(math.isfinite, (w, s, e, n))):
        return True
    fw, fs, fe, fn = _edges(footprint)[0]
    margin = 0.01 * max(e - w, n - s)
    return w - margin < fe and e + margin > fw and s - margin < fn and n + margin > fs


def _depth(footprint: BaseGeometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of points to the edge of a footprint: positive inside, negative outside."""
    (w, s, e, n), is_rectangle = _edges(footprint)
    rectangle = pixels.depths(x, y, w, s, e, n)
    if is_rectangle:
        return rectangle
    inside = np.isfinite(rectangle) & (rectangle > 0)
    depth = np.where(inside, 0.0, np.minimum(rectangle, -1e-9))
    points = shapely.points(x[inside], y[inside])
    shapely.prepare(footprint)
    distance = shapely.distance(shapely.boundary(footprint), points)
    depth[inside] = np.where(shapely.contains(footprint, points), distance, -np.maximum(distance, 1e-9))
    return depth


def fill(part: Part, pieces: Mapping[BlockKey | RectKey, np.ndarray], out: np.ndarray) -> None:
    """Writes the pixels that a part owns, taken from its tasks' arrays (…, y, x), into `out` (…, y, x)."""
    for key in part.tasks:
        put(part, key.rect, pieces[key], out)


def put(part: Part, rect: Rect, values: np.ndarray, out: np.ndarray) -> None:
    """Writes the pixels that a part owns and the values of a rectangle (…, y, x) have into `out` (…, y, x)."""
    layers = np.ascontiguousarray(values).reshape(-1, *rect.shape)
    target = out.reshape(-1, *out.shape[-2:])
    pixels.paste(layers, rect.r0, rect.c0, part.rows, part.cols, *part.owned, target)
