"""The cluster's own process: scheduler and workers on loopback, until nobody holds a lease.

`python -m muses_lab.compute.embedded.server FOLDER`, which `starter` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muses_lab import settings
from muses_lab.compute import leases, tuning
from muses_lab.compute.embedded import finder
from muses_lab.compute.embedded.finder import ClusterInfo
from muses_lab.compute.release import release


def main(folder: str) -> None:
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    scratch = tempfile.mkdtemp(prefix=finder.SCRATCH)
    failed = False
    try:
        asyncio.run(_serve(Path(folder), scratch))
    except Exception:
        failed = True
        logging.exception("the cluster ended")
    shutil.rmtree(scratch, ignore_errors=True)
    sys.stderr.flush()
    os._exit(failed)  # no thread may keep it


async def _serve(folder: Path, scratch: str) -> None:
    import dask
    from distributed import LocalCluster, Security
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Prompt(SchedulerPlugin):
        """Sends tasks on after 1 ms instead of collecting them for 5 ms: users wait for a block's round trip."""

        def add_worker(self, scheduler: Any, worker: str) -> None:
            scheduler.stream_comms[worker].interval = 0.001

    dask.config.set(
        {
            "temporary-directory": scratch,
            # Status pages show code, paths and logs to whoever can reach the port.
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            "distributed.deploy.lost-worker-timeout": "1h",  # else one that is slow to come back is given up for good
            "distributed.comm.timeouts.connect": "10s",  # a worker that has just died is tried for so long
            "distributed.scheduler.allowed-failures": 0,  # the backend tries again, and knows what it tries
            "distributed.scheduler.reuse-broadcast-comm": True,  # cancel flags without a TLS handshake each
        }
    )
    dask.config.set(tuning.SETTINGS)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    workers = max(1, int(settings.number("MUSES_WORKERS", 1)))
    threads = max(1, int(settings.number("MUSES_THREADS", max(1, (os.cpu_count() or 1) // workers))))
    security = Security.temporary()
    async with LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0", "plugins": [Prompt()]},
        worker_dashboard_address=None,
        local_directory=scratch,
        asynchronous=True,
        silence_logs=logging.WARNING,
    ) as cluster:
        info = ClusterInfo(
            address=cluster.scheduler_address,
            pid=os.getpid(),
            start=leases.process_start(os.getpid()) or "",
            started=time.time(),
            release=release(),
            workers=workers,
            threads=workers * threads,
            scratch=scratch,
            certificate=security.tls_client_cert,
            key=security.tls_client_key,
        )
        if not finder.write(folder, info):
            print(f"another cluster is already described in {finder.cluster_file(folder)}", file=sys.stderr)
            return
        try:
            await _until_unused(folder, ending, lambda: bool(cluster.scheduler.workers))
        finally:
            finder.remove(folder, info)
            _end_by_force_after(20)


async def _until_unused(folder: Path, ending: asyncio.Event, has_workers: Callable[[], bool]) -> None:
    """Returns when told to end, when nobody has held a lease for `MUSES_LEASE_GRACE` seconds (default 10), or when its
    workers do not come back: then the next asker starts a new cluster instead of waiting for this one."""
    grace = settings.number("MUSES_LEASE_GRACE")
    patience = settings.number("MUSES_START_TIMEOUT", 60)
    last_held = last_worked = time.monotonic()
    while not ending.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), min(1.0, max(0.05, grace / 4)))
        if has_workers():
            last_worked = time.monotonic()
        elif time.monotonic() - last_worked > patience:
            logging.error("the workers died and could not be started again within %g s", patience)
            return
        if leases.holders(folder / "leases"):
            last_held = time.monotonic()
        elif time.monotonic() - last_held >= grace and finder.remove_if_unused(folder):
            return


def _end_by_force_after(seconds: float) -> None:
    """A read that hangs in a worker must not keep the cluster: the workers end with this process."""

    def end() -> None:
        leases.kill_tree(os.getpid())

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main(sys.argv[1])
