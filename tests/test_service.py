"""The service behind a real Jupyter server, asked over HTTP."""

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

import pytest
import requests
from PIL import Image

from benchmarks.processes import running
from muses_lab.service.routes import PART, ROUTES
from muses_lab.store import default_store
from muses_lab.style import Style

pytestmark = pytest.mark.slow  # they share a Jupyter server

ABSENT = "0" * 64
OTHER_EXTENSIONS = (
    "jupyterlab",
    "jupyter_lsp",
    "jupyter_server_terminals",
    "notebook",
    "notebook_shim",
    "voila.server_extension",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


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
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError, ValueError, requests.ConnectionError):
                server = server or Server(json.loads(runtime.read_text())["url"], token, log)
                if server.session.get(server.url + "api", timeout=5).ok:
                    break
            time.sleep(0.05)
        assert server is not None, log.read_text()
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), MUSES_COMPUTE="threads", MUSES_MAX_DOCUMENT="100000") as one:
        yield one


@pytest.fixture(scope="session")
def published_style(isolated_home: Path) -> Style:
    """Published as a kernel does it: straight into the store."""
    style = Style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI")
    default_store().put_style(style.hash, style.to_text())
    return style


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
    assert (response.status_code, response.headers["X-Muses-Error"]) == (status, code), response.text
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Type"].startswith("application/json")
    body = response.json()
    assert set(body) == {"code", "message", "details"} and body["code"] == code
    return body


# Who may ask


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pattern", [pattern for pattern, _ in ROUTES])
def test_anonymous_requests_are_refused_on_every_route(server: Server, pattern: str, method: str) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username-127-0-0-1=forged"}):
        response = requests.request(
            method, server.muses(route(pattern)), headers=headers, timeout=30, allow_redirects=False
        )
        assert response.status_code == 403, (method, pattern, response.text)
        assert response.headers["Cache-Control"] == "no-store"


def test_every_handler_of_the_package_has_a_route() -> None:
    """So that the test above sees them all."""
    from muses_lab.service.handler import ServiceHandler

    def below(cls: type) -> set[type]:
        return {cls, *(s for c in cls.__subclasses__() for s in below(c))}

    assert below(ServiceHandler) - {ServiceHandler} == {handler for _, handler in ROUTES}


def test_pages_ask_strangers_to_log_in(server: Server) -> None:
    for method in METHODS:
        response = requests.request(method, server.muses("shared/12345678"), timeout=30, allow_redirects=False)
        if response.status_code == 302:
            assert method in ("GET", "HEAD") and "/login?" in response.headers["Location"]
        else:
            assert response.status_code in (403, 405) and method != "GET", (method, response.status_code)
    assert server.get("shared/12345678").status_code == 404


def test_other_pages_cannot_post_with_the_users_cookie(server: Server) -> None:
    browser = requests.Session()
    browser.trust_env = False
    assert browser.get(f"{server.url}api/status?token={server.token}", timeout=30).ok
    browser.get(f"{server.url}login", timeout=30)  # sets the _xsrf cookie
    style = Style().to_json()
    assert browser.post(server.muses("styles"), json=style, timeout=30).status_code == 403
    xsrf = {"X-XSRFToken": browser.cookies["_xsrf"]}
    assert browser.post(server.muses("styles"), json=style, headers=xsrf, timeout=30).status_code == 201
    foreign = {**xsrf, "Origin": "https://evil.example"}
    assert browser.post(server.muses("styles"), json=style, headers=foreign, timeout=30).status_code in (403, 404)
    tile = server.muses("base/3/4/2.png")
    assert browser.get(tile, headers={"Referer": server.url}, timeout=30).status_code == 200  # as an <img> does


def test_an_unknown_route_is_said_to_be_one(server: Server) -> None:
    assert_failure(server.get("no/such/route"), 404, "not-found")
    assert_failure(server.post("health"), 405, "method-not-allowed")


# Health, styles, legends


def test_health(server: Server) -> None:
    body = server.get("health").json()
    assert (body["status"], body["service"]) == ("ok", "muses-lab")
    assert body["version"]


def test_a_style_published_by_a_kernel_is_served(server: Server, published_style: Style) -> None:
    response = server.get(f"styles/{published_style.hash}")
    assert Style.from_json(response.json()) == published_style
    assert "immutable" in response.headers["Cache-Control"]
    legend = server.get(f"legend/{published_style.hash}").json()
    assert legend == json.loads(json.dumps(published_style.legend()))


def test_a_style_can_be_posted(server: Server) -> None:
    style = Style(classes={1: ("water", "blue")})
    response = server.post("styles", json=style.to_json())
    assert (response.status_code, response.json()) == (201, {"hash": style.hash})
    assert server.session.get(server.url[: -len("/user/ada/")] + response.headers["Location"]).json() == style.to_json()
    assert default_store().style(style.hash) == style.to_text()


def test_an_invalid_style_names_its_argument(server: Server) -> None:
    body = assert_failure(server.post("styles", json={"cmap": "rdylgn"}), 400, "style-invalid")
    assert body["details"] == {"argument": "cmap"} and "'RdYlGn'" in body["message"]
    assert_failure(server.post("styles", data=b"{"), 400, "bad-request")
    assert_failure(server.post("styles", data=b"[" * 50_000), 400, "bad-request")


@pytest.mark.parametrize("path", ["styles/{}", "legend/{}"])
def test_unknown_and_malformed_style_hashes_are_not_found(server: Server, path: str) -> None:
    assert ABSENT[:12] in assert_failure(server.get(path.format(ABSENT)), 404, "not-found")["message"]
    for malformed in ("abc", "Z" * 64, "..%2f..%2fetc%2fpasswd", "A" * 64):
        assert (
            "is not the hash of a style"
            in assert_failure(server.get(path.format(malformed)), 404, "not-found")["message"]
        )


# The base map


def test_base_tiles(server: Server) -> None:
    response = server.get("base/9/258/187.png")
    assert response.status_code == 200 and response.headers["Content-Type"] == "image/png"
    image = Image.open(io.BytesIO(response.content))
    assert image.size == (256, 256) and len(image.getcolors()) > 5
    again = server.get("base/9/258/187.png", headers={"If-None-Match": response.headers["Etag"]})
    assert again.status_code == 304 and not again.content
    head = server.session.head(server.muses("base/9/258/187.png"))
    assert (head.status_code, head.headers["Etag"], head.content) == (200, response.headers["Etag"], b"")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("a/0/0", 400, "bad-request"),
        ("3/1.5/0", 400, "bad-request"),
        ("3/8/0", 404, "not-found"),
        ("99/0/0", 404, "not-found"),
    ],
)
def test_malformed_tiles_are_refused_with_a_picture(server: Server, path: str, status: int, code: str) -> None:
    for kind in ("base", f"tiles/{ABSENT}/{ABSENT}"):
        response = server.get(f"{kind}/{path}.png")
        assert (response.status_code, response.headers["X-Muses-Error"]) == (status, code)
        assert response.headers["Cache-Control"] == "no-store" and response.headers["X-Muses-Message"]
        assert Image.open(io.BytesIO(response.content)).size == (256, 256)
