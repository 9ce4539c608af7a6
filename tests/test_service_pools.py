"""Nobody waits for what somebody else is slow at: the pool of threads alone, and on a real Jupyter server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

import muses_lab as ml
from muses_lab.errors import Overloaded, Timeout
from muses_lab.resources.pool import Pool
from tests.helpers.service import HERE, Server, path, running_server
from tests.helpers.stac_items import item
from tests.helpers.stac_server import Api, serving

pytestmark = pytest.mark.usefixtures("in_threads")


IDLE = {"running": 0, "waiting": 0, "abandoned": 0}

# ------------------------------------------------------------------------------------------------------ the pool alone


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


def stuck(pool: Pool, number: int, **options: Any) -> tuple[threading.Event, list[asyncio.Task[Any]]]:
    """Calls that end when the event is set, which is all that ends them."""
    gate = threading.Event()
    return gate, [asyncio.create_task(pool.run(gate.wait, 60, **options)) for _ in range(number)]


def test_calls_beyond_the_threads_wait_and_go_in_order() -> None:
    async def main() -> None:
        pool, order = Pool("test", 2), list[int]()
        gate, running = stuck(pool, 2)
        await until(lambda: pool.counts()["running"] == 2)
        later = [asyncio.create_task(pool.run(order.append, n)) for n in range(20)]
        await asyncio.sleep(0.05)
        assert not order and pool.counts() == {"running": 2, "waiting": 20, "abandoned": 0}
        gate.set()
        assert all(await asyncio.gather(*running))
        await asyncio.gather(*later)
        assert sorted(order) == list(range(20)) and pool.counts() == IDLE
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 1, 0)

    asyncio.run(main())


def test_a_call_that_nobody_waits_for_gives_its_place_to_others_or_is_never_begun() -> None:
    async def main() -> None:
        pool, begun = Pool("places", 2, seconds=0.2), list[int]()
        gate, running = stuck(pool, 2)
        waiting: list[asyncio.Task[None]] = [asyncio.create_task(pool.run(begun.append, n)) for n in range(5)]
        failures = await asyncio.gather(*running, *waiting, return_exceptions=True)
        assert all(isinstance(failure, Timeout) for failure in failures), failures
        assert pool.counts() == {"running": 0, "waiting": 0, "abandoned": 2}
        assert await pool.run(lambda: "at once") == "at once"
        gate.set()
        await until(lambda: pool.counts() == IDLE)
        assert not begun, "what was dropped before it had begun is not done later"
        for _ in range(10):
            assert await pool.run(lambda: "again") == "again"
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("muses-places") <= 2, "the threads that took their places have ended"

    asyncio.run(main())


def test_a_cancelled_asker_leaves_as_well_and_its_late_result_is_given_back() -> None:
    async def main() -> None:
        pool, late = Pool("test", 1), list[bool]()
        gate, (running,) = stuck(pool, 1, unwanted=late.append)
        await until(lambda: pool.counts()["running"] == 1)
        running.cancel()
        assert await pool.run(lambda: 1) == 1
        gate.set()
        await until(lambda: late == [True] and pool.counts() == IDLE)

    asyncio.run(main())


def test_abandoned_calls_are_bounded_and_whoever_comes_then_is_told_so_at_once() -> None:
    async def main() -> None:
        pool = Pool("drawing", 2, seconds=0.4, abandoned=4)
        gates = []
        for _ in range(2):
            gate, calls = stuck(pool, 2)
            gates.append(gate)
            await asyncio.gather(*calls, return_exceptions=True)
        assert pool.counts()["abandoned"] == 4
        with pytest.raises(Overloaded, match="4 calls of drawing took too long.*try again in 5 s") as refused:
            await pool.run(lambda: 1)
        assert (refused.value.http_status, refused.value.details["retry_after"]) == (503, 5)
        assert sum(thread.name == "muses-drawing" for thread in threading.enumerate()) <= 2 + 4
        for gate in gates:
            gate.set()
        await until(lambda: pool.counts() == IDLE)
        assert await pool.run(lambda: 1) == 1

    asyncio.run(main())


def test_the_queue_is_bounded() -> None:
    async def main() -> None:
        pool = Pool("test", 1, waiting=2)
        gate, calls = stuck(pool, 3)
        await until(lambda: pool.counts() == {"running": 1, "waiting": 2, "abandoned": 0})
        with pytest.raises(Overloaded, match="2 calls of test are waiting"):
            await pool.run(lambda: 1)
        gate.set()
        await asyncio.gather(*calls)

    asyncio.run(main())


def test_one_key_does_not_take_the_threads_of_the_others() -> None:
    async def main() -> None:
        pool = Pool("test", 4, seconds=20, each=2)
        gate, calls = stuck(pool, 10, key="slow chain")
        await until(lambda: pool.counts()["running"] == 2)
        assert await pool.run(lambda: "another", key="another chain") == "another"
        assert pool.counts() == {"running": 2, "waiting": 8, "abandoned": 0}
        gate.set()
        assert all(await asyncio.gather(*calls)) and pool.counts() == IDLE

    asyncio.run(main())


def test_an_idle_thread_holds_nothing_of_the_call_before() -> None:
    class Pixels:
        pass

    async def main() -> None:
        pool, pixels = Pool("test", 1), Pixels()
        gone = weakref.ref(pixels)
        await pool.run(lambda given: given, pixels)
        with pytest.raises(AttributeError):
            await pool.run(lambda given: given.values, pixels)
        await asyncio.sleep(0)
        del pixels
        await until(lambda: gone() is None, 5)

    asyncio.run(main())


def test_calls_that_never_end_do_not_keep_a_process_from_ending() -> None:
    prepared = (
        "import asyncio, threading\nfrom muses_lab.resources.pool import Pool\n"
        "try:\n    asyncio.run(Pool('test', 2, seconds=0.1).run(threading.Event().wait))\n"
        "except Exception as error:\n    print(type(error).__name__)"
    )
    ended = subprocess.run([sys.executable, "-c", prepared], capture_output=True, text=True, timeout=60)
    assert (ended.stdout.strip(), ended.returncode) == ("Timeout", 0), ended.stderr


# ------------------------------------------------------------------------------------------------ on a Jupyter server

COLLECTION = {
    "type": "Collection", "stac_version": "1.0.0", "id": "slow", "description": "", "license": "other",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]}},
    "links": [],
}  # fmt: skip


@pytest.fixture
def slow_catalog(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A STAC API that does not answer searches until its gate is opened; its items say all there is to know."""
    items = [{**item(f"scene-{day}", f"2018-01-{day:02}"), "collection": "slow"} for day in range(1, 20)]
    for one in items:
        one["assets"]["red"]["bands"] = [{"name": "red", "data_type": "uint16", "nodata": 0}]
    api = Api({"slow": COLLECTION}, items)
    with serving(api) as url:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", urlsplit(url).netloc)
        ml.register_catalog(url)
        api.gate.clear()
        try:
            yield api
        finally:
            api.gate.set()


