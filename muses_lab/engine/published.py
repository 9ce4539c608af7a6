"""A published chain: its document, what that refers to, and the results it was given. What travels to workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.document.graph import Node
from muses_lab.engine.graph import PreparedGraph, lists_of
from muses_lab.engine.mosaic import reasons
from muses_lab.operators import references, registry
from muses_lab.operators.own import import_modules, modules_of
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

    incomplete: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Node hash → scenes that could not be read for its result, with the reason. What is made of it tells them too."""

    @cached_property
    def scenes(self) -> dict[str, Scenes]:
        """Its lists of scenes by digest."""
        return {digest: self.artefacts[digest].value for digest in lists_of(self.root)}

    @property
    def left_out(self) -> list[str]:
        """Items that were left out of its lists of scenes, with the reason."""
        return [line for digest in self.artefacts for line in self.problems.get(digest, ())]

    def lacks(self, failed: Mapping[str, str]) -> dict[str, list[str]]:
        """What an array's attributes say of what its values lack: scenes that could not be read, items left out."""
        said = {"scenes_failed": reasons(failed), "problems": self.left_out}
        return {name: lines for name, lines in said.items() if lines}

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
        """Names the payload: the chain, which results came along, and which scenes those lack."""
        return hash_of(self.chain_hash, self.results, self.incomplete)

    @cached_property
    def remote(self) -> bool:
        """Whether it reads files of servers."""
        return any(source.remote for source in self.prepared.sources.values())

    @property
    def payload(self) -> bytes:
        """All of it as bytes, for a worker that does not have it."""
        return self.packed()

    def packed(self, **more: Any) -> bytes:
        """The payload with more in its head, which workers do not look at."""
        brought = {f"artefact {digest}": artefact.packed for digest, artefact in self.artefacts.items()}
        results = {f"result {node}": body for node, body in self.results.items()}
        lacking = {node: dict(failed) for node, failed in self.incomplete.items()}
        private = {digest: one.kind.name for digest, one in self.artefacts.items() if one.kind.private}
        head = {**more, "document": self.document.decode(), "incomplete": lacking, "private": private}
        return join({**head, "modules": modules_of(self.root)}, {**brought, **results})

    @classmethod
    def from_payload(cls, payload: bytes) -> Published:
        """What `payload` was made of; artefacts that another chain has brought are not made anew."""
        head, parts = split(payload)
        import_modules(head["modules"])
        artefacts, results = {}, {}
        for digest, kind in head["private"].items():  # code of operators, by which the document is understood
            artefacts[digest] = Artefact.unpacked(kinds[kind], digest, bytes(parts.pop(f"artefact {digest}")))
            _ = artefacts[digest].value
        root = graph.parse(head["document"], registry)
        referred = references(root)
        for name, part in parts.items():
            what, _, hash = name.partition(" ")
            if what == "result":
                results[hash] = bytes(part)
            else:
                artefacts[hash] = Artefact.unpacked(kinds[referred[hash]], hash, bytes(part))
        return cls(root, artefacts, results, incomplete=head["incomplete"])

    def with_results(
        self, results: Mapping[str, bytes], incomplete: Mapping[str, Mapping[str, str]] | None = None
    ) -> Published:
        """The same with more results. `incomplete`: by node hash, the scenes that could not be read for one."""
        lacking = {node: failed for node, failed in self.incomplete.items() if node not in results}
        lacking |= {node: failed for node, failed in (incomplete or {}).items() if failed}
        return replace(self, results={**self.results, **results}, incomplete=lacking)

    @cached_property
    def prepared(self) -> PreparedGraph:
        """The graph made ready for evaluation."""
        return PreparedGraph(self.root, self.artefacts)


def hash_of(
    chain_hash: str, results: Mapping[str, bytes | memoryview], incomplete: Mapping[str, Mapping[str, str]]
) -> str:  # fmt: skip
    """`Published.hash` of a chain with these results."""
    if not results:
        return chain_hash
    digest = hashlib.sha256()
    for node in sorted(results):
        digest.update(node.encode() + hashlib.sha256(results[node]).digest())
        digest.update(json.dumps(sorted(incomplete.get(node, {}).items())).encode())
    return f"{chain_hash}+{digest.hexdigest()[:16]}"
