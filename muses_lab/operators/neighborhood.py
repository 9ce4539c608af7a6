"""Processes of windows of a cube: openEO `apply_neighborhood`."""

from __future__ import annotations

import calendar
import datetime as dt
import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from pydantic import BaseModel, ConfigDict, Field

from muses_lab.crs import crs_name, known_crs
from muses_lab.document.graph import Callback, Node
from muses_lab.errors import ArgumentError, DocumentError, TooLarge
from muses_lab.operators.callbacks import ELEMENT, Series, length_of, run
from muses_lab.operators.contract import VALUE, Cost, Cube, CubeProcess, Dates, Focal, Length, Meta
from muses_lab.operators.cube_callbacks import (
    CubeCallback,
    Part,
    as_given,
    cost_of_callback,
    is_along_time,
    is_strict_on_cubes,
    radius_of,
)
from muses_lab.operators.declare import operator
from muses_lab.operators.functions import cube_callback
from muses_lab.operators.registered import registry
from muses_lab.plain import plain, shown
from muses_lab.raster.grid import Rect

MAX_SIDE = 1024
"""Pixels of a window with its overlap: a tile that shows a pixel of it needs all of it."""

MIN_SIDE = 8
"""Pixels of windows in which neighbourhoods are looked at: each is an evaluation of its own."""

_CALL = 1e-3
"""Seconds for the evaluation of one window, however small (measured: kernels on windows of 8 to 128 pixels)."""

# ------------------------------------------------------------------------------------------------------- sizes

_DURATION = re.compile(
    r"P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)


class Duration(NamedTuple):
    """An ISO 8601 duration."""

    months: int
    seconds: float

    @classmethod
    def of(cls, text: str) -> Duration:
        """
        >>> Duration.of("P1M"), Duration.of("P5D")
        (Duration(months=1, seconds=0.0), Duration(months=0, seconds=432000.0))
        """
        found = _DURATION.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r:.40} is no duration such as 'P5D', 'P1M' or 'PT12H'")
        years, months, weeks, days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        time = ((7 * weeks + days) * 24 + hours) * 3600 + 60 * minutes + seconds
        if 12 * years + months > 12_000 or time > 1000 * 366 * 86_400:
            raise ValueError(f"{text!r:.40} is longer than a thousand years")
        return cls(int(12 * years + months), time)

    def after(self, time: dt.datetime, times: int) -> dt.datetime:
        """So many of them after a time; in a shorter month its last day."""
        year, month = divmod(time.year * 12 + time.month - 1 + self.months * times, 12)
        day = min(time.day, calendar.monthrange(year, month + 1)[1])
        return time.replace(year=year, month=month + 1, day=day) + dt.timedelta(seconds=self.seconds * times)


class ChunkSize(BaseModel):
    """How far a window reaches along a dimension; null: all values."""

    model_config = ConfigDict(extra="forbid")
    dimension: Literal["x", "y", "t", "bands"]
    value: Annotated[float, Field(ge=0, le=1e7)] | str | None = None
    unit: Literal["px", "m"] | None = None

    def model_post_init(self, _context: Any) -> None:
        if isinstance(self.value, str):
            if self.dimension != "t":
                raise ValueError(f"only dates have durations: {self.value!r:.40} of {self.dimension!r}")
            if Duration.of(self.value) == (0, 0):
                raise ValueError(f"the duration {self.value!r} is nothing")
        elif self.dimension in ("t", "bands") and self.unit == "m":
            raise ValueError(f"{self.dimension!r} is not measured in metres")
        elif self.value is not None and self._counts and self.value != int(self.value):
            raise ValueError(f"{self.value:g} of {self.dimension!r} is no whole number")

    @property
    def _counts(self) -> bool:
        return self.unit == "px" or self.dimension in ("t", "bands")


Sizes = Annotated[list[ChunkSize], Field(max_length=4)]
Value = float | str | None


