"""STAC Items of any age in today's terms: the same item means the same whichever way it comes in."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from muses_lab.times import format_time, parse_time

PROBLEM = "muses:problem"
"""Field of an item that cannot be used: why. It stays among the others, so that it can be named."""

_RENAMED = {"eo:epsg": "proj:epsg", "eo:gsd": "gsd", "eo:platform": "platform", "eo:constellation": "constellation",
            "eo:instrument": "instruments"}  # fmt: skip
"""Properties of STAC before 1.0."""
_TIMES = ("datetime", "start_datetime", "end_datetime")


def spelt(platform: str) -> str:
    """The name of a platform in STAC's spelling, which items have here."""
    return platform.lower().replace("_", "-")


def normalised(document: Any, number: int = 0) -> dict[str, Any]:
    """An item in today's terms; changes the document.

    What is no item, or has a date or geometry that cannot be read, is an item too, with its reason in `PROBLEM`.

    Parameters
    ----------
    document
        A STAC Item of any version, as JSON.
    number
        Its place in its file, to name it by where it has no id.
    """
    item = document if isinstance(document, dict) else {}
    problems = []
    if not isinstance(item.get("id"), str) or not item["id"]:
        problems.append("it has no id: it is not a STAC Item")
        item["id"] = f"feature {number + 1}"
    for field in ("properties", "assets"):
        if not isinstance(item.get(field), dict):
            problems.append(f"it has no {field}: it is not a STAC Item")
            item[field] = {}
    properties = item["properties"]
    if isinstance(properties.get("collection"), str):  # its place before STAC 0.9
        own = properties.pop("collection")
        item["collection"] = item.get("collection") or own
    bands = properties.pop("eo:bands", None)
    item["assets"] = _assets(item["assets"], bands if isinstance(bands, list) else [])
    for old, new in _RENAMED.items():
        if old in properties:
            properties.setdefault(new, properties.pop(old))
    if isinstance(properties.get("instruments"), str):
        properties["instruments"] = [properties["instruments"]]
    if isinstance(properties.get("platform"), str):
        properties["platform"] = spelt(properties["platform"])
    for name in _TIMES:
        if properties.get(name):
            try:
                properties[name] = format_time(parse_time(properties[name]))
            except ValueError as error:
                problems.append(f"its {name} {error}")
                properties[name] = None
    if reason := _geometry_problem(item.get("geometry")):
        problems.append(reason)
    if problems:
        item[PROBLEM] = problems[0]
    return item


def _assets(assets: dict[str, Any], bands: list[Any]) -> dict[str, Any]:
    """Those with an href, under today's keys and with bands of their own."""
    found = {}
    for key, asset in assets.items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            continue
        for holder in (asset, *(asset.get("bands") or ()), *(asset.get("raster:bands") or ())):
            # "nan" is allowed, but GeoParquet has one type per column; in floats it is missing anyway
            if isinstance(holder, dict) and isinstance(holder.get("nodata"), str):
                del holder["nodata"]
        numbers = asset.get("eo:bands")
        if bands and numbers and all(isinstance(i, int) and i < len(bands) for i in numbers):
            asset["eo:bands"] = [bands[i] for i in numbers]
        stem = re.sub(r"\.tiff?$", "", key, flags=re.IGNORECASE)  # Landsat's items once called a band SR_B4.TIF
        found[key if stem in assets else stem] = asset
    return found


def _geometry_problem(geometry: Any) -> str | None:
    if geometry is None:
        return None
    try:
        found = shape(geometry)
    except (ShapelyError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        return f"its geometry cannot be read: {error}"
    if not found.is_empty and not np.isfinite(shapely.bounds(found)).all():
        return "its geometry has coordinates that are no numbers"
    return None
