"""The kernel's side of controls: which there are, what they change, and what is computed again."""

from __future__ import annotations

import json
import threading
import time

import pytest

import muses_lab as ml
from muses_lab.compute import executor
from muses_lab.engine import BlockKey, worker_engine
from muses_lab.errors import ArgumentError, NotFound
from muses_lab.operators import registry
from muses_widgets import Controls, Map
from muses_widgets.rows import row

pytestmark = pytest.mark.usefixtures("in_threads")


@pytest.fixture(scope="module")
def image(s2: ml.Collection) -> ml.Chain:
    return s2.ndvi().median("t")


@pytest.fixture
def threshold() -> ml.parameter:
    return ml.parameter("threshold", 0.4, minimum=0, maximum=1, title="Least greenness")


def move(controls: Controls, asked: str = "1", **values: object) -> None:
    """What a page sends when a control is moved, and the end of what the kernel does then."""
    controls._handle_custom_msg({"do": "set", "asked": asked, "values": values}, [])
    finished(controls)


def finished(controls: Controls) -> None:
    end = time.monotonic() + 30
    while controls._working and time.monotonic() < end:
        time.sleep(0.01)
    assert not controls._working


def by_name(controls: Controls) -> dict[str, dict]:
    return {one["name"]: one for one in controls.rows}


class TestRows:
    def of(self, *args, **kwargs) -> dict:
        return row(ml.parameter("p", *args, **kwargs))

    def test_numbers_are_sliders_between_their_limits(self):
        found = self.of(0.4, minimum=0, maximum=1)
        assert (found["kind"], found["min"], found["max"], found["step"]) == ("number", 0, 1, 0.01)
        assert self.of(3, minimum=1, maximum=9)["step"] == 1
        assert self.of(0.5, minimum=0, maximum=1, step=0.25)["step"] == 0.25

    @pytest.mark.parametrize(("value", "ends"), [(0.4, (0, 1)), (-3, (-10, 0)), (0, (-1, 1)), (1200, (0, 2500))])
    def test_without_limits_the_ends_are_round_numbers_around_the_value(self, value, ends):
        found = self.of(value)
        assert (found["min"], found["max"]) == ends
        assert found["low"] is found["high"] is None

    def test_a_value_beyond_the_ends_widens_the_slider_and_others_leave_it(self):
        first = self.of(0.4)
        wide = row(ml.parameter("p", 3.5), first)
        assert (wide["min"], wide["max"]) == (0, 3.5)
        assert row(ml.parameter("p", 0.1), wide)["max"] == 3.5

    def test_an_operator_s_argument_has_its_limits(self, image):
        parameters = image.focal_mean(3).parameters
        radius = row(parameters["focal_mean.radius"])
        assert (radius["min"], radius["max"], radius["high"]) == (0.1, 10, 100_000)
        assert row(parameters["focal_mean.unit"])["choices"][1] == {"value": "m", "label": "m"}

    def test_other_kinds(self, image):
        assert self.of("px", choices=["px", "m"])["kind"] == "choice"
        assert self.of(True)["kind"] == "switch"
        assert self.of("2018-03-01")["kind"] == "date"
        assert self.of(["2018-03-01", "2018-04-01"])["kind"] == "dates"
        classes = self.of([4, 5], choices={4: "vegetation", 5: "bare soil", 6: "water"})
        assert (classes["kind"], classes["choices"][2]) == ("classes", {"value": 6, "label": "water"})
        assert self.of("anything")["kind"] == "text"
        assert self.of([1, 2])["value"] == "[1, 2]"
        palette = row(image.style(cmap="RdYlGn").parameters["style.cmap"])
        assert palette["kind"] == "palette" and palette["value"] == "RdYlGn"
        assert len(palette["choices"][0]["stops"]) > 10


