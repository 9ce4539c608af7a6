"""The memory budget of a worker: strips give the same values, estimates hold, tasks wait and never for ever."""

from __future__ import annotations

import datetime as dt
import mmap
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.engine import BlockKey, Engine, execute
from muses_lab.engine.stages import Piece, stage
from muses_lab.engine.strips import strips, task_bytes
from muses_lab.errors import Cancelled, TooLarge
from muses_lab.raster.asset import Band
from muses_lab.raster.grid import block_rect
from muses_lab.resources.cache import Cache
from muses_lab.resources.memory import Memory
from muses_lab.scenes.scene import Scene, Scenes
from tests.helpers.examples import always
from tests.helpers.made_scenes import Made, chain_of, never, pixels, window, write_tif
from tests.helpers.range_server import serving
from tests.helpers.waiting import within

SIZE = 700
DATES = 8
BANDS = [
    Band("B04", "red", nodata=0.0, scale=1e-4, offset=-0.1),
    Band("B08", "nir", nodata=0.0, scale=1e-4),
    Band("SCL", None, resolution=20, dtype="uint8", nodata=0.0, categorical=True),
    Band("H", None, dtype="int32", nodata=-1.0, scale=1e-3),
]
FIRST = BlockKey("MADE-1@10", 0, 0, 0)


