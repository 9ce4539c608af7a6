"""The store in a database: a SQLite file of the user, or what a hub's service keeps for all its users."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, and_, delete, exists, func, or_, select, update
from sqlalchemy.sql import ColumnElement

from muses_lab.errors import MusesError, NotFound, StoreUnusable, TooLarge
from muses_lab.settings import number
from muses_lab.store import audit, schema
from muses_lab.store.courses import CourseTables, aware, insert, naive
from muses_lab.store.database import Database
from muses_lab.store.opening import open_database
from muses_lab.store.records import (
    LIVE,
    MAX_CONTENT,
    WISHES,
    AuditEntry,
    JobRecord,
    Share,
    Who,
    check_hash,
    check_id,
    short,
)
from muses_lab.store.schema import artefact, document, holding, job, result, share, share_grant, share_item, style

MAX_JOBS = 500
"""Jobs of a user that are remembered; of more than these, the oldest that have ended are forgotten."""

B = TypeVar("B", str, bytes)

NOUNS = {"document": "chain", "style": "style", "artefact": "artefact"}


class SqlStore(CourseTables):
    """A store in a database, as one user sees it (see `Store`).

    Parameters
    ----------
    database
        The database, or its SQLAlchemy URL. `sqlite://` is a store in memory, for one thread.
    who
        The user; by default the one without a name whose file it is.
    user_bytes
        What one user may put here altogether; 0: as much as they like.
    """

    def __init__(self, database: Database | str, who: Who | None = None, user_bytes: int = 0) -> None:
        self.database = database if isinstance(database, Database) else open_database(database)
        self.who = who or Who()
        self._user_bytes = user_bytes

    def __repr__(self) -> str:
        return f"SqlStore({str(self.database)!r}{f', {self.who.name!r}' if self.who.name else ''})"

    def of(self, who: Who) -> SqlStore:
        """The same database as another user sees it."""
        return SqlStore(self.database, who, self._user_bytes)

    def close(self) -> None:
        self.database.close()

    # Documents and styles

    def put_document(self, hash: str, text: str) -> None:
        body = _checked("chain", hash, text.encode())
        with self.database.begin() as connection:
            insert(connection, document, hash=hash, body=text)
            if self._given(connection, "document", hash):  # looking at it does not make it theirs
                return
            if self._hold(connection, "document", hash, len(body)):
                audit.add(connection, self.who.name, [AuditEntry("published", hash, bytes=len(body))])

    def document(self, hash: str) -> str:
        return self._intact("chain", hash, self._get(document, hash).body)

    def documents(self, limit: int = 100) -> list[tuple[str, datetime]]:
        query = (
            select(holding.c.key, holding.c.created)
            .where(holding.c.owner == self.who.name, holding.c.kind == "document")
            .order_by(holding.c.created.desc())
            .limit(limit)
        )
        with self.database.connect() as connection:
            return [(row.key, row.created.replace(tzinfo=UTC)) for row in connection.execute(query)]

    def put_style(self, hash: str, text: str) -> None:
        body = _checked("style", hash, text.encode())
        with self.database.begin() as connection:
            insert(connection, style, hash=hash, body=text)
            if not self._given(connection, "style", hash):
                self._hold(connection, "style", hash, len(body))

    def style(self, hash: str) -> str:
        return self._intact("style", hash, self._get(style, hash).body)

    # Artefacts

    def put_artefact(self, digest: str, kind: str, body: bytes) -> None:
        _checked(f"artefact ({kind})", digest, body)
        if self.has_artefact(digest):
            return
        outside = self.database.is_outside(len(body))
        with self.database.connect() as connection:
            self._check_room(connection, len(body))
        if outside:
            self.database.write(digest, body)
        with self.database.begin() as connection:
            insert(connection, artefact, digest=digest, kind=kind, size=len(body), body=None if outside else body)
            self._hold(connection, "artefact", digest, len(body))

    def artefact(self, digest: str) -> bytes:
        row = self._get(artefact, digest)
        if row.body is not None:
            return self._intact("artefact", digest, bytes(row.body))
        path = self.database.path(digest)
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(
                f"the file of artefact {short(digest)} is gone from beside the store", artefact=digest
            ) from None
        except OSError as error:
            raise StoreUnusable(f"{path} of the store cannot be read ({error.strerror}): put it right") from error
        return self._intact("artefact", digest, body)

    def has_artefact(self, digest: str) -> bool:
        query = select(artefact.c.body.is_(None)).where(artefact.c.digest == digest, self._held("artefact", digest))
        with self.database.connect() as connection:
            row = connection.execute(query).one_or_none()
        return row is not None and (not row[0] or self.database.path(digest).exists())

    def put_result(self, node_hash: str, digest: str) -> str:
        with self.database.begin() as connection:
            insert(connection, result, owner=self.who.name, node=check_hash(node_hash), digest=check_hash(digest))
        return self.result(node_hash) or digest

    def result(self, node_hash: str) -> str | None:
        query = select(result.c.digest).where(result.c.owner == self.who.name, result.c.node == node_hash)
        with self.database.connect() as connection:
            return connection.scalar(query)

    # Jobs

    def put_job(self, record: JobRecord) -> None:
        mine = and_(job.c.owner == self.who.name, job.c.id == record.id)
        values = {
            **{name: getattr(record, name) for name in job.c.keys() if hasattr(record, name)},  # noqa: SIM118
            "options": _text("options", record.options),
            "changed": schema.now(),
        }
        del values["created"]
        with self.database.begin() as connection:
            before = connection.execute(select(job.c.state, job.c.process).where(mine).with_for_update()).one_or_none()
            if before is not None and before.process == record.process and record.state in WISHES.get(before.state, ()):
                values["state"] = before.state  # its process says how far it is, and has not heard of the wish yet
            if record.state in WISHES and before is not None and before.state not in LIVE:
                return  # it has ended meanwhile
            if before is None:
                insert(connection, job, owner=self.who.name, **values)
                self._forget_jobs(connection)
            else:
                connection.execute(update(job).where(mine).values(values))
            if record.state == "done" and (before is None or before.state != "done") and record.kind == "export":
                done = AuditEntry("exported", record.chain, pixels=record.pixels, bytes=record.bytes)
                audit.add(connection, self.who.name, [done])

    def job(self, id: str) -> JobRecord:
        with self.database.connect() as connection:
            query = select(job).where(job.c.owner == self.who.name, job.c.id == id)
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"there is no job {id[:64]!r}", job=id[:64])
        return _job(row)

    def jobs(self, limit: int = 100) -> list[JobRecord]:
        query = select(job).where(job.c.owner == self.who.name).order_by(job.c.created.desc()).limit(limit)
        with self.database.connect() as connection:
            return [_job(row) for row in connection.execute(query)]

    def _forget_jobs(self, connection: Connection) -> None:
        mine = job.c.owner == self.who.name
        newest = select(job.c.id).where(mine).order_by(job.c.created.desc()).limit(MAX_JOBS).scalar_subquery()
        ended = job.c.state.in_(("done", "cancelled"))
        connection.execute(delete(job).where(mine, ended, job.c.id.not_in(newest)))

    # Shares

    def put_share(self, new: Share) -> Share:
        items = {("document", new.content["chain"]), *(("artefact", digest) for digest in new.artefacts)}
        if "style" in new.content:
            items.add(("style", new.content["style"]))
        grants = {*(("user", name) for name in new.users), *(("group", name) for name in new.groups)}
        with self.database.begin() as connection:
            for kind, key in items:
                if not connection.scalar(select(self._held(kind, key))):
                    raise NotFound(
                        f"the {NOUNS[kind]} {short(key)} is not one of yours; what others share with you is theirs",
                        **{kind: key},
                    )
            added = insert(
                connection, share, id=check_id("share", new.id), owner=self.who.name, title=new.title,
                content=_text("content", new.content), expires=naive(new.expires),
            )  # fmt: skip
            if not added:  # the same request once more, or somebody else's name for a share
                return self._own_share(connection, new.id)
            for kind, key in items:
                insert(connection, share_item, share=new.id, kind=kind, key=key)
            for kind, name in grants:
                insert(connection, share_grant, share=new.id, kind=kind, name=name)
            audit.add(connection, self.who.name, [AuditEntry("shared", new.content["chain"])])
            return self._own_share(connection, new.id)

    def share(self, id: str) -> Share:
        with self.database.begin() as connection:
            row = connection.execute(
                select(share).where(share.c.id == id, share.c.owner == self.who.name)
            ).one_or_none()
            if row is not None:
                return self._own_share(connection, id)
            row = connection.execute(select(share).where(share.c.id == id, self._granted())).one_or_none()
            if row is None:
                raise _no_share(id)
            found = _share(row, items=_items(connection, id))
            audit.add(connection, self.who.name, [AuditEntry("opened", found.content["chain"])])
            return found

    def shares(self, limit: int = 100) -> list[Share]:
        query = select(share.c.id).where(share.c.owner == self.who.name).order_by(share.c.created.desc()).limit(limit)
        with self.database.connect() as connection:
            return [self._own_share(connection, id) for id in connection.scalars(query).all()]

    def shared(self, limit: int = 100) -> list[Share]:
        query = (
            select(share)
            .where(self._granted(), share.c.owner != self.who.name)
            .order_by(share.c.created.desc())
            .limit(limit)
        )
        with self.database.connect() as connection:
            return [_share(row, _items(connection, row.id)) for row in connection.execute(query).all()]

    def revoke(self, id: str) -> None:
        with self.database.begin() as connection:
            found = self._own_share(connection, id)
            if found.revoked is None:
                connection.execute(update(share).where(share.c.id == id).values(revoked=schema.now()))
                audit.add(connection, self.who.name, [AuditEntry("revoked", found.content["chain"])])

    def _own_share(self, connection: Connection, id: str) -> Share:
        row = connection.execute(select(share).where(share.c.id == id, share.c.owner == self.who.name)).one_or_none()
        if row is None:
            raise _no_share(id)
        grants = connection.execute(select(share_grant).where(share_grant.c.share == id).order_by(share_grant.c.name))
        return _share(row, _items(connection, id), [(g.kind, g.name) for g in grants])

    # Audit

    def note(self, entries: Iterable[AuditEntry]) -> None:
        with self.database.begin() as connection:
            audit.add(connection, self.who.name, entries)

    def audit(self, limit: int = 1000) -> list[AuditEntry]:
        with self.database.connect() as connection:
            return audit.read(connection, limit, self.who.name)

    # Who may read what

    def _held(self, kind: str, key: str) -> ColumnElement[bool]:
        """Whether the user has put it here."""
        return exists().where(holding.c.owner == self.who.name, holding.c.kind == kind, holding.c.key == key)

    def _granted(self) -> ColumnElement[bool]:
        """Whether a share of the enclosing query is open to the user now."""
        name = and_(share_grant.c.kind == "user", share_grant.c.name == self.who.name)
        group = and_(share_grant.c.kind == "group", share_grant.c.name.in_(sorted(self.who.groups)))
        granted = exists().where(share_grant.c.share == share.c.id, or_(name, group))
        holds = or_(share.c.expires.is_(None), share.c.expires > schema.now())
        return and_(share.c.revoked.is_(None), holds, granted)

    def _readable(self, kind: str, key: str) -> ColumnElement[bool]:
        given = exists().where(
            share_item.c.kind == kind, share_item.c.key == key, share_item.c.share == share.c.id, self._granted()
        )
        return or_(self._held(kind, key), given)

    def _given(self, connection: Connection, kind: str, key: str) -> bool:
        """Whether the user may read it only because somebody shares it with them."""
        held, readable = connection.execute(select(self._held(kind, key), self._readable(kind, key))).one()
        return readable and not held

    def _get(self, table: Table, key: str) -> Any:
        """The row with this hash, if the user may read it; whether there is one that they may not is not told."""
        kind = table.name
        name = next(iter(table.primary_key))
        with self.database.connect() as connection:
            row = connection.execute(select(table).where(name == key, self._readable(kind, key))).one_or_none()
        if row is None:
            what = NOUNS[kind]
            raise NotFound(f"there is no {what} {short(key)} in this store; publish it first", **{what: key})
        return row

    def _intact(self, what: str, key: str, body: B) -> B:
        """What was kept, if it still is what its name says: a damaged file must not give others' pixels."""
        found = hashlib.sha256(body.encode() if isinstance(body, str) else body).hexdigest()
        if found != key:
            raise self.database.damaged(f"the {what} {short(key)} is no longer what was kept")
        return body

    def _hold(self, connection: Connection, kind: str, key: str, size: int) -> bool:
        """Notes that the user has put something; whether it is new."""
        if connection.scalar(select(self._held(kind, key))):
            return False
        self._check_room(connection, size)
        return insert(connection, holding, owner=self.who.name, kind=kind, key=key, size=size)

    def _check_room(self, connection: Connection, size: int) -> None:
        if not self._user_bytes:
            return
        used = connection.scalar(select(func.sum(holding.c.size)).where(holding.c.owner == self.who.name)) or 0
        if used + size > self._user_bytes:
            raise TooLarge(
                f"{self.who.name} has put {used / 1e6:.1f} MB into the store: with these {size / 1e6:.1f} MB it "
                f"would be more than {self._user_bytes / 1e6:.0f} MB. The hub's administrator sets MUSES_HUB_USER_BYTES"
            )


