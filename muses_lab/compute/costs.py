"""What a block is expected to take: as blocks like it took, else as the plan says.

From this come the place in the queue in seconds, and what is refused because it would take too long.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from muses_lab.engine import BlockKey, RectKey
from muses_lab.engine.cost import seconds
from muses_lab.errors import MusesError

_KEPT = 4096
_NEWEST = 0.3
"""Weight of the newest block in the mean: what is cached makes a chain cheaper, another place dearer."""


class Costs:
    """Seconds of one thread per block, by chain, grid and level. From any thread."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[tuple[str, str, int], float] = OrderedDict()
        self._planned: set[tuple[str, str, int]] = set()
        self._lock = threading.Lock()

    def expected(self, published: Any, key: BlockKey | RectKey) -> float:
        kind = (published.hash, key.grid, key.level)
        with self._lock:
            known = self._seconds.get(kind)
        if known is None:
            known = planned(published, key)
            with self._lock:
                known = self._seconds.setdefault(kind, known)
                self._planned.add(kind)
        return known

    def took(self, published: Any, key: BlockKey | RectKey, seconds: float) -> None:
        kind = (published.hash, key.grid, key.level)
        with self._lock:
            before = None if kind in self._planned else self._seconds.get(kind)
            self._planned.discard(kind)
            self._seconds[kind] = seconds if before is None else (1 - _NEWEST) * before + _NEWEST * seconds
            self._seconds.move_to_end(kind)
            while len(self._seconds) > _KEPT:
                self._planned.discard(self._seconds.popitem(last=False)[0])


def planned(published: Any, key: BlockKey | RectKey) -> float:
    """By metadata alone."""
    try:
        return seconds(published.prepared, key)
    except MusesError:  # what cannot be planned cannot be evaluated, and that says why
        return 0.0
