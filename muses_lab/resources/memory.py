"""The memory of one process: what evaluations work with is admitted and counted, the cache has the rest.

The budget (`MUSES_WORKER_BYTES`, beyond what the imported libraries take) is divided so:

- an eighth is set aside for what nobody counts: GDAL's own cache, tables, programs, the allocator's gaps;
- tasks under way may need five eighths together; one more waits, in order of arrival, until others have ended;
- an evaluation is cut into strips of rows that work with an eighth at a time (see `footprint`);
- what comes from servers is asked for ahead as far as a ninth reaches (see `ahead`);
- the cache of decoded blocks and results has what the others leave, and evicts as soon as they need it.

A task that alone needs more than that runs when no other does; more than three quarters are refused. Waiting cannot
end in a deadlock: a task waits before it begins, so whoever waits holds nothing that another one could wait for.

Blocks and results live in memory of their own, which is used again (see `buffers`). What else is let go is not always
given back: every thread has an arena of glibc's, in which pieces that are freed lie between others that are kept
(measured: as much again as the whole budget, when blocks were there, too). So the process itself is looked at, too:
where it has grown by nearly the budget, the allocator gives back what is free, and where that is not enough, the cache
does with less.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

from muses_lab.errors import Cancelled, TooLarge
from muses_lab.resources.buffers import Buffers
from muses_lab.resources.cache import Cache

_LOOK = 0.05
"""Seconds between two looks at the cancel flag while waiting."""
_LEAST = 16 << 20
"""Bytes that an evaluation works with in any case: a few blocks and what they are made of."""
_PAGE = mmap.PAGESIZE
_LOOK_EACH = 64
"""Part of the budget that is put into the cache between two looks at the process, which take 30 µs."""
_STEP = 16
"""Part of the budget by which the process must grow until the allocator is asked again: asking costs time, too."""
_FREE = 16
"""Part of the budget that free memory of blocks may take beyond: what an evaluation works with lives there, too, and a
full cache would have it given back to the system after each block, to be asked for again."""
_SPARED = 4
"""Part of the budget that the cache does without at most: what has grown may be somebody's arrays in a notebook."""


class Memory:
    """The budget of a process and its cache; thread-safe."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.cache = Cache(budget * 7 // 8, self._look)
        self.buffers = Buffers(self.cache.budget)
        self.together = max(budget * 5 // 8, 2 * _LEAST)
        """Bytes that tasks under way may need."""
        self.piece = max(budget // 8, _LEAST)
        """Bytes that one evaluation works with at a time."""
        self.most = max(budget * 3 // 4, 4 * _LEAST)
        """Bytes that one task may need."""
        self.admitted = 0
        """Bytes that the tasks under way may need."""
        self.in_use = 0
        """Bytes that evaluations work with at this moment."""
        self.peak = 0
        """Most bytes that cache and evaluations have had together."""
        self.waits = 0
        """Tasks that had to wait."""
        self.trims = 0
        """Times that the process had grown by nearly the budget."""
        self._excess = 0
        """Bytes that the cache does without, because the process is larger than what is counted."""
        self._most_resident = resident() + budget
        self._trim_from = self._trim_at = self._most_resident - budget // 8
        self._not_looked = 0
        self._looking = threading.Lock()
        self._running = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def check(self, size: int) -> None:
        """Refuses what one task may not need; `TooLarge` says what to do."""
        if size > self.most:
            raise TooLarge(
                f"a part of this chain needs about {size / 2**20:.0f} MiB of memory at once; the most here are "
                f"{self.most / 2**20:.0f} MiB: use fewer dates or bands, a smaller radius or extent, or raise "
                f"MUSES_WORKER_BYTES (now {self.budget / 2**20:.0f} MiB)"
            )

    @contextmanager
    def task(self, size: int, cancelled: Callable[[], bool]) -> Iterator[bool]:
        """Waits until a task that may need so many bytes can run; to be entered by one that holds nothing yet.

        Gives whether it had to wait.

        Raises
        ------
        TooLarge
            It can never run.
        Cancelled
            `cancelled()` became true before its turn.
        """
        self.check(size)
        with self._changed:
            waited = bool(self._queue) or not self._fits(size)
            if waited:
                self._wait(size, cancelled)
            self._running += 1
            self.admitted += size
        try:
            yield waited
        finally:
            with self._changed:
                self._running -= 1
                self.admitted -= size
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return self._running == 0 or self.admitted + size <= self.together

    def _wait(self, size: int, cancelled: Callable[[], bool]) -> None:
        """In a queue, so that small tasks do not overtake a large one for ever."""
        me = object()
        self.waits += 1
        self._queue.append(me)
        try:
            while self._queue[0] is not me or not self._fits(size):
                self._changed.wait(_LOOK)
                if cancelled():
                    raise Cancelled("nobody waits for this block any more")
        finally:
            self._queue.remove(me)
            self._changed.notify_all()

    @contextmanager
    def work(self, size: int) -> Iterator[None]:
        """An evaluation works with so many bytes: the cache makes room for them. Waits for nobody."""
        self.use(size)
        try:
            yield
        finally:
            self.use(-size)
            self._look(size)  # what it worked with has been freed

    def use(self, size: int) -> None:
        """So many bytes more are worked with, or less: the cache makes room for them."""
        with self._changed:
            self.in_use += size
            self.cache.lend(self.in_use + self._excess)
            self.buffers.limit(self.cache.budget - self.in_use - self._excess + self.budget // _FREE)
            self.peak = max(self.peak, self.in_use + self.cache.bytes)

    def _look(self, moved: int) -> None:
        """Keeps the process within the budget: the allocator gives back what is free, then the cache some of its own.

        What is not ours (arrays in a notebook) may have grown: then only further growth is a reason to ask again.
        """
        self._not_looked += moved  # roughly: threads may overtake each other
        if self._not_looked < self.budget // _LOOK_EACH or not self._looking.acquire(blocking=False):
            return
        try:
            self._not_looked = 0
            now = resident()
            if now > self._trim_at:
                self.trims += 1
                trim()
                now = resident()
                self._trim_at = now + self.budget // _STEP
            else:
                self._trim_at = min(self._trim_at, now + self.budget // _STEP)
            self._trim_at = max(self._trim_at, self._trim_from)
            uncounted = now - (self._most_resident - self.budget) - self.buffers.taken
            self._excess = min(max(uncounted - self.budget // 8, 0), self.budget // _SPARED)
            self.use(0)
        finally:
            self._looking.release()


def resident() -> int:
    """Bytes of this process in memory; 0 where the system has no /proc."""
    with suppress(OSError):
        handle = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.read(handle, 128).split()[1]) * _PAGE
        finally:
            os.close(handle)
    return 0


def trim() -> None:
    """Gives what the C library's allocator keeps for later back to the system (glibc; elsewhere nothing happens).

    Arrays of a megabyte that were freed between others that are kept would else count as memory of this process.
    """
    give_back = _malloc_trim()
    if give_back is not None:
        give_back(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    with suppress(OSError, AttributeError):
        return ctypes.CDLL(None).malloc_trim
    return None
