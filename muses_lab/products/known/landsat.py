"""Landsat Collection 2 Level-2. Figures: USGS, product guides of LaSRC and LEDAPS."""

from __future__ import annotations

from typing import Any

from muses_lab.products.profile import KnownBand, KnownMask, Profile, platform_of


def _is_level2(item: dict[str, Any]) -> bool:
    level = str(item.get("properties", {}).get("landsat:correction") or item.get("id", "")).upper()
    return platform_of(item).startswith("landsat") and ("L2SP" in level or "L2SR" in level)


_LANDSAT_QA = (
    # 1 is the fill bit and nothing else: pixels outside the swath
    KnownBand(("QA_PIXEL",), resolution=30, nodata=1, categorical=True),
    KnownBand(("QA_RADSAT",), resolution=30, nodata=None, categorical=True),
    KnownBand(("SR_QA_AEROSOL", "QA_AEROSOL"), resolution=30, dtype="uint8", nodata=1, categorical=True),
)


def _sr(key: str, name: str) -> KnownBand:
    return KnownBand((key, name), name, 30, scale=2.75e-5, offset=-0.2)


_LANDSAT_ST = KnownBand(("ST_B10", "ST_B6", "lwir11", "lwir"), "lwir11", 30, scale=0.00341802, offset=149.0)
_QA_PIXEL = KnownMask(
    "QA_PIXEL",
    ("QA_PIXEL",),
    (
        ("fill", 1 << 0), ("dilated_cloud", 1 << 1), ("cirrus", 1 << 2), ("cloud", 1 << 3), ("cloud_shadow", 1 << 4),
        ("snow", 1 << 5), ("clear", 1 << 6), ("water", 1 << 7),
    ),
    bits=0b11111,  # fill, dilated cloud, cirrus, cloud, cloud shadow; bits 8 to 15 are confidences, two each
)  # fmt: skip

LANDSAT_C2_L2 = Profile(
    "landsat-c2-l2",
    "Landsat 8 and 9 Collection 2 Level-2: reflectance at the ground and temperature (USGS)",
    r"landsat-?c2-?l2.*|landsat-[89]-c2-?l2.*|lc0[89]_?l2.*",
    (
        _sr("SR_B1", "coastal"),
        _sr("SR_B2", "blue"),
        _sr("SR_B3", "green"),
        _sr("SR_B4", "red"),
        _sr("SR_B5", "nir08"),
        _sr("SR_B6", "swir16"),
        _sr("SR_B7", "swir22"),
        _LANDSAT_ST,
        *_LANDSAT_QA,
    ),
    masks=(_QA_PIXEL,),
    is_of=lambda item: _is_level2(item) and platform_of(item) in ("landsat-8", "landsat-9"),
)

LANDSAT_TM_C2_L2 = Profile(
    "landsat-tm-c2-l2",
    "Landsat 4, 5 and 7 Collection 2 Level-2: reflectance at the ground and temperature (USGS)",
    r"landsat-([457]|tm)-c2-?l2.*|l[te]0[457]_?l2.*",
    (
        _sr("SR_B1", "blue"),
        _sr("SR_B2", "green"),
        _sr("SR_B3", "red"),
        _sr("SR_B4", "nir08"),
        _sr("SR_B5", "swir16"),
        _sr("SR_B7", "swir22"),
        _LANDSAT_ST,
        *_LANDSAT_QA,
    ),
    masks=(_QA_PIXEL,),
    is_of=lambda item: _is_level2(item) and platform_of(item) not in ("landsat-8", "landsat-9"),
)

PROFILES = (LANDSAT_C2_L2, LANDSAT_TM_C2_L2)
