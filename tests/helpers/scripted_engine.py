"""An engine whose tasks say what they do: workers of the compute tests import it (`MUSES_ENGINE`).

Tasks are tuples of a method's name and its arguments: ("echo", 1), ("sleep", seconds, name), ("until-cancelled", name).
What happens is appended to the file `MUSES_TEST_LOG`, one line each, by any process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from muses_lab.engine.keys import Missing
from muses_lab.errors import Cancelled, ReadError


@dataclass(frozen=True)
class Document:
    """What the executor wants of a published chain."""

    hash: str = "c" * 64
    payload: bytes = b"document"


def tell(*words: Any) -> None:
    log = os.environ.get("MUSES_TEST_LOG")
    if log:
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, (" ".join(map(str, words)) + "\n").encode())
        os.close(handle)


class ScriptedEngine:
    def __init__(self) -> None:
        self._documents: dict[str, bytes] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def has(self, chain_hash: str) -> bool:
        return chain_hash in self._documents

    def put(self, chain_hash: str, payload: bytes) -> None:
        if payload == b"refuse":
            raise ReadError("this document is refused", part="payload")
        tell("put", chain_hash, os.getpid())
        self._documents[chain_hash] = payload

    def counters(self) -> dict[str, int]:
        return dict(self._counts)

    def hint(self, chain_hash: str, task: tuple) -> None:
        tell("announced", *task)

    def cancel_hint(self, chain_hash: str, task: tuple) -> None:
        tell("withdrawn", *task)

    def run(self, chain_hash: str, task: tuple, cancelled: Callable[[], bool]) -> Any:
        if chain_hash not in self._documents:
            raise Missing(chain_hash)
        with self._lock:
            self._counts["run"] += 1
        tell("run", *task)
        return getattr(self, task[0].replace("-", "_"))(*task[1:], cancelled=cancelled)

    def echo(self, value: Any, cancelled: Callable[[], bool]) -> Any:
        return value

    def where(self, name: Any, cancelled: Callable[[], bool]) -> int:
        time.sleep(0.02)
        return os.getpid()

    def array(self, size: int, name: Any, cancelled: Callable[[], bool]) -> np.ndarray:
        return np.full(size, 7, np.uint8)

    def sleep(self, seconds: float, name: Any, cancelled: Callable[[], bool]) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if cancelled():
                tell("stopped", name)
                raise Cancelled("told to stop")
            time.sleep(0.005)
        tell("slept", name)
        return name

    def until_cancelled(self, name: Any, cancelled: Callable[[], bool]) -> Any:
        return self.sleep(60, name, cancelled)

    def fail(self, name: Any, cancelled: Callable[[], bool]) -> Any:
        raise ReadError(f"scene {name} cannot be read", scene=name)

    def stumble(self, name: Any, cancelled: Callable[[], bool]) -> Any:
        return [][name]

    def die(self, name: Any, cancelled: Callable[[], bool]) -> Any:
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

    def die_once(self, name: Any, cancelled: Callable[[], bool]) -> Any:
        mark = Path(os.environ["MUSES_TEST_LOG"]).with_name(f"died-{name}")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return name


@cache
def make() -> ScriptedEngine:
    return ScriptedEngine()
