"""Sentinel-2 as ESA processes it. Figures: ESA's product specification (PSD) and documentation of Sen2Cor."""

from __future__ import annotations

from typing import Any

from muses_lab.products.profile import KnownBand, KnownMask, Profile, platform_of, processing_baseline


def reflectance_offset(properties: dict[str, Any], stated: float | None, scale: float) -> float:
    """The offset of a Sentinel-2 reflectance band, in reflectance: 0, or -0.1 for the shift of 1000 of baseline 04.00.

    The trap: products of baseline 04.00 and later store reflectance × 10000 + 1000. Some catalogues serve them so and
    say `offset: -0.1`, some say nothing (only the baseline tells), some have subtracted the 1000 already, say so
    in `earthsearch:boa_offset_applied`, and still state the offset.

    >>> reflectance_offset({"s2:processing_baseline": "05.09"}, stated=None, scale=1e-4)
    -0.1
    >>> reflectance_offset({"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": True}, -0.1, 1e-4)
    0.0
    """
    said = (properties.get(field) for field in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"))
    applied = next((value for value in said if value is not None), None)
    if applied:
        return 0.0
    shifted = _number(processing_baseline(properties)) >= 4.0
    if stated is not None and (stated != 0 or applied is None or not shifted):
        return stated
    return round(-1000 * scale, 12) if shifted else 0.0


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return 0.0


def _is_sentinel2(item: dict[str, Any]) -> bool:
    named = item.get("properties", {}).get("constellation") == "sentinel-2"
    return named or platform_of(item).startswith("sentinel-2")


def _kind(item: dict[str, Any]) -> Any:
    properties = item.get("properties", {})
    return properties.get("s2:product_type") or properties.get("product:type")


def _is_l2a(item: dict[str, Any]) -> bool:
    """By its type; one that states none by its scene classification."""
    kind = _kind(item)
    has_classes = any(key.lower() == "scl" for key in item.get("assets", {}))
    return _is_sentinel2(item) and (kind == "S2MSI2A" or (kind is None and has_classes))


def _is_l1c(item: dict[str, Any]) -> bool:
    return _is_sentinel2(item) and _kind(item) == "S2MSI1C"


def _s2(keys: tuple[str, ...], common_name: str, resolution: float) -> KnownBand:
    return KnownBand(keys, common_name, resolution, scale=1e-4, offset_of=reflectance_offset)


REFLECTANCE = (
    _s2(("B01", "B1", "coastal"), "coastal", 60),
    _s2(("B02", "B2", "blue"), "blue", 10),
    _s2(("B03", "B3", "green"), "green", 10),
    _s2(("B04", "B4", "red"), "red", 10),
    # eo:common_name has one `rededge` for three bands; numbered, a name means one band
    _s2(("B05", "B5", "rededge1"), "rededge1", 20),
    _s2(("B06", "B6", "rededge2"), "rededge2", 20),
    _s2(("B07", "B7", "rededge3"), "rededge3", 20),
    _s2(("B08", "B8", "nir"), "nir", 10),
    _s2(("B8A", "B08A", "nir08"), "nir08", 20),
    _s2(("B09", "B9", "nir09"), "nir09", 60),
    _s2(("B11", "swir16"), "swir16", 20),
    _s2(("B12", "swir22"), "swir22", 20),
)

_SCL = KnownMask(
    "SCL",
    ("SCL",),
    (
        ("no_data", 0), ("saturated", 1), ("dark", 2), ("cloud_shadow", 3), ("vegetation", 4), ("bare", 5),
        ("water", 6), ("unclassified", 7), ("cloud_medium", 8), ("cloud_high", 9), ("cirrus", 10), ("snow", 11),
    ),
    # Sen2Cor's scene classification: vegetation, bare, water, unclassified, snow are ground that was seen; left out are
    # no data 0, saturated 1, dark 2 (topographic and undetected cloud shadows), cloud shadow 3, clouds 8 9, cirrus 10.
    keep=(4, 5, 6, 7, 11),
)  # fmt: skip

SENTINEL2_L2A = Profile(
    "sentinel-2-l2a",
    "Sentinel-2 Level-2A: reflectance at the ground (ESA, Sen2Cor)",
    r"sentinel-?2?-s?2?-?(c1-)?l2a.*|sentinel-s2-l2a.*|s2-?(msi-?)?l2a.*",
    (
        *REFLECTANCE,
        KnownBand(("SCL",), resolution=20, dtype="uint8", categorical=True),
        KnownBand(("AOT",), resolution=20, scale=1e-3),
        KnownBand(("WVP",), resolution=20, scale=1e-3),
    ),
    masks=(_SCL,),
    is_of=_is_l2a,
)

SENTINEL2_L1C = Profile(
    "sentinel-2-l1c",
    "Sentinel-2 Level-1C: reflectance at the top of the atmosphere (ESA)",
    r"sentinel-?2-(c1-)?l1c.*|sentinel-s2-l1c.*|s2-?(msi-?)?l1c.*",
    (*REFLECTANCE, _s2(("B10", "cirrus"), "cirrus", 60)),
    is_of=_is_l1c,
)

PROFILES = (SENTINEL2_L2A, SENTINEL2_L1C)
