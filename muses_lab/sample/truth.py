"""The ground truth beside the sample: what was there, and what a perfect sensor would see of it on a cloudless day."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window

from muses_lab.raster.gdal import open_raster
from muses_lab.sample.cog import write_cog
from muses_lab.sample.ground import Ground
from muses_lab.sample.kernels import BRIGHTNESS_SCALE
from muses_lab.sample.place import Tile
from muses_lab.sample.spectra import (
    BANDS,
    COVERS,
    SHIFT_ZERO,
    VIGOUR_SCALE,
    mixtures,
)

LAYERS = {"classes": "nearest", "shift": "average", "vigour": "average", "brightness": "average"}


def write_truth(folder: Path, tile: Tile, ground: Ground) -> None:
    """Writes `<folder>/<tile>/{classes,shift,vigour,brightness}.tif`, COGs at 10 m."""
    (folder / tile.name).mkdir(parents=True)
    for name, overviews in LAYERS.items():
        write_cog(folder / tile.name / f"{name}.tif", getattr(ground, name), tile.crs, tile.transform(10), 0, overviews)


def write_classes(folder: Path) -> None:
    """Writes `<folder>/classes.json`: codes, names, colours, calendars and spectra of the land covers."""
    covers = [
        {
            "code": c.code,
            "name": c.name,
            "colour": c.colour,
            "green_cover_by_day_of_year": c.calendar,
            "bare": c.bare,
            "green": c.green,
            **({"stubble": c.stubble[0], "stubble_share_by_day_of_year": c.stubble[1]} if c.stubble else {}),
            **({"flower": c.flower[0], "flower_share_by_day_of_year": c.flower[1]} if c.flower else {}),
        }
        for c in COVERS
    ]
    doc: dict[str, Any] = {
        "formula": [
            "brightness * (bare * (1 - f) + green * f)",
            "f = min(1, vigour * cover(class, day_of_year - shift))",
        ],
        "brightness": {"scale": BRIGHTNESS_SCALE, "offset": 0},
        "vigour": {"scale": VIGOUR_SCALE, "offset": 0},
        "shift": {"scale": 1, "offset": -SHIFT_ZERO, "unit": "days"},
        "bands": BANDS,
        "classes": covers,
    }
    (folder / "classes.json").write_text(json.dumps(doc, indent=1), "utf-8")


@dataclass(frozen=True)
class Truth:
    """The ground truth of a sample catalogue.

    Examples
    --------
    >>> truth = Truth(generate(folder, size=512, dates=6))          # doctest: +SKIP
    >>> truth.ndvi("31TCJ", date(2018, 6, 1))                       # doctest: +SKIP
    """

    folder: Path
    """The catalogue's folder."""

    @cached_property
    def names(self) -> dict[int, str]:
        """Land covers by their code."""
        doc = json.loads((self.folder / "truth" / "classes.json").read_text("utf-8"))
        return {c["code"]: c["name"] for c in doc["classes"]}

    def layer(self, tile: str, name: str, window: Window | None = None) -> np.ndarray:
        """ "classes", "shift" (+128 days), "vigour" (× 200) or "brightness" (× 128) of a tile at 10 m: uint8."""
        with open_raster(self.folder / "truth" / tile.removeprefix("MGRS-") / f"{name}.tif") as file:
            return file.read(1, window=window)

    def classes(self, tile: str, window: Window | None = None) -> np.ndarray:
        """Land-cover codes of a tile at 10 m."""
        return self.layer(tile, "classes", window)

    def reflectance(
        self, tile: str, day: date, bands: tuple[str, ...] = BANDS, window: Window | None = None
    ) -> np.ndarray:
        """Clean reflectance at 10 m, (bands, y, x) float32, on any day: no cloud, shadow, swath edge or noise.

        A 20 m or 60 m band of the sample is the mean of 2 × 2 or 6 × 6 of these pixels.
        """
        classes, shift, vigour, brightness = (self.layer(tile, name, window) for name in LAYERS)
        greenness, spectra = mixtures(day.timetuple().tm_yday)
        f = np.minimum(255, vigour * greenness[classes, shift] + np.float32(0.5)).astype(np.uint8)
        light = brightness * np.float32(BRIGHTNESS_SCALE)
        return np.stack([light * spectra[classes, f, BANDS.index(band)] for band in bands])

    def ndvi(self, tile: str, day: date, window: Window | None = None) -> np.ndarray:
        """Clean NDVI at 10 m."""
        red, nir = self.reflectance(tile, day, ("B04", "B08"), window)
        return (nir - red) / (nir + red)
