"""NetCDF exports: what xarray, rioxarray and GDAL read is what the chain computes, and what the GeoTIFF has."""

from __future__ import annotations

import json
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.document import graph
from muses_lab.errors import Cancelled, WindowError
from muses_lab.export import Job, cf, pieces
from muses_lab.export.formats import netcdf
from muses_lab.operators import registry
from muses_lab.raster.asset import Band
from muses_lab.scenes.lists import as_artefact
from muses_lab.scenes.scene import Scenes
from muses_lab.style import Style
from tests.helpers.made_scenes import CORNER, Made, chain_of, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 1100
WHOLE = window(SIZE, 700)
DAYS = ["2018-06-10T10:50:00", "2018-06-11T10:50:00", "2018-06-12T10:50:00"]


@pytest.fixture(scope="module")
def scenes(made_once: Made) -> Scenes:
    rng = np.random.default_rng(5)
    bands = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]
    found = []
    for n in range(3):
        assets = {}
        for band in bands:
            values = rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16)
            values[200 * n : 200 * n + 100] = 0
            path = write_tif(made_once.folder / f"nc-{n}-{band.name}.tif", values, blockxsize=256, blockysize=256)
            assets[band.name] = made_once.asset(path)
        found.append(made_once.scene(f"scene-{n}", f"2018-06-{10 + n}", assets, grid="MADE-1"))
    return made_once.scenes(bands, found)


@pytest.fixture(scope="module")
def bands(scenes: Scenes) -> Chain:
    return chain_of(scenes)


def export(chain: Chain, path: Path, box=WHOLE, **options) -> Path:
    return chain.export(path, box, progress=False, **options).wait(60)


def test_xarray_reads_what_the_chain_computes(bands: Chain, tmp_path: Path) -> None:
    path = export(bands, tmp_path / "scenes.nc")
    expected = bands.compute(WHOLE)
    with xr.open_dataset(path, engine="h5netcdf", decode_coords="all") as found:
        assert list(found.data_vars) == ["B04", "B08"] and found["B04"].dims == ("t", "y", "x")
        for band in ("B04", "B08"):
            assert np.array_equal(found[band].values, expected.sel(bands=band).values, equal_nan=True)
            assert found[band].dtype == np.float32 and np.isnan(found[band].encoding["_FillValue"])
        assert np.array_equal(found.t.values, np.array(DAYS, "datetime64[ns]"))
        assert np.array_equal(found.y.values, expected.y.values) and np.array_equal(found.x.values, expected.x.values)
        assert found.rio.crs.to_epsg() == 32631 and found.rio.transform() == WHOLE.affine
        assert {name: found[name].attrs["standard_name"] for name in ("t", "y", "x")} == {
            "t": "time", "y": "projection_y_coordinate", "x": "projection_x_coordinate",
        }  # fmt: skip
        assert found.x.attrs["units"] == found.y.attrs["units"] == "metre"
        assert found.attrs["Conventions"].startswith("CF-1.")
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as stored:
        assert stored["t"].attrs["units"] == "microseconds since 1970-01-01" and stored["t"].attrs["axis"] == "T"
        assert stored["B04"].attrs["grid_mapping"] == "spatial_ref"
        assert stored["spatial_ref"].attrs["grid_mapping_name"] == "transverse_mercator"
    assert [p.name for p in tmp_path.iterdir()] == ["scenes.nc"], "nothing else is left"


def test_it_holds_what_the_geotiff_holds(bands: Chain, tmp_path: Path) -> None:
    chain = bands.ndvi().median("t")
    beyond = window(SIZE, 700, corner=(CORNER[0] - 1000, CORNER[1] + 500))
    tif, nc = export(chain, tmp_path / "ndvi.tif", beyond), export(chain, tmp_path / "ndvi.nc", beyond)
    with rioxarray.open_rasterio(tif) as a, xr.open_dataset(nc, engine="h5netcdf")["ndvi"] as b:
        assert np.array_equal(a.values[0], b.values, equal_nan=True) and np.isnan(b.values).any()
    with rasterio.open(tif) as a, rasterio.open(f"netcdf:{nc}:ndvi") as b:
        assert np.array_equal(a.read(), b.read(), equal_nan=True)
        assert a.crs == b.crs and a.transform == b.transform and a.shape == b.shape and np.isnan(b.nodata)
        assert b.tags()["NC_GLOBAL#MUSES_CHAIN"] == a.tags()["MUSES_CHAIN"] == chain.published.chain_hash
        assert b.tags()["NC_GLOBAL#history"] == a.tags()["HISTORY"]


