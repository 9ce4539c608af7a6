"""Places that are kept: points and polygons with a name, a colour, and the series that were read of them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from muses_lab import plain
from muses_lab.api.features import noted, read, told
from muses_lab.catalog.condition import Condition
from muses_lab.document import strict_json
from muses_lab.errors import ArgumentError, NotFound
from muses_lab.operators.vectors import DEGREES, Features, attribute
from muses_lab.tables import files

if TYPE_CHECKING:
    import geopandas

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Of Okabe and Ito, as the plots of the library: told apart on light and on dark paper, and by the colour-blind."""

_OWN = ("id", "name", "colour", "visible")
"""What a file says of a place before its attributes."""
_FORMATS = {".gpkg": "GeoPackage", ".geojson": "GeoJSON", ".json": "GeoJSON"}
_PLACES, _SERIES = "places", "series"
"""Layers of a GeoPackage."""
_MARK = "muses_places"
"""Names what only files of `Places.save` have: a member of GeoJSON; in a GeoPackage a layer, of all that its columns
cannot hold to the last digit."""


@dataclass(frozen=True, eq=False)
class Place:
    """A place that is kept; `Places.change` gives it another name or colour."""

    id: str
    """Names it among the others for good: `"1"`, `"2"`, …"""
    name: str
    colour: str
    """As `#0072b2`."""
    geometry: BaseGeometry
    """A point or a polygon in degrees."""
    visible: bool = True
    """Whether it is shown on the map and in the plot."""
    attributes: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Of a polygon that came from a file."""
    series: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """What was read there, by what was asked (`NDVI`): tables of a `PointSeries` or `ZonalSeries`, without shapes."""

    @property
    def is_point(self) -> bool:
        return self.geometry.geom_type == "Point"

    @property
    def point(self) -> tuple[float, float]:
        """Longitude and latitude of a point; of a polygon, of a point inside it."""
        inside = self.geometry.representative_point()
        return inside.x, inside.y

    def feature(self) -> dict[str, Any]:
        """As GeoJSON, without its series."""
        told = {"id": self.id, "name": self.name, "colour": self.colour, "visible": self.visible}
        shape = shapely.geometry.mapping(self.geometry)
        return {"type": "Feature", "id": self.id, "geometry": shape, "properties": {**self.attributes, **told}}


class Places:
    """The places that are kept, in their order.

    ```python
    places = Places()
    field = places.add(shapely.Point(1.41, 43.58), name="Field")
    places.note(field.id, "NDVI", ndvi.series(1.41, 43.58))
    places.change(field.id, name="North field", colour="#d55e00")
    places.save("fields.gpkg")                       # the places, and all series in a second layer
    Places.open("fields.gpkg").table()               # pandas: a row for each place, quantity and date
    ```

    Points and polygons are one list. `on_change` tells of every change: the map's layer, the panel and the file follow
    by it. Places are named by their ids; `find` takes a name, too.
    """

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self._places: dict[str, Place] = {place.id: place for place in places}
        self._listeners: list[Callable[[], None]] = []
        self._held = 0
        self._changed = False
        self._next = 1 + max((int(id) for id in self._places if id.isdigit()), default=0)

    # ------------------------------------------------------------------------------------------------ the list

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Place]:
        return iter(tuple(self._places.values()))

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def __getitem__(self, id: str) -> Place:
        try:
            return self._places[id]
        except KeyError:
            raise NotFound(f"there is no place {id!r}; there are {self._listed()}") from None

    def __repr__(self) -> str:
        return f"<Places: {self._listed()}>"

    def _listed(self) -> str:
        names = [repr(place.name) for place in self._places.values()]
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        return ", ".join(names[:6]) + more if names else "none"

    def find(self, name: str) -> Place:
        """The place of an id or a name."""
        found = [place for place in self if place.id == name] or [place for place in self if place.name == name]
        if len(found) != 1:
            if found:
                raise NotFound(f"{len(found)} places are called {name!r}: give one of the ids "
                               f"{', '.join(repr(place.id) for place in found)}")  # fmt: skip
            raise NotFound(f"there is no place {name!r}; there are {self._listed()}")
        return found[0]

    def on_change(self, use: Callable[[], None]) -> None:
        """Calls a function after every change; several changes within `together` are one."""
        self._listeners.append(use)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Changes inside are told once, at the end."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._changed and not self._held:
                self._tell()

    def _tell(self) -> None:
        self._changed = bool(self._held)
        if not self._held:
            for use in tuple(self._listeners):
                use()

    # ----------------------------------------------------------------------------------------------- changing

    def add(
        self, geometry: Any, name: str | None = None, colour: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Place:  # fmt: skip
        """Keeps a place, and returns it.

        Parameters
        ----------
        geometry
            A point or a polygon in degrees: of shapely, or as GeoJSON.
        name
            By default `Point 1`, `Polygon 2` and so on.
        colour
            By default the next one that no other place has.
        attributes
            What is known of it, such as the crop: texts, numbers, truth values. What is missing is None, dates are
            ISO texts.
        """
        shape = _shape(geometry)
        known = {str(key): told(attribute, key, value, name) for key, value in (attributes or {}).items()}
        id = str(self._next)
        self._next += 1
        noun = "Point" if shape.geom_type == "Point" else "Polygon"
        place = Place(id, _name(name, f"{noun} {id}"), self._colour(colour), shape, True, known)
        self._places[id] = place
        self._tell()
        return place

    def extend(self, source: Any, name: str | None = None, layer: str | None = None) -> list[Place]:
        """Keeps every feature of a file, a GeoDataFrame or GeoJSON; `name` is the attribute that they are called by.

        Each of them has a row and a curve in the panel, which suits some dozens. Of hundreds of parcels
        `ParcelsPanel(m, "parcels.gpkg")` makes a sortable table and colours; it takes the polygons of these places,
        too: `ParcelsPanel(m, places)`.
        """
        features = noted(read("Places.extend", source, layer)).reproject(DEGREES)
        if name is not None and name not in features.columns:
            raise ArgumentError(f"name={name!r} is no attribute; there are {', '.join(features.columns) or 'none'}")
        return self._add_all(features, name)

    def _add_all(self, features: Features, called: str | None = None) -> list[Place]:
        called = called or next((one for one in features.columns if one.lower() == "name"), None)
        kept = []
        with self.together():
            for number, (id, shape) in enumerate(zip(features.ids, features.shapes, strict=True)):
                known = {key: column[number] for key, column in features.properties.items()}
                name = "" if called is None or known[called] is None else str(known[called]).strip()
                kept.append(self.add(shape, name or str(id), attributes=known))
        return kept

    def change(
        self, id: str, *, name: str | None = None, colour: str | None = None, visible: bool | None = None,
        geometry: Any = None,
    ) -> Place:  # fmt: skip
        """Gives a place another name, colour or shape, hides or shows it; a new shape has no series yet."""
        asked: dict[str, Any] = {}
        if name is not None:
            asked["name"] = _name(name, "")
        if colour is not None:
            asked["colour"] = _checked_colour(colour)
        if visible is not None:
            asked["visible"] = bool(visible)
        before = self[id]
        if geometry is not None and not before.geometry.equals_exact(shape := _shape(geometry)):
            asked |= {"geometry": shape, "series": {}}
        if all(getattr(before, key) == value for key, value in asked.items()):
            return before
        return self._put(replace(before, **asked))

    def note(self, id: str, quantity: str, series: Any) -> Place:
        """Keeps what was read of a place: a `PointSeries`, a `ZonalSeries`, or the table of one."""
        table = series if isinstance(series, pd.DataFrame) else series.table
        rows = pd.DataFrame(table.drop(columns=["geometry"], errors="ignore"))
        return self._put(replace(self[id], series={**self[id].series, quantity: rows}))

    def remove(self, *ids: str) -> None:
        """Keeps these no longer."""
        for id in ids:
            self[id]  # noqa: B018  all are there, or none is removed
        for id in ids:
            self._places.pop(id, None)
        self._tell()

    def clear(self) -> None:
        """Keeps none any more."""
        self._places.clear()
        self._tell()

    def where(self, condition: str) -> list[str]:
        """Ids of the places that fit: a CQL2 condition on name and attributes, or a part of a name.

        ```python
        places.where("crop = 'wheat' AND area > 2")
        places.where("north")
        ```
        """
        text = condition.strip()
        if not any(sign in text for sign in "<>=") and not text.upper().endswith(" NULL"):
            return [place.id for place in self if text.lower() in place.name.lower()]
        asked = Condition(text)
        rows = {place.id: {**place.attributes, "name": place.name} for place in self}
        asked.check_known({name for row in rows.values() for name in row})
        return [id for id, row in rows.items() if asked.matches({"id": id, "properties": row})]

    def _put(self, place: Place) -> Place:
        self._places[place.id] = place
        self._tell()
        return place

    def _colour(self, colour: str | None) -> str:
        if colour is not None:
            return _checked_colour(colour)
        counts = {one: sum(place.colour == one for place in self) for one in COLOURS}
        return min(counts, key=lambda one: counts[one])

    # ----------------------------------------------------------------------------------------------- as tables

    def frame(self) -> geopandas.GeoDataFrame:
        """The places as a GeoDataFrame: `id`, `name`, `colour`, `visible`, their attributes and `geometry`.

        An attribute that is called as one of these (or as another, but for the case of its letters) begins with
        `feature_`; one whose values are of several types is text.
        """
        import geopandas

        columns: dict[str, Any] = {name: [getattr(place, name) for place in self] for name in _OWN}
        for name, free in self._free_names(*_OWN, "geometry").items():
            columns[free] = _of_one_type([place.attributes.get(name) for place in self])
        return geopandas.GeoDataFrame(columns, geometry=[place.geometry for place in self], crs=DEGREES)

    def _free_names(self, *taken: str) -> dict[str, str]:
        return files.free_names(dict.fromkeys(name for place in self for name in place.attributes), taken)

    def table(self) -> pd.DataFrame:
        """All series: the rows of their tables after `place` (id), `place_name` and `quantity`."""
        parts = [(place.id, place.name, name, rows) for place in self for name, rows in place.series.items()]
        return as_one_table(parts)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes all series as CSV: dates in ISO 8601 (UTC), numbers with all their digits."""
        return files.to_csv(self.table(), path)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Writes all series as Parquet."""
        return files.to_parquet(self.table(), path)

    # ------------------------------------------------------------------------------------------------- as files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes places and series: a GeoPackage (layers `places` and `series`), or GeoJSON (with the series inside).

        A file that is there already is replaced when all is written; of a GeoPackage that was saved so, the other
        layers stay. `open` gives back all as it was: names of attributes, types, and times to the nanosecond. For that
        a GeoPackage has a third layer, which holds attributes and series exactly: in `places` and `series` others read
        them, while ids, names, colours, visibility and shapes can be changed there, too.
        """
        target = plain.path("path", path, "places.gpkg")
        kind = _FORMATS.get(target.suffix.lower())
        if kind is None:
            raise ArgumentError(
                f"path={target.name!r}: places are saved as GeoPackage (places.gpkg) or GeoJSON (places.geojson); "
                ".to_csv and .to_parquet write their series alone",
                argument="path",
            )
        file = target.resolve()  # a link to it stays one
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            made = Path(folder) / file.name
            if kind == "GeoJSON":
                made.write_text(json.dumps(self.to_json(), allow_nan=False), "utf-8")
            else:
                if is_ours(file):
                    shutil.copyfile(file, made)  # for its other layers
                self._write(made)
            os.replace(made, file)
        return target

    def _write(self, path: Path) -> None:
        import pyogrio  # it loads a GDAL of its own

        exact: dict[str, Any] = {"": {"next": self._next}}
        exact |= {place.id: {"attributes": dict(place.attributes), **_exact(place.series)} for place in self}
        texts = [json.dumps(one, allow_nan=False) for one in exact.values()]
        pyogrio.write_dataframe(self.frame(), path, layer=_PLACES, driver="GPKG", geometry_type="Unknown")
        pyogrio.write_dataframe(_for_others(self.table()), path, layer=_SERIES, driver="GPKG")
        pyogrio.write_dataframe(pd.DataFrame({"id": list(exact), "document": texts}), path, layer=_MARK, driver="GPKG")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Places:
        """The places of a file: one that `save` wrote, with all its series, or any of points and polygons."""
        source = plain.path("path", path, "places.gpkg")
        if not source.is_file():
            raise NotFound(f"there is no file {source}")
        if _FORMATS.get(source.suffix.lower()) == "GeoJSON":
            return cls.from_json(strict_json.loads(source.read_bytes()))
        if is_ours(source):
            return cls._of_geopackage(source)
        layer = _PLACES if source.suffix.lower() == ".gpkg" and _PLACES in _layers(source) else None
        found = cls()
        found._add_all(noted(read("Places.open", source, layer)).reproject(DEGREES))
        return found

    @classmethod
    def _of_geopackage(cls, source: Path) -> Places:
        import pyogrio

        rows = pyogrio.read_dataframe(source, layer=_MARK, read_geometry=False)
        exact = {id: json.loads(text) for id, text in zip(rows["id"], rows["document"], strict=True)}
        found = cls()
        found._next = exact[""]["next"]
        if not pyogrio.read_info(source, layer=_PLACES, force_feature_count=True)["features"]:
            return found
        features = noted(read("Places.open", source, _PLACES)).reproject(DEGREES)
        for number, shape in enumerate(features.shapes):
            known = {name: column[number] for name, column in features.properties.items()}
            own = {name: known.pop(name, None) for name in _OWN}
            document = exact.get(own["id"], {"attributes": known, "series": {}, "types": {}})
            found._restore(shape, own, document["attributes"], document)
        return found

    def to_json(self) -> dict[str, Any]:
        """A GeoJSON FeatureCollection; each feature has its series in the property `series`, column by column.

        Attributes that are called as other properties begin with `feature_`; `from_json` gives them their names again.
        """
        names = self._free_names(*_OWN, "series")
        features = []
        for place in self:
            exact = _exact(place.series)
            own = {name: getattr(place, name) for name in _OWN}
            known = {names[name]: value for name, value in place.attributes.items()}
            features.append({
                "type": "Feature", "id": place.id, "geometry": shapely.geometry.mapping(place.geometry),
                "properties": {**known, **own, "series": exact["series"]}, "types": exact["types"],
            })  # fmt: skip
        renamed = {free: name for name, free in names.items() if free != name}
        return {"type": "FeatureCollection", _MARK: {"next": self._next, "names": renamed}, "features": features}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Places:
        """The places of GeoJSON: of `to_json`, with their series, or of others."""
        found = cls()
        features = document.get("features")
        if features == [] and document.get("type") == "FeatureCollection":
            found._next = document.get(_MARK, {"next": 1})["next"]
            return found
        if _MARK not in document:
            found._add_all(noted(read("Places.open", document)).reproject(DEGREES))
            return found
        found._next = document[_MARK]["next"]
        names = document[_MARK]["names"]
        numbered = [{**one, "properties": {"number": number}} for number, one in enumerate(document["features"])]
        shapes = noted(read("Places.open", {**document, "features": numbered})).reproject(DEGREES)
        for number, shape in zip(shapes.properties["number"], shapes.shapes, strict=True):
            feature = document["features"][number]
            known = dict(feature["properties"])
            own = {name: known.pop(name, None) for name in _OWN}
            exact = {"series": known.pop("series", {}), "types": feature.get("types", {})}
            found._restore(shape, own, {names.get(name, name): value for name, value in known.items()}, exact)
        return found

    def _restore(
        self, shape: BaseGeometry, own: Mapping[str, Any], attributes: Mapping[str, Any], exact: Mapping[str, Any]
    ) -> None:
        """Takes a place of a file of `save`; what another program left out or made twice is made up."""
        id = str(own["id"])
        if own["id"] is None or id in self:
            id = str(self._next)
        if id.isdigit():
            self._next = max(self._next, int(id) + 1)
        series = {name: _table(columns, exact["types"][name]) for name, columns in exact["series"].items()}
        self._places[id] = Place(
            id, _name(own["name"], f"Place {id}"), self._colour(own["colour"]), _shape(shape),
            own["visible"] is None or bool(own["visible"]), attributes, series,
        )  # fmt: skip


