"""The panel of series: what a map's layers are made of at the places that are clicked and kept, date by date."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import traitlets as t
from ipywidgets import DOMWidget, widget_serialization
from shapely.geometry.base import BaseGeometry

from muses_lab.errors import ArgumentError, MusesError, NotFound
from muses_lab.plain import Status
from muses_lab.tables import files as tables
from muses_lab.tables.kept import KeptSeries
from muses_widgets import bokehplots
from muses_widgets.modules import JS, joined
from muses_widgets.places.kept import Place, Places, as_one_table
from muses_widgets.places.layer import PlacesLayer
from muses_widgets.places.polygons import PolygonTools
from muses_widgets.sections.newest import Newest
from muses_widgets.series import figure, files, words
from muses_widgets.series.dates import DatesOnMap
from muses_widgets.series.expressions import Item, Quantity
from muses_widgets.series.images import DateImages, window_around
from muses_widgets.series.plotted import CANDIDATE, Part, Plotted, Take
from muses_widgets.series.strip import Strip
from muses_widgets.threads import TURN, Told

CANDIDATE_COLOUR = "#e0197d"
"""Of no kept place; seen on light and on dark paper."""
MOST = 60
"""Kept places whose series are read and drawn at once: more can neither be told apart nor wait for each other."""
CURVES = ("whittaker", "savitzky_golay", "harmonic_fit", "trend", "normal", "breaks")
_STYLES = ("panel.css", "controls.css", "series/panel.css")


class SeriesPanel(Told):
    """The series of places on a map, beside it or under it.

    >>> panel = SeriesPanel(m)
    >>> panel                                                   # in a cell; or ipywidgets.VBox([m, panel])
    >>> panel.value = "EVI"                                     # another expression at the same places
    >>> panel.keep("North field")
    >>> panel.table()                                           # pandas: all that is plotted

    A click on the map shows the series of the place, a candidate that the next click replaces; **+** keeps it. So does
    a polygon that is drawn with the map's tools, or clicked in one of its GeoJSON layers (mean, median, and the band
    from 10 to 90 % of its pixels). What is
    plotted is an expression: a layer's name, a band, an index by name (`EVI`), arithmetic and operators of these
    (`B08 / B04`, `NDVI.whittaker()`). Another one is evaluated of what was read, without reading again. A click on a
    dot or on a small image shows that date on the map; with Shift, it is compared with the date that is shown.

    Parameters
    ----------
    map
        A `Map`.
    value
        What is plotted; by default the first layer that is made of one series.
    second
        What is plotted beside it, on an axis of its own: `VV` of a radar layer, for example.
    expressions
        Chains by the names under which they can be plotted, beside the map's layers.
    places
        The file (GeoPackage or GeoJSON) of the kept places. Those that are in it are shown, and every change is
        written there, so that they are there again when the notebook is run again; a file that `Places.save` did not
        make is only read. Or a list of kept places.

    Raises
    ------
    ArgumentError
        `value` or `second` names something that there is not.
    """

    _esm = joined(JS / "series/panel.js")
    _css = "\n".join((JS / name).read_text("utf-8") for name in _STYLES)

    # As `SeriesTraits` in js/types.d.ts.
    map: Any = t.Instance(DOMWidget).tag(sync=True, **widget_serialization)
    own_id = t.Unicode().tag(sync=True)
    value = t.Unicode().tag(sync=True)
    second = t.Unicode().tag(sync=True)
    curves: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    """Of `whittaker`, `savitzky_golay`, `harmonic_fit`, `trend`, `normal`, `breaks`."""
    by_year = t.Bool(False).tag(sync=True)
    """Whether years lie upon each other."""
    anomalies = t.Bool(False).tag(sync=True)
    """Whether what is plotted is each date minus the normal of its month."""
    choices: t.List[dict[str, str]] = t.List(t.Dict()).tag(sync=True)
    place: Any = t.List(allow_none=True, default_value=None).tag(sync=True)
    """Longitude and latitude of the candidate."""
    selected = t.Unicode().tag(sync=True)
    """The kept place whose dates are shown as images; empty: the candidate."""
    kept: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """{id, name, colour, visible, point, kind, told} of each kept place."""
    filter = t.Unicode().tag(sync=True)
    """Kept places that do not fit it are neither drawn nor listed."""
    filtered: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    """Ids of those that fit."""
    told: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{state: idle | working | ok | partial | failed, text}; partial: scenes could not be read."""
    plot: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{item, bokeh, text, legend}."""
    dates: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """{time, label, ms, text, state, mask, scene, clouds, sun} of each date of the selected place."""
    images: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{of, images: {time: data URL, empty where there is no data}}."""
    shown: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{first, second}: the times that the map shows and compares; empty where there is none."""

    def __init__(
        self, map: Any, value: str = "", second: str = "", *, expressions: Mapping[str, Item] | None = None,
        places: Places | str | Path | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(map, DOMWidget) or not hasattr(map, "panel"):
            raise ArgumentError(f"SeriesPanel({map!r:.60}) takes a map: SeriesPanel(m)", argument="map")
        self._file = files.PlacesFile(None if isinstance(places, Places) else places)
        self._plotted = Plotted(self._layers, expressions or {})
        self._strip = Strip()
        self._in_sight: dict[str, Any] = {"times": []}  # the dates whose images the page waits for
        self._newest = Newest("series of places", self._answer)
        self._chips = Newest("images of dates", self._show_images)
        super().__init__(map=map, value=value, second=second, told={"state": "idle", "text": ""})
        self.own_id = self.model_id or ""
        self._on_map = DatesOnMap(map, self._tell_shown)
        if self._layers():
            for text in (value, second):
                if text:
                    self._plotted.expressions().quantity(text)
        self.places = self._places(places)
        self.layer = PlacesLayer(self.places, candidate=CANDIDATE_COLOUR, owner=self)
        map.add(self.layer)
        self.layer.on_pick(self._picked)
        self._tools = PolygonTools(map, self._drawn)
        self._follow_layers()
        self._list_places()
        self.places.on_change(self._places_changed)
        map.panel.observe(self._on_layers, "layers")
        map.panel.observe(self._on_click, "clicked")
        self.observe(lambda change: self._ask(), ["value", "second", "curves", "by_year", "anomalies", "selected"])
        self.observe(lambda change: self._places_changed(), "filter")
        self.on_msg(self._receive)
        if len(self.places) or map.panel.clicked:
            self._clicked(map.panel.clicked)
        # HoloViews takes seconds to load: it is there when the first series is.
        threading.Thread(target=_warm, name="plots", daemon=True).start()

    def _places(self, given: Places | str | Path | None) -> Places:
        """The kept places: those given, of the file, or of the panel that the map has had until now."""
        before = [layer for layer in self.map.layers if isinstance(layer, PlacesLayer)]
        earlier = [layer.owner for layer in before if isinstance(layer.owner, SeriesPanel)]
        for panel in earlier:
            panel._leave()
        if isinstance(given, Places):
            return given
        kept = self._file.open()
        if kept is not None:
            return kept
        return Places(earlier[-1].places) if earlier else Places()

    def _leave(self) -> None:
        """Another panel takes its place on the map."""
        self.map.panel.unobserve(self._on_layers, "layers")
        self.map.panel.unobserve(self._on_click, "clicked")
        self._on_map.leave()
        self._tools.leave()
        if self.layer in self.map.layers:
            self.map.remove(self.layer)

    def _on_layers(self, change: Any) -> None:
        self._follow_layers()

    def _on_click(self, change: Any) -> None:
        self._clicked(change["new"])

    # ------------------------------------------------------------------------------------------------ in Python

    def look_at(self, lon: Any, lat: Any = None) -> None:
        """Shows the series of a place, as a click on the map does: a longitude and a latitude, or a geometry.

        >>> panel.look_at(1.41, 43.58)
        >>> panel.look_at(shapely.box(1.40, 43.57, 1.41, 43.58))    # the mean of a polygon
        """
        geometry = shapely.Point(lon, lat) if lat is not None else lon
        self._set_candidate(Places().add(geometry).geometry)
        self._ask()

    def keep(self, name: str | None = None, colour: str | None = None) -> Place:
        """Keeps the candidate, as **+** does; returns the kept place."""
        geometry = self._plotted.candidate
        if geometry is None:
            raise NotFound("there is no candidate to keep: click on the map, or look_at(lon, lat)")
        with self.places.together():
            kept = self.places.add(geometry, name, colour)
            for quantity, table in self._plotted.tables.of(geometry).items():
                self.places.note(kept.id, quantity, table)
            self._set_candidate(None)
        self._tools.clear_all()
        self.selected = kept.id
        return kept

    def table(self) -> pd.DataFrame:
        """All that is plotted: the rows of `.series(lon, lat).table`, after `place`, `place_name` and `quantity`."""
        return as_one_table(self._parts())

    def to_csv(self, path: Any) -> Path:
        """Writes `table()` as CSV: dates in ISO 8601 (UTC), numbers with all their digits."""
        return tables.to_csv(self.table(), path)

    def to_parquet(self, path: Any) -> Path:
        """Writes `table()` as Parquet."""
        return tables.to_parquet(self.table(), path)

    def show_date(self, date: Any) -> None:
        """Shows a date of the selected place on the map: its layers with dates move there, or its scene is shown."""
        self._on_map.show(self._time(date), self._image_source(), self._window())

    def compare(self, date: Any = None) -> None:
        """Shows another date beside the one that is shown, with a line to drag between them; None: no more."""
        if date is None:
            self._on_map.end_comparison()
        else:
            self._on_map.compare(self._time(date), self._image_source(), self._window())

    def status(self) -> Status:
        """What it shows, and whether it came; the state is `idle`, `working`, `ok`, `partial`
        (scenes could not be read) or `failed`; `print` gives JSON. As long as it works it tells no `series`: what is
        drawn is that of before."""
        series = None if self.told["state"] == "working" else self.plot.get("text")
        return Status(
            kind="series panel", state=self.told["state"], why=self.told.get("text") or None, value=self.value,
            second=self.second, place=self.place, kept=[place.name for place in self.places],
            series=series, date=self.shown.get("first"), compared=self.shown.get("second"),
        )  # fmt: skip

    def __repr__(self) -> str:
        kept = f", {len(self.places)} kept" if len(self.places) else ""
        return f"<SeriesPanel of {self.value or 'no layer'}{kept}: {self.told['state']}>"

    # -------------------------------------------------------------------------------------------- what is plotted

    def _layers(self) -> dict[str, Item]:
        """The map's layers that have scenes, the top one first."""
        return {
            tiles.name: tiles.shown
            for tiles in reversed(self.map.stack())
            if not tiles.is_empty and not self._on_map.is_own(tiles)
        }

    def _follow_layers(self) -> None:
        """The map's layers may be others."""
        if not self._plotted.follow():
            return
        known = self._plotted.expressions()
        self.choices = known.choices()
        if not self.value:
            self.value = known.first()
        self._ask()

    def _texts(self) -> list[str]:
        return list(dict.fromkeys(text.strip() for text in (self.value, self.second) if text.strip()))

    def _quantities(self) -> list[Quantity]:
        return self._plotted.quantities(self._texts())

    def _shown_places(self) -> list[Place]:
        return self._fitting_places()[:MOST]

    def _fitting_places(self) -> list[Place]:
        fitting = set(self.filtered)
        return [place for place in self.places if place.visible and place.id in fitting]

    def _parts(self) -> list[Part]:
        """All that is plotted."""
        return self._plotted.parts(self._texts(), self._shown_places())

    # ------------------------------------------------------------------------------------------------- places

    def _clicked(self, place: Sequence[float] | None) -> None:
        if place:
            lat, lon = place
            if self._tools.was_shape(lon, lat):
                return
            self._tools.clear_all()
            self._set_candidate(shapely.Point(lon, lat))
        else:
            self._set_candidate(None)
        self.selected = CANDIDATE
        self._ask()

    def _drawn(self, polygon: BaseGeometry | None) -> None:
        """A polygon has been drawn or picked; None: it has been removed."""
        before = self._plotted.candidate
        if polygon is None and (before is None or before.geom_type == "Point"):
            return
        self._set_candidate(polygon)
        self.selected = CANDIDATE
        self._ask()

    def _set_candidate(self, geometry: BaseGeometry | None) -> None:
        with TURN:
            self._plotted.candidate = geometry
        self.layer.show_candidate(geometry)
        where = None if geometry is None else geometry.representative_point()
        self.place = None if where is None else [where.x, where.y]

    def _picked(self, place: Place) -> None:
        self.selected = place.id

    def _places_changed(self) -> None:
        self._list_places()
        self._file.save(self.places)
        if not self._plotted.is_noting:
            self._ask()

    def _list_places(self) -> None:
        try:
            fitting = self.places.where(self.filter) if self.filter.strip() else [place.id for place in self.places]
        except MusesError as error:
            self.told = {"state": "failed", "text": str(error)}
            return
        self.filtered = fitting
        self.kept = [
            {
                "id": place.id, "name": place.name, "colour": place.colour, "visible": place.visible,
                "kind": "point" if place.is_point else "polygon", "place": list(place.point),
            }
            for place in self.places
        ]  # fmt: skip
        self.layer.show_only(set(fitting))
        if self.selected and self.selected not in self.places:
            self.selected = CANDIDATE

    # ---------------------------------------------------------------------------------------------- computing

    def _ask(self) -> None:
        self.send({"kind": "heard"})
        self._newest.take({})

    def _answer(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        try:
            if not self.value:
                self._draw(is_stale)
                self.told = {"state": "idle", "text": "The map has no layer that is made of dates."}
                return
            quantities = self._quantities()
            for geometry, take in self._wanted():
                for quantity in quantities:
                    if is_stale():
                        return
                    if take(quantity) is None:
                        self.told = {"state": "working", "text": f"Reading {quantity.text}…"}
                        if geometry is self._plotted.candidate and (newest := self._plotted.newest(geometry, quantity)):
                            self._draw(is_stale, newest)
                        self._plotted.read(geometry, quantity, self.places)
            self._draw(is_stale)
            if not is_stale():
                self.told = self._outcome(quantities)
        except Exception as error:  # nobody else would tell of it
            named = "" if isinstance(error, MusesError) else f"{type(error).__name__}: "
            self.told = {"state": "failed", "text": f"{named}{error}"}

    def _outcome(self, quantities: Sequence[Quantity]) -> dict[str, str]:
        """Whether all scenes could be read, and why not."""
        failed = self._plotted.failures(self._shown_places(), [quantity.text for quantity in quantities])
        if not failed:
            return {"state": "ok", "text": " ".join(filter(None, (self._told_of_many(), self._file.note())))}
        scenes = "1 scene" if len(failed) == 1 else f"{len(failed)} scenes"
        return {"state": "partial", "text": f"{scenes} could not be read and left out: {failed[0]}"}

    def _told_of_many(self) -> str:
        many = len(self._fitting_places())
        if many <= MOST:
            return ""
        return (f"The first {MOST} of {many} places are plotted: the filter and the check marks choose others, and "
                "ParcelsPanel(m, panel.places) shows all polygons as a table.")  # fmt: skip

    def _wanted(self) -> list[tuple[BaseGeometry, Take]]:
        return self._plotted.wanted(self._shown_places())

    # ------------------------------------------------------------------------------------------------- drawing

    def _draw(self, is_stale: Callable[[], bool], first: Sequence[Part] = ()) -> None:
        """Draws all that was read, after what is shown `first` while the rest is being read."""
        parts = [*first, *self._parts()]
        if is_stale():
            return
        looks = {quantity.text: quantity for quantity in self._quantities()} if self.value else {}
        drawn = [self._series(part, looks) for part in parts]
        drawn = [one for one in drawn if one.rows[one.VALUE].notna().any() or _unmasked(one.rows)]
        if self.anomalies:
            drawn = [one.minus_normal() for one in drawn]
        self._tell_dates(parts)
        if not drawn:
            text = "No series has a value here." if self._wanted() else "Click on the map to see the series of a place."
            self.plot = {"text": text}
            return
        item = figure.series_item(drawn, list(self.curves), self.by_year, self._on_map.times())
        if not is_stale():
            self.plot = {
                "item": item, "bokeh": bokehplots.release(), "text": words.in_words(drawn),
                "legend": figure.legend(drawn, self.curves), "by_year": self.by_year,
                "found": figure.findings(drawn, self.curves),
            }  # fmt: skip

    def _series(self, part: Part, looks: Mapping[str, Quantity]) -> KeptSeries:
        id, name, text, table = part
        quantity = looks.get(text)
        colour = self.places[id].colour if id in self.places else CANDIDATE_COLOUR
        several = len(looks) > 1
        beside = several and text == self.second.strip()
        title = name or self._candidate_name()
        return KeptSeries(
            table,
            unit=quantity.unit if quantity else "",
            label=quantity.label if quantity else text,
            name=f"{title} {text}" if several else title,
            colour=figure.other_shade(colour) if beside else colour,
            axis="second" if beside else "",
        )

    def _candidate_name(self) -> str:
        candidate = self._plotted.candidate
        return "Clicked place" if candidate is None or candidate.geom_type == "Point" else "Chosen polygon"

    def _tell_dates(self, parts: list[Part]) -> None:
        """The dates of the place that is selected, and that its images are others than before."""
        table = next((rows for id, _, text, rows in parts if id == self.selected and text == self.value.strip()), None)
        if table is None:
            table = next((rows for _, _, text, rows in parts if text == self.value.strip()), None)
        self.dates = [] if table is None else words.told_dates(table, self._quantities()[0].unit)
        with TURN:
            key = self._images_key()
            if key != self.images.get("of"):
                self.images = {"of": key, "images": {}}
        self._chips.take(self._in_sight)  # they are given up while the place or what is plotted is another

    def _subject(self) -> BaseGeometry | None:
        if self.selected in self.places:
            return self.places[self.selected].geometry
        if self._plotted.candidate is not None:
            return self._plotted.candidate
        shown = self._shown_places()
        return shown[0].geometry if shown else None

    def _first_quantity(self) -> Quantity | None:
        """That whose dates are shown as images."""
        return self._quantities()[0] if self.value.strip() else None

    def _images_key(self) -> str:
        try:
            return self._strip.key(self._subject(), self._first_quantity())
        except MusesError:  # what is plotted is being written; `_answer` tells of it
            return ""

    def _image_source(self) -> DateImages:
        scenes = self._plotted.expressions().scenes
        return self._strip.source(self._images_key(), self._quantities()[0], scenes)

    def _window(self) -> Any:
        subject = self._subject()
        table = None if subject is None else self._plotted.tables.any(subject, self.places)
        if subject is None or table is None or not table["crs"].iloc[0]:
            raise NotFound("no scene lies at the place")
        return window_around(subject, str(table["crs"].iloc[0]), float(table["resolution"].iloc[0]))

    def _show_images(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        """The small images of some dates, as they come into sight."""
        try:
            self._make_images(message["times"], is_stale)
        except Exception as error:  # nobody else would tell of it
            self.told = {"state": "failed", "text": f"The images of the dates could not be made: {error}"}

    def _make_images(self, times: Sequence[str], is_stale: Callable[[], bool]) -> None:
        with TURN:
            key = self._images_key()
            have = dict(self.images.get("images", {})) if self.images.get("of") == key else {}
        times = [one["time"] for one in self.dates if one["time"] in set(times)]  # not of another place
        if not key or not set(times) - set(have):
            return
        for made in self._strip.made(self._image_source(), self._window(), times, have, is_stale):
            with TURN:
                if self._images_key() != key:
                    return
                self.images = {"of": key, "images": made}

    # --------------------------------------------------------------------------------------------- dates on the map

    def _tell_shown(self, first: str, second: str) -> None:
        self.shown = {"first": first, "second": second}

    def _time(self, date: Any) -> np.datetime64:
        """The date of the selected place that is nearest."""
        if not self.dates:
            raise NotFound("no place is selected that has dates: click on the map, or look_at(lon, lat)")
        wanted = np.datetime64(str(date).rstrip("Z"))
        known = [np.datetime64(one["time"]) for one in self.dates]
        return min(known, key=lambda one: abs(one - wanted)).astype("M8[ns]")

    # ---------------------------------------------------------------------------------------------- from the page

    def _receive(self, _: Any, message: dict[str, Any], buffers: Sequence[Any]) -> None:
        try:
            self._do(message, buffers)
        except Exception as error:  # a message from the browser has no cell in which an error could appear
            self.told = {"state": "failed", "text": str(error) or type(error).__name__}

    def _do(self, message: dict[str, Any], buffers: Sequence[Any]) -> None:
        match message.get("do"):
            case "keep":
                self.keep()
            case "change":
                told = {name: message[name] for name in ("name", "colour", "visible") if name in message}
                self.places.change(message["id"], **told)
            case "remove":
                self.places.remove(message["id"])
            case "clear":
                self.places.clear()
            case "show":
                self.show_date(message["time"])
            case "compare":
                self.compare(message["time"])
            case "images":
                self._in_sight = message
                self._chips.take(message)
            case "file":
                self._send_file(str(message["kind"]))
            case "open":
                files.add(self.places, str(message["name"]), bytes(buffers[0]))

    def _send_file(self, kind: str) -> None:
        """Hands a file to the page, which gives it to its user."""
        writers = {
            "csv": self.to_csv, "parquet": self.to_parquet, "gpkg": self.places.save, "geojson": self.places.save,
        }  # fmt: skip
        self.send({"kind": "file", "name": files.NAMES[kind]}, [files.body(kind, writers)])


def _warm() -> None:
    with suppress(ImportError):
        from muses_lab.tables import drawing  # noqa: F401


def _unmasked(rows: pd.DataFrame) -> bool:
    return "unmasked" in rows and bool(rows["unmasked"].notna().any())
