"""Courses as files: archives that are packed and unpacked safely, published versions, participants' copies."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import struct
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
import yaml

from muses_lab.courses import archive, copies, folder, places
from muses_lab.courses.archive import ArchiveError, contents, pack, unpack
from muses_lab.courses.copies import find_copy, open_copy, reset
from muses_lab.courses.description import CourseError, Description
from muses_lab.plain import shown

COURSE = {"course": "first-steps", "title": "First steps", "notebooks": [{"file": "01-map.ipynb", "title": "A map"}]}


def book(text: str) -> str:
    return nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text, id="a")]))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder of a course."""
    course = tmp_path / "made"
    (course / "chains").mkdir(parents=True)
    (course / "data" / "scenes").mkdir(parents=True)
    (course / "course.yml").write_text(yaml.safe_dump({**COURSE, "chains": {"ndvi": "chains/ndvi.json"}}))
    (course / "01-map.ipynb").write_text(book("1"))
    (course / "fields.geojson").write_text("{}")
    (course / "chains" / "ndvi.json").write_text("{}")
    (course / "scenes.json").write_text('{"type": "FeatureCollection", "features": []}')
    (course / "data" / "scenes" / "B04.tif").write_bytes(os.urandom(1 << 16))
    (course / "data" / "places.csv").write_text("lon,lat")
    (course / ".hidden").write_text("mine alone")
    return course


@pytest.fixture
def courses(tmp_path: Path) -> Path:
    return tmp_path / "courses"


def publish(course: Path, courses: Path) -> folder.Published:
    zipped = course.parent / "course.zip"
    pack(contents(course), zipped)
    return unpack(zipped, courses)


# ------------------------------------------------------------------------------------------------------- publishing


def test_what_is_published_is_whole_read_only_and_the_current_version(made, courses):
    one = publish(made, courses)
    assert one.folder == courses / "first-steps" / one.version and len(one.version) == 12
    assert sorted(contents(one.folder)) == [
        "01-map.ipynb", "chains/ndvi.json", "course.yml", "data/places.csv", "fields.geojson",
    ]  # fmt: skip
    assert sorted(contents(one.scenes.parent)) == ["data/scenes/B04.tif", "scenes.json"]
    assert one.scenes.parent.parent == one.folder.parent
    modes = {stat.S_IMODE(p.stat().st_mode) for p in one.folder.rglob("*") if p.is_file()}
    assert modes == {0o444}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (one.folder, one.folder / "data")} == {0o555}
    assert folder.find("first-steps", courses) == one
    assert [p.course for p in folder.published(courses)] == ["first-steps"]


def test_the_same_course_again_is_no_new_version_and_another_is(made, courses):
    one = publish(made, courses)
    os.utime(made / "01-map.ipynb", (0, 0))
    assert publish(made, courses).version == one.version
    (made / "01-map.ipynb").write_text(book("2"))
    other = publish(made, courses)
    assert other.version != one.version and one.folder.is_dir()
    assert folder.find("first-steps", courses).version == other.version
    assert one.scenes == other.scenes  # stored once, and not touched by a correction
    band = one.scenes.parent / "data" / "scenes" / "B04.tif"
    assert band.stat().st_mtime == archive.DATA_TIME  # a pinned list of scenes holds it: the same on all machines
    (made / "data" / "scenes" / "B04.tif").write_bytes(b"another")
    with pytest.raises(ArchiveError, match=r"scenes.json is that of an earlier version, but data/scenes/B04.tif is"):
        publish(made, courses)
    assert folder.find("first-steps", courses) == other
    (made / "scenes.json").write_text('{"type": "FeatureCollection", "features": [ ]}')
    assert publish(made, courses).scenes.parent != one.scenes.parent


def test_a_course_is_removed_with_all_its_versions(made, courses):
    publish(made, courses)
    (made / "01-map.ipynb").write_text(book("2"))
    size = publish(made, courses).bytes
    assert size < folder.remove("first-steps", courses) < 1.5 * size  # scenes are there once
    assert os.listdir(courses) == [] and folder.published(courses) == []
    with pytest.raises(CourseError, match="no course 'first-steps' is published in .*; there are: none"):
        folder.find("first-steps", courses)


