"""Collections: the beginning of every chain. A lazy catalogue query that knows how it looks in a document."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import shapely
from shapely.errors import ShapelyError

from muses_lab import products
from muses_lab.catalog import Catalog, Query, collection_at, find_collection, is_known, is_own, open_catalog_at
from muses_lab.catalog.condition import Condition
from muses_lab.document.extents import geometries
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import DocumentError, NoScenes
from muses_lab.operators import registry
from muses_lab.operators.cubes import BBox, to_degrees
from muses_lab.publish.conditions import as_text
from muses_lab.scenes.scene import Scenes

LOADS = ("load_collection", "muses:load_collection", "load_stac", "load_url")
WITHOUT_DATES = ("load_url",)
"""Those that give an image of the one scene that they stand for."""

_COMPARISONS = {"=": "eq", "<>": "neq", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def to_node(catalog: str, query: Query, bands: tuple[str, ...] | None) -> Node:
    """A query as a node: openEO's `load_collection` where that can say it all, else `muses:load_collection`."""
    common: dict[str, Any] = {"id": f"{catalog}:{query.collection}", "bands": list(bands) if bands else None}
    if query.start or query.end:
        common["temporal_extent"] = [query.start, query.end]
    conditions = _as_conditions(query.filter)
    place = _place(query)
    if place is None and not query.sortby and query.limit is None and conditions is not None:
        return registry.node("load_collection", **common, properties=conditions or None)
    return registry.node(
        "muses:load_collection",
        **common,
        filter=query.filter,
        intersects=place,
        sortby=list(query.sortby) or None,
        limit=query.limit,
    )


def _place(query: Query) -> dict[str, Any] | None:
    if query.geometry is not None:
        return query.geometry
    if query.bbox is None:
        return None
    w, s, e, n = query.bbox
    if w > e:  # across the antimeridian, in two parts
        return {"type": "MultiPolygon", "coordinates": [_ring(w, s, 180.0, n), _ring(-180.0, s, e, n)]}
    return {"type": "Polygon", "coordinates": _ring(w, s, e, n)}


def _ring(w: float, s: float, e: float, n: float) -> list[list[list[float]]]:
    return [[[w, s], [e, s], [e, n], [w, n], [w, s]]]


def from_node(node: Node, catalog: Catalog) -> tuple[Query, Mapping[str, Any] | None]:
    """(query, box or GeoJSON to crop to) of a loading node that is searched in a catalogue."""
    arguments = node.arguments
    collection = _collection(node, catalog)
    start, end = arguments.get("temporal_extent") or (None, None)
    extent = arguments.get("spatial_extent")
    query = Query(
        collection,
        start=start,
        end=end,
        filter=arguments.get("filter") or as_text(arguments.get("properties")),
        geometry=arguments.get("intersects"),
        sortby=tuple(arguments.get("sortby") or ()),
        limit=arguments.get("limit"),
    )
    if extent is None:
        return query, None
    return replace(query, bbox=_around(extent)), extent


def _collection(node: Node, catalog: Catalog) -> str:
    """The id of the collection that a node loads, in its catalogue."""
    if "url" in node.arguments:
        return collection_at(node.arguments["url"], catalog)
    return node.arguments["id"].removeprefix(f"{catalog.id}:")


def _catalog(node: Node) -> Catalog:
    """The catalogue in which the collection that a node loads is found."""
    if "url" in node.arguments:
        return open_catalog_at(node.arguments["url"])
    return find_collection(node.arguments["id"])[0]


