"""The order of tiles, what is evaluated before it is asked for, what is refused, and how late the event loop is."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import Future
from typing import Any

import pytest

from muses_lab.compute.admission import Admission, TooCostly, TooMuchWaiting
from muses_lab.errors import Cancelled, MusesError
from muses_lab.service import prefetch, tile_service
from muses_lab.service.failures import BadRequest
from muses_lab.service.loop_delay import EVERY, LoopDelay
from muses_lab.service.prefetch import MOST, Ring, VisibleTiles
from muses_lab.service.tile import Tile
from muses_lab.service.tile_service import URGENT, Budget, Stale, TileRequest
from muses_lab.service.views import View, Views

CHAIN, STYLE = "c" * 64, "5" * 64


def view(z: int = 10, left: float = 512, top: float = 512, width: float = 5, height: float = 3, **more: Any) -> View:
    """A view whose corner is so many tiles from the pyramid's."""

    def latitude(y: float) -> float:
        return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / 2**z))))

    west, east = (x / 2**z * 360 - 180 for x in (left, left + width))
    body = {"id": "a", "z": z, "bounds": [west, latitude(top + height), east, latitude(top)]}
    return View.from_json(body | {"layers": [f"{CHAIN}/{STYLE}"]} | more)


def test_a_view_knows_its_tiles_and_those_around_it() -> None:
    seen = view(left=512.25, top=512.25, width=4.5, height=2.5)
    assert (seen.left, seen.right, seen.top, seen.bottom, seen.tiles) == (512, 516, 512, 514, 15)
    assert set(seen.inside()) == {Tile(10, x, y) for x in range(512, 517) for y in range(512, 515)}
    ring = seen.ring()
    assert len(ring) == len(set(ring)) == 7 * 5 - 15
    assert not any(512 <= t.x <= 516 and 512 <= t.y <= 514 for t in ring)
    for tiles in (seen.inside(), ring):
        distances = [seen.distance(tile) for tile in tiles]
        assert distances == sorted(distances)


def test_a_view_over_the_date_line_has_neighbours_on_both_sides() -> None:
    seen = view(z=4, left=14, top=7, width=4, height=2)
    assert {t.x for t in seen.ring()} == {13, 14, 15, 0, 1, 2}
    assert seen.distance(Tile(4, 0, 8)) == pytest.approx(seen.distance(Tile(4, 15, 8)))
    corner = view(z=1, left=0, top=0, width=2, height=2)
    assert len(corner.inside()) == 4 and not corner.ring()


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"z": "10"}, "z"), ({"z": float("nan")}, "z"), ({"z": True}, "z"), ({"bounds": [0, 1, 2]}, "bounds"),
        ({"bounds": [10, 10, 5, 20]}, "bounds"), ({"bounds": [-180, -80, 180, 80]}, "bounds"),
        ({"layers": "all"}, "layers"), ({"layers": [f"{CHAIN}"]}, "layers"), ({"center": [1, None]}, "center"),
    ],
)  # fmt: skip
def test_a_malformed_view_is_refused_and_says_why(change: dict, argument: str) -> None:
    with pytest.raises(BadRequest) as failure:
        View.from_json({"z": 10, "center": [1, 43], "bounds": [0, 42, 2, 44], "layers": [f"{CHAIN}/{STYLE}"]} | change)
    assert failure.value.details["argument"] == argument


def test_tiles_nearest_to_the_centre_of_the_newest_view_go_first() -> None:
    views = Views()
    views.look(view())
    middle, edge = Tile(10, 514, 513), Tile(10, 512, 512)
    assert views.priority(middle) < views.priority(edge)
    views.look(view(left=510, top=511))  # panned: the edge is in the middle now
    assert views.priority(edge) < views.priority(middle)
    before = views.priority(edge)
    views.look(view(left=2, top=2))
    assert views.priority(Tile(10, 900, 900)) < before  # the newest view first, however far


def test_a_change_of_zoom_is_a_new_view_also_where_no_map_tells() -> None:
    views = Views()
    first = views.priority(Tile(9, 1, 1))
    assert views.priority(Tile(10, 1, 1)) < first
    assert views.priority(Tile(10, 900, 1)) == views.priority(Tile(10, 1, 1))  # as they are asked for
    assert not views.is_newest(Tile(9, 1, 1)) and views.is_newest(Tile(10, 1, 1))


