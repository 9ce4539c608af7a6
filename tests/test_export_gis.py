"""What an export says of itself to a GIS, and what it refuses before anything runs."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

import muses_lab as ml
from muses_lab.api import jobs
from muses_lab.api.chain import Chain
from muses_lab.catalog.register import add
from muses_lab.compute import wholes
from muses_lab.errors import BandError, Cancelled, NotFound, WindowError
from muses_lab.export import files, qgis
from muses_lab.export.formats import geotiff
from muses_lab.raster.asset import Band
from muses_lab.resources import cancel
from muses_lab.scenes.scene import Scenes
from muses_lab.style import Style
from tests.helpers.made_scenes import CORNER, Made, chain_of, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 600
BOX = window(SIZE, SIZE)
COLOURS = ("blue", "green", "red")
NDVI = Style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI", unit="dB")
CLASSES = Style(classes={1: ("bare & <b>", "tan"), 4: ("forest", "#228b22")}, label="Cover")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Scenes:
    made = Made(tmp_path_factory.mktemp("scenes"))
    rng = np.random.default_rng(5)
    found = []
    for n in range(2):
        values = rng.integers(1, 5, (SIZE, SIZE), dtype=np.uint16)
        values[:100, :100] = 0
        path = write_tif(made.folder / f"{n}.tif", values)
        found.append(made.scene(f"scene-{n}", f"2018-06-{10 + n}", {b: made.asset(path) for b in COLOURS}, grid="A"))
    return made.scenes([Band(b, b, nodata=0.0) for b in COLOURS], found)


@pytest.fixture
def bands(scenes: Scenes) -> Chain:
    return chain_of(scenes)


@pytest.fixture
def red(bands: Chain) -> Chain:
    return bands.band("red").max("t")


def one_date(bands: Chain) -> Chain:
    return bands._with("filter_temporal", data=bands._node, extent=["2018-06-11", "2018-06-12"])


def export(chain: Chain, path: Path, box: GeoBox = BOX, **options) -> Path:
    job = chain.export(path, box, progress=False, **options)
    job.wait(60)
    assert not job.failed
    return path


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def known() -> set[str]:
    return {job.id for job in ml.jobs(1000)}


# --------------------------------------------------------------------------------------------------------- metadata


def test_an_export_says_what_it_is(red: Chain, tmp_path: Path) -> None:
    with rasterio.open(export(red, tmp_path / "a.tif", style=NDVI, title="Fields 2018")) as file:
        tags = file.tags()
        assert file.descriptions == ("Fields 2018",) and file.units == ("dB",) and np.isnan(file.nodata)
        assert file.colorinterp == (ColorInterp.gray,)
    assert tags["TIFFTAG_DOCUMENTNAME"] == "Fields 2018"
    assert tags["TIFFTAG_SOFTWARE"] == f"MUSES Lab {ml.__version__}"
    assert tags["TIME_COVERAGE_START"] == "2018-06-10T10:50:00Z"
    assert tags["TIME_COVERAGE_END"] == "2018-06-11T10:50:00Z"
    assert "TIFFTAG_DATETIME" not in tags, "it is of no one date"
    assert "2 dates from 2018-06-10T10:50:00Z to 2018-06-11" in tags["TIFFTAG_IMAGEDESCRIPTION"]
    assert "reduce_dimension" in tags["HISTORY"] and red.published.chain_hash in tags["HISTORY"]


def test_an_export_of_one_date_has_that_date(bands: Chain, tmp_path: Path) -> None:
    path = export(one_date(bands).band("red").max("t"), tmp_path / "a.tif", style=NDVI)
    with rasterio.open(path) as file:
        assert file.tags()["TIFFTAG_DATETIME"] == "2018:06:11 10:50:00" and file.descriptions == ("NDVI",)


def test_red_green_and_blue_are_said_to_be_it(bands: Chain, tmp_path: Path) -> None:
    image = bands.bands("red", "green", "blue").max("t")
    path = export(image, tmp_path / "a.tif", style=Style(vmax=0.4, gamma=1.5))
    with rasterio.open(path) as file:
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert file.descriptions == ("red", "green", "blue")
        assert np.array_equal(file.read(), image.compute(BOX).values, equal_nan=True)
    renderer = fromstring(path.with_suffix(".qml").read_text()).find("pipe/rasterrenderer")
    assert renderer is not None and renderer.get("type") == "multibandcolor"
    assert [renderer.get(f"{c}Band") for c in ("red", "green", "blue")] == ["1", "2", "3"]
    assert renderer.findtext("greenContrastEnhancement/maxValue") == "0.4"
    turned = export(bands.max("t"), tmp_path / "b.tif", style=Style(bands=("red", "green", "blue")))
    with rasterio.open(turned) as file:
        assert file.colorinterp[0] == ColorInterp.gray, "the file's order is another"
    renderer = fromstring(turned.with_suffix(".qml").read_text()).find("pipe/rasterrenderer")
    assert renderer is not None and renderer.get("redBand") == "3"
    with pytest.raises(BandError, match="nir"):
        bands.max("t").export(tmp_path / "c.tif", BOX, style=Style(bands=("nir",)))


def test_classes_are_bytes_with_a_colour_table_and_the_same_values(red: Chain, tmp_path: Path) -> None:
    path = export(red, tmp_path / "a.tif", style=CLASSES)
    expected = red.compute(BOX).values
    with rasterio.open(path) as file:
        assert file.dtypes == ("uint8",) and file.nodata == 255 and file.colorinterp == (ColorInterp.palette,)
        table = file.colormap(1)
        assert table[1] == (210, 180, 140, 255) and table[4] == (34, 139, 34, 255)
        stored = file.read(1)
        assert np.array_equal(np.where(stored == 255, np.nan, stored), expected, equal_nan=True)
        assert np.isnan(expected).any() and file.overviews(1)
        assert geotiff.WRITER.is_written(path, red.published.chain_hash, BOX)
    palette = fromstring(path.with_suffix(".qml").read_text()).findall(".//paletteEntry")
    assert [(e.get("value"), e.get("label"), e.get("color")) for e in palette] == [
        ("1", "bare & <b>", "#d2b48c"), ("4", "forest", "#228b22"),
    ]  # fmt: skip
    hiding = export(red, tmp_path / "b.tif", style=replace(CLASSES, hidden=(4,)))
    with rasterio.open(hiding) as file:
        assert np.array_equal(file.read(1), stored), "what is hidden has its values"
        assert file.colormap(1) == table, "colours of a TIFF know no opacity"
    palette = fromstring(hiding.with_suffix(".qml").read_text()).findall(".//paletteEntry")
    assert [e.get("alpha") for e in palette] == ["255", "0"]


@pytest.mark.parametrize("change", [lambda c: c + 0.5, lambda c: c * 100, lambda c: c - 3])
def test_values_that_bytes_cannot_hold_stay_as_they_are(red: Chain, tmp_path: Path, change) -> None:
    chain = change(red)
    with rasterio.open(export(chain, tmp_path / "a.tif", style=CLASSES)) as file:
        assert file.dtypes == ("float32",) and np.isnan(file.nodata)
        assert np.array_equal(file.read(1), chain.compute(BOX).values, equal_nan=True)


@pytest.mark.parametrize("style", [NDVI, CLASSES])
def test_an_export_is_taken_by_a_catalogue_again(bands: Chain, tmp_path: Path, style: Style) -> None:
    """With its style beside it, its own date, and the values that it was made with."""
    red = one_date(bands).band("red").max("t")
    path = export(red, tmp_path / "a.tif", style=style)
    report = add([path], catalog=tmp_path / "again", collection="exports")
    assert report.added == ["a"] and not report.failed
    again = ml.collection("exports", catalog=str(tmp_path / "again"))
    assert again.items[0]["properties"]["datetime"].startswith("2018-06-11T10:50:00")
    found, expected = again.max("t").compute(BOX), red.compute(BOX)
    assert np.array_equal(np.squeeze(found.values), expected.values, equal_nan=True)
    assert np.isfinite(expected.values).any() and np.isnan(expected.values).any()


# ----------------------------------------------------------------------------------------------------------- styles


def test_colours_of_a_style_are_those_of_qgis(red: Chain) -> None:
    ramp = fromstring(qgis.style_text(NDVI, (1,))).find(".//colorrampshader")
    assert ramp is not None and ramp.get("colorRampType") == "INTERPOLATED" and ramp.get("clip") == "0"
    items = [(float(i.get("value", "")), i.get("color"), i.get("label")) for i in ramp]
    assert items[0] == (0.0, "#a50026", "0 dB") and items[-1] == (1.0, "#006837", "1 dB")
    assert [v for v, *_ in items] == sorted(v for v, *_ in items)
    hard = fromstring(qgis.style_text(Style(cmap="Set1", vmin=0, vmax=9), (1,))).find(".//colorrampshader")
    assert hard is not None and hard.get("colorRampType") == "DISCRETE" and len(hard) == 9
    assert [i.get("value") for i in hard][-1] == "inf"
    assert np.allclose([float(i.get("value", "")) for i in hard][:-1], range(1, 9), atol=1e-5)
    odd = Style(classes={1: ("a\x00b", "red")})
    assert fromstring(qgis.style_text(odd, (1,))).find(".//paletteEntry").get("label") == "ab"  # type: ignore[union-attr]


def test_a_style_goes_with_its_raster_and_one_of_the_user_stays(red: Chain, tmp_path: Path) -> None:
    path, beside = tmp_path / "a.tif", tmp_path / "a.qml"
    export(red, path, style=NDVI)
    assert left(tmp_path) == ["a.qml", "a.tif"] and "singlebandpseudocolor" in beside.read_text()
    export(red, path, style=CLASSES, overwrite=True)
    assert "paletted" in beside.read_text()
    export(red, path, overwrite=True)
    assert left(tmp_path) == ["a.tif"], "what an earlier export said does not hold any more"
    beside.write_text("<qgis/>")
    with pytest.warns(UserWarning, match="no style of an export"):
        export(red, path, style=NDVI, overwrite=True)
    export(red, path, overwrite=True)
    assert beside.read_text() == "<qgis/>"


def test_a_cancelled_export_leaves_no_style(red: Chain, tmp_path: Path) -> None:
    job = red.export(tmp_path / "a.tif", BOX, style=NDVI, progress=False)
    job.cancel()  # before its first piece
    with pytest.raises(Cancelled):
        job.wait(60)
    assert left(tmp_path) == []
    jobs.job(job.id).resume(progress=False).wait(60)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.descriptions == ("NDVI",)
    assert left(tmp_path) == ["a.qml", "a.tif"], "what is resumed has the style it was asked for with"


# ---------------------------------------------------------------------------------------- refused before it is begun


def test_a_window_without_scenes_is_no_file_of_nothing(red: Chain, tmp_path: Path) -> None:
    before = known()
    away = ml.Window.from_bounds((10.0, 50.0, 10.05, 50.05), crs="EPSG:32632", resolution=20)
    with pytest.raises(NotFound, match=r"longitudes 9\.99\d* to 10\.05.*latitudes 43\."):
        red.export(tmp_path / "a.tif", away)
    west, south, east, north = BOX.geographic_extent.boundingbox
    swapped = ml.Window.from_bounds((south, west, north, east), crs=3857, resolution=100)
    with pytest.raises(NotFound, match="latitude exchanged"):
        red.export(tmp_path / "a.tif", swapped)
    with pytest.warns(UserWarning, match="latitude exchanged.*all values are missing"):
        assert np.isnan(red.compute(swapped).values).all()
    assert left(tmp_path) == [] and known() == before


def test_a_place_with_scenes_of_other_dates_only_is_said_too(scenes: Scenes, bands: Chain, tmp_path: Path) -> None:
    """The outline is that of all scenes; that none of its dates is here is found when the export is planned."""
    made = Made(tmp_path / "more")
    values = np.ones((100, 100), np.uint16)
    far = made.asset(write_tif(made.folder / "far.tif", values, corner=(CORNER[0] + 90_000, CORNER[1])))
    scene = made.scene("far", "2018-07-10", {"red": far}, grid="A")
    chain = chain_of(Scenes("c", "n", scenes.bands, (*scenes.scenes, scene)))
    july = chain._with("filter_temporal", data=chain._node, extent=["2018-07-01", "2018-08-01"]).band("red").max("t")
    job = july.export(tmp_path / "a.tif", BOX, progress=False)
    with pytest.raises(NotFound, match="on any of its dates"):
        job.wait(60)
    assert job.state == "failed" and not (tmp_path / "a.tif").exists()


def test_windows_that_make_no_sense_are_refused_by_the_caller(red: Chain, tmp_path: Path) -> None:
    before = known()
    tiny = GeoBox((10**8, 10**8), Affine(2e-4, 0, CORNER[0], 0, -2e-4, CORNER[1]), "EPSG:32631")
    many = GeoBox((10**6, 10**6), Affine(0.02, 0, CORNER[0], 0, -0.02, CORNER[1]), "EPSG:32631")
    for wrong in (tiny, many, (1.3, 43.5, 1.5)):
        for ask in (red.plan, red.compute, lambda box: red.export(tmp_path / "a.tif", box)):
            with pytest.raises(WindowError):
                ask(wrong)
    with pytest.raises(WindowError, match="no degrees"):
        red.materialize((363_000, 4_818_000, 379_000, 4_840_000))
    assert known() == before and left(tmp_path) == []


def test_a_job_that_is_planned_can_be_cancelled(red: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def endless(prepared, box):
        while True:
            begun.set()
            cancel.check()

    monkeypatch.setattr(files, "plan", endless)
    job = red.export(tmp_path / "a.tif", BOX, progress=False)
    assert begun.wait(60)
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(60)


def test_nobody_waits_for_what_comes_first_when_it_is_cancelled() -> None:
    """The results of regions and fits, before the first block."""

    def flag() -> None:
        raise Cancelled("enough")

    with cancel.watching(flag), pytest.raises(Cancelled):
        wholes._patiently(Future(), 900)
