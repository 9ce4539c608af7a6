"""What operators take: as declared, else by their values and the processes of their callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muses_lab.document.graph import Callback, walk
from muses_lab.operators.contract import VALUE, Cost, Fit, Region, Structural
from muses_lab.operators.declared import Operator
from muses_lab.operators.registered import registry


def cost_of(op: Operator, arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """What it takes for an image of so many rows and columns: as declared, else by its values and callbacks.

    Of a Fit: what the fitting takes.
    """
    if op.declared_cost is not None:
        return op.declared_cost(arguments, pixel_size, rows, columns)
    processes = [n for a in arguments.values() if isinstance(a, Callback) for n in walk(a.root)]
    inside = (cost_of(registry[n.process], n.arguments, pixel_size, rows, columns).seconds for n in processes)
    return Cost(VALUE * rows * columns + sum(inside))


def cost_of_blocks(op: Operator, arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """What it takes where blocks are evaluated: nothing for what is evaluated elsewhere, little after fitting."""
    if isinstance(op.support, Structural | Region):
        return Cost(0.0)
    if isinstance(op.support, Fit):
        return Cost(VALUE * rows * columns)
    return cost_of(op, arguments, pixel_size, rows, columns)
