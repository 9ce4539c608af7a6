"""Rasters that name other files, files beside them, links: nothing is opened but the scenes themselves.

Decoy files and a listener notice whoever touches them. Each way of naming them is shown to be one: GDAL by itself
follows it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import requests
from affine import Affine

import muses_lab as ml
from muses_lab import settings
from muses_lab.catalog.register import add
from muses_lab.engine import Engine
from muses_lab.errors import AccessDenied, NotFound, ReadError
from muses_lab.export.formats import writer_of
from muses_lab.raster import checksum
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.contained import Contained
from muses_lab.raster.files import LocalFile
from muses_lab.raster.gdal import open_raster
from muses_lab.raster.header import read_header
from muses_lab.style import Style
from tests.helpers import REPOSITORY
from tests.helpers.decoys import SECRET, Decoys, decoys, raster
from tests.helpers.hazardous_rasters import GRIDS, HAZARDS, OWN, SIDECARS, tagged
from tests.helpers.made_scenes import CORNER, Made, chain_of, pixels, values, window
from tests.helpers.range_server import serving
from tests.helpers.service import Server

pytestmark = pytest.mark.usefixtures("in_threads")


PLACE = (10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1])
BOX = window(512, 512)
COARSE = window(128, 128, 40.0)
ELSEWHERE = window(64, 64, corner=(CORNER[0] + 6000, CORNER[1] - 6000))
"""In another block of a raster of 1024 pixels: nothing of it is kept when the upper left one was looked at."""


@pytest.fixture
def decoy(tmp_path: Path) -> Iterator[Decoys]:
    with decoys(tmp_path / "decoys") as found:
        yield found


def pinned(made: Made, href: str, dtype: str = "uint16", size: int = 512) -> ml.Chain:
    """A chain that reads one file, whose header nobody has read."""
    scene = made.scene("s", "2018-06-10", {"B": Asset(href, PLACE, (size, size))}, grid="MADE-1")
    return made.chain([Band("B", dtype=dtype)], [scene])


def dtype_of(path: Path) -> str:
    return "uint8" if b"\xff\xd8" in path.read_bytes()[:4000] else "uint16"


# ------------------------------------------------------------------------------------ rasters that name other files


@pytest.mark.parametrize("what", {**HAZARDS, **SIDECARS, **GRIDS})
def test_gdal_by_itself_follows_it(decoy: Decoys, tmp_path: Path, what: str) -> None:
    name, write = {**HAZARDS, **SIDECARS, **GRIDS}[what]
    write(tmp_path / name, decoy)
    decoy.touched()
    with rasterio.open(tmp_path / name) as dataset:
        try:
            dataset.overviews(1)
            dataset.read_masks(1, out_shape=(128, 128))
        except rasterio.errors.RasterioError:
            pass
    assert decoy.touched()


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
@pytest.mark.parametrize("what", HAZARDS)
def test_what_a_raster_names_is_not_opened_at_any_level(
    made: Made, decoy: Decoys, monkeypatch: pytest.MonkeyPatch, what: str, remote: bool
) -> None:
    name, write = HAZARDS[what]
    path = made.folder / name
    write(path, decoy)
    decoy.touched()
    with serving(made.folder) as server:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")
        chain = pinned(made, f"{server.url}/{name}" if remote else name, dtype_of(path))
        for box in (BOX, COARSE, window(8, 8, 640.0)):
            found = pixels(Engine(64 << 20), chain, box)
            assert not found.report.failed
            assert (found.values[0, 0] == OWN).all()
    assert decoy.touched() == []


@pytest.mark.parametrize("what", HAZARDS)
def test_what_a_raster_names_is_not_opened_when_its_header_is_read(
    made: Made, decoy: Decoys, tmp_path: Path, what: str
) -> None:
    name, write = HAZARDS[what]
    path = tmp_path / "scenes" / name
    path.parent.mkdir()
    write(path, decoy)
    decoy.touched()
    report = add([path], catalog=tmp_path / "registered", collection="made", date="2018-06-10")
    assert not report.failed and not report.notes
    scenes = ml.collection("made", ml.open_catalog(str(tmp_path / "registered")))
    window = ml.Window.like(path)
    assert window.shape == (512, 512)
    found = pixels(Engine(64 << 20), scenes.max("t"), COARSE)
    if what == "a link .msk":  # without its mask nobody knows which pixels are valid: the scene is left out
        assert "link" in str(found.report.failed) and np.isnan(found.values).all()
    else:
        assert np.nanmin(found.values) == np.nanmax(found.values) == OWN
    assert not writer_of(Path("a.tif")).is_written(path, "0" * 64, window)
    assert decoy.touched() == []


@pytest.mark.parametrize("what", {**SIDECARS, **GRIDS})
def test_rasters_and_sidecars_that_lead_elsewhere_cannot_be_registered(
    decoy: Decoys, tmp_path: Path, what: str
) -> None:
    name, write = {**SIDECARS, **GRIDS}[what]
    path = tmp_path / name
    write(path, decoy)
    decoy.touched()
    with pytest.raises(ReadError, match="leads out|reference system"):
        read_header(path)
    with pytest.raises(ReadError):
        ml.Window.like(path)
    report = add([path], catalog=tmp_path / "registered", collection="made", date="2018-06-10")
    assert len(report.failed) == 1 and "secret" not in report.failed[0].reason
    assert decoy.touched() == []


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
@pytest.mark.parametrize("what", GRIDS)
def test_rasters_that_name_grids_are_left_out(
    made: Made, decoy: Decoys, monkeypatch: pytest.MonkeyPatch, what: str, remote: bool
) -> None:
    name, write = GRIDS[what]
    write(made.folder / name, decoy)
    decoy.touched()
    with serving(made.folder) as server:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")
        chain = pinned(made, f"{server.url}/{name}" if remote else name)
        for box in (BOX, COARSE):
            ((_, reason),) = pixels(Engine(64 << 20), chain, box).report.failed
            assert "reference system" in reason
    assert decoy.touched() == []


@pytest.mark.slow
def test_the_service_touches_nothing_but_the_scenes(
    server: Server, published_style: Style, decoy: Decoys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them as dates of one collection, through the real server: tiles at all zooms, values, an export."""
    paths = []
    hazards = [hazard for what, hazard in HAZARDS.items() if what != "a link .msk"]  # that scene is left out
    for n, (name, write) in enumerate(hazards):
        path = tmp_path / "scenes" / str(n) / f"2018-06-{n + 1:02}-{name}"
        path.parent.mkdir(parents=True)
        write(path, decoy)
        if dtype_of(path) == "uint16":
            paths.append(path)
    decoy.touched()
    report = add(paths, catalog=tmp_path / "hazards", collection="hazards")
    assert len(report.added) == len(paths)
    chain = ml.collection("hazards", ml.open_catalog(str(tmp_path / "hazards"))).band("b1").max("t")
    published = chain.publish()
    lon, lat = 1.335, 43.62
    for z in (8, 10, 12, 15):
        tile = _tile(lon, lat, z)
        answer = server.get(f"tiles/{published}/{published_style.hash}/{z}/{tile[0]}/{tile[1]}.png")
        assert answer.ok and "X-Muses-Warning" not in answer.headers, answer.headers
        found = server.get(f"values/{published}?lon={lon}&lat={lat}&z={z}").json()
        assert (found["values"], found["failed"]) == ([OWN], []), found
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    written = chain.export(tmp_path / "out.tif", ml.Window.like(paths[0]), progress=False).wait(60)
    computed = chain.compute(COARSE).values
    assert np.nanmin(computed) == np.nanmax(computed) == OWN
    with open_raster(written) as dataset:
        assert (dataset.read(1) == OWN).all()
    assert decoy.touched() == []


