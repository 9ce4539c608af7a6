"""`load_url`: rasters and features by their address, where that may be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box

import muses_lab as ml
from muses_lab.errors import AccessDenied, DocumentError, MusesError
from tests.helpers import range_server
from tests.helpers.made_stacks import CRS, ORIGIN, own_window

WINDOW = own_window(40, 50)


@pytest.fixture(autouse=True)
def alone(fresh_home: Path) -> None:
    ml.use("threads")


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path / "web"
    folder.mkdir()
    profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 2, "dtype": "float32", "crs": CRS,
               "transform": from_origin(*ORIGIN, 10, 10), "nodata": -9999}  # fmt: skip
    with rasterio.open(folder / "dem.tif", "w", **profile) as file:
        file.write(np.stack([VALUES, -VALUES]))
    frame = geopandas.GeoDataFrame({"crop": ["wheat"]}, geometry=[FIELD], crs=CRS)
    frame.to_parquet(folder / "fields.parquet")
    frame.to_crs(4326).to_file(folder / "fields.geojson", driver="GeoJSON")
    (folder / "text.tif").write_text("nothing")
    (folder / "text.geojson").write_text("[]")
    with range_server.serving(folder) as server:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")
        yield server.url


VALUES = np.arange(2000, dtype=np.float32).reshape(40, 50)
FIELD = box(ORIGIN[0] + 97, ORIGIN[1] - 203, ORIGIN[0] + 302, ORIGIN[1] - 98)


def node(process: str, /, **arguments: Any) -> dict[str, Any]:
    return {"process_id": process, "arguments": arguments}


def document(url: str, format: str, **nodes: Any) -> dict[str, Any]:
    found = {"l": node("load_url", url=url, format=format), **nodes}
    return {**found, list(found)[-1]: {**found[list(found)[-1]], "result": True}}


def test_a_raster_is_an_image_of_its_bands(address: str) -> None:
    chain = ml.Chain.from_json(document(f"{address}/dem.tif", "GTiff"))
    found = chain.compute(WINDOW)
    assert found.dims == ("bands", "y", "x") and list(found.bands.values) == ["b1", "b2"]
    np.testing.assert_array_equal(found.values, np.stack([VALUES, -VALUES]))
    first = document(f"{address}/dem.tif", "cog", f=node("filter_bands", data={"from_node": "l"}, bands=["b2"]))
    np.testing.assert_array_equal(ml.Chain.from_json(first).compute(WINDOW).values, -VALUES[None])


@pytest.mark.parametrize(("name", "format"), [("fields.geojson", "GeoJSON"), ("fields.parquet", "Parquet")])
def test_features_mask_and_are_in_the_chain(address: str, name: str, format: str) -> None:
    raster = node("load_url", url=f"{address}/dem.tif", format="GTiff")
    masked = node("mask_polygon", data={"from_node": "r"}, mask={"from_node": "l"})
    chain = ml.Chain.from_json(document(f"{address}/{name}", format, r=raster, m=masked))
    inside = np.zeros((40, 50), bool)
    inside[10:20, 10:30] = True  # pixels whose centre is in the field
    np.testing.assert_array_equal(chain.compute(WINDOW).values[0], np.where(inside, VALUES, np.nan))
    assert name not in json.dumps(chain.to_json())


def test_what_is_none_of_the_formats_is_refused(address: str) -> None:
    for url, format, said in (
        (f"{address}/dem.tif", "netCDF", "'netCDF' is none of the formats"),
        (f"{address}/text.tif", "GTiff", "cannot be read"),
        (f"{address}/dem.nc", "GTiff", "it ends in .tif"),
        (f"{address}/none.tif", "GTiff", "404"),
    ):
        with pytest.raises(MusesError, match=said):
            ml.Chain.from_json(document(url, format)).published  # noqa: B018
    data = {"process_id": "load_collection", "arguments": {"id": "a:b"}}
    masked = node("mask_polygon", data={"from_node": "d"}, mask={"from_node": "l"})
    for name, said in (("text.geojson", "FormatUnsuitable"), ("none.geojson", "404")):
        with pytest.raises(DocumentError, match=said):
            ml.Chain.from_json(document(f"{address}/{name}", "GeoJSON", d=data, m=masked))
    with pytest.raises(DocumentError, match="no options of GTiff, such as 'a'"):
        load = node("load_url", url=f"{address}/dem.tif", format="GTiff", options={"a": 1})
        ml.Chain.from_json({"l": {**load, "result": True}})


@pytest.mark.parametrize("url", ["file:///etc/a.tif", "/etc/a.tif", "http://10.0.0.1/a.tif", "https://localhost/a.tif"])
def test_addresses_that_may_not_be_asked_are_refused(url: str) -> None:
    with pytest.raises(AccessDenied):
        ml.Chain.from_json(document(url, "GTiff")).published  # noqa: B018
    masked = node("mask_polygon", data={"from_node": "d"}, mask={"from_node": "l"})
    data = {"process_id": "load_collection", "arguments": {"id": "a:b"}}
    with pytest.raises(DocumentError, match="cannot be read|no clear|programs"):
        ml.Chain.from_json(document(url, "GeoJSON", d=data, m=masked))
