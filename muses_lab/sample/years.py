"""The sample of six years: a small place of which it is known what changed, when, and where."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from filelock import FileLock
from scipy import ndimage

from muses_lab import settings
from muses_lab.crs import transformer
from muses_lab.sample import stac
from muses_lab.sample.ground import Ground, draw
from muses_lab.sample.make import SEED, found_sample, replaced, write_catalog, write_scene
from muses_lab.sample.noise import Fields, white
from muses_lab.sample.place import TOULOUSE, Tile
from muses_lab.sample.sky import Overpass, swath, weather
from muses_lab.sample.spectra import CLASSES, VIGOUR_SCALE

ID = "muses-sample-years-v1"
SIZE = 288
"""10 m pixels: 2.9 km."""
YEARS = range(2016, 2022)
DATES = 12
"""Overpasses a year, all of one orbit."""
PLACE = (-4_000, 6_000)
"""Metres from Toulouse to the upper left corner."""

FIRE = date(2019, 8, 10)
FELLING = date(2018, 12, 1)
BUILDING = date(2020, 3, 1)
DRY = (date(2020, 6, 1), date(2020, 10, 1))
SKY = 2136
"""Seed of the weather: one by which summers and the weeks after the fire are seen."""

_CODES = {cover.name: code for code, cover in CLASSES.items()}
_GREEN = [_CODES[name] for name in ("grassland", "gardens and parks", "deciduous forest")]
_CHAR, _GREY = 0.55, 0.8
"""Brightness of burnt ground: at once, and a year later."""


def default_folder() -> Path:
    return settings.home() / "sample-years"


def six_years(folder: str | os.PathLike[str] | None = None) -> Path:
    """Makes the sample of six years in `folder`; returns at once when it is there already.

    Examples
    --------
    >>> years = ml.open_catalog(six_years())                        # doctest: +SKIP
    >>> ml.collection("sentinel-2-l2a", years)                      # doctest: +SKIP

    2.9 km north-west of Toulouse, twelve Sentinel-2-like scenes in each of the years 2016 to 2021 (72 scenes, 25 MB). A
    wood burns on 10 August 2019, trees are felled in December 2018, houses are built on a field in March 2020, a young
    wood grows through all years, and the summer of 2020 is dry. `changes` says where.

    It is not registered: `ml.open_catalog` opens it, and `ml.collection` takes what that gives. It appears complete or
    not at all. `folder` is one in your own data folder when None.
    """
    target = Path(folder if folder is not None else default_folder()).expanduser().resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target) + ".lock"):
        if found_sample(target) != ID:
            with replaced(target) as part:
                _make(part)
    return target


@dataclass(frozen=True)
class Changes:
    """Where what happens: booleans on the 10 m pixels of `tile()`."""

    wood: np.ndarray
    """An old wood, which the landscape of the other sample does not have."""
    burnt: np.ndarray
    """Of the wood, what burns to the ground."""
    singed: np.ndarray
    """Of the wood, what the fire leaves half alive."""
    felled: np.ndarray
    built: np.ndarray
    planted: np.ndarray
    """A young wood: it covers a sixth of the ground in the first year, all of it in the last."""


def tile() -> Tile:
    """Where the sample lies."""
    x, y = transformer("EPSG:4326", "EPSG:32631").transform(*TOULOUSE)
    left, top = (round((at + away) / 60) * 60 for at, away in zip((x, y), PLACE, strict=True))
    return Tile("31TCJ", 32631, left, top, SIZE)


def changes() -> Changes:
    """Where what happens in the six years."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    rough = np.random.default_rng(SEED).standard_normal((SIZE, SIZE))
    rough = ndimage.gaussian_filter(rough, 5, mode="wrap")
    rough /= rough.std()

    def blob(row: int, column: int, radius: float, roughness: float) -> np.ndarray:
        return np.hypot(rows - row, columns - column) + roughness * rough < radius

    wood = blob(222, 232, 46, 5)
    fire = np.hypot(rows - 232, columns - 222) + 6 * rough
    return Changes(
        wood=wood,
        burnt=wood & (fire < 24),
        singed=wood & (fire >= 24) & (fire < 33),
        felled=(rows >= 190) & (rows < 206) & (columns >= 238) & (columns < 262) & wood,
        built=(rows >= 112) & (rows < 130) & (columns >= 62) & (columns < 92),
        planted=(rows >= 64) & (rows < 92) & (columns >= 62) & (columns < 84),
    )


