"""The service's routes that evaluate chains, over the sample catalogue and HTTP."""

from __future__ import annotations

import gzip
import io
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image

import muses_lab as ml
from muses_lab.compute import executor
from muses_lab.compute.windows import request_window
from muses_lab.scenes.scene import Scenes
from muses_lab.service.tile import Tile, TilePixel
from muses_lab.service.value_tile import packed
from muses_lab.store import default_store
from muses_lab.style import Style
from tests.helpers.made_scenes import Made, two_apart, window
from tests.helpers.service import (
    ABSENT,
    HERE,
    LAT,
    LON,
    ZOOM,
    Server,
    assert_failure,
    path,
    picture,
    running_server,
)
from tests.helpers.stac_items import item, write_tif
from tests.helpers.waiting import within

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_threads")]  # they share a Jupyter server


# Tiles


def test_a_tile_is_the_layers_tile_and_is_cached_for_good(server: Server, layer: ml.Layer, published: tuple) -> None:
    response = server.get(path(published))
    assert response.status_code == 200 and response.content == layer.tile(*HERE.tile)
    assert response.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert len(np.unique(picture(response).reshape(-1, 4), axis=0)) > 50
    assert "Set-Cookie" not in response.headers
    told = json.loads(response.headers["X-Muses-Report"])
    assert 0 < told["scenes"][0] <= told["scenes"][1] and told["levels"] == told["native"] == [10.0]
    missing = np.isnan(layer.chain.compute(ml.Window.tile(*HERE.tile)).values).sum()
    assert told["holes"][0] <= missing and told["holes"][0] < told["holes"][1] <= 256 * 256


def test_a_tile_of_values_has_those_of_the_chain_and_serves_every_style(
    server: Server, layer: ml.Layer, published: tuple
) -> None:
    address = "tiles/{}/{}/{}/{}.v1".format(published[0], *HERE.tile)
    response = server.get(address)
    assert response.status_code == 200 and response.headers["Content-Type"] == "application/vnd.muses.values"
    assert response.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("gzip", "Accept-Encoding")
    values = layer.chain.compute(ml.Window.tile(*HERE.tile)).values
    assert response.content == gzip.decompress(packed(values))
    assert response.headers["X-Muses-Report"] == server.get(path(published)).headers["X-Muses-Report"]
    again = server.get(address, headers={"If-None-Match": response.headers["Etag"]})
    assert again.status_code == 304 and not again.content
    for refused in ("identity", "gzip;q=0", "br, gzip; q=0.000, *", "*;q=0"):
        plain = server.get(address, headers={"Accept-Encoding": refused})
        assert "Content-Encoding" not in plain.headers and plain.content == response.content, refused
    for taken in ("*", "br, x-gzip;q=0.1", "GZIP"):
        assert server.get(address, headers={"Accept-Encoding": taken}).headers["Content-Encoding"] == "gzip", taken


def test_a_tile_of_values_that_fails_is_a_picture_of_its_reason(server: Server, s2: ml.Collection) -> None:
    many = s2.mask_clouds().median("t").publish()
    for chain, status, reason in ((ABSENT, 404, "made-elsewhere"), (many, 400, "not-an-image")):
        response = server.get("tiles/{}/{}/{}/{}.v1".format(chain, *HERE.tile))
        assert (response.status_code, response.headers["X-Muses-Error"]) == (status, reason)
        assert response.headers["Cache-Control"] == "no-store" and "Etag" not in response.headers
        assert "Content-Encoding" not in response.headers and picture(response).shape == (256, 256, 4)


