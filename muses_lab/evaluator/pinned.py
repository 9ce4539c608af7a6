"""The scenes that published courses pin: what the class's evaluator reads, and nothing else."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from muses_lab import settings
from muses_lab.catalog import open_catalog
from muses_lab.courses.description import SCENES
from muses_lab.errors import AccessDenied, MusesError, NotFound
from muses_lab.raster.access import resolve_href
from muses_lab.scenes.scene import Scenes

logger = logging.getLogger("muses_lab.evaluator")

LOOK = 2.0
"""Seconds between two looks at the folder of published courses."""

_Scene = tuple[str, str]
"""Collection, item."""


class NotOfACourse(MusesError):
    """A chain reads something that no published course has."""

    code = "not-of-a-course"
    http_status = 403


class PinnedScenes:
    """All scenes of the courses in a folder, read again when a list of theirs has changed; thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = 0
        """Counts the changes."""
        self.courses: list[str] = []
        self._stamps: dict[Path, tuple[int, int]] | None = None
        self._places: dict[_Scene, frozenset[str]] = {}
        self._until = 0.0
        self._lock = threading.Lock()

    def look(self) -> int:
        """Reads what has changed; the number of changes so far."""
        with self._lock:
            if time.monotonic() >= self._until:
                found = (file for file in sorted(self.folder.glob(f"*/*/{SCENES}")) if not _is_hidden(file))
                stamps = {file: _stamp(file) for file in found}
                if stamps != self._stamps:
                    self._read(list(stamps))
                    self._stamps = stamps
                    self.generation += 1
                self._until = time.monotonic() + LOOK
            return self.generation

    def check(self, scenes: Scenes) -> None:
        """`NotOfACourse` names a scene, or a file of one, that no published course pins."""
        self.look()
        places, named = self._places, self.courses
        if not named:
            raise NotOfACourse("no course is published here, so nothing is computed for a class")
        for scene in scenes.scenes:
            pinned = places.get((scenes.collection, scene.id))
            if pinned is None:
                raise NotOfACourse(
                    f"the scene {scene.id!r} of {scenes.collection!r} is in none of the courses that are published "
                    f"here ({', '.join(named)})",
                    scene=scene.id,
                )
            for band, asset in scene.assets.items():
                if _place(scenes.catalog, asset.href) not in pinned:
                    raise NotOfACourse(
                        f"the band {band!r} of the scene {scene.id!r} is another file than the one that the course "
                        "pins",
                        scene=scene.id,
                    )

    def _read(self, files: list[Path]) -> None:
        places: dict[_Scene, set[str]] = {}
        for file in files:
            try:
                for collection, item, hrefs in _items(file):
                    places.setdefault((collection, item), set()).update(hrefs)
                open_catalog(file)  # its relative hrefs are read from now on
            except (OSError, ValueError, TypeError, AttributeError, KeyError, MusesError) as error:
                logger.warning("the scenes of the course in %s are not used: %s", file.parent, error)
        self._places = {scene: frozenset(hrefs) for scene, hrefs in places.items()}
        self.courses = sorted({file.parts[-3] for file in files})


def _items(file: Path) -> Iterator[tuple[str, str, set[str]]]:
    """Collection, id and files of each item of a list."""
    folder = file.parent.resolve()
    for item in json.loads(file.read_text("utf-8"))["features"]:
        hrefs: set[str] = set()
        for asset in item["assets"].values():
            for one in (asset, *(asset.get("alternate") or {}).values()):
                href = one.get("href")
                if isinstance(href, str):
                    hrefs.add(href if "://" in href else str((folder / href).resolve()))
        yield str(item.get("collection") or file.stem), str(item["id"]), hrefs


def _place(catalog: str, href: str) -> str:
    """The file or address behind an asset, by this process's own list of catalogues."""
    if "://" in href:
        return href  # whether it may be read is checked when it is
    root = settings.catalog_entries(lately=True).get(catalog, {}).get("root", "")
    if "://" in root:
        return f"{root.rstrip('/')}/{href}"
    try:
        return resolve_href(catalog, href)
    except (AccessDenied, NotFound) as error:
        raise NotOfACourse(f"the class's evaluator does not read {href!r}: {error.message}") from None


def _is_hidden(file: Path) -> bool:
    """Whether a list is in a folder that is being written, or was left half-written."""
    return any(part.startswith(".") for part in file.parts[-3:])


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size
