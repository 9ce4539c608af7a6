"""The benchmarks on tiny data: they run, compute what plain NumPy computes, and read no more than the limit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from benchmarks import compare, contestants, data, run
from benchmarks.needs import grid_of, needs, owned, places
from benchmarks.peers.contestant import View, parse_view
from benchmarks.protocol import read_items
from benchmarks.remote import serving
from benchmarks.samples import Measured, Sample
from tests.helpers import REPOSITORY
from tests.helpers.examples import always

pytestmark = pytest.mark.slow  # they share a program that starts and compiles

SIZE, DATES = 512, 3
W1 = {"workload": "W1", "zoom": 14, "classes": [4, 5, 6]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.prepare(tmp_path_factory.mktemp("benchmarks"), SIZE, DATES, ["two-zones", "many"])


@pytest.fixture(scope="module")
def muses(folder: Path) -> Iterator[contestants.Process]:
    process = contestants.muses()
    process.ask(do="open", data=str(folder))
    yield process
    process.end()


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three dates: as all are, in another projection, with a band in strips."""
    return data.prepare(tmp_path_factory.mktemp("unlike"), 1024, DATES, kind="unlike")


@pytest.fixture(scope="module")
def muses_unlike(unlike: Path) -> Iterator[contestants.Process]:
    process = contestants.muses()
    process.ask(do="open", data=str(unlike))
    yield process
    process.end()


def _ndvi(view: View, folder: Path, item: dict[str, Any], classes: list[int] | None) -> np.ndarray:
    """NDVI of the stored pixels under those of the view; NaN where they are not of the classes, or not there."""
    bands: dict[str, np.ndarray] = {}
    for name in ("B04", "B08", "SCL"):
        asset = item["assets"][name]
        x, y, pixel = places(view.bounds, asset["proj:code"])
        with rasterio.open(folder / asset["href"]) as file:
            native, factors = file.transform.a, [1, *file.overviews(1)]
        factor = max(f for f in factors if f * native <= max(pixel, native))
        with rasterio.open(
            folder / asset["href"], **({"overview_level": factors.index(factor) - 1} if factor > 1 else {})
        ) as file:
            stored = file.read(1)
            rows = np.floor((file.transform.f - y) / file.transform.a).astype(int)
            cols = np.floor((x - file.transform.c) / file.transform.a).astype(int)
        inside = (rows >= 0) & (rows < stored.shape[0]) & (cols >= 0) & (cols < stored.shape[1])
        bands[name] = np.full(x.shape, np.nan)
        bands[name][inside] = stored[rows[inside], cols[inside]]
    red, nir = (bands[name] * 0.0001 - 0.1 for name in ("B04", "B08"))
    ndvi = (nir - red) / (nir + red)
    return ndvi if classes is None else np.where(np.isin(bands["SCL"], classes), ndvi, np.nan)


def _median(view: View, folder: Path, classes: list[int]) -> np.ndarray:
    """Of the dates that are on the grid to which a pixel belongs."""
    items = read_items(folder)
    grids = tuple(sorted({grid_of(item) for item in items}))
    dates = [
        np.where(owned(view.bounds, grids, grid_of(item)), _ndvi(view, folder, item, classes), np.nan) for item in items
    ]
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="All-NaN"):
        return np.nanmedian(dates, axis=0)


def _agrees(answer: dict[str, Any] | None, values: np.ndarray) -> None:
    assert answer is not None
    assert answer["mean"] == pytest.approx(np.nanmean(values), abs=1e-4)
    assert answer["valid"] == pytest.approx(np.isfinite(values).mean(), abs=1e-4)


@pytest.mark.thorough
def test_views_are_what_numpy_computes_and_read_what_the_limit_reads(folder: Path, muses: contestants.Process) -> None:
    items = read_items(folder)
    view = parse_view(W1, items)
    wanted = sum(len(need.blocks) for need in needs(view, items, folder))

    cold = muses.cold(**W1)
    values = _median(view, folder, [4, 5, 6])
    _agrees(cold, values)
    assert cold and cold["counters"]["blocks"] == wanted == DATES * 3

    for change, expected in (
        ({}, values),
        ({"classes": [4]}, _median(view, folder, [4])),
        ({"threshold": 0.4}, np.where(values >= 0.4, values, np.nan)),
    ):
        after = muses.view(**{**W1, **change})
        _agrees(after, expected)
        assert after and after["counters"]["blocks"] == 0

    again = muses.cold(**W1)
    assert again and again["counters"]["blocks"] == wanted  # everything was forgotten
    one = muses.cold(**{**W1, "workload": "W2"})
    _agrees(one, _ndvi(view, folder, items[0], None))
    assert one and one["counters"]["blocks"] == 2


