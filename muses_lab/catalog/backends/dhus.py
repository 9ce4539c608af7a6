"""DHuS hubs (Data Hub Software of ESA), searched by OpenSearch through sentinelsat.

A hub has whole products to download, not rasters to read at any place: its scenes say what there is, when and where.
What was downloaded is opened as a catalogue of its own (`muses_lab.products.deliveries`).
Source: Data Hub System, Open Search API and Open Data API; sentinelsat 1.2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import urlsplit

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import box, mapping

from muses_lab import settings
from muses_lab.cached import cached_property
from muses_lab.catalog.condition import Condition
from muses_lab.catalog.local import no_collection
from muses_lab.catalog.query import Query
from muses_lab.catalog.table import ListTable, search
from muses_lab.errors import ReadError, TooLarge
from muses_lab.products.items import normalised
from muses_lab.raster import access
from muses_lab.times import format_time

_SCHEME = "dhus+"
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_MOST_LETTERS = 300
"""Of what a hub answers instead of products."""


@dataclass(frozen=True)
class _Products:
    """One of the collections into which a hub's products are sorted."""

    title: str
    platform: str
    kind: str
    """`producttype`; two types of one collection have a `*`."""


_COLLECTIONS = {
    "sentinel-1-grd": _Products("Sentinel-1 ground range detected", "Sentinel-1", "GRD"),
    "sentinel-1-slc": _Products("Sentinel-1 single look complex", "Sentinel-1", "SLC"),
    "sentinel-1-ocn": _Products("Sentinel-1 ocean", "Sentinel-1", "OCN"),
    "sentinel-1-raw": _Products("Sentinel-1 raw", "Sentinel-1", "RAW"),
    "sentinel-2-l1c": _Products("Sentinel-2 reflectance at the top of the atmosphere", "Sentinel-2", "S2MSI1C"),
    "sentinel-2-l2a": _Products("Sentinel-2 reflectance at the ground", "Sentinel-2", "S2MSI2A"),
    "sentinel-3-olci": _Products("Sentinel-3 OLCI", "Sentinel-3", "OL_*"),
    "sentinel-3-slstr": _Products("Sentinel-3 SLSTR", "Sentinel-3", "SL_*"),
    "sentinel-5p": _Products("Sentinel-5P TROPOMI", "Sentinel-5", "L*"),
}


