"""Open GDAL datasets that wait for their next use: opening one costs more than reading a block."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Protocol

from rasterio.errors import RasterioError

from muses_lab.errors import ReadError
from muses_lab.raster.contained import Source
from muses_lab.raster.gdal import environment, open_source, reason


class Closing(Source, Protocol):
    """A source that can be closed."""

    def close(self) -> None: ...


@dataclass(eq=False)
class _Open:
    dataset: Any
    source: Closing
    failures: list[ReadError]
    context: Context
    """That in which the dataset was opened: rasterio finds the files behind it by context variables."""

    def close(self) -> None:
        self.context.run(self.dataset.close)
        self.source.close()


_every: weakref.WeakSet[Datasets] = weakref.WeakSet()


class Datasets:
    """Datasets by key, at most so many that nobody uses; thread-safe. None serves two threads at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: OrderedDict[Hashable, list[_Open]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        _every.add(self)

    @contextmanager
    def use(self, key: Hashable, name: str, overview: int, source: Callable[[], Closing], piece: int) -> Iterator[Any]:
        """A dataset for this thread alone, opened where none is free.

        Parameters
        ----------
        key
            What tells this state of this file, and its overview, from all others.
        name, overview, piece
            As those of `gdal.open_source`.
        source
            Opens the file's bytes.

        Raises
        ------
        ReadError
            The file cannot be opened or read.
        """
        with self._lock:
            free = self._idle.get(key)
            one = free.pop() if free else None
            self._used += 1
        try:
            with environment():
                if one is None:
                    one = _opened(source(), name, overview, piece)
                try:
                    yield one.dataset
                except BaseException as error:
                    one.close()
                    if one.failures:  # what the server said, rather than what GDAL made of it
                        raise one.failures[0] from None
                    if isinstance(error, RasterioError):
                        raise ReadError(reason(error)) from None
                    raise
        finally:
            with self._lock:
                self._used -= 1
        with self._lock:
            self._idle.setdefault(key, []).append(one)
            self._idle.move_to_end(key)
            while sum(map(len, self._idle.values())) > self._most:
                _, oldest = self._idle.popitem(last=False)
                for other in oldest:
                    other.close()

    def close(self) -> None:
        """Closes what nobody uses."""
        with self._lock:
            while self._idle:
                _, idle = self._idle.popitem()
                for one in idle:
                    one.close()

    def end(self, seconds: float) -> None:
        """Closes what nobody uses, and waits for the rest at most so long."""
        until = time.monotonic() + seconds
        while True:
            self.close()
            if not self._used or time.monotonic() > until:
                return
            time.sleep(0.01)


def _opened(source: Closing, name: str, overview: int, piece: int) -> _Open:
    failures: list[ReadError] = []
    context = copy_context()
    try:
        dataset = context.run(open_source, source, name, overview, failures, piece)
        return _Open(dataset, source, failures, context)
    except BaseException:
        source.close()
        raise


@atexit.register
def _end() -> None:
    """Closes them while Python is still there: GDAL reads these files through Python."""
    for datasets in list(_every):
        datasets.end(2.0)
