"""Arrays in callbacks: made, joined, changed, searched, element by element (openEO `array_*`).

An array is the values of each pixel along a dimension, as `data` is in a reducer, or what is made of them. Its length
is known before anything is computed, but for elements that a condition on values leaves out: then it is another one
from pixel to pixel, and what is beyond it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.errors import DocumentError
from muses_lab.operators.callbacks import ELEMENT, Bound, Label, Series, as_series, is_strict, run, stacked
from muses_lab.operators.contract import Array, Element, Length, Scalar
from muses_lab.operators.declare import operator
from muses_lab.operators.elementwise import equal
from muses_lab.operators.registered import parameters_of
from muses_lab.resources import cancel
from muses_lab.times import format_time, parse_time

NAN = np.float32("nan")


def joined(parts: Sequence[Series], names: tuple[Label, ...] | None = None) -> Series:
    """Arrays one after the other."""
    ragged = [part.length is not None for part in parts]
    if any(ragged[:-1]):
        raise DocumentError(
            "nothing can be put after an array whose length varies from pixel to pixel, as array_filter gives it"
        )
    filled = [part for part in parts if part.size] or list(parts[:1])
    together = xr.broadcast(*(part.elements for part in filled), exclude=[ELEMENT])
    array = xr.concat(together, dim=ELEMENT, coords="minimal", compat="override")
    length = parts[-1].length
    before = sum(part.size for part in parts[:-1])
    return Series(array, ELEMENT, names=names, length=None if length is None else length + before)


def _times(arguments: Mapping[str, Any], lengths: Mapping[str, Length]) -> Length:
    one, repeat = lengths["data"], arguments["repeat"]
    return Length(one.times * repeat, one.plus * repeat, None, one.varies)


@operator("array_create", length=_times, method=None)
def array_create(data: Array = (), repeat: Annotated[int, Field(ge=1, le=1000)] = 1) -> Array:  # type: ignore[assignment]
    """An array of values, `repeat` times one after the other.

    ```python
    s2.apply_dimension(lambda data: [data["red"], data["nir"], data["red"] * 2], "bands")
    ```
    """
    return joined([as_series(data)] * repeat)  # type: ignore[return-value]


@operator("array_create_labeled", strict=False, method=None)
def array_create_labeled(data: Array, labels: Annotated[list[str | float], Field(max_length=10_000)]) -> Array:
    """An array whose elements have names.

    ```python
    ndvi.apply_dimension(lambda data: data.extrema().array_create_labeled(["low", "high"]), "t", "bands")
    ```

    Names are for searching; the bands that `apply_dimension` makes of it are called 0, 1, 2 … (openEO).
    """
    series = as_series(data)
    if series.size != len(labels):
        raise DocumentError(
            f"array_create_labeled has {series.size} values and {len(labels)} labels", openeo="ArrayLengthMismatch"
        )
    return Series(series.elements, ELEMENT, names=tuple(labels), length=series.length)  # type: ignore[return-value]


def _appended(arguments: Mapping[str, Any], lengths: Mapping[str, Length]) -> Length:
    return lengths["data"] + Length(0, 1)


@operator("array_append", length=_appended, method=None)
def array_append(data: Array, value: Scalar, label: str | float | None = None) -> Array:
    """An array with one more value at its end; of a labelled array the index is its label where none is given.

    ```python
    s2.apply_dimension(lambda data: data.array_append(data["nir"] / data["red"]), "bands")
    ```
    """
    series = as_series(data)
    labels = series.labels
    if labels is None and label is not None:
        raise DocumentError(
            f"array_append: the array has no labels, so its new element cannot be called {label!r}",
            openeo="ArrayNotLabeled",
        )
    if labels is not None:
        label = series.size if label is None else label
        if label in labels:
            raise DocumentError(f"array_append: there is a label {label!r} already", openeo="LabelExists")
        labels = (*labels, label)
    return joined([series, as_series([value])], labels)  # type: ignore[return-value]


def _both(arguments: Mapping[str, Any], lengths: Mapping[str, Length]) -> Length:
    return lengths["array1"] + lengths["array2"]


@operator("array_concat", length=_both, method=None)
def array_concat(array1: Array, array2: Array) -> Array:
    """The elements of two arrays, one after the other. Labels are kept where both have some, and none is in both.

    ```python
    ndvi.apply_dimension(lambda data: data.quantiles([0.1, 0.9]).array_concat([data.mean()]), "t", "bands")
    ```
    """
    first, second = as_series(array1), as_series(array2)
    labels = None
    if first.labels is not None and second.labels is not None:
        if twice := sorted(map(str, set(first.labels) & set(second.labels))):
            raise DocumentError(
                f"array_concat: the label {twice[0]!r} is in both arrays", openeo="ArrayLabelConflict"
            )  # fmt: skip
        labels = (*first.labels, *second.labels)
    return joined([first, second], labels)  # type: ignore[return-value]


def _modified(arguments: Mapping[str, Any], lengths: Mapping[str, Length]) -> Length:
    data, values = lengths["data"], lengths["values"]
    removed = _removed(arguments["length"], arguments["values"])
    if data.times == 0:
        _check_index(arguments["index"], data.plus)
        removed = min(removed, data.plus - arguments["index"])
    return data + values + Length(0, -removed)


def _removed(length: int | None, values: Any) -> int:
    """How many elements are taken out: where that is not said those that are put in are put between the others."""
    return length if length is not None else int(isinstance(values, list) and not values)


def _check_index(index: int, size: int) -> None:
    if index > size:
        raise DocumentError(
            f"array_modify: the index {index} is beyond the end of an array of {size} elements",
            openeo="ArrayElementNotAvailable",
        )


@operator("array_modify", version="2", strict=False, length=_modified, method=None)
def array_modify(
    data: Array,
    values: Array,
    index: Annotated[int, Field(ge=0)],
    length: Annotated[int, Field(ge=0)] | None = None,
) -> Array:
    """An array with `length` elements from `index` on replaced by other values, as many as there are.

    ```python
    s2.apply_dimension(lambda data: data.array_modify([0], 0, 1), "bands")
    ```

    Without `length` the values are put before the index; an empty list of values removes elements, without `length`
    one. Labels are kept where both have some, and none is in both, or one of them is empty.
    """
    series = as_series(data)
    _check_index(index, series.size)
    if series.length is not None:
        raise DocumentError("array_modify cannot change an array whose length is another one from pixel to pixel")
    others = as_series(values)
    parts = slice(0, index), slice(index + _removed(length, values), None)
    before, after = (_part(series, part) for part in parts)
    labels = None
    if series.labels is not None and (others.labels is not None or not others.size):
        left = [label for part in parts for label in series.labels[part]]
        if twice := sorted(map(str, set(left) & set(others.labels or ()))):
            raise DocumentError(f"array_modify: the label {twice[0]!r} is in both arrays", openeo="ArrayLabelConflict")
        labels = (*series.labels[parts[0]], *(others.labels or ()), *series.labels[parts[1]])
    return joined([before, others, after], labels)  # type: ignore[return-value]


def _part(series: Series, part: slice) -> Series:
    return Series(series.elements.isel({ELEMENT: part}), ELEMENT)


# ------------------------------------------------------------------------------------------- element by element


def _applied_strictly(arguments: Mapping[str, Any]) -> bool:
    """Whether elements that are missing stay so, and no place or label counts."""
    process = arguments["process"]
    return parameters_of(process.root) <= {"x"} and is_strict(process)


@operator("array_apply", strict=_applied_strictly, method=None)
def array_apply(data: Array, process: Element) -> Array:
    """A process of one value (`x`, with its `index` and `label`) on each element of an array.

    ```python
    ndvi.apply_dimension(lambda data: data.array_apply(lambda x, index: x * (index + 1)), "t")
    ```
    """
    series = as_series(data)
    return series.but(stacked(_each(series, process)))  # type: ignore[return-value]


def _each(series: Series, process: Any) -> list[Any]:
    """What a callback gives for each element, as arrays of the elements' own type."""
    dtype = series.elements.dtype
    found = []
    for index, label in enumerate(_labels(series)):
        cancel.check()
        value = process(x=series.elements.isel({ELEMENT: index}), index=index, label=label)
        if not isinstance(value, xr.DataArray):
            value = xr.DataArray(np.asarray(np.nan if value is None else value, dtype))
        found.append(value)
    return found


