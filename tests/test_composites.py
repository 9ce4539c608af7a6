"""Composites: geometric medians against published numbers, medoids, best pixels, statistics of series; and in tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

import muses_lab as ml
from muses_lab.errors import BandError, DocumentError
from muses_lab.operators import registry
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

NAN = float("nan")


def cube(values: np.ndarray, bands: list[str] | None = None, every: int = 10) -> xr.DataArray:
    """(date, band, pixel) or, without bands, (date, pixel): pixels in a row, a date every so many days from 2020."""
    values = np.asarray(values)
    times = np.datetime64("2020-01-01", "ns") + np.arange(len(values)) * np.timedelta64(every, "D")
    dims = ("t", "bands", "y", "x") if values.ndim == 3 else ("t", "y", "x")
    coords: dict[str, Any] = {"t": times}
    if values.ndim == 3:
        coords["bands"] = bands or [f"b{n}" for n in range(values.shape[1])]
    return xr.DataArray(np.expand_dims(values, -2), dims=dims, coords=coords)


def called(id: str, data: xr.DataArray, *args: Any, **kwargs: Any) -> np.ndarray:
    """The result with its pixels in a row."""
    return registry[f"muses:{id}"].fn(data, *args, **kwargs).values[..., 0, :]


def spectra(dates: int = 30, bands: int = 5, pixels: int = 40, dtype: str = "f4", gaps: float = 0.3) -> np.ndarray:
    """Noise around a spectrum, some of it bright: (date, band, pixel)."""
    rng = np.random.default_rng(dates * bands)
    values = rng.uniform(0.02, 0.4, (1, bands, pixels)) + rng.normal(0, 0.03, (dates, bands, pixels))
    values += (rng.random((dates, 1, pixels)) < 0.15) * rng.uniform(0, 0.6, (dates, 1, pixels))
    values[np.broadcast_to(rng.random((dates, 1, pixels)) < gaps, values.shape)] = NAN
    values[rng.random(values.shape) < 0.01] = NAN  # one band alone
    return values.astype(dtype)


def complete(observations: np.ndarray) -> np.ndarray:
    return observations[np.isfinite(observations).all(axis=1)]


# -------------------------------------------------------------------------------------------------- geometric median


@pytest.fixture(scope="module")
def published(shared_data: Path) -> dict[str, Any]:
    return json.loads((shared_data / "references" / "algorithm_fixtures.json").read_text())["geomedian"]


def test_the_published_geometric_median_and_medoid(published: dict[str, Any]) -> None:
    """Of the tests of hdmedians: 25 observations of six bands."""
    observations = np.array(published["observations"], np.float64)[..., None]
    np.testing.assert_allclose(
        called("geomedian", cube(observations))[:, 0], published["expected_geomedian"], rtol=2e-6
    )
    np.testing.assert_array_equal(called("medoid", cube(observations))[:, 0], published["expected_medoid"])
    two = np.array(published["two_observations"]["in"], np.float64)[..., None]
    np.testing.assert_allclose(called("geomedian", cube(two))[:, 0], published["two_observations"]["out"])


def test_no_spectrum_is_nearer_to_all_dates() -> None:
    """SciPy's minimiser, begun there, finds nothing better; the medians of the distances are those of SciPy."""
    from scipy.spatial.distance import braycurtis, cosine

    values = spectra(pixels=12, dtype="f8")
    found = called("geomedian", cube(values), ["emad", "smad", "bcmad", "count"])
    for pixel in range(12):
        dates, middle = complete(values[:, :, pixel]), found[:5, pixel]

        def total(point: np.ndarray, dates: np.ndarray = dates) -> float:
            return np.linalg.norm(dates - point, axis=1).sum()

        best = optimize.minimize(total, middle, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
        assert total(middle) <= best.fun + 1e-9
        np.testing.assert_allclose(middle, best.x, atol=2e-6)
        distances = (np.linalg.norm(dates - middle, axis=1), [cosine(d, middle) for d in dates],
                     [braycurtis(d, middle) for d in dates])  # fmt: skip
        np.testing.assert_allclose(found[5:8, pixel], [np.median(d) for d in distances], rtol=1e-9)
        assert found[8, pixel] == len(dates)


def test_an_observation_that_is_itself_the_geometric_median() -> None:
    """Where Weiszfeld's iteration comes to a standstill: three of four points hold the fourth, or most are the same."""
    triangle = np.array([[0, 0], [4, 0], [2, 3], [2, 1]], np.float64)
    np.testing.assert_array_equal(called("geomedian", cube(triangle[..., None]))[:, 0], [2, 1])
    most = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2], [0.9, 0.5], [0.3, 0.8]])
    np.testing.assert_array_equal(called("geomedian", cube(most[..., None]))[:, 0], [0.1, 0.2])


