"""Threads for calls that may be slow: bounded in number, and free again when nobody waits for what they do."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from muses_lab.errors import Overloaded, Timeout

T = TypeVar("T")

LATEST = 0.9
"""Share of its time after which a call that still waits is not begun: it would only be abandoned."""

RETRY_AFTER = 5
"""Seconds after which whoever was refused may ask again."""


class Pool:
    """Runs calls in threads of its own, in the order in which they were asked for.

    >>> pool = Pool("loading", threads=4, seconds=120)
    >>> chain = await pool.run(load, chain_hash)                        # doctest: +SKIP

    A call whose asker gives up (cancelled, or after `seconds`) is dropped if it has not begun. If it has begun it
    cannot be stopped: it is *abandoned*, and another thread takes its place among the `threads`. The threads are
    daemons: none keeps the process from ending.

    Parameters
    ----------
    name
        What the calls are for, as errors name it: "publishing".
    threads
        Calls that run at the same time, abandoned ones not counted.
    seconds
        How long an asker waits for its call, its time in the queue included; None: as long as it takes.
    waiting
        Calls that may wait in the queue; further ones are refused with `Overloaded`.
    abandoned
        Abandoned calls from which on others are refused with `Overloaded`, until some of them have ended.
    each
        How many calls with the same key may run at the same time, abandoned ones counted; None: any number.
    """

    def __init__(
        self, name: str, threads: int, seconds: float | None = None, waiting: int = 1024, abandoned: int = 16,
        each: int | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.seconds = seconds
        self._threads, self._most_waiting, self._most_abandoned, self._each = threads, waiting, abandoned, each
        self._changed = threading.Condition()  # held for all that follows
        self._queue: deque[_Call] = deque()
        self._keys: Counter[Hashable] = Counter()  # of the calls that have not returned
        self._members = 0  # threads that take calls: all but those with an abandoned one
        self._idle = 0
        self._abandoned = 0

    async def run(
        self, function: Callable[..., T], *args: Any, key: Hashable = None, unwanted: Callable[[T], None] | None = None
    ) -> T:
        """`function(*args)` in a thread; `Timeout` after `seconds`, `Overloaded` at once when there is no room.

        `unwanted` gets the result when the asker gave up before it was there.
        """
        latest = float("inf") if self.seconds is None else monotonic() + LATEST * self.seconds
        call = _Call(partial(function, *args), key, unwanted, latest)
        self._enter(call)
        answer = asyncio.wrap_future(call.future)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also when nobody waits
        taken = False
        try:
            await asyncio.wait((answer,), timeout=self.seconds)
            if not answer.done():
                raise Timeout(
                    f"{self.name} was not ready after {self.seconds:g} s; MUSES_TILE_TIMEOUT allows more",
                    seconds=self.seconds,
                )
            taken = True
            return answer.result()
        finally:
            if not taken:
                self._leave(call)
            del call, answer  # an error's traceback has this frame, and these the error

    def counts(self) -> dict[str, int]:
        """Calls that run, wait, and are abandoned."""
        with self._changed:
            running = sum(self._keys.values()) - self._abandoned
            return {"running": running, "waiting": len(self._queue), "abandoned": self._abandoned}

    def _enter(self, call: _Call) -> None:
        with self._changed:
            if self._abandoned >= self._most_abandoned:
                self._refuse(f"{self._abandoned} calls of {self.name} took too long and have not ended yet")
            under_way = sum(self._keys.values()) - self._abandoned + len(self._queue)
            if under_way >= self._threads + self._most_waiting:
                self._refuse(f"{len(self._queue)} calls of {self.name} are waiting already")
            self._queue.append(call)
            self._changed.notify()
            self._grow()

    def _refuse(self, why: str) -> None:
        raise Overloaded(f"{why}: try again in {RETRY_AFTER} s", retry_after=RETRY_AFTER)

    def _leave(self, call: _Call) -> None:
        """Nobody waits for this call any more."""
        with self._changed:
            if call.future.done():  # just now
                unwanted = call.future.exception() is None
            else:
                unwanted = False
                call.future.cancel()
                if call.begun:
                    call.abandoned = True
                    self._abandoned += 1
                    self._members -= 1
                    self._grow()
                else:
                    self._queue.remove(call)
        if unwanted and call.unwanted is not None:
            call.unwanted(call.future.result())

    def _grow(self) -> None:
        """Starts a thread if there is something for it to do, and room for it."""
        room = min(self._threads, self._threads + self._most_abandoned - self._abandoned)
        if len(self._queue) > self._idle and self._members < room:
            self._members += 1
            threading.Thread(target=self._work, name=f"muses-{self.name}", daemon=True).start()

    # In its threads

    def _work(self) -> None:
        while self._do(self._take()):
            pass

    def _take(self) -> _Call:
        with self._changed:
            self._idle += 1
            while (call := self._next()) is None:
                self._changed.wait()
            self._idle -= 1
            call.begun = True
            self._keys[call.key] += 1
            return call

    def _next(self) -> _Call | None:
        now = monotonic()
        for place, call in enumerate(self._queue):
            if now < call.latest and (self._each is None or self._keys[call.key] < self._each):
                del self._queue[place]
                return call
        return None

    def _do(self, call: _Call) -> bool:
        """Whether the thread is still one of the pool's. Nothing of the call stays alive in an idle thread."""
        result, error = None, None
        try:
            result = call.work()
        except BaseException as failure:
            error = failure
        with self._changed:
            self._keys[call.key] -= 1
            if not self._keys[call.key]:
                del self._keys[call.key]
            if self._each is not None:
                self._changed.notify_all()  # those that wait may have the key that is free now
            member = True
            if call.abandoned:
                self._abandoned -= 1
                member = self._members < self._threads
                self._members += member
                self._grow()
            elif error is not None:
                call.future.set_exception(error)
            else:
                call.future.set_result(result)
        if call.abandoned and error is None and call.unwanted is not None:
            call.unwanted(result)
        del call, error  # the same here
        return member


class _Call:
    """One call; changed only under the pool's lock."""

    def __init__(
        self, work: Callable[[], Any], key: Hashable, unwanted: Callable[[Any], None] | None, latest: float
    ) -> None:
        self.work = work
        self.key = key
        self.unwanted = unwanted
        self.latest = latest
        self.future: Future[Any] = Future()
        self.begun = False
        self.abandoned = False
