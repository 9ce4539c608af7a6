"""The blocks of files that a view needs: those with a pixel that is shown, or is in the window of a shown one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer

from benchmarks.peers.contestant import HEIGHT, WIDTH, View
from benchmarks.protocol import ASSETS, FOCAL, level_of

BLOCK = 512
"""Rows and columns of a block: a tile of a file, or a window of one in strips."""

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Need:
    """Blocks of one overview of one file."""

    path: str
    factor: int
    """File pixels per pixel of the overview."""
    shape: tuple[int, int]
    """Rows and columns of the overview."""
    blocks: tuple[tuple[int, int], ...]
    """(row, column)"""

    @property
    def pixels(self) -> int:
        """Of the blocks, as far as they lie in the overview."""
        height, width = self.shape
        return sum(min(BLOCK, height - r * BLOCK) * min(BLOCK, width - c * BLOCK) for r, c in self.blocks)


def needs(view: View, items: Sequence[dict[str, Any]], folder: Path) -> Iterator[Need]:
    """Every file's share of a view, as its items place it."""
    grow = FOCAL if view.workload == "W3" else 0
    chosen = view.choose(list(items))
    grids = tuple(sorted({grid_of(item) for item in chosen}))
    for item in chosen:
        for name in ASSETS[view.workload]:
            asset = item["assets"][name]
            found = _needed(
                view.bounds, grids, grid_of(item), tuple(asset["proj:transform"]), tuple(asset["proj:shape"]), grow
            )
            if found is not None:
                href = asset["href"]
                yield Need(href if "://" in href else str((folder / href).resolve()), *found)


Grid = tuple[str, Bounds]
"""A reference system, and where scenes of it lie: all of them alike."""


def grid_of(item: dict[str, Any]) -> Grid:
    """Where a scene lies, by its red band."""
    asset = item["assets"]["B04"]
    (height, width), (size, _, left, _, _, top) = asset["proj:shape"], asset["proj:transform"][:6]
    return asset["proj:code"], (left, top - height * size, left + width * size, top)


@lru_cache(maxsize=256)
def owned(bounds: Bounds, grids: tuple[Grid, ...], grid: Grid) -> np.ndarray:
    """Which of the view's pixels belong to a grid: those within its scenes, and no deeper within another's."""
    depths = []
    for crs, (west, south, east, north) in grids:
        x, y, _ = places(bounds, crs)
        depths.append(np.minimum(np.minimum(x - west, east - x), np.minimum(y - south, north - y)))
    mine = depths[grids.index(grid)]
    return (mine >= 0) & (mine >= np.max(depths, axis=0))


@lru_cache(maxsize=4096)
def _needed(
    bounds: Bounds, grids: tuple[Grid, ...], grid: Grid, transform: tuple[float, ...], shape: tuple[int, int], grow: int
) -> tuple[int, tuple[int, int], tuple[tuple[int, int], ...]] | None:
    x, y, pixel = places(bounds, grid[0])
    factor = max(1, 2 ** level_of(pixel, 10) * 10 // round(transform[0]))
    while factor > 1 and max(shape) <= factor // 2 * BLOCK:  # overviews end with the first that is one block
        factor //= 2
    size = transform[0] * factor
    mine = owned(bounds, grids, grid)
    rows = np.floor((transform[5] - y[mine]) / size).astype(int)
    cols = np.floor((x[mine] - transform[2]) / size).astype(int)
    height, width = (math.ceil(n / factor) for n in shape)
    touched = np.zeros((-(-height // BLOCK), -(-width // BLOCK)), bool)
    for dr in {-grow, grow}:
        for dc in {-grow, grow}:
            r, c = rows + dr, cols + dc
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            touched[r[inside] // BLOCK, c[inside] // BLOCK] = True
    blocks = tuple((int(row), int(col)) for row, col in np.argwhere(touched))
    return (factor, (height, width), blocks) if blocks else None


@lru_cache(maxsize=64)
def places(bounds: Bounds, crs: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Coordinates of the view's pixels in a CRS, and the size of the one in the middle."""
    left, bottom, right, top = bounds
    step = (right - left) / WIDTH
    way = Transformer.from_crs("EPSG:3857", crs, always_xy=True)
    x, y = np.meshgrid(left + (np.arange(WIDTH) + 0.5) * step, top - (np.arange(HEIGHT) + 0.5) * step)
    x, y = way.transform(x, y)
    r, c = HEIGHT // 2, WIDTH // 2
    ux, uy = x[r, c + 1] - x[r, c], y[r, c + 1] - y[r, c]
    vx, vy = x[r + 1, c] - x[r, c], y[r + 1, c] - y[r, c]
    return x, y, math.sqrt(abs(ux * vy - uy * vx))
