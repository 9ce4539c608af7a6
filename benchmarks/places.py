"""Series of places and statistics over polygons beside rasterio, odc-stac, rioxarray and exactextract, in one run.

python -m benchmarks.places                   130 dates × 2 bands at a point; 1 000 polygons × 36 dates
python -m benchmarks.places --rounds 3 --polygons 200 --no-peers

odc-stac runs in its peer's environment; it is left out where that is not there (`--peers` makes it).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import geopandas
import numpy as np
import pyproj
import rasterio
import rioxarray  # noqa: F401
import shapely
import xarray as xr
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from platformdirs import user_cache_path
from rasterio.windows import Window

import muses_lab as ml
from benchmarks.contestants import HERE, Process, environment_of
from benchmarks.samples import Spread
from muses_lab import compute, readings
from muses_lab.catalog.register import add
from muses_lab.compute import windows
from muses_lab.engine import worker_engine
from muses_lab.sample.noise import fractal
from muses_lab.zonal import coverage

DATES, BANDS, SIZE, BLOCK, DIFFERENT = 130, ("B04", "B08"), 2560, 512, 6
PATTERN = r"(?P<band>B\d\d)_(?P<date>\d{4}-\d\d-\d\d)"
"""What the files' names tell."""
ORIGIN, CRS = (400_000.0, 4_800_000.0), "EPSG:32631"
ZONAL_DATES = 36
FIRST = 16
"""Dates of a place, the newest, that a panel can show before it has all: readings are kept."""
CLIPPED = 3
"""Dates that rioxarray clips; it is told for all."""


class Took(NamedTuple):
    seconds: float
    processor: float
    """Seconds, of all threads."""


def took(do: Callable[[], Any]) -> tuple[Took, Any]:
    begin, processor = time.perf_counter(), time.process_time()
    found = do()
    return Took(time.perf_counter() - begin, time.process_time() - processor), found


@dataclass(frozen=True)
class Target:
    """What each round measured, and what its median is held to."""

    what: str
    measured: tuple[float, ...]
    sign: str
    """`≤` or `≥`; empty: it is told only."""
    limit: float = 0.0

    @property
    def ok(self) -> bool:
        middle = median(self.measured)
        return {"≤": middle <= self.limit, "≥": middle >= self.limit}.get(self.sign, True)

    def line(self) -> str:
        spread = Spread.of(self.measured)
        held = f"held to {self.sign} {self.limit:g}: {'ok' if self.ok else 'MISSED'}" if self.sign else ""
        return f"{self.what:40} {spread.text() if spread else '':>26}   {held}".rstrip()


