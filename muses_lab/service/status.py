"""GET status/<chain>, GET status?chains=, GET notes, GET health"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from typing import Any

from muses_lab import settings
from muses_lab.service.failures import BadRequest, public
from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.service.private_chains import PrivateGone

CHAINS = 64
"""How many may be asked for at once."""


class StatusHandler(ServiceHandler):
    """What is known of a chain's tiles at the zoom shown last (or `?z=`), and of the queue.

    `scenes_used` of `scenes_found`, `thinned` ({used, of}: dates of a long series, null where all are used),
    `metres_per_pixel` (of the levels shown), `native_metres_per_pixel` (of the grids at their finest), `failed`
    ([{id, reason}]: scenes that cannot be read), `problems` (items that were left out when the scenes were chosen),
    `errors` (tiles that failed), `progress` (tiles `waiting`, blocks queued and running, `position`: how many blocks go
    before its next one, `expected_seconds` until its last; where there is a class's evaluator `class`: its `state`, the
    `position` in the class's queue, the `reason` why one's own cluster computes), `queue` (of all chains; null while
    nothing has been computed), `service` (the event loop's lag, when a tile's request ends at the latest, of each pool
    of threads what runs, waits, and was given up but has not ended, and `stale`: how many `requests` for tiles were
    left before they were answered, and `unbegun`: for how many of these nothing was computed).
    """

    @answer
    async def get(self, chain: str) -> None:
        self.set_header("Cache-Control", "no-store")
        self.send_json({"chain": chain, **await self.of(chain), **self.everything()})

    async def of(self, chain: str) -> dict[str, Any]:
        published = await self.service.chain(chain)
        zoom = self.zoom() if self.get_query_argument("z", None) else None
        summary = self.service.reports.summary(published.chain_hash, zoom)
        problems = [public(line) for line in published.left_out]
        return {**summary, "problems": problems, "progress": self.service.progress(published)}

    def everything(self) -> dict[str, Any]:
        service = self.service
        about = {
            "lag_ms": service.lag.summary(), "timeout": service.timeout, "pools": service.pools.counts(),
            "stale": service.stale.summary(),
        }  # fmt: skip
        return {"queue": self.service.queue(), "service": about, "prefetched": self.service.ring.done}


class StatusesHandler(StatusHandler):
    """The same of several chains, `?chains=` with commas between their hashes: one request for a whole map.

    Private ones that are gone are left out: the other layers of a saved map have their status all the same.
    """

    @answer
    async def get(self) -> None:
        chains = [chain for chain in self.get_query_argument("chains", "").split(",") if chain]
        if len(chains) > CHAINS:
            raise BadRequest(f"{len(chains)} chains are more than the {CHAINS} that may be asked for at once")
        self.set_header("Cache-Control", "no-store")
        found = {}
        for chain in chains:
            with suppress(PrivateGone):
                found[chain] = await self.of(chain)
        self.send_json({"chains": found, **self.everything()})


class NotesHandler(ServiceHandler):
    """What trainers and the hub's administrators tell: `{"hub": true, "notes": [{id, text, by, at, until, course}]}`.

    Pages need not ask again where there is no hub.
    """

    @answer
    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        hub = settings.store_url().startswith(("http://", "https://"))
        self.send_json({"hub": hub, "notes": self.service.notes.of()})


class HealthHandler(ServiceHandler):
    """That the service is there, and its release: how a kernel or a page checks that it found it.

    A page of Voilà that nobody came to by way of JupyterLab finds here the cookie without which it may post nothing.
    """

    @answer
    async def get(self) -> None:
        await self.service.pools.records.run(lambda: self.service.store().documents(limit=1))  # the store answers
        self.set_header("Cache-Control", "no-store")
        if not self.get_cookie("_xsrf"):
            self.xsrf_token  # noqa: B018 (asking for it sets the cookie)
        self.send_json({"status": "ok", "service": "muses-lab", "version": version("muses-lab")})
