"""A chain made ready for evaluation: what is known of every node before a window is given.

From the output to the sources: which bands somebody really uses (each use of a collection reads just those). From the
sources to the output: dimensions, bands, grids and dates of every node.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Set
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import box
from shapely.geometry.base import BaseGeometry

from muses_lab import graph
from muses_lab.engine.grid import Grid, Rect
from muses_lab.engine.sources import Source, source_of
from muses_lab.engine.thinning import Thinning, limit, thinned
from muses_lab.errors import ExtentRequired, GridError, NotFound, TooLarge
from muses_lab.graph import Callback, Node
from muses_lab.operators import Fit, Focal, Meta, Operator, Pixel, Region, Structural, is_strict, registry
from muses_lab.operators.callbacks import with_labels
from muses_lab.operators.cubes import BBox, instant
from muses_lab.scenes import Scenes
from muses_lab.settings import number

LOAD = "muses:load_items"

CHANGES_GRID = ("resample_spatial", "resample_cube_spatial")

_MAX_NESTED = 64
"""Evaluations inside evaluations. Steps on the same pixel are part of the one above and may be thousands."""

Times = tuple[np.datetime64, ...]


@dataclass(frozen=True)
class Step:
    """A node with all that is known of it."""

    node: Node
    operator: Operator
    arguments: Mapping[str, Any]
    """With defaults filled in; cubes still as nodes."""
    cubes: tuple[tuple[str, Node], ...]
    """(argument, node) of its cube inputs, masks before the data they mask."""
    meta: Meta
    input_metas: Mapping[str, Meta]
    grids: Mapping[str, Grid]
    times: Times
    """Steps of `t` it can have; empty without `t`."""
    strict: bool
    needs: Mapping[str, tuple[str, ...] | None]
    """Argument → bands of that input that are used."""
    pinned: bool
    """Whether it comes from rasters of pinned extents only: it follows the grid of what it is combined with."""
    kept: bool = False
    """Whether blocks of it are on disk (`engine.pyramid`): it is an evaluation of its own for whatever uses it."""

    @cached_property
    def dates(self) -> frozenset[np.datetime64]:
        """`times` as a set."""
        return frozenset(self.times)

    def shape(self, pixels: tuple[int, int]) -> tuple[int, ...]:
        """Sizes of the dimensions (t, bands, y, x) that its result has on so many rows and columns."""
        bands = () if self.meta.bands is None else (len(self.meta.bands),)
        return (*((len(self.times),) if self.meta.time else ()), *bands, *pixels)


class Program:
    """The steps of a chain by node hash, inputs first."""

    def __init__(self, root: Node, scenes: Mapping[str, Scenes]) -> None:
        self.sources: dict[str, Source] = {}
        for node in graph.walk(root):
            if node.process == LOAD and node.arguments["digest"] not in self.sources:
                digest = node.arguments["digest"]
                if digest not in scenes:
                    raise NotFound(f"the chain's list of scenes {digest[:12]}… is not there", digest=digest)
                self.sources[digest] = source_of(scenes[digest])
        self.root = self._read_only_used_bands(root)
        self.steps: dict[str, Step] = {}
        self._footprints: dict[tuple[str, str], BaseGeometry] = {}
        self._dates: dict[str, dict[str, frozenset[np.datetime64] | None]] = {}
        self._thinnings: dict[tuple[str, str, int], Thinning | None] = {}
        self._reaches: dict[tuple[str, str, int], int] = {}
        for node in graph.walk(self.root):
            self.steps[node.hash] = self._step(node)
        self._check_nesting()

    def _check_nesting(self) -> None:
        """Evaluations inside evaluations: each waits, with what it holds, for those below it."""
        nested: dict[str, int] = {}
        for step in self.steps.values():
            apart = not isinstance(step.operator.support, Pixel) or "reducer" in step.arguments
            nested[step.node.hash] = max((nested[n.hash] for _, n in step.cubes), default=0) + apart
        if nested[self.root.hash] > _MAX_NESTED:
            raise TooLarge(
                f"the chain has {nested[self.root.hash]} steps one after another that need more than their own pixel "
                f"(reducers, neighbourhoods, changes of grid); the most are {_MAX_NESTED}"
            )

    def __getitem__(self, node: Node) -> Step:
        return self.steps[node.hash]

    def with_kept(self, nodes: Set[str]) -> Program:
        """The same with the steps marked (by node hash) of which blocks are on disk."""
        other = copy(self)
        other.steps = {hash: replace(s, kept=True) if hash in nodes else s for hash, s in self.steps.items()}
        return other

    @property
    def output(self) -> Step:
        return self.steps[self.root.hash]

    def whole_nodes(self) -> list[Step]:
        """`region` and `fit` nodes, those first that others depend on."""
        return [s for s in self.steps.values() if s.operator.needs_extent]

    def source(self, node: Node) -> Source:
        return self.sources[node.arguments["digest"]]

    def loads_below(self, node: Node) -> Iterator[Step]:
        """The reading steps that a node depends on."""
        return (self.steps[n.hash] for n in graph.walk(node) if n.process == LOAD)

    def dates_below(self, node: Node) -> dict[str, frozenset[np.datetime64] | None]:
        """Reading step (by its hash) → the dates that a node needs of it; None: all."""
        if node.hash not in self._dates:
            self._dates[node.hash] = self._dates_below(node)
        return self._dates[node.hash]

    def _dates_below(self, node: Node) -> dict[str, frozenset[np.datetime64] | None]:
        wanted: dict[str, frozenset[np.datetime64] | None] = {node.hash: None}
        for below in reversed(graph.walk(node)):
            step, times = self.steps[below.hash], wanted[below.hash]
            if below.process == "filter_temporal":
                times = step.dates if times is None else times & step.dates
            elif not step.meta.time:
                times = None
            for _, child in step.cubes:
                before = wanted.get(child.hash, frozenset())
                wanted[child.hash] = None if times is None or before is None else times | before
        return {hash: times for hash, times in wanted.items() if self.steps[hash].node.process == LOAD}

    def thinning(self, step: Step, grid: str, level: int) -> Thinning | None:
        """Which dates a reduction over time leaves out on a grid at a level; None where it uses all."""
        most = limit(level)
        if most is None or not _reduces_time(step):
            return None
        key = (step.node.hash, grid, most)
        if key not in self._thinnings:
            clouds: dict[np.datetime64, float] = {}
            for digest, times in self._series(step):
                for time, cover in self.sources[digest].dates(grid).items():
                    if times is None or time in times:
                        clouds[time] = max(cover, clouds.get(time, cover))
            self._thinnings[key] = thinned(clouds, most)
        return self._thinnings[key]

    def thinned_below(self, step: Step, grid: str, level: int) -> Thinning | None:
        """The thinning of the longest series that is thinned for a step's blocks at a level of a grid."""
        if limit(level) is None:
            return None
        found = []
        stack, seen = [step], {step.node.hash}
        while stack:
            step = stack.pop()
            found.append(self.thinning(step, grid, level))
            if not isinstance(step.operator.support, Structural | Region):
                stack += [self.steps[child.hash] for _, child in step.cubes if child.hash not in seen]
                seen.update(child.hash for _, child in step.cubes)
        return max((t for t in found if t), key=lambda t: t.of, default=None)

    def reach(self, step: Step, grid: Grid, level: int) -> int:
        """Pixels by which a rectangle of an image needs more of the images below it than itself.

        The radii of neighbourhoods upon each other, down to what reduces time or is evaluated elsewhere.
        """
        key = (step.node.hash, grid.id, level)
        if key not in self._reaches:
            reaches: dict[str, int] = {}
            for node in graph.walk(step.node):
                below = self.steps[node.hash]
                support = below.operator.support
                inputs = [reaches[child.hash] for _, child in below.cubes]
                if below.meta.time or _reduces_time(below) or isinstance(support, Structural | Region):
                    inputs = []
                own = support.radius(below.arguments, grid.pixel_metres(level)) if isinstance(support, Focal) else 0
                reaches[node.hash] = 0 if below.meta.time else own + max(inputs, default=0)
            self._reaches[key] = reaches[step.node.hash]
        return self._reaches[key]

    def _series(self, reducer: Step) -> list[tuple[str, frozenset[np.datetime64] | None]]:
        """(list of scenes, dates wanted of it) of what a reduction over time reads on its own grid and level."""
        wanted: dict[str, frozenset[np.datetime64] | None] = {child.hash: None for _, child in reducer.cubes}
        series = []
        for below in reversed(graph.walk(reducer.node)[:-1]):
            step = self.steps[below.hash]
            if below.hash not in wanted or not step.meta.time:
                continue
            times = wanted[below.hash]
            if below.process == LOAD:
                series.append((below.arguments["digest"], times))
                continue
            if isinstance(step.operator.support, Structural | Region):
                continue  # of another grid or level: an evaluation of its own
            if below.process == "filter_temporal":
                times = step.dates if times is None else times & step.dates
            for name, child in step.cubes:
                of_child = self.selector_dates(step, times) if name == "mask" else times
                before = wanted.get(child.hash, frozenset())
                wanted[child.hash] = None if of_child is None or before is None else of_child | before
        return series

    def selector_dates(self, mask: Step, times: frozenset[np.datetime64] | None) -> frozenset[np.datetime64] | None:
        """Dates that a `mask` needs of what it masks by, where these are wanted of it: those that its data have."""
        data = self.steps[mask.arguments["data"].hash]
        selector = self.steps[mask.arguments["mask"].hash]
        if not data.meta.time or selector.times == data.times:
            return times
        return data.dates if times is None else times & data.dates

    def candidates(self, step: Step, window: GeoBox) -> list[str]:
        """Ids of the step's grids that may touch a window, in order: all but those that are surely far away."""
        sources = [self.sources[digest] for digest in {s.node.arguments["digest"] for s in self.loads_below(step.node)}]
        near = {id for source in sources for id in source.candidates(window)}
        if not any(step.grids is source.grids for source in sources):  # a lattice of its own, or several joined
            near = {id for id in step.grids if id in near or not any(id in source.grids for source in sources)}
        return sorted(near & step.grids.keys())

    def footprint(self, step: Step, grid: str) -> BaseGeometry:
        """Where a step has data on one of its grids, in the grid's CRS."""
        key = (step.node.hash, grid)
        if key not in self._footprints:
            self._footprints[key] = self._footprint(step, grid)
        return self._footprints[key]

    def _footprint(self, step: Step, grid: str) -> BaseGeometry:
        shapes = [
            source.footprints[grid]
            for load in self.loads_below(step.node)
            if grid in (source := self.source(load.node)).footprints
        ]
        if not shapes:
            return shapely.box(*step.grids[grid].bounds())
        return shapely.union_all(shapes) if len(shapes) > 1 else shapes[0]

    # ------------------------------------------------------------------------------------------ preparation

    def _metas(self, root: Node) -> dict[str, Meta]:
        metas: dict[str, Meta] = {}
        for node in graph.walk(root):
            op, arguments = registry[node.process], _filled(node)
            if node.process == LOAD:
                metas[node.hash] = op.shape(arguments, {arguments["digest"]: self.source(node).meta})
            else:
                metas[node.hash] = op.shape(arguments, {n: metas[arguments[n].hash] for n in op.cubes})
        return metas

    def _read_only_used_bands(self, root: Node) -> Node:
        """`root` with a reading node of its own for every set of bands that a user of a collection needs."""
        metas = self._metas(root)
        order = graph.walk(root)
        wanted: dict[str, tuple[str, ...] | None] = {root.hash: metas[root.hash].bands}
        edges: dict[tuple[str, str], tuple[str, ...] | None] = {}
        for node in reversed(order):
            op, arguments = registry[node.process], _filled(node)
            inputs = {name: metas[arguments[name].hash] for name in op.cubes}
            for name, bands in op.needs(arguments, inputs, wanted[node.hash]).items():
                child = arguments[name]
                edges[node.hash, name] = bands
                if bands is not None:
                    have = wanted.get(child.hash) or ()
                    every = metas[child.hash].bands or ()
                    wanted[child.hash] = tuple(b for b in every if b in bands or b in have)
                else:
                    wanted.setdefault(child.hash, None)

        new: dict[str, Node] = {}
        new_bands: dict[str, tuple[str, ...] | None] = {}

        def load(node: Node, bands: tuple[str, ...] | None) -> Node:
            every = tuple(b.name for b in self.source(node).scenes.bands)
            chosen = every if bands is None else bands
            arguments = {"digest": node.arguments["digest"]}
            return Node(LOAD, arguments if chosen == every else {**arguments, "bands": list(chosen)}, node.version)

        def with_bands(child: Node, bands: tuple[str, ...] | None) -> Node:
            """What `child` has become, with just these bands: another user of it may need more of them."""
            if child.process == LOAD:
                return load(child, bands)
            made = new[child.hash]
            if bands is None or new_bands[child.hash] == bands:
                return made
            return Node("filter_bands", {"data": made, "bands": list(bands)}, registry["filter_bands"].version)

        for node in order:
            if node.process == LOAD:
                new[node.hash] = load(node, wanted[node.hash])
                continue
            op, arguments = registry[node.process], dict(node.arguments)
            inputs = {}
            for name in op.cubes:
                meta, bands = metas[arguments[name].hash], edges[node.hash, name]
                if node.process == "reduce_dimension" and arguments["dimension"] == "bands":
                    arguments["reducer"] = with_labels(arguments["reducer"], meta)
                arguments[name] = with_bands(arguments[name], bands)
                inputs[name] = Meta(meta.time, bands, meta.common)
            if node.process == "filter_bands":  # its input has just these bands, in this order
                new[node.hash], new_bands[node.hash] = arguments["data"], inputs["data"].bands
                continue
            new[node.hash] = Node(node.process, arguments, node.version)
            new_bands[node.hash] = op.shape(_filled(new[node.hash]), inputs).bands
        return new[root.hash]

    def _step(self, node: Node) -> Step:
        op, arguments = registry[node.process], _filled(node)
        cubes = tuple((name, arguments[name]) for name in op.cubes)
        if node.process == "mask":
            cubes = cubes[::-1]  # the mask first: what it removes altogether need not be read
        metas = {name: self.steps[child.hash].meta for name, child in cubes}
        if node.process == LOAD:
            source = self.source(node)
            meta = op.shape(arguments, {arguments["digest"]: source.meta})
            grids: Mapping[str, Grid] = source.grids
            times = source.axis
        else:
            meta = op.shape(arguments, metas)
            grids = self._grids(node, op, arguments, cubes)
            times = _times(node, meta, arguments, [self.steps[child.hash] for _, child in cubes])
        strict = op.strict and all(is_strict(a) for a in arguments.values() if isinstance(a, Callback))
        if arguments.get("replacement") is not None:
            strict = False  # what a mask removes gets a value, also on dates without data
        needs = op.needs(arguments, metas, meta.bands) if cubes else {}
        children = [self.steps[child.hash] for _, child in cubes]
        pinned = isinstance(op.support, Region) or bool(
            children and node.process not in CHANGES_GRID and all(child.pinned for child in children)
        )
        return Step(node, op, arguments, cubes, meta, metas, grids, times, strict, needs, pinned)

    def _grids(
        self, node: Node, op: Operator, arguments: Mapping[str, Any], cubes: tuple[tuple[str, Node], ...]
    ) -> Mapping[str, Grid]:
        inputs = [self.steps[child.hash] for _, child in cubes]
        if node.process == "resample_cube_spatial":
            return self.steps[arguments["target"].hash].grids
        if node.process == "resample_spatial":
            return _lattice(arguments["projection"], arguments["resolution"], inputs[0].grids)
        if isinstance(op.support, Region):
            grid = pinned_grid(node, arguments, inputs[0].grids)
            return {grid.id: grid}
        # A raster made on a pinned extent is brought to the grid of whatever it is combined with.
        fixed = [s for s in inputs if not s.pinned] or inputs[:1]
        if fixed and all(s.grids is fixed[0].grids for s in fixed):
            return fixed[0].grids
        grids: dict[str, Grid] = {}
        for other in fixed:
            if grids and other.grids and not set(grids) & set(other.grids):
                raise GridError(
                    f"{node.process!r} combines sources on the grids {', '.join(sorted(grids))} with sources on "
                    f"{', '.join(sorted(other.grids))}; say on which grid: a.on_grid(b) or a.on_grid(crs, resolution)"
                )
            for id, grid in other.grids.items():
                grids[id] = _joined(grids[id], grid) if id in grids else grid
        return grids


