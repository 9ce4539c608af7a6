"""What the maps of the open pages show, and so which tile goes first: nearest to the centre of the newest view."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from muses_lab.service.failures import BadRequest
from muses_lab.service.tile import MAX_LATITUDE, MAX_LONGITUDE, Tile, check_zoom

LAYERS = 32
"""Layers of one map that are taken note of."""
MAPS = 64
_STEP = 1e6
"""How much sooner a view goes than the one before it."""


@dataclass(frozen=True)
class View:
    """What one map shows."""

    map: str
    z: int
    left: int
    """First and last column and row of tiles."""
    right: int
    top: int
    bottom: int
    x: float
    """The centre, in tiles."""
    y: float
    layers: tuple[tuple[str, str], ...]
    """(chain, style) of the visible layers, the top one first."""

    @classmethod
    def from_json(cls, body: Any) -> View:
        """The view that a page reports; 400 names what is wrong with it."""
        if not isinstance(body, dict):
            raise BadRequest('a view is a JSON object: {"id", "z", "center", "bounds", "layers"}')
        zoom = _numbers(body, "z", 1)[0]
        check_zoom(zoom)
        west, south, east, north = _numbers(body, "bounds", 4)
        lon, lat = _numbers(body, "center", 2) if "center" in body else ((west + east) / 2, (south + north) / 2)
        layers = body.get("layers", [])
        if not isinstance(layers, list) or not all(isinstance(name, str) and name.count("/") == 1 for name in layers):
            raise BadRequest('layers is not a list of "<chain>/<style>"', argument="layers")
        z = int(zoom)
        (left, top), (right, bottom) = _place(west, north, z), _place(east, south, z)
        if right < left or bottom < top or right - left > 256 or bottom - top > 256:
            raise BadRequest("bounds are not [west, south, east, north] of a map at that zoom", argument="bounds")
        pairs = tuple((chain, style) for chain, _, style in (name.partition("/") for name in layers[:LAYERS]))
        return cls(
            str(body.get("id", ""))[:80], z, math.floor(left), math.ceil(right) - 1, math.floor(top),
            math.ceil(bottom) - 1, *_place(lon, lat, z), pairs,
        )  # fmt: skip

    @property
    def tiles(self) -> int:
        return (self.right - self.left + 1) * (self.bottom - self.top + 1)

    def distance(self, tile: Tile) -> float:
        """Of the middle of a tile from the centre, in tiles; the map goes round the world."""
        across = abs(tile.x + 0.5 - self.x) % (1 << self.z)
        return math.hypot(min(across, (1 << self.z) - across), tile.y + 0.5 - self.y)

    def inside(self) -> list[Tile]:
        """The tiles that are seen, nearest to the centre first."""
        return self._sorted(0)

    def ring(self) -> list[Tile]:
        """The tiles around those that are seen, nearest to the centre first."""
        seen = set(self.inside())
        return [tile for tile in self._sorted(1) if tile not in seen]

    def _sorted(self, more: int) -> list[Tile]:
        """The tiles that are seen, and those around them up to so many away."""
        n = 1 << self.z
        rows = range(max(self.top - more, 0), min(self.bottom + more + 1, n))
        found = {Tile(self.z, x % n, y) for y in rows for x in range(self.left - more, self.right + more + 1)}
        return sorted(found, key=self.distance)


class Views:
    """The newest view of every map, and the order of tiles that follows. For the event loop's thread only."""

    USUAL = 15
    """Tiles of a view that nobody reported."""

    def __init__(self) -> None:
        self.newest: View | None = None
        self._maps: dict[str, View] = {}
        self._zoom = -1
        self._number = 0

    def __len__(self) -> int:
        return len(self._maps)

    def look(self, view: View) -> None:
        """A map moved, or shows other layers."""
        self._maps.pop(view.map, None)
        if view.layers:
            self._maps[view.map] = view
            while len(self._maps) > MAPS:
                self._maps.pop(next(iter(self._maps)))
            self.newest = view
            self._zoom = view.z
            self._number += 1
        elif self.newest is not None and self.newest.map == view.map:
            self.newest = next(reversed(self._maps.values()), None)

    def priority(self, tile: Tile) -> float:
        """Of a tile that is asked for now; the least goes first.

        A zoom that no view told of is a newer view, of which nothing is known: its tiles go as they are asked for.
        """
        if tile.z != self._zoom:
            self._zoom = tile.z
            self._number += 1
        return self.place(tile)

    def place(self, tile: Tile) -> float:
        """The same for one that has been asked for before and is at the newest zoom."""
        near = self.newest is not None and self.newest.z == tile.z
        distance = self.newest.distance(tile) if near and self.newest else 0.0
        return -self._number * _STEP + min(distance, _STEP / 2)

    def is_newest(self, tile: Tile) -> bool:
        """Whether a tile is at the zoom that was looked at last."""
        return tile.z == self._zoom

    def count(self, tile: Tile) -> int:
        """Tiles of the view that a tile belongs to."""
        return self.newest.tiles if self.newest is not None and self.newest.z == tile.z else self.USUAL


def _numbers(body: dict[str, Any], name: str, count: int) -> list[float]:
    found = body.get(name)
    values = found if isinstance(found, list) else [found]
    if len(values) != count or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= MAX_LONGITUDE for v in values
    ):
        raise BadRequest(
            f"{name}={str(found)[:80]} of the view is not {count} number(s) from a map: "
            f"finite, between ±{MAX_LONGITUDE:g}",
            argument=name,
        )
    return [float(v) for v in values if v is not None]


def _place(lon: float, lat: float, z: int) -> tuple[float, float]:
    """Column and row, with fractions; columns go on beyond the edge of the world as Leaflet's do."""
    n = 1 << z
    lat = min(max(lat, -MAX_LATITUDE), MAX_LATITUDE)
    return (lon + 180) / 360 * n, (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * n
