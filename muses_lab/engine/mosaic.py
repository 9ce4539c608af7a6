"""From a window to blocks and back: which grid owns each pixel, which blocks are needed, and the window put together.

Every pixel of a window belongs to one grid, chosen from metadata alone: inside the grid's footprint, farthest from its
edge, ties by id. So reducers over time see each overpass once, and no seam moves with the view. Footprints choose, they
do not cut: what lies beyond all of them belongs to a grid that has a file there, again the one farthest from its edge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import crs_name
from muses_lab.engine.graph import PreparedGraph, Step
from muses_lab.engine.keys import BlockKey, RectKey
from muses_lab.engine.stages import reach, thinned_below
from muses_lab.engine.thinning import Thinning
from muses_lab.raster import pixels
from muses_lab.raster.grid import BLOCK, Bounds, Grid, Rect, places
from muses_lab.resources import cancel


@dataclass(frozen=True)
class Report:
    """What an evaluation met: scenes that gave valid pixels, and scenes that could not be read."""

    used: frozenset[str] = frozenset()
    """Ids of scenes that gave valid pixels."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Scene id → why it was left out."""

    def __or__(self, other: Report) -> Report:
        return Report(self.used | other.used, {**self.failed, **other.failed})


def reasons(failed: Mapping[str, str]) -> list[str]:
    """What is told of scenes that could not be read: `id: reason`, in order."""
    return [f"{id}: {reason}" for id, reason in sorted(failed.items())]


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
    """Pixels beyond a rectangle that it takes to evaluate it, see `stages.reach`."""
    dated: bool = False
    """Whether the values have dates: of a place there are then as many as of an image."""

    @cached_property
    def tasks(self) -> tuple[BlockKey, ...] | tuple[RectKey, ...]:
        """What is asked of the engine: the blocks, or just what a small window shows where neighbourhoods reach out.

        For a few pixels beside each of its blocks, a window would read all of the blocks around them. A place of a
        series is asked for with the cell of pixels around it: all dates of a block are a hundred times as many values.
        """
        inside = self.around.intersection(self.grid.rect(self.level))
        if self.blocks and self.dated and inside.shape[0] <= BLOCK // 2 and inside.shape[1] <= BLOCK:
            around = [*cells(inside)] if max(inside.shape) <= CELL else [inside]
            return tuple(RectKey(self.grid.id, self.level, *rect) for rect in around)
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

    @cached_property
    def owned(self) -> tuple[np.ndarray, bool]:
        """Which pixels the grid owns, and whether those are all."""
        return (_ALL, True) if self.where is None else (self.where, False)


_ALL = np.ones((1, 1), np.bool_)

CELL = 32
"""Rows and columns of the pixels that the series of a place are evaluated with: its neighbours cost nothing more."""