def test_the_geometric_median_of_few_dates() -> None:
    values = np.full((4, 3, 4), NAN, np.float32)
    values[1, :, 1] = [0.1, 0.2, 0.3]
    values[:, :, 2] = [[0.1, 0.2, 0.3], [0.3, 0.2, NAN], [0.3, 0.4, 0.5], [NAN, NAN, NAN]]
    values[:, :, 3] = [0, 0, 0]
    found = called("geomedian", cube(values), ["count", "smad", "emad"])
    assert np.isnan(found[:3, 0]).all() and found[3, 0] == 0 and np.isnan(found[4:, 0]).all()
    np.testing.assert_allclose(found[:, 1], [0.1, 0.2, 0.3, 1, 0, 0], atol=1e-7)
    np.testing.assert_allclose(found[:4, 2], [0.2, 0.3, 0.4, 2], rtol=1e-6)
    np.testing.assert_array_equal(found[:, 3], [0, 0, 0, 4, NAN, 0])
    assert found.dtype == np.float32
    nothing = cube(np.empty((0, 3, 5), np.float32))
    assert np.isnan(called("geomedian", nothing)).all() and np.isnan(called("medoid", nothing)).all()


@given(st.integers(1, 12), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_dates_and_the_unit_do_not_matter(dates: int, bands: int, random: Any) -> None:
    values = np.array([[[random.gauss(0, 1)] for _ in range(bands)] for _ in range(dates)])
    mixed = values[random.sample(range(dates), dates)]
    found = called("geomedian", cube(values))
    np.testing.assert_allclose(called("geomedian", cube(mixed)), found, atol=1e-5)
    np.testing.assert_allclose(called("geomedian", cube(values * 1e4 + 500)), found * 1e4 + 500, rtol=1e-4, atol=0.1)


def test_a_date_without_data_changes_no_bit() -> None:
    values = spectra()
    more = np.insert(values, [0, 7, 7, len(values)], NAN, axis=0)
    for id in ("geomedian", "medoid", "closest_to_median"):
        assert called(id, cube(more)).tobytes() == called(id, cube(values)).tobytes()


# ------------------------------------------------------------------------------------------------- chosen dates


def by_hand(values: np.ndarray, choose: Any) -> np.ndarray:
    """All bands of the date that is chosen of the complete ones of each pixel."""
    out = np.full(values.shape[1:], NAN, values.dtype)
    for pixel in range(values.shape[2]):
        dates = complete(values[:, :, pixel])
        if len(dates):
            out[:, pixel] = dates[choose(dates.astype(np.float64))]
    return out


def test_medoids_and_what_is_closest_to_the_median() -> None:
    values = spectra()
    values[:, :, 0] = NAN

    def medoid(dates: np.ndarray) -> int:
        return np.linalg.norm(dates[:, None] - dates[None], axis=2).sum(axis=1).argmin()

    def closest(dates: np.ndarray) -> int:
        return np.linalg.norm(dates - np.median(dates, axis=0), axis=1).argmin()

    np.testing.assert_array_equal(called("medoid", cube(values)), by_hand(values, medoid))
    np.testing.assert_array_equal(called("closest_to_median", cube(values)), by_hand(values, closest))
    two = np.array([[[0.1], [0.2]], [[0.3], [0.4]]])
    np.testing.assert_array_equal(called("medoid", cube(two))[:, 0], [0.1, 0.2]), "of two as near the earliest"


def test_the_best_pixel_is_of_the_date_with_the_best_score() -> None:
    values = spectra(pixels=6)
    score = np.array([[0.2, NAN, 0.5, NAN, -np.inf, 1], [0.7, NAN, 0.5, -1, NAN, NAN], [0.5, NAN, 0.1, -2, 0, 1]])
    data, scores = cube(values[:3]), cube(score)
    for pick, dates in (("max", (1, None, 0, 1, 2, 0)), ("min", (0, None, 2, 2, 0, 0))):
        found = called("best_pixel", data, scores, pick)
        for pixel, date in enumerate(dates):
            expected = np.full(5, NAN) if date is None else values[date, :, pixel]
            np.testing.assert_array_equal(found[:, pixel], expected, err_msg=f"{pick} of pixel {pixel}")
    np.testing.assert_array_equal(called("best_pixel", scores, scores), np.nanmax(score, axis=0))


def test_the_date_nearest_to_another() -> None:
    values = np.array([[1, NAN, 1, NAN], [2, NAN, NAN, NAN], [3, 3, 3, NAN], [4, 4, NAN, NAN]])
    series = cube(values)  # 1, 11, 21 and 31 January
    np.testing.assert_array_equal(called("nearest_date", series, "2020-01-12"), [2, 3, 3, NAN])
    np.testing.assert_array_equal(called("nearest_date", series, "2020-01-06"), [1, 3, 1, NAN]), "the earlier of two"
    np.testing.assert_array_equal(called("nearest_date", series, "2020-01-12", within=5), [2, NAN, NAN, NAN])
    np.testing.assert_array_equal(called("nearest_date", series, "2031-01-01"), [4, 4, 3, NAN])


def test_how_often_a_condition_holds() -> None:
    water = np.array([[1, NAN, 0, 1], [1, NAN, 0, NAN], [0, NAN, 0, NAN], [1, NAN, NAN, 7]])
    np.testing.assert_array_equal(called("frequency", cube(water)), [0.75, NAN, 0, 1])


# ---------------------------------------------------------------------------------------------- statistics of series

ALL = ["count", "min", "max", "mean", "median", "sd", "amplitude", "mean_slope", "max_slope", "skewness", "kurtosis",
       "p0", "p2.5", "p25", "p90", "p100"]  # fmt: skip


def by_scipy(series: np.ndarray) -> list[float]:
    v = series[~np.isnan(series)].astype(np.float64)
    if not len(v):
        return [0, *[NAN] * (len(ALL) - 1)]
    steps = np.abs(np.diff(v))
    varied = len(v) > 1 and np.ptp(v) > 0
    return [
        len(v), v.min(), v.max(), v.mean(), np.median(v), v.std(ddof=1) if len(v) > 1 else NAN, np.ptp(v),
        steps.mean() if len(steps) else NAN, steps.max() if len(steps) else NAN,
        stats.skew(v) if varied else NAN, stats.kurtosis(v) if varied else NAN,
        *np.percentile(v, [0, 2.5, 25, 90, 100]),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_statistics_are_those_of_numpy_and_scipy(dtype: str) -> None:
    values = spectra(80, 1, 60, dtype)[:, 0]
    values[:, 0] = NAN
    values[1:, 1] = NAN
    values[:, 2] = 0.25
    values[2:, 3] = NAN
    found = called("temporal_statistics", cube(values), ALL)
    assert found.dtype == dtype
    expected = np.array([by_scipy(series) for series in values.T]).T
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "f4" else 1e-9, atol=1e-7)
    again = called("temporal_statistics", cube(np.insert(values, [0, 3, 80], NAN, axis=0)), ALL)
    assert again.tobytes() == found.tobytes(), "dates without data are none"


def test_statistics_of_several_bands_are_called_after_them() -> None:
    data = cube(spectra(), list("abcde"))
    found = registry["muses:temporal_statistics"].fn(data, ["p10", "max"])
    assert found.bands.values.tolist() == [f"{band}_{name}" for band in "abcde" for name in ("p10", "max")]
    one = registry["muses:temporal_statistics"].fn(data.sel(bands="c", drop=True), ["max"])
    np.testing.assert_array_equal(found.sel(bands="c_max"), one.sel(bands="max"))


# ---------------------------------------------------------------------------------------------------------- colours


def test_a_colour_says_when_how_changing_and_how_bright() -> None:
    """The worked example of REACTIV: five dates, a coefficient of variation of 0.567218, the fourth date the largest."""
    import colorsys

    series = np.array([[0.3, 0.32, 0.28, 0.9, 0.31], [0.5] * 5, [NAN, 0.2, NAN, NAN, NAN], [NAN] * 5]).T
    found = called("hsv_composite", cube(series, every=1), brightest=1.0, start="2020-01-01", period=5.0)
    np.testing.assert_allclose(found[:, 0], colorsys.hsv_to_rgb(0.6, 0.567218, 0.9), atol=1e-6)
    np.testing.assert_allclose(found[:, 1], [0.5, 0.5, 0.5])
    np.testing.assert_allclose(found[:, 2], [0.2, 0.2, 0.2], err_msg="one date does not change")
    assert np.isnan(found[:, 3]).all()
    radar = called("hsv_composite", cube(series, every=1), start="2020-01-01", period=5.0, looks=4.9, changing=0.1)
    np.testing.assert_allclose(radar[:, 0], colorsys.hsv_to_rgb(0.6, 1, 0.9), atol=1e-6)


@pytest.mark.parametrize(("looks", "variation"), [(1, 0.522723), (4.4, 0.241528), (4.9, 0.228588), (10, 0.159074)])
def test_the_variation_of_speckle(looks: float, variation: float) -> None:
    from muses_lab.operators.hsv import speckle_variation

    assert speckle_variation(looks) == pytest.approx(variation, abs=1e-6)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.floats(0.01, 1))
