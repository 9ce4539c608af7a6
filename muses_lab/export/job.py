"""A job: work that goes on in the background, with progress, an end, and a way to stop it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from muses_lab import sharing
from muses_lab.errors import Cancelled
from muses_lab.export.journal import Journal

logger = logging.getLogger(__name__)


class Job:
    """An export, or the making of a pyramid, under way.

    ```python
    job = chain.export("ndvi.tif", window)     # returns at once, shows a progress bar
    job.wait()                                 # the file's path, or the error
    ```
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
        """Pieces to be written."""
        self.done = 0
        """Pieces written."""
        self.failed: dict[str, str] = {}
        """Scenes that could not be read and were left out: id → reason."""
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._journal = journal
        self._bar: Any = None
        self._show = progress
        self._stop = threading.Event()
        self._listeners: list[Callable[[Job], None]] = []
        self._work = work
        self._thread = threading.Thread(target=self._run, name=f"export {self.name}", daemon=True)
        self._thread.start()
        journal.follow(self)

    def __repr__(self) -> str:
        return f"<Job {self.name}: {self.state}, {self.done} of {self.total} pieces>"

    @property
    def state(self) -> str:
        """`running`, `done`, `failed` or `cancelled`."""
        if not self.ended.is_set():
            return "running"
        if self.error is None:
            return "done"
        return "cancelled" if isinstance(self.error, Cancelled) else "failed"

    def wait(self, timeout: float | None = None) -> Path:
        """The file's path when it is written; raises what made the job fail, `TimeoutError` after so many seconds."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"{self.name} is not written after {timeout:g} s ({self.done} of {self.total})")
        if self.error is not None:
            raise self.error
        return self.path

    def cancel(self) -> None:
        """Stops the job; nothing is left of an export, and a pyramid keeps the blocks that are done."""
        self._stop.set()

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
        """Calls `listener(job)` after every piece and at the end, in the job's own thread; at once if it has ended."""
        self._listeners.append(listener)
        if self.ended.is_set():
            self._tell_one(listener)

    # What the work calls

    def check(self) -> None:
        if self._stop.is_set():
            raise Cancelled(f"the export of {self.name} was cancelled")

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

    def begin(self, total: int, done: int = 0) -> None:
        """`done` of the pieces are there from an earlier try."""
        self.total, self.done = total, done
        if self._show:
            self._bar = tqdm(total=total, initial=done, desc=self.name, unit="block")

    def step(self) -> None:
        self.done += 1
        if self._bar is not None:
            self._bar.update(1)
        self._tell()

    def _tell(self) -> None:
        for listener in list(self._listeners):
            self._tell_one(listener)

    def _tell_one(self, listener: Callable[[Job], None]) -> None:
        try:
            listener(self)
        except Exception:  # who looks on cannot make an export fail
            logger.exception("a listener of the export of %s failed", self.name)

    def _run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:
            self.error = error
        finally:
            if self._bar is not None:
                self._bar.close()
            self.ended.set()
        self._journal.end(self)
        self._tell()
