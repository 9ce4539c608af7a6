"""Work that a section does in a thread: the newest message counts, those that came before it are given up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

_LOG = logging.getLogger(__name__)

Message = dict[str, Any]


class Newest:
    """Calls `work(message, is_stale)` in a thread for the newest message; what waits is replaced by what comes.

    >>> newest = Newest("series", work)
    >>> newest.take(message)                            # returns at once
    """

    def __init__(self, name: str, work: Callable[[Message, Callable[[], bool]], None]) -> None:
        self._name, self._do = name, work
        self._waiting: Message | None = None
        self._working = False
        self._lock = threading.Lock()

    def take(self, message: Message) -> None:
        with self._lock:
            self._waiting = message
            if self._working:
                return
            self._working = True
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while (message := self._next()) is not None:
            try:
                self._do(message, self._is_stale)
            except Exception:  # the next message is answered all the same
                _LOG.exception("%s failed", self._name)

    def _is_stale(self) -> bool:
        return self._waiting is not None

    def _next(self) -> Message | None:
        with self._lock:
            message, self._waiting = self._waiting, None
            self._working = message is not None
            return message
