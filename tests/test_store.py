from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from muses_lab import store as store_module
from muses_lab.errors import MusesError, NotFound
from muses_lab.store import Store, default_store
from muses_lab.store.database import FILE_BYTES, Database
from muses_lab.store.sql import SqlStore

HASH = "ab" * 32


def digest(body: bytes | str) -> str:
    return hashlib.sha256(body.encode() if isinstance(body, str) else body).hexdigest()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deep' / 'store.sqlite'}"


@pytest.fixture(params=["file", "memory", "postgres"])
def store(request: pytest.FixtureRequest, url: str) -> Iterator[SqlStore]:
    urls = {"file": lambda: url, "memory": lambda: "sqlite://", "postgres": lambda: request.getfixturevalue("postgres")}
    store = SqlStore(urls[request.param]())
    yield store
    store.close()


def test_what_is_put_is_found_again(store: Store) -> None:
    document, style, body = '{"a": "é"}', '{"cmap": "viridis"}', b"\0items\xff"
    store.put_document(digest(document), document)
    store.put_style(digest(style), style)
    store.put_artefact(digest(body), "muses:items", body)
    assert store.document(digest(document)) == document
    assert store.style(digest(style)) == style
    assert store.artefact(digest(body)) == body
    assert store.has_artefact(digest(body)) and not store.has_artefact(HASH)
    assert [h for h, _ in store.documents()] == [digest(document)]


def test_puts_are_idempotent_and_the_first_result_stays(store: Store) -> None:
    for _ in range(2):
        store.put_document(digest("{}"), "{}")
        store.put_style(digest("{}"), "{}")
        store.put_artefact(digest("{}"), "muses:items", b"{}")
    assert len(store.documents()) == 1
    assert store.result(HASH) is None
    assert store.put_result(HASH, "11" * 32) == "11" * 32
    assert store.put_result(HASH, "22" * 32) == "11" * 32
    assert store.result(HASH) == "11" * 32


def test_what_is_not_there_is_named(store: Store) -> None:
    for get, what in ((store.document, "chain"), (store.style, "style"), (store.artefact, "artefact")):
        with pytest.raises(NotFound, match=f"no {what} abababababab…") as caught:
            get(HASH)
        assert caught.value.details == {what: HASH}


def test_wrong_hashes_are_refused(store: Store) -> None:
    """Nobody can put something under the name of what somebody else is about to publish."""
    with pytest.raises(MusesError, match="SHA-256"):
        store.put_artefact(HASH, "muses:items", b"something else")
    assert not store.has_artefact(HASH)
    for put, get in ((store.put_document, store.document), (store.put_style, store.style)):
        with pytest.raises(MusesError, match="SHA-256"):
            put(HASH, "{}")
        with pytest.raises(NotFound):
            get(HASH)
    for key in ("", "../../etc", "XY" * 32, "ab/" * 8):
        with pytest.raises(MusesError, match="not a hash"):
            store.put_document(key, "{}")


def test_large_bodies_are_files_beside_the_store(url: str, tmp_path: Path) -> None:
    store = SqlStore(url)
    body = os.urandom(FILE_BYTES + 1)
    for _ in range(2):
        store.put_artefact(digest(body), "labels", body)
    files = [f for f in (tmp_path / "deep" / "store.artefacts").rglob("*") if f.is_file()]
    assert [f.name for f in files] == [digest(body)]
    assert SqlStore(url).artefact(digest(body)) == body
    files[0].unlink()
    assert not store.has_artefact(digest(body))
    with pytest.raises(NotFound, match="gone"):
        store.artefact(digest(body))
    store.put_artefact(digest(body), "labels", body)  # heals it
    assert store.artefact(digest(body)) == body


def test_only_the_user_can_read_the_store(url: str, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        store = SqlStore(url)
        store.put_document(digest("{}"), "{}")
        body = os.urandom(FILE_BYTES + 1)
        store.put_artefact(digest(body), "labels", body)
    finally:
        os.umask(old)
    modes = {
        f.name: stat.S_IMODE(f.stat().st_mode)
        for f in (tmp_path / "deep").rglob("*")
        if f.is_file() and ".lock" not in f.name
    }
    assert "store.sqlite-wal" in modes and set(modes.values()) == {0o600}


@pytest.mark.parametrize("where", ["url", "postgres"])
def test_threads_share_a_store(request: pytest.FixtureRequest, where: str) -> None:
    store = SqlStore(request.getfixturevalue(where))

    def write(i: int) -> str:
        store.put_document(digest(str(i)), str(i))
        store.put_document(digest("shared"), "shared")
        return store.document(digest(str(i)))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(write, range(200))) == [str(i) for i in range(200)]
    assert len(store.documents(limit=1000)) == 201


def _writer(url: str, who: int, gate) -> None:
    gate.wait()
    store = SqlStore(url)  # all of them make the tables together
    for i in range(60):
        store.put_document(digest(f"{who} {i}"), f"{who} {i}")
        body = f"shared {i}".encode() * 1000
        store.put_artefact(digest(body), "muses:items", body)
        assert store.artefact(digest(body)) == body
    large = b"large" * (1 << 20)
    store.put_artefact(digest(large), "labels", large)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["url", "postgres"])
def test_processes_write_at_once(request: pytest.FixtureRequest, where: str) -> None:
    url = request.getfixturevalue(where)
    spawn = multiprocessing.get_context("spawn")
    gate = spawn.Barrier(5)
    writers = [spawn.Process(target=_writer, args=(url, who, gate)) for who in range(4)]
    for process in writers:
        process.start()
    gate.wait(60)
    for process in writers:
        process.join(120)
    assert [process.exitcode for process in writers] == [0] * 4
    store = SqlStore(url)
    assert len(store.documents(limit=1000)) == 240
    assert all(store.document(digest(f"{who} {i}")) == f"{who} {i}" for who in range(4) for i in range(60))
    assert store.artefact(digest(b"large" * (1 << 20))) == b"large" * (1 << 20)


def test_default_store_is_one_per_process_and_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSES_STORE_URL", f"sqlite:///{tmp_path / 'a.sqlite'}")
    first = default_store()
    assert default_store() is first
    monkeypatch.setenv("MUSES_STORE_URL", f"sqlite:///{tmp_path / 'b.sqlite'}")
    assert default_store() is not first
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork: connections must not be shared
    assert (-1, os.environ["MUSES_STORE_URL"]) not in store_module._stores
    default_store()
    assert (-1, os.environ["MUSES_STORE_URL"]) in store_module._stores


def test_passwords_are_not_shown() -> None:
    database = Database.__new__(Database)
    database.url = make_url("postgresql+psycopg://muses:secret@db/muses")
    assert "secret" not in repr(SqlStore(database)) and "secret" not in str(database)