def _tile(lon: float, lat: float, z: int) -> tuple[int, int]:
    n = 2**z
    y = (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * n
    return int((lon + 180) / 360 * n), int(y)


def test_what_describes_the_image_is_kept(tmp_path: Path, decoy: Decoys) -> None:
    """Descriptions, scales, offsets, tags and own overviews are those that GDAL gives."""
    path = tagged(tmp_path / "a.tif", str(decoy.path("secret.tif")))
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2018:06:10 10:50:00", NAME="a <b> & é")
        file.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2018-06-10")
        file.scales, file.offsets = (1e-4,), (-0.1,)
        file.set_band_description(1, "red <665 nm>")
    with open_raster(path) as ours, rasterio.open(path) as theirs:
        for name in ("descriptions", "scales", "offsets", "nodatavals", "dtypes", "crs", "transform", "shape"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.tags() == theirs.tags() and ours.tags(ns="IMAGERY") == theirs.tags(ns="IMAGERY")
        assert theirs.tags(ns="OVERVIEWS") and not ours.tags(ns="OVERVIEWS")


def test_systems_that_only_a_text_in_the_keys_tells_are_those_that_gdal_gives(tmp_path: Path) -> None:
    unnamed = "+proj=tmerc +lon_0=3.123 +k=0.9996 +x_0=500000 +ellps=GRS80 +units=m"
    path = raster(tmp_path / "a.tif", OWN, crs=unnamed, GEOTIFF_KEYS_FLAVOR="ESRI_PE")
    assert b"ESRI PE String = PROJCS" in path.read_bytes()
    with open_raster(path) as ours, rasterio.open(path) as theirs:
        assert ours.crs == theirs.crs and "3.123" in ours.crs.to_wkt()


class _Bytes:
    def __init__(self, body: bytes) -> None:
        self.body, self.size = body, len(body)

    def read(self, offset: int, size: int) -> bytes:
        return self.body[offset : offset + size]


def _overlapping(text: bytes, second: int) -> _Bytes:
    """A TIFF of one directory with GDAL's metadata; another one begins at `second`, 0: none does."""
    first = struct.pack("<HHHIIHHII", 2, 42112, 1, len(text), 100, 42113, 2, 0, 0) + struct.pack("<I", second)
    return _Bytes(struct.pack("<2sHI", b"II", 42, 8).ljust(8) + first.ljust(92, b"\0") + text)


def test_directories_that_overlap_to_bring_a_tag_back_are_refused() -> None:
    """A directory inside an entry of another: what replaces that entry would be an entry of its own there."""

    def text(length: int) -> bytes:
        kept = f"<Item name='A'>{'a' * length}</Item>"
        return f"<GDALMetadata>{kept}<Item name='OVERVIEW_FILE' domain='OVERVIEWS'>x</Item></GDALMetadata>".encode()

    source = _overlapping(text(1000), 0)
    more = Contained(source, "GTiff").size - source.size - 1000
    length = (2 << 16) + 42112  # as a number of values it is also the beginning of an entry: tag 42112, type 2
    with pytest.raises(ReadError, match="directories overlap"):
        Contained(_overlapping(text(length - more), 12), "GTiff")
    assert Contained(_overlapping(text(length - more), 0), "GTiff").size > length


def test_rasters_are_opened_in_one_module_and_written_in_another() -> None:
    """All others go through them, so that nothing is opened with other drivers or settings."""
    banned = re.compile(
        r"\brasterio\.open\(|rasterio\.(shutil|vrt)\b|open_rasterio\(|create_stac_item|MemoryFile|WarpedVRT|gdal\.Open"
        r"|\bosgeo\b|xr\.open_(dataset|dataarray|mfdataset)\(|rio_stac|COGReader|import tifffile"
    )
    allowed = {
        "muses_lab/raster/gdal.py", "muses_lab/raster/writing.py",
        "muses_lab/export/formats/netcdf.py",  # its own files, by the one library that wrote them
            "muses_lab/api/own_files.py",  # of the user's own kernel, which writes a GeoTIFF of it: no worker opens it
    }  # fmt: skip
    found = []
    for folder in ("muses_lab", "widgets"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            name = path.relative_to(REPOSITORY).as_posix()
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                if name not in allowed and banned.search(line):
                    found.append(f"{name}:{number}: {line.strip()}")
    assert not found


# ------------------------------------------------------------------------------------------------ files beside them

INSIDE = {"crs": "EPSG:32631", "transform": Affine(10, 0, 364_000, 0, -10, 4_833_900), "nodata": -1}


@pytest.mark.parametrize("inside", [True, False], ids=["georeferenced", "bare"])
@pytest.mark.parametrize("auxiliary", [True, False], ids=["aux.xml", "no aux.xml"])
@pytest.mark.parametrize("world", ["tfw", "TFW", "tifw", "wld", None])
def test_sidecars_say_what_gdal_takes_from_them(
    tmp_path: Path, inside: bool, auxiliary: bool, world: str | None
) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 60, "height": 50, "count": 2, "dtype": "int16", **(INSIDE if inside else {})}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.ones((2, 50, 60), np.int16))
        if inside:
            file.scales, file.offsets = (2, 3), (1, 1)
            file.update_tags(A="inside", C="inside")
            file.set_band_description(1, "inner")
    if auxiliary:
        srs = rasterio.crs.CRS.from_epsg(32632).to_wkt().replace('"', "&quot;")
        path.with_name("a.tif.aux.xml").write_text(
            f"<PAMDataset><SRS>{srs}</SRS><GeoTransform> 5.0e+05, 20, 0, 4.9e6, 0, -20</GeoTransform>"
            '<Metadata><MDI key="A">beside</MDI><MDI key="B">beside</MDI></Metadata>'
            '<PAMRasterBand band="1"><NoDataValue>-9</NoDataValue><Scale>0.5</Scale><Offset>7</Offset>'
            "<Description>outer</Description></PAMRasterBand></PAMDataset>"
        )
    if world:
        path.with_suffix(f".{world}").write_text("30\n0\n0\n-30\n1000015\n4999985\n")
    with rasterio.open(path) as truth:
        if truth.crs is None:
            with pytest.raises(ReadError, match="coordinate reference system"):
                read_header(path)
            return
        found = read_header(path)
        assert found.crs == f"EPSG:{truth.crs.to_epsg()}"
        assert found.transform == pytest.approx(tuple(truth.transform)[:6])
        assert found.nodata == truth.nodatavals
        assert (found.scales, found.offsets, found.descriptions) == (truth.scales, truth.offsets, truth.descriptions)
        assert truth.tags().items() <= found.tags.items()


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("a.tif.aux.xml", b"<PAMDataset>", "no auxiliary metadata"),
        ("a.tif.aux.xml", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:/etc/hosts'>]><PAMDataset>&b;</PAMDataset>", "no aux"),
        ("a.tif.aux.xml", b"<PAMDataset><GeoTransform>1,2,3,4,5,six</GeoTransform></PAMDataset>", "'six' is no"),
        ("a.tif.aux.xml", b"<PAMDataset><SRS>http://127.0.0.1/x</SRS></PAMDataset>", "neither a code"),
        ("a.tfw", b"1 2 3", "no world file"),
        ("a.tfw", b"1\n0\n0\n-1\nx\ny\n", "no world file"),
    ],
)  # fmt: skip
def test_a_sidecar_that_makes_no_sense_is_said(tmp_path: Path, name: str, body: bytes, reason: str) -> None:
    path = raster(tmp_path / "a.tif", OWN, transform=None)
    (tmp_path / name).write_bytes(body)
    with pytest.raises(ReadError, match=reason):
        read_header(path)


