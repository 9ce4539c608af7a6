"""Resampling to other grids: GDAL's numbers, missing values, and one evaluation whatever the window."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rasterio.warp
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_zeros
from rasterio.enums import Resampling

import muses_lab as ml
from muses_lab.errors import DocumentError, TooLarge
from muses_lab.raster.warping import METHODS
from tests.helpers.examples import examples

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 10.0
WEST, NORTH = 300_000.0, 4_900_000.0


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    rng = np.random.default_rng(7)
    smooth = np.add.outer(np.sin(np.arange(240) / 9), np.cos(np.arange(300) / 13))
    return np.round(4 * smooth + rng.normal(0, 1, smooth.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def holed(values: np.ndarray) -> np.ndarray:
    found = values.copy()
    found[60:75, 80:100] = np.nan
    found[np.random.default_rng(8).random(found.shape) < 0.02] = np.nan
    return found


def chain(array: np.ndarray) -> ml.Chain:
    window = GeoBox(array.shape, rasterio.Affine(SIZE, 0, WEST, 0, -SIZE, NORTH), "EPSG:32631")
    return ml.from_array(xr_zeros(window, dtype="float32") + array)


def warped(array: np.ndarray, window: GeoBox, method: str) -> np.ndarray:
    out = np.full(window.shape, np.nan, np.float32)
    rasterio.warp.reproject(
        array, out, src_transform=rasterio.Affine(SIZE, 0, WEST, 0, -SIZE, NORTH), src_crs="EPSG:32631",
        dst_transform=window.affine, dst_crs=str(window.crs), src_nodata=np.nan, dst_nodata=np.nan,
        resampling=Resampling[{"cubicspline": "cubic_spline"}.get(method, method)], tolerance=0,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [4.0, 25.0, 60.0])
def test_values_are_gdal_s(values: np.ndarray, method: str, size: float):
    west, north = np.ceil((WEST + 300) / size) * size, np.floor((NORTH - 300) / size) * size
    cut = GeoBox((int(1800 / size), int(2300 / size)), rasterio.Affine(size, 0, west, 0, -size, north), 32631)
    mine = chain(values).on_grid(32631, size, method=method).compute(cut).values.squeeze()
    other = warped(values, cut, method)
    assert np.isfinite(mine).all()
    same = np.isclose(mine, other, rtol=1e-4, atol=2e-3)
    assert same.mean() > 0.999, (same.mean(), np.abs(mine - other).max())


@pytest.mark.parametrize("method", ["bilinear", "cubic", "average", "med", "mode", "max"])
def test_another_projection_is_gdal_s(values: np.ndarray, method: str):
    window = chain(values).on_grid(2154, 20, method=method)
    x, y = rasterio.warp.transform("EPSG:32631", "EPSG:2154", [WEST + 1500], [NORTH - 1200])
    west, north = np.floor(x[0] / 20) * 20 - 500, np.floor(y[0] / 20) * 20 + 500
    cut = GeoBox((50, 50), rasterio.Affine(20, 0, west, 0, -20, north), 2154)
    mine, other = window.compute(cut).values.squeeze(), warped(values, cut, method)
    assert np.isfinite(mine).all() and np.isfinite(other).all()
    wrong = np.abs(mine - other) > (0.05 if method in ("bilinear", "cubic", "average") else 0)
    assert wrong.mean() < 0.02


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [10.0, 30.0])
def test_missing_values_never_mix_in(method: str, size: float):
    """A plane of ones with holes stays ones: whatever is missing has no weight."""
    ones = np.ones((200, 200), np.float32)
    ones[40:70, 50:90] = np.nan
    ones[120, 130] = np.nan
    cut = GeoBox((int(1800 / size), int(1800 / size)), rasterio.Affine(size, 0, WEST + 90, 0, -size, NORTH - 90), 32631)
    at = GeoBox(
        cut.shape, cut.affine @ rasterio.Affine.translation(0.3, 0.3), cut.crs
    )  # off the lattice: levels do not
    made = chain(ones).on_grid(32631, size, method=method).compute(at if size == 10 else cut).values.squeeze()
    known = made[np.isfinite(made)]
    assert 0 < known.size < made.size
    if method == "sum":
        assert known.max() <= (size / SIZE) ** 2 + 1e-3
    else:
        np.testing.assert_allclose(known, 1, rtol=1e-5)


def test_all_missing_stays_missing():
    made = chain(np.full((64, 64), np.nan, np.float32)).on_grid(32631, 25, method="cubic")
    cut = GeoBox((10, 10), rasterio.Affine(25, 0, WEST + 100, 0, -25, NORTH - 100), 32631)
    assert np.isnan(made.compute(cut).values).all()


@given(method=st.sampled_from(METHODS), size=st.sampled_from([7.5, 20.0, 45.0]), crs=st.sampled_from([32631, 3035]),
       row=st.integers(0, 20), column=st.integers(0, 20))  # fmt: skip
@settings(max_examples=examples(12), deadline=None)
def test_a_tile_equals_the_same_window_of_one_evaluation(holed, method, size, crs, row, column):
    made = chain(holed).on_grid(crs, size, method=method)
    grid = next(iter(made.published.prepared.output.grids.values()))
    whole = grid.geobox(0, grid.extent)
    cut = whole[row : row + 30, column : column + 35]
    np.testing.assert_array_equal(
        made.compute(cut).values, made.compute(whole).values[..., row : row + 30, column : column + 35]
    )


def test_what_is_left_out_stays(values: np.ndarray):
    image = chain(values)
    document = image.to_json()["process_graph"]
    load = next(iter(document))
    document = {name: {**node, "result": False} for name, node in document.items()}

    def with_arguments(**arguments):
        node = {
            "process_id": "resample_spatial",
            "arguments": {"data": {"from_node": load}, **arguments},
            "result": True,
        }
        return ml.Chain.from_json({**document, "r": node})

    def grids(made):
        return made.published.prepared.output.grids

    assert grids(with_arguments()) == grids(image)
    assert [(g.crs, g.resolution) for g in grids(with_arguments(resolution=[20, 20])).values()] == [("EPSG:32631", 20)]
    assert [(g.crs, g.resolution) for g in grids(with_arguments(projection=3035)).values()] == [("EPSG:3035", 10)]
    both = with_arguments(resolution=20, projection=3035, method=None, align="lower-left")
    assert [(g.crs, g.resolution) for g in grids(both).values()] == [("EPSG:3035", 20)]
    with pytest.raises(DocumentError, match="not square"):
        with_arguments(resolution=[20, 10])
    with pytest.raises(DocumentError, match="cubic"):
        with_arguments(resolution=20, method="nearest")


def test_far_coarser_pixels_are_refused(values: np.ndarray):
    made = chain(values).on_grid(32631, 2000, method="mode")
    with pytest.raises(TooLarge, match="200 times as long"):
        made.compute(GeoBox((2, 2), rasterio.Affine(2000, 0, WEST, 0, -2000, NORTH), 32631))
