"""What the panel of series tells of dates and plots: in words, and as the page takes it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from muses_lab.tables.kept import KeptSeries
from muses_lab.tables.observed import MASKED, OUTSIDE, VALID
from muses_widgets.series import figure

LONG = 32
"""Of a series of more dates the newest are shown before all are read."""
FIRST = 16
"""So many of them."""


def iso(time: Any) -> str:
    """A date to the microsecond, as catalogues have it: dates are told apart by this text."""
    return str(np.datetime64(time, "us"))


def data_url(body: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(body).decode()}" if body else ""


def told_dates(table: pd.DataFrame, unit: str) -> list[dict[str, Any]]:
    """A date each, in words and for the images."""
    rows = table.drop_duplicates("date").sort_values("date")
    value = KeptSeries(table).VALUE
    found = []
    for row in rows.to_dict("records"):
        state = row.get("state", VALID if row[value] == row[value] else MASKED)
        if state == OUTSIDE:
            continue
        number = row[value] if row[value] == row[value] else row.get("unmasked", np.nan)
        text = f"{number:.4g} {unit if unit != '1' else ''}".strip() if number == number else "no data"
        clouds, sun = row.get("cloud_cover", np.nan), row.get("sun_elevation", np.nan)
        found.append(
            {
                "time": iso(row["date"]), "label": str(row.get("label") or str(row["date"])[:10]),
                "ms": figure.milliseconds(row["date"]), "text": text, "state": str(state),
                "mask": str(row.get("mask_class") or ""), "scene": str(row.get("scene") or ""),
                "clouds": None if clouds != clouds else round(float(clouds), 1),
                "sun": None if sun != sun else round(float(sun), 1),
            }
        )  # fmt: skip
    return found


def in_words(drawn: Sequence[KeptSeries]) -> str:
    """The plot for who cannot see it."""
    told = []
    for one in drawn:
        values = one.rows[one.VALUE]
        valid = one.rows[values.notna()]
        masked = int((one.rows["state"] == MASKED).sum()) if "state" in one.rows else 0
        unit = "" if one.unit in ("", "1") else f" {one.unit}"
        if valid.empty:
            told.append(f"{one.name}: no value on any of {one.rows['date'].nunique()} dates, {masked} masked.")
            continue
        told.append(
            f"{one.name}: {valid['date'].nunique()} of {one.rows['date'].nunique()} dates, "
            f"{values.min():.4g} to {values.max():.4g}{unit}" + (f", {masked} masked" if masked else "") + "."
        )
    return " ".join(told)
