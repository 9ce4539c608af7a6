"""Arrays in callbacks against NumPy and pandas, pixel by pixel, and apply_dimension in the engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import muses_lab as ml
from muses_lab.document.graph import Callback
from muses_lab.errors import MusesError
from muses_lab.operators import Meta, Series, is_strict, registry, run
from muses_lab.operators.functions import callback
from tests.helpers.examples import examples
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

NAN, INF = float("nan"), math.inf
DATES = np.array(["2020-01-01", "2020-01-03", "2020-01-10", "2020-02-01", "2020-03-01", "2020-03-02"], "M8[ns]")
CUBES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 2), st.integers(1, 3)),
    elements=st.one_of(st.integers(-20, 20).map(float), st.sampled_from([NAN, NAN, INF, -INF])),
)


def made(cube: np.ndarray, fn: Any, **others: Any) -> Any:
    """What a callback of `data`, a series of dates, gives: an array with the elements first, or a value."""
    cube = np.asarray(cube, np.float32)
    cube = cube if cube.ndim == 3 else cube.reshape(-1, 1, 1)
    array = xr.DataArray(cube, dims=("t", "y", "x"), coords={"t": DATES[: len(cube)]})
    found = run(callback("process", fn, "data"), data=Series(array, "t", Meta()), **others)
    if isinstance(found, Series):
        return xr.broadcast(found.elements, array.isel(t=0, drop=True))[0].values
    return found.values if isinstance(found, xr.DataArray) else found


def of_list(process: str, /, **arguments: Any) -> Any:
    """A process of constants alone, as lists: the examples of openEO's texts."""
    found = run(Callback(registry.node(process, inside_callback=True, **arguments)))
    if isinstance(found, Series):
        length = found.size if found.length is None else int(found.length)
        found = found.elements.values[:length].tolist()
        return [None if value != value else value for value in found]
    found = found.item() if isinstance(found, np.ndarray | xr.DataArray | np.generic) else found
    return None if found is not None and found != found else found


