"""Artefacts in the store: kept when a chain is published, read when it is evaluated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from muses_lab.document import artefacts, graph
from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.engine import Published
from muses_lab.errors import MusesError, NotFound, PrivateChain
from muses_lab.operators import references, registry
from muses_lab.publish.private import check_public
from muses_lab.store import Store


def load_published(chain_hash: str, store: Store) -> Published:
    """A published chain from the store, ready for evaluation."""
    root = graph.parse(store.document(chain_hash), registry)
    check_public(root)
    referred = references(root)
    found = {digest: stored(store, kind, digest) for digest, kind in referred.items()}
    published = Published(root, found, problems={digest: stored_problems(store, digest) for digest in referred})
    _ = published.prepared
    return published


def keep(store: Store, artefact: Artefact) -> None:
    """Keeps an artefact, and the form that is quicker to read where that is worth it."""
    if store.has_artefact(artefact.digest):
        return
    packing = artefact.kind.packing
    if packing is not None and packing.worth(artefact.value):
        packed = artefact.packed
        name = hashlib.sha256(packed).hexdigest()
        store.put_artefact(name, packing.name.partition(" ")[0], packed)
        store.put_result(_named(packing.name, artefact.digest), name)
    store.put_artefact(artefact.digest, artefact.kind.name, artefact.body)


def stored(store: Store, kind: str, digest: str) -> Artefact:
    """The artefact of a kind with this digest, from this process where somebody holds it."""
    found = artefacts.known(digest)
    if found is not None and found.kind is kinds[kind]:
        return found
    if kinds[kind].private:
        raise PrivateChain(f"the {kinds[kind].noun} {digest[:12]}… is not here: code is taken from no store")
    packing = kinds[kind].packing
    if packing is not None:
        name = store.result(_named(packing.name, digest))
        if name is not None and store.has_artefact(name):
            return Artefact.unpacked(kinds[kind], digest, _whole(store, name))
    try:
        body = store.artefact(digest)
    except NotFound:
        raise NotFound(
            f"the {kinds[kind].noun} {digest[:12]}… is not in the store: it has those of chains that were published or "
            "fitted here; a document brings it along where it was written with to_json(artefacts=True)",
            artefact=digest,
        ) from None
    return Artefact.read(kinds[kind], digest, body)


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
        raise MusesError(f"the stored artefact {digest[:12]}… is damaged")
    return body


def _named(kind: str, digest: str) -> str:
    """Where the store remembers something that belongs to an artefact."""
    return hashlib.sha256(f"{kind} {digest}".encode()).hexdigest()