@pytest.mark.parametrize("workload", always(["W3", "W4", "W6", "W7", "W8"], ["W7"]))
def test_every_workload_runs(muses: contestants.Process, workload: str) -> None:
    for threshold in (None, 0.05):
        answer = muses.view(**{**W1, "workload": workload, "threshold": threshold})
        assert answer and 0 < answer["valid"] <= 1 and answer["mean"] > 0


@pytest.mark.parametrize(
    ("workload", "zoom"), always([(name, zoom) for name in ("W1", "W2") for zoom in (14, 12)], [("W1", 14), ("W2", 12)])
)
@pytest.mark.thorough
def test_views_of_unlike_data_are_what_numpy_computes(
    unlike: Path, muses_unlike: contestants.Process, workload: str, zoom: int
) -> None:
    items = read_items(unlike)
    request = {**W1, "workload": workload, "zoom": zoom}
    view = parse_view(request, items)
    values = _median(view, unlike, [4, 5, 6]) if workload == "W1" else _ndvi(view, unlike, items[0], None)
    cold = muses_unlike.cold(**request)
    _agrees(cold, values)
    wanted = list(needs(view, items, unlike))
    assert cold and cold["counters"]["blocks"] >= sum(len(need.blocks) for need in wanted) > 0
    assert cold["counters"]["pixels"] >= sum(need.pixels for need in wanted)


def test_unlike_data_are_unlike(unlike: Path) -> None:
    first, odd, striped = read_items(unlike)
    for item in (first, odd, striped):
        assert "grid:code" not in item["properties"]
        assert not any("muses:overviews" in asset for asset in item["assets"].values())
    assert [i["properties"]["proj:code"] for i in (first, odd, striped)] == ["EPSG:32631", "EPSG:32630", "EPSG:32631"]
    with rasterio.open(unlike / first["assets"]["B08"]["href"]) as file:
        assert file.block_shapes == [(512, 512)] and file.overviews(1) == [2]
        assert all(v / 20 % 2 == 1 and v / 10 % 512 for v in (file.transform.c, file.transform.f))
        assert "NEAREST" not in str(file.tags()) + str(file.tags(ns="IMAGE_STRUCTURE"))
    with rasterio.open(unlike / striped["assets"]["B08"]["href"]) as file:
        assert file.block_shapes == [(1, 1024)] and file.overviews(1) == [2] and file.compression.name == "deflate"
    with rasterio.open(unlike / striped["assets"]["B08"]["href"], overview_level=0) as file:
        assert file.block_shapes == [(512, 512)]


def test_dates_of_a_full_tile_link_to_the_first_that_is_as_cloudy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "FULL", 512)
    items = read_items(data.prepare(tmp_path, 512, 7))
    files = [(tmp_path / item["assets"]["B04"]["href"]).stat().st_ino for item in items]
    assert files[6] == files[0] and len(set(files)) == 6
    assert items[6]["properties"]["eo:cloud_cover"] == items[0]["properties"]["eo:cloud_cover"]


def test_before_and_now_are_compared_within_a_round() -> None:
    times = {"muses": (1.0, 3.0), compare.BEFORE: (2.0, 3.0), "limit": (0.1, 0.1)}
    samples = [
        Sample(
            who, "W1", 14, "cold", number, seconds, counters={"cpu_seconds": seconds, "blocks": 9, "pixels": 2_000_000}
        )
        for who, both in times.items()
        for number, seconds in enumerate(both)
    ]
    (line,) = compare.lines(Measured(samples, [14]))
    assert line == [
        "muses", "W1", "z14", "cold", "2500", "2000", *["0.75 (0.50–1.00)"] * 2, "9 → 9", "2.0 → 2.0",
    ]  # fmt: skip


