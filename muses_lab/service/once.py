"""What takes long to load, loaded once for all who ask meanwhile, and kept while it is used."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """The values that were used last, at most `limit` of them. For the event loop's thread only.

    A value that could not be loaded is loaded anew for whoever asks next. `seconds` tells for how long a value is kept
    that is not to be kept for good. Loading goes on when an asker leaves: what it gives depends on no view, and its
    time is limited by the pool that it runs in.
    """

    def __init__(self, limit: int, seconds: Callable[[T], float | None] = lambda value: None) -> None:
        self._limit = limit
        self._seconds = seconds
        self._tasks: OrderedDict[str, asyncio.Task[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    async def get(self, key: str, load: Callable[[str], Coroutine[Any, Any, T]]) -> T:
        """The value of `key`: the kept one, else what `load(key)` gives."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(load(key))
            task.add_done_callback(lambda done: self._ended(key, done))
        self._tasks.move_to_end(key)
        return await asyncio.shield(task)

    def known(self, key: str) -> T | None:
        """The kept value, if there is one."""
        task = self._tasks.get(key)
        loaded = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return task.result() if task is not None and loaded else None

    def _ended(self, key: str, task: asyncio.Task[T]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._drop(key, task)
        elif (seconds := self._seconds(task.result())) is not None:
            asyncio.get_running_loop().call_later(seconds, self._drop, key, task)
        while len(self._tasks) > self._limit:
            self._tasks.popitem(last=False)

    def _drop(self, key: str, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
