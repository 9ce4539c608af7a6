"""Keeps the store's record of a job: when it begins, while it runs, and when it ends.

After a restart of kernel or server a job is found there, with all it takes to start it again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

import psutil

from muses_lab.document import graph
from muses_lab.errors import MusesError
from muses_lab.export.pieces import size_of
from muses_lab.export.running import RunningJob
from muses_lab.operators import references, registry
from muses_lab.publish import sharing
from muses_lab.store import LIVE, WRITES_A_FILE, JobRecord, Store

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 2.0
"""How often progress is written down."""

PULSE_SECONDS = 20.0
"""How often it is written down that the job still runs."""


class Journal:
    """Keeps a job's record in the store up to date. The store being away for a while does not stop the job."""

    def __init__(self, record: JobRecord, store: Store) -> None:
        self.record = replace(record, state="running", error="", process=process())
        self._store = store
        self._lock = threading.Lock()
        self._closed = False

    def begin(self) -> None:
        """Writes that the job begins; raises where the store cannot be asked: nothing has begun then."""
        self._store.put_job(self.record)

    def follow(self, job: RunningJob) -> None:
        """Writes progress from now on, in a thread of its own: the job must not wait for the store."""
        threading.Thread(target=self._follow, args=(job,), name=f"journal of {job.name}", daemon=True).start()

    def end(self, job: RunningJob) -> bool:
        """Writes how the job ended; returns whether the store could be written."""
        size = size_of(job.path) if job.state == "done" and self.record.kind in WRITES_A_FILE else 0
        error = "" if job.error is None else f"{type(job.error).__name__}: {job.error}"
        return self._write(replace(_of(self.record, job), state=job.state, bytes=size, error=_plain(error)), last=True)

    def _follow(self, job: RunningJob) -> None:
        quiet = 0.0
        while not job.ended.wait(PROGRESS_SECONDS):
            quiet += PROGRESS_SECONDS
            match self._wish():
                case "cancelling":
                    job.cancel()
                case "pausing" if job.state == "running":
                    job.pause()
                case "resuming" if job.state == "paused":
                    job.resume()
            now = _of(self.record, job)
            if now != self.record or quiet >= PULSE_SECONDS:
                quiet = 0.0
                self._write(now)

    def _write(self, record: JobRecord, last: bool = False) -> bool:
        with self._lock:
            if self._closed:
                return True
            self._closed = last
            try:
                self._store.put_job(record)
                self.record = record
                return True
            except MusesError as error:
                logger.warning("the store has not noted the job %s as %s: %s", record.name, record.state, error)
                return False

    def _wish(self) -> str | None:
        """What somebody has asked of the job in the store, perhaps from another process."""
        try:
            return self._store.job(self.record.id).state
        except MusesError:
            return None

    def share(self, user: sharing.Names, group: sharing.Names, title: str | None, days: float | None) -> sharing.Link:
        return share(self._store, self.record, user, group, title, days)


def share(
    store: Store,
    record: JobRecord,
    user: sharing.Names,
    group: sharing.Names,
    title: str | None = None,
    days: float | None = None,
) -> sharing.Link:
    """Lets others make the same file for themselves: they get the chain and the window, not the file."""
    if record.kind != "export":
        raise MusesError(f"{record.name} cannot be shared, its chain can: chain.share(…)")
    content = {"chain": record.chain, "export": {"name": record.name, "window": record.options["window"]}}
    needed = references(graph.parse(store.document(record.chain), registry))
    return sharing.grant(store, content, needed, title or record.name, user, group, days)


def interrupted(record: JobRecord) -> bool:
    """Whether the process in which a job ran is gone, or about to end, although the job had not ended."""
    if record.state not in LIVE:
        return record.state == "interrupted"
    if record.process.partition(" ")[0] == socket.gethostname():
        return process_here(record) is None
    return record.changed is None or (datetime.now(UTC) - record.changed).total_seconds() > 3 * PULSE_SECONDS


def process_here(record: JobRecord) -> int | None:
    """Number of the process of this machine that runs a job; None where it is another machine's, or gone.

    One that has ended and that nobody has asked how (a zombie, in containers without an init) runs nothing.
    """
    host, _, rest = record.process.partition(" ")
    number, _, began = rest.partition(" ")
    if host != socket.gethostname():
        return None
    try:
        found = psutil.Process(int(number))
        runs = f"{found.create_time():.0f}" == began and found.status() != psutil.STATUS_ZOMBIE
        return found.pid if runs else None
    except (psutil.NoSuchProcess, ValueError):
        return None


@lru_cache(maxsize=1)
def _process(number: int) -> str:
    return f"{socket.gethostname()} {number} {psutil.Process(number).create_time():.0f}"


def process() -> str:
    """This process: host, number, and when it began (numbers are used again)."""
    return _process(os.getpid())


def _of(record: JobRecord, job: RunningJob) -> JobRecord:
    state = job.state if job.state in LIVE else record.state
    return replace(record, state=state, total=job.total, done=job.done, failed=len(job.failed))


def _plain(text: str) -> str:
    return "".join(c if c >= " " else " " for c in text)[:2000]
