"""A TCP proxy that can cut its connections, refuse new ones, or swallow what passes without a word."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any, Literal
from urllib.parse import urlsplit

from muses_lab.compute import leases
from muses_lab.compute.embedded import finder

Mode = Literal["pass", "refuse", "swallow"]


class TcpProxy:
    """Passes connections to `port` of this machine on, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._mode: Mode = "pass"
        self._writers: dict[asyncio.StreamWriter, int] = {}  # → port that its client connected from
        self._silent: set[asyncio.StreamWriter] = set()
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True).start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def set(self, mode: Mode) -> None:
        """`refuse`: new connections are closed at once. `swallow`: bytes vanish, and connections stay open."""
        self._mode = mode

    def silence(self, port: int | None = None) -> None:
        """The connections that there are, or the one from `port`, swallow everything from now on; new ones pass."""
        self._silent |= {writer for writer, source in self._writers.items() if port in (None, source)}

    def cut(self) -> int:
        """Resets all connections; how many there were."""

        async def cut() -> int:
            writers = list(self._writers)
            for writer in writers:
                writer.transport.abort()
            return len(writers) // 2

        return self._call(cut())

    def close(self) -> None:
        self._server.close()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._mode == "refuse":
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        source = writer.get_extra_info("peername")[1]
        self._writers |= {writer: source, back: source}
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except OSError:
            pass
        finally:
            del self._writers[writer], self._writers[back]
            writer.transport.abort()
            back.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(1 << 16):
            if self._mode != "swallow" and sink not in self._silent:
                sink.write(piece)
                await sink.drain()
        sink.close()


def proxy_before(info: finder.ClusterInfo) -> TcpProxy:
    """Whoever looks for this embedded cluster from now on finds the proxy."""
    proxy = TcpProxy(urlsplit(info.address).port or 0)
    file = finder.cluster_file(finder.cluster_folder())
    leases.write_private(file, json.loads(file.read_text()) | {"address": f"tls://127.0.0.1:{proxy.port}"})
    return proxy
