"""Runs a service of the hub, and ends the one that a killed hub has left: it would be taken for the new one.

    python -m muses_lab.deployment.once STATE/gateway.json COMMAND …

Its messages go to a file of the same name, `.log`. The former one is killed, not asked to end: a gateway that ends
takes its clusters along, those of a dead one are found again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from muses_lab.compute import leases

LOG_BYTES = 20 << 20


def end_former(file: Path, seconds: float = 10) -> bool:
    """Ends the service that `file` tells of, with the helpers that end with it; whether there was one."""
    try:
        former = json.loads(file.read_text())
    except (OSError, ValueError):
        return False
    pid, start = former["pid"], former["start"]
    if not leases.is_alive(pid, start):
        return False
    helpers = [child for child in psutil.Process(pid).children() if "dask-gateway-proxy" in child.name()]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for helper in helpers:  # of its own accord it ends a moment too late: its port is wanted
        with suppress(psutil.NoSuchProcess):
            helper.kill()
    end = time.monotonic() + seconds
    while time.monotonic() < end and (leases.is_alive(pid, start) or any(h.is_running() for h in helpers)):
        time.sleep(0.02)
    return True


def open_log(file: Path) -> int:
    """A log to go on with, unless it has become long; then the former one is kept beside it."""
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".log.1"))
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def main(file: Path, command: list[str]) -> None:
    if end_former(file):
        print(f"ended the service that a former hub had left ({file.name})", file=sys.stderr)
    leases.write_private(file, {"pid": os.getpid(), "start": leases.process_start(os.getpid())})
    messages = open_log(file.with_suffix(".log"))
    os.dup2(messages, 1)
    os.dup2(messages, 2)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
