"""The series of the clicked place: what each visible layer is made of there, date by date, drawn by HoloViews."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import to_hex

from muses_lab.operators import registry
from muses_lab.series import Dated, Point, dated, series_there
from muses_widgets import bokehplots
from muses_widgets.sections import Section, SectionMap
from muses_widgets.sections.newest import Newest
from muses_widgets.series.expressions import same_quantity
from muses_widgets.series.words import FIRST, LONG, iso
from muses_widgets.tiles import ChainTiles

_NAMED = {name: to_hex(f"tab:{name}") for name in ("red", "green", "blue")}
"""Colours of the curves of bands that are named so."""
_COLOURS = tuple(to_hex(f"tab:{name}") for name in ("orange", "purple", "cyan", "brown", "pink", "olive", "gray"))
"""Of other curves: they can be told apart on light and on dark paper."""


class Series(Section):
    """Draws the series of a place: {asked, place: [longitude, latitude], layers: [id of the tile layer, …]}.

    It tells {asked, place, busy, plots, bokeh}: what was asked, whether more plots follow, and the release of Bokeh
    that draws them. A plot is {key, title, text} of one or more layers, and where there is a series its `quantity`,
    its `curves` ({label, colour}; none where it is one) and the `item` for Bokeh. As `SeriesState` in
    js/sections/series.js.
    """

    name = "series"

    def __init__(self, map: SectionMap) -> None:
        super().__init__(map)
        self._newest = Newest("series of the clicked place", self._answer)
        map.panel.observe(lambda change: bokehplots.load_ahead(), "shown")

    def receive(self, message: dict[str, Any]) -> None:
        """Computes in a thread, so that the notebook's cells run meanwhile; what was asked before is given up."""
        self._newest.take(message)

    def _answer(self, message: dict[str, Any], is_stale: Callable[[], bool]) -> None:
        plots: list[dict[str, Any]] = []  # never changed in place: what is told is compared with what was told before
        told = {"asked": message["asked"], "place": message["place"]}
        try:
            shown = [t for t in reversed(self.map.stack()) if t.model_id in message["layers"]]
            for number, plot in _plots(shown, tuple(message["place"])):
                if is_stale():
                    break
                plots = [*plots[:number], plot]
                self.tell({**told, "plots": plots, "busy": True, "bokeh": bokehplots.release()})
            else:
                self.tell({**told, "plots": plots, "busy": False, "bokeh": bokehplots.release()})
        except Exception as error:  # nobody else would tell of it
            text = f"The series could not be drawn: {str(error) or type(error).__name__}"
            failed = {"key": text, "title": "", "text": text, "failed": True}
            self.tell({**told, "plots": [*plots, failed], "busy": False, "bokeh": ""})


SECTION = Series


@dataclass
class _Group:
    """Layers that are made of the same series."""

    parts: list[Dated]
    layers: list[ChainTiles]

    @property
    def title(self) -> str:
        return ", ".join(tiles.name for tiles in self.layers)


def _plots(shown: list[ChainTiles], place: Point) -> Iterator[tuple[int, dict[str, Any]]]:
    """One plot after the other with its number, as they are computed: of a long series the newest dates first."""
    groups: dict[Any, _Group] = {}
    for tiles in shown:
        if tiles.is_empty:
            groups[tiles.model_id] = _Group([], [tiles])
            continue
        parts = dated(tiles.chain.published)
        key = tuple(part.published.chain_hash for part in parts)
        groups.setdefault(key, _Group(parts, [])).layers.append(tiles)
    for number, group in enumerate(groups.values()):
        try:
            if (dates := _dates(group)) > LONG:
                first = _plot(_Group([_newest(part) for part in group.parts], group.layers), place)
                if "item" in first:
                    yield number, {**first, "text": f"The newest dates, of {dates}; the others are being read."}
            yield number, _plot(group, place)
        except Exception as error:  # of one layer: the others have their plots
            text = str(error) or type(error).__name__
            yield number, {"key": str(error), "title": group.title, "text": text, "failed": True}


def _dates(group: _Group) -> int:
    """Of the part that has most."""
    return max((len(part.published.prepared.output.times) for part in group.parts), default=0)


def _newest(part: Dated) -> Dated:
    """The last dates of a part."""
    times = part.published.prepared.output.times
    first, last = times[-FIRST:][0], times[-1].astype("M8[us]")
    extent = [f"{iso(first)}Z", f"{iso(last + 1)}Z"]
    root = registry.node("filter_temporal", data=part.published.root, extent=extent)
    return Dated(replace(part.published, root=root), part.label)


