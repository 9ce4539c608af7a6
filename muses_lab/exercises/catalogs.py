"""The catalogue of a course's scenes: those that were pinned, or, in a trainer's own folder, where they come from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from muses_lab.catalog import Catalog, find_catalog, open_catalog
from muses_lab.catalog.local import FileCatalog
from muses_lab.courses.description import CourseError
from muses_lab.sample import named
from muses_lab.settings import catalogs_there_are, known_catalogs, register_catalog


def pinned_catalog(file: Path, roots: Iterable[str] = ()) -> Catalog:
    """The catalogue of a `scenes.json`.

    Its id is made of its content: a later version of a course with the same scenes is the same catalogue in another
    folder. What this user was allowed to read with it (`roots`, folders outside of its own) stays allowed.
    """
    catalog = FileCatalog(file)
    known = known_catalogs().get(catalog.id, {"roots": []})
    register_catalog(catalog.id, catalog.root, [*known["roots"], *roots], source=catalog.source, opened=True)
    return catalog


def named_catalog(name: str, folder: Path) -> Catalog:
    """The catalogue that a `course.yml` names; `CourseError` where there is none, with those that there are.

    Parameters
    ----------
    name
        `sample` (or another one's name, see `sample.named`), the id of a registered catalogue, the address of one, or a
        file or folder of the course.
    folder
        The course's.
    """
    if (sample := named(name)) is not None:
        return open_catalog(sample)
    if "://" in name:
        return open_catalog(name)
    if name in known_catalogs():
        return find_catalog(name)
    if not (folder / name).exists():
        raise CourseError(
            f"`catalog: {name}` is neither 'sample', nor a file or folder of the course, nor a registered "
            f"catalogue; {catalogs_there_are(known_catalogs())}"
        )
    return open_catalog(folder / name)
