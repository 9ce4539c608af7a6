"""A Dask Gateway on loopback, for the benchmarks and the tests; servers that are started and waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PASSWORD = "pw"
"""Of every user."""
CONFIGURATION = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = {password!r}
c.DaskGateway.address = "127.0.0.1:{private}"
c.Proxy.address = "127.0.0.1:{public}"
c.UnsafeLocalBackend.clusters_directory = {folder!r}
c.ClusterConfig.scheduler_cmd = [{dask!r}, "scheduler"]
c.ClusterConfig.worker_cmd = [{dask!r}, "worker", "--host", "127.0.0.1"]
c.ClusterConfig.worker_cores = {cores}
c.ClusterConfig.environment = {environment!r}
"""


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


@contextlib.contextmanager
def running_gateway(folder: Path, environment: Mapping[str, str], cores: int = 1) -> Iterator[str]:
    """The address of a gateway whose clusters have an environment, and workers with so many cores."""
    private, public = free_port(), free_port()
    file = folder / "gateway.py"
    file.write_text(
        CONFIGURATION.format(
            private=private, public=public, folder=str(folder), dask=str(BIN / "dask"), password=PASSWORD,
            environment=dict(environment), cores=cores,
        )
    )  # fmt: skip
    url = f"http://127.0.0.1:{public}"
    with running([BIN / "dask-gateway-server", "-f", file], folder, "gateway") as process:
        until_there(f"{url}/api/health", process, folder / "gateway.log")
        yield url


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