class Data(NamedTuple):
    """A tile's files of many dates, and where its catalogue is."""

    folder: Path
    size: int
    days: np.ndarray
    files: list[tuple[Path, ...]]
    """Of each date, by band."""

    @property
    def items(self) -> Path:
        """The same as STAC items, for others."""
        return self.folder / "items.json"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north."""
        return ORIGIN[0], ORIGIN[1] - self.size * 10, ORIGIN[0] + self.size * 10, ORIGIN[1]

    def collection(self) -> ml.Collection:
        return ml.collection("places", ml.open_catalog(str(self.folder / "catalogue")))

    def block(self, number: int) -> tuple[int, int]:
        """First row and column of a block; no two of a run are the same."""
        per_side = self.size // BLOCK
        row, col = divmod(number % per_side**2, per_side)
        return row * BLOCK, col * BLOCK


def prepare(folder: Path, size: int = SIZE, dates: int = DATES) -> Data:
    """Made at first use, as Sentinel-2 COGs are; files of a few dates differ, the others are hard links to those."""
    days = np.datetime64("2016-01-05") + np.arange(dates) * 10
    data = Data(folder, size, days, [tuple(folder / f"{band}_{day}.tif" for band in BANDS) for day in days])
    if data.items.exists():
        return data
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number, paths in enumerate(data.files):
        for band, path in enumerate(paths):
            path.unlink(missing_ok=True)
            if number >= DIFFERENT:
                os.link(data.files[number % DIFFERENT][band], path)
                continue
            field = fractal(size, 1.6, 100 * number + band)[:size, :size]
            values = np.clip(3000 + 600 * field + rng.normal(0, 40, field.shape), 1, 10_000).astype(np.uint16)
            with rasterio.open(
                path, "w", driver="GTiff", height=size, width=size, count=1, dtype="uint16", crs=CRS, nodata=0,
                transform=rasterio.Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), tiled=True, blockxsize=BLOCK,
                blockysize=BLOCK, compress="deflate", predictor=2,
            ) as file:  # fmt: skip
                file.write(values, 1)
    every = [path for paths in data.files for path in paths]
    add(every, catalog=folder / "catalogue", collection="places", pattern=PATTERN)
    outline = shapely.box(*pyproj.Transformer.from_crs(CRS, 4326, always_xy=True).transform_bounds(*data.bounds))
    features = [_item(f"{day}", paths, outline, size) for day, paths in zip(days, data.files, strict=True)]
    data.items.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return data


def _item(day: str, paths: tuple[Path, ...], outline: shapely.Geometry, size: int) -> dict[str, Any]:
    placed = {"proj:shape": [size, size], "proj:transform": [10, 0, ORIGIN[0], 0, -10, ORIGIN[1]]}
    assets = {
        band: {"href": str(path), "type": "image/tiff; application=geotiff; profile=cloud-optimized", **placed}
        for band, path in zip(BANDS, paths, strict=True)
    }
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": day, "geometry": shapely.geometry.mapping(outline),
        "bbox": list(outline.bounds), "links": [], "assets": assets,
        "stac_extensions": ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        "properties": {"datetime": f"{day}T00:00:00Z", "proj:code": CRS},
    }  # fmt: skip


def forget() -> None:
    """Nothing is decoded and no file is open any more."""
    readings.forget()
    coverage.forget()
    windows.forget(compute.executor())
    worker_engine().cache.clear()


@contextmanager
def odc_stac(data: Data, how: str) -> Iterator[Process | None]:
    """The peer with the data open; `how`: `make` its environment where it is missing, `without` it, or as it is."""
    peers = HERE / "peers"
    python = None if how == "without" else environment_of(peers / "odc_stac.txt", make=how == "make")
    if python is None:
        yield None
        return
    process = Process("odc-stac", [str(python), str(peers / "odc_stac_series.py")])
    try:
        process.ask(do="open", items=str(data.items))
        yield process
    finally:
        process.end()


def points(data: Data, rounds: int, peer: Process | None) -> list[Target]:
    """Every place lies in blocks that nobody has read; headers are known (odc-stac opens its files each time)."""
    collection = data.collection()
    to_degrees = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True).transform
    normalised = (collection.band("B08") - collection.band("B04")) / (collection.band("B08") + collection.band("B04"))
    ratio = collection.band("B08") / collection.band("B04")
    newest = normalised.dates(str(data.days[-FIRST:][0]), str(data.days[-1] + 1))

    def metres(row: int, col: int) -> tuple[float, float]:
        return ORIGIN[0] + (col + 0.5) * 10, ORIGIN[1] - (row + 0.5) * 10

    def place(row: int, col: int) -> tuple[float, float]:
        return to_degrees(*metres(row, col))

    datasets = [rasterio.open(path) for paths in data.files for path in paths]
    normalised.series(*place(5, 5))  # headers, compiled code
    newest.series(*place(5, 5))
    rows = []
    with ThreadPoolExecutor(2) as pool:
        for n in range(rounds):
            top, left = data.block(2 * n + 1)
            row, col = top + 200, left + 300
            window = Window(left, top, BLOCK, BLOCK)
            contestants: dict[str, Callable[[], Any]] = {
                "ours": lambda row=row, col=col: normalised.series(*place(row, col)),
                "blocks": lambda window=window: list(pool.map(lambda d: d.read(1, window=window), datasets)),
            }
            found = {}
            for name in sorted(contestants, reverse=bool(n % 2)):
                found[name] = took(contestants[name])
            first, read = found["ours"][0], found["blocks"]
            cube = np.stack([b[200, 300] for b in read[1]]).reshape(-1, 2).astype(np.float32)
            expected = (cube[:, 1] - cube[:, 0]) / (cube[:, 1] + cube[:, 0])
            np.testing.assert_allclose(found["ours"][1].array, expected, rtol=1e-6)
            other, _ = took(lambda row=row, col=col: ratio.series(*place(row, col)))
            beside, _ = took(lambda row=row, col=col: normalised.series(*place(row + 1, col + 1)))
            table, _ = took(lambda f=found: f["ours"][1].table)
            there = data.block(2 * n + 2)
            some, _ = took(lambda at=there: newest.series(*place(at[0] + 200, at[1] + 300)))
            theirs = first._replace(seconds=np.nan, processor=np.nan)
            if peer is not None:
                x, y = metres(row, col)
                answer = peer.ask(do="series", x=x, y=y)
                np.testing.assert_allclose(answer["values"], expected, rtol=1e-5)
                theirs = Took(answer["seconds"], answer["processor"])
            rows.append((first, read[0], theirs, other, beside, some, table))
    for dataset in datasets:
        dataset.close()
    told(f"A point, {len(data.days)} dates × {len(BANDS)} bands, {rounds} places", rows, [
        "series", "reading the blocks, 2 threads", "odc-stac, 2 threads", "another expression", "pixel beside",
        f"the newest {min(FIRST, len(data.days))} dates alone", "table",
    ])  # fmt: skip
    beside_peer = [Target("odc-stac ÷ series", tuple(r[2].processor / r[0].processor for r in rows), "")]
    return [
        Target("series ÷ blocks", tuple(r[0].processor / r[1].processor for r in rows), "≤", 1.5),
        Target("series ÷ pixel beside", tuple(r[0].processor / r[4].processor for r in rows), "≥", 20),
        Target("another expression, ms", tuple(r[3].processor * 1e3 for r in rows), "≤", 50),
        Target("first points, s", tuple(r[5].processor for r in rows), "≤", 1),
        *(beside_peer if peer is not None else []),
    ]


def polygons(data: Data, number: int, rounds: int) -> list[Target]:
    rng = np.random.default_rng(1)
    west, south, east, north = data.bounds
    x, y = rng.uniform(west + 500, east - 500, number), rng.uniform(south + 500, north - 500, number)
    shapes = [shapely.Point(*at).buffer(r, 5) for *at, r in zip(x, y, rng.uniform(40, 200, number), strict=True)]
    fields = geopandas.GeoDataFrame({"n": range(number)}, geometry=shapes, crs=CRS)
    days = data.days[:ZONAL_DATES]
    chain = data.collection().band("B08").dates(str(days[0]), str(days[-1] + 1))
    paths = [of_date[1] for of_date in data.files[:ZONAL_DATES]]
    stats, theirs = ["mean", "std", "min", "max", "count"], ["mean", "stdev", "min", "max", "count"]

    def by_exactextract() -> Any:
        """All dates at once: it computes the shares of a polygon once for rasters of one grid."""
        sources = []
        for n, path in enumerate(paths):
            with rasterio.open(path) as file:
                values = file.read(1)
            wkt = fields.crs.to_wkt()
            sources.append(NumPyRasterSource(values, *data.bounds, nodata=0, name=f"d{n}", srs_wkt=wkt))
        return exact_extract(sources, fields, theirs, output="pandas")

    clipped = max(1, number // 50)

    def by_clip() -> Any:
        """Of some polygons and dates, told for all."""
        for path in paths[:CLIPPED]:
            with xr.open_dataarray(path, engine="rasterio") as image:
                for shape in shapes[:clipped]:
                    image.rio.clip([shape], all_touched=True, from_disk=True).mean()

    chain.over(fields.iloc[:2], stats=stats)
    rows = []
    for n in range(rounds):
        forget()
        contestants = {
            "ours": lambda: chain.over(fields, stats=stats, progress=False),
            "exactextract": by_exactextract,
            "clip": by_clip,
        }
        order = sorted(contestants, reverse=bool(n % 2))
        found = {name: took(contestants[name]) for name in order}
        again, _ = took(lambda: chain.over(fields, stats=stats, progress=False))
        ours = found["ours"][1].array.values
        other = found["exactextract"][1].to_numpy().reshape(number, len(theirs), len(paths))
        np.testing.assert_allclose(ours, other.transpose(0, 2, 1), rtol=1e-6)
        share = (number / clipped) * (len(paths) / len(paths[:CLIPPED]))
        clip = Took(*(share * v for v in found["clip"][0]))
        rows.append((found["ours"][0], found["exactextract"][0], clip, again))
    told(f"{number} polygons × {len(paths)} dates, {rounds} rounds", rows, [
        "over", "exactextract, all dates at once", "rioxarray clip", "over again",
    ])  # fmt: skip
    return [
        Target("clip ÷ over", tuple(r[2].processor / r[0].processor for r in rows), "≥", 5),
        Target("over ÷ exactextract", tuple(r[0].processor / r[1].processor for r in rows), "≤", 1),
    ]


def told(title: str, rows: Sequence[tuple[Took, ...]], names: Sequence[str]) -> None:
    print(f"\n{title}: medians, seconds (of processor)")
    for k, name in enumerate(names):
        if np.isfinite(rows[0][k].seconds):
            print(f"{name:40} {median(r[k].seconds for r in rows):8.4f} ({median(r[k].processor for r in rows):.4f})")


def report(heading: str, targets: Sequence[Target], path: Path | None) -> None:
    """Prints ratios with their targets, and writes them as JSON."""
    print(f"\n{heading}")
    for target in targets:
        print(target.line())
    if path is not None:
        path.write_text(json.dumps([{**asdict(target), "ok": target.ok} for target in targets], indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--polygons", type=int, default=1000)
    parser.add_argument("--size", type=int, default=SIZE, help="pixels along the tile, a multiple of 512")
    parser.add_argument("--dates", type=int, default=DATES)
    parser.add_argument("--peers", action="store_true", help="make odc-stac's environment where it is missing")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--folder", type=Path, help="of the data (default: in the user's cache folder)")
    parser.add_argument("--json", type=Path, help="file for the ratios")
    options = parser.parse_args()
    if 2 * options.rounds >= (options.size // BLOCK) ** 2:
        parser.error(f"{options.rounds} rounds need more than {(options.size // BLOCK) ** 2} blocks: a larger --size")
    compute.use("threads")
    name = f"places-{options.size}-{options.dates}"
    folder = options.folder or user_cache_path("muses-lab-benchmarks") / name
    data = prepare(folder.resolve(), options.size, options.dates)
    how = "without" if options.no_peers else "make" if options.peers else "as it is"
    with odc_stac(data, how) as peer:
        targets = points(data, options.rounds, peer)
    targets += polygons(data, options.polygons, options.rounds)
    report("Ratios of processor time within a round: median (least–most)", targets, options.json)


if __name__ == "__main__":
    main()
