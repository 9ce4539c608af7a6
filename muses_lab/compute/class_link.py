"""The connection of a participant's server to the class's evaluator (`muses_lab.evaluator.api` is the other side).

The evaluator computes the blocks of a course's maps once for the whole class. What it refuses, does not answer in time,
or cannot answer because it is away, is computed by the participant's own cluster: `Elsewhere` says so, with the reason.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest

from muses_lab.compute.answers import task_to_json, unpacked
from muses_lab.compute.release import release
from muses_lab.document import graph
from muses_lab.engine import Published, Result
from muses_lab.errors import Cancelled, MusesError
from muses_lab.operators import registry
from muses_lab.settings import number

AGAIN = 60.0
"""Seconds after which a chain that was refused may be asked for again: its course may have been published meanwhile."""

LOOK = 1.0
"""Seconds between two looks whether an evaluator that was away is back, and between two at the class's queue."""

QUICK = 10.0
"""Seconds in which the evaluator must say that it is there."""

REMEMBERED = 512
"""Chains of which it is known whether they are taken."""

AT_ONCE = 64
"""Requests to the evaluator."""


class Elsewhere(MusesError):
    """The class's evaluator does not compute this block now."""

    code = "elsewhere"
    http_status = 503


class ClassLink:
    """Asks the class's evaluator; all methods may be called from any thread and return at once.

    Parameters
    ----------
    url
        Address of the hub's service, `http://…/services/course`.
    token
        Whose token is sent; by default that of the user's server (`JUPYTERHUB_API_TOKEN`).
    """

    def __init__(self, url: str, token: Callable[[], str] | None = None) -> None:
        self.url = url.rstrip("/")
        self.threads = 2
        """Of the evaluator, as it told last."""
        self._token = token or (lambda: os.environ.get("JUPYTERHUB_API_TOKEN", ""))
        self._patience = number("MUSES_COURSE_SECONDS")
        self._away = ""
        """Why the evaluator is not asked now; empty: it is."""
        self._again_at: float | None = None
        """Of one that nobody listened for: when it is simply asked again. That costs nothing if it is still so."""
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()
        """Chains that it does not take: when it said so, and why."""
        self._private: OrderedDict[str, bool] = OrderedDict()
        self._queue: dict[str, Any] = {}
        self._asks: dict[str, asyncio.Task[Result]] = {}
        self._turned_away: set[str] = set()
        """Asks that the participant's own cluster takes over."""
        self._done = -1
        """How many blocks the evaluator had given to the class when it told last."""
        self._done_at = 0.0
        """When that changed, or was first waited for."""
        self._stalled: int | None = None
        """That number, where nothing came any more; it is asked again once that has changed."""
        self._giving: dict[str, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._http: AsyncHTTPClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="muses-class", daemon=True)
        self._thread.start()

    def takes(self, published: Any) -> bool:
        """Whether a chain is to be asked for there now."""
        reason = self.why_not(published)
        if reason and self._away:
            self._loop.call_soon_threadsafe(self._watch)
        return not reason

    def why_not(self, published: Any) -> str:
        """Why a chain is not asked for there now; empty: it is. A private one never is."""
        if not isinstance(published, Published) or self._is_private(published):
            return "the chain is private: it runs code of a notebook"
        if self._is_away:
            return f"the class's evaluator is away: {self._away}"
        with self._lock:
            when, reason = self._refused.get(published.chain_hash, (0.0, ""))
            if reason and self._loop.time() - when > AGAIN:
                del self._refused[published.chain_hash]
                reason = ""
        return reason

    @property
    def _is_away(self) -> bool:
        return bool(self._away) and (self._again_at is None or self._loop.time() < self._again_at)

    def ask(self, published: Published, task: Any, token: str, ahead: bool) -> Future[Result]:
        """A block; the future ends with `Elsewhere` where the participant's own cluster is to compute it.

        `ahead`: nobody looks at it yet.
        """
        return asyncio.run_coroutine_threadsafe(self._begin(published, task, token, ahead), self._loop)

    def cancel(self, token: str) -> None:
        """Nobody waits for a block any more."""
        self._loop.call_soon_threadsafe(self._cancel, token)

    def status(self) -> dict[str, Any]:
        """`state` ("ready" or "away", then with a `reason`), and of the class's queue what was told last."""
        asked = len(self._asks)
        found = {"state": "away", "reason": self._away} if self._away else {"state": "ready", "reason": ""}
        queue = self._queue if asked else {}
        return {**found, "waiting": asked, "position": queue.get("position"), "people": queue.get("people")}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    # On the event loop of the link

    async def _begin(self, published: Published, task: Any, token: str, ahead: bool) -> Result:
        if self._is_away:  # it was handed over a moment ago
            raise Elsewhere(f"the class's evaluator is away: {self._away}")
        work = self._asks[token] = asyncio.ensure_future(self._answer(published, task, token, ahead))
        self._watch()
        try:
            return await work
        except asyncio.CancelledError:
            self._tell_left(token)
            if token in self._turned_away:
                raise Elsewhere(f"the class's evaluator is away: {self._away}") from None
            raise Cancelled("nobody waits for this block any more") from None
        finally:
            self._asks.pop(token, None)
            self._turned_away.discard(token)

    async def _answer(self, published: Published, task: Any, token: str, ahead: bool) -> Result:
        wish = {
            "chain": published.chain_hash, "hash": published.hash, "task": task_to_json(task), "token": token,
            "ahead": ahead, "release": release(),
        }  # fmt: skip
        body = json.dumps(wish).encode()
        for _ in range(3):
            status, found = await self._request("POST", "api/blocks", body, 600)
            if status == 200:
                return self._unpacked(found)
            code, message = _failure(found)
            if code != "chain-unknown":
                raise self._elsewhere(published, status, code, message)
            await self._give(published)
        raise Elsewhere("the class's evaluator does not keep the chain: its memory is too small for it")

    def _unpacked(self, body: bytes) -> Result:
        try:
            return unpacked(body)
        except ValueError as error:
            self._set_away(f"it answers what no evaluator of this release does ({error})")
            raise Elsewhere(self._away) from None

    def _elsewhere(self, published: Published, status: int, code: str, message: str) -> Elsewhere:
        """What an answer other than 200 means: for this block, for the chain, or for the evaluator as a whole."""
        if status == 499:
            return Elsewhere("the evaluator stopped while it computed this")
        if not code or status == 401:
            self._set_away(f"it answered {status}")
        elif code in ("access-denied", "store-unavailable"):
            self._set_away(message)
        elif status != 429 and code not in ("overloaded", "timeout"):
            with self._lock:
                self._refused[published.chain_hash] = self._loop.time(), message
                while len(self._refused) > REMEMBERED:
                    self._refused.popitem(last=False)
        return Elsewhere(message or f"the class's evaluator answered {status}")

    async def _give(self, published: Published) -> None:
        """Gives the evaluator a chain, once for all who ask meanwhile."""
        giving = self._giving.get(published.chain_hash)
        if giving is None:
            giving = asyncio.ensure_future(self._given(published))
            giving.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._giving[published.chain_hash] = giving
            giving.add_done_callback(lambda _: self._giving.pop(published.chain_hash, None))
        await asyncio.shield(giving)

    async def _given(self, published: Published) -> None:
        path = f"api/chains/{published.chain_hash}"
        for last in (False, True):
            status, found = await self._request("PUT", path, published.document, 60)
            if status == 201:
                return
            code, message = _failure(found)
            if code != "artefacts-lacking" or last:
                raise self._elsewhere(published, status, code, message)
            for digest in _lacking(found):
                if digest in published.artefacts:
                    await self._give_artefact(published, digest)

    async def _give_artefact(self, published: Published, digest: str) -> None:
        artefact = published.artefacts[digest]
        body = await asyncio.to_thread(lambda: artefact.body)  # a long list takes long to write
        path = f"api/artefacts/{digest}?kind={quote(artefact.kind.name)}"
        status, found = await self._request("PUT", path, body, 120)
        if status != 201:
            code, message = _failure(found)
            raise self._elsewhere(published, status, code, message)

    def _cancel(self, token: str) -> None:
        work = self._asks.get(token)
        if work is not None:
            work.cancel()

    def _tell_left(self, token: str) -> None:
        if not self._closed:
            telling = asyncio.ensure_future(self._request("DELETE", f"api/blocks/{quote(token)}", None, QUICK))
            telling.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _watch(self) -> None:
        """Looks at the evaluator as long as somebody waits for it, or would ask it."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.ensure_future(self._looking())

    async def _looking(self) -> None:
        silent = 0
        self._done_at = self._loop.time()
        while not self._closed:
            try:
                status, found = await self._request("GET", "api/status", None, QUICK)
            except Elsewhere:
                silent += 1
                if silent == 2:
                    self._set_away("it does not answer")
                    self._turn_away()
            else:
                silent = 0
                if status == 200:
                    self._told(found)
                else:
                    self._set_away(_failure(found)[1] or f"it answered {status}")
            await asyncio.sleep(LOOK)
            if not self._asks:  # whoever would ask it has it looked at again
                return

    def _told(self, body: bytes) -> None:
        try:
            found = json.loads(body)
            self.threads = max(1, min(64, int(found["threads"])))
            done = int(found["done"])
            self._queue = {name: found.get(name) for name in ("position", "people")}
        except (ValueError, KeyError, AttributeError, TypeError):
            self._set_away("it answers what no evaluator of this release does")
            return
        now = self._loop.time()
        if done != self._done:
            self._done, self._done_at, self._stalled = done, now, None
        if self._stalled is None:
            self._away = ""
        if self._asks and now - self._done_at > self._patience and self._stalled is None:
            self._stalled = done
            self._set_away(f"it has computed nothing for {self._patience:g} s (MUSES_COURSE_SECONDS)")
            self._turn_away()

    def _turn_away(self) -> None:
        """What was asked for is computed elsewhere."""
        for token, work in self._asks.items():
            self._turned_away.add(token)
            work.cancel()

    def _set_away(self, reason: str) -> None:
        self._away, self._again_at = reason[:300] or "it does not say why", None

    async def _request(self, method: str, path: str, body: bytes | None, seconds: float) -> tuple[int, bytes]:
        """Status and body of an answer; `Elsewhere` where there is none: the evaluator is away."""
        if self._http is None:
            self._http = AsyncHTTPClient(force_instance=True, max_clients=AT_ONCE, max_body_size=1 << 30)
        request = HTTPRequest(
            f"{self.url}/{path}", method, {"Authorization": f"token {self._token()}"}, body, follow_redirects=False,
            connect_timeout=QUICK, request_timeout=seconds, allow_nonstandard_methods=True, decompress_response=False,
        )  # fmt: skip
        try:
            answer = await self._http.fetch(request, raise_error=False)
        except OSError as error:  # nobody listens, or who did has died
            self._set_away(f"it does not answer ({_reason(error)})")
            self._again_at = self._loop.time() + LOOK
            raise Elsewhere(f"the class's evaluator is away: {self._away}") from None
        except HTTPError as error:  # silence, or an answer that ends in the middle: looked at again before it counts
            raise Elsewhere(f"the class's evaluator does not answer: {_reason(error)}") from None
        if self._again_at is not None:  # somebody listens again
            self._again_at, self._away = None, ""
        return answer.code, answer.body

    async def _close(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=2)
        if self._http is not None:
            self._http.close()

    def _is_private(self, published: Published) -> bool:
        """Whether a chain runs code of its author: it stays with them."""
        with self._lock:
            known = self._private.get(published.chain_hash)
        if known is None:
            known = any(registry[node.process].private for node in graph.walk_all(published.root))
            with self._lock:
                self._private[published.chain_hash] = known
                while len(self._private) > REMEMBERED:
                    self._private.popitem(last=False)
        return known


def _failure(body: bytes) -> tuple[str, str]:
    """Code and message of an answer of the evaluator's; empty where it is somebody else's, a proxy's."""
    with suppress(ValueError, KeyError, TypeError):
        found = json.loads(body)
        return str(found["code"]), str(found["message"])
    return "", ""


def _lacking(body: bytes) -> list[str]:
    with suppress(ValueError, KeyError, TypeError):
        return [str(digest) for digest in json.loads(body)["details"]["artefacts"]]
    return []


def _reason(error: BaseException | None) -> str:
    return (str(error) or type(error).__name__).split("\n")[0][:200]