@pytest.fixture(scope="module")
def scenes(made_once: Made) -> Scenes:
    """Dates with gaps; on some there is nothing in the first rows; two scenes of one overpass."""
    rng = np.random.default_rng(11)
    found = []
    for n in range(DATES):
        images = {
            "B04": rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16),
            "B08": rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16),
            "SCL": np.kron(rng.choice([3, 4, 5, 8, 9], (35, 35)), np.ones((10, 10))).astype(np.uint8),
            "H": rng.integers(-1, 10**7, (SIZE, SIZE), dtype=np.int32),
        }
        if n in (3, 4):
            for image in images.values():
                image[: image.shape[0] * n // 5] = -1 if image.dtype == np.int32 else 0
        if n == 6:
            images["SCL"][:200] = 9  # nothing but cloud in the north
        assets = {}
        for band, image in images.items():
            path = made_once.folder / f"{n}-{band}.tif"
            assets[band] = made_once.asset(write_tif(path, image, 20.0 if band == "SCL" else 10.0))
        day = 10 + min(n, 6)  # the last two are of one day
        found.append(made_once.scene(f"s{n}", f"2018-06-{day}T10:5{n % 10}:00Z", assets, grid="MADE-1"))
    return made_once.scenes(BANDS, found)


def clear(scenes: Scenes) -> Chain:
    s2 = chain_of(scenes)
    return s2.bands("B04", "B08").mask(~s2.band("SCL").isin([4, 5]))


CHAINS: dict[str, Callable[[Scenes], Chain]] = {
    "a median of an index": lambda s: clear(s).ndvi().median("t"),
    "quantiles": lambda s: ml.rgb(*(clear(s).ndvi().quantile(q) for q in (0.1, 0.5, 0.9))),
    "all bands": lambda s: clear(s).std("t"),
    "a count of all dates": lambda s: clear(s).count("t"),
    "dates": lambda s: clear(s).ndvi(),
    "double precision": lambda s: chain_of(s).band("H").max("t"),
    "double precision with dates": lambda s: chain_of(s).bands("H"),
    "a halo in every date": lambda s: clear(s).ndvi().focal_mean(7).median("t"),
    "halo upon halo": lambda s: clear(s).ndvi().focal_mean(2).closing(3).max("t").focal_mean(9),
    "a large kernel": lambda s: chain_of(s).band("B04").max("t").apply_kernel(np.arange(1, 2602).reshape(51, 51)),
    "a large median of every date": lambda s: chain_of(s).band("B04").focal_median(30).max("t"),
    "an anomaly": lambda s: (clear(s).ndvi() - clear(s).ndvi().median("t")).max("t"),
    "a long expression": lambda s: ((clear(s).band("B08") * 2 - clear(s).band("B04")).sqrt() > 0.5).max("t"),
    "days": lambda s: clear(s).ndvi().by_period("day", "median"),
    "the highest of days": lambda s: clear(s).ndvi().by_intervals(["2018-06-10", "2018-06"], "count").max("t"),
    "differences of dates": lambda s: clear(s).ndvi() - clear(s).ndvi().shift(),
    "another lattice": lambda s: clear(s).ndvi().on_grid(4326, 1e-4).median("t"),
    "a finer resolution": lambda s: clear(s).ndvi().at_resolution(10).focal_mean(2).median("t"),
    "a coarser resolution": lambda s: clear(s).at_resolution(40).mean("t").ndvi(),
}


@contextmanager
def one_way(programs: bool) -> Iterator[None]:
    """With programs over stored values, or operator by operator."""
    with pytest.MonkeyPatch.context() as patch:
        if not programs:
            from muses_lab.engine import strips

            for module in (execute, strips):
                patch.setattr(module, "code_of", lambda prepared, step: None)
        yield


def thin(piece: int) -> Engine:
    """An engine whose evaluations may work with so many bytes at a time."""
    engine = Engine(256 << 20)
    engine.memory.piece = piece
    return engine


# --------------------------------------------------------------------------------------------------------- strips


ONE_BY_ONE = (
    "a median of an index", "double precision with dates", "a halo in every date", "an anomaly", "days",
    "the highest of days", "differences of dates",
    "another lattice", "a coarser resolution",
)  # fmt: skip
"""Chains of which operator by operator each kind is there; the others in a thorough run."""
BOTH_WAYS = always(
    [(name, programs) for name in CHAINS for programs in (True, False)],
    [(name, True) for name in CHAINS if name != "a large median of every date"] + [(n, False) for n in ONE_BY_ONE],
)


@pytest.mark.parametrize(("name", "programs"), BOTH_WAYS)
def test_strips_change_no_value(scenes: Scenes, name: str, programs: bool) -> None:
    chain = CHAINS[name](scenes)
    pixel = 1e-4 if "lattice" in name else 40.0 if "finer" in name else 10.0
    step = chain.published.prepared.output
    (grid,) = step.grids.values()
    with one_way(programs):
        whole, cut, holding = Engine(256 << 20), thin(1 << 20), thin(3 << 20)
        if "lattice" in name:
            keys = [BlockKey(grid.id, 0, row, col) for row, col in list(grid.rect(0).blocks())[:1]]
        else:
            level = int(np.log2(pixel / 10))
            keys = [BlockKey(grid.id, level, 0, 0)]
        for key in keys:
            expected = run(whole, chain, key)
            assert np.isfinite(expected.values).any()
            for engine in (cut, holding):
                found = run(engine, chain, key)
                assert found.values.dtype == expected.values.dtype
                np.testing.assert_array_equal(found.values, expected.values)
                assert found.report == expected.report


def run(engine: Engine, chain: Chain, key: BlockKey, cancelled: Callable[[], bool] = never):
    published = chain.published
    engine.keep(published.hash, published)
    return engine.run(published.hash, key, cancelled)


def cuts(chain: Chain, piece: int) -> int:
    prepared = chain.published.prepared
    (grid,) = prepared.output.grids.values()
    return len(strips(prepared, stage(prepared, prepared.output, grid, 0, block_rect(0, 0)), piece).rects)


def test_what_needs_more_is_cut_more_often(scenes: Scenes) -> None:
    for chain in (clear(scenes).ndvi().median("t"), clear(scenes).ndvi().focal_mean(3).median("t")):
        numbers = [cuts(chain, piece) for piece in (1 << 30, 16 << 20, 2 << 20, 1)]
        assert numbers == sorted(numbers) and numbers[0] == 1 and numbers[-1] == 32
    assert cuts(clear(scenes).ndvi().median("t"), 24 << 20) == 1
    assert cuts(clear(scenes).ndvi().focal_mean(3).median("t"), 24 << 20) > 1


def test_other_reducers_of_the_same_values_come_with_strips(scenes: Scenes) -> None:
    engine = thin(1 << 20)
    chain = CHAINS["quantiles"](scenes)
    run(engine, chain, FIRST)
    assert engine.counters()["evaluations"] == 2, "the image, and one of the three quantiles"


def test_a_scene_that_fails_in_one_strip_is_left_out_of_all(scenes: Scenes, made_once: Made) -> None:
    import rasterio

    broken = []
    for scene in scenes.scenes:
        assets = dict(scene.assets)
        if scene.id == "s5":
            source = made_once.folder / assets["B08"].href
            path = made_once.folder / "broken.tif"
            path.write_bytes(source.read_bytes())
            with rasterio.open(path) as file:
                offset = int(file.tags(ns="TIFF", bidx=1).get("BLOCK_OFFSET_0_3") or _offset(file, 3))
            with path.open("r+b") as file:
                file.seek(offset)
                file.write(b"\xff" * 64)
            assets["B08"] = made_once.asset(path)
        broken.append(made_once.scene(scene.id, scene.datetime, assets, grid="MADE-1"))
    chain = clear(made_once.scenes(BANDS, broken)).ndvi().median("t")
    expected, found = (run(engine, chain, FIRST) for engine in (Engine(256 << 20), thin(1 << 20)))
    assert set(found.report.failed) == set(expected.report.failed) == {"s5"}
    np.testing.assert_array_equal(found.values, expected.values)


def _offset(file, row: int) -> int:
    return int(file.get_tag_item(f"BLOCK_OFFSET_0_{row}", "TIFF", bidx=1))


# ------------------------------------------------------------------------------------------------------ estimates


ESTIMATED = (
    "a median of an index", "all bands", "double precision with dates", "halo upon halo", "a large kernel",
    "an anomaly", "a long expression", "the highest of days",
)  # fmt: skip


@pytest.mark.parametrize("name", always([n for n in CHAINS if "lattice" not in n and "resol" not in n], ESTIMATED))
def test_no_evaluation_needs_more_than_was_estimated(scenes: Scenes, name: str) -> None:
    chain = CHAINS[name](scenes)
    prepared = chain.published.prepared
    (grid,) = prepared.output.grids.values()
    run(thin(8 << 20), chain, BlockKey(grid.id, 0, 1, 1))  # compiles, and fills tables
    for piece in (8 << 20, 128 << 20):
        engine = Engine(1 << 30)
        engine.memory.piece = piece
        engine.cache.budget = 0  # what evaluations hold, and nothing else
        planned = engine.evaluator.plan(prepared, Piece(prepared.output, grid, 0, block_rect(0, 0)), {})
        size = task_bytes(prepared, planned, engine.memory)
        tracemalloc.start()
        try:
            run(engine, chain, FIRST)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1.1 * size + (10 << 20), f"{peak / 2**20:.0f} MiB, {size / 2**20:.0f} were estimated"


def test_what_can_never_run_says_what_to_do(scenes: Scenes) -> None:
    engine = Engine(1 << 20)
    engine.memory.most = 8 << 20
    with pytest.raises(TooLarge, match=r"fewer dates or bands.*MUSES_WORKER_BYTES"):
        run(engine, clear(scenes), FIRST)
    assert engine.memory.admitted == engine.memory.in_use == 0
    assert np.isfinite(run(engine, chain_of(scenes).band("B04").first("t"), FIRST).values).any()


# ------------------------------------------------------------------------------------------------------ the budget


@pytest.fixture
def far(scenes: Scenes, made_once: Made, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scenes]:
    """The same scenes on a server."""
    with serving(made_once.folder) as server:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")

        def there(scene: Scene) -> Scene:
            return replace(
                scene, assets={b: replace(a, href=f"{server.url}/{a.href}") for b, a in scene.assets.items()}
            )

        yield made_once.scenes(BANDS, map(there, scenes.scenes))


@pytest.mark.parametrize("where", ["scenes", "far"])
def test_cache_and_evaluations_stay_within_the_budget(where: str, request: pytest.FixtureRequest) -> None:
    """With what is on its way from a server, where scenes are on one."""
    of: Scenes = request.getfixturevalue(where)
    engine = Engine(64 << 20)
    names = ("a median of an index", "quantiles", "a count of all dates", "a halo in every date", "an anomaly")
    chains = [CHAINS[name](of) for name in names]
    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(pixels, engine, chain, window(SIZE, SIZE)) for chain in chains]:
            assert not one.result(120).report.failed
    memory = engine.memory
    assert memory.admitted == memory.in_use == engine.reader.on_the_way == 0 and not memory._queue
    assert 32 << 20 < memory.peak <= memory.budget + (16 << 20)


