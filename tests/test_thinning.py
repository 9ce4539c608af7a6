"""The thinning rule: which dates a reduction uses where a long series is seen from far away; nothing else moves."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from muses_lab.api.chain import Chain
from muses_lab.compute.windows import WindowReport
from muses_lab.engine import Engine
from muses_lab.engine.mosaic import layout
from muses_lab.engine.thinning import limit, thinned
from muses_lab.errors import DocumentError
from muses_lab.operators import registry
from muses_lab.operators.cubes import THINNING
from muses_lab.publish.pinning import Found, Searches
from muses_lab.raster.asset import Band
from muses_lab.scenes.scene import Scene, Scenes
from muses_lab.service.reports import Reports
from muses_lab.service.tile import Tile
from tests.helpers.examples import examples
from tests.helpers.made_scenes import CORNER, UTM31, Made, chain_of, pixels, values, window, write_tif

SIZE, DATES = 512, 24
BANDS = [Band("B", nodata=0.0), Band("C", dtype="uint8", categorical=True, overviews="nearest")]

# ------------------------------------------------------------------------------------------------------- the rule

cover = st.one_of(st.just(math.nan), st.floats(0, 100), st.sampled_from([0.0, 50.0, 100.0]))


@st.composite
def series(draw) -> dict[np.datetime64, float]:
    days = draw(st.lists(st.integers(0, 4000), min_size=1, max_size=200, unique=True))
    start = np.datetime64("2016-01-01T10:50", "ns")
    return {start + np.timedelta64(day, "D"): draw(cover) for day in days}


def worse(clouds: float) -> float:
    return 100.0 if math.isnan(clouds) else clouds


def used(clouds: dict[np.datetime64, float], most: int) -> list[np.datetime64]:
    rule = thinned(clouds, most)
    return sorted(clouds if rule is None else clouds.keys() - rule.left_out)


@given(series(), st.integers(1, 150))
def test_one_date_of_each_part_of_equal_number_the_least_cloudy_one(clouds, most: int) -> None:
    chosen, every = used(clouds, most), sorted(clouds)
    assert len(chosen) == min(most, len(every))
    if len(every) <= most:
        return
    sizes = set()
    for number, time in enumerate(chosen):
        part = every[number * len(every) // most : (number + 1) * len(every) // most]
        sizes.add(len(part))
        assert time in part, "evenly over time: one of each part"
        assert all((worse(clouds[time]), time) <= (worse(clouds[other]), other) for other in part)
    assert max(sizes) - min(sizes) <= 1
    rule = thinned(clouds, most)
    assert rule is not None and (rule.used, rule.of) == (most, len(every))


@given(series(), st.integers(1, 150), st.data())
def test_a_date_that_is_used_stays_when_it_gets_clearer(clouds, most: int, data) -> None:
    time = data.draw(st.sampled_from(used(clouds, most)))
    clearer = {**clouds, time: worse(clouds[time]) * data.draw(st.floats(0, 1))}
    assert time in used(clearer, most)


@given(series(), st.integers(1, 150), st.randoms())
def test_the_order_in_which_dates_are_known_does_not_matter(clouds, most: int, random) -> None:
    shuffled = list(clouds.items())
    random.shuffle(shuffled)
    assert used(dict(shuffled), most) == used(clouds, most)


def test_fewer_dates_the_coarser_the_level_and_all_near_native() -> None:
    assert [limit(level, [THINNING]) for level in range(9)] == [None] * 3 + [128, 96, 64, 48, 48, 48]
    assert [limit(level, [[10, 5]]) for level in (2, 3, 4, 5)] == [None, 10, 5, 5]
    assert limit(9, [[]]) is None and limit(9, []) is None
    assert [limit(level, [[], [10, 5], [7, 6]]) for level in (3, 4)] == [7, 5], "of several lists the smallest"


# ----------------------------------------------------------------------------------------------------- evaluation


def thin(scenes: Scenes) -> Chain:
    """Level 3: 8 dates, level 4 and coarser: 5."""
    return chain_of(scenes, thinning=[8, 5])


def whole(scenes: Scenes) -> Chain:
    return chain_of(scenes, thinning=[])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """24 dates of one grid, each with its own values, classes and cloud cover."""
    made = Made(tmp_path_factory.mktemp("thinning"))
    rng = np.random.default_rng(7)
    found: list[Scene] = []
    for number in range(DATES):
        truth = rng.integers(1, 3000, (SIZE, SIZE)).astype(np.uint16)
        classes = rng.integers(0, 3, (SIZE, SIZE)).astype(np.uint8)
        b = write_tif(made.folder / f"{number}/B.tif", truth, overviews=(2, 4, 8))
        c = write_tif(made.folder / f"{number}/C.tif", classes, overviews=(2, 4, 8), resampling="nearest")
        day = (dt.date(2018, 1, 3) + dt.timedelta(days=15 * number)).isoformat()
        cloud = [80.0, 10.0, None, 40.0, 10.0][number % 5]
        assets = {"B": made.asset(b), "C": made.asset(c)}
        found.append(made.scene(f"s{number:02d}", day, assets, grid="MGRS-31TCJ", cloud_cover=cloud))
    return made.scenes(BANDS, found)


def only(scenes: Scenes, chosen: list[np.datetime64]) -> Scenes:
    days = {str(t)[:10] for t in chosen}
    return Scenes(
        scenes.collection, scenes.catalog, scenes.bands, [s for s in scenes.scenes if s.datetime[:10] in days]
    )


def rule(scenes: Scenes, most: int) -> list[np.datetime64]:
    clouds = {np.datetime64(s.datetime[:-1], "ns"): s.cloud_cover for s in scenes.scenes}
    return used({t: math.nan if c is None else c for t, c in clouds.items()}, most)


def summer(chain: Chain) -> Chain:
    return chain._with("filter_temporal", data=chain._node, extent=["2018-04-01", "2018-12-01"])


def selected(chain: Chain) -> Chain:
    return chain.band("C") == 1


CHAINS = {
    "mean": lambda b: b.band("B").mean("t"),
    "median": lambda b: b.band("B").median("t"),
    "count": lambda b: b.band("B").count("t"),
    "every date": lambda b: b.band("B").mean("t", ignore_nodata=False),
    "masked": lambda b: b.band("B").mask(selected(b)).median("t"),
    "replaced": lambda b: b._with(
        "mask", data=b.band("B")._node, mask=selected(b)._node, replacement=0.0
    ).mean("t"),
    "focal": lambda b: b.band("B").mean("t").focal_mean(2),
    "expression": lambda b: (b.band("B") * 2 + b.band("C")).quantile(0.3, "t"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize(("pixel", "most"), [(80, 8), (160, 5), (320, 5)])
def test_a_reduction_far_away_is_that_of_the_dates_the_rule_chooses(
    scenes: Scenes, kind: str, pixel: int, most: int
) -> None:
    box = window(SIZE * 10 // pixel, SIZE * 10 // pixel, pixel)
    found = values(CHAINS[kind](thin(scenes)), box)
    expected = values(CHAINS[kind](whole(only(scenes, rule(scenes, most)))), box)
    assert np.array_equal(found, expected, equal_nan=True) and np.isfinite(found).any()
    if kind != "masked":
        every = values(CHAINS[kind](whole(scenes)), box)
        assert not np.array_equal(found, every, equal_nan=True), "all dates give other values"


@pytest.mark.parametrize("pixel", [10, 20, 40])
def test_near_native_every_date_is_used(scenes: Scenes, pixel: int) -> None:
    box = window(SIZE * 10 // pixel, SIZE * 10 // pixel, pixel)
    found = pixels(Engine(64 << 20), thin(scenes).band("B").count("t"), box)
    assert (found.values == DATES).all() and found.report.thinned is None


def test_dates_that_the_chain_filters_out_do_not_count(scenes: Scenes) -> None:
    """Nor where the filter stands between the data and a mask made of all dates."""
    box = window(SIZE // 8, SIZE // 8, 80)
    some = Scenes(
        scenes.collection, scenes.catalog, scenes.bands,
        [s for s in scenes.scenes if "2018-04-01" <= s.datetime[:10] < "2018-12-01"],
    )  # fmt: skip
    assert 8 < len(some) < DATES
    every = thin(scenes)
    chains = [summer(every.band("B")).mean("t"), summer(every.band("B")).mask(selected(every)).mean("t")]
    found = [values(chain, box) for chain in chains]
    chosen = whole(only(scenes, rule(some, 8)))
    expected = [chosen.band("B").mean("t"), chosen.band("B").mask(selected(chosen)).mean("t")]
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a, values(b, box), equal_nan=True)


def test_two_reductions_of_one_list_are_thinned_each_by_its_own_dates(scenes: Scenes) -> None:
    box = window(SIZE // 8, SIZE // 8, 80)
    data = thin(scenes).band("B")
    early = data._with("filter_temporal", data=data._node, extent=[None, "2018-04-01"])
    assert (values(summer(data).count("t") * 100 + early.count("t"), box) == 806).all()


def test_a_series_that_is_not_reduced_keeps_its_dates(scenes: Scenes) -> None:
    cube = pixels(Engine(64 << 20), thin(scenes).band("B"), window(SIZE // 8, SIZE // 8, 80))
    assert np.isfinite(cube.values).all() and len(cube.values) == DATES
    assert cube.report.thinned is None


def test_all_scenes_are_found_some_are_used_and_the_report_says_so(scenes: Scenes) -> None:
    chain, box = thin(scenes).band("B").median("t"), window(SIZE // 8, SIZE // 8, 80)
    engine = Engine(64 << 20)
    engine.reader.log = []
    report = pixels(engine, chain, box).report
    assert (report.scenes_found, report.scenes_used, report.thinned) == (DATES, 8, (8, DATES))
    assert len({entry[0] for entry in engine.reader.log}) == 8, "what is not used is not read"
    plan = chain.plan(box)
    assert (plan.scenes, plan.reads) == (DATES, 8)
    assert str(plan).endswith("thinned to 8 of 24 dates at this zoom: zoom in for all")
    assert "thinned" not in str(chain.plan(window(SIZE, SIZE, 10)))


def mercator(zoom_pixel: float, rows: slice, cols: slice) -> GeoBox:
    corner = Affine(zoom_pixel, 0, 145_000, 0, -zoom_pixel, 5_412_000)
    return GeoBox((128, 128), corner, "EPSG:3857")[rows, cols]


@settings(max_examples=examples(5))
@given(st.sampled_from([114.4, 152.9, 305.7]), st.integers(0, 100), st.integers(0, 100), st.integers(1, 28))
def test_no_seams_and_a_tile_is_its_export(scenes: Scenes, pixel: float, row: int, col: int, size: int) -> None:
    """The dates depend on the level, never on the window: any part of a window has the values of the whole."""
    chain = thin(scenes).band("B").median("t")
    all = mercator(pixel, slice(0, 128), slice(0, 128))
    rows, cols = slice(row, row + size), slice(col, col + size)
    part = mercator(pixel, rows, cols)
    assert np.array_equal(values(chain, all)[rows, cols], values(chain, part), equal_nan=True)
    assert np.isfinite(values(chain, all)).any()
    prepared = chain.published.prepared
    thinnings = {layout(prepared, box).thinning for box in (all, part) if layout(prepared, box).tasks}
    assert len(thinnings) == 1


def test_each_grid_has_its_own_dates(tmp_path: Path) -> None:
    """Two grids side by side, seen on different days: 8 of each, by their own clouds."""
    made = Made(tmp_path)
    found = []
    for grid, shift in (("MGRS-A", 0), ("MGRS-B", 1)):
        corner = (CORNER[0] + shift * 2560.0, CORNER[1])
        path = write_tif(tmp_path / f"{grid}.tif", np.full((256, 256), 100 + shift, np.uint16), corner=corner)
        for number in range(10 + 2 * shift):
            day = (dt.date(2018, 1, 1 + shift) + dt.timedelta(days=4 * number)).isoformat()
            found.append(made.scene(f"{grid}-{number}", day, {"B": made.asset(path)}, grid=grid))
    chain = thin(made.scenes([Band("B", nodata=0.0)], found))
    report = pixels(Engine(64 << 20), chain.band("B").count("t"), window(32, 64, 80, crs=UTM31))
    assert (report.values == 8).all()
    assert report.report.thinned == (8, 12), "the longest series is named"
    source = next(iter(chain.published.prepared.sources.values()))
    assert [len(source.dates(grid)) for grid in sorted(source.grids)] == [10, 12]


@pytest.fixture
def series(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """Of a collection that is not pinned yet."""
    monkeypatch.setattr(Searches, "anew", lambda self, node: Found(scenes, (), None))
    return Chain(registry.node("load_collection", id="made")).band("B").count("t")


def test_a_hash_names_the_dates_whoever_evaluates(series: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule is that of the process that pins the scenes; what a worker's environment says changes no pixel."""
    box = window(SIZE // 8, SIZE // 8, 80)
    plain = series.resolve()
    monkeypatch.setenv("MUSES_THINNING", "8,5")
    few = series.resolve()
    monkeypatch.setenv("MUSES_THINNING", "off")
    assert (values(few, box) == 8).all() and (values(plain, box) == DATES).all()
    monkeypatch.delenv("MUSES_THINNING")
    assert (values(Chain.from_json(few.to_json(artefacts=True)), box) == 8).all()
    assert few.hash != plain.hash and "thinning" not in json.dumps(plain.to_json()), "the usual rule is not written out"


def test_numbers_that_are_none_are_refused_where_they_are_written(
    series: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("many", "0", "10,-1"):
        monkeypatch.setenv("MUSES_THINNING", wrong)
        with pytest.raises(ValueError, match="MUSES_THINNING=.*neither 'off' nor positive numbers such as '128,96"):
            series.resolve()
    with pytest.raises(DocumentError, match="thinning"):
        registry.node("muses:load_items", digest="0" * 64, thinning=[0])


def test_the_status_of_a_layer_names_the_longest_thinned_series() -> None:
    reports = Reports()
    for x, dates in enumerate([(48, 60), None, (48, 340)]):
        report = WindowReport(frozenset("a"), frozenset("ab"), (), (640.0,), dates)
        reports.done("chain", Tile(5, x, 1), report)
    assert reports.summary("chain")["thinned"] == {"used": 48, "of": 340}
    assert reports.summary("other")["thinned"] is None
