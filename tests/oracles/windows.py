"""Pixels of a window: the file's own at the places that pyproj gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import rasterio
import rasterio.transform
from odc.geo.geobox import GeoBox


def sampled(path: Path, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values at places in a file's own system, as rasterio finds them; NaN outside."""
    with rasterio.open(path) as file:
        image, (rows, cols) = file.read(1), rasterio.transform.rowcol(file.transform, x.ravel(), y.ravel())
    rows, cols = np.reshape(rows, x.shape), np.reshape(cols, x.shape)
    inside = (rows >= 0) & (rows < image.shape[0]) & (cols >= 0) & (cols < image.shape[1])
    return np.where(inside, image[np.where(inside, rows, 0), np.where(inside, cols, 0)], np.nan)


def centres(window: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    cols, rows = np.meshgrid(np.arange(window.shape.x) + 0.5, np.arange(window.shape.y) + 0.5)
    a = window.affine
    return a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f


def there(path: Path, window: GeoBox) -> np.ndarray:
    """What a raster of the whole world in degrees has at the pixels of a window, by pyproj and NumPy alone."""
    with rasterio.open(path) as file:
        image, at = file.read(1), file.transform
    lon, lat = pyproj.Transformer.from_crs(window.crs, 4326, always_xy=True).transform(*centres(window))
    known = np.isfinite(lon) & np.isfinite(lat)
    col = np.floor(np.where(known, (lon - at.c) % 360, 0) / at.a).astype(int)
    row = np.clip(np.floor(np.where(known, at.f - lat, 0) / -at.e).astype(int), 0, image.shape[0] - 1)
    return np.where(known, image[row, col], np.nan)
