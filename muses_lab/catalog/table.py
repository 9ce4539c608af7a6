"""Items as a table: searched by columns, turned into STAC Items only where they were found.

Making Python dictionaries of 10 000 Sentinel-2 items takes half a minute, reading four columns of them milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import rustac
import shapely
from shapely.geometry import mapping, shape

from muses_lab.catalog.condition import Condition
from muses_lab.catalog.cql2 import OWN_FIELDS
from muses_lab.catalog.query import Query, QueryError
from muses_lab.errors import ReadError
from muses_lab.globe import on_globe
from muses_lab.products.items import PROBLEM, normalised
from muses_lab.times import format_time, parse_time

_NOT_PROPERTIES = {"type", "stac_version", "stac_extensions", "id", "links", "assets", "collection", "bbox", "geometry"}


class Table(Protocol):
    """Columns of many items; `rows` are positions in it."""

    def __len__(self) -> int: ...
    def names(self) -> set[str]:
        """Properties that at least one item has."""
        ...

    def odd(self) -> np.ndarray:
        """Whether an item's time or place cannot be read: it is always found, so that it can be named."""
        ...

    def ids(self) -> np.ndarray: ...
    def collections(self) -> np.ndarray: ...
    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last time of each item as datetime64[us], NaT where unknown."""
        ...

    def boxes(self) -> np.ndarray:
        """(n, 4) west, south, east, north; NaN where unknown."""
        ...

    def geometries(self, rows: np.ndarray) -> np.ndarray: ...
    def properties(self, names: Sequence[str], rows: np.ndarray) -> list[dict[str, Any]]: ...
    def items(self, rows: np.ndarray) -> list[dict[str, Any]]: ...


def search(table: Table, query: Query) -> list[dict[str, Any]]:
    """The items of `table` that `query` asks for."""
    return table.items(_sorted(table, query, _matching(table, query))[: query.limit])


def count(table: Table, query: Query) -> int:
    """How many items `search` would find; no item is made for it."""
    return len(_matching(table, query)[: query.limit])


def _matching(table: Table, query: Query) -> np.ndarray:
    rows = np.arange(len(table))
    if len(rows) == 0:
        return rows
    known = table.collections()
    rows = rows[(known == query.collection) | (known == "")]
    odd = table.odd()[rows]
    rows, kept = rows[~odd], rows[odd]
    rows = _in_time(table, query, rows)
    rows = _in_area(table, query, rows)
    return np.union1d(_where(table, query, rows), kept)


def _in_time(table: Table, query: Query, rows: np.ndarray) -> np.ndarray:
    start, end = query.interval
    if start is None and end is None:
        return rows
    first, last = (span[rows] for span in table.spans())
    keep = ~np.isnat(first)
    if start is not None:
        keep &= last >= _datetime64(start)
    if end is not None:
        keep &= first < _datetime64(end)
    return rows[keep]


def _in_area(table: Table, query: Query, rows: np.ndarray) -> np.ndarray:
    area = query.area
    if area is None:
        return rows
    west, south, east, north = table.boxes()[rows].T
    w, s, e, n = area.bounds
    plain = (west >= -180) & (west <= east) & (east <= 180) & (east - west <= 180)
    outside = (south > n) | (north < s) | (plain & ((west > e) | (east < w)))
    # Unknown boxes (NaN) and those across the antimeridian or round a pole stay for the exact test.
    rows = rows[~outside | (~plain & ((north > 60) | (south < -60)))]
    shapely.prepare(area)
    geometries = _on_globe(table.geometries(rows))
    return rows[shapely.intersects(area, geometries) & ~shapely.is_missing(geometries)]


def _on_globe(geometries: np.ndarray) -> np.ndarray:
    """Outlines within -180…180: most are there as they stand."""
    west, _, east, _ = shapely.bounds(geometries).T
    for row in np.flatnonzero((west < -180) | (east > 180) | (east - west > 180)):
        geometries[row] = on_globe(geometries[row])
    return geometries


def _where(table: Table, query: Query, rows: np.ndarray) -> np.ndarray:
    if not query.filter:
        return rows
    condition = Condition(query.filter)
    names = table.names()
    condition.check_known(names)
    needed = sorted({name.removeprefix("properties.") for name in condition.properties} - OWN_FIELDS)
    ids, collections = table.ids(), table.collections()
    geometries: Sequence[Any] = [None] * len(rows)
    if "geometry" in condition.properties:
        geometries = [None if g is None else mapping(g) for g in _on_globe(table.geometries(rows))]
    keep = [
        condition.matches(
            {"type": "Feature", "id": ids[row], "collection": collections[row], "geometry": g, "properties": p}
        )
        for row, p, g in zip(rows, table.properties(needed, rows), geometries, strict=True)
    ]
    return rows[np.array(keep, dtype=bool)]


def _sorted(table: Table, query: Query, rows: np.ndarray) -> np.ndarray:
    """By the keys of the query, then by (datetime, id); items without a property come last, either way."""
    if len(rows) == 0:
        return rows
    order = np.lexsort((table.ids()[rows].astype(str), table.spans()[0][rows]))
    rows = rows[order]
    known = table.names() | {"id"}
    for key in reversed(query.sortby):
        name = key.lstrip("+-").removeprefix("properties.")
        if name not in known:
            raise QueryError(f"cannot sort by {key!r}: no item has the property {name!r}")
        found = table.ids()[rows] if name == "id" else (p.get(name) for p in table.properties([name], rows))
        values: dict[int, Any] = dict(enumerate(found))
        present = [i for i, value in values.items() if value is not None]
        absent = [i for i, value in values.items() if value is None]
        try:
            present.sort(key=values.__getitem__, reverse=key.startswith("-"))
        except TypeError:
            raise QueryError(f"cannot sort by {key!r}: {name!r} is of different types in different items") from None
        rows = rows[present + absent]
    return rows


def _datetime64(time: datetime) -> np.datetime64:
    return np.datetime64(time.replace(tzinfo=None), "us")


class ArrowTable:
    """A STAC GeoParquet file."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._columns = set(table.column_names)
        self._reasons: dict[int, str] = {}
        """What is wrong with rows whose time or place cannot be read."""
        self._columns_of_time = {name: self._times(name) for name in ("datetime", "start_datetime", "end_datetime")}
        found = table["geometry"]
        self._places = shapely.from_wkb(np.array(found.to_pylist(), dtype=object), on_invalid="ignore")
        for row in np.flatnonzero(shapely.is_missing(self._places) & ~np.asarray(found.is_null())):
            self._reasons[int(row)] = "its geometry cannot be read: it is not WKB"

    @classmethod
    def read(cls, path: Path) -> ArrowTable:
        try:
            table = _plain_types(pq.read_table(path))
        except (pa.ArrowException, OSError) as error:
            raise ReadError(f"{path} cannot be read as STAC GeoParquet: {error}") from None
        missing = {"id", "geometry", "assets"} - set(table.column_names)
        if missing:
            raise ReadError(f"{path} is not STAC GeoParquet: it has no column {', '.join(sorted(missing))}")
        return cls(table)

    def odd(self) -> np.ndarray:
        return np.isin(np.arange(len(self)), list(self._reasons))

    def __len__(self) -> int:
        return self._table.num_rows

    def names(self) -> set[str]:
        return {c for c in self._columns - _NOT_PROPERTIES if self._table[c].null_count < len(self)}

    def ids(self) -> np.ndarray:
        return np.array(self._table["id"].to_pylist(), dtype=object)

    def collections(self) -> np.ndarray:
        if "collection" not in self._columns:
            return np.full(len(self), "", dtype=object)
        return np.array([c or "" for c in self._table["collection"].to_pylist()], dtype=object)

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        instant, first, last = self._columns_of_time.values()
        return np.where(np.isnat(instant), first, instant), np.where(np.isnat(instant), last, instant)

    def _times(self, name: str) -> np.ndarray:
        if name not in self._columns or pa.types.is_null(self._table.schema.field(name).type):
            return np.full(len(self), "NaT", dtype="datetime64[us]")
        column = self._table[name]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            times = np.array([self._read_time(name, n, t) for n, t in enumerate(column.to_pylist())], "datetime64[us]")
            # As what it is: texts are no times to whoever makes items of the table.
            place = self._table.column_names.index(name)
            typed = pa.array(times, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
            self._table = self._table.set_column(place, name, typed)
            return times
        return pc.cast(column, pa.timestamp("us", "UTC"), safe=False).to_numpy().astype("datetime64[us]")

    def _read_time(self, name: str, row: int, text: str | None) -> np.datetime64:
        try:
            return _datetime64(parse_time(text)) if text else np.datetime64("NaT", "us")
        except ValueError as error:
            self._reasons.setdefault(row, f"its {name} {error}")
            return np.datetime64("NaT", "us")

    def boxes(self) -> np.ndarray:
        if "bbox" in self._columns and pa.types.is_struct(self._table.schema.field("bbox").type):
            flat = {f.removeprefix("bbox."): c for f, c in _flattened(self._table["bbox"], "bbox")}
            names = ("xmin", "ymin", "xmax", "ymax")
            if all(name in flat for name in names):
                return np.stack([np.asarray(flat[n].to_numpy(), dtype=float) for n in names], axis=1)
        return shapely.bounds(self.geometries(np.arange(len(self))))

    def geometries(self, rows: np.ndarray) -> np.ndarray:
        return self._places[rows]

    def properties(self, names: Sequence[str], rows: np.ndarray) -> list[dict[str, Any]]:
        columns = {}
        for name in names:
            if name in self._columns:
                values = self._table[name].take(pa.array(rows)).to_pylist()
                columns[name] = [format_time(v) if isinstance(v, datetime) else v for v in values]
        return [{name: values[i] for name, values in columns.items()} for i in range(len(rows))]

    def items(self, rows: np.ndarray) -> list[dict[str, Any]]:
        if len(rows) == 0:
            return []
        try:
            found = rustac.from_arrow(self._table.take(pa.array(rows)))  # it takes any table of the Arrow C stream
        except Exception as error:  # rustac's own errors, and its panics
            if len(rows) == 1:
                return [self._left_out(int(rows[0]), error)]
            half = len(rows) // 2
            return self.items(rows[:half]) + self.items(rows[half:])
        items = [normalised(_plain(item)) for item in found["features"]]
        for row, item in zip(rows, items, strict=True):
            if reason := self._reasons.get(int(row)):
                item[PROBLEM] = reason
        return items

    def _left_out(self, row: int, error: Exception) -> dict[str, Any]:
        """What stands for an item that cannot be made."""
        item = {"id": self._table["id"][row].as_py(), "collection": self.collections()[row], "properties": {}}
        return {**item, "assets": {}, PROBLEM: f"it is not a STAC Item: {str(error)[:200]}"}


def _plain_types(table: pa.Table) -> pa.Table:
    """A table in the types that every reader of Arrow knows; a column that has no such form is left out."""
    columns = {}
    for field in table.schema:
        column, wanted = table[field.name], _plain_type(field.type)
        try:
            columns[field.name] = column if wanted == field.type else pc.cast(column, wanted, safe=False)
        except pa.ArrowException:
            continue
    return pa.table(columns).replace_schema_metadata(table.schema.metadata)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Texts, bytes, times in microseconds of UTC; dictionaries as what they hold; also inside lists and structures."""
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_binary_view(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if pa.types.is_float16(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_plain_type(f.type)) for f in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind


def _flattened(column: pa.ChunkedArray, name: str) -> list[tuple[str, pa.ChunkedArray]]:
    fields = column.type
    return [(f"{name}.{fields.field(i).name}", c) for i, c in enumerate(column.flatten())]


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """Lists rather than tuples and no nulls in assets, as the item's JSON would have them."""
    if item.get("bbox") is not None:
        item["bbox"] = list(item["bbox"])
    item["assets"] = {key: asset for key, asset in (item.get("assets") or {}).items() if asset}
    return item


class ListTable:
    """Items held as dictionaries: an ItemCollection JSON. They are `products.items.normalised`."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self._items = items

    def odd(self) -> np.ndarray:
        return np.array([PROBLEM in item for item in self._items], dtype=bool)

    def __len__(self) -> int:
        return len(self._items)

    def names(self) -> set[str]:
        return {name for item in self._items for name, value in item["properties"].items() if value is not None}

    def ids(self) -> np.ndarray:
        return np.array([item["id"] for item in self._items], dtype=object)

    def collections(self) -> np.ndarray:
        return np.array([item.get("collection") or "" for item in self._items], dtype=object)

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        spans = [None if PROBLEM in item else item_span(item) for item in self._items]
        missing = np.datetime64("NaT", "us")
        first = [missing if s is None else _datetime64(s[0]) for s in spans]
        last = [missing if s is None else _datetime64(s[1]) for s in spans]
        return np.array(first, dtype="datetime64[us]"), np.array(last, dtype="datetime64[us]")

    def boxes(self) -> np.ndarray:
        return shapely.bounds(self.geometries(np.arange(len(self)))).reshape(-1, 4)

    def geometries(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty(len(rows), dtype=object)
        for i, row in enumerate(rows):
            item = self._items[row]
            found[i] = shape(item["geometry"]) if item.get("geometry") and PROBLEM not in item else None
        return found

    def properties(self, names: Sequence[str], rows: np.ndarray) -> list[dict[str, Any]]:
        return [{name: self._items[row]["properties"].get(name) for name in names} for row in rows]

    def items(self, rows: np.ndarray) -> list[dict[str, Any]]:
        return [self._items[row] for row in rows]


def item_span(item: dict[str, Any]) -> tuple[datetime, datetime] | None:
    """First and last time of an item; None when it has none."""
    properties = item["properties"]
    instant = properties.get("datetime")
    first, last = (instant, instant) if instant else (properties.get("start_datetime"), properties.get("end_datetime"))
    if not first:
        return None
    return parse_time(first), parse_time(last or first)
