"""A chain made ready for evaluation: what is known of every node before a window is given.

From the output to the sources: which bands somebody really uses (each use of a collection reads just those). From the
sources to the output: dimensions, bands, grids and dates of every node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import box
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import crs_name
from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.document.graph import Callback, Node
from muses_lab.errors import ExtentRequired, GridError, NotFound, TooLarge
from muses_lab.operators import Meta, Operator, Pixel, Reading, Region, Regrid, is_strict, references, registry
from muses_lab.operators.callbacks import with_labels
from muses_lab.operators.contract import Groups
from muses_lab.operators.cubes import BBox, select_bands
from muses_lab.raster.grid import Grid, Rect
from muses_lab.scenes.lists import source_in
from muses_lab.scenes.source import Source
from muses_lab.settings import number

_MAX_NESTED = 64
"""Evaluations inside evaluations. Steps on the same pixel are part of the one above and may be thousands."""

_MAX_DATES = 10_000
"""That an operator makes of others."""

Times = tuple[np.datetime64, ...]
Dates = frozenset[np.datetime64] | None
"""None: all that there are."""


@dataclass(frozen=True)
class Step:
    """A node with all that is known of it."""

    node: Node
    operator: Operator
    arguments: Mapping[str, Any]
    """With defaults filled in and artefacts as the objects that they hold; cubes still as nodes."""
    cubes: tuple[tuple[str, Node], ...]
    """(argument, node) of its cube inputs that are evaluated, masks before the data they mask."""
    meta: Meta
    input_metas: Mapping[str, Meta]
    grids: Mapping[str, Grid]
    times: Times
    """Steps of `t` it can have; empty without `t`."""
    strict: bool
    """Whether dates without data may be left out before it."""
    needs: Mapping[str, tuple[str, ...] | None]
    """Argument → bands of that input that are used."""
    pinned: bool
    """Whether it comes from rasters of pinned extents only: it follows the grid of what it is combined with."""
    labels: Mapping[np.datetime64, str] = field(default_factory=dict)
    """What dates are called, where they stand for more than a moment: periods, intervals."""
    groups: Groups | None = None
    """The dates of its result with those that each is made of, where these are others than those of its cubes."""
    kept: bool = False
    """Whether blocks of it are on disk (`engine.materialized`): it is an evaluation of its own for whatever uses it."""

    @cached_property
    def dates(self) -> frozenset[np.datetime64]:
        """`times` as a set."""
        return frozenset(self.times)

    @cached_property
    def reads(self) -> bool:
        """Whether it is pinned scenes that are read."""
        return isinstance(self.operator.support, Reading)

    @property
    def thinning_rule(self) -> str:
        """The argument of a reading step that states the thinning rule."""
        assert isinstance(self.operator.support, Reading)
        return self.operator.support.thinning

    @cached_property
    def elsewhere(self) -> bool:
        """Whether what it is made of is evaluated on another grid, level or extent."""
        return self.operator.support.elsewhere and not self.reads

    @cached_property
    def reduces_time(self) -> bool:
        """Whether it reduces all dates to one value."""
        return self.reduces_dates and self.groups is None

    @cached_property
    def reduces_dates(self) -> bool:
        """Whether it reduces dates: all of them, or group by group."""
        return self.operator.reduces(self.arguments) == "t"

    @cached_property
    def along_time(self) -> bool:
        """Whether it keeps the dates, and each date of its result depends on all of its input."""
        return self.meta.time and self.operator.along(self.arguments) == "t"

    @cached_property
    def keeps(self) -> bool:
        """Whether its blocks are kept: what reduces dates, neighbourhoods of images, and what is on disk anyway."""
        return self.kept or self.reduces_dates or (self.operator.support.keeps and not self.meta.time)

    @cached_property
    def apart(self) -> bool:
        """Whether it is an evaluation of its own for whatever uses it."""
        return self.keeps or self.operator.support.elsewhere or self.groups is not None

    @cached_property
    def data(self) -> Node:
        """Its first cube."""
        return self.arguments[self.operator.cubes[0]]

    @cached_property
    def selector(self) -> Node | None:
        """What removes values of its data where it is true."""
        return None if self.operator.masks is None else self.arguments[self.operator.masks]

    def halo(self, pixel_size: float) -> int:
        """Pixels around a rectangle of it that are needed of its inputs; `pixel_size` in metres."""
        return self.operator.support.radius(self.arguments, pixel_size)

    def dates_of(self, times: Dates) -> Dates:
        """The dates that it takes of its inputs where these are wanted of it; None: all."""
        if self.groups is not None:
            return all_of(self.groups_of(times) or {})
        if self.operator.dates is not None:
            return self.dates if times is None else times & self.dates
        return None if self.reduces_time or self.along_time else times

    def groups_of(self, times: Dates) -> Groups | None:
        """The groups of the dates that are wanted of it."""
        if self.groups is None or times is None:
            return self.groups
        return {time: group for time, group in self.groups.items() if time in times}

    def wanted(self, times: Dates) -> Dates:
        """None where these are all the dates that it has."""
        return None if times is None or self.dates <= times else times

    def shape(self, pixels: tuple[int, int]) -> tuple[int, ...]:
        """Sizes of the dimensions (t, bands, y, x) that its result has on so many rows and columns."""
        bands = () if self.meta.bands is None else (len(self.meta.bands),)
        return (*((len(self.times),) if self.meta.time else ()), *bands, *pixels)


def all_of(groups: Groups) -> frozenset[np.datetime64]:
    """The dates that are in any of the groups."""
    return frozenset(time for group in groups.values() for time in group)


class PreparedGraph:
    """The steps of a chain by node hash, inputs first."""

    def __init__(self, root: Node, artefacts: Mapping[str, Artefact]) -> None:
        self._artefacts = artefacts
        for digest, kind in references(root).items():
            if digest not in artefacts:
                raise NotFound(f"the chain's {kinds[kind].noun} {digest[:12]}… is not there", digest=digest)
        self.sources: dict[str, Source] = {digest: source_in(artefacts[digest]) for digest in lists_of(root)}
        self._source_of: dict[str, Source] = {}
        """By node."""
        self.root = self._read_only_used_bands(root)
        self.steps: dict[str, Step] = {}
        self._shapes: dict[tuple[str, str, str], BaseGeometry] = {}
        self._dates: dict[str, dict[str, frozenset[np.datetime64] | None]] = {}
        self.stages: dict[tuple[str, str, int, tuple[int, int], Dates], Any] = {}
        """What `engine.stages.stage` has found, by step, grid, level, size and dates."""
        for node in graph.walk(self.root):
            self.steps[node.hash] = self._step(node)
        self._check_nesting()
        if not self.sources and not self.output.grids:
            raise GridError(
                f"what {self.root.process!r} draws has no grid of its own: combine it with a chain that has one, for "
                "example chain.where(drawn == 1)"
            )

    def _check_nesting(self) -> None:
        """Evaluations inside evaluations: each waits, with what it holds, for those below it."""
        nested: dict[str, int] = {}
        for step in self.steps.values():
            apart = not isinstance(step.operator.support, Pixel) or step.operator.reduces(step.arguments) is not None
            nested[step.node.hash] = max((nested[n.hash] for _, n in step.cubes), default=0) + apart
        if nested[self.root.hash] > _MAX_NESTED:
            raise TooLarge(
                f"the chain has {nested[self.root.hash]} steps one after another that need more than their own pixel "
                f"(reducers, neighbourhoods, changes of grid); the most are {_MAX_NESTED}"
            )

    def __getitem__(self, node: Node) -> Step:
        return self.steps[node.hash]

    def with_kept(self, nodes: Set[str]) -> PreparedGraph:
        """The same with the steps marked (by node hash) of which blocks are on disk."""
        other = copy(self)
        other.stages = {}
        other.steps = {hash: replace(s, kept=True) if hash in nodes else s for hash, s in self.steps.items()}
        return other

    @cached_property
    def output(self) -> Step:
        return self.steps[self.root.hash]

    @property
    def dtype(self) -> np.dtype:
        """Of values: float32, or float64 where a band is read whose numbers float32 does not hold."""
        read = (step for step in self.steps.values() if step.reads)
        dtypes = {self.source(step.node).band(name).dtype for step in read for name in step.meta.bands or ()}
        return np.result_type(np.float32, *map(np.dtype, dtypes))

    def whole_nodes(self) -> list[Step]:
        """`region` and `fit` nodes, those first that others depend on."""
        return [self.steps[hash] for hash in self._whole_nodes]

    @cached_property
    def _whole_nodes(self) -> list[str]:
        return [hash for hash, step in self.steps.items() if step.operator.needs_extent]

    def source(self, node: Node) -> Source:
        found = self._source_of.get(node.hash)
        if found is None:
            digest = _list_of(node)
            assert digest is not None
            found = self._source_of[node.hash] = self.sources[digest]
        return found

    def loads_below(self, node: Node) -> Iterator[Step]:
        """The reading steps that a node depends on."""
        return (step for n in graph.walk(node) if (step := self.steps[n.hash]).reads)

    def dates_below(self, node: Node) -> dict[str, frozenset[np.datetime64] | None]:
        """Reading step (by its hash) → the dates that a node needs of it; None: all."""
        if node.hash not in self._dates:
            self._dates[node.hash] = self._dates_below(node)
        return self._dates[node.hash]

    def dates_read(self, node: Node, time: np.datetime64) -> frozenset[np.datetime64]:
        """The dates of scenes that one date of a node is made of."""
        if all(step.groups is None for step in self.steps.values()):
            return frozenset({time})
        found = self._dates_below(node, frozenset({time}))
        every = ({t for t in self.steps[hash].times} if times is None else times for hash, times in found.items())
        return frozenset().union(*every)

    def _dates_below(self, node: Node, times: Dates = None) -> dict[str, frozenset[np.datetime64] | None]:
        wanted: dict[str, frozenset[np.datetime64] | None] = {node.hash: times}
        for below in reversed(graph.walk(node)):
            if below.hash not in wanted:  # only its dates are used
                continue
            step, times = self.steps[below.hash], wanted[below.hash]
            times = step.dates_of(times) if step.meta.time else None
            for _, child in step.cubes:
                before = wanted.get(child.hash, frozenset())
                wanted[child.hash] = None if times is None or before is None else times | before
        return {hash: times for hash, times in wanted.items() if self.steps[hash].reads}

    def selector_dates(self, mask: Step, times: Dates) -> Dates:
        """Dates that a mask needs of its selector, where these are wanted of it: those that its data have."""
        assert mask.selector is not None
        data, selector = self.steps[mask.data.hash], self.steps[mask.selector.hash]
        if not data.meta.time or selector.times == data.times:
            return times
        return data.dates if times is None else times & data.dates

    def candidates(self, step: Step, window: GeoBox) -> list[str]:
        """Ids of the step's grids that may touch a window, in order: all but those that are surely far away."""
        sources = list(dict.fromkeys(self.source(read.node) for read in self.loads_below(step.node)))
        near = {id for source in sources for id in source.candidates(window)}
        if any(step.grids is source.grids for source in sources):
            return sorted(near & step.grids.keys())
        found = []
        for id, grid in step.grids.items():  # a lattice of its own, or several joined
            own = {source.own(grid) for source in sources} - {None}
            if not own or own & near:
                found.append(id)
        return sorted(found)

    def footprint(self, step: Step, grid: str) -> BaseGeometry:
        """Where a step has data on one of its grids as the metadata say, in the grid's CRS."""
        return self._shape(step, grid, "footprints")

    def outline(self, step: Step, grid: str) -> BaseGeometry:
        """Where files lie that a step reads on one of its grids, in the grid's CRS."""
        return self._shape(step, grid, "outlines")

    def _shape(self, step: Step, grid: str, kind: Literal["footprints", "outlines"]) -> BaseGeometry:
        key = (step.node.hash, grid, kind)
        if key not in self._shapes:
            sources = [self.source(load.node) for load in self.loads_below(step.node)]
            own = [(source, source.own(step.grids[grid])) for source in sources]
            shapes = [getattr(source, kind)[id] for source, id in own if id is not None]
            if len(shapes) == 1:
                (self._shapes[key],) = shapes
            else:
                self._shapes[key] = shapely.union_all(shapes or [shapely.box(*step.grids[grid].bounds())])
        return self._shapes[key]

    # ------------------------------------------------------------------------------------------ preparation

    def _filled(self, node: Node) -> dict[str, Any]:
        """A node's arguments with the defaults of those left out, and what its artefacts hold."""
        op = registry[node.process]
        filled = {a.name: node.arguments.get(a.name, a.default) for a in op.arguments.values()}
        return filled | {name: self._artefacts[digest].value for name, digest in op.referred(node.arguments).items()}

    def _metas(self, root: Node) -> dict[str, Meta]:
        metas: dict[str, Meta] = {}
        for node in graph.walk(root):
            op, arguments = registry[node.process], self._filled(node)
            metas[node.hash] = self._meta(
                node, op, arguments, {n: metas[arguments[n].hash] for n in op.cubes_in(arguments)}
            )[0]
        return metas

    def _meta(
        self, node: Node, op: Operator, arguments: Mapping[str, Any], metas: Mapping[str, Meta]
    ) -> tuple[Meta, Groups | None]:
        """What is known of a node's result, with its dates; and of which dates these are made, where of others."""
        if isinstance(op.support, Reading):
            source = self.source(node)
            return replace(op.shape(arguments, {op.support.list: source.meta}), dates=source.axis), None
        meta = op.shape(arguments, metas)
        if not meta.time:
            return meta, None
        groups = _groups(op, arguments, {name: known.dates or () for name, known in metas.items()})
        times = tuple(groups) if groups is not None else _times(op, meta, arguments, metas.values())
        return replace(meta, dates=times), groups

    def _read_only_used_bands(self, root: Node) -> Node:
        """`root` with a reading node of its own for every set of bands that a user of a collection needs."""
        metas = self._metas(root)
        order = graph.walk(root)
        wanted: dict[str, tuple[str, ...] | None] = {root.hash: metas[root.hash].bands}
        edges: dict[tuple[str, str], tuple[str, ...] | None] = {}
        for node in reversed(order):
            op, arguments = registry[node.process], self._filled(node)
            inputs = {name: metas[arguments[name].hash] for name in op.cubes_in(arguments)}
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
            support = registry[node.process].support
            assert isinstance(support, Reading)
            arguments = {name: value for name, value in node.arguments.items() if name != support.bands}
            if chosen != every:
                arguments[support.bands] = list(chosen)
            return Node(node.process, arguments, node.version)

        def with_bands(child: Node, bands: tuple[str, ...] | None) -> Node:
            """What `child` has become, with just these bands: another user of it may need more of them."""
            if _list_of(child) is not None:
                return load(child, bands)
            made = new[child.hash]
            if bands is None or new_bands[child.hash] == bands:
                return made
            return select_bands(made, bands)

        for node in order:
            if _list_of(node) is not None:
                new[node.hash] = load(node, wanted[node.hash])
                continue
            op, arguments = registry[node.process], dict(node.arguments)
            inputs = {}
            if op.narrowed is not None:
                own = {name: metas[arguments[name].hash] for name in op.cubes_in(arguments)}
                arguments |= op.narrowed(self._filled(node), own, wanted[node.hash])
            for name in op.cubes_in(arguments):
                meta, bands = metas[arguments[name].hash], edges[node.hash, name]
                if op.along(self._filled(node)) == "bands":
                    callbacks = {n: with_labels(a, meta) for n, a in arguments.items() if isinstance(a, Callback)}
                    arguments |= callbacks
                arguments[name] = with_bands(arguments[name], bands)
                inputs[name] = replace(meta, bands=bands)
            if op.selects:  # its input has just these bands, in this order
                (name,) = op.cubes
                new[node.hash], new_bands[node.hash] = arguments[name], inputs[name].bands
                continue
            new[node.hash] = Node(node.process, arguments, node.version)
            new_bands[node.hash] = op.shape(self._filled(new[node.hash]), inputs).bands
        return new[root.hash]

    def _step(self, node: Node) -> Step:
        op, arguments = registry[node.process], self._filled(node)
        own = op.cubes_in(arguments)
        inputs = {name: self.steps[arguments[name].hash] for name in own}
        cubes = tuple((name, arguments[name]) for name in own if name != op.asks_dates_of)
        # The selector of a mask first: what it removes altogether need not be read.
        cubes = tuple(sorted(cubes, key=lambda cube: cube[0] != op.masks))
        metas = {name: step.meta for name, step in inputs.items()}
        meta, groups = self._meta(node, op, arguments, metas)
        reads = isinstance(op.support, Reading)
        grids = self.source(node).grids if reads else self._grids(node, op, arguments, cubes)
        times = meta.dates or ()
        strict = op.is_strict(arguments) and all(is_strict(a) for a in arguments.values() if isinstance(a, Callback))
        needs = op.needs(arguments, metas, meta.bands) if cubes else {}
        children = [self.steps[child.hash] for _, child in cubes]
        pinned = isinstance(op.support, Region) or bool(
            children and not isinstance(op.support, Regrid) and all(child.pinned for child in children)
        )
        labels = _labels(op, arguments, groups, times, children)
        return Step(node, op, arguments, cubes, meta, metas, grids, times, strict, needs, pinned, labels, groups)

    def _grids(
        self, node: Node, op: Operator, arguments: Mapping[str, Any], cubes: tuple[tuple[str, Node], ...]
    ) -> Mapping[str, Grid]:
        inputs = [self.steps[child.hash] for _, child in cubes]
        if isinstance(op.support, Regrid):
            return op.support.grids(arguments, {name: self.steps[child.hash].grids for name, child in cubes})
        if isinstance(op.support, Region):
            grid = pinned_grid(node, arguments, inputs[0].grids)
            return {grid.id: grid}
        # A raster made on a pinned extent is brought to the grid of whatever it is combined with.
        # What has no grid of its own (what is drawn of vectors) follows, too.
        inputs = [s for s in inputs if s.grids] or inputs
        fixed = [s for s in inputs if not s.pinned] or inputs[:1]
        if fixed and all(s.grids is fixed[0].grids for s in fixed):
            return fixed[0].grids
        grids: dict[str, Grid] = {}
        lattices: dict[str, str] = {}
        for other in fixed:
            known = {id: id if id in grids else lattices.get(grid.lattice) for id, grid in other.grids.items()}
            if grids and known and not any(known.values()):
                raise GridError(
                    f"{node.process!r} combines sources on the grids {', '.join(sorted(grids))} with sources on "
                    f"{', '.join(sorted(other.grids))}; say on which grid: a.on_grid(b) or a.on_grid(crs, resolution)"
                )
            for id, grid in other.grids.items():
                before = known[id]
                if before is None:
                    grids[id] = grid
                    if grid.lattice:
                        lattices[grid.lattice] = id
                else:
                    grids[before] = _joined(grids[before], grid)
        return grids


