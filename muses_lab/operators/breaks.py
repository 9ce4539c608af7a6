"""Breaks of series: where the level changes (CUSUM), the largest drop, alerts of drops that last."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import special

from muses_lab.operators import series_kernels as kernels
from muses_lab.operators.contract import Cost, Cube
from muses_lab.operators.declare import operator
from muses_lab.operators.series import EPOCH, Date, cost, day_of, few_pixels, one_band, reduced, to_bands

_VALUE, _MIXED, _ALERT = 12e-9, 4e-9, 60e-9
"""Seconds for a value: of a series that is passed through once; of each permutation; of an alert."""

_BREAK = "date", "size", "score", "p", "count"
_DROP = "date", "size", "days", "count"
_ALERTED = "date", "confirmed", "size", "count"


def _permuted(permutations: int) -> float:
    return _VALUE + _MIXED * permutations


@operator(
    "muses:cusum",
    shape=to_bands("cusum", lambda arguments: _BREAK),
    needs=one_band(),
    reduces="t",
    cost=lambda arguments, pixel_size, rows, columns: Cost(
        _permuted(arguments["permutations"]) * rows * columns, cost(0)(arguments, pixel_size, rows, columns).bytes
    ),
)
def cusum(data: Cube, permutations: Annotated[int, Field(ge=0, le=9999)] = 0, origin: Date = EPOCH) -> Cube:
    """The break of a series: the date at which its level changes most, by cumulated sums.

    ```python
    ndvi.cusum()
    ndvi.cusum(permutations=99, origin="2018-01-01").band("date")
    ```

    C is the sum of (value - mean of the series) over the valid dates so far; the break follows the date at which abs(C)
    is largest. The result has the bands `date` (the first valid date after the break, in days since the date `origin`),
    `size` (mean after the break - mean before it, in the unit of the series), `score` (largest abs(C) / (standard
    deviation × √count), without a unit), `p` (of the hypothesis that there is no break: how often values in random
    order have a score as large) and `count` (of the valid dates).

    Without `permutations` p is that of the distribution of Kolmogorov, which holds for many dates and is too large for
    few; with them the share of so many random orders, always the same ones. Both take dates as independent of each
    other and a season as noise: subtract `harmonic_fit` first.

    Missing dates are left out. All but the count are missing where fewer than four dates are valid. A constant series
    has no date, size 0 and p 1. There is always a date else: p tells whether to believe it.

    Page, E. S. (1954), Biometrika 41, 100–115; Ploberger, W. & Krämer, W. (1992), Econometrica 60, 271–285.
    """

    def broken(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = np.empty((len(values), 5))
        kernels.cusum(values, days - day_of(origin), permutations, found)
        count, date, size, score, p = found.T
        return np.stack([date, size, score, p if permutations else special.kolmogorov(score), count])

    return reduced(data, _BREAK, broken, _permuted(permutations))


@operator(
    "muses:largest_drop",
    shape=to_bands("largest_drop", lambda arguments: _DROP),
    needs=one_band(),
    reduces="t",
    cost=cost(_VALUE),
)
def largest_drop(data: Cube, origin: Date = EPOCH) -> Cube:
    """The largest fall of a series from one valid date to the next one.

    ```python
    ndvi.largest_drop()
    ndvi.largest_drop(origin="2018-01-01").band("size") > 0.3
    ```

    The result has the bands `date` (the later of the two, in days since the date `origin`), `size` (earlier value -
    later value, in the unit of the series), `days` (between the two dates) and `count` (of the valid dates). Of equal
    falls the first one.

    Missing dates are left out. All but the count are missing where fewer than two dates are valid. A series that never
    falls has size 0 and no date.
    """

    def dropped(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = np.empty((len(values), 4))
        kernels.largest_drop(values, days - day_of(origin), found)
        count, size, date, apart = found.T
        return np.stack([date, size, apart, count])

    return reduced(data, _DROP, dropped, _VALUE)


@operator(
    "muses:drop_alert",
    shape=to_bands("drop_alert", lambda arguments: _ALERTED),
    needs=one_band(),
    reduces="t",
    cost=cost(_ALERT),
)
def drop_alert(
    data: Cube,
    threshold: Annotated[float, Field(gt=0, le=1e9)] = 0.2,
    previous: Annotated[int, Field(ge=1, le=99)] = 5,
    confirm: Annotated[int, Field(ge=1, le=20)] = 2,
    start: Date | None = None,
    origin: Date = EPOCH,
) -> Cube:
    """The first drop of a series below its recent values that lasts: an alert as new dates come in.

    ```python
    ndvi.drop_alert()
    ndvi.drop_alert(0.15, previous=7, confirm=3, start="2018-06-01", origin="2018-01-01").band("date")
    ```

    An alert is the first of `confirm` valid dates, one after another, of which all values are lower by more than
    `threshold` (in the unit of the series) than the median of the `previous` valid dates before the first of them.
    Alerts before the date `start` are not looked for; earlier dates count as recent values.

    The result has the bands `date` (of the alert) and `confirmed` (the last of the dates that it takes), both in days
    since the date `origin`, `size` (that median - the mean of the confirming values, in the unit of the series) and
    `count` (of the valid dates). A later date that is added never changes an alert that is confirmed.

    Missing dates are left out. All but the count are missing where fewer than `previous` + `confirm` dates are valid.
    Without an alert there is no date, and size 0. Falls of the season are drops, too: subtract `harmonic_fit` of
    earlier years first, or choose a threshold beyond them.
    """
    begin = -np.inf if start is None else day_of(start) - day_of(origin)

    def alerted(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = np.empty((len(values), 4))
        kernels.alerts(values, days - day_of(origin), threshold, previous, confirm, begin, found)
        count, date, confirmed, size = found.T
        return np.stack([date, confirmed, size, count])

    return reduced(data, _ALERTED, alerted, _ALERT)


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    cusum(few_pixels())
    largest_drop(few_pixels())
    drop_alert(few_pixels())
