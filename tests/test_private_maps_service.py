"""Private chains over HTTP: a Jupyter server that never runs their code, and the workers of its user that do."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from jupyter_server.auth import User
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError

import muses_lab as ml
from muses_lab.errors import MusesError
from muses_lab.operators import Cube
from muses_lab.service.private import PrivateHandler
from muses_widgets import Map, service
from tests.helpers.service import ABSENT, HERE, LAT, LON, ZOOM, Server, assert_failure, path, picture, running_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("in_threads", "own"),  # the server has a cluster; this process, as a kernel, threads
]

PROCESS = f"{os.getpid()}-1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Iterator[Server]:
    settings = {"MUSES_COMPUTE": "embedded", "MUSES_WORKERS": "1", "MUSES_PRIVATE_BYTES": "5000000"}
    with running_server(tmp_path_factory.mktemp("lab"), **settings) as one:
        yield one


@pytest.fixture(autouse=True)
def kernel(lab: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process hands over what it shows as a kernel of that server does."""
    monkeypatch.setattr(service, "_server", lambda: {"url": lab.url, "token": lab.token})


def shown(layer: ml.Layer) -> tuple[str, str]:
    """Names of chain and style in the addresses of a layer that a map has."""
    m = Map()
    m.add(layer, name="Own")
    (entry,) = m.panel.layers
    return entry["chain"], entry["style"]


