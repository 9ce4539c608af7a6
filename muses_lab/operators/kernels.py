"""Compiled code of the operators: for some rows at a time, without Python's lock."""

from __future__ import annotations

import numpy as np
from numba import njit

_CELL = 8
"""Ranks are counted by cells of 2^8, too."""


@njit(cache=True, nogil=True)
def correlate(image, places, weights, starts, first, last, factor, out):
    """Weighted sums of the pixels from each pixel on, times a factor: rows `first` to `last` of `out`.

    Sums in double precision, row by row from the north-west: in the same order for every pixel, wherever the image
    begins.

    Parameters
    ----------
    image
        float64 (rows, columns): those of `out`, and what the weights reach beyond them to the south and east.
    places, weights, starts
        Columns and values of the weights, row after row, and where each row of them begins (and the last one ends).
    """
    columns = out.shape[1]
    total = np.empty(columns)
    for r in range(first, last):
        total[:] = 0.0
        for i in range(starts.size - 1):
            line, k, end = image[r + i], starts[i], starts[i + 1]
            while k + 4 <= end:  # four at a time: sums are loaded and stored once for them
                a, b = line[places[k] : places[k] + columns], line[places[k + 1] : places[k + 1] + columns]
                c, d = line[places[k + 2] : places[k + 2] + columns], line[places[k + 3] : places[k + 3] + columns]
                w, x, y, z = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
                for n in range(columns):
                    total[n] = (((total[n] + w * a[n]) + x * b[n]) + y * c[n]) + z * d[n]
                k += 4
            while k < end:
                a, w = line[places[k] : places[k] + columns], weights[k]
                for n in range(columns):
                    total[n] += w * a[n]
                k += 1
        for n in range(columns):
            out[r, n] = out.dtype.type(total[n] * factor)


@njit(cache=True, nogil=True)
def _count(ranks, start, end, by, fine, coarse, cell):
    """Counts ranks in (`by` 1) or out (-1): how many there are, and how many of them below a cell."""
    number, below = 0, 0
    for n in range(start, end):
        rank = ranks[n]
        if rank >= 0:
            fine[rank] += by
            coarse[rank >> _CELL] += by
            number += by
            if rank >> _CELL < cell:
                below += by
    return number, below


@njit(cache=True, nogil=True)
def median(ranks, down, values, first, last, out):
    """Median of the square from each pixel on, missing where its centre is: rows `first` to `last` of `out`.

    A histogram of ranks slides over the image, to and fro (Huang, Yang & Tang 1979); the median is looked for from the
    cell of 256 ranks where it was last. An even number of values has the mean of the two in the middle.

    Parameters
    ----------
    ranks, down
        int32: each pixel's place in `values`, -1 where it is missing, by rows (y, x) and by columns (x, y).
    values
        The different values there are, in order.
    """
    columns = out.shape[1]
    size = ranks.shape[1] - columns + 1
    fine, coarse = np.zeros(values.size + 1, np.int32), np.zeros((values.size >> _CELL) + 1, np.int32)
    cell, below, number = 0, 0, 0  # the values below the cell; all values of the square
    for r in range(first, first + size):
        some, _ = _count(ranks[r], 0, size, 1, fine, coarse, 0)
        number += some
    for r in range(first, last):
        east = (r - first) & 1 == 0
        for step in range(columns):
            c = step if east else columns - 1 - step
            if step > 0:
                gone, come = (c - 1, c + size - 1) if east else (c + size, c)
                less, lower = _count(down[gone], r, r + size, -1, fine, coarse, cell)
                more, higher = _count(down[come], r, r + size, 1, fine, coarse, cell)
                number += less + more
                below += lower + higher
            if ranks[r + size // 2, c + size // 2] < 0:
                out[r, c] = np.nan
                continue
            middle = (number - 1) // 2
            while below > middle:
                cell -= 1
                below -= coarse[cell]
            while below + coarse[cell] <= middle:
                below += coarse[cell]
                cell += 1
            k, under = cell << _CELL, below
            while under + fine[k] <= middle:
                under += fine[k]
                k += 1
            found = values[k]
            if number % 2 == 0 and under + fine[k] == middle + 1:  # the other one in the middle is the next there is
                k += 1
                while fine[k] == 0:
                    k += 1 << _CELL if k & ((1 << _CELL) - 1) == 0 and coarse[k >> _CELL] == 0 else 1
                found = values.dtype.type(0.5) * (found + values[k])
            out[r, c] = found
        if r + 1 < last:
            start = columns - 1 if east else 0
            less, lower = _count(ranks[r], start, start + size, -1, fine, coarse, cell)
            more, higher = _count(ranks[r + size], start, start + size, 1, fine, coarse, cell)
            number += less + more
            below += lower + higher


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
