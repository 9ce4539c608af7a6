"""What all operators on series have in common: tiles, orders of dates, gaps, choices of dates, exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import muses_lab as ml
from muses_lab.errors import DocumentError
from muses_lab.operators import registry
from tests.helpers.made_stacks import own_window, stack
from tests.helpers.pixel_series import NAN, cube, irregular, noise

pytestmark = pytest.mark.usefixtures("in_threads")

SMOOTH = {
    "fill_gaps": {"method": "spline", "max_gap": 60}, "whittaker": {"smoothness": 2.0}, "savitzky_golay": {"window": 3},
    "harmonic_fit": {},
}  # fmt: skip
REDUCE = {
    "harmonic_regression": {}, "trend": {}, "theil_sen": {}, "mann_kendall": {}, "seasonal_mann_kendall": {},
    "phenology": {}, "cusum": {"permutations": 9}, "largest_drop": {}, "drop_alert": {"previous": 2, "threshold": 0.1},
    "lagged_correlation": {},
}  # fmt: skip
DATES = ["2018-01-03", "2018-01-28", "2018-03-10", "2018-04-01", "2018-05-02", "2018-06-20", "2018-07-10", "2018-08-01",
         "2018-09-15", "2018-10-02", "2018-11-20", "2018-12-24"]  # fmt: skip


def given(process: str, data: xr.DataArray) -> list[xr.DataArray]:
    return [data, -(data**2)] if process == "lagged_correlation" else [data]


def called(process: str, data: xr.DataArray) -> xr.DataArray:
    return registry["muses:" + process].fn(*given(process, data), **{**SMOOTH, **REDUCE}[process])


@pytest.mark.parametrize("process", [*SMOOTH, *REDUCE])
def test_order_neighbours_and_precision_do_not_change_values(process: str) -> None:
    days = irregular(24, every=16)
    values = noise(24, 150, dtype=np.float32).reshape(24, 10, 15)
    values[:, 0, 0] = NAN
    data = cube(values, days)
    whole = called(process, data)
    assert whole.dtype == np.float32 and called(process, data.astype(np.float64)).dtype == np.float64
    np.testing.assert_array_equal(called(process, data), whole, "the same each time")
    part = called(process, data.isel(y=slice(3, 9), x=slice(1, 14)))
    np.testing.assert_array_equal(part, whole.isel(y=slice(3, 9), x=slice(1, 14)))
    mixed = np.random.default_rng(3).permutation(24)
    other = called(process, data.isel(t=mixed))
    if "t" in whole.dims:
        np.testing.assert_array_equal(other.t, data.t[mixed])
        other = other.sortby("t")
    np.testing.assert_array_equal(other, whole)
    shown = whole.drop_sel(bands="count") if "count" in whole.coords.get("bands", ()) else whole
    assert np.isnan(shown.isel(y=0, x=0)).all(), "nothing comes of nothing"
    if "t" in whole.dims and process != "fill_gaps":
        assert np.isnan(whole.values[np.isnan(values)]).all(), "masked stays masked"
    assert called(process, data.isel(t=slice(0, 0))).sizes["y"] == 10
    assert called(process, data.isel(t=[5])).sizes["y"] == 10


@pytest.mark.parametrize("process", SMOOTH)
def test_every_band_is_a_series(process: str) -> None:
    one, two = (cube(noise(12, 20, seed=seed, dtype=np.float32), irregular(12)) for seed in (1, 2))
    both = xr.concat([one, two], dim="bands").assign_coords(bands=["a", "b"]).transpose("t", "bands", "y", "x")
    found = called(process, both)
    np.testing.assert_array_equal(found.sel(bands="a"), called(process, one))
    np.testing.assert_array_equal(found.sel(bands="b"), called(process, two))


# ----------------------------------------------------------------------------------------------- in the engine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, np.ndarray]:
    """Twelve dates of 560 × 530 pixels; the first one has no data in the north, where a block ends, nor the sixth."""
    values = noise(12, 560 * 530, missing=0.2, dtype=np.float32).reshape(12, 560, 530)
    values[[0, 5], :512] = NAN
    folder = tmp_path_factory.mktemp("series")
    return stack(values[:, None], folder, bands=("B8",), dates=DATES), values


def expected(process: str, values: np.ndarray) -> np.ndarray:
    times = np.array(DATES, "M8[ns]")
    data = xr.DataArray(values, dims=("t", "y", "x"), coords={"t": times})
    return called(process, data).values


@pytest.mark.parametrize("process", [*SMOOTH, *REDUCE])
def test_windows_across_blocks_are_one_evaluation(process: str, made) -> None:
    collection, values = made
    series = collection.band("B8")
    others = [-(series**2)] if process == "lagged_correlation" else []
    chain = getattr(series, process)(*others, **{**SMOOTH, **REDUCE}[process])
    found = chain.compute(own_window(560, 530)[500:524, 500:530])
    np.testing.assert_array_equal(found.values, expected(process, values[:, 500:524, 500:530]))


@pytest.mark.parametrize("process", SMOOTH)
def test_dates_chosen_afterwards_have_the_values_of_the_whole_series(process: str, made) -> None:
    collection, values = made
    window = own_window(560, 530)[505:520, 500:520]
    whole = expected(process, values[:, 505:520, 500:520])
    chain = getattr(collection.band("B8"), process)(**SMOOTH[process])
    some = chain.dates("2018-03-01", "2018-08-01").compute(window)
    np.testing.assert_array_equal(some, whole[2:7])
    np.testing.assert_array_equal(chain.dates("2018-06").max("t").compute(window), whole[5])


def test_masks_after_filling_do_not_take_dates_from_it(made) -> None:
    """The mask removes two dates altogether: they still count for the dates between which gaps are filled."""
    collection, values = made
    window = own_window(560, 530)[520:540, 500:520]
    series = collection.band("B8")
    spring = (series > -100).dates("2018-03-01", "2018-05-01")
    found = series.fill_gaps().mask(spring).compute(window)
    whole = (
        registry["muses:fill_gaps"]
        .fn(xr.DataArray(values[:, 520:540, 500:520], dims=("t", "y", "x"), coords={"t": np.array(DATES, "M8[ns]")}))
        .values
    )
    there = ~np.isnan(values[2:4, 520:540, 500:520])
    whole[2:4][there] = NAN
    np.testing.assert_array_equal(found, whole)


def test_series_of_pixels_and_exports_have_the_filled_dates(made, tmp_path: Path) -> None:
    collection, values = made
    chain = collection.band("B8").fill_gaps()
    window = own_window(560, 530)[510:514, 520:524]
    whole = chain.compute(window)
    assert whole.sizes["t"] == 12 and np.isfinite(whole).all()
    path = chain.export(tmp_path / "filled.nc", window, progress=False).wait(60)
    with xr.open_dataset(path) as file:
        stored = next(v for v in file.data_vars.values() if v.ndim >= 3)
        np.testing.assert_array_equal(np.asarray(stored).reshape(whole.shape), whole)


@pytest.mark.parametrize("process", [*SMOOTH, *REDUCE])
def test_what_is_no_series_is_refused(process: str, made) -> None:
    collection, _ = made
    window = own_window(4, 4)
    series = collection.band("B8")
    others = [series] if process == "lagged_correlation" else []
    with pytest.raises(DocumentError, match=f"{process} takes a series: the dimension 't' has been reduced already"):
        getattr(series.median("t"), process)(*others).compute(window)
    if process in REDUCE:
        with pytest.raises(DocumentError, match=r"one band or an index, not B8: choose one with .band"):
            getattr(collection.bands("B8"), process)(*others).compute(window)
