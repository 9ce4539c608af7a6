"""Memory that is used again: arrays never share it while somebody has them, and what is free is bounded."""

from __future__ import annotations

import os
import threading

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muses_lab.resources import buffers as module
from muses_lab.resources.buffers import Buffers

BLOCK = 512 * 512 * 2

pytestmark = pytest.mark.skipif(not module._RELEASE, reason="memory is given back piece by piece on Linux only")


def test_an_array_is_like_any_other() -> None:
    made = Buffers(1 << 30).empty((3, 256, 512), np.float32)
    made[...] = np.arange(3 * 256 * 512).reshape(made.shape)
    assert made.flags.c_contiguous and made.flags.writeable and made.flags.aligned
    assert made.base is not None and made[1:].sum() == np.arange(256 * 512, 3 * 256 * 512).sum()
    made.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        made[0] = 1


def test_what_is_let_go_is_used_again_and_not_before() -> None:
    buffers = Buffers(1 << 30)
    first = buffers.empty((512, 512), np.uint16)
    view, address = first[100:, 3], first.__array_interface__["data"][0]
    first[...] = 7
    del first
    second = buffers.empty((512, 512), np.uint16)
    second[...] = 9
    assert (view == 7).all() and second.__array_interface__["data"][0] != address, "somebody still looks at it"
    del view
    third = buffers.empty((1024, 512), np.uint8)
    assert third.__array_interface__["data"][0] == address
    assert (buffers.fresh, buffers.again, buffers.used, buffers.taken) == (2, 1, 2 * BLOCK, 2 * BLOCK)


def test_small_and_very_large_ones_are_numpys_own() -> None:
    buffers = Buffers(1 << 30)
    assert buffers.empty((100, 100), np.uint16).base is None
    assert buffers.empty((5000, 5000), np.float32).base is None
    assert (buffers.fresh, buffers.taken) == (0, 0)


def test_free_memory_of_another_size_is_given_back_before_there_is_too_much() -> None:
    buffers = Buffers(64 << 20)
    grown = psutil.Process().memory_info().rss
    for _ in range(2):
        for shape, dtype in (((512, 512), np.uint16), ((512, 512), np.float64), ((512, 512), np.uint8)):
            many = [buffers.empty(shape, dtype) for _ in range((56 << 20) // (512 * 512 * np.dtype(dtype).itemsize))]
            for array in many:
                array.fill(1)
            assert buffers.taken <= 64 << 20
            assert psutil.Process().memory_info().rss - grown < 80 << 20
            del many, array
    assert buffers.fresh > buffers.again


def test_what_is_in_use_is_never_given_back() -> None:
    buffers = Buffers(4 << 20)
    kept = [buffers.empty((512, 512), np.uint16) for _ in range(40)]  # five times what is allowed
    for number, array in enumerate(kept):
        array.fill(number)
    others = [buffers.empty((512, 512), np.float32) for _ in range(4)]
    assert [int(array[0, 0]) for array in kept] == list(range(40)) and len(others) == 4
    assert all((array == number).all() for number, array in enumerate(kept))


def test_what_is_given_back_is_free_and_a_child_process_has_its_own() -> None:
    """Resident memory alone would not tell: what is shared stays with the system when it is no longer mapped."""
    buffers = Buffers(8 << 20)
    array = buffers.empty((512, 512), np.float64)
    array.fill(1)
    pid = os.fork()
    if pid == 0:
        array.fill(2)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert (array == 1).all()
    before = buffers.empty((512, 512), np.float64)
    before.fill(3)
    address = before.__array_interface__["data"][0]
    del before
    buffers.limit(0)
    after = buffers.empty((512, 512), np.float64)
    assert after.__array_interface__["data"][0] == address and (after == 0).all(), "it comes anew from the system"


def test_threads_never_get_the_same_memory() -> None:
    buffers, wrong = Buffers(16 << 20), []

    def work(mark: int) -> None:
        rng = np.random.default_rng(mark)
        mine: list[np.ndarray] = []
        for _ in range(300):
            array = buffers.empty((256, 256 * int(rng.integers(1, 4))), np.uint8)
            array.fill(mark)
            mine.append(array)
            if len(mine) > 8:
                gone = mine.pop(int(rng.integers(len(mine))))
                if not (gone == mark).all():
                    wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["u1", "u2", "f4"]), st.booleans()), max_size=60))
def test_sums_are_right_and_nothing_is_overwritten(steps: list[tuple[int, str, bool]]) -> None:
    buffers = Buffers(8 << 20)
    alive: list[tuple[np.ndarray, int]] = []
    for number, (rows, dtype, drop) in enumerate(steps):
        array = buffers.empty((rows * 16, 1024), dtype)
        array.fill(number)
        alive.append((array, number))
        if drop:
            alive.pop(0)
        del array
        assert all((kept == mark).all() for kept, mark in alive)
    buffers.empty((64, 1024), "u1")
    expected = sum(-(-kept.nbytes // 65536) * 65536 for kept, _ in alive if kept.base is not None)
    buffers._collect()
    assert buffers.used == expected <= buffers.taken
