"""Regression on harmonics: the seasons of a series as a mean, amplitudes and dates of the peak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.errors import DocumentError
from muses_lab.operators.declare import Cost, Cube, Meta, operator
from muses_lab.resources import cancel

_AT_ONCE = 1 << 16
"""Pixels that are fitted at a time."""
_DETERMINED = 1e-8
"""What the dates must leave of each regressor that those before it do not explain, as a share of its mean square."""
_EPOCH = np.datetime64("1970-01-01")


def _bands(harmonics: int) -> tuple[str, ...]:
    more = [f"{name}_{k}" for k in range(2, harmonics + 1) for name in ("amplitude", "phase")]
    return ("mean", "amplitude", "phase", *more, "rmse")


def _shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if not meta.time:
        raise DocumentError("harmonic_regression takes a series: the dimension 't' has been reduced already")
    if meta.bands is not None:
        raise DocumentError(
            f"harmonic_regression takes one band or an index, not {', '.join(meta.bands)}: choose one with .band(…)"
        )
    return Meta(False, _bands(arguments["harmonics"]))


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    terms = 2 * arguments["harmonics"] + 1
    return Cost((20e-9 + 2e-9 * terms**2) * rows * columns, 8 * (2 * terms**2 + 20) * min(rows * columns, _AT_ONCE))


@operator(
    "muses:harmonic_regression",
    shape=_shape,
    needs=lambda arguments, metas, wanted: {"data": None},
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
    values = np.asarray(data.data)
    days = (data.t.values.astype("M8[ns]") - _EPOCH) / np.timedelta64(1, "D")
    turns = 2 * np.pi * np.outer(days / period % 1, np.arange(1, harmonics + 1))
    waves = np.stack([np.cos(turns), np.sin(turns)], axis=-1).reshape(len(days), 2 * harmonics)
    design = np.hstack([np.ones((len(days), 1)), waves])
    rows, columns = values.shape[1:]
    names = _bands(harmonics)
    out = np.empty((len(names), rows, columns), values.dtype)
    step = max(1, _AT_ONCE // max(columns, 1))
    for first in range(0, rows, step):
        piece = values[:, first : first + step]
        coefficients, rmse = _fitted(piece.reshape(len(days), piece.shape[1] * columns), design)
        found = [coefficients[0]]
        for k in range(1, harmonics + 1):
            a, b = coefficients[2 * k - 1 : 2 * k + 1]
            phase = (np.arctan2(b, a) / (2 * np.pi) % 1 * period / k).astype(values.dtype)
            found += [np.hypot(a, b), np.where(phase < period / k, phase, phase * 0)]  # rounding may reach the period
        out[:, first : first + step] = np.reshape([*found, rmse], (len(names), *piece.shape[1:]))
    coords = {"bands": list(names), **{d: data.coords[d] for d in ("y", "x") if d in data.coords}}
    return xr.DataArray(out, dims=("bands", "y", "x"), coords=coords)


def _fitted(values: np.ndarray, design: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Coefficients and RMSE of each series (dates, pixels) on regressors (dates, terms); NaN where there are none.

    Normal equations, pixel by pixel in the same order wherever the block begins; solved by L D Lᵀ without pivoting, so
    that D tells what each regressor adds to those before it.
    """
    pixels, terms = values.shape[1], design.shape[1]
    count = np.zeros(pixels)
    normal = {(i, j): np.zeros(pixels) for i in range(terms) for j in range(i + 1)}
    right = [np.zeros(pixels) for _ in range(terms)]
    for value, row in zip(values, design, strict=True):
        cancel.check()
        there = ~np.isnan(value)
        y = np.where(there, value, 0).astype(np.float64)
        count += there
        for i in range(terms):
            right[i] += y * row[i]
            for j in range(i + 1):
                normal[i, j] += there * (row[i] * row[j])
    known = count > terms
    with np.errstate(all="ignore"):
        lower: dict[tuple[int, int], np.ndarray] = {}
        pivots: list[np.ndarray] = []
        solved: list[np.ndarray] = []
        for i in range(terms):
            for j in range(i):
                rest = sum((lower[i, k] * lower[j, k] * pivots[k] for k in range(j)), np.zeros(pixels))
                lower[i, j] = (normal[i, j] - rest) / pivots[j]
            pivots.append(normal[i, i] - sum((lower[i, k] ** 2 * pivots[k] for k in range(i)), np.zeros(pixels)))
            known &= pivots[i] > _DETERMINED * normal[i, i]
            solved.append(right[i] - sum((lower[i, k] * solved[k] for k in range(i)), np.zeros(pixels)))
        coefficients = [y / pivot for y, pivot in zip(solved, pivots, strict=True)]
        for i in reversed(range(terms)):
            for k in range(i + 1, terms):
                coefficients[i] = coefficients[i] - lower[k, i] * coefficients[k]
        squares = np.zeros(pixels)
        for value, row in zip(values, design, strict=True):
            cancel.check()
            residual = value - sum((c * x for c, x in zip(coefficients, row, strict=True)), np.zeros(pixels))
            squares += np.where(np.isnan(value), 0, residual**2)
        rmse = np.sqrt(squares / count)
    return [np.where(known, c, np.nan) for c in coefficients], np.where(known, rmse, np.nan)
