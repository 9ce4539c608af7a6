"""What a window costs, from metadata alone: scenes, blocks, bytes, seconds."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from muses_lab import settings
from muses_lab.engine import throughput
from muses_lab.engine.evaluate import keeps_blocks
from muses_lab.engine.grid import Grid, Rect, block_rect
from muses_lab.engine.keys import BlockKey, RectKey
from muses_lab.engine.layout import layout
from muses_lab.engine.program import CHANGES_GRID, LOAD, Program, Step, pinned_grid
from muses_lab.engine.pyramid import Pyramids
from muses_lab.engine.thinning import Thinning
from muses_lab.operators import Fit, Focal, Region
from muses_lab.scenes import Asset, Band

_PIECE = 2048
"""Rows and columns of a window that are laid out at a time."""

_TILE = 512
"""Rows and columns of a file's blocks, as long as nobody has opened it."""

Dates = frozenset[np.datetime64]


@dataclass(frozen=True)
class Plan:
    """The cost of a chain on a window."""

    window: GeoBox
    scenes: int
    """Pinned scenes that touch the window."""
    blocks: int
    """Blocks of 512 × 512 pixels of the result, those in pyramids included."""
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
    """Expected duration when nothing is cached, from what this machine has measured (see `throughput`)."""
    thinning: Thinning | None = None
    """What the thinning rule does to the longest series; None where every date is used."""

    def __str__(self) -> str:
        levels = ", ".join(f"{grid}: {size:g} m" for grid, size in self.levels.items()) or "nothing here"
        return (
            f"{self.scenes} scenes, {self.blocks} blocks, {self.pixels / 1e6:.1f} Mpixel to decode "
            f"({self.bytes / 1e6:.0f} MB), about {self.seconds:.1f} s; {levels}"
            + (f"; {self.thinning}" if self.thinning else "")
        )


def plan(program: Program, window: GeoBox) -> Plan:
    """The cost of a program's result on a window; reads nothing.

    Bytes are those of the whole blocks of files that hold the pixels needed. What only a file's header tells is taken
    as usual: blocks of 512 × 512, overviews by factors of two to 16, and on to that of one block.
    """
    scenes: dict[str, None] = {}
    tasks: dict[BlockKey | RectKey, Grid] = {}
    levels: dict[str, float] = {}
    thinnings: list[Thinning] = []
    for piece in _pieces(window):
        view = layout(program, piece)
        scenes.update(dict.fromkeys(view.found))
        levels.update(view.levels)
        tasks.update({key: part.grid for part in view.parts for key in part.tasks})
        thinnings += [view.thinning] if view.thinning else []
    cost = _Cost(program)
    for key, grid in tasks.items():
        cost.task(program.output, grid, key)
    cost.count()
    return Plan(
        window, len(scenes), len(tasks), cost.reads, cost.pixels, cost.bytes, cost.evaluated, levels,
        _seconds(cost, len(tasks)), max(thinnings, key=lambda t: t.of, default=None),
    )  # fmt: skip


