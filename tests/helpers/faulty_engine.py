"""The ordinary engine in workers that misbehave as the file `MUSES_TEST_FAULT` says (`MUSES_ENGINE`).

`slow SECONDS`: every block takes so much longer, and can be told to stop. `held`: so long as the file says so. `stuck`:
blocks never end, whatever they are told. `die`: the worker is killed at once. `die-once NAME`: only the first time.
Empty: nothing is wrong.

Which blocks are begun, and when, is written to `MUSES_TEST_RUNS` if that names a file.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from muses_lab.engine import Engine, worker_engine
from muses_lab.errors import Cancelled


class FaultyEngine:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, chain_hash: str, task: Any, cancelled: Callable[[], bool]) -> Any:
        if "MUSES_TEST_RUNS" in os.environ:
            _note(chain_hash, task)
        fault, *arguments = Path(os.environ["MUSES_TEST_FAULT"]).read_text().split() or [""]
        if fault == "slow":
            end = time.monotonic() + float(arguments[0])
            while time.monotonic() < end:
                if cancelled():
                    raise Cancelled("told to stop")
                time.sleep(0.02)
        elif fault == "held":
            while "held" in Path(os.environ["MUSES_TEST_FAULT"]).read_text():
                if cancelled():
                    raise Cancelled("told to stop")
                time.sleep(0.05)
        elif fault == "stuck":
            threading.Event().wait()
        elif fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "die-once":
            try:
                Path(os.environ["MUSES_TEST_FAULT"]).with_name(f"died-{arguments[0]}").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._engine.run(chain_hash, task, cancelled)


def _note(chain_hash: str, task: Any) -> None:
    """A line: seconds since 1970, chain, block."""
    handle = os.open(os.environ["MUSES_TEST_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{time.time()} {chain_hash} {task!r}\n".encode())
    os.close(handle)


@cache
def make() -> FaultyEngine:
    return FaultyEngine(worker_engine())
