"""The operators: ordinary functions on `xarray.DataArray`, each with one declaration.

`registry` holds them by id. Importing this package declares all of them.
"""

from __future__ import annotations

from muses_lab.operators import cubes, elementwise, focal, indices, polygons, reducers, regions, thresholds
from muses_lab.operators.callbacks import Series, is_strict, run
from muses_lab.operators.declare import (
    AtResolution,
    Cost,
    Fit,
    Focal,
    Meta,
    Operator,
    Pixel,
    Reading,
    Region,
    Regrid,
    Structural,
    operator,
    references,
    registry,
)
from muses_lab.resources import cancel

__all__ = [
    "AtResolution", "Cost", "Fit", "Focal", "Meta", "Operator", "Pixel", "Reading", "Region", "Regrid", "Series",
    "Structural",
    "cancel", "cubes", "elementwise", "focal", "indices", "is_strict", "operator", "polygons", "reducers", "references",
    "regions", "registry", "run", "thresholds",
]  # fmt: skip
