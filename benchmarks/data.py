"""What the benchmarks look at: Sentinel-2-like scenes with the block structure, entropy and clouds of real ones.

`python -m benchmarks.data [own|unlike] [--folder FOLDER] [--size 10980] [--dates 24] [--also long ...]` makes them;
`prepare` does the work.

FOLDER/items.json, <date>/{B02,B03,B04,B08,SCL}.tif     one tile in EPSG:32631
FOLDER/two-zones/                                       the same, and one in EPSG:32630 that overlaps its west
FOLDER/long/                                            four times as many dates (B04, B08, SCL)
FOLDER/many/                                            10 000 items, all but those of FOLDER on other continents
FOLDER/warm-up/                                         three dates of a tiny tile: to compile and import with

Each is an ItemCollection with hrefs relative to its own folder, and files that are complete or not there.

Data of the kind `unlike` are as archives and users have them: items without `grid:code` that do not say how overviews
were made, a corner that is no multiple of the pixels of any level, band B08 of every sixth date in strips of one row,
and one date on the tile to the west, in another projection.

The 24 dates of a full tile are six that differ, one of each cloudiness; the others are hard links to their files. So
they take 5 GB rather than 21, and every block is as hard to decode as those of the small tile.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from filelock import FileLock
from platformdirs import user_cache_path
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.warp import transform, transform_bounds

from muses_lab.sample.noise import fractal, white

VERSION = 2
"""Goes up when the same parameters give other pixels."""
SMALL, FULL = 5120, 10_980
"""Pixels of 10 m along a tile's side; a view at zoom 12 and its next tile column lie within the small one, too."""
KINDS = ("own", "unlike")
ODD = 1
"""Number of the date in another projection, of the kind `unlike`."""
MANY = 10_000
BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
NDVI = ("B04", "B08", "SCL")
CLEAR = (4, 5, 6)
OFFSET = 1000
"""Stored = reflectance × 10 000 + this, as in products since 2022."""

_FIELD = 2048
_FIRST = dt.date(2025, 1, 5)
_VARIANTS = ("two-zones", "long", "many")


def default_folder(size: int = SMALL, kind: str = "own") -> Path:
    name = "full" if size == FULL else f"{size}"
    return Path(user_cache_path("muses-lab-benchmarks")) / (name if kind == "own" else f"{name}-{kind}")


def zooms(size: int) -> list[int]:
    """Zooms at which a view sees the whole tile in overviews, half the resolution, and native pixels."""
    return sorted({round(10 + math.log2(FULL / size)), 12, 14})


