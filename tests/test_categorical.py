"""Classes and bits are never averaged, however it is known that a band holds them, and whatever overviews there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from muses_lab.products.described import described
from tests.helpers.single_files import COLUMNS, ROWS, added, made_tif, opened, seen

pytestmark = pytest.mark.usefixtures("in_threads")

RNG = np.random.default_rng(3)
CLASSES = RNG.choice([0, 1, 16, 64, 200], (ROWS, COLUMNS)).astype(np.uint8)
COLOURS = {0: (0, 0, 0, 255), 1: (0, 90, 0, 255), 16: (200, 0, 0, 255), 64: (0, 0, 250, 255), 200: (9, 9, 9, 255)}


def with_overviews(path: Path, colours: bool) -> Path:
    """Overviews are averages, as those of careless tools."""
    made_tif(path, CLASSES, photometric="palette" if colours else "minisblack", overviews=(2, 4), resampling="average")
    return path


def never_averaged(collection, band: str) -> None:
    for level in (1, 2):
        found = seen(collection.bands(band), level)[0]
        step = 2**level
        nearest = CLASSES[::step, ::step]
        np.testing.assert_array_equal(found[: len(nearest), : nearest.shape[1]], nearest)


@pytest.mark.parametrize("layout", ["tiles", "strips"])
def test_a_colour_table_means_classes(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.tif"
    shape = {} if layout == "tiles" else {"tiled": False, "blockysize": 40}
    made_tif(path, CLASSES, photometric="palette", **shape)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, COLOURS)
    never_averaged(added(path), "b1")
    never_averaged(opened(path), "data")


def test_overviews_of_classes_that_may_be_averages_are_not_used(tmp_path: Path) -> None:
    path = with_overviews(tmp_path / "a.tif", True)
    with rasterio.open(path, overview_level=0) as file:
        before = file.read(1)
    assert not np.array_equal(before, CLASSES[1::2, 1::2])
    never_averaged(added(path), "b1")
    never_averaged(opened(path), "data")


def test_names_of_classes_beside_the_file_mean_classes(tmp_path: Path) -> None:
    path = with_overviews(tmp_path / "a.tif", False)
    names = "".join(f"<Category>{n}</Category>" for n in ("none", "forest"))
    (tmp_path / "a.tif.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>'
    )
    never_averaged(added(path), "b1")


SAID = {
    "classes": {"classification:classes": [{"value": 1, "name": "forest"}]},
    "bits": {"classification:bitfields": [{"offset": 4, "length": 2, "classes": []}]},
    "classes of a band": {"raster:bands": [{"classification:classes": [{"value": 1, "name": "forest"}]}]},
    "values": {"file:values": [{"values": [1], "summary": "forest"}]},
    "roles": {"roles": ["data", "cloud-shadow", "snow-mask"]},
}


@pytest.mark.parametrize("said", SAID)
def test_what_metadata_call_classes_is_never_averaged(tmp_path: Path, said: str) -> None:
    path = with_overviews(tmp_path / "a.tif", False)
    never_averaged(opened(path, SAID[said]), "data")


@pytest.mark.parametrize(
    ("name", "dtype", "categorical"),
    [
        ("QA_PIXEL", "uint16", True), ("Fmask", "uint8", True), ("sur_refl_qc_500m", "uint32", True),
        ("SCL", "uint8", True), ("bqa", None, True), ("MSK_CLASSI", "uint8", True), ("cloud_mask", "uint8", True),
        ("SR_B4", "uint16", False), ("aqua", "uint8", False), ("VV", "float32", False), ("mask", "float32", False),
        ("damask", "uint8", False), ("QA_PIXEL", "float32", False),
    ],
)  # fmt: skip
def test_names_of_quality_bands(name: str, dtype: str | None, categorical: bool) -> None:
    (said,) = described(name, {"href": "a.tif", "data_type": dtype} if dtype else {"href": "a.tif"}, None)
    assert bool(said.categorical) is categorical
    (told,) = described(name, {"href": "a.tif", "data_type": dtype, "muses:categorical": False}, None)
    assert not told.categorical


def test_other_bands_are_averaged(tmp_path: Path) -> None:
    path = made_tif(tmp_path / "a.tif", CLASSES)
    found = seen(opened(path).bands("data"), 1)[0]
    means = CLASSES.reshape(ROWS // 2, 2, COLUMNS // 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(found, means, rtol=1e-6)
