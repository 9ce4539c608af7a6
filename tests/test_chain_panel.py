"""The chain panel: what it tells of the steps of a chain, and what it makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError, NotFound
from muses_widgets import ChainPanel, Map
from muses_widgets.sections.newest import Newest

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = ml.Window.from_bounds((1.40, 43.58, 1.42, 43.60), crs="EPSG:32631", resolution=20)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch):
    """What is done in threads is done before the call returns."""

    def take(self: Newest, message: dict[str, Any]) -> None:
        self._do(message, lambda: False)

    monkeypatch.setattr(Newest, "take", take)


@pytest.fixture
def ndvi(s2: ml.Collection) -> ml.Chain:
    return s2.mask_clouds().ndvi()


@pytest.fixture
def green(ndvi: ml.Chain) -> ml.Chain:
    return ndvi.median("t").focal_mean(3) > ml.parameter("threshold", 0.4, minimum=0, maximum=1)


def node(panel: ChainPanel, id: str) -> dict[str, Any]:
    return next(one for one in panel.drawn["nodes"] if one["id"] == id)


def test_each_step_tells_what_it_does_and_with_what(green: ml.Chain):
    panel = ChainPanel(green)
    titles = [one["title"] for one in panel.drawn["nodes"]]
    assert titles[-3:] == ["median over time", "focal mean", "x > 0.4"] and "sentinel-2-l2a" in titles
    assert node(panel, "focalmean1")["arguments"] == [{"name": "radius", "value": "3", "control": None, "told": False}]
    assert node(panel, "focalmean1")["says"].startswith("Mean of the valid values")
    (process,) = node(panel, "apply1")["arguments"]
    assert process["control"] == "threshold" and process["value"] == "x > 0.4"
    assert node(panel, "reducedimension2")["callbacks"] == [
        {"argument": "reducer", "formula": "median(data)", "steps": ["median(data)"]}
    ]
    assert panel.status()["steps"][-1]["title"] == "x > 0.4"
    assert repr(panel) == "<ChainPanel of This chain: 7 steps, ok>"


def test_rows_lead_from_what_is_read_to_the_result(ndvi: ml.Chain):
    image = ndvi.median("t")
    panel = ChainPanel(ml.where(image > 0.3, image, ndvi.max("t") * 2))
    rows = {one["id"]: one["row"] for one in panel.drawn["nodes"]}
    places = [(one["row"], round(one["x"], 3)) for one in panel.drawn["nodes"]]
    assert len(set(places)) == len(places), "no two steps lie upon one another"
    assert all(rows[edge["from"]] < rows[edge["to"]] for edge in panel.drawn["edges"])
    links = [(source["id"], one["id"]) for one in panel.drawn["nodes"] for source in one["inputs"]]
    assert sorted({(edge["from"], edge["to"]) for edge in panel.drawn["edges"]}) == sorted(set(links))


def test_the_cost_of_the_steps_adds_up_to_the_plan(green: ml.Chain):
    panel = ChainPanel(green, window=WINDOW)
    assert panel.costs["state"] == "done", panel.costs
    plan, costs = green.plan(WINDOW), panel.costs["nodes"]
    for name in ("reads", "bytes"):
        assert sum(one[name] for one in costs.values()) == getattr(plan, name) > 0
    assert costs.keys() == {one["id"] for one in panel.drawn["nodes"]}
    assert costs["loadcollection1"]["reads"] and not costs["focalmean1"]["reads"]
    assert costs["focalmean1"]["evaluated"] >= WINDOW.shape[0] * WINDOW.shape[1]


def test_what_is_cached_is_told_once_it_was_computed(green: ml.Chain):
    from muses_lab.engine import worker_engine

    worker_engine().cache.clear()
    panel = ChainPanel(green, window=WINDOW)
    before = panel.costs["nodes"]["reducedimension2"]
    assert before["of"] >= 1 and before["kept"] == 0
    green.compute(WINDOW)
    panel._ask_price()
    after = panel.costs["nodes"]["reducedimension2"]
    assert after["kept"] == after["of"] == before["of"]


def test_documents_are_there_as_text(green: ml.Chain):
    panel = ChainPanel(green)
    assert ml.Chain.from_json(json.loads(panel.documents["json"])).identical(green)
    assert panel.documents["python"] == green.to_python()


def test_steps_are_opened_as_layers(ndvi: ml.Chain, green: ml.Chain):
    m = Map(center=(43.6, 1.38), zoom=13)
    m.add(green.style(), name="Green")
    panel = ChainPanel(m)
    assert panel.choices == ["Green"] and panel.on_map and panel.costs["state"] == "done", panel.costs
    panel.show_step("ndvi1")
    tiles = m.tiles("ndvi · Green")
    assert tiles.over is not None and tiles.chain.identical(ndvi) and panel.chosen == "Green"
    assert tiles.shown.look.vmin is not None, "its colours are those of its values in the view"
    panel.show_step("apply1")
    assert m.tiles("x > 0.4 · Green").shown.look.vmax == 1
    panel.show_step("mask1")
    assert m.tiles("mask · Green").shown.look.bands == ("B04", "B03", "B02")
    panel._receive(None, {"do": "show", "node": "nothing1"}, None)
    assert panel.told["state"] == "failed" and "no step 'nothing1'" in panel.told["text"]
    with pytest.raises(ArgumentError, match="on a map"):
        ChainPanel(green).show_step("apply1")


def test_the_panel_follows_the_layers_of_the_map(ndvi: ml.Chain, green: ml.Chain):
    m = Map(center=(43.6, 1.38), zoom=13)
    panel = ChainPanel(m)
    assert panel.chosen == "" and panel.drawn == {} and panel.status()["steps"] == []
    m.add(ndvi.median("t").style(), name="NDVI")
    m.add(green.style(), name="Green")
    assert panel.choices == ["Green", "NDVI"] and panel.chosen == "NDVI"
    m.add(ndvi.max("t").style(), name="NDVI")
    assert panel.drawn["nodes"][-1]["title"] == "max over time"
    panel.choose("Green")
    m.remove("Green")
    assert panel.chosen == "NDVI"
    with pytest.raises(NotFound, match="'Green'"):
        panel.choose("Green")


def test_two_chains_are_one_graph_with_what_differs(ndvi: ml.Chain):
    m = Map(center=(43.6, 1.38), zoom=13)
    m.add((ndvi.median("t").focal_mean(3) > 0.4).style(), name="a")
    m.add((ndvi.median("t").focal_mean(5)).style(), name="b")
    panel = ChainPanel(m)
    panel.choose("a")
    panel.compare("b")
    kinds = {one["id"]: one["kind"] for one in panel.compared["nodes"]}
    assert kinds["focalmean1"] == "changed" and kinds["- apply1"] == "removed" and kinds["ndvi1"] == "same"
    assert panel.compared["lines"] == ["~ focalmean1 (radius: 3 → 5)", "- apply1 (process=x > 0.4)"]
    assert ("focalmean1", "- apply1") in {(edge["from"], edge["to"]) for edge in panel.compared["edges"]}
    m.remove("b")
    assert panel.compared == {} and panel.mode == "chain"


@pytest.mark.parametrize("at", [0, 70, 199])
def test_long_lists_that_differ_are_told_so_that_the_difference_is_seen(s2: ml.Collection, at: int):
    numbers = list(range(1000, 1200))
    other = [*numbers[:at], 5555, *numbers[at + 1 :]]
    mine, its = (s2.band("SCL").isin(values) for values in (numbers, other))
    (changed,) = ml.compare(mine, its).changed
    ((before, after),) = changed.arguments.values()
    assert before is not None and after is not None and before != after
    assert str(1000 + at) in before and "5555" in after and "5555" not in before
    assert max(len(before), len(after)) <= 240


def test_a_plan_is_told_in_one_unit_and_with_numbers_that_agree(ndvi: ml.Chain):
    small = ml.Window.from_bounds((1.41, 43.59, 1.411, 43.591), crs="EPSG:32631", resolution=10)
    told = str(ndvi.median("t").plan(small))
    assert "1 block," in told and " MiB)" in told and " MB" not in told


def test_a_document_is_checked_whole_and_its_faults_stand_at_its_nodes(s2: ml.Collection, green: ml.Chain):
    panel = ChainPanel(green)
    document = green.to_json()
    document["process_graph"]["focalmean1"]["arguments"]["radius"] = "wide"
    document["process_graph"]["ndvi1"]["process_id"] = "ndwy"
    found = panel.check(json.dumps(document))
    assert {one["node"] for one in found} == {"focalmean1", "ndvi1"}
    assert panel.mode == "draft" and panel.draft["state"] == "failed" and len(panel.draft["nodes"]) == 7
    panel.take(json.dumps(document))
    assert panel.choices == ["This chain"], "nothing was made of it"
    for text in ("", "{", "[]", '{"a": 3}', "ndvi", '{"process_graph": {"a": {"process_id": 3}}}'):
        assert panel.check(text), text
    circle = {n: {"process_id": "ndvi", "arguments": {"data": {"from_node": other}}} for n, other in ("ab", "ba")}
    assert panel.check(json.dumps(circle)) and len(panel.draft["nodes"]) == 2


def test_a_document_without_faults_becomes_a_chain(ndvi: ml.Chain, green: ml.Chain):
    panel = ChainPanel(green)
    assert panel.check(json.dumps(ndvi.max("t").to_json())) == [] and panel.draft["state"] == "ok"
    panel.take(json.dumps(ndvi.max("t").to_json()), "from a file")
    assert panel.choices == ["This chain", "from a file"] and panel.chosen == "from a file" and panel.draft == {}
    assert panel.drawn["nodes"][-1]["title"] == "max over time"
    panel.compare("This chain")
    assert "added" in {one["kind"] for one in panel.compared["nodes"]}


def test_code_that_nobody_trusts_is_a_fault(ndvi: ml.Chain):
    code = "def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:\n    return cube"
    given = {"data": {"from_parameter": "data"}, "udf": code, "runtime": "Python"}
    udf = {"process_id": "run_udf", "arguments": given, "result": True}
    document = ndvi.to_json()["process_graph"]
    (last,) = (name for name, one in document.items() if one.pop("result", False))
    arguments = {"data": {"from_node": last}, "dimension": "t", "process": {"process_graph": {"u": udf}}}
    document["udf"] = {"process_id": "apply_dimension", "result": True, "arguments": arguments}
    (fault,) = ChainPanel(ndvi).check(json.dumps(document))
    assert "code" in fault["text"]


def test_forty_steps_and_more_than_can_be_drawn(ndvi: ml.Chain):
    image = ndvi.median("t")
    for number in range(34):
        image = image * 0.5 + number
    panel = ChainPanel(image)
    assert len(panel.drawn["nodes"]) > 60 and panel.drawn["text"] == ""
    for number in range(400):
        image = image * 0.5 + number
    panel = ChainPanel(image)
    assert panel.drawn["nodes"] == [] and "more than can be read" in panel.drawn["text"] and panel.documents["json"]


def test_what_is_no_chain_is_refused():
    with pytest.raises(ArgumentError, match="a map, a chain or a layer"):
        ChainPanel(3)
