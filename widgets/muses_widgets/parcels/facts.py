"""What a panel of parcels shows of their statistics: columns, values of a date, colours, small series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from muses_lab.operators.vectors import Features
from muses_lab.style import Style
from muses_lab.tables.zones import ZonalSeries

_LIKE_VALUES = ("mean", "median", "min", "max")
"""Statistics that are of the values' own quantity, as quantiles are."""
_TITLES = {"q10": "10 %", "q90": "90 %", "std": "std. dev.", "count": "valid pixels", "share": "valid share"}


def title_of(statistic: str) -> str:
    """What a statistic is called: `mean`, `10 %`."""
    if statistic in _TITLES or not statistic.startswith("q"):
        return _TITLES.get(statistic, statistic)
    return f"{statistic[1:]} %"


def statistics_of(found: ZonalSeries) -> dict[str, np.ndarray]:
    """Every statistic, then the valid pixels and their share: dims feature, t, bands."""
    inner = found.found
    values = {name: inner.values[..., n] for n, name in enumerate(inner.names)}
    with np.errstate(all="ignore"):
        share = inner.count / inner.covered[:, None, None]
    return {**values, **({"count": inner.count, "share": share} | values)}


def columns_of(features: Features, called: str | None, statistics: Sequence[str]) -> list[dict[str, Any]]:
    """{name, title, kind: text | number, statistic}: the attributes but that of their names, then the statistics."""
    told = [
        {"name": f"a:{name}", "title": name, "kind": "number" if _are_numbers(column) else "text", "statistic": False}
        for name, column in features.properties.items()
        if name != called
    ]
    return told + [{"name": name, "title": title_of(name), "kind": "number", "statistic": True} for name in statistics]


def _are_numbers(column: Sequence[Any]) -> bool:
    known = [value for value in column if value is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def attributes_of(features: Features) -> dict[str, list[Any]]:
    """The attributes by the names of their columns; numbers that JSON does not have are missing."""
    return {f"a:{name}": [_json(value) for value in column] for name, column in features.properties.items()}


def names_of(features: Features, column: str | None) -> list[str]:
    """What each parcel is called: its value of a column, else its id."""
    values = features.ids if column is None else features.properties[column]
    return [str(id if value is None else value) for id, value in zip(features.ids, values, strict=True)]


def values_at(found: ZonalSeries, date: int, band: int) -> dict[str, list[float | None]]:
    """Each statistic of all parcels on a date."""
    return {name: numbers(values[:, date, band]) for name, values in statistics_of(found).items()}


def numbers(values: np.ndarray) -> list[float | None]:
    """As JSON has them, with all digits; missing ones as null."""
    return [float(value) if np.isfinite(value) else None for value in values]


def small_series(found: ZonalSeries, parcels: Sequence[int], band: int) -> list[dict[str, Any]]:
    """{number, line, low, high}: of each parcel the first statistic by date, with the 10 % and 90 % where they are."""
    values, names = found.found.values, found.found.names
    at = {name: names.index(name) for name in ("q10", "q90") if name in names}
    told = []
    for number in parcels:
        of_one = values[number, :, band]
        one: dict[str, Any] = {"number": number, "line": numbers(of_one[:, 0])}
        if len(at) == 2 and names[0] not in ("count", "share"):
            one |= {"low": numbers(of_one[:, at["q10"]]), "high": numbers(of_one[:, at["q90"]])}
        told.append(one)
    return told


def legends_of(found: ZonalSeries, look: Style | None, band: int) -> dict[str, dict[str, Any]]:
    """The legend of each statistic, the same for all dates; those of the values' quantity share the layer's colours."""
    everything = statistics_of(found)
    alike = [name for name in everything if name in _LIKE_VALUES or (name[0] == "q" and name[1:2].isdigit())]
    shared = _range([everything[name][..., band] for name in alike])
    cmap: str | tuple[str, ...] = "viridis"
    given = None
    if look is not None and look.kind == "continuous":
        cmap, given = look.cmap, look.range if look.vmin is not None and look.vmax is not None else None
    unit = found.unit if found.unit not in ("", "1") else None
    told = {}
    for name, values in everything.items():
        if name in alike:
            (low, high), label = given or shared, f"{title_of(name)} {found.quantity}".strip()
            told[name] = Style(cmap=cmap, vmin=low, vmax=high, label=label, unit=unit).legend()
        else:
            low, high = (0.0, 1.0) if name == "share" else _range([values[..., band]])
            told[name] = Style(cmap="cividis", vmin=low, vmax=high, label=title_of(name)).legend()
    return told


def _range(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """From the 2nd to the 98th percentile."""
    values = np.concatenate([part[np.isfinite(part)] for part in parts]) if parts else np.zeros(0)
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (2, 98)))
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
