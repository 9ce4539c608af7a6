"""What GDAL gets to see of a raster file: everything but what makes it open other files.

GDAL follows what a file's own metadata say: `OVERVIEW_FILE` in the domain `OVERVIEWS` of a GeoTIFF or JPEG 2000 may be
a path, a VRT written out or an address. So the metadata are cleaned before GDAL sees them: those of a TIFF (tag
GDAL_METADATA) keep what describes the image and its bands, those of a JPEG 2000 (top-level `xml ` boxes) are hidden.
And PROJ opens the grids that a reference system names: WKT among the GeoTIFF keys is checked before it is shown.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol
from xml.etree.ElementTree import Element, ParseError, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from muses_lab.crs import known_crs
from muses_lab.errors import CrsError, ReadError

_GDAL_METADATA = 42112
"""Tag of GDAL's own XML in a TIFF."""
_GEO_ASCII = 34737
"""Tag of the texts of GeoTIFF keys, each ended by "|"."""
_PE_STRING = "ESRI PE String = "
"""What stands before WKT in them."""
_GEO_JP2 = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
"""UUID of the box that holds GeoTIFF keys, as a TIFF without an image."""
_DOMAINS = frozenset({"", "IMAGERY"})
"""Domains of metadata that are kept: those that describe the image."""
_MOST_XML = 16 << 20
"""Bytes of metadata that are looked at; longer ones are left out."""
_MOST_IMAGES = 4096
"""Directories of a TIFF: pages, overviews, masks."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_ASCII = 2

ReadFunction = Callable[[int, int], bytes]
"""(offset, size) → bytes; fewer at the file's end. Raises `ReadError` or `OSError`."""


class Source(Protocol):
    """Where a file's bytes come from: this machine or a server."""

    @property
    def size(self) -> int: ...
    def read(self, offset: int, size: int) -> bytes: ...


class _Patch(NamedTuple):
    offset: int
    body: bytes


class Contained:
    """A raster file without references to other files: the same bytes, but for metadata that are replaced."""

    def __init__(self, source: Source, driver: str) -> None:
        self._source = source
        self._patches: list[_Patch] = []
        self._tail = b""
        if driver == "GTiff":
            self._patches, self._tail = _tiff_patches(source.read, source.size)
            if self._patches and _metadata_entries(self.read) != {(p.offset, p.body) for p in self._patches}:
                raise ReadError("its directories overlap: what it says of itself cannot be told")
        else:
            self._patches = list(_jp2_patches(source.read, source.size))

    @property
    def size(self) -> int:
        return self._source.size + len(self._tail)

    def read(self, offset: int, size: int) -> bytes:
        """A range of the file as it is shown."""
        body = self._source.read(offset, size) if offset < self._source.size else b""
        end = offset + size
        if end > self._source.size and self._tail:
            begin = max(offset - self._source.size, 0)
            body += self._tail[begin : end - self._source.size]
        for patch in self._patches:
            begin, stop = max(patch.offset, offset), min(patch.offset + len(patch.body), end)
            if begin < stop:
                inner = patch.body[begin - patch.offset : stop - patch.offset]
                body = body[: begin - offset] + inner + body[stop - offset :]
        return body


