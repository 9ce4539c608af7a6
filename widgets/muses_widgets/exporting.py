"""What the export panel asks for, as it is in Python: a layer, an area, a grid, and the line that does the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.api.evaluation import check_size
from muses_lab.api.part import chosen, polygons_of
from muses_lab.api.tabled import SUFFIXES
from muses_lab.compute.admission import check_export
from muses_lab.errors import ArgumentError
from muses_lab.export.formats import Writer, writer_of, writers
from muses_lab.raster.window import WEB_MERCATOR, zoom_resolution
from muses_widgets import view

_OPTIONS = ("decoration", "logo", "fps", "values")
"""Of formats: those that the panel offers."""
_TABLES = {"CSV": SUFFIXES[0], "Parquet": SUFFIXES[1]}
"""Statistics of polygons, by name."""
_ARRAY = "array"
"""Instead of a file the values, in the kernel."""
STATS = ("mean", "median", "q10", "q90", "std", "min", "max", "sum", "count", "share")
"""Statistics of a table that the panel offers; the first four are chosen at first, as in Python."""
_CHOSEN = STATS[:4]


@dataclass(frozen=True)
class Form:
    """The panel's fields.

    `area`: {kind: view | places | file | footprint, path, names}; `grid`: {kind: shown | native | own | like, crs,
    resolution, path}, of files of pixels; `dates`: {kind: shown | all | between, start, end}; `bands` are names, none
    of them: all. `bounds` and `zoom` are what the page shows; `options` are those of the format, of a table `stats`. As
    `ExportForm` in js/types.d.ts.
    """

    layer: str
    bounds: tuple[float, float, float, float]
    zoom: float
    name: str
    format: str
    area: Mapping[str, Any] = field(default_factory=lambda: {"kind": "view"})
    grid: Mapping[str, Any] = field(default_factory=lambda: {"kind": "shown"})
    dates: Mapping[str, Any] = field(default_factory=lambda: {"kind": "shown"})
    bands: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Form:
        known = {name: told[name] for name in cls.__dataclass_fields__ if name in told}
        return cls(**{**known, "bounds": tuple(told["bounds"]), "bands": tuple(told.get("bands", ()))})

    @property
    def shown(self) -> GeoBox:
        """The window of what the map shows."""
        return view.window(self.bounds, self.zoom)


@dataclass(frozen=True)
class Order:
    """An export as code has it."""

    item: Any
    """The layer, or one with all of its dates: `export` and `plan` of it are used."""
    path: Path | None
    """None: an array in the kernel, no file."""
    area: Any
    options: Mapping[str, Any]
    """Of `export`."""
    line: str
    """The Python that does the same, where the map is `m`."""

    @property
    def grid(self) -> dict[str, Any]:
        """Those of its options that `plan` takes, too."""
        return {name: self.options[name] for name in _GRID if name in self.options}


_GRID = ("bands", "dates", "crs", "resolution", "like", "clip")


def order(form: Form, tiles: Any, areas: Mapping[str, Any]) -> Order:
    """What a form asks for of a layer of the map; `areas` are GeoJSON geometries by name.

    Raises
    ------
    ArgumentError
        A field is empty or wrong; the message says which.
    """
    if form.format in _TABLES:
        return _table(form, tiles, areas)
    if form.format == _ARRAY:
        return _array(form, tiles, areas)
    path = _path(form.name)
    writer = writer_of(path, form.format)
    item, written = _item(form, tiles, _is_moving(writer))
    area, area_written = _area(form, areas)
    options = {**_part(form, area), **_asked(form, writer)}
    if writer.name != writer_of(path).name:
        options["format"] = writer.name
    line = f"{written}.export({str(path)!r}, {area_written}{_said(options)})"
    return Order(item, path, area, {"title": tiles.name, **options}, line)


def _table(form: Form, tiles: Any, areas: Mapping[str, Any]) -> Order:
    """Statistics of the areas, each a row (of each date)."""
    path, suffix = _path(form.name), _TABLES[form.format]
    if path.suffix.lower() != suffix:
        raise ArgumentError(f"{path.name!r} is not the name of a {form.format}: it ends in {suffix}", argument="name")
    if form.area["kind"] not in ("places", "file"):
        raise ArgumentError("a table is of polygons: choose areas on the map, or a file of them", argument="area")
    stats = list(form.options.get("stats") or ())
    if not stats:
        raise ArgumentError("no statistic is chosen yet", argument="stats")
    item, written = _item(form, tiles, False)
    area, area_written = _area(form, areas)
    options = {**_bands(form), **_dates(form), **({} if stats == list(_CHOSEN) else {"stats": stats})}
    line = f"{written}.export({str(path)!r}, {area_written}{_said(options)})"
    return Order(item, path, area, options, line)


def _array(form: Form, tiles: Any, areas: Mapping[str, Any]) -> Order:
    item, written = _item(form, tiles, False)
    area, area_written = _area(form, areas)
    options = _part(form, area)
    chain = "chain" if isinstance(item, ml.Layer) else "over.cube"
    return Order(item, None, area, options, f"values = {written}.{chain}.compute({area_written}{_said(options)})")


def _part(form: Form, area: Any) -> dict[str, Any]:
    """Bands, dates and pixels; a window has pixels."""
    grid = {} if isinstance(area, GeoBox) else _grid(form)
    return {**_bands(form), **_dates(form), **grid}


def _said(options: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in options.items())


def offered(tiles: Any) -> dict[str, Any]:
    """What can be chosen for a layer: its bands, dates, own pixels (`native`: system and metres), and the formats."""
    output = tiles.chain.published.prepared.output
    grid = next(iter(output.grids.values()), None)
    dates = [frame.label for frame in tiles.over.over] if tiles.over is not None else []
    return {
        "bands": list(output.meta.bands or ()),
        "dates": dates,
        "native": None if grid is None else [grid.crs, round(grid.pixel_metres(0), 4)],
        "formats": [
            *(
                {"name": one.name, "suffix": one.suffixes[0], "kind": _kind(one), "takes": _taken(one)}
                for one in sorted(writers(), key=_place)
                if dates or not _is_moving(one)
            ),
            *({"name": name, "suffix": end, "kind": "table", "takes": ["stats"]} for name, end in _TABLES.items()),
            {"name": _ARRAY, "suffix": "", "kind": "array", "takes": []},
        ],
        "stats": [[name, name in _CHOSEN] for name in STATS],
    }


def _place(writer: Writer) -> tuple[Any, ...]:
    """Of a format in the list: pixels, pictures, animations."""
    return writer.draws, _is_moving(writer), writer.name != "GeoTIFF", writer.name


def _kind(writer: Writer) -> str:
    return "animation" if _is_moving(writer) else "picture" if writer.draws else "pixels"


def _taken(writer: Writer) -> list[str]:
    known = getattr(writer.options, "__dataclass_fields__", {})
    return [name for name in _OPTIONS if name in known]


def _is_moving(writer: Writer) -> bool:
    """Whether it is a picture of several dates."""
    return "fps" in getattr(writer.options, "__dataclass_fields__", ())


def _path(name: str) -> Path:
    if not name.strip():
        raise ArgumentError("the file has no name yet", argument="name")
    return Path(name.strip())


def _item(form: Form, tiles: Any, moving: bool) -> tuple[Any, str]:
    """The layer that is exported: of one with dates that of the date, or all of them."""
    asked = form.dates["kind"]
    if tiles.over is None or (asked == "shown" and not moving):
        return tiles.layer, f"m.layer({tiles.name!r})"
    return tiles.over, f"m.tiles({tiles.name!r}).shown"


def _area(form: Form, areas: Mapping[str, Any]) -> tuple[Any, str]:
    kind = form.area["kind"]
    if kind == "view" and form.grid["kind"] == "shown":
        resolution = zoom_resolution(round(form.zoom))
        written = f"ml.Window.from_bounds({form.bounds!r}, crs={WEB_MERCATOR!r}, resolution={resolution!r})"
        return form.shown, written
    if kind == "view":
        return form.bounds, repr(form.bounds)
    if kind == "footprint":
        return "footprint", "'footprint'"
    if kind == "file":
        path = str(form.area.get("path") or "").strip()
        if not path:
            raise ArgumentError("the area is a file that has no name yet", argument="area")
        return path, repr(path)
    names = [name for name in form.area.get("names", ()) if name in areas]
    if not names:
        raise ArgumentError("no area is drawn or chosen yet", argument="area")
    if form.format in _TABLES:
        rows = [{"type": "Feature", "properties": {"name": name}, "geometry": areas[name]} for name in names]
        named = {"type": "FeatureCollection", "features": rows}
        return named, repr(named)
    shapes = {"type": "GeometryCollection", "geometries": [areas[name] for name in names]}
    return shapes, repr(shapes)


def _grid(form: Form) -> dict[str, Any]:
    asked = form.grid
    if asked["kind"] == "native":
        return {}
    if asked["kind"] == "like":
        path = str(asked.get("path") or "").strip()
        if not path:
            raise ArgumentError("the raster whose grid it takes has no name yet", argument="grid")
        return {"like": path}
    if asked["kind"] == "shown":
        return {"crs": WEB_MERCATOR, "resolution": zoom_resolution(round(form.zoom))}
    crs, resolution = str(asked.get("crs") or "").strip(), asked.get("resolution")
    told = {"crs": crs} if crs else {}
    return told if resolution in (None, "") else {**told, "resolution": _number(resolution)}


def _number(value: Any, what: str = "the pixel size", argument: str = "resolution") -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{what} {value!r} is no number", argument=argument) from None


def _bands(form: Form) -> dict[str, Any]:
    return {"bands": list(form.bands)} if form.bands else {}


def _dates(form: Form) -> dict[str, Any]:
    if form.dates["kind"] != "between":
        return {}
    start, end = form.dates.get("start") or None, form.dates.get("end") or None
    if start is None and end is None:
        raise ArgumentError("the dates have neither a first nor a last day yet", argument="dates")
    return {"dates": [start, _next(end)]}


def _next(day: str | None) -> str | None:
    """The day after: dates are half-open in Python, and both days count in the panel."""
    import numpy as np

    return None if day is None else str(np.datetime64(day, "D") + 1)


def _asked(form: Form, writer: Writer) -> dict[str, Any]:
    """The options of the format that differ from what holds without them."""
    known = getattr(writer.options, "__dataclass_fields__", {})
    given = {name: form.options[name] for name in _taken(writer) if form.options.get(name) not in (None, "", [])}
    if "values" in given:
        given["values"] = [_number(one, "the value", "values") for one in given["values"]]
    return {name: value for name, value in given.items() if value != known[name].default}


def estimated(order: Order, shown: GeoBox) -> dict[str, Any]:
    """What an export takes before it is made, as `ExportEstimate` in js/types.d.ts; of a table its `areas` and `dates`.

    Raises
    ------
    TooCostly
        It would be refused, and why.
    TooLarge
        An array of that size is not given.
    """
    chain = order.item.chain if isinstance(order.item, ml.Layer) else order.item.over.cube
    part, _ = chosen(chain, order.options.get("bands"), order.options.get("dates"))
    if order.path is not None and order.path.suffix.lower() in SUFFIXES:
        polygons = polygons_of(order.area)
        return {"areas": 0 if polygons is None else len(polygons), "dates": len(part.published.prepared.output.times)}
    format = None if order.path is None else order.options.get("format", order.path.name)
    plan = chain.plan(order.area, format=format, shown=shown, **order.grid)
    if order.path is None:
        check_size(part.published, plan.window)
    else:
        check_export(plan)
    size = plan.file_bytes or plan.values * chain.published.prepared.dtype.itemsize
    return {
        "width": plan.window.shape.x, "height": plan.window.shape.y, "scenes": plan.scenes,
        "bytes": size, "read": plan.bytes, "seconds": plan.seconds + (plan.writing or 0.0),
        "difference": plan.difference,
    }  # fmt: skip
