"""What the ground looks like: land covers, their crop calendars and the spectra that they mix.

Every clear pixel follows one formula, for each band:

    reflectance = brightness × (bare × (1 − f) + green × f)
    f = min(1, vigour × cover(class, day − shift)) in steps of 1/255

with `bare` and `green` the class's end members on that day, `cover` its crop calendar, and `vigour`, `shift` and
`brightness` layers of the ground (kept in `truth/`). `muses_lab.sample.Truth` evaluates it, for tests to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BANDS = ("B01", "B02", "B03", "B04", "B08", "B11", "B12")
SHIFT_ZERO = 128
"""The layer `shift` holds the days by which a pixel is later than its class's calendar, plus this."""
VIGOUR_SCALE = 1 / 200

Spectrum = tuple[float, float, float, float, float, float, float]

#                        B01    B02    B03    B04    B08    B11    B12
SOIL: Spectrum = (0.085, 0.100, 0.130, 0.168, 0.255, 0.330, 0.285)
PALE_SOIL: Spectrum = (0.120, 0.145, 0.190, 0.235, 0.320, 0.400, 0.350)
STRAW: Spectrum = (0.075, 0.090, 0.140, 0.195, 0.330, 0.370, 0.270)
DRY_GRASS: Spectrum = (0.055, 0.065, 0.100, 0.125, 0.250, 0.290, 0.200)
CROP: Spectrum = (0.022, 0.026, 0.060, 0.030, 0.460, 0.190, 0.095)
MAIZE: Spectrum = (0.022, 0.025, 0.055, 0.028, 0.430, 0.180, 0.085)
GRASS: Spectrum = (0.028, 0.034, 0.068, 0.042, 0.400, 0.215, 0.115)
RAPESEED_FLOWER: Spectrum = (0.030, 0.040, 0.150, 0.125, 0.480, 0.210, 0.105)
SUNFLOWER_FLOWER: Spectrum = (0.026, 0.032, 0.085, 0.068, 0.440, 0.190, 0.095)
LEAVES: Spectrum = (0.018, 0.020, 0.042, 0.022, 0.360, 0.150, 0.068)
TWIGS: Spectrum = (0.038, 0.045, 0.062, 0.070, 0.185, 0.200, 0.130)
NEEDLES: Spectrum = (0.016, 0.018, 0.030, 0.020, 0.240, 0.095, 0.045)
UNDERGROWTH: Spectrum = (0.030, 0.035, 0.050, 0.055, 0.150, 0.150, 0.095)
WATER: Spectrum = (0.050, 0.048, 0.058, 0.042, 0.022, 0.011, 0.008)
TURBID: Spectrum = (0.055, 0.062, 0.088, 0.078, 0.040, 0.016, 0.012)
TILES: Spectrum = (0.085, 0.100, 0.135, 0.190, 0.255, 0.290, 0.265)
ASPHALT: Spectrum = (0.085, 0.095, 0.108, 0.118, 0.150, 0.175, 0.165)
SHEET: Spectrum = (0.230, 0.260, 0.280, 0.295, 0.330, 0.320, 0.290)


@dataclass(frozen=True)
class Cover:
    """A land cover: its end members and how much of the ground green leaves cover through the year."""

    code: int
    name: str
    colour: str
    bare: Spectrum
    green: Spectrum
    calendar: dict[int, float]
    """Day of year → green cover (0..1), linear in between."""
    stubble: tuple[Spectrum, dict[int, float]] | None = None
    """Other bare end member and its share by day of year (straw after harvest)."""
    flower: tuple[Spectrum, dict[int, float]] | None = field(default=None)
    """Other green end member and its share by day of year."""


