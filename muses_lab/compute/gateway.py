"""The user's own cluster behind a Dask Gateway, as JupyterHub deployments offer it.

The hub limits the cluster and shuts it down when idle; notebook and service of one user share it. Settings are Dask
Gateway's own (`DASK_GATEWAY__ADDRESS`, `DASK_GATEWAY__AUTH__TYPE`, …); `MUSES_GATEWAY_CLUSTER` names a cluster to use.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import monotonic

import dask
from dask_gateway import Gateway
from dask_gateway.client import ClusterReport, ClusterStatus
from distributed import Client
from filelock import FileLock, Timeout
from jupyter_core.paths import jupyter_runtime_dir

from muses_lab.errors import ComputeError
from muses_lab.settings import number


async def connect() -> Client:
    """An asynchronous client of the user's cluster: the running one, else a new one, on the running event loop."""
    if not dask.config.get("gateway.address", None):
        raise ComputeError(
            "no Dask Gateway is configured; set DASK_GATEWAY__ADDRESS to its address, "
            'or use the embedded cluster: muses_lab.compute.use("embedded")'
        )
    timeout = number("MUSES_START_TIMEOUT", 120)
    async with Gateway(asynchronous=True) as gateway:
        lock = await _lock(timeout)
        try:
            report = await _own_cluster(gateway, timeout)
        finally:
            lock.release()
        client = await Client(
            report.scheduler_address,
            security=report.security,
            asynchronous=True,
            set_as_default=False,
            timeout=30,
        )
        if not await client.nthreads():
            await gateway.adapt_cluster(report.name, minimum=1, maximum=max(1, int(number("MUSES_WORKERS", 2))))
        return client


async def _own_cluster(gateway: Gateway, timeout: float) -> ClusterReport:
    name = os.environ.get("MUSES_GATEWAY_CLUSTER")
    if not name:
        running = await gateway.list_clusters(status=[ClusterStatus.RUNNING, ClusterStatus.PENDING])
        name = min(running, key=lambda c: c.start_time).name if running else None
    if not name:
        name = await gateway.submit()
    end = monotonic() + timeout
    while monotonic() < end:
        report = await gateway.get_cluster(name)
        if report.status is ClusterStatus.RUNNING:
            return report
        if report.status is not ClusterStatus.PENDING:
            text = f"Dask Gateway could not start cluster {name}: it is {report.status.name}"
            raise ComputeError(f"{text}; its log is with your hub's administrator")
        await asyncio.sleep(0.2)
    raise ComputeError(f"Dask Gateway did not start cluster {name} within {timeout:g} s (MUSES_START_TIMEOUT)")


async def _lock(timeout: float) -> FileLock:
    """Kernel and server that ask at the same time are to get one cluster."""
    folder = Path(jupyter_runtime_dir())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(folder / "muses-gateway.lock", mode=0o600, thread_local=False)
    try:
        await asyncio.to_thread(lock.acquire, timeout=timeout)
    except Timeout:
        raise ComputeError(f"another process has been starting a gateway cluster for {timeout:g} s") from None
    return lock
