"""A kernel that imports MUSES Lab makes its Jupyter server start the cluster: real servers, real kernels."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

import muses_lab as ml
from muses_lab import compute
from muses_lab.compute import embedded, leases
from muses_lab.kernel import socket_of
from muses_lab.raster.window import to_json
from tests.helpers import PYTHON_PATH
from tests.helpers.examples import always
from tests.helpers.kernels import printed
from tests.helpers.made_scenes import ndvi_of, window
from tests.helpers.service import Server, running_server

pytestmark = pytest.mark.slow

IMPORT = "import muses_lab, os; print(os.getpid())"


@pytest.fixture
def runtime(fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own: no cluster at first, none afterwards."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("PYTHONPATH", PYTHON_PATH)
    monkeypatch.setenv("MUSES_ENGINE", "tests.helpers.scripted_engine:make")
    monkeypatch.setenv("MUSES_THREADS", "1")
    monkeypatch.setenv("MUSES_LEASE_GRACE", "1")
    yield folder
    embedded.stop()


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def is_ready(client: BlockingKernelClient) -> bool:
    with suppress(RuntimeError):  # its heart does not beat yet
        client.wait_for_ready(timeout=60)
        return True
    return False


@contextmanager
def kernel(server: Server, runtime: Path) -> Iterator[BlockingKernelClient]:
    """A kernel that a Jupyter server has started."""
    id = server.session.post(f"{server.url}api/kernels", json={"name": "python3"}, timeout=60).json()["id"]
    client = BlockingKernelClient(connection_file=str(until(lambda: next(runtime.glob(f"kernel-{id}.json"), None))))
    client.load_connection_file()
    client.start_channels()
    until(lambda: is_ready(client))
    try:
        yield client
    finally:
        client.stop_channels()
        with suppress(requests.ConnectionError):  # a server that was killed has taken it along
            server.session.delete(f"{server.url}api/kernels/{id}", timeout=60)


def holders() -> set[int]:
    return {holder["pid"] for holder in embedded.status().get("holders", ())}


def clusters(runtime: Path) -> list[int]:
    """Processes that are the cluster of this runtime folder, those that only start included."""
    every = [(p.pid, " ".join(p.info["cmdline"] or [])) for p in psutil.process_iter(["cmdline"])]
    return [pid for pid, command in every if f"muses_lab.compute.embedded.server {runtime}/" in command]


def test_one_cluster_is_started_for_all_kernels_that_import_and_ends_with_them(runtime, tmp_path):
    with running_server(tmp_path, MUSES_COMPUTE="embedded") as server:
        with kernel(server, runtime) as one, kernel(server, runtime) as two:
            printed(one, "import os, sys")
            assert server.get("cluster").json()["state"] == "off" and not clusters(runtime)
            first, second = int(printed(one, IMPORT)), int(printed(two, IMPORT))
            until(lambda: holders() == {first, second})
            info = embedded.running()
            assert info and clusters(runtime) == [info.pid]
            found = until(lambda: (look := server.get("cluster").json())["state"] == "idle" and look)
            assert (found["workers"], found["running"], found["reason"]) == (1, 0, "")
            printed(one, "from importlib import reload; reload(muses_lab)")
            server.get("cluster")
            assert clusters(runtime) == [info.pid]
        until(lambda: not leases.is_alive(info.pid, info.start))  # although the server is still there
        assert server.get("cluster").json()["state"] == "off"
        assert stat.S_IMODE(next(runtime.glob("muses-*.sock")).stat().st_mode) == 0o600
    assert not list(runtime.glob("muses-*.sock"))


def test_a_start_that_fails_is_told_where_the_cluster_is_shown(runtime, tmp_path):
    settings = {"MUSES_COMPUTE": "embedded", "MUSES_WORKERS": "two"}
    with running_server(tmp_path, **settings) as server, kernel(server, runtime) as one:
        printed(one, IMPORT)
        found = until(lambda: (look := server.get("cluster").json())["reason"] and look)
        assert found["state"] == "off" and "MUSES_WORKERS='two' is not a number" in found["reason"]
        assert not holders()


@pytest.mark.parametrize(
    ("settings", "in_the_kernel"),
    always(
        [
            ({"MUSES_COMPUTE": "threads"}, "embedded"),
            ({"MUSES_COMPUTE": "gateway"}, "embedded"),
            ({"MUSES_COMPUTE": "embedded"}, "threads"),
            ({"MUSES_COMPUTE": "embedded", "MUSES_EARLY_START": "0"}, "embedded"),
        ],
        [({"MUSES_COMPUTE": "gateway"}, "embedded"), ({"MUSES_COMPUTE": "embedded"}, "threads")],
    ),
)
def test_no_cluster_is_started_where_another_place_to_compute_is_configured(runtime, tmp_path, settings, in_the_kernel):
    with running_server(tmp_path, **settings) as server, kernel(server, runtime) as one:
        printed(one, f"import os; os.environ['MUSES_COMPUTE'] = {in_the_kernel!r}")
        printed(one, IMPORT)
        for _ in range(3):
            server.get("styles/" + "0" * 64)  # the server has heard it meanwhile
        assert not clusters(runtime) and not holders()


def test_a_lease_for_a_while_ends_before_the_process_unless_that_takes_it_itself(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    folder = tmp_path / "leases"
    try:
        leases.hold(folder, other.pid, 1000)
        assert [holder["pid"] for holder in leases.holders(folder)] == [other.pid]
        lease = leases.hold(folder, other.pid, -1)
        assert leases.holders(folder) != []  # it has one
        lease.unlink()
        leases.hold(folder, other.pid, -1)
        assert leases.holders(folder) == []
        leases.hold(folder, os.getpid(), -1)
        assert leases.holders(folder) == []
        leases.hold(folder)
        leases.hold(folder, os.getpid(), -1)
        assert [holder["pid"] for holder in leases.holders(folder)] == [os.getpid()]
    finally:
        other.communicate(b"\n")


@pytest.mark.parametrize("server", always(["none", "gone", "stuck"], ["gone", "stuck"]))
def test_a_kernel_imports_it_whatever_has_become_of_its_server(runtime, server):
    """The kernel's parent is this process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        if server != "none":
            heard.bind(socket_of(os.getpid()))
        if server == "gone":
            heard.close()
        if server == "stuck":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
                full.setblocking(False)
                with pytest.raises(BlockingIOError):
                    while True:
                        full.sendto(b"1", socket_of(os.getpid()))
        manager, client = start_new_kernel()
        try:
            assert printed(client, IMPORT).isdigit()
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def test_a_script_tells_nobody_and_imports_nothing_for_it(runtime):
    code = "import sys; import muses_lab; print([m for m in ('socket', 'jupyter_core', 'numpy') if m in sys.modules])"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(socket_of(os.getpid()))
        heard.setblocking(False)
        environment = os.environ | {"JPY_PARENT_PID": str(os.getpid())}  # one that a kernel has started
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("[]\n", "")
        with pytest.raises(BlockingIOError):
            heard.recv(64)


