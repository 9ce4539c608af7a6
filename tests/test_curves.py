"""Curves of one's own: the parameters are SciPy's, whatever x is, and what cannot be fitted is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

import muses_lab as ml
from muses_lab.document import graph
from muses_lab.errors import MusesError
from muses_lab.operators import registry
from muses_lab.operators.callbacks import ELEMENT, Series, run
from muses_lab.operators.curve_kernels import _evaluate
from muses_lab.operators.curves import _program
from muses_lab.operators.functions import _made, callback
from muses_lab.raster.asset import Band
from tests.helpers.made_scenes import UTM31, Made, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

YEAR = 2 * np.pi / 31557600
MODELS: dict[str, tuple[Callable[..., Any], Callable[..., Any], list[float]]] = {
    "a line": (lambda x, p: p[0] + p[1] * x, lambda x, a, b: a + b * x, [0.5, 0.0]),
    "a parabola": (
        lambda x, p: (p[0] + p[1] * x) + p[2] * x**2, lambda x, a, b, c: a + b * x + c * x * x, [0.5, 0.0, 0.0],
    ),
    "a season": (
        lambda x, p: (x * 0 + p[0]) + p[1] * (x * YEAR + p[2]).cos(), lambda x, a, b, c: a + b * np.cos(x * YEAR + c),
        [0.5, 0.1, 0.1],
    ),
    "a rise": (
        lambda x, p: p[0] + p[1] / (1 + (p[3] * (p[2] + 48 - x / 31557600)).exp()),
        lambda x, a, b, c, d: a + b / (1 + np.exp(d * (c + 48 - x / 31557600))), [0.3, 0.3, 1.5, 3.0],
    ),
}  # fmt: skip


def model(function: Any) -> Any:
    return callback("function", function, "x", "parameters")


def axis(count: int = 40) -> np.ndarray:
    days = np.cumsum(np.random.default_rng(1).integers(8, 30, count))
    return np.datetime64("2018-01-01", "ns") + days.astype("m8[D]")


def seconds(times: np.ndarray) -> np.ndarray:
    return (times - np.datetime64("1970-01-01")) / np.timedelta64(1, "s")


def cube(values: np.ndarray, times: np.ndarray) -> xr.DataArray:
    """(dates, pixels) as an image of one row."""
    return xr.DataArray(values[:, None], dims=("t", "y", "x"), coords={"t": times})


def fitted(data: xr.DataArray, function: Any, start: list[float], **given: Any) -> np.ndarray:
    return registry["fit_curve"].fn(data, start, model(function), **given).values[:, 0]


@pytest.mark.parametrize("name", MODELS)
def test_the_fit_is_that_of_scipy(name: str) -> None:
    ours, theirs, start = MODELS[name]
    times, rng = axis(), np.random.default_rng(5)
    x = seconds(times)
    truth = np.array(start) * (1.1 if "line" not in name and "parabola" not in name else 1)
    values = (theirs(x, *truth)[:, None] + rng.normal(0, 0.02, (40, 12))).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    found = fitted(cube(values.astype(np.float64), times), ours, start)
    for pixel in range(values.shape[1]):
        ok = np.isfinite(values[:, pixel])
        y = values[ok, pixel].astype(np.float64)
        expected, _ = curve_fit(theirs, x[ok], y, start, xtol=1e-14, ftol=1e-14, gtol=1e-14, maxfev=50_000)
        residuals = [((y - theirs(x[ok], *p)) ** 2).sum() for p in (found[:, pixel], expected)]
        assert residuals[0] <= residuals[1] * (1 + 1e-9), "a better minimum than ours"
        np.testing.assert_allclose(theirs(x, *found[:, pixel]), theirs(x, *expected), atol=1e-6)


UNARY = [
    "exp", "ln", "sqrt", "absolute", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
    "arsinh", "artanh",
]  # fmt: skip
BINARY: dict[str, Callable[[Any], Any]] = {
    "add": lambda p: p[0] + p[1], "subtract": lambda p: p[0] - p[1], "multiply": lambda p: p[0] * p[1],
    "divide": lambda p: p[0] / p[1], "power": lambda p: p[0] ** p[1], "log": lambda p: p[0].log(p[1]),
    "arctan2": lambda p: p[0].arctan2(p[1]), "arcosh": lambda p: (p[0] + 1).arcosh() * p[1],
}  # fmt: skip


def sum_of(x: Any, p: Any) -> Any:
    return _made("sum", [p[0], p[1] * 2, x])


FUNCTIONS = {
    **{name: (lambda x, p, name=name: getattr(p[0] * x, name)() * p[1]) for name in UNARY},
    **{name: (lambda x, p, f=f: f(p) * x) for name, f in BINARY.items()},
    "sum": sum_of,
    "if": lambda x, p: (x > 0.3).if_(p[0] * x, p[1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_derivatives_are_those_of_the_processes(name: str) -> None:
    """Of the operators' NumPy, and of differences."""
    x, p, small = np.array([0.2, 0.5, 0.9]), np.array([0.7, 0.6]), 1e-6
    function = model(FUNCTIONS[name])
    program = _program(function, 2, x)
    values = np.zeros((len(program.uses), 3))
    values[2 : 2 + len(program.known)] = program.known
    slopes = np.zeros((len(values), 2, 3))
    slopes[0, 0] = slopes[1, 1] = 1
    _evaluate(program.code, program.uses, 2 + len(program.known), p, 3, values, slopes)

    def there(parameters: np.ndarray) -> np.ndarray:
        given = Series(xr.DataArray(parameters, dims=ELEMENT), ELEMENT)
        return np.broadcast_to(run(function, x=xr.DataArray(x, dims="x"), parameters=given), 3)

    np.testing.assert_allclose(values[program.result], there(p), rtol=1e-12)
    for j in range(2):
        step = np.eye(2)[j] * small
        expected = (there(p + step) - there(p - step)) / (2 * small)
        np.testing.assert_allclose(slopes[program.result, j], expected, rtol=1e-6, atol=1e-8)


