"""What the texts of openEO 2.0 say of each process: as a constant of a document, by its function, by compiled code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

import muses_lab as ml
from muses_lab.document.constants import NotConstant, folded
from muses_lab.document.graph import Callback, Parameter
from muses_lab.engine import Engine
from muses_lab.errors import MusesError
from muses_lab.operators import Series, registry, run
from tests.helpers.made_scenes import pixels
from tests.helpers.made_stacks import own_window, stack
from tests.helpers.operator_examples import everywhere
from tests.helpers.refusals import refused
from tests.oracles.uncompiled import without_code

pytestmark = pytest.mark.usefixtures("in_threads")

NAN, INF = math.nan, math.inf
GAPS = [6, -1, 2, None, 7, 4, None, 8, 3, 9, 9]
CASES: list[tuple[str, dict[str, Any], Any]] = [
    # all and any of nothing, and of no-data values alone
    ("all", {"data": []}, True), ("all", {"data": [None]}, True), ("any", {"data": []}, False),
    ("any", {"data": [None]}, False), ("all", {"data": [None], "ignore_nodata": False}, None),
    ("sum", {"data": []}, None), ("sum", {"data": [None]}, None), ("product", {"data": []}, None),
    ("extrema", {"data": [1, 0, 3, None, 2], "ignore_nodata": False}, [None, None]),
    # "If any operand is not the data type number, the process returns false"; what is equal is not less
    ("gt", {"x": "2018-01-02T00:00:00Z", "y": "2018-01-01T00:00:00Z"}, False), ("gt", {"x": True, "y": 0}, False),
    ("lt", {"x": False, "y": True}, False), ("gte", {"x": True, "y": False}, False), ("lte", {"x": 1, "y": 2}, True),
    ("gte", {"x": "2018-01-01T00:00:00Z", "y": "2018-01-01T00:00:00+00:00"}, False),
    ("gte", {"x": "a", "y": "a"}, True), ("lte", {"x": True, "y": True}, True), ("gt", {"x": True, "y": None}, None),
    ("between", {"x": True, "min": 0, "max": 1}, False), ("between", {"x": None, "min": 1, "max": 0}, None),
    ("between", {"x": 1, "min": 0, "max": 1, "exclude_max": True}, False),
    ("eq", {"x": None, "y": "a"}, None), ("eq", {"x": True, "y": False, "delta": 1}, False),
    ("eq", {"x": "2018-01-01T00:00:00Z", "y": "2018-01-01T00:00:00+00:00"}, False),
    ("not", {"x": False}, True), ("xor", {"x": True, "y": True}, False), ("xor", {"x": True, "y": None}, None),
    ("is_nan", {"x": None}, False), ("is_nodata", {"x": None}, True), ("is_valid", {"x": None}, False),
    # dates and times
    ("date_between", {"x": "10:00:00", "min": "09:00:00", "max": "10:00:00", "exclude_max": True}, False),
    ("date_difference", {"date1": "2020-01-31", "date2": "2020-02-29", "unit": "month"}, 1),
    ("date_difference", {"date1": "2020-01-02", "date2": "2020-01-01"}, -86400),
    # rounding, ranges
    ("round", {"x": 0.35, "p": 1}, 0.4), ("round", {"x": 1250, "p": -2}, 1200), ("round", {"x": -2.5}, -2),
    ("linear_scale_range", {"x": 0.25, "inputMin": 1, "inputMax": 0, "outputMax": 4}, 3),
    # arrays
    ("order", {"data": GAPS, "asc": False, "nodata": False}, [3, 6, 9, 10, 7, 4, 0, 5, 8, 2, 1]),
    ("order", {"data": GAPS}, [1, 2, 8, 5, 0, 4, 7, 9, 10]), ("sort", {"data": GAPS}, [-1, 2, 3, 4, 6, 7, 8, 9, 9]),
    ("sort", {"data": GAPS, "asc": False, "nodata": True}, [9, 9, 8, 7, 6, 4, 3, 2, -1, None, None]),
    ("rearrange", {"data": [5, 4, 3, 2], "order": [0, 2, 1, 3]}, [5, 3, 4, 2]),
    ("array_modify", {"data": [1, 3], "values": [2], "index": 1}, [1, 2, 3]),
    ("array_modify", {"data": [1, 2, None, 3], "values": [], "index": 2}, [1, 2, 3]),
    ("array_interpolate_linear", {"data": [None, 1, None, 6, None, -8]}, [None, 1, 3.5, 6, -1, -8]),
    ("array_find", {"data": [1, 2, 3, 2, 3], "value": 2, "reverse": True}, 3),
    ("cumproduct", {"data": [1, 2, 3, None, 3, 1]}, [1, 2, 6, None, 18, 18]),
    ("cummax", {"data": [1, 3, None, 5, 1], "ignore_nodata": False}, [1, 3, None, None, None]),
    ("quantiles", {"data": [2, 4, 4, 4, 5, 5, 7, 9], "probabilities": [0.005, 0.1, 0.5]}, [2.07, 3.4, 4.5]),
    ("quantiles", {"data": [-1, -0.5, None, 1], "probabilities": 4, "ignore_nodata": False}, [None] * 3),
    ("quantiles", {"data": [], "probabilities": [0.1, 0.5]}, [None, None]),
    ("sd", {"data": [-1, 1, 3, None]}, 2), ("variance", {"data": [2, 3, 3, None, 4, 4, 5]}, 1.1),
    ("sd", {"data": [1]}, None), ("count", {"data": [1, None], "condition": True}, 2),
]  # fmt: skip
TEXTS: list[tuple[str, dict[str, Any], Any]] = [
    ("array_find", {"data": ["A", "B", "C"], "value": "b"}, None),
    ("array_find", {"data": [1, 2, 3], "value": "2"}, None),
    ("array_find", {"data": [[1, 2], [3, 4]], "value": [1, 2]}, None),
    ("array_find", {"data": [{"a": "b"}], "value": {"a": "b"}}, None),
    ("array_contains", {"data": [[1, 2], [3, 4]], "value": 2}, False),
    ("array_modify", {"data": ["a", "b", 4, 5], "values": [1, 2, 3], "index": 0, "length": 2}, [1, 2, 3, 4, 5]),
    ("array_modify", {"data": ["a", "b", "c"], "values": [], "index": 1, "length": 10}, ["a"]),
    ("count", {"data": ["ABC", None]}, 1), ("is_nodata", {"x": [None, None]}, False), ("is_nan", {"x": "Test"}, False),
    ("is_valid", {"x": "Test"}, True), ("is_valid", {"x": [None, None]}, True), ("first", {"data": [None, "A"]}, "A"),
    ("order", {"data": ["2020-02-01", "2020-01-01T00:00:00+01:00", None]}, [1, 0]),
    ("text_concat", {"data": [None, True, False, 1, -1.5, "ß"], "separator": "\n"}, "null\ntrue\nfalse\n1\n-1.5\nß"),
    ("text_find", {"data": "ÄÖÜ", "pattern": "ö", "case_sensitive": False}, 1),
    ("text_find", {"data": "Lorem ipsum dolor", "pattern": "Ipsum"}, None),
    ("date_shift", {"date": "2021-03-31T00:00:00+00:00", "value": -7, "unit": "day"}, "2021-03-24T00:00:00+00:00"),
    ("date_shift", {"date": "2016-12-31T23:59:60Z", "value": 1, "unit": "month"}, "2017-01-31T23:59:59Z"),
    ("if", {"value": None, "accept": "A", "reject": "B"}, "B"),
]  # fmt: skip


def plain(found: Any) -> Any:
    if isinstance(found, Series):
        size = found.size if found.length is None else int(found.length)
        return [plain(value) for value in found.elements.values[:size].tolist()]
    found = found.item() if isinstance(found, np.ndarray | xr.DataArray | np.generic) else found
    return None if isinstance(found, float) and found != found else found


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found is expected if expected is None or found is None else math.isclose(found, expected, rel_tol=1e-6)


@pytest.mark.parametrize(("process", "arguments", "expected"), CASES)
def test_a_process_of_constants_has_the_value_of_the_text(process: str, arguments: dict[str, Any], expected: Any):
    found = folded(process, arguments)
    assert same(found, expected) and isinstance(found, bool) == isinstance(expected, bool)
    by_function = plain(run(Callback(registry.node(process, inside_callback=True, **arguments))))
    assert same(by_function, expected)
    reducer = process in ("all", "any")  # a cube of one value, whose truth values are 1 and 0
    assert reducer or isinstance(by_function, bool) == isinstance(expected, bool)


@pytest.mark.parametrize(("process", "arguments", "expected"), TEXTS)
def test_constants_may_be_texts_and_arrays_of_anything(process: str, arguments: dict[str, Any], expected: Any):
    assert folded(process, arguments) == expected


@pytest.mark.parametrize(
    ("process", "arguments", "name"),
    [
        ("clip", {"x": 1, "min": 2, "max": 1}, "MinMaxSwapped"),
        ("quantiles", {"data": [1, 2]}, "QuantilesParameterMissing"),
        ("quantiles", {"data": [1, 2], "q": 2, "probabilities": [0.5]}, "QuantilesParameterConflict"),
        ("quantiles", {"data": [1, 2], "probabilities": [0.5, 0.1]}, "AscendingProbabilitiesRequired"),
        ("array_element", {"data": [1]}, "ArrayElementParameterMissing"),
        ("array_element", {"data": [1], "index": 0, "label": "a"}, "ArrayElementParameterConflict"),
        ("array_element", {"data": [1], "label": "a"}, "ArrayNotLabeled"),
        ("array_element", {"data": [1], "index": 1}, "ArrayElementNotAvailable"),
        ("array_append", {"data": [1], "value": 1, "label": "a"}, "ArrayNotLabeled"),
        ("array_modify", {"data": [1], "values": [1], "index": 2}, "ArrayElementNotAvailable"),
        ("rearrange", {"data": [1], "order": [1]}, "ArrayElementNotAvailable"),
    ],
)
def test_exceptions_have_openeos_names(process: str, arguments: dict[str, Any], name: str):
    with pytest.raises(ValueError) as caught:
        folded(process, arguments)
    assert caught.value.openeo == name
    with refused(name):
        run(Callback(registry.node(process, inside_callback=True, **arguments)))
    load = {"process_id": "load_collection", "arguments": {"id": "x", "bands": {"from_node": "c"}}, "result": True}
    with refused(name):
        ml.Chain.from_json({"c": {"process_id": process, "arguments": arguments}, "l": load})


def test_what_is_no_value_of_the_process():
    for process, arguments in (
        ("round", {"x": 1, "p": 0.5}), ("text_begins", {"data": 5, "pattern": "a"}), ("sum", {"data": ["a"]}),
        ("date_between", {"x": 5, "min": "2020-01-01", "max": "2021-01-01"}), ("sort", {"data": [1, "2020-01-01"]}),
        ("date_between", {"x": "10:00:00", "min": "2020-01-01", "max": "2021-01-01"}),
        ("quantiles", {"data": [1], "q": 1}),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            folded(process, arguments)
    with pytest.raises(NotConstant):
        folded("count", {"data": [1], "condition": {}})


# ------------------------------------------------------------------------------------------------------------- cubes


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> ml.Collection:
    """Five dates of one band: zeros, whose reciprocals are infinite, and gaps."""
    values = np.array([[0, 1], [NAN, NAN], [2, NAN], [-4, 0], [0, NAN]], np.float32).reshape(5, 1, 1, 2)
    return stack(values, tmp_path_factory.mktemp("series"), bands=("B4",))


def both(chain: ml.Chain) -> np.ndarray:
    """A chain's values by compiled code where there is some, and the same by NumPy."""
    found = [pixels(Engine(64 << 20), chain, own_window(1, 2)).values]
    with without_code():
        found.append(pixels(Engine(64 << 20), chain, own_window(1, 2)).values)
    np.testing.assert_array_equal(*found)
    return found[0].ravel()


