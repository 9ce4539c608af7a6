"""Carrying out a program of `fuse` on a rectangle: stored values found, handed to the kernel, results named again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from muses_lab.engine import kernels, throughput
from muses_lab.engine.axis import Axis
from muses_lab.engine.evaluate import Demand, Ready, demand
from muses_lab.engine.fetch import Fetch, Load
from muses_lab.engine.fuse import Compiled, Guard, Leaf, Unfit
from muses_lab.engine.grid import Grid, Rect
from muses_lab.engine.program import LOAD, Step
from muses_lab.engine.read import Read, Stored
from muses_lab.errors import Cancelled, MusesError
from muses_lab.scenes import Scene

if TYPE_CHECKING:
    from muses_lab.engine.core import Engine
    from muses_lab.engine.evaluate import Run

_PIECE = 2048
"""Pixels that instructions treat at a time."""

Time = np.datetime64 | None


@dataclass
class _Planes:
    """Stored values by input and date, as the kernel takes them."""

    rect: Rect
    integers: list[tuple[int, ...]] = field(default_factory=list)
    factors: list[tuple[float, ...]] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)
    tables: list[np.ndarray] = field(default_factory=list)
    of: dict[tuple[int, Time], list[int]] = field(default_factory=dict)
    """(input, date) → its planes."""
    kept: list[np.ndarray] = field(default_factory=list)
    """What the addresses point to."""
    _map_at: dict[int, int] = field(default_factory=dict)
    _map_size: int = 0
    _table_at: dict[tuple[object, ...], int] = field(default_factory=dict)
    _table_size: int = 0

    def add(self, number: int, leaf: Leaf, time: Time, stored: Stored) -> None:
        values, table = stored.values, -1
        nodata, scale, offset = stored.nodata, stored.scale, stored.offset
        kind = kernels.KINDS.get(values.dtype.str)
        if kind is None:
            raise Unfit(f"{values.dtype} values")
        rows, cols = stored.rows, stored.cols
        if not stored.one_each or (leaf.functions and values.dtype.kind == "f"):
            if leaf.functions and (number, time) in self.of:
                raise Unfit("scenes that overlap, of which a function no longer tells where they have data")
            values = leaf.of(stored.physical(self.rect.shape))
            if values.dtype != np.float32:
                raise Unfit(f"{values.dtype} values")
            self._float(number, time, np.ascontiguousarray(values))
            return
        if leaf.functions:
            table = self._table(leaf, values.dtype.str, nodata, scale, offset)
        if values.strides[1] != values.itemsize:
            values = np.ascontiguousarray(values)
        low, high = cols.place.start, cols.place.stop
        first, order = int(cols.index[0]) * values.itemsize, cols.order
        if order == kernels.MAPPED or (order >= kernels.DOUBLED and table < 0):
            first, order = 0, kernels.MAPPED
        self._add(
            number, time, values,
            (
                values.__array_interface__["data"][0] + first, values.strides[0], kind, _whole(nodata), table,
                self._map(rows, self.rect.shape[0]), self._map(cols, self.rect.shape[1]), low, high, order,
            ),
            factors_of(values.dtype.str, scale, offset),
        )  # fmt: skip

    def fixed(self, number: int, values: np.ndarray) -> None:
        """An image that is the same on all dates."""
        if values.dtype != np.float32:
            raise Unfit(f"{values.dtype} values")
        self._float(number, None, np.ascontiguousarray(values))

    def _float(self, number: int, time: Time, values: np.ndarray) -> None:
        height, width = self.rect.shape
        everything = self._range(height)
        where = values.__array_interface__["data"][0], values.strides[0], kernels.AS_IS, kernels.NOTHING, -1
        self._add(
            number, time, values, (*where, everything, everything, 0, width, kernels.STRAIGHT), (1.0, 0.0, 0.0, 0.0)
        )

    def _add(
        self, number: int, time: Time, values: np.ndarray, fields: tuple[int, ...], factors: tuple[float, ...]
    ) -> None:
        self.of.setdefault((number, time), []).append(len(self.integers))
        self.integers.append(fields)
        self.factors.append(factors)
        self.kept.append(values)

    def _map(self, axis: Axis, length: int) -> int:
        """Where the stored index of each pixel of an axis begins among all maps; -1 outside the file."""
        if id(axis) not in self._map_at:
            places = np.full(length, -1, np.int32)
            places[axis.place] = axis.index
            self._keep_map(id(axis), places)
        return self._map_at[id(axis)]

    def _range(self, length: int) -> int:
        if -length not in self._map_at:
            self._keep_map(-length, np.arange(length, dtype=np.int32))
        return self._map_at[-length]

    def _keep_map(self, key: int, places: np.ndarray) -> None:
        self._map_at[key] = self._map_size
        self.maps.append(places)
        self._map_size += places.size

    def _table(self, leaf: Leaf, dtype: str, nodata: float | None, scale: float, offset: float) -> int:
        key = (id(leaf), dtype, nodata, scale, offset)
        if key not in self._table_at:
            table = leaf.table(dtype, nodata, scale, offset)
            self._table_at[key] = self._table_size
            self.tables.append(table)
            self._table_size += table.size
        return self._table_at[key]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Planes, factors, maps and tables for the kernel."""
        return (
            np.array(self.integers, np.int64).reshape(-1, 10),
            np.array(self.factors, np.float64).reshape(-1, 4),
            np.concatenate(self.maps) if self.maps else np.zeros(1, np.int32),
            np.concatenate(self.tables) if self.tables else np.zeros(1, np.float32),
        )

    def starts(self, inputs: int, dates: list[Time]) -> tuple[np.ndarray, np.ndarray]:
        """First plane of each input and date, and the planes in that order."""
        order: list[int] = []
        starts = np.zeros((inputs, len(dates) + 1), np.int32)
        for number in range(inputs):
            always = self.of.get((number, None))
            for k, time in enumerate(dates):
                starts[number, k] = len(order)
                order += self.of.get((number, time), ()) if always is None else always
            starts[number, len(dates)] = len(order)
        return starts, np.array(order, np.intp)


