"""Real chains on real workers: the same pixels in threads and on the embedded cluster, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import muses_lab as ml
from muses_lab import compute
from muses_lab.api.chain import Chain
from muses_lab.compute import embedded
from muses_lab.compute.windows import request_window

EXTENT = (1.30, 43.56, 1.46, 43.64)
"""Across both tiles of the sample."""

SCRIPT = """
import sys
import muses_lab as ml
ml.use(sys.argv[2])
ndvi = ml.collection("sentinel-2-l2a", catalog=sys.argv[1]).mask_clouds().ndvi().median("t")
window = ml.Window.from_bounds((1.30, 43.56, 1.46, 43.64), crs="EPSG:4326", resolution=0.0002)
ndvi.compute(window).values.tofile(sys.argv[3])
"""


@pytest.fixture(scope="module")
def ndvi(sample_catalog: Path) -> Chain:
    return ml.collection("sentinel-2-l2a", catalog=str(sample_catalog)).mask_clouds().ndvi().median("t")


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    compute.shutdown()
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("MUSES_LEASE_GRACE", "0.5")
    yield
    compute.shutdown()
    embedded.stop()


def ours() -> set[int]:
    """Processes of embedded clusters that use this test's runtime folder."""
    runtime = os.environ["JUPYTER_RUNTIME_DIR"]
    found = [p for p in psutil.process_iter(["cmdline"]) if runtime in " ".join(p.info["cmdline"] or [])]
    return {q.pid for p in found for q in [p, *p.children(recursive=True)]}


@pytest.mark.thorough
@pytest.mark.slow
def test_a_plain_script_gives_the_same_pixels_in_threads_and_on_the_cluster_and_leaves_nothing(
    sample_catalog, no_cluster, tmp_path, monkeypatch
):
    monkeypatch.setenv("MUSES_LEASE_GRACE", "15")  # long enough to be seen after the script has ended
    files = {kind: tmp_path / kind for kind in ("threads", "embedded")}
    for kind, file in files.items():
        command = [sys.executable, "-c", SCRIPT, str(sample_catalog), kind, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert (done.returncode, done.stderr) == (0, "")
        assert bool(ours()) == (kind == "embedded")
    threads, cluster = (np.fromfile(f, np.float32) for f in files.values())
    assert np.isfinite(threads).mean() > 0.5
    np.testing.assert_array_equal(threads, cluster)
    gone, alive = psutil.wait_procs([psutil.Process(p) for p in ours() if psutil.pid_exists(p)], timeout=80)
    assert not alive


@pytest.mark.thorough
@pytest.mark.slow
def test_a_view_completes_although_a_worker_is_killed(ndvi, no_cluster):
    window = ml.Window.from_bounds(EXTENT, crs="EPSG:4326", resolution=0.0001)
    executor = compute.executor("embedded")
    ticket = request_window(executor, ndvi.published, window)
    while executor.status()["state"] != "ready":
        assert not ticket.done.done()
        time.sleep(0.01)
    assert executor.status()["running"] >= 2
    pid = embedded.ensure().pid
    worker = next(p for p in psutil.Process(pid).children() if "spawn_main" in " ".join(p.cmdline()))
    os.kill(worker.pid, signal.SIGKILL)
    pixels = ticket.result(200)
    expected = request_window(compute.executor("threads"), ndvi.published, window).result(200)
    np.testing.assert_array_equal(pixels.values, expected.values)
    assert pixels.report == expected.report


@pytest.mark.slow
def test_workers_load_the_engine_when_they_start_and_the_scheduler_never_does(ndvi, no_cluster):
    """It is seconds of importing, in which a scheduler answers nobody."""

    def has_engine(process: psutil.Process) -> bool:
        return any("llvmlite" in mapped.path for mapped in process.memory_maps())

    scheduler = psutil.Process(embedded.ensure().pid)
    worker = next(p for p in scheduler.children() if "spawn_main" in " ".join(p.cmdline()))
    end = time.monotonic() + 120
    while not has_engine(worker):  # though nobody has asked for a block
        assert time.monotonic() < end
        time.sleep(0.1)
    window = ml.Window.from_bounds(EXTENT, crs="EPSG:4326", resolution=0.001)
    request_window(compute.executor("embedded"), ndvi.published, window).result(200)
    assert not has_engine(scheduler)