def _check_sizes(arguments: Mapping[str, Any]) -> None:
    sizes, overlaps = arguments["size"], arguments["overlap"] or []
    for given in (sizes, overlaps):
        names = [one["dimension"] for one in given]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the dimension {twice[0]!r} is named twice")
    of = {one["dimension"]: one["value"] for one in sizes}
    for one in sizes:
        if one["value"] == 0:
            raise ValueError(f"a window of no {one['dimension']!r} has nothing in it")
        if one["dimension"] in ("x", "y") and one.get("unit") == "px" and one["value"] is not None:
            _check_side(one["value"], one["dimension"])
    for one in overlaps:
        value = one["value"]
        if value and of.get(one["dimension"]) is None:
            raise ValueError(
                f"an overlap of {one['dimension']!r}, of which a window has all values: give its `size`, or no overlap"
            )
        if value and isinstance(value, str) != isinstance(of[one["dimension"]], str):
            raise ValueError("the size and the overlap of 't' are both durations, or both numbers of dates")


def _check_side(pixels: float, dimension: str) -> None:
    if pixels > MAX_SIDE:
        raise TooLarge(
            f"apply_neighborhood: windows of {pixels:g} pixels along {dimension!r}; the limit is {MAX_SIDE}, because "
            "whatever shows a pixel of a window needs all of it"
        )


def _value(chunks: Any, dimension: str) -> Value:
    """How much of a dimension; None where it is not said."""
    return next((one["value"] for one in chunks or () if one["dimension"] == dimension), None)


def _side(chunks: Any, dimension: str, pixel_size: float, least: int) -> int | None:
    """A window's side in whole pixels of the level; None: all of them."""
    for one in chunks or ():
        if one["dimension"] == dimension and one["value"] is not None:
            metres = one.get("unit") != "px"
            pixels = max(least, math.floor((one["value"] / pixel_size if metres else one["value"]) + 0.5))
            _check_side(pixels, dimension)
            return pixels
    return None


class _Side(NamedTuple):
    """How one axis of the images is cut."""

    size: int | None
    """Pixels of a window; None: all."""
    overlap: int
    cuts: bool
    """Whether pixels must be evaluated window by window: the process sees more than the overlap."""
    halo: int


def _sides(arguments: Mapping[str, Any], pixel_size: float) -> tuple[_Side, _Side]:
    """Of rows and columns."""
    reach = radius_of(arguments["process"], pixel_size)
    found = []
    for dimension in ("y", "x"):
        size = _side(arguments["size"], dimension, pixel_size, 1)
        overlap = _side(arguments["overlap"], dimension, pixel_size, 0) or 0
        cuts = size is not None and (reach is None or reach > overlap)
        if cuts:
            _check_side((size or 0) + 2 * overlap, dimension)
        if size is None and reach is None:
            raise DocumentError(
                f"apply_neighborhood: code looks at all pixels of a window, and `size` does not say how many along "
                f"{dimension!r}: a whole collection cannot be read at once; give a size such as 128 px",
                argument="size",
            )
        if cuts and reach is not None and size is not None and size < MIN_SIDE:
            raise DocumentError(
                f"apply_neighborhood: the process looks at {reach} pixels around each in windows of {size}; windows "
                f"have at least {MIN_SIDE} pixels, or the overlap is as large as the neighbourhood",
                argument="size",
            )
        halo = size - 1 + overlap if cuts and size is not None else reach or 0
        found.append(_Side(size, overlap, cuts, halo))
    return found[0], found[1]


def _radius(arguments: Mapping[str, Any], pixel_size: float) -> int:
    return max(side.halo for side in _sides(arguments, pixel_size))


# -------------------------------------------------------------------------------------------------- dates and bands


class _Run(NamedTuple):
    """A window along dates or bands: places of what it has, and of those which are its own, without the overlap."""

    start: int
    stop: int
    first: int
    last: int


def _runs(dimension: str, arguments: Mapping[str, Any], labels: Sequence[Any]) -> list[_Run]:
    size, overlap = _value(arguments["size"], dimension), _value(arguments["overlap"], dimension)
    if isinstance(size, str):
        return _periods(size, overlap, labels)
    count = len(labels)
    step, more = (count if size is None else int(size)), int(overlap or 0)
    starts = range(0, count, max(step, 1))
    return [_Run(max(n - more, 0), min(n + step + more, count), n, min(n + step, count)) for n in starts]


