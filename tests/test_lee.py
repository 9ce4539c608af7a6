"""The Lee filter against SciPy's moving averages, ESA SNAP's own test, Orfeo ToolBox, and against itself in tiles."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin
from scipy import ndimage

import muses_lab as ml
from muses_lab.errors import DocumentError
from muses_lab.operators import registry
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

NAN = float("nan")


def lee(image: np.ndarray, **given) -> np.ndarray:
    return registry["muses:lee"].fn(xr.DataArray(image, dims=("y", "x")), **given).values


def by_moving_averages(image: np.ndarray, size: int, looks: float) -> np.ndarray:
    """As it is written with SciPy everywhere, for what is missing and for the borders as well."""
    there = ~np.isnan(image)
    filled = np.where(there, image, 0).astype(np.float64)
    n, s1, s2 = (
        ndimage.uniform_filter(v.astype(np.float64), size, mode="constant") * size**2
        for v in (there, filled, filled**2)
    )
    n = np.rint(n)
    with np.errstate(all="ignore"):
        mean = s1 / n
        variance = np.where(n > 1, (s2 / n - mean**2) * n / (n - 1), 0)
        ci2, cu2 = variance / mean**2, 1 / looks
        filtered = np.where(ci2 < cu2, mean, mean + (1 - cu2 / ci2) * (filled - mean))
    return np.where(there, filtered, NAN)


def speckled(rows: int, columns: int, looks: float = 4, gaps: float = 0.1) -> np.ndarray:
    """Fields of different backscatter, and bright points, times speckle."""
    rng = np.random.default_rng(rows + columns)
    fields = np.kron(rng.uniform(0.02, 0.5, (rows // 10 + 1, columns // 10 + 1)), np.ones((10, 10)))[:rows, :columns]
    fields[rng.random(fields.shape) < 0.01] *= 50
    image = (fields * rng.gamma(looks, 1 / looks, fields.shape)).astype(np.float32)
    image[rng.random(image.shape) < gaps] = NAN
    return image


@pytest.mark.parametrize("size", [3, 7, 15])
@pytest.mark.parametrize("looks", [1, 4.4, 100])
def test_it_is_that_of_moving_averages(size: int, looks: float) -> None:
    image = speckled(61, 83)
    found, expected = lee(image, size=size, looks=looks), by_moving_averages(image, size, looks)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), np.isnan(image))
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_the_values_of_snap(shared_data: Path) -> None:
    known = json.loads((shared_data / "references" / "algorithm_fixtures.json").read_text())["speckle"]
    assert known["lee_3x3"] == "same as boxcar"
    found = lee(np.array(known["input_4x4"], np.float32), size=3, looks=1)
    np.testing.assert_allclose(found.ravel(), known["boxcar_3x3"], rtol=1e-6)


def test_one_pixel_by_hand() -> None:
    """Mean 2, variance 9 with n - 1, so ci² = 9/4; of 4 looks w = 1 - 1/9, and 2 + 8/9 × 8 is the pixel."""
    image = np.ones((3, 3))
    image[1, 1] = 10
    assert lee(image, size=3, looks=4)[1, 1] == pytest.approx(2 + 8 / 9 * 8)
    assert lee(image, size=3, looks=0.4)[1, 1] == 2  # cu² = 2.5 is more than there is


def test_missing_and_lonely_pixels() -> None:
    image = np.full((5, 5), NAN, np.float32)
    assert np.isnan(lee(image)).all()
    image[2, 2] = 3
    np.testing.assert_array_equal(lee(image, size=3), image)
    assert (lee(np.zeros((4, 4), np.float32)) == 0).all()


@pytest.mark.skipif(shutil.which("otbcli_Despeckle") is None, reason="Orfeo ToolBox is not installed")
def test_the_values_of_orfeo_toolbox(tmp_path: Path) -> None:
    """Inside: beyond its borders it repeats the outermost pixels."""
    image, radius, looks = speckled(60, 70, gaps=0), 2, 4.0
    given, made = tmp_path / "in.tif", tmp_path / "out.tif"
    profile = {"driver": "GTiff", "width": 70, "height": 60, "count": 1, "dtype": "float32", "crs": "EPSG:32631"}
    with rasterio.open(given, "w", **profile, transform=from_origin(500_000, 4_800_000, 10, 10)) as file:
        file.write(image, 1)
    command = ["otbcli_Despeckle", "-in", given, "-out", made, "float", "-filter", "lee"]
    subprocess.run([*command, "-filter.lee.rad", str(radius), "-filter.lee.nblooks", str(looks)],
                   check=True, capture_output=True, timeout=120)  # fmt: skip
    with rasterio.open(made) as file:
        expected = file.read(1)
    found = lee(image, size=2 * radius + 1, looks=looks)
    inside = (slice(radius, -radius),) * 2
    mean = ndimage.uniform_filter(image.astype(np.float64), 2 * radius + 1)[inside]
    assert (np.abs(found[inside] - mean) > 1e-3 * mean).mean() > 0.3, "where it is not the mean alone"
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4)


# ----------------------------------------------------------------------------------------------- in the engine


def test_a_value_does_not_depend_on_where_its_block_begins() -> None:
    image = speckled(120, 130)
    whole = lee(image, size=9, looks=4, halo=4)
    np.testing.assert_array_equal(lee(image, size=9, looks=4)[4:-4, 4:-4], whole)
    for top, left, rows, columns in ((0, 0, 17, 31), (5, 3, 64, 20), (11, 37, 1, 50)):
        part = np.ascontiguousarray(image[top : top + rows + 8, left : left + columns + 8])
        expected = np.ascontiguousarray(whole[top : top + rows, left : left + columns])
        assert lee(part, size=9, looks=4, halo=4).tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def radar(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Chain, np.ndarray]:
    image = speckled(700, 650)
    made = stack(image[None, None], tmp_path_factory.mktemp("radar"), bands=("VV",))
    return made.band("VV").max("t"), image


def test_windows_have_no_seam_and_equal_the_export(radar: tuple[ml.Chain, np.ndarray], tmp_path: Path) -> None:
    chain, image = radar
    filtered = chain.lee(7, looks=4)
    window = own_window(*image.shape)
    whole = filtered.compute(window).values
    np.testing.assert_array_equal(whole, lee(image, size=7, looks=4))
    for rows, columns in ((slice(0, 300), slice(0, 301)), (slice(500, 700), slice(505, 530))):
        np.testing.assert_array_equal(filtered.compute(window[rows, columns]).values, whole[rows, columns])
    path = filtered.export(tmp_path / "lee.tif", window, progress=False).wait(60)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), whole)


def test_windows_that_are_none_are_refused(radar: tuple[ml.Chain, np.ndarray]) -> None:
    chain, _ = radar
    for given, sentence in (
        ({"size": 4}, "3 or 5 pixels, not 4"), ({"size": 1}, "greater than or equal to 3"), ({"looks": 0}, "than 0"),
    ):  # fmt: skip
        with pytest.raises(DocumentError, match=sentence):
            chain.lee(**given)
