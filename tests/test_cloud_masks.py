"""Masks of products by name: which pixels each keeps, what its classes and bits mean, several side by side."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError, BandError
from muses_lab.products import product
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

NAN = float("nan")
SCL = list(range(12))
QA = [21824, 21952, 22280, 23888, 1, 1 << 1, 1 << 2, 1 << 5]
FMASK = [0, 1, 2, 4, 8, 16, 32, 192, 255]
CLM = [0, 1, 3, 33, 129, 4, 16, 64]
MG2 = [0, 1, 2, 4, 8, 16, 32, 64, 128]
CLEAR = {
    "sentinel-2-l2a": ("SCL", SCL, [4, 5, 6, 7, 11]),
    "landsat-c2-l2": ("QA_PIXEL", QA, [21824, 21952, 1 << 5]),
    "landsat-tm-c2-l2": ("QA_PIXEL", QA, [21824, 21952, 1 << 5]),
    "hls2-s30": ("Fmask", FMASK, [0, 1, 16, 32, 192]),
    "hlsl30.v2.0": ("Fmask", FMASK, [0, 1, 16, 32, 192]),
    "muscate-l2a": ("CLM_R1", CLM, [0]),
}
"""Collection → band of its mask, values of it, and those that are clear."""


def made(
    folder: Path, collection: str, flags: list[int], band: str | None = None, other: list[int] | None = None
) -> ml.Collection:
    """A collection of one date and a row of pixels: its first band is 3000 everywhere; one mask, or two."""
    known = product({"id": collection})
    first = known.bands[0].name
    bands = (first, band or CLEAR[collection][0], *(("EDG_R1",) if other else ()))
    values = np.array([[3000] * len(flags), flags, *([other] if other else [])], np.int16)
    return stack(values[None, :, None], folder, bands=bands, name=collection, categorical=bands[1:])


def kept(chain: ml.Chain, pixels: int) -> list[bool]:
    return np.isfinite(chain.compute(own_window(1, pixels)).values).ravel().tolist()


@pytest.mark.parametrize("collection", CLEAR)
def test_the_pixels_that_are_clear_by_default(tmp_path: Path, collection: str) -> None:
    _, flags, clear = CLEAR[collection]
    c = made(tmp_path, collection, flags)
    name = c.product.masks[0].name
    for masked in (c.mask_clouds(), c.mask_clouds(name), c.mask_clouds(name.lower()), c.mask(c.clouds())):
        assert kept(masked.band(c.product.bands[0].name), len(flags)) == [flag in clear for flag in flags]
    assert c.mask_clouds().identical(c.mask_clouds(c.clouds()))


def test_classes_are_chosen_by_number_and_by_name(tmp_path: Path) -> None:
    c = made(tmp_path, "sentinel-2-l2a", SCL)
    band = c.product.bands[0].name
    for chosen, expected in (
        ({"keep": [4, "bare"]}, {4, 5}),
        ({"drop": ["cloud_high", 3]}, set(SCL) - {0, 3, 9}),  # 0 is nodata: no class of a pixel
        ({"keep": np.array([11])}, {11}),
    ):
        assert {n for n, clear in enumerate(kept(c.mask_clouds("SCL", **chosen).band(band), 12)) if clear} == expected
    with pytest.raises(ArgumentError, match=r"there is no class 'clouds' in SCL; it has 0 no_data, .* 9 cloud_high"):
        c.mask_clouds(keep=["clouds"])
    with pytest.raises(ArgumentError, match="there is no class 12 in SCL"):
        c.mask_clouds(drop=[12])
    with pytest.raises(ArgumentError, match="give keep=… or drop=…, not both"):
        c.mask_clouds(keep=[4], drop=[9])
    with pytest.raises(ArgumentError, match=r"drops all classes of SCL"):
        c.mask_clouds(drop=SCL)


def test_bits_are_chosen_by_number_and_by_name(tmp_path: Path) -> None:
    c = made(tmp_path, "landsat-c2-l2", QA)
    band = c.product.bands[0].name
    for drop in (["cloud"], [3], ["cloud", 3], np.array([3])):
        masked = c.mask_clouds("QA_PIXEL", drop=drop).band(band)
        assert kept(masked, len(QA)) == [not flag & 8 and flag != 1 for flag in QA], "fill is no data, in any case"
    for wrong, sentence in (
        (
            {"drop": ["clowd"]},
            r"there is no bit 'clowd' in QA_PIXEL; it has 0 fill, 1 dilated_cloud, 2 cirrus, 3 cloud,",
        ),
        ({"drop": [17]}, r"there is no bit 17 in QA_PIXEL; it has .*, 7 water"),
        ({"drop": [True]}, r"no bit True"),
        ({"drop": [2.5]}, r"no bit 2.5"),
        ({"drop": [-1]}, r"no bit -1"),
        ({"drop": []}, r"drop=\[\] names no bit of QA_PIXEL: 0 fill"),
        ({"drop": "cloud"}, r"drop='cloud' is no list of classes or bits"),
        ({"keep": [3]}, r"QA_PIXEL is a bit field: .* give drop=\[…\] .*\(0 fill, .* 7 water\)"),
    ):
        with pytest.raises((ArgumentError, ValueError), match=sentence):
            c.mask_clouds(**wrong)


def test_the_masks_of_theia(tmp_path: Path) -> None:
    """CLM and MG2 with the edge of the image; the two bits that readers of the product exchange are one flag."""
    c = made(tmp_path / "edge", "muscate-l2a", [0, 0, 1, 0], other=[0, 1, 0, 0])
    band = c.product.bands[0].name
    assert kept(c.mask_clouds().band(band), 4) == [True, False, False, True]
    g = made(tmp_path / "mg2", "muscate-l2a", MG2, band="MG2_R1")
    assert kept(g.mask_clouds("MG2").band(band), len(MG2)) == [flag in (0, 1, 4) for flag in MG2]
    for drop in (["topographic_shadow_or_hidden"], [4], [5]):
        assert kept(g.mask_clouds("MG2", drop=drop).band(band), len(MG2)) == [not flag & 48 for flag in MG2]
    assert kept(g.mask_clouds("MG2", drop=["snow"]).band(band), len(MG2)) == [flag != 4 for flag in MG2]
    assert g.product.cloud_mask is not None and g.product.cloud_mask.name == "MG2", "there is no other here"


def test_the_table_of_masks(tmp_path: Path, s2: ml.Collection) -> None:
    table = made(tmp_path, "muscate-l2a", CLM).masks
    assert list(table.columns) == ["band", "number", "meaning", "dropped"] and set(table.index) == {"CLM"}
    assert table["dropped"].all() and table["number"].tolist() == [str(bit) for bit in range(8)]
    classes = s2.masks.set_index("meaning")
    assert classes.loc["cloud_high", "number"] == "9" and classes.loc["cloud_high", "dropped"]
    assert not classes.loc["vegetation", "dropped"]


def test_a_mask_of_one_s_own_and_metres_around_it(tmp_path: Path) -> None:
    flags = [4] * 5 + [9] + [4] * 6
    c = made(tmp_path, "sentinel-2-l2a", flags)
    band = c.product.bands[0].name
    assert kept(c.mask_clouds(grow=20).band(band), 12) == [not 3 <= n <= 7 for n in range(12)]
    assert c.mask_clouds("SCL", grow=20).identical(c.mask(c.clouds("SCL").grow(20)))
    assert kept(c.mask_clouds(c.band("SCL") == 4).band(band), 12) == [flag != 4 for flag in flags]
    for wrong, sentence in (
        (lambda: c.mask_clouds("CLM"), r"has no mask 'CLM'; it has 'SCL'"),
        (lambda: c.mask_clouds([4, 5]), r"mask_clouds\(\[4, 5\]\) .* classes are chosen with keep="),
        (lambda: c.mask_clouds(grow=-10), r"grow=-10 is below 0.*shrink"),
        (lambda: c.mask_clouds(grow="10 m"), r"grow='10 m' is not a finite number"),
        (lambda: c.mask_clouds(c.band("SCL") == 4, keep=[4]), r"a condition has none"),
        (lambda: c.clouds(4), r"clouds\(4\) takes the name of a mask"),
    ):
        with pytest.raises((ArgumentError, BandError), match=sentence):
            wrong()


def test_masks_side_by_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    values = rng.integers(0, 12, (3, 2, 40, 30)).astype(np.int16)
    values[:, 0] = rng.integers(1, 5000, (3, 40, 30))
    values[0, 0, :5] = 0  # nodata of the reflectance
    c = stack(values, tmp_path, bands=("B04", "SCL"), name="sentinel-2-l2a", categorical=("SCL",))
    window = own_window(40, 30)
    valid = values[:, 0] > 0
    clear = valid & np.isin(values[:, 1], [4, 5, 6, 7, 11])
    table = c.compare_masks(window)
    assert table.loc["SCL"].tolist() == [clear.sum(), valid.sum(), clear.sum() / valid.sum()]
    masks = {"own": c.band("SCL") > 6, "SCL": "SCL", "grown": c.clouds().grow(10)}
    table = c.compare_masks(window, masks, band="B04")
    assert list(table.index) == list(masks)
    own = valid & (values[:, 1] <= 6)
    np.testing.assert_array_equal(table["kept"][["own", "SCL"]], [own.sum(), clear.sum()])
    assert table["share"]["grown"] < table["share"]["SCL"]
    layers = c.mask_layers(["SCL"])
    with np.errstate(invalid="ignore"):
        expected = (clear.sum(axis=0) / valid.sum(axis=0)).astype(np.float32)
    np.testing.assert_array_equal(layers["SCL"].compute(window).values, expected)
    with pytest.raises(ArgumentError, match=re.escape("'SCL' is no list of names of masks")):
        c.compare_masks(window, "SCL")
    far = own_window(4, 4).translate_pix(9_000, 0) if hasattr(own_window(4, 4), "translate_pix") else None
    if far is not None:
        with pytest.warns(UserWarning):
            assert np.isnan(c.compare_masks(far)["share"]["SCL"])
