"""Files and an address that nobody may touch: whoever opens one of the files, or connects, is noticed.

Opens are told by the kernel (inotify), so those of C libraries and of other processes are noticed, too.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import rasterio
from affine import Affine

SECRET = 42_424
"""The value of all pixels of the decoys."""
HOST = "127.83.19.7"
"""On loopback, where no server of other tests is looked for."""
_IN_OPEN, _IN_CLOEXEC = 0x20, 0o2000000

_LISTENER = """
import socket, sys
with socket.create_server((sys.argv[1], 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(0.5)
            try:
                asked = connection.recv(200)
            except OSError:
                asked = b""
            print("asked: " + ascii(asked), file=sys.stderr, flush=True)
            try:
                connection.sendall(b"HTTP/1.1 404 Not Found\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
            except OSError:
                pass
"""
# A process of its own: GDAL may hold Python's lock while it waits for an answer.


@dataclass
class Decoys:
    """A folder of decoy files and a listener on loopback."""

    folder: Path
    port: int
    _handle: int
    _log: TextIO
    _read: int = 0

    def path(self, name: str) -> Path:
        return self.folder / name

    def url(self, name: str) -> str:
        return f"http://{HOST}:{self.port}/{name}"

    def touched(self) -> list[str]:
        """Names of the decoys that were opened and what was asked of the listener, since this was asked last."""
        names: list[str] = []
        while body := self._events():
            at = 0
            while at < len(body):
                _, mask, _, length = struct.unpack_from("iIII", body, at)
                name = body[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length
                if mask & _IN_OPEN and name:
                    names.append(name)
        said = os.pread(self._log.fileno(), 1 << 20, self._read)  # the offset of the file is the listener's
        self._read += len(said)
        return names + said.decode().splitlines()

    def _events(self) -> bytes:
        try:
            return os.read(self._handle, 1 << 16)
        except BlockingIOError:
            return b""


def raster(path: Path, value: int = SECRET, size: int = 512, **profile: object) -> Path:
    """A raster whose pixels are all the same."""
    options = {
        "driver": "GTiff", "height": size, "width": size, "count": 1, "dtype": "uint16", "crs": "EPSG:32631",
        "transform": Affine(10, 0, 364_000, 0, -10, 4_833_900), **profile,
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as file:
        file.write(np.full((1, size, size), value, options["dtype"]))
    return path


@contextmanager
def decoys(folder: Path) -> Iterator[Decoys]:
    """Decoys in a new folder: `secret.tif` (half as large as what tests make), `secret.txt`, `grid.gsb`."""
    folder.mkdir(parents=True)
    raster(folder / "secret.tif", size=256)
    (folder / "secret.txt").write_bytes(b"secret " * 9000)
    (folder / "grid.gsb").write_bytes(b"NUM_OREC" + bytes(200))
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK | _IN_CLOEXEC)
    assert handle >= 0 and libc.inotify_add_watch(handle, os.fsencode(folder), _IN_OPEN) >= 0
    with tempfile.TemporaryFile("r+") as log:
        listener = subprocess.Popen(
            [sys.executable, "-c", _LISTENER, HOST], stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert listener.stdout is not None
        found = Decoys(folder, int(listener.stdout.readline()), _handle=handle, _log=log)
        try:
            yield found
        finally:
            listener.kill()
            listener.communicate()
            os.close(handle)
