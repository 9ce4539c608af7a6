"""A chain's values over features: the pixels of each, reduced to one value; `aggregate_spatial` computed."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import shapely
import xarray as xr
from affine import Affine
from shapely.geometry.base import BaseGeometry

from muses_lab import settings
from muses_lab.compute import executor
from muses_lab.compute.windows import Pixels, request_window
from muses_lab.crs import transformer
from muses_lab.document.graph import Callback, Node, walk
from muses_lab.engine import Published
from muses_lab.engine.mosaic import reaches
from muses_lab.errors import ArgumentError, DocumentError, TooLarge
from muses_lab.operators import Meta, Pixel, Series, references, registry, run
from muses_lab.operators.drawing import NONE, SIDE, moved, on_pixels
from muses_lab.operators.vectors import Features
from muses_lab.operators.zonal import AXES, reduces_over_features
from muses_lab.plain import number, users_line
from muses_lab.publish.documents import check_extents
from muses_lab.raster.grid import Grid, Rect, block_rect, same_crs
from muses_lab.series import check_known

if TYPE_CHECKING:
    import geopandas

_TOGETHER = 16
"""Windows that are asked for at a time: as many as keep the cluster busy."""

_NAMED = 5
"""Features that a message names."""

COUNTS = ("value", "total_count", "valid_count")
"""Labels of a target dimension."""

_Block = tuple[int, int]


class OutsideData(UserWarning):
    """Features have no pixels of the chain: their values are missing."""


@dataclass
class _Part:
    """A feature on the lattice of a grid, and the values met so far."""

    number: int
    shape: BaseGeometry
    """In the grid's system."""
    rect: Rect
    left: int = 0
    """Blocks that are still to come."""
    places: list[np.ndarray] = field(default_factory=list)
    """Of each block: the pixels' places, in rows from the north-west."""
    values: list[np.ndarray] = field(default_factory=list)
    seen: bool = False
    """Whether there is a scene at it."""


def compute(published: Published, resolution: float | None = None) -> xr.DataArray:
    """The values of a document whose result is a table: dims of `geometry, t, bands`; see `Table.compute`."""
    values: dict[str, xr.DataArray] = {}
    metas: dict[str, Meta] = {}
    for node in walk(published.root):
        op = registry[node.process]
        cubes = [node.arguments[name] for name in op.cubes_in(node.arguments)]
        if reduces_over_features(node):
            below = _only(published, node.arguments["data"])
            reducer, target = node.arguments["reducer"], node.arguments.get("target_dimension")
            values[node.hash] = aggregate(below, _features(published, node), reducer, target, resolution)
            metas[node.hash] = below.prepared.output.meta
        elif any(cube.hash in values for cube in cubes):
            if not all(cube.hash in values for cube in cubes):
                raise DocumentError(f"{node.process!r} combines a table of features with a chain that has pixels")
            values[node.hash], metas[node.hash] = _applied(node, values, metas)
    return values[published.root.hash]


def _only(published: Published, node: Node) -> Published:
    """The part of a document that ends in a node, with what it refers to."""
    return replace(published, root=node, artefacts={d: published.artefacts[d] for d in references(node)})


def features(published: Published) -> Features:
    """The features of a table's rows."""
    return _features(published, next(node for node in walk(published.root) if reduces_over_features(node)))


def _features(published: Published, node: Node) -> Features:
    (digest,) = registry[node.process].referred(node.arguments).values()
    return published.artefacts[digest].value


