"""A list of scenes as columns: what planning asks of every scene, as arrays, so that 10 000 cost little more than 24.

Made once from the scenes, when a query has been resolved; travels with the packed list (see `packed`), so that neither
the service nor a worker looks at scenes one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from muses_lab.scenes import Asset, Scene, Scenes

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
    clouds: np.ndarray
    """Cloud cover in per cent; NaN where unknown."""
    bounds: np.ndarray
    """West, south, east, north in the scene's CRS."""
    lattice: np.ndarray
    """Number of the lattice; -1 for a scene without assets."""
    lattices: list[str]
    """Id of each lattice, those first that come first."""
    systems: list[str]
    """CRS of each lattice: that of its first scene."""
    sizes: np.ndarray
    """Native pixel size of each lattice."""
    corners: np.ndarray
    """x and y of the corner of the finest asset of each lattice's first scene."""
    coded: np.ndarray
    """Whether the lattice has a grid code: its own extent, and its blocks counted from its own corner."""
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
        observation, instants = _observations(rows)
        lattices: dict[str, int] = {}
        first: list[tuple[str, float, tuple[float, float], bool]] = []
        lattice, odd = np.full(len(rows), -1, np.int32), []
        bounds = np.zeros((len(rows), 4))
        known: dict[Any, tuple[Any, float, tuple[float, float]]] = {}
        for number, scene in enumerate(rows):
            if not scene.assets:
                continue
            key = tuple((a.transform, a.shape) for a in scene.assets.values())
            if key not in known:
                finest = min(scene.assets.values(), key=lambda a: abs(a.transform[0])).transform
                known[key] = _bounds(scene.assets), abs(finest[0]), (finest[2], finest[5])
            bounds[number], size, corner = known[key]
            id = _lattice_id(scene, size, corner)
            place = lattices.setdefault(id, len(lattices))
            if place == len(first):
                first.append((scene.crs, size, corner, bool(scene.grid)))
            elif scene.crs != first[place][0]:
                odd.append([number, place])
            lattice[number] = place
        kind, points, starts = _footprints(rows)
        return cls(
            ids=[s.id for s in rows],
            observation=observation,
            instants=instants,
            clouds=np.array([np.nan if s.cloud_cover is None else s.cloud_cover for s in rows], float),
            bounds=bounds,
            lattice=lattice,
            lattices=list(lattices),
            systems=[f[0] for f in first],
            sizes=np.array([f[1] for f in first], float),
            corners=np.array([f[2] for f in first], float).reshape(-1, 2),
            coded=np.array([f[3] for f in first], bool),
            odd=odd,
            footprint=kind,
            points=points,
            starts=starts,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), np.ndarray)}

    def lists(self) -> dict[str, list[Any]]:
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), list)}


def _observations(scenes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Number of each scene's observation, in order of their first scenes, and the instants of the observations."""
    numbers: dict[tuple[str, str], int] = {}
    of_scene = np.zeros(len(scenes), np.int32)
    texts: list[str] = []
    for row, scene in enumerate(scenes):
        place = numbers.setdefault(scene.observation, len(numbers))
        if place == len(texts):
            texts.append(scene.datetime.rstrip("Z").split("+")[0])
        of_scene[row] = place
    taken: set[int] = set()
    instants = []
    for instant in np.array(texts, "datetime64[ns]").astype(np.int64).tolist():
        while instant in taken:
            instant += 1
        taken.add(instant)
        instants.append(instant)
    return of_scene, np.array(instants, np.int64).astype("datetime64[ns]")


def _lattice_id(scene: Scene, size: float, corner: tuple[float, float]) -> str:
    """Scenes of one `grid:code` share a lattice, else those whose pixels lie on one lattice of a CRS."""
    if scene.grid:
        return f"{scene.grid}@{size:g}"
    phase = tuple(round((v % size) / size, 3) % 1 for v in corner)
    return f"{scene.crs}@{size:g}+{phase[0]:g},{phase[1]:g}"


def _bounds(assets: dict[str, Asset]) -> tuple[float, float, float, float]:
    boxes = []
    for asset in assets.values():
        a, _, c, _, e, f = asset.transform
        boxes.append((c, f + e * asset.shape[0], c + a * asset.shape[1], f))
    w, s, e_, n = (np.array(boxes).T).tolist()
    return min(w), min(s), max(e_), max(n)


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