def _reduces_time(step: Step) -> bool:
    return step.node.process == "reduce_dimension" and step.arguments["dimension"] == "t"


def _filled(node: Node) -> dict[str, Any]:
    """A node's arguments with the defaults of those left out."""
    op = registry[node.process]
    return {a.name: node.arguments.get(a.name, a.default) for a in op.arguments.values()}


def _times(node: Node, meta: Meta, arguments: Mapping[str, Any], inputs: list[Step]) -> Times:
    if not meta.time:
        return ()
    axes = {id(step.times): step.times for step in inputs if step.times}
    times = next(iter(axes.values())) if len(axes) == 1 else tuple(sorted({t for axis in axes.values() for t in axis}))
    if node.process == "filter_temporal":
        start, end = arguments["extent"]
        first = 0 if start is None else bisect_left(times, instant(start))
        times = times[first : len(times) if end is None else bisect_left(times, instant(end), first)]
    return times


def _joined(a: Grid, b: Grid) -> Grid:
    if a.origin != b.origin or a.resolution != b.resolution:
        raise GridError(
            f"two collections place the grid {a.id!r} differently: origin {a.origin} and {b.origin}; use on_grid(…)"
        )
    return Grid(a.id, a.crs, a.origin, a.resolution, a.extent.union(b.extent))


