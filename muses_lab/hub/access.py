"""Who asks: users of the hub, by the token of their server. No cookie, no token in the address."""

from __future__ import annotations

import asyncio
import time
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


class Rate:
    """How much of something each user may send: so much at once, and then so much in a second; else `Busy`."""

    def __init__(self, most: float, per_second: float, what: str) -> None:
        self._most, self._per_second, self._what = most, per_second, what
        self._spent: dict[str, tuple[float, float]] = {}
        """By user what was sent lately, and when that was looked at."""

    def take(self, name: str, count: int) -> None:
        now = time.monotonic()
        for user, (spent, then) in list(self._spent.items()):  # who has nothing on their account is forgotten
            left = spent - (now - then) * self._per_second
            if left > 0:
                self._spent[user] = (left, now)
            else:
                del self._spent[user]
        spent = self._spent.get(name, (0.0, now))[0]
        if spent + count > self._most:
            raise Busy(
                f"{name} sends too many {self._what}: {self._most:g} at once and {self._per_second:g} in a second are "
                "taken; they are taken later"
            )
        self._spent[name] = (spent + count, now)


class Access:
    """Identifies who asks, and sees to it that nobody takes all there is."""

    def __init__(self, auth: HubOAuth, trainers: str = "", admins: str = "", service: str = "muses") -> None:
        """`trainers` (names and `@group`, separated by commas) and `admins` (names), as the hub's settings have them;
        `service` is what the hub calls this one."""
        self._auth = auth
        self._service = service
        named = {name.strip() for name in trainers.split(",") if name.strip()}
        self._trainers = {name for name in named if name[0] != "@"}
        self._trainers_groups = {name[1:] for name in named if name[0] == "@"}
        self._admins = {name.strip() for name in admins.split(",") if name.strip()}
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
            raise AccessDenied(f"the service {self._service} is for users; this is the token of a service")
        if not self._auth.check_scopes(self._auth.access_scopes, model):
            raise AccessDenied(
                f"{model['name']} may not use the service {self._service}: a role lacks "
                f"access:services!service={self._service}"
            )
        name, groups = model["name"], frozenset(model.get("groups") or ())
        admin = name in self._admins
        return Who(name, groups, admin or name in self._trainers or bool(groups & self._trainers_groups), admin)

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
