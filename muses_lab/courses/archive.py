"""A course as one file: a zip, packed from a folder and unpacked into the folder of published courses.

An archive comes from somebody else. Nothing of it is written before its list of contents has been looked through, and
nothing of it counts before all of it is there.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from uuid import uuid4

from muses_lab.courses.description import DATA, FILE, SCENE_FILES, SCENES, CourseError, Description
from muses_lab.courses.folder import POINTER, Published, changing, courses_folder, make_current, place, take_away
from muses_lab.plain import shown
from muses_lab.settings import number

FILES = 20_000
"""Most files of a course."""
_LIST_BYTES = FILES * 160
"""Most bytes of the list of contents: Python's library makes some times as much of it before anybody can look."""
_PACKED = {".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".zip", ".parquet", ".gz", ".nc", ".mp4", ".gif", ".webp"}
"""Compressed already: once more would cost time and win nothing."""
_DAY = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OSError,
    RuntimeError,
)
"""What Python's library says of bytes that are no zip, or no longer one."""
_DESCRIPTION_BYTES = 1 << 20
DATA_TIME = 315_532_800
"""Last change of all files below `data`, seconds since 1970: chains with these scenes have one hash on all machines."""


class ArchiveError(CourseError):
    """An archive that is none, or that holds what a course may not hold."""

    code = "course-archive"


def contents(folder: Path) -> dict[str, Path]:
    """The files of a course's folder by name, with `/`; hidden ones are left out, links are an error.

    >>> sorted(contents(Path("first-steps")))                                          # doctest: +SKIP
    ['01-first-map.ipynb', 'chains/ndvi.json', 'course.yml']
    """
    found: dict[str, Path] = {}
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_left_out(name))
        for name in sorted([*files, *(name for name in folders if Path(path, name).is_symlink())]):
            if _is_left_out(name):
                continue
            file = Path(path, name)
            inside = file.relative_to(folder).as_posix()
            if not stat.S_ISREG(file.lstat().st_mode):
                raise ArchiveError(f"{inside} is a link or no file: a course holds its files themselves")
            _check_name(inside)
            found[inside] = file
    if len(found) > FILES:
        raise ArchiveError(f"{folder} has {len(found)} files; a course has at most {FILES}")
    return found


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name in ("__pycache__",)


