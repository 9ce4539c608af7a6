"""How clear the view is at each date of the layers with dates, and other periods for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from threading import Lock
from typing import Any

from muses_lab.api.clearness import clearness
from muses_lab.api.frames import TimeLayer
from muses_widgets import view
from muses_widgets.sections import Section, SectionMap
from muses_widgets.sections.newest import Newest

_SIDE = 64
"""The view is looked at in so many pixels, across or down."""
_AT_ONCE = 40
"""So many dates are asked for together, that there soon is something to see."""


class Time(Section):
    """Tells how clear the view is at each date; shows layers by other periods.

    `{asked, bounds, zoom, layer: id of the tile layer}` is answered by {asked, layer, basis, shares, busy}: of each
    date [clear, covered] shares (0 to 1) of the view, null where they are not known yet; `basis` says what tells clear
    pixels from others, `text` what failed. `{asked, layers: ids, period, reducer, start, end}` shows the layers by a
    period: null of each date, `range` of all dates from `start` to `end` (days; null: the first, the last); `handled`
    is the last such `asked`. As `TimeState` in js/sections/time.js.
    """

    name = "time"

    def __init__(self, map: SectionMap) -> None:
        super().__init__(map)
        self._newest = Newest("clearness of the view", self._answer)
        self._state: dict[str, Any] = {}
        self._lock = Lock()

    def receive(self, message: dict[str, Any]) -> None:
        if "period" in message:
            self._show_by_period(message)
        else:
            self._newest.take(message)

    def _tell(self, **changes: Any) -> None:
        with self._lock:
            self._state = {**self._state, **changes}
            self.tell(self._state)

    def _answer(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        tiles = next((t for t in self.map.stack() if t.model_id == message["layer"]), None)
        if tiles is None or (over := tiles.over) is None or tiles.is_empty:
            return
        frames = over.over.frames  # a cell may show something else meanwhile
        shares: list[list[float] | None] = [None] * len(frames)
        told = {"asked": message["asked"], "layer": message["layer"], "text": "", "basis": ""}
        try:
            window, found = _coarse(message["bounds"], message["zoom"]), clearness(over.over)
            told["basis"] = found.basis
            for start in range(0, len(shares), _AT_ONCE):
                if is_stale():
                    return
                some = frames[start : start + _AT_ONCE]
                shares[start : start + len(some)] = [[round(n, 4) for n in one] for one in found.shares(some, window)]
                self._tell(**told, shares=list(shares), busy=None in shares)
        except Exception as error:  # nobody else would tell of it
            self._tell(**{**told, "text": str(error) or type(error).__name__}, shares=shares, busy=False)

    def _show_by_period(self, message: dict[str, Any]) -> None:
        try:
            for tiles in self.map.stack():
                if tiles.model_id in message["layers"] and tiles.over is not None:
                    made = tiles.over.over.by(_period(message), message["reducer"])
                    self.map.add(TimeLayer(made, tiles.over.look), name=tiles.name)
        finally:
            self._tell(handled=message["asked"])


SECTION = Time


def _period(message: dict[str, Any]) -> Any:
    if message["period"] != "range":
        return message["period"]
    end = message["end"]
    return message["start"], end and str(date.fromisoformat(end) + timedelta(days=1))


def _coarse(bounds: list[float], zoom: float) -> Any:
    window = view.window(tuple(bounds), zoom)  # type: ignore[arg-type]
    return window.zoom_out(max(1.0, max(window.shape) / _SIDE))
