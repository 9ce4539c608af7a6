"""Blocks of remote files on their way before they are decoded: many requests at once instead of one after the other.

An evaluation says which blocks it is going to read. Those of remote files are asked for at once, as far as a budget of
bytes reaches; neighbours in a file are one request. Reading then takes what has come. What several evaluations wait for
is asked for once; what nobody waits for any more is dropped.
"""

from __future__ import annotations

import io
import struct
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from muses_lab import remote
from muses_lab.engine import tiff
from muses_lab.errors import Cancelled, ReadError

BUDGET = 128 << 20
"""Bytes that may be on their way or wait to be decoded."""
_GAP = 64 << 10
"""Bytes between two blocks of a file that are rather read than asked around."""
_MOST = 8 << 20
"""Bytes of one request for several blocks."""
_MAX_OPENED = 4096
_FAILED = 10.0
"""Seconds for which a file that could not be opened is not asked for again: a view has many blocks of it."""
_MOST_TAGS = 128 << 20
"""Bytes read of a file before it is known where its blocks are."""
_MOST_AT_ONCE = 256 << 20
"""Bytes that GDAL may ask for in one go."""
_PIECE = 128 << 10
"""Bytes asked for at once on behalf of GDAL."""

Flag = Callable[[], bool] | None
"""Whether nobody waits any more."""


@dataclass(frozen=True)
class Opened:
    """A remote file as it was when its first bytes came."""

    url: str
    start: remote.Part
    """Its first bytes, where GDAL must read it."""
    images: tuple[tiff.Image, ...] | None
    """Where its blocks are; None where GDAL must read it."""

    @property
    def size(self) -> int | None:
        return self.start.size

    @property
    def stamp(self) -> tuple[Hashable, ...]:
        return self.start.size, self.start.tag or self.start.modified


class Replaced(ReadError):
    """The file is not the one that was opened."""


@dataclass(frozen=True, slots=True)
class Want:
    """A block of an opened file, by the key under which it will be looked for."""

    key: Hashable
    opened: Opened
    offset: int
    size: int


@dataclass(eq=False, slots=True)
class _Request:
    """One range with one block or several."""

    opened: Opened
    offset: int
    size: int
    wants: dict[Hashable, Want]
    """Blocks that have not been taken."""
    future: Future[None] | None = None
    body: bytes = b""
    """Kept here and not as the future's result: the thread that fetched it holds that until its next request."""


class Ahead:
    """Remote files and their blocks on the way; thread-safe."""

    def __init__(self, budget: int = BUDGET, use: Callable[[int], None] = lambda size: None) -> None:
        self._budget, self._use = budget, use
        self._held = 0
        self._opening: OrderedDict[str, Future[Opened]] = OrderedDict()
        self._failed: dict[str, float] = {}
        self._requests: dict[Hashable, _Request] = {}
        self._users: dict[Hashable, set[object]] = {}
        self._queue: deque[_Request] = deque()
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are on their way or wait to be taken."""
        return self._held

    # ---------------------------------------------------------------------------------------------- files

    def opening(self, url: str) -> Future[Opened]:
        """The file behind a URL, asked for where it is not known; one request for all who ask."""
        with self._lock:
            known = self._opening.get(url)
            if known is not None and not (known.done() and self._gone_by(url, known)):
                return known
            future = self._opening[url] = remote.client().start(_open, url)
            while len(self._opening) > _MAX_OPENED:
                self._opening.popitem(last=False)
        return future

    def _gone_by(self, url: str, known: Future[Opened]) -> bool:
        """Whether an attempt failed so long ago that another is due."""
        if not known.cancelled() and known.exception() is None:
            return False
        now = time.monotonic()
        if now < self._failed.setdefault(url, now + _FAILED):
            return False
        del self._failed[url]
        return True

    def open(self, url: str, cancelled: Flag = None) -> Opened:
        """Waits for `opening`. Raises `ReadError`."""
        return remote.wait(self.opening(url), cancelled)

    def is_open(self, url: str) -> bool:
        known = self._opening.get(url)
        return known is not None and known.done()

    def forget(self, opened: Opened) -> None:
        """A file that was replaced is opened anew."""
        with self._lock:
            known = self._opening.get(opened.url)
            if known is not None and known.done() and not known.exception() and known.result() is opened:
                del self._opening[opened.url]

    def read(self, opened: Opened, offset: int, size: int, cancelled: Flag = None) -> bytes:
        """A range of a file, now."""
        request = _Request(opened, offset, size, {})
        remote.wait(remote.client().start(_fill, request), cancelled)
        return request.body

    # --------------------------------------------------------------------------------------------- blocks

    def asking(self) -> Asking:
        return Asking(self)

    def take(self, want: Want, cancelled: Flag = None) -> bytes:
        """A block's bytes: what is on its way is waited for, the rest asked for now. Raises `ReadError`."""
        here = object()
        with self._lock:
            request = self._requests.get(want.key)
            if request is not None:
                self._users[want.key].add(here)  # whoever asked for it may leave meanwhile
                if request.future is None:
                    self._queue.remove(request)
                    self._start(request)
        if request is None or request.future is None:
            return self.read(want.opened, want.offset, want.size, cancelled)
        try:
            remote.wait(request.future, cancelled)
            body = request.body
        except Cancelled:
            with self._lock:
                self._leave(want.key, here)
            raise
        except BaseException:
            with self._lock:
                self._drop(want.key)
            raise
        with self._lock:
            self._drop(want.key)
        begin = want.offset - request.offset
        return body if len(body) == want.size else body[begin : begin + want.size]

    def close(self) -> None:
        """Forgets all files; what is on its way for somebody stays."""
        with self._lock:
            self._opening.clear()
            self._failed.clear()

    def _ask(self, asking: Asking, wants: Sequence[Want]) -> None:
        """Notes blocks of one file for somebody, and begins what the budget allows."""
        with self._lock:
            if asking.closed:
                return
            new = []
            for want in wants:
                asking.keys.append(want.key)
                if want.key not in self._requests:
                    new.append(want)
                self._users.setdefault(want.key, set()).add(asking)
            for request in _merged(new):
                self._requests.update(dict.fromkeys(request.wants, request))
                self._queue.append(request)
            self._pump()

    def _release(self, asking: Asking) -> None:
        with self._lock:
            asking.closed = True
            for key in asking.keys:
                self._leave(key, asking)
            asking.keys.clear()

    def _leave(self, key: Hashable, user: object) -> None:
        users = self._users.get(key)
        if users is not None and user in users:
            users.discard(user)
            if not users:
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        """A block was taken, or nobody waits for it any more."""
        self._users.pop(key, None)
        request = self._requests.pop(key, None)
        if request is None:
            return
        del request.wants[key]
        if request.wants:
            return
        if request.future is None:
            self._queue.remove(request)
            return
        request.future.cancel()
        self._held -= request.size
        self._use(-request.size)
        self._pump()

    def _pump(self) -> None:
        while self._queue and (not self._held or self._held + self._queue[0].size <= self._budget):
            self._start(self._queue.popleft())

    def _start(self, request: _Request) -> None:
        self._held += request.size
        self._use(request.size)
        request.future = remote.client().start(_fill, request)


