"""MUSES Lab: deferred Earth-observation processing chains, computed where and when they are looked at.

```python
import muses_lab as ml

s2 = ml.collection("sentinel-2-l2a").near("Toulouse").dates("2018-01-01", "2019-01-01")
ndvi = s2.mask_clouds().ndvi().median("t")
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muses_lab.chain import Chain, Collection, Layer, Window, collection, open_catalog, rgb
    from muses_lab.compute import use
    from muses_lab.received import shared, shares
    from muses_lab.resuming import jobs

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Collection",
    "Layer",
    "Window",
    "__version__",
    "collection",
    "jobs",
    "open_catalog",
    "rgb",
    "shared",
    "shares",
    "use",
]


def __getattr__(name: str) -> Any:
    """The names above, imported when first used: a Jupyter server that only serves a file must not wait for them."""
    if name == "use":
        from muses_lab.compute import use

        return use
    if name == "jobs":
        from muses_lab.resuming import jobs

        return jobs
    if name in ("shared", "shares"):
        from muses_lab import received

        return getattr(received, name)
    if name in __all__:
        from muses_lab import chain

        return getattr(chain, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