def _around(extent: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """The box in degrees in which scenes must be for an extent; None where that cannot be said."""
    if "type" not in extent:
        box = BBox.model_validate(extent)
        west, south, east, north = box.west, box.south, box.east, box.north
        return to_degrees(box.crs).transform_bounds(west, south, east, north)
    try:
        shapes = shapely.GeometryCollection(geometries(extent))
    except (ShapelyError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise DocumentError(
            f"`spatial_extent` is no GeoJSON: {error}", openeo="ProcessParameterInvalid", argument="spatial_extent"
        ) from None
    west, south, east, north = map(float, shapes.bounds)
    return (west, south, east, north) if not shapes.is_empty and "crs" not in extent else None


class Found(NamedTuple):
    """What a loading node stands for."""

    scenes: Scenes
    problems: tuple[str, ...]
    """Items that were left out, with the reason."""
    crop: Mapping[str, Any] | None
    """The box, or GeoJSON, to crop to."""


class Searches:
    """What loading nodes stand for; a query is searched once, for a collection and all chains that begin with it.

    A catalogue that tells its state is searched again once that has changed. Any other is taken to stay as it is for
    as long as the collection object lives: `anew` asks it again.
    """

    def __init__(self, catalog: Catalog | None = None) -> None:
        self.catalog = catalog
        """Where all of them are searched; None: where the nodes say."""
        self._kept: OrderedDict[str, tuple[Catalog, Hashable, Found]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        own = self.catalog is not None and is_own(self.catalog)  # any other is opened there, by its id
        return Searches, (self.catalog if own else None,)

    def load(self, node: Node) -> Found:
        """What a loading node stands for, from the last search where that still holds."""
        kept = self._kept.get(node.hash)
        if kept is not None:
            catalog, state, found = kept
            if _state(catalog, from_node(node, catalog)[0].collection) == state:
                return found
        return self.anew(node)

    def anew(self, node: Node) -> Found:
        """What a loading node stands for now."""
        own = self.catalog
        catalog = own if own is not None and is_known(own.id) else _catalog(node)  # `NotFound`: it was removed
        query, crop = from_node(node, catalog)
        state = _state(catalog, query.collection)  # before the search: what changes meanwhile is searched again
        items = catalog.search(query)
        if not items:
            raise NoScenes(_nothing(catalog, query))
        problems: list[products.Problem] = []
        scenes = products.scenes(items, catalog.collection(query.collection), catalog.id, problems)
        if not len(scenes):
            raise NoScenes(f"none of the {len(items)} scenes of {query.collection!r} can be used: {problems[0].reason}")
        found = Found(scenes, tuple(map(str, problems)), crop)
        self._kept.pop(node.hash, None)
        if not any(problem.passing for problem in problems):
            self._kept[node.hash] = catalog, state, found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


_KEPT = 16
"""Queries of one collection whose scenes are remembered: those of a slider that goes back and forth."""


def _state(catalog: Catalog, collection: str) -> Hashable:
    """What changes when a collection of a catalogue does; None where that cannot be known."""
    state = getattr(catalog, "state", None)
    return None if state is None else state(collection)


def _nothing(catalog: Catalog, query: Query) -> str:
    every = catalog.count(Query(query.collection))
    asked = [
        f"dates {query.start or '…'} to {query.end or '…'}" if query.start or query.end else "",
        f"filter {query.filter!r}" if query.filter else "",
        "the place" if query.bbox or query.geometry else "",
    ]
    conditions = " and ".join(a for a in asked if a)
    return (
        f"no scene of {query.collection!r} fits {conditions or 'the query'}; "
        f"the collection has {every} scenes in catalogue {catalog.id!r}{_exchanged(catalog, query)}"
    )


def _exchanged(catalog: Catalog, query: Query) -> str:
    """A hint where the bounds in another order (latitude first) would have found some."""
    if query.area is None:
        return ""
    south, west, north, east = query.area.bounds
    if max(abs(south), abs(north)) > 90:
        return ""
    if not (count := catalog.count(replace(query, bbox=(west, south, east, north), geometry=None))):
        return ""
    return (
        f". With latitude and longitude exchanged, west={west:g}, south={south:g}, east={east:g}, north={north:g}, "
        f"{count} fit: the order is west, south, east, north"
    )


def _as_conditions(text: str | None) -> dict[str, Callback] | None:
    """A CQL2 text as openEO `properties`; None where they cannot say it (OR, functions, two conditions on one)."""
    if text is None:
        return {}
    expression = Condition(text).json
    parts = expression["args"] if expression.get("op") == "and" else [expression]
    conditions: dict[str, Callback] = {}
    for part in parts:
        arguments = part.get("args") or [None, None]
        simple = (
            part.get("op") in _COMPARISONS
            and isinstance(arguments[0], dict)
            and isinstance(arguments[0].get("property"), str)
            and (isinstance(arguments[1], int | float) or (isinstance(arguments[1], str) and part["op"] in ("=", "<>")))
        )
        if not simple or arguments[0]["property"] in conditions:
            return None
        process = _COMPARISONS[part["op"]]
        callback = registry.node(process, inside_callback=True, x=Parameter("value"), y=arguments[1])
        conditions[arguments[0]["property"]] = Callback(callback)
    return conditions
