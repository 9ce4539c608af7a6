"""Reducers of openEO over a series of values: mean, median, quantiles and so on, along `t` or `bands`.

Missing values are ignored unless `ignore_nodata` is false; where nothing is left the result is missing. Medians and
quantiles interpolate linearly between order statistics (type 7 of Hyndman & Fan 1996, the default of NumPy and R).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

import bottleneck as bn
import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Node, Parameter
from muses_lab.operators.callbacks import Series
from muses_lab.operators.declare import Array, Cost, Meta, Scalar, operator, registry
from muses_lab.operators.methods import Dimension, over
from muses_lab.plain import plain
from muses_lab.resources import cancel

NAN = np.float32("nan")

_AT_ONCE = 1 << 22
"""Values that are reduced between two looks at the cancel flag: 0.06 s of medians, by measurement."""


def _along(data: Any) -> tuple[xr.DataArray, str]:
    """The array and the dimension to reduce; a list of scalars becomes an array with a dimension of its own."""
    if isinstance(data, Series):
        return data.array, data.dim
    parts = [xr.DataArray(NAN if v is None else v) if not isinstance(v, xr.DataArray) else v for v in data]
    return xr.concat(xr.broadcast(*parts), dim="element", coords="minimal", compat="override"), "element"


def _reduce(
    data: Any, fn: Callable[[np.ndarray, int], np.ndarray], ignore_nodata: bool, in_pieces: bool = True
) -> xr.DataArray:
    array, dim = _along(data)
    axis = array.get_axis_num(dim)
    dims = [d for d in array.dims if d != dim]
    values = np.asarray(array.data)
    with np.errstate(all="ignore"):
        if values.shape[axis] == 0:
            shape = tuple(n for i, n in enumerate(values.shape) if i != axis)
            out = np.full(shape, NAN)
        else:
            out = np.asarray(_in_pieces(fn, values, axis) if in_pieces else fn(values, axis))
            if not ignore_nodata:
                out = np.where(_in_pieces(lambda v, axis: np.isnan(v).any(axis=axis), values, axis), NAN, out)
        out = out.astype(values.dtype, copy=False)  # a variance may be beyond float32: it is infinite
    coords = {d: array.coords[d] for d in dims if d in array.coords}
    return xr.DataArray(out, dims=dims, coords=coords)


def _pieces(shape: tuple[int, ...], axis: int) -> Iterator[tuple[slice, ...]]:
    """Parts of a cube that have the whole series of their pixels; the cancel flag is looked at before each."""
    across = next((i for i, n in enumerate(shape) if i != axis and n > 1), axis)
    seconds = cancel.LONGEST * math.prod(shape) / _AT_ONCE / max(shape[across], 1)
    for first, last in [(0, shape[axis])] if across == axis else cancel.stripes(shape[across], seconds):
        yield (*(slice(None),) * across, slice(first, last))


def _in_pieces(fn: Callable[[np.ndarray, int], np.ndarray], values: np.ndarray, axis: int) -> np.ndarray:
    parts = [np.asarray(fn(values[piece], axis)) for piece in _pieces(values.shape, axis)]
    if len(parts) == 1:
        return parts[0]
    across = next(i for i, n in enumerate(values.shape) if i != axis and n > 1)
    return np.concatenate(parts, axis=across - (axis < across))


def _declare(
    id: str, fn: Callable[[np.ndarray, int], np.ndarray], doc: str, code: str | None = None, method: str = ""
) -> None:
    def reducer(data: Array, ignore_nodata: bool = True) -> Scalar:
        return _reduce(data, fn, ignore_nodata)  # type: ignore[return-value]

    reducer.__name__ = id
    reducer.__doc__ = f'{doc}.\n\n```python\nndvi.{method or id}("t")\n```\n\n{_MISSING}'
    operator(id, code=code, method=method)(reducer)


_MISSING = "Missing values are ignored unless `ignore_nodata` is false; where nothing is left the result is missing."


def _sum(values: np.ndarray, axis: int) -> np.ndarray:
    total = bn.nansum(values, axis=axis)
    return np.where(np.isnan(values).all(axis=axis), NAN, total)


def _product(values: np.ndarray, axis: int) -> np.ndarray:
    return np.where(np.isnan(values).all(axis=axis), NAN, np.nanprod(values, axis=axis))


def _variance(values: np.ndarray, axis: int) -> np.ndarray:
    return bn.nanvar(values.astype(np.float64), axis=axis, ddof=1)


_declare("mean", lambda v, axis: bn.nanmean(v, axis=axis), "Arithmetic mean", "MEAN")
_declare(
    "median",
    lambda v, axis: bn.nanmedian(v, axis=axis),
    "Median; the mean of the middle two of an even number",
    "MEDIAN",
)
_declare("min", lambda v, axis: bn.nanmin(v, axis=axis), "Smallest value", "MIN")
_declare("max", lambda v, axis: bn.nanmax(v, axis=axis), "Largest value", "MAX")
_declare("sum", _sum, "Sum", "SUM")
_declare("product", _product, "Product")
_declare("variance", _variance, "Sample variance (divided by n - 1)", "VARIANCE")
_declare("sd", lambda v, axis: np.sqrt(_variance(v, axis)), "Sample standard deviation (divided by n - 1)", "SD", "std")


@operator("count", strict=False, code="COUNT")
def count(data: Array, condition: Literal[True] | None = None) -> Scalar:
    """Number of valid values; of all values with `condition` true.

    ```python
    ndvi.count("t")
    ```
    """
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


@operator("first", code="FIRST")
def first(data: Array, ignore_nodata: bool = True) -> Scalar:
    """The first value (the first valid one unless `ignore_nodata` is false).

    ```python
    ndvi.first("t")
    ```
    """
    return _reduce(data, lambda v, axis: _pick(v, axis, False, ignore_nodata), True)  # type: ignore[return-value]


@operator("last", code="LAST")
def last(data: Array, ignore_nodata: bool = True) -> Scalar:
    """The last value (the last valid one unless `ignore_nodata` is false).

    ```python
    ndvi.last("t")
    ```
    """
    return _reduce(data, lambda v, axis: _pick(v, axis, True, ignore_nodata), True)  # type: ignore[return-value]


def _quantiles_cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    return Cost((20e-9 + 3e-9 * len(arguments["probabilities"])) * rows * columns)


def _quantile(data: Node, q: float, dim: Dimension = "t", ignore_nodata: bool = True) -> Node:
    """Quantile of the valid values, interpolated linearly.

    ```python
    ndvi.quantile(0.9, "t")
    ```
    """
    probabilities = [plain(q)]
    series = registry.node(
        "quantiles", inside_callback=True, data=Parameter("data"), probabilities=probabilities,
        ignore_nodata=ignore_nodata,
    )  # fmt: skip
    return over(data, dim, "array_element", data=series, index=0)


@operator("quantiles", cost=_quantiles_cost, code="QUANTILE", method=_quantile)
def quantiles(
    data: Array,
    probabilities: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=100)],
    ignore_nodata: bool = True,
) -> Array:
    """Quantiles at the given probabilities, as a series (take one with `array_element`).

    ```python
    ndvi.quantile(0.9, "t")
    ```
    """

    parts = []
    array, dim = _along(data)
    # Sorted once for all probabilities: NaN goes last, so the valid values of each pixel stand at its front.
    values = np.array(np.moveaxis(np.asarray(array.data), array.get_axis_num(dim), 0))
    for piece in _pieces(values.shape, 0):
        values[piece].sort(axis=0)
    valid = (~np.isnan(values)).sum(axis=0)
    for p in probabilities:
        cancel.check()

        def one(_values: np.ndarray, _axis: int, p: float = p) -> np.ndarray:
            return _interpolated(values, valid, p)

        parts.append(_reduce(data, one, ignore_nodata, in_pieces=False))
    return Series(xr.concat(parts, dim="quantile"), "quantile", Meta(time=False))  # type: ignore[return-value]


def _interpolated(ordered: np.ndarray, valid: np.ndarray, p: float) -> np.ndarray:
    place = np.maximum(valid - 1, 0) * p
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(valid - 1, 0))
    a = np.take_along_axis(ordered, low[np.newaxis], axis=0)[0]
    b = np.take_along_axis(ordered, high[np.newaxis], axis=0)[0]
    # a + (b - a) × f keeps a where both are the same; beside infinities the weighted sum says which one wins.
    fraction = (place - low).astype(ordered.dtype)
    apart = b - a
    between = np.where(np.isfinite(apart), a + apart * fraction, a * (1 - fraction) + b * fraction)
    return np.where((fraction == 0) | (a == b), a, between)