def _periods(size: str, overlap: Value, times: Sequence[np.datetime64]) -> list[_Run]:
    """Windows of a duration, from the beginning of the first date's day (UTC) on."""
    if not len(times):
        return []
    each = Duration.of(size)
    around = Duration.of(overlap) if isinstance(overlap, str) else Duration(0, 0.0)
    places = [time.astype("M8[us]").item() for time in times]
    begin = places[0].replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    number = first = 0
    while first < len(places):
        number = max(number, _skipped(each, begin, places[first]))
        while each.after(begin, number + 1) <= places[first]:
            number += 1
        start, end = each.after(begin, number), each.after(begin, number + 1)
        last = bisect_left(places, end, first)
        before, behind = around.after(start, -1), around.after(end, 1)
        found.append(_Run(bisect_left(places, before), bisect_left(places, behind), first, last))
        first, number = last, number + 1
    return found


def _skipped(each: Duration, begin: dt.datetime, time: dt.datetime) -> int:
    """Windows that surely end before a time."""
    longest = each.months * 31 * 86400 + each.seconds
    return max(0, int((time - begin).total_seconds() / longest) - 1)


# ------------------------------------------------------------------------------------------------------ what is known


def _shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta, callback = metas["data"], arguments["process"]
    has = {"t": meta.time, "bands": meta.bands is not None, "x": True, "y": True}
    for one in (*arguments["size"], *(arguments["overlap"] or ())):
        if not has[one["dimension"]]:
            raise DocumentError(
                f"apply_neighborhood: the data have no dimension {one['dimension']!r}", openeo="DimensionNotAvailable"
            )
    if registry[callback.root.process].is_cube_process:
        CubeCallback(callback, meta).check_same("apply_neighborhood")
    else:
        _check_array(arguments, meta)
    return meta


def _only_dimension(arguments: Mapping[str, Any], meta: Meta) -> str:
    """The one dimension of windows that are arrays."""
    for dimension in ("x", "y"):
        if _value(arguments["size"], dimension) != 1 or _value(arguments["overlap"], dimension):
            raise DocumentError(
                "apply_neighborhood: the process is one of arrays, and the windows are cubes; windows of one pixel "
                "(size 1 px of x and y, no overlap) are arrays, else use processes of cubes",
                argument="process",
            )
    has = (["t"] if meta.time else []) + (["bands"] if len(meta.bands or ()) > 1 else [])
    long = [d for d in has if _value(arguments["size"], d) != 1 or _value(arguments["overlap"], d)]
    if len(long) > 1:
        raise DocumentError(
            "apply_neighborhood: windows with dates and bands are no arrays: give the `size` of one of them as 1, or "
            "use processes of cubes",
            argument="process",
        )
    return (long or has or [""])[0]


def _check_array(arguments: Mapping[str, Any], meta: Meta) -> None:
    if not _only_dimension(arguments, meta):
        raise DocumentError("apply_neighborhood: the data have neither dates nor bands, and so no arrays")
    length = length_of(arguments["process"], Length())
    if length.varies or (length.times, length.plus) != (1, 0):
        raise DocumentError(
            "apply_neighborhood: the process gives an array of another length than it is given",
            openeo="DataCubePropertiesImmutable",
        )


