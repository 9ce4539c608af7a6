"""Only what is visible is computed, once: the blocks of files that are read, and what is evaluated anew."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.api.collection import Collection
from muses_lab.compute.windows import assemble, once_of
from muses_lab.engine import BlockKey, Engine, NodeKey, OnceKey, Published, RectKey, Result, SoleKey
from muses_lab.engine.execute import compact
from muses_lab.engine.mosaic import layout
from muses_lab.errors import Cancelled, NotFound, TooLarge
from muses_lab.raster.asset import Band
from muses_lab.raster.grid import Rect
from muses_lab.resources.cache import Cache
from muses_lab.resources.helpers import HELPERS
from tests.helpers.examples import examples
from tests.helpers.made_scenes import CORNER, Made, never, pixels, two_apart, window, write_tif
from tests.oracles.reads import Read, expected_reads

RNG = np.random.default_rng(11)
GRID = "MADE-1"

"""File, overview, row and column of one of its blocks."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(HELPERS, "threads", 1)  # other tests compute in more: what is read, and when, would differ
    engine = Engine(256 << 20)
    engine.reader.log = []
    yield engine
    engine.reader.close()


def reads(engine: Engine) -> list[Read]:
    """What was read since the last time this was asked."""
    assert engine.reader.log is not None
    found = [(path, overview, row, col) for path, _, overview, row, col in engine.reader.log]
    engine.reader.log.clear()
    return found


# ---------------------------------------------------------------------- the blocks that a view of the sample needs


def tile_at(zoom: int, lon: float, lat: float) -> GeoBox:
    n = 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
    return ml.Window.tile(zoom, int((lon + 180) / 360 * n), int(y * n))


PLACES = {
    "east": (14, 1.46, 43.60),
    "where zones meet": (13, 1.37, 43.60),
    "west": (12, 1.29, 43.58),
    "at the swath's edge": (14, 1.41, 43.58),
    "all of it": (10, 1.38, 43.60),
    "level 1": (12, 1.42, 43.60),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bands", [("B04",), ("B08", "B11")])
def test_a_view_reads_the_blocks_under_it_of_its_bands_and_scenes_each_once(
    engine: Engine, s2: Collection, sample_catalog: Path, place: str, bands: tuple[str, ...]
) -> None:
    chain = s2.bands(*bands).max("t")
    (scenes,) = chain.published.scenes.values()
    tile = tile_at(*PLACES[place])
    expected, touched = expected_reads(scenes, sample_catalog, tile, bands)
    found = pixels(engine, chain, tile)
    got = reads(engine)
    assert len(got) == len(set(got)), "a block decoded twice"
    assert set(got) == expected and expected
    assert engine.counters()["blocks_decoded"] == len(expected)
    assert found.report.scenes_used <= len(touched)
    pixels(engine, chain, tile)
    assert not reads(engine), "a second view of the same place reads nothing"


def test_a_view_of_other_bands_reads_only_those(engine: Engine, s2: Collection) -> None:
    tile = tile_at(*PLACES["east"])
    pixels(engine, s2.ndvi().median("t"), tile)
    assert {Path(path).stem for path, *_ in reads(engine)} == {"B04", "B08"}
    pixels(engine, s2.normalized_difference("nir", "swir16").median("t"), tile)
    assert {Path(path).stem for path, *_ in reads(engine)} == {"B11"}
    pixels(engine, s2.mask_clouds().ndvi().median("t"), tile)
    assert {Path(path).stem for path, *_ in reads(engine)} == {"SCL"}


def test_dates_that_are_filtered_out_are_not_read(engine: Engine, s2: Collection) -> None:
    whole: Chain = s2.bands("B04")
    pixels(engine, whole._with("filter_temporal", data=whole._node, extent=["2018-06-01", "2018-08-01"]).max("t"),
           tile_at(*PLACES["east"]))  # fmt: skip
    assert {Path(path).parent.name for path, *_ in reads(engine)} == {"2018-06-10", "2018-07-27"}


def test_pieces_of_a_view_read_what_the_view_reads(engine: Engine, s2: Collection) -> None:
    """Panning: windows that overlap, one after the other, decode no block twice."""
    chain, tile = s2.bands("B04").max("t"), tile_at(*PLACES["all of it"])
    for row in range(0, 256, 64):
        for col in range(0, 256, 64):
            pixels(engine, chain, tile[row : row + 96, col : col + 96])
    pieces = reads(engine)
    assert len(pieces) == len(set(pieces))
    other = Engine(256 << 20)
    other.reader.log = []
    pixels(other, chain, tile)
    assert set(pieces) == set(reads(other))


# ----------------------------------------------------------------------------------- scenes made for the purpose

SIZE = 1100
BANDS = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]
SCL = Band("SCL", dtype="uint8", nodata=0.0, categorical=True, overviews="nearest")


