"""A data set on a server that answers late: HTTP with ranges, a delay before each answer, any number at once.

    python -m benchmarks.remote FOLDER DELAY

It is a process of its own, and sends files without reading them: what it takes is not to be measured (with aiohttp it
took more than who asked it). It says its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

DELAY = 0.05


@dataclass(frozen=True)
class Server:
    url: str

    @property
    def requests(self) -> int:
        """How many files, or parts of some, it has been asked for."""
        with urlopen(f"{self.url}/requests") as answer:
            return int(answer.read())

    def items(self, source: Path, target: Path) -> Path:
        """A folder with the items of `source`, their hrefs on this server."""
        document = json.loads((source / "items.json").read_text())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = f"{self.url}/{asset['href']}"
        target.mkdir(parents=True, exist_ok=True)
        (target / "items.json").write_text(json.dumps(document))
        return target


@contextmanager
def serving(folder: Path, delay: float = DELAY) -> Iterator[Server]:
    """Serves a folder."""
    command = [sys.executable, "-m", "benchmarks.remote", str(folder.resolve()), str(delay)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[1]
    ) as process:
        assert process.stdin and process.stdout
        try:
            yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.stdin.close()


class Connection(asyncio.Protocol):
    """Answers one request after the other: `GET /path` with a range, and `GET /requests`."""

    asked = 0

    def __init__(self, folder: Path, delay: float) -> None:
        self._folder, self._delay = folder, delay
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._answering = asyncio.create_task(self._answer(head.decode()))

    async def _answer(self, head: str) -> None:
        path = head.split(" ", 2)[1].lstrip("/")
        if path == "requests":
            text = str(self.asked)
            self._transport.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            return
        Connection.asked += 1
        await asyncio.sleep(self._delay)
        span = re.search(r"\r\nrange: bytes=(\d+)-(\d+)", head, re.IGNORECASE)
        assert span, "the whole of a file is never asked for"
        with open(self._folder / path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            first, end = int(span[1]), min(int(span[2]) + 1, size)
            self._transport.write(
                f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{end - 1}/{size}\r\n"
                f'Content-Length: {end - first}\r\nETag: "{size}"\r\n\r\n'.encode()
            )
            await asyncio.get_running_loop().sendfile(self._transport, file, first, end - first)


async def serve(folder: Path, delay: float) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(folder, delay), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2])))
