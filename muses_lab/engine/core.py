"""The engine of one process: documents, one cache, and the evaluation of blocks. No Dask, no Jupyter, no HTTP."""

from __future__ import annotations

import io
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab import remote, settings
from muses_lab.engine.ahead import Asking
from muses_lab.engine.evaluate import (
    DIMS,
    Ready,
    Run,
    call,
    check_size,
    cut,
    demand,
    evaluate,
    is_apart,
    keeps_blocks,
    loads,
    on_axis,
)
from muses_lab.engine.fetch import Expectations, Expected, Fetch
from muses_lab.engine.footprint import fit_or_pinned, image_bytes, strips, task_bytes, whole_bytes
from muses_lab.engine.fuse import Unfit, compiled
from muses_lab.engine.fused import evaluate_fused
from muses_lab.engine.grid import BLOCK, Grid, Rect, block_rect, places
from muses_lab.engine.keys import BlockKey, Missing, NodeKey, RectKey
from muses_lab.engine.layout import Report, layout, put
from muses_lab.engine.memory import Memory, keep_freed
from muses_lab.engine.program import CHANGES_GRID, Program, Step
from muses_lab.engine.pyramid import Pyramids
from muses_lab.engine.read import Counters, Holding, Read, Reader
from muses_lab.engine.resolved import Resolved
from muses_lab.errors import NotFound
from muses_lab.operators import Fit, Focal, Region

Task = BlockKey | RectKey | NodeKey

