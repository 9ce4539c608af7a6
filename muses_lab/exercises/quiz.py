"""Questions of a quiz as a page shows them, and what it shows of an answer: with a kernel, or by the Jupyter server."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from muses_lab.courses.description import ChoiceExercise
from muses_lab.courses.journal import Best
from muses_lab.errors import ArgumentError
from muses_lab.exercises.choices import headline
from muses_lab.exercises.outcome import joined
from muses_lab.exercises.participant import CourseExercise
from muses_lab.plain import shown

Shown = dict[str, Any]
"""Values of JSON: `QuizQuestion` and `QuizAnswer` in js/types.d.ts."""


def questions(asked: list[CourseExercise]) -> list[Shown]:
    """The questions without what is right: a page must not know that before it has asked."""
    return [
        {
            "id": one.id, "title": one.exercise.title, "question": one.exercise.question, "points": one.exercise.points,
            "choices": [choice.text for choice in one.exercise.choices], "several": one.exercise.several,
        }
        for one in asked if isinstance(one.exercise, ChoiceExercise)
    ]  # fmt: skip


def check(asked: CourseExercise, chosen: list[int]) -> Shown:
    """Looks at choices (places from 0), keeps the answer, and gives what the page shows of it.

    Raises
    ------
    ArgumentError
        The question has no such choice, or none was made.
    """
    exercise = asked.now
    if not isinstance(exercise, ChoiceExercise) or not chosen or not set(chosen) <= set(range(len(exercise.choices))):
        raise ArgumentError(f"{shown(chosen)} are no choices of the question {asked.id!r}", argument="chosen")
    outcome = asked.check([place + 1 for place in chosen])
    best = asked.course.journal.best().get(asked.id)
    tries = best.tries if best else 1
    solved = outcome.right or (best is not None and best.right)
    found = _shown(asked, sorted(set(chosen)), outcome.state, tries, solved, outcome.message)
    return {**found, "note": outcome.note}


def answers(asked: list[CourseExercise]) -> dict[str, Shown]:
    """What was answered before, by question."""
    found = {}
    best = asked[0].course.journal.best() if asked else {}
    for one in asked:
        known = best.get(one.id)
        if known is not None and isinstance(one.now, ChoiceExercise):
            found[one.id] = _again(one, one.now, known)
    return found


def _again(asked: CourseExercise, exercise: ChoiceExercise, known: Best) -> Shown:
    """The last answer; what was chosen is found by its text, as long as the course has these choices."""
    texts = [choice.text for choice in exercise.choices]
    places = range(len(texts))
    for size in range(1, len(texts) + 1):
        for chosen in combinations(places, size):
            if "; ".join(texts[n] for n in chosen) == known.last.given:
                return _shown(asked, list(chosen), known.last.state, known.tries, known.right)
    return _shown(asked, [], known.last.state, known.tries, known.right, known.last.message)


def _shown(asked: CourseExercise, chosen: list[int], state: str, tries: int, solved: bool, message: str = "") -> Shown:
    exercise = asked.now
    assert isinstance(exercise, ChoiceExercise)
    marks = [{"choice": n, "right": exercise.choices[n].right, "text": exercise.choices[n].feedback} for n in chosen]
    if state == "right":
        message = exercise.right
    elif chosen:
        said = any(mark["text"] for mark in marks)
        message = joined(headline(exercise, frozenset(chosen)), "" if said else exercise.hint)
    return {"chosen": chosen, "state": state, "message": message, "marks": marks, "tries": tries, "solved": solved}