@lru_cache(maxsize=256)
def _whole(nodata: float | None) -> int:
    """The stored value that means missing; one that no integer can have means none."""
    return int(nodata) if nodata is not None and np.isfinite(nodata) and nodata == int(nodata) else kernels.NOTHING


@lru_cache(maxsize=256)
def factors_of(dtype: str, scale: float, offset: float) -> tuple[float, float, float, float]:
    """A plane's factors: also addend and divisor, if they give the same for every stored value."""
    with np.errstate(all="ignore"):
        divisor, addend = np.round(1 / np.float64(scale)), np.round(offset / np.float64(scale))
    if np.dtype(dtype).kind == "u" and 1 < divisor < 2**24 and abs(addend) < 2**23:
        stored = np.arange(2 ** (8 * np.dtype(dtype).itemsize))
        exact = (stored * scale + offset).astype(np.float32)
        quick = (stored.astype(np.float32) + np.float32(addend)) / np.float32(divisor)
        if (exact.view(np.int32) == quick.view(np.int32)).all():
            return scale, offset, float(addend), float(divisor)
    return scale, offset, 0.0, 0.0


def evaluate_fused(
    engine: Engine, run: Run, program: Compiled, target: Step, grid: Grid, level: int, rect: Rect, size: int,
    read: Read, ready: Mapping[str, Ready],
) -> dict[str, xr.DataArray]:  # fmt: skip
    """The results of a program's steps on a rectangle, by hash. `size`, `read` and `ready`: as for `evaluate`.

    Raises
    ------
    Unfit
        What is stored cannot be handled after all (double precision, for example).
    """
    demands, _ = demand(run.program, target, grid, level, rect)
    planes = _Planes(rect)
    for step in program.order:  # evaluations of their own come first, while there is nothing else to hold
        if step.node.process != LOAD:
            run.check()
            known = ready.get(step.node.hash)
            piece = engine.piece(run, step, grid, level, rect, None) if known is None else known.on(rect)
            for number, leaf in _leaves(program, step):
                image = piece.sel(bands=leaf.band) if leaf.band is not None else piece
                planes.fixed(number, np.asarray(image.data))
    reads: list[Load] = []
    if read == engine.reader.stored:  # else somebody holds what is read, and has asked for it
        reads = [Load(s, rect, demands[s.node.hash].times) for s in program.order if s.node.process == LOAD]
    with Fetch(engine.reader, run.program, grid, level, reads, run.cancelled) as fetch, engine.memory.work(size):
        times = _read_all(read, run, program, demands, planes, grid, level, fetch)
        run.check()
        dates: list[Time] = [None]
        if program.over_time:
            every = demands[target.node.hash].times
            axis = program.dates if every is None else sorted(every & set(program.dates))
            dates = list(axis if program.every_date else sorted(times))
        out = engine.memory.buffers.empty((len(program.outputs), *rect.shape), np.float32)
        if dates:
            start = perf_counter()
            _run(program, planes, dates, out)
            throughput.record_evaluate(rect.shape[0] * rect.shape[1] * len(dates), perf_counter() - start)
        else:
            empty = np.where(program.reducers[:, 0] == kernels.COUNT, np.float32(0), np.float32("nan"))
            out[...] = empty[:, None, None]
        return _named(program, out)


def _leaves(program: Compiled, step: Step) -> list[tuple[int, Leaf]]:
    """Inputs of a program that a step gives, with their numbers."""
    return [(k, leaf) for k, leaf in enumerate(program.inputs) if leaf.step is step]


