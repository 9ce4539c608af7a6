"""Curves of one's own fitted to series: openEO `fit_curve` and `predict_curve`.

A model function is a callback of `x` and `parameters`. What it does with the parameters becomes a program of compiled
code (`curve_kernels`); what depends on x alone is computed once for all pixels, by the processes themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Callback, Node, Parameter, walk
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators import curve_kernels as kernels
from muses_lab.operators.arguments import PARAMETERS
from muses_lab.operators.callbacks import ELEMENT, Bound, Series, run
from muses_lab.operators.contract import Cost, Cube, Dates, Groups, Length, Meta, Model
from muses_lab.operators.costs import cost_of
from muses_lab.operators.cubes import instant
from muses_lab.operators.declare import operator
from muses_lab.operators.functions import callback
from muses_lab.operators.given import moment
from muses_lab.operators.methods import Dimension, on_cube
from muses_lab.operators.registered import parameters_of, registry
from muses_lab.operators.series import pieces
from muses_lab.plain import plain, shown
from muses_lab.resources import cancel
from muses_lab.times import parse_time

Start = Annotated[list[float], Field(min_length=1, max_length=20)]
Labels = Annotated[list[float | str], Field(min_length=1, max_length=10_000)]

_SUMS = {"sum": kernels.ADD, "product": kernels.MULTIPLY}
"""Processes of a list of values → the instruction of two of them."""


# ------------------------------------------------------------------------------------------------ model functions


@dataclass(frozen=True)
class _Program:
    """A model function as compiled code has it; see `curve_kernels.fit`."""

    code: np.ndarray
    known: np.ndarray
    uses: np.ndarray
    result: int


def _program(function: Callback, count: int, x: np.ndarray) -> _Program:
    """The program of a model of so many parameters at these places.

    Raises
    ------
    DocumentError
        It uses a parameter that it has not, none at all, or a process of them that has no derivative.
    """
    made = _Assembly(count, x)
    for node in walk(function.root):
        made.add(node)
    result = made.registers.get(function.root.hash)
    if result is None:
        raise DocumentError("fit_curve: the function does not depend on its parameters, so there is nothing to fit")
    return made.program(result)


class _Assembly:
    """Instructions as they are found. A register is named by (kind, number) until all of them are known."""

    def __init__(self, count: int, x: np.ndarray) -> None:
        self.count, self.x = count, x
        self.registers: dict[str, tuple[str, int]] = {}
        """Nodes that depend on parameters."""
        self._known: list[np.ndarray] = []
        self._lines: list[tuple[int, tuple[str, int], tuple[str, int], tuple[str, int]]] = []

    def add(self, node: Node) -> None:
        """Instructions for a node; none where it does not depend on parameters."""
        op, given = registry[node.process], node.arguments
        arguments = [given.get(a.name, a.default) for a in op.arguments.values()]
        if any(isinstance(a, Parameter) and a.name == PARAMETERS for a in arguments):
            self.registers[node.hash] = self._parameter(node)
            return
        items = given["data"] if node.process in _SUMS and isinstance(given.get("data"), list) else arguments
        if not any(isinstance(a, Node) and a.hash in self.registers for a in items):
            return
        if items is not arguments:
            found = self._value(items[0])
            for item in items[1:]:
                found = self._line(_SUMS[node.process], found, self._value(item))
            self.registers[node.hash] = found
            return
        operation = getattr(kernels, op.code or "", None) if op.is_elementwise else None
        condition = arguments[0] if operation == kernels.IF else None
        if operation is None or (isinstance(condition, Node) and condition.hash in self.registers):
            raise DocumentError(
                f"fit_curve: the function uses {node.process!r} of its parameters, which has no derivative here; there "
                "are arithmetic, powers, logarithms, roots, trigonometric and hyperbolic functions, and `if` with a "
                "condition on x",
                process=node.process,
            )
        if operation == kernels.IF:
            condition, *arguments = arguments
        values = [self._value(a) for a in arguments]
        other = values[1] if len(values) > 1 else values[0]
        chosen = values[0] if operation != kernels.IF else self._value(condition)
        self.registers[node.hash] = self._line(operation, values[0], other, chosen)

    def _parameter(self, node: Node) -> tuple[str, int]:
        index = node.arguments.get("index")
        if node.process != "array_element" or not isinstance(index, int):
            raise DocumentError(
                f"fit_curve: the function takes its parameters by {node.process!r}; they are taken one by one, by "
                "array_element with an `index`",
                process=node.process,
            )
        if not 0 <= index < self.count:
            raise DocumentError(
                f"fit_curve: the function uses the parameter {index} (the first is 0), and there are {self.count}",
                openeo="ArrayElementNotAvailable",
            )
        return "parameter", index

    def _value(self, argument: Any) -> tuple[str, int]:
        if isinstance(argument, Node) and argument.hash in self.registers:
            return self.registers[argument.hash]
        if isinstance(argument, Node):
            argument = run(Callback(argument), x=xr.DataArray(self.x, dims=ELEMENT))
        elif isinstance(argument, Parameter):
            argument = self.x
        self._known.append(np.broadcast_to(np.asarray(np.nan if argument is None else argument, float), self.x.shape))
        return "known", len(self._known) - 1

    def _line(self, operation: int, *operands: tuple[str, int]) -> tuple[str, int]:
        a, b, *c = operands
        self._lines.append((operation, a, b, c[0] if c else a))
        return "line", len(self._lines) - 1

    def program(self, result: tuple[str, int]) -> _Program:
        begin = {"parameter": 0, "known": self.count, "line": self.count + len(self._known)}
        code = [[line[0], *(begin[kind] + number for kind, number in line[1:])] for line in self._lines]
        uses = np.zeros((begin["line"] + len(code), self.count), np.bool_)
        np.fill_diagonal(uses[: self.count], True)
        for number, (operation, a, b, _) in enumerate(code):
            uses[begin["line"] + number] = uses[a] | (uses[b] if operation < kernels.EXP else False)
        return _Program(
            np.array(code, np.int64).reshape(-1, 4), np.array(self._known, float).reshape(-1, len(self.x)), uses,
            begin[result[0]] + result[1],
        )  # fmt: skip


def _model(function: Any, process: str) -> Callback:
    """The callback itself; it is a function of nothing but x and its parameters."""
    own = function.callback if isinstance(function, Bound) else function
    if odd := sorted(parameters_of(own.root) - {"x", PARAMETERS}):
        raise DocumentError(f"{process}: the function depends on {odd[0]!r}; it is one of x and parameters alone")
    return own


# ------------------------------------------------------------------------------------------------------- x of labels


def _seconds(times: np.ndarray) -> np.ndarray:
    """Dates as openEO has them in a model: seconds since 1970-01-01."""
    return times.astype("M8[ns]").astype(np.int64) / 1e9


def _places(data: Series) -> np.ndarray:
    """The x of the elements of an array: of dates, or of labels that are numbers."""
    if data.dim == "t" and "t" in data.array.coords:
        return _seconds(data.array.t.values)
    try:
        return np.array([float(label) for label in data.labels or ()] or [np.nan] * data.size)
    except ValueError:
        raise DocumentError(
            f"fit_curve: {(data.labels or ('',))[0]!r} is no number; the labels of the array are dates or numbers"
        ) from None


def _x(label: float | str) -> float:
    return float(label) if isinstance(label, int | float) else float(_seconds(np.array(_instant(label))))


def _instant(label: str) -> np.datetime64:
    return instant(parse_time(label).isoformat())


def _check_labels(arguments: Mapping[str, Any]) -> None:
    labels = arguments["labels"] or []
    texts = [label for label in labels if isinstance(label, str)]
    for text in texts:
        parse_time(text)
    if texts and len(texts) < len(labels):
        raise ValueError("labels are dates or numbers, not both")
    if len(set(labels)) < len(labels):
        raise ValueError("a label is there twice")


# ------------------------------------------------------------------------------------------------------- fit_curve


def _values_at_work(arguments: Mapping[str, Any]) -> int:
    """Registers of the program, with a derivative by each parameter."""
    return (len(walk(arguments["function"].root)) + 1) * (len(arguments["parameters"]) + 1)


def _fit_cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Measured with lines, harmonics and logistic curves, all steps together: 1 ns for a register where the model is
    linear in its parameters, 3 to 5 ns where it is not.
    """
    return Cost(4e-9 * _values_at_work(arguments) * rows * columns, 48 << 20)


