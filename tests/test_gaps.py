"""Filled gaps against NumPy, pandas and SciPy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import interpolate

from tests.helpers.pixel_series import NAN, cube, irregular, noise, run

DAYS = [0, 10, 20, 30, 40]
SERIES = [0.2, NAN, 0.5, NAN, NAN]


def filled(values, days, *method, **given) -> np.ndarray:
    return run("fill_gaps", cube(values, days), *method, **given).values[:, 0].squeeze()


def test_linear_has_the_numbers_of_the_algorithms() -> None:
    np.testing.assert_allclose(filled([0.2, NAN, 0.6], [0, 5, 10]), [0.2, 0.4, 0.6])
    series = [0.2, NAN, 0.5, NAN, 0.8, NAN]  # valid on days 0, 20, 35
    np.testing.assert_allclose(filled(series, [0, 10, 20, 30, 35, 40]), [0.2, 0.35, 0.5, 0.7, 0.8, 0.8])


def test_methods_are_those_of_numpy_pandas_and_scipy() -> None:
    days, values = irregular(40), noise(40, 40, missing=0.5)
    found = {method: filled(values, days, method) for method in ("linear", "nearest", "previous", "spline")}
    for pixel in range(40):
        y = values[:, pixel]
        there = ~np.isnan(y)
        x, v = days[there], y[there]
        first, last = np.flatnonzero(there)[[0, -1]]
        inside = slice(first, last + 1)
        np.testing.assert_allclose(found["linear"][:, pixel], np.interp(days, x, v))
        previous = pd.Series(y).ffill().to_numpy()
        np.testing.assert_array_equal(found["previous"][:, pixel], previous)
        nearest = v[np.abs(days[:, None] - x).argmin(axis=1)]
        np.testing.assert_array_equal(found["nearest"][:, pixel], nearest)
        spline = interpolate.CubicSpline(x, v, bc_type="natural")
        np.testing.assert_allclose(found["spline"][inside, pixel], spline(days[inside]), rtol=1e-7, atol=1e-9)
        assert (found["spline"][:first, pixel] == v[0]).all() and (found["spline"][last:, pixel] == v[-1]).all()


@pytest.mark.parametrize("method", ["linear", "nearest", "previous", "spline"])
def test_valid_dates_keep_their_values_and_nothing_comes_of_nothing(method: str) -> None:
    values = noise(30, 50, missing=0.6, dtype=np.float32)
    values[:, 0] = NAN
    values[:, 1] = NAN
    values[9, 1] = 0.5
    found = filled(values, irregular(30), method)
    assert found.dtype == np.float32
    there = ~np.isnan(values)
    np.testing.assert_array_equal(found[there], values[there])
    assert np.isnan(found[:, 0]).all()
    assert (found[9:, 1] == 0.5).all() and np.isnan(found[:9, 1]).all() == (method == "previous")
    assert filled(values[:0], []).shape[0] == 0


def test_long_gaps_and_far_ends_stay_missing() -> None:
    days = [0, 10, 20, 30, 60, 90, 100, 130]
    series = [NAN, 0.2, NAN, 0.4, NAN, 0.6, NAN, NAN]
    np.testing.assert_allclose(filled(series, days, max_gap=20), [0.2, 0.2, 0.3, 0.4, NAN, 0.6, 0.6, NAN])
    np.testing.assert_allclose(filled(series, days, "nearest", max_gap=59), [*[0.2] * 3, 0.4, NAN, *[0.6] * 3])
    np.testing.assert_allclose(filled(series, days, "previous", max_gap=30), [NAN, *[0.2] * 2, *[0.4] * 2, *[0.6] * 2,
                                                                              NAN])  # fmt: skip
    np.testing.assert_allclose(filled(series, days, ends=False), [NAN, 0.2, 0.3, 0.4, 0.5, 0.6, NAN, NAN])
    halfway = filled([0.1, NAN, 0.9], [0, 5, 10], "nearest")
    assert halfway[1] == 0.1, "of two as near the earlier one"
