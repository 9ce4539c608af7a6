"""A folder on an HTTP server of this process: ranges, redirects, faults on demand, a count of the rounds.

With `quiet` no answer is sent before so many seconds have passed without another request: what a client asks at once is
one round, what it asks because of an answer is the next.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class RangeServer:
    folder: Path
    port: int = 0
    quiet: float = 0.0
    ranges: bool = True
    tag: str | None = '"1"'
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Path → what happens to its next requests: a status, "cut" (half an answer) or "hold" (none)."""
    always: dict[str, str] = field(default_factory=dict)
    """Path → the same for all its requests."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Path → URL."""
    log: list[tuple[str, str]] = field(default_factory=list)
    """(path with query, range) of every request."""
    rounds: int = 0
    most: int = 0
    """Requests that waited for their answers at once."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def forget(self) -> None:
        self.log.clear()
        self.rounds = self.most = 0

    # On the server's loop:

    _waiting: list[tuple[asyncio.Transport, bytes]] = field(default_factory=list)
    _timer: asyncio.TimerHandle | None = None
    _open: list[asyncio.Transport] = field(default_factory=list)

    def asked(self, transport: asyncio.Transport, head: bytes) -> None:
        self._waiting.append((transport, head))
        self.most = max(self.most, len(self._waiting))
        path = head.split(b" ", 2)[1].decode()
        span = next((x.split(b"=")[1] for x in head.split(b"\r\n") if x.lower().startswith(b"range:")), b"").decode()
        self.log.append((path, span))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self.quiet, self.release)

    def release(self) -> None:
        self.rounds += 1
        waiting, self._waiting = self._waiting, []
        for transport, head in waiting:
            self.answer(transport, head)

    def answer(self, transport: asyncio.Transport, head: bytes) -> None:
        path = unquote(urlsplit(head.split(b" ", 2)[1].decode()).path)
        faults = self.faults.get(path)
        fault = faults.pop(0) if faults else self.always.get(path, "")
        if path in self.redirects:
            transport.write(
                f"HTTP/1.1 302 Found\r\nLocation: {self.redirects[path]}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return
        file = self.folder / path.lstrip("/")
        if fault.isdecimal() or not file.is_file():
            transport.write(f"HTTP/1.1 {fault or 404} Fault\r\nContent-Length: 4\r\n\r\nno!\n".encode())
            return
        if fault == "hold":
            return
        body, size = file.read_bytes(), os.path.getsize(file)
        lines = ["HTTP/1.1 200 OK"]
        span = next((x for x in head.decode().split("\r\n") if x.lower().startswith("range:")), None)
        if span and self.ranges:
            first, last = (int(n) for n in span.split("=")[1].split("-"))
            body = body[first : last + 1]
            lines = ["HTTP/1.1 206 Partial Content", f"Content-Range: bytes {first}-{first + len(body) - 1}/{size}"]
        lines += [f"Content-Length: {len(body)}"] + ([f"ETag: {self.tag}"] if self.tag else [])
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (body[: len(body) // 2] if fault else body))
        if fault == "cut":
            transport.close()


class _Connection(asyncio.Protocol):
    def __init__(self, server: RangeServer) -> None:
        self.server, self.received = server, b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.server._open.append(transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            self.server.asked(self.transport, head)


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    server = RangeServer(folder)
    loop = asyncio.new_event_loop()

    async def listen() -> asyncio.Server:
        return await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:

        async def end() -> None:
            while arriving := asyncio.all_tasks() - {asyncio.current_task()}:  # asyncio would forget to close them
                await asyncio.wait(arriving)
            listening.close()
            for transport in server._open:
                transport.abort()  # also where nobody reads the rest of an answer

        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