def test_colours_are_those_of_the_standard_library(hue: float, saturation: float, value: float) -> None:
    """Of a series of two dates: of a mean m and a difference d the variation is d / 2m."""
    import colorsys

    low = value * (1 - saturation) / (1 + saturation)  # (value - low) / (value + low) = saturation
    days = np.datetime64("1970-01-01", "ns") + np.array([0, round(hue * 864e11)]).astype("m8[ns]")
    data = cube(np.array([[low], [value]])).assign_coords(t=days)
    found = called("hsv_composite", data, period=1.0)[:, 0]
    if saturation < 1e-6:
        np.testing.assert_allclose(found, value, atol=1e-5)
    else:
        np.testing.assert_allclose(found, colorsys.hsv_to_rgb(hue, saturation, value), atol=1e-5)


# ------------------------------------------------------------------------------------------------------ in the engine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, np.ndarray]:
    rng = np.random.default_rng(5)
    values = rng.uniform(0.05, 0.5, (6, 2, 540, 530)).astype(np.float32)
    values[np.broadcast_to(rng.random((6, 1, 540, 530)) < 0.3, values.shape)] = NAN
    values[:, :, 5, 5] = NAN
    values[3, :, :256, :256] = NAN  # a date without data in one block
    return stack(values, tmp_path_factory.mktemp("composites")), values


