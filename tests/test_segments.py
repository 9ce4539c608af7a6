"""`apply_polygon`: processes on the pixels of polygons, against NumPy and SciPy polygon by polygon."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rasterio.features
from rasterio.transform import from_origin
from scipy import ndimage
from shapely.geometry import Polygon, mapping, shape

import muses_lab as ml
from muses_lab.errors import DocumentError, MusesError
from tests.helpers.made_stacks import CRS, ORIGIN, own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

ROWS, COLUMNS = 540, 60
WINDOW = own_window(ROWS, COLUMNS)
KERNEL = [[1, 2, 1], [0, 3, 0], [-1, 1, 2]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, np.ndarray]:
    values = np.random.default_rng(6).uniform(0, 1, (3, 2, ROWS, COLUMNS)).astype(np.float32)
    values[np.random.default_rng(7).random(values.shape) < 0.1] = np.nan
    return stack(values, tmp_path_factory.mktemp("segments")), values


def at(*corners: tuple[float, float]) -> dict[str, Any]:
    """A polygon by its corners in columns and rows of pixels."""
    return mapping(Polygon([(ORIGIN[0] + 10 * c, ORIGIN[1] - 10 * r) for c, r in corners]))


TRIANGLE = at((3.2, 4.1), (40.3, 9.7), (8.4, 61.2))
ACROSS = at((5.5, 480.5), (55.5, 470.2), (50.3, 533.9), (9.9, 529.3))
FIELDS = {
    "type": "FeatureCollection",
    "crs": {"type": "name", "properties": {"name": CRS}},
    "features": [
        {"type": "Feature", "id": n, "properties": {}, "geometry": g} for n, g in ((7, TRIANGLE), (9, ACROSS))
    ],
}


def by_polygon(image: np.ndarray, fn: Any, mask_value: float = np.nan) -> np.ndarray:
    out = np.full_like(image, np.nan)
    for one in (TRIANGLE, ACROSS):
        inside = rasterio.features.rasterize([one], image.shape, transform=from_origin(*ORIGIN, 10, 10)).astype(bool)
        w, s, e, n = shape(one).bounds
        cols = slice(int((w - ORIGIN[0]) // 10), int(-(-(e - ORIGIN[0]) // 10)))
        rows = slice(int((ORIGIN[1] - n) // 10), int(-(-(ORIGIN[1] - s) // 10)))
        found = fn(np.where(inside, image, mask_value)[rows, cols])
        out[rows, cols][inside[rows, cols]] = found[inside[rows, cols]]
    return out


def first_of(values: np.ndarray) -> np.ndarray:
    found = values[0].copy()
    for later in values[1:]:
        found = np.where(np.isnan(found), later, found)
    return found


@pytest.mark.parametrize("mask_value", [None, 2.5])
def test_neighbourhoods_end_at_polygons(made, mask_value: float | None) -> None:
    collection, values = made

    def convolved(window: np.ndarray) -> np.ndarray:
        filled = np.where(np.isnan(window), 0.0, window).astype(np.float64)
        return ndimage.convolve(filled, np.array(KERNEL, float), mode="constant", cval=5)

    image = collection.band("B4").first("t")
    chain = image.apply_polygon(FIELDS, lambda part: part.apply_kernel(KERNEL, border=5), mask_value)
    expected = by_polygon(first_of(values[:, 0]), convolved, np.nan if mask_value is None else mask_value)
    found = chain.compute(WINDOW).values
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for rows, columns in ((slice(500, 540), slice(10, 31)), (slice(20, 200), slice(3, 9))):
        np.testing.assert_array_equal(chain.compute(WINDOW[rows, columns]).values, found[rows, columns])


def test_code_gets_whole_polygons(made) -> None:
    collection, values = made
    code = (
        "def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:\n"
        "    return 0 * cube + cube.mean(('x', 'y'))\n"
    )
    chain = collection.band("B8").max("t").apply_polygon(FIELDS, lambda part: part.run_udf(udf=code))
    with np.errstate(all="ignore"):
        highest = np.fmax.reduce(values[:, 1])
    expected = by_polygon(highest, lambda window: 0 * window + np.nanmean(window))
    found = chain.compute(WINDOW).values
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    tile = chain.compute(WINDOW[490:500, 20:40]).values
    np.testing.assert_array_equal(tile, found[490:500, 20:40])


def test_dates_of_polygons_are_reduced_and_put_back(made) -> None:
    collection, values = made
    chain = collection.apply_polygon(
        FIELDS, lambda part: part.merge_cubes(part.reduce_dimension("max", "t"), lambda x, y: y - x)
    )
    with np.errstate(all="ignore"):
        expected = np.fmax.reduce(values) - values
    expected = np.stack([[by_polygon(band, lambda window: window) for band in date] for date in expected])
    np.testing.assert_array_equal(chain.compute(WINDOW).values, expected)


def test_what_is_not_one_polygon_of_each_pixel_is_refused(made) -> None:
    image = made[0].band("B4").max("t")
    kernel = lambda part: part.apply_kernel([[1, 1, 1]])  # noqa: E731
    twice = {**FIELDS, "features": [*FIELDS["features"], {**FIELDS["features"][0], "id": 11}]}
    with pytest.raises(MusesError, match="7 and 11 have pixels in common") as caught:
        image.apply_polygon(twice, kernel).compute(WINDOW)
    assert "GeometriesOverlap" in str(caught.value.to_json())
    line = {"type": "LineString", "coordinates": [[1.4, 43.5], [1.5, 43.6]]}
    with pytest.raises(DocumentError, match="no polygon"):
        image.apply_polygon(line, kernel).compute(WINDOW)
    with pytest.raises(DocumentError, match="without dates"):
        made[0].apply_polygon(FIELDS, lambda part: part.reduce_dimension("max", "t")).compute(WINDOW)
    with pytest.raises(DocumentError, match="processes of cubes"):
        made[0].apply_polygon(FIELDS, "cumsum").compute(WINDOW)
