"""Reducers of openEO over a series of values: mean, median, quantiles and so on, along `t` or `bands`.

Missing values are ignored unless `ignore_nodata` is false; where nothing is left the result is missing. Medians and
quantiles interpolate linearly between order statistics (type 7 of Hyndman & Fan 1996, the default of NumPy and R).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import bottleneck as bn
import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.operators.callbacks import Series
from muses_lab.operators.declare import Array, Meta, Scalar, operator

NAN = np.float32("nan")


def _along(data: Any) -> tuple[xr.DataArray, str]:
    """The array and the dimension to reduce; a list of scalars becomes an array with a dimension of its own."""
    if isinstance(data, Series):
        return data.array, data.dim
    parts = [xr.DataArray(NAN if v is None else v) if not isinstance(v, xr.DataArray) else v for v in data]
    return xr.concat(xr.broadcast(*parts), dim="element", coords="minimal", compat="override"), "element"


def _reduce(data: Any, fn: Callable[[np.ndarray, int], np.ndarray], ignore_nodata: bool) -> xr.DataArray:
    array, dim = _along(data)
    axis = array.get_axis_num(dim)
    dims = [d for d in array.dims if d != dim]
    values = np.asarray(array.data)
    with np.errstate(all="ignore"):
        if values.shape[axis] == 0:
            shape = tuple(n for i, n in enumerate(values.shape) if i != axis)
            out = np.full(shape, NAN)
        else:
            out = np.asarray(fn(values, axis))
            if not ignore_nodata:
                out = np.where(np.isnan(values).any(axis=axis), NAN, out)
    out = out.astype(values.dtype, copy=False)
    coords = {d: array.coords[d] for d in dims if d in array.coords}
    return xr.DataArray(out, dims=dims, coords=coords)


def _declare(id: str, fn: Callable[[np.ndarray, int], np.ndarray], doc: str) -> None:
    def reducer(data: Array, ignore_nodata: bool = True) -> Scalar:
        return _reduce(data, fn, ignore_nodata)  # type: ignore[return-value]

    reducer.__name__, reducer.__doc__ = id, doc
    operator(id)(reducer)


def _sum(values: np.ndarray, axis: int) -> np.ndarray:
    total = bn.nansum(values, axis=axis)
    return np.where(np.isnan(values).all(axis=axis), NAN, total)


def _product(values: np.ndarray, axis: int) -> np.ndarray:
    return np.where(np.isnan(values).all(axis=axis), NAN, np.nanprod(values, axis=axis))


def _variance(values: np.ndarray, axis: int) -> np.ndarray:
    return bn.nanvar(values.astype(np.float64), axis=axis, ddof=1)


_declare("mean", lambda v, axis: bn.nanmean(v, axis=axis), "Arithmetic mean")
_declare("median", lambda v, axis: bn.nanmedian(v, axis=axis), "Median; the mean of the middle two of an even number")
_declare("min", lambda v, axis: bn.nanmin(v, axis=axis), "Smallest value")
_declare("max", lambda v, axis: bn.nanmax(v, axis=axis), "Largest value")
_declare("sum", _sum, "Sum")
_declare("product", _product, "Product")
_declare("variance", _variance, "Sample variance (divided by n - 1)")
_declare("sd", lambda v, axis: np.sqrt(_variance(v, axis)), "Sample standard deviation (divided by n - 1)")


@operator("count", strict=False)
def count(data: Array, condition: Literal[True] | None = None) -> Scalar:
    """Number of valid values; of all values with `condition` true."""
    every = condition is True

    def number(values: np.ndarray, axis: int) -> np.ndarray:
        return np.full_like(values, 1).sum(axis=axis) if every else (~np.isnan(values)).sum(axis=axis)

    counted = _reduce(data, number, True)
    return counted.fillna(0)  # type: ignore[return-value]


def _pick(values: np.ndarray, axis: int, last: bool, ignore_nodata: bool) -> np.ndarray:
    ordered = np.flip(values, axis=axis) if last else values
    if not ignore_nodata:
        return np.take(ordered, 0, axis=axis)
    place = (~np.isnan(ordered)).argmax(axis=axis)
    return np.take_along_axis(ordered, np.expand_dims(place, axis), axis=axis).squeeze(axis)


@operator("first")
def first(data: Array, ignore_nodata: bool = True) -> Scalar:
    """The first value (the first valid one unless `ignore_nodata` is false)."""
    return _reduce(data, lambda v, axis: _pick(v, axis, False, ignore_nodata), True)  # type: ignore[return-value]


@operator("last")
def last(data: Array, ignore_nodata: bool = True) -> Scalar:
    """The last value (the last valid one unless `ignore_nodata` is false)."""
    return _reduce(data, lambda v, axis: _pick(v, axis, True, ignore_nodata), True)  # type: ignore[return-value]


@operator("quantiles")
def quantiles(
    data: Array,
    probabilities: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=100)],
    ignore_nodata: bool = True,
) -> Array:
    """Quantiles at the given probabilities, as a series (take one with `array_element`)."""

    parts = []
    array, dim = _along(data)
    # Sorted once for all probabilities: NaN goes last, so the valid values of each pixel stand at its front.
    values = np.sort(np.moveaxis(np.asarray(array.data), array.get_axis_num(dim), 0), axis=0)
    valid = (~np.isnan(values)).sum(axis=0)
    for p in probabilities:

        def one(_values: np.ndarray, _axis: int, p: float = p) -> np.ndarray:
            return _quantile(values, valid, p)

        parts.append(_reduce(data, one, ignore_nodata))
    return Series(xr.concat(parts, dim="quantile"), "quantile", Meta(time=False))  # type: ignore[return-value]


def _quantile(ordered: np.ndarray, valid: np.ndarray, p: float) -> np.ndarray:
    place = np.maximum(valid - 1, 0) * p
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(valid - 1, 0))
    a = np.take_along_axis(ordered, low[np.newaxis], axis=0)[0]
    b = np.take_along_axis(ordered, high[np.newaxis], axis=0)[0]
    # a + (b - a) × f keeps a where the fraction is 0, also if b is infinite.
    fraction = (place - low).astype(ordered.dtype)
    return np.where(fraction == 0, a, a + (b - a) * fraction)
