"""One GeoTIFF on the web as a catalogue of one scene."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit


class Rasters:
    takes = "the URL of a GeoTIFF (.tif)"

    def recognises(self, source: str) -> bool:
        is_url = source.lower().startswith(("https://", "http://"))
        return is_url and urlsplit(source).path.lower().endswith((".tif", ".tiff"))

    def open(self, source: str) -> Any:
        from muses_lab.catalog.web_raster import WebRaster  # brings GDAL, which a catalogue of items does without

        return WebRaster(source)


BACKEND = Rasters()
