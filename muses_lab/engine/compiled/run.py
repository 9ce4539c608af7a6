"""Carrying out a program of `compiler` on a rectangle: stored values found, handed to the kernel, results named."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter

import numpy as np
import xarray as xr

from muses_lab.engine.arrays import Evaluator, Ready, Run
from muses_lab.engine.compiled import vm
from muses_lab.engine.compiled.compiler import Code, Guard, Leaf, Unfit
from muses_lab.engine.graph import Step, Times
from muses_lab.engine.prefetch import ReadAhead, bands_of
from muses_lab.engine.stages import Stage
from muses_lab.errors import Cancelled, MusesError
from muses_lab.raster.asset import Band
from muses_lab.raster.grid import Grid, Rect
from muses_lab.raster.reader import Reader, ReadFunction, Stored
from muses_lab.raster.resampling import Axis
from muses_lab.raster.values import missing_range
from muses_lab.resources import cancel, rates
from muses_lab.resources.helpers import HELPERS
from muses_lab.scenes.scene import Scene

_PIECE = 2048
"""Pixels that instructions treat at a time."""
_DATE = 20e-9
"""Seconds for a pixel and date: what is read, and what is reduced. Measured: 4 to 30 ns, the most for medians."""
_INSTRUCTION = 1e-9
"""Seconds for an instruction on it. Measured: 0.3 to 1 ns."""

_SHARES = 4
"""Parts in which rows are evaluated where there are threads that have nothing to do."""

_COSTLY = 40e-9
"""Seconds for one of `vm.COSTLY`. Measured: 7 to 50 ns."""

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
    _evaluated: set[tuple[int, Time]] = field(default_factory=set)
    """Those of `of` whose planes hold what a leaf's functions gave."""
    _map_at: dict[int, int] = field(default_factory=dict)
    _axes: list[Axis] = field(default_factory=list)
    _map_size: int = 0
    _table_at: dict[tuple[object, ...], int] = field(default_factory=dict)
    _table_size: int = 0

    def add(self, number: int, leaf: Leaf, time: Time, stored: Stored) -> None:
        values, table = stored.values, -1
        nodata, scale, offset = stored.nodata, stored.scale, stored.offset
        kind = vm.KINDS.get(values.dtype.str)
        if kind is None:
            raise Unfit(f"{values.dtype} values")
        rows, cols = stored.rows, stored.cols
        evaluated = not stored.one_each or (leaf.functions and values.dtype.kind == "f")
        if leaf.functions and (number, time) in self.of and (evaluated or (number, time) in self._evaluated):
            raise Unfit("scenes that overlap, of which a function no longer tells where they have data")
        if evaluated:
            self._evaluated.add((number, time))
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
        if order == vm.MAPPED or (order >= vm.DOUBLED and table < 0):
            first, order = 0, vm.MAPPED
        self._add(
            number, time, values,
            (
                values.__array_interface__["data"][0] + first, values.strides[0], kind,
                _whole(values.dtype.str, nodata), table, self._map(rows, self.rect.shape[0]),
                self._map(cols, self.rect.shape[1]), low, high, order,
            ),
            factors_of(values.dtype.str, nodata, scale, offset),
        )  # fmt: skip

    def fixed(self, number: int, values: np.ndarray) -> None:
        """An image that is the same on all dates."""
        if values.dtype != np.float32:
            raise Unfit(f"{values.dtype} values")
        self._float(number, None, np.ascontiguousarray(values))

    def _float(self, number: int, time: Time, values: np.ndarray) -> None:
        height, width = self.rect.shape
        everything = self._range(height)
        where = values.__array_interface__["data"][0], values.strides[0], vm.AS_IS, vm.NOTHING, -1
        self._add(number, time, values, (*where, everything, everything, 0, width, vm.STRAIGHT), (1.0, 0.0, 0.0, 0.0))

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
            self._axes.append(axis)  # so that no other one gets its id
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
def _whole(dtype: str, nodata: float | None) -> int:
    """The stored integer that means missing, or that none does."""
    missing = missing_range(dtype, nodata)
    return vm.NOTHING if missing is None or np.dtype(dtype).kind == "f" else int(missing[0])


@lru_cache(maxsize=256)
def factors_of(dtype: str, nodata: float | None, scale: float, offset: float) -> tuple[float, float, float, float]:
    """A plane's factors: of integers addend and divisor, if they give the same for every stored value.

    Wins 10 to 14 % of W1's evaluation, which is two thirds of what another choice of classes takes.
    """
    if np.dtype(dtype).kind == "f":
        return scale, offset, *(missing_range(dtype, nodata) or (np.nan, np.nan))
    with np.errstate(all="ignore"):
        divisor, addend = np.round(1 / np.float64(scale)), np.round(offset / np.float64(scale))
    if np.dtype(dtype).kind == "u" and 1 < divisor < 2**24 and abs(addend) < 2**23:
        stored = np.arange(2 ** (8 * np.dtype(dtype).itemsize))
        exact = (stored * scale + offset).astype(np.float32)
        quick = (stored.astype(np.float32) + np.float32(addend)) / np.float32(divisor)
        if (exact.view(np.int32) == quick.view(np.int32)).all():
            return scale, offset, float(addend), float(divisor)
    return scale, offset, 0.0, 0.0


