"""No seams: whatever the blocks, tiles and windows, and wherever UTM zones meet, a pixel has one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely.geometry
from affine import Affine
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.api.collection import Collection
from muses_lab.api.combine import rgb
from muses_lab.engine import Engine
from muses_lab.engine.arrays import Run, empty, on_axis
from muses_lab.engine.keys import BlockKey
from muses_lab.engine.stages import Piece
from muses_lab.raster.grid import BLOCK, Rect, block_rect
from muses_lab.raster.window import zoom_resolution
from muses_lab.render import render
from tests.helpers.examples import examples
from tests.helpers.made_scenes import never, pixels, with_wholes

EXTENT = (1.30, 43.56, 1.46, 43.64)
"""Across both tiles of the sample, which lie in different zones."""
MEETING = (1.372, 43.60)
"""Where the two tiles overlap."""
PHASES = (Phase.explicit, Phase.generate)
"""Shrinking would evaluate hundreds of chains."""


@pytest.fixture(scope="module")
def engines() -> Iterator[list[Engine]]:
    """Engines of different histories: one sees tiles, one large windows, one evaluates in one piece."""
    engines = [Engine(192 << 20) for _ in range(3)]
    yield engines
    for engine in engines:
        engine.reader.close()


# --------------------------------------------------------------------------------------------- chains of all supports

Draw = Callable[[st.SearchStrategy], object]
KINDS: dict[str, Callable[[Collection, Draw], Chain]] = {}
radius = st.integers(1, 7)
metres = st.sampled_from([15, 35, 80, 140])


def kind(make: Callable[[Collection, Draw], Chain]) -> Callable[[Collection, Draw], Chain]:
    KINDS[make.__name__] = make
    return make


def index(s2: Collection) -> Chain:
    return s2.mask_clouds().ndvi()


def green(s2: Collection) -> Chain:
    return index(s2).median("t") > 0.45


@kind
def median(s2: Collection, draw: Draw) -> Chain:
    return index(s2).median("t")


@kind
def mean_of_bands_at_10_and_20_m(s2: Collection, draw: Draw) -> Chain:
    return s2.mask_clouds().normalized_difference("nir", "swir16").mean("t")


@kind
def count(s2: Collection, draw: Draw) -> Chain:
    return index(s2).count("t")


@kind
def where(s2: Collection, draw: Draw) -> Chain:
    return index(s2).where(s2.band("nir") > draw(st.sampled_from([0.2, 0.3]))).std("t")


@kind
def dates(s2: Collection, draw: Draw) -> Chain:
    return index(s2)


@kind
def composite(s2: Collection, draw: Draw) -> Chain:
    clear = s2.mask_clouds()
    return rgb(clear.band("red").median("t"), clear.band("green").max("t"), clear.band("blue").quantile(0.3))


@kind
def focal_mean_in_pixels(s2: Collection, draw: Draw) -> Chain:
    return index(s2).median("t").focal_mean(draw(radius))


@kind
def focal_mean_in_metres(s2: Collection, draw: Draw) -> Chain:
    return index(s2).median("t").focal_mean(draw(metres), "m")


@kind
def focal_median_of_dates(s2: Collection, draw: Draw) -> Chain:
    return index(s2).focal_median(draw(st.integers(1, 2))).max("t")


@kind
def kernel(s2: Collection, draw: Draw) -> Chain:
    rows, cols = draw(st.sampled_from([(3, 3), (5, 1), (3, 7)]))
    weights = draw(st.lists(st.integers(-3, 3), min_size=rows * cols, max_size=rows * cols))
    return index(s2).median("t").apply_kernel(np.reshape(weights, (rows, cols)), 0.1)


@kind
def windows_of_pixels(s2: Collection, draw: Draw) -> Chain:
    size, overlap = draw(st.sampled_from([(16, 0), (50, 1), (96, 7)]))
    return index(s2).median("t").apply_neighborhood(lambda part: part.apply_kernel(np.ones((7, 5))), size, overlap)


@kind
def polygons(s2: Collection, draw: Draw) -> Chain:
    west, south, east, north = EXTENT
    middle = (west + east) / 2
    fields = {"type": "MultiPolygon", "coordinates": [
        [[[west, south], [middle, north], [west, north], [west, south]]],
        [[[middle, south], [east, south], [east, north], [middle, south]]],
    ]}  # fmt: skip
    reach = draw(st.integers(1, 3))
    return (
        index(s2)
        .median("t")
        .apply_polygon(fields, lambda part: part.apply_kernel(np.ones((1, 2 * reach + 1)), border=1))
    )


@kind
def clouds_widened(s2: Collection, draw: Draw) -> Chain:
    clouds = s2.band("SCL").isin([3, 8, 9, 10]).dilate(draw(radius))
    return s2.ndvi().mask(clouds).min("t")


@kind
def morphology(s2: Collection, draw: Draw) -> Chain:
    process = draw(st.sampled_from(["erode", "dilate", "opening", "closing"]))
    return getattr(green(s2), process)(draw(radius))


@kind
def two_neighbourhoods(s2: Collection, draw: Draw) -> Chain:
    smooth = index(s2).median("t").focal_mean(draw(radius))
    return (smooth - index(s2).median("t")).focal_mean(draw(metres), "m") * smooth


@kind
def at_resolution(s2: Collection, draw: Draw) -> Chain:
    return index(s2).median("t").focal_mean(draw(radius)).at_resolution(draw(st.sampled_from([10, 20, 40])))


@kind
def after_a_resolution(s2: Collection, draw: Draw) -> Chain:
    return index(s2).max("t").at_resolution(draw(st.sampled_from([20, 60]))).focal_mean(draw(radius)) > 0.3


@kind
def on_another_grid(s2: Collection, draw: Draw) -> Chain:
    size = draw(st.sampled_from([12.5, 20, 30]))
    return index(s2).median("t").on_grid("EPSG:2154", size).focal_mean(draw(radius))


@kind
def components(s2: Collection, draw: Draw) -> Chain:
    return green(s2).connected_components(draw(st.sampled_from([0, 4000])), extent=EXTENT, resolution=20)


@kind
def without_small_components(s2: Collection, draw: Draw) -> Chain:
    large = green(s2).connected_components(10_000, extent=EXTENT, resolution=20)
    return index(s2).median("t").where(large > 0)


@kind
def otsu(s2: Collection, draw: Draw) -> Chain:
    return index(s2).median("t").otsu(extent=EXTENT, resolution=40)


@kind
def otsu_then_focal(s2: Collection, draw: Draw) -> Chain:
    return index(s2).median("t").otsu(extent=EXTENT, resolution=40).focal_mean(draw(radius))


# ------------------------------------------------------------------------------------------------------- the checks


def tile_index(zoom: int, lon: float, lat: float) -> tuple[int, int]:
    n = 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
    return int((lon + 180) / 360 * n), int(y * n)


def tiles_window(zoom: int, x: int, y: int, columns: int, rows: int) -> GeoBox:
    """The window that so many tiles make."""
    corner = ml.Window.tile(zoom, x, y).affine
    return GeoBox((rows * 256, columns * 256), corner, "EPSG:3857")


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


def check_tiles(chain: Chain, engines: list[Engine], zoom: int, x: int, y: int) -> None:
    """Four tiles, and a window across them, against one window."""
    whole = pixels(engines[1], chain, tiles_window(zoom, x, y, 2, 2)).values
    for row in range(2):
        for col in range(2):
            tile = pixels(engines[0], chain, ml.Window.tile(zoom, x + col, y + row)).values
            assert same(tile, whole[..., row * 256 : row * 256 + 256, col * 256 : col * 256 + 256]), (col, row)


def check_window(chain: Chain, engines: list[Engine], box: GeoBox, inner: tuple[int, int, int, int]) -> None:
    """A part of a window, asked for alone, against the window."""
    r, c, h, w = inner
    whole = pixels(engines[1], chain, box).values
    part = pixels(engines[0], chain, box[r : r + h, c : c + w]).values
    assert same(part, whole[..., r : r + h, c : c + w])


def check_blocks(chain: Chain, engines: list[Engine], level: int, rect: Rect) -> None:
    """The blocks of each of a chain's grids against one evaluation of a rectangle that cuts them."""
    published = with_wholes(engines[0], chain.published)
    step = published.prepared.output
    engines[0].keep(published.hash, published)
    for grid in step.grids.values():
        extent = grid.rect(level)
        area = Rect(rect.r0 + extent.r0, rect.r1 + extent.r0, rect.c0 + extent.c0, rect.c1 + extent.c0)
        run, evaluator = Run(published.prepared, never, published.results), engines[2].evaluator
        piece = Piece(step, grid, level, area)
        planned = evaluator.plan(published.prepared, piece, published.results)
        once = np.asarray(on_axis(evaluator.piece(run, piece, planned), step).data)
        out = empty(step, area.shape).values
        for row, col in area.blocks():
            result = engines[0].run(published.hash, BlockKey(grid.id, level, row, col), never)
            common = block_rect(row, col).intersection(area)
            (r, c), (br, bc) = common.within(area), common.within(block_rect(row, col))
            assert result.values is not None
            out[..., r, c] = result.values[..., br, bc]
        assert np.array_equal(once, out, equal_nan=True), grid.id


