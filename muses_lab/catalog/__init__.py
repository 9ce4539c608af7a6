"""Collections and where to search them, behind one protocol; `backends` has what opens catalogues of each kind."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from muses_lab import settings
from muses_lab.catalog.backends import opened as open_source
from muses_lab.catalog.place import Place, place
from muses_lab.catalog.query import Query, QueryError
from muses_lab.errors import AmbiguousCollection, ArgumentError, MusesError, NotFound
from muses_lab.plain import shown
from muses_lab.raster import access

__all__ = [
    "Catalog",
    "Place",
    "Query",
    "QueryError",
    "collection_at",
    "find_catalog",
    "find_collection",
    "is_known",
    "is_own",
    "open_catalog",
    "open_catalog_at",
    "place",
    "register_catalog",
    "remember_object",
    "remove_catalog",
    "split_name",
]


class Catalog(Protocol):
    """What every catalogue can do; also one of your own class, given to `ml.collection(id, catalog)`.

    One whose content may change while it is open can also have a method `state(collection)`, which gives back something
    else (hashable) once the collection has changed. Without it, a collection's query is searched once. What a backend
    opens also has an attribute `source`: the path or URL that opens it again. An object of your own has none.
    """

    id: str
    """Names it in documents: two objects of one id are taken for one catalogue."""
    root: str
    """Folder or URL that relative hrefs belong to; local files are read only below it."""

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
    """A catalogue folder, a STAC GeoParquet (`.parquet`), an ItemCollection (`.json`), the URL of a STAC API, and
    whatever else a module of `muses_lab.catalog.backends`, or one of an installed package, opens.

    >>> catalog = open_catalog("items.parquet")                                       # doctest: +SKIP
    >>> ml.collection("sentinel-2-l2a", catalog)                                      # doctest: +SKIP
    >>> catalog.search(Query("sentinel-2-l2a", start="2018-06-01"))                   # doctest: +SKIP

    It is opened, not registered: `ml.collection(id)` alone does not look into it, and what it finds elsewhere does not
    change. Where its files are is remembered, so that maps of its scenes are drawn by other processes and after a
    restart too.
    """
    return _remembered(path_or_url, opened=True)


def register_catalog(path_or_url: str | Path) -> Catalog:
    """Opens a catalogue as `open_catalog` does, and has `ml.collection(id)` look into it from now on.

    >>> register_catalog("https://earth-search.aws.element84.com/v1")                 # doctest: +SKIP
    >>> ml.collection("sentinel-2-l2a")                                               # doctest: +SKIP
    """
    return _remembered(path_or_url, opened=False)


def remove_catalog(name: str | Path) -> str:
    """Forgets a catalogue, by its id or by where it is; gives back a sentence with what that means for chains.

    >>> remove_catalog("my-scenes-1a2b3c4d")                                          # doctest: +SKIP

    No file is deleted. Chains and maps of its scenes cannot be read on this machine until it is registered or opened
    again. `NotFound` says which catalogues there are.
    """
    known = settings.known_catalogs()
    places = {_source(entry): id for id, entry in known.items()}
    text = str(name)
    id = next((i for i in (text, places.get(text), places.get(_full(text))) if i in known), text)
    entry = settings.forget_catalog(id)
    if _source(entry).startswith(_OBJECT):
        again = "until the object is given to ml.collection(id, catalog) again"
    elif not entry["roots"]:
        again = f"until it is registered again with `muses-lab catalog register {_source(entry)}`"
    else:
        again = "until its files, which lie elsewhere, are added again with `muses-lab catalog add`"
    return (
        f"catalogue {id!r} is forgotten; nothing was deleted in {_where(entry)}. "
        f"Chains and maps of its scenes cannot be read {again}"
    )


def _remembered(path_or_url: str | Path, opened: bool) -> Catalog:
    if not isinstance(path_or_url, str | os.PathLike):
        raise ArgumentError(
            f"{shown(path_or_url)} is no catalogue: give the path of a folder or file, or the URL of a STAC API",
            argument="path_or_url",
        )
    catalog = _opened(str(path_or_url))
    known = settings.known_catalogs().get(catalog.id)
    if known and known["root"] != catalog.root and Path(known["root"]).exists():
        warnings.warn(
            f"catalogue {catalog.id!r} was at {known['root']} and is now read from {catalog.root}; "
            'give one of them another "id" in its catalog.json to use both',
            stacklevel=3,
        )
    settings.register_catalog(catalog.id, catalog.root, source=_place(catalog), opened=opened)
    return catalog


def is_known(id: str) -> bool:
    """Whether the files of a catalogue may be read here: it was registered or opened, and not removed since."""
    return id in settings.known_catalogs()


def is_own(catalog: Catalog) -> bool:
    """Whether a catalogue is an object of somebody's own class, which nothing here can open again."""
    return _place(catalog) is None


def remember_object(catalog: Catalog) -> None:
    """Where the files of a catalogue of the user's own class are, so that other processes read its scenes.

    Raises
    ------
    ArgumentError
        Its id or root are no texts, or the id is that of another catalogue.
    """
    name = f"{type(catalog).__module__}.{type(catalog).__qualname__}"
    for field in ("id", "root"):
        value = getattr(catalog, field, None)
        if not isinstance(value, str) or not value:
            raise ArgumentError(
                f"the catalogue {shown(catalog)} has {field}={shown(value)}: its id is a text that names it, its root "
                "the folder or URL that its relative hrefs belong to",
                argument="catalog",
            )
    root = catalog.root if "://" in catalog.root else _full(catalog.root)
    known = settings.known_catalogs().get(catalog.id)
    if known is not None and not _source(known).startswith(_OBJECT):
        if known["root"] == root:
            return
        raise ArgumentError(
            f"the id {catalog.id!r} of a catalogue of class {name} with files in {root} is that of another catalogue, "
            f"in {known['root']}: give it another id",
            argument="catalog",
        )
    settings.register_catalog(catalog.id, root, source=f"{_OBJECT}{name}", opened=True)


