"""Evaluation of callbacks: the small graphs inside `apply`, `reduce_dimension` and `merge_cubes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property, reduce
from typing import Any

import numpy as np
import xarray as xr

from muses_lab.document.graph import Callback, Node, Parameter, rebuild, walk
from muses_lab.errors import BandError, DocumentError
from muses_lab.operators.arguments import SERIES
from muses_lab.operators.contract import Length, Meta
from muses_lab.operators.declared import Operator
from muses_lab.operators.registered import is_array, parameters_of, registry
from muses_lab.resources import cancel
from muses_lab.times import format_time

ELEMENT = "element"
"""The dimension of an array that is none of the cube's."""

Label = str | float


@dataclass(frozen=True)
class Series:
    """An array in a callback: the values along one dimension of a cube (`data`), or what is made of them."""

    array: xr.DataArray
    dim: str
    meta: Meta = Meta(time=False)
    names: tuple[Label, ...] | None = None
    """Labels of its elements, where they are not those of the cube's dimension."""
    length: xr.DataArray | None = None
    """Of each pixel, where it is not the same for all: what is beyond it is missing, and no element."""
    at: tuple[float, ...] | None = None
    """Where its elements are on an axis, where the cube's dimension does not say so."""

    @property
    def size(self) -> int:
        return self.array.sizes[self.dim]

    @cached_property
    def elements(self) -> xr.DataArray:
        """The values with the elements as the first dimension, called `ELEMENT`, without its coordinates."""
        array = self.array.drop_vars(self.dim, errors="ignore").transpose(self.dim, ...)
        return array if self.dim == ELEMENT else array.rename({self.dim: ELEMENT})

    @cached_property
    def labels(self) -> tuple[Label, ...] | None:
        """Names of its elements: those given, bands, or dates as ISO texts; None: it has none."""
        if self.names is not None or self.dim not in self.array.coords:
            return self.names
        labels = self.array.coords[self.dim].values
        if self.dim == "t":
            return tuple(format_time(t.item().replace(tzinfo=UTC)) for t in labels.astype("M8[us]"))
        return tuple(labels.tolist())

    @cached_property
    def places(self) -> tuple[float, ...]:
        """Where its elements are on an axis: days of dates, labels that are numbers, else 0, 1, 2 …"""
        if self.at is not None:
            return self.at
        if self.dim == "t" and "t" in self.array.coords:
            times = self.array.coords["t"].values.astype("M8[ns]")
            return tuple(((times - times[:1]) / np.timedelta64(1, "D")).tolist())
        if self.names is not None and all(isinstance(name, int | float) for name in self.names):
            return tuple(map(float, self.names))
        return tuple(map(float, range(self.size)))

    def but(self, elements: xr.DataArray) -> Series:
        """Other values in the places of its elements."""
        return Series(elements, ELEMENT, length=self.length, at=self.places)


def as_series(data: Any) -> Series:
    """An array as a series; a list of values becomes one along a dimension of its own."""
    if isinstance(data, Series):
        return data
    if any(isinstance(item, str) for item in data):
        raise DocumentError(f"texts such as {next(v for v in data if isinstance(v, str))!r} are no values of a cube")
    arrays = [item for item in data if isinstance(item, xr.DataArray)]
    dtype = np.result_type(np.float32, *arrays) if arrays else np.float64
    parts = [xr.DataArray(np.asarray(np.nan if item is None else item, dtype))
             if not isinstance(item, xr.DataArray) else item for item in data]  # fmt: skip
    return Series(stacked(parts), ELEMENT)


def stacked(parts: list[xr.DataArray]) -> xr.DataArray:
    """Values side by side, along `ELEMENT`."""
    if not parts:
        return xr.DataArray(np.empty(0, np.float32), dims=ELEMENT)
    return xr.concat(xr.broadcast(*parts), dim=ELEMENT, coords="minimal", compat="override")


@dataclass(frozen=True)
class Bound:
    """A callback inside another one, with the parameters of the one around it."""

    callback: Callback
    around: Mapping[str, Any]

    def __call__(self, **parameters: Any) -> Any:
        return run(self.callback, **{**self.around, **parameters})

    def uses(self, *names: str) -> bool:
        """Whether it depends on one of these parameters."""
        return bool(parameters_of(self.callback.root) & set(names))