def test_neighbouring_tiles_are_cut_from_one_picture(server: Server, layer: ml.Layer, published: tuple) -> None:
    z, x, y = HERE.tile
    tiles = [Tile(z, x + i, y + j) for j in range(2) for i in range(2)]
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(lambda t: picture(server.get(path(published, t))), tiles))
    whole = np.block([[[pictures[0]], [pictures[1]]], [[pictures[2]], [pictures[3]]]])
    large = ml.Window.tile(z - 1, x // 2, y // 2, size=512)
    if (x % 2, y % 2) != (0, 0):
        large = large.translate_pix((x % 2) * 256, (y % 2) * 256)
    from muses_lab.render import render

    expected = np.asarray(Image.open(io.BytesIO(render(layer.chain.pixels(large).values, layer.look))).convert("RGBA"))
    np.testing.assert_array_equal(whole, expected)


def test_a_known_tile_is_not_evaluated_again(server: Server, s2: ml.Collection, published: tuple) -> None:
    tag = server.get(path(published)).headers["Etag"]
    again = server.get(path(published), headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert server.get(path(published), headers={"If-None-Match": '"other"'}).status_code == 200
    # a chain that has never been looked at: 304 without evaluating anything
    fresh = s2.bands("red").max("t").style(vmax=0.5).publish()
    first = server.session.get(server.muses(path(fresh)), headers={"If-None-Match": tag}, timeout=60)
    assert first.status_code == 200
    unseen = s2.bands("red").min("t").style(vmax=0.5).publish()
    from muses_lab.service.tiles import etag

    known = server.get(path(unseen), headers={"If-None-Match": etag(*unseen, *map(str, HERE.tile))})
    assert known.status_code == 304
    assert server.get(f"status/{unseen[0]}").json()["tiles"] == 0


def test_head_has_the_headers_of_get(server: Server, published: tuple) -> None:
    get, head = server.get(path(published)), server.session.head(server.muses(path(published)), timeout=60)
    assert (head.status_code, head.content) == (200, b"")
    assert {k: head.headers[k] for k in ("Etag", "Cache-Control", "Content-Type")} == {
        k: get.headers[k] for k in ("Etag", "Cache-Control", "Content-Type")
    }


def test_a_tile_without_data_is_transparent(server: Server, published: tuple) -> None:
    response = server.get(path(published, TilePixel.at(-70, -30, ZOOM).tile))
    assert response.status_code == 200 and not picture(response)[..., 3].any()


def test_bands_are_picked_by_the_style_and_rgb_is_drawn(server: Server, s2: ml.Collection) -> None:
    median = s2.bands("red", "green", "blue", "nir").median("t")
    names = [b for b in median.pixels(ml.Window.tile(*HERE.tile)).bands or ()]
    rgb = median.style(bands=names[:3])
    assert server.get(path(rgb.publish())).content == rgb.tile(*HERE.tile)
    failed = server.get(path(median.style().publish()))
    assert (failed.status_code, failed.headers["X-Muses-Error"]) == (400, "band-unknown")
    assert "4 bands" in requests.utils.unquote(failed.headers["X-Muses-Message"])


def test_a_chain_with_dates_is_no_picture(server: Server, s2: ml.Collection) -> None:
    store, look = default_store(), Style()
    store.put_style(look.hash, look.to_text())
    response = server.get(path((s2.ndvi().publish(store), look.hash)))
    assert (response.status_code, response.headers["X-Muses-Error"]) == (400, "not-an-image")


def test_unknown_chains_and_styles_are_refused_with_a_picture(server: Server, published: tuple) -> None:
    chain, style = published
    for parts in ((ABSENT, style), (chain, ABSENT), ("nonsense", style), (chain, style.upper())):
        response = server.get(path(parts))
        code = "made-elsewhere" if ABSENT in parts else "not-found"
        assert (response.status_code, response.headers["X-Muses-Error"]) == (404, code)
        assert response.headers["Cache-Control"] == "no-store"
        assert picture(response).shape == (256, 256, 4)


def test_a_region_chain_is_evaluated_once_for_all_its_tiles(server: Server, s2: ml.Collection) -> None:
    green = s2.mask_clouds().ndvi().median("t") > 0.4
    bounds = (LON - 0.01, LAT - 0.01, LON + 0.01, LAT + 0.01)
    fields = green.connected_components(min_area=5000).pin(bounds, resolution=20)
    layer = fields.style(cmap="tab20", vmin=0, vmax=100)
    published = layer.publish()
    tiles = [Tile(ZOOM, HERE.tile.x + i, HERE.tile.y) for i in (-1, 0, 1)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda t: server.get(path(published, t)), tiles))
    assert [a.content for a in answers] == [layer.tile(*t) for t in tiles]
    assert picture(answers[1])[..., 3].any()


def test_scenes_that_cannot_be_read_are_reported_and_the_tile_is_not_cached(server: Server, layer: ml.Layer) -> None:
    chain, secret = damaged(layer.chain)
    published = chain.publish(), layer.publish()[1]
    response = server.get(path(published))
    assert response.status_code == 200 and picture(response)[..., 3].any()
    assert (response.headers["X-Muses-Warning"], response.headers["Cache-Control"]) == ("scenes-failed", "no-store")
    assert "Etag" not in response.headers
    status = server.get(f"status/{published[0]}").json()
    assert status["scenes_found"] > status["scenes_used"] > 0
    (failed,) = status["failed"]
    assert failed["id"] == secret and failed["reason"]
    assert str(Path.home()) not in json.dumps(status) and "/sample-small" not in json.dumps(status)


def test_tiles_of_a_fit_that_lacked_a_scene_tell_it_until_it_can_be_read(server: Server, made: Made) -> None:
    chain, far = two_apart(made)
    fitted = chain.band("B").max("t").otsu(extent=window(128, 2128), resolution=10)
    published = fitted.style(vmin=0, vmax=1).publish()
    tile = TilePixel.at(1.3218, 43.64, 15).tile
    aside = far.rename(far.with_suffix(".aside"))
    wrong = server.get(path(published, tile))
    assert (wrong.headers["X-Muses-Warning"], wrong.headers["Cache-Control"]) == ("scenes-failed", "no-store")
    assert "Etag" not in wrong.headers and json.loads(wrong.headers["X-Muses-Report"])["failed"] == 1
    assert [one["id"] for one in server.get(f"status/{published[0]}").json()["failed"]] == ["far"]
    aside.rename(far)
    answers = [wrong]

    def complete() -> bool:
        answers.append(server.get(path(published, tile)))
        return "Etag" in answers[-1].headers

    assert within(60, complete)
    assert "failed" not in json.loads(answers[-1].headers["X-Muses-Report"])
    assert answers[-1].content == fitted.style(vmin=0, vmax=1).tile(*tile), "evaluated here, by another process"
    assert not np.array_equal(picture(answers[-1]), picture(wrong))


def damaged(chain: ml.Chain) -> tuple[ml.Chain, str]:
    """The chain with one scene over HERE whose files are gone; and that scene's id."""
    published = chain.resolve()
    ((digest, scenes),) = published.published.scenes.items()
    window = ml.Window.tile(*HERE.tile)
    ticket = request_window(executor("threads"), published.published, window)
    ticket.result(60)
    lost = ticket.layout.found[0]
    assets = lambda scene: {k: replace(a, href=f"gone/{k}.tif") for k, a in scene.assets.items()}  # noqa: E731
    broken = Scenes(
        scenes.collection, scenes.catalog, scenes.bands,
        tuple(replace(s, assets=assets(s)) if s.id == lost else s for s in scenes.scenes),
    )  # fmt: skip
    default_store().put_artefact(broken.digest, "muses:items", broken.to_bytes())
    return ml.Chain.from_json(json.dumps(published.to_json()).replace(digest, broken.digest)), lost


# Values and status


def test_values_are_those_of_the_pixel_shown(server: Server, layer: ml.Layer, published: tuple) -> None:
    chain, style = published
    tile = layer.chain.compute(ml.Window.tile(*HERE.tile)).values
    answer = server.get(f"values/{chain}?lon={LON}&lat={LAT}&z={ZOOM}&style={style}").json()
    assert answer["values"] == [pytest.approx(float(tile[HERE.row, HERE.col]), rel=1e-6)]
    assert answer["tile"] == {"x": HERE.tile.x, "y": HERE.tile.y, "col": HERE.col, "row": HERE.row}
    assert answer["texts"] == [f"{tile[HERE.row, HERE.col]:.6g}"] and answer["label"] == "NDVI"
    assert answer["scenes_used"] > 0 and answer["metres_per_pixel"] and answer["native_metres_per_pixel"] == [10]
    assert 0 < answer["scenes_here"] <= answer["scenes_found"]
    nothing = server.get(f"values/{chain}?lon=-70&lat=-30&z={ZOOM}").json()
    assert (nothing["values"], nothing["texts"], nothing["scenes_found"]) == ([None], ["no data"], 0)
    assert nothing["scenes_here"] == 0


def test_values_have_bands_dates_and_class_labels(server: Server, s2: ml.Collection) -> None:
    two = s2.bands("red", "nir").median("t").publish()
    answer = server.get(f"values/{two}?lon={LON}&lat={LAT}&z={ZOOM}").json()
    assert len(answer["values"]) == len(answer["bands"]) == 2 and answer["dates"] == []
    series = s2.ndvi().publish()
    answer = server.get(f"values/{series}?lon={LON}&lat={LAT}&z={ZOOM}").json()
    assert len(answer["values"]) == len(answer["dates"]) > 1
    green = (s2.mask_clouds().ndvi().median("t") > -2).style(classes={1: ("land", "green")}).publish()
    answer = server.get(f"values/{green[0]}?lon={LON}&lat={LAT}&z={ZOOM}&style={green[1]}").json()
    assert answer["texts"] == ["land (1)"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("lat=43&z=3", "'lon' is missing"), ("lon=a&lat=43&z=3", "lon='a'"), ("lon=nan&lat=43&z=3", "not a number"),
        ("lon=1&lat=89&z=3", "lat=89"), ("lon=1&lat=1e99&z=3", "lat="), ("lon=1&lat=43&z=inf", "not a number"),
    ],
)  # fmt: skip
def test_malformed_places_are_bad_requests(server: Server, published: tuple, query: str, says: str) -> None:
    body = assert_failure(server.get(f"values/{published[0]}?{query}"), 400, "bad-request")
    assert says in body["message"]


