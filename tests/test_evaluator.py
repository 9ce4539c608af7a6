"""The class's evaluator: what it takes and refuses, blocks shared, turns that are fair, the same bytes for all."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

import muses_lab as ml
from muses_lab.compute.answers import packed, task_from_json, task_to_json, unpacked
from muses_lab.compute.class_executor import AHEAD, ClassExecutor
from muses_lab.compute.class_link import ClassLink
from muses_lab.compute.queue import Executor
from muses_lab.compute.release import release
from muses_lab.compute.threads import ThreadsBackend
from muses_lab.compute.windows import request_window
from muses_lab.crs import transformer
from muses_lab.engine import BlockKey, NodeKey, Published, RectKey, Result
from muses_lab.engine.mosaic import Report, layout
from muses_lab.errors import DocumentError
from muses_lab.evaluator.api import ArtefactHandler
from muses_lab.evaluator.blocks import Ask, Blocks, TooMany
from muses_lab.evaluator.pinned import PinnedScenes
from muses_lab.evaluator.turns import Turns
from muses_lab.operators import Cube
from muses_lab.raster.asset import Band
from muses_lab.service.prefetch import LAST
from muses_lab.store import default_store
from tests.helpers import evaluators
from tests.helpers.evaluators import Running, publish_course
from tests.helpers.made_scenes import Made, chain_of, ndvi_of, write_tif
from tests.helpers.waiting import within

SIZE = 1200
"""Pixels of the course's scene: three by three blocks."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("class")


@pytest.fixture(scope="module")
def ndvi(folder: Path, isolated_home: Path) -> ml.Chain:
    return ndvi_of(folder / "data", SIZE)


@pytest.fixture(scope="module")
def courses(folder: Path, ndvi: ml.Chain) -> Path:
    (scenes,) = ndvi.published.scenes.values()
    publish_course(folder / "courses", scenes, folder / "data")
    return folder / "courses"


@pytest.fixture(scope="module")
def evaluator(courses: Path) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSES_COURSES", str(courses))
        with evaluators.running() as running:
            yield running


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Executor]:
    """What the participant has besides."""
    executor = Executor(ThreadsBackend(2))
    yield executor
    executor.close()


@pytest.fixture
def alice(evaluator: Running, elsewhere: Executor) -> Iterator[ClassExecutor]:
    executor = ClassExecutor(elsewhere, ClassLink(evaluator.url, lambda: "of-alice"))
    yield executor
    executor.close()


def whole(published: Published) -> Any:
    """The window of all that a chain has, at its own pixels."""
    grid = next(iter(published.prepared.output.grids.values()))
    return grid.geobox(0, grid.extent)


def submitted(executor: Executor) -> int:
    return executor.status()["counts"]["submitted"]


class Client:
    """A participant who speaks HTTP only."""

    def __init__(self, running: Running, who: str) -> None:
        self.url = running.url
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"token of-{who}"

    def put(self, path: str, body: bytes, **query: str) -> requests.Response:
        return self.session.put(f"{self.url}/api/{path}", data=body, params=query, timeout=60)

    def give(self, published: Published) -> requests.Response:
        for digest, artefact in published.artefacts.items():
            answer = self.put(f"artefacts/{digest}", artefact.body, kind=artefact.kind.name)
            if answer.status_code != 201:
                return answer
        return self.put(f"chains/{published.chain_hash}", published.document)

    def block(self, published: Published, block: Any, **more: Any) -> requests.Response:
        wish = {
            "chain": published.chain_hash, "hash": published.hash, "task": task_to_json(block),
            "token": f"{time.monotonic_ns()}", "release": release(), **more,
        }  # fmt: skip
        return self.session.post(f"{self.url}/api/blocks", json=wish, timeout=60)


@pytest.fixture
def bob(evaluator: Running) -> Client:
    return Client(evaluator, "bob")


# --------------------------------------------------------------------------------------------------- what travels


