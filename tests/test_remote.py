"""Assets on servers: the same pixels as from files, few rounds of requests, and nothing read from where it must not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from muses_lab.api.chain import Chain
from muses_lab.compute.queue import Executor
from muses_lab.compute.threads import ThreadsBackend
from muses_lab.compute.windows import request_window
from muses_lab.engine import BlockKey, Engine
from muses_lab.errors import Cancelled, ReadError
from muses_lab.raster import access, http
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.byte_ranges import ByteRange, ByteRanges
from muses_lab.scenes.scene import Scene
from tests.helpers.made_scenes import Made, never, pixels, window, write_tif
from tests.helpers.range_server import RangeServer, serving

SIZE = 1024
BANDS = [
    Band("B04", "red", resolution=10, dtype="uint16", nodata=0, scale=1e-4),
    Band("B08", "nir", resolution=10, dtype="uint16", nodata=0, scale=1e-4),
    Band("SCL", None, resolution=20, dtype="uint8", nodata=0, categorical=True),
]
DATES = 5
QUIET = 0.25
"""Seconds without a request after which a round is over."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Made:
    """Five dates of three bands of two by two blocks of results; on the last date the upper left block is cloud."""
    rng = np.random.default_rng(3)
    made = Made(tmp_path_factory.mktemp("remote"))
    blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    for n in range(DATES):
        classes = rng.choice(np.array([0, 4, 5, 8], np.uint8), (SIZE // 2, SIZE // 2))
        if n == DATES - 1:
            classes[: SIZE // 4, : SIZE // 4] = 8
        write_tif(made.folder / f"{n}-SCL.tif", classes, pixel=20.0, **blocks)
        for band in ("B04", "B08"):
            values = rng.integers(1, 9000, (SIZE, SIZE)).astype(np.uint16)
            write_tif(made.folder / f"{n}-{band}.tif", values, **blocks)
    return made


@pytest.fixture
def server(made: Made, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setattr(http, "BACK_OFF", 0.01)
    with serving(made.folder) as server:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")
        yield server


def scenes(made: Made, place: Callable[[Asset], Asset] = lambda asset: asset) -> list[Scene]:
    return [
        made.scene(
            f"scene-{n}", f"2018-06-{10 + n}",
            {b.name: place(made.asset(made.folder / f"{n}-{b.name}.tif")) for b in BANDS},
            grid="MGRS-31TCJ",
        )
        for n in range(DATES)
    ]  # fmt: skip


def on(server: RangeServer, query: str = "") -> Callable[[Asset], Asset]:
    return lambda asset: replace(asset, href=f"{server.url}/{asset.href}{query}")


def largest(made: Made, asset: Asset) -> Chain:
    """Of one scene with one band."""
    return made.chain(BANDS[:1], [made.scene("s", "2018-06-01", {"B04": asset})]).max("t")


def median(made: Made, of: list[Scene], keep: tuple[int, ...] = (4, 5)) -> Chain:
    every = made.chain(BANDS, of)
    clear = every.bands("B04", "B08").mask(~every.band("SCL").isin(list(keep)))
    red, nir = clear.band("B04"), clear.band("B08")
    return ((nir - red) / (nir + red)).median("t")


UPPER_LEFT, WHOLE = window(512, 512), window(SIZE, SIZE)


# ------------------------------------------------------------------------------------------ what comes, and how often


def test_pixels_and_counters_are_those_of_local_files(made: Made, server: RangeServer) -> None:
    here, there = Engine(64 << 20), Engine(64 << 20)
    local = pixels(here, median(made, scenes(made)), WHOLE)
    far = pixels(there, median(made, scenes(made, on(server))), WHOLE)
    assert not far.report.failed
    assert np.isfinite(local.values).any()
    np.testing.assert_array_equal(far.values, local.values)
    for name in ("blocks_decoded", "bytes_decoded", "evaluations"):
        assert there.counters()[name] == here.counters()[name]


def test_a_cold_block_costs_two_rounds_and_the_next_one_one(made: Made, server: RangeServer) -> None:
    """Headers of all files at once, then all blocks; neighbours in a file are one request."""
    server.quiet = QUIET
    engine, chain = Engine(64 << 20), median(made, scenes(made, on(server)))
    pixels(engine, chain, UPPER_LEFT)
    assert server.rounds == 2
    headers = [span for _, span in server.log if span == "0-32767"]
    assert len(headers) == 3 * DATES
    # B04 and B08: two rows of two neighbouring blocks, which are far apart in the file or near; SCL: one block.
    assert 3 * DATES <= len(server.log) - len(headers) <= (2 + 2 + 1) * DATES
    server.forget()
    pixels(engine, chain, window(512, 512, corner=(364_000.0 + 5120, 4_833_900.0)))
    assert server.rounds == 1
    assert not [span for _, span in server.log if span == "0-32767"]


def test_what_is_known_is_not_asked_for(made: Made, server: RangeServer) -> None:
    engine, of = Engine(64 << 20), scenes(made, on(server))
    pixels(engine, median(made, of), UPPER_LEFT)
    server.forget()
    pixels(engine, median(made, of, keep=(4,)), UPPER_LEFT)
    assert server.log == []


def test_dates_that_a_known_mask_removes_are_spared(made: Made, server: RangeServer) -> None:
    engine, of = Engine(64 << 20), scenes(made, on(server))
    every = made.chain(BANDS, of)
    pixels(engine, every.band("SCL").max("t"), UPPER_LEFT)
    server.forget()
    pixels(engine, median(made, of), UPPER_LEFT)
    blocks = [path for path, span in server.log if span != "0-32767"]
    assert f"/{DATES - 2}-B04.tif" in blocks
    assert f"/{DATES - 1}-B04.tif" not in blocks


def test_an_announced_block_is_fetched_before_it_is_evaluated(made: Made, server: RangeServer) -> None:
    engine, published = Engine(64 << 20), median(made, scenes(made, on(server))).published
    engine.keep(published.hash, published)
    key = BlockKey(next(iter(published.prepared.output.grids)), 0, 0, 0)
    engine.hint(published.hash, key)
    until(lambda: len(server.log) > 3 * DATES)
    asked = len(set(server.log))
    engine.run(published.hash, key, never)
    assert len(server.log) == len(set(server.log)), "something was asked for twice"
    assert asked
    assert held(engine) == 0


def test_what_is_withdrawn_is_dropped(made: Made, server: RangeServer) -> None:
    engine, published = Engine(64 << 20), median(made, scenes(made, on(server))).published
    engine.keep(published.hash, published)
    key = BlockKey(next(iter(published.prepared.output.grids)), 0, 0, 0)
    engine.hint(published.hash, key)
    until(lambda: held(engine) > 0)
    engine.cancel_hint(published.hash, key)
    assert held(engine) == 0


def test_bytes_on_the_way_are_bounded(made: Made, server: RangeServer) -> None:
    url = f"{server.url}/0-B04.tif"
    ahead = ByteRanges(budget=100_000)
    opened = ahead.open(url)
    server.forget()
    server.quiet = 0.1
    with ahead.hint() as hint:
        ranges = [ByteRange(n, opened, n * 140_000, 40_000) for n in range(6)]
        hint.ask(ranges)
        bodies = [ahead.take(wanted_range) for wanted_range in ranges]
    assert bodies == [(made.folder / "0-B04.tif").read_bytes()[w.offset : w.offset + w.size] for w in ranges]
    assert server.most <= 2
    server.forget()
    with ahead.hint() as hint:  # what nobody takes makes room for what is taken
        hint.ask(ranges)
        assert ahead.take(ranges[5]) == bodies[5]
    assert len(server.log) <= 3
    assert ahead.held == 0


def test_neighbours_in_a_file_are_one_request(made: Made, server: RangeServer) -> None:
    ahead = ByteRanges()
    opened = ahead.open(f"{server.url}/0-B04.tif")
    server.forget()
    ranges = [ByteRange(n, opened, 1000 + n * 5000, 4900) for n in range(4)]
    with ahead.hint() as hint:
        hint.ask(ranges)
        bodies = [ahead.take(wanted_range) for wanted_range in ranges]
    content = (made.folder / "0-B04.tif").read_bytes()
    assert bodies == [content[w.offset : w.offset + w.size] for w in ranges]
    assert len(server.log) == 1


def test_a_view_asks_once_for_each_file_and_its_blocks(made: Made, server: RangeServer) -> None:
    """Four blocks of results of sixteen blocks of each file, which lie beside each other."""
    server.quiet = QUIET
    local = pixels(Engine(256 << 20), median(made, scenes(made)), WHOLE)
    engine = Engine(256 << 20)
    executor = Executor(ThreadsBackend(1, lambda: engine))
    try:
        far = request_window(executor, median(made, scenes(made, on(server))).published, WHOLE).result(60)
    finally:
        executor.close()
    assert not far.report.failed
    assert far.values.tobytes() == local.values.tobytes()
    spans = [span for _, span in server.log]
    assert spans.count("0-32767") == 3 * DATES
    assert len(spans) == 2 * 3 * DATES
    assert server.rounds == 2
    assert held(engine) == 0


def test_local_chains_are_not_announced(made: Made) -> None:
    engine = Engine(256 << 20)
    backend = ThreadsBackend(1, lambda: engine)
    executor = Executor(backend)
    backend.prefetch = None  # type: ignore[assignment,method-assign]
    request_window(executor, median(made, scenes(made)).published, WHOLE).result(60)
    executor.close()


def test_a_view_that_is_left_takes_back_what_it_announced(made: Made, server: RangeServer) -> None:
    server.always = {f"/{n}-{b.name}.tif": "hold" for n in range(DATES) for b in BANDS}
    server.faults = {path: [""] for path in server.always}  # headers come, blocks do not
    engine = Engine(256 << 20)
    executor = Executor(ThreadsBackend(1, lambda: engine))
    ticket = request_window(executor, median(made, scenes(made, on(server))).published, WHOLE)
    until(lambda: held(engine) > 1 << 20 and len(engine._hinted) == 4)
    ticket.release()
    until(lambda: held(engine) == 0 and not engine._hinted)
    assert not engine.reader._ahead._blocks
    executor.close()


def test_announcements_whose_maker_is_gone_lapse(
    made: Made, server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, published = Engine(64 << 20), median(made, scenes(made, on(server))).published
    engine.keep(published.hash, published)
    grid = next(iter(published.prepared.output.grids))
    engine.hint(published.hash, BlockKey(grid, 0, 0, 0))
    until(lambda: held(engine) > 0)
    monkeypatch.setattr("muses_lab.engine.core._HINT_SECONDS", 0.0)
    engine.hint(published.hash, BlockKey(grid, 0, 0, 1))
    assert [key.col for _, key in engine._hinted] == [1]


def test_what_is_kept_back_goes_by_order_and_with_its_neighbours(made: Made, server: RangeServer) -> None:
    """A budget of a megabyte: what has begun first, then the first that was announced."""
    ahead = ByteRanges(budget=1 << 20)
    opened = ahead.open(f"{server.url}/0-B04.tif")
    server.forget()
    far = [ByteRange(("far", n), opened, 900_000 + n * 110_000, 100_000) for n in range(4)]
    near = [ByteRange(("near", n), opened, n * 110_000, 100_000) for n in range(4)]  # no room for both
    with ahead.hint() as whole, ahead.hint(soon=True) as one, ahead.hint(soon=True) as two:
        first = ByteRange("first", opened, 0, 1_000_000)
        whole.ask([first])
        two.ask(far[:2])
        one.ask(near[:2])
        two.ask(far[2:])
        one.ask(near[2:])
        assert ahead.held == 1_000_000
        ahead.take(first)
        bodies = [ahead.take(wanted_range) for wanted_range in (*near, *far)]
    assert [span for _, span in server.log] == ["0-999999", "0-429999", "900000-1329999"]
    content = (made.folder / "0-B04.tif").read_bytes()
    assert bodies == [content[w.offset : w.offset + w.size] for w in (*near, *far)]
    assert ahead.held == 0


def test_what_is_only_announced_leaves_room_for_what_has_begun(made: Made, server: RangeServer) -> None:
    server.always["/0-B04.tif"] = "hold"
    server.faults["/0-B04.tif"] = [""]
    ahead = ByteRanges(budget=100_000)
    opened = ahead.open(f"{server.url}/0-B04.tif")
    ranges = [ByteRange(n, opened, n * 200_000, 20_000) for n in range(10)]
    with ahead.hint(soon=True) as soon, ahead.hint() as begun:
        soon.ask(ranges)
        assert ahead.held == 60_000
        begun.ask(ranges[8:])  # they are the same blocks: what is in more of a hurry goes first
        assert ahead.held == 100_000
        soon.close()
        assert ahead.held == 40_000
    assert ahead.held == 0


def test_a_request_for_several_is_dropped_when_nobody_waits_for_any(made: Made, server: RangeServer) -> None:
    server.always["/0-B04.tif"] = "hold"
    server.faults["/0-B04.tif"] = [""]
    ahead = ByteRanges()
    opened = ahead.open(f"{server.url}/0-B04.tif")
    one, two = ahead.hint(soon=True), ahead.hint(soon=True)
    ahead.ask([(one, [ByteRange(1, opened, 0, 50_000)]), (two, [ByteRange(2, opened, 50_000, 50_000)])])
    assert ahead.held == 100_000
    one.close()
    assert ahead.held == 100_000
    two.close()
    assert ahead.held == 0
    assert len(server.log) <= 2


def test_no_more_requests_begin_than_there_are_connections(made: Made, server: RangeServer) -> None:
    """The others wait, so that neighbours may join them and what is in more of a hurry may go first."""
    server.always["/0-B04.tif"] = "hold"
    server.faults["/0-B04.tif"] = [""]
    ahead, most = ByteRanges(), http.client().connections
    opened = ahead.open(f"{server.url}/0-B04.tif")
    with ahead.hint(soon=True) as hint:
        hint.ask([ByteRange(n, opened, n * 100_000, 1) for n in range(most + 50)])
        assert ahead.held == most


def test_tags_beyond_the_first_bytes_are_read(made: Made, server: RangeServer) -> None:
    values = np.arange(2048 * 2048, dtype=np.uint16).reshape(2048, 2048)
    path = write_tif(made.folder / "long.tif", values, tiled=True, blockxsize=16, blockysize=16, compress="zstd")
    opened = ByteRanges().open(f"{server.url}/long.tif")
    assert opened.images is not None
    assert len(opened.images[0].offsets) == 128 * 128
    assert opened.size == path.stat().st_size


# -------------------------------------------------------------------------------------------------- files for GDAL


@pytest.mark.parametrize(
    ("name", "profile"),
    [("strips.tif", {"tiled": False}), ("a.jp2", {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": True})],
)
def test_what_gdal_reads_comes_through_us(
    made: Made, server: RangeServer, name: str, profile: dict[str, object]
) -> None:
    values = np.random.default_rng(1).integers(1, 4000, (600, 600)).astype(np.uint16)
    options = {"compress": None, "tiled": True, **profile} if name.endswith("jp2") else profile
    path = write_tif(made.folder / name, values, **options)
    asset = made.asset(path)
    server.redirects["/moved-" + name] = f"{server.url}/{name}"
    far = replace(asset, href=f"{server.url}/moved-{name}?signature=secret")
    local, remotely = (
        pixels(
            Engine(64 << 20), made.chain(BANDS[:1], [made.scene("s", "2018-06-01", {"B04": a})]).max("t"), UPPER_LEFT
        )
        for a in (asset, far)
    )
    assert not remotely.report.failed
    np.testing.assert_array_equal(remotely.values, local.values)
    assert [p for p, _ in server.log].count(f"/moved-{name}?signature=secret") == 1


@pytest.mark.parametrize("layout", [{}, {"tiled": False}])
def test_masks_inside_come_with_the_pixels_they_hide(
    made: Made, server: RangeServer, layout: dict[str, object]
) -> None:
    values = np.random.default_rng(1).integers(0, 4000, (SIZE, SIZE)).astype(np.uint16)
    valid = np.random.default_rng(2).random((SIZE, SIZE)) < 0.7
    path = made.folder / f"masked-{len(layout)}.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_tif(path, values, **({"tiled": True, "blockxsize": 256, "blockysize": 256} | layout))
        with rasterio.open(path, "r+") as file:
            file.write_mask(valid)
    asset = made.asset(path)
    engine = Engine(64 << 20)
    found = pixels(engine, largest(made, on(server)(asset)), WHOLE)
    assert not found.report.failed
    right = np.where(valid, (values * BANDS[0].scale).astype(np.float32), np.nan)
    right[values == (BANDS[0].nodata if BANDS[0].nodata is not None else -1)] = np.nan
    np.testing.assert_array_equal(found.values[0], right)
    if not layout:  # asked for ahead, together: a round for the tags and one for all blocks
        assert engine.counters()["blocks_decoded"] == 2 * (SIZE // 256) ** 2


def test_what_gdal_does_not_get_is_told_in_the_servers_words(made: Made, server: RangeServer) -> None:
    values = np.random.default_rng(1).integers(1, 4000, (600, 600)).astype(np.uint16)
    asset = made.asset(write_tif(made.folder / "breaks.tif", values, tiled=False))
    server.faults["/breaks.tif"] = ["", *["404"] * 50]
    found = pixels(Engine(64 << 20), largest(made, on(server)(asset)), UPPER_LEFT)
    assert found.report.failed == (("s", "127.0.0.1 answered 404 Fault"),)


def test_a_damaged_file_is_told_without_its_signature(made: Made, server: RangeServer) -> None:
    (made.folder / "damaged.tif").write_bytes(b"II*\0" + b"nonsense" * 100)
    asset = replace(made.asset(made.folder / "0-B04.tif"), href=f"{server.url}/damaged.tif?signature=secret", size=None)
    found = pixels(Engine(64 << 20), largest(made, asset), UPPER_LEFT)
    ((_, reason),) = found.report.failed
    assert "cannot be opened" in reason
    assert "secret" not in reason


# --------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("status", ["404", "403", "500"])
def test_a_scene_that_cannot_be_had_is_left_out(made: Made, server: RangeServer, status: str) -> None:
    server.always["/2-B08.tif"] = status
    found = pixels(Engine(64 << 20), median(made, scenes(made, on(server, "?signature=secret"))), UPPER_LEFT)
    ((id, reason),) = found.report.failed
    assert id == "scene-2"
    assert "127.0.0.1" in reason
    assert status in reason
    assert "secret" not in reason
    without = [s for s in scenes(made) if s.id != "scene-2"]
    np.testing.assert_array_equal(found.values, pixels(Engine(64 << 20), median(made, without), UPPER_LEFT).values)
    tries = [path for path, _ in server.log if path.startswith("/2-B08.tif")]
    assert len(tries) == (http.TRIES if status == "500" else 1), "asked for once a view, whatever needs it"


@pytest.mark.parametrize("fault", ["429", "503", "cut"])
def test_what_may_pass_is_tried_again(made: Made, server: RangeServer, fault: str) -> None:
    for n in range(DATES):
        server.faults[f"/{n}-B04.tif"] = [fault, fault]
    found = pixels(Engine(64 << 20), median(made, scenes(made, on(server))), UPPER_LEFT)
    assert not found.report.failed
    expected = pixels(Engine(64 << 20), median(made, scenes(made)), UPPER_LEFT)
    np.testing.assert_array_equal(found.values, expected.values)


def test_an_answer_that_is_always_cut_is_refused(server: RangeServer) -> None:
    server.always["/0-B04.tif"] = "cut"
    with pytest.raises(ReadError, match="broke off"):
        http.client().fetch(f"{server.url}/0-B04.tif", 0, 1000)
    assert len(server.log) == http.TRIES


def test_a_server_that_is_not_there(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_ALLOWED_HOSTS", "127.0.0.1")
    with pytest.raises(ReadError, match="127.0.0.1 cannot be reached"):
        http.client().fetch("http://127.0.0.1:9/a.tif?signature=secret", 0, 10)


def test_a_file_of_another_size_is_refused(made: Made, server: RangeServer) -> None:
    found = pixels(
        Engine(64 << 20),
        median(made, scenes(made, lambda a: replace(on(server)(a), size=(a.size or 0) + 1))),
        UPPER_LEFT,
    )
    assert len(found.report.failed) == DATES
    assert "when the chain was published" in found.report.failed[0][1]


def test_a_file_that_was_replaced_is_left_out_until_the_cluster_begins_anew(made: Made, server: RangeServer) -> None:
    """One hash must not show old pixels at one place and new ones at the next, also where nothing pins the file."""
    engine, chain = Engine(64 << 20), median(made, scenes(made, on(server)))
    pixels(engine, chain, UPPER_LEFT)
    server.tag = '"2"'
    right = window(512, 512, corner=(364_000.0 + 5120, 4_833_900.0))
    for _ in range(3):
        found = pixels(engine, chain, right)
        assert [id for id, _ in found.report.failed] == sorted(s.id for s in scenes(made, on(server)))
        assert all("was replaced since it was first read" in reason for _, reason in found.report.failed)
    engine.reader.close()  # what is known of files' blocks is dropped, what they were is not
    assert pixels(engine, chain, right).report.failed
    assert not pixels(Engine(64 << 20), chain, right).report.failed


def test_servers_of_a_farm_may_disagree_on_what_one_leaves_out() -> None:
    part = http.Part(b"", 10, '"a"', "Mon")
    assert part.same_file(replace(part, tag='"b"'))
    assert part.same_file(replace(part, tag=None, modified=None))
    assert not part.same_file(replace(part, tag='"b"', modified="Tue"))
    assert not part.same_file(replace(part, size=11))


def test_a_server_without_ranges(made: Made, server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files come whole; large ones are refused rather than sent whole for every block."""
    server.ranges = False
    url, content = f"{server.url}/0-SCL.tif", (made.folder / "0-SCL.tif").read_bytes()
    assert http.client().fetch(url, 100, 50).body == content[100:150]
    monkeypatch.setattr(http, "WHOLE", 1000)
    with pytest.raises(ReadError, match="knows no byte ranges"):
        http.client().fetch(url, 100, 50)


# ---------------------------------------------------------------------------------------------------- what is allowed


def test_redirects_within_what_is_allowed_are_followed_once(made: Made, server: RangeServer) -> None:
    for path in made.folder.glob("*.tif"):
        server.redirects[f"/moved/{path.name}"] = f"/{path.name}"
    moved = scenes(made, lambda a: replace(a, href=f"{server.url}/moved/{a.href}"))
    found = pixels(Engine(64 << 20), median(made, moved), UPPER_LEFT)
    assert not found.report.failed
    asked = [path for path, _ in server.log if path.startswith("/moved")]
    assert len(asked) == len(set(asked)) == 3 * DATES


def test_an_address_that_has_expired_is_asked_for_anew(server: RangeServer) -> None:
    url = f"{server.url}/moved.tif"
    server.redirects["/moved.tif"] = f"{server.url}/0-B04.tif?signature=1"
    http.client().fetch(url, 0, 100)
    server.faults["/0-B04.tif"] = ["403"]
    server.redirects["/moved.tif"] = f"{server.url}/0-B04.tif?signature=2"
    server.forget()
    assert len(http.client().fetch(url, 100, 100).body) == 100
    assert [path for path, _ in server.log] == [
        "/0-B04.tif?signature=1", "/moved.tif", "/0-B04.tif?signature=2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["0-B04.tif", "strips.tif"])
def test_redirects_to_elsewhere_are_not_followed(made: Made, server: RangeServer, name: str) -> None:
    """By nobody: GDAL is not given the URL."""
    with serving(made.folder) as inner:
        server.redirects["/moved.tif"] = f"{inner.url}/{name}?signature=secret"
        asset = replace(made.asset(made.folder / "0-B04.tif"), href=f"{server.url}/moved.tif", size=None)
        found = pixels(
            Engine(64 << 20),
            made.chain(BANDS[:1], [made.scene("s", "2018-06-01", {"B04": asset})]).max("t"),
            UPPER_LEFT,
        )
        ((_, reason),) = found.report.failed
        assert "127.0.0.1 redirects to 127.0.0.1, which cannot be read: only https URLs are allowed" in reason
        assert "secret" not in reason
        assert inner.log == []


def test_circles_of_redirects_end(server: RangeServer) -> None:
    server.redirects["/moved.tif"] = f"{server.url}/moved.tif"
    with pytest.raises(ReadError, match="more than 5 times"):
        http.client().fetch(f"{server.url}/moved.tif", 0, 10)


def test_a_name_that_leads_elsewhere_when_connecting_is_refused(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name service may say something else the second time: the connection is looked at as well."""
    monkeypatch.setenv("MUSES_ALLOWED_HOSTS", "")
    monkeypatch.setattr(access, "check_url", lambda url, lookup=None: url)
    with pytest.raises(ReadError, match="private address 127.0.0.1"):
        http.client().fetch(f"{server.url}/0-B04.tif", 0, 10)
    assert server.log == []


# -------------------------------------------------------------------------------------------------------- cancellation


def test_a_cancelled_evaluation_does_not_wait_for_its_answers(made: Made, server: RangeServer) -> None:
    server.always |= {f"/{n}-B04.tif": "hold" for n in range(DATES)}
    engine, chain = Engine(64 << 20), median(made, scenes(made, on(server)))
    gone = threading.Event()
    threading.Timer(0.3, gone.set).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        pixels(engine, chain, UPPER_LEFT, gone.is_set)
    assert time.monotonic() - begun < 10, "it waited for the server"
    assert held(engine) == 0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def held(engine: Engine) -> int:
    return engine.reader.on_the_way
