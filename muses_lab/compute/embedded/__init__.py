"""The embedded cluster: Dask on this machine without configuration, in a process of its own, for its user only.

Whoever asks first starts it, the others find it through a file in the Jupyter runtime directory. It lives while
servers, kernels or scripts hold a lease and ends some seconds after the last of them, however that one ended.

>>> from muses_lab.compute import embedded
>>> embedded.ensure().address                                       # doctest: +SKIP
'tls://127.0.0.1:40519'

Processes share a cluster when its workers would behave the same for them: same release, environment, folder of
registered catalogues and allowed hosts. Others get one of their own, so two releases in use at once do not meet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muses_lab import settings
from muses_lab.compute import leases
from muses_lab.compute.clients import connected
from muses_lab.compute.embedded import finder, starter
from muses_lab.compute.embedded.finder import ClusterInfo
from muses_lab.compute.release import release
from muses_lab.errors import ComputeError

if TYPE_CHECKING:
    from distributed import Client

_held: set[Path] = set()  # this process's leases; more than one only if its settings have changed meanwhile


def ensure(timeout: float | None = None) -> ClusterInfo:
    """The user's cluster, started if there is none; this process holds a lease on it from now on.

    Raises
    ------
    ComputeError
        When it does not come up within `timeout` seconds (`MUSES_START_TIMEOUT`, default 60); with the end of its log.
    """
    folder = finder.cluster_folder()
    lease, info = _started(folder, timeout, lambda: leases.hold(folder / "leases"))
    _held.add(lease)
    if info.release != release():
        raise ComputeError(
            f"the cluster described in {finder.cluster_file(folder)} runs {info.release}, this process runs "
            f"{release()}; end it with `muses-lab cluster stop`"
        )
    return info


def expect(pid: int, seconds: float) -> None:
    """Starts the cluster, if there is none, for a process that is likely to ask for it soon.

    That process holds a lease for so many seconds, and for good once it asks itself. For one that has ended nothing is
    started.

    Raises
    ------
    ComputeError
        As of `ensure`.
    """
    if leases.process_start(pid) is not None:
        folder = finder.cluster_folder()
        _started(folder, None, lambda: leases.hold(folder / "leases", pid, seconds))


def _started(folder: Path, timeout: float | None, hold: Callable[[], Path]) -> tuple[Path, ClusterInfo]:
    """The lease that `hold` takes, and the cluster, started if there is none; without it there is no lease either."""
    timeout = timeout or settings.number("MUSES_START_TIMEOUT", 60)
    with finder.locked(folder, timeout + 10):
        lease = hold()
        try:
            return lease, finder.read(folder) or starter.start(folder, timeout)
        except BaseException:
            lease.unlink(missing_ok=True)
            raise


def drop_lease() -> None:
    """Gives up this process's lease; the cluster ends some seconds later unless somebody else has one."""
    while _held:
        lease = _held.pop()
        if lease.name.startswith(f"{os.getpid()}-"):  # not the one of the process that this one was forked from
            lease.unlink(missing_ok=True)


def status() -> dict[str, Any]:
    """What there is: `running`, and if so address, pid, release, workers, threads, holders; `log` always."""
    folder = finder.cluster_folder()
    info = finder.read(folder)
    log = str(finder.log_file(folder))
    if info is None:
        return {"running": False, "log": log}
    known = {k: v for k, v in asdict(info).items() if k not in ("certificate", "key", "start")}
    return {"running": True, **known, "holders": leases.holders(folder / "leases"), "log": log}


def running() -> ClusterInfo | None:
    """The running cluster, for who only looks: no lease is taken."""
    return finder.read(finder.cluster_folder())


def stop(timeout: float = 15) -> bool:
    """Ends the cluster although it may be in use; False when there is none."""
    folder = finder.cluster_folder()
    info = finder.read(folder)
    if info is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(info.pid, signal.SIGTERM)
    if not _wait_for_end(info, timeout):
        leases.kill_tree(info.pid)
        _wait_for_end(info, 5)
    with finder.locked(folder, timeout):
        finder.read(folder)  # removes what it left
    return True


async def connect() -> Client:
    """An asynchronous client of the cluster, started if need be, on the running event loop."""
    from distributed import Client

    info = await asyncio.to_thread(ensure)
    client = Client(
        info.address,
        security=info.security(),
        asynchronous=True,
        set_as_default=False,
        # The scheduler passes blocks on: fetching them from the worker itself saves a fifth of the time of 1 MB blocks,
        # but a client goes on trying to reach a dead worker for as long as it may take to connect.
        direct_to_workers=False,
        timeout=20,
    )
    try:
        return await connected(client)
    except OSError as error:
        raise ComputeError(
            f"the cluster's process {info.pid} runs but does not answer at {info.address} ({error}); "
            "end it with `muses-lab cluster stop`"
        ) from error


def _wait_for_end(info: ClusterInfo, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while info.is_alive:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
