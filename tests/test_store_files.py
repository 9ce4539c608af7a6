"""A store's file that is no store, damaged, of another release, a folder, closed or locked; and a damaged registry."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from muses_lab import doctor, settings
from muses_lab.cli import app
from muses_lab.errors import MusesError, RegistryUnusable, StoreUnavailable, StoreUnusable
from muses_lab.raster import access
from muses_lab.store import database, default_store, open_store
from muses_lab.store.remote import RemoteStore
from muses_lab.store.sql import SqlStore
from tests.helpers.service import Server, running_server


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def filled(file: Path) -> list[str]:
    """A store with some pages in use; the documents in it."""
    store = SqlStore(f"sqlite:///{file}")
    texts = [f'{{"number": {number}}}'.ljust(3000) for number in range(60)]
    for text in texts:
        store.put_document(digest(text), text)
    store.close()
    return texts


def use(file: Path) -> None:
    """What a kernel does with a store."""
    store = open_store(f"sqlite:///{file}")
    try:
        for name, _ in store.documents(1000):
            store.document(name)
        store.put_document(digest("{}"), "{}")
    finally:
        store.close()


def garbage(file: Path) -> None:
    file.write_bytes(b"\x93garbage" * 3000)


def a_text(file: Path) -> None:
    file.write_text("to do: milk\n")


def cut(file: Path) -> None:
    filled(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_in_the_header(file: Path) -> None:
    filled(file)
    file.write_bytes(file.read_bytes()[:60])


def overwritten(file: Path) -> None:
    """Its first pages are whole, others are not."""
    filled(file)
    body = bytearray(file.read_bytes())
    body[len(body) // 2 :] = os.urandom(len(body) - len(body) // 2)
    file.write_bytes(body)


def without_a_table(file: Path) -> None:
    filled(file)
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE holding")
    connection.close()


def a_letter_changed(file: Path) -> None:
    """SQLite has no checksums, and finds nothing wrong."""
    filled(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE document SET body = replace(body, '7', '8')")
    connection.close()


def of_a_newer_release(file: Path) -> None:
    filled(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def a_folder(file: Path) -> None:
    file.mkdir()


DAMAGED = [garbage, a_text, cut, cut_in_the_header, overwritten, without_a_table, a_letter_changed]
BROKEN = [*((make, "is damaged, or is no store.*Move it away.*muses-lab store restore") for make in DAMAGED),
          (of_a_newer_release, "schema '9999'.*newer release made it. Install that one.*MUSES_STORE_URL"),
          (a_folder, r"cannot be opened for writing \(Is a directory\).*MUSES_STORE_URL")]  # fmt: skip


@pytest.mark.parametrize(("make", "says"), BROKEN)
def test_a_broken_file_is_told_with_what_to_do(
    fresh_home: Path, make: Callable[[Path], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings.home() / "store.sqlite"
    make(file)
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(StoreUnusable, match=says) as failure:
        use(file)
    assert str(file) in failure.value.message and failure.value.http_status == 503
    if before is not None and make is not a_letter_changed:  # nothing is mended, replaced or lost
        assert file.read_bytes() == before
    (finding,) = [found for found in doctor.examine() if found.name == "store"]
    if make is not a_letter_changed:
        assert not finding.ok and str(file) in finding.found and "make install" not in str(finding)
        said = CliRunner().invoke(app, ["store", "backup", str(fresh_home / "backup.zip")])
        assert said.exit_code == 1 and "Error: the store" in said.output and str(file) in said.output, said.output
        assert "Traceback" not in said.output


def test_what_the_doctor_says_of_a_good_store(fresh_home: Path) -> None:
    def said() -> doctor.Finding:
        return next(found for found in doctor.examine() if found.name == "store")

    assert said().ok and "none yet" in said().found and not (fresh_home / "store.sqlite").exists()
    filled(settings.home() / "store.sqlite")
    assert said().ok and "store.sqlite" in said().found


def test_moved_away_it_is_made_anew_by_the_same_process(fresh_home: Path) -> None:
    file = settings.home() / "store.sqlite"
    garbage(file)
    with pytest.raises(StoreUnusable):
        default_store()
    file.rename(file.with_name("damaged.sqlite"))
    default_store().put_document(digest("{}"), "{}")
    assert default_store().document(digest("{}")) == "{}"


def test_a_file_below_a_file_is_no_place(tmp_path: Path) -> None:
    a_text(tmp_path / "text")
    with pytest.raises(StoreUnusable, match="cannot be opened for writing"):
        use(tmp_path / "text" / "store.sqlite")


def test_a_file_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    filled(file)
    prepared = (
        "import sys\nfrom muses_lab.store import open_store\nfrom muses_lab.errors import StoreUnusable\n"
        "open_store('sqlite://').close()\n"  # imports all that it takes, as who may read it
        "import os\nif os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try:\n    open_store(f'sqlite:///{sys.argv[1]}')\nexcept StoreUnusable as error:\n    print(error)"
    )
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for folder in tmp_path.parents[:3]:
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o005)
    try:
        done = subprocess.run([sys.executable, "-c", prepared, file], capture_output=True, text=True, timeout=120)
    finally:
        tmp_path.chmod(0o755)
    assert "cannot be opened for writing (Permission denied): it must be a file that you may write" in done.stdout, done


def test_a_file_that_another_process_has_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.3)
    monkeypatch.setattr(database, "OPENING_SECONDS", 0.3)
    file = tmp_path / "store.sqlite"
    texts = filled(file)
    other = sqlite3.connect(file)
    other.execute("BEGIN EXCLUSIVE")
    store = SqlStore(f"sqlite:///{file}")
    assert store.document(digest(texts[3])) == texts[3], "readers do not wait"
    with pytest.raises(StoreUnavailable, match=f"{file} has been locked by another process.*fuser"):
        store.put_document(digest("{}"), "{}")
    other.rollback()
    other.close()
    store.put_document(digest("{}"), "{}")
    store.close()
    begun, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(f"{file}.lock"):
            begun.set()
            ended.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(30)
    with pytest.raises(StoreUnavailable, match=r"opening the store .* for more than 0\.3 s"):
        SqlStore(f"sqlite:///{file}")
    ended.set()
    holder.join()
    SqlStore(f"sqlite:///{file}").close()


def test_a_large_artefact_whose_file_was_changed_is_not_given_out(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}")
    body = os.urandom(database.FILE_BYTES + 1)
    name = hashlib.sha256(body).hexdigest()
    store.put_artefact(name, "labels", body)
    assert store.artefact(name) == body
    store.database.path(name).write_bytes(body[:-1])
    with pytest.raises(StoreUnusable, match="artefact .* is no longer what was kept"):
        store.artefact(name)
    store.close()


def test_a_damaged_backup_is_told(tmp_path: Path) -> None:
    filled(tmp_path / "store.sqlite")
    backup = tmp_path / "backup.zip"
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    assert CliRunner().invoke(app, ["store", "backup", str(backup), "--url", url]).exit_code == 0
    whole = backup.read_bytes()
    for damage in (whole[: len(whole) // 2], b"no zip", whole[:60] + os.urandom(400) + whole[460:]):
        backup.write_bytes(damage)
        said = CliRunner().invoke(app, ["store", "restore", str(backup), "--url", f"sqlite:///{tmp_path / 'n.sqlite'}"])
        assert said.exit_code == 1 and "is not a backup of a store, or is damaged" in said.output, said.output
        assert not said.exception or isinstance(said.exception, SystemExit)


# --------------------------------------------------------------------------------------------------------- the registry


@pytest.mark.parametrize(
    "body",
    [b"garbage", b"\xff\xfe\x00", b"", b"[]", b"null", b'{"a": 1}', b'{"a": {"root": 5, "roots": []}}', b"[" * 100_000,
     b'{"a": {"root": "/tmp", "roots": [5]}}', b'{"a": {"root": "/tmp"}}'],
)  # fmt: skip
def test_a_damaged_registry_is_told_and_left_alone(fresh_home: Path, body: bytes, tmp_path: Path) -> None:
    file = settings.home() / "catalogs.json"
    file.write_bytes(body)
    asks: list[Callable[[], object]] = [
        settings.registered_catalogs, lambda: access.resolve_href("a", "b.tif"), lambda: access.is_remote("a"),
        lambda: settings.register_catalog("new", str(tmp_path)),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(RegistryUnusable, match=r"catalogs\.json is damaged.*Move it away"):
            ask()
    said = CliRunner().invoke(app, ["catalog", "list"])
    assert said.exit_code == 1 and str(file) in said.output
    (finding,) = [found for found in doctor.examine() if found.name == "catalogues"]
    assert not finding.ok and str(file) in finding.found
    assert file.read_bytes() == body, "what may still be of use is not written over"
    file.unlink()
    settings.register_catalog("new", str(tmp_path))
    assert list(settings.registered_catalogs()) == ["new"]


def test_a_registry_that_is_a_folder_is_told(fresh_home: Path) -> None:
    (settings.home() / "catalogs.json").mkdir()
    with pytest.raises(RegistryUnusable, match="Is a directory"):
        settings.registered_catalogs()


# -------------------------------------------------------------------------------------------------- on a Jupyter server


@pytest.mark.slow
def test_a_server_with_a_broken_store_or_registry_says_so_and_serves_on(tmp_path: Path, fresh_home: Path) -> None:
    """Each state with the same server, which goes on when the file is put right."""

    def failures(one: Server) -> set[tuple[int, str]]:
        answers = [one.get("health"), one.get("chains"), one.get(f"styles/{'0' * 64}"), one.post("styles", json={})]
        answers += [one.get(f"tiles/{'0' * 64}/{'0' * 64}/3/4/2.png"), one.get("shared/12345678")]
        assert not any(str(fresh_home) in answer.text for answer in answers)
        return {(answer.status_code, answer.headers["X-Muses-Error"]) for answer in answers}

    file = settings.home() / "store.sqlite"
    with running_server(tmp_path, MUSES_COMPUTE="threads") as one:
        for make in (garbage, a_folder, of_a_newer_release):
            make(file)
            assert failures(one) == {(503, "store-unusable")}, make
            file.rename(file.with_name(f"{make.__name__}.sqlite"))
            for side in fresh_home.glob("store.sqlite-*"):
                side.unlink()
        (settings.home() / "catalogs.json").write_text("garbage")
        load = {"process_id": "load_collection", "arguments": {"id": "nowhere:s2"}, "result": True}
        answer = one.post("chains", json={"process_graph": {"l": load}})
        assert (answer.status_code, answer.json()["code"]) == (503, "registry-unusable"), answer.text
        assert "…/catalogs.json" in answer.json()["message"] and "Move it away" in answer.json()["message"]
        (settings.home() / "catalogs.json").unlink()
        assert one.get("health").ok and one.get("base/3/4/2.png").ok
        assert "Traceback" not in one.log.read_text()


# ------------------------------------------------------------------------------------- what answers for the hub's store


def odd_answers() -> list[bytes]:
    return [b"<html>please log in</html>", b"", b"null", b"5", b"[]", b"{}", b"[5]", b'{"held": 1}', b'{"digest": 5}',
            b'[{"hash": "x", "created": "yesterday"}]', b'[{"id": "x"}]', b"[" * 100_000, b"\xff", b"1e400", b"NaN",
            b'{"id": "12345678", "title": "t", "content": {"chain": 12345678}}']  # fmt: skip


def test_an_answer_that_is_none_of_the_stores_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say, a proxy's login page with the status 200."""
    store = RemoteStore("http://hub.example/services/muses", lambda: "token")
    asks: list[Callable[[], object]] = [
        store.documents, store.jobs, store.shares, store.shared, store.audit, lambda: store.job("12345678"),
        lambda: store.share("12345678"), lambda: store.result("0" * 64), lambda: store.has_artefact("0" * 64),
        lambda: store.document("0" * 64),
    ]  # fmt: skip
    told = 0
    for body in odd_answers():
        monkeypatch.setattr(store, "_ask", lambda *_, body=body, **__: body)
        for ask in asks:
            try:
                ask()
            except MusesError as error:
                told += 1
                assert isinstance(error, StoreUnavailable) and "MUSES_STORE_URL" in error.message, (body, error)
    assert told > 100
