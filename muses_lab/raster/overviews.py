"""Overviews of classes: which pixels stand for a coarser level, and whether a file's overviews are just these.

A coarse pixel of classes or bits is one of the pixels below it, the one that GDAL takes for overviews by nearest
neighbour: that of the north-west (of a file whose rows run southwards). So it does not matter for a value whether an
overview is read or full resolution is decimated, and a look at one block tells whether the quicker way is open:
overviews by nearest neighbour are equal there, averages and modes are not. `Reader.looked` asks for the look;
`placement` decides what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from muses_lab.raster.asset import Band
from muses_lab.raster.resampling import taken

_MIXED = 64
"""Coarse pixels over different classes that must be equal: of averages one in two may be, by chance."""

Span = tuple[int, int]
Shapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Looked(Band):
    """A band of classes whose files were looked at."""

    makes: frozenset[tuple[Hashable, ...]] = frozenset()
    """Files of these makes have overviews that are decimated."""


def is_decimated(
    shapes: Shapes, block: tuple[int, int], overview: int, window: Callable[[int, Span, Span], np.ndarray]
) -> bool | None:
    """Whether an overview is what `taken` takes of full resolution; None where the blocks looked at are too uniform.

    Parameters
    ----------
    shapes
        (rows, columns) of full resolution and each overview.
    block
        (rows, columns) of a block of full resolution.
    window
        Stored values of rows and columns of an overview (0: full resolution).
    """
    rows, cols = (taken(sizes) for sizes in zip(*shapes[: overview + 1], strict=True))
    for top, left in _blocks(shapes[0], block):
        low, right = min(top + block[0], shapes[0][0]), min(left + block[1], shapes[0][1])
        down, across = (np.flatnonzero((at >= a) & (at < b)) for at, a, b in ((rows, top, low), (cols, left, right)))
        if not down.size or not across.size:
            continue
        fine = window(0, (top, low), (left, right))
        coarse = window(overview, (int(down[0]), int(down[-1]) + 1), (int(across[0]), int(across[-1]) + 1))
        at = rows[down] - top, cols[across] - left
        if not np.array_equal(fine[np.ix_(*at)], coarse):
            return False
        if _mixed(fine, *at) >= _MIXED:
            return True
    return None


def _blocks(shape: tuple[int, int], block: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """First rows and columns of a few blocks of an image, from the middle outwards; the same ones always."""
    down, across = (-(-n // size) for n, size in zip(shape, block, strict=True))
    places = dict.fromkeys((int(down * r), int(across * c)) for r, c in ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75)))
    for row, col in places:
        yield row * block[0], col * block[1]


def _mixed(fine: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> int:
    """Coarse pixels, by their first rows and columns, over different values."""
    low, high = (of.reduceat(of.reduceat(fine, rows, 0), cols, 1) for of in (np.minimum, np.maximum))
    return int((low != high).sum())
