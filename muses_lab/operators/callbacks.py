"""Evaluation of callbacks: the small graphs inside `apply`, `reduce_dimension` and `merge_cubes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from muses_lab.document.graph import Callback, Node, Parameter, rebuild, walk
from muses_lab.operators.declare import Meta, registry
from muses_lab.resources import cancel


@dataclass(frozen=True)
class Series:
    """The values along one dimension of a cube: what `data` is inside a reducer."""

    array: xr.DataArray
    dim: str
    meta: Meta


def run(callback: Callback, **parameters: Any) -> Any:
    """The result of a callback with its parameters bound, elementwise over arrays."""
    values: dict[str, Any] = {}
    order = walk(callback.root)
    last = {used.hash: node.hash for node in order for used in _nodes_in(node)}
    for node in order:
        cancel.check()
        fn = registry[node.process].fn
        values[node.hash] = fn(**{name: _value(a, values, parameters) for name, a in node.arguments.items()})
        for used in _nodes_in(node):
            if last[used.hash] == node.hash:
                values.pop(used.hash, None)  # nobody needs it any more
    return values[callback.root.hash]


def _value(argument: Any, values: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
    """What an argument is. (A function in `run` that calls itself would hold its cubes until they are collected.)"""
    if isinstance(argument, Node):
        return values[argument.hash]
    if isinstance(argument, Parameter):
        return parameters[argument.name]
    if isinstance(argument, list):
        return [_value(item, values, parameters) for item in argument]
    return argument


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
            missing[node.hash] = registry[node.process].is_strict(arguments) and any(inputs)
    return missing[callback.root.hash]


def _is_parameter(argument: Any) -> bool:
    return isinstance(argument, Parameter)


def _minds_gaps(node: Node) -> bool:
    """Whether a reducer's result changes when missing elements are left out of its series."""
    by_place = node.process == "array_element" and node.arguments.get("index") is not None
    return (
        by_place or not registry[node.process].is_strict(node.arguments) or node.arguments.get("ignore_nodata") is False
    )


def element_of(node: Node) -> tuple[Any, int | None, str | int | None] | None:
    """(series, index, label) of a node that takes an element of a series; None for other processes."""
    if node.process != "array_element":
        return None
    return node.arguments["data"], node.arguments.get("index"), node.arguments.get("label")


def reduction_of(reducer: Callback) -> tuple[str, float] | None:
    """Name and probability of the reduction that a reducer is, as compiled code has it.

    None for those with conditions, of several processes, or of something else than the whole series.
    """
    root, p = reducer.root, 0.0
    element = element_of(root)
    if element is not None:
        series, index, _ = element
        if not isinstance(series, Node) or index is None:
            return None
        probabilities = series.arguments.get("probabilities") or ()
        if not 0 <= index < len(probabilities):
            return None
        root, p = series, float(probabilities[index])
    arguments = {name: a for name, a in root.arguments.items() if name != "probabilities"}
    code, data = registry[root.process].code, arguments.pop("data", None)
    if code is None or not isinstance(data, Parameter) or (element is None and registry[root.process].gives_series):
        return None
    if any(a is not None and a is not True for a in arguments.values()) or arguments.get("condition"):
        return None
    return code, p


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
