"""What all handlers share: a login on every route, limits, security headers, and failures with a code."""

from __future__ import annotations

import asyncio
import functools
import html
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from jupyter_server.auth.identity import PasswordIdentityProvider
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import httputil, web

from muses_lab.document import strict_json
from muses_lab.errors import Cancelled, MusesError, NotFound
from muses_lab.service.failures import CODES, BadRequest, disk_full, public
from muses_lab.service.tile import check_zoom
from muses_lab.service.tile_service import TileService

T = TypeVar("T")


def answer(method: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """Every route's method: for logged-in, authorized users; a `MusesError` becomes its status and code."""

    @web.authenticated
    @authorized
    @functools.wraps(method)
    async def guarded(self: Guarded, *args: str) -> None:
        try:
            await method(self, *args)
        except Exception as error:
            told = disk_full(error) or error
            if not isinstance(told, MusesError):
                raise
            self.fail(told.http_status, told.code, public(told.message), public(told.details))

    return guarded


IMMUTABLE = "private, max-age=31536000, immutable"
"""Of what is named by a hash."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; form-action 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer: pictures and JSON for pages of the same origin, never a page of their own. Handlers of what may be
kept say so instead."""


@web.stream_request_body  # else up to half a gigabyte would be in memory before anybody looks at it
class Guarded(JupyterHandler):
    """Base of all handlers of the service: who asks, from where, how often, with how large a body."""

    auth_resource = "muses"
    _entered: str | None = None
    _work: asyncio.Future[Any] | None = None
    _refused = False

    @property
    def service(self) -> TileService:
        return self.settings["muses_service"]

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    async def prepare(self) -> None:  # type: ignore[override]
        said = self.request.headers.get("Content-Length", "")
        self._body, self._length = bytearray(), int(said) if said.isascii() and said.isdecimal() else 0
        try:
            await super().prepare()
            if not self._finished:
                self._admit()
        except (web.HTTPError, MusesError) as error:
            self._refuse(error)

    def _admit(self) -> None:
        """Lets the request in: only now is anything looked at, and read."""
        if not self.current_user:  # also for methods that a handler does not have, and whatever the server's settings
            raise web.HTTPError(403)
        self.check_asker()
        user = self._user_name()
        self.service.throttle.enter(user)
        self._entered = user
        self.check_size(self._length)

    @property
    def body_limit(self) -> int:
        """Bytes of the largest body that is taken."""
        return self.service.max_document

    def check_size(self, size: int) -> None:
        self.service.check_size(size)

    def _refuse(self, error: web.HTTPError | MusesError) -> None:
        """Answers so, after the body has passed by: a connection that is closed before tells the asker nothing."""

        async def refused(*args: str) -> None:
            if not isinstance(error, MusesError):
                raise error
            self.fail(error.http_status, error.code, error.message, error.details)

        self._refused = True
        setattr(self, (self.request.method or "get").lower(), refused)

    def _user_name(self) -> str:
        """The hub's name of the user; without a hub all are one: Jupyter gives every login a name of its own."""
        own = isinstance(self.identity_provider, PasswordIdentityProvider)
        return "" if own or self.current_user is None else self.current_user.username

    def check_asker(self) -> None:
        """Refuses what was not asked for as this route may be."""
        raise NotImplementedError

    def data_received(self, chunk: bytes) -> None:
        self._length = max(self._length, len(self._body) + len(chunk))
        if not self._refused and self._length <= self.body_limit:
            self._body += chunk

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives; it is cancelled where the asker leaves: the map no longer shows what it asked for."""
        self._work = asyncio.ensure_future(work)
        try:
            return await self._work
        except asyncio.CancelledError:
            raise Cancelled("the asker left before the result was there") from None

    def on_connection_close(self) -> None:
        if self._work is not None:
            self._work.cancel()

    def on_finish(self) -> None:
        if self._entered is not None:
            self.service.throttle.leave(self._entered)
            self._entered = None
        super().on_finish()

    # Answers

    @web.authenticated
    def options(self, *args: Any, **kwargs: Any) -> None:  # pages of other origins are not served
        self.set_header("Allow", ", ".join(m for m in ("GET", "HEAD", "POST") if _has(self, m)))
        self.set_status(204)
        self.finish()

    def send_json(self, body: Any, status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(body, ensure_ascii=False, allow_nan=False))

    def json_body(self) -> Any:
        """The request's body; 413 above the limit, 400 when it is not JSON."""
        self.service.check_size(self._length)
        try:
            return strict_json.loads(bytes(self._body))
        except ValueError as error:
            raise BadRequest(f"the request's body is not JSON: {error}") from None

    def number(self, name: str) -> float:
        """The query argument `name` as a finite number."""
        text = self.get_query_argument(name, None)
        if text is None:
            raise BadRequest(f"the query argument {name!r} is missing", argument=name)
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) < float("inf"):
            raise BadRequest(f"{name}={text[:40]!r} is not a number", argument=name)
        return value

    def zoom(self) -> int:
        """The query argument `z` as the nearest zoom that there is."""
        value = self.number("z")
        check_zoom(value)
        return round(value)

    # Failures

    def fail(self, status: int, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        """Answers with a failure; never cached."""
        self.clear()
        self.set_status(status, reason=httputil.responses.get(status, "Failed"))
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Muses-Error", code)
        self.set_header("X-Muses-Message", quote(message[:300]))  # for tiles, whose body is a picture
        if details and "retry_after" in details:
            self.set_header("Retry-After", str(details["retry_after"]))
        self.write_failure(code, message, details or {})

    def write_failure(self, code: str, message: str, details: dict[str, Any]) -> None:
        raise NotImplementedError

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answers to what was not foreseen: only its kind leaves the server; the log has the rest."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        message = httputil.responses.get(status_code, "error")
        if isinstance(error, web.HTTPError) and error.log_message:
            message = public(error.get_message() if hasattr(error, "get_message") else error.log_message)
        elif error is not None and not isinstance(error, web.HTTPError):
            message = f"the service failed ({type(error).__name__}); the Jupyter server's log says more"
        self.fail(status_code, CODES.get(status_code, f"http-{status_code}"), message)


class ServiceHandler(Guarded, APIHandler):  # type: ignore[misc]  # options is ours
    """Base of what pages and kernels ask: JSON and pictures."""

    def check_asker(self) -> None:
        """Refuses pages of other sites that ask with the user's cookie, be it for a picture; browsers say so.

        Siblings count as other sites: on a hub with a domain for each user they are other users.
        """
        if self.token_authenticated or self.allow_origin or self.allow_origin_pat:
            return
        if self.request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise web.HTTPError(403, "the request comes from a page of another site")

    def write_failure(self, code: str, message: str, details: dict[str, Any]) -> None:
        self.finish(json.dumps({"code": code, "message": message, "details": details}, ensure_ascii=False))


class NotFollowed(MusesError):
    """A link that changes something was asked for as no user opens a link."""

    code = "not-followed"
    http_status = 403


class PageHandler(Guarded):
    """Base of what users open themselves, and what may change something on the way: who is not logged in is asked to.

    Nothing but a user who follows a link or types an address may ask (see `check_asker`); failures are pages.
    """

    def set_default_headers(self) -> None:
        super().set_default_headers()
        # No sandbox: the link of a failure's page would be one of no origin.
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'",
        )
        self.set_header("Content-Type", "text/html; charset=UTF-8")

    def _admit(self) -> None:
        if not self.current_user and self.request.method == "GET":
            return  # led to the login
        super()._admit()

    def check_asker(self) -> None:
        """Refuses all but a page that a user opens: no picture, frame or `fetch`, no page that leads here by itself.

        Browsers tell (`Sec-Fetch-…`) servers that they reach by https or on this machine. By http to another machine,
        and those from before 2023, they do not: then the address of a page of this server must be the referrer, as
        Jupyter itself asks it of a GET. Scripts with the server's token may ask as they like.
        """
        if self.token_authenticated:
            return
        told = self.request.headers
        if "Sec-Fetch-Mode" in told:
            opened = (told["Sec-Fetch-Mode"], told.get("Sec-Fetch-Dest")) == ("navigate", "document")
            by_user = told.get("Sec-Fetch-Site") in ("same-origin", "none") or told.get("Sec-Fetch-User") == "?1"
            followed = opened and by_user
        else:
            followed = self.check_referer()
        if not followed:
            raise NotFollowed(
                "this address writes into your folder: it opens for a user who follows a link to it, nobody else"
            )

    def write_failure(self, code: str, message: str, details: dict[str, Any]) -> None:
        again = '<p><a href="" referrerpolicy="same-origin">Open it</a></p>' if code == NotFollowed.code else ""
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.finish(
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>MUSES Lab</title>'
            '<meta name="viewport" content="width=device-width">'
            "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}</style>"
            f"<main><h1>This does not open</h1><p>{html.escape(message)}</p>{again}</main></html>"
        )


class UnknownRouteHandler(ServiceHandler):
    """Anything else under muses/: 404 as JSON, for logged-in users only."""

    @answer
    async def get(self) -> None:
        raise NotFound(f"there is no {self.request.path.split('/muses/', 1)[-1]!r} under muses/")

    head = post = put = patch = delete = get


def _has(handler: Guarded, method: str) -> bool:
    own = getattr(type(handler), method.lower())
    return own is not getattr(web.RequestHandler, method.lower())
