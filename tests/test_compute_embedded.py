"""The embedded cluster as its users meet it: found, shared, closed to others, surviving accidents, gone afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from muses_lab import compute
from muses_lab.compute import dask_backend, embedded, leases
from muses_lab.compute.embedded import finder
from muses_lab.compute.queue import Executor
from muses_lab.errors import ComputeError, ReadError
from tests.helpers import PYTHON_PATH
from tests.helpers.scripted_engine import Document
from tests.helpers.tcp_proxy import proxy_before
from tests.helpers.waiting import within

pytestmark = pytest.mark.slow  # they share a cluster


def family(pid: int) -> list[psutil.Process]:
    """A cluster's process and all below it: scheduler, nannies, workers."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def workers(pid: int) -> list[psutil.Process]:
    return [p for p in family(pid) if "spawn_main" in " ".join(p.cmdline())]


def gone(processes: list[psutil.Process], seconds: float = 15) -> bool:
    return within(seconds, lambda: not any(leases.process_start(p.pid) and p.is_running() for p in processes))


def set_up(patch: pytest.MonkeyPatch, folder: Path, **variables: str) -> None:
    """A runtime folder and an engine of its own, so that the cluster is not shared with other tests."""
    (folder / "runtime").mkdir(mode=0o700)
    settings = {
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "MUSES_ENGINE": "tests.helpers.scripted_engine:make",
        "MUSES_TEST_LOG": str(folder / "log"),
        "MUSES_LEASE_GRACE": "0.5",
        "PYTHONPATH": PYTHON_PATH,
        **variables,
    }
    for name, value in settings.items():
        patch.setenv(name, value)
    (folder / "log").touch()


@dataclass
class Lab:
    """A running cluster and its log."""

    executor: Executor
    log: Path

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def result(self, *task: Any, document: Document | None = None, timeout: float = 60) -> Any:
        return self.executor.request(document or Document(), task).future.result(timeout)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        set_up(patch, folder, MUSES_WORKERS="2", MUSES_THREADS="1")
        compute.shutdown()
        yield Lab(compute.executor("embedded"), folder / "log")
        info = embedded.ensure()
        processes = family(info.pid)
        compute.shutdown()
        assert gone(processes), "the cluster outlives its last lease"
        assert not Path(info.scratch).exists()
        assert not list(Path(folder, "runtime").glob("*/cluster.json"))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lab: Lab) -> Iterator[Path]:
    """Settings for a cluster of the test's own; whatever it leaves is ended. (`lab` first: it reads the settings.)"""
    lab.result("echo", 0)
    set_up(monkeypatch, tmp_path, MUSES_WORKERS="1", MUSES_THREADS="1")
    held = set(embedded._held)
    yield tmp_path / "runtime"
    for lease in set(embedded._held) - held:
        embedded._held.discard(lease)
        lease.unlink(missing_ok=True)
    embedded.stop()


def asker(code: str = "") -> subprocess.Popen:
    """Another process that asks for the cluster, prints its pid, and holds it until its standard input ends."""
    script = f"import sys\nfrom muses_lab.compute import embedded\nprint(embedded.ensure().pid, flush=True)\n{code}\n"
    script += "sys.stdin.read()"
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# What is asked for arrives, once


@pytest.mark.thorough
def test_blocks_that_are_asked_for_together_have_answers_of_their_own(alone):
    executor, log = Executor(dask_backend.DaskBackend("embedded", embedded.connect)), alone.parent / "log"
    size = 1 << 20  # left in memory, the others are not
    wanted = [
        ("echo", 1),
        ("fail", "no"),
        ("array", size, "a"),
        ("until-cancelled", "x"),
        ("die-once", "d"),
        ("echo", 6),
    ]
    try:
        executor.request(Document(), ("echo", 0)).future.result(60)
        tickets = [executor.request(Document(), task, seconds=0.001) for task in wanted]
        assert within(60, lambda: "run until-cancelled x" in log.read_text())
        tickets[3].release()
        results = [t.future.exception(60) or t.future.result() for t in (*tickets[:3], *tickets[4:])]
        assert results[0] == 1 and isinstance(results[1], ReadError) and results[3:] == ["d", 6]
        assert results[2].shape == (size,)
    finally:
        executor.close()


