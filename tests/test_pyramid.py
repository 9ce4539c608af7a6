"""Pyramids: blocks kept on disk stand for evaluations, with the same values and reports, or are not used at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).with_name("engine_helpers")))

from made import CORNER, Made, chain_of, pixels, window, write_tif  # noqa: E402

import muses_lab as ml  # noqa: E402
from muses_lab import cli, compute  # noqa: E402
from muses_lab.chain import Chain  # noqa: E402
from muses_lab.engine import BlockKey, Engine, Resolved, Result  # noqa: E402
from muses_lab.engine import pyramid as disk  # noqa: E402
from muses_lab.errors import AccessDenied, Cancelled, MusesError, NotFound  # noqa: E402
from muses_lab.export import Job  # noqa: E402
from muses_lab.export.pyramid import MANIFEST, kept, remove  # noqa: E402
from muses_lab.scenes import Band, Scenes  # noqa: E402

SIZE = 1100
WHOLE = window(SIZE, SIZE)
BANDS = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Evaluation in threads; the pyramids of one test are not those of another."""
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    yield
    for pyramid in kept():
        remove(pyramid.node)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Made:
    return Made(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def scenes(made: Made) -> Scenes:
    rng = np.random.default_rng(7)
    found = []
    for n in range(3):
        assets = {}
        for band in ("B04", "B08"):
            values = rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16)
            values[: 512 * n] = 0
            path = write_tif(made.folder / f"{n}-{band}.tif", values, blockxsize=256, blockysize=256)
            assets[band] = made.asset(path)
        found.append(made.scene(f"scene-{n}", f"2018-06-{10 + n}", assets, grid="MADE-1"))
    return made.scenes(BANDS, found)


@pytest.fixture
def median(scenes: Scenes) -> Chain:
    return chain_of(scenes).ndvi().median("t")


def make(chain: Chain, area=None, levels=None) -> Job:
    job = chain.materialize(area, levels, progress=False)
    job.wait(120)
    return job


def fresh() -> Engine:
    return Engine(64 << 20)


def run(engine: Engine, chain: Chain, key: BlockKey) -> Result:
    resolved: Resolved = chain.resolved
    engine.keep(resolved.hash, resolved)
    return engine.run(resolved.hash, key, lambda: False)


def without_pyramids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    """An engine for which nothing is kept; its catalogues are those of the test run."""
    engine = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "pyramids", lambda: tmp_path / "none")
        assert not engine.pyramids.has("0" * 64, BlockKey("", 0, 0, 0))
    engine.pyramids._root.until = float("inf")
    return engine


def folder(chain: Chain) -> Path:
    return disk.pyramids() / chain.resolved.program.output.node.hash


def files(chain: Chain) -> list[Path]:
    return sorted(folder(chain).glob("*.tif"))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


# ---------------------------------------------------------------------------------------------- used where present


def test_a_fresh_engine_answers_without_reading_a_scene(median: Chain, monkeypatch, tmp_path: Path) -> None:
    computing = without_pyramids(monkeypatch, tmp_path)
    expected = pixels(computing, median, WHOLE)
    assert computing.counters()["blocks_decoded"] > 0 and computing.counters()["pyramid_blocks"] == 0
    job = make(median)
    assert job.path == folder(median) and job.done == job.total == 9 + 4 + 1 + 1 - 1
    engine = fresh()
    found = pixels(engine, median, WHOLE)
    counters = engine.counters()
    assert counters["blocks_decoded"] == 0 and counters["evaluations"] == 0 and counters["pyramid_blocks"] == 9
    assert same(found.values, expected.values) and found.report == expected.report
    pixels(engine, median, WHOLE)
    assert engine.counters()["pyramid_blocks"] == 9, "what was read is kept in memory"
