"""How jobs end: whatever happens to one, and whenever, the file is whole or absent and everybody is told which."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_client.manager import KernelManager
from typer.testing import CliRunner

import muses_lab as ml
from muses_lab import compute
from muses_lab.api.chain import Chain
from muses_lab.api.jobs import job as named
from muses_lab.cli import app
from muses_lab.errors import Cancelled, MusesError, StoreUnavailable
from muses_lab.export import Job, at_exit, bar
from muses_lab.export.formats import geotiff
from muses_lab.export.job import Interrupted
from muses_lab.raster.window import to_json
from muses_lab.store import default_store
from muses_lab.store.sql import SqlStore
from tests.helpers import PYTHON_PATH
from tests.helpers.examples import always
from tests.helpers.export_moments import MOMENTS, at, is_waited_for, stops, until
from tests.helpers.made_scenes import ndvi_of, window

SIZE = 1100
WHOLE = window(SIZE, SIZE)
SECONDS = 300


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Iterator[Path]:
    """A home of its own, so that the store's file is small; and no cluster."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSES_LAB_HOME", str(folder))
        patch.setenv("MUSES_COMPUTE", "threads")
        yield folder


@pytest.fixture(scope="module")
def chain(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return ndvi_of(tmp_path_factory.mktemp("scenes"), SIZE)


@pytest.fixture(scope="module")
def expected(chain: Chain) -> np.ndarray:
    return chain.compute(WHOLE).values


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "a.tif"


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda moment, act: at(moment, act, monkeypatch.setattr)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def check(path: Path, id: str, state: str, expected: np.ndarray) -> None:
    """The file is whole or absent, the state says which, nothing else is left, and nothing goes on."""
    assert named(id).state == state
    assert path.exists() == (state == "done")
    if path.exists():
        assert np.array_equal(read(path), expected, equal_nan=True)
    if state != "interrupted":
        assert [p for p in path.parent.iterdir() if p != path] == []
    assert not [job for job in at_exit.running() if job.id == id]
    until(lambda: f"export {path.name}" not in {thread.name for thread in threading.enumerate()})


# ---------------------------------------------------------------- (interrupt, cancel, kill, exit, full disk) × moments


def interrupted() -> None:
    """What Ctrl-C and a notebook's stop button do, while the job is waited for."""
    until(is_waited_for)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # another thread would not wake that one
    stops()


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_cancels(
    chain: Chain, expected: np.ndarray, target: Path, patched: Callable[..., None], moment: str
) -> None:
    patched(moment, interrupted)
    job = chain.export(target, WHOLE, progress=False)
    with pytest.raises(KeyboardInterrupt, match=r"a\.tif is not written: the job is cancelled"):
        job.wait(SECONDS)
    check(target, job.id, "cancelled", expected)
    for _ in range(2):
        with pytest.raises(Cancelled, match=r"a\.tif was cancelled"):
            job.wait(SECONDS)


@pytest.mark.parametrize("how", ["job", "listed"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_every_job_can_be_cancelled(
    chain: Chain, expected: np.ndarray, target: Path, patched: Callable[..., None], moment: str, how: str
) -> None:
    patched(moment, lambda: at_exit.running()[0].cancel() if how == "job" else ml.jobs()[0].cancel())
    job = chain.export(target, WHOLE, progress=False)
    with pytest.raises(Cancelled, match=r"a\.tif was cancelled"):
        job.wait(SECONDS)
    check(target, job.id, "cancelled", expected)
    with pytest.raises(MusesError, match="is cancelled; there is nothing to cancel"):
        ml.jobs()[0].cancel()


def test_the_last_stage_does_not_go_on_to_its_end(chain: Chain, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take minutes to put a large file together."""
    told: list[int] = []
    real = geotiff.copy_raster

    def copied(*args: Any, written: Callable[[int], None], **options: Any) -> None:
        def counted(number: int) -> None:
            told.append(number)
            if len(told) == 3:
                at_exit.running()[0].cancel()
            written(number)

        real(*args, written=counted, **options)

    monkeypatch.setattr(geotiff, "copy_raster", copied)
    with pytest.raises(Cancelled):
        chain.export(target, WHOLE, progress=False).wait(SECONDS)
    assert len(told) == 3, "GDAL was told that nothing can be written any more"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk_makes_it_fail(
    chain: Chain, expected: np.ndarray, target: Path, patched: Callable[..., None], moment: str
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    patched(moment, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1])))
    try:
        job = chain.export(target, WHOLE, progress=False)
        with pytest.raises((OSError, MusesError), match="File too large"):
            job.wait(SECONDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check(target, job.id, "failed", expected)
    assert "File too large" in named(job.id).record.error


SCRIPT = """
import os, signal, sys, threading, time
from tests.helpers.export_moments import at, stops
import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.store import default_store
from muses_lab.raster.window import from_json
reached = threading.Event()
def held():
    reached.set()
    stops()
store = default_store()
chain = Chain.from_json(store.document(told["chain"])).with_artefacts_of(store)
at(told["moment"], {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "hold": held}[told["act"]])
job = chain.export(told["path"], from_json(told["window"]), progress=told.get("progress", False))
"""
END = "reached.wait(120)\n"
WAIT = "job.wait(120)\n"

NURSERY = f"""
import json, os, sys
import muses_lab.api.chain, muses_lab.compute.threads, muses_lab.engine.warm, muses_lab.export, muses_lab.store.sql
muses_lab.engine.warm.warm()
for line in sys.stdin:
    told = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(json.dumps(child), flush=True)
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)
else:
    os._exit(0)
os.dup2(os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
os.dup2(os.open(os.devnull, os.O_RDWR), 0)
os.dup2(2, 1)
os.environ.update(told["environment"])
exec(compile({SCRIPT!r} + told["rest"], "script.py", "exec"))
"""
"""Scripts that have imported what they need: each is the main program of a process of its own, to its very end."""


class Script:
    """One of them, under way."""

    def __init__(self, nursery: Any, log: Path, told: dict[str, Any]) -> None:
        self._nursery, self._log = nursery, log
        nursery.stdin.write(json.dumps(told) + "\n")
        nursery.stdin.flush()
        self.pid = json.loads(nursery.stdout.readline())

    def end(self) -> int:
        """Its exit code."""
        return json.loads(self._nursery.stdout.readline())

    @property
    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture(scope="module")
def nursery(home: Path) -> Iterator[Any]:
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def script(nursery: Any, chain: Chain, target: Path, tmp_path: Path) -> Callable[..., Script]:
    """Begins a script that exports to the target."""

    def begin(act: str, moment: str, rest: str, environment: dict[str, str] | None = None, **told: Any) -> Script:
        log = tmp_path / "log"
        told |= {
            "chain": chain.publish(), "path": str(target), "window": to_json(WHOLE), "act": act,
            "moment": moment, "rest": rest, "log": str(log), "environment": environment or {},
        }  # fmt: skip
        return Script(nursery, log, told)

    return begin


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_one_is_interrupted_and_goes_on(
    expected: np.ndarray, target: Path, script: Callable[..., Script], moment: str
) -> None:
    killed = script("kill", moment, WAIT)
    assert killed.end() == -signal.SIGKILL, killed.said
    known = ml.jobs()[0]
    check(target, known.id, "interrupted", expected)
    known.resume(progress=False).wait(SECONDS)
    check(target, known.id, "done", expected)


@pytest.mark.slow
@pytest.mark.parametrize("moment", always(MOMENTS, ["pieces", "last stage"]))
def test_a_script_that_ends_is_waited_for(
    expected: np.ndarray, target: Path, script: Callable[..., Script], moment: str
) -> None:
    ended = script("hold", moment, END, progress=True)
    assert ended.end() == 0, ended.said
    assert "The program has ended, a.tif is not written yet" in ended.said
    assert "a.tif: interrupted" in ended.said and "a.tif: done 100%" in ended.said, "with its bar"
    check(target, ml.jobs()[0].id, "done", expected)


def test_ctrl_c_in_a_script_that_does_not_wait_cancels(
    expected: np.ndarray, target: Path, script: Callable[..., Script]
) -> None:
    ended = script("hold", "pieces", END + "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(120)\n")
    ended.end()
    assert "KeyboardInterrupt" in ended.said and "a.tif is not written: the job is cancelled" in ended.said
    check(target, ml.jobs()[0].id, "cancelled", expected)


HELD_AGAIN = """
import os, sys
if "resume" in sys.orig_argv:
    from tests.helpers.export_moments import at, stops
    def held():
        open({sign!r}, "w").write(str(os.getpid()))
        stops()
    at("last stage", held)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_a_job_that_was_handed_over_ends_with_who_waits(
    expected: np.ndarray, target: Path, tmp_path: Path, script: Callable[..., Script], how: str
) -> None:
    """Ctrl-C cancels it. When the process that waits is killed, it does not go on unseen."""
    sign, site = tmp_path / "sign", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HELD_AGAIN.format(sign=str(sign)))
    ended = script("hold", "pieces", END, {"PYTHONPATH": f"{site}{os.pathsep}{PYTHON_PATH}"})
    until(lambda: sign.exists() and bool(sign.read_text()), SECONDS)
    child = int(sign.read_text())
    os.kill(ended.pid, signal.SIGINT if how == "interrupted" else signal.SIGKILL)
    ended.end()
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
    known = ml.jobs()[0]
    if how == "interrupted":
        assert "a.tif is not written: the job is cancelled" in ended.said
    else:
        check(target, known.id, "interrupted", expected)
        known.cancel()
    check(target, known.id, "cancelled", expected)


@pytest.mark.thorough
def test_a_job_of_another_process_can_be_cancelled(
    expected: np.ndarray, target: Path, script: Callable[..., Script]
) -> None:
    other = script("hold", "pieces", WAIT)
    until(lambda: bool(ml.jobs()) and ml.jobs()[0].path == target and ml.jobs()[0].record.done == 0, SECONDS)
    known = ml.jobs()[0]
    assert known.state == "running"
    known.cancel()
    assert other.end() == 1 and "Cancelled" in other.said
    check(target, known.id, "cancelled", expected)


def test_what_an_interrupted_one_has_left_is_removed_from_the_shell(
    chain: Chain, expected: np.ndarray, target: Path, patched: Callable[..., None]
) -> None:
    patched("pieces", lambda: at_exit.running()[0].leave())
    job = chain.export(target, WHOLE, progress=False)
    with pytest.raises(Interrupted, match="interrupted by the end of its process"):
        job.wait(SECONDS)
    at_exit._jobs.pop(job.id)
    check(target, job.id, "interrupted", expected)
    assert list(target.parent.iterdir()), "the pieces stay"
    done = CliRunner().invoke(app, ["jobs", "cancel", job.id])
    assert done.output == "a.tif is to be cancelled\n"
    check(target, job.id, "cancelled", expected)


def test_a_script_says_what_failed_unheard(target: Path, script: Callable[..., Script]) -> None:
    ended = script("hold", "last stage", "job.ended.wait(120)\n", {"MUSES_EXPORT_SECONDS": "1e-9"})
    assert ended.end() == 0
    assert "a.tif is not written: this export would take about" in ended.said


def test_who_asks_for_the_end_is_not_overruled(chain: Chain, target: Path) -> None:
    """A job that says how far it is does not take the wish back, and one that has ended is not said to run."""
    job = chain.export(target, window(64, 64), progress=False)
    job.wait(SECONDS)
    store, record = default_store(), named(job.id).record
    store.put_job(replace(record, state="cancelling"))
    assert store.job(job.id).state == "done"
    store.put_job(replace(record, state="running"))
    store.put_job(replace(record, state="cancelling"))
    store.put_job(replace(record, state="running", done=1))
    assert (store.job(job.id).state, store.job(job.id).done) == ("cancelling", 1)
    store.put_job(replace(record, state="running", process="another 1 2"))
    assert store.job(job.id).state == "running", "resumed by another process"
    store.put_job(record)


# ------------------------------------------------------------------------------------------------------------ hunts


@pytest.mark.thorough
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(count=st.integers(1, 120), how=st.sampled_from(["interrupt", "cancel", "full disk", "leave"]))
def test_whenever_it_happens(
    chain: Chain, expected: np.ndarray, tmp_path_factory: pytest.TempPathFactory, count: int, how: str
) -> None:
    """At any of the places where a job looks whether it is still wanted."""
    path = tmp_path_factory.mktemp("out") / "a.tif"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    real, looks = Job.check, iter(range(1, 1_000_000))
    acts: dict[str, Callable[[Job], None]] = {
        "interrupt": lambda job: interrupted(),
        "cancel": lambda job: job.cancel(),
        "full disk": lambda job: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1])),
        "leave": lambda job: job.leave(),
    }

    def checked(job: Job) -> None:
        if next(looks) == count:
            acts[how](job)
        real(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "check", checked)
        try:
            job = chain.export(path, WHOLE, progress=False)
            with contextlib.suppress(KeyboardInterrupt, MusesError, OSError):
                job.wait(SECONDS)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check(path, job.id, job.state, expected)
    ends = {"interrupt": "cancelled", "cancel": "cancelled", "full disk": "failed", "leave": "interrupted"}
    assert job.state in (ends[how], "done")
    at_exit._jobs.pop(job.id, None)


