"""What products' numbers mean, and items as scenes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from muses_lab import settings
from muses_lab.catalog import Query, open_catalog
from muses_lab.catalog.describe import describe_collection
from muses_lab.products import CloudMask, Problem, SkippedItems, product, profile_of, scenes
from muses_lab.products.known.sentinel2 import reflectance_offset
from muses_lab.raster import access
from muses_lab.scenes.scene import Scenes
from tests.helpers.stac_items import asset, item, write_tif

pytestmark = pytest.mark.usefixtures("fresh_home")

SCENES = {"id": "scenes"}


def resolved(items: list[dict[str, Any]], collection: dict[str, Any] = SCENES) -> tuple[Scenes, list[Problem]]:
    problems: list[Problem] = []
    return scenes(items, collection, "mine", problems), problems


def expected_item(shared_data: Path, part: str) -> dict[str, Any]:
    file = next((shared_data / "stactools_sentinel2").glob(f"*{part}*/expected_output.json"))
    return json.loads(file.read_text())


# Profiles


@pytest.mark.parametrize(
    ("id", "profile"),
    [
        ("sentinel-2-l2a", "sentinel-2-l2a"),
        ("sentinel-2-c1-l2a", "sentinel-2-l2a"),
        ("sentinel-s2-l2a-cogs", "sentinel-2-l2a"),
        ("sentinel-2-l1c", "sentinel-2-l1c"),
        ("landsat-c2-l2", "landsat-c2-l2"),
        ("landsat-5-c2-l2", "landsat-tm-c2-l2"),
        ("theia-l3a", "theia-l3a"),
        ("my-fields", None),
    ],
)
def test_products_are_known_by_their_collection(id: str, profile: str | None) -> None:
    found = profile_of({"id": id})
    assert (found and found.name) == profile


def test_products_are_known_by_their_items() -> None:
    s2 = item("a", platform="sentinel-2b", **{"s2:product_type": "S2MSI2A"})
    assert profile_of({"id": "mine"}, [s2]).name == "sentinel-2-l2a"
    l5 = item("LT05_L2SP_199030", platform="landsat-5")
    assert profile_of({"id": "mine"}, [l5]).name == "landsat-tm-c2-l2"
    assert profile_of({"id": "mine"}, [item("a")]) is None


def test_cloud_masks() -> None:
    assert product({"id": "sentinel-2-l2a"}).cloud_mask == CloudMask("SCL", keep=(4, 5, 6, 7, 11))
    assert product({"id": "sentinel-2-l2a", "item_assets": {"scl": {"roles": ["data"]}}}).cloud_mask.band == "scl"
    assert product({"id": "landsat-c2-l2"}).cloud_mask == CloudMask("QA_PIXEL", bits=0b11111)
    assert product({"id": "theia-l3a"}).cloud_mask is None
    assert product({"id": "sentinel-2-l2a", "item_assets": {"red": {"roles": ["data"]}}}).cloud_mask is None


@pytest.mark.parametrize(("value", "clear"), [(21824, True), (21952, True), (22280, False), (23888, False), (1, False)])
def test_landsat_bits_as_usgs_decodes_them(value: int, clear: bool) -> None:
    assert ((value & product({"id": "landsat-c2-l2"}).cloud_mask.bits) == 0) is clear


def test_known_numbers() -> None:
    """The checks of the products' handbooks."""
    landsat = {b.name: b for b in product({"id": "landsat-c2-l2"}).bands}
    assert math.isclose(10000 * landsat["SR_B4"].scale + landsat["SR_B4"].offset, 0.075)
    assert math.isclose(44178 * landsat["ST_B10"].scale + landsat["ST_B10"].offset, 300.0, abs_tol=0.005)
    theia = {b.common_name: b for b in product({"id": "theia-l3a"}).bands}
    assert (theia["nir"].name, theia["nir"].nodata, theia["nir"].dtype) == ("B8", -10000, "int16")
    assert math.isclose(3000 * theia["red"].scale, 0.3)
    assert len(theia) == 10


def test_every_band_has_one_common_name() -> None:
    for id in ("sentinel-2-l2a", "sentinel-2-l1c", "landsat-c2-l2", "landsat-tm-c2-l2", "theia-l3a"):
        named = [b.common_name for b in product({"id": id}).bands if b.common_name]
        assert len(set(named)) == len(named)


