"""Neighbourhood operators: kernels, focal mean and median, morphology. Their halo makes tiles seamless.

Sums are made in the same order for every pixel (no running sums), so that a value does not depend on where the block
or tile that holds it begins. A pixel that is missing stays missing; missing neighbours are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import bottleneck as bn
import numpy as np
import xarray as xr
from pydantic import AfterValidator, Field
from scipy import ndimage

from muses_lab.errors import TooLarge
from muses_lab.operators.declare import Cube, Focal, operator
from muses_lab.operators.kernels import box_mean

MAX_RADIUS = 128

Radius = Annotated[float, Field(gt=0, le=100_000)]
Unit = Literal["px", "m"]


def _odd(kernel: list[list[float]]) -> list[list[float]]:
    rows, columns = len(kernel), len(kernel[0])
    if any(len(row) != columns for row in kernel):
        raise ValueError("all rows of a kernel must have the same length")
    if rows % 2 == 0 or columns % 2 == 0:
        raise ValueError(f"a kernel must have an odd number of rows and columns, not {rows} × {columns}")
    if max(rows, columns) > 2 * MAX_RADIUS + 1:
        raise ValueError(f"a kernel may have {2 * MAX_RADIUS + 1} rows and columns at most")
    return kernel


Kernel = Annotated[list[Annotated[list[float], Field(min_length=1)]], Field(min_length=1), AfterValidator(_odd)]


def _pixels(radius: float, unit: str, pixel_size: float) -> int:
    """Radius in whole pixels: a radius in metres keeps its size on the ground."""
    pixels = int(np.floor((radius if unit == "px" else radius / pixel_size) + 0.5))
    if pixels > MAX_RADIUS:
        raise TooLarge(
            f"a radius of {radius:g} m is {pixels} pixels of {pixel_size:g} m; the limit is {MAX_RADIUS}: choose "
            "a smaller radius, or a coarser resolution with .at_resolution(metres)"
        )
    return pixels


def _few_pixels(arguments: Mapping[str, Any]) -> None:
    if arguments["unit"] == "px" and arguments["radius"] > MAX_RADIUS:
        raise ValueError(
            f"a radius may be {MAX_RADIUS} pixels at most, not {arguments['radius']:g}; give it in metres?"
        )


def _halo(times: int = 1) -> Focal:
    def radius(arguments: Mapping[str, Any], pixel_size: float) -> int:
        return times * _pixels(arguments["radius"], arguments["unit"], pixel_size)

    return Focal(radius)


def _each_image(data: xr.DataArray, fn: Callable[[np.ndarray], np.ndarray]) -> xr.DataArray:
    """`fn` on every (y, x) image of a cube."""
    values = np.asarray(data.data)
    out = np.empty_like(values)
    for place in np.ndindex(values.shape[:-2]):
        out[place] = fn(values[place])
    return data.copy(data=out)


@operator(
    "apply_kernel",
    support=Focal(lambda a, _pixel: max(len(a["kernel"]), len(a["kernel"][0])) // 2),
    strict=False,
)
def apply_kernel(
    data: Cube,
    kernel: Kernel,
    factor: float = 1.0,
    border: Literal[0] = 0,
    replace_invalid: float = 0.0,
) -> Cube:
    """Convolution with a kernel (rows × columns, odd), times `factor` (openEO).

    Missing values, and what lies beyond the data, count as `replace_invalid` and `border`.
    """
    weights = np.asarray(kernel, dtype=np.float64)

    def convolve(image: np.ndarray) -> np.ndarray:
        filled = np.where(np.isnan(image), replace_invalid, image).astype(np.float64)
        return (ndimage.convolve(filled, weights, mode="constant", cval=border) * factor).astype(image.dtype)

    return _each_image(data, convolve)


@operator("muses:focal_mean", support=_halo(), rule=_few_pixels)
def focal_mean(data: Cube, radius: Radius = 1, unit: Unit = "px", pixel_size: float = 1.0) -> Cube:
    """Mean of the valid values in the square of (2 r + 1)² pixels around each valid pixel."""
    pixels = _pixels(radius, unit, pixel_size)
    return _each_image(data, lambda image: box_mean(np.ascontiguousarray(image), pixels))


@operator("muses:focal_median", support=_halo(), rule=_few_pixels)
def focal_median(
    data: Cube, radius: Annotated[float, Field(gt=0, le=10_000)] = 1, unit: Unit = "px", pixel_size: float = 1.0
) -> Cube:
    """Median of the valid values in the square of (2 r + 1)² pixels around each valid pixel."""
    r = _pixels(radius, unit, pixel_size)

    def median(image: np.ndarray) -> np.ndarray:
        padded = np.pad(image, r, constant_values=np.nan)
        out = np.empty_like(image)
        # A stripe of rows at a time: all (2 r + 1)² shifted copies of a large image would not fit into memory.
        rows = max(1, (1 << 24) // ((2 * r + 1) ** 2 * max(image.shape[1], 1)))
        for top in range(0, image.shape[0], rows):
            stripe = padded[top : top + rows + 2 * r]
            views = np.lib.stride_tricks.sliding_window_view(stripe, (2 * r + 1, 2 * r + 1))
            out[top : top + rows] = bn.nanmedian(views.reshape(*views.shape[:2], -1), axis=-1)
        return np.where(np.isnan(image), np.nan, out).astype(image.dtype)

    return _each_image(data, median)


def _extreme(image: np.ndarray, r: int, largest: bool) -> np.ndarray:
    """Largest or smallest valid value in the square; missing neighbours never win."""
    lowest = -np.inf if largest else np.inf
    filled = np.where(np.isnan(image), lowest, image)
    fn = ndimage.maximum_filter if largest else ndimage.minimum_filter
    return np.where(np.isnan(image), np.nan, fn(filled, size=2 * r + 1, mode="constant", cval=lowest)).astype(
        image.dtype
    )


def _declare_morphology(id: str, steps: tuple[bool, ...], doc: str) -> None:
    def morphology(data: Cube, radius: Radius = 1, unit: Unit = "px", pixel_size: float = 1.0) -> Cube:
        r = _pixels(radius, unit, pixel_size)

        def apply(image: np.ndarray) -> np.ndarray:
            for largest in steps:
                image = _extreme(image, r, largest)
            return image

        return _each_image(data, apply)

    morphology.__name__, morphology.__doc__ = id.split(":")[1], doc
    operator(id, support=_halo(len(steps)), rule=_few_pixels)(morphology)


_SQUARE = " with a square of (2 r + 1)² pixels; of a mask or of values (Serra 1982; Soille 2003)."
_declare_morphology("muses:dilate", (True,), "Dilation" + _SQUARE)
_declare_morphology("muses:erode", (False,), "Erosion" + _SQUARE)
_declare_morphology("muses:opening", (False, True), "Opening: erosion, then dilation," + _SQUARE)
_declare_morphology("muses:closing", (True, False), "Closing: dilation, then erosion," + _SQUARE)
