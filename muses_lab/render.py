"""Values to PNG: pixels and a style in, encoded bytes out. Tiles and images on the wire; exports are never rendered."""

from __future__ import annotations

import struct
import textwrap
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
from isal import isal_zlib
from numba import njit
from PIL import Image, ImageDraw, ImageFont

from muses_lab.errors import BandError
from muses_lab.style import Style

TILE = 256

# ISA-L's level 1: half the time of libdeflate's for as many bytes.
_LEVEL = 1


def render(values: np.ndarray, style: Style, bands: Sequence[str] | None = None) -> bytes:
    """PNG of `values` drawn with `style`.

    >>> render(np.full((256, 256), 0.5, "float32"), Style(cmap="RdYlGn"))[1:4]
    b'PNG'

    Parameters
    ----------
    values
        (y, x), (1, y, x) or (3, y, x); with `bands` and a style that names bands also (n, y, x). NaN is missing.
    style
        Colormap, classes or RGB.
    bands
        Names of the first axis of `values`, from which `style.bands` picks.

    Returns
    -------
    bytes
        One band: 8-bit indexed PNG whose entry 0 is transparent and means missing (or a class not listed).
        Three bands: RGBA PNG, transparent where any of the three is missing.

    Raises
    ------
    BandError
        The style names a band that there is not, or `values` has neither one nor three bands.
    """
    return draw(values, style, bands).png(style)


@dataclass(frozen=True)
class Drawing:
    """A picture encoded as far as colours do not matter: another palette for it costs no encoding."""

    head: bytes
    body: bytes
    indexed: bool
    """Whether the colours are apart."""

    @property
    def nbytes(self) -> int:
        return len(self.head) + len(self.body)

    def png(self, style: Style) -> bytes:
        """The picture in the colours of a style with the same `shapes`."""
        return self.head + (_colours(style) if self.indexed else b"") + self.body


def draw(values: np.ndarray, style: Style, bands: Sequence[str] | None = None) -> Drawing:
    """The picture of `values` (see `render`), good for all styles with the same `shapes`."""
    drawn = pixels(values, style, bands)
    return _drawing_rgba(drawn) if drawn.ndim == 3 else _drawing_indexed(drawn)


def pixels(values: np.ndarray, style: Style, bands: Sequence[str] | None = None) -> np.ndarray:
    """The picture of `values` (see `render`) before it is encoded: indices of the palette (y, x), or RGBA (y, x, 4)."""
    picked = np.ascontiguousarray(pick(values, style, bands))  # the compiled code is for these
    if picked.ndim == 3:
        return _rgba(picked, style)
    if style.classes:
        return _classified(picked, style)
    return _stretched(picked, *style.range_of("continuous"), style.gamma)


def shapes(style: Style) -> Hashable:
    """What of a style decides which pixels are alike: all but the colours of its palette, and its words."""
    return (style.bands, tuple(style.classes or ()), style.hidden, style.vmin, style.vmax, style.gamma, style.opacity)


def pick(values: np.ndarray, style: Style, bands: Sequence[str] | None = None) -> np.ndarray:
    """The one (y, x) or three (3, y, x) bands of `values` that `style` shows."""
    values = as_floats(values)
    if values.ndim == 2:
        return values
    if values.ndim != 3:
        raise ValueError(f"values have the shape {values.shape}; (y, x) or (bands, y, x) can be drawn")
    if style.bands and bands is not None:
        for name in style.bands:
            if name not in bands:
                raise BandError(f"the style shows band {name!r}; there are {', '.join(bands)}", band=name)
        values = values[[list(bands).index(name) for name in style.bands]]
    if len(values) == 1:
        return values[0]
    if len(values) != 3:
        there = f": {', '.join(bands)}" if bands else ""
        raise BandError(f"{len(values)} bands cannot be drawn at once{there}; choose with .style(bands=...)")
    return values


def as_floats(values: np.ndarray) -> np.ndarray:
    """Values as float32 or float64, whichever has all of them."""
    values = np.asarray(values)
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)


