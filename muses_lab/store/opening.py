"""A store's database opened with the schema that this release wants: tables are made, or brought up to date."""

from __future__ import annotations

from sqlalchemy import inspect
from sqlalchemy.engine import URL

from muses_lab.errors import StoreUnusable
from muses_lab.store.database import Database, lock, revision, stamp
from muses_lab.store.schema import REVISION, metadata


def open_database(url: str | URL, upgrade: bool | None = None) -> Database:
    """The database at a SQLAlchemy URL; `sqlite://` is one in memory, for one thread.

    Tables are made once, however many processes open a store for the first time together. `upgrade`: whether an older
    schema is brought up to date; SQLite files of users are by default, other databases have administrators who want a
    backup first (`StoreUnusable`).
    """
    database = Database(url)
    with database.alone():
        found = database.revision()
        if found == REVISION:
            _check_tables(database)
        elif found is None:
            _create(database)
        else:
            from muses_lab.store import migrate  # alembic takes long to import, and few stores need it

            migrate.check_known(database, found)
            if not (database.sqlite if upgrade is None else upgrade):
                raise StoreUnusable(
                    f"the store {database} has the schema {found}, this release needs {REVISION}: make a backup "
                    "(`muses-lab store backup FILE`), then run `muses-lab store migrate`"
                )
            migrate.upgrade(database)
    return database


def _check_tables(database: Database) -> None:
    """A file that lacks a table must not pass for one whose table is empty: a backup would be made of it."""
    with database.connect() as connection:
        if missing := set(metadata.tables) - set(inspect(connection).get_table_names()):
            raise database.damaged(f"it lacks {', '.join(sorted(missing))}")


def _create(database: Database) -> None:
    with database.begin() as connection:
        lock(connection)
        if revision(connection) is not None:  # somebody else was first
            return
        metadata.create_all(connection)
        stamp(connection, REVISION)
