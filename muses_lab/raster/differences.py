"""Compiled code for TIFF's horizontal differencing."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def undo_differences(stored, out):
    """Horizontal differencing undone (TIFF 6.0, predictor 2): running sums along rows, of unsigned integers."""
    rows, columns = stored.shape
    row = 0
    while row + 4 <= rows:  # four rows at once: a sum has to wait for the one before it
        a = b = c = d = stored.dtype.type(0)
        for col in range(columns):
            a += stored[row, col]
            b += stored[row + 1, col]
            c += stored[row + 2, col]
            d += stored[row + 3, col]
            out[row, col] = a
            out[row + 1, col] = b
            out[row + 2, col] = c
            out[row + 3, col] = d
        row += 4
    for r in range(row, rows):
        a = stored.dtype.type(0)
        for col in range(columns):
            a += stored[r, col]
            out[r, col] = a
