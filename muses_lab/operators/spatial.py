"""Space reduced: to one value of a pinned extent, or to one pixel of each window of pixels (openEO)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Callback, Node
from muses_lab.errors import ArgumentError
from muses_lab.operators.callbacks import Series, run
from muses_lab.operators.contract import VALUE, Cost, Cube, Fit, Meta, Reducer, Windows, same_bands
from muses_lab.operators.cubes import BBox, Metres, as_cube
from muses_lab.operators.declare import operator
from muses_lab.operators.given import extent as given_extent
from muses_lab.operators.methods import on_cube, reducer_named
from muses_lab.plain import number, plain, shown
from muses_lab.raster.grid import Grid, Rect

# ------------------------------------------------------------------------------------------------ a pinned extent


def _of_extent(data: xr.DataArray, reducer: Callback) -> dict[str, Any]:
    """The value of each band and date, None where it is missing, with their labels."""
    values = np.asarray(data.data)
    flat = xr.DataArray(values.reshape(*values.shape[:-2], -1), dims=(*data.dims[:-2], "pixel"))
    found = as_cube(run(reducer, data=Series(flat, "pixel", _NOTHING)), flat.isel(pixel=0))
    kept = np.asarray(found.data, np.float64)
    known = kept.astype(object)
    known[~np.isfinite(kept)] = None
    bands = None if "bands" not in data.dims else [str(band) for band in data.bands.values]
    dates = None if "t" not in data.dims else [int(t) for t in data.t.values.astype("M8[ns]").astype(np.int64)]
    return {"values": known.tolist(), "bands": bands, "dates": dates}


_NOTHING = Meta(time=False)


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    return Cost(10 * VALUE * rows * columns, 8 * rows * columns)


def _reduce_spatial(
    data: Node, reducer: str = "mean", extent: Any = None, resolution: float | None = None, q: float | None = None
) -> Node:
    """One value of a pinned extent for each band and date, at every pixel: so that it can be combined with images.

    ```python
    image.reduce_spatial("mean", extent=(1.40, 43.56, 1.44, 43.60), resolution=20)
    image - image.reduce_spatial("quantile", extent=(1.40, 43.56, 1.44, 43.60), resolution=20, q=0.1)
    ```

    `reducer` is any method that reduces dates, by its name; `extent` bounds in longitude and latitude; `resolution` in
    metres. The values of zones are `over`'s.
    """
    return on_cube(
        data, "reduce_spatial", reducer=reducer_named(data, reducer, q), extent=given_extent(extent),
        resolution=None if resolution is None else number("resolution", resolution),
    )  # fmt: skip


@operator("reduce_spatial", support=Fit(_of_extent), cost=_cost, needs=same_bands, strict=False, method=_reduce_spatial)
def reduce_spatial(
    data: Cube,
    reducer: Reducer,
    extent: BBox | None = None,
    resolution: Metres | None = None,
    fitted: dict[str, Any] | None = None,
) -> Cube:
    """All pixels of a pinned extent reduced to one value for each band and date, which every pixel then has (openEO).

    ```python
    image.reduce_spatial("mean", extent=(1.40, 43.56, 1.44, 43.60), resolution=20)
    ```

    The pixels are those of the data's grid at `resolution` (metres) whose extent holds `extent`. The result keeps the
    dimensions x and y: it is the same value at each pixel of whatever window is looked at, missing where the extent has
    none.
    """
    assert fitted is not None
    values = np.array(fitted["values"], np.float64)
    found = xr.DataArray(values, dims=[d for d in data.dims if d not in ("y", "x")])
    if fitted["dates"] is not None:
        found = found.assign_coords(t=np.array(fitted["dates"], "M8[ns]")).reindex(t=data.t)
    if fitted["bands"] is not None:
        found = found.assign_coords(bands=np.array(fitted["bands"], dtype=object)).sel(bands=data.bands)
    return xr.full_like(data, np.nan).fillna(found.astype(data.dtype)).transpose(*data.dims)


# --------------------------------------------------------------------------------------------------------- windows

Align = Literal["lower-left", "upper-left", "lower-right", "upper-right"]
Pixels = Annotated[int, Field(ge=1, le=4096)]


def _size(arguments: Mapping[str, Any]) -> tuple[int, int]:
    columns, rows = arguments["size"]
    return rows, columns


def _count(length: int, size: int, boundary: str) -> int:
    """How many windows a side has."""
    return -(-length // size) if boundary == "pad" else length // size


def _corner(arguments: Mapping[str, Any], grid: Grid) -> tuple[int, int]:
    (rows, columns), extent, align = _size(arguments), grid.extent, arguments["align"]
    down = _count(extent.shape[0], rows, arguments["boundary"]) * rows
    across = _count(extent.shape[1], columns, arguments["boundary"]) * columns
    return (
        extent.r1 - down if align.startswith("lower") else extent.r0,
        extent.c1 - across if align.endswith("right") else extent.c0,
    )


def _coarser(arguments: Mapping[str, Any], grids: Mapping[str, Mapping[str, Grid]]) -> Mapping[str, Grid]:
    found = (_in_windows(arguments, grid) for grid in grids["data"].values())
    return {grid.id: grid for grid in found}


def _in_windows(arguments: Mapping[str, Any], grid: Grid) -> Grid:
    (rows, columns), (top, left), (width, height) = _size(arguments), _corner(arguments, grid), grid.size
    boundary = arguments["boundary"]
    extent = Rect(0, _count(grid.extent.shape[0], rows, boundary), 0, _count(grid.extent.shape[1], columns, boundary))
    return replace(
        grid,
        id=f"{grid.id}/{columns}x{rows}{boundary[0]}{arguments['align']}",
        origin=(grid.origin[0] + left * width, grid.origin[1] - top * height),
        resolution=width * columns,
        height=height * rows,
        extent=extent,
        lattice="",
    )


def _in_windows_of(
    data: Node, size: int | list[int], reducer: str = "mean", boundary: Literal["pad", "trim"] = "pad",
    align: Align = "upper-left", q: float | None = None,
) -> Node:  # fmt: skip
    """One pixel of each window of `size` pixels, or of [width, height]: on a coarser grid.

    ```python
    image.by_window(3, "mean")
    image.by_window([2, 4], "max", boundary="trim")
    ```

    `reducer` is any method that reduces dates, by its name. Windows are counted from a corner of the grid's extent;
    where they do not fill it, `pad` has windows that reach beyond it and `trim` leaves the rest out.
    """
    sides = [size, size] if not isinstance(size, list | tuple) else plain(list(size))
    if len(sides) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) for n in sides):
        raise ArgumentError(f"{shown(size)} is no size of a window: give a number of pixels, or [width, height]")
    return on_cube(
        data, "aggregate_spatial_window", size=sides, reducer=reducer_named(data, reducer, q), boundary=boundary,
        align=align,
    )  # fmt: skip


_in_windows_of.__name__ = "by_window"


@operator(
    "aggregate_spatial_window", support=Windows(_coarser, _size, _corner), needs=same_bands, method=_in_windows_of
)
def aggregate_spatial_window(
    data: Cube,
    reducer: Reducer,
    size: Annotated[list[Pixels], Field(min_length=2, max_length=2)],
    boundary: Literal["pad", "trim"] = "pad",
    align: Align = "upper-left",
) -> Cube:
    """The pixels of each window of [width, height] pixels reduced to one pixel of a coarser grid (openEO).

    ```python
    image.by_window(3, "mean")
    ```

    Windows are of native pixels and counted from a corner (`align`) of the extent of the data's grid; at coarser levels
    they are of as many of the level's pixels. With `pad` they may reach beyond the extent, where values are missing;
    with `trim` what does not fill a window is left out. Missing values are what the reducer makes of them.
    """
    values = np.asarray(data.data)
    columns, rows = size
    ny, nx = values.shape[-2] // rows, values.shape[-1] // columns
    cut = values.reshape(*values.shape[:-2], ny, rows, nx, columns)
    windows = np.moveaxis(cut, -3, -2).reshape(*values.shape[:-2], ny, nx, rows * columns)
    coords = {d: data.coords[d] for d in data.dims if d in data.coords and d not in ("y", "x")}
    series = xr.DataArray(windows, dims=(*data.dims, "pixel"), coords=coords)
    return as_cube(run(reducer, data=Series(series, "pixel", _NOTHING)), series.isel(pixel=0))  # type: ignore[arg-type]
