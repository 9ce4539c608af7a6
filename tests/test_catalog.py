"""Searching catalogues on this machine."""

from __future__ import annotations

import copy
import json
import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rustac

import muses_lab as ml
from muses_lab import settings
from muses_lab.catalog import Query, QueryError, find_catalog, find_collection, open_catalog, register_catalog
from muses_lab.catalog.local import FolderCatalog
from muses_lab.errors import AmbiguousCollection, NotFound, ReadError
from muses_lab.raster import access
from tests.helpers.stac_items import item

pytestmark = pytest.mark.usefixtures("fresh_home")

ITEMS = [
    item("a", "2018-01-01", cloud=10, platform="sentinel-2a", **{"eo:cloud_cover": 10}),
    item("b", "2018-02-01", platform="sentinel-2b", **{"eo:cloud_cover": 80.5}),
    item("c", "2018-03-01", lon=3, platform="sentinel-2a"),
    item("d", "2018-03-01", lon=3, lat=-10, platform="sentinel-2b", **{"eo:cloud_cover": 0}),
]


def folder(root: Path, items: list[dict], id: str = "test", collection: str = "scenes") -> Path:
    place = root / collection
    place.mkdir(parents=True)
    (root / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": id, "links": []}))
    document = {"type": "Collection", "id": collection, "extent": {}, "license": "other", "links": []}
    (place / "collection.json").write_text(json.dumps(document))
    rustac.write_sync(str(place / "items.parquet"), items)
    return root


@pytest.fixture(params=["folder", "parquet", "json"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path):
    """The same items behind every kind of local catalogue."""
    if request.param == "folder":
        return open_catalog(folder(tmp_path / "catalogue", ITEMS))
    file = tmp_path / f"items.{request.param}"
    if request.param == "parquet":
        rustac.write_sync(str(file), ITEMS)
    else:
        file.write_text(json.dumps({"type": "FeatureCollection", "features": ITEMS}))
    return open_catalog(file)


def ids(catalog, **query) -> list[str]:
    found = [i["id"] for i in catalog.search(Query("scenes", **query))]
    assert catalog.count(Query("scenes", **query)) == len(found)
    return found


def test_items_come_by_time_and_id(catalog) -> None:
    assert ids(catalog) == ["a", "b", "c", "d"]


def test_an_item_comes_back_as_it_was(catalog) -> None:
    found = catalog.search(Query("scenes"))[1]
    for name in ("id", "collection", "geometry", "bbox", "assets"):
        assert found[name] == ITEMS[1][name]
    assert found["properties"]["eo:cloud_cover"] == 80.5
    assert found["properties"]["datetime"] == "2018-02-01T10:30:00Z"
    json.dumps(found)


def test_dates_are_half_open(catalog) -> None:
    assert ids(catalog, start="2018-02-01", end="2018-03-01") == ["b"]
    assert ids(catalog, start="2018-02-01T10:30:00Z", end="2018-03-01T10:30:00Z") == ["b"]
    assert ids(catalog, start="2018-02-01T12:30:00+02:00", end="2018-02-01T10:30:01Z") == ["b"]
    assert ids(catalog, start="2018-03") == ["c", "d"]
    assert ids(catalog, end="2018-02") == ["a"]
    assert ids(catalog, start="2019") == []


def test_places_are_where_the_footprint_is(catalog) -> None:
    assert ids(catalog, bbox=(1.2, 43.2, 1.3, 43.3)) == ["a", "b"]
    assert ids(catalog, bbox=(3, -20, 4, 50)) == ["c", "d"]
    assert ids(catalog, bbox=(10, 10, 11, 11)) == []
    triangle = {"type": "Polygon", "coordinates": [[[0, 42], [3.6, 42], [0, 45], [0, 42]]]}
    assert ids(catalog, geometry=triangle) == ["a", "b"], "c is in the triangle's box, not in the triangle"
    assert ids(catalog, geometry=triangle, bbox=(3, 40, 5, 50)) == []


def test_a_box_across_the_antimeridian_is_two(catalog) -> None:
    assert ids(catalog, bbox=(2.5, -80, 0, 80)) == ["c", "d"]


def test_filters_are_cql2(catalog) -> None:
    assert ids(catalog, filter="eo:cloud_cover < 60") == ["a", "d"]
    assert ids(catalog, filter="platform = 'sentinel-2a' AND eo:cloud_cover < 60") == ["a"]
    assert ids(catalog, filter="platform LIKE '%2b' OR eo:cloud_cover = 10") == ["a", "b", "d"]
    assert ids(catalog, filter="id IN ('a', 'c')") == ["a", "c"]
    assert ids(catalog, filter="s_intersects(geometry, BBOX(2.9, -20, 3.9, 0))") == ["d"]
    assert ids(catalog, filter="datetime > TIMESTAMP('2018-02-15T00:00:00Z')") == ["c", "d"]


def test_an_item_without_the_property_does_not_match(catalog) -> None:
    assert "c" not in ids(catalog, filter="eo:cloud_cover < 60")
    assert "c" not in ids(catalog, filter="NOT eo:cloud_cover < 60")
    assert ids(catalog, filter="eo:cloud_cover IS NULL") == ["c"]
    assert ids(catalog, filter="eo:cloud_cover > 50 OR platform = 'sentinel-2a'") == ["a", "b", "c"]


def test_a_property_that_no_item_has_is_named(catalog) -> None:
    with pytest.raises(QueryError, match=r"'eo:cloudcover'.*did you mean 'eo:cloud_cover'"):
        ids(catalog, filter="eo:cloudcover < 60")
    with pytest.raises(QueryError, match="quote a text: 'sentinel'"):
        ids(catalog, filter="platform = sentinel")


@pytest.mark.parametrize("text", ["eo:cloud_cover <", "eo:cloud_cover << 3", "", "platform == 'a'"])
def test_a_filter_that_is_not_cql2_is_refused_with_the_place(catalog, text: str) -> None:
    if not text:
        assert len(ids(catalog, filter=text)) == 4
        return
    with pytest.raises(QueryError, match=r"is not CQL2:\n(.|\n)*\^---"):
        ids(catalog, filter=text)


def test_a_filter_of_wrong_types_is_refused_with_the_value(catalog) -> None:
    with pytest.raises(QueryError, match=r"neither true nor false.*platform = 'sentinel-2a'"):
        ids(catalog, filter="platform < 3")


def test_sorting_and_limit(catalog) -> None:
    assert ids(catalog, sortby=("-datetime",)) == ["c", "d", "b", "a"]
    assert ids(catalog, sortby=("eo:cloud_cover",)) == ["d", "a", "b", "c"], "without the property: last"
    assert ids(catalog, sortby=("-eo:cloud_cover",)) == ["b", "a", "d", "c"], "last either way"
    assert ids(catalog, sortby=("platform", "-id")) == ["c", "a", "d", "b"]
    assert ids(catalog, sortby=("-datetime",), limit=1) == ["c"]
    assert ids(catalog, limit=0) == []
    with pytest.raises(QueryError, match="'nosuch'"):
        catalog.search(Query("scenes", sortby=("nosuch",)))


def test_an_unknown_collection_names_the_known(catalog) -> None:
    for ask in (lambda: catalog.search(Query("nosuch")), lambda: catalog.collection("nosuch")):
        with pytest.raises(NotFound, match="it has: scenes"):
            ask()


def test_a_bare_file_describes_its_collection(tmp_path: Path) -> None:
    file = tmp_path / "items.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": ITEMS}))
    collection = open_catalog(file).collection("scenes")
    assert collection["extent"]["temporal"]["interval"] == [["2018-01-01T10:30:00Z", "2018-03-01T10:30:00Z"]]
    assert collection["extent"]["spatial"]["bbox"] == [[1, -10, 4, 44]]
    assert set(collection["item_assets"]) == {"red"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"bbox": (1, 2, 3)}, "four numbers"),
        ({"bbox": (1, 50, 3, 40)}, "south below north"),
        ({"bbox": (500000, 4800000, 600000, 4900000)}, "in degrees"),
        ({"start": "yesterday"}, "'yesterday' is not a date"),
        ({"start": "2018-13-01"}, "2018-13-01"),
        ({"start": "2019-01-01", "end": "2018-01-01"}, "must be later"),
        ({"start": "2018-01-01", "end": "2018-01-01"}, "are empty"),
        ({"limit": -1}, "limit=-1"),
        ({"geometry": {"type": "Polygon"}}, "GeoJSON"),
        ({"geometry": {"type": "Feature", "geometry": None}}, "give the geometry inside"),
        (
            {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]}},
            "crosses itself",
        ),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(query: dict, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Query("scenes", **query)


def test_items_with_only_an_interval_are_found_where_it_overlaps(tmp_path: Path) -> None:
    monthly = item("m", "2018-05-01")
    monthly["properties"] |= {
        "datetime": None, "start_datetime": "2018-05-01T00:00:00Z", "end_datetime": "2018-05-31T00:00:00Z",
    }  # fmt: skip
    catalog = open_catalog(folder(tmp_path / "c", [monthly, *ITEMS]))
    assert ids(catalog, start="2018-05-20") == ["m"]
    assert ids(catalog, start="2018-06-01") == []
    assert ids(catalog, end="2018-05-01") == ["a", "b", "c", "d"]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    root = folder(tmp_path / "c", ITEMS)
    catalog = open_catalog(root)
    assert len(ids(catalog)) == 4
    rustac.write_sync(str(root / "scenes" / "items.parquet"), ITEMS[:1])
    assert ids(catalog) == ["a"]


def test_a_file_has_the_same_id_on_every_machine(tmp_path: Path) -> None:
    file = tmp_path / "items.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": ITEMS}))
    (tmp_path / "elsewhere").mkdir()
    copied = shutil.copy(file, tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="is now read from"):
        assert open_catalog(file).id == open_catalog(copied).id


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("broken.json", "{", ReadError, "is not JSON"),
        ("item.json", json.dumps(ITEMS[0]), ReadError, "not an ItemCollection"),
        ("list.json", "[]", ReadError, "not an ItemCollection"),
        (
            "features.json",
            '{"type": "FeatureCollection", "features": [{"type": "Feature"}]}',
            ReadError,
            "has no id",
        ),
        ("broken.parquet", "PAR1", ReadError, "as STAC GeoParquet"),
        ("text.txt", "", NotFound, "is not a catalogue"),
    ],
)
def test_what_is_not_a_catalogue_says_why(tmp_path: Path, name: str, text: str, error: type, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        open_catalog(tmp_path / name)


def test_a_parquet_of_something_else_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ReadError, match="no column assets, geometry"):
        open_catalog(tmp_path / "other.parquet")


