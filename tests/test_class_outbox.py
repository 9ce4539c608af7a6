"""Answers and notebooks on their way to the hub: what one of them has wrong keeps nothing else back."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from muses_lab.courses import copies, folder
from muses_lab.courses.description import Description
from muses_lab.courses.folder import Published
from muses_lab.courses.journal import Journal
from muses_lab.errors import AccessDenied, MusesError, StoreUnavailable
from muses_lab.service.class_presence import ClassPresence
from muses_lab.service.course_page import joined
from muses_lab.service.notes import Notes
from muses_lab.store import Answer, CourseRecord, Presence, Who, new_id
from muses_lab.store.sql import SqlStore
from tests.helpers.made_course import course_folder

COURSE = "first-steps"
LONG = "/".join(["x" * 200] * 2) + ".ipynb"


class Remote:
    """The store as the hub's service gives it: no notebook with a NUL; and no more where it is `away`."""

    def __init__(self, store: SqlStore) -> None:
        self.store, self.away = store, False

    def publish_course(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise StoreUnavailable("the store is away")
        return getattr(self.store, name)

    def put_notebook(self, course: str, file: str, text: str) -> None:
        if "\0" in text:
            raise MusesError("a notebook is a text without NUL")
        self.store.put_notebook(course, file, text)


class Class:
    """Ada's server, with the hub's store in a file."""

    def __init__(self, home: Path) -> None:
        self.published = course_folder(home / "published")
        self.all = SqlStore(f"sqlite:///{home / 'hub.sqlite'}")
        self.tom = self.all.of(Who("tom", trainer=True))
        self.ada = self.all.of(Who("ada"))
        self.remote = Remote(self.ada)
        self.open: list[str] = []
        self.publish()
        self.copy = copies.home_of(COURSE)
        course_folder(self.copy)
        (self.copy / "course.yml").unlink()
        told = {"course": COURSE, "version": "abcdefabcdef", "folder": str(self.published)}
        (self.copy / copies.RECORD).write_text(json.dumps(told))
        self.journal = Journal(COURSE)
        self.presence = self.server()

    def publish(self) -> None:
        manifest = Description.read(self.published).to_json()
        self.tom.put_course(CourseRecord(COURSE, "abcdefabcdef", manifest))

    def server(self) -> ClassPresence:
        async def run(function: Any, *arguments: Any) -> Any:
            return function(*arguments)

        async def sessions() -> list[dict[str, Any]]:
            return [{"path": str(self.copy / name), "kernel": {"id": "k"}} for name in self.open]

        pool = SimpleNamespace(run=run)
        service = SimpleNamespace(
            pools=SimpleNamespace(records=pool, cluster=pool), notes=Notes(), computed=False, store=lambda: self.remote
        )
        kernels = SimpleNamespace(list_kernel_ids=list)
        told = {"kernel_manager": kernels, "session_manager": SimpleNamespace(list_sessions=sessions)}
        presence = ClassPresence({**told, "server_root_dir": str(self.copy)}, service)  # type: ignore[arg-type]
        presence._errors = SimpleNamespace(follow=list, of=lambda id: "")  # type: ignore[assignment]
        return presence

    def look(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            asyncio.run(self.presence.look())

    def answer(self, state: str = "right") -> None:
        self.journal.add(Answer(new_id(), COURSE, "01-map.ipynb", "clear-dates", state, float(state == "right")))

    @property
    def kept(self) -> list[str]:
        return [one.state for one in self.ada.answers(COURSE)]

    @property
    def notebooks(self) -> list[str]:
        return [one.file for one in self.tom.notebooks(COURSE)]


@pytest.fixture
def ada(tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Class]:
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    one = Class(tmp_path)
    yield one
    one.all.close()


@pytest.mark.parametrize("broken", [b'{"cells": []}\0\0\0', b"\xff\xfe", b"[1]" + b" " * 2000, b"[" * 100_000])
def test_a_broken_notebook_keeps_nothing_else_from_the_hub(
    ada: Class, broken: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSES_MAX_NOTEBOOK", "1500")
    (ada.copy / "01-map.ipynb").write_bytes(broken)
    ada.open = ["01-map.ipynb"]
    ada.answer()
    ada.look()
    assert ada.kept == ["right"] and ada.notebooks == ["02-clouds.ipynb"]
    assert [one.notebook for one in ada.tom.presences(COURSE)] == ["01-map.ipynb"]
    ada.answer("wrong")
    ada.look()
    assert ada.kept == ["right", "wrong"]
    (ada.copy / "01-map.ipynb").write_text('{"cells": []}')
    ada.look()
    assert ada.notebooks == ["01-map.ipynb", "02-clouds.ipynb"]


def test_a_notebook_with_an_odd_name_is_present_without_it(ada: Class) -> None:
    ada.open = [LONG]
    ada.answer()
    ada.look()
    assert ada.kept == ["right"] and [one.notebook for one in ada.tom.presences(COURSE)] == [""]
    assert len(ada.notebooks) == 2


def test_answers_that_the_hub_has_lost_are_sent_again(ada: Class) -> None:
    ada.open = ["01-map.ipynb"]
    ada.answer()
    ada.answer("wrong")
    ada.look()
    assert ada.kept == ["right", "wrong"]
    ada.tom.remove_course(COURSE, answers=True)
    ada.publish()
    ada.answer("error")
    ada.look(3)
    assert sorted(ada.kept) == ["error", "right", "wrong"]
    sent: list[int] = []
    put = ada.ada.put_answers
    ada.ada.put_answers = lambda answers: sent.append(1) or put(answers)  # type: ignore[method-assign]
    ada.look(3)
    assert not sent, "once they are there nothing is sent"


def test_answers_of_before_are_sent_again_by_a_server_that_began_since(ada: Class) -> None:
    ada.answer()
    ada.look()
    ada.tom.remove_course(COURSE, answers=True)
    ada.publish()
    ada.presence = ada.server()
    ada.open = ["01-map.ipynb"]
    ada.look(3)
    assert ada.kept == ["right"]


def test_a_course_that_is_gone_is_left_alone_and_a_hub_that_is_away_is_not(ada: Class) -> None:
    ada.remote.away = True
    ada.answer()
    ada.look(3)
    ada.remote.away = False
    ada.look()
    assert ada.kept == ["right"]
    ada.tom.remove_course(COURSE)
    ada.answer("wrong")
    ada.look()
    assert COURSE in ada.presence._unknown


def test_nobody_new_gets_a_copy_of_a_closed_course(ada: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "find", lambda id: Published(id, "abcdefabcdef", ada.published, "A", datetime.now(UTC)))
    shutil.rmtree(ada.copy)
    ada.tom.set_course_state(COURSE, "closed")
    with pytest.raises(AccessDenied, match="is closed: only who has begun it goes on"):
        joined(COURSE, ada.remote)  # type: ignore[arg-type]
    assert not ada.copy.exists()
    ada.tom.set_course_state(COURSE, "open")
    ada.ada.put_presence(Presence(COURSE))
    ada.tom.set_course_state(COURSE, "closed")
    assert joined(COURSE, ada.remote).is_file(), "who has deleted the copy gets it again"  # type: ignore[arg-type]
