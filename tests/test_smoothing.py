"""Whittaker's smoother against a sparse solution by SciPy, Savitzky and Golay's against SciPy and least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import signal, sparse
from scipy.sparse.linalg import spsolve

from muses_lab.errors import DocumentError
from muses_lab.operators import registry
from tests.helpers.examples import examples
from tests.helpers.pixel_series import NAN, cube, irregular, noise, run

SERIES = [0.2, 0.22, 0.25, 0.1, 0.45, 0.6, 0.7, 0.68, 0.5, 0.35, 0.25, 0.21]
WHITTAKER = [0.200899, 0.204188, 0.205680, 0.235198, 0.411211, 0.581786, 0.672571, 0.645644, 0.517938, 0.375097,
             0.266892, 0.192895]  # fmt: skip
WITHOUT_FOURTH = [0.190175, 0.219355, 0.268186, 0.357609, 0.472193, 0.596506, 0.670731, 0.642039, 0.516135, 0.374651,
                  0.266948, 0.193081]  # fmt: skip
GOLAY = [0.187571, 0.269714, 0.175429, 0.218286, 0.377143, 0.618857, 0.697429, 0.660286, 0.514571, 0.350857, 0.249429,
         0.210143]  # fmt: skip


def solved(y: np.ndarray, days: np.ndarray, smoothness: float, spacing: float | None) -> np.ndarray:
    """(W + λ DᵀD) z = W y by SciPy, D from the definition: of z = t² / 2 it is the square of `spacing`."""
    n = len(y)
    steps = np.ones(n - 1) if spacing is None else np.diff(days) / spacing
    slopes = sparse.diags([-1 / steps, 1 / steps], [0, 1], shape=(n - 1, n))
    change = sparse.diags([-1.0, 1.0], [0, 1], shape=(n - 2, n - 1))
    d = sparse.diags(1 / ((steps[:-1] + steps[1:]) / 2)) @ change @ slopes
    w = ~np.isnan(y)
    z = spsolve((sparse.diags(w.astype(float)) + smoothness * d.T @ d).tocsc(), np.where(w, y, 0))
    first, last = np.flatnonzero(w)[[0, -1]]
    z[:first] = z[last + 1 :] = np.nan
    return z


def test_whittaker_has_the_numbers_of_the_algorithms() -> None:
    impulse = cube([0, 0, 0, 1.0, 0, 0, 0], np.arange(7) * 10)
    expected = [-0.038462, 0.086538, 0.25, 0.403846, 0.25, 0.086538, -0.038462]
    np.testing.assert_allclose(run("whittaker", impulse, smoothness=1).values.ravel(), expected, atol=1e-6)
    days = np.arange(12) * 16
    for spacing in (16, None):
        found = run("whittaker", cube(SERIES, days), spacing=spacing).values.ravel()
        np.testing.assert_allclose(found, WHITTAKER, atol=1e-6)
    gap = cube([*SERIES[:3], NAN, *SERIES[4:]], days)
    found = run("whittaker", gap, spacing=16, fill=True).values.ravel()
    np.testing.assert_allclose(found, WITHOUT_FOURTH, atol=1e-6)
    kept = run("whittaker", gap, spacing=16).values.ravel()
    assert np.isnan(kept[3]) and (np.delete(kept, 3) == np.delete(found, 3)).all()


@pytest.mark.parametrize("smoothness", [0.01, 0.5, 50, 1e5])
@pytest.mark.parametrize("spacing", [None, 10.0, 3.0])
def test_whittaker_is_the_sparse_solution_on_irregular_dates(smoothness: float, spacing: float | None) -> None:
    days, values = irregular(40), noise(40, 70)
    values[:25, 3] = NAN
    values[3:, 4] = NAN
    values[:3, 4] = 0.1, NAN, 0.3
    found = run("whittaker", cube(values, days), smoothness=smoothness, spacing=spacing, fill=True).values[:, 0]
    for pixel in range(values.shape[1]):
        expected = solved(values[:, pixel], days, smoothness, spacing)
        np.testing.assert_allclose(found[:, pixel], expected, rtol=1e-6, atol=1e-6)  # of the solver


def test_whittaker_keeps_straight_lines_and_needs_two_dates() -> None:
    days = irregular(20)
    line = 0.1 + 0.002 * days
    gaps = np.where(np.isin(np.arange(20), [0, 4, 5, 19]), NAN, line)
    found = run("whittaker", cube(gaps, days), smoothness=1e3, fill=True).values.ravel()
    np.testing.assert_allclose(found[1:19], line[1:19], rtol=1e-9)
    assert np.isnan(found[[0, 19]]).all(), "nothing before the first and after the last valid date"
    one = np.full(20, NAN)
    one[7] = 0.4
    assert np.isnan(run("whittaker", cube(one, days), fill=True)).all()
    assert np.isnan(run("whittaker", cube(np.full(20, NAN), days), fill=True)).all()
    for count in range(3):
        short = run("whittaker", cube(line[:count], days[:count]))
        assert short.sizes["t"] == count and np.isnan(short).all() == (count < 2)


def test_dates_of_the_same_hour_do_not_upset_whittaker() -> None:
    days = np.array([0, 10, 10 + 1 / 1440, 20, 30.0])
    found = run("whittaker", cube([0.2, 0.3, 0.5, 0.4, 0.3], days)).values.ravel()
    assert np.isfinite(found).all() and 0.2 < found[1] < 0.5 and abs(found[1] - found[2]) < 0.02


@pytest.mark.parametrize("window, degree", [(5, 2), (5, 3), (7, 2), (7, 4), (3, 1), (9, 0)])
def test_golay_is_that_of_scipy_on_regular_dates(window: int, degree: int) -> None:
    values = noise(30, 20, missing=0)
    found = run("savitzky_golay", cube(values, np.arange(30) * 16), window=window, degree=degree).values[:, 0]
    np.testing.assert_allclose(found, signal.savgol_filter(values, window, degree, axis=0), rtol=1e-9, atol=1e-12)


def test_golay_has_the_numbers_of_the_algorithms() -> None:
    found = run("savitzky_golay", cube(SERIES, np.arange(12) * 10), window=5, degree=3).values.ravel()
    np.testing.assert_allclose(found, GOLAY, atol=1e-6)
    for window, weights in ((5, [-3, 12, 17, 12, -3]), (7, [-2, 3, 6, 7, 6, 3, -2])):
        impulse = np.zeros(2 * window + 1)
        impulse[window] = 1
        smooth = run("savitzky_golay", cube(impulse, np.arange(len(impulse))), window=window).values.ravel()
        around = smooth[window - window // 2 : window + window // 2 + 1]
        np.testing.assert_allclose(around, np.array(weights) / sum(weights), atol=1e-12)


def test_golay_is_least_squares_through_valid_dates_by_their_distance() -> None:
    days, values = irregular(40), noise(40, 30)
    found = run("savitzky_golay", cube(values, days), window=7, degree=2).values[:, 0]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    for pixel in range(30):
        there = np.flatnonzero(~np.isnan(values[:, pixel]))
        for k, date in enumerate(there):
            start = min(max(k - 3, 0), len(there) - 7)
            near = there[start : start + 7]
            polynomial = np.polynomial.Polynomial.fit(days[near], values[near, pixel], 2)
            np.testing.assert_allclose(found[date, pixel], polynomial(days[date]), rtol=1e-8, atol=1e-10)


def test_golay_of_too_few_dates_is_missing_and_odd_windows_are_asked_for() -> None:
    values = np.full(12, NAN)
    values[:4] = 0.1, 0.2, 0.3, 0.4
    assert np.isnan(run("savitzky_golay", cube(values, np.arange(12)))).all()
    data = registry.node("load_collection", id="any")
    with pytest.raises(DocumentError, match="3 or 5 dates, not 4"):
        registry.node("muses:savitzky_golay", data=data, window=4)
    with pytest.raises(DocumentError, match="degree 5 goes through any 5 values"):
        registry.node("muses:savitzky_golay", data=data, window=5, degree=5)


@given(st.integers(0, 10_000), st.floats(0.01, 1e4), st.floats(-100, 100))
@hypothesis_settings(max_examples=examples(15), deadline=None)
def test_smoothing_follows_what_is_added(seed: int, smoothness: float, level: float) -> None:
    """A level added to the series is added to the result; so is a straight line."""
    days, values = irregular(25, seed), noise(25, 3, seed=seed)
    for process, given_ in (("whittaker", {"smoothness": smoothness}), ("savitzky_golay", {})):
        found = run(process, cube(values, days), **given_)
        more = run(process, cube(values + level + days[:, None] * 0.01, days), **given_)
        np.testing.assert_allclose(more.values[:, 0], found.values[:, 0] + level + days[:, None] * 0.01, atol=1e-6)