_OBJECT = "object:"
"""Begins what is remembered instead of a place to open: the name of a class follows."""


def find_catalog(id: str) -> Catalog:
    """The registered (or once opened) catalogue of that id; `NotFound` says which there are."""
    known = settings.known_catalogs()
    if id not in known:
        raise NotFound(f"no catalogue {id!r} is known here; {settings.catalogs_there_are(known)}", catalog=id)
    return _opened(_source(known[id]))


def find_collection(name: str) -> tuple[Catalog, str]:
    """The catalogue that has a collection, and the collection's id: of `collection` or `catalogue:collection`.

    >>> find_collection("sentinel-2-l2a")                                             # doctest: +SKIP

    Without a catalogue those on this machine are looked through first; those on the web are only asked when none of
    them has the collection. `AmbiguousCollection` says between which to choose, `NotFound` which there are.
    """
    catalog_id, collection = split_name(name)
    if catalog_id is not None:
        return find_catalog(catalog_id), collection
    registered = settings.registered_catalogs()
    problems: list[str] = []
    for remote in (False, True):
        found = _having(collection, {i: e for i, e in registered.items() if ("://" in _source(e)) is remote}, problems)
        if len(found) > 1:
            raise _ambiguous(collection, found)
        for catalog in found.values():
            return catalog, collection
    opened = {id: e for id, e in settings.known_catalogs().items() if id not in registered and "://" not in _source(e)}
    raise _not_found(collection, registered, _having(collection, opened, []), problems)


def open_catalog_at(url: str) -> Catalog:
    """The catalogue of the STAC Collection, Item or ItemCollection at an address of the web; it is opened, see there.

    Raises
    ------
    AccessDenied
        The address is none that may be asked, or no URL.
    """
    access.check_url(url)
    found = _OF_API.fullmatch(url)
    return open_catalog(found[1] if found else url)


def collection_at(url: str, catalog: Catalog) -> str:
    """The id of the collection at an address, in its catalogue."""
    if found := _OF_API.fullmatch(url):
        return unquote(found[2])
    if hasattr(catalog, "only"):
        return catalog.only
    raise NotFound(f"{url} is the address of a catalogue: give that of a collection, …/collections/<id>", url=url)


_OF_API = re.compile(r"(https?://.+)/collections/([^/?#]+)/?(?<!\.json)")
"""The address of a collection of a STAC API: of the API, and the collection's id."""


def split_name(name: str) -> tuple[str | None, str]:
    """Catalogue and collection of `catalogue:collection`; both ids may hold colons, so what is known decides."""
    known = [id for id in settings.known_catalogs() if name.startswith(f"{id}:")]
    if not known:
        return None, name
    id = max(known, key=len)
    return id, name[len(id) + 1 :]


def _having(collection: str, entries: dict[str, dict[str, Any]], problems: list[str]) -> dict[str, Catalog]:
    """Those of the catalogues that have a collection, each once, by where they are."""
    found = {}
    for id, entry in sorted(entries.items()):
        try:
            catalog = _opened(_source(entry))
            if any(c["id"] == collection for c in catalog.collections()):
                found[_source(entry)] = catalog
        except MusesError as error:  # one catalogue that is gone must not hide the others
            problems.append(f"{id}: {error}")
    return found


def _ambiguous(collection: str, found: dict[str, Catalog]) -> AmbiguousCollection:
    places = " and ".join(f"{c.id!r} ({source})" for source, c in found.items())
    choices = [f"{c.id}:{collection}" for c in found.values()]
    return AmbiguousCollection(
        f"collection {collection!r} is in {len(found)} catalogues: {places}. Say which: "
        f"{' or '.join(map(repr, choices))}; `muses-lab catalog remove` takes one out of the search",
        collection=collection,
        choices=choices,
    )


def _not_found(
    collection: str, registered: dict[str, Any], opened: dict[str, Catalog], problems: list[str]
) -> NotFound:
    wanted = f"no registered catalogue has the collection {collection!r}"
    if ":" in collection:
        wanted = f"no catalogue {collection.rpartition(':')[0]!r} is known here, and {wanted}"
    elsewhere = "".join(
        f"; catalogue {c.id!r} has it, which was opened and is not registered: use '{c.id}:{collection}', "
        f"or `muses-lab catalog register {source}`"
        for source, c in opened.items()
    )
    unreadable = f" (not readable: {'; '.join(problems)})" if problems else ""
    return NotFound(
        f"{wanted}; {settings.catalogs_there_are(registered)}{elsewhere}{unreadable}", collection=collection
    )


def _opened(source: str) -> Catalog:
    if source.startswith(_OBJECT):
        raise NotFound(
            f"this catalogue is an object of class {source.removeprefix(_OBJECT)}, which cannot be opened by its name: "
            "give the object, ml.collection(id, catalog)"
        )
    return open_source(source)


def _place(catalog: Catalog) -> str | None:
    """What opens a catalogue again; None for an object of somebody's own class, for which there is no backend."""
    return getattr(catalog, "source", None)


def _source(entry: dict[str, Any]) -> str:
    return entry.get("source") or entry["root"]


def _where(entry: dict[str, Any]) -> str:
    """Where a catalogue is, for people."""
    return entry["root"] if _source(entry).startswith(_OBJECT) else _source(entry)


def _full(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().resolve())
