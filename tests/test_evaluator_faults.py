"""The class's evaluator killed, hung, stalled: every tile arrives, computed by somebody, and the reason is told."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import muses_lab as ml
from muses_lab import compute
from muses_lab.compute import class_link
from muses_lab.compute.class_executor import ClassExecutor
from muses_lab.compute.class_link import ClassLink
from muses_lab.compute.queue import Executor
from muses_lab.compute.threads import ThreadsBackend
from muses_lab.compute.windows import Pixels, request_window
from muses_lab.engine import Published
from muses_lab.publish.documents import keep
from muses_lab.service.tile import TilePixel
from muses_lab.service.tile_service import TileService
from muses_lab.store import default_store
from tests.helpers import evaluators
from tests.helpers.evaluators import Process, publish_course
from tests.helpers.hubs import free_ports
from tests.helpers.made_scenes import ndvi_of
from tests.helpers.waiting import within

SIZE = 1200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def ndvi(folder: Path, isolated_home: Path) -> ml.Chain:
    chain = ndvi_of(folder / "data", SIZE)
    (scenes,) = chain.published.scenes.values()
    publish_course(folder / "courses", scenes, folder / "data")
    return chain


@pytest.fixture(scope="module")
def process(folder: Path, ndvi: ml.Chain, isolated_home: Path) -> Iterator[Process]:
    one = Process(isolated_home / "muses-lab", MUSES_COURSES=str(folder / "courses"), MUSES_COURSE_THREADS="1")
    try:
        yield one.start()
    finally:
        one.kill()


@pytest.fixture(scope="module")
def own() -> Iterator[Executor]:
    executor = Executor(ThreadsBackend(2))
    yield executor
    executor.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_link, "LOOK", 0.1)
    monkeypatch.setattr(class_link, "QUICK", 1.0)


def whole(published: Published) -> Any:
    grid = next(iter(published.prepared.output.grids.values()))
    return grid.geobox(0, grid.extent)


def shown(executor: Executor, chain: ml.Chain) -> Pixels:
    return request_window(executor, chain.published, whole(chain.published)).result(120)


def finished(executor: Executor) -> int:
    return executor.status()["counts"]["finished"]


def back(executor: ClassExecutor, published: Published) -> bool:
    return within(60, lambda: executor.link.takes(published))


@pytest.mark.slow
def test_an_evaluator_that_is_killed_in_the_middle_and_comes_back(
    process: Process, ndvi: ml.Chain, own: Executor, quick: None
) -> None:
    executor = ClassExecutor(own, ClassLink(process.url, lambda: "of-ann"))
    try:
        chains = [ndvi + n for n in range(6)]
        tickets = [request_window(executor, chain.published, whole(chain.published)) for chain in chains]
        assert within(60, lambda: process.metric("blocks_evaluated_total") > 0)
        process.kill()
        found = [ticket.result(120) for ticket in tickets]
        assert not any(pixels.report.failed for pixels in found)
        told = executor.status()["class"]
        assert told["state"] == "away" and "does not answer" in told["reason"]
        while_away = finished(own)
        assert while_away and shown(executor, ndvi + 10).values.size and finished(own) > while_away
        process.start()
        assert back(executor, ndvi.published)
        before = finished(own)
        again = shown(executor, ndvi + 11)
        assert finished(own) == before and process.metric("blocks_evaluated_total") > 0, "it is used again"
        assert executor.status()["class"]["state"] == "ready"
        assert again.values.tobytes() == shown(own, ndvi + 11).values.tobytes()
        for chain, pixels in zip(chains, found, strict=True):
            assert pixels.values.tobytes() == shown(own, chain).values.tobytes()
    finally:
        executor.close()


def test_an_evaluator_that_hangs_is_left_and_used_again_when_it_goes_on(
    process: Process, ndvi: ml.Chain, own: Executor, quick: None
) -> None:
    executor = ClassExecutor(own, ClassLink(process.url, lambda: "of-bob"))
    assert process.process is not None
    try:
        shown(executor, ndvi + 20)
        os.kill(process.process.pid, signal.SIGSTOP)
        before = finished(own)
        assert shown(executor, ndvi + 21).values.size and finished(own) > before
        assert executor.link.why_not(ndvi.published) == "the class's evaluator is away: it does not answer"
        os.kill(process.process.pid, signal.SIGCONT)
        assert back(executor, ndvi.published)
        before = finished(own)
        shown(executor, ndvi + 22)
        assert finished(own) == before
    finally:
        os.kill(process.process.pid, signal.SIGCONT)
        executor.close()


def test_an_evaluator_that_gets_nothing_done_is_left_until_it_does(
    folder: Path, ndvi: ml.Chain, own: Executor, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSES_COURSES", str(folder / "courses"))
    monkeypatch.setenv("MUSES_COURSE_SECONDS", "1")
    with evaluators.running() as running:
        blocks = running.evaluator.blocks
        goes_on = threading.Event()
        stuck: Any = Executor(ThreadsBackend(1, goes_on.wait))  # type: ignore[arg-type]
        works, blocks.executor = blocks.executor, stuck
        executor = ClassExecutor(own, ClassLink(running.url, lambda: "of-cat"))
        try:
            assert shown(executor, ndvi + 30).values.size
            assert "has computed nothing for 1 s" in executor.link.why_not(ndvi.published)
            assert within(20, lambda: not blocks._blocks), "and nobody waits there any more"
            executor.link.takes(ndvi.published)
            assert executor.link.status()["state"] == "away", "that it answers is not enough"
            blocks.executor = works
            blocks.counts["served"] += 1  # somebody else had a block
            assert back(executor, ndvi.published)
        finally:
            executor.close()
            goes_on.set()
            stuck.close()


def test_without_an_evaluator_all_is_computed_here_and_a_foreign_server_is_none(
    ndvi: ml.Chain, own: Executor, quick: None
) -> None:
    (port,) = free_ports(1)
    executor = ClassExecutor(own, ClassLink(f"http://127.0.0.1:{port}/services/course", lambda: "of-dan"))
    try:
        assert shown(executor, ndvi + 40).values.tobytes() == shown(own, ndvi + 40).values.tobytes()
        assert executor.status()["class"]["state"] == "away"
    finally:
        executor.close()


def test_a_token_that_is_not_known_is_told(process: Process, ndvi: ml.Chain, own: Executor, quick: None) -> None:
    executor = ClassExecutor(own, ClassLink(process.url, lambda: "wrong"))
    try:
        assert shown(executor, ndvi + 50).values.size
        assert "does not know this token" in executor.link.why_not(ndvi.published)
    finally:
        executor.close()


@pytest.mark.slow
def test_a_servers_tiles_are_asked_of_the_evaluator_and_the_status_tells(
    process: Process, ndvi: ml.Chain, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSES_COURSE_URL", process.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of-eve")
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    compute.shutdown()
    chain = ndvi + 60
    other = ndvi + 61
    for one in (chain, other):
        keep(one.published, default_store())
    lon, lat = whole(chain.published).to_crs("EPSG:4326").boundingbox.bbox[:2]
    tile = TilePixel.at(lon + 0.05, lat + 0.05, 13).tile

    async def play() -> None:
        service = TileService()
        published = await service.chain(chain.published.chain_hash)
        assert "class" not in service.progress(published), "nothing was asked for yet"
        before = process.metric("blocks_served_total")
        pixels = await service.pixels(published, tile)
        assert np.isfinite(pixels.values).any() and process.metric("blocks_served_total") > before
        assert service.progress(published)["class"]["state"] == "ready"
        queue = service.queue()
        assert queue is not None and queue["backend"] == "class" and queue["state"] == "ready"
        assert compute.executor().status()["counts"]["submitted"] == 0, "the user's own executor did nothing"
        process.kill()
        try:
            again = await service.pixels(await service.chain(other.published.chain_hash), tile)
            assert np.array_equal(again.values, pixels.values + 1, equal_nan=True)
            told = service.progress(published)["class"]
            assert told["state"] == "away" and "does not answer" in told["reason"] and told["position"] is None
            assert compute.executor().status()["counts"]["finished"] > 0
        finally:
            process.start()

    try:
        asyncio.run(play())
    finally:
        compute.shutdown()
