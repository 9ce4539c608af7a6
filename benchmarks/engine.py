"""This engine as a contestant: workloads as users write them, a view as a map asks for it (15 tiles at once, PNG)."""

from __future__ import annotations

import datetime as dt
import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import psutil
import rasterio

_HOME = tempfile.TemporaryDirectory(prefix="muses-lab-benchmarks-")
os.environ["MUSES_LAB_HOME"] = _HOME.name  # before anything is imported that looks there

import muses_lab as ml  # noqa: E402
from benchmarks.peers.contestant import View, day_of  # noqa: E402
from benchmarks.protocol import FOCAL, serve  # noqa: E402
from muses_lab import compute, engine, settings  # noqa: E402
from muses_lab.api.chain import Chain  # noqa: E402
from muses_lab.api.collection import Collection  # noqa: E402
from muses_lab.api.layer import Layer  # noqa: E402
from muses_lab.compute import windows  # noqa: E402
from muses_lab.engine import mosaic  # noqa: E402
from muses_lab.render import render  # noqa: E402

COLLECTION = "sentinel-2-l2a"


# ------------------------------------------------------------------------------------------------- the workloads


def ndvi_median(s2: Collection, classes: list[int]) -> Chain:
    return s2.mask_clouds(keep=classes).ndvi().median("t")


def ndvi_of_one_date(s2: Collection, classes: list[int]) -> Chain:
    return s2.ndvi().first("t")


def focal_mean(s2: Collection, classes: list[int]) -> Chain:
    return s2.ndvi().first("t").focal_mean(FOCAL)


def rgb_median(s2: Collection, classes: list[int]) -> Chain:
    return s2.mask_clouds(keep=classes).bands("red", "green", "blue").median("t")


def expression(s2: Collection, classes: list[int]) -> Chain:
    """Thirty operations on four bands for every date, then the median."""
    clear = s2.mask_clouds(keep=classes)
    blue, green, red, nir = (clear.band(name) for name in ("blue", "green", "red", "nir"))
    ndvi = (nir - red) / (nir + red)
    ndwi = (green - nir) / (green + nir)
    evi = (nir - red) * 2.5 / (nir + red * 6.0 - blue * 7.5 + 1.0)
    savi = (nir - red) * 1.5 / (nir + red + 0.5)
    brightness = (blue + green + red + nir) / 4
    vegetation = (ndvi > 0.2) & (ndwi < 0.1)
    dark = brightness < 0.03
    score = evi * 0.5 + savi * 0.3 + ndvi * 0.2
    return score.where(vegetation).where(~dark).median("t")


def quantiles(s2: Collection, classes: list[int]) -> Chain:
    ndvi = s2.mask_clouds(keep=classes).ndvi()
    return ml.rgb(ndvi.quantile(0.9), ndvi.quantile(0.5), ndvi.quantile(0.1))


def index_median(s2: Collection, classes: list[int]) -> Chain:
    return s2.mask_clouds(keep=classes).index("EVI").median("t")


NDVI = {"cmap": "RdYlGn", "vmin": 0.0, "vmax": 0.9}
WORKLOADS: dict[str, tuple[Callable[[Collection, list[int]], Chain], dict[str, Any]]] = {
    "W1": (ndvi_median, NDVI),
    "W2": (ndvi_of_one_date, NDVI),
    "W3": (focal_mean, NDVI),
    "W4": (rgb_median, {"vmin": 0.0, "vmax": 0.3}),
    "W5": (ndvi_median, NDVI),
    "W6": (expression, NDVI),
    "W7": (quantiles, {"vmin": 0.0, "vmax": 0.9}),
    "W8": (index_median, NDVI),
}


def thresholded(image: Chain, bands: tuple[str, ...] | None, threshold: float) -> Chain:
    """Without the pixels below; of several bands the first decides."""
    return image.where((image.band(bands[0]) if bands else image) >= threshold)


# ------------------------------------------------------------------------------------------------- the contestant


