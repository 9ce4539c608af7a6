"""One chain over many areas, tiles and dates: a ledger, each output an export, one that fails stops no other."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from typer.testing import CliRunner

import muses_lab as ml
from muses_lab.api import production
from muses_lab.api.chain import Chain
from muses_lab.api.dated import of_dates
from muses_lab.api.ledger import NAME
from muses_lab.cli import app
from muses_lab.errors import ArgumentError, ComputeError, MusesError
from muses_lab.raster.asset import Band
from tests.helpers.made_scenes import CORNER, UTM31, Made, three, window

pytestmark = pytest.mark.usefixtures("in_threads")

NAMES = ['it\'s a "park"', "../../etc/passwd", "a" * 300, "ünï cödé", "far away"]


@pytest.fixture(scope="module")
def chain(made_once: Made) -> Chain:
    _, scenes = three(made_once, sizes=True)
    return made_once.chain([Band("B", nodata=0.0)], scenes.scenes).band("B").median("t")


@pytest.fixture(scope="module")
def areas() -> geopandas.GeoDataFrame:
    west, north = CORNER
    boxes = [shapely.box(west + x, north - 900, west + x + 600, north - 300) for x in (0, 500, 1000, 1500, 90_000)]
    return geopandas.GeoDataFrame({"name": NAMES}, geometry=boxes, crs=UTM31)


def produce(chain: Chain, folder: Path, areas: Any = None, **options: Any) -> production.Production:
    return ml.produce(chain, folder, areas, name=None if areas is None else "name", progress=False, **options)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def test_each_area_is_an_export_and_one_without_scenes_is_left_out(chain, areas, tmp_path: Path) -> None:
    made = produce(chain, tmp_path / "out", areas)
    assert [one.state for one in made.outputs] == ["done"] * 4 + ["left out"]
    assert "no scene" in made.left_out[0].why.lower() and made.failed == ()
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == sorted([*(one.file for one in made.done), NAME]), "and nothing else, here or elsewhere"
    assert [p.name for p in tmp_path.iterdir()] == ["out"] and all(len(name) <= 110 for name in files)
    first = made.done[0]
    box = window(60, 60, corner=(CORNER[0], CORNER[1] - 300))
    assert ml.history(tmp_path / "out" / first.file).window == box
    assert np.array_equal(read(tmp_path / "out" / first.file)[0], chain.compute(box).values, equal_nan=True)
    assert ml.remake(tmp_path / "out" / first.file, progress=False)
    table = made.table()
    assert list(table.area) == NAMES and "4 done, 1 left out" in str(made) and "<table" in made._repr_html_()


def test_what_is_done_is_not_done_again_and_what_is_gone_is(chain, areas, tmp_path: Path) -> None:
    first = produce(chain, tmp_path, areas)
    times = {one.file: (tmp_path / one.file).stat().st_mtime_ns for one in first.done}
    body = (tmp_path / first.done[1].file).read_bytes()
    (tmp_path / first.done[1].file).unlink()
    again = produce(chain, tmp_path, areas)
    assert [one.state for one in again.outputs] == [one.state for one in first.outputs]
    assert (tmp_path / first.done[1].file).read_bytes() == body
    kept = [one.file for one in first.done if one is not first.done[1]]
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == {name: times[name] for name in kept}


def test_another_production_is_refused_in_its_folder(chain, areas, tmp_path: Path) -> None:
    produce(chain, tmp_path, areas)
    with pytest.raises(MusesError, match="another production .*another chain"):
        produce(chain + 1, tmp_path, areas)
    with pytest.raises(MusesError, match="another areas"):
        produce(chain, tmp_path, areas[:2])


def test_one_that_fails_stops_no_other_and_is_tried_so_often(
    chain, areas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = production._Work._export, []

    def export(self: Any, output: Any) -> Any:
        calls.append(output.number)
        if output.number == 1:
            raise ComputeError("the worker is gone")
        if output.number == 2 and calls.count(2) == 1:
            raise OSError(28, "No space left on device")
        if output.number == 3:
            raise ArgumentError("that never goes well")
        return real(self, output)

    with monkeypatch.context() as patch:
        patch.setattr(production._Work, "_export", export)
        made = produce(chain, tmp_path, areas, tries=3)
    assert [one.state for one in made.outputs] == ["done", "failed", "done", "failed", "left out"]
    assert [one.tries for one in made.outputs[:4]] == [1, 3, 2, 1]
    assert [one.why for one in made.failed] == ["the worker is gone", "that never goes well"]
    assert not list(tmp_path.glob(f"{made.failed[0].file}*"))
    assert {one.state for one in produce(chain, tmp_path, areas).outputs[:4]} == {"done"}, "tried again the next time"


def test_another_outline_reference_system_or_style_is_another_production(chain, areas, tmp_path: Path) -> None:
    west, north = CORNER
    squares = {"tiles": 1000, "crs": UTM31, "resolution": 10}
    both = areas[:2].reset_index(drop=True)
    other = both.copy()
    other.loc[1, "geometry"] = shapely.box(west + 500, north - 900, west + 1000, north - 300)
    produce(chain, tmp_path / "squares", both, **squares)
    with pytest.raises(MusesError, match="another production .another areas."):
        produce(chain, tmp_path / "squares", other, **squares)
    long = dict.fromkeys(range(30), "x")
    styles = [chain.style(classes={**{k: (f"class {k}", "#00ff00") for k in long}, 30: ("last", colour)}).look
              for colour in ("#ff0000", "#0000ff")]  # fmt: skip
    produce(chain, tmp_path / "styled", both, style=styles[0])
    again = produce(chain, tmp_path / "styled", both, style=styles[0])
    assert [one.state for one in again.outputs] == ["done", "done"]
    with pytest.raises(MusesError, match="another production .another options."):
        produce(chain, tmp_path / "styled", both, style=styles[1])


def test_odd_areas_are_noted_and_the_others_are_made(
    chain, areas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = areas[:4].to_crs(4326)
    odd = geopandas.GeoDataFrame({"name": ["nowhere"]}, geometry=[shapely.box(95, 0, 95.01, 0.01)], crs=4326)
    some = pd.concat([odd, there], ignore_index=True)
    some.loc[1, "name"] = "漢" * 120
    real = production._Work._export

    def export(self: Any, output: Any) -> Any:
        if output.number == 3:
            raise KeyError("nobody foresaw it")
        return real(self, output)

    monkeypatch.setattr(production._Work, "_export", export)
    made = produce(chain, tmp_path / "areas", some)
    assert [one.state for one in made.outputs] == ["failed", "done", "done", "failed", "done"]
    assert "has no place in EPSG:32631" in made.outputs[0].why and "KeyError" in made.outputs[3].why
    assert made.outputs[1].file == f"{'漢' * 33}.tif" and (tmp_path / "areas" / made.outputs[1].file).exists()
    squares = produce(chain, tmp_path / "squares", some[:2], tiles=1000, crs=UTM31, resolution=10)
    assert "has no place in EPSG:32631" in squares.outputs[0].why and squares.outputs[0].state == "failed"
    assert {one.state for one in squares.outputs[1:3]} == {"done"}
    with pytest.raises(MusesError, match="has no place"):
        produce(chain, tmp_path / "none", odd)
    assert not (tmp_path / "none").exists()


def test_dates_are_files_of_their_own(s2: ml.Collection, tmp_path: Path) -> None:
    chain = s2.mask_clouds().ndvi().median("t")
    days = sorted({str(time)[:10] for time in s2.published.prepared.output.times})
    place = {"type": "Polygon", "coordinates": [[[1.40, 43.58], [1.41, 43.58], [1.41, 43.59], [1.40, 43.58]]]}
    periods = [days[0], (days[1], days[3]), "1999"]
    made = ml.produce(chain, tmp_path, place, dates=periods, resolution=20, crs=UTM31, progress=False)
    assert [one.state for one in made.outputs] == ["done", "done", "left out"]
    assert made.outputs[1].dates == f"{days[1]} to {days[3]}"
    assert set(ml.history(tmp_path / made.outputs[0].file).chain.published.prepared.output.times) == set()
    alone = of_dates(chain, days[0])
    box = ml.history(tmp_path / made.outputs[0].file).window
    expected = alone.mask_polygon(place).compute(box).values
    assert np.array_equal(read(tmp_path / made.outputs[0].file)[0], expected, equal_nan=True)
    assert np.isnan(expected).any() and np.isfinite(expected).any(), "what is outside is missing"


def test_tiles_fit_together(chain, areas, tmp_path: Path) -> None:
    made = produce(chain, tmp_path / "squares", tiles=1000, crs=UTM31, resolution=10)
    whole = window(300, 300)
    assert {one.state for one in made.outputs} <= {"done", "left out"} and len(made.done) >= 9
    expected, seen = chain.compute(whole).values, np.full(whole.shape, np.nan, np.float32)
    for one in made.done:
        with rasterio.open(tmp_path / "squares" / one.file) as file:
            row = round((CORNER[1] - file.transform.f) / 10)
            col = round((file.transform.c - CORNER[0]) / 10)
            values = file.read(1)
        for r in range(max(0, row), min(300, row + 100)):
            left, right = max(0, col), min(300, col + 100)
            seen[r, left:right] = values[r - row, left - col : right - col]
    assert np.array_equal(seen, expected, equal_nan=True)
    native = produce(chain, tmp_path / "native", tiles="native")
    assert len(native.done) == 1 and np.array_equal(read(tmp_path / "native" / native.done[0].file)[0], expected)


KILLED = """
import json, os, signal, sys
import muses_lab as ml
from muses_lab.api import production
real, count = production._Work.make, iter(range(100))
def make(self, output):
    if next(count) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, output)
