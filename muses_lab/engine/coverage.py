"""Windows without a scene: told before anything is evaluated, in words that name both places."""

from __future__ import annotations

import math

import shapely
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError

from muses_lab.crs import crs_name, transformer
from muses_lab.engine.graph import PreparedGraph
from muses_lab.engine.mosaic import reaches
from muses_lab.errors import CrsError
from muses_lab.raster.grid import Bounds, bounds_of

_DEGREES = "EPSG:4326"


def nowhere(prepared: PreparedGraph, window: GeoBox) -> str:
    """Why a chain has nothing on a window that no scene touches: a sentence for who asked."""
    step = prepared.output
    if reaches(prepared, window):
        return "no scene of the chain touches the window on any of its dates, although there are some around it"
    outlines = [
        _in_degrees(prepared.outline(step, id).bounds, grid.crs)
        for id, grid in step.grids.items()
        if not prepared.outline(step, id).is_empty
    ]
    scenes = [shapely.box(*bounds) for bounds in outlines if bounds is not None]
    there = _in_degrees(bounds_of(window), crs_name(window.crs))
    if there is None or not scenes:
        return "no scene of the chain touches the window"
    west, south, east, north = there
    turned = shapely.box(south, west, north, east)  # latitude for longitude
    cure = "; are longitude and latitude exchanged?" if any(turned.intersects(place) for place in scenes) else ""
    return (
        f"no scene of the chain touches the window: that is at {_text(there)}, the scenes are at "
        f"{_text(shapely.union_all(scenes).bounds)}{cure}"
    )


def _text(bounds: Bounds) -> str:
    west, south, east, north = (f"{v:.6g}" for v in bounds)
    return f"longitudes {west} to {east}, latitudes {south} to {north}"


def _in_degrees(bounds: Bounds, crs: str) -> Bounds | None:
    """Bounds in longitude and latitude; None where they have none."""
    try:
        found = transformer(crs, _DEGREES).transform_bounds(*bounds)
    except (CrsError, ProjError):
        return None
    west, south, east, north = found
    return (west, south, east + (360 if east < west else 0), north) if all(map(math.isfinite, found)) else None
