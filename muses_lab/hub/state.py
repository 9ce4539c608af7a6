"""What the handlers of the hub's service share: who asks, the database, the threads that use it."""

from __future__ import annotations

import asyncio
import logging
import threading

from muses_lab.hub.access import Access
from muses_lab.resources.pool import Pool
from muses_lab.settings import number
from muses_lab.store import audit
from muses_lab.store.opening import open_database
from muses_lab.store.sql import SqlStore, user_bytes

logger = logging.getLogger("muses_lab.hub")

THREADS = 8
"""Requests that use the database at the same time."""

SECONDS = 90
"""How long a request waits for the database."""

ENDING = 10
"""How long the service's end waits for requests that use the database; what is not done then, the database undoes."""


class Service:
    """What the handlers share."""

    def __init__(self, url: str, access: Access) -> None:
        self.url = url
        self.access = access
        self.pool = Pool("the database", THREADS, SECONDS)
        self.max_document = int(number("MUSES_MAX_DOCUMENT"))
        self.max_artefact = int(number("MUSES_MAX_ARTEFACT"))
        self._store: SqlStore | None = None
        self._lock = threading.Lock()

    def store(self) -> SqlStore:
        """The whole store, for no user; opened when it is first used: a database may start after the service."""
        with self._lock:
            if self._store is None:
                self._store = SqlStore(open_database(self.url), user_bytes=user_bytes())
            return self._store

    def forget(self) -> None:
        """Removes what the audit log need not keep any longer."""
        with self.store().database.begin() as connection:
            gone = audit.forget(connection)
        if gone:
            logger.info("%d rows of the audit log were older than MUSES_AUDIT_DAYS", gone)

    async def close(self) -> None:
        end = asyncio.get_running_loop().time() + ENDING
        while any(self.pool.counts().values()) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)
        if self._store is not None:
            self._store.close()
