"""Points in features, on a regular grid or at random: openEO `vector_to_regular_points` and `…_random_points`."""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Any

import numpy as np
import shapely
from pydantic import Field
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import known_crs
from muses_lab.operators.declare import operator
from muses_lab.operators.vectors import MOST, Features, Vectors

_TRIES = 1000
"""Throws of so many places each in a polygon's box, before it is given up as too thin."""


def _in_metres(features: Features) -> None:
    if known_crs(features.crs).axis_info[0].unit_name not in ("metre", "meter"):
        raise ValueError(
            f"UnitMismatch: the features are in {features.crs}, whose unit is not the metre, and the distance is in "
            "metres; use vector_reproject first"
        )


def _check_count(count: int) -> None:
    if count > MOST:
        raise ValueError(f"there would be {count} points; the limit is {MOST}")


@operator("vector_to_regular_points", method=None)
def vector_to_regular_points(
    data: Vectors, distance: Annotated[float, Field(gt=0, le=1e7)], group: bool = True
) -> Vectors:
    """Points in features, so many metres apart, with the attributes of their feature (openEO).

    ```python
    ml.vectors(polygon)
    ```

    Of a polygon the centres of square cells, from the upper left corner of its box on, that are inside of it, or its
    first corner where none is; of a line its beginning, and places along it; points as they are. With `group` those of
    a feature are one, with its id; else each is one of its own.
    """
    _in_metres(data)
    _check_count(sum(_most_in(shape, distance) for shape in data.shapes))
    return _points(data, [_regular(shape, distance) for shape in data.shapes], group)


def _most_in(shape: BaseGeometry, distance: float) -> int:
    if shapely.get_dimensions(shape) == 2:
        west, south, east, north = shape.bounds
        return math.ceil((east - west) / distance) * math.ceil((north - south) / distance)
    return int(shape.length / distance) + len(shapely.get_parts(shape))


def _regular(shape: BaseGeometry, distance: float) -> np.ndarray:
    dimension = shapely.get_dimensions(shape)
    if dimension == 0:
        return shapely.get_coordinates(shape)
    if dimension == 1:
        parts = shapely.get_parts(shape)
        along = [shapely.line_interpolate_point(p, np.arange(int(p.length / distance) + 1) * distance) for p in parts]
        return shapely.get_coordinates(np.concatenate(along))
    west, south, east, north = shape.bounds
    x = west + distance * (np.arange(math.ceil((east - west) / distance)) + 0.5)
    y = north - distance * (np.arange(math.ceil((north - south) / distance)) + 0.5)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    shapely.prepare(shape)
    inside = places[shapely.contains_xy(shape, *places.T)]
    return inside if len(inside) else shapely.get_coordinates(shape)[:1]


# ------------------------------------------------------------------------------------------------------- at random

Count = Annotated[int, Field(ge=1, le=MOST)]


def _check_counts(arguments: Any) -> None:
    if arguments["geometry_count"] is None and arguments["total_count"] is None:
        raise ValueError("CountsMissing: give `geometry_count`, or `total_count`, or both")


@operator("vector_to_random_points", rule=_check_counts, method=None)
def vector_to_random_points(
    data: Vectors,
    geometry_count: Count | None = 1,
    total_count: Count | None = None,
    group: bool = True,
    seed: int | None = None,
) -> Vectors:
    """Points at random in features, with the attributes of their feature (openEO).

    ```python
    ml.vectors(polygon)
    ```

    So many of each feature, and no more than `total_count` in all, of which each feature has as many as another, the
    first ones one more. Of points each is taken once. Without a `seed` it is one of the features themselves, so that
    a document always gives the same points.
    """
    number = len(data)
    if total_count is not None and total_count < number:
        raise ValueError(f"CountMismatch: total_count is {total_count}, and there are {number} features")
    counts = [geometry_count or MOST] * number
    if total_count is not None:
        share, more = divmod(total_count, number)
        counts = [min(count, share + (n < more)) for n, count in enumerate(counts)]
    _check_count(sum(counts))
    if seed is None:
        seed = int.from_bytes(
            hashlib.sha256(shapely.to_wkb(shapely.GeometryCollection(list(data.shapes)))).digest()[:8]
        )
    rng = np.random.default_rng(abs(seed))
    found = [_random(shape, n, rng, id) for shape, n, id in zip(data.shapes, counts, data.ids, strict=True)]
    return _points(data, found, group)


def _random(shape: BaseGeometry, count: int, rng: np.random.Generator, id: Any) -> np.ndarray:
    dimension = shapely.get_dimensions(shape)
    if dimension == 0:
        every = np.unique(shapely.get_coordinates(shape), axis=0)
        return rng.permutation(every)[:count]
    if dimension == 1:
        parts = shapely.get_parts(shape)
        ends = np.cumsum([part.length for part in parts])
        at = rng.uniform(0, ends[-1], count)
        on = np.minimum(np.searchsorted(ends, at, side="right"), len(parts) - 1)
        rest = at - np.concatenate([[0.0], ends])[on]
        return shapely.get_coordinates(shapely.line_interpolate_point(parts[on], rest))
    west, south, east, north = shape.bounds
    shapely.prepare(shape)
    kept: list[np.ndarray] = []
    have = 0
    for _ in range(_TRIES):
        places = rng.uniform((west, south), (east, north), (max(4 * count, 64), 2))
        inside = places[shapely.contains_xy(shape, *places.T)]
        kept.append(inside)
        have += len(inside)
        if have >= count:
            return np.concatenate(kept)[:count]
    raise ValueError(f"feature {id!r} is too thin for places at random in it")


def _points(features: Features, places: list[np.ndarray], group: bool) -> Features:
    if group:
        shapes = [shapely.MultiPoint(xy) if len(xy) > 1 else shapely.Point(xy[0]) for xy in places]
        return Features.of(features.crs, shapes, features.ids, features.properties)
    of = np.repeat(np.arange(len(places)), [len(xy) for xy in places])
    columns = {name: [column[n] for n in of] for name, column in features.properties.items()}
    shapes = [shapely.Point(xy) for xy in np.concatenate(places)]
    return Features.of(features.crs, shapes, None, columns)
