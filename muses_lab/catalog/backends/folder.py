"""Catalogue folders, as `muses-lab catalog add` and `muses-lab sample` make them."""

from __future__ import annotations

from pathlib import Path

from muses_lab.catalog.local import FolderCatalog


class Folders:
    takes = "a catalogue folder (with catalog.json)"

    def recognises(self, source: str) -> bool:
        path = Path(source)
        return "://" not in source and (path.name == "catalog.json" or (path / "catalog.json").exists())

    def open(self, source: str) -> FolderCatalog:
        path = Path(source)
        return FolderCatalog(path.parent if path.name == "catalog.json" else path)


BACKEND = Folders()