def run_code(
    engine: Evaluator, run: Run, code: Code, stage: Stage, size: int, read: ReadFunction, ready: Mapping[str, Ready]
) -> dict[str, xr.DataArray]:
    """The results of the code's steps on a stage's rectangle, by hash. `size`, `read` and `ready`: as for `evaluate`.

    Raises
    ------
    Unfit
        What is stored cannot be handled after all (double precision, for example).
    """
    grid, level, rect = stage.grid, stage.level, stage.rect
    planes = _Planes(rect)
    for step in code.order:
        if not step.reads:
            piece = ready[step.node.hash].on(rect)
            for number, leaf in _leaves(code, step):
                image = piece.sel(bands=leaf.band) if leaf.band is not None else piece
                planes.fixed(number, np.asarray(image.data))
    reads = stage.loads if read == engine.reader.stored else []  # else somebody holds what is read, and asked for it
    with ReadAhead(engine.reader, run.prepared, grid, level, reads, run.cancelled) as fetch, engine.memory.work(size):
        times = _read_all(engine.reader, read, run, code, stage, planes, fetch)
        run.check()
        reduced = _reduced(code, stage, times)
        out = engine.memory.buffers.empty((len(reduced), len(code.outputs), *rect.shape), np.float32)
        start, arrays = perf_counter(), planes.arrays()
        for dates, images in zip(reduced, out, strict=True):
            if dates:
                _run(run, code, planes, arrays, dates, images)
            else:
                empty = np.where(code.reducers[:, 0] == vm.COUNT, np.float32(0), np.float32(np.nan))
                images[...] = empty[:, None, None]
        if any(reduced):
            rates.record_evaluate(rect.shape[0] * rect.shape[1] * sum(map(len, reduced)), perf_counter() - start)
        if stage.groups is None:
            return _named(code, out[0])
        return {stage.step.node.hash: _with_dates(code, out, tuple(stage.groups))}


def _reduced(code: Code, stage: Stage, times: set[np.datetime64]) -> list[list[Time]]:
    """The dates that make each image of the result; of those without data (beside `times`) only what counts."""
    if not code.over_time:
        return [[None]]
    axis = set(code.dates) if code.every_date else times
    if stage.groups is not None:
        return [[time for time in group if time in axis] for group in stage.groups.values()]
    every = stage.need(stage.step).dates
    if not code.every_date:
        return [list(sorted(axis))]
    return [list(code.dates if every is None else sorted(every & axis))]


def _leaves(code: Code, step: Step) -> list[tuple[int, Leaf]]:
    """Inputs of a program that a step gives, with their numbers."""
    return [(k, leaf) for k, leaf in enumerate(code.inputs) if leaf.step is step]


def _read_all(
    reader: Reader, read: ReadFunction, run: Run, code: Code, stage: Stage, planes: _Planes, fetch: ReadAhead
) -> set[np.datetime64]:
    """Reads all scenes, masks first; the dates on which one has data here."""
    spared: dict[str, set[np.datetime64]] = {}
    times: set[np.datetime64] = set()
    for step in code.order:
        if not step.reads:
            continue
        run.check()
        needed, gone = stage.need(step).dates, spared.get(step.node.hash, set())
        fetch.before(step, gone)
        bands = bands_of(reader, run.prepared.source(step.node), step, stage.level, run.cancelled)
        found = _read(
            read, run, step, bands, _leaves(code, step), needed, gone, planes, stage.grid, stage.level,
            alone=read != reader.stored,
        )  # fmt: skip
        times |= found
        for guard in code.guards:
            if guard.leaf.step is step:
                removed = _removed(guard, code, planes, found)
                for load in guard.spared:
                    spared.setdefault(load, set()).update(removed)
    return times


def _read(
    read: ReadFunction, run: Run, step: Step, bands: Mapping[str, Band], mine: list[tuple[int, Leaf]],
    needed: frozenset[np.datetime64] | None, spared: set[np.datetime64], planes: _Planes, grid: Grid, level: int,
    alone: bool,
) -> set[np.datetime64]:  # fmt: skip
    """Reads a step's scenes, `alone` or with helpers; the dates on which one has data here."""
    source = run.prepared.source(step.node)
    native = planes.rect.scaled(2**level)
    placed = [one for one in source.at(grid, native, needed) if one.time not in spared]

    def stored(scene: Scene) -> dict[str | None, Stored] | MusesError:
        run.check()
        if scene.id in run.failed:
            return {}
        try:
            found = _scene(read, run, source.scenes.catalog, scene, bands, grid, level, planes.rect)
        except Cancelled:
            raise
        except MusesError as error:
            return error
        return found if any(map(_has_data, found.values())) else {}

    times: set[np.datetime64] = set()
    scenes = [one.scene for one in placed]
    alone |= source.remote  # what comes from servers was asked for in the order of the scenes
    with closing(HELPERS.each(stored, scenes, alone)) as values:
        for one, found in zip(placed, values, strict=True):
            if isinstance(found, MusesError):
                run.failed[one.scene.id] = found.message
            if isinstance(found, MusesError) or not found or one.scene.id in run.failed:
                continue
            run.used.add(one.scene.id)
            times.add(one.time)
            for number, leaf in mine:
                if leaf.band in found:
                    planes.add(number, leaf, one.time, found[leaf.band])
    return times