production._Work.make = make
chain = ml.Chain.from_json(open(sys.argv[1]).read())
ml.produce(chain, sys.argv[2], sys.argv[3], name="name", progress=False, at_once=1)
"""


@pytest.mark.slow
def test_a_killed_production_goes_on_to_the_same_bytes(chain, areas, tmp_path: Path) -> None:
    (tmp_path / "chain.json").write_text(json.dumps(chain.to_json(artefacts=True)))
    areas.to_file(tmp_path / "areas.gpkg")
    command = [sys.executable, "-c", KILLED, *(str(tmp_path / n) for n in ("chain.json", "out", "areas.gpkg"))]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MUSES_COMPUTE": "threads"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    with sqlite3.connect(tmp_path / "out" / NAME) as ledger:
        states = [state for (state,) in ledger.execute("SELECT state FROM output ORDER BY number")]
    assert states == ["done", "done", "waiting", "waiting", "waiting"]
    run = CliRunner()
    places = [str(tmp_path / name) for name in ("chain.json", "out", "areas.gpkg")]
    arguments = ["produce", *places[:2], "--areas", places[2]]
    on = run.invoke(app, [*arguments, "--name", "name"])
    assert on.exit_code == 0 and "4 done, 1 left out" in on.output, on.output
    other = produce(chain, tmp_path / "other", tmp_path / "areas.gpkg")
    for one in other.done:
        assert ml.history(tmp_path / "out" / one.file).texts == ml.history(tmp_path / "other" / one.file).texts
        assert (tmp_path / "out" / one.file).read_bytes() == (tmp_path / "other" / one.file).read_bytes()


def test_two_processes_do_not_work_on_one_folder(chain, areas, tmp_path: Path) -> None:
    from muses_lab.api.ledger import Ledger

    tmp_path.mkdir(exist_ok=True)
    with Ledger(tmp_path).alone(), pytest.raises(MusesError, match="another process is at work"):
        produce(chain, tmp_path, areas)
    (tmp_path / NAME).write_bytes(b"no database" * 100)
    with pytest.raises(MusesError, match="the ledger .* cannot be used"):
        produce(chain, tmp_path, areas)


# ------------------------------------------------------------------------------------- the command


def test_the_command_exports(chain: Chain, tmp_path: Path) -> None:
    run = CliRunner()
    (tmp_path / "chain.json").write_text(json.dumps(chain.to_json(artefacts=True)))
    style = tmp_path / "style.json"
    style.write_text(json.dumps(chain.style("magma", vmax=9000).look.to_json()))
    source = str(tmp_path / "chain.json")
    told = run.invoke(app, ["export", source, str(tmp_path / "a.tif"), "--estimate"])
    assert told.exit_code == 0 and "3 scenes" in told.output and "GeoTIFF of about" in told.output
    assert not (tmp_path / "a.tif").exists()
    west, north = CORNER
    place = ["--bounds", str(west), str(north - 400), str(west + 500), str(north), "--bounds-crs", UTM31]
    out = tmp_path / 'it\'s a "name".tif'
    done = run.invoke(app, ["export", source, str(out), *place, "--title", "T", "--style", str(style)])
    assert done.exit_code == 0 and done.output.strip() == f"{out} is written", done.output
    assert ml.history(out).window == window(40, 50) and out.with_suffix(".qml").exists()
    there = run.invoke(app, ["export", source, str(out), *place])
    assert there.exit_code == 1 and "is there already" in there.output
    far = run.invoke(app, ["export", source, str(tmp_path / "b.tif"), "--bounds", "20", "40", "20.1", "40.1",
                           "--crs", UTM31, "--resolution", "10"])  # fmt: skip
    assert far.exit_code == 1 and "Error: " in far.output and not (tmp_path / "b.tif").exists()
    none = run.invoke(app, ["export", str(tmp_path / "none.json"), str(out)])
    assert none.exit_code == 1 and "none.json" in none.output
    long = run.invoke(app, ["export", source, str(tmp_path / f"{'a' * 300}.tif"), *place])
    assert long.exit_code == 1 and "it may have 255" in long.output


@pytest.mark.parametrize(("limit", "why"), [("1e-9", "more than the 0 s that are allowed"), (None, r"need 40\.3 GB")])
def test_a_request_that_is_far_too_large_is_refused_at_once(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, why: str
) -> None:
    """100 000 × 100 000 pixels: beyond the quota, or beyond the disk."""
    if limit:
        monkeypatch.setenv("MUSES_EXPORT_SECONDS", limit)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, limits[1]))
    try:
        job = chain.export(tmp_path / "a.tif", window(100_000, 100_000, pixel=0.02), progress=False)
        with pytest.raises((MusesError, OSError), match=why):
            job.wait(120)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (job.state, job.done) == ("failed", 0) and not list(tmp_path.iterdir())
