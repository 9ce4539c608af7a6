"""The sky: which satellite passes when, how far its swath reaches, and the clouds of the day with their shadows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from muses_lab.sample import kernels
from muses_lab.sample.kernels import NEVER
from muses_lab.sample.noise import Fields
from muses_lab.sample.place import Tile

YEAR = 2018
BASELINE_SWITCH = date(YEAR, 9, 1)
"""From this day on DN carry +1000, as those of processing baseline 04.00 and later do."""

# Relative orbits over Toulouse: day of the first pass of each platform, time of day, and the edge of the swath that
# crosses the tiles: (side that is seen, place across the track in tile widths from the middle of 31TCJ).
ORBITS = {
    51: ({"sentinel-2a": date(YEAR, 1, 1), "sentinel-2b": date(YEAR, 1, 6)}, (10, 54, 41), None),
    8: ({"sentinel-2a": date(YEAR, 1, 8), "sentinel-2b": date(YEAR, 1, 3)}, (10, 44, 21), ("east", 0.02)),
    94: ({"sentinel-2a": date(YEAR, 1, 4), "sentinel-2b": date(YEAR, 1, 9)}, (11, 4, 31), ("west", -0.40)),
}
ORBIT_TURN = (51, 8, 94)
HEADING = np.deg2rad(194.0)


@dataclass(frozen=True)
class Overpass:
    """One platform over the sample on one day."""

    day: date
    platform: str
    orbit: int

    @property
    def time(self) -> datetime:
        return datetime(self.day.year, self.day.month, self.day.day, *ORBITS[self.orbit][1], tzinfo=UTC)

    @property
    def day_of_year(self) -> int:
        return self.day.timetuple().tm_yday

    @property
    def offset(self) -> int:
        """What DN are higher by than reflectance × 10 000."""
        return 1000 if self.day >= BASELINE_SWITCH else 0

    @property
    def sun(self) -> tuple[float, float]:
        """Azimuth and elevation in degrees, near Toulouse."""
        declination = np.deg2rad(-23.44) * np.cos(2 * np.pi * (self.day_of_year + 10) / 365)
        hours = (self.time.hour - 12) + self.time.minute / 60 + 1.444 / 15
        angle = np.deg2rad(15 * hours)
        latitude = np.deg2rad(43.6)
        up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
        east = -np.cos(declination) * np.sin(angle)
        north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(angle)
        return round(float(np.rad2deg(np.arctan2(east, north)) % 360), 3), round(float(np.rad2deg(np.arcsin(up))), 3)


def overpasses(count: int) -> list[Overpass]:
    """`count` overpasses spread over the year, orbit by orbit in turn.

    Examples
    --------
    >>> [o.orbit for o in overpasses(6)]
    [51, 8, 94, 51, 8, 94]
    """
    passes = {
        orbit: [
            Overpass(first + timedelta(days=10 * n), platform, orbit)
            for platform, first in firsts.items()
            for n in range(37)
            if (first + timedelta(days=10 * n)).year == YEAR
        ]
        for orbit, (firsts, _, _) in ORBITS.items()
    }
    chosen: list[Overpass] = []
    for i in range(count):
        wish = date(YEAR, 1, 1) + timedelta(days=(i + 0.5) * 365 / count)
        free = [p for p in passes[ORBIT_TURN[i % 3]] if p not in chosen]
        chosen.append(min(free, key=lambda p: (abs(p.day - wish), p.day)))
    return sorted(chosen, key=lambda p: p.time)


@dataclass(frozen=True)
class Swath:
    """The part of the ground that an overpass sees: everything, or one side of a slanting edge."""

    seen: np.ndarray
    """(a, b, c): a place is seen where a·x + b·y ≥ c."""

    def area(self, outline: BaseGeometry) -> BaseGeometry:
        """The part of an outline that is seen, a pixel's width more so that no pixel seen lies outside."""
        a, b, c = self.seen
        if a == b == 0:
            return outline
        far = 1e6
        foot = np.array([a, b]) * (c - 20)
        along = np.array([-b, a]) * far
        away = np.array([a, b]) * far
        return outline & shapely.Polygon([foot - along, foot + along, foot + along + away, foot - along + away])


