"""Reducers of the compiled machine, by NumPy."""

from __future__ import annotations

import warnings

import numpy as np

from muses_lab.engine.compiled import vm


def numpy_of(kind: int, p: float, stack: np.ndarray) -> np.ndarray:
    """The same with NumPy, in double precision where that is exact enough to compare with."""
    wide = stack.astype(np.float64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {
            vm.MEDIAN: lambda: np.nanmedian(stack, axis=0),
            vm.QUANTILE: lambda: np.nanquantile(wide, p, axis=0),
            vm.MEAN: lambda: np.nanmean(wide, axis=0),
            vm.SUM: lambda: np.where(np.isnan(wide).all(0), np.nan, np.nansum(wide, axis=0)),
            vm.MIN: lambda: np.nanmin(stack, axis=0),
            vm.MAX: lambda: np.nanmax(stack, axis=0),
            vm.COUNT: lambda: (~np.isnan(stack)).sum(axis=0),
            vm.VARIANCE: lambda: np.nanvar(wide, axis=0, ddof=1),
            vm.SD: lambda: np.nanstd(wide, axis=0, ddof=1),
        }[kind]()
