"""Evaluation of callbacks: the small graphs inside `apply`, `reduce_dimension` and `merge_cubes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr

from muses_lab.graph import Callback, Node, Parameter, walk
from muses_lab.operators.declare import Meta, registry


@dataclass(frozen=True)
class Series:
    """The values along one dimension of a cube: what `data` is inside a reducer."""

    array: xr.DataArray
    dim: str
    meta: Meta


def run(callback: Callback, **parameters: Any) -> Any:
    """The result of a callback with its parameters bound, elementwise over arrays."""
    values: dict[str, Any] = {}

    def value_of(argument: Any) -> Any:
        if isinstance(argument, Node):
            return values[argument.hash]
        if isinstance(argument, Parameter):
            return parameters[argument.name]
        if isinstance(argument, list):
            return [value_of(item) for item in argument]
        return argument

    for node in walk(callback.root):
        fn = registry[node.process].fn
        values[node.hash] = fn(**{name: value_of(argument) for name, argument in node.arguments.items()})
    return values[callback.root.hash]


def is_strict(callback: Callback) -> bool:
    """Whether missing input always gives missing output."""
    return all(registry[node.process].strict and not _counts_missing(node) for node in walk(callback.root))


def _counts_missing(node: Node) -> bool:
    return node.arguments.get("ignore_nodata") is False or node.arguments.get("condition") is True


def wanted_labels(callback: Callback, meta: Meta) -> tuple[str, ...] | None:
    """Bands that a reducer over `bands` picks by `array_element`; None when it uses the whole series."""
    labels: list[str] = []
    for node in walk(callback.root):
        takes_data = any(isinstance(a, Parameter) and a.name == "data" for a in node.arguments.values())
        if node.process == "array_element" and takes_data:
            labels.append(element_label(meta, node.arguments.get("index"), node.arguments.get("label")))
        elif takes_data or any(
            isinstance(item, Parameter) for a in node.arguments.values() if isinstance(a, list) for item in a
        ):
            return None
    return tuple(dict.fromkeys(labels))


def element_label(meta: Meta, index: int | None, label: str | int | None) -> str:
    """The band that `array_element` names by its place or label."""
    if label is not None:
        return meta.find(str(label))
    bands = meta.bands or ()
    if index is None or not -len(bands) <= index < len(bands):
        return meta.find(f"#{index}")
    return bands[index]
