"""One ring of tiles around the newest view, evaluated while nobody waits for anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from muses_lab.errors import Cancelled, MusesError
from muses_lab.service.coalesce import Claim
from muses_lab.service.tile import Tile
from muses_lab.service.views import View

LAST = 1e12
"""Priority of what nobody has asked for: after everything."""
PAUSE = 0.25
"""Seconds without a request before it begins: between two moves of a hand it would be wasted."""
LONGEST = 5.0
"""Seconds that a tile may take: what is dearer is evaluated when somebody looks."""

Start = Callable[[str, Tile], Any]
"""A part in the evaluation of a chain's tile, as an awaitable; None where its pixels are kept already."""


class Prefetch:
    """For the event loop's thread only."""

    def __init__(self, start: Start) -> None:
        self.done = 0
        """Tiles evaluated since the start."""
        self._start = start
        self._task: asyncio.Task[None] | None = None
        self._share: Claim[Any] | None = None
        self._view: View | None = None
        self._asked = asyncio.Event()
        self._waited_for = 0

    def look(self, view: View | None) -> None:
        """From now on around this view."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._drop()
        self._view = view
        if view is not None:
            self._task = asyncio.get_running_loop().create_task(self._around(view))
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def busy(self) -> None:
        """Somebody waits for a tile."""
        self._waited_for += 1
        self._asked.set()

    def requested(self) -> None:
        """The blocks of that tile are asked for: what it shares with ours goes on, the rest of ours stops."""
        self._drop()

    def idle(self) -> None:
        """Who waited has what they waited for, or left."""
        self._waited_for -= 1

    def _drop(self) -> None:
        if self._share is not None:
            self._share.leave()
            self._share = None

    async def _around(self, view: View) -> None:
        loop = asyncio.get_running_loop()
        wanted = [(chain, tile) for tile in view.ring() for chain, _ in view.layers]
        while wanted and self._view is view:
            await self._quiet()
            begun = loop.time()
            try:
                share = self._share = await self._start(*wanted[0])
                if share is not None:
                    await share.result(2 * LONGEST)
                    self.done += 1
            except Cancelled:
                continue  # somebody asked for something: the same again when that is done
            except MusesError:
                return  # nobody asked for it, so nobody is told; who asks will be
            finally:
                self._drop()
            del wanted[0]
            if loop.time() - begun > LONGEST:
                return

    async def _quiet(self) -> None:
        """Waits until nobody has asked for anything for a while."""
        while True:
            self._asked.clear()
            try:
                await asyncio.wait_for(self._asked.wait(), PAUSE)
            except TimeoutError:
                if not self._waited_for:
                    return
