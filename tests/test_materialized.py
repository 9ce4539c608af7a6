"""Materialized blocks stand for evaluations, with the same values and reports, or they are not used at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

import muses_lab as ml
from muses_lab import cli
from muses_lab.api.chain import Chain
from muses_lab.engine import BlockKey, Engine, Published, Result
from muses_lab.engine import materialized as disk
from muses_lab.errors import AccessDenied, Cancelled, MusesError, NotFound, ReadError
from muses_lab.export import Job
from muses_lab.export import materialized as making
from muses_lab.export.materialized import MANIFEST, kept, remove
from muses_lab.raster.asset import Band
from muses_lab.scenes.scene import Scenes
from tests.helpers.made_scenes import CORNER, Made, chain_of, pixels, window, write_tif
from tests.helpers.waiting import within

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 1100
WHOLE = window(SIZE, SIZE)
BANDS = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    """The materialized blocks of one test are not those of another."""
    yield
    for blocks in kept():
        remove(blocks.node)


@pytest.fixture(scope="module")
def scenes(made_once: Made) -> Scenes:
    rng = np.random.default_rng(7)
    found = []
    for n in range(3):
        assets = {}
        for band in ("B04", "B08"):
            values = rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16)
            values[: 512 * n] = 0
            path = write_tif(made_once.folder / f"{n}-{band}.tif", values, blockxsize=256, blockysize=256)
            assets[band] = made_once.asset(path)
        found.append(made_once.scene(f"scene-{n}", f"2018-06-{10 + n}", assets, grid="MADE-1"))
    return made_once.scenes(BANDS, found)


@pytest.fixture
def median(scenes: Scenes) -> Chain:
    return chain_of(scenes).ndvi().median("t")


def make(chain: Chain, area=None, levels=None) -> Job:
    job = chain.materialize(area, levels, progress=False)
    job.wait(120)
    return job


def fresh() -> Engine:
    return Engine(64 << 20)


def run(engine: Engine, chain: Chain, key: BlockKey) -> Result:
    published: Published = chain.published
    engine.keep(published.hash, published)
    return engine.run(published.hash, key, lambda: False)


def folder(chain: Chain) -> Path:
    return disk.materialized_folder() / chain.published.prepared.output.node.hash


def files(chain: Chain) -> list[Path]:
    return sorted(folder(chain).glob("*.tif"))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


def reads(engine: Engine) -> tuple[int, int]:
    """Blocks of scenes that were decoded, and blocks that were materialized."""
    counters = engine.counters()
    return counters["blocks_decoded"], counters["materialized_blocks"]


# ------------------------------------------------------------------------------------------------ used where present


def test_a_fresh_engine_answers_without_reading_a_scene(median: Chain) -> None:
    computing = fresh()
    expected = pixels(computing, median, WHOLE)
    assert reads(computing)[0] > 0 and reads(computing)[1] == 0
    job = make(median)
    assert job.path == folder(median) and job.done == job.total == 9 + 4 + 1
    engine = fresh()
    found = pixels(engine, median, WHOLE)
    assert reads(engine) == (0, 9) and engine.counters()["evaluations"] == 0
    assert same(found.values, expected.values) and found.report == expected.report
    assert {len(run(engine, median, BlockKey("MADE-1@10", 0, row, 0)).report.used) for row in range(3)} == {1, 2, 3}
    pixels(engine, median, WHOLE)
    assert reads(engine) == (0, 9), "what was read is kept in memory"


def test_every_level_is_the_chain_at_that_level(median: Chain) -> None:
    keys = [BlockKey("MADE-1@10", level, 0, 0) for level in range(3)]
    computing = fresh()
    expected = [run(computing, median, key) for key in keys]
    make(median)
    engine = fresh()
    for key, known in zip(keys, expected, strict=True):
        found = run(engine, median, key)
        assert same(found.values, known.values) and found.report == known.report
    assert reads(engine) == (0, 3)


def test_the_sample_is_not_read_again(sample_catalog: Path) -> None:
    s2 = ml.collection("sentinel-2-l2a", catalog=str(sample_catalog))
    median = s2.mask_clouds().ndvi().median("t")
    box = ml.Window.tile(12, 2064, 1495)
    expected, threshold = pixels(fresh(), median, box), pixels(fresh(), median > 0.5, box)
    assert np.isfinite(expected.values).any()
    make(median)
    engine = fresh()
    found = pixels(engine, median, box)
    assert same(found.values, expected.values) and found.report == expected.report
    assert same(pixels(engine, median > 0.5, box).values, threshold.values)
    assert reads(engine)[0] == 0 and reads(engine)[1] > 0
    clear = s2.mask_clouds().bands("B04", "B08").median("t")
    index = pixels(fresh(), clear.ndvi(), box)
    make(clear, box, levels=range(3))
    assert same(pixels(engine := fresh(), clear.ndvi(), box).values, index.values)
    assert reads(engine)[0] == 0 and reads(engine)[1] > 0


def test_chains_on_top_of_it_read_nothing_either(median: Chain) -> None:
    above = [median > 0.2, median.focal_mean(3), (median * 2 + 1).focal_median(1) > 0]
    expected = [pixels(fresh(), chain, WHOLE) for chain in above]
    make(median)
    for chain, known in zip(above, expected, strict=True):
        engine = fresh()
        found = pixels(engine, chain, WHOLE)
        assert reads(engine) == (0, 9)
        assert same(found.values, known.values) and found.report == known.report


def test_another_thinning_rule_makes_other_blocks(scenes: Scenes, median: Chain) -> None:
    make(median)
    other = chain_of(scenes, thinning=[2, 1]).ndvi().median("t")
    key = BlockKey("MADE-1@10", 2, 0, 0)
    run(engine := fresh(), other, key)
    assert reads(engine)[1] == 0 and engine.counters()["materialized_failures"] == 0
    assert make(other, levels=2).total == 1
    for chain in (other, median):
        run(engine := fresh(), chain, key)
        assert reads(engine) == (0, 1)


def test_threads_that_look_at_once_all_find_it(median: Chain) -> None:
    make(median, levels=0)
    keys = [BlockKey("MADE-1@10", 0, row, col) for row in range(3) for col in range(3)]
    for _ in range(20):
        on_disk, start = fresh().materialized, threading.Barrier(len(keys))

        def look(key: BlockKey, on_disk: disk.MaterializedBlocks = on_disk, start: threading.Barrier = start) -> bool:
            start.wait(10)
            return on_disk.has(folder(median).name, key)

        with ThreadPoolExecutor(len(keys)) as pool:
            assert all(pool.map(look, keys))


def test_it_need_not_be_a_reduction_to_be_used_below_others(scenes: Scenes) -> None:
    index = chain_of(scenes).median("t").ndvi() * 2 + 1
    above = [index > 1.2, index.focal_mean(2), ml.rgb(index, index - 1, index * 2), index - index.focal_median(1)]
    working = fresh()
    expected = [pixels(working, chain, WHOLE) for chain in above]
    make(index)
    for chain, known in zip(above, expected, strict=True):
        engine = fresh()
        found = pixels(engine, chain, WHOLE)
        assert reads(engine) == (0, 9)
        assert same(found.values, known.values) and found.report == known.report
    working.cache.clear()
    assert within(10, lambda: folder(index).name in working.materialized.known())
    before = reads(working)[0]
    assert same(pixels(working, above[0], WHOLE).values, expected[0].values)
    assert reads(working) == (before, 9), "chains that were known before use it too"


def test_a_plan_reads_nothing_where_there_are_blocks(scenes: Scenes) -> None:
    index = chain_of(scenes).median("t").ndvi() * 2 + 1
    series = chain_of(scenes).ndvi()
    above = [index, index > 1.2, index.focal_mean(2), ml.rgb(index, index - 1, index * 2), series]
    corner = window(512, 512)
    before = [(chain.plan(WHOLE), chain.plan(corner)) for chain in above]
    assert all(whole.reads > part.reads > 0 for whole, part in before)
    make(index, corner, levels=[0])
    make(series)
    assert within(10, lambda: all(chain.plan(corner).reads == 0 for chain in (index, series)))
    for chain, (whole, _) in zip(above, before, strict=True):
        if chain is series:
            assert chain.plan(WHOLE).reads == 0
            continue
        now = chain.plan(WHOLE)
        assert now.reads == whole.reads - before[0][1].reads, "all but what the one block is made of"
        assert now.seconds < whole.seconds and now.blocks == whole.blocks
    make(index)
    assert within(10, lambda: all(chain.plan(WHOLE).reads == 0 for chain in above))


def test_other_chains_are_unaffected(scenes: Scenes, median: Chain) -> None:
    others = [chain_of(scenes).ndvi().mean("t"), chain_of(scenes).dates("2018-06-11", None).ndvi().median("t")]
    expected = [pixels(engine := fresh(), chain, WHOLE).values for chain in others]
    decoded = reads(engine)[0]
    make(median)
    for chain, known in zip(others, expected, strict=True):
        engine = fresh()
        assert same(pixels(engine, chain, WHOLE).values, known)
        assert reads(engine)[1] == 0
    assert reads(engine)[0] == decoded


def test_dates_and_bands_are_bands_of_the_files(scenes: Scenes) -> None:
    cube = chain_of(scenes).where(chain_of(scenes).band("B04") > 0.3)
    keys = [BlockKey("MADE-1@10", 0, row, 0) for row in range(2)]
    expected = [run(fresh(), cube, key) for key in keys]
    make(cube, levels=0)
    (path,) = files(cube)
    with rasterio.open(path) as file:
        assert file.descriptions == tuple(f"2018-06-{10 + n}T10:50:00Z {b}" for n in range(3) for b in ("B04", "B08"))
        assert file.crs.to_epsg() == 32631 and np.isnan(file.nodata) and file.dtypes[0] == "float32"
        assert file.transform == window(1, 1).affine and file.block_shapes[0] == (512, 512)
        assert file.tags()["MUSES_CHAIN"] == cube.published.chain_hash
        first = file.read(window=((0, 512), (0, 512)))
    assert same(first, expected[0].values.reshape(6, 512, 512))
    engine = fresh()
    for key, known in zip(keys, expected, strict=True):
        found = run(engine, cube, key)
        assert same(found.values, known.values) and found.report == known.report
    assert reads(engine) == (0, 2)


def test_blocks_in_double_precision_stay_so(made_once: Made) -> None:
    values = np.full((600, 600), 16_777_217, np.int32)  # not a number of float32
    narrow, wide = (
        made_once.asset(write_tif(made_once.folder / f"{name}.tif", values.astype(dtype), corner=corner))
        for name, dtype, corner in (
            ("narrow", np.float32, CORNER),
            ("wide", np.int32, (CORNER[0] + 10240.0, CORNER[1])),
        )
    )
    chain = made_once.chain(
        [Band("v", dtype="int32")],
        [
            made_once.scene("narrow", "2018-06-01", {"v": narrow}, grid="MADE-2"),
            made_once.scene("wide", "2018-06-01", {"v": wide}, grid="MADE-2"),
        ],
    ).max("t")
    keys = [BlockKey("MADE-2@10", 0, 0, col) for col in (0, 2)]
    expected = [run(fresh(), chain, key).values for key in keys]
    assert [v.dtype.name for v in expected] == ["float32", "float64"]
    make(chain)
    engine = fresh()
    assert all(same(run(engine, chain, key).values, known) for key, known in zip(keys, expected, strict=True))
    assert reads(engine) == (0, 2)


def test_a_fitted_threshold_is_kept_with_its_chain(median: Chain) -> None:
    chain = median.otsu(extent=WHOLE, resolution=10)
    expected = chain.compute(WHOLE).values
    make(chain)
    job = chain.materialize(progress=False)
    job.wait(60)
    assert job.total == 0 and files(chain)
    assert same(chain.compute(WHOLE).values, expected)


# --------------------------------------------------------------------------------------------- areas, levels, additions


def test_an_area_chooses_blocks_and_another_adds_to_them(median: Chain) -> None:
    expected = pixels(fresh(), median, WHOLE)
    corner = window(500, 500)
    job = make(median, corner, levels=0)
    assert job.total == 1
    engine = fresh()
    pixels(engine, median, corner)
    assert reads(engine) == (0, 1)
    assert engine.materialized.has(folder(median).name, BlockKey("MADE-1@10", 0, 0, 0))
    assert not engine.materialized.has(folder(median).name, BlockKey("MADE-1@10", 0, 2, 2))
    far = window(50, 50, corner=(CORNER[0] + 10300, CORNER[1] - 10300))
    west, south, east, north = far.extent.to_crs("EPSG:4326").boundingbox.bbox
    outline = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    assert make(median, {"type": "Polygon", "coordinates": [outline]}, levels=[0]).total == 1
    assert make(median, (west, south, east, north), levels=range(1)).total == 0
    assert len(files(median)) == 1, "the file was replaced"
    late = fresh()
    found = pixels(late, median, WHOLE)
    assert reads(late)[1] == 2 and same(found.values, expected.values) and found.report == expected.report
    assert within(10, lambda: engine.materialized.has(folder(median).name, BlockKey("MADE-1@10", 0, 2, 2)))
    before = reads(engine)[1]
    found = run(engine, median, BlockKey("MADE-1@10", 0, 2, 2))
    assert same(found.values[:76, :76], expected.values[1024:, 1024:])
    assert reads(engine)[1] == before + 1, "an engine at work finds what was added"


def test_what_cannot_be_kept_is_said_at_once(median: Chain) -> None:
    with pytest.raises(MusesError, match="no data in this area"):
        median.materialize((10.0, 50.0, 10.1, 50.1))
    with pytest.raises(ValueError, match="is not a level"):
        median.materialize(levels=-1)
    with pytest.raises(ValueError, match="is not an area"):
        median.materialize("Toulouse")
    with pytest.raises(MusesError, match="pin the chain"):
        median.otsu().materialize()
    assert not kept()


# ---------------------------------------------------------------------------------------------- stopped, and gone on


def test_a_stopped_job_goes_on_where_it_ended(median: Chain) -> None:
    job = median.materialize(progress=False)
    job.observe(lambda job: job.cancel() if job.done == 7 else None)
    with pytest.raises(Cancelled):
        job.wait(60)
    assert job.state == "cancelled" and job.done == 7
    node = folder(median).name
    on_disk = fresh().materialized
    assert on_disk.has(node, BlockKey("MADE-1@10", 2, 0, 0)) and on_disk.has(node, BlockKey("MADE-1@10", 1, 1, 1))
    assert not on_disk.has(node, BlockKey("MADE-1@10", 0, 0, 0)), "a level appears when it is complete"
    assert not kept()[0].manifest["complete"]
    again = make(median)
    assert again.total == 14 - 7
    assert kept()[0].manifest["complete"]
    assert not list(folder(median).glob("*.blocks")), "nothing is left of the pieces"
    engine = fresh()
    pixels(engine, median, WHOLE)
    assert reads(engine) == (0, 9)


KILLED = """
import os, signal, sys
from muses_lab.api.chain import Chain
from muses_lab.publish.artefacts import load_published
from muses_lab.store import default_store
published = load_published(sys.argv[1], default_store())
job = Chain(published.root, published.artefacts).materialize(progress=False)
job.observe(lambda job: os.kill(os.getpid(), signal.SIGKILL) if job.done == 7 else None)
job.wait(60)
"""


def test_a_killed_job_leaves_what_it_had_done(median: Chain) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, median.publish()], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (aside,) = folder(median).glob("*.blocks")
    damaged = sorted(aside.glob("*.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    (folder(median) / "left.tif.part").write_bytes(b"x")
    assert make(median).total == 14 - 7 + 1, "a piece that is not whole is made again"
    assert not list(folder(median).glob("*.part")) and not aside.exists()
    engine = fresh()
    pixels(engine, median, WHOLE)
    assert reads(engine) == (0, 9)


def test_a_second_call_computes_nothing(median: Chain) -> None:
    make(median)
    before = {path: path.stat().st_mtime_ns for path in folder(median).glob("*-*")}
    assert make(median).total == 0
    assert {path: path.stat().st_mtime_ns for path in folder(median).glob("*-*")} == before


def test_blocks_with_failed_scenes_are_not_kept(scenes: Scenes, made_once: Made) -> None:
    scene = scenes.scenes[2]  # has no data in the two upper rows of blocks, and is read there all the same
    late = made_once.folder / "late.tif"
    lost = replace(scene.assets["B04"], href="late.tif", size=None)
    broken = replace(scene, assets={**scene.assets, "B04": lost})
    west = replace(scenes.scenes[0], grid="MADE-WEST", assets={
        name: replace(asset, transform=(*asset.transform[:2], CORNER[0] - 20_000, *asset.transform[3:]))
        for name, asset in scenes.scenes[0].assets.items()
    })  # fmt: skip
    chain = chain_of(replace(scenes, scenes=(west, broken))).ndvi().max("t")
    job = make(chain)
    assert set(job.failed) == {"scene-2"} and "not there" in job.failed["scene-2"]
    (blocks,) = kept()
    assert {index.grid for index in blocks.indexes} == {"MADE-WEST@10"}
    assert blocks.manifest["failed"] == job.failed and not blocks.manifest["complete"]
    late.write_bytes((made_once.folder / "2-B04.tif").read_bytes())
    again = make(chain)
    assert again.total == 14 and not again.failed and kept()[0].manifest["complete"]
    engine = fresh()
    pixels(engine, chain, WHOLE)
    assert reads(engine) == (0, 9)


# --------------------------------------------------------------------------------------------------- removed, damaged


def test_what_was_removed_is_computed_again(median: Chain) -> None:
    expected = pixels(fresh(), median, WHOLE)
    make(median)
    engine, other = fresh(), fresh()
    pixels(engine, median, window(500, 500))
    assert other.materialized.has(folder(median).name, BlockKey("MADE-1@10", 0, 0, 0))
    assert remove(folder(median).name[:10]).bytes > 0
    assert not folder(median).exists() and not list(disk.materialized_folder().iterdir())
    for late in (engine, other):  # they still believe that it is there
        found = pixels(late, median, WHOLE)
        assert same(found.values, expected.values) and found.report == expected.report
    assert reads(other)[0] > 0 and reads(other)[1] == 0 and other.counters()["materialized_failures"] == 0
    assert within(10, lambda: not engine.materialized.has(folder(median).name, BlockKey("MADE-1@10", 0, 2, 2)))
    run(engine, median, BlockKey("MADE-1@10", 2, 0, 0))
    assert reads(engine)[0] > 0
    with pytest.raises(NotFound, match="no hash of materialized blocks"):
        remove(folder(median).name)


def damage(path: Path, how: str) -> None:
    body = path.read_bytes()
    if how == "truncated":
        path.write_bytes(body[: len(body) // 2])
    elif how == "gone":
        path.unlink()
    elif how == "another":
        path.write_bytes(os.urandom(len(body)))
    else:
        middle = len(body) // 2
        path.write_bytes(body[: middle - 50_000] + os.urandom(100_000) + body[middle + 50_000 :])


@pytest.mark.parametrize("how", ["truncated", "gone", "another", "garbage"])
def test_a_damaged_file_is_computed_reported_and_repaired(
    median: Chain, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = pixels(fresh(), median, WHOLE)
    make(median)
    (path,) = (path for path in files(median) if "-0-" in path.name)
    damage(path, how)
    engine = fresh()
    with caplog.at_level("WARNING", "muses_lab"):
        found = pixels(engine, median, WHOLE)
    assert same(found.values, expected.values) and found.report == expected.report
    assert reads(engine)[0] > 0 and engine.counters()["materialized_failures"] > 0
    assert path.name in caplog.text
    assert (reads(engine)[1] > 0) == (how == "garbage"), "blocks that are sound are still used"
    job = make(median)
    assert 0 < job.total <= 9 if how == "garbage" else job.total == 9
    engine = fresh()
    assert same(pixels(engine, median, WHOLE).values, expected.values)
    assert reads(engine) == (0, 9)


def test_a_changed_value_does_not_pass(median: Chain) -> None:
    make(median, levels=2)
    (path,) = files(median)
    with rasterio.open(path, "r+") as file:
        values = file.read(1)
        values[100, 100] += 1
        file.write(values, 1)
    index = next(p for p in folder(median).glob("*.json") if p.name != MANIFEST)
    index.write_text(replace(disk.Index.read(index), bytes=path.stat().st_size).to_text())
    engine = fresh()
    run(engine, median, BlockKey("MADE-1@10", 2, 0, 0))
    assert reads(engine)[1] == 0
    assert "does not hold the values" in next(iter(engine.materialized.failures.values()))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"grid": "MADE-1@10"}'])
def test_a_damaged_index_is_as_none(median: Chain, text: str) -> None:
    make(median, levels=2)
    index = next(p for p in folder(median).glob("*.json") if p.name != MANIFEST)
    index.write_text(text)
    engine = fresh()
    run(engine, median, BlockKey("MADE-1@10", 2, 0, 0))
    assert reads(engine)[1] == 0 and reads(engine)[0] > 0
    assert engine.counters()["materialized_failures"] == 1
    assert make(median, levels=2).total == 1


def put_aside(chain: Chain) -> list[Path]:
    return sorted(folder(chain).glob("*.blocks/*.npz"))


def harm(path: Path, how: str) -> None:
    """Damage that leaves a file there, in most cases."""
    if how == "another block":
        with np.load(path) as stored:
            np.savez(path, values=stored["values"] + 1, used=stored["used"])
    elif how == "another shape":
        with np.load(path) as stored:
            np.savez(path, values=stored["values"][:, :100], used=stored["used"])
    elif how == "a bit":
        body = bytearray(path.read_bytes())
        body[len(body) // 2] ^= 1
        path.write_bytes(body)
    elif how == "its directory":
        body = bytearray(path.read_bytes())
        body[-100:] = bytes(100)
        path.write_bytes(body)
    else:
        damage(path, how)


def check_kept(chain: Chain, expected: Result) -> None:
    """All blocks are there, and those of the chain."""
    engine = fresh()
    found = pixels(engine, chain, WHOLE)
    assert same(found.values, expected.values) and found.report == expected.report
    assert reads(engine) == (0, 9) and engine.counters()["materialized_failures"] == 0
    assert kept()[0].manifest["complete"] and not kept()[0].problems and not put_aside(chain)


@pytest.fixture
def when_done(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[Job], object]], None]:
    """Has something happen as soon as a job has so many pieces: a listener may come too late for the first."""

    def happens(number: int, what: Callable[[Job], object]) -> None:
        step = Job.step

        def stepped(job: Job) -> None:
            step(job)
            if job.done == number:
                what(job)

        monkeypatch.setattr(Job, "step", stepped)

    return happens


HARMS = ["a bit", "truncated", "gone", "another", "another block", "another shape", "its directory"]


@pytest.mark.parametrize("how", HARMS)
def test_a_block_put_aside_that_is_damaged_is_computed_again(median: Chain, how: str, when_done) -> None:
    expected = pixels(fresh(), median, WHOLE)
    when_done(5 + 3, lambda job: harm(put_aside(median)[0], how))  # levels 2 and 1 are done
    job = median.materialize(progress=False)
    job.wait(60)
    assert (job.state, job.done, job.total) == ("done", 14 + 1, 14 + 1)
    check_kept(median, expected)


@pytest.mark.parametrize("how", HARMS[:4] + ["its directory"])
def test_a_block_put_aside_that_is_damaged_in_between_is_computed_again(median: Chain, how: str, when_done) -> None:
    expected = pixels(fresh(), median, WHOLE)
    left = [1]  # it happens once
    when_done(5 + 3, lambda job: left and left.pop() and job.cancel())
    job = median.materialize(progress=False)
    with pytest.raises(Cancelled):
        job.wait(60)
    harm(put_aside(median)[0], how)
    (put_aside(median)[0].parent / "what.npz").write_bytes(b"PK")
    assert make(median).total == 14 - 8 + 1
    check_kept(median, expected)


@pytest.mark.parametrize("how", ["garbage", "truncated", "another", "gone"])
def test_a_file_that_is_damaged_while_it_is_added_to_is_made_anew(median: Chain, how: str, when_done) -> None:
    expected = pixels(fresh(), median, WHOLE)
    make(median, window(600, 1100), levels=0)
    when_done(1, lambda job: damage(files(median)[0], how))
    job = median.materialize(levels=0, progress=False)
    job.wait(60)
    assert job.state == "done" and 3 < job.total <= 3 + 6
    check_kept(median, expected)


@pytest.mark.parametrize("how", ["garbage", "truncated", "another"])
def test_a_new_file_is_compared_with_what_was_computed(median: Chain, how: str, monkeypatch) -> None:
    expected = pixels(fresh(), median, WHOLE)
    real, left = making.to_disk, [1]

    def written(path: Path) -> None:
        real(path)
        if "-0-" in path.name and left and left.pop():
            damage(path, how)

    monkeypatch.setattr(making, "to_disk", written)
    job = make(median)
    assert 14 < job.total <= 14 + 9 and job.done == job.total
    check_kept(median, expected)


def test_a_disk_that_never_gives_back_what_was_written_makes_the_job_fail(median: Chain, monkeypatch) -> None:
    expected = pixels(fresh(), median, WHOLE)
    monkeypatch.setattr(making, "to_disk", lambda path: damage(path, "garbage") if "-0-" in path.name else None)
    job = median.materialize(progress=False)
    with pytest.raises(MusesError, match=r"MADE-1@10.*as they were computed, 3 times. Check the disk"):
        job.wait(60)
    assert job.state == "failed" and not kept()[0].manifest["complete"] and not kept()[0].problems
    engine = fresh()
    assert same(pixels(engine, median, WHOLE).values, expected.values)
    assert reads(engine)[1] == 0 and reads(engine)[0] > 0 and engine.counters()["materialized_failures"] == 0
    monkeypatch.undo()
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    make(median)
    check_kept(median, expected)


def test_no_bit_of_an_index_changes_unnoticed(median: Chain, tmp_path: Path) -> None:
    make(median, levels=1)
    (path,) = (p for p in folder(median).glob("*.json") if p.name != MANIFEST)
    body, other = path.read_bytes(), tmp_path / path.name
    assert disk.Index.read(path).blocks
    for at in range(len(body)):
        for bit in (1, 32):
            other.write_bytes(body[:at] + bytes([body[at] ^ bit]) + body[at + 1 :])
            with pytest.raises(ReadError, match=r"index .* cannot be read"):
                disk.Index.read(other)
        other.write_bytes(body[:at])
        with pytest.raises(ReadError, match=r"index .* cannot be read"):
            disk.Index.read(other)


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "7", '{"chain": "x"}'])
def test_a_damaged_manifest_or_index_is_listed_as_such(median: Chain, text: str) -> None:
    make(median, levels=2)
    (folder(median) / MANIFEST).write_text(text)
    code, listed = command("list")
    assert code == 0 and "its manifest cannot be read" in listed and "damaged" not in listed
    (index,) = (p for p in folder(median).glob("*.json") if p.name != MANIFEST)
    index.write_text(text)
    code, listed = command("list")
    assert code == 0 and "damaged, computed instead" in listed and index.name in listed
    assert make(median, levels=2).total == 1 and not kept()[0].problems and kept()[0].manifest["complete"]


# ------------------------------------------------------------------------------------------------------ whose they are


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="modes are those of POSIX")
def test_nobody_else_reads_or_writes_them(median: Chain) -> None:
    make(median, levels=2)
    root = disk.materialized_folder()
    for path in (root, folder(median)):
        assert path.stat().st_mode & 0o777 == 0o700
    root.chmod(0o777)
    try:
        engine = fresh()
        run(engine, median, BlockKey("MADE-1@10", 2, 0, 0))
        assert reads(engine)[1] == 0 and "0700" in next(iter(engine.materialized.failures.values()))
        with pytest.raises(AccessDenied, match="0700"):
            median.materialize(progress=False)
    finally:
        root.chmod(0o700)


def test_a_look_up_of_what_is_not_there_asks_the_disk_for_nothing(median: Chain, monkeypatch) -> None:
    make(median, levels=2)
    on_disk = fresh().materialized
    key = BlockKey("MADE-1@10", 0, 0, 0)
    assert not on_disk.has("f" * 64, key) and not on_disk.has(folder(median).name, key)

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the disk was asked")

    node = folder(median).name
    with monkeypatch.context() as patch:
        for name in ("stat", "exists", "open", "read_bytes", "iterdir"):
            patch.setattr(Path, name, asked)
        patch.setattr(os, "listdir", asked)
        assert not any(on_disk.has(unknown, key) for unknown in ("f" * 64, node) for _ in range(100))


# ------------------------------------------------------------------------------------------------------ the command


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["materialized", *arguments])
    return done.exit_code, done.output


def test_the_command_lists_and_removes(median: Chain) -> None:
    assert command("list") == (0, "no blocks are kept; chain.materialize() makes them\n")
    make(median)
    code, text = command("list")
    node, chain_hash = folder(median).name, median.published.chain_hash
    assert code == 0 and text.startswith(node[:12]) and chain_hash[:12] in text and "MB" in text
    assert "MADE-1@10: 14 blocks, levels 0, 1, 2" in text and "unfinished" not in text
    files(median)[0].write_bytes(b"II*")
    assert "damaged, computed instead" in command("list")[1]
    code, text = command("remove", "0123456789")
    assert code == 1 and "no hash of materialized blocks" in text
    code, text = command("remove", chain_hash[:12])
    assert code == 0 and node[:12] in text and not kept()


def test_blocks_in_the_making_are_not_removed(median: Chain) -> None:
    answers: list[str] = []

    def listen(job: Job) -> None:
        if job.done == 2 and not answers:
            answers.append(command("remove", folder(median).name)[1])

    job = median.materialize(progress=False)
    job.observe(listen)
    job.wait(60)
    assert "are being made" in answers[0] and kept()