def test_landsat_numbers_mean_other_colours_before_landsat_8() -> None:
    colour = {b.name: b.common_name for b in product({"id": "landsat-c2-l2"}).bands}
    older = {b.name: b.common_name for b in product({"id": "landsat-7-c2-l2"}).bands}
    assert (colour["SR_B4"], older["SR_B4"]) == ("red", "nir08")


def test_copies_of_bands_are_left_out() -> None:
    keys = ("red", "red-jp2", "red_20m", "B05_20m", "B05_60m", "visual", "thumbnail", "scl", "ndvi")
    roles = {"visual": ["visual"], "thumbnail": ["thumbnail"]}
    assets = {key: {"roles": roles.get(key, ["data"])} for key in keys}
    found = product({"id": "sentinel-2-l2a", "item_assets": assets})
    assert [b.name for b in found.bands] == ["red", "B05_20m", "scl", "ndvi"]


# The offset of Sentinel-2


@pytest.mark.parametrize(
    ("part", "offset"),
    [("N0212", 0), ("N0214", 0), ("N0301", 0), ("N0400", -0.1), ("N0509", -0.1), ("T60CWS_20240109", -0.1)],
)
def test_the_offset_of_real_products(shared_data: Path, part: str, offset: float) -> None:
    one = expected_item(shared_data, part)
    for asset_ in one["assets"].values():
        asset_["href"] = "https://example.org/" + asset_["href"].removeprefix("./")
    level = "sentinel-2-l1c" if "L1C" in one["properties"]["s2:product_type"][-3:] else "sentinel-2-l2a"
    found, problems = resolved([one], {"id": level})
    assert problems == []
    scene = found.scenes[0]
    red, band = scene.assets["red"], found.band("red")
    assert (band.offset if red.offset is None else red.offset) == offset
    assert "red_20m" not in scene.assets and "visual" not in scene.assets
    if "scl" in scene.assets:
        assert found.band("scl").categorical and found.band("scl").offset == 0
        assert found.band("wvp").offset == 0, "only reflectance is shifted"


def test_the_trap_of_the_baseline_in_all_its_forms(shared_data: Path) -> None:
    one = expected_item(shared_data, "N0400")["properties"]
    assert reflectance_offset(one, stated=None, scale=1e-4) == -0.1, "nothing said: the baseline tells"
    assert reflectance_offset(one, stated=-0.1, scale=1e-4) == -0.1
    assert reflectance_offset(one, stated=0, scale=1e-4) == 0, "a provider that harmonised, and says so"
    applied = one | {"earthsearch:boa_offset_applied": True}
    assert reflectance_offset(applied, stated=-0.1, scale=1e-4) == 0, "subtracted already: never twice"
    not_applied = one | {"earthsearch:boa_offset_applied": False}
    assert reflectance_offset(not_applied, stated=0, scale=1e-4) == -0.1
    assert reflectance_offset({"s2:processing_baseline": "02.14"}, stated=None, scale=1e-4) == 0
    assert reflectance_offset({"s2:processing_baseline": "unknown"}, stated=None, scale=1e-4) == 0


def test_old_and_new_baselines_in_one_collection() -> None:
    def red(offset: float) -> dict:
        return asset("https://x.org/B04.tif", bands=[{"name": "B04", "raster:scale": 1e-4, "raster:offset": offset}])

    old, new = item("old", "2021-06-01"), item("new", "2022-06-01")
    old["assets"], new["assets"] = {"B04": red(0)}, {"B04": red(-0.1)}
    found, _ = resolved([new, old], {"id": "sentinel-2-l2a", "item_assets": {"B04": {"roles": ["data"]}}})
    assert [s.id for s in found.scenes] == ["old", "new"]
    assert [s.assets["B04"].offset for s in found.scenes] == [None, -0.1]
    assert (found.band("B04").scale, found.band("B04").offset) == (1e-4, 0)


# Items as scenes


