"""Neighbourhood operators: kernels, focal mean and median, morphology. Their halo makes tiles seamless.

Sums are made in the same order for every pixel (no running sums), so that a value does not depend on where the block
or tile that holds it begins. A pixel that is missing stays missing; missing neighbours are left out.

What they take was measured on 512 × 512 pixels of noise, the best of five runs, in one thread of a cloud
machine of 2025 (Xeon, AVX-512); slower ones expect more (see `resources.rates`).
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
from muses_lab.operators import kernels
from muses_lab.operators.contract import Cost, CostOf, Cube, Focal, Refused
from muses_lab.operators.declare import operator
from muses_lab.resources import cancel

MAX_RADIUS = 128

_TAP = 0.08e-9
"""Seconds for a pixel and a weight of a kernel."""
_PASS = 4e-9
"""Seconds for a pixel that is copied, filled and converted around that."""
_MEAN = 3.5e-9, 1.5e-9
"""Seconds for a mean, and for each pixel of the radius."""
_RANK = 80e-9
"""Seconds for a pixel that is ranked for a median."""
_SLIDE = 350e-9, 2.5e-9
"""Seconds for a median, and for each pixel of the square's edge that comes or goes."""
_SELECT = 15e-9
"""Seconds for a value of which a median is selected."""
_EXTREME = 20e-9
"""Seconds for a pixel of an erosion or dilation, whatever the radius."""
_SELECTED = 3
"""Squares of so many pixels or less have their median selected, which takes a third of the time."""
_AT_ONCE = 1 << 20
"""Values from which medians are selected at a time."""

Radius = Annotated[float, Field(gt=0, le=100_000)]
Unit = Literal["px", "m"]


def _odd(kernel: list[list[float]]) -> list[list[float]]:
    rows, columns = len(kernel), len(kernel[0])
    if any(len(row) != columns for row in kernel):
        raise ValueError("all rows of a kernel must have the same length")
    if rows % 2 == 0 or columns % 2 == 0:
        raise Refused(
            "KernelDimensionsUneven", f"a kernel must have an odd number of rows and columns, not {rows} × {columns}"
        )
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


def _neighbourhood(times: int = 1) -> Focal:
    def radius(arguments: Mapping[str, Any], pixel_size: float) -> int:
        return times * _pixels(arguments["radius"], arguments["unit"], pixel_size)

    return Focal(radius)


def _cost(takes: Callable[[int, int, int], Cost]) -> CostOf:
    """What an operator takes, told by its radius, the pixels of its result, and those with what lies around them."""

    def cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
        r = _pixels(arguments["radius"], arguments["unit"], pixel_size)
        return takes(r, rows * columns, (rows + 2 * r) * (columns + 2 * r))

    return cost


def each_image(data: xr.DataArray, halo: int, fn: Callable[[np.ndarray], np.ndarray]) -> xr.DataArray:
    """`fn` on every (y, x) image of a cube; it gives the image without its halo."""
    values = np.asarray(data.data)
    rows, columns = (n - 2 * halo for n in values.shape[-2:])
    out = np.empty((*values.shape[:-2], rows, columns), values.dtype)
    for place in np.ndindex(values.shape[:-2]):
        cancel.check()
        out[place] = fn(values[place])
    return data.isel(y=slice(halo, halo + rows), x=slice(halo, halo + columns)).copy(data=out)


def with_margin(image: np.ndarray, halo: int, rows: int, columns: int, beyond: float) -> np.ndarray:
    """An image without its halo, with so many rows and columns of what lies around; `beyond` where nobody knows."""
    for axis, margin in enumerate((rows, columns)):
        spare = max(halo - margin, 0)
        image = image[(slice(None),) * axis + (slice(spare, image.shape[axis] - spare),)]
    padding = [(max(margin - halo, 0),) * 2 for margin in (rows, columns)]
    padded = np.pad(image, padding, constant_values=beyond) if any(map(any, padding)) else image
    return np.ascontiguousarray(padded)


# --------------------------------------------------------------------------------------------------------- kernels


def _passes(weights: np.ndarray) -> list[np.ndarray]:
    """Kernels that give the same one after the other: a column and a row, if their product is the kernel."""
    size = np.abs(weights)
    if min(weights.shape) == 1 or not size.any():
        return [weights]
    # of whole numbers the column and the row are mostly whole ones, too, if the smallest weight stands at both
    whole = size.max() < 2**26 and (weights == np.rint(weights)).all()
    i, j = np.unravel_index(np.where(size > 0, size, np.inf).argmin() if whole else size.argmax(), weights.shape)
    column, row = weights[:, j], weights[i] / weights[i, j]
    apart = np.abs(np.outer(column, row) - weights)
    rounding = 8 * np.finfo(float).eps * size + np.finfo(float).tiny
    return [column[:, None], row[None, :]] if (apart <= rounding).all() else [weights]


