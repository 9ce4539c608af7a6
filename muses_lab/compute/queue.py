"""The queue before the cluster: what is asked for, in which order it goes, and what is no longer wanted."""

from __future__ import annotations

import heapq
import itertools
import secrets
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

from muses_lab.errors import Cancelled, ComputeError
from muses_lab.settings import number

UNDER_WAY = 0.05
"""Seconds of work for each thread that may be handed to the backend, however many blocks that is."""


class Document(Protocol):
    """A published chain with all its inputs (`Published`)."""

    @property
    def hash(self) -> str: ...
    @property
    def payload(self) -> bytes: ...


class Backend(Protocol):
    """Where blocks are evaluated: threads of this process, or the workers of a cluster.

    The futures of `submit` always end, also when a worker or the whole cluster is lost; after `cancel(token)` they end
    soon, with `Cancelled` unless the result was there first. `prefetch` says that a block will be submitted, so that
    what it reads of remote files may come before; `cancel_hint` that it will not. All but `counters`, `keeps` and
    `close` return at once; all may be called from any thread.
    """

    name: str

    @property
    def threads(self) -> int: ...
    def prefetch(self, chain_hash: str, task: Any) -> None: ...
    def cancel_hint(self, chain_hash: str, task: Any) -> None: ...
    def submit(self, chain_hash: str, payload: Callable[[], bytes], task: Any, token: str) -> Future: ...
    def cancel(self, token: str) -> None: ...
    def status(self) -> dict[str, Any]: ...
    def counters(self, timeout: float = 10) -> dict[str, int]: ...
    def keeps(self, names: Sequence[tuple[Any, ...]], timeout: float = 10) -> list[bool]: ...
    def close(self) -> None: ...


class Ticket:
    """One asker's claim on a block.

    >>> ticket = executor.request(published, block, priority=2)      # doctest: +SKIP
    >>> ticket.future.result(timeout=60)                            # doctest: +SKIP
    """

    future: Future
    """The result, or the evaluation's error. Cancelling it releases the ticket, so `asyncio.wrap_future` just works."""

    def __init__(self, executor: Executor, work: Work, priority: float) -> None:
        self.future = Future()
        self.priority = priority
        self._executor = executor
        self._work = work
        self._wasted: Callable[[], None] | None = None
        self.future.add_done_callback(partial(_withdraw_if_cancelled, weakref.ref(self)))

    def prioritise(self, priority: float) -> None:
        """This asker is in more of a hurry than it was, or in less: what has not begun changes its place."""
        self._executor._prioritise(self._work, self, priority)

    def release(self, wasted: Callable[[], None] | None = None) -> None:
        """This asker no longer waits; when it was the last one, the work is dropped or told to stop.

        `wasted` is called, now or later, where something was computed for this asker in vain: the block is there, or
        its evaluation had begun and nobody stayed who waited for it.
        """
        self._wasted = wasted
        if not self.future.cancel() and wasted is not None:
            wasted()


def _withdraw_if_cancelled(claim: weakref.ref[Ticket], future: Future) -> None:
    """A future keeps its callbacks: would this one hold the ticket, results lived on until Python looks for circles."""
    ticket = claim()  # its work has it as long as there is something to withdraw
    if ticket is not None and future.cancelled():
        ticket._executor._withdraw(ticket._work, ticket)


class Work:
    """One block of one chain, however many wait for it. Changed only under the executor's lock."""

    def __init__(self, key: tuple[str, Any], document: Document, order: int, seconds: float) -> None:
        self.key = key
        self.document = document
        self.order = order
        self.seconds = seconds  # that it is expected to take
        self.tickets: set[Ticket] = set()
        self.priority = float("inf")
        self.token = ""  # of the try that is under way
        self.tries = 0
        self.deadline = float("inf")
        self.abandoned = False
        self.left: list[Callable[[], None]] = []  # told where it was evaluated and nobody stayed
        self.hinted = False  # the backend was told to expect it


@dataclass(frozen=True)
class Progress:
    """How far the work on a chain is."""

    queued: int
    running: int
    position: int | None
    """Blocks of any chain that go before the next one of this; 0 where one is running, None where none waits."""
    expected_seconds: float | None
    """Until the last of them is there."""


NOTHING_WAITS = Progress(0, 0, None, None)


