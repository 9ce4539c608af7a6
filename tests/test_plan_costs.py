"""What plans foresee against the counters of what then happens: within a factor of two, whatever the chain and zoom."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.api.collection import Collection
from muses_lab.api.combine import rgb
from muses_lab.engine import Engine
from muses_lab.engine.cost import Plan
from muses_lab.raster.asset import Band
from tests.helpers.made_scenes import Made, pixels, window, write_tif


def view(zoom: int, columns: int = 2) -> GeoBox:
    n = 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(43.6))) / math.pi) / 2
    corner = ml.Window.tile(zoom, int((1.40 + 180) / 360 * n), int(y * n)).affine
    return GeoBox((256, 256 * columns), corner, "EPSG:3857")


def compared(chain: Chain, box: GeoBox) -> tuple[Plan, int, int, int]:
    """The plan; scenes found, blocks and bytes that were decoded."""
    plan = chain.plan(box)
    engine = Engine(256 << 20)
    found = pixels(engine, chain, box)
    counters = engine.counters()
    return plan, found.report.scenes_found, counters["blocks_decoded"], counters["bytes_decoded"]


CHAINS = {
    "clear ndvi": lambda s2: s2.mask_clouds().ndvi().median("t"),
    "focal": lambda s2: s2.ndvi().max("t").focal_mean(3),
    "focal series": lambda s2: s2.band("red").focal_median(2).mean("t"),
    "rgb": lambda s2: rgb(*(s2.band(name).median("t") for name in ("red", "green", "blue"))),
    "20 m": lambda s2: s2.mndwi().max("t"),
    "classes": lambda s2: (s2.band("SCL") == 4).sum("t"),
    "pinned": lambda s2: s2.ndvi().max("t").at_resolution(80),
}


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("zoom", [9, 11, 12, 13, 14, 16])
def test_bytes_are_foreseen_within_a_factor_of_two_and_scenes_exactly(s2: Collection, kind: str, zoom: int) -> None:
    plan, scenes, blocks, size = compared(CHAINS[kind](s2), view(zoom))
    assert plan.scenes == scenes > 0
    assert size / 2 <= plan.bytes <= 2 * size
    assert blocks / 2 <= plan.reads <= 2 * blocks
    assert plan.evaluated > 0 and plan.seconds > 0


def test_the_halo_of_a_neighbourhood_is_foreseen(tmp_path: Path) -> None:
    """A block in the middle needs rims of its neighbours: whole blocks of the file are decoded for them.

    A window that is smaller than a block needs only those that it comes near to.
    """
    made = Made(tmp_path)
    truth = np.random.default_rng(3).integers(1, 999, (1536, 1536)).astype(np.uint16)
    path = write_tif(tmp_path / "a.tif", truth, tiled=True, blockxsize=512, blockysize=512)
    scene = made.scene("a", "2018-06-10", {"B": made.asset(path)}, grid="MGRS-31TCJ")
    chain = made.chain([Band("B")], [scene]).band("B").max("t")
    west, north = 364_000.0, 4_833_900.0
    block, middle = (
        window(512, 512, corner=(west + 5120, north - 5120)),
        window(100, 100, corner=(west + 7000, north - 7000)),
    )
    corner = window(100, 100, corner=(west + 5120, north - 5120))
    focal = chain.focal_mean(2)
    for made_of, where, blocks in ((chain, block, 1), (focal, block, 9), (focal, middle, 1), (focal, corner, 4)):
        plan, _, read, size = compared(made_of, where)
        assert (plan.reads, plan.bytes) == (read, size) == (blocks, blocks * 512 * 512 * 2)


def test_pixels_times_dates_are_counted_once_for_bands_and_masks_together(s2: Collection) -> None:
    one, both = s2.band("red").max("t"), s2.mask_clouds().ndvi().max("t")
    assert one.plan(view(13)).evaluated == both.plan(view(13)).evaluated
    assert one.plan(view(13)).evaluated % (512 * 512) == 0
