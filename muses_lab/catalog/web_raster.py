"""A GeoTIFF on the web as a catalogue of one collection with one item, which its header describes."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from muses_lab.cached import cached_property
from muses_lab.catalog.describe import describe_collection
from muses_lab.catalog.local import no_collection
from muses_lab.catalog.query import Query
from muses_lab.catalog.sources import item_at
from muses_lab.catalog.table import ListTable, search
from muses_lab.errors import MusesError, ReadError
from muses_lab.products.headers import remote_headers
from muses_lab.raster import access


class WebRaster:
    """
    >>> catalog = WebRaster("https://example.com/dem.tif")      # doctest: +SKIP
    >>> catalog.search(Query(catalog.only))                     # doctest: +SKIP
    """

    only = "raster"
    """Id of its one collection."""

    def __init__(self, url: str) -> None:
        self.source = access.check_url(url)
        parts = urlsplit(url)
        self.root = urljoin(url, ".").rstrip("/")
        self.id = (parts.netloc.rpartition("@")[2] + parts.path).strip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return WebRaster, (self.source,)

    def __repr__(self) -> str:
        return f"Catalogue {self.id!r}, a raster on the web"

    def collections(self) -> list[dict[str, Any]]:
        return [self._collection]

    def collection(self, id: str) -> dict[str, Any]:
        if id != self.only:
            raise no_collection(self.id, id, [self.only])
        return self._collection

    def search(self, query: Query) -> list[dict[str, Any]]:
        self.collection(query.collection)
        return search(ListTable([self._item]), query)

    def count(self, query: Query) -> int:
        return len(self.search(query))

    @cached_property
    def _collection(self) -> dict[str, Any]:
        return describe_collection(self.only, [self._item])

    @cached_property
    def _item(self) -> dict[str, Any]:
        header = remote_headers([self.source])[self.source]
        if isinstance(header, MusesError):
            raise ReadError(f"{self.id} cannot be read: {header.message}")
        if not header.is_placed:
            raise ReadError(f"{self.id} does not say where on Earth it is")
        return {**item_at(self.source, header), "collection": self.only}