def _read_all(
    read: Read, run: Run, program: Compiled, demands: Mapping[str, Demand], planes: _Planes, grid: Grid, level: int,
    fetch: Fetch,
) -> set[np.datetime64]:  # fmt: skip
    """Reads all scenes, masks first; the dates on which one has data here."""
    spared: dict[str, set[np.datetime64]] = {}
    times: set[np.datetime64] = set()
    for step in program.order:
        if step.node.process != LOAD:
            continue
        run.check()
        needed, gone = demands[step.node.hash].times, spared.get(step.node.hash, set())
        fetch.before(step, gone)
        found = _read(read, run, step, _leaves(program, step), needed, gone, planes, grid, level)
        times |= found
        for guard in program.guards:
            if guard.leaf.step is step:
                removed = _removed(guard, program, planes, found)
                for load in guard.spared:
                    spared.setdefault(load, set()).update(removed)
    return times


def _read(
    read: Read, run: Run, step: Step, mine: list[tuple[int, Leaf]], needed: frozenset[np.datetime64] | None,
    spared: set[np.datetime64], planes: _Planes, grid: Grid, level: int,
) -> set[np.datetime64]:  # fmt: skip
    """Reads a step's scenes; the dates on which one has data here."""
    source = run.program.source(step.node)
    native = planes.rect.scaled(2**level)
    times: set[np.datetime64] = set()
    for placed in source.on(grid.id, native, needed):
        run.check()
        scene, time = placed.scene, placed.time
        if time in spared or scene.id in run.failed:
            continue
        try:
            stored = _scene(read, run, source, scene, step, grid, level, planes.rect)
        except Cancelled:
            raise
        except MusesError as error:
            run.failed[scene.id] = error.message
            continue
        if not any(_has_data(values) for values in stored.values()):
            continue
        run.used.add(scene.id)
        times.add(time)
        for number, leaf in mine:
            if leaf.band in stored:
                planes.add(number, leaf, time, stored[leaf.band])
    return times


def _scene(
    read: Read, run: Run, source, scene: Scene, step: Step, grid: Grid, level: int, rect: Rect
) -> dict[str | None, Stored]:
    found: dict[str | None, Stored] = {}
    for name in step.meta.bands or ():
        asset = scene.assets.get(name)
        if asset is not None:
            stored = read(source.scenes.catalog, asset, source.band(name), grid, level, rect, run.cancelled)
            if stored is not None:
                found[name] = stored
    return found


def _has_data(stored: Stored) -> bool:
    """Whether a valid value is among the stored ones that make pixels here."""
    values = stored.values
    if values.dtype.kind == "f":
        return (
            bool(np.isfinite(values).any())
            if stored.nodata is None
            else bool((np.isfinite(values) & (values != np.asarray(stored.nodata).astype(values.dtype))).any())
        )
    nodata = _whole(stored.nodata)
    if nodata == kernels.NOTHING or (values.size and values.flat[0] != nodata):
        return bool(values.size)
    return bool(kernels.differs(values, nodata))


def _removed(guard: Guard, program: Compiled, planes: _Planes, times: set[np.datetime64]) -> set[np.datetime64]:
    """Dates on which a mask removes everything here."""
    number = next((k for k, leaf in enumerate(program.inputs) if leaf is guard.leaf), None)
    if number is None:
        return set()
    integers, factors, maps, tables = planes.arrays()
    absent = guard.leaf.absent
    gone = set()
    for time in times:
        mine = planes.of.get((number, time), [])
        if kernels.all_removed(0, len(mine), integers[mine], factors[mine], maps, tables, absent, *planes.rect.shape):
            gone.add(time)
    return gone


def _run(program: Compiled, planes: _Planes, dates: list[Time], out: np.ndarray) -> None:
    integers, factors, maps, tables = planes.arrays()
    starts, order = planes.starts(len(program.inputs), dates)
    allowed = np.array([[t in some for t in dates] for some in program.allowed], np.bool_).reshape(-1, len(dates))
    kernels.run(
        program.code, program.constants, program.constant_values, program.registers, starts, integers[order],
        factors[order], maps, tables, np.array([leaf.absent for leaf in program.inputs], np.float32), allowed,
        program.layers, program.reducers, program.probabilities, *program.networks(len(dates)), _PIECE, out,
    )  # fmt: skip


def _named(program: Compiled, out: np.ndarray) -> dict[str, xr.DataArray]:
    results: dict[str, xr.DataArray] = {}
    for step in program.steps:
        mine = [k for k, o in enumerate(program.outputs) if o.step is step]
        if step.meta.bands is None:
            results[step.node.hash] = xr.DataArray(out[mine[0]], dims=("y", "x"))
        else:
            bands = np.array([program.outputs[k].band for k in mine], dtype=object)
            whole = out[mine[0] : mine[-1] + 1]
            results[step.node.hash] = xr.DataArray(whole, dims=("bands", "y", "x"), coords={"bands": bands})
    return results