def test_missing_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no catalogue at"):
        open_catalog(tmp_path / "nowhere")
    with pytest.raises(NotFound, match=r"catalog add .*What can be opened: .*a catalogue folder \(with catalog.json\)"):
        open_catalog(tmp_path)


def test_collections_are_found_in_what_is_registered(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="none is registered yet"):
        find_collection("scenes")
    register_catalog(folder(tmp_path / "one", ITEMS, "one"))
    assert find_catalog("one").id == "one"
    assert (find_collection("scenes")[0].id, find_collection("one:scenes")[1]) == ("one", "scenes")
    with pytest.raises(NotFound, match="no catalogue 'two' is known here; there are: one"):
        find_catalog("two")
    with pytest.raises(NotFound, match="no registered catalogue has the collection 'nosuch'; there are: one"):
        find_collection("nosuch")
    with pytest.raises(NotFound, match="no catalogue 'two' is known here"):
        find_collection("two:scenes")


def test_one_collection_in_two_catalogues_is_a_question(tmp_path: Path) -> None:
    for name in ("one", "two"):
        register_catalog(folder(tmp_path / name, ITEMS, name))
    with pytest.raises(AmbiguousCollection) as asked:
        ml.collection("scenes")
    assert not isinstance(asked.value, NotFound), "nothing is missing"
    assert asked.value.details["choices"] == ["one:scenes", "two:scenes"]
    assert asked.value.to_json()["code"] == "collection-ambiguous"
    for text in ("'one:scenes' or 'two:scenes'", str(tmp_path / "one"), str(tmp_path / "two")):
        assert text in str(asked.value)
    for choice in asked.value.details["choices"]:
        assert f"{ml.collection(choice).catalog.id}:scenes" == choice, "what is proposed works"
    document = {
        "process_graph": {"l": {"process_id": "load_collection", "arguments": {"id": "scenes"}, "result": True}}
    }
    with pytest.raises(AmbiguousCollection):
        ml.Chain.from_json(document).resolve()


