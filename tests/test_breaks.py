"""Breaks, drops and alerts against their definitions in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from tests.helpers.pixel_series import NAN, bands, cube, irregular, noise, run

STEP = [0.5, 0.52, 0.49, 0.51, 0.3, 0.28, 0.31, 0.29]
DAYS = np.arange(8) * 10.0


def since(process: str, values, days=DAYS, **given):
    return bands(process, cube(values, days[: len(values)]), origin="2018-01-01", **given)


def test_cusum_has_the_break_of_the_algorithms() -> None:
    found = since("cusum", STEP)
    assert found["date"] == 40, "the break is after the fourth date"
    assert found["size"] == pytest.approx(0.295 - 0.505)
    score = 0.42 / (np.std(STEP) * np.sqrt(8))
    assert found["score"] == pytest.approx(score) and found["p"] == pytest.approx(special.kolmogorov(score))
    shares = [since("cusum", STEP, permutations=n)["p"] for n in (99, 999)]
    assert shares[0] == pytest.approx(shares[1], abs=0.03) and shares[1] < 0.05
    assert since("cusum", STEP, permutations=99)["p"] == shares[0], "the same each time"


def test_cusum_with_gaps_is_by_its_definition() -> None:
    days, values = irregular(40), noise(40, 50, missing=0.4)
    found = run("cusum", cube(values, days), origin="2018-01-01").values[:, 0]
    for pixel in range(50):
        there = ~np.isnan(values[:, pixel])
        y, t = values[there, pixel], days[there]
        sums = np.abs(np.cumsum(y - y.mean()))[:-1]
        k = sums.argmax()
        score = sums[k] / (y.std() * np.sqrt(len(y)))
        expected = [t[k + 1], y[k + 1 :].mean() - y[: k + 1].mean(), score, special.kolmogorov(score), len(y)]
        np.testing.assert_allclose(found[:, pixel], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("permutations", [0, 99])
def test_noise_seldom_has_a_break(permutations: int) -> None:
    values = np.random.default_rng(5).normal(size=(60, 400))
    p = run("cusum", cube(values, np.arange(60)), permutations=permutations).sel(bands="p").values
    assert 0 < (p < 0.05).mean() < 0.09
    values[30:] += 2
    p = run("cusum", cube(values, np.arange(60)), permutations=permutations).sel(bands="p").values
    assert (p < 0.05).all()


@pytest.mark.parametrize("process, least", [("cusum", 4), ("largest_drop", 2), ("drop_alert", 7)])
def test_too_few_dates_have_a_count_and_nothing_else(process: str, least: int) -> None:
    for valid in {0, 1, least - 1}:
        values = np.full(12, NAN)
        values[2 : 2 + valid] = np.arange(valid)[::-1]
        found = since(process, values, np.arange(12))
        assert found.pop("count") == valid and np.isnan(list(found.values())).all()


def test_constant_series_have_neither_break_nor_drop() -> None:
    constant = np.full(12, 0.1, np.float32)
    broken = since("cusum", constant, np.arange(12), permutations=9)
    assert np.isnan(broken.pop("date")) and broken == {"size": 0, "score": 0, "p": 1, "count": 12}
    for process in ("largest_drop", "drop_alert"):
        found = since(process, constant, np.arange(12))
        assert found["size"] == 0 and np.isnan(found["date"]) and found["count"] == 12


def test_the_largest_drop_is_between_neighbouring_valid_dates() -> None:
    found = since("largest_drop", [0.5, 0.7, NAN, 0.4, 0.6, 0.35, NAN, 0.1])
    assert found["size"] == pytest.approx(0.3) and found["date"] == 30 and found["days"] == 20 and found["count"] == 6
    assert since("largest_drop", [0.5, 0.25, 0.5, 0.25])["date"] == 10, "of equal ones the first"
    rising = since("largest_drop", [0.1, 0.1, 0.2])
    assert rising["size"] == 0 and np.isnan(rising["date"]) and np.isnan(rising["days"])
    days, values = irregular(30), noise(30, 40)
    found = run("largest_drop", cube(values, days), origin="2018-01-01").values[:, 0]
    for pixel in range(40):
        there = ~np.isnan(values[:, pixel])
        falls, t = -np.diff(values[there, pixel]), days[there]
        k = falls.argmax()
        np.testing.assert_allclose(found[:, pixel], [t[k + 1], falls[k], t[k + 1] - t[k], there.sum()])


def test_an_alert_takes_several_low_dates() -> None:
    usual = [0.8, 0.82, 0.79, 0.81, 0.8]
    found = since("drop_alert", [*usual, 0.4, 0.81, 0.5, NAN, 0.45, 0.4], np.arange(11) * 10.0)
    assert (found["date"], found["confirmed"]) == (70, 90), "one low date is no alert"
    assert found["size"] == pytest.approx(0.8 - 0.475) and found["count"] == 10
    one = since("drop_alert", [*usual, 0.4, 0.81], confirm=1)
    assert one["date"] == one["confirmed"] == 50
    late = since("drop_alert", [*usual, 0.4, 0.4, 0.4, 0.4, 0.4], np.arange(10) * 10.0, start="2018-03-02")
    assert late["date"] == 60, "the median of the five before it is still the usual one"
    assert np.isnan(since("drop_alert", [*usual, 0.65, 0.62, 0.63])["date"])


def test_later_dates_do_not_change_an_alert() -> None:
    values = noise(60, 200, missing=0.1, seed=4)
    days = irregular(60)
    before = run("drop_alert", cube(values[:40], days[:40])).sel(bands=["date", "confirmed", "size"]).values
    after = run("drop_alert", cube(values, days)).sel(bands=["date", "confirmed", "size"]).values
    alerted = np.isfinite(before[0])
    assert 20 < alerted.sum() < 200
    np.testing.assert_array_equal(after[..., alerted[0]], before[..., alerted[0]])
