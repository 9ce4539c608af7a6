"""What a window costs, from metadata alone: scenes, blocks, bytes, seconds."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from muses_lab import settings
from muses_lab.engine.graph import PreparedGraph, Step, whole_grid
from muses_lab.engine.keys import BlockKey, RectKey
from muses_lab.engine.materialized import MaterializedBlocks
from muses_lab.engine.mosaic import sketch
from muses_lab.engine.plan import plan as plan_stages
from muses_lab.engine.stages import Piece, Stage
from muses_lab.engine.thinning import Thinning
from muses_lab.operators import Fit, Region, cost_of, cost_of_blocks
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.grid import BLOCK, Grid, Rect
from muses_lab.resources import cancel, rates

_TILE = 512
"""Rows and columns of a file's blocks, as long as nobody has opened it."""


@dataclass
class StepCost:
    """What one step takes of a plan; steps that are evaluated at once are told apart by what each of them does."""

    pieces: int = 0
    """Blocks and rectangles of it that are evaluated."""
    reads: int = 0
    bytes: int = 0
    """Of the files' blocks that it reads, in memory."""
    evaluated: int = 0
    """Pixels × images (dates × bands) of its result."""
    seconds: float = 0.0
    """Of one thread."""
    kept: list[tuple[Any, ...]] = field(default_factory=list)
    """Names of the blocks of it that are kept once they are there, as caches have them."""

    def __add__(self, other: StepCost) -> StepCost:
        return StepCost(
            self.pieces + other.pieces, self.reads + other.reads, self.bytes + other.bytes,
            self.evaluated + other.evaluated, self.seconds + other.seconds, self.kept + other.kept,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Plan:
    """The cost of a chain on a window."""

    window: GeoBox
    scenes: int
    """Pinned scenes that touch the window."""
    dates: tuple[np.datetime64, ...]
    """When they were taken, in order."""
    blocks: int
    """Blocks of 512 × 512 pixels of the result, materialized ones included."""
    reads: int
    """Blocks of scenes to be decoded, each once (masks that spare reads are not foreseen)."""
    pixels: int
    """Pixels to be decoded: whole blocks."""
    bytes: int
    """Their size in memory."""
    evaluated: int
    """Pixels × dates to be evaluated."""
    levels: dict[str, float]
    """Grid → metres per pixel of the level shown."""
    seconds: float
    """Expected duration when nothing is cached, from what this machine has measured (see `resources.rates`): with all
    threads, so that the seconds of the steps, which are those of one thread, add up to more."""
    thinning: Thinning | None = None
    """What the thinning rule does to the longest series; None where every date is used."""
    steps: Mapping[str, StepCost] = field(default_factory=dict)
    """What each step of the prepared graph takes of it, by hash; see `engine.attributed`."""
    ids: tuple[str, ...] = ()
    """Of the scenes."""
    values: int = 0
    """Values of the result: pixels × dates × bands; of an estimate, see `Chain.plan`."""
    format: str | None = None
    """Of the file, where one was named."""
    file_bytes: int = 0
    """Bytes that a file of that format is expected to have."""
    writing: float = 0.0
    """Seconds that it is expected to take to write the file and to compare it with what was computed."""
    differences: tuple[str, ...] | None = None
    """Why the values are not those that a map shows; empty: they are identical; None: nobody said what it shows."""

    @property
    def difference(self) -> str | None:
        """The difference to what a map shows, as a sentence."""
        if self.differences is None:
            return None
        return "; ".join(self.differences) or "identical to what you see"

    def __str__(self) -> str:
        levels = ", ".join(f"{grid}: {size:g} m" for grid, size in self.levels.items()) or "nothing here"
        return (
            f"{_counted(self.scenes, 'scene')}, {_counted(self.blocks, 'block')}, "
            f"{self.pixels / 1e6:.1f} Mpixel to decode ({self.bytes / 2**20:.0f} MiB), "
            f"about {self.seconds:.1f} s; {levels}"
            + (f"; {self.thinning}" if self.thinning else "")
            + (f"; a {self.format} of about {self.file_bytes / 2**20:.3g} MiB" if self.format else "")
            + (f"; {self.difference}" if self.difference else "")
        )

    def __repr__(self) -> str:
        return f"<Plan: {self}>"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def plan(prepared: PreparedGraph, window: GeoBox) -> Plan:
    """The cost of a program's result on a window; reads nothing, and takes as long as there are blocks.

    Bytes are those of the whole blocks of files that hold the pixels needed. What only a file's header tells is taken
    as usual: blocks of 512 × 512, overviews by factors of two to 16, and on to that of one block.
    """
    prepared = _materialized(settings.home()).marked(prepared)
    scenes: dict[str, None] = {}
    tasks: dict[BlockKey | RectKey, Grid] = {}
    levels: dict[str, float] = {}
    thinnings: list[Thinning] = []
    for view in sketch(prepared, window):
        scenes.update(dict.fromkeys(view.found))
        levels.update(view.levels)
        tasks.update({key: part.grid for part in view.parts for key in part.tasks})
        thinnings += [view.thinning] if view.thinning else []
    cost = _Cost(prepared)
    for shares in (False, True):
        some = {key: grid for key, grid in tasks.items() if isinstance(key, RectKey) == shares}
        cost.count([Piece(prepared.output, grid, key.level, key.rect) for key, grid in some.items()], shares)
    # Rectangles of a view are those of no other view, nor of tiles: whether they are there says nothing.
    cost.steps[prepared.root.hash].kept += [(prepared.root.hash, *key) for key in tasks if isinstance(key, BlockKey)]
    return Plan(
        window, len(scenes), _dates(prepared, scenes), len(tasks), cost.reads, cost.pixels, cost.bytes, cost.evaluated,
        levels, _seconds(cost, len(tasks)), max(thinnings, key=lambda t: t.of, default=None), cost.steps, tuple(scenes),
    )  # fmt: skip


def seconds(prepared: PreparedGraph, task: BlockKey | RectKey) -> float:
    """The expected duration of one block of a program's result when nothing is cached."""
    prepared = _materialized(settings.home()).marked(prepared)
    cost = _Cost(prepared)
    piece = Piece(prepared.output, prepared.output.grids[task.grid], task.level, task.rect)
    cost.count([piece], isinstance(task, RectKey))
    return _seconds(cost, 1)


def _dates(prepared: PreparedGraph, scenes: Iterable[str]) -> tuple[np.datetime64, ...]:
    """The dates of scenes; ids are of one collection, or differ."""
    times = [source.times for source in prepared.sources.values()]
    return tuple(sorted({of[id] for id in scenes for of in times if id in of}))


def _seconds(cost: _Cost, blocks: int) -> float:
    """By this machine's measured rates, with as many threads as the default cluster has, one block in each."""
    cores = os.cpu_count() or 1
    workers = max(1, int(settings.number("MUSES_WORKERS", 1)))
    threads = workers * max(1, int(settings.number("MUSES_THREADS", max(1, cores // workers))))
    usual = rates.EVALUATE_RATE / rates.evaluate_rate()
    work = cost.bytes / rates.decode_rate() + cost.operators / rates.operator_rate()
    work += max(cost.evaluated / rates.EVALUATE_RATE, cost.values) * usual
    return work / max(1, min(threads, cores, blocks))


@lru_cache(maxsize=8)
def _materialized(home: Path) -> MaterializedBlocks:
    """What is on disk in a user's home; it is remembered between plans."""
    return MaterializedBlocks()


class _Cost:
    """What is decoded and evaluated, each counted once: down to the sources, as evaluation goes."""

    def __init__(self, prepared: PreparedGraph) -> None:
        self.reads = self.pixels = self.bytes = self.evaluated = 0
        self.operators = self.values = 0.0
        """Seconds of operators: of those that declare them, and of what is done with each value."""
        self.steps: dict[str, StepCost] = defaultdict(StepCost)
        """By the step's hash."""
        self._prepared = prepared
        self._materialized = _materialized(settings.home())
        self._seen: set[Hashable] = set()
        self._lists = _lists(prepared)
        self._images: dict[tuple[str, str, int, tuple[int, int]], float] = {}
        """Seconds of an operator for one image, by step, grid, level and size."""
        self._found: dict[tuple[str, str, int, Rect], int] = {}
        """Scenes of a list on a rectangle of a grid and level."""

    def _new(self, *key: Hashable) -> bool:
        known = key in self._seen
        self._seen.add(key)
        return not known

    def count(self, wanted: list[Piece], shares: bool) -> None:
        """What it takes to evaluate some pieces, each stage once. `shares`: see `engine.plan`."""
        kept = [piece._replace(kept=not shares) for piece in wanted]
        planned = plan_stages(self._prepared, kept, self._on_disk, shares=shares)
        asked = {piece.key for piece in planned.wanted}
        for key, one in planned.stages.items():
            cancel.check()
            if key in planned.kept and key not in asked:
                block = BlockKey(one.grid.id, one.level, one.rect.r0 // BLOCK, one.rect.c0 // BLOCK)
                self.steps[one.step.node.hash].kept.append((one.step.node.hash, *block))
            if isinstance(one.step.operator.support, Region):
                self._whole(one.step)
            elif not one.step.elsewhere:
                self._stage(one)

    def _on_disk(self, piece: Piece) -> bool:
        key = BlockKey(piece.grid.id, piece.level, piece.rect.r0 // BLOCK, piece.rect.c0 // BLOCK)
        return self._materialized.has(piece.step.node.hash, key)

    def _stage(self, whole: Stage) -> None:
        """What the steps of a stage cost; its inputs are stages of their own."""
        for step in whole.order:
            if whole.is_input(step) or not self._new(step.node.hash, whole.grid.id, whole.level, *whole.need(step)):
                continue
            before = self.reads, self.bytes, self.operators + self.values, self.evaluated
            self._operator(step, whole)
            if step.reads:
                self._load(step, whole)
            if isinstance(step.operator.support, Fit):
                self._whole(step)
            self._attribute(step, whole, *before)

    def _attribute(self, step: Step, whole: Stage, reads: int, bytes: int, seconds: float, evaluated: int) -> None:
        """What has come since these were counted is of one step."""
        of = self.steps[step.node.hash]
        of.pieces += 1
        of.reads += self.reads - reads
        of.bytes += self.bytes - bytes
        rows, columns = whole.need(step).rect.shape
        of.evaluated += rows * columns * self._number(step, step, whole)
        of.seconds += (self.bytes - bytes) / rates.decode_rate() + self.operators + self.values - seconds
        of.seconds += (self.evaluated - evaluated) / rates.evaluate_rate()

    def _operator(self, step: Step, whole: Stage) -> None:
        """What an operator takes for all images that it gets, or gives."""
        rect = whole.need(step).rect
        key = (step.node.hash, whole.grid.id, whole.level, rect.shape)
        if key not in self._images:
            cost = cost_of_blocks(step.operator, step.arguments, whole.grid.pixel_metres(whole.level), *rect.shape)
            self._images[key] = cost.seconds
        if self._images[key]:
            inputs = [self._prepared[child] for _, child in step.cubes]
            seconds = self._images[key] * max(self._number(one, step, whole) for one in (step, *inputs))
            if step.operator.declared_cost is None or isinstance(step.operator.support, Fit):
                self.values += seconds
            else:
                self.operators += seconds

    def _number(self, step: Step, user: Step, whole: Stage) -> int:
        """Images of a step: dates that have no scene here are left out, where that changes nothing."""
        bands = 1 if step.meta.bands is None else len(step.meta.bands)
        if not step.meta.time:
            return bands
        need, lists = whole.need(step), self._lists[step.node.hash]
        dates = len(step.times if need.dates is None else need.dates)
        if lists is None or (user.operator.declared_cost is not None and not user.strict):
            return bands * dates
        rect = whole.need(user).rect
        return bands * min(dates, sum(self._scenes(digest, whole.grid, whole.level, rect) for digest in lists))

    def _scenes(self, digest: str, grid: Grid, level: int, rect: Rect) -> int:
        key = (digest, grid.id, level, rect)
        if key not in self._found:
            self._found[key] = self._prepared.sources[digest].count(grid, rect.scaled(2**level))
        return self._found[key]

    def _whole(self, step: Step) -> None:
        """The operator of a `region` or `fit` node on its extent."""
        if self._new("whole", step.node.hash):
            pinned = whole_grid(step, self._prepared[step.data].grids)
            self.operators += cost_of(
                step.operator, step.arguments, pinned.pixel_metres(0), *pinned.extent.shape
            ).seconds

    def _load(self, step: Step, whole: Stage) -> None:
        source, (rect, dates), grid, level = self._prepared.source(step.node), whole.need(step), whole.grid, whole.level
        evaluated = set()
        for placed in source.at(grid, rect.scaled(2**level), dates):
            evaluated.add(placed.time)
            for name in step.meta.bands or ():
                asset = placed.scene.assets.get(name)
                if asset is not None:
                    self._asset(asset, source.band(name), grid, level, rect)
        # Bands and masks of one list are read by steps of their own and evaluated together.
        new = {t for t in evaluated if self._new("evaluated", source.scenes.digest, grid.id, level, rect, t)}
        self.evaluated += len(new) * rect.shape[0] * rect.shape[1]

    def _asset(self, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect) -> None:
        """The blocks of a file that hold the pixels of a rectangle of a level."""
        width, height = grid.pixel(level)
        (across, down), (west, _, _, north) = asset.steps, asset.bounds
        factor = _overview(asset, band, min(width / across, height / down))
        stored = [-(-n // factor) for n in asset.shape]
        rows = _span(rect.r0, rect.r1, height, north - grid.origin[1], down * asset.shape[0] / stored[0])
        cols = _span(rect.c0, rect.c1, width, grid.origin[0] - west, across * asset.shape[1] / stored[1])
        rows, cols = (
            (n - end, n - first) if turned else (first, end)
            for (first, end), n, turned in zip((rows, cols), stored, asset.mirrored, strict=True)
        )
        size = np.dtype(band.dtype).itemsize
        for row in _tiles(*rows, stored[0]):
            for col in _tiles(*cols, stored[1]):
                if self._new(asset.href, asset.band, factor, row, col):
                    count = min(_TILE, stored[0] - row * _TILE) * min(_TILE, stored[1] - col * _TILE)
                    self.reads += 1
                    self.pixels += count
                    self.bytes += count * size


def _lists(prepared: PreparedGraph) -> dict[str, frozenset[str] | None]:
    """Steps (by hash) → lists of scenes that give their dates; None: those of another grid, or none of any."""
    found: dict[str, frozenset[str] | None] = {}
    for hash, step in prepared.steps.items():
        below = [found[child.hash] for _, child in step.cubes if prepared[child].meta.time]
        if step.reads:
            found[hash] = frozenset({prepared.source(step.node).scenes.digest})
        elif not step.meta.time or step.elsewhere or step.groups is not None or None in below:
            found[hash] = None
        else:
            found[hash] = frozenset().union(*(lists for lists in below if lists is not None))
    return found


def _overview(asset: Asset, band: Band, decimation: float) -> int:
    """The factor of the overview that is read where a level's pixels are so many times as large as the asset's."""
    if band.categorical and band.overviews == "average":
        return 1  # where nothing is said, only a look at the files tells: they mostly serve
    coarsest = 2 ** max(4, math.ceil(math.log2(max(asset.shape) / _TILE)))
    return min(coarsest, 2 ** max(0, math.floor(math.log2(decimation * (1 + 1e-6)))))


def _span(start: int, stop: int, pixel: float, offset: float, stored: float) -> tuple[int, int]:
    """Stored pixels that pixels of a level cover, from the file's corner on; `offset`: that of the grid's origin."""
    first, end = (start * pixel + offset) / stored, (stop * pixel + offset) / stored
    return math.floor(first + 1e-6), math.ceil(end - 1e-6)


def _tiles(first: int, end: int, size: int) -> range:
    """The blocks of a file that hold stored pixels."""
    first, end = max(first, 0), min(end, size)
    return range(first // _TILE, (end - 1) // _TILE + 1) if first < end else range(0)
