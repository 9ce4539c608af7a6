"""What is asked of a chain: some bands and dates of it, in an area, on a grid. Short ways for what operators do.

`chain.export(path, area, bands=…, dates=…, crs=…, resolution=…, like=…, clip=…)`, and so `compute` and `plan`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from muses_lab import globe
from muses_lab.api.dated import of_dates
from muses_lab.api.features import noted, read
from muses_lab.crs import crs_name, known_crs, transformer
from muses_lab.engine.graph import PreparedGraph
from muses_lab.errors import ArgumentError, ExtentRequired, NotFound, WindowError
from muses_lab.operators.vectors import Features
from muses_lab.plain import plain, shown
from muses_lab.raster import window_checks
from muses_lab.raster.grid import Bounds, Grid, same_crs
from muses_lab.raster.window import Window, checked

FOOTPRINT = "footprint"
"""The area wherever a chain has scenes."""
_DEGREES = "EPSG:4326"
_FAR = 1e6
"""Metres that places on both sides of 180°, side by side, are never apart where a reference system goes on there."""
_SLACK = 1e-6
"""Share of a pixel by which bounds may reach beyond the one that they end at."""


class Part(NamedTuple):
    """A chain on a window."""

    chain: Any
    window: GeoBox
    said: tuple[str, ...]
    """What was left out, in words: bands, dates, what lies outside of polygons."""


def part(
    chain: Any, area: Any = None, *, bands: Any = None, dates: Any = None, crs: Any = None,
    resolution: float | None = None, like: Any = None, clip: bool | None = None,
) -> Part:  # fmt: skip
    """A chain and the window of it that is asked for.

    Parameters
    ----------
    area
        A window, which is taken as it is. Or bounds (west, south, east, north) in degrees, or polygons as `ml.vectors`
        takes them (a file, a GeoDataFrame, GeoJSON). `"footprint"` is wherever there are scenes.
    bands
        As `.bands(*names)`.
    dates
        As `.dates(start, end)`: a text for a year, month or day, or a pair, half-open. A chain that has reduced its
        dates is made of the scenes of these.
    crs, resolution
        Of the grid; without them the chain's own, where there are several the one with the most of the area. Units of
        `crs`; metres are taken from the chain where that is all that is missing.
    like
        Another raster, on whose grid it shall be: a path, an xarray object or a window.
    clip
        Whether pixels outside of the polygons are missing, as by `.mask_polygon`. By default where polygons are given.
    """
    chain, said = chosen(chain, bands, dates)
    polygons = polygons_of(area)
    if clip and polygons is None:
        raise ArgumentError("clip=True needs polygons: a file, a GeoDataFrame or GeoJSON as the area", argument="clip")
    if polygons is not None and clip is not False:
        chain = chain.mask_polygon(polygons)
        said.append("pixels outside of the polygons are missing")
    given = {"crs": crs, "resolution": resolution, "like": like}
    grid = {name: value for name, value in given.items() if value is not None}
    if isinstance(area, GeoBox):
        if grid:
            raise ArgumentError(
                f"a window has a grid: leave {' and '.join(grid)} out, or give bounds instead of the window",
                argument=next(iter(grid)),
            )
        return Part(chain, checked(area), tuple(said))
    if like is not None and len(grid) > 1:
        raise ArgumentError("like= has a reference system and pixels: leave crs and resolution out", argument="like")
    if like is not None:
        other = checked(Window.like(like))
        where = None if area is None else _bounds(area, polygons)
        return Part(chain, other if where is None else _within(other, *where), tuple(said))
    where = _bounds(area, polygons)
    return Part(chain, _window(chain.published.prepared, where, crs, resolution), tuple(said))


def chosen(chain: Any, bands: Any, dates: Any) -> tuple[Any, list[str]]:
    """A chain with some of its bands and dates, and what was left out in words."""
    said: list[str] = []
    if bands is not None:
        names = (bands,) if isinstance(bands, str) else tuple(bands)
        chain = chain.bands(*names)
        said.append(f"only the bands {', '.join(map(str, names))}")
    if dates is not None:
        pair = (dates,) if isinstance(dates, str) or not hasattr(dates, "__iter__") else tuple(dates)
        if len(pair) > 2:
            raise ArgumentError(
                f"dates={shown(dates)} is neither a text such as '2018-06' nor a pair (start, end), half-open",
                argument="dates",
            )
        has_dates = chain.published.prepared.output.meta.time
        chain = chain.dates(*pair) if has_dates else of_dates(chain, *pair)
        said.append(f"only the dates {' to '.join(map(str, pair))}")
    return chain, said


def polygons_of(area: Any) -> Features | None:
    """The features of an area that is given as such."""
    if area is None or isinstance(area, GeoBox) or _is_footprint(area):
        return None
    if isinstance(area, Features):
        return area
    is_geometry = isinstance(area, Mapping | str | os.PathLike) or hasattr(area, "geom_type")
    return noted(read("area", area)) if is_geometry or hasattr(area, "geometry") else None


def _is_footprint(area: Any) -> bool:
    return isinstance(area, str) and area == FOOTPRINT


def _bounds(area: Any, polygons: Features | None) -> tuple[Bounds, str] | None:
    """The bounds of an area and their reference system."""
    if polygons is not None:
        west, south, east, north = map(float, shapely.total_bounds(polygons.shapes))
        return (west, south, east, north), polygons.crs
    if _is_footprint(area):
        return None
    if area is None:
        raise ExtentRequired(
            "it needs a window: ml.Window.from_bounds(bounds, crs=…, resolution=…); or bounds (west, south, east, "
            f"north) in degrees, polygons, or {FOOTPRINT!r}, which is wherever there are scenes"
        )
    four = plain(area)
    if not isinstance(four, list | tuple) or len(four) != 4:
        raise WindowError(
            f"{shown(area)} is no area: give a window, for example ml.Window.from_bounds(bounds, crs=…, resolution=…), "
            "bounds (west, south, east, north) in degrees, or polygons"
        )
    return window_checks.bounds(four, _DEGREES, _DEGREES), _DEGREES


def _window(prepared: PreparedGraph, where: tuple[Bounds, str] | None, crs: Any, resolution: float | None) -> GeoBox:
    grid, outline = _grid(prepared, where)
    lying = [id for id in prepared.output.grids if not prepared.outline(prepared.output, id).is_empty]
    if where is None and crs is None and len(lying) > 1:
        some = ", ".join(lying[:4]) + (" …" if len(lying) > 4 else "")
        raise ArgumentError(
            f"the chain has scenes on {len(lying)} grids ({some}): give crs= and resolution= for all of them",
            argument="crs",
        )
    if crs is None and resolution is None:
        return _on_lattice(grid, outline if where is None else _in(grid.crs, *where))
    target = grid.crs if crs is None else crs_name(crs)
    if where is None:
        where = _footprint(prepared, target), target
    if resolution is None:
        if known_crs(target).is_geographic:
            metres = grid.pixel_metres(0)
            raise WindowError(
                f"{target} is in degrees, and the chain has pixels of {metres:g} m: give resolution=, for example "
                f"{metres / 111_320:.2g}"
            )
        resolution = grid.pixel_metres(0)
    return Window.from_bounds(where[0], crs=target, resolution=resolution, bounds_crs=where[1])


def _footprint(prepared: PreparedGraph, target: str) -> Bounds:
    """Bounds around the scenes of all grids: those of one reference system may have lattices of their own."""
    every = ((prepared.outline(prepared.output, id), grid.crs) for id, grid in prepared.output.grids.items())
    outlines = [(outline.bounds, crs) for outline, crs in every if not outline.is_empty]
    wests, souths, easts, norths = zip(*(_in(_DEGREES, *one) for one in outlines), strict=True)
    west, east = globe.around(zip(wests, easts, strict=True))
    if east <= 180 or not _ends_at_180(target, (min(souths) + max(norths)) / 2):
        wests, souths, easts, norths = zip(*(_in(target, *one) for one in outlines), strict=True)
        return min(wests), min(souths), max(easts), max(norths)
    in_degrees = west, min(souths), east, max(norths)
    if window_checks.is_degrees(target):
        return in_degrees
    if target != window_checks.WEB_MERCATOR:
        raise WindowError(
            f"the scenes lie on both sides of 180°, which are the two ends of {target}: give the crs of a place there"
        )
    return window_checks.box_in(in_degrees, _DEGREES, target)


def _ends_at_180(crs: str, latitude: float) -> bool:
    """Whether places beside one another on both sides of 180° are far from one another in a reference system."""
    xs, ys = transformer(_DEGREES, crs).transform([179.999, -179.999], [latitude, latitude])
    return not math.dist((xs[0], ys[0]), (xs[1], ys[1])) * window_checks.metres(crs) < _FAR


def _grid(prepared: PreparedGraph, where: tuple[Bounds, str] | None) -> tuple[Grid, Bounds]:
    """The grid with the most of an area, and the bounds of the chain's scenes on it."""
    step = prepared.output
    best: tuple[float, Grid, Bounds] | None = None
    for id, grid in step.grids.items():
        outline = prepared.outline(step, id)
        if outline.is_empty:
            continue
        inside = outline if where is None else outline.intersection(shapely.box(*_in(grid.crs, *where)))
        share = inside.area * grid.metres**2
        if best is None or share > best[0]:
            best = share, grid, outline.bounds
    if best is None:
        raise NotFound("the chain has no scenes, so it has no grid: give a window")
    return best[1], best[2]


