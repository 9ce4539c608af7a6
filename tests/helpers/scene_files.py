"""Scenes of a sample as NumPy arrays, read by rasterio from their files alone: what courses expect is checked by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window, from_bounds

CLEAR = (4, 5, 6, 7, 11)
"""Classes of SCL that `mask_clouds` keeps: vegetation, bare, water, unclassified, snow."""


@dataclass(frozen=True)
class SceneFiles:
    """The scenes of one tile of a sample, in order of time."""

    folder: Path
    tile: str = "31TCJ"

    @cached_property
    def items(self) -> pd.DataFrame:
        table = pd.read_parquet(self.folder / "sentinel-2-l2a" / "items.parquet")
        table["datetime"] = pd.to_datetime(table.datetime, utc=True)
        return table[table["grid:code"] == f"MGRS-{self.tile}"].sort_values("datetime", ignore_index=True)

    @property
    def dates(self) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(self.items.datetime).tz_localize(None).normalize()

    def window(self, bounds: tuple[float, float, float, float]) -> Window:
        """Pixels of 10 m that bounds in degrees touch."""
        with rasterio.open(self._file(self.items.iloc[0], "B04")) as file:
            part = from_bounds(*transform_bounds("EPSG:4326", file.crs, *bounds, densify_pts=21), file.transform)
        left, top = int(np.floor(part.col_off)), int(np.floor(part.row_off))
        right, bottom = int(np.ceil(part.col_off + part.width)), int(np.ceil(part.row_off + part.height))
        return Window(left, top, right - left, bottom - top)

    def pixel(self, lon: float, lat: float) -> Window:
        (row,), (column,) = self.pixels([lon], [lat])
        return Window(column, row, 1, 1)

    def pixels(self, lons: Sequence[float], lats: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of places."""
        with rasterio.open(self._file(self.items.iloc[0], "B04")) as file:
            x, y = transform("EPSG:4326", file.crs, lons, lats)
            columns, rows = ~file.transform @ (np.array(x), np.array(y))
        return np.floor(rows).astype(int), np.floor(columns).astype(int)

    def transform(self, window: Window) -> Any:
        with rasterio.open(self._file(self.items.iloc[0], "B04")) as file:
            return rasterio.windows.transform(window, file.transform)

    def band(self, name: str, window: Window, masked: bool = True) -> np.ndarray:
        """Reflectance at 10 m, (t, y, x), NaN where there is no value or, with `masked`, no clear view."""
        return np.stack([self.scene(item, name, window, masked) for _, item in self.items.iterrows()])

    def ndvi(self, window: Window, masked: bool = True) -> np.ndarray:
        red, nir = (self.band(name, window, masked) for name in ("B04", "B08"))
        return (nir - red) / (nir + red)

    def scene(self, item: pd.Series, name: str, window: Window, masked: bool) -> np.ndarray:
        """The same of one scene, (y, x)."""
        asset = item.assets[name]
        stored = self._read(item, name, window, int(asset["raster:spatial_resolution"]))
        values = np.where(stored == 0, np.nan, stored * asset["raster:scale"] + asset["raster:offset"])
        if masked:
            values[~np.isin(self._read(item, "SCL", window, 20), CLEAR)] = np.nan
        return values

    def _read(self, item: pd.Series, name: str, window: Window, metres: int) -> np.ndarray:
        """Every 10 m pixel has the value of the pixel that it lies in."""
        times = metres // 10
        rows = (np.arange(window.row_off, window.row_off + window.height) // times).astype(int)
        columns = (np.arange(window.col_off, window.col_off + window.width) // times).astype(int)
        part = Window(columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
        with rasterio.open(self._file(item, name)) as file:
            found = file.read(1, window=part)
        return found[np.ix_(rows - rows[0], columns - columns[0])]

    def _file(self, item: pd.Series, name: str) -> Path:
        return self.folder / item.assets[name]["href"]