SORTED = [6, -1, 2, None, 7, 4, None, 8, 3, 9, 9]
TEXTS: list[tuple[str, dict[str, Any], Any]] = [
    ("array_create", {}, []),
    ("array_create", {"data": [1, 2, 3], "repeat": 2}, [1, 2, 3, 1, 2, 3]),
    ("array_create", {"data": [None], "repeat": 3}, [None] * 3),
    ("array_append", {"data": [1, 2], "value": 3}, [1, 2, 3]),
    ("array_concat", {"array1": [1.5, 2.5], "array2": [5]}, [1.5, 2.5, 5]),
    ("array_modify", {"data": [1, 4, 3], "values": [2], "index": 1, "length": 1}, [1, 2, 3]),
    ("array_modify", {"data": [1, 3], "values": [2], "index": 1}, [1, 2, 3]),
    ("array_modify", {"data": [9, 9, 4, 5], "values": [1, 2, 3], "index": 0, "length": 2}, [1, 2, 3, 4, 5]),
    ("array_modify", {"data": [1, 3], "values": [2], "index": 1, "length": 0}, [1, 2, 3]),
    ("array_modify", {"data": [1, 2, None, 3], "values": [], "index": 2}, [1, 2, 3]),
    ("array_modify", {"data": [1, 2, 3], "values": [], "index": 1, "length": 10}, [1]),
    ("array_find", {"data": [1, 2, 3, 2, 3], "value": 2}, 1),
    ("array_find", {"data": [1, 2, 3, 2, 3], "value": 2, "reverse": True}, 3),
    ("array_find", {"data": [1, 0], "value": True}, None),
    ("array_find", {"data": [1, None], "value": None}, None),
    ("array_contains", {"data": [1, 2, 3], "value": 2}, True),
    ("array_contains", {"data": [1, 2, 3], "value": True}, False),
    ("array_element", {"data": [9, 8, 7, 6, 5], "index": 2}, 7),
    ("array_element", {"data": [9], "index": 1, "return_nodata": True}, None),
    ("array_element", {"data": [9], "index": -1, "return_nodata": True}, None),
    ("array_interpolate_linear", {"data": [None, 1, None, 6, None, -8]}, [None, 1, 3.5, 6, -1, -8]),
    ("array_interpolate_linear", {"data": [None, 1, None, None]}, [None, 1, None, None]),
    ("array_labels", {"data": [5, 6]}, [0, 1]),
    ("cumsum", {"data": [1, 3, None, 3, 1]}, [1, 4, None, 7, 8]),
    ("cumsum", {"data": [1, 3, None, 3, 1], "ignore_nodata": False}, [1, 4, None, None, None]),
    ("cumproduct", {"data": [1, 2, 3, None, 3, 1]}, [1, 2, 6, None, 18, 18]),
    ("cummin", {"data": [5, 3, None, 1, 5]}, [5, 3, None, 1, 1]),
    ("cummax", {"data": [1, 3, None, 5, 1]}, [1, 3, None, 5, 5]),
    ("cummax", {"data": [1, 3, None, 5, 1], "ignore_nodata": False}, [1, 3, None, None, None]),
    ("order", {"data": SORTED}, [1, 2, 8, 5, 0, 4, 7, 9, 10]),
    ("order", {"data": SORTED, "nodata": True}, [1, 2, 8, 5, 0, 4, 7, 9, 10, 3, 6]),
    ("order", {"data": SORTED, "asc": False, "nodata": True}, [9, 10, 7, 4, 0, 5, 8, 2, 1, 3, 6]),
    ("order", {"data": SORTED, "asc": False, "nodata": False}, [3, 6, 9, 10, 7, 4, 0, 5, 8, 2, 1]),
    ("sort", {"data": SORTED}, [-1, 2, 3, 4, 6, 7, 8, 9, 9]),
    ("sort", {"data": SORTED, "asc": False, "nodata": True}, [9, 9, 8, 7, 6, 4, 3, 2, -1, None, None]),
    ("rearrange", {"data": [5, 4, 3], "order": [2, 1, 0]}, [3, 4, 5]),
    ("rearrange", {"data": [5, 4, 3, 2], "order": [1, 3]}, [4, 2]),
    ("extrema", {"data": [5, 2.5, None, -0.75]}, [-0.75, 5]),
    ("extrema", {"data": [1, 0, 3, None, 2], "ignore_nodata": False}, [None, None]),
    ("extrema", {"data": []}, [None, None]),
    ("all", {"data": [False, None]}, 0),
    ("all", {"data": [True, None]}, 1),
    ("all", {"data": [False, None], "ignore_nodata": False}, 0),
    ("all", {"data": [True, None], "ignore_nodata": False}, None),
    ("all", {"data": [None]}, 1),
    ("all", {"data": []}, 1),
    ("any", {"data": [False, None]}, 0),
    ("any", {"data": [True, None], "ignore_nodata": False}, 1),
    ("any", {"data": [False, None], "ignore_nodata": False}, None),
    ("any", {"data": [None]}, 0),
    ("any", {"data": []}, 0),
    ("quantiles", {"data": [2, 4, 4, 4, 5, 5, 7, 9], "probabilities": 4}, [4, 4.5, 5.5]),
    ("quantiles", {"data": [-1, -0.5, None, 1], "q": 2}, [-0.5]),
    ("quantiles", {"data": [-1, -0.5, None, 1], "probabilities": 4, "ignore_nodata": False}, [None] * 3),
    ("quantiles", {"data": [], "probabilities": [0.1, 0.5]}, [None, None]),
    ("eq", {"x": True, "y": 1}, False),
    ("eq", {"x": 0, "y": False}, False),
    ("eq", {"x": 1, "y": 1.0}, True),
    ("eq", {"x": 1, "y": None}, None),
    ("eq", {"x": 1, "y": "1"}, False),
    ("eq", {"x": "Test", "y": "test"}, False),
    ("eq", {"x": "Ä", "y": "ä", "case_sensitive": False}, True),
    ("eq", {"x": 1.02, "y": 1, "delta": 0.01}, False),
    ("eq", {"x": -1, "y": -1.001, "delta": 0.01}, True),
    ("eq", {"x": 115, "y": 110, "delta": 10}, True),
    ("neq", {"x": True, "y": 1}, True),
    ("neq", {"x": None, "y": 1}, None),
    ("neq", {"x": 115, "y": 110, "delta": 10}, False),
    ("between", {"x": 0.5, "min": 1, "max": 0}, 0),
    ("if", {"value": True, "accept": 1, "reject": 2}, 1),
    ("if", {"value": None, "accept": 1, "reject": 2}, 2),
    ("count", {"data": [1, None, 3]}, 2),
    ("count", {"data": [1, None, 3], "condition": True}, 3),
]  # fmt: skip


