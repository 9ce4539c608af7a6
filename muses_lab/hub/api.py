"""What users' servers and kernels ask (`RemoteStore` is the other side): the store's methods, one route each.

Bodies and answers are JSON, except documents, styles and artefacts, which are themselves. What a user may not read is
answered like what does not exist.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tornado import httputil
from tornado.web import HTTPError, RequestHandler, stream_request_body

from muses_lab.document import strict_json
from muses_lab.errors import MusesError, NotFound, Overloaded, StoreUnavailable, Timeout, TooLarge
from muses_lab.hub.state import Service
from muses_lab.store.records import AuditEntry, JobRecord, Share, Who, from_json, to_json
from muses_lab.store.sql import SqlStore

logger = logging.getLogger("muses_lab.hub")

MAX_RECORD = 256 << 10
"""Bytes of a job, a share, or what is noted in the audit log at once."""

MAX_RECEIVING = 128 << 20
"""Bytes of bodies of one user that are received at the same time; one body may be larger."""

T = TypeVar("T")
CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 500: "internal"}


class Base(RequestHandler):
    """No answer of the service is kept by browsers and proxies, guessed at, or shown in somebody else's page."""

    def initialize(self, service: Service) -> None:
        self.service = service

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

    def check_xsrf_cookie(self) -> None:
        """Nothing here believes a cookie."""

    def send_json(self, body: Any, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(json.dumps(body, ensure_ascii=False, allow_nan=False))

    def fail(self, error: MusesError) -> None:
        self.clear()
        if error.http_status in (429, 503):
            self.set_header("Retry-After", "1")
        self.send_json({"code": error.code, "message": error.message, "details": error.details}, error.http_status)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Of what was not foreseen only its kind leaves the service; the log has the rest."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        message = httputil.responses.get(status_code, "error")
        if error is not None and not isinstance(error, HTTPError):
            message = f"the service failed ({type(error).__name__}); the hub's log says more"
        self.send_json({"code": CODES.get(status_code, f"http-{status_code}"), "message": message}, status_code)

    async def run(self, function: Callable[[], T]) -> T:
        """`function()` in a thread: the database may take its time."""
        pool = self.service.pool
        try:
            return await pool.run(function)
        except Timeout:
            raise StoreUnavailable(f"the store has not answered for {pool.seconds or 0:g} s") from None


class HealthHandler(Base):
    """Whether the service and its database answer; for everybody."""

    async def get(self) -> None:
        try:
            await self.run(lambda: self.service.store().database.revision())
        except MusesError:
            self.send_json({"status": "fail", "message": "the database does not answer"}, 503)
            return
        self.send_json({"status": "pass"})


class UnknownHandler(Base):
    """There is nothing else."""

    def prepare(self) -> None:
        self.fail(NotFound("there is nothing at this address"))


def answer(method: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """Every route's method: a `MusesError` becomes its status and code."""

    @functools.wraps(method)
    async def guarded(self: Api, *args: str) -> None:
        try:
            if self._refusal is not None:
                raise self._refusal
            if not all(arg.isprintable() for arg in args):  # databases take no NUL in a text
                raise NotFound("there is nothing at this address")
            async with self.service.access.turn(self.who.name):
                await method(self, *args)
        except MusesError as error:
            self.fail(error)

    return guarded


@stream_request_body
class Api(Base):
    """Base of the routes below `api/`: who asks is known before the body is read, and the body is limited."""

    limit = MAX_RECORD
    who = Who()

    async def prepare(self) -> None:
        self._chunks: list[bytes] = []
        self._refusal: MusesError | None = None
        try:
            self.who = await self.service.access.who(self.request.headers)
        except MusesError as error:
            self._refusal = error
        hinted = self.request.headers.get("Content-Length", "")
        length = int(hinted) if hinted.isascii() and hinted.isdigit() else 0
        limit = self.max_body()
        if self._refusal is None and length > limit:
            message = f"{length} bytes are above the limit of {limit}"
            self._refusal = TooLarge(message, size=length, limit=limit)
        if self._refusal is None and self.request.method in ("POST", "PUT"):
            self._receive(length or limit)
        # A body that is refused is read, and dropped, or the proxy would not pass the answer on; of strangers not much.
        largest = MAX_RECORD if not self.who.name else max(length, limit)
        self.request.connection.set_max_body_size(largest)  # type: ignore[union-attr]

    def _receive(self, size: int) -> None:
        """Bodies are collected in memory: one user has so much of it at a time."""
        receiving, name = self.service.receiving, self.who.name
        others = sum(bytes for handler, bytes in list(receiving.items()) if handler.who.name == name)
        if others and others + size > MAX_RECEIVING:
            message = f"{others} bytes of {name} are being received already; send one thing after the other"
            self._refusal = Overloaded(message, retry_after=1)
            return
        receiving[self] = size

    def on_finish(self) -> None:
        self.service.receiving.pop(self, None)

    def on_connection_close(self) -> None:
        self.on_finish()

    def max_body(self) -> int:
        return self.limit

    def data_received(self, chunk: bytes) -> None:
        if self._refusal is None:
            self._chunks.append(chunk)

    @property
    def body(self) -> bytes:
        return b"".join(self._chunks)

    def text_body(self) -> str:
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise MusesError(f"the request's body is not UTF-8: {error}") from None

    def json_body(self) -> Any:
        try:
            return strict_json.loads(self.body)
        except ValueError as error:
            raise MusesError(f"the request's body is not JSON: {error}") from None

    def limit_argument(self) -> int:
        text = self.get_query_argument("limit", "100")
        if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) <= 1000:
            raise MusesError(f"limit={text[:20]!r} is not a number from 1 to 1000")
        return int(text[:6])

    async def ask(self, function: Callable[[SqlStore], T]) -> T:
        """What the store says to this user."""
        return await self.run(lambda: function(self.service.store().of(self.who)))


class DocumentsHandler(Api):
    @answer
    async def get(self) -> None:
        limit = self.limit_argument()
        found = await self.ask(lambda store: store.documents(limit))
        self.send_json([{"hash": name, "created": when.isoformat()} for name, when in found])


class DocumentHandler(Api):
    def max_body(self) -> int:
        return self.service.max_document

    @answer
    async def get(self, name: str) -> None:
        self.send_text(await self.ask(lambda store: store.document(name)))

    @answer
    async def put(self, name: str) -> None:
        text = self.text_body()
        await self.ask(lambda store: store.put_document(name, text))
        self.send_json({})

    def send_text(self, text: str) -> None:
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(text)


class StyleHandler(DocumentHandler):
    @answer
    async def get(self, name: str) -> None:
        self.send_text(await self.ask(lambda store: store.style(name)))

    @answer
    async def put(self, name: str) -> None:
        text = self.text_body()
        await self.ask(lambda store: store.put_style(name, text))
        self.send_json({})


class ArtefactHandler(Api):
    def max_body(self) -> int:
        return self.service.max_artefact

    @answer
    async def get(self, digest: str) -> None:
        body = await self.ask(lambda store: store.artefact(digest))
        self.set_header("Content-Type", "application/octet-stream")
        self.finish(body)

    @answer
    async def put(self, digest: str) -> None:
        kind = self.get_query_argument("kind", "")
        if not kind or len(kind) > 100:
            raise MusesError(f"kind={kind[:100]!r} does not say what the artefact is")
        body = self.body
        await self.ask(lambda store: store.put_artefact(digest, kind, body))
        self.send_json({})


class HoldingHandler(Api):
    @answer
    async def get(self, digest: str) -> None:
        self.send_json({"held": await self.ask(lambda store: store.has_artefact(digest))})


class ResultHandler(Api):
    @answer
    async def get(self, node: str) -> None:
        self.send_json({"digest": await self.ask(lambda store: store.result(node))})

    @answer
    async def put(self, node: str) -> None:
        body = self.json_body()
        if not isinstance(body, dict) or not isinstance(body.get("digest"), str):
            raise MusesError("a result is {digest: …}")
        self.send_json({"digest": await self.ask(lambda store: store.put_result(node, body["digest"]))})


class JobsHandler(Api):
    @answer
    async def get(self) -> None:
        limit = self.limit_argument()
        self.send_json([to_json(job) for job in await self.ask(lambda store: store.jobs(limit))])


class JobHandler(Api):
    @answer
    async def get(self, id: str) -> None:
        self.send_json(to_json(await self.ask(lambda store: store.job(id))))

    @answer
    async def put(self, id: str) -> None:
        job = from_json(JobRecord, named(self.json_body(), id))
        await self.ask(lambda store: store.put_job(job))
        self.send_json({})


class SharesHandler(Api):
    @answer
    async def get(self) -> None:
        limit = self.limit_argument()
        self.send_json([to_json(share) for share in await self.ask(lambda store: store.shares(limit))])


class SharedWithMeHandler(Api):
    @answer
    async def get(self) -> None:
        limit = self.limit_argument()
        self.send_json([to_json(share) for share in await self.ask(lambda store: store.shared(limit))])


class ShareHandler(Api):
    @answer
    async def get(self, id: str) -> None:
        self.send_json(to_json(await self.ask(lambda store: store.share(id))))

    @answer
    async def put(self, id: str) -> None:
        share = from_json(Share, named(self.json_body(), id))
        self.send_json(to_json(await self.ask(lambda store: store.put_share(share))))

    @answer
    async def delete(self, id: str) -> None:
        await self.ask(lambda store: store.revoke(id))
        self.send_json({})


class AuditHandler(Api):
    @answer
    async def get(self) -> None:
        limit = self.limit_argument()
        self.send_json([to_json(entry) for entry in await self.ask(lambda store: store.audit(limit))])

    @answer
    async def post(self) -> None:
        """What the user's own processes report; what the store itself sees is not theirs to say."""
        body = self.json_body()
        if not isinstance(body, list) or len(body) > 1000:
            raise MusesError("what is noted is a list of at most 1000 entries")
        entries = [from_json(AuditEntry, entry) for entry in body]
        if odd := {entry.action for entry in entries} - {"computed"}:
            raise MusesError(f"{sorted(odd)} are noted by the store itself; others report what was computed")
        await self.ask(lambda store: store.note(entries))
        self.send_json({})


def named(body: Any, id: str) -> Any:
    """A record under the name of its address."""
    return {**body, "id": id} if isinstance(body, dict) else body


PART = "([^/]+)"

ROUTES: list[tuple[str, type[Api]]] = [
    ("documents", DocumentsHandler),
    (f"documents/{PART}", DocumentHandler),
    (f"styles/{PART}", StyleHandler),
    (f"artefacts/{PART}", ArtefactHandler),
    (f"holdings/{PART}", HoldingHandler),
    (f"results/{PART}", ResultHandler),
    ("jobs", JobsHandler),
    (f"jobs/{PART}", JobHandler),
    ("shares", SharesHandler),
    (f"shares/{PART}", ShareHandler),
    ("shared-with-me", SharedWithMeHandler),
    ("audit", AuditHandler),
]