def test_the_limit_reads_tiles_and_strips(unlike: Path) -> None:
    """Each method decodes what the file holds, strips included: no more, no less."""
    process = contestants.limit(here=True)
    try:
        process.ask(do="open", data=str(unlike))
        for zoom in (14, 12):
            answer = process.cold(**{**W1, "zoom": zoom})
            assert answer and {"GDAL", "imagecodecs"} <= answer["counters"]["seconds"].keys()
            assert answer["counters"]["pixels"] > 0 and answer["seconds"] > 0
    finally:
        process.end()


@pytest.mark.thorough
def test_other_data_sets_and_a_late_server(folder: Path, tmp_path: Path) -> None:
    with serving(folder, delay=0.001) as server:
        process = contestants.muses(MUSES_ALLOWED_HOSTS="127.0.0.1")
        try:
            process.ask(do="open", data=str(server.items(folder, tmp_path / "remote")))
            remote = process.cold(**W1)
            assert server.requests > 0
            process.ask(do="open", data=str(folder / "two-zones"))
            both = process.cold(**{**W1, "workload": "W5", "zoom": 13})
        finally:
            process.end()
    _agrees(remote, _median(parse_view(W1, read_items(folder)), folder, [4, 5, 6]))
    assert both and both["counters"]["blocks"] == 2 * 3 * DATES


@pytest.mark.thorough  # `test_the_whole_benchmark` runs it as well, and believes its values
def test_a_view_of_ten_thousand_items_is_what_numpy_computes(folder: Path) -> None:
    view, process = parse_view(W1, read_items(folder)), contestants.muses()
    try:
        process.ask(do="open", data=str(folder / "many"))
        many = process.cold(**W1, corner=[view.left, view.top])
    finally:
        process.end()
    _agrees(many, _median(view, folder, [4, 5, 6]))
    assert len(read_items(folder / "many")) == data.MANY


def test_data_are_the_same_every_time_and_compress_as_real_ones(folder: Path, tmp_path: Path) -> None:
    again = data.prepare(tmp_path / "again", SIZE, 1)
    for name in ("B04", "SCL"):
        with rasterio.open(folder / "2025-01-05" / f"{name}.tif") as a, rasterio.open(again / a.name[-18:]) as b:
            assert (a.read(1) == b.read(1)).all() and a.profile["blockxsize"] == 512 and a.compression.name == "deflate"
            raw = a.read(1).nbytes / Path(a.name).stat().st_size
            assert raw > 10 if name == "SCL" else 1.3 < raw < 1.7
    clear = []
    for item in read_items(folder):
        with rasterio.open(folder / item["assets"]["SCL"]["href"]) as file:
            clear.append(np.isin(file.read(1), data.CLEAR).mean())
    assert 0.5 < np.mean(clear) < 0.85
    with pytest.raises(SystemExit, match="name another --folder"):
        data.prepare(again, SIZE, 2)


