"""Exports from the map: of what is seen with one click, or of what a form asks for; one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from muses_lab.errors import ArgumentError, MusesError, NotFound
from muses_lab.export import Job
from muses_lab.export.pieces import size_of
from muses_lab.plain import first_line, slug
from muses_widgets import exporting
from muses_widgets.places.layer import PlacesLayer
from muses_widgets.sections import Section, SectionMap
from muses_widgets.sections.newest import Newest
from muses_widgets.service import served_place

_LONGEST_SLUG = 60
"""Characters of a layer's name that go into a file's."""


class Export(Section):
    """Does what the export box asks for:

    - {do: "export", form}, where a form without a `name` is the view as a GeoTIFF, and {do: "cancel" | "pause" |
      "resume"};
    - {do: "describe", layer, format}: what can be chosen, as `offer`: that of `exporting.offered`, the areas that are
      drawn, and a name for the file;
    - {do: "estimate", asked, form}: what it would be, as `estimate`: {asked, line, error} or that of
      `exporting.estimated`.

    It tells {state: idle | running | paused | done | failed | cancelled, progress: 0..1, remaining, text}; of a file
    that is done also the job's id, the file's path, name and bytes, and its `place` in the folder that the Jupyter
    server shows (null: not in there). As `ExportState` in js/types.d.ts.
    """

    name = "export"

    def __init__(self, map: SectionMap) -> None:
        super().__init__(map)
        self._job: Job | None = None
        self._told: dict[str, Any] = {}
        self._estimates = Newest("muses-estimate", self._estimate)
        self._say({"state": "idle"})

    def receive(self, message: dict[str, Any]) -> None:
        match message["do"]:
            case "cancel" | "pause" | "resume" as change:
                if self._job is not None:
                    getattr(self._job, change)()
            case "describe":
                self._say({"offer": self._offer(message["layer"])})
            case "estimate":
                self._estimates.take(message)
            case "export" if self._running:
                self.map.panel.show_problem("An export is under way; wait for it to finish, or cancel it.")
            case "export":
                try:
                    self._start(message["form"])
                except Exception as error:
                    self._failed(error)

    def _say(self, state: dict[str, Any]) -> None:
        """Tells what is new; a state replaces that of the job before, whatever was offered stays."""
        kept = ("offer", "estimate") if "state" in state else tuple(self._told)
        self._told = {name: self._told[name] for name in kept if name in self._told} | state
        self.tell(self._told)

    # ------------------------------------------------------------------------------------------------ the form

    def _offer(self, layer: str) -> dict[str, Any]:
        tiles = self.tiles(layer)
        return {"layer": layer, **exporting.offered(tiles), "areas": list(self._areas()), "stem": _stem(tiles.name)}

    def _estimate(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        told: dict[str, Any] = {"asked": message["asked"]}
        try:
            form = exporting.Form.of(message["form"])
            order = exporting.order(form, self.tiles(form.layer), self._areas())
            told["line"] = order.line
            told |= exporting.estimated(order, form.shown)
        except MusesError as error:
            told["error"] = str(error)
        except Exception as error:  # of libraries, about an area or a reference system
            told["error"] = first_line(error)
        if not is_stale():
            self._say({"estimate": told})

    def _areas(self) -> dict[str, Any]:
        """The polygons that are drawn or kept on the map, as GeoJSON, by name."""
        found: dict[str, Any] = {}
        for layer in self.map.others:
            if isinstance(layer, PlacesLayer):
                for place in layer.places:
                    if place.geometry.area > 0:
                        found.setdefault(place.name, place.geometry.__geo_interface__)
        return found

    # ------------------------------------------------------------------------------------------------ the job

    @property
    def _running(self) -> bool:
        return self._job is not None and self._job.state in ("running", "paused")

    def _start(self, told: dict[str, Any]) -> None:
        tiles = next((t for t in self.map.stack() if t.model_id == told["layer"]), None)
        if tiles is None:
            raise NotFound("that layer is no longer on the map")
        if not told.get("name"):
            told = {**told, "name": _file_name(tiles.name, told["zoom"]), "format": "GeoTIFF"}
        order = exporting.order(exporting.Form.of(told), tiles, self._areas())
        if order.path is None:
            raise ArgumentError(f"an array is made in a cell: {order.line}", argument="format")
        self._job = order.item.export(order.path, order.area, progress=False, **order.options)
        self._progress(self._job)
        self._job.observe(self._follow)

    def _follow(self, job: Job) -> None:
        """Called in the job's own thread, after every piece and at the end."""
        if job.state in ("running", "paused"):
            self._progress(job)
        elif job.state == "cancelled":
            self._say({"state": "cancelled", "text": f"Cancelled: {job.path.name} was not written"})
        elif job.error is not None:
            self._failed(job.error)
        else:
            self._say({"state": "done", **_written(job)})

    def _progress(self, job: Job) -> None:
        text = f"{job.path.name} is paused" if job.state == "paused" else f"Writing {job.path.name}…"
        self._say({"state": job.state, "progress": job.progress, "remaining": job.remaining, "text": text})

    def _failed(self, error: BaseException) -> None:
        self._say({"state": "failed", "text": f"Export failed: {str(error) or type(error).__name__}"})


SECTION = Export


def _stem(layer: str) -> str:
    return slug(layer, "layer", _LONGEST_SLUG, ascii=False).lower()


def _file_name(layer: str, zoom: float) -> str:
    return f"{_stem(layer)}-z{round(zoom)}-{time.strftime('%Y%m%d-%H%M%S')}.tif"


def _written(job: Job) -> dict[str, Any]:
    left_out = f"{len(job.failed)} scene(s) could not be read and were left out" if job.failed else ""
    return {
        "id": job.id,
        "text": left_out,
        "path": str(job.path),
        "name": job.path.name,
        "bytes": size_of(job.path),
        "folder": job.path.is_dir(),
        "place": served_place(job.path),
    }