# ----------------------------------------------------------------------------------------------- in a notebook's kernel


@pytest.fixture(scope="module")
def kernel(home: Path) -> Iterator[Any]:
    manager = KernelManager()
    manager.start_kernel(env=dict(os.environ))
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=SECONDS)
    yield Kernel(manager, client)
    client.stop_channels()
    if manager.is_alive():
        manager.shutdown_kernel(now=True)


class Kernel:
    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self.client = manager, client
        self.heard: list[dict[str, Any]] = []
        """All that it has published."""

    def begin(self, code: str) -> str:
        return self.client.execute(code)

    def end(self, cell: str) -> dict[str, Any]:
        """The reply to a cell."""
        while True:
            reply = self.client.get_shell_msg(timeout=SECONDS)
            if reply["parent_header"]["msg_id"] == cell:
                break
        while True:
            message = self.client.get_iopub_msg(timeout=SECONDS)
            self.heard.append(message)
            idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            if idle and message["parent_header"].get("msg_id") == cell:
                return reply["content"]

    def run(self, code: str) -> dict[str, Any]:
        return self.end(self.begin(code))

    def of(self, cell: str, *types: str) -> list[dict[str, Any]]:
        return [m for m in self.heard if m["parent_header"].get("msg_id") == cell and m["msg_type"] in types]


