"""The service itself: what one Jupyter server keeps between requests, and the way from a tile to its picture."""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

import muses_lab.render as rendering
from muses_lab import compute
from muses_lab.compute.admission import Admission
from muses_lab.compute.queue import NOTHING_WAITS
from muses_lab.errors import MusesError, NotAnImage, NotFound, PrivateChain, Timeout, TooLarge
from muses_lab.service.loop_delay import LoopDelay
from muses_lab.service.notes import Notes
from muses_lab.service.once import Once
from muses_lab.service.pools import Pools
from muses_lab.service.prefetch import LAST, Ring, VisibleTiles
from muses_lab.service.private_chains import NAME as PRIVATE
from muses_lab.service.private_chains import PrivateChains
from muses_lab.service.reports import Reports, SceneNumbers, tile_report
from muses_lab.service.throttle import Throttle
from muses_lab.service.tile import Tile
from muses_lab.service.value_tile import packed
from muses_lab.service.views import View, Views
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

QUICK = 0.6
"""Seconds within which a map moves again to be one that is under way."""
REST = 0.3
"""Seconds that a map which is under way rests before anything is begun for it."""
MAPS = 64
"""Of which it is known where they were."""

INCOMPLETE_SECONDS = 10.0
"""For how long results of whole extents serve further tiles when scenes could not be read for them."""


@dataclass(frozen=True)
class TileAnswer:
    """A tile's picture or its values, and what it tells of itself."""

    body: bytes
    report: str
    failed: bool
    """Whether scenes could not be read, so that it is not to be kept."""


@dataclass(frozen=True)
class KnownChain:
    """A published chain, and the numbers of its scenes in what its tiles report."""

    published: Any
    numbers: SceneNumbers


def is_private(name: str) -> bool:
    """Whether a chain's name in an address is that of a private one, which no store has."""
    return name.startswith(PRIVATE)


