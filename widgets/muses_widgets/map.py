"""The map: an ipyleaflet map whose layers are chains, drawn by the tile service of the page's Jupyter server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipyleaflet
import numpy as np
from ipywidgets import Layout
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.api.frames import as_date
from muses_lab.errors import NoScenes, NotFound
from muses_lab.export import Job
from muses_lab.plain import Status
from muses_widgets import basemaps, groups, inputs, picture, sections, view
from muses_widgets.arranging import Arranging, Listed
from muses_widgets.backgrounds import Background, WmsBackground, background
from muses_widgets.controls import Controls
from muses_widgets.inputs import NotShown
from muses_widgets.legend import legend_of
from muses_widgets.listing import Listing
from muses_widgets.panel import Panel, joined_state
from muses_widgets.places.kept import Places
from muses_widgets.places.layer import AREAS, PlacesLayer
from muses_widgets.saving import Saving
from muses_widgets.sections.histogram import shown_images
from muses_widgets.service import warn_without_service
from muses_widgets.tiles import MAX_ZOOM as _MAX_ZOOM
from muses_widgets.tiles import ChainTiles
from muses_widgets.vectors.layer import VectorLayer, features_of, is_vectors, style_of

_NOMINAL_WIDTH = 900


@dataclass(frozen=True)
class Clicked:
    """A place in degrees. By name only: ipyleaflet says latitude first, everything else here longitude."""

    lon: float
    lat: float


class Map(Arranging, Saving, Listing):
    """A map that shows chains.

    >>> m = Map(center=(43.6, 1.44), zoom=11)
    >>> m.add(ndvi.style(cmap="RdYlGn", vmin=0, vmax=1), name="NDVI 2018")
    >>> m

    Only what is visible is computed. Adding under a name that is there already replaces that layer in place. The
    base map is drawn without a connection; `basemap` (a name of the panel's list, or one of `ipyleaflet.basemaps`) or
    the panel choose another one. `layers` are added as by `add`, from the lowest to the top: a list, of which an item
    may be a pair (name, layer), or a dictionary `{"NDVI": ndvi.style(cmap="RdYlGn")}`. `bounds` (west, south, east,
    north in degrees) may be given in the place of `center` and `zoom`. All else is as for an `ipyleaflet.Map`.
    """

    def __init__(
        self,
        center: tuple[float, float] = (43.6, 1.44),
        zoom: float = 10,
        basemap: Any = None,
        height: str = "520px",
        *,
        layers: Iterable[Any] | Mapping[str, Any] = (),
        bounds: Any = None,
        **options: Any,
    ) -> None:
        inputs.refuse_options("Map", {k: v for k, v in options.items() if not self.has_trait(k)}, self.trait_names())
        named = inputs.named_layers(layers)
        bases = (one for _, one in named if type(one) is ipyleaflet.TileLayer and one.base)
        own = next(bases, None) if basemap is None else None
        self._base = own or basemaps.tiles("Offline" if basemap is None else basemap)
        options.setdefault("layout", Layout(height=height, width="100%"))
        options.setdefault("scroll_wheel_zoom", True)
        super().__init__(
            center=inputs.place(center), zoom=zoom, layers=(self._base,), max_zoom=_MAX_ZOOM, basemap=self._base,
            **options,
        )  # fmt: skip
        self.panel = Panel(map=self, base=self._base.model_id, basemaps=basemaps.offered(), layers=[])
        self.panel.connect([kind(self) for kind in sections.kinds()])
        self._corner = ipyleaflet.WidgetControl(widget=self.panel, position="topright", transparent_bg=True)
        super().add(self._corner)
        super().add(ipyleaflet.ScaleControl(position="bottomleft", imperial=False))
        self._keep_alike()
        for name, item in named:
            if item is not own:
                self.add(item, name=name)
        if bounds is not None:
            self.fit_bounds(bounds)
        warn_without_service()

    # Layers: those of the trait `layers` are on the map, whoever changed it and by what name; the panel follows.

    def add(
        self,
        item: Any,
        name: str | int | None = None,
        index: int | None = None,
        *,
        visible: bool | None = None,
        opacity: float | None = None,
        style: Any = None,
        **unknown: Any,
    ) -> Any:
        """Shows a chain or a layer (a chain with its style) and returns the layer as it is shown.

        >>> layer = m.add(ndvi.style(cmap="RdYlGn"), name="NDVI")
        >>> m.remove(layer)                                             # or m.remove("NDVI")

        Operators that need an extent (regions, thresholds of an image) and have none get the current view; the
        returned layer's chain has it written down, so moving the map does not change the result. A layer of the same
        name is replaced in place and keeps its position, and its visibility and opacity unless they are given. A chain
        whose dates, place or filter no scene fits (a slider's empty month) shows nothing, and the panel says why.

        Dates one after the other are `m.add(chain.over_time().style(…))`: a bar below the map moves through them, and
        `m.date` says and sets which one is shown.

        The path of a raster and an `xarray.DataArray` (x, y, perhaps bands; with a CRS) are shown as `ml.open_file`
        and `ml.from_array` read them, coloured from the 2nd to the 98th percentile of their values; other colours:
        `m.add(ml.from_array(array).style(cmap="magma"))`.

        Features (the path of a GeoPackage, GeoJSON, Shapefile, GeoParquet or CSV of points, a GeoDataFrame, GeoJSON,
        `ml.vectors(…)`) are drawn with their legend, `style` says how: a colour, or a `VectorStyle`. A click shows the
        attributes of one. They have a row as chains have, so they lie above or below these as the rows are arranged.
        Returned is a `VectorLayer`. ipyleaflet's own layers, controls and base maps are added as there. `index` is the
        place among `m.layers`, of which 0 is the lowest; without it the new layer is on top.

        `NotShown` says of anything else why it cannot be shown, and what would.
        """
        inputs.refuse_options("m.add", unknown, ("name", "index", "visible", "opacity", "style"))
        if isinstance(name, int):  # as in ipyleaflet
            name, index = None, name
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise NotShown(f"name={name!r} is no name of a layer; give a text, for example name='NDVI 2018'")
        self._check_index(index)
        told = {k: v for k, v in (("name", name), ("visible", visible), ("opacity", opacity)) if v is not None}
        leaflet = inputs.as_leaflet(item)
        path = item if leaflet is None and isinstance(item, str | os.PathLike) else None
        if path is not None:
            item = inputs.of_file(path)
        vectors = leaflet is None and is_vectors(item)
        if style is not None and not vectors:
            raise NotShown("style= is of features (GeoJSON, GeoPackage, …); a chain's is m.add(chain.style(cmap=…))")
        if leaflet is not None:
            for trait, value in told.items():
                if not leaflet.has_trait(trait):
                    raise NotShown(f"a {type(leaflet).__name__} has no {trait}, so {trait}={value!r} cannot be heeded")
                setattr(leaflet, trait, value)
            super().add(leaflet, index=index)
            return leaflet if isinstance(leaflet, VectorLayer) else self
        before = next((one for one in self._listed() if one.name == name), None)
        shown: Listed
        if vectors:
            features, look = features_of(item), style_of(style)
            shown = before if isinstance(before, VectorLayer) else VectorLayer(
                features, look, name or self._free_name("Features" if path is None else Path(path).stem)
            )  # fmt: skip
            if shown is before:
                shown.show(features, look)
        else:
            item = self._pinned(inputs.as_layer(item))
            if isinstance(before, ChainTiles):
                shown = before
                shown.show(item, before_loading=self._list_layers, date=self.panel.date)
            else:
                shown = ChainTiles(item, name or self._free_layer(), self.panel.date)
        if before is None:
            super().add(shown, index=index)
        else:
            self._take_place(before, shown)
            if index is not None:
                self.set_trait("layers", _moved(self.layers, shown, index))
        for trait in ("visible", "opacity"):
            if trait in told:
                setattr(shown, trait, told[trait])
        return shown if vectors else item

    def add_background(
        self, url: Any, name: str | None = None, *, attribution: str = "", layers: str | None = None,
        matrix_set: str | None = None, styles: str = "", format: str = "image/png", opacity: float = 1.0,
        max_zoom: int | None = None,
    ) -> Any:  # fmt: skip
        """Shows a map of others between the base map and the chains; returns its layer.

        >>> m.add_background("https://tile.openstreetmap.org/{z}/{x}/{y}.png", "OSM", attribution="© OpenStreetMap")
        >>> m.add_background("https://data.geopf.fr/wms-r", "Relief", layers="ELEVATION.ELEVATIONGRIDCOVERAGE.SHADOW")
        >>> m.add_background("https://data.geopf.fr/wmts", "Plan", layers="GEOGRAPHICALGRIDSYSTEMS.PLANIGNV2",
        ...                  matrix_set="PM", styles="normal")

        Parameters
        ----------
        url
            XYZ tiles with `{z}`, `{x}` and `{y}` (`{-y}`: counted from the south), a WMTS's template with
            `{TileMatrix}`, `{TileRow}` and `{TileCol}`, one of `ipyleaflet.basemaps`, or the address of a WMS or WMTS.
        attribution
            Whose map it is: stands in the map's corner. Most makers ask for it.
        layers
            Of a WMS or WMTS: names of its layers.
        matrix_set
            Makes it a WMTS: the name of its tile matrix set in web Mercator (`PM`, `GoogleMapsCompatible`).
        styles, format
            Of a WMS or WMTS.
        opacity
            From 0 to 1.
        max_zoom
            The last zoom of which there are tiles: nearer, these are enlarged.

        The page of each viewer asks the server, which is not asked for anything before. The panel lists it; what does
        not come is told there.
        """
        n = sum(isinstance(layer, Background | WmsBackground) for layer in self.layers)
        made = background(
            url, name or f"Background {n + 1}", attribution, layers, matrix_set, styles, format, opacity, max_zoom
        )
        super().add(made, index=n + (self._base in self.layers))
        return made

    def __repr__(self) -> str:
        return f"<Map of {self._contents()}: {self.panel.status()['state']}>"

    def _contents(self) -> str:
        lat, lon = self.center
        shown = ", ".join(repr(t.name) for t in reversed(self.listed())) or "no layers"
        return f"{shown} around {lat:.4g}, {lon:.4g}, zoom {self.zoom:g}"

    def status(self) -> Status:
        """What the map shows and whether it came, for a terminal or a program; `print` gives JSON.

        >>> m.status()["state"]
        'ok'
        >>> print(m.status())

        The state of a layer, and of all as one, is `loading`, `ok`, `partial` (some tiles failed, or scenes were left
        out), `failed`, `empty` (no scene fits its chain), `hidden`, or `not shown`: no page shows the map, so
        nothing has been computed. `why` has the reasons. `remarks` are what choosing the scenes left out. The page
        tells it, so a cell that runs on does not see it change.
        """
        told = {entry["id"]: self.panel.layer_state(entry) for entry in self.panel.layers}
        layers = [
            {
                "name": tiles.name, **told[tiles.model_id], "visible": tiles.visible, "opacity": tiles.opacity,
                "group": (groups.of(self.panel.groups, tiles.model_id) or {}).get("name"),
                **_facts(tiles),
            }
            for tiles in reversed(self.listed())
        ]  # fmt: skip
        return Status(
            kind="map", state=joined_state(layers), center=list(self.center), zoom=self.zoom,
            basemap=self.panel.basemap, layers=layers, sections=self.panel.status()["sections"],
        )  # fmt: skip

    def _repr_mimebundle_(self, **options: Any) -> Any:
        # The text is seen where widgets are not drawn: in a colleague's notebook that is not trusted yet, on GitHub.
        return super()._repr_mimebundle_(**options) | {
            "text/plain": f"<Map of {self._contents()}>: run the notebook's cells to see it"
        }

    def __add__(self, item: Any) -> Map:
        self.add(item)
        return self

    def remove(self, item: Any) -> Map:
        """Takes a layer off the map: what `add` returned, its name, its chain, or an ipyleaflet layer or control."""
        return super().remove(self._found(item))

    def substitute(self, old: Any, new: Any) -> Map:
        """Shows `new` in the place of `old`; both are whatever `add` and `remove` take."""
        old = self._found(old)
        leaflet = inputs.as_leaflet(new)
        if leaflet is None:
            free = isinstance(old, ChainTiles)
            layer = self._pinned(inputs.as_layer(new))
            leaflet = ChainTiles(layer, old.name if free else self._free_layer(), self.panel.date)
        return super().substitute(old, leaflet)

    def layer(self, name: str) -> ml.Layer:
        """The layer shown under a name: the pinned chain and its style; of one with dates that of the date shown."""
        return self.tiles(name).layer

    def tiles(self, name: str) -> ChainTiles:
        """The ipyleaflet layer of a name, for its `opacity` and `visible`."""
        found = next((t for t in self._chains() if t.name == name), None)
        if found is None:
            raise self._nothing(f"no layer {name!r}")
        return found

    def control_panel(self, *names: str, layers: Any = None) -> Controls:
        """Sliders, lists and the like that change parameters of the layers; show it below the map.

        >>> threshold = ml.parameter("threshold", 0.4, minimum=0, maximum=1)
        >>> m.add(ndvi > threshold, name="Green")
        >>> m.add(ndwi > threshold, name="Wet")
        >>> m.control_panel()                                        # one slider that changes both
        >>> m.control_panel("focal_mean.radius", "style.cmap", layers="NDVI")

        `names` are those of `m.layer(name).parameters`: named parameters, `process.argument` (or a process alone: all
        its arguments), `style.cmap` and the like. Without them it has the named parameters; where there are none, all
        but texts. A control changes every one of the `layers` (a name or several; by default all) that has its
        parameter. `Controls` says more.
        """
        chosen = [layers] if isinstance(layers, str) or not isinstance(layers, Iterable) else list(layers)
        tiles = list(reversed(self.stack())) if layers is None else [self._found(one) for one in chosen]
        if not tiles:
            raise NotFound("the map has no layer to control; add one with m.add(chain, name=...)")
        for one in tiles:
            if not isinstance(one, ChainTiles):
                raise NotShown(f"{one!r} is no layer of a chain, so it has no parameters")
        made = Controls([_OnMap(self, one) for one in tiles], *names)
        self.panel.observe(lambda change: made.refresh(), "layers")
        return made

    @property
    def date(self) -> str:
        """The date shown of layers with dates (`2018-07-03`); empty where nobody has chosen one: the newest.

        >>> m.date = "2018-07-03"
        >>> m.date = None                                       # the newest again

        Each layer shows its last date until then, until the end of a day, month or year. A period's name, as the bar
        has it (`2018-djf`), is the day on which it begins. Times without a zone are in UTC.
        """
        return self.panel.date

    @date.setter
    def date(self, date: Any) -> None:
        text = "" if date is None or (isinstance(date, str) and not date.strip()) else self._date(date)
        for tiles in self._chains():
            tiles.show_date(text)
        self.panel.date = text
        self._list_layers()

    def _date(self, date: Any) -> str:
        """A date that is given, perhaps by the label of a period."""
        found = {
            frame.date: tiles.name
            for tiles in self._chains() if tiles.over is not None and not tiles.is_empty
            for frame in tiles.over.over if frame.label == date != frame.date
        }  # fmt: skip
        if len(found) > 1:
            said = " and ".join(f"{day} in {name!r}" for day, name in found.items())
            raise NotShown(f"m.date = {date!r} begins {said}: say which by a day, m.date = {next(iter(found))!r}")
        return next(iter(found), None) or as_date(date)

    def swipe(self, left: Any = None, right: Any = None, at: float = 0.5) -> None:
        """Compares two layers: `left` is shown left of a line over the map, `right` right of it.

        >>> m.swipe("2018", "2019")
        >>> m.swipe()                                           # no more

        Layers are named as in `remove`. `at` is where the line is, as a share of the map's width; it can be dragged,
        and moved by the arrow keys. The panel has the same under **Compare two layers**.
        """
        if left is None and right is None:
            self.panel.swipe = {}
            return
        one, other = self._found(left), self._found(right)
        if one is other or not all(isinstance(tiles, ChainTiles) for tiles in (one, other)):
            raise NotShown(f"m.swipe({left!r}, {right!r}) takes two different layers that are chains")
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= 1:
            raise NotShown(f"at={at!r} is no share of the map's width: 0 is its left edge, 1 its right one")
        one.visible = other.visible = True
        told, ids = self.panel.groups, (one.model_id, other.model_id)
        self.panel.groups = [{**g, "visible": g["visible"] or any(id in g["members"] for id in ids)} for g in told]
        self.panel.swipe = {"left": one.model_id, "right": other.model_id, "at": at}

    @property
    def areas(self) -> Places:
        """The areas that are drawn on the map, with their names: `m.areas.save("areas.gpkg")`, `m.areas.frame()`.

        >>> m.areas.extend("fields.gpkg")
        >>> ndvi.over(m.areas.frame(), stats="mean")

        The panel draws, names, edits, removes and saves them under **Areas**; they are saved with the notebook and in
        `save_view`. Looking at them the first time puts their layer on the map.
        """
        layer = next((one for one in self.others if isinstance(one, PlacesLayer) and one.name == AREAS), None)
        if layer is None:
            layer = PlacesLayer(Places(), name=AREAS)
            super().add(layer)
        return layer.places

    @property
    def clicked(self) -> Clicked | None:
        """The place of the last click: `chain.at(m.clicked)`; `m.panel.observe(f, "clicked")` tells of new ones."""
        if not self.panel.clicked:
            return None
        lat, lon = self.panel.clicked
        return Clicked(lon=lon, lat=lat)

    # The view

    def view(self) -> GeoBox:
        """What is visible, as a window of the screen's pixels: `chain.compute(m.view())` computes what is seen."""
        return view.window(self._visible(), self.zoom)

    def export_view(self, path: str | Path, name: str | None = None, **options: Any) -> Job:
        """Writes what is visible of a layer (the top one, if no name is given) as a GeoTIFF; returns the job.

        `options` are those of `Chain.export`, for example `overwrite=True`.
        """
        if name is None:
            if not self.stack():
                raise NotFound("the map has no layer to export; add one with m.add(chain, name=...)")
            name = self.stack()[-1].name
        return self.layer(name).export(path, self.view(), **{"title": name, **options})

    def fit_bounds(self, bounds: Any) -> None:
        """Moves the map so that it shows `bounds` as large as it can: at once, and not again later.

        >>> m.fit_bounds((1.3, 43.5, 1.5, 43.7))                 # west, south, east, north in degrees

        ipyleaflet's `((south, west), (north, east))` and windows (`GeoBox`) are understood as well.
        """
        width, height = self._size()
        self.center, self.zoom = view.fitting(inputs.bounds(bounds), width, height, _MAX_ZOOM)

    def stretch(self, name: str, low: float = 2, high: float = 98) -> Any:
        """Spreads a layer's colours between two percentiles of what is visible now; returns the layer as it is shown.

        >>> m.stretch("NDVI")

        The limits become part of its style: they stay when the map is moved. As the button of the panel's histogram.
        """
        if not 0 <= low < high <= 100:
            raise NotShown(f"m.stretch(…, {low!r}, {high!r}): give two percentiles, the lower one first, as 2 and 98")
        tiles = self.tiles(name)
        values = shown_images(tiles.layer.chain.pixels(self.view()), tiles.layer)
        values = values[np.isfinite(values)]
        if not values.size:
            raise NotShown(f"{name!r} has no value in this view, so there is nothing to stretch its colours to")
        vmin, vmax = inputs.rounded(*np.percentile(values.astype(float), (low, high)).tolist())
        return self.add(tiles.shown.with_parameters({"style.vmin": vmin, "style.vmax": vmax}), name=name)

    def save(self, outfile: Any, title: str = "Map", **unknown: Any) -> None:
        """Writes what the map shows now as a page of its own: a picture with its legends, in one HTML file.

        >>> m.save("ndvi.html", title="NDVI 2018")

        The chains are computed for the present view. The page needs no server and no connection, so it cannot be moved
        or zoomed; it says what of the map it does not have (ipyleaflet's markers and shapes, base maps of the web).
        A shared map that lives is `layer.share(…)`, pixels for a GIS `m.export_view("view.tif")`.
        """
        inputs.refuse_options("m.save", unknown, ("outfile", "title"))
        if isinstance(outfile, str | os.PathLike):
            outfile = Path(outfile).expanduser()
            if outfile.suffix.lower() not in (".html", ".htm"):
                raise NotShown(
                    f"{outfile.name!r} is no page: m.save('map.html') writes one, m.export_view('view.tif') pixels"
                )
            if not outfile.absolute().parent.is_dir():
                raise NotFound(f"there is no folder {outfile.absolute().parent} to write {outfile.name} into")
            outfile.write_text(picture.page(self._shown(), title), "utf-8")
        elif hasattr(outfile, "write"):
            outfile.write(picture.page(self._shown(), title))
        else:
            raise NotShown(f"m.save({outfile!r}): give a file's name, m.save('map.html')")

    def _shown(self) -> picture.Shown:
        lat, lon = self.center
        basemap = self.panel.basemap if self.has_base else None
        opacities = {
            t.model_id: None if not t.visible or groups.hides(self.panel.groups, t.model_id)
            else groups.opacity(self.panel.groups, t.model_id, t.opacity)
            for t in self.stack()
        }  # fmt: skip
        return picture.Shown(self.view(), (lat, lon), self.zoom, self.stack(), opacities, basemap, self.others)

    # Inside

    def _pinned(self, layer: ml.Layer | ml.TimeLayer) -> Any:
        chain = layer.over.cube if isinstance(layer, ml.TimeLayer) else layer.chain
        if chain.is_pinned:
            return layer
        bounds = self._visible()
        pinned = chain.pin(bounds, view.ground_resolution(bounds, self.zoom))
        if isinstance(layer, ml.TimeLayer):
            return ml.TimeLayer(ml.OverTime(pinned), layer.look)
        return ml.Layer(pinned, layer.look)

    def _check_index(self, index: Any) -> None:
        if index is None:
            return
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index <= len(self.layers):
            raise NotShown(
                f"index={index!r} is no place among the {len(self.layers)} layers of the map: 0 is the lowest, "
                f"{len(self.layers)} (or no index) the top"
            )

    def _size(self) -> tuple[int, int]:
        """Width and height in pixels; before the map is shown, those of a notebook of usual width."""
        if self.pixel_bounds:
            (left, top), (right, bottom) = self.pixel_bounds
            if right > left and bottom > top:
                return round(right - left), round(bottom - top)
        match = re.fullmatch(r"(\d+)px", self.layout.height or "")
        return _NOMINAL_WIDTH, int(match[1]) if match else 400

    def _visible(self) -> tuple[float, float, float, float]:
        if self.bounds:
            (south, west), (north, east) = self.bounds
            return west, south, east, north
        lat, lon = self.center
        return view.around(lat, lon, self.zoom, *self._size())


class _OnMap:
    """A layer of a map, as controls change it."""

    def __init__(self, map: Map, tiles: ChainTiles) -> None:
        self._map, self._tiles = map, tiles

    @property
    def name(self) -> str:
        return self._tiles.name

    @property
    def item(self) -> ml.Layer | ml.TimeLayer:
        return self._tiles.shown

    def check(self, item: Any) -> None:
        with suppress(NoScenes):  # which the panel says of the layer
            for layer in item.layers()[:1] if isinstance(item, ml.TimeLayer) else [item]:
                legend_of(layer)

    def show(self, item: Any) -> None:
        if self._tiles in self._map.layers:
            self._map.add(item, name=self.name)


def _facts(shown: Listed) -> dict[str, Any]:
    """What `Map.status` tells of a layer."""
    if isinstance(shown, VectorLayer):
        return {"features": len(shown.features), "style": shown.look.to_json(), "remarks": list(shown.features.notes)}
    return {
        "chain": shown.entry.get("chain"), "style": shown.shown.look.to_json(),
        "remarks": list(shown.entry.get("remarks", {}).get("shown", ())),
    }  # fmt: skip


def _moved(layers: Sequence[ipyleaflet.Layer], layer: ipyleaflet.Layer, index: int) -> tuple[ipyleaflet.Layer, ...]:
    others = [other for other in layers if other is not layer]
    return (*others[:index], layer, *others[index:])
