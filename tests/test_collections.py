"""Collections: searched once, counted without being fetched, and the same whatever is said first of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio

import muses_lab as ml
from muses_lab.catalog import Catalog, Query
from muses_lab.catalog.local import FolderCatalog
from muses_lab.catalog.register import add
from muses_lab.errors import ArgumentError, BandError, NotFound
from muses_lab.products import SkippedItems
from muses_lab.settings import known_catalogs, registered_catalogs
from muses_lab.store import default_store
from tests.helpers.stac_items import item, write_tif
from tests.helpers.stac_server import Api, serving

WINDOW = ml.Window.from_bounds((300000, 4799800, 300300, 4800000), "EPSG:32631", resolution=10, bounds_crs="EPSG:32631")


@pytest.fixture(autouse=True)
def alone(fresh_home: Path) -> None:
    ml.use("threads")


@pytest.fixture
def folder(tmp_path: Path, fresh_home: Path) -> Path:
    """A catalogue of three dates, each an image of its month's number."""
    for month in (1, 2, 3):
        image(tmp_path / f"files/made_20200{month}01.tif", month)
    add(sorted((tmp_path / "files").glob("*.tif")), catalog=tmp_path / "catalogue", collection="scenes")
    return tmp_path / "catalogue"


def image(path: Path, value: int) -> Path:
    write_tif(path)
    with rasterio.open(path, "r+") as file:
        file.write(np.full(file.shape, value, np.uint16), 1)
    return path


class Own:
    """A catalogue of somebody's own class: it follows the protocol, and nobody has registered it."""

    def __init__(self, of: Catalog, id: str = "own") -> None:
        self.id, self.root = id, str(Path(of.root).parent)
        self.of = of
        self.searched: list[Query] = []

    def collections(self) -> list[dict[str, Any]]:
        return self.of.collections()

    def collection(self, id: str) -> dict[str, Any]:
        return self.of.collection(id)

    def search(self, query: Query) -> list[dict[str, Any]]:
        self.searched.append(query)
        return self.of.search(query)

    def count(self, query: Query) -> int:
        return self.of.count(query)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Query]:
    """The searches of catalogue folders."""
    asked: list[Query] = []
    search = FolderCatalog.search
    monkeypatch.setattr(FolderCatalog, "search", lambda self, query: asked.append(query) or search(self, query))
    return asked


# ------------------------------------------------------------------------------------------------- searched once


def test_another_threshold_searches_nothing(folder: Path, searched: list[Query]) -> None:
    s = ml.collection("scenes", str(folder))
    mean = s.mean("t")
    values = [float((mean > threshold).compute(WINDOW).max()) for threshold in (1.5, 2.5)]
    assert values == [1, 0] and len(searched) == 1
    assert float((s.dates("2020-01", "2020-03").mean("t") > 1.4).compute(WINDOW).max()) == 1
    assert float((s.dates("2020-01", "2020-03").mean("t") > 1.6).compute(WINDOW).max()) == 0
    assert len(searched) == 2, "the same query of the same collection is another one's no more"
    document = ml.Chain.from_json(mean.to_json())
    assert [float((document > t).compute(WINDOW).max()) for t in (1.5, 2.5)] == values and len(searched) == 3


def test_a_catalogue_that_has_changed_is_searched_again(folder: Path, searched: list[Query]) -> None:
    s = ml.collection("scenes", str(folder))
    assert len((s * 1).compute(WINDOW).t) == 3
    add([image(folder.parent / "files/made_20200401.tif", 4)], catalog=folder, collection="scenes")
    assert len((s * 1).compute(WINDOW).t) == 4 and len(searched) == 2


def test_what_a_catalogue_has_now_is_asked_for_by_resolving(folder: Path) -> None:
    own = Own(ml.open_catalog(str(folder)))
    s = ml.collection("scenes", own)
    first = s.count("t")
    assert float(first.compute(WINDOW).max()) == 3
    add([image(folder.parent / "files/made_20200401.tif", 4)], catalog=folder, collection="scenes")
    assert float((first + 0).compute(WINDOW).max()) == 3, "it does not tell its state: the collection stays as it was"
    assert float(first.resolve().compute(WINDOW).max()) == 4 and len(own.searched) == 2
    assert float(ml.collection("scenes", own).count("t").compute(WINDOW).max()) == 4


