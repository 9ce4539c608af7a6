"""The figure of the panel of series: several series and their curves, drawn by the library, made to fit a panel."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from muses_lab.tables.kept import KeptSeries
from muses_widgets import bokehplots

# What draws (HoloViews, Bokeh) is imported at the first plot: it takes seconds.

_LEFT = 56
"""Pixels left of a plot."""
HEIGHT = 280
"""Pixels, as in js/series/panel.css."""
_COUNTS = 72
"""Of these for the valid pixels of polygons."""
DATE_COLOUR = "#8f5fe8"
"""Of the lines at the dates that the map shows."""


def series_item(
    drawn: Sequence[KeptSeries], overlays: Sequence[str], by_year: bool, dates: Sequence[np.datetime64 | None]
) -> str:
    """Series with their curves; a line stands at each of the dates that the map shows."""
    import holoviews as hv

    from muses_lab.tables import drawing

    def fit(plot: Any, _: Any) -> None:
        _fit(plot.state, by_year, dates)

    polygons: list[Any] = [] if by_year else [one for one in drawn if "count" in one.rows]
    height = HEIGHT - (_COUNTS if polygons else 0)
    look = {
        "responsive": True, "height": height, "show_legend": False, "toolbar": "above", "padding": 0.06,
        "hooks": [drawing.on_paper, fit],
    }  # fmt: skip
    series: list[Any] = list(drawn)
    above = drawing.plot(series, () if by_year else overlays, by_year, look)
    if not polygons:
        return bokehplots.item(above)

    def fit_counts(plot: Any, _: Any) -> None:
        _ticks(plot.state, 6, 2)

    below: dict[str, Any] = {
        "responsive": True,
        "height": _COUNTS,
        "toolbar": None,
        "default_tools": [],
        "ylabel": "pixels",
    }
    bars = drawing.counts(polygons, {**below, "hooks": [drawing.on_paper, fit_counts]})
    return bokehplots.item(hv.Layout([above, bars]).cols(1).opts(merge_tools=False, backend="bokeh"))


def _fit(figure: Any, by_year: bool, dates: Sequence[np.datetime64 | None]) -> None:
    """Few ticks in small letters, the tools, and the lines at the map's dates, which the page moves."""
    from bokeh.models import BoxZoomTool, HoverTool, PanTool, ResetTool, SaveTool, WheelZoomTool
    from bokeh.models.annotations import Span

    _ticks(figure, 6, 4)
    figure.ygrid[0].visible = True
    pan = PanTool(dimensions="width")
    zoom = WheelZoomTool(dimensions="width", modifiers="ctrl")  # without Ctrl the page scrolls
    hovers = [tool for tool in figure.toolbar.tools if isinstance(tool, HoverTool)]
    for tool in hovers:
        tool.visible = False
    figure.toolbar.tools = [pan, BoxZoomTool(), zoom, ResetTool(), SaveTool(), *hovers]
    figure.toolbar.active_drag = pan
    figure.toolbar.active_scroll = zoom
    figure.toolbar.logo = None
    figure.toolbar.autohide = True
    for number, dash in enumerate(("solid", "dashed")):
        date = dates[number] if number < len(dates) and not by_year else None
        line = Span(
            location=milliseconds(date) if date is not None else 0, dimension="height", line_color=DATE_COLOUR,
            line_width=1.5, line_dash=dash, visible=date is not None, name=f"muses-date-{number}",
        )  # fmt: skip
        figure.add_layout(line)


def other_shade(colour: str) -> str:
    """Of a colour: what is of the same place and another quantity."""
    hue, light, full = colorsys.rgb_to_hls(*to_rgb(colour))
    return to_hex(colorsys.hls_to_rgb(hue, light + (0.22 if light < 0.6 else -0.22), 0.8 * full))


def _ticks(figure: Any, along: int, up: int) -> None:
    """Few ticks in small letters; labels of axes of plots above each other take the same room."""
    figure.min_border = 2
    figure.min_border_left = _LEFT
    figure.min_border_right = 8
    figure.outline_line_color = None
    for axes, ticks in ((figure.xaxis, along), (figure.yaxis, up)):
        for axis in axes:
            axis.ticker.desired_num_ticks = ticks
            axis.ticker.num_minor_ticks = 0
            axis.major_label_text_font_size = "10px"
            axis.axis_label_text_font_size = "11px"
            axis.axis_label_text_font_style = "normal"
            axis.major_tick_in = 0
            axis.major_tick_out = 3


def legend(drawn: Sequence[KeptSeries], curves: Sequence[str]) -> dict[str, Any]:
    """What the page writes beside the plot: {series: [{name, colour}], sensors: [{name, symbol}], masked, curves}."""
    from muses_lab.tables import drawing
    from muses_lab.tables.observed import MASKED, families

    told = [one.rows[one.rows["scene"].astype(bool)] for one in drawn]  # where no scene is there is no sensor
    sensors = dict.fromkeys(family for rows in told for family in families(rows["platform"]))
    masked = any("state" in one.rows and (one.rows["state"] == MASKED).any() for one in drawn)
    symbols = [drawing.SYMBOLS[n % len(drawing.SYMBOLS)] for n in range(len(sensors))]
    return {
        "series": [{"name": one.name, "colour": one.colour} for one in drawn],
        "sensors": [{"name": name, "symbol": symbol} for name, symbol in zip(sensors, symbols, strict=True)],
        "masked": masked,
        "curves": [name.replace("_", " ") for name in curves],
    }  # fmt: skip


def findings(drawn: Sequence[KeptSeries], curves: Sequence[str]) -> list[str]:
    """What trends and breaks are, with how sure they are."""
    found = []
    for one in drawn:
        unit = "" if one.unit in ("", "1") else f" {one.unit}"
        if "trend" in curves:
            trend = one.trend()
            slope, low, high, p = (
                float(trend[name].values.flat[0]) for name in ("slope", "slope_low", "slope_high", "p")
            )
            if np.isfinite(slope) and np.isfinite(p):
                found.append(
                    f"{one.name}: trend {slope:+.3g}{unit} a year ({low:+.3g} to {high:+.3g}, 95 %), p {p:.2g}"
                )
        if "breaks" in curves:
            breaks = one.breaks()
            date, size, p = (breaks[name].values.flat[0] for name in ("date", "size", "p"))
            if not np.isnat(date):
                found.append(f"{one.name}: break {str(date)[:10]}, by {float(size):+.3g}{unit}, p {float(p):.2g}")
    return found


def milliseconds(time: np.datetime64 | pd.Timestamp) -> float:
    """Since 1970, as JavaScript has times."""
    return pd.Timestamp(time).value / 1e6
