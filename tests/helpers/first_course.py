"""The course *first steps* as one who knows all answers works through it: code of its notebooks, right choices."""

from __future__ import annotations

import re

import nbformat

from muses_lab.authoring.new import SOLUTION
from muses_lab.courses.description import ChoiceExercise, CourseNotebook, Description
from tests.helpers import REPOSITORY

FOLDER = REPOSITORY / "notebooks" / "courses" / "first-steps"
COURSE = Description.read(FOLDER)
EXERCISES = {exercise.id for _, exercise in COURSE.exercises()}


def solved(notebook: CourseNotebook) -> list[str]:
    """The code of a notebook's cells, with that of its solutions where they stand, and the right choices."""
    cells = []
    for cell in nbformat.read(FOLDER / notebook.file, 4).cells:
        if cell.cell_type == "code":
            cells.append(cell.source)
        elif SOLUTION in cell.metadata.get("tags", ()):
            cells += re.findall(r"```python\n(.*?)```", cell.source, re.DOTALL)
    return cells + [
        f"course.exercise({one.id!r}).check({[n for n, choice in enumerate(one.choices, 1) if choice.right]})"
        for one in notebook.exercises if isinstance(one, ChoiceExercise)
    ]  # fmt: skip
