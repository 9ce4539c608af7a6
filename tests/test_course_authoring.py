"""What a trainer does with a course (`muses-lab course …`): begun, pinned, bundled, published, opened, collected."""

from __future__ import annotations

import json
import os
import sys
import warnings
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from click.testing import Result
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin
from typer.testing import CliRunner

import muses_lab as ml
from muses_lab import cli
from muses_lab.api.part import part
from muses_lab.authoring import nbgrader, scenes
from muses_lab.authoring.new import NOTEBOOK, new_course
from muses_lab.authoring.publish import bundle, publish
from muses_lab.authoring.results import ClassResults, write
from muses_lab.authoring.warm import warm
from muses_lab.catalog import Query
from muses_lab.cli.courses import course_app
from muses_lab.courses import archive, copies, folder
from muses_lab.courses.description import (
    ChainExercise,
    Choice,
    ChoiceExercise,
    CourseError,
    CourseNotebook,
    Description,
    MapExercise,
    NumberExercise,
)
from muses_lab.errors import MusesError
from muses_lab.export.materialized import kept
from muses_lab.sample import generate
from muses_lab.store.records import Answer, CourseRecord, NotebookCopy, Presence, new_id
from tests.helpers import REPOSITORY
from tests.helpers.range_server import serving

AREA = [1.38, 43.57, 1.40, 43.585]
DATES = ["2018-01-01", "2018-05-01"]


@pytest.fixture
def sample(fresh_home: Path, sample_catalog: Path, in_threads: None) -> Path:
    """The sample in a home of its own, as `muses-lab sample` puts it there."""
    fresh_home.mkdir()
    (fresh_home / "sample").symlink_to(sample_catalog)  # links to its files would be changes of them for other tests
    return sample_catalog


@pytest.fixture
def made(sample: Path, tmp_path: Path) -> Path:
    """A new course whose area is a small part of the sample."""
    course = new_course("floods", tmp_path / "floods", "Mapping floods")
    change(course, area=AREA, dates=DATES, bands=["B04", "B08", "SCL"])
    return course


def change(made: Path, /, **entries: object) -> None:
    text = yaml.safe_load((made / "course.yml").read_text())
    (made / "course.yml").write_text(yaml.safe_dump({**text, **entries}))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["course", *map(str, arguments)])


def values(collection: ml.Collection, resolution: float = 20) -> np.ndarray:
    window = ml.Window.from_bounds(AREA, crs="EPSG:32631", resolution=resolution)
    return collection.mask_clouds().ndvi().median("t").compute(window).values


# ------------------------------------------------------------------------------------------------------- beginning


