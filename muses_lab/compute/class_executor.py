"""Blocks of what maps show, by the class's evaluator where it computes them, else by the participant's own cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from muses_lab.compute.class_link import ClassLink, Elsewhere
from muses_lab.compute.queue import NOTHING_WAITS, Document, Executor, Progress, Ticket, Work
from muses_lab.engine import Published
from muses_lab.errors import Cancelled

AHEAD = 1e12
"""Priority from which on nobody has asked for a block yet (`service.prefetch.LAST`)."""


class ClassExecutor(Executor):
    """The queue of what is asked of the class's evaluator, before the executor of one's own.

    What the evaluator does not take goes to `own` at once: private chains, chains that read other scenes than those of
    a course, everything while the evaluator is away. What it has taken and does not give goes there then.

    Few blocks are with the evaluator at a time (see `Executor`): the others wait here, in the order of the
    participant's own maps, so that leaving them costs nobody anything.
    """

    def __init__(self, own: Executor, link: ClassLink) -> None:
        self.own = own
        self.link = link
        super().__init__(ClassBackend(own, link))

    def request(
        self, published: Document, task: Any, priority: float = 0.0, seconds: float = 0.0, hint: bool = False
    ) -> Ticket:
        if not self.link.takes(published):
            return self.own.request(published, task, priority, seconds, hint)
        return super().request(published, task, priority, seconds)

    def hold(self, above: float = float("inf")) -> None:
        super().hold(above)
        self.own.hold(above)

    def status(self) -> dict[str, Any]:
        """As of any executor, of both together, and `class`: the state of the evaluator and of the class's queue, and
        `elsewhere`: how many blocks the executor of one's own has computed."""
        mine, own = super().status(), self.own.status()
        sums = {name: mine[name] + own[name] for name in ("queued", "running", "expected_seconds")}
        counts = {name: mine["counts"][name] + own["counts"][name] for name in mine["counts"]}
        shown = mine if mine["class"]["state"] == "ready" and not own["queued"] + own["running"] else own
        told = {**mine["class"], "elsewhere": own["counts"]["finished"]}
        return {**shown, **sums, "counts": counts, "class": told}

    def expected_seconds(self) -> float:
        return super().expected_seconds() + self.own.expected_seconds()

    def progress(self, chain_hash: str) -> Progress:
        theirs, own = super().progress(chain_hash), self.own.progress(chain_hash)
        if NOTHING_WAITS in (theirs, own):
            return own if theirs == NOTHING_WAITS else theirs
        first = min(one.position for one in (theirs, own) if one.position is not None)
        seconds = (theirs.expected_seconds or 0.0) + (own.expected_seconds or 0.0)
        return Progress(theirs.queued + own.queued, theirs.running + own.running, first, seconds)

    def _hand_over(self, work: Work) -> Future:
        backend = self.backend
        assert isinstance(backend, ClassBackend)
        return backend.ask(work)


class ClassBackend:
    """The class's evaluator as a backend, with the executor that takes what it does not give."""

    name = "class"

    def __init__(self, own: Executor, link: ClassLink) -> None:
        self._own = own
        self._link = link
        self._elsewhere: dict[str, Ticket | None] = {}
        """By token of a block that was handed over: where it is computed instead, if it is."""
        self._lock = threading.Lock()

    @property
    def threads(self) -> int:
        return self._link.threads

    def ask(self, work: Work) -> Future:
        """The result of a block, from whoever gives it."""
        token, done = work.token, Future[Any]()
        with self._lock:
            self._elsewhere[token] = None

        def answered(future: Future[Any]) -> None:
            error = Cancelled("nobody waits for this block any more") if future.cancelled() else future.exception()
            with self._lock:
                left = token not in self._elsewhere
            if isinstance(error, Elsewhere) and not left:
                self._compute(work, token, done)
            else:
                self._end(token, done, future, error)

        assert isinstance(work.document, Published)  # nothing else is taken
        self._link.ask(work.document, work.key[1], token, work.priority >= AHEAD).add_done_callback(answered)
        return done

    def _compute(self, work: Work, token: str, done: Future) -> None:
        """By the executor of one's own."""
        try:
            ticket = self._own.request(work.document, work.key[1], work.priority, work.seconds)
        except Exception as error:
            self._end(token, done, None, error)
            return
        with self._lock:
            left = token not in self._elsewhere
            if not left:
                self._elsewhere[token] = ticket
        ticket.future.add_done_callback(lambda future: self._computed(token, done, future))
        if left:
            ticket.release()

    def _computed(self, token: str, done: Future, future: Future) -> None:
        error = Cancelled("nobody waits for this block any more") if future.cancelled() else future.exception()
        self._end(token, done, future, error)

    def _end(self, token: str, done: Future, future: Future | None, error: BaseException | None) -> None:
        with self._lock:
            self._elsewhere.pop(token, None)
        if error is not None:
            done.set_exception(error)
        else:
            assert future is not None
            done.set_result(future.result())

    def cancel(self, token: str) -> None:
        with self._lock:
            ticket = self._elsewhere.pop(token, None)
        if ticket is not None:
            ticket.release()
        self._link.cancel(token)

    def status(self) -> dict[str, Any]:
        told = self._link.status()
        return {"backend": self.name, "workers": 1, "threads": self.threads, "state": told["state"], "class": told}

    def counters(self, timeout: float = 10) -> dict[str, int]:
        return self._own.counters(timeout)

    def keeps(self, names: Sequence[tuple[Any, ...]], timeout: float = 10) -> list[bool]:
        return self._own.keeps(names, timeout)

    # Of the protocol, but not asked of this one: what is handed over is known with its document and place.

    def submit(self, chain_hash: str, payload: Callable[[], bytes], task: Any, token: str) -> Future:
        raise TypeError("the class's evaluator is asked by ClassExecutor")

    def prefetch(self, chain_hash: str, task: Any) -> None:
        """The evaluator reads ahead by itself."""

    def cancel_hint(self, chain_hash: str, task: Any) -> None:
        """See `prefetch`."""

    def close(self) -> None:
        self._link.close()
