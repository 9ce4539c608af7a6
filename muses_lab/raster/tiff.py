"""Tiled TIFF files without detours: where every block is in the file, and its bytes as pixels.

tifffile takes 0.2 to 0.6 ms of the interpreter's lock to open a cloud-optimised GeoTIFF and GDAL 1 ms; a view needs
a hundred of them, so the few tags that matter are read here (TIFF 6.0, BigTIFF, GDAL_NODATA). The codecs are those of
imagecodecs. What is not plain (strips, JPEG, interleaved bands, odd bit depths) is left to GDAL.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

from muses_lab.raster.differences import undo_differences
from muses_lab.raster.sidecars import Affine6

ReadFunction = Callable[[int, int], bytes]
"""(offset, size) → bytes of the file; fewer at its end."""

HEAD = 32 << 10
"""Bytes read at once from a file's beginning: the tags of a cloud-optimised GeoTIFF are there."""

_DEFLATE, _ADOBE_DEFLATE, _LZW, _ZSTD, _NONE = 32946, 8, 5, 50000, 1
_CODES = (_DEFLATE, _ADOBE_DEFLATE, _LZW, _ZSTD, _NONE)
_KINDS = {1: "u", 2: "i", 3: "f"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "u1", 3: "<u2", 4: "<u4", 13: "<u4", 16: "<u8"}
_PALETTE = 3
_HALF = np.dtype("<f2")
_KIND_OF_PAGE, _SMALLER, _MASK = 254, 1, 4
_MAX_IMAGES = 64
_MAX_TABLE = 64 << 20
"""Bytes of all tags of a file together."""
_MOST_STORED = 2
"""Bytes stored for a byte of pixels: no codec makes a block twice as long, only an attacker claims it."""


class Unusual(Exception):
    """A file that GDAL must read."""


