"""Harmonized Landsat Sentinel-2, version 2. Figures: NASA, HLS user guide."""

from __future__ import annotations

from muses_lab.products.profile import KnownBand, KnownMask, Profile


def _sr(key: str, name: str) -> KnownBand:
    return KnownBand((key, name), name, 30, "int16", -9999, 1e-4)


def _celsius(key: str, name: str) -> KnownBand:
    """Brightness temperature at the top of the atmosphere, in degrees."""
    return KnownBand((key, name), name, 30, "int16", -9999, 1e-2)


_FMASK_BAND = KnownBand(("Fmask",), resolution=30, dtype="uint8", nodata=255, categorical=True)
_FMASK = KnownMask(
    "Fmask",
    ("Fmask",),
    (
        ("cirrus", 1 << 0), ("cloud", 1 << 1), ("adjacent", 1 << 2), ("cloud_shadow", 1 << 3), ("snow", 1 << 4),
        ("water", 1 << 5),
    ),
    bits=0b1110,  # cloud, adjacent to cloud or shadow, cloud shadow; bits 6 and 7 are a level of aerosol
)  # fmt: skip

HLS_S30 = Profile(
    "hls-s30",
    "Harmonized Landsat Sentinel-2, version 2, of Sentinel-2 (NASA)",
    r"hls2?[-_]?s30.*",
    (
        _sr("B01", "coastal"),
        _sr("B02", "blue"),
        _sr("B03", "green"),
        _sr("B04", "red"),
        _sr("B05", "rededge1"),
        _sr("B06", "rededge2"),
        _sr("B07", "rededge3"),
        _sr("B08", "nir"),
        _sr("B8A", "nir08"),
        _sr("B09", "nir09"),
        _sr("B10", "cirrus"),
        _sr("B11", "swir16"),
        _sr("B12", "swir22"),
        _FMASK_BAND,
    ),
    masks=(_FMASK,),
)

HLS_L30 = Profile(
    "hls-l30",
    "Harmonized Landsat Sentinel-2, version 2, of Landsat 8 and 9 (NASA)",
    r"hls2?[-_]?l30.*",
    (
        _sr("B01", "coastal"),
        _sr("B02", "blue"),
        _sr("B03", "green"),
        _sr("B04", "red"),
        _sr("B05", "nir08"),
        _sr("B06", "swir16"),
        _sr("B07", "swir22"),
        _sr("B09", "cirrus"),
        _celsius("B10", "lwir11"),
        _celsius("B11", "lwir12"),
        _FMASK_BAND,
    ),
    masks=(_FMASK,),
)

PROFILES = (HLS_S30, HLS_L30)