@st.composite
def areas(draw: st.DrawFn) -> Rect:
    """Rectangles that cut blocks of 512 pixels, beside and beyond the edge of the data too."""
    r0, c0 = draw(st.integers(-40, BLOCK)), draw(st.integers(-40, BLOCK))
    return Rect(r0, r0 + draw(st.integers(1, 700)), c0, c0 + draw(st.integers(1, 700)))


def run_tiles(examples: int, s2: Collection, engines: list[Engine], name: str) -> None:
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None, phases=PHASES)
    @given(st.data(), st.integers(11, 14), st.integers(-1, 0), st.integers(-1, 0))
    def check(data: st.DataObject, zoom: int, dx: int, dy: int) -> None:
        x, y = tile_index(zoom, *MEETING)
        check_tiles(KINDS[name](s2, data.draw), engines, zoom, x + dx, y + dy)

    check()


def run_windows(examples: int, s2: Collection, engines: list[Engine], name: str) -> None:
    lattices = st.sampled_from([("EPSG:3857", zoom_resolution(13.5)), ("EPSG:32631", 17.0), ("EPSG:4326", 2e-4)])

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None, phases=PHASES)
    @given(st.data(), lattices, st.tuples(st.integers(-150, 0), st.integers(-150, 0)),
           st.tuples(st.integers(0, 120), st.integers(0, 120), st.integers(1, 180), st.integers(1, 180)))  # fmt: skip
    def check(data: st.DataObject, lattice, corner, inner) -> None:
        crs, size = lattice
        x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(*MEETING)
        col, row = math.floor(x / size) + corner[1], math.floor(-y / size) + corner[0]
        box = GeoBox((300, 300), Affine(size, 0, col * size, 0, -size, -row * size), crs)
        check_window(KINDS[name](s2, data.draw), engines, box, inner)

    check()


