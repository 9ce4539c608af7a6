"""Masks inside files, beside them, and opacity, against rasterio's masked reads: native pixels and every overview."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import morecantile
import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.enums import ColorInterp, Resampling

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.engine import Engine
from muses_lab.raster import tiff
from muses_lab.raster.asset import Band
from tests.helpers import made_scenes as made
from tests.helpers.made_scenes import UTM31, values
from tests.helpers.single_files import COLUMNS, CORNER, ROWS, added, made_tif, opened, seen, window
from tests.oracles.values import masked_values

pytestmark = pytest.mark.usefixtures("in_threads")

"""Pixels of all levels begin here."""
RNG = np.random.default_rng(11)
VALUES = RNG.integers(0, 200, (3, ROWS, COLUMNS), dtype=np.uint8)  # 0 is a value here
VALID = np.ones((ROWS, COLUMNS), bool)
VALID[:64, :128] = VALID[200:, 300:] = False
VALID[100:140, 100:140] = RNG.random((40, 40)) < 0.5


LAYOUTS = {
    "plain tiles": {},
    "band tiles": {"interleave": "band"},
    "tiles of another codec": {"compress": "lzma"},
    "strips": {"tiled": False, "blockysize": 37},
    "big-endian": {"endianness": "big"},
    "no compression": {"compress": "none", "interleave": "band"},
}


def bands_of(collection: ml.Collection) -> list[str]:
    (scenes,) = collection.published.scenes.values()
    return [band.name for band in scenes.bands]


def masked(path: Path, kind: str, layout: str, bands: int = 3, overviews: tuple[int, ...] = (2, 4)) -> Path:
    """A file whose pixels are valid where `VALID` says so: by a mask inside or beside it, or by a band of opacity."""
    images = VALUES[:bands]
    if kind == "alpha":
        images = np.concatenate([images, np.where(VALID, 255, 0).astype(np.uint8)[None]])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "inside", GDAL_TIFF_OVR_BLOCKSIZE="128"):
        made_tif(path, images, **LAYOUTS[layout], **({"alpha": "yes"} if kind == "alpha" else {}))
        with rasterio.open(path, "r+") as file:
            if kind != "alpha":
                file.write_mask(VALID)
        with rasterio.open(path, "r+") as file:
            if overviews:
                file.build_overviews(overviews, Resampling.nearest)
    return path


def refused(chain: Chain) -> str:
    """Why the only scene was left out."""
    found = made.pixels(Engine(64 << 20), chain, window(ROWS, COLUMNS))
    assert np.isnan(found.values).all()
    (failure,) = found.report.failed
    return str(failure)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["inside", "beside", "alpha"])
def test_what_a_mask_hides_is_missing(tmp_path: Path, kind: str, layout: str) -> None:
    path = masked(tmp_path / "a.tif", kind, layout)
    assert (tmp_path / "a.tif.msk").exists() == (kind == "beside")
    bands = added(path).bands("b1", "b2", "b3")
    for level in (0, 1, 2):
        right = masked_values(path, level, 3)
        assert 0 < np.isnan(right).sum() < right.size / 2
        np.testing.assert_array_equal(seen(bands, level), right)
    np.testing.assert_array_equal(seen(opened(path)), masked_values(path, 0, 3))


@pytest.mark.parametrize("kind", ["inside", "beside", "alpha"])
def test_places_exports_and_tiles_have_the_same_holes(tmp_path: Path, kind: str) -> None:
    path = masked(tmp_path / "a.tif", kind, "plain tiles")
    chain = added(path).band("b1").max("t")
    right = masked_values(path, 0, 1)[0]
    degrees, metres = (pyproj.Transformer.from_crs(*pair, always_xy=True) for pair in ((UTM31, 4326), (3857, UTM31)))
    for row, col in [(10, 10), (120, 120), (120, 121), (250, 299), (250, 300), (120, 139)]:
        place = degrees.transform(CORNER[0] + 10 * col + 5, CORNER[1] - 10 * row - 5)
        assert np.array_equal(chain.at(*place), right[row, col], equal_nan=True)
    chain.export(tmp_path / "out.tif", window(ROWS, COLUMNS), progress=False).wait(60)
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(1), right)
    tile = morecantile.tms.get("WebMercatorQuad").tile(*degrees.transform(CORNER[0] + 1200, CORNER[1] - 1200), 15)
    bounds = morecantile.tms.get("WebMercatorQuad").xy_bounds(tile)
    png = imagecodecs.png_decode(chain.style(vmin=0, vmax=200).tile(tile.z, tile.x, tile.y))
    pixel = (bounds.right - bounds.left) / 256
    centres = np.arange(256) + 0.5
    x, y = metres.transform(*np.meshgrid(bounds.left + pixel * centres, bounds.top - pixel * centres))
    rows, cols = np.floor((CORNER[1] - y) / 10).astype(int), np.floor((x - CORNER[0]) / 10).astype(int)
    inside = (rows >= 0) & (rows < ROWS) & (cols >= 0) & (cols < COLUMNS)
    shown = np.zeros((256, 256), bool)
    shown[inside] = VALID[rows[inside], cols[inside]]
    assert 0.1 < shown.mean() < 0.97
    assert ((png[..., -1] > 0) == shown).mean() > 0.999  # points on the edge of two pixels may be either's


@pytest.mark.parametrize("kind", ["inside", "beside", "alpha"])
def test_a_mask_of_full_resolution_alone_is_averaged_from(tmp_path: Path, kind: str) -> None:
    """Levels without overviews: means of the valid pixels."""
    path = masked(tmp_path / "a.tif", kind, "band tiles", overviews=())
    full = masked_values(path, 0, 1)[0].astype(np.float64)
    blocks = full.reshape(ROWS // 2, 2, COLUMNS // 2, 2)
    with np.errstate(all="ignore"):
        right = np.nansum(blocks, axis=(1, 3)) / (~np.isnan(blocks)).sum(axis=(1, 3))
    np.testing.assert_allclose(seen(added(path).band("b1"), 1), right, rtol=1e-6)


def test_an_overview_without_its_mask_does_not_stand_in(tmp_path: Path) -> None:
    path = made_tif(tmp_path / "a.tif", VALUES[0], overviews=(2,), resampling="nearest")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(VALID)
    with rasterio.open(path, overview_level=0) as file:
        assert (file.read_masks(1) == 255).all()  # GDAL has no mask for it
    found = seen(added(path).band("b1"), 1)
    np.testing.assert_array_equal(np.isnan(found), ~VALID.reshape(ROWS // 2, 2, COLUMNS // 2, 2).any(axis=(1, 3)))


def test_a_mask_counts_more_than_the_files_own_nodata(tmp_path: Path) -> None:
    """As in GDAL; what the item itself says to be missing is missing too."""
    path = masked(tmp_path / "a.tif", "inside", "plain tiles", bands=1)
    with rasterio.open(path, "r+") as file:
        file.nodata = 7
    right = masked_values(path, 0, 1)
    assert (right == 7).any()
    np.testing.assert_array_equal(seen(added(path).bands("b1")), right)
    np.testing.assert_array_equal(seen(opened(path)), right)
    stated = seen(opened(path, {"raster:bands": [{"nodata": 7, "data_type": "uint8"}]}))
    np.testing.assert_array_equal(stated, np.where(right == 7, np.nan, right))


def test_opacity_is_no_band(tmp_path: Path) -> None:
    path = masked(tmp_path / "a.tif", "alpha", "plain tiles")
    assert bands_of(added(path)) == ["b1", "b2", "b3"]
    named = {"eo:bands": [{"name": n} for n in ("red", "green", "blue", "alpha")]}
    chain = opened(path, named)
    assert bands_of(chain) == ["red", "green", "blue"]
    np.testing.assert_array_equal(seen(chain), masked_values(path, 0, 3))


def test_a_fourth_band_with_a_name_is_data_even_if_gdal_called_it_opacity(tmp_path: Path) -> None:
    path = made_tif(tmp_path / "a.tif", np.concatenate([VALUES, VALUES[:1]]), photometric="RGB", alpha="yes")
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    names = {"eo:bands": [{"name": n, "common_name": n} for n in ("red", "green", "blue", "nir")]}
    np.testing.assert_array_equal(seen(opened(path, names)), np.concatenate([VALUES, VALUES[:1]]))
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("red", "green", "blue", "nir")
    chain = added(path).bands("red", "green", "blue", "nir")
    np.testing.assert_array_equal(seen(chain), np.concatenate([VALUES, VALUES[:1]]))


def test_a_mask_beside_the_file_is_pinned(tmp_path: Path) -> None:
    path = masked(tmp_path / "a.tif", "beside", "plain tiles", bands=1, overviews=())
    chain = added(path).band("b1").max("t")
    (scenes,) = chain.published.scenes.values()
    assert scenes.scenes[0].assets["b1"].mask is not None
    beside = tmp_path / "a.tif.msk"
    beside.write_bytes(beside.read_bytes() + b"\0")
    assert "the mask beside it (.msk) was changed" in refused(chain)


def test_a_mask_that_is_a_link_out_of_the_catalogue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path = masked(tmp_path / "in" / "a.tif", "beside", "plain tiles", bands=1, overviews=())
    (tmp_path / "in" / "a.tif.msk").rename(tmp_path / "out" / "secret.msk")
    (tmp_path / "in" / "a.tif.msk").symlink_to(tmp_path / "out" / "secret.msk")
    assert "link" in refused(added(path).band("b1").max("t"))


def test_a_mask_costs_only_files_that_have_one(tmp_path: Path) -> None:
    decoded = {}
    for kind in ("none", "inside", "beside"):
        path = tmp_path / f"{kind}.tif"
        if kind == "none":
            made_tif(path, VALUES[0])
        else:
            masked(path, kind, "plain tiles", bands=1, overviews=())
        engine = Engine(64 << 20)
        values(added(path).band("b1").max("t"), window(ROWS, COLUMNS), engine)
        decoded[kind] = engine.counters()["blocks_decoded"]
    blocks = -(-ROWS // 128) * -(-COLUMNS // 128)
    assert decoded["none"] == blocks and decoded["inside"] == 2 * blocks and decoded["beside"] <= 2 * blocks


def test_masks_are_read_without_gdal(tmp_path: Path) -> None:
    body = masked(tmp_path / "a.tif", "inside", "band tiles").read_bytes()
    images = tiff.images(lambda offset, size: body[offset : offset + size])
    assert [i.mask.shape for i in images] == [(300, 420), (150, 210), (75, 105)]
    assert all(i.mask.packed for i in images)


@pytest.mark.parametrize("order", [("inside", "none"), ("none", "inside"), ("inside", "inside")])
def test_scenes_of_one_overpass_with_and_without_masks(tmp_path: Path, order: tuple[str, str]) -> None:
    """Where the first is masked the second counts, also below a function that makes values of what is missing."""
    folder = made.Made(tmp_path / "catalogue")
    scenes = []
    for n, kind in enumerate(order):
        path = folder.folder / f"{n}.tif"
        if kind == "inside":
            masked(path, kind, "plain tiles", bands=1, overviews=())
        else:
            made_tif(path, VALUES[1])
        # copies of one acquisition, of which the newer one, by its id, is on top
        scenes.append(folder.scene(f"s{1 - n}", "2020-06-01", {"B": folder.asset(path)}, grid="MADE-1"))
    chain = folder.chain([Band("B", dtype="uint8")], scenes)
    images = [masked_values(folder.folder / f"{n}.tif", 0, 1)[0] for n in (0, 1)]
    right = np.where(np.isnan(images[0]), images[1], images[0])
    np.testing.assert_array_equal(seen(chain)[0], right)
    np.testing.assert_array_equal(seen(chain._apply("is_nodata"))[0], np.isnan(right))
    np.testing.assert_array_equal(seen(chain > 100)[0], np.where(np.isnan(right), np.nan, right > 100))