def test_ids_may_hold_colons(tmp_path: Path) -> None:
    register_catalog(folder(tmp_path / "one", ITEMS, "host:8000/stac", "urn:x:scenes"))
    for name in ("urn:x:scenes", "host:8000/stac:urn:x:scenes"):
        catalog, collection = find_collection(name)
        assert (catalog.id, collection) == ("host:8000/stac", "urn:x:scenes")


def test_what_is_opened_is_not_registered(tmp_path: Path) -> None:
    """Looking into a catalogue changes nothing of what `ml.collection` finds."""
    register_catalog(folder(tmp_path / "one", ITEMS, "one"))
    opened = open_catalog(folder(tmp_path / "two", ITEMS, "two"))
    assert list(settings.registered_catalogs()) == ["one"]
    assert find_collection("scenes")[0].id == "one"
    assert ml.collection("scenes", opened).catalog is opened
    assert find_collection("two:scenes")[0].root == opened.root, "chains that name it are read"
    assert access.resolve_href("two", "a.tif") == str(tmp_path / "two" / "a.tif")
    open_catalog(tmp_path / "one")
    assert list(settings.registered_catalogs()) == ["one"], "one that is registered stays so"
    register_catalog(tmp_path / "two")
    assert list(settings.registered_catalogs()) == ["one", "two"]


