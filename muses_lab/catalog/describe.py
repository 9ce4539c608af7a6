"""A STAC Collection made from its items: extent, and `item_assets` with what the items say of their bands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import shapely
from shapely.geometry import shape

from muses_lab.catalog.table import item_span
from muses_lab.products import profile_of
from muses_lab.products.described import is_data
from muses_lab.products.items import PROBLEM
from muses_lab.times import format_time

_OF_THE_ITEM = {"href", "title", "description", "alternate", "file:size", "file:checksum", "file:header_size",
                "muses:band", "muses:checked", "created", "updated"}  # fmt: skip
"""Asset fields that say where, not what."""

EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
]


def describe_collection(id: str, items: Iterable[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """A STAC Collection for `items`; `fields` take precedence over what is made up here."""
    items = [item for item in items if PROBLEM not in item]
    document: dict[str, Any] = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS,
        "id": id,
        "description": f"Scenes of {id}",
        "license": "other",
        "links": [],
    } | fields
    if "muses:product" not in document and (profile := profile_of(document, items)):
        document["muses:product"] = profile.name
    document["extent"] = {
        "spatial": {"bbox": [space_extent(items)]},
        "temporal": {"interval": [time_extent(items)]},
    }
    document["item_assets"] = item_assets(items, document)
    return document


def item_assets(items: Iterable[dict[str, Any]], collection: dict[str, Any]) -> dict[str, Any]:
    """The data assets of all items, each as the first item that has it describes it."""
    found: dict[str, Any] = dict(collection.get("item_assets") or {})
    items = list(items)
    profile = profile_of(collection, items)
    for item in items:
        for key, asset in item.get("assets", {}).items():
            if key not in found and is_data(key, asset, profile):
                found[key] = {
                    field: value
                    for field, value in asset.items()
                    if field not in _OF_THE_ITEM and not field.startswith("proj:")
                }
    return found


def space_extent(items: Iterable[dict[str, Any]]) -> list[float]:
    shapes = [shape(item["geometry"]) for item in items if item.get("geometry")]
    return [float(v) for v in shapely.total_bounds(shapes)] if shapes else [-180.0, -90.0, 180.0, 90.0]


def time_extent(items: Iterable[dict[str, Any]]) -> list[str | None]:
    spans = [span for span in map(item_span, items) if span]
    if not spans:
        return [None, None]
    return [format_time(min(s[0] for s in spans)), format_time(max(s[1] for s in spans))]