_KEPT_DOCUMENTS = 256
_KEPT_ANNOUNCED = 256
_ANNOUNCED_SECONDS = 120.0
"""After which an announcement counts no more: who made it may be gone."""
_PIECE = 2048
"""Rows and columns of a window that are laid out at a time."""


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
        self.pyramids = Pyramids()
        self._announced: dict[tuple[str, Task], tuple[float, Asking]] = {}
        """With the time when it was announced."""
        self._expectations = Expectations(self.reader)
        self._documents: OrderedDict[str, Resolved] = OrderedDict()
        self._marked: WeakKeyDictionary[Program, Program] = WeakKeyDictionary()
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------ documents

    def has(self, chain_hash: str) -> bool:
        return chain_hash in self._documents

    def put(self, chain_hash: str, payload: bytes) -> None:
        """Keeps a document, by `Resolved.hash`."""
        self.keep(chain_hash, Resolved.from_payload(payload))

    def keep(self, chain_hash: str, resolved: Resolved) -> None:
        with self._lock:
            self._documents[chain_hash] = resolved
            self._documents.move_to_end(chain_hash)
            while len(self._documents) > _KEPT_DOCUMENTS:
                self._documents.popitem(last=False)

    def _document(self, chain_hash: str) -> Resolved:
        with self._lock:
            try:
                self._documents.move_to_end(chain_hash)
                return self._documents[chain_hash]
            except KeyError:
                raise Missing(chain_hash) from None

    # ----------------------------------------------------------------------------------------------- tasks

    def announce(self, chain_hash: str, task: Task) -> None:
        """Says that a block will be evaluated soon: what it reads of remote files comes while others are evaluated.

        Returns at once; `run` or `withdraw` ends it.
        """
        resolved = self._documents.get(chain_hash)
        if resolved is None or isinstance(task, NodeKey):
            return
        program, output = resolved.program, resolved.program.output
        grid = output.grids.get(task.grid)
        if grid is None or not resolved.remote:
            return
        if (output.node.hash, *task) in self.cache or self.pyramids.covers(output.node.hash, *task[:2], task.rect):
            return
        with self._lock:
            if (chain_hash, task) in self._announced:
                return
            now, asking = time.monotonic(), self.reader.asking(soon=True)
            self._announced[chain_hash, task] = now, asking
            late = sum(now - when > _ANNOUNCED_SECONDS for when, _ in self._announced.values())
            overdue = list(self._announced)[: max(late, len(self._announced) - _KEPT_ANNOUNCED)]
        level, rect, knows = task.level, task.rect, self._knows(task)
        reads = partial(loads, program, output, grid, level, rect, knows)
        self._expectations.add(Expected(asking, program, grid, level, reads))
        for key in overdue:
            self.withdraw(*key)

    def withdraw(self, chain_hash: str, task: Task) -> None:
        """Nobody waits for an announced block any more, or it has been evaluated."""
        with self._lock:
            known = self._announced.pop((chain_hash, task), None)
        if known is not None:
            known[1].close()

    def _knows(self, task: BlockKey | RectKey) -> Callable[[Step, Rect], bool]:
        """Whether all blocks of a step under a rectangle of the task's grid and level are kept."""

        def knows(step: Step, rect: Rect) -> bool:
            return all((step.node.hash, task.grid, task.level, *block) in self.cache for block in rect.blocks())

        return knows

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
            return self._run(chain_hash, task, cancelled)
        finally:
            self.withdraw(chain_hash, task)

    def _run(self, chain_hash: str, task: Task, cancelled: Callable[[], bool]) -> Result:
        resolved = self._document(chain_hash)
        program = self._program(resolved)
        run = Run(program, cancelled, results=resolved.results)
        start = time.perf_counter()
        if isinstance(task, NodeKey):
            step = program.steps.get(task.node)
            if step is None:
                raise NotFound(f"the chain has no node {task.node[:12]}…")
            with self.memory.task(whole_bytes(program, step, self.memory, run.results), cancelled):
                return Result(None, run.report, self.whole(run, step), time.perf_counter() - start)
        output = program.output
        grid = output.grids.get(task.grid)
        if grid is None:
            raise NotFound(f"the chain has no grid {task.grid!r}; it has {', '.join(sorted(output.grids))}")
        known = self.cache.get((output.node.hash, *task))
        if known is None:
            with self.memory.task(
                task_bytes(program, output, grid, task.level, task.rect, self.memory, run.results), cancelled
            ):
                known = self._block(run, output, grid, task)
        array, report = known
        return Result(np.asarray(on_axis(array, output).data), report, None, time.perf_counter() - start)

    def _program(self, resolved: Resolved) -> Program:
        """A chain's program, with the steps marked of which there are blocks on disk."""
        program = resolved.program
        on_disk = self.pyramids.known() & program.steps.keys()
        if not on_disk:
            return program
        kept = {node for node in on_disk if not program.steps[node].meta.time}
        with self._lock:
            marked = self._marked.get(program)
            if marked is None or kept != {node for node, step in marked.steps.items() if step.kept}:
                marked = self._marked[program] = program.with_kept(kept)
            return marked

    def counters(self) -> dict[str, int]:
        """Blocks and bytes decoded, evaluations, cache use, blocks from pyramids, since the process began."""
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
            "pyramid_blocks": self.pyramids.blocks,
            "pyramid_failures": len(self.pyramids.failures),
            **remote.counters(),
        }

    # ----------------------------------------------------------------------------------------------- blocks

    def _block(self, run: Run, step: Step, grid: Grid, key: BlockKey | RectKey) -> tuple[xr.DataArray, Report]:
        """A block or rectangle of a step, kept in the cache; one evaluation for all who ask."""

        def compute() -> tuple[xr.DataArray, Report]:
            found = self.pyramids.block(step, key) if isinstance(key, BlockKey) else None
            if found is not None:
                return found
            own = run.own()
            with self._lock:
                self._counters.evaluations += 1
            evaluate = self._evaluate if isinstance(key, BlockKey) else self._from_shared
            array = evaluate(own, step, grid, key.level, key.rect)
            return compact(array), own.report

        value, report = self.cache.get_or_compute((step.node.hash, *key), compute, _nbytes, _complete)
        run.add(report)
        return value, report

    def _evaluate(self, run: Run, step: Step, grid: Grid, level: int, rect: Rect) -> xr.DataArray:
        """A step on a rectangle, whatever kind it is."""
        process = step.node.process
        if isinstance(step.operator.support, Region):
            return self._raster(run, step, grid, level, rect)
        if process in CHANGES_GRID:
            return self.window(run, run.program[step.arguments["data"]], grid.geobox(level, rect))
        if process == "muses:at_resolution":
            return self._at_resolution(run, step, grid, level, rect)
        start = time.perf_counter()
        results = self._in_strips(run, step, grid, level, rect)
        array = results.pop(step.node.hash)
        row, col = rect.r0 // BLOCK, rect.c0 // BLOCK
        if results and rect == block_rect(row, col) and not run.failed:
            seconds = time.perf_counter() - start
            for hash, beside in results.items():  # other reducers of the same values cost next to nothing
                value = compact(beside), run.report
                self.cache.put((hash, *BlockKey(grid.id, level, row, col)), value, _nbytes(value), seconds)
        return array

    def _in_strips(self, run: Run, step: Step, grid: Grid, level: int, rect: Rect) -> dict[str, xr.DataArray]:
        """A step, and what comes with it, on a rectangle by hash: in as many strips of rows as memory demands."""
        cut = strips(run.program, step, grid, level, rect, self.memory.piece)
        self.memory.check(cut.size)
        if len(cut.rects) <= 1:
            return self._at_once(run, step, grid, level, rect, cut.size, self.reader.stored, {})
        fetch = Fetch(self.reader, run.program, grid, level, (), run.cancelled)
        with self.memory.work(image_bytes(run.program, step, rect.shape)), fetch:
            ready = self._ready(run, step, grid, level, rect)
            holding = Holding(self.reader, rect)
            if cut.held:
                fetch.now(loads(run.program, step, grid, level, rect, lambda *_: True))
            while True:
                failed = len(run.failed)
                outs: dict[str, xr.DataArray] = {}
                for strip in cut.rects:
                    read = holding.at(strip) if cut.held else self.reader.stored
                    found = self._at_once(run, step, grid, level, strip, cut.size, read, ready)
                    for hash, values in found.items():
                        outs[hash] = _put(values, run.program.steps[hash], strip, rect, outs.get(hash))
                    if len(run.failed) > failed:
                        break  # a scene that fails is left out everywhere here, so from the beginning
                else:
                    return outs

    def _ready(self, run: Run, step: Step, grid: Grid, level: int, rect: Rect) -> dict[str, Ready]:
        """Images below that are evaluations of their own: once for all strips, so that their blocks are kept."""
        demands, order = demand(run.program, step, grid, level, rect)
        found: dict[str, Ready] = {}
        for below in order:
            if is_apart(below, step) and not below.meta.time:
                run.check()
                need = demands[below.node.hash]
                found[below.node.hash] = Ready(need.rect, self.piece(run, below, grid, level, need.rect, need.times))
        return found

    def _at_once(
        self, run: Run, step: Step, grid: Grid, level: int, rect: Rect, size: int, read: Read, ready: dict[str, Ready]
    ) -> dict[str, xr.DataArray]:
        """A step on a rectangle by its program, with what that gives beside it, or operator by operator."""
        program = compiled(run.program, step)
        if program is not None:
            with suppress(Unfit):
                return evaluate_fused(self, run, program, step, grid, level, rect, size, read, ready)
        return {step.node.hash: evaluate(self, run, step, grid, level, rect, size, read, ready)}

    def piece(
        self, run: Run, step: Step, grid: Grid, level: int, rect: Rect, times: frozenset[np.datetime64] | None
    ) -> xr.DataArray:
        """A step on any rectangle, from its kept blocks where it has some; what is computed whole is kept."""
        check_size(rect)
        if not keeps_blocks(step):
            array = self._evaluate(run, step, grid, level, rect)
        else:
            array = self._from_blocks(run, step, grid, level, rect)
        if times is not None and "t" in array.dims:
            array = array.sel(t=[t for t in array.t.values if t in times])
        return array

    def _from_shared(self, run: Run, step: Step, grid: Grid, level: int, rect: Rect) -> xr.DataArray:
        """A step on a rectangle, from whole blocks of the images below: its neighbours need these, too."""
        return self.piece(replace(run, shares=True), step, grid, level, rect, None)

    def _from_blocks(self, run: Run, step: Step, grid: Grid, level: int, rect: Rect) -> xr.DataArray:
        keys = [BlockKey(grid.id, level, row, col) for row, col in rect.blocks()]
        if len(keys) == 1 and rect == keys[0].rect:
            return self._block(run, step, grid, keys[0])[0]
        known = {k: self.cache.get((step.node.hash, *k)) or self.pyramids.has(step.node.hash, k) for k in keys}
        # The blocks of images are shared by rectangles beside each other; a neighbourhood would read beyond them.
        shared = run.shares and not isinstance(step.operator.support, Focal)
        if not shared and not any(known.values()):
            start = time.perf_counter()
            own = run.own()
            array = self._evaluate(own, step, grid, level, rect)
            run.add(own.report)
            for key in keys:
                whole = key.rect
                if rect.contains(whole) and "t" not in array.dims and not own.failed:
                    value = cut(array, rect, whole).copy(), own.report
                    seconds = time.perf_counter() - start
                    self.cache.put((step.node.hash, *key), value, _nbytes(value), seconds)
            return array
        out: xr.DataArray | None = None
        for key in sorted(keys, key=lambda k: self.cache.is_computing((step.node.hash, *k))):  # rather than wait
            part = key.rect.intersection(rect)
            if shared or known[key] or part == key.rect:
                found, there = self._block(run, step, grid, key)[0], key.rect
            else:
                found, there = self._evaluate(run, step, grid, level, part), part
            if out is None:
                out = _empty_like(found, rect)
            out.data[(..., *part.within(rect))] = found.data[(..., *part.within(there))]
        assert out is not None
        return out

    def _at_resolution(self, run: Run, step: Step, grid: Grid, level: int, rect: Rect) -> xr.DataArray:
        child = run.program[step.arguments["data"]]
        pinned = grid.level_near(step.arguments["resolution"])
        rows, cols = (np.arange(a, b) for a, b in ((rect.r0, rect.r1), (rect.c0, rect.c1)))
        if pinned <= level:  # the pinned pixel at the centre of each pixel shown
            f = 2 ** (level - pinned)
            rows, cols = rows * f + f // 2, cols * f + f // 2
        else:
            f = 2 ** (pinned - level)
            rows, cols = rows // f, cols // f
        # A coarse block covers far more fine pixels than the grid has: outside its extent nothing is asked for.
        extent = step.grids.get(grid.id, grid).rect(pinned)
        here_r, here_c = ((v >= a) & (v < b) for v, a, b in ((rows, *extent[:2]), (cols, *extent[2:])))
        if not here_r.any() or not here_c.any():
            return empty(step, rect.shape)
        rows, cols = rows[here_r], cols[here_c]
        inner = Rect(int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1)
        check_size(inner)
        out = empty(step, rect.shape)
        for top, left in inner.blocks():  # the pinned level may have far more pixels than are shown
            part = block_rect(top, left).intersection(inner)
            down, across = ((v >= a) & (v < b) for v, a, b in ((rows, *part[:2]), (cols, *part[2:])))
            if not down.any() or not across.any():
                continue
            array = on_axis(self.piece(run, child, grid, pinned, part, None), step)
            out = _promoted(out, array)
            where = np.flatnonzero(here_r)[down][:, None], np.flatnonzero(here_c)[across]
            taken = np.asarray(array.data)[..., (rows[down] - part.r0)[:, None], cols[across] - part.c0]
            out.data[(..., *where)] = taken
        return out

    # ---------------------------------------------------------------------------------------------- windows

    def window(self, run: Run, step: Step, window: GeoBox) -> xr.DataArray:
        """A step on any window, put together from blocks of its grids by nearest neighbour."""
        rows, columns = window.shape.y, window.shape.x
        out = empty(step, (rows, columns))
        for row in range(0, rows, _PIECE):  # the places of all pixels of a region would take more than its values
            for col in range(0, columns, _PIECE):
                inner = slice(row, min(row + _PIECE, rows)), slice(col, min(col + _PIECE, columns))
                values = self._window(run, step, window[inner])
                if values.shape == out.shape:
                    return values
                out = _promoted(out, values)
                out.data[(..., *inner)] = values.data
        return out

    def _window(self, run: Run, step: Step, window: GeoBox) -> xr.DataArray:
        out = empty(step, (window.shape.y, window.shape.x))
        for part in layout(run.program, window, step).parts:
            for key in part.blocks:
                run.check()
                array, _ = self._block(run, step, part.grid, key)
                out = _promoted(out, array)
                put(part, key.rect, np.asarray(on_axis(array, step).data), out.data)
        return out

    # ----------------------------------------------------------------------------- region and fit: whole nodes

    def whole(self, run: Run, step: Step) -> bytes:
        """The result of a `region` node (a raster) or of the fitting of a `fit` node (JSON), on its pinned extent."""
        known = run.results.get(step.node.hash)
        if known is not None:
            return known

        def compute() -> tuple[bytes, Report]:
            own = run.own()
            child = run.program[step.cubes[0][1]]
            grid = fit_or_pinned(step, child)
            with self._lock:
                self._counters.evaluations += 1
            data = self.window(own, child, grid.geobox(0, grid.extent))
            found = call(step.operator, step, data, grid.pixel_metres(0))
            if isinstance(step.operator.support, Fit):
                return json.dumps(found, sort_keys=True).encode(), own.report
            buffer = io.BytesIO()
            np.savez_compressed(buffer, values=np.asarray(found.data))
            return buffer.getvalue(), own.report

        body, report = self.cache.get_or_compute(
            ("whole", step.node.hash), compute, lambda v: len(v[0]) + 256, _complete
        )
        run.add(report)
        return body

    def fitted(self, run: Run, step: Step) -> dict[str, Any]:
        """What a `fit` node found on its pinned extent."""
        return json.loads(self.whole(run, step))

    def _raster(self, run: Run, step: Step, grid: Grid, level: int, rect: Rect) -> xr.DataArray:
        """The raster of a `region` node at the pixels of a rectangle of any grid, by nearest neighbour."""
        child = run.program[step.cubes[0][1]]
        home = fit_or_pinned(step, child)
        body = self.whole(run, step)
        values = self.cache.get_or_compute(("raster", step.node.hash), lambda: _decoded(body), lambda v: v.nbytes)
        x, y = places(grid.geobox(level, rect), home.crs)
        rows, cols = home.indices(0, x, y)
        rows, cols = rows - home.extent.r0, cols - home.extent.c0
        inside = (rows >= 0) & (rows < values.shape[0]) & (cols >= 0) & (cols < values.shape[1])
        out = np.full(rect.shape, np.nan, values.dtype)
        out[inside] = values[rows[inside], cols[inside]]
        return xr.DataArray(out, dims=("y", "x"))


