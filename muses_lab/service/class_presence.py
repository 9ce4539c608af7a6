"""A participant's server tells the hub how it goes: presence, answers, saved notebooks; and hears notes and wishes.

Nothing is sent where there is no hub. What the hub does not take now is sent later: answers are in the journal on the
participant's disk, notebooks where they are.
"""

from __future__ import annotations

import json
import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from jupyter_server.utils import ensure_async
from tornado.ioloop import PeriodicCallback

from muses_lab import settings
from muses_lab.courses import copies
from muses_lab.courses.description import FILE, CourseError, Description
from muses_lab.courses.journal import Journal, journals
from muses_lab.errors import AccessDenied, MusesError, NotFound, StoreUnavailable
from muses_lab.service import cluster
from muses_lab.service.kernel_errors import KernelErrors
from muses_lab.service.tile_service import TileService
from muses_lab.settings import number
from muses_lab.store import Note, Presence, Store

logger = logging.getLogger(__name__)

UNKNOWN_ROUNDS = 60
"""A course that the hub does not take is left alone for so many rounds: it was removed, or is one's own."""

LOST = "the hub has only %d answers to the course %s: all are sent again"

HUB_ROUNDS = 2
"""Who is in no course asks for notes to all users every so many rounds."""


class ClassPresence:
    """Every `MUSES_CLASS_SECONDS` (5) while a notebook of a course is open; else only what was not sent yet."""

    def __init__(self, web_settings: dict[str, Any], service: TileService) -> None:
        self._settings, self._service = web_settings, service
        self._errors = KernelErrors(web_settings["kernel_manager"])
        self._timer = PeriodicCallback(self.look, 1000 * number("MUSES_CLASS_SECONDS"))
        self._rounds = 0
        self._unknown: dict[str, int] = {}
        self._done: set[str] = set()
        """Wishes that were fulfilled."""
        self._saved: dict[Path, int] = {}
        """Notebooks that the hub has, by the time of their last change."""
        self._sent: dict[str, tuple[int, int]] = {}
        """Journals of which the hub has all, by time and size."""

    def start(self) -> None:
        """From the event loop's thread; a server without a hub does nothing."""
        if settings.store_url().startswith(("http://", "https://")):
            self._timer.start()

    async def look(self) -> None:
        """One round. Whatever fails, the next one tries again."""
        self._rounds += 1
        try:
            sessions = await ensure_async(self._settings["session_manager"].list_sessions())
            here = await self._service.pools.records.run(copies_here)
            open_now = self._open(here, sessions)
            self._errors.follow(kernel for kernels in open_now.values() for _, kernel in kernels)
            self._service.notes.keep(here)
            await self._service.pools.records.run(self._send_answers)
            for course, copy in here.items():
                await self._tell(course, copy, open_now.get(course, []))
            if not open_now and self._rounds % HUB_ROUNDS == 0:
                self._service.notes.take(await self._service.pools.records.run(lambda: self._store().notes()))
        except StoreUnavailable as error:
            logger.info("the hub is not told how the course goes, it is tried again: %s", error)
        except (MusesError, OSError) as error:
            logger.warning("the hub is not told how the course goes: %s", error)

    def _store(self) -> Store:
        return self._service.store()

    def _open(self, here: dict[str, copies.Copy], sessions: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
        """By course its notebooks that have a kernel: their file and the kernel's id, the one used last first."""
        root = Path(self._settings.get("server_root_dir", "")).expanduser().resolve()
        found: dict[str, list[tuple[str, str, str]]] = {}
        for session in sessions:
            path, kernel = (root / session.get("path", "")).resolve(), session.get("kernel")
            for course, copy in here.items():
                if kernel and path.is_relative_to(folder := copy.folder.resolve()):
                    used, file = str(kernel.get("last_activity", "")), path.relative_to(folder).as_posix()
                    found.setdefault(course, []).append((used, file, kernel["id"]))
        return {course: [entry[1:] for entry in sorted(some, reverse=True)] for course, some in found.items()}

    async def _tell(self, course: str, copy: copies.Copy, open_now: list[tuple[str, str]]) -> None:
        """What concerns one copy of a course."""
        records = self._service.pools.records
        if self._unknown.get(course, 0) > self._rounds:
            return
        try:
            if open_now:
                presence = await self._presence(course, open_now)
                heard = await records.run(lambda: self._store().put_presence(presence))
                self._service.notes.take(heard.notes, course)
                self._fulfil(heard.notes)
                await records.run(self._compare, course, heard.answers)
            await records.run(self._send_notebooks, copy, course)
        except StoreUnavailable:
            raise
        except MusesError as error:
            if self._failed(course, error):
                self._service.notes.take([], course)

    def _failed(self, course: str, error: MusesError) -> bool:
        """Whether the course is left alone for a while: there is none on the hub, or the user may not be in it."""
        if _is_of_course(error):
            logger.info("the hub takes nothing of the course %s, it is tried again in a while: %s", course, error)
            self._unknown[course] = self._rounds + UNKNOWN_ROUNDS
            return True
        logger.warning("the hub does not take how the course %s goes: %s", course, error)
        return False

    async def _presence(self, course: str, open_now: list[tuple[str, str]]) -> Presence:
        look: dict[str, Any] = {"state": "threads", "threads": 0, "running": 0, "memory": 0}
        in_threads = cluster.is_threads()
        try:
            if self._service.computed or not in_threads:  # being looked at must not start an executor
                look = await self._service.pools.cluster.run(cluster.look)
        except MusesError as error:
            logger.info("the cluster does not say how it is: %s", error)
            look["state"] = "silent"
        kernels = self._settings["kernel_manager"]
        pids = [getattr(kernels.get_kernel(id).provisioner, "pid", None) for id in kernels.list_kernel_ids()]
        memory = sum(map(_memory, [os.getpid(), *(pid for pid in pids if pid)]))
        errors = [self._errors.of(id) for _, id in open_now]
        return Presence(
            course,
            notebook=name if len(name := open_now[0][0]) <= 255 and name.isprintable() else "",
            error=next(filter(None, errors), ""),
            cluster="threads" if in_threads and look["state"] == "idle" else look["state"],
            load=min(1.0, look["running"] / look["threads"]) if look["threads"] else 0.0,
            memory=memory + (0 if in_threads else look["memory"]),
        )

    def _fulfil(self, notes: list[Note]) -> None:
        """Starts or stops the cluster as the newest wish says, once."""
        wishes = [note for note in notes if note.kind != "note"]
        new = [note for note in wishes if note.id not in self._done]
        self._done |= {note.id for note in new}
        if new and new[0] is wishes[0]:
            logger.info("%s wishes that the clusters of the class %s", new[0].by, new[0].kind)
            cluster.wish(self._service, new[0].kind)

    # In threads

    def _send_answers(self) -> None:
        for journal in journals():
            status = journal.file.stat()
            now = (status.st_mtime_ns, status.st_size)
            if self._sent.get(journal.course) == now or self._unknown.get(journal.course, 0) > self._rounds:
                continue
            try:
                self._send(journal)
                self._sent[journal.course] = now
            except StoreUnavailable:
                raise
            except MusesError as error:
                if not self._failed(journal.course, error):
                    self._sent[journal.course] = now  # tried again with the next answer

    def _send(self, journal: Journal) -> None:
        answers, position = journal.unsent()
        while answers:
            kept = self._store().put_answers(answers)
            if journal.hub_has(kept.had):
                logger.warning(LOST, kept.had, journal.course)
            else:
                journal.sent(position, kept.has)
            answers, position = journal.unsent()

    def _compare(self, course: str, count: int) -> None:
        """The next round sends all answers again where the hub has fewer than it had."""
        if Journal(course).hub_has(count):
            logger.warning(LOST, count, course)
            self._sent.pop(course, None)

    def _send_notebooks(self, copy: copies.Copy, course: str) -> None:
        """What the hub does not take of one notebook concerns it alone; it is tried again when it was changed."""
        limit = int(number("MUSES_MAX_NOTEBOOK"))
        for notebook in _described(copy).notebooks:
            file = copy.folder / notebook.file
            try:
                changed = file.stat().st_mtime_ns
            except OSError:  # deleted
                continue
            if self._saved.get(file) == changed:
                continue
            try:
                text = file.read_text("utf-8")
                if len(text.encode()) > limit:
                    text = without_outputs(text)
                self._store().put_notebook(course, notebook.file, text)
            except OSError:  # just not to be read: the next round sees
                continue
            except StoreUnavailable:
                raise
            except (MusesError, ValueError, RecursionError) as error:
                if isinstance(error, MusesError) and _is_of_course(error):
                    raise
                logger.warning("the hub does not get the notebook %s: %s", file, error)
            self._saved[file] = changed


def copies_here() -> dict[str, copies.Copy]:
    """The user's copies of courses by name, where `muses/courses/<id>` and `muses-lab course open` make them."""
    found = {}
    for record in sorted(copies.home_of("any").parent.glob(f"*/{copies.RECORD}")):
        try:
            copy = copies.find_copy(record.parent)
        except (CourseError, OSError):  # its course is gone
            continue
        found[_described(copy).course] = copy
    return found


def _described(copy: copies.Copy) -> Description:
    return _read(copy.published, (copy.published / FILE).stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _read(folder: Path, changed: int) -> Description:
    """A course's description, read again when it was changed."""
    return Description.read(folder)


def _is_of_course(error: MusesError) -> bool:
    """Whether an error concerns all that is sent of a course, and not one notebook."""
    return isinstance(error, AccessDenied) or (isinstance(error, NotFound) and "course" in error.details)


def without_outputs(text: str) -> str:
    """A notebook without what its cells gave: often all but a few of its bytes; `ValueError` for what is none."""
    book = json.loads(text)
    try:
        for cell in book.get("cells", ()):
            if cell.get("cell_type") == "code":
                cell["outputs"] = []
        book.get("metadata", {}).pop("widgets", None)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"it is no notebook: {error}") from None
    return json.dumps(book, ensure_ascii=False, indent=1)


def _memory(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
