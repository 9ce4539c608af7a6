"""The user's cluster as users see it: what it is and does, start and stop. Looking at it never starts it.

>>> from muses_lab.compute import cluster
>>> cluster.look()                                                  # doctest: +SKIP
Look(kind='gateway', state='ready', workers=1, threads=2, ...)
>>> cluster.stop()                                                  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from muses_lab import compute
from muses_lab.compute.clients import connected, release_all
from muses_lab.compute.release import release
from muses_lab.errors import ComputeError, MusesError

if TYPE_CHECKING:
    from dask_gateway import Gateway
    from distributed import Client

T = TypeVar("T")

State = Literal["off", "starting", "idle", "busy", "silent"]
"""`silent`: it should be there and does not answer."""

PATIENCE = 10.0
KEEP = 30.0
"""Seconds without a look after which the connection for looking is closed."""


@dataclass(frozen=True)
class Look:
    """What there is at this moment."""

    kind: str
    """Where chains are evaluated: "embedded", "gateway" or "threads"."""
    state: State
    workers: int = 0
    threads: int = 0
    memory: int = 0
    """Bytes that the workers use, of `limit`."""
    limit: int = 0
    running: int = 0
    """Blocks that are being evaluated, whoever asked for them."""
    waiting: int = 0
    """Blocks that wait in the cluster, or in this process for their turn."""
    since: float | None = None
    """Seconds since 1970."""
    release: str = ""
    options: dict[str, float] = field(default_factory=dict)
    """What was chosen when it was started: a gateway's `workers`, `cores`, `memory`."""
    offered: dict[str, dict[str, float]] = field(default_factory=dict)
    """What may be chosen: name → {min, max, default}; the hub's limits."""
    reason: str = ""
    """Why it is not there, if it should be."""

    @property
    def doing(self) -> str:
        """In words."""
        if self.state in ("off", "starting", "silent"):
            texts = {"off": "not running; it starts when it is needed", "starting": "starting", "silent": "no answer"}
            return texts[self.state]
        if not self.running and not self.waiting:
            return "nothing to do"
        return f"computing {self.running} block{'s' * (self.running != 1)}, {self.waiting} waiting"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "doing": self.doing}


def look() -> Look:
    """The cluster of this process's executor, as it is now."""
    kind = compute.kind()
    if kind == "threads":
        status = compute.executor().status()
        busy = status["running"] + status["queued"] > 0
        return Look(
            kind, "busy" if busy else "idle", 1, status["threads"], running=status["running"], waiting=status["queued"]
        )
    return _watcher().run(_watcher().gateway() if kind == "gateway" else _watcher().embedded())


def start(**options: float) -> Look:
    """Starts the cluster, a gateway's with `workers`, `cores`, `memory` (GiB of a worker) up to what is `offered`."""
    kind = compute.kind()
    if kind == "embedded":
        if options:
            raise ComputeError("the embedded cluster's size is set by MUSES_WORKERS and MUSES_THREADS before it starts")
        from muses_lab.compute import embedded

        embedded.ensure()
    elif kind == "gateway":
        _watcher().run(_watcher().start(options), seconds=150)
    return look()


def stop() -> bool:
    """Ends the cluster and what it computes for this process; False when there was none."""
    kind = compute.kind()
    if kind == "threads":
        raise ComputeError("chains are evaluated in threads of this process; there is no cluster to stop")
    compute.forget(kind)
    if kind == "embedded":
        from muses_lab.compute import embedded

        return embedded.stop()
    return _watcher().run(_watcher().stop(), seconds=60)


