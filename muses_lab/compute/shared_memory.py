"""Results handed over in memory that asker and worker share, instead of through the cluster's connections.

A block is a megabyte; through Dask it is encrypted, sent to the scheduler, and encrypted and sent again, after a
message that it is there and one that asks for it. Where both ends are one user on one machine the worker leaves it as
a file in a folder in memory that the asker made, and the message that the task is done is all that travels. Where they
are not, the memory is full, or there is none such (macOS), results go the ordinary way.

It wins 2 to 8 % of the processor time of W2, W4 and W1 (most) at zoom 14: client, scheduler and worker together.
"""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from muses_lab.compute import leases

SHARED = Path("/dev/shm")
LEAST = 1 << 16
"""Bytes below which a result travels with the message."""

_PREFIX = "muses-results-"
_SIGN = "sign"
_HEAD = struct.Struct("<QQ")
_ALIGNED = 64
_OLD = 300.0
"""Seconds after which a result was left for somebody who has gone."""


@dataclass(frozen=True)
class SharedFolder:
    """Where an asker takes results from: what it tells the workers."""

    folder: str
    sign: str
    """What a file in it says: that a worker sees this folder, not another one of that name."""


class Mailbox:
    """The asker's side: a folder that only its user can read, gone with this object."""

    def __init__(self, shared: Path = SHARED) -> None:
        self.place: SharedFolder | None = None
        """None where no memory is shared."""
        self._swept = time.monotonic()
        start = leases.process_start(os.getpid())
        if start is None or not os.access(shared, os.W_OK):
            return
        _remove_abandoned(shared)
        folder = shared / f"{_PREFIX}{os.getuid()}-{os.getpid()}-{start}-{secrets.token_hex(8)}"
        with suppress(OSError):
            folder.mkdir(mode=0o700)
            place = SharedFolder(str(folder), secrets.token_hex(16))
            (folder / _SIGN).write_text(place.sign)
            self.place = place

    def take(self, token: str) -> Any | None:
        """What was left under a token; None where nothing was."""
        if self.place is None:
            return None
        file = Path(self.place.folder, token)
        try:
            with file.open("rb", buffering=0) as stream:
                body = bytearray(os.fstat(stream.fileno()).st_size)
                stream.readinto(body)
        except FileNotFoundError:
            return None
        file.unlink(missing_ok=True)
        return _unpacked(memoryview(body))

    def sweep(self) -> None:
        """Removes what came after its asker had given up."""
        if self.place is None or time.monotonic() - self._swept < _OLD:
            return
        self._swept = time.monotonic()
        before = time.time() - _OLD
        with suppress(OSError):
            for file in Path(self.place.folder).iterdir():
                if file.name != _SIGN and file.stat().st_mtime < before:
                    file.unlink(missing_ok=True)

    def close(self) -> None:
        if self.place is not None:
            shutil.rmtree(self.place.folder, ignore_errors=True)
            self.place = None


def leave(place: SharedFolder, token: str, answer: Any) -> bool:
    """The worker's side: whether `answer` lies in that place now."""
    if not _is_shared(place):
        return False
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    part = Path(place.folder, f"{token}.part")
    try:
        with part.open("xb", buffering=0) as stream:
            for piece in _packed(text, views):
                if stream.write(piece) != len(piece):
                    raise OSError("the memory is full")
        part.rename(part.with_suffix(""))
    except OSError:  # full, or the asker has gone
        with suppress(OSError):
            part.unlink(missing_ok=True)
        return False
    return True


def _packed(text: bytes, views: list[memoryview]) -> list[Any]:
    sizes = [len(text), *(view.nbytes for view in views)]
    head = _HEAD.pack(len(views), len(text)) + b"".join(struct.pack("<Q", view.nbytes) for view in views)
    pieces: list[Any] = [head + bytes(-len(head) % _ALIGNED)]
    for piece, size in zip((text, *views), sizes, strict=True):
        pieces.append(piece)
        if size % _ALIGNED:
            pieces.append(bytes(-size % _ALIGNED))
    return pieces


def _unpacked(body: memoryview) -> Any:
    count, length = _HEAD.unpack_from(body)
    sizes = [length, *struct.unpack_from(f"<{count}Q", body, _HEAD.size)]
    start = _HEAD.size + 8 * count
    parts = []
    for size in sizes:
        start += -start % _ALIGNED
        parts.append(body[start : start + size])
        start += size
    return pickle.loads(parts[0], buffers=parts[1:])  # written by this user, in a folder that nobody else can enter


@lru_cache(maxsize=64)
def _is_shared(place: SharedFolder) -> bool:
    sign = Path(place.folder, _SIGN)
    try:
        return sign.stat().st_uid == os.getuid() and sign.read_text() == place.sign
    except OSError:
        return False


def _remove_abandoned(shared: Path) -> None:
    """What processes of this user left that were killed."""
    for folder in shared.glob(f"{_PREFIX}{os.getuid()}-*"):
        _, pid, start, _ = folder.name.removeprefix(_PREFIX).split("-")
        if not leases.is_alive(int(pid), start):
            shutil.rmtree(folder, ignore_errors=True)
