"""One scene: what the sensor sees of the ground under the sky of the day, as DN of every band and SCL classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from muses_lab.sample.ground import WATER, Fields, Ground, place_of
from muses_lab.sample.place import Tile
from muses_lab.sample.sky import Overpass, Swath, Weather, cloudiness, streakiness
from muses_lab.sample.spectra import BANDS, BRIGHTNESS_SCALE, VIGOUR_SCALE, cover_table, end_members

RESOLUTIONS = {"B01": 60, "B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20, "B12": 20, "SCL": 20}
CLOUD = np.array([0.80, 0.79, 0.78, 0.79, 0.82, 0.48, 0.38], np.float32)
CIRRUS = np.array([0.50, 0.48, 0.46, 0.45, 0.46, 0.20, 0.14], np.float32)
SHADE = np.array([0.42, 0.45, 0.52, 0.56, 0.62, 0.66, 0.68], np.float32)
"""Share of a band's light that a full shadow takes away (blue sky light remains)."""


@dataclass(frozen=True)
class Pixels:
    """A scene's arrays by asset key, and what they show."""

    bands: dict[str, np.ndarray]
    counts: np.ndarray
    """20 m pixels by SCL class (0 to 11)."""


def render(
    tile: Tile, ground: Ground, fields: Fields, grain: np.ndarray, overpass: Overpass, swath: Swath, weather: Weather
) -> Pixels:
    """The scene of a tile at an overpass; `grain` is sensor noise, laid differently on each scene and band."""
    n10, n20 = tile.size, tile.size // 2
    fine = np.zeros((4, n10, n10), np.uint16)
    coarse = np.zeros((2, n20, n20), np.uint16)
    coastal = np.zeros((n20, n20), np.float32)
    scl = np.zeros((n20, n20), np.uint8)
    start = np.random.default_rng([overpass.day_of_year, tile.epsg]).integers(0, grain.shape[0], (len(BANDS), 2))
    bare, green = end_members(overpass.day_of_year)
    _render(
        *tile.ground,
        ground.classes,
        ground.shift,
        ground.vigour,
        ground.brightness,
        cover_table(overpass.day_of_year),
        bare,
        green,
        fields.rough,
        fields.smooth,
        weather.form,
        weather.limits,
        weather.shadow,
        swath.seen,
        grain,
        start,
        overpass.offset,
        fine,
        coarse,
        coastal,
        scl,
    )
    bands = dict(zip(("B02", "B03", "B04", "B08"), fine, strict=True))
    bands |= dict(zip(("B11", "B12"), coarse, strict=True))
    bands["B01"] = _coastal(coastal, overpass.offset)
    bands["SCL"] = scl
    return Pixels(bands, np.bincount(scl.ravel(), minlength=12))


@njit(cache=True, nogil=True, inline="always")
def _dn(reflectance, noise, offset):
    """DN of a reflectance: noise grows with the signal, steps of about 1 % make files small, never nodata."""
    value = reflectance * np.float32(10000)
    value += noise * (np.float32(2.5) + np.float32(0.004) * value)
    step = (
        np.float32(4)
        if value < 400
        else np.float32(8)
        if value < 1000
        else np.float32(16)
        if value < 2500
        else np.float32(32)
    )
    stored = int(np.floor(value / step + np.float32(0.5)) * step) + offset
    return min(65535, max(1, stored))


@njit(cache=True, nogil=True, inline="always")
def _ramp(value, low, high):
    """0 below `low`, 1 above `high`, smooth in between."""
    t = min(1.0, max(0.0, (value - low) / (high - low)))
    return np.float32(t * t * (3 - 2 * t))


