"""What runs in a worker: one block of one chain, and the calls beside it (document, cancel flags, counters).

A task carries a hash, a block and a token, never a document: a worker that misses the document answers `Absent` and
gets it once. The calls beside the tasks come through `Client.run` and so are answered on the worker's event loop
although all its threads are busy. Errors come back as values (`Failed`): raised ones would fill the cluster's log with
every cancelled tile.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import pickle
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from muses_lab.compute import shared_memory
from muses_lab.compute.release import release
from muses_lab.compute.shared_memory import SharedFolder
from muses_lab.errors import Cancelled, ComputeError


class Engine(Protocol):
    """What `compute` needs of `muses_lab.engine.Engine`; `Missing` is raised for a document it does not have."""

    def has(self, chain_hash: str) -> bool: ...
    def put(self, chain_hash: str, payload: bytes) -> None: ...
    def run(self, chain_hash: str, task: Any, cancelled: Callable[[], bool]) -> Any: ...
    def counters(self) -> dict[str, int]: ...
    def keeps(self, names: Sequence[tuple[Any, ...]]) -> list[bool]: ...


def engine() -> Engine:
    """This process's engine; `MUSES_ENGINE` ("module:function") names another maker than the ordinary one."""
    module, _, name = os.environ.get("MUSES_ENGINE", "muses_lab.engine:worker_engine").partition(":")
    return getattr(importlib.import_module(module), name)()


@dataclass(frozen=True)
class Done:
    worker: str
    result: Any


@dataclass(frozen=True)
class Left:
    """The result lies in memory that the asker shares, see `shared_memory`."""

    worker: str


@dataclass(frozen=True)
class Absent:
    """The worker does not have the document."""

    worker: str


@dataclass(frozen=True)
class Foreign:
    """The worker runs another release than the asker."""

    worker: str
    release: str


@dataclass(frozen=True)
class Failed:
    worker: str
    error: Exception
    trace: str = ""

    def unpacked(self) -> Exception:
        """The error, with the worker's traceback as a note (notes of our errors do not travel by themselves)."""
        if self.trace:
            self.error.add_note(f"in the worker {self.worker}:\n{self.trace}")
        return self.error


class CancelFlags:
    """Tokens of work that nobody waits for any more. Bounded: a flag may come after its work has ended."""

    def __init__(self, limit: int = 10_000) -> None:
        self._tokens: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._limit = limit

    def add(self, tokens: Iterable[str]) -> None:
        with self._lock:
            self._tokens.update(dict.fromkeys(tokens))
            while len(self._tokens) > self._limit:
                self._tokens.popitem(last=False)

    def discard(self, token: str) -> None:
        with self._lock:
            self._tokens.pop(token, None)

    def __contains__(self, token: str) -> bool:
        return token in self._tokens


flags = CancelFlags()
running: set[str] = set()
"""Tokens of what this worker's threads evaluate now."""


def hint(here: Engine, chain_hash: str, task: Any) -> None:
    """Tells an engine what it will be asked for next, if that is of use to it."""
    tell = getattr(here, "hint", None)
    if tell is not None:
        tell(chain_hash, task)


def cancel_hint(here: Engine, chain_hash: str, task: Any) -> None:
    """Takes back a hint."""
    tell = getattr(here, "cancel_hint", None)
    if tell is not None:
        tell(chain_hash, task)


Answer = Done | Left | Absent | Foreign | Failed


def run_block(asker_release: str, block: bytes, place: SharedFolder | None = None) -> Answer:
    """Evaluates a block or node (pickled: chain, task, token); `place`: where the asker would take the result from."""
    from distributed import get_worker  # late: evaluation in threads needs no Dask

    worker = get_worker().address
    if asker_release != release():
        return Foreign(worker, release())
    chain_hash, task, token = pickle.loads(block)
    try:
        if token in flags:
            raise Cancelled("nobody waits for this block any more", begun=False)
        worker_engine = engine()  # a worker that starts is not stuck
        running.add(token)
        if not worker_engine.has(chain_hash):
            return Absent(worker)
        done = Done(worker, worker_engine.run(chain_hash, task, lambda: token in flags))
        if place is not None and getattr(done.result, "nbytes", 0) >= shared_memory.LEAST and token not in flags:
            return Left(worker) if shared_memory.leave(place, token, done) else done
        return done
    except Exception as error:
        if is_missing(error):  # dropped between has() and run()
            return Absent(worker)
        return failure(worker, error)
    finally:
        running.discard(token)
        flags.discard(token)


def is_missing(error: Exception) -> bool:
    from muses_lab.engine.keys import Missing  # late: importing the engine takes seconds that askers need not spend

    return isinstance(error, Missing)


def failure(worker: str, error: Exception) -> Failed:
    """`error` made fit to travel; one that cannot be pickled becomes a `ComputeError` of the same text."""
    trace = "" if isinstance(error, Cancelled) else "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = ComputeError(f"{type(error).__name__}: {error}")
    return Failed(worker, error, trace)


# Through `Client.run`, on the worker's event loop:


async def put_document(chain_hash: str, payload: bytes, expected: Sequence[tuple[str, Any]] = ()) -> Failed | None:
    """Gives this worker's engine a document, and says which blocks to expect; the engine's own error if it refuses."""
    try:
        await asyncio.to_thread(lambda: engine().put(chain_hash, payload))
    except Exception as error:
        return failure("", error)
    await prefetch(expected, ())
    return None


async def prefetch(expected: Sequence[tuple[str, Any]], gone: Sequence[tuple[str, Any]]) -> None:
    """Blocks (chain, task) that this worker will be given, and some that it will not be given after all."""

    def tell() -> None:
        here = engine()
        for block in gone:
            cancel_hint(here, *block)
        for block in expected:
            hint(here, *block)

    await asyncio.to_thread(tell)


def cancel(tokens: tuple[str, ...]) -> None:
    """Sets the cancel flags of `tokens`."""
    flags.add(tokens)


def end_if_running(token: str) -> None:
    """Ends this process, whose nanny starts another one, if it still evaluates what it was told to stop long ago."""
    if token in running:
        logging.getLogger(__name__).error("a block did not stop when it was told to: this worker is started anew")
        os._exit(1)


async def counters() -> dict[str, int]:
    """This worker's engine counters."""
    return await asyncio.to_thread(lambda: engine().counters())


async def keeps(names: Sequence[tuple[Any, ...]]) -> list[bool]:
    """Of blocks, whether this worker has them already."""
    return await asyncio.to_thread(lambda: engine().keeps(names))
