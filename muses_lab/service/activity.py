"""Running jobs are activity: else what ends idle kernels and servers would end the export of a user who went home.

To Jupyter a kernel is idle that writes an export in the background, and to the hub a server whose pages are closed.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from tornado.ioloop import PeriodicCallback

from muses_lab.errors import MusesError
from muses_lab.service.tile_service import TileService
from muses_lab.settings import number
from muses_lab.store import LIVE, Store

logger = logging.getLogger(__name__)

LIMIT = 100
"""The newest jobs that are looked at."""


class Activity:
    """Looks every minute (`MUSES_ACTIVITY_SECONDS`) whether jobs of this user run on this machine."""

    def __init__(self, settings: dict[str, Any], service: TileService) -> None:
        self._settings, self._service = settings, service
        self._timer = PeriodicCallback(self.look, 1000 * number("MUSES_ACTIVITY_SECONDS"))

    def start(self) -> None:
        """From the event loop's thread."""
        self._timer.start()

    async def look(self) -> None:
        try:
            running = await self._service.pools.records.run(lambda: _running(self._service.store()))
        except MusesError as error:  # the store is away; who culls goes by what was known before
            logger.warning("whether jobs run cannot be asked: %s", error)
            return
        if not running:
            return
        now = datetime.now(UTC)
        self._settings["muses_last_activity"] = now  # Jupyter counts every setting of such a name as the server's
        kernels = self._settings["kernel_manager"]
        for id in kernels.list_kernel_ids():
            kernel = kernels.get_kernel(id)
            if getattr(kernel.provisioner, "pid", None) in running:
                kernel.last_activity = now


def _running(store: Store) -> set[int]:
    """Numbers of the processes of this machine in which jobs run."""
    records = [record for record in store.jobs(LIMIT) if record.state in LIVE]
    if not records:
        return set()
    from muses_lab.export.journal import process_here

    return {number for record in records if (number := process_here(record)) is not None}
