"""odc-stac with Dask threads: the view in one grid, a chunk per date, the median over blocks of rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from contestant import HEIGHT, WIDTH, Result, Unsupported, View, ndvi_shift, serve, settings, unshadow
from palette import png

unshadow()
SETTINGS = settings(
    threads=2,
    load="dask",  # or pool: odc-stac's own threads, no Dask before the arithmetic
    chunk=0,  # pixels along x and y of what Dask loads at a time; 0: the whole view
    chunk_x=0,  # the same along x alone
    rows=64,  # of the view that one median works on; 0: as loaded
    median="bottleneck",  # or xarray
)
os.environ |= {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

import bottleneck  # noqa: E402
import dask  # noqa: E402
import numpy as np  # noqa: E402
import odc.stac  # noqa: E402
import pystac  # noqa: E402
import xarray as xr  # noqa: E402
from affine import Affine  # noqa: E402
from odc.geo.geobox import GeoBox  # noqa: E402
from scipy.ndimage import uniform_filter  # noqa: E402


class OdcStac:
    name = "odc-stac"
    version = odc.stac.__version__

    def __init__(self) -> None:
        self.items: list[tuple[dict[str, Any], pystac.Item]] = []

    def open(self, folder: Path, items: list[dict[str, Any]]) -> None:
        self.items = [(item, pystac.Item.from_dict(item)) for item in items]
        dask.config.set(scheduler="threads", num_workers=SETTINGS["threads"])
        odc.stac.configure_rio(cloud_defaults=False, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")

    def forget(self) -> None:
        """Nothing to drop: files are opened and closed by each task, and no result is persisted."""

    def view(self, view: View) -> Result:
        if view.workload not in ("W1", "W2", "W3"):
            raise Unsupported(f"{view.workload} is not written for odc-stac: W1, W2, W3 are")
        chosen = view.choose([raw for raw, _ in self.items])
        shifts = {ndvi_shift(raw) for raw in chosen}
        if len(shifts) > 1:
            raise Unsupported("one load has one scale and offset; these dates differ")
        bands = self.load(view, [item for raw, item in self.items if raw in chosen])
        red, nir = bands.B04.astype("f4"), bands.B08.astype("f4")
        ndvi = (nir - red) / (nir + red + np.float32(shifts.pop()))
        if view.workload == "W1":
            values = median_over_time(ndvi.where(bands.SCL.isin(view.classes)))  # where nothing is stored, SCL is 0
        else:
            values = ndvi.where((bands.B04 > 0) & (bands.B08 > 0)).isel(time=0).compute().values
        if view.workload == "W3":
            values = focal_mean(values)
        if view.threshold is not None:
            values = np.where(values >= view.threshold, values, np.nan)
        return Result([values], [png(values)], {})

    def load(self, view: View, items: list[pystac.Item]) -> xr.Dataset:
        left, bottom, right, top = view.bounds
        grid = GeoBox(
            (HEIGHT, WIDTH), Affine((right - left) / WIDTH, 0, left, 0, (bottom - top) / HEIGHT, top), "EPSG:3857"
        )
        how: dict[str, Any] = {"pool": SETTINGS["threads"]}
        if SETTINGS["load"] == "dask":
            how = {"chunks": {"x": SETTINGS["chunk_x"] or SETTINGS["chunk"] or -1, "y": SETTINGS["chunk"] or -1}}
        assets = ["B04", "B08", "SCL"] if view.workload == "W1" else ["B04", "B08"]
        return odc.stac.load(items, bands=assets, geobox=grid, resampling="nearest", **how)


def median_over_time(ndvi: xr.DataArray) -> np.ndarray:
    if SETTINGS["load"] == "pool":  # in memory already: Dask for the arithmetic alone
        ndvi = ndvi.chunk({"time": -1, "y": SETTINGS["rows"] or -1})
    else:
        ndvi = ndvi.chunk({"time": -1} | ({"y": SETTINGS["rows"]} if SETTINGS["rows"] else {}))
    if SETTINGS["median"] == "xarray":
        return ndvi.median("time").compute().values
    return (
        xr.apply_ufunc(
            bottleneck.nanmedian,
            ndvi,
            input_core_dims=[["time"]],
            kwargs={"axis": -1},
            dask="parallelized",
            output_dtypes=["f4"],
        )
        .compute()
        .values
    )


def focal_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the valid among 5 x 5 pixels."""
    valid = np.isfinite(values)
    count = uniform_filter(valid.astype("f4"), 5, mode="nearest")
    total = uniform_filter(np.where(valid, values, 0), 5, mode="nearest")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 1e-6, total / count, np.nan)


if __name__ == "__main__":
    serve(OdcStac())
