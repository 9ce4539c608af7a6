"""What a raster file says of itself: read from its header, without its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from muses_lab.errors import ReadError
from muses_lab.products.described import finite
from muses_lab.scenes import OverviewMethod
from muses_lab.settings import driver_of

_METHODS: dict[str, OverviewMethod] = {"NEAREST": "nearest", "AVERAGE": "average", "MODE": "mode"}


@dataclass(frozen=True)
class Header:
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str | None, ...]
    size: int
    """Bytes of the file."""
    overviews: OverviewMethod | None
    """How the overviews were made, where the file says so."""
    tags: dict[str, str]


def read_header(path: str | Path) -> Header:
    """The header of a local GeoTIFF or JPEG 2000; `ReadError` where it has none or no place on Earth."""
    try:
        with rasterio.open(path, driver=driver_of(path)) as source:
            if source.crs is None:
                raise ReadError(f"{path} has no coordinate reference system: it cannot be placed on a map")
            tags = source.tags() | source.tags(ns="IMAGERY")
            return Header(
                crs=crs_name(source.crs),
                transform=tuple(source.transform)[:6],
                shape=source.shape,
                dtypes=tuple(source.dtypes),
                nodata=tuple(finite(value) for value in source.nodatavals),
                scales=tuple(source.scales),
                offsets=tuple(source.offsets),
                descriptions=tuple(source.descriptions),
                size=Path(path).stat().st_size,
                overviews=_METHODS.get(tags.get("OVR_RESAMPLING_ALG", "").upper()) if source.overviews(1) else None,
                tags=tags,
            )
    except (RasterioError, OSError) as error:
        raise ReadError(f"{path} cannot be read: {error}") from None


def crs_name(crs: CRS) -> str:
    """`EPSG:32631` where the system has such a name, else its WKT.

    >>> crs_name(CRS.from_epsg(32631))
    'EPSG:32631'
    """
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.to_wkt()
