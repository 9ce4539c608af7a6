"""Files of STAC items: GeoParquet or an ItemCollection."""

from __future__ import annotations

from pathlib import Path

from muses_lab.catalog.local import FileCatalog


class Files:
    takes = "a STAC GeoParquet (.parquet) or an ItemCollection (.json, .geojson)"

    def recognises(self, source: str) -> bool:
        path = Path(source)
        is_items = path.suffix in (".parquet", ".json", ".geojson") and path.name != "catalog.json"
        return "://" not in source and is_items and not path.is_dir()

    def open(self, source: str) -> FileCatalog:
        return FileCatalog(source)


BACKEND = Files()