@pytest.fixture(scope="module")
def scl() -> list[np.ndarray]:
    """Class 4 is clear, 9 cloud: the first scene clear, the second half, the third all but one block under cloud."""
    layers = [np.full((SIZE, SIZE), 4, np.uint8) for _ in range(3)]
    layers[1][:, 300:700] = 9
    layers[2][:] = 9
    layers[2][600:, 600:] = 4
    layers[2][:64, 1060:] = 4
    return layers


@pytest.fixture(scope="module")
def cloudy(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path, scl: list[np.ndarray]) -> Chain:
    made = Made(tmp_path_factory.mktemp("cloudy"))
    scenes = []
    for n, classes in enumerate(scl):
        assets = {}
        for band in ("B04", "B08"):
            path = write_tif(made.folder / f"{n}-{band}.tif", RNG.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16))
            assets[band] = made.asset(path)
        assets["SCL"] = made.asset(write_tif(made.folder / f"{n}-SCL.tif", classes))
        scenes.append(made.scene(str(n), f"2018-06-{10 + n}", assets, grid=GRID))
    return made.chain([*BANDS, SCL], scenes)


def files(engine: Engine) -> dict[str, set[tuple[int, int]]]:
    """File → its blocks that were read."""
    out: dict[str, set[tuple[int, int]]] = {}
    for path, overview, row, col in reads(engine):
        assert overview == 0
        out.setdefault(Path(path).stem, set()).add((row, col))
    return out


def block(row: int, col: int) -> GeoBox:
    """The window that is one block of the grid."""
    return window(512, 512, corner=(CORNER[0] + col * 5120, CORNER[1] - row * 5120))


