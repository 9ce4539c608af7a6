"""Parameters of chains: named ones, those of documents, and the arguments of processes."""

from __future__ import annotations

import datetime
import json
import pickle

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators import registry
from muses_lab.operators.methods import method_of
from muses_lab.style import StyleError
from tests.helpers.operator_examples import call_of

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)


@pytest.fixture(scope="module")
def image(s2: ml.Collection) -> ml.Chain:
    return s2.ndvi().median("t")


@pytest.fixture
def threshold() -> ml.parameter:
    return ml.parameter("threshold", 0.4, minimum=0, maximum=1)


class TestNamed:
    def test_a_chain_is_that_of_the_value(self, image, threshold):
        assert (image > threshold).identical(image > 0.4)
        assert (threshold - image).identical(0.4 - image)
        assert (threshold < image).identical(image > 0.4)

    def test_another_value_gives_the_chain_written_with_it(self, image, threshold):
        radius = ml.parameter("radius", 2)
        green = ~(image.focal_mean(radius) > threshold) & (abs(image) < threshold)
        changed = green.with_parameters(threshold=0.7, radius=3)
        assert changed.identical(~(image.focal_mean(3) > 0.7) & (abs(image) < 0.7))
        assert changed.parameters["threshold"].value == 0.7
        assert changed.with_parameters(threshold=0.4, radius=2).identical(green)
        assert green.parameters["threshold"].value == 0.4, "the chain itself does not change"

    def test_pixels_are_those_of_the_value(self, image, threshold):
        changed = (image > threshold).with_parameters(threshold=0.6).compute(WINDOW)
        values = image.compute(WINDOW)
        np.testing.assert_array_equal(changed.values, np.where(np.isnan(values), np.nan, values > 0.6))

    @pytest.mark.parametrize("op", [op for op in registry if method_of(op)], ids=lambda op: op.id)
    def test_whatever_is_done_later_keeps_it(self, op, s2: ml.Collection):
        """Every method of a chain that has a parameter gives one that has it, and that is made again with it."""
        chain, args, kwargs = call_of(op, s2)
        begin = chain * ml.parameter("factor", 2)
        made = getattr(begin, op.method)(*args, **kwargs)
        assert made.parameters.named == ("factor",)
        assert made.with_parameters(factor=3).identical(getattr(chain * 3, op.method)(*args, **kwargs))

    def test_several_chains_as_one_keep_it(self, image, threshold):
        a, b = image * threshold, image
        made = ml.where(a > 0.2, ml.rgb(a, b, b).band("red"), ml.blend(ml.mosaic([a, b]), b, threshold))
        x = image * 0.9
        expected = ml.where(x > 0.2, ml.rgb(x, b, b).band("red"), ml.blend(ml.mosaic([x, b]), b, 0.9))
        assert made.with_parameters(threshold=0.9).identical(expected)

    def test_dates_and_filters_of_a_collection_are_values_too(self, s2):
        start = ml.parameter("start", datetime.date(2018, 1, 1))
        keep = ml.parameter("keep", [4, 5], choices={4: "vegetation", 5: "bare soil", 6: "water"})
        made = s2.dates(start, "2018-07-01").mask_clouds(keep=keep).ndvi().median("t")
        expected = s2.dates("2018-03-01", "2018-07-01").mask_clouds(keep=[4, 6]).ndvi().median("t")
        assert made.with_parameters(start="2018-03-01", keep=[4, 6]).identical(expected)

    def test_the_extent_that_a_map_gave_stays(self, image, threshold):
        pinned = (image > threshold).connected_components().pin((1.3, 43.5, 1.4, 43.6), 20)
        assert pinned.with_parameters(threshold=0.5).identical(
            (image > 0.5).connected_components().pin((1.3, 43.5, 1.4, 43.6), 20)
        )

    def test_a_deep_chain_is_made_again(self, image, threshold):
        deep, expected = image * threshold, image * 0.5
        for _ in range(1500):
            deep, expected = deep + 1, expected + 1
        assert deep.with_parameters(threshold=0.5).identical(expected)

    def test_an_operator_tells_the_limits_of_its_argument(self, image):
        made = image.focal_mean(ml.parameter("radius", 2))
        assert made.parameters["radius"].schema["maximum"] == 100_000
        with pytest.raises(ArgumentError, match="radius=1000000: the parameter is at most 100000"):
            made.with_parameters(radius=1_000_000)

    def test_values_outside_of_what_was_declared_are_refused(self, image, threshold):
        with pytest.raises(ArgumentError, match="threshold=2: the parameter is at most 1"):
            (image > threshold).with_parameters(threshold=2)
        with pytest.raises(ArgumentError, match="threshold='high': the parameter is a number"):
            (image > threshold).with_parameters(threshold="high")
        unit = ml.parameter("unit", "px", choices=["px", "m"])
        with pytest.raises(ArgumentError, match="unit='km': the parameter is one of 'px', 'm'"):
            image.focal_mean(3, unit).with_parameters(unit="km")

    def test_one_name_has_one_value(self, image):
        a, b = image > ml.parameter("threshold", 0.4), image < ml.parameter("threshold", 0.6)
        with pytest.raises(ArgumentError, match="'threshold' is 0.4 in one part of the chain and 0.6 in another"):
            a & b

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [("least greenness", 0.4, "no name of a parameter"), ("a", None, "no value"), ("a", {"b": 1}, "no value")],
    )
    def test_what_is_no_parameter_is_refused(self, name, value, said):
        with pytest.raises(ArgumentError, match=said):
            ml.parameter(name, value)
        with pytest.raises(ArgumentError, match="is no number"):
            ml.parameter("unit", "px", minimum=0)
        with pytest.raises(ArgumentError, match="share=2: the parameter is at most 1"):
            ml.parameter("share", 2, maximum=1)

    def test_it_has_no_truth_value(self, threshold):
        with pytest.raises(TypeError, match="no truth value"):
            bool(threshold)

    def test_a_copy_by_document_has_the_value_alone(self, image, threshold):
        copy = pickle.loads(pickle.dumps(image > threshold))
        assert copy.identical(image > 0.4)
        assert copy.parameters.named == ()


