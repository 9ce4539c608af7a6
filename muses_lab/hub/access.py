"""Who asks: users of the hub, by the token of their server. No cookie, no token in the address."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jupyterhub.services.auth import HubOAuth
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError

from muses_lab.errors import AccessDenied, MusesError, StoreUnavailable
from muses_lab.store.records import Who

AT_ONCE = 4
"""Requests of one user that use the database at the same time; the others must not wait for all of theirs."""

WAITING = 200
"""Requests of one user that may wait; beyond that they are told to come again."""


class Busy(MusesError):
    """One user asks for too much at a time."""

    code = "busy"
    http_status = 429


class Access:
    """Identifies who asks, and sees to it that nobody takes all there is."""

    def __init__(self, auth: HubOAuth) -> None:
        self._auth = auth
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._asking: defaultdict[str, int] = defaultdict(int)

    async def who(self, headers: HTTPHeaders) -> Who:
        """The user whose token this is; `AccessDenied` for everybody else."""
        match = self._auth.auth_header_pat.fullmatch(headers.get("Authorization", "").strip())
        if match is None:
            raise AccessDenied("this needs the token of a user's server (Authorization: token …)")
        try:
            model = await self._auth.user_for_token(match.group(1), sync=False)
        except HTTPError as error:
            raise StoreUnavailable(f"the hub could not say who asks: {error.log_message}") from None
        return self.of(model)

    def of(self, model: dict | None) -> Who:
        """The user of the hub's answer, if they may use this service."""
        if model is None:
            raise AccessDenied("the hub does not know this token, or no longer")
        if model.get("kind", "user") != "user":
            raise AccessDenied("the store is for users; this is the token of a service")
        if not self._auth.check_scopes(self._auth.access_scopes, model):
            raise AccessDenied(
                f"{model['name']} may not use the service muses: a role lacks access:services!service=muses"
            )
        return Who(model["name"], frozenset(model.get("groups") or ()))

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Waits until it is the user's turn."""
        if self._asking[name] >= WAITING:
            raise Busy(f"{self._asking[name]} requests of {name} are waiting already; ask again later")
        self._asking[name] += 1
        try:
            async with self._turns[name]:
                yield
        finally:
            self._asking[name] -= 1
            if not self._asking[name]:
                del self._asking[name]
                self._turns.pop(name, None)