def _all_bands(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    """A process of cubes may make a band of any other."""
    return {"data": metas["data"].bands}


def _along(arguments: Mapping[str, Any]) -> str | None:
    return "t" if is_along_time(arguments["process"]) else None


def _strict(arguments: Mapping[str, Any]) -> bool:
    counted = isinstance(_value(arguments["size"], "t"), int | float)
    return not counted and is_strict_on_cubes(arguments["process"])


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Of the windows with their overlaps."""
    sides, number, shape = _sides(arguments, pixel_size), 1, []
    for side, pixels in zip(sides, (rows, columns), strict=True):
        if side.cuts and side.size is not None:
            number *= math.ceil(pixels / side.size) + 1
            shape.append(side.size + 2 * side.overlap)
        else:
            shape.append(pixels + 2 * side.halo)
    one = cost_of_callback(arguments["process"], pixel_size, *shape)
    return Cost(number * (one.seconds + _CALL) + 2 * VALUE * rows * columns, one.bytes + 16 * rows * columns)


# ------------------------------------------------------------------------------------------------------- the process


def _apply_neighborhood(data: Node, process: Any, size: Any, overlap: Any = None) -> Node:
    """A process on windows of the cube, by a function of a part of it.

    ```python
    image.apply_neighborhood(lambda part: part.apply_kernel([[1, 1, 1]]), 64, overlap=8)
    ndvi.apply_neighborhood("array_interpolate_linear", {"x": 1, "y": 1})
    ```

    `size` and `overlap` are pixels of x and y, or by dimension: {"x": 64, "y": 64, "t": "P1M"}.
    """
    return registry.node(
        "apply_neighborhood", data=data, process=cube_callback("process", process), size=_chunks("size", size),
        overlap=None if overlap is None else _chunks("overlap", overlap),
    )  # fmt: skip


def _chunks(name: str, given: Any) -> list[dict[str, Any]]:
    given = plain(given)
    if isinstance(given, list):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = {"x": given, "y": given}
    if not isinstance(given, Mapping):
        raise ArgumentError(f"{name}={shown(given)}: give pixels of x and y, or {{'x': 64, 'y': 64, 't': 'P1M'}}")
    return [
        {"dimension": dimension, "value": value, **({"unit": "px"} if dimension in ("x", "y") else {})}
        for dimension, value in given.items()
    ]


@operator(
    "apply_neighborhood",
    support=Focal(_radius),
    shape=_shape,
    needs=_all_bands,
    strict=_strict,
    along=_along,
    rule=_check_sizes,
    cost=_cost,
    method=_apply_neighborhood,
    partly="processes of the same pixel and of neighbourhoods, and code of a user; windows of up to 1024 pixels",
)
def apply_neighborhood(
    data: Cube,
    process: CubeProcess,
    size: Sizes,
    overlap: Sizes | None = None,
    meta: Meta | None = None,
    pixel_size: float = 1.0,
    geobox: GeoBox | None = None,
    halo: int = 0,
    rect: Rect | None = None,
    in_extent: tuple[slice, slice] | None = None,
    axes: Mapping[str, Dates] | None = None,
) -> Cube:
    """A process of cubes on windows of a cube, with what lies around them as far as `overlap` says.

    ```python
    image.apply_neighborhood(lambda part: part.apply_kernel([[1, 1, 1]]), 64, overlap=8)
    ndvi.apply_neighborhood("array_interpolate_linear", {"x": 1, "y": 1})
    ```

    `size` has a window's reach along x and y in `px` of the level or `m` on the ground (whole pixels, at least one),
    along t as a duration (`P1M`) or a number of dates, along bands as a number; all values where it is not said.
    Windows are counted from the origin of the grid, from the beginning (UTC) of the day of the first date, from the
    first band: never from the view. What the process makes of the overlap is left out. Beyond the data, values are
    missing in a window; beyond the first and last date there are none.

    Processes are those of the same pixel and of neighbourhoods, and a user's code (`run_udf`), which must be told the
    `size` of x and y. What changes dimensions or labels is refused (DataCubePropertiesImmutable), as is what depends on
    a whole extent or changes the grid. Windows of one pixel along one dimension are arrays, for processes of arrays.
    """
    assert meta is not None and geobox is not None and rect is not None and in_extent is not None
    arguments = {"process": process, "size": size, "overlap": overlap}
    if known_crs(crs_name(geobox.crs)).is_geographic:
        _check_units(arguments)
    rows, columns = _sides(arguments, pixel_size)
    windows = _OfWindows(arguments, meta, axes)
    out = xr.full_like(data.isel(y=slice(halo, -halo or None), x=slice(halo, -halo or None)), np.nan)
    for y, inner_y in _windows(rows, rect.r0, rect.r1, halo):
        for x, inner_x in _windows(columns, rect.c0, rect.c1, halo):
            known = _extent(rows, in_extent[0], y), _extent(columns, in_extent[1], x)
            found = windows.of(data.isel(y=y, x=x), Part(geobox, y, x, pixel_size, known))
            found = found.isel(y=_moved(inner_y, y.start), x=_moved(inner_x, x.start))
            out.data[..., _moved(inner_y, halo), _moved(inner_x, halo)] = found.data
    return out


def _check_units(arguments: Mapping[str, Any]) -> None:
    for one in (*arguments["size"], *(arguments["overlap"] or ())):
        if one["dimension"] in ("x", "y") and one["value"] and one.get("unit") is None:
            raise DocumentError(
                f"apply_neighborhood: {one['value']:g} along {one['dimension']!r} would be degrees: give the unit 'px' "
                "or 'm'",
                argument="size",
            )


def _moved(span: slice, by: int) -> slice:
    return slice(span.start - by, span.stop - by)


def _windows(side: _Side, first: int, end: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Windows on a side of a rectangle, with what lies around, and what of them is wanted: places in the rectangle."""
    low, high = first + halo, end - halo
    if not side.cuts or side.size is None:
        yield slice(0, end - first), slice(halo, high - first)
        return
    for start in range(low // side.size * side.size, high, side.size):
        window = slice(start - side.overlap, start + side.size + side.overlap)
        yield _moved(window, first), slice(max(start, low) - first, min(start + side.size, high) - first)


def _extent(side: _Side, known: slice, window: slice) -> slice:
    """Where a window has data: all over where its size is told, because values beyond the data are missing in it."""
    length = window.stop - window.start
    if side.size is not None:
        return slice(0, length)
    return slice(min(max(known.start - window.start, 0), length), min(max(known.stop - window.start, 0), length))


class _OfWindows:
    """What the process makes of windows of pixels: window by window of dates and bands."""

    def __init__(self, arguments: Mapping[str, Any], meta: Meta, axes: Mapping[str, Dates] | None) -> None:
        self._callback: Callback = arguments["process"]
        self._is_of_cubes = registry[self._callback.root.process].is_cube_process
        self._arguments, self._meta = arguments, meta
        self._every = None if axes is None else axes["data"]
        self._cubes: dict[tuple[str, ...] | None, CubeCallback] = {}

    def of(self, data: Cube, part: Part) -> Cube:
        meta = self._meta
        bands = [None] if meta.bands is None else _runs("bands", self._arguments, meta.bands)
        dates = self._dates(data) if "t" in data.dims and is_along_time(self._callback) else [None]
        if len(bands) == len(dates) == 1:
            return self._of_one(data, meta, part)
        out = xr.full_like(data, np.nan)
        for t in dates:
            for b in bands:
                runs = {d: one for d, one in (("t", t), ("bands", b)) if one is not None}
                inner = meta if b is None else Meta(meta.time, (meta.bands or ())[b.start : b.stop], meta.common)
                window = data.isel({d: slice(one.start, one.stop) for d, one in runs.items()})
                found = self._of_one(window, inner, part)
                own = {d: slice(one.first - one.start, one.last - one.start) for d, one in runs.items()}
                place = tuple(slice(runs[d].first, runs[d].last) if d in runs else slice(None) for d in data.dims)
                out.data[place] = found.isel(own).data
        return out

    def _dates(self, data: Cube) -> list[_Run]:
        """Windows of the dates that the data have here; they are counted with those that have no data here."""
        have = data.t.values
        every = have if self._every is None else np.array(self._every)
        found = []
        for one in _runs("t", self._arguments, tuple(every)):
            edges = [int(np.searchsorted(have, every[n])) if n < len(every) else len(have) for n in one]
            if edges[3] > edges[2]:
                found.append(_Run(*edges))
        return found

    def _of_one(self, data: Cube, meta: Meta, part: Part) -> Cube:
        if self._is_of_cubes:
            if meta.bands not in self._cubes:
                self._cubes[meta.bands] = CubeCallback(self._callback, meta)
            return as_given(self._cubes[meta.bands].run(data, part), data, "apply_neighborhood")
        dimension = _only_dimension(self._arguments, meta)
        result = run(self._callback, data=Series(data, dimension, meta))
        assert isinstance(result, Series)
        array = xr.broadcast(result.elements, data.isel({dimension: 0}, drop=True), exclude=[ELEMENT])[0]
        array = array.rename({ELEMENT: dimension}).astype(data.dtype, copy=False)
        return as_given(array, data, "apply_neighborhood")
