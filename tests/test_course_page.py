"""The course that docs/how-to/make-a-course.md writes step by step: it passes the check, and its number is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from muses_lab.authoring.check import check
from muses_lab.authoring.new import SOLUTION, new_course
from muses_lab.exercises.participant import course
from tests.helpers import REPOSITORY

PAGE = (REPOSITORY / "docs" / "how-to" / "make-a-course.md").read_text("utf-8")
FIRST, SECOND = "01-first-map.ipynb", "02-floods.ipynb"

pytestmark = pytest.mark.usefixtures("in_threads")


def blocks(section: str, kind: str) -> list[str]:
    """The code blocks of a section of the page."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert text, section
    fence = "````" if kind == "md" else "```"
    body = text[1] if kind == "md" else re.sub(r"^````.*?^````", "", text[1], flags=re.DOTALL | re.MULTILINE)
    return re.findall(rf"^{fence}{kind}\n(.*?)^{fence}$", body, re.DOTALL | re.MULTILINE)


@pytest.fixture
def made(fresh_home: Path, course_samples: Any, tmp_path: Path) -> Path:
    """The course of the page."""
    course_samples(fresh_home)
    folder = new_course("floods", tmp_path / "floods", "Mapping floods")
    (exercises,), (quiz,), (second,) = (blocks(name, "yaml") for name in ("An exercise", "A quiz", "A second notebook"))
    about = yaml.safe_load((folder / "course.yml").read_text())
    about |= yaml.safe_load(blocks("Scenes", "yaml")[0]) | yaml.safe_load(exercises)
    about["notebooks"][0]["exercises"] += yaml.safe_load(quiz)
    about["notebooks"] += yaml.safe_load(second)
    (folder / "course.yml").write_text(yaml.safe_dump(about))
    (folder / "tests.yml").write_text(blocks("Check", "yaml")[0])
    (begin,), (question, answer), (solution,) = (
        blocks("Scenes", "python"), blocks("An exercise", "python"), blocks("An exercise", "md")
    )  # fmt: skip
    shown = [f'course.quiz("{FIRST}")', 'course.quiz("why-median")', "course.score()"]
    assert all(f"`{call}`" in PAGE for call in shown)
    v4 = nbformat.v4
    cells = [v4.new_code_cell(code) for code in (begin, question, answer)]
    cells.append(v4.new_markdown_cell(solution, metadata={"tags": [SOLUTION]}))
    cells += [v4.new_code_cell(code) for code in shown]
    nbformat.write(v4.new_notebook(cells=cells), folder / FIRST)
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(begin)]), folder / SECOND)
    return folder


def test_the_number_on_the_page_is_that_of_its_scenes(made):
    here = course(made)
    cover = here.collection("sentinel-2-l2a").table()["cloud_cover"]
    asked = here.exercise("clear-scenes")
    assert asked.look((cover < 50).sum()).right
    assert "cloudy scenes" in asked.look(len(cover)).message


@pytest.mark.thorough
@pytest.mark.slow
def test_the_course_on_the_page_passes_the_check(made):
    found = check(made)
    assert found.ok, str(found)
