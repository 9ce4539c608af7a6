"""Curves through series: the operators of chains on values that are there already."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import bottleneck as bn
import numpy as np
import xarray as xr
from scipy import special

from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.operators.series import days_since

_YEAR = 365.25


def smooth(curves: xr.DataArray, process: str, **arguments: Any) -> xr.DataArray:
    """Each series replaced by what an operator makes of it."""
    return _restored(registry[process].fn(_cube(curves), **_checked(process, arguments)), curves)


def anomaly(curves: xr.DataArray, period: str, years: Sequence[int] | None) -> xr.DataArray:
    """Each date minus the mean of its season over some years."""
    times = list(curves.t.values)
    of = curves.t.dt.year.values
    ends = [int(of.min()), int(of.max())] if years is None else [int(year) for year in years]
    given = _checked("climatological_normal", {"period": period, "climatology_period": ends})
    made, subtracted = registry["climatological_normal"], registry["anomaly"]
    assert made.groups is not None and subtracted.groups is not None
    cube, groups = _cube(curves), made.groups(given, {"data": tuple(times)}) or {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # seasons without a valid date have no mean
        # By the reducer that blocks are reduced by: xarray's own mean adds in another order.
        means = [bn.nanmean(cube.values[np.isin(times, group)], axis=0) for group in groups.values()]
    normals = cube.isel(t=[0] * len(groups)).copy(data=np.stack(means)).assign_coords(t=list(groups))
    dates = {"data": tuple(times), "normals": tuple(normals.t.values)}
    found = subtracted.fn(cube, normals, period, groups=subtracted.groups({"period": period}, dates))
    return _restored(found, curves)


def trend(curves: xr.DataArray, confidence: float) -> xr.Dataset:
    """The line by least squares with the limits of confidence of its slope and of the line."""
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence={confidence:g} is not between 0 and 1", argument="confidence")
    found = _by_band(curves, "muses:trend", {})
    years = xr.DataArray(days_since(curves.t.values) / _YEAR, dims="t", coords={"t": curves.t})
    valid = np.isfinite(curves)
    count = found["count"]
    with np.errstate(all="ignore"):
        line = found["slope"] * years + found["intercept"]
        middle = years.where(valid).mean("t")
        spread = ((years - middle) ** 2).where(valid).sum("t")
        residual = np.sqrt(((curves.astype(np.float64) - line) ** 2).sum("t") / (count - 2))
        t = xr.apply_ufunc(special.stdtrit, count - 2, (1 + confidence) / 2).where(count > 2)
        of_slope = t * residual / np.sqrt(spread)
        of_line = t * residual * np.sqrt(1 / count + (years - middle) ** 2 / spread)
    return found.assign(
        slope_low=found["slope"] - of_slope, slope_high=found["slope"] + of_slope,
        line=line, low=line - of_line, high=line + of_line,
    )  # fmt: skip


def breaks(curves: xr.DataArray, permutations: int) -> xr.Dataset:
    """The break of each series by cumulated sums."""
    found = _by_band(curves, "muses:cusum", {"permutations": permutations})
    days = found["date"].values
    dates = np.full(days.shape, np.datetime64("NaT", "ns"))
    known = np.isfinite(days)
    dates[known] = np.datetime64(0, "ns") + np.round(days[known] * 86_400e9).astype("m8[ns]")
    return found.assign(date=(found["date"].dims, dates))


def _by_band(curves: xr.DataArray, process: str, arguments: dict[str, Any]) -> xr.Dataset:
    """What an operator of one band tells of each series, a variable for each of its bands."""
    given = _checked(process, arguments)
    cube = _cube(curves.astype(np.float64))
    parts = [registry[process].fn(cube.isel(bands=n), **given) for n in range(cube.sizes["bands"])]
    others = [d for d in curves.dims if d != "t"]
    like = curves.isel(t=0, drop=True)
    variables = {}
    for name in parts[0].bands.values:
        values = np.stack([part.sel(bands=name).values[0] for part in parts], axis=-1)  # series, bands
        flat = xr.DataArray(values.reshape(_last(like).shape), _last(like).coords, _last(like).dims)
        variables[str(name)] = flat.transpose(*others)
    return xr.Dataset(variables)


def _last(array: xr.DataArray) -> xr.DataArray:
    """With the dimension of bands last."""
    return array.transpose(..., "bands") if "bands" in array.dims else array


def _cube(curves: xr.DataArray) -> xr.DataArray:
    """Series as operators take them: dims t, bands, y, x, each series a pixel of one row."""
    ordered = curves if "bands" in curves.dims else curves.expand_dims("bands", axis=-1)
    ordered = ordered.transpose("t", "bands", ...)
    values = np.ascontiguousarray(ordered.values).reshape(*ordered.shape[:2], 1, -1)
    coords = {"t": curves.t.values, "bands": ordered.bands.values if "bands" in ordered.coords else [""]}
    return xr.DataArray(values, coords, ("t", "bands", "y", "x"))


def _restored(cube: xr.DataArray, curves: xr.DataArray) -> xr.DataArray:
    like = curves.transpose("t", "bands", ...) if "bands" in curves.dims else curves.transpose("t", ...)
    return like.copy(data=np.asarray(cube.values).reshape(like.shape)).transpose(*curves.dims)


def _checked(process: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with defaults, as the operator's declaration demands."""
    operator = registry[process]
    cubes = {name: _SOME_CHAIN for name in operator.cubes}
    checked = registry.checked(process, {**arguments, **cubes}, process.rpartition(":")[2], inside_callback=False)
    return {a.name: checked.get(a.name, a.default) for a in operator.arguments.values() if a.name not in cubes}


_SOME_CHAIN = registry.node("load_collection", id="series", spatial_extent=None, temporal_extent=None)
"""Stands for the values that an operator is going to be given."""
