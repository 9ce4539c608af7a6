"""Evaluation of a chain on a rectangle of one grid at one level.

Demand flows up: from the result to the sources, every step gets the rectangle (with halos) and the dates that its users
need. Data flows down: steps run in order, an array is freed when its last user has run. Sources are pinned scenes,
rasters of `region` nodes, and other grids or levels, which are evaluations of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from muses_lab.engine.fetch import Fetch, Load
from muses_lab.engine.grid import Grid, Rect, places
from muses_lab.engine.layout import Report
from muses_lab.engine.program import LOAD, Program, Step, Times
from muses_lab.engine.read import Read
from muses_lab.errors import Cancelled, MusesError, TooLarge
from muses_lab.graph import Node
from muses_lab.operators import Fit, Focal, Region, Structural
from muses_lab.operators.declare import Operator

if TYPE_CHECKING:
    from muses_lab.engine.core import Engine

DIMS = ("t", "bands", "y", "x")
_MAX_RECT = 1 << 26
"""Pixels that one evaluation may cover."""


@dataclass
class Run:
    """One request: where to look for the cancel flag, and what was met on the way."""

    program: Program
    cancelled: Callable[[], bool]
    results: Mapping[str, bytes] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    shares: bool = False
    """Whether images are needed on rectangles of which others need the neighbours: then by whole blocks."""

    def own(self) -> Run:
        """The same request with a report of its own, for what is kept and met again by others."""
        return Run(self.program, self.cancelled, self.results, shares=self.shares)

    def check(self) -> None:
        if self.cancelled():
            raise Cancelled("nobody waits for this block any more")

    @property
    def report(self) -> Report:
        return Report(frozenset(self.used), dict(self.failed))

    def add(self, report: Report) -> None:
        self.used |= report.used
        self.failed.update(report.failed)


@dataclass
class Demand:
    """What the steps above need of a step."""

    rect: Rect
    times: frozenset[np.datetime64] | None
    """None: all that there are."""
    users: int = 0
    guards: tuple[Node, ...] = ()
    """Masks that everything read here passes through: dates that they remove altogether need not be read."""


class Ready(NamedTuple):
    """An image that has been evaluated, on a rectangle that holds what is needed of it."""

    rect: Rect
    values: xr.DataArray

    def on(self, rect: Rect) -> xr.DataArray:
        return cut(self.values, self.rect, rect)


def cut(values: xr.DataArray, rect: Rect, inner: Rect) -> xr.DataArray:
    """What values on a rectangle are on one inside it."""
    if inner == rect:
        return values
    rows, cols = inner.within(rect)
    return values.isel(y=rows, x=cols)


def evaluate(
    engine: Engine, run: Run, target: Step, grid: Grid, level: int, rect: Rect, size: int, read: Read,
    ready: Mapping[str, Ready],
) -> xr.DataArray:  # fmt: skip
    """The values of a step on a rectangle: dims of DIMS that it has, NaN where missing; dates without data left out.

    `size`: bytes that this takes (see `footprint`); `read`: how stored values are had; `ready`: results of steps
    below, by hash.
    """
    check_size(rect)
    demands, order = demand(run.program, target, grid, level, rect)
    results: dict[str, xr.DataArray] = {}
    for step in order:  # evaluations of their own come first, while there is nothing else to hold
        if is_apart(step, target):
            run.check()
            need = demands[step.node.hash]
            known = ready.get(step.node.hash)
            results[step.node.hash] = (
                engine.piece(run, step, grid, level, need.rect, need.times) if known is None else known.on(need.rect)
            )
    reads: list[Load] = []
    if read == engine.reader.stored:  # else somebody holds what is read, and has asked for it
        reads = [
            Load(s, demands[s.node.hash].rect, demands[s.node.hash].times) for s in order if s.node.process == LOAD
        ]
    with Fetch(engine.reader, run.program, grid, level, reads, run.cancelled) as fetch, engine.memory.work(size):
        for step in order:
            if is_apart(step, target):
                continue
            run.check()
            need = demands[step.node.hash]
            if step.node.process == LOAD:
                value = _load(read, run, step, grid, level, need, results, fetch)
            else:
                value = _compute(step, grid, level, need, results, demands, engine, run)
            results[step.node.hash] = value
            del value
            for _, child in _evaluated_inputs(step):
                demands[child.hash].users -= 1
                if demands[child.hash].users == 0:
                    del results[child.hash]
        return results[target.node.hash]


def check_size(rect: Rect) -> None:
    """Refuses what would not fit into memory: a pinned resolution far below the level shown asks for that."""
    if rect.shape[0] * rect.shape[1] > _MAX_RECT:
        raise TooLarge(
            f"an evaluation on {rect.shape[0]} × {rect.shape[1]} pixels was asked for in one piece; "
            "look closer, or choose a coarser resolution"
        )


def is_boundary(step: Step, target: Step) -> bool:
    """Whether a step is an evaluation of its own: kept block by block, or on another grid or level."""
    if step is target:
        return False
    return keeps_blocks(step) or isinstance(step.operator.support, Structural | Region)


def is_apart(step: Step, target: Step) -> bool:
    """Whether a step is evaluated before the others, by itself."""
    return step.node.process != LOAD and is_boundary(step, target)


def keeps_blocks(step: Step) -> bool:
    """Steps whose blocks are worth keeping: what reduces time, neighbourhoods of images, and what is on disk anyway."""
    if step.kept:
        return True
    reduces_time = step.node.process == "reduce_dimension" and step.arguments["dimension"] == "t"
    return reduces_time or (isinstance(step.operator.support, Focal) and not step.meta.time)


def _evaluated_inputs(step: Step) -> tuple[tuple[str, Node], ...]:
    """Inputs that are evaluated on the step's own grid and level."""
    return () if isinstance(step.operator.support, Structural | Region) else step.cubes


