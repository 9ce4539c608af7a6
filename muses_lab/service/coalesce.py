"""Evaluations under way by key: all who ask for the same wait for one; the last one who leaves stops it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from muses_lab.errors import Cancelled, Timeout

T = TypeVar("T")


class Claim(Generic[T]):
    """One asker's part in an evaluation."""

    def __init__(self, work: _Work[T]) -> None:
        self._work = work
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def result(self, seconds: float) -> T:
        """The evaluation's result; `Cancelled` once this asker left, `Timeout` after so many seconds."""
        ends: set[asyncio.Future[Any]] = {self._work.task, self._left}
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._left.done():
            raise Cancelled("the asker left before the result was there")
        if not self._work.task.done():
            raise Timeout(f"not ready after {seconds:g} s; MUSES_TILE_TIMEOUT allows more", seconds=seconds)
        try:
            return self._work.task.result()
        except asyncio.CancelledError:
            raise Cancelled("the evaluation was stopped") from None

    def leave(self) -> None:
        """This asker no longer waits; may be called again."""
        if not self._left.done():
            self._left.set_result(None)
            self._work.leave()


class _Work(Generic[T]):
    def __init__(self, task: asyncio.Task[T], forget: Callable[[], None]) -> None:
        self.task = task
        self.askers = 0
        self._forget = forget

    def leave(self) -> None:
        self.askers -= 1
        if not self.askers and not self.task.done():
            self._forget()  # whoever asks from now on must not get the cancelled task
            self.task.cancel()


class Coalescer(Generic[T]):
    """All evaluations under way of one kind. For the event loop's thread only."""

    def __init__(self) -> None:
        self._works: dict[Hashable, _Work[T]] = {}

    def __len__(self) -> int:
        return len(self._works)

    def join(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> Claim[T]:
        """A part in the evaluation of `key`, which is started if it is not under way."""
        work = self._works.get(key)
        if work is None:
            task = asyncio.get_running_loop().create_task(start())

            def forget() -> None:
                if self._works.get(key) is work:
                    del self._works[key]

            def ended(task: asyncio.Task[T]) -> None:
                forget()
                if not task.cancelled():
                    task.exception()  # seen, also when nobody waits for it any more

            work = self._works[key] = _Work(task, forget)
            task.add_done_callback(ended)
        work.askers += 1
        return Claim(work)


class Recent(Generic[T]):
    """What was used last, up to a total size."""

    def __init__(self, limit: float, size: Callable[[T], float] = lambda _: 1) -> None:
        self._limit = limit
        self._size = size
        self._total = 0.0
        self._items: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable) -> T | None:
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: Hashable, value: T) -> None:
        self.drop(key)
        if self._size(value) > self._limit:
            return
        self._items[key] = value
        self._total += self._size(value)
        while self._total > self._limit:
            self.drop(next(iter(self._items)))

    def drop(self, key: Hashable) -> None:
        if key in self._items:
            self._total -= self._size(self._items.pop(key))

    def clear(self) -> None:
        self._items.clear()
        self._total = 0.0
