"""The map: an ipyleaflet map whose layers are chains, drawn by the tile service of the page's Jupyter server."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import ipyleaflet
from ipywidgets import Layout
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.errors import NotFound
from muses_lab.export import Job
from muses_widgets import basemaps, view
from muses_widgets.legend import legend_of
from muses_widgets.panel import Panel
from muses_widgets.service import warn_without_service

_MAX_ZOOM = 20
_NOMINAL_WIDTH = 900


class Map(ipyleaflet.Map):
    """A map that shows chains.

    >>> m = Map(center=(43.6, 1.44), zoom=11)
    >>> m.add(ndvi.style(cmap="RdYlGn", vmin=0, vmax=1), name="NDVI 2018")
    >>> m

    Only what is visible is computed. Adding under a name that is there already replaces that layer in place. The
    base map is drawn without a connection; `basemap` or the panel choose another one.
    """

    def __init__(
        self,
        center: tuple[float, float] = (43.6, 1.44),
        zoom: float = 10,
        basemap: str | None = None,
        height: str = "520px",
        **options: Any,
    ) -> None:
        offered = {b["name"]: b for b in basemaps.offered()}
        if basemap is not None and basemap not in offered:
            raise NotFound(f"there is no base map {basemap!r}; there are {', '.join(map(repr, offered))}")
        chosen = offered[basemap or "Offline"]
        base = ipyleaflet.TileLayer(
            url=chosen["url"], attribution=chosen["attribution"], name=chosen["name"], base=True, max_zoom=_MAX_ZOOM
        )
        options.setdefault("layout", Layout(height=height, width="100%"))
        options.setdefault("scroll_wheel_zoom", True)
        super().__init__(center=center, zoom=zoom, layers=(base,), max_zoom=_MAX_ZOOM, **options)
        self._shown: dict[str, tuple[ml.Layer, ipyleaflet.TileLayer]] = {}
        self.panel = Panel(
            map=self, base=base.model_id, basemaps=list(offered.values()), basemap=chosen["name"], layers=[]
        )
        self.panel.on_msg(self._receive)
        super().add(ipyleaflet.WidgetControl(widget=self.panel, position="topright", transparent_bg=True))
        super().add(ipyleaflet.ScaleControl(position="bottomleft", imperial=False))
        warn_without_service()

    # Layers

    def add(
        self,
        item: Any,
        name: str | None = None,
        index: int | None = None,
        *,
        visible: bool | None = None,
        opacity: float | None = None,
    ) -> Any:
        """Shows a chain or a layer (a chain with its style) and returns the layer as it is shown.

        >>> layer = m.add(ndvi.style(cmap="RdYlGn"), name="NDVI")

        Operators that need an extent (regions, thresholds of an image) and have none get the current view; the
        returned layer's chain has it written down, so moving the map does not change the result. A layer of the same
        name is replaced in place and keeps its position, and its visibility and opacity unless they are given.
        ipyleaflet's own layers and controls are added as there.
        """
        if isinstance(item, ipyleaflet.Layer | ipyleaflet.Control):
            return super().add(item, index=index)
        layer = item if isinstance(item, ml.Layer) else item.style()
        if not layer.chain.is_pinned:
            bounds = self._visible()
            layer = ml.Layer(layer.chain.pin(bounds, view.ground_resolution(bounds, self.zoom)), layer.look)
        legend = legend_of(layer)
        chain, style = layer.publish()
        name = name or self._free_name()
        url = f"muses:tiles/{chain}/{style}/{{z}}/{{x}}/{{y}}.png"
        if name in self._shown:
            tiles = self._shown[name][1]
        else:
            tiles = ipyleaflet.TileLayer(url=url, name=name, max_zoom=_MAX_ZOOM)
        changes = {"visible": visible, "opacity": opacity}
        for trait, value in changes.items():
            if value is not None:
                setattr(tiles, trait, value)
        self._shown[name] = (layer, tiles)
        entry = {"id": tiles.model_id, "name": name, "chain": chain, "style": style, "legend": legend}
        # The panel learns of the layer before its tiles are asked for.
        entries = [entry if e["id"] == entry["id"] else e for e in self.panel.layers]
        self.panel.layers = entries if entry in entries else [entry, *entries]
        if tiles in self.layers:
            tiles.url = url
        else:
            super().add(tiles)
        return layer

    def remove(self, item: Any) -> None:
        """Takes a layer off the map, by its name (or an ipyleaflet layer or control)."""
        if not isinstance(item, str):
            super().remove(item)
            return
        _, tiles = self._known(item)
        del self._shown[item]
        self.panel.layers = [e for e in self.panel.layers if e["id"] != tiles.model_id]
        super().remove(tiles)

    def layer(self, name: str) -> ml.Layer:
        """The layer shown under a name: the pinned chain and its style."""
        return self._known(name)[0]

    def tiles(self, name: str) -> ipyleaflet.TileLayer:
        """The ipyleaflet layer of a name, for its `opacity` and `visible`."""
        return self._known(name)[1]

    @property
    def clicked(self) -> tuple[float, float] | None:
        """Latitude and longitude of the last click; `m.panel.observe(f, "clicked")` tells of new ones."""
        if not self.panel.clicked:
            return None
        lat, lon = self.panel.clicked
        return lat, lon

    # The view

    def view(self) -> GeoBox:
        """What is visible, as a window of the screen's pixels: `chain.compute(m.view())` computes what is seen."""
        return view.window(self._visible(), self.zoom)

    def export_view(self, path: str | Path, name: str | None = None, **options: Any) -> Job:
        """Writes what is visible of a layer (the top one, if no name is given) as a GeoTIFF; returns the job.

        `options` are those of `Chain.export`, for example `overwrite=True`.
        """
        if name is None:
            if not self.panel.layers:
                raise NotFound("the map has no layer to export; add one with m.add(chain, name=...)")
            name = self.panel.layers[0]["name"]
        return self.layer(name).chain.export(path, self.view(), **options)

    # Inside

    def _known(self, name: str) -> tuple[ml.Layer, ipyleaflet.TileLayer]:
        if name not in self._shown:
            there = ", ".join(map(repr, self._shown)) or "none"
            raise NotFound(f"the map has no layer {name!r}; it has {there}")
        return self._shown[name]

    def _free_name(self) -> str:
        n = 1
        while f"Layer {n}" in self._shown:
            n += 1
        return f"Layer {n}"

    def _visible(self) -> tuple[float, float, float, float]:
        if self.bounds:
            (south, west), (north, east) = self.bounds
            return west, south, east, north
        # Not shown yet: what it will show in a notebook of usual width.
        height = int(match[1]) if (match := re.fullmatch(r"(\d+)px", self.layout.height or "")) else 400
        lat, lon = self.center
        return view.around(lat, lon, self.zoom, _NOMINAL_WIDTH, height)

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        if message.get("kind") != "export":
            return
        self.panel.send({"kind": "export-started"})
        if self.panel.job["state"] == "running":
            self.panel.send({"kind": "problem", "text": "An export is under way; wait for it to finish."})
            return
        try:
            self._start_export(message)
        except Exception as error:  # a message from the browser has no cell in which an error could appear
            self._export_failed(error)

    def _start_export(self, message: dict[str, Any]) -> None:
        name = next((e["name"] for e in self.panel.layers if e["id"] == message["layer"]), None)
        if name is None:
            raise NotFound("that layer is no longer on the map")
        slug = re.sub(r"[^\w-]+", "-", name).strip("-").lower() or "layer"
        path = Path(f"{slug}-z{round(message['zoom'])}-{time.strftime('%Y%m%d-%H%M%S')}.tif")
        window = view.window(tuple(message["bounds"]), message["zoom"])
        job = self.layer(name).chain.export(path, window, progress=False)
        self._export_progress(job)
        job.observe(self._export_progress)
        threading.Thread(target=self._finish_export, args=(job,), daemon=True).start()

    def _export_progress(self, job: Job) -> None:
        share: float = job.done / job.total if job.total else 0.0
        self.panel.job = {"state": "running", "progress": share, "text": f"Writing {job.path.name}…"}

    def _finish_export(self, job: Job) -> None:
        try:
            path = job.wait()
        except Exception as error:
            self._export_failed(error)
            return
        left_out = f"; {len(job.failed)} scene(s) could not be read and were left out" if job.failed else ""
        self.panel.job = {"state": "done", "text": f"Wrote {path.name}{left_out}", "path": str(path)}

    def _export_failed(self, error: Exception) -> None:
        self.panel.job = {"state": "failed", "text": f"Export failed: {str(error) or type(error).__name__}"}
