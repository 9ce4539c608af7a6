"""Normals of seasons and anomalies: against xarray's groupby."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import muses_lab as ml
from muses_lab.errors import DocumentError
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = own_window(64, 32)
YEARS = (2017, 2019)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Chain, xr.DataArray]:
    """Four years of 40 dates, the last one outside the climatology period."""
    rng = np.random.default_rng(3)
    days = np.sort(rng.choice(4 * 365, 40, replace=False))
    times = np.datetime64("2017-01-05") + days
    values = rng.normal(0.4, 0.2, (len(times), 2, 64, 32)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, :, 10:14] = np.nan
    folder: Path = tmp_path_factory.mktemp("seasons")
    collection = stack(values, folder, dates=[str(t) for t in times])
    cube = xr.DataArray(values[:, 0], dims=("t", "y", "x"), coords={"t": times.astype("M8[ns]")})
    return collection.band("B4"), cube


def inside(cube: xr.DataArray) -> xr.DataArray:
    years = cube.t.dt.year
    return cube.isel(t=np.flatnonzero((years >= YEARS[0]) & (years <= YEARS[1])))


KEYS = {
    "month": lambda t: t.dt.month,
    "season": lambda t: t.dt.season,
    "day": lambda t: t.dt.month * 100 + t.dt.day,
    "tropical-season": lambda t: xr.where((t.dt.month >= 5) & (t.dt.month < 11), 1, 0),
    "climatology-period": lambda t: t.dt.month * 0,
}


@pytest.mark.parametrize("period", KEYS)
def test_normals_are_the_means_of_the_years_chosen(period: str, made) -> None:
    chain, cube = made
    found = chain.climatological_normal(period, years=YEARS).compute(WINDOW)
    chosen = inside(cube)
    key = KEYS[period](chosen.t).rename("key")
    expected = chosen.groupby(key).mean("t")
    of_found = KEYS[period](found.t).values
    assert len(set(of_found.tolist())) == found.sizes["t"] == expected.sizes["key"]
    for image, name in zip(found.values, of_found, strict=True):
        np.testing.assert_allclose(image, expected.sel(key=name).values, rtol=2e-6)


@pytest.mark.parametrize("period", ["month", "season"])
def test_anomalies_are_what_is_left(period: str, made) -> None:
    chain, cube = made
    normals = chain.climatological_normal(period, years=YEARS)
    found = chain.anomaly(normals, period).compute(WINDOW)
    assert found.t.values.tolist() == cube.t.values.tolist()
    chosen = inside(cube)
    means = chosen.groupby(KEYS[period](chosen.t).rename("key")).mean("t")
    for number, name in enumerate(KEYS[period](cube.t).values):
        expected = cube.values[number]
        there = name in means.key.values
        expected = expected - means.sel(key=name).values if there else np.full_like(expected, np.nan)
        np.testing.assert_allclose(found.values[number], expected, rtol=1e-5, atol=1e-6)


def test_a_few_dates_of_an_anomaly_are_those_of_all(made) -> None:
    chain, _ = made
    whole = chain.anomaly(chain.climatological_normal("month", years=YEARS), "month")
    few = whole.dates("2018-03-01", "2018-09-01").compute(WINDOW)
    every = whole.compute(WINDOW)
    assert 0 < few.sizes["t"] < every.sizes["t"]
    np.testing.assert_array_equal(few.values, every.sel(t=few.t).values)


def test_what_is_no_normal_or_has_no_dates_is_refused(made) -> None:
    chain, _ = made
    with pytest.raises(DocumentError, match="no date in the years 1981 to 2010"):
        chain.climatological_normal("month").compute(WINDOW)
    with pytest.raises(DocumentError, match="ends before it begins: 2019 to 2017"):
        chain.climatological_normal("month", years=(2019, 2017))
    with pytest.raises(DocumentError, match="not of climatological_normal"):
        chain.anomaly(chain, "month").compute(WINDOW)
    with pytest.raises(DocumentError, match="reduced already"):
        chain.anomaly(chain.median("t"), "month").compute(WINDOW)
