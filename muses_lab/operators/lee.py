"""The speckle filter of Lee."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from muses_lab.operators.contract import Cost, Cube, Focal
from muses_lab.operators.declare import operator
from muses_lab.operators.focal import correlated, each_image, with_margin

_PIXEL, _ROW = 90e-9, 1e-9
"""Seconds for a pixel, and for each row of its window; measured as those in `focal`."""


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"a window has a pixel in its middle: {size - 1} or {size + 1} pixels, not {size}")
    return size


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    size = arguments["size"]
    around = (rows + size) * (columns + size)
    return Cost(around * (_PIXEL + _ROW * size), 88 * around)


@operator("muses:lee", support=Focal(lambda arguments, pixel_size: arguments["size"] // 2), cost=_cost)
def lee(
    data: Cube,
    size: Annotated[int, Field(ge=3, le=65), AfterValidator(_odd)] = 7,
    looks: Annotated[float, Field(gt=0, le=10_000)] = 1.0,
    halo: int = 0,
) -> Cube:
    """Speckle filter of Lee (1980): the mean of a window, and the more of the pixel itself the less it is speckle.

    ```python
    image.lee(7, looks=4.4)
    ```

    The result is m + w (x - m) with w = 1 - cu² / ci², or m where ci < cu: ci is the coefficient of variation of the
    valid values in the window of `size` × `size` pixels (an odd number; standard deviation with n - 1), m their mean,
    cu = 1 / √`looks` that of speckle.

    For radar images of linear power (sigma nought, gamma nought), not of decibels: speckle multiplies. `looks` is their
    equivalent number of looks: 4.4 for Sentinel-1 IW GRD in high resolution. The window has pixels of the level that is
    shown, and coarser levels are averages with less speckle; `.at_resolution(10)` pins it. A missing pixel stays
    missing, missing neighbours are left out, as is what lies beyond the image. Where nothing else is valid in the
    window, the pixel stays as it is.

    Lee, J.-S. (1980), IEEE Transactions on Pattern Analysis and Machine Intelligence 2, 165–168; as in ESA SNAP.
    """
    r = size // 2

    def window_sums(values: np.ndarray) -> np.ndarray:
        return correlated(correlated(values, np.ones((size, 1))), np.ones((1, size)))

    def filtered(image: np.ndarray) -> np.ndarray:
        values = with_margin(image, halo, r, r, np.nan).astype(np.float64)
        valid = ~np.isnan(values)
        values[~valid] = 0
        n, total, squares = (window_sums(v) for v in (valid.astype(np.float64), values, values**2))
        rows, columns = n.shape
        x, there = (v[r : r + rows, r : r + columns] for v in (values, valid))
        with np.errstate(all="ignore"):
            mean = total / n
            variance = (squares - total * mean) / np.maximum(n - 1, 1)
            speckle = mean**2 / looks  # the variance that speckle alone would have
            weight = np.where(variance > speckle, 1 - speckle / variance, 0)
        return np.where(there, mean + weight * (x - mean), np.nan).astype(image.dtype)

    return each_image(data, halo, filtered)
