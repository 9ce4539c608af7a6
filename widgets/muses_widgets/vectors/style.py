"""How features are drawn: all alike, by a category, by a number, or by rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np

from muses_lab.catalog.condition import Condition
from muses_lab.errors import ArgumentError
from muses_lab.operators.vectors import Features
from muses_lab.plain import shown
from muses_lab.render import palette
from muses_lab.style import Style

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#4e342e", "#6a51a3", "#a6761d",
    "#1b9e77", "#e7298a",
)  # fmt: skip
"""Of categories, the most frequent one first; those that are left share the colour of the others."""
OTHER = "#9e9e9e"
METHODS = ("quantiles", "equal")
_MOST = 12

Kind = Literal["single", "categories", "graduated", "rules"]


@dataclass(frozen=True)
class VectorStyle:
    """How the features of a layer are drawn, and what its legend says.

    ```python
    m.add(fields, name="Fields", style=VectorStyle.single("#d55e00", fill=0))
    m.add(fields, name="Crops", style=VectorStyle.categories("crop", label="name"))
    m.add(fields, name="Area", style=VectorStyle.graduated("area", classes=5, cmap="viridis"))
    m.add(fields, style=VectorStyle.rules({"area > 5 AND crop = 'wheat'": "#d55e00", "crop = 'maize'": "#e69f00"}))
    ```

    `width` of lines and `radius` of points are in pixels of the screen, `fill` is the opacity inside, from 0 to 1.
    `label` is the attribute that is written beside each feature.
    """

    kind: Kind = "single"
    by: str | None = None
    """The attribute that decides."""
    colour: str = COLOURS[0]
    """Of all features; of rules and categories, of those that none is for."""
    breaks: tuple[float, ...] = ()
    """Upper ends of all classes but the last."""
    classes: int = 5
    method: str = "quantiles"
    cmap: str = "viridis"
    chosen: tuple[tuple[str, str], ...] = ()
    """(category or condition, colour)."""
    label: str | None = None
    hidden: tuple[int, ...] = ()
    """Places in the legend, from 0, whose features are not drawn: a click in the legend of a map hides one."""
    width: float = 2
    fill: float = 0.4
    radius: float = 6

    def __post_init__(self) -> None:
        for name, low, high in (("width", 0, 30), ("fill", 0, 1), ("radius", 1, 60)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ArgumentError(f"{name}={shown(value)} is not between {low} and {high}", argument=name)
        for colour in (self.colour, *(one for _, one in self.chosen)):
            _hex(colour)
        if any(isinstance(place, bool) or not isinstance(place, int) or place < 0 for place in self.hidden):
            raise ArgumentError(f"hidden={shown(self.hidden)} are no places in the legend, from 0", argument="hidden")
        if self.kind == "graduated":
            if self.method not in METHODS:
                raise ArgumentError(
                    f"method={shown(self.method)} is none: there are {', '.join(METHODS)}, or give breaks=[…]",
                    argument="method",
                )
            if isinstance(self.classes, bool) or not isinstance(self.classes, int) or not 2 <= self.classes <= _MOST:
                raise ArgumentError(f"classes={shown(self.classes)} is not between 2 and {_MOST}", argument="classes")
            palette(Style(cmap=self.cmap))  # an unknown palette is an error here

    @classmethod
    def single(cls, colour: str = COLOURS[0], **look: Any) -> Self:
        """All features in one colour."""
        return cls(colour=colour, **look)

    @classmethod
    def categories(cls, by: str, colours: Mapping[Any, str] | None = None, **look: Any) -> Self:
        """A colour for each value of an attribute; `colours` names them: `{"wheat": "#d55e00"}`.

        Without `colours` the twelve most frequent values have one each, and all others share a grey.
        """
        chosen = tuple((str(value), colour) for value, colour in (colours or {}).items())
        return cls("categories", by, look.pop("colour", OTHER), chosen=chosen, **look)

    @classmethod
    def graduated(
        cls, by: str, classes: int = 5, method: str = "quantiles", cmap: str = "viridis",
        breaks: Sequence[float] = (), **look: Any,
    ) -> Self:  # fmt: skip
        """Colours of a palette by a number: classes of as many features each (`quantiles`), of `equal` width, or up to
        the `breaks` that are given.

        A class holds values above its lower end, up to and with its upper one.
        """
        ends = tuple(float(one) for one in breaks)
        if list(ends) != sorted(set(ends)):
            raise ArgumentError(f"breaks={list(breaks)!r} do not ascend", argument="breaks")
        return cls("graduated", by, look.pop("colour", OTHER), ends, classes, method, cmap, **look)

    @classmethod
    def rules(cls, rules: Mapping[str, str] | Iterable[tuple[str, str]], **look: Any) -> Self:
        """The colour of the first CQL2 condition that a feature fits: `{"crop = 'wheat' AND area > 5": "#d55e00"}`."""
        chosen = tuple(rules.items() if isinstance(rules, Mapping) else rules)
        for condition, _ in chosen:
            Condition(condition)
        return cls("rules", None, look.pop("colour", OTHER), chosen=chosen, **look)

    def to_json(self) -> dict[str, Any]:
        """What differs from the default."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: _plain(value) for name, value in told.items()}

    @classmethod
    def from_json(cls, document: Any) -> Self:
        known = {f.name for f in fields(cls)}
        if not isinstance(document, Mapping) or set(document) - known:
            raise ArgumentError(f"a style of vectors has {', '.join(sorted(known))}, not {shown(document)}")
        given = dict(document)
        given["breaks"] = tuple(given.get("breaks", ()))
        given["hidden"] = tuple(given.get("hidden", ()))
        given["chosen"] = tuple((str(name), str(colour)) for name, colour in given.get("chosen", ()))
        if given.get("kind", "single") not in ("single", "categories", "graduated", "rules"):
            raise ArgumentError(f"kind={shown(given['kind'])} is no kind of a vector style")
        return cls(**given)

    def drawn(self, features: Features) -> tuple[list[int], dict[str, Any]]:
        """The place in the legend of each feature, and the legend as `ClassesLegend` in js/types.d.ts."""
        places, legend = self._drawn(features)
        entries = legend["entries"]
        if beyond := [place for place in self.hidden if place >= len(entries)]:
            raise ArgumentError(f"hidden={beyond[0]}: the legend has {len(entries)} entries, from 0", argument="hidden")
        for place in self.hidden:
            entries[place]["hidden"] = True
        return places, legend

    def _drawn(self, features: Features) -> tuple[list[int], dict[str, Any]]:
        for name in (self.by, self.label):
            if name is not None and name not in features.columns:
                there = ", ".join(features.columns) or "none"
                raise ArgumentError(f"{name!r} is no attribute of these features; there are {there}")
        if self.kind == "categories":
            return self._by_category(features)
        if self.kind == "graduated":
            return self._by_number(features)
        if self.kind == "rules":
            return self._by_rule(features)
        return [0] * len(features), _legend([(self.colour, "all features")], None)

    def _by_category(self, features: Features) -> tuple[list[int], dict[str, Any]]:
        values = [None if value is None else str(value) for value in features.column(str(self.by))]
        counts = Counter(value for value in values if value is not None)
        frequent = [value for value, _ in counts.most_common(len(COLOURS))]
        colours = dict(self.chosen) or dict(zip(sorted(frequent), COLOURS, strict=False))
        rest = sum(n for value, n in counts.items() if value not in colours) + values.count(None)
        named = [(colour, f"{value} ({counts[value]})") for value, colour in colours.items()]
        places = {value: n for n, value in enumerate(colours)}
        return [places.get(value or "", len(places)) for value in values], _legend(
            [*named, *([(self.colour, f"others ({rest})")] if rest else [])], self.by
        )

    def _by_number(self, features: Features) -> tuple[list[int], dict[str, Any]]:
        values = np.array([_number(value, self.by) for value in features.column(str(self.by))])
        finite = values[np.isfinite(values)]
        if not finite.size:
            raise ArgumentError(f"no feature has a number as its {self.by!r}: categories({self.by!r}) colours texts")
        low, high = float(finite.min()), float(finite.max())
        ends = self.breaks or _ends(finite, self.classes, self.method)
        number = np.searchsorted(np.array(ends), values, side="left")
        table = palette(Style(cmap=self.cmap))[1:]
        n = len(ends) + 1
        colours = [_hex_of(table[round(i * (len(table) - 1) / max(1, n - 1))]) for i in range(n)]
        edges = [low, *ends, high]
        named = [
            (colours[i], f"{edges[i]:.4g} to {edges[i + 1]:.4g} ({int((number == i)[np.isfinite(values)].sum())})")
            for i in range(n)
        ]
        missing = int((~np.isfinite(values)).sum())
        told = [int(i) if np.isfinite(v) else n for i, v in zip(number, values, strict=True)]
        return told, _legend([*named, *([(self.colour, f"no value ({missing})")] if missing else [])], self.by)

    def _by_rule(self, features: Features) -> tuple[list[int], dict[str, Any]]:
        rules = [(Condition(text), text, colour) for text, colour in self.chosen]
        for condition, _, _ in rules:
            condition.check_known(features.columns)
        columns = list(features.properties)
        rows = zip(*features.properties.values(), strict=True) if columns else [()] * len(features)
        found: list[int] = []
        for id, row in zip(features.ids, rows, strict=True):
            item = {"id": id, "properties": dict(zip(columns, row, strict=True))}
            found.append(next((n for n, (rule, _, _) in enumerate(rules) if rule.matches(item)), len(rules)))
        named = [(colour, f"{text} ({found.count(n)})") for n, (_, text, colour) in enumerate(rules)]
        rest = found.count(len(rules))
        return found, _legend([*named, *([(self.colour, f"others ({rest})")] if rest else [])], None)


def _legend(entries: Iterable[tuple[str, str]], label: str | None) -> dict[str, Any]:
    told = [{"value": n, "label": text, "colour": colour} for n, (colour, text) in enumerate(entries)]
    return {"kind": "classes", "entries": told, "label": label, "unit": None}


def _ends(values: np.ndarray, classes: int, method: str) -> tuple[float, ...]:
    """Upper ends of all classes but the last; fewer where many values are the same."""
    if method == "equal":
        inner = np.linspace(values.min(), values.max(), classes + 1)[1:-1]
    else:
        inner = np.quantile(values, np.linspace(0, 1, classes + 1)[1:-1])
    return tuple(float(end) for end in np.unique(inner) if end < values.max())


def _number(value: Any, name: str | None) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentError(f"{name!r} has the value {shown(value)}, which is no number: categories({name!r})")
    return float(value)


def _hex(colour: Any) -> str:
    from matplotlib.colors import is_color_like, to_hex

    if not isinstance(colour, str) or not is_color_like(colour):
        raise ArgumentError(f"{shown(colour)} is no colour: give a name or '#d55e00'")
    return str(to_hex(colour))


def _hex_of(rgb: np.ndarray) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in rgb[:3])


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
