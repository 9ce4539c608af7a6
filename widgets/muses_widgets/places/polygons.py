"""Polygons that are drawn on a map, or picked from one of its layers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ipyleaflet
import shapely
from shapely.geometry.base import BaseGeometry

from muses_lab.api.features import read
from muses_lab.errors import ArgumentError
from muses_lab.operators.vectors import DEGREES
from muses_widgets.places.layer import PlacesLayer

_LINE = {"color": "#111111", "weight": 2, "dashArray": "3 3", "fillColor": "#ffffff", "fillOpacity": 0.2}
_POLYGONS = ("Polygon", "MultiPolygon")
_SAME_PLACE = 1e-6
"""Degrees by which a click on a shape and the same click on the map may differ."""


class PolygonTools(ipyleaflet.GeomanDrawControl):
    """Tools to draw a polygon or a rectangle, to move its corners, and to remove it; one at a time is there.

    >>> tools = PolygonTools(m, print)
    >>> tools.clear_all()

    Parameters
    ----------
    map
        A `Map`.
    use
        Called with a polygon in degrees when one has been drawn, changed, or clicked in one of the map's GeoJSON
        layers, and with None when the drawn one has been removed.
    picks
        Whether a click on a shape of a layer takes it.
    """

    def __init__(self, map: Any, use: Callable[[BaseGeometry | None], None], picks: bool = True) -> None:
        self._map, self._use = map, use
        self._heard: set[str] = set()
        self._clicked: tuple[float, float] | None = None
        look = {"pathOptions": _LINE}
        super().__init__(
            position="topleft", polygon=look, rectangle=look, marker={}, circlemarker={}, circle={}, polyline={},
            text={}, edit=True, drag=True, remove=True, cut=False, rotate=False,
        )  # fmt: skip
        map.add(self)
        if picks:
            self._listen()
            map.observe(self._on_layers, "layers")
        self.observe(self._on_data, "data")

    def clear_all(self) -> None:
        """Takes the drawn polygon off the map; nobody is told."""
        if self.data:
            self._set([])

    def edit(self, polygon: BaseGeometry) -> None:
        """Puts a polygon on the map whose corners can be moved; nobody is told before one is."""
        geometry = shapely.geometry.mapping(polygon)
        self._set([{"type": "Feature", "properties": {"type": "polygon"}, "geometry": geometry}])

    def was_shape(self, lon: float, lat: float) -> bool:
        """Whether a click on the map at this place was one on a shape that has just been picked."""
        picked, self._clicked = self._clicked, None
        return picked is not None and max(abs(picked[0] - lon), abs(picked[1] - lat)) < _SAME_PLACE

    def leave(self) -> None:
        """Takes the tools off the map."""
        with suppress(ValueError):
            self._map.unobserve(self._on_layers, "layers")
        self._use = lambda polygon: None
        if self in self._map.controls:
            self._map.remove(self)

    # ---- drawing

    def _on_data(self, change: Any) -> None:
        features = change["new"]
        if len(features) > 1:  # the newest takes the place of the one before
            self._set(features[-1:])
        if not features:
            self._use(None)
        elif not change["old"] or features[-1]["geometry"] != change["old"][-1]["geometry"]:
            self._hand_over(features[-1]["geometry"])

    def _set(self, features: list[Any]) -> None:
        self.unobserve(self._on_data, "data")
        try:
            self.data = features
        finally:
            self.observe(self._on_data, "data")

    def _hand_over(self, geometry: dict[str, Any]) -> None:
        try:
            polygon, notes = polygon_of(geometry)
        except ArgumentError as error:
            self._map.panel.show_problem(str(error))
            return
        for note in notes:
            self._map.panel.show_problem(f"The polygon: {note}")
        self._use(polygon)

    # ---- picking

    def _on_layers(self, change: Any) -> None:
        self._listen()

    def _listen(self) -> None:
        for layer in self._map.layers:
            own = isinstance(layer, PlacesLayer)
            if isinstance(layer, ipyleaflet.GeoJSON) and not own and layer.model_id not in self._heard:
                self._heard.add(layer.model_id)
                layer.on_click(self._on_shape)

    def _on_shape(self, **event: Any) -> None:
        geometry = (event.get("feature") or {}).get("geometry") or {}
        if geometry.get("type") not in _POLYGONS:
            return
        at = event.get("coordinates")
        self._clicked = (float(at[1]), float(at[0])) if at else None
        self.clear_all()
        self._hand_over(geometry)


def polygon_of(geometry: dict[str, Any]) -> tuple[BaseGeometry, tuple[str, ...]]:
    """A polygon of GeoJSON in degrees, between 180° west and east where its middle is, and what was repaired of it."""
    drawn = shapely.geometry.shape(geometry)
    west, _, east, _ = drawn.bounds  # not the centroid: of one that crosses itself it may lie anywhere
    away = 360 * round((west + east) / 720)  # the world is drawn again and again beside itself
    features = read("draw", shapely.transform(drawn, lambda xy: xy - [away, 0]))
    return features.reproject(DEGREES).shapes[0], features.notes
