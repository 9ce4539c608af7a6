"""What every contestant shares: the protocol on stdin and stdout, the view's place, and the clock.

Nothing here computes pixels, and nothing but NumPy is imported, as each contestant runs in an environment of its own.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

COLUMNS, ROWS, TILE = 5, 3, 256  # the map that a user looks at
WIDTH, HEIGHT = COLUMNS * TILE, ROWS * TILE  # pixels
EDGE = math.pi * 6378137.0  # where web Mercator ends, in metres from its origin


class Unsupported(Exception):
    """This tool cannot do what was asked; the message says why."""


@dataclass(frozen=True)
class View:
    """5 x 3 tiles: what to compute, and where."""

    workload: str
    zoom: int
    left: int  # first tile column
    top: int  # first tile row
    classes: tuple[int, ...]  # scene classes that count as clear
    threshold: float | None  # results below it are left out
    dates: tuple[str, ...] | None  # ISO days; None: all of them

    @property
    def tiles(self) -> list[tuple[int, int, int]]:
        """(x, y, zoom) of every tile, row by row."""
        return [(self.left + x, self.top + y, self.zoom) for y in range(ROWS) for x in range(COLUMNS)]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in metres of EPSG:3857."""
        left, _, _, top = tile_bounds(self.left, self.top, self.zoom)
        _, bottom, right, _ = tile_bounds(self.left + COLUMNS - 1, self.top + ROWS - 1, self.zoom)
        return left, bottom, right, top

    def strips(self, count: int) -> list[tuple[tuple[float, float, float, float], int]]:
        """The view in strips over its whole width, from the top: bounds and height in pixels of each."""
        left, bottom, right, top = self.bounds
        cuts = [round(HEIGHT * i / count) for i in range(count + 1)]
        metres = (top - bottom) / HEIGHT
        return [
            ((left, top - b * metres, right, top - a * metres), b - a) for a, b in zip(cuts, cuts[1:], strict=False)
        ]

    def choose(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of items in order of time those that the view is about: W2 and W3 look at one date, the first unless told."""
        if self.dates is not None:
            items = [item for item in items if day_of(item) in self.dates]
        return list(items[:1] if self.workload in ("W2", "W3") else items)


@dataclass(frozen=True)
class Result:
    """What a contestant made of a view."""

    values: Sequence[np.ndarray]  # float, NaN or masked where nothing is valid; not coloured
    images: Sequence[bytes]  # PNG: the fifteen tiles, or the view in one
    counters: dict[str, Any]


class Contestant(Protocol):
    name: str
    version: str

    def open(self, folder: Path, items: list[dict[str, Any]]) -> None:
        """Take these items, in order of time, their hrefs absolute."""

    def forget(self) -> None:
        """Drop whatever is kept of earlier views."""

    def view(self, view: View) -> Result:
        """Compute it, to the last PNG byte."""


def tile_bounds(x: int, y: int, zoom: int) -> tuple[float, float, float, float]:
    side = 2 * EDGE / 2**zoom
    return x * side - EDGE, EDGE - (y + 1) * side, (x + 1) * side - EDGE, EDGE - y * side


def day_of(item: dict[str, Any]) -> str:
    return str(item["properties"]["datetime"])[:10]


def scale_offset(item: dict[str, Any], asset: str) -> tuple[float, float]:
    """From stored numbers to reflectance, as the item says."""
    fields = item["assets"][asset]
    band = (fields.get("raster:bands") or fields.get("bands") or [{}])[0]
    scale = fields.get("raster:scale", band.get("raster:scale", band.get("scale", 1.0)))
    offset = fields.get("raster:offset", band.get("raster:offset", band.get("offset", 0.0)))
    return float(scale), float(offset)


def ndvi_shift(item: dict[str, Any]) -> float:
    """NDVI of stored numbers is (nir - red) / (nir + red + shift): scales cancel, offsets do not."""
    scale, offset = scale_offset(item, "B08")
    if scale_offset(item, "B04") != (scale, offset):
        raise Unsupported(f"B04 and B08 of {item['id']} differ in scale or offset")
    return 2 * offset / scale


def unshadow() -> None:
    """The programs here are called like the packages that they run: `import` shall not find them first."""
    sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]


def settings(**defaults: Any) -> dict[str, Any]:
    """The best settings, unless the command line says `name=value`: so the README's table can be measured again."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := given.keys() - defaults.keys():
        raise SystemExit(f"no setting called {', '.join(sorted(unknown))}: there are {', '.join(defaults)}")
    return {name: type(value)(given.get(name, value)) for name, value in defaults.items()}


def serve(contestant: Contestant) -> None:
    """Answer requests, one JSON document per line, until told to stop."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    warnings.simplefilter("ignore")  # theirs: about types and time zones, with every tile
    items: list[dict[str, Any]] = []
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "bye":
            break
        try:
            if request["do"] == "open":
                items = load_items(Path(request["data"]))
                contestant.open(Path(request["data"]), items)
                answer: dict[str, Any] = {"ok": True, "name": contestant.name, "version": contestant.version}
            elif request["do"] == "forget":
                contestant.forget()
                answer = {"ok": True}
            else:
                answer = measure(contestant, parse_view(request, items))
        except Unsupported as why:
            answer = {"unsupported": str(why)}
        print(json.dumps(answer), file=answers)


def load_items(folder: Path) -> list[dict[str, Any]]:
    items = json.loads((folder / "items.json").read_text())["features"]
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = str((folder / asset["href"]).resolve())
    return sorted(items, key=lambda item: item["properties"]["datetime"])


def parse_view(request: dict[str, Any], items: Sequence[dict[str, Any]]) -> View:
    """Around the tile with the middle of all footprints, or from the tile that the request names as `corner`."""
    west, south, east, north = (
        pick(item["bbox"][side] for item in items) for side, pick in enumerate((min, min, max, max))
    )
    zoom = request["zoom"]
    x = math.floor(((west + east) / 2 + 180) / 360 * 2**zoom)
    latitude = math.radians((south + north) / 2)
    y = math.floor((1 - math.asinh(math.tan(latitude)) / math.pi) / 2 * 2**zoom)
    dates = request.get("dates")
    left, top = request.get("corner") or (x - COLUMNS // 2, y - ROWS // 2)
    return View(
        workload=request["workload"],
        zoom=zoom,
        left=left + request.get("shift", 0),
        top=top,
        classes=tuple(sorted(request.get("classes") or (4, 5, 6))),
        threshold=request.get("threshold"),
        dates=None if dates is None else tuple(date[:10] for date in dates),
    )


def measure(contestant: Contestant, view: View) -> dict[str, Any]:
    start, used = time.perf_counter(), time.process_time()
    result = contestant.view(view)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    if not all(image.startswith(b"\x89PNG") for image in result.images):
        raise ValueError(f"{contestant.name} made something that is no PNG")
    if folder := os.environ.get("PEERS_KEEP"):  # to look at what it drew
        for number, image in enumerate(result.images):
            Path(folder, f"{contestant.name}-{view.workload}-z{view.zoom}-{number:02}.png").write_bytes(image)
    values = np.concatenate([np.ma.filled(np.ma.asarray(part).astype("f4"), np.nan).ravel() for part in result.values])
    valid = np.isfinite(values)
    return {
        "seconds": seconds,
        "mean": float(values[valid].mean(dtype="f8")) if valid.any() else None,
        "valid": float(valid.mean()),
        "counters": {"cpu_seconds": used, "png_bytes": sum(map(len, result.images)), **result.counters},
    }
