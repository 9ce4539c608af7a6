"""Observations: which scenes were seen in one overpass, and which are copies of one acquisition.

Scenes form one observation, one step of `t`, where

- they are of one platform, and of one relative orbit and orbit state as far as they state them,
- their times follow one another with gaps of at most 10 minutes (UTC: neither midnight nor 180° cuts an overpass),
- and none of them covers another, unless both are copies of one acquisition.

Two scenes cover each other where they have a band in common and share more than half of the smaller one's ground: of
their rectangles where they are in one reference system, and of their footprints too. Half, because the tiles, slices
and rows that an overpass is cut into overlap by far less (Sentinel-2 tiles by 9.8 km of 110, Sentinel-1 slices and
Landsat rows by about a tenth, the rectangles around tilted rows by a quarter), and because two looks at one place share
nearly all of it. Scenes with different grid codes are tiles of one tiling and never cover each other, however much
the tiles of two UTM zones overlap.

Two scenes that cover each other are copies of one acquisition where their times differ by at most a second, or where
they are of one tile of one relative orbit in one overpass: processed twice. The newer one is used (by processing
baseline, then by time of processing, then by id). An older one is folded into it, that is left out, where the newer
one has all of its bands and nine tenths of its ground; else both stay, in one observation, the newer one on top.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
import shapely.affinity
import shapely.geometry
from pyproj.exceptions import ProjError
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import transformer
from muses_lab.errors import CrsError
from muses_lab.scenes.scene import Scene

GAP = np.timedelta64(10, "m")
"""Longest time between two scenes of one overpass."""
SAME = 1_000_000_000
"""Longest difference between the times that two copies of one acquisition state, in nanoseconds."""
COVERS = 0.5
"""Share of the smaller scene's ground above which two scenes cover each other."""
HOLDS = 0.9
"""Share of an older copy's ground from which the newer one stands for it."""


@dataclass(frozen=True)
class Observations:
    """Which scene of a list belongs to which observation."""

    number: np.ndarray
    """Number of each scene's observation, in order of time; a folded copy has that of the newer one."""
    instants: np.ndarray
    """Instant of each observation: that of its first scene, made unique by nanoseconds where two begin at once."""
    copies: dict[int, int]
    """Index of each folded scene → index of the newer copy that stands for it."""
    rank: np.ndarray
    """Which scenes come first: in order of time, copies of one acquisition the newest first."""


def observe(scenes: Sequence[Scene]) -> Observations:
    """The observations of a list of scenes; their order does not matter.

    >>> from muses_lab.scenes.scene import Asset, Scene
    >>> image = {"B": Asset("b.tif", (10, 0, 400_000, 0, -10, 4_800_000), (64, 64))}
    >>> hourly = [Scene(f"h{h}", f"2020-06-01T{h:02}:00:00Z", "EPSG:32631", image) for h in range(3)]
    >>> observe(hourly).number.tolist()
    [0, 1, 2]
    """
    number = np.zeros(len(scenes), np.int32)
    if not scenes:
        return Observations(number, np.empty(0, "datetime64[ns]"), {}, number)
    times = np.array([s.datetime.rstrip("Z") for s in scenes], "datetime64[ns]")
    exact = times.astype(np.int64).tolist()
    order = sorted(range(len(scenes)), key=lambda row: (exact[row], scenes[row].id))
    rank = np.empty(len(scenes), np.int64)
    rank[order] = np.arange(len(scenes))
    groups: list[list[int]] = []
    copies: dict[int, int] = {}
    for rows in _passes(scenes, times, rank):
        grids = {scenes[row].grid for row in rows}
        if len(rows) == 1 or (len(grids) == len(rows) and None not in grids):  # one scene, or one of each tile
            groups.append(rows)
            continue
        for group, has_copies in _apart([_Located(row, scenes[row], exact[row]) for row in rows]):
            groups.append([place.row for place in group])
            if has_copies:
                group.sort(key=lambda place: recency(place.scene), reverse=True)
                rank[[place.row for place in group]] = np.sort(rank[groups[-1]])
                copies |= _folded(group)
    groups.sort(key=lambda members: int(rank[members].min()))
    for n, members in enumerate(groups):
        number[members] = n
    return Observations(number, _unique(times[[order[int(rank[members].min())] for members in groups]]), copies, rank)


def recency(scene: Scene) -> tuple[float, str, str]:
    """Key that is largest for the newest copy: processing baseline, then when it was processed, then the id."""
    try:
        baseline = float(scene.baseline or "")
    except ValueError:
        baseline = 0.0
    return baseline if math.isfinite(baseline) else 0.0, scene.processed or "", scene.id


# ------------------------------------------------------------------------------------------------------------ passes


