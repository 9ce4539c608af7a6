"""What the handlers of the hub's service share: who asks, the database, the threads that use it."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any
from weakref import WeakKeyDictionary

from muses_lab.courses.folder import courses_folder
from muses_lab.hub.access import Access, Rate
from muses_lab.hub.counted import Counted
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

UNPACK_SECONDS = 600
"""How long a course may take to be unpacked and checked, or taken away."""

ANSWERS = 1000
"""Answers that a participant may send at once, as after a day without the hub …"""

ANSWERS_PER_SECOND = 2.0
"""… and from then on."""

ENDING = 10
"""How long the service's end waits for requests that use the database; what is not done then, the database undoes."""


class Service:
    """What the handlers share."""

    def __init__(self, url: str, access: Access) -> None:
        self.url = url
        self.access = access
        self.pool = Pool("the database", THREADS, SECONDS)
        self.counted = Counted()
        self.receiving: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        """Bytes of bodies that are being received, by handler: one whose connection is lost counts no more."""
        self.answering = Rate(ANSWERS, ANSWERS_PER_SECOND, "answers")
        self.unpacking = Pool("courses", 1, UNPACK_SECONDS)
        self.courses = courses_folder()
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

    def make_room(self) -> None:
        """The folder of the published courses, which all users read and the service alone writes."""
        self.courses.mkdir(parents=True, exist_ok=True)
        self.courses.chmod(0o755)
        for left in self.courses.glob(".sent-*"):
            left.unlink(missing_ok=True)

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
