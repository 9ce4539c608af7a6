"""The cluster as users see it, on the embedded one and in threads; `test_hub.py` has those of a gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from muses_lab import compute
from muses_lab.compute import cluster, embedded, leases
from muses_lab.errors import ComputeError
from tests.helpers import PYTHON_PATH
from tests.helpers.scripted_engine import Document
from tests.helpers.service import running_server


@pytest.fixture(autouse=True)
def _by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where to compute is said by each test, not by what an earlier one chose for its process."""
    monkeypatch.setattr(compute, "_default", None)


@pytest.fixture
def here(fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This test's own embedded cluster: none at first, none afterwards."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("PYTHONPATH", PYTHON_PATH)
    monkeypatch.setenv("MUSES_ENGINE", "tests.helpers.scripted_engine:make")
    monkeypatch.setenv("MUSES_COMPUTE", "embedded")
    monkeypatch.setenv("MUSES_THREADS", "2")
    monkeypatch.setenv("MUSES_LEASE_GRACE", "1")
    yield
    compute.forget("embedded")
    embedded.drop_lease()
    embedded.stop()


@pytest.mark.slow
def test_looking_starts_nothing_and_holds_nothing(here):
    assert cluster.look().state == "off"
    assert not embedded.status()["running"]
    found = cluster.start()
    assert (found.kind, found.threads) == ("embedded", 2) and found.state in ("idle", "starting")
    info = embedded.running()
    embedded.drop_lease()
    end = time.monotonic() + 60
    while leases.is_alive(info.pid, info.start):  # it ends although somebody looks all the time
        cluster.look()
        assert time.monotonic() < end
    assert cluster.look().state == "off"


@pytest.mark.slow
def test_it_tells_what_it_does_and_a_stop_drops_that(here):
    ticket = compute.executor().request(Document(), ("sleep", 60.0, "long"))
    end = time.monotonic() + 60
    while (found := cluster.look()).state != "busy":
        assert time.monotonic() < end, found
    assert found.running == 1 and found.doing.startswith("computing 1 block, "), found
    assert 0 < found.memory < found.limit
    info = embedded.running()
    assert cluster.stop()
    assert not leases.is_alive(info.pid, info.start) and cluster.look().state == "off"
    with pytest.raises(Exception, match="closed"):
        ticket.future.result(10)
    assert not cluster.stop()


def test_threads_of_this_process_cannot_be_stopped(monkeypatch):
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    assert cluster.look().doing == "nothing to do"
    with pytest.raises(ComputeError, match="there is no cluster to stop"):
        cluster.stop()


def test_the_embedded_clusters_size_is_not_chosen_at_the_start(monkeypatch):
    monkeypatch.setenv("MUSES_COMPUTE", "embedded")
    with pytest.raises(ComputeError, match="MUSES_WORKERS and MUSES_THREADS"):
        cluster.start(workers=2)


@pytest.mark.slow
def test_the_service_shows_starts_and_stops_it(here, tmp_path):
    with running_server(tmp_path, MUSES_COMPUTE="embedded", MUSES_THREADS="1") as server:
        first = server.get("cluster")
        assert first.json().get("state") == "off", first.text
        refused = server.post("cluster", json={"do": "start", "options": {"workers": 2}})
        assert refused.status_code == 202
        while not (reason := server.get("cluster").json()["reason"]):
            time.sleep(0.1)
        assert "MUSES_WORKERS" in reason
        for body in (
            {},
            [],
            {"do": "restart"},
            {"do": "start", "options": {"workers": "2"}},
            {"do": "start", "options": 2},
        ):
            assert server.post("cluster", json=body).status_code == 400, body
        assert server.post("cluster", json={"do": "start"}).status_code == 202
        while (found := server.get("cluster").json()).get("state") != "idle":
            assert found.get("state") in ("off", "starting"), found
            time.sleep(0.1)
        assert found["threads"] == 1 and found["workers"] == 1
        stopped = server.post("cluster", json={"do": "stop"})
        assert stopped.status_code == 200 and stopped.json()["state"] == "off"
        assert not embedded.status()["running"]