KERNEL = """
import json, os, sys, threading
told = json.loads({told!r})
from pathlib import Path
from tests.helpers.export_moments import at, stops, is_waited_for, until
import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.export import Job
from muses_lab.store import default_store
from muses_lab.raster.window import from_json
store = default_store()
chain = Chain.from_json(store.document(told["chain"])).with_artefacts_of(store)
window = from_json(told["window"])
step = Job.step
def held():
    until(is_waited_for)
    Path(told["sign"]).touch()
    stops()
at("pieces", held)
"""


@pytest.mark.slow
def test_in_a_notebook(kernel: Kernel, chain: Chain, expected: np.ndarray, target: Path, tmp_path: Path) -> None:
    """Interrupts, bars and the kernel's end, as Jupyter does them."""
    sign = tmp_path / "sign"
    told = {"chain": chain.publish(), "window": to_json(WHOLE), "sign": str(sign)}
    assert kernel.run(KERNEL.format(told=json.dumps(told)))["status"] == "ok"

    assert kernel.run(f"job = chain.export({str(target)!r}, window)")["status"] == "ok"
    cell = kernel.begin("job.wait()")
    until(sign.exists, SECONDS)
    kernel.manager.interrupt_kernel()
    reply = kernel.end(cell)
    assert (reply["ename"], reply["evalue"]) == ("KeyboardInterrupt", "a.tif is not written: the job is cancelled")
    reply = kernel.run("job.wait()")
    assert reply["ename"] == "Cancelled" and "a.tif was cancelled" in reply["evalue"]
    known = ml.jobs()[0]
    assert kernel.run(f"assert (job.id, job.state) == ({known.id!r}, 'cancelled')")["status"] == "ok"
    check(target, known.id, "cancelled", expected)

    # The bar stands under the cell that started the job, and a name is a name.
    name = "<img src=x onerror=alert(1)>.tif"
    kernel.heard.clear()
    started = kernel.begin(f"job = chain.export({str(target.with_name(name))!r}, window)")
    kernel.end(started)
    other = kernel.begin("job.wait()")
    assert kernel.end(other)["status"] == "ok"
    assert len(kernel.of(started, "display_data")) == 1
    assert not kernel.of(other, "display_data", "stream", "update_display_data")
    states = [m["content"]["data"].get("state", {}) for m in kernel.heard if m["msg_type"].startswith("comm_")]
    shown = [str(state["value"]) for state in states if "value" in state]
    assert any("&lt;img" in text and "done" in text for text in shown), shown
    assert not any("<img" in text for text in shown)

    # Its end is not held up, and what is done stays.
    kernel.run("at('pieces', stops)")
    target.with_name(name).unlink()
    assert kernel.run(f"job = chain.export({str(target)!r}, window)")["status"] == "ok"
    kernel.manager.shutdown_kernel(now=False)
    assert not kernel.manager.is_alive()
    known = ml.jobs()[0]
    check(target, known.id, "interrupted", expected)
    resumed = known.resume(progress=False)
    resumed.wait(SECONDS)
    check(target, known.id, "done", expected)


