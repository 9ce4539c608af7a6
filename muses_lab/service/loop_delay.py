"""How late the event loop is: what other requests to this Jupyter server wait for, whatever they ask."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

EVERY = 0.05
KEPT = round(60 / EVERY)


class LoopDelay:
    """Looks at the clock again and again while the service is in use, and notes how late it comes."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=KEPT)
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0

    def watch(self) -> None:
        """The service is in use: goes on for a minute."""
        loop = asyncio.get_running_loop()
        self._until = loop.time() + 60
        if self._timer is None:
            self._due(loop)

    def summary(self) -> dict[str, Any]:
        """Milliseconds of the last minute of use."""
        late = sorted(self._late)
        if not late:
            return {"p50": None, "p95": None, "max": None, "samples": 0}
        at = {"p50": len(late) // 2, "p95": int(len(late) * 0.95), "max": len(late) - 1}
        return {name: round(1000 * late[place], 2) for name, place in at.items()} | {"samples": len(late)}

    def _due(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + EVERY
        self._timer = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._late.append(max(0.0, loop.time() - due))
        self._timer = None
        if loop.time() < self._until:
            self._due(loop)
