"""Many polygons on a map: their statistics as a table, as colours of a date, as plots and as files."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipyleaflet
import shapely
import traitlets as t

import muses_lab as ml
from muses_lab.api.features import read
from muses_lab.engine import Published
from muses_lab.errors import ArgumentError, MusesError, NotFound
from muses_lab.operators.vectors import DEGREES, Features
from muses_lab.plain import Status, shown, slug
from muses_lab.series import dated
from muses_lab.style import Style
from muses_lab.tables.zones import ZonalSeries, zonal_series
from muses_lab.zonal import outside
from muses_widgets import bokehplots
from muses_widgets.modules import JS, joined
from muses_widgets.parcels import facts
from muses_widgets.places.kept import Places
from muses_widgets.sections.newest import Newest
from muses_widgets.service import served_place
from muses_widgets.threads import TURN, Told

if TYPE_CHECKING:
    from muses_widgets.map import Map
    from muses_widgets.tiles import ChainTiles

STATISTICS = ("mean", "median", "q10", "q90")
MOST = 5000
"""Parcels of a panel: the page draws and sorts all of them."""
_MOST_CORNERS = 400_000
_DIGITS = 7
"""Of degrees: a centimetre."""
_OUTLINE = {"color": "#444444", "weight": 1, "opacity": 0.9, "fillColor": "#999999", "fillOpacity": 0.15}
_EXPORTS = {"csv": "CSV", "parquet": "Parquet", "gpkg": "GeoPackage"}
_TOLD_NOTES = 5
_STYLES = ("panel.css", "sections/series.css", "parcels/panel.css")


class Cancelled(Exception):
    """Somebody wants something else, or nothing any more."""


class ParcelsPanel(Told):
    """The statistics of a layer over many polygons: a table, colours on the map, plots, files.

    >>> m = Map()
    >>> m.add(ndvi.median("t").style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI"), name="NDVI")
    >>> panel = ParcelsPanel(m, "parcels.gpkg")
    >>> panel                                                   # beside or below the map
    >>> panel.found.table                                       # what `ndvi.over("parcels.gpkg")` gives

    The table has a row for each parcel: its attributes, and each statistic on the chosen date; a click on a column's
    head sorts by it. The date is that of the map's bar of dates, until another one is chosen here. The parcels are a
    layer of the map, coloured by one of the statistics on that date. A click on a
    row or on a parcel shows its series: mean, median, the band from 10 to 90 %, and how many pixels are valid. All
    numbers are those of `chain.over(polygons)`, to the last digit.

    Parameters
    ----------
    map
        A `Map`; None: without one, of a `chain`.
    polygons
        A file (GeoPackage, GeoJSON, Shapefile, Parquet), a GeoDataFrame, GeoJSON, `ml.vectors(…)`, or the `Places`
        that are kept in a `SeriesPanel` (its polygons, as they are now): `ParcelsPanel(m, panel.places)`.
    layer
        Name of the map's layer whose dates are used (those that it reduces over time, if it has none itself); by
        default the top one. The statistics follow the layer when it is replaced, as by a control.
    chain
        A chain or a layer in the place of one of the map.
    stats
        As in `chain.over`.
    name
        The attribute that the parcels are called by; by default `name`, if they have it, else their id.
    title
        Of the layer on the map.
    resolution
        Metres; by default native pixels.

    Raises
    ------
    ArgumentError
        The polygons cannot be read, or are more than a page can show.
    NotFound
        The map has no such layer.
    """

    _esm = joined(JS / "parcels/panel.js")
    _css = "\n".join(
        (JS / name).read_text("utf-8") for name in ("panel.css", "sections/series.css", "parcels/panel.css")
    )

    # As `ParcelsTraits` in js/types.d.ts.
    own_id = t.Unicode().tag(sync=True)
    layer_id = t.Unicode().tag(sync=True)
    """Model id of the parcels' layer on the map; empty without a map."""
    title = t.Unicode().tag(sync=True)
    quantity = t.Unicode().tag(sync=True)
    """What the values are and their unit."""
    names: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    columns: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """See `facts.columns_of`."""
    attributes: t.Dict[str, list[Any]] = t.Dict().tag(sync=True)
    """The values of the columns that are attributes, by the columns' names."""
    dates: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    bands: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    date = t.Int(0).tag(sync=True)
    band = t.Int(0).tag(sync=True)
    follows = t.Bool(True).tag(sync=True)
    """Whether the date is that of the map's bar; a map without one has no date to follow."""
    values: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{date, band, columns: {statistic: a number for each parcel}}"""
    statistic = t.Unicode().tag(sync=True)
    """That the map shows."""
    legends: t.Dict[str, Any] = t.Dict().tag(sync=True)
    chosen = t.Int(-1).tag(sync=True)
    """Number of the parcel whose series is shown; -1: none."""
    series: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{number, title, text, item, bokeh}; `failed` where `text` says why there is none."""
    small: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{band, parcels: [{number, line, low, high}]}"""
    shape = t.Dict().tag(sync=True)
    """How the table is shown: {sort, down, filter, page, plots}; the page's own."""
    told: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{state: working | ok | failed | cancelled, text, done, total}"""
    notes: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    """What one should know of the parcels or their values."""
    exported: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{text, name, place, failed} of the last file."""

    def __init__(
        self, map: Map | None, polygons: Any, layer: str | None = None, *, chain: Any = None,
        stats: Sequence[str] = STATISTICS, name: str | None = None, title: str = "Parcels",
        resolution: float | None = None,
    ) -> None:  # fmt: skip
        self.map, self._layer_name, self._chain = map, layer, chain
        self._stats, self._resolution = stats, resolution
        self._features = _read(polygons)
        self._found: ZonalSeries | None = None
        self._source = self._resolve()
        self._stopped = threading.Event()
        self._called = _called(self._features, name)
        super().__init__(
            title=title, names=facts.names_of(self._features, self._called),
            attributes=facts.attributes_of(self._features),
            columns=facts.columns_of(self._features, self._called, ()),
            told={"state": "working", "text": "", "done": 0, "total": len(self._features)},
            shape={"sort": "", "down": False, "filter": "", "page": 0, "plots": False},
        )  # fmt: skip
        self.own_id = self.model_id or ""
        self._work = Newest("statistics of parcels", self._compute)
        self._plots = Newest("series of a parcel", self._draw)
        self.on_msg(self._receive)
        self.observe(self._show_values, ["date", "band"])
        self.observe(self._show_series, ["chosen", "band"])
        self.observe(self._follow_map, "follows")
        if map is not None:
            self._enter(map)
        self.compute()

    def _enter(self, map: Map) -> None:
        """Puts the parcels on the map, in the place of those of the same title: a cell may be run again."""
        self.layer = ParcelsLayer(self._features, self.title, self.names, self)
        for layer in map.layers:
            if isinstance(layer, ParcelsLayer) and layer.name == self.title:
                layer.owner._leave()
        map.add(self.layer)
        self.layer_id = self.layer.model_id or ""
        here = {layer.model_id for layer in map.layers}
        told = [one for one in map.panel.sections.get("parcels", {}).get("panels", []) if one["layer"] in here]
        map.panel.tell("parcels", {"panels": [*told, {"panel": self.own_id, "layer": self.layer_id}]})
        map.panel.observe(self._follow_map, "date")
        map.panel.observe(self._follow_layer, "layers")

    def _leave(self) -> None:
        """Another panel takes its place on the map."""
        assert self.map is not None
        self.cancel()
        self.map.panel.unobserve(self._follow_map, "date")
        self.map.panel.unobserve(self._follow_layer, "layers")
        self.map.remove(self.layer)

    # ---- in Python

    @property
    def found(self) -> ZonalSeries:
        """The statistics of the layer as it is now, as `chain.over(polygons)` gives them.

        `NotFound` while they are not there: they are being computed, or could not be.
        """
        with TURN:
            if self._found is None or not self._is_current(self._found):
                why = self.told.get("text") or "still computing"
                raise NotFound(f"the statistics of the parcels are not there: {why}")
            return self._found

    def _is_current(self, found: ZonalSeries) -> bool:
        """Whether statistics are those of the chain that the layer shows now."""
        return found.published.chain_hash == self._source.published.chain_hash

    def compute(self) -> None:
        """Computes the statistics anew, in a thread; what is under way is given up."""
        self._stopped.clear()
        self._tell("working", "", 0)
        self._work.take({"source": self._source})

    def cancel(self) -> None:
        """Ends the computing that is under way."""
        self._stopped.set()

    def wait(self, seconds: float = 600.0) -> ZonalSeries:
        """Waits until all is computed, and gives the statistics."""
        end = time.monotonic() + seconds
        while self.told["state"] == "working" and time.monotonic() < end:
            time.sleep(0.05)
        return self.found

    def choose(self, id: Any) -> None:
        """Shows the series of the parcel with this id."""
        ids = list(self._features.ids)
        if id not in ids:
            raise NotFound(f"there is no parcel with the id {shown(id)} among these {len(ids)}")
        self.chosen = ids.index(id)

    def export(self, path: str | Path) -> Path:
        """Writes the statistics as CSV, Parquet or GeoPackage (with the series inside), by the file's ending.

        >>> panel.export("parcels.gpkg")
        """
        found, target = self.found, Path(path)
        writers = {".csv": found.to_csv, ".parquet": found.to_parquet, ".gpkg": found.to_geopackage}
        if target.suffix.lower() not in writers:
            raise ArgumentError(f"path={target.name!r}: the ending is one of {', '.join(writers)}", argument="path")
        return writers[target.suffix.lower()](target)

    def status(self) -> Status:
        """What is shown, and whether it came: the state is `working`, `ok`, `failed` or `cancelled`."""
        date = self.dates[self.date] if self.date < len(self.dates) else None
        return Status(
            kind="parcels", state=self.told["state"], why=self.told.get("text") or None, parcels=len(self.names),
            done=self.told.get("done"), statistic=self.statistic or None, date=date, notes=list(self.notes),
            chosen=self.names[self.chosen] if 0 <= self.chosen < len(self.names) else None,
        )  # fmt: skip

    def __repr__(self) -> str:
        why = f": {self.told['text']}" if self.told.get("text") else ""
        return f"<ParcelsPanel of {len(self.names)} parcels, {len(self.dates)} dates; {self.told['state']}{why}>"

    # ---- computing

    def _resolve(self) -> _Source:
        """The chain with dates whose values are reduced, with what its layer's style says of them."""
        if self._chain is not None:
            return _source(self._chain)
        if self.map is None:
            raise ArgumentError("ParcelsPanel(None, …) has no layer of a map: give chain=…", argument="chain")
        if self._layer_name is None:
            stack = self.map.stack()
            if not stack:
                raise NotFound("the map has no layer whose values could be reduced; m.add(chain, name=…) first")
            self._layer_name = stack[-1].name  # the one that is followed, whatever is laid above it later
        return _of_tiles(self.map.tiles(self._layer_name))

    def _follow_layer(self, change: Any) -> None:
        """Computes anew where the layer's chain is another; its look changes the colours alone."""
        if self._chain is not None:
            return
        try:
            source = self._resolve()
        except (ArgumentError, NotFound):  # it was taken off, or has no dates now: what was computed stays
            return
        before, self._source = self._source, source
        if source.published.chain_hash != before.published.chain_hash:
            self.compute()
        elif source.look != before.look and self._found is not None:
            self._found = _labelled(self._found, source)
            self._show_all(self._found)

    def _compute(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        source: _Source = message["source"]
        total = len(self._features)

        def heard(done: int, of: int) -> None:
            if is_stale() or self._stopped.is_set():
                raise Cancelled
            if done == of or done * 40 // of != (done - 1) * 40 // of:  # forty messages at most
                self._tell("working", "", done)

        try:
            found = zonal_series(
                source.published, self._features, self._stats, self._resolution, heard, source.unit, source.label
            )
        except Cancelled:
            if not is_stale():
                self._forget_others()
                self._tell("cancelled", "Cancelled." if self._found is None else "Cancelled: these are older values.")
            return
        except Exception as error:  # no cell is there in which it could appear
            text = str(error) or type(error).__name__
            self._forget_others()
            self._tell("failed", text if isinstance(error, MusesError) else f"{type(error).__name__}: {text}")
            return
        if is_stale():
            return
        with TURN:
            self._found = found
            self._show_all(found)
        self._tell("ok", "", total)

    def _forget_others(self) -> None:
        """Takes away the values of a chain that the layer shows no longer: nobody should take them for its own."""
        with TURN:
            if self._found is None or self._is_current(self._found):
                return
            self._found = None
            self.values, self.legends, self.small, self.series, self.notes = {}, {}, {}, {}, []

    def _tell(self, state: str, text: str, done: int | None = None) -> None:
        before = self.told.get("done", 0)
        self.told = {
            "state": state, "text": text, "done": before if done is None else done, "total": len(self._features),
        }  # fmt: skip

    # ---- showing

    def _show_all(self, found: ZonalSeries) -> None:
        """All that follows from the statistics."""
        step = found.published.prepared.output
        names = list(facts.statistics_of(found))
        unit = f" ({found.unit})" if found.unit not in ("", "1") else ""
        dates = [str(time)[:16].replace("T", " ") for time in step.times] if step.meta.time else []
        before = self.dates[self.date] if self.date < len(self.dates) else None
        with self.hold_trait_notifications():
            self.columns = facts.columns_of(self._features, self._called, names)
            self.bands = [str(band) for band in step.meta.bands or ()]
            self.dates = dates
            self.band = min(self.band, max(len(self.bands) - 1, 0))
            self.date = dates.index(before) if before in dates else _fullest(found)
            self.quantity = f"{found.quantity}{unit}"
            self.statistic = self.statistic if self.statistic in names else names[0]
            self.notes = self._notes(found)
            self.small = {}
        self._follow_map()
        self._show_values()
        self._show_series()

    def _notes(self, found: ZonalSeries) -> list[str]:
        notes = list(self._features.notes[:_TOLD_NOTES])
        if len(self._features.notes) > _TOLD_NOTES:
            notes.append(f"and {len(self._features.notes) - _TOLD_NOTES} more were repaired or left out")
        if found.found.empty:
            notes.append(outside(self._features, found.found.empty))
        if failed := found.found.failed:
            id, reason = next(iter(failed.items()))
            more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
            notes.append(f"scenes could not be read and are left out: {id}: {reason}{more}")
        return [f"{note[:1].upper()}{note[1:]}" for note in notes]

    def _show_values(self, _: Any = None) -> None:
        with TURN:
            found = self._found
            if found is None:
                return
            self.legends = facts.legends_of(found, self._source.look, self.band)
            columns = facts.values_at(found, self.date, self.band)
            self.values = {"date": self.date, "band": self.band, "columns": columns}

    def _show_series(self, _: Any = None) -> None:
        with TURN:
            if self._found is None or self.chosen < 0:
                self.series = {}  # a plot that is being drawn is no longer wanted: see `_draw`
                return
        self._plots.take({"number": self.chosen, "band": self.band})

    def _draw(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        number = message["number"]
        title = self.names[number]
        found_of = self._found
        try:
            found = self.found.of(self._features.ids[number])
            text = _in_words(found, message["band"])
            plot = {"number": number, "title": title, "text": text, "bokeh": bokehplots.release()}
            if found.published.prepared.output.meta.time and found.found.count.any():
                plot["item"] = bokehplots.item(
                    found.plot_with_counts(responsive=True, height=210, show_legend=bool(self.bands))
                )
        except Exception as error:  # no cell is there in which it could appear
            plot = {"number": number, "title": title, "text": str(error) or type(error).__name__, "failed": True}
        with TURN:
            if not is_stale() and number == self.chosen and found_of is self._found:
                self.series = plot

    def _follow_map(self, _: Any = None) -> None:
        """Takes over the map's date: the last one until it, as layers with dates do; of none the newest, as they do."""
        if not self.follows or self.map is None or not self.dates:
            return
        date = self.map.date
        if not date and not any(tiles.over is not None for tiles in self.map.stack()):
            return  # it has no bar of dates
        end = f"{date.replace('T', ' ')}~"  # after all times of a day
        self.date = max((n for n, one in enumerate(self.dates) if not date or one <= end), default=0)

    # ---- messages

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        match message.get("do"):
            case "compute":
                self.compute()
            case "cancel":
                self.cancel()
            case "small":
                self._show_small(message["numbers"])
            case "export":
                self._export(message["format"])

    def _show_small(self, parcels: Sequence[int]) -> None:
        if self._found is not None:
            there = [number for number in parcels if 0 <= number < len(self.names)]
            told = facts.small_series(self._found, there, self.band)
            self.small = {"band": self.band, "parcels": told}

    def _export(self, ending: str) -> None:
        name = f"{slug(self.title, 'parcels', ascii=False).lower()}-{time.strftime('%Y%m%d-%H%M%S')}.{ending}"
        try:
            path = self.export(name).resolve()
            self.exported = {"text": str(path), "name": name, "place": served_place(path)}
        except Exception as error:  # no cell is there in which it could appear
            self.exported = {"text": f"{_EXPORTS.get(ending, ending)}: {error}", "failed": True}


class _Source:
    """What is reduced."""

    def __init__(self, published: Published, look: Style | None) -> None:
        self.published, self.look = published, look
        self.unit = (look.unit if look else None) or ""
        self.label = (look.label if look else None) or ""


def _source(chain: Any) -> _Source:
    if isinstance(chain, ml.TimeLayer):
        return _Source(chain.over.cube.published, chain.look)
    if isinstance(chain, ml.Layer):
        return _Source(chain.chain.published, chain.look)
    if not hasattr(chain, "published"):
        raise ArgumentError(f"chain={shown(chain)} is no chain, such as s2.ndvi()", argument="chain")
    return _Source(chain.published, None)


def _of_tiles(tiles: ChainTiles) -> _Source:
    """The part of a layer that has dates."""
    parts = dated(tiles.chain.published)
    if len(parts) > 1:
        made = ", ".join(part.label for part in parts if part.label) or f"{len(parts)} series"
        raise ArgumentError(
            f"the layer {tiles.name!r} is made of several series ({made}): say whose statistics are wanted, "
            "for example chain=s2.ndvi()",
            argument="layer",
        )
    look = None if tiles.is_empty else tiles.layer.look
    return _Source(parts[0].published if parts else tiles.chain.published, look)


def _labelled(found: ZonalSeries, source: _Source) -> ZonalSeries:
    return ZonalSeries(found.found, source.unit, source.label)


def _read(polygons: Any) -> Features:
    """The polygons, not too many for a page."""
    if isinstance(polygons, Places):
        polygons = _of_places(polygons)
    features = polygons if isinstance(polygons, Features) else read("ParcelsPanel", polygons)
    if len(features) > MOST:
        raise ArgumentError(
            f"these are {len(features)} polygons, and a panel shows up to {MOST}: choose some of them; "
            "chain.over(polygons) computes all of them as a table"
        )
    return features


def _of_places(places: Places) -> Any:
    """The polygons among kept places, by their names and with their attributes."""
    frame = places.frame()
    polygons = frame[[not place.is_point for place in places]]
    if polygons.empty:
        raise ArgumentError(f"{places!r} has no polygon whose statistics could be computed: of points there are series")
    return polygons.drop(columns=["id", "colour", "visible"])


def _called(features: Features, name: str | None) -> str | None:
    if name is not None and name not in features.columns:
        raise ArgumentError(
            f"name={name!r} is no attribute of the parcels; there are {', '.join(features.columns) or 'none'}",
            argument="name",
        )
    return name or next((one for one in features.columns if one.lower() == "name"), None)


class ParcelsLayer(ipyleaflet.GeoJSON):
    """The outlines of parcels; the page colours them: js/sections/parcels.js."""

    def __init__(self, features: Features, title: str, names: Sequence[str], owner: ParcelsPanel) -> None:
        self.owner = owner
        shapes = features.reproject(DEGREES).shapes
        corners = int(shapely.get_num_coordinates(shapes).sum())
        if corners > _MOST_CORNERS:
            raise ArgumentError(
                f"the polygons have {corners} corners, and a page shows up to {_MOST_CORNERS}: simplify them, for "
                "example geopandas.read_file(…).simplify_coverage(1)"
            )
        rounded = shapely.transform(shapes, lambda xy: xy.round(_DIGITS))
        drawn = [
            {
                "type": "Feature", "geometry": json.loads(shapely.to_geojson(shape)),
                "properties": {"number": number, "name": name, "style": _OUTLINE},
            }
            for number, (shape, name) in enumerate(zip(rounded, names, strict=True))
        ]  # fmt: skip
        super().__init__(name=title, data={"type": "FeatureCollection", "features": drawn})


def _fullest(found: ZonalSeries) -> int:
    """The last date on which most parcels have a value."""
    valid = (found.found.count > 0).any(axis=2).sum(axis=0)
    return int(len(valid) - 1 - valid[::-1].argmax())


def _in_words(found: ZonalSeries, band: int) -> str:
    """A parcel's series in a sentence."""
    values = found.found.values[0, :, band, 0]
    count, covered = found.found.count[0, :, band], float(found.found.covered[0])
    valid = count > 0
    with suppress(ValueError):
        low, high = float(values[valid].min()), float(values[valid].max())
        name = facts.title_of(found.found.names[0])
        unit = f" {found.unit}" if found.unit not in ("", "1") else ""
        return (
            f"{int(valid.sum())} of {len(valid)} dates, {name} {low:.4g} to {high:.4g}{unit}; {covered:.4g} pixels of "
            f"{found.found.metres[0]:g} m. {_key(found.found.names)}"
        )
    return "No valid pixel on any date: the parcel lies outside of the data, or is always masked."


def _key(names: Sequence[str]) -> str:
    """What is what in the plot."""
    parts = [f"Dots: {facts.title_of(names[0])}"]
    parts += ["dashes: median"] if names[0] == "mean" and "median" in names else []
    parts += ["band: 10 to 90 %"] if {"q10", "q90"} <= set(names) else []
    return f"{', '.join(parts)}; bars: valid pixels."
