"""Where chains are evaluated: threads of this process, the embedded cluster, or a Dask Gateway.

>>> from muses_lab import compute
>>> compute.use("threads")                                          # default: the embedded cluster
>>> compute.executor().request(published, block).future.result()     # doctest: +SKIP
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

from muses_lab.compute.queue import Backend, Executor, Ticket

__all__ = [
    "Backend", "Executor", "Ticket", "executor", "forget", "kind", "keeps", "pending", "shared", "shutdown", "use",
]  # fmt: skip

Kind = Literal["threads", "embedded", "gateway"]

_lock = threading.Lock()
_executors: dict[str, Executor] = {}
_default: str | None = None
_inherited: list[Any] = []
_shared: Any = None


def use(kind: Kind) -> None:
    """Sets where this process evaluates from now on; other processes are told by `MUSES_COMPUTE`."""
    global _default
    _default = _checked(kind)


def kind() -> Kind:
    """Where this process evaluates: `use()`, else `MUSES_COMPUTE`, else "embedded"."""
    return _checked(_chosen())


def _chosen() -> str:
    return _default or os.environ.get("MUSES_COMPUTE") or "embedded"


def pending(kind: Kind) -> dict[str, int]:
    """How many blocks this process has under way there (`queued`, `running`), without starting anything."""
    with _lock:
        known = _executors.get(kind)
    return {name: known.status()[name] if known else 0 for name in ("queued", "running")}


def forget(kind: Kind) -> None:
    """Ends this process's executor of that kind and cancels its work; the next request makes a new one."""
    global _shared
    with _lock:
        known = _executors.pop(kind, None)
        asks, _shared = (_shared, None) if _shared is not None and _shared.own is known else (None, _shared)
    for one in (asks, known):
        if one is not None:
            one.close()


def executor(kind: Kind | None = None) -> Executor:
    """This process's executor of that kind (default: that of `compute.kind()`).

    Returns at once: a cluster is found or started in the background when the first block is asked for.
    """
    name = _checked(kind or _chosen())
    with _lock:
        if name not in _executors:
            _executors[name] = Executor(_backend(name))
        return _executors[name]


def shared() -> Executor:
    """What maps and their panels ask: the class's evaluator where there is one, else as `executor()`.

    `MUSES_COURSE_URL` says where it is; the hub sets it. Arrays, exports and private chains do not go there.
    """
    global _shared
    own, url = executor(), os.environ.get("MUSES_COURSE_URL", "")
    if not url:
        return own
    with _lock:
        if _shared is None or _shared.own is not own:
            from muses_lab.compute.class_executor import ClassExecutor
            from muses_lab.compute.class_link import ClassLink

            _shared = ClassExecutor(own, ClassLink(url))
        return _shared


def keeps(names: Sequence[tuple[Any, ...]]) -> list[bool]:
    """Of blocks (see `Executor.keeps`), whether their values are there already; starts nothing in order to know it."""
    name = _checked(_chosen())
    if name == "embedded":
        from muses_lab.compute import embedded

        there = embedded.running() is not None
    else:
        there = name in _executors
    return executor(name).keeps(names) if there and names else [False] * len(names)


def shutdown() -> None:
    """Ends this process's executors and gives up its lease on the embedded cluster."""
    global _shared
    with _lock:
        closing, asks = dict(_executors), _shared
        _executors.clear()
        _shared = None
    for one in (asks, *closing.values()):
        if one is not None:
            one.close()
    if "embedded" in closing:
        from muses_lab.compute import embedded

        embedded.drop_lease()


def _checked(kind: str) -> Kind:
    if kind not in get_args(Kind):
        raise ValueError(f"{kind!r} is not a place to compute; there are {', '.join(map(repr, get_args(Kind)))}")
    return cast(Kind, kind)


def _backend(kind: str) -> Backend:
    if kind == "threads":  # imports are late: Dask takes a second that evaluation in threads need not spend
        from muses_lab.compute.threads import ThreadsBackend

        return ThreadsBackend()
    from muses_lab.compute.dask_backend import DaskBackend

    if kind == "embedded":
        from muses_lab.compute import embedded

        return DaskBackend(kind, embedded.connect)
    from muses_lab.compute import gateway

    return DaskBackend(kind, gateway.connect)


def _forget_in_child() -> None:
    """After a fork the parent's threads and connections are not ours: untouched, and new ones are made when asked."""
    global _lock, _shared
    # A reference, so that nothing is closed by the garbage collector.
    _inherited.extend((*_executors.values(), _shared))
    _executors.clear()
    _shared = None
    _lock = threading.Lock()


atexit.register(shutdown)
os.register_at_fork(after_in_child=_forget_in_child)