def empty_tile() -> bytes:
    """A transparent tile."""
    return _empty(TILE)


@lru_cache(maxsize=256)
def error_tile(text: str, size: int = TILE) -> bytes:
    """A tile that shows that it failed, with a short reason."""
    ink, wash = (150, 30, 30, 255), (255, 235, 230, 200)
    image = Image.new("RGBA", (size, size), wash)
    draw = ImageDraw.Draw(image)
    for offset in range(-size, size, 16):
        draw.line([(offset, size), (offset + size, 0)], fill=(230, 150, 140, 110), width=2)
    draw.rectangle([1, 1, size - 2, size - 2], outline=(200, 80, 70, 255), width=2)
    lines = textwrap.wrap(text, 34)[:6]
    body = "\n".join(lines)
    spot = (size // 2, size // 2)
    left, top, right, bottom = draw.multiline_textbbox(spot, body, font=font(12), anchor="mm", align="center")
    draw.rounded_rectangle([left - 8, top - 6, right + 8, bottom + 6], 4, fill=(255, 250, 248, 235), outline=ink)
    draw.multiline_text(spot, body, font=font(12), anchor="mm", align="center", fill=ink)
    picture = _drawing_rgba(np.asarray(image))
    return picture.head + picture.body


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: there on every machine, with the accents of city names."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


# Values to palette indices


_GAMMA_STEPS = 65_534
"""Of a range to which a gamma is applied, by a table."""


def _stretched(values: np.ndarray, low: float, high: float, gamma: float) -> np.ndarray:
    """uint8 indices: 0 missing, 1 at `low` and below, 255 at `high` and above; monotone in between."""
    out = np.empty(values.shape, np.uint8)
    scale = _scale(values.dtype, low, high, gamma)
    if gamma == 1:
        _number(values, *scale, out)
    else:
        _look_up(values, *scale, _index_table(gamma), out)
    return out


def _scale(dtype: np.dtype, low: float, high: float, gamma: float) -> tuple[np.floating, np.floating, np.floating]:
    """Where a range begins, steps for each unit of it, and steps of all of it: in the precision of the values."""
    kind, steps = dtype.type, 254 if gamma == 1 else _GAMMA_STEPS
    with np.errstate(over="ignore"):
        return kind(low), kind(steps / (high - low)), kind(steps)


@lru_cache(maxsize=32)
def _index_table(gamma: float) -> np.ndarray:
    """The index of each step, of which 0 is missing.

    For a gamma a table instead of a power per pixel: faster, and monotone whatever the rounding of `pow`.
    """
    if gamma == 1:
        return np.arange(256, dtype=np.uint8)
    t = np.linspace(0, 1, _GAMMA_STEPS + 1) ** (1 / gamma)
    return np.concatenate([[0], 1 + np.rint(t * 254)]).astype(np.uint8)


@njit(cache=True, nogil=True)
def _step(value, low, scale, steps):
    """The step of a range that a value is on, from 1 on; 0 where it is missing."""
    t = (value - low) * scale
    step = np.int32(min(max(t, steps - steps), steps) + type(t)(1.5))
    return step if t == t else np.int32(0)  # chosen, not branched: many pixels at a time


@njit(cache=True)
def _number(values, low, scale, steps, out):
    """Less than a tenth of a millisecond for a tile: Python's lock is kept."""
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            out[row, col] = np.uint8(_step(values[row, col], low, scale, steps))


@njit(cache=True, nogil=True)
def _look_up(values, low, scale, steps, table, out):
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            out[row, col] = table[_step(values[row, col], low, scale, steps)]


@njit(cache=True, nogil=True)
def _colour(values, low, scale, steps, table, alpha, out):
    """RGBA of three bands by the intensity of each step; all 0 where one of them is missing."""
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            red = _step(values[0, row, col], low, scale, steps)
            green = _step(values[1, row, col], low, scale, steps)
            blue = _step(values[2, row, col], low, scale, steps)
            seen = (red > 0) & (green > 0) & (blue > 0)
            out[row, col, 0] = table[red] if seen else 0  # one colour for what is not seen: smaller files
            out[row, col, 1] = table[green] if seen else 0
            out[row, col, 2] = table[blue] if seen else 0
            out[row, col, 3] = alpha if seen else 0


def warm() -> None:
    """Calls what is compiled, so that the first picture does not wait for it."""
    for dtype, writeable in product((np.float32, np.float64), (True, False)):
        values = np.zeros((3, 1, 1), dtype)
        values.setflags(write=writeable)
        for gamma in (1, 2):
            render(values[0], Style(gamma=gamma))
        render(values, Style())


def _classified(values: np.ndarray, style: Style) -> np.ndarray:
    """Indices 1, 2, ... of the classes in order of value; 0 where the value is missing, not listed or hidden."""
    assert style.classes is not None
    keys = np.array(list(style.classes), dtype=values.dtype)  # the same rounding as the values
    place = np.searchsorted(keys, values).clip(max=len(keys) - 1)
    index = np.array([0 if value in style.hidden else n for n, value in enumerate(style.classes, 1)], np.uint8)
    return np.where(keys[place] == values, index[place], np.uint8(0))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@lru_cache(maxsize=64)
def palette(style: Style) -> np.ndarray:
    """RGB of each index: 0 is transparent, a colormap runs from 1 to 255 (gamma is in the indices)."""
    if style.classes:
        return np.array([(0, 0, 0), *(_rgb(colour) for _, colour in style.classes.values())], np.uint8)
    colours = style.colormap()(np.linspace(0, 1, 255), bytes=True)[:, :3]
    return np.concatenate([np.zeros((1, 3), np.uint8), colours])


def _rgba(values: np.ndarray, style: Style) -> np.ndarray:
    out = np.empty((*values.shape[1:], 4), np.uint8)
    scale = _scale(values.dtype, *style.range_of("rgb"), style.gamma)
    _colour(values, *scale, _intensities(style.gamma), round(255 * style.opacity), out)
    return out


@lru_cache(maxsize=32)
def _intensities(gamma: float) -> np.ndarray:
    """From black to white, the intensity of each step."""
    return np.concatenate([[0], np.rint(np.linspace(0, 255, 255))]).astype(np.uint8)[_index_table(gamma)]


# PNG: written here because Pillow takes ten times as long for a palette tile and cannot be told less


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _head(width: int, height: int, colour_type: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))


