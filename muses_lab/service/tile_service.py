"""The service itself: what one Jupyter server keeps between requests, and the way from a tile to its pixels."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

import muses_lab.render as rendering
from muses_lab import compute
from muses_lab.compute.admission import Admission
from muses_lab.compute.queue import NOTHING_WAITS
from muses_lab.errors import MusesError, NotFound, Timeout, TooLarge
from muses_lab.service.coalesce import Claim, Coalescer, Recent
from muses_lab.service.loop_delay import LoopDelay
from muses_lab.service.pools import Pools
from muses_lab.service.prefetch import LAST, Prefetch
from muses_lab.service.reports import Reports
from muses_lab.service.throttle import Throttle
from muses_lab.service.tile import Tile
from muses_lab.service.tile_report import SceneNumbers, tile_report
from muses_lab.service.views import View, Views
from muses_lab.service.visible_tiles import VisibleTiles
from muses_lab.settings import number
from muses_lab.store import Store, default_store
from muses_lab.style import Style

# chain, compute's evaluation and the engine are imported where they are first used, in a thread: they bring rasterio,
# Numba and Dask, and a Jupyter server must not take seconds longer to start for users who open no map.

T = TypeVar("T")

URGENT = -1e12
"""Priority of what a user waits for with the hand on the mouse: before all tiles."""

URGENT_SECONDS = 5.0
"""How much work may be before all tiles at a time, in seconds of the whole cluster. What is more has a tile's place."""


