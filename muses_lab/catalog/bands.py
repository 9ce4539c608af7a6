"""Files of one band each: those of one scene become one item, whose bands have the names that the files' names hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

UNNAMED = "b1"
"""What the only band of a file is called that has no description."""
_BAND = re.compile(
    r"(?:(?:SR|ST|SRE|FRC|TOA)_)?B\d{1,2}A?|(?:SR_)?QA(?:_[A-Z]+)*|SCL|AOT|WVP|CLD|CLM|MSK|VV|VH|HH|HV|"
    r"coastal|blue|green|red|rededge\d?|nir(?:08|09)?|swir\d{0,2}|cirrus|pan|lwir\d{0,2}",
    re.IGNORECASE,
)
"""Names of bands as providers write them into the names of files."""
_SIZE = re.compile(r"\d+m", re.IGNORECASE)


def together(items: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Items of plain rasters, with those that are one scene under one id; and files that may be one, with a question.

    Two files of one band without a name, of one folder, time and outline, are bands of a scene: by the only part of
    their names in which they differ, where that is the name of a band. Where it is not, nobody knows.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    found, questions = [], []
    for item in items:
        if list(item["assets"]) != [UNNAMED]:
            found.append(item)
            continue
        folder = os.path.dirname(item["assets"][UNNAMED]["href"])
        outline = tuple(round(value, 4) for value in item["bbox"])
        groups.setdefault((folder, item["properties"]["datetime"], outline), []).append(item)
    for group in groups.values():
        named = _named([item["id"] for item in group])
        if len(group) == 1:
            found += group
        elif named is None:
            names = ", ".join(sorted(item["id"] for item in group)[:4])
            question = (
                f"{len(group)} files have the same date and place and one band without a name each ({names}"
                f"{', …' if len(group) > 4 else ''}): are they bands of one scene? Say so by a pattern with a group "
                r"named band, for example --pattern '(?P<date>\d{8})_(?P<band>\w+)\.tif'; or add each to a collection "
                "of its own"
            )
            questions += [(item["assets"][UNNAMED]["href"], question) for item in group]
        else:
            scene, bands = named
            found += [renamed(item, scene, band) for item, band in zip(group, bands, strict=True)]
    return found, questions


def renamed(item: dict[str, Any], scene: str, band: str) -> dict[str, Any]:
    """The item of a file of one band as that of a scene, of which it has this band."""
    (asset,) = item["assets"].values()
    named = asset | {"bands": [{**asset["bands"][0], "name": band}]}
    return {**item, "id": scene, "assets": {band: named}}


def _named(stems: list[str]) -> tuple[str, list[str]] | None:
    """What the names have in common, and the band in each; None where they do not differ in bands alone."""
    parts = [[p for p in re.split(r"[_.\-\s]", stem) if not _SIZE.fullmatch(p)] for stem in stems]
    shortest = min(map(len, parts))
    before = next((n for n in range(shortest) if len({p[n] for p in parts}) > 1), shortest)
    rest = shortest - before
    after = next((n for n in range(rest) if len({p[-1 - n] for p in parts}) > 1), rest)
    bands = ["_".join(p[before : len(p) - after]) for p in parts]
    if len(set(bands)) < len(bands) or not all(_BAND.fullmatch(band) for band in bands):
        return None
    common = "_".join([*parts[0][:before], *parts[0][len(parts[0]) - after :]])
    return (common or "scene"), bands
