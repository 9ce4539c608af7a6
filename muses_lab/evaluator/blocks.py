"""Blocks for a class: each evaluated once for all who ask, in fair turns, and kept for those who come later."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from muses_lab.compute.costs import Costs, planned
from muses_lab.compute.queue import Executor, Ticket
from muses_lab.compute.wholes import prepare
from muses_lab.engine import BlockKey, NodeKey, Published, RectKey, Result
from muses_lab.engine.mosaic import Report
from muses_lab.errors import Cancelled, MusesError
from muses_lab.evaluator.chains import Chains, Refused
from muses_lab.evaluator.turns import Turns
from muses_lab.raster.grid import BLOCK
from muses_lab.resources import cancel
from muses_lab.resources.cache import Cache
from muses_lab.resources.pool import Pool
from muses_lab.settings import number
from muses_lab.store import Store

LAST = 1e12
"""Added to the number of a block that nobody looks at yet."""

AREAS = 2
"""Chains of one participant of which whole areas may be under way."""

SEEN = 300.0
"""Seconds for which a participant counts as present after they asked for something."""

Key = tuple[str, BlockKey | RectKey]


class TooMany(MusesError):
    """A participant has too much waiting."""

    code = "too-many-blocks"
    http_status = 429


class OtherResults(MusesError):
    """The participant has other results of whole areas than the evaluator."""

    code = "other-results"
    http_status = 409


@dataclass(frozen=True)
class Ask:
    """One participant's wish for a block."""

    who: str
    chain: str
    """Hash of the document."""
    hash: str
    """`Published.hash`: the document with the results of its whole areas."""
    task: BlockKey | RectKey | NodeKey
    ahead: bool = False
    """Nobody looks at it yet."""


@dataclass(eq=False)
class _Block:
    """A block that is waited for."""

    key: Key
    ticket: Ticket
    payer: str
    seconds: float
    done: asyncio.Future[Result]
    waiting: dict[object, tuple[str, float]] = field(default_factory=dict)
    """By ask: who, and the number that it would be evaluated by for them."""

    @property
    def number(self) -> float:
        return min((number for _, number in self.waiting.values()), default=math.inf)


