"""Files of a panel of series: the one that keeps its places, those that the page is given, and those it opens."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from muses_widgets.places.kept import Places, is_ours

NAMES = {"csv": "series.csv", "parquet": "series.parquet", "gpkg": "places.gpkg", "geojson": "places.geojson"}
"""What the files are called that the page is given."""


class PlacesFile:
    """The file that kept places are written to after every change; None: there is none.

    A file that `Places.save` did not make is only read: what is in it would be lost.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self.is_of_others = self.path is not None and self.path.is_file() and not is_ours(self.path)
        self._lock = threading.Lock()

    def open(self) -> Places | None:
        """The places that are in it; None where there is no file."""
        if self.path is None:
            return None
        return Places.open(self.path) if self.path.is_file() else Places()

    def save(self, places: Places) -> None:
        if self.path is not None and not self.is_of_others:
            with self._lock:
                places.save(self.path)

    def note(self) -> str:
        """What one should know of it."""
        if self.path is None or not self.is_of_others:
            return ""
        return (f"{self.path.name} is of another program and is only read: changes are kept when you save them under "
                'another name, places.save("places.gpkg").')  # fmt: skip


def body(kind: str, writers: Mapping[str, Callable[[Path], Any]]) -> bytes:
    """The bytes of the file that a writer makes, by its kind of `NAMES`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAMES[kind]
        writers[kind](path)
        return path.read_bytes()


def add(places: Places, name: str, body: bytes) -> None:
    """Adds the places of a file that the page has read, with their series."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(name).name
        path.write_bytes(body)
        found = Places.open(path)
    with places.together():
        for place in found:
            kept = places.add(place.geometry, place.name, place.colour, place.attributes)
            for quantity, rows in place.series.items():
                places.note(kept.id, quantity, rows)
