"""STAC APIs on the web, behind the same protocol as a local catalogue.

What the API can do (filter, sort) it is asked to do; the answer is always checked here as a local catalogue would be
searched, so that one query means the same everywhere: half-open times, CQL2, order. Every request, those of paging
links and redirects included, goes through `access.check_url`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urljoin, urlsplit

from pystac.errors import STACError, STACTypeError
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.adapters import HTTPAdapter
from shapely.geometry import mapping
from urllib3 import Retry

from muses_lab import settings
from muses_lab.cached import cached_property
from muses_lab.catalog.condition import Condition
from muses_lab.catalog.local import no_collection
from muses_lab.catalog.query import Query
from muses_lab.catalog.table import ListTable, search
from muses_lab.errors import AccessDenied, NotFound, ReadError, TooLarge
from muses_lab.products.items import normalised
from muses_lab.raster import access

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""


def max_items() -> int:
    """Most items that one search of a remote catalogue may fetch (`MUSES_MAX_ITEMS`)."""
    return int(settings.number("MUSES_MAX_ITEMS"))


class ApiCatalog:
    """
    >>> catalog = ApiCatalog("https://earth-search.aws.element84.com/v1")   # doctest: +SKIP
    >>> len(catalog.search(Query("sentinel-2-l2a", bbox=(1.2, 43.4, 1.6, 43.8), start="2018-01-01", end="2018-02-01")))
    ... # doctest: +SKIP
    """

    def __init__(self, url: str) -> None:
        self.root, self.source = access.check_url(url.rstrip("/")), url
        parts = urlsplit(self.root)
        self.id = (parts.netloc.rpartition("@")[2] + parts.path).strip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return ApiCatalog, (self.root,)

    def __repr__(self) -> str:
        return f"Catalogue {self.id!r}, a STAC API at {self.root}; .collections() asks it what it has"

    def collections(self) -> list[dict[str, Any]]:
        with self._answers():
            return [_document(c) for c in self._client.get_collections()]

    def collection(self, id: str) -> dict[str, Any]:
        try:
            with self._answers():
                return _document(self._client.get_collection(id))
        except NotFound:
            raise no_collection(self.id, id, (c["id"] for c in self.collections())) from None

    def search(self, query: Query) -> list[dict[str, Any]]:
        with self._answers():
            arguments, all_asked = self._asked(query)
            # only an API that sorts and filters itself may stop at the limit: its first items are then the right ones
            enough = None
            if query.limit is not None and all_asked and self._client.conforms_to("SORT"):
                arguments["sortby"] = [_sort_key(key) for key in query.sortby or ("datetime", "id")]
                enough = query.limit
            found = self._items(arguments, query, enough)
        if not found and query.limit != 0:
            self.collection(query.collection)  # nothing there, or no such collection: the latter is an error
        return search(ListTable(found), query)

    def count(self, query: Query) -> int:
        with self._answers():
            arguments, all_asked = self._asked(query)
            matched = self._client.search(limit=1, **arguments).matched() if all_asked else None
        if matched is None:  # the API does not count
            return len(self.search(query))
        return matched if query.limit is None else min(matched, query.limit)

    def _asked(self, query: Query) -> tuple[dict[str, Any], bool]:
        """What to ask the API, and whether that is the whole query."""
        condition = Condition(query.filter) if query.filter else None  # a bad filter is refused before it is sent
        arguments: dict[str, Any] = {"collections": [query.collection], "datetime": _datetime(*query.interval)}
        # Boxes across the antimeridian are not understood everywhere; geometries in two parts are.
        if query.bbox is not None and query.geometry is None and query.bbox[0] <= query.bbox[2]:
            arguments["bbox"] = query.bbox
        elif query.area is not None:
            arguments["intersects"] = mapping(query.area)
        if condition and self._client.conforms_to("FILTER"):
            arguments |= {"filter": condition.json, "filter_lang": "cql2-json"}
            condition = None
        return arguments, condition is None

    def _items(self, arguments: dict[str, Any], query: Query, enough: int | None) -> list[dict[str, Any]]:
        most = max_items()
        asked = most + 1 if enough is None else min(enough, most + 1)
        pages = self._client.search(max_items=asked, limit=min(asked, 100) or 1, **arguments).items_as_dicts()
        found = [self._complete(item) for item in islice(pages, asked)]
        if len(found) > most:
            raise TooLarge(
                f"catalogue {self.id!r} has more than {most} items of {query.collection!r} for this query; "
                "narrow the place, the dates or the filter, or raise MUSES_MAX_ITEMS"
            )
        return found

    def _complete(self, item: dict[str, Any]) -> dict[str, Any]:
        """With absolute hrefs: relative ones belong to the item's own address."""
        item = normalised(item)
        own = next((link["href"] for link in item.get("links", []) if link.get("rel") == "self"), self.root + "/")
        for asset in item["assets"].values():
            href = asset["href"]
            if href and "://" not in href:
                asset["href"] = urljoin(own, href)
        return item

    @cached_property
    def _client(self) -> Client:
        return Client.open(self.root, stac_io=CheckedIO(timeout=TIMEOUT))

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Errors of the API in our words."""
        try:
            yield
        except APIError as error:
            if getattr(error, "status_code", None) == 404:  # without one, nobody answered
                raise NotFound(f"catalogue {self.id!r} does not have that: {error}") from None
            raise ReadError(f"catalogue {self.id!r} did not answer as a STAC API: {_short(error)}") from None
        except (STACError, STACTypeError, KeyError, ValueError, TypeError) as error:
            raise ReadError(
                f"{self.root} is not a STAC API, or not a working one: {type(error).__name__}: {_short(error)}"
            ) from None


class _CheckedAdapter(HTTPAdapter):
    """Refuses addresses that may not be read; redirects come through here too."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        access.check_url(request.url)
        return super().send(request, *args, **kwargs)


class CheckedIO(StacApiIO):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(max_retries=None, **arguments)
        retry = Retry(total=3, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504), allowed_methods=None)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, _CheckedAdapter(max_retries=retry))

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        # the original opens local files for hrefs that are not URLs
        href = source if isinstance(source, str) else getattr(source, "href", str(source))
        access.check_url(href)
        return super().read_text(source, *args, **kwargs)

    def request(self, href: str, *args: Any, **kwargs: Any) -> str:
        access.check_url(href)
        try:
            return super().request(href, *args, **kwargs)
        except APIError as error:
            # the original turns every error into an APIError; a refusal to follow a redirect must stay one
            if isinstance(error.__context__, AccessDenied):
                raise error.__context__ from None
            raise


def _document(collection: Any) -> dict[str, Any]:
    if collection is None:
        raise NotFound("no such collection")
    return collection.to_dict(include_self_link=False, transform_hrefs=False)


def _datetime(start: datetime | None, end: datetime | None) -> tuple[datetime | None, datetime | None] | None:
    """STAC's interval is closed, ours leaves the end out."""
    return None if start is None and end is None else (start, end and end - timedelta(microseconds=1))


def _sort_key(key: str) -> dict[str, str]:
    name = key.lstrip("+-")
    field = name if name == "id" or name.startswith("properties.") else f"properties.{name}"
    return {"field": field, "direction": "desc" if key.startswith("-") else "asc"}


def _short(error: Exception) -> str:
    return str(error)[:300] or type(error).__name__
