"""Land, borders and rivers of the base map: Natural Earth (public domain), made by `tools/natural_earth.py`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).with_name("natural_earth")


@dataclass(frozen=True)
class Lines:
    """Rings or lines, in the order in which they are drawn."""

    spots: tuple[np.ndarray, ...]
    """Of each: x and y (0 to 1 over the map), shape (points, 2)."""
    boxes: np.ndarray
    """Of each: least x, least y, greatest x, greatest y."""
    rank: np.ndarray
    """Rivers: 0 for the largest to 10; borders: 1 for one that is disputed."""
    hole: np.ndarray
    """Land: whether it is water in the land around."""

    def near(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """Numbers of those that may touch a box."""
        a, b, c, d = self.boxes.T
        return np.flatnonzero((a < right) & (c > left) & (b < bottom) & (d > top))


@dataclass(frozen=True)
class World:
    """The world at one of Natural Earth's three scales."""

    land: Lines
    borders: Lines
    rivers: Lines


def world(zoom: int) -> World:
    """As fine as a zoom shows it, and as coarse as it looks good there."""
    return _read("110m" if zoom <= 2 else "50m" if zoom <= 5 else "10m")


@cache
def _read(scale: str) -> World:
    return World(*(_lines(scale, kind) for kind in ("land", "borders", "rivers")))


def _lines(scale: str, kind: str) -> Lines:
    with np.load(FOLDER / f"{scale}-{kind}.npz") as file:
        unit, starts, steps, points, rank, hole = (
            file[name] for name in ("unit", "starts", "steps", "points", "rank", "hole")
        )
    deltas = np.ascontiguousarray(steps.transpose(0, 2, 1)).view("<i2")[..., 0].T
    spots = []
    for start, between in zip(starts, np.split(deltas, np.cumsum(points - 1)[:-1]), strict=True):
        degrees = np.concatenate([start[None], start + np.cumsum(between, axis=0)]) / unit
        spots.append(_on_the_map(degrees))
    boxes = np.array([[*s.min(axis=0), *s.max(axis=0)] for s in spots])
    order = np.arange(len(spots))
    if kind == "land":  # what lies within another is drawn after it: a lake, an island in it
        order = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")
    return Lines(tuple(spots[i] for i in order), boxes[order], rank[order], hole[order])


def _on_the_map(degrees: np.ndarray) -> np.ndarray:
    lon, lat = degrees.T
    lat = np.radians(lat.clip(-89.0, 89.0))
    return np.stack([(lon + 180) / 360, (1 - np.arcsinh(np.tan(lat)) / np.pi) / 2], axis=-1)
