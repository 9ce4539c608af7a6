"""A class on one map: how long its participants wait, and how often a block is computed.

python -m benchmarks.class_load                              1, 10 and 30 participants
python -m benchmarks.class_load --people 1,10 --without      without the class's evaluator, for comparison
python -m benchmarks.class_load --evaluator embedded         its blocks by an embedded cluster instead of threads

The first participants (`--servers`) are Jupyter servers, asked as a map's page asks them: six connections, the tiles
nearest to the centre first. The others are what their servers would ask of the evaluator: the same queues and the same
connections, in this process, without pages and pictures: thirty servers would take ten gigabytes. All open the same
map, pan it and zoom in and out, each at their own pace (the first views within two seconds); a tenth of them start an
export of it meanwhile, in a process of their own as a kernel is one, and wait for its end. What they look at is cold in
each round: another chain, and an evaluator that has just started.

Counted are blocks that the evaluator computed and gave away, blocks that participants' own servers computed, exports
from their start to the file, and failures with and without a reason. An export that has not ended `--export-seconds`
after the last view is ended, and told of as unfinished with what it had done by then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks import data
from benchmarks.course_service import PREFIX
from benchmarks.delivery import CONNECTIONS, EXTENSIONS, outwards, what_is_seen
from benchmarks.peers.contestant import View, load_items, parse_view
from benchmarks.places import Target, report
from benchmarks.processes import free_port, running, until_there
from muses_lab.compute.class_executor import ClassExecutor
from muses_lab.compute.class_link import ClassLink
from muses_lab.compute.queue import Executor
from muses_lab.compute.threads import ThreadsBackend
from muses_lab.compute.windows import request_window
from muses_lab.errors import MusesError

AT_ONCE = 3
"""Servers that are started together: more would only wait for each other."""
LIMIT = 2.0
"""What thirty on one map may cost, of what one costs, in evaluated blocks."""
JITTER = 2.0
"""Seconds within which all open the map."""
STEPS = ((0, 0, 0), (0, 2, 0), (0, 2, 1), (1, 0, 0), (0, 0, 0))
"""Views: levels of zoom further in, and tiles to the right and down of the first."""

EXPORT = """
import json, sys
from pathlib import Path
import muses_lab as ml
chain = ml.Chain.from_json(Path(sys.argv[1]).read_text())
window = ml.Window.from_bounds(json.loads(sys.argv[2]), crs="EPSG:4326", resolution=1e-4)
job = chain.export(sys.argv[3], window, overwrite=True, progress=False)
while not job.ended.wait(1):
    print(job, flush=True)
print(job, flush=True)
sys.exit(job.state != "done")
"""
"""A kernel's export of a chain; its last line says how far it is, or why it failed."""


