"""The user's own files: what was dropped on the map is recognised, checked, and shown."""

from __future__ import annotations

import warnings
from itertools import count
from pathlib import Path
from typing import Any

import muses_lab as ml
from muses_lab import uploaded
from muses_lab.api.features import RepairedVectors
from muses_lab.api.own_files import is_view
from muses_lab.api.views import View
from muses_lab.errors import NotFound
from muses_lab.plain import first_line
from muses_widgets import inputs
from muses_widgets.sections import Section, SectionMap
from muses_widgets.view import Bounds

_TOLD = 12
"""Files that are listed, the newest first."""

_BESIDE = 0.002
"""Degrees around features that are shown whole."""

_MAIN = (".shp",)
"""Of several files that belong together, the one that is opened."""


class Files(Section):
    """Opens what the page has sent to the user's folder: {do: "open", id, name}, and {do: "forget", id}.

    It tells {files: [{id, name, state: checking | shown | registered | view | failed, text, code}]}, as `FilesState`
    in js/types.d.ts; `code` is the line of Python that does the same. What is shown of a `view` are its layers' names;
    {do: "show", id} shows it in the map in place of what is there.
    """

    name = "files"

    def __init__(self, map: SectionMap) -> None:
        super().__init__(map)
        self._files: list[dict[str, Any]] = []
        self.tell({"files": []})

    def receive(self, message: dict[str, Any]) -> None:
        id = message["id"]
        if message["do"] == "forget":
            self._files = [one for one in self._files if one["id"] != id]
            self.tell({"files": self._files})
            return
        if message["do"] == "show":
            m: Any = self.map
            m.show_view(_main(uploaded.files(id)))
            return
        self._say(id, message["name"], "checking", "Reading…")
        try:
            self._say(id, message["name"], *self._opened(id))
        except Exception as error:  # whatever is wrong with somebody's file
            self._say(id, message["name"], "failed", first_line(error))

    def _opened(self, id: str) -> tuple[str, str, str]:
        """State, sentence, and Python of a file that was opened."""
        file = _main(uploaded.files(id))
        if is_view(file):
            view = View.read(file).document
            layers = [layer.name for layer in view.layers] + [features.name for features in view.vectors]
            text = f"A saved view of {', '.join(layers[:5]) or 'no layers'}{' …' if layers[5:] else ''}"
            return "view", text, f'Map.open_view("{_short(file)}")'
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = inputs.of_file(file)
            remarks = [str(one.message) for one in caught if issubclass(one.category, RepairedVectors)]
        if isinstance(found, ml.Collection):
            name = found.query.collection
            text = _joined(f"{len(found)} scenes, registered as {name!r}", remarks)
            return "registered", text, f"ml.collection({name!r})"
        name = self._free_name(file.stem)
        self.map.add(found, name=name)
        self._go_to(name, found)
        return "shown", _joined(_told(found), remarks), f'ml.open_file("{_short(file)}")'

    def _free_name(self, wanted: str) -> str:
        """A name that no layer has: adding under one that is there would replace it."""
        taken = {one.name for one in (*self.map.stack(), *self.map.others) if getattr(one, "name", "")}
        return next(name for n in count(1) if (name := wanted if n == 1 else f"{wanted} {n}") not in taken)

    def _go_to(self, name: str, found: Any) -> None:
        """Moves the map where the data are, unless they are in sight."""
        told = [entry.get("bounds") for entry in self.map.panel.layers if entry["name"] == name]
        bounds = _bounds(found) if isinstance(found, ml.Vectors) else next(iter(told), None)
        if bounds is not None and not _meet(bounds, self.map.view().extent.to_crs("EPSG:4326").boundingbox.bbox):
            self.map.fit_bounds(bounds)

    def _say(self, id: str, name: str, state: str, text: str, code: str = "") -> None:
        entry = {"id": id, "name": name, "state": state, "text": text, "code": code}
        others = [one for one in self._files if one["id"] != id]
        self._files = [entry, *others][:_TOLD]
        self.tell({"files": self._files})


SECTION = Files


def _main(files: list[Path]) -> Path:
    """The file that is opened; what belongs to it lies beside it."""
    if not files:
        raise NotFound("the file did not arrive: add it once more")
    return next((file for file in files if file.suffix.lower() in _MAIN), files[0])


def _told(found: Any) -> str:
    if isinstance(found, ml.Vectors):
        return f"{len(found)} feature{'' if len(found) == 1 else 's'} in {found.crs}" + (
            f", with {', '.join(found.columns[:5])}" if found.columns else ""
        )
    return "On the map"


def _bounds(features: ml.Vectors) -> Bounds:
    """In degrees, of a single point some hundred metres."""
    west, south, east, north = map(float, features.table().to_crs("EPSG:4326").total_bounds)
    return west - _BESIDE, south - _BESIDE, east + _BESIDE, north + _BESIDE


def _meet(one: Bounds, other: Bounds) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _joined(text: str, remarks: list[str]) -> str:
    return ". ".join([text, *remarks[:3]])


def _short(file: Path) -> str:
    """The path as the user can type it."""
    try:
        return f"~/{file.relative_to(Path.home())}"
    except ValueError:
        return str(file)
