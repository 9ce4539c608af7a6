"""Products as their providers deliver them, one or a folder of them, as a catalogue: nothing is written or unpacked."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from muses_lab.catalog.describe import describe_collection
from muses_lab.catalog.local import no_collection, pick_collection, sentence
from muses_lab.catalog.query import Query
from muses_lab.catalog.table import ListTable, count, search
from muses_lab.errors import MusesError, ReadError
from muses_lab.plain import slug
from muses_lab.products.deliveries import delivery_of
from muses_lab.products.items import PROBLEM, normalised

_DESCRIBED_BY = 100
"""So many items say what bands a collection has."""


def products_in(path: Path) -> list[Path]:
    """The product that a path is, or those that lie directly in a folder."""
    if delivery_of(path) is not None:
        return [path]
    return sorted(child for child in path.iterdir() if delivery_of(child) is not None) if path.is_dir() else []


class DeliveredCatalog:
    """A product, or a folder of products; those that are added to the folder later are found too.

    >>> DeliveredCatalog("S2A_MSIL2A_20180412T105031_N0500_R051_T31TCJ_20230101T000000.SAFE")   # doctest: +SKIP

    Files are read below the product, or below the folder, only.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.root = self.source = str(self.path)
        digest = hashlib.sha256(self.root.encode()).hexdigest()[:8]
        self.id = f"{slug(self.path.stem, 'products')}-{digest}"

    def __reduce__(self) -> tuple[Any, ...]:
        return DeliveredCatalog, (self.path,)

    def __repr__(self) -> str:
        return sentence(self.id, self.root, self._names)

    def collections(self) -> list[dict[str, Any]]:
        items = self._items()
        return [
            describe_collection(name, [i for i in items if i["collection"] == name][:_DESCRIBED_BY])
            for name in self._names()
        ]

    def collection(self, id: str) -> dict[str, Any]:
        return pick_collection(self.id, self.collections(), id)

    def search(self, query: Query) -> list[dict[str, Any]]:
        return search(self._table(query), query)

    def count(self, query: Query) -> int:
        return count(self._table(query), query)

    def state(self, collection: str) -> Hashable:
        return tuple(map(_stamp, products_in(self.path)))

    def _table(self, query: Query) -> ListTable:
        if query.collection not in self._names():
            raise no_collection(self.id, query.collection, self._names())
        return ListTable([item | {"collection": item["collection"] or query.collection} for item in self._items()])

    def _names(self) -> list[str]:
        """Of the collections; `ReadError` where none of the products can be read."""
        items = self._items()
        names = sorted({item["collection"] for item in items if item["collection"]})
        if items and not names:
            raise ReadError(f"no product in {self.root} can be read; {items[0]['id']}: {items[0][PROBLEM]}")
        return names

    def _items(self) -> list[dict[str, Any]]:
        found = []
        for product in products_in(self.path):
            item = normalised(_read(product, _stamp(product)))
            below = product.relative_to(self.path)
            for asset in item["assets"].values():
                asset["href"] = (below / asset["href"]).as_posix()
            found.append(item)
        return found


Stamp = tuple[tuple[str, int, int], ...]


def _stamp(product: Path) -> Stamp:
    """Of an archive, or of a folder and of the metadata in it: a product may be copied file by file, or corrected."""
    own = product.stat()
    stamps = [(str(product), own.st_mtime_ns, own.st_size)]
    for file in sorted(product.rglob("*.xml")):
        with suppress(OSError):  # it was there a moment ago: who copies has put it in its place
            found = file.stat()
            stamps.append((str(file), found.st_mtime_ns, found.st_size))
    return tuple(stamps)


def _read(product: Path, stamp: Stamp) -> dict[str, Any]:
    """A copy of the item; one that cannot be read says why, among the others."""
    try:
        return deepcopy(_read_once(product, stamp))
    except MusesError as error:
        reason = str(error)
    except Exception as error:  # whatever stands in its metadata: the other products are there
        reason = f"its metadata cannot be read: {type(error).__name__}: {error}"
    return {"id": product.name, "collection": "", "properties": {}, "assets": {}, PROBLEM: reason}


@lru_cache(maxsize=4096)
def _read_once(product: Path, stamp: Stamp) -> dict[str, Any]:
    delivery = delivery_of(product)
    assert delivery is not None
    return delivery.item(product)