def test_status_says_what_the_tiles_met(server: Server, published: tuple) -> None:
    chain, _ = published
    server.get(path(published))
    status = server.get(f"status/{chain}").json()
    assert status["zoom"] == ZOOM and status["tiles"] >= 1
    assert 0 < status["scenes_used"] <= status["scenes_found"]
    assert status["metres_per_pixel"] and status["failed"] == status["errors"] == []
    assert status["queue"]["backend"] == "threads"
    assert server.get(f"status/{chain}?z=2").json()["tiles"] == 0


@pytest.mark.parametrize("route", ["chains/{}", "values/{}?lon=1&lat=43&z=3", "status/{}"])
def test_unknown_chains_are_not_found(server: Server, route: str) -> None:
    code = "not-found" if route.startswith("chains") else "made-elsewhere"
    message = assert_failure(server.get(route.format(ABSENT)), 404, code)["message"]
    assert ABSENT[:12] in message and (code == "not-found" or "run the notebook's cells" in message)
    for malformed in ("abc", "g" * 64, "..%2f..%2fetc%2fpasswd"):
        assert "64 lower-case" in assert_failure(server.get(route.format(malformed)), 404, "not-found")["message"]


# Admission


def test_whatever_makes_the_cluster_work_passes_admission(
    tmp_path: Path, s2: ml.Collection, published: tuple[str, str]
) -> None:
    chain = s2.mask_clouds().ndvi().median("t")
    pinned = (chain > 0.41).connected_components(min_area=5000).pin((LON - 0.01, LAT - 0.01, LON, LAT), resolution=20)
    area = pinned.style(vmin=0, vmax=100).publish()
    asked = [path(published), f"values/{published[0]}?lon={LON}&lat={LAT}&z={ZOOM}"]
    asked += [path(area), f"values/{area[0]}?lon={LON}&lat={LAT}&z={ZOOM}"]
    for limits, status, code in (
        ({"MUSES_VIEW_SECONDS": "1e-9"}, 413, "too-costly"), ({"MUSES_QUEUE_SECONDS": "1e-9"}, 429, "too-much-waiting"),
    ):  # fmt: skip
        with running_server(tmp_path, MUSES_COMPUTE="threads", **limits) as one:
            for hint in asked:
                answer = one.get(hint)
                assert (answer.status_code, answer.headers["X-Muses-Error"]) == (status, code), hint
                assert ("Retry-After" in answer.headers) is (status == 429)
            counts = (one.get(f"status/{published[0]}").json()["queue"] or {}).get("counts", {"submitted": 0})
            assert counts["submitted"] == 0, "nothing was computed"