def run(callback: Callback, **parameters: Any) -> Any:
    """The result of a callback with its parameters bound, elementwise over arrays."""
    values: dict[str, Any] = {}
    order = walk(callback.root)
    last = {used.hash: node.hash for node in order for used in _nodes_in(node)}
    for node in order:
        cancel.check()
        op = registry[node.process]
        given = {name: _value(a, values, parameters) for name, a in node.arguments.items()}
        values[node.hash] = _by_element(op, given) if op.is_elementwise else op.fn(**given)
        del given  # nobody else needs its arrays any more
        for used in _nodes_in(node):
            if last[used.hash] == node.hash:
                values.pop(used.hash, None)
    return values[callback.root.hash]


def _by_element(op: Operator, arguments: dict[str, Any]) -> Any:
    """A process of values; of arrays it makes an array, element by element."""
    arrays = {name: a if isinstance(a, Series) else as_series(a) for name, a in arguments.items()
              if isinstance(a, Series) or (isinstance(a, list) and op.arguments[name].kind == "scalar")}  # fmt: skip
    if not arrays:
        return op.fn(**arguments)
    sizes = sorted({a.size for a in arrays.values()})
    if len(sizes) > 1:
        raise DocumentError(
            f"{op.id!r} combines arrays of {' and '.join(map(str, sizes))} elements; they must be equally long",
            openeo="ArrayLengthMismatch",
        )
    result = op.fn(**{**arguments, **{name: a.elements for name, a in arrays.items()}})
    first = next(iter(arrays.values()))
    if not (isinstance(result, xr.DataArray) and ELEMENT in result.dims):  # one value for all
        result = xr.broadcast(result if isinstance(result, xr.DataArray) else _constant(result, first), first.elements)[
            0
        ]
    lengths = [a.length for a in arrays.values() if a.length is not None]
    shortest = reduce(lambda a, b: a.where(a < b, b), lengths) if lengths else None
    same = all(a.places == first.places for a in arrays.values())
    return Series(result, ELEMENT, length=shortest, at=first.places if same else None)


def _constant(value: Any, like: Series) -> xr.DataArray:
    return xr.DataArray(np.asarray(np.nan if value is None else value, like.array.dtype))


