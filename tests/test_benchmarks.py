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

from benchmarks import contestants, data
from benchmarks.needs import _places, needs
from benchmarks.peers.contestant import View
from benchmarks.protocol import look, read_items
from benchmarks.remote import serving

pytestmark = pytest.mark.slow  # they share a program that starts and compiles

SIZE, DATES = 512, 3
REPOSITORY = Path(__file__).resolve().parent.parent
W1 = {"workload": "W1", "zoom": 14, "classes": [4, 5, 6]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.prepare(tmp_path_factory.mktemp("benchmarks"), SIZE, DATES, ["two-zones", "many"])


@pytest.fixture(scope="module")
def muses(folder: Path) -> Iterator[contestants.Program]:
    program = contestants.muses()
    program.ask(do="open", data=str(folder))
    yield program
    program.end()


def _ndvi(view: View, folder: Path, item: dict[str, Any], classes: list[int] | None) -> np.ndarray:
    """NDVI of the native pixels under those of the view; NaN where they are not of the classes, or not there."""
    bands: dict[str, np.ndarray] = {}
    for name in ("B04", "B08", "SCL"):
        asset = item["assets"][name]
        x, y, _ = _places(view.bounds, asset["proj:code"])
        with rasterio.open(folder / asset["href"]) as file:
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
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="All-NaN"):
        return np.nanmedian([_ndvi(view, folder, item, classes) for item in read_items(folder)], axis=0)


def _agrees(answer: dict[str, Any] | None, values: np.ndarray) -> None:
    assert answer is not None
    assert answer["mean"] == pytest.approx(np.nanmean(values), abs=1e-4)
    assert answer["valid"] == pytest.approx(np.isfinite(values).mean(), abs=1e-4)


def test_views_are_what_numpy_computes_and_read_what_the_limit_reads(folder: Path, muses: contestants.Program) -> None:
    items = read_items(folder)
    view = look(W1, items)
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


@pytest.mark.parametrize("workload", ["W3", "W4", "W6", "W7"])
def test_every_workload_runs(muses: contestants.Program, workload: str) -> None:
    for threshold in (None, 0.05):
        answer = muses.view(**{**W1, "workload": workload, "threshold": threshold})
        assert answer and 0 < answer["valid"] <= 1 and answer["mean"] > 0


def test_other_data_sets_and_a_late_server(folder: Path, tmp_path: Path) -> None:
    with serving(folder, delay=0.001) as server:
        program = contestants.muses(MUSES_ALLOWED_HOSTS="127.0.0.1")
        try:
            program.ask(do="open", data=str(server.items(folder, tmp_path / "remote")))
            remote = program.cold(**W1)
            assert server.requests > 0
            program.ask(do="open", data=str(folder / "two-zones"))
            both = program.cold(**{**W1, "workload": "W5", "zoom": 13})
            program.ask(do="open", data=str(folder / "many"))
            many = program.cold(**W1, at="MGRS-31TCJ")
        finally:
            program.end()
    view = look(W1, read_items(folder))
    _agrees(remote, _median(view, folder, [4, 5, 6]))
    _agrees(many, _median(view, folder, [4, 5, 6]))
    assert both and both["counters"]["blocks"] == 2 * 3 * DATES
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
    with pytest.raises(SystemExit, match="name another --data"):
        data.prepare(again, SIZE, 2)


def test_the_whole_benchmark(folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.run",
        "--data",
        str(folder),
        "--size",
        str(SIZE),
        "--dates",
        str(DATES),
    ]
    command += [
        "--rounds",
        "1",
        "--only",
        "W1,W2,W5,many",
        "--no-peers",
        "--limit-here",
        "--json",
        str(tmp_path / "json"),
    ]
    text = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    found = json.loads((tmp_path / "json").read_text())
    targets = {row["what"] for row in found["targets"]}
    assert {"W1 cold / L", "W5 / W1, seconds per block read", "10 000 items instead of 24: ms more"} <= targets
    assert all(target in text for target in targets)
    for zoom in found["zooms"]:
        ours, limit = (
            next(s for s in found["samples"] if (s["contestant"], s["variant"], s["zoom"]) == (who, "cold", zoom))
            for who in ("muses", "limit")
        )
        assert ours["counters"]["blocks"] == limit["counters"]["blocks"] > 0
