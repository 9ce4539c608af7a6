"""A GeoTIFF on the web as a catalogue of one collection with one item, which its header describes."""

from __future__ import annotations

from typing import Any

from muses_lab.cached import cached_property
from muses_lab.catalog.at_url import AtUrl
from muses_lab.catalog.describe import describe_collection
from muses_lab.catalog.sources import item_at
from muses_lab.errors import MusesError, ReadError
from muses_lab.products.headers import remote_headers


class WebRaster(AtUrl):
    """
    >>> catalog = WebRaster("https://example.com/dem.tif")      # doctest: +SKIP
    >>> catalog.search(Query(catalog.only))                     # doctest: +SKIP
    """

    only = "raster"
    """Id of its one collection."""

    def __repr__(self) -> str:
        return f"Catalogue {self.id!r}, a raster on the web"

    @cached_property
    def _collection(self) -> dict[str, Any]:
        return describe_collection(self.only, [self._item])

    @property
    def _items(self) -> list[dict[str, Any]]:
        return [self._item]

    @cached_property
    def _item(self) -> dict[str, Any]:
        header = remote_headers([self.source])[self.source]
        if isinstance(header, MusesError):
            raise ReadError(f"{self.id} cannot be read: {header.message}")
        if not header.is_placed:
            raise ReadError(f"{self.id} does not say where on Earth it is")
        return {**item_at(self.source, header), "collection": self.only}