def test_a_new_course_is_described_and_its_folder_is_not_written_over(tmp_path):
    course = new_course("floods", tmp_path / "floods")
    description = Description.read(course)
    assert (description.course, description.title) == ("floods", "Floods")
    assert [notebook.file for notebook in description.notebooks] == [NOTEBOOK]
    nbformat.validate(nbformat.read(course / NOTEBOOK, 4))
    with pytest.raises(CourseError, match="is there already: name an empty folder"):
        new_course("floods", course)
    with pytest.raises(CourseError, match="'Floods' is no name of a course"):
        new_course("Floods", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_page_of_courses_has_every_entry_and_every_command():
    page = (REPOSITORY / "docs" / "courses.md").read_text()
    kinds = (NumberExercise, ChainExercise, MapExercise, ChoiceExercise)
    for model in (Description, CourseNotebook, Choice, *kinds):
        for name in model.model_fields:
            assert f"`{name}`" in page or f"`{name}: true`" in page, f"{model.__name__}.{name}"
    for command in course_app.registered_commands:
        assert f"| `{command.name} " in page or f"| `{command.name}`" in page, command.name


# ---------------------------------------------------------------------------------------------------------- scenes


def test_a_bundle_holds_the_pixels_of_the_original_at_every_level(made, sample, tmp_path):
    """Those of the area: files are cut on their own lattice, with their overviews."""
    packed = bundle(made, tmp_path / "floods.zip")
    assert packed.parts > 0 and packed.whole == 0 and packed.scenes > 0
    whole = bundle(made, tmp_path / "whole.zip", whole=True)
    assert whole.whole == packed.parts and packed.bytes < 0.6 * whole.bytes
    original = ml.collection("sentinel-2-l2a", ml.open_catalog(sample))
    one = archive.unpack(packed.archive, tmp_path / "courses")
    cut = ml.collection("sentinel-2-l2a", ml.open_catalog(one.scenes))
    for resolution in (10, 40, 160):
        here = values(original.bbox(*AREA).dates(*DATES), resolution)
        np.testing.assert_array_equal(values(cut, resolution), here)
    assert len(cut) == packed.scenes


def test_a_file_without_what_is_far_has_the_originals_grid_overviews_and_pixels(made, sample, tmp_path):
    packed = bundle(made, tmp_path / "floods.zip")
    with zipfile.ZipFile(packed.archive) as zipped:
        document = json.loads(zipped.read("scenes.json"))
        zipped.extractall(tmp_path / "out")
    catalog = {item["id"]: item for item in ml.open_catalog(sample).search(Query("sentinel-2-l2a"))}
    checked = 0
    for item in document["features"][:2]:
        for key, asset in item["assets"].items():
            file = tmp_path / "out" / asset["href"]
            original = sample / catalog[item["id"]]["assets"][key]["href"]
            assert asset["file:size"] == file.stat().st_size < 0.6 * original.stat().st_size
            assert asset["proj:transform"] == catalog[item["id"]]["assets"][key]["proj:transform"]
            with rasterio.open(file) as part, rasterio.open(original) as source:
                factors = source.overviews(1)
                assert part.overviews(1) == factors
                for name in ("shape", "transform", "crs", "nodata", "dtypes"):
                    assert getattr(part, name) == getattr(source, name)
                kept = np.argwhere(part.read(1) != part.nodata)
                (r0, c0), (r1, c1) = kept.min(axis=0), kept.max(axis=0) + 1
                assert (r1 - r0) * (c1 - c0) <= 0.5 * part.height * part.width
            for level, factor in enumerate([1, *factors]):
                options = {"overview_level": level - 1} if level else {}
                with rasterio.open(file, **options) as part, rasterio.open(original, **options) as source:
                    inside = slice(-(-r0 // factor), r1 // factor), slice(-(-c0 // factor), c1 // factor)
                    np.testing.assert_array_equal(part.read(1)[inside], source.read(1)[inside])
            checked += 1
    assert checked == 6


BESIDE = """<PAMDataset>{place}<PAMRasterBand band="1"><NoDataValue>-1</NoDataValue><Scale>0.1</Scale>
<Offset>2</Offset></PAMRasterBand></PAMDataset>"""
PLACE = "<SRS>EPSG:32631</SRS><GeoTransform>380000, 20, 0, 4840000, 0, -20</GeoTransform>"
ODD = CRS.from_proj4("+proj=tmerc +lat_0=0 +lon_0=3.001 +k=0.9996 +x_0=500000 +y_0=0 +ellps=GRS80 +units=m")


def raster(file: Path, bands: int = 1, crs: object = "EPSG:32631", size: int = 64, **profile: object) -> None:
    placed = {"crs": crs, "transform": from_origin(380000, 4840000, 20, 20)} if crs else {}
    kept = {"driver": "GTiff", "width": size, "height": size, "count": bands, "dtype": "int16", "tiled": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(file, "w", **kept, blockxsize=64, blockysize=64, **placed, **profile) as written:
            for band in range(1, bands + 1):
                pixels = np.arange(size * size, dtype="int16").reshape(size, size) % 1000 + 1000 * band
                pixels[:8] = -1
                written.write(pixels, band)


def of_files(made: Path, *files: str, asset: dict | None = None, **entries: object) -> None:
    """Makes the course one of files beside `course.yml`, one item each."""
    ring = [[[1.4, 43.5], [1.9, 43.5], [1.9, 43.9], [1.4, 43.9], [1.4, 43.5]]]
    items = [
        {
            "type": "Feature", "stac_version": "1.0.0", "id": f"s{n}", "collection": "c",
            "bbox": [1.4, 43.5, 1.9, 43.9], "geometry": {"type": "Polygon", "coordinates": ring},
            "properties": {"datetime": f"2020-01-0{n}T00:00:00Z"}, "links": [],
            "assets": {"data": {"href": file, "type": "image/tiff; application=geotiff", **(asset or {})}},
        }
        for n, file in enumerate(files, 1)
    ]  # fmt: skip
    (made / "cat.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    change(made, catalog="cat.json", collections=["c"], **{"bands": [], "dates": None, "area": None, **entries})


def meant(catalog: ml.Catalog, *names: str) -> list[np.ndarray]:
    """Bands of all scenes of a course's collection, as physical values."""
    whole = ml.collection("c", catalog)
    window = part(whole, (1.5, 43.69, 1.53, 43.71)).window
    return [whole.bands(name).compute(window).values for name in names]


@pytest.mark.parametrize(
    "case", ["meaning", "place", "bands", "some bands", "system", "some without nodata", "part", "part elsewhere"]
)
def test_a_bundle_means_what_the_originals_and_the_files_beside_them_say(case, made, tmp_path):
    """No file beside a raster comes along: the items say what it had said."""
    entries: dict = {}
    names = ["a.tif"]
    if case == "meaning":
        raster(made / "a.tif")
    elif case == "place":
        raster(made / "a.tif", crs=None)
    elif case in ("bands", "some bands"):
        raster(made / "a.tif", bands=3)
        entries = {"bands": ["data_2"]} if case == "some bands" else {}
    elif case == "system":
        raster(made / "a.tif", crs=ODD)
    elif case == "some without nodata":
        raster(made / "a.tif")
        raster(made / "b.tif")
        names.append("b.tif")
    else:
        raster(made / "a.tif", size=1024, nodata=-1, crs="EPSG:32631" if case == "part" else "EPSG:32630")
        entries = {"area": [1.515, 43.7, 1.52, 43.705]}
    place = {"place": PLACE, "part elsewhere": "<SRS>EPSG:32631</SRS>"}.get(case, "")
    (made / "a.tif.aux.xml").write_text(BESIDE.format(place=place))
    of_files(made, *names, **entries)
    bands = {"bands": ["data_1", "data_2", "data_3"], "some bands": ["data_2"]}.get(case, ["data"])
    before = meant(ml.open_catalog(made / "cat.json"), *bands)
    assert np.isfinite(before[0]).any()
    packed = bundle(made, tmp_path / "floods.zip")
    assert (packed.parts, packed.whole) == ((1, 0) if case.startswith("part") else (0, len(names)))
    one = archive.unpack(packed.archive, tmp_path / "courses")
    after = meant(ml.open_catalog(one.scenes), *bands)
    for there, here in zip(after, before, strict=True):
        inside = np.isfinite(there) if case.startswith("part") else np.ones(there.shape, bool)
        assert inside.any()
        np.testing.assert_array_equal(there[inside], here[inside])


def test_a_file_with_a_mask_beside_it_comes_whole_with_its_mask(made, tmp_path):
    raster(made / "a.tif", size=1024, nodata=-1)
    with rasterio.open(
        made / "a.tif.msk", "w", driver="GTiff", width=1024, height=1024, count=1, dtype="uint8"
    ) as mask:
        mask.write(np.full((1024, 1024), 255, "uint8"), 1)
    of_files(made, "a.tif", asset={"raster:bands": [{"nodata": -1}]}, area=[1.515, 43.7, 1.52, 43.705])
    packed = bundle(made, tmp_path / "floods.zip")
    assert (packed.parts, packed.whole) == (0, 1)
    with zipfile.ZipFile(packed.archive) as zipped:
        assert "data/scenes/c/s1/a.tif.msk" in zipped.namelist()


def test_a_scene_that_would_be_another_in_the_course_is_refused(made, tmp_path, monkeypatch):
    raster(made / "a.tif")
    (made / "a.tif.aux.xml").write_text(BESIDE.format(place=""))
    of_files(made, "a.tif")
    monkeypatch.setattr(scenes, "_with_meaning", lambda key, asset, of_file, found: dict(asset))
    with pytest.raises(CourseError, match=r"s1: its band data would be another in the course: .*'nodata': -1.0"):
        bundle(made, tmp_path / "floods.zip")
    assert not (tmp_path / "floods.zip").exists()


def test_a_course_can_pin_some_bands(made, tmp_path):
    change(made, bands=["red", "B08", "SCL"])
    packed = bundle(made, tmp_path / "floods.zip")
    assert packed.parts == 3 * packed.scenes
    one = archive.unpack(packed.archive, tmp_path / "courses")
    original = values(ml.course(made).collection())
    np.testing.assert_array_equal(values(ml.collection("sentinel-2-l2a", ml.open_catalog(one.scenes))), original)
    change(made, bands=["red", "B99"])
    with pytest.raises(CourseError, match="bands: no collection of the course has B99"):
        bundle(made, tmp_path / "floods.zip")


def test_the_same_course_is_the_same_archive(made, tmp_path):
    versions = {bundle(made, tmp_path / f"{n}.zip").version for n in (1, 2)}
    assert len(versions) == 1 and (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_on_a_laptop_scenes_are_read_where_they_are(made, tmp_path):
    packed, published = publish(made)
    assert packed.whole == packed.parts == 0 and published.bytes < 300_000
    copy, _ = copies.open_copy(published, tmp_path / "mine")
    course = ml.course(copy.folder)
    expected = values(ml.collection("sentinel-2-l2a").bbox(*AREA).dates(*DATES))
    np.testing.assert_array_equal(values(course.collection()), expected)


def test_a_copy_of_an_earlier_version_reads_the_same_scenes(made, tmp_path):
    """Publishing anew moves no catalogue away from whoever still works on the version before."""
    _, first = publish(made)
    mine, _ = copies.open_copy(first, tmp_path / "mine")
    change(made, title="Mapping floods, again")
    _, second = publish(made)
    theirs, _ = copies.open_copy(second, tmp_path / "theirs")
    assert first.scenes == second.scenes and first.folder != second.folder
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        both = [values(ml.course(place).collection()) for place in (mine.folder, theirs.folder, mine.folder)]
    np.testing.assert_array_equal(both[0], both[1])
    np.testing.assert_array_equal(both[0], both[2])


@pytest.mark.parametrize("whole", [False, True])
def test_scenes_of_a_server_come_along_too(whole, made, sample, tmp_path, monkeypatch):
    original = values(ml.course(made).collection())
    with serving(sample) as server:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")
        items = ml.open_catalog(sample).search(Query("sentinel-2-l2a", bbox=tuple(AREA), start=DATES[0], end=DATES[1]))
        for item in items:
            item["assets"] = {
                key: {**asset, "href": f"{server.url}/{asset['href']}"}
                for key, asset in item["assets"].items() if key in ("B04", "B08", "SCL")
            }  # fmt: skip
        (made / "data").mkdir()
        (made / "data" / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        change(made, catalog="data/items.json")
        packed = bundle(made, tmp_path / "floods.zip", whole=whole)
        assert (packed.whole, packed.parts) == ((3 * len(items), 0) if whole else (0, 3 * len(items)))
    one = archive.unpack(packed.archive, tmp_path / "courses")
    assert "127.0.0.1" not in one.scenes.read_text()
    np.testing.assert_array_equal(values(ml.collection("sentinel-2-l2a", ml.open_catalog(one.scenes))), original)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (
            {"catalog": "nowhere"},
            "`catalog: nowhere` is neither 'sample', nor a file or folder of the course, nor a reg",
        ),
        ({"catalog": ""}, "names collections but no catalogue"),
        ({"collections": ["landsat"]}, "has no collection 'landsat'; it has: sentinel-2-l2a"),
        ({"area": [10, 50, 11, 51]}, "no scene of 'sentinel-2-l2a' fits area"),
        ({"dates": ["1999-01-01", "1999-02-01"]}, "no scene of 'sentinel-2-l2a' fits"),
        ({"chains": {"ndvi": "chains/ndvi.json"}}, "names files that are not in .*: chains/ndvi.json"),
    ],
)
def test_what_cannot_be_published_says_why_and_leaves_nothing(entries, told, made, tmp_path):
    change(made, **entries)
    with pytest.raises(MusesError, match=told):
        publish(made)
    with pytest.raises(MusesError, match=told):
        bundle(made, tmp_path / "floods.zip")
    assert not (tmp_path / "floods.zip").exists() and folder.published() == []


def test_a_scene_whose_file_is_gone_cannot_be_brought_along(made, sample, tmp_path):
    (made.parent / "muses-lab-home" / "sample").unlink()
    own = generate(made.parent / "muses-lab-home" / "sample", size=96, dates=2)
    change(made, area=list(ml.open_catalog(own).search(Query("sentinel-2-l2a"))[0]["bbox"]), dates=None)
    for file in own.rglob("B04.tif"):
        file.unlink()
    with pytest.raises(CourseError, match=r"S2.*: .*B04.tif: .*; the course cannot bring this scene along"):
        bundle(made, tmp_path / "floods.zip")
    assert not (tmp_path / "floods.zip").exists()


# -------------------------------------------------------------------------------------------------------- commands


def test_a_course_is_published_opened_reset_and_removed_by_commands(made, tmp_path, fresh_home):
    assert "none is published yet" in run("list").stdout
    done = run("publish", made)
    assert done.exit_code == 0 and "where their files are" in done.stdout, done.output
    assert "Mapping floods" in run("list").stdout
    done = run("open", "floods")
    mine = fresh_home / "notebooks" / "courses" / "floods"
    assert f"cd {mine} && jupyter lab {NOTEBOOK}" in done.stdout
    (mine / NOTEBOOK).write_text("{}")
    assert "yours, as last saved, is in" in run("reset", "floods", NOTEBOOK).stdout
    assert (mine / f"{Path(NOTEBOOK).stem}-mine.ipynb").read_text() == "{}"
    assert "it was so already" in run("reset", mine, NOTEBOOK).stdout
    assert "answers are kept" in run("remove", "floods").stdout
    assert "none is published yet" in run("list").stdout and (mine / NOTEBOOK).is_file()
    done = run("open", "floods")
    assert done.exit_code == 1 and done.stderr.startswith("Error: no course 'floods' is published")
    assert "neither a course's folder" in run("open", tmp_path).stderr


def test_courses_of_the_release_are_listed_and_opened_by_their_name(fresh_home, course_samples):
    course_samples(fresh_home)
    assert "of this release: first-steps, " in run("list").stdout
    done = run("open", "first-steps")
    assert done.exit_code == 0, done.output
    assert (fresh_home / "notebooks" / "courses" / "first-steps" / "01-first-map.ipynb").is_file()
    assert "First steps" in run("list").stdout
    assert run("open", "first-steps").exit_code == 0  # the published one by now


def test_jupyterlab_starts_in_the_copy_on_its_first_notebook(made, fresh_home, monkeypatch):
    monkeypatch.chdir(made.parent)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    started = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append((program, arguments, os.getcwd())))
    assert run("open", made, "--lab").exit_code == 0
    ((program, arguments, place),) = started
    assert (program, place) == (sys.executable, str(fresh_home / "notebooks" / "courses" / "floods"))
    assert arguments[1:4] == ["-m", "jupyter", "lab"] and f"--LabApp.default_url=/lab/tree/{NOTEBOOK}" in arguments


def test_a_bundle_opens_on_a_laptop_that_has_nothing(made, tmp_path, monkeypatch):
    zipped = tmp_path / "floods.zip"
    done = run("bundle", made, "-o", zipped)
    assert done.exit_code == 0 and "without what is far" in done.stdout, done.output
    original = values(ml.course(made).collection())
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "laptop"))
    assert run("open", zipped).exit_code == 0
    (made.parent / "muses-lab-home" / "sample").unlink()
    course = ml.course(tmp_path / "laptop" / "notebooks" / "courses" / "floods")
    np.testing.assert_array_equal(values(course.collection()), original)


# ----------------------------------------------------------------------------------------------------- before class


def test_chains_are_computed_beforehand_for_the_area_and_its_zooms(made, tmp_path):
    chain = ml.course(made).collection().mask_clouds().ndvi().median("t")
    (made / "chains").mkdir()
    (made / "chains" / "ndvi.json").write_text(json.dumps(chain.to_json()))
    change(made, chains={"ndvi": "chains/ndvi.json"}, zoom=[11, 12])
    _, published = publish(made)
    (one,) = warm(published, progress=False)
    assert one.name == "ndvi" and one.blocks > 0 and one.bytes > 0 and not one.failed
    assert len(one.levels) == 2
    (again,) = warm(published, progress=False)
    assert again == one
    copy, _ = copies.open_copy(published, tmp_path / "mine")
    theirs = ml.course(copy.folder).collection().mask_clouds().ndvi().median("t")
    assert theirs.published.prepared.output.node.hash in {one.node for one in kept()}
    done = run("warm", "floods")
    assert done.exit_code == 0 and "ndvi: " in done.stdout, done.output


class HubStore:
    """What trainers' commands use of a hub's store."""

    def __init__(self, courses: Path) -> None:
        self.courses_folder = courses
        self.url = "https://hub.example.org/services/muses"
        self.given: list[Answer] = []

    def publish_course(self, id: str, file: Path) -> CourseRecord:
        made = archive.unpack(file, self.courses_folder, course=id, by="tom")
        self.record = CourseRecord(id, made.version, made.describe().to_json(), file.stat().st_size)
        return self.record

    def courses(self) -> list[CourseRecord]:
        return [self.record]

    def course(self, id: str) -> CourseRecord:
        return self.record

    def answers(self, course: str, everybody: bool = False) -> list[Answer]:
        return self.given if everybody else []

    def presences(self, course: str) -> list[Presence]:
        return [Presence("floods", user="eve")]

    def notebooks(self, course: str) -> list[NotebookCopy]:
        return [NotebookCopy("floods", NOTEBOOK, 2, "0" * 64, user="../ada")]

    def notebook(self, course: str, user: str, file: str) -> str:
        return f"of {user}"


def test_on_a_hub_scenes_go_along_and_results_are_those_of_all(made, tmp_path, monkeypatch):
    hub = HubStore(tmp_path / "hub")
    for module in ("muses_lab.authoring.publish", "muses_lab.authoring.results", "muses_lab.store"):
        monkeypatch.setattr(f"{module}.default_store", lambda: hub)
    monkeypatch.setenv("MUSES_COURSES", str(hub.courses_folder))
    done = run("publish", made)
    assert done.exit_code == 0 and "/services/muses/courses/floods" in done.stdout, done.output
    steps = ("looking for the course's scenes", "packing ", " MB to the hub, which checks and unpacks them")
    places = [done.stderr.index(step) for step in steps]
    assert places == sorted(places), done.stderr
    one = folder.find("floods")
    assert one.folder.is_relative_to(hub.courses_folder)
    assert list((one.scenes.parent / "data" / "scenes").rglob("B04.tif"))
    hub.given = [answer("bob", "why-median", "right", 1), answer("ada", "why-median", "wrong", 0)]
    told = run("results", "floods").stdout
    assert "ada  0 of 2" in told and "bob  1 of 2 exercises right  1 of 3 points" in told and "eve  0 of 2" in told
    assert run("collect", "floods", tmp_path / "class").exit_code == 0
    (book,) = (tmp_path / "class").rglob("*.ipynb")
    assert book.read_text() == "of ../ada" and book.parent.parent == tmp_path / "class"


def test_a_course_without_chains_or_area_has_nothing_to_compute(made):
    with pytest.raises(CourseError, match="names no chains"):
        list(warm(publish(made)[1]))


# --------------------------------------------------------------------------------------------------------- results


def answer(user: str, exercise: str, state: str, points: float, message: str = "") -> Answer:
    return Answer(new_id(), "floods", NOTEBOOK, exercise, state, points, message=message, user=user)


def test_the_table_of_results_has_a_row_for_each_participant_and_exercise(made, tmp_path):
    results = ClassResults(
        Description.read(made),
        (
            answer("ada", "green-map", "wrong", 0, "=HYPERLINK(1)"), answer("ada", "green-map", "right", 2),
            answer("ada", "green-map", "wrong", 0, "=HYPERLINK(1)"), answer("bob", "why-median", "error", 0),
        ),
        ("ada", "bob", "eve"),
    )  # fmt: skip
    table = results.table().set_index(["participant", "exercise"])
    assert list(table.loc[("ada", "green-map")][["state", "tries", "points", "of"]]) == ["right", 3, 2.0, 2.0]
    assert list(table.loc[("bob", "why-median")][["state", "tries", "points"]]) == ["error", 1, 0.0]
    assert list(table.loc[("eve", "why-median")][["state", "tries", "points"]]) == ["", 0, 0.0]
    assert len(table) == 6
    write(results, tmp_path / "results.csv")
    read = pd.read_csv(tmp_path / "results.csv")
    assert len(read) == 6 and "'=HYPERLINK(1)" in set(read["message"])  # no formula for a spreadsheet
    write(results, tmp_path / "results.parquet")
    assert "=HYPERLINK(1)" in set(pd.read_parquet(tmp_path / "results.parquet")["message"])
    with pytest.raises(CourseError, match=r"results are written as .csv or .parquet"):
        write(results, tmp_path / "results.xlsx")


def test_on_a_laptop_results_are_ones_own(made, tmp_path):
    run("publish", made)
    run("open", "floods")
    course = ml.course(copies.home_of("floods"))
    assert course.exercise("why-median").check(2).right
    done = run("results", "floods")
    assert "1 of 2 exercises right  1 of 3 points" in done.stdout, done.output
    done = run("collect", "floods", tmp_path / "class")
    assert done.exit_code == 0, done.output
    (book,) = (tmp_path / "class").glob(f"*/{NOTEBOOK}")
    assert json.loads(book.read_text())["cells"]
    assert list(pd.read_csv(tmp_path / "class" / "results.csv")["state"].fillna("")) == ["", "right"]
    run("remove", "floods", "--answers")
    run("publish", made)
    assert "0 of 2 exercises right" in run("results", "floods").stdout


# -------------------------------------------------------------------------------------------------------- nbgrader


def test_an_assignment_has_cells_as_nbgraders_schema_of_metadata_says(made, tmp_path):
    done = run("nbgrader", made, "-o", tmp_path / "grading")
    place = tmp_path / "grading" / "source" / "floods"
    assert done.exit_code == 0 and str(place / NOTEBOOK) in done.stdout, done.output
    assert (place / "course.yml").is_file() and not (place / "tests.yml").exists()
    book = nbformat.read(place / NOTEBOOK, 4)
    nbformat.validate(book)
    about = [(cell, cell.metadata["nbgrader"]) for cell in book.cells if "nbgrader" in cell.metadata]
    known = {"schema_version", "grade", "locked", "solution", "task", "grade_id", "points"}
    for cell, one in about:
        assert {"schema_version", "grade", "locked", "solution"} <= set(one) <= known and one["schema_version"] == 3
        assert all(isinstance(one[name], bool) for name in ("grade", "locked", "solution", "task"))
        assert ("points" in one) == one["grade"] and cell.cell_type == "code"
        assert ("### BEGIN SOLUTION" in cell.source) == one["solution"]
    ids = [one["grade_id"] for _, one in about]
    assert ids == ["green-map-answer", "green-map", "why-median-answer", "why-median"]
    assert [one["points"] for _, one in about if one["grade"]] == [2, 1]
    assert about[0][0].source.endswith("### END SOLUTION\ngreen.check(answer)")
    assert "<details>" not in "".join(cell.source for cell in book.cells)


def test_a_graders_cell_fails_until_the_answer_of_this_run_is_right(made, tmp_path):
    change(made, course="graded")
    why = ml.course(made).exercise("why-median")
    with pytest.raises(AssertionError, match="why-median: no answer was checked"):
        why.require()
    why.check(1)
    with pytest.raises(AssertionError, match="moves with every value"):
        why.require()
    why.check(2)
    assert why.require().right


def test_an_exercise_that_no_cell_checks_cannot_be_graded(made, tmp_path):
    book = nbformat.read(made / NOTEBOOK, 4)
    book.cells = [cell for cell in book.cells if ".check(" not in cell.source]
    nbformat.write(book, made / NOTEBOOK)
    with pytest.raises(CourseError, match="has no code cell that checks 'green-map'"):
        nbgrader.write_assignment(made, tmp_path / "grading")
    assert not (tmp_path / "grading").exists()
