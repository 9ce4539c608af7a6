"""What the engine knows of pinned scenes before anything is read: grids, footprints, observations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from odc.geo.geom import Geometry, box
from shapely.geometry.base import BaseGeometry

from muses_lab.engine.grid import Grid, Rect, same_crs
from muses_lab.errors import GridError
from muses_lab.operators import Meta
from muses_lab.scenes import Band, Scene, Scenes


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
    """The scenes of one pinned list, by grid and observation."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes
        self.grids: dict[str, Grid] = {}
        self.placed: dict[str, list[Placed]] = {}
        """Grid id → its scenes in order of time."""
        times = _observation_times(scenes)
        self.axis: tuple[np.datetime64, ...] = tuple(sorted(set(times.values())))
        """The steps of `t`: one per platform and solar day."""
        for id, members in _by_lattice(scenes).items():
            grid = _grid(id, members)
            self.grids[id] = grid
            self.placed[id] = [_place(grid, scene, times[scene.observation]) for scene in members]

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
    def footprints(self) -> dict[str, BaseGeometry]:
        """Grid id → the union of its scenes' footprints, in the grid's CRS."""
        return {id: _union([p.footprint for p in placed]) for id, placed in self.placed.items()}

    def on(self, grid: str, native: Rect) -> list[Placed]:
        """Scenes of a grid that touch a rectangle of native pixels (footprints included)."""
        if grid not in self.grids:
            return []
        box = shapely.box(*_outline(self.grids[grid], native))
        return [p for p in self._touching(grid, box) if not p.rect.intersection(native).empty]

    def under(self, grid: Grid, native: Rect) -> list[Placed]:
        """Scenes that touch a rectangle of native pixels of any grid."""
        if grid.id in self.grids:
            return self.on(grid.id, native)
        west, south, east, north = _outline(grid, native)
        outline = box(west, south, east, north, grid.crs)
        found: list[Placed] = []
        for id, own in self.grids.items():
            shape = outline.to_crs(own.crs, resolution=max(east - west, north - south) / 16).geom
            if np.isfinite(shape.bounds).all():
                found += self._touching(id, shape)
        return found

    def _touching(self, grid: str, shape: BaseGeometry) -> list[Placed]:
        placed = self.placed[grid]
        return [placed[i] for i in sorted(self._trees[grid].query(shape, predicate="intersects"))]

    @cached_property
    def _trees(self) -> dict[str, shapely.STRtree]:
        return {id: shapely.STRtree([p.footprint for p in placed]) for id, placed in self.placed.items()}


def _outline(grid: Grid, native: Rect) -> tuple[float, float, float, float]:
    """West, south, east, north of a rectangle of native pixels in the grid's CRS."""
    (west, north), size = grid.origin, grid.resolution
    return west + native.c0 * size, north - native.r1 * size, west + native.c1 * size, north - native.r0 * size


def _observation_times(scenes: Scenes) -> dict[tuple[str, str], np.datetime64]:
    """Observation → its instant: that of its first scene, made unique by nanoseconds where two platforms meet."""
    first: dict[tuple[str, str], np.datetime64] = {}
    taken: set[np.datetime64] = set()
    for scene in scenes.scenes:
        if scene.observation in first:
            continue
        instant = np.datetime64(scene.datetime.rstrip("Z").split("+")[0], "ns")
        while instant in taken:
            instant += np.timedelta64(1, "ns")
        taken.add(instant)
        first[scene.observation] = instant
    return first


def _native_size(scene: Scene) -> float:
    return min(abs(a.transform[0]) for a in scene.assets.values())


def _by_lattice(scenes: Scenes) -> dict[str, list[Scene]]:
    """Scenes by grid id: those of one `grid:code`, else those whose pixels lie on one lattice of a CRS."""
    groups: dict[str, list[Scene]] = {}
    for scene in scenes.scenes:
        if not scene.assets:
            continue
        size = _native_size(scene)
        if scene.grid:
            id = f"{scene.grid}@{size:g}"
        else:
            finest = min(scene.assets.values(), key=lambda a: abs(a.transform[0])).transform
            phase = tuple(round((v % size) / size, 3) % 1 for v in (finest[2], finest[5]))
            id = f"{scene.crs}@{size:g}+{phase[0]:g},{phase[1]:g}"
        groups.setdefault(id, []).append(scene)
    return groups


def _bounds(scene: Scene) -> tuple[float, float, float, float]:
    boxes = []
    for asset in scene.assets.values():
        a, _, c, _, e, f = asset.transform
        boxes.append((c, f + e * asset.shape[0], c + a * asset.shape[1], f))
    w, s, e_, n = (np.array(boxes).T).tolist()
    return min(w), min(s), max(e_), max(n)


def _grid(id: str, members: list[Scene]) -> Grid:
    crs, size = members[0].crs, _native_size(members[0])
    for scene in members:
        if not same_crs(scene.crs, crs):
            raise GridError(f"scenes {members[0].id!r} and {scene.id!r} of grid {id!r} have different CRS")
    boxes = np.array([_bounds(scene) for scene in members])
    west, south, east, north = boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()
    if members[0].grid:
        origin = (float(west), float(north))
    else:
        # The lattice's own origin, next to the CRS's: blocks do not move when scenes are added.
        finest = min(members[0].assets.values(), key=lambda a: abs(a.transform[0])).transform
        origin = (finest[2] % size, finest[5] % size)
    rect = _native_rect(origin, size, (float(west), float(south), float(east), float(north)))
    return Grid(id, crs, origin, size, rect)


def _native_rect(origin: tuple[float, float], size: float, bounds: tuple[float, float, float, float]) -> Rect:
    w, s, e, n = bounds
    return Rect(
        round((origin[1] - n) / size), round((origin[1] - s) / size),
        round((w - origin[0]) / size), round((e - origin[0]) / size),
    )  # fmt: skip


def _place(grid: Grid, scene: Scene, time: np.datetime64) -> Placed:
    bounds = _bounds(scene)
    rectangle = shapely.box(*bounds)
    footprint: BaseGeometry = rectangle
    if scene.footprint:
        # Corners are projected and joined by straight lines of the grid's CRS: the edges of tiles are straight there.
        shape = Geometry(scene.footprint, "EPSG:4326").to_crs(grid.crs).geom
        clipped = shapely.make_valid(shape).intersection(rectangle)
        nearly_all = clipped.area > 0.999 * rectangle.area
        footprint = rectangle if nearly_all or clipped.is_empty else clipped
    return Placed(scene, _native_rect(grid.origin, grid.resolution, bounds), footprint, time)


def _union(shapes: list[BaseGeometry]) -> BaseGeometry:
    distinct = {shapely.to_wkb(s): s for s in shapes}
    union = shapely.union_all([distinct[k] for k in sorted(distinct)])
    box = shapely.box(*union.bounds)
    # A footprint that all but fills its box is the box: cheap to test, and no slivers at its edge.
    return box if union.area > 0.999 * box.area else union