def test_a_map_that_has_gone_leaves_the_others() -> None:
    views = Views()
    one, other = view(id="one"), view(id="other", left=20)
    views.look(one)
    views.look(other)
    views.look(view(id="other", layers=[]))
    assert views.newest == one and len(views) == 1


# Before it is asked for


class Tiles:
    """Evaluations that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[Tile] = []
        self.left = 0
        self.share: Any = None

    async def start(self, chain: str, tile: Tile) -> Any:
        self.begun.append(tile)
        self.share = Part(self)
        return self.share


class Part:
    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def result(self, seconds: float) -> None:
        await asyncio.wait_for(self.ended, seconds)

    def leave(self) -> None:
        if not self.ended.done():
            self.tiles.left += 1
            self.ended.set_exception(Cancelled("left"))


async def until(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "PAUSE", 0.01)


def test_the_ring_is_evaluated_while_nobody_waits_and_dropped_when_somebody_asks(quick: None) -> None:
    async def main() -> None:
        tiles = Tiles()
        ahead = Ring(tiles.start)
        seen = view()
        ring = seen.ring()
        ahead.busy()
        ahead.look(seen)
        await asyncio.sleep(0.05)
        assert not tiles.begun  # somebody waits
        ahead.idle()
        await until(lambda: len(tiles.begun) == 1)
        tiles.share.ended.set_result(None)
        await until(lambda: len(tiles.begun) == 2)
        ahead.busy()
        ahead.requested()
        await until(lambda: tiles.left == 1)
        await asyncio.sleep(0.05)
        assert len(tiles.begun) == 2
        ahead.idle()
        while ahead.done < len(ring):
            await until(lambda: not tiles.share.ended.done())
            tiles.share.ended.set_result(None)
            done = ahead.done
            await until(lambda done=done: ahead.done > done)
        assert tiles.begun == [ring[0], ring[1], *ring[1:]]  # what was dropped again
        await asyncio.sleep(0.05)
        assert len(tiles.begun) == len(ring) + 1

    asyncio.run(main())


def test_another_view_ends_the_ring_of_the_one_before(quick: None) -> None:
    async def main() -> None:
        tiles = Tiles()
        ahead = Ring(tiles.start)
        ahead.look(view())
        await until(lambda: tiles.begun)
        ahead.look(view(left=100))
        assert tiles.left == 1
        await until(lambda: len(tiles.begun) == 2)
        assert abs(tiles.begun[1].x - 100) < 6
        tiles.share.ended.set_exception(MusesError("no such scene"))
        await asyncio.sleep(0.05)
        assert len(tiles.begun) == 2  # whoever asks for it is told
        ahead.look(None)

    asyncio.run(main())


def test_what_a_view_shows_is_begun_at_once_and_left_when_the_next_one_does_not_show_it() -> None:
    async def main() -> None:
        parts: dict[Tile, Part] = {}

        async def start(chain: str, tile: Tile) -> Any:
            if tile == Tile(10, 512, 512):
                return None  # its pixels are there
            if tile == Tile(10, 512, 513):
                raise MusesError("no such scene")
            begun.append(tile)
            parts[tile] = Part(tiles)
            return parts[tile]

        begun: list[Tile] = []
        tiles, seen = Tiles(), VisibleTiles(start)
        seen.look(view())
        await until(lambda: len(begun) == 13)
        assert begun[0] == Tile(10, 514, 513), "the middle first; what fails or is there holds nothing up"
        before = dict(parts)
        seen.look(view(left=514))
        assert not tiles.left, "not before the new ones are joined: both may need the same"
        await until(lambda: tiles.left == 13)
        assert len(begun) == 13 + 15 and all(part.ended.done() for part in before.values())
        seen.look(view(layers=[f"{n:064}/{STYLE}" for n in range(32)]))
        await until(lambda: len(begun) == 28 + MOST)
        seen.look(view(left=700))
        seen.look(view(left=900))  # before the one in between has begun
        await until(lambda: tiles.left == 28 + MOST)
        seen.look(None)
        assert all(part.ended.done() for part in parts.values()), "nobody looks any more"

    asyncio.run(main())


# Refusals


def test_a_view_above_its_limit_is_refused_for_good_and_a_full_queue_for_a_while() -> None:
    limits = Admission(view_seconds=100, queue_seconds=300)
    limits.check(view=100, waiting=300)
    with pytest.raises(TooCostly, match=r"about 200 s|about 3 min") as view_failure:
        limits.check(view=200, waiting=0)
    assert view_failure.value.http_status == 413 and "retry_after" not in view_failure.value.details
    with pytest.raises(TooMuchWaiting, match="try again in 20 s") as failure:
        limits.check(view=1, waiting=320)
    assert (failure.value.http_status, failure.value.details["retry_after"]) == (429, 20)


# What is urgent


class Ticket:
    priority = 0.0

    def __init__(self) -> None:
        self.done: Future[bool] = Future()

    def prioritise(self, priority: float) -> None:
        self.priority = priority

    def release(self, wasted: Any = None) -> None:
        if not self.done.done():
            self.done.set_exception(Cancelled("left"))


def test_what_is_urgent_goes_before_all_tiles_as_far_as_the_budget_goes() -> None:
    budget = Budget(5)
    cheap, dear, second, usual = Ticket(), Ticket(), Ticket(), Ticket()
    asked = [TileRequest(CHAIN, Tile(10, 1, 1), -3.0, budget, urgent) for urgent in (True, True, True, False)]
    asked[0].asked(cheap, 4)
    asked[1].asked(dear, 600)
    asked[2].asked(second, 2)
    asked[3].asked(usual, 1)
    for one in asked:
        one.move(-4.0)
    assert [t.priority for t in (cheap, dear, second, usual)] == [URGENT, -4.0, -4.0, -4.0], "as tiles"
    asked[0].leave()
    asked[0].leave()
    asked[2].move(-5.0)
    assert second.priority == URGENT, "there is room again"
    asked[2].leave()
    assert budget.take(5) and not budget.take(0.1)


def test_tiles_that_were_begun_hold_no_blocks_and_end_when_they_are_left() -> None:
    async def main() -> None:
        ready, waited = Ticket(), Ticket()
        one, other = (TileRequest(CHAIN, Tile(10, 1, 1), -3.0, Budget(5)) for _ in range(2))
        ready.done.set_result(True)
        one.asked(ready, 1)
        one.holds_no_blocks()
        assert await one.ready() is None
        other.asked(waited, 1)
        other.holds_no_blocks()
        waiting = asyncio.ensure_future(other.result(20))
        await asyncio.sleep(0)
        other.leave()
        with pytest.raises(Cancelled):
            await waiting

    asyncio.run(main())


# Quick moves


def test_a_map_that_moves_again_and_again_is_waited_for_until_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    async def main() -> None:
        monkeypatch.setattr(tile_service, "QUICK", 1000.0)
        monkeypatch.setattr(tile_service, "REST", 0.05)
        rest = tile_service.Rest(held.append)
        rest.look(view(left=512))
        rest.look(view(left=512, layers=[]))
        rest.look(view(left=513))
        assert held == [], "the first move begins at once, and other layers are no move"
        rest.look(view(left=514))
        rest.look(view(left=515))
        rest.look(view(left=100, id="another map"))
        assert held == [True, True]
        await until(lambda: held[-1] is False)
        await asyncio.sleep(0.1)
        assert held == [True, True, False], "once"

    asyncio.run(main())


def test_a_tile_that_was_left_counts_once_and_as_begun_if_anything_was_computed_for_it() -> None:
    stale = Stale()
    first, second = stale.count(), stale.count()
    first()
    first()
    assert stale.summary() == {"requests": 2, "unbegun": 1}
    second()
    assert stale.summary() == {"requests": 2, "unbegun": 0}


# The event loop


def test_lag_is_what_holds_up_the_event_loop() -> None:
    async def main() -> dict[str, Any]:
        lag = LoopDelay()
        assert lag.summary()["samples"] == 0
        lag.watch()
        lag.watch()
        await asyncio.sleep(EVERY * 2)
        time.sleep(0.3)  # what no handler may do
        await asyncio.sleep(EVERY)
        return lag.summary()

    found = asyncio.run(main())
    assert found["samples"] >= 2 and found["max"] >= 200
