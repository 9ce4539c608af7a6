"""Trends of series: straight lines by least squares, slopes of Theil and Sen, the test of Mann and Kendall."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import special

from muses_lab.operators import series_kernels as kernels
from muses_lab.operators.contract import Cube
from muses_lab.operators.declare import operator
from muses_lab.operators.series import EPOCH, YEAR, Date, cost, day_of, few_pixels, one_band, reduced, to_bands

_LINE, _SLOPES, _SIGNS, _SEASONS = 15e-9, 400e-9, 60e-9, 100e-9
"""Seconds for a value of a series of 72 dates."""

_OLS = "slope", "intercept", "r2", "p", "count"
_KENDALL = "s", "tau", "z", "p", "count"
_SEN = "slope", "intercept", *_KENDALL
_SEASONAL = "slope", *_KENDALL


def _years(days: np.ndarray, origin: str) -> np.ndarray:
    return (days - day_of(origin)) / YEAR


@operator(
    "muses:trend",
    shape=to_bands("trend", lambda arguments: _OLS),
    needs=one_band(),
    reduces="t",
    cost=cost(_LINE),
)
def trend(data: Cube, origin: Date = EPOCH) -> Cube:
    """The straight line through a series by ordinary least squares, and how sure it is.

    ```python
    ndvi.trend()
    ndvi.trend(origin="2018-01-01").band("slope")
    ```

    The result has the bands `slope` (the unit of the series, per year of 365.25 days), `intercept` (the value of the
    line on the date `origin`, in the unit of the series), `r2` (the share of the variance that the line explains, 0 to
    1), `p` (two-sided, of the hypothesis that there is no slope: Student's t with `count` - 2 degrees of freedom) and
    `count` (of the valid dates). p takes dates as independent of each other, which neighbouring dates seldom are.

    Missing dates are left out. All but the count are missing where fewer than three dates are valid. A constant series
    has slope 0, r2 0 and p 1.
    """

    def fitted(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = np.empty((len(values), 4))
        kernels.line(values, _years(days, origin), found)
        count, slope, intercept, r2 = found.T
        with np.errstate(all="ignore"):
            t = np.sqrt(r2 * (count - 2) / (1 - r2))
        return np.stack([slope, intercept, r2, 2 * special.stdtr(count - 2, -t), count])

    return reduced(data, _OLS, fitted, _LINE)


@operator(
    "muses:mann_kendall",
    shape=to_bands("mann_kendall", lambda arguments: _KENDALL),
    needs=one_band(),
    reduces="t",
    cost=cost(_SIGNS),
)
def mann_kendall(data: Cube) -> Cube:
    """The test of Mann and Kendall: whether a series rises or falls, whatever the shape of it.

    ```python
    ndvi.mann_kendall()
    ndvi.mann_kendall().band("p") < 0.05
    ```

    The result has the bands `s` (pairs of dates of which the later value is larger, less those of which it is smaller),
    `tau` (s by the number of pairs, -1 to 1), `z` (s, one nearer to 0, by its standard deviation with its correction
    for ties), `p` (two-sided, of the hypothesis that there is no trend, by the normal distribution) and `count` (of the
    valid dates). p takes dates as independent of each other and without seasons: see `seasonal_mann_kendall`.

    Missing dates are left out. All but the count are missing where fewer than three dates are valid; of fewer than ten
    p is rough. A constant series has s 0 and p 1.

    Mann, H. B. (1945), Econometrica 13, 245–259; Kendall, M. G. (1975), Rank Correlation Methods. As in pymannkendall.
    """

    def tested(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        count, s, tau, z, p, _, _ = _kendall(values, days, False)
        return np.stack([s, tau, z, p, count])

    return reduced(data, _KENDALL, tested, _SIGNS)


@operator(
    "muses:theil_sen",
    shape=to_bands("theil_sen", lambda arguments: _SEN),
    needs=one_band(),
    reduces="t",
    cost=cost(_SLOPES),
)
def theil_sen(data: Cube, origin: Date = EPOCH) -> Cube:
    """The slope of Theil and Sen, which outliers hardly change, with the test of Mann and Kendall.

    ```python
    ndvi.theil_sen()
    ndvi.theil_sen(origin="2018-01-01").band("slope")
    ```

    The result has the bands `slope` (the median of the slopes of all pairs of valid dates: the unit of the series, per
    year of 365.25 days), `intercept` (median of the values - slope × median of the years since the date `origin`: the
    value of the line on that date), and those of `mann_kendall`: `s`, `tau`, `z`, `p`, `count`.

    Missing dates are left out. All but the count are missing where fewer than three dates are valid. It takes a time
    that grows with the square of the number of dates.

    Sen, P. K. (1968), Journal of the American Statistical Association 63, 1379–1389.
    """

    def fitted(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        count, s, tau, z, p, slope, intercept = _kendall(values, _years(days, origin), True)
        return np.stack([slope, intercept, s, tau, z, p, count])

    return reduced(data, _SEN, fitted, _SLOPES)


def _kendall(values: np.ndarray, years: np.ndarray, with_slope: bool) -> np.ndarray:
    found = np.empty((len(values), 7))
    kernels.mann_kendall(values, years, with_slope, found)
    return found.T


@operator(
    "muses:seasonal_mann_kendall",
    shape=to_bands("seasonal_mann_kendall", lambda arguments: _SEASONAL),
    needs=one_band(),
    reduces="t",
    cost=cost(_SEASONS),
)
def seasonal_mann_kendall(data: Cube, season: Literal["month", "quarter"] = "month") -> Cube:
    """The test of Mann and Kendall within each month of the year, and the slope of Sen, from year to year.

    ```python
    ndvi.seasonal_mann_kendall()
    ndvi.seasonal_mann_kendall("quarter").band("slope")
    ```

    The valid dates of a month (or calendar quarter) of a year are averaged. Values of the same month of different years
    are compared as in `mann_kendall`; S and its variance are summed over the months. The result has the bands `slope`
    (the median of the slopes of all those pairs: the unit of the series, per year), `s`, `tau`, `z`, `p`, and `count`
    (of the months with a valid date, of all years).

    Missing months are left out. All but the count are missing where there are fewer than three pairs.

    Hirsch, R. M., Slack, J. R. & Smith, R. A. (1982), Water Resources Research 18, 107–121. As in pymannkendall.
    """

    def tested(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        months = np.floor(days).astype("M8[D]").astype("M8[M]").astype(np.int64)
        years = months // 12
        first = years[0] if len(years) else 0
        seasons, cells = (12, months % 12) if season == "month" else (4, months % 12 // 3)
        found = np.empty((len(values), 6))
        number = int(years[-1] - first) + 1 if len(years) else 1
        kernels.seasonal_mann_kendall(values, years - first, cells, number, seasons, found)
        count, s, tau, z, p, slope = found.T
        return np.stack([slope, s, tau, z, p, count])

    return reduced(data, _SEASONAL, tested, _SEASONS)


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    trend(few_pixels())
    theil_sen(few_pixels())
    seasonal_mann_kendall(few_pixels())
