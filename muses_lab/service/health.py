"""GET health"""

from __future__ import annotations

from importlib.metadata import version

from muses_lab.service.handler import ServiceHandler, answer


class HealthHandler(ServiceHandler):
    """That the service is there, and its release: how a kernel or a page checks that it found it."""

    @answer
    async def get(self) -> None:
        await self.service.pools.records.run(lambda: self.service.store().documents(limit=1))  # the store answers
        self.set_header("Cache-Control", "no-store")
        self.send_json({"status": "ok", "service": "muses-lab", "version": version("muses-lab")})
