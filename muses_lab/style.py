"""Styles: how the numbers of a chain become colours. Content-addressed as chains are, and apart from them."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from typing import Any, Literal

import rfc8785
from matplotlib import colormaps, colors
from matplotlib.ticker import MaxNLocator

from muses_lab.errors import MusesError
from muses_lab.plain import plain, shown

Kind = Literal["continuous", "classes", "rgb"]

MAX_CLASSES = 255
"""A palette image has 256 entries and one of them is transparent."""

_DEFAULT_RANGE: dict[str, tuple[float, float]] = {"continuous": (0.0, 1.0), "rgb": (0.0, 0.3), "classes": (0.0, 1.0)}


PALETTES = (
    "viridis", "cividis", "magma", "turbo", "Greys", "YlGn", "Blues", "YlOrRd", "RdYlGn", "BrBG", "RdBu", "Spectral",
    "terrain", "twilight",
)  # fmt: skip
"""Colormaps that are offered: for values that grow, that differ from a middle, for heights, for cycles."""


class StyleError(MusesError):
    """A style is not valid; details name the `argument`."""

    code = "style-invalid"


_OTHER_NAMES = {
    "palette": "cmap", "colormap": "cmap", "colors": "cmap", "color": "cmap", "colours": "cmap", "min": "vmin",
    "max": "vmax", "alpha": "opacity", "title": "label", "name": "label", "units": "unit", "categories": "classes",
}  # fmt: skip
"""What arguments are called elsewhere."""


@dataclass(frozen=True, eq=False, repr=False)
class Style:
    """How values become colours: a colormap between two ends, a list of classes, or three bands as red, green, blue.

    >>> ndvi = Style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI")
    >>> ndvi.kind, ndvi.range
    ('continuous', (0.0, 1.0))
    >>> Style(classes={4: ("vegetation", "forestgreen"), 6: ("water", "#2b6cb0")}).kind
    'classes'

    Ends that are not given are fixed (0 and 1; for RGB 0 and 0.3), never taken from what is on the screen: panning
    must not change a colour. Missing values (NaN) and classes that are not listed are transparent.
    """

    cmap: str | tuple[str, ...] = "viridis"
    """Name of a matplotlib colormap, or the colours to run through, evenly spaced."""
    vmin: float | None = None
    """Value shown in the first colour; what is below is shown in it too."""
    vmax: float | None = None
    """Value shown in the last colour; what is above is shown in it too."""
    gamma: float = 1.0
    """Above 1 brightens the dark end, as in photographs: colour = ((v - vmin) / (vmax - vmin)) ** (1 / gamma)."""
    bands: tuple[str, ...] | None = None
    """Three band or common names for red, green, blue; or one, to show that band of several."""
    classes: Mapping[float, tuple[str, str]] | None = None
    """Value → (label, colour)."""
    opacity: float = 1.0
    """0 (invisible) to 1; the map's own opacity slider comes on top of it."""
    unit: str | None = None
    label: str | None = None
    """Title of the legend."""
    hidden: tuple[float, ...] = ()
    """Values of classes that are not drawn although they are listed: a click in the legend of a map hides one."""

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("cmap", _cmap(self.cmap))
        put("vmin", None if self.vmin is None else _number("vmin", self.vmin))
        put("vmax", None if self.vmax is None else _number("vmax", self.vmax))
        put("gamma", _number("gamma", self.gamma))
        put("opacity", _number("opacity", self.opacity))
        put("bands", _bands(self.bands))
        put("classes", _classes(self.classes))
        put("hidden", _hidden(self.hidden, self.classes or {}))
        put("unit", _text("unit", self.unit))
        put("label", _text("label", self.label))
        if not 0.05 <= self.gamma <= 20:
            raise StyleError(f"gamma={self.gamma:g} is not between 0.05 and 20", argument="gamma")
        if not 0 <= self.opacity <= 1:
            raise StyleError(f"opacity={self.opacity:g} is not between 0 and 1", argument="opacity")
        if self.classes and self.kind != "classes":
            raise StyleError("classes and three bands exclude each other: leave one out", argument="classes")
        low, high = self.range
        if low >= high:
            given = "" if None not in (self.vmin, self.vmax) else " (an end that is not given has its default)"
            raise StyleError(f"vmin={low:g} must be below vmax={high:g}{given}", argument="vmin")
        if not 1e-30 < high - low < 1e38:
            raise StyleError(f"vmin={low:g} and vmax={high:g} are too close or too far apart", argument="vmax")

    @classmethod
    def of(cls, **arguments: Any) -> Style:
        """The style of arguments by name; `StyleError` names the ones there are for what is none."""
        known = [f.name for f in fields(cls)]
        for name in arguments:
            if name not in known:
                close = f"; did you mean {_OTHER_NAMES[name]!r}?" if name in _OTHER_NAMES else _nearest(name, known)
                raise StyleError(f"a style has no {name!r}{close or '; it has ' + ', '.join(known)}", argument=name)
        return cls(**arguments)

    def written(self) -> str:
        """The arguments that are not their defaults, as they are written.

        >>> Style(cmap="RdYlGn", vmax=1).written()
        "cmap='RdYlGn', vmax=1.0"
        """
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}
        return ", ".join(f"{name}={shown(value)}" for name, value in given.items()) or "in the default style"

    def __repr__(self) -> str:
        return f"Style({'' if self == Style() else self.written()})"

    @property
    def kind(self) -> Kind:
        if self.bands and len(self.bands) == 3:
            return "rgb"
        return "classes" if self.classes else "continuous"

    @property
    def range(self) -> tuple[float, float]:
        """(vmin, vmax), with the defaults of the kind filled in."""
        return self.range_of(self.kind)

    def range_of(self, kind: Kind) -> tuple[float, float]:
        low, high = _DEFAULT_RANGE[kind]
        return (low if self.vmin is None else self.vmin, high if self.vmax is None else self.vmax)

    # Documents

    def to_json(self) -> dict[str, Any]:
        """The style's document; what equals its default is left out, so equal styles have equal documents."""
        doc: dict[str, Any] = {"type": "muses:style", "version": 1}
        for f in fields(self):
            value = getattr(self, f.name)
            if value == f.default:
                continue
            if f.name == "classes":
                value = [[v, label, colour] for v, (label, colour) in value.items()]
            doc[f.name] = list(value) if isinstance(value, tuple) else value
        return doc

    def to_text(self) -> str:
        """Canonical JSON (RFC 8785)."""
        return rfc8785.dumps(self.to_json()).decode()

    @classmethod
    def from_json(cls, doc: str | bytes | Mapping[str, Any]) -> Style:
        """The style of a document; raises `StyleError` naming the argument that is not valid."""
        if isinstance(doc, str | bytes):
            try:
                doc = json.loads(doc)
            except (ValueError, RecursionError) as error:
                raise StyleError(f"not a style document: {error}") from None
        if not isinstance(doc, Mapping):
            raise StyleError(f"a style document is a JSON object, not {type(doc).__name__}")
        if doc.get("type", "muses:style") != "muses:style":
            raise StyleError(f'type {doc["type"]!r} is not "muses:style"', argument="type")
        if doc.get("version", 1) != 1:
            raise StyleError(f"version {doc['version']!r} is not known; styles have 1", argument="version")
        given = {k: v for k, v in doc.items() if k not in ("type", "version")}
        if isinstance(given.get("classes"), list):
            for entry in given["classes"]:
                if not (isinstance(entry, list) and len(entry) == 3):
                    raise StyleError(f"class {entry!r} is not [value, label, colour]", argument="classes")
                _number("classes", entry[0])
            given["classes"] = {v: (label, colour) for v, label, colour in given["classes"]}
        return cls.of(**given)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical document."""
        return hashlib.sha256(rfc8785.dumps(self.to_json())).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Style) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    # Colours

    def colormap(self) -> colors.Colormap:
        if isinstance(self.cmap, str):
            return colormaps[self.cmap]
        return colors.LinearSegmentedColormap.from_list("style", list(self.cmap), N=1024)

    def legend(self) -> dict[str, Any]:
        """What a legend draws, as JSON.

        `kind` is one of
        - `continuous`: `vmin`, `vmax`, `stops` ([[offset 0..1, "#rrggbb"], ...], linear in between), `ticks`
          ([{offset, value, label}, ...]);
        - `classes`: `entries` ([{value, label, colour}, ...], with `hidden: true` where one is not drawn);
        - `rgb`: `bands` (three names), `vmin`, `vmax`, `gamma`.
        All have `label`, `unit` (may be null) and `opacity`.
        """
        common = {"kind": self.kind, "label": self.label, "unit": self.unit, "opacity": self.opacity}
        low, high = self.range
        if self.kind == "classes":
            assert self.classes is not None
            entries = [
                {"value": v, "label": label, "colour": c, **({"hidden": True} if v in self.hidden else {})}
                for v, (label, c) in self.classes.items()
            ]
            return common | {"entries": entries}
        if self.kind == "rgb":
            return common | {"bands": list(self.bands or ()), "vmin": low, "vmax": high, "gamma": self.gamma}
        return common | {"vmin": low, "vmax": high, "stops": self._stops(), "ticks": _ticks(low, high)}

    def _stops(self) -> list[list[Any]]:
        cmap = self.colormap()
        if cmap.N <= 64:  # a list of a few colours: hard edges
            edges = [(i / cmap.N) ** self.gamma for i in range(cmap.N + 1)]
            return [[round(edges[i + k], 6), colors.to_hex(cmap(i))] for i in range(cmap.N) for k in (0, 1)]
        n = 32
        return [[i / n, colors.to_hex(cmap((i / n) ** (1 / self.gamma)))] for i in range(n + 1)]


def _nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'x' or 'y'?` for a name that is not known, or nothing."""
    lower = {k.lower(): k for k in reversed(known)}
    close = [lower[m] for m in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _number(argument: str, value: Any) -> float:
    found = plain(value)  # `values.min()` of xarray is an array without dimensions
    if isinstance(found, bool) or not isinstance(found, Real) or not math.isfinite(found):
        raise StyleError(f"{argument}={shown(value)} is not a finite number", argument=argument)
    return float(found)


def _text(argument: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= 200):
        raise StyleError(f"{argument}={value!r} is not a text of at most 200 characters", argument=argument)
    return value


def _colour(argument: str, value: Any) -> str:
    try:
        return colors.to_hex(value)
    except ValueError:
        hint = _nearest(value, list(colors.CSS4_COLORS)) if isinstance(value, str) else ""
        raise StyleError(f"{value!r} is not a colour{hint or '; give a name or #rrggbb'}", argument=argument) from None


def _cmap(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, colors.Colormap):
        registered = value.name in colormaps and colormaps[value.name] == value
        value = value.name if registered else [value(i / 255) for i in range(256)]
    if isinstance(value, str):
        if value not in colormaps:
            hint = _nearest(value, list(colormaps)) or "; see matplotlib's list, for example 'viridis' or 'RdYlGn'"
            raise StyleError(f"there is no colormap {value!r}{hint}", argument="cmap")
        return value
    if not isinstance(value, Sequence) or not 2 <= len(value) <= 256:
        raise StyleError(f"cmap={value!r} is neither a colormap's name nor 2 to 256 colours", argument="cmap")
    return tuple(_colour("cmap", c) for c in value)


def _bands(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else ()
    if len(names) not in (1, 3) or not all(isinstance(n, str) and n for n in names):
        raise StyleError(f"bands={value!r} are not three band names (red, green, blue) or one", argument="bands")
    return names


def _classes(value: Any) -> dict[float, tuple[str, str]] | None:
    if value is None or value == {}:
        return None
    if not isinstance(value, Mapping):
        raise StyleError(f"classes={value!r} is not {{value: (label, colour)}}", argument="classes")
    if len(value) > MAX_CLASSES:
        raise StyleError(f"{len(value)} classes are more than the {MAX_CLASSES} of a palette image", argument="classes")
    found: dict[float, tuple[str, str]] = {}
    for key, entry in value.items():
        number = _number("classes", key)
        if not (isinstance(entry, Sequence) and not isinstance(entry, str) and len(entry) == 2):
            raise StyleError(f"class {key!r}: {entry!r} is not (label, colour)", argument="classes")
        label = _text("classes", entry[0])
        if label is None:
            raise StyleError(f"class {key!r} has no label", argument="classes")
        found[number] = (label, _colour("classes", entry[1]))
    return dict(sorted(found.items()))


def _hidden(value: Any, classes: Mapping[float, Any]) -> tuple[float, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise StyleError(f"hidden={shown(value)} is no list of values of classes", argument="hidden")
    numbers = {_number("hidden", one) for one in value}
    for one in sorted(numbers - set(classes)):
        there = ", ".join(f"{v:g}" for v in classes) or "none"
        raise StyleError(f"hidden={one:g} is no class of the style; there are {there}", argument="hidden")
    return tuple(sorted(numbers))


def _ticks(low: float, high: float) -> list[dict[str, Any]]:
    inside = [float(t) for t in MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    slack = (high - low) * 1e-9
    inside = [t for t in inside if low - slack <= t <= high + slack]
    values = inside if len(inside) >= 2 else [low, high]
    return [
        {"offset": min(max((v - low) / (high - low), 0.0), 1.0), "value": v, "label": f"{v:.6g}".replace("-", "−")}
        for v in values
    ]