def test_its_tiles_come_from_workers_and_its_code_runs_nowhere_else(
    lab: Server, s2: ml.Collection, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    class Marked:
        """Leaves the number of the process that unpickles it."""

        def __reduce__(self) -> tuple:
            return unpickled, (str(marks),)

    def unpickled(folder: str) -> str:
        Path(folder, f"unpickled-{os.getpid()}").touch()
        return folder

    folder = Marked()

    @ml.operator
    def marking(data: Cube, by: float = 1.0) -> Cube:
        Path(str(folder), f"ran-{os.getpid()}").touch()
        return by * data

    layer = s2.ndvi().median("t").marking(by=2).style(cmap="magma", vmin=0, vmax=2)
    names = shown(layer)
    for file in marks.iterdir():
        assert file.name == f"unpickled-{os.getpid()}", "handing it over ran it, or unpickled it in the server"
        file.unlink()  # by this process, which is the kernel here
    response = lab.get(path(names))
    assert response.status_code == 200 and response.headers["Cache-Control"] == "no-store"
    assert "Etag" not in response.headers and json.loads(response.headers["X-Muses-Report"])["scenes"][0] > 0
    ran = {file.name.partition("-")[0]: int(file.name.partition("-")[2]) for file in marks.iterdir()}
    assert set(ran) == {"unpickled", "ran"} and len(set(ran.values())) == 1
    worker = psutil.Process(ran["ran"])
    assert any("muses_lab.compute.embedded.server" in " ".join(p.cmdline()) for p in worker.parents())
    assert response.content == layer.tile(*HERE.tile)  # as the kernel itself computes it
    value = lab.get(f"values/{names[0]}?lon={LON}&lat={LAT}&z={ZOOM}&style={names[1]}").json()
    assert value["values"][0] == pytest.approx(float(layer.at(LON, LAT)), abs=0.2) and value["scenes_here"] > 0
    status = lab.get(f"status/{names[0]}").json()
    assert status["tiles"] == 1 and status["errors"] == []
    assert names[0].removeprefix("private-") not in lab.get("chains").text


def test_a_changed_definition_shows_other_pixels(lab: Server, s2: ml.Collection) -> None:
    def show(factor: float) -> np.ndarray:
        @ml.operator
        def times(data: Cube) -> Cube:
            return factor * data

        names = shown(s2.ndvi().median("t").times().style(vmin=0, vmax=2))
        seen.append(names[0])
        return picture(lab.get(path(names)))

    seen: list[str] = []
    first, second, again = show(1), show(2), show(1)
    assert not np.array_equal(first, second) and np.array_equal(first, again)
    assert seen[0] == seen[2] != seen[1]


def test_an_error_of_the_code_is_told_with_its_line(lab: Server, s2: ml.Collection) -> None:
    @ml.operator
    def broken(data: Cube) -> Cube:
        return data / int("no number")

    names = shown(s2.ndvi().median("t").broken().style())
    response = lab.get(path(names))
    assert (response.status_code, response.headers["X-Muses-Error"]) == (400, "operator-failed")
    (error, *_) = lab.get(f"status/{names[0]}").json()["errors"]
    line = broken.__code__.co_firstlineno + 2
    assert "your operator 'broken' failed: ValueError: invalid literal" in error["message"]
    assert error["message"].endswith(f'(line {line}: return data / int("no number"))')


def test_a_layer_whose_code_is_gone_says_so_at_once(lab: Server, s2: ml.Collection, published_style) -> None:
    response = lab.get(path((f"private-{ABSENT}", published_style.hash)))
    assert (response.status_code, response.headers["X-Muses-Error"]) == (404, "private-gone")
    assert picture(response).any()
    for route in (f"values/private-{ABSENT}?lon=1&lat=43&z=9", f"status/private-{ABSENT}"):
        assert "Run the notebook's cells again" in assert_failure(lab.get(route), 404, "private-gone")["message"]
    public = s2.ndvi().median("t").publish()
    assert list(lab.get(f"status?chains=private-{ABSENT},{public}").json()["chains"]) == [public]
    assert "64 lower-case" in assert_failure(lab.get("status/private-x"), 404, "not-found")["message"]


def test_only_who_may_start_kernels_hands_over_code() -> None:
    class Asker(PrivateHandler):
        current_user, log = User("reader"), logging.getLogger()
        request = HTTPServerRequest("POST", "/muses/private")

        def __init__(self) -> None:
            """Of no application."""

        @property
        def authorizer(self) -> Any:
            return SimpleNamespace(is_authorized=lambda handler, user, action, resource: resource == "muses")

    with pytest.raises(HTTPError, match="not authorized to write on resource: kernels"):
        asyncio.run(Asker().post())


def test_only_kernels_hand_over_code(lab: Server, s2: ml.Collection) -> None:
    code = "def apply_datacube(cube: xarray.DataArray, context) -> xarray.DataArray:\n    return cube\n"
    body = s2.ndvi().median("t").run_udf(code).sealed()
    browser = requests.Session()
    browser.trust_env = False
    browser.get(f"{lab.url}api/status?token={lab.token}", timeout=30)
    browser.get(f"{lab.url}login", timeout=30)
    xsrf = {"X-XSRFToken": browser.cookies["_xsrf"]}
    url = lab.muses(f"private?process={PROCESS}")
    refused = browser.post(url, data=body, headers=xsrf, timeout=30)
    assert refused.status_code == 403 and "by the server's token" in refused.json()["message"]
    assert requests.post(url, data=body, timeout=30).status_code == 403
    assert lab.post(f"private?process={PROCESS}", data=body).status_code == 201
    for data, query, status, code in (
        (b"\x80\x04N.", PROCESS, 400, "document-invalid"),
        (body, "x", 400, "bad-request"),
        (bytes(5_000_001), PROCESS, 413, "too-large"),
    ):
        answer = lab.post(f"private?process={query}", data=data)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_the_server_refuses_is_told_in_the_cell(lab: Server, s2: ml.Collection, monkeypatch) -> None:
    numbers = np.random.default_rng(0).random(700_000)

    @ml.operator
    def large(data: Cube) -> Cube:
        return data * numbers[0]

    with pytest.raises(MusesError, match="not shown: a private chain of .* above the limit .*large array"):
        shown(s2.ndvi().median("t").large().style())

    @ml.operator
    def plain(data: Cube) -> Cube:
        return data

    monkeypatch.setattr(service, "_server", lambda: {"url": lab.url, "token": ""})
    with pytest.raises(MusesError, match="has no token by which it could know this kernel"):
        shown(s2.ndvi().median("t").plain().style())
    monkeypatch.setattr(service, "_server", lambda: {"url": "http://127.0.0.1:9/", "token": "x"})
    with pytest.raises(MusesError, match="does not answer"):
        shown(s2.ndvi().median("t").plain().style())
    monkeypatch.setattr(service, "_server", lambda: None)
    assert shown(s2.ndvi().median("t").plain().style())[0].startswith("private-")
