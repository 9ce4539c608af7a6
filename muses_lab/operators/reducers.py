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
from pydantic import AfterValidator, Field

from muses_lab.document.graph import Node, Parameter
from muses_lab.operators.callbacks import ELEMENT, Series, as_series, stacked
from muses_lab.operators.contract import Array, Cost, Length, Refused, Scalar, Unary
from muses_lab.operators.declare import operator
from muses_lab.operators.functions import callback
from muses_lab.operators.methods import Dimension, over
from muses_lab.operators.registered import registry
from muses_lab.plain import plain
from muses_lab.resources import cancel

NAN = np.float32("nan")

_AT_ONCE = 1 << 22
"""Values that are reduced between two looks at the cancel flag: 0.06 s of medians, by measurement."""


def _reduce(
    data: Any, fn: Callable[[np.ndarray, int], np.ndarray], ignore_nodata: bool, in_pieces: bool = True
) -> xr.DataArray:
    series = as_series(data)
    array, dim = series.array, series.dim
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
                there = _with_elements(series, 0)
                out = np.where(_in_pieces(lambda v, axis: np.isnan(v).any(axis=axis), there, axis), NAN, out)
        out = out.astype(values.dtype, copy=False)  # a variance may be beyond float32: it is infinite
    coords = {d: array.coords[d] for d in dims if d in array.coords}
    return xr.DataArray(out, dims=dims, coords=coords)


def _with_elements(series: Series, beyond: float) -> np.ndarray:
    """The values; those that are beyond the elements of their pixel as a number."""
    if series.length is None:
        return np.asarray(series.array.data)
    places = xr.DataArray(np.arange(series.size), dims=series.dim)
    return series.array.where(places < series.length, beyond).transpose(*series.array.dims).values


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


def _count(data: Node, dim: Dimension = "t", condition: Any = None) -> Node:
    """Number of finite values; with `condition` true of all, with a function of the value of those where it is true.

    ```python
    ndvi.count("t")
    ndvi.count("t", condition=lambda x: x > 0.5)
    ```
    """
    if condition is not None and condition is not True:
        condition = callback("condition", condition, "x")
    reducer = registry.node("count", inside_callback=True, data=Parameter("data"), condition=condition)
    return over(data, dim, reducer)


@operator("count", strict=False, code="COUNT", method=_count)
def count(data: Array, condition: Unary | Literal[True] | None = None) -> Scalar:
    """Number of finite values; with `condition` true of all, with a process graph of those where it is true.

    ```python
    ndvi.count("t")
    ```
    """
    series = as_series(data)
    if condition is True:
        if series.length is not None:
            return series.length.astype(series.array.dtype)  # type: ignore[return-value]
        counted = _reduce(series, lambda values, axis: np.full_like(values, 1).sum(axis=axis), True)
    elif condition is None:
        counted = _reduce(series, lambda values, axis: np.isfinite(values).sum(axis=axis), True)
    else:
        counted = _reduce(_met(series, condition), bn.nansum, True)
    return counted.fillna(0)  # type: ignore[return-value]


def _met(series: Series, condition: Any) -> Series:
    """1 where a condition on each element is true, else 0."""
    truth = condition(x=series.elements)
    truth = truth if isinstance(truth, xr.DataArray) else xr.full_like(series.elements, bool(truth))
    truth = xr.broadcast(truth, series.elements)[0].transpose(*series.elements.dims)
    met = Series((truth.fillna(0) != 0).astype(series.array.dtype), ELEMENT, length=series.length)
    return Series(met.array.copy(data=_with_elements(met, 0)), ELEMENT)


def _last_of_all(series: Series) -> xr.DataArray:
    """The last element of each pixel, missing or not."""
    assert series.length is not None
    places = xr.DataArray(np.arange(series.size), dims=series.dim)
    return series.array.where(places == series.length - 1).max(series.dim)


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
    if isinstance(data, Series) and data.length is not None and not ignore_nodata:
        return _last_of_all(data)  # type: ignore[return-value]
    return _reduce(data, lambda v, axis: _pick(v, axis, True, ignore_nodata), True)  # type: ignore[return-value]


def _extrema_length(arguments: Mapping[str, Any], lengths: Mapping[str, Length]) -> Length:
    return Length(0, 2)


