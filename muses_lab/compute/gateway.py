"""The user's own cluster behind a Dask Gateway, as JupyterHub deployments offer it.

The hub limits the cluster and shuts it down when idle; notebook and service of one user share it. Settings are Dask
Gateway's own (`DASK_GATEWAY__ADDRESS`, `DASK_GATEWAY__AUTH__TYPE`, …), which a hub sets for its users' servers;
`MUSES_GATEWAY_CLUSTER` names a cluster to use, `MUSES_WORKERS` how many workers it may have at most.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import dask
from aiohttp import ClientError, ClientResponseError
from dask_gateway import Gateway, GatewayServerError
from dask_gateway.client import ClusterReport, ClusterStatus
from distributed import Client
from filelock import FileLock, Timeout
from jupyter_core.paths import jupyter_runtime_dir

from muses_lab.compute.clients import connected, release_all
from muses_lab.compute.release import release
from muses_lab.errors import ComputeError
from muses_lab.settings import number

T = TypeVar("T")

ANSWER = 30.0
"""Seconds in which a scheduler answers that its gateway says is running; one that does not is dead."""

ABSENT = (ClientError, OSError, GatewayServerError, TimeoutError)
"""What a gateway raises that is being started again, or the hub whom it asks who is there."""


async def connect() -> Client:
    """An asynchronous client of the user's cluster: the running one, else a new one, on the running event loop.

    A gateway that does not answer is waited for: its hub starts it again. A cluster whose scheduler is dead is ended,
    and a new one started.

    Raises
    ------
    ComputeError
        No gateway is configured, it refuses us, the cluster does not start within `MUSES_START_TIMEOUT` seconds, or it
        runs another release than this process.
    """
    seconds = number("MUSES_START_TIMEOUT", 120)
    end = monotonic() + seconds
    while True:
        async with gateway() as found:
            lock = await _lock(seconds)
            try:
                report = await patiently(lambda: own_cluster(found, end), end)  # noqa: B023 (awaited here)
            finally:
                lock.release()
            try:
                client = await client_of(report)
            except OSError as error:
                if monotonic() > end:
                    raise ComputeError(f"the scheduler of cluster {report.name} cannot be reached: {error}") from error
                await patiently(lambda: found.stop_cluster(report.name), end)  # noqa: B023
                continue
            try:
                await check_release(client)
                if not await client.nthreads():
                    await patiently(lambda: grow(found, report), end)  # noqa: B023
            except BaseException:
                await release_all(client)
                raise
            return client


def gateway() -> Gateway:
    """The configured gateway, for this event loop."""
    if not dask.config.get("gateway.address", None):
        raise ComputeError(
            "no Dask Gateway is configured; set DASK_GATEWAY__ADDRESS to its address, "
            'or use the embedded cluster: muses_lab.compute.use("embedded")'
        )
    return Gateway(asynchronous=True)


async def patiently(ask: Callable[[], Awaitable[T]], end: float) -> T:
    """`ask()`, again and again while the gateway is not there, until `end`; what it refuses is raised at once."""
    while True:
        try:
            return await ask()
        except ABSENT as error:
            if isinstance(error, ClientResponseError) and error.status < 500:
                raise ComputeError(f"the Dask Gateway refuses us: {error.status} {error.message}") from error
            if monotonic() > end:
                raise ComputeError(
                    f"the Dask Gateway does not answer ({error}); ask your hub's administrator"
                ) from error
            await asyncio.sleep(0.5)


async def running(found: Gateway) -> ClusterReport | None:
    """The user's cluster that runs or is being started: the oldest one, or that of `MUSES_GATEWAY_CLUSTER`."""
    name = os.environ.get("MUSES_GATEWAY_CLUSTER")
    if not name:
        try:
            there = await found.list_clusters(status=[ClusterStatus.RUNNING, ClusterStatus.PENDING])
        except ValueError as error:  # 404: its proxy is there and the gateway behind it not yet
            raise GatewayServerError(str(error)) from error
        name = min(there, key=lambda c: c.start_time).name if there else None
    return await found.get_cluster(name) if name else None


async def own_cluster(found: Gateway, end: float, **options: Any) -> ClusterReport:
    """The user's running cluster; started, with `options`, if there is none."""
    report = await running(found)
    while report is None:
        try:
            report = await found.get_cluster(await found.submit(**options))
        except ValueError as error:  # refused: the options, or because another process of this user was faster
            report = await running(found)
            if report is None:
                raise ComputeError(f"the Dask Gateway refuses this cluster: {error}") from error
    while report.status is ClusterStatus.PENDING and monotonic() < end:
        await asyncio.sleep(0.2)
        report = await found.get_cluster(report.name)
    if report.status is ClusterStatus.RUNNING:
        return report
    if report.status is ClusterStatus.PENDING:
        raise ComputeError(f"Dask Gateway did not start cluster {report.name} in time (MUSES_START_TIMEOUT)")
    text = f"Dask Gateway could not start cluster {report.name}: it is {report.status.name}"
    raise ComputeError(f"{text}; its log is with your hub's administrator")


async def client_of(report: ClusterReport) -> Client:
    return await connected(
        Client(
            report.scheduler_address,
            security=report.security,
            asynchronous=True,
            set_as_default=False,
            timeout=ANSWER,
        )
    )


async def grow(found: Gateway, report: ClusterReport) -> None:
    """One worker, and as many more as there is work for, up to what was chosen for the cluster."""
    most = int(number("MUSES_WORKERS", report.options.get("workers", 2)))
    await found.adapt_cluster(report.name, minimum=1, maximum=max(1, most))


async def check_release(client: Client) -> None:
    """Raises `ComputeError` when the scheduler runs another release than this process, or has none of ours."""
    try:
        there = await asyncio.wait_for(client.run_on_scheduler(release), 30)
    except (ImportError, AttributeError) as error:
        raise ComputeError(f"the gateway's clusters do not have this release of MUSES Lab ({error})") from error
    if there != release():
        raise ComputeError(
            f"the gateway cluster runs {there}, this process runs {release()}; stop the cluster (a new one will run "
            "what the hub has now), or restart your server if that is the older one",
            worker=there,
            here=release(),
        )


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
