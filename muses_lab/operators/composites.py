"""Composites that choose dates: the best by a score, and the nearest to a date."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from numba import njit
from pydantic import AfterValidator, Field

from muses_lab.document.graph import Node
from muses_lab.errors import BandError, DocumentError
from muses_lab.operators.contract import Cost, Cube, Meta, same_bands
from muses_lab.operators.cubes import instant
from muses_lab.operators.declare import operator
from muses_lab.operators.geomedian import image_of, taken
from muses_lab.operators.given import moment
from muses_lab.operators.methods import on_cube
from muses_lab.resources import cancel

_CHOSEN = 4e-9
"""Seconds for a value of a score, and for one of which the date is taken."""
_FILLED = 2e-9
"""Seconds for a value that may fill a pixel."""


def without_dates(name: str, meta: Meta) -> Meta:
    """The shape of a composite: a series without its dates; complains of what is none."""
    if not meta.time:
        raise DocumentError(f"{name} takes a series: the dimension 't' has been reduced already")
    return Meta(False, meta.bands, meta.common)


def _best_shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    score = metas["score"]
    if not score.time:
        raise DocumentError("the score of best_pixel takes part date by date: it has been reduced over 't' already")
    if score.bands is not None:
        raise BandError(
            f"the score of best_pixel is one value a date, not of the bands {', '.join(score.bands)}: choose one with "
            ".band(…), or an index"
        )
    return without_dates("best_pixel", metas["data"])


@njit(cache=True, nogil=True)
def _best(score, largest, first, last, place):
    """Rows `first` to `last`: the first date with the largest (or smallest) score; -1 where none has one."""
    dates, _, columns = score.shape
    best = np.empty(columns, score.dtype)
    for r in range(first, last):
        place[r] = -1
        for t in range(dates):
            for c in range(columns):
                v = score[t, r, c]
                if v == v and (place[r, c] < 0 or (v > best[c] if largest else v < best[c])):
                    best[c] = v
                    place[r, c] = t


@operator(
    "muses:best_pixel",
    shape=_best_shape,
    needs=lambda arguments, metas, wanted: {**same_bands(arguments, {"data": metas["data"]}, wanted), "score": None},
    reduces="t",
    cost=lambda arguments, pixel_size, rows, columns: Cost(_CHOSEN * rows * columns, 8 * rows * columns),
)
def best_pixel(data: Cube, score: Cube, pick: Literal["max", "min"] = "max") -> Cube:
    """Best pixel: all bands of the date on which a score is largest (or smallest).

    ```python
    s2.bands("red", "nir").mask_clouds().best_pixel(s2.mask_clouds().ndvi())    # greenest
    s2.bands("red", "nir").mask_clouds().best_pixel(s2.mask_clouds().band("blue"), pick="min")
    ```

    Of each pixel the date with the largest `score` (a chain with dates and one value each: an index, a band) among
    those on which it is valid; of several the earliest. With an index it is the maximum-index composite (Earth Engine's
    `qualityMosaic`). All bands are of that one date, in their unit; a band that is missing on it is missing here, so
    mask the data and the score alike. Missing where the score is on all dates. For the day nearest to a date see
    `nearest_date`.

    Holben, B. N. (1986), International Journal of Remote Sensing 7, 1417–1434 (of maximum NDVI).
    """
    scores = np.ascontiguousarray(score.data)
    place = np.empty(scores.shape[1:], np.int64)
    for first, last in cancel.stripes(scores.shape[1], scores.shape[2] * len(scores) * _CHOSEN):
        _best(scores, pick == "max", first, last, place)
    bands = data.bands.values.tolist() if "bands" in data.dims else None
    return image_of(data, taken(np.asarray(data.data), place), bands)


def _date(value: str) -> str:
    try:
        instant(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an ISO 8601 date") from None
    return value


def _nearest_date(data: Node, date: Any, within: float | None = None) -> Node:
    """Of each pixel the valid value nearest to a date; `within` so many days, if that is given.

    ```python
    s2.bands("red", "nir").mask_clouds().nearest_date("2018-06-15")
    s2.mask_clouds().ndvi().nearest_date(date(2018, 6, 15), within=30)
    ```

    Texts (ISO; a month or year is its first day), `date`, `datetime`, pandas' `Timestamp`; without a zone in UTC. Of
    two dates as near the earlier one. Band by band, so that all bands are of one date where the same dates are valid.
    """
    return on_cube(data, "muses:nearest_date", date=moment(date), within=within)


@operator(
    "muses:nearest_date",
    shape=lambda arguments, metas: without_dates("nearest_date", metas["data"]),
    needs=same_bands,
    reduces="t",
    cost=lambda arguments, pixel_size, rows, columns: Cost(_FILLED * rows * columns, rows * columns),
    method=_nearest_date,
)
def nearest_date(
    data: Cube,
    date: Annotated[str, AfterValidator(_date)],
    within: Annotated[float, Field(gt=0, le=100_000)] | None = None,
) -> Cube:
    """Of each pixel the valid value nearest to a date; `within` so many days, if that is given.

    ```python
    s2.bands("red", "nir").mask_clouds().nearest_date("2018-06-15")
    s2.mask_clouds().ndvi().nearest_date(date(2018, 6, 15), within=30)
    ```

    Each band has the value of the valid date that is the fewest days (and parts of them) from `date`, in its unit; of
    two as near the earlier one. Band by band, so that all bands are of one date where the same dates are valid, as
    after `mask_clouds`. Missing where no date is valid, or none `within` so many days.
    """
    values = np.asarray(data.data)
    away = np.abs((data.t.values.astype("M8[ns]") - instant(date)) / np.timedelta64(1, "D"))
    out = np.full(values.shape[1:], np.nan, values.dtype)
    for t in np.argsort(away, kind="stable"):
        cancel.check()
        if within is not None and away[t] > within:
            break
        np.copyto(out, values[t], where=np.isnan(out))
    return image_of(data, out, data.bands.values.tolist() if "bands" in data.dims else None)


@operator(
    "muses:frequency",
    shape=lambda arguments, metas: without_dates("frequency", metas["data"]),
    needs=same_bands,
    reduces="t",
    cost=lambda arguments, pixel_size, rows, columns: Cost(_FILLED * rows * columns, 9 * rows * columns),
)
def frequency(data: Cube) -> Cube:
    """How often a condition holds: the share of the valid dates, from 0 to 1, on which it is true (not zero).

    ```python
    (s2.mask_clouds().ndwi() > 0).frequency()       # of open water
    ```

    Missing dates count neither way; missing where none is valid. `.count("t")` tells of how many it is the share.
    """
    values = np.asarray(data.data)
    valid, true = (np.zeros(values.shape[1:], np.float32) for _ in range(2))
    for image in values:
        cancel.check()
        there = ~np.isnan(image)
        valid += there
        true += there & (image != 0)
    with np.errstate(invalid="ignore"):
        share = (true / valid).astype(values.dtype)
    return xr.DataArray(
        share, dims=data.dims[1:], coords={d: data.coords[d] for d in data.dims[1:] if d in data.coords}
    )


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    for precision in (np.float32, np.float64):
        series = xr.DataArray(np.zeros((1, 8, 8), precision), dims=("t", "y", "x"))
        best_pixel(series, series)
