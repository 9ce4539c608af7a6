"""A kernel, or a server, whose jobs run is not idle to what ends idle ones: asked of Jupyter's own manager."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_server.serverapp import ServerWebApplication
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from muses_lab.export import journal
from muses_lab.service import activity
from muses_lab.service.activity import Activity
from muses_lab.service.tile_service import TileService
from muses_lab.store import JobRecord, default_store, new_id

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of this user: a script, for example."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def record(pid: int, state: str = "running") -> JobRecord:
    return JobRecord(
        new_id(), "export", "a.tif", "/a.tif", "ab" * 32, state=state, process=journal._process.__wrapped__(pid)
    )


def test_a_kernel_with_a_running_job_is_not_culled(fresh_home: Path, tmp_path: Path) -> None:
    asyncio.run(_cull(tmp_path))


async def _cull(tmp_path: Path) -> None:
    kernels = AsyncMappingKernelManager(root_dir=str(tmp_path), cull_idle_timeout=60, cull_connected=True)
    settings: dict[str, Any] = {"kernel_manager": kernels}
    look = Activity(settings, TileService()).look
    busy, idle = [await kernels.start_kernel(env=dict(os.environ)) for _ in range(2)]
    for id in (busy, idle):
        kernels.stop_watching_activity(id)  # that they have started is activity, too
    try:
        job = record(kernels.get_kernel(busy).provisioner.pid)
        default_store().put_job(job)

        async def cull() -> None:
            for id in kernels.list_kernel_ids():
                kernels.get_kernel(id).last_activity, kernels.get_kernel(id).execution_state = LONG_AGO, "idle"
            await look()
            for id in kernels.list_kernel_ids():
                await kernels.cull_kernel_if_idle(id)

        await cull()
        assert kernels.list_kernel_ids() == [busy]
        default_store().put_job(replace(job, state="done"))
        await cull()
        assert kernels.list_kernel_ids() == []
    finally:
        await kernels.shutdown_all(now=True)


def test_a_server_is_active_while_jobs_run_on_its_machine(fresh_home: Path, other: subprocess.Popen[bytes]) -> None:
    kernels = SimpleNamespace(last_kernel_activity=LONG_AGO, list_kernel_ids=list)
    settings = {"kernel_manager": kernels, "started": LONG_AGO, "last_activity_times": {}}
    look, store = Activity(settings, TileService()).look, default_store()
    server = SimpleNamespace(settings=settings)
    for elsewhere in (
        replace(record(other.pid), process=f"elsewhere {other.pid} 1"),
        replace(record(other.pid), process=f"{os.uname().nodename} {other.pid} 1"),
        *(record(other.pid, state) for state in ("done", "failed", "cancelled", "interrupted")),
    ):
        store.put_job(elsewhere)
    asyncio.run(look())
    assert ServerWebApplication.last_activity(server) == LONG_AGO  # type: ignore[arg-type]
    store.put_job(record(other.pid))
    before = datetime.now(UTC)
    asyncio.run(look())
    assert ServerWebApplication.last_activity(server) >= before  # type: ignore[arg-type]


def test_a_store_that_is_away_ends_nothing(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_: Any) -> set[int]:
        raise activity.MusesError("the database is gone")

    monkeypatch.setattr(activity, "_running", away)
    asyncio.run(Activity({}, TileService()).look())
    assert "the database is gone" in caplog.text
