"""Headers of the files that items do not describe: of local files one by one, of those on servers many at once."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future
from functools import lru_cache, partial

from muses_lab import settings
from muses_lab.errors import MusesError, ReadError, TooLarge
from muses_lab.raster import access, http
from muses_lab.raster.files import on_disk
from muses_lab.raster.header import RasterInfo, header_of, read_header

_PIECE = 32 << 10
"""Bytes asked for at once: a cloud-optimised GeoTIFF's tags are in the first ones."""
_MOST_BYTES = 4 << 20
"""Of one file, before it is given up: what lies far behind is no header."""
_REMEMBERED = 1 << 16

_known: OrderedDict[str, RasterInfo] = OrderedDict()
_lock = threading.Lock()


class Unavailable(ReadError):
    """A server does not give a file; what the file is, is not known."""


def most_headers() -> int:
    """Most files on servers that are asked for their headers while a query is resolved (`MUSES_MAX_HEADERS`)."""
    return int(settings.number("MUSES_MAX_HEADERS"))


def local_header(catalog: str, path: str) -> RasterInfo:
    """The header of a catalogue's file, placed or not; remembered while file and `.aux.xml` stay what they are."""
    return _local_header(catalog, path, _stamp(path), _stamp(f"{path}.aux.xml"))


@lru_cache(maxsize=_REMEMBERED)
def _local_header(catalog: str, path: str, stamp: tuple[int, int] | None, beside: tuple[int, int] | None) -> RasterInfo:
    return read_header(path, placed=False, allows=partial(access.may_read, catalog))


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(on_disk(path))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def remote_headers(urls: Iterable[str]) -> dict[str, RasterInfo | MusesError]:
    """The headers of files on servers, all asked for at once; those that were asked for before are remembered.

    Raises
    ------
    TooLarge
        There are more than `MUSES_MAX_HEADERS` that are not known.
    """
    urls = list(dict.fromkeys(urls))
    with _lock:
        found: dict[str, RasterInfo | MusesError] = {url: _known[url] for url in urls if url in _known}
    new = [url for url in urls if url not in found]
    if len(new) > (most := most_headers()):
        raise TooLarge(
            f"the items do not say where the pixels of {len(new)} files on servers are, and at most {most} are asked; "
            "narrow the place or the dates, or raise MUSES_MAX_HEADERS"
        )
    asked: dict[str, Future[RasterInfo]] = {url: http.client().start(_remote_header, url) for url in new}
    for url, future in asked.items():
        try:
            header = found[url] = http.wait(future)
        except MusesError as error:
            found[url] = error
            continue
        with _lock:
            _known[url] = header
            while len(_known) > _REMEMBERED:
                _known.popitem(last=False)
    return found


def _remote_header(url: str) -> RasterInfo:
    return header_of(_Remote(url), url, _PIECE)


class _Remote:
    """The beginning of a file on a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._start = self._fetch(0, _PIECE)
        self._left = _MOST_BYTES
        if self._start.size is None:
            raise ReadError("the server does not say how long the file is")
        self.size = self._start.size

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.size)
        if end <= len(self._start.body):
            return self._start.body[offset:end]
        self._left -= end - offset
        if self._left < 0:
            raise ReadError(f"what it says of itself is not within {_MOST_BYTES >> 20} MB")
        part = self._fetch(offset, end - offset)
        if not part.same_file(self._start):
            raise ReadError("the file on the server was replaced while it was read")
        return part.body

    def _fetch(self, offset: int, size: int) -> http.Part:
        try:
            return http.client().fetch(self._url, offset, size)
        except ReadError as error:
            raise Unavailable(error.message) from None
