"""A step of a chain as a layer of a map: with the dates that it has, and colours that say its values."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import muses_lab as ml
from muses_lab.api.described import is_condition
from muses_lab.errors import MusesError
from muses_widgets.inputs import NotShown

_COLOURS = ("red", "green", "blue")


def open_step(map: Any, step: ml.Chain, name: str) -> Any:
    """Adds a step under a name, and returns the layer as it is shown.

    A step with dates gets the bar of dates. Conditions are coloured from 0 to 1, red, green and blue are shown as such
    where there are these bands, of others the first; anything else gets its colours from its values in the view.
    """
    if isinstance(step, ml.Table) or not hasattr(step, "over_time"):
        raise NotShown(f"{name} is a table: it has rows and no pixels; chain.table() gives them")
    output = step.published.prepared.output
    truth = is_condition(step)
    look: dict[str, Any] = {"cmap": "Greens", "vmin": 0, "vmax": 1} if truth else {"cmap": "viridis"}
    if bands := _bands(output.meta):
        look["bands"] = bands
    layer = step.over_time().style(**look) if output.times else step.style(**look)
    made = map.add(layer, name=name)
    if truth:
        return made
    with suppress(NotShown, MusesError):  # there is no value here: the colours stay
        return map.stretch(name)
    return made


def _bands(meta: Any) -> list[str] | None:
    """Of several bands those that are shown."""
    bands = meta.bands
    if not bands or len(bands) == 1:
        return None
    named = [meta.common.get(colour, colour) for colour in _COLOURS]
    return named if all(name in bands for name in named) else [bands[0]]
