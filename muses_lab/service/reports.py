"""What tiles report: each in a header that the browser keeps with the picture, and the newest ones for the status.

By the header the map knows the scenes, levels and dates of exactly the tiles that it shows, wherever they came from:
computed now, or kept by the browser since a session that the server no longer remembers.
"""

from __future__ import annotations

import base64
import json
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from muses_lab.errors import Cancelled, MusesError
from muses_lab.service.failures import public
from muses_lab.service.tile import Tile

HEADER = "X-Muses-Report"

TILES_KEPT = 500
CHAINS_KEPT = 64

LONGEST_LIST = 40_000
"""Pinned scenes above which tiles give numbers only: proxies refuse answers with more than 16 KB of headers."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one tile reported last: a report of the engine, or an error."""

    time: float
    report: Any = None
    error: dict[str, Any] | None = None


class Reports:
    """The newest report of every tile, by chain. For the event loop's thread only."""

    def __init__(self) -> None:
        self._chains: OrderedDict[str, OrderedDict[Tile, _Entry]] = OrderedDict()

    def done(self, chain: str, tile: Tile, report: Any) -> None:
        """A tile is there; `report`: its `WindowReport`."""
        self._put(chain, tile, _Entry(time.time(), report=report))

    def failed(self, chain: str, tile: Tile, error: MusesError) -> None:
        if not isinstance(error, Cancelled):  # the map moved on: no failure
            self._put(chain, tile, _Entry(time.time(), error=public(error.to_json())))

    def _put(self, chain: str, tile: Tile, entry: _Entry) -> None:
        tiles = self._chains.setdefault(chain, OrderedDict())
        self._chains.move_to_end(chain)
        if len(self._chains) > CHAINS_KEPT:
            self._chains.popitem(last=False)
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


class SceneNumbers:
    """The pinned scenes of a chain, numbered: which ones several tiles used together is told in a bit per scene."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._numbers = {id: n for n, id in enumerate(dict.fromkeys(ids))}

    @classmethod
    def of(cls, published: Any) -> SceneNumbers:
        from muses_lab.scenes.source import source_of

        lists = (source_of(published.scenes[digest]).columns.ids for digest in sorted(published.scenes))
        return cls(chain.from_iterable(lists))

    def bits(self, found: frozenset[str], used: frozenset[str]) -> dict[str, str]:
        """`found`: a bit for each scene of the chain; `used`: a bit for each found one, in their order."""
        if len(self._numbers) > LONGEST_LIST:
            return {}
        ordered = sorted((self._numbers[id], id in used) for id in found)
        touched = np.zeros(len(self._numbers), np.bool_)
        touched[[number for number, _ in ordered]] = True
        return {"found": _text(touched), "used": _text(np.array([flag for _, flag in ordered], np.bool_))}


def tile_report(numbers: SceneNumbers, report: Any, holes: tuple[int, int] = (0, 0)) -> str:
    """A `WindowReport` as the header's value.

    `scenes` ([used, found]), the same in `bits`, `levels` and `native` (metres per pixel), `thinned` ([used, of] dates,
    left out where all are used), `failed` (how many scenes could not be read; the status has the reasons), `holes`
    ([pixels without a value, pixels there are scenes of]).
    """
    body = {
        "scenes": [report.scenes_used, report.scenes_found],
        "bits": numbers.bits(report.found, report.used),
        "levels": [round(size, 3) for size in report.levels],
        "native": [round(size, 3) for size in report.native],
        "thinned": list(report.thinned) if report.thinned else None,
        "failed": len(report.failed),
        "holes": list(holes) if holes[1] else None,
    }
    return json.dumps({name: value for name, value in body.items() if value}, separators=(",", ":"))


def _text(bits: np.ndarray) -> str:
    """The first bit is the highest of the first byte; zeros at the end are left out."""
    return base64.b64encode(np.packbits(bits).tobytes().rstrip(b"\0")).decode()