def _complete(value: tuple[Any, Report]) -> bool:
    """Whether a result may be kept: a scene that could not be read now may be readable when asked again."""
    return not value[1].failed


def compact(array: xr.DataArray) -> xr.DataArray:
    """The same without what else is held by it: a view keeps the whole array alive that it was taken from."""
    values: Any = array.data
    while isinstance(values.base, np.ndarray):
        values = values.base
    return array.copy() if values.nbytes > array.nbytes else array


def _nbytes(value: tuple[xr.DataArray, Report]) -> int:
    return int(value[0].nbytes) + 256


def _put(values: xr.DataArray, step: Step, strip: Rect, rect: Rect, out: xr.DataArray | None) -> xr.DataArray:
    """Puts a strip in its place; dates that it does not have are missing there."""
    out = empty(step, rect.shape, values.dtype) if out is None else _promoted(out, values)
    rows, cols = strip.within(rect)
    out.data[_dates(out, values) + (..., rows, cols)] = values.data
    return out


def _promoted(out: xr.DataArray, values: xr.DataArray) -> xr.DataArray:
    """`out` in a precision that holds the values."""
    wide = np.result_type(out.dtype, values.dtype)
    return out if wide == out.dtype else out.astype(wide)


def _dates(out: xr.DataArray, values: xr.DataArray) -> tuple[Any, ...]:
    """An index of the dates of `out` that the values have; none where neither has dates."""
    if "t" not in out.dims:
        return ()
    at = np.searchsorted(out.t.values, values.t.values)
    whole = len(at) == out.sizes["t"]
    first = int(at[0]) if len(at) else 0
    run = np.array_equal(at, np.arange(first, first + len(at)))
    return (slice(first, first + len(at)) if whole or run else at,)


