"""Carrying out a plan: stage after stage, inputs before users, what nobody needs any more is let go.

A stage never asks for another one: its inputs have been evaluated before, or were in the cache or on disk when the plan
was made. Blocks are evaluated once for all who ask at the same time.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.engine.arrays import Ready, Run, call, check_size, cut, empty, evaluate, promoted, timed
from muses_lab.engine.compiled.compiler import Unfit, code_of
from muses_lab.engine.compiled.run import run_code
from muses_lab.engine.graph import PreparedGraph, Step, whole_grid
from muses_lab.engine.keys import BlockKey, RectKey, SoleKey
from muses_lab.engine.materialized import MaterializedBlocks
from muses_lab.engine.mosaic import Report
from muses_lab.engine.placing import Placing, WindowPlacing, placing
from muses_lab.engine.plan import BlockPlan, plan
from muses_lab.engine.prefetch import ReadAhead
from muses_lab.engine.stages import Key, Piece, Stage, stage
from muses_lab.engine.strips import image_bytes, strips
from muses_lab.operators import Fit, Region
from muses_lab.raster.blocks import Counters
from muses_lab.raster.grid import BLOCK, Grid, Rect, block_rect, places
from muses_lab.raster.reader import Holding, Reader, ReadFunction
from muses_lab.resources import cancel
from muses_lab.resources.memory import Memory

Value = tuple[xr.DataArray, Report]

_WINDOW = 2048
"""Rows and columns of a window that are laid out at a time: the places of all its pixels take more than its values."""


class Evaluator:
    """Evaluates blocks, rectangles and windows; thread-safe."""

    def __init__(self, reader: Reader, memory: Memory, materialized: MaterializedBlocks, counters: Counters) -> None:
        self.reader = reader
        self.memory = memory
        self._cache = memory.cache
        self._materialized = materialized
        self._counters = counters
        self._lock = threading.Lock()

    def plan(self, prepared: PreparedGraph, piece: Piece, given: Container[str], shares: bool = False) -> BlockPlan:
        """What it takes to evaluate a piece here and now. `shares`: from whole blocks of the images below it."""
        check_size(piece.rect)
        at_once = () if shares else (piece.key,)
        return plan(prepared, [piece], self.is_there, given, shares=shares, at_once=at_once)

    def is_there(self, piece: Piece) -> bool:
        """Whether a block needs no stage: it is in the cache, on disk, or under way elsewhere."""
        key = _block_key(piece)
        name = (piece.step.node.hash, *key)
        return name in self._cache or self._cache.is_computing(name) or self._materialized.has(name[0], key)

    def block(
        self, run: Run, step: Step, grid: Grid, key: BlockKey | RectKey, planned: BlockPlan | None = None
    ) -> Value:
        """A block or rectangle of a step, kept in the cache; one evaluation for all who ask."""

        def compute() -> Value:
            found = self._on_disk(step, key)
            if found is not None:
                return shareable(found[0]), found[1]
            self._count()
            own = run.own()
            piece, shares = Piece(step, grid, key.level, key.rect), isinstance(key, RectKey)
            array = self.piece(own, piece, planned or self.plan(run.prepared, piece, run.results, shares))
            return compact(array), own.report

        name = (step.node.hash, *key, *run.mark(step))
        value = self._cache.get_or_compute(name, compute, _nbytes, _nobody if isinstance(key, SoleKey) else _complete)
        run.add(value[1])
        return value

    def _on_disk(self, step: Step, key: BlockKey | RectKey) -> Value | None:
        """A block, or a rectangle of a series, of materialized blocks; plans find those of images themselves."""
        if isinstance(key, BlockKey):
            return self._materialized.block(step, key)
        if not step.meta.time or not self._materialized.covers(step.node.hash, key.grid, key.level, key.rect):
            return None
        out: xr.DataArray | None = None
        report = Report()
        for row, col in key.rect.blocks():
            found = self._materialized.block(step, BlockKey(key.grid, key.level, row, col))
            if found is None:
                return None
            array, report, rect = found[0], report | found[1], block_rect(row, col)
            out = _empty_like(array, key.rect) if out is None else out
            inner = key.rect.intersection(rect)
            out.data[(..., *inner.within(key.rect))] = array.data[(..., *inner.within(rect))]
        return None if out is None else (out, report)

    def window(self, run: Run, step: Step, window: GeoBox) -> xr.DataArray:
        """A step on any window, put together from blocks of its grids by nearest neighbour."""
        rows, columns = window.shape.y, window.shape.x
        out = empty(step, (rows, columns))
        for row in range(0, rows, _WINDOW):
            for col in range(0, columns, _WINDOW):
                inner = slice(row, min(row + _WINDOW, rows)), slice(col, min(col + _WINDOW, columns))
                placed = WindowPlacing(run.prepared, step, window[inner])
                for piece in placed.pieces:
                    run.check()
                    placed.put(piece.key, self.block(run, step, piece.grid, _block_key(piece))[0])
                out = promoted(out, placed.values)
                out.data[(..., *inner)] = placed.values.data
        return out

    def whole(self, run: Run, step: Step) -> bytes:
        """The result of a `region` node (a raster) or of the fitting of a `fit` node (JSON), on its pinned extent."""
        child = run.prepared[step.data]
        grid = whole_grid(step, child.grids)
        self._count()
        data = self.window(run, child, grid.geobox(0, grid.extent))
        metres = grid.pixel_metres(0)
        with timed(step, metres, grid.extent.shape, {"data": data}), cancel.watching(run.check):
            found = call(step.operator, step, data, metres)
        if isinstance(step.operator.support, Fit):
            return json.dumps(found, sort_keys=True).encode()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, values=np.asarray(found.data))
        return buffer.getvalue()

    def _count(self) -> None:
        with self._lock:
            self._counters.evaluations += 1

    # ------------------------------------------------------------------------------------------------- a plan

    def piece(self, run: Run, piece: Piece, planned: BlockPlan) -> xr.DataArray:
        """A piece of a step by its plan, put together."""
        return self._joined(run, piece.rect, planned.wanted, self._execute(run, planned))

    def _execute(self, run: Run, blocks: BlockPlan) -> dict[Key, Value]:
        """The values of the pieces that are wanted."""
        values = self._held(blocks)
        wanted = {piece.key for piece in blocks.wanted}
        run.once = run.once and blocks.reads_once
        placings = {key: p for key, one in blocks.stages.items() if (p := placing(run.prepared, one)) is not None}
        reports: dict[Key, list[Report]] = {key: [] for key in placings}
        takers: dict[Key, list[Key]] = {}
        left: Counter[Key] = Counter()
        for user, below in blocks.inputs.items():
            for piece in below:
                if user in placings:
                    takers.setdefault(piece.key, []).append(user)
                else:
                    left[piece.key] += 1
        for key, one in blocks.stages.items():
            run.check()
            own = run.own()
            for report in reports.pop(key, ()):
                own.add(report)
            value = self._value(own, key, one, blocks, values, placings.pop(key, None))
            run.add(value[1])
            for user in takers.get(key, ()):  # what is put in place need not be kept until its turn
                placings[user].put(key, value[0])
                reports[user].append(value[1])
            if left[key] or key in wanted:
                values[key] = value
            for piece in blocks.inputs[key]:
                left[piece.key] -= 1
                if left[piece.key] == 0 and piece.key not in wanted:
                    values.pop(piece.key, None)
        return values

    def _held(self, blocks: BlockPlan) -> dict[Key, Value]:
        """What is in the cache of the pieces that need no stage: it is not let go before it has been used."""
        names = {key: (key[0], *_block_key(piece)) for key, piece in blocks.there.items()}
        return {key: value for key, name in names.items() if (value := self._cache.get(name)) is not None}

    def _value(
        self, run: Run, key: Key, one: Stage, blocks: BlockPlan, values: Mapping[Key, Value], placed: Placing | None
    ) -> Value:
        """What a stage gives: kept where it is a block, or holds some."""

        def compute() -> Value:
            if key in blocks.kept:
                self._count()
            array = self._evaluate(run, key, one, blocks, values, placed)
            return (compact(array) if key in blocks.kept else array), run.report

        if key in blocks.kept:
            block_key = _block_key(Piece(one.step, one.grid, one.level, one.rect))
            name = (one.step.node.hash, *block_key, *run.mark(one.step))
            return self._cache.get_or_compute(name, compute, _nbytes, _complete)
        start = time.perf_counter()
        array, report = compute()
        if one.step.keeps and "t" not in array.dims and not report.failed:
            for row, col in one.rect.blocks():
                block = block_rect(row, col)
                if one.rect.contains(block) and one.rect != block:
                    value = compact(cut(array, one.rect, block)), report
                    name = (one.step.node.hash, *BlockKey(one.grid.id, one.level, row, col))
                    self._cache.put(name, value, _nbytes(value), time.perf_counter() - start)
        return array, report

    def _evaluate(
        self, run: Run, key: Key, one: Stage, blocks: BlockPlan, values: Mapping[Key, Value], placed: Placing | None
    ) -> xr.DataArray:
        """The values of a stage from those of its inputs."""
        inputs = blocks.inputs[key]
        if isinstance(one.step.operator.support, Region):
            return self._raster(run, one)
        if placed is not None:
            for piece in inputs:
                if piece.key not in blocks.stages:  # what has a stage was put in place when that had run
                    placed.put(piece.key, self._there(run, piece, values)[0])
            return placed.values
        ready: dict[str, Ready] = {}
        for step in one.inputs:
            rect, dates = one.need(step)
            parts = [p for p in inputs if p.step is step and p.level == one.level and p.grid.id == one.grid.id]
            array = self._joined(run, rect, parts, values)
            if dates is not None and "t" in array.dims:
                array = array.sel(t=[t for t in array.t.values if t in dates])
            ready[step.node.hash] = Ready(rect, array)
        start = time.perf_counter()
        results = self._in_strips(run, one, ready)
        array = results.pop(one.step.node.hash)
        row, col = one.rect.r0 // BLOCK, one.rect.c0 // BLOCK
        if results and one.rect == block_rect(row, col) and not run.report.failed:
            seconds = time.perf_counter() - start
            for hash, beside in results.items():  # other reducers of the same values cost next to nothing
                value = compact(beside), run.report
                self._cache.put((hash, *BlockKey(one.grid.id, one.level, row, col)), value, _nbytes(value), seconds)
        return array

    def _joined(self, run: Run, rect: Rect, parts: Iterable[Piece], values: Mapping[Key, Value]) -> xr.DataArray:
        """A step on a rectangle, put together from parts that cover it."""
        out: xr.DataArray | None = None
        for part in sorted(parts, key=lambda part: part.key not in values):  # others evaluate the last ones meanwhile
            array, report = self._there(run, part, values)
            run.add(report)
            if part.rect.contains(rect):
                return cut(array, part.rect, rect)
            out = _empty_like(array, rect) if out is None else out
            inner = part.rect.intersection(rect)
            out.data[(..., *inner.within(rect))] = array.data[(..., *inner.within(part.rect))]
        assert out is not None
        return out

    def _there(self, run: Run, piece: Piece, values: Mapping[Key, Value]) -> Value:
        """What a piece gave, or a block that needed no stage and is not held: on disk, or evaluated by others."""
        return values.get(piece.key) or self.block(run, piece.step, piece.grid, _block_key(piece))

    # ------------------------------------------------------------------------------------------------ a stage

    def _in_strips(self, run: Run, one: Stage, ready: Mapping[str, Ready]) -> dict[str, xr.DataArray]:
        """A stage, and what comes with it, by hash: in as many strips of rows as memory demands."""
        step, grid, level, rect = one.step, one.grid, one.level, one.rect
        needed = strips(run.prepared, one, self.memory.piece)
        self.memory.check(needed.size)
        if len(needed.rects) <= 1:
            return self._at_once(run, one, needed.size, self.reader.stored, ready)
        fetch = ReadAhead(self.reader, run.prepared, grid, level, (), run.cancelled)
        with self.memory.work(image_bytes(run.prepared, one)), fetch:
            holding = Holding(self.reader, rect)
            if needed.held:
                fetch.now(one.loads)
            while True:
                failed = len(run.failed)
                outs: dict[str, xr.DataArray] = {}
                for strip in needed.rects:
                    read = holding.at(strip) if needed.held else self.reader.stored
                    part = stage(run.prepared, step, grid, level, strip, one.dates)
                    found = self._at_once(run, part, needed.size, read, ready)
                    for hash, values in found.items():
                        outs[hash] = _put(values, run.prepared.steps[hash], strip, rect, outs.get(hash))
                    if len(run.failed) > failed:
                        break  # a scene that fails is left out everywhere here, so from the beginning
                else:
                    return outs

    def _at_once(
        self, run: Run, one: Stage, size: int, read: ReadFunction, ready: Mapping[str, Ready]
    ) -> dict[str, xr.DataArray]:
        """A stage by its code, with what that gives beside it, or operator by operator."""
        code = code_of(run.prepared, one.step)
        if code is not None:
            with suppress(Unfit):
                return run_code(self, run, code, one, size, read, ready)
        return {one.step.node.hash: evaluate(self, run, one, size, read, ready)}

    def _raster(self, run: Run, one: Stage) -> xr.DataArray:
        """The raster of a `region` node at the pixels of a stage, by nearest neighbour."""
        step, body = one.step, run.result(one.step)
        home = whole_grid(step, run.prepared[step.data].grids)
        name = ("raster", step.node.hash, *run.mark(step))
        values = self._cache.get_or_compute(name, lambda: _decoded(body), lambda v: v.nbytes)
        x, y = places(one.grid.geobox(one.level, one.rect), home.crs)
        rows, cols = home.indices(0, x, y)
        rows, cols = rows - home.extent.r0, cols - home.extent.c0
        inside = (rows >= 0) & (rows < values.shape[0]) & (cols >= 0) & (cols < values.shape[1])
        out = np.full(one.rect.shape, np.nan, values.dtype)
        out[inside] = values[rows[inside], cols[inside]]
        return xr.DataArray(out, dims=("y", "x"))


def _block_key(piece: Piece) -> BlockKey:
    return BlockKey(piece.grid.id, piece.level, piece.rect.r0 // BLOCK, piece.rect.c0 // BLOCK)


def _complete(value: tuple[Any, Report]) -> bool:
    """Whether a result may be kept: a scene that could not be read now may be readable when asked again.

    That holds for a scene that a result of a whole extent lacks, too.
    """
    return not value[1].failed


def _nobody(value: tuple[Any, Report]) -> bool:
    """Nobody asks for it again."""
    return False


def compact(array: xr.DataArray) -> xr.DataArray:
    """The same without what else is held by it: a view keeps the whole array alive that it was taken from."""
    values: Any = array.data
    while isinstance(values.base, np.ndarray):
        values = values.base
    return shareable(array.copy() if values.nbytes > array.nbytes else array)


def shareable(array: xr.DataArray) -> xr.DataArray:
    """The same for several threads: where they look for labels at once, pandas tells some that these are not unique,
    unless it has found that out before."""
    for index in array.indexes.values():
        _ = index.is_unique
    return array


def _nbytes(value: tuple[xr.DataArray, Report]) -> int:
    return int(value[0].nbytes) + 256


def _put(values: xr.DataArray, step: Step, strip: Rect, rect: Rect, out: xr.DataArray | None) -> xr.DataArray:
    """Puts a strip in its place; dates that it does not have are missing there."""
    out = empty(step, rect.shape, values.dtype) if out is None else promoted(out, values)
    rows, cols = strip.within(rect)
    out.data[_dates(out, values) + (..., rows, cols)] = values.data
    return out


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
