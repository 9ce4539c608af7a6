"""Placing: which stored pixels of a file, of which of its overviews, make the pixels of a level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from muses_lab.errors import ReadError
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.grid import Grid, Rect
from muses_lab.raster.opening import Header
from muses_lab.raster.overviews import Looked
from muses_lab.raster.resampling import Axis


class FileWindow(NamedTuple):
    """Where a piece is in its file."""

    header: Header
    overview: int
    rows: Axis
    """Of an image whose first row is the northernmost; so are columns from west to east."""
    cols: Axis
    mirrored: tuple[bool, bool] = (False, False)
    """Whether the file's rows run from south to north, and its columns from east to west."""

    def stored(self, rows: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns, as the file counts them, of some rows and all columns."""
        spans = zip((rows, self.cols.span), self.header.shapes[self.overview], self.mirrored, strict=True)
        of_rows, of_cols = ((n - end, n - first) if turned else (first, end) for (first, end), n, turned in spans)
        return of_rows, of_cols

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(row, column) of the blocks that hold it."""
        height, width = self.header.blocks[self.overview]
        (r0, r1), (c0, c1) = self.stored(self.rows.span)
        for row in range(r0 // height, (r1 - 1) // height + 1):
            for col in range(c0 // width, (c1 - 1) // width + 1):
                yield row, col


def place_of(header: Header, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect) -> FileWindow | None:
    """Where the pixels of a rectangle of a level are in a file; None if outside."""
    if asset.band > header.count:
        raise ReadError(f"the file has {header.count} bands; band {asset.band} was asked for")
    full, pixel, steps, mirrored = header.shapes[0], grid.pixel(level), asset.steps, asset.mirrored
    west, _, _, north = asset.bounds
    categorical = band.categorical or header.palette
    decimation = decimation_of(header, asset, grid, level)
    overview = overview_for(header.shapes, decimation)
    shape = shown = header.shapes[overview]
    if categorical:  # beyond the coarsest overview as if there were one more
        left = decimation * max(shape[0] / full[0], shape[1] / full[1])
        factor = 2 ** max(0, math.floor(math.log2(left * (1 + 1e-6))))
        shown = -(-shape[0] // factor), -(-shape[1] // factor)

    def axis(number: int, start: int, stop: int, shift: float) -> Axis:
        own = steps[1 - number]
        if header.halved and not mirrored[number]:
            stored = own * asset.shape[number] / full[number] * 2 ** round(math.log2(full[number] / shown[number]))
        else:
            stored = own * asset.shape[number] / shown[number]
        down, size = number == 0, shown[number]
        return Axis.make(start, stop, pixel[1 - number], shift, down, stored, size, average=not categorical)

    axes = axis(0, rect.r0, rect.r1, north - grid.origin[1]), axis(1, rect.c0, rect.c1, west - grid.origin[0])
    if any(one.empty for one in axes):
        return None
    if categorical:
        first = overview if overview and _overviews_may_be_read(header, band) else 0
        sizes = [(*(shape[n] for shape in header.shapes[first : overview + 1]), shown[n]) for n in (0, 1)]
        axes = axes[0].decimated(sizes[0], mirrored[0]), axes[1].decimated(sizes[1], mirrored[1])
        overview = first
    return FileWindow(header, overview, *axes, mirrored)


def decimation_of(header: Header, asset: Asset, grid: Grid, level: int) -> float:
    """How many pixels of a file a pixel of a level is wide, or high."""
    full, (width, height), (across, down) = header.shapes[0], grid.pixel(level), asset.steps
    return min(width / across * full[1] / asset.shape[1], height / down * full[0] / asset.shape[0])


def _overviews_may_be_read(header: Header, band: Band) -> bool:
    """Whether overviews of classes stand for their levels: nearest or mode, as the metadata say, or found so.

    A look finds those that are the pixels that decimation takes (see `overviews`, `Reader.looked`).
    """
    return band.overviews in ("nearest", "mode") or (isinstance(band, Looked) and header.make in band.makes)


@lru_cache(maxsize=4096)
def overview_for(shapes: tuple[tuple[int, int], ...], decimation: float) -> int:
    """The coarsest stored overview that is not coarser than asked."""
    best, ratio = 0, 1.0
    for number, shape in enumerate(shapes):
        stored = max(shapes[0][0] / shape[0], shapes[0][1] / shape[1])
        # Overview sizes are rounded, so 1373 pixels stand for 10980 / 8 = 1372.5; images of a few pixels differ more.
        if round(stored) <= decimation * (1 + 1e-6) and stored > ratio:
            best, ratio = number, stored
    return best