def four(row: int, col: int) -> set[tuple[int, int]]:
    """Blocks of 128 pixels of a file in a block of the grid."""
    last = -(-SIZE // 128)
    return {(r, c) for r in range(4 * row, min(4 * row + 4, last)) for c in range(4 * col, min(4 * col + 4, last))}


def clear(chain: Chain, *classes: int) -> Chain:
    return chain.mask(~chain.band("SCL").isin(list(classes)))


def test_a_scene_masked_everywhere_here_is_dropped_before_its_other_bands_are_read(
    engine: Engine, cloudy: Chain
) -> None:
    chain = clear(cloudy, 4).ndvi().median("t")
    found = pixels(engine, chain, block(0, 0))
    assert files(engine) == {
        **{f"{n}-SCL": four(0, 0) for n in range(3)},
        **{f"{n}-{band}": four(0, 0) for n in range(2) for band in ("B04", "B08")},
    }
    assert np.isfinite(found.values).all()
    pixels(engine, chain, block(1, 1))
    assert files(engine) == {f"{n}-{b}": four(1, 1) for n in range(3) for b in ("SCL", "B04", "B08")}


def test_what_another_use_needs_is_read_although_it_is_masked_in_one(engine: Engine, cloudy: Chain) -> None:
    chain = clear(cloudy, 4).ndvi().median("t") - cloudy.ndvi().min("t")
    pixels(engine, chain, block(0, 0))
    got = files(engine)
    assert set(got) == {f"{n}-{b}" for n in range(3) for b in ("SCL", "B04", "B08")}
    assert all(found == four(0, 0) for found in got.values())


def test_a_mask_that_gives_a_value_keeps_its_dates(engine: Engine, cloudy: Chain, scl: list[np.ndarray]) -> None:
    """With a replacement, dates that are masked altogether count: in every block alike."""
    cloud = ~cloudy.band("SCL").isin([4])
    zero = cloudy.band("red")._with("mask", cloud, data=cloudy.band("red")._node, mask=cloud._node, replacement=0.0)
    found = pixels(engine, zero.count("t"), window(SIZE, SIZE)).values
    assert (found == 3).all()
    smallest = pixels(engine, zero.min("t"), window(SIZE, SIZE)).values
    assert np.array_equal(smallest == 0, np.any([c == 9 for c in scl], axis=0))


@pytest.mark.parametrize("radius", [1, 40, 128])
def test_a_halo_reads_the_neighbouring_blocks_and_no_more(engine: Engine, cloudy: Chain, radius: int) -> None:
    found = pixels(engine, cloudy.band("red").max("t").focal_mean(radius), block(0, 1))
    lo, hi = (512 - radius) // 128, (1024 + radius - 1) // 128
    ring = {(r, c) for r in range(0, (512 + radius - 1) // 128 + 1) for c in range(lo, min(hi, (SIZE - 1) // 128) + 1)}
    assert files(engine) == {f"{n}-B04": ring for n in range(3)}
    assert found.values.shape == (512, 512)


def test_small_windows_of_a_neighbourhood_share_the_blocks_under_them(engine: Engine, cloudy: Chain) -> None:
    image = cloudy.band("red").max("t")
    west, north = CORNER
    tiles = [window(100, 100, corner=(west + 10 * col, north - 1000)) for col in (100, 200, 300)]
    for tile in tiles:
        pixels(engine, image.focal_mean(2) > 0.1, tile)
    inside = {(row, col) for row in range(4) for col in range(4)}
    assert files(engine) == {f"{n}-B04": inside for n in range(3)}, "the block's neighbours are not needed"
    assert engine.counters()["evaluations"] == 1 + len(tiles), "the image's block once, and each window"
    pixels(engine, image, tiles[0])
    assert engine.counters()["evaluations"] == 1 + len(tiles), "the image alone is shown from the same block"


@pytest.mark.parametrize("size, reach, rects", [(508, 2, True), (509, 2, False), (100, 0, False), (256, 128, True)])
def test_a_window_smaller_than_a_block_is_asked_for_as_it_is(cloudy: Chain, size: int, reach: int, rects: bool) -> None:
    chain = cloudy.band("red").max("t")
    prepared = (chain.focal_mean(reach) if reach else chain).published.prepared
    west, north = CORNER
    tasks = layout(prepared, window(size, size, corner=(west + 3000, north - 3000))).tasks
    assert [isinstance(task, RectKey) for task in tasks] == [rects] * (1 if rects else len(tasks))
    assert not rects or tasks[0].rect == Rect(300, 300 + size, 300, 300 + size)


@pytest.mark.parametrize("kind", ["plain", "threshold", "halo", "twice"])
def test_an_export_decodes_each_block_once_and_keeps_it_only_where_it_is_read_again(
    engine: Engine, cloudy: Chain, kind: str
) -> None:
    median = clear(cloudy, 4).ndvi().median("t")
    chain = {
        "plain": median,
        "threshold": median > 0.1,
        "halo": median.focal_mean(3),
        "twice": median + cloudy.band("red").max("t"),
    }[kind]
    published, box = chain.published, window(SIZE, SIZE)
    engine.keep(published.hash, published)
    placed = layout(published.prepared, box)
    results: dict[BlockKey | RectKey, Result] = {}
    for key in placed.tasks:
        assert isinstance(key, BlockKey)
        results[key] = engine.run(published.hash, OnceKey(*key), never)
    once = reads(engine)
    assert once and len(once) == len(set(once)), "a block decoded twice"
    kept = [key for key in engine.cache._entries if key[0] == "file"]
    assert bool(kept) == (kind in ("halo", "twice"))
    exported = assemble(placed, results).values
    assert np.array_equal(exported, pixels(Engine(256 << 20), chain, box).values, equal_nan=True)


def test_a_result_is_kept_unless_one_window_alone_has_pixels_of_it(engine: Engine, cloudy: Chain) -> None:
    chain = cloudy.band("red").max("t")
    published, (west, north) = chain.published, CORNER
    engine.keep(published.hash, published)

    def kinds(box: GeoBox) -> dict[tuple[int, int], str]:
        placed = layout(published.prepared, box)
        return {(key.row, key.col): type(once_of(placed, key)).__name__ for key in placed.tasks}

    whole = kinds(window(SIZE, SIZE))
    assert len(whole) == 9 and set(whole.values()) == {"SoleKey"}, "the last ones end with the grid"
    moved = kinds(window(1024, 1024, corner=(west + 100, north - 100)))
    assert moved.pop((1, 1)) == "SoleKey" and set(moved.values()) == {"OnceKey"}
    assert set(kinds(window(512, 512, pixel=15.0)).values()) <= {"OnceKey"}
    degrees = window(512, 512, pixel=1e-4, corner=(1.31, 43.64), crs="EPSG:4326")
    assert set(kinds(degrees).values()) <= {"OnceKey"} and kinds(degrees)

    first, second = BlockKey("MADE-1@10", 0, 0, 0), BlockKey("MADE-1@10", 0, 0, 1)
    one = engine.run(published.hash, SoleKey(*first), never)
    engine.run(published.hash, OnceKey(*second), never)
    kept = {key[1:5] for key in engine.cache._entries if key[0] == published.prepared.output.node.hash}
    assert kept == {tuple(second)}
    again = engine.run(published.hash, first, never)
    assert np.array_equal(one.values, again.values, equal_nan=True)


def test_a_new_threshold_after_a_median_reads_nothing_and_keeps_the_median(engine: Engine, cloudy: Chain) -> None:
    median, box = clear(cloudy, 4).ndvi().median("t"), window(SIZE, SIZE)
    blocks = len(layout(median.published.prepared, box).tasks)
    assert blocks == 9
    pixels(engine, median > 0.1, box)
    before = engine.counters()
    assert before["evaluations"] == 2 * blocks, "once the median and once the comparison of every block"
    pixels(engine, median > 0.2, box)
    after = engine.counters()
    assert after["blocks_decoded"] == before["blocks_decoded"]
    assert after["evaluations"] - before["evaluations"] == blocks
    pixels(engine, median, box)
    assert engine.counters()["evaluations"] == after["evaluations"]


def test_other_clear_classes_read_nothing(engine: Engine, cloudy: Chain) -> None:
    box = block(1, 1)
    pixels(engine, clear(cloudy, 4).ndvi().median("t"), box)
    reads(engine)
    pixels(engine, clear(cloudy, 4, 9).ndvi().median("t"), box)
    pixels(engine, clear(cloudy, 9).ndvi().max("t"), box)
    assert not reads(engine)


def test_a_shared_expression_is_evaluated_once_for_all_who_ask(engine: Engine, cloudy: Chain) -> None:
    median = clear(cloudy, 4).ndvi().median("t")
    chains = [median + n for n in range(8)]
    start = threading.Barrier(8)

    def ask(chain: Chain) -> np.ndarray:
        start.wait()
        return pixels(engine, chain, block(0, 0)).values

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, chains))
    assert engine.counters()["evaluations"] == 8 + 1
    got = reads(engine)
    assert len(got) == len(set(got))
    for n, one in enumerate(found):
        assert np.allclose(one, found[0] + n, equal_nan=True, atol=1e-5)


def test_equal_expressions_of_one_chain_are_one(engine: Engine, cloudy: Chain) -> None:
    one = clear(cloudy, 4).ndvi().median("t")
    same = clear(cloudy, 4).ndvi().median("t")
    found = pixels(engine, one - same, block(0, 0)).values
    assert (found == 0).all()
    assert engine.counters()["evaluations"] == 2


def test_a_fine_resolution_in_a_coarse_view_asks_for_nothing_beyond_the_data(engine: Engine, cloudy: Chain) -> None:
    native = pixels(engine, cloudy.band("red").max("t"), window(SIZE, SIZE)).values
    for level in (2, 5, 9):
        f = 2**level
        number = -(-SIZE // f)
        found = pixels(engine, cloudy.band("red").max("t").at_resolution(10), window(number + 3, number + 3, 10.0 * f))
        take = np.arange(number) * f + f // 2
        inside = take < SIZE
        assert np.array_equal(
            found.values[:number, :number][np.ix_(inside, inside)], native[np.ix_(take[inside], take[inside])]
        )
        assert np.isfinite(found.values).sum() == inside.sum() ** 2


def test_a_piece_that_would_not_fit_into_memory_is_refused(engine: Engine, tmp_path: Path) -> None:
    made = Made(tmp_path)
    assets = {
        id: made.asset(write_tif(tmp_path / f"{id}.tif", np.ones((64, 64), np.uint16), corner=corner))
        for id, corner in (("a", CORNER), ("b", (CORNER[0] + 200_000, CORNER[1] - 200_000)))
    }
    chain = made.chain([Band("B")], [made.scene(id, "2018-06-10", {"B": asset}) for id, asset in assets.items()])
    corner = (CORNER[0] - 2300, CORNER[1] + 2300)  # so that the first pixel's centre lies on the first file
    with pytest.raises(TooLarge, match="look closer"):
        pixels(engine, chain.max("t").at_resolution(10), window(50, 50, 5120.0, corner))


# ------------------------------------------------------------------------------------------------- whole extents


def test_a_whole_result_is_a_task_of_its_own_that_tells_what_failed(engine: Engine, tmp_path: Path) -> None:
    made = Made(tmp_path)
    paths = [write_tif(tmp_path / f"{n}.tif", RNG.integers(1, 9000, (256, 256), dtype=np.uint16)) for n in range(3)]
    scenes = [made.scene(f"s{n}", f"2018-06-1{n}", {"B": made.asset(p)}, grid=GRID) for n, p in enumerate(paths)]
    chain = made.chain([Band("B")], scenes).band("B").max("t").otsu(extent=window(256, 256), resolution=10)
    paths[1].unlink()
    published = chain.published
    engine.keep(published.hash, published)
    (step,) = published.prepared.whole_nodes()
    (key, *_) = layout(published.prepared, window(256, 256)).tasks
    with pytest.raises(NotFound, match="evaluate it first"):
        engine.run(published.hash, key, never)
    assert not reads(engine), "nothing is read for what cannot be finished"
    found = engine.run(published.hash, NodeKey(step.node.hash), never)
    assert found.body and set(found.report.failed) == {"s1"} and found.report.used == {"s0", "s2"}
    whole = published.with_results({step.node.hash: found.body}, {step.node.hash: found.report.failed})
    engine.keep(whole.hash, whole)
    result = engine.run(whole.hash, key, never)
    assert np.isfinite(result.values).any() and set(result.report.failed) == {"s1"}


def test_what_is_made_of_an_incomplete_whole_result_tells_it_and_is_kept_for_nobody(tmp_path: Path) -> None:
    made = Made(tmp_path)
    near, far = two_apart(made)
    blocks = near.band("B").max("t")
    extent = window(128, 2128)
    fitted = (blocks + 1).otsu(extent=extent, resolution=10)
    raster = (blocks > 3000).connected_components(min_area=0).pin(extent, resolution=10)
    two = (fitted + blocks / 30000).otsu(extent=extent, resolution=10)
    for chain in (fitted, fitted.focal_mean(3), raster, two):
        engine, right = Engine(64 << 20), pixels(Engine(64 << 20), chain, window(128, 128))
        aside = far.rename(far.with_suffix(".aside"))
        wrong = pixels(engine, chain, window(128, 128))  # the far scene is not in this window
        assert [id for id, _ in wrong.report.failed] == ["far"] and not right.report.failed
        assert chain is raster or not np.array_equal(wrong.values, right.values)
        aside.rename(far)
        again = pixels(engine, chain, window(128, 128))
        np.testing.assert_array_equal(again.values, right.values)
        assert again.report == right.report


def test_a_chain_tells_its_workers_which_results_lack_scenes(cloudy: Chain) -> None:
    plain = cloudy.band("red").max("t").published
    node = plain.root.hash
    whole, lacking = plain.with_results({node: b"1"}), plain.with_results({node: b"1"}, {node: {"s1": "gone"}})
    assert len({plain.hash, whole.hash, lacking.hash}) == 3
    assert Published.from_payload(lacking.payload).hash == lacking.hash
    assert Published.from_payload(lacking.payload).incomplete == {node: {"s1": "gone"}}
    assert lacking.with_results({node: b"2"}).incomplete == {}, "a result that is replaced lacks what the new one lacks"


# -------------------------------------------------------------------------------------------------- cancellation


def test_cancelled_between_reads(engine: Engine, cloudy: Chain) -> None:
    chain = cloudy.bands("B04", "B08").max("t")
    published = chain.published
    engine.keep(published.hash, published)
    (key, *_) = layout(published.prepared, block(0, 0)).tasks

    def after_five_blocks() -> bool:
        assert engine.reader.log is not None
        return len(engine.reader.log) >= 5

    with pytest.raises(Cancelled):
        engine.run(published.hash, key, after_five_blocks)
    assert len(reads(engine)) == 5
    result = engine.run(published.hash, key, never)
    assert result.values is not None and not result.report.failed
    assert len(reads(engine)) == 3 * 2 * 16 - 5, "what was read before was not lost"


def test_who_waits_for_a_cancelled_evaluation_still_gets_it(engine: Engine, cloudy: Chain) -> None:
    chain = cloudy.band("red").max("t")
    published = chain.published
    engine.keep(published.hash, published)
    (key, *_) = layout(published.prepared, block(1, 1)).tasks
    begun, stop = threading.Event(), threading.Event()

    def first_asker() -> bool:
        begun.set()
        stop.wait(20)
        return True

    with ThreadPoolExecutor(4) as pool:
        cancelled = pool.submit(engine.run, published.hash, key, first_asker)
        assert begun.wait(20)
        waiting = [pool.submit(engine.run, published.hash, key, never) for _ in range(3)]
        time.sleep(0.2)
        assert not any(w.done() for w in waiting), "they wait for the one that is under way"
        stop.set()
        with pytest.raises(Cancelled):
            cancelled.result(20)
        results = [w.result(20).values for w in waiting]
    assert all(np.array_equal(r, results[0], equal_nan=True) for r in results)
    got = reads(engine)
    assert len(got) == len(set(got))


# --------------------------------------------------------------------------------------------------------- cache


@hypothesis_settings(max_examples=examples(20))
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400), st.floats(0, 10)), max_size=120))
def test_the_cache_holds_its_budget(puts: list[tuple[int, int, float]]) -> None:
    cache = Cache(1000)
    for key, size, seconds in puts:
        cache.put(key, object(), size, seconds)
        assert cache.bytes <= 1000
        assert cache.bytes == sum(entry.size for entry in cache._entries.values())


