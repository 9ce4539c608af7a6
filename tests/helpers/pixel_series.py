"""Series of pixels for the tests of operators on series."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from muses_lab.operators import registry

NAN = float("nan")


def cube(values: Any, days: Any, start: str = "2018-01-01") -> xr.DataArray:
    """(dates) or (dates, pixels) or (dates, y, x), on days since `start`."""
    values = np.asarray(values)
    values = values.reshape(len(values), *([1] * (3 - values.ndim)), *values.shape[1:])
    times = np.datetime64(start, "ns") + np.round(np.asarray(days) * 86_400e9).astype("m8[ns]")
    return xr.DataArray(values, dims=("t", "y", "x"), coords={"t": times})


def run(process: str, *cubes: xr.DataArray, **given: Any) -> xr.DataArray:
    """What an operator makes of cubes."""
    return registry["muses:" + process].fn(*cubes, **given)


def bands(process: str, *cubes: xr.DataArray, **given: Any) -> dict[str, Any]:
    """What an operator makes of a single series, by band."""
    found = run(process, *cubes, **given)
    return dict(zip(found.bands.values.tolist(), found.values[:, 0, 0].tolist(), strict=True))


def noise(dates: int, pixels: int, missing: float = 0.3, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """(dates, pixels) of which a share is missing."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.4, 0.2, (dates, pixels)).astype(dtype)
    values[rng.random(values.shape) < missing] = np.nan
    return values


def irregular(dates: int, seed: int = 0, every: float = 10) -> np.ndarray:
    """Days of that many dates."""
    return np.cumsum(np.random.default_rng(seed + 99).uniform(0.3 * every, 1.7 * every, dates))
