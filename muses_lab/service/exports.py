"""GET exports/<job>: the file that an export wrote, to be saved by the browser."""

from __future__ import annotations

import mimetypes
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tornado.iostream import StreamClosedError

from muses_lab.errors import NotFound
from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.store import WRITES_A_FILE, Store

_CHUNK = 1 << 20


class ExportHandler(ServiceHandler):
    """A finished export of the user's own, whole: pages that show no folder (Voilà) hand it out by a link.

    Only what the store knows as the user's finished export is found, and only as the export wrote it: a link, or a
    file of another size, in its place is not given away.
    """

    @answer
    async def get(self, job: str) -> None:
        pool = self.service.pools.downloads
        name, file, size = await pool.run(_open, self.service.store, job, unwanted=lambda opened: opened[1].close())
        with file:
            self.set_header("Content-Type", kind := mimetypes.guess_type(name)[0] or "application/octet-stream")
            self.set_header("Content-Length", str(size))
            self.set_attachment_header(name)
            if self.request.method != "HEAD":
                while chunk := await pool.run(file.read, _CHUNK):
                    self.write(chunk)
                    try:
                        await self.flush()
                    except StreamClosedError:  # the user gave the download up
                        break
        self.finish(set_content_type=kind)

    async def head(self, job: str) -> None:
        await self.get(job)


def _open(store: Callable[[], Store], id: str) -> tuple[str, BinaryIO, int]:
    """Name, opened file and size of the export of that job."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{8,64}", id):
        raise NotFound(f"{id[:80]!r} is not the name of a job")
    record = store().job(id)
    if record.kind not in WRITES_A_FILE:
        raise NotFound(f"{record.name} is no export, so there is no file to download")
    if record.state != "done":
        raise NotFound(f"the export of {record.name} is not finished, so there is no file to download")
    path = Path(record.target)
    gone = f"{path.name} is no longer where the export wrote it, or not as it wrote it: export it again"
    try:
        # A link is not followed, and nothing that waits for a writer is waited for.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError:
        raise NotFound(gone) from None
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size != record.bytes:
        file.close()
        raise NotFound(gone)
    return path.name, file, found.st_size