class TileService:
    """State of one Jupyter server. Its methods are for the event loop's thread unless they say otherwise."""

    def __init__(self) -> None:
        self.timeout = number("MUSES_TILE_TIMEOUT")
        self.admission = Admission()
        self.max_document = int(number("MUSES_MAX_DOCUMENT"))
        self.throttle = Throttle()
        self.reports = Reports()
        self.views = Views()
        self.lag = LoopDelay()
        self.prefetch = Prefetch(self._ahead)
        self.seen = VisibleTiles(self._at_once)
        self._prefetches = number("MUSES_PREFETCH") > 0
        self.computed = False
        """Whether anything was ever asked of the executor: being asked about it must not start one."""
        self._chains: Recent[Any] = Recent(32)
        self._styles: Recent[Style] = Recent(256)
        self._scene_numbers: Recent[SceneNumbers] = Recent(32)
        self._pixels: Recent[Any] = Recent(number("MUSES_TILE_CACHE_BYTES"), lambda p: p.values.nbytes)
        self._drawings: Recent[Drawn] = Recent(number("MUSES_TILE_CACHE_BYTES"), lambda d: d.drawing.nbytes)
        self._asked: dict[Any, _Asked] = {}
        self._under_way: Coalescer[Any] = Coalescer()
        self._preparing: Coalescer[Any] = Coalescer()
        self._prepared_chains: Recent[Any] = Recent(32)
        self._loading: Coalescer[Any] = Coalescer()
        self._urgent = Budget(URGENT_SECONDS)
        self.pools = Pools(self.timeout)

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
            from muses_lab.compute.windows import forget

            forget(compute.executor())

    # Documents

    async def chain(self, chain_hash: str) -> Any:
        """The resolved chain with this hash; `NotFound` if the store has none."""
        check_hash("chain", chain_hash)
        return await self._known(self._chains, chain_hash, self._load_chain)

    async def style(self, style_hash: str) -> Style:
        """The style with this hash; `NotFound` if the store has none."""
        check_hash("style", style_hash)
        return await self._known(self._styles, style_hash, self._load_style)

    async def _known(self, kept: Recent[T], key: str, load: Callable[[str], T]) -> T:
        """What is kept, else what is loaded from the store: once for all who ask meanwhile."""
        found = kept.get(key)
        if found is not None:
            return found

        async def loading() -> T:
            loaded = await self.pools.loading.run(load, key)
            kept.put(key, loaded)
            return loaded

        share = self._loading.join((id(kept), key), loading)
        try:
            return await share.result(self.timeout)
        finally:
            share.leave()

    def _load_style(self, style_hash: str) -> Style:
        with _made_elsewhere("style", style_hash):
            return Style.from_json(self.store().style(style_hash))

    def _load_chain(self, chain_hash: str) -> Any:
        from muses_lab.publish.artefacts import load_published

        with _made_elsewhere("chain", chain_hash):
            return load_published(chain_hash, self.store())

    def scene_numbers(self, published: Any) -> SceneNumbers:
        """The numbers of a chain's scenes in what its tiles report."""
        numbers = self._scene_numbers.get(published.chain_hash)
        if numbers is None:
            numbers = SceneNumbers.of(published)
            self._scene_numbers.put(published.chain_hash, numbers)
        return numbers

    # Pixels

    def look(self, view: View) -> None:
        """A map shows this now: what waits is put in the order of its distance from the centre."""
        self.lag.watch()
        self.views.look(view)
        for (_, tile), asked in self._asked.items():
            if asked.place != LAST and self.views.is_newest(tile):
                asked.move(self.views.place(tile))
        if self._prefetches:
            self.seen.look(self.views.newest)
            self.prefetch.look(self.views.newest)

    def ask(self, published: Any, tile: Tile, urgent: bool = False) -> Claim[Any]:
        """A part in the evaluation of a chain's tile; the same for a tile's picture in any style and for its values."""
        self.lag.watch()
        place = self.views.place(tile) if urgent else self.views.priority(tile)
        asked = self._asked.get((published.chain_hash, tile))
        if asked is not None:
            asked.join(place, urgent)
        return self._join(published, tile, _Asked(self._urgent, place, urgent=urgent))

    async def wait(self, share: Claim[Any], published: Any, tile: Tile) -> Any:
        """The pixels of a tile that was asked for; gives up after `timeout` seconds, and leaves either way."""
        self.prefetch.busy()
        try:
            return await share.result(self.timeout)
        except Timeout as error:
            self.reports.failed(published.chain_hash, tile, error)
            raise
        finally:
            self.prefetch.idle()
            share.leave()

    def drawn(self, chain_hash: str, tile: Tile, look: Style) -> Drawn | None:
        """A tile's picture, but for the colours, if it is kept."""
        self.lag.watch()
        return self._drawings.get((chain_hash, tile, rendering.shapes(look)))

    async def draw(self, published: Any, tile: Tile, look: Style, pixels: Any) -> Drawn:
        """The picture of a tile, but for the colours; another palette for it is ready at once."""
        drawing, holes = await self.pools.pictures.run(_draw, published, tile, look, pixels)
        told = tile_report(self.scene_numbers(published), pixels.report, holes)
        drawn = Drawn(drawing, told, bool(pixels.report.failed))
        if not drawn.failed:
            self._drawings.put((published.chain_hash, tile, rendering.shapes(look)), drawn)
        return drawn

    async def _ahead(self, chain_hash: str, tile: Tile) -> Claim[Any] | None:
        """A part in the evaluation of a tile that nobody has asked for yet, and perhaps nobody will."""
        return await self._unasked(chain_hash, tile, LAST)

    async def _at_once(self, chain_hash: str, tile: Tile) -> Claim[Any] | None:
        """A part in the evaluation of a tile that a map is about to ask for."""
        return await self._unasked(chain_hash, tile, self.views.place(tile))

    async def _unasked(self, chain_hash: str, tile: Tile, priority: float) -> Claim[Any] | None:
        if self._pixels.get((chain_hash, tile)) is not None:
            return None
        published = await self.chain(chain_hash)
        if published.prepared.output.times:
            return None
        return self._join(published, tile, _Asked(self._urgent, priority, wanted=False))

    def _join(self, published: Any, tile: Tile, asked: _Asked) -> Claim[Any]:
        key = (published.chain_hash, tile)
        return self._under_way.join(key, lambda: self._evaluate(key, published, tile, asked))

    async def _evaluate(self, key: Any, published: Any, tile: Tile, asked: _Asked) -> Any:
        pixels = self._pixels.get(key)
        if pixels is not None:
            if asked.wanted:
                self.reports.done(published.chain_hash, tile, pixels)
            return pixels
        self._asked[key] = asked
        error: MusesError | None = None
        try:
            pixels = await self._request(published, tile, asked)
        except MusesError as known:
            error = known
            raise
        except Exception as unknown:
            error = MusesError(f"the evaluation failed ({type(unknown).__name__})")
            raise
        finally:
            asked.end()
            if self._asked.get(key) is asked:
                del self._asked[key]
            if asked.wanted and error is not None:
                self.reports.failed(published.chain_hash, tile, error)
        if asked.wanted:
            self.reports.done(published.chain_hash, tile, pixels)
        if not pixels.report.failed:  # a scene that could not be read now may be readable later
            self._pixels.put(key, pixels)
        return pixels

    def progress(self, published: Any) -> dict[str, Any]:
        """What waits of a chain, and for how long."""
        waiting = sum(chain == published.chain_hash and asked.wanted for (chain, _), asked in self._asked.items())
        found = NOTHING_WAITS
        if self.computed:
            known = self._prepared_chains.get(published.chain_hash) or published
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

    async def _prepared(self, published: Any, tile: Tile) -> Any:
        """The chain with the results of its `region` and `fit` nodes, evaluated once for all tiles that wait for it.

        Not dropped when the map moves on: what they give does not depend on the view, and is kept in the store.
        """
        if not published.prepared.whole_nodes():
            return published

        async def prepare() -> Any:
            place, urgent = self.views.place(tile), (URGENT, URGENT_SECONDS)
            return await self.pools.results.run(_prepare, published, place, urgent, self.admission, self.store)

        known = self._prepared_chains.get(published.chain_hash)
        if known is None:
            share = self._preparing.join(published.chain_hash, prepare)  # never left, so never stopped
            known = await share.result(self.timeout)
            self._prepared_chains.put(published.chain_hash, known)
        return known

    async def _request(self, published: Any, tile: Tile, asked: _Asked) -> Any:
        published = await self._prepared(published, tile)
        self.computed = True
        ticket, seconds = await self.pools.plans.run(
            _request_tile, published, tile, asked.place, self.admission, self.views.count(tile),
            key=published.chain_hash, unwanted=lambda late: late[0].release(),
        )  # fmt: skip
        asked.has(ticket, seconds)
        if asked.place != LAST:
            self.prefetch.requested()
        try:
            await asyncio.shield(asyncio.wrap_future(ticket.done))
            return await self.pools.pictures.run(ticket.result, 0)
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


