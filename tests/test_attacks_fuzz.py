"""Random metadata, sidecars and reference systems: no path but the scene's own is opened, by whatever library.

Twenty-five rasters by default; `make test-thorough` meets 1500.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY, fuzz_rasters
from tests.helpers.decoys import decoys

_OPENED = re.compile(r'(?:openat|open)\((?:[^,"]*, )?"((?:[^"\\]|\\.)*)", ([A-Z_|]+)')
HARMLESS = re.compile(
    r"^(/proc/|/sys/|/dev/(null|urandom|shm/)|/etc/(localtime|mime\.types|ssl/)|/usr/(lib|share)/|/lib)"
)


def meet(folder: Path, seed: int, number: int) -> None:
    home = folder / "home"
    with decoys(folder / "decoys") as decoy:
        command = [
            sys.executable,
            "-m",
            fuzz_rasters.__name__,
            str(folder / "scenes"),
            str(decoy.folder),
            decoy.url("")[:-1],
            str(seed),
            str(number),
        ]
        traced = shutil.which("strace")
        log = folder / "trace"
        if traced:
            command = [traced, "-f", "-qq", "-s", "600", "-e", "trace=openat,open,connect", "-o", str(log), *command]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=3000, cwd=folder,
            env={**os.environ, "MUSES_LAB_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.splitlines() == [f"met {number}"]
        while decoy.touched():  # what made the rasters looked at them, too
            pass
        if traced:
            check(log.read_text("utf-8", "replace"), folder)


def check(log: str, folder: Path) -> None:
    """Nothing is opened but the scenes, the sidecars that count, our own state, and libraries."""
    lines = log[log.index(fuzz_rasters.BEGIN) :].splitlines()
    assert any("a.tif" in line for line in lines), "the trace shows what is opened"
    own = re.compile(
        rf"^{re.escape(str(folder))}/(home/|scenes/\d+(/registered\b|$|/a\.(tif|jp2)$|/a\.(tif|jp2)\.aux\.xml$|/a\.(tf|tif|wl|j2|jp2)[wd]$))"
    )
    prefixes = {sys.prefix, sys.base_prefix, str(REPOSITORY)}
    wrong = [line for line in lines if re.search(r"connect\(\d+, \{sa_family=AF_INET", line)]
    for line in lines:
        for name, flags in _OPENED.findall(line):
            if "O_PATH" in flags or not name.startswith("/"):  # found, not opened; names below an opened folder
                continue
            if not (own.match(name) or HARMLESS.match(name) or any(name.startswith(p) for p in prefixes)):
                wrong.append(line)
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.thorough
def test_rasters_with_random_references(tmp_path: Path) -> None:
    meet(tmp_path, 1, 25)


@pytest.mark.thorough
@pytest.mark.timeout(3300)
@pytest.mark.parametrize("seed", range(2, 7))
def test_many_rasters_with_random_references(tmp_path: Path, seed: int) -> None:
    meet(tmp_path, seed, 300)
