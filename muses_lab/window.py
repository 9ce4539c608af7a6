"""Windows: a place and a grid. Every window is an `odc.geo.geobox.GeoBox`; these are the usual ways to make one."""

from __future__ import annotations

import math
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

TILE_SIZE = 256
WEB_MERCATOR = "EPSG:3857"
_HALF = math.pi * 6378137.0


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
        if not 0 <= z <= 30 or not 0 <= x < 2**z or not 0 <= y < 2**z:
            raise ValueError(f"there is no tile {z}/{x}/{y}; x and y run from 0 to {2 ** max(z, 0) - 1}")
        pixel = zoom_resolution(z) * TILE_SIZE / size
        affine = Affine(pixel, 0, x * size * pixel - _HALF, 0, -pixel, _HALF - y * size * pixel)
        return GeoBox((size, size), affine, WEB_MERCATOR)

    @staticmethod
    def from_bounds(
        bounds: tuple[float, float, float, float],
        crs: str | int = WEB_MERCATOR,
        resolution: float | None = None,
        *,
        bounds_crs: str | int = "EPSG:4326",
        shape: tuple[int, int] | None = None,
    ) -> GeoBox:
        """The window in `crs` that covers `bounds` (west, south, east, north in `bounds_crs`).

        With `resolution` (units of `crs`) its pixels lie on the lattice through the origin of the CRS, so that
        neighbouring windows of one resolution fit together; web Mercator windows of a zoom's resolution lie on its
        tiles' pixels. With `shape` (rows, columns) the bounds are kept exactly.
        """
        target = f"EPSG:{crs}" if isinstance(crs, int) else crs
        west, south, east, north = bounds
        if not (west < east and south < north):
            raise ValueError(f"bounds are (west, south, east, north); {bounds} is empty")
        outline = box(west, south, east, north, bounds_crs)
        b = outline.to_crs(target, resolution=(east - west) / 64).boundingbox
        if shape is not None:
            rows, columns = shape
            affine = Affine((b.right - b.left) / columns, 0, b.left, 0, (b.bottom - b.top) / rows, b.top)
            return GeoBox(shape, affine, target)
        if resolution is None or resolution <= 0:
            raise ValueError(f"resolution={resolution!r} must be a positive number in units of {target}")
        origin = _HALF if target == WEB_MERCATOR else 0.0  # tiles begin at the corner of the world, not at 0
        c0, c1 = _outer((b.left + origin) / resolution, (b.right + origin) / resolution)
        r0, r1 = _outer((origin - b.top) / resolution, (origin - b.bottom) / resolution)
        affine = Affine(resolution, 0, c0 * resolution - origin, 0, -resolution, origin - r0 * resolution)
        return GeoBox((r1 - r0, c1 - c0), affine, target)

    @staticmethod
    def like(raster: Any) -> GeoBox:
        """The window of another raster: an xarray object with georeference, or the path of a file."""
        if isinstance(raster, GeoBox):
            return raster
        if hasattr(raster, "odc"):
            found = raster.odc.geobox
        else:
            import rasterio

            with rasterio.open(raster) as dataset:
                found = GeoBox(dataset.shape, dataset.transform, str(dataset.crs) if dataset.crs else None)
        if not isinstance(found, GeoBox) or found.crs is None:
            raise ValueError("the raster has no georeference that a window could be like")
        return found


def zoom_resolution(zoom: float) -> float:
    """Pixel size of a zoom in web-Mercator units (metres at the equator)."""
    return 2 * _HALF / TILE_SIZE / 2**zoom


def _outer(low: float, high: float) -> tuple[int, int]:
    return math.floor(low + 1e-6), max(math.ceil(high - 1e-6), math.floor(low + 1e-6) + 1)


def to_json(window: GeoBox) -> dict[str, Any]:
    """A window as jobs and shares keep it."""
    return {"shape": list(window.shape), "affine": list(window.affine)[:6], "crs": str(window.crs)}


def from_json(body: Any) -> GeoBox:
    """The window of `to_json`."""
    try:
        rows, columns = body["shape"]
        return GeoBox((int(rows), int(columns)), Affine(*map(float, body["affine"])), str(body["crs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a window: {error}") from None
