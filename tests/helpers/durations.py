"""Where the time of a run goes: told at its end, so that what grows is seen. Seconds are told and never asserted."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from tests.helpers.groups import group, torn

SLOW = 5.0
"""Seconds above which a test carries the mark `slow`: its group then begins early."""
GROUPS = 12
"""How many of the slowest groups are told."""
WORTH_TELLING = 60.0
"""Seconds of a run; of a shorter one nothing is told."""


def tell(terminalreporter: Any) -> None:
    """The slowest groups (tests that one worker runs one after another), and slow tests that are not marked so."""
    every = [r for several in terminalreporter.stats.values() for r in several if isinstance(r, pytest.TestReport)]
    seconds: dict[str, float] = defaultdict(float)
    tests: dict[str, float] = defaultdict(float)
    for report in every:
        seconds[group(report.nodeid)] += report.duration
        if report.when == "call" and not {"slow", "thorough"} & set(report.keywords):
            tests[report.nodeid] += report.duration  # a fixture's time is that of all who share it
    if torn(every):
        terminalreporter.section("run by more than one worker, against helpers/groups.py", red=True)
        terminalreporter.write_line(", ".join(torn(every)))
    total = sum(seconds.values())
    if total < WORTH_TELLING:
        return
    terminalreporter.section("where the time went")
    for name, took in _longest(seconds)[:GROUPS]:
        terminalreporter.write_line(f"{took:7.1f} s  {took / total:4.0%}  {name}")
    unmarked = [(test, took) for test, took in _longest(tests) if took > SLOW]
    if unmarked:
        terminalreporter.write_line(f"Over {SLOW:g} s and not marked slow (on a busy machine this says little):")
    for test, took in unmarked:
        terminalreporter.write_line(f"{took:7.1f} s  {test}")


def _longest(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda item: -item[1])
