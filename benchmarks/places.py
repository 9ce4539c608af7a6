"""Series of places and statistics over polygons beside rasterio, rioxarray and exactextract, in one run.

python -m benchmarks.places                   130 dates × 2 bands at a point; 1 000 polygons × 36 dates
python -m benchmarks.places --rounds 3 --polygons 200
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from muses_lab import compute, readings
from muses_lab.catalog.register import add
from muses_lab.compute import windows
from muses_lab.engine import worker_engine
from muses_lab.sample.noise import fractal
from muses_lab.zonal import coverage

DATES, BANDS, SIZE, BLOCK, DIFFERENT = 130, ("B04", "B08"), 2560, 512, 6
ORIGIN, CRS = (400_000.0, 4_800_000.0), "EPSG:32631"
ZONAL_DATES = 36


class Took(NamedTuple):
    seconds: float
    processor: float
    """Seconds, of all threads."""


def took(do: Callable[[], Any]) -> tuple[Took, Any]:
    begin, processor = time.perf_counter(), time.process_time()
    found = do()
    return Took(time.perf_counter() - begin, time.process_time() - processor), found


def prepare(folder: Path) -> list[tuple[Path, ...]]:
    """Files of each date by band, as Sentinel-2 COGs are made; a few differ, the others are hard links to those."""
    days = np.datetime64("2016-01-05") + np.arange(DATES) * 10
    files = [tuple(folder / f"{band}_{day}.tif" for band in BANDS) for day in days]
    if (folder / "catalogue").exists():
        return files
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number, paths in enumerate(files):
        for band, path in enumerate(paths):
            path.unlink(missing_ok=True)
            if number >= DIFFERENT:
                os.link(files[number % DIFFERENT][band], path)
                continue
            field = fractal(SIZE, 1.6, 100 * number + band)[:SIZE, :SIZE]
            values = np.clip(3000 + 600 * field + rng.normal(0, 40, field.shape), 1, 10_000).astype(np.uint16)
            with rasterio.open(
                path, "w", driver="GTiff", height=SIZE, width=SIZE, count=1, dtype="uint16", crs=CRS, nodata=0,
                transform=rasterio.Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), tiled=True, blockxsize=BLOCK,
                blockysize=BLOCK, compress="deflate", predictor=2,
            ) as file:  # fmt: skip
                file.write(values, 1)
    every = [path for paths in files for path in paths]
    add(every, catalog=folder / "catalogue", collection="places", pattern=r"(?P<band>B\d\d)_(?P<date>\d{4}-\d\d-\d\d)")
    return files


def forget() -> None:
    """Nothing is decoded and no file is open any more."""
    readings.forget()
    coverage.forget()
    windows.forget(compute.executor())
    worker_engine().cache.clear()


def points(collection: ml.Collection, files: list[tuple[Path, ...]], rounds: int) -> None:
    """Every place lies in blocks that nobody has read; headers are known."""
    to_degrees = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True).transform
    normalised = (collection.band("B08") - collection.band("B04")) / (collection.band("B08") + collection.band("B04"))
    ratio = collection.band("B08") / collection.band("B04")

    def place(row: int, col: int) -> tuple[float, float]:
        return to_degrees(ORIGIN[0] + (col + 0.5) * 10, ORIGIN[1] - (row + 0.5) * 10)

    datasets = [rasterio.open(path) for paths in files for path in paths]
    per_side = SIZE // BLOCK
    normalised.series(*place(5, 5))  # headers, compiled code
    rows = []
    with ThreadPoolExecutor(2) as pool:
        for n in range(rounds):
            block = divmod(n + 1, per_side)
            row, col = block[0] * BLOCK + 200, block[1] * BLOCK + 300
            window = Window(block[1] * BLOCK, block[0] * BLOCK, BLOCK, BLOCK)
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
            rows.append((first, read[0], other, beside, table))
    print(f"\nA point, {DATES} dates × {len(BANDS)} bands: medians of {rounds} places, seconds (of processor)")
    for name, k in (("series", 0), ("reading the blocks, 2 threads", 1), ("another expression", 2), ("pixel beside", 3),
                    ("table", 4)):  # fmt: skip
        print(f"{name:32} {median(r[k].seconds for r in rows):8.4f} ({median(r[k].processor for r in rows):.4f})")
    told("series ÷ blocks", [r[0].processor / r[1].processor for r in rows], "≤ 1.5")
    told("series ÷ pixel beside", [r[0].processor / r[3].processor for r in rows], "≥ 20")
    told("another expression, ms", [r[2].processor * 1e3 for r in rows], "≤ 50")


def polygons(collection: ml.Collection, files: list[tuple[Path, ...]], number: int, rounds: int) -> None:
    rng = np.random.default_rng(1)
    x = ORIGIN[0] + rng.uniform(500, SIZE * 10 - 500, number)
    y = ORIGIN[1] - rng.uniform(500, SIZE * 10 - 500, number)
    shapes = [shapely.Point(*at).buffer(r, 5) for *at, r in zip(x, y, rng.uniform(40, 200, number), strict=True)]
    fields = geopandas.GeoDataFrame({"n": range(number)}, geometry=shapes, crs=CRS)
    chain = collection.band("B08").dates("2016-01-01", str(np.datetime64("2016-01-05") + (ZONAL_DATES - 1) * 10 + 1))
    paths = [of_date[1] for of_date in files[:ZONAL_DATES]]
    stats, theirs = ["mean", "std", "min", "max", "count"], ["mean", "stdev", "min", "max", "count"]
    bounds = (ORIGIN[0], ORIGIN[1] - SIZE * 10, ORIGIN[0] + SIZE * 10, ORIGIN[1])

    def by_exactextract() -> Any:
        """All dates at once: it computes the shares of a polygon once for rasters of one grid."""
        sources = []
        for n, path in enumerate(paths):
            with rasterio.open(path) as file:
                values = file.read(1)
            sources.append(NumPyRasterSource(values, *bounds, nodata=0, name=f"d{n}", srs_wkt=fields.crs.to_wkt()))
        return exact_extract(sources, fields, theirs, output="pandas")

    clipped = max(1, number // 50)

    def by_clip() -> Any:
        """Of some polygons and dates, told for all."""
        for path in paths[:3]:
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
        other = found["exactextract"][1].to_numpy().reshape(number, len(theirs), ZONAL_DATES)
        np.testing.assert_allclose(ours, other.transpose(0, 2, 1), rtol=1e-6)
        share = (number / clipped) * (ZONAL_DATES / 3)
        clip = Took(found["clip"][0].seconds * share, found["clip"][0].processor * share)
        rows.append((found["ours"][0], found["exactextract"][0], clip, again))
    print(f"\n{number} polygons × {ZONAL_DATES} dates: medians of {rounds} rounds, seconds (of processor)")
    for name, k in (("over", 0), ("exactextract, all dates at once", 1), ("rioxarray clip", 2), ("over again", 3)):
        print(f"{name:32} {median(r[k].seconds for r in rows):8.3f} ({median(r[k].processor for r in rows):.3f})")
    told("clip ÷ over", [r[2].processor / r[0].processor for r in rows], "≥ 5")
    told("over ÷ exactextract", [r[0].processor / r[1].processor for r in rows], "≤ 1")


def told(name: str, ratios: list[float], held: str) -> None:
    print(f"{name:32} {median(ratios):8.2f} ({min(ratios):.2f}–{max(ratios):.2f})   held to {held}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--polygons", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=user_cache_path("muses-lab-benchmarks") / "places")
    options = parser.parse_args()
    compute.use("threads")
    files = prepare(options.folder)
    collection = ml.collection("places", ml.open_catalog(str(options.folder / "catalogue")))
    points(collection, files, options.rounds)
    polygons(collection, files, options.polygons, options.rounds)


if __name__ == "__main__":
    main()
