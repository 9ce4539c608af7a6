"""Files beside a raster that count: what they say of place, nodata, scale, names and classes.

`.aux.xml` (GDAL's auxiliary metadata) and world files are read here, by us, so that they can name no other file. A mask
(`.msk`) is a raster of its own: scenes pin it, and the engine opens it as it opens the raster. Overviews beside the
file (`.ovr`) do not count: they save time, but are another file's word for this one's pixels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from muses_lab.errors import MusesError, ReadError
from muses_lab.raster.files import LocalFile

_MOST = 16 << 20
"""Bytes of a sidecar: statistics and histograms make some long."""

Affine6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class SaidOfBand:
    """What `.aux.xml` says of a band; None: nothing."""

    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None
    description: str | None = None
    categorical: bool = False
    """Whether it has a colour table or names of classes."""


@dataclass(frozen=True)
class Sidecars:
    """What the files beside a raster say."""

    crs: str | None = None
    """WKT or code, as it stands there."""
    transform: Affine6 | None = None
    """Of `.aux.xml`, which counts more than the raster's own."""
    world: Affine6 | None = None
    """Of a world file, which counts where nothing else says the place."""
    mask: bool = False
    """Whether a mask is there, which counts more than the raster's nodata."""
    bands: dict[int, SaidOfBand] = field(default_factory=dict)
    """By number, from 1 on."""
    tags: dict[str, str] = field(default_factory=dict)


NOTHING = Sidecars()


def read_sidecars(path: str) -> Sidecars:
    """What stands beside a local raster.

    Raises
    ------
    ReadError
        A file is there and cannot be read, or is a link out of the folder.
    """
    folder, name = os.path.split(os.path.realpath(path))
    try:
        there = set(os.listdir(folder))
    except OSError:  # a folder whose files one may read, but not list
        named = (f"{name}.aux.xml", f"{name}.msk", *_world_names(name))
        there = {n for n in named if os.path.exists(os.path.join(folder, n))}
    root = _xml(folder, f"{name}.aux.xml") if f"{name}.aux.xml" in there else None
    world = next((_world(folder, n) for n in _world_names(name) if n in there), None)
    said = Sidecars() if root is None else _of_xml(root)
    return replace(said, world=world, mask=f"{name}.msk" in there)


def _read(folder: str, name: str) -> bytes:
    """A sidecar's bytes; one that is a link must lead to a file of the same folder."""
    try:
        with LocalFile.open(os.path.join(folder, name), lambda place: os.path.dirname(place) == folder) as file:
            if file.size > _MOST:
                raise ReadError(f"it has {file.size} bytes; the limit is {_MOST}")
            return file.read(0, file.size)
    except (MusesError, OSError) as error:
        raise ReadError(f"{name} beside it cannot be read: {error}") from None


def _xml(folder: str, name: str) -> Element:
    try:
        return fromstring(_read(folder, name), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError) as error:
        raise ReadError(f"{name} beside it is no auxiliary metadata: {error}; remove or mend it") from None


def _of_xml(root: Element) -> Sidecars:
    bands = {}
    for node in root.iterfind("PAMRasterBand"):
        number = node.get("band", "")
        if number.isdecimal():
            nodata = _number(node, "NoDataValue")
            bands[int(number)] = SaidOfBand(
                nodata, _number(node, "Scale"), _number(node, "Offset"), node.findtext("Description"),
                node.find("ColorTable/Entry") is not None or node.find("CategoryNames/Category") is not None,
            )  # fmt: skip
    numbers = [part.strip() for part in (root.findtext("GeoTransform") or "").split(",")]
    transform = None
    if len(numbers) == 6:
        c, a, b, f, d, e = map(_float, numbers)  # GDAL's order
        transform = (a, b, c, d, e, f)
    tags = {
        item.get("key", ""): item.text or ""
        for metadata in root.iterfind("Metadata")
        if metadata.get("domain", "") in ("", "IMAGERY") and metadata.get("format") is None
        for item in metadata.iterfind("MDI")
    }
    return Sidecars(root.findtext("SRS") or None, transform, bands=bands, tags=tags)


def _number(node: Element, name: str) -> float | None:
    found = node.find(name)
    return None if found is None or not (found.text or "").strip() else _float(found.text or "")


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ReadError(f".aux.xml beside it: {text[:40]!r} is no number") from None


def _world_names(name: str) -> list[str]:
    """Names that a world file may have: `.tfw`, `.tifw`, `.wld` for `.tif`; also in capitals."""
    stem, _, ending = name.rpartition(".")
    endings = [f"{ending[0]}{ending[-1]}w", f"{ending}w", "wld"] if stem and ending else []
    return [f"{stem}.{e}" for ending in endings for e in dict.fromkeys((ending, ending.lower(), ending.upper()))]


def _world(folder: str, name: str) -> Affine6:
    """The affine of a world file, whose origin is the centre of the first pixel."""
    lines = _read(folder, name).decode("ascii", "replace").split()
    if len(lines) < 6:
        raise ReadError(f"{name} beside it is no world file: it has {len(lines)} numbers, not 6")
    try:
        a, d, b, e, c, f = (float(line.replace(",", ".")) for line in lines[:6])
    except ValueError:
        raise ReadError(f"{name} beside it is no world file: it holds no numbers") from None
    return a, b, c - (a + b) / 2, d, e, f - (d + e) / 2
