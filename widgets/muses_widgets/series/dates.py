"""Single dates on a map: its layers with dates move there; where it has none, the scene of the date is a layer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.api.frames import last_until
from muses_widgets.series import words
from muses_widgets.series.images import DateImages
from muses_widgets.tiles import ChainTiles

SCENE, COMPARED = "Scene", "Compared date"
"""What the names of the layers that are added begin with; their date follows."""
_NAMED = re.compile(rf"({SCENE}|{COMPARED}) \d{{4}}-\d\d-\d\d")
_FOLLOWED = ["date", "layers", "swipe"]


class DatesOnMap:
    """Shows dates on a map, and tells which ones it shows: `told(first, second)`, in UTC, empty where there is none."""

    def __init__(self, map: Any, told: Callable[[str, str], None]) -> None:
        self._map, self._tell = map, told
        self._scene: np.datetime64 | None = None
        self._compared: np.datetime64 | None = None
        map.panel.observe(self._follow, _FOLLOWED)
        self._told()

    def leave(self) -> None:
        """Follows the map no longer."""
        self._map.panel.unobserve(self._follow, _FOLLOWED)

    def _follow(self, change: Any) -> None:
        self._told()

    @staticmethod
    def is_own(tiles: ChainTiles) -> bool:
        """Whether a layer is one of those that are added here."""
        return _NAMED.fullmatch(tiles.name) is not None

    def times(self) -> tuple[np.datetime64 | None, np.datetime64 | None]:
        """The date that the map shows, and the one that it is compared with."""
        over = self._over()
        first = None
        if over is not None:
            _, frames = over
            first = (frames.over.at(self._map.date) if self._map.date else frames.over[-1]).time
        if first is None and self._layer(SCENE):
            first = self._scene
        return first, self._compared if self._layer(COMPARED) else None

    def show(self, time: np.datetime64, images: DateImages, around: GeoBox) -> None:
        """Shows a date: by the layers with dates that are visible, else its scene."""
        over = self._over()
        if over is not None:
            _, frames = over
            self._map.date = frames.over[last_until(frames.over, _text(time))].date
        else:
            self._scene = time
            self._put(SCENE, time, images.layer(time, around))
        self._told()

    def compare(self, time: np.datetime64, images: DateImages, around: GeoBox) -> None:
        """Shows a second date right of a line that can be dragged; where no date is shown yet, it is the first."""
        over = self._over()
        if over is None and not self._layer(SCENE):
            self.show(time, images, around)
            return
        self._compared = time
        layer = images.layer(time, around) if over is None else over[1].layer(_text(time))
        compared = self._put(COMPARED, time, layer)
        self._map.swipe(self._layer(SCENE) if over is None else over[0], compared)
        self._told()

    def end_comparison(self) -> None:
        """Takes the second date off the map."""
        self._map.swipe()
        if compared := self._layer(COMPARED):
            self._map.remove(compared)
        self._told()

    def _put(self, kind: str, time: np.datetime64, layer: ml.Layer) -> str:
        """Adds the layer of a date, in the place of that of another one; returns its name, which tells the date."""
        name, before = f"{kind} {words.iso(time)[:10]}", self._layer(kind)
        if before:
            self._map.tiles(before).name = name
        self._map.add(layer, name=name, visible=True)
        return name

    def _told(self) -> None:
        self._tell(*("" if time is None else words.iso(time) for time in self.times()))

    def _over(self) -> tuple[str, ml.TimeLayer] | None:
        """Name and frames of the top layer with dates that is visible."""
        for tiles in reversed(self._map.stack()):
            if tiles.visible and tiles.over is not None and not tiles.is_empty:
                return tiles.name, tiles.over
        return None

    def _layer(self, kind: str) -> str:
        """The name of the layer of a kind that is on the map; empty where there is none."""
        own = [tiles.name for tiles in self._map.stack() if self.is_own(tiles)]
        return next((name for name in own if name.startswith(kind)), "")


def _text(time: np.datetime64) -> str:
    return words.iso(time).replace("T", " ")
