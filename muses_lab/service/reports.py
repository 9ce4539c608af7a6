"""What the tiles of each chain reported: scenes used of found, levels, scenes that could not be read, last errors."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from muses_lab.errors import Cancelled, MusesError
from muses_lab.service.coalesce import Recent
from muses_lab.service.failures import public
from muses_lab.service.tile import Tile

TILES_KEPT = 500
CHAINS_KEPT = 64


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one tile reported last: a report of the engine, or an error."""

    time: float
    report: Any = None
    error: dict[str, Any] | None = None


class Reports:
    """The newest report of every tile, by chain. For the event loop's thread only."""

    def __init__(self) -> None:
        self._chains: Recent[OrderedDict[Tile, _Entry]] = Recent(CHAINS_KEPT)

    def done(self, chain: str, tile: Tile, pixels: Any) -> None:
        self._put(chain, tile, _Entry(time.time(), report=pixels.report))

    def failed(self, chain: str, tile: Tile, error: MusesError) -> None:
        if not isinstance(error, Cancelled):  # the map moved on: no failure
            self._put(chain, tile, _Entry(time.time(), error=public(error.to_json())))

    def _put(self, chain: str, tile: Tile, entry: _Entry) -> None:
        tiles = self._chains.get(chain)
        if tiles is None:
            tiles = OrderedDict()
            self._chains.put(chain, tiles)
        tiles[tile] = entry
        tiles.move_to_end(tile)
        while len(tiles) > TILES_KEPT:
            tiles.popitem(last=False)

    def summary(self, chain: str, zoom: int | None = None) -> dict[str, Any]:
        """Sums up the tiles of one zoom; by default of the one that was asked for last."""
        tiles = self._chains.get(chain) or OrderedDict()
        if zoom is None and tiles:
            zoom = next(reversed(tiles)).z
        shown = {tile: entry for tile, entry in tiles.items() if tile.z == zoom}
        reports = [entry.report for entry in shown.values() if entry.report is not None]
        errors = [
            {"z": t.z, "x": t.x, "y": t.y, "time": round(e.time, 3), **e.error} for t, e in shown.items() if e.error
        ]
        thinned = max((r.thinned for r in reports if r.thinned), key=lambda t: t[1], default=None)
        unread = {str(scene): public(reason) for report in reports for scene, reason in report.failed}
        return {
            "zoom": zoom,
            "tiles": len(reports),
            "scenes_used": len(set().union(*(r.used for r in reports))),
            "scenes_found": len(set().union(*(r.found for r in reports))),
            "thinned": {"used": thinned[0], "of": thinned[1]} if thinned else None,
            "metres_per_pixel": sorted({round(size, 3) for r in reports for size in r.levels}),
            "native_metres_per_pixel": sorted({round(size, 3) for r in reports for size in r.native}),
            "failed": [{"id": scene, "reason": reason} for scene, reason in sorted(unread.items())],
            "errors": errors[-20:],
        }
