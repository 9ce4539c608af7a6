"""Windows: a place and a grid. Every window is an `odc.geo.geobox.GeoBox`; these are the usual ways to make one."""

from __future__ import annotations

import math
import os
from numbers import Integral
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from muses_lab.crs import crs_name
from muses_lab.errors import WindowError
from muses_lab.plain import shown
from muses_lab.raster import window_checks
from muses_lab.raster.window_checks import RADIUS, WEB_MERCATOR

TILE_SIZE = 256
_HALF = math.pi * RADIUS


class Window:
    """
    >>> Window.tile(11, 1032, 747).shape
    Shape2d(x=256, y=256)
    >>> Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=10).crs
    CRS('EPSG:32631')
    """

    @staticmethod
    def tile(z: int, x: int, y: int, size: int = TILE_SIZE) -> GeoBox:
        """The tile of the web-Mercator pyramid (XYZ scheme), `size` × `size` pixels."""
        if not all(isinstance(n, Integral) for n in (z, x, y)):
            raise WindowError(f"a tile's zoom, column and row are whole numbers, not {z!r}, {x!r}, {y!r}")
        if not 0 <= z <= 30 or not 0 <= x < 2**z or not 0 <= y < 2**z:
            raise WindowError(f"there is no tile {z}/{x}/{y}; x and y run from 0 to {2 ** max(z, 0) - 1}")
        pixel = zoom_resolution(z) * TILE_SIZE / size
        affine = Affine(pixel, 0, x * size * pixel - _HALF, 0, -pixel, _HALF - y * size * pixel)
        return GeoBox((size, size), affine, WEB_MERCATOR)

    @staticmethod
    def from_bounds(
        bounds: tuple[float, float, float, float],
        crs: str | int = WEB_MERCATOR,
        resolution: float | None = None,
        *,
        bounds_crs: str | int = window_checks.DEGREES,
        shape: tuple[int, int] | None = None,
    ) -> GeoBox:
        """The window in `crs` that covers `bounds` (west, south, east, north in `bounds_crs`, by default in degrees).

        ```python
        ml.Window.from_bounds((1.3, 43.5, 1.5, 43.7), crs="EPSG:32631", resolution=10)
        metres = 363_000, 4_818_000, 379_000, 4_840_000
        ml.Window.from_bounds(metres, crs="EPSG:32631", bounds_crs="EPSG:32631", resolution=10)
        ```

        With `resolution` (units of `crs`) its pixels lie on the lattice through the origin of the CRS, so that
        neighbouring windows of one resolution fit together; web Mercator windows of a zoom's resolution lie on its
        tiles' pixels. With `shape` (rows, columns) the bounds are kept exactly. Across 180°, east is beyond 180.

        Raises
        ------
        WindowError
            Bounds, resolution or shape make no sense: no numbers, nothing in them, another order or unit than said,
            a place for which `crs` is not made, or more pixels than anybody can want.
        CrsError
            A reference system is not known.
        """
        target, source = crs_name(crs), crs_name(bounds_crs)
        asked = window_checks.bounds(bounds, source, target)
        left, bottom, right, top = window_checks.box_in(asked, source, target)
        if shape is not None:
            rows, columns = window_checks.rows_and_columns(shape)
            affine = Affine((right - left) / columns, 0, left, 0, (bottom - top) / rows, top)
            return checked(GeoBox((rows, columns), affine, target))
        size = window_checks.resolution(resolution, (right - left, top - bottom), asked, source, target)
        origin = _HALF if target == WEB_MERCATOR else 0.0  # tiles begin at the corner of the world, not at 0
        c0, c1 = _outer((left + origin) / size, (right + origin) / size)
        r0, r1 = _outer((origin - top) / size, (origin - bottom) / size)
        affine = Affine(size, 0, c0 * size - origin, 0, -size, origin - r0 * size)
        return checked(GeoBox((r1 - r0, c1 - c0), affine, target))

    @staticmethod
    def like(raster: Any) -> GeoBox:
        """The window of another raster: an xarray object with georeference, or the path of a GeoTIFF or JPEG 2000."""
        if isinstance(raster, GeoBox):
            return raster
        if hasattr(raster, "odc"):
            found = raster.odc.geobox
        elif isinstance(raster, str | os.PathLike):
            from muses_lab.raster.header import read_header

            header = read_header(os.fspath(raster))
            found = GeoBox(header.shape, Affine(*header.transform), header.crs)
        else:
            raise WindowError(f"{shown(raster)} is neither an xarray object nor the path of a raster")
        if not isinstance(found, GeoBox) or found.crs is None:
            raise WindowError("the raster has no georeference that a window could be like")
        return found


