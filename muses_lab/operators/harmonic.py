"""Regression on harmonics: the seasons of a series as a mean, amplitudes and dates of the peak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from muses_lab.operators import series_kernels as kernels
from muses_lab.operators.contract import Cost, Cube, same_bands
from muses_lab.operators.declare import operator
from muses_lab.operators.series import cost, each_series, few_pixels, one_band, reduced, to_bands, with_dates

_DETERMINED = 1e-8
"""What the dates must leave of each regressor that those before it do not explain, as a share of its mean square."""


def _bands(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    more = [f"{name}_{k}" for k in range(2, arguments["harmonics"] + 1) for name in ("amplitude", "phase")]
    return ("mean", "amplitude", "phase", *more, "rmse")


def _seconds(harmonics: int) -> float:
    """For a value."""
    return 6e-9 + 1e-9 * (2 * harmonics + 1) ** 2


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    return cost(_seconds(arguments["harmonics"]))(arguments, pixel_size, rows, columns)


@operator(
    "muses:harmonic_regression",
    shape=to_bands("harmonic_regression", _bands),
    needs=one_band(),
    reduces="t",
    cost=_cost,
)
def harmonic_regression(
    data: Cube,
    harmonics: Annotated[int, Field(ge=1, le=4)] = 1,
    period: Annotated[float, Field(gt=0, le=100_000)] = 365.25,
) -> Cube:
    """Mean, amplitude, phase and RMSE of the seasons of a series, by least squares on its valid dates.

    ```python
    ndvi.harmonic_regression()
    ndvi.harmonic_regression(harmonics=2).band("amplitude")
    ```

    Fits y = mean + Σ amplitude_k cos(2π k (day - phase_k) / period) with k from 1 to `harmonics`. The result has the
    bands `mean`, `amplitude`, `phase`, then `amplitude_2`, `phase_2` and so on, and `rmse`, the root of the mean square
    of the residuals. Mean, amplitudes and RMSE have the unit of the series. Phases are days from 0 to period / k at
    which the harmonic peaks, counted from 1970-01-01: with the period of a year (365.25 days) days after 1 January, to
    a day. Missing dates are left out. Missing where no more dates are valid than there are coefficients (2 `harmonics`
    + 1), or where they do not determine them, as the same day of each year.

    Menenti, M. et al. (1993), Advances in Space Research 13, 233–237 (HANTS, here without rejecting outliers).
    """

    def fitted(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = _coefficients(values, days, harmonics, period)
        bands = [found[0]]
        for k in range(1, harmonics + 1):
            a, b = found[2 * k - 1 : 2 * k + 1]
            phase = (np.arctan2(b, a) / (2 * np.pi) % 1 * period / k).astype(data.dtype)
            bands += [np.hypot(a, b), np.where(phase < period / k, phase, phase * 0)]  # rounding may reach the period
        return np.stack([*bands, found[-1]])

    return reduced(data, _bands({"harmonics": harmonics}), fitted, _seconds(harmonics), by_date=True)


@operator(
    "muses:harmonic_fit",
    shape=with_dates("harmonic_fit"),
    needs=same_bands,
    strict=False,
    along="t",
    cost=_cost,
)
def harmonic_fit(
    data: Cube,
    harmonics: Annotated[int, Field(ge=1, le=4)] = 1,
    period: Annotated[float, Field(gt=0, le=100_000)] = 365.25,
    fill: bool = False,
) -> Cube:
    """The seasons of a series at its dates: mean and harmonics, by least squares on its valid dates.

    ```python
    ndvi.harmonic_fit()
    ndvi - ndvi.harmonic_fit(harmonics=2)   # what is unlike the usual season
    ndvi.harmonic_fit(harmonics=2, fill=True)
    ```

    The y that `harmonic_regression` fits, in the unit of the series. Missing dates are left out and stay missing; with
    `fill` all dates of the collection get values, where the series may be unlike them. Missing where
    `harmonic_regression` is.
    """

    def fitted(values: np.ndarray, days: np.ndarray, out: np.ndarray) -> None:
        kernels.evaluated(_coefficients(values, days, harmonics, period)[:-1], _design(days, harmonics, period), out)
        if not fill:
            out[np.isnan(values)] = np.nan

    return each_series(data, fitted, _seconds(harmonics), by_date=True)


def _design(days: np.ndarray, harmonics: int, period: float) -> np.ndarray:
    """(dates, terms): 1, and cosine and sine of each harmonic."""
    turns = 2 * np.pi * np.outer(days / period % 1, np.arange(1, harmonics + 1))
    waves = np.stack([np.cos(turns), np.sin(turns)], axis=-1).reshape(len(days), 2 * harmonics)
    return np.hstack([np.ones((len(days), 1)), waves])


def _coefficients(values: np.ndarray, days: np.ndarray, harmonics: int, period: float) -> np.ndarray:
    """(terms + 1, pixels) of values (dates, pixels): the coefficients and the RMSE."""
    out = np.empty((2 * harmonics + 2, values.shape[1]))
    kernels.least_squares(values, _design(days, harmonics, period), _DETERMINED, out)
    return out


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    harmonic_regression(few_pixels())
    harmonic_fit(few_pixels())
