"""Lists of scenes as artefacts (`muses:items`): canonical JSON that names them, and packed columns that travel."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from muses_lab.document import strict_json
from muses_lab.document.artefacts import Artefact, Kind, Packing, kinds
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.orientation import why_not_a_grid
from muses_lab.scenes.scene import Scene, Scenes
from muses_lab.scenes.source import Source, source_of
from muses_lab.scenes.wire import VERSION, unpack

_MOST = 1 << 24
"""Rows or columns of a scene's file."""

_LONG = 256
"""Scenes from which on a list is kept in the store as it travels, too: its document takes long to read."""

_BANDS = TypeAdapter(list[Band])
_SCENES = TypeAdapter(list[Scene])


def as_artefact(scenes: Scenes) -> Artefact:
    """The artefact of a list."""
    return Artefact.of(ITEMS, scenes)


def source_in(artefact: Artefact) -> Source:
    """What is read of the list that an artefact is."""
    return source_of(artefact.value)


def _parse(body: bytes) -> Scenes:
    """A list that somebody else may have written: every file in it is held against this home's rules when it is read.

    See `raster.access.resolve_href`.
    """
    try:
        found = strict_json.loads(body)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"is damaged: {error}") from None
    if not isinstance(found, dict) or found.get("type") != "muses:items" or found.get("version") != 1:
        raise ValueError("is none: it has not the type muses:items and version 1")
    collection, catalog = found.get("collection"), found.get("catalog")
    if not isinstance(collection, str) or not isinstance(catalog, str):
        raise ValueError("does not say of which collection and catalogue it is")
    try:
        bands = _BANDS.validate_python(found.get("bands"))
        items = _SCENES.validate_python(found.get("items"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"is damaged: {place}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    for scene in items:
        for name, asset in scene.assets.items():
            if reason := _why_not_an_asset(asset):
                raise ValueError(f"cannot be used: scene {scene.id!r}, band {name!r}: {reason}")
    return Scenes(collection, catalog, tuple(bands), tuple(items))


def _why_not_an_asset(asset: Asset) -> str | None:
    if not all(1 <= n <= _MOST for n in asset.shape):
        return f"{asset.shape[0]} × {asset.shape[1]} are no rows and columns of a file"
    if asset.band < 1:
        return f"{asset.band} is no number of a band"
    return why_not_a_grid(asset.transform)


ITEMS = kinds.add(
    Kind(
        "muses:items",
        "list of scenes",
        "application/json",
        write=Scenes.to_bytes,
        parse=_parse,
        digest=lambda scenes: scenes.digest,
        packing=Packing(
            f"muses:packed-items {VERSION}",
            pack=lambda scenes: source_of(scenes).packed,
            unpack=unpack,
            worth=lambda scenes: len(scenes) > _LONG,
        ),
        max_bytes=256 << 20,
    )
)