def _fit_shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if arguments["dimension"] not in (None, "t") or not meta.time:
        raise DocumentError(
            f"fit_curve: the cube has no series along {arguments['dimension'] or 't'!r}. Along bands whose names are "
            "numbers it is a process of apply_dimension",
            openeo="DimensionNotAvailable",
        )
    if len(meta.bands or ("",)) != 1:
        raise DocumentError(
            f"fit_curve takes one band or an index, not {', '.join(meta.bands or ())}: choose one with .band(…)"
        )
    _program(_model(arguments["function"], "fit_curve"), len(arguments["parameters"]), np.zeros(1))
    return Meta(False, tuple(map(str, range(len(arguments["parameters"])))))


def _fit_curve(data: Node, function: Any, parameters: Any, ignore_nodata: bool = True) -> Node:
    """A curve of one's own fitted to the dates of each pixel: its parameters, as the bands "0", "1", ….

    ```python
    ndvi.fit_curve(lambda x, p: p[0] + p[1] * (x / 31557600), [0.5, 0])
    ndvi.fit_curve(lambda x, p: p[0] + p[1] * (x / 5022636).sin() + p[2] * (x / 5022636).cos(), [0.5, 0.1, 0.1])
    ```

    `function` is one of x and its parameters (see `Chain.apply_dimension` for functions of chains); x is the time in
    seconds since 1970-01-01. `parameters` are where the search begins, and how many there are. The parameters are the
    ones that make the sum of the squares of (value - function) least (Levenberg–Marquardt with exact derivatives);
    where several minima are, that is the one found from the given start. Missing dates are left out; with
    `ignore_nodata=False` a pixel with one is missing. Missing where fewer dates are valid than there are parameters,
    where the dates do not determine them, and where the search does not end after 200 steps.
    """
    return on_cube(
        data, "fit_curve", parameters=plain(parameters), dimension="t", ignore_nodata=ignore_nodata,
        function=callback("function", function, "x", PARAMETERS),
    )  # fmt: skip


