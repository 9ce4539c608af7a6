"""The service itself: what one Jupyter server keeps between requests, and the way from a tile to its pixels."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import muses_lab.render as rendering
from muses_lab import compute
from muses_lab.compute.admission import Admission
from muses_lab.compute.queue import NOTHING_WAITS
from muses_lab.engine.memory import keep_freed
from muses_lab.errors import MusesError, NotFound, TooLarge
from muses_lab.service.failures import Timeout
from muses_lab.service.lag import Lag
from muses_lab.service.prefetch import LAST, Prefetch
from muses_lab.service.reports import Reports
from muses_lab.service.seen import Seen
from muses_lab.service.shared import Recent, Share, Shares
from muses_lab.service.throttle import Throttle
from muses_lab.service.tile import Tile
from muses_lab.service.tile_report import SceneNumbers, tile_report
from muses_lab.service.views import View, Views
from muses_lab.settings import number
from muses_lab.store import Store, default_store
from muses_lab.style import Style

# chain, compute's evaluation and the engine are imported where they are first used, in a thread: they bring rasterio,
# Numba and Dask, and a Jupyter server must not take seconds longer to start for users who open no map.

T = TypeVar("T")

URGENT = -1e12
"""Priority of what a user waits for with the hand on the mouse: before all tiles."""


class Service:
    """State of one Jupyter server. Its methods are for the event loop's thread unless they say otherwise."""

    def __init__(self) -> None:
        keep_freed()
        self.timeout = number("MUSES_TILE_TIMEOUT", 120)
        self.admission = Admission()
        self.max_document = int(number("MUSES_MAX_DOCUMENT", 4 << 20))
        self.throttle = Throttle()
        self.reports = Reports()
        self.views = Views()
        self.lag = Lag()
        self.prefetch = Prefetch(self._ahead)
        self.seen = Seen(self._at_once)
        self._prefetches = number("MUSES_PREFETCH", 1) > 0
        self.computed = False
        """Whether anything was ever asked of the executor: being asked about it must not start one."""
        self._chains: Recent[Any] = Recent(32)
        self._styles: Recent[Style] = Recent(256)
        self._scene_numbers: Recent[SceneNumbers] = Recent(32)
        self._pixels: Recent[Any] = Recent(number("MUSES_TILE_CACHE_BYTES", 64 << 20), lambda p: p.values.nbytes)
        self._drawings: Recent[Drawn] = Recent(number("MUSES_TILE_CACHE_BYTES", 64 << 20), lambda d: d.drawing.nbytes)
        self._asked: dict[Any, _Asked] = {}
        self._under_way: Shares[Any] = Shares()
        self._preparing: Shares[Any] = Shares()
        self._prepared_chains: Recent[Any] = Recent(32)
        # Pools apart: a slow store or catalogue must not keep tiles waiting.
        self._pool = ThreadPoolExecutor(4, "muses-service")
        self._asking = ThreadPoolExecutor(4, "muses-asking")

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

    def forget(self) -> None:
        """Drops the pixels and pictures that are kept; documents stay."""
        self._pixels.clear()
        self._drawings.clear()
        if self.computed:
            from muses_lab.compute.evaluate import forget

            forget(compute.executor())

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

    def scene_numbers(self, resolved: Any) -> SceneNumbers:
        """The numbers of a chain's scenes in what its tiles report."""
        numbers = self._scene_numbers.get(resolved.chain_hash)
        if numbers is None:
            numbers = SceneNumbers.of(resolved)
            self._scene_numbers.put(resolved.chain_hash, numbers)
        return numbers

    # Pixels

    def look(self, view: View) -> None:
        """A map shows this now: what waits is put in the order of its distance from the centre."""
        self.lag.watch()
        self.views.look(view)
        for (_, tile), asked in self._asked.items():
            if asked.is_tile and self.views.is_newest(tile):
                asked.prioritise(self.views.place(tile))
        if self._prefetches:
            self.seen.look(self.views.newest)
            self.prefetch.look(self.views.newest)

    def ask(self, resolved: Any, tile: Tile, urgent: bool = False) -> Share[Any]:
        """A part in the evaluation of a chain's tile; the same for a tile's picture in any style and for its values."""
        self.lag.watch()
        priority = URGENT if urgent else self.views.priority(tile)
        asked = self._asked.get((resolved.chain_hash, tile))
        if asked is not None:
            asked.join(priority)
        return self._join(resolved, tile, _Asked(priority))

    async def wait(self, share: Share[Any], resolved: Any, tile: Tile) -> Any:
        """The pixels of a tile that was asked for; gives up after `timeout` seconds, and leaves either way."""
        self.prefetch.busy()
        try:
            return await share.result(self.timeout)
        except Timeout as error:
            self.reports.failed(resolved.chain_hash, tile, error)
            raise
        finally:
            self.prefetch.idle()
            share.leave()

    def drawn(self, chain_hash: str, tile: Tile, look: Style) -> Drawn | None:
        """A tile's picture, but for the colours, if it is kept."""
        self.lag.watch()
        return self._drawings.get((chain_hash, tile, rendering.shapes(look)))

    async def draw(self, resolved: Any, tile: Tile, look: Style, pixels: Any) -> Drawn:
        """The picture of a tile, but for the colours; another palette for it is ready at once."""
        drawing = await self.run(rendering.draw, pixels.values, look, pixels.bands)
        drawn = Drawn(drawing, tile_report(self.scene_numbers(resolved), pixels.report), bool(pixels.report.failed))
        if not drawn.failed:
            self._drawings.put((resolved.chain_hash, tile, rendering.shapes(look)), drawn)
        return drawn

    async def _ahead(self, chain_hash: str, tile: Tile) -> Share[Any] | None:
        """A part in the evaluation of a tile that nobody has asked for yet, and perhaps nobody will."""
        return await self._unasked(chain_hash, tile, LAST)

    async def _at_once(self, chain_hash: str, tile: Tile) -> Share[Any] | None:
        """A part in the evaluation of a tile that a map is about to ask for."""
        return await self._unasked(chain_hash, tile, self.views.place(tile))

    async def _unasked(self, chain_hash: str, tile: Tile, priority: float) -> Share[Any] | None:
        if self._pixels.get((chain_hash, tile)) is not None:
            return None
        resolved = await self.chain(chain_hash)
        if resolved.program.output.times:
            return None
        return self._join(resolved, tile, _Asked(priority, wanted=False))

    def _join(self, resolved: Any, tile: Tile, asked: _Asked) -> Share[Any]:
        key = (resolved.chain_hash, tile)
        return self._under_way.join(key, lambda: self._evaluate(key, resolved, tile, asked))

    async def _evaluate(self, key: Any, resolved: Any, tile: Tile, asked: _Asked) -> Any:
        pixels = self._pixels.get(key)
        if pixels is not None:
            if asked.wanted:
                self.reports.done(resolved.chain_hash, tile, pixels)
            return pixels
        self._asked[key] = asked
        error: MusesError | None = None
        try:
            pixels = await self._request(resolved, tile, asked)
        except MusesError as known:
            error = known
            raise
        except Exception as unknown:
            error = MusesError(f"the evaluation failed ({type(unknown).__name__})")
            raise
        finally:
            if self._asked.get(key) is asked:
                del self._asked[key]
            if asked.wanted and error is not None:
                self.reports.failed(resolved.chain_hash, tile, error)
        if asked.wanted:
            self.reports.done(resolved.chain_hash, tile, pixels)
        if not pixels.report.failed:  # a scene that could not be read now may be readable later
            self._pixels.put(key, pixels)
        return pixels

    def progress(self, resolved: Any) -> dict[str, Any]:
        """What waits of a chain, and for how long."""
        waiting = sum(chain == resolved.chain_hash and asked.wanted for (chain, _), asked in self._asked.items())
        found = NOTHING_WAITS
        if self.computed:
            known = self._prepared_chains.get(resolved.chain_hash) or resolved
            found = compute.executor().progress(known.hash)
        return {
            "waiting": waiting,
            "blocks_queued": found.queued,
            "blocks_running": found.running,
            "position": found.position,
            "expected_seconds": None if found.expected_seconds is None else round(found.expected_seconds, 2),
        }

    def queue(self) -> dict[str, Any] | None:
        """The executor's state; None while nothing has been computed."""
        return compute.executor().status() if self.computed else None

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

    async def _request(self, resolved: Any, tile: Tile, asked: _Asked) -> Any:
        loop = asyncio.get_running_loop()
        resolved = await self._prepared(resolved)
        self.computed = True
        asking = self._asking.submit(_request_tile, resolved, tile, asked, self.admission, self.views.count(tile))
        try:
            ticket = await asyncio.shield(asyncio.wrap_future(asking))
        except asyncio.CancelledError:
            if not asking.cancel():
                asking.add_done_callback(_release_late)
            raise
        asked.has(ticket)
        if asked.priority != LAST:
            self.prefetch.requested()
        try:
            await asyncio.shield(asyncio.wrap_future(ticket.done))
            return await loop.run_in_executor(self._pool, ticket.result, 0)
        except asyncio.CancelledError:
            ticket.release()
            raise


