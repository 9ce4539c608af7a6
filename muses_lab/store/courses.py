"""Courses in a database: what was published, answers, presence, notes and notebooks, and who may see what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, and_, case, delete, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from muses_lab.errors import AccessDenied, MusesError, NotFound, TooLarge
from muses_lab.settings import number
from muses_lab.store import schema
from muses_lab.store.database import Database
from muses_lab.store.interface import Store
from muses_lab.store.records import (
    COURSE_STATES,
    MAX_MANIFEST,
    Answer,
    CourseRecord,
    Heard,
    Kept,
    Note,
    NotebookCopy,
    Presence,
    Tries,
    Who,
    check_course,
)
from muses_lab.store.schema import answer, course, note, notebook, presence

MAX_ANSWERS = 20_000
"""Answers that are kept of one participant of a course."""

NOTE_HOURS = 24
"""For which a note is shown that does not say until when."""

WISH_SECONDS = 60
"""For which a wish for the clusters holds: servers ask every few seconds, and one that starts later shall not obey."""


class CourseTables(Store):
    """The part of `SqlStore` that is about courses. The user without a name, whose file it is, may see everything."""

    database: Database
    who: Who

    def courses(self) -> list[CourseRecord]:
        with self.database.connect() as connection:
            found = connection.execute(select(course).order_by(course.c.created.desc(), course.c.id))
            records = [self._record(row) for row in found]
        return [record for record in records if record.state == "open" or record.trainer]

    def course(self, id: str) -> CourseRecord:
        with self.database.connect() as connection:
            record = self._known(connection, id)
        if record.state == "removed" and not record.trainer:
            raise _removed(id)
        return record

    def trained(self, id: str) -> CourseRecord:
        """The course, if the user is a trainer of it."""
        with self.database.connect() as connection:
            return self._trained(connection, id)

    def has_begun(self, id: str) -> bool:
        """Whether the user was in a course already, and may go on when it is closed."""
        with self.database.connect() as connection:
            return self._has_begun(connection, id)

    def last_notebook(self, id: str) -> str:
        """The notebook of a course that the user had open last; empty where none is known."""
        mine = (presence.c.course == id, presence.c.owner == self.who.name)
        with self.database.connect() as connection:
            return connection.scalar(select(presence.c.notebook).where(*mine)) or ""

    def put_course(self, record: CourseRecord) -> CourseRecord:
        """Keeps a course that was published; one of the same name is published anew, and stays its first owner's."""
        self._must_publish()
        manifest = json.dumps(record.manifest, separators=(",", ":"), allow_nan=False)
        if len(manifest) > MAX_MANIFEST:
            raise TooLarge(f"the course's description has {len(manifest)} characters; {MAX_MANIFEST} are allowed")
        values = {"version": record.version, "manifest": manifest, "size": record.size, "state": "open"}
        row = {"id": record.id, "owner": self.who.name, "changed": schema.now(), **values}
        with self.database.begin() as connection:
            upsert(connection, course, row, ["version", "manifest", "size", "state", "changed"])
            return self._known(connection, record.id)

    def set_course_state(self, id: str, state: str) -> None:
        if state not in COURSE_STATES[:2]:
            raise MusesError(f"a course is set to {' or '.join(COURSE_STATES[:2])}, not to {state[:20]!r}")
        with self.database.begin() as connection:
            found = self._trained(connection, id)
            if found.state == "removed":
                raise MusesError(f"the course {id!r} was removed: publish it again")
            connection.execute(update(course).where(course.c.id == id).values(state=state, changed=schema.now()))

    def remove_course(self, id: str, answers: bool = False) -> None:
        with self.database.begin() as connection:
            self._trained(connection, id)
            gone = (presence, note, answer, notebook) if answers else (presence, note)
            for table in gone:
                connection.execute(delete(table).where(table.c.course == id))
            if answers:
                connection.execute(delete(course).where(course.c.id == id))
            else:
                connection.execute(update(course).where(course.c.id == id).values(state="removed"))

    # Answers

    def put_answers(self, answers: Iterable[Answer]) -> Kept:
        several = list(answers)
        had = new = 0
        with self.database.begin() as connection:
            for id in sorted({one.course for one in several}):
                self._begun(connection, id)
                count = self._answered(connection, id)
                if count + len(several) > MAX_ANSWERS:
                    raise TooLarge(f"{count} answers of one participant are kept; {MAX_ANSWERS} are allowed")
                had += count
            for one in several:
                values = {n: getattr(one, n) for n in answer.c.keys() if hasattr(one, n)}  # noqa: SIM118
                new += insert(connection, answer, **{**values, "owner": self.who.name, "at": naive(one.at)})
        return Kept(had, had + new)

    def answers(self, course: str, everybody: bool = False, of: str = "") -> list[Answer]:
        """See `Store`; for trainers those of one participant, too."""
        query = select(answer).where(answer.c.course == course).order_by(answer.c.received, answer.c.at, answer.c.id)
        with self.database.connect() as connection:
            if everybody or of:
                self._trained(connection, course)
            if of or not everybody:
                query = query.where(answer.c.owner == (of or self.who.name))
            return [_answer(row) for row in connection.execute(query)]

    def tries(self, course: str, messages: bool = False) -> list[Tries]:
        """What came of everybody's answers, by participant and exercise, without their texts; for trainers."""
        c = answer.c
        newest = (c.received.desc(), c.at.desc(), c.id.desc())
        place = func.row_number().over(partition_by=(c.owner, c.exercise), order_by=newest).label("place")
        one = select(c.owner, c.exercise, c.id, c.state, c.at, c.points, place).where(c.course == course).subquery()
        found = select(
            one.c.owner, one.c.exercise,
            func.count().label("tries"), func.max(one.c.points).label("points"),
            func.max(case((one.c.state == "right", 1), else_=0)).label("right"),
            func.max(case((one.c.place == 1, one.c.id), else_="")).label("id"),
            func.max(case((one.c.place == 1, one.c.state), else_="")).label("state"),
            func.max(case((one.c.place == 1, one.c.at))).label("at"),
        ).group_by(one.c.owner, one.c.exercise).subquery()  # fmt: skip
        query = select(found).order_by(found.c.owner, found.c.exercise)
        if messages:
            last = (c.owner == found.c.owner, c.id == found.c.id)
            query = query.add_columns(c.message).join(answer, and_(*last))
        with self.database.connect() as connection:
            self._trained(connection, course)
            rows = connection.execute(query).mappings().all()
        return [
            Tries(
                row["owner"], row["exercise"], row["tries"], row["points"], row["right"] == 1, row["state"],
                aware(row["at"]), row.get("message", ""),
            )
            for row in rows
        ]  # fmt: skip

    # Presence and notes

    def put_presence(self, new: Presence) -> Heard:
        values = {n: getattr(new, n) for n in presence.c.keys() if hasattr(new, n)}  # noqa: SIM118
        with self.database.begin() as connection:
            self._begun(connection, new.course)
            row = {**values, "owner": self.who.name, "seen": schema.now()}
            upsert(connection, presence, row, ["notebook", "error", "cluster", "load", "memory", "seen"])
            return Heard(self._notes(connection, new.course), self._answered(connection, new.course))

    def presences(self, course: str) -> list[Presence]:
        with self.database.connect() as connection:
            self._trained(connection, course)
            rows = connection.execute(select(presence).where(presence.c.course == course).order_by(presence.c.owner))
            return [Presence(**{**_named(row), "seen": aware(row.seen)}) for row in rows]

    def put_note(self, new: Note) -> Note:
        now = datetime.now(UTC)
        lasts = timedelta(hours=NOTE_HOURS) if new.kind == "note" else timedelta(seconds=WISH_SECONDS)
        kept = replace(new, by=self.who.name, at=now, until=new.until or now + lasts)
        with self.database.begin() as connection:
            self._must_tell(connection, new.course)
            row = {n: getattr(kept, n) for n in ("id", "course", "kind", "text")}
            insert(connection, note, owner=kept.by, at=naive(kept.at), until=naive(kept.until), **row)
            connection.execute(delete(note).where(note.c.until < naive(now - timedelta(days=30))))
        return kept

    def notes(self, course: str = "") -> list[Note]:
        with self.database.connect() as connection:
            if course:
                self._joined(connection, course)
            return self._notes(connection, course)

    def remove_note(self, id: str) -> None:
        with self.database.begin() as connection:
            row = connection.execute(select(note).where(note.c.id == id)).one_or_none()
            if row is None:
                return
            self._must_tell(connection, row.course)
            connection.execute(delete(note).where(note.c.id == id))

    def _notes(self, connection: Connection, id: str) -> list[Note]:
        holds = (note.c.until > schema.now(), or_(note.c.course == "", note.c.course == id))
        rows = connection.execute(select(note).where(*holds).order_by(note.c.at.desc()).limit(100))
        return [_note(row) for row in rows]

    # Notebooks

    def put_notebook(self, course: str, file: str, text: str) -> None:
        size, limit = len(text.encode()), int(number("MUSES_MAX_NOTEBOOK"))
        if size > limit:
            raise TooLarge(f"{file[:80]} has {size} bytes; MUSES_MAX_NOTEBOOK allows {limit}", size=size, limit=limit)
        with self.database.begin() as connection:
            known = self._begun(connection, course)
            if file not in (one["file"] for one in known.manifest["notebooks"]):
                raise NotFound(f"the course {course!r} has no notebook {file[:80]!r}")
            row = {
                "course": course, "owner": self.who.name, "file": file, "size": size, "body": text,
                "digest": hashlib.sha256(text.encode()).hexdigest(), "at": schema.now(),
            }  # fmt: skip
            upsert(connection, notebook, row, ["digest", "size", "body", "at"])

    def notebooks(self, course: str) -> list[NotebookCopy]:
        columns = [column for column in notebook.c if column.name != "body"]
        with self.database.connect() as connection:
            self._trained(connection, course)
            rows = connection.execute(
                select(*columns).where(notebook.c.course == course).order_by(notebook.c.owner, notebook.c.file)
            )
            return [NotebookCopy(**{**_named(row), "at": aware(row.at)}) for row in rows]

    def notebook(self, course: str, user: str, file: str) -> str:
        with self.database.connect() as connection:
            if user != self.who.name:
                self._trained(connection, course)
            body = connection.scalar(
                select(notebook.c.body).where(
                    notebook.c.course == course, notebook.c.owner == user, notebook.c.file == file
                )
            )
        if body is None:
            raise NotFound(f"nothing was kept of {file[:80]!r} of {user[:80]!r}: they have not saved it yet")
        return body

    # Who may

    def _record(self, row: Any) -> CourseRecord:
        values = {**row._mapping, "manifest": json.loads(row.manifest)}
        times = {name: aware(values[name]) for name in ("created", "changed")}
        trains = self.who.trainer or not self.who.name or row.owner == self.who.name
        return CourseRecord(**{**values, **times, "trainer": trains})

    def _known(self, connection: Connection, id: str) -> CourseRecord:
        row = connection.execute(select(course).where(course.c.id == id)).one_or_none()
        if row is None:
            raise _no_course(id)
        return self._record(row)

    def _joined(self, connection: Connection, id: str) -> CourseRecord:
        """A course that is there for participants."""
        found = self._known(connection, check_course(id))
        if found.state == "removed":
            raise _removed(id)
        return found

    def _begun(self, connection: Connection, id: str) -> CourseRecord:
        """A course that the user takes part in: where it is closed, only who was in it before."""
        found = self._joined(connection, id)
        if found.state != "open" and not found.trainer and not self._has_begun(connection, id):
            raise AccessDenied(f"the course {id!r} is {found.state}: only who has begun it goes on")
        return found

    def _has_begun(self, connection: Connection, id: str) -> bool:
        mine = (exists().where(table.c.course == id, table.c.owner == self.who.name) for table in (presence, answer))
        return bool(connection.scalar(select(or_(*mine))))

    def _answered(self, connection: Connection, id: str) -> int:
        mine = (answer.c.course == id, answer.c.owner == self.who.name)
        return connection.scalar(select(func.count()).select_from(answer).where(*mine)) or 0

    def _trained(self, connection: Connection, id: str) -> CourseRecord:
        found = self._known(connection, id)
        if not found.trainer:
            raise AccessDenied(f"the participants of {id!r} are for its trainers to see")
        return found

    def _must_publish(self) -> None:
        if self.who.name and not self.who.trainer:
            raise AccessDenied(
                f"{self.who.name} is no trainer of this hub: its administrator names trainers by MUSES_HUB_TRAINERS"
            )

    def _must_tell(self, connection: Connection, id: str) -> None:
        if id:
            self._trained(connection, id)
        elif self.who.name and not self.who.admin:
            raise AccessDenied(f"{self.who.name} is no administrator of this hub: notes to all its users are theirs")