@operator(
    "fit_curve",
    shape=_fit_shape,
    needs=lambda arguments, metas, wanted: {"data": metas["data"].bands},
    reduces="t",
    strict=lambda arguments: arguments.get("ignore_nodata", True),
    cost=_fit_cost,
    anywhere=True,
    length=lambda arguments, lengths: Length(0, len(arguments["parameters"])),
    method=_fit_curve,
)
def fit_curve(
    data: Cube, parameters: Start, function: Model, dimension: Dimension | None = None, ignore_nodata: bool = True
) -> Cube:
    """The parameters of a model function that are nearest to a series by non-linear least squares (openEO).

    ```python
    ndvi.fit_curve(lambda x, p: p[0] + p[1] * (x / 31557600), [0.5, 0])
    ndvi.apply_dimension(lambda data: data.fit_curve([0.5, 0], lambda x, p: p[0] + p[1] * x), "t", "bands")
    ```

    `function` is a callback of `x` and `parameters`; x is the time in seconds since 1970-01-01, or a label
    that is a number. Columns of the derivatives are scaled, so that such large x do not make a fit singular.
    `parameters` are where the search begins. The result has the bands "0", "1", …; as a callback it is the array of
    them. Values that are missing or not finite are left out; with `ignore_nodata` false a pixel that has one is
    missing. Missing where fewer values are valid than there are parameters, where they do not determine them (to one in
    10^10), and where the search does not end after 200 steps. The parameters are of the precision of the values, seven
    digits: subtract a constant from x in the function where that is too little.

    Source: openEO 2.0; Moré, J. (1978), The Levenberg–Marquardt algorithm.
    """
    model, count = _model(function, "fit_curve"), len(parameters)
    series = data if isinstance(data, Series) else Series(_one_band(data), "t")
    array = series.array.transpose(series.dim, ...)
    x = _places(series)
    if np.isnan(x).any():
        raise DocumentError("fit_curve takes an array with labels: `data` itself, or what array_create_labeled gives")
    program, start = _program(model, count, x), np.array(parameters, float)
    work = (len(program.code) + 1) * (count + 1)
    shape = array.shape[1:]
    values = np.asarray(array.data).reshape(len(x), shape[0] if shape else 1, -1)
    out = np.empty((count, *values.shape[1:]), np.result_type(np.float32, values.dtype))
    for first, last in pieces(values.shape, 4e-9 * work):
        flat = np.array(values[:, first:last].reshape(len(x), -1).T, np.float64, order="C")
        found = np.empty((len(flat), count))
        kernels.fit(
            flat, program.known, program.code, program.uses, program.result, start, not ignore_nodata, found
        )  # fmt: skip
        out[:, first:last] = found.T.reshape(out[:, first:last].shape)
    made = xr.DataArray(
        out.reshape(count, *shape), dims=(ELEMENT, *array.dims[1:]),
        coords={d: array[d] for d in array.dims[1:] if d in array.coords},
    )  # fmt: skip
    if isinstance(data, Series):
        return Series(made, ELEMENT)  # type: ignore[return-value]
    return made.rename({ELEMENT: "bands"}).assign_coords(bands=list(map(str, range(count))))