def test_a_server_that_was_away_is_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose header a server did not give is left out now, not for as long as the collection is there."""
    from muses_lab.products import headers, resolve

    own = Own(ml.open_catalog(str(folder)))
    search = own.search

    def elsewhere(query: Query) -> list[dict[str, Any]]:
        items = search(query)
        for asset in items[0]["assets"].values():
            for name in [n for n in asset if n.startswith(("proj:", "muses:", "bands", "raster:"))]:
                del asset[name]
            asset["href"] = "https://example.com/a.tif"
        items[0]["properties"] = {"datetime": items[0]["properties"]["datetime"]}
        return items

    own.search = elsewhere  # type: ignore[method-assign]
    gone = headers.Unavailable("the server is away")
    monkeypatch.setattr(resolve, "remote_headers", lambda urls: dict.fromkeys(urls, gone))
    monkeypatch.setattr("muses_lab.raster.access.check_url", lambda url, *lookup: url)
    s = ml.collection("scenes", own)
    assert len(s.mean("t").problems) == 1 and len(s.max("t").problems) == 1
    assert len(own.searched) == 2


# ------------------------------------------------------------------------------------------- counted, looked at


def test_a_collection_is_counted_without_being_fetched_and_looked_at_without_being_asked(
    folder: Path, searched: list[Query]
) -> None:
    s = ml.collection("scenes", str(folder)).dates("2020-02", None)
    assert repr(s) and str(s) and searched == []
    assert len(s) == 2 and searched == []
    assert len(s.items) == 2 and len(s) == 2 and len(searched) == 1


def test_looking_at_a_remote_collection_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = {
        "type": "Collection", "stac_version": "1.0.0", "id": "far", "description": "", "license": "other", "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }  # fmt: skip
    api = Api({"far": collection}, [])
    with serving(api) as url:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", urlsplit(url).netloc)
        far = ml.collection("far", url).dates("2020")
    assert "far" in repr(far), "the server is gone"
    assert api.asked == []


# ------------------------------------------------------------------------------------ bands and dates in any order


@pytest.fixture
def s2(sample_catalog: Path, fresh_home: Path) -> ml.Collection:
    return ml.collection("sentinel-2-l2a", ml.open_catalog(str(sample_catalog)))


HERE = ml.Window.from_bounds((1.40, 43.58, 1.41, 43.59), crs="EPSG:32631", resolution=20)


def test_clouds_are_masked_whichever_bands_were_chosen(s2: ml.Collection) -> None:
    few = s2.limit(4)
    masked = few.bands("red", "nir").mask_clouds()
    expected = few.mask_clouds().bands("red", "nir").compute(HERE)
    np.testing.assert_array_equal(masked.compute(HERE).values, expected.values)
    assert np.isfinite(expected).any() and list(masked.compute(HERE).bands.values) == ["B04", "B08"]


ORDERS: dict[str, Callable[[ml.Collection], ml.Chain]] = {
    "dates first": lambda s: s.dates("2018-03", "2018-07").near("Toulouse").bands("red"),
    "bands first": lambda s: s.bands("red").dates("2018-03", "2018-07").near("Toulouse"),
    "dates twice": lambda s: s.dates("2018-01", "2018-07").bands(["red"]).near("Toulouse").dates("2018-03", None),
    "bands twice": lambda s: s.bands("red", "B08").near("Toulouse").bands("B04").dates("2018-03", "2018-07"),
}


@pytest.mark.parametrize("order", ORDERS)
def test_bands_and_dates_mean_the_same_in_any_order(s2: ml.Collection, order: str) -> None:
    chosen = ORDERS[order](s2)
    assert isinstance(chosen, ml.Collection) and 0 < len(chosen) < len(s2)
    expected = [t for t in s2.near("Toulouse").published.prepared.output.times if "2018-03" <= str(t) < "2018-07"]
    assert list(chosen.published.prepared.output.times) == expected
    assert chosen.published.prepared.output.meta.bands == ("B04",)
    pictures = s2.near("Toulouse").band("red").dates("2018-01", "2018-07").dates("2018-03", None)
    assert list(pictures.published.prepared.output.times) == expected, "of a chain's dates too"


def test_bands_and_dates_that_were_left_out_before_are_not_there(s2: ml.Collection) -> None:
    with pytest.raises(BandError, match=r"no band 'nir' among those that were chosen before: red, green"):
        s2.bands("red", "green").bands("nir")
    with pytest.raises(ArgumentError, match=r"2019-01-01 to 2020-01-01.* outside .*before, 2018-01-01 to 2019-01-01"):
        s2.dates("2018").dates("2019")
    with pytest.raises(BandError, match="no band 'thermal'"):
        s2.bands("thermal").resolve()


# --------------------------------------------------------------------------------------- items that are left out


@pytest.fixture
def spoilt(tmp_path: Path, fresh_home: Path) -> ml.Chain:
    """Of two items, one of which has a date that is none."""
    write_tif(tmp_path / "red.tif")
    good, bad = item("good"), item("bad") | {"properties": {"datetime": "soon"}}
    for one in (good, bad):
        one["assets"]["red"] |= {"proj:shape": [20, 30]}
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [good, bad]}))
    return ml.collection("scenes", str(tmp_path / "items.json")).band("red").max("t")


WAYS: dict[str, Callable[[ml.Chain, Path], Any]] = {
    "plan": lambda chain, folder: chain.plan(WINDOW),
    "compute": lambda chain, folder: chain.compute(WINDOW),
    "at": lambda chain, folder: chain.at(*place()),
    "at many": lambda chain, folder: chain.at([place(), place()]),
    "a layer's compute": lambda chain, folder: chain.style().compute(WINDOW),
    "a layer's export": lambda chain, folder: chain.style().export(folder / "a.tif", WINDOW, progress=False).wait(60),
    "export": lambda chain, folder: chain.export(folder / "b.tif", WINDOW, progress=False).wait(60),
    "materialize": lambda chain, folder: chain.materialize(levels=0, progress=False).wait(60),
}


def place() -> tuple[float, float]:
    x, y = WINDOW.geographic_extent.centroid.coords[0]
    return x, y


@pytest.mark.parametrize("way", WAYS)
def test_an_item_that_is_left_out_is_told_to_whoever_asks(spoilt: ml.Chain, tmp_path: Path, way: str) -> None:
    with pytest.warns(SkippedItems, match=r"choosing the scenes of the chain: bad: .*soon") as told:
        WAYS[way](spoilt, tmp_path)
    lines = {warning.filename for warning in told if issubclass(warning.category, SkippedItems)}
    assert lines == {__file__}, "it points to the user's own line"


def test_what_is_left_out_stays_with_what_is_made_of_the_chain(spoilt: ml.Chain, tmp_path: Path) -> None:
    with pytest.warns(SkippedItems):
        array, value = spoilt.compute(WINDOW), spoilt.at(*place())
        file = spoilt.export(tmp_path / "a.tif", WINDOW, progress=False).wait(60)
    (line,) = spoilt.problems
    assert array.attrs["problems"] == value.attrs["problems"] == [line]
    with rasterio.open(file) as raster:
        assert json.loads(raster.tags()["MUSES_PROBLEMS"]) == [line]
    made = (spoilt.resolve() * 2).focal_mean(1)
    assert made.problems == (line,) and pickle.loads(pickle.dumps(made)).problems == (line,)
    published = default_store().document(spoilt.publish())
    assert ml.Chain.from_json(published).with_artefacts_of(default_store()).problems == (line,)


def test_nothing_is_told_where_nothing_is_left_out(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    array = ml.collection("scenes", str(folder)).max("t").compute(WINDOW)
    assert "problems" not in array.attrs and not [w for w in recwarn if issubclass(w.category, SkippedItems)]


# ------------------------------------------------------------------------------------- a catalogue of one's own


def test_a_catalogue_of_a_class_of_ones_own_is_searched_and_read(folder: Path) -> None:
    own = Own(ml.open_catalog(str(folder)))
    mean = ml.collection("scenes", own).mean("t")
    assert float(mean.compute(WINDOW).max()) == 2
    assert "own" in known_catalogs() and "own" not in registered_catalogs()
    assert len(known_catalogs()) == 2, "that of the folder is still known"
    assert float(pickle.loads(pickle.dumps(mean)).compute(WINDOW).max()) == 2
    assert float((mean + ml.collection("scenes", str(folder)).mean("t")).compute(WINDOW).max()) == 4
    pinned = ml.Chain.from_json(mean.to_json(artefacts=True))
    assert float(pinned.compute(WINDOW).max()) == 2
    with pytest.raises(NotFound, match=r"object of class .*Own.*ml\.collection\(id, catalog\)"):
        ml.Chain.from_json(mean.to_json()).compute(WINDOW)


def test_a_removed_catalogue_of_ones_own_comes_back_with_its_object(folder: Path) -> None:
    own = Own(ml.open_catalog(str(folder)))
    ml.collection("scenes", own)
    said = ml.remove_catalog("own")
    assert f"nothing was deleted in {own.root}." in said and "given to ml.collection(id, catalog) again" in said
    assert float(ml.collection("scenes", own).mean("t").compute(WINDOW).max()) == 2


def test_a_catalogue_of_ones_own_needs_a_name_of_its_own_and_a_root(folder: Path) -> None:
    known = ml.open_catalog(str(folder))
    with pytest.raises(ArgumentError, match=r"is that of another catalogue, in .*give it another id"):
        ml.collection("scenes", Own(known, known.id))
    for field, value in (("root", ""), ("id", None)):
        own = Own(known)
        setattr(own, field, value)
        with pytest.raises(ArgumentError, match=rf"has {field}={value!r}.*its root the folder or URL"):
            ml.collection("scenes", own)
