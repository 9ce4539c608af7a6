"""The ground: fields, woods, river, lakes and town as a function of place, drawn on a tile's 10 m pixels.

Everything is computed from ground coordinates (Lambert-93, counted from Toulouse), so that two tiles agree wherever
they see the same place, whatever their projection.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from muses_lab.sample import kernels
from muses_lab.sample.noise import Fields
from muses_lab.sample.place import Tile


@dataclass(frozen=True)
class Ground:
    """The layers of a tile that `spectra` needs, uint8, at 10 m."""

    classes: np.ndarray
    shift: np.ndarray
    vigour: np.ndarray
    brightness: np.ndarray


def draw(tile: Tile, fields: Fields, seed: int, pool: Executor) -> Ground:
    """The ground of a tile; rows are shared among the threads of `pool`."""
    layers = [np.empty((tile.size, tile.size), np.uint8) for _ in range(4)]
    # what is large on the ground shrinks with the tile, so that a small sample has a river, a town and woods too
    scale = min(1.0, max(0.16, tile.size * 10 / 41_000))
    noise = (fields.rough, fields.smooth)
    rows = range(0, tile.size, 96)
    list(
        pool.map(
            lambda row: kernels.draw(row, row + 96, *tile.ground, scale, *noise, seed, *layers),
            rows,
        )
    )
    return Ground(*layers)
