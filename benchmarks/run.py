"""`make bench`: this engine, the limit and other systems on the same views in the same run, interleaved.

make bench                                    the small data set, all but `long`, peers whose environments are there
make bench ARGS="--full --peers --rounds 5"   the data of a whole tile; peers' environments are made first
make bench ARGS="--only W1,W2 --no-peers --json result.json"
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import contestants, data, remote, report
from benchmarks.contestants import Program
from benchmarks.needs import needs
from benchmarks.protocol import look, read_items

WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W7")
MORE = ("many", "remote", "long", "embedded", "gateway")
WAYS = ("embedded", "gateway")
"""Through HTTP and Dask."""
DELIVERED = ("W1", "W2", "W3", "W4")
CLEAR, OTHERS = [4, 5, 6], [4, 5, 6, 7, 11]
THRESHOLD = {"W4": 0.08}
HOME = "MGRS-31TCJ"
"""The grid in whose middle the view is, where a data set has others."""


@dataclass(frozen=True)
class Sample:
    """One view by one contestant."""

    contestant: str
    workload: str
    zoom: int
    variant: str
    round: int
    seconds: float
    mean: float | None = None
    valid: float | None = None
    counters: dict[str, Any] = field(default_factory=dict)


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.data
        self.zooms = data.zooms(options.size)
        self.samples: list[Sample] = []
        self.programs: dict[str, Program] = {}
        self.peers: list[Program] = []
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
        self._add(contestants.muses(), self.folder)
        for name, folder in (("W5", "two-zones"), ("many", "many"), ("long", "long")):
            if name in wanted:
                self._add(contestants.muses(f"muses {name}"), self.folder / folder)
        if "remote" in wanted:
            server = self._stack.enter_context(remote.serving(self.folder))
            place = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            program = contestants.muses("muses remote", MUSES_ALLOWED_HOSTS="127.0.0.1")
            self._add(program, server.items(self.folder, place / "remote"))
            self.server = server
        for way in WAYS:
            if way in wanted:
                self._add(contestants.delivery(way), self.folder)
        if not self.options.no_peers:
            for program in contestants.peers(make=self.options.peers):
                self._add(program, self.folder)
                self.peers.append(program)

    def _add(self, program: Program, folder: Path) -> None:
        self._stack.callback(program.end)
        self.programs[program.label] = program
        program.ask(do="open", data=str(self.folder / "warm-up"))
        for workload in self._workloads:
            program.view(workload=workload, zoom=14, classes=CLEAR)
            program.view(workload=workload, zoom=13, classes=CLEAR, threshold=0.1)
        self.opened[program.label] = program.ask(do="open", data=str(folder))
        print(f"ready: {program.label} {self.opened[program.label]['version']}", file=sys.stderr)

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
            print(f"round {number + 1} of {rounds}: {time.monotonic() - start:.0f} s", file=sys.stderr)

    def _cell(self, workload: str, zoom: int, number: int) -> None:
        """A workload at a zoom: everyone once, in an order that changes with the round."""
        view = {"workload": workload, "zoom": zoom, "classes": CLEAR}
        if workload == "W5":
            self._keep("muses W5", "cold", number, view, self.programs["muses W5"].cold(**view))
            one = {**view, "workload": "W1"}
            self._keep("muses", "beside W5", number, one, self.programs["muses"].cold(**one))
            return
        everyone = ["limit", "muses", *(p.label for p in self.peers if 0 <= number < self.options.peer_rounds)]
        turn = max(number, 0) % len(everyone)
        for label in everyone[turn:] + everyone[:turn]:
            self._keep(label, "cold", number, view, self.programs[label].cold(**view))
            if label == "muses":
                self._after(view, number)
                for way in WAYS:
                    if way in self.options.only and workload in DELIVERED:
                        self._delivered(self.programs[f"muses {way}"], view, number)

    def _after(self, view: dict[str, Any], number: int) -> None:
        """What follows the first look: each changes one thing of the view that is known."""
        muses, threshold = self.programs["muses"], THRESHOLD.get(view["workload"], 0.4)
        changes: dict[str, dict[str, Any]] = {
            "again": {},
            "classes": {"classes": OTHERS},
            "threshold": {"threshold": threshold},
            "moved": {"shift": 1},
            "moved again": {"shift": 1},
            "zoomed": {"zoom": view["zoom"] + 1},
        }
        if view["workload"] in ("W2", "W3"):
            del changes["classes"]  # they have no mask
        for variant, change in changes.items():
            self._keep("muses", variant, number, view, muses.view(**{**view, **change}))

    def _delivered(self, program: Program, view: dict[str, Any], number: int) -> None:
        """A page's first look, the same after a reload, and what its panel changes."""
        self._keep(program.label, "cold", number, view, program.cold(**view))
        self._keep(program.label, "reloaded", number, view, program.view(**view))
        self._keep(program.label, "palette", number, view, program.view(**view, how={"palette": True}))
        if view["workload"] not in ("W2", "W3"):
            self._keep(program.label, "classes", number, view, program.view(**{**view, "classes": OTHERS}))
        if view["workload"] == "W1":
            self._keep(program.label, "beside others", number, view, program.cold(**view, how={"status": True}))

    def _special(self, name: str, zoom: int, number: int) -> None:
        view = {"workload": "W1", "zoom": zoom, "classes": CLEAR}
        program = self.programs[f"muses {name}"]
        if name == "remote":
            before = self.server.requests
            answer = program.cold(**view)
            assert answer is not None
            answer["counters"]["requests"] = self.server.requests - before
        else:
            answer = program.cold(**view, at=HOME)
        self._keep(program.label, "cold", number, view, answer)
        beside = self.programs["limit" if name == "remote" else "muses"]  # what it is compared with, at the same time
        self._keep(beside.label, f"beside {name}", number, view, beside.cold(**view))

    def _keep(self, label: str, variant: str, number: int, view: dict[str, Any], answer: dict[str, Any] | None) -> None:
        if answer is not None and number >= 0:
            self.samples.append(Sample(label, view["workload"], view["zoom"], variant, number, **answer))

    # ------------------------------------------------------------------------------------------------- compare

    def new_blocks(self, workload: str, zoom: int) -> int:
        """How many blocks a view one column to the east needs that the view itself does not."""
        items = read_items(self.folder)

        def blocks(shift: int) -> set[tuple[str, int, int, int]]:
            view = look({"workload": workload, "zoom": zoom, "shift": shift}, items)
            found = needs(view, items, self.folder)
            return {(need.path, need.factor, *block) for need in found for block in need.blocks}

        return len(blocks(1) - blocks(0))

    def new(self) -> dict[tuple[str, int], int]:
        return {(w, z): self.new_blocks(w, z) for w in self._workloads if w != "W5" for z in self.zooms}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures this engine against the limit and against other systems.")
    parser.add_argument("--full", action="store_true", help="a whole tile of 10 980 x 10 980 pixels (30 GB)")
    parser.add_argument(
        "--size", type=int, default=data.SMALL, help="pixels of 10 m along the tile (default: %(default)s)"
    )
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-rounds", type=int, default=2, help="peers take seconds a view (default: 2)")
    parser.add_argument("--only", default="", help=f"of {', '.join((*WORKLOADS, *MORE))}; by default all but long")
    parser.add_argument("--peers", action="store_true", help="make the peers' environments where they are missing")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--limit-here", action="store_true", help="measure L with the libraries of this environment")
    parser.add_argument("--data", type=Path, help="folder of the data (default: in the user's cache folder)")
    parser.add_argument("--json", type=Path, help="file for all samples and ratios")
    found = parser.parse_args()
    found.size = data.FULL if found.full else found.size
    found.data = (found.data or data.default_folder(found.size)).resolve()
    names = [name for name in found.only.split(",") if name] or [*WORKLOADS, "many", "remote", *WAYS]
    if unknown := set(names) - {*WORKLOADS, *MORE}:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}; there are {', '.join((*WORKLOADS, *MORE))}")
    found.only = names
    return found


def main() -> None:
    wanted = options()
    also = [folder for name, folder in (("W5", "two-zones"), ("many", "many"), ("long", "long")) if name in wanted.only]
    data.prepare(wanted.data, wanted.size, wanted.dates, also)
    with Run(wanted) as run:
        run.start()
        run.measure()
        rows, table = report.make(run.samples, run.zooms, run.new(), run.opened)
        print(table)
    if wanted.json:
        document = {
            "size": wanted.size,
            "zooms": run.zooms,
            "contestants": run.opened,
            "targets": [asdict(row) for row in rows],
            "samples": [asdict(sample) for sample in run.samples],
        }
        wanted.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
