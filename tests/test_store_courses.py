"""What the store keeps of a class: answers summed up, counted, and taken of those alone who may go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from muses_lab.courses import folder
from muses_lab.courses.journal import best_of
from muses_lab.errors import AccessDenied, NotFound
from muses_lab.hub import results
from muses_lab.hub.access import Busy, Rate
from muses_lab.hub.courses import take_away
from muses_lab.store import Answer, CourseRecord, Presence, Who, new_id
from muses_lab.store.sql import SqlStore

COURSE = "first-steps"
MANIFEST = {
    "title": "First steps",
    "notebooks": [{"file": "01.ipynb", "title": "A", "exercises": [{"id": "dates", "kind": "number", "points": 2.0}]}],
}
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["file", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    file = request.param == "file"
    store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}" if file else request.getfixturevalue("postgres"))
    store.of(Who("tom", trainer=True)).put_course(CourseRecord(COURSE, "abcdefabcdef", MANIFEST))
    yield store
    store.close()


def answered(state: str, points: float = 0.0, exercise: str = "dates", minute: int = 0, **more: Any) -> Answer:
    at = NOON + timedelta(minutes=minute)
    return Answer(new_id(), COURSE, "01.ipynb", exercise, state, points, at=at, **more)


def test_tries_are_summed_up_as_they_are_one_by_one(store: SqlStore) -> None:
    ada, bob = store.of(Who("ada")), store.of(Who("bob"))
    ada.put_answers([answered("wrong", minute=n, message=f"No {n}") for n in range(5)])
    ada.put_answers([answered("right", 1.5, minute=7), answered("error", minute=8, message="Odd", given="x" * 4096)])
    bob.put_answers([answered("wrong", 0.5), answered("wrong", exercise="other")])
    tom = store.of(Who("tom", trainer=True))
    found = {(one.user, one.exercise): one for one in tom.tries(COURSE, messages=True)}
    assert set(found) == {("ada", "dates"), ("bob", "dates"), ("bob", "other")}
    for user in ("ada", "bob"):
        for exercise, best in best_of(store.answers(COURSE, of=user)).items():
            one = found[user, exercise]
            assert (one.tries, one.points) == (best.tries, best.points)
            assert (one.state, one.at, one.message) == (best.last.state, best.last.at, best.last.message)
    assert found["ada", "dates"].right and not found["bob", "dates"].right
    assert {one.message for one in tom.tries(COURSE)} == {""}
    rows = results.state(tom, COURSE)["participants"]
    points = {row["user"]: row["answers"]["dates"] for row in rows}
    assert points == {
        "ada": ["right", 7, 2.0],
        "bob": ["wrong", 1, 0.5],
    }
    with pytest.raises(AccessDenied, match="for its trainers"):
        ada.tries(COURSE)
    with pytest.raises(AccessDenied, match="for its trainers"):
        ada.answers(COURSE, of="bob")


def test_the_trainers_page_reads_no_texts_of_answers(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.of(Who("ada")).put_answers([answered("wrong", given="x" * 4096, message="y" * 4096) for _ in range(50)])
    monkeypatch.setattr(SqlStore, "answers", None)
    assert "xxx" not in str(results.state(store, COURSE)) and results.csv_of(store, COURSE).count("yyyy") > 0


def test_the_store_says_how_many_answers_it_has(store: SqlStore) -> None:
    ada = store.of(Who("ada"))
    one = answered("right", 1.0)
    assert (ada.put_answers([one]), ada.put_answers([one])) == ((0, 1), (1, 1))
    assert ada.put_answers([one, answered("wrong")]) == (1, 2)
    assert store.of(Who("bob")).put_answers([answered("wrong")]) == (0, 1)
    assert ada.put_presence(Presence(COURSE)).answers == 2


def test_a_closed_course_is_for_those_who_have_begun_it(store: SqlStore) -> None:
    tom = store.of(Who("tom", trainer=True))
    ada, bob, eve = (store.of(Who(name)) for name in ("ada", "bob", "eve"))
    ada.put_presence(Presence(COURSE))
    bob.put_answers([answered("wrong")])
    tom.set_course_state(COURSE, "closed")
    for one in (ada, bob, tom):
        one.put_presence(Presence(COURSE))
        one.put_answers([answered("right", 1.0)])
        one.put_notebook(COURSE, "01.ipynb", "{}")
    for ask in (
        lambda: eve.put_presence(Presence(COURSE)),
        lambda: eve.put_answers([answered("right")]),
        lambda: eve.put_notebook(COURSE, "01.ipynb", "{}"),
    ):
        with pytest.raises(AccessDenied, match="is closed: only who has begun it goes on"):
            ask()
    assert ada.has_begun(COURSE) and bob.has_begun(COURSE) and not eve.has_begun(COURSE)
    assert len(ada.notes(COURSE)) == 0
    tom.set_course_state(COURSE, "open")
    eve.put_presence(Presence(COURSE))


def test_what_fails_while_a_course_is_removed_can_be_tried_again(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    courses = tmp_path / "courses"
    version = courses / COURSE / "abcdefabcdef"
    version.mkdir(parents=True)
    folder.make_current(version.parent, version.name, "First steps", "tom")

    async def run(function: Any) -> Any:
        return function()

    def handler(name: str, trainer: bool) -> Any:
        async def ask(function: Any) -> Any:
            return function(store.of(Who(name, trainer=trainer)))

        return SimpleNamespace(ask=ask, service=SimpleNamespace(courses=courses, unpacking=SimpleNamespace(run=run)))

    with pytest.raises(AccessDenied):
        asyncio.run(take_away(handler("ada", False), COURSE, True))
    assert version.is_dir()
    with monkeypatch.context() as patched:
        patched.setattr(folder, "take_away", lambda path: (_ for _ in ()).throw(OSError("the disk is away")))
        with pytest.raises(OSError, match="away"):
            asyncio.run(take_away(handler("tom", True), COURSE, True))
    assert store.course(COURSE).state == "open"
    asyncio.run(take_away(handler("tom", True), COURSE, True))
    assert not version.parent.exists()
    with pytest.raises(NotFound):
        store.course(COURSE)


def test_a_rate_is_each_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("muses_lab.hub.access.time", SimpleNamespace(monotonic=lambda: now[0]))
    rate = Rate(10, 2.0, "answers")
    rate.take("ada", 10)
    rate.take("bob", 1)
    with pytest.raises(Busy, match="too many answers"):
        rate.take("ada", 1)
    now[0] = 3.0
    rate.take("ada", 6)
    now[0] = 100.0
    rate.take("bob", 1)
    assert set(rate._spent) == {"bob"}, "who sent nothing lately is forgotten"
