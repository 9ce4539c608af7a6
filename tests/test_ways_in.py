"""One bad member never takes the rest along, and an item means the same whichever way it comes in."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import rustac
from affine import Affine

import muses_lab as ml
from muses_lab.catalog import Query, open_catalog
from muses_lab.catalog.register import add
from muses_lab.errors import ReadError
from muses_lab.times import format_time, parse_time
from tests.helpers.stac_items import asset, item, write_tif

pytestmark = pytest.mark.usefixtures("fresh_home", "in_threads")

WHOLE = Query("scenes", bbox=(0, 40, 5, 45), start="2018-01-01", end="2019-01-01")


def placed(id: str, day: str = "2018-06-01", **properties: Any) -> dict[str, Any]:
    """An item whose file is written by `folder`."""
    one = item(id, day, **properties)
    one["assets"]["red"] |= {"proj:shape": [20, 30]}
    return one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tif(tmp_path / "red.tif")
    return tmp_path


def collection(folder: Path, *items: Any) -> ml.Collection:
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return ml.collection("scenes", open_catalog(folder / "items.json"))


BAD: dict[str, Any] = {
    "a date that is none": {"properties": {"datetime": "soon"}},
    "a date that is a list": {"properties": {"datetime": ["2018-06-01"]}},
    "an interval that is none": {"properties": {"datetime": None, "start_datetime": "x", "end_datetime": "y"}},
    "a ring of two points": {"geometry": {"type": "Polygon", "coordinates": [[[1, 43], [2, 43]]]}},
    "a geometry without coordinates": {"geometry": {"type": "Polygon"}},
    "an unknown geometry": {"geometry": {"type": "Circle", "coordinates": [1, 43]}},
    "coordinates that are texts": {"geometry": {"type": "Point", "coordinates": ["east", "north"]}},
    "assets that are a list": {"assets": []},
    "no properties": {"properties": None},
    "a shape of texts": {"assets": {"red": asset("red.tif", **{"proj:shape": ["a", "b"], "proj:transform": [1] * 6})}},
    "a box of one number": {"assets": {"red": asset("red.tif", **{"proj:transform": None, "proj:bbox": [1]})}},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_item_is_named_and_the_others_are_there(folder: Path, what: str) -> None:
    bad = deepcopy(placed("bad")) | BAD[what]
    s = (
        collection(folder, placed("a"), bad, placed("b", "2018-07-01"))
        .bbox(0, 40, 5, 45)
        .dates("2018-01-01", "2019-01-01")
    )
    chain = s.band("red").count("t").resolve()
    assert [problem.split(":")[0].split(" ")[0] for problem in chain.problems] == ["bad"], chain.problems
    assert float(chain.compute(ml.Window.like(folder / "red.tif")).max()) == 2

    report = add([folder / "items.json"], catalog=folder / "catalogue", collection="scenes")
    assert {"a", "b"} <= set(report.added)
    if "bad" not in report.added:  # a file's own place may be better than the item's word for it
        assert any("bad" in failure.reason for failure in report.failed)


def test_a_feature_that_is_no_item_is_named_by_its_number(folder: Path) -> None:
    chain = collection(folder, placed("a"), {"type": "Feature"}, "text").band("red").resolve()
    assert [problem.split(":")[0] for problem in chain.problems] == ["feature 2", "feature 3"]


def test_what_the_libraries_raise_stops_one_file_only(folder: Path) -> None:
    write_tif(folder / "good_20200601.tif")
    files = [folder / "good_20200601.tif"]
    for name, body in {
        "cut": (folder / "red.tif").read_bytes()[:300],
        "empty": b"",
        "text": b"II*\0" + b"\xff" * 90,
    }.items():
        (folder / f"{name}_20200601.tif").write_bytes(body)
        files.append(folder / f"{name}_20200601.tif")
    write_tif(folder / "mars_20200601.tif", crs="+proj=eqc +R=3396190 +units=m +no_defs")
    write_tif(folder / "nowhere_20200601.tif", crs='LOCAL_CS["somewhere",UNIT["metre",1]]')
    files += [folder / "mars_20200601.tif", folder / "nowhere_20200601.tif"]
    report = add(files[::-1], catalog=folder / "catalogue", collection="c")
    assert report.added == ["good_20200601"]
    assert {Path(f.path).name.split("_")[0] for f in report.failed} == {"cut", "empty", "text", "mars", "nowhere"}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2018-06-01t10:30:00z", "2018-06-01T10:30:00Z"),
        ("2018-06-01 10:30:00 UTC", "2018-06-01T10:30:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.25z", "2017-01-01T00:00:00.250000Z"),
        ("2018-06-01T10:30:00.123456789Z", "2018-06-01T10:30:00.123456Z"),
        ("2018-06-01T12:30:00+0200", "2018-06-01T10:30:00Z"),
    ],
)
def test_times_as_they_are_written(text: str, time: str) -> None:
    assert format_time(parse_time(text)) == time


@pytest.mark.parametrize(
    "text", ["2018-06-01T10:60:00Z", "2018-13-01", "0001-01-01T00:00:00+05:00", "", "2018-06-01T10:30:61Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


# Columns


def parquet(folder: Path, change: Any, items: list[dict[str, Any]] | None = None) -> Path:
    """GeoParquet of three items, with its columns changed."""
    rustac.write_sync(str(folder / "plain.parquet"), items or [placed(f"s{n}", f"2018-0{n}-01") for n in (1, 2, 3)])
    table = pq.read_table(folder / "plain.parquet")
    for name, column in change(table).items():
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, folder / "changed.parquet", store_schema=True)
    return folder / "changed.parquet"


TYPES: dict[str, Any] = {
    "views": lambda t: {n: t[n].cast(pa.string()).cast(pa.string_view()) for n in ("id", "collection")},
    "dictionaries": lambda t: {n: t[n].cast(pa.string()).dictionary_encode() for n in ("id", "collection")},
    "large": lambda t: {"id": t["id"].cast(pa.large_string()), "geometry": t["geometry"].cast(pa.large_binary())},
    "nanoseconds": lambda t: {"datetime": t["datetime"].cast(pa.timestamp("ns", "UTC"))},
    "naive seconds": lambda t: {"datetime": t["datetime"].cast(pa.timestamp("s"), safe=False)},
    "dates": lambda t: {"datetime": t["datetime"].cast(pa.date32(), safe=False)},
    "times of dictionaries": lambda t: {
        "datetime": pa.array(["2018-01-01", "2018-02-01", "2018-03-01"]).dictionary_encode()
    },
}  # fmt: skip


@pytest.mark.parametrize("types", TYPES)
def test_a_column_may_have_any_type_that_holds_the_values(folder: Path, types: str) -> None:
    catalog = open_catalog(parquet(folder, TYPES[types]))
    found = catalog.search(Query("scenes", bbox=(0, 40, 5, 45), start="2018-01-15", end="2018-02-15"))
    assert [one["id"] for one in found] == ["s2"]
    assert found[0]["properties"]["datetime"].startswith("2018-02-01")
    s = ml.collection("scenes", catalog).band("red").count("t")
    assert float(s.compute(ml.Window.like(folder / "red.tif")).max()) == 3


def test_a_bad_row_of_a_column_is_named(folder: Path) -> None:
    def spoil(table: pa.Table) -> dict[str, pa.Array]:
        places = table["geometry"].to_pylist()
        return {
            "datetime": pa.array(["2018-01-01T00:00:00Z", "unknown", "2018-03-01T00:00:00Z"]),
            "geometry": pa.array([places[0], places[1], b"\0\1"]),
        }

    s = ml.collection("scenes", open_catalog(parquet(folder, spoil))).dates("2018-01-01", "2019-01-01")
    chain = s.band("red").resolve()
    assert sorted(problem.split(":")[0] for problem in chain.problems) == ["s2", "s3"]
    assert float(chain.count("t").compute(ml.Window.like(folder / "red.tif")).max()) == 1


# One way in


def old_landsat(folder: Path) -> dict[str, Any]:
    """As Landsat's items were in 2020: keys with .TIF, the collection among the properties, old extensions."""
    for n in (4, 5):
        write_tif(folder / f"LC08_SR_B{n}.tif")
    one = item("LC08_L2SP_199030_20180601", **{"eo:platform": "LANDSAT_8", "eo:instrument": "oli", "eo:epsg": 32631})
    one["properties"] |= {
        "collection": one.pop("collection"),
        "eo:bands": [{"name": "B4", "common_name": "red"}, {"name": "B5", "common_name": "nir08"}],
    }
    one["stac_version"] = "0.9.0"
    one["assets"] = {
        f"SR_B{n}.TIF": {"href": f"LC08_SR_B{n}.tif", "type": "image/tiff", "eo:bands": [n - 4]} for n in (4, 5)
    }
    return one


