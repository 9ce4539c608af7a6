"""Plots of HoloViews as what Bokeh draws in the page: js/bokehplots.js."""

from __future__ import annotations

import json
import threading
from typing import Any

_loading = threading.Lock()


def load_ahead() -> None:
    """Begins to import what draws, once a page shows a map: the first click then waits for 1.5 s less.

    In a thread; other threads that draw meanwhile wait for it.
    """
    if _loading.acquire(blocking=False):  # once, and never again
        threading.Thread(target=_load, name="HoloViews", daemon=True).start()


def _load() -> None:
    import holoviews.plotting.bokeh  # noqa: F401


def release() -> str:
    """The release of Bokeh that draws them."""
    import bokeh

    return bokeh.__version__


def item(drawn: Any) -> str:
    """A plot as JSON. As a text: in a notebook's file objects lose the order of their keys, which Bokeh goes by."""
    # Imported at the first plot: it takes seconds. Importing it is no `hv.extension`, which a notebook would show.
    import holoviews as hv
    import holoviews.plotting.bokeh  # noqa: F401
    from bokeh.embed import json_item
    from bokeh.models import Column, GridPlot, NoOverlap

    root = hv.render(drawn, backend="bokeh")
    if isinstance(root, GridPlot):  # whose columns do not become as wide as the page lets them be
        figures: list[Any] = [child for child, *_ in root.children]
        fills = any(figure.sizing_mode == "stretch_both" for figure in figures)
        root = Column(children=figures, sizing_mode="stretch_both" if fills else "stretch_width")
    for figure in getattr(root, "children", [root]):
        figure.xaxis.major_label_policy = NoOverlap(min_distance=8)  # the page may be a narrow one
    return json.dumps(json_item(root))
