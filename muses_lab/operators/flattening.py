"""Dates and bands as one dimension, and apart again: openEO `flatten_dimensions` and `unflatten_dimension`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Node
from muses_lab.errors import DocumentError, TooLarge
from muses_lab.operators.contract import Cube, Dates, Meta
from muses_lab.operators.cubes import instant
from muses_lab.operators.declare import operator
from muses_lab.operators.labels import date_label
from muses_lab.operators.methods import on_cube

MOST_LABELS = 2000
"""Each is a band of the result, whose values are held at once."""

Separator = Annotated[str, Field(min_length=1, max_length=20)]
Dimension = Literal["t", "bands"]


def _check_different(arguments: Mapping[str, Any]) -> None:
    names = arguments["dimensions"] if "dimensions" in arguments else arguments["target_dimensions"]
    if len(set(names)) < len(names):
        raise ValueError(f"the dimension {names[0]!r} is named twice")


def _labels(dimensions: Sequence[str], meta: Meta) -> list[list[str]]:
    """Of each of the dimensions."""
    found = []
    for dimension in dimensions:
        if not (meta.time if dimension == "t" else meta.bands is not None):
            raise DocumentError(
                f"flatten_dimensions: the cube has no dimension {dimension!r}", openeo="DimensionNotAvailable"
            )
        if dimension == "t" and meta.dates is None:
            raise DocumentError(
                "flatten_dimensions: dates are not known inside of a callback, nor before scenes are found"
            )
        found.append([date_label(time) for time in meta.dates or ()] if dimension == "t" else list(meta.bands or ()))
    return found


def _flat(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta, dimensions = metas["data"], arguments["dimensions"]
    each = _labels(dimensions, meta)
    if "bands" not in dimensions and meta.bands is not None:
        raise DocumentError(
            "flatten_dimensions: the result would have bands and another dimension of labels beside them; a cube has "
            "t, bands, y and x here: name 'bands' in `dimensions`, too"
        )
    separator = arguments["label_separator"]
    labels = tuple(separator.join(parts) for parts in product(*each))
    if len(labels) > MOST_LABELS:
        raise TooLarge(f"flatten_dimensions: there would be {len(labels)} labels; the limit is {MOST_LABELS}")
    return Meta(meta.time and "t" not in dimensions, labels, {})


def _all_bands(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    """Labels of the result are made of those of several bands, in their places."""
    return {"data": metas["data"].bands}


def _flatten(data: Node, dims: list[Dimension] = ["t", "bands"], separator: str = "~") -> Node:  # noqa: B006
    """Dates and bands as one dimension of bands, called `2018-03-01T00:00:00Z~B04`: a feature each.

    ```python
    s2.bands("red", "nir").flatten()
    ndvi.flatten(["t"])
    ```
    """
    return on_cube(data, "flatten_dimensions", dimensions=dims, target_dimension="bands", label_separator=separator)


@operator(
    "flatten_dimensions",
    shape=_flat,
    needs=_all_bands,
    strict=False,
    rule=_check_different,
    reduces=lambda arguments: "t" if "t" in arguments["dimensions"] else None,
    method=_flatten,
    partly="dates and bands only; x and y are the window",
)
def flatten_dimensions(
    data: Cube,
    dimensions: Annotated[list[Dimension], Field(min_length=1, max_length=2)],
    target_dimension: Literal["bands"],
    label_separator: Separator = "~",
    meta: Meta | None = None,
) -> Cube:
    """Dates and bands combined into one dimension, in the order in which they are named (openEO).

    ```python
    s2.bands("red", "nir").flatten()
    ndvi.flatten(["t"])
    ```

    The labels are those of both with the separator between them; dates are texts (2018-03-01T10:30:00Z). The new
    dimension is `bands` here, whatever a document calls it. x and y are the window, and stay.
    """
    assert meta is not None
    each = _labels(dimensions, meta)
    labels = [label_separator.join(parts) for parts in product(*each)]
    if "t" in dimensions:
        data = data.reindex(t=np.array(meta.dates or (), "datetime64[ns]"))
    first = [d for d in data.dims if d not in (*dimensions, "y", "x")]
    ordered = data.transpose(*first, *dimensions, "y", "x")
    shape = [ordered.sizes[d] for d in first]
    values = np.asarray(ordered.data).reshape(*shape, len(labels), *ordered.shape[-2:])
    coords = {d: data.coords[d] for d in (*first, "y", "x") if d in data.coords}
    return xr.DataArray(
        values, dims=(*first, "bands", "y", "x"), coords={**coords, "bands": np.array(labels, dtype=object)}
    )


# --------------------------------------------------------------------------------------------------------- apart


def _parts(arguments: Mapping[str, Any], meta: Meta) -> dict[tuple[np.datetime64, str], str]:
    """(date, band) → label."""
    separator, targets = arguments["label_separator"], arguments["target_dimensions"]
    if meta.bands is None:
        raise DocumentError("unflatten_dimension: the cube has no dimension 'bands'", openeo="DimensionNotAvailable")
    if meta.time:
        raise DocumentError("unflatten_dimension: the cube has dates already", openeo="TargetDimensionExists")
    found: dict[tuple[np.datetime64, str], str] = {}
    for label in meta.bands:
        parts = label.split(separator)
        if len(parts) != 2:
            raise DocumentError(
                f"unflatten_dimension: the label {label!r} has {len(parts)} parts between {separator!r}; it needs one "
                "for each of the two target dimensions"
            )
        named = dict(zip(targets, parts, strict=True))
        try:
            time = instant(named["t"])
        except ValueError:
            raise DocumentError(f"unflatten_dimension: {named['t']!r} of the label {label!r} is no date") from None
        if (time, named["bands"]) in found:
            raise DocumentError(f"unflatten_dimension: two labels have {named['t']!r} and {named['bands']!r}")
        found[time, named["bands"]] = label
    return found


def _apart(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    found = _parts(arguments, metas["data"])
    times: Dates = tuple(sorted({time for time, _ in found}))
    bands = tuple(dict.fromkeys(band for _, band in found))
    for time, band in product(times, bands):
        if (time, band) not in found:
            raise DocumentError(
                f"unflatten_dimension: there is no label of {date_label(time)} and {band!r}: each date needs each band"
            )
    return Meta(True, bands, {}, times)


def _unflatten(data: Node, dims: list[Dimension] = ["t", "bands"], separator: str = "~") -> Node:  # noqa: B006
    """Bands called `2018-03-01T00:00:00Z~B04` as dates and bands.

    ```python
    s2.bands("red", "nir").flatten().unflatten()
    ```
    """
    return on_cube(data, "unflatten_dimension", dimension="bands", target_dimensions=dims, label_separator=separator)


@operator(
    "unflatten_dimension",
    shape=_apart,
    needs=_all_bands,
    rule=_check_different,
    method=_unflatten,
    partly="into dates and bands only, called so (or by other names of theirs: time, spectral)",
)
def unflatten_dimension(
    data: Cube,
    dimension: Literal["bands"],
    target_dimensions: Annotated[list[Dimension], Field(min_length=2, max_length=2)],
    label_separator: Separator = "~",
    meta: Meta | None = None,
) -> Cube:
    """Bands whose labels have two parts as dates and bands (openEO).

    ```python
    s2.bands("red", "nir").flatten().unflatten()
    ```

    `target_dimensions` says which part is a date (`t`) and which a band; every date needs every band.
    """
    assert meta is not None
    arguments = {"target_dimensions": target_dimensions, "label_separator": label_separator}
    found = _parts(arguments, meta)
    made = _apart(arguments, {"data": meta})
    values = np.stack(
        [np.stack([data.sel(bands=found[time, band]).values for band in made.bands or ()]) for time in made.dates or ()]
    )
    coords = {d: data.coords[d] for d in ("y", "x") if d in data.coords}
    return xr.DataArray(
        values,
        dims=("t", "bands", "y", "x"),
        coords={
            **coords,
            "t": np.array(made.dates, "datetime64[ns]"),
            "bands": np.array(made.bands, dtype=object),
        },
    )