# ------------------------------------------------------------------------------------------------------------ links


def exchange_file(folder: Path, target: Path) -> None:
    (folder / "sub" / "a.tif").unlink()
    os.symlink(target / "secret.tif", folder / "sub" / "a.tif")


def exchange_folder(folder: Path, target: Path) -> None:
    (folder / "sub").rename(folder / "before")
    os.symlink(target, folder / "sub")


@pytest.mark.parametrize("exchange", [exchange_file, exchange_folder])
@pytest.mark.parametrize("tiled", [True, False], ids=["tiles", "strips"])
def test_a_file_that_became_a_link_while_its_header_was_known(
    made: Made, decoy: Decoys, exchange: Callable[[Path, Path], None], tiled: bool
) -> None:
    (made.folder / "sub").mkdir()
    blocks = {"tiled": True, "blockxsize": 128, "blockysize": 128} if tiled else {}
    raster(made.folder / "sub" / "a.tif", OWN, 1024, **blocks)
    raster(decoy.path("a.tif"), SECRET, 1024, **blocks)
    engine, chain = Engine(64 << 20), pinned(made, "sub/a.tif", size=1024)
    assert (pixels(engine, chain, window(128, 128)).values == OWN).all()
    exchange(made.folder, decoy.folder)
    decoy.touched()
    found = pixels(engine, chain, ELSEWHERE)
    assert np.isnan(found.values).all()
    assert found.report.failed == (("s", "the file is a link by now, which leads out of the catalogue's folders"),)
    assert decoy.touched() == []