@dataclass
class Person:
    """A participant: their server, and what became of their tiles."""

    name: str
    home: Path
    url: str = ""
    """Of their server; empty: there is none."""
    token: str = ""
    pid: int = 0
    executor: ClassExecutor | None = None
    """In the place of a server."""
    first: float = 0.0
    tiles: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Reasons of failures."""
    silent: int = 0
    """Failures without a reason."""


@dataclass
class Export:
    """What a participant has started."""

    person: str
    process: subprocess.Popen
    file: Path
    told: Path
    """What its process printed."""
    begun: float
    seconds: float = 0.0
    """Until its file was there."""

    @property
    def written(self) -> bool:
        return self.seconds > 0

    async def end(self) -> None:
        while self.process.poll() is None:
            await asyncio.sleep(0.1)
        if self.process.returncode == 0 and self.file.stat().st_size > 0:
            self.seconds = time.monotonic() - self.begun

    def reason(self) -> str:
        """Why there is no file: the last that was printed."""
        code, lines = self.process.poll(), self.told.read_text().strip().splitlines()
        state = "still running" if code is None else f"ended with code {code}"
        return f"{self.person}: {state}: {lines[-1] if lines else 'it has printed nothing yet'}"


@dataclass(frozen=True)
class Round:
    """What a number of participants met."""

    people: int
    first_median: float
    first_worst: float
    tile_median: float
    tile_p95: float
    tiles: int
    evaluated: int
    """Blocks that the class's evaluator computed."""
    served: int
    """That it gave away."""
    elsewhere: int
    """Blocks that participants' own servers computed."""
    exports: int
    """That were started."""
    exported: int
    """That wrote their file."""
    export_median: float
    """Seconds from their start to the file; 0: none was written."""
    export_worst: float
    unfinished: list[str]
    """Why the others did not."""
    server_mib: float
    """Of memory, the median of the servers."""
    evaluator_mib: float
    told: int
    """Failures that say why."""
    silent: int
    """Failures that do not."""
    seconds: float

    def line(self) -> str:
        exports = f"{self.exported} of {self.exports} exports written"
        if self.exported:
            exports += f" in {self.export_median:.0f} s (worst {self.export_worst:.0f})"
        return (
            f"{self.people:>3} participants: first view {self.first_median:.1f} s (worst {self.first_worst:.1f}), tile "
            f"{1000 * self.tile_median:.0f} ms, p95 {1000 * self.tile_p95:.0f} ms of {self.tiles}; "
            f"{self.evaluated} blocks computed, {self.served} served, {self.elsewhere} by own servers; "
            f"{exports}; a server {self.server_mib:.0f} MiB, the "
            f"evaluator {self.evaluator_mib:.0f} MiB; failures: {self.told} with a reason, {self.silent} without; "
            f"{self.seconds:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", default="1,10,30", help="numbers of participants (default: %(default)s)")
    parser.add_argument("--without", action="store_true", help="the class has no evaluator")
    parser.add_argument("--evaluator", choices=("threads", "embedded"), default="threads")
    parser.add_argument("--servers", type=int, default=4, help="participants with a real server (default: %(default)s)")
    parser.add_argument("--exports", type=float, default=0.1, help="share who start one (default: %(default)s)")
    wait = "for exports after the last view (default: %(default)s)"
    parser.add_argument("--export-seconds", type=float, default=300, help=wait)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two views, about")
    parser.add_argument("--zoom", type=int, default=13)
    parser.add_argument("--size", type=int, default=data.SMALL, help="pixels of 10 m along the tile")
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--folder", type=Path, help="of the data (default: in the user's cache folder)")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    options = parser.parse_args()
    folder = (options.folder or data.default_folder(options.size)).resolve()
    data.prepare(folder, options.size, options.dates)
    numbers = sorted(int(text) for text in options.people.split(","))
    with tempfile.TemporaryDirectory(prefix="muses-class-") as name:
        rounds = list(run(Path(name), folder, numbers, options))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in rounds], indent=1))
    if not options.without and len(rounds) > 1:
        one, most = rounds[0], rounds[-1]
        shares = [(most.evaluated + most.elsewhere) / max(1, one.evaluated + one.elsewhere)]
        targets = [
            Target(f"blocks computed for {most.people} of those for {one.people}", tuple(shares), "≤", LIMIT),
            Target("failures without a reason", (float(sum(r.silent for r in rounds)),), "≤", 0.0),
        ]
        report("A class on one map", targets, None)


