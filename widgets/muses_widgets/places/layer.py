"""The places that are kept, as a layer of a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipyleaflet
from shapely.geometry.base import BaseGeometry

from muses_widgets.places.kept import Place, Places

AREAS = "Areas"
"""Name of the layer of those that are drawn in a map's own panel."""

_POINT = {"radius": 7, "weight": 2, "opacity": 1, "fillOpacity": 0.9}


class PlacesLayer(ipyleaflet.GeoJSON):
    """Kept places on a map, each in its colour; follows the list, so that a saved notebook has them too.

    >>> layer = PlacesLayer(places)
    >>> m.add(layer)
    >>> layer.on_pick(lambda place: print(place.name))
    """

    def __init__(self, places: Places, name: str = "Places", candidate: str = "#111111", owner: Any = None) -> None:
        self.places = places
        self._colour = candidate
        self.owner = owner
        """What shows the list beside the map, if anything."""
        self._candidate: BaseGeometry | None = None
        self._selected = ""
        self._fitting: set[str] | None = None
        super().__init__(name=name, point_style=_POINT, hover_style={"weight": 4}, data=self._drawn())
        places.on_change(self.draw)

    def show_candidate(self, geometry: BaseGeometry | None) -> None:
        """Marks a place that is not kept (yet) by a ring of dashes, or none."""
        self._candidate = geometry
        self.draw()

    def select(self, id: str) -> None:
        """Marks one of the places by a wider outline; `""` marks none."""
        self._selected = id
        self.draw()

    def show_only(self, ids: set[str] | None) -> None:
        """Draws these places only; None: all."""
        self._fitting = ids
        self.draw()

    def on_pick(self, use: Callable[[Place], None]) -> None:
        """Calls a function with the place that is clicked on the map."""

        def clicked(**event: Any) -> None:
            id = (event.get("properties") or event.get("feature", {}).get("properties", {})).get("id", "")
            if id in self.places:
                use(self.places[id])

        self.on_click(clicked)

    def draw(self) -> None:
        """Draws the list as it is now."""
        self.data = self._drawn()

    def _drawn(self) -> dict[str, Any]:
        shown = [place for place in self.places if place.visible]
        features = [self._feature(p) for p in shown if self._fitting is None or p.id in self._fitting]
        if self._candidate is not None:
            look = {"color": self._colour, "fillColor": "#fff", "weight": 3, "dashArray": "4 3", "fillOpacity": 0.5}
            shape = self._candidate.__geo_interface__
            features.append({"type": "Feature", "geometry": shape, "properties": {"id": "", "style": look}})
        return {"type": "FeatureCollection", "features": features}

    def _feature(self, place: Place) -> dict[str, Any]:
        feature = place.feature()
        fill = 0.9 if place.is_point else 0.2
        weight = 5 if place.id == self._selected else 2
        outline = "#ffffff" if place.is_point else place.colour
        feature["properties"]["style"] = {
            "color": outline, "fillColor": place.colour, "weight": weight, "opacity": 1, "fillOpacity": fill,
        }  # fmt: skip
        return feature
