"""Series drawn by HoloViews with Bokeh."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import holoviews as hv
import holoviews.plotting.bokeh  # noqa: F401
import numpy as np
import pandas as pd
import xarray as xr

from muses_lab.errors import ArgumentError
from muses_lab.plain import shown
from muses_lab.tables.observed import MASKED, families, is_radar

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Of Okabe and Ito: they can be told apart on light and on dark paper, and by who sees no red or green."""
SYMBOLS = ("circle", "triangle", "square", "diamond", "inverted_triangle", "star", "hex")
CURVES = ("whittaker", "savitzky_golay", "harmonic_fit", "normal")
OVERLAYS = (*CURVES, "trend", "breaks")
_DASHES = {"whittaker": "solid", "savitzky_golay": "dashed", "harmonic_fit": "dotted", "normal": "dashdot"}
_TOLD = {
    "place": "place", "text": "value", "scene": "scene", "state": "state", "mask_class": "mask", "platform": "platform",
    "sun_elevation": "sun (°)", "cloud_cover": "clouds (%)", "count": "pixels", "share": "share",
}  # fmt: skip
"""Columns that are told of a dot, and how."""


class Timeline(Protocol):
    """What is drawn: see `timeline.Timeline`."""

    @property
    def KEYS(self) -> tuple[str, ...]: ...  # noqa: N802
    @property
    def unit(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def colour(self) -> str: ...
    @property
    def axis(self) -> str: ...
    @property
    def VALUE(self) -> str: ...  # noqa: N802
    @property
    def quantity(self) -> str: ...
    @property
    def table(self) -> pd.DataFrame: ...
    def curves(self) -> xr.DataArray: ...
    def trend(self) -> xr.Dataset: ...
    def breaks(self) -> xr.Dataset: ...
    def year_over_year(self) -> pd.DataFrame: ...


def plot(series: Sequence[Timeline], overlays: Sequence[str], year_over_year: bool, options: Mapping[str, Any]) -> Any:
    """See `Timeline.plot`."""
    wanted = [overlays] if isinstance(overlays, str) else list(overlays)
    for name in wanted:
        if name not in OVERLAYS:
            raise ArgumentError(
                f"overlays: {shown(name)} is none; there are {', '.join(OVERLAYS)}", argument="overlays"
            )
    if year_over_year and wanted:
        raise ArgumentError("year_over_year=True shows values alone: leave overlays out", argument="overlays")
    colours, symbols = itertools.cycle(COLOURS), _Symbols()
    drawn: list[Any] = []
    kinds = set()
    for one in series:
        table = _rows(one)
        axis = _axis(one, table)
        kinds.add(axis.name)
        if year_over_year:
            drawn += _years(one, axis)
            continue
        for key, rows in table.groupby(list(one.KEYS), sort=False):
            colour = one.colour or next(colours)
            drawn += _spread(one, rows, axis, colour)
            drawn += _median(one, rows, axis, colour, _name(one, key))
            drawn += _dots(one, rows, axis, colour, symbols, _name(one, key))
            for name in wanted:  # of one series they are told apart by colour, of several by whose they are
                alone = len(series) == 1 and table.groupby(list(one.KEYS)).ngroups == 1
                prefix = "" if alone else f"{_name(one, key)} "
                drawn += _overlay(one, name, _chosen(one, key), axis, next(colours) if alone else colour, prefix)
    overlay = hv.Overlay(drawn).opts(legend_position="right", padding=0.05, hooks=[on_paper], backend="bokeh")
    if len(kinds) > 1:
        overlay = overlay.opts(multi_y=True, backend="bokeh")
    along = "day of the year" if year_over_year else ""
    return overlay.opts(**{**_size(320, options), "xlabel": along, **options}, backend="bokeh")


def _size(height: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """As wide as the cell is, where no other width is asked for; who asks for `responsive` says the height."""
    if options.get("responsive"):
        return {}
    return {"height": height} if "width" in options else {"height": height, "responsive": True, "min_width": 300}


class _Symbols:
    """A symbol for each sensor."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def __getitem__(self, family: str) -> str:
        return self._of.setdefault(family, SYMBOLS[len(self._of) % len(SYMBOLS)])


def _rows(one: Timeline) -> pd.DataFrame:
    """What is drawn of a table, and what is told of it."""
    table = pd.DataFrame(one.table).drop(columns="geometry", errors="ignore")
    if "date" not in table:
        raise ArgumentError("the chain has no dates: there is nothing to draw over time")
    unit = f" {one.unit}" if one.unit not in ("", "1") else ""
    values = table[one.VALUE].fillna(table["unmasked"]) if "unmasked" in table else table[one.VALUE]
    text = [f"{value:.4g}{unit}" if np.isfinite(value) else "" for value in values]
    named = {"place": one.name} if one.name else {}
    return table.assign(**named, shown=values, text=text, family=list(families(table["platform"])))


def _axis(one: Timeline, table: pd.DataFrame) -> hv.Dimension:
    """Radar has another axis than what is seen by the sun."""
    radar = any(is_radar(platform) for platform in table["platform"])
    label = one.quantity or ("backscatter" if radar else one.VALUE)
    name = one.axis or ("radar" if radar else "optical")
    return hv.Dimension((name, label), unit=one.unit if one.unit not in ("", "1") else None)


def _name(one: Timeline, key: tuple[Any, ...]) -> str:
    """What a series is called in the legend."""
    named = dict(zip(one.KEYS, key, strict=True))
    several = {name: one.table[name].nunique() > 1 for name in one.KEYS}
    own = [f"{name} {value}" if name != "band" else str(value) for name, value in named.items() if several[name]]
    parts = [one.name or one.label, *own]
    return " ".join(part for part in parts if part) or one.VALUE


def _dots(
    one: Timeline, rows: pd.DataFrame, axis: hv.Dimension, colour: str, symbols: _Symbols, name: str
) -> Iterator[Any]:
    """A line through the valid values, a symbol for each sensor, hollow where a mask removed the value."""
    valid = rows[rows[one.VALUE].notna()]
    line = pd.DataFrame({"date": valid["date"], axis.name: valid[one.VALUE]})
    yield hv.Curve(line, "date", axis, label=name).opts(color=colour, line_width=1.2, alpha=0.6, backend="bokeh")
    told = [column for column in _TOLD if column in rows]
    masked = rows["state"].eq(MASKED) if "state" in rows else pd.Series(False, index=rows.index)
    for family, of_family in rows.groupby("family", sort=False):
        for hollow in (False, True):
            some = of_family[of_family["shown"].notna() & (masked.loc[of_family.index] == hollow)]
            if some.empty:
                continue
            dots = some.rename(columns={"shown": axis.name})[["date", axis.name, *told]]
            label = f"{name} {family}".strip() + (" masked" if hollow else "")
            yield hv.Scatter(dots, "date", [axis, *told], label=label).opts(
                color=colour, marker=symbols[str(family)], size=7, line_color=colour, fill_alpha=0.0 if hollow else 1.0,
                tools=[_hover(told)], backend="bokeh",
            )  # fmt: skip


def _hover(told: Sequence[str]) -> Any:
    from bokeh.models import HoverTool

    lines = [("date", "@date{%F %H:%M}"), *((_TOLD[column], f"@{column}") for column in told)]
    return HoverTool(tooltips=lines, formatters={"@date": "datetime"})


def _spread(one: Timeline, rows: pd.DataFrame, axis: hv.Dimension, colour: str) -> Iterator[Any]:
    """The band between the 10 % and the 90 % of a polygon, where both are there."""
    if not {"q10", "q90"} <= set(rows) or one.VALUE in ("count", "share"):
        return
    valid = rows[rows["q10"].notna()]
    band = pd.DataFrame({"date": valid["date"], axis.name: valid["q10"], f"{axis.name} to": valid["q90"]})
    yield hv.Area(band, "date", [axis, f"{axis.name} to"]).opts(color=colour, alpha=0.2, line_alpha=0, backend="bokeh")


def _median(one: Timeline, rows: pd.DataFrame, axis: hv.Dimension, colour: str, name: str) -> Iterator[Any]:
    """The median of a polygon, where it is another statistic beside the mean."""
    if one.VALUE != "mean" or "median" not in rows:
        return
    valid = rows[rows["median"].notna()]
    line = pd.DataFrame({"date": valid["date"], axis.name: valid["median"]})
    yield hv.Curve(line, "date", axis, label=f"{name} median").opts(
        color=colour, line_width=1.2, line_dash="dashed", alpha=0.9, backend="bokeh"
    )


def counts(series: Sequence[Timeline], options: Mapping[str, Any]) -> Any:
    """A bar for each date: how many pixels of a polygon are valid; of places that are points there is none."""
    colours, drawn = itertools.cycle(COLOURS), []
    count = hv.Dimension("count", label="valid pixels")
    for one in series:
        table = _rows(one)
        told = [column for column in ("place", "count", "share", "scene") if column in table]
        for _, rows in table.groupby(list(one.KEYS), sort=False) if "count" in table else ():
            bars = hv.Spikes(rows[["date", *told]], "date", [count, *(name for name in told if name != "count")])
            drawn.append(bars.opts(color=one.colour or next(colours), line_width=2, alpha=0.8, tools=[_hover(told)],
                                   backend="bokeh"))  # fmt: skip
    look = {
        **_size(110, options),
        "height": 110,
        "xlabel": "",
        "ylabel": "valid pixels",
        "ylim": (0, None),
        "yticks": 3,
        "hooks": [on_paper],
    }
    return hv.Overlay(drawn).opts(**{**look, **options}, backend="bokeh")


def aligned(drawn: Any) -> Any:
    """With its frame where that of another plot above or below it is."""

    def borders(plot: Any, _: Any) -> None:
        plot.state.min_border_left, plot.state.min_border_right = 68, 12

    return drawn.opts(hooks=[on_paper, borders], backend="bokeh")


PAPER = """:host {
  --bk-background-fill-color: transparent; --bk-border-fill-color: transparent;
  --bk-outline-line-color: var(--jp-border-color2, #c8c8c8);
  --bk-axis-line-color: var(--jp-ui-font-color2, #555); --bk-major-tick-line-color: var(--jp-ui-font-color2, #555);
  --bk-minor-tick-line-color: var(--jp-ui-font-color2, #555);
  --bk-axis-label-text-color: var(--jp-ui-font-color1, #222);
  --bk-text-color: var(--jp-ui-font-color1, #222);
  --bk-major-label-text-color: var(--jp-ui-font-color1, #222); --bk-label-text-color: var(--jp-ui-font-color1, #222);
  --bk-grid-line-color: var(--jp-border-color2, #e0e0e0);
}"""
"""The colours of a plot's paper and letters: those of the notebook's theme, where there is one."""
_LEGEND = """:host { background: transparent !important; border-color: transparent !important; }
.bk-label, .bk-title { color: var(--jp-ui-font-color1, #222) !important; }"""


_REPAINT = """if (plot.on_paper) return;
// An axis has all laid out again, the title included.
const repaint = () => [plot, ...plot.below, ...plot.left].forEach((one) => one.change.emit());
plot.on_paper = new MutationObserver(() => { repaint(); setTimeout(repaint, 500); });
plot.on_paper.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });"""
"""Bokeh reads the colours when it draws: with another theme it draws again, at once and when the theme is loaded."""


def on_paper(plot: Any, _: Any) -> None:
    """A hook of HoloViews: the plot has the page's colours, light or dark."""
    put_on_paper(plot.state)


def put_on_paper(figure: Any) -> None:
    """Gives a figure of Bokeh the page's colours, unless it has them, or its author has chosen another paper."""
    from bokeh.models import CustomJS, InlineStyleSheet
    from bokeh.models.annotations import Legend

    chosen = figure.background_fill_color not in (None, "white", "#ffffff")
    if chosen or any(getattr(sheet, "css", sheet) == PAPER for sheet in figure.stylesheets):
        return
    figure.stylesheets = [*figure.stylesheets, InlineStyleSheet(css=PAPER)]
    figure.js_on_change(
        "outer_width", CustomJS(args={"plot": figure}, code=_REPAINT)
    )  # at the latest when it is laid out
    for legend in figure.select({"type": Legend}):
        legend.stylesheets = [*legend.stylesheets, InlineStyleSheet(css=_LEGEND)]


def _chosen(one: Timeline, key: tuple[Any, ...]) -> dict[str, Any]:
    """Where a series is in the arrays of curves."""
    named = dict(zip(one.KEYS, key, strict=True))
    return {"bands" if name == "band" else name: value for name, value in named.items()}


def _series(array: xr.DataArray, at: Mapping[str, Any]) -> np.ndarray:
    """One of the series of an array: by label where a dimension has labels, else by number."""
    labelled = {name: value for name, value in at.items() if name in array.coords and name in array.dims}
    numbered = {name: value for name, value in at.items() if name in array.dims and name not in array.coords}
    return array.sel(labelled).isel(numbered).values


def _overlay(
    one: Timeline, name: str, at: Mapping[str, Any], axis: hv.Dimension, colour: str, prefix: str
) -> Iterator[Any]:
    times = one.curves().t.values
    label = prefix + name.replace("_", " ")
    if name in CURVES:
        values = _series(getattr(one, name)(), at)
        curve = pd.DataFrame({"date": times, axis.name: values.astype(float)}).dropna().sort_values("date")
        yield hv.Curve(curve, "date", axis, label=label).opts(
            color=colour, line_width=2, line_dash=_DASHES[name], backend="bokeh"
        )
    elif name == "trend":
        found = one.trend()
        line, low, high = (_series(found[part], at) for part in ("line", "low", "high"))
        rows = pd.DataFrame({"date": times, axis.name: line, "low": low, "high": high}).dropna()
        p = float(_series(found["p"], at))
        band = rows.rename(columns={axis.name: "line", "low": axis.name, "high": f"{axis.name} to"})
        yield hv.Area(band, "date", [axis, f"{axis.name} to"]).opts(
            color=colour, alpha=0.15, line_alpha=0, backend="bokeh"
        )
        yield hv.Curve(rows, "date", axis, label=f"{label} (p {p:.2g})").opts(
            color=colour, line_width=1.5, line_dash="dashed", backend="bokeh"
        )
    else:
        found = one.breaks()
        date, p = _series(found["date"], at), float(_series(found["p"], at))
        if not np.isnat(date):
            middle = pd.DataFrame({"date": [date, date], axis.name: _range(one, at)})
            yield hv.Curve(middle, "date", axis, label=f"{prefix}break (p {p:.2g})").opts(
                color=colour, line_width=1, line_dash="dashdot", backend="bokeh"
            )


def _range(one: Timeline, at: Mapping[str, Any]) -> list[float]:
    values = _series(one.curves(), at)
    return [float(np.nanmin(values)), float(np.nanmax(values))]


def _years(one: Timeline, axis: hv.Dimension) -> Iterator[Any]:
    """A curve for each year, over the days of a year."""
    from bokeh.palettes import viridis

    rows = one.year_over_year()
    years = sorted(rows["year"].unique())
    colours = dict(zip(years, viridis(max(len(years), 2)), strict=False))
    for key, of_year in rows.groupby([*one.KEYS, "year"], sort=False):
        name = f"{_name(one, key[:-1])} {key[-1]}"
        line = pd.DataFrame({"day": of_year["day"], axis.name: of_year[one.VALUE], "date": of_year["date"]})
        look = {"color": colours[key[-1]], "backend": "bokeh"}
        yield hv.Curve(line, hv.Dimension("day", label="day of the year"), axis, label=name).opts(**look)
        yield hv.Scatter(line, hv.Dimension("day", label="day of the year"), [axis, "date"], label=name).opts(
            size=5, tools=["hover"], **look
        )
