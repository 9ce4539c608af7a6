"""A map as a page that needs nothing else: no server, no kernel, no script, no connection."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

from odc.geo.geobox import GeoBox
from PIL import Image

from muses_lab.raster.window import zoom_resolution
from muses_lab.render import render
from muses_lab.service.basemap import base_tile
from muses_lab.service.tile import SIZE, Tile
from muses_widgets import basemaps, view
from muses_widgets.tiles import ChainTiles

_STYLE = """
body { margin: 1.5rem auto; padding: 0 1rem; max-width: 80rem; font: 15px/1.45 system-ui, sans-serif; color: #222;
  background: #fff; }
h1 { font-size: 1.3rem; margin: 0 0 .8rem; }
.side { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
figure { position: relative; margin: 0; flex: 0 1 auto; border: 1px solid #bbb; line-height: 0; overflow: hidden; }
figure img { width: 100%; height: auto; }
figure img + img { position: absolute; left: 0; top: 0; height: 100%; }
.scale { position: absolute; left: 10px; bottom: 10px; border: 2px solid #222; border-top: 0; padding: 0 4px;
  font-size: 11px; line-height: 1.3; background: #ffffffb0; box-sizing: border-box; }
.legends { flex: 1 1 15rem; max-width: 22rem; }
.legends section { margin-bottom: 1.1rem; }
h2 { font-size: 1rem; margin: 0 0 .3rem; }
.ramp { height: .9rem; border: 1px solid #bbb; }
.ticks { position: relative; height: 1.3rem; font-size: .8rem; }
.ticks span { position: absolute; transform: translateX(-50%); }
ul { list-style: none; margin: 0; padding: 0; }
.swatch { display: inline-block; width: 1em; height: 1em; margin-right: .5em; border: 1px solid #bbb;
  vertical-align: -2px; }
p, small { color: #555; font-size: .85rem; }
"""


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>{style}</style></head>
<body><h1>{title}</h1>
<div class="side"><figure style="width: {width}px">{images}{scale}</figure>
<div class="legends">{legends}{told}</div></div></body></html>
"""


@dataclass(frozen=True)
class Shown:
    """What a map shows at a moment."""

    window: GeoBox
    center: tuple[float, float]
    """Latitude, longitude."""
    zoom: float
    stack: Sequence[ChainTiles]
    """Chains, the lowest first."""
    opacities: Mapping[str, float | None]
    """By the id of each; None: it is hidden, or its group is."""
    basemap: str | None
    """The base map's name; None: there is none."""
    others: Sequence[Any] = ()
    """ipyleaflet's layers that only a browser draws."""


def page(m: Shown, title: str) -> str:
    """The HTML of what the map shows now: its chains drawn one above the other, and their legends."""
    window = m.window
    shown = [(t, opacity) for t in m.stack if (opacity := m.opacities[t.model_id]) is not None and not t.is_empty]
    images = [_image(_base(window, round(m.zoom)) if m.basemap is not None else _blank(window), "the base map", 1)]
    images += [_image(_drawn(t, window), t.name, opacity) for t, opacity in shown]
    legends = "".join(f"<section><h2>{escape(t.name)}</h2>{_legend(t.entry)}</section>" for t, _ in reversed(shown))
    lat, lon = m.center
    west, south, east, north = window.extent.to_crs("EPSG:4326").boundingbox.bbox
    ground = view.ground_resolution((west, south, east, north), m.zoom)
    told = [
        f"Around {lat:.4f}°, {lon:.4f}° (latitude, longitude), zoom {round(m.zoom)}: {ground:.3g} m on the ground per "
        f"pixel. Made by MUSES Lab on {date.today().isoformat()}.",
        *_left_out(m),
    ]
    return _PAGE.format(
        title=escape(title), style=_STYLE, width=window.shape.x, images="".join(images), scale=_scale(ground, window),
        legends=legends, told="".join(f"<p>{escape(text)}</p>" for text in told),
    )  # fmt: skip


# Pictures


def _drawn(tiles: ChainTiles, window: GeoBox) -> bytes:
    found = tiles.layer.chain.pixels(window)
    return render(found.values, tiles.layer.drawn, found.bands)


def _base(window: GeoBox, zoom: int) -> bytes:
    """The base map that needs no connection, cut to the window."""
    metres, world = zoom_resolution(zoom), SIZE << zoom
    left, top = round(window.affine.c / metres + world / 2), round(world / 2 - window.affine.f / metres)
    picture = Image.new("RGB", (window.shape.x, window.shape.y), "white")
    for x in range(left // SIZE, (left + window.shape.x - 1) // SIZE + 1):
        for y in range(max(0, top // SIZE), min(1 << zoom, (top + window.shape.y - 1) // SIZE + 1)):
            tile = Image.open(io.BytesIO(base_tile(Tile(zoom, x % (1 << zoom), y))))
            picture.paste(tile.convert("RGB"), (x * SIZE - left, y * SIZE - top))
    return _png(picture)


def _blank(window: GeoBox) -> bytes:
    return _png(Image.new("1", (window.shape.x, window.shape.y), 1))


def _png(picture: Image.Image) -> bytes:
    body = io.BytesIO()
    picture.save(body, "PNG", optimize=True)
    return body.getvalue()


def _image(png: bytes, name: str, opacity: float) -> str:
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(name)}" style="opacity: {opacity:g}">'


def _scale(ground: float, window: GeoBox) -> str:
    """A bar of a round length, about a hundred pixels long."""
    length = max(n * 10**e for e in range(-2, 8) for n in (1, 2, 5) if n * 10**e <= 120 * ground)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    return f'<div class="scale" style="width: {100 * length / ground / window.shape.x:.3f}%">{text}</div>'


# Words


def _legend(entry: dict[str, Any]) -> str:
    """As `js/legend.js` draws it."""
    legend = entry["legend"]
    unit = f"({legend['unit']})" if legend.get("unit") else ""
    title = escape(" ".join(filter(None, (legend.get("label"), unit))))
    head = f"<small>{title}</small>" if title else ""
    if legend["kind"] == "continuous":
        stops = ", ".join(f"{colour} {offset * 100:.2f}%" for offset, colour in legend["stops"])
        ticks = "".join(
            f'<span style="left: {tick["offset"] * 100:g}%">{escape(tick["label"])}</span>' for tick in legend["ticks"]
        )
        ramp = f'<div class="ramp" style="background: linear-gradient(to right, {stops})"></div>'
        return f'{head}{ramp}<div class="ticks">{ticks}</div>'
    if legend["kind"] == "classes":
        return head + _swatches(
            (entry["colour"], entry["label"]) for entry in legend["entries"] if not entry.get("hidden")
        )
    names = legend.get("bands") or ("red", "green", "blue")
    stretch = f"<small>stretched from {legend['vmin']:g} to {legend['vmax']:g}</small>"
    return head + _swatches(zip(("#d32f2f", "#2e7d32", "#1565c0"), names, strict=True)) + stretch


def _swatches(named: Iterable[tuple[str, str]]) -> str:
    lines = (f'<li><span class="swatch" style="background: {c}"></span>{escape(str(name))}</li>' for c, name in named)
    return f"<ul>{''.join(lines)}</ul>"


def _left_out(m: Shown) -> Iterable[str]:
    """What the map shows and the page does not."""
    hidden = [t.name for t in m.stack if m.opacities[t.model_id] is None]
    if hidden:
        yield f"Hidden when the page was made: {', '.join(hidden)}."
    for tiles in m.stack:
        if m.opacities[tiles.model_id] is not None and tiles.is_empty:
            yield f"{tiles.name}: {tiles.entry['empty']}"
    if m.others:
        kinds = ", ".join(f"{type(layer).__name__} {layer.name}".strip() for layer in m.others)
        yield f"Not drawn here, because only a browser draws it: {kinds}."
    if m.basemap not in (None, "Offline"):
        yield f"The base map {m.basemap} is on the web; the one that needs no connection is drawn."
    if m.basemap is not None:
        yield basemaps.OFFLINE["attribution"]
