"""How much a statement is tried on: a few cases in `make test`, many in `make test-thorough`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import hypothesis
import pytest

FEW = 12
"""Examples of a property that says nothing of its own: enough to find what is often wrong."""
MANY = 50
"""How many times as many examples the thorough run tries."""


def examples(few: int, many: int | None = None) -> int:
    """`few`, or in a thorough run `many` (by default `MANY` times as many); for `settings(max_examples=…)`."""
    thorough = hypothesis.settings.get_current_profile_name() == "thorough"
    return (many or few * MANY) if thorough else few


def always(cases: Iterable[Any], chosen: int | Collection[Any]) -> list[Any]:
    """Cases for `parametrize`: the `chosen` ones run always, the others (marked `thorough`) in a thorough run only.

    A number chooses so many, evenly spread. A tuple is a case of several arguments. Choose so that each kind of case
    is there: what a test states stays stated, its breadth is for the thorough run.
    """
    found = list(cases)
    if isinstance(chosen, int):
        step = len(found) / chosen
        picked = {int(n * step) for n in range(chosen)}
    else:
        left = [case for case in chosen if case not in found]
        assert not left, f"{left} are no cases"
        picked = {n for n, case in enumerate(found) if case in chosen}
    return [case if n in picked else _thorough(case) for n, case in enumerate(found)]


def _thorough(case: Any) -> Any:
    if hasattr(case, "marks"):  # a `pytest.param`
        return pytest.param(*case.values, marks=[*case.marks, pytest.mark.thorough], id=case.id)
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough)
