"""What a raster file says of itself, and the files beside it say of it: read without its pixels."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from muses_lab.crs import crs_name
from muses_lab.errors import CrsError, ReadError
from muses_lab.raster.asset import OverviewMethod
from muses_lab.raster.contained import Source
from muses_lab.raster.files import LocalFile
from muses_lab.raster.gdal import PIECE, environment, open_source, reason
from muses_lab.raster.sidecars import NOTHING, Affine6, SaidOfBand, Sidecars, read_sidecars

_MASKED = {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha}
"""None of these: a mask."""
_NO_NAME = re.compile(r"(?:alpha|opacity|(?:band|b|layer|channel)?[ _-]?0*(\d*))", re.IGNORECASE)
_METHODS: dict[str, OverviewMethod] = {"NEAREST": "nearest", "AVERAGE": "average", "MODE": "mode"}

_NOWHERE: Affine6 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""GDAL's transform of files that have none."""


@dataclass(frozen=True)
class RasterInfo:
    """What is known of a raster file before its pixels are read."""

    crs: str
    """`EPSG:32631` where the system has such a name, else its WKT; empty where the file says nothing of its place."""
    transform: Affine6
    """Affine a, b, c, d, e, f from (column, row) to the CRS."""
    shape: tuple[int, int]
    """Rows, columns."""
    dtypes: tuple[str, ...]
    """Of each band; so are the next eight."""
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str | None, ...]
    masked: tuple[bool, ...]
    """Whether a mask inside the file says where the band is valid; its nodata value does not count then."""
    alpha: tuple[bool, ...]
    """Whether the band holds opacity and no data. One with a name of its own is data, whatever the file calls it."""
    opaque: bool
    """Whether a band that the file calls opacity is data: GDAL calls the fourth of four bands of bytes so unasked."""
    categorical: tuple[bool, ...]
    """Whether the band has a colour table or names of classes."""
    size: int
    """Bytes of the file."""
    overviews: OverviewMethod | None
    """How the overviews were made, where the file says so."""
    tags: dict[str, str]
    """The file's own metadata."""

    @property
    def is_placed(self) -> bool:
        return bool(self.crs) and self.transform != _NOWHERE


def read_header(path: str | Path, placed: bool = True, allows: Callable[[str], bool] | None = None) -> RasterInfo:
    """The header of a local GeoTIFF or JPEG 2000, with what the files beside it say.

    ```python
    read_header("S2A_31TCJ_20180412_B04.jp2").transform
    ```

    Parameters
    ----------
    path
        The file.
    placed
        Whether a file that does not say where on Earth it is is refused.
    allows
        As that of `files.LocalFile.open`: whether a file may be read that is really there.

    Raises
    ------
    ReadError
        The file cannot be read, holds complex numbers, or nothing says where on Earth it is.
    AccessDenied
        It is a link to somewhere else by now.
    """
    try:
        with LocalFile.open(os.fspath(path), allows) as file:
            header = header_of(file, os.fspath(path), PIECE, read_sidecars(file.path))
        if placed and not header.crs:
            raise ReadError("it has no coordinate reference system: it cannot be placed on a map")
        return header
    except (ReadError, OSError) as error:
        raise ReadError(f"{path} cannot be read: {error}") from None


def header_of(source: Source, name: str, piece: int, beside: Sidecars = NOTHING) -> RasterInfo:
    """The header of a file by its bytes.

    Parameters
    ----------
    source, name, piece
        As those of `gdal.open_source`.
    beside
        What the files beside it say; one on a server has none.

    Raises
    ------
    ReadError
        The file cannot be read, or holds complex numbers.
    """
    failures: list[ReadError] = []
    with environment():
        try:
            with open_source(source, name, failures=failures, piece=piece) as dataset:
                return _header(dataset, beside, source.size)
        except CrsError as error:
            raise ReadError(str(error)) from None
        except RasterioError as error:
            raise failures[0] if failures else ReadError(reason(error)) from None


def _header(source: Any, beside: Sidecars, size: int) -> RasterInfo:
    tags = source.tags() | source.tags(ns="IMAGERY") | beside.tags
    numbers = range(1, source.count + 1)
    if odd := [dtype for dtype in source.dtypes if dtype.startswith("complex")]:
        raise ReadError(
            f"its pixels are complex numbers ({odd[0]}), with which nothing is computed here; "
            "write their amplitude or intensity to a file of its own"
        )
    if source.gcps[0] and beside.transform is None:
        raise ReadError(
            f"it has no grid, only {len(source.gcps[0])} ground control points: bring it to one first, for example "
            "with `gdalwarp -t_srs EPSG:32631 -r bilinear in.tif out.tif`, terrain-corrected where heights count"
        )
    masked = tuple(beside.mask or _MASKED.isdisjoint(flags) for flags in source.mask_flag_enums)
    said = [beside.bands.get(n, SaidOfBand()) for n in numbers]
    descriptions = tuple(_first(s.description, own) for s, own in zip(said, source.descriptions, strict=True))
    opacity = [kind == ColorInterp.alpha for kind in source.colorinterp]
    return RasterInfo(
        crs=_crs(source, beside),
        transform=_transform(source, beside),
        shape=source.shape,
        dtypes=tuple(source.dtypes),
        nodata=tuple(_finite(_first(s.nodata, own)) for s, own in zip(said, source.nodatavals, strict=True)),
        scales=tuple(_first(s.scale, own) for s, own in zip(said, source.scales, strict=True)),
        offsets=tuple(_first(s.offset, own) for s, own in zip(said, source.offsets, strict=True)),
        descriptions=descriptions,
        masked=masked,
        alpha=tuple(o and not is_name(d, n) for n, o, d in zip(numbers, opacity, descriptions, strict=True)),
        opaque=any(o and is_name(d, n) for n, o, d in zip(numbers, opacity, descriptions, strict=True)),
        categorical=tuple(
            s.categorical or kind == ColorInterp.palette for s, kind in zip(said, source.colorinterp, strict=True)
        ),
        size=size,
        overviews=_METHODS.get(tags.get("OVR_RESAMPLING_ALG", "").upper()) if source.overviews(1) else None,
        tags=tags,
    )


def is_name(text: str | None, number: int) -> bool:
    """Whether the name of a band says what it holds: not `Band 4` of the fourth, not `alpha`.

    >>> is_name("nir", 4), is_name("B08", 4), is_name("Band 4", 4), is_name("alpha", 4), is_name(None, 4)
    (True, True, False, False, False)
    """
    plain = _NO_NAME.fullmatch((text or "").strip())
    return plain is None or plain[1] not in (None, "", str(number))


def _crs(source: Any, beside: Sidecars) -> str:
    written = beside.crs or (source.crs.to_wkt() if source.crs else None)
    return crs_name(written) if written else ""


def _transform(source: Any, beside: Sidecars) -> Affine6:
    own = source.transform
    if beside.transform is not None:
        own = Affine(*beside.transform)
    elif own == Affine.identity() and beside.world is not None:
        own = Affine(*beside.world)
    a, b, c, d, e, f = tuple(own)[:6]
    return a, b, c, d, e, f


def _first(said: Any, own: Any) -> Any:
    return own if said is None else said


def _finite(value: float | None) -> float | None:
    """A nodata value; not NaN or infinity, which mark what is missing in floats anyway."""
    return value if value is not None and math.isfinite(value) else None
