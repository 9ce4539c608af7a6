"""STAC APIs, over real HTTP on loopback; the answers are recorded ones of the Planetary Computer."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from muses_lab.catalog import Query, QueryError, find_catalog, find_collection, open_catalog, register_catalog
from muses_lab.catalog.api import ApiCatalog
from muses_lab.errors import AccessDenied, NotFound, ReadError, TooLarge
from muses_lab.products import scenes
from tests.helpers.stac_items import item
from tests.helpers.stac_server import FILTER, SORT, Api, serving

COLLECTION = {
    "type": "Collection", "stac_version": "1.0.0", "id": "sentinel-2-l2a", "description": "", "license": "other",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]}},
    "links": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> list[dict]:
    """33 real Sentinel-2 items of ten seconds of 2019."""
    file = shared_data / "pystac_client_recorded/cassettes/test_item_search/TestItemSearch.test_datetime_results.yaml"
    answer = yaml.load(file.read_text(), yaml.CSafeLoader)["interactions"][0]["response"]["body"]["string"]
    return json.loads(answer)["features"]


@pytest.fixture
def api(recorded: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "home"))
    served = Api({"sentinel-2-l2a": COLLECTION}, copy.deepcopy(recorded))
    with serving(served) as url:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", urlsplit(url).netloc)
        yield served


def test_all_pages_are_read_in_order(api: Api, recorded: list[dict]) -> None:
    found = open_catalog(api.url).search(Query("sentinel-2-l2a"))
    assert [i["id"] for i in found] == [
        i["id"] for i in sorted(recorded, key=lambda i: (i["properties"]["datetime"], i["id"]))
    ]
    assert len(api.asked) == 4
    assert all(a["href"].startswith("https://") for i in found for a in i["assets"].values()), "remote stays remote"


def test_items_become_scenes(api: Api) -> None:
    catalog = open_catalog(api.url)
    found = scenes(catalog.search(Query("sentinel-2-l2a")), catalog.collection("sentinel-2-l2a"), catalog.id, [])
    assert len(found) == 33 and found.band("B04").scale == 1e-4


def test_the_place_and_time_are_asked_of_the_server(api: Api, recorded: list[dict]) -> None:
    west, south, east, north = recorded[5]["bbox"]
    found = open_catalog(api.url).search(
        Query("sentinel-2-l2a", bbox=(west, south, east, north), start="2019-01-01", end="2019-01-02")
    )
    assert recorded[5]["id"] in [i["id"] for i in found]
    assert len(found) < 33
    assert api.asked[0]["bbox"] == [west, south, east, north]
    assert api.asked[0]["datetime"].startswith("2019-01-01T00:00:00Z/2019-01-01T23:59:59.999999")


def test_the_end_is_left_out(api: Api) -> None:
    days = ["2019-01-01T00:00:00Z", "2019-01-02T00:00:00Z", "2019-01-03T00:00:00Z"]
    api.items = api.items[:3]
    for one, day in zip(api.items, days, strict=True):
        one["properties"]["datetime"] = day
    found = open_catalog(api.url).search(Query("sentinel-2-l2a", start=days[0], end=days[2]))
    assert [i["properties"]["datetime"] for i in found] == days[:2]


@pytest.mark.parametrize("able", [True, False])
def test_filter_sort_and_limit_mean_the_same_with_and_without_the_server(
    api: Api, recorded: list[dict], able: bool
) -> None:
    if able:
        api.conforms += [FILTER, SORT]
    cloudy = sorted((i for i in recorded if i["properties"]["eo:cloud_cover"] < 50),
                    key=lambda i: -i["properties"]["eo:cloud_cover"])  # fmt: skip
    assert 5 < len(cloudy) < 33
    query = Query("sentinel-2-l2a", filter="eo:cloud_cover < 50", sortby=("-eo:cloud_cover",), limit=4)
    catalog = open_catalog(api.url)
    assert [i["id"] for i in catalog.search(query)] == [i["id"] for i in cloudy[:4]]
    assert catalog.count(query) == 4
    assert ("filter" in api.asked[0]) is able
    assert ("sortby" in api.asked[0]) is able


def test_counting_fetches_one_page(api: Api) -> None:
    assert open_catalog(api.url).count(Query("sentinel-2-l2a")) == 33
    assert len(api.asked) == 1 and api.asked[0]["limit"] == 1


def test_a_bad_filter_is_not_sent(api: Api) -> None:
    with pytest.raises(QueryError, match="not CQL2"):
        open_catalog(api.url).search(Query("sentinel-2-l2a", filter="eo:cloud_cover <"))
    with pytest.raises(QueryError, match="did you mean 'eo:cloud_cover'"):
        open_catalog(api.url).search(Query("sentinel-2-l2a", filter="eo:cloudcover < 3"))


def test_unknown_collections_name_the_known(api: Api) -> None:
    catalog = open_catalog(api.url)
    for ask in (lambda: catalog.collection("nosuch"), lambda: catalog.search(Query("nosuch"))):
        with pytest.raises(NotFound, match="it has: sentinel-2-l2a"):
            ask()
    assert catalog.search(Query("sentinel-2-l2a", start="2030-01-01")) == []


def test_too_many_items_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_MAX_ITEMS", "20")
    with pytest.raises(TooLarge, match="more than 20 items"):
        open_catalog(api.url).search(Query("sentinel-2-l2a"))


def test_relative_hrefs_belong_to_the_item(api: Api) -> None:
    one = item("a")
    one["collection"] = "sentinel-2-l2a"
    one["links"] = [{"rel": "self", "href": "https://data.example/items/a/a.json"}]
    one["assets"]["red"]["href"] = "./red.tif"
    api.items = [one]
    found = open_catalog(api.url).search(Query("sentinel-2-l2a"))
    assert found[0]["assets"]["red"]["href"] == "https://data.example/items/a/red.tif"


def test_a_local_catalogue_is_found_before_a_remote_one(api: Api, tmp_path: Path) -> None:
    remote = register_catalog(api.url)
    assert find_collection("sentinel-2-l2a")[0].id == remote.id
    one = item("a")
    one["collection"] = "sentinel-2-l2a"
    (tmp_path / "local.json").write_text(json.dumps({"type": "FeatureCollection", "features": [one]}))
    local = register_catalog(tmp_path / "local.json")
    assert find_collection("sentinel-2-l2a")[0].id == local.id
    assert find_catalog(remote.id).id == remote.id


# Servers that do not mean well


def test_addresses_that_are_not_allowed_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSES_ALLOWED_HOSTS")
    for url in (api.url, api.url.replace("http:", "https:"), "https://169.254.169.254/latest", "ftp://example.org"):
        with pytest.raises(AccessDenied):
            open_catalog(url)


@pytest.mark.parametrize(
    "lead", ["http://127.0.0.1:9/stac/search", "https://[::1]/search", "file:///etc/passwd", "/etc/passwd"]
)
def test_paging_does_not_lead_elsewhere(api: Api, lead: str) -> None:
    api.next_href = lead
    with pytest.raises((AccessDenied, ReadError)) as caught:
        open_catalog(api.url).search(Query("sentinel-2-l2a"))
    assert isinstance(caught.value, AccessDenied) or lead == "/etc/passwd"
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize("lead", ["http://127.0.0.1:9/", "https://localhost/search", "file:///etc/passwd"])
def test_redirects_do_not_lead_elsewhere(api: Api, lead: str) -> None:
    api.redirect = lead
    with pytest.raises((AccessDenied, ReadError)) as caught:
        open_catalog(api.url).search(Query("sentinel-2-l2a"))
    assert isinstance(caught.value, AccessDenied) or lead.startswith("file")


def test_a_busy_server_is_asked_again(api: Api) -> None:
    api.fail = 2
    assert len(open_catalog(api.url).search(Query("sentinel-2-l2a"))) == 33


def test_what_is_not_an_api_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound):
        ApiCatalog(api.url.replace("/stac", "/other")).collections()
    api.collections["broken"] = {"id": "broken"}
    with pytest.raises(ReadError, match="not a STAC API, or not a working one"):
        open_catalog(api.url).collections()