def test_only_finite_values_are_counted(series: ml.Collection):
    reciprocal = 1 / series.band("B4")
    assert both(reciprocal.count("t")).tolist() == [2, 1]
    assert both(reciprocal.count("t", condition=True)).tolist() == [5, 5]
    assert both(reciprocal.max("t")).tolist() == [INF, INF]


def test_a_callback_of_constants_is_what_they_are(series: ml.Collection):
    id = f"{series.catalog.id}:{series.query.collection}"
    for process, arguments, expected in (
        ("eq", {"x": "Test", "y": "test", "case_sensitive": False}, 1), ("gt", {"x": True, "y": 0}, 0),
        ("is_valid", {"x": [None]}, 1), ("array_contains", {"data": ["A"], "value": "a"}, 0),
        ("is_nan", {"x": None}, 0),
    ):  # fmt: skip
        document = everywhere(id, {"process_id": process, "arguments": arguments, "result": True})
        document["scenes"]["arguments"]["bands"] = ["B4"]
        assert both(ml.Chain.from_json(document)).tolist() == [expected] * 2
    text = everywhere(id, {"process_id": "if", "arguments": {"value": True, "accept": "A"}, "result": True})
    with refused("ProcessParameterInvalid"):  # no cube has texts
        ml.Chain.from_json(text)


