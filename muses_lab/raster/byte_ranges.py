"""Prefetching of remote blocks: many requests at once, before the blocks are decoded, instead of one after the other.

An evaluation hints which blocks it will read; an evaluation that is announced hints before it begins. This module
requests the remote ones as far as a budget of bytes and the connections allow, and joins neighbouring blocks of a file
into one request, whoever asked for them. Reading then takes the bytes that have come. A block that several evaluations
wait for is requested once; a block that nobody waits for any more is dropped.
"""

from __future__ import annotations

import heapq
import itertools
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from muses_lab.errors import Cancelled, ReadError
from muses_lab.raster import http, tiff

BUDGET = 128 << 20
"""Bytes that may be on their way or wait to be decoded."""
_GAP = 64 << 10
"""Bytes between two blocks of a file that are rather read than asked around."""
_MOST = 2 << 20
"""Bytes of one request for several blocks: none of them is there before all are."""
_SOON = 0.75
"""Part of the budget for evaluations that are only announced: those that have begun must not wait for them."""
_MAX_OPENED = 4096
_MAX_FIRST = 1 << 16
"""Files of which it is remembered what they were when they were first read."""
_FAILED = 10.0
"""Seconds for which a file that could not be opened is not asked for again: a view has many blocks of it."""
_MOST_TAGS = 128 << 20
"""Bytes read of a file before it is known where its blocks are."""
_MOST_AT_ONCE = 256 << 20
"""Bytes that GDAL may ask for in one go."""
PIECE = 128 << 10
"""Bytes asked for at once on behalf of GDAL."""

Flag = Callable[[], bool] | None
"""Whether nobody waits any more."""


