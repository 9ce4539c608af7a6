"""The two ends of a Dask client's life, so that none is left half-way.

A client that was neither closed nor used up closes itself when Python cleans up, in whatever thread that happens, and
waits there for its event loop: twice its timeout, if that loop has ended.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


async def connected(client: Client) -> Client:
    """A client once it is connected; where that fails or is cancelled, nothing is left of it."""
    try:
        return await client
    except BaseException:
        client.status = "closed"
        raise


async def release_all(client: Client, timeout: float = 5) -> None:
    """Closes a client; within that time, whatever has become of its cluster."""
    try:
        with suppress(Exception):  # half of it may be gone; what matters is that it no longer tries to reconnect
            await client.close(timeout=timeout)
    finally:
        client.status = "closed"