def _in(crs: str, bounds: Bounds, source: str) -> Bounds:
    """Bounds around others in another reference system."""
    if same_crs(source, crs):
        return bounds
    found = transformer(source, crs).transform_bounds(*bounds, densify_pts=21)
    if not all(map(math.isfinite, found)):
        raise WindowError(f"the area {shown(bounds)} has no place in {crs}: give another crs")
    west, south, east, north = found
    return west, south, east, north


def _on_lattice(grid: Grid, bounds: Bounds) -> GeoBox:
    """The window of a grid's own pixels that covers bounds in its CRS."""
    (width, height), (x, y) = grid.size, grid.origin
    west, south, east, north = bounds
    columns, rows = _span((west - x) / width, (east - x) / width), _span((y - north) / height, (y - south) / height)
    affine = Affine(width, 0, x + columns[0] * width, 0, -height, y - rows[0] * height)
    return checked(GeoBox((rows[1] - rows[0], columns[1] - columns[0]), affine, grid.crs))


def _within(other: GeoBox, bounds: Bounds, crs: str) -> GeoBox:
    """The pixels of a raster's grid that cover bounds, also beyond the raster."""
    west, south, east, north = _in(crs_name(other.crs), bounds, crs)
    back = ~other.affine
    at = [back @ corner for corner in ((west, south), (west, north), (east, south), (east, north))]
    columns, rows = (_span(min(one), max(one)) for one in zip(*at, strict=True))
    affine = other.affine @ Affine.translation(columns[0], rows[0])
    return checked(GeoBox((rows[1] - rows[0], columns[1] - columns[0]), affine, other.crs))


def _span(low: float, high: float) -> tuple[int, int]:
    """Whole pixels that cover a span."""
    first = math.floor(low + _SLACK)
    return first, max(math.ceil(high - _SLACK), first + 1)
