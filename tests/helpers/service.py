"""A Jupyter server with the map's service, a client of it, and what its answers are compared with."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from benchmarks.processes import running
from muses_lab.service.routes import PART
from muses_lab.service.tile import Tile, TilePixel

ABSENT = "0" * 64
ZOOM = 13
LON, LAT = 1.42, 43.6
HERE = TilePixel.at(LON, LAT, ZOOM)
OTHER_EXTENSIONS = (
    "jupyterlab",
    "jupyter_lsp",
    "jupyter_server_terminals",
    "notebook",
    "notebook_shim",
    "panel.io.jupyter_server_extension",
    "voila.server_extension",
)


@dataclass
class Server:
    """A Jupyter server under a hub-like prefix, and a client that is logged in by its token."""

    url: str
    token: str
    log: Path
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"token {self.token}"

    def muses(self, path: str) -> str:
        return f"{self.url}muses/{path}"

    def get(self, path: str, **options) -> requests.Response:
        return self.session.get(self.muses(path), timeout=60, **options)

    def post(self, path: str, **options) -> requests.Response:
        return self.session.post(self.muses(path), timeout=60, **options)


@contextlib.contextmanager
def running_server(folder: Path, **environment: str) -> Iterator[Server]:
    token, log = secrets.token_hex(16), folder / "server.log"
    extensions = {name: False for name in OTHER_EXTENSIONS} | {"muses_lab.service": True}
    command = [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0", "--ServerApp.base_url=/user/ada/", f"--ServerApp.jpserver_extensions={extensions}",
    ]  # fmt: skip
    with running(command, folder, "server", JUPYTER_TOKEN=token, **environment) as process:
        runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"], f"jpserver-{process.pid}.json")
        server = None
        for _ in range(2400):
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError, ValueError, requests.ConnectionError):
                server = server or Server(json.loads(runtime.read_text())["url"], token, log)
                if server.session.get(server.url + "api", timeout=5).ok:
                    break
            time.sleep(0.05)
        assert server is not None, log.read_text()
        yield server


def route(pattern: str) -> str:
    """An example of a route's path."""
    numbers = iter(["3", "4", "2"])
    parts = pattern.replace(r"\.", ".").replace("(?:.*)", "no/such/route").split("/")
    if pattern.startswith(("tiles", "base")):
        return "/".join(
            p.replace(PART, next(numbers)) if i >= len(parts) - 3 else p.replace(PART, ABSENT)
            for i, p in enumerate(parts)
        )
    return "/".join(p.replace(PART, ABSENT) for p in parts)


def assert_failure(response: requests.Response, status: int, code: str) -> dict:
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Type"].startswith("application/json")
    body = response.json()
    assert set(body) == {"code", "message", "details"} and body["code"] == code
    return body


def path(published: tuple[str, str], tile: Tile = HERE.tile) -> str:
    return "tiles/{}/{}/{}/{}/{}.png".format(*published, *tile)


def picture(response: requests.Response) -> np.ndarray:
    assert response.headers["Content-Type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGBA"))
