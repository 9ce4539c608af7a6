"""Which share of each pixel a polygon covers, exactly: computed once for a polygon and a lattice, and kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import shapely

from muses_lab import settings
from muses_lab.errors import TooLarge
from muses_lab.raster.grid import Grid
from muses_lab.resources.cache import Cache
from muses_lab.zonal.parts import Covered, Part

_BYTES = 256 << 20
_EACH = 24
"""Bytes of a pixel: row, column, share."""

_kept = Cache(_BYTES)


def forget() -> None:
    """Drops the shares that are kept."""
    _kept.clear()


def exact(grid: Grid, level: int, parts: Sequence[Part]) -> Mapping[int, Covered]:
    """The pixels of polygons with the share of each that is covered; lines and points are left out."""
    lattice = (grid.crs, grid.origin, grid.size, level)
    polygons = [part for part in parts if shapely.get_dimensions(part.shape) == 2]
    names = {part.number: (lattice, shapely.to_wkb(part.shape)) for part in polygons}
    found = {number: covered for number, name in names.items() if (covered := _kept.get(name)) is not None}
    missing = [part for part in polygons if part.number not in found]
    for part, covered in zip(missing, _computed(grid, level, missing), strict=True):
        found[part.number] = covered
        _kept.put(names[part.number], covered, len(covered.rows) * _EACH + 512, 1e-6 * len(covered.rows) + 1e-4)
    return found


def _computed(grid: Grid, level: int, parts: Sequence[Part]) -> list[Covered]:
    if not parts:
        return []
    from exactextract import exact_extract

    _check(parts)
    around = parts[0].rect
    for part in parts:
        around = around.union(part.rect)
    width, height = grid.pixel(level)
    # Shapes are counted from the rectangle's corner in pixels: small numbers, in which nothing is lost.
    west, north = grid.origin[0] + around.c0 * width, grid.origin[1] - around.r0 * height
    shapes = shapely.transform(
        np.array([part.shape for part in parts], object), lambda xy: (xy - (west, north)) / (width, height)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # neither says a reference system: both are counted in pixels
        rows = exact_extract(_blank(around.shape), _bare(shapes), ["cell_id", "coverage"], output="pandas")
    columns, made = around.shape[1], []
    for cells, shares in zip(rows["cell_id"], rows["coverage"], strict=True):
        cells, shares = np.asarray(cells, np.int64), np.asarray(shares, np.float64)
        made.append(Covered(cells // columns + around.r0, cells % columns + around.c0, shares))
    return made


def _check(parts: Sequence[Part]) -> None:
    limit = int(settings.number("MUSES_MAX_COMPUTE_BYTES"))
    for part in parts:
        if part.rect.pixels * _EACH > limit:
            raise TooLarge(
                f"a polygon reaches over {part.rect.shape[0]} × {part.rect.shape[1]} pixels: give resolution=…, a "
                "coarser one"
            )


def _bare(shapes: np.ndarray) -> Any:
    """Shapes without attributes, as exactextract takes them: half the time of a table's, which go as GeoJSON."""
    from exactextract._exactextract import Feature
    from exactextract.feature import FeatureSource

    class Bare(Feature):
        def __init__(self, shape: bytes) -> None:
            super().__init__()
            self._shape = shape

        def geometry(self) -> bytes:
            return self._shape

        def fields(self) -> list[str]:
            return []

    class Shapes(FeatureSource):
        def count(self) -> int:
            return len(shapes)

        def __iter__(self) -> Iterator[Bare]:
            return map(Bare, shapely.to_wkb(shapes).tolist())

        def srs_wkt(self) -> None:
            return None

    return Shapes()


def _blank(shape: tuple[int, int]) -> Any:
    """A raster of so many rows and columns without values, as exactextract takes them."""
    from exactextract.raster import RasterSource

    class Blank(RasterSource):
        def res(self) -> tuple[float, float]:
            return 1.0, 1.0

        def extent(self) -> tuple[float, float, float, float]:
            return 0.0, -float(shape[0]), float(shape[1]), 0.0

        def read_window(self, x0: int, y0: int, nx: int, ny: int) -> np.ndarray:
            return np.zeros((ny, nx), np.uint8)

        def nodata_value(self) -> None:
            return None

        def srs_wkt(self) -> None:
            return None

    return Blank()
