"""Something on the web as a catalogue of one collection."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from muses_lab.catalog.local import no_collection
from muses_lab.catalog.query import Query
from muses_lab.catalog.table import ListTable, search
from muses_lab.raster import access


class AtUrl:
    """What catalogues of one address have in common; each gives its collection and its items."""

    only: Any
    """Id of its one collection."""
    _collection: Any
    _items: Any

    def __init__(self, url: str) -> None:
        self.source = access.check_url(url)
        parts = urlsplit(url)
        self.root = urljoin(url, ".").rstrip("/")
        self.id = (parts.netloc.rpartition("@")[2] + parts.path).strip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source,)

    def collections(self) -> list[dict[str, Any]]:
        return [self._collection]

    def collection(self, id: str) -> dict[str, Any]:
        if id != self.only:
            raise no_collection(self.id, id, [self.only])
        return self._collection

    def search(self, query: Query) -> list[dict[str, Any]]:
        self.collection(query.collection)
        return search(ListTable(self._items), query)

    def count(self, query: Query) -> int:
        return len(self.search(query))