@pytest.mark.thorough
def test_what_is_kept_of_a_whole_area_is_served_whatever_it_took(tmp_path: Path, s2: ml.Collection) -> None:
    """Its tiles are cheap, and so are admitted."""
    chain = s2.mask_clouds().ndvi().median("t")
    pinned = (chain > 0.42).connected_components(min_area=5000).pin((LON - 0.01, LAT - 0.01, LON, LAT), resolution=20)
    area = pinned.style(vmin=0, vmax=100).publish()
    with running_server(tmp_path, MUSES_COMPUTE="threads") as one:
        assert one.get(path(area)).ok
    from muses_lab.compute.wholes import expected_seconds

    published = pinned.published
    whole = expected_seconds(published, published.prepared.whole_nodes())
    assert whole > 0
    with running_server(tmp_path, MUSES_COMPUTE="threads", MUSES_VIEW_SECONDS=str(whole * 0.99)) as one:
        answer = one.get(f"values/{area[0]}?lon={LON}&lat={LAT}&z={ZOOM}")
        assert answer.ok, answer.text


# Documents


def test_a_posted_document_is_published(server: Server, layer: ml.Layer, published: tuple) -> None:
    live = layer.chain.to_json()
    for document in (live, {"process": live}):
        response = server.post("chains", json=document)
        assert (response.status_code, response.json()) == (201, {"hash": published[0], "problems": []})
    assert response.headers["Location"] == f"/user/ada/muses/chains/{published[0]}"
    served = server.get(f"chains/{published[0]}")
    assert "immutable" in served.headers["Cache-Control"]
    assert ml.Chain.from_json(served.json()).hash == published[0]
    assert published[0] in [c["hash"] for c in server.get("chains").json()["chains"]]


