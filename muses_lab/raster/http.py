"""Files on web servers: ranges of bytes, many at once.

Threads of one pool serve all readers of a process (measured with bodies of 300 KB: half the processor time of an event
loop with aiohttp). Connections are kept. Every address is checked before anything is sent to it (`access.check_url`),
that of a redirect as well, and once more where a connection is made, so that a name service cannot answer otherwise the
second time.
"""

from __future__ import annotations

import os
import queue
import random
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    HTTPError,
    IncompleteRead,
    LocationValueError,
    NewConnectionError,
    ProtocolError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from muses_lab import __version__, settings
from muses_lab.errors import AccessDenied, Cancelled, ReadError
from muses_lab.raster import access

TRIES = 4
BACK_OFF = 0.25
"""Seconds before the second try; twice as many before each further one."""
WHOLE = 4 << 20
"""Bytes of a file that may be fetched whole from a server that knows no ranges."""

_CONNECT, _SILENCE = 10.0, 30.0
"""Seconds that a connection and the next bytes may take."""
_MAX_WAIT = 10.0
"""Seconds that a server may ask us to wait (Retry-After)."""
_REDIRECTS = 5
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_STALE = frozenset({400, 401, 403, 404, 410})
"""What an address that we were sent to earlier answers when it has expired."""
_REMEMBERED = 1 << 16
_PIECE = 8 << 20
"""Bytes of a whole file that are asked for at once."""
_NAMES = 60.0
"""Seconds for which the addresses of a host are remembered."""
_NO_NAMES = 10.0
"""Seconds for which it is remembered that a host has none."""
_no_addresses: dict[tuple[str, int], tuple[float, OSError]] = {}

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


class _CheckedConnection(HTTPConnection):
    """A connection that is given up where it leads to a private address."""

    def _new_conn(self) -> Any:
        sock = super()._new_conn()
        if self.proxy is None and not access.is_allowed(self.host.lower(), self.port):
            address = sock.getpeername()[0]
            if not access.is_public(address):
                sock.close()
                raise AccessDenied(f"{self.host} has the private address {address}")
        return sock