class TestArguments:
    def test_every_constant_of_a_process_has_a_name(self, image):
        known = (image.focal_mean(3) > 0.4).parameters
        assert known["focal_mean.radius"].value == 3
        assert known["focal_mean.unit"].schema["enum"] == ["px", "m"]
        assert known["gt.y"].value == 0.4
        assert known["median.ignore_nodata"].value is True

    def test_another_value_gives_the_chain_written_with_it(self, image):
        changed = (image.focal_mean(3) > 0.4).with_parameters({"focal_mean.radius": 5, "gt.y": 0.6})
        assert changed.identical(image.focal_mean(5) > 0.6)

    def test_of_several_processes_each_is_meant_by_its_number(self, image):
        chain = (image > 0.2) & (image.focal_mean(3) > 0.4)
        assert [name for name in chain.parameters if name.startswith("gt")] == ["gt[1].y", "gt[2].y"]
        values = {name: chain.parameters[name].value for name in ("gt[1].y", "gt[2].y")}
        first = next(name for name, value in values.items() if value == 0.2)
        assert chain.with_parameters({first: 0.3}).identical((image > 0.3) & (image.focal_mean(3) > 0.4))
        with pytest.raises(ArgumentError, match=r"it stands several times: gt\[1\].y, gt\[2\].y"):
            chain.with_parameters({"gt.y": 0.5})

    def test_conditions_on_scenes_are_among_them(self, s2):
        chain = s2.filter("eo:cloud_cover < 60").ndvi().median("t")
        changed = chain.with_parameters({"lt.y": 30})
        assert changed.identical(s2.filter("eo:cloud_cover < 30").ndvi().median("t"))

    def test_both_kinds_together(self, image, threshold):
        chain = image.focal_mean(3) > threshold
        changed = chain.with_parameters({"focal_mean.radius": 5}, threshold=0.6)
        assert changed.identical(image.focal_mean(5) > 0.6)
        assert changed.with_parameters(threshold=0.7).identical(image.focal_mean(5) > 0.7), "what was changed stays"

    def test_what_is_not_there_is_named_with_what_is(self, image):
        with pytest.raises(ArgumentError, match="no parameter 'focal_meen.radius'; it has focal_mean.radius"):
            image.focal_mean(3).with_parameters({"focal_meen.radius": 1})
        with pytest.raises(DocumentError, match="radius.*greater than 0.*-1"):
            image.focal_mean(3).with_parameters({"focal_mean.radius": -1})

    def test_a_process_alone_means_its_arguments(self, image):
        assert list(image.focal_mean(3).parameters.chosen(["focal_mean"])) == ["focal_mean.radius", "focal_mean.unit"]


def test_parameters_of_a_document_are_those_of_its_chain(image):
    declared = {
        "name": "least", "schema": {"type": "number", "minimum": 0, "maximum": 1}, "default": 0.4, "optional": True,
        "description": "Least greenness",
    }  # fmt: skip
    graph = json.dumps((image > 0.4).to_json()["process_graph"]).replace('"y": 0.4', '"y": {"from_parameter": "least"}')
    document = {"process_graph": json.loads(graph), "parameters": [declared]}
    chain = ml.Chain.from_json(document)
    assert chain.identical(image > 0.4)
    assert chain.parameters["least"].title == "Least greenness"
    assert chain.with_parameters(least=0.7).identical(image > 0.7)
    assert ml.Chain.from_json(document, {"least": 0.2}).with_parameters(least=0.7).identical(image > 0.7)
    with pytest.raises(ArgumentError, match="least=7: the parameter is at most 1"):
        chain.with_parameters(least=7)


def test_a_layer_has_those_of_its_style_too(image, threshold):
    layer = (image > threshold).style(cmap="RdYlGn", vmin=0, vmax=1, label="Green")
    changed = layer.with_parameters({"style.cmap": "magma", "style.vmax": 0.8}, threshold=0.6)
    assert changed == (image > 0.6).style(cmap="magma", vmin=0, vmax=0.8, label="Green")
    assert "RdYlGn" in layer.parameters["style.cmap"].schema["enum"]
    with pytest.raises(StyleError, match="no colormap 'magna'"):
        layer.with_parameters({"style.cmap": "magna"})
    with pytest.raises(ArgumentError, match="no parameter 'style.min'"):
        layer.with_parameters({"style.min": 0})
