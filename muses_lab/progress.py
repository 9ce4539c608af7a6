"""How far a command has come: a bar in a terminal, a line every few seconds elsewhere (a log, a pipe, a notebook)."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tqdm import tqdm

EVERY_SECONDS = 5.0
MANY = 200
"""Things from which on progress is shown where nothing is said."""

Told = bool | Callable[[int, int], object] | None
"""Whether progress is shown, or what is called with how many are done of how many; what it raises ends the work."""


class Progress:
    """Counts `total` things; says nothing where it is not `shown`. `told` is called with how many are done of how many.

    Examples
    --------
    >>> with Progress(3, "Sample", "scene") as progress:
    ...     progress.update()
    """

    def __init__(
        self, total: int, what: str, unit: str, shown: bool = True, told: Callable[[int, int], object] | None = None
    ) -> None:
        self._total, self._what, self._unit, self._told = total, what, unit, told
        self._begun = time.monotonic()
        self.done = 0
        self._ended = threading.Event()
        self._bar = tqdm(total=total, desc=what, unit=unit, disable=None if shown else True)
        self._lines = threading.Thread(target=self._write, daemon=True) if shown and self._bar.disable else None

    def __enter__(self) -> Self:
        if self._lines:
            self._say()
            self._lines.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._bar.close()
        if self._lines:
            self._lines.join()
            self._say()

    def update(self, more: int = 1, note: str = "") -> None:
        """`more` of the things are done; `note` says which the last one was."""
        self.done += more
        if self._told is not None:
            self._told(self.done, self._total)
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(more)

    def _write(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            self._say()

    def _say(self) -> None:
        seconds = time.monotonic() - self._begun
        line = f"{self._what}: {self.done} of {self._total} {self._unit}s, {seconds:.0f} s"
        print(line, file=sys.stderr, flush=True)


def progress_of(total: int, what: str, unit: str, told: Told) -> Progress:
    """The progress of what users ask for: shown, or told to their function."""
    shown = total >= MANY if told is None else told is True
    return Progress(total, what, unit, shown, told if callable(told) else None)
