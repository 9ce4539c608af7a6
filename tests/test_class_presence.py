"""What a participant's server tells and hears: the parts that need no hub; `test_hub_courses.py` has the whole."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from tornado.web import HTTPError

from muses_lab.courses.collected import place_of
from muses_lab.errors import MusesError
from muses_lab.service import class_presence, cluster
from muses_lab.service.class_presence import ClassPresence, without_outputs
from muses_lab.service.course_page import write_copy
from muses_lab.service.kernel_errors import KernelErrors
from muses_lab.store import Note


@pytest.fixture
def presence() -> ClassPresence:
    return ClassPresence({"kernel_manager": {}}, SimpleNamespace(computed=False))  # type: ignore[arg-type]


def wish(name: str, kind: str) -> Note:
    return Note(name, course="first-steps", kind=kind, by="tom")


def test_a_wish_is_fulfilled_once_and_of_several_the_newest(
    presence: ClassPresence, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(cluster, "wish", lambda service, todo: done.append(todo))
    start, stop = wish("wish-0001", "start"), wish("wish-0002", "stop")
    presence._fulfil([Note("note-0001", "Hello", "first-steps")])
    assert done == []
    presence._fulfil([start])
    presence._fulfil([start])
    presence._fulfil([stop, start])
    presence._fulfil([wish("wish-0004", "stop"), wish("wish-0003", "start"), stop, start])
    assert done == ["start", "stop", "stop"]


def test_threads_are_no_cluster_to_start_or_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    begun: list[Any] = []
    monkeypatch.setattr(cluster, "_begin", lambda *arguments: begun.append(arguments))
    cluster.wish(None, "stop")  # type: ignore[arg-type]
    assert begun == []
    monkeypatch.setenv("MUSES_COMPUTE", "embedded")
    cluster.wish(None, "stop")  # type: ignore[arg-type]
    assert len(begun) == 1


def test_a_large_notebook_goes_without_its_outputs() -> None:
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream")])
    book = nbformat.v4.new_notebook(cells=[cell])
    book.metadata["widgets"] = {"state": "x" * 1000}
    small = json.loads(without_outputs(nbformat.writes(book)))
    assert small["cells"][0]["outputs"] == [] and small["cells"][0]["source"] == ["1"]
    assert "widgets" not in small["metadata"]


def test_a_server_without_a_hub_never_begins(presence: ClassPresence, fresh_home: Path) -> None:
    presence.start()
    assert not presence._timer.is_running()
    assert class_presence.copies_here() == {}


def heard(kernel: KernelErrors, kind: str, cell: str, **content: str) -> None:
    kernel._hear("k", {"header": {"msg_type": kind}, "parent_header": {"msg_id": cell}, "content": content})


def test_the_last_cell_counts_whether_it_failed() -> None:
    kernel = KernelErrors({})
    heard(kernel, "execute_input", "a")
    heard(kernel, "error", "a", ename="NameError", evalue="name 'x'\x1b[0m is\nnot defined")
    heard(kernel, "status", "a", execution_state="idle")
    assert kernel.of("k") == "NameError: name 'x' [0m is not defined"
    heard(kernel, "status", "hidden", execution_state="idle")  # what the page asks by itself
    assert kernel.of("k")
    heard(kernel, "execute_input", "b")
    heard(kernel, "status", "b", execution_state="idle")
    assert kernel.of("k") == "" == kernel.of("other")


def test_a_copy_for_the_trainer_is_for_reading_and_goes_nowhere_else(tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", metadata={"trusted": True})])
    text = nbformat.writes(book)
    place = tmp_path / "class" / "first-steps" / place_of("../ada", "01.ipynb")
    for _ in range(2):
        write_copy(text, place, tmp_path)
    assert stat.S_IMODE(place.stat().st_mode) == 0o444 and "trusted" not in place.read_text()
    assert [path.name for path in place.parent.iterdir()] == ["01.ipynb"] and place.parent.name == "_ada"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "root"
    (root / "class").mkdir(parents=True)
    (root / "class" / "first-steps").symlink_to(elsewhere)
    with pytest.raises(HTTPError):
        write_copy(text, root / "class" / "first-steps" / "01.ipynb", root)
    assert os.listdir(elsewhere) == []
    for odd in ("", "[]", "{", '{"cells": 1}', "null", '{"cells": [5]}', "[" * 100_000):
        with pytest.raises(MusesError, match="no notebook"):
            write_copy(odd, place, tmp_path)
