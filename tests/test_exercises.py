"""Exercises of a course: what is right, and what a wrong answer is told; scores, the badge, and what is shown."""

from __future__ import annotations

import datetime
import io
import json
import re
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from PIL import Image

import muses_lab as ml
from muses_lab.api.steps import known_names, steps
from muses_lab.courses import places
from muses_lab.courses.archive import contents, pack, unpack
from muses_lab.courses.copies import open_copy
from muses_lab.courses.description import CourseError
from muses_lab.courses.folder import Published, remove
from muses_lab.courses.journal import Journal
from muses_lab.errors import ArgumentError
from muses_lab.exercises import participant, quiz
from muses_lab.exercises.badge import Badge
from muses_lab.exercises.outcome import Outcome, marked
from muses_lab.exercises.participant import Course, CourseExercise
from muses_lab.exercises.pixels import MOST, Compared, compared, window
from muses_lab.exercises.score import score_of
from muses_widgets import Map
from muses_widgets.course.card import CourseCard
from muses_widgets.course.quiz import Quiz
from tests.helpers.taught_course import AREA, TOLD, course_folder

CHOICES = TOLD["notebooks"][1]["exercises"][0]["choices"]

pytestmark = pytest.mark.usefixtures("in_threads")


@pytest.fixture(scope="module")
def folder(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return course_folder(tmp_path_factory.mktemp("courses") / "first-steps", sample_catalog)


@pytest.fixture
def course(folder: Path, tmp_path: Path) -> Course:
    """The course, with nothing answered yet."""
    found = ml.course(folder)
    found.journal = type(found.journal)(found.id, tmp_path / "answers")
    return found


@pytest.fixture
def scenes(course: Course) -> ml.Collection:
    return course.collection()


# ------------------------------------------------------------------------------------------------- numbers


class TestNumbers:
    @pytest.mark.parametrize(
        "answer",
        [8, 8.0, np.int64(8), np.array(8), np.array([[8.0]]), [8], pd.Series([8]), xr.DataArray(8), np.float32(8)],
        ids=lambda value: type(value).__name__,
    )
    def test_the_number_itself_is_right_whatever_holds_it(self, course: Course, answer: Any):
        outcome = course.exercise("dates").check(answer)
        assert outcome.right and outcome.points == 1 and bool(outcome)

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (9, "The header is no date."),
            (7, "7 is too low. Look at `s2.table()`."),
            (10, "10 is too high. Look at `s2.table()`."),
            (-8, "-8 has the right size and the wrong sign. Look at `s2.table()`."),
            ("8", "'8' is a text: leave out the quotes, and write decimals with a point."),
            ("8,5", "'8,5' is a text: leave out the quotes, and write decimals with a point."),
            ("eight", "'eight' is a text; a number is asked."),
            (True, "`True` is true or false; a number is asked."),
            (np.bool_(False), "`False` is true or false; a number is asked."),
            (datetime.date(2018, 7, 3), "2018-07-03 is a date or a time; a number is asked."),
            (np.datetime64("2018-07-03"), "2018-07-03 is a date or a time; a number is asked."),
            (pd.Timestamp("2018-07-03"), "2018-07-03 00:00:00 is a date or a time; a number is asked."),
            (8j, "8j is a complex number."),
            ({"dates": 8}, "A dict was given; a number is asked."),
            (len, "`len` is a function: call it, with brackets after its name."),
            (float("inf"), "Infinite values: something was divided by zero. Look at `s2.table()`."),
            ([8, 9], "One number is asked; 2 values were given: one of them, or `.mean()` or another statistic."),
            ([], "One number is asked; 0 values were given: it is empty."),
            ([["a", 1], [2]], "[['a', 1], [2]] (list) is no number and no array of numbers."),
        ],
    )  # fmt: skip
    def test_a_wrong_answer_is_told_what_is_wrong_with_it(self, course: Course, answer: Any, told: str):
        outcome = course.exercise("dates").check(answer)
        assert (outcome.state, outcome.points) == ("wrong", 0)
        assert outcome.message.startswith(told)

    def test_a_missing_value_is_told_as_such(self, course: Course):
        for nothing in (np.nan, xr.DataArray(np.nan), [np.nan]):
            assert course.exercise("dates").check(nothing).message.startswith("The value is missing (NaN)")

    def test_a_chain_is_no_number_yet(self, course: Course, scenes: ml.Collection):
        for chain in (scenes, scenes.ndvi().style()):
            assert ".compute(window)" in course.exercise("dates").check(chain).message
        assert course.exercise("dates").check(scenes.ndvi).message == (
            "`ndvi` is a function: call it, with brackets after its name."
        )

    @pytest.mark.parametrize(
        ("answer", "right"), [(0.43, True), (0.44, True), (0.42, True), (0.4401, False), (0.1 + 0.33, True)]
    )
    def test_the_tolerance_is_the_largest_difference(self, course: Course, answer: float, right: bool):
        assert course.exercise("share").check(answer).right is right

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (43, "per cent instead of a share"),
            (4300, "stored integers instead of reflectances"),
            (0.0043, "instead of per cent"),
        ],
    )
    def test_a_wrong_unit_is_recognised_by_its_factor(self, course: Course, answer: float, told: str):
        message = course.exercise("share").check(answer).message
        assert told in message and message.endswith("The answer is asked in share.")

    def test_a_count_is_no_wrong_unit(self, course: Course):
        assert course.exercise("dates").check(800).message == "800 is too high. Look at `s2.table()`."

    def test_the_author_s_hint_comes_before_the_general_one(self, course: Course):
        assert course.exercise("share").check(0.6).message == "0.6 share is too high. Are shadows clouds?"

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            ([1, 2], "January to March. An array of 3 values is asked; 2 were given."),
            (3, "January to March. 3 numbers are asked; one was given."),
            ([1, np.nan, 3], "1 of 3 values are missing (NaN)."),
            ([1, 2, 4], "2 of 3 values are right; the one at [2], 4, is too high."),
            ([100, 200, 300], "The values are about 100 times what is expected"),
        ],
    )
    def test_arrays_are_compared_value_by_value(self, course: Course, answer: Any, told: str):
        assert course.exercise("months").check([1, 2, 3]).right
        assert course.exercise("months").check(np.array([1, 2, 3])).right
        assert course.exercise("months").check(answer).message.startswith(told)

    @pytest.mark.parametrize(
        ("expected", "answer", "right"),
        [
            (0.1, np.float32(0.1), True),
            ([0.1, 0.7], np.array([0.1, 0.7], "float32"), True),
            ([0.1, 0.7], [np.float32(0.1), np.float32(0.7)], True),
            (0.1, xr.DataArray(np.float32(0.1)), True),
            (0.1, np.float32(0.10001), False),
            (0.1, np.float64(np.float32(0.1)), False),  # has more digits, and they are others
            (1_500_001, np.float32(1_500_000), False),  # a count
            (1_500_001, np.array([1_500_001], object), True),
            (16_777_217, np.float32(16_777_216), True),  # there is no such float32
            (3_000_000_001, 3_000_000_000, False),
        ],
    )
    def test_digits_that_float32_does_not_have_are_no_difference(
        self, course: Course, expected: Any, answer: Any, right: bool
    ):
        asked = course.exercise("dates")
        other = asked.exercise.model_copy(update={"expected": expected, "near": []})
        assert CourseExercise(course, asked.notebook, other).look(answer).right is right

    def test_what_is_masked_is_missing_whatever_lies_below(self, course: Course):
        for masked in (np.ma.masked, np.ma.array([8.0], mask=[True]), np.ma.array(8, mask=True)):
            assert course.exercise("dates").check(masked).message.startswith("The value is missing (NaN)")
        assert course.exercise("dates").check(np.ma.array([8.0])).right


