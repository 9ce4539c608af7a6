"""Exports: whole or not at all, Cloud-Optimised, with all it takes to make them again."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile
from rio_cogeo import cog_validate

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.document import graph
from muses_lab.errors import Cancelled, ExtentRequired, MusesError
from muses_lab.export import Job, pieces
from muses_lab.export.formats import geotiff
from muses_lab.operators import registry
from muses_lab.raster.asset import Band
from muses_lab.scenes.lists import as_artefact
from muses_lab.scenes.scene import Scenes
from tests.helpers.made_scenes import CORNER, Made, chain_of, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 1100
WHOLE = window(SIZE, SIZE)
BANDS = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]


@pytest.fixture(scope="module")
def scenes(made_once: Made) -> Scenes:
    rng = np.random.default_rng(5)
    found = []
    for n in range(3):
        assets = {}
        for band in ("B04", "B08"):
            values = rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16)
            values[200 * n : 200 * n + 100] = 0
            assets[band] = made_once.asset(
                write_tif(made_once.folder / f"{n}-{band}.tif", values, blockxsize=256, blockysize=256)
            )
        found.append(made_once.scene(f"scene-{n}", f"2018-06-{10 + n}", assets, grid="MADE-1"))
    return made_once.scenes(BANDS, found)


@pytest.fixture(scope="module")
def bands(scenes: Scenes) -> Chain:
    return chain_of(scenes)


@pytest.fixture
def ndvi(bands: Chain) -> Chain:
    return bands.ndvi().median("t")


def export(chain: Chain, path: Path, box: GeoBox = WHOLE, **options) -> Job:
    return chain.export(path, box, progress=False, **options)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


# ------------------------------------------------------------------------------------------------------- the file


def test_it_is_a_valid_cog_of_the_chains_own_values(ndvi: Chain, tmp_path: Path) -> None:
    path = tmp_path / "ndvi.tif"
    assert export(ndvi, path).wait(60) == path
    valid, errors, warnings = cog_validate(path, strict=True)
    assert valid and not errors and not warnings
    assert np.array_equal(read(path)[0], ndvi.compute(WHOLE).values, equal_nan=True)
    with rasterio.open(path) as file:
        assert file.profile["dtype"] == "float32" and np.isnan(file.nodata)
        assert file.crs.to_epsg() == 32631 and file.transform == WHOLE.affine and file.shape == (SIZE, SIZE)
        assert file.overviews(1)
    assert [p.name for p in tmp_path.iterdir()] == ["ndvi.tif"], "no temporary is left"


def test_it_is_packed_in_the_way_that_takes_less_room(bands: Chain, tmp_path: Path) -> None:
    stored = bands.band("B04").median("t")  # a few thousand numbers
    kinds = set()
    for n, chain in enumerate((stored, stored.focal_mean(15) / 7)):
        path = export(chain, tmp_path / f"{n}.tif").wait(60)
        sizes = {}
        for predictor in ("1", "3"):
            with rasterio.open(path) as file:
                shape = {"tiled": True, "blockxsize": 512, "blockysize": 512}
                with MemoryFile() as made:
                    packed = {**file.profile, **shape, "driver": "GTiff", "compress": "deflate", "zlevel": 1}
                    with made.open(**{**packed, "predictor": predictor, "interleave": "band"}) as copy:
                        copy.write(file.read())
                    sizes[predictor] = len(made.getbuffer())
                kind = file.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", "1")
        assert kind == min(sizes, key=lambda one: sizes[one]), sizes
        kinds.add(kind)
    assert kinds == {"1", "3"}


def test_gdal_of_the_system_opens_it_where_it_lies(ndvi: Chain, tmp_path: Path) -> None:
    """That of Debian, which QGIS uses; not the one that came with rasterio."""
    path = export(ndvi, tmp_path / "ndvi.tif").wait(60)
    packaged = ("GDAL_DATA", "PROJ_DATA", "PROJ_LIB")
    environment = {name: text for name, text in os.environ.items() if name not in packaged}

    def told(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    found = json.loads(told("gdalinfo", "-json", str(path)))
    assert found["geoTransform"] == list(WHOLE.affine.to_gdal()) and found["size"] == [SIZE, SIZE]
    assert 'ID["EPSG",32631]' in found["coordinateSystem"]["wkt"]
    assert found["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    (band,) = found["bands"]
    assert band["type"] == "Float32" and math.isnan(float(band["noDataValue"])) and band["block"] == [512, 512]
    assert [overview["size"] for overview in band["overviews"]] == [[550, 550], [275, 275]]
    value = float(told("gdallocationinfo", "-valonly", str(path), "600", "400"))
    assert value == pytest.approx(float(read(path)[0, 400, 600]), abs=1e-9)


def test_what_lies_beyond_the_data_is_missing(ndvi: Chain, tmp_path: Path) -> None:
    box = window(700, 600, corner=(CORNER[0] - 3000, CORNER[1] + 1000))
    values = read(export(ndvi, tmp_path / "a.tif", box).wait(60))[0]
    assert np.isnan(values[:100]).all() and np.isnan(values[:, :300]).all()
    assert np.isfinite(values[100:, 300:]).all()


@pytest.mark.parametrize("shape", [(1, 1), (513, 1025), (2600, 30), (30, 1023)])
def test_windows_have_any_shape(bands: Chain, tmp_path: Path, shape: tuple[int, int]) -> None:
    chain, box = bands.max("t"), window(*shape)
    job = export(chain, tmp_path / "a.tif", box)
    assert np.array_equal(read(job.wait(60)), chain.compute(box).values, equal_nan=True)
    assert job.total == job.done == len(pieces.cut(box, 512)), "no piece was computed twice"


def test_bands_are_described_by_date_and_name(bands: Chain, ndvi: Chain, tmp_path: Path) -> None:
    box = window(64, 64)
    with rasterio.open(export(bands, tmp_path / "a.tif", box).wait(60)) as file:
        days = [f"2018-06-{10 + n}T10:50:00Z" for n in range(3)]
        assert file.descriptions == tuple(f"{day} {band}" for day in days for band in ("B04", "B08"))
        expected = bands.compute(box).values.reshape(6, 64, 64)
        assert np.array_equal(file.read(), expected, equal_nan=True)
    with rasterio.open(export(bands.ndvi(), tmp_path / "b.tif", box).wait(60)) as file:
        assert file.descriptions == tuple(days)
    with rasterio.open(export(bands.max("t"), tmp_path / "c.tif", box).wait(60)) as file:
        assert file.descriptions == ("B04", "B08")
    with rasterio.open(export(ndvi, tmp_path / "d.tif", box).wait(60)) as file:
        assert file.descriptions == ("d",)


def test_its_metadata_make_it_again(ndvi: Chain, tmp_path: Path) -> None:
    first = export(ndvi, tmp_path / "first.tif").wait(60)
    with rasterio.open(first) as file:
        tags = file.tags()
    lists = {digest: Scenes.from_json(doc) for digest, doc in json.loads(tags["MUSES_SCENES"]).items()}
    assert all(scenes.digest == digest for digest, scenes in lists.items())
    again = Chain(
        graph.parse(tags["MUSES_DOCUMENT"], registry), {d: as_artefact(scenes) for d, scenes in lists.items()}
    )
    assert again.published.chain_hash == tags["MUSES_CHAIN"] == ndvi.published.chain_hash
    assert tags["MUSES_RELEASE"] == ml.__version__
    second = export(again, tmp_path / "second.tif", ml.Window.like(first)).wait(60)
    assert np.array_equal(read(first), read(second), equal_nan=True)


def test_the_same_chain_twice_gives_the_same_bytes(ndvi: Chain, tmp_path: Path) -> None:
    bodies = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        bodies.append(export(ndvi, tmp_path / name / "a.tif").wait(60).read_bytes())
    assert bodies[0] == bodies[1]


def test_no_path_of_this_machine_is_in_the_file(ndvi: Chain, made_once: Made, tmp_path: Path) -> None:
    path = export(ndvi, tmp_path / "a.tif", window(64, 64)).wait(60)
    body = path.read_bytes()
    assert str(made_once.folder).encode() not in body and str(tmp_path).encode() not in body


# ------------------------------------------------------------------------------------------- progress and listeners


def test_listeners_hear_of_every_piece_and_of_the_end(ndvi: Chain, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    ended = threading.Event()

    def listen(job: Job) -> None:
        heard.append((job.state, job.done, job.total))
        if job.state != "running":
            ended.set()

    job = export(ndvi, tmp_path / "a.tif")
    job.observe(listen)
    job.wait(60)
    assert ended.wait(5)
    assert heard[-1] == ("done", 9, 9) and job.state == "done"
    assert [h[1] for h in heard] == sorted(h[1] for h in heard)
    assert all(state == "running" for state, *_ in heard[:-1])
    late: list[str] = []
    job.observe(lambda j: late.append(j.state))
    assert late == ["done"], "who asks after the end hears it at once"
    assert "done" in repr(job) and "9 of 9" in repr(job)


def test_a_listener_that_fails_does_not_spoil_the_export(ndvi: Chain, tmp_path: Path) -> None:
    job = export(ndvi, tmp_path / "a.tif")
    job.observe(lambda job: 1 / 0)
    assert job.wait(60).exists() and job.state == "done"


def test_a_progress_bar_is_shown(ndvi: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ndvi.export(tmp_path / "a.tif", window(64, 64)).wait(60)
    assert "a.tif" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- whole or nothing


def test_a_cancelled_export_leaves_nothing(ndvi: Chain, tmp_path: Path) -> None:
    job = export(ndvi.focal_median(7), tmp_path / "a.tif", window(4000, 4000))
    job.observe(lambda job: job.cancel())
    with pytest.raises(Cancelled, match="a.tif"):
        job.wait(60)
    assert job.state == "cancelled" and 0 < job.done < job.total
    assert not list(tmp_path.iterdir())


def test_a_cancelled_export_leaves_the_file_that_was_there(ndvi: Chain, tmp_path: Path) -> None:
    path = export(ndvi, tmp_path / "a.tif", window(64, 64)).wait(60)
    before = path.read_bytes()
    job = export(ndvi.focal_median(6), path, window(4000, 4000), overwrite=True)
    job.observe(lambda job: job.cancel())
    with pytest.raises(Cancelled):
        job.wait(60)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_an_evaluation_that_fails_leaves_nothing_and_says_why(ndvi: Chain, tmp_path: Path) -> None:
    job = export((ndvi * 0).otsu(extent=window(64, 64), resolution=10), tmp_path / "a.tif")
    with pytest.raises(MusesError, match="only the value 0"):
        job.wait(60)
    assert job.state == "failed" and isinstance(job.error, MusesError)
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
import muses_lab as ml
from muses_lab.document import graph
from muses_lab.api.chain import Chain
from muses_lab.operators import registry
from muses_lab.scenes.lists import as_artefact
from muses_lab.scenes.scene import Scenes
import json
document, scenes, path = sys.argv[1:]
lists = {d: as_artefact(Scenes.from_json(doc)) for d, doc in json.loads(Path(scenes).read_text()).items()}
chain = Chain(graph.parse(Path(document).read_text(), registry), lists)
window = ml.Window.from_bounds((1.31, 43.5, 1.6, 43.65), crs="EPSG:32631", resolution=5)
job = chain.export(path, window, progress=False)
job.observe(lambda job: os.kill(os.getpid(), signal.SIGKILL) if job.done == 2 else None)
job.wait(60)
"""


