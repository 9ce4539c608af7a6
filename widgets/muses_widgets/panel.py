"""The panel of a map: its browser part is plain JavaScript in `js/`, this is what it shares with the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import traitlets as t
from ipywidgets import DOMWidget, widget_serialization

from muses_lab.plain import Status
from muses_widgets.colours import offered
from muses_widgets.modules import JS, joined
from muses_widgets.sections import Section, scripts, styles
from muses_widgets.threads import TURN, Told

_WORST = ("loading", "failed", "partial", "not shown", "ok", "empty", "hidden")
"""States of layers; the first of them that one has is the map's."""


def joined_state(layers: Iterable[Mapping[str, Any]]) -> str:
    """The state of several layers as one; `ok` of none."""
    there = {layer["state"] for layer in layers}
    return next((state for state in _WORST if state in there), "ok")


_SHEETS = ("panel.css", "layerlist.css", "palettes.css", "leaflet.css")


class Panel(Told):
    """Layer list, legends and status of one `Map`, and the sections: `muses_widgets.sections`."""

    _esm = joined(JS / "panel.js", also=scripts())
    _css = "\n".join(path.read_text("utf-8") for path in (*map(JS.joinpath, _SHEETS), *styles()))

    # As `PanelTraits` in js/types.d.ts.
    map = t.Instance(DOMWidget).tag(sync=True, **widget_serialization)
    layers: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """Top layer first. Of a chain {id (of the layer's model), name, chain, style, private (whether it runs code of the
    notebook), legend, colours (see `colours.colours_of`), remarks, bounds (west, south, east, north in degrees of what
    it shows, or None)}; one without scenes has, in place of the last seven, `empty`: the sentence that says so. One
    with dates has `frames`: {label, date, time, chain, platforms, orbits, clouds} of each, and `period`: {name,
    reducer} of what they are made. Features have {id, name, features (how many), legend, note, bounds}."""
    groups: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """See `groups.Group`. Members of one stand together in `layers`."""
    closed: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    """Ids of the layers whose rows show no more than their head."""
    date = t.Unicode().tag(sync=True)
    """The date that layers with dates show: a day, or a time in UTC."""
    filter: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{platform, orbit, clouds (per cent at most), start, end (days, both included)}: which of the dates the bar moves
    through; what it has not is not asked for."""
    base = t.Unicode().tag(sync=True)
    """Model id of the base map's tile layer."""
    basemaps: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """{name, url, attribution, online}: what the panel offers; nothing is loaded before it is chosen."""
    basemap = t.Unicode().tag(sync=True)
    clicked: t.List[float] = t.List(allow_none=True, default_value=None).tag(sync=True)
    """[lat, lon] of the last click."""
    swipe: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{left, right (ids of layers), at (share of the width)}: the layers that are compared; empty: none."""
    palettes: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """{name, table}: what the layers' rows offer; see `colours.offered`."""
    folded = t.Bool(False).tag(sync=True)
    faults: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    """What of an opened view cannot be shown here, each with its reason."""
    sections: t.Dict[str, Any] = t.Dict(t.Dict()).tag(sync=True)
    """What the parts of the sections in the kernel tell those in the browser, by the section's name."""

    shown: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{layers: {id: {chain, style, state, why, tiles, scenes}}}: what the page that shows the map tells of it; empty as
    long as none does."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(palettes=offered(), **traits)
        self._parts: dict[str, Section] = {}
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        names = ", ".join(repr(entry["name"]) for entry in self.layers) or "no layers"
        return f"<Panel of {names}: {self.status()['state']}>"

    def layer_state(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of one of the `layers`: its state, and why it is that."""
        if "empty" in entry:
            return {"state": "empty", "why": [entry["empty"]]}
        if not self.shown:
            return {"state": "not shown", "why": ["no page shows the map"]}
        told = self.shown["layers"].get(entry["id"])
        if told is None:
            return {"state": "hidden", "why": []}
        if "features" in entry:
            return {"state": told["state"], "why": told["why"]}
        chains = {entry["chain"], *(frame["chain"] for frame in entry.get("frames", ()))}
        if told["chain"] not in chains or told["style"] != entry["style"]:
            return {"state": "loading", "why": []}  # the page is still at what was there before
        return {name: value for name, value in told.items() if name not in ("chain", "style")}

    def status(self) -> Status:
        """The state of the layers and of the sections that do something; `print` gives JSON."""
        layers = {entry["name"]: self.layer_state(entry) for entry in self.layers}
        sections = {
            name: {"state": told["state"], "why": told.get("text") or None}
            for name, told in self.sections.items()
            if "state" in told
        }
        return Status(kind="panel", state=joined_state(layers.values()), layers=layers, sections=sections)

    def connect(self, parts: Iterable[Section]) -> None:
        """Lets the browser's parts of sections reach those in the kernel."""
        self._parts = {part.name: part for part in parts}

    def tell(self, section: str, state: dict[str, Any]) -> None:
        """Tells the browser's part of a section."""
        with TURN:  # exports tell from threads of their own
            self.sections = {**self.sections, section: state}

    def show_problem(self, text: str) -> None:
        """Shows a sentence at the head of the panel until the user dismisses it."""
        self.send({"kind": "problem", "text": text})

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        part = self._parts.get(message.get("section", ""))
        if part is None:
            return
        self.send({"kind": "heard", "section": part.name})
        try:
            part.receive(message)
        except Exception as error:  # a message from the browser has no cell in which an error could appear
            self.show_problem(str(error) or type(error).__name__)
