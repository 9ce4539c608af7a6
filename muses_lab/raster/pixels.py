"""Compiled code for windows: in which pixels of a grid their own lie, which blocks these touch, and what is in them.

What takes less than a tenth of a millisecond for a tile keeps Python's lock: to get it back from threads that
evaluate takes longer.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _between_row(nodes, row, first_column, step, line, share, out):
    """A row of `between`; `line` has room for a row of nodes."""
    j, down = row // step, share[row % step]
    for k in range(nodes.shape[1]):
        line[k] = nodes[j, k] + (nodes[j + 1, k] - nodes[j, k]) * down
    for k in range(nodes.shape[1] - 1):
        start = k * step - first_column
        low, apart = line[k], line[k + 1] - line[k]
        for c in range(max(start, 0), min(start + step, out.size)):
            out[c] = low + apart * share[c - start]


@njit(cache=True, nogil=True)
def between(nodes, first_row, first_column, step, rows, columns):
    """Linear interpolation between the nodes of a lattice, `step` pixels apart: along columns, then along rows."""
    out = np.empty((rows, columns))
    line, share = np.empty(nodes.shape[1]), np.arange(step) / step
    for r in range(rows):
        _between_row(nodes, first_row + r, first_column, step, line, share, out[r])
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _around(x, turn, left, right):
    """A longitude a turn away, where that is within a grid's sides."""
    if (turn > 0) & ((x < left) | (x >= right)):
        turned = x - turn * np.floor((x - left) / turn)
        return turned if turned < right else x
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def _pixels_row(x, y, west, north, width, height, turn, left, right, far, rows, cols):
    for c in range(x.size):
        place = _around(x[c], turn, left, right)
        row, col = np.floor((north - y[c]) / height), np.floor((place - west) / width)
        row, col = (row if row > -far else -far), (col if col > -far else -far)  # also where it is no number
        rows[c] = np.int32(row if row < far else far)
        cols[c] = np.int32(col if col < far else far)


@njit(cache=True, nogil=True)
def pixels_at(x, y, west, north, width, height, turn, sides, far):
    """Rows and columns of the pixels that hold points; places that a CRS cannot show are far outside."""
    rows = np.empty(x.shape, np.int32)
    cols = np.empty(x.shape, np.int32)
    for r in range(x.shape[0]):
        _pixels_row(x[r], y[r], west, north, width, height, turn, sides[0], sides[1], far, rows[r], cols[r])
    return rows, cols


@njit(cache=True, nogil=True, error_model="numpy")
def pixels_between(xs, ys, first_row, first_column, step, shape, west, north, width, height, turn, sides, far):
    """`pixels_at` the points `between` the nodes `xs`, `ys`: all in one go, so that it is done by vectors."""
    rows = np.empty(shape, np.int32)
    cols = np.empty(shape, np.int32)
    far, share = np.float64(far), np.arange(step) / step
    x, y = np.empty(xs.shape[1]), np.empty(xs.shape[1])
    for r in range(shape[0]):
        j, down = (first_row + r) // step, share[(first_row + r) % step]
        for k in range(x.size):
            x[k] = xs[j, k] + (xs[j + 1, k] - xs[j, k]) * down
            y[k] = ys[j, k] + (ys[j + 1, k] - ys[j, k]) * down
        for k in range(x.size - 1):
            start = k * step - first_column
            low, high = max(start, 0), min(start + step, shape[1])
            left, across, top, along = x[k], x[k + 1] - x[k], y[k], y[k + 1] - y[k]
            for i in range(max(high - low, 0)):
                part = share[low - start + i]
                row, col = (
                    np.floor((north - (top + along * part)) / height),
                    np.floor((_around(left + across * part, turn, sides[0], sides[1]) - west) / width),
                )
                row, col = (row if row > -far else -far), (col if col > -far else -far)  # also where it is no number
                rows[r, low + i] = np.int32(row if row < far else far)
                cols[r, low + i] = np.int32(col if col < far else far)
    return rows, cols


@njit(cache=True, nogil=True, error_model="numpy")
def depths(x, y, west, south, east, north):
    """How far inside a rectangle points are: the distance to its nearest edge, negative outside; no number: -inf."""
    out = np.empty(x.shape)
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            across, down = min(x[r, c] - west, east - x[r, c]), min(y[r, c] - south, north - y[r, c])
            out[r, c] = min(across, down) if (across == across) & (down == down) else -np.inf
    return out


@njit(cache=True)
def around(rows, cols, where, everywhere):
    """First row, end row, first column, end column of the pixels of a window."""
    r0, r1, c0, c1 = rows[0, 0], rows[0, 0], cols[0, 0], cols[0, 0]
    found = False
    for r in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            if everywhere or where[r, c]:
                row, col = rows[r, c], cols[r, c]
                if not found:
                    r0, r1, c0, c1, found = row, row, col, col, True
                r0, r1, c0, c1 = min(r0, row), max(r1, row), min(c0, col), max(c1, col)
    return r0, r1 + 1, c0, c1 + 1


@njit(cache=True)
def touched(rows, cols, where, everywhere, extent, top, left, block, found):
    """Marks the blocks that hold the pixels of a window inside an extent; block (`top`, `left`) is the first."""
    low_row, high_row, low_col, high_col = extent
    missing = found.size
    for stride in (16, 1):  # a few pixels mostly meet all blocks that there are
        for r in range(0, rows.shape[0], stride):
            for c in range(0, rows.shape[1], stride):
                row, col = rows[r, c], cols[r, c]
                inside = (row >= low_row) & (row < high_row) & (col >= low_col) & (col < high_col)
                if inside and (everywhere or where[r, c]) and not found[row // block - top, col // block - left]:
                    found[row // block - top, col // block - left] = True
                    missing -= 1
            if missing == 0:
                return


@njit(cache=True, nogil=True)
def paste(block, first_row, first_col, rows, cols, where, everywhere, out):
    """Copies the pixels of a window that lie in a block, (layers, y, x)."""
    height, width = block.shape[1:]
    for k in range(block.shape[0]):
        for r in range(rows.shape[0]):
            for c in range(rows.shape[1]):
                row, col = rows[r, c] - first_row, cols[r, c] - first_col
                if (row >= 0) & (row < height) & (col >= 0) & (col < width) and (everywhere or where[r, c]):
                    out[k, r, c] = block[k, row, col]