def correlated(
    values: np.ndarray, weights: np.ndarray, factor: float = 1.0, dtype: np.dtype | type = np.float64
) -> np.ndarray:
    """Weighted sums of (y, x) values wherever all weights have one; zero weights are left out."""
    used = weights != 0
    places, some = np.nonzero(used)[1], weights[used]
    starts = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    rows, columns = (n - k + 1 for n, k in zip(values.shape, weights.shape, strict=True))
    out = np.empty((rows, columns), dtype)
    for first, last in cancel.stripes(rows, columns * some.size * _TAP):
        kernels.correlate(values, places, some, starts, first, last, factor, out)
    return out


_PADDING: dict[Any, Any] = {"replicate": "edge", "reflect": "symmetric", "reflect_pixel": "reflect"}
"""openEO's borders as NumPy calls them."""


def _bordered(
    image: np.ndarray, halo: int, kernel: tuple[int, ...], border: float | str, invalid: float,
    in_extent: tuple[slice, slice] | None,
) -> np.ndarray:  # fmt: skip
    """An image with as much around it as a kernel needs, made up beyond the slices where there can be data."""
    lines = tuple(n - 2 * halo for n in image.shape)
    margins = tuple(n // 2 for n in kernel)
    spans = in_extent if in_extent is not None else tuple(slice(0, n) for n in image.shape)
    there, padding = [], []
    for span, size, n, margin in zip(spans, image.shape, lines, margins, strict=True):
        wanted = slice(halo - margin, halo + n + margin)
        known = slice(max(wanted.start, span.start, 0), min(wanted.stop, span.stop, size))
        if known.stop <= known.start:  # far beyond the extent: there is nothing to extend
            return np.full([n + 2 * m for n, m in zip(lines, margins, strict=True)], invalid, np.float64)
        there.append(known)
        padding.append((known.start - wanted.start, wanted.stop - known.stop))
    values = image[tuple(there)].astype(np.float64)
    values[~np.isfinite(values)] = invalid
    if not any(map(any, padding)):
        return np.ascontiguousarray(values)
    if border in _PADDING:
        return np.pad(values, padding, mode=_PADDING[border])
    return np.pad(values, padding, constant_values=border)


def _kernel_cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    weights = np.asarray(arguments["kernel"], np.float64)
    around = (rows + weights.shape[0]) * (columns + weights.shape[1])
    passes = _passes(weights)
    pixels = rows * (columns if len(passes) == 1 else columns + weights.shape[1])
    taps = sum(np.count_nonzero(one) for one in passes)
    return Cost(around * _PASS * len(passes) + pixels * _TAP * taps, around * (8 + 8 * len(passes)))


@operator(
    "apply_kernel",
    support=Focal(lambda a, _pixel: max(len(a["kernel"]), len(a["kernel"][0])) // 2),
    cost=_kernel_cost,
    strict=False,
)
def apply_kernel(
    data: Cube,
    kernel: Kernel,
    factor: float = 1.0,
    border: float | Literal["replicate", "reflect", "reflect_pixel"] = 0,
    replace_invalid: float = 0.0,
    halo: int = 0,
    in_extent: tuple[slice, slice] | None = None,
) -> Cube:
    """Convolution with a kernel (rows × columns, odd), times `factor` (openEO).

    ```python
    image.apply_kernel([[0, 1, 0], [1, 1, 1], [0, 1, 0]], factor=1 / 5)
    ```

    Missing and infinite values count as `replace_invalid`. What lies beyond the grid's extent, where no scene of the
    collection can be, counts as `border`: a number, the pixel at the edge (`replicate`), or those inside of the edge in
    reverse order, with the one at the edge (`reflect`) or without it (`reflect_pixel`). The edge of a view or of a
    scene is no border. A kernel that is the product of a column and a row (a Gaussian) takes a fraction of the time.
    """
    weights = np.asarray(kernel, dtype=np.float64)[::-1, ::-1]
    *before, last = _passes(weights)

    def convolve(image: np.ndarray) -> np.ndarray:
        values = _bordered(image, halo, weights.shape, border, replace_invalid, in_extent)
        for one in before:
            values = correlated(values, one)
        return correlated(values, last, factor, image.dtype)

    return each_image(data, halo, convolve)


# --------------------------------------------------------------------------------------------------------- squares


def _mean_of_pixel(r: int) -> float:
    """Seconds."""
    return _MEAN[0] + _MEAN[1] * r


@operator(
    "muses:focal_mean",
    support=_neighbourhood(),
    cost=_cost(lambda r, pixels, around: Cost(around * _mean_of_pixel(r), 8 * around)),
    rule=_few_pixels,
)
def focal_mean(data: Cube, radius: Radius = 1, unit: Unit = "px", pixel_size: float = 1.0, halo: int = 0) -> Cube:
    """Mean of the valid values in the square of (2 r + 1)² pixels around each valid pixel.

    ```python
    image.focal_mean(2)
    image.focal_mean(50, "m")
    ```
    """
    r = _pixels(radius, unit, pixel_size)

    def mean(image: np.ndarray) -> np.ndarray:
        values = with_margin(image, halo, r, r, np.nan)
        rows, columns = (n - 2 * r for n in values.shape)
        out = np.empty((rows, columns), image.dtype)
        for first, last in cancel.stripes(rows, columns * _mean_of_pixel(r)):
            means = kernels.box_mean(values[first : last + 2 * r], r)
            out[first:last] = means[r : r + last - first, r : r + columns]
        return out

    return each_image(data, halo, mean)


def _median_cost(r: int, pixels: int, around: int) -> Cost:
    if 2 * r + 1 <= _SELECTED:
        return Cost(pixels * (2 * r + 1) ** 2 * _SELECT, 8 * around + 8 * _AT_ONCE)
    return Cost(around * _RANK + pixels * (_SLIDE[0] + 2 * (2 * r + 1) * _SLIDE[1]), 80 * around)


@operator("muses:focal_median", support=_neighbourhood(), cost=_cost(_median_cost), rule=_few_pixels)
def focal_median(
    data: Cube, radius: Annotated[float, Field(gt=0, le=10_000)] = 1, unit: Unit = "px", pixel_size: float = 1.0,
    halo: int = 0,
) -> Cube:  # fmt: skip
    """Median of the valid values in the square of (2 r + 1)² pixels around each valid pixel.

    ```python
    image.focal_median(2)
    ```
    """
    r = _pixels(radius, unit, pixel_size)
    size = 2 * r + 1

    def median(image: np.ndarray) -> np.ndarray:
        values = with_margin(image, halo, r, r, np.nan) + image.dtype.type(0)  # there is one zero only
        return _selected(values, size) if size <= _SELECTED else _slid(values, size)

    return each_image(data, halo, median)


def _selected(values: np.ndarray, size: int) -> np.ndarray:
    """Medians of the squares wherever all of one is there, each for itself."""
    rows, columns = (n - size + 1 for n in values.shape)
    out = np.empty((rows, columns), values.dtype)
    step = max(1, _AT_ONCE // (size**2 * max(columns, 1)))
    for first in range(0, rows, step):
        cancel.check()
        squares = np.lib.stride_tricks.sliding_window_view(values[first : first + step + size - 1], (size, size))
        out[first : first + step] = bn.nanmedian(squares.reshape(*squares.shape[:2], -1), axis=-1)
    out[np.isnan(values[size // 2 : size // 2 + rows, size // 2 : size // 2 + columns])] = np.nan
    return out


def _slid(values: np.ndarray, size: int) -> np.ndarray:
    """The same by ranks that are counted."""
    rows, columns = (n - size + 1 for n in values.shape)
    out = np.empty((rows, columns), values.dtype)
    valid = ~np.isnan(values)
    ranks = np.full(values.shape, -1, np.int32)
    different, ranks[valid] = np.unique(values[valid], return_inverse=True)
    down = np.ascontiguousarray(ranks.T)
    row = columns * (_SLIDE[0] + 2 * size * _SLIDE[1])
    for first, last in cancel.stripes(rows, row):
        kernels.median(ranks, down, different, first, last, out)
    return out


# ------------------------------------------------------------------------------------------------------ morphology


def _extreme(image: np.ndarray, r: int, largest: bool) -> np.ndarray:
    """Largest or smallest valid value in the square; missing neighbours never win."""
    lowest = -np.inf if largest else np.inf
    filled = np.where(np.isnan(image), lowest, image)
    fn = ndimage.maximum_filter if largest else ndimage.minimum_filter
    return np.where(np.isnan(image), np.nan, fn(filled, size=2 * r + 1, mode="constant", cval=lowest)).astype(
        image.dtype
    )


def _declare_morphology(id: str, steps: tuple[bool, ...], doc: str) -> None:
    times = len(steps)

    def takes(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
        r = times * _pixels(arguments["radius"], arguments["unit"], pixel_size)
        around = (rows + 2 * r) * (columns + 2 * r)
        return Cost(around * times * _EXTREME, 32 * around)

    def morphology(data: Cube, radius: Radius = 1, unit: Unit = "px", pixel_size: float = 1.0, halo: int = 0) -> Cube:
        r = _pixels(radius, unit, pixel_size)

        def apply(image: np.ndarray) -> np.ndarray:
            rows, columns = (n - 2 * halo for n in image.shape)
            for largest in steps:
                cancel.check()
                image = _extreme(image, r, largest)
            return image[halo : halo + rows, halo : halo + columns]

        return each_image(data, halo, apply)

    morphology.__name__ = name = id.split(":")[1]
    morphology.__doc__ = f"{doc}\n\n```python\n(image > 0.5).{name}(2)\n```\n\n{_RADIUS}"
    operator(id, support=_neighbourhood(times), cost=takes, rule=_few_pixels)(morphology)


_RADIUS = "A radius is in pixels of the level shown, or with `unit='m'` in metres on the ground."
_SQUARE = " with a square of (2 r + 1)² pixels; of a mask or of values (Serra 1982; Soille 2003)."
_declare_morphology("muses:dilate", (True,), "Dilation" + _SQUARE)
_declare_morphology("muses:erode", (False,), "Erosion" + _SQUARE)
_declare_morphology("muses:opening", (False, True), "Opening: erosion, then dilation," + _SQUARE)
_declare_morphology("muses:closing", (True, False), "Closing: dilation, then erosion," + _SQUARE)