def test_the_cache_makes_room_for_what_is_in_flight() -> None:
    memory = Memory(800)
    for n in range(7):
        memory.cache.put(n, n, 100, 1.0)
    assert memory.cache.bytes == 700
    with memory.work(300):
        assert memory.cache.bytes == 400
        memory.cache.put("new", 1, 100, 10.0)
        assert memory.cache.bytes == 400 and memory.cache.get("new") == 1
        memory.cache.put("large", 1, 500, 10.0)
        assert memory.cache.get("large") is None
        with memory.work(1000):
            assert memory.cache.bytes == 0
    memory.cache.put("large", 1, 500, 10.0)
    assert memory.cache.get("large") == 1


def test_entries_count_what_they_hold(scenes: Scenes) -> None:
    engine = Engine(256 << 20)
    s2 = clear(scenes)
    median = s2.median("t")
    for chain in (median.band("B04"), median.focal_mean(40), CHAINS["quantiles"](scenes)):
        pixels(engine, chain, window(SIZE, SIZE))
    blocks = 0
    for key, entry in engine.cache._entries.items():
        if key[0] in ("header", "place"):
            continue
        array = entry.value if isinstance(entry.value, np.ndarray) else entry.value[0].data
        while isinstance(array.base, np.ndarray):
            array = array.base
        assert array.nbytes <= entry.size, key
        blocks += 1
    assert blocks > 100 and engine.cache.bytes == sum(e.size for e in engine.cache._entries.values())


