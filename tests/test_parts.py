"""Parts of chains that compute, plan and export take alike: bands, dates, areas, grids; and what is told beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.api.tabled import Tabled
from muses_lab.errors import ArgumentError, ComputeError, ExtentRequired, MusesError, WindowError
from muses_lab.raster.asset import Band
from tests.helpers.made_scenes import CORNER, Made, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 600


@pytest.fixture(scope="module")
def bands(made_once: Made) -> Chain:
    rng = np.random.default_rng(5)
    known = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]
    found = []
    for n in range(3):
        assets = {
            band.name: made_once.asset(
                write_tif(
                    made_once.folder / f"part-{n}-{band.name}.tif",
                    rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16),
                    overviews=[2, 4, 8],
                )
            )
            for band in known
        }
        found.append(made_once.scene(f"scene-{n}", f"2018-0{6 + n}-10", assets, grid="MADE-1"))
    return made_once.chain(known, found)


DEGREES = 1.33, 43.62, 1.36, 43.635
FIELD = shapely.Polygon(
    [(364_503, 4_833_001), (366_498, 4_833_200), (366_000, 4_831_000), (364_700, 4_831_500)]
)  # fmt: skip


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    path = tmp_path / "fields.gpkg"
    geopandas.GeoDataFrame({"name": ["one"]}, geometry=[FIELD], crs="EPSG:32631").to_file(path)
    return path


def test_bands_and_dates_are_the_operators_of_that_name(bands: Chain, tmp_path: Path) -> None:
    box = window(64, 64)
    chosen = bands.compute(box, bands=["B08"], dates="2018-07")
    expected = bands.bands("B08").dates("2018-07").compute(box)
    assert chosen.dims == expected.dims and np.array_equal(chosen.values, expected.values)
    path = bands.export(
        tmp_path / "a.nc", box, bands="nir", dates=("2018-07-01", "2018-09-01"), progress=False
    ).wait(60)  # fmt: skip
    with xr.open_dataset(path, engine="h5netcdf", decode_coords="all") as found:
        assert list(found.data_vars) == ["B08"] and found.sizes["t"] == 2
        assert found.attrs["MUSES_CHAIN"] == bands.bands("nir").dates("2018-07-01", "2018-09-01").published.chain_hash
    june = bands.ndvi().median("t").compute(box, dates="2018-06")
    assert np.array_equal(june.values, bands.dates("2018-06").ndvi().median("t").compute(box).values, equal_nan=True)
    with pytest.raises(ArgumentError, match="dates=.*neither a text"):
        bands.compute(box, dates=["2018-06", "2018-07", "2018-08"])


def test_bounds_have_the_chains_own_pixels(bands: Chain) -> None:
    found = bands.max("t").compute(DEGREES)
    box = found.odc.geobox
    assert box.crs == "EPSG:32631" and box.resolution.x == 10
    assert (box.affine.c - CORNER[0]) % 10 == 0 and (box.affine.f - CORNER[1]) % 10 == 0
    edge = box.extent.to_crs("EPSG:4326").boundingbox
    assert edge.left <= DEGREES[0] and edge.right >= DEGREES[2] and edge.bottom <= DEGREES[1] <= DEGREES[3] <= edge.top
    assert np.array_equal(found.values, bands.max("t").compute(box).values, equal_nan=True)


def test_the_whole_footprint_is_all_of_it(bands: Chain) -> None:
    assert bands.max("t").compute("footprint").odc.geobox == window(SIZE, SIZE)
    box = bands.max("t").plan("footprint", crs="EPSG:3035", resolution=20).window
    assert box.crs == "EPSG:3035" and box.resolution.x == 20 and box.shape.x > 300


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:32632"])
def test_the_footprint_of_two_lattices_is_both_in_any_system(tmp_path: Path, crs: str) -> None:
    made = Made(tmp_path / "tiles")
    far = CORNER[0] + 20_005, CORNER[1]
    scenes = [
        made.scene(f"s{n}", "2018-06-10", {"B": made.asset(
            write_tif(made.folder / f"{n}.tif", np.ones((200, 200), np.uint16), corner=corner)
        )}, grid=f"MADE-{n}")
        for n, corner in enumerate([CORNER, far])
    ]  # fmt: skip
    box = made.chain([Band("B", nodata=0.0)], scenes).max("t").plan("footprint", crs=crs, resolution=100).window
    edge = box.extent.to_crs("EPSG:32631").boundingbox
    assert edge.left <= CORNER[0] and edge.right >= far[0] + 2000, "the tiles of the system itself as those of others"


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ((1.36, 43.62, 1.33, 43.635), "west below east.*is .1.33, 43.62, 1.36, 43.635. meant"),
        ((1.33, 43.635, 1.36, 43.62), "south below north"),
        ((364_000, 4_833_000, 365_000, 4_834_000), "are no degrees"),
        (("a", "b", "c", "d"), "four finite numbers"),
        ((1.33, 43.62, float("nan"), 43.635), "four finite numbers"),
    ],
)
def test_bounds_are_checked_on_the_chains_own_pixels_too(bands: Chain, bounds: Any, why: str) -> None:
    with pytest.raises(WindowError, match=why):
        bands.max("t").plan(bounds)


def test_crs_resolution_and_another_raster_make_the_grid(bands: Chain, tmp_path: Path) -> None:
    chain = bands.max("t")
    assert chain.plan(DEGREES, resolution=20).window.resolution.x == 20
    assert chain.plan(DEGREES, crs="EPSG:3035").window.resolution.x == 10, "as many metres as the chain's own"
    with pytest.raises(WindowError, match="EPSG:4326 is in degrees.*give resolution=, for example 9e-05"):
        chain.plan(DEGREES, crs="EPSG:4326")
    mine = write_tif(tmp_path / "mine.tif", np.ones((40, 50), np.uint8), pixel=25, corner=(364_017, 4_833_003))
    with rasterio.open(mine) as file:
        transform = file.transform
    assert chain.compute(like=mine).odc.geobox == ml.Window.like(mine)
    box = chain.plan(DEGREES, like=mine).window
    column, row = ~transform @ (box.affine.c, box.affine.f)
    assert box.resolution.x == 25 and column == round(column) and row == round(row), "on its pixels, beyond its edge"
    path = chain.export(tmp_path / "a.tif", like=mine, progress=False).wait(60)
    with rasterio.open(path) as file:
        assert file.transform == transform and file.shape == (40, 50)


@pytest.mark.parametrize("kind", ["file", "frame", "geojson"])
def test_polygons_are_an_area_and_clip_it(bands: Chain, fields: Path, kind: str) -> None:
    table = geopandas.read_file(fields)
    area: Any = {
        "file": fields,
        "frame": table,
        "geojson": table.to_crs(4326).geometry.iloc[0].__geo_interface__,
    }[kind]
    chain = bands.max("t").bands("B04").drop("bands")
    found = chain.compute(area)
    box = found.odc.geobox
    inside = rasterio.features.geometry_mask([FIELD], box.shape, box.affine, invert=True)
    differing = np.isfinite(found.values) != inside
    assert differing.sum() <= (20 if kind == "geojson" else 0), "by pixels' centres; degrees move an edge a little"
    whole = chain.compute(area, clip=False)
    assert np.isfinite(whole.values).all() and whole.odc.geobox == box
    with pytest.raises(ArgumentError, match="clip=True needs polygons"):
        chain.compute(DEGREES, clip=True)


def test_what_makes_no_sense_is_said(bands: Chain, tmp_path: Path) -> None:
    with pytest.raises(ExtentRequired, match="window.*bounds.*polygons.*'footprint'"):
        bands.export(tmp_path / "a.tif")
    with pytest.raises(ArgumentError, match="a window has a grid: leave crs and resolution out"):
        bands.compute(window(9, 9), crs="EPSG:3035", resolution=3)
    with pytest.raises(ArgumentError, match="like= has a reference system"):
        bands.compute(DEGREES, like=window(9, 9), resolution=3)
    with pytest.raises(WindowError, match="is no area"):
        bands.compute((1, 2, 3))
    with pytest.raises(ArgumentError, match=r"nothing\.gpkg"):
        bands.compute("nothing.gpkg")


# ------------------------------------------------------------------------------------------------- told beforehand


def test_an_estimate_tells_the_file_and_is_near(bands: Chain, tmp_path: Path) -> None:
    for name in ("a.tif", "a.nc", "a.zarr"):
        planned = bands.plan("footprint", format=name)
        assert planned.values == 6 * SIZE**2 and planned.writing > 0 and planned.scenes == 3
        path = bands.export(tmp_path / name, "footprint", progress=False).wait(60)
        size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size
        assert 0.4 < planned.file_bytes / size < 2.5, (name, planned.file_bytes, size)
        assert planned.format in str(planned) and "MiB" in str(planned)
    assert bands.plan("footprint", format="zarr") == bands.plan("footprint", format=".zarr")
    assert bands.plan("footprint").difference is None and bands.plan("footprint").file_bytes == 0
    with pytest.raises(ArgumentError, match="none of the formats"):
        bands.plan("footprint", format="pdf")


def test_the_difference_to_the_map_is_told(bands: Chain) -> None:
    chain = bands.max("t")
    far, near = ml.Window.tile(11, 1031, 747), ml.Window.tile(15, 16504, 11960)
    assert chain.plan(far, shown=far).difference == "identical to what you see"
    moved = ml.Window.tile(11, 1032, 747)
    assert chain.plan(far, shown=moved).differences is not None and "wide in" not in str(chain.plan(far, shown=moved))
    told = chain.plan(DEGREES, shown=far).difference
    assert told and "pixels of 10 m, the map shows those of 40 m" in told and "10 m wide in EPSG:32631" in told
    told = chain.plan(DEGREES, shown=near).difference
    assert told and "pixels of 10 m" not in told and "centre" in told, "of the same pixels, on another grid"
    told = bands.plan(far, shown=far, bands="B04", dates="2018-06").difference
    assert told == "only the bands B04; only the dates 2018-06"


# --------------------------------------------------------------------------------------------------------- tables


def test_a_table_is_what_series_and_over_give(bands: Chain, fields: Path, tmp_path: Path) -> None:
    chain = bands.ndvi()
    places = [(1.33, 43.63), (1.335, 43.632)]
    for made, direct in (
        (chain.export(tmp_path / "a.csv", places, progress=False), chain.series(places).to_csv),
        (chain.style().export(tmp_path / "b.parquet", fields, stats=["mean"], progress=False),
         chain.over(fields, ["mean"]).to_parquet),
    ):  # fmt: skip
        path = made.wait(60)
        assert path.read_bytes() == direct(tmp_path / f"direct{path.suffix}").read_bytes()
        assert ml.jobs()[0].record.kind == "table" and made.state == "done"
    assert chain.export(tmp_path / "c.csv", places[0], dates="2018-07", progress=False).wait(60).read_text().count(
        "2018-0"
    ) == chain.dates("2018-07").series(*places[0]).to_csv(tmp_path / "d.csv").read_text().count("2018-0")
    assert not list(tmp_path.glob(".muses*"))
    with pytest.raises(FileExistsError, match="overwrite"):
        chain.export(tmp_path / "a.csv", places)
    with pytest.raises(ArgumentError, match="a table: of what"):
        chain.export(tmp_path / "e.csv")


def test_the_job_of_a_table_is_done_again(
    bands: Chain, fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, places = bands.ndvi(), [(1.33, 43.63), (1.335, 43.632)]
    for name, area, stats in (("a.csv", places, {}), ("b.parquet", fields, {"stats": ["mean", "q90"]})):
        path = chain.export(tmp_path / name, area, progress=False, **stats).wait(60)
        known = ml.jobs()[0]
        assert known.state == "done" and known.record.bytes == path.stat().st_size
        again = known.run_again(tmp_path / f"again-{name}", progress=False).wait(60)
        assert again.read_bytes() == path.read_bytes() and ml.remake(again, progress=False)
        said = {"ml": ml}
        exec(known.to_python().replace(name, f"said-{name}"), said)
        assert said["job"].wait(60).read_bytes() == path.read_bytes()
        with pytest.raises(FileExistsError, match="overwrite=True"):
            known.run_again()
        with pytest.raises(MusesError, match="a table, which no map shows: pandas.read_"):
            known.open()
    with monkeypatch.context() as patch:
        patch.setattr(Tabled, "_found", lambda self, job: (_ for _ in ()).throw(ComputeError("the cluster is gone")))
        failed = chain.export(tmp_path / "c.csv", places, progress=False)
        with pytest.raises(ComputeError, match="the cluster is gone"):
            failed.wait(60)
    failed.retry(progress=False).wait(60)
    assert (tmp_path / "c.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert ml.jobs()[0].id == failed.id and ml.jobs()[0].state == "done"
    assert not list(tmp_path.glob(".*"))
