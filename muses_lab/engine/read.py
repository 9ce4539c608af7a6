"""Reading: blocks of files decoded once, and the pixels of a level made from them.

A stored overview stands in for its level. What is coarser than the coarsest usable overview is averaged (classes and
bit fields: decimated). Every block is decoded once and kept by (file, band, overview, block).
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import rasterio
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError
from rasterio.windows import Window

from muses_lab import remote
from muses_lab.engine import throughput, tiff
from muses_lab.engine.ahead import Ahead, Asking, Opened, RangeFile, Replaced, Want
from muses_lab.engine.axis import Axis, resample
from muses_lab.engine.cache import Cache
from muses_lab.engine.grid import Grid, Rect
from muses_lab.errors import Cancelled, MusesError, ReadError
from muses_lab.scenes import Asset, Band, OverviewMethod
from muses_lab.settings import driver_of, resolve_href

_GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_NUM_THREADS": "1",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
}
# GDAL's own cache is one for the process, and by itself takes a twentieth of the machine's memory. An `Env` sets it for
# all threads until one of them leaves it, so it is set where GDAL looks first, once.
os.environ.setdefault("GDAL_CACHEMAX", "64")

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


class File(NamedTuple):
    """A file as it is now: what is kept of it is not asked for any more once it has been replaced or repaired."""

    path: str
    stamp: tuple[Hashable, ...]
    """Size and time of its last change; on a server size and tag, as far as it says them."""


@dataclass(frozen=True)
class Header:
    """What is known of a file after opening it: its pyramid."""

    count: int
    """Bands."""
    shapes: tuple[tuple[int, int], ...]
    """(rows, columns) of full resolution and each overview, finest first."""
    blocks: tuple[tuple[int, int], ...]
    """(rows, columns) of a block of each."""
    images: tuple[tiff.Image, ...] | None = None
    """Where the blocks are in the file; None where GDAL reads it."""

    @property
    def nbytes(self) -> int:
        return 512 + sum(i.offsets.nbytes + i.counts.nbytes for i in self.images or ())


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


class Piece(NamedTuple):
    """A band of a scene on a rectangle of a level: what is going to be read."""

    catalog: str
    asset: Asset
    band: Band
    grid: Grid
    level: int
    rect: Rect


class _Place(NamedTuple):
    """Where a piece is in its file."""

    header: Header
    overview: int
    rows: Axis
    cols: Axis

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(row, column) of the blocks that hold it."""
        height, width = self.header.blocks[self.overview]
        (r0, r1), (c0, c1) = self.rows.span, self.cols.span
        for row in range(r0 // height, (r1 - 1) // height + 1):
            for col in range(c0 // width, (c1 - 1) // width + 1):
                yield row, col


Read = Callable[..., Stored | None]
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
        self._ahead = Ahead(min(_ON_THE_WAY, cache.budget // 8), use)
        self._idle: OrderedDict[tuple[File, int], list[tuple[Any, list[ReadError]]]] = OrderedDict()

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
        place = _place(self._header(file, opened), asset, band, grid, level, rect)
        if place is None:
            return None
        rows, cols = place.rows, place.cols
        nodata = asset.nodata if asset.nodata is not None else band.nodata
        scale = asset.scale if asset.scale is not None else band.scale
        offset = asset.offset if asset.offset is not None else band.offset

        def window(span: tuple[int, int]) -> np.ndarray:
            return self._window(file, opened, asset.band, place, span, cancelled)

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

    # --------------------------------------------------------------------------------- remote files, ahead

    @property
    def on_the_way(self) -> int:
        """Bytes of remote files that were asked for ahead and not decoded yet."""
        return self._ahead.held

    def asking(self, soon: bool = False) -> Asking:
        """What an evaluation asks for ahead, until it ends: a context manager. `soon`: one that has not begun."""
        return self._ahead.asking(soon)

    def expect(self, asked: Iterable[tuple[Asking, Piece]]) -> None:
        """Asks for the blocks of remote pieces as soon as their headers are known; returns at once."""
        groups: dict[str, list[tuple[Asking, Piece]]] = {}
        for asking, piece in asked:
            url = _url(piece)
            if url is not None:
                groups.setdefault(url, []).append((asking, piece))
        known = []
        for url, group in groups.items():
            opened = self._ahead.when_open(url, partial(self._ask_when_open, group))
            if opened is not None:
                known.append((opened, group))
        self._ask_all(known)

    def _ask_when_open(self, group: Sequence[tuple[Asking, Piece]], opened: Opened) -> None:
        self._ask_all([(opened, group)])

    def _ask_all(self, groups: Sequence[tuple[Opened, Sequence[tuple[Asking, Piece]]]]) -> None:
        """Together, so that neighbours in a file are one request."""
        wanted = []
        for opened, group in groups:
            for asking, piece in group:
                with suppress(ReadError):  # it is told to who reads it
                    wanted.append((asking, () if asking.closed else self._wants(piece, opened)))
        self._ahead.ask(wanted)

    def ask(self, asking: Asking, pieces: Sequence[Piece], cancelled: Callable[[], bool] | None = None) -> int:
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
                wants = self._wants(piece, opened)
            except ReadError:
                continue
            asking.ask(wants)
            number += len(wants)
        return number

    def open(self, pieces: Sequence[Piece]) -> list[str | None]:
        """Asks for the headers of remote pieces, all at once, and does not wait; their URLs."""
        urls = [_url(piece) for piece in pieces]
        for url in urls:
            if url is not None:
                self._ahead.opening(url)
        return urls

    def knows_headers(self, pieces: Sequence[Piece]) -> bool:
        return all(url is None or self._ahead.is_open(url) for url in map(_url, pieces))

    def _wants(self, piece: Piece, opened: Opened) -> list[Want]:
        """A remote piece's blocks that are neither decoded nor GDAL's to read."""
        file = File(opened.url, opened.stamp)
        header = self.cache.get(("header", file)) or _plain_header(file, opened)
        if header is None or header.images is None:
            return []
        place = _place(header, piece.asset, piece.band, piece.grid, piece.level, piece.rect)
        if place is None:
            return []
        wants = []
        for row, col in place.blocks():
            key = ("file", file, piece.asset.band, place.overview, row, col)
            if key not in self.cache:
                want = Want(key, opened, *header.images[place.overview].place(piece.asset.band, row, col))
                if want.size:
                    wants.append(want)
        return wants

    # ---------------------------------------------------------------------------------------------- blocks

    def _file(self, catalog: str, asset: Asset, cancelled: Callable[[], bool] | None) -> tuple[File, Opened | None]:
        """The file behind an asset as it is now; `ReadError` where it is not there or not the one registered."""
        path = resolve_href(catalog, asset.href, remote.addresses)
        if "://" not in path:
            return _local_file(path, asset), None
        opened = self._ahead.open(path, cancelled)
        _check_size(opened.size, asset)
        return File(path, opened.stamp), opened

    def _window(
        self, file: File, opened: Opened | None, band: int, place: _Place, rows: tuple[int, int],
        cancelled: Callable[[], bool] | None,
    ) -> np.ndarray:  # fmt: skip
        """Stored values of a window of an overview, put together from its decoded blocks."""
        height, width = place.header.blocks[place.overview]
        cols = place.cols.span
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
                    values = _decode(header.images[overview], read, band, row, col, self._empty)
                else:
                    values = self._by_gdal(file, opened, band, header, overview, row, col)
            except Replaced:
                assert opened is not None
                self._ahead.forget(opened)
                raise
            except (RasterioError, IndexError, OSError, ValueError) as error:
                raise ReadError(f"block ({row}, {col}) of band {band} cannot be read: {_reason(error)}") from None
            throughput.record_decode(values.nbytes, time.perf_counter() - start)
            with self._lock:
                self.counters.blocks_decoded += 1
                self.counters.bytes_decoded += values.nbytes
                if self.log is not None:
                    self.log.append((file.path, band, overview, row, col))
            values.setflags(write=False)
            return values

        return self.cache.get_or_compute(key, decode, _nbytes)

    def _bytes_ahead(self, key: Hashable, opened: Opened, cancelled: Callable[[], bool] | None) -> tiff.Read:
        """How to read a block of a remote file: what was asked for ahead, or now."""
        return lambda offset, size: self._ahead.take(Want(key, opened, offset, size), cancelled)

    def _by_gdal(
        self, file: File, opened: Opened | None, band: int, header: Header, overview: int, row: int, col: int
    ) -> np.ndarray:
        height, width = header.blocks[overview]
        rows, cols = header.shapes[overview]
        window = Window(col * width, row * height, min(width, cols - col * width), min(height, rows - row * height))
        with self._dataset(file, opened, overview) as dataset:
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
            count, factors = dataset.count, dataset.overviews(1)
            shapes = [dataset.shape]
            blocks = [_block_shape(dataset)]
            tiled = dataset.driver == "GTiff"
        for number in range(1, len(factors) + 1):
            with self._dataset(file, opened, number) as dataset:
                shapes.append(dataset.shape)
                blocks.append(_block_shape(dataset) if tiled else (_LOGICAL, _LOGICAL))
        return Header(count, tuple(shapes), tuple(blocks))

    @contextmanager
    def _dataset(self, file: File, opened: Opened | None, overview: int) -> Iterator[Any]:
        """An open dataset for this thread alone; handles are kept for the next one who needs them."""
        key = (file, overview)
        with self._lock:
            free = self._idle.get(key)
            dataset, failures = free.pop() if free else (None, [])
        with rasterio.Env(**_GDAL):
            try:
                if dataset is None:
                    dataset = self._open_by_gdal(file, opened, overview, failures)
                yield dataset
            except BaseException:
                if dataset is not None:
                    dataset.close()
                if failures:  # what the server said, rather than what GDAL made of it
                    raise failures[0] from None
                raise
        with self._lock:
            self._idle.setdefault(key, []).append((dataset, failures))
            self._idle.move_to_end(key)
            while sum(map(len, self._idle.values())) > _MAX_OPEN:
                _, oldest = self._idle.popitem(last=False)
                for handle, _ in oldest:
                    handle.close()

    def _open_by_gdal(self, file: File, opened: Opened | None, overview: int, failures: list[ReadError]) -> Any:
        options: dict[str, Any] = {"overview_level": overview - 1} if overview else {}
        path = file.path
        if opened is not None:
            path, options["opener"] = _for_gdal(self._ahead, opened, failures)
        try:
            return rasterio.open(path, driver=driver_of(file.path), **options)
        except RasterioError as error:
            raise ReadError(f"the file cannot be opened: {_reason(error)}") from None

    def close(self) -> None:
        with self._lock:
            for handles in self._idle.values():
                for handle, _ in handles:
                    handle.close()
            self._idle.clear()
        self._ahead.close()


class Holding:
    """A reader for the strips of one evaluation: what one of them needs is read for all, and kept as it is stored."""

    def __init__(self, reader: Reader, rect: Rect) -> None:
        self._reader = reader
        self._rect = rect
        self._known: dict[Any, Stored | None] = {}

    def at(self, strip: Rect) -> Read:
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


def _bytes_of(file: File) -> tiff.Read:
    """How to read a local file: opened each time, which costs a hundredth of decoding a block."""

    def read(offset: int, size: int) -> bytes:
        handle = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(handle, size, offset)
        finally:
            os.close(handle)

    return read


def _for_gdal(ahead: Ahead, opened: Opened, failures: list[ReadError]) -> tuple[str, Callable[..., RangeFile]]:
    """A name and an opener by which GDAL reads a remote file through us: by itself it would follow any redirect."""
    if opened.size is None:
        raise ReadError("the server does not say how long the file is")
    name = f"{sha256(opened.url.encode()).hexdigest()}/{os.path.basename(urlsplit(opened.url).path)}"

    def opener(path: str, mode: str = "rb") -> RangeFile:
        if not path.endswith(name):  # files beside it, which are not asked for
            raise FileNotFoundError(path)
        return RangeFile(ahead, opened, failures)

    return name, opener


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
    return Header(images[0].bands, tuple(i.shape for i in images), tuple(i.block for i in images), images)


def _decode(
    image: tiff.Image, read: tiff.Read, band: int, row: int, col: int,
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


def _url(piece: Piece) -> str | None:
    """Where a remote piece is; None for local files and what may not be read."""
    try:
        path = resolve_href(piece.catalog, piece.asset.href, remote.addresses)
    except MusesError:
        return None
    return path if "://" in path else None


def _place(header: Header, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect) -> _Place | None:
    """Where the pixels of a rectangle of a level are in a file; None if outside."""
    if asset.band > header.count:
        raise ReadError(f"the file has {header.count} bands; band {asset.band} was asked for")
    full = header.shapes[0]
    a, _, west, _, e, north = asset.transform
    pixel = grid.pixel(level)
    overview = _overview(header.shapes, pixel / abs(a) * (full[1] / asset.shape[1]), band.categorical, band.overviews)
    shape = header.shapes[overview]
    rows = Axis.make(
        rect.r0, rect.r1, pixel, north - grid.origin[1], True, abs(e) * asset.shape[0] / shape[0],
        shape[0], average=not band.categorical,
    )  # fmt: skip
    cols = Axis.make(
        rect.c0, rect.c1, pixel, west - grid.origin[0], False, a * asset.shape[1] / shape[1],
        shape[1], average=not band.categorical,
    )  # fmt: skip
    return None if rows.empty or cols.empty else _Place(header, overview, rows, cols)


def _nbytes(values: np.ndarray) -> int:
    return values.nbytes


def _local_file(path: str, asset: Asset) -> File:
    try:
        found = os.stat(path)
    except OSError as error:
        raise ReadError(f"the file is not there ({error.strerror})") from None
    _check_size(found.st_size, asset)
    return File(path, (found.st_size, found.st_mtime_ns))


def _check_size(size: int | None, asset: Asset) -> None:
    if asset.size is not None and size is not None and size != asset.size:
        raise ReadError(f"the file has {size} bytes; it had {asset.size} when the chain was published")


def _reason(error: BaseException) -> str:
    """GDAL's own words rather than rasterio's "Read failed. See previous exception for details."."""
    cause = error.__cause__ or error.__context__ or error
    return os.path.basename(str(cause)) if "/" in str(cause) else str(cause)


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
def _overview(
    shapes: tuple[tuple[int, int], ...], decimation: float, categorical: bool, method: OverviewMethod | None
) -> int:
    """The coarsest stored overview that is not coarser than asked."""
    best, ratio = 0, 1.0
    if categorical and method not in ("nearest", "mode"):
        return best
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
    out = (values * scale + offset).astype(wide)
    if nodata is not None and not np.isnan(nodata):
        out[stored == np.asarray(nodata).astype(stored.dtype)] = np.nan
    out[~np.isfinite(out)] = np.nan
    return out


@lru_cache(maxsize=256)
def physical_table(dtype: str, nodata: float | None, scale: float, offset: float) -> np.ndarray:
    """Physical value of every possible stored value: exact, and one look-up a pixel."""
    kind = np.dtype(dtype)
    raw = np.arange(2 ** (8 * kind.itemsize), dtype=f"u{kind.itemsize}").view(kind).astype(np.float64)
    values = (raw * scale + offset).astype(np.float32)
    if nodata is not None:
        values[raw == nodata] = np.nan
    values.setflags(write=False)
    return values
