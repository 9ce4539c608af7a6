"""The limit: the blocks that a view needs, read and decoded, and nothing done with them. In an environment of its own.

By GDAL, by the index of tifffile with imagecodecs (libdeflate), and by async-tiff, each in as many threads as cores;
with headers known beforehand, and with headers read. A view's `seconds` are those of the fastest with headers known.
Of files in strips, which async-tiff does not read, each strip under a block is decoded once.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ |= {"GDAL_CACHEMAX": "0", "GDAL_NUM_THREADS": "1", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

import numpy as np  # noqa: E402
import rasterio  # noqa: E402
from rasterio.windows import Window  # noqa: E402

try:  # what is not there is left out
    import imagecodecs
    import tifffile
except ImportError:
    imagecodecs = None
try:
    import async_tiff
    from async_tiff.store import LocalStore
except ImportError:
    async_tiff = None

from benchmarks.needs import BLOCK, Need, needs  # noqa: E402
from benchmarks.peers.contestant import View  # noqa: E402
from benchmarks.protocol import serve  # noqa: E402

THREADS = os.cpu_count() or 1
_POOL = ThreadPoolExecutor(THREADS)


class Gdal:
    """rasterio; a handle for each thread, file and overview, and no block cache."""

    def __init__(self) -> None:
        self._handles: dict[tuple[int, str, int], Any] = {}

    def known(self, wanted: Sequence[Need]) -> None:
        both = threading.Barrier(THREADS)

        def here(_: int) -> None:
            both.wait()  # so that each thread does this once
            for need in wanted:
                self._open(need)

        list(_POOL.map(here, range(THREADS)))

    def read(self, wanted: Sequence[Need]) -> None:
        list(_POOL.map(self._read, wanted))

    def forget(self) -> None:
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()

    def _open(self, need: Need) -> Any:
        key = (threading.get_ident(), need.path, need.factor)
        if key not in self._handles:
            self._handles[key] = _opened(need.path, need.factor)
        return self._handles[key]

    def _read(self, need: Need) -> None:
        handle = self._open(need)
        if _is_striped(need.path, need.factor):
            for row in sorted({row for row, _ in need.blocks}):
                height = min(BLOCK, handle.height - row * BLOCK)
                handle.read(1, window=Window(0, row * BLOCK, handle.width, height))
            return
        for row, col in need.blocks:
            height, width = min(BLOCK, handle.height - row * BLOCK), min(BLOCK, handle.width - col * BLOCK)
            handle.read(
                1,
                window=Window(col * BLOCK, row * BLOCK, width, height),
                out=_buffer(handle.dtypes[0])[:height, :width],
            )


def _opened(path: str, factor: int) -> Any:
    return rasterio.open(path, **({"overview_level": factor.bit_length() - 2} if factor > 1 else {}))


@lru_cache(maxsize=4096)
def _is_striped(path: str, factor: int) -> bool:
    with _opened(path, factor) as file:
        height, width = file.block_shapes[0]
        return height < BLOCK and width == file.width


class Imagecodecs:
    """The block index that tifffile finds, `pread`, libdeflate, and the sums that undo the predictor."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[int, list[Any]]] = {}
        self._index: dict[tuple[str, int], Any] = {}

    def known(self, wanted: Sequence[Need]) -> None:
        for need in wanted:
            self._page(need)

    def read(self, wanted: Sequence[Need]) -> None:
        list(_POOL.map(self._read, wanted))

    def forget(self) -> None:
        for fd, _ in self._files.values():
            os.close(fd)
        self._files.clear()
        self._index.clear()

    def _page(self, need: Need) -> tuple[int, Any]:
        key = (need.path, need.factor)
        if key not in self._index:
            if need.path not in self._files:
                with tifffile.TiffFile(need.path) as file:
                    self._files[need.path] = (os.open(need.path, os.O_RDONLY), list(file.pages))
            fd, pages = self._files[need.path]
            page = next(p for p in pages if round(pages[0].imagewidth / p.imagewidth) == need.factor)
            assert page.compression == 8 and (not page.is_tiled or page.tilewidth == page.tilelength == BLOCK)
            self._index[key] = (fd, page)
        return self._index[key]

    def _read(self, need: Need) -> None:
        fd, page = self._page(need)
        if page.is_tiled:
            across = -(-page.imagewidth // BLOCK)
            for row, col in need.blocks:
                self._decode(fd, page, row * across + col, _buffer(page.dtype.str))
            return
        rows = page.rowsperstrip
        strips = {
            strip
            for row, _ in need.blocks
            for strip in range(row * BLOCK // rows, -(-min((row + 1) * BLOCK, page.imagelength) // rows))
        }
        for strip in sorted(strips):
            height = min(rows, page.imagelength - strip * rows)
            self._decode(fd, page, strip, np.empty((height, page.imagewidth), page.dtype))

    def _decode(self, fd: int, page: Any, number: int, block: np.ndarray) -> None:
        read = os.pread(fd, page.databytecounts[number], page.dataoffsets[number])
        imagecodecs.deflate_decode(read, out=block.reshape(-1).view(np.uint8))
        if page.predictor == 2:
            imagecodecs.delta_decode(block, axis=-1, out=block)


class AsyncTiff:
    """async-tiff: reading and decoding in Rust."""

    def __init__(self) -> None:
        self._files: dict[str, Any] = {}
        self._pool = async_tiff.ThreadPool(THREADS)
        self._store = LocalStore()
        self._loop = asyncio.new_event_loop()

    def known(self, wanted: Sequence[Need]) -> None:
        self._loop.run_until_complete(self._open_all(wanted))

    def read(self, wanted: Sequence[Need]) -> None:
        self._loop.run_until_complete(self._read_all(wanted))

    def forget(self) -> None:
        self._files.clear()

    async def _open_all(self, wanted: Sequence[Need]) -> None:
        paths = [path for path in {need.path for need in wanted} if path not in self._files]
        opened = await asyncio.gather(*(async_tiff.TIFF.open(path.lstrip("/"), store=self._store) for path in paths))
        self._files.update(zip(paths, opened, strict=True))

    async def _read_all(self, wanted: Sequence[Need]) -> None:
        await self._open_all(wanted)
        await asyncio.gather(*map(self._read, wanted))

    async def _read(self, need: Need) -> None:
        file = self._files[need.path]
        widths = [ifd.image_width for ifd in file.ifds]
        number = next(n for n, width in enumerate(widths) if round(widths[0] / width) == need.factor)
        tiles = await file.fetch_tiles([(col, row) for row, col in need.blocks], number)
        await asyncio.gather(*(tile.decode(pool=self._pool) for tile in tiles))


_local = threading.local()


def _buffer(dtype: str) -> np.ndarray:
    """The next of 64 MiB of buffers of this thread: pages that are there already, but not in the processor's caches."""
    if not hasattr(_local, "buffers"):
        _local.buffers, _local.next = {}, 0
    kept = _local.buffers.setdefault(dtype, np.zeros((128, BLOCK, BLOCK), dtype))
    _local.next = (_local.next + 1) % len(kept)
    return kept[_local.next]


class Limit:
    name = "limit"
    version = ", ".join(
        f"{name} {version}"
        for name, version in (
            ("GDAL", rasterio.__gdal_version__),
            ("imagecodecs", imagecodecs and imagecodecs.__version__),
            ("async-tiff", async_tiff and async_tiff.__version__),
        )
        if version
    )

    def __init__(self) -> None:
        self.methods: dict[str, Any] = {"GDAL": Gdal()}
        if imagecodecs is not None:
            self.methods["imagecodecs"] = Imagecodecs()
        if async_tiff is not None:
            self.methods["async-tiff"] = AsyncTiff()
        self._folder = Path()
        self._items: list[dict[str, Any]] = []

    def open(self, folder: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
        self._folder, self._items = folder, items
        return {}

    def forget(self) -> None:
        for method in self.methods.values():
            method.forget()

    def view(self, view: View) -> dict[str, Any]:
        wanted = list(needs(view, self._items, self._folder))
        striped = any(_is_striped(need.path, need.factor) for need in wanted)
        seconds, used, with_headers = {}, {}, {}
        for name, method in self.methods.items():
            if striped and name == "async-tiff":
                continue
            method.forget()
            with_headers[name], _ = _seconds(method.read, wanted)
            method.known(wanted)
            seconds[name], used[name] = _seconds(method.read, wanted)
        fastest = min(seconds, key=seconds.__getitem__)
        return {
            "seconds": seconds[fastest],
            "mean": None,
            "valid": None,
            "counters": {
                "blocks": sum(len(need.blocks) for need in wanted),
                "pixels": sum(need.pixels for need in wanted),
                "cpu_seconds": used[fastest],
                "seconds": seconds,
                "seconds_with_headers": with_headers,
            },
        }


def _seconds(call: Callable[[Sequence[Need]], None], wanted: Sequence[Need]) -> tuple[float, float]:
    """On the wall, and of the processor."""
    start, used = time.perf_counter(), time.process_time()
    call(wanted)
    return time.perf_counter() - start, time.process_time() - used


if __name__ == "__main__":
    serve(Limit())