def test_a_block_is_evaluated_once_for_all_who_ask(lab):
    tickets = [lab.executor.request(Document(), ("sleep", 0.2, "shared")) for _ in range(6)]
    assert {t.future.result(90) for t in tickets} == {"shared"}  # the first of them may start the cluster
    assert lab.said().count("run sleep 0.2 shared") == 1


def test_a_worker_gets_a_document_once(lab):
    document = Document(hash="d" * 64)
    tickets = [lab.executor.request(document, ("where", n)) for n in range(12)]
    used = {t.future.result(90) for t in tickets}  # the first of them may start the cluster
    puts = [line for line in lab.said() if line.startswith(f"put {document.hash}")]
    assert len(puts) == len(set(puts)) <= 2
    assert {int(line.split()[-1]) for line in puts} >= used


def test_a_worker_that_was_restarted_gets_the_document_again(lab):
    document = Document(hash="e" * 64)
    assert lab.result("where", "before", document=document)
    for process in workers(embedded.ensure().pid):
        process.kill()
    assert lab.result("where", "after", document=document)


def test_a_block_goes_back_to_the_worker_that_has_it_whatever_the_chain(lab):
    assert within(20, lambda: lab.result("echo", time.monotonic()) and lab.executor.status()["workers"] == 2)
    first = {n: lab.result("where", f"home {n}") for n in range(8)}
    lab.result("where", "home 0", document=Document(hash="f" * 64))
    for document in (Document(), Document(hash="f" * 64)):
        again = [lab.result("where", f"home {n}", document=document) for n in range(8)]
        assert sum(again[n] == first[n] for n in range(8)) >= 7  # a preference: an idle worker may take one


def test_errors_of_a_task_come_back_as_themselves(lab):
    with pytest.raises(ReadError, match="scene S2A cannot be read") as caught:
        lab.result("fail", "S2A")
    assert caught.value.details == {"scene": "S2A"}
    assert "in the worker tls://" in caught.value.__notes__[0]
    with pytest.raises(IndexError):
        lab.result("stumble", 5)
    with pytest.raises(ReadError, match="refused"):
        lab.result("echo", 1, document=Document(hash="0" * 64, payload=b"refuse"))


def test_results_are_whole(lab):
    array = lab.result("array", 3_000_000, "big")
    assert array.shape == (3_000_000,)
    assert (array == 7).all()


def test_counters_are_summed_over_the_workers(lab):
    before = lab.executor.counters()["run"]
    for n in range(5):
        lab.result("where", f"counted {n}")
    assert lab.executor.counters()["run"] == before + 5


def test_several_event_loops_may_wait(lab):
    async def ask(n: int) -> Any:
        return await asyncio.wrap_future(lab.executor.request(Document(), ("echo", f"loop {n}")).future)

    async def many() -> list[Any]:
        return await asyncio.gather(*(ask(n) for n in range(20)))

    assert asyncio.run(many()) == [f"loop {n}" for n in range(20)]


# What is no longer wanted stops


def test_releasing_stops_running_work_and_drops_what_waits(lab):
    tickets = [lab.executor.request(Document(), ("until-cancelled", f"w{n}")) for n in range(10)]
    assert within(10, lambda: sum("until-cancelled w" in line for line in lab.said()) == 2)
    begun = time.monotonic()
    for ticket in tickets:
        ticket.release()
    assert lab.result("echo", "after") == "after"
    assert time.monotonic() - begun < 5
    assert within(5, lambda: lab.executor.status()["running"] == 0)
    said = lab.said()
    ran = [line.split()[-1] for line in said if line.startswith("run until-cancelled w")]
    # The other two that were submitted (twice as many as there are threads) may have begun before their flags came;
    # what was still in the queue never did.
    assert {"w0", "w1"} <= set(ran) <= {"w0", "w1", "w2", "w3"}
    assert {line.split()[-1] for line in said if line.startswith("stopped w")} == set(ran)


