"""Statistics of a series side by side, one pass over it: those of TimeScan, percentiles, moments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numba import njit
from pydantic import AfterValidator, Field

from muses_lab.errors import BandError
from muses_lab.operators.composites import without_dates
from muses_lab.operators.contract import Cost, Cube, Meta
from muses_lab.operators.declare import operator
from muses_lab.operators.geomedian import in_order
from muses_lab.resources import cancel

_COUNT, _MIN, _MAX, _MEAN, _SD, _AMPLITUDE, _SLOPE, _STEEPEST, _SKEWNESS, _KURTOSIS, _PERCENTILE = range(11)
_CODES = {
    "count": _COUNT, "min": _MIN, "max": _MAX, "mean": _MEAN, "sd": _SD, "amplitude": _AMPLITUDE, "mean_slope": _SLOPE,
    "max_slope": _STEEPEST, "skewness": _SKEWNESS, "kurtosis": _KURTOSIS,
}  # fmt: skip
_VALUE, _ORDERED = 11e-9, 18e-9
"""Seconds for a value of a series, and what it takes more to put it in its place."""


def _code(name: str) -> tuple[int, float]:
    """What a statistic is, and which percentile."""
    if name == "median":
        return _PERCENTILE, 50.0
    percentile = re.fullmatch(r"p(\d{1,3}(?:\.\d+)?)", name)
    return (_PERCENTILE, float(percentile[1])) if percentile else (_CODES[name], 0.0)


def _known(name: str) -> str:
    try:
        if _code(name)[1] <= 100:
            return name
    except KeyError:
        pass
    raise ValueError(f"there is no statistic {name!r}; there are {', '.join(_CODES)}, median, and p0 to p100")


def _once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names a statistic twice")
    return names


@njit(cache=True, nogil=True, error_model="numpy")
def _moments(series, n):
    """Mean, and the sums of the squares, cubes and fourth powers of what deviates from it."""
    total = 0.0
    for t in range(n):
        total += series[t]
    mean, second, third, fourth = total / n, 0.0, 0.0, 0.0
    for t in range(n):
        d = series[t] - mean
        second += d * d
        third += d * d * d
        fourth += d * d * d * d
    return mean, second, third, fourth


@njit(cache=True, nogil=True, error_model="numpy")
def _statistics(values, codes, percentiles, ordered, first, last, out):
    """Rows `first` to `last` of (bands, statistics, y, x), of the series (dates, bands, y, x)."""
    dates, bands, _, columns = values.shape
    series = np.empty(dates)
    for b in range(bands):
        for r in range(first, last):
            for c in range(columns):
                n, low, high, change, steepest = 0, np.inf, -np.inf, 0.0, 0.0
                for t in range(dates):
                    v = np.float64(values[t, b, r, c])
                    if v == v:
                        low, high = min(low, v), max(high, v)
                        if n > 0:
                            step = abs(v - series[n - 1])
                            change += step
                            steepest = max(steepest, step)
                        series[n] = v
                        n += 1
                mean, second, third, fourth = _moments(series, n)
                if ordered and n > 0:
                    in_order(series, n)
                varied = n > 1 and low < high
                for i in range(codes.size):
                    code, found = codes[i], np.nan
                    if code == _COUNT:
                        found = float(n)
                    elif n == 0:
                        found = np.nan
                    elif code == _MIN:
                        found = low
                    elif code == _MAX:
                        found = high
                    elif code == _MEAN:
                        found = mean
                    elif code == _AMPLITUDE:
                        found = high - low
                    elif code == _PERCENTILE:
                        place = (n - 1) * percentiles[i] / 100.0
                        k = min(int(place), n - 1)
                        after = series[min(k + 1, n - 1)]
                        found = series[k] if after == series[k] else series[k] + (after - series[k]) * (place - k)
                    elif n == 1:
                        found = np.nan
                    elif code == _SD:
                        found = np.sqrt(second / (n - 1))
                    elif code == _SLOPE:
                        found = change / (n - 1)
                    elif code == _STEEPEST:
                        found = steepest
                    elif varied and code == _SKEWNESS:
                        found = third / n / (second / n) ** 1.5
                    elif varied and code == _KURTOSIS:
                        found = fourth / n / (second / n) ** 2 - 3.0
                    out[b, i, r, c] = found


def _labels(bands: tuple[str, ...] | None, statistics: list[str]) -> tuple[str, ...]:
    return tuple(statistics) if bands is None else tuple(f"{band}_{name}" for band in bands for name in statistics)


def _shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = without_dates("temporal_statistics", metas["data"])
    labels = _labels(meta.bands, arguments["statistics"])
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise BandError(f"two of the statistics would be called {twice!r}: choose bands first", band=twice)
    return Meta(False, labels)


def _needs(
    arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: tuple[str, ...] | None
) -> dict[str, tuple[str, ...] | None]:
    bands = metas["data"].bands
    if bands is None or wanted is None:
        return {"data": bands}
    return {"data": tuple(b for b in bands if set(_labels((b,), arguments["statistics"])) & set(wanted))}


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    ordered = any(_code(name)[0] == _PERCENTILE for name in arguments["statistics"])
    return Cost((_VALUE + _ORDERED * ordered) * rows * columns)


@operator("muses:temporal_statistics", shape=_shape, needs=_needs, reduces="t", cost=_cost)
def temporal_statistics(
    data: Cube,
    statistics: Annotated[
        list[Annotated[str, AfterValidator(_known)]], Field(min_length=1, max_length=100), AfterValidator(_once)
    ] = ["min", "max", "mean", "sd", "mean_slope"],  # noqa: B006
) -> Cube:
    """Statistics of each series as bands, by default those of TimeScan: min, max, mean, sd, mean slope.

    ```python
    ndvi.temporal_statistics()
    ndvi.temporal_statistics(["p10", "median", "p90", "count"]).band("p90")
    s2.bands("red", "nir").mask_clouds().temporal_statistics(["mean", "sd"])
    ```

    Over the valid dates of a series, in its unit: `min`, `max`, `mean`, `median`, `sd` (sample standard deviation, with
    n - 1), `amplitude` (max - min), `p0` to `p100` (percentiles, linear between order statistics: type 7 of Hyndman &
    Fan 1996; `p2.5` too), `mean_slope` and `max_slope` (mean and largest absolute difference of consecutive valid
    dates, whatever the days between them). Without unit: `count` (valid dates), `skewness` m3 / m2^1.5 and `kurtosis`
    m4 / m2² - 3 (of the moments divided by n). Bands are called after the statistics; of a chain with bands `red_min`,
    `red_max` and so on (with the bands' own names).

    The composite of TimeScan is the maximum of NDBI, the maximum of NDVI and the mean of NDWI as red, green and blue:
    `ml.rgb(s2.normalized_difference("swir16", "nir").max("t"), s2.ndvi().max("t"), s2.ndwi().mean("t"))`.

    Missing where no date is valid (`count` is 0); `sd` and slopes also where only one is, `skewness` and `kurtosis`
    also where all values are the same.

    Esch, T. et al. (2018), Remote Sensing of Environment 204, 227–243 (TimeScan: of NDVI, NDBI and NDWI).
    """
    cube = data if "bands" in data.dims else data.expand_dims(bands=[""], axis=1)
    values = np.ascontiguousarray(cube.data)
    codes, percentiles = (np.array(one) for one in zip(*map(_code, statistics), strict=True))
    ordered = bool((codes == _PERCENTILE).any())
    dates, bands, rows, columns = values.shape
    out = np.empty((bands, codes.size, rows, columns), values.dtype)
    for first, last in cancel.stripes(rows, columns * dates * bands * (_VALUE + _ORDERED * ordered)):
        _statistics(values, codes, percentiles, ordered, first, last, out)
    labels = _labels(tuple(data.bands.values) if "bands" in data.dims else None, statistics)
    coords = {"bands": list(labels), **{d: data.coords[d] for d in ("y", "x") if d in data.coords}}
    return xr.DataArray(out.reshape(-1, rows, columns), dims=("bands", "y", "x"), coords=coords)


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    for precision in (np.float32, np.float64):
        temporal_statistics(xr.DataArray(np.zeros((1, 8, 8), precision), dims=("t", "y", "x")))
