"""A stage by NumPy: the operators' functions, one after the other.

Data flow down: the steps of a stage run in order, an array is freed when its last user has run. Sources are pinned
scenes, and stages of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from muses_lab.document import graph
from muses_lab.engine.graph import PreparedGraph, Step, Times
from muses_lab.engine.mosaic import Report
from muses_lab.engine.prefetch import ReadAhead, bands_of
from muses_lab.engine.stages import Stage, inputs_here
from muses_lab.errors import Cancelled, MusesError, TooLarge
from muses_lab.operators import Fit, cost_of
from muses_lab.operators.declared import Operator
from muses_lab.raster.asset import Band
from muses_lab.raster.grid import Grid, Rect, places
from muses_lab.raster.reader import Reader, ReadFunction
from muses_lab.resources import cancel, rates
from muses_lab.resources.memory import Memory

DIMS = ("t", "bands", "y", "x")
_MAX_RECT = 1 << 26
"""Pixels that one evaluation may cover."""


@dataclass
class Run:
    """One request: where to look for the cancel flag, and what was met on the way."""

    prepared: PreparedGraph
    cancelled: Callable[[], bool]
    results: Mapping[str, bytes] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """Scenes that could not be read: they are left out of all that is evaluated here."""
    incomplete: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By node hash: scenes that could not be read for a result of a whole extent."""
    inherited: dict[str, str] = field(default_factory=dict)
    """Those of the results that were used: told, but not left out here."""
    hash: str = ""
    """`Published.hash`: names what is made of incomplete results."""
    once: bool = False
    """Whether blocks of files that lie in what is read are needed for nothing else, so that they are not kept."""

    def own(self) -> Run:
        """The same request with a report of its own, for what is kept and met again by others."""
        return replace(self, used=set(), failed={}, inherited={})

    def mark(self, step: Step) -> tuple[str, ...]:
        """Ends a step's names in the cache where it is made of incomplete results: others must not meet it there."""
        if self.incomplete and any(node.hash in self.incomplete for node in graph.walk(step.node)):
            return (self.hash,)
        return ()

    def result(self, step: Step) -> bytes:
        """The result of a `region` or `fit` node; what could not be read for it is told with all that is made of it."""
        self.inherited.update(self.incomplete.get(step.node.hash, {}))
        return self.results[step.node.hash]

    def check(self) -> None:
        if self.cancelled():
            raise Cancelled("nobody waits for this block any more")

    @property
    def report(self) -> Report:
        return Report(frozenset(self.used), {**self.inherited, **self.failed})

    def add(self, report: Report) -> None:
        self.used |= report.used
        self.failed.update(report.failed)


class Ready(NamedTuple):
    """An image that has been evaluated, on a rectangle that holds what is needed of it."""

    rect: Rect
    values: xr.DataArray

    def on(self, rect: Rect) -> xr.DataArray:
        return cut(self.values, self.rect, rect)


class Evaluator(Protocol):
    """What a stage asks of the engine that runs it: how to read, and memory to work in."""

    reader: Reader
    memory: Memory


def cut(values: xr.DataArray, rect: Rect, inner: Rect) -> xr.DataArray:
    """What values on a rectangle are on one inside it."""
    if inner == rect:
        return values
    rows, cols = inner.within(rect)
    return values.isel(y=rows, x=cols)


def evaluate(
    engine: Evaluator, run: Run, stage: Stage, size: int, read: ReadFunction, ready: Mapping[str, Ready]
) -> xr.DataArray:
    """The values of a stage: dims of DIMS that it has, NaN where missing; dates without data left out.

    `size`: bytes that this takes (see `strips`); `read`: how stored values are had; `ready`: its inputs, by hash.
    """
    check_size(stage.rect)
    grid, level = stage.grid, stage.level
    results: dict[str, xr.DataArray] = {}
    for step in stage.inputs:
        results[step.node.hash] = ready[step.node.hash].on(stage.need(step).rect)
    reads = stage.loads if read == engine.reader.stored else []  # else somebody holds what is read, and asked for it
    left = dict(stage.users)
    with ReadAhead(engine.reader, run.prepared, grid, level, reads, run.cancelled) as fetch, engine.memory.work(size):
        for step in stage.order:
            if stage.is_input(step):
                continue
            run.check()
            hash = step.node.hash
            results[hash] = (
                _load(engine.reader, read, run, step, stage, results, fetch)
                if step.reads
                else _compute(step, stage, results, run)
            )
            for _, child in inputs_here(step):
                left[child.hash] -= 1
                if left[child.hash] == 0:
                    del results[child.hash]
        return results[stage.step.node.hash]


def check_size(rect: Rect) -> None:
    """Refuses what would not fit into memory: a pinned resolution far below the level shown asks for that."""
    if rect.shape[0] * rect.shape[1] > _MAX_RECT:
        raise TooLarge(
            f"an evaluation on {rect.shape[0]} × {rect.shape[1]} pixels was asked for in one piece; "
            "look closer, or choose a coarser resolution"
        )


