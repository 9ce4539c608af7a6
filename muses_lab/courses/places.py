"""Which copy of a course its participant works in: kernels note it, the Jupyter server looks it up."""

from __future__ import annotations

import json
from pathlib import Path

from muses_lab.courses import copies
from muses_lab.courses.description import CourseError
from muses_lab.courses.folder import place, write_json
from muses_lab.courses.journal import answers_folder


def note(course: str, folder: Path) -> None:
    """Notes where a course was opened last. A disk that cannot be written is no reason not to go on."""
    file = _file(course)
    told = {"folder": str(folder.resolve())}
    try:
        if not file.is_file() or json.loads(file.read_text("utf-8")) != told:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(file, told)
    except (OSError, ValueError):
        return


def copy_of(course: str) -> copies.Copy:
    """The copy of a course that was opened last, else the one where copies are as a rule.

    Raises
    ------
    CourseError
        The user has no copy of such a course, or it was removed.
    """
    place(course, answers_folder())  # a name from an address is none of a path
    for folder in (_noted(course), copies.home_of(course)):
        if folder is None or not folder.is_dir():
            continue
        try:
            found = copies.find_copy(folder)
        except copies.CourseRemoved:
            raise
        except CourseError:
            continue
        if found.describe().course == course:
            return found
    raise CourseError(f"no copy of the course {course!r} is here: `muses-lab course open {course}` makes one")


def _noted(course: str) -> Path | None:
    try:
        return Path(json.loads(_file(course).read_text("utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(course: str) -> Path:
    return answers_folder() / f"{course}.place.json"