@njit(cache=True, nogil=True)
def _render(
    gx,
    gy,
    classes,
    shift,
    vigour,
    brightness,
    cover,
    bare,
    green,
    rough,
    smooth,
    form,
    limits,
    shadow,
    seen,
    grain,
    start,
    offset,
    fine,
    coarse,
    coastal,
    scl,
):  # noqa: PLR0912, PLR0915
    wrap = grain.shape[0] - 1
    ten = (1, 2, 3, 4)  # bands of 10 m, by their place in BANDS
    total = np.empty(7, np.float32)
    for row in range(scl.shape[0]):
        for col in range(scl.shape[1]):
            x, y = place_of(gx, gy, 2 * col + 1.0, 2 * row + 1.0)
            if seen[0] * x + seen[1] * y < seen[2]:
                continue

            # the sky: opacity of cloud and cirrus, and how much sun the clouds take away; all constant over 20 m,
            # as SCL is, so that SCL tells exactly which pixels are clear
            opacity = veil = shade = np.float32(0)
            if limits[0] < 90:
                opacity = _ramp(cloudiness(x, y, form, limits, rough, smooth), limits[0], limits[1])
                away = cloudiness(x - shadow[0], y - shadow[1], form, limits, rough, smooth)
                shade = _ramp(away, limits[0], limits[0] + 0.6 * (limits[1] - limits[0]))
            if limits[3] < 9:
                veil = np.float32(0.38) * _ramp(streakiness(x, y, form, rough, smooth), limits[3], limits[4])
            if opacity < 0.05:
                opacity = np.float32(0)
            if shade < 0.12:
                shade = np.float32(0)
            if veil < 0.03:
                veil = np.float32(0)

            total[:] = 0
            water = 0
            for k in range(4):
                r, c = 2 * row + (k >> 1), 2 * col + (k & 1)
                code = classes[r, c]
                water += code == WATER
                f = min(np.float32(1), vigour[r, c] * np.float32(VIGOUR_SCALE) * cover[code, shift[r, c] - 96])
                light = brightness[r, c] * np.float32(BRIGHTNESS_SCALE)
                for b in range(7):
                    total[b] += light * (bare[code, b] + (green[code, b] - bare[code, b]) * f)
                for i in range(4):
                    b = ten[i]
                    value = light * (bare[code, b] + (green[code, b] - bare[code, b]) * f)
                    value *= np.float32(1) - SHADE[b] * shade
                    value += (CIRRUS[b] - value) * veil
                    value += (CLOUD[b] * (np.float32(0.62) + np.float32(0.38) * opacity) - value) * opacity
                    noise = grain[(r + start[b, 0]) & wrap, (c + start[b, 1]) & wrap]
                    fine[i, r, c] = _dn(value, noise, offset)

            red, nir = total[3] / 4, total[4] / 4
            for b in (0, 5, 6):
                value = total[b] / 4
                value *= np.float32(1) - SHADE[b] * shade
                value += (CIRRUS[b] - value) * veil
                value += (CLOUD[b] * (np.float32(0.62) + np.float32(0.38) * opacity) - value) * opacity
                if b == 0:
                    coastal[row, col] = value
                else:
                    noise = grain[(row + start[b, 0]) & wrap, (col + start[b, 1]) & wrap]
                    coarse[b - 5, row, col] = _dn(value, noise, offset)

            if opacity > 0:
                scl[row, col] = 9 if opacity > 0.55 else 8
            elif veil > 0:
                scl[row, col] = 10
            elif shade > 0:
                scl[row, col] = 3
            elif water >= 2:
                scl[row, col] = 6
            elif red > 0.24 and nir < 1.5 * red:
                scl[row, col] = 7  # sheet roofs, which the classifier of the real product does not trust either
            elif nir - red > 0.4 * (nir + red):
                scl[row, col] = 4
            elif nir < 0.13:
                scl[row, col] = 2
            else:
                scl[row, col] = 5


@njit(cache=True, nogil=True)
def _coastal(values, offset):
    """60 m pixels: the mean of those 20 m pixels that have data (reflectance 0 means none)."""
    n = values.shape[0] // 3
    out = np.zeros((n, n), np.uint16)
    for row in range(n):
        for col in range(n):
            total = np.float32(0)
            count = 0
            for k in range(9):
                value = values[3 * row + k // 3, 3 * col + k % 3]
                total += value
                count += value > 0
            if count:
                out[row, col] = _dn(total / count, np.float32(0), offset)
    return out
