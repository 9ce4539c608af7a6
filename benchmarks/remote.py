"""A data set on a server that answers late: HTTP with ranges, a delay before each answer, any number at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, StaticFileHandler

DELAY = 0.05


@dataclass
class Server:
    port: int = 0
    requests: int = 0
    delay: float = DELAY

    def items(self, source: Path, target: Path) -> Path:
        """A folder with the items of `source`, their hrefs on this server."""
        document = json.loads((source / "items.json").read_text())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = f"http://127.0.0.1:{self.port}/{asset['href']}"
        target.mkdir(parents=True, exist_ok=True)
        (target / "items.json").write_text(json.dumps(document))
        return target


@contextmanager
def serving(folder: Path, delay: float = DELAY) -> Iterator[Server]:
    """Serves a folder in a thread of this process."""
    server = Server(delay=delay)

    class Late(StaticFileHandler):
        async def prepare(self) -> None:
            server.requests += 1
            await asyncio.sleep(server.delay)

    async def serve() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        server.port = sockets[0].getsockname()[1]
        http = HTTPServer(Application([(r"/(.*)", Late, {"path": str(folder.resolve())})], log_function=lambda _: None))
        http.add_sockets(sockets)
        ready.set()
        await asyncio.get_running_loop().run_in_executor(None, stop.wait)
        http.stop()
        await http.close_all_connections()

    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        stop.set()
        thread.join(10)
