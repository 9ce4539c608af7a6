"""Resampling: which stored pixels of a file make the pixels of a level, along rows and along columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

MAPPED, STRAIGHT, DOUBLED = range(3)
"""How the stored pixels of an axis lie: by a map; side by side; each for two pixels (+1: the first for one)."""

_SLACK = 1e-6
"""Stored pixels by which numbers may differ that mean the same."""


@lru_cache(maxsize=32)
def taken(sizes: tuple[int, ...]) -> np.ndarray:
    """Pixels of the first of some images that those of the last show, along an axis, by nearest neighbour.

    Each is made from the one before it, as GDAL makes overviews by nearest neighbour.

    >>> taken((8, 4, 2)).tolist(), taken((5490, 2745, 1373))[-2:].tolist()
    ([0, 4], [5484, 5488])
    """
    at = np.arange(sizes[-1])
    for finer, coarser in reversed(list(pairwise(sizes))):
        at = np.minimum((0.5 + at * (finer / coarser)).astype(np.int64), finer - 1)
    at.setflags(write=False)
    return at


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a resampling: which stored pixels make the pixels of a level."""

    place: slice
    """Pixels of the level's rectangle that lie in the file."""
    span: tuple[int, int]
    """Stored pixels needed."""
    index: np.ndarray
    """First stored pixel (from the span's start) of each; of means it may lie outside the file."""
    count: int
    """Stored pixels averaged for each."""
    limit: int

    @cached_property
    def empty(self) -> bool:
        return self.place.start >= self.place.stop

    @cached_property
    def is_coarse(self) -> bool:
        """Whether far more stored pixels are spanned than there are pixels."""
        return self.span[1] - self.span[0] > 2 * self.index.size

    def cut(self, size: int) -> Iterator[Axis]:
        """The axis in parts of so many pixels of the level, without those outside the file."""
        for start in range(0, self.index.size, size):
            stop = min(start + size, self.index.size)
            yield self._between(start, stop, slice(0, stop - start))

    def part(self, start: int, stop: int) -> Axis | None:
        """The axis of some of the rectangle's pixels; None where all of them are outside the file."""
        low, high = max(start, self.place.start), min(stop, self.place.stop)
        if low >= high:
            return None
        return self._between(low - self.place.start, high - self.place.start, slice(low - start, high - start))

    def _between(self, start: int, stop: int, place: slice) -> Axis:
        index = self.index[start:stop]
        first, end = max(int(index[0]), 0), min(int(index[-1]) + self.count, self.limit)
        return Axis(place, (self.span[0] + first, self.span[0] + end), index - first, self.count, end - first)

    @staticmethod
    def whole(start: int, stop: int) -> Axis:
        """Stored pixels as they are."""
        number = stop - start
        return Axis(slice(0, number), (start, stop), np.arange(number), 1, number)

    @lru_cache(maxsize=4096)  # noqa: B019 (axes are kept anyway: scenes of a grid share them)
    def decimated(self, sizes: tuple[int, ...], mirrored: bool) -> Axis:
        """The axis of a coarse image as one of the first of some images, each made from the one before it.

        `mirrored`: whether the file counts its pixels from the other end.
        """
        if all(size == sizes[-1] for size in sizes):
            return self
        at, coarse = taken(sizes), self.span[0] + self.index
        at = sizes[0] - 1 - at[sizes[-1] - 1 - coarse] if mirrored else at[coarse]
        first, end = int(at[0]), int(at[-1]) + 1
        return Axis(self.place, (first, end), at - first, 1, end - first)

    @cached_property
    def taken(self) -> Axis:
        """The same pixels where each has one stored value of its own."""
        number = self.index.size
        return Axis(self.place, (0, number), np.arange(number), 1, number)

    @cached_property
    def order(self) -> int:
        """How the stored pixels lie: `STRAIGHT`, `DOUBLED` (+1), or `MAPPED`.

        To know those that are doubled (20 m classes on 10 m bands) wins 7 to 11 % of W1's evaluation.
        """
        steps, number = self.index - self.index[:1], np.arange(self.index.size)
        if np.array_equal(steps, number):
            return STRAIGHT
        for phase in (0, 1):
            if np.array_equal(steps, (number + phase) // 2):
                return DOUBLED + phase
        return MAPPED

    @staticmethod
    @lru_cache(maxsize=4096)  # the scenes of a grid share their axes
    def make(
        start: int, stop: int, pixel: float, shift: float, down: bool, stored: float, size: int, *, average: bool
    ) -> Axis:
        """`shift`: the file's corner minus the grid's origin; `stored`: size of a stored pixel; both in CRS units.

        The stored pixels are those around the centre of the level's pixel. Where an overview's pixels lie right
        between those of its level, each is the one to the west and north: windows take the level's pixel to the east
        and south, so that what is between the pixels of both is where it belongs.
        """
        offset = (shift if down else -shift) / stored
        scale = pixel / stored
        count = round(scale) if average and scale >= 1.5 else 1
        centres = (np.arange(start, stop, dtype=np.float64) + 0.5) * scale + offset
        if count > 1 or abs(scale - 1) < _SLACK:
            first = np.ceil(centres - (count / 2 + 0.5 + _SLACK)).astype(np.int64)
        else:
            first = np.floor(centres + _SLACK).astype(np.int64)
        inside = np.flatnonzero((centres >= 0) & (centres < size))
        if inside.size == 0:
            return Axis(slice(0, 0), (0, 0), first[:0], 1, 0)
        lo, hi = int(inside[0]), int(inside[-1]) + 1
        first = first[lo:hi]
        if count == 1:
            first = np.clip(first, 0, size - 1)
        span = max(int(first[0]), 0), min(int(first[-1]) + count, size)
        return Axis(slice(lo, hi), span, first - span[0], count, span[1] - span[0])

    def take(self, values: np.ndarray, axis: int) -> np.ndarray:
        """The stored pixels of the level's pixels, one each."""
        n = self.index.size
        if n == values.shape[axis] and self.index[0] == 0 and self.index[-1] == n - 1:
            return values
        return np.take(values, self.index, axis=axis)

    def sum(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Sums of the stored pixels of each pixel, in the same order for every pixel of every block."""
        total = np.zeros(())
        for offset in range(self.count):
            at = self.index + offset
            part = np.take(values, np.clip(at, 0, self.limit - 1), axis=axis)
            beyond = (at < 0) | (at >= self.limit)
            if beyond.any():
                part = np.where(beyond[:, None] if axis == 0 else beyond[None, :], 0.0, part)
            total = total + part
        return total


def resample(values: np.ndarray, rows: Axis, cols: Axis) -> np.ndarray:
    """The level's pixels: stored pixels taken, or averaged without the missing ones."""
    if rows.count == 1 and cols.count == 1:
        return cols.take(rows.take(values, 0), 1)
    valid = ~np.isnan(values)
    total = cols.sum(rows.sum(np.where(valid, values, 0.0).astype(np.float64), 0), 1)
    number = cols.sum(rows.sum(valid.astype(np.float64), 0), 1)
    with np.errstate(all="ignore"):
        return (total / number).astype(values.dtype)
