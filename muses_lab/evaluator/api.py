"""What participants' servers ask of the class's evaluator (`compute.class_link` is the other side).

    PUT    api/chains/<hash>                the document's canonical JSON
    PUT    api/artefacts/<digest>?kind=…    a list of scenes, a model, polygons
    POST   api/blocks                       {"chain", "hash", "task", "token", "ahead", "release"}: waits for the block
    DELETE api/blocks/<token>               nobody waits for it any more
    POST   api/courses/<id>/warm            computes the course's chains beforehand; GET tells how far that is
    GET    api/status                       position in the class's queue
    GET    health                           for everybody: that it is there
    GET    metrics                          on this machine: numbers without names

A request that is closed leaves, too. Answers are JSON, a block is `answers.packed`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from muses_lab.compute.answers import packed, task_from_json
from muses_lab.compute.release import release
from muses_lab.errors import Cancelled, MusesError, NotFound, Overloaded
from muses_lab.evaluator.blocks import Ask
from muses_lab.evaluator.chains import Refused
from muses_lab.evaluator.metrics import page
from muses_lab.evaluator.state import Evaluator
from muses_lab.hub.api import Api, Base
from muses_lab.store.records import check_hash

logger = logging.getLogger("muses_lab.evaluator")

MAX_ASK = 16 << 10
"""Bytes of what is asked for one block."""

REQUESTS = 512
"""Requests of one participant at the same time."""


def answer(method: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """Every route's method: for known participants; a `MusesError` becomes its status and code."""

    @functools.wraps(method)
    async def guarded(self: Asking, *args: str) -> None:
        try:
            if self._refusal is not None:
                raise self._refusal
            await method(self, *args)
        except MusesError as error:
            self.service.refused(error)
            self.fail(error)

    return guarded


class Asking(Api):
    """Base of the routes below `api/`."""

    service: Evaluator  # type: ignore[assignment]
    limit = MAX_ASK
    _work: asyncio.Future[Any] | None = None
    _entered = ""

    async def prepare(self) -> None:
        await super().prepare()
        if self._refusal is None:
            if self.service.requests[self.who.name] >= REQUESTS:
                self._refusal = Overloaded(f"{self.who.name} has {REQUESTS} requests under way", retry_after=1)
                return
            self._entered = self.who.name
            self.service.requests[self._entered] += 1

    def on_finish(self) -> None:
        super().on_finish()
        if self._entered:
            self.service.requests[self._entered] -= 1
            self._entered = ""

    def on_connection_close(self) -> None:
        if self._work is not None:
            self._work.cancel()
        self.on_finish()


class ChainHandler(Asking):
    def max_body(self) -> int:
        return self.service.max_document

    @answer
    async def put(self, chain_hash: str) -> None:
        async with self.service.reading(self.who.name):
            await self.service.pool.run(self.service.chains.put, check_hash(chain_hash), self.body)
        self.send_json({"chain": chain_hash}, 201)


class ArtefactHandler(Asking):
    def max_body(self) -> int:
        return self.service.max_artefact

    @answer
    async def put(self, digest: str) -> None:
        kind = self.get_query_argument("kind", "")
        async with self.service.reading(self.who.name):
            await self.service.pool.run(self.service.chains.put_artefact, check_hash(digest), kind, self.body)
        self.send_json({"artefact": digest}, 201)


class BlocksHandler(Asking):
    @answer
    async def post(self) -> None:
        wish = self.json_body()
        texts = [wish.get(name) if isinstance(wish, dict) else None for name in ("chain", "hash", "token", "release")]
        if not all(isinstance(text, str) and len(text) <= 200 for text in texts):
            raise MusesError("a block is asked for by {chain, hash, task, token, release}, which are texts")
        chain, hash, token, theirs = map(str, texts)
        if theirs != release():
            raise Refused(f"the class's evaluator runs {release()}, this participant's server {theirs}: restart it")
        ask = Ask(self.who.name, chain, hash, task_from_json(wish.get("task")), wish.get("ahead") is True)
        self._work = self.service.under_way[self.who.name, token] = asyncio.ensure_future(
            self.service.blocks.result(ask)
        )
        try:
            result = await self._work
        except asyncio.CancelledError:
            raise Cancelled("nobody waits for this block any more") from None
        finally:
            self.service.under_way.pop((self.who.name, token), None)
        body = packed(result)
        self.service.sent += len(body)
        self.set_header("Content-Type", "application/octet-stream")
        await self.finish(body)


class BlockHandler(Asking):
    @answer
    async def delete(self, token: str) -> None:
        work = self.service.under_way.get((self.who.name, token))
        if work is not None:
            work.cancel()
        self.send_json({"cancelled": work is not None})


class StatusHandler(Asking):
    @answer
    async def get(self) -> None:
        self.send_json(self.service.status(self.who.name))


class WarmHandler(Asking):
    @answer
    async def get(self, course: str) -> None:
        self.send_json(self.service.warming.status(course))

    @answer
    async def post(self, course: str) -> None:
        self.send_json(await self.service.pool.run(self.service.warming.start, course))


class HealthHandler(Base):
    service: Evaluator  # type: ignore[assignment]

    async def get(self) -> None:
        self.send_json({"status": "pass", "service": "course", "release": release()})


class MetricsHandler(Base):
    """Numbers in Prometheus' text format, for who asks directly on this machine."""

    service: Evaluator  # type: ignore[assignment]

    async def get(self) -> None:
        if "X-Forwarded-For" in self.request.headers:  # by the hub's proxy, for anybody
            self.fail(NotFound("there is nothing at this address"))
            return
        self.service.chains.pinned.look()
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(page(self.service))


class UnknownHandler(Base):
    def prepare(self) -> None:
        self.fail(NotFound("there is nothing at this address"))


ROUTES: list[tuple[str, type[Base]]] = [
    (r"api/chains/([^/]+)", ChainHandler),
    (r"api/artefacts/([^/]+)", ArtefactHandler),
    (r"api/blocks", BlocksHandler),
    (r"api/blocks/([^/]+)", BlockHandler),
    (r"api/courses/([^/]+)/warm", WarmHandler),
    (r"api/status", StatusHandler),
    (r"health", HealthHandler),
    (r"metrics", MetricsHandler),
]