def apart(call: str) -> str:
    """Calls a function of this file in a process of its own; what it printed."""
    code = f"from tests import test_memory; test_memory.{call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_this_process(folder: str, dates: int) -> None:
    """Long series in one process: prints the budget and how much the resident memory grew, both in MiB."""
    made = Made(Path(folder))
    rng = np.random.default_rng(3)
    size, source = 1200, {}
    for band in ("B04", "B08"):
        values = rng.integers(1, 9000, (size, size), dtype=np.uint16)
        source[band] = write_tif(made.folder / f"{band}.tif", values, tiled=True, blockxsize=512, blockysize=512)
    found = []
    for n in range(dates):  # names of their own for the same bytes: as many files as dates
        assets = {}
        for band, path in source.items():
            os.link(path, other := made.folder / f"{n}-{band}.tif")
            assets[band] = made.asset(other)
        day = dt.date(2018, 1, 1) + dt.timedelta(n)
        found.append(made.scene(f"s{n}", day.isoformat(), assets, grid="MADE-1"))
    series = chain_of(made.scenes(BANDS[:2], found))
    engine = Engine(256 << 20)
    keys = [BlockKey("MADE-1@10", 0, row, col) for row in range(2) for col in range(2)]
    run(Engine(64 << 20), chain_of(made.scenes(BANDS[:2], found[:1])).ndvi().median("t"), keys[0])
    before = psutil.Process().memory_info().rss
    peak, ended = before, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.005):
            peak = max(peak, psutil.Process().memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    image = chain_of(made.scenes(BANDS[:2], found[:2])).ndvi().max("t")
    weights = rng.random((151, 151)) / 151**2
    around = image.apply_kernel(weights), image.focal_median(128), series.focal_mean(2).max("t")
    for chain in (series.ndvi().median("t"), series.ndvi().focal_mean(3).median("t"), *around):
        with ThreadPoolExecutor(2) as pool:
            assert all(np.isfinite(r.values).any() for r in pool.map(lambda key, c=chain: run(engine, c, key), keys))
    ended.set()
    watching.join()
    assert engine.counters()["memory_peak"] > 100 << 20
    print(engine.memory.budget >> 20, (peak - before) >> 20)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("dates", [24, 96])
def test_a_process_stays_within_its_budget_whatever_the_chain(tmp_path: Path, dates: int) -> None:
    budget, grown = map(int, apart(f"in_this_process({str(tmp_path / 'scenes')!r}, {dates})").split())
    assert 64 < grown <= budget + 64, f"the process grew by {grown} MiB; its budget is {budget} MiB"


def written(size: int) -> mmap.mmap:
    """So much memory, fresh from the system: the allocator's would be what was freed before."""
    fresh = mmap.mmap(-1, size)
    fresh.write(bytes(size))
    return fresh


def test_the_allocator_is_asked_where_the_process_has_grown() -> None:
    """In a process of its own: what earlier tests left would shrink in this one."""
    apart("growing()")


def growing() -> None:
    memory = Memory(16 << 20)
    memory.cache.put("a", 1, 1 << 20, 1.0)
    assert memory.trims == 0
    others = written(64 << 20)  # nobody counts them, and they cannot be given back
    for n in range(10):
        memory.cache.put(n, 1, 1 << 20, 1.0)
    assert memory.trims == 1, "asked again and again for what it does not have"
    assert memory.cache.lent == memory.budget // 4 and memory.cache.bytes <= memory.cache.budget - memory.cache.lent
    more = written(16 << 20)
    memory.cache.put("b", 1, 1 << 20, 1.0)
    assert memory.trims == 2
    others.close()
    more.close()
    for n in range(10):
        memory.cache.put(n, 1, 1 << 20, 1.0)
    assert memory.trims == 2 and memory.cache.lent == 0


# --------------------------------------------------------------------------------------------------------- waiting


def test_tasks_wait_for_each_other_in_order() -> None:
    memory, order, go = Memory(1 << 30), [], threading.Event()
    half = memory.together // 2

    def task(name: str, size: int) -> None:
        with memory.task(size, never):
            order.append(name)
            go.wait(10)

    threads = []
    for name, size in (("a", half), ("b", half), ("large", memory.together), ("small", 1)):
        threads.append(threading.Thread(target=task, args=(name, size)))
        threads[-1].start()
        assert within(10, lambda: len(order) + len(memory._queue) == len(threads))
    assert order == ["a", "b"] and memory.waits == 2, "the small one does not overtake the large one"
    go.set()
    for thread in threads:
        thread.join(10)
    assert order == ["a", "b", "large", "small"] and memory.admitted == 0


def test_one_that_is_larger_than_half_runs_alone() -> None:
    memory = Memory(1 << 30)
    with memory.task(memory.together + 1, never):
        assert not memory._fits(1)
    with pytest.raises(TooLarge), memory.task(memory.most + 1, never):
        pass
    with memory.task(1, never):
        assert not memory._fits(memory.together)


def test_waiting_ends_when_cancelled() -> None:
    memory, flag = Memory(1 << 30), threading.Event()

    def task() -> None:
        with memory.task(memory.together, flag.is_set):
            pass

    with ThreadPoolExecutor(1) as pool, memory.task(memory.together, never):
        waiting = pool.submit(task)
        assert within(10, lambda: memory.waits == 1)
        flag.set()
        with pytest.raises(Cancelled):
            waiting.result(10)
        assert not memory._queue and memory.admitted == memory.together
    with memory.task(memory.together, never):
        pass


@pytest.mark.thorough
@pytest.mark.slow
def test_many_threads_and_a_tiny_budget_end(scenes: Scenes) -> None:
    engine = Engine(1 << 20)
    memory = engine.memory
    memory.together = memory.piece = 4 << 20
    memory.most = 1 << 30
    asked = [CHAINS[name](scenes) for name in ("a median of an index", "dates", "a finer resolution") for _ in range(4)]
    key = BlockKey("MADE-1@10", 1, 0, 0)
    expected = [run(Engine(256 << 20), chain, key).values for chain in asked]
    with ThreadPoolExecutor(12) as pool:
        found = [pool.submit(run, engine, chain, key) for chain in asked]
        for one, known in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.result(300).values, known)
    assert memory.waits > 0 and memory.admitted == memory.in_use == 0


def test_what_others_use_may_exceed_the_budget() -> None:
    cache = Cache(100)
    cache.lend(1000)
    cache.put("a", 1, 1, 1.0)
    assert cache.get("a") is None and cache.bytes == 0
    cache.lend(0)
    cache.put("a", 1, 1, 1.0)
    assert cache.get("a") == 1
