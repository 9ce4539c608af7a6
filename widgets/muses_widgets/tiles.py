"""A chain among the layers of an ipyleaflet map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipyleaflet

import muses_lab as ml
from muses_lab.errors import NoScenes, NotFound
from muses_lab.service.private_chains import NAME as PRIVATE
from muses_widgets import service
from muses_widgets.legend import legend_of

MAX_ZOOM = 20
_REMARKS = 50
"""So many remarks on scenes are told by the panel; the chain's `.problems` has all."""
CLEAR_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


class ChainTiles(ipyleaflet.TileLayer):
    """The tiles of a chain, or of one of its dates at a time; what is shown is where ipyleaflet has it, in the map's
    `layers`."""

    def __init__(self, layer: ml.Layer | ml.TimeLayer, name: str, date: str = "") -> None:
        self._again = 0
        self._take(layer, date)
        super().__init__(name=name, max_zoom=MAX_ZOOM, url=self._address())
        self.observe(self._follow, "url")

    def _take(self, shown: ml.Layer | ml.TimeLayer, date: str) -> None:
        self.over = shown if isinstance(shown, ml.TimeLayer) else None
        self._layers = [] if isinstance(shown, ml.TimeLayer) else [shown]
        self._frame = 0
        try:
            if isinstance(shown, ml.TimeLayer):
                self._layers = shown.layers()
                self._frame = shown.over.index(date) if date else len(self._layers) - 1
            if not self._layers:
                raise NoScenes("no scene fits the chain's dates, place and filter")
            first = self._layers[0]
            legend = legend_of(first)  # before anything is published: what cannot be drawn is an error of the cell
            private = first.chain.is_private
            names = [_handed_over(layer) if private else layer.publish() for layer in self._layers]
            problems = first.chain.problems
            told: dict[str, Any] = {
                "chain": names[self._frame][0],
                "style": names[self._frame][1],
                "private": private,
                "legend": legend,
                "remarks": {"count": len(problems), "shown": list(problems[:_REMARKS])},
            }
            if self.over is not None:
                frames = zip(self.over.over, names, strict=True)
                told["frames"] = [
                    {"label": frame.label, "time": f"{frame.time.astype('M8[ms]')}Z", "chain": chain}
                    for frame, (chain, _) in frames
                ]
        except NoScenes as nothing:
            told = {"empty": str(nothing)}
        self._told = told

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
        address = f"muses:tiles/{self._told['chain']}/{self._told['style']}/{{z}}/{{x}}/{{y}}.png"
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
        """Of a layer with dates that of this one; nothing is told to the panel."""
        if self.over is not None and not self.is_empty:
            self._frame = self.over.over.index(date)
            self._told["chain"] = self._told["frames"][self._frame]["chain"]
            self.url = self._address()

    def _follow(self, change: Any) -> None:
        """The page has chosen a date: it asks for another chain's tiles."""
        for number, frame in enumerate(self._told.get("frames", ())):
            if f"/{frame['chain']}/" in change["new"]:
                self._frame = number
                self._told["chain"] = frame["chain"]

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


def _handed_over(layer: ml.Layer) -> tuple[str, str]:
    """Gives the service a layer whose chain is private; returns the names of chain and style in tiles' addresses.

    Without a service (in a plain script) the map can be made and saved all the same, as with any chain.
    """
    sealed = layer.sealed()
    service.give_private(sealed.body)
    return PRIVATE + sealed.chain, sealed.style
