"""What the parts of an export see of the job that they work for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from filelock import FileLock


class RunningJob(Protocol):
    """A job: see `muses_lab.export.Job`."""

    id: str
    name: str
    path: Path
    total: int
    done: int
    stage: str
    failed: dict[str, str]
    error: BaseException | None
    ended: threading.Event

    @property
    def state(self) -> str: ...
    @property
    def remaining(self) -> float | None: ...
    @property
    def progress(self) -> float: ...
    @property
    def stopping(self) -> bool: ...
    def check(self) -> None: ...
    def acquire(self, lock: FileLock) -> None: ...
    def at(self, stage: str, share: float = 0.0) -> None: ...
    def cancel(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def leave(self) -> None: ...
    def show_the_end(self) -> None: ...