# ------------------------------------------------------------------------------------------------- chains


class TestChains:
    def asked(self, course: Course, chain: Any) -> Outcome:
        return course.exercise("chain").check(chain)

    def test_the_chain_itself_is_right_and_so_is_a_layer_of_it(self, course: Course, scenes: ml.Collection):
        chain = scenes.mask_clouds().ndvi().median("t")
        for given in (chain, chain.style(cmap="RdYlGn"), chain.resolve()):
            outcome = self.asked(course, given)
            assert outcome.right and outcome.points == 2 and outcome.message == "Clouds are out of it."

    def test_another_way_to_the_same_values_is_right(self, course: Course, scenes: ml.Collection):
        clear = scenes.mask_clouds()
        nir, red = clear.bands("nir"), clear.bands("red")
        other = clear.index("NDVI").median("t")
        assert not other.identical(clear.ndvi().median("t")) and self.asked(course, other).right
        told = self.asked(course, ((nir - red) / (nir + red)).median("t"))
        assert told.message == "`.ndvi` or `.index` is missing in the chain."

    def test_what_is_missing_or_too_many_is_told_by_the_method_s_name(self, course: Course, scenes: ml.Collection):
        missing = self.asked(course, scenes.ndvi().median("t"))
        assert missing.message == "`.mask_clouds` is missing in the chain. Clouds are white."
        smoothed = self.asked(course, scenes.mask_clouds().ndvi().median("t").focal_mean(3))
        assert smoothed.message == "`.focal_mean` must not be in the chain. Nothing is smoothed here."

    def test_the_order_is_that_of_the_way_from_the_scenes_to_the_result(self, course: Course, scenes: ml.Collection):
        clear, cloudy = scenes.mask_clouds().ndvi(), scenes.ndvi()
        part = self.asked(course, (clear.median("t") + cloudy.median("t")) / 2)
        assert part.message == (
            "One part of the chain comes to `.median` without `.mask_clouds` before it. Else clouds are in the median."
        )
        clouds_after = cloudy.median("t").mask(scenes.mask_clouds().bands("scl").max("t") > 7)
        assert self.asked(course, clouds_after).message == (
            "`.mask_clouds` has to come before `.median`, and not after it. Else clouds are in the median."
        )
        through_condition = clear.mask(cloudy < 0).median("t")  # only chooses among values that are masked
        assert "before" not in self.asked(course, through_condition).message

    def test_where_only_an_order_is_asked_both_have_to_be_there(self, course: Course, scenes: ml.Collection):
        asked = course.exercise("chain")
        hints = {"median": "Which reducer?", "mask_clouds before median": "Clouds first."}
        changed = {"needs": [], "without": [], "expected": None, "hints": hints}
        only = CourseExercise(course, asked.notebook, asked.exercise.model_copy(update=changed))
        for chain, told in (
            (scenes, "`.mask_clouds` is missing in the chain: it has to come before `.median`. Clouds first."),
            (scenes.ndvi().median("t"), "`.mask_clouds` is missing in the chain: it has to come before `.median`."),
            (
                scenes.mask_clouds().ndvi(),
                "`.median` is missing in the chain: it has to come after `.mask_clouds`. Which reducer?",
            ),
        ):
            outcome = only.look(chain)
            assert outcome.state == "wrong" and outcome.message.startswith(told)
        assert only.look(scenes.mask_clouds().median("t")).right

    def test_other_values_are_told_in_figures(self, course: Course, scenes: ml.Collection):
        lower = self.asked(course, scenes.mask_clouds().ndvi().min("t"))
        assert re.fullmatch(
            r"The chain gives other values than expected\. Which reducer is asked\? "
            r"[\d.]+ % of the values are too low, by 0\.\d+ in the middle \(median\)\.",
            lower.message,
        )
        fewer = self.asked(course, scenes.mask_clouds(keep=[4]).ndvi().median("t"))
        assert "% of the values are missing where values are expected" in fewer.message
        dates = self.asked(course, scenes.mask_clouds().ndvi())
        assert dates.message.endswith(
            'The answer has 6 dates, and one image is asked: reduce them, for example by `.median("t")`.'
        )

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            ("ndvi", "'ndvi' is a text; give the chain itself, without quotes."),
            (
                np.zeros((2, 2)),
                "That is an array of computed values; give the chain itself, as it is before `.compute(…)`.",
            ),
            (
                xr.DataArray([1.0]),
                "That is an array of computed values; give the chain itself, as it is before `.compute(…)`.",
            ),
            (0.4, "0.4 (float) is no chain: `course.collection(…)` begins one."),
        ],
    )
    def test_what_is_no_chain_is_told_plainly(self, course: Course, answer: Any, told: str):
        assert self.asked(course, answer).message == told

    def test_a_method_without_brackets_and_a_map_are_no_chains(self, course: Course, scenes: ml.Collection):
        assert self.asked(course, scenes.ndvi).message.endswith("with brackets after its name, `.ndvi()`.")
        assert self.asked(course, Map()).message == "That is a map; give the chain that is shown on it."

    def test_a_chain_that_cannot_be_computed_is_an_error_with_its_reason(self, course: Course, scenes: ml.Collection):
        nothing = scenes.filter("eo:cloud_cover < 0").mask_clouds().ndvi().median("t")
        outcome = self.asked(course, nothing)
        assert outcome.state == "error" and outcome.message.startswith("Your chain cannot be computed: ")

    def test_a_course_s_own_document_that_is_broken_is_the_trainer_s(self, course: Course, folder: Path, scenes: Any):
        chain, file = scenes.mask_clouds().ndvi().median("t"), folder / "chains" / "median.json"
        before = file.read_text()
        try:
            for broken in (
                "{",
                '{"process_graph": {}}',
                json.dumps({"process_graph": {"a": {"process_id": "no_such"}}}),
            ):
                file.write_text(broken)
                outcome = self.asked(course, chain)
                assert outcome.state == "error" and "tell your trainer: chains/median.json" in outcome.message
        finally:
            file.write_text(before)

    def test_a_name_that_nothing_has_is_the_trainer_s_mistake(self, course: Course, scenes: ml.Collection):
        asked = course.exercise("chain")
        misspelt = asked.exercise.model_copy(update={"without": ["focal_maen", "own:edges"], "order": [["mask", ">"]]})
        outcome = CourseExercise(course, asked.notebook, misspelt).look(scenes)
        assert outcome.state == "error"
        assert outcome.message.endswith(
            "tell your trainer: 'chain' asks for 'focal_maen': no operator or method is called so."
        )

    def test_the_steps_of_a_chain_have_the_names_that_people_use(self, scenes: ml.Collection):
        found = steps(scenes.mask_clouds(grow=30).ndvi().where(scenes.bands("scl") == 4).quantile(0.9, "t"))
        names = [step.names for step in found]
        assert {"collection", "load_collection"} <= names[0]
        assert any({"mask_clouds", "mask"} <= one for one in names) and any("quantile" in one for one in names)
        assert any("where" in one for one in names) and not any("clouds" in one for one in names)
        assert {"mask_clouds", "ndvi", "muses:focal_mean", "focal_mean", "median", "dates"} <= known_names()


