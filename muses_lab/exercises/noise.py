"""Differences that are none: what computing with so many digits leaves of a value."""

from __future__ import annotations

from typing import Any

import numpy as np

_LAST_DIGITS = 8
"""Whole numbers that a type of numbers cannot tell apart may differ by so many of its steps: sums in another order."""


def noise(given: Any, expected: Any, relative: float) -> Any:
    """The largest difference of two arrays that means nothing, value by value.

    >>> noise(np.array([0.5, 200_001.0]), np.array([0.5, 200_000.0]), 1e-5).tolist()
    [5e-06, 0.0]

    It is a share of the expected value. Whole numbers, such as counts, classes, and dates, are computed without an
    error and are to be the same, up to where the type of the numbers ends (float32: from 16 777 216 on).
    """
    size = np.where(np.isfinite(expected), np.abs(np.asarray(expected, float)), 0.0)
    kinds = [one.dtype for one in map(np.asarray, (given, expected)) if one.dtype.kind == "f"]
    with np.errstate(over="ignore", invalid="ignore"):
        step = np.spacing(size.astype(np.float32 if any(kind.itemsize <= 4 for kind in kinds) else float)).astype(float)
    rounded = np.where(np.isfinite(step) & (step > 1), _LAST_DIGITS * step, 0.0)
    return np.where(_whole(given) & _whole(expected), rounded, relative * size)


def _whole(values: Any) -> Any:
    return np.floor(values) == values