def insert(connection: Connection, table: Table, **row: Any) -> bool:
    """Adds a row; False when there is one with this key."""
    statement = _dialect(connection).insert(table).values(**row).on_conflict_do_nothing()
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1


def upsert(connection: Connection, table: Table, row: dict[str, Any], changing: list[str]) -> None:
    """Adds a row, or changes these columns of the one with its key."""
    statement = _dialect(connection).insert(table).values(**row)
    changed = {name: statement.excluded[name] for name in changing}
    keys = [column.name for column in table.primary_key]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def aware(when: datetime | None) -> datetime | None:
    return when.replace(tzinfo=UTC) if when is not None else None


def naive(when: datetime | None) -> datetime | None:
    return when.astimezone(UTC).replace(tzinfo=None) if when is not None else None


def _named(row: Any) -> dict[str, Any]:
    """A row whose owner is called `user`, as records call them."""
    values = dict(row._mapping)
    user = values.pop("owner")
    return {**values, "user": user}


def _answer(row: Any) -> Answer:
    values = _named(row)
    del values["received"]
    return Answer(**{**values, "at": aware(row.at)})


def _note(row: Any) -> Note:
    values = dict(row._mapping)
    by = values.pop("owner")
    return Note(**{**values, "by": by, "at": aware(row.at), "until": aware(row.until)})


def _no_course(id: str) -> NotFound:
    return NotFound(
        f"there is no course {id[:64]!r} on this hub: none of that name was published, or it was removed with all "
        "answers",
        course=id[:64],
    )


def _removed(id: str) -> NotFound:
    return NotFound(f"the course {id!r} was removed from this hub by its trainer", course=id, state="removed")
