"""Products on disk as their providers deliver them."""

from __future__ import annotations

from pathlib import Path

from muses_lab.catalog.delivered import DeliveredCatalog, products_in


class Delivered:
    takes = "a product as its provider delivers it, or a folder of such products"

    def recognises(self, source: str) -> bool:
        path = Path(source)
        return "://" not in source and not (path / "catalog.json").exists() and bool(products_in(path))

    def open(self, source: str) -> DeliveredCatalog:
        return DeliveredCatalog(source)


BACKEND = Delivered()