def user_bytes() -> int:
    """What one user of a hub may put into its store (`MUSES_HUB_USER_BYTES`, default 4 GiB; 0: no limit)."""
    return int(number("MUSES_HUB_USER_BYTES"))


def _checked(what: str, key: str, body: bytes) -> bytes:
    found = hashlib.sha256(body).hexdigest()
    if found != check_hash(key):
        raise MusesError(f"{what} {short(key)} has the SHA-256 {short(found)}; it was not kept")
    return body


def _text(name: str, content: Any) -> str:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_CONTENT:
        raise TooLarge(f"{name} has {len(text)} characters as JSON; {MAX_CONTENT} are allowed")
    return text


def _job(row: Any) -> JobRecord:
    values = {
        **row._mapping,
        "options": json.loads(row.options),
        "created": aware(row.created),
        "changed": aware(row.changed),
    }
    del values["owner"]
    return JobRecord(**values)


def _share(row: Any, items: Iterable[tuple[str, str]], grants: Iterable[tuple[str, str]] = ()) -> Share:
    grants = list(grants)
    return Share(
        id=row.id,
        owner=row.owner,
        title=row.title,
        content=json.loads(row.content),
        users=tuple(name for kind, name in grants if kind == "user"),
        groups=tuple(name for kind, name in grants if kind == "group"),
        artefacts=tuple(key for kind, key in items if kind == "artefact"),
        created=aware(row.created),
        expires=aware(row.expires),
        revoked=aware(row.revoked),
    )


def _items(connection: Connection, id: str) -> list[tuple[str, str]]:
    query = select(share_item).where(share_item.c.share == id).order_by(share_item.c.key)
    return [(row.kind, row.key) for row in connection.execute(query)]


def _no_share(id: str) -> NotFound:
    return NotFound(f"there is no share {id[:64]!r}, or it is not (or no longer) granted to you", share=id[:64])
