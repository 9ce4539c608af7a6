"""Processes of openEO on whole cubes: loading, selecting, applying callbacks, combining, masking, changing grid."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import numpy as np
import pyproj
import xarray as xr
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pyproj.exceptions import ProjError

from muses_lab.crs import crs_name, known_crs, transformer
from muses_lab.document.artefacts import OfKind
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import ArgumentError, BandError, DocumentError
from muses_lab.operators.callbacks import Series, run, wanted_labels
from muses_lab.operators.contract import (
    AtResolution,
    Binary,
    Compiling,
    Conditions,
    Cube,
    Dates,
    Images,
    Meta,
    Reading,
    Reducer,
    Refused,
    Regrid,
    Structural,
    Unary,
    same_bands,
)
from muses_lab.operators.declare import operator
from muses_lab.operators.functions import callback
from muses_lab.operators.given import band_names, box, check_unit, period
from muses_lab.operators.methods import on_cube
from muses_lab.operators.registered import registry
from muses_lab.plain import number, shown
from muses_lab.raster.grid import Grid, resampled_grids

NAN = np.float32("nan")


def _crs(value: int | str) -> int | str:
    """A number stays one; the rest is called as `crs_name` does, so that it is one document however it was written."""
    to_degrees(value)
    return value if isinstance(value, int) else crs_name(value)


@lru_cache(maxsize=1024)
def to_degrees(value: int | str) -> pyproj.Transformer:
    """From a system to longitude and latitude; refuses what is no place on the Earth's surface."""
    crs = known_crs(value)
    if not (crs.is_geographic or crs.is_projected):
        raise ValueError(f"{str(value)[:40]!r} has no longitude and latitude, and no easting and northing")
    return transformer(value, 4326)


Crs = Annotated[int | str, AfterValidator(_crs)]
"""A coordinate reference system: EPSG code, `authority:code`, or WKT."""


Coordinate = Annotated[float, Field(ge=-1e9, le=1e9)]
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
            raise ValueError(
                "west must be less than east, and south less than north; a box across 180° goes from 179 to 181"
            )
        degrees = self.west, self.south, self.east, self.north
        if self.crs not in (4326, "EPSG:4326"):
            try:
                degrees = to_degrees(self.crs).transform_bounds(*degrees, errcheck=True)
            except ProjError:
                raise ValueError(f"there is no such place in {self.crs}") from None
        west, south, east, north = degrees
        if max(-west, east) > 360 or max(-south, north) > 90:
            raise ValueError(
                "longitudes run from -360 to 360, latitudes from -90 to 90; what is in metres needs its crs, and south "
                "comes after west"
            )


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
        raise Refused("TemporalExtentEmpty", "the first date must be before the second (half-open interval)")
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


@operator("load_collection", support=Structural(), shape=_source, method=None)
def load_collection(
    id: str,
    spatial_extent: Area | None = None,
    temporal_extent: Interval | None = None,
    bands: Labels | None = None,
    properties: Conditions = None,  # type: ignore[assignment]
) -> Cube:
    """A collection of scenes, by its id; `catalogue:collection` names the catalogue too.

    ```python
    ml.collection("sentinel-2-l2a")
    s2.bbox(1.3, 43.5, 1.5, 43.7)
    s2.intersects(polygon)
    s2.dates("2018-01-01", "2019-01-01")
    ```

    `spatial_extent: null` means wherever the window is. Resolved to `muses:load_items` when the chain is published.
    """
    raise DocumentError(f"collection {id!r} has not been resolved")


@operator("muses:load_collection", support=Structural(), shape=_source, method=None)
def muses_load_collection(
    id: str,
    temporal_extent: Interval | None = None,
    bands: Labels | None = None,
    filter: str | None = None,
    intersects: dict[str, Any] | None = None,
    sortby: Labels | None = None,
    limit: Annotated[int, Field(ge=1)] | None = None,
) -> Cube:
    """As `load_collection`, with a CQL2 text filter, and scenes chosen (not cropped) by a place, an order, a number.

    ```python
    s2.near("Toulouse")
    s2.filter("eo:cloud_cover < 60")
    s2.sort("eo:cloud_cover")
    s2.limit(10)
    ```
    """
    raise DocumentError(f"collection {id!r} has not been resolved")


