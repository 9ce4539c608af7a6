"""The tiles of the newest view, begun as soon as a map tells of it: a browser asks for six at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from muses_lab.errors import MusesError
from muses_lab.service.coalesce import Claim
from muses_lab.service.prefetch import Start
from muses_lab.service.views import View

MOST = 128
"""Tiles of all layers that are begun for one view."""


class VisibleTiles:
    """For the event loop's thread only."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._shares: list[Claim[Any]] = []
        self._task: asyncio.Task[None] | None = None

    def look(self, view: View | None) -> None:
        """Begins what this view shows, and leaves what only the one before it showed."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        before, self._shares = self._shares, []
        if view is None:
            _leave(before)
        else:
            self._task = asyncio.get_running_loop().create_task(self._begin(view, before))
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _begin(self, view: View, before: Sequence[Claim[Any]]) -> None:
        try:
            for chain, tile in islice(((chain, tile) for tile in view.inside() for chain, _ in view.layers), MOST):
                with suppress(MusesError):  # who asks for the tile is told
                    share = await self._start(chain, tile)
                    if share is not None:
                        self._shares.append(share)
        finally:
            _leave(before)


def _leave(shares: Sequence[Claim[Any]]) -> None:
    for share in shares:
        share.leave()