def run(place: Path, folder: Path, numbers: list[int], options: argparse.Namespace) -> Iterator[Round]:
    """One round after the other, with the same servers."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH")))
    )
    course(place, folder)
    first = parse_view({"workload": "W1", "zoom": options.zoom}, load_items(folder))
    url = "" if options.without else f"http://127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        chain(place, folder, 0)  # from now on the catalogue is known
        begun = time.monotonic()
        people: list[Person] = []
        servers = numbers[-1] if options.without else min(options.servers, numbers[-1])
        while len(people) < servers:
            some = [start(stack, place, url, len(people) + n) for n in range(min(AT_ONCE, servers - len(people)))]
            for person, process in some:
                until_there(f"{person.url}api", process, person.home / f"{person.name}.log", 600)
                people.append(person)
        print(f"{len(people)} servers started in {time.monotonic() - begun:.0f} s", flush=True)
        own = Executor(ThreadsBackend(1))
        stack.callback(own.close)
        while len(people) < numbers[-1]:
            people.append(without_server(stack, place, url, len(people), own))
        for number, count in enumerate(numbers):
            document = chain(place, folder, number)
            with evaluator(place, url, options.evaluator) as process:
                found = asyncio.run(play(people[:count], document, first, url, process, options))
            print(found.line(), flush=True)
            yield found


def course(place: Path, folder: Path) -> None:
    """A published course that pins the scenes where they are."""
    document = json.loads((folder / "items.json").read_text())
    for item in document["features"]:
        for asset in item["assets"].values():
            asset["href"] = str(folder / asset["href"])
    target = place / "courses" / "load" / "v1" / "scenes.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(document))


def home_of(place: Path, name: str) -> Path:
    """The home of a participant or of the evaluator, which knows the catalogue of the data."""
    home = place / name
    home.mkdir(mode=0o700)
    (home / "catalogs.json").write_text((place / "catalogs.json").read_text())
    return home


def chain(place: Path, folder: Path, number: int) -> Path:
    """The document of the map of a round, with its list of scenes: what a participant's server is given."""
    os.environ["MUSES_LAB_HOME"] = str(place)
    import muses_lab as ml

    catalog = ml.open_catalog(folder / "items.json")
    (name,) = [found["id"] for found in catalog.collections()]
    keep = [[4, 5, 6], [4, 5], [4, 5, 6, 7], [4, 6], [5, 6]][number % 5]
    image = ml.collection(name, catalog).mask_clouds(keep=keep).ndvi().median("t")
    document = place / f"map-{number}.json"
    document.write_text(json.dumps(image.to_json(artefacts=True)))
    return document


def start(stack: contextlib.ExitStack, place: Path, url: str, number: int) -> tuple[Person, subprocess.Popen]:
    """A participant's server; the caller waits for it."""
    name, port, token = f"person-{number:02}", free_port(), secrets.token_hex(8)
    home = home_of(place, name)
    command = [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.base_url=/user/{name}/",
        f"--ServerApp.jpserver_extensions={EXTENSIONS | {'benchmarks.delivery_server': False}}",
    ]  # fmt: skip
    environment = {
        "JUPYTER_TOKEN": token, "JUPYTERHUB_API_TOKEN": f"of-{name}", "MUSES_LAB_HOME": str(home),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "MUSES_COMPUTE": "threads", "MUSES_WORKER_NICE": "10",
        "MUSES_WORKER_BYTES": str(256 << 20), "MUSES_COURSE_URL": f"{url}{PREFIX}" if url else "",
    }  # fmt: skip
    process = stack.enter_context(running(command, home, name, **environment))
    return Person(name, home, f"http://127.0.0.1:{port}/user/{name}/", token, process.pid), process


def without_server(stack: contextlib.ExitStack, place: Path, url: str, number: int, own: Executor) -> Person:
    """A participant in this process; what the evaluator does not compute for one is computed by `own`, for all."""
    name = f"person-{number:02}"
    executor = ClassExecutor(own, ClassLink(f"{url}{PREFIX}", lambda: f"of-{name}"))
    stack.callback(executor.close)
    return Person(name, home_of(place, name), executor=executor)


@contextlib.contextmanager
def evaluator(place: Path, url: str, kind: str) -> Iterator[subprocess.Popen | None]:
    """One that has just started: it knows nothing yet."""
    if not url:
        yield None
        return
    home = place / "evaluator"
    if not home.exists():
        home_of(place, "evaluator")
    command = [sys.executable, "-m", "benchmarks.course_service", url, *(["embedded"] if kind == "embedded" else [])]
    environment = {
        "MUSES_LAB_HOME": str(home), "MUSES_COURSES": str(place / "courses"), "MUSES_LEASE_GRACE": "1",
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }  # fmt: skip
    with running(command, home, "evaluator", **environment) as process:
        until_there(f"{url}{PREFIX}/health", process, home / "evaluator.log")
        time.sleep(3)  # its engine is loaded
        yield process


