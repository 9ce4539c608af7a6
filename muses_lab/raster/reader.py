"""Reading: blocks of files decoded once, and the pixels of a level made from them.

A stored overview stands in for its level. What is coarser than the coarsest usable overview is averaged (classes and
bit fields: decimated, see `overviews`). Every block is decoded once and kept by (file, band, overview, block).
"""

from __future__ import annotations

import math
import struct
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from muses_lab.errors import AccessDenied, Cancelled, MusesError, ReadError
from muses_lab.raster import checksum, http, tiff
from muses_lab.raster.access import may_read, resolve_href
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.byte_ranges import PIECE as REMOTE_PIECE
from muses_lab.raster.byte_ranges import ByteRange, ByteRanges, Hint, Opened, RemoteSource, Replaced
from muses_lab.raster.dataset_pool import Closing, Datasets
from muses_lab.raster.files import LocalFile
from muses_lab.raster.gdal import PIECE as LOCAL_PIECE
from muses_lab.raster.gdal import driver_of, reason
from muses_lab.raster.grid import Grid, Rect
from muses_lab.raster.orientation import astray, corners
from muses_lab.raster.overviews import Looked, is_decimated
from muses_lab.raster.resampling import Axis, resample
from muses_lab.raster.sidecars import Affine6
from muses_lab.resources import rates
from muses_lab.resources.cache import Cache

_MAX_OPEN = 64
"""Files that stay open; each takes about a megabyte that nobody counts."""
_ON_THE_WAY = 128 << 20
"""Bytes of remote files that may be on their way or wait to be decoded."""
_AT_ONCE = 1 << 20
"""Stored pixels that are put together at a time where many make one pixel of a level."""
_MOST_DECODED = 256 << 20
"""Bytes that GDAL may need to decode a block, all its bands: a file of a few kilobytes may claim gigabytes."""
_LOGICAL = 512
"""Rows and columns of a block where the file itself is stored in strips or odd tiles."""


_MASK = 0
"""In place of a band's number: the mask of all bands; -1, -2 and so on: that of the first, second band alone."""


class File(NamedTuple):
    """A file as it is now: what is kept of it is not asked for any more once it has been replaced or repaired."""

    path: str
    """Where it really is, or its URL."""
    stamp: tuple[Hashable, ...]
    """A `files.Stamp`; on a server size and tag, as far as it says them."""


@dataclass(frozen=True)
class Header:
    """What is known of a file after opening it: its pyramid."""

    count: int
    """Bands."""
    shapes: tuple[tuple[int, int], ...]
    """(rows, columns) of full resolution and each overview, finest first."""
    blocks: tuple[tuple[int, int], ...]
    """(rows, columns) of a block of each."""
    valid: tuple[int | None, ...]
    """What says where each band is valid (not 0): a band that holds opacity, a mask (`_MASK`), None: nothing does."""
    palette: bool
    """Whether its numbers are those of a colour table."""
    images: tuple[tiff.Image, ...] | None = None
    """Where the blocks are in the file; None where GDAL reads it."""
    said: tiff.Said = tiff.Said()
    halved: bool = False
    """Whether pixels of its overviews are twice, four times … as large as its own, even where the last ones reach
    beyond the edge, as in JPEG 2000; else all of them together are as large as the file, as GDAL makes them."""

    @property
    def make(self) -> tuple[Hashable, ...]:
        """What files have in common that were written by one program, with one set of options."""
        codecs = [(i.compression, i.predictor, i.dtype.str) for i in self.images or ()]
        return self.shapes, self.blocks, self.valid, self.palette, self.halved, tuple(codecs)

    @property
    def nbytes(self) -> int:
        images = [*(self.images or ()), *(i.mask for i in self.images or () if i.mask)]
        return 512 + sum(i.offsets.nbytes + i.counts.nbytes for i in images)

    def place(self, overview: int, band: int, row: int, col: int) -> tuple[int, int]:
        """`tiff.Image.place` of a band or mask."""
        image, number = self.image(overview, band)
        return image.place(number, row, col)

    def image(self, overview: int, band: int) -> tuple[tiff.Image, int]:
        """The image that holds a band or mask, and its number there."""
        assert self.images is not None
        image = self.images[overview]
        if band > 0:
            return image, band
        assert image.mask is not None
        return image.mask, 1


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


