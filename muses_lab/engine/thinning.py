"""The thinning rule: how many dates a reduction over time uses where the map shows a long series from far away.

At levels 0, 1 and 2 of a grid (native pixels to a quarter of the resolution) a reduction over time uses all
observations. From level 3 on (80 m for Sentinel-2, 240 m for Landsat) it uses at most 128, at level 4 at most 96, at
level 5 at most 64, at level 6 and beyond at most 48 of each grid:

- the observations of the grid that the chain wants (dates that it filters out do not count) are put in order of time
  and cut into as many parts of equal *number* as may be used;
- of each part the least cloudy observation is used, by the cloud cover that its metadata state (the mean over its
  scenes on this grid); one whose cover is unknown counts as overcast; ties go to the earlier one.

Parts of equal number rather than equal length: no part is empty, so exactly as many dates are used as may be, and a
season in which the satellite looked more often keeps its weight, as it has in a median over all dates.

The rule knows metadata, the grid and the level, never a tile, a block or a view: panning changes nothing, no seam
appears, and an export at a level shows the dates that the map shows at that level. All that meets in one reduction
(data, masks, several collections) uses the same dates. What is not reduced (a series shown with all its dates) and what
is reduced only after it was brought to another grid or pinned to a resolution is not thinned.

The numbers are part of the document: the argument `thinning` of `muses:load_items`, so that a chain's hash names its
pixels whoever evaluates it. `MUSES_THINNING` (`128,96,64,48` for levels 3, 4, …, the last one for all that follow, or
`off`) is what is written into documents where scenes are pinned (`compute`, `publish`, `Map.add`); those that are there
already stay as they are. Where several lists meet in one reduction, the smallest of their numbers holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FIRST_LEVEL = 3


@dataclass(frozen=True)
class Thinning:
    """What the rule does to one series."""

    used: int
    of: int
    """Dates of the grid that the chain wants."""
    left_out: frozenset[np.datetime64]

    def __str__(self) -> str:
        return sentence(self.used, self.of)


def sentence(used: int, of: int) -> str:
    return f"thinned to {used} of {of} dates at this zoom: zoom in for all"


def limit(level: int, rules: Iterable[Sequence[int]]) -> int | None:
    """How many observations of a grid may be used at a level, by the numbers that its lists state; None: all."""
    if level < FIRST_LEVEL:
        return None
    return min((rule[min(level - FIRST_LEVEL, len(rule) - 1)] for rule in rules if rule), default=None)


def thinned(clouds: Mapping[np.datetime64, float], most: int | None) -> Thinning | None:
    """The rule for observations with their cloud cover (NaN: unknown); None where all of them are used."""
    count = len(clouds)
    if most is None or count <= most:
        return None
    times = sorted(clouds)
    used = {
        min(times[part * count // most : (part + 1) * count // most], key=lambda t: (_cover(clouds[t]), t))
        for part in range(most)
    }
    return Thinning(most, count, frozenset(times) - used)


def _cover(stated: float) -> float:
    return 100.0 if math.isnan(stated) else stated
