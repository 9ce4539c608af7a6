"""A STAC API on loopback: real HTTP, real paging, as the public ones answer; `conforms` says what it can do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from shapely import box, intersects
from shapely.geometry import shape

CORE = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/collections",
        "https://api.stacspec.org/v1.0.0/item-search", "https://api.stacspec.org/v1.0.0/ogcapi-features"]  # fmt: skip
FILTER = "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter"
SORT = "https://api.stacspec.org/v1.0.0-rc.2/item-search#sort"


def _open() -> Event:
    gate = Event()
    gate.set()
    return gate


@dataclass
class Api:
    """What a server has, and what it was asked."""

    collections: dict[str, dict[str, Any]]
    items: list[dict[str, Any]]
    conforms: list[str] = field(default_factory=lambda: list(CORE))
    page: int = 10
    next_href: str | None = None
    """Where the link to the next page leads instead."""
    redirect: str | None = None
    """Where every search is redirected to."""
    fail: int = 0
    """So many searches answer 503 before one works."""
    gate: Event = field(default_factory=_open)
    """Searches wait until it is set."""
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    def found(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        items = [i for i in self.items if i["collection"] in body.get("collections", [i["collection"]])]
        if body.get("bbox"):
            items = [i for i in items if intersects(box(*body["bbox"]), shape(i["geometry"]))]
        if body.get("intersects"):
            items = [i for i in items if intersects(shape(body["intersects"]), shape(i["geometry"]))]
        if body.get("datetime"):
            start, _, end = body["datetime"].partition("/")
            items = [
                i for i in items
                if (start == ".." or _time(i) >= _parsed(start)) and (end == ".." or _time(i) <= _parsed(end or start))
            ]  # fmt: skip
        if body.get("filter"):
            import cql2

            expression = cql2.Expr(body["filter"])
            items = [i for i in items if expression.matches(i)]
        for key in reversed(body.get("sortby", [])):
            name = key["field"].removeprefix("properties.")
            items = sorted(
                items,
                key=lambda i: i["id"] if name == "id" else i["properties"][name],  # noqa: B023 (used at once)
                reverse=key["direction"] == "desc",
            )
        return items


def _time(item: dict[str, Any]) -> datetime:
    return _parsed(item["properties"]["datetime"])


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@contextmanager
def serving(api: Api) -> Iterator[str]:
    """The URL of the API while it is served."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].rstrip("/")
            if path == "/stac":
                self.answer(_landing(api))
            elif path == "/stac/collections":
                self.answer({"collections": list(api.collections.values()), "links": []})
            elif path.startswith("/stac/collections/") and (id := path.rpartition("/")[2]) in api.collections:
                self.answer(api.collections[id])
            else:
                self.answer({"code": "NotFoundError", "description": "not found"}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.asked.append(body)
            api.gate.wait(300)
            if api.fail:
                api.fail -= 1
                return self.answer({"description": "busy"}, 503)
            if api.redirect:
                return self.answer({}, 302, Location=api.redirect)
            found = api.found(body)
            first = int(body.get("token", 0))
            size = min(int(body.get("limit", api.page)), api.page)
            links = []
            if first + size < len(found):
                href = api.next_href or f"{api.url}/search"
                links = [{"rel": "next", "method": "POST", "href": href, "body": {**body, "token": str(first + size)}}]
            self.answer(
                {
                    "type": "FeatureCollection",
                    "features": found[first : first + size],
                    "links": links,
                    "numberMatched": len(found),
                }
            )

        def answer(self, document: Any, status: int = 200, **headers: str) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # who asked has given up
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}/stac"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _landing(api: Api) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "loopback",
        "description": "a STAC API for tests",
        "conformsTo": api.conforms,
        "links": [
            {"rel": "self", "href": api.url},
            {"rel": "root", "href": api.url},
            {"rel": "data", "href": f"{api.url}/collections"},
            {"rel": "search", "href": f"{api.url}/search", "method": "POST", "type": "application/geo+json"},
        ],
    }
