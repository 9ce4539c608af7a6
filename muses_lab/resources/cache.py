"""One cache for decoded blocks and results: a byte budget, and one computation for all who ask at once.

What is cheapest to recompute for its size goes first (GreedyDual-Size, Cao & Irani 1997): an entry's priority is
seconds per byte on top of a clock that rises with each eviction, so that old entries age.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from muses_lab.errors import Cancelled, ComputeError

_WAIT = 600.0
"""Seconds after which a waiter gives up on somebody else's computation."""


@dataclass(slots=True)
class _Entry:
    value: Any
    size: int
    seconds: float
    priority: float


class Cache:
    """Values by key under a byte budget; thread-safe."""

    def __init__(self, budget: int, added: Callable[[int], None] = lambda size: None) -> None:
        self.budget = budget
        self._added = added
        self.lent = 0
        """Bytes of the budget that others use for now."""
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._clock = 0.0
        self._entries: dict[Hashable, _Entry] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._ticket = 0
        self._pending: dict[Hashable, Future[Any] | None] = {}
        """What is being computed, and where others wait for it, what they wait for."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        """Whether a value is kept; does not count as use."""
        return key in self._entries

    def is_computing(self, key: Hashable) -> bool:
        """Whether who asks for a value would wait for somebody's computation."""
        return key in self._pending

    def get(self, key: Hashable) -> Any | None:
        """The value, or None; counts as use."""
        with self._lock:
            return self._touch(key)

    def get_or_compute(
        self,
        key: Hashable,
        compute: Callable[[], Any],
        size: Callable[[Any], int],
        keep: Callable[[Any], bool] = lambda value: True,
    ) -> Any:
        """The value of `key`, computed by one caller while the others wait for it; kept where `keep` says so.

        Where that caller is cancelled, one of the waiters computes it instead.
        """
        while True:
            with self._lock:
                value = self._touch(key)
                if value is not None:
                    self.hits += 1
                    return value
                if key not in self._pending:
                    self._pending[key] = None
                    self.misses += 1
                    break
                pending = self._pending[key] = self._pending[key] or Future()
            try:
                return pending.result(timeout=_WAIT)
            except Cancelled:
                continue
            except TimeoutError:
                raise ComputeError(f"a computation under way elsewhere did not end within {_WAIT:g} s") from None
        start = time.perf_counter()
        try:
            value = compute()
        except BaseException as error:
            with self._lock:
                waited_for = self._pending.pop(key)
            if waited_for is not None:
                # A waiter must not inherit what only concerns this caller (KeyboardInterrupt and the like).
                stopped = Cancelled("the computing thread was stopped")
                waited_for.set_exception(error if isinstance(error, Exception) else stopped)
                waited_for.exception()
            raise
        if keep(value):
            self.put(key, value, size(value), time.perf_counter() - start)
        with self._lock:
            waited_for = self._pending.pop(key)
        if waited_for is not None:
            waited_for.set_result(value)
        return value

    def put(self, key: Hashable, value: Any, size: int, seconds: float) -> None:
        with self._lock:
            if size > self.budget - self.lent:
                return
            old = self._entries.pop(key, None)
            if old is not None:
                self.bytes -= old.size
            entry = _Entry(value, size, seconds, self._clock + seconds / max(size, 1))
            self._entries[key] = entry
            self.bytes += size
            self._push(key, entry)
            self._make_room()
        self._added(size)

    def lend(self, size: int) -> None:
        """So many bytes of the budget are used by others from now on: what does not fit beside them goes."""
        with self._lock:
            self.lent = size
            self._make_room()

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._heap.clear()
            self.bytes = 0

    def _touch(self, key: Hashable) -> Any | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.priority = self._clock + entry.seconds / max(entry.size, 1)
        return entry.value

    def _push(self, key: Hashable, entry: _Entry) -> None:
        self._ticket += 1
        heapq.heappush(self._heap, (entry.priority, self._ticket, key))

    def _make_room(self) -> None:
        while self.bytes > self.budget - self.lent and self._entries:
            self._evict()

    def _evict(self) -> None:
        while True:
            priority, _, key = heapq.heappop(self._heap)
            entry = self._entries.get(key)
            if entry is None:
                continue
            if entry.priority > priority:  # used since it was pushed: back to its new place
                self._push(key, entry)
                continue
            self._clock = max(self._clock, priority)
            del self._entries[key]
            self.bytes -= entry.size
            return
