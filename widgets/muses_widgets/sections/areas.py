"""Areas that are drawn on the map: named, changed, removed, and written as a GeoPackage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shapely.geometry.base import BaseGeometry

from muses_widgets.geodesic import area_of
from muses_widgets.inputs import NotShown
from muses_widgets.places.kept import Places
from muses_widgets.places.layer import AREAS, PlacesLayer
from muses_widgets.places.polygons import PolygonTools
from muses_widgets.sections import Section, SectionMap
from muses_widgets.service import served_place


class Areas(Section):
    """Does what the box asks for: {do: "draw" | "stop" | "edit" | "rename" | "colour" | "remove" | "save", id, …}.

    It tells {drawing, editing (id), areas: [{id, name, colour, metres (square), bounds}]}, after saving also {name,
    bytes, place} of the file, and `text` of what failed. As `AreasState` in js/types.d.ts.
    """

    name = "areas"

    def __init__(self, map: SectionMap) -> None:
        super().__init__(map)
        self._tools: PolygonTools | None = None
        self._editing = ""
        self._followed: Places | None = None
        self._shown: Places | None = None
        m: Any = map
        m.observe(self._on_layers, "layers")

    def _on_layers(self, change: Any) -> None:
        """Areas that are added from Python, or by a saved view, are listed too."""
        there = any(isinstance(layer, PlacesLayer) and layer.name == AREAS for layer in change["new"])
        if there and self._areas() is not self._shown:
            self._show({})

    def receive(self, message: dict[str, Any]) -> None:
        try:
            said = self._do(message)
        except Exception as error:
            said = {"text": str(error) or type(error).__name__}
        self._show(said)

    def _do(self, message: dict[str, Any]) -> dict[str, Any]:
        areas, id = self._areas(), str(message.get("id", ""))
        match message["do"]:
            case "draw":
                self._finish()
                self._tools = self._tools or PolygonTools(self.map, self._drawn, picks=False)
            case "stop":
                self._finish()
                if self._tools is not None:
                    self._tools.leave()
                    self._tools = None
            case "edit":
                shape = areas[id].geometry
                self._finish()
                self._tools = self._tools or PolygonTools(self.map, self._drawn, picks=False)
                self._editing = id
                areas.change(id, visible=False)  # it is drawn by the tools meanwhile
                self._tools.edit(shape)
            case "rename":
                areas.change(id, name=str(message["name"]))
            case "colour":
                areas.change(id, colour=str(message["colour"]))
            case "remove":
                if id == self._editing:
                    self._finish()
                areas.remove(id)
            case "save":
                return self._save(areas, str(message["name"]).strip())
        return {}

    def _areas(self) -> Places:
        m: Any = self.map
        areas: Places = m.areas
        if areas is not self._followed:
            self._followed = areas
            areas.on_change(lambda: self._show({}))  # from Python, too
        return areas

    def _drawn(self, polygon: BaseGeometry | None) -> None:
        """The tools have another polygon, or none any more."""
        areas = self._areas()
        if self._editing and polygon is not None:
            areas.change(self._editing, geometry=polygon)
        elif self._editing:
            removed, self._editing = self._editing, ""
            areas.remove(removed)
        elif polygon is not None and self._tools is not None:
            self._tools.clear_all()
            number = 1 + sum(place.name.startswith("Area ") for place in areas)
            areas.add(polygon, name=f"Area {number}")

    def _finish(self) -> None:
        """The area whose corners were moved is drawn as the others again."""
        edited, self._editing = self._editing, ""
        if self._tools is not None:
            self._tools.clear_all()
        if edited and edited in self._areas():
            self._areas().change(edited, visible=True)

    def _save(self, areas: Places, name: str) -> dict[str, Any]:
        path = Path(name if Path(name).suffix else f"{name}.gpkg")
        if not name or path.name != str(path) or name.startswith("."):
            raise NotShown(f"{name!r} is no name of a file: write areas.gpkg; m.areas.save takes any path")
        if not len(areas):
            raise NotShown("there is no area to save yet")
        areas.save(path)
        return {"name": path.name, "bytes": path.stat().st_size, "place": served_place(path)}

    def _show(self, said: dict[str, Any]) -> None:
        told = [
            {
                "id": place.id, "name": place.name, "colour": place.colour, "bounds": list(place.geometry.bounds),
                "metres": 0.0 if place.is_point else area_of(place.geometry),
            }
            for place in self._areas()
        ]  # fmt: skip
        self._shown = self._followed
        self.tell({"drawing": self._tools is not None, "editing": self._editing, "areas": told, **said})


SECTION = Areas