@operator("load_stac", support=Structural(), shape=_source, method=None)
def load_stac(
    url: Annotated[str, Field(min_length=1, max_length=2000)],
    spatial_extent: Area | None = None,
    temporal_extent: Interval | None = None,
    bands: Labels | None = None,
    properties: Conditions = None,  # type: ignore[assignment]
) -> Cube:
    """The scenes of a STAC Collection, Item or ItemCollection on the web, by its address (openEO `load_stac`).

    ```python
    ml.collection("sentinel-2-l2a", ml.open_catalog("https://earth-search.aws.element84.com/v1"))
    ```

    `…/collections/<id>` is the collection of a STAC API; a `.json` is an item, an ItemCollection, or a static
    collection, whose items are read one by one. Only https, and no private address (`MUSES_ALLOWED_HOSTS` has others).
    The rest is as of `load_collection`.
    """
    raise DocumentError(f"{url!r} has not been resolved")


RASTER_FORMATS = ("gtiff", "geotiff", "tiff", "cog")
"""Of `load_url`, in lower case."""


def _check_raster_format(arguments: Mapping[str, Any]) -> None:
    if arguments["format"].lower() not in RASTER_FORMATS:
        raise Refused("FormatUnsuitable", f"{arguments['format']!r:.40} is none of the formats of rasters: GTiff, COG")
    url = arguments["url"]
    if not urlsplit(url).path.lower().endswith((".tif", ".tiff")):
        raise Refused("FormatUnsuitable", f"{url!r:.200} is no address of a GeoTIFF: it ends in .tif or .tiff")
    if arguments["options"]:
        raise ValueError(f"there are no options of {arguments['format']}, such as {sorted(arguments['options'])[0]!r}")


@operator(
    "load_url", support=Structural(), shape=_source, rule=_check_raster_format, method=None,
    partly="GTiff and COG, and features of GeoJSON, Parquet, GPKG and zipped ESRI Shapefiles; no options",
)  # fmt: skip
def load_url(
    url: Annotated[str, Field(min_length=1, max_length=2000)],
    format: str,
    options: dict[str, Any] = {},  # noqa: B006 (openEO's default; it is never changed)
) -> Cube:
    """A GeoTIFF or COG on the web, by its address (.tif), as an image of its bands without a date (openEO `load_url`).

    ```python
    ml.Chain.from_json({"l": {"process_id": "load_url", "arguments": {"url": url, "format": "COG"}, "result": True}})
    ```

    Only https, and no private address (`MUSES_ALLOWED_HOSTS` has others). Of the formats GeoJSON, Parquet and GPKG it
    gives features: `muses:load_features`.
    """
    raise DocumentError(f"{url!r} has not been resolved")


THINNING = (128, 96, 64, 48)
"""Observations of a grid that a reduction over time uses at level 3, 4, 5, and 6 and beyond (see `engine.thinning`)."""
Limits = Annotated[Sequence[Annotated[int, Field(ge=1)]], Field(max_length=16)]


