"""The engine of one process: documents, one cache, and the evaluation of blocks. No Dask, no Jupyter, no HTTP."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from muses_lab import settings
from muses_lab.document import graph
from muses_lab.engine.arrays import Run, on_axis
from muses_lab.engine.execute import Evaluator, Value
from muses_lab.engine.graph import Step
from muses_lab.engine.keys import BlockKey, Missing, NodeKey, OnceKey, RectKey
from muses_lab.engine.materialized import MaterializedBlocks
from muses_lab.engine.mosaic import Report
from muses_lab.engine.prefetch import Prefetch, Prefetcher
from muses_lab.engine.published import Published
from muses_lab.engine.stages import Piece, Stage
from muses_lab.engine.strips import task_bytes, whole_bytes
from muses_lab.errors import NotFound
from muses_lab.raster import http
from muses_lab.raster.blocks import Counters
from muses_lab.raster.byte_ranges import Hint
from muses_lab.raster.grid import BLOCK, Grid
from muses_lab.raster.reader import Reader
from muses_lab.resources.helpers import HELPERS
from muses_lab.resources.memory import Memory

Task = BlockKey | RectKey | NodeKey

_KEPT_DOCUMENTS = 256
_KEPT_HINTS = 256
_HINT_SECONDS = 120.0
"""After which an announcement counts no more: who made it may be gone."""


@dataclass(frozen=True)
class Result:
    """What a task gives back: the pixels of a block, or the bytes of a whole `region` or `fit` node."""

    values: np.ndarray | None
    """(t, bands, y, x), those that the chain has; NaN where missing."""
    report: Report = field(default_factory=Report)
    body: bytes | None = None
    seconds: float = 0.0

    @property
    def nbytes(self) -> int:
        return (0 if self.values is None else self.values.nbytes) + len(self.body or b"")


class Engine:
    """Evaluates blocks of the chains that it was given; thread-safe, one in a process."""

    def __init__(self, budget: int | None = None) -> None:
        self.memory = Memory(settings.worker_bytes() if budget is None else budget)
        self.cache = self.memory.cache
        self._counters = Counters()
        self.reader = Reader(self.cache, self._counters, self.memory.use, self.memory.buffers.empty)
        self.materialized = MaterializedBlocks()
        self._hinted: dict[tuple[str, Task], tuple[float, Hint]] = {}
        """With the time when it was announced."""
        self._prefetcher = Prefetcher(self.reader)
        self.evaluator = Evaluator(self.reader, self.memory, self.materialized, self._counters)
        self._documents: OrderedDict[str, Published] = OrderedDict()
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------ documents

    def has(self, chain_hash: str) -> bool:
        return chain_hash in self._documents

    def put(self, chain_hash: str, payload: bytes) -> None:
        """Keeps a document, by `Published.hash`."""
        self.keep(chain_hash, Published.from_payload(payload))

    def keep(self, chain_hash: str, published: Published) -> None:
        with self._lock:
            self._documents[chain_hash] = published
            self._documents.move_to_end(chain_hash)
            while len(self._documents) > _KEPT_DOCUMENTS:
                self._documents.popitem(last=False)

    def _document(self, chain_hash: str) -> Published:
        with self._lock:
            try:
                self._documents.move_to_end(chain_hash)
                return self._documents[chain_hash]
            except KeyError:
                raise Missing(chain_hash) from None

    # ----------------------------------------------------------------------------------------------- tasks

    def hint(self, chain_hash: str, task: Task) -> None:
        """Says that a block will be evaluated soon: what it reads of remote files comes while others are evaluated.

        Returns at once; `run` or `cancel_hint` ends it.
        """
        published = self._documents.get(chain_hash)
        if published is None or isinstance(task, NodeKey):
            return
        prepared, output = published.prepared, published.prepared.output
        grid = output.grids.get(task.grid)
        if grid is None or not published.remote:
            return
        if (output.node.hash, *task) in self.cache or self.materialized.covers(output.node.hash, *task[:2], task.rect):
            return
        with self._lock:
            if (chain_hash, task) in self._hinted:
                return
            now, hint = time.monotonic(), self.reader.hint(soon=True)
            self._hinted[chain_hash, task] = now, hint
            late = sum(now - when > _HINT_SECONDS for when, _ in self._hinted.values())
            overdue = list(self._hinted)[: max(late, len(self._hinted) - _KEPT_HINTS)]
        piece = Piece(output, grid, task.level, task.rect)

        def stages() -> Iterable[Stage]:
            shares = isinstance(task, RectKey)
            return self.evaluator.plan(prepared, piece, published.results, shares).stages.values()

        self._prefetcher.add(Prefetch(hint, prepared, stages))
        for key in overdue:
            self.cancel_hint(*key)

    def cancel_hint(self, chain_hash: str, task: Task) -> None:
        """Nobody waits for an announced block any more, or it has been evaluated."""
        with self._lock:
            known = self._hinted.pop((chain_hash, task), None)
        if known is not None:
            known[1].close()

    def run(self, chain_hash: str, task: Task, cancelled: Callable[[], bool]) -> Result:
        """Evaluates a task.

        Raises
        ------
        Missing
            The document is not here; `put` it and ask again.
        Cancelled
            `cancelled()` became true.
        """
        try:
            with HELPERS.working():
                return self._run(chain_hash, task, cancelled)
        finally:
            self.cancel_hint(chain_hash, task)

    def _run(self, chain_hash: str, task: Task, cancelled: Callable[[], bool]) -> Result:
        published = self._document(chain_hash)
        prepared = self.materialized.marked(published.prepared)
        run = Run(prepared, cancelled, published.results, incomplete=published.incomplete, hash=published.hash)
        run.once = isinstance(task, OnceKey)
        start = time.perf_counter()
        if isinstance(task, NodeKey):
            step = prepared.steps.get(task.node)
            if step is None:
                raise NotFound(f"the chain has no node {task.node[:12]}…")
            body = self._whole(run, step)
            return Result(None, run.report, body, time.perf_counter() - start)
        output = prepared.output
        grid = output.grids.get(task.grid)
        if grid is None:
            raise NotFound(f"the chain has no grid {task.grid!r}; it has {', '.join(sorted(output.grids))}")
        _check_results(run, output)
        array, report = self.cache.get((output.node.hash, *task)) or self._block(run, grid, task)
        return Result(np.asarray(on_axis(array, output).data), report, None, time.perf_counter() - start)

    def _block(self, run: Run, grid: Grid, task: BlockKey | RectKey) -> Value:
        """A block of the chain's result, as soon as there is memory for it."""
        output, shares = run.prepared.output, isinstance(task, RectKey)
        piece = Piece(output, grid, task.level, task.rect)
        size = 0
        while True:
            blocks = self.evaluator.plan(run.prepared, piece, run.results, shares)
            size = max(size, task_bytes(run.prepared, blocks, self.memory))
            with self.memory.task(size, run.cancelled) as waited:
                if waited:  # others have evaluated some of it meanwhile, or what was there has gone
                    blocks = self.evaluator.plan(run.prepared, piece, run.results, shares)
                    if task_bytes(run.prepared, blocks, self.memory) > size:
                        continue
                return self.evaluator.block(run, output, grid, task, blocks)

    def keeps(self, names: Sequence[tuple[Any, ...]]) -> list[bool]:
        """Of each block (node hash, grid, level, row, column) whether its values are here: in the cache, or on disk."""
        return [name in self.cache or self.materialized.has(name[0], BlockKey(*name[1:])) for name in names]

    def counters(self) -> dict[str, int]:
        """Blocks and bytes decoded, evaluations, cache use, materialized blocks, since the process began."""
        return {
            "blocks_decoded": self._counters.blocks_decoded,
            "bytes_decoded": self._counters.bytes_decoded,
            "evaluations": self._counters.evaluations,
            "cache_bytes": self.cache.bytes,
            "memory_peak": self.memory.peak,
            "memory_waits": self.memory.waits,
            "cache_hits": self.cache.hits,
            "cache_misses": self.cache.misses,
            "documents": len(self._documents),
            "materialized_blocks": self.materialized.blocks,
            "materialized_failures": len(self.materialized.failures),
            **http.counters(),
        }

    def _whole(self, run: Run, step: Step) -> bytes:
        """The result of a `region` node (a raster) or of the fitting of a `fit` node (JSON), on its pinned extent."""
        _check_results(run, run.prepared[step.data])
        size = whole_bytes(run.prepared, step, self.memory, self.evaluator.is_there, run.results)
        with self.memory.task(size, run.cancelled):

            def compute() -> tuple[bytes, Report]:
                own = run.own()
                return self.evaluator.whole(own, step), own.report

            name = ("whole", step.node.hash, *run.mark(step))
            body, report = self.cache.get_or_compute(
                name, compute, lambda v: len(v[0]) + 256, lambda v: not v[1].failed
            )
        run.add(report)
        return body


def _check_results(run: Run, step: Step) -> None:
    """Refuses what depends on whole extents whose results did not come with the chain: they are tasks of their own."""
    lacking = [one for one in run.prepared.whole_nodes() if one.node.hash not in run.results]
    if lacking:
        below = {node.hash for node in graph.walk(step.node)}
        for one in lacking:
            if one.node.hash in below:
                raise NotFound(f"the result of {one.operator.id!r} is not there: evaluate it first, by its NodeKey")


_ENGINE: Engine | None = None
_ENGINE_LOCK = threading.Lock()


def worker_engine() -> Engine:
    """The process's one engine."""
    global _ENGINE
    with _ENGINE_LOCK:
        if _ENGINE is None:
            from muses_lab.engine.warm import warm  # late: it is a program, too

            warm()  # what the kernels take is not the budget's
            _ENGINE = Engine()
        return _ENGINE


__all__ = ["BLOCK", "Engine", "Result", "worker_engine"]
