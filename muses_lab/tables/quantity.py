"""What the values of a chain are called beside an axis: an index, a band."""

from __future__ import annotations

from muses_lab.document.graph import Callback, Node, walk
from muses_lab.engine import Published
from muses_lab.engine.graph import Step

SAME = frozenset({"array_element", "first", "last", "max", "mean", "median", "min", "quantiles"})
"""Reducers whose result is of the same quantity as the values that they reduce."""
_KEEPING = frozenset({
    "mask", "mask_polygon", "filter_temporal", "filter_bbox", "filter_spatial", "filter_bands", "resample_spatial",
    "rename_labels", "aggregate_temporal_period", "muses:focal_mean", "muses:whittaker", "muses:savitzky_golay",
})  # fmt: skip
"""Processes whose result is of the same quantity as their data."""


def quantity_of(published: Published) -> str:
    """`NDVI`, `EVI`, `B08`: the index or band that a chain's values are; empty where they are none or of several."""
    node: object = published.prepared.root
    while isinstance(node, Node):
        name = _named(published.prepared.steps.get(node.hash), node)
        if name is not None:
            return name
        node = node.arguments.get("data")
    return ""


def _named(step: Step | None, node: Node) -> str | None:
    """The quantity that a node makes; None where it is that of its data."""
    if step is None:
        return ""
    if step.meta.bands is not None and len(step.meta.bands) == 1:
        return step.meta.bands[0]
    if "target_band" in step.arguments:  # an index
        return str(step.arguments["name"] if "name" in step.arguments else node.process.rpartition(":")[2].upper())
    if node.process == "reduce_dimension":
        return _reduced(node)
    return None if node.process in _KEEPING else ""


def _reduced(node: Node) -> str | None:
    reducer = node.arguments.get("reducer")
    inner = list(walk(reducer.root)) if isinstance(reducer, Callback) else []
    if node.arguments.get("dimension") == "bands":
        return str(inner[0].arguments.get("label") or "") if len(inner) == 1 else ""
    return None if inner and all(one.process in SAME for one in inner) else ""
