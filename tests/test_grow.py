"""Masks grown and shrunk by metres, against scikit-image and SciPy; and in tiles."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import muses_lab as ml
from muses_lab.errors import DocumentError, TooLarge
from muses_lab.operators import registry
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

NAN = np.float32("nan")


def called(id: str, image: np.ndarray, metres: float, **given) -> np.ndarray:
    return registry[f"muses:{id}"].fn(xr.DataArray(image, dims=("y", "x")), metres, **given).values


def mask(rows: int, columns: int, share: float = 0.03, gaps: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(rows + columns)
    image = (rng.random((rows, columns)) < share).astype(np.float32)
    image[rng.random(image.shape) < gaps] = NAN
    return image


def disk(pixels: float) -> np.ndarray:
    r = int(pixels)
    y, x = np.ogrid[-r : r + 1, -r : r + 1]
    return x**2 + y**2 <= pixels**2 * (1 + 1e-9)


@pytest.mark.parametrize("metres", [4, 10, 14.2, 20, 50, 73, 200])
@pytest.mark.parametrize("share", [0.03, 0.97, 0, 1])
def test_it_is_dilation_and_erosion_by_a_disk(metres: float, share: float) -> None:
    image = mask(70, 83, share)
    structure, there = disk(metres / 10), image != 0
    grown = called("grow", image, metres, pixel_size=10.0)
    shrunk = called("shrink", image, metres, pixel_size=10.0)
    assert grown.dtype == np.float32
    np.testing.assert_array_equal(grown, ndimage.binary_dilation(there, structure))
    np.testing.assert_array_equal(shrunk, ndimage.binary_erosion(there, structure, border_value=1))


def test_it_is_that_of_scikit_image() -> None:
    morphology = pytest.importorskip("skimage.morphology")
    image = mask(60, 60)
    for r in (1, 3, 8):
        grown = called("grow", image, r * 30.0, pixel_size=30.0)
        np.testing.assert_array_equal(grown, morphology.dilation(image, morphology.disk(r)))
        inverse = called("shrink", 1 - image, r * 30.0, pixel_size=30.0)
        np.testing.assert_array_equal(inverse, morphology.erosion(1 - image, morphology.disk(r)))


def test_missing_pixels_stay_missing_and_say_nothing() -> None:
    image = np.array([[NAN, 0, 1, 0, NAN, 0]], np.float32)
    np.testing.assert_array_equal(called("grow", image, 1), [[NAN, 1, 1, 1, NAN, 0]])
    np.testing.assert_array_equal(called("shrink", 1 - image, 1), [[NAN, 0, 0, 0, NAN, 1]])
    nothing = np.full((3, 3), NAN)
    np.testing.assert_array_equal(called("grow", nothing, 5), nothing)
    assert (called("grow", np.full((3, 3), 7.0), 1) == 1).all(), "what is not zero is true"


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 1.5, 2.3, 4.0]))
def test_shrinking_is_growing_what_is_not_there(seed: int, metres: float) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.random((9, 11)) < rng.random()).astype(np.float32)
    image[rng.random(image.shape) < 0.2] = NAN
    grown, shrunk = called("grow", 1 - image, metres), called("shrink", image, metres)
    np.testing.assert_array_equal(1 - grown, shrunk)
    valid = ~np.isnan(image)
    assert (shrunk[valid] <= image[valid]).all()


def test_windows_have_no_seam(tmp_path) -> None:
    image = mask(560, 530, 0.002)
    collection = stack(image[None, None], tmp_path, bands=("B4",))
    grown = (collection.band("B4").max("t") > 0.5).grow(65)
    window = own_window(560, 530)
    whole = grown.compute(window).values
    np.testing.assert_array_equal(whole, ndimage.binary_dilation(image != 0, disk(6.5)))
    for rows, columns in ((slice(0, 100), slice(0, 77)), (slice(500, 560), slice(505, 530)), (slice(250, 262),) * 2):
        np.testing.assert_array_equal(grown.compute(window[rows, columns]).values, whole[rows, columns])


def test_radii_that_are_none_are_refused(s2: ml.Collection) -> None:
    water = s2.ndwi().median("t") > 0
    with pytest.raises(DocumentError, match="greater than 0"):
        water.grow(-10)
    window = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=10)
    with pytest.raises(TooLarge, match=r"5000 m are 500 pixels of 10 m; the limit is 128"):
        water.grow(5000).compute(window)