class TileService:
    """State of one Jupyter server. Its methods are for the event loop's thread unless they say otherwise.

    Pixels are kept as blocks, by `compute.windows`; a block that several ask for is evaluated once, by the executor.
    So a tile in another style, its values, a reload, and the tiles beside it meet there.
    """

    def __init__(self) -> None:
        self.timeout = number("MUSES_TILE_TIMEOUT")
        self.admission = Admission()
        self.max_document = int(number("MUSES_MAX_DOCUMENT"))
        self.throttle = Throttle()
        self.reports = Reports()
        self.views = Views()
        self.lag = LoopDelay()
        self.ring = Ring(self._begin_last)
        self.visible = VisibleTiles(self._begin_soon)
        self._prefetches = number("MUSES_PREFETCH") > 0
        self.stale = Stale()
        self._rest = Rest(self._hold)
        self.computed = False
        """Whether anything was ever asked of the executor: being asked about it must not start one."""
        self.private: PrivateChains[KnownChain] = PrivateChains(int(number("MUSES_PRIVATE_BYTES")))
        self._chains: Once[KnownChain] = Once(32)
        self._styles: Once[Style] = Once(256)
        self._with_results: Once[Any] = Once(32, lambda made: INCOMPLETE_SECONDS if made.incomplete else None)
        self._requests: set[TileRequest] = set()
        self._urgent = Budget(URGENT_SECONDS)
        self.pools = Pools(self.timeout)
        self.notes = Notes()

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
        """Drops the pixels that are kept; documents stay."""
        if self.computed:
            from muses_lab.compute.windows import forget

            forget(compute.shared())

    # Documents

    async def chain(self, chain_hash: str) -> Any:
        """The published chain with this hash; `NotFound` if the store has none.

        Of a private one (`private-<hash>`) what its kernel has handed over: a `Sealed` in the place of a `Published`.
        """
        return (await self._known_chain(chain_hash)).published

    async def take_private(self, body: bytes, kernel: tuple[int, str]) -> str:
        """Keeps a private chain for the maps of this server's user; returns the name by which tiles ask for it."""
        known = await self.pools.publishing.run(_open_private, body)
        self.private.keep(known.published.chain_hash, known, len(body), kernel)
        return PRIVATE + known.published.chain_hash

    async def style(self, style_hash: str) -> Style:
        """The style with this hash; `NotFound` if the store has none."""
        check_hash("style", style_hash)
        return await self._styles.get(style_hash, lambda key: self.pools.loading.run(_load_style, key, self.store))

    async def _known_chain(self, chain_hash: str) -> KnownChain:
        if is_private(chain_hash):
            check_hash("chain", chain_hash.removeprefix(PRIVATE))
            return self.private.get(chain_hash.removeprefix(PRIVATE))
        check_hash("chain", chain_hash)
        return await self._chains.get(chain_hash, lambda key: self.pools.loading.run(_load_chain, key, self.store))

    # Tiles

    async def picture(self, chain: str, style: str, tile: Tile) -> TileAnswer:
        """The picture of a tile of the chain with that hash, in the style with that one."""
        known, look = await self._known_image(chain), await self.style(style)
        return await self._finished(known.published, tile, lambda ticket: _drawn(ticket, look, known.numbers))

    async def tile_values(self, chain: str, tile: Tile) -> TileAnswer:
        """The values of a tile of the chain with that hash, as browsers colour them."""
        known = await self._known_image(chain)
        bands = known.published.prepared.output.meta.bands
        if bands is not None and len(bands) not in (1, 3):
            raise NotAnImage(
                f"the chain has {len(bands)} bands, and tiles of values one or three: pictures show three of them"
            )
        return await self._finished(known.published, tile, lambda ticket: _packed(ticket, known.numbers))

    async def _known_image(self, chain: str) -> KnownChain:
        known = await self._known_chain(chain)
        if times := known.published.prepared.output.times:
            raise NotAnImage(f"the chain has {len(times)} dates; reduce them, for example with .median('t')")
        return known

    async def pixels(self, published: Any, tile: Tile, urgent: bool = False) -> Any:
        """The values of a tile, all bands and dates; `urgent`: before all pictures, if it does not take long."""
        return await self._finished(published, tile, _assembled, urgent)

    async def _finished(
        self, published: Any, tile: Tile, finish: Callable[[Any], tuple[T, Any]], urgent: bool = False
    ) -> T:
        """What `finish` makes of the blocks of a tile, in a thread, beside their report; it has `timeout` seconds.

        Cancelled, it leaves: blocks that nobody else waits for are not evaluated.
        """
        self.lag.watch()
        place = self.views.place(tile) if urgent else self.views.priority(tile)
        request = TileRequest(published.chain_hash, tile, place, self._urgent, urgent)
        self._requests.add(request)
        self.ring.busy()
        try:
            async with asyncio.timeout(self.timeout):
                await self._ask(published, request)
                self.ring.requested()
                made, report = await self.pools.pictures.run(finish, await request.ready())
        except asyncio.CancelledError:
            request.leave(self.stale.count())
            raise
        except TimeoutError:
            late = Timeout(f"not ready after {self.timeout:g} s; MUSES_TILE_TIMEOUT allows more", seconds=self.timeout)
            self.reports.failed(published.chain_hash, tile, late)
            raise late from None
        except MusesError as error:
            self.reports.failed(published.chain_hash, tile, error)
            raise
        except Exception as error:
            text = f"the evaluation failed ({type(error).__name__})"
            self.reports.failed(published.chain_hash, tile, MusesError(text))
            raise
        finally:
            self.ring.idle()
            self._requests.discard(request)
            request.leave()
        self.reports.done(published.chain_hash, tile, report)
        return made

    async def _ask(self, published: Any, request: TileRequest) -> None:
        """Asks for the blocks of a tile."""
        if len(published.results) < len(published.prepared.whole_nodes()):
            published = await self._with_results.get(
                published.chain_hash,
                lambda _: self.pools.results.run(_prepare, published, request.place, self.admission, self.store),
            )
        self.computed = True
        ticket, seconds = await self.pools.plans.run(
            _request_tile, published, request.tile, request.place, self.admission, self.views.count(request.tile),
            key=published.chain_hash, unwanted=lambda late: late[0].release(),
        )  # fmt: skip
        request.asked(ticket, seconds)

    # Views

    def look(self, view: View) -> None:
        """A map shows this now: what waits is put in the order of its distance from the centre.

        Ends nothing: a tile ends when its request is closed (`handler.on_connection_close`) and no view holds it.
        """
        self.lag.watch()
        self._rest.look(view)
        self.views.look(view)
        for request in self._requests:
            if self.views.is_newest(request.tile):
                request.move(self.views.place(request.tile))
        if self._prefetches:
            self.visible.look(self.views.newest)
            self.ring.look(self.views.newest)

    def _hold(self, held: bool) -> None:
        if self.computed:
            compute.shared().hold(URGENT if held else math.inf)

    async def _begin_soon(self, chain_hash: str, tile: Tile) -> TileRequest | None:
        """Begins a tile that a map is about to ask for."""
        return await self._begin(chain_hash, tile, self.views.place(tile))

    async def _begin_last(self, chain_hash: str, tile: Tile) -> TileRequest | None:
        """Begins a tile that perhaps nobody will ask for."""
        return await self._begin(chain_hash, tile, LAST)

    async def _begin(self, chain_hash: str, tile: Tile, place: float) -> TileRequest | None:
        """Asks for the blocks of a tile before anybody waits for it; None where the chain gives no picture."""
        published = await self.chain(chain_hash)
        if published.prepared.output.times:
            return None
        request = TileRequest(chain_hash, tile, place, self._urgent)
        await self._ask(published, request)
        request.holds_no_blocks()
        return request

    # What waits

    def progress(self, published: Any) -> dict[str, Any]:
        """What waits of a chain, and for how long."""
        waiting = {request.tile for request in self._requests if request.chain == published.chain_hash}
        found = NOTHING_WAITS
        if self.computed:
            known = self._with_results.known(published.chain_hash) or published
            found = compute.shared().progress(known.hash)
        return {
            "waiting": len(waiting),
            "blocks_queued": found.queued,
            "blocks_running": found.running,
            "position": found.position,
            **(self._in_class(published, found) if self.computed else {}),
            "expected_seconds": None if found.expected_seconds is None else round(found.expected_seconds, 2),
        }

    def _in_class(self, published: Any, found: Any) -> dict[str, Any]:
        """`class`, where this server has a class's evaluator: its `state`, the `position` of this user's next block in
        the class's queue, how many `people` use it, or the `reason` why the user's own cluster computes."""
        executor = compute.shared()
        link = getattr(executor, "link", None)
        if link is None:
            return {}
        told = link.status()
        if reason := link.why_not(published):
            state = "away" if told["state"] == "away" else "own"
            return {"class": {**told, "state": state, "reason": reason, "position": None}}
        return {"class": told if found.running else {**told, "position": None}}

    def queue(self) -> dict[str, Any] | None:
        """The executor's state; None while nothing has been computed."""
        return compute.shared().status() if self.computed else None


