"""The operators: ordinary functions on `xarray.DataArray`, each with one declaration.

`registry` holds them by id. Importing this package declares all of them.
"""

from __future__ import annotations

from muses_lab.operators import cubes, elementwise, focal, reducers, regions, thresholds
from muses_lab.operators.callbacks import Series, is_strict, run
from muses_lab.operators.declare import (
    Fit,
    Focal,
    Meta,
    Operator,
    Pixel,
    Region,
    Structural,
    operator,
    registry,
)

__all__ = [
    "Fit", "Focal", "Meta", "Operator", "Pixel", "Region", "Series", "Structural",
    "cubes", "elementwise", "focal", "is_strict", "operator", "reducers", "regions", "registry", "run", "thresholds",
]  # fmt: skip
