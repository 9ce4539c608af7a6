"""Pinned lists of scenes in the store: kept when a chain is published, read when it is evaluated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from muses_lab.document import graph
from muses_lab.document.graph import Node
from muses_lab.engine import Published
from muses_lab.errors import MusesError
from muses_lab.operators import registry
from muses_lab.scenes.scene import Scenes
from muses_lab.scenes.source import known_source, source_of
from muses_lab.scenes.wire import VERSION, unpack
from muses_lab.store import Store


def digests_of(root: Node) -> dict[str, None]:
    """The lists of scenes that a document reads, in order."""
    return dict.fromkeys(node.arguments["digest"] for node in graph.walk(root) if node.process == "muses:load_items")


def load_published(chain_hash: str, store: Store) -> Published:
    """A published chain from the store, ready for evaluation."""
    root = graph.parse(store.document(chain_hash), registry)
    digests = digests_of(root)
    scenes = {digest: stored_scenes(store, digest) for digest in digests}
    published = Published(root, scenes, problems={digest: stored_problems(store, digest) for digest in digests})
    _ = published.prepared
    return published


_LONG = 256
"""Scenes from which on a list is kept in the store as it travels, too: its document takes long to read."""


def keep_scenes(store: Store, digest: str, scenes: Scenes) -> None:
    if store.has_artefact(digest):
        return
    if len(scenes) > _LONG:
        packed = source_of(scenes).packed
        name = hashlib.sha256(packed).hexdigest()
        store.put_artefact(name, "muses:packed-items", packed)
        store.put_result(_packed_name(digest), name)
    store.put_artefact(digest, "muses:items", scenes.to_bytes())


def stored_scenes(store: Store, digest: str) -> Scenes:
    known = known_source(digest)
    if known is not None:
        return known.scenes
    name = store.result(_packed_name(digest))
    if name is not None and store.has_artefact(name):
        scenes = unpack(_whole(store, name))
        if scenes.digest == digest:
            return scenes
    return Scenes.from_json(json.loads(_whole(store, digest)))


def keep_problems(store: Store, digest: str, problems: Sequence[str]) -> None:
    """Keeps what was left out of a list of scenes, and why; what was kept first stays."""
    name = _named("muses:problems", digest)
    if problems and store.result(name) is None:
        body = json.dumps(list(problems)).encode()
        artefact = hashlib.sha256(body).hexdigest()
        store.put_artefact(artefact, "muses:problems", body)
        store.put_result(name, artefact)


def stored_problems(store: Store, digest: str) -> tuple[str, ...]:
    """What was left out of a list of scenes when it was published here."""
    name = store.result(_named("muses:problems", digest))
    return () if name is None or not store.has_artefact(name) else tuple(json.loads(_whole(store, name)))


def _whole(store: Store, digest: str) -> bytes:
    body = store.artefact(digest)
    if hashlib.sha256(body).hexdigest() != digest:
        raise MusesError(f"the stored list of scenes {digest[:12]}… is damaged")
    return body


def _packed_name(digest: str) -> str:
    """Where the store remembers the packed form of a list; of another version of it, elsewhere."""
    return _named(f"muses:packed-items {VERSION}", digest)


def _named(kind: str, digest: str) -> str:
    """Where the store remembers something that belongs to a list."""
    return hashlib.sha256(f"{kind} {digest}".encode()).hexdigest()
