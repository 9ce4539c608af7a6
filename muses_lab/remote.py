"""Files on web servers: ranges of bytes, many at once.

One event loop in a thread of its own serves all readers of a process. Connections are kept. Every address is checked
before anything is sent to it (`settings.check_url`), that of a redirect as well, and once more where a connection is
made, so that a name service cannot answer otherwise the second time.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from muses_lab import __version__, settings
from muses_lab.errors import AccessDenied, Cancelled, ReadError

CONNECTIONS = 96
"""How many requests are under way at once (`MUSES_HTTP_CONNECTIONS`): three bands of 32 scenes."""
TRIES = 4
BACK_OFF = 0.25
"""Seconds before the second try; twice as many before each further one."""
WHOLE = 4 << 20
"""Bytes of a file that may be fetched whole from a server that knows no ranges."""

_CONNECT, _SILENCE, _ALTOGETHER = 10.0, 30.0, 300.0
"""Seconds that a connection, the next bytes, and an answer may take."""
_MAX_WAIT = 10.0
"""Seconds that a server may ask us to wait (Retry-After)."""
_REDIRECTS = 5
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_STALE = frozenset({400, 401, 403, 404, 410})
"""What an address that we were sent to earlier answers when it has expired."""
_REMEMBERED = 1 << 16
_NAMES = 60.0
"""Seconds for which the addresses of a host are remembered."""

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A range of a file, and what the server says of the whole."""

    body: bytes
    """Shorter than asked for where the file ends."""
    size: int | None
    """Bytes of the file."""
    tag: str | None
    """ETag."""
    modified: str | None

    def same_file(self, other: Part) -> bool:
        """Whether both are of the same state of a file.

        Servers of one farm may give different tags, or none: what is said by neither counts as equal.
        """
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        said = [(a, b) for a, b in ((self.tag, other.tag), (self.modified, other.modified)) if a and b]
        return not said or any(a == b for a, b in said)


class _Again(Exception):
    """A failure that may pass: what to say of it if it does not, and how long the server asks to wait."""

    def __init__(self, said: str, wait: float = 0.0) -> None:
        super().__init__(said)
        self.wait = wait


class Client:
    """Ranges of files on servers; thread-safe, one in a process (`client()`)."""

    def __init__(self, connections: int | None = None) -> None:
        self.requests = 0
        """Requests sent, redirects and repetitions included."""
        self.bytes = 0
        """Bytes of files received."""
        self._connections = connections or int(settings.number("MUSES_HTTP_CONNECTIONS", CONNECTIONS))
        self._where: OrderedDict[str, str] = OrderedDict()
        """URL that was checked → where it leads."""
        self._session: aiohttp.ClientSession | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="muses-http", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begins `work` on the loop; cancelling the future stops it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def fetch(self, url: str, offset: int, size: int) -> Part:
        """A range of a file (runs on the client's loop, see `start`).

        Raises
        ------
        ReadError
            It cannot be had; names host and status, never the query of a URL.
        """
        number = 0
        while True:
            try:
                part = await self._follow(url, offset, size)
            except _Again as failure:
                number += 1
                if number == TRIES:
                    raise ReadError(f"{failure}, {TRIES} times") from None
                await asyncio.sleep(max(BACK_OFF * 2 ** (number - 1) * random.uniform(1, 1.5), failure.wait))
                continue
            self.bytes += len(part.body)
            return part

    async def _follow(self, url: str, offset: int, size: int) -> Part:
        """The answer to one request, from where redirects lead."""
        here = self._where.get(url)
        if here is None:
            here = await self._checked(url)
        elif here != url:  # an address for some minutes, perhaps: it is asked for anew where it has expired
            found = await self._request(here, offset, size, {*_MOVED, *_STALE})
            if isinstance(found, Part):
                return found
            here = url
        for _ in range(_REDIRECTS + 1):
            found = await self._request(here, offset, size, _MOVED)
            if isinstance(found, Part):
                self._where[url] = here
                self._where.move_to_end(url)
                while len(self._where) > _REMEMBERED:
                    self._where.popitem(last=False)
                return found
            here = await self._checked(urljoin(here, found), of=here)
        raise ReadError(f"{_host(url)} redirects more than {_REDIRECTS} times")

    async def _checked(self, url: str, of: str | None = None) -> str:
        try:
            return await self._loop.run_in_executor(None, settings.check_url, url, addresses)
        except AccessDenied as denied:
            reason = denied.message.partition(" cannot be read: ")[2]
            from_where = "" if of is None else f"{_host(of)} redirects to {_host(url)!r}, which "
            raise ReadError(f"{from_where}cannot be read: {reason}") from None

    async def _request(self, url: str, offset: int, size: int, other: Iterable[int]) -> Part | str:
        """One request: the part, or for the statuses `other` the address that is named instead ("" without one)."""
        host = _host(url)
        if self._session is None:
            self._session = self._opened()
        asked = {"Range": f"bytes={offset}-{offset + size - 1}"}
        self.requests += 1
        try:
            target = URL(url, encoded=url.isascii())  # sent as it is: a signature covers every character
            if (target.host or "").lower() != host:
                raise ReadError(f"{host} is named in a way that programs read differently")
            async with self._session.get(target, headers=asked, allow_redirects=False) as answer:
                status = answer.status
                if status in other:
                    return answer.headers.get("Location", "")
                if status in _AGAIN:
                    raise _Again(f"{host} answered {status} {answer.reason or ''}".rstrip(), _wait(answer))
                if status in (200, 206, 416):
                    return await _part(answer, host, offset, size)
                raise ReadError(f"{host} answered {status} {answer.reason or ''}".rstrip())
        except AccessDenied as denied:  # by the resolver
            raise ReadError(denied.message) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise ReadError(f"{host} cannot prove who it is: {error.certificate_error}") from None
        except (aiohttp.ClientPayloadError, asyncio.IncompleteReadError):
            raise _Again(f"{host} broke off its answer") from None
        except TimeoutError:
            raise _Again(f"{host} did not answer in time") from None
        except (aiohttp.InvalidURL, ValueError):
            raise ReadError(f"{host} names an address that is none") from None
        except (aiohttp.ClientError, OSError) as error:
            cause = getattr(error, "os_error", None) or error
            said = getattr(cause, "strerror", None) or type(error).__name__
            raise _Again(f"{host} cannot be reached ({said})") from None

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=60, ttl_dns_cache=int(_NAMES), ssl=_trust(),
                resolver=_CheckedResolver(),
            ),
            timeout=aiohttp.ClientTimeout(total=_ALTOGETHER, sock_connect=_CONNECT, sock_read=_SILENCE),
            headers={"User-Agent": f"muses-lab/{__version__}", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=True, read_bufsize=1 << 20,
        )  # fmt: skip

    def close(self) -> None:
        """Ends connections and the thread."""

        async def end() -> None:
            if self._session is not None:
                await self._session.close()

        with suppress(Exception):
            self.start(end()).result(2)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)


