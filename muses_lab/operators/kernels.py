"""Compiled code of the operators."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _fill(image, row, filled, valid, place):
    """A row's values with missing ones as 0, and 1 where they are valid; zeros beyond the image."""
    if row < 0 or row >= image.shape[0]:
        filled[place] = 0.0
        valid[place] = 0.0
        return
    for c in range(image.shape[1]):
        v = np.float64(image[row, c])
        known = v == v
        filled[place, c] = v if known else 0.0
        valid[place, c] = 1.0 if known else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def box_mean(image, radius):
    """Mean of the valid values in the square of (2 `radius` + 1)² pixels around each valid pixel, (y, x).

    Sums in double precision, down and then along, the middle first and then pairs from the outside in: in the same
    order for every pixel, wherever the image begins.
    """
    rows, columns = image.shape
    size = 2 * radius + 1
    out = np.empty(image.shape, image.dtype)
    # the rows that are needed, in turn; sums of columns with a margin of zeros
    filled, valid = np.zeros((size, columns)), np.zeros((size, columns))
    total, number = np.zeros(columns + 2 * radius), np.zeros(columns + 2 * radius)
    sums, counts = np.empty(columns), np.empty(columns)
    for r in range(-radius, radius):
        _fill(image, r, filled, valid, r % size)
    for r in range(rows):
        _fill(image, r + radius, filled, valid, (r + radius) % size)
        middle = r % size
        for c in range(columns):
            total[c + radius] = filled[middle, c]
            number[c + radius] = valid[middle, c]
        for away in range(radius, 0, -1):
            above, below = (r - away) % size, (r + away) % size
            for c in range(columns):
                total[c + radius] += filled[above, c] + filled[below, c]
                number[c + radius] += valid[above, c] + valid[below, c]
        for c in range(columns):
            sums[c] = total[c + radius]
            counts[c] = number[c + radius]
        for away in range(radius, 0, -1):
            for c in range(columns):
                sums[c] += total[c + radius - away] + total[c + radius + away]
                counts[c] += number[c + radius - away] + number[c + radius + away]
        for c in range(columns):
            mean = image.dtype.type(sums[c] / counts[c])
            out[r, c] = mean if valid[middle, c] == 1.0 else image.dtype.type(np.nan)
    return out
