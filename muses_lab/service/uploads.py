"""POST uploads/<id>?name=&at=&size= and DELETE uploads/<id>: files that users drop on their map."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from muses_lab.errors import MusesError, TooLarge
from muses_lab.service.failures import BadRequest, DiskFull
from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.settings import number
from muses_lab.uploaded import PART, folder, uploads

PIECE = 8 << 20
"""Bytes of the largest piece: proxies and Jupyter itself refuse bodies of a whole scene."""

_LEFT_FOR_OTHERS = 64 << 20
"""Bytes that stay free on the disk."""

_GIVEN_UP = 24 * 3600.0
"""Seconds after which an upload that did not go on is removed."""


class OutOfStep(MusesError):
    """A piece does not begin where the file ends so far; `received` says where that is."""

    code = "out-of-step"
    http_status = 409


class UploadHandler(ServiceHandler):
    """Takes a file piece by piece, so that any size can be sent, told about, and gone on with after a failure.

    The file appears in the user's `uploads/<id>` folder when it is whole. Files that belong together (those of a
    Shapefile) have one id.
    """

    auth_resource = "contents"
    """Where a server's authorizer lets others look at maps only: this writes files."""

    @property
    def body_limit(self) -> int:
        return PIECE

    def check_size(self, size: int) -> None:
        if size > PIECE:
            raise TooLarge(f"a piece of {size} bytes is above {PIECE}: send the file in smaller ones", limit=PIECE)

    @answer
    async def post(self, id: str) -> None:
        place, name = folder(id), _name(self.get_query_argument("name", ""))
        at, size = int(self.number("at")), int(self.number("size"))
        self.check_size(self._length)
        received = await self.service.pools.uploads.run(_put, place, name, at, size, bytes(self._body))
        self.send_json({"received": received, "done": received == size}, status=201)

    @answer
    async def delete(self, id: str) -> None:
        await self.service.pools.uploads.run(shutil.rmtree, folder(id), True)
        self.send_json({})


def _name(text: str) -> str:
    """The name of a file, without anything that leads elsewhere or cannot be shown."""
    name = re.split(r"[/\\]", text)[-1].strip().lstrip(".")
    if not name or not name.isprintable() or len(name.encode("utf-8", "replace")) > 200 or name.endswith(PART):
        raise BadRequest(f"{text[:80]!r} is no name of a file", argument="name")
    return name


def _put(place: Path, name: str, at: int, size: int, piece: bytes) -> int:
    """Appends a piece and returns how many bytes are there; the last one makes the file appear."""
    limit = int(number("MUSES_UPLOAD_BYTES"))
    if not 0 < size <= limit:
        raise TooLarge(
            f"{name} has {size} bytes; from 1 to {limit} can be sent (MUSES_UPLOAD_BYTES). Copy a larger file to a "
            "folder of the server, and open it there: ml.open_file(path)",
            limit=limit,
        )
    if at < 0 or at + len(piece) > size:
        raise BadRequest(f"bytes {at} to {at + len(piece)} are not in a file of {size}", argument="at")
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if at == 0:
        _forget_given_up()
    if shutil.disk_usage(place).free < size - at + _LEFT_FOR_OTHERS:
        raise DiskFull(f"the disk has no room for {name} ({size / 1e6:.0f} MB)")
    part, whole = place / (name + PART), place / name
    if at and not part.exists() and whole.is_file() and whole.stat().st_size == size:
        return size  # it is whole, and the answer that said so was lost
    with part.open("r+b" if part.exists() else "w+b") as file:
        there = file.seek(0, os.SEEK_END)
        if at == 0:
            there = file.truncate(0)  # sent anew
        if there != at:
            raise OutOfStep(f"{there} bytes of {name} are here, and the piece begins at {at}", received=there)
        file.seek(at)
        file.write(piece)
    if at + len(piece) == size:
        os.replace(part, whole)
    return at + len(piece)


def _forget_given_up() -> None:
    for part in uploads().glob(f"*/*{PART}"):
        if time.time() - part.stat().st_mtime > _GIVEN_UP:
            part.unlink(missing_ok=True)
            if not any(part.parent.iterdir()):
                part.parent.rmdir()
