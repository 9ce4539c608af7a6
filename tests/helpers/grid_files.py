"""Files and a server that nobody may touch."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def write_grid(path: Path, shift: float = 3600.0) -> Path:
    """An NTv2 grid of western Europe that moves everything by so many seconds to the north."""

    def text(word: str) -> bytes:
        return word.encode().ljust(8)

    def record(name: str, value: str | int | float) -> bytes:
        packed = text(value) if isinstance(value, str) else struct.pack("<ii" if isinstance(value, int) else "<d", *(
            (value, 0) if isinstance(value, int) else (value,)
        ))  # fmt: skip
        return text(name) + packed

    south, north, west, east, step = 40, 50, -5, 10, 5
    count = ((north - south) // step + 1) * ((east - west) // step + 1)
    head: list[tuple[str, str | int | float]] = [
        ("NUM_OREC", 11), ("NUM_SREC", 11), ("NUM_FILE", 1), ("GS_TYPE", "SECONDS"), ("VERSION", "NTv2.0"),
        ("SYSTEM_F", "A"), ("SYSTEM_T", "B"), ("MAJOR_F", 6378137.0), ("MINOR_F", 6356752.0), ("MAJOR_T", 6378137.0),
        ("MINOR_T", 6356752.0), ("SUB_NAME", "DECOY"), ("PARENT", "NONE"), ("CREATED", ""), ("UPDATED", ""),
        ("S_LAT", south * 3600.0), ("N_LAT", north * 3600.0), ("E_LONG", -east * 3600.0), ("W_LONG", -west * 3600.0),
        ("LAT_INC", step * 3600.0), ("LONG_INC", step * 3600.0), ("GS_COUNT", count),
    ]  # fmt: skip
    body = b"".join(record(*line) for line in head) + struct.pack("<ffff", shift, 0, 0, 0) * count + record("END", 0.0)
    path.write_bytes(body)
    return path


@contextmanager
def watched_pipe(path: Path) -> Iterator[threading.Event]:
    """A named pipe, and whether anybody has opened it to read: a writer is let in from then on."""
    os.mkfifo(path)
    opened, ending = threading.Event(), threading.Event()

    def watch() -> None:
        while not ending.wait(0.005):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            opened.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield opened
    finally:
        ending.set()
        watcher.join()


@contextmanager
def silent_server() -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