@dataclass(frozen=True)
class Drawn:
    """A tile's picture, and what it tells of itself."""

    drawing: rendering.Drawing
    report: str
    failed: bool
    """Whether scenes could not be read, so that it is not to be kept."""


class _Asked:
    """How urgent the evaluation of a tile is: as urgent as to whoever waits for it is in the most of a hurry."""

    def __init__(self, priority: float, wanted: bool = True) -> None:
        self.priority = priority
        self.wanted = wanted
        """Whether somebody asked for it, or it is only likely that somebody will."""
        self._ticket: Any = None

    @property
    def is_tile(self) -> bool:
        """Whether its place in the queue is its distance from the centre of the view."""
        return self.priority not in (URGENT, LAST)

    def join(self, priority: float) -> None:
        self.wanted = True
        if priority < self.priority:
            self.prioritise(priority)

    def prioritise(self, priority: float) -> None:
        self.priority = priority
        if self._ticket is not None:
            self._ticket.prioritise(priority)

    def has(self, ticket: Any) -> None:
        """Its blocks are asked for."""
        self._ticket = ticket
        ticket.prioritise(self.priority)


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
    from muses_lab.compute.evaluate import prepare

    return prepare(compute.executor(), resolved, URGENT, store())


def _request_tile(resolved: Any, tile: Tile, asked: _Asked, admission: Any, tiles: int) -> Any:
    """In a thread: which blocks the tile needs takes some milliseconds to find."""
    from muses_lab.compute.evaluate import request_window
    from muses_lab.window import Window

    executor = compute.executor()

    def admit(seconds: float, blocks: float) -> None:
        here = seconds * blocks / max(1, executor.backend.threads)
        admission.check(view=here * tiles, waiting=executor.expected_seconds() + here)

    priority = asked.priority
    return request_window(executor, resolved, Window.tile(*tile), priority, admit=None if priority == URGENT else admit)


def _release_late(asking: Future[Any]) -> None:
    """The asker left while the tile was being asked for."""
    if not asking.cancelled() and asking.exception() is None:
        asking.result().release()


def check_hash(what: str, text: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise NotFound(
            f"{text[:80]!r} is not the hash of a {what} (64 lower-case hexadecimal digits)", **{what: text[:80]}
        )
