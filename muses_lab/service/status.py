"""GET status/<chain>"""

from __future__ import annotations

from typing import Any

from muses_lab.service.handler import ServiceHandler, answer


class StatusHandler(ServiceHandler):
    """What is known of a chain's tiles at the zoom shown last (or `?z=`), and of the queue.

    `scenes_used` of `scenes_found`, `thinned` ({used, of}: dates of a long series, null where all are used),
    `metres_per_pixel` (of the levels shown), `native_metres_per_pixel` (of the grids at their finest), `failed`
    ([{id, reason}]: scenes left out), `errors` (tiles that failed), `queue` (null while nothing has been computed).
    """

    @answer
    async def get(self, chain: str) -> None:
        resolved = await self.service.chain(chain)
        zoom = int(self.number("z")) if self.get_query_argument("z", None) else None
        summary = self.service.reports.summary(resolved.chain_hash, zoom)
        queue = await self.service.run(_queue) if self.service.computed else None
        self.set_header("Cache-Control", "no-store")
        self.send_json({"chain": chain, **summary, "queue": queue})


def _queue() -> dict[str, Any]:
    from muses_lab import compute

    return compute.executor().status()
