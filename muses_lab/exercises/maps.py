"""Answers that are maps: their pixels are compared with those of the expected one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from muses_lab.api.chain import Chain
from muses_lab.api.frames import OverTime, TimeLayer
from muses_lab.courses.description import CourseError, MapExercise
from muses_lab.exercises import pixels
from muses_lab.exercises.chains import chain_of, difference_of
from muses_lab.exercises.outcome import Verdict, joined


def look(exercise: MapExercise, answer: Any, expected: Callable[[], Chain], bounds: pixels.Bounds | None) -> Verdict:
    """Whether a layer, a chain, or the one layer of a map shows what is expected, in so large a share of the pixels."""
    chain, problem = _shown(answer)
    if chain is None:
        return Verdict(False, problem, True)
    wanted = expected()
    if chain.identical(wanted):
        return Verdict(True)
    if bounds is None:
        raise CourseError(f"{exercise.id!r} has no `bounds`, and its course no `area`, to compare pixels in")
    difference = difference_of(chain, wanted, pixels.window(wanted, bounds, exercise.resolution), exercise.tolerance)
    if difference.share >= exercise.share:
        return Verdict(True)
    hint = exercise.hints.get(difference.reason, "") or exercise.hints.get("values", "")  # type: ignore[call-overload]
    asked = "" if difference.form else f"{100 * exercise.share:g} % have to be right"
    return Verdict(False, joined(hint, str(difference), asked), bool(hint))


def _shown(answer: Any) -> tuple[Any, str]:
    """What a map is made of, or None and why that is not one thing."""
    if isinstance(answer, TimeLayer | OverTime):
        return None, 'That has a frame for each date; give the layer of one: `.at("2018-07-03").chain`'
    if not (hasattr(answer, "stack") and hasattr(answer, "panel")):
        return chain_of(answer)
    layers = answer.stack()
    if len(layers) == 1:
        return layers[0].layer.chain, ""
    if not layers:
        return None, "The map has no layer of a chain yet: `m.add(chain.style(…))`"
    names = ", ".join(repr(one.name) for one in layers)
    return (
        None,
        f"The map has {len(layers)} layers ({names}): give the one that is meant, `m.layer({layers[-1].name!r})`",
    )
