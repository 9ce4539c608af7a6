"""Hillshade: planes have the brightness that geometry says, and tiles have no seams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from pyproj import Geod, Transformer

import muses_lab as ml

pytestmark = pytest.mark.usefixtures("in_threads")

ROWS, COLUMNS, METRES = 120, 160, 10.0
GRID = GeoBox((ROWS, COLUMNS), Affine(METRES, 0, 360_000, 0, -METRES, 4_830_000), "EPSG:32631")
Y, X = np.mgrid[:ROWS, :COLUMNS] * METRES


def chain(heights: np.ndarray, grid: GeoBox = GRID) -> ml.Chain:
    heights: xr.DataArray = wrap_xr(heights.astype("float32"), grid)
    return ml.from_array(heights)


@pytest.mark.parametrize("azimuth", [0, 45, 135, 270, 315])
@pytest.mark.parametrize(("to_east", "to_north"), [(0, 0), (0.5, 0), (-0.3, 0.8), (0, -2)])
def test_a_plane_is_as_bright_as_its_normal_says(isolated_home: Path, azimuth: float, to_east: float, to_north: float):
    found = chain(1000 + X * to_east - Y * to_north).hillshade(azimuth, 30).compute(GRID).values.squeeze()
    slope, aspect = np.arctan(np.hypot(to_east, to_north)), np.arctan2(-to_east, -to_north)  # downhill, from north
    zenith = np.deg2rad(60)
    bright = np.cos(zenith) * np.cos(slope) + np.sin(zenith) * np.sin(slope) * np.cos(np.deg2rad(azimuth) - aspect)
    np.testing.assert_allclose(found[1:-1, 1:-1], max(bright, 0), atol=2e-4)
    assert np.isnan(found[0]).all() and np.isnan(found[:, -1]).all()


def test_heights_are_multiplied_and_missing_ones_stay_missing(isolated_home: Path):
    heights = 100 + X * 0.1
    steep = chain(heights).hillshade(90, 45, z_factor=5).compute(GRID).values.squeeze()
    np.testing.assert_allclose(steep[5, 5], (1 - 0.5) * np.sqrt(0.5) / np.sqrt(1.25), atol=2e-4)
    heights[50, 60] = np.nan
    holes = np.argwhere(np.isnan(chain(heights).hillshade().compute(GRID).values.squeeze()[1:-1, 1:-1])) + 1
    assert {tuple(place) for place in holes} == {(r, c) for r in (49, 50, 51) for c in (59, 60, 61)}


def test_windows_have_no_seam(isolated_home: Path):
    rng = np.random.default_rng(3)
    shade = chain(rng.normal(500, 30, (ROWS, COLUMNS))).hillshade()
    whole = shade.compute(GRID).values.squeeze()
    np.testing.assert_array_equal(shade.compute(GRID[30:70, 40:90]).values.squeeze(), whole[30:70, 40:90])


@pytest.mark.parametrize(
    ("crs", "corner", "size"),
    [
        ("EPSG:4326", (10.0, 60.0), (1e-4, 1e-4)),
        ("EPSG:4326", (10.0, 60.0), (2e-4, 1e-4)),
        ("EPSG:4326", (10.0, -35.0), (1e-4, 1e-4)),
        ("EPSG:3857", (1_113_194.9, 8_399_737.9), (20.0, 20.0)),
        ("EPSG:32631", (360_000.0, 4_830_000.0), (20.0, 10.0)),
        ("EPSG:2225", (6_000_000.0, 2_000_000.0), (30.0, 30.0)),
    ],
)
@pytest.mark.parametrize("axis", ["x", "y"])
def test_slopes_are_those_on_the_ground(
    isolated_home: Path, crs: str, corner: tuple[float, float], size: tuple[float, float], axis: str
) -> None:
    """A plane of 45° on the ground, in degrees, web Mercator, feet, and of pixels that are not square."""
    grid = GeoBox((40, 50), Affine(size[0], 0, corner[0], 0, -size[1], corner[1]), crs)
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    edge = np.array([grid.affine @ ((c, 20) if axis == "x" else (20, c)) for c in (0, 20)])
    lon, lat = to_degrees.transform(*edge.T)
    pixel = Geod(ellps="WGS84").line_length(lon, lat) / 20
    rows, columns = np.mgrid[:40, :50]
    heights = (columns if axis == "x" else -rows) * pixel
    found = chain(heights, grid).hillshade(270 if axis == "x" else 180, 45).compute(grid).values.squeeze()
    np.testing.assert_allclose(found[20, 25], 1, atol=1e-5)
    away = chain(heights, grid).hillshade(315, 30).compute(grid).values.squeeze()
    expected = np.sqrt(0.5) * (np.sin(np.pi / 6) + np.cos(np.pi / 6) * np.sqrt(0.5) * (1 if axis == "x" else -1))
    np.testing.assert_allclose(away[20, 25], max(expected, 0), atol=3e-3)


def test_windows_in_degrees_have_no_seam(isolated_home: Path) -> None:
    grid = GeoBox((700, 60), Affine(1 / 3600, 0, 10.0, 0, -1 / 3600, 60.1), "EPSG:4326")
    shade = chain(np.random.default_rng(3).normal(500, 30, grid.shape), grid).hillshade()
    whole = shade.compute(grid).values.squeeze()
    np.testing.assert_array_equal(shade.compute(grid[490:530, 5:50]).values.squeeze(), whole[490:530, 5:50])
    assert np.isfinite(whole[1:-1, 1:-1]).all(), "across the blocks"
    np.testing.assert_array_equal(shade.compute(grid[333:666]).values.squeeze(), whole[333:666])
