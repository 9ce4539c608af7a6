"""Files that users drop on their map: sent in pieces, whole or not there at all."""

from __future__ import annotations

import secrets

import pytest

from muses_lab import settings, uploaded
from tests.helpers.service import Server, assert_failure

PIECE = 1 << 20


@pytest.fixture
def id() -> str:
    return secrets.token_hex(16)


def send(server: Server, id: str, body: bytes, name: str = "dem.tif", at: int = 0, size: int | None = None):
    query = {"name": name, "at": at, "size": len(body) if size is None else size}
    return server.post(f"uploads/{id}", params=query, data=body, headers={"Content-Type": "application/octet-stream"})


def test_pieces_become_a_file_when_the_last_one_is_there(server: Server, id: str) -> None:
    body = secrets.token_bytes(3 * PIECE + 17)
    for at in range(0, len(body), PIECE):
        assert uploaded.files(id) == []
        answer = send(server, id, body[at : at + PIECE], at=at, size=len(body))
        received = min(at + PIECE, len(body))
        assert answer.status_code == 201 and answer.json() == {"received": received, "done": received == len(body)}
    (file,) = uploaded.files(id)
    assert file.name == "dem.tif" and file.read_bytes() == body
    assert file.parent.stat().st_mode & 0o777 == 0o700, "nobody else looks into it"


def test_a_piece_out_of_step_is_refused_and_where_to_go_on_is_told(server: Server, id: str) -> None:
    send(server, id, b"12345", size=10)
    for at in (4, 6):
        told = assert_failure(answer := send(server, id, b"1234", at=at, size=10), 409, "out-of-step")
        assert answer.status_code == 409 and told["details"]["received"] == 5
    assert send(server, id, b"67890", at=5, size=10).json()["done"]
    assert uploaded.files(id)[0].read_bytes() == b"1234567890"


def test_the_last_piece_that_comes_again_is_no_new_file(server: Server, id: str) -> None:
    send(server, id, b"12345", size=10)
    for _ in range(2):  # its answer was lost
        assert send(server, id, b"67890", at=5, size=10).json() == {"received": 10, "done": True}
    assert [file.read_bytes() for file in uploaded.folder(id).iterdir()] == [b"1234567890"]


def test_it_can_be_sent_anew_and_taken_back(server: Server, id: str) -> None:
    send(server, id, b"wrong", size=10)
    assert send(server, id, b"right").json()["done"] and uploaded.files(id)[0].read_bytes() == b"right"
    assert server.session.delete(server.muses(f"uploads/{id}"), timeout=60).ok
    assert not uploaded.folder(id).exists()


@pytest.mark.parametrize("name", ["", "..", "../../x", "a\nb", "x" * 201, "a.part"])
def test_names_that_lead_elsewhere(server: Server, id: str, name: str) -> None:
    answer = send(server, id, b"x", name=name)
    if name == "../../x":
        assert answer.ok and [file.name for file in uploaded.files(id)] == ["x"]
    else:
        assert answer.status_code == 400 and assert_failure(answer, 400, "bad-request")
        assert not uploaded.folder(id).exists() or not list(uploaded.folder(id).iterdir())
    assert not (settings.home() / "x").exists() and not (settings.home().parent / "x").exists()


@pytest.mark.parametrize("id", ["x", "..", "0" * 31, "G" * 32])
def test_ids_are_random(server: Server, id: str) -> None:
    assert send(server, id, b"x").status_code in (400, 404)


def test_what_is_too_large_is_refused_before_it_is_sent(server: Server, id: str) -> None:
    answer = send(server, id, b"x", size=5 << 30)
    assert answer.status_code == 413 and "ml.open_file(path)" in assert_failure(answer, 413, "too-large")["message"]
    assert not uploaded.folder(id).exists()
    assert send(server, id, bytes((8 << 20) + 1)).status_code == 413, "a piece"


def test_offsets_that_are_none(server: Server, id: str) -> None:
    for at, size in ((-1, 10), (8, 10), (0, 0), (0, -1)):
        assert send(server, id, b"1234", at=at, size=size).status_code in (400, 413)
    assert not uploaded.folder(id).exists()


def test_only_who_is_logged_in_sends_anything(server: Server, id: str) -> None:
    import requests

    answer = requests.post(
        server.muses(f"uploads/{id}"), params={"name": "a", "at": 0, "size": 1}, data=b"x", timeout=60
    )
    assert answer.status_code == 403 and not uploaded.folder(id).exists()


def test_pages_of_other_sites_send_nothing(server: Server, id: str) -> None:
    query = {"name": "a", "at": 0, "size": 1}
    headers = {"Sec-Fetch-Site": "cross-site", "Authorization": "", "Cookie": "x=y"}
    answer = server.post(f"uploads/{id}", params=query, data=b"x", headers=headers)
    assert answer.status_code == 403 and not uploaded.folder(id).exists()
