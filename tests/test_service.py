"""The service behind a real Jupyter server, asked over HTTP."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from PIL import Image

import muses_lab as ml
from muses_lab.service.routes import PAGES, ROUTES
from muses_lab.store import JobRecord, default_store, new_id
from muses_lab.style import Style
from tests.helpers.service import ABSENT, Server, assert_failure, route

pytestmark = pytest.mark.slow  # they share a Jupyter server

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


# Who may ask


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pattern", [pattern for pattern, _ in ROUTES])
def test_anonymous_requests_are_refused_on_every_route(server: Server, pattern: str, method: str) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username-127-0-0-1=forged"}):
        response = requests.request(
            method, server.muses(route(pattern)), headers=headers, timeout=30, allow_redirects=False
        )
        assert response.status_code == 403, (method, pattern, response.text)
        assert response.headers["Cache-Control"] == "no-store"


def test_every_handler_of_the_package_has_a_route() -> None:
    """So that the test above sees them all."""
    from muses_lab.service.course_page import LeadsToFile
    from muses_lab.service.handler import Guarded, PageHandler, ServiceHandler
    from muses_lab.service.tiles import ChainTileHandler, PictureHandler

    def below(cls: type) -> set[type]:
        return {cls, *(s for c in cls.__subclasses__() for s in below(c))}

    bases = {Guarded, LeadsToFile, PageHandler, PictureHandler, ChainTileHandler, ServiceHandler}
    assert below(Guarded) - bases == {handler for _, handler in [*PAGES, *ROUTES]}


def test_pages_ask_strangers_to_log_in(server: Server) -> None:
    for method in METHODS:
        response = requests.request(method, server.muses("shared/12345678"), timeout=30, allow_redirects=False)
        if response.status_code == 302:
            assert method in ("GET", "HEAD") and "/login?" in response.headers["Location"]
        else:
            assert response.status_code in (403, 405) and method != "GET", (method, response.status_code)
    assert server.get("shared/12345678").status_code == 404


def test_other_pages_cannot_post_with_the_users_cookie(server: Server) -> None:
    browser = requests.Session()
    browser.trust_env = False
    assert browser.get(f"{server.url}api/status?token={server.token}", timeout=30).ok
    browser.get(f"{server.url}login", timeout=30)  # sets the _xsrf cookie
    style = Style().to_json()
    assert browser.post(server.muses("styles"), json=style, timeout=30).status_code == 403
    xsrf = {"X-XSRFToken": browser.cookies["_xsrf"]}
    assert browser.post(server.muses("styles"), json=style, headers=xsrf, timeout=30).status_code == 201
    foreign = {**xsrf, "Origin": "https://evil.example"}
    assert browser.post(server.muses("styles"), json=style, headers=foreign, timeout=30).status_code in (403, 404)
    tile = server.muses("base/3/4/2.png")
    assert browser.get(tile, headers={"Referer": server.url}, timeout=30).status_code == 200  # as an <img> does


def test_an_unknown_route_is_said_to_be_one(server: Server) -> None:
    assert_failure(server.get("no/such/route"), 404, "not-found")
    assert_failure(server.post("health"), 405, "method-not-allowed")


# Health, styles, legends


def test_health(server: Server) -> None:
    body = server.get("health").json()
    assert (body["status"], body["service"]) == ("ok", "muses-lab")
    assert body["version"]


def test_a_style_published_by_a_kernel_is_served(server: Server, published_style: Style) -> None:
    response = server.get(f"styles/{published_style.hash}")
    assert Style.from_json(response.json()) == published_style
    assert "immutable" in response.headers["Cache-Control"]
    legend = server.get(f"legend/{published_style.hash}").json()
    assert legend == json.loads(json.dumps(published_style.legend()))


def test_a_style_can_be_posted(server: Server) -> None:
    style = Style(classes={1: ("water", "blue")})
    response = server.post("styles", json=style.to_json())
    assert (response.status_code, response.json()) == (201, {"hash": style.hash})
    assert server.session.get(server.url[: -len("/user/ada/")] + response.headers["Location"]).json() == style.to_json()
    assert default_store().style(style.hash) == style.to_text()


def test_an_invalid_style_names_its_argument(server: Server) -> None:
    body = assert_failure(server.post("styles", json={"cmap": "rdylgn"}), 400, "style-invalid")
    assert body["details"] == {"argument": "cmap"} and "'RdYlGn'" in body["message"]
    assert_failure(server.post("styles", data=b"{"), 400, "bad-request")
    assert_failure(server.post("styles", data=b"[" * 50_000), 400, "bad-request")


@pytest.mark.parametrize("path", ["styles/{}", "legend/{}"])
def test_unknown_and_malformed_style_hashes_are_not_found(server: Server, path: str) -> None:
    assert ABSENT[:12] in assert_failure(server.get(path.format(ABSENT)), 404, "made-elsewhere")["message"]
    for malformed in ("abc", "Z" * 64, "..%2f..%2fetc%2fpasswd", "A" * 64):
        assert (
            "is not the hash of a style"
            in assert_failure(server.get(path.format(malformed)), 404, "not-found")["message"]
        )


# The base map


def test_base_tiles(server: Server) -> None:
    response = server.get("base/9/258/187.png")
    assert response.status_code == 200 and response.headers["Content-Type"] == "image/png"
    image = Image.open(io.BytesIO(response.content))
    assert image.size == (256, 256) and len(image.getcolors()) > 5
    again = server.get("base/9/258/187.png", headers={"If-None-Match": response.headers["Etag"]})
    assert again.status_code == 304 and not again.content
    dark = server.get("base/9/258/187.png?theme=dark", headers={"If-None-Match": response.headers["Etag"]})
    assert dark.status_code == 200 and dark.content != response.content
    assert server.get("base/9/258/187.png?theme=pink").status_code == 400
    head = server.session.head(server.muses("base/9/258/187.png"))
    assert (head.status_code, head.headers["Etag"], head.content) == (200, response.headers["Etag"], b"")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("a/0/0", 400, "bad-request"),
        ("3/1.5/0", 400, "bad-request"),
        ("3/8/0", 404, "not-found"),
        ("99/0/0", 404, "not-found"),
    ],
)
def test_malformed_tiles_are_refused_with_a_picture(server: Server, path: str, status: int, code: str) -> None:
    for kind in ("base", f"tiles/{ABSENT}/{ABSENT}"):
        response = server.get(f"{kind}/{path}.png")
        assert response.headers["Cache-Control"] == "no-store" and response.headers["X-Muses-Message"]
        assert Image.open(io.BytesIO(response.content)).size == (256, 256)


# Whether somebody uses it


def test_a_running_job_is_activity(server: Server) -> None:
    """Else the hub would end the server of a user who has closed the page while an export runs."""
    from muses_lab.export import journal
    from muses_lab.store import JobRecord, new_id

    def last() -> str:
        found = server.session.get(server.url + "api/status", params={"no_track_activity": 1}, timeout=60)
        return found.json()["last_activity"]

    def unused() -> bool:
        before = last()
        time.sleep(1)
        return last() == before

    store = default_store()
    for (
        left
    ) in store.jobs():  # by tests that ran before on this worker, of modules that end a job's process or leave it
        if left.state in ("running", "cancelling"):
            store.put_job(replace(left, state="failed"))
    assert any(unused() for _ in range(60)), [record for record in store.jobs() if record.state != "done"]
    before = last()
    record = JobRecord(new_id(), "export", "a.tif", "/a.tif", "ab" * 32, process=journal.process())
    default_store().put_job(record)
    try:
        for _ in range(600):
            if last() > before:
                break
            time.sleep(0.1)
        assert last() > before
    finally:
        default_store().put_job(replace(record, state="done"))


# Exports that are downloaded


def export_record(path: Path, **changes: object) -> JobRecord:
    values = {"state": "done", "bytes": path.stat().st_size if path.is_file() else 0, "kind": "export"} | changes
    record = JobRecord(new_id(), values.pop("kind"), path.name, str(path), ABSENT, **values)  # type: ignore[arg-type]
    default_store().put_job(record)
    return record


def test_a_finished_export_can_be_downloaded(server: Server, tmp_path: Path) -> None:
    body = os.urandom(5 << 19)  # more than is read at once
    path = tmp_path / "Été “2018”.tif"
    path.write_bytes(body)
    record = export_record(path)
    answer = server.get(f"exports/{record.id}")
    assert answer.status_code == 200 and answer.content == body
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=utf-8''{quote(path.name)}"
    assert answer.headers["Content-Type"] == "image/tiff" and answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    head = server.session.head(server.muses(f"exports/{record.id}"))
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(body)), b"")
    other = server.get(f"exports/{record.id}", headers={"Sec-Fetch-Site": "same-site", "Authorization": ""})
    assert other.status_code == 403


def test_a_finished_table_can_be_downloaded(server: Server, s2: ml.Collection, tmp_path: Path) -> None:
    job = s2.ndvi().export(tmp_path / "places.csv", [(1.40, 43.58)], progress=False)
    body = job.wait(60).read_bytes()
    answer = server.get(f"exports/{job.id}")
    assert answer.status_code == 200 and answer.content == body and answer.headers["Content-Type"] == "text/csv"


def test_only_what_an_export_wrote_is_given_away(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "ndvi.tif"
    path.write_bytes(b"as it was written")
    assert "no job" in assert_failure(server.get(f"exports/{new_id()}"), 404, "not-found")["message"]
    for changes, why in (
        ({"kind": "materialize"}, "is no export"),
        ({"state": "running"}, "is not finished"),
        ({"state": "cancelled"}, "is not finished"),
        ({"bytes": 5}, "not as it wrote it"),
    ):
        answer = server.get(f"exports/{export_record(path, **changes).id}")
        assert why in assert_failure(answer, 404, "not-found")["message"]
    secret = tmp_path / "secret"
    secret.write_bytes(b"as it was written")
    record = export_record(path)
    for put in (lambda: path.symlink_to(secret), lambda: os.mkfifo(path), path.mkdir, lambda: None):
        path.unlink()
        put()
        message = assert_failure(server.get(f"exports/{record.id}"), 404, "not-found")["message"]
        assert "no longer where the export wrote it" in message and str(tmp_path) not in message
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
            path.touch()


def test_blocks_that_are_there_are_told_by_name(server: Server) -> None:
    block = ["0" * 64, "MGRS-31TCJ@10", 1, 0, 0]
    answer = server.post("kept", json={"blocks": [block, [*block[:-1], 5]]})
    assert answer.status_code == 200 and answer.json() == {"kept": [False, False]}
    assert answer.headers["Cache-Control"] == "no-store"
    assert server.post("kept", json={"blocks": []}).json() == {"kept": []}
    for wrong in ({}, [], {"blocks": "x"}, {"blocks": [["a", "b", 1, 2]]}, {"blocks": [["a", "b", 1, 2, True]]},
                  {"blocks": [["", "", 1, 2, 3]] * 1001}):  # fmt: skip
        assert_failure(server.post("kept", json=wrong), 400, "bad-request")
