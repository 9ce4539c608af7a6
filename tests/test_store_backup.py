"""Backups: one file, made while the store is in use, restored into either kind of database."""

from __future__ import annotations

import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from muses_lab.cli import app
from muses_lab.errors import MusesError, StoreUnavailable
from muses_lab.store import Share, Who
from muses_lab.store.backup import backup, restore
from muses_lab.store.database import FILE_BYTES, Database
from muses_lab.store.sql import SqlStore
from tests.helpers.filled_store import EVERYBODYS, digest, document, fill, seen
from tests.helpers.first_store import check_first, make_first

Maker = Callable[[str], str]


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], SqlStore]]:
    """New, empty stores."""
    made: list[SqlStore] = []

    def new(kind: str) -> SqlStore:
        if kind == "postgres":
            url = request.getfixturevalue("postgres_cluster").database()
        else:
            url = f"sqlite:///{tmp_path / f'{len(made)}.sqlite'}"
        made.append(SqlStore(url))
        return made[-1]

    yield new
    for store in made:
        store.close()


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
@pytest.mark.parametrize("source", ["sqlite", "postgres"])
def test_everybody_sees_the_same_after_it(make: Maker, source: str, target: str, tmp_path: Path) -> None:
    before, after = make(source), make(target)
    fill(before, large=FILE_BYTES + 1)
    file = tmp_path / "backup.zip"
    done = CliRunner().invoke(app, ["store", "backup", str(file), "--url", str(before.database.url)])
    assert done.exit_code == 0 and "3 document" in done.output and "2 share" in done.output, done.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    done = CliRunner().invoke(app, ["store", "restore", str(file), "--url", str(after.database.url)])
    assert done.exit_code == 0 and "3 document" in done.output, done.output
    expected = seen(before)
    assert seen(after) == expected
    assert (
        expected["bob"]["shares"]
        and expected["carol"]["artefacts"]
        and {k for k, v in expected["dan"].items() if v} == set(EVERYBODYS)
    )
    after.of(Who("bob")).put_document(*document("afterwards"))
    after.of(Who("alice")).revoke("share-12345")
    assert not after.of(Who("bob")).shared()


@pytest.mark.parametrize("source", ["sqlite", "postgres"])
def test_it_is_one_moment_of_a_store_in_use(make: Maker, source: str, tmp_path: Path) -> None:
    """A share is put after all that it consists of: a backup that has it has that, too."""
    store, copy = make(source), make("sqlite")
    stop, shared, began = threading.Event(), [], threading.Event()

    def write() -> None:
        alice = store.of(Who("alice"))
        while not stop.is_set():
            name, body = document(f"number {len(shared)}")
            alice.put_document(name, body)
            items = f"items {len(shared)}".encode() * 2000
            alice.put_artefact(digest(items), "muses:items", items)
            alice.put_share(Share(f"share-{len(shared):08}", "x", {"chain": name}, ("bob",), (), (digest(items),)))
            shared.append(name)
            if len(shared) >= 20:
                began.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert began.wait(60)
        counts = [backup(store.database, tmp_path / f"{n}.zip")["share"] for n in range(3)]
    finally:
        stop.set()
        writer.join(60)
    assert 20 <= counts[0] <= counts[1] <= counts[2] <= len(shared)
    restore(tmp_path / "1.zip", copy.database)
    bob = copy.of(Who("bob"))
    found = bob.shared(limit=100000)
    assert len(found) == counts[1]
    for share in found:
        assert bob.document(share.content["chain"]) and all(bob.artefact(d) for d in share.artefacts)
    assert len(bob.documents(100000)) == 0 and len(copy.of(Who("alice")).documents(100000)) - counts[1] in (0, 1)


def test_a_backup_of_an_earlier_release_is_restored(make: Maker, tmp_path: Path, postgres: str) -> None:
    for source in (f"sqlite:///{tmp_path / 'old.sqlite'}", postgres):
        make_first(source)
        for kind in ("sqlite", "postgres"):
            file = tmp_path / f"{source[:4]}-{kind}.zip"
            backup(Database(source), file)
            target = make(kind)
            restore(file, target.database)
            check_first(target)


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
def test_a_damaged_backup_restores_nothing(make: Maker, target: str, tmp_path: Path) -> None:
    store, copy = make("sqlite"), make(target)
    fill(store)
    backup(store.database, tmp_path / "whole.zip")
    whole = tmp_path / "whole.zip"
    name = next(n for n in zipfile.ZipFile(whole).namelist() if n.startswith("artefact/"))
    changes: list[Callable[[str, bytes], bytes | None]] = [
        lambda n, body: b"else" if n == name else body,
        lambda n, body: None if n == name else body,
        lambda n, body: body.split(b"\n", 1)[1] if n == "share.jsonl" else body,
        lambda n, body: None if n == "job.jsonl" else body,
        lambda n, body: None if n == "store.json" else body,
    ]
    for number, change in enumerate(changes):
        damaged = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(damaged, "w") as new:
            for entry in old.namelist():
                if (body := change(entry, old.read(entry))) is not None:
                    new.writestr(entry, body)
        with pytest.raises(MusesError):
            restore(damaged, copy.database)
        assert not any(seen(copy)["alice"].values())
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(MusesError, match="not a backup"):
        restore(cut, copy.database)
    restore(whole, copy.database)
    assert seen(copy) == seen(store)


def test_nothing_is_replaced(make: Maker, tmp_path: Path) -> None:
    store, other = make("sqlite"), make("sqlite")
    fill(store)
    other.put_document(*document("mine"))
    backup(store.database, tmp_path / "a.zip")
    with pytest.raises(FileExistsError, match="never replaces"):
        backup(store.database, tmp_path / "a.zip")
    with pytest.raises(MusesError, match="not empty.*document"):
        restore(tmp_path / "a.zip", other.database)
    assert len(other.documents()) == 1
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_the_service_is_not_the_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSES_STORE_URL", "http://127.0.0.1:1/services/muses")
    done = CliRunner().invoke(app, ["store", "backup", str(tmp_path / "a.zip")])
    assert done.exit_code == 1 and "MUSES_HUB_DATABASE" in done.output
    for url, error in (("nonsense", "URL of a database"), ("mysql://a/b", "SQLite or PostgreSQL")):
        done = CliRunner().invoke(app, ["store", "audit", "--url", url])
        assert done.exit_code == 1 and error in done.output
    with pytest.raises(StoreUnavailable, match="does not answer"):
        SqlStore(f"postgresql://nobody:secret@/none?host={tmp_path}")
