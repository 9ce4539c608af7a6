"""Evaluation of callbacks: the small graphs inside `apply`, `reduce_dimension` and `merge_cubes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr

from muses_lab.graph import Callback, Node, Parameter, rebuild, walk
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

    order = walk(callback.root)
    last = {used.hash: node.hash for node in order for used in _nodes_in(node)}
    for node in order:
        fn = registry[node.process].fn
        values[node.hash] = fn(**{name: value_of(argument) for name, argument in node.arguments.items()})
        for used in _nodes_in(node):
            if last[used.hash] == node.hash:
                values.pop(used.hash, None)  # nobody needs it any more
    return values[callback.root.hash]


def _nodes_in(node: Node) -> list[Node]:
    """The nodes that a node's arguments are or hold."""
    arguments = [item for a in node.arguments.values() for item in (a if isinstance(a, list) else [a])]
    return [a for a in arguments if isinstance(a, Node)]


def is_strict(callback: Callback) -> bool:
    """Whether dates that are missing altogether may be left out before a callback, as if they had never been.

    So it is where the result is missing whenever all input is, and no series is counted or taken by its place.
    """
    missing: dict[str, bool] = {}  # node → missing whenever all parameters are

    def is_missing(argument: Any) -> bool:
        return missing[argument.hash] if isinstance(argument, Node) else argument is None or _is_parameter(argument)

    for node in walk(callback.root):
        arguments = node.arguments
        if _is_parameter(arguments.get("data")) and _minds_gaps(node):
            return False
        if node.process == "if":
            chosen = is_missing(arguments["value"]) or is_missing(arguments["accept"])
            missing[node.hash] = chosen and is_missing(arguments.get("reject"))
            continue
        elements = arguments.get("data")
        inputs = [is_missing(a) for a in (elements if isinstance(elements, list) else arguments.values())]
        ignores = isinstance(elements, list) and arguments.get("ignore_nodata") is not False
        if node.process in ("and", "or") or ignores:
            missing[node.hash] = all(inputs)
        else:
            missing[node.hash] = registry[node.process].strict and any(inputs)
    return missing[callback.root.hash]


def _is_parameter(argument: Any) -> bool:
    return isinstance(argument, Parameter)


def _minds_gaps(node: Node) -> bool:
    """Whether a reducer's result changes when missing elements are left out of its series."""
    by_place = node.process == "array_element" and node.arguments.get("index") is not None
    return by_place or not registry[node.process].strict or node.arguments.get("ignore_nodata") is False


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


def with_labels(callback: Callback, meta: Meta) -> Callback:
    """A reducer over `bands` that names its elements by label: places change when only some bands are read."""

    def by_label(node: Node, arguments: dict[str, Any]) -> Node:
        if node.process == "array_element" and _is_parameter(arguments["data"]) and "index" in arguments:
            arguments = {"data": arguments["data"], "label": element_label(meta, arguments["index"], None)}
        return Node(node.process, arguments, node.version)

    return Callback(rebuild(callback.root, by_label))


def element_label(meta: Meta, index: int | None, label: str | int | None) -> str:
    """The band that `array_element` names by its place or label."""
    if label is not None:
        return meta.find(str(label))
    bands = meta.bands or ()
    if index is None or not 0 <= index < len(bands):
        return meta.find(f"#{index}")
    return bands[index]