def _passes(scenes: Sequence[Scene], times: np.ndarray, rank: np.ndarray) -> Iterable[list[int]]:
    """Scenes of one platform and orbit whose times follow one another without a long gap, in order of time."""
    platforms: dict[str, list[int]] = defaultdict(list)
    for row, scene in enumerate(scenes):
        platforms[(scene.platform or "").casefold()].append(row)
    for of_platform in platforms.values():
        for rows in _without_gaps(np.array(of_platform), times, rank):
            if len(rows) == 1:
                yield rows
                continue
            orbits = defaultdict(list)
            relative = _stated([scenes[row].relative_orbit for row in rows])
            states = _stated([scenes[row].orbit_state for row in rows])
            for row, *orbit in zip(rows, relative, states, strict=True):
                orbits[tuple(orbit)].append(row)
            for of_orbit in orbits.values():
                yield from _without_gaps(np.array(of_orbit), times, rank)


def _without_gaps(rows: np.ndarray, times: np.ndarray, rank: np.ndarray) -> Iterable[list[int]]:
    rows = rows[np.argsort(rank[rows])]
    cuts = np.flatnonzero(np.diff(times[rows]) > GAP) + 1
    bounds = [0, *cuts.tolist(), len(rows)]
    every = rows.tolist()
    return (every[start:end] for start, end in zip(bounds, bounds[1:], strict=False))


def _stated(values: list) -> list:
    """The value that scenes state, where they agree; it also holds for those that state none."""
    said = {v for v in values if v is not None}
    return [*said] * len(values) if len(said) == 1 else values


# ------------------------------------------------------------------------------------------------------------ places


class _Located:
    """Where a scene of a pass lies."""

    def __init__(self, row: int, scene: Scene, time: int) -> None:
        self.row, self.scene, self.time = row, scene, time
        self.rectangle = _rectangle(scene)
        self.degrees = _degrees(scene, self.rectangle)
        """West, south, east, north in longitude and latitude; east beyond 180 where it lies across."""

    @cached_property
    def ground(self) -> BaseGeometry | None:
        """The footprint; None where there is none that has an area."""
        try:
            shape = shapely.make_valid(shapely.geometry.shape(self.scene.footprint or {}))
            west, _, east, _ = shape.bounds
            if east - west > 180 and self.degrees[2] > 180:
                shape = shapely.transform(shape, lambda p: p + np.where(p[:, :1] < 0, [360, 0], 0))
            return shape if shape.area > 0 else None
        except (GEOSException, AttributeError, KeyError, TypeError, ValueError):
            return None

    def may_be(self, other: _Located) -> bool:
        """Whether the two can cover each other at all: tiles of one tiling cannot, nor can different bands."""
        a, b = self.scene, other.scene
        return not (a.grid and b.grid and a.grid != b.grid) and not a.assets.keys().isdisjoint(b.assets)

    def is_copy_of(self, other: _Located) -> bool:
        """Whether two scenes that cover each other, of one pass, are one acquisition."""
        a, b = self.scene, other.scene
        one_tile = a.grid is not None and a.grid == b.grid and a.relative_orbit is not None
        return abs(self.time - other.time) <= SAME or (one_tile and a.relative_orbit == b.relative_orbit)

    def is_where(self, other: _Located) -> bool:
        """Whether another scene covers the same ground and is a copy of the same acquisition."""
        a, b = self.scene, other.scene
        same = self.rectangle == other.rectangle and a.crs == b.crs and a.footprint == b.footprint
        return same and (a.grid, a.relative_orbit, a.assets.keys()) == (b.grid, b.relative_orbit, b.assets.keys())


def _cover(a: _Located, b: _Located) -> bool:
    """Whether two scenes cover each other."""
    one_system = a.scene.crs == b.scene.crs
    if one_system and max(_shared_rectangle(a.rectangle, b.rectangle)) <= COVERS:
        return False
    return a.may_be(b) and max(_shared(a, b)) > COVERS


def _shared(a: _Located, b: _Located) -> tuple[float, float]:
    """Share of the ground of each that the other has too: the least that rectangles and footprints say."""
    shares = []
    if a.scene.crs == b.scene.crs:
        shares.append(_shared_rectangle(a.rectangle, b.rectangle))
    if a.scene.footprint != b.scene.footprint:
        if a.ground is not None and b.ground is not None:
            turn = 360 * round((sum(a.degrees[::2]) - sum(b.degrees[::2])) / 720)
            other = shapely.affinity.translate(b.ground, turn) if turn else b.ground
            both = shapely.area(shapely.intersection(a.ground, other))
            shares.append((both / a.ground.area, both / b.ground.area))
        elif not shares:
            shares.append(_shared_rectangle(a.degrees, b.degrees))
    return min((s[0] for s in shares), default=1.0), min((s[1] for s in shares), default=1.0)


