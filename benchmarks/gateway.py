"""A Dask Gateway on loopback, for the benchmarks and the tests; servers that are started and waited for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.processes import free_port, running, until_there

BIN = Path(sys.executable).parent
PASSWORD = "pw"
"""Of every user."""
CONFIGURATION = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = {password!r}
c.DaskGateway.address = "127.0.0.1:{private}"
c.Proxy.address = "127.0.0.1:{public}"
c.UnsafeLocalBackend.clusters_directory = {folder!r}
c.ClusterConfig.scheduler_cmd = [{dask!r}, "scheduler"]
c.ClusterConfig.worker_cmd = [{dask!r}, "worker", "--host", "127.0.0.1"]
c.ClusterConfig.worker_cores = {cores}
c.ClusterConfig.environment = {environment!r}
"""


@contextlib.contextmanager
def running_gateway(folder: Path, environment: Mapping[str, str], cores: int = 1) -> Iterator[str]:
    """The address of a gateway whose clusters have an environment, and workers with so many cores."""
    private, public = free_port(), free_port()
    file = folder / "gateway.py"
    file.write_text(
        CONFIGURATION.format(
            private=private, public=public, folder=str(folder), dask=str(BIN / "dask"), password=PASSWORD,
            environment=dict(environment), cores=cores,
        )
    )  # fmt: skip
    url = f"http://127.0.0.1:{public}"
    with running([BIN / "dask-gateway-server", "-f", file], folder, "gateway") as process:
        until_there(f"{url}/api/health", process, folder / "gateway.log")
        yield url
