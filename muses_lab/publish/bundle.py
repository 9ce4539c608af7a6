"""Documents that bring their lists of scenes along, so that a chain runs in another home.

Such a list comes from somebody else. It is checked here, and every file and address in it must satisfy the rules of
this home when it is read (see `access.resolve_href`), as those of shared lists must.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from muses_lab.document import graph, strict_json
from muses_lab.document.graph import Node
from muses_lab.engine import Published
from muses_lab.errors import CrsError, DocumentError
from muses_lab.operators import registry
from muses_lab.plain import shown
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.orientation import why_not_a_grid
from muses_lab.scenes.scene import Scene, Scenes

KEY = "muses:scenes"
MAX_BYTES = 64 << 20
"""Of a document with its lists."""
_MOST = 1 << 24
"""Rows or columns of a scene's file."""


def to_document(published: Published) -> dict[str, Any]:
    """The document of a chain with its lists of scenes, by digest."""
    lists = {digest: scenes.to_json() for digest, scenes in sorted(published.scenes.items())}
    return {**graph.to_document(published.root), KEY: lists}


def parse(document: Any) -> tuple[Node, dict[str, Scenes]]:
    """A chain, and the lists that its document brings."""
    if isinstance(document, str | bytes):
        document = _loads(document)
    elif not isinstance(document, dict):
        raise DocumentError(
            f"{shown(document)} is no document: give its text, or what json.loads made of it; of a file "
            "Path(file).read_text()"
        )
    lists: Any = {}
    if isinstance(document, dict) and KEY in document:
        lists = document[KEY]
        document = {key: value for key, value in document.items() if key != KEY}
    root = graph.parse(document, registry)
    if not isinstance(lists, dict):
        raise DocumentError(f"{KEY!r} must map digests to lists of scenes, not {lists!r:.60}", argument=KEY)
    used = {node.arguments["digest"] for node in graph.walk(root) if node.process == "muses:load_items"}
    return root, {digest: _scenes(digest, body) for digest, body in lists.items() if digest in used}


def _loads(text: str | bytes) -> Any:
    body = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(body) <= graph.MAX_BYTES or f'"{KEY}"'.encode() not in body:
        return graph.loads(text)
    if len(body) > MAX_BYTES:
        raise DocumentError(f"the document has {len(body)} bytes; with its scenes the limit is {MAX_BYTES}")
    try:
        return strict_json.loads(body)
    except (ValueError, UnicodeDecodeError) as error:
        raise DocumentError(f"the document is not JSON: {error}") from None


def _scenes(digest: str, body: Any) -> Scenes:
    """A list that is what its digest names."""

    def wrong(reason: object) -> DocumentError:
        return DocumentError(f"the list of scenes {digest:.12}… of the document {reason}", argument=KEY, digest=digest)

    if not isinstance(body, dict) or body.get("type") != "muses:items" or body.get("version") != 1:
        raise wrong("is none: it has not the type muses:items and version 1")
    collection, catalog = body.get("collection"), body.get("catalog")
    if not isinstance(collection, str) or not isinstance(catalog, str):
        raise wrong("does not say of which collection and catalogue it is")
    try:
        bands = _BANDS.validate_python(body.get("bands"))
        found = _SCENES.validate_python(body.get("items"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise wrong(f"is damaged: {place}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    scenes = Scenes(collection, catalog, tuple(bands), tuple(found))
    for scene in found:
        for name, asset in scene.assets.items():
            if reason := _why_not_an_asset(asset):
                raise wrong(f"cannot be used: scene {scene.id!r}, band {name!r}: {reason}")
    try:
        same = scenes.digest == digest
    except (ValueError, CrsError) as error:  # NaN, half characters
        raise wrong(f"is damaged: {error}") from None
    if not same:
        raise wrong("is damaged: its content is not what its digest names")
    return scenes


_BANDS = TypeAdapter(list[Band])
_SCENES = TypeAdapter(list[Scene])


def _why_not_an_asset(asset: Asset) -> str | None:
    if not all(1 <= n <= _MOST for n in asset.shape):
        return f"{asset.shape[0]} × {asset.shape[1]} are no rows and columns of a file"
    if asset.band < 1:
        return f"{asset.band} is no number of a band"
    return why_not_a_grid(asset.transform)
