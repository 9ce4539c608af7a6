"""A course's notebook as its participant has it: exercises, a quiz, the card; saved and opened without a kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.accessibility import no_serious_faults, tab_reaches_everything
from tests.helpers.taught_course import course_folder

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    "import muses_lab as ml\ncourse = ml.course()\ncourse",
    'course.exercise("dates").check(9)',
    'course.exercise("dates").check(8)',
    'course.quiz("02-questions.ipynb")',
]
PARTS = ".muses-course"


@pytest.fixture(scope="module")
def lab(lab_in_threads):
    return lab_in_threads


@pytest.fixture(scope="module")
def copy(lab, sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A participant's copy of the course, in JupyterLab's folder."""
    published = course_folder(
        tmp_path_factory.mktemp("published") / "first-steps", sample_catalog, {"01-map.ipynb": CELLS}
    )
    folder = lab.root / "first steps"
    folder.mkdir()
    for file in published.glob("*.ipynb"):
        (folder / file.name).write_bytes(file.read_bytes())
    told = {"course": "first-steps", "version": "1", "folder": str(published)}
    (folder / ".course.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def opened(notebook, copy: Path):
    return notebook.open(f"{copy.name}/01-map.ipynb").run_all()


@pytest.fixture
def card(opened):
    found = opened.page.locator(".muses-course").first
    found.scroll_into_view_if_needed()
    return found


@pytest.fixture
def quiz(opened):
    found = opened.page.locator(".muses-quiz")
    found.scroll_into_view_if_needed()
    return found


def shows(notebook, part, *texts: str) -> None:
    notebook.until(lambda: all(text in part.inner_text() for text in texts), 30, f"{texts} are not there")


def test_answers_are_told_in_words(opened, card):
    told = opened.page.get_by_role("status")
    assert told.get_by_text("The header is no date.").is_visible() and told.get_by_text("Right.").first.is_visible()
    shows(
        opened,
        card,
        "First steps",
        "Open a map of NDVI",
        "1 of 6 points",
        "You get the badge from 5.6 points on: 4.6 to go.",
    )
    assert card.get_by_role("progressbar", name="All points").get_attribute("aria-valuenow") == "1"
    link = card.get_by_role("link", name="Questions").get_attribute("href")
    assert link == "/lab/tree/first%20steps/02-questions.ipynb"
    assert opened.errors() == []


def test_a_question_is_answered_by_keys_alone(opened, quiz, card):
    question = quiz.get_by_role("group", name="Why the median?")
    check = question.get_by_role("button", name="Check")
    assert check.is_disabled()
    question.get_by_role("radio", name="It is faster").focus()
    opened.page.keyboard.press("Space")
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")
    shows(opened, question, "It is slower.", "Not yet.", "1 try")
    question.get_by_role("radio", name="It is faster").focus()
    opened.page.keyboard.press("ArrowDown")
    assert "It is slower." not in question.inner_text()
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")
    shows(opened, question, "So it is.", "Right. Outliers do not count.", "2 tries · solved")
    shows(opened, card, "1 of 2 points")
    opened.screenshot("course-quiz")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_nothing_keeps_people_from_using_it(opened, card, theme):
    if theme.endswith("Dark"):
        opened.choose_theme(theme)
    else:
        card.get_by_text("Exercises").first.click()
        card.get_by_role("button", name="Start again: A first map").click()
        tab_reaches_everything(opened.page, PARTS)
    opened.screenshot(f"course-{theme.split()[-1]}")
    no_serious_faults(opened.page, PARTS)
    if theme.endswith("Dark"):
        card.get_by_role("button", name="Cancel").click()


def test_saved_and_opened_again_it_goes_on_without_a_kernel(opened, lab, copy: Path, traffic):
    opened.save()
    lab.stop_kernels()
    traffic.forget()
    opened.open(f"{copy.name}/01-map.ipynb")
    quiz, card = opened.page.locator(".muses-quiz"), opened.page.locator(".muses-course").first
    quiz.wait_for(timeout=120_000)
    quiz.scroll_into_view_if_needed()
    question = quiz.get_by_role("group", name="Why the median?")
    shows(opened, question, "So it is.", "2 tries · solved")
    lab.stop_kernels()
    opened.until(lambda: not lab.kernels(), 30, "a kernel runs")
    other = quiz.get_by_role("group", name="Of which bands is NDVI made?")
    other.get_by_role("checkbox", name="red", exact=True).check()
    other.get_by_role("checkbox", name="near infrared").check()
    other.get_by_role("button", name="Check").click()
    shows(opened, other, "Right.", "1 try · solved")
    card.scroll_into_view_if_needed()
    shows(opened, card, "2 of 2 points")


def test_a_notebook_is_given_back_and_one_s_own_stays(opened, card, copy: Path):
    mine = copy / "02-questions.ipynb"
    published = mine.read_bytes()
    mine.write_text(mine.read_text().replace("import muses_lab", "import mine"))
    card.get_by_role("button", name="Start again: Questions").click()
    shows(opened, card, "What you wrote is kept in a file beside it")
    card.get_by_role("button", name="Give it back").click()
    shows(opened, card, "02-questions.ipynb is as it was published; your own, as last saved, is in ")
    assert mine.read_bytes() == published
    assert [one for one in copy.glob("02-*.ipynb") if "import mine" in one.read_text()]
    assert card.get_by_role("button", name="Start again: Questions").is_visible()