def _one_band(data: Cube) -> Cube:
    return data.isel(bands=0, drop=True) if "bands" in data.dims else data


# --------------------------------------------------------------------------------------------------- predict_curve


def _predict_rule(arguments: Mapping[str, Any]) -> None:
    _check_labels(arguments)
    labels, data, dimension = arguments["labels"], arguments["data"], _along(arguments)
    if (labels is None) == (data is None):
        raise ValueError(
            "it takes `labels` to predict values for, or `data` whose missing values are predicted: one of the two"
        )
    if labels and isinstance(labels[0], str) != (dimension == "t"):
        raise ValueError(f"labels of {dimension!r} are {_LABELS[dimension]}, not {labels[0]!r}")
    if dimension == "bands" and labels is None:
        raise ValueError("the missing values of series can be predicted, those of bands cannot: dimension='t'")


_LABELS = {"t": "dates", "bands": "numbers"}


def _along(arguments: Mapping[str, Any]) -> str:
    """The dimension of the result: the one that is named, or that has such labels."""
    labels = arguments["labels"]
    return arguments["dimension"] or ("t" if labels is None or isinstance(labels[0], str) else "bands")


def _predict_shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta, labels = metas["parameters"], arguments["labels"]
    if meta.time or not meta.bands:
        raise DocumentError("predict_curve: parameters are an image with a band for each, as fit_curve gives them")
    if (data := metas.get("data")) is not None and (not data.time or len(data.bands or ("",)) != 1):
        raise DocumentError("predict_curve: `data` is a series of one band or an index")
    if _along(arguments) == "bands":
        return Meta(False, tuple(map(_named, labels)))
    return Meta(True, None)


def _named(label: float) -> str:
    return f"{label:g}" if float(f"{label:g}") == label else repr(label)


