"""What a window costs, from metadata alone: scenes, blocks, bytes, seconds."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox

from muses_lab.engine.grid import Grid, Rect, block_rect
from muses_lab.engine.keys import BlockKey
from muses_lab.engine.layout import layout
from muses_lab.engine.program import CHANGES_GRID, LOAD, Program, Step, pinned_grid
from muses_lab.operators import Fit, Region
from muses_lab.settings import number

_PIECE = 2048
"""Rows and columns of a window that are laid out at a time."""


@dataclass(frozen=True)
class Plan:
    """The cost of a chain on a window."""

    window: GeoBox
    scenes: int
    """Pinned scenes that touch the window."""
    blocks: int
    """Blocks of 512 × 512 pixels to be evaluated."""
    reads: int
    """Bands of scenes to be read, summed over blocks (masks that spare reads are not foreseen)."""
    pixels: int
    """Pixels to be decoded."""
    bytes: int
    """Their size in memory."""
    levels: dict[str, float]
    """Grid → metres per pixel of the level shown."""
    seconds: float
    """Expected duration when nothing is cached (`MUSES_BYTES_PER_SECOND`)."""

    def __str__(self) -> str:
        levels = ", ".join(f"{grid}: {size:g} m" for grid, size in self.levels.items()) or "nothing here"
        return (
            f"{self.scenes} scenes, {self.blocks} blocks, {self.pixels / 1e6:.1f} Mpixel to decode "
            f"({self.bytes / 1e6:.0f} MB), about {self.seconds:.1f} s; {levels}"
        )


def plan(program: Program, window: GeoBox) -> Plan:
    """The cost of a program's result on a window; reads nothing."""
    scenes: dict[str, None] = {}
    blocks: dict[BlockKey, Grid] = {}
    levels: dict[str, float] = {}
    for piece in _pieces(window):
        view = layout(program, piece)
        scenes.update(dict.fromkeys(view.found))
        levels.update(view.levels)
        blocks.update({key: part.grid for part in view.parts for key in part.blocks})
    reads = _Reads(program)
    for key, grid in blocks.items():
        reads.add(program.output, grid, key.level, block_rect(key.row, key.col))
    return Plan(
        window, len(scenes), len(blocks), reads.number, reads.pixels, reads.bytes, levels,
        reads.bytes / number("MUSES_BYTES_PER_SECOND", 200e6),
    )  # fmt: skip


def _pieces(window: GeoBox) -> Iterator[GeoBox]:
    """A window in parts: the coordinates of all pixels of a country would not fit into memory."""
    rows, columns = window.shape.y, window.shape.x
    for row in range(0, rows, _PIECE):
        for col in range(0, columns, _PIECE):
            yield window[row : min(row + _PIECE, rows), col : min(col + _PIECE, columns)]


class _Reads:
    """Blocks of bands of scenes to be read, each counted once: down to the sources, as evaluation goes."""

    def __init__(self, program: Program) -> None:
        self.number = self.pixels = self.bytes = 0
        self._program = program
        self._dates = program.dates_below(program.root)
        self._seen: set[Hashable] = set()

    def _new(self, *key: Hashable) -> bool:
        known = key in self._seen
        self._seen.add(key)
        return not known

    def add(self, step: Step, grid: Grid, level: int, rect: Rect) -> None:
        """What a step reads for a rectangle (but for the halo of neighbourhoods)."""
        if not self._new(step.node.hash, grid.id, level, rect):
            return
        process, support = step.node.process, step.operator.support
        children = [self._program[child] for _, child in step.cubes]
        if process == LOAD:
            for row, col in rect.blocks():
                self._block(step, grid, level, row, col)
        elif isinstance(support, Region):
            self._whole(step, children[0])
        elif process in CHANGES_GRID:
            self._window(self._program[step.arguments["data"]], grid.geobox(level, rect))
        elif process == "muses:at_resolution":
            self._pinned(step, children[0], grid, level, rect)
        else:
            if isinstance(support, Fit):
                self._whole(step, children[0])
            for child in children:
                self.add(child, grid, level, rect)

    def _whole(self, step: Step, child: Step) -> None:
        if self._new("whole", step.node.hash):
            pinned = pinned_grid(step.node, step.arguments, child.grids)
            self._window(child, pinned.geobox(0, pinned.extent))

    def _window(self, step: Step, window: GeoBox) -> None:
        for piece in _pieces(window):
            for part in layout(self._program, piece, step).parts:
                for key in part.blocks:
                    self.add(step, part.grid, key.level, block_rect(key.row, key.col))

    def _pinned(self, step: Step, child: Step, grid: Grid, level: int, rect: Rect) -> None:
        pinned = grid.level_near(step.arguments["resolution"])
        inner = rect.scaled(2.0 ** (level - pinned)).intersection(grid.rect(pinned))
        if not inner.empty:
            self.add(child, grid, pinned, inner)

    def _block(self, step: Step, grid: Grid, level: int, row: int, col: int) -> None:
        source, dates, f = self._program.source(step.node), self._dates[step.node.hash], 2**level
        native = block_rect(row, col).scaled(f)
        for placed in source.on(grid.id, native, dates):
            rows, cols = placed.rect.intersection(native).shape
            for name in step.meta.bands or ():
                asset = placed.scene.assets.get(name)
                if asset is None or not self._new(asset.href, asset.band, level, row, col):
                    continue
                coarse = max(f, round(abs(asset.transform[0]) / grid.resolution))
                count = -(-rows // coarse) * -(-cols // coarse)
                self.number += 1
                self.pixels += count
                self.bytes += count * np.dtype(source.band(name).dtype).itemsize
