"""What the Jupyter server tells of courses, and keeps of them: for cards and quizzes without a kernel."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from muses_lab.courses import copies, places
from muses_lab.courses.folder import write_json
from muses_lab.courses.journal import Journal
from muses_lab.service.notes import Notes
from muses_lab.store import Note
from tests.helpers.service import Server, assert_failure
from tests.helpers.taught_course import course_folder

pytestmark = [pytest.mark.usefixtures("in_threads"), pytest.mark.slow]  # they share a Jupyter server


@pytest.fixture(scope="module")
def published(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return course_folder(tmp_path_factory.mktemp("published") / "first-steps", sample_catalog)


@pytest.fixture(scope="module")
def copy(published: Path, isolated_home: Path) -> Path:
    """A participant's copy, where copies are."""
    folder = copies.home_of("first-steps")
    folder.mkdir(parents=True)
    for file in published.glob("*.ipynb"):
        (folder / file.name).write_bytes(file.read_bytes())
    write_json(folder / copies.RECORD, {"course": "first-steps", "version": "1", "folder": str(published)})
    places.note("first-steps", folder)  # other tests of this process may have opened one
    return folder


@pytest.fixture(autouse=True)
def nothing_answered(copy: Path):
    Journal("first-steps").remove()


def test_the_card_is_told_how_far_one_has_come(server: Server, copy: Path):
    told = server.get("courses/first-steps/me").json()
    assert (told["title"], told["points"], told["of"], told["can_reset"], told["notes"]) == (
        "First steps",
        0,
        8,
        True,
        [],
    )
    assert [one["file"] for one in told["notebooks"]] == ["01-map.ipynb", "02-questions.ipynb"]
    assert str(copy) not in json.dumps(told) and all(one["path"] is None for one in told["notebooks"])


def test_an_answer_to_a_question_is_looked_at_and_kept(server: Server):
    wrong = server.post("courses/first-steps/answers", json={"exercise": "why-median", "chosen": [0]}).json()
    assert wrong["state"] == "wrong" and wrong["marks"] == [{"choice": 0, "right": False, "text": "It is slower."}]
    right = server.post("courses/first-steps/answers", json={"exercise": "why-median", "chosen": [1]}).json()
    assert (right["state"], right["tries"], right["solved"]) == ("right", 2, True)
    assert server.get("courses/first-steps/me").json()["points"] == 1
    assert [one.state for one in Journal("first-steps").answers] == ["wrong", "right"]


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, {"exercise": 1, "chosen": [0]}, {"exercise": "why-median"},
        {"exercise": "why-median", "chosen": 0}, {"exercise": "why-median", "chosen": ["0"]},
        {"exercise": "why-median", "chosen": [True]},
        {"exercise": "dates", "chosen": [0]}, {"exercise": "why-median", "chosen": []},
        {"exercise": "why-median", "chosen": [3]}, {"exercise": "why-median", "chosen": [-1]},
    ],
)  # fmt: skip
def test_what_is_no_answer_to_a_question_is_refused_and_not_kept(server: Server, body: object):
    response = server.post("courses/first-steps/answers", json=body)
    assert response.status_code == 400 and not Journal("first-steps").answers
    assert response.json()["message"]


def test_a_notebook_is_given_back_and_one_s_own_is_kept(server: Server, copy: Path, published: Path):
    (copy / "01-map.ipynb").write_text("{}")
    text = server.post("courses/first-steps/reset/01-map.ipynb", json={}).json()["text"]
    kept = copy / re.findall(r"your own, as last saved, is in (\S+\.ipynb)", text)[0]
    assert (
        kept.read_text() == "{}" and (copy / "01-map.ipynb").read_bytes() == (published / "01-map.ipynb").read_bytes()
    )
    assert "nothing to give back" in server.post("courses/first-steps/reset/01-map.ipynb", json={}).json()["text"]
    for name in ("course.yml", "no.ipynb", "..%2F..%2Fetc%2Fpasswd", "chains/median.json"):
        assert server.post(f"courses/first-steps/reset/{name}", json={}).status_code == 400


@pytest.mark.parametrize("name", ["no-such-course", "..", "%2e%2e%2fx", "A B", "x" * 300])
def test_a_course_of_which_no_copy_is_here_is_not_found(server: Server, name: str):
    response = server.get(f"courses/{name}/me")
    assert response.status_code == 404
    assert_failure(response, 404, "not-found")


def test_notes_of_the_hub_are_told_to_whom_they_are_for():
    at = datetime.now(UTC)
    notes = Notes()
    stop = Note("stop-1234", "The hub stops", at=at)
    notes.take([Note("coffee-1", "Coffee", "first-steps", at=at), stop], "first-steps")
    notes.take([stop, Note("past-1234", "Over", at=at, until=at)])

    def told(*names: str) -> set[str]:
        return {note["text"] for note in notes.of(*names)}

    assert told("first-steps") == told() == {"Coffee", "The hub stops"} and told("other") == {"The hub stops"}
    notes.keep([])
    assert told() == {"The hub stops"}


def test_a_server_without_a_hub_says_so(server: Server):
    assert server.get("notes").json() == {"hub": False, "notes": []}
