"""Decoding: every block of a file once, kept by (file, band, overview, block), and windows put together from them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio.errors import RasterioError
from rasterio.windows import Window

from muses_lab.errors import Cancelled, ReadError
from muses_lab.raster import tiff
from muses_lab.raster.byte_ranges import ByteRange, ByteRanges, Opened, Replaced
from muses_lab.raster.gdal import reason
from muses_lab.raster.opening import MASK, File, Files, Header
from muses_lab.raster.placement import FileWindow
from muses_lab.resources import rates
from muses_lab.resources.cache import Cache


@dataclass
class Counters:
    """What was done since the process began; asserted by tests instead of seconds."""

    blocks_decoded: int = 0
    bytes_decoded: int = 0
    evaluations: int = 0


class Blocks:
    """Decoded blocks of files, through one cache; thread-safe."""

    def __init__(
        self, cache: Cache, files: Files, remote: ByteRanges, counters: Counters,
        empty: Callable[[tuple[int, ...], Any], np.ndarray],
    ) -> None:  # fmt: skip
        self._cache, self._files, self._remote = cache, files, remote
        self._counters, self._empty = counters, empty
        self.log: list[tuple[str, int, int, int, int]] | None = None
        """When set to a list, every decoded block is noted there: (path, band, overview, row, column)."""
        self._lock = threading.Lock()

    def window(
        self, file: File, opened: Opened | None, band: int, place: FileWindow, rows: tuple[int, int],
        cancelled: Callable[[], bool] | None, once: bool = False,
    ) -> np.ndarray:  # fmt: skip
        """Stored values of a window of an overview, put together from its decoded blocks.

        `once`: those that lie within it are not kept.
        """
        height, width = place.header.blocks[place.overview]
        last_row, last_col = place.header.shapes[place.overview]
        rows, cols = place.stored(rows)
        parts = []
        for row in range(rows[0] // height, (rows[1] - 1) // height + 1):
            line = []
            for col in range(cols[0] // width, (cols[1] - 1) // width + 1):
                if cancelled is not None and cancelled():
                    raise Cancelled("nobody waits for this block any more")
                r0, c0 = row * height, col * width
                ends = min(r0 + height, last_row), min(c0 + width, last_col)
                within = rows[0] <= r0 and ends[0] <= rows[1] and cols[0] <= c0 and ends[1] <= cols[1]
                keep = not (once and within)
                block = self._block(file, opened, band, place.header, place.overview, row, col, cancelled, keep)
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
        cancelled: Callable[[], bool] | None, keep: bool,
    ) -> np.ndarray:  # fmt: skip
        key = ("file", file, band, overview, row, col)

        def decode() -> np.ndarray:
            start = time.perf_counter()
            try:
                if header.images is not None:
                    read = self._files.bytes_of(file)
                    if opened is not None:
                        read = self._bytes_ahead(key, opened, cancelled)
                    values = _decode(*header.image(overview, band), read, row, col, self._empty)
                else:
                    values = self._by_gdal(file, opened, band, header, overview, row, col)
            except Replaced:
                assert opened is not None
                self._remote.forget(opened)
                raise
            except (RasterioError, IndexError, OSError, ValueError) as error:
                raise ReadError(f"block ({row}, {col}) of band {band} cannot be read: {reason(error)}") from None
            rates.record_decode(values.nbytes, time.perf_counter() - start)
            with self._lock:
                self._counters.blocks_decoded += 1
                self._counters.bytes_decoded += values.nbytes
                if self.log is not None:
                    self.log.append((file.path, band, overview, row, col))
            values.setflags(write=False)
            return values

        return self._cache.get_or_compute(key, decode, _nbytes, lambda _: keep)

    def _bytes_ahead(self, key: Hashable, opened: Opened, cancelled: Callable[[], bool] | None) -> tiff.ReadFunction:
        """How to read a block of a remote file: what was asked for ahead, or now."""
        return lambda offset, size: self._remote.take(ByteRange(key, opened, offset, size), cancelled)

    def _by_gdal(
        self, file: File, opened: Opened | None, band: int, header: Header, overview: int, row: int, col: int
    ) -> np.ndarray:
        height, width = header.blocks[overview]
        rows, cols = header.shapes[overview]
        window = Window(col * width, row * height, min(width, cols - col * width), min(height, rows - row * height))
        with self._files.dataset(file, opened, overview) as dataset:
            if band <= MASK:
                return dataset.read_masks(max(-band, 1), window=window)
            out = self._empty((window.height, window.width), dataset.dtypes[band - 1])
            return dataset.read(band, window=window, out=out)


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


def _nbytes(values: np.ndarray) -> int:
    return values.nbytes