def test_an_old_item_means_the_same_both_ways(folder: Path) -> None:
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [old_landsat(folder)]}))
    add([folder / "items.json"], catalog=folder / "catalogue")
    for catalog in (open_catalog(folder / "items.json"), open_catalog(folder / "catalogue")):
        s = ml.collection("scenes", catalog)
        assert [b.name for b in s.product.bands] == ["SR_B4", "SR_B5"]
        (found,) = s.items
        assert found["properties"]["platform"] == "landsat-8"
        values = s.bands("red", "nir08").max("t").compute(ml.Window.like(folder / "LC08_SR_B4.tif")).values
        np.testing.assert_allclose(values[:, 0, 0], np.float32([2.75e-5 - 0.2] * 2), rtol=1e-6)


def test_a_file_of_nothing_but_bad_items_says_why(folder: Path) -> None:
    with pytest.raises(ReadError, match="no STAC Item that can be used.*'soon' is not a date"):
        collection(folder, placed("a") | {"properties": {"datetime": "soon"}})


# Files of one band each


def add_files(folder: Path, names: list[str], **options: Any) -> Any:
    for n, name in enumerate(names, 1):
        write_tif(folder / name, dtype="uint8")
        with rasterio.open(folder / name, "r+") as file:
            file.write(np.full((1, 20, 30), n, np.uint8))
    return add([folder / name for name in names], catalog=folder / "catalogue", collection="c", **options)


