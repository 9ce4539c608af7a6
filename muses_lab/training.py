"""Models that a document fits to tables: fitted once, before anything is drawn; then it refers to them by digest."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from typing import Any

from muses_lab import zonal
from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.document.graph import Node
from muses_lab.engine import Published
from muses_lab.errors import DocumentError
from muses_lab.operators import references, registry
from muses_lab.operators.zonal import is_table
from muses_lab.plain import users_line
from muses_lab.publish import artefacts
from muses_lab.publish.private import private_node
from muses_lab.store import Store


class IncompleteSample(UserWarning):
    """Scenes could not be read for the values that a model was fitted to."""


def with_models(published: Published, store: Store) -> Published:
    """The document with the digest of a model in the place of each node that fits one; a model at its end stays."""
    if not any(registry[node.process].fits for node in graph.walk(published.root)):
        return published
    found: dict[str, Artefact] = {}

    def fitted(node: Node, arguments: dict[str, Any]) -> Node:
        given: dict[str, Any] = {n: found.get(a.hash, a) if isinstance(a, Node) else a for n, a in arguments.items()}
        one = registry.node(node.process, **given)
        if registry[one.process].fits and node is not published.root:
            model = model_of(_part(published, one, found), store)
            found[one.hash] = found[model.digest] = model
        return one

    return _part(published, graph.rebuild(published.root, fitted), found)


def _part(published: Published, root: Node, found: dict[str, Artefact]) -> Published:
    """A document with what it refers to, of what is known."""
    known = {**published.artefacts, **found}
    return replace(published, root=root, artefacts={digest: known[digest] for digest in references(root)})


def model_of(published: Published, store: Store) -> Artefact:
    """The model that a document ends in: from the store, or fitted now and kept there.

    Warns where scenes could not be read; such a model is not kept for others that ask for the same.
    """
    node = published.root
    with _lock_of(node.hash):
        private = private_node(node) is not None
        digest = None if private else store.result(node.hash)
        if digest is not None and store.has_artefact(digest):
            return artefacts.stored(store, registry[node.process].gives, digest)
        model, failed = _fitted(published)
        if failed:
            warnings.warn(
                f"{len(failed)} scenes could not be read for the sample of {node.process!r}: {failed[0]}",
                IncompleteSample, stacklevel=users_line(),
            )  # fmt: skip
        if not private:
            artefacts.keep(store, model)
            if not failed:
                store.put_result(node.hash, model.digest)
        return model


def _fitted(published: Published) -> tuple[Artefact, list[str]]:
    """A model, and the scenes that could not be read for it."""
    node = published.root
    op = registry[node.process]
    arguments = {a.name: node.arguments.get(a.name, a.default) for a in op.arguments.values()}
    arguments |= {name: published.artefacts[digest].value for name, digest in op.referred(node.arguments).items()}
    failed: list[str] = []
    for name in op.cubes_in(node.arguments):
        part = _part(published, node.arguments[name], {})
        if not is_table(part.root):
            raise DocumentError(
                f"{node.process!r} is fitted to a table of features, as aggregate_spatial gives it, and `{name}` has "
                "pixels",
                process=node.process, argument=name,
            )  # fmt: skip
        arguments[name] = table = zonal.compute(part)
        arguments["features"] = zonal.features(part)
        failed += table.attrs.get("scenes_failed", [])
    try:
        return Artefact.of(kinds[op.gives], op.fn(**arguments)), failed
    except ValueError as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(f"{node.process!r}: {error}", process=node.process) from None


_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def _lock_of(key: str) -> threading.Lock:
    """So that a model is fitted once where several ask at once."""
    with _guard:
        return _locks.setdefault(key, threading.Lock())
