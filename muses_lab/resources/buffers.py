"""Memory for decoded blocks and results, used again and again.

What an array gives back to the system costs as much to get again as a third of decoding a block (measured: 0.7 to 1 µs
a kilobyte for fresh pages on virtual machines), and glibc's arenas, of which every thread has one, keep as much again
as was asked for. So arrays of a block's size have memory of their own: where one is let go, the next one of its size
takes its place. What is free and of another size is given back to the system as soon as all together would be too much.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np

_LEAST = 64 << 10
"""Bytes from which an array has memory of its own, a multiple of so many: there are not too many sizes."""
_MOST = 16 << 20
"""Bytes up to which it has."""
_SLAB = 64 << 20
"""Bytes of addresses that are taken from the system at a time; memory comes with the first use."""
_RELEASE: int = getattr(mmap, "MADV_DONTNEED", 0) if sys.platform == "linux" else 0


class _Allocation:
    """A piece of a slab that an array lives in: its base. When nobody has it any more, it is free."""

    __slots__ = ("__array_interface__", "_buffers", "_where")

    def __init__(self, buffers: Buffers, where: _Region, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._buffers = buffers
        self._where = where
        self.__array_interface__ = {
            "data": (where.address, False), "shape": shape, "typestr": dtype.str, "version": 3
        }  # fmt: skip

    def __del__(self) -> None:
        self._buffers._returned.append(self._where)  # whatever holds a lock now


class _Region:
    """A piece of a slab."""

    __slots__ = ("address", "offset", "size", "slab")

    def __init__(self, slab: mmap.mmap, offset: int, size: int) -> None:
        self.slab = slab
        self.offset = offset
        self.size = size
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(slab)) + offset


class Buffers:
    """Uninitialised arrays in memory that is used again; thread-safe.

    Parameters
    ----------
    most
        Bytes in use and free together from which on what is free is given back.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        """Bytes of the system's memory: in use, or free."""
        self.used = 0
        """Bytes in use."""
        self.fresh = 0
        """Arrays for which the system was asked for memory."""
        self.again = 0
        """Arrays in memory that others had before."""
        self._returned: deque[_Region] = deque()
        """Places that are free since somebody looked last."""
        self._free: dict[int, list[_Region]] = {}
        """Size → places that have memory."""
        self._bare: dict[int, list[_Region]] = {}
        """Size → places whose memory was given back."""
        self._slab: mmap.mmap | None = None
        self._next = _SLAB
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array whose values are not set: `numpy.empty` where it is small or large, or the system is not Linux."""
        dtype = np.dtype(dtype)
        needed = math.prod(shape) * dtype.itemsize
        if not _LEAST <= needed <= _MOST or not _RELEASE:
            return np.empty(shape, dtype)
        return np.asarray(_Allocation(self, self._take(-(-needed // _LEAST) * _LEAST), shape, dtype))

    def limit(self, most: int) -> None:
        """So many bytes are the most from now on."""
        with self._lock:
            self._collect()
            self.most = most
            self._release(self.taken - most)

    def _take(self, size: int) -> _Region:
        with self._lock:
            self._collect()
            self.used += size
            free = self._free.get(size)
            if free:
                self.again += 1
                return free.pop()
            self.fresh += 1
            self.taken += size
            self._release(self.taken - self.most)
            bare = self._bare.get(size)
            return bare.pop() if bare else self._cut(size)

    def _cut(self, size: int) -> _Region:
        """A place that nobody has had yet."""
        if self._slab is None or self._next + size > _SLAB:
            # Private: what is given back of shared memory is not free, and a child process would write into it.
            self._slab, self._next = mmap.mmap(-1, _SLAB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 0
            with suppress(OSError):  # a system without huge pages
                self._slab.madvise(mmap.MADV_HUGEPAGE)  # six times cheaper to get, and to look up
        self._next += size
        return _Region(self._slab, self._next - size, size)

    def _release(self, size: int) -> None:
        """Gives memory that is free back to the system, as far as there is some."""
        for kind, places in self._free.items():
            while places and size > 0:
                place = places.pop()
                place.slab.madvise(_RELEASE, place.offset, place.size)
                self._bare.setdefault(kind, []).append(place)
                self.taken -= kind
                size -= kind

    def _collect(self) -> None:
        while self._returned:
            place = self._returned.popleft()
            self.used -= place.size
            self._free.setdefault(place.size, []).append(place)
