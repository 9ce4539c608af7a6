"""The examples in the docstrings of operators, and the chains that they begin with."""

from __future__ import annotations

import ast
import datetime
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import xarray as xr

import muses_lab as ml
from muses_lab.document import graph
from muses_lab.document.graph import Callback
from muses_lab.operators import Operator
from muses_lab.operators.forest import Forest, fit_random_forest
from muses_lab.operators.methods import examples, method_of


def names(s2: ml.Collection) -> dict[str, Any]:
    """What the examples begin with, of a collection that has bands and a cloud mask."""
    ndvi = s2.mask_clouds().ndvi()
    image, other = ndvi.median("t"), s2.band("red").median("t")
    corners = [[1.3, 43.5], [1.5, 43.5], [1.5, 43.7], [1.3, 43.5]]
    polygon = {"type": "Polygon", "coordinates": [corners]}
    return {
        "ml": _Here(s2.catalog), "date": datetime.date, "polygon": polygon, "s2": s2, "ndvi": ndvi,
        "image": image, "other": other, "water": s2.ndwi().median("t") > 0, "forest": forest(),
        "everywhere": partial(everywhere, f"{s2.catalog.id}:{s2.query.collection}"), "trained": trained,
    }  # fmt: skip


def everywhere(collection: str, node: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A document: what a process gives, with nodes that it uses, at every pixel of a collection's first date."""
    band = {"process_id": "array_element", "arguments": {"data": {"from_parameter": "data"}, "index": 0}}
    apart = {"process_id": "load_collection", "arguments": {"id": collection, "bands": ["red"]}}
    first = {"process_id": "reduce_dimension", "arguments": {
        "data": {"from_node": "scenes"}, "dimension": "t", "reducer": {"process_graph": {"n": band | {"result": True}}},
    }}  # fmt: skip
    values = {"process_graph": {"node": node, **others}}
    there = {"process_id": "apply", "arguments": {"data": {"from_node": "first"}, "process": values}, "result": True}
    return {"scenes": apart, "first": first, "there": there}


def trained(process: str, chain: ml.Chain, **changes: Any) -> dict[str, Any]:
    """A document: a model fitted to the means of a chain over squares of two classes, and applied to the chain."""
    squares = [
        {"type": "Feature", "properties": {"target": 1 + n % 2}, "geometry": {"type": "Polygon", "coordinates": [
            [[w, 43.58], [w + 0.002, 43.58], [w + 0.002, 43.581], [w, 43.581], [w, 43.58]]
        ]}}
        for n, w in enumerate(np.linspace(1.40, 1.44, 12).tolist())
    ]  # fmt: skip
    sites = {"type": "FeatureCollection", "features": squares}
    nodes = chain.to_json()["process_graph"]
    (last,) = (name for name, node in nodes.items() if node.pop("result", False))
    image, mean = {"from_node": last}, {"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}}
    reducer = {"process_graph": {"mean": {**mean, "result": True}}}
    fit = {"predictors": {"from_node": "table"}, "target": sites, "max_variables": "all", "num_trees": 5, **changes}
    made = {
        "table": ("aggregate_spatial", {"data": image, "geometries": sites, "reducer": reducer}),
        "fit": (process, {name: value for name, value in fit.items() if value is not None}),
        "predict": ("ml_predict", {"data": image, "model": {"from_node": "fit"}, "dimensions": ["bands"]}),
    }
    nodes |= {name: {"process_id": id, "arguments": arguments} for name, (id, arguments) in made.items()}
    nodes["predict"]["result"] = True
    return nodes


class _Here:
    """`ml` where one catalogue is known, whatever other tests have opened."""

    def __init__(self, catalog: Any) -> None:
        self.collection = partial(ml.collection, catalog=catalog)

    def __getattr__(self, name: str) -> Any:
        return getattr(ml, name)


@cache
def forest() -> Forest:
    """Of images that have no bands: two classes, below and above 0.4."""
    values = np.linspace(-1, 1, 60)
    return fit_random_forest(xr.DataArray(values, dims="point"), (values > 0.4).astype(int) + 1, trees=3)


def lines(op: Operator) -> list[str]:
    """Of an operator and of its method, each once."""
    method = method_of(op)
    return list(dict.fromkeys(examples(op.fn.__doc__ or "") + examples(method.doc if method else "")))


def run(line: str, s2: ml.Collection) -> Any:
    return eval(line, names(s2))


def processes(chain: ml.Chain) -> Iterator[str]:
    """All processes of a chain, callbacks' too."""
    left = [chain._node]
    while left:
        for node in graph.walk(left.pop()):
            yield node.process
            left += [value.root for value in node.arguments.values() if isinstance(value, Callback)]


def call_of(op: Operator, s2: ml.Collection) -> tuple[Any, list[Any], dict[str, Any]]:
    """The chain that a method's first example is called on, and what it gives."""
    known = names(s2)
    for line in lines(op):
        for node in ast.walk(ast.parse(line, mode="eval")):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == op.method:
                args = [_value(argument, known) for argument in node.args]
                return (
                    _value(node.func.value, known),
                    args,
                    {str(k.arg): _value(k.value, known) for k in node.keywords},
                )
    raise AssertionError(f"the docstring of {op.id!r} has no example that calls .{op.method}(…)")


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "<example>", "eval"), known)