@pytest.mark.slow
def test_a_killed_export_leaves_no_file_and_the_next_one_sweeps_up(ndvi: Chain, tmp_path: Path) -> None:
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    (inputs / "document").write_bytes(ndvi.published.document)
    lists = {d: s.to_json() for d, s in ndvi.published.scenes.items()}
    (inputs / "scenes").write_text(json.dumps(lists))
    target = outputs / "a.tif"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(inputs / "document"), str(inputs / "scenes"), str(target)],
        env={**os.environ, "MUSES_COMPUTE": "threads"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not target.exists()
    other = outputs / ".a.tif.somewhere-else.1-x"
    other.mkdir()
    export(ndvi, target, window(64, 64)).wait(60)
    assert sorted(p.name for p in outputs.iterdir()) == [other.name, "a.tif"], "that of another machine is not ours"


def test_a_file_is_only_replaced_when_asked(ndvi: Chain, tmp_path: Path) -> None:
    path = export(ndvi, tmp_path / "a.tif", window(64, 64)).wait(60)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export(ndvi, path)
    assert read(path).shape == (1, 64, 64)
    export(ndvi, path, window(32, 48), overwrite=True).wait(60)
    assert read(path).shape == (1, 32, 48)


def test_a_file_that_appears_meanwhile_is_left_alone(ndvi: Chain, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    theirs = tmp_path / "theirs"
    theirs.write_text("somebody else's")
    job = export(ndvi.focal_mean(3), path)
    job.observe(lambda job: theirs.exists() and theirs.rename(path))
    with pytest.raises(FileExistsError, match="meanwhile"):
        job.wait(60)
    assert path.read_text() == "somebody else's" and len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_written_is_said_at_once(ndvi: Chain, tmp_path: Path) -> None:
    with pytest.raises(ExtentRequired, match="window"):
        ndvi.export(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a.bmp.*GeoTIFF \(.tif, .tiff\)"):
        export(ndvi, tmp_path / "a.bmp")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        export(ndvi, tmp_path / "nowhere" / "a.tif")
    with pytest.raises(ExtentRequired, match="pin"):
        export(ndvi.otsu(), tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------- failed scenes


def test_scenes_that_cannot_be_read_are_noted_in_job_and_file(scenes: Scenes, made_once: Made, tmp_path: Path) -> None:
    lost = replace(scenes.scenes[1].assets["B04"], href="gone.tif")
    broken = replace(scenes.scenes[1], assets={**scenes.scenes[1].assets, "B04": lost})
    box = window(600, 600)
    chain = chain_of(replace(scenes, scenes=(scenes.scenes[0], broken, scenes.scenes[2]))).ndvi().max("t")
    job = export(chain, tmp_path / "a.tif", box)
    path = job.wait(60)
    assert set(job.failed) == {"scene-1"} and "not there" in job.failed["scene-1"]
    with rasterio.open(path) as file:
        assert json.loads(file.tags()["MUSES_FAILED_SCENES"]) == job.failed
    rest = chain_of(replace(scenes, scenes=(scenes.scenes[0], scenes.scenes[2]))).ndvi().max("t")
    assert np.array_equal(read(path)[0], rest.compute(box).values, equal_nan=True)
    whole = export(chain_of(scenes).ndvi().max("t"), tmp_path / "b.tif", box).wait(60)
    with rasterio.open(whole) as file:
        assert "MUSES_FAILED_SCENES" not in file.tags()


def test_pieces_in_which_a_scene_failed_are_compared_as_well(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not noted for a later process, but the file must hold them as they were computed."""
    lost = replace(scenes.scenes[1].assets["B04"], href="gone.tif")
    broken = replace(scenes.scenes[1], assets={**scenes.scenes[1].assets, "B04": lost})
    chain = chain_of(replace(scenes, scenes=(scenes.scenes[0], broken))).ndvi().max("t")
    real, left = geotiff.copy_raster, [1]

    def copied(source: Any, *args: Any, **options: Any) -> None:
        if left and left.pop():
            assert not (Path(source.name).parent / pieces.DONE).exists()
            with open(source.name, "r+b") as file:
                file.seek(300_000)
                file.write(b"\0" * 4000)
        real(source, *args, **options)

    monkeypatch.setattr(geotiff, "copy_raster", copied)
    job = export(chain, tmp_path / "a.tif")
    expected = chain_of(replace(scenes, scenes=(scenes.scenes[0],))).ndvi().max("t").compute(WHOLE).values
    assert np.array_equal(read(job.wait(60))[0], expected, equal_nan=True)
    assert job.state == "done" and job.total == 10 and set(job.failed) == {"scene-1"}


@pytest.mark.parametrize("overview", [0, 1])
def test_an_overview_that_is_damaged_as_it_is_written_is_written_again(
    ndvi: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overview: int
) -> None:
    """GDAL reads it as if it were whole."""
    real, copies = geotiff.copy_raster, []

    def copied(source: Any, path: Path, **options: Any) -> None:
        real(source, path, **options)
        copies.append(path)
        if len(copies) == 1:
            with rasterio.open(path, OVERVIEW_LEVEL=overview) as file:
                at, size = (int(file.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
            with path.open("r+b") as file:
                file.seek(at + size // 2)
                byte = file.read(1)[0]
                file.seek(at + size // 2)
                file.write(bytes([byte ^ 1]))

    expected = export(ndvi, tmp_path / "whole.tif", title="a").wait(60).read_bytes()
    monkeypatch.setattr(geotiff, "copy_raster", copied)
    assert export(ndvi, tmp_path / "a.tif", title="a").wait(60).read_bytes() == expected
    assert len(copies) == 2


# ----------------------------------------------------------------------------------------------- pieces, and their file


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 600), (511, 513), (1030, 40)])
@pytest.mark.parametrize("layers", [1, 2, 5])
def test_pieces_are_a_tiff_to_other_readers(tmp_path: Path, shape: tuple[int, int], layers: int) -> None:
    """Written in any order, some by an earlier process; NaNs of several kinds come back as one."""
    affine = Affine(10, 0.5, 364_000.25, 0.25, -10, 4_833_900)
    box = GeoBox(shape, affine, "EPSG:32631")
    rng = np.random.default_rng(sum(shape))
    values = rng.integers(0, 2**32, (layers, *shape), dtype=np.uint32).view(np.float32)  # any bits: NaNs, −0, …
    labels = ["", "B04", "2018-06-10T10:50:00Z B08", "", "é"][:layers]

    def made() -> pieces.Pieces:
        return pieces.Pieces(tmp_path, box, layers, 512, np.float32)

    order = rng.permutation(len(made().all))
    for n, at in enumerate(order):
        again = made()
        assert len(again.missing) == len(order) - n
        piece = again.all[at]
        again.put(piece, values[:, *piece.toslices()])
    path = made().described(labels, {"MUSES_X": "<a & b>"})
    assert path.stat().st_size < 100_000 + len(order) * layers * 4 * math.prod(min(512, n + 15) for n in shape)
    expected = np.where(np.isnan(values), np.float32(np.nan), values)
    stored = tifffile.imread(path).reshape(layers, *shape)
    assert np.array_equal(stored.view(np.uint32), expected.view(np.uint32))
    with rasterio.open(path) as file:
        assert np.array_equal(file.read().view(np.uint32), expected.view(np.uint32))
        assert file.transform == affine and file.crs.to_epsg() == 32631 and np.isnan(file.nodata)
        assert file.descriptions == tuple(label or None for label in labels)
        assert file.tags()["MUSES_X"] == "<a & b>"
    assert not made().missing, "what GDAL added to the file does not disturb"
    assert sorted(p.name for p in tmp_path.iterdir()) == [pieces.DONE, pieces.VALUES]


def test_a_disk_that_is_too_small_is_noticed_at_once(ndvi: Chain, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, limits[1]))
    try:
        job = export(ndvi, tmp_path / "a.tif", window(5000, 5000))
        with pytest.raises(OSError, match="File too large"):
            job.wait(60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (job.state, job.done) == ("failed", 0) and not list(tmp_path.iterdir())


def test_numbers_that_float32_does_not_hold_are_written_as_they_are(made_once: Made, tmp_path: Path) -> None:
    ids = np.array([[4_294_967_295, 16_777_217], [7, 123_456_789]], np.uint32)
    path = made_once.folder / "parcels.tif"
    write_tif(path, np.tile(ids, (32, 32)))
    scene = made_once.scene("parcels", "2018-01-01", {"id": made_once.asset(path), "few": made_once.asset(path)})

    def written(declared: str, band: str, name: str) -> Path:
        bands = [Band("id", resolution=10.0, dtype=declared, nodata=None), Band("few", resolution=10.0, dtype="uint8")]
        chain = made_once.chain(bands, [scene]).band(band).median("t")
        return export(chain, tmp_path / name, window(64, 64)).wait(60)

    with rasterio.open(written("uint32", "id", "exact.tif")) as file:
        assert file.dtypes == ("float64",)
        np.testing.assert_array_equal(file.read(1)[:2, :2], ids)
    with pytest.raises(MusesError, match="4294967295 is not one of float32.*state their data_type"):
        written("uint16", "id", "promised.tif")
    assert not (tmp_path / "promised.tif").exists()
