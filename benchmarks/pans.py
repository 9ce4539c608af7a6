"""Ten quick pans as a browser makes them: how many of the tiles that left the screen cost nothing.

python -m benchmarks.pans
python -m benchmarks.pans --pause 0.3 --rounds 5

Each pan moves the view by two tiles, tells the service what is seen, asks for its tiles in five connections as the
map's page does, and drops what the view before showed and this one does not: what waits in the page is never asked
for, what was asked for is left by closing its connection. The service counts those (`service.stale` of its status).

Every round pans once with and once without the service's rest (`tile_service.Rest`: nothing is begun for a map that
is under way), each cold. What the rest wins are the seconds from the last pan until its view is complete, and the
processor's seconds of the server and the workers; what wins less than 5 % of both goes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import aiohttp

from benchmarks import data
from benchmarks.delivery import Delivery, Page, outwards, processor_seconds, what_is_seen
from benchmarks.peers.contestant import View, load_items, parse_view
from benchmarks.places import Target, report

PANS = 10
CONNECTIONS = 5
"""That the page's loader keeps busy: one of a browser's six stays free."""
LEAST = 2 / 3
"""Share of the stale requests of which nothing may have begun to be computed."""


GAIN = 0.05
"""What a mechanism that is there for speed has to win."""


class Pans(NamedTuple):
    """What ten pans did."""

    dropped: int
    """Tiles that left the screen before they were asked for."""
    stale: int
    """That were asked for, and left before they were there."""
    unbegun: int
    """Of these, that ended before anything was computed for them."""
    seconds: float
    """That the pans took: on a busy machine more than they were to."""
    complete: float
    """Seconds from the last pan until all tiles of its view were there."""
    processor: float
    """Seconds of the server's and the workers' processors, from the first pan until then."""

    @property
    def share(self) -> float:
        return self.unbegun / self.stale if self.stale else 1.0


class Screen:
    """The tiles of a map in a page, of which some are asked for at a time."""

    def __init__(self, session: aiohttp.ClientSession, page: Page, layer: str) -> None:
        self._session, self._url, self._layer = session, f"{page.place.geturl()}muses/", layer
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._jobs: dict[tuple[int, int, int], asyncio.Task[None]] = {}
        self._asked: set[tuple[int, int, int]] = set()
        self.dropped = 0

    async def show(self, view: View, token: str) -> None:
        """Drops what is no longer seen, and asks for what has come."""
        seen = set(view.tiles)
        for tile in [tile for tile in self._jobs if tile not in seen]:
            job = self._jobs.pop(tile)
            self.dropped += not job.done() and tile not in self._asked
            job.cancel()
        headers, body = {"Authorization": f"token {token}"}, what_is_seen(view, self._layer)
        async with self._session.post(f"{self._url}view", json=body, headers=headers) as told:
            assert told.status == 204, await told.text()
        for tile in outwards(view):
            if tile not in self._jobs:
                self._jobs[tile] = asyncio.create_task(self._load(tile))

    async def _load(self, tile: tuple[int, int, int]) -> None:
        x, y, z = tile
        async with self._free:
            self._asked.add(tile)
            async with self._session.get(f"{self._url}tiles/{self._layer}/{z}/{x}/{y}.png") as answer:
                assert answer.status == 200, answer.headers.get("X-Muses-Message")
                await answer.read()

    async def complete(self) -> None:
        """Waits for all that is seen."""
        await asyncio.gather(*self._jobs.values())


async def pans(page: Page, layer: str, first: View, pause: float) -> Pans:
    """The service's counts of ten pans, and the page's."""
    cookies = {"Cookie": page.headers["Cookie"], "Referer": page.headers["Referer"]}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS + 1)
    async with aiohttp.ClientSession(headers=cookies, connector=connector) as session:

        async def stale() -> dict[str, int]:
            async with session.get(f"{page.place.geturl()}muses/status?chains=") as answer:
                return (await answer.json())["service"]["stale"]

        screen, before = Screen(session, page, layer), await stale()
        await screen.show(first, page.token)
        await screen.complete()
        begin, used = time.perf_counter(), processor_seconds()
        for n in range(1, PANS + 1):  # right and down in turns
            left, top = first.left + 2 * -(-n // 2), first.top + 2 * (n // 2)
            await screen.show(replace(first, left=left, top=top), page.token)
            last = time.perf_counter()
            await asyncio.sleep(pause)
        seconds = time.perf_counter() - begin
        await screen.complete()
        complete, used = time.perf_counter() - last, processor_seconds() - used
        after = await stale()
    counts = {name: after[name] - before[name] for name in after}
    return Pans(screen.dropped, counts["requests"], counts["unbegun"], seconds, complete, used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=data.SMALL, help="pixels of 10 m along the tile")
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--pause", type=float, default=0.15, help="seconds between two pans (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="of the data (default: in the user's cache folder)")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    options = parser.parse_args()
    folder = (options.folder or data.default_folder(options.size)).resolve()
    data.prepare(folder, options.size, options.dates)
    items = load_items(folder)
    found: dict[bool, list[Pans]] = {True: [], False: []}
    with contextlib.ExitStack() as stack:
        delivery = Delivery("embedded", stack)
        delivery.open(folder, items)
        first = parse_view({"workload": "W1", "zoom": 14}, items)
        first = replace(first, left=first.left - 5, top=first.top - 5)
        delivery.view(first)  # imported, compiled
        layer = "/".join(delivery.published(first))
        for number in range(options.rounds):
            for rests in (True, False) if number % 2 == 0 else (False, True):
                delivery.forget()
                status, _, body = delivery.page.post("benchmarks/rest", {"on": rests})
                assert status == 200, body
                found[rests].append(asyncio.run(pans(delivery.page, layer, first, options.pause)))
    print(f"{PANS} pans, one every {options.pause:g} s")
    for rests, several in found.items():
        print(f"{'with' if rests else 'without'} rest:")
        for one in several:
            print(
                f"  dropped in the page {one.dropped:4}, stale requests {one.stale:4}, ended before computing "
                f"{one.unbegun:4} ({one.share:.0%}); panned in {one.seconds:.1f} s, complete after "
                f"{one.complete:.2f} s, processors {one.processor:.1f} s"
            )
    targets = held(found[True], found[False])
    report("Median (least–most) of the rounds; of the rest's two gains the larger one counts", targets, options.json)


def held(on: list[Pans], off: list[Pans]) -> list[Target]:
    """What pans with and without the service's rest are held to."""

    def gain(what: str) -> tuple[float, ...]:
        return tuple(1 - getattr(a, what) / getattr(b, what) for a, b in zip(on, off, strict=True))

    gains = {what: gain(what) for what in ("complete", "processor")}
    larger = max(gains.values(), key=median)
    return [
        Target("stale that ended before computing, share", tuple(one.share for one in on), "≥", LEAST),
        *(Target(f"rest wins of seconds ({what})", gained, "") for what, gained in gains.items()),
        Target("rest wins of the better of both", larger, "≥", GAIN),
    ]


if __name__ == "__main__":
    main()
