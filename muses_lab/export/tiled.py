"""The beginning of a TIFF whose tiles lie at known places, so that they can be written in any order, by any process."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from affine import Affine

UNIT = 16
"""Rows and columns of a tile are a multiple of this."""

_PAGE = 4096
_CODES = {"u2": 3, "u4": 4, "f8": 12, "u8": 16}
"""TIFF's numbers of the types of values."""


def header(
    shape: tuple[int, int], layers: int, tile: tuple[int, int], affine: Affine, dtype: np.dtype, colours: bool = False
) -> bytes:
    """What stands before the tiles of an uncompressed BigTIFF of floating-point numbers.

    GDAL adds CRS, descriptions and the like.

    The tiles follow at once, as (place, layer, row, column): all layers of the first place, then those of the second.

    `shape` are the raster's rows and columns, `tile` those of a tile, `affine` its place in its CRS, `colours` whether
    its first three layers are red, green and blue.
    Source: TIFF 6.0, BigTIFF (libtiff), GeoTIFF 1.1 (ModelTransformation).
    """
    places = -(-shape[0] // tile[0]) * -(-shape[1] // tile[1])
    size = tile[0] * tile[1] * dtype.itemsize
    offsets = size * (np.arange(places) * layers + np.arange(layers)[:, None]).ravel()
    a, b, c, d, e, f = affine[:6]
    fields: dict[int, tuple[str, Sequence[float] | np.ndarray]] = {
        256: ("u4", [shape[1]]),  # ImageWidth
        257: ("u4", [shape[0]]),  # ImageLength
        258: ("u2", [8 * dtype.itemsize] * layers),  # BitsPerSample
        259: ("u2", [1]),  # Compression: none
        262: ("u2", [2 if colours else 1]),  # PhotometricInterpretation: red, green, blue; or black is zero
        277: ("u2", [layers]),  # SamplesPerPixel
        284: ("u2", [2]),  # PlanarConfiguration: layers apart
        322: ("u4", [tile[1]]),  # TileWidth
        323: ("u4", [tile[0]]),  # TileLength
        324: ("u8", offsets),  # TileOffsets
        325: ("u8", [size] * len(offsets)),  # TileByteCounts
        338: ("u2", [0] * (layers - (3 if colours else 1))),  # ExtraSamples: unspecified
        339: ("u2", [3] * layers),  # SampleFormat: floating-point
        34264: ("f8", [a, b, 0, c, d, e, 0, f, 0, 0, 0, 0, 0, 0, 0, 1]),  # ModelTransformation
    }
    fields = {tag: field for tag, field in fields.items() if len(field[1])}
    start = 16 + 8 + 20 * len(fields) + 8
    room = start + sum(_length(*field) for field in fields.values())
    room += -room % _PAGE
    fields[324] = ("u8", offsets + room)
    entries, values = b"", b""
    for tag, (kind, numbers) in fields.items():
        body = np.array(numbers, f"<{kind}").tobytes()
        if len(body) > 8:  # what is longer stands after the entries
            body, values = struct.pack("<Q", start + len(values)), values + body.ljust(_length(kind, numbers), b"\0")
        entries += struct.pack("<HHQ", tag, _CODES[kind], len(numbers)) + body.ljust(8, b"\0")
    first = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(fields))
    return (first + entries + struct.pack("<Q", 0) + values).ljust(room, b"\0")


def _length(kind: str, numbers: Sequence[float] | np.ndarray) -> int:
    """Bytes that a field takes after the entries; none where its values fit into its entry."""
    size = len(numbers) * np.dtype(kind).itemsize
    return size + -size % 8 if size > 8 else 0
