"""Animations beside the tiles of their frames, and NetCDF and Zarr beside xarray's own writing, in one run.

python -m benchmarks.exports                  36 frames of 1280 × 768; 36 dates × 4 bands of 1024 × 1024
python -m benchmarks.exports --rounds 3 --dates 12 --size 512
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from platformdirs import user_cache_path

import muses_lab as ml
from benchmarks import places
from benchmarks.places import CRS, ORIGIN, Target, Took, report, told, took
from muses_lab import compute
from muses_lab.export.formats import NoOptions, Writer, writer_of
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import SIZE, Pieces
from muses_lab.render import render
from muses_lab.sample.noise import fractal
from muses_lab.style import Style

BANDS = ("B02", "B03", "B04", "B08")
DATES = 36
ROWS, COLUMNS = 768, 1280
JOB: Any = SimpleNamespace(check=lambda: None, at=lambda stage, share=0.0: None)
"""A job that nobody looks at."""


def animations(data: places.Data, rounds: int, dates: int, folder: Path) -> list[Target]:
    """A GIF and an MP4 of a view, and its frames as tiles of a map: 15 tiles of 256 for each date, as PNG."""
    collection = data.collection()
    red, nir = collection.band("B04"), collection.band("B08")
    ndvi = ((nir - red) / (nir + red)).dates(str(data.days[0]), str(data.days[dates - 1] + 1))
    layer = ndvi.over_time().style(cmap="RdYlGn", vmin=-0.2, vmax=0.6)
    box = ml.Window.tile(13, 4137, 3001)
    first = GeoBox((ROWS, COLUMNS), box.affine, box.crs)
    tiles = [first[r : r + 256, c : c + 256] for r in range(0, ROWS, 256) for c in range(0, COLUMNS, 256)]

    def as_tiles() -> None:
        for frame in layer.layers():
            for tile in tiles:
                found = frame.chain.pixels(tile)
                render(found.values, frame.drawn, found.bands)

    def as_file(suffix: str, **options: Any) -> Path:
        return layer.export(
            folder / f"a{suffix}", first, overwrite=True, progress=False, decoration=False, **options
        ).wait()  # fmt: skip

    def writing(suffix: str) -> Callable[[], None]:
        """What it takes to encode the frames, and to compare them with what was computed, and nothing else."""
        writer = writer_of(Path(f"a{suffix}"))
        facts = _facts(layer.look, writer.options(decoration=False), dates, None)
        pieces = _pieces(folder / f"pieces{suffix}", first, np.zeros((dates, *first.shape), np.float32))
        for piece in pieces.all:
            pieces.put(
                piece,
                ndvi.compute(first[piece.toslices()]).values,
            )

        def do() -> None:
            writer.write(pieces, facts, _TAGS, folder / f"b{suffix}", JOB)
            writer.differing(pieces, facts, folder / f"b{suffix}", JOB)

        return do

    encoders = {suffix: writing(suffix) for suffix in (".gif", ".mp4")}
    rows = []
    for _ in range(rounds):
        found: list[Took] = []
        places.forget()
        found.append(took(as_tiles)[0])
        for suffix, encode in encoders.items():
            places.forget()
            found.append(took(lambda suffix=suffix: as_file(suffix))[0])
            found.append(took(encode)[0])
        rows.append(tuple(found))
    told(f"An animation of {dates} frames of {COLUMNS} × {ROWS}, {rounds} rounds", rows, [
        f"its tiles ({len(tiles)} × {dates})", "GIF", "of this encoding and checking",
        "MP4", "of this encoding and checking",
    ])  # fmt: skip
    return [
        Target(
            f"{name} ÷ (tiles + encoding)",
            tuple(r[at].processor / (r[0].processor + r[at + 1].processor) for r in rows),
            "≤",
            1,
        )
        for name, at in (("GIF", 1), ("MP4", 3))
    ]  # fmt: skip


def arrays(size: int, dates: int, rounds: int, folder: Path) -> list[Target]:
    """The last stage of an export, and xarray's own writing of the same arrays, encoded alike."""
    window = GeoBox((size, size), Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), CRS)
    days = np.datetime64("2018-01-05T10:50", "ns") + np.arange(dates) * np.timedelta64(10, "D")
    rng = np.random.default_rng(0)
    fields = [fractal(size, 1.6, n)[:size, :size] for n in range(len(BANDS))]
    one = np.stack(fields)
    stored = [np.rint(3000 + 600 * one + rng.normal(0, 40, one.shape)).clip(1, 1e4) for _ in days]
    values = np.stack(stored).astype(np.float32) / np.float32(1e4)
    rows_of, columns_of = (str(name) for name in list(xr_coords(window))[:2])
    coordinates = {name: xr_coords(window)[name].values for name in (rows_of, columns_of)}
    dims = ("t", rows_of, columns_of)
    ready = xr.Dataset(
        {band: (dims, np.ascontiguousarray(values[:, n])) for n, band in enumerate(BANDS)},
        coords={"t": days, **coordinates},
    )
    facts = _facts(None, NoOptions(), dates, BANDS)
    pieces = _pieces(folder / "arrays", window, values)

    def compared(writer: Writer, path: Path) -> None:
        if writer.differing(pieces, facts, path, JOB):
            raise SystemExit(f"{path} does not hold what was written")

    def netcdf(path: Path) -> None:
        encoding = {
            band: {
                "chunksizes": (1, SIZE, SIZE), "compression": "gzip", "compression_opts": 4, "shuffle": True,
                "fletcher32": True,
            } for band in BANDS
        }  # fmt: skip
        ready.to_netcdf(path, engine="h5netcdf", encoding=encoding)

    def zarr(path: Path) -> None:
        from zarr.codecs import BloscCodec

        codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=4)
        encoding = {
            band: {"chunks": (1, SIZE // 2, SIZE // 2), "shards": (dates, SIZE, SIZE), "compressors": codec}
            for band in BANDS
        }
        ready.to_zarr(path, mode="w", zarr_format=3, consolidated=False, encoding=encoding)

    rows = []
    for n in range(rounds):
        found = []
        for suffix, theirs in ((".nc", netcdf), (".zarr", zarr)):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                mine, other = Path(place) / f"a{suffix}", Path(place) / f"b{suffix}"
                contestants: dict[str, Callable[[], Any]] = {
                    "ours": lambda mine=mine, suffix=suffix: writer_of(mine).write(pieces, facts, _TAGS, mine, JOB),
                    "theirs": lambda other=other, theirs=theirs: theirs(other),
                }
                times = {name: took(contestants[name])[0] for name in sorted(contestants, reverse=bool(n % 2))}
                found += [times["ours"], took(lambda mine=mine: compared(writer_of(mine), mine))[0], times["theirs"]]
        rows.append(tuple(found))
    megabytes = values.nbytes / 1e6
    told(f"{dates} dates × {len(BANDS)} bands of {size} × {size}, {megabytes:.0f} MB, {rounds} rounds", rows, [
        "NetCDF", "comparing it with what was computed", "xarray.to_netcdf", "Zarr",
        "comparing it with what was computed", "xarray.to_zarr",
    ])  # fmt: skip
    return [
        Target("to_netcdf ÷ NetCDF", tuple(r[2].processor / r[0].processor for r in rows), "≥", 0.7),
        Target("to_netcdf ÷ NetCDF, seconds", tuple(r[2].seconds / r[0].seconds for r in rows), ""),
        Target("to_zarr ÷ Zarr", tuple(r[5].processor / r[3].processor for r in rows), "≥", 0.7),
        Target("to_zarr ÷ Zarr, seconds", tuple(r[5].seconds / r[3].seconds for r in rows), ""),
    ]


_TAGS = {
    "TIFFTAG_IMAGEDESCRIPTION": "", "TIFFTAG_SOFTWARE": "", "HISTORY": "", "TIME_COVERAGE_START": "2018-01-05",
    "TIME_COVERAGE_END": "2018-12-31", "TIFFTAG_COPYRIGHT": "", "MUSES_CHAIN": "0" * 64,
}  # fmt: skip


def _facts(style: Style | None, options: Any, dates: int, names: tuple[str, ...] | None) -> Metadata:
    times = tuple(np.datetime64("2018-01-05", "us") + np.arange(dates) * np.timedelta64(10, "D"))
    labels = tuple(f"{time} {name}" for time in times for name in names or ("",))
    return Metadata("series", None, style, (1,), labels, times, names, {}, options)


def _pieces(folder: Path, window: GeoBox, values: np.ndarray) -> Pieces:
    """Values (…, rows, columns) as an export has them before it writes its file."""
    folder.mkdir(exist_ok=True)
    layers = values.reshape(-1, *window.shape)
    pieces = Pieces(folder, window, len(layers), SIZE, np.dtype(np.float32))
    for piece in pieces.all:
        pieces.put(piece, layers[(slice(None), *piece.toslices())])
    return pieces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of the arrays")
    parser.add_argument("--dates", type=int, default=DATES)
    parser.add_argument("--tile", type=int, default=places.SIZE, help="pixels along the scenes of the animation")
    parser.add_argument("--folder", type=Path, help="of the data (default: in the user's cache folder)")
    parser.add_argument("--json", type=Path, help="file for the ratios")
    options = parser.parse_args()
    compute.use("threads")
    name = f"places-{options.tile}-{places.DATES}"
    folder = options.folder or user_cache_path("muses-lab-benchmarks") / name
    data = places.prepare(folder.resolve(), options.tile)
    with tempfile.TemporaryDirectory() as place:
        targets = animations(data, options.rounds, options.dates, Path(place))
        targets += arrays(options.size, options.dates, options.rounds, Path(place))
    report("Ratios within a round: median (least–most)", targets, options.json)


if __name__ == "__main__":
    main()
