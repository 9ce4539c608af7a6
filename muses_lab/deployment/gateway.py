"""Dask Gateway on one machine: each user one cluster, as the user's account, limited by the hub, gone with the server.

Three things that the stock local backend does not do: it limits each cluster, but not how many a user has; it kills by
process number alone, which after a reboot is somebody else's; and clusters outlive the server of their user.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from dask_gateway_server.auth import JupyterHubAuthenticator
from dask_gateway_server.backends.base import PublicException
from dask_gateway_server.backends.local import LocalBackend
from dask_gateway_server.options import Float, Integer, Options

from muses_lab.compute import leases
from muses_lab.deployment import gateway_metrics  # noqa: F401  adds its route to the gateway's
from muses_lab.deployment.accounts import Accounts
from muses_lab.deployment.config import HubSettings

GIB = 1 << 30
SERVER_PERIOD = 5.0
"""Seconds between looks whether the users who have clusters have servers."""

KEEP_LOGS_FOR = 7 * 24 * 3600.0
IMPORTS = 0.6
"""GiB of a worker that the libraries take; the rest is the engine's (`settings.worker_bytes`)."""


def cluster_options(settings: HubSettings, environment: dict[str, str]) -> Callable[[Any], Options]:
    """What a user may choose for a cluster, up to the user's own limits."""

    def options(user: Any) -> Options:
        limits = settings.limits.of(user.name, user.groups, settings.exceptions)

        def configuration(chosen: Any) -> dict[str, Any]:
            engine = max(0.25, chosen.memory - IMPORTS)
            return {
                "worker_cores": chosen.cores,
                "worker_memory": int(chosen.memory * GIB),
                "cluster_max_workers": chosen.workers,
                "environment": {**environment, "MUSES_WORKER_BYTES": str(int(engine * GIB))},
            }

        return Options(
            Integer("workers", limits.workers, min=1, max=limits.workers, label="Workers at most"),
            Integer("cores", limits.cores, min=1, max=limits.cores, label="Threads of a worker"),
            Float("memory", limits.memory, min=min(1.0, limits.memory), max=limits.memory, label="GiB of a worker"),
            handler=configuration,
        )

    return options


class HubAuthenticator(JupyterHubAuthenticator):
    """The hub says who it is; a token that it does not know is refused, not a failure of ours."""

    async def authenticate(self, request: web.Request) -> Any:
        try:
            return await super().authenticate(request)
        except web.HTTPInternalServerError as error:
            if "Permission failure" not in error.reason:
                raise
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "jupyterhub"}, reason="Unknown token") from None


class UserClusters(LocalBackend):
    """The backend of `jupyterhub_config.py`, which sets `accounts` and `logs`."""

    accounts: Accounts
    logs: Path
    """A folder per cluster, not below the cluster's own: what root writes must not be where users can place links."""

    # One cluster each

    async def start_cluster(self, user: Any, cluster_options: dict[str, Any]) -> str:
        there = self.db.list_clusters(username=user.name)
        if there:
            raise PublicException(f"{user.name} has a cluster already ({there[0].name}); stop it first")
        return await super().start_cluster(user, cluster_options)

    # With the user's server

    async def do_setup(self) -> None:
        await super().do_setup()
        _forget_old(self.logs)
        if os.environ.get("JUPYTERHUB_API_URL"):
            self.task_pool.spawn(self._watch_servers())

    async def _watch_servers(self) -> None:
        while True:
            await asyncio.sleep(SERVER_PERIOD)
            for cluster in list(self.db.active_clusters()):
                try:
                    if not await self._has_server(cluster.username):
                        self.log.info("Stopping cluster %s: its user has no server any more", cluster.name)
                        await self.stop_cluster(cluster.name)
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # the hub is being restarted: clusters stay
                    self.log.warning("The hub does not tell whether %s has a server: %s", cluster.username, error)

    async def _has_server(self, username: str) -> bool:
        headers = {"Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}"}
        url = f"{os.environ['JUPYTERHUB_API_URL']}/users/{username}"
        async with self.session.get(url, headers=headers) as response:
            if response.status == 404:
                return False
            response.raise_for_status()
            servers = (await response.json())["servers"].values()
        return any(server["ready"] or server["pending"] for server in servers)

    # As the user's account

    def get_env(self, cluster: Any) -> dict[str, str]:
        account = self.accounts.of(cluster.username)
        return {**super().get_env(cluster), **account.environment(cluster.username)}

    def set_file_permissions(self, paths: list[str], username: str) -> None:
        """To the user; the list that comes has single letters among its paths (dask-gateway-server 2026.3)."""
        account = self.accounts.of(username)
        if account.uid is None or account.gid is None:
            return
        certificates = [os.path.join(paths[0], ".certs", name) for name in ("dask.crt", "dask.pem")]
        for path in [p for p in paths if len(p) > 1 and os.path.isabs(p)] + certificates:
            if not Path(path).is_relative_to(self.logs):
                os.chown(path, account.uid, account.gid)

    def get_logs_directory(self, workdir: str) -> str:
        return str(self.logs / os.path.basename(workdir))

    async def start_process(self, cluster: Any, cmd: list[str], env: dict[str, str], name: str) -> int:
        folder = cluster.state["workdir"]
        path = os.path.join(self.get_logs_directory(folder), f"{name}.log")
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        try:
            process = await asyncio.create_subprocess_exec(
                *cmd,
                **{**self.accounts.of(cluster.username).process(), "cwd": folder},
                env=env,
                start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
        finally:
            os.close(log)
        return process.pid

    # Pages of schedulers and workers are open to whoever knows a port: there are none.

    def get_scheduler_command(self, cluster: Any) -> list[str]:
        return [*super().get_scheduler_command(cluster), "--no-dashboard"]

    def get_worker_command(self, cluster: Any, worker_name: str, scheduler_address: str | None = None) -> list[str]:
        command = super().get_worker_command(cluster, worker_name, scheduler_address)
        return [*command, "--no-dashboard", "--host", "127.0.0.1"]

    # Processes by number and start: the gateway finds its clusters again after it was killed, and after a reboot none

    async def do_start_cluster(self, cluster: Any) -> AsyncIterator[dict[str, Any]]:
        async for state in super().do_start_cluster(cluster):
            yield _with_start(state)

    async def do_start_worker(self, worker: Any) -> AsyncIterator[dict[str, Any]]:
        async for state in super().do_start_worker(worker):
            yield _with_start(state)

    async def do_stop_cluster(self, cluster: Any) -> None:
        await self._stop(cluster.state)
        folder = cluster.state.get("workdir")
        if folder:
            self.cleanup_working_directory(folder)

    async def do_stop_worker(self, worker: Any) -> None:
        await self._stop(worker.state)

    async def _stop(self, state: dict[str, Any]) -> None:
        if _runs(state):
            await self.stop_process(state["pid"])

    def _check_status(self, o: Any) -> bool:
        return _runs(o.state)


def _forget_old(logs: Path) -> None:
    for folder in logs.iterdir() if logs.is_dir() else ():
        if time.time() - folder.stat().st_mtime > KEEP_LOGS_FOR:
            shutil.rmtree(folder, ignore_errors=True)


def _with_start(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "start": leases.process_start(state["pid"])} if "pid" in state else state


def _runs(state: dict[str, Any]) -> bool:
    return "pid" in state and leases.is_alive(state["pid"], state["start"])


def encryption_key(file: Path) -> str:
    """Of the gateway's database, which holds the clusters' certificates; made when it is not there."""
    from cryptography.fernet import Fernet

    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(Fernet.generate_key())
    return file.read_text()
