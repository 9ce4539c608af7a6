"""Tables as files that others read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from muses_lab import plain

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"

_OF_GEOPACKAGES = ("fid", "geom")
"""Columns that each layer of a GeoPackage has."""


def free_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """What columns are called beside those that are taken, by their names; GeoPackages do not tell letters' cases.

    >>> free_names(["crop", "Crop", "count", "fid"], taken=["count"])
    {'crop': 'crop', 'Crop': 'feature_Crop', 'count': 'feature_count', 'fid': 'feature_fid'}
    """
    names = list(names)
    used = {name.casefold() for name in (*_OF_GEOPACKAGES, *taken)}
    found: dict[str, str] = {}
    for name in names:
        if name.isprintable() and name.strip() and name.casefold() not in used:
            found[name] = name
            used.add(name.casefold())
    for name in names:
        if name not in found:
            stem = "feature_" + "".join(one if one.isprintable() else "_" for one in name)
            found[name] = next(one for one in _numbered(stem) if one.casefold() not in used)
            used.add(found[name].casefold())
    return {name: found[name] for name in names}


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}_{number}" for number in count(2))


def to_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Numbers are written so that reading gives the same double; shapes are left to formats that have them.

    Texts that a spreadsheet would run as a formula (they begin with = + - @, a tab or a line break, and are no numbers)
    get an apostrophe before them, as OWASP advises; Parquet and GeoPackage hold them as they are.
    """
    target = plain.path("path", path, "series.csv")
    rows = table.drop(columns="geometry", errors="ignore")
    target.parent.mkdir(parents=True, exist_ok=True)
    _without_formulas(pd.DataFrame(rows)).to_csv(target, index=False, date_format=_TIME)
    return target


def _without_formulas(rows: pd.DataFrame) -> pd.DataFrame:
    texts = {
        name: column.astype(object).map(plain.spreadsheet_cell)
        for name, column in rows.items()
        if not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_datetime64_any_dtype(column)
    }
    return rows.assign(**texts).rename(columns=plain.spreadsheet_cell)


def to_parquet(table: Any, path: str | os.PathLike[str]) -> Path:
    """GeoParquet where rows have shapes."""
    target = plain.path("path", path, "series.parquet")
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(target, index=False)
    return target


def to_geopackage(features: Any, table: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Two layers: `features` (with their shapes, and `feature`, their id) and `series`, the table without them."""
    import pyogrio  # it loads a GDAL of its own

    target = plain.path("path", path, "series.gpkg")
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame(table.drop(columns="geometry", errors="ignore"))
    if "date" in rows:
        rows = rows.assign(date=rows["date"].astype("datetime64[ms]"))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:  # whole, or not there
        made = Path(folder) / target.name
        pyogrio.write_dataframe(features, made, layer="features", driver="GPKG")
        pyogrio.write_dataframe(rows, made, layer="series", driver="GPKG")
        os.replace(made, target)
    return target