class _Watcher:
    """A loop of its own for looking; keeps a connection while somebody looks, and holds no lease."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._client: tuple[str, Client] | None = None
        self._gateway: Gateway | None = None
        self._asked = 0.0
        self._turn = asyncio.Lock()
        threading.Thread(target=self._loop.run_forever, name="muses-look", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = PATIENCE * 2) -> T:
        async def alone() -> T:
            self._asked = time.monotonic()
            async with self._turn:
                return await asyncio.wait_for(work, seconds)

        try:
            return asyncio.run_coroutine_threadsafe(alone(), self._loop).result(seconds + 30)
        except TimeoutError:
            raise ComputeError(f"the cluster did not answer within {seconds:g} s") from None

    # Embedded

    async def embedded(self) -> Look:
        from distributed import Client

        from muses_lab.compute import embedded

        info = await asyncio.to_thread(embedded.running)
        if info is None:
            await self._leave()
            return Look("embedded", "off")

        async def connect() -> Client:
            return await connected(
                Client(
                    info.address, security=info.security(), asynchronous=True, set_as_default=False, timeout=PATIENCE
                )
            )

        known = {"since": info.started, "release": info.release}
        return await self._look("embedded", f"{info.pid}-{info.start}", connect, **known)

    # Gateway

    async def gateway(self) -> Look:
        from muses_lab.compute import gateway

        try:
            if self._gateway is None:
                self._gateway = gateway.gateway()
                asyncio.ensure_future(self._leave_later())
            report = await gateway.running(self._gateway)
            offered = _offered(await self._gateway.cluster_options(use_local_defaults=False))
        except Exception as error:  # its hub starts it again
            await self._leave()
            return Look("gateway", "silent", reason=f"the Dask Gateway does not answer: {error}")
        if report is None:
            return Look("gateway", "off", offered=offered)
        known: dict[str, Any] = {
            "since": report.start_time.timestamp(),
            "options": dict(report.options),
            "offered": offered,
            "release": release(),
        }
        if report.status.name != "RUNNING":
            return Look("gateway", "starting", **known)
        return await self._look("gateway", report.name, lambda: gateway.client_of(report), **known)

    async def start(self, options: dict[str, float]) -> None:
        from muses_lab.compute import gateway

        async with gateway.gateway() as found:
            there = await gateway.running(found)
            if there is not None and options:
                raise ComputeError("the cluster runs already; stop it first to give it another size")
            report = await gateway.own_cluster(found, time.monotonic() + 120, **options)
            await gateway.grow(found, report)

    async def stop(self) -> bool:
        from muses_lab.compute import gateway

        async with gateway.gateway() as found:
            report = await gateway.running(found)
            if report is None:
                return False
            await self._leave()
            await found.stop_cluster(report.name)
            while (await gateway.running(found)) is not None:  # a new one would be refused
                await asyncio.sleep(0.1)
            return True

    # Either

    async def _look(self, kind: compute.Kind, which: str, connect: Any, **known: Any) -> Look:
        try:
            if self._client is None or self._client[0] != which or self._client[1].status != "running":
                await self._leave_cluster()
                self._client = which, await connect()
                asyncio.ensure_future(self._leave_later())
            scheduler: Any = self._client[1].scheduler
            workers = (await asyncio.wait_for(scheduler.identity(n_workers=-1), PATIENCE))["workers"].values()
        except (OSError, TimeoutError, MusesError) as error:
            await self._leave_cluster()
            return Look(kind, "silent", reason=f"its scheduler does not answer: {error}", **known)
        counts = [worker["metrics"].get("task_counts", {}) for worker in workers]
        running = sum(count.get("executing", 0) for count in counts)
        here = compute.pending(kind)
        waiting = sum(count.get("ready", 0) for count in counts) + here["queued"]
        running = max(running, min(here["running"], sum(worker["nthreads"] for worker in workers)))
        state: State = "starting" if not workers else "busy" if running or waiting else "idle"
        return Look(
            kind,
            state,
            workers=len(workers),
            threads=sum(worker["nthreads"] for worker in workers),
            memory=sum(worker["metrics"].get("memory", 0) for worker in workers),
            limit=sum(worker["memory_limit"] or 0 for worker in workers),
            running=running,
            waiting=waiting,
            **known,
        )

    async def _leave(self) -> None:
        found, self._gateway = self._gateway, None
        if found is not None:
            await found.close()
        await self._leave_cluster()

    async def _leave_cluster(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await release_all(client[1], 2)

    async def _leave_later(self) -> None:
        mine = self._client, self._gateway
        while (self._client, self._gateway) == mine and time.monotonic() - self._asked < KEEP:
            await asyncio.sleep(KEEP / 3)
        if (self._client, self._gateway) == mine:
            await self._leave()


def _offered(options: Any) -> dict[str, dict[str, float]]:
    """Of a gateway's options those that are numbers with limits."""
    found = {}
    for name, spec in options._fields.items():
        if getattr(spec, "min", None) is not None or getattr(spec, "max", None) is not None:
            found[name] = {"min": spec.min, "max": spec.max, "default": spec.value}
    return found


_lock = threading.Lock()
_the_watcher: tuple[int, _Watcher] | None = None


def _watcher() -> _Watcher:
    """This process's; a forked child makes its own."""
    global _the_watcher
    with _lock:
        if _the_watcher is None or _the_watcher[0] != os.getpid():
            _the_watcher = os.getpid(), _Watcher()
        return _the_watcher[1]