def test_tasks_and_results_travel_without_code_and_come_back_as_they_were() -> None:
    for task in (BlockKey("g", 0, -3, 5), RectKey("EPSG:32631@10", 2, -5, 9, 0, 4), NodeKey("a" * 64)):
        assert task_from_json(json.loads(json.dumps(task_to_json(task)))) == task
    for odd in (
        None, [], {}, {"block": ["g", 0, 1]}, {"block": ["g", 0, 1, True]}, {"block": ["g", -1, 0, 0]},
        {"rect": ["g", 0, 5, 5, 0, 4]}, {"rect": ["g", 0, 0, 1 << 50, 0, 4]}, {"node": 7}, {"block": [1, 0, 0, 0]},
        {"block": ["g", 0, 0, 0], "node": "a"}, {"__reduce__": ["os.system"]},
    ):  # fmt: skip
        with pytest.raises(DocumentError, match="is no task"):
            task_from_json(odd)
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    values[0, 0, 0] = np.nan
    found = unpacked(packed(Result(values, Report(frozenset({"a"}), {"b": "gone"}), b"body", 0.5)))
    assert found.values is not None and found.values.dtype == values.dtype
    assert found.values.tobytes() == values.tobytes()
    assert (found.report, found.body, found.seconds) == (Report(frozenset({"a"}), {"b": "gone"}), b"body", 0.5)
    for odd in (b"", b"x" * 40, pickle.dumps(values), packed(Result(values))[:60]):
        with pytest.raises(ValueError):  # noqa: PT011 (whatever is wrong)
            unpacked(odd)


# --------------------------------------------------------------------------------------------------- the same bytes


def test_a_participant_gets_the_very_bytes_of_an_evaluation_of_their_own(
    ndvi: ml.Chain, alice: ClassExecutor, elsewhere: Executor, evaluator: Running
) -> None:
    chains = [ndvi, ndvi.focal_mean(3), ndvi > 0.2, ndvi.otsu(extent=whole(ndvi.published), resolution=10)]
    before = submitted(elsewhere)
    shown = [request_window(alice, chain.published, whole(chain.published)).result(60) for chain in chains]
    assert submitted(elsewhere) == before, "the participant's own executor did nothing"
    for chain, pixels in zip(chains, shown, strict=True):
        mine = request_window(elsewhere, chain.published, whole(chain.published)).result(60)
        assert mine.values.tobytes() == pixels.values.tobytes() and mine.report == pixels.report
        assert mine.report.used == {"scene"}
    assert alice.status()["class"] == {
        "state": "ready", "reason": "", "waiting": 0, "position": None, "people": None,
        "elsewhere": submitted(elsewhere),
    }  # fmt: skip


def test_thirty_who_ask_for_the_same_blocks_have_each_evaluated_once(
    folder: Path, ndvi: ml.Chain, evaluator: Running, bob: Client
) -> None:
    published = (ndvi * 2 + 1).published
    assert bob.give(published).status_code == 201
    tasks = layout(published.prepared, whole(published)).tasks
    before = dict(evaluator.counts)

    async def ask(who: str) -> list[Result]:
        asks = [Ask(who, published.chain_hash, published.hash, task) for task in tasks]
        return await asyncio.gather(*map(evaluator.evaluator.blocks.result, asks))

    asked = [asyncio.run_coroutine_threadsafe(ask(f"person-{n}"), evaluator.loop) for n in range(30)]
    found = [one.result(120) for one in asked]
    later = asyncio.run_coroutine_threadsafe(ask("late"), evaluator.loop).result(60)
    news = {name: evaluator.counts[name] - before.get(name, 0) for name in ("evaluated", "served", "shared", "failed")}
    many = 31 * len(tasks)
    assert news == {"evaluated": len(tasks), "served": many, "shared": many - len(tasks), "failed": 0}
    for results in (*found, later):
        for mine, first in zip(results, found[0], strict=True):
            assert mine.values is first.values, "shared, not copied"
    assert asyncio.run_coroutine_threadsafe(_people(evaluator), evaluator.loop).result(10) >= 31


async def _people(running: Running) -> int:
    return running.evaluator.blocks.people()


# --------------------------------------------------------------------------------------------------- fair turns


