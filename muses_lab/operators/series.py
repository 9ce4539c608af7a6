"""What operators on the series of a pixel have in common: what they take, their dates in days, pixels in stripes.

Days are counted from the date `origin`, years are of 365.25 days. Dates may come in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import AfterValidator

from muses_lab.errors import DocumentError
from muses_lab.operators.contract import Cost, CostOf, Meta, Needs, Shape
from muses_lab.operators.cubes import instant
from muses_lab.operators.given import moment
from muses_lab.resources.cancel import stripes

YEAR = 365.25
"""Days."""

EPOCH = "1970-01-01"

_AT_ONCE = 1 << 20
"""Values that are worked on at a time, as stripes of whole rows: they bound the working memory."""
_LONG = 1000
"""Dates that a series is taken to have, for its memory: more are worked on in narrower stripes."""


def _date(value: str) -> str:
    try:
        return str(moment(value))
    except ValueError as error:
        raise ValueError(str(error)) from None


Date = Annotated[str, AfterValidator(_date)]
"""An ISO date or time; UTC where it has no zone."""


def days_since(times: np.ndarray, origin: str = EPOCH) -> np.ndarray:
    """Dates as days since a date, with fractions."""
    return (times.astype("M8[ns]") - instant(origin)) / np.timedelta64(1, "D")


def day_of(date: str) -> float:
    """A date as days since 1970-01-01."""
    return float(days_since(np.array(instant(date))))


# -------------------------------------------------------------------------------------------------- declarations


def with_dates(name: str) -> Shape:
    """The shape of a result that keeps the dates of its first cube, which has to have some; bands as they are."""

    def shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
        _check_time(name, metas["data"])
        return metas["data"]

    return shape


def to_bands(name: str, bands: Callable[[Mapping[str, Any]], Sequence[str]], *others: str) -> Shape:
    """The shape of a result that has bands instead of dates: of one band or an index, as its other cubes."""

    def shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
        for cube in ("data", *others):
            _check_time(name, metas[cube])
            if metas[cube].bands is not None:
                listed = ", ".join(metas[cube].bands or ())
                raise DocumentError(f"{name} takes one band or an index, not {listed}: choose one with .band(…)")
        return Meta(False, tuple(bands(arguments)))

    return shape


def _check_time(name: str, meta: Meta) -> None:
    if not meta.time:
        raise DocumentError(f"{name} takes a series: the dimension 't' has been reduced already")


def one_band(*cubes: str) -> Needs:
    """The needs of an operator whose cubes have no bands."""
    return lambda arguments, metas, wanted: dict.fromkeys(cubes or ("data",))


def cost(seconds: float, copies: int = 3) -> CostOf:
    """Of an operator that takes so many seconds for a value, and double-precision copies of the pixels at work."""

    def of(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
        return Cost(seconds * rows * columns, 8 * copies * min(_LONG * rows * columns, _AT_ONCE))

    return of


# --------------------------------------------------------------------------------------------------- evaluation

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""(values, days since 1970-01-01, out) of some pixels: fills `out`."""


def each_series(data: xr.DataArray, kernel: Kernel, seconds: float, by_date: bool = False) -> xr.DataArray:
    """The cube with every series replaced by what a kernel makes of it.

    Parameters
    ----------
    data
        Dimensions t, bands (or not), y, x.
    kernel
        Gets float64 values (pixels, dates) in the order of dates, and `out` of that shape.
    seconds
        What it takes for a value.
    by_date
        Whether the kernel takes and gives (dates, pixels) instead.
    """
    order = _order(data.t.values)
    values, days = _in_order(np.asarray(data.data), order), days_since(data.t.values[order])
    out = np.empty(values.shape, values.dtype)
    for place in np.ndindex(values.shape[1:-2]):
        one, result = values[(slice(None), *place)], out[(slice(None), *place)]
        for first, last in pieces(one.shape, seconds):
            piece = _flat(one[:, first:last], by_date)
            made = np.empty_like(piece)
            kernel(piece, days, made)
            result[:, first:last] = (made if by_date else made.T).reshape(result[:, first:last].shape)
    return data.copy(data=_in_order(out, np.argsort(order)))


def reduced(
    data: xr.DataArray, bands: Sequence[str], kernel: Callable[..., np.ndarray], seconds: float, *others: xr.DataArray,
    by_date: bool = False,
) -> xr.DataArray:  # fmt: skip
    """A cube of bands instead of dates.

    Parameters
    ----------
    data, others
        Dimensions t, y, x, on the same dates.
    bands
        Names.
    kernel
        (days since 1970-01-01, float64 values (pixels, dates), those of each other cube) → (bands, pixels).
    seconds
        What it takes for a value.
    by_date
        Whether the kernel takes (dates, pixels) instead.
    """
    order = _order(data.t.values)
    days = days_since(data.t.values[order])
    cubes = [_in_order(np.asarray(cube.data), order) for cube in (data, *others)]
    rows, columns = cubes[0].shape[1:]
    out = np.empty((len(bands), rows, columns), cubes[0].dtype)
    for first, last in pieces(cubes[0].shape, seconds):
        made = kernel(days, *[_flat(values[:, first:last], by_date) for values in cubes])
        out[:, first:last] = made.reshape(len(bands), last - first, columns)
    coords = {"bands": list(bands), **{d: data.coords[d] for d in ("y", "x") if d in data.coords}}
    return xr.DataArray(out, dims=("bands", "y", "x"), coords=coords)


def _order(times: np.ndarray) -> np.ndarray:
    return np.argsort(times, kind="stable")


def _in_order(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    return values if (order[1:] > order[:-1]).all() else values[order]


def pieces(shape: tuple[int, ...], seconds: float) -> Iterator[tuple[int, int]]:
    """First rows and ends of pieces, of (dates, rows, columns); the cancel flag is looked at now and then."""
    dates, rows, columns = shape
    most = max(1, _AT_ONCE // max(dates * columns, 1))
    for first, last in stripes(rows, max(dates * columns, 1) * seconds):
        for start in range(first, last, most):
            yield start, min(start + most, last)


def _flat(values: np.ndarray, by_date: bool) -> np.ndarray:
    """(dates, rows, columns) as (pixels, dates), or (dates, pixels), in double precision."""
    flat = values.reshape(len(values), values.shape[1] * values.shape[2])
    return np.array(flat if by_date else flat.T, dtype=np.float64, order="C")


def few_pixels() -> xr.DataArray:
    """A short series of four pixels in double precision, which all operators on series work in: to compile them."""
    times = np.arange(8).astype("M8[D]").astype("M8[ns]")
    return xr.DataArray(np.arange(32.0).reshape(8, 2, 2), dims=("t", "y", "x"), coords={"t": times})