def frame(published: Published, resolution: float | None = None) -> geopandas.GeoDataFrame:
    """The values beside the attributes of the features: a row for each (and each date), a column for each band.

    A column whose name is an attribute's begins with `chain_`.
    """
    values = compute(published, resolution)
    rows = features(published).table()
    dims = [str(d) for d in values.dims if d not in ("geometry", "t")]
    plain = values.drop_vars(["geometry", "feature"]).transpose("geometry", *(["t"] * ("t" in values.dims)), ...)
    times = plain.sizes.get("t", 1)
    flat = plain.values.reshape(len(rows) * times, -1)
    rows = rows.iloc[np.repeat(np.arange(len(rows)), times)]
    if "t" in values.dims:
        rows = rows.assign(t=np.tile(plain.t.values, len(rows) // times))
    for n, name in enumerate(_names(plain, dims)):
        rows = rows.assign(**{f"chain_{name}" if name in rows.columns else name: flat[:, n]})
    return rows


def aggregate(
    published: Published, features: Features, reducer: Callback, target: str | None, resolution: float | None
) -> xr.DataArray:
    """The values over each feature reduced to one: dims of `geometry, t, bands` (and the target dimension).

    Of native pixels, or of those of the level of `resolution` metres. Blocks are evaluated once for all features that
    have pixels in them.
    """
    check_extents(published.root)
    check_known(published)
    step = published.prepared.output
    grids = sorted(step.grids.values(), key=lambda grid: grid.id)
    out: list[xr.DataArray | None] = [None] * len(features)
    empty: list[int] = []
    failed: dict[str, str] = {}
    for grid, numbers in _by_grid(grids, features):
        level = 0 if resolution is None else grid.level_near(_positive(resolution))
        for part, found in _parts(published, grid, level, features, numbers, failed):
            pixels = np.concatenate(part.values, axis=-1)[..., np.argsort(np.concatenate(part.places))]
            out[part.number] = _reduced(published, pixels, reducer, target)
            if not (part.seen and found):
                empty.append(part.number)
    _tell(features, sorted(empty))
    values = xr.concat([array for array in out if array is not None], dim="geometry")
    shapes = np.empty(len(features), object)
    shapes[:] = list(features.shapes)
    values = values.transpose(*(d for d in (*AXES, target) if d in values.dims))
    values = values.assign_coords(geometry=("geometry", shapes), feature=("geometry", np.array(features.ids, object)))
    values.coords["geometry"].attrs["crs"] = features.crs
    values.attrs = {
        "muses_chain": published.chain_hash,
        **({"scenes_failed": [f"{id}: {reason}" for id, reason in sorted(failed.items())]} if failed else {}),
        **({"problems": published.left_out} if published.left_out else {}),
    }
    values.name = "values"
    return values


def _positive(resolution: float) -> float:
    size = number("resolution", resolution)
    if size <= 0:
        raise ArgumentError(f"resolution={size:g} is not the size of a pixel in metres", argument="resolution")
    return size


def _by_grid(grids: Sequence[Grid], features: Features) -> Iterator[tuple[Grid, np.ndarray]]:
    """The grid to which each feature belongs: in which its middle lies, farthest from the edge; ties by id."""
    if not grids:
        raise ArgumentError("the chain has no scenes, and so no pixels to reduce")
    middles = shapely.centroid(features.shapes)
    away = np.full((len(grids), len(features)), np.inf)
    for row, grid in enumerate(grids):
        x, y = transformer(features.crs, grid.crs).transform(shapely.get_x(middles), shapely.get_y(middles))
        known = np.isfinite(x) & np.isfinite(y)
        outline, points = shapely.box(*grid.bounds()), shapely.points(x[known], y[known])
        inside = shapely.contains(outline, points)
        metres = np.where(inside, -shapely.distance(outline.exterior, points), shapely.distance(outline, points))
        away[row, known] = metres * grid.metres
    nearest = away.argmin(axis=0)
    for row, grid in enumerate(grids):
        if (nearest == row).any():
            yield grid, np.flatnonzero(nearest == row)


def _parts(
    published: Published, grid: Grid, level: int, features: Features, numbers: np.ndarray, failed: dict[str, str]
) -> Iterator[tuple[_Part, int]]:
    """Each feature with all its values and their number, as soon as its last block has been evaluated.

    `failed`: is told the scenes that could not be read.
    """
    blocks: dict[_Block, list[_Part]] = defaultdict(list)
    for part in _placed(grid, level, features, numbers):
        touched = list(part.rect.blocks())
        part.left = len(touched)
        for block in touched:
            blocks[block].append(part)
    limit, held = int(settings.number("MUSES_MAX_COMPUTE_BYTES")), 0
    for (row, col), found in _evaluated(published, grid, level, blocks):
        rect = _around(blocks[row, col], block_rect(row, col))
        failed.update(found.report.failed if found is not None else ())
        for part in blocks.pop((row, col)):
            held += _take(published, part, grid, level, rect, found)
            part.left -= 1
            if held > limit:
                raise TooLarge(
                    f"the features have values of more than {limit / 1e9:.1f} GB at once: give resolution=…, a coarser "
                    "one, or fewer or smaller features"
                )
            if not part.left:
                held -= sum(values.nbytes for values in part.values)
                yield part, sum(map(len, part.places))
                part.values.clear()


def _placed(grid: Grid, level: int, features: Features, numbers: np.ndarray) -> Iterator[_Part]:
    """Features on the lattice; edges stay straight in their own system."""
    width, height = grid.pixel(level)
    shapes = features.shapes[numbers]
    if not same_crs(features.crs, grid.crs):
        way = transformer(features.crs, grid.crs)
        middle = transformer(grid.crs, features.crs)
        for number, shape in zip(numbers, shapes, strict=True):
            x, y = way.transform(*shapely.get_coordinates(shapely.centroid(shape))[0])
            xs, ys = middle.transform([x, x + width], [y, y])
            side = float(np.hypot(xs[1] - xs[0], ys[1] - ys[0])) * SIDE
            there = moved(np.array([shapely.segmentize(shape, side)]), way.transform)[0] if side > 0 else shape
            yield _Part(int(number), there, _rect(grid, width, height, there))
        return
    for number, shape in zip(numbers, shapes, strict=True):
        yield _Part(int(number), shape, _rect(grid, width, height, shape))


def _rect(grid: Grid, width: float, height: float, shape: BaseGeometry) -> Rect:
    """All pixels that a shape may have."""
    w, s, e, n = shape.bounds
    if not np.isfinite((w, s, e, n)).all():
        raise ArgumentError(f"a feature has no place in {grid.crs}, the system of the data")
    (x, y) = grid.origin
    rect = Rect(
        int(np.floor((y - n) / height)), int(np.floor((y - s) / height)) + 1,
        int(np.floor((w - x) / width)), int(np.floor((e - x) / width)) + 1,
    )  # fmt: skip
    if rect.pixels > 1 << 34:
        raise TooLarge(f"a feature covers {rect.shape[0]} × {rect.shape[1]} pixels: give resolution=…, a coarser one")
    return rect


def _around(parts: Sequence[_Part], block: Rect) -> Rect:
    """What of a block is needed."""
    rects = [part.rect.intersection(block) for part in parts]
    union = rects[0]
    for rect in rects[1:]:
        union = union.union(rect)
    return union


def _evaluated(
    published: Published, grid: Grid, level: int, blocks: dict[_Block, list[_Part]]
) -> Iterator[tuple[_Block, Pixels | None]]:
    """Blocks in order with the chain's values there; None where there is no scene."""
    runs = executor()
    order = sorted(blocks)
    for start in range(0, len(order), _TOGETHER):
        tickets = {}
        for block in order[start : start + _TOGETHER]:
            window = grid.geobox(level, _around(blocks[block], block_rect(*block)))
            if reaches(published.prepared, window):
                tickets[block] = request_window(runs, published, window)
        try:
            for block in order[start : start + _TOGETHER]:
                ticket = tickets.get(block)
                yield block, None if ticket is None else ticket.result(settings.number("MUSES_TASK_SECONDS"))
        finally:
            for ticket in tickets.values():
                ticket.release()


def _take(
    published: Published, part: _Part, grid: Grid, level: int, rect: Rect, found: Pixels | None
) -> int:  # fmt: skip
    """Keeps a feature's values of a block; returns their bytes."""
    mine = part.rect.intersection(rect)
    inside = _inside(part.shape, grid, level, mine)
    rows, cols = np.nonzero(inside)
    place = (rows + mine.r0 - part.rect.r0) * np.int64(part.rect.shape[1]) + cols + mine.c0 - part.rect.c0
    if found is None:
        step = published.prepared.output
        values = np.full((*step.shape((1, 1))[:-2], len(place)), np.nan, np.float32)
    else:
        values = found.values[(..., *mine.within(rect))][..., inside]
        part.seen |= bool(found.report.found)
    part.places.append(place)
    part.values.append(values)
    return values.nbytes


def _inside(shape: BaseGeometry, grid: Grid, level: int, rect: Rect) -> np.ndarray:
    width, height = grid.pixel(level)
    lattice = Affine(width, 0, grid.origin[0], 0, -height, grid.origin[1])
    parts = shapely.get_parts(shape)
    touched = bool(shapely.get_dimensions(shape) < 2)
    return on_pixels(parts, np.zeros(len(parts), int), lattice, rect, touched) != NONE


def _reduced(published: Published, pixels: np.ndarray, reducer: Callback, target: str | None) -> xr.DataArray:
    """A feature's values (…, pixel) reduced over its pixels."""
    step = published.prepared.output
    coords = {}
    if step.meta.time:
        coords["t"] = np.array(step.times, dtype="datetime64[ns]")
    if step.meta.bands is not None:
        coords["bands"] = np.array(step.meta.bands, dtype=object)
    array = xr.DataArray(pixels, coords, (*coords, "pixel"))
    value = run(reducer, data=Series(array, "pixel", step.meta))
    if not isinstance(value, xr.DataArray):
        shape = tuple(array.sizes[d] for d in coords)
        value = xr.DataArray(np.full(shape, np.nan if value is None else value, pixels.dtype), coords, tuple(coords))
    if not array.sizes["pixel"]:
        value = value.where(False)
    if target is None:
        return value
    valid = array.copy(data=np.isfinite(array.values)).sum("pixel")
    together = [value, xr.full_like(valid, array.sizes["pixel"]), valid]
    return xr.concat([one.astype(np.float64) for one in together], dim=target).assign_coords({target: list(COUNTS)})


def _tell(features: Features, empty: Sequence[int]) -> None:
    if not empty:
        return
    some = ", ".join(repr(features.ids[n]) for n in empty[:_NAMED])
    more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
    warnings.warn(
        f"{len(empty)} of {len(features)} features (with the ids {some}{more}) are outside of the data, or hold no "
        "centre of a pixel: their values are missing",
        OutsideData,
        stacklevel=users_line(),
    )


# ------------------------------------------------------------------------------------- what follows in a document


def _applied(node: Node, values: Mapping[str, xr.DataArray], metas: Mapping[str, Meta]) -> tuple[xr.DataArray, Meta]:
    """A process of tables: those that need no place work on features as on pixels."""
    op = registry[node.process]
    if not isinstance(op.support, Pixel) or set(op.injected) - {"meta"} or op.artefacts:
        raise DocumentError(f"{node.process!r} needs pixels; a table of features has none", process=node.process)
    arguments = {a.name: node.arguments.get(a.name, a.default) for a in op.arguments.values()}
    below = {name: metas[arguments[name].hash] for name in op.cubes_in(arguments)}
    meta = op.shape(arguments, below)
    cubes = {name: values[arguments[name].hash] for name in op.cubes_in(arguments)}
    given = {"meta": next(iter(below.values()))} if "meta" in op.injected else {}
    made = op.fn(**{**arguments, **cubes, **given})
    first = next(iter(cubes.values()))
    return made.assign_coords({n: first.coords[n] for n in ("geometry", "feature") if n not in made.coords}), meta


def _names(array: xr.DataArray, dims: list[str]) -> list[str]:
    """Names of columns: bands, labels of a target dimension, or both."""
    names = [""]
    for dim in dims:
        names = [f"{name}_{label}".strip("_") for name in names for label in array[dim].values]
    return ["value"] if names == [""] else names
