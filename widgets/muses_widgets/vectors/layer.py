"""Features as a layer of the map, with a legend; the page shows the attributes of the one that is clicked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import ipyleaflet
import numpy as np
import shapely
import traitlets as t

from muses_lab.api.features import noted, read
from muses_lab.errors import ArgumentError
from muses_lab.operators.vectors import DEGREES, Features
from muses_widgets.vectors.style import VectorStyle

MOST_CORNERS = 150_000
"""So many are drawn; shapes with more of them are drawn simplified, the attributes and values are those of all."""
_DIGITS = 6
"""Decimals of degrees: 11 cm."""


class VectorLayer(ipyleaflet.GeoJSON):
    """Points, lines or polygons on a map; `m.add(fields, name="Fields", style=…)` makes one.

    >>> layer = m.add("fields.gpkg", name="Crops", style=VectorStyle.categories("crop"))
    >>> layer.restyle(VectorStyle.graduated("area"))
    >>> layer.opacity = 0.5
    """

    opacity = t.Float(1.0, min=0, max=1).tag(sync=True)
    """Of all that is drawn of it."""
    legend: t.Dict[str, Any] = t.Dict()
    """As `ClassesLegend` in js/types.d.ts."""
    note = t.Unicode()
    """What the page should say of it."""
    hidden: t.List[int] = t.List(t.Int()).tag(sync=True)
    """Places in the legend whose features are not drawn."""

    def __init__(self, features: Features, style: VectorStyle, name: str) -> None:
        super().__init__(name=name, **self._take(features, style))
        self.observe(self._hide, "hidden")

    def show(self, features: Features, style: VectorStyle) -> None:
        """Shows other features in its place."""
        self._set(self._take(features, style))

    def _take(self, features: Features, style: VectorStyle) -> dict[str, Any]:
        """The traits of features in a style; where they cannot be drawn, the layer is as it was."""
        found = features.reproject(DEGREES)
        shapes, note = _drawable(found.shapes)
        told = "; ".join(text for text in (note, *features.notes[:3]) if text)
        drawn = {"note": told, **_drawn(found, shapes, style)}
        self.features, self._shapes, self.look, self._bounds = found, shapes, style, _bounds(found)
        return drawn

    def _hide(self, change: Any) -> None:
        """The page has hidden an entry of the legend, or shown it again."""
        if (hidden := tuple(change["new"])) != self.look.hidden:
            self.look = replace(self.look, hidden=hidden)
            self.legend = self.look.drawn(self.features)[1]

    def _set(self, traits: dict[str, Any]) -> None:
        with self.hold_sync():  # the page draws all of it at once
            for trait, value in traits.items():
                setattr(self, trait, value)

    @property
    def entry(self) -> dict[str, Any]:
        """What the panel is told of it, see `Panel.layers`."""
        return {
            "id": self.model_id, "name": self.name, "features": len(self.features), "legend": self.legend,
            "note": self.note, "bounds": self._bounds,
        }  # fmt: skip

    def restyle(self, style: VectorStyle | str) -> None:
        """Draws the same features in another way."""
        style = style_of(style)
        drawn = _drawn(self.features, self._shapes, style)
        self.look = style
        self._set(drawn)

    def to_json(self) -> dict[str, Any]:
        """{name, visible, opacity, style, features} of a saved view."""
        columns = self.features.properties
        rows = [
            {
                "type": "Feature", "id": id, "geometry": json.loads(shapely.to_geojson(shape)),
                "properties": {key: column[n] for key, column in columns.items()},
            }
            for n, (id, shape) in enumerate(zip(self.features.ids, self.features.shapes, strict=True))
        ]  # fmt: skip
        collection = {"type": "FeatureCollection", "features": rows}
        return {
            "name": self.name, "visible": self.visible, "opacity": self.opacity, "style": self.look.to_json(),
            "features": collection,
        }  # fmt: skip


def _drawn(features: Features, shapes: np.ndarray, style: VectorStyle) -> dict[str, Any]:
    """The traits of features in a style."""
    places, legend = style.drawn(features)
    colours = [entry["colour"] for entry in legend["entries"]]
    labels = features.column(style.label) if style.label else [None] * len(features)
    drawn = []
    for n, (id, shape) in enumerate(zip(features.ids, shapes, strict=True)):
        colour = colours[places[n]]
        look = {
            "color": colour, "weight": style.width, "opacity": 1, "fillColor": colour,
            "fillOpacity": max(style.fill, 0.8) if "Point" in shape.geom_type else style.fill,
        }  # fmt: skip
        attributes = {key: column[n] for key, column in features.properties.items()}
        text = "" if labels[n] is None else str(labels[n])
        properties = {"id": id, "attributes": attributes, "label": text, "style": look, "place": places[n]}
        geometry = json.loads(shapely.to_geojson(shape))
        drawn.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {
        "data": {"type": "FeatureCollection", "features": drawn}, "legend": legend, "hidden": list(style.hidden),
        "point_style": {"radius": style.radius}, "hover_style": {"weight": style.width + 2},
    }  # fmt: skip


def _bounds(features: Features) -> list[float] | None:
    """West, south, east, north in degrees; None of no features."""
    found = shapely.total_bounds(features.shapes)
    return found.tolist() if np.isfinite(found).all() else None


def is_vectors(item: Any) -> bool:
    """Whether something is features: a GeoDataFrame, GeoJSON, `ml.vectors(…)`, a shape."""
    if isinstance(item, dict):
        return item.get("type") in ("FeatureCollection", "Feature")
    return isinstance(item, Features) or hasattr(item, "__geo_interface__")


def features_of(item: Any) -> Features:
    """The features that were given to `m.add`."""
    return item if isinstance(item, Features) else noted(read("m.add", item))  # who made those was told


def style_of(style: Any) -> VectorStyle:
    """A style; a colour's name stands for all features in it."""
    if style is None:
        return VectorStyle()
    if isinstance(style, str):
        return VectorStyle.single(style)
    if isinstance(style, VectorStyle):
        return style
    raise ArgumentError(
        f"style={style!r} is no style of vectors: give a colour, or VectorStyle.categories('crop'), "
        ".graduated('area'), .rules({\"crop = 'wheat'\": '#d55e00'})",
        argument="style",
    )


def _drawable(shapes: np.ndarray) -> tuple[np.ndarray, str]:
    """Shapes of so few corners that a page can draw them, and what was done to them."""
    found, tolerance = shapes, 0.0
    while shapely.get_num_coordinates(found).sum() > MOST_CORNERS and tolerance < 1:
        tolerance = tolerance * 4 or 1e-5
        found = shapely.simplify(shapes, tolerance)
    note = f"drawn simplified, by up to {tolerance * 111_320:.0f} m" if tolerance else ""
    return shapely.transform(found, lambda xy: xy.round(_DIGITS)), note
