"""The results of `region` and `fit` nodes, on whole extents: from the store, or evaluated once and kept there."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic

from muses_lab.compute.queue import Executor
from muses_lab.document import graph
from muses_lab.engine import NodeKey, Published, Result
from muses_lab.engine.cost import plan
from muses_lab.engine.graph import PreparedGraph, Step, pinned_grid
from muses_lab.errors import ComputeError, MusesError
from muses_lab.operators import registry
from muses_lab.resources import cancel
from muses_lab.settings import number
from muses_lab.store import Store, default_store

_LOOK = 0.25
"""Seconds after which who waits for a result looks whether it is still wanted."""


def prepare(
    executor: Executor, published: Published, priority: float = 0.0, store: Store | None = None,
    admit: Callable[[float], float] | None = None,
) -> Published:  # fmt: skip
    """The chain with the results of its `region` and `fit` nodes; `incomplete` tells which lack scenes.

    Parameters
    ----------
    admit
        Told how many seconds those that are missing are expected to take; gives their priority, or raises.
    """
    steps: list[Step] = published.prepared.whole_nodes()
    if not steps or len(published.results) == len(steps):
        return published
    store = store or default_store()
    missing = [step for step in steps if step.node.hash not in published.results]
    private = {step.node.hash for step in missing if _is_private(step)}  # of a user's code: no store has them
    kept = {
        step.node.hash: body
        for step in missing
        if step.node.hash not in private and (body := _kept(store, step.node.hash)) is not None
    }
    published = published.with_results(kept) if kept else published
    missing = [step for step in missing if step.node.hash not in kept]
    if missing and admit is not None:
        priority = admit(expected_seconds(published, missing))
    for step in missing:  # those below come first
        result = _evaluated(executor, published, step, priority, None if step.node.hash in private else store)
        assert result.body is not None
        published = published.with_results({step.node.hash: result.body}, {step.node.hash: result.report.failed})
    return published


def expected_seconds(published: Published, steps: list[Step]) -> float:
    """What evaluating these nodes on their extents is expected to take, by metadata alone."""
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


def _is_private(step: Step) -> bool:
    return any(registry[node.process].private for node in graph.walk_all(step.node))


def _kept(store: Store, node: str) -> bytes | None:
    digest = store.result(node)
    return store.artefact(digest) if digest is not None and store.has_artefact(digest) else None


def _evaluated(executor: Executor, published: Published, step: Step, priority: float, store: Store | None) -> Result:
    ticket = executor.request(published, NodeKey(step.node.hash), priority)
    try:
        result = _patiently(ticket.future, number("MUSES_TASK_SECONDS"))
    except BaseException:
        ticket.release()
        raise
    assert result.body is not None
    if store is not None and not result.report.failed:
        _keep(store, step.node.hash, step.operator.id, result.body)
    return result


def _patiently(future: Future[Result], seconds: float) -> Result:
    """A result, unless whoever asks for it is told meanwhile that nobody waits any more."""
    end = monotonic() + seconds
    while True:
        cancel.check()
        left = end - monotonic()
        try:
            return future.result(max(0.0, min(left, _LOOK)))
        except TimeoutError:
            if left <= _LOOK:
                raise ComputeError(
                    f"a result of a whole extent was not ready after {seconds:g} s; MUSES_TASK_SECONDS allows more"
                ) from None


def _keep(store: Store, node: str, kind: str, body: bytes) -> None:
    """Keeps a result for others; on a full disk it is used all the same, and evaluated again when it is next needed."""
    digest = hashlib.sha256(body).hexdigest()
    try:
        store.put_artefact(digest, kind, body)
        store.put_result(node, digest)
    except Exception as error:
        logging.getLogger(__name__).warning("the result of %s could not be kept: %s", kind, error)