# ------------------------------------------------------------------------------------------------- bars, listeners


@pytest.mark.parametrize("moment", ["made", "drawn", "closed"])
def test_a_bar_that_fails_does_not_end_the_work(
    chain: Chain, expected: np.ndarray, target: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class Failing(bar.tqdm):  # type: ignore[type-arg, misc, valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            if moment == "made":
                raise RuntimeError("no widgets here")
            super().__init__(*args, **options)

        def refresh(self, *args: Any, **options: Any) -> None:
            if moment == "drawn" and threading.current_thread() is not threading.main_thread():
                raise KeyboardInterrupt

        def close(self) -> None:
            if moment == "closed":
                raise OSError("the page is gone")

    monkeypatch.setattr(bar, "tqdm", Failing)
    job = chain.export(target, WHOLE)
    assert job.wait(SECONDS) == target
    check(target, job.id, "done", expected)


def test_progress_counts_the_last_stage(chain: Chain, target: Path) -> None:
    heard: list[tuple[str, str, float]] = []
    held = threading.Event()
    job_seen: list[Job] = []

    def listen(job: Job) -> None:
        held.wait(SECONDS)
        heard.append((job.state, job.stage, job.progress))

    job = chain.export(target, WHOLE, progress=False)
    job.observe(listen)
    job_seen.append(job)
    held.set()
    job.wait(SECONDS)
    until(lambda: heard[-1][0] == "done")
    shares = [share for *_, share in heard]
    assert shares == sorted(shares) and shares[-1] == 1.0 and all(share < 1 for share in shares[:-1])
    last = [share for state, stage, share in heard if state == "running" and stage in ("writing", "checking")]
    assert {stage for _, stage, _ in heard} == {"computing", "writing", "checking"}
    assert len(set(last)) > 5 and min(last) >= 0.8


def test_a_listener_cannot_wait_for_its_own_job(chain: Chain, target: Path) -> None:
    raised: list[Exception] = []

    def listen(job: Job) -> None:
        try:
            job.wait()
        except RuntimeError as error:
            raised.append(error)

    job = chain.export(target, WHOLE, progress=False)
    job.observe(listen)
    job.wait(SECONDS)
    assert raised and "would wait for itself" in str(raised[0])


def test_a_cancelled_job_does_not_wait_for_a_result_of_a_whole_extent(
    chain: Chain, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A threshold of an area that takes for ever."""
    asked = threading.Event()
    real = compute.Executor.request

    def never(executor: Any, published: Any, task: Any, *args: Any, **options: Any) -> Any:
        ticket = real(executor, published, task, *args, **options)
        if type(task).__name__ == "NodeKey":
            ticket.future = type(ticket.future)()
            asked.set()
        return ticket

    monkeypatch.setattr(compute.Executor, "request", never)
    job = chain.otsu(extent=window(64, 64), resolution=10).export(target, WHOLE, progress=False)
    assert asked.wait(SECONDS)
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(SECONDS)
    assert job.state == "cancelled" and not list(target.parent.iterdir())


def test_the_truth_is_told_where_the_store_has_not_heard_it(
    chain: Chain, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk is full, for example."""
    real = SqlStore.put_job

    def away(store: Any, record: Any) -> None:
        if record.state != "running":
            raise StoreUnavailable("the disk is full")
        real(store, record)

    monkeypatch.setattr(SqlStore, "put_job", away)
    job = chain.export(target, window(64, 64), progress=False)
    job.wait(SECONDS)
    assert named(job.id).record.state == "running" and named(job.id).state == "done"


def test_a_job_that_cannot_begin_is_not_said_to_run(
    chain: Chain, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("export "):
            raise RuntimeError("can't start new thread")
        real(thread)

    real = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="new thread"):
        chain.export(target, WHOLE, progress=False)
    assert ml.jobs()[0].path == target and ml.jobs()[0].state == "failed"
    at_exit._unheard.pop(ml.jobs()[0].id)


# -------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["n" * 236 + ".tif", "n" * 251 + ".tif", "é" * 125 + ".tif", "*?[a] & 'b'.tif"])
def test_every_name_of_a_file_will_do(chain: Chain, target: Path, name: str) -> None:
    path = target.with_name(name)
    box = window(64, 64)
    assert chain.export(path, box, progress=False).wait(SECONDS) == path
    assert np.array_equal(read(path), chain.compute(box).values, equal_nan=True)
    assert os.listdir(path.parent) == [name]


@pytest.mark.parametrize(
    ("name", "told"),
    [("n" * 252 + ".tif", "has 256 bytes; it may have 255"), ("a\x1b[31m.tif", "shown"), ("a\udcff.tif", "UTF-8")],
)
def test_what_cannot_be_a_name_is_said_at_once(chain: Chain, target: Path, name: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        chain.export(target.with_name(name), WHOLE, progress=False)
    assert not list(target.parent.iterdir())