def _list_of(node: Node) -> str | None:
    """The digest of the list that a node reads; None: it reads none."""
    support = registry[node.process].support
    return node.arguments[support.list] if isinstance(support, Reading) else None


def lists_of(root: Node) -> dict[str, None]:
    """Digests of the lists of scenes that a chain reads, in order."""
    return dict.fromkeys(digest for node in graph.walk(root) if (digest := _list_of(node)) is not None)


def _times(op: Operator, meta: Meta, arguments: Mapping[str, Any], inputs: Iterable[Meta]) -> Times:
    if not any(known.time for known in inputs):
        return meta.dates or ()
    axes = {id(known.dates): known.dates for known in inputs if known.dates}
    times = next(iter(axes.values())) if len(axes) == 1 else tuple(sorted({t for axis in axes.values() for t in axis}))
    return times if op.dates is None else op.dates(arguments, times)


def _labels(
    op: Operator, arguments: Mapping[str, Any], groups: Groups | None, times: Times, inputs: list[Step]
) -> Mapping[np.datetime64, str]:
    if groups is not None:
        return {} if op.labels is None else dict(zip(times, op.labels(arguments, groups), strict=True))
    known = {time: text for step in inputs for time, text in step.labels.items()}
    return {time: known[time] for time in times if time in known} if known else known


