"""Series aggregated by periods or intervals, brought onto the dates of other series, and shifted.

Each date of a result is made of a group of the dates before: only those are read where that date is wanted. Times are
UTC.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Callback, Node
from muses_lab.errors import ArgumentError, DocumentError, TooLarge
from muses_lab.operators.callbacks import Series, run
from muses_lab.operators.contract import Cube, Dates, Groups, Meta, Reducer, Refused, same_bands
from muses_lab.operators.cubes import Interval, as_cube, instant
from muses_lab.operators.declare import operator
from muses_lab.operators.given import period as given_period
from muses_lab.operators.labels import date_label
from muses_lab.operators.methods import on_cube, reducer_named
from muses_lab.plain import number, shown

Period = Literal[
    "hour", "day", "week", "dekad", "month", "season", "tropical-season", "year", "decade", "decade-ad"
]  # fmt: skip

_UNITS = {"hour": np.timedelta64(1, "h"), "day": np.timedelta64(1, "D"), "week": np.timedelta64(7, "D")}
_MONDAY = np.datetime64("1969-12-29")
_MONTHS = {
    "dekad": (1, 0), "month": (1, 0), "season": (3, 1), "tropical-season": (6, 2), "year": (12, 0),
    "decade": (120, 0), "decade-ad": (120, 108),
}  # fmt: skip
"""Months of a period, and by how many the first one begins before January 1970."""
_DEKADS = np.array([0, 10, 20], "timedelta64[D]")
_MOST = 100_000
"""Periods between two dates; how many may be shown is less, see `engine.graph`."""


def starts(period: Period, first: np.datetime64, last: np.datetime64) -> np.ndarray:
    """Where the periods from that of the first instant to that of the last begin, and where the one after begins."""
    if period in _UNITS:
        unit, origin = _UNITS[period], _MONDAY.astype("M8[h]")
        begin, end = ((time - origin) // unit for time in (first, last))
        _check_number(period, end - begin)
        edges = origin + np.arange(begin, end + 2) * unit
    else:
        months, before = _MONTHS[period]
        begin, end = (
            (int(time.astype("M8[M]").astype(int)) + before) // months for time in (first, last)
        )  # fmt: skip
        edges = (np.arange(begin, end + 2) * months - before).astype("M8[M]").astype("M8[D]")
        if period == "dekad":
            edges = (edges[:, None] + _DEKADS).ravel()
            here = slice(np.searchsorted(edges, first, "right") - 1, np.searchsorted(edges, last, "right") + 1)
            edges = edges[here]
    return edges.astype("M8[ns]")


def _check_number(period: str, count: int) -> None:
    if count > _MOST:
        raise TooLarge(f"the dates span {count} periods of an {period}: choose longer ones, or fewer dates")


def label(period: Period, start: np.datetime64) -> str:
    """What openEO calls the period that begins there.

    >>> label("month", np.datetime64("2018-03-01")), label("season", np.datetime64("2017-12-01"))
    ('2018-03', '2018-djf')
    """
    day = start.astype("M8[D]")
    year, month = (int(n) for n in str(start.astype("M8[M]")).split("-"))
    in_year = int((day - start.astype("M8[Y]").astype("M8[D]")).astype(int))
    if period == "hour":
        return f"{day}-{str(start.astype('M8[h]'))[-2:]}"
    if period == "day":
        return f"{year:04}-{in_year + 1:03}"
    if period == "week":
        known = day.item().isocalendar()
        return f"{known.year:04}-{known.week:02}"
    if period == "dekad":
        return f"{year:04}-{(month - 1) * 3 + int(str(day)[-2:]) // 10 + 1:02}"
    if period == "month":
        return f"{year:04}-{month:02}"
    if period == "season":
        return f"{year + (month == 12):04}-{ {12: 'djf', 3: 'mam', 6: 'jja', 9: 'son'}[month] }"
    if period == "tropical-season":
        return f"{year + (month == 11):04}-{ {11: 'ndjfma', 5: 'mjjaso'}[month] }"
    return f"{year:04}"


# -------------------------------------------------------------------------------------------------- aggregation


def _with_dates(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if not meta.time:
        raise DocumentError(
            "the dimension 't' has been reduced already: there are no dates to make others of",
            openeo="DimensionNotAvailable",
        )
    return meta


def _between(times: Dates, start: np.datetime64 | None, end: np.datetime64 | None) -> Dates:
    first = 0 if start is None else bisect_left(times, start)
    return times[first : len(times) if end is None else bisect_left(times, end, first)]


def _periods(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups:
    return _dates_by_period(arguments["period"], tuple(dates["data"]))


@lru_cache(64)
def _dates_by_period(period: Period, times: Dates) -> Groups:
    """Kept: each image of a map's dates is a chain of its own, of the same dates."""
    if not times:
        return {}
    edges = starts(period, times[0], times[-1])
    return {start: _between(times, start, end) for start, end in zip(edges[:-1], edges[1:], strict=True)}


