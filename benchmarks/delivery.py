"""The whole way as a contestant: tiles from a Jupyter server and its Dask cluster, in a browser's six connections.

`python -m benchmarks.delivery embedded`, or `gateway`: the server in a process of its own, logged in by cookie as a
page is. Chains are published by this process, as a kernel does it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import secrets
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks import engine  # first: it gives this process a home of its own
from benchmarks.gateway import PASSWORD, running_gateway
from benchmarks.peers.contestant import View, day_of
from benchmarks.processes import free_port, running, until_there
from benchmarks.protocol import serve
from muses_lab.api.layer import Layer
from muses_lab.compute import tuning

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""

CONNECTIONS = 6
"""How many Chromium and Firefox open to one origin."""
PALETTES = ("viridis", "magma", "cividis", "inferno", "plasma", "YlGn", "BrBG", "Spectral", "cubehelix", "turbo")
EXTENSIONS = {"muses_lab.service": True, "benchmarks.delivery_server": True} | dict.fromkeys(
    (
        "jupyterlab",
        "jupyter_lsp",
        "jupyter_server_terminals",
        "notebook",
        "notebook_shim",
        "voila.server_extension",
    ),
    False,
)


# ------------------------------------------------------------------------------------------------- what is started


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[dict[str, str]]:
    """A Dask Gateway with its proxy; gives the settings that lead there."""
    environment = {name: os.environ[name] for name in ("MUSES_LAB_HOME", "PYTHONPATH", "HOME") if name in os.environ}
    with running_gateway(folder, environment | tuning.environment(), os.cpu_count() or 1) as url:
        yield {
            "MUSES_COMPUTE": "gateway",
            "MUSES_WORKERS": "1",
            "DASK_GATEWAY__ADDRESS": url,
            "DASK_GATEWAY__AUTH__TYPE": "basic",
            "DASK_GATEWAY__AUTH__KWARGS__USERNAME": "ada",
            "DASK_GATEWAY__AUTH__KWARGS__PASSWORD": PASSWORD,
        }


class Page:
    """What a browser holds of a Jupyter server: its address, cookies, and six connections."""

    def __init__(self, url: str, token: str) -> None:
        self.place = urlsplit(url)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}api?token={token}") as answer:
            cookies = [SimpleCookie(line) for line in answer.headers.get_all("Set-Cookie") or []]
        cookie = "; ".join(f"{morsel.key}={morsel.value}" for one in cookies for morsel in one.values())
        self.headers = {"Cookie": cookie, "Referer": url}
        self.token = token
        self._local = threading.local()

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask("GET", path, headers)

    def post(self, path: str, body: Any = None) -> Answer:
        text = json.dumps({} if body is None else body).encode()
        return self._ask("POST", path, {"Authorization": f"token {self.token}"}, text)

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(str(self.place.hostname), self.place.port, timeout=300)
        connection = self._local.connection
        connection.request(method, self.place.path + path, body, {**self.headers, **headers})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def all(self, asked: Sequence[Callable[[], Answer]]) -> list[Answer]:
        """All of them as a browser asks: in this order, so many at a time as it has connections."""
        answers: list[Any] = [None] * len(asked)
        numbers = iter(range(len(asked)))
        lock = threading.Lock()

        def connection() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    answers[number] = asked[number]()
                except Exception as error:
                    answers[number] = error

        self._threads(connection)
        if errors := [a for a in answers if isinstance(a, Exception)]:
            raise errors[0]
        return answers

    def _threads(self, work: Any) -> None:
        threads = self._local.__dict__.setdefault("pool", None) or _Pool(CONNECTIONS)
        self._local.pool = threads
        threads.run(work)


class _Pool:
    """Threads that stay, so that connections stay open."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._start = threading.Barrier(count + 1)
        self._end = threading.Barrier(count + 1)
        self._work: Any = None
        for _ in range(count):
            threading.Thread(target=self._loop, daemon=True).start()

    def run(self, work: Any) -> None:
        self._work = work
        self._start.wait()
        self._end.wait()

    def _loop(self) -> None:
        while True:
            self._start.wait()
            self._work()
            self._end.wait()


@contextlib.contextmanager
def jupyter(folder: Path, environment: dict[str, str]) -> Iterator[Page]:
    """A Jupyter server with the service, and a page of it."""
    token, port = secrets.token_hex(16), free_port()
    command = [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.base_url=/user/ada/",
        f"--ServerApp.jpserver_extensions={EXTENSIONS}",
    ]  # fmt: skip
    with running(command, folder, "jupyter", JUPYTER_TOKEN=token, **environment) as process:
        url = f"http://127.0.0.1:{port}/user/ada/"
        until_there(f"{url}api", process, folder / "jupyter.log")
        yield Page(url, token)


# ------------------------------------------------------------------------------------------------- the contestant


