"""How much of the view each date of the layers with dates has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from muses_widgets import view
from muses_widgets.sections import Section, SectionMap
from muses_widgets.sections.newest import Newest

_SIDE = 64
"""The view is looked at in so many pixels, across or down."""
_AT_ONCE = 40
"""So many dates are asked for together, that there soon is something to see."""


class Time(Section):
    """Tells of each date the share of the view that has values: {asked, bounds, zoom, layer: id of the tile layer}.

    It tells {asked, shares, busy}: a share (0 to 1) for each date, null where it is not known yet, and what failed in
    `text`. As `TimeState` in js/sections/time.js.
    """

    name = "time"

    def __init__(self, map: SectionMap) -> None:
        super().__init__(map)
        self._newest = Newest("shares of the view", self._answer)

    def receive(self, message: dict[str, Any]) -> None:
        self._newest.take(message)

    def _answer(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        told = {"asked": message["asked"], "layer": message["layer"]}
        tiles = next((t for t in self.map.stack() if t.model_id == message["layer"]), None)
        if tiles is None or (over := tiles.over) is None or tiles.is_empty:
            return
        frames, cube = over.over.frames, over.over.cube  # a cell may show something else meanwhile
        shares: list[float | None] = [None] * len(frames)
        try:
            window = _coarse(message["bounds"], message["zoom"])
            for start in range(0, len(shares), _AT_ONCE):
                if is_stale():
                    return
                some = frames[start : start + _AT_ONCE]
                shares[start : start + len(some)] = _shares(cube, some, window)
                self.tell({**told, "shares": shares, "busy": None in shares})
        except Exception as error:  # nobody else would tell of it
            self.tell({**told, "shares": shares, "busy": False, "text": str(error) or type(error).__name__})


SECTION = Time


def _coarse(bounds: list[float], zoom: float) -> Any:
    window = view.window(tuple(bounds), zoom)  # type: ignore[arg-type]
    return window.zoom_out(max(1.0, max(window.shape) / _SIDE))


def _shares(cube: Any, frames: Any, window: Any) -> list[float]:
    """Of each frame the share of the window's pixels that have a value in all bands."""
    start, end = (frame.time.astype("M8[us]") for frame in (frames[0], frames[-1]))
    values = cube.dates(str(start), str(end + 1)).pixels(window).array
    valid = np.isfinite(values)
    if "bands" in values.dims:
        valid = valid.all("bands")
    there = {time: float(share) for time, share in zip(values.t.values, valid.mean(("y", "x")).values, strict=True)}
    return [there.get(frame.time, 0.0) for frame in frames]
