"""What participants ask the class's evaluator to compute: documents, checked before anything of them is read."""

from __future__ import annotations

import hashlib
import threading
import time

from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.engine import Published
from muses_lab.errors import DocumentError, MusesError
from muses_lab.evaluator.pinned import NotOfACourse, PinnedScenes
from muses_lab.operators import references, registry
from muses_lab.publish.private import check_public
from muses_lab.resources.cache import Cache


class Refused(MusesError):
    """The class's evaluator does not compute this; the participant's own cluster may."""

    code = "refused"
    http_status = 403


class Unknown(MusesError):
    """A chain that was not given to the evaluator, or not since it was started."""

    code = "chain-unknown"
    http_status = 404


class Lacking(MusesError):
    """A document refers to artefacts that are not here; details name them as `artefacts`."""

    code = "artefacts-lacking"
    http_status = 409


class Chains:
    """The chains that were taken, under a byte budget; thread-safe.

    Everything is named by the hash of its content, which is checked: nobody can put anything in the place of what
    somebody else means.
    """

    def __init__(self, pinned: PinnedScenes, budget: int) -> None:
        self.pinned = pinned
        self._taken = Cache(budget // 2)
        self._artefacts = Cache(budget // 2)
        self._generation = -1
        self._lock = threading.Lock()

    def put_artefact(self, digest: str, kind: str, body: bytes) -> None:
        """Keeps a list of scenes, a model, polygons; `DocumentError` where the bytes are none, or not that digest's."""
        begun = time.perf_counter()
        if kinds[kind].private:
            raise Refused(f"a {kinds[kind].noun} is code of its author, and is computed on their own cluster only")
        artefact = Artefact.read(kinds[kind], digest, body)
        _ = artefact.value  # what is none is refused now
        self._artefacts.put((kind, digest), artefact, len(body) + 1024, time.perf_counter() - begun)

    def put(self, chain_hash: str, text: bytes) -> Published:
        """Takes a document.

        Raises
        ------
        Lacking
            Some of what it refers to is not here: `put_artefact`, and again.
        Refused, NotOfACourse, PrivateChain, DocumentError
            It is not computed here; the message says why.
        """
        begun = time.perf_counter()
        root = graph.parse(text, registry)
        check_public(root)
        if hashlib.sha256(graph.to_bytes(root)).hexdigest() != chain_hash:
            raise DocumentError(f"the document is not the chain {chain_hash[:12]}… that it was given as")
        referred = references(root)
        held = {digest: self._artefacts.get((kind, digest)) for digest, kind in referred.items()}
        found: dict[str, Artefact] = {digest: one for digest, one in held.items() if one is not None}
        if lacking := sorted(held.keys() - found.keys()):
            raise Lacking(f"the document refers to {len(lacking)} artefacts that are not here", artefacts=lacking)
        published = Published(root, found)
        if not published.scenes:
            raise NotOfACourse("the chain reads no scene of a course")
        for scenes in published.scenes.values():
            self.pinned.check(scenes)
        try:
            _ = published.prepared
        except MusesError as error:
            raise Refused(f"the chain cannot be evaluated: {error.message}") from None
        size = len(text) + 4096 + sum(len(artefact.body) for artefact in found.values())
        self._current()
        self._taken.put(chain_hash, published, size, time.perf_counter() - begun)
        return published

    def get(self, chain_hash: str) -> Published:
        """A chain that was taken, and whose course is published still."""
        self._current()
        published = self._taken.get(chain_hash)
        if published is None:
            raise Unknown(f"the chain {chain_hash[:12]}… is not here", chain=chain_hash)
        return published

    def _current(self) -> None:
        """When courses have changed, every chain is checked anew before it is computed again."""
        generation = self.pinned.look()
        with self._lock:
            if generation != self._generation:
                self._taken.clear()
                self._generation = generation
