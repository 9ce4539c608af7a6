"""A real hub for tests: JupyterHub, its proxy, gateway and store; users who log in over HTTP; processes to kill."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.helpers import PYTHON_PATH, REPOSITORY

PASSWORD = "correct-horse-battery"
PARTS = ("HUB", "API", "PROXY", "GATEWAY", "GATEWAY_API", "STORE", "COURSE")


def until(condition: Callable[[], Any], seconds: float, message: str | Callable[[], str]) -> Any:
    """What `condition()` gives once it is true."""
    begin = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - begin
        if waited > seconds:
            raise AssertionError(message if isinstance(message, str) else message())
        time.sleep(min(0.2 + waited / 20, 1.0))  # who asks all the time slows down what is waited for
    return found


class RunningHub:
    """A hub of its own: state, ports, catalogue. Started by the same program as `make hub`."""

    def __init__(self, catalog: Path, python: str = sys.executable, **settings: str) -> None:
        # Not below pytest's folder, which only its user can pass through: users' processes may run as others.
        self.folder = Path(tempfile.mkdtemp(prefix="muses-hub-test-"))
        self.folder.chmod(0o711)
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o711)
        self.python = python
        self.ports = dict(zip(PARTS, free_ports(len(PARTS)), strict=True))
        self.url = f"http://127.0.0.1:{self.ports['HUB']}"
        self.settings = settings
        self.log = self.folder / "log"
        self._give(catalog)
        self.process: subprocess.Popen | None = None

    def _give(self, catalog: Path) -> None:
        """The catalogue for all users, where others can read it."""
        there = Path(shutil.copytree(catalog, self.folder / catalog.name))
        for path in [there, *there.rglob("*")]:
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
        code = "import sys; from muses_lab.catalog import register_catalog; register_catalog(sys.argv[1])"
        env = {**os.environ, "MUSES_LAB_HOME": str(self.state), "PYTHONPATH": PYTHON_PATH}
        subprocess.run([sys.executable, "-c", code, str(there)], check=True, env=env)
        (self.state / "catalogs.json").chmod(0o644)

    def start(self) -> RunningHub:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MUSES_", "JUPYTER", "DASK_", "IPYTHON"))}
        env |= {f"MUSES_HUB_{part}_PORT": str(port) for part, port in self.ports.items() if part != "HUB"}
        env |= {
            "HOME": str(self.folder),
            "PYTHONPATH": PYTHON_PATH,
            "MUSES_HUB_URL": self.url,
            "MUSES_HUB_STATE": str(self.state),
            "MUSES_HUB_PASSWORD": PASSWORD,
            "MUSES_HUB_CORES": "1",
            "MUSES_HUB_WORKERS": "2",
            **{f"MUSES_HUB_{name}": value for name, value in self.settings.items()},
        }
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "muses_lab.deployment.run"],
                cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.up()
        return self

    def up(self) -> None:
        """Waits until hub, proxy, gateway and store answer."""

        def answers() -> bool:
            assert self.process is not None and self.process.poll() is None, self.messages()
            with suppress(requests.RequestException):
                gateway = () if self.settings.get("GATEWAY") == "0" else ("dask-gateway/api",)
                names = (*gateway, "muses", "course")
                paths = ("/hub/health", *(f"/services/{name}/health" for name in names))
                return all(requests.get(self.url + path, timeout=2).status_code == 200 for path in paths)
            return False

        until(answers, 180, self.messages)

    def messages(self) -> str:
        files = [self.log, *sorted(self.state.glob("*.log")), *sorted(self.state.glob("logs/*/*.log"))]
        return "\n".join(f"--- {file}\n{file.read_text(errors='replace')[-4000:]}" for file in files if file.exists())

    def stop(self) -> None:
        """Ends the hub as Ctrl-C does; fails when anything stays behind."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(150)
        left = until_none(self.processes, 10)
        assert not left, [(p.pid, " ".join(p.cmdline())[:150]) for p in left]

    def remove(self) -> None:
        """Whatever happened: nothing is left, neither processes nor files."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Its processes

    def processes(self) -> list[psutil.Process]:
        """All that belong to this hub: its folder is in their environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and any(
                    str(self.folder) in value for value in process.environ().values()
                ):
                    found.append(process)
        return found

    def those(self, *words: str, user: str | None = None) -> list[psutil.Process]:
        """Processes with these words in their command line; of a user: with the user's home in the environment."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if all(word in line for word in words) and (user is None or process.environ().get("USER") == user):
                    found.append(process)
        return found

    def one(self, *words: str, user: str | None = None) -> psutil.Process:
        return until(lambda: self.those(*words, user=user), 30, f"no process {words} of {user}")[0]

    def kill(self, *words: str, user: str | None = None) -> psutil.Process:
        process = self.one(*words, user=user)
        process.kill()
        until(lambda: not alive(process), 10, f"{words} does not die")
        return process


class HubUser:
    """A user in a browser, as far as HTTP goes: cookies, and the XSRF token that pages send."""

    def __init__(self, hub: RunningHub, name: str, password: str = PASSWORD) -> None:
        self.hub = hub
        self.name = name
        self.session = requests.Session()
        self.session.get(f"{hub.url}/hub/login", timeout=30)
        xsrf = self._xsrf("/hub/")
        form = {"username": name, "password": password, "_xsrf": xsrf}
        answer = self.session.post(f"{hub.url}/hub/login", params={"_xsrf": xsrf}, data=form, timeout=30)
        assert answer.ok and "/hub/login" not in answer.url, answer.text[:500]

    def _xsrf(self, path: str) -> str:
        return self.session.cookies.get("_xsrf", path=path) or ""

    def start(self) -> HubUser:
        """Starts the user's server, and waits for its first page."""
        self.session.get(f"{self.hub.url}/hub/spawn", timeout=60)

        def opened() -> bool:
            answer = self.session.get(f"{self.hub.url}/user/{self.name}/lab", timeout=60)
            return answer.ok and "jupyter-config-data" in answer.text

        until(opened, 180, self.hub.messages)
        return self

    def ask(self, path: str, method: str = "GET", of: str | None = None, **options: Any) -> requests.Response:
        """A request to a user's server (`of`, by default one's own), as `fetch` in a page does it."""
        url = f"{self.hub.url}/user/{of or self.name}/{path}"
        headers = {"X-XSRFToken": self._xsrf(f"/user/{of or self.name}/"), "Sec-Fetch-Mode": "cors"}
        return self.session.request(method, url, headers=headers, timeout=250, **options)

    def follow(self, path: str) -> requests.Response:
        """What a click on a link of the hub opens."""
        clicked = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
        return self.session.get(f"{self.hub.url}{path}", headers=clicked, timeout=250)

    def open(self, path: str) -> Kernel:
        """What JupyterLab does with a notebook: a session with a kernel, which begins in the notebook's folder."""
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        answer = self.ask("api/sessions", "POST", json=body)
        assert answer.status_code == 201, answer.text
        return Kernel(self, answer.json()["kernel"]["id"])

    def in_terminal(self, command: str, wanted: str, seconds: float = 120) -> str:
        """What a new terminal of the server shows from a command on, until `wanted` is in it."""
        name = self.ask("api/terminals", "POST").json()["name"]
        try:
            return asyncio.run(asyncio.wait_for(self._in_terminal(name, command, wanted), seconds))
        finally:
            self.ask(f"api/terminals/{name}", "DELETE")

    async def _in_terminal(self, name: str, command: str, wanted: str) -> str:
        socket = await websocket_connect(socket_request(self, f"terminals/websocket/{name}"))
        shown = ""
        try:
            await socket.write_message(json.dumps(["stdin", f"{command}; echo en''ded\r"]))
            while wanted not in shown and "ended" not in shown:
                text = await socket.read_message()
                assert isinstance(text, str), f"the connection to the terminal ended after {shown!r}"
                kind, *rest = json.loads(text)
                shown += rest[0] if kind == "stdout" else ""
            return shown
        finally:
            socket.close()

    def hub_api(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        headers = {"X-XSRFToken": self._xsrf("/hub/"), "Referer": f"{self.hub.url}/hub/home"}
        return self.session.request(method, f"{self.hub.url}/hub/api/{path}", headers=headers, timeout=60, **options)

    def token(self) -> str:
        """A token with the rights of this user, as scripts use it."""
        answer = self.hub_api(f"users/{self.name}/tokens", "POST", json={"expires_in": 600})
        assert answer.ok, answer.text
        return answer.json()["token"]

    # MUSES Lab

    def publish(self, document: dict[str, Any], style: dict[str, Any]) -> tuple[str, str]:
        found = []
        for path, body in (("muses/chains", document), ("muses/styles", style)):
            answer = self.ask(path, "POST", json=body)
            assert answer.status_code == 201, (answer.status_code, answer.text[:1000])
            found.append(answer.json()["hash"])
        return found[0], found[1]

    def kernel(self) -> Kernel:
        """A new kernel on the user's server."""
        answer = self.ask("api/kernels", "POST", json={"name": "python3"})
        assert answer.status_code == 201, answer.text
        return Kernel(self, answer.json()["id"])

    def cluster(self) -> dict[str, Any]:
        answer = self.ask("muses/cluster")
        assert answer.ok, answer.text[:1000]
        return answer.json()


def socket_request(user: HubUser, path: str) -> HTTPRequest:
    """Of a websocket of the user's server."""
    url = f"{user.hub.url}/user/{user.name}/{path}"
    cookies = requests.cookies.get_cookie_header(user.session.cookies, requests.Request("GET", url).prepare())
    return HTTPRequest(url.replace("http", "ws", 1), headers={"Cookie": cookies or "", "Origin": user.hub.url})


class Kernel:
    """A notebook's kernel, spoken to as a page does it: over the server's websocket, with the user's cookies."""

    def __init__(self, user: HubUser, id: str) -> None:
        self.user = user
        self.id = id

    def run(self, code: str, seconds: float = 120) -> str:
        """Runs a cell; what it printed. Its error is raised here."""
        return asyncio.run(asyncio.wait_for(self._run(code), seconds))

    async def _run(self, code: str) -> str:
        socket = await websocket_connect(socket_request(self.user, f"api/kernels/{self.id}/channels"))
        header = {
            "msg_id": uuid.uuid4().hex, "username": self.user.name, "session": uuid.uuid4().hex,
            "msg_type": "execute_request", "version": "5.3", "date": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await socket.write_message(json.dumps({**message, "buffers": []}))
        printed = []
        try:
            while True:
                text = await socket.read_message()
                assert isinstance(text, str), f"the connection to the kernel ended after {printed}"
                answer = json.loads(text)
                if answer["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                kind, content = answer["header"]["msg_type"], answer["content"]
                if kind == "stream":
                    printed.append(content["text"])
                elif kind == "error":
                    raise AssertionError("\n".join(content["traceback"]))
                elif kind == "status" and content["execution_state"] == "idle":
                    return "".join(printed)
        finally:
            socket.close()


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def until_none(find: Callable[[], list[Any]], seconds: float) -> list[Any]:
    end = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def proxy() -> str:
    """Path of JupyterHub's proxy; fails where it is not installed: `make test` installs it."""
    own = REPOSITORY / "node_modules" / ".bin" / "configurable-http-proxy"
    found = str(own) if own.exists() else shutil.which("configurable-http-proxy")
    return found or pytest.fail("no configurable-http-proxy: `make test` installs it, with Node 20 or newer")


@contextmanager
def running_hub(catalog: Path, python: str = sys.executable, **settings: str) -> Iterator[RunningHub]:
    """A hub that runs; skips where JupyterHub's proxy is not installed."""
    proxy()
    hub = RunningHub(catalog, python, **settings)
    try:
        yield hub.start()
        hub.stop()
    finally:
        hub.remove()


def python_for_all(folder: Path) -> str | None:
    """An interpreter with this environment's packages that other accounts can run; None where there is none.

    This environment may be made from a Python in somebody's home. One of the system, of the same version, can use its
    packages.
    """
    system = Path("/usr/bin/python3")
    same = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if os.geteuid() != 0 or not system.exists():
        return None
    version = subprocess.run([system, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True)
    if version.stdout.decode().strip() != same:
        return None
    subprocess.run([system, "-m", "venv", "--without-pip", folder], check=True)
    packages = [sysconfig.get_path("purelib"), str(REPOSITORY), str(REPOSITORY / "widgets")]
    (folder / "lib" / f"python{same}" / "site-packages" / "same.pth").write_text("\n".join(packages) + "\n")
    for name in ("share", "etc"):
        (folder / name).symlink_to(Path(sys.prefix, name))
    python = str(folder / "bin" / "python")
    tried = subprocess.run([python, "-c", "import muses_lab.service, jupyterhub"], user=65534, group=65534, cwd="/")
    return python if tried.returncode == 0 else None
