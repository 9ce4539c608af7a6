"""Opening: a file as it is now, whether it is the one that was published, and what its header tells."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from rasterio.enums import ColorInterp, Interleaving, MaskFlags

from muses_lab.errors import ReadError
from muses_lab.raster import checksum, http, tiff
from muses_lab.raster.access import may_read, resolve_href
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.byte_ranges import PIECE as REMOTE_PIECE
from muses_lab.raster.byte_ranges import ByteRanges, Opened, RemoteSource
from muses_lab.raster.dataset_pool import Closing, Datasets
from muses_lab.raster.files import LocalFile, Stamp
from muses_lab.raster.gdal import PIECE as LOCAL_PIECE
from muses_lab.raster.gdal import driver_of
from muses_lab.raster.orientation import astray, corners
from muses_lab.raster.sidecars import Affine6
from muses_lab.resources.cache import Cache

_MAX_OPEN = 64
"""Files that stay open; each takes about a megabyte that nobody counts."""
_MAX_HANDLES = 128
"""Files whose bytes are read without GDAL that stay open: opening each for each block takes 6 % of a cold W1."""
_MOST_DECODED = 256 << 20
"""Bytes that GDAL may need to decode a block, all its bands: a file of a few kilobytes may claim gigabytes."""
_SECONDS_TO_FIND = 1e-4
_LOGICAL = 512
"""Rows and columns of a block where the file itself is stored in strips or odd tiles."""
MASK = 0
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
    """What says where each band is valid (not 0): a band that holds opacity, a mask (`MASK`), None: nothing does."""
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

    def valid_by(self, asset: Asset) -> int | None:
        """`valid` of an asset's band."""
        valid = self.valid[asset.band - 1]
        return None if asset.opaque and valid is not None and valid > MASK else valid

    def image(self, overview: int, band: int) -> tuple[tiff.Image, int]:
        """The image that holds a band or mask, and its number there."""
        assert self.images is not None
        image = self.images[overview]
        if band > 0:
            return image, band
        assert image.mask is not None
        return image.mask, 1