def _groups(op: Operator, arguments: Mapping[str, Any], times: Mapping[str, Times]) -> Groups | None:
    groups = None if op.groups is None else op.groups(arguments, times)
    if groups is None:
        return None
    if len(groups) > _MAX_DATES:
        raise TooLarge(
            f"{op.id!r} would give {len(groups)} dates; the limit is {_MAX_DATES}: choose longer periods, or a shorter "
            "series with .dates(start, end)"
        )
    return {time: groups[time] for time in sorted(groups)}


def _joined(a: Grid, b: Grid) -> Grid:
    shift = a.shift(b)
    if shift is None or (a.id == b.id and shift != (0, 0)):
        raise GridError(
            f"two collections place the grid {a.id!r} differently: origin {a.origin} and {b.origin}; use on_grid(…)"
        )
    return replace(a, extent=a.extent.union(b.extent.moved(*shift)))


def pinned_grid(node: Node, arguments: Mapping[str, Any], inputs: Mapping[str, Grid]) -> Grid:
    """The lattice on which a `region` or `fit` node is evaluated: its extent on the grid at the extent's centre."""
    if arguments.get("extent") is None or arguments.get("resolution") is None:
        missing = "extent" if arguments.get("extent") is None else "resolution"
        raise ExtentRequired(
            f"{node.process!r} depends on {registry[node.process].depends_on} and needs an explicit {missing}: "
            "give extent= and resolution=, or pin the chain with .pin(bounds, resolution); Map.add pins to the view",
            process=node.process,
        )
    extent, size = BBox.model_validate(arguments["extent"]), float(arguments["resolution"])
    crs = crs_name(extent.crs)
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
    limit = int(number("MUSES_MAX_REGION_PIXELS"))
    pixels = rect.shape[0] * rect.shape[1]
    if pixels > limit:
        raise TooLarge(
            f"{node.process!r} would be evaluated on {rect.shape[0]} × {rect.shape[1]} pixels of {size:g} m; "
            f"the limit is {limit} pixels: choose a smaller extent or a coarser resolution"
        )
    return Grid(f"{base.id}#{node.hash[:12]}", base.crs, base.origin, unit, rect)


def whole_grid(step: Step, inputs: Mapping[str, Grid]) -> Grid:
    """The lattice of a `region` or `fit` step's extent."""
    return pinned_grid(step.node, step.arguments, inputs)
