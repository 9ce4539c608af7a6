"""A real Dask Gateway on loopback: kernel and server of one user share a cluster of theirs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import dask
import pytest
from dask_gateway import Gateway

import muses_lab as ml
from benchmarks.gateway import PASSWORD, free_port, running_gateway
from muses_lab import compute
from muses_lab.compute import dask_backend, gateway
from muses_lab.compute.queue import Executor
from muses_lab.errors import ComputeError, ReadError
from muses_lab.raster.asset import Band
from tests.helpers import PYTHON_PATH
from tests.helpers.made_scenes import UTM31, three
from tests.helpers.scripted_engine import Document


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environment = {"MUSES_ENGINE": "tests.helpers.scripted_engine:make", "PYTHONPATH": PYTHON_PATH}
    with running_gateway(tmp_path_factory.mktemp("gateway"), environment) as url:
        yield url


@pytest.mark.slow
def test_kernel_and_server_share_the_users_cluster(address, monkeypatch):
    monkeypatch.setenv("MUSES_WORKERS", "1")
    auth = {"type": "basic", "kwargs": {"username": "alice", "password": PASSWORD}}
    with dask.config.set({"gateway.address": address, "gateway.auth": auth}):
        kernel = Executor(dask_backend.DaskBackend("gateway", gateway.connect))
        server = Executor(dask_backend.DaskBackend("gateway", gateway.connect))
        try:
            tickets = [e.request(Document(), ("where", "x")) for e in (kernel, server)]
            assert len({t.future.result(120) for t in tickets}) == 1  # the same worker
            with pytest.raises(ReadError, match="scene S1"):
                server.request(Document(), ("fail", "S1")).future.result(30)
            blocks = [kernel.request(Document(), ("array", 100_000, n)) for n in range(24)]
            assert all(block.future.result(30).nbytes == 100_000 for block in blocks)
            monkeypatch.setattr(kernel.backend, "_release", "muses-lab 9.9")
            with pytest.raises(ComputeError, match=r"run muses-lab .*, this process runs muses-lab 9\.9"):
                kernel.request(Document(), ("echo", 1)).future.result(30)
        finally:
            kernel.close()
            server.close()


@pytest.mark.thorough
@pytest.mark.slow
def test_a_production_on_a_gateway_writes_the_same_files(made, tmp_path, monkeypatch):
    _, scenes = three(made, sizes=True)
    chain = made.chain([Band("B", nodata=0.0)], scenes.scenes).band("B").median("t")

    def produced(how: str) -> dict[str, bytes]:
        monkeypatch.setenv("MUSES_COMPUTE", how)
        monkeypatch.setattr(compute, "_default", None)
        production = ml.produce(chain, tmp_path / how, tiles=1500, crs=UTM31, resolution=10, progress=False)
        assert not production.failed and len(production.done) > 1
        assert compute.kind() == how
        return {one.file: (tmp_path / how / one.file).read_bytes() for one in production.done}

    monkeypatch.setenv("MUSES_WORKERS", "1")
    environment = {"MUSES_LAB_HOME": os.environ["MUSES_LAB_HOME"], "PYTHONPATH": PYTHON_PATH}
    auth = {"type": "basic", "kwargs": {"username": "carol", "password": PASSWORD}}
    with (
        running_gateway(tmp_path, environment) as url,
        dask.config.set({"gateway.address": url, "gateway.auth": auth}),
    ):
        try:
            on_gateway = produced("gateway")
            assert [cluster.status.name for cluster in Gateway().list_clusters()] == ["RUNNING"]
        finally:
            compute.forget("gateway")
    assert on_gateway == produced("threads")


def test_without_a_gateway_the_error_says_what_to_set():
    with dask.config.set({"gateway.address": None}):
        executor = Executor(dask_backend.DaskBackend("gateway", gateway.connect))
        with pytest.raises(ComputeError, match="DASK_GATEWAY__ADDRESS"):
            executor.request(Document(), ("echo", 1)).future.result(10)
        executor.close()


@pytest.mark.slow
def test_another_release_is_refused_when_it_connects(address, monkeypatch):
    monkeypatch.setenv("MUSES_WORKERS", "1")
    monkeypatch.setattr("muses_lab.compute.release.version", lambda name: "9.9")
    gateway.release.cache_clear()
    monkeypatch.setattr("muses_lab.compute.dask_backend.release", lambda: "not asked")
    auth = {"type": "basic", "kwargs": {"username": "bob", "password": PASSWORD}}
    with dask.config.set({"gateway.address": address, "gateway.auth": auth}):
        executor = Executor(dask_backend.DaskBackend("gateway", gateway.connect))
        told = r"cluster runs muses-lab 0\..*, this process runs muses-lab 9\.9.*; stop the cluster"
        try:
            with pytest.raises(ComputeError, match=told):
                executor.request(Document(), ("echo", 1)).future.result(120)
        finally:
            gateway.release.cache_clear()
            executor.close()


@pytest.mark.slow
def test_a_gateway_that_does_not_answer_is_waited_for_until_the_time_is_up(monkeypatch):
    monkeypatch.setenv("MUSES_START_TIMEOUT", "1")
    with dask.config.set({"gateway.address": f"http://127.0.0.1:{free_port()}"}):
        executor = Executor(dask_backend.DaskBackend("gateway", gateway.connect))
        began = time.monotonic()
        with pytest.raises(ComputeError, match="the Dask Gateway does not answer"):
            executor.request(Document(), ("echo", 1)).future.result(30)
        assert time.monotonic() - began >= 1
        executor.close()


@pytest.mark.slow
def test_a_refused_login_is_an_error_with_its_reason(address):
    auth = {"type": "basic", "kwargs": {"username": "alice", "password": "wrong"}}
    with dask.config.set({"gateway.address": address, "gateway.auth": auth}):
        executor = Executor(dask_backend.DaskBackend("gateway", gateway.connect))
        with pytest.raises(ComputeError, match="the Dask Gateway refuses us: 401 Unauthorized"):
            executor.request(Document(), ("echo", 1)).future.result(30)
        executor.close()
