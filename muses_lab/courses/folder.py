"""The folder of published courses: `<courses>/<course>/<version>/…`, read-only, and which version is the current one.

On a hub it is written by the hub's service alone and read by all users; on a laptop it is in the user's own home.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock

from muses_lab import settings
from muses_lab.courses.description import SCENES, CourseError, Description
from muses_lab.plain import shown

CURRENT = "current.json"
"""In a course's folder: which version participants get."""
POINTER = ".scenes"
"""In the folder of a version: the name of the folder beside it that has its scenes."""
ANSWERS = "answers"
"""A name that no course can have: beside the courses of a laptop are the answers given on it."""


@dataclass(frozen=True)
class Published:
    """A course as it was published: a version of it, in a folder that nobody changes any more."""

    course: str
    version: str
    """The first 12 digits of the archive's SHA-256."""
    folder: Path
    title: str
    when: datetime
    by: str = ""
    """The user who published it; empty on a laptop."""

    @property
    def scenes(self) -> Path | None:
        """The pinned scenes: an ItemCollection that `ml.open_catalog` opens; None where the course pins none."""
        return scenes_of(self.folder)

    @property
    def bytes(self) -> int:
        """What it takes on disk, with its scenes."""
        places = [self.folder, *([] if self.scenes is None else [self.scenes.parent])]
        return sum(file.stat().st_size for place in set(places) for file in place.rglob("*") if file.is_file())

    def describe(self) -> Description:
        return Description.read(self.folder)


def scenes_of(folder: Path) -> Path | None:
    """The `scenes.json` of a version of a course, or of a trainer's own folder; None where there is none.

    Scenes lie beside the versions of a course, in a folder for each list of them: a correction of a notebook leaves
    them, what is open of them, and what is kept of their blocks as they are.
    """
    try:
        file = folder.parent / (folder / POINTER).read_text("ascii").strip() / SCENES
    except (OSError, ValueError):
        file = folder / SCENES
    return file if file.is_file() else None


def courses_folder() -> Path:
    """Where published courses are (`MUSES_COURSES`, else in the user's own home)."""
    named = os.environ.get("MUSES_COURSES")
    return Path(named) if named else own_folder()


def folders() -> list[Path]:
    """Where published courses are looked for: those of the hub, and those of the user's own home."""
    return list(dict.fromkeys([courses_folder(), own_folder()]))


def own_folder() -> Path:
    """Where the user's own courses are: those that were opened from a folder or a zip."""
    return settings.home() / "courses"


def published(courses: Path | None = None) -> list[Published]:
    """All courses that are published here, by name; what is damaged is passed over."""
    found: dict[str, Published] = {}
    for place in [courses] if courses else folders():
        for name in sorted(os.listdir(place)) if place.is_dir() else ():
            if (one := _read(place / name)) is not None:
                found.setdefault(one.course, one)
    return [found[name] for name in sorted(found)]


def find(course: str, courses: Path | None = None) -> Published:
    """The current version of a course; `CourseError` says which courses there are."""
    for where in [courses] if courses else folders():
        if (found := _read(place(course, where))) is not None:
            return found
    names = ", ".join(one.course for one in published(courses)) or "none"
    raise CourseError(f"no course {shown(course)} is published in {courses or courses_folder()}; there are: {names}")


def place(course: str, courses: Path) -> Path:
    """The folder of a course's versions; `CourseError` for what is no name of a course."""
    ok = isinstance(course, str) and 2 <= len(course) <= 40 and course.replace("-", "a").isalnum() and course.isascii()
    if not ok or course != course.lower() or course.startswith("-") or course == ANSWERS:
        raise CourseError(f"{shown(course)} is no name of a course: 2 to 40 of a-z, 0-9 and '-' (and not {ANSWERS!r})")
    return courses / course


def remove(course: str, courses: Path | None = None) -> int:
    """Takes a published course away with its scenes; returns the bytes that it took.

    Participants' copies, and the answers, stay where they are.
    """
    folder = place(course, courses) if courses else find(course).folder.parent
    if not folder.is_dir():
        find(course, courses)  # which says that it is not there
    with changing(folder):
        size = sum(found.st_size for found in (f.lstat() for f in folder.rglob("*")) if stat.S_ISREG(found.st_mode))
        (folder / CURRENT).unlink(missing_ok=True)  # from here on it is not there any more, whatever happens
        take_away(folder)
    Path(f"{folder}.lock").unlink(missing_ok=True)
    return size


def make_current(folder: Path, version: str, title: str, by: str) -> Published:
    """Has participants get this version of the course from now on."""
    when = datetime.now(UTC)
    told = {"course": folder.name, "version": version, "title": title, "published": when.isoformat(), "by": by}
    write_json(folder / CURRENT, told, 0o444)
    return Published(folder.name, version, folder / version, title, when, by)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """A course's folder, while nobody else changes it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        yield


def take_away(folder: Path) -> None:
    """Deletes a folder of files that are read-only."""
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink())]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def write_json(file: Path, document: Any, mode: int = 0o644) -> None:
    """Writes a small file whole or not at all."""
    part = file.with_name(f".{file.name}.{uuid4().hex[:8]}.part")
    try:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False), "utf-8")
        part.chmod(mode)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _read(folder: Path) -> Published | None:
    try:
        told = json.loads((folder / CURRENT).read_text("utf-8"))
        version, title = str(told["version"]), str(told["title"])
        when = datetime.fromisoformat(told["published"])
        found = Published(folder.name, version, folder / version, title, when, str(told.get("by", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if "/" not in version and found.folder.is_dir() else None