class _CheckedTlsConnection(_CheckedConnection, HTTPSConnection):
    """The same with TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _CheckedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedTlsConnection


class Client:
    """Ranges of files on servers; thread-safe, one in a process (`client()`)."""

    def __init__(self, connections: int | None = None) -> None:
        self.requests = 0
        """Requests sent, redirects and repetitions included."""
        self.bytes = 0
        """Bytes of files received."""
        self.connections = connections or int(settings.number("MUSES_HTTP_CONNECTIONS"))
        """Requests that are under way at once."""
        self._where: OrderedDict[str, str] = OrderedDict()
        """URL that was checked → where it leads."""
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0
        self._lock = threading.Lock()

    def start(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Begins `work` in a thread of the pool, as soon as one is free.

        The threads are daemons: a server that does not answer must not keep the interpreter from ending.
        """
        future: Future[T] = Future()
        self._work.put((future, work, arguments))
        if not self._idle.acquire(blocking=False):
            with self._lock:
                if self._threads < self.connections:
                    self._threads += 1
                    threading.Thread(target=self._serve, name=f"muses-http-{self._threads}", daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            future, work, arguments = self._work.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work(*arguments))  # kept nowhere else: this thread may wait for long
                except BaseException as error:
                    future.set_exception(error)
            del future, work, arguments
            self._idle.release()

    def fetch(self, url: str, offset: int, size: int) -> Part:
        """A range of a file, in this thread.

        Raises
        ------
        ReadError
            It cannot be had; names host and status, never the query of a URL.
        """
        number = 0
        while True:
            try:
                part = self._follow(url, offset, size)
            except _Again as failure:
                number += 1
                if number == TRIES:
                    raise ReadError(f"{failure}, {TRIES} times") from None
                time.sleep(max(BACK_OFF * 2 ** (number - 1) * random.uniform(1, 1.5), failure.wait))
                continue
            with self._lock:
                self.bytes += len(part.body)
            return part

    def whole(self, url: str, most: int) -> bytes:
        """All of a file, in this thread; what has more than `most` bytes is refused.

        Raises
        ------
        ReadError
            As `fetch`; or the file is too large, or was replaced meanwhile.
        """
        first = self.fetch(url, 0, min(most, _PIECE))
        if first.size is None:
            raise ReadError(f"{_host(url)} does not say how long the file is")
        if first.size > most:
            raise ReadError(f"the file on {_host(url)} has {first.size / 1e6:.0f} MB; the limit is {most / 1e6:.0f} MB")
        bodies, offset = [first.body], len(first.body)
        while offset < first.size:
            part = self.fetch(url, offset, min(_PIECE, first.size - offset))
            if not part.same_file(first):
                raise ReadError(f"the file on {_host(url)} was replaced while it was read")
            bodies.append(part.body)
            offset += len(part.body)
        return b"".join(bodies)

    def _follow(self, url: str, offset: int, size: int) -> Part:
        """The answer to one request, from where redirects lead."""
        here = self._where.get(url)
        if here is None:
            here = _checked(url)
        elif here != url:  # an address for some minutes, perhaps: it is asked for anew where it has expired
            found = self._request(here, offset, size, {*_MOVED, *_STALE})
            if isinstance(found, Part):
                return found
            here = url
        for _ in range(_REDIRECTS + 1):
            found = self._request(here, offset, size, _MOVED)
            if isinstance(found, Part):
                with self._lock:
                    self._where[url] = here
                    if len(self._where) > _REMEMBERED:
                        self._where.popitem(last=False)
                return found
            here = _checked(urljoin(here, found), of=here)
        raise ReadError(f"{_host(url)} redirects more than {_REDIRECTS} times")

    def _request(self, url: str, offset: int, size: int, other: Collection[int]) -> Part | str:
        """One request: the part, or for the statuses `other` the address that is named instead ("" without one)."""
        host = _host(url)
        with self._lock:
            self.requests += 1
        try:
            if not _is_clear(url):
                raise ReadError(f"{host} is named in a way that programs read differently")
            answer = self._manager(url, host).request(
                "GET", url, headers={"Range": f"bytes={offset}-{offset + size - 1}"}, redirect=False, retries=False,
                preload_content=False, decode_content=False,
            )  # fmt: skip
            try:
                status, said = answer.status, f"{host} answered {answer.status} {answer.reason or ''}".rstrip()
                if status in other:
                    return answer.headers.get("Location", "")
                if status in _AGAIN:
                    raise _Again(said, _wait(answer))
                if status not in (200, 206, 416):
                    raise ReadError(said)
                return _part(answer, host, offset, size)
            finally:
                _done(answer)
        except AccessDenied as denied:  # by the connection
            raise ReadError(denied.message) from None
        except SSLError as error:
            raise ReadError(f"{host} cannot prove who it is: {error.args[0] if error.args else error}") from None
        except LocationValueError:
            raise ReadError(f"{host} names an address that is none") from None
        except NewConnectionError as error:  # before that of time: it is one
            cause = error.__cause__
            raise _Again(f"{host} cannot be reached ({getattr(cause, 'strerror', None) or 'no connection'})") from None
        except Urllib3Timeout:
            raise _Again(f"{host} did not answer in time") from None
        except (IncompleteRead, ProtocolError):
            raise _Again(f"{host} broke off its answer") from None
        except (HTTPError, OSError) as error:
            raise _Again(f"{host} cannot be reached ({type(error).__name__})") from None

    def _manager(self, url: str, host: str) -> urllib3.PoolManager:
        """Connections, by way of the proxy that the environment names for a URL."""
        proxies = _proxies()
        proxy = None if not proxies or proxy_bypass(host) else proxies.get(url.partition(":")[0])
        with self._lock:
            if proxy not in self._managers:
                settings_of: dict[str, Any] = {
                    "num_pools": 64, "maxsize": self.connections, "ssl_context": _trust(),
                    "timeout": urllib3.Timeout(connect=_CONNECT, read=_SILENCE),
                    "headers": {"User-Agent": f"muses-lab/{__version__}", "Accept-Encoding": "identity"},
                }  # fmt: skip
                manager = (
                    urllib3.PoolManager(**settings_of) if proxy is None else urllib3.ProxyManager(proxy, **settings_of)
                )
                manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
                self._managers[proxy] = manager
            return self._managers[proxy]