def _plot(group: _Group, place: Point) -> dict[str, Any]:
    """What is told of one group."""
    key = f"{place} {' '.join(part.published.chain_hash for part in group.parts)} {group.title}"
    plot = {"key": key, "title": group.title}
    dates = _dates(group)
    if dates < 2:
        return {**plot, "text": "It has one date, so there is no series." if dates else "There is no scene."}
    series = [(part.label, series_there(part, place)) for part in group.parts]
    if not any(array.attrs["scenes_found"] for _, array in series):
        return {**plot, "text": "No scene lies here."}
    look = next((t.layer.look for t in group.layers if t.over or same_quantity(t.chain.published.root)), None)
    classes = {entry["value"]: entry["label"] for entry in look.legend().get("entries", ())} if look else {}
    unit = (look.unit if look else None) or ""
    several = len(group.parts) > 1
    curves = [
        (label, _table(values, array, label, unit, classes))
        for n, (band, array) in enumerate(series, 1)
        for label, values in _curves(array, band or (str(n) if several else ""))
    ]
    told = _told([table for _, table in curves], [array for _, array in series], unit)
    if not any(table["value"].notna().any() for _, table in curves):
        return {**plot, "text": told}
    colours = _colours([label for label, _ in curves])
    labels = [{"label": label, "colour": colour} for (label, _), colour in zip(curves, colours, strict=True)]
    name = (look.label if look else None) or ""
    return {
        **plot,
        "text": told,
        "quantity": f"{name} ({unit})" if name and unit else name or unit,
        "curves": labels if len(labels) > 1 else [],
        "item": _item([table for _, table in curves], colours),
    }


def _curves(array: xr.DataArray, label: str) -> Iterator[tuple[str, np.ndarray]]:
    """Label and values of each band."""
    if "bands" not in array.dims:
        yield label, array.values
        return
    for band in array.bands.values:
        name = str(band)
        yield (f"{label} {name}" if label else name), array.sel(bands=band).values


def _table(values: np.ndarray, array: xr.DataArray, label: str, unit: str, classes: dict[float, str]) -> pd.DataFrame:
    """A row for each date: what is drawn, and what is told of it where the pointer is."""
    times = pd.DatetimeIndex(array.t.values)

    def text(value: float) -> str:
        number = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
        return f"{classes[value]} ({number})" if value in classes else f"{number} {unit}".strip()

    return pd.DataFrame(
        {
            "t": times,
            "value": values.astype(float),
            "curve": label,
            "date": times.strftime("%Y-%m-%d %H:%M"),
            "text": [text(value) for value in values],
            "scene": [line.partition(" ")[2] for line in array.attrs["scenes"]],
        }
    )


def _told(tables: list[pd.DataFrame], arrays: list[xr.DataArray], unit: str) -> str:
    """The plot in words."""
    rows = pd.concat(tables)
    valid = rows[rows["value"].notna()]
    dates = rows["t"].nunique()
    failed = len({line for array in arrays for line in array.attrs.get("scenes_failed", ())})
    left_out = f"; {failed} scene{'s' * (failed > 1)} left out" if failed else ""
    if valid.empty:
        return f"No value on any of {dates} dates{left_out}."
    low, high = valid["value"].min(), valid["value"].max()
    return f"{valid['t'].nunique()} of {dates} dates, {low:.4g} to {high:.4g} {unit}".strip() + left_out


# Drawing


def _colours(labels: list[str]) -> list[str]:
    if len(labels) == 1:
        return [_NAMED["blue"]]
    others = itertools.cycle(_COLOURS)
    return [_NAMED.get(label) or next(others) for label in labels]


def _item(tables: list[pd.DataFrame], colours: list[str]) -> str:
    """The plot for Bokeh in the page: lines with gaps where values are missing, and a point for each value."""
    import holoviews as hv  # at the first click: it takes seconds
    import holoviews.plotting.bokeh  # noqa: F401

    drawn = []
    for table, colour in zip(tables, colours, strict=True):
        line = hv.Curve(table, "t", "value").opts(color=colour, line_width=1.3, backend="bokeh")
        points = hv.Scatter(table, "t", ["value", "curve", "date", "text", "scene"]).opts(
            color=colour, size=5, tools=[_hover(len(tables) > 1)], backend="bokeh"
        )
        drawn += [line, points]
    overlay = hv.Overlay(drawn).opts(
        responsive=True, toolbar=None, default_tools=[], show_legend=False, xlabel="", ylabel="", padding=0.06,
        hooks=[_small], backend="bokeh",
    )  # fmt: skip
    return bokehplots.item(overlay)


def _hover(several: bool) -> Any:
    from bokeh.models import HoverTool

    curve = "<div>@curve</div>" if several else ""
    return HoverTool(mode="vline", tooltips=f"{curve}<div>@date</div><div><b>@text</b></div><div>@scene</div>")


def _small(plot: Any, _: Any) -> None:
    """Few ticks in small letters, no frame: the panel is narrow."""
    figure = plot.state
    figure.min_border = 2
    figure.min_border_right = 8
    figure.outline_line_color = None
    for axis, ticks in ((figure.xaxis[0], 3), (figure.yaxis[0], 3)):
        axis.ticker.desired_num_ticks = ticks
        axis.ticker.num_minor_ticks = 0
        axis.major_label_text_font_size = "10px"
        axis.major_tick_in = 0
        axis.major_tick_out = 3
    figure.ygrid[0].visible = True
