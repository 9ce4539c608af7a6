"""A chain's values over features: the pixels of each, reduced to one value; `aggregate_spatial` computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from muses_lab.document.graph import Callback, Node, walk
from muses_lab.engine import Published
from muses_lab.errors import DocumentError
from muses_lab.operators import Meta, Pixel, Series, references, registry, run
from muses_lab.operators.vectors import Features
from muses_lab.operators.zonal import AXES, reduces_over_features
from muses_lab.publish.documents import check_extents
from muses_lab.series import check_known
from muses_lab.zonal.parts import by_grid, parts_of, positive, tell_of_empty

if TYPE_CHECKING:
    import geopandas

COUNTS = ("value", "total_count", "valid_count")
"""Labels of a target dimension."""


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
    for grid, numbers in by_grid(grids, features):
        level = 0 if resolution is None else grid.level_near(positive(resolution))
        for part, found in parts_of(published, grid, level, features, numbers, failed):
            pixels = np.concatenate(part.values, axis=-1)[..., np.argsort(np.concatenate(part.places))]
            out[part.number] = _reduced(published, pixels, reducer, target)
            if not (part.found and found):
                empty.append(part.number)
    tell_of_empty(features, empty)
    values = xr.concat([array for array in out if array is not None], dim="geometry")
    shapes = np.empty(len(features), object)
    shapes[:] = list(features.shapes)
    values = values.transpose(*(d for d in (*AXES, target) if d in values.dims))
    values = values.assign_coords(geometry=("geometry", shapes), feature=("geometry", np.array(features.ids, object)))
    values.coords["geometry"].attrs["crs"] = features.crs
    values.attrs = {"muses_chain": published.chain_hash, **published.lacks(failed)}
    values.name = "values"
    return values


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