def test_a_collection_of_an_opened_catalogue_is_hinted_at(tmp_path: Path) -> None:
    open_catalog(folder(tmp_path / "two", ITEMS, "two"))
    with pytest.raises(
        NotFound, match=r"catalogue 'two' has it, .*use 'two:scenes', or `muses-lab catalog register /.*two`"
    ):
        ml.collection("scenes")


def test_a_removed_catalogue_is_not_read_any_more(tmp_path: Path) -> None:
    register_catalog(folder(tmp_path / "one", ITEMS, "one"))
    chain = ml.collection("scenes").band("red").max("t")
    said = ml.remove_catalog("one")
    assert "Chains and maps of its scenes cannot be read until" in said
    assert f"catalog register {tmp_path / 'one'}" in said
    for refused in (lambda: ml.collection("scenes"), chain.resolve, lambda: access.resolve_href("one", "a.tif")):
        with pytest.raises(NotFound):
            refused()
    with pytest.raises(NotFound, match="no catalogue 'one' is known here; none is registered yet"):
        ml.remove_catalog("one")
    register_catalog(tmp_path / "one")
    assert ml.collection("scenes").band("red").max("t").hash == chain.hash
    ml.remove_catalog(tmp_path / "one")
    assert settings.known_catalogs() == {}


def test_removing_says_when_files_lie_elsewhere(tmp_path: Path) -> None:
    settings.register_catalog("mine", str(tmp_path), [str(tmp_path.parent)])
    assert "added again with `muses-lab catalog add`" in ml.remove_catalog("mine")


