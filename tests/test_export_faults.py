"""Exports on the embedded cluster while its processes are killed: the same bytes, no partial file, and the reason.

Kernel, script and server that are killed: test_job_ends.py, test_jobs.py; full disks there and in test_export.py.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import muses_lab as ml
from muses_lab import compute
from muses_lab.api.chain import Chain
from muses_lab.compute import embedded
from muses_lab.errors import ComputeError
from muses_lab.export import Job
from tests.helpers import PYTHON_PATH
from tests.helpers.examples import always
from tests.helpers.made_scenes import ndvi_of, window

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZE = 1600
WHOLE = window(SIZE, SIZE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Iterator[None]:
    """A cluster of this module's own."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "runtime").mkdir(mode=0o700)
    variables = {
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "MUSES_COMPUTE": "embedded", "MUSES_WORKERS": "2",
        "MUSES_THREADS": "1", "MUSES_LEASE_GRACE": "0.5", "PYTHONPATH": PYTHON_PATH,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(compute, "_default", None)
        compute.shutdown()
        yield
        embedded.stop()
        compute.shutdown()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> Chain:
    return ndvi_of(tmp_path_factory.mktemp("scenes"), SIZE)


@pytest.fixture(scope="module")
def expected(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return chain.export(tmp_path_factory.mktemp("first") / "a.tif", WHOLE, progress=False).wait(240).read_bytes()


def worker() -> int:
    """The number of a worker's process."""
    found = psutil.Process(embedded.ensure().pid).children(recursive=True)
    return next(process.pid for process in found if "spawn_main" in " ".join(process.cmdline()))


@pytest.mark.parametrize("who", always(["a worker", "the scheduler"], ["the scheduler"]))
def test_who_computes_is_killed_in_the_middle(chain: Chain, expected: bytes, tmp_path: Path, who: str) -> None:
    killed = threading.Event()

    def kill(job: Job) -> None:
        if job.done >= 2 and not killed.is_set():
            os.kill(worker() if who == "a worker" else embedded.ensure().pid, signal.SIGKILL)
            killed.set()

    job = (chain + 0).export(tmp_path / "a.tif", WHOLE, progress=False)
    job.observe(kill)
    try:
        job.wait(240)
    except ComputeError as error:  # it said so, and what is done is kept
        assert str(error) and not (tmp_path / "a.tif").exists()
        job = job.retry(progress=False)
        job.wait(240)
    assert killed.is_set() and job.total == 16
    again = (chain + 0).export(tmp_path / "b.tif", WHOLE, progress=False, title="a")
    assert again.wait(240).read_bytes() == (tmp_path / "a.tif").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_many_areas_on_the_cluster(chain: Chain, expected: bytes, tmp_path: Path) -> None:
    """A production computes wherever exports do."""
    made = ml.produce(chain, tmp_path, tiles="native", progress=False)
    assert [one.state for one in made.outputs] == ["done"]
    assert ml.remake(tmp_path / made.outputs[0].file, progress=False)
