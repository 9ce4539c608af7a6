"""Documents as an attacker writes them: every one is a chain, or an error that says why it is none."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.catalog.condition import MAX_BRACKETS, Condition
from muses_lab.catalog.query import QueryError
from muses_lab.document import graph
from muses_lab.errors import DocumentError, MusesError
from muses_lab.operators import registry
from muses_lab.operators.cubes import BBox, instant
from muses_lab.service.failures import public
from tests.helpers.hostile_documents import NUMBERS, TEXTS, chain, documents, mutated, places


def outcome(document: Any) -> str:
    try:
        root = graph.parse(document, registry)
    except MusesError as error:
        return error.code
    body = graph.to_bytes(root)
    assert graph.to_bytes(graph.parse(body, registry)) == body
    return "valid"


def outcomes(number: int, seed: int) -> Counter[str]:
    """What becomes of so many documents; memory stays what it was, and none takes long."""
    before, longest = psutil.Process().memory_info().rss, 0.0
    found: Counter[str] = Counter()
    for document in documents(number, seed):
        start = time.thread_time()
        found[outcome(document)] += 1
        longest = max(longest, time.thread_time() - start)
    assert psutil.Process().memory_info().rss - before < 200 << 20
    assert longest < 2
    return found


def test_random_and_mutated_documents_are_chains_or_refused() -> None:
    found = outcomes(5_000, seed=1)
    assert set(found) == {"valid", "document-invalid"}
    assert found["valid"] > 50, "the documents are too wild to reach what comes after the first check"


@pytest.mark.thorough
def test_a_hundred_thousand_random_and_mutated_documents_are_chains_or_refused() -> None:
    assert set(outcomes(100_000, seed=2)) == {"valid", "document-invalid"}


def nearly_valid(rng: random.Random) -> Any:
    """A valid document with one odd number or text, most of the time."""
    document = chain(rng)
    kept = ("process_id", "result", "from_node", "namespace", "from_parameter")
    leaves = [(c, k) for c, k in places(document) if not isinstance(c[k], dict | list) and k not in kept]
    if rng.random() < 0.3 or not leaves:
        return mutated(document, rng)
    container, key = rng.choice(leaves)
    container[key] = rng.choice(NUMBERS if rng.random() < 0.6 else TEXTS)
    return document


@pytest.mark.parametrize("number", [300, pytest.param(4_000, marks=pytest.mark.thorough)])
def test_what_is_published_is_planned_or_refused(sample_catalog: Path, fresh_home: Path, number: int) -> None:
    """Beyond the document: the catalogue is searched, grids and dates are worked out, tiles are planned."""
    ml.register_catalog(sample_catalog)
    rng = random.Random(number)
    found: Counter[str] = Counter()
    for _ in range(number):
        try:
            made = Chain.from_json(nearly_valid(rng))
            made.publish()
            made.plan(ml.Window.tile(12, 2064, 1495))
            found["planned"] += 1
        except MusesError as error:
            found[error.code] += 1
    assert found["planned"] > number // 50
    assert {"document-invalid", "band-unknown", "not-found"} <= set(found)


# ------------------------------------------------------------------------------------------------- deep and large


def nested(levels: int) -> dict[str, Any]:
    value: Any = {"from_parameter": "x"}
    for _ in range(levels):
        value = {"process_graph": {"c": {"process_id": "abs", "arguments": {"x": value}, "result": True}}}
    return value


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b"[" * 100 + b"]" * 100,
        json.dumps({"process_graph": nested(40)}).encode(),
        b'{"process_graph":{"n":{"process_id":"abs","arguments":{"x":' + b"9" * 100_000 + b"}}}}",
        b'{"process_graph":' + json.dumps({f"n{i}": {"process_id": "abs"} for i in range(9_001)}).encode() + b"}",
        b'"' + b"x" * (graph.MAX_BYTES + 1) + b'"',
    ],
    ids=["brackets", "objects", "a hundred", "callbacks", "digits", "nodes", "bytes"],
)
def test_deep_and_large_documents_are_refused(body: bytes) -> None:
    with pytest.raises(DocumentError, match="limit|not JSON|too deeply"):
        graph.parse(body, registry)


def test_a_document_of_a_thousand_steps_one_after_another_is_no_recursion() -> None:
    steps: dict[str, Any] = {"n0": {"process_id": "load_collection", "arguments": {"id": "s"}}}
    for i in range(1, 4_000):
        steps[f"n{i}"] = {
            "process_id": "focal_mean", "namespace": "muses", "arguments": {"data": {"from_node": f"n{i - 1}"}},
        }  # fmt: skip
    steps["n3999"]["result"] = True
    root = graph.parse(steps, registry)
    assert len(graph.walk(root)) == 4_000
    assert graph.parse(graph.to_bytes(root), registry).hash == root.hash


# ---------------------------------------------------------------------------------------------------- filters


DEADLY = {
    "brackets": "(" * 100_000 + "a = 1" + ")" * 100_000,
    "open brackets": "(" * 1_000,
    "empty brackets": "a = " + "(" * 25 + ")" * 25,
    "negations": "NOT " * 100_000 + "(a = 1)",
    "signs": "a = " + "-" * 100_000 + "1",
    "sums": "a = " + "+".join("1" * 100_000),
    "powers": "a = " + "^".join("1" * 20_000),
    "ands": " AND ".join(["a = 1"] * 50_000),
    "functions": "a = " + "f(" * 20_000 + "1" + ")" * 20_000,
    "geometries": "S_INTERSECTS(geometry, " + "GEOMETRYCOLLECTION(" * 50_000 + "POINT(1 1)" + ")" * 50_000 + ")",
}
"""CQL2's parser dies of these (and takes the process along), or would take for ever."""