def _seconds(cost: _Cost, blocks: int) -> float:
    """By this machine's measured rates, with as many threads as the default cluster has, one block in each."""
    cores = os.cpu_count() or 1
    workers = max(1, int(settings.number("MUSES_WORKERS", 1)))
    threads = workers * max(1, int(settings.number("MUSES_THREADS", max(1, cores // workers))))
    work = cost.bytes / throughput.decode_rate() + cost.evaluated / throughput.evaluate_rate()
    return work / max(1, min(threads, cores, blocks))


def _pieces(window: GeoBox) -> Iterator[GeoBox]:
    """A window in parts: the coordinates of all pixels of a country would not fit into memory."""
    rows, columns = window.shape.y, window.shape.x
    for row in range(0, rows, _PIECE):
        for col in range(0, columns, _PIECE):
            yield window[row : min(row + _PIECE, rows), col : min(col + _PIECE, columns)]


@lru_cache(maxsize=8)
def _pyramids(home: Path) -> Pyramids:
    """What is on disk in a user's home; it is remembered between plans."""
    return Pyramids()


class _Cost:
    """What is decoded and evaluated, each counted once: down to the sources, as evaluation goes."""

    def __init__(self, program: Program) -> None:
        self.reads = self.pixels = self.bytes = self.evaluated = 0
        self._program = program
        self._pyramids = _pyramids(settings.home())
        self._dates = program.dates_below(program.root)
        self._seen: set[Hashable] = set()
        self._left: list[tuple[Step, Grid, int, Rect, Dates]] = []
        self._shares = False
        """Whether images below neighbourhoods are evaluated by whole blocks, see `Run.shares`."""

    def _new(self, *key: Hashable) -> bool:
        known = key in self._seen
        self._seen.add(key)
        return not known

    def task(self, step: Step, grid: Grid, key: BlockKey | RectKey) -> None:
        """What is asked of a worker."""
        if isinstance(key, BlockKey):
            self.block(step, grid, key)
        else:
            self._shares = True
            self.add(step, grid, key.level, key.rect)

    def block(self, step: Step, grid: Grid, key: BlockKey) -> None:
        """What a block of a step costs: nothing where it is in a pyramid."""
        if not self._pyramids.has(step.node.hash, key):
            self.add(step, grid, key.level, key.rect)

    def add(self, step: Step, grid: Grid, level: int, rect: Rect, left_out: Dates = frozenset()) -> None:
        """What a step costs on a rectangle is to be counted; `left_out`: dates not used by the reduction above it."""
        self._left.append((step, grid, level, rect, left_out))

    def count(self) -> None:
        """Counts what was added, and what that depends on: chains may be thousands of steps deep."""
        while self._left:
            self._count(*self._left.pop())

    def _count(self, step: Step, grid: Grid, level: int, rect: Rect, left_out: Dates) -> None:
        if not self._new(step.node.hash, grid.id, level, rect, left_out):
            return
        if not step.meta.time and self._partly_kept(step, grid, level, rect):
            return
        process, support = step.node.process, step.operator.support
        children = [self._program[child] for _, child in step.cubes]
        if self._shares and keeps_blocks(step) and not isinstance(support, Focal):
            blocks = [block_rect(*at) for at in rect.blocks()]
            if blocks != [rect]:
                for block in blocks:
                    self.add(step, grid, level, block, left_out)
                return
        if process == LOAD:
            self._load(step, grid, level, rect, left_out)
        elif isinstance(support, Region):
            self._whole(step, children[0])
        elif process in CHANGES_GRID:
            self._window(self._program[step.arguments["data"]], grid.geobox(level, rect))
        elif process == "muses:at_resolution":
            self._pinned(step, children[0], grid, level, rect)
        else:
            if isinstance(support, Fit):
                self._whole(step, children[0])
            if isinstance(support, Focal):
                rect = rect.grow(support.radius(step.arguments, grid.pixel_metres(level)))
            if not step.meta.time:
                thinning = self._program.thinning(step, grid.id, level)
                left_out = thinning.left_out if thinning else frozenset()
            for child in children:
                self.add(child, grid, level, rect, left_out)

    def _partly_kept(self, step: Step, grid: Grid, level: int, rect: Rect) -> bool:
        """Whether blocks of a step here are in a pyramid; if so, the others are added up."""
        kept = {at: self._pyramids.has(step.node.hash, BlockKey(grid.id, level, *at)) for at in rect.blocks()}
        if not any(kept.values()):
            return False
        for at, there in kept.items():
            if not there:
                self.add(step, grid, level, block_rect(*at).intersection(rect))
        return True

    def _whole(self, step: Step, child: Step) -> None:
        if self._new("whole", step.node.hash):
            pinned = pinned_grid(step.node, step.arguments, child.grids)
            self._window(child, pinned.geobox(0, pinned.extent))

    def _window(self, step: Step, window: GeoBox) -> None:
        for piece in _pieces(window):
            for part in layout(self._program, piece, step).parts:
                for key in part.blocks:
                    self.block(step, part.grid, key)

    def _pinned(self, step: Step, child: Step, grid: Grid, level: int, rect: Rect) -> None:
        pinned = grid.level_near(step.arguments["resolution"])
        inner = rect.scaled(2.0 ** (level - pinned)).intersection(grid.rect(pinned))
        if not inner.empty:
            self.add(child, grid, pinned, inner)

    def _load(self, step: Step, grid: Grid, level: int, rect: Rect, left_out: Dates) -> None:
        source, dates = self._program.source(step.node), self._dates[step.node.hash]
        native = rect.scaled(2**level)
        evaluated = set()
        for placed in source.on(grid.id, native, dates):
            if placed.time in left_out:
                continue
            evaluated.add(placed.time)
            for name in step.meta.bands or ():
                asset = placed.scene.assets.get(name)
                if asset is not None:
                    self._asset(asset, source.band(name), grid, level, rect)
        # Bands and masks of one list are read by steps of their own and evaluated together.
        new = {t for t in evaluated if self._new("evaluated", step.node.arguments["digest"], grid.id, level, rect, t)}
        self.evaluated += len(new) * rect.shape[0] * rect.shape[1]

    def _asset(self, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect) -> None:
        """The blocks of a file that hold the pixels of a rectangle of a level."""
        factor = _overview(asset, band, grid.pixel(level) / abs(asset.transform[0]))
        stored = [-(-n // factor) for n in asset.shape]
        a, _, west, _, e, north = asset.transform
        rows = _span(rect.r0, rect.r1, grid.pixel(level), north - grid.origin[1], abs(e) * asset.shape[0] / stored[0])
        cols = _span(rect.c0, rect.c1, grid.pixel(level), grid.origin[0] - west, a * asset.shape[1] / stored[1])
        size = np.dtype(band.dtype).itemsize
        for row in _tiles(*rows, stored[0]):
            for col in _tiles(*cols, stored[1]):
                if self._new(asset.href, asset.band, factor, row, col):
                    count = min(_TILE, stored[0] - row * _TILE) * min(_TILE, stored[1] - col * _TILE)
                    self.reads += 1
                    self.pixels += count
                    self.bytes += count * size


def _overview(asset: Asset, band: Band, decimation: float) -> int:
    """The factor of the overview that is read where a level's pixels are so many times as large as the asset's."""
    if band.categorical and band.overviews not in ("nearest", "mode"):
        return 1
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
