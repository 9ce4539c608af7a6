"""Stores of earlier releases go on working: their tables are changed, all of them or none, and nothing is lost."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from typer.testing import CliRunner

from muses_lab.cli import app
from muses_lab.errors import MusesError
from muses_lab.store import migrate
from muses_lab.store.database import Database
from muses_lab.store.opening import open_database
from muses_lab.store.schema import REVISION, metadata
from muses_lab.store.sql import SqlStore
from tests.helpers.first_store import DOCUMENT, check_first, digest, make_first


@pytest.fixture(params=["sqlite", "postgres"])
def first(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a store that the first release has filled."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'store.sqlite'}" if sqlite else request.getfixturevalue("postgres")
    make_first(url)
    return url


@pytest.fixture
def opened() -> Iterator[list[Database]]:
    kept: list[Database] = []
    yield kept
    for database in kept:
        database.close()


def differences(database: Database) -> list:
    with database.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    return [d for d in found if "alembic_version" not in str(d)]


def test_the_first_store_is_brought_up_to_date(first: str, opened: list[Database]) -> None:
    if first.startswith("postgres"):
        with pytest.raises(MusesError, match="schema 0001.*muses-lab store backup.*muses-lab store migrate"):
            open_database(first)
        done = CliRunner().invoke(app, ["store", "migrate", "--url", first])
        assert done.exit_code == 0 and f"0001 → {REVISION}" in done.output, done.output
        assert "already" in CliRunner().invoke(app, ["store", "migrate", "--url", first]).output
    store = SqlStore(first)
    opened.append(store.database)
    assert store.database.revision() == REVISION
    check_first(store)
    assert not differences(store.database)


def test_a_new_store_has_the_same_tables(tmp_path: Path, postgres: str, opened: list[Database]) -> None:
    for url in (f"sqlite:///{tmp_path / 'new.sqlite'}", postgres):
        database = open_database(url)
        opened.append(database)
        assert database.revision() == REVISION and not differences(database)


def test_the_newest_migration_is_the_schema() -> None:
    assert ScriptDirectory(str(migrate.SCRIPTS)).get_heads() == [REVISION]


def test_a_migration_that_fails_changes_nothing(first: str, opened: list[Database]) -> None:
    engine = create_engine(first)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE audit (somebody_elses INTEGER)"))  # the last one that the migration makes
    before = {t: [c["name"] for c in inspect(engine).get_columns(t)] for t in inspect(engine).get_table_names()}
    with pytest.raises(Exception, match="audit"):
        open_database(first, upgrade=True)
    after = {t: [c["name"] for c in inspect(engine).get_columns(t)] for t in inspect(engine).get_table_names()}
    assert after == before and "holding" not in after
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE audit"))
    engine.dispose()
    store = SqlStore(open_database(first, upgrade=True))
    opened.append(store.database)
    check_first(store)


def test_the_second_store_gets_tables_for_courses_and_keeps_what_it_has(first: str, opened: list[Database]) -> None:
    database = Database(first)
    opened.append(database)
    assert migrate.upgrade(database, "0002") == ("0001", "0002")
    assert "answer" not in inspect(database.engine).get_table_names()
    store = SqlStore(open_database(first, upgrade=True))
    opened.append(store.database)
    assert store.database.revision() == REVISION and not differences(store.database)
    check_first(store)
    assert store.courses() == [] and store.notes() == []


def test_a_newer_releases_store_is_left_alone(first: str) -> None:
    database = open_database(first, upgrade=True)
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    for upgrade in (False, True):
        with pytest.raises(MusesError, match="'9999'.*newer release"):
            open_database(first, upgrade=upgrade)
    assert CliRunner().invoke(app, ["store", "migrate", "--url", first]).exit_code == 1


def _open(url: str, gate) -> None:
    gate.wait(60)
    store = SqlStore(url)
    assert store.document(digest(DOCUMENT)) == DOCUMENT


@pytest.mark.slow
def test_processes_that_open_an_old_store_together_migrate_it_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    make_first(url)
    spawn = multiprocessing.get_context("spawn")
    gate = spawn.Barrier(4)
    openers = [spawn.Process(target=_open, args=(url, gate)) for _ in range(3)]
    for process in openers:
        process.start()
    gate.wait(60)
    for process in openers:
        process.join(60)
    assert [process.exitcode for process in openers] == [0] * 3
    with sqlite3.connect(tmp_path / "store.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM holding").fetchone() == (4,)
