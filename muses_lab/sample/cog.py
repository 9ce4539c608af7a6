"""Cloud-optimised GeoTIFFs with overviews made here, exactly two by two pixels at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine

from muses_lab.raster.writing import write_pyramid
from muses_lab.sample import kernels

BLOCK = 512


def write_cog(path: Path, pixels: np.ndarray, crs: str, transform: Affine, nodata: int, overviews: str) -> int:
    """Writes one band with overviews down to 1/16 (or one block) and returns the file's size in bytes.

    `overviews`: "average" (of the pixels that are not `nodata`) or "nearest" (every second pixel).
    """
    smaller = kernels.average if overviews == "average" else _nearest
    layers = [pixels]
    while len(layers) < 5 and layers[-1].shape[0] % 2 == 0 and max(layers[-1].shape) > BLOCK // 4:
        layers.append(smaller(layers[-1], nodata))
    write_pyramid(path, [layer[None] for layer in layers], transform, block=BLOCK, crs=crs, nodata=nodata)
    return path.stat().st_size


def _nearest(pixels: np.ndarray, nodata: int) -> np.ndarray:
    return np.ascontiguousarray(pixels[::2, ::2])