def prepare(folder: Path, size: int = SMALL, dates: int = 24, also: Iterable[str] = (), kind: str = "own") -> Path:
    """Makes what is not there yet, in both cores' time; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / ".lock")):
        made = {"version": VERSION, "size": size, "dates": dates, "kind": kind}
        label = folder / "made.json"
        if label.exists() and json.loads(label.read_text()) != made:
            raise SystemExit(f"{folder} holds data made with {label.read_text()}, not {made}: name another --folder")
        label.write_text(json.dumps(made))
        tile, unlike = Tile.centred("31TCJ", 32631, size), kind == "unlike"
        if unlike:
            tile = tile.off_every_lattice()
        days = [_FIRST + dt.timedelta(15 * n) for n in range(dates)]
        scenes = [Scene(tile, day, folder, unlike=unlike) for day in days]
        beside = scenes[ODD : ODD + 1] if unlike else []
        _collection(folder, [replace(s, tile=tile.western_neighbour()) if s in beside else s for s in scenes])
        warm = Tile.centred("31TCJ", 32631, 1024)
        _collection(folder / "warm-up", [Scene(warm, _FIRST + dt.timedelta(n), folder / "warm-up") for n in range(3)])
        for name in also:
            _also(folder, name, [s for s in scenes if s not in beside])
    return folder


def _also(folder: Path, name: str, scenes: list[Scene]) -> None:
    """A further data set, with the scenes of `folder` that are in the projection of most."""
    here = folder / name
    scenes = [replace(scene, assets=NDVI) for scene in scenes]
    if name == "two-zones":
        _collection(here, [*scenes, *(replace(s, tile=s.tile.western_neighbour(), home=here) for s in scenes)])
    elif name == "long":
        _collection(
            here,
            [*scenes, *(replace(s, day=s.day + dt.timedelta(gap), home=here) for s in scenes for gap in (3, 7, 11))],
        )
    elif name == "many":
        items = [scene.item(here) for scene in scenes]
        _write_items(here, [*items, *_elsewhere(items[0], MANY - len(items))])
    else:
        raise SystemExit(f"there is no data set called {name!r}; there are {', '.join(_VARIANTS)}")


def _collection(folder: Path, scenes: list[Scene]) -> None:
    if (folder / "items.json").exists():
        return
    # Scenes are made from the first of their tile and cloudiness on, where the tile is so large that others link to it.
    first: dict[tuple[Tile, int], Scene] = {}
    for scene in scenes:
        if scene.tile.size == FULL:
            first.setdefault((scene.tile, scene.cloudiness), scene)
    twins = {scene: first.get((scene.tile, scene.cloudiness), scene) for scene in scenes}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(Scene.write, [scene for scene in scenes if twins[scene] == scene]))
    for scene in scenes:
        scene.link(twins[scene])
    _write_items(folder, [scene.item(folder) for scene in scenes])


def _write_items(folder: Path, items: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    items = sorted(items, key=lambda item: item["properties"]["datetime"])
    _whole(
        folder / "items.json",
        lambda part: part.write_text(json.dumps({"type": "FeatureCollection", "features": items})),
    )


def _whole(path: Path, write: Callable[[Path], Any]) -> None:
    """A file that is complete or not there."""
    part = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _hard_link(target: Path, path: Path) -> None:
    path.hardlink_to(target)


@dataclass(frozen=True)
class Tile:
    """A square of `size` 10 m pixels."""

    name: str
    epsg: int
    left: int
    top: int
    size: int

    @classmethod
    def centred(cls, name: str, epsg: int, size: int) -> Tile:
        """The real tile in full; smaller ones lie in its west, in the middle of a map tile of zoom 12."""
        if size == FULL:
            return cls(name, epsg, 300_000, 4_900_020, size)
        lon = 2057.5 / 2**12 * 360 - 180
        lat = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * 1488.5 / 2**12))))
        return cls._around(name, epsg, size, *_moved("EPSG:4326", f"EPSG:{epsg}", lon, lat))

    @classmethod
    def _around(cls, name: str, epsg: int, size: int, x: float, y: float) -> Tile:
        return cls(name, epsg, round(x / 60) * 60 - size * 5, round(y / 60) * 60 + size * 5, size)

    def western_neighbour(self) -> Tile:
        """The tile of the zone to the west that sees a third of this one's ground."""
        side = self.size * 10
        x, y = _moved(self.crs, f"EPSG:{self.epsg - 1}", self.left + side / 3, self.top - side / 2)
        return self._around("30TYP", self.epsg - 1, self.size, x - side / 2, y)

    def off_every_lattice(self) -> Tile:
        """About the same ground, from a corner that is an odd multiple of 20 m: no multiple of 512 pixels either."""
        return replace(self, left=self.left // 40 * 40 + 20, top=self.top // 40 * 40 + 20)

    @property
    def crs(self) -> str:
        return f"EPSG:{self.epsg}"

    def transform(self, resolution: int) -> Affine:
        return Affine(resolution, 0, self.left, 0, -resolution, self.top)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """West, south, east, north in metres of the CRS."""
        return self.left, self.top - self.size * 10, self.left + self.size * 10, self.top

    @property
    def bbox(self) -> list[float]:
        return [round(v, 6) for v in transform_bounds(self.crs, "EPSG:4326", *self.bounds)]

    @property
    def ring(self) -> list[list[float]]:
        """Its corners, longitude first."""
        west, south, east, north = self.bounds
        lon, lat = transform(self.crs, "EPSG:4326", [west, east, east, west, west], [south, south, north, north, south])
        return [[round(x, 7), round(y, 7)] for x, y in zip(lon, lat, strict=True)]


def _moved(source: str, target: str, x: float, y: float) -> tuple[float, float]:
    (x,), (y,) = transform(source, target, [x], [y])
    return x, y


class Fields:
    """Periodic noise that all scenes look up, each with offsets of its own."""

    @cached_property
    def smooth(self) -> np.ndarray:
        """The shapes of clouds and landscapes."""
        return fractal(_FIELD, 2.6, 1)[:_FIELD, :_FIELD]

    @cached_property
    def texture(self) -> np.ndarray:
        """As rough at every scale, so that overviews compress no better than full resolution."""
        return fractal(_FIELD, 1.0, 2)[:_FIELD, :_FIELD]

    @cached_property
    def grain(self) -> np.ndarray:
        """Sensor noise."""
        return white(_FIELD, 3)


FIELDS = Fields()


@dataclass(frozen=True)
class Scene:
    """A date of a tile."""

    tile: Tile
    day: dt.date
    home: Path
    """The data set that its files belong to."""
    assets: tuple[str, ...] = (*BANDS, "SCL")
    unlike: bool = False
    """Of the kind `unlike`."""

    @property
    def folder(self) -> Path:
        return self.home / self.day.isoformat()

    @cached_property
    def _chance(self) -> list[int]:
        seed = self.day.toordinal() * 100_000 + self.tile.epsg
        return np.random.default_rng(seed).integers(0, _FIELD, 16).tolist()

    @property
    def cloudiness(self) -> int:
        """One of six."""
        return self.day.toordinal() // 3 % 6

    @property
    def cover(self) -> float:
        """How cloudy it is: about this share of the pixels is masked."""
        return (0.04, 0.22, 0.75, 0.10, 0.40, 0.49)[self.cloudiness]

    def is_striped(self, name: str) -> bool:
        """Whether an asset's file has strips rather than tiles."""
        return self.unlike and name == "B08" and self.cloudiness == 2

    # ------------------------------------------------------------------------------------------------- files

    def write(self) -> None:
        """Makes the files that are not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = [name for name in self.assets if not (self.folder / f"{name}.tif").exists()]
        if not wanted:
            return
        classes = self._classes()
        for name in wanted:
            pixels = classes if name == "SCL" else self._band(name, classes)
            save = self._striped if self.is_striped(name) else self._cog
            _whole(self.folder / f"{name}.tif", partial(save, pixels, name))

    def link(self, twin: Scene) -> None:
        """Takes the files of a scene for those that are not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self.assets:
            file = self.folder / f"{name}.tif"
            if not file.exists():
                _whole(file, partial(_hard_link, twin.folder / file.name))

    def _classes(self) -> np.ndarray:
        """SCL: clouds in coherent shapes with thin edges and shadows, on vegetation, bare soil and water."""
        n = self.tile.size // 2
        land = self._look_up(FIELDS.smooth, n, n, 7, 11)  # the same ground on every date
        out = np.where(land > 0.3, 5, 4).astype(np.uint8)
        out[land < -1.9] = 6
        clouds = self._look_up(FIELDS.smooth, n, n, *self._chance[:2])
        thick, thin = np.quantile(clouds[::7, ::7], [1 - 0.5 * self.cover, 1 - 0.68 * self.cover])
        shadow = np.roll(clouds > thick, (-21, 27), (0, 1)) & (clouds <= thin)
        wisps = self._look_up(FIELDS.smooth, n, n, *self._chance[2:4])
        out[(wisps > np.quantile(wisps[::7, ::7], 1 - 0.1 * self.cover)) & (clouds <= thin)] = 10
        out[shadow] = 3
        out[clouds > thin] = 8
        out[clouds > thick] = 9
        return out

    def _band(self, name: str, classes: np.ndarray) -> np.ndarray:
        """Stored reflectance, a strip of rows at a time."""
        n, season = self.tile.size, math.sin(math.tau * (self.day.timetuple().tm_yday - 80) / 365)
        out = np.empty((n, n), np.uint16)
        number = list(BANDS).index(name)
        low, slope = {"B02": (700, -380), "B03": (900, -300), "B04": (1500, -1150), "B08": (1100, 2900)}[name]
        down, right = self._chance[4 + 2 * number : 6 + 2 * number]
        for start in range(0, n, 512):
            rows = min(512, n - start)
            land = self._look_up(FIELDS.smooth, rows // 2, n // 2, 7 + start // 2, 11)
            coarse = np.float32(low) + np.float32(slope) * (np.float32(0.45 + 0.12 * season) + np.float32(0.15) * land)
            coarse += _BRIGHTER[classes[start // 2 : (start + rows) // 2]]
            value = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
            value += _TEXTURE * self._look_up(FIELDS.texture, rows, n, 31 + 97 * number + start, 5)
            value += _GRAIN * self._look_up(FIELDS.grain, rows, n, down + start, right)
            value += OFFSET + np.float32(0.5)
            out[start : start + rows] = np.clip(value, OFFSET + 50, 16_000, out=value)
        return out

    def _look_up(self, field: np.ndarray, rows: int, cols: int, down: int, right: int) -> np.ndarray:
        """A window of a periodic field, by copying whole rows."""
        right %= _FIELD
        found = field[(np.arange(rows) + down) % _FIELD]
        return np.concatenate([found[:, right:], *[found] * (cols // _FIELD + 1)], axis=1)[:, :cols]

    def _cog(self, pixels: np.ndarray, name: str, path: Path) -> None:
        raw = f"/vsimem/{uuid.uuid4().hex}.tif"
        with rasterio.Env(GDAL_NUM_THREADS="1"):
            self._plain(raw, pixels, name, tiled=True, blockxsize=512, blockysize=512)
            rasterio.shutil.copy(
                raw, str(path), driver="COG", compress="DEFLATE", predictor="YES", blocksize=512,
                overview_resampling="NEAREST" if name == "SCL" else "AVERAGE",
            )  # fmt: skip
            rasterio.shutil.delete(raw, driver="GTiff")

    def _striped(self, pixels: np.ndarray, name: str, path: Path) -> None:
        """In strips of one row, as GDAL writes wide images unless it is told otherwise; overviews in tiles."""
        factors = [2**n for n in range(1, 20) if pixels.shape[0] > 2 ** (n - 1) * 512]
        with rasterio.Env(GDAL_NUM_THREADS="1", GDAL_TIFF_OVR_BLOCKSIZE="512"):
            self._plain(str(path), pixels, name, compress="DEFLATE", predictor=2, blockysize=1)
            if factors:
                with rasterio.open(path, "r+") as file:
                    file.build_overviews(factors, Resampling.average)

    def _plain(self, path: str, pixels: np.ndarray, name: str, **how: Any) -> None:
        """Without overviews."""
        with rasterio.open(
            path, "w", driver="GTiff", dtype=pixels.dtype, count=1, height=pixels.shape[0], width=pixels.shape[1],
            crs=self.tile.crs, transform=self.tile.transform(20 if name == "SCL" else 10), nodata=0, **how,
        ) as file:  # fmt: skip
            file.write(pixels, 1)

    # -------------------------------------------------------------------------------------------------- STAC

    def item(self, base: Path) -> dict[str, Any]:
        """The STAC Item, its hrefs relative to `base`."""
        later = 3 if self.tile.epsg == 32630 else 0  # the tiles of one overpass bear times a few seconds apart
        found = {
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": _EXTENSIONS,
            "id": f"S2A_{self.tile.name}_{self.day:%Y%m%d}_0_L2A",
            "collection": "sentinel-2-l2a",
            "geometry": {"type": "Polygon", "coordinates": [self.tile.ring]},
            "bbox": self.tile.bbox,
            "properties": {
                "datetime": f"{self.day.isoformat()}T10:50:{30 + later}Z",
                "platform": "sentinel-2a",
                "constellation": "sentinel-2",
                "instruments": ["msi"],
                "gsd": 10,
                "grid:code": f"MGRS-{self.tile.name}",
                "proj:code": self.tile.crs,
                "proj:epsg": self.tile.epsg,
                "eo:cloud_cover": round(100 * self.cover, 1),
                "s2:processing_baseline": "05.11",
            },
            "assets": {name: self._asset(name, base) for name in self.assets},
            "links": [],
        }
        return _unsaid(found) if self.unlike else found

    def _asset(self, name: str, base: Path) -> dict[str, Any]:
        file = self.folder / f"{name}.tif"
        resolution = 20 if name == "SCL" else 10
        asset: dict[str, Any] = {
            "href": Path(os.path.relpath(file, base)).as_posix(),
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data", "reflectance"],
            "gsd": resolution,
            "nodata": 0,
            "proj:code": self.tile.crs,
            "proj:shape": [self.tile.size * 10 // resolution] * 2,
            "proj:transform": [float(v) for v in self.tile.transform(resolution)[:6]],
            "raster:spatial_resolution": resolution,
            "file:size": file.stat().st_size,
        }
        if name == "SCL":
            return {
                **asset,
                "roles": ["data"],
                "data_type": "uint8",
                "bands": [{"name": "SCL"}],
                "muses:overviews": "nearest",
                "classification:classes": [{"value": value, "name": f"class_{value}"} for value in range(12)],
            }
        return {
            **asset,
            "data_type": "uint16",
            "raster:scale": 0.0001,
            "raster:offset": -OFFSET / 10_000,
            "bands": [{"name": name, "eo:common_name": BANDS[name]}],
            "muses:overviews": "average",
        }


def _unsaid(item: dict[str, Any]) -> dict[str, Any]:
    """An item that tells neither its tile nor how overviews were made."""
    del item["properties"]["grid:code"]
    for asset in item["assets"].values():
        del asset["muses:overviews"]
    return item


_TEXTURE, _GRAIN = np.float32(80), np.float32(21)
"""Deviations, such that bands compress by about a half."""
_BRIGHTER = np.array([0, 0, 0, -250, 0, 0, -300, 0, 1800, 5200, 700, 0], np.float32)
"""What a class adds to reflectance × 10 000."""

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        "classification/v2.0.0",
        "eo/v2.0.0",
        "file/v2.1.0",
        "grid/v1.1.0",
        "projection/v2.0.0",
        "raster/v2.0.0",
    )
]


def _elsewhere(pattern: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Items of other continents: 73 dates a tile, in zones far from Europe, files that nobody opens."""
    out = []
    for n in range(number):
        place, date = divmod(n, 73)
        zone, row = (1 + place % 20, place // 20) if place % 2 else (41 + place % 20, place // 20)
        day = _FIRST + dt.timedelta(5 * date)
        name = f"{zone:02}N{chr(ord('A') + row)}X"
        item = json.loads(json.dumps(pattern))
        left, top = 399_960, 1_000_020 + 600_000 * row
        size = pattern["assets"]["B04"]["proj:shape"][0] * 10
        box = transform_bounds(f"EPSG:{32600 + zone}", "EPSG:4326", left, top - size, left + size, top)
        west, south, east, north = item["bbox"] = [round(v, 6) for v in box]
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        item["geometry"]["coordinates"] = [ring]
        item["id"] = f"S2A_{name}_{day:%Y%m%d}_0_L2A"
        item["properties"] |= {
            "datetime": f"{day.isoformat()}T10:50:{date % 60:02}Z", "proj:code": f"EPSG:{32600 + zone}",
            "proj:epsg": 32600 + zone, "eo:cloud_cover": float(n * 37 % 100),
        }  # fmt: skip
        if "grid:code" in item["properties"]:
            item["properties"]["grid:code"] = f"MGRS-{name}"
        for key, asset in item["assets"].items():
            transform_ = asset["proj:transform"]
            asset |= {
                "href": f"{name}/{day.isoformat()}/{key}.tif", "proj:code": f"EPSG:{32600 + zone}",
                "proj:transform": [*transform_[:2], float(left), *transform_[3:5], float(top)],
            }  # fmt: skip
        out.append(item)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the data of the benchmarks.")
    parser.add_argument("kind", nargs="?", default="own", choices=KINDS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--size", type=int, default=SMALL)
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--also", nargs="*", default=[], choices=_VARIANTS)
    wanted = parser.parse_args()
    folder = wanted.folder or default_folder(wanted.size, wanted.kind)
    print(prepare(folder, wanted.size, wanted.dates, wanted.also, wanted.kind))


if __name__ == "__main__":
    main()