def run_blocks(examples: int, s2: Collection, engines: list[Engine], name: str) -> None:
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None, phases=PHASES)
    @given(st.data(), st.integers(0, 2), areas())
    def check(data: st.DataObject, level: int, rect: Rect) -> None:
        check_blocks(KINDS[name](s2, data.draw), engines, level, rect)

    check()


CHECKS = {"tiles": run_tiles, "windows": run_windows, "blocks": run_blocks}


@pytest.mark.property
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("check", CHECKS)
def test_no_seam(s2: Collection, engines: list[Engine], name: str, check: str) -> None:
    CHECKS[check](examples(1, 20), s2, engines, name)


# --------------------------------------------------------------------------------------- one value, whoever asks


BY_SUPPORT = {
    "pixel": lambda s2: index(s2).median("t"),
    "focal": lambda s2: index(s2).median("t").focal_mean(3),
    "region": lambda s2: green(s2).connected_components(2000, extent=EXTENT, resolution=20),
    "fit": lambda s2: index(s2).median("t").otsu(extent=EXTENT, resolution=40),
}


@pytest.mark.parametrize("support", BY_SUPPORT)
def test_tile_array_and_export_are_the_same_pixels(
    in_threads: None, s2: Collection, tmp_path: Path, support: str
) -> None:
    chain = BY_SUPPORT[support](s2)
    zoom, (x, y) = 13, tile_index(13, *MEETING)
    box = tiles_window(zoom, x, y, 2, 2)
    path = chain.export(tmp_path / "large.tif", box, progress=False).wait(120)
    with rasterio.open(path) as file:
        exported = file.read(1)
        assert file.transform == box.affine and file.crs.to_epsg() == 3857
    assert same(exported, chain.compute(box).values)
    assert np.isfinite(exported).any()
    for row in range(2):
        for col in range(2):
            cut = exported[row * 256 : row * 256 + 256, col * 256 : col * 256 + 256]
            tile = ml.Window.tile(zoom, x + col, y + row)
            assert same(chain.pixels(tile).values, cut)
            assert same(chain.compute(tile).values, cut)
    tile = ml.Window.tile(zoom, x, y)
    alone = chain.export(tmp_path / "tile.tif", tile, progress=False).wait(120)
    with rasterio.open(alone) as file:
        assert same(file.read(1), exported[:256, :256])
    layer = chain.style(cmap="RdYlGn", vmin=0, vmax=1)
    assert layer.tile(zoom, x, y) == render(exported[:256, :256], layer.look)


