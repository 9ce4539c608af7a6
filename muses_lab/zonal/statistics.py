"""Statistics over polygons of each date: values weighted by the share of each pixel that is covered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely
from shapely.affinity import translate

from muses_lab.crs import known_crs
from muses_lab.engine import Published
from muses_lab.errors import ArgumentError
from muses_lab.operators.vectors import Features
from muses_lab.plain import shown
from muses_lab.progress import Told, progress_of
from muses_lab.publish.documents import check_extents
from muses_lab.series import check_known
from muses_lab.zonal import kernels
from muses_lab.zonal.coverage import exact
from muses_lab.zonal.parts import Part, by_grid, parts_of, positive

_PLAIN = {
    "mean": kernels.MEAN, "std": kernels.STD, "min": kernels.MIN, "max": kernels.MAX, "sum": kernels.SUM,
    "count": kernels.COUNT,
}  # fmt: skip

_QUANTILE = re.compile(r"q(\d{1,2}(?:\.\d+)?|100)")


@dataclass(frozen=True)
class ZonalStatistics:
    """The statistics of a chain over features."""

    published: Published
    features: Features
    names: tuple[str, ...]
    values: np.ndarray
    """Dims feature, t, bands, statistic; one date where the chain has none, one band where it has none."""
    count: np.ndarray
    """Pixels that are valid, each as the share that is covered: dims feature, t, bands."""
    samples: np.ndarray
    """How many valid pixels are covered, if only in part: dims feature, t, bands."""
    covered: np.ndarray
    """Pixels that a feature covers, valid or not, each as the share that is covered."""
    found: tuple[frozenset[str], ...]
    """Ids of the scenes at each feature."""
    used: tuple[frozenset[str], ...]
    """Those that gave valid pixels to the blocks in which it lies."""
    systems: tuple[str, ...]
    """Reference system of the grid of each feature."""
    metres: np.ndarray
    """Size of its pixels."""
    empty: tuple[int, ...]
    """Numbers of the features without pixels: outside of the data."""
    failed: dict[str, str] = field(default_factory=dict)
    """Scenes that could not be read, with the reason."""

    def of(self, numbers: Sequence[int]) -> ZonalStatistics:
        """Those of some of the features."""
        at = np.asarray(numbers)
        empty = {old: new for new, old in enumerate(numbers)}
        return replace(
            self, features=self.features.at(at), values=self.values[at], count=self.count[at],
            samples=self.samples[at], covered=self.covered[at], metres=self.metres[at],
            found=tuple(self.found[n] for n in numbers), used=tuple(self.used[n] for n in numbers),
            systems=tuple(self.systems[n] for n in numbers),
            empty=tuple(empty[n] for n in self.empty if n in empty),
        )  # fmt: skip


def statistics(
    published: Published, features: Features, stats: Sequence[str], resolution: float | None = None,
    progress: Told = None,
) -> ZonalStatistics:  # fmt: skip
    """See `Chain.over`."""
    names = checked(stats)
    quantiles = np.array([_quantile(name) for name in names if name not in _PLAIN and name != "share"])
    check_extents(published.root)
    check_known(published)
    step = published.prepared.output
    shape = len(step.times) if step.meta.time else 1, len(step.meta.bands) if step.meta.bands is not None else 1
    number = len(features)
    rows = np.full((number, *shape, kernels.QUANTILES + len(quantiles)), np.nan)
    rows[..., [kernels.COUNT, kernels.NUMBER, kernels.SUM]] = 0
    covered, metres = np.zeros(number), np.full(number, np.nan)
    systems, found, used = [""] * number, [frozenset[str]()] * number, [frozenset[str]()] * number
    failed: dict[str, str] = {}
    empty = []
    joined = _across_180(features)
    grids = sorted(step.grids.values(), key=lambda grid: grid.id)
    with progress_of(number, "Statistics", "polygon", progress) as told:
        for grid, of_grid in by_grid(grids, joined):
            level = 0 if resolution is None else grid.level_near(positive(resolution))
            for part, pixels in parts_of(published, grid, level, joined, of_grid, failed, exact, told):
                n = part.number
                shares = _reduce(part, quantiles, rows[n])
                covered[n], metres[n], systems[n] = shares, grid.pixel_metres(level), grid.crs
                found[n], used[n] = frozenset(part.found), frozenset(part.used)
                if not (part.found and pixels and part.meets(grid.rect(level))):
                    empty.append(n)
    return ZonalStatistics(
        published, features, names, _chosen(names, rows, covered), rows[..., kernels.COUNT],
        rows[..., kernels.NUMBER].astype(np.int64), covered, tuple(found), tuple(used), tuple(systems), metres,
        tuple(sorted(empty)), failed,
    )  # fmt: skip


def _reduce(part: Part, quantiles: np.ndarray, out: np.ndarray) -> float:
    """Fills the statistics of a feature; gives the number of pixels that it covers."""
    values = np.concatenate(part.values, axis=-1)
    order = np.argsort(np.concatenate(part.places))  # the same sums however it lies on blocks
    values = np.ascontiguousarray(values[..., order]).reshape(-1, len(order))
    shares = np.concatenate(part.shares)[order] if part.shares else np.ones(len(order))
    part.shares.clear()
    kernels.weighted(values, shares, quantiles, out.reshape(len(values), -1))
    return float(shares.sum())


def checked(stats: Any) -> tuple[str, ...]:
    """Names of statistics that somebody hands over, one or a list; `ArgumentError` says why not."""
    given = [stats] if isinstance(stats, str) else stats
    if not isinstance(given, list | tuple) or not given:
        raise ArgumentError(f"stats={shown(stats)} is no list of statistics, such as ['mean', 'q10']", argument="stats")
    for name in given:
        if name not in _PLAIN and name not in ("median", "share") and not _QUANTILE.fullmatch(str(name)):
            raise ArgumentError(
                f"stats: {shown(name)} is none; there are {', '.join(_PLAIN)}, median, share, and quantiles such as "
                "q10 and q97.5",
                argument="stats",
            )
    return tuple(dict.fromkeys(given))


def _quantile(name: str) -> float:
    return 0.5 if name == "median" else float(name[1:]) / 100


def _chosen(names: Sequence[str], rows: np.ndarray, covered: np.ndarray) -> np.ndarray:
    values, next_quantile = [], kernels.QUANTILES
    for name in names:
        if name == "share":
            with np.errstate(all="ignore"):
                values.append(rows[..., kernels.COUNT] / covered[:, None, None])
        elif name in _PLAIN:
            values.append(rows[..., _PLAIN[name]])
        else:
            values.append(rows[..., next_quantile])
            next_quantile += 1
    return np.stack(values, axis=-1)


def _across_180(features: Features) -> Features:
    """Features in degrees, the parts of those that are cut at 180° beside each other; what was not cut is refused."""
    if not known_crs(features.crs).is_geographic:
        return features
    bounds = shapely.bounds(features.shapes)
    wide = np.flatnonzero(bounds[:, 2] - bounds[:, 0] > 180)
    if not len(wide):
        return features
    shapes = features.shapes.copy()
    for n in wide:
        parts = [translate(part, 360) if part.bounds[2] <= 0 else part for part in shapely.get_parts(shapes[n])]
        widest = max(part.bounds[2] - part.bounds[0] for part in parts)
        joined = shapely.union_all(parts)
        if widest > 180 or joined.bounds[2] - joined.bounds[0] > 180:
            raise ArgumentError(
                f"feature {features.ids[n]!r} is {max(widest, bounds[n, 2] - bounds[n, 0]):.0f}° wide: one across the "
                "antimeridian is cut there into parts (RFC 7946), or has longitudes beyond 180"
            )
        shapes[n] = joined
    return type(features)(features.crs, features.ids, shapes, features.properties)