def _labels(series: Series) -> Sequence[Label | None]:
    return series.labels or (None,) * series.size


def _kept(arguments: Mapping[str, Any], lengths: Mapping[str, Length]) -> Length:
    """Known beforehand where the condition is one on places or labels, and their number is known."""
    condition, data = arguments["condition"], lengths["data"]
    if parameters_of(condition.root) - {"index", "label"} or data.times or data.varies:
        return data._replace(varies=True, labels=None)
    if "label" in parameters_of(condition.root) and data.labels is None:
        return data._replace(varies=True)
    labels = data.labels or (None,) * data.plus
    kept = [i for i, label in enumerate(labels) if _is_true(run(condition, index=i, label=label))]
    return Length(0, len(kept), data.labels and tuple(data.labels[i] for i in kept))


def _is_true(value: Any) -> bool:
    return value is not None and bool(value == value) and bool(value)


@operator("array_filter", strict=False, length=_kept, method=None)
def array_filter(data: Array, condition: Element) -> Array:
    """The elements of an array for which a condition on `x`, `index` and `label` is true.

    ```python
    ndvi.reduce_dimension(lambda data: data.array_filter(lambda x: x > 0.2).mean(), "t")
    s2.apply_dimension(lambda data: data.array_filter(lambda x, index: index < 3), "bands")
    ```

    With a condition on values the array has another length from pixel to pixel: reducers take it, cubes do not.
    """
    series = as_series(data)
    assert isinstance(condition, Bound)
    if not condition.uses("x", "data", "y"):
        keep = [i for i, label in enumerate(_labels(series)) if _is_true(condition(index=i, label=label))]
        labels = series.labels and tuple(series.labels[i] for i in keep)
        if series.length is None:
            return Series(series.elements.isel({ELEMENT: keep}), ELEMENT, names=labels)  # type: ignore[return-value]
    true = stacked(_each(series, condition)).fillna(0) != 0
    true, elements = xr.broadcast(true.transpose(ELEMENT, ...), series.elements)
    if series.length is not None:
        true = true & (xr.DataArray(np.arange(series.size), dims=ELEMENT) < series.length)
    true = true.transpose(*elements.dims)
    # Those that are kept go to the front, in their order.
    order = np.argsort(~true.values, axis=0, kind="stable")
    values = np.take_along_axis(np.where(true.values, elements.values, NAN), order, axis=0)
    return Series(  # type: ignore[return-value]
        elements.copy(data=values.astype(elements.dtype, copy=False)), ELEMENT, length=true.sum(ELEMENT)
    )


