"""The engine: plan, read, evaluate, cache. Pure: no Dask, no Jupyter, no HTTP."""

from __future__ import annotations

from muses_lab.engine.core import Engine, Result, worker_engine
from muses_lab.engine.keys import BlockKey, Missing, NodeKey, OnceKey, RectKey, SoleKey
from muses_lab.engine.published import Published

__all__ = [
    "BlockKey",
    "Engine",
    "Missing",
    "NodeKey",
    "OnceKey",
    "RectKey",
    "SoleKey",
    "Published",
    "Result",
    "worker_engine",
]
