"""Which steps of a prepared graph each node of a chain has become: lists of scenes, without unused bands."""

from __future__ import annotations

from collections.abc import Container

from muses_lab.document.graph import Node, walk
from muses_lab.engine.graph import PreparedGraph
from muses_lab.operators import registry


def attributed(root: Node, prepared: PreparedGraph, loads: Container[str]) -> dict[str, set[str]]:
    """Hash of a node of the chain → hashes of the steps that are evaluated for it; none where nothing is to be done.

    `loads`: processes whose nodes stand for all that is there in their place: a list of scenes, and what crops it.
    """
    found: dict[str, set[str]] = {node.hash: set() for node in walk(root)}
    seen: set[tuple[str, str]] = set()
    stack = [(root, prepared.root)]
    while stack:
        node, made = stack.pop()
        if (node.hash, made.hash) in seen:
            continue
        seen.add((node.hash, made.hash))
        if node.process in loads:
            found[node.hash] |= {one.hash for one in walk(made)}
            continue
        op = registry[node.process]
        if node.process != made.process:
            if op.selects:  # its input has just these bands already
                stack.append((node.arguments[op.cubes[0]], made))
            elif registry[made.process].selects:  # of bands that others use, too
                found[node.hash].add(made.hash)
                stack.append((node, made.arguments[registry[made.process].cubes[0]]))
            continue
        found[node.hash].add(made.hash)
        for name in op.cubes:
            mine, its = node.arguments.get(name), made.arguments.get(name)
            if isinstance(mine, Node) and isinstance(its, Node):
                stack.append((mine, its))
    return found