@pytest.mark.parametrize(("process", "arguments", "expected"), TEXTS)
def test_the_examples_of_the_specification(process: str, arguments: dict[str, Any], expected: Any) -> None:
    found = of_list(process, **arguments)
    assert found == pytest.approx(expected)
    if process in ("eq", "neq") and expected is not None:
        assert type(found) is bool


def by_pandas(fn: Callable[[pd.Series], pd.Series]) -> Callable[[np.ndarray], np.ndarray]:
    def of(cube: np.ndarray) -> np.ndarray:
        flat = [fn(pd.Series(series, DATES[: len(series)])).values for series in cube.reshape(len(cube), -1).T]
        return np.stack(flat, axis=1).reshape(-1, *cube.shape[1:])

    return of


SERIES: dict[str, tuple[Any, Callable[[np.ndarray], np.ndarray]]] = {
    "cumsum": ("cumsum", by_pandas(lambda s: s.astype(float).cumsum())),
    "cumproduct": (lambda d: (d / 20).cumproduct(), by_pandas(lambda s: (s.astype(float) / 20).cumprod())),
    "cummin": ("cummin", by_pandas(lambda s: s.cummin())),
    "cummax": ("cummax", by_pandas(lambda s: s.cummax())),
    "sort": (lambda d: d.sort(nodata=True), by_pandas(lambda s: s.sort_values())),
    "descending": (lambda d: d.sort(asc=False, nodata=True), by_pandas(lambda s: s.sort_values(ascending=False))),
    "rearranged": (lambda d: d.rearrange(d.order(nodata=True)), by_pandas(lambda s: s.sort_values())),
    "less its mean": (lambda d: d - d.mean(), by_pandas(lambda s: s - s.mean())),
    "doubled": (lambda d: d.array_apply(lambda x: x * 2), lambda c: c * 2),
    "by place": (lambda d: d.array_apply(lambda x, i: x + i), lambda c: c + np.arange(len(c))[:, None, None]),
    "above its least": (
        lambda d: d.array_apply(lambda x: x - d.min()),
        lambda c: c - np.fmin.reduce(c, initial=NAN),
    ),
    "where high": (lambda d: (d > 3).if_(d, 0), lambda c: np.where(c > 3, c, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
def test_series_are_those_of_pandas(name: str) -> None:
    fn, expected = SERIES[name]

    @given(CUBES)
    @settings(max_examples=examples(8))
    def check(cube: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            found, wanted = made(cube, fn), expected(cube)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
        assert found.dtype == np.float32

    check()


@given(CUBES)
@settings(max_examples=examples(10))
def test_gaps_are_interpolated_by_date(cube: np.ndarray) -> None:
    cube = np.where(np.isinf(cube), 7, cube)
    expected = by_pandas(lambda s: s.astype(float).interpolate("time", limit_area="inside"))(cube)
    np.testing.assert_allclose(made(cube, "array_interpolate_linear"), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        made(cube, lambda d: (d * 2).array_interpolate_linear()), expected * 2, rtol=1e-5, atol=1e-4
    )


@given(CUBES, st.sampled_from([-3.0, 0.0, 5.0]))
@settings(max_examples=examples(12))
def test_filtered_arrays_have_a_length_of_their_own(cube: np.ndarray, limit: float) -> None:
    def by_pixel(fn: Callable[[np.ndarray], float]) -> np.ndarray:
        with np.errstate(all="ignore"):
            flat = [fn(s[s > limit]) for s in cube.reshape(len(cube), -1).T]
        return np.array(flat, np.float64).reshape(cube.shape[1:])

    def found(fn: Callable[[Any], Any]) -> np.ndarray:
        return made(cube, lambda d: fn(d.array_filter(lambda x: x > limit)))

    np.testing.assert_array_equal(found(lambda a: a.count(True)), by_pixel(len))
    np.testing.assert_array_equal(found(lambda a: a.count(lambda x: x > limit)), by_pixel(len))
    np.testing.assert_array_equal(made(cube, lambda d: d.count(lambda x: x > limit)), by_pixel(len))
    np.testing.assert_array_equal(found(lambda a: a.first(False)), by_pixel(lambda v: v[0] if v.size else NAN))
    np.testing.assert_array_equal(found(lambda a: a.last(False)), by_pixel(lambda v: v[-1] if v.size else NAN))
    np.testing.assert_array_equal(found(lambda a: a.max(False)), by_pixel(lambda v: v.max() if v.size else NAN))
    second = by_pixel(lambda v: v[1] if v.size > 1 else NAN)
    np.testing.assert_array_equal(
        found(lambda a: a.array_element(1, return_nodata=True)) if len(cube) > 1 else second, second
    )


@given(CUBES)
@settings(max_examples=examples(12))
def test_places_of_values_that_each_pixel_has(cube: np.ndarray) -> None:
    flat = cube.reshape(len(cube), -1)
    first = [int(np.flatnonzero(s == np.nanmax(s))[0]) if not np.isnan(s).all() else NAN for s in flat.T]
    np.testing.assert_array_equal(made(cube, lambda d: d.array_find(d.max())).ravel(), first)
    highest = made(cube, lambda d: d[d.array_find(d.max())])
    np.testing.assert_array_equal(highest, made(cube, "max"))
    last = [int(np.flatnonzero(s == np.nanmax(s))[-1]) if not np.isnan(s).all() else NAN for s in flat.T]
    np.testing.assert_array_equal(made(cube, lambda d: d.array_find(d.max(), reverse=True)).ravel(), last)
    seven = (flat == 7).any(axis=0)
    np.testing.assert_array_equal(made(cube, lambda d: d.array_contains(7)).ravel(), seven)


def test_labels_are_found_and_compared() -> None:
    cube = np.arange(6.0)
    assert made(cube, lambda d: d.array_find_label("2020-01-10")) == 2
    assert made(cube, lambda d: d.array_find_label("2020-01-10T01:00:00+01:00")) == 2
    assert made(cube, lambda d: d.array_find_label("2021-01-01")) is None
    assert made(cube, lambda d: d.array_labels().array_element(1)) == "2020-01-03T00:00:00Z"
    named = lambda d: d.array_create_labeled(list("abcdef"))  # noqa: E731
    assert made(cube, lambda d: named(d).array_element(label="c")).item() == 2
    kept = made(cube, lambda d: named(d).array_filter(lambda x, i, label: (label == "b") | (i == 4)))
    assert kept.ravel().tolist() == [1, 4]
    assert made(cube, lambda d: named(d).array_append(9, "g").array_find_label("g")) == 6
    for wrong, name in (
        (lambda d: d.array_concat(d), "ArrayLabelConflict"),
        (lambda d: named(d).array_append(1, "a"), "LabelExists"),
        (lambda d: d.array_create_labeled(["a"]), "ArrayLengthMismatch"),
        (lambda d: named(d).array_element(label="z"), "ArrayElementNotAvailable"),
        (lambda d: (d * 1).array_element(label="z"), "ArrayNotLabeled"),
        (lambda d: d[6], "ArrayElementNotAvailable"),
        (lambda d: d[-1], "ArrayElementNotAvailable"),
        (lambda d: d.rearrange([6]), "ArrayElementNotAvailable"),
        (lambda d: d.array_modify([1], 7), "ArrayElementNotAvailable"),
        (lambda d: d + d.extrema(), "ArrayLengthMismatch"),
    ):
        with pytest.raises(MusesError) as caught:
            made(cube, wrong)
        assert caught.value.openeo == name, caught.value


# ------------------------------------------------------------------------------------------ what documents may say


def document(process: str, graph: dict[str, Any], **others: Any) -> dict[str, Any]:
    argument = "reducer" if process == "reduce_dimension" else "process"
    return {
        "load": {"process_id": "load_collection", "arguments": {"id": "a:b"}},
        "n": {
            "process_id": process, "result": True,
            "arguments": {"data": {"from_node": "load"}, argument: {"process_graph": graph}, **others},
        },
    }  # fmt: skip


X, DATA, CONTEXT, OTHER = ({"from_parameter": name} for name in ("x", "data", "context", "q"))


def one(process: str, /, **arguments: Any) -> dict[str, Any]:
    return {"p": {"process_id": process, "arguments": arguments, "result": True}}


def test_context_is_a_constant_in_its_place() -> None:
    given = ml.Chain.from_json(document("apply", one("add", x=X, y=CONTEXT), context=3))
    assert given.identical(ml.Chain.from_json(document("apply", one("add", x=X, y=3))))
    null = ml.Chain.from_json(document("apply", one("if", value=X, accept=X, reject=CONTEXT)))
    assert null.identical(ml.Chain.from_json(document("apply", one("if", value=X, accept=X), context=None)))
    limits = one("clip", x=X, min=0, max=CONTEXT)
    assert ml.Chain.from_json(document("apply", limits, context=2)).identical(
        ml.Chain.from_json(document("apply", one("clip", x=X, min=0, max=2)))
    )
    inner = one("count", data=DATA, condition={"process_graph": one("gt", x=X, y=CONTEXT)}, context=CONTEXT)
    plain = one("count", data=DATA, condition={"process_graph": one("gt", x=X, y=0.5)})
    assert ml.Chain.from_json(document("reduce_dimension", inner, dimension="t", context=0.5)).identical(
        ml.Chain.from_json(document("reduce_dimension", plain, dimension="t"))
    )
    for wrong, says in (
        (document("apply", limits, context=-1), "min must not be above max"),
        (document("apply", limits, context="a"), "number"),
        (document("apply", limits), "must be"),
    ):
        with pytest.raises(MusesError, match=says):
            ml.Chain.from_json(wrong)


@pytest.mark.parametrize(
    ("graph", "says", "name"),
    [
        (one("array_element", data=DATA), "either `index` or `label`", "ArrayElementParameterMissing"),
        (one("array_element", data=DATA, index=0, label="a"), "either", "ArrayElementParameterConflict"),
        (one("quantiles", data=DATA), "probabilities", "QuantilesParameterMissing"),
        (one("quantiles", data=DATA, probabilities=2, q=2), "probabilities", "QuantilesParameterConflict"),
        (one("quantiles", data=DATA, probabilities=1), "probabilities", "ProcessParameterInvalid"),
        (one("array_append", data=DATA, value=DATA), "'value'", "ProcessParameterInvalid"),
        (one("array_create", data=[DATA]), "array of numbers", "ProcessParameterInvalid"),
        (one("array_apply", data=DATA, process={"process_graph": one("add", x=X, y=OTHER)}), "'q'",
         "ProcessParameterMissing"),
        (one("clip", x=DATA, min=2, max=1), "min must not be above max", "MinMaxSwapped"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_as_openeo_does(graph: dict[str, Any], says: str, name: str) -> None:
    with pytest.raises(MusesError) as caught:
        ml.Chain.from_json(document("apply_dimension", graph, dimension="bands"))
    assert says in str(caught.value) and caught.value.openeo == name


def test_one_value_is_an_array_of_one() -> None:
    largest = ml.Chain.from_json(document("apply_dimension", one("max", data=DATA), dimension="bands"))
    listed = ml.Chain.from_json(document("apply_dimension", {
        "m": {"process_id": "max", "arguments": {"data": DATA}},
        "a": {"process_id": "array_create", "arguments": {"data": [{"from_node": "m"}]}, "result": True},
    }, dimension="bands"))  # fmt: skip
    assert largest.identical(listed)


STRICT = [
    ("cumsum", True),
    (lambda d: d.cumsum(False), False),
    (lambda d: d - d.mean(), True),
    (lambda d: d.array_apply(lambda x: x * 2), True),
    (lambda d: d.array_apply(lambda x: x.is_nodata()), False),
    (lambda d: d.array_apply(lambda x, i: x * i), False),
    (lambda d: d + d.sort(nodata=True), False),
    (lambda d: d + d.cumsum(), True),
    (lambda d: d.quantiles(4), True),
    (lambda d: d.quantiles(4).array_concat([d.mean(), d.max()]), True),
    (lambda d: d.quantiles(4).array_concat([d.count()]), False),
    (lambda d: d.quantiles(4) + [1, 2, 3].__len__(), True),
    (lambda d: [d.min(), d.max()], True),
    (lambda d: [d.min(), d[0]], False),
    (lambda d: d.array_append(1), False),
    ("array_interpolate_linear", False),
    ("sort", False),
    (lambda d: d.array_filter(lambda x: x > 0).mean(), False),
    (lambda d: d.count(lambda x: x > 0), False),
]


@pytest.mark.parametrize(("fn", "strict"), STRICT)
def test_dates_without_data_are_left_out_only_where_that_changes_nothing(fn: Any, strict: bool) -> None:
    made_callback = callback("process", fn, "data")
    assert is_strict(made_callback) is strict
    if strict:
        cube = np.array([3, NAN, 5, 1, NAN, 2], np.float32)
        there = ~np.isnan(cube)
        dates = {"t": DATES}
        whole = xr.DataArray(cube.reshape(-1, 1, 1), dims=("t", "y", "x"), coords=dates)
        all_dates = run(made_callback, data=Series(whole, "t"))
        fewer = run(made_callback, data=Series(whole.isel(t=there), "t"))
        found, wanted = (np.ravel(s.elements) for s in (fewer, all_dates))
        np.testing.assert_array_equal(found, wanted[there] if wanted.size == cube.size else wanted)


# ----------------------------------------------------------------------------------------------- in the engine


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, np.ndarray]:
    rng = np.random.default_rng(7)
    values = rng.normal(0.4, 0.2, (5, 3, 40, 300)).astype(np.float32)
    values[rng.random((5, 1, 40, 300)).repeat(3, axis=1) < 0.3] = NAN
    values[2, :, :, :140] = NAN  # a date without data there
    return stack(values, tmp_path_factory.mktemp("arrays"), bands=("B2", "B4", "B8")), values


WINDOW = own_window(40, 300)


def same_everywhere(chain: ml.Chain, expected: np.ndarray) -> xr.DataArray:
    whole = chain.compute(WINDOW)
    np.testing.assert_allclose(whole.values, expected, rtol=1e-5, atol=1e-5)
    part = chain.compute(WINDOW[5:20, 100:260])
    np.testing.assert_array_equal(part.values, whole.values[..., 5:20, 100:260])
    assert whole.dtype == np.float32
    return whole


def test_bands_are_made_of_bands(scenes: Any) -> None:
    collection, values = scenes
    b2, b4, b8 = values.transpose(1, 0, 2, 3)
    rgb = collection.apply_dimension(lambda d: [d["red"], d["nir"], d["red"] * 2], "bands").max("t")
    with np.errstate(all="ignore"):
        expected = np.fmax.reduce(np.stack([b4, b8, b4 * 2], axis=1))
    whole = same_everywhere(rgb, expected)
    assert whole.bands.values.tolist() == ["B2", "B4", "B8"], "as many as before"
    two = collection.apply_dimension(lambda d: [d[2], d[0]], "bands")
    whole = same_everywhere(two, np.stack([b8, b2], axis=1))
    assert whole.bands.values.tolist() == ["0", "1"], "numbers, though just these two bands are read"

    one = collection.apply_dimension(lambda d: [d[2], d[0]], "bands", labels=["a", "b"]).band("b")
    same_everywhere(one, b2)
    longer = collection.apply_dimension(lambda d: d.array_append(d["nir"] / d["red"]), "bands")
    whole = same_everywhere(longer, np.stack([b2, b4, b8, b8 / b4], axis=1))
    assert whole.bands.values.tolist() == ["0", "1", "2", "3"]
    ratio = same_everywhere(collection.apply_dimension(lambda d: d["nir"] / d["red"], "bands"), (b8 / b4)[:, None])
    assert ratio.bands.values.tolist() == ["0"], "one value is an array of one"
    first = collection.apply_dimension(lambda d: d.array_filter(lambda x, i: i < 2), "bands")
    same_everywhere(first, np.stack([b2, b4], axis=1))


def test_series_keep_their_dates(scenes: Any) -> None:
    collection, values = scenes
    band = collection.band("B8")
    series = values[:, 2]
    summed = by_pandas_dates(series, lambda s: s.cumsum())
    whole = same_everywhere(band.cumsum("t"), summed)
    assert whole.t.values.astype("M8[M]").astype(str).tolist() == [f"2020-0{m}" for m in range(1, 6)]
    same_everywhere(band.cumsum("t").max("t"), np.fmax.reduce(summed))
    same_everywhere(band.sort("t"), np.sort(series, axis=0))
    filled = by_pandas_dates(series, lambda s: s.interpolate("time", limit_area="inside"))
    chain = band.apply_dimension("array_interpolate_linear", "t")
    same_everywhere(chain, filled)
    # The dates that are looked at afterwards, or removed by a mask, count for the others.
    march = chain.dates("2020-03-01", "2020-04-01")
    same_everywhere(march, filled[2:3])
    same_everywhere(band.cumsum("t").dates("2020-04-01", None), summed[3:])
    low = band.cumsum("t") < 1
    same_everywhere(band.cumsum("t").mask(low), np.where(summed < 1, NAN, summed))
    both = collection.cumsum("t").band("B4")
    same_everywhere(both, by_pandas_dates(values[:, 1], lambda s: s.cumsum()))


def by_pandas_dates(cube: np.ndarray, fn: Callable[[Any], Any]) -> np.ndarray:
    dates = pd.to_datetime([f"2020-{m:02}-01" for m in range(1, len(cube) + 1)])
    frame = pd.DataFrame(cube.reshape(len(cube), -1).astype(np.float64), index=dates)
    return fn(frame).values.reshape(cube.shape)


def test_a_mask_above_a_series_spares_it_no_dates(tmp_path: Path) -> None:
    values = np.ones((3, 2, 4, 4), np.float32)
    values[1, 0] = 9  # all of the second date is to be masked
    collection = stack(values, tmp_path, bands=("B4", "B8"))
    chain = collection.band("B8").cumsum("t").mask(collection.band("B4") > 5)
    found = chain.compute(own_window(4, 4)).values[:, 0, 0]
    np.testing.assert_array_equal(found, [1, NAN, 3])
    np.testing.assert_array_equal(chain.max("t").compute(own_window(4, 4)).values, np.full((4, 4), 3.0))


def test_dates_become_bands(scenes: Any) -> None:
    collection, values = scenes
    band, series = collection.band("B8"), values[:, 2]

    def features(d: Any) -> Any:
        return d.quantiles([0.25, 0.5]).array_concat([d.mean(), d.count(lambda x: x > 0.4)])

    def expected(cube: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
            low, middle = np.nanquantile(cube, [0.25, 0.5], axis=0)
            return np.stack([low, middle, np.nanmean(cube, axis=0), (cube > 0.4).sum(axis=0)])

    whole = same_everywhere(band.apply_dimension(features, "t", "bands"), expected(series))
    assert whole.bands.values.tolist() == ["0", "1", "2", "3"]
    every = collection.bands("B4", "B8").apply_dimension(features, "t", "bands")
    whole = same_everywhere(every, np.concatenate([expected(values[:, 1]), expected(series)]))
    assert whole.bands.values.tolist() == list("01234567")
    named = band.apply_dimension("extrema", "t", "bands", labels=["low", "high"])
    same_everywhere(named.band("high"), np.fmax.reduce(series))
    with pytest.raises(MusesError, match="a value for each date"):
        band.apply_dimension("extrema", "t").compute(WINDOW)
    with pytest.raises(MusesError, match="makes no bands"):
        band.apply_dimension("cumsum", "t", "bands").compute(WINDOW)
    with pytest.raises(MusesError, match="from pixel to pixel"):
        band.apply_dimension(lambda d: d.array_filter(lambda x: x > 0), "t").compute(WINDOW)
    with pytest.raises(MusesError, match="2 bands"):
        band.apply_dimension("extrema", "t", "bands", labels=["a"]).compute(WINDOW)
    with pytest.raises(MusesError, match="has been reduced"):
        band.max("t").apply_dimension("cumsum", "t").compute(WINDOW)


def test_reducers_use_arrays(scenes: Any) -> None:
    collection, values = scenes
    series = values[:, 2]
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        spread = np.nanmax(np.abs(series - np.nanmean(series, axis=0)), axis=0)
    same_everywhere(collection.band("B8").reduce_dimension(lambda d: abs(d - d.mean()).max(), "t"), spread)
    above = (series > 0.4).sum(axis=0)
    same_everywhere(collection.band("B8").count("t", condition=lambda x: x > 0.4), above)
    same_everywhere((collection.band("B8") > 0.4).any("t"), above > 0)
    ratio = collection.reduce_dimension(lambda d: (d / d.sum(ignore_nodata=False)).array_element(1), "bands")
    same_everywhere(ratio, values[:, 1] / values.sum(axis=1))
    close = collection.reduce_dimension(lambda d: d["B2"].eq(d["B4"], delta=0.1), "bands").mean("t")
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        near = np.where(np.isnan(values[:, 0]), NAN, np.abs(values[:, 0] - values[:, 1]) <= np.float32(0.1))
        same_everywhere(close, np.nanmean(near, axis=0))