def _scene(
    read: ReadFunction, run: Run, catalog: str, scene: Scene, bands: Mapping[str, Band], grid: Grid, level: int,
    rect: Rect,
) -> dict[str | None, Stored]:  # fmt: skip
    found: dict[str | None, Stored] = {}
    for name, band in bands.items():
        asset = scene.assets.get(name)
        if asset is not None:
            stored = read(catalog, asset, band, grid, level, rect, run.cancelled, run.once)
            if stored is not None:
                found[name] = stored
    return found


def _has_data(stored: Stored) -> bool:
    """Whether a valid value is among the stored ones that make pixels here."""
    values = stored.values
    missing = missing_range(values.dtype.str, stored.nodata)
    if values.dtype.kind == "f":
        valid = np.isfinite(values)
        return bool((valid if missing is None else valid & ~((values >= missing[0]) & (values <= missing[1]))).any())
    if missing is None or (values.size and values.flat[0] != missing[0]):
        return bool(values.size)
    if values.itemsize > 4:
        return bool((values.astype(np.float64) != missing[0]).any())
    return bool(vm.differs(values, int(missing[0])))


def _removed(guard: Guard, code: Code, planes: _Planes, times: set[np.datetime64]) -> set[np.datetime64]:
    """Dates on which a mask removes everything here."""
    number = next((k for k, leaf in enumerate(code.inputs) if leaf is guard.leaf), None)
    if number is None:
        return set()
    integers, factors, maps, tables = planes.arrays()
    absent = guard.leaf.absent
    gone = set()
    for time in times:
        mine = planes.of.get((number, time), [])
        if vm.all_removed(0, len(mine), integers[mine], factors[mine], maps, tables, absent, *planes.rect.shape):
            gone.add(time)
    return gone


def _run(
    run: Run, code: Code, planes: _Planes, arrays: tuple[np.ndarray, ...], dates: list[Time], out: np.ndarray
) -> None:
    """Carries a program out, some rows at a time, and looks at the cancel flag in between."""
    integers, factors, maps, tables = arrays
    starts, order = planes.starts(len(code.inputs), dates)
    allowed = np.array([[t in some for t in dates] for some in code.allowed], np.bool_).reshape(-1, len(dates))
    absent = np.array([leaf.absent for leaf in code.inputs], np.float32)
    integers, factors, networks = integers[order], factors[order], code.networks(len(dates))
    rows, columns = out.shape[1:]
    costly = sum(operation in vm.COSTLY for operation in code.code[:, 0].tolist())
    seconds = (_DATE + len(code.code) * _INSTRUCTION + costly * _COSTLY) * len(dates) * columns
    together = max(1, _PIECE // columns)  # rows are treated together as they would be without stripes
    pieces = -(-rows // together)

    def stripe(part: tuple[int, int]) -> None:
        run.check()
        vm.run(
            code.code, code.constants, code.constant_values, code.registers, starts, integers, factors,
            maps, tables, absent, allowed, code.layers, code.reducers, code.probabilities, *networks, _PIECE,
            part[0] * together, min(part[1] * together, rows), out,
        )  # fmt: skip

    at_least = cancel.LONGEST * _SHARES / pieces if HELPERS.spare > 0 else 0.0
    for _ in HELPERS.each(stripe, list(cancel.stripes(pieces, max(seconds * together, at_least)))):
        pass


def _named(code: Code, out: np.ndarray) -> dict[str, xr.DataArray]:
    results: dict[str, xr.DataArray] = {}
    for step in code.steps:
        mine = [k for k, o in enumerate(code.outputs) if o.step is step]
        if step.meta.bands is None:
            results[step.node.hash] = xr.DataArray(out[mine[0]], dims=("y", "x"))
        else:
            bands = np.array([code.outputs[k].band for k in mine], dtype=object)
            whole = out[mine[0] : mine[-1] + 1]
            results[step.node.hash] = xr.DataArray(whole, dims=("bands", "y", "x"), coords={"bands": bands})
    return results


def _with_dates(code: Code, out: np.ndarray, dates: Times) -> xr.DataArray:
    """The images (dates, outputs, rows, columns) of the one step that a program for groups of dates gives."""
    axis = np.array(dates, "datetime64[ns]")
    if code.steps[0].meta.bands is None:
        return xr.DataArray(out[:, 0], dims=("t", "y", "x"), coords={"t": axis})
    bands = np.array([output.band for output in code.outputs], dtype=object)
    return xr.DataArray(out, dims=("t", "bands", "y", "x"), coords={"t": axis, "bands": bands})
