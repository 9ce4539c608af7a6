"""Backend that evaluates in threads of this process: for scripts and tests that want no second process."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any

from muses_lab.compute.niceness import give_way
from muses_lab.compute.tasks import CancelFlags, Engine, cancel_hint, engine, hint, is_missing
from muses_lab.errors import Cancelled, ComputeError
from muses_lab.resources.helpers import HELPERS
from muses_lab.settings import number


class ThreadsBackend:
    """Runs blocks with this process's engine in `MUSES_THREADS` threads (default: as many as cores).

    The threads are daemons: Python's own pool would hold the interpreter's exit until the last read has ended, before
    any handler of ours could set a cancel flag.
    """

    name = "threads"

    def __init__(self, threads: int | None = None, make_engine: Callable[[], Engine] = engine) -> None:
        self.threads = threads or max(1, int(number("MUSES_THREADS", os.cpu_count() or 1)))
        HELPERS.threads = max(HELPERS.threads, self.threads)
        self._engine = make_engine
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._flags = CancelFlags()
        self._running: set[str] = set()
        self._expected: dict[str, dict[Any, None]] = {}
        """Chain → tasks."""
        self._here: Engine | None = None
        """The engine, once it is there."""
        self._lock = threading.Lock()
        self._closed = False
        self._pool = [threading.Thread(target=self._work, name=f"muses-{n}", daemon=True) for n in range(self.threads)]
        for thread in self._pool:
            thread.start()

    def prefetch(self, chain_hash: str, task: Any) -> None:
        with self._lock:
            self._expected.setdefault(chain_hash, {})[task] = None
        if self._here is not None and self._here.has(chain_hash):
            hint(self._here, chain_hash, task)

    def cancel_hint(self, chain_hash: str, task: Any) -> None:
        with self._lock:
            of_chain = self._expected.get(chain_hash, {})
            of_chain.pop(task, None)
            if not of_chain:
                self._expected.pop(chain_hash, None)
        if self._here is not None:
            cancel_hint(self._here, chain_hash, task)

    def submit(self, chain_hash: str, payload: Callable[[], bytes], task: Any, token: str) -> Future:
        future: Future = Future()
        self._running.add(token)

        def job() -> None:
            try:
                future.set_result(self._evaluate(chain_hash, payload, task, token))
            except Exception as error:
                future.set_exception(error)
            finally:
                self._running.discard(token)
                self._flags.discard(token)

        self._jobs.put(job)
        return future

    def _evaluate(self, chain_hash: str, payload: Callable[[], bytes], task: Any, token: str) -> Any:
        here = self._here = self._engine()
        try:
            return self._evaluated(here, chain_hash, payload, task, token)
        finally:
            self.cancel_hint(chain_hash, task)

    def _evaluated(self, here: Engine, chain_hash: str, payload: Callable[[], bytes], task: Any, token: str) -> Any:
        for _ in range(3):  # a full engine may drop the document before it runs
            if self._closed or token in self._flags:
                raise Cancelled("nobody waits for this block any more", begun=False)
            if not here.has(chain_hash):
                here.put(chain_hash, payload())
                with self._lock:
                    expected = list(self._expected.get(chain_hash, ()))
                for next_task in expected:
                    hint(here, chain_hash, next_task)
            try:
                return here.run(chain_hash, task, lambda: self._closed or token in self._flags)
            except Exception as error:
                if not is_missing(error):
                    raise
        raise ComputeError(f"the engine does not keep the document {chain_hash}; is its cache too small for it?")

    def cancel(self, token: str) -> None:
        if token in self._running:
            self._flags.add([token])

    def status(self) -> dict[str, Any]:
        return {"backend": self.name, "workers": 1, "threads": self.threads, "state": "ready"}

    def counters(self, timeout: float = 10) -> dict[str, int]:
        return self._engine().counters()

    def keeps(self, names: Sequence[tuple[Any, ...]], timeout: float = 10) -> list[bool]:
        return self._engine().keeps(names)

    def close(self, timeout: float = 5) -> None:
        self._closed = True
        for _ in self._pool:
            self._jobs.put(None)
        end = monotonic() + timeout
        for thread in self._pool:
            thread.join(max(0.0, end - monotonic()))

    def _work(self) -> None:
        give_way()
        while (job := self._jobs.get()) is not None:
            job()
