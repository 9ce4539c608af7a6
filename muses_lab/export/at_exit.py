"""What becomes of jobs when their process ends before them.

A script, or a terminal, hands them over: each goes on, with its bar, in a process that this one waits for. It cannot
go on here: an interpreter that ends starts no thread any more (Python 3.12), and stops the pools of those there are. A
notebook's kernel must end at once: what its jobs have done stays, and `ml.jobs()[0].resume()` goes on with it. After
Ctrl-C they are cancelled.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  its pools end after what is registered here, not before
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

from muses_lab import compute
from muses_lab.export.running import RunningJob
from muses_lab.store import LIVE

STOP_SECONDS = 20.0
"""How long a job may take to stop. What has not stopped then ends with the process."""

KERNEL_SECONDS = 2.0
"""The same in a kernel: Jupyter kills it a few seconds after it was asked to end."""

FINISH = "from muses_lab.cli import app; app()"

_jobs: dict[str, RunningJob] = {}
"""Those that have not ended, and those that were interrupted by the end of the process."""

_unnoted: dict[str, RunningJob] = {}
"""Those that have ended without the store having noted it: it was away, or its disk was full."""

_unheard: dict[str, str] = {}
"""Jobs that failed and for which nobody has waited: what is to be said of them."""


def began(job: RunningJob) -> None:
    _jobs[job.id] = job
    _unnoted.pop(job.id, None)


def over(job: RunningJob, noted: bool) -> None:
    """It has ended; `noted`: and the store knows."""
    if not noted:
        _unnoted[job.id] = job
    if job.state != "interrupted":
        _jobs.pop(job.id, None)
    if job.state == "failed":
        _unheard[job.id] = f"{job.name} is not written: {job.error}"


def heard(job: RunningJob) -> None:
    """Somebody was told how the job ended."""
    _unheard.pop(job.id, None)


def running() -> list[RunningJob]:
    """The jobs of this process that have not ended."""
    return [job for job in list(_jobs.values()) if job.state in LIVE]


def known(id: str) -> RunningJob | None:
    """A job of this process, if it knows better than the store what has become of it."""
    return _jobs.get(id) or _unnoted.get(id)


def is_the_end(error: BaseException | None) -> bool:
    """Whether a job failed because the interpreter ends: it starts no more threads then."""
    while error is not None:
        if "interpreter shutdown" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _leave() -> None:
    """Called when the main thread has ended, and before anything else is stopped."""
    try:
        jobs = list(_jobs.values())
        if _is_kernel():
            _stop(jobs, KERNEL_SECONDS)
            return
        for text in _unheard.values():
            _say(text)
        if not jobs:
            return
        if _was_interrupted():
            for job in jobs:
                job.cancel()
            _stop(jobs, STOP_SECONDS)
            _say("".join(f"\n{job.name} is not written: the job is {job.state}." for job in jobs).strip())
        else:
            paused = [job for job in jobs if job.state == "paused"]
            _stop(jobs, STOP_SECONDS)
            for job in jobs:
                if job not in paused:
                    _hand_over(job)
            if paused:
                _say(_left(paused))
    except KeyboardInterrupt:
        _say(_left(job for job in _jobs.values() if job.state != "done"))


def _stop(jobs: list[RunningJob], seconds: float) -> None:
    end = monotonic() + seconds
    for job in jobs:
        if not job.stopping:
            job.leave()
    for job in jobs:
        if job.ended.wait(max(0.0, end - monotonic())):
            job.show_the_end()


def _hand_over(job: RunningJob) -> None:
    if job.state not in ("running", "interrupted"):  # it ended by itself meanwhile
        if job.id in _unheard:
            _say(_unheard[job.id])
        return
    _say(f"The program has ended, {job.name} is not written yet: that goes on now, Ctrl-C cancels it.")
    command = [sys.executable, "-c", FINISH, "jobs", "resume", job.id, "--while-runs", str(os.getpid())]
    try:
        if job.state == "running":
            raise OSError("the job did not stop")
        # A group of its own: an interrupt from the keyboard must reach it once, by way of us.
        child = subprocess.Popen(command, env={**os.environ, "MUSES_COMPUTE": compute.kind()}, start_new_session=True)
    except OSError as error:
        _say(f"{job.name} could not be finished ({error}). {_left([job])}")
        return
    while child.returncode is None:
        try:
            child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
    if child.returncode:
        _say(f"{job.name} is not written; `muses-lab jobs list` has its state.")


def _left(jobs: Iterable[RunningJob]) -> str:
    commands = "".join(f"\n    muses-lab jobs resume {job.id}" for job in jobs)
    return f"What is done is kept; to go on with it:{commands}"


def _is_kernel() -> bool:
    application = getattr(sys.modules.get("ipykernel.kernelapp"), "IPKernelApp", None)
    return application is not None and application.initialized()


def _was_interrupted() -> bool:
    """Whether the program ended by Ctrl-C."""
    return getattr(sys, "last_type", None) is KeyboardInterrupt


def _say(text: str) -> None:
    with suppress(Exception):
        print(text, file=sys.stderr, flush=True)


threading._register_atexit(_leave)  # type: ignore[attr-defined]  # atexit's own turn comes after pools have ended
os.register_at_fork(after_in_child=_jobs.clear)  # they go on in the parent
