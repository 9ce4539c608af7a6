"""Catalogues on this machine: a folder, a STAC GeoParquet file, an ItemCollection JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from muses_lab.catalog.describe import describe_collection
from muses_lab.catalog.query import Query
from muses_lab.catalog.table import ArrowTable, ListTable, Table, count, search
from muses_lab.errors import MusesError, NotFound, ReadError
from muses_lab.products.items import PROBLEM, normalised


class FolderCatalog:
    """A catalogue folder: `catalog.json`, and per collection `collection.json` and `items.parquet`.

    >>> FolderCatalog("sample").search(Query("sentinel-2-l2a"))   # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        self.root = self.source = str(self.folder)
        self.id: str = read_json(self.folder / "catalog.json")["id"]

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderCatalog, (self.folder,)

    def __repr__(self) -> str:
        return sentence(self.id, self.root, lambda: [document["id"] for document in self.collections()])

    def collections(self) -> list[dict[str, Any]]:
        return [document for _, document in self._collections()]

    def collection(self, id: str) -> dict[str, Any]:
        return pick_collection(self.id, self.collections(), id)

    def search(self, query: Query) -> list[dict[str, Any]]:
        return search(self._items(query.collection), query)

    def count(self, query: Query) -> int:
        return count(self._items(query.collection), query)

    def state(self, collection: str) -> Hashable:
        return tuple(
            (str(folder), _stamp(folder / "collection.json"), _stamp(file) if file.exists() else None)
            for folder, document in self._collections()
            if document["id"] == collection
            for file in [folder / "items.parquet"]
        )

    def _items(self, collection: str) -> Table:
        for folder, document in self._collections():
            if document["id"] == collection:
                file = folder / "items.parquet"
                if not file.exists():
                    raise ReadError(
                        f"{folder} has no items.parquet: a STAC catalogue of single files becomes one that can be "
                        f"searched with `muses-lab catalog add {self.folder}`"
                    )
                return read_table(file)
        raise no_collection(self.id, collection, (document["id"] for _, document in self._collections()))

    def _collections(self) -> list[tuple[Path, dict[str, Any]]]:
        return [(file.parent, read_json(file)) for file in sorted(self.folder.glob("*/collection.json"))]


_SHOWN = 8
"""So many collections are named where a catalogue is shown."""
_DESCRIBED_BY = 100
"""So many items of a bare file say what bands its collection has."""


class FileCatalog:
    """One file of items: STAC GeoParquet (`.parquet`) or an ItemCollection (`.json`).

    Its id is the file's name with a digest of the contents, so that it is the same on every machine that has the file.
    Relative hrefs belong to the file's folder.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file).resolve()
        self.root, self.source = str(self.file.parent), str(self.file)
        self._table = read_table(self.file)
        self.id = f"{self.file.stem}-{_digest(self.file, _stamp(self.file))[:12]}"

    def __reduce__(self) -> tuple[Any, ...]:
        return FileCatalog, (self.file,)

    def __repr__(self) -> str:
        return sentence(self.id, str(self.file), self._names)

    def collections(self) -> list[dict[str, Any]]:
        return [
            describe_collection(name, search(self._table, Query(name, limit=_DESCRIBED_BY))) for name in self._names()
        ]

    def collection(self, id: str) -> dict[str, Any]:
        return pick_collection(self.id, self.collections(), id)

    def search(self, query: Query) -> list[dict[str, Any]]:
        return search(self._items(query.collection), query)

    def count(self, query: Query) -> int:
        return count(self._items(query.collection), query)

    def _items(self, collection: str) -> Table:
        if collection not in self._names():
            raise no_collection(self.id, collection, self._names())
        return self._table

    def _names(self) -> list[str]:
        return sorted({name for name in self._table.collections() if name}) or [self.file.stem]


def sentence(id: str, place: str, names: Callable[[], list[str]]) -> str:
    """What a catalogue is, for people."""
    try:
        known = names()
    except MusesError as error:
        return f"Catalogue {id!r} in {place}, which cannot be read: {error}"
    shown = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
    said = {0: "without a collection", 1: f"with the collection {shown}"}
    return f"Catalogue {id!r} in {place}, {said.get(len(known), f'with {len(known)} collections: {shown}')}"


def pick_collection(catalog_id: str, collections: Iterable[dict[str, Any]], id: str) -> dict[str, Any]:
    known = {document["id"]: document for document in collections}
    if id not in known:
        raise no_collection(catalog_id, id, known)
    return known[id]


def no_collection(catalog_id: str, id: str, known: Iterable[str]) -> NotFound:
    names = ", ".join(sorted(known)) or "none"
    return NotFound(f"catalogue {catalog_id!r} has no collection {id!r}; it has: {names}", collection=id)


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ReadError(f"{file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ReadError(f"{file} is not JSON: {error}") from None


def read_table(file: Path) -> Table:
    """The items of a file; kept while the file does not change."""
    return _read_table(file, _stamp(file))


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        stat = file.stat()
    except OSError as error:
        raise ReadError(f"{file} cannot be read: {error.strerror or error}") from None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=16)
def _read_table(file: Path, stamp: tuple[int, int, int]) -> Table:
    if file.suffix == ".parquet":
        return ArrowTable.read(file)
    document = read_json(file)
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise ReadError(f"{file} is not an ItemCollection: its type is not FeatureCollection")
    items = [normalised(item, number) for number, item in enumerate(document.get("features") or [])]
    if items and all(PROBLEM in item for item in items):
        raise ReadError(f"{file} holds no STAC Item that can be used; {items[0]['id']!r}: {items[0][PROBLEM]}")
    return ListTable(items)


@lru_cache(maxsize=64)
def _digest(file: Path, stamp: tuple[int, int, int]) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
