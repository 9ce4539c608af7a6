"""What is computed from the sample's clouded scenes against the ground truth they were made from."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.windows import Window as Part

from muses_lab.api.collection import Collection
from muses_lab.sample import Truth

pytestmark = pytest.mark.usefixtures("in_threads")

PART = Part(col_off=420, row_off=100, width=600, height=600)
"""Pixels of tile 31TCJ east of where tile 30TYP lies over it: they belong to their own tile."""


@pytest.fixture(scope="module")
def truth(sample_catalog: Path) -> Truth:
    return Truth(sample_catalog)


@pytest.fixture(scope="module")
def box(s2: Collection) -> GeoBox:
    grid = s2.published.prepared.output.grids["MGRS-31TCJ@10"]
    whole = grid.geobox(0, grid.extent)
    return whole[PART.row_off : PART.row_off + PART.height, PART.col_off : PART.col_off + PART.width]


def day(time: np.datetime64) -> date:
    return date.fromisoformat(str(time)[:10])


def clean_ndvi(truth: Truth, array: xr.DataArray) -> np.ndarray:
    return np.stack([truth.ndvi("31TCJ", day(t), PART) for t in array.t.values])


def test_clear_ndvi_is_the_grounds_on_every_date(s2: Collection, truth: Truth, box: GeoBox) -> None:
    found = s2.mask_clouds().ndvi().compute(box)
    clean = clean_ndvi(truth, found)
    seen = 0
    for values, expected in zip(found.values, clean, strict=True):
        clear = np.isfinite(values)
        if clear.sum() < 1000:
            continue
        seen += 1
        off = values[clear] - expected[clear]
        assert abs(np.median(off)) < 0.002, "no bias"
        assert np.median(np.abs(off)) < 0.006 and np.quantile(np.abs(off), 0.95) < 0.02, "no more than noise"
    assert seen >= 4


def test_the_cloud_free_median_is_the_median_of_the_clean_values(s2: Collection, truth: Truth, box: GeoBox) -> None:
    dates = s2.mask_clouds().ndvi().compute(box)
    clean = np.where(np.isfinite(dates.values), clean_ndvi(truth, dates), np.nan)
    enough = np.isfinite(dates.values).sum(axis=0) >= 3
    found = s2.mask_clouds().ndvi().median("t").compute(box).values
    off = (found - np.nanmedian(clean, axis=0))[enough]
    assert enough.mean() > 0.5
    assert abs(np.median(off)) < 0.002 and np.median(np.abs(off)) < 0.006
    raw = s2.ndvi().median("t").compute(box).values
    worse = np.abs(raw - np.nanmedian(clean_ndvi(truth, dates), axis=0))
    assert np.median(np.abs(off)) < np.median(worse), "with the clouds in, it is farther from the ground"


def test_the_shift_of_the_new_baseline_does_not_show(s2: Collection, truth: Truth, box: GeoBox) -> None:
    """Items from September on store reflectance + 0.1; their offset is with the items only."""
    (scenes,) = s2.published.scenes.values()
    offsets = {s.datetime[:10]: s.assets["B04"].offset or scenes.band("B04").offset for s in scenes.scenes}
    assert set(offsets.values()) == {0.0, -0.1}, "the sample has items of both kinds"
    found = s2.mask_clouds().bands("B04", "B08").compute(box)
    biases: dict[float, list[float]] = {0.0: [], -0.1: []}
    for time, values in zip(found.t.values, found.values, strict=True):
        clean = truth.reflectance("31TCJ", day(time), ("B04", "B08"), PART)
        clear = np.isfinite(values[0])
        if clear.sum() > 1000:
            biases[offsets[str(time)[:10]]] += [float(np.median((values - clean)[:, clear], axis=1)[b]) for b in (0, 1)]
    assert all(biases.values())
    for offset, found_biases in biases.items():
        assert np.abs(found_biases).max() < 0.002, (offset, found_biases)


def test_a_20_m_band_is_the_mean_of_its_ground(s2: Collection, truth: Truth, box: GeoBox) -> None:
    found = s2.mask_clouds().bands("B11").compute(box)
    n = 0
    for time, values in zip(found.t.values, found.values, strict=True):
        (clean,) = truth.reflectance("31TCJ", day(time), ("B11",), PART)
        mean = np.kron(clean.reshape(300, 2, 300, 2).mean(axis=(1, 3)), np.ones((2, 2)))
        clear = np.isfinite(values[0])
        n += clear.sum()
        if clear.sum() > 1000:
            assert np.median(np.abs((values[0] - mean)[clear])) < 0.004
    assert n > 10_000
