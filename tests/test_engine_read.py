"""The pixels of a level against computations of their own: layouts, types, overviews, missing values, broken files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.windows
import tifffile
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from muses_lab.api.chain import Chain
from muses_lab.engine import Engine
from muses_lab.raster.asset import Asset, Band
from muses_lab.scenes.scene import Scene, Scenes
from tests.helpers.made_scenes import CORNER, Made, chain_of, pixels, three, values, window, write_tif
from tests.oracles.levels import averaged, stored

RNG = np.random.default_rng(7)
GRID = "MADE-1"
"""Scenes with a grid code have their grid's origin at their corner, so that the levels' pixels begin there too."""


def one(made: Made, path: Path, band: Band, number: int = 1) -> Chain:
    """A chain that reads one file of one date."""
    return made.chain([band], [made.scene("s", "2018-06-10", {band.name: made.asset(path, number)}, grid=GRID)])


def at_level(chain: Chain, level: int, rows: int, cols: int, pixel: float = 10.0) -> np.ndarray:
    return values(chain, window(rows, cols, pixel * 2**level))[0, 0]


# ------------------------------------------------------------------------------------------- layouts and types

LAYOUTS = {
    "tiles of 128": {},
    "tiles of 16": {"blockxsize": 16, "blockysize": 16},
    "one strip": {"tiled": False, "blockysize": 330},
    "strips of a row": {"tiled": False, "blockysize": 1},
    "strips of 37 rows": {"tiled": False, "blockysize": 37},
    "pixel-interleaved": {"interleave": "pixel"},
    "pixel-interleaved strips": {"interleave": "pixel", "tiled": False, "blockysize": 16},
    "band-interleaved": {"interleave": "band"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_native_pixels_are_the_files_whatever_its_layout(made: Made, layout: str) -> None:
    truth = RNG.integers(1, 10_000, (3, 330, 650), dtype=np.uint16)
    path = write_tif(made.folder / "a.tif", truth, **LAYOUTS[layout])
    bands = [Band(f"B{n}", scale=1e-4) for n in (1, 2, 3)]
    assets = {f"B{n}": made.asset(path, band=n) for n in (1, 2, 3)}
    chain = made.chain(bands, [made.scene("s", "2018-06-10", assets, grid=GRID)])
    found = values(chain, window(330, 650))
    assert found.dtype == np.float32
    assert np.array_equal(found[0], (truth * 1e-4).astype(np.float32))
    inner = values(chain, window(40, 50, corner=(CORNER[0] + 5000, CORNER[1] - 1000)))
    assert np.array_equal(inner[0], (truth[:, 100:140, 500:550] * 1e-4).astype(np.float32))


TYPES = {
    "uint8": (np.array([[0, 1], [254, 255]]), 255, np.float32),
    "int16": (np.array([[-10_000, -9999], [-1, 32_767]]), -9999, np.float32),
    "uint16": (np.array([[0, 1], [65_534, 65_535]]), 0, np.float32),
    "int32": (np.array([[-(2**31), 16_777_217], [-1, 2**31 - 1]]), -1, np.float64),
    "uint32": (np.array([[0, 16_777_217], [7, 2**32 - 1]]), 7, np.float64),
    "float32": (np.array([[0.1, -9999.0], [np.nan, -3.4e38]]), -9999.0, np.float32),
    "float64": (np.array([[0.1, 1e9 + 0.125], [np.nan, np.inf]]), 0.1, np.float64),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("nodata", [False, True])
def test_every_type_keeps_its_numbers(made: Made, dtype: str, nodata: bool) -> None:
    numbers, missing, kind = TYPES[dtype]
    stored = np.tile(numbers.astype(dtype), (20, 20))
    path = write_tif(made.folder / "a.tif", stored)
    band = Band("B", dtype=dtype, nodata=float(np.dtype(dtype).type(missing)) if nodata else None)
    found = at_level(one(made, path, band), 0, 40, 40)
    expected = stored.astype(kind)
    expected[~np.isfinite(expected)] = np.nan
    if nodata:
        expected[stored == stored.dtype.type(missing)] = np.nan
    assert found.dtype == kind
    assert np.array_equal(found, expected, equal_nan=True)


NODATA = ["0.1", "2.5", "-9999", "-9999.9", "300", "70000", "1e20", "-3.4e38", "-3.40282e+38", "9.969209968386869e36",
          "1e40", "-1.7976931348623157e+308", "nan", "inf", "255", "65535", "-2147483648"]  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("nodata", NODATA)
def test_nodata_of_any_kind_is_what_rasterio_makes_of_it(made: Made, dtype: str, nodata: str) -> None:
    """By programs and by NumPy; in blocks that are not stored too. What a type cannot hold means nothing."""
    kind = np.dtype(dtype)
    limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    with np.errstate(all="ignore"):
        there = np.array(float(nodata)).astype(kind) if kind.kind == "f" else kind.type(5)
    numbers = np.array([0, 1, 7, 100, limits.max, limits.min, there], dtype)
    values_ = np.resize(numbers, (128, 128))
    path = made.folder / "a.tif"
    profile = {"nodata": 77, "sparse_ok": True, "tiled": True, "blockxsize": 128, "blockysize": 128}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=128, width=256, dtype=dtype, crs="EPSG:32631",
        transform=Affine(10, 0, CORNER[0], 0, -10, CORNER[1]), **profile,
    ) as file:  # fmt: skip
        file.write(values_, 1, window=rasterio.windows.Window(0, 0, 128, 128))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags[42113].overwrite(nodata)
    with rasterio.open(path) as file:
        right = file.read(1, masked=True).astype(np.float64).filled(np.nan)
        stated = file.nodata
        raw = file.read(1)
        if kind.kind in "iu" and float(nodata) % 1 != 0:  # GDAL cuts 0.1 to 0, and so hides zeros
            right = raw.astype(np.float64)
    if nodata.startswith("9.96") and dtype == "float32":  # added to the largest number, as GDAL does, it overflows
        right[raw == limits.max] = limits.max
    right[~np.isfinite(right)] = np.nan  # stored infinities are missing
    chain = one(made, path, Band("B", dtype=dtype))
    pinned = made.chain(
        [Band("B", dtype=dtype, nodata=stated if stated is not None and np.isfinite(stated) else None)],
        [made.scene("s", "2018-06-10", {"B": made.asset(path)}, grid=GRID)],
    )
    for way in (chain, chain.max("t"), pinned, pinned.max("t")):
        found = values(way, window(128, 256)).reshape(128, 256)
        assert np.array_equal(found, right.astype(found.dtype), equal_nan=True)


def test_scale_and_offset_are_the_bands_unless_the_item_has_its_own(made: Made) -> None:
    truth = RNG.integers(1000, 9000, (64, 64), dtype=np.uint16)
    shifted = truth + 1000
    shifted[:8] = truth[:8] = 65_535
    band = Band("B", scale=1e-4, offset=0.0, nodata=0.0)
    old, new = (write_tif(made.folder / f"{n}.tif", v) for n, v in (("old", truth), ("new", shifted)))
    scenes = [
        made.scene("old", "2021-01-01", {"B": made.asset(old, nodata=65_535.0)}, grid=GRID),
        made.scene("new", "2022-06-01", {"B": made.asset(new, offset=-0.1, nodata=65_535.0)}, grid=GRID),
        made.scene("half", "2022-07-01", {"B": made.asset(old, scale=2e-4)}, grid=GRID),
    ]
    found = values(made.chain([band], scenes), window(64, 64))[:, 0]
    assert np.isnan(found[:2, :8]).all()
    assert np.allclose(found[0, 8:], found[1, 8:], atol=1e-6)
    assert np.allclose(found[2, 8:], 2 * found[0, 8:], atol=1e-6)
    assert np.allclose(found[2, :8], 65_535 * 2e-4), "nodata of other items is a value of this one"


# -------------------------------------------------------------------------------------------------------- levels


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_stored_overview_stands_in_for_its_level(made: Made, level: int) -> None:
    path = write_tif(made.folder / "a.tif", RNG.integers(0, 5000, (512, 640), dtype=np.uint16), overviews=(2, 4, 8))
    found = at_level(one(made, path, Band("B", nodata=0.0)), level, 512 >> level, 640 >> level)
    expected = stored(path, level).astype(np.float32)
    expected[expected == 0] = np.nan
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("level", [3, 4, 5])
def test_beyond_the_coarsest_overview_it_is_averaged_without_the_missing(made: Made, level: int) -> None:
    truth = RNG.integers(1, 5000, (512, 640), dtype=np.uint16)
    truth[RNG.random(truth.shape) < 0.3] = 0
    truth[:128, :128] = 0
    path = write_tif(made.folder / "a.tif", truth, overviews=(2, 4), nodata=0)
    overview = stored(path, 2).astype(float)
    overview[overview == 0] = np.nan
    found = at_level(one(made, path, Band("B", nodata=0.0)), level, 512 >> level, 640 >> level)
    np.testing.assert_allclose(found, averaged(overview, 2 ** (level - 2)), rtol=1e-6)
    assert np.isnan(found[0, 0])


@pytest.mark.parametrize(("rows", "cols"), [(512, 640), (333, 517), (97, 1001)])
@pytest.mark.parametrize("level", [1, 2, 4])
def test_without_overviews_it_is_averaged_from_full_resolution(made: Made, rows: int, cols: int, level: int) -> None:
    truth = RNG.normal(0, 1, (rows, cols)).astype(np.float32)
    truth[RNG.random(truth.shape) < 0.2] = np.nan
    path = write_tif(made.folder / "a.tif", truth)
    f = 2**level
    found = at_level(one(made, path, Band("B", dtype="float32")), level, -(-rows // f), -(-cols // f))
    expected = averaged(truth, f)
    # A pixel of the level belongs to the file if its centre does.
    expected[(np.arange(expected.shape[0]) + 0.5) * f >= rows] = np.nan
    expected[:, (np.arange(expected.shape[1]) + 0.5) * f >= cols] = np.nan
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1098, 1373, 333])
@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_where_an_overviews_lattice_deviates_the_nearest_pixel_is_taken(made: Made, size: int, level: int) -> None:
    """As 10980 pixels have overviews of 1373 and 687 pixels, which are not quite 80 and 160 m large."""
    truth = RNG.integers(1, 60_000, (size, size), dtype=np.uint16)
    path = write_tif(made.folder / "a.tif", truth, overviews=(2, 4, 8, 16))
    f = 2**level
    number = -(-size // f)
    found = at_level(one(made, path, Band("B")), level, number, number)
    centres = (np.arange(number) + 0.5) * f
    inside = centres < size
    if level <= 4:
        overview = stored(path, level)
        take = np.floor(centres[inside] * overview.shape[0] / size).astype(int)
        # Half a coarse pixel at most between the pixel asked for and the one taken.
        assert np.abs((take + 0.5) * size / overview.shape[0] - centres[inside]).max() <= f / 2
        expected = overview[np.ix_(take, take)]
        assert np.array_equal(found[np.ix_(inside, inside)], expected)
    else:
        near = averaged(truth.astype(float), f)[np.ix_(inside, inside)]
        assert np.median(np.abs(found[np.ix_(inside, inside)] - near)) < 600, "close to the true mean, not 17 000 away"
    assert np.isnan(found[~inside]).all() and np.isnan(found[:, ~inside]).all()


def test_a_levels_pixel_stays_where_it_is_on_the_ground(made: Made) -> None:
    """An image of eastings: at every level the value of a pixel is its own easting, to half a coarse pixel."""
    size = 1098
    easting = np.broadcast_to(CORNER[0] + (np.arange(size) + 0.5) * 10, (size, size)).astype(np.float64)
    for name, factors in (("none", ()), ("some", (2, 4)), ("all", (2, 4, 8, 16))):
        path = write_tif(made.folder / f"{name}.tif", easting, overviews=factors)
        chain = one(made, path, Band("B", dtype="float64"))
        for level in range(6):
            step = 10 * 2**level
            found = at_level(chain, level, 3, size * 10 // step)[1]
            there = CORNER[0] + (np.arange(found.size) + 0.5) * step
            assert np.nanmax(np.abs(found - there)) <= step / 2 + 1e-6, (name, level)


CLASSES = np.array([1, 3, 8, 200], dtype=np.uint8)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("known", ["nearest", "mode", "average", None])
def test_classes_are_never_averaged(made: Made, level: int, known: str | None) -> None:
    truth = RNG.choice(CLASSES, (400, 320))
    path = write_tif(made.folder / "a.tif", truth, overviews=(2, 4, 8), resampling=known or "average")
    band = Band("SCL", dtype="uint8", nodata=0.0, categorical=True, overviews=known)
    f = 2**level
    found = at_level(one(made, path, band), level, 400 // f, 320 // f)
    assert set(np.unique(found)) <= set(CLASSES)
    # Overviews of unknown or averaged making are not used: full resolution, decimated.
    expected = stored(path, level) if known in ("nearest", "mode") else truth[::f, ::f]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("known", ["nearest", None])
def test_classes_beyond_their_overviews_are_decimated(made: Made, known: str | None) -> None:
    truth = RNG.choice(CLASSES, (512, 512))
    path = write_tif(made.folder / "a.tif", truth, overviews=(2,), resampling="nearest")
    found = at_level(one(made, path, Band("SCL", dtype="uint8", categorical=True, overviews=known)), 4, 32, 32)
    assert np.array_equal(found, truth[::16, ::16])
    assert np.array_equal(found, stored(path, 1)[::8, ::8])


@pytest.mark.parametrize("overviews", [(), (2, 4, 8)])
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_bands_of_a_product_at_10_20_and_60_m_lie_on_each_other(made: Made, level: int, overviews: tuple) -> None:
    """An image of its own eastings in each resolution: wherever they are put together, they agree to half a pixel."""
    assets, truths = {}, {}
    for size in (10, 20, 60):
        number = 9600 // size
        truth = RNG.integers(1, 9000, (number, number), dtype=np.uint16)
        truths[size] = truth
        path = write_tif(made.folder / f"B{size}.tif", truth, pixel=size, overviews=overviews)
        assets[f"B{size}"] = made.asset(path)
    bands = [Band(f"B{size}", resolution=size) for size in (10, 20, 60)]
    chain = made.chain(bands, [made.scene("s", "2018-06-10", assets, grid=GRID)])
    step = 10 * 2**level
    number = 9600 // step
    found = values(chain, window(number, number, step))[0]
    for layer, size in zip(found, (10, 20, 60), strict=True):
        if step > size and size != 60:
            factor = step // size
            if overviews:
                expected = stored(made.folder / f"B{size}.tif", overviews.index(factor) + 1)
            else:
                expected = averaged(truths[size].astype(float), factor)
        else:
            take = np.floor((np.arange(number) + 0.5) * step / size).astype(int)
            expected = truths[size][np.ix_(take, take)]
        np.testing.assert_allclose(layer, expected, rtol=1e-6)


# ------------------------------------------------------------------------------------------------------- outside


def test_outside_the_file_is_missing(made: Made) -> None:
    path = write_tif(made.folder / "a.tif", np.full((100, 100), 5, np.uint16))
    chain = one(made, path, Band("B"))
    around = values(chain, window(140, 130, corner=(CORNER[0] - 200, CORNER[1] + 150)))[0, 0]
    expected = np.full((140, 130), np.nan)
    expected[15:115, 20:120] = 5
    assert np.array_equal(around, expected, equal_nan=True)


def test_a_window_elsewhere_is_empty_and_reads_nothing(made: Made) -> None:
    path = write_tif(made.folder / "a.tif", np.full((100, 100), 5, np.uint16))
    engine = Engine(1 << 20)
    for box in (
        window(64, 64, corner=(CORNER[0] + 50_000, CORNER[1])),
        window(64, 64, corner=(CORNER[0] + 1020, CORNER[1])),
        GeoBox((64, 64), Affine(0.01, 0, -120, 0, -0.01, -40), "EPSG:4326"),
        GeoBox((64, 64), Affine(10, 0, 500_000, 0, -10, 4_800_000), "EPSG:32656"),
    ):
        found = pixels(engine, one(made, path, Band("B")), box)
        assert found.values.shape == (1, 1, 64, 64) and np.isnan(found.values).all()
        assert found.report.scenes_found == 0
    assert engine.counters()["blocks_decoded"] == 0


# ---------------------------------------------------------------------------------------------------- JPEG 2000


@pytest.fixture
def jpeg2000(shared_data: Path) -> tuple[Path, Chain]:
    folder = shared_data / "eodag_recorded"
    (path,) = folder.rglob("*_B01.jp2")
    made = Made(folder)
    band = Band("B01", resolution=60.0, nodata=0.0, scale=1e-4)
    return path, made.chain([band], [made.scene("l1c", "2018-01-01", {"B01": made.asset(path)}, grid="MGRS-31TDH")])


def jp2_window(path: Path, factor: int, row: int, col: int, rows: int, cols: int) -> GeoBox:
    with rasterio.open(path) as file:
        west, north = file.transform.c, file.transform.f
    step = 60.0 * factor
    return window(rows, cols, step, (west + col * step, north - row * step))


def test_native_pixels_of_a_real_jpeg_2000_band(jpeg2000: tuple[Path, Chain]) -> None:
    path, chain = jpeg2000
    found = values(chain, jp2_window(path, 1, 700, 900, 300, 200))[0, 0]
    expected = (stored(path, 0)[700:1000, 900:1100].astype(np.float64) * 1e-4).astype(np.float32)
    expected[expected == 0] = np.nan
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("level", [1, 4])
def test_levels_of_a_real_jpeg_2000_band_are_its_own(jpeg2000: tuple[Path, Chain], level: int) -> None:
    path, chain = jpeg2000
    f = 2**level
    number = 1830 // f
    found = values(chain, jp2_window(path, f, 0, 0, number, number))[0, 0]
    overview = stored(path, level)
    expected = (overview[:number, :number].astype(np.float64) * 1e-4).astype(np.float32)
    expected[expected == 0] = np.nan
    assert np.array_equal(found, expected, equal_nan=True)


def test_pixels_of_jpeg_2000_are_halved_exactly(jpeg2000: tuple[Path, Chain]) -> None:
    """Each is around every sixteenth pixel of the image, although 115 of them reach beyond its edge (1830 / 16)."""
    path, chain = jpeg2000
    found = values(chain, jp2_window(path, 16, 70, 2, 44, 42))[0, 0]
    seen = np.isfinite(found)
    assert seen.mean() > 0.9
    smooth = gaussian_filter(stored(path, 0).astype(np.float64), 4)

    def likeness(step: float, offset: int) -> float:
        rows, cols = (np.round(np.arange(a, b) * step).astype(int) + offset for a, b in ((70, 114), (2, 44)))
        return float(np.corrcoef(smooth[np.ix_(rows, cols)][seen], found[seen])[0, 1])

    assert likeness(16, 0) > 0.95
    assert likeness(16, 0) > max(likeness(1830 / 115, offset) for offset in range(-8, 9))


# -------------------------------------------------------------------------------------------------- broken files


def truncated(path: Path) -> None:
    body = path.read_bytes()
    path.write_bytes(body[: len(body) // 2])


def vrt(path: Path) -> None:
    other = path.with_name("secret.tif")
    path.rename(other)
    path.write_text(
        f"""<VRTDataset rasterXSize="300" rasterYSize="300"><SRS>EPSG:32631</SRS>
        <GeoTransform>{CORNER[0]}, 10, 0, {CORNER[1]}, 0, -10</GeoTransform><VRTRasterBand dataType="UInt16" band="1">
        <SimpleSource><SourceFilename>{other}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""
    )


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: p.unlink(), "not there"),
    "truncated": (truncated, "cannot be read|cannot be opened"),
    "empty": (lambda p: p.write_bytes(b""), "cannot be opened"),
    "text": (lambda p: p.write_text("not a raster"), "cannot be opened"),
    "a VRT": (vrt, "cannot be opened"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "not a file"),
}


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("sizes", [True, False])
def test_a_broken_scene_is_left_out_and_reported_and_comes_back_when_repaired(
    made: Made, how: str, sizes: bool
) -> None:
    paths, scenes = three(made, sizes)
    box = window(300, 300)
    whole = values(chain_of(scenes).mean("t"), box)
    rest = values(chain_of(replace(scenes, scenes=(scenes.scenes[0], scenes.scenes[2]))).mean("t"), box)
    body = paths[1].read_bytes()
    breaks, reason = BREAKS[how]
    breaks(paths[1])
    engine = Engine(64 << 20)
    chain = chain_of(scenes).mean("t")
    for _ in range(2):
        found = pixels(engine, chain, box)
        assert np.array_equal(found.values, rest)
        ((id, text),) = found.report.failed
        assert id == "b"
        assert re.search("had \\d+ when|" + reason, text), text
        assert str(made.folder) not in text, "no path of this machine in what users are shown"
        assert (found.report.scenes_used, found.report.scenes_found) == (2, 3)
    if paths[1].is_dir():
        paths[1].rmdir()
    paths[1].write_bytes(body)
    repaired = pixels(engine, chain, box)
    assert np.array_equal(repaired.values, whole) and not repaired.report.failed