def _value(argument: Any, values: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
    """What an argument is. (A function in `run` that calls itself would hold its cubes until they are collected.)"""
    if isinstance(argument, Node):
        return values[argument.hash]
    if isinstance(argument, Parameter):
        return parameters[argument.name]
    if isinstance(argument, Callback):
        return Bound(argument, parameters)
    if isinstance(argument, list):
        return [_value(item, values, parameters) for item in argument]
    return argument


def length_of(callback: Callback, data: Length) -> Length:
    """How long the array is that a callback gives, of the length of its `data`.

    Raises
    ------
    DocumentError
        Arrays that are combined, or an element that is taken, do not fit.
    """
    known: dict[str, Length] = {}

    def length(argument: Any) -> Length:
        if isinstance(argument, Node):
            return known[argument.hash]
        return data if _is_parameter(argument) else Length(0, len(argument))

    for node in walk(callback.root):
        if is_array(node):
            known[node.hash] = _length(registry[node.process], node.arguments, length)
    return known[callback.root.hash]


def _nodes_in(node: Node) -> list[Node]:
    """The nodes that a node's arguments are or hold."""
    arguments = [item for a in node.arguments.values() for item in (a if isinstance(a, list) else [a])]
    return [a for a in arguments if isinstance(a, Node)]


def is_strict(callback: Callback) -> bool:
    """Whether dates that are missing altogether may be left out before a callback, as if they had never been.

    So it is where the result is missing whenever all input is, and no series is counted or taken by its place.
    """
    missing: dict[str, bool] = {}  # node → missing whenever all parameters are
    in_place: dict[str, bool] = {}  # node that gives an array → its elements are those of `data`, in their places

    def is_missing(argument: Any) -> bool:
        if isinstance(argument, list):
            return all(map(is_missing, argument))
        return missing[argument.hash] if isinstance(argument, Node) else argument is None or _is_parameter(argument)

    def keeps_places(array: Any) -> bool:
        return in_place[array.hash] if isinstance(array, Node) else _is_parameter(array) and array.name == SERIES

    for node in walk(callback.root):
        op, arguments = registry[node.process], node.arguments
        arrays = [a for n, a in arguments.items() if op.arguments[n].kind in ("array", "scalar") and is_array(a)]
        placed = [a for a in arrays if keeps_places(a)]
        if placed and (_minds_gaps(node) or len(placed) < len(arrays)):
            return False
        in_place[node.hash] = is_array(node) and bool(placed) and op.length is None
        if node.process == "if":
            chosen = is_missing(arguments["value"]) or is_missing(arguments["accept"])
            missing[node.hash] = chosen and is_missing(arguments.get("reject"))
            continue
        elements = arguments.get("data")
        inputs = [is_missing(a) for a in (elements if isinstance(elements, list) else arguments.values())]
        ignores = isinstance(elements, list) and arguments.get("ignore_nodata") is not False
        if node.process in ("and", "or") or (ignores and op.is_strict(arguments)):
            missing[node.hash] = bool(inputs) and all(inputs)
        elif op.gives_series:
            missing[node.hash] = op.is_strict(arguments) and all(map(is_missing, arrays))
        else:
            missing[node.hash] = op.is_strict(arguments) and any(inputs)
    return missing[callback.root.hash]


def _is_parameter(argument: Any) -> bool:
    return isinstance(argument, Parameter)


def _minds_gaps(node: Node) -> bool:
    """Whether a reducer's result changes when missing elements are left out of its series."""
    op = registry[node.process]
    by_place = node.process == "array_element" and node.arguments.get("index") is not None
    longer = op.gives_series and op.length is not None and _length(op, node.arguments, lambda _: Length()).times > 0
    return by_place or longer or not op.is_strict(node.arguments) or node.arguments.get("ignore_nodata") is False


def _length(op: Operator, given: Mapping[str, Any], length: Callable[[Any], Length]) -> Length:
    """Of the array that a process gives, by the lengths of its arguments."""
    filled = {a.name: given.get(a.name, a.default) for a in op.arguments.values()}
    kind = "scalar" if op.is_elementwise else "array"
    arrays = {
        name: length(value) for name, value in filled.items() if op.arguments[name].kind == kind and is_array(value)
    }
    return op.length(filled, arrays) if op.length else next(iter(arrays.values()))


def element_of(node: Node) -> tuple[Any, int | None, str | int | None] | None:
    """(series, index, label) of a node that takes an element of a series; None for other processes."""
    index = node.arguments.get("index")
    if node.process != "array_element" or not isinstance(index, int | None) or node.arguments.get("return_nodata"):
        return None
    return node.arguments["data"], index, node.arguments.get("label")


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
        element = element_of(node)
        if element is not None and _is_parameter(element[0]):
            labels.append(element_label(meta, *element[1:]))
        elif any(map(_uses_data, node.arguments.values())):
            return None
    return tuple(dict.fromkeys(labels))


def _uses_data(argument: Any) -> bool:
    if isinstance(argument, Callback):
        return SERIES in parameters_of(argument.root)
    return any(map(_is_parameter, argument)) if isinstance(argument, list) else _is_parameter(argument)


def with_labels(callback: Callback, meta: Meta) -> Callback:
    """A reducer over `bands` that names its elements by label: places change when only some bands are read."""

    def by_label(node: Node, arguments: dict[str, Any]) -> Node:
        element = element_of(node)
        if element is not None and _is_parameter(element[0]) and element[1] is not None:
            arguments = {"data": arguments["data"], "label": element_label(meta, element[1], None)}
        return Node(node.process, arguments, node.version)

    return Callback(rebuild(callback.root, by_label))


def element_label(meta: Meta, index: int | None, label: str | int | None) -> str:
    """The band that `array_element` names by its place or label."""
    if label is not None:
        try:
            return meta.find(str(label))
        except BandError as error:
            raise BandError(error.message, openeo="ArrayElementNotAvailable", **error.details) from None
    bands = meta.bands or ()
    if index is None or not 0 <= index < len(bands):
        listed = ", ".join(bands) or "no bands at all"
        raise BandError(
            f"there is no band at the index {index} (the first is 0); the data have {listed}",
            openeo="ArrayElementNotAvailable", band=index,
        )  # fmt: skip
    return bands[index]
