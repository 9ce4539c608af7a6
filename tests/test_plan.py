"""What a plan tells before anything runs, against what then happens."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.api.collection import Collection
from muses_lab.engine import Engine
from muses_lab.engine.mosaic import layout
from tests.helpers.made_scenes import pixels

EXTENT = (1.36, 43.56, 1.42, 43.62)


def happened(chain: Chain, box: GeoBox) -> tuple[int, int, int, int]:
    """Scenes found, blocks of the result, blocks read and bytes decoded."""
    engine = Engine(256 << 20)
    engine.reader.log = []
    found = pixels(engine, chain, box)
    counters = engine.counters()
    assert len(engine.reader.log) == counters["blocks_decoded"]
    blocks = len(layout(chain.published.prepared, box).tasks)
    return found.report.scenes_found, blocks, counters["blocks_decoded"], counters["bytes_decoded"]


def tiles(zoom: int, columns: int = 1) -> GeoBox:
    n = 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(43.6))) / math.pi) / 2
    corner = ml.Window.tile(zoom, int((1.40 + 180) / 360 * n), int(y * n)).affine
    return GeoBox((256, 256 * columns), corner, "EPSG:3857")


@pytest.mark.parametrize("zoom", [11, 12, 13, 14])
@pytest.mark.parametrize("bands", [("B04",), ("B04", "B08")])
def test_a_plan_of_10_m_bands_is_what_happens(s2: Collection, zoom: int, bands: tuple[str, ...]) -> None:
    chain = s2.bands(*bands).max("t")
    plan = chain.plan(tiles(zoom))
    assert (plan.scenes, plan.blocks, plan.reads, plan.bytes) == happened(chain, tiles(zoom))
    assert plan.bytes == 2 * plan.pixels and plan.seconds > 0
    assert plan.reads > 0


def test_a_plan_of_bands_of_several_resolutions_is_what_happens_on_all_of_the_data(s2: Collection) -> None:
    """File blocks of 20 m bands hold four blocks of the grid: over all of them the bytes agree."""
    chain = s2.bands("B04", "B11", "SCL").max("t")
    for size in (10, 40):
        box = ml.Window.from_bounds((1.25, 43.54, 1.49, 43.66), crs="EPSG:32631", resolution=size)
        plan = chain.plan(box)
        scenes, blocks, read, size_read = happened(chain, box)
        assert (plan.scenes, plan.blocks) == (scenes, blocks)
        assert plan.bytes <= size_read <= 1.05 * plan.bytes, "a block of a 20 m band may hold one that nobody needs"
        assert read <= plan.reads


def test_a_part_of_the_data_costs_about_what_the_plan_says(s2: Collection) -> None:
    chain = s2.bands("B04", "B11").max("t")
    plan = chain.plan(tiles(14))
    *_, size = happened(chain, tiles(14))
    assert plan.bytes <= size <= 2 * plan.bytes


def test_dates_that_are_filtered_out_are_not_planned(s2: Collection) -> None:
    node = s2.bands("B04")
    summer = node._with("filter_temporal", data=node._node, extent=["2018-05-01", "2018-08-01"]).max("t")
    plan = summer.plan(tiles(13))
    assert (plan.scenes, plan.blocks, plan.reads, plan.bytes) == happened(summer, tiles(13))
    assert plan.reads < s2.bands("B04").max("t").plan(tiles(13)).reads


def test_where_there_is_nothing_a_plan_costs_nothing(s2: Collection) -> None:
    plan = s2.ndvi().median("t").plan(GeoBox((256, 256), Affine(10, 0, 5_000_000, 0, -10, 1_000_000), "EPSG:3857"))
    assert (plan.scenes, plan.blocks, plan.reads, plan.pixels, plan.bytes, plan.seconds) == (0, 0, 0, 0, 0, 0)
    assert "nothing here" in str(plan)


WHOLE = {
    "region": lambda chain: (chain > 0.4).connected_components(extent=EXTENT, resolution=20),
    "fit": lambda chain: chain.otsu(extent=EXTENT, resolution=20),
    "at_resolution": lambda chain: chain.at_resolution(20),
    "on_grid": lambda chain: chain.on_grid("EPSG:2154", 20),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("zoom", [12, 14])
def test_what_is_evaluated_elsewhere_is_planned_too(s2: Collection, kind: str, zoom: int) -> None:
    """Pinned extents, pinned resolutions and other grids are read for, and their scenes are named."""
    chain = WHOLE[kind](s2.ndvi().max("t"))
    plan = chain.plan(tiles(zoom))
    scenes, blocks, read, size = happened(chain, tiles(zoom))
    assert (plan.scenes, plan.blocks) == (scenes, blocks)
    assert scenes > 0
    assert 0.5 * size <= plan.bytes <= 2 * size
    assert 0.5 * read <= plan.reads <= 2 * read


def test_a_plan_reads_nothing_and_needs_little_memory(s2: Collection) -> None:
    """Also of a window of a whole country."""
    chain = s2.mask_clouds().ndvi().median("t")
    box = ml.Window.from_bounds((0.8, 43.2, 2.0, 44.0), crs="EPSG:32631", resolution=10)
    assert box.shape.x * box.shape.y > 80e6
    _ = chain.published.prepared
    tracemalloc.start()
    try:
        plan = chain.plan(box)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert plan.blocks == 17 and plan.scenes == len(s2)
    assert peak < 1 << 30
    levels = plan.levels
    assert set(levels.values()) == {10.0} and np.isfinite(plan.seconds)
    assert f"{plan.scenes} scenes" in str(plan)
