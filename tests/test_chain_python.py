"""A chain as Python code, and what differs between two chains."""

from __future__ import annotations

from typing import Any

import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError
from muses_lab.operators import Cube, Operator, registry
from tests.helpers.operator_examples import lines, run

pytestmark = pytest.mark.usefixtures("in_threads")


def rebuilt(chain: ml.Chain) -> ml.Chain:
    """What the code gives where somebody runs it."""
    scope: dict[str, Any] = {}
    exec(chain.to_python("made"), scope)
    return scope["made"]


@pytest.fixture
def ndvi(s2: ml.Collection) -> ml.Chain:
    return s2.mask_clouds().ndvi()


def code(chain: ml.Chain) -> str:
    return chain.to_python().partition("\n\n")[2].strip()


# ------------------------------------------------------------------------------------------------- as Python


@pytest.mark.parametrize("name", ["1x", "two words", "for", "", "ml", "x = 1; y", "a.b", None, 3])
def test_a_name_that_no_variable_can_have_is_refused(ndvi: ml.Chain, name: Any):
    with pytest.raises(ArgumentError, match="is no name that a variable can have here"):
        ndvi.to_python(name)


ELSEWHERE = ("load_stac", "load_url")
"""Their examples are of addresses that are not here."""


@pytest.mark.parametrize("op", [op for op in registry if op.id not in ELSEWHERE], ids=lambda op: op.id)
def test_the_examples_of_every_operator_are_built_again_by_their_code(op: Operator, s2: ml.Collection):
    for line in lines(op):
        chain = run(line, s2)
        if isinstance(chain, ml.Chain):
            assert rebuilt(chain).hash == chain.hash, line


def test_the_code_is_what_somebody_would_type(s2: ml.Collection, ndvi: ml.Chain):
    root = f"ml.collection('{s2.catalog.id}:sentinel-2-l2a')"
    negative = -ndvi
    for chain, expected in (
        (ndvi.median("t"), f"chain = {root}.mask_clouds().ndvi().median('t')"),
        (s2.mask_clouds(keep=[4, 5]), f"chain = {root}.mask_clouds(keep=[4, 5])"),
        (s2.mask_clouds(grow=60), f"chain = {root}.mask_clouds(grow=60)"),
        (s2.band("red").median("t") * 2 + 1, f"chain = ({root}.band('red').median('t') * 2) + 1"),
        (1 - ndvi.quantile(0.9), f"chain = 1 - {root}.mask_clouds().ndvi().quantile(0.9, 't')"),
        ((ndvi.max() > 0.5) ** 2, f"chain = ({root}.mask_clouds().ndvi().max('t') > 0.5) ** 2"),
        (-negative, f"chain = -(-{root}.mask_clouds().ndvi())"),
        (s2.dates("2018-03", "2018-06").limit(3), f"chain = {root}.dates('2018-03-01', '2018-06-01').limit(3)"),
        (s2.bbox(1.3, 43.5, 1.5, 43.7), f"chain = {root}.bbox(1.3, 43.5, 1.5, 43.7)"),
    ):
        assert code(chain) == expected
        assert rebuilt(chain).hash == chain.hash


def test_what_is_used_twice_gets_a_name(ndvi: ml.Chain):
    image = ndvi.median("t")
    chain = ml.where(image > 0.3, image, 0)
    lines = code(chain).splitlines()
    assert len(lines) == 2 and lines[1] == "chain = ml.where(median > 0.3, median, 0)"
    assert rebuilt(chain).hash == chain.hash
    side_by_side = ml.stack(image, low=image * 2, high=image.max() if False else image + 1)
    assert "ml.stack(median, low=median * 2, high=median + 1)" in code(side_by_side)
    assert rebuilt(side_by_side).hash == side_by_side.hash


def test_functions_of_series_are_functions_again(s2: ml.Collection, ndvi: ml.Chain):
    chain = s2.reduce_dimension(lambda data: (data["nir"] - data["red"]) / data["blue"], "bands")
    assert "lambda data: ((data['nir'] - data['red']) / data['blue'])" in code(chain)
    deep = ndvi.apply_dimension(lambda data: data.array_apply(lambda x, index: x * (index + 1)), "t")
    for one in (chain, deep, ml.hsv(ndvi.median("t"))):
        assert rebuilt(one).hash == one.hash


