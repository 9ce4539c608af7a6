"""STAC documents on the web: an Item, an ItemCollection, a static Collection."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit


class Documents:
    takes = "the URL of a STAC Item, ItemCollection or static Collection (.json)"

    def recognises(self, source: str) -> bool:
        if not source.lower().startswith(("https://", "http://")):
            return False
        path = urlsplit(source).path
        return path.endswith((".json", ".geojson")) or path.rstrip("/").rpartition("/")[0].endswith("/items")

    def open(self, source: str) -> Any:
        from muses_lab.catalog.web import WebDocument  # brings the HTTP libraries, which a local catalogue does without

        return WebDocument(source)


BACKEND = Documents()