COVERS = (
    Cover(
        1,
        "winter wheat",
        "#e8d96b",
        SOIL,
        CROP,
        {
            1: 0.25,
            45: 0.35,
            75: 0.62,
            105: 0.92,
            135: 0.96,
            158: 0.78,
            176: 0.22,
            190: 0.05,
            300: 0.03,
            330: 0.08,
            365: 0.22,
        },
        stubble=(STRAW, {150: 0.0, 172: 1.0, 215: 0.9, 240: 0.3, 270: 0.0}),
    ),
    Cover(
        2,
        "maize",
        "#f2a81d",
        SOIL,
        MAIZE,
        {1: 0.05, 125: 0.04, 150: 0.18, 175: 0.68, 200: 0.95, 235: 0.93, 262: 0.60, 285: 0.14, 300: 0.05, 365: 0.05},
        stubble=(STRAW, {255: 0.0, 280: 0.8, 320: 0.3, 345: 0.0}),
    ),
    Cover(
        3,
        "sunflower",
        "#ffe000",
        SOIL,
        CROP,
        {
            1: 0.06,
            60: 0.10,
            90: 0.04,
            122: 0.04,
            150: 0.24,
            180: 0.86,
            200: 0.92,
            222: 0.62,
            245: 0.18,
            262: 0.05,
            365: 0.06,
        },
        stubble=(TWIGS, {225: 0.0, 245: 0.7, 270: 0.3, 290: 0.0}),
        flower=(SUNFLOWER_FLOWER, {178: 0.0, 192: 1.0, 205: 0.7, 220: 0.0}),
    ),
    Cover(
        4,
        "rapeseed",
        "#c7e02a",
        SOIL,
        CROP,
        {
            1: 0.55,
            60: 0.66,
            90: 0.88,
            130: 0.92,
            155: 0.72,
            173: 0.18,
            186: 0.05,
            245: 0.05,
            272: 0.26,
            300: 0.46,
            365: 0.55,
        },
        stubble=(STRAW, {160: 0.0, 180: 1.0, 215: 0.6, 235: 0.0}),
        flower=(RAPESEED_FLOWER, {88: 0.0, 100: 0.9, 115: 1.0, 126: 0.4, 136: 0.0}),
    ),
    Cover(
        5,
        "grassland",
        "#8fd18a",
        DRY_GRASS,
        GRASS,
        {1: 0.50, 60: 0.56, 110: 0.86, 145: 0.90, 165: 0.68, 200: 0.44, 232: 0.34, 270: 0.50, 305: 0.62, 365: 0.50},
    ),
    Cover(6, "bare soil", "#b98d5e", PALE_SOIL, GRASS, {1: 0.03, 120: 0.08, 200: 0.03, 365: 0.03}),
    Cover(
        7,
        "deciduous forest",
        "#2f8f3a",
        TWIGS,
        LEAVES,
        {1: 0.22, 88: 0.25, 105: 0.50, 125: 0.92, 170: 1.0, 270: 0.93, 300: 0.62, 325: 0.28, 365: 0.22},
    ),
    Cover(8, "conifer forest", "#1d5b3a", UNDERGROWTH, NEEDLES, {1: 0.80, 160: 0.92, 270: 0.88, 365: 0.80}),
    Cover(
        9, "water", "#3366cc", WATER, WATER, {1: 0.0}, stubble=(TURBID, {1: 0.7, 90: 0.5, 150: 0.2, 270: 0.1, 330: 0.6})
    ),
    Cover(10, "roofs", "#d9705f", TILES, GRASS, {1: 0.06, 140: 0.10, 365: 0.06}),
    Cover(11, "streets and roads", "#777777", ASPHALT, GRASS, {1: 0.05, 140: 0.10, 365: 0.05}),
    Cover(
        12,
        "gardens and parks",
        "#b7e08a",
        DRY_GRASS,
        LEAVES,
        {1: 0.38, 85: 0.45, 125: 0.78, 200: 0.70, 280: 0.66, 325: 0.40, 365: 0.38},
    ),
    Cover(13, "industrial buildings", "#b04a9a", SHEET, GRASS, {1: 0.01}),
)
CLASSES = {c.code: c for c in COVERS}


def mixtures(day: int) -> tuple[np.ndarray, np.ndarray]:
    """Tables that give a pixel's spectrum on a day of the year from the layers of the ground.

    Returns
    -------
    greenness
        f × 255 for vigour 1 of the layer, by class code and shift as stored: float32 (14, 256).
    spectra
        Reflectance at brightness 1, by class code, f × 255, and band (`BANDS`, one to fill up): float32 (14, 256, 8).
    """
    greenness = np.zeros((len(COVERS) + 1, 256), np.float32)
    spectra = np.zeros((len(COVERS) + 1, 256, 8), np.float32)
    f = np.linspace(0, 1, 256)[:, None]
    for c in COVERS:
        greenness[c.code] = (
            _share(c.calendar, np.clip(day - (np.arange(256) - SHIFT_ZERO), 1, 365)) * VIGOUR_SCALE * 255
        )
        spectra[c.code, :, :7] = _blend(c.bare, c.stubble, day) * (1 - f) + _blend(c.green, c.flower, day) * f
    return greenness, spectra


def _share(knots: dict[int, float], day: np.ndarray | float) -> np.ndarray:
    return np.asarray(np.interp(day, list(knots), list(knots.values())))


def _blend(base: Spectrum, other: tuple[Spectrum, dict[int, float]] | None, day: int) -> np.ndarray:
    if other is None:
        return np.asarray(base)
    share = _share(other[1], day)
    return np.asarray(base) * (1 - share) + np.asarray(other[0]) * share
