"""The running estimate of this machine's speed, and the seconds that plans make of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

import muses_lab as ml
from muses_lab.resources import rates
from muses_lab.resources.rates import DECODE_RATE, EVALUATE_RATE, Throughput


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "throughput.json"


def test_without_a_measurement_the_rates_are_the_stated_ones(file: Path) -> None:
    estimate = Throughput(file)
    assert (estimate.rate("decode"), estimate.rate("evaluate")) == (DECODE_RATE, EVALUATE_RATE)
    assert not file.exists()


def test_measurements_soon_count_for_all(file: Path) -> None:
    estimate = Throughput(file)
    for _ in range(100):
        estimate.record("decode", 400_000, 1e-2)  # 40 MB/s
    assert estimate.rate("decode") == pytest.approx(40e6, rel=0.2)
    assert estimate.rate("evaluate") == EVALUATE_RATE
    estimate.record("decode", 0, 1.0)
    estimate.record("decode", 10, 0.0)
    assert estimate.rate("decode") == pytest.approx(40e6, rel=0.2), "blocks without pixels or time tell nothing"


def test_newer_work_outweighs_older(file: Path) -> None:
    estimate = Throughput(file)
    estimate.record("evaluate", 1e6 * 1000, 1000)
    estimate.save()
    for _ in range(3):
        estimate.record("evaluate", 50e6 * 30, 30)
        estimate.save()
    assert estimate.rate("evaluate") > 25e6


def test_processes_share_what_they_measured(file: Path) -> None:
    """A notebook plans with what its workers measured."""
    worker, notebook = Throughput(file), Throughput(file)
    assert notebook.rate("decode") == DECODE_RATE
    worker.record("decode", 1000e6, 10)
    worker.save()
    assert notebook.rate("decode") == pytest.approx(100e6, rel=0.02)
    notebook.record("decode", 3000e6, 10)
    notebook.save()
    assert worker.rate("decode") == pytest.approx(200e6, rel=0.02)
    assert not list(file.parent.glob(".throughput-*"))


def test_the_file_is_written_by_itself(file: Path) -> None:
    estimate = Throughput(file)
    estimate.record("decode", 80_000_000, 1)
    assert estimate._saving is not None
    estimate._saving.join(10)
    assert json.loads(file.read_text())["decode"] == [80_000_000, 1]
    estimate.record("decode", 80_000_000, 1)
    assert estimate._saving is not None and estimate._saving.interval > 3, "not with every block"
    estimate._saving.cancel()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"decode": 3}', '{"decode": [1], "evaluate": [1, 2]}', '{"decode": ["x", 1]}',
                '{"decode": [-1, 5], "evaluate": [1, 2]}', '{"decode": [NaN, 5], "evaluate": [1, 2]}', "\0\1"],
)  # fmt: skip
def test_a_broken_file_counts_as_none(file: Path, content: str) -> None:
    file.write_text(content)
    estimate = Throughput(file)
    assert estimate.rate("decode") == DECODE_RATE
    estimate.record("decode", 100e6, 10)
    estimate.save()
    assert Throughput(file).rate("decode") == pytest.approx(10e6, rel=0.1)


def test_a_home_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    estimate = Throughput(tmp_path / "gone" / "throughput.json")
    estimate.record("decode", 100e6, 10)
    estimate.save()
    assert estimate.rate("decode") == pytest.approx(10e6, rel=0.1)


def test_many_threads_may_tell_at_once(file: Path) -> None:
    estimate = Throughput(file)

    def tell() -> None:
        for _ in range(500):
            estimate.record("evaluate", 1000, 1e-4)
            if estimate.rate("evaluate") <= 0:
                raise AssertionError

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    estimate.save()
    assert json.loads(file.read_text())["evaluate"] == pytest.approx([4_000_000, 0.4])


def test_plans_count_with_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_catalog: Path
) -> None:
    chain = ml.collection("sentinel-2-l2a", catalog=str(sample_catalog)).ndvi().median("t")
    box = ml.Window.from_bounds((1.30, 43.56, 1.46, 43.64), crs="EPSG:4326", resolution=2e-4)
    _ = chain.published.prepared
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "home"))
    before = chain.plan(box)
    rates.record_decode(int(DECODE_RATE / 10 * 1000), 1000)
    rates.record_evaluate(int(EVALUATE_RATE / 10 * 1000), 1000)
    after = chain.plan(box)
    assert before.bytes == after.bytes and before.evaluated == after.evaluated > 0
    assert after.seconds == pytest.approx(10 * before.seconds, rel=0.01)
    assert rates.decode_rate() == pytest.approx(DECODE_RATE / 10, rel=0.01)
    assert rates.evaluate_rate() == pytest.approx(EVALUATE_RATE / 10, rel=0.01)
