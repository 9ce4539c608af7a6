"""Files and arrays as chains: what they are when they are shown, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

import muses_lab as ml
from muses_lab.api.rasters import overview
from muses_lab.errors import MusesError, TooLarge

pytestmark = pytest.mark.usefixtures("fresh_home", "in_threads")

GRID = GeoBox((60, 80), Affine(10, 0, 360_000, 0, -10, 4_830_000), "EPSG:32631")
VALUES = np.linspace(-1, 1, 60 * 80, dtype="float32").reshape(60, 80)
VALUES[:5] = np.nan


@pytest.fixture
def array() -> xr.DataArray:
    return wrap_xr(VALUES, GRID)


def same(chain: ml.Chain, values: np.ndarray, grid: GeoBox = GRID) -> bool:
    return np.array_equal(chain.compute(grid).values, values.reshape(-1, *grid.shape), equal_nan=True)


def test_an_array_keeps_its_values_and_place(array: xr.DataArray, fresh_home: Path) -> None:
    chain = ml.from_array(array)
    (file,) = (fresh_home / "arrays").iterdir()
    made = file.stat().st_mtime_ns
    assert same(chain, VALUES)
    assert ml.from_array(array.copy()).identical(chain), "equal arrays are one chain"
    assert file.stat().st_mtime_ns == made, "what is newer than the chain is left out of it"
    assert same((chain + 1) * 2, (VALUES + 1) * 2), "it is a chain like any other"
    assert overview(chain, 20).shape == (15, 20)


def test_rows_from_the_south_bands_and_types(array: xr.DataArray) -> None:
    assert same(ml.from_array(array.isel(y=slice(None, None, -1))), VALUES)
    assert same(ml.from_array(array > 0), (VALUES > 0).astype("float32"))
    whole = (array.fillna(0) * 100).astype("int64")
    assert same(ml.from_array(whole), whole.values.astype("float32"))
    whole.attrs["_FillValue"] = 0
    assert same(ml.from_array(whole), np.where(whole.values == 0, np.nan, whole.values).astype("float32"))
    bands = xr.concat([array, array + 1], dim=xr.IndexVariable("band", ["low", "high"]))
    assert same(ml.from_array(bands).bands("high"), VALUES + 1)
    assert same(ml.from_array(array.expand_dims(time=1)), VALUES)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda a: a.values, "a ndarray does not say where it lies"),
        (lambda a: a.isel(y=0), "none of them are x and y"),
        (lambda a: xr.DataArray(a.values, {"y": a.y.values, "x": a.x.values}, ("y", "x")), r"no CRS.*assign_crs"),
        (lambda a: a.expand_dims(time=3), r'has 3 dates, a map shows one: array.isel\(time=0\)'),
        (lambda a: a.expand_dims(band=2, level=2), "an image has x, y and at most bands"),
        (lambda a: a * 1j, "holds complex64"),
        (lambda a: a.isel(x=slice(0, 0)), "has no pixels"),
        (lambda a: a.assign_coords(x=a.x.values**2), "no regular grid"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_with_a_cure(array: xr.DataArray, change, why: str) -> None:
    with pytest.raises(MusesError, match=why):
        ml.from_array(change(array))


def test_arrays_do_not_fill_the_disk(array: xr.DataArray, fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_MAX_COMPUTE_BYTES", "1000")
    with pytest.raises(TooLarge, match="choose a part"):
        ml.from_array(array)
    monkeypatch.delenv("MUSES_MAX_COMPUTE_BYTES")
    monkeypatch.setenv("MUSES_ARRAY_BYTES", "1")
    for number in range(3):
        newest = ml.from_array(array + number)
    assert len(list((fresh_home / "arrays").glob("*"))) == 1 and same(newest, VALUES + 2)
    assert len(list((fresh_home / "rasters").glob("array-*"))) == 1


def write(path: Path, **profile: object) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=80, height=60, count=1, dtype="float32",
        **{"crs": "EPSG:32631", "transform": GRID.affine} | profile,
    ) as file:  # fmt: skip
        file.write(VALUES, 1)
    return path


def test_a_file_is_shown_where_it_lies(tmp_path: Path) -> None:
    path = write(tmp_path / "heights é.tif")
    assert same(ml.open_raster(path), VALUES) and same(ml.open_raster(str(path)), VALUES)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.tif", "there is no file .*none.tif"), (".", "is a folder"), ("a.nc", "open it with xarray"),
        ("a.vrt", "gdal_translate"), ("a.png", "does not say where its pixels lie"), ("a.json", "ml.open_catalog"),
        ("a.gpkg", "ipyleaflet.GeoData"), ("https://example.org/a.tif", "is an address: download it"),
        ("text.tif", "cannot be shown"), ("nowhere.tif", "cannot be shown"),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_a_cure(tmp_path: Path, name: str, why: str) -> None:
    for other in ("a.nc", "a.vrt", "a.png", "a.json", "a.gpkg", "text.tif"):
        (tmp_path / other).write_text("no raster")
    write(tmp_path / "nowhere.tif", crs=None, transform=Affine.identity())
    with pytest.raises(MusesError, match=why):
        ml.open_raster(name if "://" in name else tmp_path / name)
