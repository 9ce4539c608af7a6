"""openEO documents as others write them: read, normalised to our form, or refused by the node and argument."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import muses_lab as ml
from muses_lab.document import graph, openeo, openeo_plainer
from muses_lab.document.constants import NotConstant, folded
from muses_lab.document.graph import Callback, Node
from muses_lab.errors import ArgumentError, DocumentError, MusesError
from muses_lab.operators import Meta, registry
from muses_lab.operators.labels import holds
from muses_lab.publish.conditions import as_text
from tests.helpers.examples import examples

LOAD: dict[str, Any] = {"process_id": "load_collection", "arguments": {"id": "s2"}}
X, DATA = {"from_parameter": "x"}, {"from_parameter": "data"}


def node(process: str, /, result: bool = False, **arguments: Any) -> dict[str, Any]:
    return {"process_id": process, "arguments": arguments, "result": result}


def of(name: Any) -> dict[str, Any]:
    return {"from_node": name}


def callback(process: str, /, **arguments: Any) -> dict[str, Any]:
    return {"process_graph": {"p": node(process, result=True, **arguments)}}


MEDIAN = callback("median", data=DATA)


def read(document: Any, **options: Any) -> list[openeo.Result]:
    return openeo.read(document, registry, **options)


def one(document: Any, **options: Any) -> Node:
    (result,) = read(document, **options)
    return result.root


def refused(document: Any, **options: Any) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        read(document, **options)
    json.dumps(caught.value.to_json())
    return caught.value


PLAIN = {"l": LOAD, "r": node("reduce_dimension", result=True, data=of("l"), dimension="t", reducer=MEDIAN)}


# ---------------------------------------------------------------------------------------------------------- the forms


@pytest.mark.parametrize(
    "form",
    [
        lambda g: g,
        lambda g: {"process_graph": g},
        lambda g: {"process": {"process_graph": g}},
        lambda g: {"id": "mine", "parameters": [], "returns": {}, "process_graph": g},
        lambda g: {"title": "a job", "process": {"id": "x", "process_graph": g}, "plan": None, "budget": 5},
        lambda g: {"type": "xyz", "enabled": True, "process": {"process_graph": g}, "configuration": {}},
        lambda g: json.dumps({"process_graph": g}),
    ],
    ids=["graph", "process_graph", "process", "udp", "job", "service", "text"],
)
def test_every_form_of_document_is_the_same_chain(form):
    assert one(form(PLAIN)).hash == one(PLAIN).hash == graph.parse(PLAIN, registry).hash


def test_what_makes_no_difference_is_taken():
    written = {
        "1": {**LOAD, "namespace": None, "description": "scenes", "returns": {}, "title": "t", "result": False,
              "arguments": {"id": "s2", "spatial_extent": None, "temporal_extent": [None, None], "bands": None,
                            "properties": None}},
        "2": {**node("reduce_dimension", data={"from_node": 1}, dimension="t", context=None, reducer={
            "process_graph": {"1": {**node("median", data=DATA, ignore_nodata=None)}}}), "result": True},
    }  # fmt: skip
    assert one(written).hash == one(PLAIN).hash
    saved = {**PLAIN, "r": {**PLAIN["r"], "result": False}, "i": node("inspect", data=of("r"), message="m"),
             "s": node("save_result", result=True, data=of("i"), format="GTiff")}  # fmt: skip
    assert one(saved).hash == one(PLAIN).hash
    assert one({"l": LOAD, "r": {**PLAIN["r"], "result": False}}).hash == one(PLAIN).hash


def test_our_own_documents_come_back_as_they_are():
    added = registry.node("add", inside_callback=True, x=1, y=2)
    root = registry.node("apply", data=one({"l": LOAD}), process=Callback(added))
    assert one(graph.to_document(root)).hash == root.hash


def test_several_results_open_in_order(tmp_path: Path):
    document = {
        "l": LOAD,
        "a": node("reduce_dimension", data=of("l"), dimension="t", reducer=MEDIAN),
        "s1": node("save_result", data=of("a"), format="NETCDF", options={"dtype": "float32"}),
        "b": node("apply", result=True, data=of("a"), process=callback("absolute", x=X)),
        "s2": node("save_result", data=of("b"), format="GRIB"),
    }
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(document))
    first, second = ml.read_graph(file)
    assert (first.name, first.format, dict(first.options)) == ("s1", "NETCDF", {"dtype": "float32"})
    assert (second.name, second.format) == ("s2", "GRIB")
    assert second.chain.identical(ml.Chain.from_json({**document, "s1": LOAD, "s2": LOAD}))
    assert first._suffix() == ".nc"
    with pytest.raises(ArgumentError, match=r"'GRIB'.*GeoTIFF \(.tif") as caught:
        second.export(tmp_path / "out")
    assert caught.value.to_json()["openeo"] == "FormatUnsupported"
    with pytest.raises(DocumentError, match=r"2 results \('s1', 's2'\): ml.read_graph"):
        ml.Chain.from_json(document)


def test_the_format_is_the_default_of_an_export(s2: ml.Collection, tmp_path: Path, in_threads: None):
    window = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)
    document = s2.band("red").median("t").to_json()
    last = next(name for name, one in document["process_graph"].items() if one.get("result"))
    document["process_graph"][last].pop("result")
    document["process_graph"]["save"] = node("save_result", result=True, data=of(last), format="netCDF")
    (result,) = ml.read_graph(document)
    result.export(tmp_path / "red", window, progress=False).wait()
    assert (tmp_path / "red.nc").exists()


def test_a_document_has_a_result():
    assert "r" in str(refused({"l": LOAD, "m": LOAD}))
    error = refused({"c": node("constant", result=True, x=5)})
    assert "constant 5" in str(error) and error.details["node"] == "c"
    many = {"l": LOAD} | {f"s{i}": node("save_result", data=of("l"), format="a") for i in range(65)}
    assert "65 results" in str(refused(many))


# ----------------------------------------------------------------------------------------------------------- parameters

BBOX = {"name": "area", "schema": {"type": "object", "subtype": "bounding-box"}}
UDP: dict[str, Any] = {
    "id": "mean_of_year",
    "parameters": [BBOX, {"name": "year", "default": "2020-01-01", "schema": {"type": "string"}},
                   {"name": "scale", "optional": True, "default": 1, "schema": {"type": "number"}}],
    "process_graph": {
        "end": node("date_shift", date={"from_parameter": "year"}, value=1, unit="year"),
        "l": node("load_collection", id="s2", spatial_extent={"from_parameter": "area"},
                  temporal_extent=[{"from_parameter": "year"}, of("end")]),
        "a": node("apply", data=of("l"), process=callback("multiply", x=X, y={"from_parameter": "scale"})),
        "r": node("reduce_dimension", result=True, data=of("a"), dimension="t", reducer=MEDIAN),
    },
}  # fmt: skip
BOX = {"west": 1.0, "south": 43.0, "east": 2.0, "north": 44.0}


def loading(root: Node) -> dict[str, Any]:
    return next(n for n in graph.walk(root) if "load_collection" in n.process).arguments


def test_parameters_have_their_defaults_and_extents_mean_the_window():
    found = loading(one(UDP))
    assert found == {"id": "s2", "temporal_extent": ["2020-01-01", "2021-01-01"]}
    found = loading(one(UDP, parameters={"year": "2018-01-01", "area": BOX}))
    assert found["temporal_extent"] == ["2018-01-01", "2019-01-01"]
    assert found["spatial_extent"] == {**BOX, "crs": 4326}
    sides = {side: {"from_parameter": side} for side in BOX}
    assert "spatial_extent" not in loading(one({"l": node("load_collection", id="s2", spatial_extent=sides)}))
    cropped = {"l": LOAD, "f": node("filter_bbox", result=True, data=of("l"), extent={"from_parameter": "e"})}
    assert one(cropped).process == "load_collection"
    assert ml.Chain.from_json(UDP, parameters={"scale": 2})._node.hash != one(UDP).hash


def test_a_parameter_without_a_value_is_named():
    document = {"l": node("load_collection", result=True, id="s2", temporal_extent={"from_parameter": "when"})}
    error = refused(document)
    assert error.openeo == "ProcessParameterMissing" and "'when'" in str(error) and "parameters=" in str(error)
    assert error.details == {"node": "l", "argument": "temporal_extent"}
    assert one(document, parameters={"when": ["2018-01-01", None]})
    assert "no parameter 'wen'; it has 'when'" in str(refused(document, parameters={"wen": 1}))
    half = {"l": node("load_collection", id="s2", spatial_extent={**BOX, "west": {"from_parameter": "w"}})}
    assert "'w'" in str(refused(half))


def test_a_data_cube_is_given_as_a_chain(s2: ml.Collection, in_threads: None):
    window = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)
    cube = {"name": "data", "schema": {"type": "object", "subtype": "datacube"}}
    process = {
        "id": "halved", "parameters": [cube], "process_graph": {
            "h": node("apply", data=DATA, process=callback("divide", x=X, y=2)),
            "r": node("reduce_dimension", result=True, data=of("h"), dimension="t", reducer=MEDIAN),
        },
    }  # fmt: skip
    red = s2.band("red")
    for chain in (s2.mask_clouds().band("red"), red.resolve()):
        (result,) = ml.read_graph(process, parameters={"data": chain})
        assert result.chain.identical((chain / 2).median("t"))
        np.testing.assert_array_equal(
            result.chain.compute(window).values, (chain / 2).median("t").compute(window).values
        )
    assert "'data'" in str(refused(process))


def test_a_definition_is_called_by_other_graphs():
    call = {"c": node("mean_of_year", result=True, year="2018-01-01", area=None)}
    assert one({"process_graph": call, "processes": [UDP]}).hash == one(UDP, parameters={"year": "2018-01-01"}).hash
    assert one(call, processes={"mean_of_year": UDP}).hash == one(call, processes=[UDP]).hash
    scaled = {"id": "scaled", "parameters": [{"name": "v", "schema": {}}, {"name": "by", "default": 2, "schema": {}}],
              "process_graph": {"m": node("multiply", result=True, x={"from_parameter": "v"},
                                          y={"from_parameter": "by"})}}  # fmt: skip
    document = {"l": LOAD, "a": node("apply", result=True, data=of("l"), process=callback("scaled", v=X))}
    plain = {"l": LOAD, "a": node("apply", result=True, data=of("l"), process=callback("multiply", x=X, y=2))}
    assert one(document, processes=[scaled]).hash == one(plain).hash
    error = refused({"c": node("mean_of_year", result=True, yeer="2018")}, processes=[UDP])
    assert error.openeo == "ProcessParameterUnsupported" and error.details["argument"] == "yeer"
    assert refused({"l": LOAD, "a": node("apply", result=True, data=of("l"), process=callback("scaled"))},
                   processes=[scaled]).openeo == "ProcessParameterMissing"  # fmt: skip
    assert refused(call).openeo == "ProcessUnsupported"


def test_definitions_that_call_each_other_are_refused():
    again = {"id": "a", "process_graph": {"x": node("b", result=True)}}
    other = {"id": "b", "process_graph": {"x": node("a", result=True)}}
    assert "calls itself" in str(refused({"c": node("a", result=True)}, processes=[again, other]))
    wide = [
        {"id": f"p{i}", "process_graph": {**{f"n{k}": node(f"p{i + 1}") for k in range(9)},
                                          "r": node("array_create", result=True, data=[of(f"n{k}") for k in range(9)])}}
        for i in range(30)
    ]  # fmt: skip
    wide.append({"id": "p30", "process_graph": {"e": node("e", result=True)}})
    assert refused({"c": node("p0", result=True)}, processes=wide).openeo == "ProcessGraphComplexity"


def test_what_openeo_was_before_its_version_1_is_told():
    assert "'reduce_dimension' since" in str(refused({"l": LOAD, "r": node("reduce", result=True, data=of("l"))}))
    old = {"callback": {"m": node("median", result=True, data={"from_argument": "data"})}}
    error = refused({"l": LOAD, "r": node("reduce_dimension", result=True, data=of("l"), dimension="t", reducer=old)})
    assert "before its version 1" in str(error) and error.details["node"] == "r"
    cubes = callback("add", x={"from_parameter": "cube1"}, y={"from_parameter": "cube2"})
    both = {"l": LOAD, "m": node("merge_cubes", result=True, cube1=of("l"), cube2=of("l"), overlap_resolver=cubes)}
    assert "offers x, y" in str(refused(both))


# ---------------------------------------------------------------------------------------------------------- collections


def test_collections_are_those_here_under_the_names_of_the_document(s2: ml.Collection, in_threads: None):
    window = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)
    id = next(iter(s2.to_json()["process_graph"].values()))["arguments"]["id"]
    graph_ = {
        "r": node("array_element", data=DATA, label="S2_4"), "n": node("array_element", data=DATA, label="nir"),
        "d": node("normalized_difference", result=True, x=of("n"), y=of("r")),
    }  # fmt: skip
    for bands in ({"bands": ["S2_4", "nir"]}, {}):
        document = {
            "l": node("load_collection", id="THEIR/S2", **bands),
            "b": node("reduce_dimension", data=of("l"), dimension="bands", reducer={"process_graph": graph_}),
            "m": node("reduce_dimension", result=True, data=of("b"), dimension="t", reducer=MEDIAN),
        }
        (result,) = ml.read_graph(document, collections={"THEIR/S2": {"id": id, "bands": {"S2_4": "red", "x": "blue"}}})
        assert result.loads == (id,)
        expected = s2.ndvi().median("t").compute(window).values
        np.testing.assert_array_equal(result.chain.compute(window).values, expected)
    plain = {"l": node("load_collection", id="THEIRS", temporal_extent=["2018-01-01", None])}
    assert one(plain, collections={"THEIRS": "s2"}).arguments == {"id": "s2", "temporal_extent": ["2018-01-01", None]}
    assert "loads no collection 'S2'; it loads 'THEIRS'" in str(refused(plain, collections={"S2": "s2"}))
    for wrong in (5, {}, {"id": "a", "band": {}}, {"id": "a", "bands": ["red"]}, {"id": "a", "bands": {"B4": 4}}):
        assert refused(plain, collections={"THEIRS": wrong}).details["argument"] == "collections"
    chosen = {"l": node("load_collection", id={"from_parameter": "which"})}
    assert one(chosen, parameters={"which": "S2"}, collections={"S2": "s2"}).arguments == {"id": "s2"}


def test_all_faults_are_found_each_at_its_node():
    document = {
        "l": LOAD,
        "bad": node("reduce_dimension", data=of("l"), dimension="height", reducer=MEDIAN),
        "after": node("apply", data=of("bad"), process=callback("absolute", x=X)),
        "worse": node("apply", data=of("l"), process=callback("multyply", x=X, y=2)),
        "good": node("apply", data=of("l"), process=callback("absolute", x=X)),
        "m": node("merge_cubes", result=True, cube1=of("good"), cube2=of("after")),
    }
    found = openeo.faults(document, registry)
    assert sorted(fault.details["node"] for fault in found) == ["bad", "worse/process/p"]
    assert openeo.faults(PLAIN, registry) == []
    assert "no node here" in str(openeo.faults({"l": LOAD, "a": node("apply", data=of("x"))}, registry)[0])
    assert "exactly one node" in str(openeo.faults({"l": LOAD, "m": LOAD}, registry)[0])
    assert openeo.faults({}, registry)[0].openeo == "ProcessGraphMissing"


# ----------------------------------------------------------------------------------------------------------- constants


@pytest.mark.parametrize(
    ("process", "arguments", "expected"),
    [
        ("add", {"x": 1, "y": 2}, 3), ("divide", {"x": 1, "y": 4}, 0.25), ("power", {"base": 2, "p": 3}, 8),
        ("mod", {"x": -5, "y": 3}, 1), ("pi", {}, math.pi), ("round", {"x": 2.5}, 2),
        ("add", {"x": None, "y": 2}, None),
        ("eq", {"x": True, "y": 1}, False), ("eq", {"x": 1, "y": 1.0}, True), ("neq", {"x": 1, "y": None}, None),
        ("eq", {"x": 1, "y": 1.2, "delta": 0.5}, True), ("eq", {"x": "Ab", "y": "aB", "case_sensitive": False}, True),
        ("and", {"x": False, "y": None}, False), ("or", {"x": None, "y": None}, None),
        ("all", {"data": [True, None]}, True),
        ("if", {"value": False, "accept": 1}, None), ("array_create", {"data": [1, 2], "repeat": 2}, [1, 2, 1, 2]),
        ("array_element", {"data": {"a": 5}, "label": "a"}, 5), ("mean", {"data": [1, None, 3]}, 2),
        ("max", {"data": [1, None], "ignore_nodata": False}, None), ("sum", {"data": []}, None),
        ("date_shift", {"date": "2020-01-31", "value": 1, "unit": "month"}, "2020-02-29"),
        ("date_shift", {"date": "2016-02-29T08:00:00Z", "value": -1, "unit": "year"}, "2015-02-28T08:00:00Z"),
        ("date_shift", {"date": "2020-01-01T00:00:00Z", "value": 90, "unit": "minute"}, "2020-01-01T01:30:00Z"),
        ("date_replace_component", {"date": "2020-01-31", "value": 2, "component": "month"}, "2020-02-29"),
        ("date_replace_component", {"date": "2020-02-29T08:00:00Z", "value": 2019, "component": "year"},
         "2019-02-28T08:00:00Z"),
        ("date_replace_component", {"date": "2020-01-01T08:00:00Z", "value": 5, "component": "minute"},
         "2020-01-01T08:05:00Z"),
        ("date_difference", {"date1": "2020-01-01", "date2": "2020-01-02", "unit": "hour"}, 24),
        ("text_concat", {"data": ["a", 1, True], "separator": "-"}, "a-1-true"),
        ("text_begins", {"data": "Lorem", "pattern": "lo", "case_sensitive": False}, True),
        ("clip", {"x": 5, "min": 0, "max": 1}, 1), ("array_concat", {"array1": [1], "array2": ["a"]}, [1, "a"]),
    ],
)  # fmt: skip
def test_constants_are_openeo_s(process: str, arguments: dict[str, Any], expected: Any):
    found = folded(process, arguments)
    assert found == expected and isinstance(found, bool) == isinstance(expected, bool)


def test_what_is_no_constant():
    for process, arguments in (("divide", {"x": 1, "y": 0}), ("ln", {"x": -1}), ("load", {}), ("exp", {"p": 1e9})):
        with pytest.raises(NotConstant):
            folded(process, arguments)
    with pytest.raises(ValueError, match="unit"):
        folded("date_shift", {"date": "2020-01-01", "value": 1, "unit": "fortnight"})
    for value, component in ((13, "month"), (31, "day"), (24, "hour"), (1, "week"), (1000, "millisecond")):
        with pytest.raises(ValueError, match="month|day|hour|component|millisecond"):
            folded("date_replace_component", {"date": "2020-02-01", "value": value, "component": component})
    error = refused({"d": node("date_shift", date="once", value=1, unit="day"),
                     "l": node("load_collection", result=True, id="a", temporal_extent=[of("d"), None])})  # fmt: skip
    assert error.details["node"] == "d" and error.openeo == "ProcessParameterInvalid"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from(["add", "subtract", "multiply", "divide"]))
@settings(max_examples=examples(25))
def test_a_constant_is_what_the_callback_would_have_computed(x: float, y: float, process: str):
    try:
        found = folded(process, {"x": x, "y": y})
    except NotConstant:
        return
    computed = registry[process].fn(x=np.float64(x), y=np.float64(y))
    np.testing.assert_allclose(np.asarray(computed, float), found, rtol=1e-5)


def test_constants_stand_where_they_are_referred_to():
    document = {
        "k": node("divide", x=1, y=10000),
        "names": node("array_create", data=["red", "nir"]),
        "l": node("load_collection", id="s2", bands=of("names")),
        "a": node("apply", result=True, data=of("l"), context={"offset": 3}, process={"process_graph": {
            "o": node("array_element", data={"from_parameter": "context"}, label="offset"),
            "m": node("multiply", x=X, y=of("k")), "n": node("add", result=True, x=of("m"), y=of("o"))}}),
    }  # fmt: skip
    plain = {
        "l": node("load_collection", id="s2", bands=["red", "nir"]),
        "a": node("apply", result=True, data=of("l"), process={"process_graph": {
            "m": node("multiply", x=X, y=0.0001), "n": node("add", result=True, x=of("m"), y=3)}}),
    }  # fmt: skip
    assert one(document).hash == one(plain).hash
    outer = {"l": LOAD, "a": node("apply", result=True, data=of("l"), process=callback("add", x=X, y=of("l")))}
    error = refused(outer)
    assert "'l'" in str(error) and error.details["node"] == "a/process/p"
    chosen = {"c": node("gt", x=2, y=1), "l": LOAD, "m": node("load_collection", id="other"),
              "i": node("if", result=True, value=of("c"), accept=of("m"), reject=of("l"))}  # fmt: skip
    assert one(chosen).arguments == {"id": "other"}


def test_constants_stay_small():
    doubling: dict[str, Any] = {"a0": node("array_create", data=[1] * 10)}
    doubling |= {f"a{i}": node("array_concat", array1=of(f"a{i - 1}"), array2=of(f"a{i - 1}")) for i in range(1, 60)}
    doubling["l"] = node("load_collection", result=True, id="a", bands=of("a59"))
    assert "limit" in str(refused(doubling)) or "more than" in str(refused(doubling))
    squares: dict[str, Any] = {"a0": node("add", x=10, y=10)}
    squares |= {f"a{i}": node("multiply", x=of(f"a{i - 1}"), y=of(f"a{i - 1}")) for i in range(1, 60)}
    squares["l"] = node("load_collection", result=True, id="a", temporal_extent=of("a59"))
    assert refused(squares)


def test_a_condition_chooses_between_arrays(s2: ml.Collection, in_threads: None):
    window = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)
    id = next(iter(s2.to_json()["process_graph"].values()))["arguments"]["id"]
    graph_ = {
        "nir": node("array_element", data=DATA, label="nir"), "red": node("array_element", data=DATA, label="red"),
        "k": node("array_create", data=[7, 8, 9]), "green": node("gt", x=of("nir"), y=0.3),
        "i": node("if", value=of("green"), accept=[0.5, of("red"), None], reject=of("k")),
        "a": node("array_create", result=True, data=of("i")),
    }  # fmt: skip
    document = {
        "l": node("load_collection", id=id, bands=["red", "nir"]),
        "m": node("reduce_dimension", data=of("l"), dimension="t", reducer=MEDIAN),
        "d": node("apply_dimension", result=True, data=of("m"), dimension="bands", process={"process_graph": graph_}),
    }
    found = ml.Chain.from_json(document).compute(window)
    red, nir = s2.bands("red", "nir").median("t").compute(window).values
    assert 0 < (nir > np.float32(0.3)).mean() < 1
    expected = [np.where(nir > np.float32(0.3), yes, no) for yes, no in ((0.5, 7), (red, 8), (np.nan, 9))]
    np.testing.assert_array_equal(found.values, np.array(expected, np.float32))


def test_a_process_of_values_on_a_cube_is_applied():
    scale = {"inputMin": 0, "inputMax": 1, "outputMax": 100}
    written = {"l": LOAD, "s": node("linear_scale_range", result=True, x=of("l"), **scale)}
    applied = {"l": LOAD, "a": node("apply", result=True, data=of("l"),
                                    process=callback("linear_scale_range", x=X, **scale))}  # fmt: skip
    assert one(written).hash == one(applied).hash
    two = {"l": LOAD, "m": LOAD, "s": node("subtract", result=True, x=of("l"), y=of("m"))}
    assert "outside of callbacks" in str(refused(two))
    assert "outside of callbacks" in str(refused({"l": LOAD, "s": node("mean", result=True, data=of("l"))}))


def test_numbers_of_bands_may_have_a_zero():
    meta = Meta(bands=("B02", "B04", "B8A"))
    assert [meta.find(name) for name in ("B2", "B4", "B08A", "B8A")] == ["B02", "B04", "B8A", "B8A"]
    assert Meta(bands=("B1", "B10")).find("B01") == "B1"
    assert Meta(bands=("B4", "B04")).find("B4") == "B4"
    for name in ("B1", "B11", "B8", "C04"):
        with pytest.raises(MusesError, match="no band"):
            meta.find(name)


# ------------------------------------------------------------------------------------------------ dimensions, extents


@pytest.mark.parametrize("name", ["t", "time", "temporal", "date"])
def test_dimensions_have_any_name(name: str):
    document = {**PLAIN, "r": node("reduce_dimension", result=True, data=of("l"), dimension=name, reducer=MEDIAN)}
    assert one(document).hash == one(PLAIN).hash
    renamed = {
        "l": LOAD,
        "n": node("rename_dimension", data=of("l"), source=name, target="when"),
        "a": node("apply", data=of("n"), process=callback("absolute", x=X)),
        "r": node("reduce_dimension", result=True, data=of("a"), dimension="when", reducer=MEDIAN),
    }
    plain = {
        "l": LOAD,
        "a": node("apply", data=of("l"), process=callback("absolute", x=X)),
        "r": node("reduce_dimension", result=True, data=of("a"), dimension="t", reducer=MEDIAN),
    }
    assert one(renamed).hash == one(plain).hash
    swapped = {**renamed, "n": node("rename_dimension", data=of("l"), source="heights", target="when")}
    assert refused(swapped).openeo == "DimensionNotAvailable"
    taken = {**renamed, "n": node("rename_dimension", data=of("l"), source=name, target="x")}
    assert refused(taken).openeo == "DimensionExists"
    bands = {**PLAIN, "r": node("reduce_dimension", result=True, data=of("l"), dimension="spectral", reducer=MEDIAN)}
    assert one(bands).arguments["dimension"] == "bands"


def test_extents_in_all_their_forms():
    def extent(value: Any) -> Any:
        return loading(one({"l": node("load_collection", id="s2", spatial_extent=value)})).get("spatial_extent")

    expected = {**BOX, "crs": 4326}
    assert extent({**BOX, "crs": None}) == extent([1, 43, 2, 44]) == extent({**BOX, "crs": 4326}) == expected
    with pytest.warns(openeo_plainer.OpeneoWarning, match="'base'"):
        assert extent({**BOX, "base": 0, "height": None}) == expected
    utm = {"west": 300_000, "south": 4_800_000, "east": 310_000, "north": 4_810_000, "crs": 32631}
    assert extent(utm) == utm
    ring = [[1, 43], [2, 43], [2, 44], [1, 43]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    assert extent(polygon) == polygon
    error = refused({"l": node("load_collection", id="s2", spatial_extent={"type": "Circle"})})
    assert error.openeo == "ProcessParameterInvalid" and error.details["argument"] == "spatial_extent"
    error = refused({"l": node("load_collection", id="s2", featureflags={"tilesize": 1})})
    assert error.openeo == "ProcessParameterUnsupported" and error.details["argument"] == "featureflags"
    cropped = {"l": LOAD, "f": node("filter_bbox", result=True, data=of("l"), extent=polygon)}
    assert one(cropped).arguments["extent"] == expected


def test_a_place_chooses_scenes_and_crops(s2: ml.Collection, in_threads: None):
    window = ml.Window.from_bounds((1.40, 43.58, 1.41, 43.59), crs="EPSG:32631", resolution=20)
    id = next(iter(s2.to_json()["process_graph"].values()))["arguments"]["id"]
    ring = [[1.402, 43.582], [1.408, 43.582], [1.405, 43.588], [1.402, 43.582]]
    polygon = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}

    def computed(extent: Any) -> np.ndarray:
        load = node("load_collection", id=id, bands=["red"], spatial_extent=extent)
        reduced = node("reduce_dimension", result=True, data=of("l"), dimension="t", reducer=MEDIAN)
        return ml.Chain.from_json({"l": load, "r": reduced}).compute(window).values

    whole = s2.bands("red").median("t")
    np.testing.assert_array_equal(computed(polygon), whole.mask_polygon(polygon["geometry"]).compute(window).values)
    box = {"west": 1.402, "south": 43.582, "east": 1.408, "north": 43.588}
    np.testing.assert_array_equal(computed(box), whole.crop(1.402, 43.582, 1.408, 43.588).compute(window).values)
    with pytest.raises(MusesError, match="no scene"):
        computed({"west": 20, "south": 10, "east": 21, "north": 11})


# ----------------------------------------------------------------------------------------------------------- conditions

VALUE = {"from_parameter": "value"}


def condition(graph_: dict[str, Any]) -> str | None:
    document = {"l": node("load_collection", id="s2", properties={"a:b": {"process_graph": graph_}})}
    return as_text(loading(one(document))["properties"])


def test_platforms_are_spelt_as_items_spell_them():
    def written(process: str, name: str) -> str | None:
        load = node("load_collection", id="s2", properties={"platform": callback(process, x=VALUE, y=name)})
        return as_text(loading(one({"l": load}))["properties"])

    assert written("eq", "sentinel-2b") == "\"platform\" = 'sentinel-2b'"
    assert written("eq", "Sentinel-2B") == "\"platform\" IN ('Sentinel-2B', 'sentinel-2b')"
    assert written("neq", "LANDSAT_8") == "NOT (\"platform\" IN ('LANDSAT_8', 'landsat-8'))"


def test_conditions_are_cql2():
    assert condition({"c": node("lte", x=VALUE, y=5)}) == '"a:b" <= 5'
    assert condition({"c": node("lt", x=5, y=VALUE)}) == '"a:b" > 5'
    assert condition({"c": node("between", x=VALUE, min=1, max=2.5)}) == '("a:b" >= 1 AND "a:b" <= 2.5)'
    assert condition({"c": node("text_begins", data=VALUE, pattern="31%")}) == "\"a:b\" LIKE '31\\%%'"
    either = {
        "p": node("eq", x=VALUE, y="it's"),
        "q": node("eq", x=VALUE, y="b"),
        "o": node("or", x=of("p"), y=of("q")),
    }
    assert condition(either) == "((\"a:b\" = 'it''s' OR \"a:b\" = 'b'))"
    negated = {"p": node("eq", x=VALUE, y=1), "o": node("not", x=of("p"))}
    assert condition(negated) == 'NOT ("a:b" = 1)'
    with pytest.raises(DocumentError, match="'add'"):
        condition({"c": node("add", x=VALUE, y=1)})
    outside = {"l": LOAD, "a": node("apply", result=True, data=of("l"),
                                    process=callback("text_begins", data=X, pattern="a"))}  # fmt: skip
    assert "only properties" in str(refused(outside))


@pytest.mark.parametrize(
    ("process", "arguments", "text"),
    [
        ("between", {"x": VALUE, "min": 10, "max": 60}, "eo:cloud_cover >= 10 AND eo:cloud_cover <= 60"),
        ("gt", {"x": 60, "y": VALUE}, "eo:cloud_cover < 60"),
    ],
)
def test_conditions_find_the_same_scenes(s2: ml.Collection, process: str, arguments: dict[str, Any], text: str):
    id = next(iter(s2.to_json()["process_graph"].values()))["arguments"]["id"]
    load = node("load_collection", id=id, properties={"eo:cloud_cover": callback(process, **arguments)})
    (found,) = ml.Chain.from_json({"l": load}).published.scenes.values()
    assert sorted(s.id for s in found.scenes) == sorted(i["id"] for i in s2.filter(text).items)


# --------------------------------------------------------------------------------------------------------- exceptions


def test_errors_have_openeo_s_names():
    assert refused({"a": node("load_colection", result=True)}).openeo == "ProcessUnsupported"
    assert refused({"a": node("load_collection", result=True)}).openeo == "ProcessParameterMissing"
    error = refused({"a": node("load_collection", result=True, id=5)})
    assert error.to_json()["openeo"] == "ProcessParameterInvalid"
    assert refused({}).openeo == "ProcessGraphMissing"


def test_reading_has_limits():
    deep: Any = 1
    for _ in range(80):
        deep = [deep]
    assert "nested too deeply" in str(refused({"l": node("load_collection", id=deep)}))
    circle = {"a": node("inspect", data=of("b")), "b": node("inspect", result=True, data=of("a"))}
    assert "cycle" in str(refused(circle))
    assert "'c'" in str(refused({"a": node("inspect", result=True, data=of("c"))}))


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
    | st.sampled_from([of("a"), of("b"), of(1), X, DATA, LOAD, {"process_graph": {"p": node("add", x=X, y=of("a"))}}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["data", "x", "y", "extent", "arguments", "process_id", "process_graph", "from_node", "type",
                         "spatial_extent", "properties", "context", "parameters"]), inner, max_size=4),
    max_leaves=12,
), st.sampled_from(["save_result", "rename_dimension", "load_collection", "filter_bbox", "apply", "if", "add",
                    "inspect",
                    "add_dimension", "array_create", "reduce_dimension", "date_shift"]))  # fmt: skip
@settings(max_examples=examples(30), deadline=None)
def test_whatever_a_document_holds_is_read_or_refused(value: Any, process: str):
    arguments = value if isinstance(value, dict) else {"data": value}
    for document in (value, {"a": {"process_id": process, "arguments": arguments, "result": True}, "b": LOAD}):
        with suppress(MusesError):
            read(document, parameters={})


# ----------------------------------------------------------------------------------- labels, and what is refused


def test_labels_of_bands_are_constants_where_the_document_names_them():
    load = {"process_id": "load_collection", "arguments": {"id": "s2", "bands": ["B04", "B08"]}}
    labels = node("dimension_labels", data=of("l"), dimension="spectral")
    told = node("array_append", data=of("b"), value="NDVI")
    filtered = node("filter_bands", result=True, data=of("l"), bands=of("b"))
    assert one({"l": load, "b": labels, "f": filtered}).arguments["bands"] == ["B04", "B08"]
    renamed = node("rename_labels", data=of("l"), dimension="bands", target=["red", "nir"])
    after = node("dimension_labels", data=of("r"), dimension="bands")
    found = one(
        {"l": load, "r": renamed, "b": after, "f": {**filtered, "arguments": {"data": of("r"), "bands": of("b")}}}
    )
    assert found.arguments["bands"] == ["red", "nir"]
    one_more = node("array_element", data=of("t"), index=2)
    chosen = node("filter_bands", result=True, data=of("l"), bands=[of("e")])
    assert one({"l": load, "b": labels, "t": told, "e": one_more, "f": chosen}).arguments["bands"] == ["NDVI"]


@pytest.mark.parametrize(
    ("load", "dimension", "said"),
    [
        ({"id": "s2"}, "bands", "'load_collection' says no `bands`"),
        ({"id": "s2", "bands": ["red", "B08"]}, "bands", "'red', a common name"),
        ({"id": "s2", "bands": ["B04"]}, "t", "before scenes are found"),
        ({"id": "s2", "bands": ["B04"]}, "x", "have no labels"),
        ({"id": "s2", "bands": ["B04"]}, "depth", "no dimension 'depth'"),
    ],
)
def test_labels_that_are_not_known_are_refused(load, dimension: str, said: str):
    labels = node("dimension_labels", data=of("l"), dimension=dimension)
    chosen = node("filter_bands", result=True, data=of("l"), bands=of("b"))
    error = refused({"l": {**LOAD, "arguments": load}, "b": labels, "f": chosen})
    assert said in str(error) and error.details["node"] == "b"


@pytest.mark.parametrize("process", ["cloud_detection", "load_result", "sar_backscatter", "geocode"])
def test_processes_that_are_not_here_say_why(process: str):
    error = refused({"l": LOAD, "p": node(process, result=True, data=of("l"))})
    assert f"{process!r} here: " in str(error) and error.to_json()["openeo"] == "ProcessUnsupported"


def test_conditions_list_texts():
    listed = callback("array_contains", data=["Sentinel-2A", "Sentinel-2B"], value={"from_parameter": "value"})
    document = {"l": {**LOAD, "arguments": {"id": "s2", "properties": {"platform": listed}}, "result": True}}
    assert as_text(one(document).arguments["properties"]) == "\"platform\" IN ('Sentinel-2A', 'Sentinel-2B')"
    labels = callback("array_contains", data=["B04", "B08"], value={"from_parameter": "value"})
    chosen = node("filter_labels", result=True, data=of("l"), dimension="bands", condition=labels)
    condition = one({"l": LOAD, "f": chosen}).arguments["condition"]
    assert [holds(condition, label) for label in ("B04", "B05", "B08")] == [True, False, True]
    error = refused({"l": LOAD, "a": node("apply", result=True, data=of("l"), process=callback(
        "array_contains", data=["a"], value=X))})  # fmt: skip
    assert "may be compared with texts" in str(error)
