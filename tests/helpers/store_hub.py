"""A JupyterHub with the service `muses`, on free ports of this machine, gone with the process that started it."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import requests

from muses_lab.store.remote import RemoteStore
from tests.helpers import PYTHON_PATH
from tests.helpers.hubs import free_ports, proxy

SECONDS = 120
USERS = ("alice", "bob", "carol", "dan", "tom", "tina", "root-of-all")
"""Tom is in the group of trainers."""

CONFIG = """
import json, os, sys
told = json.loads(os.environ["TOLD"])
bin = os.path.dirname(sys.executable)
c.JupyterHub.bind_url = told["public"]
c.JupyterHub.hub_bind_url = told["hub"]
c.ConfigurableHTTPProxy.api_url = told["proxy"]
c.ConfigurableHTTPProxy.command = told["chp"]
c.ConfigurableHTTPProxy.auth_token = told["proxy_token"]
c.ConfigurableHTTPProxy.pid_file = told["folder"] + "/proxy.pid"
c.JupyterHub.cookie_secret_file = told["folder"] + "/cookie_secret"
c.JupyterHub.db_url = "sqlite:///" + told["folder"] + "/hub.sqlite"
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.allow_all = True
c.DummyAuthenticator.password = told["password"]
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = told["folder"] + "/home/{username}"
c.Spawner.cmd = [bin + "/jupyterhub-singleuser"]
c.Spawner.args = ["--allow-root"]
c.Spawner.http_timeout = c.Spawner.start_timeout = 120
c.Spawner.poll_interval = 1
c.Spawner.environment = {
    "JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp", "PYTHONPATH": told["python_path"],
    "MUSES_STORE_URL": told["public"] + "services/muses",
    "MUSES_COURSES": told["environment"]["MUSES_COURSES"],
    "MUSES_COMPUTE": "threads",
    **told["servers"],
}
c.JupyterHub.load_groups = {"class": {"users": ["carol"]}, "trainers": {"users": ["tom"]}}
c.JupyterHub.services = [
    {
        "name": "muses", "url": told["service"], "command": [sys.executable, "-m", "muses_lab.hub"],
        "environment": told["environment"], "oauth_no_confirm": True, "display": False,
    },
    {"name": "tests", "api_token": told["admin"]},
]
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self", "access:services!service=muses"]},
    {"name": "server", "scopes": ["users:activity!user", "access:servers!server", "access:services!service=muses"]},
    {"name": "tests", "services": ["tests"], "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens"]},
]
"""


class Hub:
    def __init__(self, folder: Path, database: str, servers: dict[str, str] | None = None, **environment: str) -> None:
        """`environment` is that of the service, `servers` that of users' servers beyond what the hub gives them."""
        ports = free_ports(4)
        self.url = f"http://127.0.0.1:{ports[0]}/"
        self.service = f"http://127.0.0.1:{ports[3]}"
        self.store_url = f"{self.url}services/muses"
        self.password = secrets.token_hex(8)
        self._admin = secrets.token_hex(16)
        self.folder = folder
        self.courses = folder / "courses"
        folder.mkdir(exist_ok=True)
        (folder / "config.py").write_text(CONFIG)
        self._told = {
            "public": self.url, "hub": f"http://127.0.0.1:{ports[1]}", "proxy": f"http://127.0.0.1:{ports[2]}",
            "service": self.service, "chp": [proxy()], "folder": str(folder), "password": self.password,
            "admin": self._admin, "proxy_token": secrets.token_hex(16),
            "python_path": PYTHON_PATH,
            "servers": servers or {},
            "environment": {
                "MUSES_HUB_DATABASE": database,
                "PYTHONPATH": PYTHON_PATH,
                "MUSES_COURSES": str(folder / "courses"),
                **environment,
            },
        }  # fmt: skip
        self._tokens: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(self.folder / "config.py")],
                env={**os.environ, "TOLD": json.dumps(self._told)}, cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        self.wait(lambda: requests.get(f"{self.url}hub/api/", timeout=5).ok, "the hub")
        self.wait(lambda: requests.get(f"{self.store_url}/health", timeout=5).json() == {"status": "pass"}, "muses")
        if not self._tokens:
            self.api("POST", "users", {"usernames": list(USERS)})

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + SECONDS
        while True:
            try:
                if ready():
                    return
            except (requests.RequestException, ValueError):
                pass
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{what} is not ready:\n{self.log()[-6000:]}")
            time.sleep(0.1)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(
            method,
            f"{self.url}hub/api/{path}",
            json=body,
            headers={"Authorization": f"token {self._admin}"},
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def token(self, user: str, *scopes: str, keep: bool = True) -> str:
        """A token of a user, as a server of theirs would have."""
        wanted = list(scopes) or ["access:services!service=muses"]
        if keep and not scopes and user in self._tokens:
            return self._tokens[user]
        found = self.api("POST", f"users/{user}/tokens", {"scopes": wanted, "note": "tests"})["token"]
        if keep and not scopes:
            self._tokens[user] = found
        return found

    def store(self, user: str) -> RemoteStore:
        token = self.token(user)
        return RemoteStore(self.store_url, lambda: token)

    def service_process(self) -> psutil.Process:
        mine = psutil.Process(self._process.pid).children(recursive=True)
        return next(p for p in mine if "muses_lab.hub" in p.cmdline())

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Ends the hub and all that it has started, whatever state it is in."""
        try:
            family = [*psutil.Process(self._process.pid).children(recursive=True), psutil.Process(self._process.pid)]
        except psutil.NoSuchProcess:
            family = []
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, 10)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