def _make(folder: Path) -> None:
    place = tile()
    passes = _passes()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        fields = Fields.make(SIZE, SEED, pool)
        grain = white(1024, SEED)
        before = draw(place, fields, SEED, pool)
        where = changes()
        before.classes[where.wood] = _CODES["deciduous forest"]
        whole = swath(passes[0], (0, 0), SIZE * 10)
        places = np.stack([axis.ravel() for axis in place.ground], -1)
        skies = weather(passes, places, 0.3, fields, SKY)
        scenes = [
            pool.submit(write_scene, folder, place, _ground(before, where, one.day), fields, grain, one, whole, sky)
            for one, sky in zip(passes, skies, strict=True)
        ]
    what = "Six made-up years of Sentinel-2-like scenes near Toulouse, in which a wood burns and a summer is dry."
    write_catalog(folder, [one.result() for one in scenes], stac.catalog(ID, what), f"{YEARS[0]} to {YEARS[-1]}")


def _passes() -> list[Overpass]:
    """The same days of each year but for a few, by one satellite and the other in turn."""
    found = []
    for number, year in enumerate(YEARS):
        for month in range(DATES):
            day = date(year, 1, 1) + timedelta(days=round((month + 0.4) * 365 / DATES) + 3 * (number % 3))
            found.append(Overpass(day, f"sentinel-2{'ab'[month % 2]}", 51))
    return found


def _ground(before: Ground, where: Changes, day: date) -> Ground:
    """The ground of a day: each year is a bit earlier or later, and what happened until then has happened."""
    year = day.year - YEARS[0]
    earlier = (0, 4, -3, 2, -4, 1)[year]
    ground = replace(
        before,
        classes=before.classes.copy(),
        shift=np.clip(before.shift.astype(int) + earlier, 0, 255).astype(np.uint8),
        vigour=before.vigour.copy(),
        brightness=before.brightness.copy(),
    )
    _set(ground, where.planted, "deciduous forest", vigour=(year + 1) / len(YEARS))
    if day >= FELLING:
        _set(ground, where.felled, "grassland", vigour=min(0.2 + 0.25 * (day - FELLING).days / 365, 0.9))
    if day >= BUILDING:
        ground.classes[where.built] = _houses()[where.built]
    if day >= FIRE:
        years = (day - FIRE).days / 365
        _set(ground, where.burnt, "bare soil" if years < 0.5 else "grassland", min(0.3 * years, 0.9),
             _CHAR if years < 0.5 else _GREY)  # fmt: skip
        ground.vigour[where.singed] = ground.vigour[where.singed] * min(0.35 + 0.2 * years, 1)
    if DRY[0] <= day < DRY[1]:
        thirsty = np.isin(ground.classes, _GREEN)
        ground.vigour[thirsty] = ground.vigour[thirsty] * 0.65
    return ground


def _set(ground: Ground, where: np.ndarray, cover: str, vigour: float, brightness: float = 1) -> None:
    ground.classes[where] = _CODES[cover]
    ground.vigour[where] = round(vigour / VIGOUR_SCALE)
    ground.brightness[where] = ground.brightness[where] * brightness


def _houses() -> np.ndarray:
    """Streets with roofs between them."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    street = (rows % 8 == 0) | (columns % 10 == 0)
    garden = (rows % 8 > 5) & ~street
    return np.where(street, _CODES["streets and roads"], np.where(garden, _CODES["gardens and parks"], _CODES["roofs"]))
