"""The embedded cluster: Dask on this machine without configuration, in a process of its own, for its user only.

Whoever asks first starts it, the others find it through a file in the Jupyter runtime directory. It lives while
servers, kernels or scripts hold a lease and ends some seconds after the last of them, however that one ended.

>>> from muses_lab.compute import embedded
>>> embedded.ensure().address                                       # doctest: +SKIP
'tls://127.0.0.1:40519'

Processes share a cluster when its workers would behave the same for them: same release, environment, folder of
registered catalogues and allowed hosts. Others get one of their own, so two releases in use at once do not meet.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock, Timeout
from jupyter_core.paths import jupyter_runtime_dir

from muses_lab import settings
from muses_lab.compute import leases, tuning
from muses_lab.compute.clients import connected
from muses_lab.compute.release import release
from muses_lab.errors import ComputeError

if TYPE_CHECKING:  # the finder needs no Dask until it connects
    from distributed import Client, Security

SCRATCH = "muses-cluster-"

_SECRET = re.compile(
    "TOKEN|SECRET|PASSW|CREDENTIAL|COOKIE|PRIVATE|API_?KEY|ACCESS_KEY"
    "|^(JUPYTERHUB|CONFIGPROXY|DASK_GATEWAY|MUSES_HUB|PG).*|^MUSES_STORE_URL$",
    re.IGNORECASE,
)
"""Names of variables that hold keys, or places for which one needs them."""
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
"""In addresses."""

_held: set[Path] = set()  # this process's leases; more than one only if its settings have changed meanwhile


@dataclass(frozen=True)
class ClusterInfo:
    """What a client needs to reach the cluster; holds its private key, so keep it out of logs."""

    address: str
    """Of the scheduler, `tls://127.0.0.1:port`."""
    pid: int
    start: str
    """When that process started, see `leases.process_start`."""
    started: float
    """The same as seconds since 1970, for people."""
    release: str
    workers: int
    threads: int
    """All workers together."""
    scratch: str
    certificate: str
    """PEM; the certificate is its own authority: only who has this file is let in."""
    key: str

    def __repr__(self) -> str:
        return f"ClusterInfo({self.address!r}, pid={self.pid}, workers={self.workers}, threads={self.threads})"

    def security(self) -> Security:
        from distributed import Security

        return Security(
            require_encryption=True,
            tls_ca_file=self.certificate,
            tls_client_cert=self.certificate,
            tls_client_key=self.key,
        )

    @property
    def is_alive(self) -> bool:
        return leases.is_alive(self.pid, self.start)


# The asker's side


def ensure(timeout: float | None = None) -> ClusterInfo:
    """The user's cluster, started if there is none; this process holds a lease on it from now on.

    Raises
    ------
    ComputeError
        When it does not come up within `timeout` seconds (`MUSES_START_TIMEOUT`, default 60); with the end of its log.
    """
    timeout = timeout or settings.number("MUSES_START_TIMEOUT", 60)
    folder = _folder()
    with _locked(folder, timeout + 10):
        lease = leases.hold(folder / "leases")
        _held.add(lease)
        try:
            info = _read(folder)
            if info is None:
                info = _start(folder, timeout)
        except BaseException:
            _held.discard(lease)
            lease.unlink(missing_ok=True)
            raise
    if info.release != release():
        raise ComputeError(
            f"the cluster described in {_file(folder)} runs {info.release}, this process runs {release()}; "
            "end it with `muses-lab cluster stop`"
        )
    return info


def drop_lease() -> None:
    """Gives up this process's lease; the cluster ends some seconds later unless somebody else has one."""
    while _held:
        lease = _held.pop()
        if lease.name.startswith(f"{os.getpid()}-"):  # not the one of the process that this one was forked from
            lease.unlink(missing_ok=True)


def status() -> dict[str, Any]:
    """What there is: `running`, and if so address, pid, release, workers, threads, holders; `log` always."""
    folder = _folder()
    info = _read(folder)
    log = str(_log(folder))
    if info is None:
        return {"running": False, "log": log}
    known = {k: v for k, v in asdict(info).items() if k not in ("certificate", "key", "start")}
    return {"running": True, **known, "holders": leases.holders(folder / "leases"), "log": log}


def running() -> ClusterInfo | None:
    """The running cluster, for who only looks: no lease is taken."""
    return _read(_folder())


def stop(timeout: float = 15) -> bool:
    """Ends the cluster although it may be in use; False when there is none."""
    folder = _folder()
    info = _read(folder)
    if info is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(info.pid, signal.SIGTERM)
    if not _wait_for_end(info, timeout):
        _kill_tree(info.pid)
        _wait_for_end(info, 5)
    with _locked(folder, timeout):
        _read(folder)  # removes what it left
    return True