class Budget:
    """Seconds of the cluster that may be before all tiles at a time. For the event loop's thread only."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def take(self, seconds: float) -> bool:
        """Whether there are so many left; they are taken then."""
        if seconds > self._left:
            return False
        self._left -= seconds
        return True

    def give_back(self, seconds: float) -> None:
        self._left += seconds


class _Asked:
    """How urgent the evaluation of a tile is: as urgent as to whoever waits for it is in the most of a hurry.

    What is urgent goes before all tiles as far as the budget allows, else to the tile's place like the tile.
    """

    def __init__(self, budget: Budget, place: float, wanted: bool = True, urgent: bool = False) -> None:
        self.place = place
        """Its priority as a tile."""
        self.wanted = wanted
        """Whether somebody asked for it, or it is only likely that somebody will."""
        self._urgent = urgent
        self._budget = budget
        self._taken: float | None = None
        self._ticket: Any = None
        self._seconds = 0.0

    def join(self, place: float, urgent: bool) -> None:
        """Somebody else waits for it, too."""
        self.wanted = True
        self._urgent |= urgent
        self.move(min(place, self.place))

    def move(self, place: float) -> None:
        """It has another place among the tiles."""
        self.place = place
        self._prioritise()

    def has(self, ticket: Any, seconds: float) -> None:
        """Its blocks are asked for; the cluster is expected to take so long for them."""
        self._ticket, self._seconds = ticket, seconds
        self._prioritise()

    def end(self) -> None:
        """Nobody waits for it any more."""
        if self._taken is not None:
            self._budget.give_back(self._taken)
        self._taken = self._ticket = None

    def _prioritise(self) -> None:
        if self._ticket is None:
            return
        if self._urgent and self._taken is None and self._budget.take(self._seconds):
            self._taken = self._seconds
        self._ticket.prioritise(self.place if self._taken is None else URGENT)


def _prepare(
    published: Any, place: float, urgent: tuple[float, float], admission: Admission, store: Callable[[], Store]
) -> Any:
    from muses_lab.service.areas import prepare

    return prepare(published, place, urgent, admission, store())


def _request_tile(published: Any, tile: Tile, place: float, admission: Admission, tiles: int) -> tuple[Any, float]:
    """In a thread: to find which blocks the tile needs takes milliseconds. Tells also how long they will take."""
    from muses_lab.compute.windows import request_window
    from muses_lab.raster.window import Window

    executor = compute.executor()
    expected = 0.0

    def admit(seconds: float, blocks: float) -> None:
        nonlocal expected
        expected = seconds * blocks / max(1, executor.backend.threads)
        admission.check(view=expected * tiles, waiting=executor.expected_seconds() + expected)

    ticket = request_window(executor, published, Window.tile(*tile), place, admit=admit)
    return ticket, expected


class MadeElsewhere(NotFound):
    """A page shows what was never made on this machine, or not by this user: a colleague's saved notebook."""

    code = "made-elsewhere"


@contextmanager
def _made_elsewhere(what: str, key: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        if error.details.get(what) != key:
            raise
        raise MadeElsewhere(
            f"This map was made by somebody else, or on another machine: run the notebook's cells, and it is yours. "
            f"(Its {what} {key[:12]}… is not known here.)",
            **error.details,
        ) from None


def _draw(published: Any, tile: Tile, look: Style, pixels: Any) -> tuple[rendering.Drawing, tuple[int, int]]:
    """In a thread: a tile's picture, and how many pixels lack a value of those for which there are scenes."""
    from muses_lab.engine.mosaic import layout
    from muses_lab.raster.window import Window

    missing = np.isnan(rendering.pick(pixels.values, look, pixels.bands))
    missing = missing.any(axis=0) if missing.ndim == 3 else missing
    holes = (0, missing.size)
    if missing.any():
        covered = np.zeros(missing.shape, np.bool_)
        for part in layout(published.prepared, Window.tile(*tile)).parts:
            covered |= part.owned[0]
        holes = (int((missing & covered).sum()), int(covered.sum()))
    return rendering.draw(pixels.values, look, pixels.bands), holes


def check_hash(what: str, text: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise NotFound(
            f"{text[:80]!r} is not the hash of a {what} (64 lower-case hexadecimal digits)", **{what: text[:80]}
        )
