"""Resampling to another grid by other methods than the nearest neighbour: GDAL's, pixel by pixel, in compiled code.

Methods that interpolate (bilinear, cubic, cubicspline, lanczos) weigh the pixels around a pixel's centre; where the
pixels made are larger than those they are made of, the weights reach as much farther. Methods that count (average, sum,
rms, mode, min, max, med, q1, q3) look at all pixels that a pixel touches; average, sum and rms weigh them by the part
that lies in it. Missing values never mix in: weights are those of the rest, cubic and the like become bilinear beside
them, and what an interpolated pixel's centre misses is missing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from affine import Affine
from numba import njit
from odc.geo.geobox import GeoBox

from muses_lab.crs import crs_name
from muses_lab.raster.grid import Grid, places, same_crs

RADII = {"bilinear": 1.0, "cubic": 2.0, "cubicspline": 2.0, "lanczos": 3.0}
"""Methods that interpolate → how far they look, in pixels."""
COUNTING = ("average", "sum", "rms", "mode", "min", "max", "med", "q1", "q3")
"""Methods that look at all pixels which a pixel touches."""
METHODS = (*RADII, *COUNTING)

_BILINEAR, _CUBIC, _CUBICSPLINE, _LANCZOS = range(4)
_AVERAGE, _SUM, _RMS, _MODE, _MIN, _MAX, _MED, _Q1, _Q3 = range(9)
_QUANTILES = {"med": 0.5, "q1": 0.25, "q3": 0.75}
_SLACK = 0.05
"""Of a pixel's size, by which grids differ that count as equal, as GDAL has it: nothing reaches farther there."""
_CLOSE = 1e-6
"""Of a pixel: touching it by less is not touching it."""


class Area(NamedTuple):
    """Where the pixels of a window lie among those of a level of a grid: columns and rows, with fractions."""

    left: np.ndarray
    right: np.ndarray
    top: np.ndarray
    bottom: np.ndarray

    def rows(self, where: np.ndarray) -> tuple[int, int]:
        """First row and end row of the pixels that they touch."""
        return _span(self.top[where], self.bottom[where])

    def columns(self, where: np.ndarray) -> tuple[int, int]:
        return _span(self.left[where], self.right[where])


def _span(low: np.ndarray, high: np.ndarray) -> tuple[int, int]:
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return 0, 0
    limit = 2.0**30
    return (
        math.floor(max(float(low[known].min()) + _CLOSE, -limit)),
        math.ceil(min(float(high[known].max()) - _CLOSE, limit)),
    )


def area(window: GeoBox, grid: Grid, level: int, method: str) -> Area:
    """What the pixels of a window look at: around their centres, or all that they touch."""
    if method in COUNTING:
        shape = window.shape.y + 1, window.shape.x + 1
        x, y = _pixels(GeoBox(shape, window.affine @ Affine.translation(-0.5, -0.5), window.crs), grid, level)
        (left, right), (top, bottom) = map(_of_corners, (x, y))
        return Area(left, right, top, bottom)
    x, y = _pixels(window, grid, level)
    across, down = reach(window, grid, level, method)
    return Area(x - across, x + across, y - down, y + down)