class Blocks:
    """What a class asks for. Its methods are for the event loop's thread.

    Parameters
    ----------
    chains
        What was taken.
    executor
        Evaluates.
    budget
        Bytes of results that are kept.
    store
        Keeps the results of whole areas (`region`, `fit`).
    """

    def __init__(self, chains: Chains, executor: Executor, budget: int, store: Callable[[], Store]) -> None:
        self.chains = chains
        self.executor = executor
        self.results = Cache(budget)
        self.counts: Counter[str] = Counter()
        """`asked`, `served` (given to a participant), `evaluated`, `shared` (joined or found), `left`, `failed`."""
        self._store = store
        self._costs = Costs()
        self._turns = Turns()
        self._blocks: dict[Key, _Block] = {}
        self._wholes: dict[str, asyncio.Future[Published]] = {}
        self._wanted: Counter[str] = Counter()
        """By chain, who waits for its whole areas."""
        self._areas_of: Counter[str] = Counter()
        """By participant, chains of theirs of which whole areas are under way."""
        self._waiting: Counter[str] = Counter()
        self._seen: dict[str, float] = {}
        self._most = int(number("MUSES_COURSE_BLOCKS"))
        self._block_seconds = number("MUSES_COURSE_BLOCK_SECONDS")
        self._plans = Pool("planning", 4, number("MUSES_TASK_SECONDS"))
        self._areas = Pool("evaluating whole areas", 4, None, waiting=64)

    async def result(self, ask: Ask) -> Result:
        """The result of a task; cancelled, it leaves: what nobody waits for is not evaluated."""
        published = self.chains.get(ask.chain)
        self._seen[ask.who] = asyncio.get_running_loop().time()
        if self._waiting[ask.who] >= self._most:
            raise TooMany(
                f"{self._waiting[ask.who]} blocks of {ask.who} wait already, and {self._most} may (MUSES_COURSE_BLOCKS)"
            )
        self.counts["asked"] += 1
        self._waiting[ask.who] += 1
        try:
            found = await self._result(published, ask)
        except asyncio.CancelledError:
            self.counts["left"] += 1
            raise
        except Exception:
            self.counts["failed"] += 1
            raise
        finally:
            self._waiting[ask.who] -= 1
            if not self._waiting[ask.who]:
                del self._waiting[ask.who]
        self.counts["served"] += 1
        return found

    async def _result(self, published: Published, ask: Ask) -> Result:
        if published.prepared.whole_nodes():
            published = await self._with_results(published, ask)
        if isinstance(ask.task, NodeKey):
            return _of_node(published, ask.task)
        if published.hash != ask.hash:
            raise OtherResults("what was computed of whole areas here is not what was computed elsewhere")
        seconds = await self._plans.run(partial(self._expected, published, ask.task))
        return await self._shared(published, (published.hash, ask.task), seconds, ask)

    def _expected(self, published: Published, task: BlockKey | RectKey) -> float:
        """Seconds that a block takes; in a thread."""
        step = published.prepared.output
        if task.grid not in step.grids:
            raise Refused(f"the chain has no grid {task.grid!r:.60}")
        rows, cols = task.rect.r1 - task.rect.r0, task.rect.c1 - task.rect.c0
        if rows > BLOCK or cols > BLOCK:
            raise Refused(f"{rows} × {cols} pixels are more than a block of {BLOCK} × {BLOCK}")
        seconds = self._costs.expected(published, task)
        if seconds > self._block_seconds and planned(published, task) > self._block_seconds:  # not slow by chance alone
            raise Refused(
                f"one block of this chain takes about {seconds:.0f} s; what is computed for a class takes at most "
                f"{self._block_seconds:g} s (MUSES_COURSE_BLOCK_SECONDS)"
            )
        return seconds

    async def _shared(self, published: Published, key: Key, seconds: float, ask: Ask) -> Result:
        """A block that is there, under way for others, or asked for now. Nothing is awaited before it is joined."""
        known = self.results.get(key)
        if known is not None:
            self.counts["shared"] += 1
            return replace(known, seconds=0.0)
        later = LAST if ask.ahead else 0.0
        block = self._blocks.get(key)
        if block is None:
            number = self._turns.take(ask.who, seconds) + later
            block = self._begin(published, key, number, seconds, ask.who)
        else:
            self.counts["shared"] += 1
            number = self._turns.peek(ask.who) + later
            if number < block.number:
                block.ticket.prioritise(number)
        me = object()
        block.waiting[me] = ask.who, number
        try:
            return await asyncio.shield(block.done)
        finally:
            del block.waiting[me]
            if not block.done.done():
                self._left(block)

    def _begin(self, published: Published, key: Key, number: float, seconds: float, who: str) -> _Block:
        loop = asyncio.get_running_loop()
        ticket = self.executor.request(published, key[1], number, seconds, published.remote)
        block = self._blocks[key] = _Block(key, ticket, who, seconds, loop.create_future())
        block.done.add_done_callback(lambda done: done.cancelled() or done.exception())  # all may have left

        def arrived(future: Future[Result]) -> None:
            if not future.cancelled():
                loop.call_soon_threadsafe(self._arrived, block, published, number, future)

        ticket.future.add_done_callback(arrived)
        return block

    def _arrived(self, block: _Block, published: Published, number: float, future: Future[Result]) -> None:
        if self._blocks.get(block.key) is block:
            del self._blocks[block.key]
        self._turns.served(number if number < LAST else 0.0)
        error = future.exception()
        if error is not None:
            if not block.done.done():
                block.done.set_exception(error)
            return
        result = future.result()
        self.counts["evaluated"] += 1
        self._costs.took(published, block.key[1], result.seconds)
        if not result.report.failed:
            self.results.put(block.key, result, result.nbytes + 512, result.seconds)
        if not block.done.done():
            block.done.set_result(result)

    def _left(self, block: _Block) -> None:
        if block.waiting:
            block.ticket.prioritise(block.number)
            return
        del self._blocks[block.key]
        self._turns.give_back(block.payer, block.seconds)
        block.done.cancel()
        loop = asyncio.get_running_loop()

        def begun() -> None:  # what had begun is paid for all the same
            loop.call_soon_threadsafe(self._turns.take, block.payer, block.seconds)

        block.ticket.release(begun)

    async def _with_results(self, published: Published, ask: Ask) -> Published:
        """The chain with what its `region` and `fit` nodes give: evaluated here, once for all."""
        hash = published.chain_hash
        made = self._wholes.get(hash)
        if made is None or (made.done() and (made.cancelled() or made.exception() or made.result().incomplete)):
            if self._areas_of[ask.who] >= AREAS:
                raise TooMany(f"whole areas of {AREAS} chains of {ask.who} are under way already")
            made = self._wholes[hash] = self._begin_areas(published, ask.who)
        self._wanted[hash] += 1
        try:
            return await asyncio.shield(made)
        finally:
            self._wanted[hash] -= 1

    def _begin_areas(self, published: Published, who: str) -> asyncio.Future[Published]:
        hash, number = published.chain_hash, self._turns.peek(who)
        if len(self._wholes) > 256:
            self._wholes = {key: one for key, one in self._wholes.items() if not one.done()}
            self._wanted = +self._wanted

        def check() -> None:
            if self._wanted[hash] <= 0:
                raise Cancelled("nobody waits for these whole areas any more")

        def evaluated() -> Published:
            with cancel.watching(check):
                return prepare(self.executor, published, number, self._store(), partial(self._admitted, who))

        def ended(done: asyncio.Future[Published]) -> None:
            self._areas_of[who] -= 1
            _ = done.cancelled() or done.exception()  # all may have left

        self._areas_of[who] += 1
        made = asyncio.ensure_future(self._areas.run(evaluated))
        made.add_done_callback(ended)
        return made

    def _admitted(self, who: str, seconds: float) -> float:
        """Whole areas take a turn like blocks, as long as they are expected to take; in a thread."""
        if seconds > number("MUSES_VIEW_SECONDS"):
            raise Refused(f"the whole areas of this chain take about {seconds:.0f} s, more than a class waits for")
        return self._turns.take(who, seconds)

    # What there is to tell

    def position(self, who: str) -> int | None:
        """How many blocks go before the next one of a participant; None where none of theirs waits."""
        numbers = sorted(block.number for block in self._blocks.values())
        own = [n for block in self._blocks.values() for name, n in block.waiting.values() if name == who]
        if not own:
            return None
        running = self.executor.status()["running"]
        return max(0, sum(n < min(own) for n in numbers) - running)

    def people(self) -> int:
        """Participants who asked for something lately."""
        now = asyncio.get_running_loop().time()
        self._seen = {who: when for who, when in self._seen.items() if now - when < SEEN}
        return len(self._seen)

    def status(self, who: str) -> dict[str, Any]:
        return {
            "position": self.position(who),
            "waiting": self._waiting[who],
            "people": self.people(),
            "blocks": len(self._blocks),
            "threads": self.executor.backend.threads,
            "most": self._most,
        }


def _of_node(published: Published, task: NodeKey) -> Result:
    body = published.results.get(task.node)
    if body is None:
        raise Refused(f"the chain has no whole area {task.node[:12]!r}")
    return Result(None, Report(failed=published.incomplete.get(task.node, {})), body)