def test_work_goes_on_while_somebody_still_waits(lab):
    one = lab.executor.request(Document(), ("sleep", 0.5, "kept"))
    two = lab.executor.request(Document(), ("sleep", 0.5, "kept"))
    assert within(10, lambda: "run sleep 0.5 kept" in lab.said())
    one.release()
    assert two.future.result(20) == "kept"
    with pytest.raises(CancelledError):
        one.future.result(1)


# Accidents


def test_a_killed_worker_costs_time_and_no_block(lab):
    pid = embedded.ensure().pid
    tickets = [lab.executor.request(Document(), ("sleep", 0.2, f"k{n}")) for n in range(16)]
    assert within(10, lambda: "slept k1" in lab.said())
    victim = workers(pid)[0]
    os.kill(victim.pid, signal.SIGKILL)
    assert [t.future.result(60) for t in tickets] == [f"k{n}" for n in range(16)]
    assert lab.result("die-once", "a") == "a"


def test_a_block_that_kills_its_workers_fails_alone(lab):
    deadly = lab.executor.request(Document(), ("die", "always"))
    others = [lab.executor.request(Document(), ("sleep", 0.3, f"n{n}")) for n in range(4)]
    with pytest.raises(ComputeError, match="workers died again and again"):
        deadly.future.result(180)
    assert [t.future.result(60) for t in others] == [f"n{n}" for n in range(4)]


@pytest.mark.thorough
def test_a_busy_worker_is_told_what_is_queued_and_what_is_dropped(alone):
    """With the document if it does not have it, and later without."""
    executor, log = Executor(dask_backend.DaskBackend("embedded", embedded.connect)), alone.parent / "log"

    def said() -> list[str]:
        return [line for line in log.read_text().splitlines() if "echo" in line or line.startswith("put")]

    def heard(since: int) -> list[str]:
        """Once each, since it has the document: what it knows already does nothing, and before that nothing does."""
        lines = said()
        documents = [n for n, line in enumerate(lines) if line.startswith("put")]
        return list(dict.fromkeys(lines[max(since, documents[-1] + 1) :])) if documents else []

    try:
        for name in ("first", "second"):
            before = len(said())
            busy = executor.request(Document(), ("until-cancelled", name), hint=True)
            tickets = [executor.request(Document(), ("echo", f"{name}{n}"), hint=True) for n in range(4)]
            queued = {f"announced echo {name}{n}" for n in range(1, 4)}  # the first may overtake the one that is long
            assert within(60, lambda since=before, queued=queued: queued <= set(heard(since))), said()
            before = len(said())
            tickets[3].release()
            assert within(10, lambda since=before, name=name: f"withdrawn echo {name}3" in heard(since)), said()
            busy.release()
            assert [t.future.result(60) for t in tickets[:3]] == [f"{name}{n}" for n in range(3)]
        withdrawn = [line for line in dict.fromkeys(said()) if line.startswith("withdrawn")]
        assert withdrawn == ["withdrawn echo first3", "withdrawn echo second3"]
        assert executor.backend._expected == {}
        assert len([line for line in said() if line.startswith("put")]) == 1
    finally:
        executor.close()


