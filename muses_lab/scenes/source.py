"""What the engine knows of pinned scenes before anything is read: grids, footprints, observations.

Long lists cost no more than short ones: what is known of every scene stands in columns, and scenes, grids and
footprints are made of those that a window touches. Chains over one list share its `Source`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from muses_lab.crs import crs_name, transformer
from muses_lab.errors import GridError
from muses_lab.globe import on_globe
from muses_lab.operators import Meta
from muses_lab.raster.access import is_remote
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.grid import Grid, Rect, bounds_of, same_crs
from muses_lab.scenes.grid_index import Nearby
from muses_lab.scenes.scene import Scene, Scenes
from muses_lab.scenes.table import RING, Columns
from muses_lab.scenes.wire import columns_of, pack

Dates = Collection[np.datetime64]

_LOOKED_AT = 4
"""Files at either end of a list of which one is looked at: some are gone, or all of one class."""


@dataclass(frozen=True)
class Placed:
    """A scene on its grid."""

    scene: Scene
    rect: Rect
    """Its rectangle in native pixels of the grid of its list."""
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
        """The steps of `t`: one per observation."""
        self._step = np.searchsorted(instants, self.columns.instants)[self.columns.observation]
        """Index into the axis of each scene."""
        rank = self.columns.rank
        self._as_listed = bool((rank[1:] > rank[:-1]).all())
        """Whether no scene comes before one that is listed earlier."""
        order = np.argsort(self.columns.lattice, kind="stable")
        starts = np.searchsorted(self.columns.lattice[order], np.arange(len(self.columns.lattices) + 1))
        self._members = {id: order[starts[n] : starts[n + 1]] for n, id in enumerate(self.columns.lattices)}
        """Grid id → its scenes in order of time."""
        self._of_lattice = {
            lattice: id for lattice, id in zip(self.columns.names, self.columns.lattices, strict=True) if lattice
        }
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
    def times(self) -> Mapping[str, np.datetime64]:
        """Scene id → the step of `t` that it is part of."""
        return {id: self.axis[step] for id, step in zip(self.columns.ids, self._step.tolist(), strict=True)}

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

    def ends(self, name: str) -> tuple[list[tuple[Asset, Grid]], list[tuple[Asset, Grid]]]:
        """Assets of a band of the first scenes and of the last ones, with their grids: the same whatever is read."""
        if name not in self._ends:
            rows = range(len(self.scenes.scenes))
            self._ends[name] = self._some(rows, name), self._some(reversed(rows), name)
        return self._ends[name]

    def _some(self, rows: Iterable[int], name: str) -> list[tuple[Asset, Grid]]:
        there = ((self.scenes.scenes[row].assets.get(name), int(self.columns.lattice[row])) for row in rows)
        placed = ((asset, at) for asset, at in there if asset is not None and at >= 0)
        return [(asset, self.grids[self.columns.lattices[at]]) for asset, at in islice(placed, _LOOKED_AT)]

    @cached_property
    def _ends(self) -> dict[str, tuple[list[tuple[Asset, Grid]], list[tuple[Asset, Grid]]]]:
        return {}

    @cached_property
    def packed(self) -> bytes:
        """The list as it travels."""
        return pack(self.scenes, self.columns)

    @cached_property
    def footprints(self) -> Mapping[str, BaseGeometry]:
        """Grid id → the union of its scenes' footprints, in the grid's CRS: chooses which grid a pixel belongs to."""
        return _Shapes(self, _Placing.footprint)

    @cached_property
    def outlines(self) -> Mapping[str, BaseGeometry]:
        """Grid id → the union of its scenes' rectangles, in the grid's CRS: there are files there."""
        return _Shapes(self, _Placing.outline)

    def own(self, grid: Grid) -> str | None:
        """Id of this list's grid of the same lattice, whose origin may be another; None: it has none of that."""
        found = self._same(grid)
        return None if found is None else found[0]

    def at(self, grid: Grid, native: Rect, times: Dates | None = None) -> list[Placed]:
        """`on` the grid of the same lattice: scenes whose files have a part of a rectangle of native pixels."""
        same = self._same(grid)
        return [] if same is None else self.on(same[0], native.moved(*same[1]), times)

    def on(self, grid: str, native: Rect, times: Dates | None = None) -> list[Placed]:
        """Scenes of a grid whose files have a part of a rectangle of native pixels, in order of time.

        Of copies of one acquisition that do not replace each other the newest first: it is on top. Footprints do not
        count: they are rounded, old, or cross themselves, and the file itself says where it has no data.

        `times`: only those of these observations.
        """
        if grid not in self._members:
            return []
        return [self._placed(grid, int(i)) for i in self._rows_on(grid, native, times)]

    def count(self, grid: Grid, native: Rect) -> int:
        """How many scenes of a grid touch a rectangle of native pixels."""
        same = self._same(grid)
        return 0 if same is None else int(self._placing(same[0]).overlap(native.moved(*same[1])).sum())

    def found(self, grid: Grid, native: Rect, times: Dates | None = None) -> list[str]:
        """Ids of the scenes that touch a rectangle of native pixels of any grid, its own or another."""
        same = self._same(grid)
        if same is not None:
            return [self.columns.ids[i] for i in self._rows_on(same[0], native.moved(*same[1]), times)]
        west, south, east, north = grid.outline(native)
        outline = box(west, south, east, north, grid.crs)
        found: list[str] = []
        for id in self.nearby.to((west, south, east, north), grid.crs):
            shape = outline.to_crs(self.grids[id].crs, resolution=max(east - west, north - south) / 16).geom
            if np.isfinite(shape.bounds).all():
                placing = self._placing(id)
                rows = self._dated(placing.members[placing.touching(shape)], times)
                found += [self.columns.ids[i] for i in rows]
        return found

    def dates(self, grid: str) -> dict[np.datetime64, float]:
        """Observations of a grid and the mean cloud cover (per cent) of their scenes there; NaN: unknown."""
        if grid not in self._dates:
            rows = self._members[grid]
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
        return self.nearby.to(bounds_of(window), crs_name(window.crs))

    # ------------------------------------------------------------------------------------------- single scenes

    def _same(self, grid: Grid) -> tuple[str, tuple[int, int]] | None:
        """Id of this list's grid of a grid's lattice, and rows and columns from its origin to the grid's."""
        if grid.id in self._members:
            return grid.id, (0, 0)
        own = self._of_lattice.get(grid.lattice)
        if own is None:
            return None
        if grid.id not in self._shifts:
            self._shifts[grid.id] = self.grids[own].shift(grid)
        shift = self._shifts[grid.id]
        return None if shift is None else (own, shift)

    @cached_property
    def _shifts(self) -> dict[str, tuple[int, int] | None]:
        return {}

    def _rows_on(self, grid: str, native: Rect, times: Dates | None) -> np.ndarray:
        placing = self._placing(grid)
        rows = self._dated(placing.members[placing.overlap(native)], times)
        return rows if self._as_listed else rows[np.argsort(self.columns.rank[rows])]

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
            found = Placed(self.scenes.scenes[row], rect, self.axis[self._step[row]])
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
    """The scenes of one grid: where they lie on it, and the shapes that they make together."""

    def __init__(self, grid: Grid, scenes: Scenes, columns: Columns, members: np.ndarray) -> None:
        self.grid = grid
        self.members = members
        self.local = {int(row): n for n, row in enumerate(members)}
        self._scenes = scenes
        self._columns = columns
        self._bounds = columns.bounds[members]
        west, south, east, north = self._bounds.T
        (x, y), (width, height) = grid.origin, grid.size
        self.rects = np.rint(
            np.stack([(y - north) / height, (y - south) / height, (west - x) / width, (east - x) / width], 1)
        ).astype(np.int64)
        """First row, end row, first column, end column in native pixels."""

    def overlap(self, native: Rect) -> np.ndarray:
        """Whether the rectangle of each scene shares pixels with a rectangle."""
        r0, r1, c0, c1 = self.rects.T
        high, wide = np.minimum(r1, native.r1), np.minimum(c1, native.c1)
        return (np.maximum(r0, native.r0) < high) & (np.maximum(c0, native.c0) < wide)

    def touching(self, shape: BaseGeometry) -> np.ndarray:
        """Whether the rectangle of each scene touches a shape."""
        west, south, east, north = shape.bounds
        w, s, e, n = self._bounds.T
        near = (w <= east) & (e >= west) & (s <= north) & (n >= south)
        shapely.prepare(shape)
        near[near] = shapely.intersects(shape, shapely.box(*self._bounds[near].T))
        return near

    def outline(self) -> BaseGeometry:
        """Where any of the scenes has a file."""
        return shapely.union_all(shapely.box(*np.unique(self._bounds, axis=0).T))

    def _clipped(self, at: slice) -> np.ndarray:
        """The footprint of some scenes within its rectangle, or the rectangle where it all but fills that."""
        rows, rectangles = self.members[at], shapely.box(*self._bounds[at].T)
        shapes = rectangles.copy()
        plain = np.flatnonzero(self._columns.footprint[rows] == RING)
        if len(plain):
            shapes[plain] = self._rings(rows[plain])
        for n in np.flatnonzero(self._columns.footprint[rows] > RING):
            footprint = self._scenes.scenes[int(rows[n])].footprint
            assert footprint is not None
            shapes[n] = Geometry(footprint, "EPSG:4326").to_crs(self.grid.crs).geom
        if self.grid.turn:
            shapes = self._round(shapes, rectangles)
        known = np.flatnonzero(self._columns.footprint[rows].astype(bool) & np.isfinite(shapely.bounds(shapes)).all(1))
        clipped = shapely.intersection(shapely.make_valid(shapes[known]), rectangles[known])
        full = shapely.area(clipped) > 0.999 * shapely.area(rectangles[known])
        rectangles[known] = np.where(full | shapely.is_empty(clipped), rectangles[known], clipped)
        return rectangles

    def _round(self, shapes: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
        """Outlines in longitudes, a turn to either side as well where theirs and those of the pixels may be others."""
        (w, _, e, _), (left, _, right, _) = shapely.bounds(shapes).T, shapely.bounds(rectangles).T
        turn = self.grid.turn
        for n in np.flatnonzero((e - w > turn / 2) | (w < -turn / 2) | (e > turn / 2) | (left < w) | (right > e)):
            shape = on_globe(shapes[n])
            shapes[n] = shapely.union_all([shape, *(translate(shape, way * turn) for way in (-1, 1))])
        return shapes

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

    def footprint(self) -> BaseGeometry:
        """Where any of the scenes has data, as the metadata say."""
        total = shapely.box(self._bounds[:, 0].min(), self._bounds[:, 1].min(), *self._bounds[:, 2:].max(0))
        end, count = 16, len(self.members)
        shapes = np.empty(0, object)
        while True:
            shapes = np.concatenate([shapes, self._clipped(slice(len(shapes), min(end, count)))])
            union = _union(shapes)
            # What some scenes fill, all of them fill: nothing lies beyond their rectangles.
            if end >= count or union == total:
                return union
            end *= 8


class _Shapes(Mapping[str, BaseGeometry]):
    """Shapes of grids, made when they are asked for."""

    def __init__(self, source: Source, make: Callable[[_Placing], BaseGeometry]) -> None:
        self._source, self._make = source, make
        self._made: dict[str, BaseGeometry] = {}

    def __getitem__(self, id: str) -> BaseGeometry:
        if id not in self._made:
            if id not in self._source.grids:
                raise KeyError(id)
            self._made[id] = self._make(self._source._placing(id))
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
        columns = self._columns
        width, height = columns.sizes[number].tolist()
        west, south, east, north = self._extents[number].tolist()
        name = columns.names[number]
        x, y = columns.corners[number].tolist() if name else (west, north)
        extent = Rect(
            round((y - north) / height), round((y - south) / height),
            round((west - x) / width), round((east - x) / width),
        )  # fmt: skip
        return Grid(id, columns.systems[number], (x, y), width, extent, None if width == height else height, name)

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


def _union(shapes: np.ndarray) -> BaseGeometry:
    _, first = np.unique(shapely.to_wkb(shapes), return_index=True)
    union = shapely.union_all(shapes[first])
    box = shapely.box(*union.bounds)
    # A footprint that all but fills its box is the box: cheap to test, and no slivers at its edge.
    return box if union.area > 0.999 * box.area else union
