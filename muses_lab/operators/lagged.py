"""Correlation of two series some days apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy import special

from muses_lab.operators import series_kernels as kernels
from muses_lab.operators.contract import Cost, Cube
from muses_lab.operators.declare import operator
from muses_lab.operators.series import cost, few_pixels, one_band, reduced, to_bands

_LAG = 6e-9
"""Seconds for a value and a lag."""

_MOST = 366
"""Lags that are tried."""

_BANDS = "lag", "r", "p", "p_of_all", "count"


def _some_lags(arguments: Mapping[str, Any]) -> None:
    if arguments["min_lag"] > arguments["max_lag"]:
        raise ValueError(f"min_lag ({arguments['min_lag']:g}) must not exceed max_lag ({arguments['max_lag']:g})")
    number = (arguments["max_lag"] - arguments["min_lag"]) // arguments["step"] + 1
    if number > _MOST:
        raise ValueError(f"these are {number:.0f} lags, and the most are {_MOST}: choose a longer step")


def _lags(min_lag: float, max_lag: float, step: float) -> np.ndarray:
    """In days; the nearest to 0 first, and of two as near the positive one."""
    lags = min_lag + step * np.arange(int((max_lag - min_lag) / step + 1e-9) + 1)
    return lags[np.lexsort((-lags, np.abs(lags)))]


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    number = len(_lags(arguments["min_lag"], arguments["max_lag"], arguments["step"]))
    return cost(_LAG * number, 6)(arguments, pixel_size, rows, columns)


@operator(
    "muses:lagged_correlation",
    shape=to_bands("lagged_correlation", lambda arguments: _BANDS, "other"),
    needs=one_band("data", "other"),
    rule=_some_lags,
    reduces="t",
    cost=_cost,
)
def lagged_correlation(
    data: Cube,
    other: Cube,
    max_lag: Annotated[float, Field(ge=-10_000, le=10_000)] = 60.0,
    step: Annotated[float, Field(gt=0, le=10_000)] = 10.0,
    min_lag: Annotated[float, Field(ge=-10_000, le=10_000)] = 0.0,
    least: Annotated[int, Field(ge=3, le=100_000)] = 5,
) -> Cube:
    """How strongly another series follows this one, and after how many days.

    ```python
    ndvi.lagged_correlation(s2.mask_clouds().band("red"), max_lag=30)
    ndvi.lagged_correlation(s2.mask_clouds().band("red"), min_lag=-20, max_lag=20, step=5).band("lag")
    ```

    For each lag from `min_lag` to `max_lag` days, every `step` days, each valid date of this series is paired with the
    value of the other one so many days later, on the straight line between its valid dates (not beyond the first and
    last one); their Pearson correlation is taken where there are `least` pairs or more. The result has the bands `lag`
    (of the strongest correlation, positive or negative; days by which the other series comes later; of equal ones the
    nearest to 0), `r` (-1 to 1), `p` (two-sided, of the hypothesis that r is 0: Student's t with `count` - 2 degrees of
    freedom), `p_of_all` (p times the number of lags, at most 1: the best of many tests looks better than it is) and
    `count` (of the pairs). p takes dates as independent of each other: series of seasons always correlate at some lag.

    Missing dates are left out. All is missing where no lag has so many pairs, or one of the series is constant.
    """
    lags = _lags(min_lag, max_lag, step)

    def correlated(days: np.ndarray, values: np.ndarray, others: np.ndarray) -> np.ndarray:
        found = np.empty((len(values), 3))
        kernels.lagged(values, others, days, lags, least, found)
        lag, r, count = found.T
        with np.errstate(all="ignore"):
            p = 2 * special.stdtr(count - 2, -np.sqrt(r**2 * (count - 2) / (1 - r**2)))
        return np.stack([lag, r, p, np.minimum(p * len(lags), 1), count])

    return reduced(data, _BANDS, correlated, _LAG * len(lags), other)


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    lagged_correlation(few_pixels(), few_pixels())
