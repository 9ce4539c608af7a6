"""What all handlers share: a login on every route, limits, security headers, and failures as JSON with a code."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from jupyter_server.auth.identity import PasswordIdentityProvider
from jupyter_server.base.handlers import APIHandler
from tornado import httputil, web

from muses_lab.errors import MusesError, NotFound
from muses_lab.service.failures import CODES, BadRequest, disk_full, public
from muses_lab.service.state import Service


def answer(method: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """Every route's method: for logged-in, authorized users; a `MusesError` becomes its status and code."""

    @web.authenticated
    @authorized
    @functools.wraps(method)
    async def guarded(self: ServiceHandler, *args: str) -> None:
        try:
            await method(self, *args)
        except Exception as error:
            told = disk_full(error) or error
            if not isinstance(told, MusesError):
                raise
            self.fail(told.http_status, told.code, public(told.message), public(told.details))

    return guarded


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
class ServiceHandler(APIHandler):
    """Base of all handlers of the service."""

    auth_resource = "muses"
    _entered: str | None = None
    _refused = False

    @property
    def service(self) -> Service:
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
            self._admit()
        except (web.HTTPError, MusesError) as error:
            self._refuse(error)

    def _admit(self) -> None:
        """Lets the request in: only now is anything looked at, and read."""
        if not self.current_user:  # also for methods that a handler does not have, and whatever the server's settings
            raise web.HTTPError(403)
        if self._is_from_elsewhere():
            raise web.HTTPError(403, "the request comes from a page of another site")
        user = self._user_name()
        self.service.throttle.enter(user)
        self._entered = user
        self.service.check_size(self._length)

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

    def _is_from_elsewhere(self) -> bool:
        """Whether a page of another site asks with the user's cookie, be it for a picture; browsers say so.

        Siblings count as other sites: on a hub with a domain for each user they are other users.
        """
        if self.token_authenticated or self.allow_origin or self.allow_origin_pat:
            return False
        return self.request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")

    def data_received(self, chunk: bytes) -> None:
        self._length = max(self._length, len(self._body) + len(chunk))
        if not self._refused and self._length <= self.service.max_document:
            self._body += chunk

    def on_finish(self) -> None:
        if self._entered is not None:
            self.service.throttle.leave(self._entered)
            self._entered = None
        super().on_finish()

    @web.authenticated
    def options(self, *args: str) -> None:  # type: ignore[override]  # pages of other origins are not served
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
            return json.loads(bytes(self._body))
        except (ValueError, RecursionError) as error:
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
        self.finish(json.dumps({"code": code, "message": message, "details": details}, ensure_ascii=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answers to what was not foreseen: only its kind leaves the server; the log has the rest."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        message = httputil.responses.get(status_code, "error")
        if isinstance(error, web.HTTPError) and error.log_message:
            message = public(error.get_message() if hasattr(error, "get_message") else error.log_message)
        elif error is not None and not isinstance(error, web.HTTPError):
            message = f"the service failed ({type(error).__name__}); the Jupyter server's log says more"
        self.fail(status_code, CODES.get(status_code, f"http-{status_code}"), message)


class UnknownRouteHandler(ServiceHandler):
    """Anything else under muses/: 404 as JSON, for logged-in users only."""

    @answer
    async def get(self) -> None:
        raise NotFound(f"there is no {self.request.path.split('/muses/', 1)[-1]!r} under muses/")

    head = post = put = patch = delete = get


def _has(handler: ServiceHandler, method: str) -> bool:
    own = getattr(type(handler), method.lower())
    return own is not getattr(web.RequestHandler, method.lower())