def swath(overpass: Overpass, middle: tuple[float, float], width: float) -> Swath:
    """The swath of an overpass; `middle` and `width` are those of the eastern tile."""
    edge = ORBITS[overpass.orbit][2]
    if edge is None:
        return Swath(np.array([0.0, 0.0, -1.0]))
    side, where = edge
    across = np.array([-np.cos(HEADING), np.sin(HEADING)])  # to the east of the track
    position = across @ np.asarray(middle) + where * width
    sign = 1 if side == "east" else -1
    return Swath(np.array([*(sign * across), sign * position]))


@dataclass(frozen=True)
class Weather:
    """The clouds of one overpass, as numbers that `look` turns into opacity."""

    form: np.ndarray
    """Two rows of (xx, xy, yx, yy, x0, y0): ground → noise, of clouds and of cirrus."""
    limits: np.ndarray
    """(clouds begin at, are thick at, large-scale share, cirrus begins at, is thickest at)."""
    shadow: np.ndarray
    """(x, y): where on the ground the shadow of a cloud at (0, 0) falls."""


def weather(overpasses_: list[Overpass], places: np.ndarray, scale: float, fields: Fields, seed: int) -> list[Weather]:
    """The weather of each overpass; `places` (n, 2) stands for the ground on which its cloud cover is to be reached."""
    rng = np.random.default_rng([seed, 77])
    n = len(overpasses_)
    covers = np.clip(((np.arange(n) + 0.5) / n - 0.14) / 0.86, 0, 1) ** 1.2 * 0.97
    # cloudier in winter than in summer, but not in order
    winter = np.array([np.cos(2 * np.pi * o.day_of_year / 365) for o in overpasses_])
    covers = covers[np.argsort(np.argsort(winter + rng.normal(0, 1.3, n)))]
    result = []
    for overpass, cover in zip(overpasses_, covers, strict=True):
        wind, size = rng.uniform(0, 2 * np.pi), rng.uniform(5, 26) if cover < 0.6 else rng.uniform(18, 42)
        shift = rng.uniform(0, 4096, 4)
        streaks = rng.uniform(0.15, 0.9) if rng.uniform() < 0.3 and cover < 0.8 else 0.0
        height = rng.uniform(700, 2200)
        form = np.array(
            [
                [*_turn(wind, size * scale, size * scale * rng.uniform(1.0, 1.5)), *shift[:2]],
                [*_turn(wind + 0.4, 14 * scale, 75 * scale), *shift[2:]],
            ]
        )
        limits = np.array([0.0, 0.0, rng.uniform(0.5, 1.3), NEVER, NEVER])
        values = kernels.many(places[:, 0], places[:, 1], form, limits, fields.rough, fields.smooth, fields.detail)
        limits[0] = np.quantile(values[:, 0], 1 - cover) if cover > 0 else NEVER
        limits[1] = limits[0] + rng.uniform(0.8, 1.7)
        if streaks:
            limits[3] = np.quantile(values[:, 1], 1 - streaks)
            limits[4] = limits[3] + 2.2
        azimuth, elevation = np.deg2rad(overpass.sun)
        reach = height * max(scale, 0.3) / np.tan(elevation)
        shadow = np.array([-np.sin(azimuth), -np.cos(azimuth)]) * reach
        result.append(Weather(form, limits, shadow))
    return result


def look(
    tile: Tile, swath_: Swath, weather_: Weather, fields: Fields
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The sky over a tile's 20 m pixels: whether they are seen, opacity of clouds and of cirrus, depth of shadows.

    Where there is nothing these are exactly 0, so that SCL tells exactly which pixels are clear.
    """
    n = tile.size // 2
    seen = np.zeros((n, n), np.bool_)
    clouds, cirrus, shadows = np.zeros((3, n, n), np.float32)
    noise = (fields.rough, fields.smooth, fields.detail)
    kernels.look(
        *tile.ground,
        swath_.seen,
        weather_.form,
        weather_.limits,
        weather_.shadow,
        *noise,
        seen,
        clouds,
        cirrus,
        shadows,
    )
    return seen, clouds, cirrus, shadows


def _turn(angle: float, along: float, across: float) -> tuple[float, float, float, float]:
    c, s = np.cos(angle), np.sin(angle)
    return c / across, s / across, -s / along, c / along
