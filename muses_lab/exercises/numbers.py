"""Answers that are numbers: within the tolerance or not, and what may have gone wrong."""

from __future__ import annotations

import datetime
import math
import numbers
from typing import Any

import numpy as np

from muses_lab.api.evaluation import Evaluable
from muses_lab.api.layer import Layer
from muses_lab.courses.description import NumberExercise
from muses_lab.exercises.noise import noise
from muses_lab.exercises.outcome import Verdict, joined
from muses_lab.plain import plain, shown

_NOISE = 1e-9
"""Relative difference that is none: 0.1 + 0.2 is 0.3."""

_DIGITS = 8
"""The same of numbers with fewer digits, in steps of their type: what a chain gives is float32, and 0.1 is no such."""

_FACTORS = (
    (100.0, "about 100 times what is expected: per cent instead of a share, or centimetres instead of metres?"),
    (1e-2, "about a hundredth of what is expected: a share instead of per cent, or metres instead of centimetres?"),
    (1e4, "about 10 000 times what is expected: stored integers instead of reflectances, or m² instead of hectares?"),
    (1e-4, "about a ten-thousandth of what is expected: hectares instead of m², or scaled a second time?"),
    (1e3, "about 1000 times what is expected: metres instead of kilometres?"),
    (1e-3, "about a thousandth of what is expected: kilometres instead of metres?"),
    (1e6, "about a million times what is expected: m² instead of km²?"),
    (1e-6, "about a millionth of what is expected: km² instead of m²?"),
)  # fmt: skip


def look(exercise: NumberExercise, answer: Any) -> Verdict:
    """Whether a number, or an array of numbers, is the expected one."""
    expected = np.asarray(exercise.expected, dtype=float)
    given, problem = _numbers(answer)
    if given is None:
        return Verdict(False, problem, True)
    if given.shape != expected.shape and given.size == expected.size == 1:
        given = given.reshape(expected.shape)
    if given.shape != expected.shape:
        hint = exercise.hints.get("shape", "")
        return Verdict(False, joined(hint, _shapes(given, expected)), bool(hint))
    if np.isnan(given).any():
        return Verdict(False, _missing(given))
    if np.isinf(given).any():
        return Verdict(False, "Infinite values: something was divided by zero")
    close = _close(given, expected, exercise.tolerance)
    if close.all():
        return Verdict(True)
    if expected.ndim:
        return _of_array(exercise, given, expected, close)
    for value, hint in exercise.near:
        if _close(given, np.asarray(value), exercise.tolerance).all():
            return Verdict(False, hint, True)
    return _of_one(exercise, float(given), float(expected))


def _of_one(exercise: NumberExercise, given: float, expected: float) -> Verdict:
    unit = f" {exercise.unit}" if exercise.unit else ""
    asked = f"The answer is asked in {exercise.unit}" if exercise.unit else ""
    counted = expected.is_integer() and not exercise.tolerance and not exercise.unit
    if not counted and (factor := _factor(given, expected, exercise.tolerance)):
        return Verdict(False, joined(f"{given:g}{unit} is {factor}", asked))
    if expected and _close(np.asarray(-given), np.asarray(expected), exercise.tolerance).all():
        return Verdict(False, f"{given:g} has the right size and the wrong sign")
    high = given > expected
    hint = exercise.hints.get("too_high" if high else "too_low", "")
    return Verdict(False, joined(f"{given:g}{unit} is too {'high' if high else 'low'}", hint), bool(hint))


def _of_array(exercise: NumberExercise, given: Any, expected: Any, close: Any) -> Verdict:
    wrong = ~close
    over, under = int((wrong & (given > expected)).sum()), int((wrong & (given < expected)).sum())
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = first[0] if len(first) == 1 else first
    side = "high" if given[first] > expected[first] else "low"
    texts = [f"{int(close.sum())} of {close.size} values are right"]
    texts.append(f"the one at [{where}], {given[first]:g}, is too {side}")
    for factor, said in _FACTORS:
        if _close(given / factor, expected, exercise.tolerance).all():
            return Verdict(False, f"The values are {said}")
    high, low = exercise.hints.get("too_high", ""), exercise.hints.get("too_low", "")
    hint = high if not under else low if not over else ""
    return Verdict(False, joined("; ".join(texts), hint), bool(hint))


