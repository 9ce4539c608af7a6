"""A chain on a window, through an executor: the window's blocks asked for, and put together as they arrive.

Tiles, arrays, values and exports all go this way, so that a preview equals its export.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.compute.costs import Costs
from muses_lab.compute.queue import Executor, Ticket
from muses_lab.compute.wholes import prepare
from muses_lab.crs import crs_name
from muses_lab.engine import BlockKey, OnceKey, Published, RectKey, Result, SoleKey
from muses_lab.engine.arrays import named
from muses_lab.engine.graph import Step
from muses_lab.engine.mosaic import Layout, Report, fill, layout, pick
from muses_lab.errors import Cancelled, ComputeError
from muses_lab.raster.grid import same_crs
from muses_lab.resources.cache import Cache
from muses_lab.settings import number
from muses_lab.store import Store
from muses_lab.store.ledger import ledger


@dataclass(frozen=True)
class WindowReport:
    """What an evaluation met."""

    used: frozenset[str]
    """Ids of the scenes that gave valid pixels."""
    found: frozenset[str]
    """Ids of the pinned scenes that touch the window."""
    failed: tuple[tuple[str, str], ...]
    """(scene id, reason) of scenes that could not be read and were left out."""
    levels: tuple[float, ...]
    """Metres per pixel of the levels shown."""
    thinned: tuple[int, int] | None = None
    """(dates used, dates there are) where a long series was thinned (see `engine.thinning`)."""
    native: tuple[float, ...] = ()
    """Metres per pixel that the grids have at their finest; equal to `levels` where the map shows native pixels."""
    systems: tuple[str, ...] = ()
    """Reference systems of the grids."""

    @property
    def scenes_used(self) -> int:
        return len(self.used)

    @property
    def scenes_found(self) -> int:
        return len(self.found)


@dataclass(frozen=True)
class Pixels:
    """A chain's values on a window."""

    values: np.ndarray
    """Dims of (t, bands, y, x) that the chain has; NaN where missing."""
    report: WindowReport
    step: Step

    @property
    def array(self) -> xr.DataArray:
        """The values with their dimensions and coordinates."""
        return named(self.step, self.values)

    @property
    def bands(self) -> tuple[str, ...] | None:
        return self.step.meta.bands


