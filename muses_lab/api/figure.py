"""A layer as a figure of matplotlib: its picture on a window, with the legend of its style and a scale."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib import colors, pyplot
from matplotlib.cm import ScalarMappable
from matplotlib.patches import Patch
from odc.geo.geobox import GeoBox
from PIL import Image

from muses_lab.compute.windows import Pixels
from muses_lab.export.sheet import scale_bar
from muses_lab.render import render
from muses_lab.style import Style

_WIDTH = 7.0
"""Inches."""
_SHARE = 0.25
"""Of the picture's width, that the scale has at most."""


def figure(pixels: Pixels, look: Style, window: GeoBox, title: str | None, axes: Any) -> Any:
    """Draws pixels of a window into axes, or into new ones; returns these."""
    if axes is None:
        rows, columns = window.shape
        _, axes = pyplot.subplots(figsize=(_WIDTH, max(2.0, _WIDTH * min(3.0, rows / columns))), layout="constrained")
    image = Image.open(io.BytesIO(render(pixels.values, look, pixels.bands))).convert("RGBA")
    left, bottom, right, top = window.boundingbox
    axes.imshow(image, extent=(left, right, bottom, top), interpolation="nearest")
    axes.set(title=title or "", xlabel=_axis(window, "x"), ylabel=_axis(window, "y"))
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.locator_params(nbins=5)
    _legend(axes, look)
    _scale(axes, window)
    return axes


def _axis(window: GeoBox, axis: str) -> str:
    crs = window.crs
    if crs is None:
        return axis
    if crs.geographic:
        return {"x": "longitude (°)", "y": "latitude (°)"}[axis]
    return f"{axis} (m, {crs})" if axis == "x" else f"{axis} (m)"


def _legend(axes: Any, look: Style) -> None:
    """As `Style.legend` tells it."""
    legend = look.legend()
    unit = f"({legend['unit']})" if legend["unit"] else ""
    text = " ".join(filter(None, (legend["label"], unit)))
    match legend["kind"]:
        case "continuous":
            palette = colors.LinearSegmentedColormap.from_list("layer", [tuple(stop) for stop in legend["stops"]], 1024)
            norm = colors.Normalize(legend["vmin"], legend["vmax"])
            bar = axes.figure.colorbar(ScalarMappable(norm, palette), ax=axes, shrink=0.8, label=text)
            bar.set_ticks([t["value"] for t in legend["ticks"]], labels=[t["label"] for t in legend["ticks"]])
        case "classes":
            entries = [
                Patch(facecolor=one["colour"], edgecolor="#888", label=one["label"])
                for one in legend["entries"]
                if not one.get("hidden")
            ]
            axes.legend(handles=entries, title=text or None, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
        case _:
            names = legend["bands"] or ("red", "green", "blue")
            entries = [Patch(color=c, label=n) for c, n in zip(("#d32f2f", "#2e7d32", "#1565c0"), names, strict=True)]
            stretch = f"stretched from {legend['vmin']:g} to {legend['vmax']:g}"
            axes.legend(handles=entries, title="\n".join(filter(None, (text, stretch))), loc="upper left",
                        bbox_to_anchor=(1.01, 1), frameon=False)  # fmt: skip


def _scale(axes: Any, window: GeoBox) -> None:
    """A bar of a round length on the ground, in the middle of the window."""
    bar = scale_bar(window, _SHARE)
    if bar is None:
        return
    text, share = bar
    ends = np.array([0.03, 0.03 + share])
    axes.plot(ends, [0.04, 0.04], color="white", linewidth=5, transform=axes.transAxes, solid_capstyle="butt")
    axes.plot(ends, [0.04, 0.04], color="black", linewidth=3, transform=axes.transAxes, solid_capstyle="butt")
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    axes.text(ends.mean(), 0.055, text, ha="center", va="bottom", fontsize=8, color="black", bbox=box,
              transform=axes.transAxes)  # fmt: skip