class TestWithoutMap:
    def test_it_gives_the_chain_that_is_written_with_the_value(self, image, threshold):
        controls, seen = Controls(image.focal_mean(3) > threshold, "threshold", "focal_mean.radius"), []
        controls.on_change(seen.append)
        move(controls, **{"threshold": 0.5, "focal_mean.radius": 5})
        first, second = seen
        assert first.identical(image.focal_mean(3) > 0.4) and second.identical(image.focal_mean(5) > 0.5)
        assert by_name(controls)["threshold"]["value"] == 0.5
        assert by_name(controls)["threshold"]["title"] == "Least greenness"

    def test_named_parameters_alone_get_a_control_where_there_are_some(self, image, threshold):
        assert list(by_name(Controls(image.focal_mean(3) > threshold))) == ["threshold"]
        without = by_name(Controls(image.focal_mean(3)))
        assert {"focal_mean.radius", "focal_mean.unit"} < without.keys()
        assert "load_collection.id" not in without, "texts are for those who ask for them"

    def test_what_is_wrong_is_told_beside_its_control_and_changes_nothing(self, image, threshold):
        chain = image.focal_mean(3) > threshold
        controls = Controls(chain, "threshold", "focal_mean.radius")
        move(controls, **{"focal_mean.radius": -1})
        assert "greater than 0" in by_name(controls)["focal_mean.radius"]["problem"]
        assert controls.items[0].identical(chain)
        assert controls.status()["state"] == "failed" and "greater than 0" in repr(controls)
        move(controls, threshold=0.6)
        assert "problem" in by_name(controls)["focal_mean.radius"], "nobody has mended it"
        move(controls, **{"focal_mean.radius": 2})
        assert "problem" not in by_name(controls)["focal_mean.radius"]
        assert controls.items[0].identical(image.focal_mean(2) > 0.6)

    def test_two_processes_that_get_the_same_value_stay_two(self, image):
        controls = Controls((image > 0.2) | (image > 0.4), "gt")
        first, second = by_name(controls)
        controls.set({first: 0.3, second: 0.3})
        controls.set({second: 0.5})
        values = {controls.values[first], controls.values[second]}
        assert values == {0.3, 0.5}

    def test_in_python_what_is_wrong_is_raised(self, image, threshold):
        controls = Controls(image > threshold)
        with pytest.raises(ArgumentError, match="at most 1"):
            controls.set(threshold=2)
        with pytest.raises(ArgumentError, match="no control 'treshold'; there are threshold"):
            controls.set(treshold=0.2)
        with pytest.raises(ArgumentError, match="no parameter 'radius'"):
            Controls(image, "radius")
        with pytest.raises(ArgumentError, match="controls are of a chain, a layer or a list"):
            Controls(None)

    def test_where_widgets_are_not_drawn_a_text_says_what_it_is(self, image, threshold):
        data, _ = Controls(image > threshold)._repr_mimebundle_()
        assert "threshold = 0.4; ok" in data["text/plain"]
        assert "application/vnd.jupyter.widget-view+json" in data

    def test_texts_are_read_as_values(self, image):
        keep = ml.parameter("keep", [4, 5])
        controls = Controls(image.isin(keep))
        move(controls, keep="[4, 6]")
        assert controls.items[0].identical(image.isin([4, 6]))
        move(controls, keep="four")
        assert "'four' is no value" in by_name(controls)["keep"]["problem"]

    def test_values_that_come_while_it_works_take_the_place_of_those_that_wait(self, image, threshold):
        controls, free, seen = Controls(image > threshold), threading.Event(), []
        controls.on_change(lambda chain: (seen.append(controls.values["threshold"]), len(seen) > 1 and free.wait(10)))
        for n in range(2, 9):
            controls._handle_custom_msg({"do": "set", "asked": str(n), "values": {"threshold": n / 10}}, [])
            if n == 2:
                while len(seen) < 2:
                    time.sleep(0.01)
        free.set()
        finished(controls)
        assert seen == [0.4, 0.2, 0.8]


