"""The user's jobs as the page's server lists and stops them, whichever process runs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import muses_lab as ml
from muses_lab.export import Job
from tests.helpers.service import Server, assert_failure

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = ml.Window.from_bounds((1.40, 43.57, 1.43, 43.59), crs="EPSG:32631", resolution=10)


@pytest.fixture
def ndvi(s2: ml.Collection) -> ml.Chain:
    return s2.mask_clouds().ndvi().median("t")


@pytest.fixture
def held(ndvi: ml.Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An export that waits after its first piece."""
    go, step = threading.Event(), Job.step

    def wait(job: Job) -> None:
        while not go.wait(0.05):
            job.check()
        step(job)

    monkeypatch.setattr(Job, "step", wait)
    job = ndvi.export(tmp_path / "held.tif", WINDOW, progress=False)
    yield job, go
    go.set()
    job.ended.wait(60)


def listed(server: Server, id: str) -> dict:
    return next(one for one in server.get("jobs").json() if one["id"] == id)


def until(server: Server, id: str, is_there: Callable[[dict], bool]) -> dict:
    end = time.monotonic() + 60
    while not is_there(one := listed(server, id)):
        assert time.monotonic() < end, one
        time.sleep(0.1)
    return one


def test_jobs_of_other_processes_are_listed_without_paths(server: Server, ndvi: ml.Chain, tmp_path: Path) -> None:
    job = ndvi.export(tmp_path / "ndvi.tif", WINDOW, progress=False)
    job.wait()
    one = until(server, job.id, lambda told: told["state"] == "done")
    assert (one["name"], one["job"], one["progress"]) == ("ndvi.tif", "export", 1.0)
    assert one["bytes"] == job.path.stat().st_size and str(tmp_path) not in server.get("jobs").text


def test_one_is_cancelled(server: Server, held: tuple[Job, threading.Event]) -> None:
    job, _ = held
    assert until(server, job.id, lambda told: told["state"] == "running")
    assert server.post(f"jobs/{job.id}", json={"do": "cancel"}).ok
    assert job.ended.wait(60) and job.state == "cancelled" and not job.path.exists()
    assert until(server, job.id, lambda told: told["state"] == "cancelled")


def test_one_is_paused_and_goes_on(server: Server, held: tuple[Job, threading.Event]) -> None:
    job, go = held
    until(server, job.id, lambda told: told["state"] == "running")
    assert server.post(f"jobs/{job.id}", json={"do": "pause"}).ok
    until(server, job.id, lambda told: told["state"] in ("pausing", "paused"))
    assert server.post(f"jobs/{job.id}", json={"do": "resume"}).ok
    go.set()
    job.wait(60)
    assert until(server, job.id, lambda told: told["state"] == "done")


def test_what_cannot_be_asked_is_refused(server: Server, ndvi: ml.Chain, tmp_path: Path) -> None:
    job = ndvi.export(tmp_path / "ndvi.tif", WINDOW, progress=False)
    job.wait()
    until(server, job.id, lambda told: told["state"] == "done")
    assert_failure(server.post(f"jobs/{job.id}", json={"do": "delete"}), 400, "bad-request")
    answer = server.post(f"jobs/{job.id}", json={"do": "resume"})
    assert not answer.ok and "done" in answer.json()["message"]
    assert server.post("jobs/no-such-job-at-all", json={"do": "cancel"}).status_code == 404