def pack(files: Mapping[str, Path], archive: Path) -> str:
    """Writes files by their names to an archive, whole or not at all; returns its version.

    The same files give the same bytes, so that publishing the same course again is no new version.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f".{archive.name}.{uuid4().hex[:8]}.part")
    try:
        with zipfile.ZipFile(part, "w") as made:
            for name, file in sorted(files.items()):
                entry = zipfile.ZipInfo(name, _DAY)
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                entry.create_system = 3
                entry.compress_type = (
                    zipfile.ZIP_STORED if PurePosixPath(name).suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
                )
                with file.open("rb") as source, made.open(entry, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, _CHUNK)
        version = version_of(part)
        part.replace(archive)
        return version
    finally:
        part.unlink(missing_ok=True)


def version_of(archive: Path) -> str:
    """The version that an archive is: the first 12 digits of its SHA-256."""
    with archive.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]


def describe(archive: Path, course: str | None = None) -> Description:
    """What an archive says it is; `ArchiveError` where it holds what no course may hold, or is another `course`."""
    with _opened(archive) as opened:
        _checked(opened)
        found = _description(opened)
    if course is not None and found.course != course:
        raise ArchiveError(f"the archive is the course {found.course!r}, not {shown(course)}")
    return found


def unpack(
    archive: Path,
    courses: Path | None = None,
    *,
    course: str | None = None,
    by: str = "",
    agreed: Callable[[Published], object] | None = None,
) -> Published:
    """Makes an archive the current version of its course, read-only; whatever fails leaves what was there.

    >>> unpack(Path("first-steps.zip")).folder                                         # doctest: +SKIP
    PosixPath('/home/ada/.local/share/muses-lab/courses/first-steps/3f2a9c01b7de')

    Parameters
    ----------
    archive
        The zip.
    courses
        The folder of published courses; `courses_folder()` when None.
    course
        The course that it has to be.
    by
        The user who publishes it.
    agreed
        Called when all files are there, before participants get them: what it raises keeps things as they were.

    Raises
    ------
    ArchiveError
        Links, absolute or hidden names or names that lead out (`..`), names that differ in case only, more than
        `FILES` files or `MUSES_MAX_COURSE` bytes, a file that is longer than is said or damaged, another course.
    CourseError
        Its `course.yml` is not right, or a file that it names is not there.
    """
    courses = courses or courses_folder()
    version = version_of(archive)
    with _opened(archive) as opened:
        entries = _checked(opened)
        description = _description(opened)
        if course is not None and description.course != course:
            raise ArchiveError(f"the archive is the course {description.course!r}, not {shown(course)}")
        if gone := [name for name in description.files() if name not in entries]:
            raise CourseError(f"{FILE} names files that are not in the archive: {', '.join(gone[:8])}")
        folder = place(description.course, courses)
        with changing(folder):
            made = not folder.exists()
            folder.mkdir(mode=0o755, exist_ok=True)
            folder.chmod(0o755)
            _sweep(folder)
            before = set(folder.iterdir())
            try:
                if not (folder / version).is_dir():
                    part = folder / f".{version}.{uuid4().hex[:8]}.part"
                    scenes = _scenes(opened, entries, folder, part)
                    rest = {name: entry for name, entry in entries.items() if not _is_of_scenes(name)}
                    _write(opened, rest, part, scenes)
                    part.replace(folder / version)
                if agreed is not None:
                    now = datetime.now(UTC)
                    agreed(Published(description.course, version, folder / version, description.title, now, by))
                return make_current(folder, version, description.title, by)
            except BaseException:
                for path in set(folder.iterdir()) - before:
                    take_away(path) if path.is_dir() else path.unlink()
                if made:
                    folder.rmdir()
                raise


class _Bounded(io.BufferedReader):
    """A file of which nobody reads more at once than the list of contents of a course has."""

    def read(self, size: int | None = -1) -> bytes:
        most = _LIST_BYTES + 1
        found = super().read(most if size is None or size < 0 else min(size, most))
        if len(found) > _LIST_BYTES:
            raise ArchiveError(
                f"the archive's list of contents is too long: {FILES} files are allowed, and {_mb(_LIST_BYTES)}"
            )
        return found


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    limit = int(number("MUSES_MAX_COURSE"))
    size = archive.stat().st_size
    if size > limit:
        raise ArchiveError(f"the archive has {_mb(size)}; {_mb(limit)} are allowed (MUSES_MAX_COURSE)")
    with _Bounded(io.FileIO(archive)) as file:
        try:
            opened = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise ArchiveError(f"{archive.name} is no zip: {error}") from None
        with opened:
            yield opened


def _checked(opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by name, after a look at every entry."""
    limit = int(number("MUSES_MAX_COURSE"))
    entries: dict[str, zipfile.ZipInfo] = {}
    listed = opened.infolist()
    if len(listed) > FILES:
        raise ArchiveError(f"the archive has {len(listed)} entries; a course has at most {FILES}")
    total = 0
    seen: set[str] = set()
    for entry in listed:
        name = entry.filename.rstrip("/")
        if entry.orig_filename.rstrip("/") != name:  # what is behind a null byte is another name for other programs
            raise ArchiveError(f"the name {shown(entry.orig_filename)} in the archive holds what no name of a file may")
        _check_name(name)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(f"{shown(name)} in the archive is a link or no file")
        if entry.is_dir():
            continue
        if kind == stat.S_IFDIR:
            raise ArchiveError(f"{shown(name)} in the archive is a file and a folder at once")
        if entry.flag_bits & 1:
            raise ArchiveError(f"{shown(name)} in the archive is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(
                f"{shown(name)} in the archive is compressed by a method ({entry.compress_type}) other than deflate"
            )
        if (folded := _folded(name)) in seen:
            raise ArchiveError(f"{shown(name)} is in the archive twice, or in two spellings")
        seen.add(folded)
        total += entry.file_size
        if total > limit:
            raise ArchiveError(f"unpacked, the archive has more than {_mb(limit)} (MUSES_MAX_COURSE)")
        entries[name] = entry
    for name in entries:
        for above in PurePosixPath(name).parents:
            if _folded(above.as_posix()) in seen:
                raise ArchiveError(f"{shown(above.as_posix())} in the archive is a file and a folder at once")
    return entries


