"""Values reduced over features: what `aggregate_spatial` says in a document. `muses_lab.zonal` computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muses_lab.document.graph import Callback, Node, Parameter, walk
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators.contract import Cube, Meta, Reducer, Refused, Tabular, same_bands
from muses_lab.operators.declare import operator
from muses_lab.operators.methods import on_cube
from muses_lab.operators.registered import registry
from muses_lab.operators.vectors import Vectors
from muses_lab.plain import shown

AXES = ("geometry", "t", "bands")
"""Dimensions of a table."""


def _no_pixels(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    raise DocumentError(
        "aggregate_spatial gives a table of features, which has no pixels: compute it with .compute() or .table()"
    )


def _new_dimension(arguments: Mapping[str, Any]) -> None:
    if arguments["target_dimension"] in AXES:
        raise Refused("TargetDimensionExists", f"the dimension {arguments['target_dimension']!r} is there already")


def _aggregate_spatial(
    data: Node, geometries: Any, reducer: str | Callback = "mean", target_dimension: str | None = None
) -> Node:
    """A table: the values over each polygon, line or point, reduced to one (openEO `aggregate_spatial`).

    ```python
    image.aggregate_spatial(polygon, "mean")
    ndvi.aggregate_spatial(polygon, "median")
    ```

    `geometries` is what `ml.vectors` gives or takes; `reducer` the name of a reducer, such as `mean`, `median`, `sd`,
    `count`. Nothing is computed before `.compute()` (an array of dims `geometry, t, bands`) or `.table()` (a
    GeoDataFrame) of the result.
    """
    if isinstance(reducer, str):
        reducer = _named(reducer)
    elif not isinstance(reducer, Callback):
        raise ArgumentError(f"reducer={shown(reducer)} is no name of a reducer, such as 'mean'", argument="reducer")
    return on_cube(data, "aggregate_spatial", geometries=geometries, reducer=reducer, target_dimension=target_dimension)


def _named(name: str) -> Callback:
    try:
        return Callback(registry.node(name, inside_callback=True, data=Parameter("data")))
    except DocumentError as error:
        raise ArgumentError(f"reducer={shown(name)} is no reducer: {error}", argument="reducer") from None


@operator(
    "aggregate_spatial", support=Tabular(), shape=_no_pixels, needs=same_bands, rule=_new_dimension,
    method=_aggregate_spatial,
)  # fmt: skip
def aggregate_spatial(data: Cube, geometries: Vectors, reducer: Reducer, target_dimension: str | None = None) -> Cube:
    """The values over each polygon, line or point reduced to one: a table with the dimension `geometry`.

    ```python
    image.aggregate_spatial(polygon, "mean")
    ```

    A polygon has the pixels whose centre is inside, a line those that it goes through, a point the one that holds it:
    native pixels of the grid in which the feature lies. Pixels may be part of several features. The reducer gets the
    values row by row from the north-west. A feature without pixels is missing, and so is one outside of the data.
    `target_dimension` names a dimension with the labels `value`, `total_count` and `valid_count`: the number of pixels
    with the missing ones and without them (openEO `aggregate_spatial`).
    """
    raise DocumentError("tables are computed by muses_lab.zonal")


def reduces_over_features(node: Node) -> bool:
    """Whether a node makes a table of a cube."""
    return isinstance(registry[node.process].support, Tabular)


def is_table(root: Node) -> bool:
    """Whether a document's result is a table: made by such a node, or of one."""
    tables: set[str] = set()
    for node in walk(root):
        cubes = [node.arguments.get(name) for name in registry[node.process].cubes]
        if reduces_over_features(node) or any(isinstance(cube, Node) and cube.hash in tables for cube in cubes):
            tables.add(node.hash)
    return root.hash in tables
