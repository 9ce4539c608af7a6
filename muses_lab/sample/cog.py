"""Cloud-optimised GeoTIFFs with overviews made here, exactly two by two pixels at a time."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from muses_lab.raster.writing import copy_raster, create_raster, delete_raster
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
    # GDAL takes a file's overviews from its .ovr, and those of the .ovr from .ovr.ovr
    name = f"/vsimem/{uuid.uuid4().hex}.tif"
    with rasterio.Env(GDAL_NUM_THREADS="1", GDAL_DISABLE_READDIR_ON_OPEN=False):
        for k, layer in enumerate(layers):
            raw = {"dtype": layer.dtype, "nodata": nodata, "crs": crs, "tiled": True}
            with create_raster(
                name + ".ovr" * k,
                count=1,
                height=layer.shape[0],
                width=layer.shape[1],
                transform=transform @ Affine.scale(2**k),
                blockxsize=BLOCK,
                blockysize=BLOCK,
                **raw,
            ) as file:
                file.write(layer, 1)
        # level 1 and no predictor: of such stepped values a predictor makes 6 % more, and higher levels take much
        # longer and gain little
        copy_raster(
            name,
            path,
            driver="COG",
            compress="DEFLATE",
            level=1,
            blocksize=BLOCK,
            overview_compress="DEFLATE",
            overviews="AUTO",
            bigtiff="NO",
        )
        for k in reversed(range(len(layers))):
            delete_raster(name + ".ovr" * k)
    return path.stat().st_size


def _nearest(pixels: np.ndarray, nodata: int) -> np.ndarray:
    return np.ascontiguousarray(pixels[::2, ::2])
