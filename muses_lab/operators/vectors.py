"""Features: points, lines and polygons with attributes, from files, GeoDataFrames and GeoJSON, as artefacts."""

from __future__ import annotations

import datetime as dt
import json
import math
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import pyproj
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox
from pydantic import Field
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import crs_name, known_crs, transformer
from muses_lab.document import strict_json
from muses_lab.document.artefacts import Kind, OfKind, kinds
from muses_lab.operators import vector_tables
from muses_lab.operators.contract import Cost, Cube, Meta, Refused
from muses_lab.operators.declare import operator
from muses_lab.operators.drawing import Drawing, moved
from muses_lab.plain import plain
from muses_lab.raster.grid import BLOCK

if TYPE_CHECKING:  # it takes a second to load, and few chains need it
    import geopandas

DEGREES = "EPSG:4326"
_LONGITUDE_FIRST = ("urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:OGC::CRS84", "OGC:CRS84")
"""How GeoJSON names it."""

MOST = 200_000
"""Features, and simple parts of them."""

_LARGEST = 1 << 30
"""Bytes of a file that is read, unpacked."""

_TYPES = {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
_NOUNS = ("point", "line", "polygon")
"""By dimension."""

_WIDEST = 12.0
"""Degrees: what is wider has no zone in whose metres it could be grown."""

Value = str | int | float | bool | None
"""Of an attribute."""


class Numbers(NamedTuple):
    """An attribute as numbers that pixels can have."""

    values: np.ndarray
    """Of each feature (float32); NaN where it is missing."""
    classes: dict[int, str]
    """What the numbers stand for where the attribute is text: 1, 2, … in alphabetical order; else empty."""


@dataclass(frozen=True, eq=False)
class Features:
    """Points, lines or polygons of one reference system, in an order, with attributes."""

    crs: str
    ids: tuple[int | str, ...]
    shapes: np.ndarray
    """Of shapely, valid, none empty."""
    properties: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What was repaired or left out when they were read; not part of the artefact."""

    @classmethod
    def of(
        cls,
        crs: Any,
        geometries: Iterable[BaseGeometry | None],
        ids: Sequence[Any] | None = None,
        properties: Mapping[str, Sequence[Any]] | None = None,
        repair: bool = False,
    ) -> Self:
        """Those that have a geometry. ValueError names the feature that is not valid, unless it can be repaired."""
        name = crs_name(crs)
        shapes = list(geometries)
        if len(shapes) > MOST:
            raise ValueError(f"there are {len(shapes)} features; the limit is {MOST}")
        names = _ids(ids, len(shapes))
        kept: list[int] = []
        notes: list[str] = []
        for number, shape in enumerate(shapes):
            if shape is None or shape.is_empty:
                notes.append(f"feature {names[number]!r} has no geometry and is left out")
                continue
            _check(shape, names[number])
            if not shape.is_valid:
                shapes[number], note = _repaired(shape, names[number], repair)
                notes.append(note)
            kept.append(number)
        if not kept:
            raise ValueError("there is no feature with a geometry in it")
        found = shapely.force_2d(_array(shapes[number] for number in kept))
        _check_place(name, found)
        columns = {
            str(key): tuple(attribute(key, column[number], names[number]) for number in kept)
            for key, column in (properties or {}).items()
        }
        return cls(name, tuple(names[number] for number in kept), found, columns, tuple(notes))

    def __len__(self) -> int:
        return len(self.shapes)

    def __repr__(self) -> str:
        dimensions = sorted(set(shapely.get_dimensions(self.shapes).tolist()))
        nouns = " and ".join(f"{_NOUNS[d]}{'s' * (len(self) != 1)}" for d in dimensions)
        columns = f"; {', '.join(self.columns)}" if self.columns else ""
        return f"<{type(self).__name__}: {len(self)} {nouns}, {self.crs[:20]}{columns}>"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return tuple(self.properties)

    def table(self) -> geopandas.GeoDataFrame:
        """As a GeoDataFrame, with their ids as its index."""
        import geopandas

        return geopandas.GeoDataFrame(
            {name: list(column) for name, column in self.properties.items()},
            geometry=list(self.shapes), crs=self.crs, index=list(self.ids),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------ others

    def chosen(self, keep: Sequence[bool] | np.ndarray) -> Self:
        """Those for which it is true, in their order; ValueError where that is none."""
        at = np.flatnonzero(np.asarray(keep))
        if not len(at):
            raise ValueError(f"none of the {len(self)} features is left")
        return self.at(at)

    def at(self, at: np.ndarray) -> Self:
        """Those with these numbers, in that order."""
        columns = {name: tuple(column[n] for n in at) for name, column in self.properties.items()}
        return type(self)(self.crs, tuple(self.ids[n] for n in at), self.shapes[at], columns)

    def with_columns(self, *names: str) -> Self:
        """The same with these attributes only."""
        return type(self)(self.crs, self.ids, self.shapes, {name: self.column(name) for name in names})

    def column(self, name: str) -> tuple[Value, ...]:
        """An attribute of each feature; ValueError lists what there is."""
        try:
            return self.properties[name]
        except (KeyError, TypeError):
            raise ValueError(f"there is no attribute {name!r:.60}; there are {_listed(self.columns)}") from None

    def numbers(self, name: str) -> Numbers:
        """An attribute as numbers; ValueError where it mixes texts and numbers, or has one that float32 has not."""
        column = self.column(name)
        given = [value for value in column if value is not None]
        if all(isinstance(value, str) for value in given):
            classes = dict(enumerate(sorted({str(value) for value in given}), 1))
            number = {text: n for n, text in classes.items()}
            values = [math.nan if value is None else number[str(value)] for value in column]
            return Numbers(np.array(values, np.float32), classes)
        for id, value in zip(self.ids, column, strict=True):
            if isinstance(value, str):
                raise ValueError(f"{name!r} of feature {id!r} is the text {value!r:.40}, and others are numbers")
            if isinstance(value, int) and abs(value) > 1 << 24:
                raise ValueError(
                    f"{name!r} of feature {id!r} is {value}: pixels (float32) hold whole numbers up to {1 << 24}"
                )
        return Numbers(np.array([math.nan if v is None else float(v) for v in column], np.float32), {})

    def reproject(self, crs: Any) -> Self:
        """Their corners in another reference system; ValueError names the feature that has no place there."""
        to = crs_name(crs)
        if to == self.crs:
            return self
        shapes = moved(self.shapes, transformer(self.crs, to).transform)
        for id, shape in zip(self.ids, shapes, strict=True):
            if not np.isfinite(shape.bounds).all():
                raise ValueError(f"feature {id!r} has no place in {to}: choose another reference system")
        valid = shapely.is_valid(shapes)
        shapes[~valid] = [_made_valid(shape) or shape for shape in shapes[~valid]]
        return type(self)(to, self.ids, shapes, self.properties)

    def buffer(self, metres: float) -> Self:
        """Grown by so many metres on the ground, shrunk where they are negative; round corners of 16 steps a quarter.

        In degrees (and Mercator's projection) each is grown in the metres of its UTM zone (polar stereographic beyond
        84° N and 80° S), which are right to one in a thousand. What shrinks to nothing is left out, and noted.
        """
        crs = known_crs(self.crs)
        shapes = self._buffered(crs, metres) if _as_on_the_ground(crs) else self._buffered_in_zones(metres)
        gone = shapely.is_empty(shapes)
        if gone.all():
            raise ValueError(f"nothing is left of the features after a buffer of {metres:g} m")
        made = type(self)(self.crs, self.ids, shapes, self.properties).chosen(~gone)
        notes = tuple(f"feature {id!r} shrank to nothing" for id, none in zip(self.ids, gone, strict=True) if none)
        return type(self)(made.crs, made.ids, made.shapes, made.properties, notes)

    def _buffered(self, crs: pyproj.CRS, metres: float) -> np.ndarray:
        return shapely.buffer(self.shapes, metres / crs.axis_info[0].unit_conversion_factor, quad_segs=16)

    def _buffered_in_zones(self, metres: float) -> np.ndarray:
        degrees = self.reproject(DEGREES)
        bounds = shapely.bounds(degrees.shapes)
        wide = np.flatnonzero(bounds[:, 2] - bounds[:, 0] > _WIDEST)
        if len(wide):
            raise ValueError(
                f"feature {self.ids[wide[0]]!r} is {np.ptp(bounds[wide[0], [0, 2]]):.0f}° wide, too wide for metres: "
                "reproject to a system in metres first"
            )
        x, y = (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2
        zone = np.clip(np.floor(((x + 180) % 360) / 6).astype(int) + 1, 1, 60)
        code = np.where(y > 84, 32661, np.where(y < -80, 32761, np.where(y < 0, 32700, 32600) + zone))
        out = np.empty(len(self), object)
        for epsg in np.unique(code):
            there, back = transformer(self.crs, int(epsg)), transformer(int(epsg), self.crs)
            some = code == epsg
            grown = shapely.buffer(moved(self.shapes[some], there.transform), metres, quad_segs=16)
            out[some] = moved(grown, back.transform)
        return out


def _as_on_the_ground(crs: pyproj.CRS) -> bool:
    """Whether lengths in a system are about those on the ground: not in degrees, and not in Mercator's projection."""
    if crs.is_geographic or crs.coordinate_operation is None:
        return False
    method = crs.coordinate_operation.method_name
    return "Mercator" not in method or "Transverse" in method


# ---------------------------------------------------------------------------------------------------- checks


def _array(shapes: Iterable[BaseGeometry | None]) -> np.ndarray:
    found = list(shapes)
    out = np.empty(len(found), object)
    out[:] = found
    return out


def _ids(given: Sequence[Any] | None, count: int) -> list[int | str]:
    """The ids that are given where they are whole numbers or texts and each once, else 0, 1, …"""
    ids = [plain(id) for id in given] if given is not None else []
    proper = all(isinstance(id, int | str) and not isinstance(id, bool) for id in ids)
    return ids if ids and proper and len(set(map(str, ids))) == count else list(range(count))


def _check(shape: BaseGeometry, id: Any) -> None:
    if shape.geom_type not in _TYPES:
        raise ValueError(f"feature {id!r} is a {shape.geom_type}; features are points, lines and polygons")
    if not np.isfinite(shape.bounds).all():
        raise ValueError(f"feature {id!r} has coordinates that are no finite numbers")


def _repaired(shape: BaseGeometry, id: Any, repair: bool) -> tuple[BaseGeometry, str]:
    reason = shapely.is_valid_reason(shape)
    made = _made_valid(shape) if repair else None
    if made is None:
        how = "nothing is left of it when it is repaired" if repair else "repair it, for example with ml.vectors(…)"
        raise ValueError(f"feature {id!r} is not valid ({reason}): {how}")
    return made, f"feature {id!r} was not valid ({reason}) and has been repaired"


def _made_valid(shape: BaseGeometry) -> BaseGeometry | None:
    """A valid geometry of the same kind; None where nothing of it is left."""
    dimension = shapely.get_dimensions(shape)
    made = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    parts = [p for p in shapely.get_parts(made) if shapely.get_dimensions(p) == dimension and not p.is_empty]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def _check_place(crs: str, shapes: np.ndarray) -> None:
    """That coordinates are of their reference system: what is in metres is no degrees, and the other way round."""
    w, s, e, n = shapely.total_bounds(shapes)
    known = known_crs(crs)
    here = f"coordinates run from ({w:g}, {s:g}) to ({e:g}, {n:g})"
    if known.is_geographic:
        if max(abs(w), abs(e)) > 360 or max(abs(s), abs(n)) > 90:
            raise ValueError(f"{here}, which are no degrees of {crs}: crs=… says in which system they are")
        return
    if not known.is_projected:
        raise ValueError(f"{crs} has no easting and northing, and no longitude and latitude: give another crs=…")
    if max(abs(w), abs(e)) <= 180 and max(abs(s), abs(n)) <= 90 and known.area_of_use is not None:
        x, y = transformer(crs, DEGREES).transform((w + e) / 2, (s + n) / 2)
        area = known.area_of_use
        if not (area.west <= x <= area.east and area.south <= y <= area.north):
            raise ValueError(f"{here}, which look like degrees and not like {crs}: give crs=4326 if they are")


def attribute(name: Any, value: Any, id: Any) -> Value:
    """As JSON has it: dates as ISO text, NaN and the like as null."""
    value = plain(value)
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise ValueError(f"{name!r} of feature {id!r} is infinite")
        return value
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


# -------------------------------------------------------------------------------------------- of what is given


def given(value: Any, layer: str | None = None, crs: Any = None, repair: bool = False) -> Features:
    """A path, a GeoDataFrame or GeoSeries, GeoJSON, or a shapely geometry in degrees."""
    if isinstance(value, Features):
        return value if crs is None else _with_crs(value, crs)
    if isinstance(value, str | PathLike):
        path = Path(value).expanduser()
        return _of_file(path, layer, crs, repair)
    if layer is not None:
        raise ValueError("only files have layers: leave layer= out")
    if isinstance(value, Mapping):
        return of_geojson(value, crs=crs, repair=repair)
    if isinstance(value, BaseGeometry):
        w, s, e, n = value.bounds if not value.is_empty else (0, 0, 0, 0)
        if crs is None and (max(abs(w), abs(e)) > 360 or max(abs(s), abs(n)) > 90):
            raise ValueError(
                "a geometry of its own is in degrees; give a GeoDataFrame, which says in which system it is"
            )
        return Features.of(crs or DEGREES, [value], repair=repair)
    if hasattr(value, "geometry") and hasattr(value, "crs"):  # GeoPandas
        return _of_frame(value, crs, repair)
    raise ValueError(
        "give the path of a file (GeoPackage, GeoJSON, Shapefile, Parquet, CSV), a GeoDataFrame, or GeoJSON"
    )


def _of_frame(frame: Any, crs: Any, repair: bool) -> Features:
    if frame.crs is None and crs is None:
        raise ValueError(
            "it has no reference system: crs=… of ml.vectors(…), or .set_crs(…) of a GeoDataFrame, says which"
        )
    if frame.crs is not None and crs is not None and crs_name(frame.crs) != crs_name(crs):
        raise ValueError(f"it is in {crs_name(frame.crs)}, not in {crs_name(crs)}: .reproject(…) changes that")
    geometry = frame.geometry
    others = [name for name in getattr(frame, "columns", ()) if name != geometry.name]
    columns = {name: frame[name].astype(object).tolist() for name in others if not hasattr(frame[name], "crs")}
    return Features.of(crs if frame.crs is None else frame.crs, list(geometry), frame.index.tolist(), columns, repair)


def _with_crs(features: Features, crs: Any) -> Features:
    if crs_name(crs) != features.crs:
        raise ValueError(f"they are in {features.crs}, not in {crs_name(crs)}: .reproject(…) changes that")
    return features


def of_geojson(found: Any, crs: Any = None, repair: bool = False) -> Features:
    """GeoJSON in degrees, or in the reference system that it names."""
    if not isinstance(found, Mapping):
        raise ValueError("GeoJSON is an object")
    named = found.get("crs")
    said = None
    if named is not None:
        try:
            said = named["properties"]["name"]
        except (TypeError, KeyError):
            raise ValueError("its `crs` names no reference system") from None
        if not isinstance(said, str):
            raise ValueError("its `crs` names no reference system")
        said = DEGREES if said in _LONGITUDE_FIRST else said
        if crs is not None and crs_name(said) != crs_name(crs):
            raise ValueError(f"it is in {crs_name(said)}, not in {crs_name(crs)}: .reproject(…) changes that")
    items = _items(found)
    properties = {name: None for item in items for name in _properties(item)}
    columns = {name: [_properties(item).get(name) for item in items] for name in properties}
    ids = [item.get("id", number) if item.get("type") == "Feature" else number for number, item in enumerate(items)]
    return Features.of(said or crs or DEGREES, [_geometry(item) for item in items], ids, columns, repair)


def _items(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The features, and geometries that are none, in order."""
    items: list[Mapping[str, Any]] = []
    stack: list[Any] = [found]
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
        else:
            items.append(item)
    return items


def _properties(item: Mapping[str, Any]) -> Mapping[str, Any]:
    found = item.get("properties") if item.get("type") == "Feature" else None
    return found if isinstance(found, Mapping) else {}


def _geometry(item: Mapping[str, Any]) -> BaseGeometry | None:
    found: Any = item.get("geometry") if item.get("type") == "Feature" else item
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise ValueError("GeoJSON holds features and geometries that are objects")
    kind = found.get("type")
    if kind not in _TYPES:
        raise ValueError(f"GeoJSON has no {str(kind)[:40]} here; it has points, lines and polygons")
    try:
        return shapely.from_geojson(json.dumps({"type": kind, "coordinates": found.get("coordinates")}))
    except (shapely.GEOSException, TypeError, ValueError) as error:
        raise ValueError(f"it is no {kind}: {str(error)[:200]}") from None


# ------------------------------------------------------------------------------------------------ of files


def _of_file(path: Path, layer: str | None, crs: Any, repair: bool) -> Features:
    if not path.is_file():
        raise ValueError("there is no such file")
    _check_size(path.stat().st_size)
    with path.open("rb") as file:
        head = file.read(16)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        if layer is not None:
            raise ValueError("GeoJSON has no layers: leave layer= out")
        return of_geojson(strict_json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf")), crs, repair)
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(path, layer, crs, repair)
    if head.startswith(b"PAR1"):
        return _of_parquet(path, crs, repair)
    # What GDAL knows by its content alone: it would follow what files of other formats name.
    if head.startswith(b"SQLite format 3\0"):
        return _of_layer(path, layer, crs, repair)
    if head.startswith(b"\0\0\x27\x0a") and path.suffix.lower() == ".shp":
        return _of_shapefile(path, crs, repair)
    if path.suffix.lower() in (".dbf", ".shx", ".prj", ".cpg"):
        raise ValueError(f"it is a part of a Shapefile: give {path.with_suffix('.shp').name}")
    if path.suffix.lower() in vector_tables.SUFFIXES:
        if layer is not None:
            raise ValueError("a table has no layers: leave layer= out")
        return _of_frame(vector_tables.points_of(path, crs), crs, repair)
    raise ValueError(
        "it is no GeoPackage, no GeoJSON, no Shapefile (or a zip of one), no Parquet file and no CSV of points; read "
        "it with geopandas.read_file, and give what that gives"
    )


def _check_size(size: int) -> None:
    if size > _LARGEST:
        raise ValueError(f"the file has {size / 1e9:.1f} GB; the limit is {_LARGEST / 1e9:.1f} GB")


def _of_layer(path: Path, layer: str | None, crs: Any, repair: bool) -> Features:
    import pyogrio  # late: it loads a GDAL of its own

    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if layer is None and len(layers) == 1:
            layer = layers[0]
        if layer not in layers:
            raise ValueError(f"of its layers ({_listed(layers)}) one is needed: ml.vectors(path, layer=…)")
        frame = pyogrio.read_dataframe(path, layer=layer, fid_as_index=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, shapely.GEOSException) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    return _of_frame(_checked(frame), crs, repair)


def _of_shapefile(path: Path, crs: Any, repair: bool) -> Features:
    missing = [end for end in (".shx", ".dbf") if not _beside(path, end)]
    if missing:
        raise ValueError(f"the Shapefile has no {' and no '.join(missing)} beside it: copy all of its files")
    if crs is None and not _beside(path, ".prj"):
        raise ValueError("the Shapefile has no .prj beside it, and so no reference system: crs=… says which")
    return _of_layer(path, None, crs, repair)


def _beside(path: Path, end: str) -> bool:
    return any(path.with_suffix(one).is_file() for one in (end, end.upper()))


def _of_zip(path: Path, layer: str | None, crs: Any, repair: bool) -> Features:
    """A zipped Shapefile: its files, and nothing else, unpacked where nobody else is."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            names = [PurePosixPath(name) for name in archive.namelist() if "__MACOSX" not in name]
            shapes = {name.stem: name for name in names if name.suffix.lower() == ".shp"}
            if layer is None and len(shapes) == 1:
                (layer,) = shapes
            if layer not in shapes:
                raise ValueError(f"of its Shapefiles ({_listed(sorted(shapes))}) one is needed: layer=…")
            parts = [n for n in names if n.parent == shapes[layer].parent and n.stem == layer]
            wanted = [n for n in parts if n.suffix.lower() in (".shp", ".shx", ".dbf", ".prj", ".cpg")]
            _check_size(sum(archive.getinfo(str(name)).file_size for name in wanted))
            for name in wanted:
                (Path(folder) / f"shape{name.suffix.lower()}").write_bytes(archive.read(str(name)))
            return _of_shapefile(Path(folder) / "shape.shp", crs, repair)
    # Of zipfile: NotImplementedError is a compression that it lacks, RuntimeError an archive with a password.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"the archive cannot be read: {error}") from None


def _of_parquet(path: Path, crs: Any, repair: bool) -> Features:
    import geopandas
    import pyarrow

    try:
        frame = geopandas.read_parquet(path)
    except (ValueError, TypeError, pyarrow.ArrowException, shapely.GEOSException) as error:
        if "geo metadata" not in str(error).lower():
            raise ValueError(f"it cannot be read: {error}") from None
        frame = _of_plain_parquet(path)
    return _of_frame(_checked(frame), crs, repair)


def _of_plain_parquet(path: Path) -> Any:
    """A table whose column `geometry` (or `wkb_geometry`, `geom`) is WKB: it does not say in which system."""
    import geopandas
    import pandas

    frame = pandas.read_parquet(path)
    for name in ("geometry", "wkb_geometry", "geom"):
        if name in frame.columns:
            try:
                shapes = shapely.from_wkb(frame[name].to_numpy())
            except (shapely.GEOSException, TypeError) as error:
                raise ValueError(f"its column {name!r} is no WKB: {error}") from None
            return geopandas.GeoDataFrame(frame.drop(columns=name), geometry=shapes)
    raise ValueError(f"it has no column of geometries (WKB, called 'geometry'); it has {_listed(list(frame.columns))}")


def _checked(frame: Any) -> Any:
    if not hasattr(frame, "geometry") or not hasattr(frame, "crs"):
        raise ValueError("it has no geometries")
    return frame


# ------------------------------------------------------------------------------------------------ as an artefact


def _write(features: Features) -> bytes:
    """A GeoJSON FeatureCollection that names its reference system."""
    shapes = shapely.transform(features.shapes, lambda xy: xy + 0.0)  # no -0
    rows = zip(features.ids, shapely.to_geojson(shapes), *features.properties.values(), strict=True)
    texts = []
    for id, shape, *values in rows:
        properties = _text(dict(zip(features.properties, values, strict=True)))
        texts.append(f'{{"geometry":{shape},"id":{_text(id)},"properties":{properties},"type":"Feature"}}')
    crs = _text({"properties": {"name": features.crs}, "type": "name"})
    return f'{{"crs":{crs},"features":[{",".join(texts)}],"type":"FeatureCollection"}}'.encode()


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _parse(body: bytes) -> Features:
    try:
        return of_geojson(strict_json.loads(body))
    except ValueError as error:
        raise ValueError(f"is damaged: {error}") from None


VECTORS = kinds.add(
    Kind(
        "muses:vectors", "set of features", "application/geo+json",
        write=_write, parse=_parse, of=given, inline=of_geojson,
    )
)  # fmt: skip

Vectors = Annotated[Features, OfKind("muses:vectors")]
"""What a parameter of an operator, or its result, is declared as."""


# ----------------------------------------------------------------------- processes of features: run when they are read


@operator("load_geojson", method=None)
def load_geojson(data: dict[str, Any], properties: list[str] = []) -> Vectors:  # noqa: B006
    """The features of GeoJSON, in degrees, with the attributes named.

    ```python
    ml.vectors(polygon)
    ```

    A feature that is not valid is an error that names it (openEO `load_geojson`).
    """
    found = of_geojson(data)
    missing = [name for name in properties if name not in found.columns]
    if missing:
        raise ValueError(f"no feature has the property {missing[0]!r}; they have {_listed(found.columns)}")
    return found.with_columns(*properties)


RELATIONS = {
    "intersects": shapely.intersects, "disjoint": shapely.disjoint, "equals": shapely.equals,
    "touches": shapely.touches, "crosses": shapely.crosses, "overlaps": shapely.overlaps, "within": shapely.within,
    "contains": shapely.contains,
}  # fmt: skip
Relation = Literal["intersects", "disjoint", "equals", "touches", "crosses", "overlaps", "within", "contains"]


@operator("filter_vector", method=None)
def filter_vector(data: Vectors, geometries: Vectors, relation: Relation = "intersects") -> Vectors:
    """Those features that have the relation to at least one of other features (openEO `filter_vector`).

    ```python
    ml.vectors(polygon).related(polygon, "intersects")
    ```

    The others are brought to the system of the first. `disjoint` keeps those that touch none of them.
    """
    others = geometries.reproject(data.crs).shapes
    if relation == "disjoint":
        tree = shapely.STRtree(others)
        hit = np.unique(tree.query(data.shapes, predicate="intersects")[0])
        return data.chosen(~np.isin(np.arange(len(data)), hit))
    tree = shapely.STRtree(others)
    mine, theirs = tree.query(data.shapes)
    true = RELATIONS[relation](data.shapes[mine], others[theirs])
    return data.chosen(np.isin(np.arange(len(data)), mine[true]))


Distance = Annotated[float, Field(ge=-1e6, le=1e6)]


@operator("vector_buffer", method=None)
def vector_buffer(geometries: Vectors, distance: Distance) -> Vectors:
    """Features grown by so many metres; shrunk where `distance` is negative (openEO `vector_buffer`).

    ```python
    ml.vectors(polygon).buffer(100)
    ```

    Of features in degrees the error UnitMismatch: bring them to a system in metres by `vector_reproject` first. The
    method `buffer` of vectors does that by itself.
    """
    if distance == 0:
        raise ValueError("distance is 0, which changes nothing")
    if known_crs(geometries.crs).axis_info[0].unit_name not in ("metre", "meter"):
        raise Refused(
            "UnitMismatch",
            f"the features are in {geometries.crs}, whose unit is not the metre, and the distance is in "
            "metres; use vector_reproject first",
        )
    return geometries.buffer(distance)


@operator("vector_reproject", method=None)
def vector_reproject(data: Vectors, projection: int | str, dimension: str | None = None) -> Vectors:
    """Features in another reference system: the corners are brought there (openEO `vector_reproject`).

    ```python
    ml.vectors(polygon).reproject("EPSG:32631")
    ```
    """
    if dimension not in (None, "geometry"):
        raise Refused("DimensionNotAvailable", f"there is no dimension {dimension!r}; it is called 'geometry'")
    return data.reproject(projection)


# ------------------------------------------------------------------------------------------------------- drawn


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """A block is drawn whole; measured: 5 ns for a pixel of it with one circle, 13 with thirty, 190 with a thousand."""
    drawn = (math.ceil(rows / BLOCK) + 1) * (math.ceil(columns / BLOCK) + 1) * BLOCK**2
    return Cost(10e-9 * drawn, 12 * drawn)


@operator(
    "muses:burn", cost=_cost, method=None, shape=lambda arguments, metas: Meta(False),
    needs=lambda arguments, metas, wanted: {},
)  # fmt: skip
def burn(
    vectors: Vectors, attribute: str | None = None, all_touched: bool = False, geobox: GeoBox | None = None
) -> Cube:
    """An image of features on the grid of what it is combined with: 1, or their attribute's number; missing elsewhere.

    ```python
    image * ml.vectors(polygon).burn()
    ```

    A pixel is a polygon's where its centre is inside (GDAL's rule; with `all_touched` where the polygon touches it), a
    line's where the line goes through it, a point's where it holds the point; at every level with the pixels of that
    level. Where several features have a pixel, the last one counts. An attribute that is text gives 1, 2, … in the
    alphabetical order of its values; where it is null the pixel is missing.
    """
    assert geobox is not None
    values = np.ones(len(vectors), np.float32) if attribute is None else vectors.numbers(attribute).values
    numbers = Drawing(vectors.crs, vectors.shapes).numbers(geobox, all_touched)
    return xr.DataArray(np.append(values, np.float32("nan"))[numbers], dims=("y", "x"))


@operator("filter_spatial", cost=_cost)
def filter_spatial(data: Cube, geometries: Vectors, geobox: GeoBox | None = None) -> Cube:
    """Only the pixels of polygons, lines or points; all others are missing (openEO `filter_spatial`).

    ```python
    image.filter_spatial(polygon)
    ```

    `geometries` is what `ml.vectors` gives or takes. A pixel is kept where its centre is in a polygon, where a line
    goes through it, where it holds a point; at every level with the pixels of that level.
    """
    assert geobox is not None
    return data.where(xr.DataArray(Drawing(geometries.crs, geometries.shapes).inside(geobox), dims=("y", "x")))