# ----------------------------------------------------------------------------------------------------- searching


@operator("array_find", strict=False, method=None)
def array_find(data: Array, value: Scalar, reverse: bool = False) -> Scalar:
    """The place (0 is the first) of the first element that equals a value, with `reverse` of the last; else missing.

    ```python
    ndvi.reduce_dimension(lambda data: data.array_find(data.max()), "t")
    ```

    Values are equal as in `eq`.
    """
    if isinstance(data, list) and not any(isinstance(v, xr.DataArray) for v in [*data, value]):  # constants alone
        places = [i for i, one in enumerate(data) if equal(one, value) is True]
        return places[-1 if reverse else 0] if places else None  # type: ignore[return-value]
    series = as_series(data)
    if value is None or not series.size:
        return None  # type: ignore[return-value]
    found, like = xr.broadcast(equal(series.elements, value) == 1, series.elements)
    found = found.transpose(ELEMENT, ...)
    values = found.values[::-1] if reverse else found.values
    first = values.argmax(axis=0).astype(like.dtype)
    place = series.size - 1 - first if reverse else first
    return found.isel({ELEMENT: 0}, drop=True).copy(data=np.where(values.any(axis=0), place, NAN))


@operator("array_find_label", strict=False, method=None)
def array_find_label(data: Array, label: str | float) -> Scalar:
    """The place (0 is the first) of the element with a label; missing where there is none.

    ```python
    s2.apply_dimension(lambda data: [data[0], data.array_find_label("B04")], "bands")
    ```

    Labels are the names of bands, dates (compared as moments), or those of `array_create_labeled`.
    """
    series = as_series(data)
    wanted = _moment(label) if series.dim == "t" else label
    for index, one in enumerate(series.labels or ()):
        if equal(_moment(one) if series.dim == "t" else one, wanted) is True:
            return index  # type: ignore[return-value]
    return None  # type: ignore[return-value]


def _moment(label: Label) -> Label:
    try:
        return format_time(parse_time(str(label)))
    except ValueError:
        return label


@operator("array_labels", strict=False, method=None)
def array_labels(data: Array) -> Array:
    """The labels of an array; the places of its elements where it has none.

    ```python
    ndvi.reduce_dimension(lambda data: data.max() + data.extrema().array_labels()[1], "t")
    ```

    Texts are no values of a cube: `array_find_label` searches them, and conditions of `array_filter` compare them.
    """
    if isinstance(data, list):
        return list(range(len(data)))  # type: ignore[return-value]
    assert isinstance(data, Series)
    return list(data.labels or range(data.size))  # type: ignore[return-value]


# -------------------------------------------------------------------------------------------------------- filling


@operator("array_interpolate_linear", strict=False, method=None)
def array_interpolate_linear(data: Array) -> Array:
    """Missing elements between two valid ones, interpolated linearly by date, by numeric labels, else by place.

    ```python
    ndvi.apply_dimension("array_interpolate_linear", "t")
    ```

    Those before the first and after the last valid one stay missing.
    """
    series = as_series(data)
    places, elements = series.places, series.elements
    values = np.asarray(elements.data)
    out = values.copy()
    # Of each pixel: the valid element before and the place of it, then on the way back the one after.
    last, last_at = np.full(values.shape[1:], NAN, values.dtype), np.full(values.shape[1:], np.nan)
    before, before_at = np.empty(values.shape, values.dtype), np.empty(values.shape)
    for index, at in enumerate(places):
        cancel.check()
        there = ~np.isnan(values[index])
        last, last_at = np.where(there, values[index], last), np.where(there, at, last_at)
        before[index], before_at[index] = last, last_at
    after, after_at = np.full(values.shape[1:], NAN, values.dtype), np.full(values.shape[1:], np.nan)
    with np.errstate(all="ignore"):
        for index in reversed(range(series.size)):
            cancel.check()
            there = ~np.isnan(values[index])
            after, after_at = np.where(there, values[index], after), np.where(there, places[index], after_at)
            share = (places[index] - before_at[index]) / (after_at - before_at[index])
            between = before[index] + (after - before[index]) * share
            out[index] = np.where(there, values[index], between)
    return series.but(elements.copy(data=out))  # type: ignore[return-value]
