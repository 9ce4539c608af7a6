"""The database below a store, SQLite or PostgreSQL: connections, and the files beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from filelock import Timeout as LockTimeout
from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from muses_lab.errors import MusesError, StoreUnavailable, StoreUnusable

FILE_BYTES = 4 << 20
"""Artefacts above this size are files beside a SQLite store: a large blob would hold its write lock for long."""

BUSY_SECONDS = 30
"""How long a SQLite writer waits for the others."""

OPENING_SECONDS = 120
"""How long a process waits for another one that makes or changes the tables of the same SQLite file."""

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
        `store.opening.open_database` also looks after its tables.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = _checked(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        name = self.url.database if self.sqlite else None
        self.file = Path(name).resolve() if name and name != ":memory:" else None
        self.engine = create_engine(self.url, **self._options())
        if self.sqlite:
            event.listen(self.engine, "connect", _tune_sqlite)

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
        with self.reachable(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection to read with."""
        with self.reachable(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees the database as it is now, however long it reads and whoever writes meanwhile."""
        with self.reachable(), self.engine.connect() as connection:
            if self.sqlite:
                connection.exec_driver_sql("BEGIN")
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")  # it begins with the first look
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield connection

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """What the database itself cannot do is an error of ours that says what can be done about it."""
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            told = self._told(error)
            if told is None:
                raise
            raise told from error

    def _told(self, error: DBAPIError | PoolTimeout) -> MusesError | None:
        """What lies behind a database's error; None: a mistake of ours."""
        name, reason = getattr(getattr(error, "orig", None), "sqlite_errorname", ""), _reason(error)
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")) or (name == "SQLITE_ERROR" and "no such" in reason):
            return self.damaged(reason)
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return self.closed(reason)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreUnavailable(
                f"the store {self.file} has been locked by another process for more than {BUSY_SECONDS} s: wait for "
                "its end, or end it (`fuser` shows who it is)"
            )
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if lost or isinstance(error, OperationalError | InterfaceError | PoolTimeout):
            return StoreUnavailable(f"the store's database {self} does not answer: {reason}")
        return None

    def damaged(self, reason: str) -> StoreUnusable:
        """The error that says so, and what can be done about it."""
        return StoreUnusable(
            f"the store {self.file or self} is damaged, or is no store of MUSES Lab ({reason}). Move it away with the "
            "files beside it that begin with its name, and an empty one is made; a backup is then read back by "
            "`muses-lab store restore BACKUP`"
        )

    def closed(self, reason: str) -> StoreUnusable:
        return StoreUnusable(
            f"the store {self.file} cannot be opened for writing ({reason}): it must be a file that you may write, in "
            "a folder where you may write. Or name another one by MUSES_STORE_URL"
        )

    # The schema

    def revision(self) -> str | None:
        """The schema that the database has; None while it is empty."""
        with self.connect() as connection:
            return revision(connection)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process makes or changes the tables of a SQLite file meanwhile."""
        if self.file is None:
            yield
            return
        held = FileLock(f"{self.file}.lock", mode=0o600, timeout=OPENING_SECONDS)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            held.acquire()
            # documents may be private: the user's alone, whatever the umask; SQLite gives its side files the same mode
            os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
        except LockTimeout:
            raise StoreUnavailable(
                f"another process has been opening the store {self.file} for more than {OPENING_SECONDS} s: wait for "
                f"its end, or end it (`fuser {self.file}.lock` shows who it is)"
            ) from None
        except OSError as error:
            held.release()
            raise self.closed(error.strerror or str(error)) from error
        try:
            yield
        finally:
            held.release()

    def problems(self) -> list[str]:
        """What SQLite finds wrong with the file when it reads all of it; of other databases their servers know."""
        if not self.sqlite:
            return []
        with self.connect() as connection:
            found = connection.execute(text("PRAGMA quick_check(5)")).scalars().all()
        return [line for line in found if line != "ok"]

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
