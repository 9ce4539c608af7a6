"""Physical values of files as rasterio reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio

from muses_lab.raster.asset import Asset, Band


def masked_values(path: Path, overview: int, bands: int) -> np.ndarray:
    """An overview (0: full resolution); NaN where the file's mask, opacity or nodata value hides the pixel."""
    with rasterio.open(path, **({"overview_level": overview - 1} if overview else {})) as file:
        return np.stack([file.read(b + 1, masked=True).astype(np.float32).filled(np.nan) for b in range(bands)])


def physical_values(path: Path) -> np.ndarray:
    """(band, y, x) as rasterio and the file's own numbers have it."""
    with rasterio.open(path) as file:
        values = file.read(masked=True)
        scaled = values * np.array(file.scales)[:, None, None] + np.array(file.offsets)[:, None, None]
        return scaled.filled(np.nan).astype(np.float32)


def values_by_metadata(file: Path, asset: Asset, band: Band) -> np.ndarray:
    """What rasterio reads, by the numbers that metadata give."""
    scale, offset, nodata = (
        own if own is not None else general
        for own, general in (
            (asset.scale, band.scale), (asset.offset, band.offset), (asset.nodata, band.nodata),
        )
    )  # fmt: skip
    with rasterio.open(file) as source:
        own = source.read(asset.band, masked=True)
    values = (own.data * scale + offset).astype(np.float32)
    values[np.ma.getmaskarray(own) | (own.data == nodata)] = np.nan
    return values
