"""A chain among the layers of an ipyleaflet map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipyleaflet

import muses_lab as ml
from muses_lab.errors import NoScenes
from muses_lab.service.private_chains import NAME as PRIVATE
from muses_widgets import service
from muses_widgets.legend import legend_of

MAX_ZOOM = 20
_REMARKS = 50
"""So many remarks on scenes are told by the panel; the chain's `.problems` has all."""
CLEAR_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


class ChainTiles(ipyleaflet.TileLayer):
    """The tiles of a chain; what is shown is where ipyleaflet has it, in the map's `layers`."""

    def __init__(self, layer: ml.Layer, name: str) -> None:
        self._again = 0
        self._take(layer)
        super().__init__(name=name, max_zoom=MAX_ZOOM, url=self._address())

    def _take(self, layer: ml.Layer) -> None:
        try:
            legend = legend_of(layer)
            private = layer.chain.is_private
            chain, style = _handed_over(layer) if private else layer.publish()
            problems = layer.chain.problems
            remarks = {"count": len(problems), "shown": list(problems[:_REMARKS])}
            told: dict[str, Any] = {
                "chain": chain, "style": style, "private": private, "legend": legend, "remarks": remarks,
            }  # fmt: skip
        except NoScenes as nothing:
            told = {"empty": str(nothing)}
        self.layer = layer
        self._told = told

    @property
    def is_empty(self) -> bool:
        """Whether no scene fits the chain's dates, place and filter."""
        return "empty" in self._told

    def _address(self) -> str:
        if self.is_empty:
            return CLEAR_PIXEL
        address = f"muses:tiles/{self._told['chain']}/{self._told['style']}/{{z}}/{{x}}/{{y}}.png"
        return f"{address}?again={self._again}" if self._again else address

    def show(self, layer: ml.Layer, before_loading: Callable[[], None]) -> None:
        """Shows another layer in its place; `before_loading` is called before the page asks for its tiles."""
        before = self._address()
        self._take(layer)
        before_loading()
        if self._told.get("private") and self._address() == before:
            self._again += 1  # tiles that failed, for lack of the code or of what it reads, are asked for again
        self.url = self._address()

    @property
    def entry(self) -> dict[str, Any]:
        """What the panel is told of it, see `Panel.layers`."""
        return {"id": self.model_id, "name": self.name, **self._told}

    def shows(self, item: ml.Layer | ml.Chain) -> bool:
        """Whether that is what is shown, or its chain."""
        if isinstance(item, ml.Chain):
            return self.layer.chain.identical(item)
        return self.layer.hash == item.hash


def _handed_over(layer: ml.Layer) -> tuple[str, str]:
    """Gives the service a layer whose chain is private; returns the names of chain and style in tiles' addresses.

    Without a service (in a plain script) the map can be made and saved all the same, as with any chain.
    """
    sealed = layer.sealed()
    service.give_private(sealed.body)
    return PRIVATE + sealed.chain, sealed.style
