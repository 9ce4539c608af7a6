"""The first course with the network cable pulled, on a laptop and on the hub: worked through to the last answer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from muses_lab.courses.journal import Journal
from muses_lab.exercises.participant import course
from tests.helpers import first_course
from tests.helpers.cut_off import STILL_THERE, cut_off
from tests.helpers.hubs import HubUser, running_hub, until
from tests.helpers.service import path, picture, running_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NOTEBOOKS = first_course.COURSE.notebooks
COMPUTED_BY = """
from muses_lab.compute import embedded
print("the cluster runs:", embedded.status()["running"])
"""


@pytest.fixture
def alone() -> Iterator[None]:
    with cut_off():
        told = subprocess.run([sys.executable, "-c", STILL_THERE], capture_output=True, text=True, timeout=60)
        assert told.stdout == "reached []\n", told
        yield


def muses_lab(*words: str, **environment: str) -> str:
    command = [sys.executable, "-c", "from muses_lab.cli import app; app()", *words]
    told = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told
    return told.stdout


@pytest.mark.thorough
def test_on_a_laptop(
    course_samples: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: None
) -> None:
    """With the embedded cluster, which is what a laptop has; the map's service is asked for a tile."""
    home = tmp_path / "home"
    course_samples(home)
    monkeypatch.setenv("MUSES_LAB_HOME", str(home))
    monkeypatch.setenv("MUSES_COMPUTE", "embedded")
    muses_lab("course", "open", "first-steps")
    copy = home / "notebooks" / "courses" / "first-steps"
    try:
        for notebook in NOTEBOOKS:
            assert (copy / notebook.file).exists()
            first, *_, last = ran([STILL_THERE, *first_course.solved(notebook), COMPUTED_BY], copy)
            assert (first, last) == ("reached []\n", "the cluster runs: True\n")
        best = Journal("first-steps").best()
        assert {id for id, exercise in best.items() if exercise.right} == first_course.EXERCISES
        assert (copy / "summer.tif").exists()
        layer = course(copy).chain("median-ndvi").style(cmap="RdYlGn", vmin=0, vmax=1)
        with running_server(tmp_path) as server:
            assert picture(server.get(path(layer.publish())))[..., 3].any()
    finally:
        muses_lab("cluster", "stop")


def ran(cells: list[str], folder: Path) -> list[str]:
    """What each cell printed, run in a folder as Jupyter runs them; an error in one is raised."""
    book = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return ["".join(o.text for o in cell.outputs if o.get("name") == "stdout") for cell in book.cells]


@pytest.mark.thorough
def test_on_the_hub(sample_catalog: Path, course_samples: Callable[[Path], None], alone: None) -> None:
    """With clusters by Dask Gateway, and the class's evaluator."""
    with running_hub(sample_catalog, ACCOUNTS="one") as hub:
        trainer = HubUser(hub, "trainer")
        own = {"MUSES_STORE_URL": f"{hub.url}/services/muses", "JUPYTERHUB_API_TOKEN": trainer.token()}
        assert "participants join by this link" in muses_lab("course", "publish", str(first_course.FOLDER), **own)
        alice = HubUser(hub, "alice").start()
        joined = alice.follow("/hub/user-redirect/muses/courses/first-steps")
        assert joined.url.endswith(f"/user/alice/lab/tree/courses/first-steps/{NOTEBOOKS[0].file}"), joined.text
        for notebook in NOTEBOOKS:
            kernel = alice.open(f"courses/first-steps/{notebook.file}")
            assert kernel.run(STILL_THERE) == "reached []\n"
            for cell in first_course.solved(notebook):
                kernel.run(cell, seconds=300)
            alice.ask(f"api/kernels/{kernel.id}", "DELETE")
        assert alice.cluster()["kind"] == "gateway" and hub.those("dask worker", user="alice")
        until(lambda: right_answers(trainer, "alice") == first_course.EXERCISES, 60, hub.messages)


def right_answers(trainer: HubUser, name: str) -> set[str]:
    """The exercises that a participant has solved, by what the trainer's page shows."""
    page = "/services/muses/courses/first-steps/class"
    trainer.follow(page)
    found = trainer.follow(f"{page}/state").json()
    answers = next((one["answers"] for one in found["participants"] if one["user"] == name), {})
    return {id for id, (state, *_) in answers.items() if state == "right"}
