"""The operators: ordinary functions on `xarray.DataArray`, each with one declaration.

Importing this package declares all of them: those of every module in this folder, then those of the modules that
installed packages name in the entry-point group `muses_lab.operators`. `registry` holds them by id.
"""

from __future__ import annotations

from muses_lab import plugins
from muses_lab.operators.callbacks import Series, is_strict, run
from muses_lab.operators.contract import (
    AtResolution,
    Cost,
    Cube,
    Fit,
    Focal,
    Meta,
    Pixel,
    Reading,
    Region,
    Regrid,
    Structural,
    Windows,
)
from muses_lab.operators.costs import cost_of, cost_of_blocks
from muses_lab.operators.declare import operator
from muses_lab.operators.declared import Operator
from muses_lab.operators.registered import references, registry
from muses_lab.resources import cancel

__all__ = [
    "AtResolution", "Cost", "Cube", "Fit", "Focal", "Meta", "Operator", "Pixel", "Reading", "Region", "Regrid",
    "Series", "Structural", "Windows", "cancel", "cost_of", "cost_of_blocks", "is_strict",
    "operator", "references", "registry", "run",
]  # fmt: skip

GROUP = "muses_lab.operators"

MODULES = plugins.folder(__name__)
registry.broken.update(plugins.load(GROUP)[1])


def warm() -> None:
    """Compiles the kernels of all operators, or loads them: each module that has some has a function `warm`."""
    for module in MODULES:
        if hasattr(module, "warm"):
            module.warm()
