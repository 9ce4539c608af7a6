"""Threads that do a part of another's work while they have none of their own.

A process evaluates as many blocks at a time as it has threads. Where fewer are under way, as at the end of a view or
after a short pan, the others read some of the scenes of those that are, and evaluate some of their rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


class Helpers:
    """The threads of a process; thread-safe."""

    def __init__(self) -> None:
        self.threads = 1
        """So many work at a time, those that help included."""
        self.helped = 0
        """Items that were made by who had nothing else to do."""
        self._busy = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def spare(self) -> int:
        """Threads that have nothing to do."""
        return self.threads - self._busy

    @contextmanager
    def working(self) -> Iterator[None]:
        """A thread has work of its own; who helps and is one too many ends soon."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def each(self, work: Callable[[Item], Made], items: Sequence[Item], alone: bool = False) -> Generator[Made]:
        """`work(item)` of each, in order: what it raises comes at its item's turn. Spare threads begin at the end.

        An iteration that is given up (`close`) returns when nobody works for it any more. `alone`: nobody helps.
        """
        shared = _Shared(work, items)
        try:
            for number in range(len(items)):
                if self.spare > 0 and not alone:
                    self._lend(shared)
                yield shared.take(number)
        finally:
            shared.end()

    def _lend(self, shared: _Shared) -> None:
        with self._lock:
            if self.spare <= 0 or not shared.has_more:
                return
            self._busy += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, "muses-helper")
            pool = self._pool
        shared.helpers.append(pool.submit(self._help, shared))

    def _help(self, shared: _Shared) -> None:
        try:
            while self.spare >= 0 and shared.take_last():
                self.helped += 1
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._busy += more


class _Shared(Generic[Item, Made]):
    """Items that one thread takes from the beginning and others from the end."""

    def __init__(self, work: Callable[[Item], Made], items: Sequence[Item]) -> None:
        self._work, self._items = work, items
        self._first, self._last = 0, len(items)  # between them nobody has begun
        self._made: dict[int, Future[Made]] = {}
        self._lock = threading.Lock()
        self.helpers: list[Future[None]] = []

    @property
    def has_more(self) -> bool:
        return self._last - self._first > 1

    def take(self, number: int) -> Made:
        with self._lock:
            theirs = self._made.pop(number, None)
            self._first = number + 1
        return self._work(self._items[number]) if theirs is None else theirs.result()

    def take_last(self) -> bool:
        """Makes the last item that nobody has begun; False where there is none."""
        with self._lock:
            if not self._last > self._first:
                return False
            self._last -= 1
            number, made = self._last, Future[Made]()
            self._made[number] = made
        try:
            made.set_result(self._work(self._items[number]))
        except BaseException as error:
            made.set_exception(error)
        return True

    def end(self) -> None:
        with self._lock:
            self._first = self._last
        for helper in self.helpers:
            helper.result()


HELPERS = Helpers()
"""Those of this process."""
