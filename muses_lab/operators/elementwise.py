"""Scalar processes of openEO: arithmetic, comparison, logic. They run inside callbacks, elementwise over arrays.

Missing values are NaN. Truth values are 1 and 0 (NaN: unknown), so that masks are cubes like any other.
"""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import ArgumentError, BandError, DocumentError
from muses_lab.operators.callbacks import ELEMENT, Series, as_series, element_label
from muses_lab.operators.contract import VALUE, Array, Computed, Cost, Refused, Scalar
from muses_lab.operators.declare import operator
from muses_lab.operators.given import band_name
from muses_lab.operators.methods import band_value, on_values, over
from muses_lab.operators.registered import registry
from muses_lab.plain import number
from muses_lab.resources import cancel

NAN = np.float32("nan")


def elementwise(fn: Callable[..., Any], *values: Any) -> Any:
    """A function of values on arrays and numbers; of numbers alone a number, which has no precision of its own."""
    with np.errstate(all="ignore"):
        result = xr.apply_ufunc(fn, *[_number(v) for v in values])
    return result if isinstance(result, xr.DataArray) or np.ndim(result) else float(result)


def _number(value: Any) -> Any:
    """Constants are floating point: 2 to the power -1 is 0.5."""
    return NAN if value is None else float(value) if isinstance(value, int) else value


def _missing(x: Any) -> Any:
    return np.isnan(x)


def _with_example(doc: str, *lines: str) -> str:
    return "\n".join([doc, "", "```python", *lines, "```"])


def _declare_binary(id: str, sign: str, fn: Callable[[Any, Any], Any], doc: str, code: str | None = None) -> None:
    def binary(x: Scalar, y: Scalar) -> Scalar:
        return elementwise(fn, x, y)

    binary.__name__, binary.__doc__ = id, _with_example(doc, f"image {sign} other")
    operator(id, code=code, method=None)(binary)


def _declare_unary(id: str, fn: Callable[[Any], Any], doc: str, code: str | None = None, example: str = "") -> None:
    def unary(x: Scalar) -> Scalar:
        return elementwise(fn, x)

    unary.__name__, unary.__doc__ = id, _with_example(doc, example or f"image.{id}()")
    operator(id, code=code, method=None if example else id)(unary)


def _is_constant(*values: Any) -> bool:
    """Whether they are known from the document alone."""
    return not any(isinstance(v, np.ndarray | xr.DataArray) for v in values)


def truth(fn: Callable[..., Any], *values: Any) -> Any:
    """A truth value of values: 1, 0, or missing; of constants alone a truth value of its own kind, or None."""
    if not _is_constant(*values):
        return elementwise(fn, *values)
    found = elementwise(lambda *given: fn(*map(np.asarray, given)), *values)
    return None if found != found else bool(found)


