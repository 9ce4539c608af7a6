"""PNG of a layer: its picture as a map shows it, on a sheet with legend and scale bar, or alone with its georeference.

The chain's document and all else that it takes to make the file again are in its text chunks.
Source: Portable Network Graphics (PNG) Specification, 3rd edition; GDAL's auxiliary files (`.aux.xml`) and world files.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from odc.geo.geobox import GeoBox
from PIL import Image, PngImagePlugin
from rasterio.windows import Window as Pixels

from muses_lab.errors import NotAnImage
from muses_lab.export import drawing, provenance
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import COPY, Pieces
from muses_lab.export.provenance import PREFIX
from muses_lab.export.running import RunningJob
from muses_lab.export.sheet import Decoration, image_of

_MOST = 100_000_000
"""Pixels of a picture, which is in memory as a whole."""
_PLACE = f"{PREFIX}PLACE"
"""Text that says in which column and row of the sheet the picture begins."""
_LONG = 1 << 10
"""Bytes of a text from which on it is compressed."""


class Png:
    """8 bits a pixel where one band is shown, 32 for three bands and for sheets; missing pixels are transparent."""

    name = "PNG"
    suffixes = (".png",)
    packages = ("pillow", "matplotlib")
    holds_texts = True
    draws = True
    options = Decoration
    share = 0.15

    def check(self, target: Path, window: GeoBox, facts: Metadata) -> None:
        if facts.times is not None and len(facts.times) > 1:
            raise NotAnImage(
                f"the chain has {len(facts.times)} dates, a picture has one: reduce them, for example with "
                ".median('t'), choose one with dates=…, or export all as .gif, .mp4 or .webm"
            )
        drawing.check(window, facts, _MOST, "a picture")

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        pixels = drawing.picture(pieces, facts, 0, job)
        caption = drawing.caption_of(facts, tags)
        sheet = drawing.sheet_of(pieces.window, facts, tags, [caption])
        image = sheet.with_picture(pixels, caption)
        said = {name: text for name, text in tags.items() if name.startswith(PREFIX)}
        said |= {"Title": facts.title, "Software": tags["TIFFTAG_SOFTWARE"], _PLACE: json.dumps(sheet.place)}
        texts = PngImagePlugin.PngInfo()
        for name, text in sorted(said.items()):
            texts.add_itxt(name, text, zip=len(text) > _LONG)
        job.check()
        job.at("writing", COPY / 2)
        image.save(path, "PNG", pnginfo=texts)

    def differing(self, pieces: Pieces, facts: Metadata, path: Path, job: RunningJob) -> list[Pixels]:
        pixels = drawing.picture(pieces, facts, 0, job)
        job.at("checking", COPY)
        expected = np.asarray(image_of(pixels, drawing.style_of(facts)).convert("RGBA"))
        try:
            x, y = json.loads(self.texts(path)[_PLACE])
            with Image.open(path, formats=("PNG",)) as image:
                found = np.asarray(image.convert("RGBA"))[y : y + expected.shape[0], x : x + expected.shape[1]]
        except (OSError, ValueError, SyntaxError, KeyError):
            return list(pieces.all)
        if found.shape != expected.shape:
            return list(pieces.all)
        return [one for one in pieces.all if not np.array_equal(found[one.toslices()], expected[one.toslices()])]

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        if not provenance.is_of(self.texts(path), chain, window):
            return False
        try:
            with Image.open(path, formats=("PNG",)) as image:
                image.verify()  # the checksum of each chunk
            return True
        except (OSError, ValueError, SyntaxError):
            return False

    def texts(self, path: Path) -> Mapping[str, str]:
        try:
            return {name: text for name, text in _texts(path.read_bytes()) if name.startswith(PREFIX)}
        except (OSError, ValueError, struct.error, zlib.error):
            return {}

    def beside(self, target: Path, window: GeoBox, facts: Metadata) -> Mapping[Path, str | None]:
        """Where the picture alone lies: a world file for every GIS, and one of GDAL's that also knows the CRS."""
        world, auxiliary = target.with_suffix(".pgw"), target.with_name(f"{target.name}.aux.xml")
        if facts.options.decoration:
            return {world: None, auxiliary: None}
        a, b, c, d, e, f = window.affine[:6]
        middle = a * 0.5 + b * 0.5 + c, d * 0.5 + e * 0.5 + f
        root = Element("PAMDataset")
        if window.crs is not None:
            SubElement(root, "SRS").text = window.crs.to_wkt()
        SubElement(root, "GeoTransform").text = ", ".join(f"{value!r}" for value in (c, a, b, f, d, e))
        return {
            world: "".join(f"{value!r}\n" for value in (a, d, b, e, *middle)),
            auxiliary: tostring(root, encoding="unicode"),
        }


WRITER = Png()


def _texts(body: bytes) -> Iterator[tuple[str, str]]:
    """Names and texts of the chunks `iTXt`."""
    at = 8
    while at + 8 <= len(body):
        (size,) = struct.unpack(">I", body[at : at + 4])
        kind, content = body[at + 4 : at + 8], body[at + 8 : at + 8 + size]
        if kind == b"iTXt":
            name, _, rest = content.partition(b"\0")
            text = rest[2:].split(b"\0", 2)[2]
            yield name.decode("latin-1"), (zlib.decompress(text) if rest[0] else text).decode()
        at += size + 12
