"""What users see when something breaks between their map and the workers: a reason, and tiles again afterwards.

Everything is real: a Jupyter server, the embedded cluster behind a TCP proxy, workers that are slow, stuck or killed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pytest
import requests

import muses_lab as ml
from muses_lab.compute import embedded
from muses_lab.compute.embedded import finder
from muses_lab.service.tile import Tile, TilePixel
from tests.helpers import PYTHON_PATH
from tests.helpers.service import Server, running_server
from tests.helpers.tcp_proxy import TcpProxy, proxy_before
from tests.helpers.waiting import within

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TILE_SECONDS = 10
"""What the service allows a tile; workers are slower than that only where a test says so."""
PATIENCE = 120
"""Within so many seconds the service works again once a fault is over."""


@dataclass
class Lab:
    """A Jupyter server with the map's service, and its cluster behind a proxy."""

    server: Server
    proxy: TcpProxy
    fault: Path
    published: str
    views: Iterator[tuple[str, str]]

    def break_workers(self, fault: str) -> None:
        self.fault.write_text(fault)

    def view(self, n: int = 4) -> list[str]:
        """Paths of tiles that nobody has asked for yet: those of a new chain."""
        chain, style = next(self.views)
        middle = TilePixel.at(1.40, 43.6, 14).tile
        tiles = [Tile(14, middle.x + dx, middle.y + dy) for dx, dy in product((0, 1, 2), (0, 1))][:n]
        return ["tiles/{}/{}/{}/{}/{}.png".format(chain, style, *tile) for tile in tiles]

    def ask(self, paths: list[str], timeout: float = 2 * TILE_SECONDS) -> list[requests.Response]:
        """All at once, as a browser does; that every request is answered is part of every test."""
        with ThreadPoolExecutor(len(paths)) as pool:
            return list(pool.map(lambda path: self.server.session.get(self.server.muses(path), timeout=timeout), paths))

    def recovers(self, paths: list[str]) -> None:
        """Asked for again as the map does, all of the tiles come."""
        end = time.monotonic() + PATIENCE
        while True:
            answers = self.ask(paths)
            if all(answer.ok for answer in answers):
                return
            assert time.monotonic() < end, reasons(answers)
            time.sleep(0.5)

    def status(self) -> dict[str, Any]:
        return self.server.get(f"status/{self.published}").json()


def reasons(answers: list[requests.Response]) -> list[str]:
    """Code and words of each failure; '' where there is none."""
    said = [
        f"{a.headers['X-Muses-Error']}: {unquote(a.headers['X-Muses-Message'])}" if not a.ok else "" for a in answers
    ]
    for answer, words in zip(answers, said, strict=True):
        assert answer.headers["Content-Type"] == "image/png" and answer.content  # a picture, whatever happened
        assert not words or answer.headers["Cache-Control"] == "no-store"
    return said


def new_chains(collection: ml.Collection) -> Iterator[tuple[str, str]]:
    """Chains that cost the same, of which no result is known anywhere; each published with its style."""
    for n in range(1000):
        chain = (collection.ndvi() + n / 1000).max("t")
        yield chain.style(vmin=0, vmax=1).publish()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, sample_catalog: Path) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "runtime").mkdir(mode=0o700)
    (folder / "fault").touch()
    settings = {
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "MUSES_LAB_HOME": str(folder / "home"),
        "MUSES_ENGINE": "tests.helpers.faulty_engine:make",
        "MUSES_TEST_FAULT": str(folder / "fault"),
        "MUSES_WORKERS": "2",
        "MUSES_THREADS": "1",
        "MUSES_LEASE_GRACE": "1",
        "MUSES_TILE_TIMEOUT": str(TILE_SECONDS),
        "MUSES_STUCK_SECONDS": "4",
        "MUSES_ANSWER_SECONDS": "4",
        "PYTHONPATH": PYTHON_PATH,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        collection = ml.collection("sentinel-2-l2a", ml.open_catalog(str(sample_catalog)))
        held = set(embedded._held)
        proxy = proxy_before(embedded.ensure())
        try:
            with running_server(folder, MUSES_COMPUTE="embedded") as server:
                lab = Lab(server, proxy, folder / "fault", collection.ndvi().max("t").publish(), new_chains(collection))
                lab.recovers(lab.view())  # imports and compiles what is compiled
                assert proxy.accepted
                yield lab
        finally:
            lease = set(embedded._held) - held
            embedded._held -= lease
            for one in lease:
                one.unlink(missing_ok=True)
            embedded.stop()
            proxy.close()


@pytest.fixture(autouse=True)
def nothing_stays_broken(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab" in request.fixturenames:
        lab: Lab = request.getfixturevalue("lab")
        lab.break_workers("")
        lab.proxy.set("pass")


# Workers


@pytest.mark.thorough
def test_slow_workers_cost_time_and_no_tile(lab: Lab) -> None:
    lab.break_workers("slow 1")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lab.ask, lab.view())
        assert within(PATIENCE, lambda: lab.status()["queue"]["running"] > 0)  # and the service answers meanwhile
        assert reasons(asked.result()) == [""] * 4


@pytest.mark.thorough
def test_tiles_of_workers_that_are_too_slow_fail_with_the_limit_and_come_by_retry(lab: Lab) -> None:
    lab.break_workers("slow 300")
    view = lab.view(3)
    for reason in reasons(lab.ask(view)):
        assert reason.startswith(f"timeout: not ready after {TILE_SECONDS} s")
    lab.break_workers("")
    lab.recovers(view)


@pytest.mark.thorough
def test_stuck_workers_are_replaced(lab: Lab) -> None:
    """Every thread of the cluster is taken by work that never ends and hears no cancel flag."""
    lab.break_workers("stuck")
    view = lab.view()
    for reason in reasons(lab.ask(view)):
        assert reason.startswith(("timeout: ", "compute-failed: ")), reason
    lab.break_workers("")
    lab.recovers(view)
    assert within(PATIENCE, lambda: lab.status()["queue"]["running"] == 0)


def test_one_dying_worker_costs_time_and_no_reason_to_worry(lab: Lab) -> None:
    lab.break_workers("die-once a")
    view = lab.view()
    for reason in reasons(lab.ask(view)):
        assert reason.startswith("timeout: ") or not reason, reason  # a new worker takes its time on a busy machine
    lab.recovers(view)
    assert lab.fault.with_name("died-a").exists()


@pytest.mark.thorough
def test_tiles_that_kill_their_workers_fail_with_that_reason_and_come_by_retry(lab: Lab) -> None:
    lab.break_workers("die")
    view = lab.view(1)
    (reason,) = reasons(lab.ask(view, timeout=PATIENCE))
    assert reason.startswith(("compute-failed: workers died again and again", "timeout: ")), reason
    lab.break_workers("")
    lab.recovers(view)


# The way to the cluster


def test_connections_that_are_cut_are_made_again(lab: Lab) -> None:
    lab.break_workers("slow 1")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lab.ask, lab.view())
        assert within(PATIENCE, lambda: lab.status()["queue"]["running"] > 0)
        assert lab.proxy.cut() > 0
        assert reasons(asked.result()) == [""] * 4


