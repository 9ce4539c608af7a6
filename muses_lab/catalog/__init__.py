"""Collections and where to search them: a folder, a file, a STAC API, behind one protocol."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Protocol

from muses_lab import settings
from muses_lab.catalog.local import FileCatalog, FolderCatalog
from muses_lab.catalog.place import Place, place
from muses_lab.catalog.query import Query, QueryError
from muses_lab.errors import MusesError, NotFound

__all__ = ["Catalog", "Place", "Query", "QueryError", "find_catalog", "open_catalog", "place"]


class Catalog(Protocol):
    """What every catalogue can do."""

    id: str
    root: str
    """Folder or URL that relative hrefs belong to."""

    def collections(self) -> list[dict[str, Any]]:
        """STAC Collections."""
        ...

    def collection(self, id: str) -> dict[str, Any]:
        """One STAC Collection; `NotFound` names the ones there are."""
        ...

    def search(self, query: Query) -> list[dict[str, Any]]:
        """STAC Items, by (datetime, id) unless the query sorts them."""
        ...

    def count(self, query: Query) -> int:
        """How many items `search` finds, without fetching them where that can be had."""
        ...


def open_catalog(path_or_url: str | Path) -> Catalog:
    """A catalogue folder, a STAC GeoParquet (`.parquet`), an ItemCollection (`.json`) or the URL of a STAC API.

    >>> open_catalog("sample").search(Query("sentinel-2-l2a", start="2018-06-01"))   # doctest: +SKIP

    It is registered (`settings.register_catalog`), so that notebook, service and workers find its files.
    """
    catalog, source = _opened(str(path_or_url))
    known = settings.registered_catalogs().get(catalog.id)
    if known and known["root"] != catalog.root and Path(known["root"]).exists():
        warnings.warn(
            f"catalogue {catalog.id!r} was at {known['root']} and is now read from {catalog.root}; "
            'give one of them another "id" in its catalog.json to use both',
            stacklevel=2,
        )
    settings.register_catalog(catalog.id, catalog.root, source=source)
    return catalog


def find_catalog(catalog_id: str | None = None, collection_id: str | None = None) -> Catalog:
    """The registered catalogue of that id, or the one that has the collection; `NotFound` says which there are.

    Without an id the catalogues on this machine are looked through first; those on the web are only asked when none
    of them has the collection.
    """
    registered = settings.registered_catalogs()
    if catalog_id is not None:
        if catalog_id not in registered:
            raise NotFound(f"no catalogue {catalog_id!r} is registered; {_listed(registered)}", catalog=catalog_id)
        return _opened(_source(registered[catalog_id]))[0]
    problems = []
    for remote in (False, True):
        found = []
        for id, entry in sorted(registered.items()):
            if ("://" in _source(entry)) is not remote:
                continue
            try:
                catalog = _opened(_source(entry))[0]
                if collection_id is None or any(c["id"] == collection_id for c in catalog.collections()):
                    found.append(catalog)
            except MusesError as error:  # one catalogue that is gone must not hide the others
                problems.append(f"{id}: {error}")
        if len(found) == 1:
            return found[0]
        if found:
            what = f"collection {collection_id!r} is in several catalogues" if collection_id else "there are several"
            names = ", ".join(c.id for c in found)
            raise NotFound(f"{what}: {names}; say which, for example catalog={found[0].id!r}")
    wanted = f"no registered catalogue has the collection {collection_id!r}" if collection_id else "no catalogue"
    unreadable = f" (not readable: {'; '.join(problems)})" if problems else ""
    raise NotFound(f"{wanted}; {_listed(registered)}{unreadable}", collection=collection_id)


def _opened(source: str) -> tuple[Catalog, str]:
    """The catalogue, and what to open it by next time."""
    if "://" in source:
        from muses_lab.catalog.api import ApiCatalog  # brings the HTTP libraries, which a local catalogue does without

        return ApiCatalog(source), source
    path = Path(source).expanduser().resolve()
    if path.is_dir():
        if not (path / "catalog.json").exists():
            raise NotFound(
                f"{path} has no catalog.json, it is not a catalogue folder; `muses-lab catalog add` makes one"
            )
        return FolderCatalog(path), str(path)
    if not path.exists():
        raise NotFound(f"there is no catalogue at {path}", path=str(path))
    if path.name == "catalog.json":
        return FolderCatalog(path.parent), str(path.parent)
    if path.suffix in (".parquet", ".json", ".geojson"):
        return FileCatalog(path), str(path)
    raise NotFound(f"{path} is not a catalogue: open a catalogue folder, a .parquet, an ItemCollection .json, or a URL")


def _source(entry: dict[str, Any]) -> str:
    return entry.get("source") or entry["root"]


def _listed(registered: dict[str, Any]) -> str:
    if not registered:
        return "none is registered yet: `muses-lab sample` makes one, ml.open_catalog(path_or_url) opens one"
    return "registered are: " + ", ".join(sorted(registered))
