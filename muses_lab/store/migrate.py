"""An existing store brought to the schema of this release, by alembic: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event

from muses_lab.errors import StoreUnusable
from muses_lab.store.database import Database, lock, revision, stamp
from muses_lab.store.schema import REVISION

SCRIPTS = Path(__file__).with_name("migrations")


def upgrade(database: Database, target: str = REVISION) -> tuple[str | None, str]:
    """Migrates up to `target`; returns the revision that was found and the one that there is now."""
    with transaction(database) as connection:
        found = revision(connection)
        if found != target:
            stamp(connection, found)
            run(connection, target)
    return found, target


def run(connection: Connection, target: str) -> None:
    """The migrations up to `target`, within the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, target)


def check_known(database: Database, found: str) -> None:
    """A store that a newer release has changed is left alone."""
    known = {script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()}
    if found not in known:
        raise StoreUnusable(
            f"the store {database} has the schema {found!r}, which this release does not know (its newest is "
            f"{REVISION}): a newer release made it. Install that one, or name another store by MUSES_STORE_URL"
        )


@contextmanager
def transaction(database: Database) -> Iterator[Connection]:
    """All changes of the schema are one transaction, which Python's sqlite3 does not do by itself."""
    if not database.sqlite:
        with database.begin() as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            lock(connection)
            yield connection
    elif database.file is None:  # in memory: it is in the one connection that there is
        with database.begin() as connection:
            yield connection
    else:
        engine = create_engine(database.url)
        event.listen(engine, "connect", _own_transactions)
        event.listen(engine, "begin", _begin)
        try:
            with database.reachable(), engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


def _own_transactions(connection, _) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA busy_timeout = 30000")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
