"""A STAC document on the web as a catalogue of one collection; every request goes through `access.check_url`."""

from __future__ import annotations

import json
from collections import deque
from typing import Any
from urllib.parse import urljoin

from pystac.errors import STACError
from pystac_client.exceptions import APIError

from muses_lab.cached import cached_property
from muses_lab.catalog.api import TIMEOUT, CheckedIO, max_items
from muses_lab.catalog.at_url import AtUrl
from muses_lab.errors import AccessDenied, NotFound, ReadError, TooLarge
from muses_lab.products.items import normalised


class WebDocument(AtUrl):
    """
    >>> catalog = WebDocument("https://example.com/scenes/S2A_31TCJ_20180412.json")     # doctest: +SKIP
    >>> catalog.search(Query(catalog.only))                                             # doctest: +SKIP
    """

    def __repr__(self) -> str:
        return f"Catalogue {self.id!r}, a STAC document at {self.source}"

    @property
    def only(self) -> str:
        """Id of its one collection."""
        return self._collection["id"]

    @cached_property
    def _document(self) -> dict[str, Any]:
        return self._read(self.source)

    @cached_property
    def _items(self) -> list[dict[str, Any]]:
        """Its items; those of a static collection are read one by one, and those of the collections below it."""
        kind = self._document.get("type")
        if kind in ("Feature", "FeatureCollection"):
            features = self._document.get("features") if kind == "FeatureCollection" else [self._document]
            return [self._complete(item, self.source) for item in features or ()]
        found: list[dict[str, Any]] = []
        waiting = deque([(self._document, self.source)])
        seen = {self.source}
        while waiting:
            document, url = waiting.popleft()
            if document.get("type") == "Feature":
                found.append(self._complete(document, url))
                continue
            for link in document.get("links") or ():
                place = urljoin(url, str(link.get("href")))
                if link.get("rel") in ("item", "child") and place not in seen:
                    seen.add(place)
                    if len(seen) > max_items():
                        raise TooLarge(f"{self.source} leads to more than {max_items()} documents (MUSES_MAX_ITEMS)")
                    waiting.append((self._read(place), place))
        return found

    @cached_property
    def _collection(self) -> dict[str, Any]:
        """The STAC Collection: itself, what its item refers to, or what little is known of that."""
        if self._document.get("type") in ("Collection", "Catalog"):
            return self._document
        first = self._items[0] if self._items else {}
        for link in first.get("links") or ():
            if link.get("rel") in ("collection", "parent"):
                try:
                    found = self._read(urljoin(self.source, str(link["href"])))
                except (ReadError, NotFound, AccessDenied, KeyError):
                    continue
                if found.get("type") == "Collection" and isinstance(found.get("id"), str):
                    return found
        id = first.get("collection")
        return {"type": "Collection", "id": id if isinstance(id, str) else "items", "links": []}

    def _complete(self, item: dict[str, Any], url: str) -> dict[str, Any]:
        """With absolute hrefs: relative ones belong to the document's address."""
        item = normalised(item)
        for asset in item["assets"].values():
            href = asset["href"]
            if href and "://" not in href:
                asset["href"] = urljoin(url, href)
        return item

    def _read(self, url: str) -> dict[str, Any]:
        try:
            found = json.loads(CheckedIO(timeout=TIMEOUT).read_text(url))
        except APIError as error:
            if getattr(error, "status_code", None) == 404:
                raise NotFound(f"there is no STAC document at {url}", url=url) from None
            raise ReadError(f"{url} cannot be read: {str(error)[:300]}") from None
        except (STACError, OSError, ValueError, RecursionError) as error:
            raise ReadError(f"{url} is no STAC document: {str(error)[:300]}") from None
        if not isinstance(found, dict):
            raise ReadError(f"{url} is no STAC document: it holds no object")
        return found
