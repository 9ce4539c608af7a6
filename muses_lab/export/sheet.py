"""Sheets: the picture of a layer with what a reader needs around it: title, date, legend, scale bar, credits, a logo.

The picture's own pixels are left as they are: everything stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colors
from odc.geo.geobox import GeoBox
from PIL import Image, ImageDraw
from pyproj import Geod

from muses_lab.crs import crs_name, transformer
from muses_lab.errors import ArgumentError
from muses_lab.plain import number, shown, whole
from muses_lab.render import font, palette
from muses_lab.style import Style

_INK, _FAINT, _EDGE = (28, 30, 33), (92, 97, 105), (150, 154, 160)
_BACKGROUND = (255, 255, 255)
_SHARE = 0.25
"""Of the picture's width, that the scale bar has at most."""
_STEPS = 64
"""Of a row that is measured: each far less than half round the world."""
_LOGO = 4
"""Lines of text that a logo is as high as, at most."""


@dataclass(frozen=True)
class Decoration:
    """What stands around a picture; each part can be left out, or all of it."""

    decoration: bool = True
    """False: the picture alone, each pixel one of the window."""
    legend: bool = True
    scale: bool = True
    """A bar of a round length on the ground, in the middle of the window."""
    caption: str | None = None
    """Below the title. None: the dates of the scenes; "": nothing."""
    attribution: str | None = None
    """Whose data it is. None: what the scenes say of themselves; "": nothing."""
    logo: str | None = None
    """A picture for the lower right corner: a path."""
    margin: int = 16
    """Pixels around everything, 0 to 400."""

    def __post_init__(self) -> None:
        for name in ("decoration", "legend", "scale"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"{name}={shown(getattr(self, name))} is neither True nor False", argument=name)
        for name in ("caption", "attribution"):
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and len(text) <= 300):
                raise ArgumentError(f"{name}={shown(text)} is no text of at most 300 characters", argument=name)
        if whole("margin", self.margin) > 400:
            raise ArgumentError(f"margin={self.margin} is not between 0 and 400", argument="margin")
        if self.logo is not None:
            object.__setattr__(self, "logo", str(Path(self.logo).expanduser().absolute()))
            _opened(self.logo).close()


@dataclass(frozen=True)
class Animation(Decoration):
    """Of a series of pictures, one after the other, besides what stands around each."""

    fps: float = 2.0
    """Frames for each second, 0.1 to 50."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= number("fps", self.fps) <= 50:
            raise ArgumentError(f"fps={self.fps:g} is not between 0.1 and 50 frames for each second", argument="fps")


class Sheet:
    """A sheet for pictures of one window and style.

    ```python
    sheet = Sheet(window, style, "NDVI", ["2018-06-10", "2018-06-12"], "Contains modified Copernicus …", Decoration())
    sheet.with_picture(pixels, "2018-06-10").save("ndvi.png")
    ```
    """

    def __init__(
        self, window: GeoBox, style: Style, title: str, captions: Sequence[str], attribution: str, options: Decoration
    ) -> None:
        """`captions` are those of all pictures that it shall have room for."""
        self._style, self._options = style, options
        height, width = window.shape
        self._picture = width, height
        if not options.decoration:
            self.place, self.size = (0, 0), (width, height)
            self._base = Image.new("RGB", self.size, _BACKGROUND)
            return
        text = round(min(30, max(11, math.sqrt(width * height) / 45)))
        self._line = round(1.45 * text)
        self._font, self._bold, self._small = font(text), font(round(1.25 * text), True), font(round(0.85 * text))
        margin, gap = options.margin, text
        bar = scale_bar(window, _SHARE) if options.scale else None
        legend = _Legend(style, self._font, self._line) if options.legend else None
        logo = None if options.logo is None else _logo(options.logo, _LOGO * self._line, width)
        room = width + (gap + legend.size[0] if legend else 0)
        texts = [(title, self._bold), *((caption, self._font) for caption in captions)]
        inner = max(room, min(round(1.5 * room) + 200, max(math.ceil(f.getlength(t)) for t, f in texts)))
        head = (round(1.3 * self._line) if title else 0) + (self._line if any(captions) else 0)
        lines = _wrapped(attribution, self._small, inner - (logo.width + gap if logo else 0))
        below = (round(1.6 * self._line) if bar else 0) + self._line * len(lines)
        foot = max(below, logo.height if logo else 0)
        top = margin + head + (gap // 2 if head else 0)
        body = max(height, legend.size[1] if legend else 0)
        self.place = margin, top
        self.size = inner + 2 * margin, top + body + (gap // 2 + foot if foot else 0) + margin
        self._base = Image.new("RGB", self.size, _BACKGROUND)
        draw = ImageDraw.Draw(self._base)
        if title:
            draw.text((margin, margin), _fitted(title, self._bold, inner), _INK, self._bold)
        self._caption = margin, margin + (round(1.3 * self._line) if title else 0)
        if legend:
            legend.draw(draw, margin + width + gap, top)
        y = top + body + gap // 2
        if bar:
            _draw_bar(draw, margin, y, bar, width, self._line, self._small)
            y += round(1.6 * self._line)
        for one in lines:
            draw.text((margin, y), one, _FAINT, self._small)
            y += self._line
        if logo:
            at = self.size[0] - margin - logo.width, self.size[1] - margin - logo.height
            self._base.paste(logo, at, logo)

    def with_picture(self, pixels: np.ndarray, caption: str = "") -> Image.Image:
        """The sheet with a picture, as `render.pixels` gives it. Missing pixels are transparent; all else is opaque."""
        drawn = image_of(pixels, self._style)
        if not self._options.decoration:
            return drawn
        sheet = self._with(caption).convert("RGBA")
        sheet.paste(drawn.convert("RGBA"), self.place)
        return sheet

    def frame(self, pixels: np.ndarray, caption: str = "") -> np.ndarray:
        """The sheet with a picture as a video has it: (rows, columns, RGB), missing pixels are white."""
        sheet = self._with(caption)
        drawn = image_of(pixels, self._style).convert("RGBA")
        sheet.paste(drawn, self.place, drawn)
        return np.asarray(sheet)

    def frame_indexed(self, pixels: np.ndarray, caption: str, colours: IndexedColours) -> np.ndarray:
        """The same of a palette's indices, by numbers of `colours`."""
        sheet = np.asarray(self._with(caption).convert("RGB").quantize(palette=colours.image, dither=Image.Dither.NONE))
        sheet = sheet.copy()
        x, y = self.place
        sheet[y : y + self._picture[1], x : x + self._picture[0]] = colours.of_index[pixels]
        return sheet

    def _with(self, caption: str) -> Image.Image:
        sheet = self._base.copy()
        if self._options.decoration and caption:
            room = self.size[0] - 2 * self._options.margin
            ImageDraw.Draw(sheet).text(self._caption, _fitted(caption, self._font, room), _FAINT, self._font)
        return sheet


