"""What a participant has earned: points by notebook, what is open, and whether it is enough for the badge."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from muses_lab.courses.description import CourseError, Description
from muses_lab.courses.journal import Best, Broken, Journal, best_of
from muses_lab.exercises.outcome import points_text


@dataclass(frozen=True)
class ExerciseScore:
    """One exercise: what was earned of it."""

    id: str
    title: str
    kind: str
    points: float
    of: float
    tries: int = 0
    state: str = "open"
    """`open` (not tried), `right`, `wrong` or `error`, of the best try."""
    message: str = ""
    """What the last try was told."""


@dataclass(frozen=True)
class NotebookScore:
    """One notebook: its exercises."""

    file: str
    title: str
    exercises: tuple[ExerciseScore, ...]
    minutes: int | None = None
    """That it takes, as its author says."""

    @property
    def points(self) -> float:
        return sum(one.points for one in self.exercises)

    @property
    def of(self) -> float:
        return sum(one.of for one in self.exercises)

    @property
    def right(self) -> int:
        return sum(one.state == "right" for one in self.exercises)


@dataclass(frozen=True, repr=False)
class Score:
    """How far a participant has come; made by `course.score()`, shown as a table with a row for each notebook."""

    course: str
    notebooks: tuple[NotebookScore, ...]
    badge_share: float
    """Share of all points from which there is a badge."""
    broken: tuple[Broken, ...] = ()
    """Lines of the file of answers that are none."""
    last: datetime | None = None
    """When the last point was earned."""

    @property
    def points(self) -> float:
        return sum(one.points for one in self.notebooks)

    @property
    def of(self) -> float:
        return sum(one.of for one in self.notebooks)

    @property
    def share(self) -> float:
        """Of all points; 0 where a course has no exercise."""
        return self.points / self.of if self.of else 0.0

    @property
    def needed(self) -> float:
        """Points from which there is the badge."""
        return self.badge_share * self.of

    @property
    def has_badge(self) -> bool:
        return self.of > 0 and self.points >= self.needed - 1e-9

    def open(self) -> list[tuple[NotebookScore, ExerciseScore]]:
        """Exercises without points yet."""
        return [(book, one) for book in self.notebooks for one in book.exercises if one.state != "right"]

    def require(self) -> Score:
        """The score itself where there is a badge for it.

        Raises
        ------
        CourseError
            Points are missing.
        """
        if self.has_badge:
            return self
        if not self.of:
            raise CourseError(f"the course {self.course!r} has no exercises, so there is no badge")
        listed = "\n".join(f"  - {one.title} ({points_text(one.of)}) in {book.file}" for book, one in self.open())
        raise CourseError(
            f"you get the badge from {self.needed:g} of {points_text(self.of)} on, and have {self.points:g}. "
            f"Still open:\n{listed}"
        )

    def table(self) -> pd.DataFrame:
        """A row for each exercise: notebook, exercise, kind, state, tries, points, of."""
        rows = [
            {"notebook": book.file, "exercise": one.id, "kind": one.kind, "state": one.state, "tries": one.tries,
             "points": one.points, "of": one.of}
            for book in self.notebooks for one in book.exercises
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["notebook", "exercise", "kind", "state", "tries", "points", "of"])

    def to_json(self) -> dict[str, Any]:
        """As the card of the course takes it."""
        return {
            "notebooks": [
                {
                    "file": book.file, "title": book.title, "minutes": book.minutes,
                    "points": book.points, "of": book.of, "right": book.right,
                    "exercises": [
                        {"id": one.id, "title": one.title, "kind": one.kind, "state": one.state, "tries": one.tries,
                         "points": one.points, "of": one.of, "message": one.message}
                        for one in book.exercises
                    ],
                }
                for book in self.notebooks
            ],
            "points": self.points, "of": self.of,
            "badge": {"earned": self.has_badge, "needed": round(self.needed, 6)},
        }  # fmt: skip

    def _notes(self) -> list[str]:
        return [f"The file of your answers: {one}" for one in self.broken]

    def _badge(self) -> str:
        if not self.of:
            return ""
        if self.has_badge:
            return "Enough for the badge: course.badge()"
        return f"You get the badge from {points_text(self.needed)} on: {self.needed - self.points:g} to go"

    def __repr__(self) -> str:
        width = max([len(one.title) for one in self.notebooks], default=0)
        lines = [
            f"{one.title:<{width}}  {_count(one)}  {one.points:g} of {points_text(one.of)}" for one in self.notebooks
        ]
        total = f"{'All':<{width}}  {self.points:g} of {points_text(self.of)} ({100 * self.share:.0f} %)"
        return "\n".join([*lines, total, *filter(None, [self._badge()]), *self._notes()])

    def _repr_html_(self) -> str:
        books = "".join(_row(one.title, _count(one), f"{one.points:g} of {one.of:g}") for one in self.notebooks)
        total = _row("All", f"{100 * self.share:.0f} %", f"{self.points:g} of {self.of:g}")
        below = "".join(f"<div>{html.escape(text)}</div>" for text in (self._badge(), *self._notes()) if text)
        return (
            f'<table><thead><tr><th scope="col" style="{_LEFT}">Notebook</th><th scope="col">Exercises</th>'
            f'<th scope="col">Points</th></tr></thead><tbody>{books}</tbody><tfoot>{total}</tfoot></table>{below}'
        )


_LEFT = "text-align: left"


def _row(head: str, *cells: str) -> str:
    data = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row" style="{_LEFT}">{html.escape(head)}</th>{data}</tr>'


def score_of(description: Description, journal: Journal) -> Score:
    """The score of the answers in a journal. Exercises that the course does not have any more do not count."""
    answers, broken = journal.read()
    best = best_of(answers)
    books = tuple(
        NotebookScore(
            notebook.file,
            notebook.title,
            tuple(_scored(one, best.get(one.id)) for one in notebook.exercises),
            notebook.minutes,
        )
        for notebook in description.notebooks
    )
    known = {exercise.id for _, exercise in description.exercises()}
    earned = [answer.at for answer in answers if answer.points and answer.exercise in known and answer.at]
    return Score(description.course, books, description.badge, tuple(broken), max(earned, default=None))


def _scored(exercise: Any, best: Best | None) -> ExerciseScore:
    title = exercise.title or exercise.id
    if best is None:
        return ExerciseScore(exercise.id, title, exercise.kind, 0.0, exercise.points)
    points = best.earned(exercise.points)
    state = "right" if best.right else best.last.state
    return ExerciseScore(
        exercise.id, title, exercise.kind, points, exercise.points, best.tries, state, best.last.message
    )


def _count(book: NotebookScore) -> str:
    return f"{book.right} of {len(book.exercises)} right"
