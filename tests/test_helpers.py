"""Threads that help: order, errors at their turn, whoever has work of their own goes first, ends that leave nobody."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muses_lab.resources.helpers import Helpers
from tests.helpers.waiting import within


def with_threads(threads: int) -> Helpers:
    helpers = Helpers()
    helpers.threads = threads
    return helpers


@given(st.lists(st.integers(), max_size=40), st.integers(1, 4))
def test_what_is_made_comes_in_order_each_once(items: list[int], threads: int) -> None:
    helpers, made = with_threads(threads), []

    def work(item: int) -> int:
        made.append(item)
        return item + 1

    with helpers.working():
        assert list(helpers.each(work, items)) == [item + 1 for item in items]
    assert sorted(made) == sorted(items)
    assert helpers.spare == threads


def test_a_thread_without_work_helps_and_one_that_works_alone_is_not_helped() -> None:
    helpers, both = with_threads(2), threading.Barrier(2)

    def work(item: int) -> int:
        if item in (0, 9):
            both.wait(30)  # neither ends without the other
        return item

    with helpers.working():
        assert list(helpers.each(work, range(10))) == list(range(10))
        assert helpers.helped > 0
        helped, name = helpers.helped, threading.current_thread().name
        assert set(helpers.each(lambda _: threading.current_thread().name, range(10), alone=True)) == {name}
        with helpers.working():  # another one has work
            assert set(helpers.each(lambda _: threading.current_thread().name, range(10))) == {name}
    assert helpers.helped == helped


def test_who_helps_ends_when_others_have_work() -> None:
    helpers, begun, go_on = with_threads(2), threading.Event(), threading.Event()
    by: dict[int, str] = {}

    def work(item: int) -> int:
        by[item] = threading.current_thread().name
        if item == 9:
            begun.set()
            assert go_on.wait(30)
        elif item == 0:
            assert begun.wait(30)
        return item

    with helpers.working():
        found = helpers.each(work, range(10))
        assert next(found) == 0
        with helpers.working():
            go_on.set()
            assert within(30, lambda: helpers.spare == 0), "who helped is still there"
            assert list(found) == list(range(1, 10))
    assert [n for n, name in by.items() if name != threading.current_thread().name] == [9]


def test_errors_come_at_their_turn_and_an_end_waits_for_who_helps() -> None:
    helpers, begun, ended = with_threads(2), threading.Event(), []

    def work(item: int) -> int:
        if item == 9:
            begun.set()
            time.sleep(0.2)
            ended.append(item)
            raise KeyError("nine")
        assert begun.wait(30)
        return item

    with helpers.working():
        found = helpers.each(work, range(10))
        assert [next(found) for _ in range(9)] == list(range(9))
        with pytest.raises(KeyError, match="nine"):
            next(found)
        begun.clear()
        given_up = helpers.each(work, range(10))
        next(given_up)
        given_up.close()
    assert ended == [9, 9] and helpers.spare == 2