async def play(
    people: list[Person], document: Path, first: View, url: str, process: Any, options: argparse.Namespace
) -> Round:
    """All of them at once."""
    for person in people:
        person.tiles, person.told, person.silent, person.first = [], [], 0, 0.0
    exporting = people[: max(1, round(options.exports * len(people)))] if options.exports else []
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        before = await elsewhere(people)
        exports = [stack.enter_context(export(person, document, first)) for person in exporting]
        ending = [asyncio.create_task(one.end()) for one in exports]
        await asyncio.gather(*(participant(person, document, first, options.pause) for person in people))
        seconds = time.monotonic() - begun
        after = await elsewhere(people)
        counts = await counted(url)
        memory = [mib(psutil.Process(person.pid)) for person in people if person.pid]
        own = 0.0 if process is None else sum(map(mib, [one := psutil.Process(process.pid), *one.children(True)]))
        if ending:
            _, late = await asyncio.wait(ending, timeout=options.export_seconds)
            for task in late:
                task.cancel()
        unfinished = [one.reason() for one in exports if not one.written]
    written = sorted(one.seconds for one in exports if one.written)
    tiles = sorted(seconds for person in people for seconds in person.tiles)
    firsts = sorted(person.first for person in people)
    for reason in {reason for person in people for reason in person.told}:
        print(f"    told: {reason[:200]}")
    for reason in unfinished:
        print(f"    export of {reason[:300]}")
    return Round(
        people=len(people), first_median=statistics.median(firsts), first_worst=firsts[-1],
        tile_median=statistics.median(tiles), tile_p95=tiles[int(0.95 * (len(tiles) - 1))], tiles=len(tiles),
        evaluated=counts["evaluated"], served=counts["served"], elsewhere=after - before,
        exports=len(exports), exported=len(written),
        export_median=statistics.median(written) if written else 0.0, export_worst=written[-1] if written else 0.0,
        unfinished=unfinished, server_mib=statistics.median(memory), evaluator_mib=own,
        told=sum(len(person.told) for person in people), silent=sum(person.silent for person in people),
        seconds=seconds,
    )  # fmt: skip


def views(first: View) -> Iterator[View]:
    """What they look at, one view after the other."""
    for closer, right, down in STEPS:
        scale = 2**closer
        left, top = (first.left + 2) * scale - 2 + right, (first.top + 1) * scale - 1 + down
        yield replace(first, zoom=first.zoom + closer, left=left, top=top)


async def participant(person: Person, document: Path, first: View, pause: float) -> None:
    """One who opens the map, pans, zooms, and asks for the values of a place."""
    pace = random.Random(person.name)  # the same every time
    if person.executor is not None:
        await simulated(person, document, first, pause, pace)
        return
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    headers = {"Authorization": f"token {person.token}"}
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(f"{person.url}", headers=headers, connector=connector, timeout=timeout) as page:
        await asyncio.sleep(pace.uniform(0, JITTER))
        begun = time.monotonic()
        chain = await published(page, "muses/chains", document.read_bytes())
        style = await published(page, "muses/styles", json.dumps(STYLE).encode())
        for view in views(first):
            await shown(person, page, view, chain, style)
            person.first = person.first or time.monotonic() - begun
            await asyncio.sleep(pace.uniform(0.5, 1.5) * pause)
        west, south, east, north = what_is_seen(first, "")["bounds"]
        query = f"lon={(west + east) / 2}&lat={(south + north) / 2}&z={first.zoom}"
        await asked(person, page, f"muses/values/{chain}?{query}")


async def simulated(person: Person, document: Path, first: View, pause: float, pace: random.Random) -> None:
    """The same as the participant's server would ask it of the evaluator."""
    import muses_lab as ml

    assert person.executor is not None
    executor, published = person.executor, ml.Chain.from_json(document.read_text()).published
    connections = asyncio.Semaphore(CONNECTIONS)

    async def tile(place: tuple[int, int, int], priority: float) -> None:
        async with connections:
            begun = time.monotonic()
            x, y, z = place
            try:
                ticket = await asyncio.to_thread(request_window, executor, published, ml.Window.tile(z, x, y), priority)
                await asyncio.wrap_future(ticket.done)
                await asyncio.to_thread(ticket.result, 0)
            except MusesError as error:
                person.told.append(error.message)
            else:
                person.tiles.append(time.monotonic() - begun)

    await asyncio.sleep(pace.uniform(0, JITTER))
    begun = time.monotonic()
    for view in views(first):
        await asyncio.gather(*(tile(place, number) for number, place in enumerate(outwards(view))))
        person.first = person.first or time.monotonic() - begun
        await asyncio.sleep(pace.uniform(0.5, 1.5) * pause)


