"""The face that users see: chains cost nothing to build, say what they are, and name what is wrong."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

import muses_lab as ml
from muses_lab.catalog import place
from muses_lab.compute import executor
from muses_lab.document import graph
from muses_lab.document.graph import walk
from muses_lab.errors import BandError, DocumentError, ExtentRequired, MusesError, NotFound, ReadError, TooLarge
from muses_lab.operators import registry
from muses_lab.publish.artefacts import load_published
from muses_lab.raster.window import zoom_resolution
from muses_lab.series import OutsideScenes
from muses_lab.store import Store
from muses_lab.store.sql import SqlStore
from tests.helpers.examples import examples
from tests.helpers.made_stacks import CRS, ORIGIN, own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

NAN = float("nan")


VALUES = np.arange(3 * 2 * 4 * 4, dtype=np.int16).reshape(3, 2, 4, 4) + 1
WINDOW = own_window(4, 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ml.Collection:
    return stack(VALUES, tmp_path_factory.mktemp("made"), dates=["2020-01-01", "2020-02-01", "2020-03-01"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return SqlStore(f"sqlite:///{tmp_path / 'store.db'}")


def processes(chain: ml.Chain) -> list[str]:
    return [n.process for n in walk(chain._node)]


# ---------------------------------------------------------------------------------------------------------- building


def test_building_computes_nothing_and_asks_no_catalogue(s2: ml.Collection, monkeypatch: pytest.MonkeyPatch):
    before = executor("threads").counters()
    asked: list[Any] = []
    search = type(s2.catalog).search
    monkeypatch.setattr(type(s2.catalog), "search", lambda self, query: asked.append(query) or search(self, query))
    chain = s2.near("Toulouse").dates("2018-01-01", "2019-01-01").filter("eo:cloud_cover < 60")
    ndvi = chain.mask_clouds().ndvi().median("t")
    smooth = (ndvi > 0.5).closing(2) & ~(ndvi.focal_mean(30, "m") < 0.2) | (ndvi == 0)
    layer = smooth.connected_components(min_area=1000).pin((1.4, 43.5, 1.5, 43.6), 20).style(cmap="viridis")
    assert layer.hash and layer.chain.hash and repr(smooth) and smooth.to_json()
    assert ml.Chain.from_json(smooth.to_json()).identical(smooth)
    assert asked == [] and executor("threads").counters() == before


def test_a_plan_is_made_before_anything_is_read(s2: ml.Collection):
    before = executor("threads").counters()
    chain = s2.mask_clouds().ndvi().median("t")
    plan = chain.plan(ml.Window.from_bounds((1.40, 43.58, 1.43, 43.60), crs="EPSG:32631", resolution=10))
    assert executor("threads").counters() == before
    assert plan.scenes > 3 and plan.blocks >= 1 and plan.bytes > 0 and plan.seconds > 0 and plan.pixels > 0
    assert str(plan.scenes) in str(plan)
    nowhere = chain.plan(ml.Window.from_bounds((-60, -10, -59, -9), crs="EPSG:4326", resolution=0.01))
    assert nowhere.scenes == nowhere.blocks == nowhere.bytes == 0


def test_chains_have_no_truth_value(s2: ml.Collection):
    chain = s2.ndvi()
    for test in (bool, lambda c: c and 1, lambda c: 0 < c < 1, lambda c: not c, lambda c: c == 0 or c):
        with pytest.raises(TypeError, match=r"identical|& \| ~"):
            test(chain)
    assert chain.identical(s2.ndvi()) and not chain.identical(s2.ndwi()) and not chain.identical("x")  # type: ignore[arg-type]
    assert {chain: 1}[chain] == 1
    assert isinstance(chain == chain, ml.Chain)
    assert (chain == None) is False  # noqa: E711  (what Python does where neither side knows the other)


def test_chains_are_immutable_and_named_by_content(s2: ml.Collection):
    chain = s2.ndvi()
    name = chain.hash
    _ = chain + 1, chain.median("t"), chain.style(cmap="gray")
    assert chain.hash == name == s2.ndvi("nir", "red").hash
    assert chain.hash != s2.ndvi("B08", "B04").hash  # another document, though the same pixels here
    assert len(name) == 64 and name[:8] in repr(chain)


# -------------------------------------------------------------------------------------------------------- arithmetic

FIRST = VALUES[:, 0].astype(np.float32)
SECOND = VALUES[:, 1].astype(np.float32)
BOTH: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "mod": operator.mod,
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip


@pytest.mark.parametrize("name", BOTH)
def test_arithmetic_between_chains_and_numbers_of_either_side(made: ml.Collection, name: str):
    fn = BOTH[name]
    a, b = made.band("red"), made.band("nir")
    c = np.float32(20)
    for chain, expected in (
        (fn(a, b), fn(FIRST, SECOND)),
        (fn(b, a), fn(SECOND, FIRST)),
        (fn(a, 20), fn(FIRST, c)),
        (fn(20, a), fn(c, FIRST)),
        (fn(a, 20.5), fn(FIRST, np.float32(20.5))),
        (fn(np.float32(20), a), fn(c, FIRST)),
        (fn(a, np.int64(20)), fn(FIRST, c)),
        (fn(np.int16(20), a), fn(c, FIRST)),
    ):
        assert isinstance(chain, ml.Chain)
        np.testing.assert_allclose(chain.compute(WINDOW), expected, rtol=1e-6)


def test_other_operators(made: ml.Collection):
    a, b = made.band("red"), made.band("nir")
    for chain, expected in (
        (a**0.5, FIRST**0.5),
        (2 ** (a / 20), 2 ** (FIRST / 20)),
        (-a, -FIRST),
        (abs(a - 40), abs(FIRST - 40)),
        ((a > 20) & (b < 60), (FIRST > 20) & (SECOND < 60)),
        ((a > 20) | (b < 60), (FIRST > 20) | (SECOND < 60)),
        ((a > 20) ^ (b < 60), (FIRST > 20) ^ (SECOND < 60)),
        (~(a > 20), ~(FIRST > 20)),
        (True & (a > 20), FIRST > 20),
        (a.isin([1, 5, 200]), np.isin(FIRST, [1, 5, 200])),
        (a.has_bits(6), (VALUES[:, 0] & 6) != 0),
        (a.between(5, 40), (FIRST >= 5) & (FIRST <= 40)),
        (a.sqrt(), np.sqrt(FIRST)),
        (a.ln(), np.log(FIRST)),
        (a.log(10), np.log10(FIRST)),
        ((a / 50).exp(), np.exp(FIRST / 50)),
        (a.clip(5, 40), np.clip(FIRST, 5, 40)),
        (a.scale(10, 20, 0, 255), np.clip((FIRST - 10) / 10, 0, 1) * 255),
        (a.where(a > 20), np.where(FIRST > 20, FIRST, NAN)),
        (a.mask(a > 20), np.where(FIRST > 20, NAN, FIRST)),
        (made.bands("nir", "red"), VALUES[:, ::-1]),
        (made * made.band("red").first("t"), VALUES * VALUES[:1, :1]),
    ):
        np.testing.assert_allclose(chain.compute(WINDOW), np.asarray(expected, float), rtol=1e-5)


@pytest.mark.parametrize("other", ["1", None, [1, 2], np.ones(3), 1j])
def test_what_is_no_number_is_refused(s2: ml.Collection, other: Any):
    for fn in (operator.add, operator.mul, operator.gt):
        for a, b in ((s2.ndvi(), other), (other, s2.ndvi())):
            with pytest.raises(TypeError):
                fn(a, b)


# ------------------------------------------------------------------------------------------------------------- bands


def test_unknown_bands_are_an_error_that_lists_the_bands(s2: ml.Collection, store: Store):
    for chain in (s2.bands("B99"), s2.band("B99"), s2.ndvi(red="B99"), s2.normalized_difference("B99", "nir")):
        for act in (lambda c: c.publish(store), lambda c: c.plan(WINDOW), lambda c: c.compute(WINDOW)):
            with pytest.raises(BandError, match=r"'B99'.*B04 \(red\), B08 \(nir\).*SCL"):
                act(chain)
    with pytest.raises(BandError, match="no band 'red'; the data have B08"):
        s2.bands("nir").band("red").publish(store)
    with pytest.raises(DocumentError, match="'bands' has been reduced already"):
        s2.ndvi().band("red").publish(store)
    with pytest.raises(BandError, match="no dimension 'bands'"):
        s2.ndvi().bands("red").publish(store)
    with pytest.raises(DocumentError, match="reduced already"):
        s2.ndvi().median("t").mean("t").publish(store)
    for chain in (s2.ndvi().median("t").dates("2018-06-01", None), s2.max("t").dates(None, "2018-06-01").band("red")):
        for act in (lambda c: c.publish(store), lambda c: c.compute(WINDOW)):
            with pytest.raises(DocumentError, match="no dates to choose from"):
                act(chain)
    with pytest.raises(DocumentError, match="must be"):
        s2.ndvi().median("x")  # type: ignore[arg-type]
    with pytest.raises(BandError, match="cannot be combined"):
        (s2.bands("B02", "B03") + s2.bands("B03", "B04")).publish(store)


def test_bands_are_chosen_by_either_name_in_the_order_asked(made: ml.Collection):
    for names in (("nir", "red"), ("B8", "B4"), ("nir", "B4"), ("nir", "B8", "red")):
        cube = made.bands(*names).compute(WINDOW)
        assert cube.bands.values.tolist() == ["B8", "B4"]
        np.testing.assert_array_equal(cube, VALUES[:, ::-1])
    # Bands that a chain drops again, and different bands for different users of one cube.
    double = made * 2
    red = double.mask(made > 20).band("red") + double.band("nir")
    np.testing.assert_allclose(red.compute(WINDOW), np.where(FIRST > 20, NAN, 2 * FIRST) + 2 * SECOND)
    np.testing.assert_allclose(made.bands("nir", "red").ndvi().compute(WINDOW), (SECOND - FIRST) / (SECOND + FIRST))


def test_rgb(made: ml.Collection):
    median = made.median("t")
    chain = ml.rgb(median.band("nir"), median.band("red"), median.band("nir") * 0 + 0.5)
    cube = chain.compute(WINDOW)
    assert cube.dims[0] == "bands" and cube.bands.values.tolist() == ["red", "green", "blue"]
    np.testing.assert_array_equal(cube, np.stack([SECOND[1], FIRST[1], np.full((4, 4), 0.5)]))
    with pytest.raises(DocumentError, match="dimension 'bands' already"):
        ml.rgb(median, median, median).plan(WINDOW)


# ------------------------------------------------------------------------------------------------------- collections


def days(collection: ml.Collection) -> list[str]:
    return sorted({item["properties"]["datetime"][:10] for item in collection.items})


def test_dates_are_half_open(s2: ml.Collection):
    every = days(s2)
    assert days(s2.dates(every[1], every[3])) == every[1:3]
    assert days(s2.dates(None, every[2])) == every[:2]
    assert days(s2.dates(every[2], None)) == every[2:]
    assert days(s2.dates(f"{every[0]}T23:00:00Z", every[2])) == every[1:2]
    with pytest.raises(MusesError, match="later|before"):
        s2.dates(every[2], every[2])
    # on a chain it chooses among the observations
    chain = s2.ndvi().dates(every[1], every[3])
    window = ml.Window.from_bounds((1.40, 43.58, 1.401, 43.581), crs="EPSG:32631", resolution=10)
    assert [str(t)[:10] for t in chain.compute(window).t.values] == every[1:3]


def test_filter_sort_and_limit(s2: ml.Collection):
    clouds = {item["id"]: item["properties"]["eo:cloud_cover"] for item in s2.items}
    middle = sorted(clouds.values())[len(clouds) // 2]
    clear = s2.filter(f"eo:cloud_cover < {middle}")
    assert {i["id"] for i in clear.items} == {k for k, v in clouds.items() if v < middle}
    both = clear.filter("platform = 'sentinel-2b'").filter("eo:cloud_cover >= 0")
    assert {i["id"] for i in both.items} == {
        i["id"] for i in s2.items if i["properties"]["platform"] == "sentinel-2b" and clouds[i["id"]] < middle
    }
    clearest = s2.sort("eo:cloud_cover").limit(3)
    assert [i["id"] for i in clearest.items] == sorted(clouds, key=lambda k: clouds[k])[:3]
    worst = s2.sort("-eo:cloud_cover").limit(1)
    assert worst.items[0]["properties"]["eo:cloud_cover"] == max(clouds.values())
    with pytest.raises(MusesError, match="eo:cloud_cover"):
        _ = s2.filter("eo:cloud_cover <").items
    with pytest.raises(NotFound, match=r"fits filter.*the collection has 13 scenes"):
        _ = s2.filter("eo:cloud_cover < 0").published


def test_filters_reach_the_document_and_come_back(s2: ml.Collection):
    for text in (
        "eo:cloud_cover < 60", "eo:cloud_cover <= 60.5 AND s2:water_percentage > 0", "platform = 'sentinel-2a'",
        "eo:cloud_cover < 60 OR platform = 'sentinel-2a'", "eo:cloud_cover > 1 AND eo:cloud_cover < 90",
        "eo:cloud_cover < 1e-7", "eo:cloud_cover > -5", "eo:cloud_cover BETWEEN 1 AND 50", "eo:cloud_cover <> 0",
        "NOT eo:cloud_cover < 60", "eo:cloud_cover < 90 AND s2:water_percentage > 0 AND view:sun_elevation > 30",
        "platform <> 'it''s' AND eo:cloud_cover < 99",
    ):  # fmt: skip
        chosen = s2.filter(text)
        again = ml.Chain.from_json(chosen.to_json())
        expected = [i["id"] for i in chosen.items]
        if not expected:
            with pytest.raises(NotFound):
                _ = again.published
            continue
        (scenes,) = again.published.scenes.values()
        assert sorted(s.id for s in scenes.scenes) == sorted(expected), text
    assert processes(s2.filter("platform = 'sentinel-2a' AND eo:cloud_cover < 60")) == ["load_collection"]
    assert processes(s2.filter("platform LIKE 'sentinel-2%'")) == ["muses:load_collection"]


def test_places_choose_scenes_and_do_not_crop_them(s2: ml.Collection):
    only_east = s2.bbox(1.45, 43.56, 1.46, 43.57)
    assert {i["properties"]["grid:code"] for i in only_east.items} == {"MGRS-31TCJ"}
    point = {"type": "Point", "coordinates": [1.455, 43.565]}
    assert [i["id"] for i in s2.intersects(point).items] == [i["id"] for i in only_east.items]
    assert len(s2.intersects({"type": "Feature", "geometry": point, "properties": {}})) == len(only_east)
    assert len(s2.near("Toulouse")) == len(s2) and len(s2.near("Toulouse", radius=1)) <= len(s2)
    assert len(s2.near("Paris")) == 0
    window = ml.Window.from_bounds((1.40, 43.58, 1.401, 43.581), crs="EPSG:32631", resolution=10)
    assert np.isfinite(only_east.band("red").median("t").compute(window)).all()  # not within the box
    with pytest.raises(MusesError):
        s2.bbox(1, 44, 2, 43)


def test_crop_leaves_only_what_is_inside(made: ml.Collection):
    import pyproj

    to_degrees = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True).transform
    (w, s), (e, n) = to_degrees(ORIGIN[0] + 10, ORIGIN[1] - 40), to_degrees(ORIGIN[0] + 30, ORIGIN[1] - 20)
    found = made.band("red").first("t").crop(w, s, e, n).compute(WINDOW).values
    expected = np.full((4, 4), NAN)
    expected[2:, 1:3] = FIRST[0, 2:, 1:3]
    np.testing.assert_array_equal(found, expected)


def test_the_table_of_scenes(s2: ml.Collection):
    table = s2.table()
    assert list(table.columns) == ["datetime", "platform", "cloud_cover", "grid"] and table.index.name == "id"
    assert len(table) == len(s2) == 13 and str(table["datetime"].dt.tz) == "UTC"
    assert table["cloud_cover"].between(0, 100).all() and set(table["grid"]) == {"MGRS-31TCJ", "MGRS-30TYP"}
    assert len(s2.near("Paris").table()) == 0


def test_clouds_are_masked_by_the_product_s_own_classes(s2: ml.Collection, made: ml.Collection):
    window = ml.Window.from_bounds((1.40, 43.58, 1.42, 43.60), crs="EPSG:32631", resolution=20)
    classes = s2.band("SCL").compute(window)
    red = s2.band("red").compute(window)
    for keep, kept in ((None, (4, 5, 6, 7, 11)), ([4], (4,)), ((6, 5, 5.0), (5, 6))):
        found = s2.mask_clouds(keep=keep).band("red").compute(window)  # type: ignore[arg-type]
        expected = np.where(np.isin(classes, kept), red, NAN)
        np.testing.assert_array_equal(found, expected)
        assert 0 < np.isfinite(found.values).mean() < 1
    assert s2.mask_clouds(keep=[5, 4]).identical(s2.mask_clouds(keep=(4, 5)))
    with pytest.raises(BandError, match=r"no cloud mask.*B4, B8"):
        made.mask_clouds()


def test_unknown_collections_name_those_that_there_are(sample_catalog: Path):
    with pytest.raises(NotFound, match="sentinel-2-l2a"):
        ml.collection("sentinel-3", str(sample_catalog))
    with pytest.raises(NotFound):
        ml.collection("no such collection anywhere")


# ---------------------------------------------------------------------------------------------- documents, publishing


def test_documents_of_chains_come_back(s2: ml.Collection):
    chain = s2.dates("2018-04-01", "2018-07-01").mask_clouds().ndvi().median("t")
    again = ml.Chain.from_json(chain.to_json())
    assert again.identical(chain)
    assert ml.Chain.from_json(graph.to_bytes(chain._node)).identical(chain)
    window = ml.Window.from_bounds((1.40, 43.58, 1.41, 43.59), crs="EPSG:32631", resolution=20)
    np.testing.assert_array_equal(again.compute(window), chain.compute(window))
    assert again.compute(window).attrs["muses_chain"] == chain.compute(window).attrs["muses_chain"]


def test_publishing_pins_the_scenes_and_names_them(s2: ml.Collection, store: Store):
    chain = s2.mask_clouds().ndvi().median("t")
    name = chain.publish(store)
    assert name == chain.publish(store) == s2.mask_clouds().ndvi().median("t").publish(store)
    assert name != chain.hash
    published = load_published(name, store)
    assert published.chain_hash == name and published.document.decode() == store.document(name)
    assert "load_collection" not in store.document(name)
    (scenes,) = published.scenes.values()
    assert sorted(s.id for s in scenes.scenes) == sorted(i["id"] for i in s2.items)
    # a chain of the published document is the same one, without the catalogue
    pinned = ml.Chain.from_json(store.document(name))
    assert pinned.hash == name
    assert str(Path(s2.catalog.id)) == s2.catalog.id and str(Path.home()) not in store.document(name)
    assert all(not a.href.startswith("/") for s in scenes.scenes for a in s.assets.values())
    with pytest.raises(NotFound):
        load_published("0" * 64, store)


def test_layers_are_chain_and_style(s2: ml.Collection, store: Store):
    chain = s2.ndvi().median("t")
    layer = chain.style(cmap="RdYlGn", vmin=0, vmax=1)
    assert layer.publish(store) == (chain.publish(store), layer.look.hash)
    other = layer.style(cmap="viridis", vmin=0, vmax=1)
    assert other.chain is chain and other.hash != layer.hash and other.publish(store)[0] == layer.publish(store)[0]
    assert layer.hash == chain.style(cmap="RdYlGn", vmin=0, vmax=1).hash


def test_a_catalogue_that_grew_gives_a_live_query_another_name(tmp_path: Path, store: Store):
    first = stack(VALUES[:2], tmp_path, name="grows", dates=["2020-01-01", "2020-02-01"])
    chain = first.band("red").count("t")
    name, document = chain.publish(store), chain.hash
    assert (chain.compute(WINDOW) == 2).all()

    _another(tmp_path)
    later = ml.collection("grows", first.catalog.id).band("red").count("t")
    assert later.hash == document  # the same question
    assert later.publish(store) != name  # another answer
    assert (later.compute(WINDOW) == 3).all()
    assert chain.resolve().hash == later.publish(store)  # asked again
    # what was published stays what it was
    assert load_published(name, store).chain_hash == name
    pinned = ml.Chain(load_published(name, store).root, load_published(name, store).artefacts)
    assert (pinned.compute(WINDOW) == 2).all()


def _another(folder: Path) -> None:
    from muses_lab.catalog.register import add

    path = folder / "march.tif"
    profile = {"driver": "GTiff", "height": 4, "width": 4, "count": 2, "dtype": "int16"}
    with rasterio.open(path, "w", crs=CRS, transform=from_origin(*ORIGIN, 10, 10), **profile) as file:
        file.write(VALUES[2])
    bands = [{"name": "B4", "common_name": "red"}, {"name": "B8", "common_name": "nir"}]
    add([path], catalog=folder / "catalogue", stack={"dates": ["2020-03-01"], "bands": bands, "collection": "grows"})


def test_regions_and_fits_ask_for_an_extent(s2: ml.Collection, store: Store):
    image = s2.ndvi().median("t")
    for chain in (image.otsu(), (image > 0.5).connected_components(min_area=1000), image.otsu(resolution=20)):
        assert not chain.is_pinned
        for act in (lambda c: c.publish(store), lambda c: c.compute(WINDOW)):
            with pytest.raises(ExtentRequired, match=r"extent=.*\.pin"):
                act(chain)
        pinned = chain.pin((1.40, 43.56, 1.46, 43.60), 20)
        assert pinned.is_pinned and not chain.is_pinned
        assert pinned.hash != chain.hash and pinned.pin((0, 0, 1, 1), 10).identical(pinned)
        assert pinned.publish(store) == pinned.publish(store)
    window = ml.Window.from_bounds((1.40, 43.56, 1.42, 43.58), crs="EPSG:32631", resolution=20)
    by_window = image.otsu(extent=window, resolution=20)
    assert by_window.is_pinned and set(np.unique(by_window.compute(window))) == {0, 1}
    b = window.boundingbox
    assert by_window.identical(image.otsu().pin((b.left, b.bottom, b.right, b.top), 20, crs=32631))
    with pytest.raises(DocumentError, match="one image"):
        s2.ndvi().otsu(extent=window, resolution=20).publish(store)
    with pytest.raises(DocumentError, match="less than"):
        image.pin((2, 43, 1, 44), 20).otsu(extent=(2, 43, 1, 44), resolution=20)


# ------------------------------------------------------------------------------------------------------------ windows


def test_computed_arrays_are_georeferenced(s2: ml.Collection, made: ml.Collection):
    cube = made.compute(WINDOW)
    assert cube.dims == ("t", "bands", "y", "x") and cube.odc.geobox == WINDOW
    assert cube.attrs["scenes_used"] == cube.attrs["scenes_found"] == 3
    window = ml.Window.from_bounds((1.40, 43.58, 1.41, 43.59), crs="EPSG:4326", resolution=0.0005)
    found = s2.band("red").first("t").compute(window)
    assert found.dims == ("latitude", "longitude") and found.odc.geobox == window
    nowhere = made.compute(own_window(4, 4).translate_pix(1000, 0))
    assert np.isnan(nowhere).all() and nowhere.shape == cube.shape and nowhere.attrs["scenes_found"] == 0


def test_values_at_a_place(made: ml.Collection, s2: ml.Collection):
    import pyproj

    to_degrees = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True).transform
    for row, column in ((0, 0), (2, 3)):
        lon, lat = to_degrees(ORIGIN[0] + 10 * column + 2, ORIGIN[1] - 10 * row - 7)
        cube = made.at(lon, lat)
        assert cube.dims == ("t", "bands")
        np.testing.assert_array_equal(cube, VALUES[:, :, row, column])
        assert made.band("red").max("t").at(lon, lat).item() == FIRST[2, row, column]
    with pytest.warns(OutsideScenes):
        assert np.isnan(made.band("red").first("t").at(0, 0))
    p = place("Toulouse")
    coarse, fine = (s2.ndvi().median("t").at(p.lon, p.lat, resolution=r).item() for r in (160, None))
    assert np.isfinite([coarse, fine]).all() and coarse != fine


def test_too_large_windows_are_refused_before_anything_is_read(s2: ml.Collection):
    before = executor("threads").counters()
    with pytest.raises(TooLarge, match="GB"):
        s2.compute(ml.Window.from_bounds((0, 40, 5, 45), crs="EPSG:32631", resolution=10))
    assert executor("threads").counters() == before


def test_four_thousand_additions_are_evaluated(made: ml.Collection):
    chain = made.band("red").first("t")
    for _ in range(4000):
        chain = chain + 0.5
    again = ml.Chain.from_json(chain.to_json())
    np.testing.assert_allclose(again.compute(WINDOW), FIRST[0] + 2000, rtol=1e-5)


TILES = morecantile.tms.get("WebMercatorQuad")


@given(st.integers(0, 24).flatmap(lambda z: st.tuples(st.just(z), *[st.integers(0, 2**z - 1)] * 2)))
@settings(max_examples=examples(30))
def test_tiles_are_where_everybody_has_them(tile: tuple[int, int, int]):
    z, x, y = tile
    window = ml.Window.tile(z, x, y)
    expected = TILES.xy_bounds(morecantile.Tile(x, y, z))
    pixel = zoom_resolution(z)
    assert window.shape == (256, 256) and str(window.crs) == "EPSG:3857"
    np.testing.assert_allclose(window.boundingbox.bbox, expected, rtol=0, atol=max(1e-6, pixel * 1e-6))
    assert abs(window.resolution.x - TILES.matrix(z).cellSize) < 1e-6 * pixel
    large = ml.Window.tile(z, x, y, size=512)
    assert large.shape == (512, 512) and large.boundingbox.bbox == pytest.approx(window.boundingbox.bbox, abs=1e-6)


@pytest.mark.parametrize("tile", [(-1, 0, 0), (31, 0, 0), (2, 4, 0), (2, 0, 4), (0, 0, -1)])
def test_tiles_that_do_not_exist_are_refused(tile: tuple[int, int, int]):
    with pytest.raises(ValueError, match="there is no tile"):
        ml.Window.tile(*tile)


@given(
    st.floats(-5, 9), st.floats(40, 50), st.floats(0.001, 0.5), st.floats(0.001, 0.5),
    st.sampled_from([("EPSG:32631", 10.0), ("EPSG:32631", 7.5), ("EPSG:4326", 0.001), (3035, 30.0)]),
)  # fmt: skip
@settings(max_examples=examples(10))
def test_windows_of_a_resolution_share_one_lattice(w: float, s: float, dx: float, dy: float, grid: tuple[Any, float]):
    crs, resolution = grid
    window = ml.Window.from_bounds((w, s, w + dx, s + dy), crs=crs, resolution=resolution)
    a = window.affine
    assert (a.a, a.e, a.b, a.d) == (resolution, -resolution, 0, 0)
    for origin in (a.c, a.f):
        assert abs(origin / resolution - round(origin / resolution)) < 1e-6
    inside = window.geographic_extent.boundingbox
    slack = 1e-9 + 1e-3 * max(dx, dy)
    assert inside.left <= w + slack and inside.bottom <= s + slack
    assert inside.right >= w + dx - slack and inside.top >= s + dy - slack


def test_windows_of_a_zoom_lie_on_its_tiles():
    resolution = zoom_resolution(14)
    window = ml.Window.from_bounds((1.40, 43.58, 1.45, 43.60), resolution=resolution)
    tile = ml.Window.tile(14, 8257, 5982)
    for a, b in ((window.affine.c, tile.affine.c), (window.affine.f, tile.affine.f)):
        assert abs((a - b) / resolution - round((a - b) / resolution)) < 1e-6


def test_windows_of_a_shape_keep_their_bounds():
    window = ml.Window.from_bounds((0, 0, 300, 200), crs=CRS, bounds_crs=CRS, shape=(20, 30))
    assert window.shape == (20, 30) and window.boundingbox.bbox == (0, 0, 300, 200)


@pytest.mark.parametrize(
    "arguments",
    [
        {"bounds": (1, 43, 0, 44), "resolution": 10},
        {"bounds": (0, 43, 0, 44), "resolution": 10},
        {"bounds": (0, 43, 1, 44)},
        {"bounds": (0, 43, 1, 44), "resolution": 0},
        {"bounds": (0, 43, 1, 44), "resolution": -5},
        {"bounds": (0, NAN, 1, 44), "resolution": 5},
    ],
)
def test_windows_that_are_none_are_refused(arguments: dict[str, Any]):
    with pytest.raises(ValueError, match="empty|positive|finite"):
        ml.Window.from_bounds(**arguments)


def test_windows_like_a_raster(tmp_path: Path, made: ml.Collection):
    cube = made.compute(WINDOW)
    assert ml.Window.like(cube) == WINDOW == ml.Window.like(WINDOW)
    path = tmp_path / "file.tif"
    with rasterio.open(path, "w", driver="GTiff", height=4, width=4, count=1, dtype="uint8", crs=CRS,
                       transform=from_origin(*ORIGIN, 10, 10)) as file:  # fmt: skip
        file.write(np.zeros((1, 4, 4), np.uint8))
    assert ml.Window.like(str(path)) == WINDOW and isinstance(ml.Window.like(path), GeoBox)
    with rasterio.open(tmp_path / "bare.tif", "w", driver="GTiff", height=4, width=4, count=1, dtype="uint8") as file:
        file.write(np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(ReadError, match="cannot be placed on a map"):
        ml.Window.like(tmp_path / "bare.tif")


def test_every_operator_of_a_chain_is_a_process_of_the_profile(s2: ml.Collection):
    image = s2.ndvi().median("t")
    chains = [
        image.apply_kernel([[1]]), image.focal_median(2), image.erode(), image.dilate(), image.opening(),
        image.closing(20, "m"), image.at_resolution(40), image.on_grid(3035, 30), image.on_grid(s2.band("red")),
        s2.ndvi().quantile(0.9), s2.ndvi().std(), s2.ndvi().sum(), s2.ndvi().min(), s2.ndvi().first(), s2.ndvi().last(),
    ]  # fmt: skip
    for chain in chains:
        assert all(p in {op.id for op in registry} for p in processes(chain))
        assert ml.Chain.from_json(chain.to_json()).identical(chain)
        assert str(ml.Chain.from_json(chain.to_json()).plan(WINDOW))
