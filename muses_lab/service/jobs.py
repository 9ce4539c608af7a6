"""GET jobs, and POST jobs/<id>: the user's exports, whichever process runs them, also when no kernel is there."""

from __future__ import annotations

from typing import Any

from muses_lab.errors import MusesError
from muses_lab.service.failures import BadRequest
from muses_lab.service.handler import ServiceHandler, answer

LISTED = 20
_CHANGES = ("cancel", "pause", "resume")
"""What can be asked of a job that another process runs."""


class JobsHandler(ServiceHandler):
    """The newest jobs: [{id, name, state, progress, remaining, why, bytes, started, …}], see `KnownJob.status`."""

    @answer
    async def get(self) -> None:
        self.send_json(await self.service.pools.records.run(_listed))


class JobHandler(ServiceHandler):
    """{"do": "cancel" | "pause" | "resume"}: its process hears of it within some seconds."""

    auth_resource = "kernels"
    """Where a server's authorizer lets others look at maps only: this stops somebody's work."""

    @answer
    async def post(self, id: str) -> None:
        body = self.json_body()
        change = body.get("do") if isinstance(body, dict) else None
        if change not in _CHANGES:
            raise BadRequest(f"the body is {{do: one of {', '.join(_CHANGES)}}}", argument="do")
        self.send_json(await self.service.pools.records.run(_change, id, change))


def _listed() -> list[dict[str, Any]]:
    from muses_lab.api.jobs import jobs

    return [_told(one) for one in jobs(LISTED)]


def _change(id: str, change: str) -> dict[str, Any]:
    from muses_lab.api.jobs import KnownJob
    from muses_lab.store import LIVE, default_store

    store = default_store()
    job = KnownJob(store.job(id), store)
    if change == "resume" and job.state not in LIVE:
        raise MusesError(f"{job.record.name} is {job.state}: its kernel is gone, so it goes on from a notebook")
    getattr(job, change)()
    return _told(KnownJob(store.job(id), store))


def _told(job: Any) -> dict[str, Any]:
    told = dict(job.status())
    told.pop("path", None)  # paths of this machine are for kernels
    return told | {"job": job.record.kind}