def _load(
    reader: Reader, read: ReadFunction, run: Run, step: Step, stage: Stage, results: Mapping[str, xr.DataArray],
    fetch: ReadAhead,
) -> xr.DataArray:  # fmt: skip
    """Pinned scenes read: dims t, bands, y, x; one step of `t` for each observation that has data here."""
    source = run.prepared.source(step.node)
    grid, level, need = stage.grid, stage.level, stage.need(step)
    bands = bands_of(reader, source, step, level, run.cancelled)
    guards = stage.guards.get(step.node.hash, ())
    spared = {t for selector in guards for t in _removed(results[selector.hash])}
    fetch.before(step, spared)
    place: dict[np.datetime64, int] = {}
    placements = source.at(grid, need.rect.scaled(2**level), need.dates)
    values = np.empty((len(placements), len(bands), *need.rect.shape), np.float32)  # what is not filled takes no memory
    for placed in placements:
        run.check()
        if placed.time in spared:
            continue
        if placed.scene.id in run.failed:
            continue
        try:
            image = _read_scene(read, run, source, placed.scene, bands, grid, level, need.rect)
        except Cancelled:
            raise
        except MusesError as error:
            run.failed[placed.scene.id] = error.message
            continue
        if image is None:
            continue
        run.used.add(placed.scene.id)
        if image.dtype != values.dtype:
            wider = np.empty(values.shape, np.result_type(values, image))
            wider[: len(place)] = values[: len(place)]
            values = wider
        if placed.time in place:  # another tile of the same overpass
            before = values[place[placed.time]]
            np.copyto(before, image, where=np.isnan(before))
        else:
            values[len(place)] = image
            place[placed.time] = len(place)
    times = sorted(place)
    values = values[: len(times)] if times == list(place) else values[[place[t] for t in times]]
    coords = {"t": np.array(times, dtype="datetime64[ns]"), "bands": np.array(list(bands), dtype=object)}
    return xr.DataArray(values, dims=DIMS, coords=coords)


def _read_scene(
    read: ReadFunction, run: Run, source: Any, scene: Any, bands: Mapping[str, Band], grid: Grid, level: int, rect: Rect
) -> np.ndarray | None:
    """(bands, y, x) of one scene, or None where it has no valid pixel here."""
    layers: list[np.ndarray | None] = []
    for name, band in bands.items():
        asset = scene.assets.get(name)
        stored = None
        if asset is not None:
            stored = read(source.scenes.catalog, asset, band, grid, level, rect, run.cancelled, run.once)
        layers.append(None if stored is None else stored.physical(rect.shape))
    present = [v for v in layers if v is not None]
    if not any(np.isfinite(v).any() for v in present):
        return None
    if len(layers) == 1:
        return present[0][None]
    dtype = np.result_type(np.float32, *{v.dtype for v in present})
    out = np.full((len(bands), *rect.shape), np.nan, dtype)
    for number, layer in enumerate(layers):
        if layer is not None:
            out[number] = layer
    return out


def _removed(selector: xr.DataArray) -> set[np.datetime64]:
    """Dates at which a mask is true everywhere."""
    axes = tuple(d for d in selector.dims if d != "t")
    everywhere = (selector.fillna(0) != 0).all(axes)
    return set(selector.t.values[np.asarray(everywhere.data)])


def _compute(step: Step, stage: Stage, results: Mapping[str, xr.DataArray], run: Run) -> xr.DataArray:
    grid, level, need = stage.grid, stage.level, stage.need(step)
    inner = need.rect.grow(step.halo(grid.pixel_metres(level)))
    cubes: dict[str, xr.DataArray] = {}
    for name, child in step.cubes:
        array = cut(results[child.hash], stage.needs[child.hash].rect, inner)
        bands = step.needs.get(name)
        if bands is not None and "bands" in array.dims and tuple(array.bands.values) != bands:
            array = array.sel(bands=list(bands))
        cubes[name] = array
    dates = stage.needs[step.data.hash].dates if step.along_time else stage.dates_for(step)
    cubes = _align(step, cubes, run.prepared, dates)
    arguments = {k: v for k, v in step.arguments.items() if k not in cubes}
    given = _injected(step, stage, inner, run.prepared)
    if isinstance(step.operator.support, Fit):
        given["fitted"] = json.loads(run.result(step))
        arguments = {k: v for k, v in arguments.items() if k in step.operator.arguments}
    fitted = isinstance(step.operator.support, Fit)  # its cost is that of the fitting
    timing = nullcontext() if fitted else timed(step, grid.pixel_metres(level), need.rect.shape, cubes)
    with timing, cancel.watching(run.check):
        value = step.operator.fn(**cubes, **arguments, **given)
    _check_dims(step, value)
    dims = tuple(d for d in DIMS if d in value.dims)
    if value.dims != dims:
        value = value.transpose(*dims)
    return value if "halo" in given else cut(value, inner, need.rect)


