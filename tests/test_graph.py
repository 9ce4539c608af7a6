"""Chain documents: canonical, content-addressed, and refused with the node and argument named."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import muses_lab as ml
from muses_lab.document import graph
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import DocumentError, MusesError
from muses_lab.operators import registry
from tests.helpers.examples import examples

LOAD: dict[str, Any] = {"process_id": "load_collection", "arguments": {"id": "s2"}}
X = {"from_parameter": "x"}


def callback(process: str, /, **arguments: Any) -> dict[str, Any]:
    return {"process_graph": {"p": {"process_id": process, "arguments": arguments, "result": True}}}


def apply(source: str, process: str, /, **arguments: Any) -> dict[str, Any]:
    return {
        "process_id": "apply",
        "arguments": {"data": {"from_node": source}, "process": callback(process, **arguments)},
    }


def reduce(source: str, reducer: Any, dimension: str = "t") -> dict[str, Any]:
    arguments = {"data": {"from_node": source}, "dimension": dimension, "reducer": reducer}
    return {"process_id": "reduce_dimension", "arguments": arguments, "result": True}


def one(process: str, namespace: str | None = None, /, **arguments: Any) -> dict[str, Any]:
    """A graph of a collection and one process on it."""
    node = {"process_id": process, "arguments": {"data": {"from_node": "l"}, **arguments}, "result": True}
    return {"l": LOAD, "n": {**node, "namespace": namespace} if namespace else node}


def parse(document: Any) -> Node:
    return graph.parse(document, registry)


def digest(node: Node) -> str:
    return hashlib.sha256(graph.to_bytes(node)).hexdigest()


@contextmanager
def quickly(seconds: float = 4.0) -> Iterator[None]:
    """Processor time of this thread, generous: what is not linear takes minutes."""
    start = time.thread_time()
    yield
    took = time.thread_time() - start
    assert took < seconds, f"took {took:.2f} s"


def refused(document: Any) -> DocumentError:
    with quickly(), pytest.raises(DocumentError) as caught:
        parse(document)
    json.dumps(caught.value.to_json())  # travels in answers
    assert len(str(caught.value)) < 2_000
    return caught.value


EXAMPLE: dict[str, Any] = {
    "scenes": {
        "process_id": "load_collection",
        "arguments": {"id": "s2", "temporal_extent": ["2018-01-01", "2019-01-01"], "spatial_extent": None},
    },
    "index": {"process_id": "ndvi", "arguments": {"data": {"from_node": "scenes"}, "red": "red"}},
    "scaled": apply("index", "linear_scale_range", x=X, inputMin=-1, inputMax=1, outputMax=1.0),
    "result": reduce("scaled", callback("median", data={"from_parameter": "data"}, ignore_nodata=True)),
}


# ------------------------------------------------------------------------------------------------ canonical, hashed


def shuffled(value: Any, random: random.Random) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        random.shuffle(items)
        return {k: shuffled(v, random) for k, v in items}
    return [shuffled(v, random) for v in value] if isinstance(value, list) else value


def renamed(graph_: dict[str, Any], prefix: str) -> dict[str, Any]:
    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"from_node"}:
                return {"from_node": prefix + value["from_node"]}
            return {k: walk(v) for k, v in value.items()}
        return [walk(v) for v in value] if isinstance(value, list) else value

    return {prefix + name: walk(node) for name, node in graph_.items()}


def test_a_hash_does_not_depend_on_how_a_document_is_written():
    plain = digest(parse(EXAMPLE))
    assert digest(parse(renamed(EXAMPLE, "zz-"))) == plain
    assert digest(parse({"process_graph": EXAMPLE})) == plain
    assert digest(parse({"title": "mine", "process": {"process_graph": EXAMPLE, "id": "mine"}})) == plain
    for seed in range(5):
        assert digest(parse(shuffled(EXAMPLE, random.Random(seed)))) == plain
    without_defaults = copy.deepcopy(EXAMPLE)
    del without_defaults["scenes"]["arguments"]["spatial_extent"]
    del without_defaults["index"]["arguments"]["red"]
    del without_defaults["scaled"]["arguments"]["process"]["process_graph"]["p"]["arguments"]["outputMax"]
    del without_defaults["result"]["arguments"]["reducer"]["process_graph"]["p"]["arguments"]["ignore_nodata"]
    without_defaults["index"]["arguments"]["nir"] = "nir"
    without_defaults["scaled"]["arguments"]["context"] = None
    assert digest(parse(without_defaults)) == plain
    unused = {**EXAMPLE, "unused": LOAD}
    assert digest(parse(unused)) == plain


def test_a_hash_is_the_same_in_another_process():
    code = (
        "import sys, json, hashlib; from muses_lab.document import graph; from muses_lab.operators import registry;"
        "print(hashlib.sha256(graph.to_bytes(graph.parse(sys.stdin.read(), registry))).hexdigest())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(EXAMPLE), text=True, capture_output=True, check=True,
        env={"PYTHONHASHSEED": "4711", "PATH": ""},
    )  # fmt: skip
    assert answer.stdout.strip() == digest(parse(EXAMPLE))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("index", "arguments", "red"), "B05"),
        (("scenes", "arguments", "id"), "s3"),
        (("scaled", "arguments", "process", "process_graph", "p", "arguments", "inputMin"), -0.5),
        (("result", "arguments", "dimension"), "bands"),
    ],
)
def test_another_argument_gives_another_hash(path: tuple[str, ...], value: Any):
    changed = copy.deepcopy(EXAMPLE)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert digest(parse(changed)) != digest(parse(EXAMPLE))


def test_documents_are_canonical_json():
    body = graph.to_bytes(parse(EXAMPLE))
    assert rfc8785.dumps(json.loads(body)) == body
    document = json.loads(body)
    assert set(document) == {"process_graph", "muses:operators"}
    assert set(document["process_graph"]) == {"loadcollection1", "ndvi1", "apply1", "reducedimension1"}
    assert document["process_graph"]["ndvi1"]["arguments"] == {"data": {"from_node": "loadcollection1"}}
    used = {"load_collection", "ndvi", "apply", "linear_scale_range", "reduce_dimension", "median"}
    assert document["muses:operators"] == {p: registry[p].version for p in used}


def test_numbers_are_written_in_one_way():
    assert digest(parse(one("apply_kernel", kernel=[[1.0]], factor=2.0))) == digest(
        parse(one("apply_kernel", kernel=[[1]], factor=2))
    )
    chain = ml.Chain(parse({"l": {**LOAD, "result": True}}))
    assert (chain + 1).identical(chain + 1.0)
    assert not (chain + 1).identical(chain + 1.5)
    assert not (chain + 0).identical(chain + 1)
    assert not (chain > 1).identical(chain > True)


def test_equal_expressions_are_one_node():
    def index() -> Node:
        return registry.node("ndvi", data=registry.node("load_collection", id="s2"))

    both = registry.node("merge_cubes", cube1=index(), cube2=index(), overlap_resolver=_adding())
    document = graph.to_document(both)["process_graph"]
    assert sorted(document) == ["loadcollection1", "mergecubes1", "ndvi1"]
    assert len(graph.walk(both)) == 3
    again = parse(renamed(document, "a-") | {"unused": LOAD})
    assert again.hash == both.hash and len(graph.walk(again)) == 3
    # the same written twice in a document
    twice = {"a": LOAD, "b": LOAD, "i": one("ndvi")["n"] | {"arguments": {"data": {"from_node": "a"}}, "result": False}}
    twice["j"] = {"process_id": "ndvi", "arguments": {"data": {"from_node": "b"}}}
    twice["m"] = {
        "process_id": "merge_cubes",
        "arguments": {
            "cube1": {"from_node": "i"},
            "cube2": {"from_node": "j"},
            "overlap_resolver": callback("add", x=X, y={"from_parameter": "y"}),
        },
        "result": True,
    }
    assert parse(twice).hash == both.hash


def _adding() -> Callback:
    return Callback(registry.node("add", inside_callback=True, x=Parameter("x"), y=Parameter("y")))


# ------------------------------------------------------------------------------------------------------ round trips

NUMBERS = st.one_of(
    st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False, width=64), st.booleans()
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def scalar_graphs(draw: st.DrawFn, parameters: tuple[str, ...]) -> Node:
    """A graph of scalar processes over the parameters of a callback."""
    values: list[Any] = [Parameter(p) for p in parameters]

    def value() -> Any:
        return draw(st.sampled_from(values)) if draw(st.booleans()) else draw(NUMBERS)

    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(("binary", "unary", "test", "list", "if", "range")))
        if kind == "binary":
            ids = ("add", "subtract", "multiply", "divide", "gt", "eq", "and", "xor", "normalized_difference")
            made = _scalar(draw(st.sampled_from(ids)), x=value(), y=value())
        elif kind == "unary":
            made = _scalar(draw(st.sampled_from(("absolute", "sqrt", "not", "is_nodata", "floor"))), x=value())
        elif kind == "test":
            made = _scalar("array_contains", data=draw(st.lists(NUMBERS, min_size=1, max_size=4)), value=value())
        elif kind == "list":
            made = _scalar(draw(st.sampled_from(("mean", "max", "median"))), data=[value(), value()])
        elif kind == "if":
            made = _scalar("if", value=value(), accept=value(), reject=draw(st.none() | NUMBERS))
        else:
            low, high = sorted(draw(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2, unique=True)))
            made = _scalar("linear_scale_range", x=value(), inputMin=low, inputMax=high)
        values.append(made)
    return values[-1]


def _scalar(process: str, /, **arguments: Any) -> Node:
    # booleans are numbers to pydantic's strict mode nowhere: lists of settings hold numbers only
    if process == "array_contains":
        arguments["data"] = [float(v) for v in arguments["data"]]
    return registry.node(process, inside_callback=True, **arguments)


@st.composite
def chains(draw: st.DrawFn) -> Node:
    """A graph of cubes built from the registry."""
    dates = draw(st.none() | st.just(["2018-01-01", "2019-01-01"]) | st.just([None, "2019-01-01T12:00:00Z"]))
    cubes = [registry.node("load_collection", id=draw(NAMES), temporal_extent=dates)]
    for _ in range(draw(st.integers(0, 6))):
        data = draw(st.sampled_from(cubes))
        kind = draw(st.sampled_from(("apply", "reduce", "merge", "mask", "bands", "kernel", "focal", "region", "ndvi")))
        if kind == "apply":
            made = registry.node("apply", data=data, process=Callback(draw(scalar_graphs(("x",)))))
        elif kind == "reduce":
            series = registry.node("median", inside_callback=True, data=Parameter("data"))
            top = registry.node("add", inside_callback=True, x=series, y=draw(NUMBERS))
            dimension = draw(st.sampled_from(("t", "bands")))
            made = registry.node("reduce_dimension", data=data, reducer=Callback(top), dimension=dimension)
        elif kind == "merge":
            resolver = draw(st.none() | scalar_graphs(("x", "y")))
            made = registry.node(
                "merge_cubes", cube1=data, cube2=draw(st.sampled_from(cubes)),
                overlap_resolver=resolver and Callback(resolver),
            )  # fmt: skip
        elif kind == "mask":
            replacement = draw(st.none() | st.floats(-10, 10))
            made = registry.node("mask", data=data, mask=draw(st.sampled_from(cubes)), replacement=replacement)
        elif kind == "bands":
            made = registry.node("filter_bands", data=data, bands=draw(st.lists(NAMES, min_size=1, max_size=3)))
        elif kind == "kernel":
            row = st.lists(st.floats(-10, 10), min_size=3, max_size=3)
            made = registry.node("apply_kernel", data=data, kernel=draw(st.lists(row, min_size=1, max_size=1)))
        elif kind == "focal":
            radius, unit = draw(st.floats(0.5, 60)), draw(st.sampled_from(("px", "m")))
            made = registry.node("muses:focal_mean", data=data, radius=radius, unit=unit)
        elif kind == "region":
            box = {"west": 0.0, "south": 0.0, "east": 1.0, "north": draw(st.floats(0.5, 2))}
            made = registry.node("muses:otsu", data=data, extent=draw(st.none() | st.just(box)), bins=64)
        else:
            made = registry.node("ndvi", data=data, target_band=draw(st.none() | NAMES))
        cubes.append(made)
    return cubes[-1]


@given(chains())
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow])
def test_document_to_chain_to_document(root: Node):
    body = graph.to_bytes(root)
    again = parse(body)
    assert again.hash == root.hash
    assert graph.to_bytes(again) == body
    assert graph.to_bytes(parse(graph.to_document(root))) == body
    rebuilt = graph.rebuild(root, lambda node, arguments: registry.node(node.process, **arguments))
    assert rebuilt.hash == root.hash


# ----------------------------------------------------------------------------------------------------------- errors


def named(error: DocumentError, node: str | None = None, argument: str | None = None) -> str:
    """The text of an error that names the node and the argument, in words and in its details."""
    if node is not None:
        assert error.details["node"] == node and repr(node) in str(error)
    if argument is not None:
        assert error.details["argument"] == argument and repr(argument) in str(error)
    return str(error)


def test_unknown_processes_are_named_with_what_was_meant():
    error = refused({"a": {"process_id": "load_colection", "arguments": {"id": "x"}, "result": True}})
    assert "'load_collection'" in named(error, "a")
    error = refused(one("focal_mean", "mused"))
    assert "'muses:focal_mean'" in named(error, "n")
    inside = refused({"l": LOAD, "a": {**apply("l", "ad", x=X, y=1), "result": True}})
    assert "or 'add'?" in named(inside, "a/process/p")


@pytest.mark.parametrize(
    "edges",
    [{"a": "b", "b": "a"}, {"a": "a"}, {"a": "b", "b": "c", "c": "b"}],
    ids=["two", "itself", "beside the result"],
)
def test_cycles_are_named(edges: dict[str, str]):
    document = {name: apply(target, "absolute", x=X) for name, target in edges.items()}
    document["a"]["result"] = True
    error = refused(document)
    assert "cycle" in str(error) and error.details["node"] in edges


def test_a_long_cycle_is_found_without_recursion():
    document = {f"n{i}": apply(f"n{(i + 1) % 4000}", "absolute", x=X) for i in range(4000)}
    document["n0"]["result"] = True
    assert "cycle" in str(refused(document))


def test_references_to_nothing_are_named():
    error = refused({"a": {**apply("b", "absolute", x=X), "result": True}})
    assert "'b'" in named(error, "a")
    # a callback cannot refer to nodes outside of it
    error = refused({"l": LOAD, "a": {**apply("l", "add", x=X, y={"from_node": "l"}), "result": True}})
    assert "'l'" in named(error, "a/process/p")


WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("load_collection", "id", {"id": 5}, "text"),
    ("load_collection", "temporal_extent", {"id": "x", "temporal_extent": "2018"}, "list"),
    ("load_collection", "temporal_extent", {"id": "x", "temporal_extent": ["2018-01-01"]}, "2"),
    ("load_collection", "temporal_extent", {"id": "x", "temporal_extent": ["yesterday", None]}, "ISO 8601"),
    ("load_collection", "temporal_extent", {"id": "x", "temporal_extent": ["2019-01-01", "2018-01-01"]}, "before"),
    ("load_collection", "spatial_extent", {"id": "x", "spatial_extent": {"west": 0}}, "south"),
    (
        "load_collection",
        "spatial_extent",
        {"id": "x", "spatial_extent": {"west": 2, "south": 0, "east": 1, "north": 1}},
        "less than east",
    ),
    ("load_collection", "bands", {"id": "x", "bands": []}, "at least 1"),
    ("load_collection", "properties", {"id": "x", "properties": {"p": 5}}, "process graph"),
    ("load_collection", "properties", {"id": "x", "properties": []}, "object"),
    ("filter_bands", "bands", {"bands": "B04"}, "list"),
    ("filter_bands", "data", {"data": 5, "bands": ["B04"]}, "data cube"),
    ("filter_bands", "data", {"data": X, "bands": ["B04"]}, "data cube"),
    ("filter_temporal", "extent", {"extent": None}, "list"),
    ("apply", "process", {"process": "add"}, "process graph"),
    (
        "reduce_dimension",
        "dimension",
        {"dimension": "x", "reducer": callback("mean", data={"from_parameter": "data"})},
        "'t'",
    ),
    ("reduce_dimension", "reducer", {"dimension": "t", "reducer": None}, "process graph"),
    ("mask", "mask", {"mask": True}, "data cube"),
    ("mask", "replacement", {"mask": {"from_node": "l"}, "replacement": "0"}, "number"),
    ("apply_kernel", "kernel", {"kernel": [[1, 2], [3, 4]]}, "odd"),
    ("apply_kernel", "kernel", {"kernel": [[1, 2, 3], [3]]}, "same length"),
    ("apply_kernel", "border", {"kernel": [[1]], "border": "torus"}, "reflect"),
    ("ndvi", "nir", {"nir": ["B08"]}, "string"),
    ("resample_spatial", "resolution", {"resolution": -5, "projection": 4326}, "greater than"),
    ("muses:focal_mean", "radius", {"radius": "2"}, "number"),
    ("muses:focal_mean", "radius", {"radius": True}, "number"),
    ("muses:focal_mean", "radius", {"radius": 0}, "greater than 0"),
    ("muses:focal_mean", "unit", {"unit": "km"}, "'px' or 'm'"),
    ("muses:connected_components", "connectivity", {"connectivity": 6}, "4 or 8"),
    ("muses:otsu", "bins", {"bins": 2.5}, "integer"),
    ("muses:otsu", "extent", {"extent": {"from_node": "l"}}, "not another node"),
]


@pytest.mark.parametrize(("process", "argument", "arguments", "says"), WRONG)
def test_wrong_arguments_are_named(process: str, argument: str, arguments: dict[str, Any], says: str):
    document = one(process, **arguments)
    if process == "load_collection":
        del document["n"]["arguments"]["data"]
    assert says in named(refused(document), "n", argument) or says == "text"


WRONG_IN_CALLBACKS: list[tuple[dict[str, Any], str]] = [
    (callback("add", x=X, y="1"), "number"),
    (callback("add", x=X, y=[1]), "number"),
    (callback("add", x=X, y={"a": 1}), "number"),
    (callback("mean", data=X), "array"),
    (callback("eq", x=X, y="forest"), "only properties"),
    (callback("mean", data=["a"]), "array of numbers"),
    (callback("log", x=X, base=0), "no base of a logarithm"),
    (callback("muses:any_bit", x=X, bits=2**24), "less than"),
    (callback("linear_scale_range", x=X, inputMin=1, inputMax=1), "inputMin and inputMax must differ"),
    (callback("clip", x=X, min=2, max=1), "min must not be above max"),
    (callback("array_element", data=[X]), "either `index` or `label`"),
    (callback("array_contains", data=[], value=X), "at least 1"),
]


@pytest.mark.parametrize(("process", "says"), WRONG_IN_CALLBACKS)
def test_wrong_arguments_in_callbacks_are_named(process: dict[str, Any], says: str):
    error = refused(one("apply", process=process))
    assert says in str(error) and error.details["node"] in ("n/process/p", "n")


def test_missing_and_unknown_arguments_are_named():
    error = refused({"l": LOAD, "n": {"process_id": "filter_bands", "arguments": {"bands": ["a"]}, "result": True}})
    assert "needs" in named(error, "n", "data")
    error = refused({"n": {"process_id": "load_collection", "result": True}})
    assert "needs" in named(error, "n", "id")
    error = refused(one("ndvi", green="B03"))
    assert "it has data, nir, red, target_band" in named(error, "n", "green")
    error = refused(one("ndvi", context={"a": 1}))
    assert error.details["argument"] == "context"


@pytest.mark.parametrize("count", [0, 2, 3])
def test_exactly_one_node_is_the_result(count: int):
    document = {f"n{i}": {**LOAD, "result": i < count} for i in range(3)}
    text = str(refused(document))
    assert "exactly one" in text and ("none" in text) == (count == 0)
    inside = {"process_graph": {f"p{i}": {"process_id": "absolute", "arguments": {"x": X}} for i in range(2)}}
    assert "in the callback of 'n/process'" in str(refused(one("apply", process=inside)))


@pytest.mark.parametrize("process", ["ndvi", "apply", "load_collection", "muses:erode"])
def test_cubes_stay_outside_of_callbacks(process: str):
    arguments: dict = {"id": "x"} if process == "load_collection" else {"data": X}
    if process == "apply":
        arguments["process"] = callback("absolute", x=X)
    error = refused(one("apply", process=callback(process, **arguments)))
    assert "inside a callback" in named(error, "n", "process")


def test_scalar_processes_stay_inside_callbacks():
    document = {"l": LOAD, "n": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
    assert "outside of callbacks" in named(refused(document), "n")


def test_callbacks_use_the_parameters_that_they_are_offered():
    error = refused(one("apply", process=callback("add", x=X, y={"from_parameter": "y"})))
    assert "'y'" in str(error) and "offers x" in named(error, "n", "process")
    error = refused(one("reduce_dimension", dimension="t", reducer=callback("absolute", x=X)))
    assert "offers data" in named(error, "n", "reducer")
    error = refused(one("apply", process=callback("mean", data={"from_parameter": "data"})))
    assert "offers x" in named(error, "n", "process")
    hidden = callback("if", value=1, accept={"from_node": "q"})
    hidden["process_graph"]["q"] = {"process_id": "absolute", "arguments": {"x": {"from_parameter": "secret"}}}
    assert "'secret'" in named(refused(one("apply", process=hidden)), "n", "process")


def test_series_and_single_values_are_told_apart():
    quantiles = callback("quantiles", data={"from_parameter": "data"}, probabilities=[0.5])
    assert "gives one value" in named(refused(one("reduce_dimension", dimension="t", reducer=quantiles)), "n")
    series = callback("add", x={"from_parameter": "data"}, y=1)
    assert "gives one value" in str(refused(one("reduce_dimension", dimension="t", reducer=series)))
    quantiles["process_graph"]["p"]["result"] = False
    quantiles["process_graph"]["e"] = {
        "process_id": "array_element",
        "arguments": {"data": {"from_node": "p"}, "index": 0},
        "result": True,
    }
    assert parse(one("reduce_dimension", dimension="t", reducer=quantiles)).process == "reduce_dimension"


def test_operator_versions_must_be_known():
    document = graph.to_document(parse(EXAMPLE))
    assert parse(document).hash == parse(EXAMPLE).hash
    error = refused({**document, "muses:operators": {**document["muses:operators"], "median": "99"}})
    assert "version '99' of 'median'" in str(error) and error.details["process"] == "median"
    error = refused({**document, "muses:operators": {"medien": "1"}})
    assert "did you mean 'median'" in str(error)
    assert "versions" in str(refused({**document, "muses:operators": ["median"]}))


# ----------------------------------------------------------------------------------------- hostile and huge documents


def test_too_many_nodes_is_an_error_and_fast():
    document = {"n0": LOAD} | {f"n{i}": apply(f"n{i - 1}", "add", x=X, y=i) for i in range(1, 10_000)}
    document["n9999"]["result"] = True
    assert str(graph.MAX_NODES) in str(refused(document))
    flat = {f"n{i}": LOAD for i in range(10_000)}
    flat["n0"] = {**LOAD, "result": True}
    assert "too many nodes" in str(refused(flat))
    inside = {f"p{i}": {"process_id": "absolute", "arguments": {"x": X}} for i in range(10_000)}
    assert "too many nodes" in str(refused(one("apply", process={"process_graph": inside})))


def test_what_is_written_can_be_read_again():
    node = registry.node("load_collection", id="x")
    for i in range(graph.MAX_NODES):
        callback_ = Callback(registry.node("add", inside_callback=True, x=Parameter("x"), y=i % 3))
        node = registry.node("apply", data=node, process=callback_)
    with pytest.raises(DocumentError, match="too many nodes"):
        graph.to_bytes(node)
    wide = registry.node("load_collection", id="x" * graph.MAX_BYTES)
    with pytest.raises(DocumentError, match="bytes"):
        graph.to_bytes(wide)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested too deeply"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        ('{"x": "' + "y" * (4 << 20) + '"}', "bytes"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e999}', "inf"),
        ('{"a": ' + "9" * 4000 + "}", "too large"),
        ('{"a": ' + "9" * 10_000 + "}", "not JSON"),
        ('{"\\ud800": 1}', "surrogate"),
        ('{"a": "\\udc00"}', "surrogate"),
        ("{", "not JSON"),
        ("", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"{\x00}", "not JSON"),
        ("[]", "non-empty object"),
        ("{}", "non-empty object"),
        ("null", "non-empty object"),
        ('"text"', "non-empty object"),
        ('{"process_graph": []}', "non-empty object"),
        ('{"a": 5}', "`process_id`"),
        ('{"a": {"process_id": 5}}', "`process_id`"),
        ('{"a": {"process_id": "x", "arguments": []}}', "`arguments`"),
        ('{"a": {"process_id": "x", "namespace": {}}}', "`namespace`"),
    ],
    ids=lambda v: repr(v)[:24],
)
def test_what_is_no_document_is_refused(text: str | bytes, says: str):
    with quickly(), pytest.raises(DocumentError, match=says) as caught:
        parse(text)
    assert len(str(caught.value)) < 500


def test_python_values_that_json_has_not_are_refused():
    for value in (
        {1: LOAD},
        {None: 1},
        {"a": {1, 2}},
        {"a": b"x"},
        {"a": float("nan")},
        {"a": 2**53 + 1},
        {"a": object()},
    ):
        refused(value)
    endless: dict[str, Any] = {}
    endless["a"] = endless
    assert "nested" in str(refused(endless))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "\ud800"])
def test_chains_that_no_document_can_hold_are_refused_when_built(value: Any):
    chain = ml.Chain(registry.node("load_collection", id="x"))
    with pytest.raises(MusesError):
        _ = chain._with("mask", data=chain._node, mask=chain._node, replacement=value)
    if not isinstance(value, str):
        with pytest.raises(MusesError):
            _ = chain + value


@pytest.mark.parametrize("value", [1e20, 2.0**53, -1e300, 1e-300, 0.1, 2**53, 2**60 + 1])
def test_large_and_small_numbers_survive(value: float):
    root = (ml.Chain(registry.node("load_collection", id="x")) + value)._node
    again = parse(graph.to_bytes(root))
    assert again.hash == root.hash and float(again.arguments["process"].root.arguments["y"]) == float(value)


def test_data_that_look_like_references_are_data():
    node = parse(
        {"l": {**LOAD, "arguments": {"id": "x", "spatial_extent": {"type": "P", "from_node": "l"}}, "result": 1 == 1}}
    )
    assert parse(graph.to_bytes(node)).hash == node.hash


def test_four_thousand_additions_are_linear():
    def build(n: int) -> ml.Chain:
        chain = ml.Chain(registry.node("load_collection", id="x"))
        for i in range(n):
            chain = chain + i
        return chain

    def spent(chain: ml.Chain) -> float:
        start = time.process_time()
        body = graph.to_bytes(chain._node)
        again = parse(body)
        graph.rebuild(again, lambda node, arguments: registry.node(node.process, **arguments))
        assert again.hash == chain._node.hash and len(graph.walk(again)) == len(graph.walk(chain._node))
        return time.process_time() - start

    with quickly(10):
        small, large = build(500), build(4000)
    assert len(graph.walk(large._node)) == 4001
    assert large.hash == hashlib.sha256(graph.to_bytes(large._node)).hexdigest()
    assert spent(large) < 8 * 3 * max(spent(small), 0.02)
    assert repr(large).endswith("3999>")  # as it was written, cut at its beginning


def test_expressions_that_double_are_not_walked_twice():
    chain = ml.Chain(registry.node("load_collection", id="x"))
    with quickly():
        for _ in range(200):
            chain = chain + chain
        assert len(graph.walk(chain._node)) == 201
        assert parse(chain.to_json()).hash == chain._node.hash


# ------------------------------------------------------------------------------------------------- mutated documents

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.just(2**60), st.just(10**400), st.floats(), st.just(""),
    st.just("x"), st.just("\ud800"), st.just([]), st.just({}), st.just({"from_node": "l"}), st.just({"from_node": 5}),
    st.just({"from_parameter": "data"}), st.just({"from_parameter": []}), st.just({"process_graph": {}}),
    st.just({"process_graph": None}), st.just([[]]), st.just([{"from_parameter": "x"}]), st.just(callback("add", x=1)),
    st.just({"west": 0, "south": 0, "east": "1", "north": 1}),
)  # fmt: skip
SEEDS: list[dict[str, Any]] = [
    {"process_graph": EXAMPLE, "muses:operators": {"ndvi": "1"}},
    one("apply_kernel", kernel=[[0, 1, 0]], factor=2),
    one("muses:otsu", extent={"west": 0, "south": 0, "east": 1, "north": 1}, resolution=10),
    one("mask", mask={"from_node": "l"}, replacement=0),
    one("reduce_dimension", dimension="bands", reducer=callback("mean", data=[1, 2])),
    {"l": {**LOAD, "arguments": {"id": "x", "properties": {"p": callback("lt", x={"from_parameter": "value"}, y=1)}},
           "result": True}},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, item in items for p in places(item, (*path, key)))]


@given(st.data())
@settings(max_examples=examples(80))
def test_mutated_documents_are_read_or_refused(data: st.DataObject):
    document = copy.deepcopy(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(document)))
        how = data.draw(st.sampled_from(("replace", "delete", "add", "rename")))
        if not path:
            continue
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        if how == "replace":
            parent[path[-1]] = copy.deepcopy(data.draw(JUNK))
        elif how == "delete":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            name = data.draw(st.sampled_from(("l", "n", "x", "data", "result", "namespace", "process_graph", "")))
            parent[name] = copy.deepcopy(data.draw(JUNK)) if how == "add" else parent.pop(path[-1])
    try:
        node = parse(document)
    except MusesError as error:
        json.dumps(error.to_json())
    else:
        assert parse(graph.to_bytes(node)).hash == node.hash
        json.dumps(ml.Chain(node).to_json())
    with suppress(MusesError):
        parse(json.dumps(document))