class _FileWindow(NamedTuple):
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


class _Beside(NamedTuple):
    """A mask that is a file of its own."""

    file: File
    header: Header
    band: int
    image: Header
    """Of the file that it masks, with overviews that have a mask."""

    def place(self, place: _FileWindow) -> _FileWindow:
        """The same place in the mask."""
        overview = self.header.shapes.index(self.image.shapes[place.overview])
        return place._replace(header=self.header, overview=overview)


ReadFunction = Callable[..., Stored | None]
"""`Reader.stored`, or one like it."""


@dataclass
class Counters:
    """What was done since the process began; asserted by tests instead of seconds."""

    blocks_decoded: int = 0
    bytes_decoded: int = 0
    evaluations: int = 0


class Reader:
    """Decoded blocks of files, through one cache; thread-safe."""

    def __init__(
        self, cache: Cache, counters: Counters, use: Callable[[int], None] = lambda size: None,
        empty: Callable[[tuple[int, ...], Any], np.ndarray] = np.empty,
    ) -> None:  # fmt: skip
        self._empty = empty
        self.cache = cache
        self.counters = counters
        self.log: list[tuple[str, int, int, int, int]] | None = None
        """When set to a list, every decoded block is noted there: (path, band, overview, row, column)."""
        self._lock = threading.Lock()
        self._ahead = ByteRanges(min(_ON_THE_WAY, cache.budget // 8), use)
        self._datasets = Datasets(_MAX_OPEN)

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
        cancelled: Callable[[], bool] | None = None,
    ) -> Stored | None:  # fmt: skip
        """Stored values that make a rectangle of a level; None if outside the file. Raises as `level`."""
        file, opened = self._file(catalog, asset, cancelled)
        header = self._header(file, opened)
        if opened is not None and (contradiction := _contradiction(header.said, header.shapes[0], asset)):
            raise ReadError(contradiction)
        beside = None if asset.mask is None else self._beside(catalog, asset, header)
        place = _place(header if beside is None else beside.image, asset, band, grid, level, rect)
        if place is None:
            return None
        rows, cols = place.rows, place.cols
        mask = _valid_by(header, asset)
        nodata, scale, offset = _meaning(
            header.said, asset, band, masked=beside is not None or (mask is not None and mask <= _MASK)
        )

        meaning = nodata, scale, offset
        if beside is not None or mask is not None:  # physical values come from `window`: masked is no stored value
            nodata, scale, offset = None, 1.0, 0.0

        def window(span: tuple[int, int]) -> np.ndarray:
            values = self._window(file, opened, asset.band, place, span, cancelled)
            if beside is not None:
                valid = self._window(beside.file, None, beside.band, beside.place(place), span, cancelled)
            elif mask is not None:
                valid = self._window(file, opened, mask, place, span, cancelled)
            else:
                return values
            values = to_physical(values, *meaning)
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
        if all(valid is not None and valid <= _MASK for valid in header.valid):
            return None
        path = f"{resolve_href(catalog, asset.href, http.addresses)}.msk"
        assert asset.mask is not None
        with LocalFile.open(path, partial(may_read, catalog)) as found:
            if asset.mask != (found.size, found.stamp.modified // 1000):
                raise ReadError("the mask beside it (.msk) was changed; make the chain anew to use the new one")
            file = File(found.path, found.stamp)
        of_mask = self._header(file, None)
        if of_mask.shapes[0] != header.shapes[0]:
            raise ReadError(f"the mask beside it has {of_mask.shapes[0]} pixels, the file {header.shapes[0]}")
        # An overview without its mask cannot stand in: told as large as the file, it never does.
        shapes = tuple(shape if shape in of_mask.shapes else header.shapes[0] for shape in header.shapes)
        return _Beside(file, of_mask, min(asset.band, of_mask.count), replace(header, shapes=shapes))

    def looked(
        self, catalog: str, band: Band, ends: Iterable[Sequence[Asset]], grid: Grid, level: int,
        cancelled: Callable[[], bool] | None = None,
    ) -> Band:  # fmt: skip
        """A band of classes, with what a look at its files tells of overviews of which nothing is said.

        Overviews are used at a level if they are what decimation takes of full resolution (`overviews.is_decimated`)
        in a file at either end of the list, and in files of the same make. It changes no value, then.

        `ends`: files to be looked at, the first ones and the last ones of a list; of each the first that tells.
        """
        if not band.categorical or band.overviews is not None or level == 0:
            return band
        makes = []
        for assets in ends:
            for asset in assets:
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
        return Looked(*(getattr(band, f.name) for f in fields(Band)), makes=frozenset(makes))

    def _look(
        self, catalog: str, asset: Asset, grid: Grid, level: int, cancelled: Callable[[], bool] | None
    ) -> tuple[Hashable, ...] | None:
        """The make of a file whose overviews are decimated; empty where they are not, None where it does not tell."""
        file, opened = self._file(catalog, asset, cancelled)
        header = self._header(file, opened)
        overview = _overview(header.shapes, _decimation(header, asset, grid, level))
        if overview == 0 or asset.band > header.count:
            return ()  # there is nothing to be won
        if asset.mask is not None or _valid_by(header, asset) is not None:
            return ()  # overviews of masks are made in ways of their own

        def window(of: int, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
            axes = [Axis.whole(*span) for span in (rows, cols)]
            return self._window(file, opened, asset.band, _FileWindow(header, of, *axes), rows, cancelled)

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
        header = self.cache.get(("header", file)) or _plain_header(file, opened)
        if header is None or header.images is None:
            return []
        place = _place(header, piece.asset, piece.band, piece.grid, piece.level, piece.rect)
        if place is None:
            return []
        ranges = []
        for band in (piece.asset.band, _valid_by(header, piece.asset)):
            if band is None:
                continue
            for row, col in place.blocks():
                key = ("file", file, band, place.overview, row, col)
                if key not in self.cache:
                    wanted_range = ByteRange(key, opened, *header.place(place.overview, band, row, col))
                    if wanted_range.size:
                        ranges.append(wanted_range)
        return ranges

    # ---------------------------------------------------------------------------------------------- blocks

    def _file(self, catalog: str, asset: Asset, cancelled: Callable[[], bool] | None) -> tuple[File, Opened | None]:
        """The file behind an asset as it is now; `ReadError` where it is not there or not what was published."""
        path = resolve_href(catalog, asset.href, http.addresses)
        if "://" in path:
            opened = self._ahead.open(path, cancelled)
            _check_size(opened.size, asset)
            return File(path, opened.stamp), opened
        with LocalFile.open(path, partial(may_read, catalog)) as found:
            _check_size(found.size, asset)
            file = File(found.path, found.stamp)
            if asset.modified is not None and asset.modified != found.stamp.modified // 1000:
                self._check_content(file, found, asset, cancelled)
            return file, None

    def _check_content(self, file: File, found: LocalFile, asset: Asset, cancelled: Callable[[], bool] | None) -> None:
        """A file with another time is the one that was published where its checksum says so: a copy of it."""

        def matches() -> bool:
            return asset.checksum is not None and checksum.matches(asset.checksum, found, cancelled) is True

        if not self.cache.get_or_compute(("checksum", file, asset.checksum), matches, lambda _: 64):
            assert asset.modified is not None
            raise ReadError(
                f"the file was changed: it is of {_time(found.stamp.modified // 1000)}, that of the published chain of "
                f"{_time(asset.modified)}; make the chain anew to use the new one"
            )

    def _window(
        self, file: File, opened: Opened | None, band: int, place: _FileWindow, rows: tuple[int, int],
        cancelled: Callable[[], bool] | None,
    ) -> np.ndarray:  # fmt: skip
        """Stored values of a window of an overview, put together from its decoded blocks."""
        height, width = place.header.blocks[place.overview]
        rows, cols = place.stored(rows)
        parts = []
        for row in range(rows[0] // height, (rows[1] - 1) // height + 1):
            line = []
            for col in range(cols[0] // width, (cols[1] - 1) // width + 1):
                if cancelled is not None and cancelled():
                    raise Cancelled("nobody waits for this block any more")
                block = self._block(file, opened, band, place.header, place.overview, row, col, cancelled)
                r0, c0 = row * height, col * width
                line.append(block[max(rows[0] - r0, 0) : rows[1] - r0, max(cols[0] - c0, 0) : cols[1] - c0])
            parts.append(line)
        if any(place.mirrored):
            down, across = (slice(None, None, -1 if turned else 1) for turned in place.mirrored)
            return np.ascontiguousarray(np.block(parts)[down, across])
        if len(parts) == 1 and len(parts[0]) == 1:
            part = parts[0][0]
            # A view keeps the whole block, which the cache may have let go; most of one costs nothing as it is.
            return part if part.size * 4 >= 3 * height * width else part.copy()
        return np.block(parts)

    def _block(
        self, file: File, opened: Opened | None, band: int, header: Header, overview: int, row: int, col: int,
        cancelled: Callable[[], bool] | None,
    ) -> np.ndarray:  # fmt: skip
        key = ("file", file, band, overview, row, col)

        def decode() -> np.ndarray:
            start = time.perf_counter()
            try:
                if header.images is not None:
                    read = _bytes_of(file)
                    if opened is not None:
                        read = self._bytes_ahead(key, opened, cancelled)
                    values = _decode(*header.image(overview, band), read, row, col, self._empty)
                else:
                    values = self._by_gdal(file, opened, band, header, overview, row, col)
            except Replaced:
                assert opened is not None
                self._ahead.forget(opened)
                raise
            except (RasterioError, IndexError, OSError, ValueError) as error:
                raise ReadError(f"block ({row}, {col}) of band {band} cannot be read: {reason(error)}") from None
            rates.record_decode(values.nbytes, time.perf_counter() - start)
            with self._lock:
                self.counters.blocks_decoded += 1
                self.counters.bytes_decoded += values.nbytes
                if self.log is not None:
                    self.log.append((file.path, band, overview, row, col))
            values.setflags(write=False)
            return values

        return self.cache.get_or_compute(key, decode, _nbytes)

    def _bytes_ahead(self, key: Hashable, opened: Opened, cancelled: Callable[[], bool] | None) -> tiff.ReadFunction:
        """How to read a block of a remote file: what was asked for ahead, or now."""
        return lambda offset, size: self._ahead.take(ByteRange(key, opened, offset, size), cancelled)

    def _by_gdal(
        self, file: File, opened: Opened | None, band: int, header: Header, overview: int, row: int, col: int
    ) -> np.ndarray:
        height, width = header.blocks[overview]
        rows, cols = header.shapes[overview]
        window = Window(col * width, row * height, min(width, cols - col * width), min(height, rows - row * height))
        with self._dataset(file, opened, overview) as dataset:
            if band <= _MASK:
                return dataset.read_masks(max(-band, 1), window=window)
            out = self._empty((window.height, window.width), dataset.dtypes[band - 1])
            return dataset.read(band, window=window, out=out)

    def _header(self, file: File, opened: Opened | None) -> Header:
        key = ("header", file)
        return self.cache.get(key) or self.cache.get_or_compute(
            key,
            lambda: _plain_header(file, opened) or self._gdal_header(file, opened),
            lambda header: header.nbytes,
        )

    def _gdal_header(self, file: File, opened: Opened | None) -> Header:
        with self._dataset(file, opened, 0) as dataset:
            if any(dtype.startswith("complex") for dtype in dataset.dtypes):
                raise ReadError("its pixels are complex numbers, with which nothing is computed here")
            count, factors = dataset.count, dataset.overviews(1)
            shapes = [dataset.shape]
            blocks = [_block_shape(dataset)]
            tiled = dataset.driver == "GTiff"
            halved = dataset.driver == "JP2OpenJPEG"
            valid, said = _valid(dataset), _said(dataset)
            palette = dataset.colorinterp[0] == ColorInterp.palette
        for number in range(1, len(factors) + 1):
            with self._dataset(file, opened, number) as dataset:
                # An overview without its mask cannot stand in: told as large as the file, it never does.
                shapes.append(dataset.shape if _valid(dataset) == valid else shapes[0])
                blocks.append(_block_shape(dataset) if tiled else (_LOGICAL, _LOGICAL))
        return Header(count, tuple(shapes), tuple(blocks), valid, palette, said=said, halved=halved)

    def _dataset(self, file: File, opened: Opened | None, overview: int) -> AbstractContextManager[Any]:
        """An open dataset for this thread alone."""

        def source() -> Closing:
            return _open(file) if opened is None else RemoteSource(self._ahead, opened)

        piece = LOCAL_PIECE if opened is None else REMOTE_PIECE
        return self._datasets.use((file, overview), file.path, overview, source, piece)

    def close(self) -> None:
        self._datasets.close()
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
            cancelled: Callable[[], bool] | None = None,
        ) -> Stored | None:  # fmt: skip
            above, below = strip.r0 - rect.r0, rect.r1 - strip.r1  # halos
            outer = Rect(self._rect.r0 - above, self._rect.r1 + below, rect.c0, rect.c1)
            key = (catalog, asset.href, asset.band, band.name, outer)
            if key not in self._known:
                self._known[key] = self._reader.stored(catalog, asset, band, grid, level, outer, cancelled)
            whole = self._known[key]
            return None if whole is None else whole.part(outer, rect)

        return stored


def _open(file: File) -> LocalFile:
    """A local file, where it was found and as it was then; `ReadError` otherwise."""
    found = LocalFile.open(file.path, lambda place: False)
    if found.stamp != file.stamp:
        found.close()
        raise ReadError("the file was changed while it was read")
    return found


def _bytes_of(file: File) -> tiff.ReadFunction:
    """How to read a local file: opened each time, which costs a hundredth of decoding a block."""

    def read(offset: int, size: int) -> bytes:
        with _open(file) as found:
            return found.read(offset, size)

    return read


def _plain_header(file: File, opened: Opened | None) -> Header | None:
    """The header of a tiled TIFF; None for what GDAL must read."""
    if driver_of(file.path) != "GTiff":
        return None
    if opened is not None:
        images = opened.images
    else:
        try:
            images = tiff.images(_bytes_of(file))
        except (tiff.Unusual, OSError, ValueError, struct.error, OverflowError):
            return None  # GDAL says what is wrong with it
    if images is None or any(_is_odd(*i.block) for i in images):
        return None
    first = images[0]
    mask = first.alpha if first.mask is None else _MASK
    return Header(
        first.bands, tuple(i.shape for i in images), tuple(i.block for i in images),
        tuple(mask if band != mask else None for band in range(1, first.bands + 1)), first.palette, images, first.said,
    )  # fmt: skip


def _valid(dataset: Any) -> tuple[int | None, ...]:
    """`Header.valid` of what GDAL reads."""
    opacity = next((n for n, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha), None)

    def of(band: int, flags: Sequence[MaskFlags]) -> int | None:
        if not {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha}.intersection(flags):
            return _MASK if MaskFlags.per_dataset in flags else -band
        return opacity if band != opacity else None

    return tuple(of(band, flags) for band, flags in enumerate(dataset.mask_flag_enums, 1))


def _decode(
    image: tiff.Image, band: int, read: tiff.ReadFunction, row: int, col: int,
    empty: Callable[[tuple[int, ...], Any], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """The pixels of a block, without those beyond the image's edge."""
    offset, size = image.place(band, row, col)
    if size == 0:
        out = np.full(image.block, image.fill, image.dtype)
    else:
        stored = read(offset, size)
        if len(stored) != size:
            raise ValueError(f"the file ends after {len(stored)} of its {size} bytes")
        out = empty(image.block, image.dtype)
        image.decode(stored, out)
    inner = out[: image.shape[0] - row * image.block[0], : image.shape[1] - col * image.block[1]]
    if inner.shape == out.shape:
        return out
    alone = empty(inner.shape, image.dtype)  # a view would keep what lies beyond the edge
    alone[...] = inner
    return alone


def _url(piece: Read) -> str | None:
    """Where a remote piece is; None for local files and what may not be read."""
    try:
        path = resolve_href(piece.catalog, piece.asset.href, http.addresses)
    except MusesError:
        return None
    return path if "://" in path else None


def _place(header: Header, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect) -> _FileWindow | None:
    """Where the pixels of a rectangle of a level are in a file; None if outside."""
    if asset.band > header.count:
        raise ReadError(f"the file has {header.count} bands; band {asset.band} was asked for")
    full, pixel, mirrored = header.shapes[0], grid.pixel(level), asset.mirrored
    west, _, _, north = asset.bounds
    categorical = band.categorical or header.palette
    decimation = _decimation(header, asset, grid, level)
    overview = _overview(header.shapes, decimation)
    shape = shown = header.shapes[overview]
    if categorical:  # beyond the coarsest overview as if there were one more
        left = decimation * max(shape[0] / full[0], shape[1] / full[1])
        factor = 2 ** max(0, math.floor(math.log2(left * (1 + 1e-6))))
        shown = -(-shape[0] // factor), -(-shape[1] // factor)

    def axis(number: int, start: int, stop: int, shift: float) -> Axis:
        own = asset.steps[1 - number]
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
        first = overview if overview and _is_decimated(header, band) else 0
        sizes = [(*(shape[n] for shape in header.shapes[first : overview + 1]), shown[n]) for n in (0, 1)]
        axes = axes[0].decimated(sizes[0], mirrored[0]), axes[1].decimated(sizes[1], mirrored[1])
        overview = first
    return _FileWindow(header, overview, *axes, mirrored)


def _decimation(header: Header, asset: Asset, grid: Grid, level: int) -> float:
    """How many pixels of a file a pixel of a level is wide, or high."""
    full, (width, height), (across, down) = header.shapes[0], grid.pixel(level), asset.steps
    return min(width / across * full[1] / asset.shape[1], height / down * full[0] / asset.shape[0])


def _is_decimated(header: Header, band: Band) -> bool:
    """Whether a file's overviews of classes hold classes, and those that stand for their levels."""
    return band.overviews in ("nearest", "mode") or (isinstance(band, Looked) and header.make in band.makes)


def _valid_by(header: Header, asset: Asset) -> int | None:
    """`Header.valid` of an asset's band."""
    valid = header.valid[asset.band - 1]
    return None if asset.opaque and valid is not None and valid > _MASK else valid


def _said(dataset: Any) -> tiff.Said:
    transform = tuple(dataset.transform)[:6]
    nowhere = transform == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return tiff.Said(
        None if nowhere else transform, bool(dataset.gcps[0]), dataset.nodatavals, dataset.scales, dataset.offsets
    )


@lru_cache(maxsize=4096)
def _astray(said: tiff.Said, shape: tuple[int, int], transform: Affine6, stated: tuple[int, int]) -> bool:
    """Whether a file's corners are elsewhere than its item says."""
    if said.transform is None:
        return said.points
    return astray(said.transform, shape, corners(transform, stated))


def _contradiction(said: tiff.Said, shape: tuple[int, int], asset: Asset) -> str | None:
    """Why a file cannot be read where its item places it; None where it can."""
    if not _astray(said, shape, asset.transform, asset.shape):
        return None
    if said.transform is None:
        return "the file has no grid, only ground control points: the grid that its item states is made up"
    return (
        f"its item places {asset.shape[0]} × {asset.shape[1]} pixels by {list(asset.transform)}, the file itself "
        f"{shape[0]} × {shape[1]} pixels by {list(said.transform)}: take proj:transform and proj:shape out "
        "of the item, and the file's count"
    )


def _meaning(said: tiff.Said, asset: Asset, band: Band, masked: bool) -> tuple[float | None, float, float]:
    """Nodata, scale and offset: the item's, else the band's, else the file's own. A mask counts more than the file's
    nodata, as in GDAL."""
    number = asset.band - 1
    nodata = asset.nodata if asset.nodata is not None else band.nodata
    scale = asset.scale if asset.scale is not None else band.scale
    offset = asset.offset if asset.offset is not None else band.offset
    if number < len(said.nodata):
        own = said.nodata[number]
        nodata = own if nodata is None and not masked and own is not None and np.isfinite(own) else nodata
        if scale == 1.0 and offset == 0.0:
            scale, offset = said.scales[number], said.offsets[number]
    return nodata, scale, offset


def _nbytes(values: np.ndarray) -> int:
    return values.nbytes


def _check_size(size: int | None, asset: Asset) -> None:
    if asset.size is not None and size is not None and size != asset.size:
        raise ReadError(f"the file has {size} bytes; it had {asset.size} when the chain was published")


def _time(microseconds: int) -> str:
    return str(np.datetime64(microseconds, "us")).replace("T", " ")[:19] + " UTC"


def _block_shape(dataset: Any) -> tuple[int, int]:
    height, width = dataset.block_shapes[0]
    together = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    needed = height * width * np.dtype(dataset.dtypes[0]).itemsize * together
    if needed > _MOST_DECODED:
        raise ReadError(
            f"its blocks of {height} × {width} pixels need {needed / 1e6:.0f} MB each; the most are "
            f"{_MOST_DECODED / 1e6:.0f} MB: write it with smaller tiles, for example as a cloud-optimised GeoTIFF"
        )
    return (_LOGICAL, _LOGICAL) if _is_odd(height, width) else (height, width)


def _is_odd(height: int, width: int) -> bool:
    """Blocks of a shape that is no good to keep."""
    return height < 128 or width < 128 or height * width > 4 << 20


@lru_cache(maxsize=4096)
def _overview(shapes: tuple[tuple[int, int], ...], decimation: float) -> int:
    """The coarsest stored overview that is not coarser than asked."""
    best, ratio = 0, 1.0
    for number, shape in enumerate(shapes):
        stored = max(shapes[0][0] / shape[0], shapes[0][1] / shape[1])
        # Overview sizes are rounded, so 1373 pixels stand for 10980 / 8 = 1372.5; images of a few pixels differ more.
        if round(stored) <= decimation * (1 + 1e-6) and stored > ratio:
            best, ratio = number, stored
    return best


def to_physical(stored: np.ndarray, nodata: float | None, scale: float, offset: float) -> np.ndarray:
    """stored × scale + offset, NaN where missing: float32, or float64 where float32 cannot hold the stored type."""
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        table = physical_table(stored.dtype.str, nodata, scale, offset)
        return table[stored.view(f"u{stored.dtype.itemsize}")]
    wide = np.float32 if stored.dtype == np.float32 else np.float64
    values = stored.astype(np.float64)
    with np.errstate(all="ignore"):
        out = (values * scale + offset).astype(wide)
    missing = missing_range(stored.dtype.str, nodata)
    if missing is not None:
        out[(values >= missing[0]) & (values <= missing[1])] = np.nan
    out[~np.isfinite(out)] = np.nan
    return out


_CLOSE = 2.0**-21
"""Two floats that differ by less, relative to themselves, are the same to GDAL: 4 steps of single precision."""


@lru_cache(maxsize=256)
def missing_range(dtype: str, nodata: float | None) -> tuple[float, float] | None:
    """First and last stored value of a type that mean missing; None where none does.

    A nodata value that the type cannot hold means none (−9999 in bytes, 0.1 in integers). Floats are compared as GDAL
    does, because nodata values are written as texts of few digits; the largest numbers of a type are one (−3.4e38).

    >>> missing_range("<u2", 65535.0), missing_range("|u1", -9999.0)
    ((65535.0, 65535.0), None)
    """
    kind = np.dtype(dtype)
    if nodata is None or not np.isfinite(nodata):  # what is not finite is missing anyway
        return None
    if kind.kind in "iu":
        # In double precision, as physical values are: integers of 64 bits beyond 2^53 are not told apart.
        holds = nodata == int(nodata) and float(np.iinfo(kind).min) <= nodata <= float(np.iinfo(kind).max)
        return (float(nodata), float(nodata)) if holds else None
    most = float(np.finfo(kind).max)
    size = abs(float(nodata))
    if size > most * (1 + _CLOSE):
        return None
    if size > most / 2:
        low, high = most / 2, most
    else:
        low, high = size * (1 - _CLOSE), size * (1 + _CLOSE)
    return (low, high) if nodata >= 0 else (-high, -low)


@lru_cache(maxsize=256)
def physical_table(dtype: str, nodata: float | None, scale: float, offset: float) -> np.ndarray:
    """Physical value of every possible stored value: exact, and one look-up a pixel."""
    kind = np.dtype(dtype)
    raw = np.arange(2 ** (8 * kind.itemsize), dtype=f"u{kind.itemsize}").view(kind).astype(np.float64)
    with np.errstate(all="ignore"):
        values = (raw * scale + offset).astype(np.float32)
    missing = missing_range(dtype, nodata)
    if missing is not None:
        values[raw == missing[0]] = np.nan
    values.setflags(write=False)
    return values
