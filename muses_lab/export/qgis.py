"""A style as QGIS loads it by itself: a file `.qml` beside the raster, with the raster's name.

Source: the renderers as QGIS 3 writes them (`singlebandpseudocolor`, `paletted`, `multibandcolor`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from matplotlib import colors

from muses_lab.style import Style

_OURS = "<!-- written by MUSES Lab with the raster; saving a style in QGIS makes the file yours -->"


def style_path(raster: Path) -> Path:
    """Where QGIS looks for the style of a raster."""
    return raster.with_suffix(".qml")


def is_ours(path: Path) -> bool:
    """Whether an export wrote a style file, and nobody has saved another one since."""
    try:
        with path.open("rb") as file:
            return _OURS.encode() in file.read(1024)
    except FileNotFoundError:
        return False


def style_text(style: Style, bands: Sequence[int]) -> str:
    """The style file of a raster; `bands` are the numbers of those that are shown, from 1 on: one, or red, green, blue.

    Missing values (NaN, or the raster's nodata) are transparent, as on a map.
    """
    root = Element("qgis", {"version": "3.22", "styleCategories": "Symbology"})
    pipe = SubElement(root, "pipe")
    make = {"continuous": _continuous, "classes": _classes, "rgb": _rgb}[style.kind]
    renderer = make(SubElement(pipe, "rasterrenderer"), style, bands)
    for name, value in {"opacity": f"{style.opacity:.9g}", "alphaBand": "-1", "nodataColor": ""}.items():
        renderer.set(name, value)
    gamma = style.gamma if style.kind == "rgb" else 1.0  # that of one band is in its colours
    SubElement(pipe, "brightnesscontrast", {"brightness": "0", "contrast": "0", "gamma": f"{gamma:.9g}"})
    SubElement(root, "blendMode").text = "0"
    indent(root)
    return (
        f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{_OURS}\n{tostring(root, encoding='unicode')}\n"
    )


def _continuous(renderer: Element, style: Style, bands: Sequence[int]) -> Element:
    legend = style.legend()
    low, high = legend["vmin"], legend["vmax"]
    ends = {"type": "singlebandpseudocolor", "band": str(bands[0])}
    renderer.attrib.update(ends | {"classificationMin": _text(low), "classificationMax": _text(high)})
    ramp = SubElement(SubElement(renderer, "rastershader"), "colorrampshader")
    edges = [(low + offset * (high - low), colour) for offset, colour in legend["stops"]]
    steps = [at for at, _ in edges]
    hard = len(set(steps)) < len(steps)  # each colour from one edge to the next
    kind = {"colorRampType": "DISCRETE" if hard else "INTERPOLATED", "classificationMode": "1", "clip": "0"}
    ramp.attrib.update(kind | {"minimumValue": _text(low), "maximumValue": _text(high), "labelPrecision": "6"})
    unit = f" {_plain(style.unit)}" if style.unit not in (None, "1") else ""
    entries = edges[1::2] if hard else edges
    for number, (value, colour) in enumerate(entries, 1):
        last = hard and number == len(entries)
        at = "inf" if last else _text(value)
        label = f"> {_text(edges[-2][0])}{unit}" if last else f"{'≤ ' if hard else ''}{value:.6g}{unit}"
        SubElement(ramp, "item", {"value": at, "color": colour, "alpha": "255", "label": label})
    return renderer


def _classes(renderer: Element, style: Style, bands: Sequence[int]) -> Element:
    renderer.attrib.update({"type": "paletted", "band": str(bands[0])})
    palette = SubElement(renderer, "colorPalette")
    for value, (label, colour) in (style.classes or {}).items():
        alpha = "0" if value in style.hidden else "255"
        entry = {"value": _text(value), "color": colour, "alpha": alpha, "label": _plain(label)}
        SubElement(palette, "paletteEntry", entry)
    return renderer


def _rgb(renderer: Element, style: Style, bands: Sequence[int]) -> Element:
    renderer.set("type", "multibandcolor")
    low, high = style.range
    for name, number in zip(("red", "green", "blue"), bands, strict=True):
        renderer.set(f"{name}Band", str(number))
        stretch = SubElement(renderer, f"{name}ContrastEnhancement")
        for part, value in (("minValue", low), ("maxValue", high)):
            SubElement(stretch, part).text = _text(value)
        SubElement(stretch, "algorithm").text = "StretchToMinimumMaximum"
    return renderer


def colour_table(style: Style | None) -> dict[int, tuple[int, int, int, int]] | None:
    """Value → red, green, blue, opacity, where a file of bytes can hold the classes of a style; None: it cannot."""
    if style is None or style.kind != "classes":
        return None
    classes = style.classes or {}
    if any(value != int(value) or not 0 <= value < MISSING for value in classes):
        return None
    found = {}
    for value, (_, colour) in classes.items():
        red, green, blue = (round(255 * part) for part in colors.to_rgb(colour))
        found[int(value)] = red, green, blue, 255
    return {value: found.get(value, (0, 0, 0, 0)) for value in range(MISSING + 1)}


MISSING = 255
"""The nodata of a file of bytes."""


def _text(value: float) -> str:
    return f"{value:.9g}"


def _plain(text: str) -> str:
    """Without the characters that XML has no way to write."""
    return "".join(c for c in text if c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff")
