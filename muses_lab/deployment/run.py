"""`make hub`: JupyterHub with everything it needs, until Ctrl-C or SIGTERM; nothing of it stays behind."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from muses_lab.deployment.accounts import separated
from muses_lab.deployment.config import HubSettings, SettingsError
from muses_lab.deployment.once import open_log
from muses_lab.deployment.published import prepare

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 120
END_SECONDS = 60
RESTARTS = 3
"""How often a hub that was killed is started again; users' servers and clusters go on meanwhile."""


def main() -> int:
    os.environ.setdefault("MUSES_HUB_STATE", str(_default_state()))
    try:
        hub = HubSettings.from_environment()
        hub.state.mkdir(mode=0o711, parents=True, exist_ok=True)
        try:
            with FileLock(hub.state / "lock", timeout=0, mode=0o600):
                return _run(hub)
        except Timeout:
            raise SettingsError(f"a hub is running already with MUSES_HUB_STATE={hub.state}") from None
    except SettingsError as error:
        print(f"Error: {error}", file=sys.stderr)
    return 1


def _default_state() -> Path:
    """As root a place that others can pass through, else the user's own."""
    from muses_lab import settings

    if os.geteuid() == 0 and "MUSES_LAB_HOME" not in os.environ:
        return Path("/var/lib/muses-lab")
    return settings.home() / "hub"


def _run(hub: HubSettings) -> int:
    generated = hub.authentication == "demo" and not hub.password
    password = secrets.token_urlsafe(12) if generated else hub.password
    _adopt_orphans()
    ending: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: ending.append(received))
    try:
        for line in prepare(hub, REPOSITORY / "notebooks", separated(hub)[0]):
            print(f"MUSES Lab: {line}", flush=True)
        _sample(hub, ending)
        for attempt in range(1 + RESTARTS):
            if ending:
                break
            if attempt:
                print(f"MUSES Lab: the hub was killed; starting it again ({attempt} of {RESTARTS})", flush=True)
            code = _one_hub(hub, password, ending, lambda: _tell(hub, password if generated else None))
            if code >= 0 or ending:  # it ended by itself: what is wrong now will be wrong again
                return 0 if ending else code
        return 0 if ending else 1
    finally:
        _end_children()


def _one_hub(hub: HubSettings, password: str, ending: list[int], tell: Callable[[], None]) -> int:
    command = [sys.executable, "-m", "jupyterhub", "-f", str(REPOSITORY / "jupyterhub_config.py")]
    env = {**os.environ, "MUSES_HUB_PASSWORD": password}
    file = hub.state / "hub.log"
    log = open_log(file)
    try:  # a session of its own: Ctrl-C comes to us alone
        process = subprocess.Popen(command, env=env, cwd=hub.state, stdout=log, stderr=log, start_new_session=True)
    finally:
        os.close(log)
    started, told = time.monotonic(), False
    while process.poll() is None and not ending:
        if not told and _is_up(hub):
            tell()
            told = True
        if not told and time.monotonic() - started > START_SECONDS:
            print(f"MUSES Lab: {hub.url} does not answer after {START_SECONDS} s:\n{_tail(file)}", flush=True)
            told = True
        _reap(process.pid)
        time.sleep(0.2)
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    if process.poll() is None:
        process.kill()
    code = process.wait()
    if not ending:
        print(f"MUSES Lab: the hub ended with code {code}; the end of {file}:\n{_tail(file)}", file=sys.stderr)
    return code


def _tail(file: Path, lines: int = 15) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])


def _is_up(hub: HubSettings) -> bool:
    """The hub and its services answer."""
    gateway = [f"http://127.0.0.1:{hub.port('GATEWAY')}/services/dask-gateway/api/health"] if hub.gateway else []
    evaluator = [f"http://127.0.0.1:{hub.port('COURSE')}/services/course/health"] if hub.evaluator else []
    for url in (
        f"http://127.0.0.1:{hub.port('API')}/hub/health",
        *gateway,
        *evaluator,
        f"http://127.0.0.1:{hub.port('STORE')}/services/muses/health",
    ):
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, OSError):
            return False
    return True


def _tell(hub: HubSettings, password: str | None) -> None:
    how = {
        "demo": f"any name, with the password {password}" if password else "any name, with MUSES_HUB_PASSWORD",
        "pam": "your account of this machine",
        "oauth": "your identity provider",
    }[hub.authentication]
    separate, why_not = separated(hub)
    whose = "Each user's server and cluster run under an account of their own."
    if not separate:
        whose = f"All servers and clusters run under this account ({why_not}): users can read each other's files."
    asked = "" if hub.contact else "    The sign-in page cannot say whom to ask: MUSES_HUB_CONTACT is not set.\n"
    print(
        f"\n    MUSES Lab is at {hub.url}\n    Log in with {how}. Ctrl-C ends everything.\n"
        f"    {whose}\n{asked}    Messages are in {hub.state}/*.log\n",
        flush=True,
    )


def _sample(hub: HubSettings, ending: list[int]) -> None:
    """The sample catalogue, once for all users (`MUSES_HUB_SAMPLE=0`: none)."""
    if hub.environment.get("SAMPLE") == "0" or (hub.state / "catalogs.json").exists():
        return
    from muses_lab import settings

    print("MUSES Lab: the sample catalogue for all users, once: under a minute where none is there", flush=True)
    command = [sys.executable, "-c", "from muses_lab.cli import app; app()", "sample", str(hub.state / "sample")]
    command += ["--reuse", str(settings.home() / "sample")]
    process = subprocess.Popen(command, env={**os.environ, "MUSES_LAB_HOME": str(hub.state)}, start_new_session=True)
    while process.poll() is None:
        if ending:
            process.terminate()
        time.sleep(0.1)
    if process.returncode and not ending:
        raise SettingsError("the sample catalogue could not be made; MUSES_HUB_SAMPLE=0 starts the hub without it")


def _adopt_orphans() -> None:
    """What a killed hub leaves becomes our child, so that we can end it (Linux: PR_SET_CHILD_SUBREAPER)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _reap(ours: int) -> None:
    """Buries adopted processes that ended: to the hub, a server that nobody buried still runs."""
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if child.pid != ours and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def _end_children() -> None:
    """Ends what the hub has not: servers that it lost, a gateway that took too long."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(left, timeout=5)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)


if __name__ == "__main__":
    sys.exit(main())
