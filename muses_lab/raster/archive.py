"""Files inside a zip archive, read where they are: nothing is unpacked to the disk.

The path of such a file is that of the archive with the member's name after it: `S2A….zip/S2A….SAFE/…/B04.jp2`. What may
be read is decided for the archive, which is opened like any other file.
"""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from io import RawIOBase
from pathlib import PurePath
from typing import Any, Protocol

from muses_lab.errors import ReadError

SUFFIX = ".zip"
_STEP = 4 << 20
"""Bytes of a compressed member between two places from which its reading can begin."""
_MOST = 2 << 30
"""Bytes that a member may have. A member that claims more than its archive can hold is refused as well."""
_MOST_RATIO = 1100
"""Deflate makes at most so much of a byte."""


class Bytes(Protocol):
    """An open file."""

    @property
    def size(self) -> int: ...
    def read(self, offset: int, size: int) -> bytes: ...


def split(path: str) -> tuple[str, str] | None:
    """Archive and member of a path; None where no part of it ends in `.zip`.

    >>> split("/data/a.zip/b/c.jp2"), split("/data/b.zip")
    (('/data/a.zip', 'b/c.jp2'), None)
    """
    parts = PurePath(path).parts
    for n in range(1, len(parts)):
        if parts[n - 1].lower().endswith(SUFFIX):
            return str(PurePath(*parts[:n])), "/".join(parts[n:])
    return None


def names(archive: Bytes) -> list[str]:
    """Names of the members of an archive, without folders."""
    return [info.filename for info in _directory(archive) if not info.is_dir()]


def read_whole(archive: Bytes, name: str, most: int) -> bytes:
    """A small member; `ReadError` where there is none, or it has more bytes than `most`."""
    member = Member(archive, name)
    if member.size > most:
        raise ReadError(f"{name} has {member.size} bytes, and at most {most} are read")
    return member.read(0, member.size)


class Member:
    """A member's bytes at any place. What is stored is read at once, what is deflated from the last known place on."""

    def __init__(self, archive: Bytes, name: str) -> None:
        info = next((info for info in _directory(archive) if info.filename == name), None)
        if info is None:
            raise ReadError(f"the archive has no file {name!r}")
        if info.flag_bits & 0x1:
            raise ReadError("it is encrypted: unpack the archive")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ReadError("it is neither stored nor deflated in its archive: unpack it")
        if info.file_size > min(_MOST, max(info.compress_size, 1) * _MOST_RATIO):
            raise ReadError(f"it claims to have {info.file_size} bytes")
        self.size = info.file_size
        self._archive = archive
        self._stored = info.compress_type == zipfile.ZIP_STORED
        self._compressed = info.compress_size
        self._begin = _begin_of(archive, info)
        self._lock = threading.Lock()
        self._places: list[tuple[int, int, Any]] = [(0, 0, zlib.decompressobj(-15))]
        """(bytes that come out before it, bytes that went in, decompressor), every few megabytes."""

    def read(self, offset: int, size: int) -> bytes:
        size = max(0, min(size, self.size - offset))
        if self._stored:
            return self._archive.read(self._begin + offset, size)
        with self._lock:
            return self._inflated(offset, size)

    def _inflated(self, offset: int, size: int) -> bytes:
        out, into, state = next(place for place in reversed(self._places) if place[0] <= offset)
        state = state.copy()
        found = bytearray()
        while out < offset + size:
            piece = self._archive.read(self._begin + into, min(1 << 16, self._compressed - into))
            if not piece:
                raise ReadError("its archive is damaged: it ends too early")
            try:
                made = state.decompress(piece)
            except zlib.error as error:
                raise ReadError(f"its archive is damaged: {error}") from None
            into += len(piece)
            if out + len(made) > offset:
                found += made[max(0, offset - out) : offset + size - out]
            out += len(made)
            if out > self._places[-1][0] + _STEP:
                self._places.append((out, into, state.copy()))
        return bytes(found)


def _directory(archive: Bytes) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(_Stream(archive)) as file:
            return file.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
        raise ReadError(f"it is not a zip archive that can be read: {error}") from None


def _begin_of(archive: Bytes, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its own header, whose lengths may differ from the directory's."""
    head = archive.read(info.header_offset, 30)
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise ReadError("its archive is damaged: there is no file where its directory says")
    name, extra = struct.unpack("<HH", head[26:30])
    begin = info.header_offset + 30 + name + extra
    if begin + info.compress_size > archive.size:
        raise ReadError("its archive is damaged: it ends too early")
    return begin


class _Stream(RawIOBase):
    """An archive as Python's zipfile reads it."""

    def __init__(self, archive: Bytes) -> None:
        super().__init__()
        self._archive, self._at = archive, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._archive.size)[whence])
        return self._at

    def read(self, size: int = -1) -> bytes:
        size = self._archive.size - self._at if size is None or size < 0 else size
        found = self._archive.read(self._at, max(0, min(size, self._archive.size - self._at)))
        self._at += len(found)
        return found
