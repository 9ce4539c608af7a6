"""MUSES Lab: deferred Earth-observation processing chains, computed where and when they are looked at.

```python
import muses_lab as ml

s2 = ml.collection("sentinel-2-l2a").near("Toulouse").dates("2018-01-01", "2019-01-01")
ndvi = s2.mask_clouds().ndvi().median("t")
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from muses_lab.kernel import tell_server

if TYPE_CHECKING:
    from muses_lab.api.chain import Chain, Table
    from muses_lab.api.collection import Collection, collection
    from muses_lab.api.combine import blend, hsv, mosaic, rgb, stack, where
    from muses_lab.api.difference import Difference, compare
    from muses_lab.api.frames import OverTime, TimeLayer
    from muses_lab.api.history import history, remake
    from muses_lab.api.jobs import jobs
    from muses_lab.api.layer import Layer
    from muses_lab.api.own_files import open_file
    from muses_lab.api.parameters import parameter
    from muses_lab.api.plotting import plots
    from muses_lab.api.production import produce
    from muses_lab.api.rasters import from_array, open_raster
    from muses_lab.api.reading import read_graph
    from muses_lab.api.shared import shared, shares
    from muses_lab.api.spectral import indices
    from muses_lab.api.vectors import Vectors, vectors
    from muses_lab.catalog import open_catalog, register_catalog, remove_catalog
    from muses_lab.compute import use
    from muses_lab.exercises.participant import course
    from muses_lab.operators.own import operator
    from muses_lab.raster.window import Window

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Collection",
    "Difference",
    "Layer",
    "OverTime",
    "Table",
    "TimeLayer",
    "Vectors",
    "Window",
    "__version__",
    "blend",
    "collection",
    "compare",
    "course",
    "from_array",
    "history",
    "indices",
    "hsv",
    "jobs",
    "mosaic",
    "open_catalog",
    "open_file",
    "open_raster",
    "operator",
    "parameter",
    "plots",
    "produce",
    "read_graph",
    "register_catalog",
    "remake",
    "remove_catalog",
    "rgb",
    "shared",
    "shares",
    "stack",
    "use",
    "vectors",
    "where",
]

_HOMES = {
    "Chain": "api.chain",
    "Collection": "api.collection",
    "Difference": "api.difference",
    "Layer": "api.layer",
    "OverTime": "api.frames",
    "Table": "api.chain",
    "TimeLayer": "api.frames",
    "Vectors": "api.vectors",
    "Window": "raster.window",
    "blend": "api.combine",
    "collection": "api.collection",
    "compare": "api.difference",
    "course": "exercises.participant",
    "from_array": "api.rasters",
    "history": "api.history",
    "indices": "api.spectral",
    "hsv": "api.combine",
    "jobs": "api.jobs",
    "mosaic": "api.combine",
    "open_catalog": "catalog",
    "open_file": "api.own_files",
    "open_raster": "api.rasters",
    "operator": "operators.own",
    "parameter": "api.parameters",
    "plots": "api.plotting",
    "produce": "api.production",
    "read_graph": "api.reading",
    "register_catalog": "catalog",
    "remake": "api.history",
    "remove_catalog": "catalog",
    "rgb": "api.combine",
    "shared": "api.shared",
    "shares": "api.shared",
    "stack": "api.combine",
    "use": "compute",
    "vectors": "api.vectors",
    "where": "api.combine",
}


def __getattr__(name: str) -> Any:
    """The names above, imported when first used: a Jupyter server that only serves a file must not wait for them."""
    if name in _HOMES:
        return getattr(import_module(f"muses_lab.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


tell_server()