class Files:
    """Files as they are now, and their headers, through one cache; thread-safe."""

    def __init__(self, cache: Cache, remote: ByteRanges) -> None:
        self._cache, self.remote = cache, remote
        self._datasets = Datasets(_MAX_OPEN)
        self._handles = lru_cache(maxsize=_MAX_HANDLES)(open_local)  # they close where nobody uses them any more

    def find(self, catalog: str, asset: Asset, cancelled: Callable[[], bool] | None) -> tuple[File, Opened | None]:
        """The file behind an asset as it is now; `ReadError` where it is not there or not what was published."""
        path = resolve_href(catalog, asset.href, http.addresses)
        if "://" in path:
            opened = self.remote.open(path, cancelled)
            _check_size(opened.size, asset)
            return File(path, opened.stamp), opened
        return self._local(catalog, path, asset, cancelled), None

    def _local(self, catalog: str, path: str, asset: Asset, cancelled: Callable[[], bool] | None) -> File:
        """A file of this machine. One that has its stamp still is where it was found: 8 % of a cold W1."""
        stamp = Stamp.at(path)
        key = ("place", catalog, path, stamp)
        place = None if stamp is None else self._cache.get(key)
        if stamp is not None and place is not None and _is_dated(stamp, asset):
            _check_size(stamp.size, asset)
            return File(place, stamp)
        with LocalFile.open(path, partial(may_read, catalog)) as found:
            _check_size(found.size, asset)
            file = File(found.path, found.stamp)
            if not _is_dated(found.stamp, asset):
                self._check_content(file, found, asset, cancelled)
            if stamp == found.stamp:
                self._cache.put(key, file.path, 256 + len(path) + len(file.path), _SECONDS_TO_FIND)
            return file

    def _check_content(self, file: File, found: LocalFile, asset: Asset, cancelled: Callable[[], bool] | None) -> None:
        """A file with another time is the one that was published where its checksum says so: a copy of it."""

        def matches() -> bool:
            return asset.checksum is not None and checksum.matches(asset.checksum, found, cancelled) is True

        if not self._cache.get_or_compute(("checksum", file, asset.checksum), matches, lambda _: 64):
            assert asset.modified is not None
            raise ReadError(
                f"the file was changed: it is of {_time(found.stamp.modified // 1000)}, that of the published chain of "
                f"{_time(asset.modified)}; make the chain anew to use the new one"
            )

    def header(self, file: File, opened: Opened | None) -> Header:
        key = ("header", file)
        return self._cache.get(key) or self._cache.get_or_compute(
            key,
            lambda: plain_header(file, self._images(file, opened)) or self._gdal_header(file, opened),
            lambda header: header.nbytes,
        )

    def _images(self, file: File, opened: Opened | None) -> tuple[tiff.Image, ...] | None:
        """Of a TIFF; None for what GDAL must read."""
        if opened is not None:
            return opened.images
        if driver_of(file.path) != "GTiff":
            return None
        try:
            return tiff.images(self.bytes_of(file))
        except (tiff.Unusual, OSError, ValueError, struct.error, OverflowError):
            return None  # GDAL says what is wrong with it

    def _gdal_header(self, file: File, opened: Opened | None) -> Header:
        with self.dataset(file, opened, 0) as dataset:
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
            with self.dataset(file, opened, number) as dataset:
                # An overview without its mask cannot stand in: told as large as the file, it never does.
                shapes.append(dataset.shape if _valid(dataset) == valid else shapes[0])
                blocks.append(_block_shape(dataset) if tiled else (_LOGICAL, _LOGICAL))
        return Header(count, tuple(shapes), tuple(blocks), valid, palette, said=said, halved=halved)

    def dataset(self, file: File, opened: Opened | None, overview: int) -> AbstractContextManager[Any]:
        """An open dataset for this thread alone."""

        def source() -> Closing:
            return open_local(file) if opened is None else RemoteSource(self.remote, opened)

        piece = LOCAL_PIECE if opened is None else REMOTE_PIECE
        return self._datasets.use((file, overview), file.path, overview, source, piece)

    def bytes_of(self, file: File) -> tiff.ReadFunction:
        """How to read a local file; `ReadError` where it is not what it was when it was found."""

        def read(offset: int, size: int) -> bytes:
            found = self._handles(file)
            stored = found.read(offset, size)
            if not found.is_unchanged():
                raise ReadError("the file was changed while it was read")
            return stored

        return read

    def close(self) -> None:
        self._datasets.close()
        self._handles.cache_clear()


def open_local(file: File) -> LocalFile:
    """A local file, as it was when it was found: its stamp says that it is no other one; `ReadError` otherwise."""
    found = LocalFile.open(file.path)
    if found.stamp != file.stamp:
        found.close()
        raise ReadError("the file was changed while it was read")
    return found


def plain_header(file: File, images: tuple[tiff.Image, ...] | None) -> Header | None:
    """The header of a tiled TIFF; None for what GDAL must read."""
    if driver_of(file.path) != "GTiff":
        return None
    if images is None or any(_is_odd(*i.block) for i in images):
        return None
    first = images[0]
    mask = first.alpha if first.mask is None else MASK
    return Header(
        first.bands, tuple(i.shape for i in images), tuple(i.block for i in images),
        tuple(mask if band != mask else None for band in range(1, first.bands + 1)), first.palette, images, first.said,
    )  # fmt: skip


def _valid(dataset: Any) -> tuple[int | None, ...]:
    """`Header.valid` of what GDAL reads."""
    opacity = next((n for n, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha), None)

    def of(band: int, flags: Sequence[MaskFlags]) -> int | None:
        if not {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha}.intersection(flags):
            return MASK if MaskFlags.per_dataset in flags else -band
        return opacity if band != opacity else None

    return tuple(of(band, flags) for band, flags in enumerate(dataset.mask_flag_enums, 1))


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


def contradiction(said: tiff.Said, shape: tuple[int, int], asset: Asset) -> str | None:
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


def meaning(said: tiff.Said, asset: Asset, band: Band, masked: bool) -> tuple[float | None, float, float]:
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


def _is_dated(stamp: Stamp, asset: Asset) -> bool:
    """Whether a file has the time that it had when it was published, or none was published."""
    return asset.modified is None or asset.modified == stamp.modified // 1000


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
