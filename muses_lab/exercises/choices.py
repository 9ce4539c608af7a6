"""Answers to the questions of a quiz: which choices were made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from muses_lab.courses.description import ChoiceExercise
from muses_lab.exercises.outcome import Verdict, joined
from muses_lab.plain import plain, shown


def look(exercise: ChoiceExercise, answer: Any) -> Verdict:
    """Whether the right choices were made, those and no others."""
    chosen, problem = numbers_of(exercise, answer)
    if chosen is None:
        return Verdict(False, problem, True)
    said = [exercise.choices[n].feedback for n in sorted(chosen)]
    if chosen == right_of(exercise):
        return Verdict(True, joined(*said), any(said))
    if not chosen < right_of(exercise):  # what is right of it is not told again
        said = [exercise.choices[n].feedback for n in sorted(chosen - right_of(exercise))]
    return Verdict(False, joined(headline(exercise, chosen), *said), any(said))


def right_of(exercise: ChoiceExercise) -> frozenset[int]:
    """Places of the right choices, from 0."""
    return frozenset(n for n, choice in enumerate(exercise.choices) if choice.right)


def headline(exercise: ChoiceExercise, chosen: frozenset[int]) -> str:
    """What is told of a wrong answer as a whole; empty where the choices' own feedback says it."""
    right = right_of(exercise)
    if chosen < right:
        return "That is right, and more of the choices are"
    return "Not all that you chose is right" if exercise.several and chosen & right else ""


def numbers_of(exercise: ChoiceExercise, answer: Any) -> tuple[frozenset[int] | None, str]:
    """Places of the choices (from 0) that are given by number (from 1) or by text; else None and what is wrong."""
    given = plain(answer)
    items = [given] if isinstance(given, str | int) or not isinstance(given, Iterable) else list(given)
    if not items or given is None:
        return None, "Nothing was chosen"
    found = set()
    for item in items:
        place = _place(exercise, item)
        if place is None:
            count = len(exercise.choices)
            return (
                None,
                f"{shown(item)} is none of the choices: give a number from 1 to {count}, or the text of a choice",
            )
        found.add(place)
    if len(found) > 1 and not exercise.several:
        return None, f"{len(found)} were chosen; one of the choices is right"
    return frozenset(found), ""


def _place(exercise: ChoiceExercise, item: Any) -> int | None:
    if isinstance(item, str):
        texts = [choice.text.strip().casefold() for choice in exercise.choices]
        text = item.strip().casefold()
        return texts.index(text) if text in texts else None
    if isinstance(item, bool) or not isinstance(item, int) or not 1 <= item <= len(exercise.choices):
        return None
    return item - 1
