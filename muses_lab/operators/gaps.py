"""Missing dates of a series, filled from the valid ones."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from muses_lab.operators import series_kernels as kernels
from muses_lab.operators.contract import Cube, same_bands
from muses_lab.operators.declare import operator
from muses_lab.operators.series import cost, each_series, few_pixels, with_dates

_VALUE = 12e-9
"""Seconds."""

_METHODS = {
    "linear": kernels.LINEAR, "nearest": kernels.NEAREST, "previous": kernels.PREVIOUS, "spline": kernels.SPLINE,
}  # fmt: skip


@operator(
    "muses:fill_gaps",
    shape=with_dates("fill_gaps"),
    needs=same_bands,
    strict=False,
    along="t",
    cost=cost(_VALUE),
)
def fill_gaps(
    data: Cube,
    method: Literal["linear", "nearest", "previous", "spline"] = "linear",
    max_gap: Annotated[float, Field(gt=0, le=100_000)] | None = None,
    ends: bool = True,
) -> Cube:
    """The series with its missing dates filled from the valid dates before and after them.

    ```python
    ndvi.fill_gaps()
    ndvi.fill_gaps("previous", max_gap=30)
    ndvi.fill_gaps("spline", max_gap=60, ends=False).max("t")
    ```

    `linear`: on the straight line between the valid dates on both sides, by their distance in days. `nearest`: that of
    the nearer one, of the earlier one halfway. `previous`: that of the last valid date. `spline`: the natural cubic
    spline through all valid dates, which may overshoot them.

    Values are those at the dates of the collection, in the unit of the series; valid dates keep theirs. `max_gap`: a
    gap of more days, from the valid date before it to the one after it, stays missing; with `previous`, and before the
    first and after the last valid date, dates that are further than that from the valid one. `ends`: dates before the
    first valid date and after the last one get its value (`previous`: only after it); else they stay missing. A series
    without valid dates stays missing.

    Linear and nearest beyond the ends as in the Orfeo ToolBox (ImageTimeSeriesGapFilling) and iota2.
    """
    most = np.inf if max_gap is None else max_gap

    def filled(values: np.ndarray, days: np.ndarray, out: np.ndarray) -> None:
        kernels.fill(values, days, _METHODS[method], most, ends, out)

    return each_series(data, filled, _VALUE)


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    fill_gaps(few_pixels())
