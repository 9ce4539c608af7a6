"""The conversation of a contestant with `run.py`: requests on stdin, answers on stdout, one JSON document per line."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers.contestant import View, parse_view

ASSETS = {
    "W1": ("B04", "B08", "SCL"), "W2": ("B04", "B08"), "W3": ("B04", "B08"), "W4": ("B02", "B03", "B04", "SCL"),
    "W5": ("B04", "B08", "SCL"), "W6": ("B02", "B03", "B04", "B08", "SCL"), "W7": ("B04", "B08", "SCL"),
    "W8": ("B02", "B04", "B08", "SCL"),
}  # fmt: skip
"""The assets that a workload reads."""
FOCAL = 2
"""Radius of W3's window in pixels: 5 × 5."""


class Contestant(Protocol):
    name: str
    version: str

    def open(self, folder: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Take a data set (hrefs relative to its folder); what there is to say about that."""

    def forget(self) -> None:
        """Drop whatever is kept of earlier views."""

    def view(self, view: View, **how: Any) -> dict[str, Any]:
        """Compute it: seconds, mean, valid, counters. `how`: what only the whole way knows (see `delivery.py`)."""

    def calls(self, view: View) -> dict[str, Any]:
        """Only our engine: how many of our functions run for the view's middle tile, by room (see `engine.py`)."""


def serve(contestant: Contestant) -> None:
    """Answers requests until told to stop."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    items: list[dict[str, Any]] = []
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "bye":
            break
        if request["do"] == "open":
            folder = Path(request["data"])
            items = read_items(folder)
            said = contestant.open(folder, items)
            answer = {"ok": True, "name": contestant.name, "version": contestant.version, **said}
        elif request["do"] == "forget":
            contestant.forget()
            answer = {"ok": True}
        elif request["do"] == "calls":
            answer = contestant.calls(parse_view(request, items))
        else:
            answer = contestant.view(parse_view(request, items), **request.get("how", {}))
        print(json.dumps(answer), file=answers)


def read_items(folder: Path) -> list[dict[str, Any]]:
    features = json.loads((folder / "items.json").read_text())["features"]
    return sorted(features, key=lambda item: item["properties"]["datetime"])


def level_of(pixel: float, native: float) -> int:
    """How often pixels may be halved before they are larger than those of the view: overviews 2^level are read."""
    return max(0, math.floor(math.log2(pixel / native) + 1e-6))
