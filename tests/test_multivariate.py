"""k-means and principal components: against scikit-learn on the same pixels, wherever the image is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import muses_lab as ml
from muses_lab.errors import DocumentError, ExtentRequired, MusesError
from muses_lab.operators.multivariate import fit_kmeans, fit_pca
from tests.helpers.made_stacks import CRS, ORIGIN, own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 48
WINDOW = own_window(SIZE, SIZE)
EXTENT = {
    "west": ORIGIN[0],
    "south": ORIGIN[1] - 10 * SIZE,
    "east": ORIGIN[0] + 10 * SIZE,
    "north": ORIGIN[1],
    "crs": CRS,
}
PINNED: dict[str, Any] = {"extent": EXTENT, "resolution": 10}
BANDS = ("B3", "B4", "B8")


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    rng = np.random.default_rng(11)
    kinds = np.repeat(np.repeat(rng.integers(0, 3, (12, 12)), 4, 0), 4, 1)
    means = np.array([[300, 500, 2500], [1200, 1500, 1700], [900, 600, 300]])
    values = (means[kinds] + rng.normal(0, 90, (SIZE, SIZE, 3))).clip(1, 9000).astype(np.int16)
    values[10, 10:20, 1] = 0
    return np.moveaxis(values, -1, 0)[None]


@pytest.fixture(scope="module")
def image(numbers: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> ml.Chain:
    folder = tmp_path_factory.mktemp("made")
    return stack(numbers, folder, bands=BANDS, dates=["2020-06-01"], nodata=0).first("t")


@pytest.fixture(scope="module")
def flat(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Valid pixels (pixel, band), and where they are."""
    values = numbers[0].reshape(3, -1).T.astype(float)
    valid = (values > 0).all(axis=1)
    return values[valid], valid


SCALERS = {"zscore": StandardScaler, "minmax": MinMaxScaler}


@pytest.mark.parametrize("scaling", ["none", "zscore", "minmax"])
def test_clusters_are_scikit_learns(image: ml.Chain, flat: Any, scaling: str) -> None:
    values, valid = flat
    scaled = SCALERS[scaling]().fit_transform(values) if scaling in SCALERS else values
    found = image.kmeans(3, scaling=scaling, seed=4, **PINNED).compute(WINDOW).values.reshape(-1)
    assert np.isnan(found[~valid]).all() and set(found[valid]) == {1, 2, 3}
    model = KMeans(3, n_init=10, random_state=7).fit(scaled)
    order = np.argsort(np.lexsort(model.cluster_centers_.T[::-1]))
    np.testing.assert_array_equal(found[valid], order[model.labels_] + 1)


@pytest.mark.parametrize("scaling", ["none", "zscore"])
def test_components_are_scikit_learns_with_the_largest_loading_positive(
    image: ml.Chain, flat: Any, scaling: str
) -> None:
    values, valid = flat
    scaled = StandardScaler().fit_transform(values) if scaling == "zscore" else values
    model = PCA(3, svd_solver="full").fit(scaled)
    found = image.pca(3, scaling=scaling, **PINNED).compute(WINDOW)
    assert list(found.bands.values) == ["PC1", "PC2", "PC3"] and found.dtype == np.float32
    flat_found = found.values.reshape(3, -1).T
    assert np.isnan(flat_found[~valid]).all()
    signs = np.sign(model.components_[np.arange(3), np.abs(model.components_).argmax(axis=1)])
    expected = model.transform(scaled) * signs
    np.testing.assert_allclose(flat_found[valid], expected, atol=1e-3 * expected.std())


@settings(max_examples=6, deadline=None)
@given(st.integers(0, SIZE - 2), st.integers(0, SIZE - 2), st.data())
def test_parts_of_the_image_are_parts_of_the_result(image: ml.Chain, row: int, column: int, data: Any) -> None:
    part = np.s_[row : data.draw(st.integers(row + 1, SIZE)), column : data.draw(st.integers(column + 1, SIZE))]
    for chain in (image.kmeans(3, **PINNED), image.pca(2, scaling="minmax", **PINNED)):
        whole = chain.compute(WINDOW).values
        np.testing.assert_array_equal(chain.compute(WINDOW[part]), whole[..., part[0], part[1]])


def test_what_is_fitted_is_the_same_each_time_and_in_any_order_of_bands(image: ml.Chain) -> None:
    found = image.compute(WINDOW)
    cube = found.rename(dict(zip(found.dims[-2:], ("y", "x"), strict=True)))
    assert fit_kmeans(cube, 5, samples=500, seed=3) == fit_kmeans(cube, 5, samples=500, seed=3)
    assert fit_kmeans(cube, 5, samples=500, seed=3) != fit_kmeans(cube, 5, samples=500, seed=4)
    assert fit_pca(cube) == fit_pca(cube) and sum(fit_pca(cube)["explained"]) == pytest.approx(1)
    turned = image.bands("B8", "B3", "B4").pca(2, **PINNED).compute(WINDOW)
    np.testing.assert_allclose(turned, image.pca(2, **PINNED).compute(WINDOW), atol=0.01)


def test_one_band_of_an_image_has_clusters(image: ml.Chain) -> None:
    red, labels = image.band("B4"), image.band("B4").kmeans(2, **PINNED).compute(WINDOW).values
    values = red.compute(WINDOW).values
    assert np.nanmax(values[labels == 1]) < np.nanmin(values[labels == 2])


def test_bad_input_is_told(image: ml.Chain, tmp_path: Path) -> None:
    flat_image = stack(np.full((1, 2, 20, 20), 5, np.int16), tmp_path / "flat", nodata=0).first("t")
    empty = stack(np.zeros((1, 2, 20, 20), np.int16), tmp_path / "empty", nodata=0, name="empty").first("t")
    for chain, told in (
        (flat_image.kmeans(2, **PINNED), "2 clusters need as many different pixels; the extent has 1"),
        (empty.kmeans(2, **PINNED), "the extent has 0"),
        (flat_image.pca(2, **PINNED), "one value in each band"),
        (empty.pca(2, **PINNED), "0 valid pixels"),
    ):
        with pytest.raises(MusesError, match=told):
            chain.compute(WINDOW)
    with pytest.raises(ExtentRequired):
        image.kmeans(3).compute(WINDOW)
    with pytest.raises(DocumentError, match="4 components need as many bands; the image has 3"):
        image.pca(4, **PINNED).compute(WINDOW)
    with pytest.raises(DocumentError, match="reduce over 't'"):
        stack(np.ones((2, 2, 9, 9), np.int16), tmp_path / "t", name="t").kmeans(3, **PINNED).compute(WINDOW)
