"""Dask clients are closed whatever became of their cluster: else cleaning up waits for an event loop that ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from distributed import Client, Scheduler

from muses_lab.compute.clients import connected, release_all


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def client(address: str, timeout: float = 1) -> Client:
    return Client(address, asynchronous=True, set_as_default=False, timeout=timeout)


def test_one_that_could_not_connect_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"tcp://127.0.0.1:{server.getsockname()[1]}"

    async def fails() -> Client:
        made = client(nobody)
        with pytest.raises(OSError):
            await connected(made)
        return made

    assert asyncio.run(fails()).status == "closed"


def test_one_that_was_cancelled_while_it_connected_is_closed(silent: str) -> None:
    async def cancelled() -> Client:
        made = client(silent, 30)
        task = asyncio.ensure_future(connected(made))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return made

    assert asyncio.run(cancelled()).status == "closed"


@pytest.mark.parametrize("gone", [False, True])
def test_one_is_let_go_whether_its_scheduler_is_there_or_not(gone: bool) -> None:
    async def used() -> tuple[Client, int]:
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
            made = await connected(client(scheduler.address))
            workers = len(await made.nthreads())
            if gone:
                await scheduler.close()
            await release_all(made, 2)
        return made, workers

    made, workers = asyncio.run(used())
    assert made.status == "closed" and workers == 0
