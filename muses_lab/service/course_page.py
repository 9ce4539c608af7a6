"""Links of courses: courses/<id>, by which a participant joins, and copies/…, by which a trainer sees a notebook."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import nbformat
from jupyter_server.utils import url_escape, url_path_join
from tornado.web import HTTPError

from muses_lab.courses import copies, folder
from muses_lab.courses.collected import place_of
from muses_lab.errors import MusesError, NotFound
from muses_lab.plain import first_line
from muses_lab.service.handler import PageHandler, answer
from muses_lab.store import Presence, Store

FOLDER = "class"
"""Of the trainer's own folder: where the copies of participants' notebooks are."""


class LeadsToFile(PageHandler):
    @property
    def root(self) -> Path:
        return Path(self.settings.get("server_root_dir", "")).expanduser().resolve()

    def lead_to(self, file: Path) -> None:
        """Opens a file in JupyterLab."""
        try:
            path = file.resolve().relative_to(self.root).as_posix()
        except ValueError:
            raise MusesError(f"{file} is outside of the folder that this Jupyter server shows, {self.root}") from None
        self.redirect(url_path_join(self.base_url, "lab/tree", url_escape(path)))


class JoinHandler(LeadsToFile):
    """GET courses/<id>?notebook=: gives the user a copy of the course, or what is new in it, and opens a notebook."""

    @answer
    async def get(self, id: str) -> None:
        wanted = self.get_query_argument("notebook", "")
        self.lead_to(await self.service.pools.records.run(lambda: joined(id, self.service.store(), wanted)))


def joined(id: str, store: Store, wanted: str = "") -> Path:
    """The notebook `wanted` of the user's copy, else the first one; the user's own, whatever newer one lies beside it.

    `AccessDenied` where the hub says that the course is closed, unless the user has begun it.
    """
    if hasattr(store, "publish_course") and not (copies.home_of(id) / copies.RECORD).exists():
        with suppress(NotFound):  # a course of the user's own
            if store.course(id).state == "closed":
                store.put_presence(Presence(id))  # which it does not take of who has not begun it
    if (copies.home_of(id) / copies.RECORD).exists():
        copies.find_copy(copies.home_of(id))  # says so where the course was removed
    course = folder.find(id)
    copy, given = copies.open_copy(course, running=True)
    names = [one.file for one in course.describe().notebooks]
    if wanted in names and (copy.folder / wanted).is_file():
        return copy.folder / wanted
    first = copy.folder / names[0]
    if not first.is_file():
        why = next(iter(given.left.values()), "it was deleted")
        again = f"`muses-lab course reset {id} {first.name}` in a terminal gives it anew"
        raise NotFound(f"{first} is not there ({why}): {again}")
    return first


class CopyHandler(LeadsToFile):
    """GET copies/<course>/<participant>/<notebook>: what the hub kept of it, written read-only and opened.

    JupyterLab does not trust it: no output of it runs anything before the trainer runs a cell.
    """

    @answer
    async def get(self, course: str, user: str, file: str) -> None:
        service = self.service
        text = await service.pools.records.run(lambda: service.store().notebook(course, user, file))
        place = self.root / FOLDER / course / place_of(user, file)
        await service.pools.records.run(write_copy, text, place, self.root)
        self.lead_to(place)


def write_copy(text: str, place: Path, root: Path) -> None:
    """Writes a participant's notebook for reading, in the place of an earlier copy; never through a link."""
    try:
        book = nbformat.reads(text, as_version=4)
        for cell in book.cells:
            cell.get("metadata", {}).pop("trusted", None)
        written = nbformat.writes(book)
    except Exception as error:  # it is somebody else's: nbformat fails in many ways at what is none
        raise MusesError(f"what the participant has saved is no notebook: {first_line(error)}") from None
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.parent.resolve().is_relative_to(root):
        raise HTTPError(403, f"{place.parent} leads out of {root}")
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        part.write_text(written, "utf-8")
        part.chmod(0o444)
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


ID = re.compile("[a-z0-9][a-z0-9-]{1,39}").pattern
PAGES = [(f"courses/({ID})", JoinHandler), (f"copies/({ID})/([^/]+)/(.+)", CopyHandler)]
