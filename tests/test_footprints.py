"""Footprints choose scenes and grids; where pixels are missing, the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_geom

from muses_lab.api.chain import Chain
from muses_lab.engine import Engine
from muses_lab.raster.asset import Asset, Band
from muses_lab.scenes.grid_index import Nearby
from muses_lab.scenes.scene import Scene, Scenes
from muses_lab.scenes.table import Columns
from tests.helpers.examples import examples
from tests.helpers.made_scenes import CORNER, UTM31, Made, chain_of, values, window, write_tif

SIZE = 200
BAND = Band("B", dtype="float32", nodata=-1.0)
TRUTH = np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
TRUTH[20:60, 100:150] = np.nan


def exact(west: float, south: float, east: float, north: float, crs: str = UTM31) -> list[list[float]]:
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return transform_geom(crs, "EPSG:4326", {"type": "Polygon", "coordinates": [corners]})["coordinates"][0]


RING = [list(p) for p in exact(CORNER[0], CORNER[1] - 10 * SIZE, CORNER[0] + 10 * SIZE, CORNER[1])]
X, Y = RING[0]
SMALL = [[X + 0.005, Y + 0.005], [X + 0.006, Y + 0.005], [X + 0.006, Y + 0.006], [X + 0.005, Y + 0.005]]
FOOTPRINTS: dict[str, Any] = {
    "none": None,
    "exact": [RING],
    "rounded": [[[round(v, 2) for v in p] for p in RING]],
    "rounded to nothing": [[[round(v, 1) for v in p] for p in RING]],
    "far too small": [SMALL],
    "far too large": [[[-10, 30], [20, 30], [20, 60], [-10, 60], [-10, 30]]],
    "half": [[RING[0], RING[1], RING[2], RING[0]]],
    "with a hole": [RING, SMALL],
    "crossing itself": [[RING[0], RING[2], RING[1], RING[3], RING[0]]],
    "a spike": [[RING[0], RING[1], RING[1], RING[0], RING[0]]],
    "elsewhere": [[[x + 1, y + 1] for x, y in RING]],
    "latitude first": [[[y, x] for x, y in RING]],
}  # fmt: skip


@pytest.mark.parametrize("name", FOOTPRINTS)
def test_every_pixel_of_the_file_is_there_whatever_the_footprint(name: str, tmp_path: Path) -> None:
    made = Made(tmp_path / "catalogue")
    path = write_tif(made.folder / "a.tif", np.nan_to_num(TRUTH, nan=-1), overviews=(2,), nodata=-1)
    coordinates = FOOTPRINTS[name]
    footprint = None if coordinates is None else {"type": "Polygon", "coordinates": coordinates}
    chain = made.chain([BAND], [made.scene("a", "2020-06-01", {"B": made.asset(path)}, footprint=footprint)])
    around = window(SIZE + 20, SIZE + 20, corner=(CORNER[0] - 100, CORNER[1] + 100))
    expected = np.pad(TRUTH, 10, constant_values=np.nan)
    for cube in (chain, chain.max("t"), chain.band("B").mean("t"), chain.band("B").max("t") + 0):
        np.testing.assert_array_equal(np.squeeze(values(cube, around)), expected)
    half = np.squeeze(values(chain.max("t"), window(SIZE // 2, SIZE // 2, 20)))
    with rasterio.open(path, overview_level=0) as file:
        np.testing.assert_allclose(half, file.read(1, masked=True).filled(np.nan), rtol=1e-6)
    for column, row in ((0, 0), (SIZE - 1, 0), (0, SIZE - 1), (SIZE - 1, SIZE - 1), (120, 40)):
        lon, lat = degrees(CORNER[0] + 10 * column + 5, CORNER[1] - 10 * row - 5)
        np.testing.assert_array_equal(chain.max("t").at(lon, lat).values, [TRUTH[row, column]])
    found = chain.max("t").compute(window(SIZE, SIZE))
    assert (found.attrs["scenes_used"], found.attrs["scenes_found"]) == (1, 1)
    chain.max("t").export(tmp_path / "out.tif", window(SIZE, SIZE), progress=False).wait(60)
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(1), TRUTH)


def degrees(x: float, y: float, crs: str = UTM31) -> tuple[float, float]:
    return pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)


# ------------------------------------------------------------------------------------------------------ several grids

ZONES = {"EPSG:32630": (837_000.0, 4_835_000.0), "EPSG:32631": (350_000.0, 4_833_900.0)}
"""Corners of two files of 20 km that overlap; the pixels of the first are 1, of the second 2."""
LARGE = 2000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, dict[str, Asset]]:
    made = Made(tmp_path_factory.mktemp("zones"))
    assets = {}
    for number, (crs, corner) in enumerate(ZONES.items()):
        image = np.full((LARGE, LARGE), number + 1, np.float32)
        path = write_tif(made.folder / f"{number}.tif", image, corner=corner, crs=crs)
        assets[crs] = made.asset(path)
    return made, assets


def two_zones(files: tuple[Made, dict[str, Asset]], digits: int, shift: float) -> Chain:
    made, assets = files
    scenes = []
    for crs, (west, north) in ZONES.items():
        ring = exact(west, north - 10 * LARGE, west + 10 * LARGE, north, crs)
        points = [[round(x + shift, digits), round(y - shift, digits)] for x, y in ring]
        footprint = {"type": "Polygon", "coordinates": [points]}
        scenes.append(
            made.scene(crs[-2:], "2020-06-01", {"B": assets[crs]}, crs=crs, footprint=footprint, grid=f"T{crs}")
        )
    return chain_of(made.scenes([BAND], scenes)).max("t")


def inside(box: GeoBox, crs: str) -> np.ndarray:
    """How far inside a file the centre of each pixel of a window lies, in metres; negative outside."""
    west, north = ZONES[crs]
    cols, rows = np.meshgrid(np.arange(box.shape.x) + 0.5, np.arange(box.shape.y) + 0.5)
    x, y = box.affine @ (cols, rows)
    x, y = pyproj.Transformer.from_crs(str(box.crs), crs, always_xy=True).transform(x, y)
    side = 10 * LARGE
    return np.minimum.reduce([x - west, west + side - x, north - y, y - north + side])


@pytest.mark.parametrize(("digits", "shift"), [(7, 0.0), (2, 0.0), (1, 0.0), (2, 0.06), (2, -0.06)])
def test_where_one_grid_has_a_file_it_shows_and_where_both_have_one_of_them(files, digits: int, shift: float) -> None:
    chain = two_zones(files, digits, shift)
    box = window(280, 420, 100, (CORNER[0] - 17_000, CORNER[1] + 4_000))
    found = values(chain, box)[0]
    first, second = (inside(box, crs) for crs in ZONES)
    sure = (np.abs(first) > 30) & (np.abs(second) > 30)
    first, second = (first > 0), (second > 0)
    for here, value in ((first & ~second, 1), (second & ~first, 2)):
        assert (here & sure).any() and (found[here & sure] == value).all()
    both = first & second & sure
    assert np.isin(found[both], [1, 2]).all() and len(np.unique(found[both])) == (
        2 if digits == 7 else len(np.unique(found[both]))
    )
    assert np.isnan(found[~first & ~second & sure]).all()


@settings(max_examples=examples(5), deadline=None)
@given(st.integers(0, 360), st.integers(0, 220), st.integers(1, 60), st.integers(1, 60))
def test_no_seam_moves_with_the_window(files, column: int, row: int, wide: int, high: int) -> None:
    chain, engine = two_zones(files, 2, 0.0), Engine(256 << 20)
    corner = CORNER[0] - 17_000, CORNER[1] + 4_000
    whole = values(chain, window(280, 420, 100, corner), engine)
    part = window(high, wide, 100, (corner[0] + 100 * column, corner[1] - 100 * row))
    expected = whole[:, row : row + high, column : column + wide]
    np.testing.assert_array_equal(values(chain, part, engine)[:, : expected.shape[1], : expected.shape[2]], expected)


def test_a_grid_of_many_is_found_where_its_files_are_and_not_just_its_footprints() -> None:
    scenes = []
    for n in range(40):
        west, north = 300_000.0 + 100_000 * (n % 4), 5_000_000.0 - 110_000 * (n // 4)
        lon, lat = degrees(west + 1000, north - 1000)
        corners = [[lon, lat], [lon + 0.01, lat], [lon + 0.01, lat - 0.01], [lon, lat]]
        asset = Asset(f"{n}.tif", (10.0, 0.0, west, 0.0, -10.0, north), (10_980, 10_980))
        footprint = {"type": "Polygon", "coordinates": [corners]}
        scenes.append(Scene(f"s{n:02}", "2020-06-01T10:50:00Z", UTM31, {"B": asset}, "a", f"T{n:02}", footprint))
    near = Nearby(Columns.of(Scenes("c", "c", (BAND,), tuple(scenes))))
    for n in range(40):
        x, y = 300_000 + 100_000 * (n % 4) + 109_000, 5_000_000 - 110_000 * (n // 4) - 109_000
        found = near.to((x - 100, y - 100, x + 100, y + 100), UTM31)
        assert f"T{n:02}@10" in found and len(found) < 12
