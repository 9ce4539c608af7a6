"""What is known of products that their metadata do not (always) say. Figures: docs of ESA, USGS, CNES.

A profile is chosen by the collection's own word (`muses:product`), by its id, or by what its items say of themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class CloudMask:
    """How a product marks pixels that are not clear ground.

    Exactly one of `keep` and `bits` is set.
    """

    band: str
    """The categorical band that holds the classes or bits."""
    keep: tuple[int, ...] | None = None
    """Classes of clear pixels; every other value is dropped."""
    bits: int | None = None
    """A pixel is dropped where `(value & bits) != 0`."""


@dataclass(frozen=True)
class KnownBand:
    """One band of a product, under all names that catalogues give to it."""

    keys: tuple[str, ...]
    """Asset keys, the provider's own name first; compared without regard to case."""
    common_name: str | None = None
    resolution: float = 10.0
    dtype: str = "uint16"
    nodata: float | None = 0
    scale: float = 1.0
    offset: float = 0.0
    categorical: bool = False
    reflectance: bool = False

    @property
    def name(self) -> str:
        return self.keys[0]


@dataclass(frozen=True)
class Profile:
    """One product: its bands in order, and its mask."""

    name: str
    title: str
    ids: str
    """Regular expression of the collection ids it is found under."""
    bands: tuple[KnownBand, ...]
    mask_keep: tuple[int, ...] | None = None
    mask_bits: int | None = None
    mask_keys: tuple[str, ...] = ()
    """Names of the band that the mask reads, in any case."""

    @cached_property
    def _by_key(self) -> dict[str, KnownBand]:
        return {key.lower(): band for band in self.bands for key in band.keys}

    def band(self, key: str) -> KnownBand | None:
        """The band that an asset key means: `B04`, `red`, `B04_10m`."""
        known = self._by_key.get(key.lower())
        if known is None and (match := _RESAMPLED.fullmatch(key)):
            stem = self._by_key.get(match["stem"].lower())
            known = stem if stem and float(match["metres"]) == stem.resolution else None
        return known

    def is_variant(self, key: str) -> bool:
        """True for copies of a band that add nothing: other resolutions, other formats (`blue_60m`, `red-jp2`)."""
        match = _RESAMPLED.fullmatch(key) or _REFORMATTED.fullmatch(key)
        return match is not None and match["stem"].lower() in self._by_key and self.band(key) is None

    def cloud_mask(self, names: Iterable[str]) -> CloudMask | None:
        """The mask over the bands that there are; None where its band is not among them."""
        for name in names:
            known = self.band(name)
            if known is not None and known.name.lower() in self.mask_keys:
                return CloudMask(name, self.mask_keep, self.mask_bits)
        return None


_RESAMPLED = re.compile(r"(?P<stem>.+)_(?P<metres>\d+)m")
_REFORMATTED = re.compile(r"(?P<stem>.+)-jp2")


def _s2(keys: tuple[str, ...], common_name: str, resolution: float) -> KnownBand:
    return KnownBand(keys, common_name, resolution, scale=1e-4, reflectance=True)


