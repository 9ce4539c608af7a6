"""Cumulated series: openEO `cumsum`, `cumproduct`, `cummin`, `cummax`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from muses_lab.document.graph import Node
from muses_lab.operators.callbacks import as_series
from muses_lab.operators.contract import Array
from muses_lab.operators.declare import operator
from muses_lab.operators.methods import Dimension, each_along
from muses_lab.resources import cancel


def _declare(id: str, step: Callable[[Any, Any], Any], start: float, what: str) -> None:
    def cumulated(data: Array, ignore_nodata: bool = True) -> Array:
        series = as_series(data)
        values = np.asarray(series.elements.data)
        out = np.empty_like(values)
        total, reached = np.full(values.shape[1:], start), np.zeros(values.shape[1:], bool)
        with np.errstate(all="ignore"):
            for index, value in enumerate(values):
                cancel.check()
                missing = np.isnan(value)
                reached |= missing
                total = np.where(missing, total, step(total, value))
                out[index] = np.where(missing if ignore_nodata else reached, np.nan, total)
        return series.but(series.elements.copy(data=out))  # type: ignore[return-value]

    def method(data: Node, dim: Dimension = "t", ignore_nodata: bool = True) -> Node:
        return each_along(data, dim, id, ignore_nodata=ignore_nodata)

    cumulated.__name__ = method.__name__ = id
    cumulated.__doc__ = method.__doc__ = _DOC.format(what=what, id=id)
    operator(id, method=method)(cumulated)


_DOC = """{what} of each value and all before it, along a dimension.

```python
ndvi.{id}("t")
```

In double precision. Missing values are left out and stay missing; with `ignore_nodata` false all after the first
missing one are missing, too.
"""

_declare("cumsum", np.add, 0.0, "Sum")
_declare("cumproduct", np.multiply, 1.0, "Product")
_declare("cummin", np.minimum, np.inf, "Smallest")
_declare("cummax", np.maximum, -np.inf, "Largest")
