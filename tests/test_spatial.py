"""Space reduced to values of an extent and to windows of pixels, and kernels at borders: against NumPy and SciPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

import muses_lab as ml
from muses_lab.errors import MusesError
from tests.helpers.made_stacks import CRS, ORIGIN, own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

ROWS, COLUMNS = 1050, 53
WINDOW = own_window(ROWS, COLUMNS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, np.ndarray]:
    rng = np.random.default_rng(2)
    values = rng.uniform(0, 1, (3, 2, ROWS, COLUMNS)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, :, 40:60, 10:20] = np.nan
    return stack(values, tmp_path_factory.mktemp("space")), values


def expected_windows(image: np.ndarray, size: tuple[int, int], boundary: str, align: str, fn) -> np.ndarray:
    width, height = size
    rows, columns = image.shape
    if boundary == "pad":
        down, across = -rows % height, -columns % width
        pad = ((down, 0) if "lower" in align else (0, down)), ((across, 0) if "right" in align else (0, across))
        image = np.pad(image, pad, constant_values=np.nan)
    else:
        ny, nx = rows // height * height, columns // width * width
        top, left = rows - ny if "lower" in align else 0, columns - nx if "right" in align else 0
        image = image[top : top + ny, left : left + nx]
    cut = image.reshape(image.shape[0] // height, height, image.shape[1] // width, width)
    with np.errstate(all="ignore"):
        return fn(np.moveaxis(cut, 2, 1).reshape(cut.shape[0], cut.shape[2], -1))


def own_windows(found: np.ndarray, size: tuple[int, int], boundary: str, align: str) -> GeoBox:
    """The window at the pixels of the result."""
    down = found.shape[0] * size[1] - ROWS if "lower" in align else 0
    across = found.shape[1] * size[0] - COLUMNS if "right" in align else 0
    x, y = ORIGIN[0] - across * 10, ORIGIN[1] + down * 10
    return GeoBox(found.shape, Affine(10 * size[0], 0, x, 0, -10 * size[1], y), CRS)


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:All-NaN")
@pytest.mark.parametrize("boundary", ["pad", "trim"])
@pytest.mark.parametrize(("size", "align"), [((4, 4), "upper-left"), ((3, 5), "lower-right"), ((5, 3), "lower-left")])
def test_windows_are_reduced(made, size, boundary: str, align: str) -> None:
    collection, values = made
    image = collection.band("B4").max("t")
    with np.errstate(all="ignore"):
        own = np.nanmax(values[:, 0], axis=0)
    for name, fn in (("mean", lambda v: np.nanmean(v, -1)), ("count", lambda v: np.isfinite(v).sum(-1))):
        expected = expected_windows(own, size, boundary, align, fn)
        chain = image.by_window(list(size), name, boundary=boundary, align=align)
        window = own_windows(expected, size, boundary, align)
        found = chain.compute(window).values
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        part = chain.compute(window[90:190, 3:9]).values
        np.testing.assert_array_equal(part, found[90:190, 3:9])


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_windows_are_the_same_where_blocks_of_the_data_are_known(made) -> None:
    collection, values = made
    image = collection.band("B8").min("t")
    image.compute(WINDOW)
    expected = expected_windows(
        np.nanmin(values[:, 1], axis=0), (3, 3), "pad", "upper-left", lambda v: np.nanmax(v, -1)
    )
    found = image.by_window(3, "max").compute(own_windows(expected, (3, 3), "pad", "upper-left"))
    np.testing.assert_array_equal(found.values, expected)


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:All-NaN")
def test_windows_of_series_with_bands_go_on_in_chains(made, tmp_path: Path) -> None:
    collection, values = made
    chain = collection.by_window(7, "median")
    expected = np.stack(
        [[expected_windows(b, (7, 7), "pad", "upper-left", lambda v: np.nanmedian(v, -1)) for b in t] for t in values]
    )
    window = own_windows(expected[0, 0], (7, 7), "pad", "upper-left")
    np.testing.assert_allclose(chain.compute(window).values, expected, rtol=1e-6)
    later = chain.ndvi().dates("2020-02").max("t").compute(window)
    red, nir = expected[1]
    np.testing.assert_allclose(later.values, (nir - red) / (nir + red), rtol=1e-5, atol=1e-6)
    path = chain.band("B8").max("t").export(tmp_path / "windows.tif", window, progress=False).wait(60)
    with rasterio.open(path) as file:
        np.testing.assert_allclose(file.read(1), np.nanmax(expected[:, 1], axis=0), rtol=1e-6)
    near = chain.band("B8").max("t").compute(WINDOW).values  # each pixel of a window has its value
    np.testing.assert_array_equal(near[::7, ::7], chain.band("B8").max("t").compute(window).values)
    assert chain.plan(window).bytes > 0


def test_sizes_that_are_none_are_refused(made) -> None:
    image = made[0].max("t")
    for size, said in ((0, "greater than or equal to 1"), ([2, 3, 4], "size of a window"), (1.5, "size of a window")):
        with pytest.raises(MusesError, match=said):
            image.by_window(size)


@pytest.mark.parametrize("reducer", ["mean", "max", "count", "std"])
def test_an_extent_has_one_value_for_each_band_and_date(made, reducer: str) -> None:
    collection, values = made
    inner = WINDOW[100:300, 10:40]
    bounds = tuple(inner.boundingbox.bbox)
    extent = {"west": bounds[0], "south": bounds[1], "east": bounds[2], "north": bounds[3], "crs": 32631}
    chain = collection.reduce_spatial(reducer, extent=extent, resolution=10)
    found = chain.compute(WINDOW[:60, :30]).values
    part = values[:, :, 100:300, 10:40].astype(np.float64)
    expected = {
        "mean": np.nanmean(part, (2, 3)), "max": np.nanmax(part, (2, 3)), "std": np.nanstd(part, (2, 3), ddof=1),
        "count": np.isfinite(part).sum((2, 3)),
    }[reducer]  # fmt: skip
    np.testing.assert_allclose(found, np.broadcast_to(expected[..., None, None], found.shape), rtol=1e-5)
    far = chain.band("B8").dates("2020-02").compute(WINDOW[900:950]).values
    np.testing.assert_array_equal(far, np.broadcast_to(found[1:2, 1, :1, :1], far.shape))


def test_an_image_beside_the_value_of_an_extent(made) -> None:
    collection, values = made
    image = collection.band("B4").mean("t")
    bounds = tuple(WINDOW.extent.to_crs("EPSG:4326").boundingbox.bbox)
    with pytest.raises(MusesError, match="depends on statistics of an area"):
        image.reduce_spatial("mean").compute(WINDOW)
    relative = (image - image.reduce_spatial("quantile", extent=bounds, resolution=10, q=0.1)).compute(WINDOW)
    own = image.compute(WINDOW).values
    np.testing.assert_allclose(relative.values, own - np.nanquantile(own, 0.1), atol=2e-3)
    assert np.ptp(relative.values[~np.isnan(own)] - own[~np.isnan(own)]) < 1e-6


MODES = {"replicate": "nearest", "reflect": "reflect", "reflect_pixel": "mirror", 0: "constant", 0.5: "constant"}


@pytest.mark.parametrize("border", MODES)
def test_kernels_at_the_borders_are_those_of_scipy(made, border) -> None:
    collection, values = made
    kernel = np.array([[1, 2, 0, 1, 3], [0, 1, 5, 2, 1], [2, 0, 1, 1, 4]], np.float64)
    chain = collection.band("B4").max("t").apply_kernel(
        kernel.tolist(), factor=0.1, border=border, replace_invalid=0.25
    )  # fmt: skip
    with np.errstate(all="ignore"):
        own = np.nan_to_num(np.nanmax(values[:, 0].astype(np.float64), axis=0), nan=0.25)
    beyond = border if isinstance(border, int | float) else 0
    expected = ndimage.convolve(own, kernel * 0.1, mode=MODES[border], cval=beyond)
    found = chain.compute(WINDOW).values
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for rows, columns in (
        (slice(0, 9), slice(0, 8)),
        (slice(1040, 1050), slice(45, 53)),
        (slice(505, 520), slice(0, 53)),
    ):
        np.testing.assert_array_equal(chain.compute(WINDOW[rows, columns]).values, found[rows, columns])


def test_a_border_that_goes_round_is_refused(made) -> None:
    with pytest.raises(MusesError, match="border"):
        made[0].max("t").apply_kernel([[1]], border="wrap")