def _check_dims(step: Step, value: Any) -> None:
    """The functions of users do not always give what they are declared to give."""
    promised = {"y", "x"} | ({"t"} if step.meta.time else set()) | ({"bands"} if step.meta.bands is not None else set())
    given = set(value.dims) if isinstance(value, xr.DataArray) else None
    if given == promised:
        return
    told = type(value).__name__ if given is None else f"an array of ({', '.join(map(str, value.dims))})"
    lost = [f"reduces={dim!r}" for dim in DIMS[:2] if given is not None and dim in promised - given]
    raise MusesError(
        f"the function of the operator {step.operator.id!r} gives {told}, and it is declared to give an array of "
        f"({', '.join(dim for dim in DIMS if dim in promised)})" + (f": {', '.join(lost)} declares it" if lost else "")
    )


@contextmanager
def timed(step: Step, pixel_size: float, shape: tuple[int, int], cubes: Mapping[str, xr.DataArray]) -> Iterator[None]:
    """Tells `resources.rates` what an operator took that declares its cost."""
    if step.operator.declared_cost is None or not cubes:
        yield
        return
    start = perf_counter()
    yield
    took = perf_counter() - start
    images = max(math.prod(array.shape[:-2]) for array in cubes.values())
    rates.record_operator(images * cost_of(step.operator, step.arguments, pixel_size, *shape).seconds, took)


def _injected(step: Step, stage: Stage, rect: Rect, prepared: PreparedGraph) -> dict[str, Any]:
    """What an operator asks of the engine by name."""
    grid, level = stage.grid, stage.level
    offered: dict[str, Callable[[], Any]] = {
        "meta": lambda: next(iter(step.input_metas.values())),
        "pixel_size": lambda: grid.pixel_metres(level),
        "places": lambda: lambda crs: places(grid.geobox(level, rect), crs),
        "geobox": lambda: grid.geobox(level, rect),
        "halo": lambda: step.halo(grid.pixel_metres(level)),
        "groups": lambda: stage.groups,
        "axes": lambda: {name: prepared[child].times for name, child in step.cubes},
        "rect": lambda: rect,
        "in_extent": lambda: rect.intersection(step.grids.get(grid.id, grid).rect(level)).within(rect),
    }
    return {name: offered[name]() for name in step.operator.injected if name in offered}


def call(operator: Operator, step: Step, data: xr.DataArray, pixel_size: float) -> Any:
    """A `region` operator, or the fitting half of a `fit` operator, on its whole pinned extent."""
    support = operator.support
    skip = {"extent", "resolution", *operator.cubes}
    arguments = {k: v for k, v in step.arguments.items() if k not in skip}
    if isinstance(support, Fit):
        return support.fit(data, **arguments)
    given = {"pixel_size": pixel_size} if "pixel_size" in operator.injected else {}
    return operator.fn(data, **arguments, **given)


def _align(
    step: Step, cubes: dict[str, xr.DataArray], prepared: PreparedGraph, times: frozenset[np.datetime64] | None
) -> dict[str, xr.DataArray]:
    """Inputs on a common axis of dates: those that some lack are missing there.

    A step for which missing dates matter (it counts them, or makes values of them) gets all dates there can be.
    """
    timed = {n: a for n, a in cubes.items() if "t" in a.dims}
    if not timed:
        return cubes
    if not step.strict:
        axes = {n: _axis(prepared[step.arguments[n]].times, times) for n in timed}
        full = tuple(sorted({t for axis in axes.values() for t in axis}))
        return {n: _reindex(a, full) if n in timed else a for n, a in cubes.items()}
    if step.operator.masks in timed:
        data, selector = step.operator.cubes[0], step.operator.masks
        return {**cubes, selector: _reindex(cubes[selector], tuple(cubes[data].t.values))}
    if len(timed) > 1:
        union = tuple(sorted({t for a in timed.values() for t in a.t.values}))
        return {n: _reindex(a, union) if n in timed else a for n, a in cubes.items()}
    return cubes


def _axis(every: Times, times: frozenset[np.datetime64] | None) -> Times:
    return every if times is None else tuple(t for t in every if t in times)


def _reindex(array: xr.DataArray, times: Times) -> xr.DataArray:
    if tuple(array.t.values) == times:
        return array
    return array.reindex(t=np.array(times, dtype="datetime64[ns]"))


def on_axis(array: xr.DataArray, step: Step) -> xr.DataArray:
    """A result with all dates that the step can have."""
    return _reindex(array, step.times) if "t" in array.dims else array


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


def promoted(out: xr.DataArray, values: xr.DataArray) -> xr.DataArray:
    """`out` in a precision that holds the values."""
    wide = np.result_type(out.dtype, values.dtype)
    return out if wide == out.dtype else out.astype(wide)
