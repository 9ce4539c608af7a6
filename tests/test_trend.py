"""Trends against SciPy and pymannkendall."""

from __future__ import annotations

import numpy as np
import pymannkendall
import pytest
from scipy import stats

from tests.helpers.pixel_series import NAN, bands, cube, irregular, noise, run

SERIES = [0.31, 0.35, 0.33, 0.38, 0.36, 0.41, 0.40, 0.45, 0.43, 0.47]
TIES = [10.0, 22, 21, 30, 32, 30, 45, 40]
YEARLY = np.arange(10) * 365.25


def test_trends_have_the_numbers_of_the_algorithms() -> None:
    found = bands("theil_sen", cube(SERIES, YEARLY), origin="2018-01-01")
    known = {"s": 37, "z": 3.2199, "p": 0.00128, "tau": 0.8222, "slope": 0.0150, "intercept": 0.3225, "count": 10}
    for name, value in known.items():
        assert found[name] == pytest.approx(value, rel=2e-3, abs=5e-6), name
    line = bands("trend", cube(SERIES, YEARLY), origin="2018-01-01")
    assert line["slope"] == pytest.approx(0.016424, abs=5e-7) and line["intercept"] == pytest.approx(0.315091, abs=5e-7)
    assert line["r2"] == pytest.approx(0.9494**2, abs=5e-5)
    tied = bands("theil_sen", cube(TIES, YEARLY[:8]))
    assert tied["s"] == 21 and tied["z"] == pytest.approx(2.4935, abs=5e-5)
    assert tied["p"] == pytest.approx(0.01265, abs=5e-6) and tied["slope"] == pytest.approx(4.1429, abs=5e-5)


def test_the_line_is_that_of_scipy_on_valid_dates() -> None:
    days, values = irregular(30), noise(30, 60, missing=0.4)
    values += np.linspace(-0.5, 0.5, 30)[:, None] * np.linspace(0, 1, 60)
    found = run("trend", cube(values, days), origin="2018-01-01").values[:, 0]
    for pixel in range(60):
        there = ~np.isnan(values[:, pixel])
        line = stats.linregress(days[there] / 365.25, values[there, pixel])
        expected = [line.slope, line.intercept, line.rvalue**2, line.pvalue, there.sum()]
        np.testing.assert_allclose(found[:, pixel], expected, rtol=1e-7, atol=1e-12)


def test_sen_and_kendall_are_those_of_pymannkendall_and_scipy_with_gaps_and_ties() -> None:
    days, values = irregular(40), noise(40, 60, missing=0.4)
    values += np.linspace(-0.5, 0.5, 40)[:, None] * np.linspace(0, 1, 60)
    values[:, ::2] = np.round(values[:, ::2], 1)  # ties
    data = cube(values, days)
    found, test = run("theil_sen", data, origin="2018-01-01"), run("mann_kendall", data)
    np.testing.assert_array_equal(found.sel(bands=test.bands), test)
    for pixel in range(60):
        there = ~np.isnan(values[:, pixel])
        y, t = values[there, pixel], days[there] / 365.25
        kendall = pymannkendall.original_test(y)
        expected = [kendall.s, kendall.Tau, kendall.z, kendall.p, there.sum()]
        np.testing.assert_allclose(test.values[:, 0, pixel], expected, rtol=1e-9, atol=1e-12)
        sen = stats.theilslopes(y, t)
        np.testing.assert_allclose(found.values[:2, 0, pixel], [sen.slope, sen.intercept], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("season, count", [("month", 12), ("quarter", 4)])
def test_the_seasonal_test_is_that_of_pymannkendall(season: str, count: int) -> None:
    years, rng = 9, np.random.default_rng(1)
    values = rng.normal(0, 0.2, (years * count, 20)) + np.linspace(0, 0.4, years * count)[:, None]
    values += 3 * np.cos(np.arange(years * count) / count * 2 * np.pi)[:, None]
    values[rng.random(values.shape) < 0.2] = NAN
    values[:, :4] = np.round(values[:, :4], 1)
    step = 12 // count
    months = np.datetime64("2010-01", "M") + np.arange(years * count) * step
    days = (months.astype("M8[D]") + 13 - np.datetime64("2018-01-01")) / np.timedelta64(1, "D")
    found = run("seasonal_mann_kendall", cube(values, days), season=season).values[:, 0]
    for pixel in range(20):
        known = pymannkendall.seasonal_test(values[:, pixel], period=count)
        expected = [known.slope, known.s, known.Tau, known.z, known.p, (~np.isnan(values[:, pixel])).sum()]
        np.testing.assert_allclose(found[:, pixel], expected, rtol=1e-9, atol=1e-12)


def test_dates_of_one_month_are_averaged_for_the_seasonal_test() -> None:
    rng = np.random.default_rng(2)
    monthly = rng.normal(0, 1, 48)
    months = (np.datetime64("2014-01", "M") + np.arange(48)).astype("M8[D]")
    first = (months - np.datetime64("2018-01-01")) / np.timedelta64(1, "D")
    one = run("seasonal_mann_kendall", cube(monthly, first + 9))
    twice = np.stack([monthly - 0.5, monthly + 0.5], axis=1).ravel()
    two = run("seasonal_mann_kendall", cube(twice, np.stack([first + 3, first + 20], axis=1).ravel()))
    np.testing.assert_allclose(one, two, rtol=1e-9)


@pytest.mark.parametrize("process", ["trend", "mann_kendall", "theil_sen", "seasonal_mann_kendall"])
@pytest.mark.parametrize("valid", [0, 1, 2])
def test_too_few_dates_have_a_count_and_nothing_else(process: str, valid: int) -> None:
    values = np.full(12, NAN)
    values[3 : 3 + valid] = 0.5
    found = bands(process, cube(values, np.arange(12) * 31))
    assert found.pop("count") == valid and np.isnan(list(found.values())).all()
    none = bands(process, cube(values[:0], []))
    assert none.pop("count") == 0 and np.isnan(list(none.values())).all()


def test_constant_series_have_no_trend() -> None:
    data = cube(np.full(11, 0.3, np.float32), irregular(11))
    assert bands("trend", data) == {
        "slope": 0, "intercept": pytest.approx(0.3), "r2": 0, "p": 1, "count": 11,
    }  # fmt: skip
    sen = bands("theil_sen", data)
    assert sen == {
        "slope": 0, "intercept": pytest.approx(0.3), "s": 0, "tau": 0, "z": 0, "p": 1, "count": 11,
    }  # fmt: skip


def test_a_line_without_noise_is_sure() -> None:
    days = irregular(20)
    line = bands("trend", cube(0.2 + days / 365.25 * 0.1, days), origin="2018-01-01")
    assert line["slope"] == pytest.approx(0.1) and line["intercept"] == pytest.approx(0.2)
    assert line["r2"] == pytest.approx(1) and line["p"] < 1e-50
