"""Pixels of coarser levels: means by NumPy, stored overviews by rasterio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio


def averaged(image: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor × factor pixels without the missing ones; blocks that are cut off by the edge included."""
    rows, cols = (-(-n // factor) for n in image.shape)
    padded = np.full((rows * factor, cols * factor), np.nan)
    padded[: image.shape[0], : image.shape[1]] = image
    blocks = padded.reshape(rows, factor, cols, factor)
    with np.errstate(all="ignore"):
        total, number = np.nansum(blocks, axis=(1, 3)), (~np.isnan(blocks)).sum(axis=(1, 3))
        return np.where(number > 0, total / number, np.nan)


def stored(path: Path, overview: int) -> np.ndarray:
    """An overview (0: full resolution) as rasterio gives it."""
    with rasterio.open(path, **({"overview_level": overview - 1} if overview else {})) as file:
        return file.read(1)
