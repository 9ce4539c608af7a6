"""A PostgreSQL of a test run's own: Debian's package, on a Unix socket, gone with the process that started it."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import psycopg

PR_SET_PDEATHSIG = 1
SECONDS = 60


def binaries() -> Path | None:
    """Folder of the newest server's programs; None where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    found = shutil.which("initdb")
    folders += [Path(found).resolve().parent] if found else []
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class Cluster:
    """A server that can be stopped, killed, and started again."""

    def __init__(self) -> None:
        found = binaries()
        assert found is not None
        self._bin = found
        self.folder = Path(tempfile.mkdtemp(prefix="muses-pg-", dir="/tmp"))  # a socket's path must be short
        self._account = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._account = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "-D", "data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"
        )
        self.start()

    def start(self) -> None:
        options = {
            "listen_addresses": "", "unix_socket_directories": self.folder, "fsync": "off", "max_connections": 60,
            "shared_buffers": "32MB", "logging_collector": "off",
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.folder / "data", *arguments],
                stdout=log, stderr=log, cwd=self.folder, preexec_fn=_end_with_parent, **self._account,
            )  # fmt: skip
        end = time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(self.dsn("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{error}\n{(self.folder / 'log').read_text()}") from None
                time.sleep(0.02)

    def stop(self, how: int = signal.SIGINT) -> None:
        """Ends the server; by default at once, but in order (`SIGQUIT`: as if it had crashed)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(SECONDS)
            self._process = None

    def database(self) -> str:
        """SQLAlchemy URL of a new, empty database."""
        name = f"muses_{uuid4().hex[:12]}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def dsn(self, name: str) -> str:
        return f"host={self.folder} user=postgres dbname={name}"

    def close(self) -> None:
        try:
            self.stop(signal.SIGQUIT)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, prepared: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / prepared, *arguments], cwd=self.folder, capture_output=True, text=True, **self._account
        )
        if done.returncode:
            raise RuntimeError(f"{prepared}: {done.stdout}{done.stderr}")


def _end_with_parent() -> None:
    """The kernel ends the server if the test run is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
