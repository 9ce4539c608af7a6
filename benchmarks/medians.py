"""Export of a clear median over all dates beside reading its inputs once, and odc-stac with Dask writing the same COG.

python -m benchmarks.medians                  2560 × 2560 pixels, 12 dates
python -m benchmarks.medians --full           a whole tile, 10 980 × 10 980 pixels, 36 dates: 8 GB of data
python -m benchmarks.medians --rounds 3 --no-peers --json result.json

Each is a process of its own, with two threads and `--memory` MB for cache and evaluation, as a worker has. Ratios are
of processor seconds, which a busy machine changes less; on a quiet one the seconds themselves count. odc-stac runs in
its peer's environment; it is left out where that is not there (`--peers` makes it).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio

from benchmarks.contestants import HERE, environment_of
from benchmarks.data import CLEAR, default_folder
from benchmarks.data import prepare as prepare_data
from benchmarks.places import Target, report

SIZE, DATES = 2560, 12
FULL, FULL_DATES = 10_980, 36
THREADS = 2
BAND = "B04"
MEMORY = 1024
"""MB that a worker may take beyond its libraries: what it holds more than a process that only reads."""


def ours(folder: Path, out: Path, share: int = 1) -> dict[str, Any]:
    """The export as users start it; everything before, such as imports and compiled code, is not counted.

    Of the tile's first rows and columns, one of `share` each.
    """
    import muses_lab as ml
    from muses_lab import compute

    compute.use("threads")
    chain = (
        ml.collection("sentinel-2-l2a", ml.open_catalog(str(folder / "items.json")))
        .mask_clouds(keep=list(CLEAR))
        .bands(BAND)
        .median("t")
    )
    grid = next(iter(chain.published.prepared.output.grids.values()))
    tile = grid.geobox(0, grid.rect(0))
    small, wanted = tile[:64, :64], tile[: tile.shape.y // share, : tile.shape.x // share]
    chain.export(out.with_name("warm.tif"), small, overwrite=True, progress=False).wait()
    began, used = time.perf_counter(), time.process_time()
    stages: list[tuple[str, float, float]] = []
    job = chain.export(out, wanted, progress=False)
    job.observe(lambda job: stages.append((job.stage, time.perf_counter(), time.process_time())))
    job.wait()
    computed = next((at for stage, *at in stages if stage == "writing"), [began, used])
    return {"seconds": time.perf_counter() - began, "processor": time.process_time() - used,
            "computing": computed[1] - used, "bytes": out.stat().st_size}  # fmt: skip


def reading(folder: Path, out: Path) -> dict[str, Any]:
    """Every block of the inputs decoded once, in as many threads."""
    paths = [path for band in (BAND, "SCL") for path in sorted(folder.glob(f"*/{band}.tif"))]

    def read(path: Path) -> None:
        with rasterio.open(path) as file:
            for _, window in file.block_windows(1):
                file.read(1, window=window)

    began, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, paths))
    return {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}


def asked(command: Sequence[Any], memory: int, home: Path) -> dict[str, Any]:
    """What a process of its own tells; with the most memory that it has held, in MB."""
    environment = {
        **os.environ, "MUSES_THREADS": str(THREADS), "MUSES_WORKER_BYTES": str(memory << 20),
        "OMP_NUM_THREADS": "1", "MUSES_LAB_HOME": str(home), "GDAL_CACHEMAX": "256",
    }  # fmt: skip
    done = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


CONTESTANTS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "ours": ours, "quarter": partial(ours, share=2), "reading": reading,
}  # fmt: skip
"""`quarter` is ours on a quarter of the tile: what it holds in memory does not grow with the extent."""


def contestant(name: str, folder: Path, out: Path) -> None:
    told = CONTESTANTS[name](folder, out)
    print(json.dumps({**told, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def differing(one: Path, other: Path) -> float:
    """Share of the pixels of two files that differ by more than a ten-thousandth, or are missing in one only."""
    with rasterio.open(one) as a, rasterio.open(other) as b:
        different = 0
        for _, window in a.block_windows(1):
            different += int((~np.isclose(a.read(1, window=window), b.read(1, window=window), 0, 1e-4, True)).sum())
        return different / (a.width * a.height)


def measure(folder: Path, rounds: int, peer: Path | None, memory: int) -> list[Target]:
    here = [sys.executable, "-m", "benchmarks.medians", "--contestant"]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in (*CONTESTANTS, *(["odc-stac"] if peer else []))}
    with TemporaryDirectory(dir=folder) as made:
        for n in range(rounds):
            outs = {name: Path(made) / f"{name}-{n}.tif" for name in rows}
            for name in sorted(rows, reverse=bool(n % 2)):
                command = [*here, name, folder, outs[name]]
                if name == "odc-stac":
                    command = [peer, HERE / "peers" / "odc_stac_median.py", folder, outs[name]]
                rows[name].append(asked(command, memory, Path(made) / "home"))
            if peer and (share := differing(outs["ours"], outs["odc-stac"])) > 0.001:
                raise SystemExit(f"{share:.2%} of the pixels differ between ours and odc-stac")
    print(f"\nExport of a clear median, {rounds} rounds: medians, seconds (of processor), MB held at most")
    for name, found in rows.items():
        of = {key: median(one[key] for one in found) for key in ("seconds", "processor", "memory")}
        print(f"{name:12} {of['seconds']:8.2f} ({of['processor']:.2f})  {of['memory']:7.0f} MB")
    share = median(one["computing"] / one["processor"] for one in rows["ours"])
    print(f"of ours {share:.0%} computing, the rest writing the file and comparing it with what was computed")

    def ratio(one: str, other: str) -> tuple[float, ...]:
        return tuple(a["processor"] / b["processor"] for a, b in zip(rows[one], rows[other], strict=True))

    def more(name: str) -> tuple[float, ...]:
        return tuple(a["memory"] - b["memory"] for a, b in zip(rows[name], rows["reading"], strict=True))

    targets = [
        Target("export ÷ reading its inputs", ratio("ours", "reading"), "≤", 1.5),
        Target("memory of the export, MB", more("ours"), "≤", memory),
        Target("memory of a quarter of the tile, MB", more("quarter"), "≤", memory),
    ]
    return targets + ([Target("odc-stac ÷ export", ratio("odc-stac", "ours"), "≥", 2)] if peer else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", action="store_true", help=f"{FULL} × {FULL} pixels, {FULL_DATES} dates")
    parser.add_argument("--size", type=int, help="pixels along the tile, even")
    parser.add_argument("--dates", type=int)
    parser.add_argument("--memory", type=int, default=MEMORY, help="MB of a worker's budget")
    parser.add_argument("--peers", action="store_true", help="make odc-stac's environment where it is missing")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--folder", type=Path, help="of the data (default: in the user's cache folder)")
    parser.add_argument("--json", type=Path, help="file for the ratios")
    parser.add_argument("--contestant", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        name, folder, out = options.contestant
        contestant(name, Path(folder), Path(out))
        return
    size = options.size or (FULL if options.full else SIZE)
    dates = options.dates or (FULL_DATES if options.full else DATES)
    folder = (options.folder or default_folder(size).with_name(f"medians-{size}-{dates}")).resolve()
    prepare_data(folder, size, dates)
    how = options.peers and not options.no_peers
    peer = None if options.no_peers else environment_of(HERE / "peers" / "odc_stac.txt", make=how)
    targets = measure(folder, options.rounds, peer, options.memory)
    report("Ratios of processor time within a round: median (least–most)", targets, options.json)


if __name__ == "__main__":
    main()