STYLE = {"type": "muses:style", "version": 1, "cmap": "viridis", "vmin": 0, "vmax": 1}


async def published(page: aiohttp.ClientSession, path: str, body: bytes) -> str:
    async with page.post(path, data=body, headers={"Content-Type": "application/json"}) as answer:
        found = await answer.json()
        if answer.status != 201:
            raise SystemExit(f"{path}: {answer.status} {found}")
        return found["hash"]


async def shown(person: Person, page: aiohttp.ClientSession, view: View, chain: str, style: str) -> None:
    """A view, complete."""
    async with page.post("muses/view", json=what_is_seen(view, f"{chain}/{style}")):
        pass
    paths = [f"muses/tiles/{chain}/{style}/{z}/{x}/{y}.png" for x, y, z in outwards(view)]
    person.tiles += [took for took in await asyncio.gather(*(asked(person, page, path) for path in paths)) if took]


async def asked(person: Person, page: aiohttp.ClientSession, path: str) -> float | None:
    """Seconds until an answer was there; None where it failed."""
    begun = time.monotonic()
    try:
        async with page.get(path) as answer:
            await answer.read()
            if answer.status == 200:
                return time.monotonic() - begun
            reason = answer.headers.get("X-Muses-Message")
    except (aiohttp.ClientError, TimeoutError):
        reason = None
    if reason:
        person.told.append(reason)
    else:
        person.silent += 1
    return None


async def elsewhere(people: list[Person]) -> int:
    """Blocks that were not computed by the evaluator."""
    own = {id(one.executor.own): one.executor.own for one in people if one.executor is not None}
    here = sum(executor.status()["counts"]["finished"] for executor in own.values())
    return here + sum(await asyncio.gather(*(of_server(person) for person in people if person.url)))


async def of_server(person: Person) -> int:
    """Blocks that a participant's own server has computed."""
    headers = {"Authorization": f"token {person.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as page,
        page.get(f"{person.url}muses/status?chains=") as answer,
    ):
        queue = (await answer.json())["queue"]
    if queue is None:
        return 0
    return queue["class"]["elsewhere"] if "class" in queue else queue["counts"]["finished"]


async def counted(url: str) -> dict[str, int]:
    """Blocks that the class's evaluator has computed and given away."""
    found = dict.fromkeys(("evaluated", "served"), 0)
    if url:
        async with aiohttp.ClientSession() as page, page.get(f"{url}{PREFIX}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                for name in found:
                    if line.startswith(f"muses_course_blocks_{name}_total "):
                        found[name] = int(float(line.split()[1]))
    return found


@contextlib.contextmanager
def export(person: Person, document: Path, view: View) -> Iterator[Export]:
    """An export of what is seen at first, as a kernel of the participant's makes it; ended with the round."""
    environment = {
        **os.environ, "MUSES_LAB_HOME": str(person.home), "MUSES_COMPUTE": "threads", "MUSES_WORKER_NICE": "10",
        "MUSES_THREADS": "1", "MUSES_WORKER_BYTES": str(256 << 20),
    }  # fmt: skip
    bounds = json.dumps(what_is_seen(view, "")["bounds"])
    file, told = person.home / "export.tif", person.home / "export.txt"
    file.unlink(missing_ok=True)  # of the round before
    command = [sys.executable, "-c", EXPORT, str(document), bounds, str(file)]
    with told.open("w") as out:
        process = subprocess.Popen(command, env=environment, cwd=person.home, stdout=out, stderr=out)
    try:
        yield Export(person.name, process, file, told, time.monotonic())
    finally:
        process.kill()
        process.wait()


def mib(process: psutil.Process) -> float:
    """Memory of a process that is its own."""
    return process.memory_full_info().uss / 2**20


if __name__ == "__main__":
    main()