class IndexedColours:
    """The 256 colours of a GIF: those of a style's palette, and greys for the text around it.

    Classes have their own colours, up to 239 of them. The 255 steps of a colormap, and classes above that number, have
    every colour that is the nearest of 239.
    """

    _MOST = 239

    def __init__(self, style: Style) -> None:
        own = palette(style)[1:]
        faint = round(255 * style.opacity)
        own = ((own.astype(int) * faint + 255 * (255 - faint)) // 255).astype(np.uint8)
        few = own if len(own) <= self._MOST else own[np.rint(np.linspace(0, len(own) - 1, self._MOST)).astype(int)]
        steps = np.arange(len(own)) if len(own) <= self._MOST else np.rint(
            np.arange(len(own)) * (self._MOST - 1) / (len(own) - 1)
        ).astype(int)  # fmt: skip
        greys = np.repeat(np.linspace(255, 25, 256 - len(few)).round().astype(np.uint8)[:, None], 3, axis=1)
        self.table = np.concatenate([greys[:1], few, greys[1:]])
        """RGB of each number; 0 is white, for what is missing."""
        self.of_index = np.concatenate([[0], 1 + steps]).astype(np.uint8)
        """Number of each index of the palette."""
        self.image = Image.new("P", (1, 1))
        """For Pillow, which finds the nearest of them."""
        self.image.putpalette(self.table.tobytes())


def scale_bar(window: GeoBox, share: float) -> tuple[str, float] | None:
    """A round length on the ground along a window's middle row, and which share of its width it has.

    None without a CRS, or where a part of the row is nowhere on earth.
    """
    if window.crs is None:
        return None
    height, width = window.shape
    row = [window.affine @ (width * n / _STEPS, height / 2) for n in range(_STEPS + 1)]
    places = np.array(transformer(crs_name(window.crs), "EPSG:4326").transform(*np.transpose(row)))
    if not np.isfinite(places).all():
        return None
    metres = Geod(ellps="WGS84").line_length(*places)
    if metres <= 0:
        return None
    length = max(n * 10.0**e for e in range(-2, 8) for n in (1, 2, 5) if n * 10.0**e <= max(share * metres, 0.01))
    return f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m", length / metres


class _Legend:
    """The legend of a style as `Style.legend` tells it, a column of a size that is known before it is drawn."""

    def __init__(self, style: Style, text: Any, line: int) -> None:
        self._font, self._line = text, line
        self._legend = legend = style.legend()
        if "entries" in legend:
            legend["entries"] = [one for one in legend["entries"] if not one.get("hidden")]
        unit = f" ({legend['unit']})" if legend["unit"] not in (None, "", "1") else ""
        named = f"{legend['label'] or ''}{unit}".strip()
        self._heads = _wrapped(named, text, 16 * line)
        rows: list[str]
        match legend["kind"]:
            case "classes":
                rows = [_fitted(one["label"], text, 16 * line) for one in legend["entries"]]
                body = line * len(rows)
            case "continuous":
                rows = [tick["label"] for tick in legend["ticks"]]
                body = 8 * line
            case _:
                names = legend["bands"] or ["red", "green", "blue"]
                rows = [*names, f"{legend['vmin']:g} to {legend['vmax']:g}"]
                body = line * len(rows)
        self._rows, self._bar = rows, body
        widths = [text.getlength(row) + 1.5 * line for row in rows] + [text.getlength(head) for head in self._heads]
        self.size = math.ceil(max(widths, default=0)), line * len(self._heads) + (line // 3) + body

    def draw(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        for head in self._heads:
            draw.text((x, y), head, _INK, self._font)
            y += self._line
        y += self._line // 3
        if self._legend["kind"] == "continuous":
            self._draw_stops(draw, x, y)
            return
        entries = self._legend.get("entries")
        rgb = ["#d32f2f", "#2e7d32", "#1565c0", None]
        swatches = rgb if entries is None else [one["colour"] for one in entries]
        for row, colour in zip(self._rows, swatches, strict=True):
            side = round(0.8 * self._line)
            if colour is not None:
                draw.rectangle([x, y + 1, x + side, y + side], fill=colour, outline=_EDGE)
            draw.text((x + round(1.4 * self._line), y), row, _INK if colour else _FAINT, self._font)
            y += self._line

    def _draw_stops(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        stops, height, width = self._legend["stops"], self._bar, self._line
        at, rgb = [offset for offset, _ in stops], np.array([colors.to_rgb(colour) for _, colour in stops])
        for row in range(height):
            share = 1 - (row + 0.5) / height
            colour = tuple(round(255 * float(np.interp(share, at, rgb[:, band]))) for band in range(3))
            draw.line([x, y + row, x + width, y + row], fill=colour)
        draw.rectangle([x, y, x + width, y + height - 1], outline=_EDGE)
        for tick in self._legend["ticks"]:
            middle = y + round((1 - tick["offset"]) * (height - 1))
            draw.line([x + width, middle, x + width + 3, middle], fill=_EDGE)
            inside = min(max(middle, y + self._line // 2), y + height - self._line // 2)
            draw.text((x + round(1.5 * width), inside), tick["label"], _INK, self._font, anchor="lm")


def _draw_bar(
    draw: ImageDraw.ImageDraw, x: int, y: int, bar: tuple[str, float], width: int, line: int, text: Any
) -> None:
    label, share = bar
    end, thick = x + max(2, round(share * width)), max(3, line // 5)
    middle = (x + end) // 2
    draw.rectangle([x, y, middle, y + thick], fill=_INK, outline=_INK)
    draw.rectangle([middle, y, end, y + thick], fill=_BACKGROUND, outline=_INK)
    draw.text((x, y + thick + 2), label, _INK, text)


def image_of(pixels: np.ndarray, style: Style) -> Image.Image:
    """A picture as `render` encodes it: indexed with entry 0 transparent, or RGBA."""
    if pixels.ndim == 3:
        return Image.fromarray(pixels, "RGBA")
    image = Image.fromarray(pixels, "P")
    colours = palette(style)
    image.putpalette(colours.tobytes())
    opaque = round(255 * style.opacity)
    image.info["transparency"] = bytes([0, *[opaque] * (len(colours) - 1)])
    return image


def _logo(path: str, height: int, width: int) -> Image.Image:
    with _opened(path) as file:
        logo = file.convert("RGBA")
    logo.thumbnail((max(1, min(3 * height, width)), height))
    return logo


def _opened(path: str) -> Image.Image:
    try:
        return Image.open(path, formats=("PNG", "JPEG", "GIF", "WEBP"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ArgumentError(f"logo={shown(path)} is no picture that can be read: {error}", argument="logo") from None


def _fitted(text: str, by: Any, room: float) -> str:
    """A text on one line, its end left out where it has no room."""
    text = " ".join(text.split())
    if by.getlength(text) <= room:
        return text
    while text and by.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"


def _wrapped(text: str, by: Any, room: float) -> list[str]:
    """A text in at most three lines."""
    lines: list[str] = []
    for word in text.split():
        if lines and by.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    return [_fitted(line, by, max(room, 1)) for line in lines[:2] + ([" ".join(lines[2:])] if lines[2:] else [])]
