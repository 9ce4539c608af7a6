"""A published chain: its document, what that refers to, and the results it was given. What travels to workers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.document.graph import Node
from muses_lab.engine.graph import PreparedGraph, lists_of
from muses_lab.operators import references, registry
from muses_lab.scenes.scene import Scenes
from muses_lab.scenes.wire import join, split


@dataclass(frozen=True)
class Published:
    """A chain whose collections are pinned lists."""

    root: Node
    artefacts: Mapping[str, Artefact]
    """What its document refers to, by digest: its lists of scenes, models, vectors."""
    results: Mapping[str, bytes] = field(default_factory=dict)
    """Node hash → result of a `region` or `fit` node, once it has been evaluated (see `Evaluator.whole`)."""

    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By digest: items that were left out of a list, with the reason. To be told; they do not travel to workers."""

    @cached_property
    def scenes(self) -> dict[str, Scenes]:
        """Its lists of scenes by digest."""
        return {digest: self.artefacts[digest].value for digest in lists_of(self.root)}

    @property
    def left_out(self) -> list[str]:
        """Items that were left out of its lists of scenes, with the reason."""
        return [line for digest in self.artefacts for line in self.problems.get(digest, ())]

    @cached_property
    def document(self) -> bytes:
        """Canonical JSON of the chain's document."""
        return graph.to_bytes(self.root)

    @cached_property
    def chain_hash(self) -> str:
        """SHA-256 of the document: the chain's name in URLs and stores."""
        return hashlib.sha256(self.document).hexdigest()

    @cached_property
    def hash(self) -> str:
        """Names the payload: the chain, and which results came along."""
        if not self.results:
            return self.chain_hash
        digest = hashlib.sha256()
        for node in sorted(self.results):
            digest.update(node.encode() + hashlib.sha256(self.results[node]).digest())
        return f"{self.chain_hash}+{digest.hexdigest()[:16]}"

    @cached_property
    def remote(self) -> bool:
        """Whether it reads files of servers."""
        return any(source.remote for source in self.prepared.sources.values())

    @property
    def payload(self) -> bytes:
        """All of it as bytes, for a worker that does not have it."""
        brought = {f"artefact {digest}": artefact.packed for digest, artefact in self.artefacts.items()}
        results = {f"result {node}": body for node, body in self.results.items()}
        return join({"document": self.document.decode()}, {**brought, **results})

    @classmethod
    def from_payload(cls, payload: bytes) -> Published:
        """What `payload` was made of; artefacts that another chain has brought are not made anew."""
        head, parts = split(payload)
        root = graph.parse(head["document"], registry)
        referred = references(root)
        artefacts, results = {}, {}
        for name, part in parts.items():
            what, _, hash = name.partition(" ")
            if what == "result":
                results[hash] = bytes(part)
            else:
                artefacts[hash] = Artefact.unpacked(kinds[referred[hash]], hash, bytes(part))
        return cls(root, artefacts, results)

    def with_results(self, results: Mapping[str, bytes]) -> Published:
        return Published(self.root, self.artefacts, {**self.results, **results}, self.problems)

    @cached_property
    def prepared(self) -> PreparedGraph:
        """The graph made ready for evaluation."""
        return PreparedGraph(self.root, self.artefacts)
