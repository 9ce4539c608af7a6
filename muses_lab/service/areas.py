"""The whole areas that a chain needs before its first tile (`region` and `fit` nodes): admitted as tiles are."""

from __future__ import annotations

from typing import Any

from muses_lab import compute
from muses_lab.compute.admission import Admission, TooCostly
from muses_lab.errors import MusesError
from muses_lab.store import Store


def prepare(published: Any, place: float, urgent: tuple[float, float], admission: Admission, store: Store) -> Any:
    """The chain with their results, from the store or evaluated now. For a thread: it may take minutes.

    Parameters
    ----------
    place
        Priority of the tile that needs them.
    urgent
        Priority of what is urgent, and the seconds of the cluster that it may take at the most.
    """
    from muses_lab.compute.windows import prepare as prepared

    executor = compute.executor()
    missing = [step for step in published.prepared.whole_nodes() if not _kept(store, step.node.hash)]
    seconds = expected_seconds(published, missing)
    if seconds > admission.view_seconds:
        raise TooCostly(
            f"the whole areas that this chain needs would take about {seconds:.0f} s, more than the "
            f"{admission.view_seconds:g} s that are allowed: choose smaller extents, coarser resolutions, fewer dates",
            expected_seconds=round(seconds),
            limit=admission.view_seconds,
        )
    if missing:
        admission.check(view=seconds, waiting=executor.expected_seconds() + seconds)
    return prepared(executor, published, urgent[0] if seconds <= urgent[1] else place, store)


def expected_seconds(published: Any, steps: list[Any]) -> float:
    """What evaluating these nodes on their extents is expected to take, by metadata alone."""
    from muses_lab.document import graph
    from muses_lab.engine.cost import plan
    from muses_lab.engine.graph import PreparedGraph, pinned_grid

    prepared = published.prepared
    inputs = {step.node.hash: prepared[step.cubes[0][1]] for step in steps}
    below = {node.hash for child in inputs.values() for node in graph.walk(child.node)}
    seconds = 0.0
    for step in steps:
        child = inputs[step.node.hash]
        if step.node.hash not in below:
            grid = pinned_grid(step.node, step.arguments, child.grids)
            try:
                seconds += plan(PreparedGraph(child.node, published.artefacts), grid.geobox(0, grid.extent)).seconds
            except MusesError:  # what cannot be planned cannot be evaluated, and that says why
                continue
    return seconds


def _kept(store: Store, node: str) -> bool:
    digest = store.result(node)
    return digest is not None and store.has_artefact(digest)