def halo(step: Step, grid: Grid, level: int) -> int:
    support = step.operator.support
    return support.radius(step.arguments, grid.pixel_metres(level)) if isinstance(support, Focal) else 0


def demand(program: Program, target: Step, grid: Grid, level: int, rect: Rect) -> tuple[dict[str, Demand], list[Step]]:
    """What is needed of every step below the target, and the order to run them in."""
    order = _order(program, target)
    demands = {target.node.hash: Demand(rect, None, users=1)}
    for step in reversed(order):
        if is_boundary(step, target):
            continue
        inner = demands[step.node.hash].rect.grow(halo(step, grid, level))
        times = demands[step.node.hash].times
        if step.node.process == "filter_temporal":
            times = step.dates if times is None else times & step.dates
        elif step.node.process == "reduce_dimension" and step.arguments["dimension"] == "t":
            times = None
        for name, child in _evaluated_inputs(step):
            mine = program.selector_dates(step, times) if step.node.process == "mask" and name == "mask" else times
            known = demands.get(child.hash)
            if known is None:
                demands[child.hash] = Demand(inner, mine, users=1)
            else:
                known.rect = known.rect.union(inner)
                known.times = None if mine is None or known.times is None else known.times | mine
                known.users += 1
    for step in order:
        if step.node.process == "mask" and not is_boundary(step, target):
            _guard(program, step, order, demands, target)
    thinning = program.thinning(target, grid.id, level)
    if thinning is not None:
        _leave_out(program, thinning.left_out, order, demands, target)
    return demands, order


def loads(
    program: Program, target: Step, grid: Grid, level: int, rect: Rect, known: Callable[[Step, Rect], bool]
) -> Iterator[Load]:
    """What is read for a step on a rectangle, those first that are read first; not below what is `known` there."""
    demands, order = demand(program, target, grid, level, rect)
    for step in order:
        need = demands[step.node.hash]
        if step.node.process == LOAD:
            yield Load(step, need.rect, need.times)
            continue
        inside = is_boundary(step, target) and not isinstance(step.operator.support, Structural | Region)
        if inside and not known(step, need.rect):
            yield from loads(program, step, grid, level, need.rect, known)


def _leave_out(
    program: Program, dates: frozenset[np.datetime64], order: list[Step], demands: Mapping[str, Demand], target: Step
) -> None:
    """Dates that the thinning rule leaves out are not there for any step below a reduction over time."""
    for step in order:
        need = demands[step.node.hash]
        if step is target:  # the dates of what it reduces
            need.times = frozenset({t for _, child in step.cubes for t in program[child].times}) - dates
        elif step.meta.time:
            need.times = (step.dates if need.times is None else need.times) - dates


def _order(program: Program, target: Step) -> list[Step]:
    """Steps below the target up to boundaries, inputs first, masks before the data they mask."""
    order: list[Step] = []
    entered = {target.node.hash}
    stack = [(target, iter(_evaluated_inputs(target)))]
    while stack:
        step, inputs = stack[-1]
        for _, child in inputs:
            if child.hash not in entered:
                entered.add(child.hash)
                below = program[child]
                stack.append((below, iter(() if is_boundary(below, target) else _evaluated_inputs(below))))
                break
        else:
            stack.pop()
            order.append(step)
    return order