@pytest.mark.parametrize("kind", DEADLY)
def test_filters_that_would_kill_the_parser_are_refused(kind: str) -> None:
    with pytest.raises(QueryError, match="limit|more than|is not CQL2") as refused:
        Condition(DEADLY[kind])
    assert len(refused.value.message) < 1_000


def test_filters_up_to_the_limits_do_not_kill_the_parser() -> None:
    """In a process of its own, with the stack of a thread."""
    code = f"""if True:
        import threading
        from muses_lab.catalog.condition import Condition, QueryError
        def ask():
            for text in ("NOT " * 490 + "(a = 1)", "a = " + "-" * 490 + "1", "a = " + "+".join("1" * 240),
                         "a = " + "^".join("1" * 240), " AND ".join(["a = 1"] * 120), "(" * {MAX_BRACKETS},
                         "a IN (" + ",".join(map(str, range(400))) + ")", "(" * 10 + "a = 1" + ")" * 10):
                try:
                    Condition(text).matches({{"id": "s", "properties": {{"a": 1}}}})
                except QueryError:
                    pass
            print("alive")
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-500:]


def test_brackets_in_texts_and_names_are_no_brackets() -> None:
    assert Condition("name = '" + "(" * 50 + "'").properties == {"name"}
    assert Condition('"odd((((((((((((name" = 1').properties == {"odd((((((((((((name"}
    assert Condition("id IN (" + ", ".join(f"'scene-{i}'" for i in range(300)) + ")").properties == {"id"}


# ------------------------------------------------------------------------------------------ places, dates, texts


@pytest.mark.parametrize(
    "crs",
    ["+proj=longlat +nadgrids=/etc/passwd", "+init=/etc/passwd:1", "/etc/passwd", "http://127.0.0.1/x", "WGS 84",
     "EPSG:99999", 0, -1, 10**18, "EPSG:4978", "EPSG:5773", "IAU:30100", "GEOGCS[\0]", "GEOGCS[" * 2_000],
)  # fmt: skip
def test_systems_that_are_unknown_or_not_on_earth_or_name_files_are_refused(crs: int | str) -> None:
    with pytest.raises(ValueError, match="neither a code|not known|no longitude|no way|has characters|not WKT"):
        BBox(west=0, south=0, east=1, north=1, crs=crs)
    with pytest.raises(DocumentError, match="projection"):
        load = registry.node("load_collection", id="s")
        registry.node("resample_spatial", data=load, resolution=10, projection=crs)


@pytest.mark.parametrize(
    "box",
    [(0, 89, 1, 91, 4326), (-1e308, 0, 1e308, 1, 4326), (1e9 - 1, 0, 1e9, 1, 32631), (-400, 0, 0, 1, 4326)],
)
def test_places_that_are_none_are_refused(box: tuple) -> None:
    west, south, east, north, crs = box
    with pytest.raises(ValueError, match="latitudes|no such place|less than or equal|greater than or equal"):
        BBox(west=west, south=south, east=east, north=north, crs=crs)


def test_far_dates_mean_what_they_say() -> None:
    """Nanoseconds since 1970 end in 2262: beyond it is the end of time, not the year 1816."""
    assert instant("9999-12-31") > instant("2261-01-01") > instant("2018-01-01") > instant("0001-01-01")
    assert instant("2018-01-01T02:00:00+02:00") == instant("2018-01-01")
    assert instant("0001-01-01T00:00:00+23:00") <= instant("1700-01-01")


@pytest.mark.parametrize(
    "text", ["\0" + "0\0" * 9, "/a" * 50_000, "http://" * 30_000, "/" * 100_000, "C:\\" * 40_000, "a." * 50_000]
)
def test_messages_are_made_fit_for_the_browser_whatever_they_quote(text: str) -> None:
    start = time.thread_time()
    assert "\0" not in public(f"the node {text!s} is odd")
    assert time.thread_time() - start < 2
