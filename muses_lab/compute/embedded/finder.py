"""Where the cluster of this user is told, and what it says: one file that only its user can read.

It lies in the Jupyter runtime directory, in a folder for this machine, release and environment; the log and the leases
lie beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from jupyter_core.paths import jupyter_runtime_dir

from muses_lab import settings
from muses_lab.compute import leases
from muses_lab.compute.release import release
from muses_lab.errors import ComputeError
from muses_lab.raster import access

if TYPE_CHECKING:  # the finder needs no Dask until it connects
    from distributed import Security

SCRATCH = "muses-cluster-"
"""How the names of the clusters' scratch folders begin."""


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


def cluster_folder() -> Path:
    """This user's, machine's, release's and environment's folder in the Jupyter runtime directory."""
    alike = [
        release(),
        sys.prefix,
        str(settings.home()),
        sorted(access.allowed_hosts()),
        os.environ.get("MUSES_ENGINE"),
    ]
    name = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())  # home folders may be shared by machines
    digest = hashlib.sha256(json.dumps(alike).encode()).hexdigest()[:12]
    folder = Path(jupyter_runtime_dir(), f"muses-cluster-{name}-{digest}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def cluster_file(folder: Path) -> Path:
    """What `read` reads."""
    return folder / "cluster.json"


def log_file(folder: Path) -> Path:
    """What the cluster's process writes of its troubles."""
    return folder / "cluster.log"


@contextlib.contextmanager
def locked(folder: Path, timeout: float) -> Iterator[None]:
    """Only one process at a time starts a cluster; `ComputeError` when another one takes longer than `timeout` s."""
    try:
        with FileLock(folder / "lock", timeout=timeout, mode=0o600):
            yield
    except Timeout:
        text = f"another process has been starting the cluster for {timeout:g} s; see {log_file(folder)}"
        raise ComputeError(text) from None


def read(folder: Path) -> ClusterInfo | None:
    """The running cluster; what a dead one left (file, scratch folder) is removed."""
    file = cluster_file(folder)
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


def write(folder: Path, info: ClusterInfo) -> bool:
    """Makes the cluster known, unless another one is: the asker who held the lock may have died meanwhile."""
    mine = folder / f"cluster-{info.pid}.json"
    leases.write_private(mine, asdict(info))
    try:
        os.link(mine, cluster_file(folder))
    except FileExistsError:
        return False
    finally:
        mine.unlink()
    return True


def remove(folder: Path, info: ClusterInfo) -> None:
    """Takes the file away, if it is still that of this cluster."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        if json.loads(cluster_file(folder).read_text())["pid"] == info.pid:
            cluster_file(folder).unlink()


def remove_if_unused(folder: Path) -> bool:
    """Takes the file away under the lock: whoever asks from now on starts a new cluster."""
    if not folder.is_dir():
        return True
    try:
        with FileLock(folder / "lock", timeout=0):
            if leases.holders(folder / "leases"):
                return False
            cluster_file(folder).unlink(missing_ok=True)
            return True
    except Timeout:  # somebody is asking for it this moment
        return False
