"""Arrays in another order: openEO `order`, `rearrange`, `sort`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from muses_lab.document.graph import Node
from muses_lab.errors import DocumentError
from muses_lab.operators.callbacks import ELEMENT, Series, as_series
from muses_lab.operators.contract import Array, Cost, Length
from muses_lab.operators.declare import operator
from muses_lab.operators.methods import Dimension, each_along
from muses_lab.resources import cancel

NAN = np.float32("nan")


def _sorted_cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    return Cost(40e-9 * rows * columns, bytes=8 * rows * columns)


def _permutation(series: Series, asc: bool, nodata: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """Places in order, and how many elements each pixel has of them; ties stay in their order."""
    values = np.asarray(series.elements.data)
    missing = np.isnan(values)
    count = missing.shape[0] - missing.sum(axis=0)
    keys = values if asc else -values
    if nodata is False:
        keys = np.where(missing, -np.inf, keys)
    order = np.empty(values.shape, np.intp)
    for first, last in cancel.stripes(values.shape[1], cancel.LONGEST) if values.ndim > 1 else [(0, None)]:
        piece = (slice(None), slice(first, last)) if values.ndim > 1 else (slice(None),)
        by_value = np.argsort(keys[piece], axis=0, kind="stable")
        if nodata is False:  # those that are missing before those that are -infinity
            there = np.take_along_axis(~missing[piece], by_value, axis=0)
            by_value = np.take_along_axis(by_value, np.argsort(there, axis=0, kind="stable"), axis=0)
        order[piece] = by_value
    return order, count


def _length(series: Series, count: np.ndarray, nodata: bool | None) -> xr.DataArray | None:
    """Of each pixel, where missing elements are removed and some has any."""
    if nodata is not None or (count == series.size).all():
        return series.length
    return series.elements.isel({ELEMENT: 0}, drop=True).copy(data=count)


def _same(arguments: Mapping[str, Any], lengths: Mapping[str, Length]) -> Length:
    return lengths["data"]._replace(labels=None)


def _checked(series: Series, nodata: bool | None) -> Series:
    if series.length is not None and nodata is not None:
        raise DocumentError(
            "sort and order with `nodata` need an array of one length; this one varies from pixel to pixel"
        )
    return series


@operator("order", strict=False, cost=_sorted_cost, length=_same, method=None)
def order(data: Array, asc: bool = True, nodata: bool | None = None) -> Array:
    """The places (0 is the first) of an array's elements in the order of their values; equal ones stay in theirs.

    ```python
    ndvi.reduce_dimension(lambda data: data.order(asc=False)[0], "t")
    ```

    Missing elements are left out; with `nodata` true they are at the end, with false at the start.
    """
    series = _checked(as_series(data), nodata)
    places, count = _permutation(series, asc, nodata)
    if nodata is None:
        places = np.where(np.arange(series.size).reshape(-1, *[1] * count.ndim) < count, places, NAN)
    values = places.astype(series.elements.dtype)
    length = _length(series, count, nodata)
    return Series(series.elements.copy(data=values), ELEMENT, length=length)  # type: ignore[return-value]


def _rearranged(arguments: Mapping[str, Any], lengths: Mapping[str, Length]) -> Length:
    return lengths["order"]._replace(labels=None)


@operator("rearrange", strict=False, cost=_sorted_cost, length=_rearranged, method=None)
def rearrange(data: Array, order: Array) -> Array:
    """The elements of an array that are at the places given (0 is the first), in their order.

    ```python
    s2.apply_dimension(lambda data: data.rearrange([2, 1, 0]), "bands")
    ndvi.apply_dimension(lambda data: data.rearrange(data.order(nodata=True)), "t")
    ```

    Missing where the place is missing, or computed of values and no element is there.
    """
    series, places = as_series(data), as_series(order)
    if isinstance(order, list):
        for place in order:
            if not isinstance(place, xr.DataArray) and (place is None or not 0 <= place < series.size):
                raise DocumentError(
                    f"rearrange: there is no element {place} in an array of {series.size}; the first is 0",
                    openeo="ArrayElementNotAvailable",
                )
    values, at = (a.transpose(ELEMENT, ...) for a in xr.broadcast(series.elements, places.elements, exclude=[ELEMENT]))
    at = at.transpose(*values.dims)
    there = np.isfinite(at.values) & (at.values >= 0) & (at.values < series.size)
    if series.size:
        picked = np.take_along_axis(values.values, np.where(there, at.values, 0).astype(np.intp), axis=0)
    else:
        picked = np.full(there.shape, NAN)
    out = np.where(there, picked, NAN).astype(values.dtype, copy=False)
    return Series(at.copy(data=out), ELEMENT, length=places.length)  # type: ignore[return-value]


def _sort(data: Node, dim: Dimension = "t", asc: bool = True) -> Node:
    """The values along a dimension in the order of their size, the smallest first; missing ones at the end.

    ```python
    ndvi.sort("t")
    ndvi.sort("t", asc=False)
    ```

    Dates and bands stay where they are: the first date has the smallest value.
    """
    return each_along(data, dim, "sort", asc=asc, nodata=True)


@operator("sort", strict=False, cost=_sorted_cost, length=_same, method=_sort)
def sort(data: Array, asc: bool = True, nodata: bool | None = None) -> Array:
    """The elements of an array in the order of their values, the smallest first, with `asc` false the largest.

    ```python
    ndvi.sort("t")
    ndvi.reduce_dimension(lambda data: data.sort(asc=False)[0], "t")
    ```

    Missing elements are left out (a cube has them at the end); with `nodata` true they are at the end, with false at
    the start.
    """
    series = _checked(as_series(data), nodata)
    places, count = _permutation(series, asc, nodata)
    values = np.take_along_axis(np.asarray(series.elements.data), places, axis=0)
    length = _length(series, count, nodata)
    return Series(series.elements.copy(data=values), ELEMENT, length=length)  # type: ignore[return-value]