class Delivery:
    version = engine.Muses.version

    def __init__(self, kind: str, stack: contextlib.ExitStack) -> None:
        self.name = f"muses {kind}"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="muses-lab-delivery-")))
        root = str(Path(__file__).resolve().parent.parent)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            (folder / name.lower()).mkdir(mode=0o700)
            os.environ[name] = str(folder / name.lower())
        where = stack.enter_context(gateway(folder)) if kind == "gateway" else {"MUSES_COMPUTE": "embedded"}
        self.page = stack.enter_context(jupyter(folder, where))
        self._engine = engine.Muses()
        self._items: list[dict[str, Any]] = []
        self._palettes = 0

    def open(self, folder: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
        self._items = items
        return self._engine.open(folder, items)

    def forget(self) -> None:
        status, _, body = self.page.post("benchmarks/forget")
        assert status == 200, body

    def view(self, view: View, palette: bool = False, status: bool = False) -> dict[str, Any]:
        """`palette`: in colours that it has not had; `status`: beside other requests to the server."""
        chain, style = self.published(view, palette)
        seen = what_is_seen(view, f"{chain}/{style}")
        asked = [partial(self.page.get, f"muses/tiles/{chain}/{style}/{z}/{x}/{y}.png") for x, y, z in outwards(view)]
        before, used = self._counters(), processor_seconds()
        with self._asking_status() if status else contextlib.nullcontext([]) as waits:
            start = time.perf_counter()
            told, *answers = self.page.all([partial(self.page.post, "muses/view", seen), *asked])
            seconds = time.perf_counter() - start
        used = processor_seconds() - used
        after = self._counters()
        assert told[0] == 204, told
        wrong = [(status, headers.get("X-Muses-Message")) for status, headers, _ in answers if status != 200]
        warned = [headers for _, headers, _ in answers if "X-Muses-Warning" in headers]
        if wrong or warned:
            raise SystemExit(f"tiles failed: {(wrong or warned)[0]}")
        return {
            "seconds": seconds,
            "mean": None,
            "valid": None,
            "counters": {
                **{k: after.get(k, 0) - before.get(k, 0) for k in ("blocks_decoded", "evaluations")},
                "blocks": after.get("blocks_decoded", 0) - before.get("blocks_decoded", 0),
                "cpu_seconds": used,
                "png_bytes": sum(len(body) for *_, body in answers),
                "status_seconds": waits,
            },
        }

    def published(self, view: View, palette: bool = False) -> tuple[str, str]:
        """Names of the chain and style of a view, as tiles' addresses have them."""
        days = tuple(day_of(item) for item in view.choose(self._items))
        layer, _ = self._engine._chain(view.workload, view.classes, view.threshold, days)
        return (self._repainted(layer) if palette else layer).publish()

    def _counters(self) -> dict[str, int]:
        return json.loads(self.page.get("benchmarks/counters")[2])

    def _repainted(self, layer: Layer) -> Layer:
        """In colours that it has not had."""
        self._palettes += 1
        name = PALETTES[self._palettes % len(PALETTES)]
        low = 1e-6 * (self._palettes // len(PALETTES))  # seen by nobody, and another style
        more = {"label": f"{self._palettes}"} if layer.look.bands else {"cmap": name, "label": f"{low}"}
        return Layer(layer.chain, replace(layer.look, **more))

    @contextlib.contextmanager
    def _asking_status(self) -> Iterator[list[float]]:
        """Asks `/api/status` again and again meanwhile, as JupyterLab's other requests do; gives how long each took."""
        waits: list[float] = []
        ended = threading.Event()

        def ask() -> None:
            self.page.get("api/status")  # the connection is there
            ready.set()
            while not ended.wait(0.005):
                start = time.perf_counter()
                self.page.get("api/status")
                waits.append(time.perf_counter() - start)

        ready = threading.Event()
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        ready.wait(60)
        try:
            yield waits
        finally:
            ended.set()
            thread.join(60)


def processor_seconds() -> float:
    """What this process's children have used: servers, schedulers, workers."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def what_is_seen(view: View, layer: str) -> dict[str, Any]:
    """What the map's panel tells the service when it moves: as much as the tiles show, less a hair."""

    def place(column: float, row: float) -> tuple[float, float]:
        n = 2**view.zoom
        return column / n * 360 - 180, math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / n))))

    (xs, ys), hair = ([tile[i] for tile in view.tiles] for i in (0, 1)), 1e-3
    west, north = place(min(xs) + hair, min(ys) + hair)
    east, south = place(max(xs) + 1 - hair, max(ys) + 1 - hair)
    return {"id": "page", "z": view.zoom, "bounds": [west, south, east, north], "layers": [layer]}


def outwards(view: View) -> list[tuple[int, int, int]]:
    """The tiles in the order in which Leaflet asks for them: nearest to the centre first."""
    tiles = view.tiles
    x, y = (sum(tile[i] for tile in tiles) / len(tiles) for i in (0, 1))
    return sorted(tiles, key=lambda tile: (tile[0] - x) ** 2 + (tile[1] - y) ** 2)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended
    with contextlib.ExitStack() as stack:
        serve(Delivery(sys.argv[1], stack))
