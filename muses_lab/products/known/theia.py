"""Sentinel-2 of Theia: scenes (MAJA) and syntheses. Figures: CNES, MUSCATE's format, MAJA, WASP."""

from __future__ import annotations

from muses_lab.products.known.sentinel2 import REFLECTANCE
from muses_lab.products.profile import KnownBand, KnownMask, Profile


def _bands(prefix: str) -> tuple[KnownBand, ...]:
    """Reflectances of 10 and 20 m, int16, -10000 where there are none."""
    return tuple(
        KnownBand((f"B{n}", f"{prefix}_B{n}", b.keys[-1]), b.common_name, b.resolution, "int16", -10000, 1e-4)
        for b in REFLECTANCE
        if (n := b.name.removeprefix("B").lstrip("0")) not in ("1", "9")
    )


def _flags(name: str) -> tuple[KnownBand, KnownBand]:
    """A mask on the grids of 10 and 20 m."""
    ten, twenty = (f"{name}_R1", name), (f"{name}_R2",)
    return tuple(  # type: ignore[return-value]
        KnownBand(keys, None, metres, "uint8", None, categorical=True) for keys, metres in ((ten, 10), (twenty, 20))
    )


_EDGE, _SATURATED = ("EDG_R1", "EDG_R2"), ("SAT_R1", "SAT_R2")
_CLM = KnownMask(
    "CLM",
    ("CLM_R1", "CLM_R2"),
    (
        ("any", 1 << 0), ("cloud", 1 << 1), ("cloud_by_reflectance", 1 << 2), ("cloud_by_change", 1 << 3),
        ("cloud_thin", 1 << 4), ("cloud_shadow", 1 << 5), ("cloud_shadow_from_outside", 1 << 6), ("cirrus", 1 << 7),
    ),
    bits=0b11111111,
    also=(_EDGE, _SATURATED),
)  # fmt: skip
_MG2 = KnownMask(
    "MG2",
    ("MG2_R1", "MG2_R2"),
    (
        ("water", 1 << 0), ("cloud", 1 << 1), ("snow", 1 << 2), ("cloud_shadow", 1 << 3),
        # readers of the product take bit 4 for the shadow of relief and bit 5 for hidden, its writer the other way
        # round: they are one flag here
        ("topographic_shadow_or_hidden", 0b11 << 4),
        ("sun_too_low", 1 << 6), ("sun_tangent", 1 << 7),
    ),
    bits=0b11111010,  # all but water and snow, which are ground that was seen
    also=(_EDGE, _SATURATED),
)  # fmt: skip

THEIA_L2A = Profile(
    "theia-l2a",
    "Theia Level-2A: Sentinel-2 reflectance at the ground, corrected for slopes (CNES, MAJA)",
    r".*(theia|muscate|maja).*l2a.*",
    (
        *_bands("FRE"),
        *_flags("CLM"),
        *_flags("MG2"),
        *_flags("EDG"),
        *_flags("SAT"),
    ),
    masks=(_CLM, _MG2),
)

THEIA_L3A = Profile(
    "theia-l3a",
    "Theia Level-3A: monthly syntheses of Sentinel-2 (CNES, WASP)",
    r".*(theia|wasp|muscate).*l3a.*",
    _bands("FRC"),  # already free of clouds: no mask; -10000 where no date was clear
)

PROFILES = (THEIA_L2A, THEIA_L3A)
