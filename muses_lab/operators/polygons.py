"""Masks by polygons of a file: a GeoPackage, GeoJSON, or a GeoDataFrame."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import shapely
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import crs_name, known_crs, transformer
from muses_lab.document import strict_json
from muses_lab.document.artefacts import Kind, OfKind, kinds
from muses_lab.operators.declare import Cost, Cube, operator
from muses_lab.raster.grid import BLOCK, Rect, block_rect, lattice_of, same_crs
from muses_lab.resources import cancel

_MOST = 200_000
"""Polygons of one mask."""

_LARGEST = 1 << 30
"""Bytes of a file that is read."""

_MARGIN = BLOCK // 8
"""Pixels around a block at which polygons are cut off."""

_PLACES = 33
"""Along each side of a rectangle, where a change of reference systems is tried."""

_OFF = 0.1
"""Pixels by which a place may be off that was brought to another reference system and back."""

_SIDE = 8
"""Pixels between vertices before an edge is brought to another reference system: it stays straight in its own."""

_DEGREES = "EPSG:4326"
_LONGITUDE_FIRST = ("urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:OGC::CRS84", "OGC:CRS84")
"""How GeoJSON names it."""

_SURFACES = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True)
class Polygons:
    """Polygons of one reference system."""

    crs: str
    parts: tuple[shapely.Polygon, ...]
    """Each once, in an order that depends on nothing but themselves."""

    @classmethod
    def of(cls, crs: Any, geometries: Iterable[BaseGeometry | None]) -> Polygons:
        """Those of features; what is no valid polygon is refused. Features without a geometry are nothing."""
        parts: list[BaseGeometry] = []
        for number, geometry in enumerate(geometries):
            if geometry is None or geometry.is_empty:
                continue
            if shapely.get_type_id(geometry) not in _SURFACES:
                raise ValueError(f"feature {number} is a {geometry.geom_type}; only polygons have an inside")
            if not np.isfinite(geometry.bounds).all():
                raise ValueError(f"feature {number} has coordinates that are no finite numbers")
            if not geometry.is_valid:
                reason = shapely.is_valid_reason(geometry)
                raise ValueError(f"feature {number} is not valid ({reason}): repair it, for example with .make_valid()")
            parts.extend(shapely.get_parts(shapely.force_2d(geometry)))
            if len(parts) > _MOST:
                raise ValueError(f"there are more than {_MOST} polygons")
        if not parts:
            raise ValueError("there is no polygon in it")
        texts = sorted(set(shapely.to_wkb(shapely.normalize(parts), byte_order=1)))
        return cls(crs_name(crs), tuple(shapely.from_wkb(texts)))

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.parts)

    def inside(self, window: GeoBox) -> np.ndarray:
        """Whether the centre of each pixel is inside, by GDAL's rule; what the polygons' system has not is outside.

        Drawn block by block of the lattice that the window is part of: a pixel is the same in every window.
        """
        lattice, rect = lattice_of(window)
        out = np.zeros(rect.shape, bool)
        for row, col in rect.blocks():
            cancel.check()
            block = block_rect(row, col)
            part = block.intersection(rect)
            drawn = self._drawn(crs_name(window.crs), lattice, block)
            if drawn is None:
                out[part.within(rect)] = self._of_centres(crs_name(window.crs), lattice, part)
            else:
                out[part.within(rect)] = drawn[part.within(block)]
        return out

    def _drawn(self, crs: str, lattice: Affine, block: Rect) -> np.ndarray | None:
        near = self._near(crs, lattice, block)
        if near is None:
            return None
        pixels = [shape for shapes in near for shape in _on_pixels(shapes, lattice, block)]
        if not pixels:
            return np.zeros(block.shape, bool)
        return rasterize(pixels, block.shape, transform=Affine.identity(), dtype=np.uint8).astype(bool)

    @property
    def _turns(self) -> tuple[float, ...]:
        """Degrees by which longitudes of the same place differ."""
        return (0.0, 360.0, -360.0) if known_crs(self.crs).is_geographic else (0.0,)

    def _near(self, crs: str, lattice: Affine, block: Rect) -> list[np.ndarray] | None:
        """The polygons around a block in its reference system, cut off well outside of it.

        None where that is not certain to bring every part of them there: far from where a projection is meant for it
        has no coordinates for some places, or several for one.
        """
        around = block.grow(_MARGIN)
        west, north = lattice @ (around.c0, around.r0)
        east, south = lattice @ (around.c1, around.r1)
        boxes, there = [(west, south, east, north)], None
        if not same_crs(crs, self.crs):
            here, there = transformer(crs, self.crs), transformer(self.crs, crs)
            w, s, e, n = here.transform_bounds(west, south, east, north, densify_pts=32)
            x, y = _spread(west, south, east, north)
            back = np.array(there.transform(*here.transform(x, y)))
            off = np.abs((back - (x, y)) / np.array([[lattice.a], [lattice.e]]))
            if not (np.isfinite((w, s, e, n)).all() and (off < _OFF).all()):
                return None
            boxes = [(w, s, e, n)] if w <= e else [(w, s, 180.0, n), (-180.0, s, e, n)]
        shapes = []
        for (w, s, e, n), turn in product(boxes, self._turns):
            found = np.sort(self._tree.query(shapely.box(w + turn, s, e + turn, n)))
            if not len(found):
                continue
            cut = shapely.clip_by_rect(np.array(self.parts, object)[found], w + turn, s, e + turn, n)
            if there is not None:
                cut = shapely.segmentize(cut, max(e - w, n - s) / (BLOCK + 2 * _MARGIN) * _SIDE)
            if turn:
                cut = _moved(cut, partial(_turned, turn=turn))
            if there is not None:
                cut = _moved(cut, there.transform)
                between = there.transform(*_spread(w, s, e, n))  # what has no place inside turns a polygon inside out
                if not (np.isfinite(between).all() and np.isfinite(shapely.get_coordinates(cut)).all()):
                    return None
            shapes.append(cut)
        return shapes

    def _of_centres(self, crs: str, lattice: Affine, part: Rect) -> np.ndarray:
        """Whether the centre of each pixel is inside in the polygons' own system; what has no place there is not."""
        columns, rows = np.meshgrid(np.arange(part.c0, part.c1) + 0.5, np.arange(part.r0, part.r1) + 0.5)
        x, y = transformer(crs, self.crs).transform(*(lattice @ (columns.ravel(), rows.ravel())))
        out = np.zeros(columns.size, bool)
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        known = known[np.argsort(y[known])]
        if not len(known):
            return out.reshape(part.shape)
        x, y = x[known], y[known]
        for turn in self._turns:
            near = self._tree.query(shapely.box(x.min() + turn, y[0], x.max() + turn, y[-1]))
            for polygon in shapely.force_2d(np.array(self.parts, object)[near]):  # copies: GEOS prepares them
                cancel.check()
                w, s, e, n = polygon.bounds
                some = np.arange(np.searchsorted(y, s), np.searchsorted(y, n, "right"))
                some = some[(x[some] + turn >= w) & (x[some] + turn <= e) & ~out[known[some]]]
                if len(some):
                    out[known[some[shapely.intersects_xy(polygon, x[some] + turn, y[some])]]] = True
        return out.reshape(part.shape)


