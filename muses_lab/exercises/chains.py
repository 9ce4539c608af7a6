"""Answers that are chains: which operators they are made of, in which order, and whether they give the same values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from muses_lab.api.chain import Chain, Model, Table
from muses_lab.api.evaluation import Evaluable
from muses_lab.api.frames import OverTime, TimeLayer
from muses_lab.api.layer import Layer
from muses_lab.api.steps import Step, known_names, steps
from muses_lab.courses.description import ChainExercise, CourseError
from muses_lab.exercises import pixels
from muses_lab.exercises.outcome import Verdict, joined
from muses_lab.plain import shown

_SHARE = 0.999
"""Of the pixels that must agree: two ways to write the same may differ where one divides by zero."""


def look(exercise: ChainExercise, answer: Any, expected: Callable[[], Chain], bounds: pixels.Bounds | None) -> Verdict:
    """Whether a chain is the one that is asked for.

    `expected` gives the course's own chain, if the exercise has one; both are computed in `bounds`, unless they are the
    same.
    """
    if unknown := unknown_names(exercise):
        raise CourseError(
            f"{exercise.id!r} asks for {', '.join(map(repr, unknown))}: no operator or method is called so"
        )
    chain, problem = chain_of(answer)
    if chain is None:
        return Verdict(False, problem, True)
    found = steps(chain)
    wrong = _operators(exercise, found) or _order(exercise, found)
    if wrong is not None:
        return wrong
    if exercise.expected is None:
        return Verdict(True)
    wanted = expected()
    if chain.identical(wanted):
        return Verdict(True)
    if bounds is None:
        raise CourseError(f"{exercise.id!r} has no `bounds`, and its course no `area`, to compare values in")
    difference = difference_of(chain, wanted, pixels.window(wanted, bounds), exercise.tolerance)
    if difference.share >= _SHARE:
        return Verdict(True)
    hint = exercise.hints.get("values", "")
    return Verdict(False, joined("The chain gives other values than expected", hint, str(difference)), bool(hint))


def unknown_names(exercise: ChainExercise) -> list[str]:
    """What an exercise asks for or forbids although nothing is called so; operators of notebooks have a namespace."""
    asked = [*exercise.needs, *exercise.without, *(name for pair in exercise.order for name in pair)]
    return sorted({one for name in asked for one in alternatives(name) if ":" not in one} - known_names())


class NotComputed(Exception):
    """The answer itself cannot be computed; the cause says why."""


def difference_of(chain: Any, wanted: Any, where: Any, tolerance: float) -> pixels.Compared:
    """How an answer's values differ from the expected ones on a window."""
    its = wanted.compute(where)
    try:
        mine = chain.compute(where)
    except Exception as error:
        raise NotComputed(str(error)) from error
    return pixels.compared(mine, its, tolerance)


def chain_of(answer: Any) -> tuple[Any, str]:
    """The chain that was given, of a layer its own; else None and what was given in words."""
    if isinstance(answer, Table):
        return None, "That is a table of values over polygons; the chain of its pixels is asked"
    if isinstance(answer, Model):
        return None, "That is a model that is fitted; the chain that applies it is asked"
    if isinstance(answer, Evaluable):
        return answer, ""
    if isinstance(answer, Layer):
        return answer.chain, ""
    if isinstance(answer, TimeLayer):
        return answer.over.cube, ""
    if isinstance(answer, OverTime):
        return answer.cube, ""
    if isinstance(answer, str | bytes):
        return None, f"{shown(answer)} is a text; give the chain itself, without quotes"
    if hasattr(answer, "stack") and hasattr(answer, "panel"):
        return None, "That is a map; give the chain that is shown on it"
    if hasattr(answer, "dims") or isinstance(answer, np.ndarray):
        return None, "That is an array of computed values; give the chain itself, as it is before `.compute(…)`"
    if callable(answer):
        name = getattr(answer, "__name__", str(answer))
        return None, f"`{name}` is a function: call it, with brackets after its name, `.{name}()`"
    return (
        None,
        f"{shown(answer)} ({type(answer).__name__}) is no chain: `course.collection(…)` begins one",
    )


def _operators(exercise: ChainExercise, found: Sequence[Step]) -> Verdict | None:
    there = frozenset().union(*(step.names for step in found))
    for needed in exercise.needs:
        if not there.intersection(alternatives(needed)):
            hint = exercise.hints.get(needed, "")
            return Verdict(False, joined(f"{_called(needed)} is missing in the chain", hint), bool(hint))
    for unwanted in exercise.without:
        if there.intersection(alternatives(unwanted)):
            hint = exercise.hints.get(unwanted, "")
            return Verdict(False, joined(f"{_called(unwanted)} must not be in the chain", hint), bool(hint))
    return None


def _order(exercise: ChainExercise, found: Sequence[Step]) -> Verdict | None:
    for first, second in exercise.order:
        missing, problem = "", _out_of_order(first, second, found)
        if exercise.expected is None and not problem:  # else the values tell, which other operators may give, too
            missing, problem = _missing_of_order(first, second, found)
        if problem:
            hint = exercise.hints.get(missing, "") or exercise.hints.get(f"{first} before {second}", "")
            return Verdict(False, joined(problem, hint), bool(hint))
    return None


def _missing_of_order(first: str, second: str, found: Sequence[Step]) -> tuple[str, str]:
    """Which of two operators is missing, and what is told of it; empty where both are there."""
    for name, told in (
        (first, f"it has to come before {_called(second)}"),
        (second, f"it has to come after {_called(first)}"),
    ):
        if not any(step.names & alternatives(name) for step in found):
            return name, f"{_called(name)} is missing in the chain: {told}"
    return "", ""


def _out_of_order(first: str, second: str, found: Sequence[Step]) -> str:
    """Why not every way from scenes to `second` leads through `first`; empty where each does."""
    before, after = alternatives(first), alternatives(second)
    bare: dict[str, bool] = {}
    """Whether a step is reached from scenes without `first`."""
    late = reached = False
    for step in found:
        inputs = [bare[one] for one in step.inputs if one in bare]
        if step.names & after and not step.names & before:
            late |= any(inputs)
            reached |= not all(inputs)
        bare[step.hash] = not step.names & before and (any(inputs) or not inputs)
    if not late:
        return ""
    if not any(step.names & before for step in found):
        return f"{_called(first)} is missing in the chain: it has to come before {_called(second)}"
    if reached:
        return f"One part of the chain comes to {_called(second)} without {_called(first)} before it"
    return f"{_called(first)} has to come before {_called(second)}, and not after it"


def alternatives(name: str) -> frozenset[str]:
    """`mask_clouds or where` → both."""
    return frozenset(part.strip() for part in name.split(" or "))


def _called(name: str) -> str:
    """As people write it: `.median`, `+`."""
    return " or ".join(
        f"`.{one.rpartition(':')[2]}`" if one[:1].isalpha() else f"`{one}`"
        for one in (p.strip() for p in name.split(" or "))
    )