def test_a_file_that_was_replaced_is_refused_and_read_anew_when_registered_again(made: Made) -> None:
    paths, scenes = three(made, sizes=True)
    engine, box = Engine(64 << 20), window(300, 300)
    pixels(engine, chain_of(scenes).mean("t"), box)
    new = RNG.integers(1, 9000, (300, 300), dtype=np.uint16)
    write_tif(paths[1], new, blockxsize=64, blockysize=64, compress="lzw")
    found = pixels(engine, chain_of(scenes).bands("B"), box)
    assert [id for id, _ in found.report.failed] == ["b"] and np.isnan(found.values[1]).all()
    again = replace(scenes.scenes[1], assets={"B": made.asset(paths[1])})
    found = pixels(engine, chain_of(replace(scenes, scenes=(scenes.scenes[0], again, scenes.scenes[2]))), box)
    assert not found.report.failed and np.array_equal(found.values[1, 0], new)


def test_a_file_that_breaks_after_its_header_was_read(made: Made) -> None:
    """Blocks read before stay; a block that cannot be read any more leaves the scene out; a repair is noticed."""
    paths, scenes = three(made, sizes=False)
    engine = Engine(64 << 20)
    first = window(100, 100)
    body = paths[1].read_bytes()
    pixels(engine, chain_of(scenes), first)
    truncated(paths[1])
    later = window(100, 100, corner=(CORNER[0] + 1500, CORNER[1] - 1500))
    assert [id for id, _ in pixels(engine, chain_of(scenes).min("t"), later).report.failed] == ["b"]
    paths[1].write_bytes(body)
    found = pixels(engine, chain_of(scenes).min("t"), later)
    assert not found.report.failed
    assert np.array_equal(found.values, values(chain_of(scenes).min("t"), later))


