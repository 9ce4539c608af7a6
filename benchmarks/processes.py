"""Processes on loopback that benchmarks and tests start, wait for, and end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command: Sequence[Any], folder: Path, name: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is told to end when the block does; its output goes to a file beside it."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def until_there(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"it ended:\n{log.read_text()}")
        with contextlib.suppress(OSError), opener.open(url, timeout=5):
            return
        time.sleep(0.05)
    raise SystemExit(f"{url} does not answer after {seconds:g} s:\n{log.read_text()}")
