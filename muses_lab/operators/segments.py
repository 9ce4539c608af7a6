"""Processes of polygons of a cube, one after the other: openEO `apply_polygon`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.crs import crs_name, transformer
from muses_lab.document.graph import Callback, Node
from muses_lab.errors import DocumentError, TooLarge
from muses_lab.operators.contract import Cost, Cube, CubeProcess, Focal, Meta
from muses_lab.operators.cube_callbacks import (
    CubeCallback,
    Part,
    as_given,
    cost_of_callback,
    is_along_time,
    is_strict_on_cubes,
    radius_of,
)
from muses_lab.operators.declare import operator
from muses_lab.operators.drawing import NONE, Drawing, moved
from muses_lab.operators.functions import cube_callback
from muses_lab.operators.methods import on_cube
from muses_lab.operators.registered import registry
from muses_lab.operators.vectors import DEGREES, Features, Vectors
from muses_lab.raster.grid import BLOCK, Rect
from muses_lab.resources import cancel

MAX_SIDE = 1024
"""Pixels of a polygon that code of a user gets whole: a tile that shows a pixel of it needs all of it."""

_METRES = 111_320.0
"""Of a degree along a meridian."""

_MARGIN = 1.15
"""By how much a polygon may be wider in a grid's system than in degrees: grids are turned by a few degrees there."""

_PARTS = 1024
"""Of an edge as long as its polygon, which is brought to another system vertex by vertex."""

_EDGE = 1e-6
"""Of a pixel: what rounding may do to a polygon's bounds."""


def _shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta, callback, polygons = metas["data"], arguments["process"], arguments["polygons"]
    flat = np.flatnonzero(shapely.get_dimensions(polygons.shapes) != 2)
    if len(flat):
        raise DocumentError(
            f"apply_polygon: feature {polygons.ids[flat[0]]!r} is no polygon; only polygons have pixels inside",
            argument="polygons",
        )
    if not registry[callback.root.process].is_cube_process:
        raise DocumentError(
            "apply_polygon: the process is one of arrays, and a polygon's pixels are a cube; use processes of cubes",
            argument="process",
        )
    CubeCallback(callback, meta).check_same("apply_polygon")
    return meta


