"""The store: published documents, styles and artefacts by their hash, shared by kernels, the service and scripts.

A SQLite file of the user by default, PostgreSQL for a hub. Everything is content-addressed, so a put is idempotent
and nothing is ever changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import DateTime, LargeBinary, Text, create_engine, event, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from muses_lab import settings
from muses_lab.errors import MusesError, NotFound

FILE_BYTES = 4 << 20
"""Artefacts above this size are files beside a SQLite store: a large blob would hold its write lock for long."""

BUSY_SECONDS = 30
"""How long a SQLite writer waits for the others."""


class _Base(DeclarativeBase):
    pass


class _Document(_Base):
    __tablename__ = "document"
    hash: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(DateTime, default=lambda: datetime.now(UTC).replace(tzinfo=None))


class _Style(_Base):
    __tablename__ = "style"
    hash: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(DateTime, default=lambda: datetime.now(UTC).replace(tzinfo=None))


class _Artefact(_Base):
    __tablename__ = "artefact"
    digest: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    size: Mapped[int]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)  # None: a file beside the store
    created: Mapped[datetime] = mapped_column(DateTime, default=lambda: datetime.now(UTC).replace(tzinfo=None))


class _Result(_Base):
    __tablename__ = "result"
    node: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]


class Store:
    """Documents, styles and artefacts by hash; safe to use from any thread and from several processes at once.

    >>> store = Store("sqlite://")
    >>> store.put_document("ab" * 32, '{"process_graph": {}}')
    >>> store.document("ab" * 32)
    '{"process_graph": {}}'

    Parameters
    ----------
    url
        SQLAlchemy URL; by default `settings.store_url()`. `sqlite://` is a store in memory, for one thread.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url: URL = make_url(url or settings.store_url())
        file = self.url.database if self.url.get_backend_name() == "sqlite" else None
        self._file = Path(file).resolve() if file and file != ":memory:" else None
        self._engine = create_engine(self.url, **({} if self._file else {"pool_pre_ping": True}))
        if self.url.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _tune_sqlite)
        self._create()

    def __repr__(self) -> str:
        return f"Store({self.url.render_as_string(hide_password=True)!r})"

    def close(self) -> None:
        self._engine.dispose()

    # Documents and styles

    def put_document(self, hash: str, text: str) -> None:
        """Keeps a chain's document under its hash."""
        self._insert(_Document, hash=_hex(hash), body=text)

    def document(self, hash: str) -> str:
        """The document with this hash; `NotFound` if it was never published here."""
        return self._get(_Document.body, _Document.hash == hash, "chain", hash)

    def documents(self, limit: int = 100) -> list[tuple[str, datetime]]:
        """(hash, when) of the documents published last, newest first."""
        query = select(_Document.hash, _Document.created).order_by(_Document.created.desc()).limit(limit)
        with Session(self._engine) as session:
            return [(h, when.replace(tzinfo=UTC)) for h, when in session.execute(query)]

    def put_style(self, hash: str, text: str) -> None:
        """Keeps a style's document under its hash."""
        self._insert(_Style, hash=_hex(hash), body=text)

    def style(self, hash: str) -> str:
        """The document of the style with this hash; `NotFound` if it was never published here."""
        return self._get(_Style.body, _Style.hash == hash, "style", hash)

    # Artefacts: item lists, results of `fit` and `region` nodes

    def put_artefact(self, digest: str, kind: str, body: bytes) -> None:
        """Keeps `body` under its SHA-256; refuses a body that has another."""
        if self.has_artefact(_hex(digest)):
            return
        found = hashlib.sha256(body).hexdigest()
        if found != digest:
            raise MusesError(f"artefact {_short(digest)} ({kind}) has the SHA-256 {_short(found)}; it was not kept")
        outside = self._file is not None and len(body) > FILE_BYTES
        if outside:
            _write(self._path(digest), body)
        self._insert(_Artefact, digest=digest, kind=kind, size=len(body), body=None if outside else body)

    def artefact(self, digest: str) -> bytes:
        """The bytes with this SHA-256; `NotFound` if there are none."""
        body = self._get(_Artefact.body, _Artefact.digest == digest, "artefact", digest)
        if body is not None:
            return body
        try:
            return self._path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(
                f"the file of artefact {_short(digest)} is gone from beside the store", digest=digest
            ) from None

    def has_artefact(self, digest: str) -> bool:
        with Session(self._engine) as session:
            row = session.execute(select(_Artefact.body.is_(None)).where(_Artefact.digest == digest)).one_or_none()
        return row is not None and (not row[0] or self._path(digest).exists())

    def put_result(self, node_hash: str, digest: str) -> str:
        """Remembers which artefact a `fit` or `region` node gave; the first one stays, and is returned."""
        self._insert(_Result, node=_hex(node_hash), digest=_hex(digest))
        return self.result(node_hash) or digest

    def result(self, node_hash: str) -> str | None:
        """Digest of the artefact that this node gave, or None if it has not been evaluated."""
        with Session(self._engine) as session:
            return session.scalar(select(_Result.digest).where(_Result.node == node_hash))

    # Below the tables

    def _insert(self, table: type[_Base], **row: Any) -> None:
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        with Session(self._engine) as session, session.begin():
            session.execute(dialect.insert(table).values(**row).on_conflict_do_nothing())

    def _get(self, column: Any, condition: Any, what: str, key: str) -> Any:
        with Session(self._engine) as session:
            row = session.execute(select(column).where(condition)).one_or_none()
        if row is None:
            raise NotFound(f"there is no {what} {_short(key)} in this store; publish it first", **{what: key})
        return row[0]

    def _path(self, digest: str) -> Path:
        assert self._file is not None
        return self._file.with_suffix(".artefacts") / digest[:2] / digest

    def _create(self) -> None:
        """Makes the tables once, however many processes open the store for the first time together."""
        with self._alone(), self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(7205753)"))
            _Base.metadata.create_all(connection)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(f"{self._file}.lock"):
            # documents may be private: the user's alone, whatever the umask; SQLite gives its side files the same mode
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
            yield


def _tune_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _write(path: Path, body: bytes) -> None:
    """The whole file or none, whoever else writes the same."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def _hex(key: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{8,128}", key):
        raise MusesError(f"{key!r} is not a hash (lower-case hexadecimal)")
    return key


def _short(key: str) -> str:
    return f"{key[:12]}…" if len(key) > 13 else repr(key)


_lock = threading.Lock()
_stores: dict[tuple[int, str], Store] = {}


def default_store() -> Store:
    """The process's store at `settings.store_url()`; opened once, and again in a forked child."""
    key = (os.getpid(), settings.store_url())
    with _lock:
        if key not in _stores:
            _stores[key] = Store(key[1])
        return _stores[key]