@operator("extrema", length=_extrema_length, method=None)
def extrema(data: Array, ignore_nodata: bool = True) -> Array:
    """The smallest and the largest value, as an array of two.

    ```python
    ndvi.apply_dimension("extrema", "t", "bands")
    ```

    Missing values are ignored unless `ignore_nodata` is false; where nothing is left both are missing.
    """
    both = [_reduce(data, fn, ignore_nodata) for fn in (_smallest, _largest)]
    return Series(stacked(both), ELEMENT)  # type: ignore[return-value]


def _smallest(values: np.ndarray, axis: int) -> np.ndarray:
    return bn.nanmin(values, axis=axis)


def _largest(values: np.ndarray, axis: int) -> np.ndarray:
    return bn.nanmax(values, axis=axis)


def _decided(data: Any, decisive: bool, ignore_nodata: bool) -> xr.DataArray:
    """The truth value that decides where one element has it, else the other one; unknown where one may have had it."""
    series = as_series(data)
    values = _with_elements(series, np.nan)
    unknown = np.isnan(_with_elements(series, 0))

    def decide(values: np.ndarray, axis: int) -> np.ndarray:
        found = ((values != 0) == decisive) & ~np.isnan(values)
        return np.where(found.any(axis=axis), float(decisive), float(not decisive))

    made = _reduce(Series(series.array.copy(data=values), series.dim), decide, True)
    if not series.size:
        return xr.full_like(made, float(not decisive))
    if ignore_nodata:
        return made
    axis = series.array.get_axis_num(series.dim)
    return made.where((made == float(decisive)) | ~unknown.any(axis=axis))


@operator("all", strict=False)
def all_(data: Array, ignore_nodata: bool = True) -> Scalar:
    """1 where all values are true (not 0), else 0; of none, too, it is 1.

    ```python
    (ndvi > 0.2).all("t")
    ```

    Missing values are ignored; with `ignore_nodata` false they are unknown, and so is the result where all others are
    true.
    """
    return _decided(data, False, ignore_nodata)  # type: ignore[return-value]


@operator("any", strict=False)
def any_(data: Array, ignore_nodata: bool = True) -> Scalar:
    """1 where at least one value is true (not 0), else 0; of none, too, it is 0.

    ```python
    (ndvi > 0.2).any("t")
    ```

    Missing values are ignored; with `ignore_nodata` false they are unknown, and so is the result where no other is
    true.
    """
    return _decided(data, True, ignore_nodata)  # type: ignore[return-value]


def _number_of(arguments: Mapping[str, Any]) -> int:
    probabilities = arguments["probabilities"]
    return len(probabilities) if probabilities is not None else arguments["q"] - 1


def _quantiles_cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    given = {"probabilities": None, "q": 2, **arguments}
    return Cost((20e-9 + 3e-9 * _number_of(given)) * rows * columns)


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


def _one_of_both(arguments: Mapping[str, Any]) -> None:
    given = [arguments[name] is not None for name in ("probabilities", "q")]
    if sum(given) != 1:
        name = "QuantilesParameterConflict" if all(given) else "QuantilesParameterMissing"
        raise Refused(name, "give `probabilities`, or the number of intervals `q` of older documents")
    asked = arguments["probabilities"]
    if isinstance(asked, list) and any(a >= b for a, b in zip(asked, asked[1:], strict=False)):
        raise Refused("AscendingProbabilitiesRequired", f"the probabilities must ascend; they are {asked}")


def _intervals(number: int | list[float]) -> list[float]:
    """The limits between so many intervals of the same probability."""
    return [k / number for k in range(1, number)] if isinstance(number, int) else number


Intervals = Annotated[int, Field(ge=2, le=101)]
Probabilities = Annotated[
    Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=100)] | Intervals,
    AfterValidator(_intervals),
]


@operator(
    "quantiles", cost=_quantiles_cost, code="QUANTILE", method=_quantile, rule=_one_of_both,
    length=lambda arguments, lengths: Length(0, _number_of(arguments)),
)  # fmt: skip
def quantiles(
    data: Array, probabilities: Probabilities | None = None, ignore_nodata: bool = True, q: Intervals | None = None
) -> Array:
    """Quantiles at the given probabilities, or between so many intervals of the same probability, as an array.

    ```python
    ndvi.quantile(0.9, "t")
    ndvi.apply_dimension(lambda data: data.quantiles(4), "t", "bands")
    ```

    Missing values are ignored unless `ignore_nodata` is false; where nothing is left all are missing.
    """

    parts = []
    probabilities = _intervals(probabilities or q or [])
    series = as_series(data)
    array, dim = series.array, series.dim
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
    return Series(xr.concat(parts, dim="quantile"), "quantile")  # type: ignore[return-value]


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
