"""Zarr exports: plain xarray and rioxarray read what the chain computes; a folder appears whole or not at all."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.errors import ArgumentError, Cancelled, MusesError, WindowError
from muses_lab.export import Job
from muses_lab.export.formats import zarr
from muses_lab.raster.asset import Band
from muses_lab.style import Style
from tests.helpers.made_scenes import CORNER, Made, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 600
WHOLE = window(SIZE, 700)


@pytest.fixture(scope="module")
def bands(made_once: Made) -> Chain:
    rng = np.random.default_rng(5)
    known = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]
    found = []
    for n in range(3):
        assets = {}
        for band in known:
            values = rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16)
            values[200 * n : 200 * n + 100] = 0
            path = write_tif(made_once.folder / f"zarr-{n}-{band.name}.tif", values, blockxsize=256, blockysize=256)
            assets[band.name] = made_once.asset(path)
        found.append(made_once.scene(f"scene-{n}", f"2018-06-{10 + n}", assets, grid="MADE-1"))
    return made_once.chain(known, found)


def export(chain: Chain, path: Path, box=WHOLE, **options) -> Path:
    return chain.export(path, box, progress=False, **options).wait(120)


def test_plain_xarray_reads_what_the_chain_computes(bands: Chain, tmp_path: Path) -> None:
    path = export(bands, tmp_path / "scenes.zarr")
    expected = bands.compute(WHOLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xr.open_zarr(path, decode_coords="all")
    with opened as found:
        assert list(found.data_vars) == ["B04", "B08"] and found["B04"].dims == ("t", "y", "x")
        for band in ("B04", "B08"):
            assert np.array_equal(found[band].values, expected.sel(bands=band).values, equal_nan=True)
            assert found[band].encoding["shards"] == (3, 512, 512) and found[band].encoding["chunks"] == (1, 256, 256)
        assert np.array_equal(found.t.values.astype("M8[us]"), expected.t.values.astype("M8[us]"))
        assert np.array_equal(found.y.values, expected.y.values) and np.array_equal(found.x.values, expected.x.values)
        assert found.rio.crs.to_epsg() == 32631 and found.rio.transform() == WHOLE.affine
        assert found.attrs["Conventions"].startswith("CF-1.") and "ndvi" not in found.attrs["history"]
        assert found.attrs["MUSES_CHAIN"] == bands.published.chain_hash
    assert json.loads((path / "zarr.json").read_text())["consolidated_metadata"], "one request tells all"
    assert [p.name for p in tmp_path.iterdir()] == ["scenes.zarr"], "nothing else is left"
    assert len([p for p in (path / "B04").rglob("*") if p.is_file()]) == 5, "a file for each shard, and its metadata"
    assert zarr.WRITER.is_written(path, bands.published.chain_hash, WHOLE)
    assert ml.jobs()[0].record.bytes > 1e6
    next(p for p in (path / "B08" / "c").rglob("*") if p.is_file()).write_bytes(b"nothing")
    assert not zarr.WRITER.is_written(path, bands.published.chain_hash, WHOLE)


def test_the_same_chain_twice_gives_the_same_bytes(bands: Chain, tmp_path: Path) -> None:
    chain = bands.ndvi().median("t")
    beyond = window(SIZE, 700, corner=(CORNER[0] - 1000, CORNER[1] + 500))
    first = export(chain, tmp_path / "ndvi.zarr", beyond)
    bytes = {p.relative_to(first): p.read_bytes() for p in first.rglob("*") if p.is_file()}
    again = export(chain, first, beyond, overwrite=True)
    assert {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()} == bytes
    with xr.open_zarr(first) as found:
        assert np.array_equal(found["ndvi"].values, chain.compute(beyond).values, equal_nan=True)
    assert [p.name for p in tmp_path.iterdir()] == ["ndvi.zarr"]


def test_classes_and_units_are_told(bands: Chain, tmp_path: Path) -> None:
    style = Style(classes={0: ("bare ground", "tan"), 1: ("green", "green")}, unit="1")
    path = export(bands.ndvi().median("t") > 0.2, tmp_path / "a.zarr", style=style, title="Ground: cover")
    with xr.open_zarr(path) as found:
        told = found["Ground_cover"].attrs
        assert told["flag_meanings"] == "bare_ground green" and list(told["flag_values"]) == [0, 1]


def test_a_folder_of_something_else_is_left_alone(bands: Chain, tmp_path: Path) -> None:
    there = tmp_path / "a.zarr"
    there.mkdir()
    (there / "mine.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="something else in it than a Zarr"):
        bands.export(there, WHOLE, overwrite=True)
    tif = tmp_path / "a.tif"
    tif.mkdir()
    with pytest.raises((IsADirectoryError, MusesError), match="folder"):
        export(bands.max("t"), tif, overwrite=True)
    assert (there / "mine.txt").read_text() == "mine" and tif.is_dir()
    with pytest.raises(WindowError, match=r"rotated.*Zarr.*GeoTIFF"):
        bands.export(tmp_path / "b.zarr", WHOLE.rotate(10))


@pytest.mark.parametrize("end", ["leave", "cancel"])
def test_one_that_was_stopped_leaves_no_folder_and_goes_on(bands: Chain, tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.zarr"
    job = bands.ndvi().max("t").export(path, WHOLE, progress=False)

    def stop(job: Job) -> None:
        if job.stage == "writing" and job.progress > 0.81 and not job.stopping:
            getattr(job, end)()

    job.observe(stop)
    job.ended.wait(120)
    assert not path.exists()
    if end == "cancel":
        assert isinstance(job.error, Cancelled) and not list(tmp_path.iterdir())
        return
    steps: list[int] = []
    again = ml.jobs()[0].resume(progress=False)
    again.observe(lambda job: steps.append(job.done))
    again.wait(120)
    assert min(steps) == job.total, "what was there is not computed again"
    with xr.open_zarr(path) as found:
        assert np.array_equal(found["a"].values, bands.ndvi().max("t").compute(WHOLE).values, equal_nan=True)
