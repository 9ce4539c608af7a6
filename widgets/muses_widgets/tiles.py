"""A chain among the layers of an ipyleaflet map."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import ipyleaflet

import muses_lab as ml
from muses_lab.api.frames import Frame, last_until
from muses_lab.errors import NoScenes, NotFound
from muses_lab.service.private_chains import NAME as PRIVATE
from muses_lab.service.value_tile import VERSION
from muses_widgets import service
from muses_widgets.colours import colours_of
from muses_widgets.inputs import NotShown
from muses_widgets.legend import legend_of
from muses_widgets.placing import bounds_of

MAX_ZOOM = 20
_REMARKS = 50
"""So many remarks on scenes are told by the panel; the chain's `.problems` has all."""
NOWHERE = [[-89.9, -179.9], [-89.8, -179.8]]
"""Bounds of a layer for which no tile is asked for until the panel's code is there, which takes them off
(js/mapview.js): Leaflet would ask the browser itself, which knows no `muses:` and says so in its console."""
CLEAR_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


class ChainTiles(ipyleaflet.TileLayer):
    """The tiles of a chain, or of one of its dates at a time; what is shown is where ipyleaflet has it, in the map's
    `layers`."""

    def __init__(self, layer: ml.Layer | ml.TimeLayer, name: str, date: str = "") -> None:
        self._again = 0
        self._take(layer, date)
        super().__init__(name=name, max_zoom=MAX_ZOOM, url=self._address(), bounds=NOWHERE)
        self.observe(self._follow, "url")

    def _take(self, shown: ml.Layer | ml.TimeLayer, date: str) -> None:
        """Takes what is shown, all of it or, where it cannot be shown, nothing."""
        over = shown if isinstance(shown, ml.TimeLayer) else None
        try:
            layers = [shown] if isinstance(shown, ml.Layer) else shown.layers()
            if not layers:
                raise NoScenes("no scene fits the chain's dates, place and filter")
            legend = legend_of(layers[0])  # before anything is published: what cannot be drawn is an error of the cell
            names = _handed_over(layers) if layers[0].chain.is_private else _published(shown)
            frame = _number(over, date)
            told = {**_entry(layers[0].chain, *names[frame]), "legend": legend, "colours": colours_of(layers[0])}
            told["bounds"] = bounds_of(layers)
            if over is not None:
                told["frames"] = [_frame(one, chain) for one, (chain, _) in zip(over.over, names, strict=True)]
                told["period"] = {"name": over.over.period, "reducer": over.over.reducer}
        except NoScenes as nothing:
            layers, frame, told = [shown] if isinstance(shown, ml.Layer) else [], 0, {"empty": str(nothing)}
        self.over, self._layers, self._frame, self._told = over, layers, frame, told

    @property
    def layer(self) -> ml.Layer:
        """What is shown: of a layer with dates, that of the date."""
        if not self._layers:
            raise NotFound(self._told["empty"])
        return self._layers[self._frame]

    @property
    def is_empty(self) -> bool:
        """Whether no scene fits the chain's dates, place and filter."""
        return "empty" in self._told

    def _address(self) -> str:
        if self.is_empty:
            return CLEAR_PIXEL
        told = self._told
        if told["colours"]:  # of any style
            address = f"muses:tiles/{told['chain']}/{{z}}/{{x}}/{{y}}.{VERSION}"
        else:
            address = f"muses:tiles/{told['chain']}/{told['style']}/{{z}}/{{x}}/{{y}}.png"
        return f"{address}?again={self._again}" if self._again else address

    def show(self, layer: ml.Layer | ml.TimeLayer, before_loading: Callable[[], None], date: str = "") -> None:
        """Shows another layer in its place; `before_loading` is called before the page asks for its tiles."""
        before = self._address()
        self._take(layer, date)
        before_loading()
        if self._told.get("private") and self._address() == before:
            self._again += 1  # tiles that failed, for lack of the code or of what it reads, are asked for again
        self.url = self._address()

    def show_date(self, date: str) -> None:
        """Of a layer with dates that of this one (see `api.frames.as_date`), the last one of an empty text; nothing is
        told to the panel."""
        if self.over is not None and not self.is_empty:
            self._frame = _number(self.over, date)
            self._told["chain"] = self._told["frames"][self._frame]["chain"]
            self.url = self._address()

    def _follow(self, change: Any) -> None:
        """The page has chosen a date: it asks for another chain's tiles."""
        if change["new"] == self._address():
            return
        for number, frame in enumerate(self._told.get("frames", ())):
            if f"/{frame['chain']}/" in change["new"]:
                self._frame = number
                self._told["chain"] = frame["chain"]
        self.url = self._address()  # another one where the page did not know yet what is shown now

    @property
    def entry(self) -> dict[str, Any]:
        """What the panel is told of it, see `Panel.layers`."""
        return {"id": self.model_id, "name": self.name, **self._told}

    @property
    def shown(self) -> ml.Layer | ml.TimeLayer:
        """What was given to be shown."""
        return self.layer if self.over is None else self.over

    @property
    def chain(self) -> Any:
        """What is shown, with all of its dates."""
        return self.over.over.cube if self.over is not None else self.layer.chain

    def shows(self, item: ml.Layer | ml.TimeLayer | ml.Chain) -> bool:
        """Whether that is what is shown, or its chain."""
        if isinstance(item, ml.Chain):
            return self.chain.identical(item)
        return self.shown.hash == item.hash


def _number(over: ml.TimeLayer | None, date: str) -> int:
    """Of the frame that is shown at a date."""
    if over is None:
        return 0
    return last_until(over.over, date) if date else len(over) - 1


def _frame(frame: Frame, chain: str) -> dict[str, Any]:
    clouds = frame.facts.cloud_cover
    return {
        "label": frame.label, "date": frame.date, "time": f"{frame.time.astype('M8[us]')}Z", "chain": chain,
        "platforms": list(frame.facts.platforms), "orbits": list(frame.facts.orbits),
        "clouds": round(clouds, 1) if isfinite(clouds) else None,
    }  # fmt: skip


def _entry(chain: Any, name: str, style: str) -> dict[str, Any]:
    problems = chain.problems
    return {
        "chain": name,
        "style": style,
        "private": chain.is_private,
        "remarks": {"count": len(problems), "shown": list(problems[:_REMARKS])},
    }


def _published(shown: ml.Layer | ml.TimeLayer) -> list[tuple[str, str]]:
    """Names of chain and style in tiles' addresses, of a layer or of each of its dates."""
    return shown.publish() if isinstance(shown, ml.TimeLayer) else [shown.publish()]


def _handed_over(layers: list[ml.Layer]) -> list[tuple[str, str]]:
    """Gives the service layers whose chains are private; returns the names of chain and style in tiles' addresses.

    Without a service (in a plain script) the map can be made and saved all the same, as with any chain.
    """
    names = []
    for layer in layers:
        sealed = layer.sealed()
        limit = service.give_private(sealed.body)
        needed = len(sealed.body) * len(layers)
        if limit is not None and needed > limit:
            raise NotShown(
                f"the {len(layers)} dates of a layer with an operator of your own take about "
                f"{needed / 1e6:.1f} MB, and the Jupyter server keeps {limit / 1e6:.1f} MB "
                "(MUSES_PRIVATE_BYTES): choose fewer dates, or longer periods"
            )
        names.append((PRIVATE + sealed.chain, sealed.style))
    return names
