"""GeoPackage of polygons: the areas of equal value of a raster of classes, or of a condition.

Edges follow the pixels' own edges: nothing is simplified. Pixels that touch with a side are of one polygon, those that
only touch with a corner are not (4-connected), so that every polygon is a valid one. The whole raster is traced at
once, by GDAL: there are no seams between the pieces of an export.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Geod
from rasterio import features
from rasterio.windows import Window as Pixels

from muses_lab.crs import crs_name, transformer
from muses_lab.errors import ArgumentError, MusesError
from muses_lab.export import provenance
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import COPY, Pieces
from muses_lab.export.running import RunningJob
from muses_lab.plain import number, shown
from muses_lab.raster.gdal import environment
from muses_lab.raster.writing import create_raster, open_own

_MISSING = np.iinfo(np.int32).min
"""What stands for missing pixels while polygons are traced."""
_DATASET = {"VERSION": "1.2"}
"""The newest that GDAL 3.6 (Debian 12) reads without a warning."""
_BATCH = 20_000
"""Polygons that are written at a time."""
_ELLIPSOID = Geod(ellps="WGS84")
_DATING = threading.Lock()


@dataclass(frozen=True)
class Polygons:
    """Which values become polygons."""

    values: tuple[float, ...] | None = None
    """Those of these values: `values=[1]` where a condition is true. None: of every value."""

    def __post_init__(self) -> None:
        if self.values is None:
            return
        try:
            given = tuple(number("values", one) for one in self.values)
        except TypeError:
            raise ArgumentError(f"values={shown(self.values)} is no list of values", argument="values") from None
        if not given:
            raise ArgumentError("values=[] leaves nothing to be written", argument="values")
        object.__setattr__(self, "values", given)


class GeoPackage:
    """A layer for each image (date, band): polygons with `value`, `class`, `colour` of the style, and `area_m2`."""

    name = "GeoPackage"
    suffixes = (".gpkg",)
    packages = ("pyogrio", "shapely")
    holds_texts = True
    draws = False
    options = Polygons
    share = 0.5

    def check(self, target: Path, window: GeoBox, facts: Metadata) -> None:
        """It holds polygons of any window."""

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        import pyogrio  # it loads a GDAL of its own

        own = {name: text for name, text in tags.items() if name.startswith(provenance.PREFIX)}
        try:
            for layer, name in enumerate(_names(facts)):
                traced = _traced(pieces, layer, job)
                job.at("writing", COPY * layer / pieces.layers)
                for place, batch in enumerate(_batches(_polygons(traced, facts.options.values))):
                    job.check()
                    table = _table(batch, pieces.window, facts)
                    with _dated(_day(tags), job):
                        pyogrio.write_dataframe(
                            table, path, layer=name, driver="GPKG", append=place > 0,
                            geometry_type="Polygon", promote_to_multi=False,
                            **({} if layer or place else {"layer_metadata": own, "dataset_options": _DATASET}),
                        )  # fmt: skip
        except (RuntimeError, pyogrio.errors.DataSourceError) as error:
            raise OSError(str(error)) from error

    def differing(self, pieces: Pieces, facts: Metadata, path: Path, job: RunningJob) -> list[Pixels]:
        """Burns the polygons and compares with the values."""
        found = []
        try:
            for number_, piece in enumerate(pieces.all):
                job.check()
                job.at("checking", COPY + (1 - COPY) * number_ / len(pieces.all))
                values = pieces.values(piece)
                burnt = [_burnt(path, name, piece, pieces.window) for name in _names(facts)]
                expected = np.where(_wanted(values, facts.options.values), values, np.nan)
                if not np.array_equal(np.stack(burnt), expected, equal_nan=True):
                    found.append(piece)
        except (OSError, ValueError, RuntimeError):
            return list(pieces.all)
        return found

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        if not provenance.is_of(self.texts(path), chain, window):
            return False
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            try:
                return database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
            except sqlite3.Error:
                return False

    def texts(self, path: Path) -> Mapping[str, str]:
        import pyogrio

        try:
            first = pyogrio.list_layers(path)[0, 0]
            told = pyogrio.read_info(path, layer=first)["layer_metadata"] or {}
            return {name: text for name, text in told.items() if name.startswith(provenance.PREFIX)}
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError, IndexError):
            return {}

    def beside(self, target: Path, window: GeoBox, facts: Metadata) -> Mapping[Path, str | None]:
        return {}


WRITER = GeoPackage()


def _names(facts: Metadata) -> list[str]:
    """Names of the layers: date, band, or both; the title of a single image."""
    return [" ".join(label.split()) for label in facts.descriptions]


@contextmanager
def _dated(day: str, job: RunningJob) -> Iterator[None]:
    """While GDAL writes this date instead of today's, so that the same chain gives the same bytes; for one at a time,
    since it is a setting of the whole process."""
    import pyogrio

    while not _DATING.acquire(timeout=0.1):
        job.check()
    try:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": day})
        try:
            yield
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    finally:
        _DATING.release()


def _day(tags: Mapping[str, str]) -> str:
    return f"{tags['TIME_COVERAGE_END'][:19]}Z"


def _traced(pieces: Pieces, layer: int, job: RunningJob) -> Path:
    """A layer as whole numbers, which GDAL traces: a file, however large."""
    path = pieces.folder / "classes"
    height, width = pieces.window.shape
    profile = {"count": 1, "height": height, "width": width, "dtype": "int32", "nodata": _MISSING}
    tiles = {"tiled": True, "blockysize": 512, "blockxsize": 512, "compress": "zstd", "zstd_level": 1}
    with environment(), create_raster(path, transform=pieces.window.affine, **profile, **tiles) as file:
        for piece in pieces.all:
            job.check()
            (values,) = pieces.values(piece, range(layer, layer + 1))
            seen = ~np.isnan(values)
            odd = seen & ((values != np.rint(values)) | (np.abs(values) >= -float(_MISSING)))
            if odd.any():
                raise MusesError(
                    f"polygons are made of classes, which are whole numbers, and a value is {values[odd][0]:g}: make "
                    "classes of the values before, for example with chain > 0.4, or export a raster (.tif)"
                )
            file.write(np.where(seen, values, _MISSING).astype(np.int32), 1, window=piece)
    return path


def _polygons(path: Path, values: tuple[float, ...] | None) -> Iterator[tuple[dict[str, Any], float]]:
    """GeoJSON and value of each polygon."""
    with environment(), open_own(path) as file:
        for shape, value in features.shapes(rasterio.band(file, 1), connectivity=4, transform=file.transform):
            if value != _MISSING and (values is None or value in values):
                yield shape, value


def _batches(polygons: Iterator[Any]) -> Iterator[list[Any]]:
    """At most so many at a time; one without any where there are none, so that the layer is there."""
    yield list(islice(polygons, _BATCH))
    while batch := list(islice(polygons, _BATCH)):
        yield batch


def _table(batch: list[tuple[dict[str, Any], float]], window: GeoBox, facts: Metadata) -> Any:
    import geopandas

    classes = facts.style.classes if facts.style is not None and facts.style.classes else {}
    shapes = [_shape(shape) for shape, _ in batch]
    values = [int(value) for _, value in batch]
    known = [classes.get(value, (None, None)) for value in values]
    return geopandas.GeoDataFrame(
        {
            "value": np.array(values, np.int32),
            "class": np.array([label for label, _ in known], object),
            "colour": np.array([colour for _, colour in known], object),
            "area_m2": areas(shapes, window),
        },
        geometry=np.array(shapes, object),
        crs=None if window.crs is None else window.crs.to_wkt(),
    )


def _shape(shape: Mapping[str, Any]) -> shapely.Polygon:
    outer, *holes = shape["coordinates"]
    return shapely.Polygon(outer, holes)


def areas(shapes: list[shapely.Polygon], window: GeoBox) -> np.ndarray:
    """Square metres on the ellipsoid, whatever the reference system does to areas."""
    if not shapes or window.crs is None:
        return np.zeros(len(shapes))
    to_degrees = transformer(crs_name(window.crs), "EPSG:4326")
    turned = shapely.transform(np.array(shapes, object), lambda at: np.column_stack(to_degrees.transform(*at.T)))
    return np.array([abs(_ELLIPSOID.geometry_area_perimeter(shapely.normalize(one))[0]) for one in turned])


def _wanted(values: np.ndarray, chosen: tuple[float, ...] | None) -> np.ndarray:
    return ~np.isnan(values) if chosen is None else np.isin(values, chosen)


def _burnt(path: Path, layer: str, piece: Pixels, window: GeoBox) -> np.ndarray:
    """A piece of a layer as its polygons say; NaN where none is."""
    import pyogrio

    part = window[piece.toslices()]
    left, bottom, right, top = part.boundingbox
    _, _, shapes, (values,) = pyogrio.raw.read(path, layer=layer, columns=["value"], bbox=(left, bottom, right, top))
    out = np.full(part.shape, np.nan, np.float32)
    if len(shapes):
        burn = zip(shapely.from_wkb(shapes), values, strict=True)
        features.rasterize(burn, out=out, transform=part.affine)
    return out