def test_a_file_that_became_a_link_is_not_asked_for_its_header(tmp_path: Path, decoy: Decoys) -> None:
    """Items that say nothing of their files: these are looked at whenever a collection is resolved."""
    (tmp_path / "scenes").mkdir()
    path = raster(tmp_path / "scenes" / "a.tif", OWN)
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "s", "collection": "made", "links": [],
        "geometry": {"type": "Point", "coordinates": [1.3, 43.6]}, "bbox": [1.3, 43.6, 1.3, 43.6],
        "properties": {"datetime": "2018-06-10T10:00:00Z"},
        "assets": {"B": {"href": "a.tif", "type": "image/tiff"}},
    }  # fmt: skip
    document = tmp_path / "scenes" / "items.json"
    document.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    assert (values(ml.collection("made", ml.open_catalog(str(document))).max("t"), window(64, 64)) == OWN).all()
    path.unlink()
    os.symlink(decoy.path("secret.tif"), path)
    decoy.touched()
    with pytest.raises(NotFound, match="leads out"):
        _ = ml.collection("made", ml.open_catalog(str(document))).max("t").published
    assert decoy.touched() == []


def test_a_link_within_the_catalogue_is_followed(made: Made) -> None:
    raster(made.folder / "b.tif", OWN, 1024)
    raster(made.folder / "a.tif", 1, 1024)
    engine, chain = Engine(64 << 20), pinned(made, "a.tif", size=1024)
    assert (pixels(engine, chain, window(128, 128)).values == 1).all()
    (made.folder / "a.tif").unlink()
    os.symlink("b.tif", made.folder / "a.tif")
    assert (pixels(engine, chain, ELSEWHERE).values == OWN).all()