# ------------------------------------------------------------------------------------------- exports of their kernels

HELD = """
import time
import muses_lab as ml
from muses_lab.export import Job
from muses_lab.raster.window import from_json
from muses_lab.store import default_store
def hold(job, step=Job.step):
    step(job)
    while job.done >= 3:
        time.sleep(0.05)
Job.step = hold
chain = ml.Chain.from_json(default_store().document({chain!r})).with_artefacts_of(default_store())
job = chain.export({path!r}, from_json({window!r}), progress=False)
"""


@pytest.mark.thorough
def test_a_killed_server_interrupts_its_kernels_export_which_goes_on_after_the_next_start(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MUSES_ENGINE")
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    monkeypatch.setattr(compute, "_default", None)
    out, whole = tmp_path / "out", tmp_path / "whole" / "ndvi.tif"
    for folder in (out, whole.parent):
        folder.mkdir()
    chain, box = ndvi_of(tmp_path / "scenes", 1100), window(1100, 1100)
    chain.export(whole, box, progress=False).wait(60)
    code = HELD.format(chain=chain.publish(), path=str(out / "ndvi.tif"), window=to_json(box))
    with running_server(tmp_path) as server, kernel(server, runtime) as client:
        printed(client, code)

        def listed() -> list[dict[str, Any]]:
            return server.get("jobs").json()

        before = until(lambda: (jobs := listed())[0]["done"] >= 3 and jobs)
        assert [(job["name"], job["state"]) for job in before] == [("ndvi.tif", "running"), ("ndvi.tif", "done")]
        os.kill(json.loads(next(runtime.glob("jpserver-*.json")).read_text())["pid"], signal.SIGKILL)
        until(lambda: ml.jobs()[0].state == "interrupted")
    assert not (out / "ndvi.tif").exists()
    with running_server(tmp_path) as server, kernel(server, runtime) as client:
        after = server.get("jobs").json()
        assert after[0] == before[0] | {"state": "interrupted", "done": after[0]["done"]} and after[1:] == before[1:]
        told = server.post(f"jobs/{after[0]['id']}", json={"do": "resume"})
        assert not told.ok and "goes on from a notebook" in told.json()["message"]
        steps = printed(
            client,
            "import muses_lab as ml; job = ml.jobs()[0].resume(progress=False); done = []; "
            "job.observe(lambda job: done.append(job.done)); job.wait(60); print(min(done), job.total)",
        )
        least, total = map(int, steps.split())
        assert least >= 3 and total == 9, "what was there is not computed again"
        assert [job["state"] for job in server.get("jobs").json()] == ["done", "done"]
    assert (out / "ndvi.tif").read_bytes() == whole.read_bytes() and [p.name for p in out.iterdir()] == ["ndvi.tif"]