class Stale:
    """How many tiles were no longer wanted before they were there, and for how many of them nothing was computed.

    What was computed for a tile that stayed, too, was not computed for one that left.
    """

    def __init__(self) -> None:
        self._requests = self._begun = 0
        self._lock = threading.Lock()

    def count(self) -> Callable[[], None]:
        """Counts a request that its asker leaves; gives what is to be called if something was computed for it."""
        with self._lock:
            self._requests += 1
        told = False

        def begun() -> None:
            nonlocal told
            with self._lock:
                self._begun += not told
                told = True

        return begun

    def summary(self) -> dict[str, int]:
        with self._lock:
            return {"requests": self._requests, "unbegun": self._requests - self._begun}


class Rest:
    """Views that follow one another quickly are passed by: nothing is begun for one of them until it rests.

    A block that was begun holds its thread until its next read, also when nobody looks at it any more. Measured by
    `python -m benchmarks.pans`: without this most of the tiles that quick pans leave behind were begun in vain. The
    first move of a map begins at once. For the event loop's thread only.
    """

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self._hold = hold
        self._places: OrderedDict[str, tuple[Any, float]] = OrderedDict()
        """Of each map where it was last, and since when."""
        self._timer: asyncio.TimerHandle | None = None

    def look(self, view: View) -> None:
        """A map shows this now."""
        loop = asyncio.get_running_loop()
        place, now = (view.z, view.x, view.y), loop.time()
        before, since = self._places.setdefault(view.map, (place, -math.inf))
        if place == before:
            return
        self._places[view.map] = place, now
        self._places.move_to_end(view.map)
        if len(self._places) > MAPS:
            self._places.popitem(last=False)
        if now - since < QUICK:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(REST, self._go_on)
            self._hold(True)

    def _go_on(self) -> None:
        self._timer = None
        self._hold(False)


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


