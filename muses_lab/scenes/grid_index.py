"""Which grids of a long list may be near a place: a cheap test in longitude and latitude, generous, never too strict.

Taken from the footprints as they stand in the metadata, so that no grid has to be projected to be found far away. A
grid of which too little is known (no footprint, one that does not fit its pixels, a very large one) is near everything.
"""

from __future__ import annotations

import re

import numpy as np

from muses_lab.crs import transformer
from muses_lab.raster.grid import Bounds
from muses_lab.scenes.table import RING, Columns

_FEW = 16
"""Grids that are tested exactly at once."""
_WIDE = 20.0
"""Degrees beyond which straight edges of a system and straight edges in degrees differ too much."""
_UTM = re.compile(r"EPSG:32([67])(\d\d)")


class Nearby:
    """The grids of a list by place."""

    def __init__(self, columns: Columns) -> None:
        self._ids = columns.lattices
        self._few = len(columns.lattices) <= _FEW
        if not self._few:
            self._boxes = _boxes(columns)

    def to(self, bounds: Bounds, crs: str) -> list[str]:
        """Ids of the grids that may touch a rectangle of a CRS, those first that come first in the list."""
        around = None if self._few else _degrees(bounds, crs)
        if around is None:
            return list(self._ids)
        west, south, east, north = around
        w, s, e, n = self._boxes
        return [self._ids[i] for i in np.flatnonzero((w <= east) & (e >= west) & (s <= north) & (n >= south))]


def _boxes(columns: Columns) -> np.ndarray:
    """West, south, east, north (rows) around each lattice's footprints; infinite where too little is known."""
    count = len(columns.lattices)
    boxes = np.tile([[np.inf], [np.inf], [-np.inf], [-np.inf]], (1, count))
    doubtful = np.zeros(count, bool)
    placed = columns.lattice >= 0
    ring = columns.footprint == RING
    doubtful[columns.lattice[placed & ~ring]] = True
    if ring.any():
        # Scenes without a ring have no points: one ring's points end where the next one's begin.
        begin, used = columns.starts[:-1][ring], placed[ring]
        lattice = columns.lattice[ring][used]
        for axis, (low, high) in enumerate(((0, 2), (1, 3))):
            values = columns.points[:, axis]
            np.minimum.at(boxes[low], lattice, np.minimum.reduceat(values, begin)[used])
            np.maximum.at(boxes[high], lattice, np.maximum.reduceat(values, begin)[used])
    corners, middle = _places(columns)
    w, s, e, n = boxes
    room = 0.5 * np.maximum(e - w, n - s) + 1
    lon, lat = middle
    with np.errstate(invalid="ignore"):
        doubtful |= ~((lon > w - room) & (lon < e + room) & (lat > s - room) & (lat < n + room))
    # Footprints may be smaller than the files, which count.
    boxes = np.stack([*np.minimum(boxes[:2], corners.min(0)), *np.maximum(boxes[2:], corners.max(0))])
    w, s, e, n = boxes
    span = np.maximum(e - w, n - s)
    margin = 0.25 * span + 0.05
    doubtful |= ~(span < _WIDE) | (w < -179) | (e > 179) | (s < -85) | (n > 85)
    boxes = boxes + np.stack([-margin, -margin, margin, margin])
    boxes[:, doubtful] = [[-np.inf], [-np.inf], [np.inf], [np.inf]]
    return boxes


def _places(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of the corners of each lattice's files (4, 2, lattices), and of the first's middle."""
    placed = np.flatnonzero(columns.lattice >= 0)
    lattice, bounds = columns.lattice[placed], columns.bounds[placed]
    _, first = np.unique(lattice, return_index=True)
    low, high = np.full((len(first), 2), np.inf), np.full((len(first), 2), -np.inf)
    np.minimum.at(low, lattice, bounds[:, :2])
    np.maximum.at(high, lattice, bounds[:, 2:])
    x = np.stack([low[:, 0], low[:, 0], high[:, 0], high[:, 0], (bounds[first, 0] + bounds[first, 2]) / 2])
    y = np.stack([low[:, 1], high[:, 1], low[:, 1], high[:, 1], (bounds[first, 1] + bounds[first, 3]) / 2])
    lon, lat = np.full(x.shape, np.nan), np.full(x.shape, np.nan)
    systems = np.array(columns.systems)
    for crs in set(columns.systems):
        here = systems == crs
        utm = _UTM.fullmatch(crs)
        if utm:  # to about a degree, without a transformer for each of up to 120 zones
            lat[:, here] = (y[:, here] - (1e7 if utm[1] == "7" else 0)) / 110_900
            wide = 111_320 * np.maximum(np.cos(np.radians(lat[:, here])), 0.05)
            lon[:, here] = 6 * int(utm[2]) - 183 + (x[:, here] - 5e5) / wide
        else:
            lon[:, here], lat[:, here] = transformer(crs, "EPSG:4326").transform(x[:, here], y[:, here])
    places = np.stack([lon, lat], 1)
    return places[:4], places[4]


def _degrees(bounds: Bounds, crs: str) -> Bounds | None:
    """West, south, east, north around a rectangle; None where it is too large, or where degrees end."""
    x0, y0, x1, y1 = bounds
    across, steps = max(x1 - x0, y1 - y0), np.linspace(0, 1, 17)
    edge_x = np.concatenate([x0 + steps * (x1 - x0), np.full(17, x1), x1 - steps * (x1 - x0), np.full(17, x0)])
    edge_y = np.concatenate([np.full(17, y0), y0 + steps * (y1 - y0), np.full(17, y1), y1 - steps * (y1 - y0)])
    if not np.isfinite(across):
        return None
    lon, lat = transformer(crs, "EPSG:4326").transform(edge_x, edge_y)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    west, east, south, north = lon.min(), lon.max(), lat.min(), lat.max()
    if east - west > 3 * _WIDE or north - south > 3 * _WIDE or west < -179 or east > 179 or max(-south, north) > 85:
        return None
    margin = 0.1 * max(east - west, north - south) + 0.05
    return west - margin, south - margin, east + margin, north + margin
