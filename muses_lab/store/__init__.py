"""The store: what was published, computed, exported and shared, for kernels, the service and scripts.

A SQLite file of the user by default. On a hub one service has the database (PostgreSQL, or SQLite for a single
machine), and users' servers and kernels ask it over HTTP; both are a `Store`.
"""

from __future__ import annotations

import os
import threading

from muses_lab import settings
from muses_lab.store.interface import Store
from muses_lab.store.records import (
    LIVE,
    WRITES_A_FILE,
    Answer,
    AuditEntry,
    CourseRecord,
    Heard,
    JobRecord,
    Kept,
    Note,
    NotebookCopy,
    Presence,
    Share,
    Who,
    new_id,
)

__all__ = [
    "LIVE",
    "WRITES_A_FILE",
    "Answer",
    "AuditEntry",
    "CourseRecord",
    "Heard",
    "JobRecord",
    "Kept",
    "Note",
    "NotebookCopy",
    "Presence",
    "Share",
    "Store",
    "Who",
    "default_store",
    "new_id",
    "open_store",
]


def open_store(url: str | None = None) -> Store:
    """The store at a SQLAlchemy URL, or at that of a hub's service (`http…/services/muses`).

    By default that of `settings.store_url()`. `sqlite://` is a store in memory, for one thread.
    """
    url = url or settings.store_url()
    if url.startswith(("http://", "https://")):
        from muses_lab.store.remote import RemoteStore

        return RemoteStore(url)
    from muses_lab.store.sql import SqlStore

    return SqlStore(url)


_lock = threading.Lock()
_stores: dict[tuple[int, str], Store] = {}


def default_store() -> Store:
    """The process's store at `settings.store_url()`; opened once, and again in a forked child."""
    key = (os.getpid(), settings.store_url())
    with _lock:
        if key not in _stores:
            _stores[key] = open_store(key[1])
        return _stores[key]
