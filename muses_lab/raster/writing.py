"""Rasters of our own: written here, and read back. Nothing is opened that somebody else has made."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import IO, Any

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio._vsiopener import _opener_registration
from rasterio.errors import RasterioIOError

from muses_lab.raster.gdal import environment


def create_raster(path: str | os.PathLike[str], **profile: Any) -> Any:
    """A new GeoTIFF, as a rasterio dataset to be written within `opening.environment()`."""
    return rasterio.open(path, "w", **{"driver": "GTiff", **profile})


def open_own(path: str | os.PathLike[str], mode: str = "r", **options: Any) -> Any:
    """A GeoTIFF that we wrote, as a rasterio dataset; `options` are those of GDAL's driver."""
    with environment():
        return rasterio.open(path, mode, driver="GTiff", sharing=False, **options)


def copy_raster(
    source: Any,
    target: str | os.PathLike[str],
    driver: str,
    written: Callable[[int], None] | None = None,
    **options: Any,
) -> None:
    """Copies a raster (open, or its path) into a format that is written in one go (COG), with that driver's options.

    `written` is told the bytes that GDAL has written so far. When it raises, the copy ends with that error, as with the
    disk's own: otherwise GDAL neither tells how far it is nor can be stopped. The source must have its overviews then:
    GDAL crashes when it cannot write the files in which it makes them.
    """
    watch = _Watch(written)
    path = os.fspath(target)
    try:
        with nullcontext(path) if written is None else _opener_registration(path, watch.open) as name:
            rasterio.shutil.copy(source, name, driver=driver, **options)
    except (CPLE_BaseError, RasterioIOError, OSError, SystemError) as error:  # rasterio lets GDAL's own through here
        if watch.error is None:
            raise RasterioIOError(str(error)) from error
    if watch.error is not None:
        raise watch.error


class _Watch:
    """The files of one copy, as GDAL opens, writes and reads them."""

    def __init__(self, written: Callable[[int], None] | None) -> None:
        self.error: Exception | None = None
        """What ended the copy."""
        self._written = written
        self._bytes = 0

    def open(self, path: str, mode: str = "rb") -> _File:
        return _File(open(path, mode.replace("t", "").replace("b", "") + "b"), self)

    def write(self, stream: IO[bytes], data: bytes) -> int:
        """Writes the bytes and returns how many: GDAL loses errors that are raised here, but heeds that number.

        A number that is too small ends the copy. What GDAL writes after that is dropped: it would complain each time.
        """
        if self.error is not None:
            return len(data)
        try:
            if self._written is not None:
                self._written(self._bytes)
            self._bytes += len(data)
            return stream.write(data)
        except Exception as error:
            self.error = error
            return 0


class _File:
    """What rasterio asks of a file."""

    def __init__(self, stream: IO[bytes], watch: _Watch) -> None:
        self._stream, self._watch = stream, watch
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell
        self.flush, self.truncate, self.close = stream.flush, stream.truncate, stream.close

    def write(self, data: bytes) -> int:
        return self._watch.write(self._stream, data)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def delete_raster(path: str) -> None:
    """Removes a GeoTIFF, also from memory (`/vsimem/`)."""
    rasterio.shutil.delete(path, driver="GTiff")
