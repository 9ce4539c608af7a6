"""What all handlers share: a login on every route, and failures as JSON with a code."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
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
        except MusesError as error:
            self.fail(error.http_status, error.code, public(error.message), public(error.details))
        except Exception as error:
            full = disk_full(error)
            if full is None:
                raise
            self.fail(full.http_status, full.code, full.message)

    return guarded


class ServiceHandler(APIHandler):
    """Base of all handlers of the service."""

    auth_resource = "muses"

    @property
    def service(self) -> Service:
        return self.settings["muses_service"]

    async def prepare(self) -> None:  # type: ignore[override]
        await super().prepare()
        if not self.current_user:  # also for methods that a handler does not have, and whatever the server's settings
            raise web.HTTPError(403)

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
        self.service.check_size(len(self.request.body))
        try:
            return json.loads(self.request.body)
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