@pytest.mark.parametrize(
    ("names", "scene", "bands"),
    [
        (["T31TCJ_20200601T105031_B02_10m.tif", "T31TCJ_20200601T105031_B8A_20m.tif"],
         "T31TCJ_20200601T105031", ["B02", "B8A"]),
        (["LC08_199030_20200601_SR_B4.tif", "LC08_199030_20200601_QA_PIXEL.tif"],
         "LC08_199030_20200601", ["SR_B4", "QA_PIXEL"]),
        (["s1_20200601_VV.tif", "s1_20200601_VH.tif"], "s1_20200601", ["VV", "VH"]),
        (["red-2020-06-01.tif", "nir-2020-06-01.tif", "swir16-2020-06-01.tif"], "2020_06_01", ["red", "nir", "swir16"]),
    ],
)  # fmt: skip
def test_files_of_one_band_each_are_one_scene(folder: Path, names: list[str], scene: str, bands: list[str]) -> None:
    report = add_files(folder, names)
    assert (report.added, report.failed) == ([scene], [])
    s = ml.collection("c", open_catalog(folder / "catalogue"))
    assert sorted(b.name for b in s.product.bands) == sorted(bands)
    found = s.max("t").compute(ml.Window.like(folder / names[0]))
    assert {str(b): float(found.sel(bands=b).max()) for b in found.bands.values} == {
        b: n for n, b in enumerate(bands, 1)
    }


def test_where_nobody_knows_it_is_asked_and_a_pattern_answers(folder: Path) -> None:
    names = ["20200601_wetness.tif", "20200601_greenness.tif"]
    report = add_files(folder, names)
    assert report.added == [] and len(report.failed) == 2
    assert "are they bands of one scene?" in report.failed[0].reason and "band" in report.failed[0].reason
    report = add_files(folder, names, pattern=r"(?P<date>\d{8})_(?P<band>\w+)\.tif")
    assert report.added == ["20200601"] and not report.failed
    bands = ml.collection("c", open_catalog(folder / "catalogue")).product.bands
    assert [b.name for b in bands] == ["wetness", "greenness"]


def test_files_of_other_dates_or_places_stay_scenes_of_their_own(folder: Path) -> None:
    names = ["a_20200601_B02.tif", "a_20200602_B02.tif"]
    for name in names:
        write_tif(folder / name)
    write_tif(folder / "b_20200601_B02.tif", transform=Affine(10, 0, 400_000, 0, -10, 4_800_000))
    report = add([folder / n for n in (*names, "b_20200601_B02.tif")], catalog=folder / "catalogue", collection="c")
    assert len(report.added) == 3 and not report.failed