def test_gdal_reads_every_date(bands: Chain, tmp_path: Path) -> None:
    path = export(bands, tmp_path / "scenes.nc")
    expected = bands.compute(WHOLE)
    with rasterio.open(path) as file:
        assert sorted(name.rpartition(":")[2] for name in file.subdatasets) == ["B04", "B08"]
    with rasterio.open(f"netcdf:{path}:B08") as file:
        assert np.array_equal(file.read(), expected.sel(bands="B08").values, equal_nan=True)
        microseconds = [int(np.datetime64(day, "us").astype(int)) for day in DAYS]
        assert [int(file.tags(n)["NETCDF_DIM_t"]) for n in (1, 2, 3)] == microseconds


def test_degrees_are_degrees(bands: Chain, tmp_path: Path) -> None:
    chain = bands.max("t")
    box = ml.Window.from_bounds((1.32, 43.61, 1.36, 43.64), crs="EPSG:4326", resolution=0.0002)
    path = export(chain, tmp_path / "a.nc", box)
    with xr.open_dataset(path, engine="h5netcdf", decode_coords="all") as found:
        assert found["B04"].dims == ("latitude", "longitude")
        assert (
            found.longitude.attrs["standard_name"] == "longitude" and found.latitude.attrs["units"] == "degrees_north"
        )
        assert np.array_equal(found["B04"].values, chain.compute(box).sel(bands="B04").values, equal_nan=True)
        assert found.rio.crs.to_epsg() == 4326
    with rasterio.open(f"netcdf:{path}:B04") as file:
        assert file.crs.to_epsg() == 4326 and np.allclose(file.transform, box.affine, rtol=0, atol=1e-12)


def test_its_metadata_make_it_again(bands: Chain, tmp_path: Path) -> None:
    chain = bands.ndvi().median("t")
    with xr.open_dataset(export(chain, tmp_path / "a.nc"), engine="h5netcdf") as found:
        said = {**found.attrs, **{name: str(found[name].values) for name in found.data_vars if not found[name].ndim}}
    lists = {digest: Scenes.from_json(doc) for digest, doc in json.loads(said["MUSES_SCENES"]).items()}
    again = Chain(
        graph.parse(said["MUSES_DOCUMENT"], registry), {d: as_artefact(scenes) for d, scenes in lists.items()}
    )
    assert again.published.chain_hash == said["MUSES_CHAIN"] == chain.published.chain_hash
    assert said["time_coverage_start"] == f"{DAYS[0]}Z" and said["title"] == "a" and "ndvi" in said["history"]
    first, second = (tmp_path / name / "a.nc" for name in ("one", "two"))
    for path, made in ((first, chain), (second, again)):
        path.parent.mkdir()
        export(made, path)
    assert first.read_bytes() == second.read_bytes()


