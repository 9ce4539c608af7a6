"""The histogram of what is seen of a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import muses_lab as ml
from muses_lab.compute.windows import Pixels
from muses_widgets import view
from muses_widgets.inputs import rounded
from muses_widgets.legend import legend_of
from muses_widgets.sections import Section, SectionMap
from muses_widgets.sections.newest import Newest

BINS = 80
SHARES = (2.0, 98.0)
"""Percentiles between which "stretch to the view" spreads the colours."""
_OUTER = (0.5, 99.5)
"""Percentiles between which the bins lie: a few outliers would press all else into one of them."""
_RGB = ("#d32f2f", "#2e7d32", "#1565c0")
"""Of the bands that are shown as red, green, blue; as `js/legend.js` draws them."""


class Histogram(Section):
    """Counts the values of a layer in a view: {asked, layer, bounds, zoom}.

    It tells {asked, layer, state: busy | done | failed, text}, and of a count `low` and `high` (the ends of the bins),
    `curves` ({label, colour, counts}), `percentiles` (the 2nd and the 98th), `values` and `missing` (numbers of
    pixels). As `HistogramState` in js/sections/histogram.js.
    """

    name = "histogram"

    def __init__(self, map: SectionMap) -> None:
        super().__init__(map)
        self._newest = Newest("histogram of the view", self._count)

    def receive(self, message: dict[str, Any]) -> None:
        self._newest.take(message)

    def _count(self, message: dict[str, Any], _: Callable[[], bool]) -> None:
        """In a thread, so that cells run meanwhile; of several views the newest is counted."""
        told = {"asked": message["asked"], "layer": message["layer"]}
        try:
            self.tell({**told, "state": "busy", "text": ""})
            layer = self.tiles(message["layer"]).layer
            pixels = layer.chain.pixels(view.window(tuple(message["bounds"]), message["zoom"]))
            self.tell({**told, "state": "done", **counted(pixels, layer)})
        except Exception as error:  # nobody else would tell of it
            self.tell({**told, "state": "failed", "text": str(error) or type(error).__name__})


SECTION = Histogram


def shown_images(pixels: Pixels, layer: ml.Layer) -> np.ndarray:
    """Of the bands, those that are shown: dims of band, y, x."""
    bands = list(pixels.bands or ())
    shown = [bands.index(name) for name in layer.drawn.bands or ()] if bands else []
    return pixels.values[shown] if shown else pixels.values.reshape(1, *pixels.values.shape[-2:])


def counted(pixels: Pixels, layer: ml.Layer) -> dict[str, Any]:
    """What is told of the pixels of a view, as they are shown by a layer's style."""
    look, images = layer.drawn, shown_images(pixels, layer)
    known = [image[np.isfinite(image)].astype(float) for image in images]
    every = np.concatenate(known)
    failed = [reason for _, reason in pixels.report.failed]
    left_out = f"{len(failed)} scene(s) could not be read and were left out" if failed else ""
    numbers = {"values": int(every.size), "missing": int(images.size - every.size)}
    if not every.size:
        return {**numbers, "text": left_out or "There is no value in this view.", "curves": []}
    first, low, high, last = (float(value) for value in np.percentile(every, (_OUTER[0], *SHARES, _OUTER[1])))
    legend = legend_of(layer)
    if "vmin" in legend:  # the limits are in sight, wherever they are
        first, last = min(first, legend["vmin"]), max(last, legend["vmax"])
    if first == last:
        first, last = first - 0.5, last + 0.5
    edges = np.linspace(first, last, BINS + 1)
    names = list(look.bands or ()) if len(images) > 1 else [layer.look.label or ""]
    curves = [
        # What lies beyond the ends is counted at them.
        {"label": name, "colour": colour, "counts": np.histogram(np.clip(one, first, last), edges)[0].tolist()}
        for name, colour, one in zip(names, _RGB if len(images) > 1 else ("",), known, strict=False)
    ]
    return {
        **numbers, "text": left_out, "low": first, "high": last, "curves": curves,
        "percentiles": list(rounded(low, high)),
    }  # fmt: skip