def test_stac_1_0_and_1_1_say_the_same() -> None:
    old, new = item("a"), item("a")
    old["assets"]["red"] |= {
        "eo:bands": [{"name": "x", "common_name": "red"}],
        "raster:bands": [{"nodata": -1, "scale": 0.5, "offset": 2, "data_type": "int16", "spatial_resolution": 10}],
    }
    new["assets"]["red"] |= {
        "bands": [{"name": "x", "eo:common_name": "red", "raster:scale": 0.5, "raster:offset": 2}],
        "nodata": -1, "data_type": "int16", "gsd": 10,
    }  # fmt: skip
    assert resolved([old])[0].bands == resolved([new])[0].bands
    band = resolved([new])[0].band("red")
    assert (band.common_name, band.nodata, band.scale, band.offset, band.dtype) == ("red", -1, 0.5, 2, "int16")


def test_a_scene_holds_what_reading_needs() -> None:
    one = item("a", platform="sentinel-2a", **{"grid:code": "MGRS-31TCJ"})
    one["assets"]["red"] |= {
        "file:size": 123,
        "muses:band": 4,
        "proj:transform": [10, 0, 300000, 0, -10, 4800000, 0, 0, 1],
    }
    found, problems = resolved([one])
    assert problems == []
    scene = found.scenes[0]
    red = scene.assets["red"]
    assert (scene.id, scene.datetime, scene.crs, scene.platform) == (
        "a",
        "2018-06-01T10:30:00Z",
        "EPSG:32631",
        "sentinel-2a",
    )
    assert scene.grid == "MGRS-31TCJ"
    assert scene.footprint["type"] == "Polygon"
    assert (red.href, red.shape, red.band, red.size) == ("red.tif", (100, 100), 4, 123)
    assert red.transform == (10, 0, 300000, 0, -10, 4800000)
    assert Scenes.from_json(json.loads(found.to_bytes())).digest == found.digest


def test_systems_in_all_spellings() -> None:
    import rasterio

    spellings = [
        {"proj:code": "EPSG:32631"},
        {"proj:epsg": 32631},
        {"proj:wkt2": rasterio.CRS.from_epsg(32631).to_wkt()},
    ]
    for spelling in spellings:
        for on_asset in (True, False):
            one = item("a")
            del one["assets"]["red"]["proj:code"]
            (one["assets"]["red"] if on_asset else one["properties"]).update(spelling)
            assert resolved([one])[0].scenes[0].crs == "EPSG:32631"


def test_a_transform_from_box_and_shape() -> None:
    one = item("a")
    del one["assets"]["red"]["proj:transform"]
    one["assets"]["red"]["proj:bbox"] = [300000, 4799000, 301000, 4800000]
    assert resolved([one])[0].scenes[0].assets["red"].transform == (10, 0, 300000, 0, -10, 4800000)


def test_a_file_of_several_bands() -> None:
    one = item("a")
    one["assets"] = {"image": asset("a.tif", bands=[{"name": "red"}, {"name": "nir", "eo:common_name": "nir"}])}
    found, _ = resolved([one])
    assert {name: a.band for name, a in found.scenes[0].assets.items()} == {"red": 1, "nir": 2}
    one["assets"] = {"image": asset("a.tif", bands=[{"name": "x"}, {"name": "x"}])}
    assert list(resolved([one])[0].scenes[0].assets) == ["image_1", "image_2"]


def test_classes_are_categorical_and_their_overviews_only_used_when_known() -> None:
    one = item("a")
    one["assets"] = {
        "classes": asset("c.tif", **{"classification:classes": [{"value": 1}], "muses:overviews": "mode"}),
        "other": asset("o.tif", **{"muses:categorical": True}),
    }
    found, _ = resolved([one])
    assert (found.band("classes").categorical, found.band("classes").overviews) == (True, "mode")
    assert (found.band("other").categorical, found.band("other").overviews) == (True, None)


