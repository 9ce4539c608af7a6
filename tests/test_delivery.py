"""What reaches the page costs no more than it must: over HTTP, by the executor's counters."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import muses_lab as ml
from muses_lab.raster.grid import BLOCK
from muses_lab.service.tile import Tile
from muses_lab.style import Style
from tests.helpers.service import ABSENT, HERE, LAT, LON, ZOOM, Server, assert_failure, path, picture, running_server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_threads")]  # they share a Jupyter server

Z, X, Y = HERE.tile


def body(png: bytes) -> bytes:
    """What a palette does not change."""
    return png[png.index(b"IDAT") :]


def submitted(server: Server, chain: str) -> int:
    queue = server.get(f"status/{chain}").json()["queue"]
    return 0 if queue is None else queue["counts"]["submitted"]


def test_three_layers_of_a_chain_cost_one_evaluation_and_palettes_no_encoding(
    server: Server, s2: ml.Collection
) -> None:
    chain = s2.mask_clouds(keep=[4]).ndvi().median("t")
    styles = [{"cmap": "viridis"}, {"cmap": "magma"}, {"cmap": "magma", "vmin": 0.2}]
    published = [chain.style(**style).publish() for style in styles]
    name = published[0][0]
    before = submitted(server, name)
    with ThreadPoolExecutor(3) as pool:
        pictures = list(pool.map(lambda one: server.get(path(one)).content, published))
    after = submitted(server, name)
    blocks = after - before
    assert 1 <= blocks <= -(-256 // BLOCK) * 4
    assert pictures == [chain.style(**style).tile(Z, X, Y) for style in styles]
    assert body(pictures[0]) == body(pictures[1]) != body(pictures[2])
    again = server.get(path(chain.style(cmap="cividis").publish())).content
    assert body(again) == body(pictures[0]) and again != pictures[0]
    assert submitted(server, name) == after


def test_two_notebooks_with_one_chain_share_its_evaluation(server: Server, s2: ml.Collection) -> None:
    def notebook(number: int) -> bytes:
        """Each writes the chain anew, and has a connection of its own."""
        layer = s2.mask_clouds(keep=[5]).ndvi().median("t").style(cmap="YlGn")
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update(server.session.headers)
            return session.get(server.muses(path(layer.publish())), timeout=120).content

    chain = s2.mask_clouds(keep=[5]).ndvi().median("t").publish()
    before = submitted(server, chain)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(notebook, range(2))
    assert one == other
    assert 1 <= submitted(server, chain) - before <= 4
    notebook(3)
    assert submitted(server, chain) - before <= 4


def view(server: Server, published: tuple[str, str], tiles: int = 1) -> dict:
    """So many tiles across around the one that the tests look at."""
    n = 1 << Z
    half = 360 / n * tiles / 2 * 0.99
    west, east = ((X + 0.5) / n * 360 - 180 + side * half for side in (-1, 1))
    inside = [LAT, LAT]
    return {
        "id": "map", "z": Z, "center": [LON, LAT], "bounds": [west, inside[0], east, inside[1]],
        "layers": ["/".join(published)],
    }  # fmt: skip


def test_the_ring_around_a_view_is_there_before_it_is_asked_for(server: Server, s2: ml.Collection) -> None:
    published = s2.mask_clouds(keep=[4, 6]).ndvi().median("t").style(cmap="RdYlGn").publish()
    before = server.get(f"status/{published[0]}").json()["prefetched"]
    assert server.get(path(published)).ok
    answer = server.post("view", json=view(server, published))
    assert (answer.status_code, answer.content) == (204, b"")
    end = time.monotonic() + 120
    while (status := server.get(f"status/{published[0]}").json())["prefetched"] < before + 8:
        assert time.monotonic() < end, status
        time.sleep(0.05)
    assert status["tiles"] == 1  # what nobody has looked at is not told of
    ring = [Tile(Z, X + i, Y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert all(server.get(path(published, tile)).ok for tile in ring)
    assert submitted(server, published[0]) == status["queue"]["counts"]["submitted"]
    assert server.get(f"status/{published[0]}").json()["tiles"] == 9
    assert server.post("view", json={**view(server, published), "layers": []}).status_code == 204


def test_a_malformed_view_is_refused(server: Server) -> None:
    failure = assert_failure(server.post("view", json={"z": 3, "bounds": [1, 2, 3]}), 400, "bad-request")
    assert failure["details"] == {"argument": "bounds"}


def test_the_status_of_several_chains_is_one_request(server: Server, s2: ml.Collection) -> None:
    chains = [s2.bands(band).max("t").publish() for band in ("red", "nir")]
    found = server.get(f"status?chains={','.join(chains)}").json()
    assert set(found["chains"]) == set(chains)
    progress = {"waiting": 0, "blocks_queued": 0, "blocks_running": 0, "position": None, "expected_seconds": None}
    assert all(one["progress"] == progress for one in found["chains"].values())
    assert set(found["service"]["lag_ms"]) == {"p50", "p95", "max", "samples"}
    assert_failure(server.get(f"status?chains={ABSENT}"), 404, "made-elsewhere")
    assert_failure(server.get("status?chains=" + ",".join([ABSENT] * 65)), 400, "bad-request")


def test_what_would_take_too_long_is_refused_with_a_picture_and_a_reason(s2: ml.Collection, tmp_path: Path) -> None:
    published = s2.mask_clouds(keep=[5, 6]).ndvi().median("t").style().publish()
    with running_server(tmp_path, MUSES_COMPUTE="threads", MUSES_QUEUE_SECONDS="1e-9") as strict:
        answer = strict.get(path(published))
        assert (answer.status_code, answer.headers["X-Muses-Error"]) == (429, "too-much-waiting")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["Cache-Control"] == "no-store" and picture(answer).shape == (256, 256, 4)
        (error,) = strict.get(f"status/{published[0]}").json()["errors"]
        assert error["code"] == "too-much-waiting" and error["details"]["limit"] == 1e-9
        assert submitted(strict, published[0]) == 0  # nothing was begun
        values = strict.get(f"values/{published[0]}?lon={LON}&lat={LAT}&z={ZOOM}")
        assert (values.status_code, values.headers["X-Muses-Error"]) == (429, "too-much-waiting")  # a tile is behind it


def test_an_export_above_its_limit_is_refused(
    s2: ml.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSES_EXPORT_SECONDS", "1e-9")
    job = s2.bands("red").median("t").export(tmp_path / "x.tif", ml.Window.tile(*HERE.tile), progress=False)
    with pytest.raises(ml.errors.MusesError, match="this export would take"):
        job.wait(60)
    assert not list(tmp_path.iterdir())


def test_a_style_decides_its_shapes_and_its_colours() -> None:
    from muses_lab.render import shapes

    same = [Style(cmap="magma"), Style(cmap="viridis"), Style(label="NDVI"), Style(unit="m")]
    assert len({shapes(style) for style in same}) == 1
    other = [
        Style(vmin=0.1),
        Style(gamma=2),
        Style(bands=("red",)),
        Style(opacity=0.5),
        Style(classes={1: ("a", "red")}),
    ]
    assert len({shapes(style) for style in [*same, *other]}) == 1 + len(other)
    labels = [Style(classes={1: ("a", "red")}), Style(classes={1: ("b", "blue")})]
    assert len({shapes(style) for style in labels}) == 1