async def _part(answer: aiohttp.ClientResponse, host: str, offset: int, size: int) -> Part:
    """The range out of an answer with status 200, 206 or 416."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise ReadError(f"{host} sends files compressed, of which no part can be read")
    tag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    first, last, whole = _content_range(answer.headers.get("Content-Range", ""))
    if answer.status == 416:  # the file ends before
        return Part(b"", whole, tag, modified)
    if answer.status == 206:
        if first != offset or last is None or last - first >= size:
            raise ReadError(f"{host} answered another range than bytes {offset} to {offset + size - 1}")
        body = await _body(answer, host, last - first + 1)
        if len(body) != last - first + 1 or (len(body) < size and whole is not None and offset + len(body) != whole):
            raise _Again(f"{host} broke off its answer")
        return Part(body, whole, tag, modified)
    if answer.content_length is None or answer.content_length > WHOLE:
        raise ReadError(
            f"{host} knows no byte ranges: it sends the whole file "
            f"({answer.content_length or 'an unknown number of'} bytes) for every block"
        )
    body = await _body(answer, host, answer.content_length)
    return Part(body[offset : offset + size], len(body), tag, modified)


async def _body(answer: aiohttp.ClientResponse, host: str, size: int) -> bytes:
    if answer.content_length is None:  # a proxy between may have left the length out
        body = b""
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > size:
                break
    elif answer.content_length == size:
        body = await answer.read()
    else:
        raise ReadError(f"{host} announces {answer.content_length} bytes for a range of {size}")
    return body


def _content_range(text: str) -> tuple[int | None, int | None, int | None]:
    """First, last and total of "bytes 0-9/20"; None where they are not said."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    first, _, last = span.partition("-")
    return tuple(int(n) if n.strip().isdecimal() else None for n in (first, last, total))  # type: ignore[return-value]


def _wait(answer: aiohttp.ClientResponse) -> float:
    said = answer.headers.get("Retry-After", "")
    return min(float(said), _MAX_WAIT) if said.isdecimal() else 0.0


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "no host"
    except ValueError:
        return "no host"


@lru_cache(maxsize=1024)
def _addresses(host: str, port: int, when: int) -> frozenset[str]:
    return frozenset(settings.addresses(host, port))


def addresses(host: str, port: int) -> frozenset[str]:
    """The addresses of a host, remembered for a minute: they are checked with every block that is read."""
    return _addresses(host, port, int(time.monotonic() / _NAMES))


class _CheckedResolver(AbstractResolver):
    """The name service, without private addresses."""

    def __init__(self) -> None:
        self._plain = ThreadedResolver()
        self._proxies = {urlsplit(proxy).hostname for proxy in getproxies().values()}  # the user's own choice

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await self._plain.resolve(host, port, family)
        if host not in self._proxies and not settings.is_allowed(host.lower(), port):
            for one in found:
                if not settings.is_public(one["host"]):
                    raise AccessDenied(f"{host} has the private address {one['host']}")
        return found

    async def close(self) -> None:
        await self._plain.close()


def _trust() -> ssl.SSLContext:
    """The machine's certificates and certifi's; the named ones alone where a variable names them."""
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        if os.environ.get(name):
            return ssl.create_default_context(cafile=os.environ[name])
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def wait(future: Future[T], cancelled: Callable[[], bool] | None = None) -> T:
    """The result of a future of `Client.start`; `Cancelled` as soon as nobody waits for it any more."""
    while True:
        try:
            return future.result(None if cancelled is None else 0.05)
        except TimeoutError:
            if future.done():
                raise ReadError("the server did not answer in time") from None
            if cancelled is not None and cancelled():
                raise Cancelled("nobody waits for this block any more") from None
        except CancelledError:
            raise Cancelled("the request was dropped") from None


_client: Client | None = None
_lock = threading.Lock()


def client() -> Client:
    """The process's one client."""
    global _client
    with _lock:
        if _client is None:
            _client = Client()
        return _client


def counters() -> dict[str, int]:
    """Requests and bytes since the process began."""
    known = _client
    return {"requests": known.requests if known else 0, "bytes_received": known.bytes if known else 0}


def _end() -> None:
    if _client is not None:
        _client.close()


def _forget_in_child() -> None:
    """After a fork the parent's loop and connections are not ours."""
    global _client, _lock
    _client, _lock = None, threading.Lock()


atexit.register(_end)
os.register_at_fork(after_in_child=_forget_in_child)