def test_what_cannot_be_fitted_is_missing() -> None:
    times = axis(6)
    values = np.tile(np.linspace(0.2, 0.7, 6)[:, None], (1, 4))
    values[2:, 1] = np.nan  # two dates for two parameters: the line through them
    values[1:, 2] = np.nan
    values[0, 3] = np.inf  # is left out
    line = lambda x, p: p[0] + p[1] * x  # noqa: E731
    found = fitted(cube(values, times), line, [0.0, 0.0])
    assert np.isfinite(found[:, [0, 1, 3]]).all() and np.isnan(found[:, 2]).all()
    whole = fitted(cube(values, times), line, [0.0, 0.0], ignore_nodata=False)
    assert np.isnan(whole).any(axis=0).tolist() == [False, True, True, True]
    twice = fitted(cube(values, times), lambda x, p: p[0] + p[1] + 0 * x, [0.0, 0.0])
    assert np.isnan(twice).all(), "two parameters that say the same"
    of_zero = fitted(cube(values, times), lambda x, p: p[0] * x + (p[1] * 0).sin(), [0.0, 0.0])
    assert np.isnan(of_zero).all(), "a parameter that changes nothing"
    assert np.isnan(fitted(cube(values, times), lambda x, p: p[0].ln() * x + p[1], [-1.0, 0.0])).all()


def test_a_pixel_does_not_depend_on_the_others() -> None:
    ours, theirs, start = MODELS["a rise"]
    times = axis()
    noise = np.random.default_rng(3).normal(0, 0.05, (40, 50))
    values = theirs(seconds(times), *start)[:, None] + noise
    whole = fitted(cube(values, times), ours, start)
    np.testing.assert_array_equal(fitted(cube(values[:, 7:19], times), ours, start), whole[:, 7:19])


DAYS = ["2020-01-01", "2020-03-01", "2020-04-15", "2020-06-01", "2020-09-01", "2020-10-20"]


@pytest.fixture
def series(tmp_path: Path) -> tuple[ml.Chain, np.ndarray]:
    """Six dates of one band with gaps, the fourth without a value, and the values."""
    rng = np.random.default_rng(2)
    numbers = rng.integers(1000, 5000, (6, 32, 32)).astype(np.uint16)
    numbers[rng.random(numbers.shape) < 0.2] = 0
    numbers[3] = 0
    made = Made(tmp_path)
    scenes = [
        made.scene(day, day, {"B": made.asset(write_tif(tmp_path / f"{day}.tif", image))}, grid="MADE-1")
        for day, image in zip(DAYS, numbers, strict=True)
    ]
    return made.chain([Band("B", nodata=0.0, scale=1e-4)], scenes), np.where(numbers > 0, numbers * 1e-4, np.nan)


def line(x: Any, p: Any) -> Any:
    return p[0] + p[1] * (x / 31557600 - 50)


