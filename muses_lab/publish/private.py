"""Chains that run code of their author: they stay with them."""

from __future__ import annotations

from muses_lab.document import graph
from muses_lab.document.graph import Node
from muses_lab.errors import PrivateChain
from muses_lab.operators import registry


def private_node(root: Node) -> Node | None:
    """A node that runs code of the chain's author; None where there is none."""
    return next((node for node in graph.walk_all(root) if registry[node.process].private), None)


def check_public(root: Node) -> None:
    """`PrivateChain` names a node that runs code of the chain's author: what others open must never run any."""
    node = private_node(root)
    if node is not None:
        raise PrivateChain(
            f"the chain is private: {node.process!r} runs code of its author, so it is computed on their own cluster "
            "only and cannot be published, shared or kept for others. Show it on a map (m.add), compute or export it "
            "from the notebook; an operator that others may use belongs into a package that they install",
            process=node.process,
        )


def check_trusted(root: Node) -> None:
    """`PrivateChain` names a node of a document from elsewhere that would run code of somebody."""
    node = private_node(root)
    if node is not None:
        raise PrivateChain(
            f"the document holds code: {node.process!r} would run it on your cluster, with all that you may do. Read "
            "it, and where you trust it say so: ml.Chain.from_json(document, trust_code=True)",
            process=node.process,
        )
