"""The steps of a chain under every name that people have for them: what an exercise, or a search, looks for."""

from __future__ import annotations

from typing import NamedTuple

from muses_lab.api.expression import Expression
from muses_lab.api.formula import SIGNS
from muses_lab.api.python import written
from muses_lab.document import graph
from muses_lab.document.graph import Callback, Node
from muses_lab.operators import registry
from muses_lab.operators.methods import method_of
from muses_lab.operators.spectral import CATALOGUE
from muses_lab.publish.pinning import LOADS


class Step(NamedTuple):
    """One step of a chain."""

    hash: str
    names: frozenset[str]
    """Process id with and without its namespace, method, sign, reducer and whatever else runs in its callbacks."""
    inputs: tuple[str, ...]
    """Hashes of the steps whose values go through it; a condition, which only chooses among them, is none."""


def steps(chain: Expression) -> list[Step]:
    """The steps of a chain, those before what uses them.

    >>> [sorted(step.names) for step in steps(s2.mask_clouds().ndvi())]                # doctest: +SKIP
    [['collection', 'load_collection'], ['mask', 'mask_clouds'], ['ndvi']]
    """
    nodes = {node.hash: node for node in graph.walk(chain._node)}
    return [
        Step(hash, _names(nodes[hash], one.names), one.goes_on) for hash, one in written(chain).items()
    ]  # fmt: skip


def known_names() -> frozenset[str]:
    """The names that a step of some chain can have: process ids, methods, signs, indices and functions.

    Operators that a notebook declares are among them once they are declared.
    """
    found = {"collection", "bands", "dates", "bbox", "intersects", "filter", "sort", "limit", "mask_clouds", "clouds"}
    found |= {"where", "rgb", "hsv", "mosaic", "blend", "stack", "crop", "dated"}
    found |= {*SIGNS.values(), "~", "abs", *(one for name in CATALOGUE for one in (name, name.lower()))}
    for op in registry:
        method = method_of(op)
        found |= {op.id, op.id.rpartition(":")[2], *([method.name] if method else [])}
    return frozenset(found)


_LOADED = (*LOADS, "muses:load_items")


def _is_of_product(mask: Node) -> bool:
    """Whether a mask is made of the bands of scenes as they are loaded, as that of a product is."""
    return any(
        one.process == "reduce_dimension"
        and one.arguments["dimension"] == "bands"
        and one.arguments["data"].process in _LOADED
        for one in graph.walk(mask)
    )


def _names(node: Node, calls: tuple[str, ...]) -> frozenset[str]:
    found = {node.process, node.process.rpartition(":")[2], *calls}
    method = method_of(registry[node.process])
    if method is not None:
        found.add(method.name)
    if node.process == "muses:spectral_index":
        found |= {str(node.arguments.get("name")), str(node.arguments.get("name")).lower()}
    if node.process in _LOADED:
        found.add("collection")
    if node.process == "mask" and _is_of_product(node.arguments["mask"]):
        found.add("mask_clouds")  # also where the scenes are pinned, so that no collection is there any more
    for value in node.arguments.values():
        if isinstance(value, Callback):
            found |= {one for n in graph.walk_all(value.root) for one in (n.process, n.process.rpartition(":")[2])}
            root = method_of(registry[value.root.process])
            if root is not None and not calls:
                found.add(root.name)
    return frozenset(found)
