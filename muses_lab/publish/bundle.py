"""Documents that bring along what they refer to by digest, so that a chain runs in another home.

What they bring comes from somebody else: each artefact is checked for what its kind is here, and every file and address
in a list of scenes must satisfy the rules of this home when it is read (see `access.resolve_href`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from muses_lab.document import graph, openeo, strict_json
from muses_lab.document.artefacts import Artefact, Kind, kinds
from muses_lab.document.graph import Node
from muses_lab.engine import Published
from muses_lab.errors import DocumentError
from muses_lab.operators import references, registry
from muses_lab.plain import shown
from muses_lab.publish.private import check_public, check_trusted

KEY = "muses:artefacts"
MAX_BYTES = 64 << 20
"""Of a document with its artefacts."""


def to_document(published: Published) -> dict[str, Any]:
    """The document of a chain with its artefacts, by digest."""
    for artefact in published.artefacts.values():
        if artefact.kind.private:
            check_public(published.root)
    brought = {digest: _to_json(artefact) for digest, artefact in sorted(published.artefacts.items())}
    return {**graph.to_document(published.root), KEY: brought}


def brought(published: Published, most: int) -> dict[str, dict[str, str]]:
    """The artefacts of a chain besides its lists of scenes, by digest; no code, and none of more bytes than `most`."""
    some = {digest: one for digest, one in sorted(published.artefacts.items()) if digest not in published.scenes}
    return {digest: _to_json(one) for digest, one in some.items() if not one.kind.private and len(one.body) <= most}


def parse(
    document: Any, parameters: Mapping[str, Any] | None = None, trust_code: bool = False
) -> tuple[Node, dict[str, Artefact]]:
    """A chain, and the artefacts that its document brings; `DocumentError` where it has several results."""
    results, found = read(document, parameters, trust_code=trust_code)
    if len(results) > 1:
        names = ", ".join(repr(one.name) for one in results)
        raise DocumentError(f"the document has {len(results)} results ({names}): ml.read_graph(…) gives them all")
    return results[0].root, found


def declared(document: Any) -> list[dict[str, Any]]:
    """The parameters that a document declares, see `openeo.declared`; none of what is no document."""
    try:
        document = _loads(document) if isinstance(document, str | bytes) else document
        return openeo.declared({key: value for key, value in document.items() if key != KEY})
    except (DocumentError, AttributeError):
        return []  # reading it says what is wrong


def read(
    document: Any,
    parameters: Mapping[str, Any] | None = None,
    processes: Any = None,
    trust_code: bool = False,
    collections: Mapping[str, Any] | None = None,
) -> tuple[list[openeo.Result], dict[str, Artefact]]:
    """The results of a document (see `openeo.read`), and the artefacts that it brings; with code only where
    that is trusted."""
    if isinstance(document, str | bytes):
        document = _loads(document)
    elif not isinstance(document, dict):
        raise DocumentError(
            f"{shown(document)} is no document: give its text, or what json.loads made of it; of a file "
            "Path(file).read_text()"
        )
    brought: Any = {}
    if isinstance(document, dict) and KEY in document:
        brought = document[KEY]
        document = {key: value for key, value in document.items() if key != KEY}
    results = openeo.read(document, registry, parameters, processes, collections)
    if not trust_code:
        for one in results:
            check_trusted(one.root)
    if not isinstance(brought, dict):
        raise DocumentError(f"{KEY!r} must map digests to artefacts, not {brought!r:.60}", argument=KEY)
    used: dict[str, str] = {}
    found: dict[str, Artefact] = {}
    for one in results:
        used.update(references(one.root))
        found.update((artefact.digest, artefact) for node in graph.walk(one.root) for artefact in node.artefacts)
    for digest, body in brought.items():
        if digest in used:
            found[digest] = _from_json(kinds[used[digest]], digest, body)
    return results, found


def faults(
    document: Any,
    parameters: Mapping[str, Any] | None = None,
    processes: Any = None,
    collections: Mapping[str, Any] | None = None,
) -> list[DocumentError]:
    """What keeps a document from being read, node by node (see `openeo.faults`)."""
    if isinstance(document, str | bytes):
        try:
            document = _loads(document)
        except DocumentError as error:
            return [error]
    if isinstance(document, dict):
        document = {key: value for key, value in document.items() if key != KEY}
    return openeo.faults(document, registry, parameters, processes, collections)


def _loads(text: str | bytes) -> Any:
    body = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(body) <= graph.MAX_BYTES or f'"{KEY}"'.encode() not in body:
        return graph.loads(text)
    if len(body) > MAX_BYTES:
        raise DocumentError(f"the document has {len(body)} bytes; with its artefacts the limit is {MAX_BYTES}")
    try:
        return strict_json.loads(body)
    except (ValueError, UnicodeDecodeError) as error:
        raise DocumentError(f"the document is not JSON: {error}") from None


def _to_json(artefact: Artefact) -> dict[str, str]:
    """Text as it is, so that people can read it; anything else in base64."""
    about = {"kind": artefact.kind.name, "type": artefact.kind.media_type}
    if "json" in artefact.kind.media_type:
        return {**about, "text": artefact.body.decode()}
    return {**about, "base64": base64.b64encode(artefact.body).decode()}


def _from_json(kind: Kind[Any], digest: str, body: Any) -> Artefact:
    """An artefact that is what its digest names, and of the kind that the document takes it for."""

    def wrong(reason: object) -> DocumentError:
        return DocumentError(f"the {kind.noun} {digest:.12}… of the document {reason}", argument=KEY, digest=digest)

    if not isinstance(body, dict) or body.get("kind") != kind.name:
        raise wrong(f"is none: it has not the kind {kind.name}")
    text, encoded = body.get("text"), body.get("base64")
    if isinstance(text, str):
        try:
            content = text.encode()
        except UnicodeEncodeError:
            raise wrong("holds half a character (a lone surrogate)") from None
    elif isinstance(encoded, str):
        try:
            content = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise wrong(f"is damaged: {error}") from None
    else:
        raise wrong("is empty: it has no `text` and no `base64`")
    artefact = Artefact.read(kind, digest, content)
    _ = artefact.value  # what is none is refused with the document, not in a tile
    return artefact
