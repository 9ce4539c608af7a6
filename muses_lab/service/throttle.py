"""How much one user may ask at once and in a second: what is above is refused at once, and costs next to nothing."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from muses_lab.service.failures import TooManyRequests
from muses_lab.settings import number

USERS_KEPT = 1024


@dataclass
class _Account:
    """What one user may still ask: tokens, which come back steadily."""

    tokens: float
    when: float
    open: int = 0


class Throttle:
    """A bucket of tokens for each user; a request takes one. For the event loop's thread only.

    The defaults let a browser show a screen of a hundred tiles ten times over in a second; then 200 in each further
    one. `MUSES_REQUESTS_PER_SECOND`, `MUSES_REQUESTS_BURST` and `MUSES_REQUESTS_AT_ONCE` change them.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.rate = max(number("MUSES_REQUESTS_PER_SECOND"), 0.01)
        self.burst = max(number("MUSES_REQUESTS_BURST"), 1)
        self.at_once = max(int(number("MUSES_REQUESTS_AT_ONCE")), 1)
        self.refused = 0
        """Requests since the start that were one too many."""
        self._now = now
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def enter(self, user: str) -> None:
        """Counts a request in; `TooManyRequests` tells when to come back. Who was let in must `leave`."""
        account = self._account(user)
        if account.tokens < 1:
            self._refuse(math.ceil((1 - account.tokens) / self.rate), f"more than {self.rate:g} requests a second")
        if account.open >= self.at_once:
            self._refuse(1, f"more than {self.at_once} requests at once")
        account.tokens -= 1
        account.open += 1

    def leave(self, user: str) -> None:
        if user in self._accounts:
            self._accounts[user].open -= 1

    def _account(self, user: str) -> _Account:
        now = self._now()
        account = self._accounts.setdefault(user, _Account(self.burst, now))
        account.tokens = min(self.burst, account.tokens + (now - account.when) * self.rate)
        account.when = now
        self._accounts.move_to_end(user)
        while len(self._accounts) > USERS_KEPT:
            self._accounts.popitem(last=False)
        return account

    def _refuse(self, seconds: int, what: str) -> None:
        self.refused += 1
        raise TooManyRequests(f"{what}: try again in {seconds} s", retry_after=seconds)
