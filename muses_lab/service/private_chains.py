"""The private chains that kernels have handed over: what maps show of their users' own operators.

They are kept in memory only, as they came: the code in them is bytes here, which go on to the workers of this user's
cluster. No store has any of them, so none comes back after the server has ended.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from muses_lab.compute import leases
from muses_lab.errors import NotFound, TooLarge

T = TypeVar("T")

NAME = "private-"
"""How the name of a private chain begins in addresses, before its hash."""

AFTER_KERNEL = 3600.0
"""Seconds without use after which a chain is dropped whose kernel has ended."""


class PrivateGone(NotFound):
    """A page shows a private chain of which this server has nothing: it or the kernel was started anew since."""

    code = "private-gone"


@dataclass
class _Kept(Generic[T]):
    value: T
    size: int
    kernel: tuple[int, str]
    """Number and start of its process, see `leases.process_start`."""
    used: float


class PrivateChains(Generic[T]):
    """By hash. Those used longest ago go where more than `limit` bytes were kept. For the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        return sum(kept.size for kept in self._kept.values())

    def check_size(self, size: int) -> None:
        if size > self.limit:
            raise TooLarge(
                f"a private chain of {size} bytes is above the limit of {self.limit} (MUSES_PRIVATE_BYTES): does its "
                "code refer to a large array of the notebook?",
                size=size,
                limit=self.limit,
            )

    def keep(self, hash: str, value: T, size: int, kernel: tuple[int, str]) -> None:
        """Keeps a chain that a kernel has handed over; one of the same hash takes its place."""
        self.check_size(size)
        self._drop_old()
        self._kept[hash] = _Kept(value, size, kernel, time.monotonic())
        self._kept.move_to_end(hash)
        while self.bytes > self.limit:
            self._kept.popitem(last=False)

    def get(self, hash: str) -> T:
        """The chain with this hash; `PrivateGone` if it is not here, or no more."""
        self._drop_old()
        kept = self._kept.get(hash)
        if kept is None:
            raise PrivateGone(
                "Run the notebook's cells again: this layer uses an operator that is declared there. Its code is kept "
                "in no file, and it is no longer here.",
                chain=hash,
            )
        kept.used = time.monotonic()
        self._kept.move_to_end(hash)
        return kept.value

    def _drop_old(self) -> None:
        late = time.monotonic() - AFTER_KERNEL
        for hash, kept in list(self._kept.items()):
            if kept.used < late and not leases.is_alive(*kept.kernel):
                del self._kept[hash]