# ------------------------------------------------------------------------------------------------- maps


class TestMaps:
    def test_a_chain_a_layer_and_a_map_of_one_layer_are_compared(self, course: Course, scenes: ml.Collection):
        asked, chain = course.exercise("map"), scenes.mask_clouds().ndvi().median("t")
        m = Map()
        assert asked.check(m).message == "The map has no layer of a chain yet: `m.add(chain.style(…))`."
        m.add(chain.style(), name="NDVI")
        assert asked.check(chain).right and asked.check(chain.style()).right and asked.check(m).right
        m.add(scenes.ndvi().median("t").style(), name="Cloudy")
        assert asked.check(m).message == (
            "The map has 2 layers ('NDVI', 'Cloudy'): give the one that is meant, `m.layer('Cloudy')`."
        )
        assert asked.check(m.layer("NDVI")).right

    def test_what_differs_is_told_with_the_hint_of_its_kind(self, course: Course, scenes: ml.Collection):
        asked = course.exercise("map")
        lower = asked.check(scenes.mask_clouds().ndvi().min("t")).message
        assert lower.startswith("Are clouds still in it? ") and lower.endswith(". 99 % have to be right.")
        assert asked.check(scenes.ndvi().median("t").mask(scenes.ndvi().max("t") > -1)).message.startswith(
            "What was masked? "
        )
        assert "one value a pixel is asked" in asked.check(scenes.median("t")).message
        assert "a frame for each date" in asked.check(scenes.ndvi().over_time()).message

    def test_pixels_are_compared_on_a_small_window(self, scenes: ml.Collection):
        ndvi = scenes.ndvi().median("t")
        own, wide = window(ndvi, tuple(AREA)), window(ndvi, (1.30, 43.50, 1.50, 43.65))
        assert own.resolution.x == 10 and max(own.shape) <= MOST and max(wide.shape) <= MOST + 1 < 2 * max(wide.shape)
        assert window(ndvi, tuple(AREA), 40).resolution.x == 40

    def test_dates_and_bands_must_be_the_same(self):
        def cube(dates: list[str], bands: list[str]) -> xr.DataArray:
            data = np.zeros((len(dates), len(bands), 2, 2))
            return xr.DataArray(
                data, {"t": np.array(dates, "datetime64[ns]"), "bands": bands}, ("t", "bands", "y", "x")
            )

        one, two = cube(["2018-01-01", "2018-02-01"], ["red"]), cube(["2018-01-01", "2018-03-01"], ["red"])
        assert compared(one, one, 0).share == 1
        assert str(compared(two, one, 0)) == (
            "The answer has 2 dates, 2 are expected; not asked: 2018-03-01; missing: 2018-02-01"
        )
        assert "2 are asked: leave out what reduces them" in str(compared(one.isel(t=0, drop=True), one, 0))
        turned = cube(["2018-01-01"], ["nir", "red"])
        told = compared(turned, cube(["2018-01-01"], ["red", "nir"]), 0)
        assert str(told) == "The answer has the bands nir, red; red, nir are expected, in this order" and told.bands
        assert compared(one.isel(bands=0, drop=True), one, 0).share == 1  # one band is none

    def test_where_it_differs_is_told(self):
        good = xr.DataArray(np.ones((4, 3, 3)), {"t": pd.date_range("2018-01-01", periods=4)}, ("t", "y", "x"))
        bad = good.copy()
        bad[2] = np.nan
        told = compared(bad, good, 0)
        assert (told.pixels, told.within, told.more_nodata, told.reason) == (36, 27, 9, "more_nodata")
        assert str(told) == "25 % of the values are missing where values are expected; nearly all of them in 2018-01-03"
        none = compared(good * np.nan, good * np.nan, 0)
        assert none.share == 0 and "No pixel of the area has a value" in str(none)

    @pytest.mark.parametrize(
        ("mine", "its", "share"),
        [
            ([200_001, 150_001], [200_000, 150_000], 0),  # ids, classes: whole numbers are the same or are not
            ([200_001.0, 150_000.0], [200_000.0, 150_000.0], 0.5),
            ([20180203.0, 20180418.0], [20180103.0, 20180418.0], 0.5),
            ([np.float32(20180203), np.float32(20180418)], [np.float32(20180103), np.float32(20180418)], 0.5),
            ([np.float32(0.3000001), 1.0], [np.float32(0.3), 0.9999999], 1),  # in another order
            ([1, 2], [2, 2], 0.5),
            ([True, False], [True, True], 0.5),
        ],
    )
    def test_noise_of_computing_is_none_of_whole_numbers(self, mine: list[Any], its: list[Any], share: float):
        answer, expected = (xr.DataArray(np.array([values]), dims=("y", "x")) for values in (mine, its))
        assert compared(answer, expected, 1e-6).share == share

    def test_infinite_is_not_missing(self):
        inf, nan = np.inf, np.nan

        def share(mine: list[float], its: list[float]) -> Compared:
            return compared(*(xr.DataArray(np.array([values]), dims=("y", "x")) for values in (mine, its)), 1e-6)

        assert share([inf, -inf, 1], [inf, -inf, 1]).share == 1
        told = share([inf, 1, 2], [nan, 1, 1])
        assert (told.within, told.less_nodata, told.too_high, told.difference) == (1, 1, 1, 1)
        assert share([nan, 1], [inf, 1]).more_nodata == 1
        assert share([-inf, inf, 1], [inf, 1, inf]).within == 0
        assert str(share([inf, 1], [1, 1])) == "50 % of the values are too high, by inf in the middle (median)"


