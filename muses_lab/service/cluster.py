"""GET cluster, POST cluster"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from muses_lab import compute
from muses_lab.errors import MusesError
from muses_lab.service.failures import BadRequest
from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.service.tile_service import TileService

_starting: set[asyncio.Future[Any]] = set()
_refused = ""


class ClusterHandler(ServiceHandler):
    """The user's cluster: GET tells what there is and what it does (`compute.cluster.Look`); POST changes it.

    {"do": "start", "options": {"workers": 2}} answers at once, with 202; {"do": "stop"} when it has ended.
    """

    @answer
    async def get(self) -> None:
        found = await self.service.pools.cluster.run(look)
        self.set_header("Cache-Control", "no-store")
        self.send_json(found)

    @answer
    async def post(self) -> None:
        global _refused
        wish = self.json_body()
        todo = wish.get("do") if isinstance(wish, dict) else None
        self.set_header("Cache-Control", "no-store")
        if todo == "stop":
            _refused = ""
            await self.service.pools.cluster.run(_stop)
            self.send_json(await self.service.pools.cluster.run(look))
        elif todo == "start":
            _refused = ""
            options = _numbers(wish.get("options", {}))
            _begin(self.service, _start, options)
            self.send_json({"state": "starting"}, 202)
        else:
            raise BadRequest('the request says neither {"do": "start"} nor {"do": "stop"}')


def wish(service: TileService, todo: str) -> None:
    """Has the cluster start or stop, as a trainer wishes for the whole class; where there can be one."""
    if is_threads():
        return
    if todo == "stop":
        _begin(service, _stop)
    else:
        _begin(service, _start, {})


def is_threads() -> bool:
    """Whether this server computes by itself, without a cluster."""
    try:
        return compute.kind() == "threads"
    except ValueError:  # MUSES_COMPUTE says something else; tiles will tell that
        return False


def start_early(service: TileService, pid: int, seconds: float) -> None:
    """Starts the embedded cluster for a process that is likely to ask for it soon."""
    _begin(service, _start_early, pid, seconds)


def _begin(service: TileService, start: Callable[..., None], *arguments: Any) -> None:
    work = asyncio.ensure_future(service.pools.cluster.run(start, *arguments))
    _starting.add(work)
    work.add_done_callback(_started)


def _numbers(options: Any) -> dict[str, float]:
    if not isinstance(options, dict) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in options.values()
    ):
        raise BadRequest('the options of a cluster are numbers by name, such as {"workers": 2}')
    return options


def _started(work: asyncio.Future[Any]) -> None:
    """What a start was refused for is told with the next looks."""
    global _refused
    _starting.discard(work)
    error = work.exception()
    if error is not None:
        _refused = error.message if isinstance(error, MusesError) else f"starting failed ({type(error).__name__})"


# In threads: Dask is imported when somebody first asks.


def look() -> dict[str, Any]:
    """The cluster as `compute.cluster.Look` tells it; from a thread."""
    from muses_lab.compute import cluster

    found = cluster.look().to_json()
    if found["state"] == "off" and _starting:
        found |= {"state": "starting", "doing": "starting"}
    return found | ({"reason": _refused} if _refused and not found["reason"] else {})


def _start(options: dict[str, float]) -> None:
    from muses_lab.compute import cluster

    cluster.start(**options)


def _start_early(pid: int, seconds: float) -> None:
    from muses_lab.compute import embedded

    embedded.expect(pid, seconds)


def _stop() -> None:
    from muses_lab.compute import cluster

    cluster.stop()