def _lattice(projection: int | str, resolution: float, inputs: Mapping[str, Grid]) -> Mapping[str, Grid]:
    """The grid of a CRS and resolution, aligned to the CRS's origin, where the inputs are."""
    crs = f"EPSG:{projection}" if isinstance(projection, int) else projection
    extent: Rect | None = None
    for grid in inputs.values():
        b = box(*grid.bounds(), grid.crs).to_crs(crs, resolution=grid.resolution * 64).boundingbox
        rect = Rect(
            int(np.floor(-b.top / resolution)), int(np.ceil(-b.bottom / resolution)),
            int(np.floor(b.left / resolution)), int(np.ceil(b.right / resolution)),
        )  # fmt: skip
        extent = rect if extent is None else extent.union(rect)
    grid = Grid(f"{crs}@{resolution:g}+0,0", crs, (0.0, 0.0), resolution, extent or Rect(0, 0, 0, 0))
    return {grid.id: grid}


def pinned_grid(node: Node, arguments: Mapping[str, Any], inputs: Mapping[str, Grid]) -> Grid:
    """The lattice on which a `region` or `fit` node is evaluated: its extent on the grid at the extent's centre."""
    if arguments.get("extent") is None or arguments.get("resolution") is None:
        missing = "extent" if arguments.get("extent") is None else "resolution"
        raise ExtentRequired(
            f"{node.process!r} depends on connected regions or statistics of an area and needs an explicit {missing}: "
            "give extent= and resolution=, or pin the chain with .pin(bounds, resolution); Map.add pins to the view",
            process=node.process,
        )
    extent, size = BBox.model_validate(arguments["extent"]), float(arguments["resolution"])
    crs = f"EPSG:{extent.crs}" if isinstance(extent.crs, int) else extent.crs
    outline = box(extent.west, extent.south, extent.east, extent.north, crs)
    if not inputs:
        return Grid(f"{crs}@{size:g}#{node.hash[:12]}", crs, (0.0, 0.0), size, Rect(0, 0, 0, 0))

    def distance(grid: Grid) -> float:
        centre = outline.centroid.to_crs(grid.crs).geom
        shape = shapely.box(*grid.bounds())
        return -shape.exterior.distance(centre) if shape.contains(centre) else shape.distance(centre)

    base = min(sorted(inputs.values(), key=lambda g: g.id), key=distance)
    unit = size / base.metres
    b = outline.to_crs(base.crs, resolution=(extent.east - extent.west) / 64).boundingbox
    c0, c1 = np.floor((b.left - base.origin[0]) / unit + 1e-6), np.ceil((b.right - base.origin[0]) / unit - 1e-6)
    r0, r1 = np.floor((base.origin[1] - b.top) / unit + 1e-6), np.ceil((base.origin[1] - b.bottom) / unit - 1e-6)
    rect = Rect(int(r0), int(r1), int(c0), int(c1))
    limit = int(number("MUSES_MAX_REGION_PIXELS", 64e6))
    pixels = rect.shape[0] * rect.shape[1]
    if pixels > limit:
        raise TooLarge(
            f"{node.process!r} would be evaluated on {rect.shape[0]} × {rect.shape[1]} pixels of {size:g} m; "
            f"the limit is {limit} pixels: choose a smaller extent or a coarser resolution"
        )
    return Grid(f"{base.id}#{node.hash[:12]}", base.crs, base.origin, unit, rect)


def fit_grid(step: Step, inputs: Mapping[str, Grid]) -> Grid:
    assert isinstance(step.operator.support, Fit)
    return pinned_grid(step.node, step.arguments, inputs)
