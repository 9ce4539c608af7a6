"""What a class has reached: a table of all participants and exercises, and their notebooks in one folder."""

from __future__ import annotations

import getpass
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pandas as pd

from muses_lab.courses import copies, folder
from muses_lab.courses.collected import COLUMNS, LEFT_OUT, left_out, place_of
from muses_lab.courses.description import CourseError, Description
from muses_lab.courses.journal import Journal, best_of
from muses_lab.plain import spreadsheet_cell
from muses_lab.store import default_store
from muses_lab.store.records import Answer


@dataclass(frozen=True)
class ClassResults:
    """Of one course: on a hub of all its participants, on a laptop of its user."""

    description: Description
    answers: tuple[Answer, ...]
    participants: tuple[str, ...]
    """Who was there, with or without an answer."""

    def table(self) -> pd.DataFrame:
        """A row for each participant and exercise, also those that were not tried.

        Columns: participant, notebook, exercise, kind, state (`right`, `wrong`, `error`; empty: not tried), tries,
        points, of, last (time of the last answer, UTC), message (what was told last).
        """
        by_user: dict[str, list[Answer]] = {name: [] for name in self.participants}
        for answer in self.answers:
            by_user.setdefault(answer.user, []).append(answer)
        rows = [row for user in sorted(by_user) for row in self._rows(user, by_user[user])]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _rows(self, user: str, answers: Iterable[Answer]) -> Iterable[tuple[Any, ...]]:
        best = best_of(answers)
        for notebook, exercise in self.description.exercises():
            one = best.get(exercise.id)
            if one is None:
                yield user, notebook.file, exercise.id, exercise.kind, "", 0, 0.0, exercise.points, None, ""
                continue
            state = "right" if one.right else one.last.state
            points = one.earned(exercise.points)
            at = pd.NaT if one.last.at is None else pd.Timestamp(one.last.at).tz_convert("UTC").floor("s")
            told = one.last.message
            yield user, notebook.file, exercise.id, exercise.kind, state, one.tries, points, exercise.points, at, told


def results_of(course: str) -> ClassResults:
    """The results of a course: of all participants where the hub has it and the user is its trainer, else one's own.

    ```python
    results_of("first-steps").table()
    ```
    """
    store = default_store()
    if on_hub(store, course):
        record = store.course(course)
        answers = store.answers(course, everybody=True)
        there = {one.user for one in store.presences(course)} | {one.user for one in store.notebooks(course)}
        return ClassResults(Description.parse(record.manifest), tuple(answers), tuple(sorted(there)))
    me = getpass.getuser()
    own, _ = Journal(course).read()
    description = folder.find(course).describe()
    return ClassResults(description, tuple(Answer(**{**vars(one), "user": me}) for one in own), (me,))


def on_hub(store: Any, course: str) -> bool:
    """Whether a course is the hub's, and not the user's own."""
    return hasattr(store, "publish_course") and any(one.id == course for one in store.courses())


def write(results: ClassResults, file: Path) -> None:
    """Writes the table as CSV or Parquet, by the file's ending; whole or not at all.

    In CSV a text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    table = results.table()
    part = file.with_name(f".{file.stem}.{uuid4().hex[:8]}{file.suffix}")
    try:
        if file.suffix == ".parquet":
            table.to_parquet(part, index=False)
        elif file.suffix == ".csv":
            table.map(spreadsheet_cell).to_csv(part, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
        else:
            raise CourseError(f"{file.name}: results are written as .csv or .parquet")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


class Collected(NamedTuple):
    """What `collect` has found."""

    notebooks: list[Path]
    left_out: list[str]
    """A sentence for each notebook of the course that a participant's folder lacks."""


def collect(course: str, target: Path) -> Collected:
    """Copies the notebooks of all participants into a folder, `<participant>/<notebook>`, with `results.csv`.

    On a hub those that participants saved last; on a laptop one's own copy. A file that is there already is replaced by
    what is there now. What was not kept of a participant is told, also in `left-out.txt`.
    """
    results = results_of(course)
    store = default_store()
    written, found_of = [], set()
    if on_hub(store, course):
        kept = ((one.user, one.file) for one in store.notebooks(course))
        found = ((user, name, store.notebook(course, user, name)) for user, name in kept)
    else:
        found = _own(course, results.description)
    for user, name, text in found:
        place = target / place_of(user, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
        written.append(place)
        found_of.add((user, name))
    target.mkdir(parents=True, exist_ok=True)
    write(results, target / "results.csv")
    users = {*results.participants, *(answer.user for answer in results.answers)}
    missing = left_out(users, [one.file for one in results.description.notebooks], found_of)
    (target / LEFT_OUT).unlink(missing_ok=True)
    if missing:
        (target / LEFT_OUT).write_text("\n".join(missing) + "\n", "utf-8")
    return Collected(written, missing)


def _own(course: str, description: Description) -> Generator[tuple[str, str, str], None, None]:
    home = copies.home_of(course)
    for notebook in description.notebooks:
        if (home / notebook.file).is_file():
            yield getpass.getuser(), notebook.file, (home / notebook.file).read_text("utf-8")
