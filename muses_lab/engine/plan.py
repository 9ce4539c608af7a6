"""What a window costs, from metadata alone: scenes, blocks, bytes, seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox

from muses_lab.engine.grid import block_rect
from muses_lab.engine.layout import Layout, layout
from muses_lab.engine.program import Program
from muses_lab.settings import number


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
    view = layout(program, window)
    reads, pixels, size = _reads(program, view)
    return Plan(
        window, len(view.found), len(view.blocks), reads, pixels, size, view.levels,
        size / number("MUSES_BYTES_PER_SECOND", 200e6),
    )  # fmt: skip


def _reads(program: Program, view: Layout) -> tuple[int, int, int]:
    reads = pixels = size = 0
    loads = list(program.loads_below(view.step.node))
    for part in view.parts:
        for key in part.blocks:
            native = block_rect(key.row, key.col)
            f = 2**part.level
            native = type(native)(*(v * f for v in native))
            for load in loads:
                source = program.source(load.node)
                if part.grid.id not in source.grids:
                    continue
                for placed in source.on(part.grid.id, native):
                    rows, cols = placed.rect.intersection(native).shape
                    for name in load.meta.bands or ():
                        asset = placed.scene.assets.get(name)
                        if asset is None:
                            continue
                        coarse = max(f, round(abs(asset.transform[0]) / part.grid.resolution))
                        count = (rows // coarse) * (cols // coarse)
                        reads += 1
                        pixels += count
                        size += count * np.dtype(source.band(name).dtype).itemsize
    return reads, pixels, size
