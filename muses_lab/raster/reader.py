"""Reading: the pixels of a level, made from stored values of files.

A stored overview stands in for its level. What is coarser than the coarsest usable overview is averaged (classes and
bit fields: decimated, see `overviews`). `opening` opens files, `blocks` decodes, `placement` says which pixels are
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from muses_lab.errors import AccessDenied, MusesError, ReadError
from muses_lab.raster import http
from muses_lab.raster.access import may_read, resolve_href
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.blocks import Blocks, Counters
from muses_lab.raster.byte_ranges import ByteRange, ByteRanges, Hint, Opened
from muses_lab.raster.files import LocalFile
from muses_lab.raster.grid import Grid, Rect
from muses_lab.raster.opening import MASK, File, Files, Header, contradiction, meaning, plain_header
from muses_lab.raster.overviews import Looked, is_decimated
from muses_lab.raster.placement import FileWindow, decimation_of, overview_for, place_of
from muses_lab.raster.resampling import Axis, resample
from muses_lab.raster.values import to_physical
from muses_lab.resources.cache import Cache

_ON_THE_WAY = 128 << 20
"""Bytes of remote files that may be on their way or wait to be decoded."""
_AT_ONCE = 1 << 20
"""Stored pixels that are put together at a time where many make one pixel of a level."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Stored values under a rectangle of a level, and which of them make its pixels."""

    values: np.ndarray
    rows: Axis
    cols: Axis
    nodata: float | None
    scale: float
    offset: float

    @property
    def one_each(self) -> bool:
        """Whether every pixel is one stored value, not the mean of several."""
        return self.rows.count == 1 and self.cols.count == 1

    def part(self, outer: Rect, rect: Rect) -> Stored | None:
        """The same under some rows of its rectangle; None where these are outside the file."""
        rows = self.rows.part(rect.r0 - outer.r0, rect.r1 - outer.r0)
        if rows is None:
            return None
        values = self.values[rows.span[0] - self.rows.span[0] : rows.span[1] - self.rows.span[0]]
        return Stored(values, rows, self.cols, self.nodata, self.scale, self.offset)

    def physical(self, shape: tuple[int, int]) -> np.ndarray:
        """Values of the rectangle's pixels: floating point, NaN where missing."""
        values = to_physical(self.values, self.nodata, self.scale, self.offset)
        if (self.rows.place, self.cols.place) == (slice(0, shape[0]), slice(0, shape[1])):
            return resample(values, self.rows, self.cols)
        out = np.full(shape, np.nan, dtype=values.dtype)
        out[self.rows.place, self.cols.place] = resample(values, self.rows, self.cols)
        return out


class Read(NamedTuple):
    """A band of a scene on a rectangle of a level: what is going to be read."""

    catalog: str
    asset: Asset
    band: Band
    grid: Grid
    level: int
    rect: Rect


class _Beside(NamedTuple):
    """A mask that is a file of its own."""

    file: File
    header: Header
    band: int
    image: Header
    """Of the file that it masks, with overviews that have a mask."""

    def place(self, place: FileWindow) -> FileWindow:
        """The same place in the mask."""
        overview = self.header.shapes.index(self.image.shapes[place.overview])
        return place._replace(header=self.header, overview=overview)


ReadFunction = Callable[..., Stored | None]
"""`Reader.stored`, or one like it."""