def test_a_cluster_that_cannot_be_reached_is_a_reason_and_no_dead_end(lab: Lab) -> None:
    lab.proxy.set("refuse")
    lab.proxy.cut()
    view = lab.view(2)
    for reason in reasons(lab.ask(view)):
        assert reason.startswith(("compute-failed: ", "timeout: ")), reason
    lab.proxy.set("pass")
    lab.recovers(view)


@pytest.mark.thorough
def test_a_connection_that_swallows_everything_is_given_up(lab: Lab) -> None:
    """No end of the connection is told: only that answers do not come."""
    lab.proxy.set("swallow")
    view = lab.view(2)
    for reason in reasons(lab.ask(view)):
        assert reason.startswith(("compute-failed: ", "timeout: ")), reason
    lab.proxy.cut()  # TLS cannot go on where bytes are missing
    lab.proxy.set("pass")
    lab.recovers(view)


@pytest.mark.thorough
def test_connections_that_were_swallowed_and_never_end_are_not_used_again(lab: Lab) -> None:
    """The old connections stay open and silent for ever; new ones work: what a restarted firewall leaves behind."""
    accepted = lab.proxy.accepted
    lab.proxy.silence()
    view = lab.view(2)
    answers = lab.ask(view)
    assert all(reason.startswith(("compute-failed: ", "timeout: ")) for reason in reasons(answers) if reason)
    lab.recovers(view)
    assert lab.proxy.accepted > accepted


# The disk


def test_a_full_disk_stops_no_tiles_and_says_what_cannot_be_kept(lab: Lab) -> None:
    """Neither the server nor the cluster can write a byte: what is computed is shown, what is to be kept is refused."""
    lab.recovers(lab.view())  # workers that the tests before have ended are there again: they write when they start
    assert within(PATIENCE, lambda: lab.ask(lab.view(1)) and lab.status()["queue"]["workers"] == 2)
    processes = [process for process in psutil.process_iter() if _belongs(process, lab)]
    assert len(processes) >= 4  # server, cluster, its workers
    limits = [(process, process.rlimit(psutil.RLIMIT_FSIZE)) for process in processes]
    view = lab.view()
    for process, (_, hard) in limits:
        process.rlimit(psutil.RLIMIT_FSIZE, (0, hard))
    try:
        assert reasons(lab.ask(view)) == [""] * 4
        refused = lab.server.post("styles", json={"cmap": "magma", "vmin": 0.123, "vmax": 0.456})
        assert (refused.status_code, refused.json()["code"]) == (507, "disk-full"), refused.text
        assert "full" in refused.json()["message"]
    finally:
        for process, limit in limits:
            process.rlimit(psutil.RLIMIT_FSIZE, limit)
    assert lab.server.post("styles", json={"cmap": "magma", "vmin": 0.123, "vmax": 0.456}).status_code == 201


def _belongs(process: psutil.Process, lab: Lab) -> bool:
    """Whether a process is one of this test's server and cluster."""
    try:
        return process.environ().get("MUSES_TEST_FAULT") == str(lab.fault) and process.pid != os.getpid()
    except psutil.Error:
        return False


# The scheduler: last, because the next cluster has no proxy


@pytest.mark.thorough
def test_a_cluster_that_is_killed_is_started_again(lab: Lab) -> None:
    lab.break_workers("slow 1")
    pid = json.loads(finder.cluster_file(finder.cluster_folder()).read_text())["pid"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lab.ask, view := lab.view(), timeout=PATIENCE)
        assert within(PATIENCE, lambda: lab.status()["queue"]["running"] > 0)
        psutil.Process(pid).kill()
        for reason in reasons(asked.result()):
            assert reason.startswith("timeout: ") or not reason, reason
    lab.recovers(view)
    assert json.loads(finder.cluster_file(finder.cluster_folder()).read_text())["pid"] != pid
