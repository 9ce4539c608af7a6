"""Observations of made lists of scenes, by their times and places alone."""

from __future__ import annotations

import numpy as np

from muses_lab.scenes.scene import Scene, Scenes


def rectangles_overlap(a: Scene, b: Scene) -> bool:
    """Squares of 100 km of one system with a common band: whether they share more than half."""
    shared = [100_000 - abs(p - q) for p, q in zip(corner(a), corner(b), strict=True)]
    return not a.assets.keys().isdisjoint(b.assets) and min(shared) > 0 and shared[0] * shared[1] > 0.5e10


def corner(scene: Scene) -> tuple[float, float]:
    transform = next(iter(scene.assets.values())).transform
    return transform[2], transform[5]


def times_of(scenes: Scenes) -> dict[str, np.datetime64]:
    """Scene → the instant of its observation; here no two overpasses are less than an hour apart, nor do any of one
    platform overlap but for copies of one acquisition.
    """
    first: dict[tuple[str, str], np.datetime64] = {}
    for scene in scenes.scenes:
        instant, overpass = np.datetime64(scene.datetime.rstrip("Z"), "ns"), (scene.datetime, scene.platform or "")
        while overpass not in first and instant in first.values():
            instant += np.timedelta64(1, "ns")
        first.setdefault(overpass, instant)
    return {s.id: first[s.datetime, s.platform or ""] for s in scenes.scenes}