def test_a_deep_chain_and_one_that_names_a_part_often_stay_short(ndvi: ml.Chain):
    deep = ndvi.median("t")
    for _ in range(300):
        deep = deep * 0.5 + 0.5
    doubled = ndvi.median("t")
    for _ in range(40):  # written out in full it would have 2**40 terms
        doubled = doubled * doubled
    for chain in (deep, doubled):
        assert len(chain.to_python()) < 100 * len(list(graph_of(chain)))
        assert rebuilt(chain).hash == chain.hash


def graph_of(chain: ml.Chain) -> dict[str, Any]:
    return chain.to_json()["process_graph"]


def test_text_of_a_document_is_text_in_the_code(s2: ml.Collection):
    nasty = "x'); __import__('os').abort(); ('\n\""
    chain = s2.rename_bands({"red": nasty}).band(nasty)
    assert rebuilt(chain).hash == chain.hash
    loaded = ml.Chain.from_json({"n": {"process_id": "load_collection", "arguments": {"id": nasty}, "result": True}})
    assert rebuilt(loaded).hash == loaded.hash


def test_an_operator_of_the_notebook_is_called_by_its_name(ndvi: ml.Chain, own: None):
    @ml.operator
    def scaled(data: Cube, factor: float = 1.0) -> Cube:
        return data * factor

    chain = ndvi.median("t").scaled(factor=2)
    assert code(chain).endswith(".median('t').scaled(factor=2)") and rebuilt(chain).hash == chain.hash


def test_pinned_chains_and_those_of_documents_are_built_again(s2: ml.Collection, ndvi: ml.Chain):
    for chain in (s2.resolve(), ndvi.median("t").resolve(), ml.Chain.from_json(ndvi.max("t").to_json())):
        assert rebuilt(chain).hash == chain.hash


# ------------------------------------------------------------------------------------------------- what differs


def kinds(difference: ml.Difference) -> list[tuple[str, str]]:
    return [(step.kind, step.process) for step in difference.steps if step.kind not in ("same", "moved")]


def test_other_arguments_are_told_with_both_values(ndvi: ml.Chain):
    image = ndvi.median("t")
    found = ml.compare(image.focal_mean(3) > 0.4, image.focal_mean(5) > 0.4)
    (step,) = found.changed
    assert step.process == "muses:focal_mean" and dict(step.arguments) == {"radius": ("3", "5")}
    assert str(found) == "~ focalmean1 (radius: 3 → 5)" and repr(found) == "<Difference: 1 changed>"
    assert not found.is_same and found.steps[-1].kind == "moved"


def test_steps_that_only_one_of_them_has(ndvi: ml.Chain):
    image = ndvi.median("t")
    found = ml.compare(image.focal_mean(3), image)
    assert kinds(found) == [("removed", "muses:focal_mean")] and found.removed[0].before == "focalmean1"
    found = ml.compare(image, image.focal_mean(3) > 0.5)
    assert kinds(found) == [("added", "muses:focal_mean"), ("added", "apply")]
    assert str(found).splitlines() == ["+ focalmean1 (radius=3)", "+ apply1 (process=x > 0.5)"]
    found = ml.compare(ndvi.focal_mean(2).median("t"), ndvi.median("t"))
    assert kinds(found) == [("removed", "muses:focal_mean")]


def test_another_reducer_is_a_change_of_its_step(ndvi: ml.Chain):
    (step,) = ml.compare(ndvi.median("t"), ndvi.max("t")).changed
    assert dict(step.arguments) == {"reducer": ("median(data)", "max(data)")}


def test_the_same_chains(ndvi: ml.Chain):
    found = ml.compare(ndvi.median("t"), ml.Chain.from_json(ndvi.median("t").to_json()))
    assert found.is_same and str(found) == "the same chain" and repr(found) == "<Difference: the same chain>"
    assert ml.compare(ndvi.median("t").style(), ndvi.median("t")).is_same
    with pytest.raises(ArgumentError, match="takes two chains"):
        ml.compare(ndvi, 3)


def test_every_step_of_both_is_there_once(s2: ml.Collection, ndvi: ml.Chain):
    image, other = ndvi.median("t"), s2.ndwi().median("t")
    a = ml.where(image.focal_mean(2) > 0.3, image, other)
    b = ml.where(image > 0.3, image.focal_median(2), other * 2)
    found = ml.compare(a, b)
    before = [step.before for step in found.steps if step.before]
    after = [step.after for step in found.steps if step.after]
    assert sorted(before) == sorted(graph_of(a)) and sorted(after) == sorted(graph_of(b))
