"""A tile's values for the browser, which colours them itself: another palette, range or gamma asks for nothing.

Nothing is rounded. A line of JSON, filled up with spaces to a multiple of eight bytes, then each band's parts, each
filled up likewise; numbers are little-endian:

    {"size": [256, 256], "type": "float32", "bands": [{"codes": "uint8", "table": 12}, {"codes": null}]}

A band of few different values is a `table` of so many of them, ascending, in the tile's `type`, then a code for each
pixel: 0 is missing, n the n-th value. One of many values is those themselves, NaN where missing.
"""

from __future__ import annotations

import json
from itertools import product

import numpy as np
from isal import isal_zlib
from numba import njit

VERSION = "v1"
"""Of this format, in the tiles' addresses: browsers keep tiles for good."""
CONTENT_TYPE = "application/vnd.muses.values"

_TABLE = 4096
"""Values above which a table with codes of 16 bits is mostly not smaller than the values themselves."""
_SLOTS = 4 * _TABLE
_GZIP = 31
"""What zlib calls its format."""


def packed(values: np.ndarray) -> bytes:
    """Values as the browser's `js/values.js` reads them, compressed by gzip.

    >>> gzip.decompress(packed(np.array([[0.25, np.nan]], "float32"))).splitlines()[0].strip()
    b'{"size":[1,2],"type":"float32","bands":[{"codes":"uint8","table":1}]}'

    Parameters
    ----------
    values
        float32 or float64, (y, x) or (bands, y, x). NaN is missing.
    """
    images = np.ascontiguousarray(values.reshape(-1, *values.shape[-2:]))
    told: list[dict[str, str | int | None]] = []
    parts: list[np.ndarray] = []
    for image in images:
        found = _coded(image.reshape(-1))
        if found is None:
            told.append({"codes": None})
            parts.append(image)
        else:
            told.append({"codes": str(found[1].dtype), "table": found[0].size})
            parts += found
    head = {"size": list(images.shape[1:]), "type": str(images.dtype), "bands": told}
    line = json.dumps(head, separators=(",", ":")).encode()
    body = line + b" " * (-(len(line) + 1) % 8) + b"\n" + b"".join(map(_filled, parts))
    packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.flush()


def takes_gzip(accepted: str) -> bool:
    """Whether whoever sends this `Accept-Encoding` takes gzip: RFC 9110, §12.5.3.

    >>> takes_gzip("br, gzip;q=0.5"), takes_gzip("gzip;q=0, *"), takes_gzip("")
    (True, False, False)
    """
    weights = {}
    for coding, _, weight in (part.partition(";") for part in accepted.lower().split(",")):
        name, _, value = weight.partition("=")
        try:
            weights[coding.strip()] = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0  # plain bytes everybody reads
    named = [weights[name] for name in ("gzip", "x-gzip") if name in weights]
    return max(named, default=weights.get("*", 0.0)) > 0


def unzipped(body: bytes) -> bytes:
    """The same for whoever does not take gzip."""
    return isal_zlib.decompress(body, _GZIP)


def _filled(part: np.ndarray) -> bytes:
    body = part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes()
    return body + bytes(-len(body) % 8)


def _coded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The different values, ascending, and of each pixel the number of its own; None where they are too many."""
    table, codes = np.empty(_TABLE, values.dtype), np.empty(values.size, np.uint16)
    count = _tabulate(values, values.view(f"u{values.itemsize}"), np.zeros(_SLOTS, np.uint16), table, codes)
    if count > _TABLE:
        return None
    order = np.argsort(table[:count])
    numbers = np.zeros(count + 1, np.uint8 if count < 256 else np.uint16)
    numbers[order + 1] = np.arange(1, count + 1)
    return table[:count][order], numbers[codes]


@njit(cache=True, nogil=True)
def _tabulate(values, bits, slots, table, codes):
    """Numbers the different values as they come, 0 for NaN; gives how many there are, one more than fit at the most."""
    count, last = 0, len(slots) - 1
    for i in range(len(values)):
        if values[i] != values[i]:
            codes[i] = 0
            continue
        mixed = np.uint64(bits[i]) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64(mixed >> np.uint64(40)) & last
        while slots[slot] and table[slots[slot] - 1] != values[i]:
            slot = (slot + 1) & last
        if not slots[slot]:
            count += 1
            if count > len(table):
                return count
            table[count - 1] = values[i]
            slots[slot] = count
        codes[i] = slots[slot]
    return count


def warm() -> None:
    """Calls what is compiled, so that the first tile does not wait for it."""
    for dtype, writeable in product((np.float32, np.float64), (True, False)):
        values = np.zeros((1, 1), dtype)
        values.setflags(write=writeable)
        packed(values)