class Reader:
    """Pixels of files, through one cache; thread-safe."""

    def __init__(
        self, cache: Cache, counters: Counters, use: Callable[[int], None] = lambda size: None,
        empty: Callable[[tuple[int, ...], Any], np.ndarray] = np.empty,
    ) -> None:  # fmt: skip
        self.cache = cache
        self._ahead = ByteRanges(min(_ON_THE_WAY, cache.budget // 8), use)
        self._files = Files(cache, self._ahead)
        self._blocks = Blocks(cache, self._files, self._ahead, counters, empty)

    @property
    def log(self) -> list[tuple[str, int, int, int, int]] | None:
        """When set to a list, every decoded block is noted there: (path, band, overview, row, column)."""
        return self._blocks.log

    @log.setter
    def log(self, to: list[tuple[str, int, int, int, int]] | None) -> None:
        self._blocks.log = to

    def level(
        self, catalog: str, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect,
        cancelled: Callable[[], bool] | None = None,
    ) -> np.ndarray | None:  # fmt: skip
        """Physical values (floating point, NaN where missing) of a rectangle of a level; None if outside the file.

        Raises
        ------
        ReadError
            The file is missing, changed since it was registered, or damaged.
        """
        found = self.stored(catalog, asset, band, grid, level, rect, cancelled)
        return None if found is None else found.physical(rect.shape)

    def stored(
        self, catalog: str, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect,
        cancelled: Callable[[], bool] | None = None, once: bool = False,
    ) -> Stored | None:  # fmt: skip
        """Stored values that make a rectangle of a level; None if outside the file. Raises as `level`.

        `once`: blocks of the file that lie within it are not kept.
        """
        file, opened = self._files.find(catalog, asset, cancelled)
        header = self._files.header(file, opened)
        if opened is not None and (wrong := contradiction(header.said, header.shapes[0], asset)):
            raise ReadError(wrong)
        beside = None if asset.mask is None else self._beside(catalog, asset, header)
        place = place_of(header if beside is None else beside.image, asset, band, grid, level, rect)
        if place is None:
            return None
        rows, cols = place.rows, place.cols
        mask = header.valid_by(asset)
        nodata, scale, offset = meaning(
            header.said, asset, band, masked=beside is not None or (mask is not None and mask <= MASK)
        )

        said = nodata, scale, offset
        if beside is not None or mask is not None:  # physical values come from `window`: masked is no stored value
            nodata, scale, offset = None, 1.0, 0.0

        def window(span: tuple[int, int]) -> np.ndarray:
            values = self._blocks.window(file, opened, asset.band, place, span, cancelled, once)
            if beside is not None:
                valid = self._blocks.window(beside.file, None, beside.band, beside.place(place), span, cancelled)
            elif mask is not None:
                valid = self._blocks.window(file, opened, mask, place, span, cancelled, once)
            else:
                return values
            values = to_physical(values, *said)
            values[valid == 0] = np.nan
            return values

        if not rows.is_coarse and not cols.is_coarse:
            return Stored(window(rows.span), rows, cols, nodata, scale, offset)
        # Many stored pixels for each one: made a few rows at a time, because all of them may be a whole file.
        at_once = max(
            1, _AT_ONCE * rows.index.size // max((rows.span[1] - rows.span[0]) * (cols.span[1] - cols.span[0]), 1)
        )
        made = []
        for part in rows.cut(at_once):
            values = window(part.span)
            if rows.count == 1 and cols.count == 1:
                made.append(cols.take(part.take(values, 0), 1))
            else:
                made.append(resample(to_physical(values, nodata, scale, offset), part, cols))
        values = np.concatenate(made)
        if rows.count > 1 or cols.count > 1:
            nodata, scale, offset = None, 1.0, 0.0
        return Stored(values, rows.taken, cols.taken, nodata, scale, offset)

    def _beside(self, catalog: str, asset: Asset, header: Header) -> _Beside | None:
        """The mask beside a local file, as it was when the chain was published; None where one inside counts more."""
        if all(valid is not None and valid <= MASK for valid in header.valid):
            return None
        path = f"{resolve_href(catalog, asset.href, http.addresses)}.msk"
        assert asset.mask is not None
        with LocalFile.open(path, partial(may_read, catalog)) as found:
            if asset.mask != (found.size, found.stamp.modified // 1000):
                raise ReadError("the mask beside it (.msk) was changed; make the chain anew to use the new one")
            file = File(found.path, found.stamp)
        of_mask = self._files.header(file, None)
        if of_mask.shapes[0] != header.shapes[0]:
            raise ReadError(f"the mask beside it has {of_mask.shapes[0]} pixels, the file {header.shapes[0]}")
        # An overview without its mask cannot stand in: told as large as the file, it never does.
        shapes = tuple(shape if shape in of_mask.shapes else header.shapes[0] for shape in header.shapes)
        return _Beside(file, of_mask, min(asset.band, of_mask.count), replace(header, shapes=shapes))

    def looked(
        self, catalog: str, band: Band, ends: Iterable[Iterable[tuple[Asset, Grid]]], level: int,
        cancelled: Callable[[], bool] | None = None,
    ) -> Band:  # fmt: skip
        """A band of classes, with what a look at its files tells of overviews of which nothing is said.

        Overviews are used at a level if they are what decimation takes of full resolution (`overviews.is_decimated`)
        in a file at either end of the list, and in files of the same make. It changes no value, then.

        `ends`: files to be looked at, the first ones and the last ones of a list, each with its grid; of either end
        the first that tells.
        """
        if not band.categorical or band.overviews is not None or level == 0:
            return band
        makes = []
        for assets in ends:
            for asset, grid in assets:
                with suppress(ReadError, AccessDenied):  # it is told to who reads it
                    make = self._look(catalog, asset, grid, level, cancelled)
                    if make is None:
                        continue
                    if not make:
                        return band
                    makes.append(make)
                    break
            else:
                return band
        known: dict[str, Any] = {f.name: getattr(band, f.name) for f in fields(Band)}
        return Looked(**known, makes=frozenset(makes))

    def _look(
        self, catalog: str, asset: Asset, grid: Grid, level: int, cancelled: Callable[[], bool] | None
    ) -> tuple[Hashable, ...] | None:
        """The make of a file whose overviews are decimated; empty where they are not, None where it does not tell.

        A file on a server tells once it is open for another reason: no evaluation waits for a server to be looked at.
        """
        where = resolve_href(catalog, asset.href, http.addresses)
        if "://" in where and not self._ahead.is_open(where):
            return None
        file, opened = self._files.find(catalog, asset, cancelled)
        header = self._files.header(file, opened)
        overview = overview_for(header.shapes, decimation_of(header, asset, grid, level))
        if overview == 0 or asset.band > header.count:
            return ()  # there is nothing to be won
        if asset.mask is not None or header.valid_by(asset) is not None:
            return ()  # overviews of masks are made in ways of their own

        def window(of: int, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
            place = FileWindow(header, of, Axis.whole(*rows), Axis.whole(*cols))
            return self._blocks.window(file, opened, asset.band, place, rows, cancelled)

        def look() -> str:
            return str(is_decimated(header.shapes, header.blocks[0], overview, window))

        said = self.cache.get_or_compute(("decimated", file, asset.band, overview), look, lambda _: 64)
        return {"True": header.make, "False": (), "None": None}[said]

    # --------------------------------------------------------------------------------- remote files, ahead

    @property
    def on_the_way(self) -> int:
        """Bytes of remote files that were asked for ahead and not decoded yet."""
        return self._ahead.held

    def hint(self, soon: bool = False) -> Hint:
        """What an evaluation asks for ahead, until it ends: a context manager. `soon`: one that has not begun."""
        return self._ahead.hint(soon)

    def prefetch(self, asked: Iterable[tuple[Hint, Read]]) -> None:
        """Asks for the blocks of remote pieces as soon as their headers are known; returns at once."""
        groups: dict[str, list[tuple[Hint, Read]]] = {}
        for hint, piece in asked:
            url = _url(piece)
            if url is not None:
                groups.setdefault(url, []).append((hint, piece))
        known = []
        for url, group in groups.items():
            opened = self._ahead.when_open(url, partial(self._ask_when_open, group))
            if opened is not None:
                known.append((opened, group))
        self._ask_all(known)

    def _ask_when_open(self, group: Sequence[tuple[Hint, Read]], opened: Opened) -> None:
        self._ask_all([(opened, group)])

    def _ask_all(self, groups: Sequence[tuple[Opened, Sequence[tuple[Hint, Read]]]]) -> None:
        """Together, so that neighbours in a file are one request."""
        wanted = []
        for opened, group in groups:
            for hint, piece in group:
                with suppress(ReadError):  # it is told to who reads it
                    wanted.append((hint, () if hint.closed else self._ranges(piece, opened)))
        self._ahead.ask(wanted)

    def ask(self, hint: Hint, pieces: Sequence[Read], cancelled: Callable[[], bool] | None = None) -> int:
        """Asks for the blocks of remote pieces that are not known, all at once; how many these are.

        Headers first, where they are not known. What cannot be read is not told here but to who reads it.
        """
        urls = self.open(pieces)
        number = 0
        for piece, url in zip(pieces, urls, strict=True):
            if url is None:
                continue
            try:
                opened = self._ahead.open(url, cancelled)
                ranges = self._ranges(piece, opened)
            except ReadError:
                continue
            hint.ask(ranges)
            number += len(ranges)
        return number

    def open(self, pieces: Sequence[Read]) -> list[str | None]:
        """Asks for the headers of remote pieces, all at once, and does not wait; their URLs."""
        urls = [_url(piece) for piece in pieces]
        for url in urls:
            if url is not None:
                self._ahead.opening(url)
        return urls

    def knows_headers(self, pieces: Sequence[Read]) -> bool:
        return all(url is None or self._ahead.is_open(url) for url in map(_url, pieces))

    def _ranges(self, piece: Read, opened: Opened) -> list[ByteRange]:
        """A remote piece's blocks that are neither decoded nor GDAL's to read."""
        file = File(opened.url, opened.stamp)
        header = self.cache.get(("header", file)) or plain_header(file, opened.images)
        if header is None or header.images is None:
            return []
        place = place_of(header, piece.asset, piece.band, piece.grid, piece.level, piece.rect)
        if place is None:
            return []
        ranges = []
        for band in (piece.asset.band, header.valid_by(piece.asset)):
            if band is None:
                continue
            for row, col in place.blocks():
                key = ("file", file, band, place.overview, row, col)
                if key not in self.cache:
                    wanted_range = ByteRange(key, opened, *header.place(place.overview, band, row, col))
                    if wanted_range.size:
                        ranges.append(wanted_range)
        return ranges

    def close(self) -> None:
        self._files.close()
        self._ahead.close()


class Holding:
    """A reader for the strips of one evaluation: what one of them needs is read for all, and kept as it is stored."""

    def __init__(self, reader: Reader, rect: Rect) -> None:
        self._reader = reader
        self._rect = rect
        self._known: dict[Any, Stored | None] = {}

    def at(self, strip: Rect) -> ReadFunction:
        """How to read for a strip."""

        def stored(
            catalog: str, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect,
            cancelled: Callable[[], bool] | None = None, once: bool = False,
        ) -> Stored | None:  # fmt: skip
            above, below = strip.r0 - rect.r0, rect.r1 - strip.r1  # halos
            outer = Rect(self._rect.r0 - above, self._rect.r1 + below, rect.c0, rect.c1)
            key = (catalog, asset.href, asset.band, band.name, outer)
            if key not in self._known:
                self._known[key] = self._reader.stored(catalog, asset, band, grid, level, outer, cancelled, once)
            whole = self._known[key]
            return None if whole is None else whole.part(outer, rect)

        return stored


def _url(piece: Read) -> str | None:
    """Where a remote piece is; None for local files and what may not be read."""
    try:
        path = resolve_href(piece.catalog, piece.asset.href, http.addresses)
    except MusesError:
        return None
    return path if "://" in path else None