def test_nodata_that_is_not_a_number_is_none() -> None:
    one = item("a")
    one["assets"]["red"]["nodata"] = "nan"
    found, _ = resolved([one])
    assert found.band("red").nodata is None
    assert found.to_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"proj:transform": [10, 1, 0, 0, -10, 0]}, "rotated"),
        ({"proj:transform": [10, 0, 0, 0, 10, 0]}, "not north-up"),
        ({"proj:transform": [1, 0, 0, 0, 1, 0]}, "the identity"),
        ({"proj:transform": [300_000, 10, 0, 4_900_000, 0, -10]}, "in GDAL's order"),
        ({"proj:transform": [10, 0, 300_000, 0, 0, 4_900_000]}, "no size"),
        ({"proj:transform": [10, 0]}, "has 2 numbers"),
        ({"proj:shape": [0, 100]}, "no pixels"),
        ({"href": "s3://bucket/red.tif"}, "neither a file of the catalogue nor an https URL"),
        ({"href": "/vsicurl/https://example.org/red.tif"}, "neither a file"),
        ({"href": ""}, "neither a file"),
        ({"href": "https://x.org/r.tif", "proj:shape": None}, "none of its assets can be used"),
        ({"proj:code": None, "proj:wkt2": "nonsense"}, "not a reference system"),
    ],
)
def test_an_item_that_cannot_be_used_is_reported(change: dict[str, Any], reason: str) -> None:
    odd, good = item("odd"), item("good")
    odd["assets"]["red"] |= change
    found, problems = resolved([odd, good])
    assert [s.id for s in found.scenes] == ["good"]
    assert [(p.item, reason in p.reason) for p in problems] == [("odd", True)], problems


def test_items_without_time_or_rasters_are_reported() -> None:
    timeless, empty, wrong = item("timeless"), item("empty"), item("wrong", "2018-06-01T99:00:00")
    timeless["properties"]["datetime"] = None
    empty["assets"] = {"thumbnail": {"href": "t.png", "type": "image/png", "roles": ["thumbnail"]}}
    found, problems = resolved([timeless, empty, wrong])
    assert len(found) == 0
    assert {p.item: p.reason for p in problems}.keys() == {"timeless", "empty", "wrong"}


def test_one_bad_asset_does_not_cost_the_others() -> None:
    one = item("a")
    one["assets"]["nir"] = asset("nir.tif", **{"proj:code": "EPSG:32630"})
    one["assets"]["blue"] = asset("blue.tif")
    one["assets"]["swir"] = asset("ftp://x/swir.tif")
    found, problems = resolved([one])
    assert set(found.scenes[0].assets) == {"red", "blue"}
    assert {p.asset for p in problems} == {"nir", "swir"}


def test_problems_that_nobody_asks_for_are_a_warning() -> None:
    odd = item("odd")
    odd["assets"]["red"]["proj:transform"] = [10, 1, 0, 0, -10, 0]
    with pytest.warns(SkippedItems, match="odd: .*rotated"):
        scenes([odd], SCENES, "mine")


def test_a_grid_code_that_does_not_hold_is_not_passed_on() -> None:
    code = {"grid:code": "MGRS-31TCJ"}
    usual = [item(f"u{i}", f"2018-06-0{i + 1}", **code) for i in range(3)]
    moved = item("moved", "2018-06-04", **code)
    moved["assets"]["red"]["proj:transform"] = [10, 0, 300005, 0, -10, 4800000]
    landsat = item("landsat", "2018-06-05", **{"grid:code": "WRS2-199030"})
    found, _ = resolved([*usual, moved, landsat])
    assert {s.id: s.grid for s in found.scenes} == {
        "u0": "MGRS-31TCJ", "u1": "MGRS-31TCJ", "u2": "MGRS-31TCJ", "moved": None, "landsat": None,
    }  # fmt: skip


def test_the_resolution_is_the_files_own() -> None:
    one = item("a")
    one["assets"]["red"] |= {"gsd": 10, "proj:transform": [100, 0, 300000, 0, -100, 4800000]}
    assert resolved([one])[0].band("red").resolution == 100


def test_hrefs_inside_the_catalogue_become_relative(tmp_path: Path) -> None:
    settings.register_catalog("mine", str(tmp_path))
    inside, outside = item("inside", "2018-06-01"), item("outside", "2018-06-02")
    inside["assets"]["red"]["href"] = str(tmp_path / "a" / "red.tif")
    outside["assets"]["red"]["href"] = "/elsewhere/red.tif"
    found, _ = resolved([inside, outside])
    assert {s.id: s.assets["red"].href for s in found.scenes} == {
        "inside": "a/red.tif",
        "outside": "/elsewhere/red.tif",
    }


