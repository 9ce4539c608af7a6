"""A user's own file is recognised by what is in it, whatever it is called; what is wrong with it is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (gives arrays their `.rio`)
import shapely
import xarray as xr

import muses_lab as ml
from muses_lab.errors import ArgumentError, MusesError, NotFound

pytestmark = pytest.mark.usefixtures("in_threads", "fresh_home")

HERE = (1.40, 43.60)


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    file = tmp_path / "dem.tif"
    with rasterio.open(
        file, "w", driver="GTiff", count=1, height=20, width=30, dtype="float32", crs="EPSG:4326",
        transform=rasterio.transform.from_origin(*HERE, 0.001, 0.001),
    ) as opened:  # fmt: skip
        opened.write(np.arange(600, dtype="float32").reshape(1, 20, 30))
    return file


@pytest.fixture
def frame() -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        {"crop": ["wheat", "maize"]},
        geometry=[shapely.box(1, 43, 1.1, 43.1), shapely.box(1.2, 43, 1.3, 43.1)],
        crs=4326,
    )


def test_a_raster_under_any_name(raster: Path) -> None:
    wanted = ml.open_raster(raster).compute(ml.Window.like(raster))
    for name in ("dem.dat", "dem"):
        renamed = raster.with_name(name)
        shutil.copy(raster, renamed)
        found = ml.open_file(renamed)
        assert isinstance(found, ml.Chain)
        np.testing.assert_array_equal(found.compute(ml.Window.like(raster)).values, wanted.values)


@pytest.mark.parametrize("name", ["fields.gpkg", "fields.geojson", "fields.parquet", "fields.shp"])
def test_vectors(tmp_path: Path, frame: geopandas.GeoDataFrame, name: str) -> None:
    file = tmp_path / name
    frame.to_parquet(file) if file.suffix == ".parquet" else frame.to_file(file)
    found = ml.open_file(file)
    assert isinstance(found, ml.Vectors) and found.column("crop") == ("wheat", "maize")


def test_points_of_a_table(tmp_path: Path) -> None:
    file = tmp_path / "samples.csv"
    file.write_text("lon,lat,crop\n1.4,43.6,wheat\n")
    assert ml.open_file(file).column("crop") == ("wheat",)


def test_an_image_of_a_netcdf(tmp_path: Path, raster: Path) -> None:
    array = ml.open_raster(raster).compute(ml.Window.like(raster)).rename("height")
    file = tmp_path / "dem.nc"
    array.rio.write_crs(4326).to_netcdf(file)
    found = ml.open_file(file)
    np.testing.assert_allclose(found.compute(ml.Window.like(raster)).values, array.values)
    two = tmp_path / "two.nc"
    xr.Dataset({"a": array, "b": array}).rio.write_crs(4326).to_netcdf(two)
    with pytest.raises(MusesError, match="has 2 variables that are images .'a', 'b'.; choose one"):
        ml.open_file(two)


def test_a_chain_of_a_colleague(tmp_path: Path, raster: Path) -> None:
    chain = ml.open_raster(raster) * 2
    file = tmp_path / "chain.json"
    file.write_text(json.dumps(chain.to_json()))
    assert ml.open_file(file).identical(chain)


def test_scenes_of_a_catalogue(tmp_path: Path, sample_catalog: Path) -> None:
    items = next(sample_catalog.glob("*/items.parquet"))
    found = ml.open_file(items)
    assert isinstance(found, ml.Collection) and len(found) > 0
    assert len(ml.collection(found.query.collection)) == len(found), "it is registered"


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("dem.tif", b"", "is empty"),
        ("dem.tif", b"<html>404 Not Found</html>", "does not begin as a TIF does"),
        ("dem.tif", b"II*\0" + bytes(60), "cannot be shown"),
        ("dem.nc", b"\x89HDF\r\n\x1a\n" + bytes(60), "cannot be read as NetCDF"),
        ("map.png", b"\x89PNG\r\n\x1a\n" + bytes(60), "does not say where its pixels lie"),
        ("fields.gpkg", b"SQLite format 3\0" + bytes(100), "cannot be read|layers"),
        ("fields.json", b'{"type": "FeatureCollection", "features": [', "is no JSON"),
        ("fields.json", b'{"a": 1}', "."),
        ("fields.parquet", b"PAR1" + bytes(60), "cannot be read as Parquet"),
        ("fields.zip", b"PK\x03\x04" + bytes(60), "the archive cannot be read"),
        ("fields.dbf", b"\x03" + bytes(60), "a part of a Shapefile: give fields.shp"),
        ("notes.docx", b"\xd0\xcf\x11\xe0" + bytes(60), "no GeoPackage, no GeoJSON"),
        ("samples.csv", b"name,height\na,1\n", "no two of its columns"),
    ],
)  # fmt: skip
def test_a_broken_file_says_what_is_wrong_with_it(tmp_path: Path, name: str, body: bytes, why: str) -> None:
    file = tmp_path / name
    file.write_bytes(body)
    with pytest.raises(MusesError, match=why):
        ml.open_file(file)


def test_a_shapefile_without_its_parts(tmp_path: Path, frame: geopandas.GeoDataFrame) -> None:
    frame.to_file(tmp_path / "fields.shp")
    (tmp_path / "fields.dbf").unlink()
    with pytest.raises(ArgumentError, match=r"has no \.dbf beside it"):
        ml.open_file(tmp_path / "fields.shp")


def test_no_file_and_folders(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        ml.open_file(tmp_path / "nothing.tif")
    with pytest.raises(MusesError, match="is a folder: `muses-lab catalog add`"):
        ml.open_file(tmp_path)


def test_json_that_is_nothing_known_is_told_by_vectors(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    file.write_text(json.dumps([1, 2, 3]))
    with pytest.raises(MusesError):
        ml.open_file(file)