def _all_bands(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    """A process of cubes may make a band of any other."""
    return {"data": metas["data"].bands}


def _radius(arguments: Mapping[str, Any], pixel_size: float) -> int:
    reach = radius_of(arguments["process"], pixel_size)
    if reach is not None:
        return reach
    widest = math.ceil(_widest(arguments["polygons"]) * _MARGIN / pixel_size) + 2
    if widest > MAX_SIDE:
        raise TooLarge(
            f"apply_polygon: code gets whole polygons, and one of them has about {widest} pixels of {pixel_size:g} m "
            f"on a side; the limit is {MAX_SIDE}: choose a coarser resolution with .at_resolution(metres)"
        )
    return widest


@lru_cache(maxsize=64)
def _widest(polygons: Features) -> float:
    """The longest side of a box around one of the polygons, in metres."""
    west, south, east, north = shapely.bounds(polygons.reproject(DEGREES).shapes).T
    nearest = np.minimum(np.abs(south), np.abs(north)) * (south * north > 0)
    across = (east - west) * np.cos(np.radians(nearest))
    return float(np.maximum(across, north - south).max() * _METRES)


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Polygons are drawn block by block, twice, and each pixel is one of one polygon at most."""
    halo = 2 * _radius(arguments, pixel_size)
    drawn = (math.ceil((rows + halo) / BLOCK) + 1) * (math.ceil((columns + halo) / BLOCK) + 1) * BLOCK**2
    one = cost_of_callback(arguments["process"], pixel_size, rows + halo, columns + halo)
    return Cost(2 * one.seconds + 25e-9 * drawn, one.bytes + 16 * drawn)


def _apply_polygon(data: Node, polygons: Any, process: Any, mask_value: float | None = None) -> Node:
    """A process on the pixels of each polygon, by a function of a part of the cube; missing elsewhere.

    ```python
    image.apply_polygon(polygon, lambda part: part.apply_kernel([[1, 1, 1]]))
    ```

    `polygons` is what `ml.vectors` gives or takes. A part has the pixels around a polygon, `mask_value` outside of it.
    """
    return on_cube(
        data, "apply_polygon", polygons=polygons, process=cube_callback("process", process), mask_value=mask_value
    )


@operator(
    "apply_polygon",
    support=Focal(_radius),
    shape=_shape,
    needs=_all_bands,
    strict=lambda arguments: arguments["mask_value"] is None and is_strict_on_cubes(arguments["process"]),
    along=lambda arguments: "t" if is_along_time(arguments["process"]) else None,
    cost=_cost,
    method=_apply_polygon,
    partly="processes of the same pixel and of neighbourhoods, and code of a user",
)
def apply_polygon(
    data: Cube,
    polygons: Vectors,
    process: CubeProcess,
    mask_value: float | bool | None = None,
    meta: Meta | None = None,
    pixel_size: float = 1.0,
    geobox: GeoBox | None = None,
    halo: int = 0,
    rect: Rect | None = None,
) -> Cube:
    """A process of cubes on the pixels of each polygon; pixels of no polygon are missing.

    ```python
    image.apply_polygon(polygon, lambda part: part.apply_kernel([[1, 1, 1]]))
    ```

    The process gets the smallest rectangle of pixels around a polygon (a feature, with all of its parts), in which
    those whose centre is outside of it have `mask_value`, else are missing: at every level the pixels of that level.
    What it makes of these is left out. A pixel of two polygons is refused (GeometriesOverlap). Processes are those of
    `apply_neighborhood`; what changes dimensions or labels is refused. Code of a user (`run_udf`) gets polygons whole,
    of up to 1024 pixels on a side.
    """
    assert meta is not None and geobox is not None and rect is not None
    assert isinstance(process, Callback)
    callback = CubeCallback(process, meta)
    is_code = radius_of(process, pixel_size) is None
    numbers = _numbers(polygons, geobox)
    out = xr.full_like(data, np.nan)
    inner = slice(halo, -halo or None)
    left = numbers != NONE
    for number, around in _around(polygons, np.unique(numbers[inner, inner]), geobox, rect):
        cancel.check()
        there = around.intersection(rect)
        if is_code and there != around:
            raise TooLarge(f"apply_polygon: feature {polygons.ids[number]!r} is larger than was read around this place")
        rows, columns = there.within(rect)
        inside = numbers[rows, columns] == number
        own = xr.DataArray(inside, dims=("y", "x"))
        beyond = np.asarray(np.nan if mask_value is None else mask_value, data.dtype)
        given = data.isel(y=rows, x=columns).where(own, beyond).transpose(*data.dims)
        known = slice(0, inside.shape[0]), slice(0, inside.shape[1])
        found = as_given(callback.run(given, Part(geobox, rows, columns, pixel_size, known)), given, "apply_polygon")
        np.copyto(out.data[..., rows, columns], found.data, where=inside)
        left[rows, columns] &= ~inside
    if left[inner, inner].any():
        raise DocumentError(
            "apply_polygon: a polygon has pixels outside of the rectangle around it", argument="polygons"
        )
    return out.isel(y=inner, x=inner)


def _numbers(polygons: Features, geobox: GeoBox) -> np.ndarray:
    """The polygon that has each pixel, `NONE` where none has it; refuses pixels of two."""
    last = Drawing(polygons.crs, polygons.shapes).numbers(geobox)
    first = Drawing(polygons.crs, polygons.shapes[::-1]).numbers(geobox)
    first = np.where(first == NONE, NONE, len(polygons) - 1 - first)
    of_two = np.argwhere(first != last)
    if len(of_two):
        row, column = of_two[0]
        names = " and ".join(repr(polygons.ids[drawn[row, column]]) for drawn in (first, last))
        raise DocumentError(
            f"apply_polygon: the polygons {names} have pixels in common", openeo="GeometriesOverlap",
            argument="polygons",
        )  # fmt: skip
    return last


def _around(polygons: Features, wanted: np.ndarray, geobox: GeoBox, rect: Rect) -> Iterator[tuple[int, Rect]]:
    """The rectangle of pixels around each polygon, on the lattice of a rectangle of it."""
    a, crs = geobox.affine, crs_name(geobox.crs)
    there = None if crs == polygons.crs else transformer(polygons.crs, crs).transform
    for number in wanted[wanted != NONE].tolist():
        shape = polygons.shapes[number : number + 1]
        if there is not None:
            w, s, e, n = shape[0].bounds
            shape = moved(shapely.segmentize(shape, max(e - w, n - s) / _PARTS), there)
        w, s, e, n = shape[0].bounds
        x, y = sorted(((w - a.c) / a.a, (e - a.c) / a.a)), sorted(((n - a.f) / a.e, (s - a.f) / a.e))
        if not np.isfinite((*x, *y)).all():
            raise DocumentError(
                f"apply_polygon: feature {polygons.ids[number]!r} has no place in {crs}", argument="polygons"
            )
        yield number, Rect(
            rect.r0 + math.floor(y[0] + _EDGE), rect.r0 + math.ceil(y[1] - _EDGE),
            rect.c0 + math.floor(x[0] + _EDGE), rect.c0 + math.ceil(x[1] - _EDGE),
        )  # fmt: skip
