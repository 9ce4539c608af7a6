"""What stored numbers mean: physical values, and which of them are missing."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

_CLOSE = 2.0**-21
"""Two floats that differ by less, relative to themselves, are the same to GDAL: 4 steps of single precision."""


def to_physical(stored: np.ndarray, nodata: float | None, scale: float, offset: float) -> np.ndarray:
    """stored × scale + offset, NaN where missing: float32, or float64 where float32 cannot hold the stored type."""
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        table = physical_table(stored.dtype.str, nodata, scale, offset)
        out = np.empty(stored.shape, np.float32)
        numbers = stored.view(f"u{stored.dtype.itemsize}").reshape(-1, stored.shape[-1])
        numbers.setflags(write=False)  # one kind of array less to compile for
        look_up(numbers, table, out.reshape(numbers.shape))
        return out
    wide = np.float32 if stored.dtype == np.float32 else np.float64
    values = stored.astype(np.float64)
    with np.errstate(all="ignore"):
        out = (values * scale + offset).astype(wide)
    missing = missing_range(stored.dtype.str, nodata)
    if missing is not None:
        out[(values >= missing[0]) & (values <= missing[1])] = np.nan
    out[~np.isfinite(out)] = np.nan
    return out


@njit(cache=True, nogil=True)
def look_up(stored, table, out):
    """`out[...] = table[stored]`, in two dimensions: six times as fast as NumPy, which makes an index of 8 bytes each.

    It wins a tenth of the processor time of the statistics of 1 000 polygons over 36 dates.
    """
    for row in range(stored.shape[0]):
        for col in range(stored.shape[1]):
            out[row, col] = table[stored[row, col]]


@lru_cache(maxsize=256)
def missing_range(dtype: str, nodata: float | None) -> tuple[float, float] | None:
    """First and last stored value of a type that mean missing; None where none does.

    A nodata value that the type cannot hold means none (−9999 in bytes, 0.1 in integers). Floats are compared as GDAL
    does, because nodata values are written as texts of few digits; the largest numbers of a type are one (−3.4e38).

    >>> missing_range("<u2", 65535.0), missing_range("|u1", -9999.0)
    ((65535.0, 65535.0), None)
    """
    kind = np.dtype(dtype)
    if nodata is None or not np.isfinite(nodata):  # what is not finite is missing anyway
        return None
    if kind.kind in "iu":
        # In double precision, as physical values are: integers of 64 bits beyond 2^53 are not told apart.
        holds = nodata == int(nodata) and float(np.iinfo(kind).min) <= nodata <= float(np.iinfo(kind).max)
        return (float(nodata), float(nodata)) if holds else None
    most = float(np.finfo(kind).max)
    size = abs(float(nodata))
    if size > most * (1 + _CLOSE):
        return None
    if size > most / 2:
        low, high = most / 2, most
    else:
        low, high = size * (1 - _CLOSE), size * (1 + _CLOSE)
    return (low, high) if nodata >= 0 else (-high, -low)


@lru_cache(maxsize=256)
def physical_table(dtype: str, nodata: float | None, scale: float, offset: float) -> np.ndarray:
    """Physical value of every possible stored value: exact, and one look-up a pixel."""
    kind = np.dtype(dtype)
    raw = np.arange(2 ** (8 * kind.itemsize), dtype=f"u{kind.itemsize}").view(kind).astype(np.float64)
    with np.errstate(all="ignore"):
        values = (raw * scale + offset).astype(np.float32)
    missing = missing_range(dtype, nodata)
    if missing is not None:
        values[raw == missing[0]] = np.nan
    values.setflags(write=False)
    return values
