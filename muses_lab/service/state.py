"""The service itself: what one Jupyter server keeps between requests, and the way from a tile to its pixels."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from muses_lab.errors import MusesError, NotFound, TooLarge
from muses_lab.service.failures import Timeout
from muses_lab.service.reports import Reports
from muses_lab.service.shared import Recent, Share, Shares
from muses_lab.service.throttle import Throttle
from muses_lab.service.tile import Tile
from muses_lab.settings import number
from muses_lab.store import Store, default_store
from muses_lab.style import Style

# chain, compute and the engine are imported where they are first used, in a thread: they bring rasterio, Numba and
# Dask, and a Jupyter server must not take seconds longer to start for users who open no map.

T = TypeVar("T")

URGENT = -1e12
"""Priority of what a user waits for with the hand on the mouse: before all tiles."""


class Service:
    """State of one Jupyter server. Its methods are for the event loop's thread unless they say otherwise."""

    def __init__(self) -> None:
        self.timeout = number("MUSES_TILE_TIMEOUT", 120)
        self.max_document = int(number("MUSES_MAX_DOCUMENT", 4 << 20))
        self.throttle = Throttle()
        self.reports = Reports()
        self.computed = False
        """Whether anything was ever asked of the executor: being asked about it must not start one."""
        self._chains: Recent[Any] = Recent(32)
        self._styles: Recent[Style] = Recent(256)
        self._pixels: Recent[Any] = Recent(number("MUSES_TILE_CACHE_BYTES", 64 << 20), lambda p: p.values.nbytes)
        self._under_way: Shares[Any] = Shares()
        self._preparing: Shares[Any] = Shares()
        self._prepared_chains: Recent[Any] = Recent(32)
        # Pools apart: a slow store or catalogue must not keep tiles waiting.
        self._pool = ThreadPoolExecutor(4, "muses-service")
        self._asking = ThreadPoolExecutor(4, "muses-asking")
        self._order = itertools.count()
        self._view = (-1, 0)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)` in a thread, waited for at most `timeout` seconds."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, function, *args)
        try:
            return await asyncio.wait_for(future, self.timeout)
        except TimeoutError:
            raise Timeout(f"not ready after {self.timeout:g} s", seconds=self.timeout) from None

    def store(self) -> Store:
        """From any thread."""
        return default_store()

    def check_size(self, size: int) -> None:
        if size > self.max_document:
            raise TooLarge(
                f"a document of {size} bytes is above the limit of {self.max_document} (MUSES_MAX_DOCUMENT)",
                size=size,
                limit=self.max_document,
            )

    # Documents

    async def chain(self, chain_hash: str) -> Any:
        """The resolved chain with this hash; `NotFound` if the store has none."""
        check_hash("chain", chain_hash)
        chain = self._chains.get(chain_hash)
        if chain is None:
            chain = await self.run(self._load_chain, chain_hash)
            self._chains.put(chain_hash, chain)
        return chain

    async def style(self, style_hash: str) -> Style:
        """The style with this hash; `NotFound` if the store has none."""
        check_hash("style", style_hash)
        style = self._styles.get(style_hash)
        if style is None:
            style = await self.run(lambda: Style.from_json(self.store().style(style_hash)))
            self._styles.put(style_hash, style)
        return style

    def _load_chain(self, chain_hash: str) -> Any:
        from muses_lab.chain import load_resolved

        return load_resolved(chain_hash, self.store())

    # Pixels

    def ask(self, resolved: Any, tile: Tile, urgent: bool = False) -> Share[Any]:
        """A part in the evaluation of a chain's tile; the same for a tile's picture in any style and for its values."""
        key = (resolved.chain_hash, tile)
        priority = URGENT if urgent else self._priority(tile)
        return self._under_way.join(key, lambda: self._evaluate(key, resolved, tile, priority))

    async def wait(self, share: Share[Any], resolved: Any, tile: Tile) -> Any:
        """The pixels of a tile that was asked for; gives up after `timeout` seconds, and leaves either way."""
        try:
            return await share.result(self.timeout)
        except Timeout as error:
            self.reports.failed(resolved.chain_hash, tile, error)
            raise
        finally:
            share.leave()

    def _priority(self, tile: Tile) -> float:
        """The newest view first: a change of zoom is a new one. Within it as the map asks: from the centre outwards."""
        zoom, view = self._view
        if zoom != tile.z:
            view += 1
            self._view = (tile.z, view)
        return -view * 1e6 + next(self._order) % 1e6

    async def _evaluate(self, key: Any, resolved: Any, tile: Tile, priority: float) -> Any:
        pixels = self._pixels.get(key)
        if pixels is not None:
            return pixels
        try:
            pixels = await self._request(resolved, tile, priority)
        except MusesError as error:
            self.reports.failed(resolved.chain_hash, tile, error)
            raise
        except Exception as error:
            self.reports.failed(
                resolved.chain_hash, tile, MusesError(f"the evaluation failed ({type(error).__name__})")
            )
            raise
        self.reports.done(resolved.chain_hash, tile, pixels)
        if not pixels.report.failed:  # a scene that could not be read now may be readable later
            self._pixels.put(key, pixels)
        return pixels

    async def _prepared(self, resolved: Any) -> Any:
        """The chain with the results of its `region` and `fit` nodes, evaluated once for all tiles that wait for it.

        Not dropped when the map moves on: what they give does not depend on the view, and is kept in the store.
        """

        async def prepare() -> Any:
            return await asyncio.wrap_future(_in_thread(_prepare, resolved, self.store))

        known = self._prepared_chains.get(resolved.chain_hash)
        if known is None:
            share = self._preparing.join(resolved.chain_hash, prepare)  # never left, so never stopped
            known = await share.result(self.timeout)
            self._prepared_chains.put(resolved.chain_hash, known)
        return known

    async def _request(self, resolved: Any, tile: Tile, priority: float) -> Any:
        loop = asyncio.get_running_loop()
        resolved = await self._prepared(resolved)
        self.computed = True
        asking = self._asking.submit(_request_tile, resolved, tile, priority)
        try:
            ticket = await asyncio.shield(asyncio.wrap_future(asking))
        except asyncio.CancelledError:
            asking.add_done_callback(_release_late)
            raise
        try:
            await asyncio.shield(asyncio.wrap_future(ticket.done))
            return await loop.run_in_executor(self._pool, ticket.result, 0)
        except asyncio.CancelledError:
            ticket.release()
            raise


def _in_thread(function: Callable[..., T], *args: Any) -> Future[T]:
    """In a daemon thread, for what may take many minutes: a pool's threads would keep the server from ending."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="muses-whole", daemon=True).start()
    return future


def _prepare(resolved: Any, store: Callable[[], Store]) -> Any:
    from muses_lab import compute
    from muses_lab.compute.evaluate import prepare

    return prepare(compute.executor(), resolved, URGENT, store())


def _request_tile(resolved: Any, tile: Tile, priority: float) -> Any:
    """In a thread: which blocks the tile needs takes some milliseconds to find."""
    from muses_lab import compute
    from muses_lab.compute.evaluate import request_window
    from muses_lab.window import Window

    return request_window(compute.executor(), resolved, Window.tile(*tile), priority)


def _release_late(asking: Future[Any]) -> None:
    """The asker left while the tile was being asked for."""
    if not asking.cancelled() and asking.exception() is None:
        asking.result().release()


def check_hash(what: str, text: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise NotFound(
            f"{text[:80]!r} is not the hash of a {what} (64 lower-case hexadecimal digits)", **{what: text[:80]}
        )