# ------------------------------------------------------------------------------------------------- choices


@pytest.mark.parametrize("id", ["dates", "chain", "map", "why-median"])
def test_none_is_no_try_and_is_not_kept(course: Course, id: str):
    """An untouched `answer = None`, in a notebook of which all cells are run."""
    asked = course.exercise(id)
    outcome = asked.check(None)
    own = "Give the number itself." if id == "dates" else "Replace `None` by your answer."
    told = f"{own} `None` is also what `print(…)`, and a function without `return`, give back."
    assert (outcome.state, outcome.message) == ("open", told)
    assert repr(outcome).startswith("○ No answer yet. ") and "No answer yet" in outcome._repr_html_()
    assert not course.journal.read()[0]
    with pytest.raises(AssertionError, match="`None`"):
        asked.require()


class TestChoices:
    @pytest.mark.parametrize(
        "answer", [2, "One cloud does not move it", " one CLOUD does not move it", [2], np.int64(2)]
    )
    def test_a_choice_is_named_by_its_number_or_text(self, course: Course, answer: Any):
        outcome = course.exercise("why-median").check(answer)
        assert outcome.right and outcome.message == "Outliers do not count. So it is."

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (1, "It is slower."),
            (3, "Think of one cloud."),
            ([1, 2], "2 were chosen; one of the choices is right."),
            ([], "Nothing was chosen."),
            (4, "4 is none of the choices: give a number from 1 to 3, or the text of a choice."),
            (0, "0 is none of the choices: give a number from 1 to 3, or the text of a choice."),
            (True, "True is none of the choices: give a number from 1 to 3, or the text of a choice."),
            ("x", "'x' is none of the choices: give a number from 1 to 3, or the text of a choice."),
        ],
    )
    def test_a_wrong_choice_has_its_feedback(self, course: Course, answer: Any, told: str):
        assert course.exercise("why-median").check(answer).message == told

    def test_of_several_all_must_be_chosen_and_no_other(self, course: Course):
        asked = course.exercise("which-bands")
        assert asked.check([1, 2]).right and asked.check(["near infrared", "red"]).right
        assert asked.check(1).message == "That is right, and more of the choices are."
        assert asked.check([1, 2, 3]).message == "Not all that you chose is right. That is NDWI."
        assert asked.check(3).message == "That is NDWI."

    def test_a_page_is_not_told_what_is_right_before_it_has_asked(self, course: Course):
        asked = course._questions(())
        assert "right" not in json.dumps(quiz.questions(asked)) and not quiz.answers(asked)
        found = quiz.check(asked[0], [0])
        assert found["marks"] == [{"choice": 0, "right": False, "text": "It is slower."}] and not found["solved"]
        assert quiz.check(asked[0], [1])["message"] == "Outliers do not count."
        again = quiz.check(asked[0], [2])
        assert (again["state"], again["tries"], again["solved"], again["message"]) == (
            "wrong",
            3,
            True,
            "Think of one cloud.",
        )
        assert quiz.answers(asked) == {"why-median": {k: v for k, v in again.items() if k != "note"}}


