"""Longitudes go round: outlines in degrees that cross 180°, run beyond it, or hold a pole, as places on the globe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

WORLD = shapely.box(-180, -90, 180, 90)
_MOST = 720.0
"""Longitudes beyond are none."""
_TALL = 60.0
"""Degrees of latitude: outlines as high as that, from -180 to 180 all but a little, are round the world."""


def on_globe(geometry: BaseGeometry) -> BaseGeometry:
    """An outline in longitude and latitude within -180…180, in parts where it crosses the antimeridian (RFC 7946).

    >>> on_globe(shapely.box(179, -18, 181, -16)).equals(on_globe(shapely.box(-181, -18, -179, -16)))
    True

    Items of different makers go across 180° in four ways: in two parts, beyond 180, below -180, and by a jump from one
    side to the other (edges of more than 180 degrees of longitude). A ring round a pole holds the pole.
    """
    if geometry.is_empty:
        return geometry
    west, _, east, _ = geometry.bounds
    if west >= -180 and east <= 180 and east - west <= 180:
        return geometry
    if not (west >= -_MOST and east <= _MOST):
        return geometry  # no longitudes
    parts = [part for single in getattr(geometry, "geoms", [geometry]) for part in _turned(_continuous(single))]
    return shapely.union_all(parts) if parts else geometry


def wrap_bounds(west: float, south: float, east: float, north: float) -> tuple[float, float, float, float]:
    """The same with longitudes in -180…180; west > east crosses the antimeridian."""
    if east - west >= 360:
        return -180.0, south, 180.0, north
    return _wrapped(west), south, _wrapped(east), north


def around(spans: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """West and east of the shortest span that holds others, in degrees of longitude; beyond 180 where it crosses it.

    >>> around([(179.0, 179.5), (-179.5, -179.0)])
    (179.0, 181.0)
    """
    found = sorted(
        ((west + 180) % 360 - 180, (east - west) % 360 or (360.0 if east > west else 0.0)) for west, east in spans
    )
    best: tuple[float, float] | None = None
    for begin, _ in found:
        ends = max(west + (0 if west >= begin else 360) + width for west, width in found)
        if best is None or ends - begin < best[1] - best[0]:
            best = begin, ends
    assert best is not None
    return (-180.0, 180.0) if best[1] - best[0] >= 360 else best


def _wrapped(longitude: float) -> float:
    return longitude if -180 <= longitude <= 180 else (longitude + 180) % 360 - 180


def _continuous(geometry: BaseGeometry) -> BaseGeometry:
    """A polygon without jumps from one side of the world to the other; other shapes as they are."""
    if not isinstance(geometry, shapely.Polygon):
        return geometry
    ring = shapely.get_coordinates(geometry.exterior)
    steps = np.diff(ring[:, 0])
    jumps = (np.abs(steps) > 180) & (np.abs(steps) < 360)
    tall = np.ptp(ring[:, 1]) > _TALL
    if not jumps.any():
        return geometry
    turns = np.concatenate([[0.0], np.cumsum(-360.0 * np.sign(steps) * jumps)])
    if turns[-1] == 0 and tall:
        return geometry
    ring[:, 0] += turns
    if turns[-1] != 0:  # round a pole: it is closed there
        pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
        ring = np.concatenate([ring, [[ring[-1, 0], pole], [ring[0, 0], pole], ring[0]]])
        return shapely.make_valid(shapely.Polygon(ring))
    start = ring[0, 0]
    holes = []
    for inner in geometry.interiors:
        hole = shapely.get_coordinates(inner)
        hole[:, 0] += 360 * np.round((start - hole[:, 0]) / 360)
        holes.append(hole)
    return shapely.make_valid(shapely.Polygon(ring, holes))


def _turned(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    """Its parts, each turned into -180…180."""
    geometry = shapely.make_valid(geometry)
    west, _, east, _ = geometry.bounds
    for turn in range(int(np.floor((west + 180) / 360)), int(np.floor((east + 180) / 360)) + 1):
        part = shapely.intersection(geometry, translate(WORLD, 360 * turn))
        if not part.is_empty and (part.area > 0 or geometry.area == 0):
            yield translate(part, -360 * turn)
