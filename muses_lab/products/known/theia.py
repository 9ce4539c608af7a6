"""Syntheses of Theia. Figures: CNES, WASP."""

from __future__ import annotations

from muses_lab.products.known.sentinel2 import REFLECTANCE
from muses_lab.products.profile import KnownBand, Profile

THEIA_L3A = Profile(
    "theia-l3a",
    "Theia Level-3A: monthly syntheses of Sentinel-2 (CNES, WASP)",
    r".*(theia|wasp|muscate).*l3a.*",
    # monthly syntheses, already free of clouds: no mask; int16, -10000 where no date was clear
    tuple(
        KnownBand((f"B{n}", f"FRC_B{n}", b.keys[-1]), b.common_name, b.resolution, "int16", -10000, 1e-4)
        for b in REFLECTANCE
        if (n := b.name.removeprefix("B").lstrip("0")) not in ("1", "9")
    ),
)

PROFILES = (THEIA_L3A,)
