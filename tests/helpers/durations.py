"""Where the time of a run goes: told at its end, so that what grows is seen. Seconds are told and never asserted."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from tests.helpers.groups import group

SLOW = 5.0
"""Seconds above which a test carries the mark `slow`: its group then begins early."""
GROUPS = 12
"""How many of the slowest groups are told."""
WORTH_TELLING = 60.0
"""Seconds of a run; of a shorter one nothing is told."""


def tell(terminalreporter: Any) -> None:
    """The slowest groups (tests that one worker runs one after another), and slow tests that are not marked so."""
    groups: dict[str, float] = defaultdict(float)
    tests: dict[str, float] = defaultdict(float)
    marked = set()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if not isinstance(report, pytest.TestReport):
                continue
            test = report.nodeid
            groups[group(test)] += report.duration
            if report.when == "call":  # a fixture's time is that of all who share it
                tests[test] += report.duration
            if "slow" in report.keywords or "thorough" in report.keywords:
                marked.add(test)
    total = sum(groups.values())
    if total < WORTH_TELLING:
        return
    terminalreporter.section("where the time went")
    for name, seconds in sorted(groups.items(), key=lambda item: -item[1])[:GROUPS]:
        terminalreporter.write_line(f"{seconds:7.1f} s  {seconds / total:4.0%}  {name}")
    unmarked = {test: seconds for test, seconds in tests.items() if seconds > SLOW and test not in marked}
    if unmarked:
        terminalreporter.write_line(f"Over {SLOW:g} s and not marked slow (of a busy machine this says little):")
    for test, seconds in sorted(unmarked.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{seconds:7.1f} s  {test}")