class Muses:
    name = "muses"
    version = ml.__version__

    def __init__(self) -> None:
        compute.use("threads")
        self._drawing = ThreadPoolExecutor(os.cpu_count())
        self._chain = lru_cache(maxsize=None)(self._resolved)

    def open(self, folder: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
        start = time.perf_counter()
        catalog = ml.open_catalog(folder / "items.json")
        settings.register_catalog(catalog.id, catalog.root, roots=[str(folder.parent.resolve())])
        self._s2 = ml.collection(COLLECTION, catalog)
        self._items = items
        self._chain.cache_clear()
        self.forget()
        return {
            "seconds": time.perf_counter() - start,
            "dates": len({day_of(item) for item in items}),
            "rss": psutil.Process().memory_info().rss,
        }

    def forget(self) -> None:
        """No decoded block, no result, no open file, no header, no known window; chains stay published."""
        here = engine.worker_engine()
        here.reader.close()
        here.cache.clear()
        mosaic.forget()
        windows.forget(compute.executor())

    def view(self, view: View) -> dict[str, Any]:
        layer, resolving = self._chain(view.workload, view.classes, view.threshold, _days(view, self._items))
        planning = _seconds(lambda: layer.chain.plan(ml.Window.tile(view.zoom, view.left, view.top)))
        decoded = engine.worker_engine().reader.log = []
        executor = compute.executor()
        before = executor.counters()
        _reset_peak()
        start, used = time.perf_counter(), time.process_time()
        tickets = [
            windows.request_window(executor, layer.chain.published, ml.Window.tile(zoom, x, y))
            for x, y, zoom in view.tiles
        ]
        drawn = list(self._drawing.map(partial(_draw, layer), tickets))
        seconds, used = time.perf_counter() - start, time.process_time() - used
        after = executor.counters()
        pixels, images = [found for found, _ in drawn], [image for _, image in drawn]
        values = np.concatenate([found.values.ravel() for found in pixels])
        valid = np.isfinite(values)
        failed = {id: reason for found in pixels for id, reason in found.report.failed}
        if failed:
            raise SystemExit(f"scenes could not be read: {failed}")
        return {
            "seconds": seconds,
            "mean": float(values[valid].mean(dtype="f8")) if valid.any() else None,
            "valid": float(valid.mean()),
            "counters": {
                "blocks": after["blocks_decoded"] - before["blocks_decoded"],
                "pixels": _pixels(decoded),
                "bytes": after["bytes_decoded"] - before["bytes_decoded"],
                "evaluations": after["evaluations"] - before["evaluations"],
                "cpu_seconds": used,
                "cache_bytes": after["cache_bytes"],
                "png_bytes": sum(map(len, images)),
                "peak_rss": _peak(),
                "resolve_seconds": resolving,
                "plan_seconds": planning,
            },
        }

    def calls(self, view: View) -> dict[str, Any]:
        """How many of our functions run for the view's middle tile from request to pixels, and how often: by room.

        And in how many files they are.

        The headers of its files are known, nothing else is: two zooms up, its ground was looked at.
        """
        layer, _ = self._chain(view.workload, view.classes, view.threshold, _days(view, self._items))
        x, y, zoom = view.tiles[len(view.tiles) // 2]
        self.forget()
        compute.forget("threads")  # the threads of the next executor begin under the profile
        with Calls() as counted:
            executor = compute.executor()
            for tile in (ml.Window.tile(zoom - 2, x // 4, y // 4), ml.Window.tile(zoom, x, y)):
                counted.clear()
                windows.request_window(executor, layer.chain.published, tile).result(600)
        compute.forget("threads")
        rooms: dict[str, list[int]] = {}
        for code, times in Counter(counted).items():
            room = rooms.setdefault(Path(code.co_filename).relative_to(_PACKAGE).parts[0].removesuffix(".py"), [0, 0])
            room[0] += times
            room[1] += 1
        return {"calls": rooms, "files": len({code.co_filename for code in counted})}

    def _resolved(
        self, workload: str, classes: tuple[int, ...], threshold: float | None, days: tuple[str, ...]
    ) -> tuple[Layer, float]:
        """The chain with its scenes, ready to be asked for, and how long that took."""
        start = time.perf_counter()
        make, style = WORKLOADS[workload]
        last = dt.date.fromisoformat(days[-1]) + dt.timedelta(1)
        chain = make(self._s2.dates(days[0], last.isoformat()), list(classes))
        bands = chain.published.prepared.output.meta.bands
        if threshold is not None:
            chain = thresholded(chain, bands, threshold)
        layer = chain.style(**style, **({} if bands is None else {"bands": bands}))
        layer.publish()
        return layer, time.perf_counter() - start


_PACKAGE = Path(ml.__file__).parent


class Calls(list[CodeType]):
    """Notes the calls of our functions while it is entered, in this thread and in those that begin meanwhile.

    cProfile sees one thread only. Comprehensions and generator expressions do not count: they are no functions of
    their own in newer Pythons.
    """

    def __enter__(self) -> Calls:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_OURS) and code.co_name not in _PARTS:
            self.append(code)


_OURS = str(_PACKAGE) + os.sep
_PARTS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>")


def _days(view: View, items: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(day_of(item) for item in view.choose(items))


def _pixels(decoded: list[tuple[str, int, int, int, int]]) -> int | None:
    """Of decoded blocks, as far as they lie in their files; None for files on servers."""
    if any("://" in path for path, *_ in decoded):
        return None
    total = 0
    for path, _, overview, row, col in decoded:
        (rows, columns), (height, width) = _shapes(path, overview)
        total += min(height, rows - row * height) * min(width, columns - col * width)
    return total


@lru_cache(maxsize=4096)
def _shapes(path: str, overview: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of an overview (0: of the file), and of its blocks; strips are read as windows of 512 × 512."""
    with rasterio.open(path, **({"overview_level": overview - 1} if overview else {})) as file:
        block = file.block_shapes[0]
        return file.shape, block if min(block) >= 128 else (512, 512)


def _draw(layer: Layer, ticket: windows.WindowTicket) -> tuple[windows.Pixels, bytes]:
    """A tile as soon as its blocks are there, as the service draws it: beside others."""
    found = ticket.result(600)
    return found, render(found.values, layer.look, found.bands)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _reset_peak() -> None:
    """From here on the peak counts (Linux; elsewhere it is that of the process's life)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    serve(Muses())
