"""STAC APIs on the web."""

from __future__ import annotations

from typing import Any


class Apis:
    takes = "the URL of a STAC API (https)"

    def recognises(self, source: str) -> bool:
        scheme, found, _ = source.partition("://")
        return bool(found) and scheme.lower() in ("https", "http")

    def open(self, source: str) -> Any:
        from muses_lab.catalog.api import ApiCatalog  # brings the HTTP libraries, which a local catalogue does without

        return ApiCatalog(source)


BACKEND = Apis()