class TileRequest:
    """One asker's part in the evaluation of a tile's blocks: where it is in the queue.

    What is urgent goes before all tiles as far as the budget allows, else to the tile's place like the tile.
    """

    def __init__(self, chain: str, tile: Tile, place: float, budget: Budget, urgent: bool = False) -> None:
        self.chain = chain
        self.tile = tile
        self.place = place
        """Its priority as a tile."""
        self._urgent = urgent
        self._budget = budget
        self._taken: float | None = None
        self._ticket: Any = None
        self._done: Any = None
        self._seconds = 0.0

    def move(self, place: float) -> None:
        """It has another place among the tiles."""
        self.place = place
        self._prioritise()

    def asked(self, ticket: Any, seconds: float) -> None:
        """Its blocks are asked for; the cluster is expected to take so long for them."""
        self._ticket, self._done, self._seconds = ticket, ticket.done, seconds
        if self._urgent:
            self._prioritise()

    async def ready(self) -> Any:
        """The ticket, once its blocks are there; raises what the first of them failed of."""
        await asyncio.shield(asyncio.wrap_future(self._done))
        return self._ticket

    def holds_no_blocks(self) -> None:
        """Once they are there, whoever asks for the tile finds them in the cache."""
        self._done.add_done_callback(lambda _: setattr(self, "_ticket", None))

    async def result(self, seconds: float) -> None:
        """Waits so long for blocks that were begun."""
        try:
            await asyncio.wait_for(self.ready(), seconds)
        except TimeoutError:
            raise Timeout(f"not ready after {seconds:g} s", seconds=seconds) from None

    def leave(self, wasted: Callable[[], None] | None = None) -> None:
        """Nobody waits for it any more; may be called again. `wasted`: see `Ticket.release`."""
        if self._taken is not None:
            self._budget.give_back(self._taken)
            self._taken = None
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.release(wasted)

    def _prioritise(self) -> None:
        ticket = self._ticket
        if ticket is None:
            return
        if self._urgent and self._taken is None and self._budget.take(self._seconds):
            self._taken = self._seconds
        ticket.prioritise(self.place if self._taken is None else URGENT)


# In threads: chains, plans and pictures take milliseconds, or seconds.


def _load_style(style_hash: str, store: Callable[[], Store]) -> Style:
    with _made_elsewhere("style", style_hash):
        return Style.from_json(store().style(style_hash))


def _load_chain(chain_hash: str, store: Callable[[], Store]) -> KnownChain:
    from muses_lab.publish.artefacts import load_published

    with _made_elsewhere("chain", chain_hash):
        published = load_published(chain_hash, store())
    return KnownChain(published, SceneNumbers.of(published))


