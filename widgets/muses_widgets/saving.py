"""Views of a map as files: written, checked before they are sent, and opened again."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from traitlets import TraitError

from muses_lab.api.views import (
    BackgroundPart,
    BaseMapPart,
    GroupPart,
    SwipePart,
    VectorPart,
    View,
    ViewDocument,
    ViewFault,
    layer_of,
    part_of,
)
from muses_lab.errors import MusesError, NotFound
from muses_lab.plain import first_line
from muses_widgets import basemaps
from muses_widgets.backgrounds import Background, WmsBackground, holds_secret
from muses_widgets.inputs import NotShown
from muses_widgets.places.kept import Places
from muses_widgets.places.layer import AREAS, PlacesLayer
from muses_widgets.tiles import ChainTiles
from muses_widgets.vectors.layer import VectorLayer
from muses_widgets.vectors.style import VectorStyle


@dataclass(frozen=True)
class Checked:
    """What of a view others will see; its text says it."""

    faults: tuple[ViewFault, ...]
    path: Path | None = None
    """Where it was written."""

    @property
    def complete(self) -> bool:
        """Whether others see all of it."""
        return not any(fault.lost for fault in self.faults)

    def __repr__(self) -> str:
        lost = [f"  - {fault}" for fault in self.faults if fault.lost]
        notes = [f"  - {fault}" for fault in self.faults if not fault.lost]
        head = [f"Wrote {self.path} ({self.path.stat().st_size / 1024:.0f} KiB)."] if self.path else []
        said = ["Others will not see:", *lost] if lost else ["Others will see all of it."]
        return "\n".join([*head, *said, *(["Under a condition:", *notes] if notes else [])])


class Saving:
    """The part of a `Map` that writes and reads views."""

    def save_view(self: Any, path: str | os.PathLike[str]) -> Checked:
        """Writes what the map shows as a file that `Map.open_view` opens again, here or at a colleague's.

        >>> m.save_view("view.json")
        Wrote view.json (31 KiB).
        Others will see all of it.

        The file has centre and zoom, layers with their chains, the scenes they are made of, models and styles, order,
        groups, vectors, backgrounds, areas, and the dates that are chosen. It holds no pixels and no code. Returned is
        what `check_view` tells: read it before you send the file. An existing file is replaced.
        """
        view = self._view()
        return Checked(tuple(view.faults()), view.write(path))

    def check_view(self: Any) -> Checked:
        """What somebody to whom the view is sent will not be able to see, and why.

        >>> m.check_view()
        Others will not see:
          - layer 'Mine': it is made of files of yours (dem.tif) that are in no shared catalogue: …

        `.faults` are the lines, `.complete` is True where nothing is lost.
        """
        return Checked(tuple(self._view().faults()))

    @classmethod
    def open_view(cls: Any, source: str | os.PathLike[str] | Mapping[str, Any], **options: Any) -> Any:
        """A map of a saved view.

        >>> m = Map.open_view("view.json")
        >>> m

        `options` are those of a `Map`, for example `height="600px"`. A layer that cannot be shown here is left out, and
        the panel says why. Nothing that the file holds is run as code.
        """
        view = View.read(source)
        m = cls(basemap=_base_of(view.document.basemap), **options)
        m.show_view(view)
        return m

    def show_view(self: Any, source: View | str | os.PathLike[str] | Mapping[str, Any]) -> None:
        """Shows a saved view in this map, in place of its layers, vectors, backgrounds and base map.

        >>> m.show_view("view.json")

        Areas that are drawn stay, and those of the view come to them; so does what no view holds, such as a marker. A
        layer that cannot be shown here is left out, and the panel says why. The map stays as it is where the file is no
        view (`DocumentError`).
        """
        told = (source if isinstance(source, View) else View.read(source)).document
        base = _base_of(told.basemap)
        faults: list[str] = []
        self.swipe()
        for old in (*self.stack(), *self.others):
            if isinstance(old, ChainTiles | VectorLayer | Background | WmsBackground):
                self.remove(old)
        self.basemap = basemaps.tiles(base)
        self.center, self.zoom = told.center, told.zoom
        for background in told.backgrounds:
            with _told(f"background {background.name!r}", faults):
                source_of = {key: value for key, value in background.source.items() if key in _SOURCE}
                source_of["attribution"] = _as_text(source_of.get("attribution", ""))
                made = self.add_background(name=background.name, opacity=background.opacity, **source_of)
                made.visible = background.visible
        for part in reversed(told.layers):
            with _told(f"layer {part.name!r}", faults):
                self.add(layer_of(part), name=part.name, visible=part.visible, opacity=part.opacity)
        for vectors in told.vectors:
            with _told(f"vectors {vectors.name!r}", faults):
                look = VectorStyle.from_json(vectors.style)
                seen = {"visible": vectors.visible, "opacity": vectors.opacity}
                self.add(vectors.features, name=vectors.name, style=look, **seen)
        if told.areas is not None:
            with _told("areas", faults):
                self._show_areas(Places.from_json(told.areas))
        self._sort(told.order)
        ids = {one.name: one.model_id for one in self.listed()}
        self.panel.groups = [
            {**group.model_dump(exclude={"layers"}), "members": members}
            for group in told.groups
            if (members := [ids[name] for name in group.layers if name in ids])
        ]
        folded = [one.name for one in told.layers if one.folded] + [one.name for one in told.vectors if one.folded]
        self.panel.closed = [ids[name] for name in folded if name in ids]
        with _told("date", faults):
            if told.date:
                self.date = told.date
        self.panel.filter = told.filter
        if told.swipe and {told.swipe.left, told.swipe.right} <= set(ids):
            self.swipe(told.swipe.left, told.swipe.right, told.swipe.at)
        self.panel.faults = faults

    def _show_areas(self: Any, places: Places) -> None:
        """Those of a view, beside what is drawn."""
        drawn = next((one for one in self.others if isinstance(one, PlacesLayer) and one.name == AREAS), None)
        if drawn is not None and len(drawn.places):
            for place in places:
                drawn.places.add(place.geometry, place.name, place.colour)
            return
        if drawn is not None:
            self.remove(drawn)
        self.add(PlacesLayer(places, name=AREAS))

    def _base_part(self: Any) -> BaseMapPart:
        entry = next(one for one in self.panel.basemaps if one["name"] == self.panel.basemap)
        if holds_secret(entry["url"]):
            raise NotShown(f"the address of the base map {entry['name']!r} holds a key of yours, which would be in the "
                           "file: choose another base map first")  # fmt: skip
        return BaseMapPart(name=entry["name"], url=entry["url"], attribution=entry["attribution"])

    def _view(self: Any) -> View:
        """The view as it is now."""
        names = {entry["id"]: entry["name"] for entry in self.panel.layers}
        left_out = []
        layers, vectors = [], []
        for one in reversed(self.listed()):
            folded = one.model_id in self.panel.closed
            if isinstance(one, VectorLayer):
                vectors.append(VectorPart(**one.to_json(), folded=folded))
                continue
            look = {"visible": one.visible, "opacity": one.opacity, "folded": folded}
            try:
                layers.append(part_of(one.name, one.shown, **look))
            except NotFound:
                left_out.append(f"layer {one.name!r}, of which no scene is found,")
        areas = [one for one in self.others if isinstance(one, PlacesLayer) and one.name == AREAS and len(one.places)]
        grounds = [one for one in self.others if isinstance(one, Background | WmsBackground)]
        for ground in grounds:
            if holds_secret(ground.source["url"]):
                raise NotShown(
                    f"the address of the background {ground.name!r} holds a key of yours, which would be in the file: "
                    f"remove it first, m.remove({ground.name!r})"
                )
        known = {id(one) for one in (*self.listed(), *areas, *grounds)}
        left_out += [
            f"{type(one).__name__} {one.name!r}" if getattr(one, "name", "") else type(one).__name__
            for one in self.others if id(one) not in known and getattr(one, "name", "") != AREAS
        ]  # fmt: skip
        swipe = self.panel.swipe
        lat, lon = self.center
        return View(
            ViewDocument(
                type="muses:view", version=1, made_with=version("muses-lab"), center=(lat, lon), zoom=self.zoom,
                basemap=self._base_part() if self.has_base else None,
                layers=layers,
                groups=[
                    GroupPart(
                        name=one["name"], layers=[names[id] for id in names if id in one["members"]],
                        visible=one["visible"], opacity=one["opacity"], open=one["open"],
                    )
                    for one in self.panel.groups
                ],
                vectors=vectors, order=list(names.values()),
                backgrounds=[
                    BackgroundPart(name=one.name, source=one.source, visible=one.visible, opacity=one.opacity)
                    for one in grounds
                ],
                areas=areas[0].places.to_json() if areas else None,
                date=self.panel.date, filter=self.panel.filter,
                swipe=SwipePart(left=names[swipe["left"]], right=names[swipe["right"]], at=swipe["at"])
                if swipe.get("left") in names and swipe.get("right") in names else None,
                left_out=left_out,
            )
        )  # fmt: skip


_SOURCE = ("url", "layers", "matrix_set", "styles", "format", "attribution", "max_zoom")


def _base_of(part: BaseMapPart | None) -> Any:
    """What a `Map` takes as its base map."""
    if part is None:
        return "None"
    offered = {one["name"]: one["url"] for one in basemaps.offered()}
    if offered.get(part.name) == part.url:
        return part.name
    if not part.url.startswith("https://"):
        raise NotShown(f"the view's base map {part.name!r} has an address that is not https: {part.url!r}")
    return part.model_dump() | {"attribution": _as_text(part.attribution)}


def _as_text(markup: Any) -> str:
    """An attribution of somebody else's file without its links: maps take attributions as HTML, and so as code."""
    return html.escape(html.unescape(re.sub(r"<[^>]*>", "", str(markup))))


@contextmanager
def _told(what: str, faults: list[str]) -> Iterator[None]:
    """Notes what cannot be shown, and goes on."""
    try:
        yield
    except (MusesError, ValueError, TypeError, KeyError, AttributeError, TraitError) as error:  # of a file of others
        faults.append(f"{what}: {first_line(error)}")
