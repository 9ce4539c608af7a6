"""A series as one colour: when, how changing, how bright."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import AfterValidator, Field

from muses_lab.errors import BandError
from muses_lab.operators.composites import without_dates
from muses_lab.operators.contract import Cost, Cube, Meta
from muses_lab.operators.cubes import instant
from muses_lab.operators.declare import operator
from muses_lab.resources import cancel

_VALUE = 25e-9
"""Seconds for a value of a series."""
_DAY = np.timedelta64(1, "D")


def _shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = without_dates("hsv_composite", metas["data"])
    if meta.bands is not None:
        raise BandError(
            f"hsv_composite takes one value a date, not the bands {', '.join(meta.bands)}: choose one with .band(…)"
        )
    return Meta(False, ("red", "green", "blue"))


def _date(value: str) -> str:
    try:
        instant(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an ISO 8601 date") from None
    return value


def speckle_variation(looks: float) -> float:
    """Coefficient of variation of the amplitude of fully developed speckle of so many looks."""
    log = 2 * (math.lgamma(looks) - math.lgamma(looks + 0.5)) + math.log(looks)
    return math.sqrt(max(math.exp(log) - 1, 0.0))


@operator(
    "muses:hsv_composite",
    shape=_shape,
    needs=lambda arguments, metas, wanted: {"data": None},
    reduces="t",
    cost=lambda arguments, pixel_size, rows, columns: Cost(_VALUE * rows * columns, 80 * rows * columns),
)
def hsv_composite(
    data: Cube,
    brightest: Annotated[float, Field(gt=0, le=1e9)] = 1.0,
    start: Annotated[str, AfterValidator(_date)] = "1970-01-01",
    period: Annotated[float, Field(gt=0, le=100_000)] = 365.25,
    steady: Annotated[float, Field(ge=0, le=100)] = 0.0,
    changing: Annotated[float, Field(gt=0, le=100)] = 1.0,
    looks: Annotated[float, Field(gt=0, le=10_000)] | None = None,
) -> Cube:
    """A series as one colour: its hue says when it was largest, its saturation how it changes, its value how large.

    ```python
    ndvi.hsv_composite(brightest=0.9)                                           # hue by the season of the peak
    ndvi.hsv_composite(brightest=0.9, start="2018-01-01", period=400)           # hue by the date of an event
    ```

    Hue: the date of the largest value, as a share of the `period` (days) that has begun at `start` or full periods
    later: with a year the season (red is 1 January, green May, blue September). Give a period longer than the series
    for the date of a change, so that the last does not look as the first. Saturation: the coefficient of variation
    (standard deviation, divided by n, over the mean), from 0 where it is `steady` or less to 1 where it is `changing`
    or more. Value: the maximum, from 0 to 1 at `brightest`. The result has the bands `red`, `green` and `blue` from 0
    to 1. Of several largest values the first counts. All limits are arguments, so that a colour means the same on every
    tile and at every zoom.

    With `looks` it is REACTIV, of the amplitude (the square root of the power) of a radar series: `steady` is then the
    coefficient of variation of speckle of so many looks, and `changing` one more than that.

    Valid dates only; missing where none is. Where the mean is 0 or less, the coefficient of variation has no meaning:
    saturation is 0.

    Colin Koeniguer, E. & Nicolas, J.-M. (2020), Remote Sensing 12, 2089, doi:10.3390/rs12132089 (REACTIV).
    """
    values = np.asarray(data.data)
    days = (data.t.values.astype("M8[ns]") - instant(start)) / _DAY
    least = steady if looks is None else speckle_variation(looks)
    most = changing if looks is None else least + changing
    out = np.empty((3, *values.shape[1:]), values.dtype)
    for first, last in cancel.stripes(values.shape[1], values.shape[2] * len(values) * _VALUE):
        out[:, first:last] = _colours(values[:, first:last], days % period / period, brightest, least, most)
    coords = {"bands": ["red", "green", "blue"], **{d: data.coords[d] for d in ("y", "x") if d in data.coords}}
    return xr.DataArray(out, dims=("bands", "y", "x"), coords=coords)


def _colours(values: np.ndarray, hues: np.ndarray, brightest: float, least: float, most: float) -> np.ndarray:
    """Colours (3, y, x) of series (dates, y, x) of which each date has a hue."""
    shape = values.shape[1:]
    count, total, squares = (np.zeros(shape) for _ in range(3))
    largest, hue = np.full(shape, -np.inf), np.zeros(shape)
    for image, one in zip(values, hues, strict=True):
        there = ~np.isnan(image)
        count += there
        total += np.where(there, image, 0)
        larger = there & (image > largest)
        largest[larger], hue[larger] = image[larger], one
    with np.errstate(all="ignore"):
        mean = total / count
        for image in values:
            squares += np.where(np.isnan(image), 0, (image - mean) ** 2)
        variation = np.where(mean > 0, np.sqrt(squares / count) / mean, 0)
        share = (variation - least) / (most - least)
        saturation = np.clip(np.where(np.isnan(share), 0, share), 0, 1)
        value = np.clip(largest / brightest, 0, 1)
    # of (Smith 1978) the form without cases: each colour is as far from full as the hue is from its own
    turned = (np.array([5.0, 3.0, 1.0])[:, None, None] + 6 * hue) % 6
    faded = np.clip(np.minimum(turned, 4 - turned), 0, 1)
    return np.where(count > 0, value - value * saturation * faded, np.nan)
