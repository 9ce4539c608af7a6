"""Where pixels are on other people's data: shapes of pixels, corners, levels; against rasterio and pyproj."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.catalog.register import add
from muses_lab.engine import Engine
from muses_lab.raster.asset import Band
from tests.helpers.made_scenes import Made, values
from tests.oracles.windows import centres, sampled, there

pytestmark = pytest.mark.usefixtures("in_threads")

RNG = np.random.default_rng(11)


def write(path: Path, image: np.ndarray, transform: Affine, crs: str, overviews: tuple[int, ...] = ()) -> Path:
    """A tiled GeoTIFF; overviews are means."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "dtype": image.dtype, "crs": crs}
    rows, columns = image.shape
    with rasterio.open(path, "w", "GTiff", columns, rows, 1, transform=transform, **options) as file:
        file.write(image, 1)
    if overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(overviews, Resampling.average)
    return path


def added(folder: Path, *paths: Path) -> Chain:
    """The newest value at each place of files that were added to a catalogue."""
    add(list(paths), catalog=folder / "catalogue", collection="c")
    return ml.collection("c", ml.open_catalog(str(folder / "catalogue"))).band("b1").max("t")


# ---------------------------------------------------------------------------------------- pixels that are not square

SHAPES = {
    "wide, in degrees": ("EPSG:4326", Affine(1.5 / 3600, 0, 10, 0, -1 / 3600, 60)),
    "three times as wide": ("EPSG:4326", Affine(3 / 3600, 0, -70.25, 0, -1 / 3600, 81)),
    "warped in degrees": ("EPSG:4326", Affine(1.3712e-4, 0, 1.401, 0, -9.9217e-5, 43.6047)),
    "tall, in metres": ("EPSG:32631", Affine(10, 0, 400_005, 0, -25, 4_800_010)),
    "very wide, in metres": ("EPSG:3035", Affine(100, 0, 3_200_000, 0, -12.5, 2_900_000)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_that_are_not_square_are_the_files_everywhere(tmp_path: Path, shape: str) -> None:
    crs, transform = SHAPES[shape]
    image = RNG.integers(1, 30_000, (300, 210)).astype(np.float32)
    path = write(tmp_path / "a_20200601.tif", image, transform, crs)
    chain, own = added(tmp_path, path), ml.Window.like(path)

    assert np.array_equal(chain.compute(own).values, image)
    part = own[17:170, 31:99]
    assert np.array_equal(chain.compute(part).values, image[17:170, 31:99])
    chain.export(tmp_path / "out.tif", own).wait()
    with rasterio.open(tmp_path / "out.tif") as file:
        assert np.array_equal(file.read(1), image) and file.transform.almost_equals(transform, 1e-9)

    degrees = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    for row, col in ((0, 0), (299, 209), (123, 45), (260, 4)):
        lon, lat = degrees.transform(*(transform @ (col + 0.5, row + 0.5)))
        assert float(chain.at(lon, lat)) == image[row, col]


@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_of_pixels_that_are_not_square_are_those_of_rasterio(tmp_path: Path, shape: str) -> None:
    crs, transform = SHAPES[shape]
    image = RNG.integers(1, 30_000, (300, 210)).astype(np.float32)
    path = write(tmp_path / "a_20200601.tif", image, transform, crs)
    x, y = pyproj.Transformer.from_crs(crs, 3857, always_xy=True).transform(*(transform @ (105, 150)))
    pixel = 2 * 20_037_508.342789244 / 256 / 2**16
    tile = ml.Window.tile(16, int((x + 20_037_508.34) / pixel / 256), int((20_037_508.34 - y) / pixel / 256))
    there = pyproj.Transformer.from_crs(3857, crs, always_xy=True).transform(*centres(tile))
    expected = sampled(path, *there)
    found = added(tmp_path, path).compute(tile).values
    assert np.isfinite(expected).any()
    # Coordinates between every 16th pixel are interpolated: pixels at the very edges of the file's may be neighbours.
    assert (np.isclose(found, expected, equal_nan=True)).mean() > 0.99


@pytest.mark.parametrize("overviews", [(), (2, 4)])
@pytest.mark.parametrize("shape", SHAPES)
def test_levels_of_pixels_that_are_not_square_are_means_of_as_many_rows_as_columns(
    tmp_path: Path, shape: str, overviews: tuple[int, ...]
) -> None:
    crs, transform = SHAPES[shape]
    image = RNG.integers(1, 30_000, (256, 192)).astype(np.float32)
    path = write(tmp_path / "a_20200601.tif", image, transform, crs, overviews)
    chain = added(tmp_path, path)
    for factor in (2, 4, 8):
        rows, columns = 256 // factor, 192 // factor
        window = GeoBox((rows, columns), transform @ Affine.scale(factor), crs)
        mean = image.reshape(rows, factor, columns, factor).mean((1, 3))
        np.testing.assert_allclose(chain.compute(window).values, mean, rtol=1e-5)


def test_bands_of_different_shapes_of_pixels_lie_on_each_other(tmp_path: Path) -> None:
    made = Made(tmp_path / "catalog")
    image = {"fine": RNG.random((120, 120), np.float32), "flat": RNG.random((120, 60), np.float32)}
    for name, width in (("fine", 10), ("flat", 20)):
        write(made.folder / f"{name}.tif", image[name], Affine(width, 0, 400_000, 0, -10, 4_800_000), "EPSG:32631")
    assets = {name: made.asset(made.folder / f"{name}.tif") for name in image}
    chain = made.chain([Band(n, dtype="float32") for n in image], [made.scene("s", "2020-06-01", assets)])
    fine, flat = values(chain, GeoBox((120, 120), Affine(10, 0, 400_000, 0, -10, 4_800_000), "EPSG:32631"))[0]
    assert np.array_equal(fine, image["fine"])
    assert np.array_equal(flat, np.repeat(image["flat"], 2, axis=1))


# --------------------------------------------------------------------------------------------------- corners, levels


def ramps(corner: tuple[float, float], size: int, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Images of their own x and y."""
    x = corner[0] + pixel * (np.arange(size) + 0.5)
    y = corner[1] - pixel * (np.arange(size) + 0.5)
    return np.tile(x, (size, 1)), np.tile(y[:, None], (1, size))


def located(made: Made, corners: list[tuple[float, float]], pixel: float, overviews: tuple[int, ...]) -> Chain:
    """Scenes of one lattice, a date each, whose values are their own places."""
    scenes = []
    for n, corner in enumerate(corners):
        assets = {}
        for name, image in zip(("x", "y"), ramps(corner, 256, pixel), strict=True):
            at = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
            path = write(made.folder / f"{name}{n}.tif", image, at, "EPSG:32631", overviews)
            assets[name] = made.asset(path)
        scenes.append(made.scene(f"s{n}", f"2020-06-{n + 1:02}", assets))
    return made.chain([Band("x", dtype="float64"), Band("y", dtype="float64")], scenes)


@pytest.mark.parametrize("overviews", [(), (2, 4, 8)], ids=["no overviews", "overviews"])
@pytest.mark.parametrize("corner", [(471_585, 3_787_515), (471_615, 3_787_515), (471_645, 3_787_485), (7.5, -22.5)])
def test_levels_begin_at_the_corner_that_scenes_share(tmp_path: Path, corner, overviews) -> None:
    chain = located(Made(tmp_path / "catalog"), [corner, corner], 30, overviews)
    for factor in (2, 4, 8, 16):
        at = Affine(30 * factor, 0, corner[0], 0, -30 * factor, corner[1])
        window = GeoBox((256 // factor,) * 2, at, "EPSG:32631")
        x, y = centres(window)
        for found in values(chain, window):
            np.testing.assert_allclose(found, [x, y], atol=1e-6)


def test_scenes_with_other_corners_lie_at_most_half_a_pixel_off_and_to_no_side_more(tmp_path: Path) -> None:
    """Half a pixel of the level shown: where it begins in the middle of one, and the window with either."""
    base = (471_585, 3_787_515)
    steps = [(0, 0), (0, 0), *((a, b) for a in (-3, -1, 2, 5) for b in (-2, 0, 1, 3))]
    corners = [(base[0] + 30 * a, base[1] + 30 * b) for a, b in steps]
    engine = Engine(512 << 20)
    for factor in (2, 4, 8):
        size, every = 30 * factor, []
        for overviews in ((), (2, 4, 8)):
            chain = located(Made(tmp_path / f"{factor}{len(overviews)}"), corners, 30, overviews)
            for date, corner in enumerate(corners):
                for begin in (base, corner):  # windows on the grid's lattice, and on the scene's own
                    at = Affine(size, 0, begin[0] + 4 * size, 0, -size, begin[1] - 4 * size)
                    window = GeoBox((12, 12), at, "EPSG:32631")
                    off = (values(chain, window, engine)[date] - np.stack(centres(window))) / size
                    assert np.abs(off).max() <= 0.5 + 1e-9, (factor, corner, begin, off.max())
                    every.append(off.mean((1, 2)))
        assert np.abs(np.mean(every, axis=0)).max() < 0.05, "no preferred direction"


def test_lists_of_one_lattice_with_other_corners_are_compared_pixel_by_pixel(tmp_path: Path) -> None:
    """As before and after: their grids begin at other corners, and what is computed of both lies right."""
    made = Made(tmp_path / "catalog")
    corners = [(471_585, 3_787_515), (471_615, 3_787_605)]
    images = [RNG.integers(0, 1000, (256, 256)).astype(np.float32) for _ in corners]
    chains = []
    for n, (corner, image) in enumerate(zip(corners, images, strict=True)):
        at = Affine(30, 0, corner[0], 0, -30, corner[1])
        path = write(made.folder / f"{n}.tif", image, at, "EPSG:32631")
        chains.append(
            made.chain(
                [Band("v", dtype="float32")], [made.scene(f"s{n}", f"2020-06-0{n + 1}", {"v": made.asset(path)})]
            )
        )
    before, after = (chain.band("v").max("t") for chain in chains)
    window = GeoBox((100, 100), Affine(30, 0, 471_615 + 300, 0, -30, 3_787_515 - 300), "EPSG:32631")
    x, y = centres(window)
    old, new = sampled(made.folder / "0.tif", x, y), sampled(made.folder / "1.tif", x, y)
    for chain, expected in ((before - after, old - new), (after - before, new - old), (before, old), (after, new)):
        assert np.array_equal(chain.compute(window).values, expected)
    both = (before - after) + (after - before) * 2
    assert np.array_equal(both.compute(window).values, new - old)
    found = (before - after).compute(window)
    assert found.attrs["scenes_found"] == 2 and found.attrs["scenes_used"] == 2
    assert (before - after).plan(window).scenes == 2


# ------------------------------------------------------------------------------------------------------- orientation

TURNS = {
    "from south to north": (1, -1),
    "from east to west": (-1, 1),
    "both": (-1, -1),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("overviews", [(), (2, 4)], ids=["no overviews", "overviews"])
def test_rasters_stored_from_the_other_side_are_where_rasterio_finds_them(tmp_path: Path, turn: str, overviews) -> None:
    across, down = TURNS[turn]
    image = RNG.integers(1, 30_000, (320, 192)).astype(np.float32)
    straight = Affine(20, 0, 400_000, 0, -20, 4_800_000)
    stored = image[::down, ::across]
    at = straight @ Affine.translation(192 * (across < 0), 320 * (down < 0)) @ Affine.scale(across, down)
    path = write(tmp_path / "a_20200601.tif", stored, at, "EPSG:32631", overviews)
    chain = added(tmp_path, path)
    window = GeoBox((320, 192), straight, "EPSG:32631")
    assert np.array_equal(chain.compute(window).values, image)
    assert np.array_equal(chain.compute(window[5:201, 3:40]).values, image[5:201, 3:40])
    assert np.array_equal(chain.compute(ml.Window.like(path)).values, stored), "on a window like the raster itself"
    for factor in (2, 4, 8):
        coarse = GeoBox((320 // factor, 192 // factor), straight @ Affine.scale(factor), "EPSG:32631")
        mean = image.reshape(320 // factor, factor, 192 // factor, factor).mean((1, 3))
        np.testing.assert_allclose(chain.compute(coarse).values, mean, rtol=1e-5)
    degrees = pyproj.Transformer.from_crs(32631, 4326, always_xy=True)
    for row, col in ((0, 0), (319, 191), (200, 17)):
        lon, lat = degrees.transform(*(straight @ (col + 0.5, row + 0.5)))
        assert float(chain.at(lon, lat)) == image[row, col]
    chain.export(tmp_path / "out.tif", window).wait()
    with rasterio.open(tmp_path / "out.tif") as file:
        assert np.array_equal(file.read(1), image)


def test_a_raster_from_the_south_fits_one_from_the_north(tmp_path: Path) -> None:
    """One lattice, one grid: tiles of a product may be stored either way."""
    image = RNG.integers(1, 30_000, (256, 100)).astype(np.float32)
    north = Affine(10, 0, 400_000, 0, -10, 4_800_000)
    first = write(tmp_path / "a_20200601.tif", image[:128], north, "EPSG:32631")
    second = write(
        tmp_path / "b_20200601.tif", image[:127:-1], Affine(10, 0, 400_000, 0, 10, 4_800_000 - 2560), "EPSG:32631"
    )
    chain = added(tmp_path, first, second)
    assert len(chain.published.prepared.output.grids) == 1
    assert np.array_equal(chain.compute(GeoBox((256, 100), north, "EPSG:32631")).values, image)


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (Affine(10, 2, 400_000, 2, -10, 4_800_000), "rotated.*gdalwarp"),
        (Affine.translation(400_000, 4_800_000) @ Affine.rotation(90) @ Affine.scale(10, -10), "rotated.*gdalwarp"),
        (Affine(400_000, 10, 0, 4_800_000, 0, -10), "GDAL's order"),
    ],
)
def test_grids_that_cannot_be_used_are_refused_when_they_are_added(tmp_path: Path, transform, said: str) -> None:
    path = write(tmp_path / "a_20200601.tif", np.ones((8, 8), np.uint8), transform, "EPSG:32631")
    report = add([path], catalog=tmp_path / "catalogue", collection="c")
    (failure,) = report.failed
    assert re.search(said, str(failure), re.DOTALL), failure


# --------------------------------------------------------------------------------------------- round the globe, poles


def world(path: Path, west: float, pixel: float = 1.0) -> tuple[Path, np.ndarray]:
    rows, columns = round(180 / pixel), round(360 / pixel)
    image = RNG.permutation(rows * columns).reshape(rows, columns).astype(np.float32)
    return write(path, image, Affine(pixel, 0, west, 0, -pixel, 90), "EPSG:4326"), image


VIEWS = {
    "tile of America": ml.Window.tile(6, 15, 24),
    "tile of Europe": ml.Window.tile(6, 32, 22),
    "tile at 180": ml.Window.tile(7, 127, 60),
    "tile at -180": ml.Window.tile(7, 0, 60),
    "across 180, small pixels": GeoBox((90, 210), Affine(997, 0, 3_300_000, 0, -997, -1_500_000), "EPSG:3832"),
    "across 180, large pixels": GeoBox((60, 80), Affine(31_000, 0, 2_000_000, 0, -31_000, 900_000), "EPSG:3832"),
    "across Greenwich": GeoBox((50, 70), Affine(901, 0, -30_000, 0, -901, 6_600_000), "EPSG:3857"),
    "north pole, small pixels": GeoBox((150, 130), Affine(1001, 0, -70_000, 0, -1001, 66_000), "EPSG:3413"),
    "south pole, large pixels": GeoBox((64, 64), Affine(40_007, 0, -1_300_000, 0, -40_007, 1_200_000), "EPSG:3031"),
    "degrees beyond 180": GeoBox((40, 60), Affine(0.73, 0, 160.2, 0, -0.73, 20.1), "EPSG:4326"),
    "degrees below -180": GeoBox((40, 60), Affine(0.73, 0, -199.7, 0, -0.73, 20.1), "EPSG:4326"),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("west", [-180.0, 0.0, -20.0])
def test_a_raster_of_the_world_is_shown_wherever_its_longitudes_begin(tmp_path: Path, west: float, view: str) -> None:
    path, _ = world(tmp_path / "w_20200601.tif", west)
    window = VIEWS[view]
    found, expected = added(tmp_path, path).compute(window).values, there(path, window)
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    # Between every 16th pixel coordinates are interpolated: right at the edge of a degree it may be the next one.
    assert same.mean() > 0.995, f"{(~same).sum()} of {same.size} pixels differ"


def test_places_are_found_whatever_longitude_they_are_said_to_have(tmp_path: Path) -> None:
    for west in (0.0, -180.0):
        path, image = world(tmp_path / f"{west:g}" / "w_20200601.tif", west)
        chain = added(tmp_path / f"{west:g}", path)
        for lon in (-179.5, -99.5, -0.5, 0.5, 100.5, 179.5, 260.5, -190.5):
            for lat in (89.5, 20.5, -0.5, -89.5):
                expected = image[int(90 - lat), int((lon - west) % 360)]
                assert float(chain.at(lon, lat)) == expected, (west, lon, lat)


def test_a_grid_over_a_pole_is_shown_on_maps_and_in_its_own_system(tmp_path: Path) -> None:
    at = Affine(25_000, 0, -3_850_000, 0, -25_000, 5_850_000)
    image = RNG.integers(1, 30_000, (448, 304)).astype(np.float32)
    path = write(tmp_path / "ice_20200601.tif", image, at, "EPSG:3411")
    chain = added(tmp_path, path)
    assert np.array_equal(chain.compute(ml.Window.like(path)).values, image)
    for window in (
        ml.Window.tile(3, 3, 1),
        ml.Window.tile(5, 0, 6),
        ml.Window.tile(5, 31, 6),
        VIEWS["north pole, small pixels"],
    ):
        x, y = pyproj.Transformer.from_crs(window.crs, 3411, always_xy=True).transform(*centres(window))
        expected = sampled(path, x, y)
        found = chain.compute(window).values
        same = np.isclose(found, expected, equal_nan=True)
        assert np.isfinite(expected).any() and same.mean() > 0.99
    for lon, lat in ((0, 90), (45, 89.9), (-120, 71.3)):
        x, y = pyproj.Transformer.from_crs(4326, 3411, always_xy=True).transform(lon, lat)
        assert float(chain.at(lon, lat)) == sampled(path, np.array([[x]]), np.array([[y]]))[0, 0]


def test_a_pixel_at_180_is_the_same_in_whatever_window(tmp_path: Path) -> None:
    """Where coordinates are not interpolated is a matter of the lattice, not of the window."""
    path, _ = world(tmp_path / "w_20200601.tif", 0.0, 0.25)
    chain = added(tmp_path, path)
    whole = VIEWS["across 180, small pixels"]
    values_there = chain.compute(whole).values
    for rows, cols in ((slice(3, 50), slice(0, 60)), (slice(40, 90), slice(37, 200)), (slice(0, 9), slice(150, 210))):
        assert np.array_equal(chain.compute(whole[rows, cols]).values, values_there[rows, cols])