class Said(NamedTuple):
    """What a file says of itself besides its pixels."""

    transform: Affine6 | None = None
    """Affine a, b, c, d, e, f from (column, row) to its reference system; None: it says nothing."""
    points: bool = False
    """Whether it has ground control points instead."""
    nodata: tuple[float | None, ...] = ()
    """Of each band; so are the next two."""
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """Full resolution or one overview."""

    shape: tuple[int, int]
    block: tuple[int, int]
    dtype: np.dtype
    bands: int
    compression: int
    predictor: int
    nodata: float | None
    """What GDAL_NODATA says."""
    alpha: int | None
    """Number of the band that holds opacity."""
    palette: bool
    """Whether its numbers are those of a colour table."""
    packed: bool
    """Whether eight pixels share a byte, as in masks."""
    offsets: np.ndarray
    """Where each block begins, by band, row, column of blocks."""
    counts: np.ndarray
    mask: Image | None = None
    """Where its pixels are valid: not 0."""
    said: Said = Said()
    """Of full resolution."""

    @property
    def across(self) -> int:
        return -(-self.shape[1] // self.block[1])

    @property
    def down(self) -> int:
        return -(-self.shape[0] // self.block[0])

    def place(self, band: int, row: int, col: int) -> tuple[int, int]:
        """Offset and size of a block in the file; size 0 where it is not stored. Bands count from 1."""
        number = ((band - 1) * self.down + row) * self.across + col
        return int(self.offsets[number]), int(self.counts[number])

    @property
    def fill(self) -> np.generic:
        """Value of blocks that are not stored, as GDAL has it: the nodata value brought into the type, else 0."""
        value = self.nodata or 0.0
        if self.dtype.kind == "f":
            with np.errstate(over="ignore"):
                return np.float64(value).astype(self.dtype)
        if math.isnan(value):
            return self.dtype.type(0)
        least, most = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
        return self.dtype.type(least if value <= least else most if value >= most else _near(value))

    def decode(self, body: bytes, out: np.ndarray) -> None:
        """The pixels of a block from its stored bytes, into an array of the block's shape.

        Raises
        ------
        ValueError
            The bytes are damaged.
        """
        if self.packed:
            self._unpack(body, out)
            return
        if self.compression == _NONE:
            raw: Any = body
        else:
            try:
                raw = _decoder(self.compression)(body, out=_bytes_of(out))
            except Exception as error:  # every codec has an error of its own
                raise ValueError(str(error)) from None
        if len(raw) != out.nbytes:
            raise ValueError(f"it holds {len(raw)} bytes of pixels; {out.nbytes} were expected")
        if self.predictor == 3:
            out[...] = imagecodecs.floatpred_decode(np.frombuffer(raw, self.dtype).reshape(out.shape), axis=-1)
        elif self.predictor == 2:
            undo_differences(_unsigned(out))
        elif self.compression == _NONE:
            out[...] = np.frombuffer(raw, self.dtype).reshape(out.shape)

    def _unpack(self, body: bytes, out: np.ndarray) -> None:
        """The pixels of a block of bits, each row of which begins with a byte of its own."""
        rows = np.empty((out.shape[0], -(-out.shape[1] // 8)), np.uint8)
        replace(self, packed=False).decode(body, rows)
        out[...] = np.unpackbits(rows, axis=1, count=out.shape[1])


def _near(value: float) -> int:
    """The nearest whole number, halves away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _unsigned(values: np.ndarray) -> np.ndarray:
    return values.view(f"u{values.dtype.itemsize}")


def _bytes_of(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1).view(np.uint8)


def _decoder(compression: int) -> Callable[..., Any]:
    if compression in (_DEFLATE, _ADOBE_DEFLATE):
        return imagecodecs.deflate_decode
    return imagecodecs.lzw_decode if compression == _LZW else imagecodecs.zstd_decode


def images(read: ReadFunction) -> tuple[Image, ...]:
    """Full resolution and the overviews inside a file, finest first.

    Raises
    ------
    Unusual
        The file is no plain tiled TIFF.
    """
    head = read(0, HEAD)
    left = _MAX_TABLE

    def take(offset: int, size: int) -> bytes:
        nonlocal left
        left -= size
        if left < 0:
            raise Unusual("tables longer than any image needs")
        body = head[offset : offset + size] if offset + size <= len(head) else read(offset, size)
        if len(body) != size:
            raise Unusual("the tags are cut off")
        return body

    big = head[:4] == b"II+\0"
    if not big and head[:4] != b"II*\0":
        raise Unusual("no little-endian TIFF")
    where = struct.unpack("<Q", head[8:16])[0] if big else struct.unpack("<I", head[4:8])[0]
    found: list[Image] = []
    masks: dict[tuple[int, int], Image] = {}
    seen: set[int] = set()
    while where and where not in seen and len(seen) < _MAX_IMAGES:
        seen.add(where)
        tags, where = _directory(take, where, big)
        kind = _number(take, tags, _KIND_OF_PAGE, 0)
        if kind & _MASK:
            image = _image(take, tags, mask=True)
            masks.setdefault(image.shape, image)
        elif not found or kind & _SMALLER:
            # A page that does not say that it is a smaller copy is another picture, whatever its size.
            image = _image(take, tags)
            found.append(image if found else replace(image, said=_said(take, tags, image.bands)))
    if not found:
        raise Unusual("no image")
    if masks:
        found = _masked(found, masks)
    first = found[0]
    smaller = [i for i in found[1:] if i.dtype == first.dtype and i.bands == first.bands]
    return first, *sorted(smaller, key=lambda i: -i.shape[0])


def _masked(found: list[Image], masks: dict[tuple[int, int], Image]) -> list[Image]:
    """Images with their masks; an overview without one cannot stand in for pixels that have one."""
    if any(i.shape in masks and i.block != masks[i.shape].block for i in found) or found[0].shape not in masks:
        raise Unusual("masks that do not fit")
    return [replace(i, mask=masks[i.shape]) for i in found if i.shape in masks]


Tags = dict[int, tuple[int, int, bytes]]
"""Tag → type, number of values, and the 4 or 8 bytes that hold the values or point to them."""


def _directory(take: ReadFunction, where: int, big: bool) -> tuple[Tags, int]:
    size, layout, after = (8, "<HHQ8s", 8) if big else (2, "<HHI4s", 4)
    number = int.from_bytes(take(where, size), "little")
    if number > 4096:
        raise Unusual("more tags than a file has")
    length = number * struct.calcsize(layout)
    body = take(where + size, length + after)
    tags = {tag: (kind, count, value) for tag, kind, count, value in struct.iter_unpack(layout, body[:length])}
    return tags, int.from_bytes(body[length:], "little")


def _bytes(take: ReadFunction, tags: Tags, tag: int) -> bytes:
    kind, count, value = tags[tag]
    size = _SIZES.get(kind, 0) * count
    return value[:size] if size <= len(value) else take(int.from_bytes(value, "little"), size)


def _integers(take: ReadFunction, tags: Tags, tag: int) -> np.ndarray:
    if tag not in tags:
        raise Unusual(f"tag {tag} is missing")
    kind = _INTEGERS.get(tags[tag][0])
    if kind is None or not tags[tag][1]:
        raise Unusual(f"tag {tag} holds no whole numbers")
    return np.frombuffer(_bytes(take, tags, tag), kind)


def _number(take: ReadFunction, tags: Tags, tag: int, default: int | None = None) -> int:
    """The only value of a tag, or one that is the same for all bands."""
    found = tags.get(tag)
    if found is None and default is not None:
        return default
    if found is not None and found[1] == 1 and found[0] in _INTEGERS:
        return int.from_bytes(found[2][: _SIZES[found[0]]], "little")
    every = _integers(take, tags, tag)
    if (every != every[0]).any():
        raise Unusual(f"tag {tag} differs from band to band")
    return int(every[0])


def _image(take: ReadFunction, tags: Tags, mask: bool = False) -> Image:
    if 322 not in tags:
        raise Unusual("strips")
    width, height, across, down = (_number(take, tags, tag) for tag in (256, 257, 322, 323))
    bands, bits, kind = _number(take, tags, 277, 1), _number(take, tags, 258, 1), _number(take, tags, 339, 1)
    compression = _number(take, tags, 259, 1)
    predictor = 1 if compression == _NONE else _number(take, tags, 317, 1)  # it is a step of the codecs that have it
    packed = mask and bits == 1
    if packed:
        bits = 8
    plain = (
        bits in (8, 16, 32, 64) and kind in _KINDS and compression in _CODES and predictor in (1, 2, 3)
        and (bands == 1 or _number(take, tags, 284, 1) == 2)
    )  # fmt: skip
    if not plain or (mask and (bands > 1 or _number(take, tags, 266, 1) != 1)):
        raise Unusual("codec, depth or interleaving")
    dtype = _dtype(kind, bits)
    if (predictor == 3) != (predictor > 1 and dtype.kind == "f") or dtype == _HALF or (packed and predictor > 1):
        raise Unusual("predictor")
    offsets, counts = _integers(take, tags, 324), _integers(take, tags, 325)
    image = Image(
        (height, width), (down, across), dtype, bands, compression, predictor,
        None if mask else _nodata(take, tags), _alpha(take, tags, bands), _number(take, tags, 262, 1) == _PALETTE,
        packed, offsets, counts,
    )  # fmt: skip
    if (
        not 0 < down * across <= 1 << 24
        or len(offsets) != image.down * image.across * bands
        or len(counts) != len(offsets)
    ):
        raise Unusual("tables of blocks that do not fit the image")
    if counts.max() > _MOST_STORED * down * across * dtype.itemsize + 1024:
        raise Unusual("blocks that are longer than their pixels")
    if offsets.itemsize == 8 and offsets.max() >= 1 << 62:
        raise Unusual("blocks that are beyond any file")
    return image


def _alpha(take: ReadFunction, tags: Tags, bands: int) -> int | None:
    """The first of the extra bands that holds opacity (1: multiplied into the colours, 2: not)."""
    if 338 not in tags:
        return None
    extra = _integers(take, tags, 338)[:bands]
    return next((bands - len(extra) + k + 1 for k, kind in enumerate(extra) if kind in (1, 2)), None)


@cache
def _dtype(kind: int, bits: int) -> np.dtype:
    return np.dtype(f"<{_KINDS[kind]}{bits // 8}")


def _nodata(take: ReadFunction, tags: Tags) -> float | None:
    """GDAL's nodata value."""
    if 42113 not in tags:
        return None
    try:
        return float(_bytes(take, tags, 42113).rstrip(b"\0 ").decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        raise Unusual("nodata") from None


_SCALE, _TIEPOINTS, _MATRIX, _KEYS, _METADATA, _NODATA = 33550, 33922, 34264, 34735, 42112, 42113
_OF_A_BAND = re.compile(rb'<Item\s[^>]*sample="(\d+)"[^>]*role="(scale|offset)"[^>]*>([^<]*)<')


def _said(take: ReadFunction, tags: Tags, bands: int) -> Said:
    transform = _transform(take, tags)
    nodata = _nodata(take, tags)
    scales, offsets = [1.0] * bands, [0.0] * bands
    if _METADATA in tags:
        for number, role, text in _OF_A_BAND.findall(_bytes(take, tags, _METADATA)):
            if int(number) < bands:
                (scales if role == b"scale" else offsets)[int(number)] = float(text)
    points = transform is None and _TIEPOINTS in tags
    return Said(transform, points, (nodata,) * bands, tuple(scales), tuple(offsets))


def _transform(take: ReadFunction, tags: Tags) -> Affine6 | None:
    """As GDAL makes it of the tags of GeoTIFF 1.1; a raster of points has its first one in a pixel's middle."""
    scale, ties, matrix = (_floats(take, tags, tag) for tag in (_SCALE, _TIEPOINTS, _MATRIX))
    if len(scale) >= 2 and scale[0] and scale[1] and len(ties) >= 6:
        a, b, d, e = scale[0], 0.0, 0.0, -abs(scale[1])
        c, f = ties[3] - ties[0] * a, ties[4] - ties[1] * e
    elif len(matrix) == 16:
        a, b, c, d, e, f = matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7]
    else:
        return None
    keys = (
        struct.unpack(f"<{len(raw) // 2}H", raw) if (raw := _bytes(take, tags, _KEYS) if _KEYS in tags else b"") else ()
    )
    if (1025, 0, 1, 2) in zip(*(keys[n::4] for n in range(4)), strict=False):
        c, f = c - (a + b) / 2, f - (d + e) / 2
    return a, b, c, d, e, f


def _floats(take: ReadFunction, tags: Tags, tag: int) -> tuple[float, ...]:
    if tag not in tags or tags[tag][0] != 12:
        return ()
    return struct.unpack(f"<{tags[tag][1]}d", _bytes(take, tags, tag))
