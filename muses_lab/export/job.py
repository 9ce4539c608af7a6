"""A job: work that goes on in the background, with progress, an end, and a way to stop it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from muses_lab.errors import Cancelled, ComputeError, MusesError
from muses_lab.export import at_exit
from muses_lab.export.bar import Bar
from muses_lab.export.journal import Journal
from muses_lab.export.pace import Pace
from muses_lab.plain import Status, duration
from muses_lab.publish import sharing
from muses_lab.resources import cancel
from muses_lab.store import JobRecord

logger = logging.getLogger(__name__)

PIECES = 0.8
"""Share of a job's time that its pieces are taken to need; the last stage has the rest."""

STOP_SECONDS = 60.0
"""How long an interrupted `wait` waits for the job to have stopped. It takes a quarter of a second, as a rule."""


class Interrupted(ComputeError):
    """The job's process ends before the job: what is done stays, so that another process can go on with it."""

    code = "interrupted"


class Job:
    """An export, or the materializing of blocks, under way.

    ```python
    job = chain.export("ndvi.tif", window)     # returns at once, shows a progress bar
    job.remaining                              # seconds, by the pieces that are computed; None: not known yet
    job.pause()                                # the cluster is free for others; job.resume() goes on
    job.wait()                                 # the file's path, or the error
    ```

    An interrupt (Ctrl-C, the notebook's stop button) while `wait` waits cancels the job.
    """

    def __init__(
        self, path: Path, work: Callable[[Job], Any], journal: Journal, progress: bool = True, name: str | None = None
    ) -> None:
        self.path = path
        self.id = journal.record.id
        """Names it in the store: `ml.jobs()` lists it, also after a restart."""
        self.name = name or path.name
        """What it is called in messages."""
        self.total = 0
        """Pieces to be computed."""
        self.done = 0
        """Pieces computed."""
        self.stage = "planning"
        """What is done now: `planning`, `computing`, `writing`, `checking`."""
        self.failed: dict[str, str] = {}
        """Scenes that could not be read and were left out: id → reason."""
        self.error: BaseException | None = None
        self.ended = threading.Event()
        """Set when nothing goes on any more, and the store knows how it ended."""
        self._share = 0.0
        self._over = False
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._pace = Pace()
        self._why_stopped: Callable[[str], MusesError] = Cancelled
        self._journal = journal
        self._listeners: list[Callable[[Job], None]] = []
        self._work = work
        self._bar = Bar(self) if progress else None  # in this thread: it stands under the cell that started the job
        self._thread = threading.Thread(target=self._run, name=f"export {self.name}", daemon=True)
        try:
            journal.begin()
            at_exit.began(self)
            self._thread.start()
        except BaseException as error:  # the store must not say for ever that it runs
            self.cancel()
            if self._thread.ident is None:
                self._end(error)
            raise
        journal.follow(self)
        if self._bar is not None:
            self._bar.follow()

    def __repr__(self) -> str:
        state = "running, to be cancelled" if self.state == "running" and self.stopping else self.state
        left_out = f", {len(self.failed)} scenes left out" if self.failed else ""
        why = f" ({self.error})" if self.error is not None and str(self.error) else ""
        left = f", about {duration(self.remaining)} left" if self.remaining is not None else ""
        return f"<Job {self.name}: {state}{why}, {self.done} of {self.total} pieces{left}{left_out}>"

    def status(self) -> Status:
        """How far it is, what it left out, and why it failed if it did; `print` gives JSON."""
        return Status(
            kind="job", id=self.id, name=self.name, state=self.state, why=str(self.error) if self.error else None,
            stage=self.stage, progress=round(self.progress, 4), done=self.done, total=self.total,
            remaining=None if self.remaining is None else round(self.remaining), left_out=dict(self.failed),
            path=str(self.path),
        )  # fmt: skip

    @property
    def record(self) -> JobRecord:
        """What the store has of it."""
        return self._journal.record

    @property
    def state(self) -> str:
        """`running`, `paused`, `done`, `failed`, `cancelled`, or `interrupted`: another process may go on with it."""
        if not self._over:
            return "running" if self._go.is_set() else "paused"
        if self.error is None:
            return "done"
        if isinstance(self.error, Interrupted):
            return "interrupted"
        return "cancelled" if isinstance(self.error, Cancelled) else "failed"

    @property
    def progress(self) -> float:
        """How much is done, from 0 to 1. It is 1 when the job is done and not before: the last stage counts."""
        if self.state == "done":
            return 1.0
        pieces = self.done / self.total if self.total else 0.0
        return min(0.999, PIECES * pieces + (1 - PIECES) * self._share)

    @property
    def remaining(self) -> float | None:
        """Seconds that it will still take, by the pieces that it has computed; None: too few yet, or it has ended."""
        return None if self._over else self._pace.remaining()

    def wait(self, timeout: float | None = None) -> Path:
        """The file's path when it is written; raises what made the job fail, `TimeoutError` after so many seconds.

        An interrupt cancels the job, waits until it has stopped, and says what became of it.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a job's listener cannot wait for the end of the job: it would wait for itself")
        try:
            self.ended.wait(timeout)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None
        if not self.ended.is_set():
            raise TimeoutError(f"{self.name} is not written after {timeout:g} s ({self.done} of {self.total})")
        self.show_the_end()
        at_exit.heard(self)
        if self.error is not None:
            raise self.error
        return self.path

    def cancel(self) -> None:
        """Stops the job; nothing is left of an export, and of materialized blocks those that are done."""
        self._stop.set()
        self._go.set()

    def pause(self) -> None:
        """Asks for no more blocks, and writes nothing, until `resume`; what is under way is still computed.

        Nothing is lost: the pieces that are there are on disk. `MusesError` where the job has ended.
        """
        if self._over:
            raise MusesError(f"{self.name} is {self.state}; there is nothing to pause")
        if self._go.is_set() and not self.stopping:
            self._pace.pause()
            self._go.clear()
            self._tell()

    def resume(self) -> None:
        """Goes on after `pause`."""
        if self._over:
            raise MusesError(f"{self.name} is {self.state}; ml.jobs() lists the jobs, and starts one again")
        if not self._go.is_set():
            self._pace.go_on()
            self._go.set()
            self._tell()

    def share(
        self,
        user: sharing.Names = None,
        group: sharing.Names = None,
        *,
        title: str | None = None,
        days: float | None = None,
    ) -> sharing.Link:
        """Lets other users of the hub make the same file, on clusters of their own; see `Chain.share`."""
        return self._journal.share(user, group, title, days)

    def observe(self, listener: Callable[[Job], None]) -> None:
        """Calls `listener(job)` in the job's thread after every step and at the end; at once if the job has ended."""
        self._listeners.append(listener)
        if self.ended.is_set():
            self._tell_one(listener)

    # What the work calls

    def check(self) -> None:
        """Waits while the job is paused; raises where it is to end."""
        self._go.wait()
        if self._stop.is_set():
            raise self._why_stopped(f"the export of {self.name} was {self._verb()}")

    def acquire(self, lock: FileLock) -> None:
        """Takes a lock that another job may hold for long; `Cancelled` if this one is cancelled meanwhile."""
        while True:
            self.check()
            try:
                lock.acquire(timeout=0.25)
                return
            except Timeout:
                continue

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def begin(self, total: int, done: int = 0, last: float | None = None) -> None:
        """`done` of the pieces are there from an earlier try; the last stage is expected to take `last` seconds."""
        self.total, self.done, self.stage = total, done, "computing"
        self._pace.begin(total - done, last)

    def step(self) -> None:
        self.done += 1
        self._pace.step()
        self._tell()

    def again(self, pieces: int) -> None:
        """So many pieces are made once more."""
        self.total += pieces
        self._pace.more(pieces)

    def at(self, stage: str, share: float = 0.0) -> None:
        """What is done now, and how much of the last stage is done, from 0 to 1."""
        if stage != self.stage or not 0 <= share - self._share < 0.01:
            self.stage, self._share = stage, share
            self._pace.at_last(None if stage == "computing" else share)
            self._tell()

    @property
    def seconds_of_last(self) -> float:
        """How long the last stage has been going on, pauses left out."""
        return self._pace.seconds_of_last

    # What the end of the process calls

    def leave(self) -> None:
        """Stops the job so that another process can go on with it."""
        self._why_stopped = Interrupted
        self._stop.set()
        self._go.set()

    def show_the_end(self) -> None:
        """Waits briefly until the job's bar shows how the job ended."""
        if self._bar is not None:
            self._bar.ended.wait(1)  # what is shown must not lag behind; nothing depends on it

    # Inside

    def _verb(self) -> str:
        return "cancelled" if self._why_stopped is Cancelled else "interrupted by the end of its process"

    def _interrupted(self) -> str:
        """Cancels, and tells what became of it."""
        self.cancel()
        self.ended.wait(STOP_SECONDS)  # whoever interrupts again goes at once
        self.show_the_end()
        if not self._over:
            return f"{self.name} is being cancelled; job.wait() waits until it has stopped, ml.jobs() lists it"
        if self.state == "done":
            return f"{self.name} was just written, too late to be cancelled"
        return f"{self.name} is not written: the job is {self.state}"

    def _tell(self) -> None:
        for listener in list(self._listeners):
            self._tell_one(listener)

    def _tell_one(self, listener: Callable[[Job], None]) -> None:
        try:
            listener(self)
        except Exception:  # who looks on cannot make an export fail
            logger.exception("a listener of the export of %s failed", self.name)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with cancel.watching(self.check):
                self._work(self)
        except BaseException as problem:
            error = problem
            if at_exit.is_the_end(problem):
                error = Interrupted(f"the export of {self.name} was interrupted by the end of its process")
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self.error = error
        self._over = True
        noted = False
        try:
            noted = self._journal.end(self)
        except Exception:
            logger.exception("the store has not noted that the job %s is %s", self.name, self.state)
        finally:
            at_exit.over(self, noted)
            self.ended.set()
        self._tell()
