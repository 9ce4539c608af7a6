"""What the page colours a layer's values with: palettes as tables, ranges, classes."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import numpy as np

import muses_lab as ml
from muses_lab.render import palette
from muses_lab.style import PALETTES, Kind, Style


def colours_of(layer: ml.Layer) -> dict[str, Any] | None:
    """How the page colours a layer's tiles, as `Colours` in js/types.d.ts; None where the service draws them.

    That is so of chains whose bands are neither one nor three: all of them would be sent for the few that are shown.
    """
    look, bands = layer.drawn, layer.chain.published.prepared.output.meta.bands
    if bands is not None and len(bands) not in (1, 3):
        return None
    chosen = look.bands if look.bands and bands else None
    shown = [list(bands).index(name) for name in chosen] if chosen and bands else list(range(len(bands or (1,))))
    return told(look, shown)


def told(look: Style, shown: list[int]) -> dict[str, Any]:
    """A style's colours, of the bands of these numbers."""
    kind: Kind = "rgb" if len(shown) == 3 else "classes" if look.classes else "continuous"
    low, high = look.range_of(kind)
    return {
        "kind": kind, "bands": shown, "vmin": low, "vmax": high, "gamma": look.gamma, "opacity": look.opacity,
        "cmap": look.cmap if isinstance(look.cmap, str) else None,
        "table": table(look) if kind != "rgb" else "",
        "classes": list(look.classes or ()) if kind == "classes" else [], "hidden": list(look.hidden),
    }  # fmt: skip


@cache
def offered() -> list[dict[str, str]]:
    """The palettes that are offered, in their order: {name, table}."""
    return [{"name": name, "table": table(Style(cmap=name))} for name in PALETTES]


def table(look: Style) -> str:
    """Red, green and blue of each colour from the first to the last, in base64."""
    return base64.b64encode(np.ascontiguousarray(palette(look)[1:]).tobytes()).decode()