def test_a_cluster_that_was_killed_is_started_again_once_and_leaves_no_orphans(alone):
    executor = Executor(dask_backend.DaskBackend("embedded", embedded.connect))
    try:
        first = embedded.ensure()
        ticket = executor.request(Document(), ("sleep", 2, "through"))
        assert within(30, lambda: "run sleep 2 through" in (alone.parent / "log").read_text())
        processes = family(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        assert ticket.future.result(60) == "through"
        assert gone(processes)
        assert not Path(first.scratch).exists()
        assert embedded.ensure().pid != first.pid
    finally:
        executor.close()


@pytest.mark.thorough
@pytest.mark.parametrize("swallowed", ["the block", "its answer"])
def test_where_only_news_of_tasks_do_not_pass_the_cluster_is_connected_again(alone, monkeypatch, swallowed):
    """The scheduler answers all else, through other connections."""
    monkeypatch.setattr(dask_backend, "LOOK", 0.3)
    proxy = proxy_before(embedded.ensure())
    backend = dask_backend.DaskBackend("embedded", embedded.connect)
    executor = Executor(backend)

    def silence() -> None:
        news = backend._connection.result().scheduler_comm.comm
        proxy.silence(int(news.local_address.rpartition(":")[2]))

    try:
        assert executor.request(Document(), ("echo", 0)).future.result(60) == 0
        accepted = proxy.accepted
        if swallowed == "the block":
            silence()
        ticket = executor.request(Document(), ("sleep", 1, "through"))
        if swallowed == "its answer":
            assert within(30, lambda: "run sleep 1 through" in (alone.parent / "log").read_text())
            silence()
        assert ticket.future.result(60) == "through"
        assert proxy.accepted > accepted
    finally:
        executor.close()
        proxy.close()


def test_a_cluster_that_cannot_be_reached_is_an_error_with_its_reason():
    async def connect() -> Any:
        raise OSError("no route")

    executor = Executor(dask_backend.DaskBackend("gateway", connect))
    with pytest.raises(ComputeError, match="gateway cluster cannot be reached: no route"):
        executor.request(Document(), ("echo", 1)).future.result(10)
    assert executor.status()["state"].startswith("failed")
    executor.close()


def test_a_start_that_fails_shows_the_log(alone, monkeypatch):
    monkeypatch.setenv("MUSES_WORKERS", "two")
    with pytest.raises(ComputeError, match="could not be started(?s:.*)MUSES_WORKERS='two' is not a number"):
        embedded.ensure()
    assert not list(alone.glob("*/leases/*"))


def test_a_start_that_takes_too_long_is_given_up_and_leaves_nothing(alone):
    before = {p.pid for p in psutil.process_iter()}
    with pytest.raises(ComputeError, match="did not start within 0.1 s"):
        embedded.ensure(timeout=0.1)
    here = str(alone)
    assert not [
        p
        for p in psutil.process_iter(["cmdline"])
        if p.pid not in before and leases.process_start(p.pid) and here in " ".join(p.info["cmdline"] or [])
    ]


def test_workers_of_another_release_are_an_error_that_says_so(lab, monkeypatch):
    monkeypatch.setattr(lab.executor.backend, "_release", "muses-lab 9.9")
    with pytest.raises(ComputeError, match=r"run muses-lab .*, this process runs muses-lab 9\.9"):
        lab.result("echo", "foreign")


# Found, shared, ended


def test_two_processes_that_ask_at_once_share_one_cluster_and_it_ends_after_the_last_even_when_killed(alone):
    one, two = asker(), asker()
    assert one.stdout and two.stdout and one.stdin
    pid = int(one.stdout.readline())
    assert int(two.stdout.readline()) == pid
    assert embedded.status()["pid"] == pid
    assert {h["pid"] for h in embedded.status()["holders"]} == {one.pid, two.pid}
    processes = family(pid)
    one.stdin.close()
    assert one.wait(10) == 0
    time.sleep(1.5)  # three times the grace
    assert embedded.status()["running"]
    two.kill()  # -9, and not waited for: a zombie holds nothing
    assert gone(processes)
    two.wait(10)
    assert embedded.status()["running"] is False
    assert not list(alone.glob("*/cluster.json"))


def test_scripts_that_end_give_up_their_lease_and_another_release_has_a_cluster_of_its_own(alone, monkeypatch):
    info = embedded.ensure()
    code = (
        "from muses_lab import compute\n"
        "class Document: hash = 'a' * 64; payload = b''\n"
        "print(compute.executor().request(Document, ('echo', 'hello')).future.result(60))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert (done.stdout, done.stderr) == ("hello\n", "")
    assert [h["pid"] for h in embedded.status()["holders"]] == [os.getpid()]
    for module in (embedded, finder):
        monkeypatch.setattr(module, "release", lambda: "muses-lab 9.9")
    assert embedded.status()["running"] is False
    folder = finder.cluster_folder()
    leases.write_private(folder / "cluster.json", {**vars(info)})  # as if it had been copied there
    with pytest.raises(ComputeError, match=r"runs muses-lab .*, this process runs muses-lab 9\.9"):
        embedded.ensure()
    (folder / "cluster.json").unlink()


def test_what_a_dead_cluster_left_is_removed(alone):
    scratch = alone.parent / f"{finder.SCRATCH}old"
    scratch.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    info = {
        "address": "tls://127.0.0.1:1", "pid": dead.pid, "start": "1", "started": 0.0, "release": "x", "workers": 1,
        "threads": 1, "scratch": str(scratch), "certificate": "", "key": "",
    }  # fmt: skip
    file = finder.cluster_file(finder.cluster_folder())
    leases.write_private(file, info)
    assert embedded.status()["running"] is False
    assert not file.exists()
    assert not scratch.exists()
    leases.write_private(file, {"of": "another time"})
    assert embedded.status()["running"] is False
    recycled = {**info, "pid": os.getpid()}  # the pid lives, as another process
    leases.write_private(file, recycled)
    assert embedded.status()["running"] is False


def test_stopping_ends_it_although_it_is_in_use(alone):
    info = embedded.ensure()
    processes = family(info.pid)
    assert embedded.stop() is True
    assert gone(processes)
    assert not Path(info.scratch).exists()
    assert embedded.stop() is False


def test_a_child_made_by_fork_connects_for_itself(lab):
    lab.result("echo", "parent")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = compute.executor("embedded")
            answer = found.request(Document(), ("echo", "child")).future.result(30)
            os.write(writing, json.dumps([answer, found is lab.executor]).encode())
            compute.shutdown()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        assert json.loads(stream.read()) == ["child", False]
    os.waitpid(child, 0)
    assert lab.result("echo", "still there") == "still there"


# Closed to others


def test_only_its_user_can_read_the_file(lab):
    lab.result("echo", 1)
    folder = finder.cluster_folder()
    assert stat.S_IMODE((folder / "cluster.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "cluster.log").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "PRIVATE KEY" not in repr(embedded.ensure())
    assert "PRIVATE KEY" not in repr(embedded.status())
    (folder / "cluster.json").chmod(0o644)
    try:
        with pytest.raises(ComputeError, match="can be read by others"):
            embedded.ensure()
    finally:
        (folder / "cluster.json").chmod(0o600)


def test_everything_listens_on_loopback_and_no_page_is_served(lab):
    ports = []
    for process in family(embedded.ensure().pid):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"
                ports.append(connection.laddr.port)
    assert len(ports) >= 3
    for port in ports:
        for page in ("", "status", "info/main/workers.html", "metrics", "json/counts.json", "health"):
            with pytest.raises((urllib.error.HTTPError, OSError, ValueError)) as caught:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=2)
            if isinstance(caught.value, urllib.error.HTTPError):
                assert caught.value.code == 404


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited")  # Dask's client, when refused
def test_clients_without_the_certificate_are_refused(lab):
    from distributed import Client

    address = embedded.ensure().address
    host, port = address.removeprefix("tls://").split(":")

    async def plain(where: str, **kwargs: Any) -> None:
        await Client(where, asynchronous=True, set_as_default=False, timeout=2, **kwargs)

    with pytest.raises((OSError, TypeError)):
        asyncio.run(plain(f"tcp://{host}:{port}"))
    with pytest.raises((OSError, TypeError)):
        asyncio.run(plain(address))
    from distributed import Security

    with pytest.raises((OSError, TypeError)):  # TLS, with a certificate that is not the cluster's
        asyncio.run(plain(address, security=Security.temporary()))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises((ssl.SSLError, ConnectionError)), socket.create_connection((host, int(port)), 5) as raw:  # noqa: SIM117
        with context.wrap_socket(raw) as stream:  # TLS 1.3: the refusal comes with the first read
            stream.settimeout(5)
            if stream.recv(100) == b"":
                raise ConnectionResetError("closed")
    assert lab.result("echo", "unharmed") == "unharmed"
