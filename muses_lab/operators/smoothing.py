"""Smoothing of series: Whittaker's, and that of Savitzky and Golay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from muses_lab.operators import series_kernels as kernels
from muses_lab.operators.contract import Cube, same_bands
from muses_lab.operators.declare import operator
from muses_lab.operators.series import cost, each_series, few_pixels, with_dates

_WHITTAKER = 8e-9
"""Seconds for a value."""
_POLYNOMIAL = 80e-9
"""Seconds for a value, of the usual window."""
_NEAREST = 0.25
"""Days that two dates are apart at least, for the roughness between them."""


def _odd(window: int) -> int:
    if window % 2 == 0:
        raise ValueError(f"a window has a date in its middle: {window - 1} or {window + 1} dates, not {window}")
    return window


@operator(
    "muses:whittaker",
    shape=with_dates("whittaker"),
    needs=same_bands,
    strict=False,
    along="t",
    cost=cost(_WHITTAKER),
)
def whittaker(
    data: Cube,
    smoothness: Annotated[float, Field(gt=0, le=1e9)] = 0.5,
    spacing: Annotated[float, Field(gt=0, le=10_000)] | None = 10.0,
    fill: bool = False,
) -> Cube:
    """Whittaker's smoother: the series that is close to the values and has little curvature.

    ```python
    ndvi.whittaker()
    ndvi.whittaker(smoothness=5, fill=True)
    ndvi.whittaker(smoothness=0.5, spacing=None)   # as though dates were regular
    ```

    Gives the z that makes Σ (y - z)² over the valid dates plus `smoothness` × Σ (second differences of z)² smallest.
    The second differences are those of the real dates in steps of `spacing` days: (slope after - slope before a date) ÷
    the mean of the two distances. On regular dates `spacing` days apart they are z₁ - 2 z₂ + z₃, so a smoothness means
    the same whatever the dates. With `spacing=None` they are that on all dates, whatever their distance. Dates less
    than six hours apart count as six hours.

    In the unit of the series. Missing dates weigh nothing and stay missing; with `fill` those between the first and the
    last valid date get values, too. Missing where fewer than two dates are valid.

    Whittaker, E. T. (1923), Proceedings of the Edinburgh Mathematical Society 41, 63–75; Eilers, P. H. C. (2003),
    Analytical Chemistry 75, 3631–3636. The usual smoothness of the R package sits is 0.5.
    """

    def smooth(values: np.ndarray, days: np.ndarray, out: np.ndarray) -> None:
        middle, next_one, after_next = _roughness(days, spacing, smoothness)
        kernels.whittaker(values, middle, next_one, after_next, out)
        if not fill:
            out[np.isnan(values)] = np.nan

    return each_series(data, smooth, _WHITTAKER, by_date=True)


def _roughness(days: np.ndarray, spacing: float | None, smoothness: float) -> tuple[np.ndarray, ...]:
    """The diagonals of smoothness × DᵀD, D the second differences."""
    steps = np.ones(max(len(days) - 1, 0)) if spacing is None else np.maximum(np.diff(days), _NEAREST) / spacing
    before, after = steps[:-1], steps[1:]
    mean = (before + after) / 2
    left, right = 1 / (before * mean), 1 / (after * mean)
    rows = np.stack([left, -(left + right), right])  # of D: at a date, the next one and the one after that
    middle, next_one, after_next = np.zeros((3, len(days)))
    for k in range(3):
        middle[k : k + len(mean)] += rows[k] ** 2
    for k in range(2):
        next_one[k : k + len(mean)] += rows[k] * rows[k + 1]
    after_next[: len(mean)] = rows[0] * rows[2]
    return smoothness * middle, smoothness * next_one, smoothness * after_next


def _less_than_window(arguments: Mapping[str, Any]) -> None:
    if arguments["degree"] >= arguments["window"]:
        raise ValueError(
            f"a polynomial of degree {arguments['degree']} goes through any {arguments['window']} values: choose a "
            f"window of more dates, or a degree of {arguments['window'] - 1} at most"
        )


@operator(
    "muses:savitzky_golay",
    shape=with_dates("savitzky_golay"),
    needs=same_bands,
    rule=_less_than_window,
    along="t",
    cost=cost(_POLYNOMIAL),
)
def savitzky_golay(
    data: Cube,
    window: Annotated[int, Field(ge=3, le=99), AfterValidator(_odd)] = 5,
    degree: Annotated[int, Field(ge=0, le=6)] = 2,
) -> Cube:
    """The filter of Savitzky and Golay: values of polynomials through the valid dates around each date.

    ```python
    ndvi.savitzky_golay()
    ndvi.fill_gaps().savitzky_golay(window=7, degree=3)
    ```

    At each valid date, the value there of the polynomial of `degree` that is fitted by least squares to the `window`
    (an odd number) valid dates around it, by their real distances. At the first and last dates it is the polynomial
    through the first or last `window` valid ones. On regular dates without gaps this is the classical filter; degrees 2
    and 3 are the same there.

    In the unit of the series. Missing dates are left out and stay missing. Missing where fewer dates are valid than
    `window`.

    Savitzky, A. & Golay, M. J. E. (1964), Analytical Chemistry 36, 1627–1639; ends as in SciPy (`mode="interp"`).
    """

    def smooth(values: np.ndarray, days: np.ndarray, out: np.ndarray) -> None:
        kernels.savitzky_golay(values, days, window, degree, out)

    return each_series(data, smooth, _POLYNOMIAL)


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    whittaker(few_pixels())
    savitzky_golay(few_pixels())
