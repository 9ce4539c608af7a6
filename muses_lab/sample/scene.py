"""One scene: what the sensor sees of the ground under the sky of the day, as DN of every band and SCL classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from muses_lab.sample.ground import WATER, Fields, Ground, place_of
from muses_lab.sample.place import Tile
from muses_lab.sample.sky import Overpass, Swath, Weather, cloudiness, streakiness
from muses_lab.sample.spectra import BANDS, BRIGHTNESS_SCALE, mixtures

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
    _render(
        *tile.ground,
        ground.classes,
        ground.shift,
        ground.vigour,
        ground.brightness,
        *mixtures(overpass.day_of_year),
        fields.rough,
        fields.smooth,
        weather.form,
        weather.limits,
        weather.shadow,
        swath.seen,
        grain,
        start,
        np.float32(overpass.offset),
        fine,
        coarse,
        coastal,
        scl,
    )
    bands = dict(zip(("B02", "B03", "B04", "B08"), fine, strict=True))
    bands |= dict(zip(("B11", "B12"), coarse, strict=True))
    bands["B01"] = _coastal(coastal, np.float32(overpass.offset))
    bands["SCL"] = scl
    return Pixels(bands, np.bincount(scl.ravel(), minlength=12))


@njit(cache=True, nogil=True, inline="always")
def _dn(reflectance, noise, offset):
    """DN of a reflectance: noise grows with the signal, steps of about 2 % make files small, never nodata."""
    value = reflectance * np.float32(10000)
    value += noise * (np.float32(1.5) + np.float32(0.002) * min(value, np.float32(4000)))
    if value < np.float32(1024):
        step, per_step = np.float32(16), np.float32(1 / 16)
    elif value < np.float32(2048):
        step, per_step = np.float32(32), np.float32(1 / 32)
    elif value < np.float32(4096):
        step, per_step = np.float32(64), np.float32(1 / 64)
    else:
        step, per_step = np.float32(128), np.float32(1 / 128)
    return np.uint16(max(np.float32(1), np.floor(value * per_step + np.float32(0.5)) * step + offset))


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
    greenness,
    spectra,
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
):
    wrap = grain.shape[0] - 1
    kept = np.ones(8, np.float32)  # what the sky leaves of the ground's light, and what it adds
    added = np.zeros(8, np.float32)
    total = np.empty(8, np.float32)
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
                if opacity < 1:
                    away = cloudiness(x - shadow[0], y - shadow[1], form, limits, rough, smooth)
                    shade = _ramp(away, limits[0], limits[0] + 0.6 * (limits[1] - limits[0]))
            if limits[3] < 9:
                veil = np.float32(0.38) * _ramp(streakiness(x, y, form, rough, smooth), limits[3], limits[4])
            opacity = np.float32(0) if opacity < 0.05 else opacity
            shade = np.float32(0) if shade < 0.12 else shade
            veil = np.float32(0) if veil < 0.03 else veil
            white = np.float32(0.62) + np.float32(0.38) * opacity
            for b in range(7):
                kept[b] = (np.float32(1) - SHADE[b] * shade) * (np.float32(1) - veil) * (np.float32(1) - opacity)
                added[b] = CIRRUS[b] * veil * (np.float32(1) - opacity) + CLOUD[b] * white * opacity
                total[b] = 0

            water = 0
            for k in range(4):
                r, c = 2 * row + (k >> 1), 2 * col + (k & 1)
                code = classes[r, c]
                water += code == WATER
                f = np.uint8(min(np.float32(255), vigour[r, c] * greenness[code, shift[r, c]] + np.float32(0.5)))
                light = brightness[r, c] * np.float32(BRIGHTNESS_SCALE)
                spectrum = spectra[code, f]
                for b in range(8):
                    total[b] += light * spectrum[b]
                for i in range(4):  # the bands of 10 m are 1 to 4 of BANDS
                    noise = grain[(r + start[i + 1, 0]) & wrap, (c + start[i + 1, 1]) & wrap]
                    fine[i, r, c] = _dn(light * spectrum[i + 1] * kept[i + 1] + added[i + 1], noise, offset)

            coastal[row, col] = total[0] / 4 * kept[0] + added[0]
            for b in range(5, 7):
                noise = grain[(row + start[b, 0]) & wrap, (col + start[b, 1]) & wrap]
                coarse[b - 5, row, col] = _dn(total[b] / 4 * kept[b] + added[b], noise, offset)
            scl[row, col] = _class(opacity, veil, shade, water, total[3] / 4, total[4] / 4)


@njit(cache=True, nogil=True, inline="always")
def _class(opacity, veil, shade, water, red, nir):
    """SCL class of a 20 m pixel."""
    if opacity > 0:
        return 9 if opacity > 0.55 else 8
    if veil > 0:
        return 10
    if shade > 0:
        return 3
    if water >= 2:
        return 6
    if red > 0.24 and nir < 1.5 * red:
        return 7  # sheet roofs, which the classifier of the real product does not trust either
    if nir - red > 0.4 * (nir + red):
        return 4
    return 2 if nir < 0.13 else 5


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
