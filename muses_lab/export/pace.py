"""How long a job will still take, by what it has done so far."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_RECENT = 32
"""Pieces by which the pace is measured: the newest, since the first ones wait for workers to start."""
_FEWEST = 2
"""Pieces that must be computed before anything is said."""
_SHARE = 0.05
"""Of the last stage, that must be done before anything is said of it by its own pace."""


class Pace:
    """Times of a job's pieces and of its last stage, pauses left out.

    >>> now = iter([0, 10, 20, 20])
    >>> pace = Pace(clock=lambda: next(now))
    >>> pace.begin(left=5, last=4.0); pace.step(); pace.step()
    >>> pace.remaining()            # three pieces of 10 s, and the last stage
    34.0
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = 0
        self._last: float | None = None
        """Seconds that the last stage is expected to take."""
        self._steps: deque[float] = deque(maxlen=_RECENT + 1)
        self._made = 0
        self._share = 0.0
        self._began_last: float | None = None
        self._paused: float | None = None
        self._pauses = 0.0

    def _now(self) -> float:
        """Seconds of work: the clock stands still while the job is paused."""
        return (self._clock() if self._paused is None else self._paused) - self._pauses

    def begin(self, left: int, last: float | None = None) -> None:
        """So many pieces are to be computed; `last`: what the last stage is expected to take, if that is known."""
        self._left, self._last = left, last
        self._steps.clear()
        self._steps.append(self._now())

    def step(self) -> None:
        self._left, self._made = self._left - 1, self._made + 1
        self._steps.append(self._now())

    def more(self, pieces: int) -> None:
        self._left += pieces

    def at_last(self, share: float | None) -> None:
        """How much of the last stage is done, from 0 to 1; None: pieces are computed again."""
        if share is None:
            self._began_last, self._share = None, 0.0
            return
        if self._began_last is None:
            self._began_last = self._now()
        self._share = share

    def pause(self) -> None:
        if self._paused is None:
            self._paused = self._clock()

    def go_on(self) -> None:
        if self._paused is not None:
            self._pauses += self._clock() - self._paused
            self._paused = None

    @property
    def seconds_of_last(self) -> float:
        """How long the last stage has been going on."""
        return 0.0 if self._began_last is None else self._now() - self._began_last

    def remaining(self) -> float | None:
        """Seconds; None as long as too little has been measured."""
        if self._began_last is not None:
            gone = self.seconds_of_last
            if self._share >= _SHARE:
                return gone * (1 - self._share) / self._share
            return None if self._last is None else max(0.0, self._last - gone)
        if self._left <= 0:  # all were there
            return self._last
        if self._made < _FEWEST:
            return None
        each = (self._steps[-1] - self._steps[0]) / (len(self._steps) - 1)
        since = self._now() - self._steps[-1]
        return max(0.0, each * self._left - min(since, each)) + (self._last or 0.0)
