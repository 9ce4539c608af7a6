"""One answer looked at: by the kind of its exercise, and never with an exception for what a participant did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from muses_lab.api.chain import Chain
from muses_lab.courses.description import ChainExercise, ChoiceExercise, CourseError, MapExercise, NumberExercise
from muses_lab.errors import MusesError
from muses_lab.exercises import chains, choices, maps, numbers
from muses_lab.exercises.outcome import Outcome, Verdict, joined
from muses_lab.exercises.pixels import Bounds
from muses_lab.plain import first_line

Exercise = NumberExercise | ChainExercise | MapExercise | ChoiceExercise


class Context(Protocol):
    """What of a course it takes to look at an answer."""

    @property
    def area(self) -> Bounds | None: ...
    def document(self, file: str) -> Chain:
        """The chain of a document in the course's folder."""
        ...


def outcome(exercise: Exercise, answer: Any, course: Context) -> Outcome:
    """What becomes of an answer: `right`, `wrong` with what to look at, or `error` where it could not be looked at.

    `None`, which stands where an answer is to be written, is none: the exercise stays `open`.

    >>> outcome(course.description.exercise("clear-dates")[1], 12, course).state        # doctest: +SKIP
    'right'
    """
    if answer is None:
        return Outcome(exercise.id, "open", _nothing(exercise), 0.0, exercise.points)
    try:
        verdict = _verdict(exercise, answer, course)
    except CourseError as error:
        return _error(exercise, "This exercise cannot be looked at here; tell your trainer", first_line(error))
    except chains.NotComputed as error:
        return _error(exercise, "Your chain cannot be computed", first_line(error))
    except Exception as error:  # whatever an answer may raise: a broken array, a chain of a catalogue that is gone
        name = "" if isinstance(error, MusesError) else f"{type(error).__name__}: "
        return _error(exercise, "The answer could not be looked at", name + first_line(error))
    if verdict.right:
        return Outcome(
            exercise.id, "right", joined(exercise.right or "", verdict.message), exercise.points, exercise.points
        )
    general = "" if verdict.specific else exercise.hint
    message = joined(verdict.message, general) or "Look at the question again."
    return Outcome(exercise.id, "wrong", message, 0.0, exercise.points)


def _nothing(exercise: Exercise) -> str:
    """What is told of `None`, which a notebook has in the place of the answer."""
    own = exercise.hints.get("nothing", "") if isinstance(exercise, NumberExercise) else ""
    why = "`None` is also what `print(…)`, and a function without `return`, give back"
    return joined(own or "Replace `None` by your answer", why)


def _verdict(exercise: Exercise, answer: Any, course: Context) -> Verdict:
    if isinstance(exercise, NumberExercise):
        return numbers.look(exercise, answer)
    if isinstance(exercise, ChoiceExercise):
        return choices.look(exercise, answer)
    expected, bounds = _expected(exercise, course), exercise.bounds or course.area
    if isinstance(exercise, MapExercise):
        return maps.look(exercise, answer, expected, bounds)
    return chains.look(exercise, answer, expected, bounds)


def _expected(exercise: ChainExercise | MapExercise, course: Context) -> Callable[[], Chain]:
    def read() -> Chain:
        if exercise.expected is None:
            raise CourseError(f"the exercise {exercise.id!r} names no `expected` chain")
        try:
            chain = course.document(exercise.expected)
            _ = chain.published
        except Exception as error:
            raise CourseError(f"{exercise.expected}: {first_line(error)}") from error
        return chain

    return read


def _error(exercise: Exercise, said: str, why: str) -> Outcome:
    return Outcome(exercise.id, "error", joined(f"{said}: {why}"), 0.0, exercise.points)
