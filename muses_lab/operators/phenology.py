"""The season of a series: when it starts, peaks and ends, and how much grows in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from muses_lab.operators import series_kernels as kernels
from muses_lab.operators.contract import Cube
from muses_lab.operators.declare import operator
from muses_lab.operators.series import EPOCH, Date, cost, day_of, few_pixels, one_band, reduced, to_bands

_VALUE = 15e-9
"""Seconds."""

_BANDS = (
    "start", "peak", "end", "length", "base", "amplitude", "value_at_start", "value_at_peak", "rate_of_rise",
    "rate_of_fall", "integral", "integral_from_zero", "count",
)  # fmt: skip

_METHODS = {"amplitude": kernels.AMPLITUDE, "absolute": kernels.ABSOLUTE, "relative": kernels.RELATIVE}


def _share(arguments: Mapping[str, Any]) -> None:
    if arguments["method"] != "absolute" and not 0 < arguments["threshold"] < 1:
        raise ValueError(
            f"a threshold of the method {arguments['method']!r} is a share between 0 and 1 of the season's amplitude, "
            f'not {arguments["threshold"]:g}; for a value of the series choose method="absolute"'
        )


@operator(
    "muses:phenology",
    shape=to_bands("phenology", lambda arguments: _BANDS),
    needs=one_band(),
    rule=_share,
    reduces="t",
    cost=cost(_VALUE),
)
def phenology(
    data: Cube,
    threshold: Annotated[float, Field(ge=-1e9, le=1e9)] = 0.5,
    method: Literal["amplitude", "absolute", "relative"] = "amplitude",
    origin: Date = EPOCH,
) -> Cube:
    """Start, peak, end, length and amount of the one season of a series.

    ```python
    ndvi.whittaker().dates("2018").phenology(origin="2018-01-01")
    ndvi.phenology(0.2).band("length")
    ndvi.phenology(0.4, method="absolute")
    ```

    The peak is the largest value, at its first date. The season starts and ends where the series, from the peak
    backwards and onwards, first falls to a threshold, on the straight line between two valid dates. Thresholds:
    `amplitude`: base of that side + `threshold` × (peak - base of that side), the bases being the smallest values
    before and after the peak (TIMESAT); `absolute`: the value `threshold`; `relative`: q10 + `threshold` × (q90 - q10),
    the quantiles being those of the series.

    The result has the bands `start`, `peak` and `end` (days since the date `origin`, with fractions), `length` (days),
    `base` (the mean of both bases), `amplitude` (peak - base), `value_at_start` and `value_at_peak` (unit of the
    series), `rate_of_rise` and `rate_of_fall` (unit of the series per day, between start, peak and end; a fall is
    negative), `integral` (area between series and base from start to end, unit × days), `integral_from_zero` (area
    between series and zero) and `count` (of the valid dates).

    Choose the dates of one season first; smooth and fill as needed. Missing dates are left out. All but the count are
    missing where fewer than three dates are valid; start and end, with what depends on them, where the series does not
    fall to the threshold on that side, as where it is constant or peaks at its first or last valid date. (The base is
    that of the other side then.)

    Jönsson, P. & Eklundh, L. (2004), Computers & Geosciences 30, 833–845 (TIMESAT).
    """

    def season(days: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = np.empty((len(values), len(_BANDS)))
        kernels.phenology(values, days - day_of(origin), _METHODS[method], threshold, found)
        (
            count, start, peak, end, length, at_peak, base, amplitude, rise, fall, integral, from_zero, at_start,
        ) = found.T  # fmt: skip
        return np.stack(
            [start, peak, end, length, base, amplitude, at_start, at_peak, rise, fall, integral, from_zero, count]
        )

    return reduced(data, _BANDS, season, _VALUE)


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    phenology(few_pixels())
