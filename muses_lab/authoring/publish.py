"""A course is packed with its pinned scenes: into a zip for others, or into the folder of published courses."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muses_lab.authoring import scenes
from muses_lab.courses import archive
from muses_lab.courses.description import SCENE_FILES, SCENES, CourseError, Description
from muses_lab.courses.folder import Published, own_folder
from muses_lab.exercises.catalogs import pinned_catalog
from muses_lab.store import default_store

Told = Callable[[int, int], object]
Said = Callable[[str], object]
"""Is given a line for each step that takes its time."""


@dataclass(frozen=True)
class Packed:
    """What became of a course's folder."""

    description: Description
    version: str
    archive: Path
    scenes: int
    """Pinned scenes."""
    whole: int
    """Files of scenes that came along as they are."""
    parts: int
    """Files of scenes of which the part around the area came along."""
    bytes: int
    """Size of the archive."""
    left_out: tuple[str, ...]
    """Scenes and files of the catalogue that cannot be used, with the reason."""
    roots: tuple[str, ...]
    """Folders of files that are used where they are."""

    def __str__(self) -> str:
        told = f"{self.description.course} {self.version}: {self.bytes / 1e6:.1f} MB"
        if self.scenes:
            files = [f"{self.whole} files whole"] if self.whole else []
            files += [f"{self.parts} files without what is far from the area"] if self.parts else []
            told += f", {self.scenes} scenes ({', '.join(files) or 'where their files are'})"
        return "\n".join([told, *(f"left out: {one}" for one in self.left_out)])


def bundle(
    folder: Path, target: Path, *, whole: bool = False, told: Told | None = None, said: Said = lambda line: None
) -> Packed:
    """Writes a course to a zip that runs without a network: with the files of its scenes.

    ```python
    bundle(Path("first-steps"), Path("first-steps.zip"))
    ```

    Parameters
    ----------
    folder
        The course's folder.
    target
        The zip. It is there whole or not at all.
    whole
        Whether all files of scenes are copied as they are. By default those of which the course's `area` needs half or
        less come without the pixels that are far from it: same grid, size and overviews.
    told
        Called with how many files of scenes are done of how many.

    Raises
    ------
    CourseError
        `course.yml` is not right, files that it names are not there, no scene fits, or one cannot be read.
    """
    return pack(folder, target, data=True, whole=whole, told=told, said=said)


def publish(
    folder: Path, *, told: Told | None = None, said: Said = lambda line: None
) -> tuple[Packed, Published | Any]:
    """Publishes a course: on a hub through its service, for all users; else in this user's own home.

    ```python
    packed, published = publish(Path("first-steps"))
    ```

    On a hub the scenes come along, and are stored there once for all. On a laptop they are read where they are.
    Returns what was packed, and what was published: a `Published`, or the hub's `CourseRecord`.
    """
    store = default_store()
    send = getattr(store, "publish_course", None)
    with tempfile.TemporaryDirectory(prefix="muses-course-") as scratch:
        packed = pack(folder, Path(scratch) / "course.zip", data=send is not None, told=told, said=said)
        if send is not None:
            said(f"sending {packed.bytes / 1e6:.1f} MB to the hub, which checks and unpacks them")
            return packed, send(packed.description.course, packed.archive)
        said("unpacking it for yourself")
        return packed, install_packed(packed)


def install(source: Path, told: Told | None = None) -> Published:
    """Makes a course's folder or zip a published course of this user, to open copies of."""
    if source.is_file():
        return archive.unpack(source, own_folder())
    with tempfile.TemporaryDirectory(prefix="muses-course-") as scratch:
        return install_packed(pack(source, Path(scratch) / "course.zip", data=False, told=told))


def install_packed(packed: Packed) -> Published:
    """Makes what was packed a published course of this user, who may read its scenes where they are."""
    published = archive.unpack(packed.archive, own_folder())
    if published.scenes is not None and packed.roots:
        pinned_catalog(published.scenes, packed.roots)
    return published


def pack(
    folder: Path, target: Path, *, data: bool, whole: bool = False, told: Told | None = None,
    said: Said = lambda line: None,
) -> Packed:  # fmt: skip
    """Packs a course with its pinned scenes, and with their files where `data` is true; see `bundle`."""
    said("looking for the course's scenes")
    description = Description.read(folder)
    files = archive.contents(folder)
    if gone := [name for name in description.files() if name not in files]:
        raise CourseError(f"course.yml names files that are not in {folder}: {', '.join(gone[:8])}")
    found = scenes.find_scenes(description, folder)
    with tempfile.TemporaryDirectory(prefix="muses-scenes-") as name:
        scratch = Path(name)
        pinned = scenes.copied(found, description.area, scratch, whole, told) if data else scenes.in_place(found)
        if found:
            files = {name: file for name, file in files.items() if not name.startswith(f"{SCENE_FILES}/")}
            files |= pinned.files
            files[SCENES] = scratch / SCENES
            files[SCENES].write_text(scenes.text_of(pinned.document), "utf-8")
        said(f"packing {len(files)} files")
        version = archive.pack(files, target)
    left_out = tuple(one for part in found for one in part.left_out)
    return Packed(
        description, version, target, len(pinned.document["features"]), pinned.whole, pinned.parts,
        target.stat().st_size, left_out, () if data else scenes.roots_of(found),
    )  # fmt: skip
