"""The audit log: it counts all, forgets nothing before its time, and nobody can make it large."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from muses_lab.cli import app
from muses_lab.errors import MusesError
from muses_lab.store import AuditEntry, Who, audit, schema
from muses_lab.store.sql import SqlStore
from tests.helpers.filled_store import digest, document, fill


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    sqlite = request.param == "sqlite"
    store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}" if sqlite else request.getfixturevalue("postgres"))
    yield store
    store.close()


def test_the_administrator_sees_who_did_what(store: SqlStore) -> None:
    fill(store)
    done = CliRunner().invoke(app, ["store", "audit", "--url", str(store.database.url)])
    rows = list(csv.DictReader(io.StringIO(done.output)))
    chain = document("alice's — é")[0]
    found = {(row["user"], row["action"]): row for row in rows if row["chain"] == chain}
    assert set(found) == {("alice", action) for action in ("published", "exported", "shared", "revoked", "computed")}
    assert found["alice", "computed"]["pixels"] == str(15 << 18) and found["alice", "shared"]["count"] == "2"
    done = CliRunner().invoke(app, ["store", "audit", "--user", "bob", "--url", str(store.database.url)])
    assert {row["user"] for row in csv.DictReader(io.StringIO(done.output))} == {"bob"}


def test_its_size_is_bounded_and_nothing_is_lost(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ROWS_A_DAY", 10)
    alice, bob = store.of(Who("alice")), store.of(Who("bob"))
    bob.note([AuditEntry("computed", digest("his"), 1, 7)])
    for n in range(200):
        alice.note([AuditEntry("computed", digest(str(n)), 1, 5)])
        alice.note([AuditEntry("computed", digest("0"), 1, 5)])
    mine = alice.audit()
    hours = len({entry.hour for entry in mine})  # two if the clock struck meanwhile
    assert len(mine) <= 10 + hours and sum(e.count for e in mine) == 400 and sum(e.pixels for e in mine) == 2000
    assert sum(e.count for e in mine if e.chain == digest("0")) == 201, "what was there goes on being counted apart"
    assert [e.chain for e in bob.audit()] == [digest("his")], "one user's chains drive out nobody else's"


def test_counts_do_not_run_over(store: SqlStore) -> None:
    store.note([AuditEntry("computed", digest("x"), 2**52, 2**52, 5, 1e15)] * 20)
    (entry,) = store.audit()
    assert (entry.count, entry.pixels, entry.bytes, entry.seconds) == (2**53 - 1, 2**53 - 1, 100, 2**53 - 1)
    for wrong in (-1, 2**60, float("nan"), float("inf"), True):
        with pytest.raises(MusesError, match="not a number"):
            AuditEntry("computed", digest("x"), 1, wrong)  # type: ignore[arg-type]
    with pytest.raises(MusesError, match="action"):
        AuditEntry("drop table", digest("x"))


def test_old_entries_are_forgotten(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.note([AuditEntry("computed", digest(str(n))) for n in range(3)])
    table = schema.audit
    with store.database.begin() as connection:
        old = schema.now() - timedelta(days=31)
        connection.execute(update(table).where(table.c.chain == digest("0")).values(hour=old))
        monkeypatch.setenv("MUSES_AUDIT_DAYS", "30")
        assert audit.forget(connection) == 1
        assert connection.scalar(select(func.count()).select_from(table)) == 2