def test_what_is_cheapest_to_recompute_for_its_size_goes_first() -> None:
    cache = Cache(300)
    for key, seconds in (("dear", 3.0), ("cheap", 0.1), ("middling", 1.0)):
        cache.put(key, key, 100, seconds)
    cache.put("new", "new", 100, 2.0)
    assert [cache.get(k) for k in ("dear", "cheap", "middling", "new")] == ["dear", None, "middling", "new"]
    cache.put("another", "another", 100, 2.0)
    assert cache.get("middling") is None and cache.get("dear") == "dear"


def test_what_was_used_stays_longer_and_what_was_dear_once_grows_old() -> None:
    cache = Cache(300)
    for key in ("a", "b", "c"):
        cache.put(key, key, 100, 1.0)
    cache.put("d", "d", 100, 1.0)  # the clock has moved on
    cache.get("b")
    cache.put("e", "e", 100, 1.0)
    assert cache.get("b") == "b" and cache.get("c") is None
    old = Cache(200)
    old.put("old and dear", 1, 100, 5.0)
    for n in range(20):
        old.put(n, n, 100, 1.0)
    assert old.get("old and dear") is None


def test_what_is_larger_than_the_budget_is_given_but_not_kept() -> None:
    cache = Cache(100)
    cache.put("small", 1, 50, 1.0)
    assert cache.get_or_compute("large", lambda: "x", lambda _: 101) == "x"
    assert cache.get("large") is None and cache.get("small") == 1


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    cache, begun, go = Cache(100), threading.Event(), threading.Event()

    def fails() -> str:
        begun.set()
        go.wait(10)
        raise ValueError("no")

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(cache.get_or_compute, "k", fails, len)]
        assert begun.wait(10)
        asked += [pool.submit(cache.get_or_compute, "k", fails, len) for _ in range(2)]
        time.sleep(0.1)
        go.set()
        for one in asked:
            with pytest.raises(ValueError, match="no"):
                one.result(10)
    assert cache.get_or_compute("k", lambda: "yes", len) == "yes"


def test_a_small_cache_gives_the_same_pixels(cloudy: Chain) -> None:
    chain, box = clear(cloudy, 4).ndvi().median("t").focal_mean(2), window(600, 600)
    small, large = Engine(3 << 20), Engine(256 << 20)
    assert np.array_equal(pixels(small, chain, box).values, pixels(large, chain, box).values, equal_nan=True)
    assert small.counters()["cache_bytes"] <= 3 << 20


def test_threads_choose_dates_of_one_array_at_once() -> None:
    """pandas finds out by itself whether labels are unique; threads that ask meanwhile are told that they are not."""
    times = np.arange(400).astype("M8[D]").astype("M8[ns]")
    together = threading.Barrier(6)

    def first(array: xr.DataArray) -> int:
        together.wait()
        return array.sel(t=[*array.t.values[:5]]).sizes["t"]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as threads:
            for _ in range(200):
                array = compact(xr.DataArray(np.zeros((400, 1)), dims=("t", "x"), coords={"t": times}))
                assert [*threads.map(first, [array] * 6)] == [5] * 6
    finally:
        sys.setswitchinterval(interval)