def test_long_texts_are_kept_whole(scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 refuses attributes above 64 KB, which a list of some hundred scenes is."""
    monkeypatch.setattr(netcdf, "_MOST", 100)
    path = export(chain_of(scenes).ndvi().max("t"), tmp_path / "a.nc")
    with xr.open_dataset(path, engine="h5netcdf") as found:
        assert "MUSES_SCENES" not in found.attrs
        assert {Scenes.from_json(d).digest for d in json.loads(str(found["MUSES_SCENES"].values)).values()} == {
            scenes.digest
        }
    assert netcdf.WRITER.is_written(path, chain_of(scenes).ndvi().max("t").published.chain_hash, WHOLE)


def test_style_and_title_are_told(bands: Chain, tmp_path: Path) -> None:
    style = Style(classes={0: ("bare ground", "tan"), 1: ("green", "green")}, unit="1")
    chain = bands.ndvi().median("t") > 0.2
    path = export(chain, tmp_path / "a.nc", style=style, title="Ground: cover")
    with xr.open_dataset(path, engine="h5netcdf") as found:
        attributes = found["Ground_cover"].attrs
        assert attributes["long_name"] == "Ground: cover" and attributes["units"] == "1"
        assert attributes["flag_meanings"] == "bare_ground green" and list(attributes["flag_values"]) == [0, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"], "no style for a program that does not load it"


def test_names_of_variables_are_names() -> None:
    found = cf.names_of(("B-04", "B 04", "10m", "x", "é"), "a")
    assert found == ["B_04", "B_04_2", "band_10m", "x_2", "values"]


def test_a_rotated_window_is_refused(bands: Chain, tmp_path: Path) -> None:
    with pytest.raises(WindowError, match="rotated.*GeoTIFF"):
        bands.export(tmp_path / "a.nc", WHOLE.rotate(10))


def test_a_damaged_file_is_made_again(bands: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = netcdf.NetCdf.write, [1]

    def written(self, made: pieces.Pieces, facts, tags, path: Path, job) -> None:
        real(self, made, facts, tags, path, job)
        if left and left.pop():
            with h5netcdf.File(path, "r") as file:
                at = file["ndvi"]._h5ds.id.get_chunk_info(0).byte_offset
            with path.open("r+b") as file:
                file.seek(at + 5000)
                file.write(b"\0" * 40)

    monkeypatch.setattr(netcdf.NetCdf, "write", written)
    chain = bands.ndvi().median("t")
    path = export(chain, tmp_path / "ndvi.nc")
    assert not left
    with xr.open_dataset(path, engine="h5netcdf") as found:
        assert np.array_equal(found["ndvi"].values, chain.compute(WHOLE).values, equal_nan=True)
    assert netcdf.WRITER.is_written(path, chain.published.chain_hash, WHOLE)
    assert not netcdf.WRITER.is_written(path, chain.published.chain_hash, window(SIZE, SIZE))
    path.write_bytes(path.read_bytes()[:9000])
    assert not netcdf.WRITER.is_written(path, chain.published.chain_hash, WHOLE)


def test_one_that_was_stopped_goes_on(bands: Chain, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    job = bands.ndvi().max("t").export(path, WHOLE, progress=False)
    left: list[int] = []

    def leave(job: Job) -> None:
        if job.done and not left:
            left.append(job.done)
            job.leave()

    job.observe(leave)
    job.ended.wait(60)
    assert job.state == "interrupted" and not path.exists()
    steps: list[int] = []
    again = ml.jobs()[0].resume(progress=False)
    again.observe(lambda job: steps.append(job.done))
    again.wait(60)
    assert steps[-1] == job.total and min(steps) >= left[0], "what was there is not computed again"
    with xr.open_dataset(path, engine="h5netcdf") as found:
        expected = bands.ndvi().max("t").compute(WHOLE)
        assert np.array_equal(found["a"].values, expected.values, equal_nan=True)


def test_one_that_is_cancelled_while_it_is_written_leaves_nothing(bands: Chain, tmp_path: Path) -> None:
    def stop(job: Job) -> None:
        if job.stage == "writing" and job.progress > 0.82:
            job.cancel()

    job = bands.ndvi().max("t").export(tmp_path / "a.nc", WHOLE, progress=False)
    job.observe(stop)
    with pytest.raises(Cancelled):
        job.wait(60)
    assert not list(tmp_path.iterdir())


def test_pieces_are_read_one_after_the_other(bands: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held at once is one piece, whatever the size of the file."""
    events: list[str] = []
    values, store = pieces.Pieces.values, h5netcdf.core.BaseVariable.__setitem__

    def read(self, piece) -> np.ndarray:
        events.append("read")
        return values(self, piece)

    def stored(self, key, value) -> None:
        if self.name.rpartition("/")[2] in ("B04", "B08"):
            events.append("stored")
        store(self, key, value)

    monkeypatch.setattr(pieces.Pieces, "values", read)
    monkeypatch.setattr(h5netcdf.core.BaseVariable, "__setitem__", stored)
    export(bands, tmp_path / "a.nc")
    one_piece = ["read", "stored", "stored"]  # of two bands
    assert events == one_piece * 6
