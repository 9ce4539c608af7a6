"""Rasters of our own: written here, and read back. Nothing is opened that somebody else has made."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import IO, Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio._vsiopener import _opener_registration
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile

from muses_lab.raster.gdal import environment


def create_raster(path: str | os.PathLike[str], **profile: Any) -> Any:
    """A new GeoTIFF, as a rasterio dataset to be written within `opening.environment()`."""
    return rasterio.open(path, "w", **{"driver": "GTiff", **profile})


def packed_bytes(values: np.ndarray, **options: Any) -> int:
    """Bytes that (bands, rows, columns) take as a GeoTIFF in memory, with that driver's options."""
    count, height, width = values.shape
    with MemoryFile() as made, environment():
        shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
        with made.open(driver="GTiff", transform=Affine.scale(10, -10), **shape, **options) as file:
            file.write(values)
        return len(made.getbuffer())


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


def write_pyramid(
    path: str | os.PathLike[str],
    layers: Sequence[np.ndarray],
    transform: Affine,
    *,
    within: Sequence[tuple[tuple[int, int], tuple[int, int]]] = (),
    block: int = 512,
    descriptions: Sequence[str | None] = (),
    scales: Sequence[float] = (),
    offsets: Sequence[float] = (),
    colormap: Any = None,
    **profile: Any,
) -> None:
    """Writes a cloud-optimised GeoTIFF whose overviews are given, not made.

    Parameters
    ----------
    path
        The new file.
    layers
        (bands, rows, columns) of full resolution and of each overview, each half as large as the one before.
    transform
        Of full resolution.
    within
        Where the layers are parts of larger ones: for each the (rows, columns) of the whole, and the (row, column) of
        its first pixel there. What is around a part is missing, and blocks of it take no room in the file.
    block
        Rows and columns of a block.
    descriptions, scales, offsets, colormap
        Of the bands, where they have some.
    profile
        `crs`, `nodata`.
    """
    # GDAL takes a file's overviews from its .ovr, and those of the .ovr from .ovr.ovr
    name = f"/vsimem/{uuid.uuid4().hex}.tif"
    with rasterio.Env(GDAL_NUM_THREADS="1", GDAL_DISABLE_READDIR_ON_OPEN=False):
        try:
            for k, layer in enumerate(layers):
                (height, width), (row, col) = within[k] if within else (layer.shape[1:], (0, 0))
                size = {"count": layer.shape[0], "height": height, "width": width, "dtype": layer.dtype}
                kept = {"tiled": True, "blockxsize": block, "blockysize": block, "sparse_ok": bool(within)}
                place = transform @ Affine.scale(2**k)
                with create_raster(name + ".ovr" * k, transform=place, **size, **kept, **profile) as file:
                    file.write(layer, window=((row, row + layer.shape[1]), (col, col + layer.shape[2])))
                    if k == 0:
                        _describe(file, descriptions, scales, offsets, colormap)
            # level 1 and no predictor: of stepped values such as the sample's a predictor makes 6 % more, and higher
            # levels take much longer and gain little
            options: dict[str, Any] = {"compress": "DEFLATE", "level": 1, "overview_compress": "DEFLATE"}
            options |= {"blocksize": block, "overviews": "AUTO" if len(layers) > 1 else "NONE"}
            options |= {"sparse_ok": "YES"} if within else {}
            copy_raster(name, path, driver="COG", bigtiff="IF_SAFER", **options)
        finally:
            for k in reversed(range(len(layers))):
                with suppress(RasterioIOError):
                    delete_raster(name + ".ovr" * k)


def _describe(file: Any, descriptions: Any, scales: Any, offsets: Any, colormap: Any) -> None:
    if any(descriptions):
        file.descriptions = tuple(descriptions)
    if any(scale != 1 for scale in scales):
        file.scales = tuple(scales)
    if any(offset != 0 for offset in offsets):
        file.offsets = tuple(offsets)
    if colormap is not None:
        file.write_colormap(1, colormap)


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