def test_curves_of_scenes_are_those_of_arrays_and_predict_labels(series: tuple[ml.Chain, np.ndarray]) -> None:
    chain, values = series
    window = ml.Window.from_bounds((364_000, 4_833_580, 364_320, 4_833_900), crs=UTM31, resolution=10, bounds_crs=UTM31)
    curve = chain.fit_curve(line, [0.3, 0.0])
    found = curve.compute(window)
    times = chain.compute(window).t.values
    flat = values[np.isin(DAYS, [str(t)[:10] for t in times])].reshape(len(times), -1).astype(np.float32)
    expected = fitted(cube(flat.astype(np.float64), times), line, [0.3, 0.0]).reshape(2, 32, 32)
    assert found.dims == ("bands", "y", "x") and found.bands.values.tolist() == ["0", "1"]
    np.testing.assert_array_equal(found.values, expected.astype(np.float32))
    part = ml.Window.from_bounds((364_100, 4_833_600, 364_250, 4_833_700), crs=UTM31, resolution=10, bounds_crs=UTM31)
    np.testing.assert_array_equal(curve.compute(part).values, found.sel(x=slice(364_100, 364_250)).values[:, 20:30])

    def on(moments: np.ndarray) -> np.ndarray:
        years = seconds(moments) / 31557600 - 50
        return found.values[0].astype(float) + found.values[1].astype(float) * years[:, None, None]

    # Labels of its own, and those of the series.
    for labels in (["2019-01-01", "2020-07-01T12:00:00Z"], [str(t)[:19] for t in times]):
        predicted = curve.predict_curve(line, labels).compute(window)
        assert predicted.t.values.tolist() == np.array([t.rstrip("Z") for t in labels], "M8[ns]").tolist()
        np.testing.assert_allclose(predicted.values, on(predicted.t.values), rtol=1e-6)
    # Missing labels: what is there stays as it is, also where a date has no scene at all.
    filled = curve.predict_curve(line, data=chain).compute(window)
    assert [str(t)[:10] for t in filled.t.values] == DAYS
    has = np.isfinite(values)
    np.testing.assert_array_equal(np.isfinite(filled.values), has | np.isfinite(found.values[0]))
    np.testing.assert_array_equal(filled.values[has], values.astype(np.float32)[has])
    np.testing.assert_allclose(filled.values[~has], on(filled.t.values)[~has], rtol=1e-6)


def test_openeos_arrays_and_cubes_are_the_same(series: tuple[ml.Chain, np.ndarray]) -> None:
    """fit_curve as a callback of apply_dimension (openEO 2.0), and as a process of cubes; then one of the other."""
    chain, _ = series
    window = ml.Window.from_bounds((364_000, 4_833_800, 364_100, 4_833_900), crs=UTM31, resolution=10, bounds_crs=UTM31)
    of_cubes = chain.fit_curve(line, [0.3, 0.0])
    of_arrays = chain.apply_dimension(lambda data: data.fit_curve([0.3, 0.0], line), "t", "bands")
    np.testing.assert_array_equal(of_arrays.compute(window).values, of_cubes.compute(window).values)
    assert ml.Chain.from_json(of_arrays.to_json()).identical(of_arrays)
    at = [seconds(np.array("2020-07-01", "M8[ns]")).item(), 0.0]
    numbers = of_cubes.apply_dimension(lambda data: data.predict_curve(line, at), "bands").compute(window)
    dates = of_cubes.predict_curve(line, ["1970-01-01", "2020-07-01"]).compute(window)
    np.testing.assert_array_equal(numbers.values[::-1], dates.values)
    document = {
        "fit": {"process_id": "fit_curve", "arguments": {
            "data": {"from_node": "load"}, "parameters": [0.3, 0], "dimension": "temporal",
            "function": of_cubes.to_json()["process_graph"]["fitcurve1"]["arguments"]["function"],
        }, "result": True},
        "load": of_cubes.to_json()["process_graph"]["loaditems1"],
    }  # fmt: skip
    read = ml.Chain.from_json(document)
    assert graph.to_document(read._node) == graph.to_document(of_cubes._node)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.fit_curve(lambda x, p: p[2] * x, [1, 2]), "parameter 2 .the first is 0., and there are 2"),
        (lambda c: c.fit_curve(lambda x, p: x * 2, [1]), "does not depend on its parameters"),
        (lambda c: c.fit_curve(lambda x, p: p[0].floor() * x, [1]), "uses 'floor' of its parameters"),
        (lambda c: c.fit_curve(lambda x, p: (p[0] > x).if_(1, p[0]), [1]), "of its parameters, which has no"),
        (lambda c: c.fit_curve(lambda x, p: p.mean() * x, [1]), "one by one, by array_element"),
        (lambda c: c.median("t").fit_curve(line, [1, 2]), "no series along 't'"),
        (lambda c: c.fit_curve(line, []), "parameters"),
        (lambda c: c.apply_dimension(lambda d: (d * 2).fit_curve([1, 2], line), "t", "bands"), "takes an array with"),
        (lambda c: c.fit_curve(line, [1, 2]).predict_curve(line), "one of the two"),
        (lambda c: c.fit_curve(line, [1, 2]).predict_curve(line, [1.0]), "is not a date"),
        (lambda c: c.fit_curve(line, [1, 2]).predict_curve(line, ["2018-01-01", "2018-01-01"]), "there twice"),
        (lambda c: c.median("t").band("B").predict_curve(line, ["2018-01-01"]), "a band for each"),
    ],
)
def test_what_cannot_be_a_fit_is_refused(series: Any, change: Callable[[ml.Chain], ml.Chain], told: str) -> None:
    with pytest.raises(MusesError, match=told):
        change(series[0]).compute(
            ml.Window.from_bounds((364_000, 4_833_800, 364_100, 4_833_900), crs=UTM31, resolution=10, bounds_crs=UTM31)
        )