def _body(rows: np.ndarray) -> bytes:
    return _chunk(b"IDAT", isal_zlib.compress(rows, _LEVEL)) + _chunk(b"IEND", b"")


@lru_cache(maxsize=64)
def _colours(style: Style) -> bytes:
    """The chunks that say what the indices look like."""
    colours = palette(style)
    alpha = b"\0" if style.opacity >= 1 else b"\0" + bytes([round(255 * style.opacity)]) * (len(colours) - 1)
    return _chunk(b"PLTE", colours.tobytes()) + _chunk(b"tRNS", alpha)


def _drawing_indexed(index: np.ndarray) -> Drawing:
    height, width = index.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row starts with its filter: 0, none
    rows[:, 1:] = index
    return Drawing(_head(width, height, 3), _body(rows), indexed=True)


def _drawing_rgba(pixels: np.ndarray) -> Drawing:
    height, width, _ = pixels.shape
    flat = pixels.reshape(height, width * 4)
    rows = np.zeros((height, width * 4 + 1), np.uint8)
    rows[:, 0] = 2  # "up": differences to the row above compress better than colours
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    return Drawing(_head(width, height, 6), _body(rows), indexed=False)


@lru_cache(maxsize=4)
def _empty(size: int) -> bytes:
    index = np.zeros((size, size), np.uint8)
    colours = _chunk(b"PLTE", b"\0\0\0") + _chunk(b"tRNS", b"\0")
    return _head(size, size, 3) + colours + _body(np.pad(index, ((0, 0), (1, 0))))
