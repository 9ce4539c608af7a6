"""What the handlers of the class's evaluator share: who asks, the engine under a budget, chains, blocks, counters."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from tornado.httputil import HTTPHeaders

from muses_lab.compute.queue import Executor
from muses_lab.compute.threads import ThreadsBackend
from muses_lab.courses.folder import courses_folder
from muses_lab.engine import Engine
from muses_lab.errors import MusesError
from muses_lab.evaluator.blocks import Blocks
from muses_lab.evaluator.chains import Chains
from muses_lab.evaluator.pinned import PinnedScenes
from muses_lab.evaluator.warming import Warming
from muses_lab.resources.pool import Pool
from muses_lab.settings import number
from muses_lab.store import default_store
from muses_lab.store.records import Who


class Names(Protocol):
    """Says who asks; `hub.access.Access` on a hub."""

    async def who(self, headers: HTTPHeaders) -> Who: ...


class Evaluator:
    """The evaluator's process.

    It evaluates in threads of its own. Beside it an embedded cluster was measured (`benchmarks.class_load --evaluator
    embedded`): ten participants had their first view in 6 and 16 s instead of 18 and 28, the cluster's start included,
    with 870 MiB instead of 1160.

    `MUSES_COURSE_BYTES` is for all of it: five eighths for the engine (decoded blocks, steps, evaluations), a quarter
    for finished blocks, an eighth for chains. A finished block that the engine keeps, too, is there once.
    """

    def __init__(self, access: Names, executor: Executor | None = None) -> None:
        self.access = access
        budget = int(number("MUSES_COURSE_BYTES"))
        threads = int(number("MUSES_COURSE_THREADS", os.cpu_count() or 1))
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()
        self._engine_bytes = budget * 5 // 8
        self.executor = executor or Executor(ThreadsBackend(threads, self.engine))
        self.warming = Warming(courses_folder(), max(1, threads // 2))
        self.chains = Chains(PinnedScenes(courses_folder()), budget // 8)
        self.blocks = Blocks(self.chains, self.executor, budget // 4, default_store)
        self.pool = Pool("reading chains", 4, number("MUSES_TILE_TIMEOUT"))
        self.max_document = int(number("MUSES_MAX_DOCUMENT"))
        self.max_artefact = min(int(number("MUSES_MAX_ARTEFACT")), budget // 64)
        """As objects they take many times that, for a moment."""
        self.receiving: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        """Bytes of bodies that are being received, by handler: one whose connection is lost counts no more."""
        self.requests: Counter[str] = Counter()
        """Under way, by participant."""
        self.under_way: dict[tuple[str, str], asyncio.Future[Any]] = {}
        """Blocks that are waited for, by participant and token."""
        self.sent = 0
        """Bytes of blocks."""
        self.refusals: Counter[str] = Counter()
        self._reading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def engine(self) -> Engine:
        """The one engine; made when it is first asked for, which takes a second."""
        with self._engine_lock:
            if self._engine is None:
                from muses_lab.engine.warm import warm  # what the kernels take is not the budget's

                warm()
                self._engine = Engine(self._engine_bytes)
            return self._engine

    def preload(self) -> None:
        """Makes the engine ready where there is a course to compute for; without one it takes no memory."""
        self.chains.pinned.look()
        if self.chains.pinned.courses:
            self.engine()

    @asynccontextmanager
    async def reading(self, who: str) -> AsyncIterator[None]:
        """One chain or artefact of a participant is read at a time: the others wait, and keep no thread."""
        async with self._reading[who]:
            yield

    def refused(self, error: MusesError) -> None:
        self.refusals[error.code] += 1

    def status(self, who: str) -> dict[str, Any]:
        """What a participant's server asks once a second while it waits.

        `done` counts whatever is done for anybody: where it stands still, nothing is.
        """
        engine = self.engine_counters()
        counts = self.blocks.counts
        done = counts["served"] + counts["evaluated"] + engine.get("blocks_decoded", 0) + engine.get("evaluations", 0)
        return {**self.blocks.status(who), "done": done, "courses": self.chains.pinned.courses}

    def engine_counters(self) -> dict[str, int]:
        """The engine's; nothing before it is there."""
        return self._engine.counters() if self._engine is not None else {}

    def close(self) -> None:
        self.warming.close()
        self.executor.close()
