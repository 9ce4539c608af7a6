"""A course's notebooks for nbgrader: source notebooks that `nbgrader generate_assignment` and `autograde` take.

nbgrader is not needed here, and not asked for: its cells are told by their metadata (schema 3). Each exercise becomes a
cell for the answer, with the solution between nbgrader's marks, and a locked cell with the points, which raises
`AssertionError` for a wrong answer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat

from muses_lab.authoring.new import SOLUTION
from muses_lab.courses import archive
from muses_lab.courses.copies import TESTS
from muses_lab.courses.description import ChoiceExercise, CourseError, CourseNotebook, Description

SCHEMA = 3
_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
_DETAILS = re.compile(r"<details>.*</details>\s*", re.DOTALL)


def write_assignment(folder: Path, target: Path) -> list[Path]:
    """Writes a course as an assignment of nbgrader: into `source/<course>` of a folder of nbgrader.

    >>> write_assignment(Path("first-steps"), Path("grading"))                         # doctest: +SKIP
    [PosixPath('grading/source/first-steps/01-first-map.ipynb')]

    Parameters
    ----------
    folder
        The course's folder.
    target
        The folder in which nbgrader runs (with its `nbgrader_config.py`, if there is one).

    Raises
    ------
    CourseError
        A notebook has no code cell that checks one of its exercises.
    """
    description = Description.read(folder)
    files = archive.contents(folder)
    place = target / "source" / description.course
    written = []
    books = {one.file: one for one in description.notebooks}
    made = {name: _assignment(nbformat.read(files[name], 4), books[name]) for name in books}
    for name in files:
        if name == TESTS:
            continue
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name in made:
            nbformat.write(made[name], file)
            written.append(file)
        else:
            file.write_bytes(files[name].read_bytes())
    return written


def _assignment(book: Any, notebook: CourseNotebook) -> Any:
    """A notebook with nbgrader's cells."""
    cells = [nbformat.from_dict(dict(cell)) for cell in book.cells]
    for exercise in notebook.exercises:
        if isinstance(exercise, ChoiceExercise):
            cells += _question(exercise)
            continue
        at = _answer_cell(cells, exercise.id, notebook.file)
        solution = _solution_after(cells, at)
        answer = cells[at]
        if solution is not None:
            code = "\n".join(_CODE.findall(cells[solution].source)).strip()
            answer.source = _with_marks(answer.source, code)
            text = _DETAILS.sub("", cells[solution].source).strip()
            cells[solution] = nbformat.v4.new_markdown_cell(text) if text else None
        answer.metadata["nbgrader"] = _about(f"{exercise.id}-answer", solution=True)
        cells.insert(at + 1, _graded(exercise))
        cells = [cell for cell in cells if cell is not None]
    made = nbformat.from_dict({**book, "cells": cells, "nbformat_minor": max(book.nbformat_minor, 5)})
    return nbformat.validator.normalize(made)[1]


def _with_marks(answer: str, solution: str) -> str:
    """The cell for an answer with its solution between nbgrader's marks; what checks the answer stays outside."""
    checks = [line for line in answer.splitlines() if ".check(" in line]
    code = [line for line in solution.splitlines() if ".check(" not in line]
    given = re.search(r"\.check\(\s*(\w+)\s*\)", checks[-1]) if len(checks) == 1 else None
    if given is None or not any(re.match(rf"{given[1]}\s*=", line) for line in code):
        return f"### BEGIN SOLUTION\n{solution}\n### END SOLUTION"  # the participant writes the check, too
    return "\n".join(["### BEGIN SOLUTION", *code, "### END SOLUTION", checks[0]])


def _question(exercise: ChoiceExercise) -> list[Any]:
    """A question as a cell for the numbers of the choices: buttons of a quiz are nothing that nbgrader can press."""
    listed = "\n".join(f"{n}. {choice.text}" for n, choice in enumerate(exercise.choices, 1))
    right = [n for n, choice in enumerate(exercise.choices, 1) if choice.right]
    text = nbformat.v4.new_markdown_cell(f"{exercise.question}\n\n{listed}")
    variable = exercise.id.replace("-", "_")
    variable = f"_{variable}" if variable[0].isdigit() else variable
    answer = nbformat.v4.new_code_cell(
        f"import muses_lab as ml\n\n# The numbers of what you choose\n### BEGIN SOLUTION\n{variable} = {right}\n"
        f'### END SOLUTION\nml.course().exercise("{exercise.id}").check({variable})'
    )
    answer.metadata["nbgrader"] = _about(f"{exercise.id}-answer", solution=True)
    return [text, answer, _graded(exercise)]


def _graded(exercise: Any) -> Any:
    cell = nbformat.v4.new_code_cell(f'import muses_lab as ml\n\nml.course().exercise("{exercise.id}").require()')
    cell.metadata["nbgrader"] = _about(exercise.id, grade=True, locked=True, points=exercise.points)
    return cell


def _about(id: str, **said: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("grade", "solution", "locked", "task"), False)
    return {"schema_version": SCHEMA, "grade_id": id, **nothing, **said}


def _answer_cell(cells: list[Any], id: str, file: str) -> int:
    """The cell that checks an exercise: by its id, or by the name that a cell before gave it."""
    names = {f'"{id}"', f"'{id}'"}
    for number, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        for name in re.findall(rf"^(\w+)\s*=\s*[\w.]*exercise\(\s*[\"']{re.escape(id)}[\"']\s*\)", cell.source, re.M):
            names.add(name)
        if re.search(r"\.check\(", cell.source) and any(
            re.search(rf"{re.escape(name)}\s*\)?\s*\.check\(", cell.source) for name in names
        ):
            return number
    raise CourseError(f"{file} has no code cell that checks {id!r}: course.exercise({id!r}).check(answer)")


def _solution_after(cells: list[Any], at: int) -> int | None:
    for number in range(at + 1, len(cells)):
        cell = cells[number]
        if cell.cell_type == "markdown" and SOLUTION in cell.metadata.get("tags", ()):
            return number
        if cell.cell_type == "code" and ".check(" in cell.source:
            return None
    return None