def _checked(url: str, of: str | None = None) -> str:
    try:
        return access.check_url(url, addresses)
    except AccessDenied as denied:
        reason = denied.message.partition(" cannot be read: ")[2]
        sent = "" if of is None else f"{_host(of)} redirects to {_host(url)}, which "
        raise ReadError(f"{sent}cannot be read: {reason}") from None


def _done(answer: urllib3.BaseHTTPResponse) -> None:
    """Keeps the connection for the next request, unless something of the answer is still to come."""
    if getattr(answer, "length_remaining", None) == 0:
        answer.release_conn()
    else:
        answer.close()


def _part(answer: urllib3.BaseHTTPResponse, host: str, offset: int, size: int) -> Part:
    """The range out of an answer with status 200, 206 or 416."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise ReadError(f"{host} sends files compressed, of which no part can be read")
    tag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    first, last, whole = _content_range(answer.headers.get("Content-Range", ""))
    length = answer.headers.get("Content-Length", "")
    if answer.status == 416:  # the file ends before
        return Part(b"", whole, tag, modified)
    if answer.status == 206:
        if first != offset or last is None or not 0 <= last - first < size:
            raise ReadError(f"{host} answered another range than bytes {offset} to {offset + size - 1}")
        body = _body(answer, host, last - first + 1)
        if len(body) < size and whole is not None and offset + len(body) != whole:
            raise _Again(f"{host} broke off its answer")
        return Part(body, whole, tag, modified)
    if not length.isdecimal() or int(length) > WHOLE:
        raise ReadError(
            f"{host} knows no byte ranges: it sends the whole file ({length or 'an unknown number of'} bytes) "
            "for every block"
        )
    body = _body(answer, host, int(length))
    return Part(body[offset : offset + size], len(body), tag, modified)


def _body(answer: urllib3.BaseHTTPResponse, host: str, size: int) -> bytes:
    """So many bytes: neither less nor, from a server that sends no end, more."""
    if answer.headers.get("Content-Length") == str(size):  # checked by urllib3, and without a copy
        return answer.read(decode_content=False)
    body = answer.read(size, decode_content=False)
    if len(body) != size:
        raise _Again(f"{host} broke off its answer")
    return body


def _content_range(text: str) -> tuple[int | None, int | None, int | None]:
    """First, last and total of "bytes 0-9/20"; None where they are not said."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    first, _, last = span.partition("-")
    return tuple(int(n) if n.strip().isdecimal() else None for n in (first, last, total))  # type: ignore[return-value]


def _wait(answer: urllib3.BaseHTTPResponse) -> float:
    said = answer.headers.get("Retry-After", "")
    return min(float(said), _MAX_WAIT) if said.isdecimal() else 0.0


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "no host"
    except ValueError:
        return "no host"


@lru_cache(maxsize=_REMEMBERED)
def _is_clear(url: str) -> bool:
    """Whether what was checked is what urllib3 will connect to."""
    return (urllib3.util.parse_url(url).host or "").strip("[]").lower() == _host(url)


@lru_cache(maxsize=1024)
def _addresses(host: str, port: int, when: int) -> frozenset[str]:
    return frozenset(access.addresses(host, port))


def addresses(host: str, port: int) -> frozenset[str]:
    """The addresses of a host, remembered for a minute: they are checked with every block that is read.

    That a host has none is remembered for some seconds: without a network each question takes as long, and there is one
    for every file.
    """
    until, error = _no_addresses.get((host, port), (0.0, OSError()))
    if time.monotonic() < until:
        raise type(error)(*error.args)
    try:
        return _addresses(host, port, int(time.monotonic() / _NAMES))
    except OSError as failed:
        if len(_no_addresses) >= _REMEMBERED:
            _no_addresses.clear()
        _no_addresses[host, port] = time.monotonic() + _NO_NAMES, failed
        raise


@lru_cache(maxsize=1)
def _proxies() -> dict[str, str]:
    return getproxies()


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


def _forget_in_child() -> None:
    """After a fork the parent's loop and connections are not ours."""
    global _client, _lock
    _client, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_in_child)
