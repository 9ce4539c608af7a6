"""Courses on a hub: published, joined, answered, looked at by trainers alone, told about, taken away; over HTTP."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import stat
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from muses_lab.courses.folder import find
from muses_lab.errors import AccessDenied, MusesError, NotFound, TooLarge
from muses_lab.store import Answer, Note, Presence, new_id
from muses_lab.store.records import to_json
from tests.helpers.examples import examples
from tests.helpers.hubs import Kernel
from tests.helpers.made_course import COURSE, course_archive
from tests.helpers.odd_json import anything, damaged
from tests.helpers.store_hub import Hub
from tests.test_hub_service import log_in

pytestmark = pytest.mark.slow
LIMITS = {
    "MUSES_MAX_COURSE": "3000000", "MUSES_MAX_NOTEBOOK": "100000", "MUSES_HUB_TOKEN_SECONDS": "1",
    "MUSES_HUB_TRAINERS": "tina,@trainers", "MUSES_HUB_ADMINS": "root-of-all",
}  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)>\"'&=cmd|' /C calc'!A0"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, postgres_cluster: Any, isolated_home: Path) -> Iterator[Hub]:
    servers = {"MUSES_CLASS_SECONDS": "0.5"}
    hub = Hub(tmp_path_factory.mktemp("hub"), postgres_cluster.database(), servers, **LIMITS)
    try:
        yield hub
    finally:
        hub.stop()


@pytest.fixture
def course(hub: Hub, tmp_path: Path) -> Iterator[str]:
    """A course that Tom has published; gone after the test."""
    name = f"course-{new_id()[:6].lower().strip('-_').replace('_', 'x')}"
    hub.store("tom").publish_course(name, course_archive(tmp_path / "made", course=name))
    yield name
    with suppress(NotFound):
        hub.store("tom").remove_course(name, answers=True)


def answered(
    course: str, state: str = "right", points: float = 1.0, exercise: str = "clear-dates", **more: Any
) -> Answer:
    return Answer(new_id(), course, "01-map.ipynb", exercise, state, points, at=datetime.now(UTC), **more)


def class_of(hub: Hub, user: str, course: str, **headers: str) -> requests.Response:
    session = log_in(hub, user)
    session.get(f"{hub.store_url}/courses/{course}/class", timeout=60)
    return session.get(f"{hub.store_url}/courses/{course}/class/state", headers=headers, timeout=60)


def test_a_trainer_publishes_and_everybody_reads_it(hub: Hub, course: str) -> None:
    found = find(course, hub.courses)
    assert found.by == "tom" and found.describe().title == "First <steps>"
    for path in [
        hub.courses,
        found.folder.parent,
        found.folder,
        *found.folder.rglob("*"),
        hub.courses / course / "current.json",
    ]:
        mode = path.stat().st_mode
        assert mode & stat.S_IROTH and not mode & stat.S_IWOTH, path
    record = hub.store("alice").course(course)
    assert (record.owner, record.version, record.state, record.trainer) == ("tom", found.version, "open", False)
    assert record.manifest["notebooks"][0]["exercises"][0]["id"] == "clear-dates"
    assert course in [one.id for one in hub.store("bob").courses()] and hub.store("tina").course(course).trainer
    assert not list(hub.courses.glob(".sent-*")), "what was sent is not kept twice"


def test_a_new_version_takes_the_place_of_the_former_one(hub: Hub, course: str, tmp_path: Path) -> None:
    hub.store("alice").put_answers([answered(course)])
    before = find(course, hub.courses)
    again = hub.store("tina").publish_course(
        course, course_archive(tmp_path / "new", course=course, title="Second steps")
    )
    now = find(course, hub.courses)
    assert now.version == again.version != before.version and now.title == "Second steps"
    assert before.folder.is_dir(), "who works with the former one goes on"
    assert again.owner == "tom" and len(hub.store("alice").answers(course)) == 1


def test_participants_get_a_version_only_once_the_store_has_it(hub: Hub, course: str, tmp_path: Path) -> None:
    before = find(course, hub.courses)
    notebooks = json.loads(json.dumps(COURSE["notebooks"]))
    notebooks[0]["exercises"] += [
        {"id": f"more-{n}", "kind": "number", "question": "é" * 2000, "expected": n} for n in range(90)
    ]
    large = course_archive(tmp_path / "large", course=course, title="Large", notebooks=notebooks)
    with pytest.raises(TooLarge, match="description has"):
        hub.store("tom").publish_course(course, large)
    assert find(course, hub.courses).version == before.version == hub.store("tom").course(course).version
    assert {path.name for path in before.folder.parent.iterdir()} == {before.version, "current.json"}


def test_only_trainers_publish(hub: Hub, tmp_path: Path) -> None:
    archive = course_archive(tmp_path / "made")
    with pytest.raises(AccessDenied, match="alice is no trainer.*MUSES_HUB_TRAINERS"):
        hub.store("alice").publish_course("first-steps", archive)
    with pytest.raises(MusesError, match="'first-steps', not 'second'"):
        hub.store("tom").publish_course("second", archive)
    large = tmp_path / "large.zip"
    large.write_bytes(os.urandom(3_000_001))
    with pytest.raises(TooLarge, match="3000001 bytes are above"):
        hub.store("tom").publish_course("first-steps", large)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(MusesError, match="no zip"):
        hub.store("tom").publish_course("first-steps", archive)
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as out:
        out.writestr("course.yml", json.dumps(COURSE))
        out.writestr("../../evil.ipynb", "{}")
    with pytest.raises(MusesError, match="no name for a file"):
        hub.store("tom").publish_course("first-steps", evil)
    assert not (hub.courses / "first-steps").exists() and not list(hub.courses.glob(".sent-*"))
    with pytest.raises(NotFound):
        hub.store("tom").course("first-steps")


def test_answers_are_kept_once_and_are_for_their_author_and_trainers(hub: Hub, course: str) -> None:
    alice, bob, tom = hub.store("alice"), hub.store("bob"), hub.store("tom")
    mine = [answered(course, "wrong", 0.0, given=HOSTILE, message="Count again"), answered(course)]
    for _ in range(2):
        alice.put_answers(mine)
    bob.put_answers([answered(course, "error", 0.0)] * 3)
    assert [one.id for one in alice.answers(course)] == [one.id for one in mine]
    assert alice.answers(course)[0].given == HOSTILE and alice.answers(course)[0].user == "alice"
    assert [one.user for one in tom.answers(course, everybody=True)] == ["alice", "alice", "bob"]
    for ask in (
        lambda: alice.answers(course, everybody=True), lambda: bob.presences(course), lambda: bob.notebooks(course),
        lambda: bob.set_course_state(course, "closed"), lambda: bob.remove_course(course),
        lambda: bob.put_note(Note(new_id(), "hello", course)), lambda: bob.notebook(course, "alice", "01-map.ipynb"),
    ):  # fmt: skip
        with pytest.raises(AccessDenied, match="for its trainers"):
            ask()
    with pytest.raises(NotFound, match="no course 'other'"):
        alice.put_answers([answered("other")])
    forged = {"id": new_id(), "notebook": "x", "exercise": "x", "state": "right", "user": "bob", "course": "other"}
    headers = {"Authorization": f"token {hub.token('alice')}"}
    address = f"{hub.store_url}/api/courses/{course}/answers"
    assert requests.put(address, json=[forged], headers=headers, timeout=60).status_code == 200
    assert tom.answers(course, everybody=True)[-1].user == "alice", "who answers is who sends"
    for odd in ({}, [1], [{"id": "x"}], [{**forged, "points": 1e9}], "x"):
        assert requests.put(address, json=odd, headers=headers, timeout=60).status_code == 400


def test_many_answers_with_long_texts_are_sent_in_pieces(hub: Hub, course: str) -> None:
    many = [answered(course, "wrong", 0.0, given="é" * 4096, message="\n" * 4096) for _ in range(50)]
    assert hub.store("carol").put_answers(many) == (0, 50)
    assert len(hub.store("carol").answers(course)) == 50


def test_presence_is_answered_with_notes_and_wishes(hub: Hub, course: str) -> None:
    alice, tom, root = hub.store("alice"), hub.store("tom"), hub.store("root-of-all")
    there = Presence(course, "01-map.ipynb", f"NameError: {HOSTILE}", "busy", 0.5, 10**9)
    assert alice.put_presence(there) == ([], 0)
    tom.put_note(Note(new_id(), "Look <here>", course))
    tom.put_note(Note(new_id(), "", course, "start"))
    stop = root.put_note(Note(new_id(), "The hub stops", until=datetime.now(UTC) + timedelta(hours=1)))
    over = root.put_note(Note(new_id(), "It is over", until=datetime.now(UTC) - timedelta(seconds=1)))
    found = alice.put_presence(there).notes
    assert {(note.kind, note.text) for note in found} == {
        ("note", "Look <here>"),
        ("start", ""),
        ("note", "The hub stops"),
    }
    assert {note.by for note in found} == {"tom", "root-of-all"} and over.id not in [note.id for note in found]
    assert [note.text for note in hub.store("dan").notes()] == ["The hub stops"], "who is in no course hears it, too"
    (seen,) = tom.presences(course)
    assert (seen.user, seen.load, seen.memory, seen.error) == ("alice", 0.5, 10**9, there.error)
    assert datetime.now(UTC) - seen.seen < timedelta(minutes=1)  # type: ignore[operator]
    with pytest.raises(AccessDenied, match="no administrator"):
        tom.put_note(Note(new_id(), "to all of you"))
    with pytest.raises(AccessDenied):
        tom.remove_note(stop.id)
    root.remove_note(stop.id)
    root.remove_note(stop.id)
    assert hub.store("dan").notes() == []


def test_the_notebook_of_a_participant_is_kept_as_it_was_saved_last(hub: Hub, course: str) -> None:
    alice, tom = hub.store("alice"), hub.store("tom")
    for text in ('{"cells": 1}', '{"cells": "é"}'):
        alice.put_notebook(course, "01-map.ipynb", text)
    (kept,) = tom.notebooks(course)
    assert (kept.user, kept.file, kept.size) == ("alice", "01-map.ipynb", len(text.encode()))
    assert tom.notebook(course, "alice", "01-map.ipynb") == text == alice.notebook(course, "alice", "01-map.ipynb")
    with pytest.raises(NotFound, match="no notebook 'secret.ipynb'"):
        alice.put_notebook(course, "secret.ipynb", "{}")
    with pytest.raises(TooLarge, match="100001 bytes are above"):
        alice.put_notebook(course, "01-map.ipynb", "x" * 100_001)
    with pytest.raises(NotFound, match="have not saved"):
        tom.notebook(course, "bob", "01-map.ipynb")


def test_a_removed_course_keeps_its_answers_until_they_are_deleted(hub: Hub, course: str) -> None:
    alice, tom = hub.store("alice"), hub.store("tom")
    alice.put_answers([answered(course)])
    alice.put_notebook(course, "01-map.ipynb", "{}")
    tom.set_course_state(course, "closed")
    assert course not in [one.id for one in alice.courses()] and alice.course(course).state == "closed"
    alice.put_answers([answered(course)])
    tom.remove_course(course)
    assert not (hub.courses / course).exists()
    with pytest.raises(NotFound):
        alice.course(course)
    with pytest.raises(NotFound):
        alice.put_presence(Presence(course))
    assert tom.course(course).state == "removed" and len(tom.answers(course, everybody=True)) == 2
    assert len(tom.notebooks(course)) == 1
    tom.remove_course(course, answers=True)
    with pytest.raises(NotFound):
        tom.course(course)


@hypothesis.settings(max_examples=examples(25), suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_odd_json_is_refused_with_a_sentence(hub: Hub, course: str, data: st.DataObject) -> None:
    one = to_json(answered(course, given="11", message="Count again"))
    there = to_json(Presence(course, "01-map.ipynb", "NameError", "busy", 0.5, 10**9))
    note = to_json(Note(new_id(), "Hello", course, until=datetime.now(UTC) + timedelta(days=400)))
    method, path, valid = data.draw(st.sampled_from([
        ("PUT", f"courses/{course}/answers", [one]), ("POST", f"courses/{course}/presence", there),
        ("PUT", f"notes/{new_id()}", note), ("PUT", f"courses/{course}/state", {"state": "open"}),
    ]))  # fmt: skip
    headers = {"Authorization": f"token {hub.token('tom')}"}
    body = data.draw(damaged(valid) | anything(list(one) + list(there) + list(note)))
    answer = requests.request(method, f"{hub.store_url}/api/{path}", data=body, headers=headers, timeout=60)
    assert answer.status_code in (200, 400, 403, 404, 413), (path, body[:300], answer.status_code, answer.text)
    assert answer.status_code == 200 or answer.json()["message"]
    for listed in (f"courses/{course}/answers?everybody=1", f"courses/{course}/presence", f"notes?course={course}"):
        found = requests.get(f"{hub.store_url}/api/{listed}", headers=headers, timeout=60)
        assert found.status_code == 200, (listed, body[:300], found.text)
    assert class_of(hub, "tom", course).status_code == 200, body[:300]


# ------------------------------------------------------------------------------------------------------------- pages


def test_the_one_link_tells_what_it_is_and_leads_to_the_visitors_server(hub: Hub, course: str) -> None:
    page = f"{hub.store_url}/courses/{course}"
    assert "/hub/login" in requests.get(page, timeout=60, headers={"Sec-Fetch-Mode": "navigate"}).url
    found = log_in(hub, "alice").get(page, timeout=60)
    assert found.status_code == 200 and "First &lt;steps&gt;" in found.text and "<steps>" not in found.text
    assert "count &lt;clear&gt; dates" in found.text and "1 hour · 2 notebooks · 3 exercises · by Ada" in found.text
    assert f'href="/hub/user-redirect/muses/courses/{course}"' in found.text and "see the class" not in found.text
    assert "see the class" in log_in(hub, "tom").get(page, timeout=60).text
    policy = found.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "<style" not in found.text
    hub.store("tom").set_course_state(course, "closed")
    closed = log_in(hub, "alice").get(page, timeout=60).text
    assert "The course is closed" in closed and "user-redirect" not in closed
    for ask in (
        lambda: hub.store("alice").put_answers([answered(course)]),
        lambda: hub.store("alice").put_presence(Presence(course)),
        lambda: hub.store("alice").put_notebook(course, "01-map.ipynb", "{}"),
    ):
        with pytest.raises(AccessDenied, match="only who has begun it goes on"):
            ask()
    hub.store("tom").set_course_state(course, "open")
    hub.store("alice").put_presence(Presence(course))
    begun = log_in(hub, "alice").get(page, timeout=60).text
    assert ">Go on</a>" in begun and ">Join</a>" not in begun and "You were last in" not in begun
    assert ">Join</a>" in log_in(hub, "bob").get(page, timeout=60).text
    hub.store("alice").put_presence(Presence(course, "01-map.ipynb"))
    begun = log_in(hub, "alice").get(page, timeout=60).text
    assert f'href="/hub/user-redirect/muses/courses/{course}?notebook=01-map.ipynb">Go on</a>' in begun
    assert f"You were last in <strong>{COURSE['notebooks'][0]['title']}</strong>." in begun
    hub.store("tom").set_course_state(course, "closed")
    hub.store("alice").put_answers([answered(course)])
    assert f"muses/courses/{course}" in log_in(hub, "alice").get(page, timeout=60).text, "who was in it goes on"
    hub.store("tom").remove_course(course)
    removed = log_in(hub, "alice").get(page, timeout=60)
    assert removed.status_code == 404 and "<h1>The course is removed</h1>" in removed.text
    assert f"What you wrote is in your notebooks, in <code>~/courses/{course}</code>" in removed.text
    assert log_in(hub, "alice").get(f"{hub.store_url}/courses/unknown", timeout=60).status_code == 404


def test_the_class_is_for_trainers(hub: Hub, course: str) -> None:
    hub.store("alice").put_presence(Presence(course, error=HOSTILE))
    page = f"{hub.store_url}/courses/{course}/class"
    parts = ("", "/state", "/answers?user=alice", "/results.csv", "/notebooks.zip")
    for user, status in (("bob", 403), ("tom", 200), ("tina", 200)):
        session = log_in(hub, user)
        for part in parts:
            answer = session.get(page + part, timeout=60)
            assert answer.status_code == status, (user, part, answer.text)
            assert status == 200 or "alice" not in answer.text
            assert part or status != 200 or "First &lt;steps&gt;" in answer.text and "<steps>" not in answer.text
    anonymous = requests.get(f"{page}/state", timeout=60)
    assert anonymous.status_code == 403 and "alice" not in anonymous.text
    fetched = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "cross-site"}
    assert log_in(hub, "tom").get(f"{page}/state", headers=fetched, timeout=60).status_code == 403, (
        "no token of the page"
    )


def test_what_changes_something_needs_the_pages_token(hub: Hub, course: str) -> None:
    tom = log_in(hub, "tom")
    page = f"{hub.store_url}/courses/{course}/class"
    tom.get(page, timeout=60)
    xsrf = {"X-XSRFToken": tom.cookies.get("_xsrf", path="/services/muses/")}
    assert tom.post(f"{page}/act", json={"do": "close"}, timeout=60).status_code == 403
    assert hub.store("tom").course(course).state == "open"
    for wish in ({"do": "note", "text": HOSTILE}, {"do": "start"}, {"do": "close"}, {"do": "open"}):
        answer = tom.post(f"{page}/act", json=wish, headers=xsrf, timeout=60)
        assert answer.status_code == 200, answer.text
    (note,) = [note for note in hub.store("alice").notes(course) if note.kind == "note"]
    assert note.text == HOSTILE and note.by == "tom"
    assert tom.post(f"{page}/act", json={"do": "unnote", "id": note.id}, headers=xsrf, timeout=60).status_code == 200
    assert [note.kind for note in hub.store("alice").notes(course)] == ["start"]
    for wish in ({"do": "dance"}, [], {"do": "note", "text": " "}, {"do": "note", "text": "x" * 1001}, {}):
        assert tom.post(f"{page}/act", json=wish, headers=xsrf, timeout=60).status_code == 400, wish
    bob = log_in(hub, "bob")
    bob.get(f"{hub.store_url}/courses/{course}", timeout=60)
    own = {"X-XSRFToken": bob.cookies.get("_xsrf", path="/services/muses/") or ""}
    assert bob.post(f"{page}/act", json={"do": "close"}, headers=own, timeout=60).status_code == 403
    assert bob.post(f"{page}/act", json={"do": "close"}, headers=xsrf, timeout=60).status_code == 403


def test_the_class_in_numbers(hub: Hub, course: str) -> None:
    alice, bob = hub.store("alice"), hub.store("bob")
    told = answered(course, "wrong", 0.0, message=HOSTILE)
    alice.put_answers([answered(course, "wrong", 0.0), answered(course, points=5.0), told])
    bob.put_answers([answered(course, "error", 0.0), answered(course, exercise="gone-since")])
    bob.put_presence(Presence(course, "01-map.ipynb", "NameError: x", "idle"))
    answer = class_of(hub, "tom", course)
    found = answer.json()
    assert [one["user"] for one in found["participants"]] == ["alice", "bob"]
    assert found["participants"][0]["answers"] == {"clear-dates": ["right", 3, 2]}, "no more points than it is worth"
    assert found["participants"][1]["answers"] == {"clear-dates": ["error", 1, 0]}
    assert found["participants"][1]["here"] and not found["participants"][0]["here"]
    assert [one["id"] for book in found["notebooks"] for one in book["exercises"]] == [
        "clear-dates",
        "colour",
        "masked",
    ]
    same = class_of(hub, "tom", course, **{"If-None-Match": answer.headers["ETag"]})
    assert same.status_code == 304 and not same.content
    text = log_in(hub, "tom").get(f"{hub.store_url}/courses/{course}/class/results.csv", timeout=60).text
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 6 and lines[0] | {"last": ""} == {
        "participant": "alice", "notebook": "01-map.ipynb", "exercise": "clear-dates", "kind": "number",
        "state": "right", "tries": "3", "points": "2.0", "of": "2.0", "last": "", "message": HOSTILE,
    }  # fmt: skip
    alice.put_notebook(course, "02-clouds.ipynb", '{"cells": []}')
    sent = log_in(hub, "tom").get(f"{hub.store_url}/courses/{course}/class/notebooks.zip", timeout=60)
    with zipfile.ZipFile(io.BytesIO(sent.content)) as archive:
        assert archive.namelist() == ["alice/02-clouds.ipynb", "left-out.txt"]
        told = archive.read("left-out.txt").decode().splitlines()
    assert [line.partition(": it is")[0] for line in told] == [
        "alice: nothing was kept of 01-map.ipynb",
        "bob: nothing was kept of 01-map.ipynb",
        "bob: nothing was kept of 02-clouds.ipynb",
    ]


def test_prometheus_gets_numbers_without_names_and_only_from_here(hub: Hub, course: str) -> None:
    hub.store("alice").put_answers([answered(course), answered(course, state="wrong", points=0.0)])
    hub.store("alice").put_presence(Presence(course, "01-map.ipynb", error="NameError: x", cluster="busy"))
    hub.store("bob").put_presence(Presence(course, "01-map.ipynb", cluster="busy"))
    text = requests.get(f"{hub.service}/services/muses/metrics", timeout=60).text
    found = {
        (one.name, one.labels.get("state")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.labels.get("course") == course
    }
    assert found == {
        ("muses_hub_participants", None): 2, ("muses_hub_participants_failing", None): 1,
        ("muses_hub_clusters", "busy"): 2, ("muses_hub_answers_total", "right"): 1,
        ("muses_hub_answers_total", "wrong"): 1,
    }  # fmt: skip
    assert 'muses_hub_request_seconds_count{outcome="ok",route="answers"}' in text and "alice" not in text
    assert requests.get(f"{hub.store_url}/metrics", timeout=60).status_code == 404, "through the hub's proxy"


def test_scripts_and_styles_are_files_of_the_service(hub: Hub) -> None:
    for name, kind in (("class.js", "text/javascript"), ("pages.css", "text/css"), ("dom.js", "text/javascript")):
        answer = requests.get(f"{hub.store_url}/static/{name}", timeout=60)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith(kind)
    for name in ("tiles.js", "..%2fapi.py", "unknown.js"):
        assert requests.get(f"{hub.store_url}/static/{name}", timeout=60).status_code == 404


# ------------------------------------------------------------------------------------------------------------- faults


def test_a_killed_service_keeps_courses_and_answers(hub: Hub, course: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_STORE_SECONDS", "90")
    alice = hub.store("alice")
    first, second = answered(course), answered(course, exercise="colour")
    alice.put_answers([first])
    hub.service_process().send_signal(signal.SIGKILL)
    alice.put_answers([first, second])  # waits until it is there again
    assert [one.id for one in alice.answers(course)] == [first.id, second.id]
    assert hub.store("tom").course(course).version == find(course, hub.courses).version


# --------------------------------------------------------------------------------------------- on users' own servers


class Server:
    """A user's own server, opened in a browser as far as HTTP goes."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub = SimpleNamespace(url=hub.url.rstrip("/"))
        self.name, self.home = name, hub.folder / "home" / name
        hub.api("POST", f"users/{name}/server")
        hub.wait(lambda: hub.api("GET", f"users/{name}")["servers"].get("", {}).get("ready", False), f"{name}'s server")
        self.session = log_in(hub, name)
        self.ask("lab")

    def ask(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        xsrf = {"X-XSRFToken": self.session.cookies.get("_xsrf", path=f"/user/{self.name}/") or ""}
        url = f"{self.hub.url}/user/{self.name}/{path}"
        return self.session.request(method, url, headers=xsrf, timeout=120, **options)

    def open(self, path: str) -> Kernel:
        """What JupyterLab does with a notebook: a session with a kernel."""
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        answer = self.ask("api/sessions", "POST", json=body)
        assert answer.status_code == 201, answer.text
        return Kernel(self, answer.json()["kernel"]["id"])  # type: ignore[arg-type]

    def notes(self) -> list[str]:
        return [note["text"] for note in self.ask("muses/notes").json()["notes"]]


@pytest.fixture(scope="module")
def servers(hub: Hub) -> Iterator[dict[str, Server]]:
    yield {name: Server(hub, name) for name in ("alice", "tom")}
    for name in ("alice", "tom"):
        hub.api("DELETE", f"users/{name}/server")


def test_a_participant_joins_by_the_link_and_the_trainer_sees_how_it_goes(
    hub: Hub, servers: dict[str, Server], course: str
) -> None:
    alice, trainer = servers["alice"], hub.store("tom")
    for _ in range(2):  # the second time what is there stays
        opened = alice.session.get(f"{hub.url}hub/user-redirect/muses/courses/{course}", timeout=60)
        assert opened.url.endswith(f"/user/alice/lab/tree/courses/{course}/01-map.ipynb"), opened.url
        mine = alice.home / "courses" / course / "01-map.ipynb"
        assert mine.is_file() and os.access(mine, os.W_OK)
    for wanted, there in (("02-clouds.ipynb", "02-clouds.ipynb"), ("../other.ipynb", "01-map.ipynb")):
        link = f"{hub.url}hub/user-redirect/muses/courses/{course}"
        opened = alice.session.get(link, params={"notebook": wanted}, timeout=60)
        assert opened.url.endswith(f"/user/alice/lab/tree/courses/{course}/{there}"), opened.url
    picture = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"}
    asked = alice.session.get(
        f"{hub.url}user/alice/muses/courses/{course}", timeout=60, headers=picture, allow_redirects=False
    )
    assert asked.status_code == 403 or "oauth2/authorize" in asked.headers.get("Location", "")
    assert alice.ask("muses/courses/unknown").status_code == 400

    kernel = alice.open(f"courses/{course}/01-map.ipynb")
    with pytest.raises(AssertionError, match="a<b>c"):
        kernel.run("raise ValueError('a<b>c')")
    hub.wait(lambda: [one.error for one in trainer.presences(course)] == ["ValueError: a<b>c"], "the error")
    (seen,) = trainer.presences(course)
    assert (seen.user, seen.notebook, seen.cluster) == ("alice", "01-map.ipynb", "threads") and seen.memory > 50e6
    kernel.run("1 + 1")
    hub.wait(lambda: [one.error for one in trainer.presences(course)] == [""], "the end of the error")

    hub.wait(lambda: len(trainer.notebooks(course)) == 2, "the notebooks as they were given")
    book = json.loads(mine.read_text())
    book["cells"].append(
        {
            "cell_type": "code", "id": "mine", "source": "mine = 1", "metadata": {"trusted": True},
            "execution_count": 1,
            "outputs": [{"output_type": "display_data", "metadata": {}, "data": {"text/html": HOSTILE}}],
        }
    )  # fmt: skip
    mine.write_text(json.dumps(book))
    hub.wait(lambda: "mine = 1" in trainer.notebook(course, "alice", "01-map.ipynb"), "the saved notebook")
    tom = servers["tom"]
    link = f"{hub.url}hub/user-redirect/muses/copies/{course}/alice/01-map.ipynb"
    for _ in range(2):
        opened = tom.session.get(link, timeout=60)
        assert opened.url.endswith(f"/user/tom/lab/tree/class/{course}/alice/01-map.ipynb"), opened.url
        copy = tom.home / "class" / course / "alice" / "01-map.ipynb"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o444 and "mine = 1" in copy.read_text()
    model = tom.ask(f"api/contents/class/{course}/alice/01-map.ipynb").json()["content"]
    assert [cell["metadata"].get("trusted") for cell in model["cells"] if cell["cell_type"] == "code"] == [False, False]
    refused = alice.session.get(f"{hub.url}user/alice/muses/copies/{course}/tom/01-map.ipynb", timeout=60)
    assert refused.status_code == 403 and "for its trainers" in refused.text


@pytest.mark.thorough
def test_answers_reach_the_hub_whatever_is_killed_and_notes_reach_the_page(
    hub: Hub, servers: dict[str, Server], course: str
) -> None:
    alice, trainer = servers["alice"], hub.store("tom")
    alice.session.get(f"{hub.url}hub/user-redirect/muses/courses/{course}", timeout=60)
    kernel = alice.open(f"courses/{course}/01-map.ipynb")
    write = """
from muses_lab.courses.journal import Journal
from muses_lab.store import Answer, new_id
def add(exercise):
    Journal(COURSE).add(Answer(new_id(), COURSE, "01-map.ipynb", exercise, "right", 1.0))
"""
    kernel.run(f"COURSE = {course!r}{write}add('clear-dates')")
    hub.wait(lambda: len(trainer.answers(course, everybody=True)) == 1, "the first answer")
    hub.service_process().send_signal(signal.SIGKILL)
    kernel.run("add('colour'); add('masked')")
    hub.wait(lambda: len(trainer.answers(course, everybody=True)) == 3, "those of meanwhile")
    assert [one.exercise for one in trainer.answers(course, everybody=True)] == ["clear-dates", "colour", "masked"]
    trainer.put_note(Note(new_id(), "Break <now>", course))
    root = hub.store("root-of-all")
    stop = root.put_note(Note(new_id(), "The hub stops"))
    hub.wait(lambda: set(alice.notes()) == {"Break <now>", "The hub stops"}, "both notes")
    hub.wait(lambda: servers["tom"].notes() == ["The hub stops"], "that for all")
    root.remove_note(stop.id)
    hub.wait(lambda: alice.notes() == ["Break <now>"], "its end")
    trainer.remove_course(course, answers=True)
    hub.wait(lambda: alice.notes() == [], "the course's end")
