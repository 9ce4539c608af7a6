"""Kernels say that they import MUSES Lab (`muses_lab.kernel`): the embedded cluster starts before the first tile."""

from __future__ import annotations

import atexit
import os
import socket
from pathlib import Path
from typing import Any

from muses_lab import compute
from muses_lab.kernel import socket_of
from muses_lab.service import cluster
from muses_lab.service.tile_service import TileService
from muses_lab.settings import number


class Kernels:
    """Listens to the kernels of this Jupyter server.

    The cluster that one of them makes it start is kept for `MUSES_EARLY_START` seconds (default 900; 0: none is started
    before it is needed) unless the kernel ends before; from its first block on, it is kept by whoever asked for that.
    """

    def __init__(self, service: TileService, log: Any) -> None:
        self._service, self._log = service, log
        self._seconds = number("MUSES_EARLY_START")

    def start(self, io_loop: Any) -> None:
        """From the event loop's thread."""
        path = Path(socket_of(os.getpid()))
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            path.unlink(missing_ok=True)  # of a process that had this number before
            self._socket.bind(str(path))
            path.chmod(0o600)  # where the folder itself lets others in
        except (OSError, AttributeError) as error:  # a path of more than 107 bytes; a system without such sockets
            self._log.info("MUSES Lab starts its cluster with the first tile: kernels cannot be heard (%s)", error)
            return
        atexit.register(path.unlink, missing_ok=True)
        io_loop.add_handler(self._socket.fileno(), self._hear, io_loop.READ)

    def _hear(self, _: int, __: int) -> None:
        try:
            said = self._socket.recv(64)
        except BlockingIOError:
            return
        if said.isdigit() and self._seconds > 0 and _is_embedded():
            cluster.start_early(self._service, int(said), self._seconds)


def _is_embedded() -> bool:
    """Whether this server's tiles are for the embedded cluster: nobody has configured threads or a gateway."""
    try:
        return compute.kind() == "embedded"
    except ValueError:  # MUSES_COMPUTE says something else; tiles will tell that
        return False
