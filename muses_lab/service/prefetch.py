"""What is evaluated before a browser asks for it: the tiles of the newest view, and the ring around them meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from muses_lab.errors import Cancelled, MusesError
from muses_lab.service.tile import Tile
from muses_lab.service.views import View

LAST = 1e12
"""Priority of what nobody has asked for: after everything."""
PAUSE = 0.25
"""Seconds without a request before it begins: between two moves of a hand it would be wasted."""
LONGEST = 5.0
"""Seconds that a tile may take: what is dearer is evaluated when somebody looks."""

MOST = 128
"""Tiles of all layers that are begun for one view."""


class Claim(Protocol):
    """A part in the evaluation of a tile."""

    async def result(self, seconds: float) -> Any:
        """Waits for it; raises `Cancelled` after `leave`."""

    def leave(self) -> None: ...


Start = Callable[[str, Tile], Any]
"""A `Claim` on a chain's tile, as an awaitable; None where there is nothing to evaluate."""


class Ring:
    """One ring of tiles around the newest view, evaluated while nobody waits for anything.

    For the event loop's thread only.
    """

    def __init__(self, start: Start) -> None:
        self.done = 0
        """Tiles that were made ready since the start."""
        self._start = start
        self._task: asyncio.Task[None] | None = None
        self._share: Claim | None = None
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


class VisibleTiles:
    """The tiles of the newest view, begun as soon as a map tells of it: a browser asks for six at a time.

    For the event loop's thread only.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._shares: list[Claim] = []
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
            self._task = asyncio.get_running_loop().create_task(self._begin(view))
            self._task.add_done_callback(lambda task: self._ended(task, before))

    async def _begin(self, view: View) -> None:
        for chain, tile in islice(((chain, tile) for tile in view.inside() for chain, _ in view.layers), MOST):
            with suppress(MusesError):  # who asks for the tile is told
                share = await self._start(chain, tile)
                if share is not None:
                    self._shares.append(share)

    def _ended(self, task: asyncio.Task[None], before: Sequence[Claim]) -> None:
        """Leaves the view before, also where the task was cancelled before it began."""
        _leave(before)
        if not task.cancelled():
            task.exception()


def _leave(shares: Sequence[Claim]) -> None:
    for share in shares:
        share.leave()
