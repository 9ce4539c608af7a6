"""How tests are given to workers: whole groups, long ones first; and which cases are left to the thorough run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers import REPOSITORY
from tests.helpers.examples import always
from tests.helpers.groups import TOGETHER, WholeGroups, group, torn

TESTS = [
    "tests/browser/test_a.py::t",
    "tests/test_hub.py::t[x::y@z]",
    "tests/browser/test_b.py::t",
    "tests/test_b.py::t",
]


class Worker:
    """What the scheduler knows of one."""

    shutting_down, gateway = False, SimpleNamespace(id="")

    def __init__(self) -> None:
        self.given: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_a_group_goes_to_one_worker_in_the_order_of_the_tests() -> None:
    option = SimpleNamespace(debug=None)
    config: Any = SimpleNamespace(option=option, getvalue=lambda name: ["2*popen"] if name == "tx" else None)
    workers: list[Any] = [Worker(), Worker()]
    scheduler = WholeGroups(config, SimpleNamespace(loadscopesched=lambda *_: None))
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, TESTS)
    scheduler.schedule()
    assert [worker.given for worker in workers] == [[0, 2, 3], [1]]


def test_what_is_declared_to_be_together_is_there() -> None:
    for starts in TOGETHER.values():
        assert all((REPOSITORY / "tests" / start).exists() for start in starts)
    assert group("tests/test_service_chains.py::t") == group("tests/test_delivery.py::TestX::t") == "server"
    assert group("tests/test_service_views.py::t") == "test_service_views.py"
    assert group("tests/browser/test_hub.py::t") == "hub" and group("tests/browser/test_now.py::t") == "browser"
    assert group("tests/browser/test_controls.py::t") == "browser in threads"


def test_a_torn_group_is_told() -> None:
    told: list[Any] = [
        SimpleNamespace(nodeid=test, worker_id=f"gw{n}") for n, test in enumerate([TESTS[0], TESTS[1], TESTS[2]])
    ]
    assert torn(told) == ["browser"] and torn(told[:2]) == []


def test_some_cases_always_run_and_the_others_in_a_thorough_run() -> None:
    def left(cases: list[Any]) -> list[bool]:
        return [any(mark.name == "thorough" for mark in getattr(case, "marks", ())) for case in cases]

    assert left(always(range(10), 3)) == [n not in (0, 3, 6) for n in range(10)]
    assert left(always(["a", "b"], ["b"])) == [True, False]
    pairs = always([("a", 1), pytest.param("b", 2, id="two", marks=pytest.mark.slow)], [("a", 1)])
    assert pairs[0] == ("a", 1) and pairs[1].values == ("b", 2) and pairs[1].id == "two"
    assert [mark.name for mark in pairs[1].marks] == ["slow", "thorough"]
    with pytest.raises(AssertionError, match=r"\['c'\] are no cases"):
        always(["a", "b"], ["c"])