class DhusCatalog:
    """
    >>> hub = ml.open_catalog("dhus+https://scihub.example.org/dhus")                 # doctest: +SKIP
    >>> ml.collection("sentinel-2-l2a", hub).near("Toulouse").dates("2020-01-01", "2020-02-01").table()
    ... # doctest: +SKIP

    User name and password come from the environment (`DHUS_USER`, `DHUS_PASSWORD`, as for the command sentinelsat), or
    from `~/.netrc`. They go to the hub only: no document and no address holds them.
    """

    def __init__(self, source: str) -> None:
        self.root = access.check_url(source.removeprefix(_SCHEME).rstrip("/"))
        self.source = _SCHEME + self.root
        parts = urlsplit(self.root)
        self.id = f"dhus-{parts.netloc}{parts.path}".rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return DhusCatalog, (self.source,)

    def __repr__(self) -> str:
        return f"Catalogue {self.id!r}, a DHuS hub at {self.root}, with: {', '.join(_COLLECTIONS)}"

    def collections(self) -> list[dict[str, Any]]:
        return [_document(id, products) for id, products in _COLLECTIONS.items()]

    def collection(self, id: str) -> dict[str, Any]:
        return _document(id, self._products(id))

    def search(self, query: Query) -> list[dict[str, Any]]:
        if query.filter:
            Condition(query.filter)  # a bad filter is refused before the hub is asked
        asked = self._asked(query)
        with self._answers():
            there, most = self._api.count(**asked), int(settings.number("MUSES_MAX_ITEMS"))
            if there > most:
                raise TooLarge(
                    f"hub {self.id!r} has {there} products of {query.collection!r} for this query, and at most {most} "
                    "are fetched; narrow the place or the dates, or raise MUSES_MAX_ITEMS"
                )
            # In a fixed order: what the hub gets meanwhile must not move others from one page to the next.
            found = self._api.query(order_by="+beginposition", **asked) if there else {}
            items = [_item(product, self.root) for product in found.values()]
        # What the hub was not asked (filter, exact outline, order) is asked here, as of a local catalogue.
        return search(ListTable([normalised(item) for item in items if item["collection"] == query.collection]), query)

    def count(self, query: Query) -> int:
        """The hub's own count where it was asked the whole query."""
        if query.filter or query.geometry is not None or query.start or query.end:
            return len(self.search(query))
        with self._answers():
            there = int(self._api.count(**self._asked(query)))
        return there if query.limit is None else min(there, query.limit)

    def _products(self, id: str) -> _Products:
        if id not in _COLLECTIONS:
            raise no_collection(self.id, id, _COLLECTIONS)
        return _COLLECTIONS[id]

    def _asked(self, query: Query) -> dict[str, Any]:
        """Arguments of sentinelsat: the box around the place, because hubs refuse long queries; whole seconds."""
        products = self._products(query.collection)
        asked: dict[str, Any] = {"platformname": f"{products.platform}*", "producttype": products.kind}
        start, end = query.interval
        if start or end:
            asked["date"] = (start, end and end + timedelta(seconds=1))
        if query.area is not None:
            asked["area"] = box(*query.area.bounds).wkt
        return asked

    @cached_property
    def _api(self) -> Any:
        from requests.adapters import HTTPAdapter
        from sentinelsat import SentinelAPI
        from urllib3 import Retry

        user, password = os.environ.get("DHUS_USER"), os.environ.get("DHUS_PASSWORD")
        api = SentinelAPI(user, password, self.root, show_progressbars=False)
        retry = Retry(total=2, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504), raise_on_status=False,
                      respect_retry_after_header=False)  # fmt: skip
        for scheme in ("http://", "https://"):
            api.session.mount(scheme, HTTPAdapter(max_retries=retry))
        send = api.session.send

        def checked(request: Any, **options: Any) -> Any:
            """Every request, those of redirects included; sentinelsat's own time-out reaches no request."""
            access.check_url(request.url)
            return send(request, **{**options, "timeout": TIMEOUT})

        api.session.send = checked
        return api

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Errors of the hub in our words."""
        from requests import RequestException, Timeout
        from sentinelsat.exceptions import QueryLengthError, QuerySyntaxError, SentinelAPIError, UnauthorizedError

        try:
            yield
        except UnauthorizedError:
            raise ReadError(
                f"hub {self.id!r} does not accept the user name and password (401): give them as DHUS_USER and "
                "DHUS_PASSWORD in the environment, or in ~/.netrc"
            ) from None
        except (QuerySyntaxError, QueryLengthError) as error:
            raise ReadError(f"hub {self.id!r} does not understand the query: {_short(error.msg)}") from None
        except SentinelAPIError as error:
            status = f" (HTTP {error.response.status_code})" if error.response is not None else ""
            raise ReadError(
                f"{self.root} does not answer as a DHuS hub{status}; it says: {_short(error.msg)}"
            ) from None
        except Timeout:
            raise ReadError(f"hub {self.id!r} did not answer within {TIMEOUT[1]:g} s") from None
        except RequestException as error:
            raise ReadError(f"hub {self.id!r} cannot be reached: {type(error).__name__}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReadError(f"hub {self.id!r} answers what cannot be read: {type(error).__name__}: {error}") from None


class Hubs:
    takes = "a DHuS hub (dhus+https://…)"

    def recognises(self, source: str) -> bool:
        return source.startswith((f"{_SCHEME}https://", f"{_SCHEME}http://"))

    def open(self, source: str) -> DhusCatalog:
        return DhusCatalog(source)


BACKEND = Hubs()


def _document(id: str, products: _Products) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": id,
        "title": products.title,
        "description": f"{products.title}: products of a DHuS hub, to be downloaded",
        "license": "other",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }


def _item(product: dict[str, Any], root: str) -> dict[str, Any]:
    """A product as a STAC Item; its only asset is the archive on the hub."""
    properties = {
        "datetime": format_time(_utc(product["beginposition"])),
        "platform": str(product.get("platformserialidentifier") or product["title"][:3].replace("S", "Sentinel-", 1)),
        "eo:cloud_cover": product.get("cloudcoverpercentage"),
        "grid:code": product.get("tileid") and f"MGRS-{product['tileid']}",
        "sat:relative_orbit": product.get("relativeorbitnumber"),
        "sat:orbit_state": str(product.get("orbitdirection") or "").lower() or None,
        "product:type": product.get("producttype"),
        "processing:version": product.get("processingbaseline"),
        "created": product.get("ingestiondate") and format_time(_utc(product["ingestiondate"])),
        "dhus:id": product["uuid"],
        "dhus:bytes": _bytes(product.get("size")),
    }
    geometry = _outline(product.get("footprint"))
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": product["title"],
        "collection": _collection_of(product),
        "geometry": geometry and mapping(geometry),
        "bbox": geometry and list(geometry.bounds),
        "properties": {name: value for name, value in properties.items() if value is not None},
        "links": [],
        "assets": {
            "product": {
                "href": f"{root}/odata/v1/Products('{product['uuid']}')/$value",
                "type": "application/zip",
                "roles": ["archive"],
                "title": "The product, as the hub hands it out to its users",
            }
        },
    }


def _collection_of(product: dict[str, Any]) -> str | None:
    platform, kind = str(product.get("platformname")), str(product.get("producttype"))
    for id, known in _COLLECTIONS.items():
        if platform.startswith(known.platform) and re.fullmatch(known.kind.replace("*", ".*"), kind):
            return id
    return None


def _utc(time: Any) -> Any:
    """The hub's times are UTC, and sentinelsat reads them without saying so."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _bytes(size: Any) -> int | None:
    """`110.44 MB` as bytes: as exact as the hub says it."""
    match = re.fullmatch(r"([\d.]+)\s*([KMGT]?B)", str(size or "").strip())
    return round(float(match[1]) * _UNITS[match[2]]) if match else None


def _outline(text: Any) -> Any:
    try:
        found = shapely.from_wkt(text) if text else None
    except (ShapelyError, TypeError):
        return None
    return None if found is None or found.is_empty else found


def _short(text: str) -> str:
    """One line for people, without links and markup."""
    plain = re.sub(r"<[^>]+>|[#*_|\\]+|https?://\S+", " ", text)
    return " ".join(plain.split())[:_MOST_LETTERS] or "nothing"
