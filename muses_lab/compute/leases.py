"""Who is alive: processes told apart by pid *and* start time, and the leases that keep a cluster running."""

from __future__ import annotations

import json
import os
import sys
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


def hold(folder: Path) -> Path:
    """This process's lease in `folder`; it counts until it is deleted or the process ends, however it ends."""
    folder.mkdir(mode=0o700, exist_ok=True)
    pid = os.getpid()
    file = folder / f"{pid}-{process_start(pid)}.json"
    if not file.exists():
        write_private(file, {"pid": pid, "program": " ".join(sys.argv[:2])[:200]})
    return file


def holders(folder: Path) -> list[dict[str, Any]]:
    """The living holders (`pid`, `program`); leases of dead ones are deleted."""
    found = []
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        pid, _, start = file.stem.partition("-")
        if not (pid.isdigit() and is_alive(int(pid), start)):
            file.unlink(missing_ok=True)
            continue
        try:
            found.append(json.loads(file.read_text()))
        except FileNotFoundError:  # released this moment
            continue
    return found
