"""Products as their providers deliver them on disk: a module each, which states its `DELIVERY`.

A package adds one by an entry point of the group `muses_lab.deliveries` that names such a module.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Protocol

from muses_lab import plugins


class Delivery(Protocol):
    """How the folders or archives of one product are read."""

    name: str
    """What it is, for people: `Sentinel-2 L2A as ESA delivers it (.SAFE, .zip)`."""

    def takes(self, path: Path) -> bool:
        """Whether a folder or file is such a product, by its name: nothing is opened."""
        ...

    def item(self, path: Path) -> dict[str, Any]:
        """The product as a STAC Item with a `collection`; hrefs are relative to `path`, in an archive to its inside.

        What is in the files is somebody else's: hrefs must not lead out of the product. `ReadError` says why there is
        no item.
        """
        ...


@cache
def deliveries() -> tuple[Delivery, ...]:
    """Every kind, those of this package first."""
    return tuple(plugins.found(__name__, "muses_lab.deliveries", "DELIVERY", _check))


def delivery_of(path: Path) -> Delivery | None:
    """How to read a folder or file; None where it is no product that is known."""
    return next((delivery for delivery in deliveries() if delivery.takes(path)), None)


def _check(delivery: Any) -> None:
    if missing := [name for name in ("name", "takes", "item") if not hasattr(delivery, name)]:
        raise TypeError(f"DELIVERY has no {', '.join(missing)}")
