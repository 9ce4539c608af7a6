"""Which tests run one after another on one worker: those of a module, and of modules that share something dear.

A module's fixtures (a hub, a cluster, a cache of blocks) are thus made once. pytest-xdist's own `xdist_group` hands
groups over in altered names of tests, which pytest 9.2 ignores without a word: every test went to any worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "hub": ("browser/test_hub.py", "test_hub.py", "test_hub_login.py"),  # one hub at a time
    "browser in threads": (  # one JupyterLab whose kernels compute by themselves: `lab_in_threads`
        "browser/test_chain.py", "browser/test_controls.py", "browser/test_parcels.py", "browser/test_polygons.py",
        "browser/test_series_panel.py",
    ),
    "browser": ("browser/",),  # one JupyterLab and its cluster for most of the others
    "server": (  # the Jupyter server of `conftest.py`
        "test_service.py", "test_delivery.py", "test_service_pools.py", "test_service_chains.py",
        "test_service_costs.py", "test_attacks_service.py", "test_service_uploads.py",
        "test_service_jobs.py", "test_operations.py",
    ),
}  # fmt: skip
LONG = ("browser", "slow")
"""Marks of what begins first, so that no worker begins a long group when the others have ended."""


def group(nodeid: str) -> str:
    path = PurePosixPath(nodeid.partition("::")[0])
    below = path.relative_to("tests") if path.is_relative_to("tests") else path
    shared = (name for name, starts in TOGETHER.items() for start in starts if str(below).startswith(start))
    return next(shared, str(below))


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Long groups first; within a group as they were collected."""
    turns: dict[str, int] = {}
    for item in items:
        turn = next((n for n, mark in enumerate(LONG) if item.get_closest_marker(mark)), len(LONG))
        turns[group(item.nodeid)] = min(turns.get(group(item.nodeid), turn), turn)
    return sorted(items, key=lambda item: turns[group(item.nodeid)])


class WholeGroups(LoadScopeScheduling):
    """Gives each worker whole groups, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def torn(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Groups of which more than one worker ran tests: then everything dear was made twice."""
    workers: dict[str, set[str]] = {}
    for report in reports:
        workers.setdefault(group(report.nodeid), set()).add(getattr(report, "worker_id", ""))
    return sorted(name for name, those in workers.items() if len(those) > 1)