def _true(compare: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """1 where a comparison is true, 0 where it is not; missing where a side is. Of constants a truth value, or None."""

    def compared(a: Any, b: Any) -> Any:
        # A number takes the precision of the values: 0.2 stored as 2000 × 0.0001 is not more than 0.2.
        return np.where(_missing(a) | _missing(b), NAN, np.asarray(compare(a, b)).astype(np.float32))

    if _is_constant(x, y):
        known = x is not None and y is not None and x == x and y == y
        return bool(compare(x, y)) if known else None
    return elementwise(compared, x, y)


def _kind(value: Any) -> type:
    return str if isinstance(value, str) else bool if isinstance(value, bool | np.bool_) else float


def equal(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> Any:
    """Whether two values are equal, as `eq` has it."""
    kinds = [_kind(v) for v in (x, y)]
    if _is_constant(x, y):
        if x is None or y is None:
            return None
        if kinds[0] is not kinds[1]:
            return False  # true is not 1, and "1" is not
        delta = delta if kinds[0] is float else None
    if str in kinds:
        if kinds[0] is not kinds[1]:
            raise DocumentError("a text is never equal to values of a cube, which are numbers; compare it with a label")
        return x == y if case_sensitive else x.casefold() == y.casefold()
    if not delta:
        return _true(op.eq, x, y)
    return _true(lambda a, b: np.abs(a - b) <= delta, x, y)


def _declare_equality(id: str, sign: str, doc: str, different: bool) -> None:
    def equality(x: Scalar, y: Scalar, delta: float | None = None, case_sensitive: bool = True) -> Scalar:
        found = equal(x, y, delta, case_sensitive)
        if not different or found is None:
            return found
        return not found if isinstance(found, bool) else 1 - found  # type: ignore[return-value]

    equality.__name__, equality.__doc__ = id, _with_example(doc, f"image {sign} 0.5", f"image {sign} other")
    operator(id, code=id.upper(), method=None, texts=True)(equality)


def _declare_comparison(
    id: str, sign: str, compare: Callable[[Any, Any], Any], doc: str, or_equal: bool = False
) -> None:
    def comparison(x: Scalar, y: Scalar) -> Scalar:
        if _is_constant(x, y) and x is not None and y is not None and not _kind(x) is _kind(y) is float:
            return or_equal and equal(x, y) is True  # type: ignore[return-value]  # only numbers have an order
        return _true(compare, x, y)

    comparison.__name__, comparison.__doc__ = id, _with_example(doc, f"image {sign} 0.5", f"image {sign} other")
    operator(id, code=id.upper(), method=None, texts=True)(comparison)


_declare_binary("add", "+", op.add, "x + y", "ADD")
_declare_binary("subtract", "-", op.sub, "x - y", "SUBTRACT")
_declare_binary("multiply", "*", op.mul, "x × y", "MULTIPLY")
_declare_binary("divide", "/", np.divide, "x / y; division by zero gives ±infinity, 0 / 0 is missing", "DIVIDE")

_declare_unary("absolute", np.abs, "Absolute value", "ABSOLUTE", "abs(image)")
_declare_unary("sqrt", np.sqrt, "Square root; missing for negative values", "SQRT")
_declare_unary("floor", np.floor, "Largest whole number not above x", "FLOOR")
_declare_unary("ceil", np.ceil, "Smallest whole number not below x", "CEIL")

_declare_comparison("gt", ">", op.gt, "1 where x > y, else 0")
_declare_comparison("gte", ">=", op.ge, "1 where x ≥ y, else 0", or_equal=True)
_declare_comparison("lt", "<", op.lt, "1 where x < y, else 0")
_declare_comparison("lte", "<=", op.le, "1 where x ≤ y, else 0", or_equal=True)
_declare_equality("eq", "==", "1 where x equals y, with `delta` where they are not further apart, else 0", False)
_declare_equality("neq", "!=", "1 where x differs from y, with `delta` where they are further apart, else 0", True)


def _ordered(arguments: Mapping[str, Any]) -> None:
    if arguments["min"] > arguments["max"]:
        raise Refused(
            "MinMaxSwapped", f"min must not be above max; they are {arguments['min']:g} and {arguments['max']:g}"
        )


def _node(process: str, x: Any, y: Any) -> Node:
    return registry.node(process, inside_callback=True, x=x, y=y)


def _between_by_comparisons(arguments: Mapping[str, Any]) -> Node:
    x, upper = Parameter("x"), "lt" if arguments["exclude_max"] else "lte"
    return _node("and", _node("gte", x, arguments["min"]), _node(upper, x, arguments["max"]))


def _between(data: Node, min: float, max: float, exclude_max: bool = False) -> Node:
    if number("min", min) > number("max", max):
        raise ArgumentError(f"between({min}, {max}) is true nowhere: the first is above the second", argument="min")
    return on_values(data, "between", min=min, max=max, exclude_max=exclude_max)


@operator("between", expands=_between_by_comparisons, method=_between)
def between(x: Scalar, min: float, max: float, exclude_max: bool = False) -> Scalar:
    """1 where min ≤ x ≤ max (x < max with `exclude_max`), else 0: 0 for every x where min is above max (openEO).

    ```python
    image.between(0, 1)
    ```
    """

    def inside(v: Any) -> Any:
        upper = v < max if exclude_max else v <= max
        return np.where(_missing(v), NAN, np.asarray((v >= min) & upper).astype(np.float32))

    if _kind(x) is not float:
        return False  # type: ignore[return-value]  # only numbers have an order
    return truth(inside, x)


@operator("clip", rule=_ordered, code="CLIP")
def clip(x: Scalar, min: float, max: float) -> Scalar:
    """x limited to the range from min to max.

    ```python
    image.clip(0, 1)
    ```
    """
    return elementwise(lambda v: np.clip(v, min, max), x)


def _a_range(arguments: Mapping[str, Any]) -> None:
    if arguments["inputMin"] == arguments["inputMax"]:
        raise ValueError(f"inputMin and inputMax must differ; both are {arguments['inputMin']:g}")


def _scaled_by_arithmetic(arguments: Mapping[str, Any]) -> Node:
    low, high = arguments["inputMin"], arguments["inputMax"]
    factor = (arguments["outputMax"] - arguments["outputMin"]) / (high - low)
    clipped = registry.node("clip", inside_callback=True, x=Parameter("x"), min=min(low, high), max=max(low, high))
    return _node("add", _node("multiply", _node("subtract", clipped, low), factor), arguments["outputMin"])


def _scale(data: Node, input_min: float, input_max: float, output_min: float = 0.0, output_max: float = 1.0) -> Node:
    return on_values(
        data, "linear_scale_range", inputMin=input_min, inputMax=input_max, outputMin=output_min, outputMax=output_max
    )


@operator("linear_scale_range", rule=_a_range, expands=_scaled_by_arithmetic, method=_scale)
def linear_scale_range(
    x: Scalar, inputMin: float, inputMax: float, outputMin: float = 0.0, outputMax: float = 1.0
) -> Scalar:
    """x clipped to the input range and mapped linearly: inputMin to outputMin, inputMax to outputMax (openEO).

    ```python
    image.scale(0, 0.4, 0, 255)
    ```

    Either range may run downwards: `inputMin=1, inputMax=0` turns the scale round.
    """

    def scale(v: Any) -> Any:
        factor = (outputMax - outputMin) / (inputMax - inputMin)
        inside = np.clip(v, min(inputMin, inputMax), max(inputMin, inputMax))
        return (inside - inputMin) * factor + outputMin

    return elementwise(scale, x)


def _normalized_difference(data: Node, a: str, b: str) -> Node:
    """(a - b) / (a + b) of two bands; missing where a + b is 0.

    ```python
    s2.normalized_difference("green", "nir")
    ```
    """
    x, y = (band_value(band_name(name)) for name in (a, b))
    return over(data, "bands", registry.node("normalized_difference", inside_callback=True, x=x, y=y))


@operator("normalized_difference", code="NORMALIZED_DIFFERENCE", method=_normalized_difference)
def normalized_difference(x: Scalar, y: Scalar) -> Scalar:
    """(x - y) / (x + y); missing where x + y is 0.

    ```python
    s2.normalized_difference("green", "nir")
    ```
    """

    def difference(a: Any, b: Any) -> Any:
        total = a + b
        return np.where(total == 0, NAN, (a - b) / total)

    return elementwise(difference, x, y)


@operator("not", code="NOT", method=None)
def not_(x: Scalar) -> Scalar:
    """1 where x is false, 0 where it is true.

    ```python
    ~water
    ```
    """
    return truth(lambda v: np.where(_missing(v), NAN, (v == 0).astype(np.float32)), x)


@operator("and", strict=False, code="AND", method=None)
def and_(x: Scalar, y: Scalar) -> Scalar:
    """Both true. False with unknown is false, true with unknown is unknown.

    ```python
    water & (image > 0.5)
    ```
    """

    def both(a: Any, b: Any) -> Any:
        false = (a == 0) | (b == 0)
        return np.where(false, np.float32(0), np.where(_missing(a) | _missing(b), NAN, np.float32(1)))

    return truth(both, x, y)


@operator("or", strict=False, code="OR", method=None)
def or_(x: Scalar, y: Scalar) -> Scalar:
    """At least one true. True with unknown is true, false with unknown is unknown.

    ```python
    water | (image > 0.5)
    ```
    """

    def either(a: Any, b: Any) -> Any:
        missing = _missing(a) | _missing(b)
        true = (~_missing(a) & (a != 0)) | (~_missing(b) & (b != 0))
        return np.where(true, np.float32(1), np.where(missing, NAN, np.float32(0)))

    return truth(either, x, y)


@operator("xor", code="XOR", method=None)
def xor(x: Scalar, y: Scalar) -> Scalar:
    """Exactly one true; unknown if either is.

    ```python
    water ^ (image > 0.5)
    ```
    """

    def one(a: Any, b: Any) -> Any:
        return np.where(_missing(a) | _missing(b), NAN, ((a != 0) ^ (b != 0)).astype(np.float32))

    return truth(one, x, y)


def _where(data: Node, cond: Node) -> Node:
    """Only the values where the condition is true (xarray `where`); where it is unknown they are removed too.

    ```python
    image.where(water)
    ```
    """
    keep = registry.node("if", inside_callback=True, value=Parameter("y"), accept=Parameter("x"))
    return registry.node("merge_cubes", cube1=data, cube2=cond, overlap_resolver=Callback(keep))


@operator("if", strict=False, code="IF", method=_where)
def if_(value: Scalar, accept: Scalar, reject: Scalar = None) -> Scalar:  # type: ignore[assignment]
    """`accept` where value is true, `reject` (missing by default) where it is false or unknown.

    ```python
    image.where(water)
    ```
    """

    def choose(v: Any, a: Any, r: Any) -> Any:
        return np.where(~_missing(v) & (v != 0), a, r)

    if _is_constant(value):
        known: Any = value
        return accept if known is not None and known == known and known else reject
    return elementwise(choose, value, accept, reject)


@operator("is_nodata", strict=False, code="IS_NODATA")
def is_nodata(x: Scalar) -> Scalar:
    """1 where x is missing, else 0.

    ```python
    image.is_nodata()
    ```
    """
    return truth(lambda v: _missing(v).astype(np.float32), x)


def _contains_cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    data = arguments["data"]
    return Cost((VALUE + min(len(data) if isinstance(data, list) else 128, 128) * 0.6e-9) * rows * columns)


def _not_empty(arguments: Mapping[str, Any]) -> None:
    if isinstance(arguments["data"], list) and not 1 <= len(arguments["data"]) <= 1000:
        raise ValueError(f"`data` has {len(arguments['data'])} values; it takes at least 1 and at most 1000")


def _isin(data: Node, values: Iterable[float]) -> Node:
    """1 where the value is one of `values` (classes), else 0 (also where it is missing).

    ```python
    image.isin([4, 5, 6])
    ```
    """
    return on_values(data, "array_contains", "value", data=values)


@operator(
    "array_contains", texts=True, strict=False, cost=_contains_cost, rule=_not_empty, method=_isin,
    partly="texts in conditions on properties and labels only",
)  # fmt: skip
def array_contains(data: Array, value: Scalar) -> Scalar:
    """1 where the value is one of `data`, else 0 (also where it is missing).

    ```python
    image.isin([4, 5, 6])
    ndvi.reduce_dimension(lambda data: data.array_contains(0), "t")
    ```

    Values are equal as in `eq`.
    """
    if not isinstance(data, list) or not _is_constant(*data):
        series = as_series(data)
        found = [equal(series.elements.isel({ELEMENT: i}), value) for i in range(series.size)]
        return reduce(np.fmax, found).fillna(0) if found else 0  # type: ignore[return-value]
    if _is_constant(value):
        return any(equal(one, value) is True for one in data)  # type: ignore[return-value]

    numbers = [number for number in data if number is not None]

    def contains(v: Any) -> Any:
        v = np.asarray(v)
        out = np.empty(v.shape, np.float32)
        for piece in np.ndindex(out.shape[:-2]):  # an image at a time
            cancel.check()
            out[piece] = np.isin(v[piece], numbers)
        return out

    return elementwise(contains, value)


@operator("muses:any_bit", method="has_bits")
def any_bit(x: Scalar, bits: Annotated[int, Field(ge=1, lt=2**24)]) -> Scalar:
    """1 where any of the bits set in `bits` is set in x (a bit field such as QA_PIXEL), else 0.

    ```python
    image.has_bits(8)
    ```
    """

    def test(v: Any) -> Any:
        missing = ~np.isfinite(v)  # infinity has no bits
        whole = np.where(missing, 0, v).astype(np.int64)
        return np.where(missing, NAN, ((whole & bits) != 0).astype(np.float32))

    return elementwise(test, x)


def _one_way(arguments: Mapping[str, Any]) -> None:
    given = [arguments[name] is not None for name in ("index", "label")]
    if sum(given) != 1:
        name = "ArrayElementParameterConflict" if all(given) else "ArrayElementParameterMissing"
        raise Refused(name, "give either `index` or `label`")
    if arguments["label"] is not None and isinstance(arguments["data"], list):
        raise Refused("ArrayNotLabeled", "only a dimension has labels; give `index`")


def _band(data: Node, name: str) -> Node:
    """One band (band or common name) as an image without the dimension `bands`.

    ```python
    s2.band("red")
    ```
    """
    return over(data, "bands", band_value(band_name(name)))


@operator("array_element", rule=_one_way, method=_band)
def array_element(
    data: Array,
    index: Annotated[int | None, Computed()] = None,
    label: str | float | None = None,
    return_nodata: bool = False,
) -> Scalar:
    """One element of a series: by its place (0 is the first) or by its label (a band or common name).

    ```python
    s2.band("red")
    ndvi.reduce_dimension(lambda data: data[0], "t")
    ```

    Where there is none, an error says so; with `return_nodata` it is missing. A place that is computed, of each pixel
    another one, is missing where it is, and where there is no such element.
    """
    place: Any = index
    if isinstance(place, xr.DataArray):
        return _at_each(as_series(data), place)  # type: ignore[return-value]
    try:
        return _element(data, None if place is None else int(place), label)
    except (DocumentError, BandError):
        if return_nodata:
            return None  # type: ignore[return-value]
        raise


def _element(data: Any, index: int | None, label: Any) -> Scalar:
    if label is None and isinstance(data, list):
        return _at(data, index, len(data))
    assert isinstance(data, Series)
    if data.dim == "bands":
        return data.array.sel(bands=element_label(data.meta, index, label), drop=True)  # type: ignore[return-value]
    if label is None:
        element: Any = _at(data.elements, index, data.size)
        return element if data.length is None else element.where(data.length > (index or 0))
    if data.dim == "t" or data.labels is None:
        raise DocumentError(
            f"the dimension {data.dim!r} has no labels; take an element by its `index`", openeo="ArrayNotLabeled"
        )
    if label not in data.labels:
        listed = ", ".join(map(str, data.labels))
        raise DocumentError(
            f"there is no element {label!r}; the labels are {listed}", openeo="ArrayElementNotAvailable"
        )
    return _at(data.elements, data.labels.index(label), data.size)


def _at(values: Any, index: int | None, size: int) -> Scalar:
    if index is None or not 0 <= index < size:
        raise DocumentError(
            f"there is no element {index} in a series of {size}; the first is 0", openeo="ArrayElementNotAvailable"
        )
    return values[index]


def _at_each(series: Series, index: xr.DataArray) -> xr.DataArray:
    """The element at a place that each pixel has of its own."""
    places, elements = xr.broadcast(index, series.elements)
    values = elements.transpose(ELEMENT, ...)
    if not series.size:
        return index * NAN
    at = places.isel({ELEMENT: 0}).transpose(*values.dims[1:]).values
    there = np.isfinite(at) & (at >= 0) & (at < series.size)
    picked = np.take_along_axis(values.values, np.where(there, at, 0).astype(np.intp)[np.newaxis], axis=0)[0]
    return values.isel({ELEMENT: 0}, drop=True).copy(data=np.where(there, picked, NAN).astype(values.dtype, copy=False))