def _open_private(body: bytes) -> KnownChain:
    """A private chain as its plan: nothing of its code is looked at."""
    from muses_lab.engine.sealed import Sealed

    sealed = Sealed.opened(body)
    _ = sealed.prepared  # what is wrong with it is told to the kernel, not in a tile
    return KnownChain(sealed, SceneNumbers.of(sealed))


def _check_place(published: Any) -> None:
    """Refuses to evaluate a private chain in this process, which runs no code of users."""
    from muses_lab.engine.sealed import Sealed

    if isinstance(published, Sealed) and compute.kind() == "threads":
        raise PrivateChain(
            "This layer uses an operator that is declared in the notebook, which runs on a cluster only, and this "
            "Jupyter server computes in threads of its own: start it without MUSES_COMPUTE=threads."
        )


def _prepare(published: Any, place: float, admission: Admission, store: Callable[[], Store]) -> Any:
    """The chain with the results of its `region` and `fit` nodes, evaluated once for all tiles that wait for it.

    Not stopped when the map moves on: what they give does not depend on the view, and is kept in the store.
    """
    from muses_lab.compute.wholes import prepare

    executor = compute.shared()

    def admit(seconds: float) -> float:
        admission.check_areas(seconds, executor.expected_seconds())
        return URGENT if seconds <= URGENT_SECONDS else place

    return prepare(executor, published, place, store(), admit)


def _request_tile(published: Any, tile: Tile, place: float, admission: Admission, tiles: int) -> tuple[Any, float]:
    """A ticket for the blocks of a tile, and how long the cluster is expected to take for them."""
    from muses_lab.compute.windows import request_window
    from muses_lab.raster.window import Window

    _check_place(published)
    executor = compute.shared()
    expected = 0.0

    def admit(seconds: float, blocks: float) -> None:
        nonlocal expected
        expected = seconds * blocks / max(1, executor.backend.threads)
        admission.check(view=expected * tiles, waiting=executor.expected_seconds() + expected)

    ticket = request_window(executor, published, Window.tile(*tile), place, admit=admit)
    return ticket, expected


def _assembled(ticket: Any) -> tuple[Any, Any]:
    """The values of a tile, and what its evaluation met."""
    pixels = ticket.result(0)
    return pixels, pixels.report


def _drawn(ticket: Any, look: Style, numbers: SceneNumbers) -> tuple[TileAnswer, Any]:
    """A tile's picture, and what its evaluation met."""
    pixels = ticket.result(0)
    holes = _holes(ticket, rendering.pick(pixels.values, look, pixels.bands))
    return _answered(rendering.render(pixels.values, look, pixels.bands), pixels.report, numbers, holes)


def _packed(ticket: Any, numbers: SceneNumbers) -> tuple[TileAnswer, Any]:
    """A tile's values, and what its evaluation met."""
    pixels = ticket.result(0)
    values = rendering.as_floats(pixels.values)
    return _answered(packed(values), pixels.report, numbers, _holes(ticket, values))


def _answered(body: bytes, report: Any, numbers: SceneNumbers, holes: tuple[int, int]) -> tuple[TileAnswer, Any]:
    return TileAnswer(body, tile_report(numbers, report, holes), bool(report.failed)), report


def _holes(ticket: Any, values: np.ndarray) -> tuple[int, int]:
    """Pixels without a value where there are scenes, and pixels where there are scenes."""
    missing = np.isnan(values)
    missing = missing.any(axis=0) if missing.ndim == 3 else missing
    holes = (0, missing.size)
    if missing.any():
        covered = np.zeros(missing.shape, np.bool_)
        for part in ticket.layout.parts:
            covered |= part.owned[0]
        holes = (int((missing & covered).sum()), int(covered.sum()))
    return holes


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


def check_hash(what: str, text: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise NotFound(
            f"{text[:80]!r} is not the hash of a {what} (64 lower-case hexadecimal digits)", **{what: text[:80]}
        )
