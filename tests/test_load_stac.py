"""`load_stac`: collections, items and ItemCollections by their address, where that may be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import muses_lab as ml
from muses_lab.errors import AccessDenied, MusesError, NotFound
from tests.helpers import range_server, stac_server
from tests.helpers.stac_items import item, write_tif

WINDOW = ml.Window.from_bounds((300000, 4799800, 300300, 4800000), "EPSG:32631", resolution=10, bounds_crs="EPSG:32631")

EVERYWHERE = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
ABOUT = {
    "type": "Collection", "stac_version": "1.0.0", "id": "scenes", "description": "", "license": "other",
    "links": [], "extent": EVERYWHERE,
}  # fmt: skip


@pytest.fixture(autouse=True)
def alone(fresh_home: Path) -> None:
    ml.use("threads")


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder of two items, a collection of them, and a file that is none, behind a server."""
    folder = tmp_path / "web"
    write_tif(folder / "red.tif", shape=(100, 100))
    items = [item("a", "2018-06-01", **{"eo:cloud_cover": 10}), item("b", "2018-07-01", **{"eo:cloud_cover": 80})]
    for one in items:
        (folder / f"{one['id']}.json").write_text(json.dumps(one))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    links = [{"rel": "item", "href": f"./{one['id']}.json"} for one in items] + [{"rel": "self", "href": "x"}]
    (folder / "collection.json").write_text(json.dumps({**ABOUT, "links": links}))
    (folder / "text.json").write_text("nothing")
    with range_server.serving(folder) as server:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")
        yield server.url


def loaded(url: str, **arguments: Any) -> ml.Chain:
    load = {"process_id": "load_stac", "arguments": {"url": url, **arguments}, "result": True}
    return ml.Chain.from_json({"l": load})


def ids(chain: ml.Chain) -> list[str]:
    (scenes,) = chain.published.scenes.values()
    return sorted(scene.id for scene in scenes.scenes)


def test_items_and_static_collections_are_read(address: str):
    assert ids(loaded(f"{address}/a.json")) == ["a"]
    assert ids(loaded(f"{address}/items.json")) == ids(loaded(f"{address}/collection.json")) == ["a", "b"]
    assert ids(loaded(f"{address}/items.json", temporal_extent=["2018-06-15", None])) == ["b"]
    value = {"process_id": "lt", "arguments": {"x": {"from_parameter": "value"}, "y": 50}, "result": True}
    assert ids(loaded(f"{address}/items.json", properties={"eo:cloud_cover": {"process_graph": {"c": value}}})) == ["a"]
    assert (loaded(f"{address}/a.json", bands=["red"]).compute(WINDOW) == 1).all()


def test_a_collection_of_an_api_is_that_of_its_catalogue(monkeypatch: pytest.MonkeyPatch):
    with stac_server.serving(stac_server.Api({"scenes": ABOUT}, [item("a"), item("b", "2018-07-01")])) as url:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", urlsplit(url).netloc)
        assert ids(loaded(f"{url}/collections/scenes")) == ["a", "b"]
        with pytest.raises(NotFound, match="scenes"):
            ids(loaded(f"{url}/collections/other"))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1:1/a.json",
        "http://10.0.0.1/a.json",
        "https://localhost/a.json",
    ],
)
def test_addresses_that_may_not_be_asked_are_refused(url: str):
    with pytest.raises(AccessDenied):
        loaded(url).published  # noqa: B018


def test_what_is_no_document_is_told(address: str):
    for name in ("text.json", "none.json"):
        with pytest.raises(MusesError, match=name):
            loaded(f"{address}/{name}").published  # noqa: B018
