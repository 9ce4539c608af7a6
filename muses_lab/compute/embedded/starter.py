"""Starts the cluster: a process of its own, without the keys of whoever happened to ask first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

from muses_lab.compute import leases, tuning
from muses_lab.compute.embedded import finder
from muses_lab.compute.embedded.finder import ClusterInfo
from muses_lab.errors import ComputeError

_SERVER = "muses_lab.compute.embedded.server"

_SECRET = re.compile(
    "TOKEN|SECRET|PASSW|CREDENTIAL|COOKIE|PRIVATE|API_?KEY|ACCESS_KEY"
    "|^(JUPYTERHUB|CONFIGPROXY|DASK_GATEWAY|MUSES_HUB|PG).*|^MUSES_STORE_URL$",
    re.IGNORECASE,
)
"""Names of variables that hold keys, or places for which one needs them."""
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
"""In addresses."""


def start(folder: Path, timeout: float) -> ClusterInfo:
    """Starts the cluster and waits until it has written its file; for who holds the lock.

    Raises
    ------
    ComputeError
        It ended, or did not come up within `timeout` seconds; with the end of its log.
    """
    log = os.open(finder.log_file(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _SERVER, str(folder)],  # -P: a notebook's folder must not shadow modules
            cwd=folder,
            env={**_environment(), **tuning.VARIABLES, "PYTHONPATH": _python_path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C and the end of a terminal or kernel are not meant for it
        )
    finally:
        os.close(log)
    threading.Thread(target=process.wait, name="muses-reaper", daemon=True).start()
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        info = finder.read(folder)
        if info is not None:
            return info
        if process.returncode is not None:
            raise ComputeError(f"the cluster could not be started:\n{_tail(folder)}")
        time.sleep(0.02)
    leases.kill_tree(process.pid)
    process.wait(5)
    raise ComputeError(f"the cluster did not start within {timeout:g} s (MUSES_START_TIMEOUT):\n{_tail(folder)}")


def _environment() -> dict[str, str]:
    """What workers are told: not the keys of the server or kernel that happens to ask first.

    They run what chains say, read files and answer the scheduler; `MUSES_WORKER_ENVIRONMENT` names what they need
    nevertheless.
    """
    kept = {name.strip() for name in os.environ.get("MUSES_WORKER_ENVIRONMENT", "").split(",")}

    def is_secret(name: str, value: str) -> bool:
        in_address = _PASSWORD.search(value) and not name.lower().endswith("_proxy")
        return bool(_SECRET.search(name) or in_address)

    return {name: value for name, value in os.environ.items() if name in kept or not is_secret(name, value)}


def _python_path() -> str:
    """The asker's PYTHONPATH made absolute, and the folder of this package when it is not installed."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    here = str(Path(__file__).parents[3])
    if here not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *paths):
        paths.append(here)
    return os.pathsep.join(paths)


def _tail(folder: Path, lines: int = 15) -> str:
    text = finder.log_file(folder).read_text(errors="replace").strip().splitlines()
    return "\n".join(text[-lines:]) or f"(nothing in {finder.log_file(folder)})"
