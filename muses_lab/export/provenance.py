"""What an export says of how it was made, so that it can be told, and made again to the same bytes.

It is a mapping of texts whose names begin with `MUSES_`. A format that holds named texts (GeoTIFF's tags, attributes of
NetCDF and Zarr, text chunks of PNG, tables of GeoPackage) keeps each of them under its name; one that holds a single
text (a comment of GIF or MP4) keeps `as_text(texts)`; one that holds none (CSV) says so by `holds_texts = False`, and
they are put in a file beside it. `Writer.texts` gives them back, and `read` those of any export.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import llvmlite.binding
import rasterio
from odc.geo.geobox import GeoBox

from muses_lab.engine import Published
from muses_lab.engine.cost import Plan
from muses_lab.publish.bundle import brought
from muses_lab.raster.window import to_json

PREFIX = "MUSES_"
"""Beginning of the names of the texts."""

BESIDE = ".muses.json"
"""Ending of the file beside one that holds no texts: `fields.csv.muses.json`."""

REMAKE = "muses-lab remake FILE NEW"
"""The command that makes an export again."""

_MOST_ASKED = 16 << 10
"""Bytes of a chain's own document that is kept beside the one with pinned scenes."""
_MOST_BROUGHT = 16 << 20
"""Bytes of models and vectors that a file brings along; those of larger ones stay in the store."""
_CODE = ("numba", "numpy", "rasterio")
"""Packages by which values are computed, or written in every format."""


def texts(
    published: Published, window: GeoBox, plan: Plan, options: Mapping[str, Any], packages: Sequence[str],
    checksum: str, failed: Mapping[str, str],
) -> dict[str, str]:  # fmt: skip
    """What it takes to make and to check an export, and what is to be known of it.

    `options` are those of the export that its bytes depend on, as a job keeps them; `packages` what its format is
    written by; `failed` the scenes that could not be read.
    """
    known = {f"{PREFIX}WINDOW": _window(window), f"{PREFIX}CRC32": checksum}
    some = {"USED": list(plan.ids), "THINNED": str(plan.thinning or "")}
    known |= {PREFIX + name: _text(value) for name, value in some.items() if value}
    return texts_of_chain(published, options, packages, failed) | known


def texts_of_chain(
    published: Published, options: Mapping[str, Any], packages: Sequence[str], failed: Mapping[str, str]
) -> dict[str, str]:
    """The same of what has no window: a table of places or polygons."""
    from muses_lab import __version__

    scenes = {digest: scenes.to_json() for digest, scenes in published.scenes.items()}
    known: dict[str, Any] = {
        "CHAIN": published.chain_hash,
        "DOCUMENT": published.document.decode(),
        "SCENES": scenes,
        "OPTIONS": dict(options),
        "RELEASE": __version__,
        "VERSIONS": versions(packages),
        "REMAKE": REMAKE,
    }
    some = {
        "ARTEFACTS": brought(published, _MOST_BROUGHT), "PROBLEMS": published.left_out, "FAILED_SCENES": dict(failed),
    }  # fmt: skip
    known |= {name: value for name, value in some.items() if value}
    return {PREFIX + name: _text(value) for name, value in known.items()}


def is_of(found: Mapping[str, str], chain: str, window: GeoBox) -> bool:
    """Whether the texts are those of an export of a chain (its hash) on a window."""
    return (found.get(f"{PREFIX}CHAIN"), found.get(f"{PREFIX}WINDOW")) == (chain, _window(window))


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """What bytes depend on besides chain and window: releases, and the kind of processor."""
    from muses_lab import __version__

    own = {"muses-lab": __version__, "GDAL": rasterio.__gdal_version__, "processor": _processor()}
    return own | {name: _installed(name) for name in sorted({*_CODE, *packages})}


def asked(document: str | None, published: Published) -> str | None:
    """The document of a chain before its scenes were pinned, where there was one that is short enough to be kept."""
    if document is None or document == published.document.decode() or len(document.encode()) > _MOST_ASKED:
        return None
    return document


@cache
def _processor() -> str:
    """Compiled code is made for it, and rounds as it does."""
    return f"{platform.machine()} {llvmlite.binding.get_host_cpu_name()}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _window(window: GeoBox) -> str:
    return json.dumps(to_json(window))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True)


# One text, and files beside


def as_text(found: Mapping[str, str]) -> str:
    """The texts as one, in ASCII, for a format that holds one comment."""
    return json.dumps({name: text for name, text in found.items() if name.startswith(PREFIX)}, sort_keys=True)


def of_text(text: str) -> dict[str, str]:
    """What `as_text` was made of; nothing where it is something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: text for name, text in found.items() if name.startswith(PREFIX) and isinstance(text, str)}


def beside(path: Path) -> Path:
    """Where the texts are of a file that holds none."""
    return path.with_name(path.name + BESIDE)


def texts_beside(path: Path) -> dict[str, str]:
    """The texts of a file that holds none."""
    try:
        return of_text(beside(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}
