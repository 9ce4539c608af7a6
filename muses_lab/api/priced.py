"""What each node of a chain takes on a window, and which of its blocks are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from odc.geo.geobox import GeoBox

from muses_lab import compute
from muses_lab.api.evaluation import Evaluable
from muses_lab.document import graph
from muses_lab.engine.attributed import attributed
from muses_lab.engine.cost import Plan, StepCost
from muses_lab.publish.pinning import LOADS


@dataclass(frozen=True)
class NodeCost:
    """What a node takes; estimated, nothing is read for it."""

    pieces: int
    """Blocks and rectangles of it that are evaluated."""
    reads: int
    """Blocks of files."""
    bytes: int
    """Their size in memory."""
    evaluated: int
    """Pixels × images of its result."""
    seconds: float
    """Of one thread."""
    kept: int
    """Blocks of it that are there already, in the workers' memory or on disk, …"""
    of: int
    """… of those that are kept once they are made; 0 where it is made anew with the node after it."""


def prices(
    chain: Evaluable, window: GeoBox, keeps: Callable[[Sequence[tuple[Any, ...]]], list[bool]] = compute.keeps
) -> tuple[Plan, dict[str, NodeCost]]:
    """The plan of a chain on a window, and what each node takes of it, by its name in the document.

    `keeps` says of blocks whether they are there, as `compute.keeps` does for this process.
    """
    plan, prepared, names = chain.plan(window), chain.published.prepared, graph.names(chain._node)
    costs: dict[str, StepCost] = {}
    for hash, made in attributed(chain._node, prepared, LOADS).items():
        costs[names[hash]] = sum((plan.steps[one] for one in sorted(made) if one in plan.steps), StepCost())
    there = iter(keeps([block for cost in costs.values() for block in cost.kept]))
    return plan, {
        name: NodeCost(
            cost.pieces, cost.reads, cost.bytes, cost.evaluated, cost.seconds,
            kept=sum(next(there) for _ in cost.kept), of=len(cost.kept),
        )
        for name, cost in costs.items()
    }  # fmt: skip
