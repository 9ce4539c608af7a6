"""Processes of openEO on whole cubes: loading, selecting, applying callbacks, combining, masking, changing grid."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import pyproj
import xarray as xr
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pyproj.exceptions import ProjError

from muses_lab.errors import BandError, DocumentError
from muses_lab.operators.callbacks import Series, run, wanted_labels
from muses_lab.operators.declare import (
    Binary,
    Conditions,
    Cube,
    Meta,
    Reducer,
    Structural,
    Unary,
    operator,
)

NAN = np.float32("nan")


_CRS_NAME = re.compile(r"[A-Za-z]{2,12}:[A-Za-z0-9.]{1,24}|[A-Z]{4,24}\[.{1,9000}\]", re.DOTALL)


def _crs(value: int | str) -> int | str:
    if isinstance(value, str) and not _CRS_NAME.fullmatch(value):
        # texts of PROJ may name files of this machine (+nadgrids, +init), and what is unknown is looked for slowly
        raise ValueError(f"{value[:40]!r} is neither a code, as 32631 or 'EPSG:32631', nor WKT")
    _to_degrees(value)
    return value


@lru_cache(maxsize=1024)
def _to_degrees(value: int | str) -> pyproj.Transformer:
    """From a system to longitude and latitude; refuses what is no place on the Earth's surface."""
    name = f"EPSG:{value}" if isinstance(value, int) else value
    try:
        crs = pyproj.CRS(name)
        if not (crs.is_geographic or crs.is_projected):
            raise ValueError(f"{name[:40]!r} has no longitude and latitude, and no easting and northing")
        return pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    except ProjError:
        raise ValueError(f"{name[:40]!r} is not known, or not on Earth") from None


Crs = Annotated[int | str, AfterValidator(_crs)]
"""A coordinate reference system: EPSG code, `authority:code`, or WKT."""


Coordinate = Annotated[float, Field(ge=-1e9, le=1e9)]
Resolution = Annotated[float, Field(ge=1e-6, le=1e7)]
"""Of a pixel, in units of the coordinate reference system."""
Metres = Annotated[float, Field(ge=1e-3, le=1e7)]


class BBox(BaseModel):
    """openEO bounding box: west, south, east, north in `crs` (EPSG code or name; longitude/latitude by default)."""

    model_config = ConfigDict(extra="forbid")
    west: Coordinate
    south: Coordinate
    east: Coordinate
    north: Coordinate
    crs: Crs = 4326

    def model_post_init(self, _context: Any) -> None:
        if self.south >= self.north or self.west >= self.east:
            raise ValueError("west must be less than east, and south less than north")
        degrees = self.west, self.south, self.east, self.north
        if self.crs not in (4326, "EPSG:4326"):
            try:
                degrees = _to_degrees(self.crs).transform_bounds(*degrees, errcheck=True)
            except ProjError:
                raise ValueError(f"there is no such place in {self.crs}") from None
        west, south, east, north = degrees
        if max(-west, east) > 360 or max(-south, north) > 90:
            raise ValueError("longitudes run from -360 to 360, latitudes from -90 to 90")


def _area(value: dict[str, Any]) -> dict[str, Any]:
    if "type" not in value:
        try:
            return BBox.model_validate(value, strict=True).model_dump()
        except ValidationError as error:
            first = error.errors()[0]
            place = "".join(f"{part}: " for part in first["loc"])
            raise ValueError(f"{place}{first['msg'].removeprefix('Value error, ')}") from None
    return value


Area = Annotated[dict[str, Any], AfterValidator(_area)]
"""A bounding box, or GeoJSON."""


def _interval(value: list[str | None]) -> list[str | None]:
    for stamp in value:
        if stamp is not None:
            try:
                instant(stamp)
            except ValueError:
                raise ValueError(f"{stamp!r} is not an ISO 8601 date") from None
    if value[0] is not None and value[1] is not None and instant(value[0]) >= instant(value[1]):
        raise ValueError("the first date must be before the second (half-open interval)")
    return value