@pytest.mark.parametrize("name", ["..", "a", "a/b", "../x", "Big", "answers", "-a", "", "ü" * 3, 7])
def test_names_that_no_course_can_have(name, courses):
    with pytest.raises(CourseError, match="no name of a course"):
        folder.find(name, courses)


# --------------------------------------------------------------------------------------------------------- archives


def zipped(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes], course: object = COURSE) -> Path:
    """An archive as somebody else may write it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        if course is not None:
            made.writestr("course.yml", course if isinstance(course, bytes) else yaml.safe_dump(course))
            made.writestr("01-map.ipynb", book("1"))
        for name, content in members:
            made.writestr(name, content)
    return path


def info(name: str, mode: int) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr = 3, mode << 16
    return made


BAD = {
    "leads out": ([("../evil", b"")], "no name for a file"),
    "leads out below": ([("data/../../evil", b"")], "no name for a file"),
    "absolute": ([("/etc/evil", b"")], "no name for a file"),
    "of another system": ([("data\\evil", b"")], "no name for a file"),
    "of a drive": ([("C:evil", b"")], "no name for a file"),
    "hidden": ([("data/.evil", b"")], "no name for a file"),
    "with a line": ([("a\nb", b"")], "no name for a file"),
    "very long": ([("a" * 300, b"")], "too long a name"),
    "a link": ([(info("evil", stat.S_IFLNK | 0o777), b"/etc/passwd")], "a link or no file"),
    "a device": ([(info("evil", stat.S_IFCHR | 0o666), b"")], "a link or no file"),
    "twice": ([("a.txt", b"1"), ("A.TXT", b"2")], "twice, or in two spellings"),
    "a file and a folder": ([("a", b"1"), ("a/b", b"2")], "a file and a folder at once"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_holds_what_it_may_not_is_refused_and_nothing_is_written(case, tmp_path, courses):
    members, told = BAD[case]
    with pytest.raises(ArchiveError, match=told):
        unpack(zipped(tmp_path / "bad.zip", *members), courses)
    assert not courses.exists() and not (tmp_path / "evil").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, courses, monkeypatch):
    monkeypatch.setenv("MUSES_MAX_COURSE", "2000000")
    with pytest.raises(ArchiveError, match=r"unpacked, the archive has more than 2.0 MB \(MUSES_MAX_COURSE\)"):
        unpack(zipped(tmp_path / "bomb.zip", ("data/a", bytes(1_500_000)), ("data/b", bytes(1_500_000))), courses)
    monkeypatch.setenv("MUSES_MAX_COURSE", "100")
    with pytest.raises(ArchiveError, match=r"the archive has 0.0 MB; 0.0 MB are allowed"):
        unpack(tmp_path / "bomb.zip", courses)
    assert not courses.exists()


def many(path: Path, count: int) -> Path:
    """An archive of which only the list of contents is long: all entries are one empty file."""
    zip64 = struct.Struct("<4sQHHIIQQQQ"), struct.Struct("<4sIQI"), struct.Struct("<4sHHHHIIH")
    with path.open("wb") as out:
        out.write(b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a")
        begin = out.tell()
        for n in range(count):
            name = b"%x" % n
            sizes = (20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0)
            out.write(b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", *sizes) + name)
        end = out.tell()
        out.write(zip64[0].pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, end - begin, begin))
        out.write(zip64[1].pack(b"PK\6\7", 0, end, 1))
        out.write(zip64[2].pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    return path


@pytest.mark.parametrize(
    ("count", "told"), [(20_001, "has 20001 entries; a course has at most"), (100_000, "too long")]
)
def test_a_long_list_of_contents_is_refused_before_it_is_in_memory(count, told, tmp_path, courses):
    archive_ = many(tmp_path / "many.zip", count)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match=told):
            unpack(archive_, courses)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def lying(path: Path, name: str, size: int) -> Path:
    """An archive whose list of contents says another size of a file."""
    data = bytearray(path.read_bytes())
    at = data.rindex(name.encode()) - 46  # in the list at the end
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    return path


def test_a_file_that_is_longer_or_shorter_than_it_says_is_refused_and_what_was_there_stays(made, courses, tmp_path):
    before = publish(made, courses)
    for size in (10, 5_000_000):
        wrong = lying(zipped(tmp_path / "lie.zip", ("data/lie.bin", bytes(100_000))), "data/lie.bin", size)
        with pytest.raises(ArchiveError, match="lie.bin|damaged"):
            unpack(wrong, courses)
    assert folder.find("first-steps", courses) == before
    assert sorted(p.name for p in (courses / "first-steps").iterdir()) == sorted(
        [before.version, before.scenes.parent.name, "current.json"]
    )


def test_a_damaged_archive_leaves_what_was_there(made, courses, tmp_path):
    before = publish(made, courses)
    good = zipped(tmp_path / "cut.zip", ("data/scene.bin", os.urandom(50_000)))
    content = bytearray(good.read_bytes())
    at = content.index(b"data/scene.bin") + 1000
    content[at : at + 40] = bytes(40)
    good.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(good, courses)
    assert folder.find("first-steps", courses) == before
    assert sorted(p.name for p in (courses / "first-steps").iterdir()) == sorted(
        [before.version, before.scenes.parent.name, "current.json"]
    )


@pytest.mark.parametrize(
    ("course", "told"),
    [
        (None, "no course: it has no course.yml"),
        (b"\xff", "not UTF-8"),
        (b"a: [", "not YAML"),
        (b"- a", "has to be a mapping"),
        ({"course": "answers", "title": "x", "notebooks": COURSE["notebooks"]}, "no name of a course"),
        (
            {**COURSE, "chains": {"ndvi": "chains/ndvi.json"}},
            "names files that are not in the archive: chains/ndvi.json",
        ),
    ],
)
def test_an_archive_without_a_right_description_is_refused(course, told, tmp_path, courses):
    with pytest.raises(CourseError, match=told):
        unpack(zipped(tmp_path / "bad.zip", course=course), courses)
    assert not courses.exists() or not any(p for p in courses.iterdir() if p.is_dir())


def test_what_is_no_zip_or_another_course_is_refused(made, courses, tmp_path):
    (tmp_path / "no.zip").write_bytes(b"not a zip")
    with pytest.raises(ArchiveError, match="no.zip is no zip"):
        unpack(tmp_path / "no.zip", courses)
    pack(contents(made), tmp_path / "course.zip")
    assert archive.describe(tmp_path / "course.zip").course == "first-steps"
    with pytest.raises(ArchiveError, match="the archive is the course 'first-steps', not 'second'"):
        unpack(tmp_path / "course.zip", courses, course="second")
    assert not courses.exists()


def test_an_archive_with_every_kind_of_random_damage_never_does_harm(made, courses, tmp_path):
    """Whatever bytes come, the course is there as before, or as a whole new version."""
    before = publish(made, courses)
    whole = (made.parent / "course.zip").read_bytes()
    chance = random.Random(17)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            content[chance.choice([chance.randrange(len(content)), -chance.randint(1, 600)])] = chance.randrange(256)
        (tmp_path / "damaged.zip").write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
        with suppress(CourseError):
            unpack(tmp_path / "damaged.zip", courses)
        now = folder.find("first-steps", courses)
        assert now.describe() == before.describe()
        assert not [p for p in (courses / "first-steps").iterdir() if p.name.startswith(".")]


def test_links_in_a_courses_folder_are_an_error(made):
    (made / "link.txt").symlink_to("/etc/hostname")
    with pytest.raises(ArchiveError, match=r"link.txt is a link or no file"):
        contents(made)


# ----------------------------------------------------------------------------------------------------- descriptions

WRITTEN = "course: first-steps\ntitle: First steps\nnotebooks:\n- {file: 01-map.ipynb, title: A map}\n"


def test_lines_that_would_be_more_than_the_memory_holds_are_refused():
    rows = ["&a0 [x, x, x, x, x, x, x, x, x, x]", *(f"&a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
    for text in ("".join(f"- {row}\n" for row in rows), f"{WRITTEN}objectives: [&o text, *o]\n"):
        with pytest.raises(CourseError, match=r"an alias \(\*(a0|o)\) has no place here: write the value itself"):
            Description.from_text(text)
    assert Description.from_text(f"{WRITTEN}objectives: [&o text]\n").objectives == ["text"]


def test_a_course_has_no_more_exercises_than_anybody_solves():
    exercise = {"kind": "number", "question": "q", "expected": 1}
    told = {**COURSE, "notebooks": [
        {"file": f"{n}.ipynb", "title": "A", "exercises": [{**exercise, "id": f"e{n}-{i}"} for i in range(501)]}
        for n in range(2)
    ]}  # fmt: skip
    with pytest.raises(CourseError, match="the course has 1002 exercises; 1000 are allowed"):
        Description.parse(told)
    for notebook in told["notebooks"]:
        notebook["exercises"] = [{**one, "points": -1} for one in notebook["exercises"]]
    with pytest.raises(CourseError) as refused:
        Description.parse(told)
    assert len(str(refused.value).splitlines()) == 22 and str(refused.value).endswith("- and 982 more")


def test_what_a_message_shows_of_a_value_is_made_of_no_more_than_that():
    value = ["x"] * 10
    for _ in range(30):
        value = [value] * 10
    assert shown(value).endswith("… (list)") and len(shown(value)) < 80
    round_ = []
    round_.append(round_)
    assert shown({"a": round_}).startswith("{'a': [[[[")
    for whole in ([], (), {}, [1, "a"], (1,), {"a": [1, (2, 3)], 4: None}, list(range(20)), "a" * 78, {1, 2}):
        assert shown(whole) == repr(whole)
    assert shown(list(range(60))) == f"{str(list(range(60)))[:60]}… (list)" and shown("a\n\n b") == repr("a\n\n b")


# ----------------------------------------------------------------------------------------------------------- copies


def test_a_participant_gets_notebooks_and_small_files_and_reads_scenes_where_they_are(made, courses, tmp_path):
    one = publish(made, courses)
    mine, given = open_copy(one, tmp_path / "mine")
    assert given.new == ["01-map.ipynb", "fields.geojson"]
    assert os.access(mine.folder / "01-map.ipynb", os.W_OK)
    assert (
        find_copy(mine.folder)
        == mine
        == find_copy(mine.folder / "below")
        == copies.Copy(mine.folder, one.folder, one.version)
    )
    assert mine.describe().title == "First steps"
    assert mine.file("data/places.csv") == one.folder / "data" / "places.csv"
    assert mine.scenes == one.scenes
    with pytest.raises(CourseError, match="no file '../current.json'"):
        mine.file("../current.json")


def test_a_correction_comes_and_what_a_participant_changed_stays(made, courses, tmp_path):
    mine, _ = open_copy(publish(made, courses), tmp_path / "mine")
    (mine.folder / "01-map.ipynb").write_text(book("mine"))
    (made / "01-map.ipynb").write_text(book("corrected"))
    new = publish(made, courses)
    mine, given = open_copy(new, tmp_path / "mine")
    assert given.beside == {"01-map.ipynb": "01-map-new.ipynb"}
    assert "mine" in (mine.folder / "01-map.ipynb").read_text() and find_copy(mine.folder).version == new.version


def test_a_notebook_is_reset_and_the_participants_own_is_kept(made, courses, tmp_path):
    mine, _ = open_copy(publish(made, courses), tmp_path / "mine")
    assert reset(mine, "01-map.ipynb") is None
    for n, name in ((1, "01-map-mine.ipynb"), (2, "01-map-mine-2.ipynb")):
        (mine.folder / "01-map.ipynb").write_text(book(f"try {n}"))
        assert reset(mine, "01-map.ipynb") == mine.folder / name
        assert f"try {n}" in (mine.folder / name).read_text()
        assert (mine.folder / "01-map.ipynb").read_text() == (made / "01-map.ipynb").read_text()
    (mine.folder / "01-map.ipynb").unlink()
    assert reset(mine, "01-map.ipynb") is None and (mine.folder / "01-map.ipynb").is_file()
    with pytest.raises(CourseError, match="gives no file '02.ipynb'; it gives: 01-map.ipynb, fields.geojson"):
        reset(mine, "02.ipynb")


def test_after_a_reset_a_correction_comes_as_if_nothing_had_been_changed(made, courses, tmp_path):
    mine, _ = open_copy(publish(made, courses), tmp_path / "mine")
    (mine.folder / "01-map.ipynb").write_text(book("mine"))
    reset(mine, "01-map.ipynb")
    (made / "01-map.ipynb").write_text(book("corrected"))
    assert open_copy(publish(made, courses), tmp_path / "mine")[1].renewed == ["01-map.ipynb"]


def test_a_reset_that_fails_leaves_the_notebook(made, courses, tmp_path, monkeypatch):
    mine, _ = open_copy(publish(made, courses), tmp_path / "mine")
    (mine.folder / "01-map.ipynb").write_text(book("mine"))
    replace = Path.replace

    def full(self, target):
        if Path(target).name == "01-map.ipynb":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        reset(mine, "01-map.ipynb")
    assert "mine" in (mine.folder / "01-map.ipynb").read_text()


def test_where_no_course_is_and_where_another_one_is_it_says_so(made, courses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match="belongs to no course: `muses-lab course open NAME`"):
        find_copy()
    assert find_copy(made) == copies.Copy(made, made, "")
    one = publish(made, courses)
    with pytest.raises(CourseError, match="folder of a course itself"):
        open_copy(one, made)
    with pytest.raises(CourseError, match="only participants' copies can be reset"):
        reset(find_copy(made), "01-map.ipynb")
    open_copy(one, tmp_path / "mine")
    (made / "course.yml").write_text(yaml.safe_dump({**COURSE, "course": "second"}))
    with pytest.raises(CourseError, match="has a copy of the course 'first-steps'"):
        open_copy(publish(made, courses), tmp_path / "mine")


def test_a_copy_whose_version_is_gone_uses_the_current_one(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSES_COURSES", str(tmp_path / "courses"))
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "home"))
    one = publish(made, folder.courses_folder())
    mine, _ = open_copy(one, tmp_path / "mine")
    told = json.loads((mine.folder / copies.RECORD).read_text())
    (mine.folder / copies.RECORD).write_text(json.dumps({**told, "folder": str(tmp_path / "gone")}))
    assert find_copy(mine.folder) == mine
    folder.remove("first-steps")
    monkeypatch.setattr(copies, "home_of", lambda course: mine.folder)
    for ask in (lambda: find_copy(mine.folder), lambda: places.copy_of("first-steps")):
        with pytest.raises(
            copies.CourseRemoved, match="'first-steps' was removed from this machine: .* in your notebooks"
        ):
            ask()
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    with pytest.raises(
        copies.CourseRemoved, match="from this hub by its trainer: .*; to have it back, ask the trainer"
    ):
        find_copy(mine.folder)
    shutil.rmtree(folder.courses_folder())
    with pytest.raises(CourseError, match="no course 'first-steps' is published"):  # a disk that is away
        find_copy(mine.folder)


def test_where_copies_go(fresh_home, monkeypatch):
    assert copies.home_of("a-b") == fresh_home / "notebooks" / "courses" / "a-b"
    monkeypatch.delenv("MUSES_LAB_HOME")
    assert copies.home_of("a-b") == Path.home() / "muses-lab" / "courses" / "a-b"
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    assert copies.home_of("a-b") == Path.home() / "courses" / "a-b"
