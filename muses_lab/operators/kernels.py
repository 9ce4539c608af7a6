"""Compiled code of the operators."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def box_mean(image, radius):
    """Mean of the valid values in the square of (2 `radius` + 1)² pixels around each valid pixel, (y, x).

    Sums in double precision, down and then along, the middle first and then pairs from the outside in: in the same
    order for every pixel, wherever the image begins.
    """
    rows, columns = image.shape
    out = np.empty(image.shape, image.dtype)
    # both with a margin of zeros; values with missing ones as 0, and how many are valid
    total = np.zeros(columns + 2 * radius)
    number = np.zeros(columns + 2 * radius)
    sums, counts = np.empty(columns), np.empty(columns)
    filled = np.zeros((rows + 2 * radius, columns))
    valid = np.zeros((rows + 2 * radius, columns))
    for r in range(rows):
        for c in range(columns):
            v = image[r, c]
            known = v == v
            filled[r + radius, c] = np.float64(v) if known else 0.0
            valid[r + radius, c] = 1.0 if known else 0.0
    for r in range(rows):
        middle = r + radius
        for c in range(columns):
            total[c + radius] = filled[middle, c]
            number[c + radius] = valid[middle, c]
        for away in range(radius, 0, -1):
            for c in range(columns):
                total[c + radius] += filled[middle - away, c] + filled[middle + away, c]
                number[c + radius] += valid[middle - away, c] + valid[middle + away, c]
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