def _decoded(body: bytes) -> np.ndarray:
    with np.load(io.BytesIO(body), allow_pickle=False) as stored:
        return stored["values"]


def _empty_like(values: xr.DataArray, rect: Rect) -> xr.DataArray:
    """An array to be filled, of the same kind."""
    shape = (*values.shape[:-2], *rect.shape)
    coords = {d: values.coords[d] for d in ("t", "bands") if d in values.coords and d in values.dims}
    return xr.DataArray(np.empty(shape, values.dtype), dims=values.dims, coords=coords)


def empty(step: Step, shape: tuple[int, int], dtype: Any = np.float32) -> xr.DataArray:
    """An array of missing values with the dimensions of a step."""
    return named(step, np.full(step.shape(shape), np.nan, dtype))


def named(step: Step, values: np.ndarray) -> xr.DataArray:
    """A step's values with its dimensions and coordinates."""
    coords: dict[str, Any] = {}
    if step.meta.time:
        coords["t"] = np.array(step.times, dtype="datetime64[ns]")
    if step.meta.bands is not None:
        coords["bands"] = np.array(step.meta.bands, dtype=object)
    return xr.DataArray(values, dims=[d for d in DIMS if d in coords or d in ("y", "x")], coords=coords)


_ENGINE: Engine | None = None
_ENGINE_LOCK = threading.Lock()


def worker_engine() -> Engine:
    """The process's one engine."""
    global _ENGINE
    with _ENGINE_LOCK:
        if _ENGINE is None:
            from muses_lab.engine.warm import warm  # late: it is a program, too

            keep_freed()
            warm()  # what the kernels take is not the budget's
            _ENGINE = Engine()
        return _ENGINE


__all__ = ["BLOCK", "Engine", "Program", "Result", "worker_engine"]