def _of_corners(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the most of the four corners of each pixel."""
    four = v[:-1, :-1], v[1:, :-1], v[:-1, 1:], v[1:, 1:]
    return np.minimum.reduce(four), np.maximum.reduce(four)


def _pixels(window: GeoBox, grid: Grid, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows, with fractions, of a window's pixel centres."""
    x, y = places(window, grid.crs)
    width, height = grid.pixel(level)
    return (grid.turned(x) - grid.origin[0]) / width, (grid.origin[1] - y) / height


def scale(window: GeoBox, grid: Grid, level: int) -> tuple[float, float]:
    """Width and height of a window's pixels in pixels of a level, 1 at least."""
    a, (width, height) = window.affine, grid.pixel(level)
    if same_crs(crs_name(window.crs), grid.crs):
        ratios = abs(a.a) / width, abs(a.e) / height
    else:
        ratios = (grid.coarser(level, window),) * 2
    return tuple(1.0 if ratio < 1 + _SLACK else ratio for ratio in ratios)  # type: ignore[return-value]


def reach(window: GeoBox, grid: Grid, level: int, method: str) -> tuple[float, float]:
    """How far from a pixel's centre a method looks, along columns and along rows, in pixels of the level."""
    across, down = scale(window, grid, level)
    return RADII[method] * across, RADII[method] * down


def resample(
    method: str, values: np.ndarray, row: int, column: int, at: Area, scales: tuple[float, float], where: np.ndarray,
    out: np.ndarray,
) -> None:  # fmt: skip
    """Writes the pixels of `out` (layers, y, x) that are chosen, from values (layers, y, x) that begin at a pixel."""
    left, right, top, bottom = (np.ascontiguousarray(v) for v in at)
    if method in RADII:
        number = list(RADII).index(method)
        _interpolate(
            values, row, column, left, right, top, bottom, scales[0], scales[1], number, RADII[method],
            where, out,
        )  # fmt: skip
    else:
        number, share = COUNTING.index(method), _QUANTILES.get(method, 0.0)
        _count(values, row, column, left, right, top, bottom, number, share, where, out)


def warm(precision: type) -> None:
    """Calls what is compiled with values of a precision."""
    at, where = Area(*(np.full((2, 2), v) for v in (0.0, 2.0, 0.0, 2.0))), np.ones((2, 2), np.bool_)
    for method in ("bilinear", "average"):
        values: np.ndarray = np.zeros((1, 4, 4), precision)
        resample(method, values, 0, 0, at, (1.0, 1.0), where, np.zeros((1, 2, 2), precision))


@njit(cache=True, nogil=True, error_model="numpy")
def _weight(kernel, d):
    """The weight of a pixel at a distance, in pixels as large as those that are made."""
    d = abs(d)
    if kernel == _BILINEAR:
        return max(1.0 - d, 0.0)
    if kernel == _CUBIC:
        if d <= 1:
            return (1.5 * d - 2.5) * d * d + 1.0
        return ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0 if d < 2 else 0.0
    if kernel == _CUBICSPLINE:
        if d <= 1:
            return 2.0 / 3.0 + d * d * (0.5 * d - 1.0)
        return (2.0 - d) ** 3 / 6.0 if d < 2 else 0.0
    if d >= 3:
        return 0.0
    if d < 1e-9:
        return 1.0
    a = math.pi * d
    return 3.0 * math.sin(a) * math.sin(a / 3.0) / (a * a)


@njit(cache=True, nogil=True, error_model="numpy")
def _weights(kernel, centre, radius, scale, first, out):
    """The weights of pixels from `first` on, along one axis; how many there are."""
    low, high = math.floor(centre - radius * scale), math.ceil(centre + radius * scale)
    number = 0
    for pixel in range(low, high):
        out[number] = _weight(kernel, (pixel + 0.5 - centre) / scale)
        number += 1
    first[0] = low
    return number


@njit(cache=True, nogil=True, error_model="numpy")
def _weighed(values, k, row, column, down, rows, across, columns):
    """The weighted mean of the values that are there; and whether all are."""
    height, width = values.shape[1:]
    total, weight, whole = 0.0, 0.0, True
    for i in range(rows):
        r = row + i
        for j in range(columns):
            w = down[i] * across[j]
            if w == 0.0:
                continue
            c = column + j
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            v = values[k, r, c] if inside else np.nan
            if v != v:
                whole = False
            else:
                total += w * v
                weight += w
    return (total / weight if weight > 1e-6 else np.nan), whole


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(values, row0, column0, left, right, top, bottom, across_scale, down_scale, kernel, radius, where, out):
    most = int(2 * (radius * max(across_scale, down_scale) + 2))
    down, across = np.empty(most), np.empty(most)
    down1, across1 = np.empty(most), np.empty(most)
    first = np.empty(1, np.int64)
    height, width = values.shape[1:]
    for r in range(where.shape[0]):
        for c in range(where.shape[1]):
            x, y = (left[r, c] + right[r, c]) / 2, (top[r, c] + bottom[r, c]) / 2
            if not where[r, c] or not ((x == x) & (y == y)):
                continue
            if not ((x >= column0) & (x < column0 + width) & (y >= row0) & (y < row0 + height)):
                continue
            rows = _weights(kernel, y, radius, down_scale, first, down)
            row = first[0] - row0
            columns = _weights(kernel, x, radius, across_scale, first, across)
            column = first[0] - column0
            middle_row, middle_column = int(math.floor(y)) - row0, int(math.floor(x)) - column0
            plain = False
            rows1 = columns1 = row1 = column1 = 0
            for k in range(values.shape[0]):
                centre = values[k, middle_row, middle_column]
                if centre != centre:
                    continue
                value, whole = _weighed(values, k, row, column, down, rows, across, columns)
                if not whole and kernel != _BILINEAR:
                    if not plain:
                        rows1 = _weights(_BILINEAR, y, 1.0, down_scale, first, down1)
                        row1 = first[0] - row0
                        columns1 = _weights(_BILINEAR, x, 1.0, across_scale, first, across1)
                        column1 = first[0] - column0
                        plain = True
                    value, whole = _weighed(values, k, row1, column1, down1, rows1, across1, columns1)
                out[k, r, c] = value


@njit(cache=True, nogil=True, error_model="numpy")
def _mode(found):
    """The most frequent value: of those that are equally so, the one that was so first, row by row."""
    order = np.argsort(found)
    best, most, reached = found[0], 0, 0
    start = 0
    while start < order.size:
        end, last = start, 0
        while end < order.size and found[order[end]] == found[order[start]]:
            last = max(last, order[end])
            end += 1
        if end - start > most or (end - start == most and last < reached):
            best, most, reached = found[order[start]], end - start, last
        start = end
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _part(low, high, pixel):
    """The part of a pixel that lies between two places."""
    return max(min(high, pixel + 1.0) - max(low, float(pixel)), 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _count(values, row0, column0, left, right, top, bottom, method, share, where, out):
    height, width = values.shape[1:]
    room = 16
    found = np.empty(room, values.dtype)
    for r in range(where.shape[0]):
        for c in range(where.shape[1]):
            w, e, t, b = left[r, c], right[r, c], top[r, c], bottom[r, c]
            if not where[r, c] or not ((w == w) & (e == e) & (t == t) & (b == b)):
                continue
            c0, c1 = max(int(math.floor(w + 1e-6)) - column0, 0), min(int(math.ceil(e - 1e-6)) - column0, width)
            r0, r1 = max(int(math.floor(t + 1e-6)) - row0, 0), min(int(math.ceil(b - 1e-6)) - row0, height)
            if c1 <= c0 or r1 <= r0:
                continue
            if (c1 - c0) * (r1 - r0) > room:
                room = (c1 - c0) * (r1 - r0)
                found = np.empty(room, values.dtype)
            for k in range(values.shape[0]):
                number, total, weight = 0, 0.0, 0.0
                for i in range(r0, r1):
                    down = _part(t, b, i + row0)
                    for j in range(c0, c1):
                        v = values[k, i, j]
                        if v != v:
                            continue
                        found[number] = v
                        number += 1
                        if method <= _RMS:
                            share_in = down * _part(w, e, j + column0)
                            total += share_in * (v * v if method == _RMS else v)
                            weight += share_in
                if number == 0:
                    continue
                some = found[:number]
                if method <= _RMS:
                    if weight > 0:
                        mean = total / weight
                        out[k, r, c] = total if method == _SUM else math.sqrt(mean) if method == _RMS else mean
                elif method == _MODE:
                    out[k, r, c] = _mode(some)
                elif method == _MIN:
                    out[k, r, c] = some.min()
                elif method == _MAX:
                    out[k, r, c] = some.max()
                else:
                    out[k, r, c] = np.sort(some)[max(int(math.ceil(share * number - 1)), 0)]