def test_turns_go_round_whatever_is_asked_for() -> None:
    turns = Turns()
    hog = [turns.take("hog", 1.0) for _ in range(500)]
    for number in hog[:20]:
        turns.served(number)
    small = [turns.take("small", 1.0) for _ in range(12)]
    order = sorted([*((n, "hog") for n in hog[20:]), *((n, "small") for n in small)])
    assert [who for _, who in order[:24]].count("small") >= 11
    heavy, light = turns.take("heavy", 10.0), [turns.take("light", 0.1) for _ in range(20)]
    assert light[-1] < heavy + 10.0, "who asks for cheap blocks gets more of them"
    turns.give_back("heavy", 10.0)
    assert turns.peek("heavy") == turns.now


class Scripted:
    """A backend of one thread that keeps the order of what it is given."""

    name, threads = "scripted", 1

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.futures: list[Future] = []
        self.cancelled: list[str] = []

    def submit(self, chain_hash: str, payload: Any, task: Any, token: str) -> Future:
        self.given.append(task)
        self.futures.append(Future())
        return self.futures[-1]

    def cancel(self, token: str) -> None:
        self.cancelled.append(token)

    def status(self) -> dict[str, Any]:
        return {}

    def prefetch(self, chain_hash: str, task: Any) -> None: ...
    def cancel_hint(self, chain_hash: str, task: Any) -> None: ...
    def close(self) -> None: ...


class Known:
    """Chains that were taken, whatever is asked for."""

    def __init__(self, published: Published) -> None:
        self.get = lambda chain: published


def scripted(published: Published, monkeypatch: pytest.MonkeyPatch, most: int = 1000) -> tuple[Scripted, Any]:
    monkeypatch.setenv("MUSES_COURSE_BLOCKS", str(most))
    backend: Any = Scripted()
    chains: Any = Known(published)
    return backend, lambda: Blocks(chains, Executor(backend), 1 << 20, default_store)


def asks(published: Published, who: str, count: int, row: int, **more: Any) -> list[Ask]:
    (grid,) = published.prepared.output.grids
    keys = [BlockKey(grid, 0, row, n) for n in range(count)]
    return [Ask(who, published.chain_hash, published.hash, key, **more) for key in keys]


async def _ended(work: list[asyncio.Task]) -> None:
    for one in work:
        one.cancel()
    await asyncio.gather(*work, return_exceptions=True)


