"""GDAL datasets that wait for their next use: who opens, uses and closes them may be different threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from muses_lab.errors import ReadError
from muses_lab.raster.dataset_pool import Datasets
from muses_lab.raster.files import LocalFile
from tests.helpers import REPOSITORY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Strips, so that GDAL must read it."""
    profile = {"driver": "GTiff", "width": 300, "height": 200, "count": 1, "dtype": "uint16"}
    with rasterio.open(
        tmp_path / "a.tif", "w", crs="EPSG:32631", transform=Affine(10, 0, 0, 0, -10, 0), **profile
    ) as file:
        file.write(np.full((1, 200, 300), 7, np.uint16))
    return tmp_path / "a.tif"


def in_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return found[0]


def read(datasets: Datasets, path: Path, key: object = "a") -> float:
    with datasets.use(key, str(path), 0, lambda: LocalFile.open(str(path)), 1 << 14) as dataset:
        return float(dataset.read(1).mean())


def test_threads_hand_datasets_to_each_other(path: Path) -> None:
    datasets = Datasets(2)
    for _ in range(3):
        assert in_thread(lambda: read(datasets, path)) == 7
    for n in range(5):  # more than are kept: the first are closed by other threads than opened them
        assert in_thread(lambda n=n: read(datasets, path, n)) == 7
    datasets.close()
    assert in_thread(lambda: read(datasets, path)) == 7


def test_a_dataset_that_fails_is_closed_and_the_reason_is_the_files(path: Path) -> None:
    datasets, body = Datasets(2), path.read_bytes()
    assert read(datasets, path) == 7
    path.write_bytes(body[:1000])
    assert isinstance(in_thread(lambda: read(datasets, path, "cut")), ReadError)
    path.write_text("no raster")
    assert isinstance(in_thread(lambda: read(datasets, path, "text")), ReadError)
    path.write_bytes(body)
    assert read(datasets, path, "again") == 7


SCRIPT = """
import sys, threading, time
from muses_lab.raster.dataset_pool import Datasets
from muses_lab.raster.files import LocalFile
datasets, path = Datasets(8), sys.argv[1]

def use(seconds):
    with datasets.use(threading.get_ident(), path, 0, lambda: LocalFile.open(path), 1 << 14) as dataset:
        time.sleep(seconds)
        dataset.read(1)

threads = [threading.Thread(target=use, args=(s,), daemon=True) for s in (0, 0, 0.7)]
for thread in threads:
    thread.start()
for thread in threads[:2]:
    thread.join()
print("the end")
"""


def test_a_script_ends_well_whatever_is_open(path: Path) -> None:
    """GDAL reads by way of Python: what is still open when Python ends would be closed without it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, cwd=REPOSITORY, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end\n", "")