def _intervals(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups:
    times, found = dates["data"], {}
    names = _instants(arguments["labels"])
    for place, (start, end) in enumerate(arguments["intervals"]):
        ends = [None if stamp is None else instant(stamp) for stamp in (start, end)]
        group = _between(times, *ends)
        begin = ends[0] if ends[0] is not None else group[0] if group else None
        if begin is None:
            raise DocumentError(f"the interval [null, {end}) has no date that it could begin with: give its start")
        found[begin if names is None else names[place]] = group
    return found


def _instants(labels: Sequence[str | float]) -> list[np.datetime64] | None:
    """Labels that are dates; None where there are none, or one is something else."""
    try:
        return [instant(str(text)) for text in labels] or None
    except ValueError:
        return None


def _interval_labels(arguments: Mapping[str, Any], groups: Groups) -> list[str]:
    """The labels given, in the order of the groups; else their dates."""
    labels = arguments["labels"]
    if not labels or _instants(labels) is not None:
        return [date_label(time) for time in groups]
    begins = [None if start is None else instant(start) for start, _ in arguments["intervals"]]
    given = dict(zip(begins, map(str, labels), strict=True))
    return [given.get(time, given.get(None, "")) for time in groups]


def _check_labels(arguments: Mapping[str, Any]) -> None:
    intervals, labels = arguments["intervals"], arguments["labels"]
    if labels and len(labels) != len(intervals):
        raise ValueError(f"{len(labels)} labels for {len(intervals)} intervals: each has one, or none has")
    if len(set(map(str, labels))) < len(labels):
        raise Refused("DistinctDimensionLabelsRequired", "the labels must differ")
    if sum(start is None for start, _ in intervals) > 1:
        raise ValueError("one interval may begin with null, not several")
    if _instants(labels) is None:
        begins = [None if start is None else instant(start) for start, _ in intervals]
        if len(set(begins)) < len(begins):
            raise Refused(
                "DistinctDimensionLabelsRequired",
                "two intervals begin at the same time, by which results are told apart: give a date as the label of "
                "each",
            )


def _grouped(data: Cube, groups: Groups, reducer: Callback, meta: Meta) -> Cube:
    """A reducer over each group of dates; of a group without dates what it makes of nothing."""
    have, images = data.t.values, []
    for group in groups.values():
        chosen = data.isel(t=np.flatnonzero(np.isin(have, np.array(group, have.dtype))))
        like = chosen.isel(t=0, drop=True) if chosen.sizes["t"] else data.sum("t")
        images.append(as_cube(run(reducer, data=Series(chosen, "t", meta)), like))
    axis = xr.Variable("t", np.array(list(groups), "datetime64[ns]"))
    return xr.concat(images, dim=axis, coords="minimal", compat="override") if images else data.isel(t=slice(0))


def _by_period(data: Node, period: Period, reducer: str = "median", q: float | None = None) -> Node:
    """One value for each period: `hour`, `day`, `week`, `dekad`, `month`, `season`, `year`, `decade` and others.

    ```python
    ndvi.by_period("month", "median")
    ndvi.by_period("season", "quantile", q=0.9)
    ```

    `reducer` is any method that reduces dates, by its name. The result has one date for each period from that of the
    first date to that of the last, its first instant; missing where a period has no value. Weeks begin on Mondays,
    dekads on the 1st, 11th and 21st, seasons in December, March, June and September, a `tropical-season` in May and
    November, a `decade` in years that end with 0, a `decade-ad` with 1.
    """
    return on_cube(data, "aggregate_temporal_period", period=period, reducer=reducer_named(data, reducer, q))


@operator(
    "aggregate_temporal_period",
    shape=_with_dates,
    needs=same_bands,
    reduces="t",
    groups=_periods,
    labels=lambda arguments, groups: [label(arguments["period"], time) for time in groups],
    method=_by_period,
)
def aggregate_temporal_period(
    data: Cube,
    period: Period,
    reducer: Reducer,
    dimension: Literal["t"] | None = None,
    groups: Groups | None = None,
    meta: Meta | None = None,
) -> Cube:
    """A series reduced in each period of the calendar (openEO).

    ```python
    ndvi.by_period("month", "median")
    ```

    The dates of the result are the first instants (UTC) of the periods, from that of the first date to that of the
    last. A period without values is missing (0 where they are counted).
    """
    assert groups is not None and meta is not None
    return _grouped(data, groups, reducer, meta)  # type: ignore[arg-type]


def _by_intervals(
    data: Node, intervals: list[Any], reducer: str = "median", labels: list[Any] | None = None, q: float | None = None
) -> Node:
    """One value for each interval: [start, end), or a day, month or year as one text.

    ```python
    ndvi.by_intervals([("2018-01-01", "2018-04-01"), ("2018-04-01", "2018-09-01")], "max")
    ndvi.by_intervals(["2018-03", "2018-07"], "quantile", q=0.9)
    ```

    Intervals are half-open and may overlap or leave dates out; None leaves a side open. The result has a date for each,
    its start or its label if that is a date, and is in order of time.
    """
    if not isinstance(intervals, list | tuple):
        raise ArgumentError(f"{shown(intervals)} is no list of intervals such as [('2018-01-01', '2018-04-01')]")
    ends = [given_period(*one) if isinstance(one, list | tuple) else given_period(one) for one in intervals]
    return on_cube(
        data, "aggregate_temporal", intervals=[list(one) for one in ends], reducer=reducer_named(data, reducer, q),
        labels=[] if labels is None else labels,
    )  # fmt: skip


@operator(
    "aggregate_temporal",
    shape=_with_dates,
    needs=same_bands,
    reduces="t",
    groups=_intervals,
    labels=_interval_labels,
    rule=_check_labels,
    method=_by_intervals,
)
def aggregate_temporal(
    data: Cube,
    intervals: Annotated[list[Interval], Field(min_length=1, max_length=10_000)],
    reducer: Reducer,
    labels: Annotated[list[str | float], Field(max_length=10_000)] = [],  # noqa: B006
    dimension: Literal["t"] | None = None,
    groups: Groups | None = None,
    meta: Meta | None = None,
) -> Cube:
    """A series reduced in each of some half-open intervals of time (openEO).

    ```python
    ndvi.by_intervals([("2018-01-01", "2018-04-01"), ("2018-04-01", "2018-09-01")], "max")
    ```

    The dates of the result are the labels where these are dates, else the starts of the intervals, in order of time. An
    interval without values is missing (0 where they are counted).
    """
    assert groups is not None and meta is not None
    return _grouped(data, groups, reducer, meta)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------- other dates


_DAY = np.timedelta64(86_400_000_000_000, "ns")


def _nearest(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups:
    """Each of the target's dates with those of the data that it may take its value of, the nearest first."""
    times, within = dates["data"], arguments["valid_within"]
    found: dict[np.datetime64, Dates] = {}
    for time in dates["target"]:
        if within is None:
            at = bisect_left(times, time)
            near = times[max(at - 1, 0) : at + 1]
        else:
            reach = np.timedelta64(round(within * float(_DAY.astype(int))), "ns")
            near = tuple(t for t in _between(times, time - reach, time + reach) if t > time - reach)
        ordered = sorted(near, key=lambda t: (abs(t - time), t))
        found[time] = tuple(ordered if within is not None else ordered[:1])
    return found


def _with_both_dates(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    if not metas["target"].time:
        raise DocumentError("the target has no dates that the data could be brought onto: its 't' has been reduced")
    return _with_dates(arguments, metas)


def _same_but_target(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    own = {name: meta for name, meta in metas.items() if name == "data"}
    return {**same_bands(arguments, own, wanted), "target": metas["target"].bands}


def _on_dates(data: Node, other: Node, within: float | None = None) -> Node:
    """The series on the dates of another one, by nearest neighbour in time; of two as near the earlier one.

    ```python
    ndvi.on_dates(s2.ndwi())
    ndvi.on_dates(s2.ndwi(), within=10)
    ```

    `within`: days before and after, in which the nearest valid value is looked for, pixel by pixel; missing where there
    is none. Without it the nearest date counts, whether its value is valid or not.
    """
    if not isinstance(other, Node):
        raise ArgumentError(f"{shown(other)} is no chain whose dates could be taken")
    days = None if within is None else number("within", within)
    return on_cube(data, "resample_cube_temporal", target=other, valid_within=days)


@operator(
    "resample_cube_temporal",
    shape=_with_both_dates,
    needs=_same_but_target,
    groups=_nearest,
    asks_dates_of="target",
    method=_on_dates,
)
def resample_cube_temporal(
    data: Cube,
    target: Cube,
    dimension: Literal["t"] | None = None,
    valid_within: Annotated[float, Field(gt=0, le=1e5)] | None = None,
    groups: Groups | None = None,
) -> Cube:
    """The series on the dates of the target, by nearest neighbour in time (openEO).

    ```python
    ndvi.on_dates(s2.ndwi())
    ```

    With `valid_within` (days) the nearest valid value less than so many days away, pixel by pixel.
    """
    return _first_of(data, groups or {})


def _first_of(data: Cube, groups: Groups) -> Cube:
    """For each date the first valid value of its group."""
    have = {time: place for place, time in enumerate(data.t.values)}
    values = np.asarray(data.data)
    out = np.full((len(groups), *values.shape[1:]), np.nan, values.dtype)
    for image, group in zip(out, groups.values(), strict=True):
        for time in group:
            if time in have:
                np.copyto(image, values[have[time]], where=np.isnan(image))
    coords = {d: data.coords[d] for d in data.dims if d in data.coords and d != "t"}
    return xr.DataArray(out, dims=data.dims, coords={**coords, "t": np.array(list(groups), "datetime64[ns]")})


def _shifted(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups:
    times, steps = dates["data"], arguments["steps"]
    return {
        time: (times[place - steps],) if 0 <= place - steps < len(times) else () for place, time in enumerate(times)
    }  # fmt: skip


@operator("muses:shift", shape=_with_dates, needs=same_bands, groups=_shifted)
def shift(
    data: Cube, steps: Annotated[int, Field(ge=-10_000, le=10_000)] = 1, groups: Groups | None = None
) -> Cube:  # fmt: skip
    """Each date with the value of the observation so many steps before it; after it where `steps` is negative.

    ```python
    ndvi - ndvi.shift()
    ```

    Steps are observations of the series, whether they are valid at a pixel or not; the first ones are missing. As
    xarray's `shift(t=steps)`.
    """
    return _first_of(data, groups or {})
