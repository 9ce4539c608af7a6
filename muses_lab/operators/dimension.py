"""Callbacks that give arrays, along a dimension of a cube: openEO `apply_dimension`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Node
from muses_lab.errors import DocumentError
from muses_lab.operators.callbacks import ELEMENT, Series, length_of, run, wanted_labels
from muses_lab.operators.contract import Cube, Length, Meta, Transform
from muses_lab.operators.declare import operator
from muses_lab.operators.functions import callback
from muses_lab.operators.methods import Dimension
from muses_lab.operators.registered import registry
from muses_lab.plain import plain

Names = Annotated[list[str], Field(min_length=1, max_length=1000)]


def _target(arguments: Mapping[str, Any]) -> str:
    return arguments["target_dimension"] or arguments["dimension"]


def _reduces(arguments: Mapping[str, Any]) -> str | None:
    return None if _target(arguments) == arguments["dimension"] else arguments["dimension"]


def _shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta, dimension, target = metas["data"], arguments["dimension"], _target(arguments)
    has = {"t": meta.time, "bands": meta.bands is not None}
    if not has[dimension]:
        raise DocumentError(
            f"apply_dimension: the dimension {dimension!r} has been reduced", openeo="DimensionNotAvailable"
        )
    if target == "t":
        return _along_time(arguments, meta)
    made = _made_labels(arguments, meta)
    labels = arguments["labels"] or made
    if len(labels) != len(made):
        raise DocumentError(f"apply_dimension: {len(labels)} labels for {len(made)} bands", openeo="LabelMismatch")
    common = {name: band for name, band in meta.common.items() if band in labels}
    return Meta(meta.time and dimension != "t", tuple(labels), common)


def _along_time(arguments: Mapping[str, Any], meta: Meta) -> Meta:
    if arguments["dimension"] != "t":
        raise DocumentError("apply_dimension gives bands no dates: `target_dimension` is 't' for series of dates only")
    if arguments["labels"]:
        raise DocumentError("apply_dimension: dates keep their own labels; `labels` names bands")
    length = length_of(arguments["process"], Length())
    _check_varies(length)
    if (length.times, length.plus) != (1, 0):
        raise DocumentError(
            f"apply_dimension: the process gives {_told(length)} of a series of dates, and a value for each date is "
            "needed; with target_dimension='bands' the values become bands"
        )
    return meta


def _told(length: Length) -> str:
    per_date = f"{length.times} × as many values" if length.times else ""
    return f"{per_date}{' and ' if per_date and length.plus else ''}{f'{length.plus} values' if length.plus else ''}"


def _check_varies(length: Length) -> None:
    if length.varies:
        raise DocumentError(
            "apply_dimension: how many values array_filter gives is not known beforehand: with a condition on values "
            "another number from pixel to pixel, of dates another one for each series; reduce it, or use `if` to make "
            "values missing"
        )


def _made_labels(arguments: Mapping[str, Any], meta: Meta) -> tuple[str, ...]:
    """Of bands: those of the source where there are as many values, else 0, 1, 2 …"""
    if arguments["dimension"] == "bands":
        wanted_labels(arguments["process"], meta)  # complains of unknown bands before anything is read
        bands = meta.bands or ()
        length = length_of(arguments["process"], Length(0, len(bands), bands))
        _check_varies(length)
        count = length.plus
        if count == len(bands):
            return bands
    else:
        length = length_of(arguments["process"], Length())
        _check_varies(length)
        if length.times:
            raise DocumentError(
                f"apply_dimension: the process gives {_told(length)}, as many as there are dates, which makes no bands"
            )
        count = length.plus * len(meta.bands or ("",))
    if count < 1:
        raise DocumentError("apply_dimension: the process gives an array without elements; it takes at least one")
    return tuple(map(str, range(count)))


def _needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    meta = metas["data"]
    if arguments["dimension"] == "bands":
        return {"data": wanted_labels(arguments["process"], meta) or meta.bands}
    same = _target(arguments) == "t" and wanted is not None and meta.bands is not None
    return {"data": wanted if same else meta.bands}


def _narrowed(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    """Names of the result that follow from the number of all bands, before those are left out that nobody uses."""
    if _target(arguments) == "t":
        return {}
    return {"labels": list(_shape(arguments, metas).bands or ())}


def _apply_dimension(
    data: Node, process: Any, dim: Dimension = "t", target: Dimension | None = None, labels: Any = None
) -> Node:
    """An array made of the values along a dimension of each pixel, by a function of the array.

    ```python
    s2.apply_dimension(lambda data: [data["red"], data["nir"], data["red"] * 2], "bands")
    ndvi.apply_dimension(lambda data: data - data.mean(), "t")
    ndvi.apply_dimension(lambda data: data.quantiles([0.1, 0.5, 0.9]), "t", "bands", labels=["low", "middle", "high"])
    ```

    With `target="bands"` the values made of a series of dates become bands. `labels` names the bands of the result.
    """
    return registry.node(
        "apply_dimension", data=data, process=callback("process", process, "data"), dimension=dim,
        target_dimension=target, labels=plain(labels),
    )  # fmt: skip


@operator(
    "apply_dimension",
    shape=_shape,
    needs=_needs,
    reduces=_reduces,
    along="dimension",
    narrowed=_narrowed,
    method=_apply_dimension,
)
def apply_dimension(
    data: Cube,
    process: Transform,
    dimension: Dimension,
    target_dimension: Dimension | None = None,
    labels: Names | None = None,
    meta: Meta | None = None,
) -> Cube:
    """An array made of the values along a dimension of each pixel, by a process that gives one.

    ```python
    s2.apply_dimension(lambda data: [data["red"], data["nir"], data["red"] * 2], "bands")
    ndvi.apply_dimension("cumsum", "t")
    ```

    Along `t` there is a value for each date. Bands are called as those of the source where they are as many, else 0, 1,
    2 … (openEO), or by `labels`, which openEO does not have. One value is an array of one. With the target `bands` the
    values made of a series of dates become bands: where there are several bands already, all those of the first band
    come first.

    Elements that `sort` and `order` leave out are missing at the end.
    """
    meta = meta or Meta("t" in data.dims, tuple(data.bands.values) if "bands" in data.dims else None)
    result = run(process, data=Series(data, dimension, meta))  # type: ignore[arg-type]
    assert isinstance(result, Series)
    like = data.isel({dimension: 0}, drop=True) if data.sizes[dimension] else data.sum(dimension)
    array = xr.broadcast(result.elements, like, exclude=[ELEMENT])[0].astype(data.dtype, copy=False)
    array = array.transpose(*(d for d in ("t", "bands") if d in like.dims), ELEMENT, "y", "x")
    if dimension == "t" and target_dimension != "bands":
        return array.rename({ELEMENT: "t"}).assign_coords(t=data.t)
    if dimension == "bands":
        same = data.bands.values if result.size == data.sizes["bands"] else map(str, range(result.size))
        return array.rename({ELEMENT: "bands"}).assign_coords(bands=list(labels or same))
    if "bands" in array.dims:  # all of the first band, then all of the second
        count = array.sizes["bands"] * array.sizes[ELEMENT]
        values = array.values.reshape(count, *array.shape[-2:])
        array = xr.DataArray(
            values, dims=("bands", "y", "x"), coords={d: array[d] for d in ("y", "x") if d in array.coords}
        )
    else:
        array = array.rename({ELEMENT: "bands"})
    return array.assign_coords(bands=list(labels or map(str, range(array.sizes["bands"]))))