def test_items_that_are_left_out_are_told_when_a_document_is_published_and_with_its_status(
    server: Server, tmp_path: Path
) -> None:
    write_tif(tmp_path / "red.tif")
    good, bad = item("good"), item("bad") | {"properties": {"datetime": "soon"}}
    good["assets"]["red"] |= {"proj:shape": [20, 30]}
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [good, bad]}))
    chain = ml.collection("scenes", str(tmp_path / "items.json")).band("red").max("t")
    answer = server.post("chains", json=chain.to_json()).json()
    (line,) = answer["problems"]
    assert line.startswith("bad: ") and "soon" in line
    assert server.get(f"status/{answer['hash']}").json()["problems"] == [line]


def test_an_invalid_document_names_node_and_argument(server: Server, layer: ml.Layer) -> None:
    document = layer.chain.to_json()
    name = next(n for n, node in document["process_graph"].items() if node["process_id"] == "ndvi")
    document["process_graph"][name]["arguments"]["nir"] = 8
    body = assert_failure(server.post("chains", json=document), 400, "document-invalid")
    assert body["details"]["node"] == name and body["details"]["argument"] == "nir"
    document["process_graph"][name]["process_id"] = "run_udf"
    body = assert_failure(server.post("chains", json=document), 400, "document-invalid")
    assert body["details"]["node"] == name and "run_udf" in body["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'"text"', b"null", b"{}", b"\xff\xfe", b"[" * 60_000])
def test_what_is_no_document_is_refused(server: Server, body: bytes) -> None:
    response = server.post("chains", data=body)
    assert response.status_code == 400 and response.json()["code"] in ("bad-request", "document-invalid")


def test_too_large_a_document_is_refused(server: Server) -> None:
    body = assert_failure(server.post("chains", data=b" " * 100_001), 413, "too-large")
    assert body["details"] == {"size": 100_001, "limit": 100_000}


def test_a_region_without_an_extent_is_refused_when_published(server: Server, s2: ml.Collection) -> None:
    document = (s2.ndvi().median("t") > 0.4).connected_components().to_json()
    assert_failure(server.post("chains", json=document), 400, "extent-required")


# Waiting and leaving


def slow(s2: ml.Collection, radius: int = 100) -> tuple[str, str]:
    return s2.bands("red", "nir").focal_median(radius).max("t").ndvi().style().publish()


def test_other_requests_are_answered_while_tiles_are_evaluated(server: Server, s2: ml.Collection) -> None:
    published = slow(s2, 2)
    with ThreadPoolExecutor(4) as pool:
        tiles = [pool.submit(server.get, path(published, Tile(ZOOM, HERE.tile.x + i, HERE.tile.y))) for i in range(2)]
        waits = []
        while not all(t.done() for t in tiles):
            start = time.perf_counter()
            assert server.get("health").ok
            waits.append(time.perf_counter() - start)
    assert {t.result().status_code for t in tiles} == {200}
    assert np.median(waits) < 0.5, waits  # the machine may be busy; a blocked event loop would give seconds


def test_a_tile_that_nobody_waits_for_is_dropped(server: Server, s2: ml.Collection) -> None:
    published = slow(s2)
    where = urlsplit(server.muses(path(published)))
    with socket.create_connection((where.hostname, where.port)) as connection:
        request = f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: token {server.token}\r\n\r\n"
        connection.sendall(request.encode())
        for _ in range(200):
            queue = server.get(f"status/{published[0]}").json()["queue"]
            if queue and queue["running"] + queue["queued"]:
                break
            time.sleep(0.02)
        else:
            pytest.fail("the tile was never evaluated")
    for _ in range(1500):
        status = server.get(f"status/{published[0]}").json()
        if not status["queue"]["running"] + status["queue"]["queued"]:
            break
        time.sleep(0.02)
    assert (status["tiles"], status["errors"], status["queue"]["running"]) == (0, [], 0)
    assert "Traceback" not in server.log.read_text()


def test_tiles_that_nobody_waits_for_are_counted_and_those_that_ended_before_anything_was_computed(
    server: Server, s2: ml.Collection
) -> None:
    """Ten moves of a map, each of which leaves before a tile is there."""
    published = slow(s2)
    around = [Tile(ZOOM, HERE.tile.x + dx, HERE.tile.y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]

    def counted() -> dict[str, int]:
        return server.get("status?chains=").json()["service"]["stale"]

    def waiting() -> int:
        return server.get(f"status/{published[0]}").json()["progress"]["waiting"]

    before = counted()
    for n in range(10):
        with ExitStack() as connections:
            for tile in (around + around)[n % 9 : n % 9 + 5]:
                where = urlsplit(server.muses(path(published, tile)))
                connection = connections.enter_context(socket.create_connection((where.hostname, where.port)))
                head = f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n"
                connection.sendall(f"{head}Authorization: token {server.token}\r\n\r\n".encode())
            assert within(60, lambda: waiting() == 5)
        assert within(60, lambda: waiting() == 0)
    after = counted()
    stale, unbegun = (after[name] - before[name] for name in ("requests", "unbegun"))
    assert stale == 50
    assert 0 < unbegun < stale  # how many depends on the machine: `python -m benchmarks.pans`


def test_every_wait_has_a_limit(tmp_path: Path, s2: ml.Collection) -> None:
    published = slow(s2)
    with running_server(tmp_path, MUSES_COMPUTE="threads", MUSES_TILE_TIMEOUT="0.3") as impatient:
        for _ in range(2):  # the first spends its time on loading
            response = impatient.get(path(published))
            assert (response.status_code, response.headers["X-Muses-Error"]) == (504, "timeout")
            assert "0.3 s" in requests.utils.unquote(response.headers["X-Muses-Message"])
            assert picture(response).shape == (256, 256, 4)


def test_tiles_come_from_the_embedded_cluster_too(tmp_path: Path, layer: ml.Layer, published: tuple) -> None:
    with running_server(tmp_path, MUSES_COMPUTE="") as default:
        assert default.get(path(published)).content == layer.tile(*HERE.tile)
        queue = default.get(f"status/{published[0]}").json()["queue"]
        assert queue["backend"] == "embedded" and queue["workers"] >= 1
