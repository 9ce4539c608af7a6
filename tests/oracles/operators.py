"""Operators one pixel at a time, in double precision, by NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Callable as Fn

import numpy as np
from scipy import ndimage

NAN = np.float32("nan")


def by_pixel(cube: np.ndarray, fn: Fn[[np.ndarray], float], skip: bool = True) -> np.ndarray:
    """The reference: one pixel at a time, in float64, valid values only."""
    out = np.full(cube.shape[1:], NAN)
    for place in np.ndindex(*cube.shape[1:]):
        series = cube[(slice(None), *place)].astype(np.float64)
        valid = series[~np.isnan(series)]
        if valid.size and (skip or valid.size == series.size):
            with np.errstate(all="ignore"):
                out[place] = fn(valid)
    return out


def brute(image: np.ndarray, r: int, fn: Fn[[np.ndarray], float]) -> np.ndarray:
    out = np.full(image.shape, NAN)
    for i, j in zip(*np.nonzero(~np.isnan(image)), strict=True):
        around = image[max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1].astype(np.float64)
        out[i, j] = fn(around[~np.isnan(around)])
    return out


def areas(mask: np.ndarray, pixel: float, min_area: float, connectivity: int) -> list[set[tuple[int, int]]]:
    """Connected regions of at least an area by scipy, in order of their first pixel."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    labels, count = ndimage.label(np.nan_to_num(mask) != 0, structure=structure)
    regions = [set(zip(*map(list, np.nonzero(labels == n)), strict=True)) for n in range(1, count + 1)]
    return sorted((r for r in regions if len(r) * pixel**2 >= min_area), key=min)
