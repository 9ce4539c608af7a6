"""`muses-lab course check`: everything that is wrong with a course is told at once, with place, value and cure."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import from_origin
from typer.testing import CliRunner

from muses_lab import cli
from muses_lab.authoring.check import Checked, Fault, check
from muses_lab.authoring.new import NOTEBOOK, SOLUTION, new_course
from muses_lab.courses import folder

made_cell = nbformat.v4.new_code_cell
made_text = nbformat.v4.new_markdown_cell


@pytest.fixture
def made(tmp_path: Path, fresh_home: Path) -> Path:
    """A course without scenes, which is quick to check."""
    course = new_course("light", tmp_path / "light")
    text = yaml.safe_load((course / "course.yml").read_text())
    for name in ("catalog", "collections", "area", "dates"):
        del text[name]
    number = {"id": "sum", "kind": "number", "question": "One and one?", "expected": 2, "hints": {"too_high": "Count."}}
    text["notebooks"][0]["exercises"][0] = number
    (course / "course.yml").write_text(yaml.safe_dump(text))
    (course / "tests.yml").write_text(
        yaml.safe_dump({"sum": [{"answer": 3, "hint": "count"}], "why-median": [{"answer": 1, "hint": "wrong one"}]})
    )
    write(course, 'import muses_lab as ml\ncourse = ml.course()', 'course.exercise("sum").check(None)', "course.quiz()",
          solution='course.exercise("sum").check(1 + 1)')  # fmt: skip
    return course


def write(course: Path, *code: str, solution: str = "") -> None:
    cells = [made_cell(one) for one in code]
    if solution:
        cells.insert(2, made_text(f"```python\n{solution}\n```", metadata={"tags": [SOLUTION]}))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), course / NOTEBOOK)


def change(made: Path, /, **entries: object) -> None:
    text = yaml.safe_load((made / "course.yml").read_text())
    (made / "course.yml").write_text(yaml.safe_dump({**text, **entries}))


def faults(found: Checked) -> str:
    return "\n".join(map(str, found.faults))


def test_a_fault_is_told_in_sentences():
    assert str(Fault("1.ipynb", "it was told: Not all.", "Do so")) == "1.ipynb: it was told: Not all. Do so"
    assert str(Fault("01.ipynb", "3 is no text", "Do so")) == "01.ipynb: 3 is no text. Do so"
    assert str(Fault("01.ipynb", "3 is no text")) == "01.ipynb: 3 is no text"


# ---------------------------------------------------------------------------------------------------- what is read


def test_every_fault_of_the_description_is_told_at_once(made):
    change(made, hours="long", area=[10, 50, 9, 51], colour="red", dates=["2018-02-30", "2018-03-01"])
    found = check(made)
    told = faults(found)
    for part in ("hours: ", "('long')", "colour: ", "dates.0: a date is written 2018-04-01 ('2018-02-30')"):
        assert part in told, told


def test_every_fault_of_the_files_is_told_at_once_and_nothing_is_run(made):
    text = yaml.safe_load((made / "course.yml").read_text())
    text["notebooks"][0]["exercises"][1]["choices"][0]["feedback"] = ""
    text["notebooks"].append({"file": "02.ipynb", "title": "Not there"})
    text["notebooks"].append({"file": "03.ipynb", "title": "No notebook"})
    text["chains"] = {"ndvi": "chains/ndvi.json"}
    change(made, **text)
    (made / "03.ipynb").write_text("hello")
    (made / "tests.yml").write_text(yaml.safe_dump({"sums": [{"answer": 1, "hint": "x"}], "sum": [{"answer": 1}]}))
    output = made_cell("1", outputs=[nbformat.v4.new_output("stream", text="1")], execution_count=1)
    cells = [output, made_cell("2", metadata={"tags": [SOLUTION]}), made_text("no", metadata={"tags": [SOLUTION]})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), made / NOTEBOOK)
    found = check(made, told=lambda line: None)
    told = faults(found)
    for part in (
        f"{NOTEBOOK}: cells 1 have outputs, which participants would see. In JupyterLab: Edit, Clear Outputs",
        f"{NOTEBOOK}, cell 2: a solution in a code cell is run by all who run the notebook",
        f"{NOTEBOOK}, cell 3: a solution without code",
        "03.ipynb: it is no notebook",
        "02.ipynb is named and is not in",
        "chains/ndvi.json is named and is not in",
        "tests.yml, sum.0.hint: Field required",
        "course.yml, why-median: the wrong choice 'The mean' is told nothing. Give it `feedback:`",
        f"{NOTEBOOK}: the exercise 'sum' is never asked. There, course.exercise(\"sum\") asks it",
        f"{NOTEBOOK}: the exercise 'why-median' is never asked",
    ):
        assert part in told, f"{part}\n\n{told}"
    assert found.notes[-1] == "nothing was run: files come first"


def test_a_wrong_answer_to_no_exercise_is_told(made):
    (made / "tests.yml").write_text(yaml.safe_dump({"sums": [{"answer": 1, "hint": "x"}]}))
    assert "tests.yml: the course has no exercise 'sums'. There are sum, why-median" in faults(check(made))


def test_scenes_that_cannot_be_found_and_chains_that_cannot_be_read_are_told(made):
    change(made, catalog="nowhere", collections=["x"])
    assert "`catalog: nowhere` is neither" in faults(check(made, run=False))
    (made / "chains").mkdir()
    (made / "chains" / "a.json").write_text('{"process_graph": {"a": {"process_id": "no_such", "arguments": {}}}}')
    change(made, catalog="", collections=[], chains={"aa": "chains/a.json"})
    assert "chains/a.json: its chain cannot be used" in faults(check(made, run=False))


def test_the_command_tells_and_its_exit_code_says(made, tmp_path):
    done = CliRunner().invoke(cli.app, ["course", "check", str(made), "--read-only"])
    assert done.exit_code == 0 and "the course is right" in done.stdout, done.output
    (made / NOTEBOOK).unlink()
    done = CliRunner().invoke(cli.app, ["course", "check", str(made)])
    assert done.exit_code == 1 and f"wrong: course.yml: {NOTEBOOK} is named" in done.stdout
    assert folder.published() == []  # a check publishes nothing


# ----------------------------------------------------------------------------------------------------- what is run


@pytest.mark.slow
def test_what_only_running_shows_is_told(made):
    """A solution that fails, an exercise that is solved already, hints that are not given, answers taken for right."""
    text = yaml.safe_load((made / "course.yml").read_text())
    text["notebooks"][0]["exercises"] += [
        {"id": "three", "kind": "number", "question": "1 + 2?", "expected": 3, "tolerance": 1},
        {"id": "done", "kind": "number", "question": "2?", "expected": 2},
    ]
    change(made, **text)
    (made / "tests.yml").write_text(
        yaml.safe_dump(
            {
                "sum": [{"answer": 3, "hint": "divide"}, {"answer": "1 / 0", "hint": "x"}],
                "three": [{"answer": 4, "hint": "too high"}],
            }
        )
    )
    write(
        made, "import muses_lab as ml\ncourse = ml.course()", 'course.exercise("sum").check(None)', "course.quiz()",
        'course.exercise("done").check(2)', 'course.exercise("three")', solution='course.exercise("sum").check(5)',
    )  # fmt: skip
    told = faults(check(made))
    for part in (
        f"{NOTEBOOK}: the exercise 'done' is solved before anybody answers",
        f"{NOTEBOOK}: the solution of 'sum' does not pass: it was told: ",
        f"{NOTEBOOK}: the solution of 'three' does not pass: it checks no answer",
        "tests.yml, sum.0: 3 is told '",
        ", without 'divide'. course.yml has the hints of 'sum'",
        "tests.yml, sum.1: the answer 1 / 0 cannot be looked at: ZeroDivisionError",
        "tests.yml, three.0: the answer 4 is taken for right",
    ):
        assert part in told, f"{part}\n\n{told}"


@pytest.mark.thorough
@pytest.mark.slow
def test_a_notebook_that_needs_the_internet_fails_at_that_cell(made):
    write(
        made, "import socket\nimport pytest\nimport muses_lab as ml\ncourse = ml.course()",
        "for call in (lambda: socket.getaddrinfo('example.org', 443), lambda: socket.gethostbyname('example.org'),\n"
        "             lambda: socket.create_connection(('192.0.2.1', 443), timeout=1)):\n"
        "    with pytest.raises(OSError, match='without a network'):\n        call()\n"
        "socket.getaddrinfo('localhost', 80)",
        'course.quiz()\ncourse.exercise("sum")', "import urllib.request\nurllib.request.urlopen('https://example.org')",
        solution="pass",
    )  # fmt: skip
    told = faults(check(made))
    assert f"{NOTEBOOK}, cell 5: " in told and "https://example.org" in told, told


@pytest.mark.slow
def test_a_new_course_passes_as_it_is(fresh_home, sample_catalog, tmp_path):
    """With its map, its scenes and its chain, as `course new` makes it."""
    fresh_home.mkdir()
    (fresh_home / "sample").symlink_to(sample_catalog)
    found = check(new_course("floods", tmp_path / "floods"))
    assert found.ok, str(found)
    assert any(note.startswith(f"{NOTEBOOK} ran for ") for note in found.notes)


@pytest.mark.slow
def test_scenes_are_tried_as_they_are_published_without_what_is_far_from_the_area(made):
    profile = {"driver": "GTiff", "width": 1024, "height": 1024, "count": 1, "dtype": "int16", "nodata": 0}
    with rasterio.open(
        made / "a.tif", "w", **profile, tiled=True, crs="EPSG:32631", transform=from_origin(380000, 4840000, 20, 20)
    ) as written:
        written.write(np.full((1024, 1024), 5, "int16"), 1)
    ring = [[1.5, 43.5], [1.8, 43.5], [1.8, 43.8], [1.5, 43.8], [1.5, 43.5]]
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "s1", "collection": "c", "bbox": [1.5, 43.5, 1.8, 43.8],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": "2020-01-01T00:00:00Z"}, "links": [],
        "assets": {"data": {"href": "a.tif", "type": "image/tiff; application=geotiff"}},
    }  # fmt: skip
    (made / "cat.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    change(made, catalog="cat.json", collections=["c"], area=[1.515, 43.7, 1.52, 43.705])
    write(
        made, "import numpy as np\nimport muses_lab as ml\nfrom muses_lab.api.part import part\ncourse = ml.course()",
        'data = course.collection()\ncourse.exercise("sum")\ncourse.quiz()',
        "def there(bounds):\n    return np.isfinite(data.compute(part(data, bounds).window).values).any()\n"
        "assert there((1.516, 43.701, 1.519, 43.704)), 'nothing in the area'",
        "assert there((1.65, 43.6, 1.66, 43.61)), 'nothing far from the area'",
        solution='course.exercise("sum").check(1 + 1)',
    )  # fmt: skip
    told = faults(check(made))
    assert f"{NOTEBOOK}, cell 5: AssertionError: nothing far from the area" in told, told
