"""A new course: a folder with one notebook, an exercise and a question, which runs as it is and is to be rewritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat

from muses_lab.courses.copies import TESTS
from muses_lab.courses.description import FILE, CourseError, Description
from muses_lab.courses.folder import place

SOLUTION = "solution"
"""Tag of the cell that shows how an exercise is solved: folded text with the code, which only `course check` runs."""
NOTEBOOK = "01-first-map.ipynb"

_DESCRIPTION = """\
# A course: docs/how-to/make-a-course.md says what each line means.
course: {name}
title: {title}
language: en
hours: 1
authors: []
objectives:
  - See the scenes of a place, and what clouds do to them
  - Make one map of many scenes

# Scenes: of this catalogue, these collections, in this area (west, south, east, north, in degrees), from the first day
# to the day before the last one. `sample` is made on every machine; or the name of a registered catalogue.
catalog: sample
collections: [sentinel-2-l2a]
area: [1.38, 43.57, 1.46, 43.63]
dates: [2018-01-01, 2019-01-01]
zoom: [10, 13]

# Share of all points from which there is a badge
badge: 0.7

notebooks:
  - file: {notebook}
    title: A first map
    minutes: 30
    exercises:
      - id: green-map
        kind: chain
        title: A map without clouds
        question: Make a chain that gives the median NDVI of the year. Clouds must not count.
        points: 2
        needs: [ndvi, median]
        order: [[mask_clouds, median]]
        right: Each pixel is the median of its clear days.
        hint: Begin with `course.collection("sentinel-2-l2a")`.
        hints:
          mask_clouds before median: Clouds count in your median. Mask them first, `.mask_clouds()`.
          median: You have one NDVI for each date. `.median("t")` makes one of them.
      - id: why-median
        kind: choice
        title: Why the median?
        question: A cloud was not recognised on one of 20 days. Which result suffers least?
        choices:
          - text: The mean
            feedback: The mean moves with every value, also with a wrong one.
          - text: The median
            right: true
            feedback: One wrong value of 20 hardly moves the middle one.
          - text: The minimum
            feedback: Clouds have a low NDVI, so the minimum is just that cloud.
      # An exercise with a number as its answer:
      # - id: scenes
      #   kind: number
      #   question: How many scenes has the course?
      #   expected: 24
      #   hints: {{too_high: Do you count each tile?, too_low: "Is there a filter left, or a limit?"}}
"""

_TESTS = """\
# Wrong answers, and what they must be told. `muses-lab course check` tries them; participants never see this file.
# `answer` is Python, run after the notebook with its solutions; `hint` is a part of the message (upper or lower case).
green-map:
  - answer: course.collection("sentinel-2-l2a").ndvi().median("t")
    hint: mask them first
  - answer: course.collection("sentinel-2-l2a").mask_clouds().ndvi()
    hint: makes one of them
why-median:
  - answer: 1
    hint: also with a wrong one
"""

_CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """# A first map

*About 30 minutes.* You will see the scenes of a year, and make one map of them.

Run each cell with **Shift + Enter**.""",
    ),
    ("code", "import muses_lab as ml\nfrom muses_widgets import Map\n\ncourse = ml.course()\ncourse"),
    ("markdown", "## The scenes\n\nThe course has its own scenes. Each row is one; look at the cloud cover."),
    ("code", 's2 = course.collection("sentinel-2-l2a")\ns2.table()'),
    (
        "markdown",
        "A chain says what is to be computed. Nothing is computed before you look.",
    ),
    (
        "code",
        """m = Map(center=(43.60, 1.42), zoom=12)
m.add(s2.mask_clouds().median("t").style(bands=["B04", "B03", "B02"], vmin=0, vmax=0.3), name="Clear colours")
m""",
    ),
    ("markdown", "## Exercise"),
    ("code", 'green = course.exercise("green-map")\ngreen'),
    ("code", "answer = None  # your chain, in the place of None\n\ngreen.check(answer)"),
    (
        SOLUTION,
        """<details><summary>Solution</summary>

```python
answer = s2.mask_clouds().ndvi().median("t")
green.check(answer)
```

Masking comes before the median: afterwards nobody can tell which days were cloudy.

</details>""",
    ),
    ("markdown", "## A question"),
    ("code", f'course.quiz("{NOTEBOOK}")'),
    ("markdown", "## How far you are"),
    ("code", "course.score()"),
]


def new_course(name: str, folder: Path | None = None, title: str = "") -> Path:
    """Makes the folder of a new course, which passes `muses-lab course check` as it is.

    >>> new_course("floods", title="Mapping floods")                                   # doctest: +SKIP
    PosixPath('floods')

    Parameters
    ----------
    name
        The course's id: 2 to 40 of a-z, 0-9 and `-`.
    folder
        Where it goes; a folder of that name here when None. It must be empty, or not be there.
    title
        What participants read; made of the name when empty.
    """
    place(name, Path())
    folder = folder or Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CourseError(f"{folder} is there already: name an empty folder for the new course, --folder PATH")
    title = title or name.replace("-", " ").capitalize()
    text = _DESCRIPTION.format(name=name, title=json.dumps(title, ensure_ascii=False), notebook=NOTEBOOK)
    Description.from_text(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(text, "utf-8")
    (folder / TESTS).write_text(_TESTS, "utf-8")
    nbformat.write(_notebook(), folder / NOTEBOOK)
    return folder


def _notebook() -> Any:
    made = nbformat.v4
    cells = []
    for number, (kind, text) in enumerate(_CELLS):
        if kind == "code":
            cells.append(made.new_code_cell(text, id=f"cell-{number}"))
        else:
            about = {"tags": [SOLUTION]} if kind == SOLUTION else {}
            cells.append(made.new_markdown_cell(text, id=f"cell-{number}", metadata=about))
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return made.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