def _items(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["digest"]  # that of the list, from the engine
    return meta.select(tuple(arguments["bands"])) if arguments.get("bands") else meta


@operator(
    "muses:load_items", support=Reading(list="digest", bands="bands", thinning="thinning"), shape=_items, method=None
)
def load_items(
    digest: Annotated[Any, OfKind("muses:items")],
    bands: Labels | None = None,
    thinning: Limits = THINNING,
) -> Cube:
    """The scenes of a pinned list, by the SHA-256 of its `muses:items` artefact.

    ```python
    s2.resolve()
    ```

    `thinning`: how many dates a reduction over time uses from level 3 on, of a longer series; [] for all.
    """
    raise DocumentError("pinned scenes are read by the engine")


# ---------------------------------------------------------------------------------------------------- selecting


def _labels(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    if metas["data"].bands is None:
        raise BandError("the data have no dimension 'bands' to choose from", openeo="DimensionMissing")
    return metas["data"].select(tuple(arguments["bands"]))


def _some(arguments: Mapping[str, Any]) -> None:
    if not arguments["bands"]:
        raise Refused("BandFilterParameterMissing", "give `bands`, names or common names")


def _labels_needed(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    labels = _labels(arguments, metas).bands or ()
    return {"data": tuple(b for b in labels if wanted is None or b in wanted)}


def _chosen_images(
    compiling: Compiling, arguments: Mapping[str, Any], inputs: Mapping[str, Images], bands: tuple[str, ...] | None
) -> Images:
    return {band: inputs["data"][band] for band in bands or ()}


def _bands(data: Node, *names: Any) -> Node:
    """The bands named, by band name or common name; their names one by one or as one list.

    ```python
    s2.bands("red", "nir")
    ```
    """
    return on_cube(data, "filter_bands", bands=list(band_names(*names)))


@operator(
    "filter_bands", shape=_labels, needs=_labels_needed, selects=True, images=_chosen_images, rule=_some, method=_bands
)
def filter_bands(
    data: Cube,
    bands: Annotated[list[str], Field(max_length=200)] = [],  # noqa: B006
    meta: Meta | None = None,
) -> Cube:
    """The bands named (band or common names), in that order.

    ```python
    s2.bands("red", "nir")
    ```
    """
    found = (meta or Meta(bands=tuple(data.bands.values))).select(tuple(bands)).bands or ()
    return data.sel(bands=[b for b in found if b in data.bands.values])


def select_bands(data: Node, bands: Sequence[str]) -> Node:
    """The bands named of a cube, as a node."""
    return Node("filter_bands", {"data": data, "bands": list(bands)}, registry["filter_bands"].version)


def _with_time(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    if not metas["data"].time:
        raise DocumentError(
            "the dimension 't' has been reduced already: there are no dates to choose from; choose them before "
            "reducing",
            openeo="DimensionNotAvailable",
        )
    return metas["data"]


def _dates_between(arguments: Mapping[str, Any], times: Dates) -> Dates:
    start, end = arguments["extent"]
    first = 0 if start is None else bisect_left(times, instant(start))
    return times[first : len(times) if end is None else bisect_left(times, instant(end), first)]


def _dates(data: Node, start: Any, end: Any = ...) -> Node:
    """Observations from `start` to before `end` (half-open); None leaves a side open.

    ```python
    ndvi.dates("2018-03-01", "2018-06-01")
    ndvi.dates(date(2018, 3, 1), date(2018, 6, 1))
    ndvi.dates("2018-03")                           # all of March
    ```

    Texts (ISO; a month or year is its first day), `date`, `datetime`, pandas' `Timestamp`; without a zone in UTC.
    """
    return on_cube(data, "filter_temporal", extent=period(start, end))


@operator(
    "filter_temporal",
    method=_dates,
    shape=_with_time,
    needs=same_bands,
    dates=_dates_between,
    images=lambda compiling, arguments, inputs, bands: dict(inputs["data"]),
)
def filter_temporal(data: Cube, extent: Interval) -> Cube:
    """The dates in the half-open interval [start, end); null leaves a side open.

    ```python
    ndvi.dates("2018-03-01", "2018-06-01")
    ```
    """
    start, end = extent
    keep = np.ones(data.sizes["t"], dtype=bool)
    if start is not None:
        keep &= data.t.values >= instant(start)
    if end is not None:
        keep &= data.t.values < instant(end)
    return data if keep.all() else data.isel(t=keep)  # mostly all: what is read has been chosen already


def _crop(
    data: Node, west: Any, south: float | None = None, east: float | None = None, north: float | None = None
) -> Node:
    """Missing outside a box of longitudes and latitudes: west, south, east, north, or one sequence of them.

    ```python
    image.crop(1.40, 43.56, 1.44, 43.60)
    ```
    """
    extent = dict(zip(("west", "south", "east", "north"), box("crop", west, south, east, north), strict=True))
    return on_cube(data, "filter_bbox", extent=extent)


@operator("filter_bbox", method=_crop)
def filter_bbox(data: Cube, extent: BBox, places: Callable[[Any], tuple[np.ndarray, np.ndarray]] | None = None) -> Cube:
    """Missing where the pixel's centre is outside the bounding box.

    ```python
    image.crop(1.40, 43.56, 1.44, 43.60)
    ```
    """
    assert places is not None
    box = BBox.model_validate(extent)
    x, y = places(box.crs)
    if known_crs(box.crs).is_geographic:  # longitudes go round
        x = box.west + (x - box.west) % 360
    inside = (x >= box.west) & (x <= box.east) & (y >= box.south) & (y <= box.north)
    return data.where(xr.DataArray(inside, dims=("y", "x")))


# ---------------------------------------------------------------------------------------- callbacks on a cube


def _applied_images(
    compiling: Compiling, arguments: Mapping[str, Any], inputs: Mapping[str, Images], bands: tuple[str, ...] | None
) -> Images:
    return {band: compiling.call(arguments["process"], x=value) for band, value in inputs["data"].items()}


@operator("apply", images=_applied_images, method=None)
def apply(data: Cube, process: Unary) -> Cube:
    """A process of one value, on every value.

    ```python
    image + 1
    image.sqrt()
    ```
    """
    return as_cube(run(process, x=data), data)  # type: ignore[arg-type]


def _reduced(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if arguments["dimension"] == "t":
        if not meta.time:
            raise DocumentError(
                "the dimension 't' has been reduced already: there is nothing to reduce over time",
                openeo="DimensionNotAvailable",
            )
        return Meta(False, meta.bands, meta.common)
    if meta.bands is None:
        raise DocumentError("the dimension 'bands' has been reduced already", openeo="DimensionNotAvailable")
    wanted_labels(arguments["reducer"], meta)  # complains of unknown bands before anything is read
    return Meta(meta.time, None, {})


def _reduced_needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    meta = metas["data"]
    if arguments["dimension"] == "bands":
        return {"data": wanted_labels(arguments["reducer"], meta) or meta.bands}
    return {"data": wanted if meta.bands is not None and wanted is not None else meta.bands}


def _reduced_images(
    compiling: Compiling, arguments: Mapping[str, Any], inputs: Mapping[str, Images], bands: tuple[str, ...] | None
) -> Images:
    if arguments["dimension"] != "bands":
        raise compiling.refuse("a reduction over time inside another step")
    return {None: compiling.call(arguments["reducer"], data=dict(inputs["data"]))}


def _reduce_dimension(data: Node, reducer: Any, dim: Literal["t", "bands"] = "t") -> Node:
    """The values along a dimension of each pixel reduced to one, by a function of the array.

    ```python
    ndvi.reduce_dimension(lambda data: data.max() - data.min(), "t")
    s2.reduce_dimension(lambda data: data["nir"] / data["red"], "bands")
    ```
    """
    made = callback("reducer", reducer, "data")
    return registry.node("reduce_dimension", data=data, reducer=made, dimension=dim)


@operator(
    "reduce_dimension", shape=_reduced, needs=_reduced_needs, reduces="dimension", images=_reduced_images,
    method=_reduce_dimension,
)  # fmt: skip
def reduce_dimension(data: Cube, reducer: Reducer, dimension: Literal["t", "bands"], meta: Meta | None = None) -> Cube:
    """A dimension reduced to one value by a reducer over `data`.

    ```python
    ndvi.median("t")
    s2.band("red")
    ```
    """
    series = Series(data, dimension, meta or Meta(bands=tuple(data.bands.values) if "bands" in data.dims else None))
    like = data.isel({dimension: 0}, drop=True) if data.sizes[dimension] else data.sum(dimension)
    return as_cube(run(reducer, data=series), like)  # type: ignore[arg-type]


def _merged(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    a, b = metas["cube1"], metas["cube2"]
    time, common = a.time or b.time, {**b.common, **a.common}
    if a.bands is None or b.bands is None:
        return Meta(time, a.bands if b.bands is None else b.bands, common)
    if a.bands == b.bands:
        return Meta(time, a.bands, common)
    resolver = arguments["overlap_resolver"]
    if set(a.bands) != set(b.bands) and set(a.bands) & set(b.bands) and resolver is not None and not _keeps(resolver):
        raise BandError(
            f"cubes with bands {', '.join(a.bands)} and {', '.join(b.bands)} cannot be combined by "
            f"{resolver.root.process!r}: they must be the same, or have none in common; choose bands first, or give a "
            "resolver that ignores missing values, such as the mean of x and y"
        )
    return Meta(time, a.bands + tuple(band for band in b.bands if band not in a.bands), common)


_KEPT = {"mean", "median", "min", "max", "sum", "product", "first", "last"}


def _keeps(resolver: Callback) -> bool:
    """Whether a resolver of two values gives the one where the other is missing: a reducer of both that ignores it."""
    given = resolver.root.arguments
    both = given.get("data")
    return (
        resolver.root.process in _KEPT
        and given.get("ignore_nodata") is not False
        and isinstance(both, list)
        and {value.name if isinstance(value, Parameter) else None for value in both} == {"x", "y"}
    )


def _merged_images(
    compiling: Compiling, arguments: Mapping[str, Any], inputs: Mapping[str, Images], bands: tuple[str, ...] | None
) -> Images:
    a, b = inputs["cube1"], inputs["cube2"]
    if None not in a and None not in b and not set(a) & set(b):
        return {**a, **b}
    resolver = arguments["overlap_resolver"]
    if resolver is None:
        raise compiling.refuse("no resolver")
    found: dict[str | None, Any] = {}
    for band in bands or (None,):
        x, y = (side.get(band, side.get(None)) for side in (a, b))
        if x is None and y is None:
            raise compiling.refuse("bands that do not fit")
        found[band] = compiling.call(resolver, x=x, y=y) if x is not None and y is not None else y if x is None else x
    return found


@operator("merge_cubes", shape=_merged, needs=same_bands, images=_merged_images, method=None)
def merge_cubes(
    cube1: Cube, cube2: Cube, overlap_resolver: Binary | None = None, axes: Mapping[str, Dates] | None = None
) -> Cube:
    """Two cubes as one: bands and dates side by side where they differ, else combined value by value by the resolver.

    ```python
    image + other
    ml.rgb(image, image, image)
    ```

    A cube without dates, or without bands, is combined with each date or band of the other. Where both have a band and
    date, or none has any, `overlap_resolver` makes one value of `x` and `y`; without it that is an error. Of a
    date or band that only one cube has, the other's value is missing: a resolver that ignores missing values (the mean,
    maximum, first value of both) keeps what there is, arithmetic gives missing values. Arithmetic on cubes of which
    only some bands are the same is refused.
    """
    first, second = (list(c.bands.values) if "bands" in c.dims else [] for c in (cube1, cube2))
    if not first or not second or first == second:
        return _resolved(cube1, cube2, overlap_resolver, axes)
    of_both = [band for band in first if band in second]
    sides = zip(xr.broadcast(cube1, cube2, exclude=["bands"]), (first, second), strict=True)
    parts = [cube.sel(bands=[band for band in own if band not in of_both]) for cube, own in sides]
    if of_both:
        parts.append(_resolved(cube1.sel(bands=of_both), cube2.sel(bands=of_both), overlap_resolver, axes))
    joined = xr.concat(parts, dim="bands", coords="minimal", compat="override").astype(NAN.dtype, copy=False)
    return joined.sel(bands=list(dict.fromkeys(first + second))) if of_both else joined


def _resolved(a: Cube, b: Cube, resolver: Binary | None, axes: Mapping[str, Dates] | None) -> Cube:
    """Two cubes of the same bands, or of which one has none, value by value; without a resolver of different dates."""
    if resolver is not None:
        return as_cube(run(resolver, x=a, y=b), xr.broadcast(a, b)[0])  # type: ignore[arg-type]
    dated = "t" in a.dims and "t" in b.dims and a.dims == b.dims
    if not dated or set(axes["cube1"] if axes else a.t.values) & set(axes["cube2"] if axes else b.t.values):
        raise DocumentError(
            "merge_cubes needs an `overlap_resolver` for cubes that share bands and dates",
            openeo="OverlapResolverMissing",
        )
    return a.where(a.notnull(), b)


def as_cube(result: Any, like: xr.DataArray) -> xr.DataArray:
    """A callback's result as a cube: a constant is spread over the shape that it had."""
    if isinstance(result, xr.DataArray):
        missing = [d for d in like.dims if d not in result.dims]
        return xr.broadcast(result, like)[0] if missing else result
    value = NAN if result is None else result
    return xr.full_like(like, value, dtype=like.dtype)


# ------------------------------------------------------------------------------------------ masks and bands


def _data_meta(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    mask = metas["mask"]
    data = metas["data"]
    if mask.bands is not None and mask.bands != data.bands and not _is_for_all(mask, data):
        raise BandError(
            f"a mask with the bands {', '.join(mask.bands)} does not fit data with "
            f"{', '.join(data.bands or ()) or 'no bands'}; a mask has the same bands, or none, or one of another name, "
            "which is for all",
            openeo="IncompatibleDataCubes",
        )
    if mask.time and not data.time:
        raise DocumentError(
            "the mask has dates and the data have none; reduce the mask over 't' first", openeo="IncompatibleDataCubes"
        )
    return data


def _is_for_all(mask: Meta, data: Meta) -> bool:
    """Whether a mask has one band that is none of the data's: what a process made of several, for all of them."""
    return mask.bands is not None and len(mask.bands) == 1 and mask.bands[0] not in (data.bands or ())


def _mask_needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    needs = same_bands(arguments, metas, wanted)
    return {**needs, "mask": metas["mask"].bands} if _is_for_all(metas["mask"], metas["data"]) else needs


def _masked_images(
    compiling: Compiling, arguments: Mapping[str, Any], inputs: Mapping[str, Images], bands: tuple[str, ...] | None
) -> Images:
    selector, replacement = inputs["mask"], arguments["replacement"]
    other = float("nan") if replacement is None else float(replacement)
    own = selector.keys() == inputs["data"].keys()
    (every,) = selector.values() if len(selector) == 1 else (None,)  # for all bands
    return {
        band: compiling.mask(value, selector[band] if own else every, other) for band, value in inputs["data"].items()
    }


@operator(
    "mask",
    shape=_data_meta,
    needs=_mask_needs,
    masks="mask",
    strict=lambda arguments: arguments["replacement"] is None,  # else dates without data get values, too
    images=_masked_images,
)
def mask(data: Cube, mask: Cube, replacement: float | bool | None = None) -> Cube:
    """Data without the values where the mask is true (not zero); they become missing, or `replacement`.

    ```python
    image.mask(water)
    ```
    """
    if "bands" in mask.dims and not np.array_equal(mask.bands, data.bands if "bands" in data.dims else ()):
        mask = mask.isel(bands=0, drop=True)
    remove = mask.fillna(0) != 0
    return data.where(~remove, NAN if replacement is None else replacement)


# ---------------------------------------------------------------------------------------- grids and levels


Resampling = Literal[
    "near", "bilinear", "cubic", "cubicspline", "lanczos", "average", "mode", "max", "min", "med", "q1", "q3", "sum",
    "rms",
]  # fmt: skip


def _square(value: Any) -> float:
    """A resolution, of which openEO knows two, across and down; 0: that of the data."""
    across, down = value if isinstance(value, list) else (value, value)
    if across != down:
        raise ValueError(f"pixels of {across:g} × {down:g} are not square; grids here have one resolution")
    if across and not 1e-6 <= across <= 1e7:
        raise ValueError("a resolution is greater than 0 (from 0.000001 to 10000000), or 0: that of the data")
    return across


NewResolution = Annotated[float | Annotated[list[float], Field(min_length=2, max_length=2)], AfterValidator(_square)]


def _own_lattice(arguments: Mapping[str, Any], grids: Mapping[str, Mapping[str, Grid]]) -> Mapping[str, Grid]:
    """The grids of a CRS and resolution, aligned to the CRS's origin, where the data are; what is left out stays."""
    return resampled_grids(arguments["projection"], arguments["resolution"], grids["data"])


def _on_grid(data: Node, grid: Node | str | int, resolution: float | None = None, method: Resampling = "near") -> Node:
    """On the grids of another chain, or on that of a CRS and resolution (in its unit).

    ```python
    image.on_grid(other)
    image.on_grid("EPSG:2154", 10)
    image.on_grid("EPSG:2154", 100, method="average")
    ```

    By nearest neighbour, or another `method` of `resample_spatial`.
    """
    if isinstance(grid, Node):
        return on_cube(data, "resample_cube_spatial", target=grid, method=method)
    if resolution is None:
        raise ArgumentError(f"on_grid({shown(grid)}) needs a resolution in units of that CRS")
    if isinstance(grid, str | int):
        check_unit(grid, number("resolution", resolution))
    return on_cube(data, "resample_spatial", projection=grid, resolution=resolution, method=method)


@operator("resample_spatial", support=Regrid(_own_lattice, method="method"), method=_on_grid)
def resample_spatial(
    data: Cube,
    resolution: NewResolution = 0,
    projection: Crs | None = None,
    method: Resampling = "near",
    align: Literal["upper-left", "lower-left", "lower-right", "upper-right"] = "upper-left",
) -> Cube:
    """The cube on the grid of a CRS and resolution, aligned to the CRS's origin (so `align` makes no difference).

    ```python
    image.on_grid("EPSG:2154", 10)
    image.on_grid("EPSG:2154", 100, method="average")
    ```

    What is left out stays as it is: the CRS (`projection`), or the resolution (0), which is then as many metres in the
    new CRS. `method` is one of GDAL's. `near` is the pixel at the new pixel's centre. `bilinear`, `cubic`,
    `cubicspline` and `lanczos` weigh the pixels around it, farther away where the new pixels are larger; the result is
    missing where the pixel at the centre is. `average`, `sum`, `rms` (weighted by the part of a pixel inside), `mode`,
    `max`, `min`, `med`, `q1` and `q3` are of all pixels that the new one touches. Missing values are left out of all of
    them (openEO `resample_spatial`).
    """
    raise DocumentError("grids are changed by the engine")


def _first(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    return metas["data"]


@operator(
    "resample_cube_spatial",
    method=None,
    support=Regrid(lambda arguments, grids: grids["target"], method="method"),
    shape=_first,
    needs=lambda arguments, metas, wanted: {
        "data": wanted if metas["data"].bands is not None and wanted is not None else metas["data"].bands,
        "target": metas["target"].bands,
    },
)
def resample_cube_spatial(data: Cube, target: Cube, method: Resampling = "near") -> Cube:
    """The cube on the grids of another one; `method` as of `resample_spatial`.

    ```python
    image.on_grid(other)
    image.on_grid(other, method="bilinear")
    ```
    """
    raise DocumentError("grids are changed by the engine")


@operator("muses:at_resolution", support=AtResolution("resolution"))
def at_resolution(data: Cube, resolution: Metres) -> Cube:
    """The cube evaluated at the level of this resolution (metres), whatever level is shown.

    ```python
    image.at_resolution(20)
    ```
    """
    raise DocumentError("levels are chosen by the engine")