def _spread(west: float, south: float, east: float, north: float) -> tuple[np.ndarray, np.ndarray]:
    """Places all over a rectangle: closer than 8° of arc on the whole Earth."""
    x, y = np.meshgrid(np.linspace(west, east, _PLACES), np.linspace(south, north, _PLACES))
    return x.ravel(), y.ravel()


def _moved(shapes: np.ndarray, way: Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]) -> np.ndarray:
    """Shapes with each x, y where a way brings them."""

    def both(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(way(xy[:, 0], xy[:, 1]))

    return shapely.transform(shapes, both)


def _turned(x: np.ndarray, y: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    return x - turn, y


def _on_pixels(shapes: np.ndarray, lattice: Affine, block: Rect) -> Iterator[BaseGeometry]:
    """Polygons in columns and rows of a block."""

    def moved(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (x - lattice.c) / lattice.a - block.c0, (y - lattice.f) / lattice.e - block.r0

    for part in shapely.get_parts(_moved(shapes, moved)):
        if shapely.get_type_id(part) in _SURFACES and not part.is_empty:
            yield part


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
    """GeoJSON in degrees, or in the reference system that it names."""
    if not isinstance(found, Mapping):
        raise ValueError("GeoJSON is an object")
    named = found.get("crs")
    crs = _DEGREES
    if named is not None:
        try:
            crs = named["properties"]["name"]
        except (TypeError, KeyError):
            raise ValueError("its `crs` names no reference system") from None
        if not isinstance(crs, str):
            raise ValueError("its `crs` names no reference system")
    geometries: list[BaseGeometry | None] = []
    stack = [found]
    while stack:
        item = stack.pop()
        if not isinstance(item, Mapping):
            raise ValueError("GeoJSON holds features and geometries that are objects")
        kind = item.get("type")
        if kind in ("FeatureCollection", "GeometryCollection"):
            inner = item.get("features" if kind == "FeatureCollection" else "geometries")
            if not isinstance(inner, list):
                raise ValueError(f"a {kind} is a list")
            stack.extend(reversed(inner))
        elif kind == "Feature":
            if item.get("geometry") is not None:
                stack.append(item["geometry"])
        else:
            geometries.append(_geometry(item))
    return Polygons.of(_DEGREES if crs in _LONGITUDE_FIRST else crs, geometries)


def _geometry(item: Mapping[str, Any]) -> BaseGeometry:
    kind = item.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {str(kind)[:40]} has no inside; only polygons have")
    try:
        return shapely.from_geojson(json.dumps({"type": kind, "coordinates": item.get("coordinates")}))
    except (shapely.GEOSException, TypeError, ValueError) as error:
        raise ValueError(f"it is no {kind}: {str(error)[:200]}") from None


def _given(value: Any) -> Polygons:
    """A path, a GeoDataFrame or GeoSeries, GeoJSON, or a shapely geometry in degrees."""
    if isinstance(value, Polygons):
        return value
    if isinstance(value, str | PathLike):
        return _of_file(Path(value).expanduser())
    if isinstance(value, Mapping):
        return _of_geojson(value)
    if isinstance(value, BaseGeometry):
        w, s, e, n = value.bounds if not value.is_empty else (0, 0, 0, 0)
        if max(abs(w), abs(e)) > 360 or max(abs(s), abs(n)) > 90:
            raise ValueError(
                "a geometry of its own is in degrees; give a GeoDataFrame, which says in which system it is"
            )
        return Polygons.of(_DEGREES, [value])
    if hasattr(value, "geometry") and hasattr(value, "crs"):  # GeoPandas
        if value.crs is None:
            raise ValueError("it has no reference system: .set_crs(…) says which")
        return Polygons.of(value.crs, list(value.geometry))
    raise ValueError("give the path of a GeoPackage or GeoJSON file, a GeoDataFrame, or GeoJSON")


def _of_file(path: Path) -> Polygons:
    if not path.is_file():
        raise ValueError("there is no such file")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"the file has {path.stat().st_size / 1e9:.1f} GB; the limit is {_LARGEST / 1e9:.1f} GB")
    with path.open("rb") as file:
        head = file.read(16)
    if head.lstrip().startswith(b"{"):
        return _of_geojson(strict_json.loads(path.read_bytes()))
    if not head.startswith(b"SQLite format 3\0"):  # GDAL would follow what other files name
        raise ValueError(
            "it is no GeoPackage and no GeoJSON; read it with geopandas.read_file, and give what that gives"
        )
    import pyogrio.raw  # late: it loads a GDAL of its own

    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) != 1:
            listed = ", ".join(map(repr, layers)) or "none"
            raise ValueError(f"of its layers ({listed}) one is needed: geopandas.read_file(path, layer=…)")
        about, _, shapes, _ = pyogrio.raw.read(path, layer=layers[0], columns=[])
    except pyogrio.errors.DataSourceError as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if about["crs"] is None:
        raise ValueError("it does not say in which reference system its coordinates are")
    try:
        return Polygons.of(about["crs"], shapely.from_wkb(shapes))
    except shapely.GEOSException as error:
        raise ValueError(f"it cannot be read: {error}") from None


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
    return Cost(10e-9 * drawn, 3 * drawn)


@operator("mask_polygon", cost=_cost)
def mask_polygon(
    data: Cube,
    mask: Annotated[Polygons, OfKind("muses:polygons")],
    replacement: float | None = None,
    inside: bool = False,
    geobox: GeoBox | None = None,
) -> Cube:
    """Only what is inside of polygons, or with `inside` only what is outside of them; the rest is missing.

    ```python
    image.mask_polygon(polygon)
    image.mask_polygon(polygon, inside=True, replacement=-1)
    ```

    `mask` is a GeoDataFrame, the path of a GeoPackage or GeoJSON file, GeoJSON, or a shapely geometry in degrees. A
    pixel is inside where its centre is (GDAL's rule without `all_touched`), at every level with the pixels of that
    level. Edges are straight in the polygons' own reference system. `replacement` takes the place of the values that
    are removed; what is missing stays so (openEO `mask_polygon`).
    """
    assert geobox is not None
    within = mask.inside(geobox)
    removed = xr.DataArray(within if inside else ~within, dims=("y", "x"))
    if replacement is None:
        return data.where(~removed)
    return data.where(~removed | data.isnull(), np.asarray(replacement, data.dtype)).transpose(*data.dims)
