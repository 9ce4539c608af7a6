"""The programs that are compared: each a process in an environment of its own, asked one thing at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from muses_lab.compute import tuning

HERE = Path(__file__).resolve().parent
PEERS = {
    "titiler-openeo": ("titiler_openeo",),
    "titiler-openeo, whole view": ("titiler_openeo", "whole=1"),
    "rio-tiler": ("rio_tiler",),
    "rio-tiler, whole view": ("rio_tiler", "strips=2"),
    "titiler": ("titiler",),
    "odc-stac": ("odc_stac",),
    "openeo-processes-dask": ("openeo_processes_dask",),
}
"""Program and settings; without settings, the best that were found for a map's tiles."""
SHARED = {"titiler": "titiler_openeo"}
"""Programs that have no environment of their own."""


class Process:
    """A contestant's process."""

    def __init__(self, label: str, command: Sequence[str], at: Path = HERE.parent, **environment: str) -> None:
        self.label = label
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=at,
            env={**os.environ, **environment},
        )  # fmt: skip
        self._unsupported: set[str] = set()

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.label} ended while it was asked for {request}: see above")
        return json.loads(line)

    def view(self, **request: Any) -> dict[str, Any] | None:
        """None where it cannot do the workload, which is said once."""
        if request["workload"] in self._unsupported:
            return None
        answer = self.ask(do="view", **request)
        if "unsupported" in answer:
            self._unsupported.add(request["workload"])
            print(f"{self.label}: {answer['unsupported']}", file=sys.stderr)
            return None
        return answer

    def cold(self, **request: Any) -> dict[str, Any] | None:
        self.ask(do="forget")
        return self.view(**request)

    def end(self) -> None:
        try:
            self._process.communicate(json.dumps({"do": "bye"}) + "\n", timeout=20)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()


def muses(label: str = "muses", at: Path = HERE.parent, **environment: str) -> Process:
    """The engine of a checkout, in this environment; in threads of a process that is set up as a worker is."""
    given = tuning.VARIABLES | environment | {"PYTHONPATH": str(at)}
    return Process(label, [sys.executable, "-m", "benchmarks.engine"], at, **given)


def delivery(kind: str, label: str, at: Path = HERE.parent) -> Process:
    """The whole way: a Jupyter server and the `embedded` cluster, or one behind a Dask `gateway`."""
    return Process(label, [sys.executable, "-m", "benchmarks.delivery", kind], at)


def limit(here: bool) -> Process:
    """In its own environment, or in this one with what there is."""
    python = sys.executable if here else str(environment_of(HERE / "limit.txt", make=True))
    return Process("limit", [python, "-m", "benchmarks.limit"])


def peers(make: bool) -> list[Process]:
    """Those whose environments are there, or can be made now."""
    found = []
    for label, (name, *settings) in PEERS.items():
        python = environment_of(HERE / "peers" / f"{SHARED.get(name, name)}.txt", make)
        if python is not None:
            found.append(Process(label, [str(python), str(HERE / "peers" / f"{name}.py"), *settings]))
    return found


def environment_of(requirements: Path, make: bool) -> Path | None:
    """The Python that has what a file asks for; made where it is not there, None where it is not to be."""
    folder = Path(user_cache_path("muses-lab-benchmarks")) / "environments" / requirements.stem
    python, label = folder / "bin" / "python", folder / "made-of"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if label.exists() and label.read_text() == wanted:
        return python
    if not make:
        return None
    print(f"making {folder}", file=sys.stderr)
    uv = Path(sys.executable).with_name("uv")
    shutil.rmtree(folder, ignore_errors=True)
    if uv.exists():
        more = {"UV_SYSTEM_CERTS": "1", **os.environ}
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True, env=more)
        subprocess.run([uv, "pip", "install", "-q", "--python", python, "-r", requirements], check=True, env=more)
    else:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "-r", requirements], check=True)
    label.write_text(wanted)
    return python
