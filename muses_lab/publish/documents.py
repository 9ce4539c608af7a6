"""Published documents: checked, and kept in the store with what they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from muses_lab.document import graph
from muses_lab.document.graph import Node
from muses_lab.engine import Published
from muses_lab.errors import ExtentRequired
from muses_lab.operators import registry
from muses_lab.publish import artefacts
from muses_lab.publish.private import check_public, private_node
from muses_lab.store import Store


def keep(published: Published, store: Store) -> str:
    """Checks a document, keeps it in the store with its artefacts; returns the hash that names it."""
    return keep_several([published], store)[0]


def keep_several(several: Iterable[Published], store: Store) -> list[str]:
    """As `keep`, of each; an artefact of several, as the scenes of a chain's dates are, is looked at once."""
    kept: set[str] = set()
    hashes = []
    for published in several:
        check_public(published.root)
        check_extents(published.root)
        _ = published.prepared  # unknown bands, different grids and the like are errors now, not in a tile
        for digest, artefact in published.artefacts.items():
            if digest not in kept:
                artefacts.keep(store, artefact)
                artefacts.keep_problems(store, digest, published.problems.get(digest, ()))
                kept.add(digest)
        store.put_document(published.chain_hash, published.document.decode())
        hashes.append(published.chain_hash)
    return hashes


def keep_for_job(published: Published, store: Store) -> str:
    """As `keep`, for a job that begins: the store holds its document, unless the chain is private.

    The job of a private chain goes by its hash alone, and cannot be taken up again once its process has ended.
    """
    if private_node(published.root) is None:
        return keep(published, store)
    check_extents(published.root)
    _ = published.prepared
    return published.chain_hash


def without_extent(root: Node) -> Iterator[Node]:
    """Nodes that depend on an area and do not say which."""
    for node in graph.walk(root):
        if registry[node.process].needs_extent and not has_extent(node):
            yield node


def has_extent(node: Node) -> bool:
    return node.arguments.get("extent") is not None and node.arguments.get("resolution") is not None


def check_extents(root: Node) -> None:
    """`ExtentRequired` names the first node that depends on an area and does not say which."""
    for node in without_extent(root):
        raise ExtentRequired(
            f"{node.process!r} depends on {registry[node.process].depends_on}: give it extent= and "
            "resolution=, or pin the chain with .pin(bounds, resolution)",
            process=node.process,
        )
