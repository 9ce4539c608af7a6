"""What a tile tells of itself, in a header that the browser keeps with the picture.

So the map knows the scenes, levels and dates of exactly the tiles that it shows, wherever they came from: computed now,
or kept by the browser since a session that the server no longer remembers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np

HEADER = "X-Muses-Report"

LONGEST_LIST = 40_000
"""Pinned scenes above which tiles give numbers only: proxies refuse answers with more than 16 KB of headers."""


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
