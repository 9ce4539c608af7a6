"""Real series, read in place or written as the stacks that they are: what a test compares with is read by others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import rasterio

import muses_lab as ml
from muses_lab.catalog.register import add
from tests.helpers.made_stacks import CRS, ORIGIN, stack


def eolearn(shared: Path, folder: Path) -> tuple[ml.Collection, dict[str, np.ndarray], list[str]]:
    """68 dates of NDVI with cloud mask and validity, on pixels of 10 m; the arrays (date, row, column); the dates."""
    patch = shared / "eolearn" / "TestEOPatch"
    names = {"NDVI": "data/NDVI", "CLP": "data/CLP", "CLM": "mask/CLM", "IS_VALID": "mask/IS_VALID"}
    arrays = {name: np.load(patch / f"{path}.npy")[..., 0].astype(np.float32) for name, path in names.items()}
    dates = json.loads((patch / "timestamps.json").read_text())
    cube = np.stack(list(arrays.values()), axis=1)
    found = stack(cube, folder, bands=list(names), dates=dates, name="eolearn", categorical=["CLM", "IS_VALID"])
    return found, arrays, dates


def sentinel1(shared: Path, folder: Path) -> tuple[ml.Collection, Path, list[str]]:
    """98 dates of VV in dB, read in place; the file; the dates."""
    path = shared / "ddl8s1ts" / "s1_timeseries_VV_32646_30m.tif"
    with rasterio.open(path) as file:
        said = pd.to_datetime([name[17:32] for name in file.descriptions], format="%Y%m%dT%H%M%S")
    times = pd.Series(said)
    times += pd.to_timedelta(times.groupby(times).cumcount(), unit="h")  # some acquisitions are there twice
    dates = [time.isoformat() for time in times]
    mapping = {"dates": dates, "bands": [{"name": "VV"}], "scale": 0.01, "platform": "sentinel-1a", "collection": "s1"}
    add([path], catalog=folder, stack=mapping)
    return ml.collection("s1", ml.open_catalog(str(folder))), path, dates


def modis(shared: Path, folder: Path) -> tuple[ml.Collection, list[Path]]:
    """12 dates of NDVI in JPEG 2000 on the sinusoidal grid, read in place; the files in order."""
    files = sorted((shared / "sits" / "mod13q1_sinop").glob("*NDVI*.jp2"))
    add(files, catalog=folder, collection="modis", pattern=r"(?P<band>NDVI)_(?P<date>\d{4}-\d{2}-\d{2})")
    return ml.collection("modis", ml.open_catalog(str(folder))), files


def place(row: float, col: float, origin: tuple[float, float] = ORIGIN, size: float = 10, crs: object = CRS) -> tuple:
    """Longitude and latitude of the centre of a pixel."""
    there = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    return there.transform(origin[0] + (col + 0.5) * size, origin[1] - (row + 0.5) * size)