TARGETS = {
    "W1": {
        "W1 cold / L", "W1 cold: file blocks decoded / needed", "W1 cold: pixels decoded / needed",
        "first view of a process: s more than the second",
    },
    "W5": {"W5 / W1, seconds per block read"},
    "many": {"10 000 items instead of 24: ms more"},
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("only", always(["W1", "W1,W2,W5,many"], ["W1"]))
def test_the_whole_benchmark(folder: Path, tmp_path: Path, only: str) -> None:
    options = {"folder": folder, "size": SIZE, "dates": DATES, "rounds": 1, "only": only, "json": tmp_path / "json"}
    command = [sys.executable, "-m", "benchmarks.run", "--no-peers", "--limit-here"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    text = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    found = json.loads((tmp_path / "json").read_text())
    targets = {row["what"] for row in found["targets"]}
    assert set().union(*(TARGETS.get(name, ()) for name in only.split(","))) <= targets
    assert all(target in text for target in targets)
    (calls,) = (s["counters"]["calls"] for s in found["samples"] if s["variant"] == "calls")
    times, functions = calls["engine"]
    assert times >= functions > 10 and "engine" in text
    for zoom in found["zooms"]:
        ours, limit = (
            next(s for s in found["samples"] if (s["contestant"], s["variant"], s["zoom"]) == (who, "cold", zoom))
            for who in ("muses", "limit")
        )
        assert ours["counters"]["blocks"] == limit["counters"]["blocks"] > 0


@pytest.mark.thorough
def test_exports_are_measured_beside_reading_their_inputs(tmp_path: Path) -> None:
    options = {"rounds": 1, "size": 512, "dates": 2, "folder": tmp_path / "data", "json": tmp_path / "json"}
    command = [sys.executable, "-m", "benchmarks.medians", "--no-peers"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    text = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    targets = {target["what"]: target for target in json.loads((tmp_path / "json").read_text())}
    assert targets.keys() == {
        "export ÷ reading its inputs", "memory of the export, MB", "memory of a quarter of the tile, MB",
    }  # fmt: skip
    assert all(target in text for target in targets)


@pytest.mark.thorough
def test_places_and_polygons_are_measured_beside_others_with_equal_numbers(tmp_path: Path) -> None:
    """It compares the numbers itself: of rasterio for a place, of exactextract for polygons."""
    options = {"rounds": 1, "polygons": 12, "size": 1024, "dates": 8, "folder": tmp_path, "json": tmp_path / "json"}
    command = [sys.executable, "-m", "benchmarks.places", "--no-peers"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    text = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    targets = {target["what"]: target for target in json.loads((tmp_path / "json").read_text())}
    assert targets.keys() == {
        "series ÷ blocks", "series ÷ pixel beside", "another expression, ms", "first points, s", "clip ÷ over",
        "over ÷ exactextract",
    }  # fmt: skip
    assert all(target in text and min(targets[target]["measured"]) > 0 for target in targets)


def test_the_whole_tile_is_asked_of_the_programs_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(sys, "argv", ["run", "--full", "--no-peers", "--only", "medians,pans"])
    monkeypatch.setattr(subprocess, "run", lambda command, **options: asked.append(command[1:]))
    run.main()
    assert asked == [["-m", "benchmarks.pans"], ["-m", "benchmarks.medians", "--no-peers", "--full"]]


@pytest.mark.thorough
def test_pans_are_measured_and_held(tmp_path: Path) -> None:
    options = {"rounds": 1, "size": 3072, "dates": 2, "folder": tmp_path / "data", "json": tmp_path / "json"}
    command = [sys.executable, "-m", "benchmarks.pans"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    text = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    targets = {target["what"]: target for target in json.loads((tmp_path / "json").read_text())}
    assert {"stale that ended before computing, share", "rest wins of the better of both"} <= targets.keys()
    assert all(target in text for target in targets)
    assert 0 <= targets["stale that ended before computing, share"]["measured"][0] <= 1


@pytest.mark.thorough
@pytest.mark.slow
def test_exports_are_measured_beside_tiles_and_the_library(tmp_path: Path) -> None:
    """It reads the files back itself, and ends where they do not hold what was written."""
    options = {"rounds": 1, "size": 512, "dates": 3, "folder": tmp_path, "json": tmp_path / "json", "tile": 1024}
    command = [sys.executable, "-m", "benchmarks.exports"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    text = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    targets = {target["what"]: target for target in json.loads((tmp_path / "json").read_text())}
    assert {"GIF ÷ (tiles + encoding)", "MP4 ÷ (tiles + encoding)", "to_netcdf ÷ NetCDF", "to_zarr ÷ Zarr"} < set(
        targets
    )
    assert all(target in text and min(targets[target]["measured"]) > 0 for target in targets)


@pytest.mark.thorough
def test_a_class_on_one_map_costs_what_one_participant_costs(folder: Path, tmp_path: Path) -> None:
    options = {"folder": folder, "size": SIZE, "dates": DATES, "people": "1,4", "servers": 2, "json": tmp_path / "json"}
    command = [sys.executable, "-m", "benchmarks.class_load"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    text = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    one, four = json.loads((tmp_path / "json").read_text())
    assert (one["people"], four["people"]) == (1, 4) and one["tiles"] > 0 and four["tiles"] == 4 * one["tiles"]
    computed = [found["evaluated"] + found["elsewhere"] for found in (one, four)]
    assert 0 < computed[1] <= 2 * computed[0] and four["served"] > four["evaluated"], text
    assert not one["silent"] + four["silent"] and "MISSED" not in text, text
    for found in (one, four):
        assert (found["exports"], found["exported"], found["unfinished"]) == (1, 1, []), text
        assert found["export_worst"] >= found["export_median"] > 0