_S2_REFLECTANCE = (
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

SENTINEL2_L2A = Profile(
    "sentinel-2-l2a",
    "Sentinel-2 Level-2A: reflectance at the ground (ESA, Sen2Cor)",
    r"sentinel-?2?-s?2?-?(c1-)?l2a.*|sentinel-s2-l2a.*|s2-?(msi-?)?l2a.*",
    (
        *_S2_REFLECTANCE,
        KnownBand(("SCL",), resolution=20, dtype="uint8", categorical=True),
        KnownBand(("AOT",), resolution=20, scale=1e-3),
        KnownBand(("WVP",), resolution=20, scale=1e-3),
    ),
    # Sen2Cor's scene classification: vegetation, bare, water, unclassified, snow are ground that was seen; left out are
    # no data 0, saturated 1, dark 2 (topographic and undetected cloud shadows), cloud shadow 3, clouds 8 9, cirrus 10.
    mask_keep=(4, 5, 6, 7, 11),
    mask_keys=("scl",),
)

SENTINEL2_L1C = Profile(
    "sentinel-2-l1c",
    "Sentinel-2 Level-1C: reflectance at the top of the atmosphere (ESA)",
    r"sentinel-?2-(c1-)?l1c.*|sentinel-s2-l1c.*|s2-?(msi-?)?l1c.*",
    (*_S2_REFLECTANCE, _s2(("B10", "cirrus"), "cirrus", 60)),
)

THEIA_L3A = Profile(
    "theia-l3a",
    "Theia Level-3A: monthly syntheses of Sentinel-2 (CNES, WASP)",
    r".*(theia|wasp|muscate).*l3a.*",
    # monthly syntheses, already free of clouds: no mask; int16, -10000 where no date was clear
    tuple(
        KnownBand((f"B{n}", f"FRC_B{n}", b.keys[-1]), b.common_name, b.resolution, "int16", -10000, 1e-4)
        for b in _S2_REFLECTANCE
        if (n := b.name.removeprefix("B").lstrip("0")) not in ("1", "9")
    ),
)

_LANDSAT_QA = (
    # 1 is the fill bit and nothing else: pixels outside the swath
    KnownBand(("QA_PIXEL",), resolution=30, nodata=1, categorical=True),
    KnownBand(("QA_RADSAT",), resolution=30, nodata=None, categorical=True),
    KnownBand(("SR_QA_AEROSOL", "QA_AEROSOL"), resolution=30, dtype="uint8", nodata=1, categorical=True),
)


def _sr(key: str, name: str) -> KnownBand:
    return KnownBand((key, name), name, 30, scale=2.75e-5, offset=-0.2)


_LANDSAT_ST = KnownBand(("ST_B10", "ST_B6", "lwir11", "lwir"), "lwir11", 30, scale=0.00341802, offset=149.0)
_CLOUDS = 0b11111  # fill, dilated cloud, cirrus, cloud, cloud shadow

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
    mask_bits=_CLOUDS,
    mask_keys=("qa_pixel",),
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
    mask_bits=_CLOUDS,
    mask_keys=("qa_pixel",),
)

PROFILES = {p.name: p for p in (SENTINEL2_L2A, SENTINEL2_L1C, THEIA_L3A, LANDSAT_C2_L2, LANDSAT_TM_C2_L2)}


def profile_of(collection: dict[str, Any], items: Iterable[dict[str, Any]] = ()) -> Profile | None:
    """The profile of a STAC Collection, or None for a product of which nothing more is known than its metadata say."""
    said = collection.get("muses:product")
    if said is not None:
        return PROFILES.get(said)
    for profile in PROFILES.values():
        if re.fullmatch(profile.ids, collection.get("id", ""), re.IGNORECASE):
            return profile
    for item in items:
        return profile_of_item(item)
    return None


def profile_of_item(item: dict[str, Any]) -> Profile | None:
    """The profile of an item by what it says of itself."""
    p = item.get("properties", {})
    platform = str(p.get("platform") or p.get("eo:platform") or "").lower().replace("_", "-")
    if platform.startswith("sentinel-2") or p.get("constellation") == "sentinel-2":
        kind = p.get("s2:product_type") or p.get("product:type")
        keys = {key.lower() for key in item.get("assets", {})}
        if kind == "S2MSI2A" or (kind is None and "scl" in keys):
            return SENTINEL2_L2A
        return SENTINEL2_L1C if kind == "S2MSI1C" else None
    level2 = str(p.get("landsat:correction") or item.get("id", "")).upper()
    if platform.startswith("landsat") and ("L2SP" in level2 or "L2SR" in level2):
        return LANDSAT_C2_L2 if platform in ("landsat-8", "landsat-9") else LANDSAT_TM_C2_L2
    return None