CHAINS = {
    "geomedian": lambda c: c.geomedian(["emad", "count"]),
    "medoid": lambda c: c.medoid(),
    "closest_to_median": lambda c: c.closest_to_median(),
    "best_pixel": lambda c: c.best_pixel(c.ndvi()),
    "nearest_date": lambda c: c.nearest_date("2020-03-10"),
    "frequency": lambda c: (c.band("B8") > 0.3).frequency(),
    "temporal_statistics": lambda c: c.ndvi().temporal_statistics(["mean", "p90", "mean_slope", "count"]),
    "hsv_composite": lambda c: c.band("B8").hsv_composite(brightest=0.5, changing=0.4),
}


@pytest.mark.parametrize("name", CHAINS)
def test_windows_have_no_seam(made: tuple[ml.Collection, np.ndarray], name: str) -> None:
    collection, values = made
    chain, window = CHAINS[name](collection), own_window(540, 530)
    whole = chain.compute(window)
    assert whole.dtype == np.float32 and "t" not in whole.dims
    for rows, columns in ((slice(0, 100), slice(0, 77)), (slice(500, 540), slice(505, 530)), (slice(250, 262),) * 2):
        np.testing.assert_array_equal(chain.compute(window[rows, columns]).values, whole.values[..., rows, columns])
    counted = {"geomedian": 3, "temporal_statistics": 3}.get(name)
    nowhere = whole.values[..., 5, 5]
    assert (nowhere[counted] == 0) if counted else np.isnan(nowhere).all(), "masked stays masked"
    assert np.isnan(np.delete(nowhere, counted)).all() if counted else True
    assert np.isfinite(whole.values[..., 100:200, 100:200]).mean() > 0.9