class TestMap:
    @pytest.fixture
    def map(self, image, threshold) -> Map:
        m = Map()
        m.add((image > threshold).style(cmap="Greens"), name="Green")
        m.add(image.mask(image < threshold).style(cmap="RdYlGn"), name="Masked")
        m.add(image, name="Other")
        return m

    def test_one_control_moves_every_layer_that_has_its_parameter(self, map, image):
        controls, other = map.control_panel(), map.tiles("Other").url
        assert sorted(controls.bound) == ["Green", "Masked"]
        move(controls, threshold=0.6)
        assert map.layer("Green") == (image > 0.6).style(cmap="Greens")
        assert map.layer("Masked") == image.mask(image < 0.6).style(cmap="RdYlGn")
        assert map.tiles("Green").url.split("/")[1] == map.layer("Green").publish()[0]
        assert map.tiles("Other").url == other

    def test_a_layer_that_is_chosen_moves_alone(self, map, image):
        controls = map.control_panel("threshold", layers="Green")
        controls.set(threshold=0.6)
        assert map.layer("Masked").chain.identical(image.mask(image < 0.4))
        assert map.layer("Green").chain.identical(image > 0.6)

    def test_a_layer_that_cannot_be_made_leaves_the_others(self, map, s2):
        index = ml.parameter("band", "red")
        map.add(s2.band(index).median("t"), name="Band")
        map.add(s2.band(index).max("t"), name="Most")
        controls = map.control_panel("band")
        before = map.layer("Band"), map.layer("Most")
        move(controls, band="ultraviolet")
        assert "ultraviolet" in by_name(controls)["band"]["problem"]
        assert (map.layer("Band"), map.layer("Most")) == before

    def test_it_says_where_the_layers_differ_until_it_is_moved(self, map):
        map.control_panel("threshold", layers="Green").set(threshold=0.6)
        controls = map.control_panel("threshold")
        assert by_name(controls)["threshold"]["differs"]
        controls.set(threshold=0.5)
        assert "differs" not in by_name(controls)["threshold"]

    def test_it_keeps_what_others_change_of_the_style_and_the_chain(self, map, image, threshold):
        controls = map.control_panel("threshold", "style.cmap", layers="Green")
        map.add(map.layer("Green").chain.style(cmap="magma", vmax=0.9), name="Green")
        controls.set(threshold=0.6)
        assert map.layer("Green") == (image > 0.6).style(cmap="magma", vmax=0.9)
        map.add((image.focal_mean(2) > threshold).style(), name="Green")
        assert controls.values["threshold"] == 0.4
        controls.set(threshold=0.7)
        assert map.layer("Green").chain.identical(image.focal_mean(2) > 0.7)

    def test_a_layer_that_was_taken_off_does_not_come_back(self, map):
        controls = map.control_panel("threshold")
        map.remove("Green")
        controls.set(threshold=0.6)
        with pytest.raises(NotFound):
            map.layer("Green")

    def test_a_layer_with_dates_moves_with_all_of_them(self, map, s2):
        factor = ml.parameter("factor", 2)
        map.add((s2.ndvi() * factor).over_time().style(cmap="magma"), name="Dates")
        controls, dates = map.control_panel("factor", "style.vmax"), len(map.panel.layers[0]["frames"])
        map.date = map.panel.layers[0]["frames"][0]["label"]
        move(controls, **{"factor": 3, "style.vmax": 4})
        assert map.tiles("Dates").chain.identical(s2.ndvi() * 3)
        assert map.tiles("Dates").shown.look.vmax == 4
        assert len(map.panel.layers[0]["frames"]) == dates > 1
        assert map.panel.layers[0]["chain"] == map.panel.layers[0]["frames"][0]["chain"], "the date stays"

    def test_style_is_a_parameter_too_and_leaves_the_chain(self, map):
        controls = map.control_panel("style.cmap", layers="Other")
        chain = map.tiles("Other").url.split("/")[1]
        move(controls, **{"style.cmap": "magma"})
        assert map.layer("Other").look.cmap == "magma"
        assert map.tiles("Other").url.split("/")[1] == chain

    def test_a_map_without_layers_has_no_controls(self):
        with pytest.raises(NotFound, match="no layer to control"):
            Map().control_panel()

    def test_its_state_is_saved_with_the_notebook(self, map):
        controls = map.control_panel("threshold")
        controls.set(threshold=0.7)
        state = json.loads(json.dumps(controls.get_state(["rows", "bound", "told", "own_id"])))
        assert state["rows"][0]["value"] == 0.7 and state["bound"] and state["own_id"] == controls.model_id


def test_chains_and_layers_make_their_own(s2: ml.Collection) -> None:
    green = s2.mask_clouds().ndvi().median("t") > ml.parameter("threshold", 0.4, minimum=0, maximum=1)
    for item in (green, green.style()):
        made = item.controls("threshold")
        assert type(made).__name__ == "Controls" and [row["name"] for row in made.rows] == ["threshold"]
        assert made.items[0].identical(green) if isinstance(item, ml.Chain) else made.items[0].chain.identical(green)


def test_only_what_depends_on_the_parameter_is_computed_again(s2, threshold, monkeypatch):
    """Counted: the neighbourhoods, and the blocks that are read; both lie before the threshold."""
    operator, calls = registry["muses:focal_mean"], []
    declared = operator.fn
    monkeypatch.setattr(operator, "fn", lambda *args, **kwargs: (calls.append(1), declared(*args, **kwargs))[1])
    controls = Controls(s2.band("nir").max("t").focal_mean(3.5) > threshold, "threshold", "focal_mean.radius")

    def work(**values: float) -> tuple[int, int]:
        controls.set(values)
        read, seen = executor("threads").counters()["blocks_decoded"], len(calls)
        published = controls.items[0].published
        block = BlockKey(next(iter(published.prepared.output.grids)), 0, 0, 0)
        ticket = executor("threads").request(published, block)
        assert ticket.future.result(60).report.used
        ticket.release()
        return executor("threads").counters()["blocks_decoded"] - read, len(calls) - seen

    worker_engine().cache.clear()  # of blocks that tests before have read
    first_read, first_calls = work(threshold=0.31)
    assert first_read > 0 and first_calls > 0
    assert work(threshold=0.32) == (0, 0)
    read, again = work(**{"focal_mean.radius": 2.5})
    assert read == 0 and again > 0, "from the changed node on"
