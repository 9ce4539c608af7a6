"""Who is alive: processes told apart by pid *and* start time, and the leases that keep a cluster running."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil

PROC = Path("/proc")  # macOS has none


def process_start(pid: int) -> str | None:
    """When process `pid` started, as an opaque text; None when it does not run (a zombie does not run).

    On Linux these are clock ticks since boot: unlike a wall-clock time they do not move when the clock is set.
    """
    if PROC.is_dir():
        try:
            text = (PROC / str(pid) / "stat").read_text()
        except OSError:
            return None
        fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold blanks
        return None if fields[0] in "ZX" else fields[19]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def is_alive(pid: int, start: str) -> bool:
    """Whether the process that had this pid and start time still runs."""
    return process_start(pid) == start


def write_private(file: Path, content: dict[str, Any]) -> None:
    """Writes JSON that only the user can read; readers see the old file or the whole new one."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(content, stream)
    part.replace(file)


def hold(folder: Path, pid: int | None = None, seconds: float | None = None) -> Path:
    """A process's lease in `folder`; it counts until it is deleted or the process ends, however it ends.

    Parameters
    ----------
    pid
        The process, if it is another one than this: it is given a lease unless it has one.
    seconds
        After so many it counts no more, unless the process itself has taken it meanwhile.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    holder = pid or os.getpid()
    file = folder / f"{holder}-{process_start(holder)}.json"
    if pid is None:
        write_private(file, {"pid": holder, "program": " ".join(sys.argv[:2])[:200]})
    elif not file.exists():
        until = time.time() + seconds if seconds is not None else None
        write_private(file, {"pid": holder, "program": "expected to ask for it", "until": until})
    return file


def holders(folder: Path) -> list[dict[str, Any]]:
    """The living holders (`pid`, `program`, `until` in seconds since 1970); leases of dead ones are deleted."""
    found = []
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        pid, _, start = file.stem.partition("-")
        if not (pid.isdigit() and is_alive(int(pid), start)):
            file.unlink(missing_ok=True)
            continue
        try:
            lease = json.loads(file.read_text())
        except FileNotFoundError:  # released this moment
            continue
        if lease.get("until") is None or lease["until"] >= time.time():
            found.append(lease)
    return found


def kill_tree(pid: int) -> None:
    """Ends a process and all below it at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