class WindowTicket:
    """One asker's claim on a window. `done` ends with True, or with the error of the first block that failed."""

    def __init__(self, placed: Layout) -> None:
        self.layout = placed
        self.done: Future[bool] = Future()
        self._results: dict[BlockKey | RectKey, Result] = {}
        self._tickets: list[Ticket] = []
        self._waiting = 0
        self._lacked = False
        """Whether any block had to be asked for."""
        self._lock = threading.Lock()
        self._released = False

    def wait(self, timeout: float | None = None) -> WindowTicket:
        """Waits at most so many seconds until the blocks are there."""
        try:
            self.done.result(timeout)
        except TimeoutError:
            raise ComputeError(f"the window was not ready after {timeout:g} s") from None
        return self

    def result(self, timeout: float | None = None) -> Pixels:
        """The pixels; waits at most so many seconds."""
        return assemble(self.layout, self.wait(timeout)._results)

    def picked(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """The values of some of the window's pixels, (…, pixel), when its blocks are there: it is not put together.

        It wins an eighth of the processor time of the statistics of 1 000 polygons over 36 dates.
        """
        pieces = _values(self._results)
        out = np.full((*self.layout.step.shape((1, 1))[:-2], len(rows)), np.nan, _precision(pieces))
        for part in self.layout.parts:
            for key in part.tasks:
                pick(part, key.rect, pieces[key], rows, cols, out)
        return out

    @property
    def report(self) -> WindowReport:
        """What the evaluation of the blocks met, when these are there."""
        return _report(self.layout, self._results)

    def prioritise(self, priority: float) -> None:
        """The blocks that have not begun take another place in the queue."""
        with self._lock:
            tickets = list(self._tickets)
        for ticket in tickets:
            ticket.prioritise(priority)

    def release(self, wasted: Callable[[], None] | None = None) -> None:
        """This asker no longer waits: blocks that nobody else waits for are dropped or stopped.

        `wasted` is called for each block that was computed for this asker in vain, see `Ticket.release`.
        """
        self._end(Cancelled("nobody waits for this window any more"), wasted)
        if wasted is not None and self._lacked and self.done.exception() is None:
            wasted()  # all of it was there already

    def _end(self, error: BaseException | None = None, wasted: Callable[[], None] | None = None) -> None:
        """Ends the wait; after an error the other blocks are not waited for."""
        with self._lock:
            if self._released:
                return
            self._released = True
            tickets, self._tickets = self._tickets, []
        if error is None:
            self.done.set_result(True)
            return
        for ticket in tickets:
            ticket.release(wasted)
        self.done.set_exception(error)


class _Kept:
    """What an asker keeps of an executor's blocks."""

    def __init__(self) -> None:
        self.results = Cache(int(number("MUSES_RESULT_CACHE_BYTES")))
        """The blocks' results. The 15 tiles of a view ask for 28 to 45 blocks, of which 6 to 15 differ; a view moved by
        a column needs 0 to 2 that are new; a reload, a new palette and the values of a place need none."""
        self.costs = Costs()


_kept: weakref.WeakKeyDictionary[Executor, _Kept] = weakref.WeakKeyDictionary()
_kept_lock = threading.Lock()


def _kept_of(executor: Executor) -> _Kept:
    with _kept_lock:
        if executor not in _kept:
            _kept[executor] = _Kept()
        return _kept[executor]


def forget(executor: Executor) -> None:
    """Drops the results that are kept on the asker's side."""
    _kept_of(executor).results.clear()


Admit = Callable[[float, float], None]
"""Told what a task of a window is expected to take, and how many tasks' worth of pixels it shows; may raise."""


def request_window(
    executor: Executor, published: Published, window: GeoBox, priority: float = 0.0, store: Store | None = None,
    admit: Admit | None = None, once: bool = False,
) -> WindowTicket:  # fmt: skip
    """Asks for a chain on a window; returns at once, except where `region` or `fit` nodes must be evaluated first.

    `once`: what is read for it need not be kept, nor results that no other window takes.
    """
    published = prepare(executor, published, priority, store)
    placed = layout(published.prepared, window)
    ticket = WindowTicket(placed)
    kept = _kept_of(executor)
    missing = []
    for key in placed.tasks:
        known = kept.results.get((published.hash, key))
        if known is None:
            missing.append(key)
        else:
            ticket._results[key] = known
    if not missing:
        ticket._end()
        return ticket
    ticket._waiting, ticket._lacked = len(missing), True
    seconds = {key: kept.costs.expected(published, key) for key in missing}
    tasks = {key: once_of(placed, key) if once else key for key in missing}
    if admit is not None:
        admit(max(seconds.values()), _share(placed))

    def arrived(key: BlockKey | RectKey) -> Callable[[Future[Result]], None]:
        def take(future: Future[Result]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                ticket._end(error)
                return
            result = future.result()
            kept.costs.took(published, key, result.seconds)
            ledger.computed(published.chain_hash, key.rect.pixels, result.seconds)
            if not result.report.failed and not isinstance(tasks[key], SoleKey):
                kept.results.put((published.hash, key), result, result.nbytes + 256, result.seconds)
            with ticket._lock:
                ticket._results[key] = result
                ticket._waiting -= 1
                last = ticket._waiting == 0
            if last:
                ticket._end()

        return take

    for key in missing:
        claim = executor.request(published, tasks[key], priority, seconds[key], published.remote)
        with ticket._lock:
            ticket._tickets.append(claim)
            gone = ticket._released
        claim.future.add_done_callback(arrived(key))
        if gone:
            claim.release()
    return ticket


def once_of(placed: Layout, key: BlockKey | RectKey) -> BlockKey | RectKey:
    """A block that this window alone asks for."""
    if not isinstance(key, BlockKey):
        return key
    for part in placed.parts:
        as_they_are = part.where is None and part.around.shape == (placed.window.shape.y, placed.window.shape.x)
        if key in part.tasks and as_they_are and same_crs(crs_name(placed.window.crs), part.grid.crs):
            inside = part.around.contains(key.rect.intersection(part.grid.rect(part.level)))
            return SoleKey(*key) if inside else OnceKey(*key)
    return OnceKey(*key)


def _share(placed: Layout) -> float:
    """How many tasks' worth of pixels a window shows: neighbouring windows share blocks."""
    return sum(part.around.pixels / part.tasks[0].rect.pixels for part in placed.parts)


def _fills(placed: Layout) -> bool:
    """Whether every pixel of a window comes from its one block: memory of a series is not written twice."""
    return (
        len(placed.parts) == 1
        and placed.parts[0].where is None
        and len(placed.parts[0].tasks) == 1
        and placed.parts[0].tasks[0].rect.contains(placed.parts[0].around)
    )


def assemble(placed: Layout, results: dict[BlockKey | RectKey, Result]) -> Pixels:
    """A window put together from the results of its blocks."""
    pieces = _values(results)
    out = np.empty(placed.step.shape((placed.window.shape.y, placed.window.shape.x)), _precision(pieces))
    if not _fills(placed):
        out[...] = np.nan
    for part in placed.parts:
        fill(part, pieces, out)
    return Pixels(out, _report(placed, results), placed.step)


def _values(results: Mapping[BlockKey | RectKey, Result]) -> dict[BlockKey | RectKey, np.ndarray]:
    return {key: result.values for key, result in results.items() if result.values is not None}


def _precision(pieces: Mapping[BlockKey | RectKey, np.ndarray]) -> type[np.floating]:
    return np.float64 if any(values.dtype == np.float64 for values in pieces.values()) else np.float32


def _report(placed: Layout, results: Mapping[BlockKey | RectKey, Result]) -> WindowReport:
    report = Report()
    for result in results.values():
        report = report | result.report
    return WindowReport(
        used=report.used & set(placed.found),
        found=frozenset(placed.found),
        failed=tuple(sorted(report.failed.items())),
        levels=tuple(sorted(set(placed.levels.values()))),
        thinned=(placed.thinning.used, placed.thinning.of) if placed.thinning else None,
        native=tuple(sorted({part.grid.pixel_metres(0) for part in placed.parts})),
        systems=tuple(sorted({part.grid.crs for part in placed.parts})),
    )
