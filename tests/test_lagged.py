"""Lagged correlation against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from muses_lab.errors import DocumentError
from muses_lab.operators import registry
from tests.helpers.pixel_series import NAN, bands, cube, irregular, noise, run


def test_a_delayed_series_is_found_at_its_delay() -> None:
    rain = np.random.default_rng(0).normal(size=40)
    green = np.concatenate([np.full(3, NAN), rain[:-3]])
    days = np.arange(40) * 10.0
    found = bands("lagged_correlation", cube(rain, days), cube(green, days))
    assert found["lag"] == 30 and found["r"] == pytest.approx(1) and found["count"] == 37 and found["p"] < 1e-12
    back = bands("lagged_correlation", cube(green, days), cube(-rain, days), min_lag=-60)
    assert back["lag"] == -30 and back["r"] == pytest.approx(-1)


def test_it_is_pearson_at_every_lag_with_gaps_and_irregular_dates() -> None:
    days, a, b = irregular(50), noise(50, 25, seed=1), noise(50, 25, seed=2)
    lags = np.arange(-20, 41, 5.0)
    found = run("lagged_correlation", cube(a, days), cube(b, days), min_lag=-20, max_lag=40, step=5).values[:, 0]
    for pixel in range(25):
        here, there = ~np.isnan(a[:, pixel]), ~np.isnan(b[:, pixel])
        x, t = days[there], days[here]
        tested = {}
        for lag in lags:
            inside = (t + lag >= x[0]) & (t + lag <= x[-1])
            pair = a[here, pixel][inside], np.interp(t[inside] + lag, x, b[there, pixel])
            tested[lag] = *stats.pearsonr(*pair), inside.sum()
        lag = max(lags, key=lambda one: abs(tested[one][0]))
        r, p, count = tested[lag]
        expected = [lag, r, p, min(p * len(lags), 1), count]
        np.testing.assert_allclose(found[:, pixel], expected, rtol=1e-6, atol=1e-9)


def test_what_says_nothing_is_missing() -> None:
    days = np.arange(20) * 10.0
    other = noise(20, 1, 0)[:, 0]
    few = np.where(np.arange(20) < 4, other, NAN)
    for series in (np.full(20, 0.3), np.full(20, NAN), few):
        for pair in ((series, other), (other, series)):
            found = bands("lagged_correlation", *(cube(one, days) for one in pair))
            assert np.isnan(list(found.values())).all()
    assert np.isfinite(bands("lagged_correlation", cube(few, days), cube(other, days), least=3)["r"])


def test_equal_lags_give_the_nearest_and_lags_are_limited() -> None:
    days = np.arange(24) * 10.0
    wave = np.tile([0.0, 1, 0, -1], 6)
    found = bands("lagged_correlation", cube(wave, days), cube(wave, days), min_lag=-80, max_lag=80)
    assert found["lag"] == 0 and found["r"] == 1 and found["p"] == 0
    data = registry.node("load_collection", id="any")
    with pytest.raises(DocumentError, match="must not exceed max_lag"):
        registry.node("muses:lagged_correlation", data=data, other=data, min_lag=30, max_lag=10)
    with pytest.raises(DocumentError, match="these are 1001 lags"):
        registry.node("muses:lagged_correlation", data=data, other=data, max_lag=1000, step=1)
