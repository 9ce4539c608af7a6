"""Masks by polygons."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from muses_lab.document import strict_json
from muses_lab.document.artefacts import Kind, OfKind, kinds
from muses_lab.operators.contract import Cost, Cube
from muses_lab.operators.declare import operator
from muses_lab.operators.drawing import Drawing
from muses_lab.operators.vectors import MOST, Features, given, of_geojson
from muses_lab.raster.grid import BLOCK


@dataclass(frozen=True)
class Polygons:
    """Polygons of one reference system."""

    crs: str
    parts: tuple[shapely.Polygon, ...]
    """Each once, in an order that depends on nothing but themselves."""

    @classmethod
    def of(cls, crs: Any, geometries: Iterable[BaseGeometry | None]) -> Polygons:
        """Those of features; what is no valid polygon is refused. Features without a geometry are nothing."""
        return cls.of_features(Features.of(crs, geometries))

    @classmethod
    def of_features(cls, features: Features) -> Polygons:
        """Without their attributes; ValueError where they are no polygons."""
        for id, dimension in zip(features.ids, shapely.get_dimensions(features.shapes), strict=True):
            if dimension != 2:
                noun = ("point", "line")[dimension]
                raise ValueError(f"feature {id!r} is a {noun}; only polygons have an inside")
        parts = shapely.get_parts(features.shapes)
        if len(parts) > MOST:
            raise ValueError(f"there are more than {MOST} polygons")
        texts = sorted(set(shapely.to_wkb(shapely.normalize(parts), byte_order=1)))
        return cls(features.crs, tuple(shapely.from_wkb(texts)))

    @cached_property
    def _drawing(self) -> Drawing:
        return Drawing(self.crs, self.parts)

    def inside(self, window: GeoBox) -> np.ndarray:
        """Whether the centre of each pixel is inside, by GDAL's rule; what the polygons' system has not is outside.

        A pixel is the same in every window.
        """
        return self._drawing.inside(window)


# ------------------------------------------------------------------------------------------------- as an artefact


def _write(polygons: Polygons) -> bytes:
    """A GeoJSON GeometryCollection (its polygons may overlap) that names its reference system."""
    body = {
        "crs": {"properties": {"name": polygons.crs}, "type": "name"},
        "geometries": [{"coordinates": _rings(part), "type": "Polygon"} for part in polygons.parts],
        "type": "GeometryCollection",
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _rings(part: shapely.Polygon) -> list[list[list[float]]]:
    return [(shapely.get_coordinates(ring) + 0.0).tolist() for ring in (part.exterior, *part.interiors)]


def _parse(body: bytes) -> Polygons:
    try:
        return _of_geojson(strict_json.loads(body))
    except ValueError as error:
        raise ValueError(f"is damaged: {error}") from None


def _of_geojson(found: Any) -> Polygons:
    return Polygons.of_features(of_geojson(found))


def _given(value: Any) -> Polygons:
    return value if isinstance(value, Polygons) else Polygons.of_features(given(value))


POLYGONS = kinds.add(
    Kind(
        "muses:polygons", "set of polygons", "application/geo+json",
        write=_write, parse=_parse, of=_given, inline=_of_geojson,
    )
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the mask


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Measured with polygons of some thousand vertices around: 10 ns for a pixel; a block is drawn whole."""
    drawn = (math.ceil(rows / BLOCK) + 1) * (math.ceil(columns / BLOCK) + 1) * BLOCK**2
    return Cost(10e-9 * drawn, 9 * drawn)


@operator("mask_polygon", cost=_cost)
def mask_polygon(
    data: Cube,
    mask: Annotated[Polygons, OfKind("muses:polygons")],
    replacement: float | bool | None = None,
    inside: bool = False,
    geobox: GeoBox | None = None,
) -> Cube:
    """Only what is inside of polygons, or with `inside` only what is outside of them; the rest is missing.

    ```python
    image.mask_polygon(polygon)
    image.mask_polygon(polygon, inside=True, replacement=-1)
    ```

    `mask` is what `ml.vectors` gives or takes: the path of a file, a GeoDataFrame, GeoJSON, or a shapely geometry in
    degrees. A pixel is inside where its centre is (GDAL's rule without `all_touched`), at every level with the pixels
    of that level. Edges are straight in the polygons' own reference system. `replacement` takes the place of the values
    that are removed; what is missing stays so (openEO `mask_polygon`).
    """
    assert geobox is not None
    within = mask.inside(geobox)
    removed = xr.DataArray(within if inside else ~within, dims=("y", "x"))
    if replacement is None:
        return data.where(~removed)
    return data.where(~removed | data.isnull(), np.asarray(replacement, data.dtype)).transpose(*data.dims)