def is_ours(path: Path) -> bool:
    """Whether a file was made by `Places.save`."""
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None or not path.is_file():
        return False
    if kind == "GeoJSON":
        document = strict_json.loads(path.read_bytes())
        return isinstance(document, Mapping) and _MARK in document
    return _MARK in _layers(path)


def _layers(path: Path) -> list[str]:
    import pyogrio

    return [str(name) for name, _ in pyogrio.list_layers(path)]


def as_one_table(parts: Iterable[tuple[str, str, str, pd.DataFrame]]) -> pd.DataFrame:
    """Tables below each other, after `place` (its id), `place_name` and `quantity` of each."""
    told = [rows.assign(place=id, place_name=name, quantity=quantity) for id, name, quantity, rows in parts]
    if not told:
        return pd.DataFrame({"place": [], "place_name": [], "quantity": []})
    found = pd.concat(told, ignore_index=True)
    first = ["place", "place_name", "quantity"]
    return found[[*first, *(name for name in found.columns if name not in first)]]


def _shape(geometry: Any) -> BaseGeometry:
    shape = (
        geometry if isinstance(geometry, BaseGeometry) else read("Places.add", geometry).reproject(DEGREES).shapes[0]
    )
    if shape.geom_type not in ("Point", "Polygon", "MultiPolygon"):
        raise ArgumentError(f"a place is a point or a polygon, not a {shape.geom_type}", argument="geometry")
    west, south, east, north = shape.bounds
    if not (-360 <= west <= east <= 360 and -90 <= south <= north <= 90):
        raise ArgumentError(
            f"the place lies at lon={west:g}, lat={south:g}: give degrees, longitude first", argument="geometry"
        )
    return shapely.force_2d(shape)