async def connect() -> Client:
    """An asynchronous client of the cluster, started if need be, on the running event loop."""
    from distributed import Client

    info = await asyncio.to_thread(ensure)
    client = Client(
        info.address,
        security=info.security(),
        asynchronous=True,
        set_as_default=False,
        # The scheduler passes blocks on: fetching them from the worker itself saves a fifth of the time of 1 MB blocks,
        # but a client goes on trying to reach a dead worker for as long as it may take to connect.
        direct_to_workers=False,
        timeout=20,
    )
    try:
        return await connected(client)
    except OSError as error:
        raise ComputeError(
            f"the cluster's process {info.pid} runs but does not answer at {info.address} ({error}); "
            "end it with `muses-lab cluster stop`"
        ) from error


def _folder() -> Path:
    """This user's, machine's, release's and environment's folder in the Jupyter runtime directory."""
    alike = [
        release(),
        sys.prefix,
        str(settings.home()),
        sorted(settings.allowed_hosts()),
        os.environ.get("MUSES_ENGINE", ""),
    ]
    name = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())  # home folders may be shared by machines
    digest = hashlib.sha256(json.dumps(alike).encode()).hexdigest()[:12]
    folder = Path(jupyter_runtime_dir(), f"muses-cluster-{name}-{digest}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _file(folder: Path) -> Path:
    return folder / "cluster.json"


def _log(folder: Path) -> Path:
    return folder / "cluster.log"


@contextlib.contextmanager
def _locked(folder: Path, timeout: float) -> Iterator[None]:
    try:
        with FileLock(folder / "lock", timeout=timeout, mode=0o600):
            yield
    except Timeout:
        text = f"another process has been starting the cluster for {timeout:g} s; see {_log(folder)}"
        raise ComputeError(text) from None


def _read(folder: Path) -> ClusterInfo | None:
    """The running cluster; what a dead one left (file, scratch folder) is removed."""
    file = _file(folder)
    try:
        with file.open() as stream:
            found = os.fstat(stream.fileno())
            if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise ComputeError(
                    f"{file} belongs to another user or can be read by others; it holds the key to the cluster: "
                    "delete it, and run `muses-lab cluster stop` if one is running"
                )
            info = ClusterInfo(**json.load(stream))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # not ours, or of a release with other fields
        file.unlink(missing_ok=True)
        return None
    if info.is_alive:
        return info
    file.unlink(missing_ok=True)
    if Path(info.scratch).name.startswith(SCRATCH):
        shutil.rmtree(info.scratch, ignore_errors=True)
    return None


def _start(folder: Path, timeout: float) -> ClusterInfo:
    log = os.open(_log(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(folder)],  # -P: a notebook's folder must not shadow modules
            cwd=folder,
            env={**_environment(), "PYTHONPATH": _python_path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C and the end of a terminal or kernel are not meant for it
        )
    finally:
        os.close(log)
    threading.Thread(target=process.wait, name="muses-reaper", daemon=True).start()
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        info = _read(folder)
        if info is not None:
            return info
        if process.returncode is not None:
            raise ComputeError(f"the cluster could not be started:\n{_tail(folder)}")
        time.sleep(0.02)
    _kill_tree(process.pid)
    process.wait(5)
    raise ComputeError(f"the cluster did not start within {timeout:g} s (MUSES_START_TIMEOUT):\n{_tail(folder)}")


def _environment() -> dict[str, str]:
    """What workers are told: not the keys of the server or kernel that happens to ask first.

    They run what chains say, read files and answer the scheduler; `MUSES_WORKER_ENVIRONMENT` names what they need
    nevertheless.
    """
    kept = {name.strip() for name in os.environ.get("MUSES_WORKER_ENVIRONMENT", "").split(",")}

    def is_secret(name: str, value: str) -> bool:
        in_address = _PASSWORD.search(value) and not name.lower().endswith("_proxy")
        return bool(_SECRET.search(name) or in_address)

    return {name: value for name, value in os.environ.items() if name in kept or not is_secret(name, value)}


def _python_path() -> str:
    """The asker's PYTHONPATH made absolute, and the folder of this package when it is not installed."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    here = str(Path(__file__).parents[2])
    if here not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *paths):
        paths.append(here)
    return os.pathsep.join(paths)


def _tail(folder: Path, lines: int = 15) -> str:
    text = _log(folder).read_text(errors="replace").strip().splitlines()
    return "\n".join(text[-lines:]) or f"(nothing in {_log(folder)})"


def _wait_for_end(info: ClusterInfo, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while info.is_alive:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


# The cluster's side: python -m muses_lab.compute.embedded FOLDER


def main(folder: str) -> None:
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    scratch = tempfile.mkdtemp(prefix=SCRATCH)
    failed = False
    try:
        asyncio.run(_serve(Path(folder), scratch))
    except Exception:
        failed = True
        logging.exception("the cluster ended")
    shutil.rmtree(scratch, ignore_errors=True)
    sys.stderr.flush()
    os._exit(failed)  # no thread may keep it


async def _serve(folder: Path, scratch: str) -> None:
    import dask
    from distributed import LocalCluster, Security
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Prompt(SchedulerPlugin):
        """Sends tasks on after 1 ms instead of collecting them for 5 ms: users wait for a block's round trip."""

        def add_worker(self, scheduler: Any, worker: str) -> None:
            scheduler.stream_comms[worker].interval = 0.001

    dask.config.set(
        {
            "temporary-directory": scratch,
            # Status pages show code, paths and logs to whoever can reach the port.
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            "distributed.deploy.lost-worker-timeout": "1h",  # else one that is slow to come back is given up for good
            "distributed.comm.timeouts.connect": "10s",  # a worker that has just died is tried for so long
            "distributed.scheduler.allowed-failures": 0,  # the backend tries again, and knows what it tries
            "distributed.scheduler.reuse-broadcast-comm": True,  # cancel flags without a TLS handshake each
        }
    )
    dask.config.set(tuning.SETTINGS)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    workers = max(1, int(settings.number("MUSES_WORKERS", 1)))
    threads = max(1, int(settings.number("MUSES_THREADS", max(1, (os.cpu_count() or 1) // workers))))
    security = Security.temporary()
    async with LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0", "plugins": [Prompt()]},
        worker_dashboard_address=None,
        local_directory=scratch,
        asynchronous=True,
        silence_logs=logging.WARNING,
    ) as cluster:
        info = ClusterInfo(
            address=cluster.scheduler_address,
            pid=os.getpid(),
            start=leases.process_start(os.getpid()) or "",
            started=time.time(),
            release=release(),
            workers=workers,
            threads=workers * threads,
            scratch=scratch,
            certificate=security.tls_client_cert,
            key=security.tls_client_key,
        )
        if not _publish(folder, info):
            print(f"another cluster is already described in {_file(folder)}", file=sys.stderr)
            return
        try:
            await _until_unused(folder, ending, lambda: bool(cluster.scheduler.workers))
        finally:
            _withdraw(folder, info)
            _end_by_force_after(20)


def _publish(folder: Path, info: ClusterInfo) -> bool:
    """Makes the cluster known, unless another one is: the asker who held the lock may have died meanwhile."""
    mine = folder / f"cluster-{info.pid}.json"
    leases.write_private(mine, asdict(info))
    try:
        os.link(mine, _file(folder))
    except FileExistsError:
        return False
    finally:
        mine.unlink()
    return True


async def _until_unused(folder: Path, ending: asyncio.Event, has_workers: Callable[[], bool]) -> None:
    """Returns when told to end, when nobody has held a lease for `MUSES_LEASE_GRACE` seconds (default 10), or when its
    workers do not come back: then the next asker starts a new cluster instead of waiting for this one."""
    grace = settings.number("MUSES_LEASE_GRACE", 10)
    patience = settings.number("MUSES_START_TIMEOUT", 60)
    last_held = last_worked = time.monotonic()
    while not ending.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), min(1.0, max(0.05, grace / 4)))
        if has_workers():
            last_worked = time.monotonic()
        elif time.monotonic() - last_worked > patience:
            logging.error("the workers died and could not be started again within %g s", patience)
            return
        if leases.holders(folder / "leases"):
            last_held = time.monotonic()
        elif time.monotonic() - last_held >= grace and _withdraw_if_unused(folder):
            return


def _withdraw_if_unused(folder: Path) -> bool:
    """Takes the file away under the lock: whoever asks from now on starts a new cluster."""
    if not folder.is_dir():
        return True
    try:
        with FileLock(folder / "lock", timeout=0):
            if leases.holders(folder / "leases"):
                return False
            _file(folder).unlink(missing_ok=True)
            return True
    except Timeout:  # somebody is asking for it this moment
        return False


def _withdraw(folder: Path, info: ClusterInfo) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        if json.loads(_file(folder).read_text())["pid"] == info.pid:
            _file(folder).unlink()


def _end_by_force_after(seconds: float) -> None:
    """A read that hangs in a worker must not keep the cluster: the workers end with this process."""

    def end() -> None:
        _kill_tree(os.getpid())

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main(sys.argv[1])