@dataclass(eq=False)
class Asking:
    """What one evaluation is going to read; at its end what it did not take is dropped."""

    ahead: Ahead
    keys: list[Hashable] = field(default_factory=list)
    closed: bool = False

    def ask(self, wants: Sequence[Want]) -> None:
        """Blocks of one file."""
        if wants:
            self.ahead._ask(self, wants)

    def close(self) -> None:
        self.ahead._release(self)

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _merged(wants: Sequence[Want]) -> list[_Request]:
    """Requests for blocks of one file: neighbours in it together."""
    found: list[_Request] = []
    for want in sorted(wants, key=lambda w: w.offset):
        if found:
            last = found[-1]
            end = max(last.offset + last.size, want.offset + want.size)
            if want.offset - last.offset - last.size <= _GAP and end - last.offset <= _MOST:
                last.wants[want.key] = want
                last.size = end - last.offset
                continue
        found.append(_Request(want.opened, want.offset, want.size, {want.key: want}))
    return found


class _More(Exception):
    """Tags beyond what has been read."""

    def __init__(self, offset: int, size: int) -> None:
        self.offset, self.size = offset, size


def _open(url: str) -> Opened:
    """A file's first bytes and, of a plain tiled TIFF, where its blocks are."""
    client = remote.client()
    start = client.fetch(url, 0, tiff.HEAD)
    known = {0: start.body}
    left = _MOST_TAGS

    def read(offset: int, size: int) -> bytes:
        for begin, body in known.items():
            if begin <= offset and (offset + size <= begin + len(body) or start.size == begin + len(body)):
                return body[offset - begin : offset - begin + size]
        if offset == 0:
            return start.body
        raise _More(offset, size)

    while True:
        try:
            images = tiff.images(read)
            return Opened(url, replace(start, body=b""), images)  # GDAL alone needs the first bytes again
        except _More as more:
            left -= max(more.size, tiff.HEAD)
            if left < 0:
                return Opened(url, start, None)
            part = client.fetch(url, more.offset, max(more.size, tiff.HEAD))
            if not part.same_file(start) or (more.offset in known and len(known[more.offset]) >= len(part.body)):
                return Opened(url, start, None)
            known[more.offset] = part.body
        except (tiff.Unusual, ValueError, struct.error, OverflowError, IndexError):
            return Opened(url, start, None)


def _fill(request: _Request) -> None:
    part = remote.client().fetch(request.opened.url, request.offset, request.size)
    if not part.same_file(request.opened.start):
        raise Replaced("the file was replaced while it was read")
    request.body = part.body


class RangeFile(io.RawIOBase):
    """A remote file for GDAL, which reads what is no plain tiled TIFF."""

    def __init__(self, ahead: Ahead, opened: Opened, failures: list[ReadError]) -> None:
        super().__init__()
        self._ahead, self._opened, self._size = ahead, opened, opened.size or 0
        self._failures = failures
        self._at = 0
        self._begin, self._body = 0, opened.start.body

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many bytes; none, and a failure noted, where they cannot be had: GDAL cannot pass an error on."""
        size = max(0, min(size if size >= 0 else self._size, self._size - self._at))
        if size == 0:
            return b""
        if not self._begin <= self._at <= self._at + size <= self._begin + len(self._body):
            try:
                if size > _MOST_AT_ONCE:
                    raise ReadError(f"a block of {size} bytes is too long to be read; the limit is {_MOST_AT_ONCE}")
                self._fill(size)
            except ReadError as error:
                self._failures.append(error)
                return b""
        found = self._body[self._at - self._begin :][:size]
        self._at += len(found)
        return found

    def _fill(self, size: int) -> None:
        start = self._opened.start.body
        if self._at + size <= len(start):
            self._begin, self._body = 0, start
        else:
            self._begin, self._body = self._at, self._ahead.read(self._opened, self._at, max(size, _PIECE))