def _guard(program: Program, mask: Step, order: list[Step], demands: Mapping[str, Demand], target: Step) -> None:
    """Notes at the reading steps whose every use passes through this mask that it can spare them dates."""
    selector = program[mask.arguments["mask"]]
    if not selector.meta.time or mask.arguments["replacement"] is not None:
        return
    users: dict[str, set[str]] = {}
    for step in order:
        if not is_boundary(step, target):
            for name, child in _evaluated_inputs(step):
                # The mask's own selector is a use that the mask does not cover.
                users.setdefault(child.hash, set()).add(
                    step.node.hash if (step is not mask or name == "data") else "selector"
                )
    covered = {mask.node.hash}
    for step in reversed(order):
        mine = users.get(step.node.hash)
        if mine and mine <= covered and step is not mask and step.meta.time:
            covered.add(step.node.hash)
            if step.node.process == LOAD:
                need = demands[step.node.hash]
                need.guards = (*need.guards, selector.node)


def _load(
    read: Read, run: Run, step: Step, grid: Grid, level: int, need: Demand,
    results: Mapping[str, xr.DataArray], fetch: Fetch,
) -> xr.DataArray:  # fmt: skip
    """Pinned scenes read: dims t, bands, y, x; one step of `t` for each observation that has data here."""
    source = run.program.source(step.node)
    bands = step.meta.bands or ()
    f = 2**level
    native = Rect(need.rect.r0 * f, need.rect.r1 * f, need.rect.c0 * f, need.rect.c1 * f)
    spared = {t for selector in need.guards for t in _removed(results[selector.hash])}
    fetch.before(step, spared)
    place: dict[np.datetime64, int] = {}
    placements = source.on(grid.id, native, need.times)
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
    coords = {"t": np.array(times, dtype="datetime64[ns]"), "bands": np.array(bands, dtype=object)}
    return xr.DataArray(values, dims=DIMS, coords=coords)


def _read_scene(
    read: Read, run: Run, source: Any, scene: Any, bands: tuple[str, ...], grid: Grid, level: int, rect: Rect
) -> np.ndarray | None:
    """(bands, y, x) of one scene, or None where it has no valid pixel here."""
    layers: list[np.ndarray | None] = []
    for name in bands:
        asset = scene.assets.get(name)
        stored = None
        if asset is not None:
            stored = read(source.scenes.catalog, asset, source.band(name), grid, level, rect, run.cancelled)
        layers.append(None if stored is None else stored.physical(rect.shape))
    present = [v for v in layers if v is not None]
    if not any(np.isfinite(v).any() for v in present):
        return None
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


def _compute(
    step: Step, grid: Grid, level: int, need: Demand, results: Mapping[str, xr.DataArray],
    demands: Mapping[str, Demand], engine: Engine, run: Run,
) -> xr.DataArray:  # fmt: skip
    radius = halo(step, grid, level)
    inner = need.rect.grow(radius)
    cubes: dict[str, xr.DataArray] = {}
    for name, child in step.cubes:
        array = cut(results[child.hash], demands[child.hash].rect, inner)
        bands = step.needs.get(name)
        if bands is not None and "bands" in array.dims and tuple(array.bands.values) != bands:
            array = array.sel(bands=list(bands))
        cubes[name] = array
    cubes = _align(step, cubes, run.program, need.times)
    arguments = {k: v for k, v in step.arguments.items() if k not in cubes}
    given = _injected(step, grid, level, inner)
    if isinstance(step.operator.support, Fit):
        given["fitted"] = engine.fitted(run, step)
        arguments = {k: v for k, v in arguments.items() if k in step.operator.arguments}
    value = step.operator.fn(**cubes, **arguments, **given)
    dims = tuple(d for d in DIMS if d in value.dims)
    if value.dims != dims:
        value = value.transpose(*dims)
    return cut(value, inner, need.rect)


def _injected(step: Step, grid: Grid, level: int, rect: Rect) -> dict[str, Any]:
    """What an operator asks of the engine by name."""
    offered: dict[str, Callable[[], Any]] = {
        "meta": lambda: next(iter(step.input_metas.values())),
        "pixel_size": lambda: grid.pixel_metres(level),
        "places": lambda: lambda crs: places(grid.geobox(level, rect), crs),
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
    step: Step, cubes: dict[str, xr.DataArray], program: Program, times: frozenset[np.datetime64] | None
) -> dict[str, xr.DataArray]:
    """Inputs on a common axis of dates: those that some lack are missing there.

    A step for which missing dates matter (it counts them, or makes values of them) gets all dates there can be.
    """
    timed = {n: a for n, a in cubes.items() if "t" in a.dims}
    if not timed:
        return cubes
    if not step.strict:
        axes = {n: _axis(program[step.arguments[n]].times, times) for n in timed}
        full = tuple(sorted({t for axis in axes.values() for t in axis}))
        return {n: _reindex(a, full) if n in timed else a for n, a in cubes.items()}
    if step.node.process == "mask" and "mask" in timed:
        return {**cubes, "mask": _reindex(cubes["mask"], tuple(cubes["data"].t.values))}
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
