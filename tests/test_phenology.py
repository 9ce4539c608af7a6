"""Phenology: the season of the algorithms, and against NumPy on smooth seasons."""

from __future__ import annotations

import numpy as np
import pytest

from muses_lab.errors import DocumentError
from muses_lab.operators import registry
from tests.helpers.pixel_series import NAN, bands, cube, irregular, run

SEASON = [0.2, 0.2, 0.3, 0.5, 0.7, 0.8, 0.7, 0.5, 0.3, 0.2]
DAYS = np.arange(10) * 20.0


def season(values=SEASON, days=DAYS, **given):
    return bands("phenology", cube(values, days), origin="2018-01-01", **given)


def test_it_has_the_numbers_of_the_algorithms() -> None:
    half = season()
    known = {"peak": 100, "amplitude": 0.6, "base": 0.2, "start": 60, "end": 140, "length": 80, "rate_of_rise": 0.0075,
             "rate_of_fall": -0.0075, "value_at_start": 0.5, "value_at_peak": 0.8, "count": 10}  # fmt: skip
    for name, value in known.items():
        assert half[name] == pytest.approx(value), name
    area = 2 * (20 * 0.6 + 20 * 0.75)
    assert half["integral_from_zero"] == pytest.approx(area) and half["integral"] == pytest.approx(area - 80 * 0.2)
    fifth = season(threshold=0.2)
    assert (fifth["start"], fifth["end"]) == (pytest.approx(42), pytest.approx(158))
    fixed = season(threshold=0.6, method="absolute")
    assert (fixed["start"], fixed["end"]) == (pytest.approx(70), pytest.approx(130))


def test_bases_of_both_sides_and_gaps() -> None:
    values = [0.4, 0.6, 0.8, NAN, 0.2, 0.1]
    found = season(values, [0, 10, 20, 30, 40, 50])
    assert found["base"] == pytest.approx(0.25) and found["amplitude"] == pytest.approx(0.55)
    assert found["start"] == pytest.approx(10), "half of 0.4 to 0.8"
    assert found["end"] == pytest.approx(20 + 20 * 0.35 / 0.6), "half of 0.1 to 0.8, between days 20 and 40"
    quantiles = season(method="relative")
    low, high = np.quantile(SEASON, [0.1, 0.9])
    at = low + (high - low) / 2
    assert quantiles["start"] == pytest.approx(np.interp(at, [0.3, 0.5], [40, 60]))


def test_seasons_of_curves_are_found_whatever_the_days() -> None:
    days = np.sort(irregular(60, every=6))[:60]
    days = days[days < 350]
    middle = np.linspace(140, 200, 25)
    values = 0.1 + 0.7 * np.exp(-(((days[:, None] - middle) / 45) ** 2))
    found = run("phenology", cube(values, days), origin="2018-01-01").sel(bands=["start", "peak", "end", "amplitude"])
    half = 45 * np.sqrt(np.log(2))
    expected = np.array([middle - half, middle, middle + half, np.full(25, 0.7)])
    np.testing.assert_allclose(found.values[:3, 0], expected[:3], atol=6)
    np.testing.assert_allclose(found.values[3, 0], expected[3], atol=0.02)


@pytest.mark.parametrize("values", [[NAN] * 6, [0.5, *[NAN] * 5], [0.1, 0.6, *[NAN] * 4], []])
def test_too_few_dates_have_a_count_and_nothing_else(values: list[float]) -> None:
    found = season(values, np.arange(len(values)) * 20)
    assert found.pop("count") == np.isfinite(values).sum() and np.isnan(list(found.values())).all()


def test_what_has_no_season_has_no_start_and_no_end() -> None:
    constant = season([0.3] * 10)
    assert constant["amplitude"] == 0 and constant["base"] == pytest.approx(0.3)
    assert np.isnan([constant[name] for name in ("start", "end", "length", "integral", "rate_of_rise")]).all()
    rising = season([0.1, 0.2, 0.3, 0.5], DAYS[:4])
    assert rising["peak"] == 60 and rising["start"] == pytest.approx(40) and np.isnan(rising["end"])
    assert rising["base"] == pytest.approx(0.1) and np.isnan(rising["integral"])
    falling = season([0.5, 0.3, 0.2, 0.1], DAYS[:4])
    assert falling["peak"] == 0 and np.isnan(falling["start"]) and falling["end"] == pytest.approx(20)
    never = season(threshold=0.05, method="absolute")
    assert np.isnan([never["start"], never["end"]]).all() and never["peak"] == 100
    twice = season([0.1, 0.8, 0.3, 0.8, 0.1], np.arange(5) * 10)
    assert twice["peak"] == 10, "of two equal peaks the first"


def test_days_are_counted_from_the_origin() -> None:
    other = bands("phenology", cube(SEASON, DAYS))
    assert other["start"] - season()["start"] == pytest.approx(17532), "2018-01-01 since 1970-01-01"
    data = registry.node("load_collection", id="any")
    with pytest.raises(DocumentError, match="a share between 0 and 1"):
        registry.node("muses:phenology", data=data, threshold=1.2)
    with pytest.raises(DocumentError, match="'spring' is not a date"):
        registry.node("muses:phenology", data=data, origin="spring")