def test_labels_of_arrays(series: ml.Collection):
    array = xr.DataArray(np.float32([[1], [2]]), dims=("bands", "x"), coords={"bands": ["a", "b"]})
    data = Series(array, "bands")

    def made(process: str, **arguments: Any) -> Any:
        return run(
            Callback(registry.node(process, inside_callback=True, data=Parameter("data"), **arguments)), data=data
        )

    assert made("array_append", value=3).labels == ("a", "b", 2)
    assert made("array_append", value=3, label=7).labels == ("a", "b", 7)
    assert made("array_modify", values=[], index=0, length=1).labels == ("b",)
    assert made("array_modify", values=[5], index=0).labels is None
    more = registry.node("array_create_labeled", inside_callback=True, data=[5], labels=["c"])
    assert made("array_modify", values=more, index=1).labels == ("a", "c", "b")
    twice = registry.node("array_create_labeled", inside_callback=True, data=[5], labels=["b"])
    with refused("ArrayLabelConflict"):
        made("array_modify", values=twice, index=1)


def test_cubes_are_refused_by_openeos_names(series: ml.Collection):
    image = series.band("B4").median("t")

    def checked(chain: ml.Chain, process: str, **arguments: Any) -> None:
        chain._with(process, data=chain._node, **arguments).compute(own_window(1, 2))

    for name, chain, process, arguments in (
        ("TemporalExtentEmpty", series, "filter_temporal", {"extent": ["2020-02-01", "2020-02-01"]}),
        ("BandFilterParameterMissing", series, "filter_bands", {}),
        ("BandFilterParameterMissing", series, "filter_bands", {"bands": []}),
        ("DimensionMissing", image, "filter_bands", {"bands": ["B4"]}),
        ("KernelDimensionsUneven", image, "apply_kernel", {"kernel": [[1, 1]]}),
        ("NirBandAmbiguous", series, "ndvi", {}), ("DimensionAmbiguous", image, "ndvi", {}),
        ("DimensionNotAvailable", image, "drop_dimension", {"name": "t"}),
        ("LabelNotAvailable", series, "rename_labels", {"dimension": "bands", "source": ["B9"], "target": ["x"]}),
        ("DimensionExists", series, "add_dimension", {"name": "t", "label": "2020-01-01"}),
    ):  # fmt: skip
        with refused(name):
            checked(chain, process, **arguments)
    last = registry.node("mean", inside_callback=True, data=Parameter("data"))
    with refused("TemporalExtentEmpty"):
        checked(series, "aggregate_temporal", intervals=[["2021-01-01", "2020-01-01"]], reducer=Callback(last))
    with pytest.raises(MusesError, match="orders numbers"):  # labels are texts, of which openEO says it is never true
        later = registry.node("gt", inside_callback=True, x=Parameter("value"), y="2020-02-01")
        checked(series, "filter_labels", dimension="t", condition=Callback(later))
    assert both(
        image.mask(image <= 0)._with("mask", data=image._node, mask=(image <= 0)._node, replacement=True)
    ).tolist()
