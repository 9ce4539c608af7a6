"""Grids, levels, windows, and which grid owns a pixel: against pyproj and shapely, and the same from every window."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from muses_lab.engine import mosaic as layouts
from muses_lab.engine.graph import PreparedGraph
from muses_lab.engine.mosaic import layout, sketch
from muses_lab.errors import Cancelled
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.grid import BLOCK, Grid, Rect, block_rect, places
from muses_lab.raster.window import Window, zoom_resolution
from muses_lab.resources import cancel
from muses_lab.scenes.scene import Scene, Scenes
from muses_lab.scenes.source import Source
from tests.helpers.examples import examples
from tests.helpers.made_scenes import Made, chain_of, values, write_tif

few = settings(max_examples=examples(15))

SINUSOIDAL = pyproj.CRS("+proj=sinu +R=6371007.181").to_wkt()
TOULOUSE = Grid("31TCJ", "EPSG:32631", (367_020.0, 4_833_900.0), 10.0, Rect(0, 1056, 0, 1056))
GRIDS = [
    TOULOUSE,
    Grid("30TYP", "EPSG:32630", (844_020.0, 4_841_940.0), 10.0, Rect(0, 1056, 0, 1056)),
    Grid("lattice", "EPSG:32631", (0.0, 5.0), 10.0, Rect(-483_390, -482_000, 36_702, 38_000)),
    Grid("degrees", "EPSG:4326", (1.0, 44.0), 1 / 3600, Rect(0, 3600, 0, 3600)),
    Grid("sinusoidal", SINUSOIDAL, (0.0, 0.0), 231.656358, Rect(-21_600, -19_200, 0, 2400)),
]
LATTICES = [("EPSG:3857", zoom_resolution(13)), ("EPSG:32631", 10.0), ("EPSG:2154", 7.5), ("EPSG:4326", 1e-4)]
zooms = st.integers(6, 17)


def near_toulouse(zoom: int, dx: int, dy: int, size: int = 256) -> GeoBox:
    """The tile so many tiles from the one that holds Toulouse."""
    n = 2**zoom
    x = int((1.444 + 180) / 360 * n)
    y = int((1 - math.asinh(math.tan(math.radians(43.6))) / math.pi) / 2 * n)
    return Window.tile(zoom, min(max(x + dx, 0), n - 1), min(max(y + dy, 0), n - 1), size)


# ------------------------------------------------------------------------------------------------------- levels


@few
@given(zooms, st.sampled_from(GRIDS), st.integers(-40, 40), st.integers(-40, 40))
def test_all_tiles_of_a_zoom_show_the_same_level_of_a_grid(zoom: int, grid: Grid, dx: int, dy: int) -> None:
    assert grid.level_for(near_toulouse(zoom, dx, dy)) == grid.level_for(near_toulouse(zoom, 0, 0))


@few
@given(zooms, st.integers(0, 200), st.integers(0, 200), st.integers(1, 56), st.integers(1, 56))
def test_a_part_of_a_window_shows_the_level_of_the_window(zoom: int, row: int, col: int, rows: int, cols: int) -> None:
    tile = near_toulouse(zoom, 0, 0)
    part = tile[row : row + rows, col : col + cols]
    assert TOULOUSE.level_for(part) == TOULOUSE.level_for(tile)


@few
@given(zooms)
def test_the_level_is_the_coarsest_that_is_not_coarser_than_the_screen(zoom: int) -> None:
    ground = zoom_resolution(zoom) * math.cos(math.radians(43.6))
    level = TOULOUSE.level_for(near_toulouse(zoom, 0, 0))
    assert level == max(0, math.floor(math.log2(ground / 10)))
    assert level == 0 or 10 * 2**level <= ground < 10 * 2 ** (level + 1)


@pytest.mark.parametrize(("size", "level"), [(1, 0), (10, 0), (19.99, 0), (20, 1), (39.999, 1), (40, 2), (640, 6)])
def test_a_window_on_the_grid_itself_shows_the_level_of_its_pixel_size(size: float, level: int) -> None:
    box = Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=size)
    assert TOULOUSE.level_for(box) == level


@pytest.mark.parametrize(("metres", "level"), [(10, 0), (14, 0), (15, 1), (20, 1), (60, 3), (5, 0)])
def test_the_level_near_a_resolution(metres: float, level: int) -> None:
    assert TOULOUSE.level_near(metres) == level


# ------------------------------------------------------------------------------------------------------- places


@few
@given(zooms, st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([32631, 32630, 4326, 2154]))
def test_places_are_pyprojs_exactly_at_every_sixteenth_pixel_and_near_between(
    zoom: int, dx: int, dy: int, epsg: int
) -> None:
    tile = near_toulouse(zoom, dx, dy)
    x, y = places(tile, epsg)
    a = tile.affine
    there = pyproj.Transformer.from_crs(3857, epsg, always_xy=True)
    cc, rr = np.meshgrid(np.arange(256) + 0.5, np.arange(256) + 0.5)
    true_x, true_y = there.transform(a.c + cc * a.a, a.f + rr * a.e)
    pixel = max(np.abs(np.diff(true_x, axis=1)).max(), np.abs(np.diff(true_y, axis=0)).max())
    nodes = (slice(None, None, 16), slice(None, None, 16))
    assert np.abs(x - true_x)[nodes].max() < 1e-6 * pixel
    assert np.abs(y - true_y)[nodes].max() < 1e-6 * pixel
    assert np.abs(x - true_x).max() < 0.01 * pixel
    assert np.abs(y - true_y).max() < 0.01 * pixel


@few
@given(
    st.sampled_from(LATTICES),
    st.tuples(st.integers(-700, 700), st.integers(-700, 700)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(0, 80), st.integers(0, 80)),
    st.sampled_from([32631, 32630, 4326, 3857]),
)  # fmt: skip
def test_a_pixel_has_the_same_coordinates_in_whatever_window(lattice, corner, shape, inset, epsg) -> None:
    crs, size = lattice
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(1.44, 43.6)
    col, row = math.floor(x / size) + corner[0], math.floor(-y / size) + corner[1]
    big = GeoBox((200, 200), Affine(size, 0, col * size, 0, -size, -row * size), crs)
    r, c = inset
    small = GeoBox(shape, Affine(size, 0, (col + c) * size, 0, -size, -(row + r) * size), crs)
    for whole, part in zip(places(big, epsg), places(small, epsg), strict=True):
        assert np.array_equal(whole[r : r + shape[0], c : c + shape[1]], part)


def test_a_rotated_window_has_places_too() -> None:
    affine = Affine.translation(370_000, 4_830_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    x, y = places(GeoBox((5, 7), affine, "EPSG:32631"), "EPSG:4326")
    there = pyproj.Transformer.from_crs(32631, 4326, always_xy=True)
    assert (x[2, 3], y[2, 3]) == pytest.approx(there.transform(*(affine @ (3.5, 2.5))), abs=1e-9)


def test_places_that_a_crs_cannot_show_lie_in_no_block() -> None:
    """The antipodes of a UTM zone: infinite coordinates, and no pixel of the grid."""
    rows, cols = TOULOUSE.indices(0, *places(Window.tile(0, 0, 0), TOULOUSE.crs))
    extent = TOULOUSE.extent
    assert not ((rows >= 0) & (rows < extent.r1) & (cols >= 0) & (cols < extent.c1)).all()
    far = np.array([np.inf, -np.inf, np.nan])
    rows, cols = TOULOUSE.indices(0, far, far)
    assert (np.abs(rows) > 1e9).all() and (np.abs(cols) > 1e9).all()


# ----------------------------------------------------------------------------------------------- rects and blocks

rects = st.builds(
    lambda r, c, h, w: Rect(r, r + h, c, c + w),
    st.integers(-3000, 3000), st.integers(-3000, 3000), st.integers(0, 1500), st.integers(0, 1500),
)  # fmt: skip


@few
@given(rects)
def test_blocks_of_a_rectangle_are_those_that_it_touches(rect: Rect) -> None:
    near = range(-8, 10)
    touched = {(r, c) for r in near for c in near if not block_rect(r, c).intersection(rect).empty}
    assert set(rect.blocks()) == (set() if rect.empty else touched)
    assert len(list(rect.blocks())) == len(set(rect.blocks()))


@few
@given(rects, rects)
def test_union_and_intersection_hold_what_they_say(a: Rect, b: Rect) -> None:
    assert a.union(b).contains(a) and a.union(b).contains(b)
    both = a.intersection(b)
    assert both.empty or (a.contains(both) and b.contains(both))
    if not both.empty:
        canvas = np.zeros(a.shape, bool)
        canvas[both.within(a)] = True
        assert canvas.sum() == both.shape[0] * both.shape[1]


@few
@given(st.sampled_from(GRIDS), st.integers(0, 7), st.integers(-2000, 2000), st.integers(-2000, 2000))
def test_a_pixels_centre_lies_in_that_pixel_also_north_and_west_of_the_origin(
    grid: Grid, level: int, row: int, col: int
) -> None:
    box = grid.geobox(level, Rect(row, row + 1, col, col + 1))
    x, y = box.affine @ (0.5, 0.5)
    assert tuple(int(v[0]) for v in grid.indices(level, np.array([x]), np.array([y]))) == (row, col)


@few
@given(st.sampled_from(GRIDS), st.integers(0, 7))
def test_a_levels_extent_holds_the_native_extent_and_not_a_pixel_more(grid: Grid, level: int) -> None:
    f, e, r = 2**level, grid.extent, grid.rect(level)
    assert Rect(r.r0 * f, r.r1 * f, r.c0 * f, r.c1 * f).contains(e)
    assert not Rect((r.r0 + 1) * f, r.r1 * f, r.c0 * f, r.c1 * f).contains(e)
    assert not Rect(r.r0 * f, (r.r1 - 1) * f, r.c0 * f, r.c1 * f).contains(e)


# ------------------------------------------------------------------------------------------------------ ownership


def two_zones(swath: bool) -> Scenes:
    """Two tiles of different zones that overlap; with `swath` the eastern one has data in its slanted east part."""
    assets = {
        "31TCJ": ("EPSG:32631", (367_020.0, 4_833_900.0)),
        "30TYP": ("EPSG:32630", (844_020.0, 4_841_940.0)),
    }
    scenes = []
    for name, (crs, (west, north)) in assets.items():
        asset = Asset(f"{name}.tif", (10.0, 0.0, west, 0.0, -10.0, north), (1056, 1056))
        footprint = None
        if swath and name == "31TCJ":
            corners = [
                (west + 2880, north),
                (west + 10_560, north),
                (west + 10_560, north - 10_560),
                (west + 480, north - 10_560),
            ]
            back = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
            ring = [list(back.transform(*c)) for c in [*corners, corners[0]]]
            footprint = {"type": "Polygon", "coordinates": [ring]}
        scenes.append(Scene(name, "2018-06-10T10:54:41Z", crs, {"B": asset}, "a", f"MGRS-{name}", footprint))
    return Scenes("two", "nowhere", (Band("B", resolution=10.0),), tuple(scenes))


def prepared(scenes: Scenes) -> PreparedGraph:
    return chain_of(scenes).published.prepared


PROGRAMS = {swath: prepared(two_zones(swath)) for swath in (False, True)}
zones = st.tuples(st.booleans(), st.integers(9, 15), st.integers(-6, 2), st.integers(-3, 3))


def owners(ready: PreparedGraph, box: GeoBox) -> np.ndarray:
    """Number of the grid (by order of their ids) that owns each pixel; -1 none. Fails where two do."""
    out = np.full((box.shape.y, box.shape.x), -1)
    ids = sorted(ready.output.grids)
    for part in layout(ready, box).parts:
        where = np.ones(out.shape, bool) if part.where is None else part.where
        assert (out[where] == -1).all(), "a pixel with two owners"
        out[where] = ids.index(part.grid.id)
    return out


@few
@given(zones)
def test_a_pixel_belongs_to_the_grid_in_whose_footprint_it_is_deepest(place) -> None:
    swath, zoom, dx, dy = place
    ready = PROGRAMS[swath]
    box = near_toulouse(zoom, dx, dy, size=64)
    found = owners(ready, box)
    source: Source = next(iter(ready.sources.values()))
    a = box.affine
    cc, rr = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    depths = []
    for id in sorted(ready.output.grids):
        crs = ready.output.grids[id].crs
        x, y = pyproj.Transformer.from_crs(3857, crs, always_xy=True).transform(a.c + cc * a.a, a.f + rr * a.e)
        shape, points = source.footprints[id], shapely.points(x, y)
        inside = shapely.intersects(shape, points)
        depths.append(np.where(inside, 1, -1) * shapely.distance(shapely.boundary(shape), points))
    first, second = depths
    expected = np.where(np.maximum(first, second) < 0, -1, np.where(second > first, 1, 0))
    doubtful = (np.abs(first - second) < 0.05 * a.a) | (np.minimum(np.abs(first), np.abs(second)) < 0.05 * a.a)
    assert (found == expected)[~doubtful].all()


@few
@given(zones, st.tuples(st.integers(0, 200), st.integers(0, 200)), st.tuples(st.integers(1, 56), st.integers(1, 56)))
def test_the_owner_does_not_depend_on_the_window(place, inset, shape) -> None:
    swath, zoom, dx, dy = place
    tile = near_toulouse(zoom, dx, dy)
    (r, c), (h, w) = inset, shape
    part = tile[r : r + h, c : c + w]
    assert np.array_equal(owners(PROGRAMS[swath], tile)[r : r + h, c : c + w], owners(PROGRAMS[swath], part))


def test_equal_depth_goes_to_the_first_id() -> None:
    """Two grids of one lattice and extent that differ in name only: all pixels belong to the first."""
    asset = Asset("x.tif", (10.0, 0.0, 367_020.0, 0.0, -10.0, 4_833_900.0), (1056, 1056))
    scenes = [Scene(g, "2018-06-10T10:54:41Z", "EPSG:32631", {"B": asset}, "a", g) for g in ("MGRS-B", "MGRS-A")]
    ready = prepared(Scenes("twins", "nowhere", (Band("B"),), tuple(scenes)))
    found = owners(ready, near_toulouse(12, 0, 0))
    assert set(np.unique(found)) <= {-1, 0} and (found == 0).any()


# ------------------------------------------------------------------------------------- windows too large to look at


def sketched(ready: PreparedGraph, box: GeoBox) -> dict[str, set]:
    """Grid → the blocks that a sketch sees."""
    found: dict[str, set] = {}
    for view in sketch(ready, box):
        for part in view.parts:
            found.setdefault(part.grid.id, set()).update(part.tasks)
    return found


@settings(max_examples=examples(5), deadline=None)
@given(
    st.booleans(), st.sampled_from([3857, 32631, 32630, 4326]), st.sampled_from([3.0, 8.0, 10.0, 14.0, 25.0]),
    st.floats(1.2, 1.45), st.floats(43.5, 43.65), st.integers(520, 1700), st.integers(520, 1700),
)  # fmt: skip
def test_a_sketch_sees_the_blocks_that_a_layout_has(swath, crs, pixel, west, north, rows, cols) -> None:
    """But for a few pixels between two grids."""
    ready = PROGRAMS[swath]
    size = pixel / 111_320 if crs == 4326 else pixel
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(west, north)
    box = GeoBox((rows, cols), Affine(size, 0, x, 0, -size, y), crs)
    seen = sketched(ready, box)
    for part in layout(ready, box).parts:
        missed = set(part.blocks) - seen.pop(part.grid.id, set())
        owned = np.ones(box.shape, bool) if part.where is None else part.where
        for key in missed:
            r = key.rect
            inside = (part.rows >= r.r0) & (part.rows < r.r1) & (part.cols >= r.c0) & (part.cols < r.c1)
            assert (inside & owned).sum() < 2 * BLOCK, "more than a line or two"
    assert not any(seen.values()), "blocks that the window does not touch"


@pytest.mark.parametrize("swath", [False, True])
def test_a_sketch_looks_at_blocks_not_at_pixels(monkeypatch: pytest.MonkeyPatch, swath: bool) -> None:
    """The same place with pixels of 10 m and of 25 cm has the same blocks, and is looked at about as often."""
    looked = []
    before = layouts._pixels

    def counted(place, grid, level):
        looked[-1] += place.window.shape.x * place.window.shape.y
        return before(place, grid, level)

    monkeypatch.setattr(layouts, "_pixels", counted)
    monkeypatch.setattr(layouts, "_kept_pixels", counted)
    found = []
    for pixel in (10.0, 0.25):
        looked.append(0)
        number = round(12_000 / pixel)
        box = GeoBox((number, number), Affine(pixel, 0, 366_000, 0, -pixel, 4_834_900), "EPSG:32631")
        found.append(sketched(PROGRAMS[swath], box))
    assert found[0] == found[1] and sum(map(len, found[0].values())) > 9
    assert looked[1] <= looked[0] < 500_000 < (12_000 / 0.25) ** 2 / 1000, looked


def test_a_sketch_of_a_continent_without_scenes_looks_at_nothing_and_can_be_stopped() -> None:
    world = GeoBox((300_000, 300_000), Affine(10, 0, 0, 0, -10, 6_000_000), "EPSG:32631")
    away = GeoBox((300_000, 300_000), Affine(10, 0, 2_000_000, 0, -10, 3_000_000), "EPSG:32631")
    assert not list(sketch(PROGRAMS[False], away))
    asked = []

    def flag() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise Cancelled("enough")

    with cancel.watching(flag), pytest.raises(Cancelled):
        list(sketch(PROGRAMS[False], world))


# -------------------------------------------------------------------------------- grids of scenes without a grid code


def test_scenes_of_one_lattice_share_a_grid_whose_blocks_do_not_move_when_scenes_are_added() -> None:
    def scene(id: str, west: float, north: float, size: float = 10.0) -> Scene:
        asset = Asset(f"{id}.tif", (size, 0.0, west, 0.0, -size, north), (100, 100))
        return Scene(id, "2018-06-10T10:54:41Z", "EPSG:32631", {"B": asset}, "a")

    few = Source(Scenes("c", "c", (Band("B"),), (scene("a", 364_000, 4_833_900),)))
    more = Source(Scenes("c", "c", (Band("B"),), (scene("a", 364_000, 4_833_900), scene("b", 300_000, 4_900_000))))
    other = Source(Scenes("c", "c", (Band("B"),), (scene("a", 364_000, 4_833_900), scene("b", 364_005, 4_833_900))))
    (before,), (after,) = few.grids.values(), more.grids.values()
    assert (before.id, before.origin) == (after.id, after.origin)
    assert before.origin == (364_000, 4_833_900), "rows and columns are counted from a corner of the scenes"
    assert after.extent.r0 == -6610 and after.extent.c0 == -6400
    assert len(other.grids) == 2, "half a pixel apart is another lattice"


def test_levels_and_blocks_are_counted_from_the_corner_that_most_scenes_share() -> None:
    def scene(id: str, west: float, north: float) -> Scene:
        asset = Asset(f"{id}.tif", (30.0, 0.0, west, 0.0, -30.0, north), (100, 100))
        return Scene(id, "2018-06-10T10:54:41Z", "EPSG:32631", {"B": asset}, "a")

    corners = [(471_585, 3_787_515), (471_615, 3_787_545), (471_615, 3_787_545), (471_645, 3_787_515)]
    (grid,) = Source(
        Scenes("c", "c", (Band("B"),), tuple(scene(f"s{n}", *corner) for n, corner in enumerate(corners)))
    ).grids.values()
    assert grid.origin == (471_615, 3_787_545) and grid.extent == Rect(0, 101, -1, 101)


def test_values_on_a_lattice_grid_with_negative_rows(tmp_path: Path) -> None:
    made = Made(tmp_path)
    truth = np.arange(300 * 200, dtype=np.uint16).reshape(300, 200)
    path = write_tif(tmp_path / "a.tif", truth)
    south = write_tif(tmp_path / "b.tif", truth, corner=(364_000, 4_829_990))
    others = [made.scene(id, "2018-06-10", {"B": made.asset(south)}) for id in "bc"]
    chain = made.chain([Band("B")], [made.scene("a", "2018-06-10", {"B": made.asset(path)}), *others])
    grid = next(iter(chain.published.prepared.output.grids.values()))
    assert grid.extent.r0 < 0 and grid.extent.r0 % BLOCK
    with_border = GeoBox((320, 220), Affine(10, 0, 363_900, 0, -10, 4_834_000), "EPSG:32631")
    found = values(chain, with_border)[0, 0]
    expected = np.full((320, 220), np.nan)
    expected[10:310, 10:210] = truth
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize(
    "box",
    [
        Window.tile(12, 2063, 1494),
        Window.tile(14, 8250, 5978)[3:200, 5:77],
        Window.tile(3, 4, 2),  # pixels so large that nothing is interpolated
        Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=10),
        GeoBox((50, 70), Affine.translation(370000, 4830000) @ Affine.rotation(20) @ Affine.scale(10, -10), 32631),
    ],
    ids=["tile", "part", "world", "own CRS", "rotated"],
)
def test_pixels_of_a_window_are_those_at_its_places(box: GeoBox) -> None:
    grid = Grid("g", "EPSG:32631", (300000.0, 4900020.0), 10.0, Rect(0, 10980, 0, 10980))
    x, y = places(box, grid.crs)
    for got, expected in zip(grid.pixels(1, box), grid.indices(1, x, y), strict=True):
        np.testing.assert_array_equal(got, expected)
    west, south, east, north = grid.around(box)
    assert west <= x.min() and x.max() <= east
    assert south <= y.min() and y.max() <= north
