"""How fast this machine decodes, evaluates and writes: a running estimate from what it did, for plans to be honest.

The engine tells of every block that it decoded and evaluated. Sums are kept, the older the fainter, and shared by this
user's processes through a small file: a notebook plans with what its workers measured.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from muses_lab import settings

DECODE_RATE = 150e6
"""Bytes of pixels that a thread decodes in a second, as long as nothing has been measured."""
EVALUATE_RATE = 50e6
"""Pixels × dates that a thread evaluates in a second, as long as nothing has been measured."""

OPERATOR_RATE = 1.0
"""Seconds that operators declare which a thread does in a second, as long as nothing has been measured."""

WRITE_RATE = 40e6
"""Bytes of values that an export puts into its file and compares in a second, as long as nothing has been measured."""

_MEMORY = 30.0
"""Seconds of measured work after which older work counts half or less."""
_PRIOR = 0.05
"""Seconds of work that the values without a measurement count for."""
_SAVE = 5.0
"""Seconds between two writings of the file."""

_KINDS = {"decode": DECODE_RATE, "evaluate": EVALUATE_RATE, "operator": OPERATOR_RATE, "write": WRITE_RATE}


class Throughput:
    """Estimates of amounts per second and thread; thread-safe, and cheap enough to be told of every block.

    Parameters
    ----------
    file
        Where the sums are kept: written at most every few seconds, whole or not at all; one that is missing, broken or
        from elsewhere counts as none.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = dict.fromkeys(_KINDS, (0.0, 0.0))
        """Kind → amount and seconds that the file has."""
        self._own = dict.fromkeys(_KINDS, (0.0, 0.0))
        """What was measured here since the file was read or written last."""
        self._stamp: tuple[int, int] | None = None
        self._saved = -_SAVE
        self._saving: threading.Timer | None = None
        self._lock = threading.Lock()

    def record(self, kind: str, amount: float, seconds: float) -> None:
        """So much work took one thread so long."""
        if not (amount > 0 and seconds > 0):
            return
        with self._lock:
            before = self._own[kind]
            self._own[kind] = before[0] + amount, before[1] + seconds
            if self._saving is None:  # soon, so that the rest of the view is in it, off the path of the block
                wait = max(1.0, self._saved + _SAVE - time.monotonic())
                self._saving = threading.Timer(wait, self.save)
                self._saving.daemon = True
                self._saving.start()

    def rate(self, kind: str) -> float:
        """Amount per second of one thread."""
        with self._lock:
            self._read()
            amount, seconds = self._total(kind)
        return (amount + _PRIOR * _KINDS[kind]) / (seconds + _PRIOR)

    @property
    def is_measured(self) -> bool:
        """Whether anything was measured."""
        with self._lock:
            self._read()
            return any(self._total(kind)[1] > 0 for kind in _KINDS)

    def _total(self, kind: str) -> tuple[float, float]:
        (a, s), (b, t) = self._known[kind], self._own[kind]
        return a + b, s + t

    def _read(self) -> None:
        """What other processes have measured meanwhile."""
        try:
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            content = json.loads(self._file.read_text("utf-8"))
            known = {kind: (float(content[kind][0]), float(content[kind][1])) for kind in _KINDS}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return
        if all(0 <= amount < 1e18 and 0 <= seconds < 1e9 for amount, seconds in known.values()):
            self._known = known

    def save(self) -> None:
        """Adds what was measured here to the file."""
        with self._lock:
            self._saving, self._saved = None, time.monotonic()
            self._read()
            for kind in _KINDS:
                amount, seconds = self._total(kind)
                fading = min(1.0, _MEMORY / seconds) if seconds else 1.0
                self._known[kind] = amount * fading, seconds * fading
                self._own[kind] = 0.0, 0.0
            self._write()

    def _write(self) -> None:
        with suppress(OSError):  # a full disk, or a home that cannot be written: the estimate then is this process's
            handle, part = tempfile.mkstemp(dir=self._file.parent, prefix=".throughput-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(self._known, file)
                os.replace(part, self._file)
            except BaseException:
                with suppress(OSError):
                    os.unlink(part)
                raise
            found = self._file.stat()
            self._stamp = (found.st_mtime_ns, found.st_ino)


_estimates: dict[str, Throughput] = {}
_lock = threading.Lock()


def _estimate() -> Throughput:
    """That of the user's home, which tests and services may move."""
    home = os.environ.get("MUSES_LAB_HOME", "")
    found = _estimates.get(home)
    if found is None:
        with _lock:
            found = _estimates.setdefault(home, Throughput(settings.home() / "throughput.json"))
    return found


def record_decode(bytes: int, seconds: float) -> None:
    """A thread decoded so many bytes of pixels (their size in memory) in so many seconds, reading included."""
    _estimate().record("decode", bytes, seconds)


def record_evaluate(pixels: int, seconds: float) -> None:
    """A thread evaluated so many pixels × dates in so many seconds, decoding not included."""
    _estimate().record("evaluate", pixels, seconds)


def record_operator(declared: float, seconds: float) -> None:
    """What an operator declares to take so many seconds took a thread so many."""
    _estimate().record("operator", declared, seconds)


def record_write(bytes: int, seconds: float) -> None:
    """An export put so many bytes of values into its file, and compared them, in so many seconds."""
    _estimate().record("write", bytes, seconds)


def write_rate() -> float:
    """Bytes of values that an export puts into its file and compares in a second."""
    return _estimate().rate("write")


def decode_rate() -> float:
    """Bytes of pixels that a thread decodes in a second."""
    return _estimate().rate("decode")


def evaluate_rate() -> float:
    """Pixels × dates that a thread evaluates in a second."""
    return _estimate().rate("evaluate")


def are_measured() -> bool:
    """Whether the rates are of work on this machine, and not only of what is usual."""
    return _estimate().is_measured


def operator_rate() -> float:
    """Seconds, as operators declare them, that a thread does in a second: less than 1 on a slower machine.

    At most 1: what one operator declares too much is not to make others look cheap.
    """
    return min(_estimate().rate("operator"), OPERATOR_RATE)
