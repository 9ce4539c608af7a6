"""What `muses-lab catalog add` is given: files, and folders as the files in them; or why that cannot be added."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from muses_lab.catalog.local import read_json
from muses_lab.errors import ReadError

_ITEMS = (".json", ".geojson")
_RASTERS = (".tif", ".tiff", ".gtiff", ".jp2", ".j2k")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


@dataclass
class Given:
    files: list[Path] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    """What cannot be added, and why."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """What of a folder is left out, and why."""


def given(names: Iterable[str | Path]) -> Given:
    """The files to read, each once: STAC items and rasters. A folder with STAC items stands for these."""
    found = Given()
    for name in names:
        path = Path(name).expanduser().resolve()
        if reason := _why_not(str(name), path):
            found.failed.append((str(name), reason))
        elif path.is_dir():
            _look_into(path, found)
        else:
            found.files.append(path)
    found.files = list(dict.fromkeys(found.files))
    return found


def is_catalog(folder: Path) -> bool:
    """Whether a folder is a catalogue of ours; one of single STAC files is a folder like others."""
    return (folder / "catalog.json").is_file() and any(folder.glob("*/items.parquet"))


def _look_into(folder: Path, found: Given) -> None:
    documents: list[Path] = []
    rasters: list[Path] = []
    products: set[Path] = set()
    for path in _walk(folder):
        products |= {parent for parent in path.parents if parent.suffix.lower() == ".safe"}
        if path.suffix.lower() in _ITEMS:
            documents.append(path)
        elif path.suffix.lower() in _RASTERS:
            rasters.append(path)
    assets = {path: _names_of_assets(path) for path in documents}
    items = [path for path in documents if assets[path]]
    named = set().union(*(assets[path] for path in items))
    found.files += items
    for product in sorted(products):
        if any(path.is_relative_to(product) or path.parent == product.parent for path in items):
            continue
        found.failed.append((str(product), _SAFE))
        rasters = [path for path in rasters if not path.is_relative_to(product)]
    others = [path for path in rasters if path.name not in named]
    if not items:
        found.files += rasters
    elif others:
        shown = ", ".join(path.name for path in others[:3]) + (", …" if len(others) > 3 else "")
        found.notes.append((str(folder), f"rasters that its STAC items do not name are left out: {shown}"))
    if not items and not rasters and not products:
        found.failed.append((str(folder), "no STAC item (JSON), GeoTIFF or JPEG 2000 is in this folder"))


def _walk(folder: Path) -> Iterator[Path]:
    """The files of a folder and its folders, in order; without hidden ones and catalogues of ours."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not is_catalog(Path(place, f)))
        yield from (Path(place, file) for file in sorted(files) if not file.startswith("."))


def _names_of_assets(path: Path) -> set[str]:
    """Base names of the files of a STAC Item or ItemCollection; none where a JSON is something else."""
    try:
        document = read_json(path)
    except ReadError:
        return set()
    features = document.get("features") if isinstance(document, dict) and "features" in document else [document]
    items = [f for f in features if _is_item(f)] if isinstance(features, list) else []
    hrefs = [a.get("href") for item in items for a in item["assets"].values() if isinstance(a, dict)]
    return {PurePosixPath(str(href)).name for href in hrefs}


def _is_item(document: Any) -> bool:
    return isinstance(document, dict) and document.get("type") == "Feature" and isinstance(document.get("assets"), dict)


# --------------------------------------------------------------------------------------------- what cannot be added

_SAFE = (
    "it belongs to a product as ESA delivers it (.SAFE), whose rasters do not say what their numbers mean. One of "
    "Sentinel-2 L2A, or a folder of such, is opened as it is: ml.open_catalog('FOLDER.SAFE'). Of others give the STAC "
    "item; `stac sentinel2 create-item FOLDER.SAFE OUTPUT` of stactools-sentinel2 makes one"
)
_LANDSAT = (
    "it is Landsat's own metadata. Give the STAC items that come with the scene (…_SR_stac.json, …_ST_stac.json), "
    "or its GeoTIFFs with --collection landsat-c2-l2"
)


def _why_not(name: str, path: Path) -> str | None:
    """Why something cannot be added whatever is in it; None where it has to be read."""
    if name.startswith(("http:/", "https:/", "s3:/")):
        return (
            "it is an address, and files of this machine are added. A STAC API is registered with "
            "`muses-lab catalog register URL`; an item is downloaded first, its rasters may stay where they are"
        )
    if any(sign in path.name for sign in "*?") and not path.exists():
        return "no file has such a name"
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return f"it is a catalogue already: `muses-lab catalog register {path}`" if is_catalog(path) else None
    lower = path.name.lower()
    if lower.endswith(".parquet"):
        return f"a file of STAC GeoParquet is a catalogue by itself: `muses-lab catalog register {path}`"
    if lower.endswith(_ARCHIVES):
        return (
            "it is an archive: unpack it, then give the folder. The zip of a Sentinel-2 L2A product is opened as it "
            f"is: ml.open_catalog({path.name!r})"
        )
    if lower.endswith(("_mtl.json", "_mtl.txt", "_mtl.xml", "_ang.txt")) or lower in ("mtl.json", "mtl.txt", "mtl.xml"):
        return _LANDSAT
    if lower == "manifest.safe" or lower.startswith("mtd_"):
        return _SAFE
    if not path.is_file():
        return "it is not a file"
    if not lower.endswith(_ITEMS + _RASTERS) and not _is_tiff(path):
        return f"it is neither a GeoTIFF nor of another kind that is read here: give {_KINDS}"
    return None


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    except OSError:
        return True  # who reads it says why that cannot be


_KINDS = "STAC items or ItemCollections (.json, .geojson), GeoTIFFs (.tif, .tiff) or JPEG 2000 (.jp2), or their folder"
