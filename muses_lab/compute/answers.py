"""Tasks and their results as bytes that hold no code: what travels between a participant and the class's evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np

from muses_lab.engine import BlockKey, NodeKey, RectKey, Result
from muses_lab.engine.mosaic import Report
from muses_lab.errors import DocumentError
from muses_lab.scenes.wire import join, split

_MOST_LEVEL = 40
_MOST_PIXEL = 1 << 40
_KINDS: dict[str, tuple[Any, int]] = {"block": (BlockKey, 4), "rect": (RectKey, 6)}
"""With how many fields."""
_NUMBERS = "biuf"


def task_to_json(task: BlockKey | RectKey | NodeKey) -> dict[str, Any]:
    """A task as JSON; `task_from_json` reads it again."""
    if isinstance(task, NodeKey):
        return {"node": task.node}
    return {"block" if isinstance(task, BlockKey) else "rect": list(task)}


def task_from_json(found: Any) -> BlockKey | RectKey | NodeKey:
    """The task that somebody has written; `DocumentError` for anything else."""
    if isinstance(found, dict) and len(found) == 1:
        ((name, value),) = found.items()
        if name == "node" and isinstance(value, str):
            return NodeKey(value)
        kind, fields = _KINDS.get(name, (None, 0))
        if kind is not None and isinstance(value, list) and len(value) == fields:
            grid, *numbers = value
            if isinstance(grid, str) and all(type(n) is int and abs(n) < _MOST_PIXEL for n in numbers):
                task = kind(grid, *numbers)
                if 0 <= task.level <= _MOST_LEVEL and task.rect.pixels > 0:
                    return task
    raise DocumentError(f"{found!r:.120} is no task: {{'block': [grid, level, row, column]}}, a 'rect' or a 'node'")


def packed(result: Result) -> bytes:
    """A result as bytes."""
    values = None if result.values is None else np.ascontiguousarray(result.values)
    head: dict[str, Any] = {
        "used": sorted(result.report.used),
        "failed": dict(result.report.failed),
        "seconds": result.seconds,
    }
    parts: dict[str, Any] = {}
    if values is not None:
        head |= {"dtype": values.dtype.str, "shape": list(values.shape)}
        parts["values"] = values.tobytes()
    if result.body is not None:
        parts["body"] = result.body
    return join(head, parts)


def unpacked(body: bytes) -> Result:
    """The result that `packed` gave; `ValueError` for anything else."""
    try:
        head, parts = split(body)
        values = None
        if "values" in parts:
            dtype = np.dtype(head["dtype"])
            if dtype.kind not in _NUMBERS:
                raise ValueError(f"values of type {dtype}")
            values = np.frombuffer(parts["values"], dtype).reshape(head["shape"])
        kept = bytes(parts["body"]) if "body" in parts else None
        report = Report(frozenset(map(str, head["used"])), {str(k): str(v) for k, v in head["failed"].items()})
        return Result(values, report, kept, float(head["seconds"]))
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