def cells(rect: Rect) -> Iterator[Rect]:
    """The cells of the lattice that a rectangle touches."""
    for row in range(rect.r0 // CELL, (rect.r1 - 1) // CELL + 1):
        for col in range(rect.c0 // CELL, (rect.c1 - 1) // CELL + 1):
            yield Rect(row * CELL, (row + 1) * CELL, col * CELL, (col + 1) * CELL)


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


def layout(prepared: PreparedGraph, window: GeoBox, step: Step | None = None) -> Layout:
    """Which blocks of a step (the chain's result by default) a window needs."""
    place = _WindowKey(window)
    find = _kept_layout if place.small else _layout
    return find(prepared, (step or prepared.output).node.hash, place)


def reaches(prepared: PreparedGraph, window: GeoBox) -> bool:
    """Whether a window comes near to the chain's scenes: by their outlines, generously, whatever their dates."""
    return bool(_near(prepared, prepared.output, window))


def _near(prepared: PreparedGraph, step: Step, window: GeoBox) -> list[Grid]:
    """The grids of a step that a window may touch."""
    grids = [step.grids[id] for id in prepared.candidates(step, window)]
    return [grid for grid in grids if _may_touch(window, prepared.outline(step, grid.id), grid)]


def sketch(prepared: PreparedGraph, window: GeoBox, step: Step | None = None) -> Iterator[Layout]:
    """Layouts of the parts of a window with a few hundred of the pixels of each block, those along its edges included.

    Which blocks a window needs, whatever the number of its pixels (but for a grid's last pixel or two beside another
    grid's); of a window that is no larger than a block, its `layout`. Looks at the cancel flag.
    """
    step = step or prepared.output
    if _WindowKey(window).small:
        yield layout(prepared, window, step)
        return
    sides = [grid.block_side(window) for grid in _near(prepared, step, window)]
    apart = max(1, math.floor(min(sides, default=1) / _LOOKS))
    for rows in _cut(window.shape.y, apart) if sides else ():
        for columns in _cut(window.shape.x, apart):
            yield from _sketch(prepared, step, window, rows, columns, apart)


_LOOKS = 16
"""Pixels of a window along the side of a block that a sketch looks at; of what is between grids, the square of it."""

_AT_ONCE = 512
"""Rows and columns of pixels that a sketch looks at in one go."""

_Span = tuple[int, int]
"""The first and the last pixel along a side of a window."""


def _sketch(
    prepared: PreparedGraph, step: Step, window: GeoBox, rows: _Span, columns: _Span, apart: int, between: bool = False
) -> Iterator[Layout]:
    """The layout of some of a part's pixels, and of more of them where one grid's are beside another's."""
    cancel.check()
    some, at = _thinned(window, rows, columns, apart)
    view = _layout(prepared, step.node.hash, _WindowKey(some, like=window))
    yield view
    if between or apart == 1:
        return
    finer = max(1, apart // _LOOKS)
    for row, (first, last) in _mixed([part.where for part in view.parts if part.where is not None]):
        part = (at[0][row], at[0][row + 1]), (at[1][first], at[1][last])
        yield from _sketch(prepared, step, window, *part, finer, between=True)


def _mixed(owned: list[np.ndarray]) -> Iterator[tuple[int, _Span]]:
    """Cells between pixels not all of one grid: rows, and in each the first and last column of pixels around a run."""
    if not owned:
        return
    corners = [w[rows, cols] for w in owned for rows in (_START, _END) for cols in (_START, _END)]
    number = len(corners) // len(owned)
    pairs = (corners[n : n + number] for n in range(0, len(corners), number))
    mixed = np.logical_or.reduce([np.any(c, axis=0) & ~np.all(c, axis=0) for c in pairs])
    for row in np.flatnonzero(mixed.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(np.pad(mixed[row].astype(np.int8), 1)))
        yield from ((row, (int(first), int(end))) for first, end in edges.reshape(-1, 2))


_START, _END = slice(None, -1), slice(1, None)


def _cut(length: int, apart: int) -> Iterator[_Span]:
    """A side of a window in parts of about one size."""
    parts = math.ceil(length / (apart * _AT_ONCE))
    edges = [round(length * n / parts) for n in range(parts + 1)]
    return ((first, end - 1) for first, end in pairwise(edges))


def _thinned(window: GeoBox, rows: _Span, columns: _Span, apart: int) -> tuple[GeoBox, tuple[list[int], list[int]]]:
    """A window whose pixels lie evenly in a part of another, its outermost ones included; and which those are."""
    (height, down, at_rows), (width, across, at_columns) = (_evenly(*span, apart) for span in (rows, columns))
    corner = Affine.translation(columns[0] + 0.5 - across / 2, rows[0] + 0.5 - down / 2)
    affine = window.affine @ corner @ Affine.scale(across, down)
    return GeoBox((height, width), affine, window.crs), (at_rows, at_columns)


def _evenly(first: int, last: int, apart: int) -> tuple[int, float, list[int]]:
    """How many places there are on a span, at most so far apart; how far they are; and the pixels nearest to them."""
    parts = math.ceil((last - first) / apart)
    step = (last - first) / parts if parts else 1.0
    return parts + 1, step, [first + round(n * step) for n in range(parts + 1)]


def _layout(prepared: PreparedGraph, node: str, place: _WindowKey) -> Layout:
    step, window = prepared.steps[node], place.window
    parts: list[Part] = []
    candidates: list[tuple[Grid, int, _Pixels]] = []
    found: dict[str, None] = {}
    thinnings: list[Thinning] = []
    dates = prepared.dates_below(step.node)
    for grid in _near(prepared, step, window):
        level = grid.level_for(place.like)
        find = _kept_pixels if place.small else _pixels
        candidates.append((grid, level, find(place, grid, level)))
    owner = _owners(prepared, step, [(grid, at) for grid, _, at in candidates])
    for number, (grid, level, at) in enumerate(candidates):
        where = None if owner is None else owner == number
        if where is not None and where.all():
            where = None
        if where is not None and not where.any():
            continue
        whole = place.like is window  # not some of the pixels of another: those have its blocks
        around, dated = (reach(prepared, step, grid, level), step.meta.time) if whole else (0, False)
        part = at.part
        if where is not None or around or dated:
            part = Part(grid, level, where, part.rows, part.cols, around, dated)
        if not part.blocks:
            continue
        parts.append(part)
        thinning = thinned_below(prepared, step, grid, level)
        if thinning is not None:
            thinnings.append(thinning)
        f = 2**level
        native = Rect(*(v * f for v in part.around))
        for load, times in dates.items():
            found.update(dict.fromkeys(prepared.source(prepared.steps[load].node).found(grid, native, times)))
    thinned = max(thinnings, key=lambda t: t.of, default=None)
    return Layout(window, step, tuple(parts), tuple(found), thinned)


class _WindowKey:
    """A window that can be remembered. A `GeoBox` is one too, but takes a millisecond to write its CRS down."""

    def __init__(self, window: GeoBox, like: GeoBox | None = None) -> None:
        self.window = window
        self.like = window if like is None else like
        """What has the pixels that are shown, where the window itself only has some of them."""
        self.small = window.shape.x * window.shape.y <= _KEPT_PIXELS
        a = window.affine
        self._key = (*window.shape, a.a, a.b, a.c, a.d, a.e, a.f, crs_name(window.crs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _WindowKey) and self._key == other._key

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
        x, y = places(self.window, self.part.grid.crs)
        return self.part.grid.turned(x), y


def _pixels(place: _WindowKey, grid: Grid, level: int) -> _Pixels:
    return _Pixels(place.window, Part(grid, level, None, *grid.pixels(level, place.window)))


_kept_pixels = lru_cache(maxsize=64)(_pixels)
_kept_layout = lru_cache(maxsize=64)(_layout)


def forget() -> None:
    """Drops what is remembered of windows."""
    _kept_pixels.cache_clear()
    _kept_layout.cache_clear()


def _owners(prepared: PreparedGraph, step: Step, candidates: list[tuple[Grid, _Pixels]]) -> np.ndarray | None:
    """Number of the grid that owns each pixel of a window, -1 where none does; None where the only one owns all."""
    if not candidates:
        return None
    if len(candidates) == 1:
        ((grid, at),) = candidates
        outline = prepared.outline(step, grid.id)
        if _contains(outline, at.around):
            return None
        return np.where(_inside(outline, *at.places()), np.int8(0), np.int8(-1))
    claims = [_claim(prepared.footprint(step, g.id), prepared.outline(step, g.id), g, at) for g, at in candidates]
    owner = np.argmax(claims, axis=0)
    owner[np.isneginf(np.max(claims, axis=0))] = -1
    return owner


def _claim(footprint: BaseGeometry, outline: BaseGeometry, grid: Grid, at: _Pixels) -> np.ndarray:
    """How strong a grid's claim to each pixel is: the distance to the edge of its footprint, in metres.

    Beyond its footprint the claim is weaker than any within one: the distance to the edge of its files. -inf: no file.
    """
    x, y = at.places()
    inner = _depth(footprint, x, y) * grid.metres
    if (inner >= 0).all():
        return inner
    beyond = np.full(x.shape, -np.inf)
    out = inner < 0
    beyond[out] = _depth(outline, x[out][None], y[out][None])[0] * grid.metres
    return np.where(out, np.where(beyond >= 0, beyond - _FAR, -np.inf), inner)


_FAR = 1e9
"""Metres: more than any distance on earth."""


@lru_cache(maxsize=4096)
def _edges(shape: BaseGeometry) -> tuple[Bounds, bool]:
    """Bounds of a shape, and whether it fills them: each question to it takes a lock from who evaluates."""
    return shape.bounds, shape.equals(shapely.box(*shape.bounds))


def _contains(shape: BaseGeometry, around: Bounds) -> bool:
    """Whether a shape holds a rectangle."""
    if not all(map(math.isfinite, around)):
        return False
    (w, s, e, n), is_rectangle = _edges(shape)
    inside = w <= around[0] and s <= around[1] and around[2] <= e and around[3] <= n
    return inside and (is_rectangle or shape.contains(shapely.box(*around)))


def _may_touch(window: GeoBox, shape: BaseGeometry, grid: Grid) -> bool:
    """Cheap test on bounds, generous by a pixel's worth of curvature."""
    w, s, e, n = grid.near(window)
    if not all(map(math.isfinite, (w, s, e, n))):
        return True
    fw, fs, fe, fn = _edges(shape)[0]
    margin = 0.01 * max(e - w, n - s)
    return w - margin < fe and e + margin > fw and s - margin < fn and n + margin > fs


def _depth(shape: BaseGeometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of points to the edge of a shape: positive inside, 0 on the edge, negative outside."""
    (w, s, e, n), is_rectangle = _edges(shape)
    rectangle = pixels.depths(x, y, w, s, e, n)
    if is_rectangle:
        return rectangle
    near = rectangle >= 0
    depth = np.where(near, 0.0, rectangle)
    distance = shapely.distance(shapely.boundary(shape), shapely.points(x[near], y[near]))
    depth[near] = np.where(_inside(shape, x, y)[near], distance, -np.maximum(distance, 1e-9))
    return depth


def _inside(shape: BaseGeometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie in a shape or on its edge."""
    (w, s, e, n), is_rectangle = _edges(shape)
    inside = pixels.depths(x, y, w, s, e, n) >= 0
    if not is_rectangle:
        shapely.prepare(shape)
        inside[inside] = shapely.intersects_xy(shape, x[inside], y[inside])
    return inside


def fill(part: Part, pieces: Mapping[BlockKey | RectKey, np.ndarray], out: np.ndarray) -> None:
    """Writes the pixels that a part owns, taken from its tasks' arrays (…, y, x), into `out` (…, y, x)."""
    for key in part.tasks:
        put(part, key.rect, pieces[key], out)


def put(part: Part, rect: Rect, values: np.ndarray, out: np.ndarray) -> None:
    """Writes the pixels that a part owns and the values of a rectangle (…, y, x) have into `out` (…, y, x)."""
    layers = np.ascontiguousarray(values).reshape(-1, *rect.shape)
    target = out.reshape(-1, *out.shape[-2:])
    pixels.paste(layers, rect.r0, rect.c0, part.rows, part.cols, *part.owned, target)


def pick(part: Part, rect: Rect, values: np.ndarray, rows: np.ndarray, cols: np.ndarray, out: np.ndarray) -> None:
    """Writes those of some pixels of the window that `put` would write, into `out` (…, pixel)."""
    row, col = part.rows[rows, cols] - rect.r0, part.cols[rows, cols] - rect.c0
    mine = (row >= 0) & (row < rect.shape[0]) & (col >= 0) & (col < rect.shape[1])
    if part.where is not None:
        mine &= part.where[rows, cols]
    if mine.all():
        out[...] = values[..., row, col]
    else:
        out[..., mine] = values[..., row[mine], col[mine]]