def _name(name: str | None, otherwise: str) -> str:
    text = otherwise if name is None else " ".join(str(name).replace("\0", "").split())
    if not text:
        raise ArgumentError(f"name={name!r} is no name of a place", argument="name")
    return text


def _checked_colour(colour: str) -> str:
    from matplotlib.colors import to_hex

    try:
        return to_hex(colour)
    except ValueError:
        raise ArgumentError(f"colour={plain.shown(colour)} is none; for example '#0072b2' or 'green'",
                            argument="colour") from None  # fmt: skip


def _exact(series: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Tables as JSON has them, column by column, and the types of these columns."""
    return {
        "series": {quantity: _columns(rows) for quantity, rows in series.items()},
        "types": {quantity: {str(name): str(type) for name, type in rows.dtypes.items()}
                  for quantity, rows in series.items()},
    }  # fmt: skip


def _columns(rows: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): [_in_json(one) for one in column.tolist()] for name, column in rows.items()}


def _in_json(value: Any) -> Any:
    """Dates as texts, missing ones as null; numbers keep all their digits, infinite ones are texts."""
    value = plain.plain(value)
    if value is None or pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return f"{value.isoformat()}Z"
    return str(value) if value in (np.inf, -np.inf) else value


def _table(columns: Mapping[str, list[Any]], types: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: _column(values, types[name]) for name, values in columns.items()})


def _column(values: list[Any], type: str) -> Any:
    if type.startswith("datetime64"):
        return np.array([None if one is None else one.removesuffix("Z") for one in values], type)
    return pd.Series(values, dtype=object).astype(type)


def _for_others(rows: pd.DataFrame) -> pd.DataFrame:
    """A table as a GeoPackage can have it: times to the millisecond, a type for each column, no names but for case."""
    columns: dict[str, Any] = {}
    for name, free in files.free_names(list(rows.columns)).items():
        column = rows[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            columns[free] = column.astype("datetime64[ms]")
        elif column.dtype == object:
            columns[free] = _of_one_type([plain.plain(one) if pd.notna(one) else None for one in column])
        else:
            columns[free] = column
    return pd.DataFrame(columns)


def _of_one_type(values: list[Any]) -> Any:
    """A column of truth values, whole numbers or numbers, with gaps; else of texts."""
    types = {type(one) for one in values if one is not None}
    if types == {bool}:
        return pd.array(values, "boolean")
    if types and types <= {int, float} and all(abs(one) < 2**63 for one in values if one is not None):
        return pd.array(values, "Int64") if types == {int} else np.array(values, float)
    return np.array([None if one is None else str(one) for one in values], object)
