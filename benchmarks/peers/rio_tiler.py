"""rio-tiler: a mosaic of all dates per tile, their median as the pixel selection.

The reader of the mosaic is the documented one, `STACReader` over three assets of an item: NDVI by an expression, masked
where the scene class is not clear.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from contestant import TILE, WIDTH, Result, Unsupported, View, ndvi_shift, serve, settings, tile_bounds, unshadow

unshadow()
SETTINGS = settings(
    at_once=2,  # tiles, or strips, at a time
    threads=1,  # assets at a time within one of them
    strips=0,  # 0: the fifteen tiles; else the view in so many strips, one mosaic each
    median="rio-tiler",  # its own pixel selection; bottleneck: one of ours
    png_level=1,
    cache_mb=256,
)
os.environ |= {  # before the imports, which read them
    "RIO_TILER_MAX_THREADS": str(SETTINGS["threads"]),
    "NUMEXPR_NUM_THREADS": "1",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": str(SETTINGS["cache_mb"]),
}

import bottleneck  # noqa: E402
import numpy as np  # noqa: E402
import pystac  # noqa: E402
import rasterio  # noqa: E402
import rio_tiler  # noqa: E402
from rasterio.crs import CRS  # noqa: E402
from rio_tiler.colormap import cmap  # noqa: E402
from rio_tiler.io import STACReader  # noqa: E402
from rio_tiler.models import ImageData  # noqa: E402
from rio_tiler.mosaic import mosaic_reader  # noqa: E402
from rio_tiler.mosaic.methods.defaults import MedianMethod  # noqa: E402
from scipy.ndimage import uniform_filter  # noqa: E402

MERCATOR = CRS.from_epsg(3857)
COLOURS = cmap.get("rdylgn")
MARGIN = 2  # pixels around a tile that a focal mean of 5 x 5 looks at: rio-tiler's `buffer`
Bounds = tuple[float, float, float, float]


class BottleneckMedian(MedianMethod):
    """A pixel selection that users could write themselves: the median by a faster library."""

    @property
    def data(self) -> np.ma.MaskedArray:
        stack = np.stack([array.filled(np.nan) for array in self.stack])
        return np.ma.masked_invalid(bottleneck.nanmedian(stack, axis=0))


class RioTiler:
    name = "rio-tiler, whole view" if SETTINGS["strips"] else "rio-tiler"
    version = rio_tiler.__version__

    def __init__(self) -> None:
        self.dates: list[tuple[dict[str, Any], pystac.Item]] = []

    def open(self, folder: Path, items: list[dict[str, Any]]) -> None:
        self.dates = [(item, pystac.Item.from_dict(item)) for item in items]

    def forget(self) -> None:
        """Nothing to drop: each mosaic opens and closes its files, and GDAL's blocks go with them."""

    def view(self, view: View) -> Result:
        if view.workload not in ("W1", "W2", "W3"):
            raise Unsupported(f"{view.workload} is not written for rio-tiler: W1, W2, W3 are")
        if SETTINGS["strips"]:
            parts = [(bounds, WIDTH, height) for bounds, height in view.strips(SETTINGS["strips"])]
        else:
            parts = [(tile_bounds(*tile), TILE, TILE) for tile in view.tiles]
        with ThreadPoolExecutor(SETTINGS["at_once"]) as pool:
            images = list(pool.map(lambda part: self.image(view, *part), parts))
            pngs = list(pool.map(render, images))
        return Result([image.array for image in images], pngs, {"parts": len(parts)})

    def image(self, view: View, bounds: Bounds, width: int, height: int) -> ImageData:
        chosen = view.choose([item for item, _ in self.dates])
        dates = [date for date in self.dates if date[0] in chosen]
        image, _ = mosaic_reader(
            dates,
            read,
            view,
            bounds,
            width,
            height,
            pixel_selection=MedianMethod() if SETTINGS["median"] == "rio-tiler" else BottleneckMedian(),
            threads=SETTINGS["threads"],
        )
        if view.workload == "W3":
            image = ImageData(focal_mean(image.array[0])[MARGIN:-MARGIN, MARGIN:-MARGIN])
        if view.threshold is not None:
            image.array.mask |= image.array.data < view.threshold
        return image


def read(date: tuple[dict[str, Any], pystac.Item], view: View, bounds: Bounds, width: int, height: int) -> ImageData:
    raw, item = date
    masked = view.workload == "W1"
    expression = f"(1.0 * b2 - b1) / (b1 + b2 + {ndvi_shift(raw)})"
    with STACReader(None, item=item) as source:
        bands = source.part(
            bounds,
            dst_crs=MERCATOR,
            bounds_crs=MERCATOR,
            width=width,
            height=height,
            buffer=MARGIN if view.workload == "W3" else None,
            assets=["B04", "B08", "SCL"] if masked else ["B04", "B08"],
        )
    ndvi = bands.apply_expression(expression)
    if masked:
        ndvi.array.mask |= ~np.isin(bands.array.data[2:], view.classes, kind="table")
    return ndvi


def focal_mean(ndvi: np.ma.MaskedArray) -> np.ma.MaskedArray:
    """Mean of the valid among 5 x 5 pixels."""
    valid = uniform_filter((~np.ma.getmaskarray(ndvi)).astype("f4"), 2 * MARGIN + 1, mode="nearest")
    total = uniform_filter(ndvi.filled(0), 2 * MARGIN + 1, mode="nearest")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.ma.masked_array(total / valid, mask=valid < 1e-6)


def render(image: ImageData) -> bytes:
    scaled = ImageData(image.array.copy())
    scaled.rescale(((0, 1),))
    return scaled.render(img_format="PNG", colormap=COLOURS, zlevel=SETTINGS["png_level"])


if __name__ == "__main__":
    with rasterio.Env():
        serve(RioTiler())
