"""A list of scenes as columns: what planning asks of every scene, as arrays, so that 10 000 cost little more than 24.

Made once from the scenes, when a query has been resolved; travels with the packed list (see `packed`), so that neither
the service nor a worker looks at scenes one by one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from muses_lab.raster.asset import Asset
from muses_lab.raster.grid import lattice_name, size_name
from muses_lab.scenes.observations import observe
from muses_lab.scenes.scene import Scenes

Pair = tuple[float, float]

NONE, RING, OTHER = 0, 1, 2
"""Kinds of footprint: none is known; a polygon of one ring, whose points are in `points`; any other geometry."""


@dataclass(frozen=True)
class Columns:
    """One row per scene, in their order; one row per lattice (what becomes a grid) and per observation."""

    ids: list[str]
    observation: np.ndarray
    """Number of the observation that a scene is part of."""
    instants: np.ndarray
    """Instant of each observation: that of its first scene, made unique by nanoseconds where two platforms meet."""
    rank: np.ndarray
    """Which scenes come first: in order of time, copies of one acquisition the newest first."""
    clouds: np.ndarray
    """Cloud cover in per cent; NaN where unknown."""
    bounds: np.ndarray
    """West, south, east, north in the scene's CRS."""
    lattice: np.ndarray
    """Number of the lattice; -1 for a scene without assets."""
    lattices: list[str]
    """Id of each lattice, those first that come first."""
    names: list[str]
    """Name of each endless lattice; empty for one with a grid code: its own extent, and its own corner."""
    systems: list[str]
    """CRS of each lattice: that of its first scene."""
    sizes: np.ndarray
    """Width and height of the native pixels of each lattice."""
    corners: np.ndarray
    """x and y of the corner that most scenes of each lattice share (that of their finest asset)."""
    odd: list[list[int]]
    """(scene, lattice) of scenes whose CRS is written otherwise than that of their lattice."""
    footprint: np.ndarray
    """Kind of each scene's footprint."""
    points: np.ndarray
    """Longitude and latitude of the points of all rings, one after the other."""
    starts: np.ndarray
    """Where each scene's points begin, and the end of the last."""

    @classmethod
    def of(cls, scenes: Scenes) -> Columns:
        rows = scenes.scenes
        observed = observe(rows)
        lattices: dict[str, int] = {}
        first: list[tuple[str, Pair, str]] = []
        corners: list[Counter[Pair]] = []
        lattice, odd = np.full(len(rows), -1, np.int32), []
        bounds = np.zeros((len(rows), 4))
        known: dict[Any, tuple[Any, Pair, Pair]] = {}
        for number, scene in enumerate(rows):
            if not scene.assets:
                continue
            key = tuple((a.transform, a.shape) for a in scene.assets.values())
            if key not in known:
                finest = min(scene.assets.values(), key=lambda a: a.steps[0] * a.steps[1])
                west, _, _, north = finest.bounds
                known[key] = _bounds(scene.assets), finest.steps, (west, north)
            bounds[number], size, corner = known[key]
            # Scenes of one `grid:code` share a lattice, else those whose pixels lie on one lattice of a CRS.
            name = "" if scene.grid else lattice_name(scene.crs, size, corner)
            place = lattices.setdefault(name or f"{scene.grid}@{size_name(size)}", len(lattices))
            if place == len(first):
                first.append((scene.crs, size, name))
                corners.append(Counter())
            elif scene.crs != first[place][0]:
                odd.append([number, place])
            lattice[number] = place
            corners[place][corner] += 1
        # Levels and blocks are counted from the corner that most scenes share (of several, that of the first).
        origins = [max(found, key=found.__getitem__) for found in corners]
        kind, points, starts = _footprints(rows)
        return cls(
            ids=[s.id for s in rows],
            observation=observed.number,
            instants=observed.instants,
            rank=observed.rank,
            clouds=np.array([np.nan if s.cloud_cover is None else s.cloud_cover for s in rows], float),
            bounds=bounds,
            lattice=lattice,
            lattices=[
                f"{id} from {x:.12g},{y:.12g}" if name else id
                for id, (_, _, name), (x, y) in zip(lattices, first, origins, strict=True)
            ],
            names=[name for _, _, name in first],
            systems=[crs for crs, _, _ in first],
            sizes=np.array([size for _, size, _ in first], float).reshape(-1, 2),
            corners=np.array(origins, float).reshape(-1, 2),
            odd=odd,
            footprint=kind,
            points=points,
            starts=starts,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), np.ndarray)}

    def lists(self) -> dict[str, list[Any]]:
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), list)}


def _bounds(assets: dict[str, Asset]) -> tuple[float, float, float, float]:
    w, s, e, n = zip(*(asset.bounds for asset in assets.values()), strict=True)
    return min(w), min(s), max(e), max(n)


def _footprints(scenes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kind = np.zeros(len(scenes), np.uint8)
    lengths = np.zeros(len(scenes), np.int64)
    points: list[Any] = []
    for row, scene in enumerate(scenes):
        footprint = scene.footprint
        if not footprint:
            continue
        kind[row] = OTHER
        if footprint.get("type") == "Polygon" and len(footprint.get("coordinates", ())) == 1:
            (ring,) = footprint["coordinates"]
            if len(ring) >= 4 and all(len(p) >= 2 for p in ring):
                kind[row], lengths[row] = RING, len(ring)
                points += [p[:2] for p in ring]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return kind, np.array(points, float).reshape(-1, 2), starts
