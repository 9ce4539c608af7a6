"""Evaluation of callbacks that are processes of cubes: chains of operators on a part of a cube.

The engine evaluates chains; this evaluates the small ones inside `apply_neighborhood` and `apply_polygon`, whose data
are a part that is cut out, and whose edges are the edges of all that there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.document.graph import Callback, Node, walk
from muses_lab.errors import DocumentError
from muses_lab.operators.callbacks import is_strict, with_labels
from muses_lab.operators.contract import Cost, Cube, Meta
from muses_lab.operators.costs import cost_of
from muses_lab.operators.declared import Operator
from muses_lab.operators.registered import registry
from muses_lab.raster.grid import places
from muses_lab.resources import cancel


@dataclass(frozen=True)
class Part:
    """Where a part of a cube lies."""

    around: GeoBox
    """A window that it is a part of."""
    rows: slice
    columns: slice
    pixel_size: float
    """In metres."""
    in_extent: tuple[slice, slice]
    """Rows and columns of it where there can be data; beyond them a neighbourhood has a border."""

    @property
    def geobox(self) -> GeoBox:
        return self.around[self.rows, self.columns]


@dataclass(frozen=True)
class _Step:
    node: Node
    operator: Operator
    arguments: Mapping[str, Any]
    """With defaults; cubes left out."""
    cubes: Mapping[str, str | None]
    """Argument → hash of the node that gives the cube; None: the data themselves."""
    needs: Mapping[str, tuple[str, ...] | None]
    metas: Mapping[str, Meta]
    meta: Meta
    every_date: bool
    """Whether its result has all dates of the data."""


class CubeCallback:
    """A callback of processes of cubes, for data of which the dimensions and bands are known."""

    def __init__(self, callback: Callback, data: Meta) -> None:
        self._data = replace(data, dates=None)  # a part may have some of them only
        self._steps: dict[str, _Step] = {}
        for node in walk(callback.root):
            self._steps[node.hash] = self._step(node)
        self._root = self._steps[callback.root.hash]

    def _step(self, node: Node) -> _Step:
        op = registry[node.process]
        arguments = _filled(node)
        given = {name: arguments[name] for name in op.cubes if arguments[name] is not None}
        cubes = {name: cube.hash if isinstance(cube, Node) else None for name, cube in given.items()}
        known = {name: self._data if hash is None else self._steps[hash].meta for name, hash in cubes.items()}
        meta = op.shape(arguments, known)
        needs = op.needs(arguments, known, meta.bands)
        if op.along(arguments) == "bands":
            first = next(iter(known.values()))
            arguments |= {n: with_labels(a, first) for n, a in arguments.items() if isinstance(a, Callback)}
        if op.narrowed is not None:
            arguments |= op.narrowed(arguments, known, meta.bands)
        metas = {name: Meta(one.time, needs.get(name, one.bands), one.common) for name, one in known.items()}
        whole = any(hash is None or self._steps[hash].every_date for hash in cubes.values())
        others = {name: value for name, value in arguments.items() if name not in cubes}
        return _Step(node, op, others, cubes, needs, metas, meta, op.dates is None and whole)

    @property
    def meta(self) -> Meta:
        """Of its result."""
        return self._root.meta

    def check_same(self, process: str) -> None:
        """Refuses a callback whose result has other dimensions, bands or dates than its data."""
        found, data = self.meta, self._data
        other = ""
        if found.time != data.time:
            other = f"gives a cube {'with' if found.time else 'without'} dates"
        elif found.bands != data.bands:
            other = f"gives {_told(found.bands)}"
        elif found.time and not self._root.every_date:
            other = "leaves out dates"
        if other:
            has = f"{_told(data.bands)}{' and dates' if data.time else ''}"
            raise DocumentError(
                f"{process}: the process {other}, and its data have {has}: dimensions and labels must stay as they are",
                openeo="DataCubePropertiesImmutable",
                process=process,
            )

    def run(self, data: Cube, part: Part) -> Cube:
        """The result for a part of a cube."""
        values: dict[str, Cube] = {}
        for hash, step in self._steps.items():
            cancel.check()
            values[hash] = self._run(step, data, values, part)
        return values[self._root.node.hash]

    def _run(self, step: _Step, data: Cube, values: Mapping[str, Cube], part: Part) -> Cube:
        cubes = {name: data if hash is None else values[hash] for name, hash in step.cubes.items()}
        for name, bands in step.needs.items():
            if bands is not None and "bands" in cubes[name].dims and tuple(cubes[name].bands.values) != bands:
                cubes[name] = cubes[name].sel(bands=list(bands))
        cubes = _on_one_axis(step.operator, cubes)
        axes = {name: tuple(cube.t.values) for name, cube in cubes.items() if "t" in cube.dims}
        offered: dict[str, Callable[[], Any]] = {
            "meta": lambda: next(iter(step.metas.values())),
            "pixel_size": lambda: part.pixel_size,
            "geobox": lambda: part.geobox,
            "places": lambda: lambda crs: places(part.geobox, crs),
            "halo": lambda: 0,
            "axes": lambda: axes,
            "in_extent": lambda: part.in_extent,
        }
        given = {name: offered[name]() for name in step.operator.injected if name in offered}
        value = step.operator.fn(**cubes, **step.arguments, **given)
        return value.transpose(*(d for d in ("t", "bands", "y", "x") if d in value.dims))


def _filled(node: Node) -> dict[str, Any]:
    return {a.name: node.arguments.get(a.name, a.default) for a in registry[node.process].arguments.values()}


def _told(bands: tuple[str, ...] | None) -> str:
    return "no dimension of bands" if bands is None else f"the bands {', '.join(bands)}"


def _on_one_axis(op: Operator, cubes: dict[str, Cube]) -> dict[str, Cube]:
    dated = {name: cube for name, cube in cubes.items() if "t" in cube.dims}
    if len({tuple(cube.t.values) for cube in dated.values()}) < 2:
        return cubes
    if op.masks in dated:
        first = cubes[op.cubes[0]]
        return {**cubes, op.masks: cubes[op.masks].reindex(t=first.t.values)} if op.cubes[0] in dated else cubes
    union = np.unique(np.concatenate([cube.t.values for cube in dated.values()]))
    return {name: cube.reindex(t=union) if name in dated else cube for name, cube in cubes.items()}


# ----------------------------------------------------------------------------- what is known of a callback beforehand


def radius_of(callback: Callback, pixel_size: float) -> int | None:
    """Pixels around a pixel that a callback looks at; None: code of a user, which may look at all that it is given."""
    reach: dict[str, int] = {}
    for node in walk(callback.root):
        op = registry[node.process]
        if op.private:
            return None
        below = max((reach[one.hash] for one in node.inputs), default=0)
        reach[node.hash] = below + (op.support.radius(_filled(node), pixel_size) if op.is_cube_process else 0)
    return reach[callback.root.hash]


def is_along_time(callback: Callback) -> bool:
    """Whether a date of the result may depend on other dates."""
    for node in walk(callback.root):
        op = registry[node.process]
        if not op.is_cube_process or op.private or op.along(_filled(node)) == "t":
            return True
    return False


def is_strict_on_cubes(callback: Callback) -> bool:
    """Whether dates that are missing altogether may be left out before a callback, as if they had never been."""
    for node in walk(callback.root):
        op, arguments = registry[node.process], _filled(node)
        inner = [a for a in arguments.values() if isinstance(a, Callback)]
        if not op.is_cube_process or not op.is_strict(arguments) or not all(map(is_strict, inner)):
            return False
    return True


def cost_of_callback(callback: Callback, pixel_size: float, rows: int, columns: int) -> Cost:
    """What a callback takes for one image."""
    costs = [cost_of(registry[n.process], _filled(n), pixel_size, rows, columns) for n in walk(callback.root)]
    return Cost(sum(cost.seconds for cost in costs), max(cost.bytes for cost in costs))


def as_given(found: xr.DataArray, data: Cube, process: str) -> Cube:
    """A result as its data are laid out; refused where it has not their size."""
    if set(found.dims) != set(data.dims) or dict(found.sizes) != dict(data.sizes):
        raise DocumentError(
            f"{process}: the process gave {dict(found.sizes)} of {dict(data.sizes)}: the size must stay as it is",
            openeo="DataCubePropertiesImmutable",
            process=process,
        )
    return found.transpose(*data.dims)