class _Layout(NamedTuple):
    """How a TIFF writes its directories."""

    order: str
    big: bool
    first: int
    """Where the first directory is."""

    @property
    def number(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        """Tag, type, number of values, and the field that holds the values or their place."""
        return self.order + ("HHQ8s" if self.big else "HHI4s")

    @property
    def place(self) -> str:
        return self.order + ("Q" if self.big else "I")


def _layout(read: ReadFunction) -> _Layout | None:
    """None for what is no TIFF."""
    head = read(0, 16).ljust(16, b"\0")
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        return None
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 42:
        return _Layout(order, False, struct.unpack(order + "I", head[4:8])[0])
    return _Layout(order, True, struct.unpack(order + "Q", head[8:16])[0]) if version == 43 else None


class _Entry(NamedTuple):
    """An entry of a directory."""

    offset: int
    tag: int
    kind: int
    number: int
    """Of values."""
    field: bytes
    """The values, or where they are."""

    def body(self, read: ReadFunction, layout: _Layout) -> bytes:
        """The values as they are stored; nothing where they are too long."""
        length = _SIZES.get(self.kind, 0) * self.number
        if length <= len(self.field):
            return self.field[:length]
        return read(struct.unpack(layout.place, self.field)[0], length) if length <= _MOST_XML else b""


def _entries(read: ReadFunction, layout: _Layout) -> Iterator[_Entry]:
    """Those of all directories that hold metadata or texts of GeoTIFF keys."""
    where, seen = layout.first, set[int]()
    length, count = struct.calcsize(layout.entry), struct.calcsize(layout.number)
    place = struct.calcsize(layout.place)
    while where and where not in seen:
        if len(seen) == _MOST_IMAGES:
            raise ReadError(f"it has more than {_MOST_IMAGES} images")
        seen.add(where)
        head = read(where, count)
        if len(head) < count:
            return
        number = struct.unpack(layout.number, head)[0]
        if number > 4096:  # so does libtiff
            return
        body = read(where + count, number * length + place)
        whole = body[: min(number, len(body) // length) * length]
        for n, (tag, kind, values, field) in enumerate(struct.iter_unpack(layout.entry, whole)):
            if tag in (_GDAL_METADATA, _GEO_ASCII):
                yield _Entry(where + count + n * length, tag, kind, values, field)
        if len(body) < number * length + place:
            return
        where = struct.unpack(layout.place, body[-place:])[0]


def _metadata_entries(read: ReadFunction) -> set[tuple[int, bytes]]:
    """The entries of GDAL's metadata: offset and bytes."""
    layout = _layout(read)
    if layout is None:
        return set()
    length = struct.calcsize(layout.entry)
    return {(e.offset, read(e.offset, length)) for e in _entries(read, layout) if e.tag == _GDAL_METADATA}


def _check_keys(text: bytes) -> None:
    """Refuses texts of GeoTIFF keys whose WKT names files."""
    for part in text.decode("latin-1").rstrip("\0").split("|"):
        _, found, written = part.partition(_PE_STRING)
        if found:
            try:
                known_crs(written)
            except CrsError as error:
                raise ReadError(f"its coordinate reference system: {error}") from None


def _tiff_patches(read: ReadFunction, size: int) -> tuple[list[_Patch], bytes]:
    """Entries that lead to cleaned metadata, and these, which stand behind the file's end."""
    layout = _layout(read)
    if layout is None:
        return [], b""
    patches, tail = [], bytearray()
    for entry in _entries(read, layout):
        body, field = entry.body(read, layout), entry.field
        if entry.tag == _GEO_ASCII:
            _check_keys(body)
            continue
        clean = _clean(body)
        place = size + len(tail)
        if len(clean) > len(field) and (layout.big or place + len(clean) < 1 << 32):
            tail += clean
            told = struct.pack(layout.place, place)
        else:
            clean, told = b"\0", bytes(len(field))
        patches.append(_Patch(entry.offset, struct.pack(layout.entry, _GDAL_METADATA, _ASCII, len(clean), told)))
    return patches, bytes(tail)


def _clean(body: bytes) -> bytes:
    """GDAL's metadata with what describes the image and its bands; ends with a zero byte."""
    try:
        root = fromstring(body.rstrip(b"\0"), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        return b"\0"
    kept = Element("GDALMetadata")
    for item in root.iterfind("Item"):
        if item.get("domain", "").upper() in _DOMAINS and not len(item):
            attributes = {k: v for k, v in item.attrib.items() if k in ("name", "sample", "role", "domain")}
            copy = Element("Item", attributes)
            copy.text = item.text
            kept.append(copy)
    return (tostring(kept, "utf-8") if len(kept) else b"") + b"\0"


def _jp2_patches(read: ReadFunction, size: int) -> Iterator[_Patch]:
    """Top-level boxes of XML get the type of boxes that nobody reads; GeoTIFF keys are checked."""
    offset = 0
    for _ in range(_MOST_IMAGES):
        head = read(offset, 16)
        if len(head) < 8:
            return
        length, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if offset == 0 and kind != b"jP  ":  # a codestream by itself, or no JPEG 2000
            return
        if length == 1 and len(head) == 16:
            length, header = int.from_bytes(head[8:16], "big"), 16
        if length == 0:  # the last one
            length = size - offset
        if kind == b"uuid" and read(offset + header, 16) == _GEO_JP2:
            body = read(offset + header + 16, min(length - header - 16, _MOST_XML))
            _tiff_patches(lambda at, size: body[at : at + size], len(body))  # noqa: B023
        if kind == b"xml ":
            yield _Patch(offset + 4, b"free")
        if length < header:
            return
        offset += length
    raise ReadError(f"it has more than {_MOST_IMAGES} boxes")


class ByteFile(io.RawIOBase):
    """A file-like object for GDAL, which cannot pass an error on: what fails is noted, and reads as the file's end."""

    def __init__(self, contained: Contained, piece: int, failures: list[ReadError]) -> None:
        super().__init__()
        self._contained, self._size, self._piece = contained, contained.size, piece
        self._failures = failures
        self._at = 0
        self._begin, self._body = 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        size = max(0, min(size if size >= 0 else self._size, self._size - self._at))
        if size == 0:
            return b""
        if not self._begin <= self._at <= self._at + size <= self._begin + len(self._body):
            try:
                self._body = self._contained.read(self._at, max(size, self._piece))
            except ReadError as error:
                self._failures.append(error)
                return b""
            except OSError as error:
                self._failures.append(ReadError(f"the file cannot be read: {error.strerror or error}"))
                return b""
            self._begin = self._at
        found = self._body[self._at - self._begin :][:size]
        self._at += len(found)
        return found