@dataclass(frozen=True)
class Opened:
    """A remote file as it was when its first bytes came."""

    url: str
    start: http.Part
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

    def __init__(self) -> None:
        super().__init__(
            "the file on the server was replaced since it was first read here; what was read before would not fit "
            "what is there now: end this cluster, and the new one reads the new file"
        )


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A block of an opened file, by the key under which it will be looked for."""

    key: Hashable
    opened: Opened
    offset: int
    size: int


@dataclass(eq=False, slots=True)
class _Block:
    """A block that somebody waits for."""

    wanted_range: ByteRange
    order: int
    """That of the most urgent asking."""
    users: set[object] = field(default_factory=set)
    request: _Request | None = None
    """None as long as it is kept back."""
    body: bytes = b""


@dataclass(eq=False, slots=True)
class _Request:
    """One range with one block or several."""

    opened: Opened
    offset: int
    size: int
    blocks: list[_Block]
    future: Future[None] | None = None
    held: int = 0
    """Bytes of it that are on their way or wait to be taken."""
    arrived: bool = False


@dataclass(eq=False, slots=True)
class _File:
    """A file that was asked for, and who is to be told once it is open."""

    future: Future[Opened] = field(default_factory=Future)
    opened: Opened | None = None
    tell: list[Callable[[Opened], None]] = field(default_factory=list)


class ByteRanges:
    """Remote files and their blocks on the way; thread-safe."""

    def __init__(self, budget: int = BUDGET, use: Callable[[int], None] = lambda size: None) -> None:
        self._budget, self._use = budget, use
        self._held = 0
        self._under_way = 0
        """Requests, those for headers too."""
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._failed: dict[str, float] = {}
        self._first: OrderedDict[str, http.Part] = OrderedDict()
        """What the server said of each file when it was first opened: one hash must not show two states of it."""
        self._blocks: dict[Hashable, _Block] = {}
        self._queue: list[tuple[int, int, _Block]] = []
        """What is kept back, by order; also what is not any more or has another order now."""
        self._kept_back: dict[str, dict[Hashable, _Block]] = {}
        """The same by file."""
        self._count = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are on their way or wait to be taken."""
        return self._held

    # ---------------------------------------------------------------------------------------------- files

    def opening(self, url: str) -> Future[Opened]:
        """Return the file behind a URL; request it where it is not known, once for all who ask."""
        with self._lock:
            return self._file(url).future

    def when_open(self, url: str, tell: Callable[[Opened], None]) -> Opened | None:
        """Return the file if it is open; else request it and call `tell` once it is open, but not where that fails."""
        with self._lock:
            file = self._file(url)
            if file.opened is None:
                file.tell.append(tell)
            return file.opened

    def _file(self, url: str) -> _File:
        known = self._files.get(url)
        if known is not None and not (known.future.done() and self._gone_by(url, known.future)):
            return known
        file = self._files[url] = _File()
        self._under_way += 1
        file.future = http.client().start(self._open, url, file)
        while len(self._files) > _MAX_OPENED:
            self._files.popitem(last=False)
        return file

    def _open(self, url: str, file: _File) -> Opened:
        opened, told = None, []
        try:
            opened = self._unchanged(_open(url))
            return opened
        finally:
            with self._lock:
                self._under_way -= 1
                file.opened, told, file.tell = opened, file.tell, told
                self._pump()
            if opened is not None:
                for tell in told:
                    tell(opened)

    def _unchanged(self, opened: Opened) -> Opened:
        """Return the file; `Replaced` if it is not the one that was opened first."""
        with self._lock:
            first = self._first.setdefault(opened.url, replace(opened.start, body=b""))
            while len(self._first) > _MAX_FIRST:
                self._first.popitem(last=False)
        if not opened.start.same_file(first):
            raise Replaced
        return opened

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
        return http.wait(self.opening(url), cancelled)

    def is_open(self, url: str) -> bool:
        known = self._files.get(url)
        return known is not None and known.future.done()

    def forget(self, opened: Opened) -> None:
        """A file that was replaced is opened anew."""
        with self._lock:
            known = self._files.get(opened.url)
            if known is not None and known.opened is opened:
                del self._files[opened.url]

    def read(self, opened: Opened, offset: int, size: int, cancelled: Flag = None) -> bytes:
        """A range of a file, now."""
        return http.wait(http.client().start(_fetch, opened, offset, size), cancelled)

    # --------------------------------------------------------------------------------------------- blocks

    def hint(self, soon: bool = False) -> Hint:
        """For an evaluation; `soon`: for one that is announced, after those that were announced before."""
        return Hint(self, next(self._count) if soon else 0)

    def take(self, wanted_range: ByteRange, cancelled: Flag = None) -> bytes:
        """A block's bytes: what is on its way is waited for, the rest asked for now. Raises `ReadError`."""
        here = object()
        with self._lock:
            block = self._blocks.get(wanted_range.key)
            if block is not None:
                block.users.add(here)  # whoever asked for it may leave meanwhile
                if block.request is None:
                    self._start(self._gathered(block))
        if block is None:
            return self.read(wanted_range.opened, wanted_range.offset, wanted_range.size, cancelled)
        assert block.request is not None and block.request.future is not None
        try:
            http.wait(block.request.future, cancelled)
        except Cancelled:
            with self._lock:
                self._leave(wanted_range.key, here)
            raise
        except BaseException:
            with self._lock:
                self._drop(wanted_range.key)
            raise
        with self._lock:
            self._drop(wanted_range.key)
        return block.body

    def close(self) -> None:
        """Forgets all files; what is on its way for somebody stays."""
        with self._lock:
            self._files.clear()
            self._failed.clear()

    def ask(self, asked: Iterable[tuple[Hint, Sequence[ByteRange]]]) -> None:
        """Notes blocks for somebody, and begins what may begin."""
        with self._lock:
            for hint, ranges in asked:
                for wanted_range in () if hint.closed else ranges:
                    hint.keys.append(wanted_range.key)
                    block = self._blocks.get(wanted_range.key)
                    if block is None:
                        block = self._blocks[wanted_range.key] = _Block(wanted_range, hint.order)
                        self._kept_back.setdefault(wanted_range.opened.url, {})[wanted_range.key] = block
                        self._push(block)
                    elif hint.order < block.order:
                        block.order = hint.order
                        self._push(block)
                    block.users.add(hint)
            self._pump()

    def _push(self, block: _Block) -> None:
        if block.request is None:
            heapq.heappush(self._queue, (block.order, next(self._count), block))

    def _release(self, hint: Hint) -> None:
        with self._lock:
            hint.closed = True
            for key in hint.keys:
                self._leave(key, hint)
            hint.keys.clear()
            self._pump()

    def _leave(self, key: Hashable, user: object) -> None:
        block = self._blocks.get(key)
        if block is not None and user in block.users:
            block.users.discard(user)
            if not block.users:
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        """A block was taken, or nobody waits for it any more."""
        block = self._blocks.pop(key, None)
        if block is None:
            return
        request = block.request
        if request is None:
            self._not_kept_back(block)
            return
        request.blocks.remove(block)
        if request.arrived:
            self._hold(request, request.held - len(block.body))
        elif not request.blocks:
            self._hold(request, 0)
            assert request.future is not None
            if request.future.cancel():
                self._under_way -= 1
        self._pump()

    def _not_kept_back(self, block: _Block) -> None:
        of_file = self._kept_back[block.wanted_range.opened.url]
        del of_file[block.wanted_range.key]
        if not of_file:
            del self._kept_back[block.wanted_range.opened.url]

    def _pump(self) -> None:
        while self._queue and self._under_way < http.client().connections:
            order, _, block = self._queue[0]
            if block.request is None and block.order == order and self._blocks.get(block.wanted_range.key) is block:
                room = (self._budget * _SOON if order else self._budget) - self._held
                if self._held and block.wanted_range.size > room:
                    return
                request = self._gathered(block)
                if self._held and request.size > room:
                    return
                self._start(request)
            heapq.heappop(self._queue)

    def _gathered(self, block: _Block) -> _Request:
        """A request for a block and its neighbours in the file that are kept back, too."""
        opened = block.wanted_range.opened
        every = sorted(
            (b for b in self._kept_back[opened.url].values() if b.wanted_range.opened is opened),
            key=lambda b: b.wanted_range.offset,
        )
        first = last = every.index(block)
        begin, end = block.wanted_range.offset, block.wanted_range.offset + block.wanted_range.size
        for n in range(first + 1, len(every)):
            wanted_range = every[n].wanted_range
            if wanted_range.offset - end > _GAP or wanted_range.offset + wanted_range.size - begin > _MOST:
                break
            last, end = n, max(end, wanted_range.offset + wanted_range.size)
        for n in range(first - 1, -1, -1):
            wanted_range = every[n].wanted_range
            if begin - wanted_range.offset - wanted_range.size > _GAP or end - wanted_range.offset > _MOST:
                break
            first, begin, end = n, wanted_range.offset, max(end, wanted_range.offset + wanted_range.size)
        return _Request(opened, begin, end - begin, every[first : last + 1])

    def _start(self, request: _Request) -> None:
        for block in request.blocks:
            block.request = request
            self._not_kept_back(block)
        self._hold(request, request.size)
        self._under_way += 1
        request.future = http.client().start(self._fill, request)

    def _hold(self, request: _Request, size: int) -> None:
        """Accounts for so many bytes of a request."""
        more = size - request.held
        self._held, request.held = self._held + more, size
        self._use(more)

    def _fill(self, request: _Request) -> None:
        body = b""
        try:
            body = _fetch(request.opened, request.offset, request.size)
        finally:
            with self._lock:
                self._under_way -= 1
                request.arrived = True
                for block in request.blocks:
                    begin = block.wanted_range.offset - request.offset
                    block.body = body[begin : begin + block.wanted_range.size]
                self._hold(request, sum(len(block.body) for block in request.blocks))
                self._pump()


