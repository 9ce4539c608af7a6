"""The last error of a notebook's cells, heard from its kernel while it runs: a trainer sees who is stuck."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyter_client.session import Session

LONGEST = 500


class KernelErrors:
    """Listens to kernels' answers; of the last cell that ran it knows whether it failed. For the event loop's thread.

    Parameters
    ----------
    kernels
        Jupyter's manager of the kernels of this server.
    """

    def __init__(self, kernels: Any) -> None:
        self._kernels = kernels
        self._streams: dict[str, Any] = {}
        self._running: dict[str, str] = {}
        self._errors: dict[str, str] = {}

    def follow(self, ids: Iterable[str]) -> None:
        """Listens to these kernels from now on, and to no others."""
        wanted = set(ids)
        for gone in self._streams.keys() - wanted:
            self._streams.pop(gone).close()
            self._running.pop(gone, None)
            self._errors.pop(gone, None)
        for id in wanted - self._streams.keys():
            if id in self._kernels:
                self._streams[id] = self._listen(id)

    def of(self, id: str) -> str:
        """What the last cell of a kernel failed with; empty where it did not."""
        return self._errors.get(id, "")

    def _listen(self, id: str) -> Any:
        kernel = self._kernels.get_kernel(id)
        session = Session(config=kernel.session.config, key=kernel.session.key)
        stream = kernel.connect_iopub()

        def heard(parts: list[bytes]) -> None:
            if not parts[0].startswith(b"kernel."):  # widgets' messages and outputs, which may be large
                return
            try:
                self._hear(id, session.deserialize(session.feed_identities(parts)[1]))
            except (ValueError, KeyError, TypeError):  # of another protocol, or not signed by this kernel
                return

        stream.on_recv(heard)
        return stream

    def _hear(self, id: str, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        cell = (message.get("parent_header") or {}).get("msg_id", "")
        if kind == "execute_input":
            self._running[id] = cell
        elif kind == "error":
            text = f"{content['ename']}: {content['evalue']}"
            self._errors[id] = "".join(c if c >= " " else " " for c in text)[:LONGEST]
            self._running.pop(id, None)
        elif kind == "status" and content["execution_state"] == "idle" and cell and self._running.get(id) == cell:
            del self._running[id]  # the cell has ended, and without an error
            self._errors.pop(id, None)