def test_an_alternate_href_is_taken_where_the_first_cannot_be_read() -> None:
    one = item("a")
    one["assets"]["red"] |= {"href": "s3://b/r.tif", "alternate": {"http": {"href": "https://x.org/r.tif"}, "s3": {}}}
    assert resolved([one])[0].scenes[0].assets["red"].href == "https://x.org/r.tif"


def bare(id: str, href: str) -> dict[str, Any]:
    """An item that says nothing of its grid."""
    one = item(id)
    one["assets"] = {"data": {"href": href, "type": "image/tiff; application=geotiff"}}
    return one


def test_headers_are_read_where_items_say_nothing(tmp_path: Path) -> None:
    settings.register_catalog("mine", str(tmp_path / "in"))
    write_tif(tmp_path / "in" / "a.tif", epsg=32630)
    found, problems = resolved([bare("a", "a.tif")])
    assert problems == []
    a = found.scenes[0].assets["data"]
    assert (found.scenes[0].crs, a.shape, a.size) == (
        "EPSG:32630",
        (20, 30),
        (tmp_path / "in" / "a.tif").stat().st_size,
    )


def test_headers_outside_the_catalogue_are_not_read(tmp_path: Path) -> None:
    settings.register_catalog("mine", str(tmp_path / "in"))
    write_tif(tmp_path / "secret.tif")
    (tmp_path / "in").mkdir()
    vrt = f'<VRTDataset rasterXSize="1" rasterYSize="1"><SRS>EPSG:4326</SRS><!-- {tmp_path} --></VRTDataset>'
    (tmp_path / "in" / "nested.tif").write_text(vrt)
    found, problems = resolved([bare("up", "../secret.tif"), bare("vrt", "nested.tif"), bare("gone", "gone.tif")])
    assert len(found) == 0
    reasons = {p.item: p.reason for p in problems}
    assert "outside the folders" in reasons["up"]
    assert "cannot be read" in reasons["vrt"] and "cannot be read" in reasons["gone"]


# Recorded and made catalogues


def test_recorded_items_of_the_planetary_computer(shared_data: Path) -> None:
    import yaml

    file = shared_data / "pystac_client_recorded/cassettes/test_item_search/TestItemSearch.test_datetime_results.yaml"
    answer = yaml.load(file.read_text(), yaml.CSafeLoader)["interactions"][0]["response"]["body"]["string"]
    items = json.loads(answer)["features"]
    found, problems = resolved(items, {"id": "sentinel-2-l2a"})
    assert problems == []
    assert len(found) == 33
    assert [b.name for b in found.bands][:4] == ["B01", "B02", "B03", "B04"]
    assert found.band("B04") == found.band("B04").__class__("B04", "red", 10, "uint16", 0, 1e-4)
    assert found.band("SCL").categorical
    assert all(s.grid and s.grid.startswith("MGRS-") for s in found.scenes)
    described = product(describe_collection("sentinel-2-l2a", items))
    assert described.cloud_mask.band == "SCL"
    assert [b.name for b in described.bands] == [b.name for b in found.bands]


def test_items_of_another_product_say_where_they_are_not(shared_data: Path) -> None:
    """HLS items of 2021 hold no grid, and their files are behind a login: each is reported."""
    items = json.loads((shared_data / "pystac_client_recorded/data/sample-item-collection.json").read_text())[
        "features"
    ]
    found, problems = resolved(items, {"id": items[0]["collection"]})
    assert len(found) == 0
    assert {p.item for p in problems} == {i["id"] for i in items}


def test_the_sample_is_understood(sample_catalog: Path, isolated_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = open_catalog(sample_catalog)
    collection = catalog.collections()[0]
    items = catalog.search(Query(collection["id"]))
    problems: list[Problem] = []
    found = scenes(items, collection, catalog.id, problems)
    assert problems == [] and len(found) == len(items)
    assert product(collection).cloud_mask == CloudMask("SCL", keep=(4, 5, 6, 7, 11))
    by_name = {b.common_name: b for b in found.bands}
    assert {"red", "nir", "swir16"} <= by_name.keys()
    assert found.band("SCL").overviews == "nearest"
    for scene in found.scenes:
        for one in scene.assets.values():
            assert Path(access.resolve_href(catalog.id, one.href)).stat().st_size == one.size
