"""What this process had computed, for the hub's audit log: counted here, sent now and then.

On a user's own machine nobody keeps such a log, and nothing is counted.
"""

from __future__ import annotations

import atexit
import logging
import threading
from dataclasses import replace

from muses_lab import settings
from muses_lab.errors import MusesError
from muses_lab.settings import number
from muses_lab.store import AuditEntry, default_store

logger = logging.getLogger(__name__)

MOST = 500
"""Chains that are counted apart until the counts are sent; further ones are counted together."""


class Ledger:
    """Counts by chain, sent every `MUSES_AUDIT_SECONDS` (30) and at the end of the process.

    What the hub has not taken is kept for the next time. A process that is killed loses the last half minute.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, AuditEntry] = {}
        self._sender: threading.Thread | None = None

    def computed(self, chain: str, pixels: int, seconds: float) -> None:
        """A block of a chain has come from the cluster, whose workers took `seconds` for it."""
        if not settings.store_url().startswith("http"):
            return
        with self._lock:
            self._add(AuditEntry("computed", chain, 1, pixels, 0, seconds))
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_often, name="muses-audit", daemon=True)
                self._sender.start()
                atexit.register(self.send)

    def send(self) -> None:
        """Sends what was counted since the last time."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            default_store().note(counts.values())
        except MusesError as error:
            logger.info("the hub has not taken what was computed, it is sent again later: %s", error)
            with self._lock:
                for entry in counts.values():
                    self._add(entry)

    def _add(self, entry: AuditEntry) -> None:
        chain = entry.chain if entry.chain in self._counts or len(self._counts) < MOST else ""
        before = self._counts.get(chain, AuditEntry("computed", chain, 0))
        self._counts[chain] = replace(
            before,
            count=before.count + entry.count,
            pixels=before.pixels + entry.pixels,
            seconds=before.seconds + entry.seconds,
        )

    def _send_often(self) -> None:
        while True:
            threading.Event().wait(number("MUSES_AUDIT_SECONDS"))
            self.send()


ledger = Ledger()
"""That of this process."""
