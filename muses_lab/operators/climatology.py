"""Normals of the seasons over several years, and how far a series is from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Node
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators.contract import Cube, Dates, Groups, Meta, same_bands
from muses_lab.operators.declare import operator
from muses_lab.operators.methods import on_cube
from muses_lab.plain import plain, shown

Season = Literal["day", "month", "season", "tropical-season", "climatology-period"]
Years = Annotated[list[Annotated[int, Field(ge=1700, le=2200)]], Field(min_length=2, max_length=2)]

_SEASONS = {12: "djf", 3: "mam", 6: "jja", 9: "son"}
_TROPICAL = {11: "ndjfma", 5: "mjjaso"}
_YEAR = 2000
"""Normals have dates of this leap year, so that every day of a year has one."""


def _begin(season: str, time: np.datetime64) -> np.datetime64:
    """The date that stands for the season of the year in which an instant lies."""
    _, month, day = (int(n) for n in str(time.astype("M8[D]")).split("-"))
    if season == "season":
        month = (month % 12 // 3 * 3 - 1) % 12 + 1
    elif season == "tropical-season":
        month = 5 if 5 <= month < 11 else 11
    elif season == "climatology-period":
        month = 1
    return np.datetime64(f"{_YEAR}-{month:02}-{day if season == 'day' else 1:02}", "ns")


def _label(season: str, time: np.datetime64) -> str:
    """What openEO calls a season."""
    _, month, day = (int(n) for n in str(time.astype("M8[D]")).split("-"))
    return {
        "day": f"{month:02}-{day:02}", "month": f"{month:02}", "season": _SEASONS.get(month, ""),
        "tropical-season": _TROPICAL.get(month, ""), "climatology-period": "0",
    }[season]  # fmt: skip


def _with_dates(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    for name, meta in metas.items():
        if not meta.time:
            raise DocumentError(f"the dimension 't' of {name} has been reduced already: there are no dates")
    return metas["data"]


def _normal_groups(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups:
    first, last = arguments["climatology_period"]
    found: dict[np.datetime64, list[np.datetime64]] = {}
    for time in dates["data"]:
        if first <= int(str(time.astype("M8[Y]"))) <= last:
            found.setdefault(_begin(arguments["period"], time), []).append(time)
    if not found:
        raise DocumentError(
            f"the series has no date in the years {first} to {last}: give climatology_period=[first, last]"
        )
    return {begin: tuple(found[begin]) for begin in sorted(found)}


def _in_order(arguments: Mapping[str, Any]) -> None:
    first, last = arguments["climatology_period"]
    if first > last:
        raise ValueError(f"the climatology period ends before it begins: {first} to {last}")


def _climatological_normal(data: Node, period: Season, years: Any = (1981, 2010)) -> Node:
    """The mean of each season over several years: of every `month`, `day`, `season` or `tropical-season`.

    ```python
    ndvi.climatological_normal("month", years=(2017, 2020))
    ```

    `years`: first and last one, both included. The result has a date in 2000 for each season that has scenes: the first
    of the month, the day of the year; seasons begin in December, March, June and September, tropical ones in May and
    November. Missing values are left out; what has none is missing.
    """
    ends = plain(years)
    if not isinstance(ends, list) or len(ends) != 2:
        raise ArgumentError(f"years={shown(years)} are the first and the last year, such as (1991, 2020)")
    return on_cube(data, "climatological_normal", period=period, climatology_period=ends)


@operator(
    "climatological_normal",
    shape=_with_dates,
    needs=same_bands,
    reduces="t",
    groups=_normal_groups,
    labels=lambda arguments, groups: [_label(arguments["period"], time) for time in groups],
    rule=_in_order,
    method=_climatological_normal,
)
def climatological_normal(
    data: Cube, period: Season, climatology_period: Years = [1981, 2010], groups: Groups | None = None  # noqa: B006
) -> Cube:  # fmt: skip
    """The mean of each season over a climatology period, missing values left out (openEO).

    ```python
    ndvi.climatological_normal("month", years=(2017, 2020))
    ```

    `climatology_period`: first and last year, both included. WMO-No. 1203 (2017) asks for thirty years.
    """
    assert groups is not None
    have, images = data.t.values, []
    for group in groups.values():
        images.append(data.isel(t=np.flatnonzero(np.isin(have, np.array(group, have.dtype)))).mean("t"))
    axis = xr.Variable("t", np.array(list(groups), "datetime64[ns]"))
    return xr.concat(images, dim=axis, coords="minimal", compat="override")


def _anomaly_groups(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups:
    normals = set(dates["normals"])
    if any(str(time.astype("M8[Y]")) != str(_YEAR) for time in normals):
        raise DocumentError("normals are not of climatological_normal: their dates are to be those of seasons")
    found: dict[np.datetime64, Dates] = {}
    for time in dates["data"]:
        begin = _begin(arguments["period"], time)
        found[time] = (time, begin) if begin in normals else (time,)
    return found


def _anomaly(data: Node, normals: Node, period: Season) -> Node:
    """The series without its seasons: each date minus the normal of its month, day or season.

    ```python
    ndvi.anomaly(ndvi.climatological_normal("month", years=(2017, 2020)), "month")
    ```

    `period` is that of the normals. Missing where the date or its normal is.
    """
    return on_cube(data, "anomaly", normals=normals, period=period)


@operator("anomaly", shape=_with_dates, needs=same_bands, groups=_anomaly_groups, method=_anomaly)
def anomaly(data: Cube, normals: Cube, period: Season, groups: Groups | None = None) -> Cube:
    """Each date minus the normal of its season (openEO).

    ```python
    ndvi.anomaly(ndvi.climatological_normal("month", years=(2017, 2020)), "month")
    ```

    Missing where the date or its normal is.
    """
    assert groups is not None
    own = {time: place for place, time in enumerate(data.t.values)}
    known = {time: place for place, time in enumerate(normals.t.values)}
    values, means = np.asarray(data.data), np.asarray(normals.data)
    out = np.full((len(groups), *values.shape[1:]), np.nan, values.dtype)
    for image, (time, group) in zip(out, groups.items(), strict=True):
        if time in own and len(group) > 1 and group[1] in known:
            image[...] = values[own[time]] - means[known[group[1]]]
    coords = {d: data.coords[d] for d in data.dims if d in data.coords and d != "t"}
    return xr.DataArray(out, dims=data.dims, coords={**coords, "t": np.array(list(groups), "datetime64[ns]")})