def test_a_pipe_is_not_waited_for(made: Made) -> None:
    os.mkfifo(made.folder / "a.tif")
    ((_, reason),) = pixels(Engine(1 << 20), pinned(made, "a.tif"), COARSE).report.failed
    assert reason == "it is not a file"


def test_where_the_system_does_not_tell_the_place_of_a_file(
    tmp_path: Path, decoy: Decoys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muses_lab.raster.files._TELLS", False)
    path = tmp_path / "a.tif"
    path.write_bytes(b"own")
    with LocalFile.open(str(path), lambda place: False) as file:
        assert file.read(0, 10) == b"own"
    path.unlink()
    os.symlink(decoy.path("secret.txt"), path)
    decoy.touched()
    with pytest.raises(AccessDenied, match="leads out"):
        LocalFile.open(str(path), lambda place: False)
    assert decoy.touched() == []
    with LocalFile.open(str(path), lambda place: place == str(decoy.path("secret.txt"))) as file:
        assert file.read(0, 6) == b"secret"


def test_links_out_of_the_roots_are_refused_when_they_are_there_from_the_beginning(made: Made, decoy: Decoys) -> None:
    os.symlink(decoy.path("secret.tif"), made.folder / "a.tif")
    decoy.touched()
    ((_, reason),) = pixels(Engine(1 << 20), pinned(made, "a.tif"), COARSE).report.failed
    assert "outside the folders" in reason
    assert decoy.touched() == []
    settings.register_catalog(made.id, str(made.folder), [str(decoy.folder)])
    assert (pixels(Engine(1 << 20), pinned(made, "a.tif"), COARSE).values == SECRET).all()


# ----------------------------------------------------------------------------------- scenes that are replaced


def of_catalogue(folder: Path, **fields: str) -> tuple[Path, ml.Chain]:
    """A file registered, and a chain that pins it."""
    path = raster(folder / "scenes" / "a.tif", 1, 1024, tiled=True, blockxsize=128, blockysize=128)
    add([path], catalog=folder / "catalogue", collection="made", date="2018-06-10")
    chain = ml.collection("made", ml.open_catalog(str(folder / "catalogue"))).max("t")
    ((digest, scenes),) = chain.published.scenes.items()
    assert digest
    if fields:
        scene = scenes.scenes[0]
        assets = {name: replace(asset, **fields) for name, asset in scene.assets.items()}
        chain = chain_of(replace(scenes, scenes=(replace(scene, assets=assets),))).max("t")
    return path, chain


def rewritten(path: Path, value: int) -> None:
    """Another file of the same size."""
    size = path.stat().st_size
    raster(path, value, 1024, tiled=True, blockxsize=128, blockysize=128)
    assert path.stat().st_size == size


def test_a_scene_replaced_by_another_of_the_same_size_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    path, chain = of_catalogue(tmp_path)
    engine = Engine(64 << 20)
    assert (pixels(engine, chain, window(128, 128)).values == 1).all()
    rewritten(path, 2)
    for box in (ELSEWHERE, COARSE):
        found = pixels(engine, chain, box)
        assert not (found.values == 2).any(), "one hash never shows two states of a scene"
        ((_, reason),) = found.report.failed
        assert re.match(r"the file was changed: it is of \d{4}-.* UTC, that of the published chain of .* anew", reason)
    anew = ml.collection("made", ml.open_catalog(str(tmp_path / "catalogue"))).max("t")
    assert anew.published.hash != chain.published.hash
    assert (pixels(engine, anew, ELSEWHERE).values == 2).all()


def test_a_copy_with_another_time_is_the_same_scene_where_its_checksum_says_so(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    path, _ = of_catalogue(tmp_path)
    said = "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
    path, chain = of_catalogue(tmp_path, checksum=said)
    os.utime(path, (1_500_000_000, 1_500_000_000))
    assert (pixels(Engine(64 << 20), chain, ELSEWHERE).values == 1).all()
    rewritten(path, 2)
    assert pixels(Engine(64 << 20), chain, BOX).report.failed


@pytest.mark.parametrize("kind", ["sha256", "sha512", "sha1", "md5"])
def test_checksums_are_multihashes(tmp_path: Path, kind: str) -> None:
    codes = {"sha256": "1220", "sha512": "1340", "sha1": "1114", "md5": "d50110"}
    (tmp_path / "a").write_bytes(b"body")
    with LocalFile.open(str(tmp_path / "a")) as file:
        said = codes[kind] + hashlib.new(kind, b"body").hexdigest()
        assert checksum.matches(said, file) is True
        assert checksum.matches(codes[kind] + hashlib.new(kind, b"other").hexdigest(), file) is False
        assert checksum.matches("no hash", file) is None and checksum.matches("1220", file) is None


def test_requests_fails_where_the_listener_answers(decoy: Decoys) -> None:
    """The listener notices."""
    assert requests.get(decoy.url("x"), timeout=10).status_code == 404
    assert len(decoy.touched()) == 1