def _close(given: Any, expected: Any, tolerance: float) -> Any:
    relative = max(_NOISE, _DIGITS * float(np.finfo(given.dtype).eps))
    return np.abs(given.astype(float) - expected) <= tolerance * (1 + relative) + noise(given, expected, relative)


def _factor(given: float, expected: float, tolerance: float) -> str:
    """What a wrong unit would explain."""
    if not expected or not given or not math.isfinite(given):
        return ""
    share = max(0.02, min(tolerance / abs(expected), 0.1))
    return next((said for factor, said in _FACTORS if abs(given / factor / expected - 1) <= share), "")


def _numbers(answer: Any) -> tuple[Any, str]:
    """The answer as an array of floats with as many digits as it has, or None and why it is none."""
    if isinstance(answer, bool | np.bool_):
        return None, f"`{answer}` is true or false; a number is asked"
    if isinstance(answer, Layer | Evaluable):
        return None, (
            "That is a chain, which has not been computed: `.compute(window)`, `.at(lon, lat)` or `.over(polygons)` "
            "gives values, and a number is made of them, for example by `.mean().item()`"
        )
    if isinstance(answer, str):
        try:
            float(answer.replace(",", "."))
        except ValueError:
            return None, f"{shown(answer)} is a text; a number is asked"
        return None, f"{shown(answer)} is a text: leave out the quotes, and write decimals with a point"
    if isinstance(answer, datetime.date | datetime.timedelta | np.datetime64 | np.timedelta64):
        return None, f"{answer} is a date or a time; a number is asked"
    if callable(answer) and not hasattr(answer, "__array__"):
        return None, f"`{getattr(answer, '__name__', answer)}` is a function: call it, with brackets after its name"
    if isinstance(answer, complex | np.complexfloating):
        return None, f"{answer} is a complex number"
    if isinstance(answer, np.ma.MaskedArray):
        return np.ma.filled(answer.astype(float), np.nan), ""
    if isinstance(answer, numbers.Number) and not isinstance(answer, np.generic):
        return np.asarray(float(answer)), ""  # type: ignore[arg-type]
    if isinstance(answer, dict | set | frozenset):
        return None, f"A {type(answer).__name__} was given; a number is asked"
    try:
        found = np.asarray(answer)
        if found.dtype.kind == "O":
            found = np.asarray(plain(answer))
        if found.dtype.kind not in ("biuf" if found.ndim else "iuf"):
            raise TypeError
        return found if found.dtype.kind == "f" else found.astype(float), ""
    except (TypeError, ValueError):
        return None, f"{shown(answer)} ({type(answer).__name__}) is no number and no array of numbers"


def _shapes(given: Any, expected: Any) -> str:
    if not expected.ndim:
        size = " × ".join(map(str, given.shape))
        example = "one of them, or `.mean()` or another statistic" if given.size else "it is empty"
        return f"One number is asked; {size} values were given: {example}"
    if not given.ndim:
        return f"{len(expected)} numbers are asked; one was given"
    sizes = [" × ".join(map(str, one.shape)) for one in (expected, given)]
    return f"An array of {sizes[0]} values is asked; {sizes[1]} were given"


def _missing(given: Any) -> str:
    if not given.ndim:
        return (
            "The value is missing (NaN): the place is masked or outside of the data, or missing values went into the "
            "statistic (`np.nanmean`, `skipna=True`)"
        )
    return f"{int(np.isnan(given).sum())} of {given.size} values are missing (NaN)"