def _shared_rectangle(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float]:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0, 0.0
    return wide * high / ((a[2] - a[0]) * (a[3] - a[1])), wide * high / ((b[2] - b[0]) * (b[3] - b[1]))


def _rectangle(scene: Scene) -> tuple[float, float, float, float]:
    """West, south, east, north around all assets, in the scene's CRS."""
    corners = []
    for asset in scene.assets.values():
        a, _, x, _, e, y = asset.transform
        corners += [(x, y), (x + a * asset.shape[1], y + e * asset.shape[0])]
    xs, ys = zip(*corners, strict=True) if corners else ((0.0,), (0.0,))
    return min(xs), min(ys), max(xs), max(ys)


_EVERYWHERE = (-180.0, -90.0, 180.0, 90.0)


def _degrees(scene: Scene, rectangle: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    points = _points((scene.footprint or {}).get("coordinates"))
    if not points:
        west, south, east, north = rectangle
        try:
            lon, lat = transformer(scene.crs, "EPSG:4326").transform(
                [west, east, east, west], [south, south, north, north]
            )
        except (CrsError, ProjError):
            return _EVERYWHERE
        points = list(zip(lon, lat, strict=True))
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    if max(xs) - min(xs) > 180:
        turned = [x + 360 if x < 0 else x for x in xs]
        if 0 < max(turned) - min(turned) < 180:
            xs = turned
    box = min(xs), min(ys), max(xs), max(ys)
    return box if all(map(math.isfinite, box)) else _EVERYWHERE


def _points(coordinates: object) -> list:
    """All points of a GeoJSON geometry's coordinates; none where they are not what they should be."""
    if not isinstance(coordinates, list | tuple) or not coordinates:
        return []
    if all(isinstance(v, int | float) for v in coordinates):
        return [coordinates] if len(coordinates) >= 2 else []
    return [point for part in coordinates for point in _points(part)]


# ------------------------------------------------------------------------------------------------------ observations


def _apart(places: list[_Located]) -> Iterable[tuple[list[_Located], bool]]:
    """A pass cut wherever a scene covers one before it and is no copy of that; and which parts hold copies."""
    parts: list[tuple[list[_Located], bool]] = []
    group: list[_Located] = []
    near, has_copies = _Near(places), False
    for place in places:
        met = [other for other in near.to(place) if _cover(place, other)]
        if not all(place.is_copy_of(other) for other in met):
            parts.append((group, has_copies))
            group, has_copies, met = [], False, []
            near.forget()
        group.append(place)
        has_copies |= bool(met)
        if not any(other.is_where(place) for other in met):
            near.add(place)
    return [*parts, (group, has_copies)]


class _Near:
    """The places of an observation by cells as large as the largest of them: a look at few instead of all."""

    def __init__(self, places: list[_Located]) -> None:
        wide = max(p.degrees[2] - p.degrees[0] for p in places)
        self._columns = max(1, int(360 / max(wide, 1e-6)))
        self._high = max(1e-6, *(p.degrees[3] - p.degrees[1] for p in places))
        self._cells: dict[tuple[int, int], list[_Located]] = defaultdict(list)

    def _cell(self, place: _Located) -> tuple[int, int]:
        west, south, east, north = place.degrees
        column = int((west + east) / 2 % 360 / 360 * self._columns) % self._columns
        return column, math.floor((south + north) / 2 / self._high)

    def add(self, place: _Located) -> None:
        self._cells[self._cell(place)].append(place)

    def to(self, place: _Located) -> Iterable[_Located]:
        column, row = self._cell(place)
        columns = {(column + step) % self._columns for step in (-1, 0, 1)}
        return (p for c in columns for r in (row - 1, row, row + 1) for p in self._cells.get((c, r), ()))

    def forget(self) -> None:
        self._cells.clear()


def _folded(newest: list[_Located]) -> dict[int, int]:
    """Row of each copy of an observation that a newer one replaces, and row of the newer one; `newest` comes first."""
    folded: dict[int, int] = {}
    kept = _Near(newest)
    for place in newest:
        newer = next((other for other in kept.to(place) if _stands_for(other, place)), None)
        if newer is None:
            kept.add(place)
        else:
            folded[place.row] = newer.row
    return folded


def _stands_for(newer: _Located, older: _Located) -> bool:
    """Whether the newer of two copies has all that the older one has."""
    has_all = older.may_be(newer) and older.scene.assets.keys() <= newer.scene.assets.keys()
    return has_all and older.is_copy_of(newer) and _shared(older, newer)[0] >= HOLDS


def _unique(instants: np.ndarray) -> np.ndarray:
    taken: set[int] = set()
    for instant in instants.astype("datetime64[ns]").astype(np.int64).tolist():
        while instant in taken:
            instant += 1
        taken.add(instant)
    return np.array(sorted(taken), np.int64).astype("datetime64[ns]")
