"""The panel of a map: its browser part is plain JavaScript in `js/`, this is what it shares with the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets as t
from ipywidgets import DOMWidget, widget_serialization

_JS = Path(__file__).parent / "js"
# One module per widget is what anywidget loads, and a saved notebook carries it: hence one text, in order of need.
_SOURCES = ("page.js", "tiles.js", "legend.js", "mapview.js", "row.js", "cluster.js", "panel.js")
_STYLES = ("panel.css", "cluster.css")


class Panel(anywidget.AnyWidget):
    """Layer list, legends, status, values at a click, export and cluster of one `Map`."""

    _esm = "\n".join((_JS / name).read_text("utf-8") for name in _SOURCES)
    _css = "\n".join((_JS / name).read_text("utf-8") for name in _STYLES)

    map = t.Instance(DOMWidget).tag(sync=True, **widget_serialization)
    layers: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """Top layer first: {id (of the tile layer's model), name, chain, style, legend}."""
    base = t.Unicode().tag(sync=True)
    """Model id of the base map's tile layer."""
    basemaps: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """{name, url, attribution, online}: what the panel offers; nothing is loaded before it is chosen."""
    basemap = t.Unicode().tag(sync=True)
    clicked: t.List[float] = t.List(allow_none=True, default_value=None).tag(sync=True)
    """[lat, lon] of the last click."""
    job: t.Dict[str, Any] = t.Dict({"state": "idle"}).tag(sync=True)
    """The export: {state: idle | running | done | failed, progress: 0..1, text, path}."""
    folded = t.Bool(False).tag(sync=True)