# ------------------------------------------------------------------------------------------------- the course


class TestCourse:
    def test_it_is_found_from_the_working_directory_upwards(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(folder / "chains")
        assert ml.course().title == "First steps" and ml.course().copy.folder == folder
        assert places.copy_of("first-steps").folder == folder
        with pytest.raises(CourseError, match="no copy of the course 'another'"):
            places.copy_of("another")

    def test_without_a_course_it_is_said_how_to_get_one(self, tmp_path: Path):
        with pytest.raises(CourseError, match="muses-lab course open NAME"):
            ml.course(tmp_path)

    def test_unknown_names_list_those_that_there_are(self, course: Course):
        with pytest.raises(CourseError, match="has no exercise 'x'; there are dates, share, months"):
            course.exercise("x")
        with pytest.raises(CourseError, match="has no chain 'x'; there are: median"):
            course.chain("x")
        with pytest.raises(CourseError, match="takes the id of an exercise"):
            course.exercise(None)  # type: ignore[arg-type]
        with pytest.raises(CourseError, match=r"of the kind `number`: course.exercise\('dates'\)\.check"):
            course.quiz("dates")
        with pytest.raises(CourseError, match=r"'01-map\.ipynb' has no question"):
            course.quiz("01-map.ipynb")

    def test_chains_of_the_course_are_of_its_own_scenes(self, course: Course, folder: Path, scenes: ml.Collection):
        file = folder / "chains" / "elsewhere.json"
        text = (folder / "chains" / "median.json").read_text()
        file.write_text(text.replace(course.catalog.id, "a-trainer-s-catalogue"))
        assert course.document("chains/elsewhere.json").identical(course.chain("median"))
        assert scenes.query.bbox == tuple(AREA)

    def test_a_course_of_somebody_else_names_no_folder_of_this_machine(
        self, folder: Path, sample_catalog: Path, tmp_path: Path
    ):
        told = {"course": "first-steps", "version": "1", "folder": str(folder)}
        (tmp_path / ".course.json").write_text(json.dumps(told))
        assert ml.course(folder).catalog.root == str(sample_catalog)  # one's own may lie anywhere
        with pytest.raises(CourseError, match="is outside of the course's folder"):
            _ = ml.course(tmp_path).catalog

    def test_files_outside_of_the_course_are_not_read(self, course: Course):
        for name in ("../secret.json", "/etc/passwd", "no.json"):
            with pytest.raises(CourseError):
                course.document(name)

    def test_answers_are_kept_with_what_was_given_and_told(self, course: Course, scenes: ml.Collection):
        course.exercise("dates").check(9)
        course.exercise("chain").check(scenes.ndvi())
        course.exercise("which-bands").check([1, 3])
        first, second, third = course.journal.answers
        assert (first.notebook, first.exercise, first.state, first.given) == ("01-map.ipynb", "dates", "wrong", "9")
        assert first.message == "The header is no date." and first.at is not None
        assert second.given.startswith("import muses_lab as ml") and ".ndvi()" in second.given
        assert third.given == "red; green"

    def test_an_answer_whose_text_fails_is_kept_too(self, course: Course):
        class Odd:
            def __repr__(self) -> str:
                raise RuntimeError("no text")

            def __array__(self, *_: Any, **__: Any) -> Any:
                raise ValueError("no array")

        outcome = course.exercise("dates").check(Odd())
        assert outcome.state == "error" and "no text" in course.journal.answers[0].given

    def test_where_an_answer_cannot_be_kept_it_is_said(self, course: Course, tmp_path: Path):
        (tmp_path / "file").write_text("")
        course.journal = type(course.journal)(course.id, tmp_path / "file" / "below")
        outcome = course.exercise("dates").check(8)
        assert outcome.right and outcome.note.startswith("This answer could not be kept: ")
        assert "could not be kept" in repr(outcome) and "could not be kept" in outcome._repr_html_()

    def test_the_best_of_all_tries_counts(self, course: Course):
        for answer in (9, 8, 7):
            course.exercise("dates").check(answer)
        (row,) = [one for one in course.score().notebooks[0].exercises if one.id == "dates"]
        assert (row.points, row.tries, row.state) == (1, 3, "right")
        assert course.score().points == 1 and course.score().of == 8
        assert repr(course.exercise("dates")).startswith("Dates (1 point, solved)")

    def test_a_solved_exercise_has_the_points_that_it_has_now(self, course: Course):
        for id, answer in (("dates", 8), ("share", 0.9)):
            course.exercise(id).check(answer)
        books = course.description.model_dump(mode="json")["notebooks"]
        for exercise in books[0]["exercises"]:
            exercise["points"] = 3
        raised = type(course.description).parse({**course.description.model_dump(mode="json"), "notebooks": books})
        score = score_of(raised, course.journal)
        assert [one.points for one in score.notebooks[0].exercises] == [3, 0, 0, 0, 0]

    def test_the_score_is_a_row_for_each_notebook(self, course: Course):
        course.exercise("dates").check(8)
        text, page = repr(course.score()), course.score()._repr_html_()
        assert text.splitlines() == [
            "A first map  1 of 5 right  1 of 6 points", "Questions    0 of 2 right  0 of 2 points",
            "All          1 of 8 points (12 %)", "You get the badge from 5.6 points on: 4.6 to go",
        ]  # fmt: skip
        assert '<th scope="row"' in page and "1 of 6" in page
        assert list(course.score().table().state) == ["right", *["open"] * 6]

    def test_a_broken_line_of_the_answers_is_told(self, course: Course):
        course.exercise("dates").check(8)
        with course.journal.file.open("a") as file:
            file.write("{broken\n")
        assert "The file of your answers: line 2 is no answer" in repr(course.score()) and course.score().points == 1

    def test_what_is_shown_without_widgets_is_text(self, course: Course, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(participant, "entry_points", lambda **_: ())
        assert "1. red" in repr(course.quiz("which-bands"))
        assert course._repr_mimebundle_() == {"text/plain": repr(course)}
        assert repr(course).startswith("First steps\n  - Open a map of `NDVI`\n")

    def test_graders_get_an_assertion(self, course: Course):
        assert course.exercise("dates").check(8).require().right
        with pytest.raises(AssertionError, match="dates: The header is no date"):
            course.exercise("dates").check(9).require()

    def test_answers_are_shown_as_text_never_as_a_page_s_code(self, course: Course):
        outcome = course.exercise("dates").check("<script>alert(1)</script>")
        assert "<script>" not in outcome._repr_html_() and "&lt;script&gt;" in outcome._repr_html_()
        assert marked("`<b>`\n&") == "<code>&lt;b&gt;</code><br>&amp;"
        assert 'role="status"' in outcome._repr_html_() and "Not yet." in outcome._repr_html_()


class TestNewerVersion:
    """A course that its trainer corrects while a class is in it."""

    @pytest.fixture
    def made(self, sample_catalog: Path, tmp_path: Path) -> Path:
        return course_folder(tmp_path / "made", sample_catalog)

    def publish(self, made: Path, **changes: Any) -> Published:
        """`changes`: entries of exercises by id."""
        told = yaml.safe_load((made / "course.yml").read_text())
        for notebook in told["notebooks"]:
            for exercise in notebook["exercises"]:
                exercise.update(changes.get(exercise["id"].replace("-", "_"), {}))
        (made / "course.yml").write_text(json.dumps(told))
        pack(contents(made), made.parent / "course.zip")
        return unpack(made.parent / "course.zip", made.parent / "published")

    def test_what_is_expected_now_is_right_and_one_is_told(
        self, made: Path, tmp_path: Path, fresh_home: Path, sample_catalog: Path
    ):
        open_copy(self.publish(made), tmp_path / "mine")
        course = ml.course(tmp_path / "mine")
        asked, card, made_quiz = course.exercise("dates"), CourseCard(course), course.quiz("why-median")
        assert asked.check(8).right and not course.newer and card.about["newer"] == ""
        choices = [{"text": one["text"], "right": n == 2} for n, one in enumerate(CHOICES)]
        now = self.publish(
            made, dates={"expected": 12, "points": 2}, why_median={"choices": choices}, share={"id": "share-2"},
            which_bands={"choices": choices},
        )  # fmt: skip
        outcome = asked.check(12)
        assert outcome.right and outcome.points == 2 and "A newer version of this course" in outcome.note
        assert not asked.look(8).right and course.score().of == 9 and course.score().points == 2
        assert "`muses-lab course open first-steps`" in card.about["newer"] and "newer version" in repr(course)
        assert made_quiz.answer("why-median", 2)["state"] == "right"
        assert made_quiz.answer("why-median", 1)["marks"][0]["right"] is False
        assert course.exercise("share").check(0.43).right  # the new version has it no more
        assert course.exercise("which-bands").check([1, 2]).right  # it has other choices there
        open_copy(now, tmp_path / "mine")
        assert not course.newer and not ml.course(tmp_path / "mine").newer
        assert ml.course(tmp_path / "mine").exercise("share-2").check(0.43).note == ""

    def test_a_corrected_document_is_what_chains_are_compared_with(
        self, made: Path, tmp_path: Path, fresh_home: Path, sample_catalog: Path
    ):
        found = open_copy(self.publish(made), tmp_path / "mine")[0]
        course = Course(found, Journal("first-steps", tmp_path / "answers"))
        course.catalog = ml.open_catalog(sample_catalog)  # type: ignore[misc]
        lowest = course.collection().mask_clouds().ndvi().min("t")
        assert not course.exercise("map").look(lowest).right
        (made / "chains" / "median.json").write_text(json.dumps(lowest.to_json()))
        self.publish(made)
        assert course.exercise("map").look(lowest).right

    def test_a_course_that_was_removed_is_looked_at_as_it_was(self, made: Path, tmp_path: Path, fresh_home: Path):
        one = self.publish(made)
        course = Course(open_copy(one, tmp_path / "mine")[0])
        remove("first-steps", one.folder.parent.parent)
        assert course.exercise("dates").look(8).right and not course.newer


class TestBadge:
    def test_it_is_refused_with_what_is_missing(self, course: Course):
        course.exercise("dates").check(8)
        with pytest.raises(CourseError) as refused:
            course.badge()
        assert str(refused.value).startswith("you get the badge from 5.6 of 8 points on, and have 1. Still open:\n")
        assert "  - chain (2 points) in 01-map.ipynb" in str(refused.value) and "Dates" not in str(refused.value)

    def test_it_says_who_what_when_and_how_well(self, course: Course, scenes: ml.Collection, tmp_path: Path):
        for id, answer in (
            ("dates", 8),
            ("share", 0.43),
            ("months", [1, 2, 3]),
            ("why-median", 2),
            ("which-bands", [1, 2]),
        ):
            course.exercise(id).check(answer)
        course.exercise("chain").check(scenes.mask_clouds().ndvi().median("t"))
        badge = course.badge("Ada <Lovelace>")
        assert badge.text.startswith(
            "Ada <Lovelace> has completed the course “First steps” with 7 of 8 points (88 %), "
        )
        root = ET.fromstring(badge.svg)
        assert root.get("role") == "img" and root.get("aria-labelledby") == "badge-title badge-text"
        assert (
            badge.text in [element.text for element in root.iter()] and badge.svg == course.badge("Ada <Lovelace>").svg
        )
        picture = Image.open(io.BytesIO(badge.save(tmp_path / "badge.png").read_bytes()))
        assert picture.size == (2000, 1120) and picture.info["Description"] == badge.text
        assert badge.save(tmp_path / "badge.svg").read_text() == badge._repr_svg_()
        with pytest.raises(ArgumentError, match="is written as .svg or .png"):
            badge.save(tmp_path / "badge.pdf")
        with pytest.raises(ArgumentError, match="is no name"):
            course.badge(" ")

    def test_long_names_and_signs_of_formulas_fit(self):
        long = "From samples to a validated land-cover map: forests, classes, $accuracy$ and areas with confidence"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Badge("Maximiliane von Hohenstein-Wetterau the $2nd", long, 1, 3, datetime.date(2026, 12, 1)).png


# ------------------------------------------------------------------------------------------------- widgets


class TestWidgets:
    def test_the_card_follows_what_is_answered(self, course: Course):
        card = CourseCard(course)
        assert card.about["title"] == "First steps" and card.about["points"] == 0 and not card.about["can_reset"]
        course.exercise("dates").check(8)
        assert card.about["points"] == 1 and card.status()["badge"] == {"earned": False, "needed": 5.6}
        assert json.dumps(card.about) and repr(card) == repr(course)

    def test_a_quiz_looks_at_what_a_page_sends(self, course: Course):
        made = Quiz(course, course._questions(("02-questions.ipynb",)))
        sent: list[dict[str, Any]] = []
        made.send = sent.append  # type: ignore[method-assign, assignment]
        made._handle_custom_msg({"do": "check", "question": "which-bands", "chosen": [0, 1], "asked": "1"}, [])
        assert sent == [{"kind": "checked", "asked": "1"}] and made.answers["which-bands"]["state"] == "right"
        made._handle_custom_msg({"do": "check", "question": "dates", "chosen": [0], "asked": "2"}, [])
        assert len(sent) == 1 and course.score().points == 1
        assert made.status()["questions"] == {"why-median": "open", "which-bands": "right"}
        again = Quiz(course, course._questions(("02-questions.ipynb",)))
        assert again.answers["which-bands"]["chosen"] == [0, 1]