def documents(api: Api, number: int) -> list[dict[str, Any]]:
    slow = ml.collection("slow", catalog=api.url)
    return [
        slow.dates("2018-01-01", f"2018-01-{day + 2:02}").bands("red").median("t").to_json() for day in range(number)
    ]


def pools(one: Server) -> dict[str, dict[str, int]]:
    return one.get("status?chains=").json()["service"]["pools"]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_tiles_do_not_wait_for_publications(
    tmp_path: Path, slow_catalog: Api, s2: ml.Collection, published: tuple[str, str]
) -> None:
    cold = s2.bands("red").max("t").style(vmax=0.43).publish()
    with running_server(tmp_path, MUSES_COMPUTE="threads") as one, ThreadPoolExecutor(8) as pool:
        assert one.get(path(published)).ok  # warm from now on
        posts: list[Future[requests.Response]] = [
            pool.submit(one.post, "chains", json=document) for document in documents(slow_catalog, 8)
        ]
        wait_for(lambda: sum(pools(one)["publishing"][state] for state in ("running", "waiting")) == 8)
        wait_for(lambda: len(slow_catalog.asked) >= 1)
        warm = one.get(path(published))
        assert warm.ok and not any(post.done() for post in posts)
        assert one.get(path(published, HERE.tile._replace(x=HERE.tile.x + 1))).ok, "another tile of it, drawn now"
        assert one.get(path(cold)).ok and not any(post.done() for post in posts), "a chain that must be loaded first"
        assert one.get("base/5/16/11.png").ok and one.get(f"legend/{published[1]}").ok and one.get("health").ok
        assert not any(post.done() for post in posts)
        slow_catalog.gate.set()
        assert [post.result().status_code for post in posts] == [201] * 8, posts[0].result().text
        wait_for(lambda: all(counts == IDLE for counts in pools(one).values()))


@pytest.mark.thorough
@pytest.mark.slow
def test_a_publication_that_took_too_long_makes_room_for_the_next_one(
    tmp_path: Path, slow_catalog: Api, layer: ml.Layer, published: tuple[str, str]
) -> None:
    with (
        running_server(tmp_path, MUSES_COMPUTE="threads", MUSES_TILE_TIMEOUT="6") as one,
        ThreadPoolExecutor(8) as pool,
    ):
        one.post("chains", json=layer.chain.to_json())  # what publishing imports is there
        answers = list(pool.map(lambda d: one.post("chains", json=d), documents(slow_catalog, 8)))
        assert [(a.status_code, a.json()["code"]) for a in answers] == [(504, "timeout")] * 8
        found = pools(one)["publishing"]
        begun = len(slow_catalog.asked)  # four, and those that came so late that a place was free again
        assert found["abandoned"] == begun >= 4 and found["running"] == found["waiting"] == 0, "the others never began"
        fast = one.post("chains", json=layer.chain.to_json())
        assert (fast.status_code, fast.json()) == (201, {"hash": published[0], "problems": []})
        slow_catalog.gate.set()
        wait_for(lambda: all(counts == IDLE for counts in pools(one).values()))
        assert len(slow_catalog.asked) == begun
        assert "Traceback" not in one.log.read_text()