class Executor:
    """Priority queue of blocks before a backend: where work is shared, and ends when its askers have left it.

    - Requests for the same (chain, block) share one evaluation, also when it is already running.
    - The lowest priority number goes first, in order of arrival among equals; a later asker in more of a hurry pulls
      the block forward.
    - At most about twice as many blocks as there are threads, or `UNDER_WAY` seconds of work, are handed over, so that
      what nobody waits for any more can still be dropped; running work of which the last asker leaves gets its
      cancel flag.
    - A block that does not come back within `task_seconds` (`MUSES_TASK_SECONDS`, default 900) fails with a
      `ComputeError`. One that was told to stop gives its place to others after `MUSES_STUCK_SECONDS` (default 60).
    """

    def __init__(self, backend: Backend, task_seconds: float | None = None) -> None:
        self.backend = backend
        self._task_seconds = task_seconds or number("MUSES_TASK_SECONDS")
        self._stuck_seconds = number("MUSES_STUCK_SECONDS")
        self._lock = threading.Lock()
        self._wanted: dict[tuple[str, Any], Work] = {}  # what a new asker can join
        self._heap: list[tuple[float, int, int, Work]] = []  # entries whose priority has changed since are skipped
        self._queued: set[Work] = set()
        self._running: set[Work] = set()
        self._name = secrets.token_hex(16)
        self._count = itertools.count()
        self._events: Counter[str] = Counter()
        self._pumping = self._pump_again = False
        self._held_above = float("inf")
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None

    def request(
        self, published: Document, task: Any, priority: float = 0.0, seconds: float = 0.0, hint: bool = False
    ) -> Ticket:
        """Asks for one block; returns at once.

        Lower numbers of `priority` go sooner; `seconds` are what it is expected to take. With `hint` the backend is
        told of it now, not only when its turn comes: it reads remote files.
        """
        key = (published.hash, task)
        with self._lock:
            if self._closing.is_set():
                raise ComputeError("this executor is closed; ask muses_lab.compute.executor() for a new one")
            work = self._wanted.get(key)
            if work is None:
                work = self._wanted[key] = Work(key, published, next(self._count), seconds)
                self._queued.add(work)
                if hint:
                    work.hinted = True
                    self.backend.prefetch(*key)
            ticket = Ticket(self, work, priority)
            work.tickets.add(ticket)
            self._rank(work)
        self._pump()
        return ticket

    def hold(self, above: float = float("inf")) -> None:
        """Begins nothing of a higher number of priority from now on; without one all goes on."""
        with self._lock:
            self._held_above = above
        self._pump()

    def status(self) -> dict[str, Any]:
        """Backend, workers, threads; how many blocks wait and run, and for how long; what became of all there were.

        `counts`, since the start: blocks `submitted` to the backend (again, too), `finished` with a result or an error,
        `dropped` before they were submitted, `stopped` while they were under way.
        """
        with self._lock:
            counts = {"queued": len(self._queued), "running": len(self._running)}
            events = {name: self._events[name] for name in ("submitted", "finished", "dropped", "stopped")}
        return {**self.backend.status(), **counts, "expected_seconds": self.expected_seconds(), "counts": events}

    def expected_seconds(self) -> float:
        """Until all that is asked for is there."""
        with self._lock:
            work = sum(w.seconds for w in self._queued) + sum(w.seconds for w in self._running) / 2
        return work / max(1, self.backend.threads)

    def progress(self, chain_hash: str) -> Progress:
        """How far the work on a chain is: from memory, at once."""
        with self._lock:
            waiting = sorted(self._queued, key=lambda w: (w.priority, w.order))
            running = list(self._running)
        places = [place for place, work in enumerate(waiting) if work.key[0] == chain_hash]
        active = sum(work.key[0] == chain_hash and not work.abandoned for work in running)
        if not places and not active:
            return NOTHING_WAITS
        last = places[-1] + 1 if places else 0
        seconds = sum(w.seconds for w in waiting[:last]) + sum(w.seconds for w in running) / 2
        position = 0 if active else places[0]
        return Progress(len(places), active, position, seconds / max(1, self.backend.threads))

    def counters(self, timeout: float = 10) -> dict[str, int]:
        """The engine's counters, summed over the workers."""
        return self.backend.counters(timeout)

    def keeps(self, names: Sequence[tuple[Any, ...]], timeout: float = 10) -> list[bool]:
        """Of each block of a step (node hash, grid, level, row, column), whether a worker has its values already."""
        return self.backend.keeps(names, timeout)

    def close(self) -> None:
        """Drops what is queued, stops what runs, and ends the backend's part in this process."""
        self._closing.set()
        with self._lock:
            works = [*self._queued, *self._running]
            self._queued.clear()
            self._heap.clear()
        for work in works:
            if work.hinted:
                self.backend.cancel_hint(*work.key)
            self._end(work, error=Cancelled("the executor was closed"))
            if work.token:
                self.backend.cancel(work.token)
        self.backend.close()

    # Queue → backend

    def _rank(self, work: Work) -> None:
        """Puts queued work where its most urgent asker wants it."""
        priority = min(ticket.priority for ticket in work.tickets)
        if work in self._queued and priority != work.priority:
            work.priority = priority
            self._push(work)

    def _prioritise(self, work: Work, ticket: Ticket, priority: float) -> None:
        with self._lock:
            ticket.priority = priority
            if ticket in work.tickets:
                self._rank(work)

    def _push(self, work: Work) -> None:
        if len(self._heap) > 1000 + 4 * len(self._queued):  # mostly entries of work that was dropped: let it go
            self._heap = [entry for entry in self._heap if entry[-1] in self._queued]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (work.priority, work.order, next(self._count), work))

    def _next(self) -> Work | None:
        if not self._has_room():
            return None
        while self._heap and self._heap[0][0] <= self._held_above:
            priority, _, _, work = heapq.heappop(self._heap)
            if work in self._queued and priority == work.priority:
                self._queued.discard(work)
                self._running.add(work)
                self._events["submitted"] += 1
                work.token = f"{self._name}-{next(self._count)}"
                work.deadline = monotonic() + self._task_seconds
                return work
        return None

    def _has_room(self) -> bool:
        """Whether the backend has too little to do: cheap blocks would be done before it could be given others."""
        count, threads = len(self._running), max(1, self.backend.threads)
        if count < 2 * threads:
            return True
        cheap = all(work.seconds > 0 for work in self._running)
        return cheap and count < 8 * threads and sum(work.seconds for work in self._running) < UNDER_WAY * threads

    def _pump(self) -> None:
        """Hands work to the backend while there is room. One thread at a time: a backend may answer within submit()."""
        with self._lock:
            self._pump_again = True
            if self._pumping:
                return
            self._pumping = True
        while True:
            with self._lock:
                self._pump_again = False
                work = None if self._closing.is_set() else self._next()
                if work is None and not self._pump_again:
                    self._pumping = False
                    return
            if work is not None:
                self._submit(work)

    def _submit(self, work: Work) -> None:
        self._watch()
        token = work.token
        try:
            future = self._hand_over(work)
        except Exception as error:
            self._end(work, error=error)
            return
        future.add_done_callback(lambda done: self._arrived(work, token, done))
        if work.abandoned:  # between the queue and the backend, where cancel() did not find it
            self.backend.cancel(token)

    def _hand_over(self, work: Work) -> Future:
        document, (chain_hash, task) = work.document, work.key
        return self.backend.submit(chain_hash, lambda: document.payload, task, work.token)

    # Backend → askers

    def _arrived(self, work: Work, token: str, future: Future) -> None:
        if work.token != token:  # given up at its deadline
            return
        error = Cancelled("the backend dropped this block", begun=False) if future.cancelled() else future.exception()
        if isinstance(error, Cancelled) and self._again(work):
            pass
        elif error is not None:
            self._end(work, error=error)
        else:
            self._end(work, result=future.result())
        self._pump()

    def _again(self, work: Work) -> bool:
        """Queues work once more that was cancelled although somebody waits: it had joined an evaluation others left."""
        with self._lock:
            if work.abandoned or not work.tickets or work.tries >= 5 or self._closing.is_set():
                return False
            work.tries += 1
            work.token = ""
            self._running.discard(work)
            self._queued.add(work)
            self._push(work)
            return True

    def _end(self, work: Work, result: Any = None, error: BaseException | None = None) -> None:
        with self._lock:
            if work in self._running and not work.abandoned:
                self._events["finished"] += 1
            self._running.discard(work)
            self._queued.discard(work)
            if self._wanted.get(work.key) is work:
                del self._wanted[work.key]
            tickets, work.tickets = list(work.tickets), set()
            begun = not (isinstance(error, Cancelled) and error.details.get("begun") is False)
            in_vain = work.left if work.abandoned and begun else []
        for tell in in_vain:
            tell()
        for ticket in tickets:  # outside the lock: callbacks may ask for the next block
            if ticket.future.set_running_or_notify_cancel():
                if error is not None:
                    ticket.future.set_exception(error)
                else:
                    ticket.future.set_result(result)

    # Askers that leave, and work that does not come back

    def _withdraw(self, work: Work, ticket: Ticket) -> None:
        with self._lock:
            if ticket not in work.tickets:
                return
            work.tickets.discard(ticket)
            if ticket._wasted is not None:
                work.left.append(ticket._wasted)
            if work.tickets:
                self._rank(work)
                return
            work.abandoned = True
            if self._wanted.get(work.key) is work:
                del self._wanted[work.key]  # a new asker must not join work that is about to stop
            self._events["dropped" if work in self._queued else "stopped"] += 1
            if work in self._queued and work.hinted:
                self.backend.cancel_hint(*work.key)
            self._queued.discard(work)
            token = work.token if work in self._running else ""
            work.deadline = min(work.deadline, monotonic() + self._stuck_seconds)  # its place is not kept for ever
        if token:
            self.backend.cancel(token)

    def _watch(self) -> None:
        with self._lock:
            if self._watcher is None and not self._closing.is_set():
                self._watcher = threading.Thread(target=self._give_up_late_work, name="muses-deadlines", daemon=True)
                self._watcher.start()

    def _give_up_late_work(self) -> None:
        while not self._closing.wait(min(1.0, self._task_seconds / 4)):
            with self._lock:
                late = [(work, work.token) for work in self._running if work.deadline < monotonic()]
                for work, _ in late:
                    work.token = ""
            for work, token in late:
                chain_hash, task = work.key
                self.backend.cancel(token)
                text = f"{task!r} of chain {chain_hash[:12]} did not come back within {self._task_seconds:g} s"
                self._end(work, error=ComputeError(f"{text}; MUSES_TASK_SECONDS allows more", task=repr(task)))
            if late:
                self._pump()