def _check_name(name: str) -> None:
    parts = name.split("/")
    printable = all(c.isprintable() for c in name)
    if (
        not name
        or "\\" in name
        or ":" in name
        or not printable
        or any(p in ("", ".", "..") or p[0] == "." for p in parts)
    ):
        raise ArchiveError(
            f"{shown(name)} is no name for a file of a course: a path inside its folder, with '/', nothing hidden"
        )
    if len(name) > 400 or any(len(part.encode()) > 200 for part in parts):
        raise ArchiveError(f"{shown(name)} is too long a name for a file of a course")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _description(opened: zipfile.ZipFile) -> Description:
    try:
        entry = opened.getinfo(FILE)
    except KeyError:
        raise ArchiveError(f"the archive is no course: it has no {FILE} at its top") from None
    if entry.file_size > _DESCRIPTION_BYTES:
        raise ArchiveError(f"{FILE} in the archive has {_mb(entry.file_size)}; {_mb(_DESCRIPTION_BYTES)} are allowed")
    try:
        text = b"".join(_read(opened, entry)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{FILE} in the archive is not UTF-8: {error}") from None
    return Description.from_text(text)


def _read(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a file, no more than are said; its checksum is looked at with the last of them."""
    left = entry.file_size
    try:
        with opened.open(entry) as source:
            while left >= 0 and (chunk := source.read(_CHUNK)):
                left -= len(chunk)
                yield chunk
    except _DAMAGE as error:
        raise ArchiveError(f"{shown(entry.filename)} in the archive is damaged: {error}") from None
    if left:
        raise ArchiveError(
            f"{shown(entry.filename)} in the archive is not as long as it says ({entry.file_size} bytes)"
        )


def _is_of_scenes(name: str) -> bool:
    return name == SCENES or name.startswith(f"{SCENE_FILES}/")


def _scenes(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], folder: Path, part: Path) -> str:
    """The name of the folder of a course that has these scenes, which is made where it is not there; empty: none."""
    if SCENES not in entries:
        return ""
    mine = {name: entry for name, entry in entries.items() if _is_of_scenes(name)}
    digest = hashlib.sha256()
    for chunk in _read(opened, entries[SCENES]):
        digest.update(chunk)
    name = f"scenes-{digest.hexdigest()[:12]}"
    if (folder / name).is_dir():
        for file, entry in mine.items():
            if not _is_there(opened, entry, folder / name / file):
                raise ArchiveError(f"{SCENES} is that of an earlier version, but {file} is another file than its")
    else:
        _write(opened, mine, part)
        part.replace(folder / name)
    return name


def _is_there(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, file: Path) -> bool:
    """Whether a file is what the archive has."""
    try:
        with file.open("rb") as there:
            same = all(there.read(len(chunk)) == chunk for chunk in _read(opened, entry))
            return same and not there.read(1)
    except FileNotFoundError:
        return False


def _write(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], target: Path, scenes: str = "") -> None:
    """The files of an archive in a new folder, all read-only."""
    target.mkdir(mode=0o755)
    if scenes:
        (target / POINTER).write_text(scenes, "ascii")
        (target / POINTER).chmod(0o444)
    for name, entry in entries.items():
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as stream:
            for chunk in _read(opened, entry):
                stream.write(chunk)
        if name.startswith(f"{DATA}/"):
            os.utime(file, (DATA_TIME, DATA_TIME))
        file.chmod(0o444)
    for folder, _, _ in os.walk(target, topdown=False):
        Path(folder).chmod(0o555)


def _sweep(folder: Path) -> None:
    """Takes away what a process that was killed left."""
    for path in folder.glob(".*.part"):
        take_away(path) if path.is_dir() else path.unlink(missing_ok=True)


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"