def test_a_band_that_the_file_does_not_have(made: Made) -> None:
    path = write_tif(made.folder / "a.tif", np.ones((2, 64, 64), np.uint16))
    engine = Engine(1 << 20)
    assert not pixels(engine, one(made, path, Band("B"), 2), window(64, 64)).report.failed
    ((_, reason),) = pixels(engine, one(made, path, Band("B"), 3), window(64, 64)).report.failed
    assert "2 bands" in reason and "band 3" in reason


@pytest.mark.parametrize(
    "href",
    ["../outside.tif", "sub/../../outside.tif", "{outside}", "link.tif", "/vsizip/{outside}/x", "file://{outside}",
     "GTIFF_DIR:1:{outside}", "http://127.0.0.1/x.tif", "https://localhost/x.tif", "/vsicurl/http://127.0.0.1/x.tif"],
)  # fmt: skip
def test_hrefs_that_lead_outside_are_refused(made: Made, tmp_path: Path, href: str) -> None:
    outside = write_tif(tmp_path / "outside.tif", np.full((64, 64), 7, np.uint16))
    os.symlink(outside, made.folder / "link.tif")
    asset = Asset(href.format(outside=outside), (10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1]), (64, 64))
    found = pixels(
        Engine(1 << 20), made.chain([Band("B")], [made.scene("s", "2018-06-10", {"B": asset})]), window(64, 64)
    )
    assert np.isnan(found.values).all()
    assert [id for id, _ in found.report.failed] == ["s"]


def test_a_catalogue_that_is_not_registered_is_a_reason_too() -> None:
    asset = Asset("a.tif", (10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1]), (64, 64))
    scene = Scene("s", "2018-06-10T00:00:00Z", "EPSG:32631", {"B": asset})
    found = pixels(Engine(1 << 20), chain_of(Scenes("c", "unheard-of", (Band("B"),), (scene,))), window(64, 64))
    ((_, reason),) = found.report.failed
    assert "unheard-of" in reason and "not registered" in reason
