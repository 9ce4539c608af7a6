"""What STAC metadata say of an asset's bands: one reading for `eo:bands`/`raster:bands` (1.0) and `bands` (1.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from muses_lab.products.known import Profile

_RASTER_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2")
_NOT_DATA = {"visual", "overview", "thumbnail", "metadata"}
_DATA_FIELDS = ("eo:bands", "raster:bands", "bands", "proj:shape", "proj:transform", "muses:band")


@dataclass(frozen=True)
class Described:
    """One band of one asset, as far as its metadata go; None is "not said"."""

    name: str
    index: int
    """1-based band of the file."""
    common_name: str | None = None
    resolution: float | None = None
    dtype: str | None = None
    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None
    categorical: bool | None = None
    overviews: Any = None


def is_data(key: str, asset: dict[str, Any], profile: Profile | None) -> bool:
    """Whether an asset holds pixels to compute with: not a preview, metadata, or a copy of another asset."""
    if profile is not None:
        if profile.band(key) is not None:
            return True
        if profile.is_variant(key):
            return False
    roles = set(asset.get("roles") or ())
    if roles & _NOT_DATA:
        return False
    media = str(asset.get("type") or "").lower()
    if media and not media.startswith(_RASTER_TYPES):
        return False
    return bool(media) or "data" in roles or any(field in asset for field in _DATA_FIELDS)


def described(key: str, asset: dict[str, Any], profile: Profile | None) -> list[Described]:
    """The bands of an asset, of an item or of a collection's `item_assets`."""
    optical = asset.get("bands") or asset.get("eo:bands") or []
    raster = asset.get("bands") or asset.get("raster:bands") or []
    count = max(len(optical), len(raster), 1)
    names = [key] if count == 1 else _names(key, [_at(optical, i).get("name") for i in range(count)])
    return [
        _described(names[i], asset, _at(optical, i), _at(raster, i), i + 1 if count > 1 else asset.get("muses:band", 1))
        for i in range(count)
    ]


def _described(name: str, asset: dict[str, Any], optical: dict, raster: dict, index: int) -> Described:
    def said(*fields: str) -> Any:
        for holder in (raster, optical, asset):
            for field in fields:
                if holder.get(field) is not None:
                    return holder[field]
        return None

    classes = said("classification:classes", "classification:bitfields")
    return Described(
        name=name,
        index=int(index),
        common_name=said("eo:common_name", "common_name"),
        resolution=said("raster:spatial_resolution", "spatial_resolution", "gsd"),
        dtype=said("data_type", "raster:data_type"),
        nodata=finite(said("nodata", "raster:nodata")),
        scale=finite(said("raster:scale", "scale")),
        offset=finite(said("raster:offset", "offset")),
        categorical=True if classes else said("muses:categorical"),
        overviews=said("muses:overviews"),
    )


def finite(value: Any) -> float | None:
    """A number, or None: a nodata of "nan" or "inf" marks what is missing in floats anyway."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _at(bands: list[Any], i: int) -> dict[str, Any]:
    return bands[i] if i < len(bands) and isinstance(bands[i], dict) else {}


def _names(key: str, said: list[str | None]) -> list[str]:
    """Names for the bands of one file: their own where they have different ones, numbered otherwise."""
    if None not in said and len(set(said)) == len(said):
        return [str(name) for name in said]
    return [f"{key}_{i + 1}" for i in range(len(said))]
