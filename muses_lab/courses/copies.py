"""A participant's copy of a course: its notebooks, to change at will, and the way back to what was published."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from muses_lab.courses.archive import contents
from muses_lab.courses.description import DATA, FILE, SCENES, CourseError, Description
from muses_lab.courses.folder import Published, find, folders, scenes_of, write_json
from muses_lab.notebooks import Given, give, restore
from muses_lab.plain import shown

RECORD = ".course.json"
"""In a participant's folder: the course, its version, and where that is published."""
TESTS = "tests.yml"
"""Wrong answers that `muses-lab course check` tries, for trainers alone."""
CHAINS = "chains"
"""A folder of a course that is read where it is published, and not copied, as `data` is."""


class CourseRemoved(CourseError):
    """A participant's copy of a course that was removed: its exercises and scenes are not there any more."""


@dataclass(frozen=True)
class Copy:
    """Where one works on a course: a participant's copy, or the trainer's own folder of it."""

    folder: Path
    """The notebooks that are run."""
    published: Path
    """What is read and never written: `course.yml`, chains, scenes. The trainer's own folder is both."""
    version: str
    """Empty for a trainer's own folder, which has not been published."""

    @property
    def scenes(self) -> Path | None:
        """The catalogue of the course's pinned scenes, for `ml.open_catalog`; None where it pins none."""
        return scenes_of(self.published)

    def file(self, name: str) -> Path:
        """A file of the course by its name inside its folder (`data/fields.geojson`); `CourseError` where none is."""
        file = self.published / name
        if not file.resolve().is_relative_to(self.published.resolve()) or not file.is_file():
            raise CourseError(f"the course has no file {shown(name)}: it would be {file}")
        return file

    def describe(self) -> Description:
        return Description.read(self.published)

    @property
    def current(self) -> Published | None:
        """What participants get now, where that is another version; None in a trainer's own folder."""
        if not self.version:
            return None
        try:
            now = find(self.published.parent.name, self.published.parent.parent)
        except CourseError:  # it was removed meanwhile
            return None
        return None if now.version == self.version else now

    @property
    def is_old(self) -> bool:
        """Whether a newer version was published than the one of which the folder has the notebooks."""
        return (now := self.current) is not None and (_record(self.folder) or {}).get("version") != now.version


def home_of(course: str) -> Path:
    """Where a user's copy of a course is unless another folder is named: on a hub in `~/courses`."""
    if os.environ.get("JUPYTERHUB_USER"):
        return Path.home() / "courses" / course
    named = os.environ.get("MUSES_LAB_HOME")
    return (Path(named) / "notebooks" if named else Path.home() / "muses-lab") / "courses" / course


def open_copy(course: Published, folder: Path | None = None, running: bool = False) -> tuple[Copy, Given]:
    """Gives a user a copy of a course, or what is new in it; what the user changed is never written over.

    >>> copy, given = open_copy(find("first-steps"))                                   # doctest: +SKIP
    >>> given.new                                                                      # doctest: +SKIP
    ['01-first-map.ipynb', '02-clouds.ipynb']

    `folder` is where it goes, `home_of(course)` when None. With `running`, a notebook may be open in JupyterLab: see
    `notebooks.give`.
    """
    folder = folder or home_of(course.course)
    if (there := _record(folder)) and there["course"] != course.course:
        raise CourseError(
            f"{folder} has a copy of the course {there['course']!r}: name another folder for {course.course!r}"
        )
    if (folder / FILE).exists():
        raise CourseError(f"{folder} is the folder of a course itself: name another one for a participant's copy")
    given = give(course.folder, folder, only=copied(course.folder), running=running)
    told = {"course": course.course, "version": course.version, "folder": str(course.folder)}
    if there != told:
        write_json(folder / RECORD, told)
    return Copy(folder, course.folder, course.version), given


def find_copy(start: Path | None = None) -> Copy:
    """The course that a folder belongs to: a participant's copy there or above, else a trainer's own folder.

    `CourseError` says how to get one. Where the version of the copy is not there any more, the current one is read;
    `CourseRemoved` where none is.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (told := _record(folder)) is not None:
            there = Path(told["folder"])
            if (there / FILE).is_file():
                return Copy(folder, there, told["version"])
            current = _current(told["course"])
            return Copy(folder, current.folder, current.version)
        if (folder / FILE).is_file():
            return Copy(folder, folder, "")
    raise CourseError(
        f"{start} belongs to no course: `muses-lab course open NAME` makes a copy of one to work in, and its notebooks "
        "are run there"
    )


def _current(course: str) -> Published:
    """What is published now of the course of a copy."""
    try:
        return find(course)
    except CourseError:
        if not any(where.is_dir() for where in folders()):  # a disk that is away, rather
            raise
    on_hub = bool(os.environ.get("JUPYTERHUB_USER"))
    who = "this hub by its trainer" if on_hub else "this machine"
    back = "ask the trainer" if on_hub else "give `muses-lab course open` its folder or zip"
    raise CourseRemoved(
        f"the course {shown(course)} was removed from {who}: its exercises and scenes are gone, what you wrote is in "
        f"your notebooks; to have it back, {back}"
    )


def reset(copy: Copy, notebook: str) -> Path | None:
    """Gives back a notebook as it was published; returns where the user's own was put, None where it was as published.

    >>> reset(find_copy(), "01-first-map.ipynb")                                       # doctest: +SKIP
    PosixPath('/home/ada/muses-lab/courses/first-steps/01-first-map-mine.ipynb')
    """
    if copy.folder == copy.published:
        raise CourseError(f"{copy.folder} is the folder of the course itself: only participants' copies can be reset")
    names = copied(copy.published)
    if notebook not in names:
        raise CourseError(f"the course gives no file {shown(notebook)}; it gives: {', '.join(names)}")
    return restore(copy.published, copy.folder, notebook)


def copied(published: Path) -> list[str]:
    """The files of a course that participants get copies of: its notebooks, and small files beside them."""
    return [name for name in contents(published) if name.split("/")[0] not in (FILE, SCENES, TESTS, DATA, CHAINS)]


def _record(folder: Path) -> dict[str, str] | None:
    try:
        told = json.loads((folder / RECORD).read_text("utf-8"))
        return {name: str(told[name]) for name in ("course", "version", "folder")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
