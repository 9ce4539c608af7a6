"""`make bench`: this engine, the limit and other systems on the same views in the same run, interleaved.

make bench                                    the small data set, all but `long`, peers whose environments are there
make bench ARGS="--full --peers --rounds 5"   the data of a whole tile; peers' environments are made first
make bench ARGS="--data unlike"               data as archives have them, not as the benchmarks make their own
make bench ARGS="--only W1,W2 --no-peers --json result.json"
make bench ARGS="--only W1,W4 --no-peers --against main"     this checkout beside another
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import compare, contestants, data, remote, report
from benchmarks.contestants import Process
from benchmarks.needs import needs
from benchmarks.peers.contestant import parse_view
from benchmarks.protocol import read_items
from benchmarks.samples import Sample

WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8")
MORE = ("many", "remote", "long", "embedded", "gateway")
PROGRAMS = ("series", "pixels", "places", "pans", "first_points", "medians", "exports")
"""Operators, values of places and polygons beside other packages, what pans cost, exports and their files: programs of
their own, run after the views."""
BESIDE_PEERS = ("places", "medians")
FULL_TOO = ("medians",)
"""Programs that have a whole tile's data, too."""
WAYS = ("embedded", "gateway")
"""Through HTTP and Dask."""
ALL = (*WORKLOADS, *MORE, *PROGRAMS)
DELIVERED = ("W1", "W2", "W3", "W4")
CLEAR, OTHERS = [4, 5, 6], [4, 5, 6, 7, 11]
THRESHOLD = {"W4": 0.08}
SETS = {"W5": "two-zones", "many": "many", "long": "long"}
"""Folders of what has data of its own."""


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.folder
        self.zooms = data.zooms(options.size)
        self.items = read_items(self.folder)
        self.ours = {"muses": contestants.HERE.parent}
        """Checkouts of this engine."""
        if options.against:
            self.ours[compare.BEFORE] = compare.checkout(options.against)
        self.samples: list[Sample] = []
        self.processes: dict[str, Process] = {}
        self.peers: list[Process] = []
        self.opened: dict[str, dict[str, Any]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    # -------------------------------------------------------------------------------------------------- start

    def start(self) -> None:
        """All contestants, warm: imported, compiled, and each with its data set."""
        wanted = self.options.only
        self._add(contestants.limit(self.options.limit_here), self.folder)
        if "remote" in wanted:
            self.server = self._stack.enter_context(remote.serving(self.folder))
            place = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            late = self.server.items(self.folder, place / "remote")
        for label, at in self.ours.items():
            self._add(contestants.muses(label, at), self.folder)
            for name, folder in SETS.items():
                if name in wanted:
                    self._add(contestants.muses(f"{label} {name}", at), self.folder / folder)
            if "remote" in wanted:
                self._add(contestants.muses(f"{label} remote", at, MUSES_ALLOWED_HOSTS="127.0.0.1"), late)
            for way in WAYS:
                if way in wanted:
                    self._add(contestants.delivery(way, f"{label} {way}", at), self.folder)
        if not self.options.no_peers:
            for process in contestants.peers(make=self.options.peers):
                self._add(process, self.folder)
                self.peers.append(process)

    def _add(self, process: Process, folder: Path) -> None:
        self._stack.callback(process.end)
        self.processes[process.label] = process
        process.ask(do="open", data=str(self.folder / "warm-up"))
        for workload in self._workloads:
            process.view(workload=workload, zoom=14, classes=CLEAR)
            process.view(workload=workload, zoom=13, classes=CLEAR, threshold=0.1)
        self.opened[process.label] = process.ask(do="open", data=str(folder))
        print(f"ready: {process.label} {self.opened[process.label]['version']}", file=sys.stderr)

    @property
    def _workloads(self) -> list[str]:
        return [w for w in WORKLOADS if w in self.options.only] or ["W1"]

    # ------------------------------------------------------------------------------------------------ measure

    def measure(self) -> None:
        rounds = self.options.rounds
        for number in range(-1, rounds):  # one before it counts: files come into the page cache
            start = time.monotonic()
            for zoom in self.zooms:
                for workload in self._workloads:
                    self._cell(workload, zoom, number)
                for name in MORE:
                    if name in self.options.only and name not in WAYS:
                        self._special(name, zoom, number)
            if "W1" in self.options.only and number >= 0:
                self._fresh(number)
            print(f"round {number + 1} of {rounds}: {time.monotonic() - start:.0f} s", file=sys.stderr)

    def _view(self, workload: str, zoom: int) -> dict[str, Any]:
        """In the middle of the footprints of the projection that most items have; of W5, of all."""
        view = {"workload": workload, "zoom": zoom, "classes": CLEAR}
        if workload == "W5":
            return view
        ((most, _),) = Counter(item["properties"]["proj:code"] for item in self.items).most_common(1)
        found = parse_view(view, [item for item in self.items if item["properties"]["proj:code"] == most])
        return {**view, "corner": [found.left, found.top]}

    def _turns(self, number: int) -> list[str]:
        """Everyone, in an order that changes with the round; peers in the first ones."""
        peers = [p.label for p in self.peers if 0 <= number < self.options.peer_rounds]
        everyone = ["limit", *self.ours, *peers]
        turn = max(number, 0) % len(everyone)
        return everyone[turn:] + everyone[:turn]

    def _cell(self, workload: str, zoom: int, number: int) -> None:
        """A workload at a zoom: everyone once."""
        view = self._view(workload, zoom)
        if workload == "W5":
            one = self._view("W1", zoom)
            for label in self.ours:
                self._keep(f"{label} W5", "cold", number, view, self.processes[f"{label} W5"].cold(**view))
                self._keep(label, "beside W5", number, one, self.processes[label].cold(**one))
            return
        for label in self._turns(number):
            self._keep(label, "cold", number, view, self.processes[label].cold(**view))
            if label in self.ours:
                if not self.options.cold:
                    self._after(label, view, number)
                for way in WAYS:
                    if way in self.options.only and workload in DELIVERED:
                        self._delivered(self.processes[f"{label} {way}"], view, number)

    def _after(self, label: str, view: dict[str, Any], number: int) -> None:
        """What follows the first look: each changes one thing of the view that is known."""
        changes: dict[str, dict[str, Any]] = {
            "again": {},
            "classes": {"classes": OTHERS},
            "threshold": {"threshold": THRESHOLD.get(view["workload"], 0.4)},
            "moved": {"shift": 1},
            "moved again": {"shift": 1},
            "zoomed": self._view(view["workload"], view["zoom"] + 1),
        }
        if view["workload"] in ("W2", "W3"):
            del changes["classes"]  # they have no mask
        for variant, change in changes.items():
            self._keep(label, variant, number, view, self.processes[label].view(**{**view, **change}))

    def _delivered(self, process: Process, view: dict[str, Any], number: int) -> None:
        """A page's first look, the same after a reload, and what its panel changes."""
        self._keep(process.label, "cold", number, view, process.cold(**view))
        self._keep(process.label, "reloaded", number, view, process.view(**view))
        self._keep(process.label, "palette", number, view, process.view(**view, how={"palette": True}))
        if view["workload"] not in ("W2", "W3"):
            self._keep(process.label, "classes", number, view, process.view(**{**view, "classes": OTHERS}))
        if view["workload"] == "W1":
            self._keep(process.label, "beside others", number, view, process.cold(**view, how={"status": True}))

    def _special(self, name: str, zoom: int, number: int) -> None:
        view = self._view("W1", zoom)
        for label in self.ours:
            process = self.processes[f"{label} {name}"]
            before = self.server.requests if name == "remote" else 0
            answer = process.cold(**view)
            assert answer is not None
            if name == "remote":
                answer["counters"]["requests"] = self.server.requests - before
            self._keep(process.label, "cold", number, view, answer)
        beside = self.processes["limit" if name == "remote" else "muses"]  # what it is compared with, at the same time
        self._keep(beside.label, f"beside {name}", number, view, beside.cold(**view))

    def _fresh(self, number: int) -> None:
        """The first two views of a process, both cold, and how many functions it then calls for a tile."""
        view, tile = self._view("W1", self.zooms[-1]), self._view("W2", self.zooms[-1])
        for label, at in self.ours.items():
            process = contestants.muses(f"{label} fresh", at)
            process.ask(do="open", data=str(self.folder))
            for variant in ("first", "second"):
                self._keep(process.label, variant, number, view, process.cold(**view))
            process.ask(do="calls", **tile)  # what is done once in a process is done
            self._keep(
                process.label, "calls", number, tile, {"seconds": 0.0, "counters": process.ask(do="calls", **tile)}
            )
            process.end()

    def _keep(self, label: str, variant: str, number: int, view: dict[str, Any], answer: dict[str, Any] | None) -> None:
        if answer is not None and number >= 0:
            self.samples.append(Sample(label, view["workload"], view["zoom"], variant, number, **answer))

    # ------------------------------------------------------------------------------------------------- compare

    def new_blocks(self, workload: str, zoom: int) -> int:
        """How many blocks a view one column to the east needs that the view itself does not."""

        def blocks(shift: int) -> set[tuple[str, int, int, int]]:
            view = parse_view({**self._view(workload, zoom), "shift": shift}, self.items)
            found = needs(view, self.items, self.folder)
            return {(need.path, need.factor, *block) for need in found for block in need.blocks}

        return len(blocks(1) - blocks(0))

    def new(self) -> dict[tuple[str, int], int]:
        return {(w, z): self.new_blocks(w, z) for w in self._workloads if w != "W5" for z in self.zooms}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures this engine against the limit and against other systems.")
    parser.add_argument("--full", action="store_true", help="a whole tile of 10 980 x 10 980 pixels (5 GB)")
    parser.add_argument(
        "--size", type=int, default=data.SMALL, help="pixels of 10 m along the tile (default: %(default)s)"
    )
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-rounds", type=int, default=2, help="peers take seconds a view (default: 2)")
    parser.add_argument("--only", default="", help=f"of {', '.join(ALL)}; by default all but long")
    parser.add_argument("--cold", action="store_true", help="first looks only, not what follows them")
    parser.add_argument("--peers", action="store_true", help="make the peers' environments where they are missing")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--limit-here", action="store_true", help="measure L with the libraries of this environment")
    parser.add_argument("--data", default="own", choices=data.KINDS, help="which kind (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="of the data (default: in the user's cache folder)")
    parser.add_argument("--against", metavar="REF", help="a commit of this repository, measured beside this checkout")
    parser.add_argument("--json", type=Path, help="file for all samples and ratios")
    found = parser.parse_args()
    found.size = data.FULL if found.full else found.size
    found.folder = (found.folder or data.default_folder(found.size, found.data)).resolve()
    found.no_peers |= (
        found.data == "unlike"
    )  # they warp every date, and so take another for the one in another projection
    names = [name for name in found.only.split(",") if name] or [name for name in ALL if name != "long"]
    if unknown := set(names) - {*ALL}:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    found.only = names
    return found


def main() -> None:
    wanted = options()
    if not set(wanted.only) <= {*PROGRAMS}:
        views(wanted)
    for name in PROGRAMS:
        if name in wanted.only:
            print(f"\n{name}", flush=True)
            peers = ["--peers"] * wanted.peers + ["--no-peers"] * wanted.no_peers if name in BESIDE_PEERS else []
            full = ["--full"] * (wanted.full and name in FULL_TOO)
            command = [sys.executable, "-m", f"benchmarks.{name}", *peers, *full]
            subprocess.run(command, cwd=contestants.HERE.parent, check=True)


def views(wanted: argparse.Namespace) -> None:
    """Views of everybody."""
    also = [folder for name, folder in SETS.items() if name in wanted.only]
    data.prepare(wanted.folder, wanted.size, wanted.dates, also, wanted.data)
    with Run(wanted) as run:
        run.start()
        run.measure()
        rows, table = report.make(run.samples, run.zooms, run.new(), run.opened)
        print(table)
    if wanted.json:
        document = {
            "size": wanted.size,
            "data": wanted.data,
            "zooms": run.zooms,
            "contestants": run.opened,
            "targets": [asdict(row) for row in rows],
            "samples": [asdict(sample) for sample in run.samples],
        }
        wanted.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
