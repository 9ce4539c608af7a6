"""Blocks of TIFF files found and decoded without GDAL: the same pixels as GDAL's, and never a crash on broken files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rasterio.enums import Resampling

from muses_lab.raster import tiff
from tests.helpers.examples import examples

RNG = np.random.default_rng(3)
SIZE = 300


def write(path: Path, dtype: str, count: int = 1, **profile) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = RNG.normal(size=(count, SIZE, SIZE)).astype(kind)
    else:
        values = RNG.integers(0, 60, (count, SIZE, SIZE)).cumsum(axis=2).astype(kind)
    options = {
        "driver": "GTiff", "height": SIZE, "width": SIZE, "count": count, "dtype": dtype, "tiled": True,
        "blockxsize": 128, "blockysize": 256, "crs": "EPSG:32631", "transform": Affine(10, 0, 3e5, 0, -10, 4.8e6),
        **profile,
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as file:
        file.write(values)
    with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE="128"), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.nearest)
    return values


def read_of(path: Path) -> tiff.Read:
    body = path.read_bytes()
    return lambda offset, size: body[offset : offset + size]


def assembled(image: tiff.Image, read: tiff.Read, band: int) -> np.ndarray:
    height, width = image.block
    out = np.empty((image.down * height, image.across * width), image.dtype)
    for row in range(image.down):
        for col in range(image.across):
            offset, size = image.place(band, row, col)
            block = np.full(image.block, image.fill, image.dtype)
            if size:
                image.decode(read(offset, size), block)
            out[row * height : (row + 1) * height, col * width : (col + 1) * width] = block
    return out[: image.shape[0], : image.shape[1]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "none"])
@pytest.mark.parametrize("predictor", [1, 2, 3])
def test_every_layout_has_gdals_pixels(tmp_path: Path, dtype: str, compress: str, predictor: int) -> None:
    if (predictor == 3) != (np.dtype(dtype).kind == "f" and predictor > 1) or (compress == "none" and predictor > 1):
        return  # GDAL writes no such files
    path = tmp_path / "a.tif"
    write(path, dtype, compress=compress, **({"predictor": predictor} if compress != "none" else {}))
    read = read_of(path)
    images = tiff.images(read)
    assert [i.shape for i in images] == [(300, 300), (150, 150), (75, 75)]
    for number, image in enumerate(images):
        with rasterio.open(path, **({"overview_level": number - 1} if number else {})) as file:
            np.testing.assert_array_equal(assembled(image, read, 1), file.read(1))


@pytest.mark.parametrize("bigtiff", ["YES", "NO"])
def test_bands_one_after_the_other_and_blocks_that_are_not_stored(tmp_path: Path, bigtiff: str) -> None:
    path = tmp_path / "a.tif"
    values = np.zeros((3, SIZE, SIZE), np.uint16)
    values[1, 130:, 130:] = 7
    profile = {
        "driver": "GTiff", "height": SIZE, "width": SIZE, "count": 3, "dtype": "uint16", "tiled": True, "nodata": 0,
        "blockxsize": 128, "blockysize": 128, "interleave": "band", "compress": "deflate", "SPARSE_OK": True,
    }  # fmt: skip
    with rasterio.open(path, "w", bigtiff=bigtiff, **profile) as file:
        file.write(values)
    read = read_of(path)
    (image,) = tiff.images(read)
    assert image.place(1, 0, 0)[1] == 0
    for band in (1, 2, 3):
        np.testing.assert_array_equal(assembled(image, read, band), values[band - 1])


@pytest.mark.parametrize(
    "profile", [{"tiled": False}, {"count": 2, "interleave": "pixel"}, {"compress": "jpeg"}, {"ENDIANNESS": "BIG"}]
)
def test_what_is_not_plain_is_left_to_gdal(tmp_path: Path, profile: dict) -> None:
    path = tmp_path / "a.tif"
    write(path, "uint8", **profile)
    with pytest.raises(tiff.Unusual):
        tiff.images(read_of(path))


def test_a_mask_is_no_overview(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, "uint8")
        with rasterio.open(path, "r+") as file:
            file.write_mask(np.eye(SIZE, dtype=np.uint8) * 255)
    (image,) = tiff.images(read_of(path))  # the overviews have none: they do not stand in for pixels that have one
    assert image.shape == image.mask.shape == (300, 300)
    decoded = assembled(image.mask, read_of(path), 1)
    np.testing.assert_array_equal(decoded != 0, np.eye(SIZE, dtype=bool))


@pytest.mark.parametrize(("kind", "is_overview"), [(0, False), (1, True), (2, False), (3, True)])
def test_a_second_page_is_an_overview_only_if_it_says_so(tmp_path: Path, kind: int, is_overview: bool) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as writer:
        for size in (512, 256):
            page = np.full((size, size), size, np.uint16)
            writer.write(page, tile=(128, 128), metadata=None, subfiletype=kind if size == 256 else 0)
    with rasterio.open(path) as file:
        assert file.overviews(1) == ([2] if is_overview else []), "GDAL thinks otherwise"
    assert [i.shape for i in tiff.images(read_of(path))] == [(512, 512), (256, 256)][: 1 + is_overview]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_predictor_without_a_codec_is_ignored(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    values = write(path, dtype, compress="none")
    with tifffile.TiffWriter(path) as writer:
        writer.write(values[0], tile=(128, 128), metadata=None, extratags=[(316, "H", 1, 2, True)])
    body = path.read_bytes()
    path.write_bytes(body.replace(struct.pack("<HHI", 316, 3, 1), struct.pack("<HHI", 317, 3, 1)))
    assert path.read_bytes() != body
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), values[0], err_msg="GDAL thinks otherwise")
    (image,) = tiff.images(read_of(path))
    np.testing.assert_array_equal(assembled(image, read_of(path), 1), values[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    write(path, "uint16", compress="deflate", predictor=2)
    return path.read_bytes()


@given(changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=12), end=st.integers(0, 1 << 20))
@hypothesis_settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_files_are_refused_never_a_crash(whole: bytes, changes: list[tuple[int, int]], end: int) -> None:
    body = bytearray(whole)
    for at, value in changes:
        body[at] = value
    cut = bytes(body[:end]) if end % 3 == 0 else bytes(body)
    try:
        images = tiff.images(lambda offset, size: cut[offset : offset + size])
    except (tiff.Unusual, ValueError, struct.error, OverflowError):
        return
    image = images[0]
    if image.block[0] * image.block[1] > 1 << 20 or len(image.offsets) > 1000:
        return
    for number in range(len(image.offsets)):
        offset, size = int(image.offsets[number]), int(image.counts[number])
        stored = cut[max(offset, 0) : max(offset, 0) + max(size, 0)]
        try:
            image.decode(stored, np.empty(image.block, image.dtype))
        except ValueError:
            continue