def test_values_in_chains_are_those_of_the_functions(made: tuple[ml.Collection, np.ndarray]) -> None:
    collection, values = made
    part = values[:, :, 250:262, 250:262]
    window = own_window(540, 530)[250:262, 250:262]
    times = [np.datetime64(f"2020-{month:02}-01", "ns") for month in range(1, 7)]
    data = xr.DataArray(part, dims=("t", "bands", "y", "x"), coords={"t": times, "bands": ["B4", "B8"]})
    for id, chain in (("geomedian", collection.geomedian()), ("medoid", collection.medoid())):
        np.testing.assert_array_equal(chain.compute(window).values, registry[f"muses:{id}"].fn(data).values)
    best = collection.best_pixel(collection.band("B8")).band("B4").compute(window).values
    np.testing.assert_array_equal(best, registry["muses:best_pixel"].fn(data, data.sel(bands="B8")).values[0])
    red = collection.geomedian().band("B4").compute(window).values
    np.testing.assert_array_equal(red, collection.geomedian().compute(window).values[0], "whatever bands are wanted")


def test_masks_and_scores_go_together(made: tuple[ml.Collection, np.ndarray]) -> None:
    collection, values = made
    clear = collection.mask(collection.band("B4") > 0.3)
    window = own_window(540, 530)[300:330, 300:330]
    found = clear.best_pixel(clear.ndvi()).compute(window).values
    red, nir = (np.where(values[:, 0] > 0.3, NAN, values[:, b])[:, 300:330, 300:330] for b in (0, 1))
    ndvi = (nir - red) / (nir + red)
    place = np.where(np.isnan(ndvi), -np.inf, ndvi).argmax(axis=0)
    expected = np.take_along_axis(np.stack([red, nir], axis=1), place[None, None], axis=0)[0]
    np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_combined_is_refused(made: tuple[ml.Collection, np.ndarray]) -> None:
    collection, _ = made
    window = own_window(4, 4)
    for build, error, sentence in (
        (lambda: collection.ndvi().geomedian(), DocumentError, r"geomedian takes bands.*\.median\('t'\)"),
        (lambda: collection.median("t").medoid(), DocumentError, "'t' has been reduced already"),
        (lambda: collection.geomedian(["mad"]), DocumentError, "'emad', 'smad', 'bcmad' or 'count'"),
        (lambda: collection.geomedian(["emad", "emad"]), DocumentError, "names a statistic twice"),
        (lambda: collection.best_pixel(collection), BandError, r"score .* not of the bands B4, B8: choose one"),
        (lambda: collection.best_pixel(collection.ndvi().max("t")), DocumentError, "reduced over 't' already"),
        (lambda: collection.hsv_composite(), BandError, r"not the bands B4, B8: choose one with .band"),
        (
            lambda: collection.ndvi().temporal_statistics(["p101"]),
            DocumentError,
            "no statistic 'p101'; there are count",
        ),
        (lambda: collection.ndvi().temporal_statistics([]), DocumentError, "at least 1 item"),
        (lambda: collection.nearest_date("soon"), ml.errors.ArgumentError, "'soon'"),
    ):
        with pytest.raises(error, match=sentence):
            build().compute(window)