@pytest.mark.parametrize("support", ["region", "fit"])
def test_panning_changes_neither_components_nor_a_threshold(s2: Collection, support: str) -> None:
    """Fresh engines see different views first; where the views overlap, they agree."""
    chain = BY_SUPPORT[support](s2)
    zoom, (x, y) = 13, tile_index(13, *MEETING)
    west = pixels(Engine(128 << 20), chain, tiles_window(zoom, x, y, 2, 1)).values
    east = pixels(Engine(128 << 20), chain, tiles_window(zoom, x + 1, y, 2, 1)).values
    assert same(west[:, 256:], east[:, :256]) and np.nanmax(west[:, 256:]) > 0
    fine = pixels(Engine(128 << 20), chain, ml.Window.tile(zoom + 2, 4 * x + 6, 4 * y + 2)).values
    assert set(np.unique(fine[np.isfinite(fine)])) <= set(np.unique(west[np.isfinite(west)]))


# -------------------------------------------------------------------------------- where tiles of two zones overlap


def test_where_two_zones_overlap_each_overpass_counts_once(s2: Collection, sample_catalog: Path) -> None:
    """The number of values over time against the files of the tile that each pixel belongs to."""
    box = ml.Window.tile(14, *tile_index(14, *MEETING))
    found = pixels(Engine(128 << 20), s2.band("red").count("t"), box).values
    (scenes,) = s2.published.scenes.values()
    counts, depths, both = [], [], []
    a = box.affine
    cc, rr = np.meshgrid(np.arange(256) + 0.5, np.arange(256) + 0.5)
    for grid in ("MGRS-30TYP", "MGRS-31TCJ"):  # in the order of their ids
        members = [s for s in scenes.scenes if s.grid == grid]
        x, y = pyproj.Transformer.from_crs(3857, members[0].crs, always_xy=True).transform(
            a.c + cc * a.a, a.f + rr * a.e
        )
        _, _, west, _, _, north = members[0].assets["B04"].transform
        size = members[0].assets["B04"].shape[0]
        row, col = np.floor((north - y) / 10).astype(int), np.floor((x - west) / 10).astype(int)
        inside = (row >= 0) & (row < size) & (col >= 0) & (col < size)
        count = np.zeros(box.shape, int)
        for scene in members:
            with rasterio.open(sample_catalog / scene.assets["B04"].href) as file:
                valid = file.read(1) != 0
            count[inside] += valid[row[inside], col[inside]]
        side = size * 10
        depths.append(np.minimum.reduce([x - west, west + side - x, north - y, y - north + side]))
        counts.append(count)
        both.append(inside)
    overlap = both[0] & both[1]
    assert overlap.mean() > 0.5, "the tile lies where both can be seen"
    owner = np.where(depths[1] > depths[0], 1, 0)
    assert 0 < owner.mean() < 1, "some pixels belong to one zone, some to the other"
    doubtful = np.abs(depths[0] - depths[1]) < 1
    assert np.array_equal(found[~doubtful], np.where(owner == 1, counts[1], counts[0])[~doubtful])
    overpasses = len({(s.platform, s.datetime[:10]) for s in scenes.scenes})
    assert found.max() <= overpasses < (counts[0] + counts[1]).max()


def test_an_overpass_cut_into_tiles_is_one_date(s2: Collection) -> None:
    (scenes,) = s2.published.scenes.values()
    times = s2.published.prepared.output.times
    assert len(times) == len({s.datetime[:10] for s in scenes.scenes}) < len(scenes)
    box = tiles_window(11, *tile_index(11, *MEETING), 1, 1)
    values = pixels(Engine(128 << 20), s2.band("nir"), box).values
    assert values.shape == (len(times), 256, 256)
    seen = np.isfinite(values).any(axis=(1, 2))
    ground = box.extent.to_crs("EPSG:4326").geom
    shared = {str(t)[:10]: 0.0 for t in times}  # share of the window that some scene of the date covers
    for scene in scenes.scenes:
        covered = shapely.geometry.shape(scene.footprint).intersection(ground).area / ground.area
        shared[scene.datetime[:10]] = max(shared[scene.datetime[:10]], covered)
    for has_data, share in zip(seen, shared.values(), strict=True):
        assert has_data if share > 0.01 else (share > 0 or not has_data)
    assert seen.sum() >= 4
