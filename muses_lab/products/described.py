"""What STAC metadata say of an asset's bands: one reading for `eo:bands`/`raster:bands` (1.0) and `bands` (1.1)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from muses_lab.products.profile import Profile
from muses_lab.raster.header import RasterInfo, is_name

_RASTER_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2")
_NOT_DATA = {"visual", "overview", "thumbnail", "metadata"}
_MASKS = {
    "data-mask",
    "cloud-mask",
    "cloud-shadow",
    "land-water",
    "water-mask",
    "snow-mask",
    "saturation",
    "quality-mask",
}
"""Roles of assets that hold classes or bits."""
_QUALITY = re.compile(
    r"(?:^|[_.-])(?:b?qa|qc|qf|qi|scl|fmask|cfmask|cloud_?mask|clm|mask|msk|flags?|classes)\d*(?:$|[_.-])",
    re.IGNORECASE,
)
"""Names of bands that hold classes or bits: `QA_PIXEL`, `Fmask`, `sur_refl_qc_500m`."""
_RASTER_NAMES = re.compile(r"\.(?:tiff?|jp2|j2k)(?:$|[?#])", re.IGNORECASE)
"""Names of files of assets that say neither type nor role, as those of NASA's CMR."""
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
    opaque: bool | None = None
    """True where the band that a file may call opacity is described as data."""


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
    named = _RASTER_NAMES.search(str(asset.get("href") or "")) is not None and not roles
    return bool(media) or "data" in roles or any(field in asset for field in _DATA_FIELDS) or named


def says_bands(key: str, asset: dict[str, Any], profile: Profile | None) -> bool:
    """Whether metadata or what is known of the product say which bands an asset's file has."""
    said = any(asset.get(field) for field in ("bands", "eo:bands", "raster:bands", "muses:band"))
    return said or (profile is not None and profile.band(key) is not None)


def described(
    key: str, asset: dict[str, Any], profile: Profile | None, header: RasterInfo | None = None
) -> list[Described]:
    """The bands of an asset, of an item or of a collection's `item_assets`.

    Where it says nothing of them, they are all that the file has, by its header; nodata, scale and offset are the
    file's wherever neither metadata nor the product's table say them.
    """
    if header is None:
        return _described_bands(key, asset, profile)
    if not says_bands(key, asset, profile) and len(header.dtypes) > 1:
        names = zip(header.descriptions, header.alpha, strict=True)
        bands = [{"name": "alpha" if opacity else name} for name, opacity in names]
        found = [_with(header, said) for said in _described_bands(key, {**asset, "bands": bands}, profile)]
        return [replace(found[0], name=key)] if len(found) == 1 else found
    known = profile.band if profile else lambda name: None
    return [said if known(said.name) else _with(header, said) for said in _described_bands(key, asset, profile)]


def _with(header: RasterInfo, said: Described) -> Described:
    """What the metadata do not say, by the file's header."""
    i = said.index - 1
    if i >= len(header.dtypes):
        return said
    return replace(
        said,
        dtype=header.dtypes[i] if said.dtype is None else said.dtype,
        nodata=header.nodata[i] if said.nodata is None and not header.masked[i] else said.nodata,
        scale=header.scales[i] if said.scale is None else said.scale,
        offset=header.offsets[i] if said.offset is None else said.offset,
        overviews=header.overviews if said.overviews is None else said.overviews,
    )


def _described_bands(key: str, asset: dict[str, Any], profile: Profile | None) -> list[Described]:
    optical = asset.get("bands") or asset.get("eo:bands") or []
    raster = asset.get("bands") or asset.get("raster:bands") or []
    count = max(len(optical), len(raster), 1)
    said = [_at(optical, i).get("name") for i in range(count)]
    names = [key] if count == 1 else _names(key, said)
    # The fourth of four bands of bytes is called opacity by GDAL whether it is or not: its name tells.
    opaque = asset.get("muses:opaque") or (count == 4 and (_common(_at(optical, 3)) or is_name(said[3], 4)))
    return [
        _described(
            names[i],
            asset,
            _at(optical, i),
            _at(raster, i),
            i + 1 if count > 1 else asset.get("muses:band", 1),
            True if opaque else None,
        )  # fmt: skip
        for i in range(count)
        if count == 1 or not _is_opacity(said[i])
    ]


def _common(band: dict[str, Any]) -> Any:
    return band.get("eo:common_name") or band.get("common_name")


def _is_opacity(name: Any) -> bool:
    return str(name or "").strip().lower() in ("alpha", "opacity")


def _described(
    name: str, asset: dict[str, Any], optical: dict, raster: dict, index: int, opaque: bool | None
) -> Described:
    def said(*fields: str) -> Any:
        for holder in (raster, optical, asset):
            for field in fields:
                if holder.get(field) is not None:
                    return holder[field]
        return None

    classes = said("classification:classes", "classification:bitfields", "file:values")
    dtype = said("data_type", "raster:data_type")
    whole = not str(dtype).startswith(("float", "complex", "cfloat"))
    quality = whole and (bool(_MASKS & set(asset.get("roles") or ())) or _QUALITY.search(name) is not None)
    return Described(
        name=name,
        index=int(index),
        common_name=said("eo:common_name", "common_name"),
        resolution=said("raster:spatial_resolution", "spatial_resolution", "gsd"),
        dtype=dtype,
        nodata=finite(said("nodata", "raster:nodata")),
        scale=finite(said("raster:scale", "scale")),
        offset=finite(said("raster:offset", "offset")),
        categorical=True if classes else _first(said("muses:categorical"), quality or None),
        overviews=said("muses:overviews"),
        opaque=opaque,
    )


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


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