def instant(stamp: str) -> np.datetime64:
    """An ISO date or date-time (UTC where it has no zone) as a NumPy instant; the nearest one there is."""
    time = dt.datetime.fromisoformat(stamp)
    zone = time.utcoffset() or dt.timedelta(0)
    return np.datetime64(min(max(time.replace(tzinfo=None), _FIRST), _LAST) - zone, "ns")


_FIRST, _LAST = dt.datetime(1678, 1, 1), dt.datetime(2262, 1, 1)
"""What nanoseconds since 1970 in 64 bits can say."""


Interval = Annotated[list[str | None], Field(min_length=2, max_length=2), AfterValidator(_interval)]
Labels = Annotated[list[str], Field(min_length=1, max_length=200)]


def _source(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    raise DocumentError("the chain's collections have not been resolved yet")


@operator("load_collection", support=Structural(), shape=_source)
def load_collection(
    id: str,
    spatial_extent: Area | None = None,
    temporal_extent: Interval | None = None,
    bands: Labels | None = None,
    properties: Conditions = None,  # type: ignore[assignment]
) -> Cube:
    """A collection of scenes, by its id; `catalogue:collection` names the catalogue too.

    `spatial_extent: null` means wherever the window is. Resolved to `muses:load_items` when the chain is published.
    """
    raise DocumentError(f"collection {id!r} has not been resolved")


@operator("muses:load_collection", support=Structural(), shape=_source)
def muses_load_collection(
    id: str,
    temporal_extent: Interval | None = None,
    bands: Labels | None = None,
    filter: str | None = None,
    intersects: dict[str, Any] | None = None,
    sortby: Labels | None = None,
    limit: Annotated[int, Field(ge=1)] | None = None,
) -> Cube:
    """As `load_collection`, with a CQL2 text filter, and scenes chosen (not cropped) by a place, an order, a number."""
    raise DocumentError(f"collection {id!r} has not been resolved")


def _items(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas[arguments["digest"]]  # the engine offers the metas of the pinned lists by their digest
    return meta.select(tuple(arguments["bands"])) if arguments.get("bands") else meta


@operator("muses:load_items", support=Structural(), shape=_items)
def load_items(
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")],
    bands: Labels | None = None,
) -> Cube:
    """The scenes of a pinned list, by the SHA-256 of its `muses:items` artefact."""
    raise DocumentError("pinned scenes are read by the engine")


# ---------------------------------------------------------------------------------------------------- selecting


def _labels(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    return metas["data"].select(tuple(arguments["bands"]))


def _labels_needed(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    labels = _labels(arguments, metas).bands or ()
    return {"data": tuple(b for b in labels if wanted is None or b in wanted)}


@operator("filter_bands", shape=_labels, needs=_labels_needed)
def filter_bands(data: Cube, bands: Labels, meta: Meta | None = None) -> Cube:
    """The bands named (band or common names), in that order."""
    found = (meta or Meta(bands=tuple(data.bands.values))).select(tuple(bands)).bands or ()
    return data.sel(bands=[b for b in found if b in data.bands.values])


@operator("filter_temporal")
def filter_temporal(data: Cube, extent: Interval) -> Cube:
    """The dates in the half-open interval [start, end); null leaves a side open."""
    start, end = extent
    keep = np.ones(data.sizes["t"], dtype=bool)
    if start is not None:
        keep &= data.t.values >= instant(start)
    if end is not None:
        keep &= data.t.values < instant(end)
    return data.isel(t=keep)


@operator("filter_bbox")
def filter_bbox(data: Cube, extent: BBox, places: Callable[[Any], tuple[np.ndarray, np.ndarray]] | None = None) -> Cube:
    """Missing where the pixel's centre is outside the bounding box."""
    assert places is not None
    box = BBox.model_validate(extent)
    x, y = places(box.crs)
    inside = (x >= box.west) & (x <= box.east) & (y >= box.south) & (y <= box.north)
    return data.where(xr.DataArray(inside, dims=("y", "x")))


# ---------------------------------------------------------------------------------------- callbacks on a cube


@operator("apply")
def apply(data: Cube, process: Unary) -> Cube:
    """A process of one value, on every value."""
    return _cube(run(process, x=data), data)  # type: ignore[arg-type]


def _reduced(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if arguments["dimension"] == "t":
        if not meta.time:
            raise DocumentError("the dimension 't' has been reduced already: there is nothing to reduce over time")
        return Meta(False, meta.bands, meta.common)
    if meta.bands is None:
        raise DocumentError("the dimension 'bands' has been reduced already")
    wanted_labels(arguments["reducer"], meta)  # complains of unknown bands before anything is read
    return Meta(meta.time, None, {})


def _reduced_needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    meta = metas["data"]
    if arguments["dimension"] == "bands":
        return {"data": wanted_labels(arguments["reducer"], meta) or meta.bands}
    return {"data": wanted if meta.bands is not None and wanted is not None else meta.bands}


@operator("reduce_dimension", shape=_reduced, needs=_reduced_needs)
def reduce_dimension(data: Cube, reducer: Reducer, dimension: Literal["t", "bands"], meta: Meta | None = None) -> Cube:
    """A dimension reduced to one value by a reducer over `data`."""
    series = Series(data, dimension, meta or Meta(bands=tuple(data.bands.values) if "bands" in data.dims else None))
    like = data.isel({dimension: 0}, drop=True) if data.sizes[dimension] else data.sum(dimension)
    return _cube(run(reducer, data=series), like)  # type: ignore[arg-type]


def _merged(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    a, b = metas["cube1"], metas["cube2"]
    time, common = a.time or b.time, {**b.common, **a.common}
    if a.bands is None or b.bands is None:
        return Meta(time, a.bands if b.bands is None else b.bands, common)
    if a.bands == b.bands:
        return Meta(time, a.bands, common)
    if not set(a.bands) & set(b.bands):
        return Meta(time, a.bands + b.bands, common)
    if len(a.bands) == 1 or len(b.bands) == 1 or set(a.bands) != set(b.bands):
        raise BandError(
            f"cubes with bands {', '.join(a.bands)} and {', '.join(b.bands)} cannot be combined: "
            "they must be the same, or have none in common; choose bands first"
        )
    return Meta(time, a.bands, common)


@operator("merge_cubes", shape=_merged)
def merge_cubes(cube1: Cube, cube2: Cube, overlap_resolver: Binary | None = None) -> Cube:
    """Two cubes as one: bands side by side where they differ, else combined value by value by the resolver."""
    bands = [set(c.bands.values.tolist()) if "bands" in c.dims else None for c in (cube1, cube2)]
    if bands[0] is not None and bands[1] is not None and not bands[0] & bands[1]:
        together = xr.broadcast(cube1, cube2, exclude=["bands"])
        return xr.concat(together, dim="bands", coords="minimal", compat="override").astype(NAN.dtype, copy=False)
    if overlap_resolver is None:
        raise DocumentError("merge_cubes needs an `overlap_resolver` for cubes that share their bands")
    if bands[0] is not None and bands[1] is not None:
        cube2 = cube2.sel(bands=cube1.bands)
    return _cube(run(overlap_resolver, x=cube1, y=cube2), xr.broadcast(cube1, cube2)[0])  # type: ignore[arg-type]


def _cube(result: Any, like: xr.DataArray) -> xr.DataArray:
    """A callback's result as a cube: a constant is spread over the shape that it had."""
    if isinstance(result, xr.DataArray):
        return result
    value = NAN if result is None else result
    return xr.full_like(like, value)


# ------------------------------------------------------------------------------------------ masks and bands


def _data_meta(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    mask = metas["mask"]
    data = metas["data"]
    if mask.bands is not None and mask.bands != data.bands:
        raise BandError(
            f"a mask with the bands {', '.join(mask.bands)} does not fit data with "
            f"{', '.join(data.bands or ()) or 'no bands'}; a mask has the same bands or none"
        )
    if mask.time and not data.time:
        raise DocumentError("the mask has dates and the data have none; reduce the mask over 't' first")
    return data


@operator("mask", shape=_data_meta)
def mask(data: Cube, mask: Cube, replacement: float | None = None) -> Cube:
    """Data without the values where the mask is true (not zero); they become missing, or `replacement`."""
    remove = mask.fillna(0) != 0
    return data.where(~remove, NAN if replacement is None else replacement)


def _added(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    if metas["data"].bands is not None:
        raise DocumentError("the cube has a dimension 'bands' already")
    return Meta(metas["data"].time, (arguments["label"],), {})


@operator("add_dimension", shape=_added, needs=lambda arguments, metas, wanted: {"data": None})
def add_dimension(data: Cube, name: Literal["bands"], label: str, type: Literal["bands"] = "bands") -> Cube:
    """The cube with a dimension `bands` of one label."""
    return data.expand_dims(bands=[label])


def _ndvi_labels(arguments: Mapping[str, Any], meta: Meta) -> tuple[str, str]:
    return meta.find(arguments.get("nir", "nir")), meta.find(arguments.get("red", "red"))


def _ndvi_shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    _ndvi_labels(arguments, meta)
    target = arguments.get("target_band")
    return Meta(meta.time, (*(meta.bands or ()), target) if target else None, meta.common if target else {})


def _ndvi_needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    pair = _ndvi_labels(arguments, metas["data"])
    kept = metas["data"].bands or () if arguments.get("target_band") else ()
    return {"data": tuple(b for b in metas["data"].bands or () if b in pair or (b in kept and b in (wanted or kept)))}


@operator("ndvi", shape=_ndvi_shape, needs=_ndvi_needs)
def ndvi(
    data: Cube, nir: str = "nir", red: str = "red", target_band: str | None = None, meta: Meta | None = None
) -> Cube:
    """Normalised difference vegetation index (nir - red) / (nir + red), Rouse et al. 1974.

    The result has no bands; with `target_band` it is added to the bands that are there.
    """
    a, b = _ndvi_labels({"nir": nir, "red": red}, meta or Meta(bands=tuple(data.bands.values)))
    x, y = data.sel(bands=a, drop=True), data.sel(bands=b, drop=True)
    with np.errstate(all="ignore"):
        total = x + y
        index = ((x - y) / total).where(total != 0)
    return xr.concat([data, index.expand_dims(bands=[target_band])], "bands") if target_band else index


# ---------------------------------------------------------------------------------------- grids and levels


@operator("resample_spatial", support=Structural())
def resample_spatial(
    data: Cube,
    resolution: Resolution,
    projection: Crs,
    method: Literal["near"] = "near",
    align: Literal["upper-left"] = "upper-left",
) -> Cube:
    """The cube on the grid of a CRS and resolution (aligned to its origin), by nearest neighbour."""
    raise DocumentError("grids are changed by the engine")


def _first(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    return metas["data"]


@operator(
    "resample_cube_spatial",
    support=Structural(),
    shape=_first,
    needs=lambda arguments, metas, wanted: {
        "data": wanted if metas["data"].bands is not None and wanted is not None else metas["data"].bands,
        "target": metas["target"].bands,
    },
)
def resample_cube_spatial(data: Cube, target: Cube, method: Literal["near"] = "near") -> Cube:
    """The cube on the grids of another one, by nearest neighbour."""
    raise DocumentError("grids are changed by the engine")


@operator("muses:at_resolution", support=Structural())
def at_resolution(data: Cube, resolution: Metres) -> Cube:
    """The cube evaluated at the level of this resolution (metres), whatever level is shown."""
    raise DocumentError("levels are chosen by the engine")
