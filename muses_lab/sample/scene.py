"""One scene: what the sensor sees of the ground under the sky of the day, as DN of every band and SCL classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from muses_lab.sample import kernels
from muses_lab.sample.ground import Ground
from muses_lab.sample.noise import Fields
from muses_lab.sample.place import Tile
from muses_lab.sample.sky import Overpass, Swath, Weather, look
from muses_lab.sample.spectra import BANDS, mixtures

RESOLUTIONS = {"B01": 60, "B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20, "B12": 20, "SCL": 20}


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
    kernels.render(
        ground.classes,
        ground.shift,
        ground.vigour,
        ground.brightness,
        *mixtures(overpass.day_of_year),
        *look(tile, swath, weather, fields),
        grain,
        start,
        np.float32(overpass.offset),
        fine,
        coarse,
        coastal,
        scl,
    )
    bands: dict[str, np.ndarray] = dict(zip(("B02", "B03", "B04", "B08"), fine, strict=True))
    bands |= dict(zip(("B11", "B12"), coarse, strict=True))
    bands["B01"] = kernels.coastal(coastal, np.float32(overpass.offset))
    bands["SCL"] = scl
    return Pixels(bands, np.bincount(scl.ravel(), minlength=12))
