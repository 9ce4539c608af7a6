"""The database below a store: opened with the schema that this release wants, SQLite or PostgreSQL."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from muses_lab.errors import MusesError, StoreUnavailable
from muses_lab.store.schema import REVISION, metadata

FILE_BYTES = 4 << 20
"""Artefacts above this size are files beside a SQLite store: a large blob would hold its write lock for long."""

BUSY_SECONDS = 30
"""How long a SQLite writer waits for the others."""

POSTGRESQL: dict[str, Any] = {
    "connect_timeout": 10,
    "tcp_user_timeout": 20_000,
    "application_name": "muses-lab",
    "options": "-c statement_timeout=60s -c lock_timeout=30s -c idle_in_transaction_session_timeout=300s",
}
"""Every wait for a PostgreSQL server has a limit."""

_LOCK = "SELECT pg_advisory_xact_lock(7205753)"
"""Held by the process that makes or changes the tables."""


class Database:
    """Connections to a store's database, and the files beside it.

    Parameters
    ----------
    url
        SQLAlchemy URL. `sqlite://` is a database in memory, for one thread.
    upgrade
        Whether an older schema is brought up to date. SQLite files of users are (True by default), other databases have
        administrators who want a backup first.
    schema
        Whether the tables are looked after at all.
    """

    def __init__(self, url: str | URL, upgrade: bool | None = None, schema: bool = True) -> None:
        self.url = _checked(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        name = self.url.database if self.sqlite else None
        self.file = Path(name).resolve() if name and name != ":memory:" else None
        self.engine = create_engine(self.url, **self._options())
        if self.sqlite:
            event.listen(self.engine, "connect", _tune_sqlite)
        if schema:
            self._open(self.sqlite if upgrade is None else upgrade)

    def _options(self) -> dict[str, Any]:
        if self.url.get_backend_name() == "postgresql":
            return {"pool_pre_ping": True, "pool_size": 8, "max_overflow": 8, "connect_args": POSTGRESQL}
        return {}

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction: all that is done in it is kept, or nothing."""
        with self._reachable(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection to read with."""
        with self._reachable(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees the database as it is now, however long it reads and whoever writes meanwhile."""
        with self._reachable(), self.engine.connect() as connection:
            if self.sqlite:
                connection.exec_driver_sql("BEGIN")
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")  # it begins with the first look
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield connection

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            raise StoreUnavailable(f"the store's database {self} does not answer: {_reason(error)}") from error
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise StoreUnavailable(f"the store's database {self} does not answer: {_reason(error)}") from error

    # The schema

    def revision(self) -> str | None:
        """The schema that the database has; None while it is empty."""
        with self.connect() as connection:
            return revision(connection)

    def _open(self, upgrade: bool) -> None:
        """Makes the tables once, however many processes open the store for the first time together."""
        with self.alone():
            found = self.revision()
            if found == REVISION:
                return
            if found is None:
                self._create()
            else:
                from muses_lab.store import migrate

                migrate.check_known(self, found)
                if not upgrade:
                    raise MusesError(
                        f"the store {self} has the schema {found}, this release needs {REVISION}: make a backup "
                        "(`muses-lab store backup FILE`), then run `muses-lab store migrate`"
                    )
                migrate.upgrade(self)

    def _create(self) -> None:
        with self.begin() as connection:
            lock(connection)
            if revision(connection) is not None:  # somebody else was first
                return
            metadata.create_all(connection)
            stamp(connection, REVISION)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process makes or changes the tables of a SQLite file meanwhile."""
        if self.file is None:
            yield
            return
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(f"{self.file}.lock", mode=0o600):
            # documents may be private: the user's alone, whatever the umask; SQLite gives its side files the same mode
            os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
            yield

    # Large artefacts

    def is_outside(self, size: int) -> bool:
        """Whether an artefact of so many bytes is a file beside the database."""
        return self.file is not None and size > FILE_BYTES

    def path(self, digest: str) -> Path:
        assert self.file is not None
        return self.file.with_suffix(".artefacts") / digest[:2] / digest

    def write(self, digest: str, body: bytes) -> None:
        """The whole file or none, whoever else writes the same."""
        path = self.path(digest)
        if path.exists():
            return
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


def _checked(url: str | URL) -> URL:
    try:
        found = make_url(url)
    except ArgumentError:
        raise MusesError(
            f"{str(url)[:20]!r}… is not the URL of a database: sqlite:///file or postgresql+psycopg://…"
        ) from None
    if found.get_backend_name() not in ("sqlite", "postgresql"):
        raise MusesError(f"a store is in SQLite or PostgreSQL, not in {found.get_backend_name()!r}")
    return found.set(drivername="postgresql+psycopg") if found.drivername == "postgresql" else found


def revision(connection: Connection) -> str | None:
    """The schema's revision; the first release that had a store did not write it down."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if found is not None:
            return found
    return "0001" if "document" in tables else None


def lock(connection: Connection) -> None:
    """Until the transaction's end no other process makes or changes the tables of a PostgreSQL database."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(_LOCK))


def stamp(connection: Connection, value: str | None) -> None:
    """Writes the revision down where alembic looks for it; None: there is no schema yet."""
    connection.execute(
        text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    )
    connection.execute(text("DELETE FROM alembic_version"))
    if value is not None:
        connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:value)"), {"value": value})


def _tune_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _reason(error: Exception) -> str:
    """The database's own words, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0][:300]