def test_a_registered_file_that_changed_is_one_catalogue(tmp_path: Path) -> None:
    """Its id changes with its contents; the older one is still known, so that chains say what happened."""
    file = tmp_path / "items.parquet"
    rustac.write_sync(str(file), ITEMS)
    before = register_catalog(file).id
    rustac.write_sync(str(file), ITEMS[:2])
    now = register_catalog(file).id
    assert find_collection("scenes")[0].id == now != before
    assert list(settings.registered_catalogs()) == [now]
    assert set(settings.known_catalogs()) == {before, now}


def test_find_catalog_opens_files_again(tmp_path: Path) -> None:
    file = tmp_path / "items.parquet"
    rustac.write_sync(str(file), ITEMS)
    opened = open_catalog(file)
    found = find_catalog(opened.id)
    assert [i["id"] for i in found.search(Query("scenes"))] == ["a", "b", "c", "d"]
    assert settings.known_catalogs()[opened.id]["root"] == str(tmp_path)


def test_a_catalogue_that_is_gone_does_not_hide_the_others(tmp_path: Path) -> None:
    register_catalog(folder(tmp_path / "gone", ITEMS, "gone", "others"))
    register_catalog(folder(tmp_path / "here", ITEMS, "here"))
    shutil.rmtree(tmp_path / "gone")
    assert find_collection("scenes")[0].id == "here"
    with pytest.raises(NotFound, match=r"not readable: gone: there is no catalogue at .*gone"):
        find_collection("others")


def test_catalogues_show_themselves_in_a_sentence(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", ITEMS, "one")
    assert repr(open_catalog(one)) == f"Catalogue 'one' in {one}, with the collection scenes"
    file = tmp_path / "items.parquet"
    rustac.write_sync(str(file), [*ITEMS, {**item("e", "2018-05-01"), "collection": "more"}])
    catalog = open_catalog(file)
    assert repr(catalog) == f"Catalogue '{catalog.id}' in {file}, with 2 collections: more, scenes"
    opened = open_catalog(one)
    (one / "scenes" / "collection.json").write_text("{")
    assert "cannot be read: " in repr(opened)


def test_a_static_catalogue_says_how_it_is_read(tmp_path: Path) -> None:
    """One of single files, as pystac writes them: it has no table to search, and is not empty for that."""
    root = folder(tmp_path / "static", ITEMS)
    (root / "scenes" / "items.parquet").unlink()
    with pytest.raises(ReadError, match=r"catalog add .*static"):
        open_catalog(root).search(Query("scenes"))


def test_the_sample_catalogue_opens(sample_catalog: Path) -> None:
    catalog = FolderCatalog(sample_catalog)
    collection = catalog.collections()[0]
    found = catalog.search(Query(collection["id"], filter="eo:cloud_cover < 101"))
    assert found
    assert all("SCL" in i["assets"] for i in found)


@pytest.mark.slow
def test_ten_thousand_items_are_searched_at_once(tmp_path: Path) -> None:
    """A selective query costs what it finds, not what there is; a generous bound for busy machines."""
    many = []
    for n in range(10_000):
        one = copy.copy(ITEMS[0])
        one["id"] = f"i{n:05d}"
        day = f"{2010 + n % 10}-{1 + n % 12:02d}-{1 + n % 28:02d}T10:00:00Z"
        one["properties"] = {"datetime": day, "eo:cloud_cover": n % 100}
        many.append(one)
    rustac.write_sync(str(tmp_path / "many.parquet"), many)
    catalog = open_catalog(tmp_path / "many.parquet")
    query = Query("scenes", start="2015-01-01", end="2016-01-01", bbox=(1, 43, 2, 44), filter="eo:cloud_cover < 20")
    catalog.search(query)
    started = time.process_time()
    found = catalog.search(query)
    took = time.process_time() - started
    expected = [i for i in many if i["properties"]["datetime"] < "2016" and i["properties"]["datetime"] >= "2015"]
    assert len(found) == len([i for i in expected if i["properties"]["eo:cloud_cover"] < 20])
    assert took < 2, f"{took:.2f} s"