def test_one_who_asks_for_500_blocks_does_not_hold_up_one_who_asks_for_12(
    ndvi: ml.Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = ndvi.published
    backend, make = scripted(published, monkeypatch)

    async def play() -> None:
        blocks = make()
        hog = [asyncio.ensure_future(blocks.result(ask)) for ask in asks(published, "hog", 500, 0)]
        while len(blocks._blocks) < 500:
            await asyncio.sleep(0.01)
        small = [asyncio.ensure_future(blocks.result(ask)) for ask in asks(published, "small", 12, 900)]
        while len(blocks._blocks) < 512:
            await asyncio.sleep(0.01)
        assert blocks.position("small") <= 1 and blocks.position("hog") <= 1
        assert blocks.position("nobody") is None
        done = 0
        while not all(one.done() for one in small):
            while done == len(backend.futures):
                await asyncio.sleep(0.001)
            backend.futures[done].set_result(Result(np.zeros((2, 2), np.float32), seconds=0.01))
            done += 1
            await asyncio.sleep(0)
        assert done <= 2 * 12 + 6, f"{done} blocks were evaluated before the small one had theirs"
        await _ended([*hog, *small])
        assert not blocks._blocks and not blocks._waiting

    asyncio.run(play())


def test_what_nobody_looks_at_yet_goes_last_until_somebody_does(
    ndvi: ml.Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = ndvi.published
    backend, make = scripted(published, monkeypatch)

    async def play() -> None:
        blocks = make()
        work = [asyncio.ensure_future(blocks.result(ask)) for ask in asks(published, "ann", 20, 0, ahead=True)]
        while len(blocks._blocks) < 20:
            await asyncio.sleep(0.01)
        begun = len(backend.given)
        assert begun < 15
        work += [asyncio.ensure_future(blocks.result(ask)) for ask in asks(published, "bob", 2, 7)]
        (joined, *_) = [ask for ask in asks(published, "cat", 20, 0) if ask.task not in backend.given]
        work.append(asyncio.ensure_future(blocks.result(joined)))
        while len(blocks._blocks) < 22 or not any(len(one.waiting) == 2 for one in blocks._blocks.values()):
            await asyncio.sleep(0.01)
        while not all(one.done() for one in work):
            for future in backend.futures:
                if not future.done():
                    future.set_result(Result(np.zeros((2, 2), np.float32)))
            await asyncio.sleep(0.001)
        order = [(key.row, key.col) for key in backend.given]
        assert set(order[begun : begun + 3]) == {(7, 0), (7, 1), (0, joined.task.col)}, "after those that had begun"

    asyncio.run(play())
    assert AHEAD == LAST


def test_what_the_last_one_leaves_is_dropped_or_stopped_and_others_keep_theirs(
    ndvi: ml.Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = ndvi.published
    backend, make = scripted(published, monkeypatch)

    async def play() -> None:
        blocks = make()
        mine = [asyncio.ensure_future(blocks.result(ask)) for ask in asks(published, "ann", 20, 0)]
        while len(blocks._blocks) < 20:
            await asyncio.sleep(0.01)
        same = [ask for ask in asks(published, "bob", 20, 0) if ask.task == backend.given[0]]
        theirs = [asyncio.ensure_future(blocks.result(ask)) for ask in same]
        while not any(len(one.waiting) == 2 for one in blocks._blocks.values()):
            await asyncio.sleep(0.01)
        begun = len(backend.given)
        await _ended(mine)
        assert len(blocks._blocks) == 1 and len(backend.cancelled) == begun - 1, "bob's goes on, what ran is stopped"
        backend.futures[0].set_result(Result(np.zeros((2, 2), np.float32)))
        await theirs[0]
        assert len(backend.given) == begun < 20 and blocks.counts["left"] == 20 and blocks.counts["served"] == 1
        assert blocks.position("ann") is None

    asyncio.run(play())


def test_what_had_begun_is_paid_for_also_where_it_is_left(ndvi: ml.Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    published = ndvi.published
    backend, make = scripted(published, monkeypatch)

    async def play() -> None:
        blocks = make()
        work = [asyncio.ensure_future(blocks.result(ask)) for ask in asks(published, "ann", 20, 0)]
        while len(blocks._blocks) < 20:
            await asyncio.sleep(0.01)
        begun, each = len(backend.given), next(iter(blocks._blocks.values())).seconds
        assert begun < 20
        await _ended(work)
        for future in backend.futures:
            future.set_result(Result(np.zeros((2, 2), np.float32)))
        await asyncio.sleep(0.1)
        assert blocks._turns.peek("ann") == pytest.approx(begun * max(each, 0.005))

    asyncio.run(play())


def test_a_block_that_was_slow_by_chance_does_not_close_its_chain(
    ndvi: ml.Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = ndvi.published
    backend, make = scripted(published, monkeypatch)
    first, second = asks(published, "ann", 2, 0)

    async def play() -> None:
        blocks = make()
        work = asyncio.ensure_future(blocks.result(first))
        while not backend.futures:
            await asyncio.sleep(0.01)
        backend.futures[0].set_result(Result(np.zeros((2, 2), np.float32), seconds=1000.0))
        await work
        again = asyncio.ensure_future(blocks.result(second))
        while len(backend.futures) < 2:
            assert not again.done(), again.exception()
            await asyncio.sleep(0.01)
        await _ended([again])

    asyncio.run(play())


def test_whole_areas_take_turns_and_end_when_nobody_waits(ndvi: ml.Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = next(iter(ndvi.published.prepared.output.grids.values()))
    bounds = transformer(grid.crs, "EPSG:4326").transform_bounds(*grid.geobox(0, grid.extent).boundingbox)
    chains = [(ndvi > n / 10).connected_components().pin(bounds, resolution=10).published for n in range(4)]
    known = {chain.chain_hash: chain for chain in chains}
    monkeypatch.setenv("MUSES_COURSE_BLOCKS", "100")
    backend: Any = Scripted()
    taken: Any = Known(chains[0])
    taken.get = known.__getitem__

    def ask(who: str, chain: Published) -> Ask:
        (step,) = chain.prepared.whole_nodes()
        return Ask(who, chain.chain_hash, chain.hash, NodeKey(step.node.hash))

    async def play() -> None:
        blocks = Blocks(taken, Executor(backend), 1 << 20, default_store)
        hog = [asyncio.ensure_future(blocks.result(ask("hog", chain))) for chain in chains[:2]]
        while len(backend.given) < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(TooMany, match="whole areas of 2 chains of hog are under way already"):
            await blocks.result(ask("hog", chains[2]))
        assert blocks._turns.peek("hog") > 0, "they count for as long as they are expected to take"
        await _ended(hog)
        while blocks._areas_of["hog"]:
            await asyncio.sleep(0.05)
        assert len(backend.cancelled) == 2, "nobody waits for them"

    asyncio.run(play())


def test_half_written_courses_pin_nothing(tmp_path: Path) -> None:
    (scenes,) = ndvi_of(tmp_path / "data", 300).published.scenes.values()
    publish_course(tmp_path / "courses", scenes, tmp_path / "data", version=".3f2a.1b2c3d4e.part")
    pinned = PinnedScenes(tmp_path / "courses")
    pinned.look()
    assert pinned.courses == []


def test_bodies_of_one_participant_fill_no_memory(
    bob: Client, evaluator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ArtefactHandler._receive.__globals__, "MAX_RECEIVING", 1000)
    host, port = bob.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as slow:
        digest = "0" * 64
        path = f"{bob.url.split(port, 1)[1]}/api/artefacts/{digest}?kind=scenes"
        head = f"PUT {path} HTTP/1.1", f"Host: {host}", "Authorization: token of-bob", "Content-Length: 900", "", ""
        slow.sendall("\r\n".join(head).encode())
        assert within(30, lambda: 900 in evaluator.evaluator.receiving.values()), "else it is the one that is refused"
        assert bob.put(f"artefacts/{digest}", bytes(200), kind="scenes").status_code == 503
        assert bob.put(f"artefacts/{digest}", bytes(200), kind="scenes").json()["code"] == "overloaded"
    assert within(30, lambda: bob.put(f"artefacts/{digest}", bytes(200), kind="scenes").status_code != 503)


# --------------------------------------------------------------------------------------------------- what is refused


def test_scenes_that_no_course_pins_are_computed_by_ones_own_cluster_and_the_reason_is_told(
    tmp_path: Path, alice: ClassExecutor, elsewhere: Executor, bob: Client
) -> None:
    other = ndvi_of(tmp_path / "other", 300).published
    assert request_window(alice, other, whole(other)).result(60).values.size
    assert "the course pins" in alice.link.why_not(other) and submitted(elsewhere) > 0
    answer = bob.give(other)
    assert (answer.status_code, answer.json()["code"]) == (403, "not-of-a-course")
    assert answer.json()["details"] == {"scene": "scene"}


def test_a_file_in_the_place_of_a_pinned_one_is_refused(folder: Path, ndvi: ml.Chain, bob: Client) -> None:
    (scenes,) = ndvi.published.scenes.values()
    secret = write_tif(folder / "data" / "secret.tif", np.ones((SIZE, SIZE), np.uint16))
    (scene,) = scenes.scenes
    for href in (secret.name, "../secret.tif", "https://example.org/a.tif", "/etc/passwd", "../../etc/passwd"):
        assets = {name: replace(asset, href=href, size=None) for name, asset in scene.assets.items()}
        forged = chain_of(replace(scenes, scenes=(replace(scene, assets=assets),))).ndvi().max("t").published
        answer = bob.give(forged)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-of-a-course"), href
        assert "/etc/passwd" not in answer.json()["message"] or href in answer.json()["message"]
    for other in (replace(scenes, catalog="nowhere"), replace(scenes, collection="other")):
        assert bob.give(chain_of(other).ndvi().max("t").published).status_code == 403


@pytest.mark.usefixtures("own")
def test_code_pickles_and_foreign_processes_are_not_read(ndvi: ml.Chain, bob: Client, alice: ClassExecutor) -> None:
    published = ndvi.published

    @ml.operator
    def mine(image: Cube) -> Cube:
        return image

    private = ndvi.mine().published
    assert alice.link.why_not(private).startswith("the chain is private") and not alice.link.takes(private)
    answers = [
        bob.put(f"chains/{published.chain_hash}", pickle.dumps({"a": 1})),
        bob.put(f"chains/{published.chain_hash}", published.payload),
        bob.put(f"chains/{published.chain_hash}", b"{}"),
        bob.put(f"chains/{published.chain_hash}", json.dumps(
            {"process_graph": {"a": {"process_id": "os_system", "arguments": {}, "result": True}}}).encode()),
        bob.put(f"chains/{private.chain_hash}", private.document),
        bob.put("chains/..%2F..", published.document),
        bob.put(f"chains/{'0' * 64}", published.document),
        bob.put(f"artefacts/{'0' * 64}", b"{}", kind="muses:items"),
        bob.put(f"artefacts/{'0' * 64}", pickle.dumps(1), kind="builtins"),
        *(bob.put(f"artefacts/{digest}", artefact.packed, kind=artefact.kind.name)
          for digest, artefact in {**private.artefacts, **published.artefacts}.items()
          if artefact.kind.private or artefact.packed != artefact.body),
    ]  # fmt: skip
    told = [(answer.status_code, answer.json()["message"]) for answer in answers]
    assert all(400 <= status < 500 for status, _ in told), told
    assert "os_system" in told[3][1] or "unknown" in told[3][1]


def test_a_block_is_asked_for_as_it_has_to_be(ndvi: ml.Chain, bob: Client, evaluator: Running) -> None:
    published = ndvi.published
    assert bob.give(published).status_code == 201
    (grid,) = published.prepared.output.grids
    stranger = requests.post(f"{bob.url}/api/blocks", json={}, timeout=20)
    assert (stranger.status_code, stranger.json()["code"]) == (403, "access-denied")
    good = BlockKey(grid, 0, *layout(published.prepared, whole(published)).tasks[0][2:])
    assert bob.block(published, good).status_code == 200
    for status, code, answer in (
        (404, "chain-unknown", bob.block(published, good, chain="0" * 64)),
        (409, "other-results", bob.block(published, good, hash=published.hash + "+forged")),
        (403, "refused", bob.block(published, good._replace(grid="elsewhere"))),
        (403, "refused", bob.block(published, RectKey(grid, 0, 0, 4096, 0, 4096))),
        (403, "refused", bob.block(published, NodeKey("a" * 64))),
        (403, "refused", bob.block(published, good, release="another")),
        (400, "document-invalid", bob.block(published, good, task={"block": "all"})),
        (400, "error", bob.block(published, good, token=7)),
        (413, "too-large", bob.block(published, good, more="x" * 20_000)),
        (413, "too-large", bob.put(f"chains/{'0' * 64}", b" " * ((4 << 20) + 1))),
        (404, "not-found", requests.get(f"{bob.url}/api/else", timeout=20)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    health, metrics = (requests.get(f"{bob.url}/{path}", timeout=20) for path in ("health", "metrics"))
    assert health.json()["status"] == "pass"
    assert "muses_course_blocks_evaluated_total" in metrics.text and "bob" not in metrics.text
    assert 'muses_course_refused_total{code="other-results"}' in metrics.text
    told = bob.session.get(f"{bob.url}/api/status", timeout=20).json()
    assert told["courses"] == ["first-steps"] and told["position"] is None and told["threads"] >= 1


def test_more_blocks_than_a_participant_may_have_waiting_are_refused(
    ndvi: ml.Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = ndvi.published
    _, make = scripted(published, monkeypatch, most=3)

    async def play() -> None:
        blocks = make()
        work = [asyncio.ensure_future(blocks.result(ask)) for ask in asks(published, "hog", 5, 0)]
        done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        assert all(one.exception().code == "too-many-blocks" for one in done)
        await _ended(work)

    asyncio.run(play())
    monkeypatch.setenv("MUSES_COURSE_BLOCK_SECONDS", "1e-9")

    async def dear() -> None:
        blocks = make()
        with pytest.raises(Exception, match="MUSES_COURSE_BLOCK_SECONDS"):
            await blocks.result(asks(published, "ann", 1, 0)[0])

    asyncio.run(dear())


def test_a_request_that_is_closed_and_one_that_is_cancelled_leave(
    ndvi: ml.Chain, evaluator: Running, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = (ndvi + 7).published
    assert bob.give(published).status_code == 201
    blocks = evaluator.evaluator.blocks
    never: Any = Executor(Scripted())  # type: ignore[arg-type]
    monkeypatch.setattr(blocks, "executor", never)
    key = layout(published.prepared, whole(published)).tasks[0]
    with pytest.raises(requests.Timeout):
        wish = {"chain": published.chain_hash, "hash": published.hash, "task": task_to_json(key)}
        wish |= {"token": "closed", "release": release()}
        bob.session.post(f"{bob.url}/api/blocks", json=wish, timeout=0.5)
    assert within(20, lambda: not blocks._blocks), "the closed connection left"
    waits = threading.Thread(target=bob.block, args=(published, key), kwargs={"token": "told"})
    waits.start()
    assert within(20, lambda: blocks._blocks)
    other = Client(evaluator, "eve").session.delete(f"{bob.url}/api/blocks/told", timeout=20)
    assert other.json() == {"cancelled": False}, "nobody cancels what is somebody else's"
    session = requests.Session()
    session.headers.update(bob.session.headers)
    assert session.delete(f"{bob.url}/api/blocks/told", timeout=20).json() == {"cancelled": True}
    waits.join(20)
    assert not waits.is_alive() and not blocks._blocks


def test_chains_are_checked_anew_when_courses_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from muses_lab.evaluator import pinned

    monkeypatch.setattr(pinned, "LOOK", 0.0)
    monkeypatch.setenv("MUSES_COURSES", str(tmp_path / "courses"))
    chain = ndvi_of(tmp_path / "data", 300).published
    (scenes,) = chain.scenes.values()
    with evaluators.running() as running:
        bob = Client(running, "bob")
        assert bob.give(chain).json()["message"].startswith("no course is published here")
        file = publish_course(tmp_path / "courses", scenes, tmp_path / "data")
        assert bob.give(chain).status_code == 201
        (key,) = layout(chain.prepared, whole(chain)).tasks[:1]
        assert bob.block(chain, key).status_code == 200
        file.unlink()
        assert bob.block(chain, key).json()["code"] == "chain-unknown"
        assert bob.give(chain).status_code == 403
        file.write_text("{")
        assert bob.give(chain).status_code == 403, "a damaged list pins nothing"


def test_materialized_blocks_are_taken_from_the_disk(
    ndvi: ml.Chain, evaluator: Running, alice: ClassExecutor, elsewhere: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = ndvi.focal_mean(1)
    with_disk = chain.published
    engine = evaluator.evaluator.engine()
    before = engine.counters()["materialized_blocks"]
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    job = chain.materialize(whole(with_disk).boundingbox.to_crs("EPSG:4326").bbox, levels=[0])
    job.wait(120)
    engine.materialized._root.until = 0.0  # else it looks at the disk two seconds later
    shown = request_window(alice, with_disk, whole(with_disk)).result(60)
    assert engine.counters()["materialized_blocks"] > before
    mine = request_window(elsewhere, with_disk, whole(with_disk)).result(60)
    assert shown.values.tobytes() == mine.values.tobytes()


def test_scenes_that_cannot_be_read_are_told_as_by_ones_own_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: Executor
) -> None:
    made, rng = Made(tmp_path / "data"), np.random.default_rng(3)
    paths = [
        write_tif(made.folder / f"{n}.tif", rng.integers(1, 9000, (256, 256), dtype=np.uint16)) for n in ("a", "b")
    ]
    scenes = made.scenes([Band("B")], [
        made.scene(path.stem, f"2018-06-1{n}", {"B": made.asset(path)}, grid="MADE-1") for n, path in enumerate(paths)
    ])  # fmt: skip
    monkeypatch.setenv("MUSES_COURSES", str(tmp_path / "courses"))
    publish_course(tmp_path / "courses", scenes, made.folder)
    paths[1].unlink()
    published = chain_of(scenes).band("B").max("t").published
    with evaluators.running() as running:
        executor = ClassExecutor(elsewhere, ClassLink(running.url, lambda: "of-ann"))
        reports = [request_window(executor, published, whole(published)).result(60).report for _ in range(2)]
        evaluated = running.counts["evaluated"]
        executor.close()
    assert reports[0].failed == reports[1].failed and [id for id, _ in reports[0].failed] == ["b"]
    assert reports[0] == request_window(elsewhere, published, whole(published)).result(60).report
    assert evaluated == 2 or evaluated == 1, "what lacks a scene is not kept for the class"
