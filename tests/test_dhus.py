"""DHuS hubs, as they answered: a server on loopback replays what was recorded of a real one."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from shapely.geometry import box, shape

import muses_lab as ml
from muses_lab.catalog import Query, find_catalog
from muses_lab.catalog.backends import dhus
from muses_lab.errors import AccessDenied, NotFound, ReadError, TooLarge
from muses_lab.settings import known_catalogs

RECORDED = (
    Path(os.environ.get("MUSES_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "sentinelsat_recorded"
)
pytestmark = pytest.mark.skipif(not RECORDED.exists(), reason=f"no recorded answers in {RECORDED}")


@dataclass
class Hub:
    """What the server answers, and what it was asked."""

    answers: list[tuple[int, bytes]]
    """(status, body), one after the other; the last one again and again."""
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    redirect: str | None = None
    gate: Event = field(default_factory=Event)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub([])
    made.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            login = self.headers.get("Authorization", "").removeprefix("Basic ")
            made.asked.append(asked | {"path": urlsplit(self.path).path, "login": base64.b64decode(login).decode()})
            made.gate.wait(30)
            if made.redirect:
                self.send_response(302)
                self.send_header("Location", made.redirect)
                self.end_headers()
                return
            status, body = made.answers.pop(0) if len(made.answers) > 1 else (made.answers or [(204, b"")])[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        made.url = f"dhus+http://127.0.0.1:{server.server_port}/dhus"
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DHUS_USER", "ada")
        monkeypatch.setenv("DHUS_PASSWORD", "se:cret")
        monkeypatch.setattr(dhus, "TIMEOUT", (5, 1))
        yield made
        made.gate.set()
        server.shutdown()
        thread.join()


def recorded(name: str) -> list[tuple[int, bytes]]:
    """The answers of a cassette."""
    document = yaml.safe_load((RECORDED / "vcr_cassettes" / f"{name}.yaml").read_text("utf-8"))
    found = []
    for interaction in document["interactions"]:
        body = interaction["response"]["body"]["string"]
        body = body.encode() if isinstance(body, str) else body
        body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        found.append((interaction["response"]["status"]["code"], body))
    return found


def entries(body: bytes) -> list[dict[str, Any]]:
    found = json.loads(body)["feed"].get("entry", [])
    return found if isinstance(found, list) else [found]


def test_products_are_scenes(hub: Hub) -> None:
    (answer,) = recorded("test_s2_cloudcover")
    hub.answers = [answer]
    catalog = ml.open_catalog(hub.url)
    query = Query("sentinel-2-l1c", bbox=(-66.27, -8.06, -57.3, 0.7), start="2018-12-12", end="2018-12-28")
    items = catalog.search(query)
    theirs = {entry["title"]: entry for entry in entries(answer[1])}
    assert sorted(item["id"] for item in items) == sorted(t for t in theirs if "MSIL1C" in t) and len(items) == 4
    item = next(item for item in items if item["id"].startswith("S2B_MSIL1C_20181219T142029_N0207_R010_T20MPS"))
    assert item["properties"] == {
        "datetime": "2018-12-19T14:20:29.024000Z", "platform": "sentinel-2b", "eo:cloud_cover": 3.6476,
        "grid:code": "MGRS-20MPS", "sat:relative_orbit": 10, "sat:orbit_state": "descending",
        "product:type": "S2MSI1C", "processing:version": "02.07", "created": "2018-12-19T17:33:46.286000Z",
        "dhus:id": "bf652bc4-299c-4c39-9238-ee5a3fdc0d3e", "dhus:bytes": round(110.44 * 2**20),
    }  # fmt: skip
    assert shape(item["geometry"]).bounds == pytest.approx((-61.331024, -8.226809, -61.09546, -7.233321), abs=1e-6)
    assert item["assets"]["product"]["href"] == (
        f"{hub.url.removeprefix('dhus+')}/odata/v1/Products('bf652bc4-299c-4c39-9238-ee5a3fdc0d3e')/$value"
    )
    count, asked = hub.asked
    assert (count["rows"], asked["rows"], asked["start"], asked["path"]) == ("0", "100", "0", "/dhus/search")
    assert asked["orderby"] == "beginposition asc" and asked["q"] == count["q"] == (
        'beginPosition:["2018-12-12T00:00:00Z" TO "2018-12-28T00:00:01Z"] platformname:Sentinel-2* '
        f'producttype:"S2MSI1C" footprint:"Intersects({box(-66.27, -8.06, -57.3, 0.7).wkt})"'
    )
    clear = ml.collection("sentinel-2-l1c", catalog).filter("eo:cloud_cover < 4")
    assert [i["id"] for i in clear.items] and all(i["properties"]["eo:cloud_cover"] < 4 for i in clear.items)
    assert catalog.search(Query("sentinel-2-l2a"))[0]["id"].startswith("S2")
    hub.answers = [recorded("test_sentinel1_flag")[0]]
    grd = catalog.search(Query("sentinel-1-grd"))
    assert len(grd) == 5 and {item["properties"]["platform"] for item in grd} == {"sentinel-1a"}


def test_pages_are_fetched_to_the_end(hub: Hub) -> None:
    hub.answers = [recorded("test_large_query")[0], *recorded("test_large_query")[:7]]
    expected = {e["title"] for _, body in hub.answers for e in entries(body) if "_MSIL1C_" in e["title"]}
    items = ml.open_catalog(hub.url).search(Query("sentinel-2-l1c"))
    assert {item["id"] for item in items} == expected and len(expected) > 300
    assert [asked["start"] for asked in hub.asked[1:]] == [str(n) for n in range(0, 700, 100)]
    times = [item["properties"]["datetime"] for item in items]
    assert times == sorted(times)


def test_too_many_products_are_not_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.answers = [recorded("test_large_query")[0]]
    monkeypatch.setenv("MUSES_MAX_ITEMS", "600")
    with pytest.raises(TooLarge, match="has 630 products of 'sentinel-2-l1c'.*at most 600.*MUSES_MAX_ITEMS"):
        ml.open_catalog(hub.url).search(Query("sentinel-2-l1c"))
    assert len(hub.asked) == 1 and hub.asked[0]["rows"] == "0"
    assert ml.open_catalog(hub.url).count(Query("sentinel-2-l1c", limit=40)) == 40


def test_credentials_go_to_the_hub_only(hub: Hub) -> None:
    hub.answers = [recorded("test_s2_cloudcover")[0]]
    catalog = ml.open_catalog(hub.url)
    items = catalog.search(Query("sentinel-2-l1c"))
    assert {asked["login"] for asked in hub.asked} == {"ada:se:cret"}
    told = json.dumps([items, catalog.collections(), known_catalogs()]) + repr(catalog) + catalog.source
    assert "cret" not in told and b"cret" not in pickle.dumps(catalog)
    with pytest.raises(AccessDenied, match="a user name does not belong in an address") as refused:
        ml.open_catalog(hub.url.replace("//", "//ada:se-cret@"))
    assert "cret" not in str(refused.value)
    assert find_catalog(catalog.id).source == catalog.source


def test_refusals_are_told(hub: Hub) -> None:
    catalog = ml.open_catalog(hub.url)
    cases = [
        (recorded("test_SentinelAPI_wrong_credentials")[0], r"\(401\).*DHUS_USER and DHUS_PASSWORD.*netrc"),
        ((200, (RECORDED / "server_maintenance.html").read_bytes()), r"The Sentinels.*will be back soon!"),
        ((503, (RECORDED / "server_maintenance.html").read_bytes()), r"\(HTTP 503\).*will be back soon!"),
        ((502, b""), r"\(HTTP 502\)"),
        (recorded("test_invalid_query")[0], "does not understand the query: undefined field xxx"),
        (recorded("test_too_long_query")[1], r"\(HTTP 500\)|excessive length|does not understand"),
        ((200, b"[]"), "answers what cannot be read"),
        ((200, b'{"feed": {"opensearch:totalResults": "1", "entry": {"id": "1"}}}'), "cannot be read.*beginposition"),
    ]
    for answer, said in cases:
        hub.answers = [answer]
        with pytest.raises(ReadError, match=said) as refused:
            catalog.search(Query("sentinel-2-l1c"))
        assert "cret" not in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_a_hub_that_is_silent_or_gone_is_told(hub: Hub) -> None:
    catalog = ml.open_catalog(hub.url)
    hub.gate.clear()
    with pytest.raises(ReadError, match="did not answer within 1 s|cannot be reached"):
        catalog.count(Query("sentinel-2-l1c"))
    hub.gate.set()


@pytest.mark.parametrize("to", ["http://127.0.0.1:1/search", "http://169.254.169.254/search", "file:///etc/passwd"])
def test_redirects_lead_nowhere_else(hub: Hub, to: str) -> None:
    hub.redirect = to
    with pytest.raises((AccessDenied, ReadError), match="only https|private|cannot be reached"):
        ml.open_catalog(hub.url).count(Query("sentinel-2-l1c"))


def test_only_what_may_be_read_is_a_hub(hub: Hub) -> None:
    with pytest.raises(AccessDenied, match="private address"):
        ml.open_catalog("dhus+https://127.0.0.1/dhus")
    with pytest.raises(AccessDenied, match="only https"):
        ml.open_catalog("dhus+http://hub.example.org/dhus")
    with pytest.raises(NotFound, match="has no collection 'spot'; it has: .*sentinel-2-l2a"):
        ml.open_catalog(hub.url).search(Query("spot"))
    assert not hub.asked
