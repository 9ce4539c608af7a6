"""Places and times as other openEO documents write them, in the one way in which they are written here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from muses_lab.errors import DocumentError

_SIDES = ("west", "south", "east", "north")
_GEOJSON = frozenset({
    "Feature", "FeatureCollection", "GeometryCollection", "Polygon", "MultiPolygon", "Point", "MultiPoint",
    "LineString", "MultiLineString",
})  # fmt: skip


def is_window(extent: Any, unset: type) -> bool:
    """Whether an extent is nothing but parameters that have no value: the whole, or all of its sides."""
    if isinstance(extent, unset):
        return True
    if isinstance(extent, Mapping):
        return all(isinstance(extent.get(side), unset) for side in _SIDES)
    return isinstance(extent, list) and len(extent) == 4 and all(isinstance(side, unset) for side in extent)


def area(extent: Any, node: str) -> tuple[Any, list[str]]:
    """A `spatial_extent`: a box or GeoJSON; and the names of what makes no difference."""
    if isinstance(extent, Mapping) and "type" in extent:
        if extent["type"] not in _GEOJSON:
            raise _wrong(f"GeoJSON has no type {extent['type']!r:.40}", node, "spatial_extent")
        return dict(extent), []
    return _box(extent)


def box(extent: Any, node: str) -> tuple[Any, list[str]]:
    """An `extent` of `filter_bbox`: a box, or the one around GeoJSON."""
    if not isinstance(extent, Mapping) or "type" not in extent:
        return _box(extent)
    try:
        bounds = [float(value) for value in shapely.GeometryCollection(list(geometries(extent))).bounds]
    except (ShapelyError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise _wrong(f"is no GeoJSON: {error}", node, "extent") from None
    return dict(zip(_SIDES, bounds, strict=True)), []


def geometries(geojson: Any) -> list[Any]:
    """The geometries of GeoJSON, as shapely's."""
    if geojson.get("type") == "FeatureCollection":
        return [shape(one["geometry"]) for one in geojson["features"] if one.get("geometry")]
    if geojson.get("type") == "Feature":
        return [shape(geojson["geometry"])]
    return [shape(geojson)]


def interval(extent: Any) -> Any:
    """An interval of time, which some write as the only one of a list."""
    return extent[0] if isinstance(extent, list) and len(extent) == 1 and isinstance(extent[0], list) else extent


def _box(extent: Any) -> tuple[Any, list[str]]:
    if isinstance(extent, list) and len(extent) in (4, 6):
        low, high = extent[: len(extent) // 2], extent[len(extent) // 2 :]
        made = dict(zip(_SIDES, (*low[:2], *high[:2]), strict=True))
        return made, ["height"] if len(extent) == 6 else []
    if not isinstance(extent, Mapping):
        return extent, []
    ignored = [key for key in ("base", "height") if extent.get(key) is not None]
    return {k: v for k, v in extent.items() if k not in ("base", "height") and not (k == "crs" and v is None)}, ignored


def _wrong(reason: str, node: str, argument: str) -> DocumentError:
    return DocumentError(
        f"node {node!r}: argument {argument!r}: {reason}",
        openeo="ProcessParameterInvalid",
        node=node,
        argument=argument,
    )