@dataclass(eq=False)
class Hint:
    """The blocks that one evaluation will read; those that it did not take are dropped when it ends."""

    ahead: ByteRanges
    order: int
    """The lowest goes first; 0 for what has begun."""
    keys: list[Hashable] = field(default_factory=list)
    closed: bool = False

    def ask(self, ranges: Sequence[ByteRange]) -> None:
        if ranges:
            self.ahead.ask([(self, ranges)])

    def close(self) -> None:
        self.ahead._release(self)

    def __enter__(self) -> Hint:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _More(Exception):
    """Tags beyond what has been read."""

    def __init__(self, offset: int, size: int) -> None:
        self.offset, self.size = offset, size


def _open(url: str) -> Opened:
    """A file's first bytes and, of a plain tiled TIFF, where its blocks are."""
    client = http.client()
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


def _fetch(opened: Opened, offset: int, size: int) -> bytes:
    part = http.client().fetch(opened.url, offset, size)
    if not part.same_file(opened.start):
        raise Replaced
    return part.body


class RemoteSource:
    """A remote file's bytes, for what is no plain tiled TIFF (see `raster.opening`)."""

    def __init__(self, ahead: ByteRanges, opened: Opened) -> None:
        if opened.size is None:
            raise ReadError("the server does not say how long the file is")
        self._ahead, self._opened, self.size = ahead, opened, opened.size

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        start = self._opened.start.body
        if offset + size <= len(start):
            return start[offset : offset + size]
        if size > _MOST_AT_ONCE:
            raise ReadError(f"a block of {size} bytes is too long to be read; the limit is {_MOST_AT_ONCE}")
        return self._ahead.read(self._opened, offset, size)

    def close(self) -> None:
        """Nothing is held."""