def written(window: GeoBox) -> str:
    """Python code that makes a window, the shortest that gives the very same one.

    >>> written(Window.from_bounds((0, 50, 1, 51), crs="EPSG:4326", resolution=0.5))
    "ml.Window.from_bounds((0, 50, 1, 51), crs='EPSG:4326', bounds_crs='EPSG:4326', resolution=0.5)"
    """
    crs = crs_name(window.crs)
    left, bottom, right, top = map(_short, window.boundingbox.bbox)
    box = left, bottom, right, top
    places: dict[str, Any] = {"crs": crs, "bounds_crs": crs}
    how: dict[str, Any]
    for how in ({"resolution": _short(window.affine.a)}, {"shape": tuple(map(int, window.shape))}):
        try:
            if Window.from_bounds(box, **places, **how) == window:
                said = ", ".join(f"{name}={value!r}" for name, value in {**places, **how}.items())
                return f"ml.Window.from_bounds({box}, {said})"
        except WindowError:
            continue
    affine = ", ".join(repr(_short(value)) for value in window.affine[:6])
    return f"odc.geo.geobox.GeoBox({tuple(map(int, window.shape))}, affine.Affine({affine}), {crs!r})"


def _short(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)


def zoom_resolution(zoom: float) -> float:
    """Pixel size of a zoom in web-Mercator units (metres at the equator)."""
    return 2 * _HALF / TILE_SIZE / 2**zoom


def checked(window: Any) -> GeoBox:
    """A window that somebody hands over, if it is one that can be evaluated.

    Raises
    ------
    WindowError
        It is no window, has no place or no pixels, far too many, or pixels of a size that none have.
    """
    if not isinstance(window, GeoBox):
        raise WindowError(
            f"{shown(window)} is no window: ml.Window.from_bounds((west, south, east, north), crs=…, "
            "resolution=…) makes one of bounds, ml.Window.like(…) of a raster"
        )
    if window.crs is None:
        raise WindowError("the window has no reference system, so nobody knows where it is")
    a, (rows, columns) = window.affine, window.shape
    if rows < 1 or columns < 1:
        raise WindowError(f"the window has no pixels: {rows} rows and {columns} columns")
    if not all(map(math.isfinite, a[:6])) or a.determinant == 0:
        raise WindowError(f"the window's pixels have no place or no size: its affine is {tuple(a)[:6]}")
    window_checks.pixels(rows, columns, _sides(a), crs_name(window.crs))
    return window


def _sides(affine: Affine) -> tuple[float, float]:
    """Width and height of a pixel."""
    return math.hypot(affine.a, affine.d), math.hypot(affine.b, affine.e)


def _outer(low: float, high: float) -> tuple[int, int]:
    return math.floor(low + 1e-6), max(math.ceil(high - 1e-6), math.floor(low + 1e-6) + 1)


def to_json(window: GeoBox) -> dict[str, Any]:
    """A window as jobs and shares keep it."""
    return {"shape": list(window.shape), "affine": list(window.affine)[:6], "crs": crs_name(window.crs)}


def from_json(body: Any) -> GeoBox:
    """The window of `to_json`."""
    try:
        rows, columns = body["shape"]
        return GeoBox((int(rows), int(columns)), Affine(*map(float, body["affine"])), crs_name(body["crs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a window: {error}") from None
