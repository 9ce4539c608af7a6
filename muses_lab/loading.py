"""Collections: the beginning of every chain. A lazy catalogue query that knows how it looks in a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muses_lab import products
from muses_lab.catalog import Catalog, Query, find_catalog
from muses_lab.catalog.condition import Condition
from muses_lab.errors import DocumentError, NotFound
from muses_lab.graph import Callback, Node, Parameter
from muses_lab.operators import registry
from muses_lab.scenes import Scenes

LOADS = ("load_collection", "muses:load_collection")

_COMPARISONS = {"=": "eq", "<>": "neq", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_TEXTS = {v: k for k, v in _COMPARISONS.items()}


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
    return {"type": "Polygon", "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]]}


def from_node(node: Node) -> tuple[str | None, Query, Mapping[str, Any] | None]:
    """(catalogue, query, box to crop to) of a loading node."""
    arguments = node.arguments
    catalog, _, collection = arguments["id"].rpartition(":")
    start, end = arguments.get("temporal_extent") or (None, None)
    extent = arguments.get("spatial_extent")
    query = Query(
        collection,
        start=start,
        end=end,
        filter=arguments.get("filter") or _as_text(arguments.get("properties")),
        geometry=arguments.get("intersects"),
        sortby=tuple(arguments.get("sortby") or ()),
        limit=arguments.get("limit"),
    )
    if extent is None:
        return catalog or None, query, None
    if "west" not in extent:
        raise DocumentError(
            "load_collection: only bounding boxes are supported as `spatial_extent`, not GeoJSON",
            argument="spatial_extent",
        )
    return catalog or None, query, extent


def load(node: Node) -> tuple[Scenes, list[str], Mapping[str, Any] | None]:
    """The scenes that a loading node stands for, what was left out and why, and the box to crop to."""
    catalog_id, query, crop = from_node(node)
    catalog = find_catalog(catalog_id, query.collection)
    problems: list[products.Problem] = []
    found = catalog.search(query)
    if not found:
        raise NotFound(_nothing(catalog, query))
    scenes = products.scenes(found, catalog.collection(query.collection), catalog.id, problems)
    if not len(scenes):
        raise NotFound(f"none of the {len(found)} scenes of {query.collection!r} can be used: {problems[0].reason}")
    return scenes, [f"{p.item}{f' ({p.asset})' if p.asset else ''}: {p.reason}" for p in problems], crop


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
        f"the collection has {every} scenes in catalogue {catalog.id!r}"
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


def _as_text(conditions: Mapping[str, Callback] | None) -> str | None:
    """openEO `properties` as CQL2 text."""
    if not conditions:
        return None
    parts = []
    for name, condition in sorted(conditions.items()):
        node = condition.root
        value = node.arguments.get("y")
        constant = isinstance(value, int | float | str)
        if node.process not in _TEXTS or not isinstance(node.arguments.get("x"), Parameter) or not constant:
            known = ", ".join(_TEXTS)
            raise DocumentError(
                f"the condition on {name!r} uses {node.process!r}; conditions on properties may be {known} of `value` "
                "and a number or text",
                argument="properties",
            )
        literal = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else value
        quoted = name.replace('"', '""')
        parts.append(f'"{quoted}" {_TEXTS[node.process]} {literal}')
    return " AND ".join(parts)
