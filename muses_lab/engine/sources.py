"""What the engine knows of pinned scenes before anything is read: grids, footprints, observations.

Long lists cost no more than short ones: what is known of every scene stands in columns, and scenes, grids and
footprints are made of those that a window touches. Chains over one list share its `Source`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from shapely.geometry.base import BaseGeometry

from muses_lab.engine.columns import RING, Columns
from muses_lab.engine.grid import Bounds, Grid, Rect, bounds_of, same_crs, transformer
from muses_lab.engine.nearby import Nearby
from muses_lab.engine.packed import columns_of, pack
from muses_lab.errors import GridError
from muses_lab.operators import Meta
from muses_lab.scenes import Band, Scene, Scenes
from muses_lab.settings import is_remote

Dates = Collection[np.datetime64]


@dataclass(frozen=True)
class Placed:
    """A scene on its grid."""

    scene: Scene
    rect: Rect
    """Its rectangle in native pixels of the grid."""
    footprint: BaseGeometry
    """Where it has data, in the grid's CRS."""
    time: np.datetime64
    """The observation that it is part of."""


class Source:
    """The scenes of one pinned list, by grid and observation; thread-safe."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes
        self.columns = columns_of(scenes)
        for scene, lattice in self.columns.odd:
            _check_system(self.columns, scenes, scene, lattice)
        self.grids: Mapping[str, Grid] = _Grids(self.columns)
        instants = np.sort(self.columns.instants)
        self.axis: tuple[np.datetime64, ...] = tuple(instants)
        """The steps of `t`: one per platform and solar day."""
        self._step = np.searchsorted(instants, self.columns.instants)[self.columns.observation]
        """Index into the axis of each scene."""
        order = np.argsort(self.columns.lattice, kind="stable")
        starts = np.searchsorted(self.columns.lattice[order], np.arange(len(self.columns.lattices) + 1))
        self._members = {id: order[starts[n] : starts[n + 1]] for n, id in enumerate(self.columns.lattices)}
        """Grid id → its scenes in order of time."""
        self._placings: dict[str, _Placing] = {}
        self._lock = threading.Lock()

    @property
    def remote(self) -> bool:
        """Whether files may have to be fetched from a server; a few scenes of a list stand for all."""
        return self._urls or is_remote(self.scenes.catalog)

    @cached_property
    def _urls(self) -> bool:
        scenes = self.scenes.scenes
        return any("://" in a.href for i in {0, len(scenes) - 1} if scenes for a in scenes[i].assets.values())

    @cached_property
    def meta(self) -> Meta:
        common: dict[str, str] = {}
        for band in self.scenes.bands:
            if band.common_name:
                common.setdefault(band.common_name, band.name)
        if "nir08" in common:  # sensors with one near-infrared band call it nir08 (Landsat)
            common.setdefault("nir", common["nir08"])
        return Meta(True, tuple(b.name for b in self.scenes.bands), common)

    def band(self, name: str) -> Band:
        return self.scenes.band(name)

    @cached_property
    def packed(self) -> bytes:
        """The list as it travels."""
        return pack(self.scenes, self.columns)

    @cached_property
    def footprints(self) -> Mapping[str, BaseGeometry]:
        """Grid id → the union of its scenes' footprints, in the grid's CRS."""
        return _Footprints(self)

    def on(self, grid: str, native: Rect, times: Dates | None = None) -> list[Placed]:
        """Scenes of a grid that touch a rectangle of native pixels (footprints included), in order of time.

        `times`: only those of these observations.
        """
        if grid not in self._members:
            return []
        return [self._placed(grid, int(i)) for i in self._rows_on(grid, native, times)]

    def count(self, grid: str, native: Rect) -> int:
        """At most how many scenes of a grid touch a rectangle of native pixels: a look at rectangles only."""
        return int(self._placing(grid).overlap(native).sum()) if grid in self._members else 0

    def found(self, grid: Grid, native: Rect, times: Dates | None = None) -> list[str]:
        """Ids of the scenes that touch a rectangle of native pixels of any grid, its own or another."""
        if grid.id in self._members:
            return [self.columns.ids[i] for i in self._rows_on(grid.id, native, times)]
        west, south, east, north = _outline(grid, native)
        outline = box(west, south, east, north, grid.crs)
        found: list[str] = []
        for id in self.nearby.to((west, south, east, north), grid.crs):
            shape = outline.to_crs(self.grids[id].crs, resolution=max(east - west, north - south) / 16).geom
            if np.isfinite(shape.bounds).all():
                placing = self._placing(id)
                rows = placing.touching(self._dated(placing.members, times), shape.bounds, shape)
                found += [self.columns.ids[i] for i in rows]
        return found

    def dates(self, grid: str) -> dict[np.datetime64, float]:
        """Observations of a grid and the mean cloud cover (per cent) of their scenes there; NaN: unknown."""
        if grid not in self._dates:
            rows = self._members.get(grid, np.empty(0, np.int64))
            steps, clouds = self._step[rows], self.columns.clouds[rows]
            known = np.isfinite(clouds)
            total = np.bincount(steps, np.where(known, clouds, 0.0), len(self.axis))
            with np.errstate(invalid="ignore"):
                mean = total / np.bincount(steps, known, len(self.axis))
            self._dates[grid] = {self.axis[n]: float(mean[n]) for n in np.unique(steps)}
        return self._dates[grid]

    @cached_property
    def _dates(self) -> dict[str, dict[np.datetime64, float]]:
        return {}

    @cached_property
    def nearby(self) -> Nearby:
        """Which grids may be near a place."""
        return Nearby(self.columns)

    def candidates(self, window: GeoBox) -> list[str]:
        """Grids that may touch a window."""
        return self.nearby.to(bounds_of(window), str(window.crs))

    # ------------------------------------------------------------------------------------------- single scenes

    def _rows_on(self, grid: str, native: Rect, times: Dates | None) -> np.ndarray:
        placing = self._placing(grid)
        rows = self._dated(placing.members[placing.overlap(native)], times)
        return placing.touching(rows, _outline(self.grids[grid], native))

    def _dated(self, rows: np.ndarray, times: Dates | None) -> np.ndarray:
        if times is None:
            return rows
        if len(times) > len(rows):
            return rows[[self.axis[step] in times for step in self._step[rows]]] if len(rows) else rows
        wanted = np.zeros(len(self.axis), bool)
        wanted[[self._index[t] for t in times if t in self._index]] = True
        return rows[wanted[self._step[rows]]]

    @cached_property
    def _index(self) -> dict[np.datetime64, int]:
        return {t: n for n, t in enumerate(self.axis)}

    def _placed(self, grid: str, row: int) -> Placed:
        found = self._known.get((grid, row))
        if found is None:
            placing = self._placing(grid)
            rect = Rect(*(int(v) for v in placing.rects[placing.local[row]]))
            found = Placed(self.scenes.scenes[row], rect, placing.footprint(row), self.axis[self._step[row]])
            self._known[grid, row] = found
        return found

    @cached_property
    def _known(self) -> dict[tuple[str, int], Placed]:
        return {}

    def _placing(self, grid: str) -> _Placing:
        with self._lock:
            if grid not in self._placings:
                self._placings[grid] = _Placing(self.grids[grid], self.scenes, self.columns, self._members[grid])
            return self._placings[grid]


class _Placing:
    """The scenes of one grid: where they lie on it, and their footprints as far as somebody asked for them."""

    def __init__(self, grid: Grid, scenes: Scenes, columns: Columns, members: np.ndarray) -> None:
        self.grid = grid
        self.members = members
        self.local = {int(row): n for n, row in enumerate(members)}
        self._scenes = scenes
        self._columns = columns
        self._bounds = columns.bounds[members]
        west, south, east, north = self._bounds.T
        (x, y), size = grid.origin, grid.resolution
        self.rects = np.rint(
            np.stack([(y - north) / size, (y - south) / size, (west - x) / size, (east - x) / size], 1)
        ).astype(np.int64)
        """First row, end row, first column, end column in native pixels."""
        self._shapes: np.ndarray = np.full(len(members), None, object)
        self._full = np.zeros(len(members), np.bool_)
        """Footprints that fill their rectangle, of those that were made."""
        self._lock = threading.Lock()

    def overlap(self, native: Rect) -> np.ndarray:
        """Whether the rectangle of each scene shares pixels with a rectangle."""
        r0, r1, c0, c1 = self.rects.T
        high, wide = np.minimum(r1, native.r1), np.minimum(c1, native.c1)
        return (np.maximum(r0, native.r0) < high) & (np.maximum(c0, native.c0) < wide)

    def touching(self, rows: np.ndarray, bounds: Bounds, shape: BaseGeometry | None = None) -> np.ndarray:
        """Those of some scenes whose footprints touch a shape; without one, all that is within its bounds."""
        at = self._at(rows)
        west, south, east, north = bounds
        w, s, e, n = self._bounds[at].T
        near = (w <= east) & (e >= west) & (s <= north) & (n >= south)
        rows, at = rows[near], at[near]
        shapes = self._made(at)
        if not len(rows) or (shape is None and self._full[at].all()):
            return rows
        shape = shapely.box(*bounds) if shape is None else shape
        shapely.prepare(shape)
        return rows[shapely.intersects(shape, shapes)]

    def footprint(self, row: int) -> BaseGeometry:
        return self._made(np.array([self.local[row]]))[0]

    def _at(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.members, rows)  # in the order of the list, which is that of time

    def _made(self, at: np.ndarray) -> np.ndarray:
        """Footprints in the grid's CRS of the scenes at some places, made now where nobody asked before."""
        with self._lock:
            new = at[self._shapes[at] == None]  # noqa: E711
            if len(new):
                self._shapes[new], self._full[new] = self._clipped(new)
        return self._shapes[at]

    def _clipped(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each scene's footprint within its rectangle, or the rectangle where it all but fills that; and whether."""
        rows, rectangles = self.members[at], shapely.box(*self._bounds[at].T)
        shapes = rectangles.copy()
        plain = np.flatnonzero(self._columns.footprint[rows] == RING)
        if len(plain):
            shapes[plain] = self._rings(rows[plain])
        for n in np.flatnonzero(self._columns.footprint[rows] > RING):
            footprint = self._scenes.scenes[int(rows[n])].footprint
            assert footprint is not None
            shapes[n] = Geometry(footprint, "EPSG:4326").to_crs(self.grid.crs).geom
        known = np.flatnonzero(self._columns.footprint[rows])
        clipped = shapely.intersection(shapely.make_valid(shapes[known]), rectangles[known])
        full = shapely.area(clipped) > 0.999 * shapely.area(rectangles[known])
        whole = full | shapely.is_empty(clipped)
        shapes[known] = np.where(whole, rectangles[known], clipped)
        is_rectangle = np.ones(len(at), np.bool_)
        is_rectangle[known] = whole
        return shapes, is_rectangle

    def _rings(self, rows: np.ndarray) -> np.ndarray:
        """Polygons of one ring: corners are projected and joined by straight lines of the grid's CRS.

        The edges of tiles are straight there.
        """
        starts = self._columns.starts
        lengths = starts[rows + 1] - starts[rows]
        of = np.repeat(np.arange(len(rows)), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        points = self._columns.points[starts[rows][of] + within]
        if self.grid.crs != "EPSG:4326":
            points = np.stack(transformer("EPSG:4326", self.grid.crs).transform(points[:, 0], points[:, 1]), 1)
        return shapely.polygons(shapely.linearrings(points, indices=of))

    def union(self) -> BaseGeometry:
        """Where any of the scenes has data."""
        total = shapely.box(self._bounds[:, 0].min(), self._bounds[:, 1].min(), *self._bounds[:, 2:].max(0))
        end, count = 16, len(self.members)
        while True:
            union = _union(self._made(np.arange(min(end, count))))
            # What some scenes fill, all of them fill: nothing lies beyond their rectangles.
            if end >= count or union == total:
                return union
            end *= 8


class _Footprints(Mapping[str, BaseGeometry]):
    """Footprints of grids, made when they are asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._made: dict[str, BaseGeometry] = {}

    def __getitem__(self, id: str) -> BaseGeometry:
        if id not in self._made:
            if id not in self._source.grids:
                raise KeyError(id)
            self._made[id] = self._source._placing(id).union()
        return self._made[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.grids)

    def __len__(self) -> int:
        return len(self._source.grids)

    def __contains__(self, id: object) -> bool:
        return id in self._source.grids


class _Grids(Mapping[str, Grid]):
    """The grids of a list, made when they are asked for."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._number = {id: n for n, id in enumerate(columns.lattices)}
        self._made: dict[str, Grid] = {}

    def __getitem__(self, id: str) -> Grid:
        if id not in self._made:
            self._made[id] = self._grid(id, self._number[id])
        return self._made[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._number)

    def __len__(self) -> int:
        return len(self._number)

    def __contains__(self, id: object) -> bool:
        return id in self._number

    def _grid(self, id: str, number: int) -> Grid:
        columns, size = self._columns, float(self._columns.sizes[number])
        west, south, east, north = self._extents[number].tolist()
        if columns.coded[number]:
            origin = (west, north)
        else:
            # The lattice's own origin, next to the CRS's: blocks do not move when scenes are added.
            x, y = columns.corners[number].tolist()
            origin = (x % size, y % size)
        return Grid(id, columns.systems[number], origin, size, _native_rect(origin, size, (west, south, east, north)))

    @cached_property
    def _extents(self) -> np.ndarray:
        """Bounds of each lattice's scenes."""
        placed = self._columns.lattice >= 0
        lattice, bounds = self._columns.lattice[placed], self._columns.bounds[placed]
        extents = np.tile([np.inf, np.inf, -np.inf, -np.inf], (len(self._number), 1))
        np.minimum.at(extents[:, :2], lattice, bounds[:, :2])
        np.maximum.at(extents[:, 2:], lattice, bounds[:, 2:])
        return extents


_KEPT_SCENES = 200_000
"""Scenes of all lists whose sources are kept."""
_sources: OrderedDict[str, Source] = OrderedDict()
_sources_lock = threading.Lock()


def source_of(scenes: Scenes) -> Source:
    """The source of a list; chains over the same list share it."""
    digest = scenes.digest
    with _sources_lock:
        known = _sources.get(digest)
        if known is not None:
            _sources.move_to_end(digest)
            return known
    made = Source(scenes)
    with _sources_lock:
        made = _sources.setdefault(digest, made)
        _sources.move_to_end(digest)
        while len(_sources) > 1 and sum(len(s.scenes) for s in _sources.values()) > _KEPT_SCENES:
            _sources.popitem(last=False)
    return made


def known_source(digest: str) -> Source | None:
    """The source of the list with this digest, if it is kept."""
    with _sources_lock:
        return _sources.get(digest)


def _check_system(columns: Columns, scenes: Scenes, scene: int, lattice: int) -> None:
    crs = columns.systems[lattice]
    if same_crs(scenes.scenes[scene].crs, crs):
        return
    first = columns.ids[int(np.argmax(columns.lattice == lattice))]
    id = columns.lattices[lattice]
    raise GridError(f"scenes {first!r} and {columns.ids[scene]!r} of grid {id!r} have different CRS")


def _outline(grid: Grid, native: Rect) -> tuple[float, float, float, float]:
    """West, south, east, north of a rectangle of native pixels in the grid's CRS."""
    (west, north), size = grid.origin, grid.resolution
    return west + native.c0 * size, north - native.r1 * size, west + native.c1 * size, north - native.r0 * size


def _native_rect(origin: tuple[float, float], size: float, bounds: tuple[float, float, float, float]) -> Rect:
    w, s, e, n = bounds
    return Rect(
        round((origin[1] - n) / size), round((origin[1] - s) / size),
        round((w - origin[0]) / size), round((e - origin[0]) / size),
    )  # fmt: skip


def _union(shapes: np.ndarray) -> BaseGeometry:
    _, first = np.unique(shapely.to_wkb(shapes), return_index=True)
    union = shapely.union_all(shapes[first])
    box = shapely.box(*union.bounds)
    # A footprint that all but fills its box is the box: cheap to test, and no slivers at its edge.
    return box if union.area > 0.999 * box.area else union