def _predict_groups(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups | None:
    if arguments["labels"] is None:
        return {time: (time,) for time in dates["data"]}
    return {_instant(label): () for label in arguments["labels"]} if _along(arguments) == "t" else None


def _predict_cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Of one date; in double precision, process by process."""
    processes = [cost_of(registry[node.process], node.arguments, pixel_size, rows, columns).seconds
                 for node in walk(arguments["function"].root)]  # fmt: skip
    return Cost(2 * sum(processes), 8 * (len(processes) + 2) * rows * columns)


def _predict_curve(parameters: Node, function: Any, labels: Any = None, data: Node | None = None) -> Node:
    """A curve of which the bands are the parameters (`fit_curve`), at dates; or at the missing dates of a series.

    ```python
    ndvi.fit_curve(lambda x, p: p[0] + p[1] * x, [0.5, 0]).predict_curve(lambda x, p: p[0] + p[1] * x, ["2018-07-01"])
    ndvi.fit_curve(lambda x, p: p[0] + p[1] * x, [0.5, 0]).predict_curve(lambda x, p: p[0] + p[1] * x, data=ndvi)
    ```

    `function` is the one that was fitted. `labels`: dates; the result is a series of them. `data`: a series that keeps
    its values, and gets those of the curve where it has none. Missing where a parameter is.
    """
    if not isinstance(labels, list | tuple | np.ndarray | None):
        raise ArgumentError(
            f"labels={shown(labels)} are dates, such as ['2018-07-01', '2018-08-01']", argument="labels"
        )
    given = None if labels is None else [moment(label) for label in labels]
    return registry.node(
        "predict_curve", parameters=parameters, function=callback("function", function, "x", PARAMETERS),
        labels=given, dimension="t", data=data,
    )  # fmt: skip


@operator(
    "predict_curve",
    shape=_predict_shape,
    needs=lambda arguments, metas, wanted: {name: meta.bands for name, meta in metas.items()},
    strict=False,
    groups=_predict_groups,
    rule=_predict_rule,
    cost=_predict_cost,
    anywhere=True,
    length=lambda arguments, lengths: Length(0, len(arguments["labels"] or ())),
    method=_predict_curve,
)
def predict_curve(
    parameters: Cube,
    function: Model,
    labels: Labels | None = None,
    dimension: Literal["t", "bands"] | None = None,
    data: Cube | None = None,
    groups: Groups | None = None,
) -> Cube:
    """Values of a model function at labels, of parameters that `fit_curve` found (openEO).

    ```python
    ndvi.fit_curve(lambda x, p: p[0] + p[1] * x, [0.5, 0]).predict_curve(lambda x, p: p[0] + p[1] * x, ["2018-07-01"])
    ndvi.fit_curve(lambda x, p: p[0] + p[1] * x, [0.5, 0]).predict_curve(lambda x, p: p[0] + p[1] * x, data=ndvi)
    ```

    `parameters` is an image with a band for each, or, as a callback, an array. `labels` are dates (x is their seconds
    since 1970-01-01) along the dimension `t`, or numbers along `bands`; those of the series that was fitted, or others.
    Without labels `data` is a series (openEO 1.2): it keeps its values, and its missing ones are predicted, also those
    of dates without a scene there. Missing where a parameter is. Computed in double precision, and rounded to that of
    the parameters.

    Source: openEO 2.0.
    """
    model = _model(function, "predict_curve")
    if isinstance(parameters, Series):
        return _predicted(model, parameters, [_x(label) for label in labels or ()])  # type: ignore[return-value]
    banded = Series(parameters, "bands")
    if groups is None:
        made = _predicted(model, banded, [_x(label) for label in labels or ()]).array.rename({ELEMENT: "bands"})
        return made.assign_coords(bands=[_named(label) for label in labels or ()])  # type: ignore[arg-type]
    times = np.array(list(groups), "datetime64[ns]")
    series = _predicted(model, banded, _seconds(times).tolist()).array.rename({ELEMENT: "t"}).assign_coords(t=times)
    if data is None:
        return series
    own = _one_band(data).reindex(t=times)
    return own.where(own.notnull(), series.astype(own.dtype, copy=False))


def _predicted(model: Callback, parameters: Series, places: Sequence[float]) -> Series:
    """The values of a model at places, as an array of them."""
    elements = parameters.elements
    images = np.empty((len(places), *elements.shape[1:]), np.result_type(np.float32, elements.dtype))
    exact = Series(elements.astype(np.float64), ELEMENT)
    whole = xr.zeros_like(elements.isel({ELEMENT: 0}, drop=True), np.float64).where(exact.array.notnull().all(ELEMENT))
    for image, place in zip(images, places, strict=True):
        cancel.check()
        value = run(model, x=xr.DataArray(place), parameters=exact)
        image[...] = (whole + value).transpose(*whole.dims)
    coords = {d: elements[d] for d in whole.dims if d in elements.coords}
    return Series(xr.DataArray(images, coords, (ELEMENT, *whole.dims)), ELEMENT)


def warm() -> None:
    """Compiles what fits: a straight line to two values."""
    line = np.array([[kernels.MULTIPLY, 1, 2, 1], [kernels.ADD, 0, 3, 0]])
    uses = np.array([[True, False], [False, True], [False, False], [False, True], [True, True]])
    values = np.array([[1.0, 2.0]])
    kernels.fit(values, values, line, uses, 4, np.zeros(2), False, np.empty((1, 2)))
