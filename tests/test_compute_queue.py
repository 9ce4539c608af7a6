"""What is shared, what goes first, what stops when nobody waits: the queue over threads and a scripted backend."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from muses_lab import compute
from muses_lab.compute.queue import Executor
from muses_lab.compute.threads import ThreadsBackend
from muses_lab.errors import Cancelled, ComputeError, ReadError
from tests.helpers.scripted_engine import Document, ScriptedEngine
from tests.helpers.waiting import within


class ScriptedBackend:
    """Keeps what it is given until the test lets it go."""

    name = "scripted"

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.given: dict[Any, tuple[str, Future]] = {}
        self.order: list[Any] = []
        self.cancelled: list[str] = []
        self.expected: list[Any] = []

    def prefetch(self, chain_hash: str, task: Any) -> None:
        self.expected.append(task)

    def cancel_hint(self, chain_hash: str, task: Any) -> None:
        self.expected.remove(task)

    def submit(self, chain_hash: str, payload: Callable[[], bytes], task: Any, token: str) -> Future:
        future: Future = Future()
        self.given[task] = (token, future)
        self.order.append(task)
        return future

    def finish(self, task: Any, error: Exception | None = None) -> None:
        _, future = self.given.pop(task)
        future.set_exception(error) if error else future.set_result(f"result of {task}")

    def cancel(self, token: str) -> None:
        self.cancelled.append(token)

    def status(self) -> dict[str, Any]:
        return {"backend": self.name, "workers": 1, "threads": self.threads, "state": "ready"}

    def counters(self, timeout: float = 10) -> dict[str, int]:
        return {}

    def close(self) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[tuple[ScriptedBackend, Executor]]:
    backend = ScriptedBackend()
    executor = Executor(backend)
    yield backend, executor
    executor.close()


@pytest.fixture
def threads() -> Iterator[tuple[ScriptedEngine, Executor]]:
    engine = ScriptedEngine()
    executor = Executor(ThreadsBackend(2, lambda: engine))
    yield engine, executor
    executor.close()


def test_all_who_ask_for_a_block_share_one_evaluation(scripted):
    backend, executor = scripted
    tickets = [executor.request(Document(), "block") for _ in range(5)]
    other = executor.request(Document(hash="d" * 64), "block")
    assert backend.order == ["block", "block"]  # once for each chain
    backend.given["block"][1].set_result("other")
    assert other.future.result(1) == "other"
    assert not any(t.future.done() for t in tickets)
    late = executor.request(Document(), "block")  # while it is running
    assert len(backend.order) == 2
    assert not late.future.done()


def test_a_later_request_after_the_end_evaluates_again(scripted):
    backend, executor = scripted
    first = executor.request(Document(), "block")
    backend.finish("block")
    assert first.future.result(1) == "result of block"
    executor.request(Document(), "block")
    assert backend.order == ["block", "block"]


def test_no_more_than_twice_the_threads_are_in_flight_and_the_most_urgent_goes_next(scripted):
    backend, executor = scripted
    for n in range(10):
        executor.request(Document(), n, priority=10 - n)
    assert backend.order == [0, 1]
    assert executor.status() == {
        "backend": "scripted", "workers": 1, "threads": 1, "state": "ready", "queued": 8, "running": 2,
        "expected_seconds": 0, "counts": {"submitted": 2, "finished": 0, "dropped": 0, "stopped": 0},
    }  # fmt: skip
    for n in (0, 1, 9, 8, 7, 6, 5, 4, 3, 2):
        backend.finish(n)
        assert len(backend.given) <= 2
    assert backend.order == [0, 1, 9, 8, 7, 6, 5, 4, 3, 2]


def test_what_has_not_begun_changes_its_place_when_its_asker_says_so(scripted):
    backend, executor = scripted
    tickets = [executor.request(Document(), n, priority=n) for n in range(6)]
    tickets[5].prioritise(-1)
    tickets[2].prioritise(9)
    tickets[0].prioritise(99)  # it is running: nothing changes
    for n in (0, 1, 5, 3, 4, 2):
        backend.finish(n)
    assert backend.order == [0, 1, 5, 3, 4, 2]


def test_all_that_is_queued_is_announced_until_it_is_dropped(scripted):
    backend, executor = scripted
    executor.request(Document(), "local")
    tickets = [executor.request(Document(), n, hint=True) for n in range(6)]
    again = executor.request(Document(), 4, hint=True)
    assert backend.order == ["local", 0]
    assert backend.expected == [0, 1, 2, 3, 4, 5]
    for n in (0, 3, 4):
        tickets[n].release()
    assert backend.expected == [0, 1, 2, 4, 5], "what runs is told to stop, and for 4 somebody waits"
    again.release()
    assert backend.expected == [0, 1, 2, 5]
    executor.close()
    assert backend.expected == []


def test_threads_tell_their_engine_what_is_queued_while_they_are_busy(monkeypatch, tmp_path):
    monkeypatch.setenv("MUSES_TEST_LOG", str(tmp_path / "log"))
    (tmp_path / "log").touch()
    engine = ScriptedEngine()
    executor = Executor(ThreadsBackend(1, lambda: engine))

    def said() -> list[str]:
        return [line for line in (tmp_path / "log").read_text().splitlines() if "echo" in line]

    busy = executor.request(Document(), ("until-cancelled", "busy"), hint=True)
    tickets = [executor.request(Document(), ("echo", n), hint=True) for n in range(4)]
    assert within(10, lambda: said() == [f"announced echo {n}" for n in range(4)])
    tickets[3].release()
    assert said()[4:] == ["withdrawn echo 3"]
    late = executor.request(Document(), ("echo", "late"), hint=True)
    assert said()[5:] == ["announced echo late"]
    busy.release()
    assert [t.future.result(10) for t in (*tickets[:3], late)] == [0, 1, 2, "late"]
    executor.close()
    assert executor.backend._expected == {}


def test_progress_tells_the_place_in_the_queue_and_the_seconds_until_the_end(scripted):
    backend, executor = scripted
    other = Document(hash="d" * 64)
    for n in range(3):
        executor.request(other, n, seconds=4)
    mine = [executor.request(Document(), n, priority=1, seconds=3) for n in range(2)]
    found = executor.progress(Document().hash)
    assert (found.queued, found.running, found.position) == (2, 0, 1)
    assert found.expected_seconds == 2 * 4 / 2 + 4 + 2 * 3  # half of what is running, on one thread
    assert executor.expected_seconds() == found.expected_seconds
    for n in range(2):
        backend.finish(n)
    assert executor.progress(Document().hash).position == 0  # its first block is running
    mine[1].release()
    mine[0].release()
    assert executor.progress(Document().hash).position is None
    backend.finish(2)
    assert executor.status()["counts"] == {"submitted": 4, "finished": 3, "dropped": 1, "stopped": 1}


def test_equals_go_in_order_of_arrival(scripted):
    backend, executor = scripted
    for n in range(6):
        executor.request(Document(), n)
    for n in range(6):
        backend.finish(n)
    assert backend.order == list(range(6))


def test_a_later_asker_in_a_hurry_pulls_a_block_forward_and_leaves_it_there_no_longer_than_it_waits(scripted):
    backend, executor = scripted
    for n in range(6):
        executor.request(Document(), n, priority=n)
    hurried = executor.request(Document(), 5, priority=-1)
    passing = executor.request(Document(), 4, priority=-2)
    passing.release()
    backend.finish(0)
    assert backend.order == [0, 1, 5]
    backend.finish(5)
    assert hurried.future.done()
    assert backend.order == [0, 1, 5, 2]


def test_queued_work_is_dropped_when_the_last_asker_leaves(scripted):
    backend, executor = scripted
    for n in (0, 1):
        executor.request(Document(), n)
    one, two = executor.request(Document(), 2), executor.request(Document(), 2)
    one.release()
    assert executor.status()["queued"] == 1
    two.release()
    two.release()  # again changes nothing
    assert executor.status()["queued"] == 0
    backend.finish(0)
    assert backend.order == [0, 1]
    with pytest.raises(CancelledError):
        two.future.result(1)


def test_running_work_gets_its_cancel_flag_when_the_last_asker_leaves_and_nobody_joins_it_then(scripted):
    backend, executor = scripted
    one, two = executor.request(Document(), "block"), executor.request(Document(), "block")
    token = backend.given["block"][0]
    one.release()
    assert backend.cancelled == []
    two.release()
    assert backend.cancelled == [token]
    doomed = backend.given["block"][1]
    again = executor.request(Document(), "block")
    assert backend.given["block"][0] != token
    doomed.set_exception(Cancelled("stopped"))
    assert not again.future.done()
    backend.finish("block")
    assert again.future.result(1) == "result of block"


def test_who_leaves_hears_whether_anything_was_computed_for_them(scripted):
    backend, executor = scripted
    heard: list[str] = []

    def leave(ticket: Any, name: str) -> None:
        ticket.release(lambda: heard.append(name))

    running, shared, stays = (executor.request(Document(), task) for task in ("one", "two", "two"))
    queued = executor.request(Document(), "three")
    leave(queued, "queued")
    leave(shared, "computed for somebody who stays")
    leave(running, "running")
    assert heard == []
    backend.finish("one", Cancelled("stopped in the middle"))
    backend.finish("two")
    assert stays.future.result(1) and heard == ["running"]
    dropped, there = (executor.request(Document(), task) for task in ("four", "five"))
    leave(dropped, "dropped by the backend")
    backend.finish("four", Cancelled("not begun", begun=False))
    backend.finish("five")
    leave(there, "there")
    assert heard == ["running", "there"]


def test_all_who_left_hear_of_a_block_for_which_nobody_stayed(scripted):
    backend, executor = scripted
    heard: list[int] = []
    for n, ticket in enumerate([executor.request(Document(), "block") for _ in range(3)]):
        ticket.release(lambda n=n: heard.append(n))
    backend.finish("block", Cancelled("stopped in the middle"))
    assert heard == [0, 1, 2]


def test_while_work_is_held_only_what_is_urgent_begins(scripted):
    backend, executor = scripted
    executor.hold(above=-10)
    executor.request(Document(), "usual", 0)
    executor.request(Document(), "urgent", -20)
    assert backend.order == ["urgent"]
    executor.hold()
    assert backend.order == ["urgent", "usual"]


def test_work_that_was_cancelled_for_others_is_tried_again_for_who_still_waits(scripted):
    backend, executor = scripted
    ticket = executor.request(Document(), "block")
    backend.finish("block", Cancelled("it had joined an evaluation that its first asker left"))
    assert not ticket.future.done()
    backend.finish("block")
    assert ticket.future.result(1) == "result of block"


def test_cancelling_the_future_from_asyncio_releases_the_ticket(scripted):
    backend, executor = scripted
    ticket = executor.request(Document(), "block")

    async def impatient() -> None:
        await asyncio.wait_for(asyncio.wrap_future(ticket.future), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    assert len(backend.cancelled) == 1


def test_errors_come_back_as_themselves_to_all(scripted):
    backend, executor = scripted
    tickets = [executor.request(Document(), "block") for _ in range(2)]
    backend.finish("block", ReadError("scene 7 cannot be read", scene=7))
    for ticket in tickets:
        with pytest.raises(ReadError, match="scene 7") as caught:
            ticket.future.result(1)
        assert caught.value.details == {"scene": 7}


def test_a_backend_that_refuses_fails_the_request_and_not_the_queue(scripted):
    backend, executor = scripted
    submit = backend.submit
    backend.submit = lambda *a: (_ for _ in ()).throw(ComputeError("no"))
    with pytest.raises(ComputeError, match="no"):
        executor.request(Document(), "block").future.result(1)
    backend.submit = submit
    ticket = executor.request(Document(), "block")
    backend.finish("block")
    assert ticket.future.result(1)


def test_work_that_does_not_come_back_fails_and_makes_room():
    backend = ScriptedBackend()
    executor = Executor(backend, task_seconds=0.2)
    tickets = [executor.request(Document(), n) for n in range(3)]
    with pytest.raises(ComputeError, match="did not come back within 0.2 s"):
        tickets[0].future.result(5)
    assert within(2, lambda: 2 in backend.given)
    assert within(2, lambda: len(backend.cancelled) == 2)
    backend.finish(0)  # too late: changes nothing
    backend.finish(2)
    assert tickets[2].future.result(1) == "result of 2"
    executor.close()


def test_closing_ends_every_wait_and_refuses_new_requests(scripted):
    _, executor = scripted
    tickets = [executor.request(Document(), n) for n in range(5)]
    executor.close()
    for ticket in tickets:
        with pytest.raises(Cancelled):
            ticket.future.result(1)
    with pytest.raises(ComputeError, match="closed"):
        executor.request(Document(), 1)


def test_many_threads_asking_and_leaving_at_once(threads):
    engine, executor = threads
    runs: Counter = Counter()
    run = engine.run

    def counted(chain_hash, task, cancelled):
        runs[task] += 1
        return run(chain_hash, task, cancelled)

    engine.run = counted
    failures = []

    def ask(seed: int) -> None:
        for n in range(100):
            ticket = executor.request(Document(), ("echo", (n * 7 + seed) % 50), priority=n % 5)
            if (n + seed) % 3 == 0:
                ticket.release()
            elif ticket.future.result(20) != (n * 7 + seed) % 50:
                failures.append(n)

    askers = [threading.Thread(target=ask, args=(s,)) for s in range(8)]
    for thread in askers:
        thread.start()
    for thread in askers:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures
    assert within(5, lambda: executor.status()["running"] == executor.status()["queued"] == 0)


def test_threads_stop_running_work_that_nobody_waits_for(threads):
    _, executor = threads
    ticket = executor.request(Document(), ("until-cancelled", 1))
    assert within(5, lambda: executor.counters().get("run") == 1)
    ticket.release()
    assert within(5, lambda: executor.status()["running"] == 0)


def test_threads_give_the_document_once_and_again_when_it_was_dropped(threads):
    engine, executor = threads
    puts = []
    put = engine.put
    engine.put = lambda h, p: (puts.append(h), put(h, p))[1]
    for n in range(5):
        executor.request(Document(), ("echo", n)).future.result(5)
    assert len(puts) == 1
    engine._documents.clear()
    assert executor.request(Document(), ("echo", 9)).future.result(5) == 9
    assert len(puts) == 2


def test_threads_errors_come_back_as_themselves(threads):
    _, executor = threads
    with pytest.raises(ReadError, match="scene x"):
        executor.request(Document(), ("fail", "x")).future.result(5)
    with pytest.raises(IndexError):
        executor.request(Document(), ("stumble", 3)).future.result(5)
    with pytest.raises(ReadError, match="refused"):
        executor.request(Document(hash="e" * 64, payload=b"refuse"), ("echo", 1)).future.result(5)


def test_the_default_place_to_compute_can_be_chosen(monkeypatch):
    monkeypatch.setattr(compute, "_default", None)
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    assert compute.executor() is compute.executor("threads")
    with pytest.raises(ValueError, match="'threads', 'embedded', 'gateway'"):
        compute.use("mainframe")  # type: ignore[arg-type]
    compute.use("threads")
    monkeypatch.setenv("MUSES_COMPUTE", "embedded")
    assert compute.executor().status()["backend"] == "threads"
    compute.shutdown()
    assert compute.executor("threads").status()["queued"] == 0  # a new one
    compute.shutdown()


def test_cheap_blocks_are_handed_over_by_their_seconds(scripted: tuple[ScriptedBackend, Executor]) -> None:
    backend, executor = scripted
    for seconds, most in ((0.01, 5), (0.0001, 8), (0.03, 2), (1.0, 2), (0.0, 2)):
        backend.given.clear()
        tickets = [executor.request(Document(), f"{seconds} {n}", seconds=seconds) for n in range(20)]
        assert len(backend.given) == most, f"of {seconds} s each for one thread"
        for ticket in tickets:
            ticket.release()
        for task in list(backend.given):
            backend.finish(task)
