"""Points of tables: a CSV whose columns say where each row lies."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from muses_lab.crs import crs_name
from muses_lab.plain import first_line

if TYPE_CHECKING:  # it takes a second to load
    import geopandas
    import pandas

SUFFIXES = (".csv", ".tsv", ".txt")

_DEGREES = "EPSG:4326"
_EAST = ("lon", "long", "longitude", "lng", "x", "easting", "east", "coord_x", "xcoord", "x_coord")
_NORTH = ("lat", "latitude", "y", "northing", "north", "coord_y", "ycoord", "y_coord")
_IN_DEGREES = ("lon", "long", "longitude", "lng", "lat", "latitude")
_TEXTS = ("wkt", "geometry", "geom", "the_geom", "wkt_geom")
_CRS = ("crs", "epsg", "srid")
_NAMELESS = "\0"
"""How the name begins of a column that has none."""
_HEAD = 64 << 10
"""Bytes of a file by which it is told how its values are separated."""


def points_of(path: Path, crs: Any = None) -> geopandas.GeoDataFrame:
    """The rows of a table as points, or as the outlines that a column has as WKT.

    Columns are found by their usual names (`lon` and `lat`, `longitude`, `x` and `y`, `easting`, …; `wkt`). Coordinates
    that are called degrees, or all can be some, are taken as such; for others the table must say in which reference
    system they are (a column `crs` or `epsg`), or `crs` does. Rows without coordinates are features without a geometry.

    Raises
    ------
    ValueError
        It is no table, has no such columns, or nobody knows its reference system.
    """
    import geopandas

    table = _read(path)
    said = _said(table)
    if said is not None and crs is not None and crs_name(said) != crs_name(crs):
        raise ValueError(f"it is in {crs_name(said)}, not in {crs_name(crs)}")
    crs = said or crs
    texts = _named(table, _TEXTS)
    if texts is not None:
        outlines = geopandas.GeoDataFrame(table.drop(columns=texts), geometry=_of_wkt(table[texts]), crs=crs)
        return outlines if crs else outlines.set_crs(_degrees_of(texts, outlines.total_bounds))
    east, north = _named(table, _EAST), _named(table, _NORTH)
    if east is None or north is None:
        columns = ", ".join(map(repr, table.columns[:8])) + (", …" if len(table.columns) > 8 else "")
        raise ValueError(
            "no two of its columns say where its rows lie: call them lon and lat, or x and y (or one with outlines, "
            f"wkt); it has {columns}"
        )
    x, y = _numbers(table[east]), _numbers(table[north])
    if crs is None:
        crs = _system(east, north, x, y)
    there = np.isfinite(x) & np.isfinite(y)
    points = np.full(len(table), None, object)
    points[there] = shapely.points(x[there], y[there])
    return geopandas.GeoDataFrame(table, geometry=points, crs=crs)


def _read(path: Path) -> pandas.DataFrame:
    import pandas

    head = path.read_bytes()[:_HEAD] if path.stat().st_size <= _HEAD else _first(path)
    if b"\0" in head:
        raise ValueError("it is no text, so no table of values separated by commas")
    encoding = "utf-8-sig" if _is_utf8(head) else "cp1252"
    text = head.decode(encoding, "replace")
    separator = _separator(text)
    names = _header(text, separator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            table = pandas.read_csv(
                path, sep=separator, encoding=encoding, skipinitialspace=True, dtype=str, index_col=False,
                keep_default_na=False, na_values=[""], names=names, header=0,
            )  # fmt: skip
    except (ValueError, pandas.errors.ParserError, pandas.errors.ParserWarning) as error:
        raise ValueError(f"it cannot be read as a table: {first_line(error)}") from None
    if table.empty:
        raise ValueError("it has no rows")
    table = table.drop(columns=[name for name in names if name.startswith(_NAMELESS)])
    decimal = "," if separator == ";" and _has_commas(text) else "."
    return table.apply(_values, decimal=decimal)


def _header(head: str, separator: str) -> list[str]:
    """The names of its columns; of columns without one, which rows that end with a separator have, a number."""
    rows = list(csv.reader(head.splitlines(), delimiter=separator, skipinitialspace=True))[:-1] or [[]]
    rows = [row for row in rows if row] or list(csv.reader(head.splitlines(), delimiter=separator))
    names = [name.strip() for name in rows[0]]
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        raise ValueError(f"two of its columns are called {repeated[0]!r}")
    for number, row in enumerate(rows[1:], 1):
        if any(value.strip() for value in row[len(names) :]):
            raise ValueError(f"row {number} has {len(row)} values, and its header names {len(names)} columns")
    width = max(map(len, rows))
    return [name or f"{_NAMELESS}{n}" for n, name in enumerate([*names, *[""] * (width - len(names))])]


def _values(column: pandas.Series, decimal: str) -> pandas.Series:
    """Numbers and truth values where all are some; codes that begin with a zero stay text."""
    import pandas

    texts = column.dropna().str.strip()
    if not texts.empty and set(texts.str.lower()) <= {"true", "false"}:
        return column.str.strip().str.lower().map({"true": True, "false": False})
    if texts.str.match(r"[+-]?0\d").any():
        return column
    plain = column.str.strip().str.replace(decimal, ".", regex=False)
    try:
        return pandas.to_numeric(plain)
    except ValueError:
        return column


def _first(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _is_utf8(head: bytes) -> bool:
    try:
        head[: len(head) - 3].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def _separator(head: str) -> str:
    lines = [line for line in head.splitlines()[:20] if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    if len(lines) == 1 and not re.search(r"[;,\t|]", lines[0]):
        raise ValueError("it has one line and nothing that separates values: it is no table")
    try:
        return csv.Sniffer().sniff("\n".join(lines), delimiters=",;\t|").delimiter
    except csv.Error:
        return max(",;\t|", key=lines[0].count)


def _has_commas(head: str) -> bool:
    """Whether numbers have decimal commas: values apart by semicolons, with digits on both sides of a comma."""
    return bool(re.search(r"(?:^|;)\s*-?\d+,\d+\s*(?:;|$)", head, re.MULTILINE))


def _named(table: pandas.DataFrame, names: Sequence[str]) -> str | None:
    """The column of one of these names; ValueError where two are."""
    lower = {column.lower(): column for column in table.columns}
    return next((lower[name] for name in names if name in lower), None)


def _said(table: pandas.DataFrame) -> str | None:
    """The reference system that the table itself says, in every row the same."""
    column = _named(table, _CRS)
    if column is None:
        return None
    values = table[column].dropna().unique()
    if len(values) != 1:
        return None  # a column of something else, or of several
    text = str(values[0]).strip().removesuffix(".0")
    try:
        return crs_name(f"EPSG:{text}" if text.isdecimal() else text)
    except ValueError:
        raise ValueError(f"its column {column!r} says {text!r}, which is no reference system") from None


def _numbers(column: pandas.Series) -> np.ndarray:
    import pandas

    found = pandas.to_numeric(column, errors="coerce").to_numpy(float)
    wrong = np.isnan(found) & column.notna().to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"its column {column.name!r} has {column.iloc[row]!r} in row {row + 1}, which is no number"
            + (f" ({int(wrong.sum())} such rows)" if wrong.sum() > 1 else "")
        )
    return found


def _system(east: str, north: str, x: np.ndarray, y: np.ndarray) -> str:
    if not (np.isfinite(x) & np.isfinite(y)).any():
        raise ValueError(f"none of its rows has numbers in {east!r} and {north!r}")
    widest, highest = np.nanmax(np.abs(x)), np.nanmax(np.abs(y))
    degrees = bool(widest <= 180 and highest <= 90)
    if degrees and (east.lower() in _IN_DEGREES or widest > 1 or highest > 1):
        return _DEGREES
    if east.lower() in _IN_DEGREES and widest <= 90 and highest <= 180:
        raise ValueError(
            f"{north!r} has {highest:g}, which no latitude is: are {east!r} and {north!r} the wrong way round?"
        )
    raise ValueError(
        f"{east!r} and {north!r} (up to {widest:g} and {highest:g}) are no degrees, and the table does not say in "
        "which reference system they are: crs=… does, or a column 'crs' such as EPSG:32631"
    )


def _degrees_of(column: str, bounds: np.ndarray) -> str:
    w, s, e, n = bounds
    if max(abs(w), abs(e)) <= 180 and max(abs(s), abs(n)) <= 90:
        return _DEGREES
    raise ValueError(
        f"its column {column!r} (up to {e:g}, {n:g}) is not in degrees, and the table does not say in which reference "
        "system it is: crs=… does, or a column 'crs' such as EPSG:32631"
    )


def _of_wkt(column: pandas.Series) -> np.ndarray:
    texts = column.to_numpy(object)
    shapes = np.full(len(texts), None, object)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            continue
        try:
            shapes[row] = shapely.from_wkt(text)
        except shapely.GEOSException as error:
            raise ValueError(f"its column {column.name!r} has no WKT in row {row + 1}: {str(error)[:80]}") from None
    return shapes
